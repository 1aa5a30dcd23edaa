//! Serving one connection: from unread bytes to requests, and from responses to the send queue.
//!
//! ```text
//!            +-- InBody ---> feed the exchange --- End ---> finish
//!   advance -+
//!            +-- Head -----> what was decided for this ordinal?
//!                              nothing yet   -> Step::Ask, and wait
//!                              stay          -> begin the exchange
//!                              move          -> wait until all is sent, then Step::Move
//!                              reject        -> answer with an error
//! ```
//! A response is given to the send queue in pieces. The next head is looked at as soon as it is whole, whatever is still to be
//! queued of the response before it: the answer to the question who serves it is there before it is needed.

use baton_http1::{Advance, BodyFraming, Cursor, Limits, Method, Phase, RequestHead, Status};
use baton_stack::addr::ConnId;
use baton_stack::tcp::{Extent, Place, State, Tcb};
use handoff_proto::image::Resume;
use handoff_proto::message::Served;
use handoff_proto::names::{Epoch, Generation, NodeId};

use crate::ahead::{Ready, stripped};
use crate::serve::{ContentStore, Exchange, Prepared, Request, Response, Resumable, Server, Service, Terms};

/// Bytes that a connection keeps queued and unsent at the most. More of a response is queued when some of it was sent.
pub const UNSENT_BYTES_MAX: u64 = 524_288;

/// What a request may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestLimits {
    /// Of its head; above them 431, 414 or 400.
    pub head: Limits,
    /// The longest body, in bytes; above it 413. A chunked body that grows longer when the response has begun ends the connection.
    pub body_bytes_max: u64,
}

/// What was decided for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is served here.
    Serve {
        /// Bytes of its path that the service does not see.
        strip: u16,
    },
    /// It is served by another node, to which the connection moves.
    Move(Destination),
    /// It is answered with an error, and the connection lives on.
    Reject {
        /// The error.
        status: Status,
        /// Seconds for Retry-After; zero for none.
        retry_after_s: u16,
    },
}

/// A grant, as the connection remembers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Destination {
    /// The epoch of the move.
    pub e2: Epoch,
    /// The recipient.
    pub to: NodeId,
    /// Its generation.
    pub g: Generation,
    /// The recipient serves the request that the unread bytes begin with, and its service is not to see so many bytes of the path.
    /// `None`: the recipient asks who serves it.
    pub strip: Option<u16>,
}

/// That somebody wants the connection elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    /// Nobody has been asked yet, or no answer has come.
    Wanted(NodeId),
    /// It may go there.
    Granted(Destination),
}

/// What the node has to do for a connection after it was driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// Nothing: bytes from the client, an acknowledgment or an answer will bring it on.
    Wait,
    /// Ask the front-end who serves the request whose head the unread bytes begin with.
    Ask {
        /// Its ordinal.
        ordinal: u32,
    },
    /// Ask the front-end whether the connection may go where somebody wants it.
    AskMove {
        /// The ordinal of the request that comes next.
        ordinal: u32,
        /// The node that is wanted.
        to: NodeId,
    },
    /// All is sent, or what is not can be sent by the other node: freeze and hand over.
    Move(Destination),
    /// Drive it again when the service has found something out ([`Service::work`]): what names the content of the response.
    AwaitName,
    /// The response cannot be continued: reset the connection.
    Reset,
}

/// What a back-end knows of a connection that it owns, beside the TCB.
#[derive(Debug)]
pub struct Serving {
    /// The connection id.
    pub conn: ConnId,
    /// The epoch under which this node owns it.
    pub epoch: Epoch,
    /// What all its owners have served so far.
    pub served: Served,
    cursor: Cursor,
    /// What was decided, and for which ordinal.
    verdict: Option<(u32, Verdict)>,
    wish: Option<Wish>,
    /// In a box: an idle connection has none.
    exchange: Option<Box<Exchange>>,
    /// Whether the request that is being answered changes nothing (RFC 9110 section 9.2.1).
    is_safe: bool,
    /// What was made ready before the connection came, for the request that it came for.
    ahead: Option<Box<Ready>>,
    /// Whether that was used, once that is known.
    used_ahead: Option<bool>,
    /// Whether the connection leaves only when the client has acknowledged all.
    drains: bool,
}

impl Serving {
    /// A connection that has just come here.
    #[must_use]
    pub const fn new(conn: ConnId, epoch: Epoch, cursor: Cursor, served: Served) -> Self {
        Self {
            conn,
            epoch,
            served,
            cursor,
            verdict: None,
            wish: None,
            exchange: None,
            is_safe: false,
            ahead: None,
            used_ahead: None,
            drains: false,
        }
    }

    /// The same, but that it leaves only when the client has acknowledged all, if `drains`: for comparison.
    #[must_use]
    pub fn draining(mut self, drains: bool) -> Self {
        self.drains = drains;
        self
    }

    /// One that has come in the middle of a response, or that was to leave in the middle of one.
    #[must_use]
    pub fn amid(self, exchange: Option<Exchange>) -> Self {
        Self { exchange: exchange.map(Box::new), ..self }
    }

    /// Where the parser stands; what goes into an image.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Whether a request is being answered.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.exchange.is_some()
    }

    /// Takes what was made ready for the request that comes next.
    pub fn expect(&mut self, ready: Ready) {
        self.ahead = Some(Box::new(ready));
    }

    /// Whether what was made ready was used or forgotten; told once.
    pub fn take_use(&mut self) -> Option<bool> {
        self.used_ahead.take()
    }

    /// The connection goes, or ends: whether something was made ready for nothing.
    pub fn forget_ahead(&mut self) -> bool {
        self.ahead.take().is_some()
    }

    /// Whether the response to the request of `head` may be prepared before those in front of it have been answered: it takes no body, and none
    /// of them can change what it is.
    #[must_use]
    pub fn may_prepare(&self, head: &RequestHead<'_>) -> bool {
        let is_alone = self.exchange.is_none() || self.is_safe;
        is_alone && matches!(head.method, Method::Get | Method::Head) && head.framing == BodyFraming::None
    }

    /// Notes what was decided for the request of this ordinal. Ordinals that are past change nothing.
    pub fn decide(&mut self, ordinal: u32, verdict: Verdict) {
        if ordinal == self.cursor.ordinal() {
            self.verdict = Some((ordinal, verdict));
            if matches!(verdict, Verdict::Move(_)) {
                // It moves anyway, and there is one grant at a time.
                self.wish = None;
            }
        }
    }

    /// Forgets what was decided and wished: the grant has run out, nobody answered, or the recipient refused.
    pub fn undecide(&mut self) {
        self.verdict = None;
        self.wish = None;
    }

    /// The connection stays where it is.
    pub fn drop_wish(&mut self) {
        self.wish = None;
    }

    /// Somebody wants the connection at `to`: it goes at once if the response that is being sent can go on there, else when that has
    /// been sent.
    pub fn want(&mut self, to: NodeId) {
        self.wish = Some(Wish::Wanted(to));
    }

    /// The connection may go where somebody wants it.
    pub fn grant(&mut self, destination: Destination) {
        self.wish = Some(Wish::Granted(destination));
    }

    /// Where somebody wants the connection.
    #[must_use]
    pub fn wanted_at(&self) -> Option<NodeId> {
        self.wish.map(|wish| match wish {
            Wish::Wanted(to) | Wish::Granted(Destination { to, .. }) => to,
        })
    }

    /// Whether no request will be read any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.cursor.phase() == Phase::Closed
    }

    /// Whether no request will be read any more, and a wish would find nothing to move: the last response goes on nowhere else.
    #[must_use]
    pub fn is_ending(&self, store: &ContentStore) -> bool {
        let goes_on = |exchange: &Exchange| exchange.resumable(store) != Resumable::No;
        self.is_closed() && !self.exchange.as_deref().is_some_and(goes_on)
    }

    /// Takes what was queued of the body that is being sent and was not sent out of the send queue again, and says where another node
    /// goes on, and how many bytes these were. `None`, and nothing is changed, if no response is being sent or none goes on elsewhere.
    pub fn interrupt(&mut self, tcb: &mut Tcb, store: &ContentStore) -> Option<(Resume, u64)> {
        let Resumable::At(mut resume) = self.resumable(store) else { return None };
        let exchange = self.exchange.as_mut()?;
        let unsent = exchange.source().map_or(0, |source| tcb.take_back(source));
        exchange.take_back(unsent);
        self.served.bytes -= unsent;
        resume.offset -= unsent;
        Some((resume, unsent))
    }

    /// The response that was being sent, for whoever goes on with it or gives it up.
    pub(crate) fn into_exchange(self) -> Option<Exchange> {
        self.exchange.map(|exchange| *exchange)
    }

    /// Whether the response that is being sent can go on at another node. Its request must have been read to its end.
    fn resumable(&self, store: &ContentStore) -> Resumable {
        let n = match self.cursor.phase() {
            Phase::AtHead { .. } => self.cursor.ordinal().saturating_sub(1),
            Phase::Closed => self.cursor.ordinal(),
            Phase::InBody(_) => return Resumable::No,
        };
        match self.exchange.as_ref().map_or(Resumable::No, |exchange| exchange.resumable(store)) {
            Resumable::At(resume) => Resumable::At(Resume { n, ..resume }),
            other => other,
        }
    }

    /// Whether a decision for the current request is known.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.verdict.is_some_and(|(ordinal, _)| ordinal == self.cursor.ordinal())
    }

    /// The request with which the connection will move, while the response before it is still being sent.
    #[must_use]
    pub fn leaves_with(&self) -> Option<u32> {
        match self.verdict {
            Some((ordinal, Verdict::Move(_))) if ordinal == self.cursor.ordinal() => Some(ordinal),
            Some(_) | None => None,
        }
    }

    /// Whether it has nothing to do and nothing to say: the client may keep it so for ever.
    #[must_use]
    pub fn is_idle(&self, tcb: &Tcb) -> bool {
        self.exchange.is_none() && tcb.unsent() == 0 && tcb.unacknowledged() == 0 && tcb.unread().is_empty()
    }

    /// The head that the unread bytes begin with, if it is whole.
    #[must_use]
    pub fn peek<'a>(&self, tcb: &'a Tcb, limits: &RequestLimits) -> Option<RequestHead<'a>> {
        let mut cursor = self.cursor;
        match cursor.advance(tcb.unread(), &limits.head) {
            Ok(Advance::Head(head)) => Some(head),
            Ok(_) | Err(_) => None,
        }
    }

    /// Goes on as far as possible: reads, answers, queues. Call it after bytes came, after some were acknowledged or sent, and after
    /// a decision.
    pub fn drive<S: Service>(&mut self, tcb: &mut Tcb, server: &mut Server<S>, limits: &RequestLimits) -> Step {
        loop {
            if !self.queue_response(tcb, server) {
                return Step::Reset;
            }
            match self.end_exchange(tcb) {
                Progress::Done => return Step::Wait,
                Progress::More => {}
                Progress::Blocked => return self.while_sending(tcb, server, limits),
            }
            if let Some(step) = self.follow_wish(tcb) {
                return step;
            }
            match self.advance(tcb, server, limits) {
                Ok(Some(step)) => return step,
                Ok(None) => {}
                Err(Broken) => return Step::Reset,
            }
        }
    }

    /// Stops reading: the response that is being sent is the last.
    pub fn close_after_response(&mut self, tcb: &mut Tcb) {
        self.cursor.close_after_this();
        if self.exchange.is_none() {
            tcb.close();
        }
    }

    /// Gives back what the current response holds in the store: the connection has ended.
    pub fn abandon<S: Service>(&mut self, server: &mut Server<S>) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.abandon(&mut server.store);
        }
    }

    /// Puts as much of the response into the send queue as may be there. False if the queue takes no more of it ever.
    fn queue_response<S: Service>(&mut self, tcb: &mut Tcb, server: &mut Server<S>) -> bool {
        let Some(exchange) = &mut self.exchange else { return true };
        loop {
            let room = if tcb.has_queue_room() { UNSENT_BYTES_MAX.saturating_sub(tcb.unsent()) } else { 0 };
            let Some(piece) = exchange.next_extent(&mut server.store, room) else { return true };
            let extent = Extent { len: piece.len, place: Place::Local { source: piece.source, offset: piece.offset } };
            self.served.bytes += piece.len;
            if tcb.push(extent).is_err() {
                return false;
            }
        }
    }

    /// Ends the exchange when its request has been read and its response queued.
    fn end_exchange(&mut self, tcb: &mut Tcb) -> Progress {
        let Some(exchange) = &self.exchange else { return Progress::More };
        if matches!(self.cursor.phase(), Phase::InBody(_)) {
            return Progress::More;
        }
        // Who is wanted elsewhere may go between any two bytes, so for him a response lasts until its last one is sent.
        if !exchange.is_complete() || (self.wish.is_some() && tcb.unsent() > 0) {
            return Progress::Blocked;
        }
        let keep_alive = exchange.keep_alive();
        self.exchange = None;
        self.served.requests += 1;
        if !keep_alive || self.cursor.phase() == Phase::Closed {
            self.cursor.close();
            tcb.close();
            return Progress::Done;
        }
        Progress::More
    }

    /// While a response goes out, the connection goes where it is wanted if the rest can be sent from there. Else what comes next is
    /// looked at.
    fn while_sending<S: Service>(&mut self, tcb: &Tcb, server: &Server<S>, limits: &RequestLimits) -> Step {
        let Some(wish) = self.wish else { return self.look_ahead(tcb, limits) };
        match self.resumable(&server.store) {
            Resumable::At(_) if !self.drains => self.step_of(wish),
            Resumable::NotYet if !self.drains => Step::AwaitName,
            Resumable::At(_) | Resumable::NotYet | Resumable::No => Step::Wait,
        }
    }

    /// While a response goes out: whether the request after it is one to ask about. What cannot be read is refused in its turn.
    fn look_ahead(&mut self, tcb: &Tcb, limits: &RequestLimits) -> Step {
        if self.is_decided() || !self.exchange.as_ref().is_some_and(|exchange| exchange.keep_alive()) {
            return Step::Wait;
        }
        let mut cursor = self.cursor;
        match cursor.advance(tcb.unread(), &limits.head) {
            Ok(Advance::Head(_)) => Step::Ask { ordinal: cursor.ordinal() },
            Ok(Advance::Incomplete) => {
                self.cursor = cursor;
                Step::Wait
            }
            Ok(Advance::Body { .. } | Advance::End | Advance::Closed) | Err(_) => Step::Wait,
        }
    }

    /// Whether nothing holds the connection here: its last byte has been sent.
    fn may_leave(&self, tcb: &Tcb) -> bool {
        tcb.unsent() == 0 && !(self.drains && tcb.unacknowledged() > 0)
    }

    /// Between two requests a wish comes before whatever was decided for the next.
    fn follow_wish(&self, tcb: &Tcb) -> Option<Step> {
        let wish =
            self.wish.filter(|_| self.exchange.is_none() && matches!(self.cursor.phase(), Phase::AtHead { .. }))?;
        if !self.may_leave(tcb) {
            return Some(Step::Wait);
        }
        Some(self.step_of(wish))
    }

    const fn step_of(&self, wish: Wish) -> Step {
        match wish {
            Wish::Wanted(to) => Step::AskMove { ordinal: self.cursor.ordinal(), to },
            Wish::Granted(destination) => Step::Move(destination),
        }
    }

    /// One event of the stream of requests. `None`: go on.
    fn advance<S: Service>(
        &mut self,
        tcb: &mut Tcb,
        server: &mut Server<S>,
        limits: &RequestLimits,
    ) -> Result<Option<Step>, Broken> {
        // While it is in a body, the cursor is shown no more than the exchange can take.
        let room = self.exchange.as_ref().map_or(usize::MAX, |exchange| exchange.room(&server.store));
        let unread = tcb.unread();
        let shown = &unread[..unread.len().min(room)];
        let mut cursor = self.cursor;
        let advance = match cursor.advance(shown, &limits.head) {
            Ok(advance) => advance,
            Err(refused) => {
                self.cursor = cursor;
                return self.refuse(tcb, server, refused.status()).map(Some);
            }
        };
        let consumed = advance.consumed();
        match advance {
            Advance::Incomplete => {
                self.cursor = cursor;
                return Ok(Some(self.wait_for_more(tcb)));
            }
            Advance::Closed => return Ok(Some(Step::Wait)),
            Advance::Head(head) => match self.verdict {
                Some((ordinal, verdict)) if ordinal == cursor.ordinal() => {
                    if let Verdict::Move(destination) = verdict {
                        let may_leave = self.may_leave(tcb);
                        return Ok(Some(if may_leave { Step::Move(destination) } else { Step::Wait }));
                    }
                    self.begin(&head, &mut cursor, verdict, server, limits)?;
                }
                Some(_) | None => return Ok(Some(Step::Ask { ordinal: cursor.ordinal() })),
            },
            Advance::Body { .. } if self.takes_body() && is_too_long(&cursor, limits) => {
                return self.refuse(tcb, server, Status::CONTENT_TOO_LARGE).map(Some);
            }
            Advance::Body { payload, .. } => {
                let exchange = self.exchange.as_mut().ok_or(Broken)?;
                exchange.feed(&mut server.store, &shown[payload]).map_err(|_| Broken)?;
            }
            Advance::End => {
                let exchange = self.exchange.as_mut().ok_or(Broken)?;
                server.finish(exchange).map_err(|_| Broken)?;
            }
        }
        self.cursor = cursor;
        tcb.consume(consumed);
        Ok(None)
    }

    /// Whether the body that is being read goes anywhere; that of a refused request does not.
    fn takes_body(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.takes_body())
    }

    /// Begins to answer the request of `head`, which is not consumed yet.
    fn begin<S: Service>(
        &mut self,
        head: &RequestHead<'_>,
        cursor: &mut Cursor,
        verdict: Verdict,
        server: &mut Server<S>,
        limits: &RequestLimits,
    ) -> Result<(), Broken> {
        let is_too_long = matches!(head.framing, BodyFraming::Length(len) if len > limits.body_bytes_max);
        let terms = Terms { epoch: self.epoch.0, keep_alive: !is_too_long, continue_due: cursor.continue_due() };
        let strip = match verdict {
            Verdict::Serve { strip } => strip,
            Verdict::Move(_) | Verdict::Reject { .. } => 0,
        };
        let request = Request::new(head, stripped(head.path, strip), server.responder.unix_now_s());
        let prepared = match verdict {
            Verdict::Reject { status, retry_after_s } => {
                let mut response = Response::text(status, status.reason());
                if retry_after_s > 0 {
                    response = response.with_header("retry-after", retry_after_s.to_string());
                }
                Some(response.into())
            }
            Verdict::Serve { .. } | Verdict::Move(_) if is_too_long => {
                let status = Status::CONTENT_TOO_LARGE;
                Some(Response::text(status, status.reason()).into())
            }
            Verdict::Serve { .. } | Verdict::Move(_) => self.take_ahead(cursor.ordinal(), strip, &request),
        };
        let exchange = match prepared {
            Some(prepared) => server.answer(&request, terms, prepared),
            None => server.begin(&request, terms),
        };
        let exchange = exchange.map_err(|_| Broken)?;
        if exchange.sends_continue() {
            cursor.continue_sent();
        }
        if !exchange.keep_alive() {
            cursor.close_after_this();
        }
        self.is_safe = matches!(head.method, Method::Get | Method::Head | Method::Options);
        self.exchange = Some(Box::new(exchange));
        self.verdict = None;
        Ok(())
    }

    /// What was made ready for this very request.
    fn take_ahead(&mut self, n: u32, strip: u16, request: &Request<'_>) -> Option<Prepared> {
        let preparation = self.ahead.take()?.for_request(n, strip, request.head());
        self.used_ahead = Some(preparation.is_some());
        preparation.map(|preparation| preparation.respond(request))
    }

    /// Nothing can be read now. A client that has closed its side sends no more: then neither do we, once all is said.
    fn wait_for_more(&mut self, tcb: &mut Tcb) -> Step {
        if tcb.peer_finished() && self.exchange.is_none() && tcb.state() == State::CloseWait {
            self.cursor.close();
            tcb.close();
        }
        // A request whose body ends early is not answered any further.
        if tcb.peer_finished() && self.exchange.is_some() && matches!(self.cursor.phase(), Phase::InBody(_)) {
            return Step::Reset;
        }
        Step::Wait
    }

    /// What came cannot be read as a request, or as its body, or is too long. Before any byte of a response it is answered.
    fn refuse<S: Service>(&mut self, tcb: &mut Tcb, server: &mut Server<S>, status: Status) -> Result<Step, Broken> {
        if let Some(mut exchange) = self.exchange.take() {
            let has_begun = exchange.has_begun();
            exchange.abandon(&mut server.store);
            if has_begun {
                return Err(Broken);
            }
        }
        self.cursor.close();
        let bytes = server.responder.refusal(status, self.epoch.0, false);
        let len = u64::try_from(bytes.len()).map_err(|_| Broken)?;
        let source = server.store.insert_bytes(bytes).map_err(|_| Broken)?;
        tcb.push(Extent { len, place: Place::Local { source, offset: 0 } }).map_err(|_| Broken)?;
        self.served.requests += 1;
        self.served.bytes += len;
        tcb.close();
        Ok(Step::Wait)
    }
}

/// Whether more of a chunked body has come than a body may have.
fn is_too_long(cursor: &Cursor, limits: &RequestLimits) -> bool {
    matches!(cursor.phase(), Phase::InBody(body) if body.payload_bytes() > limits.body_bytes_max)
}

/// Whether there is more to do at once.
enum Progress {
    More,
    Blocked,
    Done,
}

/// The connection cannot go on.
struct Broken;
