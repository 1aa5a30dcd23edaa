//! One request and its response, as a node drives it.
//!
//! ```text
//!   head of a request    --Server::begin-->         Exchange
//!   bytes of its body    --Exchange::feed-->        as many as Exchange::room
//!   end of its body      --Exchange::finish-->      (Server::finish: the response of an upload begins here)
//!   room to send         --Exchange::next_extent--> source, offset, length: for the send queue
//! ```
//! `next_extent` gives nothing while nothing is ready; the node asks again when the client has acknowledged something,
//! when it has fed something, and when the request has ended.

use arrayvec::ArrayVec;
use baton_http1::response::CONTINUE;
use baton_http1::{BodyFraming, ResponseBody, Status};

use super::body::{BodyError, to_u64};
use super::head::{HeadFacts, Responder};
use super::service::{Prepared, Request, Response, Service, Upload};
use super::store::{Coding, ContentStore, StoreFull};
use baton_stack::tcp::SourceId;

/// The longest body of a request that is read only to be forgotten. The connection of a longer one, or of one that does
/// not say its length, ends after the response.
pub const FORGOTTEN_BODY_LEN_MAX: u64 = 1 << 20;

/// All that one core needs to answer requests.
#[derive(Debug)]
pub struct Server<S> {
    /// What is served.
    pub service: S,
    /// The bytes of the responses that are being sent.
    pub store: ContentStore,
    /// Writes the heads.
    pub responder: Responder,
}

/// What the node says of a connection when a request begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The connection's epoch.
    pub epoch: u32,
    /// Whether the connection may stay open after this response, as far as the node is concerned.
    pub keep_alive: bool,
    /// Whether the client still waits to be told to send the body (`Cursor::continue_due`).
    pub continue_due: bool,
}

impl<S: Service> Server<S> {
    /// Begins to answer a request.
    ///
    /// # Errors
    /// The store has no room even for an error response: reset the connection.
    pub fn begin(&mut self, request: &Request<'_>, terms: Terms) -> Result<Exchange, StoreFull> {
        let prepared = self.service.prepare(request);
        self.answer(request, terms, prepared)
    }

    /// As [`Server::begin`], with an answer that is not the service's: the node refuses the request in its place.
    ///
    /// # Errors
    /// The store has no room even for an error response: reset the connection.
    pub fn answer(&mut self, request: &Request<'_>, terms: Terms, prepared: Prepared) -> Result<Exchange, StoreFull> {
        let mut facts = HeadFacts::of(request, terms.epoch, request.head().keep_alive && terms.keep_alive);
        let takes_body = match &prepared {
            Prepared::Response(response) => response.takes_request_body && facts.with(response).sends_body(),
            Prepared::Upload(_) => true,
        };
        facts.keep_alive &= takes_body || is_forgettable(request, terms.continue_due);
        let invites = takes_body && terms.continue_due;
        let interim = if invites { CONTINUE.to_vec() } else { Vec::new() };
        let mut exchange = Exchange { takes_body, invites, ..Exchange::new(facts) };
        match prepared {
            Prepared::Response(response) => self.respond(&mut exchange, response, interim)?,
            Prepared::Upload(upload) => {
                exchange.put_head(&mut self.store, interim)?;
                exchange.upload = Some(upload);
            }
        }
        Ok(exchange)
    }

    /// The request's body has ended. An upload's response begins.
    ///
    /// # Errors
    /// The response cannot be continued or does not fit: reset the connection.
    pub fn finish(&mut self, exchange: &mut Exchange) -> Result<(), ExchangeError> {
        if let Some(upload) = exchange.upload.take() {
            let response = upload.finish();
            self.respond(exchange, response, Vec::new())?;
        }
        let takes_body = std::mem::take(&mut exchange.takes_body);
        match exchange.body {
            Some(body) if takes_body => Ok(self.store.finish(body.source)?),
            Some(_) | None => Ok(()),
        }
    }

    /// Puts a response into the store: `before`, its head, its body.
    fn respond(&mut self, exchange: &mut Exchange, response: Response, before: Vec<u8>) -> Result<(), StoreFull> {
        let mut head = before;
        let interim_len = head.len();
        let facts = exchange.facts.with(&response);
        exchange.status = Some(response.status);
        if !self.responder.write(&response, &facts, &mut head) {
            return self.fail(exchange, Status::INTERNAL_SERVER_ERROR, head);
        }
        exchange.facts = facts;
        if facts.sends_body() {
            let feeding = exchange.takes_body && response.takes_request_body;
            match self.store.insert_body(response.body, exchange.coding(), feeding) {
                Ok(source) => exchange.body = Some(BodyPart { source, queued: 0, complete: false }),
                Err(StoreFull) => {
                    head.truncate(interim_len);
                    return self.fail(exchange, Status::SERVICE_UNAVAILABLE, head);
                }
            }
        }
        exchange.put_head(&mut self.store, head).inspect_err(|_| exchange.abandon(&mut self.store))
    }

    /// An error response in place of one that cannot be sent; it ends the connection.
    fn fail(&mut self, exchange: &mut Exchange, status: Status, before: Vec<u8>) -> Result<(), StoreFull> {
        let mut bytes = before;
        bytes.extend_from_slice(&self.responder.refusal(status, exchange.facts.epoch, exchange.facts.head_only));
        exchange.status = Some(status);
        exchange.takes_body = false;
        exchange.facts.keep_alive = false;
        exchange.facts.framing = ResponseBody::None;
        exchange.put_head(&mut self.store, bytes)
    }
}

/// A request that is being answered, beside its connection's TCB.
#[derive(Debug)]
pub struct Exchange {
    pub(super) facts: HeadFacts,
    /// Whether the request's body goes into the response or the upload; otherwise it is forgotten.
    pub(super) takes_body: bool,
    invites: bool,
    upload: Option<Box<dyn Upload>>,
    pub(super) status: Option<Status>,
    /// What goes before the body and was not yet given out: an interim response, the head.
    pub(super) heads: ArrayVec<Extent, 2>,
    pub(super) body: Option<BodyPart>,
}

/// A piece for the send queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The source in the store.
    pub source: SourceId,
    /// Where in the source it begins.
    pub offset: u64,
    /// How long it is: not 0.
    pub len: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct BodyPart {
    pub(super) source: SourceId,
    /// Bytes given out.
    pub(super) queued: u64,
    /// Whether all were.
    pub(super) complete: bool,
}

impl Exchange {
    pub(super) fn new(facts: HeadFacts) -> Self {
        Self {
            facts,
            takes_body: false,
            invites: false,
            upload: None,
            status: None,
            heads: ArrayVec::new(),
            body: None,
        }
    }

    /// The next piece for the send queue, of at most `len_max` bytes; `None` while nothing is ready.
    #[must_use]
    pub fn next_extent(&mut self, store: &mut ContentStore, len_max: u64) -> Option<Extent> {
        if len_max == 0 {
            return None;
        }
        if let Some(head) = self.heads.first_mut() {
            let len = head.len.min(len_max);
            let extent = Extent { len, ..*head };
            (head.offset, head.len) = (head.offset + len, head.len - len);
            if head.len == 0 {
                self.heads.remove(0);
            }
            return Some(extent);
        }
        let body = self.body.as_mut().filter(|body| !body.complete)?;
        let wanted = body.queued.saturating_add(len_max);
        let Some(ready) = store.ready(body.source, wanted) else {
            // It had ended with what was given out already, and all of that is acknowledged.
            body.complete = true;
            return None;
        };
        let extent = Extent { source: body.source, offset: body.queued, len: ready.end.min(wanted) - body.queued };
        body.queued += extent.len;
        body.complete = ready.complete && body.queued == ready.end;
        (extent.len > 0).then_some(extent)
    }

    /// Whether the request's body goes into the response or an upload; otherwise it is read past.
    #[must_use]
    pub const fn takes_body(&self) -> bool {
        self.takes_body
    }

    /// Whether a byte of the response was given out.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.status.is_some() && self.heads.is_empty() || self.heads.iter().any(|head| head.offset > 0)
    }

    /// Whether the last byte of the response was given out. Told truly after [`Exchange::next_extent`] gave nothing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.upload.is_none() && self.heads.is_empty() && self.body.is_none_or(|body| body.complete)
    }

    /// Whether the exchange has sent `100 Continue` itself: tell the cursor so.
    #[must_use]
    pub const fn sends_continue(&self) -> bool {
        self.invites
    }

    /// Whether the connection stays open after this response. Of an upload: known when its response begins.
    #[must_use]
    pub const fn keep_alive(&self) -> bool {
        self.facts.keep_alive
    }

    /// The response's status, once there is one.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        self.status
    }

    /// Bytes of the body that were given out, chunk framing included.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body.map_or(0, |body| body.queued)
    }

    /// How many bytes of the request's body can be fed now. While it is 0, leave them unread: the receive window closes.
    #[must_use]
    pub fn room(&self, store: &ContentStore) -> usize {
        match (&self.upload, self.body) {
            (Some(upload), _) => upload.room(),
            (None, Some(body)) if self.takes_body => store.room(body.source),
            (None, _) => usize::MAX,
        }
    }

    /// Takes bytes of the request's body: at most [`Exchange::room`].
    ///
    /// # Errors
    /// The response cannot be continued: reset the connection.
    pub fn feed(&mut self, store: &mut ContentStore, bytes: &[u8]) -> Result<(), BodyError> {
        match (&mut self.upload, self.body) {
            (Some(upload), _) => upload.feed(bytes),
            (None, Some(body)) if self.takes_body => store.feed(body.source, bytes),
            (None, _) => Ok(()),
        }
    }

    /// Takes what it has put into the store out again: the connection has ended. What was given out is in the send
    /// queue too; taking it out twice does no harm.
    pub fn abandon(&mut self, store: &mut ContentStore) {
        for head in self.heads.drain(..) {
            store.remove(head.source);
        }
        if let Some(body) = self.body.take() {
            store.remove(body.source);
        }
        self.upload = None;
    }

    pub(super) fn coding(&self) -> Coding {
        if self.facts.framing == ResponseBody::Chunked { Coding::Chunked } else { Coding::Identity }
    }

    fn put_head(&mut self, store: &mut ContentStore, bytes: Vec<u8>) -> Result<(), StoreFull> {
        if !bytes.is_empty() {
            let len = to_u64(bytes.len());
            // Two at most: an interim response, and one final response.
            self.heads.push(Extent { source: store.insert_bytes(bytes)?, offset: 0, len });
        }
        Ok(())
    }
}

/// Why an exchange cannot go on: the connection is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The body cannot be continued.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// There is no room for the response.
    #[error(transparent)]
    StoreFull(#[from] StoreFull),
}

/// Whether what follows a head that nobody wants the body of can be read past.
fn is_forgettable(request: &Request<'_>, continue_due: bool) -> bool {
    match request.framing() {
        BodyFraming::None => true,
        // Not invited, it may come or not (RFC 9110 section 10.1.1): the next request could not be told from it.
        BodyFraming::Length(len) => len <= FORGOTTEN_BODY_LEN_MAX && !continue_due,
        BodyFraming::Chunked => false,
    }
}
