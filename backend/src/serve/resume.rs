//! A response goes on at another node: where it stands here, and how it is taken up there.
//!
//! ```text
//!   Exchange --resumable--> Resume { status, framing, offset, content } ~~~ image ~~~ Server::resume --> Exchange
//! ```
//! The head was given to TCP already; only the body goes on, at any byte, chunk framing included.

use baton_http1::{ResponseBody, Status, Version};
use baton_stack::tcp::SourceId;
use handoff_proto::image::{RESUME_NAME_BYTES_MAX, Resume};
use handoff_proto::message::RefuseReason;

use super::body::{Content, Continuation, Validator};
use super::exchange::{BodyPart, Exchange, Server};
use super::head::HeadFacts;
use super::service::{NotResumed, Service};
use super::store::ContentStore;

/// How far into a chunked body another node may go on: it counts the chunks before, in one go.
pub const CHUNKED_OFFSET_MAX: u64 = 16 << 20;

/// Whether another node can go on with a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resumable {
    /// It cannot: only this node has the bytes, or the head was not given out yet.
    No,
    /// What names the bytes is being found out.
    NotYet,
    /// As this says; `n` is 0, for whoever knows the request's ordinal.
    At(Resume),
}

impl Exchange {
    /// Where another node would go on.
    #[must_use]
    pub fn resumable(&self, store: &ContentStore) -> Resumable {
        let (Some(part), Some(status)) = (self.body.filter(|_| self.heads.is_empty() && !self.takes_body), self.status)
        else {
            return Resumable::No;
        };
        let length = match self.facts.framing {
            ResponseBody::Length(length) => Some(length),
            ResponseBody::Chunked if part.queued <= CHUNKED_OFFSET_MAX => None,
            // Its end is the connection's, or it would have to be counted for too long.
            ResponseBody::UntilClose | ResponseBody::Chunked | ResponseBody::None => return Resumable::No,
        };
        match store.body(part.source).map_or(Continuation::Nowhere, |body| body.continuation()) {
            Continuation::Of(Content { name, first, validator: Validator(validator) })
                if (1..=RESUME_NAME_BYTES_MAX).contains(&name.len()) =>
            {
                let (status, keep_alive, offset) = (status.code(), self.facts.keep_alive, part.queued);
                Resumable::At(Resume { n: 0, status, keep_alive, first, length, offset, validator, name })
            }
            Continuation::Of(_) | Continuation::Nowhere => Resumable::No,
            Continuation::NotYet => Resumable::NotYet,
        }
    }

    /// Where the body's bytes come from.
    pub(crate) fn source(&self) -> Option<SourceId> {
        self.body.map(|body| body.source)
    }

    /// The last `n` bytes that were given out were not sent, and are not in the send queue any more: they will be given out again.
    pub(crate) fn take_back(&mut self, n: u64) {
        if let Some(body) = self.body.as_mut().filter(|_| n > 0) {
            body.queued = body.queued.saturating_sub(n);
            body.complete = false;
        }
    }

    /// The response goes on elsewhere: what was given out stays in the store until it is released, and nothing else of it.
    pub(crate) fn leave(&self, store: &mut ContentStore) {
        if let Some(body) = self.body {
            store.end_at(body.source, body.queued);
        }
    }
}

impl<S: Service> Server<S> {
    /// Goes on with a response that another node began.
    ///
    /// # Errors
    /// This node does not have the very same bytes, cannot tell yet, or has no room.
    pub fn resume(&mut self, epoch: u32, resume: &Resume) -> Result<Exchange, RefuseReason> {
        let Resume { n: _, status, keep_alive, first, length, offset, validator, name } = resume;
        let status = Status::new(*status).ok_or(RefuseReason::Malformed)?;
        if length.is_none() && *offset > CHUNKED_OFFSET_MAX {
            return Err(RefuseReason::Malformed);
        }
        let content = Content { name: name.clone(), first: *first, validator: Validator(*validator) };
        let body = self.service.resume(&content, *length).map_err(|not| match not {
            NotResumed::Differs => RefuseReason::ContentDiffers,
            NotResumed::Unknown => RefuseReason::ContentUnknown,
        })?;
        let framing = length.map_or(ResponseBody::Chunked, ResponseBody::Length);
        // The head is written: what it would say does not matter any more.
        let (version, head_only) = (Version::Http11, false);
        let facts = HeadFacts { version, head_only, epoch, keep_alive: *keep_alive, framing };
        let mut exchange = Exchange::new(facts);
        exchange.status = Some(status);
        let source = self.store.insert_body(body, exchange.coding(), false).map_err(|_| RefuseReason::Limit)?;
        if !self.store.skip_to(source, *offset) {
            self.store.remove(source);
            return Err(RefuseReason::ContentDiffers);
        }
        exchange.body = Some(BodyPart { source, queued: *offset, complete: false });
        Ok(exchange)
    }
}
