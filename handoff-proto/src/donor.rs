//! The donor: an owner that asks whether to give its connection away, and gives it.
//!
//! ```text
//!            ask            GRANT               hand_off            INSTALLED, ATTEMPT-GONE
//!   Idle ---------> Asking --------> Granted -----------> Frozen -------------------------> Gone: Moved
//!    ^ ^              |                 | | let_go, too old   | \---- SETTLE --------------> Gone: Lost
//!    | +--------------+                 | |                  |
//!    |   STAY, FORWARD, REJECT          v v                  |
//!    +------------------------------ tried = e2 <------------+ REFUSED, THAW
//! ```
//! What is asked is who serves a request (ASK), or whether the connection may go to a node that somebody has named (MOVE-ASK). Either way there
//! is one grant at a time, and what it is for it says itself.
//!
//! Silence while frozen: HANDOFF is repeated, then ABORT goes to the front-end, until one of the messages above comes.
//! The image is kept until then (R9): nothing else proves that no other node has sent.
//!
//! A front-end is the donor of each first handoff, under the same rules; its ABORT goes to its own arbiter.

use baton_stack::addr::ConnId;
use baton_stack::drop::DropReason;
use baton_stack::time::{Duration, Instant};

use crate::message::{
    Abort, Ask, Done, Grant, Handoff, Installed, KEY_BYTES_MAX, Message, MoveAsk, MoveReject, Outbox, PartAck,
    RefuseReason, Refused, RequestKey, Settle, SettleClaim, Settled,
};
use crate::names::{Epoch, Generation, NodeId};
use crate::parts::PartsOut;
use crate::retry::Retry;

/// The wait before ASK is repeated first.
pub const ASK_RETRY: Duration = Duration::from_millis(20);
/// The longest wait between two ASK.
pub const ASK_RETRY_MAX: Duration = Duration::from_millis(200);
/// How often ASK is repeated before the owner is told that nobody answers: about two seconds.
pub const ASK_TRIES_MAX: u8 = 12;
/// How long a grant is good for, from the moment that it was asked for (R7).
pub const GRANT_VALID: Duration = Duration::from_secs(1);
/// The wait before HANDOFF is repeated first.
pub const HANDOFF_RETRY: Duration = Duration::from_millis(20);
/// The longest wait between two HANDOFF.
pub const HANDOFF_RETRY_MAX: Duration = Duration::from_millis(200);
/// How often HANDOFF is repeated without any answer before ABORT: 0.7 seconds in all.
pub const HANDOFF_TRIES_MAX: u8 = 5;
/// The wait before ABORT is repeated first.
pub const ABORT_RETRY: Duration = Duration::from_millis(20);
/// The longest wait between two ABORT. They go on for as long as the donor's lease does.
pub const ABORT_RETRY_MAX: Duration = Duration::from_millis(200);

/// What an owner knows of giving its connection away. Small while nothing is going on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Donor {
    c: ConnId,
    e: Epoch,
    tried: Epoch,
    state: State,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum State {
    Idle,
    Asking(Box<Asking>),
    Granted(Box<Granted>),
    Frozen(Box<Frozen>),
    Gone,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Asking {
    n: u32,
    /// When ASK was sent first.
    since: Instant,
    retry: Retry,
    question: Question,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Question {
    /// Who serves request `n`?
    Request { method: Box<[u8]>, host: Box<[u8]>, target: Box<[u8]>, is_cut: bool, may_prepare: bool },
    /// May the connection go there before request `n`?
    Move { to: NodeId },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Granted {
    grant: Grant,
    until: Instant,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Frozen {
    grant: Grant,
    image: Box<[u8]>,
    parts: PartsOut,
    retry: Retry,
    is_aborting: bool,
    /// Whether what was in flight stays here: RELEASED confirms INSTALLED then.
    keeps_tail: bool,
}

/// What came of a message or a timeout, for the node to act on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum DonorEvent {
    /// Nothing to do.
    Nothing,
    /// The owner serves request `n` itself.
    Stay {
        /// The request's ordinal.
        n: u32,
        /// Bytes of its path that the service does not see.
        strip: u16,
    },
    /// Another node serves request `grant.n`, or is to have the connection before it: freeze when the response before it
    /// has been sent, and [`Donor::hand_off`].
    Granted(Grant),
    /// The connection cannot go where it was wanted; it stays.
    MoveRejected {
        /// The node that was wanted.
        to: NodeId,
    },
    /// `node` serves request `n`, through the owner.
    Forward {
        /// The request's ordinal.
        n: u32,
        /// Who produces the response.
        node: NodeId,
        /// Bytes of the path that the service does not see.
        strip: u16,
    },
    /// Nobody serves request `n`.
    Reject {
        /// The request's ordinal.
        n: u32,
        /// The status to answer with.
        status: u16,
        /// Seconds for Retry-After; zero for none.
        retry_after_s: u16,
    },
    /// Nobody answered the question about request `n`, or about a move before it: the donor is idle again.
    Unanswered {
        /// The request's ordinal.
        n: u32,
    },
    /// The grant for request `n` is void: ask again.
    GrantVoid {
        /// The request's ordinal.
        n: u32,
    },
    /// `to` owns the connection, or somebody after it: pass stragglers on to it.
    Moved {
        /// Its epoch.
        e2: Epoch,
        /// The new owner.
        to: NodeId,
        /// Its generation.
        g: Generation,
    },
    /// The connection is here as before the attempt: thaw this image, and ask again.
    Thaw {
        /// The image that was frozen.
        image: Box<[u8]>,
        /// The attempt that failed.
        e2: Epoch,
        /// The highest epoch that was tried, or let go while the connection was frozen: what a donor of the image has tried (R1).
        tried: Epoch,
        /// Who refused.
        to: NodeId,
        /// Why, as far as the recipient said so.
        reason: Option<RefuseReason>,
    },
    /// The recipient died and may have sent: there is nothing left here. The front-end resets the client.
    Lost {
        /// The attempt.
        e2: Epoch,
    },
}

/// What must be true of the node for a handoff to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Whether the node holds a lease now (R13).
    pub has_lease: bool,
    /// The recipient's generation by the newest node list; `None` if the list does not have the node.
    pub recipient_g: Option<Generation>,
}

/// Why a handoff cannot start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoHandoff {
    /// There is no grant in hand.
    #[error("no grant")]
    NoGrant,
    /// The grant is too old: ask again.
    #[error("the grant is too old")]
    Expired,
    /// The recipient of the grant is dead, or lives another life: the grant is void, ask again.
    #[error("the recipient is gone")]
    RecipientGone,
    /// The node has no lease.
    #[error("no lease")]
    NoLease,
    /// The image has no bytes, or makes more parts than can be numbered.
    #[error("the image cannot be cut into parts")]
    Unsendable,
}

impl Donor {
    /// For the owner of `c` at epoch `e`.
    #[must_use]
    pub const fn new(c: ConnId, e: Epoch) -> Self {
        Self { c, e, tried: e, state: State::Idle }
    }

    /// The connection.
    #[must_use]
    pub const fn connection(&self) -> ConnId {
        self.c
    }

    /// The owner's epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.e
    }

    /// The highest epoch that was tried or let go (R1).
    #[must_use]
    pub const fn tried(&self) -> Epoch {
        self.tried
    }

    /// Notes what was tried before this donor was made: by the image of a connection that came here, or was taken back.
    pub fn has_tried(&mut self, tried: Epoch) {
        self.tried = self.tried.max(tried);
    }

    /// Whether the connection is frozen or gone: the node must not send on it.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        matches!(self.state, State::Frozen(_) | State::Gone)
    }

    /// The request whose server is being asked for.
    #[must_use]
    pub fn asking(&self) -> Option<u32> {
        match &self.state {
            State::Asking(asking) => asking.is_about_request().then_some(asking.n),
            State::Idle | State::Granted(_) | State::Frozen(_) | State::Gone => None,
        }
    }

    /// The node for which a grant is being asked, because somebody has named it.
    #[must_use]
    pub fn asking_move(&self) -> Option<NodeId> {
        match &self.state {
            State::Asking(asking) => asking.destination(),
            State::Idle | State::Granted(_) | State::Frozen(_) | State::Gone => None,
        }
    }

    /// The grant in hand, usable or not: see [`Self::ready`].
    #[must_use]
    pub const fn grant(&self) -> Option<&Grant> {
        match &self.state {
            State::Granted(granted) => Some(&granted.grant),
            State::Idle | State::Asking(_) | State::Frozen(_) | State::Gone => None,
        }
    }

    /// Whether the grant in hand has spent half its time: who cannot use it yet asks again, and gets the same one fresh.
    #[must_use]
    pub fn is_grant_aging(&self, now: Instant) -> bool {
        matches!(&self.state, State::Granted(granted) if granted.until.since(now) < GRANT_VALID / 2)
    }

    /// The recipient of the attempt under way, with its epoch and generation.
    #[must_use]
    pub const fn frozen_towards(&self) -> Option<(Epoch, NodeId, Generation)> {
        match &self.state {
            State::Frozen(frozen) => Some((frozen.grant.e2, frozen.grant.to, frozen.grant.g)),
            State::Idle | State::Asking(_) | State::Granted(_) | State::Gone => None,
        }
    }

    /// In how many parts the image of the attempt under way goes, and whether all were sent at least once.
    #[must_use]
    pub const fn parts(&self) -> Option<(u16, bool)> {
        match &self.state {
            State::Frozen(frozen) => Some((frozen.parts.count(), frozen.parts.all_sent())),
            State::Idle | State::Asking(_) | State::Granted(_) | State::Gone => None,
        }
    }

    /// Asks the front-end who serves request `n`. A grant for an earlier request is let go. Does nothing while frozen.
    pub fn ask(&mut self, now: Instant, n: u32, key: &RequestKey<'_>, out: &mut impl Outbox) {
        debug_assert!(key.len() <= KEY_BYTES_MAX);
        let RequestKey { method, host, target, is_cut, may_prepare } = *key;
        let (method, host, target) = (method.into(), host.into(), target.into());
        let question = Question::Request { method, host, target, is_cut, may_prepare };
        self.ask_whatever(now, n, question, out);
    }

    /// Asks the front-end for a grant to `to`, before request `n`. What was asked about that request is asked again later; its
    /// grant, if one was given, comes as the answer to this question too. Does nothing while frozen.
    pub fn ask_move(&mut self, now: Instant, n: u32, to: NodeId, out: &mut impl Outbox) {
        self.ask_whatever(now, n, Question::Move { to }, out);
    }

    fn ask_whatever(&mut self, now: Instant, n: u32, question: Question, out: &mut impl Outbox) {
        match &self.state {
            State::Frozen(_) | State::Gone => return,
            State::Granted(granted) if granted.grant.n != n => self.let_go(),
            State::Idle | State::Asking(_) | State::Granted(_) => {}
        }
        let asking = Asking { n, since: now, retry: Retry::new(now, ASK_RETRY), question };
        out.send(NodeId::FRONT_END, &asking.message(self.c, self.e, self.tried));
        self.state = State::Asking(Box::new(asking));
    }

    /// Takes a grant that the node's own arbiter gave: the front-end's first handoff.
    pub fn accept_grant(&mut self, now: Instant, grant: Grant) {
        if matches!(self.state, State::Idle) && self.is_usable(&grant) {
            self.state = State::Granted(Box::new(Granted { grant, until: now + GRANT_VALID }));
        }
    }

    /// Lets a grant go that will not be used.
    pub fn let_go(&mut self) {
        if let State::Granted(granted) = &self.state {
            self.tried = self.tried.max(granted.grant.e2);
            self.state = State::Idle;
        }
    }

    /// The grant in hand, if a handoff could start now.
    ///
    /// # Errors
    /// Why it cannot. A grant to a dead recipient is let go.
    pub fn ready(&mut self, now: Instant, standing: Standing) -> Result<Grant, NoHandoff> {
        let State::Granted(granted) = &self.state else { return Err(NoHandoff::NoGrant) };
        if !standing.has_lease {
            return Err(NoHandoff::NoLease);
        }
        // A lower one says that this node's list is older than the grant.
        if standing.recipient_g.is_some_and(|g| g > granted.grant.g) {
            self.let_go();
            return Err(NoHandoff::RecipientGone);
        }
        if granted.until <= now {
            // Not let go: the front-end gives the same grant again, fresh.
            self.state = State::Idle;
            return Err(NoHandoff::Expired);
        }
        Ok(granted.grant)
    }

    /// Sends the image under the grant in hand. The node has frozen the connection: from now on it is silent.
    ///
    /// # Errors
    /// Why not, with the image, which is to be thawed.
    pub fn hand_off(
        &mut self,
        now: Instant,
        standing: Standing,
        image: Box<[u8]>,
        part_bytes: u16,
        out: &mut impl Outbox,
    ) -> Result<(), (NoHandoff, Box<[u8]>)> {
        let grant = match self.ready(now, standing) {
            Ok(grant) => grant,
            Err(why) => return Err((why, image)),
        };
        let Some(parts) = PartsOut::new(image.len(), part_bytes) else { return Err((NoHandoff::Unsendable, image)) };
        self.tried = self.tried.max(grant.e2);
        let retry = Retry::new(now, HANDOFF_RETRY);
        let mut frozen = Box::new(Frozen { grant, image, parts, retry, is_aborting: false, keeps_tail: false });
        frozen.send_new(out);
        self.state = State::Frozen(frozen);
        Ok(())
    }

    /// Whether what was in flight when the connection was frozen stays at this node. The recipient says RELEASE then, and RELEASED
    /// confirms its INSTALLED, too: no DONE is said, unless INSTALLED comes again.
    pub fn set_keeps_tail(&mut self, keeps_tail: bool) {
        if let State::Frozen(frozen) = &mut self.state {
            frozen.keeps_tail = keeps_tail;
        }
    }

    /// Gives up waiting for the recipient: asks the front-end to settle the attempt now.
    pub fn abort(&mut self, now: Instant, out: &mut impl Outbox) {
        if let State::Frozen(frozen) = &mut self.state {
            frozen.start_abort(now, out);
        }
    }

    /// Handles a message about this connection to its owner or donor: STAY, GRANT, FORWARD, REJECT, MOVE-REJECT, PART-ACK,
    /// INSTALLED, REFUSED, THAW, ATTEMPT-GONE, SETTLE.
    ///
    /// # Errors
    /// The message changes nothing: of another epoch or ordinal, from another node, or not for a donor.
    pub fn handle_message(
        &mut self,
        now: Instant,
        from: NodeId,
        message: &Message<'_>,
        out: &mut impl Outbox,
    ) -> Result<DonorEvent, DropReason> {
        match message {
            Message::PartAck(ack) => self.handle_part_ack(now, from, ack, out),
            Message::Installed(installed) => self.handle_installed(from, installed, out),
            Message::Refused(refused) => self.handle_refused(from, refused, out),
            _ if from != NodeId::FRONT_END => Err(DropReason::MessageStale),
            Message::Stay(m) => self.decided(m.c, m.e, m.n, DonorEvent::Stay { n: m.n, strip: m.strip }),
            Message::Forward(m) => {
                self.decided(m.c, m.e, m.n, DonorEvent::Forward { n: m.n, node: m.node, strip: m.strip })
            }
            Message::Reject(m) => {
                let event = DonorEvent::Reject { n: m.n, status: m.status, retry_after_s: m.retry_after_s };
                self.decided(m.c, m.e, m.n, event)
            }
            Message::Grant(grant) => self.handle_grant(grant),
            Message::MoveReject(reject) => self.handle_move_reject(reject),
            Message::Thaw(m) => self.handle_thaw(m.c, m.e2, out),
            Message::AttemptGone(m) => self.handle_gone(m.c, m.e2),
            Message::Settle(settle) => self.handle_settle(settle, out),
            _ => Err(DropReason::MessageMalformed),
        }
    }

    /// Somebody owns the connection at `epoch`, as the front-end's route or an image that comes back here shows: if that
    /// is the attempt's or a later one, the donor's image is not needed (R15).
    pub fn handle_route(&mut self, epoch: Epoch) -> DonorEvent {
        match &self.state {
            State::Frozen(frozen) if epoch >= frozen.grant.e2 => self.moved(),
            State::Frozen(_) | State::Idle | State::Asking(_) | State::Granted(_) | State::Gone => DonorEvent::Nothing,
        }
    }

    /// Repeats what is due at `now`. Not to be called without a lease (R13).
    pub fn handle_timeout(&mut self, now: Instant, out: &mut impl Outbox) -> DonorEvent {
        match &mut self.state {
            State::Asking(asking) if asking.retry.is_due(now) => {
                if asking.retry.tries >= ASK_TRIES_MAX {
                    let n = asking.n;
                    self.state = State::Idle;
                    return DonorEvent::Unanswered { n };
                }
                asking.retry.again(now, ASK_RETRY, ASK_RETRY_MAX);
                out.send(NodeId::FRONT_END, &asking.message(self.c, self.e, self.tried));
            }
            State::Frozen(frozen) if frozen.retry.is_due(now) => frozen.repeat(now, out),
            State::Idle | State::Asking(_) | State::Granted(_) | State::Frozen(_) | State::Gone => {}
        }
        DonorEvent::Nothing
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub const fn poll_at(&self) -> Option<Instant> {
        match &self.state {
            State::Asking(asking) => Some(asking.retry.at),
            State::Frozen(frozen) => Some(frozen.retry.at),
            State::Idle | State::Granted(_) | State::Gone => None,
        }
    }

    fn is_usable(&self, grant: &Grant) -> bool {
        grant.c == self.c && grant.base == self.e && grant.e2 > self.tried
    }

    fn decided(&mut self, c: ConnId, e: Epoch, n: u32, event: DonorEvent) -> Result<DonorEvent, DropReason> {
        if (c, e) != (self.c, self.e) || self.asking() != Some(n) {
            return Err(DropReason::MessageStale);
        }
        self.state = State::Idle;
        Ok(event)
    }

    fn handle_grant(&mut self, grant: &Grant) -> Result<DonorEvent, DropReason> {
        let State::Asking(asking) = &self.state else { return Err(DropReason::MessageStale) };
        if !self.is_usable(grant) || grant.n != asking.n {
            return Err(DropReason::MessageStale);
        }
        // Counted from the question: how long the answer was on its way is not known.
        let until = asking.since + GRANT_VALID;
        self.state = State::Granted(Box::new(Granted { grant: *grant, until }));
        Ok(DonorEvent::Granted(*grant))
    }

    fn handle_move_reject(&mut self, reject: &MoveReject) -> Result<DonorEvent, DropReason> {
        let MoveReject { c, e, n, to } = *reject;
        let is_asked =
            matches!(&self.state, State::Asking(asking) if asking.n == n && asking.destination() == Some(to));
        if (c, e) != (self.c, self.e) || !is_asked {
            return Err(DropReason::MessageStale);
        }
        self.state = State::Idle;
        Ok(DonorEvent::MoveRejected { to })
    }

    fn handle_part_ack(
        &mut self,
        now: Instant,
        from: NodeId,
        ack: &PartAck,
        out: &mut impl Outbox,
    ) -> Result<DonorEvent, DropReason> {
        match &mut self.state {
            State::Frozen(frozen) if ack.c == self.c && frozen.is_towards(from, ack.e2, ack.g) => {
                frozen.acknowledge(now, ack, out);
                Ok(DonorEvent::Nothing)
            }
            State::Frozen(_) | State::Idle | State::Asking(_) | State::Granted(_) | State::Gone => {
                Err(DropReason::MessageStale)
            }
        }
    }

    fn handle_installed(
        &mut self,
        from: NodeId,
        installed: &Installed,
        out: &mut impl Outbox,
    ) -> Result<DonorEvent, DropReason> {
        let Installed { c, e2, g } = *installed;
        match &self.state {
            State::Frozen(frozen) if c == self.c && frozen.is_towards(from, e2, g) => {
                if !frozen.keeps_tail {
                    out.send(from, &Done { c, e2 }.into());
                }
                Ok(self.moved())
            }
            // The confirmation was lost: the connection has gone there, and perhaps come back or gone on since.
            state if c == self.c && (e2 <= self.e || *state == State::Gone) => {
                out.send(from, &Done { c, e2 }.into());
                Ok(DonorEvent::Nothing)
            }
            State::Frozen(_) | State::Idle | State::Asking(_) | State::Granted(_) | State::Gone => {
                Err(DropReason::MessageStale)
            }
        }
    }

    fn handle_refused(
        &mut self,
        from: NodeId,
        refused: &Refused,
        out: &mut impl Outbox,
    ) -> Result<DonorEvent, DropReason> {
        let Refused { c, e2, g, reason } = *refused;
        if c != self.c {
            return Err(DropReason::MessageStale);
        }
        match &self.state {
            State::Frozen(frozen) if frozen.is_towards(from, e2, g) => {
                out.send(from, &Done { c, e2 }.into());
                Ok(self.thaw(Some(reason)))
            }
            State::Frozen(frozen) if e2 == frozen.grant.e2 => Err(DropReason::MessageStale),
            State::Frozen(_) | State::Idle | State::Asking(_) | State::Granted(_) | State::Gone => {
                out.send(from, &Done { c, e2 }.into());
                Ok(DonorEvent::Nothing)
            }
        }
    }

    fn handle_thaw(&mut self, c: ConnId, e2: Epoch, out: &mut impl Outbox) -> Result<DonorEvent, DropReason> {
        match &self.state {
            State::Frozen(frozen) if (c, e2) == (self.c, frozen.grant.e2) => {
                out.send(frozen.grant.to, &Done { c, e2 }.into());
                Ok(self.thaw(None))
            }
            State::Frozen(_) | State::Idle | State::Asking(_) | State::Granted(_) | State::Gone => {
                Err(DropReason::MessageStale)
            }
        }
    }

    fn handle_gone(&mut self, c: ConnId, e2: Epoch) -> Result<DonorEvent, DropReason> {
        match &self.state {
            State::Frozen(frozen) if (c, e2) == (self.c, frozen.grant.e2) => Ok(self.moved()),
            State::Frozen(_) | State::Idle | State::Asking(_) | State::Granted(_) | State::Gone => {
                Err(DropReason::MessageStale)
            }
        }
    }

    fn handle_settle(&mut self, settle: &Settle, out: &mut impl Outbox) -> Result<DonorEvent, DropReason> {
        let Settle { c, base, e2, .. } = *settle;
        if (c, base) != (self.c, self.e) || matches!(self.state, State::Gone) {
            return Err(DropReason::MessageStale);
        }
        let (claim, event) = match &self.state {
            State::Frozen(frozen) if frozen.grant.e2 == e2 => (SettleClaim::Lost, DonorEvent::Lost { e2 }),
            State::Granted(granted) if granted.grant.e2 <= e2 => {
                (SettleClaim::Kept, DonorEvent::GrantVoid { n: granted.grant.n })
            }
            State::Frozen(_) | State::Idle | State::Asking(_) | State::Granted(_) | State::Gone => {
                (SettleClaim::Kept, DonorEvent::Nothing)
            }
        };
        match event {
            DonorEvent::Lost { .. } => self.state = State::Gone,
            DonorEvent::GrantVoid { .. } => self.state = State::Idle,
            _ => {}
        }
        self.tried = self.tried.max(e2);
        out.send(NodeId::FRONT_END, &Settled { c, e2, claim }.into());
        Ok(event)
    }

    fn moved(&mut self) -> DonorEvent {
        match core::mem::replace(&mut self.state, State::Gone) {
            State::Frozen(frozen) => DonorEvent::Moved { e2: frozen.grant.e2, to: frozen.grant.to, g: frozen.grant.g },
            State::Idle | State::Asking(_) | State::Granted(_) | State::Gone => DonorEvent::Nothing,
        }
    }

    fn thaw(&mut self, reason: Option<RefuseReason>) -> DonorEvent {
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Frozen(frozen) => {
                let Frozen { grant, image, .. } = *frozen;
                DonorEvent::Thaw { image, e2: grant.e2, tried: self.tried, to: grant.to, reason }
            }
            State::Idle | State::Asking(_) | State::Granted(_) | State::Gone => DonorEvent::Nothing,
        }
    }
}

impl Asking {
    fn message(&self, c: ConnId, e: Epoch, tried: Epoch) -> Message<'_> {
        let n = self.n;
        match &self.question {
            Question::Request { method, host, target, is_cut, may_prepare } => {
                let key = RequestKey { method, host, target, is_cut: *is_cut, may_prepare: *may_prepare };
                Ask { c, e, tried, n, key }.into()
            }
            Question::Move { to } => MoveAsk { c, e, tried, n, to: *to }.into(),
        }
    }

    const fn is_about_request(&self) -> bool {
        matches!(self.question, Question::Request { .. })
    }

    const fn destination(&self) -> Option<NodeId> {
        match self.question {
            Question::Move { to } => Some(to),
            Question::Request { .. } => None,
        }
    }
}

impl Frozen {
    fn is_towards(&self, from: NodeId, e2: Epoch, g: Generation) -> bool {
        (self.grant.to, self.grant.e2, self.grant.g) == (from, e2, g)
    }

    fn send_new(&mut self, out: &mut impl Outbox) {
        while let Some(part) = self.parts.send_next() {
            self.send_part(part, out);
        }
    }

    fn send_part(&self, part: u16, out: &mut impl Outbox) {
        let Grant { c, base, e2, to, g, .. } = self.grant;
        let handoff = Handoff {
            c,
            base,
            e2,
            g,
            total: u32::try_from(self.image.len()).unwrap_or(u32::MAX),
            part_bytes: self.parts.part_bytes(),
            part,
            bytes: self.parts.slice(&self.image, part),
        };
        out.send(to, &handoff.into());
    }

    fn acknowledge(&mut self, now: Instant, ack: &PartAck, out: &mut impl Outbox) {
        if !self.parts.acknowledge(ack.missing, ack.beyond) || self.is_aborting {
            return;
        }
        self.retry = Retry::new(now, HANDOFF_RETRY);
        while let Some(part) = self.parts.resend_next() {
            self.send_part(part, out);
        }
        self.send_new(out);
    }

    fn repeat(&mut self, now: Instant, out: &mut impl Outbox) {
        if self.is_aborting {
            self.retry.again(now, ABORT_RETRY, ABORT_RETRY_MAX);
            self.send_abort(out);
        } else if self.retry.tries >= HANDOFF_TRIES_MAX {
            self.start_abort(now, out);
        } else {
            self.retry.again(now, HANDOFF_RETRY, HANDOFF_RETRY_MAX);
            self.parts.forget_resent();
            for part in self.parts.unacked() {
                self.send_part(part, out);
            }
        }
    }

    fn start_abort(&mut self, now: Instant, out: &mut impl Outbox) {
        if !self.is_aborting {
            // No HANDOFF follows an ABORT: what the recipient forgets after a REVOKE cannot come again.
            self.is_aborting = true;
            self.retry = Retry::new(now, ABORT_RETRY);
            self.send_abort(out);
        }
    }

    fn send_abort(&self, out: &mut impl Outbox) {
        let Grant { c, base, e2, to, g, .. } = self.grant;
        out.send(NodeId::FRONT_END, &Abort { c, base, e2, to, g }.into());
    }
}
