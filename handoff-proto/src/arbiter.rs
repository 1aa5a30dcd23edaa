//! The arbiter: the front-end's side. It alone gives epochs, and it alone says who owns a connection after silence.
//!
//! A [`RouteState`] per connection lies in the front-end's own route entry; the [`Arbiter`] keeps only deadlines. Of
//! an attempt that it granted it knows nothing until somebody says so:
//! ```text
//!                              INSTALLED, or ASK(e2) or CLOSED(e2)
//!            +---> Granted ------------------------------------------------> owner = recipient, epoch = e2
//!   ASK -----+        |  ABORT, or owner dead    REVOKED
//!                     +-----> Revoking ----------------> owner alive: THAW; else reset
//!                     |           | recipient dead
//!                     +-----------+---> Settling --SETTLED Kept--> owner as before
//!                       recipient dead          \--SETTLED Lost--> reset
//! ```
//! There is at most one attempt at a time: an owner that asks again under `tried` above it, or about a later request,
//! can never use it any more.

use baton_stack::addr::{ConnId, Flow};
use baton_stack::drop::DropReason;
use baton_stack::time::{Duration, Instant};

use crate::due::DueList;
use crate::message::{
    Abort, Ask, AttemptGone, Closed, ClosedAck, Done, Forward, Grant, Installed, Message, MoveAsk, MoveReject, Outbox,
    Over, Refused, Reject, RequestKey, Revoke, Revoked, Routed, Settle, SettleClaim, Settled, Stay, TailKept, Thaw,
};
use crate::names::{Epoch, Generation, NodeId};
use crate::retry::Retry;

/// The wait before REVOKE or SETTLE is repeated first.
pub const SETTLE_RETRY: Duration = Duration::from_millis(20);
/// The longest wait between two of them. They go on until they are answered or the asked node's lease is over.
pub const SETTLE_RETRY_MAX: Duration = Duration::from_millis(200);

/// Which nodes live, and under which generation.
pub trait Nodes {
    /// The generation of `node`; [`Generation::NONE`] if it is down or unknown. The front-end's own never changes.
    fn generation(&self, node: NodeId) -> Generation;

    /// Whether connections may be granted to `node`: not while it drains. A grant that was given stays good.
    fn takes_more(&self, node: NodeId) -> bool {
        let _ = node;
        true
    }
}

/// What the front-end knows of who owns a connection. 40 bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RouteState {
    owner_g: Generation,
    pending: Option<Box<Pending>>,
    epoch: Epoch,
    highest: Epoch,
    void: Epoch,
    owner: NodeId,
}

/// All that there is to know of a connection that stays where it is, in fewer bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rest {
    /// The owner.
    pub owner: NodeId,
    /// The owner's generation.
    pub owner_g: Generation,
    /// The owner's epoch.
    pub epoch: Epoch,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Pending {
    grant: Grant,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Stage {
    /// The owner may use it, has used it, or has not got it.
    Granted,
    /// The recipient is asked to give it up.
    Revoking(Retry),
    /// The recipient is dead: the owner is asked what it did.
    Settling(Retry),
}

/// What is common to an owner's questions.
struct Question {
    e: Epoch,
    tried: Epoch,
    n: u32,
}

/// What the front-end does with the connection's packets after a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Decision {
    /// Nothing changes.
    Keep,
    /// They go to a new owner. The front-end's own donor, if it has one, is told by
    /// [`Donor::handle_route`](crate::donor::Donor::handle_route).
    Route {
        /// The owner.
        to: NodeId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The connection is lost: reset the client, once, and forget the route.
    Reset(ResetCause),
    /// The connection has ended: the route becomes TIME_WAIT or nothing.
    Closed,
}

/// Why a connection is reset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ResetCause {
    /// Its owner died.
    OwnerDied,
    /// It was on its way to a node that died, and that may have sent.
    RecipientDied,
}

impl ResetCause {
    /// Every cause.
    pub const ALL: &'static [Self] = &[Self::OwnerDied, Self::RecipientDied];

    /// The cause's name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OwnerDied => "owner_died",
            Self::RecipientDied => "recipient_died",
        }
    }
}

/// What the dispatcher says to an owner that asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// This node serves the request, by a move if it is not the owner.
    Serve {
        /// The node.
        node: NodeId,
        /// Bytes of the path that the service does not see.
        strip: u16,
    },
    /// This node produces the response, the owner sends it.
    Forward {
        /// The node.
        node: NodeId,
        /// Bytes of the path that the service does not see.
        strip: u16,
    },
    /// Nobody serves it.
    Reject {
        /// The status.
        status: u16,
        /// Seconds for Retry-After; zero for none.
        retry_after_s: u16,
    },
}

/// A life that is over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Death {
    /// The node.
    pub node: NodeId,
    /// Its generation.
    pub g: Generation,
}

impl RouteState {
    /// A connection that the front-end, of generation `front_end_g`, has just accepted.
    #[must_use]
    pub const fn new(front_end_g: Generation) -> Self {
        Self {
            owner_g: front_end_g,
            pending: None,
            epoch: Epoch::FIRST,
            highest: Epoch::FIRST,
            void: Epoch::FIRST,
            owner: NodeId::FRONT_END,
        }
    }

    /// What is left to know when no attempt is under way and the last that was granted has given the connection its owner. `None`
    /// otherwise.
    #[must_use]
    pub fn at_rest(&self) -> Option<Rest> {
        let Self { owner_g, pending, epoch, highest, void, owner } = self;
        let is_at_rest = pending.is_none() && highest <= epoch && void <= epoch;
        is_at_rest.then_some(Rest { owner: *owner, owner_g: *owner_g, epoch: *epoch })
    }

    /// A connection at rest. Epochs up to the owner's are over, whichever of them were burnt: nobody can tell the difference.
    #[must_use]
    pub const fn resting(rest: Rest) -> Self {
        let Rest { owner, owner_g, epoch } = rest;
        Self { owner_g, pending: None, epoch, highest: epoch, void: epoch, owner }
    }

    /// The owner that is known.
    #[must_use]
    pub const fn owner(&self) -> NodeId {
        self.owner
    }

    /// The owner's generation.
    #[must_use]
    pub const fn owner_g(&self) -> Generation {
        self.owner_g
    }

    /// The owner's epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The attempt under way.
    #[must_use]
    pub fn pending(&self) -> Option<&Grant> {
        self.pending.as_ref().map(|pending| &pending.grant)
    }

    /// Whether the front-end is finding out what became of an attempt: it grants nothing meanwhile.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.poll_at().is_some()
    }

    /// When [`Arbiter::handle_timeout`] has something to do for this connection.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        match self.pending.as_ref()?.stage {
            Stage::Granted => None,
            Stage::Revoking(retry) | Stage::Settling(retry) => Some(retry.at),
        }
    }

    /// An owner that asks, or closes, or whose attempt is confirmed, under the attempt's epoch: it has installed it.
    fn take_over(&mut self, from: NodeId, e: Epoch, g: Generation) -> bool {
        let is_pending = self.pending.as_ref().is_some_and(|pending| {
            let Grant { e2, to, g: granted, .. } = pending.grant;
            (to, e2, granted) == (from, e, g)
        });
        if is_pending && e > self.epoch {
            (self.owner, self.owner_g, self.epoch) = (from, g, e);
            self.pending = None;
        }
        is_pending
    }

    fn is_owner(&self, node: NodeId, nodes: &impl Nodes) -> bool {
        self.owner == node && self.owner_g == nodes.generation(node)
    }

    /// The owner can never use an attempt up to `e2` any more.
    fn burn(&mut self, e2: Epoch) {
        self.void = self.void.max(e2);
        if self.pending.as_ref().is_some_and(|pending| pending.grant.e2 <= self.void) {
            self.pending = None;
        }
    }
}

/// The deadlines of all attempts that are being settled. Each call takes the connection's own [`RouteState`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Arbiter {
    due: DueList,
}

impl Arbiter {
    /// With nothing to do.
    #[must_use]
    pub const fn new() -> Self {
        Self { due: DueList::new() }
    }

    /// A grant for the front-end's own first handoff. `tried` is its donor's. `None` if the recipient is down, the front-end is
    /// not the owner, or an earlier attempt is not over.
    #[expect(clippy::too_many_arguments, reason = "a grant has many words, and each is the caller's")]
    pub fn grant_first(
        &mut self,
        c: ConnId,
        route: &mut RouteState,
        tried: Epoch,
        to: NodeId,
        n: u32,
        strip: u16,
        nodes: &impl Nodes,
    ) -> Option<Grant> {
        if route.owner != NodeId::FRONT_END {
            return None;
        }
        self.with_timer(c, route, |route| {
            route.burn(tried);
            if route.pending.is_some() { None } else { route.grant(c, to, n, Some(strip), nodes) }
        })
    }

    /// An owner asks who serves a request. `choose` asks the dispatcher; it is not called when the answer is given
    /// already. The owner may turn out to have taken the connection over: then packets go to it.
    ///
    /// # Errors
    /// The message changes nothing: not from the owner, or of another epoch.
    #[expect(clippy::too_many_arguments, reason = "a question touches every part of a front-end")]
    pub fn handle_ask(
        &mut self,
        now: Instant,
        route: &mut RouteState,
        from: NodeId,
        ask: &Ask<'_>,
        nodes: &impl Nodes,
        choose: impl FnOnce(&RequestKey<'_>) -> Choice,
        out: &mut impl Outbox,
    ) -> Result<Decision, DropReason> {
        let Ask { c, e, tried, n, key } = *ask;
        self.with_timer(c, route, |route| {
            let (decision, is_open) = route.hear(now, from, Question { e, tried, n }, nodes, out)?;
            if is_open {
                route.answer(from, ask, choose(&key), nodes, out);
            }
            Ok(decision)
        })
    }

    /// An owner asks for a grant to a node that somebody has named.
    ///
    /// # Errors
    /// The message changes nothing: not from the owner, or of another epoch.
    pub fn handle_move_ask(
        &mut self,
        now: Instant,
        route: &mut RouteState,
        from: NodeId,
        ask: &MoveAsk,
        nodes: &impl Nodes,
        out: &mut impl Outbox,
    ) -> Result<Decision, DropReason> {
        let MoveAsk { c, e, tried, n, to } = *ask;
        self.with_timer(c, route, |route| {
            let (decision, is_open) = route.hear(now, from, Question { e, tried, n }, nodes, out)?;
            if is_open {
                let rejected: Message<'_> = MoveReject { c, e, n, to }.into();
                let answer = route.grant(c, to, n, None, nodes).map_or(rejected, Into::into);
                out.send(from, &answer);
            }
            Ok(decision)
        })
    }

    /// A recipient says that it owns the connection.
    ///
    /// # Errors
    /// The message changes nothing: never granted, taken back, or of a dead generation (R14).
    pub fn handle_installed(
        &mut self,
        route: &mut RouteState,
        from: NodeId,
        installed: &Installed,
        nodes: &impl Nodes,
        out: &mut impl Outbox,
    ) -> Result<Decision, DropReason> {
        let Installed { c, e2, g } = *installed;
        self.with_timer(c, route, |route| {
            if nodes.generation(from) != g {
                return Err(DropReason::MessageStale);
            }
            let decision = if route.take_over(from, e2, g) {
                Decision::Route { to: from, epoch: e2 }
            } else if e2 <= route.epoch {
                Decision::Keep
            } else {
                return Err(DropReason::MessageStale);
            };
            out.send(from, &Routed { c, e2 }.into());
            Ok(decision)
        })
    }

    /// A donor hears nothing from its recipient.
    ///
    /// # Errors
    /// The message changes nothing: not from the owner.
    pub fn handle_abort(
        &mut self,
        now: Instant,
        (route, flow): (&mut RouteState, &Flow),
        from: NodeId,
        abort: &Abort,
        nodes: &impl Nodes,
        out: &mut impl Outbox,
    ) -> Result<Decision, DropReason> {
        let Abort { c, base, e2, to, g } = *abort;
        self.with_timer(c, route, |route| {
            if e2 <= route.epoch {
                out.send(from, &AttemptGone { c, e2 }.into());
                return Ok(Decision::Keep);
            }
            if !route.is_owner(from, nodes) || base != route.epoch {
                return Err(DropReason::MessageStale);
            }
            if e2 <= route.void {
                out.send(from, &Thaw { c, e2 }.into());
                return Ok(Decision::Keep);
            }
            match &mut route.pending {
                Some(pending) if (pending.grant.e2, pending.grant.to, pending.grant.g) == (e2, to, g) => {
                    // An ABORT may be old: it never resets by itself, it makes the front-end ask.
                    if nodes.generation(to) == g {
                        pending.revoke(now, flow, out);
                    } else {
                        pending.settle(now, from, out);
                    }
                    Ok(Decision::Keep)
                }
                Some(_) | None => Err(DropReason::MessageStale),
            }
        })
    }

    /// A recipient will never install an attempt.
    ///
    /// # Errors
    /// The message changes nothing: no such attempt is being taken back, or the owner is asked already.
    pub fn handle_revoked(
        &mut self,
        route: &mut RouteState,
        from: NodeId,
        revoked: &Revoked,
        nodes: &impl Nodes,
        out: &mut impl Outbox,
    ) -> Result<Decision, DropReason> {
        let Revoked { c, e2, g } = *revoked;
        self.with_timer(c, route, |route| {
            let Some(pending) = &route.pending else { return Err(DropReason::MessageStale) };
            if (pending.grant.to, pending.grant.e2, pending.grant.g) != (from, e2, g) {
                return Err(DropReason::MessageStale);
            }
            // It comes late: the owner was asked since, and may have given its image up.
            if matches!(pending.stage, Stage::Settling(_)) {
                return Err(DropReason::MessageStale);
            }
            route.burn(e2);
            let owner = route.owner;
            if !route.is_owner(owner, nodes) {
                return Ok(Decision::Reset(ResetCause::OwnerDied));
            }
            out.send(owner, &Thaw { c, e2 }.into());
            Ok(Decision::Keep)
        })
    }

    /// A donor says what it did with an attempt whose recipient is dead.
    ///
    /// # Errors
    /// The message changes nothing: not from the owner, or no such attempt is being settled.
    pub fn handle_settled(
        &mut self,
        route: &mut RouteState,
        from: NodeId,
        settled: &Settled,
        nodes: &impl Nodes,
    ) -> Result<Decision, DropReason> {
        let Settled { c, e2, claim } = *settled;
        self.with_timer(c, route, |route| {
            let is_asked = route
                .pending
                .as_ref()
                .is_some_and(|pending| pending.grant.e2 == e2 && matches!(pending.stage, Stage::Settling(_)));
            if !is_asked || !route.is_owner(from, nodes) {
                return Err(DropReason::MessageStale);
            }
            route.burn(e2);
            Ok(match claim {
                SettleClaim::Kept => Decision::Keep,
                SettleClaim::Lost => Decision::Reset(ResetCause::RecipientDied),
            })
        })
    }

    /// The owner has closed the connection. Acknowledged also when it changes nothing.
    ///
    /// # Errors
    /// The message changes nothing: not from the owner, or of another epoch.
    pub fn handle_closed(
        &mut self,
        route: &mut RouteState,
        from: NodeId,
        closed: &Closed,
        nodes: &impl Nodes,
        out: &mut impl Outbox,
    ) -> Result<Decision, DropReason> {
        let Closed { c, e, .. } = *closed;
        self.with_timer(c, route, |route| {
            route.take_over(from, e, nodes.generation(from));
            if !route.is_owner(from, nodes) || e != route.epoch {
                return Err(DropReason::MessageStale);
            }
            route.pending = None;
            out.send(from, &ClosedAck { c }.into());
            Ok(Decision::Closed)
        })
    }

    /// A node's life is over: `nodes` knows it no longer. To be called for every connection.
    pub fn handle_node_down(
        &mut self,
        now: Instant,
        c: ConnId,
        (route, flow): (&mut RouteState, &Flow),
        death: Death,
        nodes: &impl Nodes,
        out: &mut impl Outbox,
    ) -> Decision {
        let Death { node, g } = death;
        self.with_timer(c, route, |route| {
            let owner_died = (route.owner, route.owner_g) == (node, g);
            let owner = route.owner;
            let owner_lives = !owner_died && route.is_owner(owner, nodes);
            let Some(pending) = &mut route.pending else {
                return if owner_died { Decision::Reset(ResetCause::OwnerDied) } else { Decision::Keep };
            };
            let recipient_lives = nodes.generation(pending.grant.to) == pending.grant.g;
            let recipient_died = (pending.grant.to, pending.grant.g) == (node, g);
            if !owner_died && !recipient_died {
                return Decision::Keep;
            }
            match (owner_lives, recipient_lives) {
                // It may have taken the connection over, and its INSTALLED be late.
                (false, true) => pending.revoke(now, flow, out),
                (true, _) => pending.settle(now, owner, out),
                (false, false) => {
                    route.pending = None;
                    return Decision::Reset(ResetCause::OwnerDied);
                }
            }
            Decision::Keep
        })
    }

    /// The recipient of the front-end's own attempt has refused it: the owner has the connection as before.
    pub fn handle_refused(&mut self, c: ConnId, route: &mut RouteState, e2: Epoch) {
        self.with_timer(c, route, |route| route.burn(e2));
    }

    /// Forgets what is planned for a connection whose route the front-end drops for reasons of its own.
    pub fn forget(&mut self, c: ConnId, route: &mut RouteState) {
        self.with_timer(c, route, |route| route.pending = None);
    }

    /// Takes the next connection for which something is due: the caller finds its route and calls [`Self::handle_timeout`].
    pub fn pop_due(&mut self, now: Instant) -> Option<ConnId> {
        self.due.pop(now)
    }

    /// Repeats what is due for this connection.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        c: ConnId,
        (route, flow): (&mut RouteState, &Flow),
        out: &mut impl Outbox,
    ) {
        self.with_timer(c, route, |route| {
            let owner = route.owner;
            if let Some(pending) = &mut route.pending {
                pending.repeat(now, owner, flow, out);
            }
        });
    }

    /// When something is due next.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.due.poll_at()
    }

    /// Runs `change`, then moves the connection's deadline to where the route now has it.
    fn with_timer<T>(&mut self, c: ConnId, route: &mut RouteState, change: impl FnOnce(&mut RouteState) -> T) -> T {
        let result = change(route);
        self.due.set(c, route.poll_at());
        result
    }
}

/// Answers a message about a connection of which the front-end has no route: it has been closed or reset. Also answers
/// REFUSED for a connection that has a route and no donor here any more.
///
/// # Errors
/// No answer is due to this kind of message.
pub fn answer_unknown(from: NodeId, message: &Message<'_>, out: &mut impl Outbox) -> Result<(), DropReason> {
    match message {
        Message::Ask(Ask { c, .. })
        | Message::MoveAsk(MoveAsk { c, .. })
        | Message::Installed(Installed { c, .. })
        | Message::TailKept(TailKept { c }) => out.send(from, &Over { c: *c }.into()),
        Message::Abort(Abort { c, e2, .. }) => out.send(from, &AttemptGone { c: *c, e2: *e2 }.into()),
        Message::Refused(Refused { c, e2, .. }) => out.send(from, &Done { c: *c, e2: *e2 }.into()),
        Message::Closed(Closed { c, .. }) => out.send(from, &ClosedAck { c: *c }.into()),
        _ => return Err(DropReason::MessageStale),
    }
    Ok(())
}

impl RouteState {
    /// What an owner's question says of itself, before it is answered. True if an answer is due; else it was given already, or
    /// comes when an attempt is settled.
    fn hear(
        &mut self,
        now: Instant,
        from: NodeId,
        question: Question,
        nodes: &impl Nodes,
        out: &mut impl Outbox,
    ) -> Result<(Decision, bool), DropReason> {
        let Question { e, tried, n } = question;
        let decision = if self.take_over(from, e, nodes.generation(from)) {
            Decision::Route { to: from, epoch: e }
        } else {
            Decision::Keep
        };
        if !self.is_owner(from, nodes) || e != self.epoch {
            return Err(DropReason::MessageStale);
        }
        self.burn(tried);
        if let Some(pending) = &mut self.pending {
            let grant = pending.grant;
            if n < grant.n || matches!(pending.stage, Stage::Settling(_)) {
                return Ok((decision, false));
            }
            if nodes.generation(grant.to) != grant.g {
                pending.settle(now, from, out);
                return Ok((decision, false));
            }
            if n == grant.n {
                out.send(from, &grant.into());
                return Ok((decision, false));
            }
            // It asks about a later request: whatever it did with the answer to the earlier one, it owns still.
            self.burn(grant.e2);
        }
        Ok((decision, true))
    }

    /// A new epoch for `to`, above all that were given (R1).
    fn grant(&mut self, c: ConnId, to: NodeId, n: u32, strip: Option<u16>, nodes: &impl Nodes) -> Option<Grant> {
        let g = nodes.generation(to);
        if g == Generation::NONE || to == self.owner || !nodes.takes_more(to) {
            return None;
        }
        let e2 = self.highest.max(self.void).next()?;
        let grant = Grant { c, base: self.epoch, e2, to, g, n, strip };
        self.highest = e2;
        self.pending = Some(Box::new(Pending { grant, stage: Stage::Granted }));
        Some(grant)
    }

    fn answer(&mut self, from: NodeId, ask: &Ask<'_>, choice: Choice, nodes: &impl Nodes, out: &mut impl Outbox) {
        let Ask { c, e, n, .. } = *ask;
        let unavailable: Message<'_> = Reject { c, e, n, status: 503, retry_after_s: 1, strip: 0 }.into();
        let answer = match choice {
            Choice::Serve { node, strip } if node == from => Stay { c, e, n, strip }.into(),
            Choice::Serve { node, strip } => self.grant(c, node, n, Some(strip), nodes).map_or(unavailable, Into::into),
            Choice::Forward { node, strip } => Forward { c, e, n, node, strip }.into(),
            Choice::Reject { status, retry_after_s } => Reject { c, e, n, status, retry_after_s, strip: 0 }.into(),
        };
        out.send(from, &answer);
    }
}

impl Pending {
    fn revoke(&mut self, now: Instant, flow: &Flow, out: &mut impl Outbox) {
        if !matches!(self.stage, Stage::Revoking(_)) {
            self.stage = Stage::Revoking(Retry::new(now, SETTLE_RETRY));
            self.ask_recipient(flow, out);
        }
    }

    fn settle(&mut self, now: Instant, owner: NodeId, out: &mut impl Outbox) {
        if !matches!(self.stage, Stage::Settling(_)) {
            self.stage = Stage::Settling(Retry::new(now, SETTLE_RETRY));
            self.ask_owner(owner, out);
        }
    }

    fn repeat(&mut self, now: Instant, owner: NodeId, flow: &Flow, out: &mut impl Outbox) {
        match &mut self.stage {
            Stage::Revoking(retry) if retry.is_due(now) => {
                retry.again(now, SETTLE_RETRY, SETTLE_RETRY_MAX);
                self.ask_recipient(flow, out);
            }
            Stage::Settling(retry) if retry.is_due(now) => {
                retry.again(now, SETTLE_RETRY, SETTLE_RETRY_MAX);
                self.ask_owner(owner, out);
            }
            Stage::Granted | Stage::Revoking(_) | Stage::Settling(_) => {}
        }
    }

    fn ask_recipient(&self, flow: &Flow, out: &mut impl Outbox) {
        let Grant { c, e2, to, g, .. } = self.grant;
        out.send(to, &Revoke { c, e2, g, flow: *flow }.into());
    }

    fn ask_owner(&self, owner: NodeId, out: &mut impl Outbox) {
        let Grant { c, base, e2, to, g, .. } = self.grant;
        out.send(owner, &Settle { c, base, e2, to, g }.into());
    }
}
