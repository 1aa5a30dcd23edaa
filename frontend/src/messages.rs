//! What back-ends say to the front-end, and what it decides on it.

use std::net::IpAddr;

use baton_stack::addr::{ConnId, MacAddr};
use baton_stack::drop::DropReason;
use baton_stack::tcp::{SeqNum, TimeWait, reset_at};
use baton_stack::time::Instant;
use handoff_proto::arbiter::{Choice, Decision, ResetCause, RouteState, answer_unknown};
use handoff_proto::codec::Reader;
use handoff_proto::journal::MoveResult;
use handoff_proto::lease::BoardEvent;
use handoff_proto::message::{
    Ask, Closed, Done, DrainState, Ended, Grant, Message, Outbox, Over, Prefetch, RequestKey as AskedKey,
};
use handoff_proto::names::NodeId;

use crate::accept::node_of;
use crate::dispatch::{Decision as Dispatched, Dispatcher, RequestKey};
use crate::node::{Bare, FrontEnd};
use crate::routes::{Place, RouteKey};

impl FrontEnd {
    /// Takes a datagram from a back-end.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        (from, src_mac): (IpAddr, MacAddr),
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let (peer, messages) = self.sessions.handle_datagram(now, from, datagram)?;
        while self.sessions.poll_event().is_some() {}
        let node = self.directory.id_of(peer).ok_or(DropReason::MessageUnknownPeer)?;
        for message in messages {
            self.directory.note_mac(src_mac);
            let handled = message.and_then(|message| self.handle_message(now, node, &message));
            if let Err(reason) = handled {
                self.ports.drops.count(reason);
            }
        }
        Ok(())
    }

    /// Handles what the front-end has said to itself.
    pub(crate) fn handle_own_messages(&mut self, now: Instant) {
        while let Some(bytes) = self.to_self.pop_front() {
            if let Ok(message) = Message::decode(&mut Reader::new(&bytes)) {
                let _ = self.handle_message(now, NodeId::FRONT_END, &message);
            }
        }
    }

    fn handle_message(&mut self, now: Instant, from: NodeId, message: &Message<'_>) -> Result<(), DropReason> {
        let mut out = self.directory.outbox(&mut self.sessions, &mut self.to_self, &mut self.ports.drops);
        match message {
            Message::Join(join) => {
                self.board.handle_join(now, from, join, &mut out)?;
                self.handle_board_events(now);
                return Ok(());
            }
            Message::LeaseReq(request) => return self.board.handle_lease_req(now, from, request, &mut out),
            Message::PartAck(m) => return self.tell_donor(now, m.c, from, message),
            // The donor that is not there any more has heard it already: its DONE was lost.
            Message::Refused(m) if !self.frozen.contains_key(&m.c) => return answer_unknown(from, message, &mut out),
            Message::Refused(m) => return self.tell_donor(now, m.c, from, message),
            Message::Thaw(m) => return self.tell_donor(now, m.c, from, message),
            Message::AttemptGone(m) => return self.tell_donor(now, m.c, from, message),
            Message::Settle(m) => return self.tell_donor(now, m.c, from, message),
            _ => {}
        }
        let c = match message {
            Message::Ask(m) => m.c,
            Message::MoveAsk(m) => m.c,
            Message::Installed(m) => m.c,
            Message::Abort(m) => m.c,
            Message::Revoked(m) => m.c,
            Message::Settled(m) => m.c,
            Message::Closed(m) => m.c,
            Message::TailKept(m) => m.c,
            _ => return Err(DropReason::MessageStale),
        };
        let Some(key) = self.routes.of_conn(c) else { return answer_unknown(from, message, &mut out) };
        let Some(route) = self.routes.get_mut(key) else { return Err(DropReason::MessageStale) };
        if matches!(route.place, Place::TimeWait(_)) {
            return answer_unknown(from, message, &mut out);
        }
        let (arbiter, board, state, flow) = (&mut self.arbiter, &self.board, &mut route.state, &route.flow);
        let decision = match message {
            Message::Ask(ask) => self.handle_ask(now, key, from, ask)?,
            Message::MoveAsk(ask) => {
                self.stats.asks += 1;
                self.wished.forget(c);
                arbiter.handle_move_ask(now, state, from, ask, board, &mut out)?
            }
            Message::Installed(installed) => {
                let decision = arbiter.handle_installed(state, from, installed, board, &mut out)?;
                if self.frozen.contains_key(&c) {
                    // The donor of the first handoff confirms on its own account.
                    self.tell_donor(now, c, from, message)?;
                } else if route.first == installed.e2 {
                    // It has, and its DONE was lost.
                    out.send(from, &Done { c, e2: installed.e2 }.into());
                }
                decision
            }
            Message::Abort(abort) => arbiter.handle_abort(now, (state, flow), from, abort, board, &mut out)?,
            Message::Revoked(revoked) => arbiter.handle_revoked(state, from, revoked, board, &mut out)?,
            Message::Settled(settled) => arbiter.handle_settled(state, from, settled, board)?,
            Message::Closed(closed) => {
                let decision = arbiter.handle_closed(state, from, closed, board, &mut out)?;
                if decision == Decision::Closed {
                    self.closed(now, key, closed);
                }
                return Ok(());
            }
            // The connection lives: its owner may want the bytes.
            Message::TailKept(_) => return Ok(()),
            _ => return Err(DropReason::MessageStale),
        };
        self.decided(now, key, decision);
        if matches!(message, Message::Ask(_) | Message::MoveAsk(_)) {
            self.note_grant(now, key);
        }
        Ok(())
    }

    /// An owner asks who serves a request.
    fn handle_ask(&mut self, now: Instant, key: RouteKey, from: NodeId, ask: &Ask<'_>) -> Result<Decision, DropReason> {
        self.stats.asks += 1;
        let Some(route) = self.routes.get_mut(key) else { return Err(DropReason::MessageStale) };
        if let Some(node) = refused(&route.state, ask) {
            self.directory.pause(now, node);
        }
        let (board, directory) = (&self.board, &self.directory);
        let is_up = |node| board.is_offered(node) && !directory.is_paused(now, node);
        let (dispatcher, stats) = (&self.dispatcher, &mut self.stats);
        let choose = |key: &AskedKey<'_>| {
            let choice = choose(dispatcher, is_up, key);
            stats.count_choice(&choice, from);
            choice
        };
        let mut out = directory.outbox(&mut self.sessions, &mut self.to_self, &mut self.ports.drops);
        let decision = self.arbiter.handle_ask(now, &mut route.state, from, ask, board, choose, &mut out)?;
        if self.settings.prefetch
            && let Some(prefetch) = prefetch(&route.state, ask)
        {
            self.stats.prefetches += 1;
            out.send(prefetch.0, &prefetch.1.into());
        }
        Ok(decision)
    }

    /// A message to the donor of a first handoff.
    fn tell_donor(&mut self, now: Instant, c: ConnId, from: NodeId, message: &Message<'_>) -> Result<(), DropReason> {
        let frozen = self.frozen.get_mut(&c).ok_or(DropReason::MessageStale)?;
        let mut out = self.directory.outbox(&mut self.sessions, &mut self.to_self, &mut self.ports.drops);
        let event = frozen.donor.handle_message(now, from, message, &mut out);
        self.donors_due.set(c, frozen.donor.poll_at());
        self.handle_donor_event(now, c, event?);
        Ok(())
    }

    /// Acts on a decision of the arbiter.
    fn decided(&mut self, now: Instant, key: RouteKey, decision: Decision) {
        match decision {
            Decision::Keep => {}
            Decision::Route { to, epoch } => {
                let Some(route) = self.routes.get_mut(key) else { return };
                let c = route.c;
                if matches!(route.place, Place::Leaving) {
                    route.first = epoch;
                }
                route.place = Place::Away(to);
                self.stats.moves += 1;
                self.end_move(key, epoch, |event| {
                    let after = now.since(event.asked);
                    (event.result, event.installed, event.routed) = (MoveResult::Moved, Some(after), Some(after));
                });
                if let Some(frozen) = self.frozen.get_mut(&c) {
                    let event = frozen.donor.handle_route(epoch);
                    self.donors_due.set(c, frozen.donor.poll_at());
                    self.handle_donor_event(now, c, event);
                }
            }
            Decision::Reset(cause) => {
                self.stats.count_reset(cause);
                let moving = self.routes.get(key).and_then(|route| route.moving.as_ref().map(|event| event.e2));
                if let Some(e2) = moving.filter(|_| cause == ResetCause::RecipientDied) {
                    self.end_move(key, e2, |event| event.result = MoveResult::Lost);
                }
                self.reset_route(key);
            }
            Decision::Closed => {
                self.drop_route(key);
            }
        }
    }

    /// The owner has closed the connection: its end is remembered here, where a new SYN would come.
    fn closed(&mut self, now: Instant, key: RouteKey, closed: &Closed) {
        self.stats.count_ended(closed.ended);
        self.stats.requests += u64::from(closed.served.requests);
        self.stats.response_bytes += closed.served.bytes;
        let Some(route) = self.routes.get(key) else { return };
        if closed.ended != Ended::Active {
            self.drop_route(key);
            return;
        }
        let end = TimeWait::new(
            route.flow,
            SeqNum(closed.snd_nxt),
            SeqNum(closed.rcv_nxt),
            closed.timestamps.map(|ts| (ts.ts_val, ts.ts_recent)),
            now,
            self.settings.tcp.time_wait,
        );
        self.end_route(key, end);
    }

    /// Resets a dead connection, once, with a sequence number that the client accepts, and forgets it. If the client
    /// answers with a challenge ACK, that is a segment of an unknown flow, and is answered with a reset in turn.
    pub(crate) fn reset_route(&mut self, key: RouteKey) {
        let Some(route) = self.drop_route(key) else { return };
        if let Place::Here(conn) = route.place {
            self.discard(conn);
        }
        let segment = reset_at(&route.flow, route.last_ack, route.seq_end);
        self.reply(Bare { flow: route.flow, port: route.port, mac: route.client_mac, segment });
    }

    /// What became of nodes.
    pub(crate) fn handle_board_events(&mut self, now: Instant) {
        while let Some(event) = self.board.poll_event() {
            match event {
                BoardEvent::NodeUp { .. } => self.stats.nodes_up += 1,
                BoardEvent::NodeDown(death) => {
                    self.stats.nodes_down += 1;
                    for key in (0..self.routes.places()).map(RouteKey::of_place) {
                        if !self.routes.is_touched_by(key, death) {
                            continue;
                        }
                        let Some(route) = self.routes.get_mut(key) else { continue };
                        if matches!(route.place, Place::TimeWait(_)) {
                            continue;
                        }
                        let mut out =
                            self.directory.outbox(&mut self.sessions, &mut self.to_self, &mut self.ports.drops);
                        let (c, state) = (route.c, (&mut route.state, &route.flow));
                        let decision = self.arbiter.handle_node_down(now, c, state, death, &self.board, &mut out);
                        self.decided(now, key, decision);
                    }
                }
            }
        }
    }

    /// Repeats what the arbiter has to repeat.
    pub(crate) fn poll_arbiter(&mut self, now: Instant) {
        while let Some(c) = self.arbiter.pop_due(now) {
            let Some(route) = self.routes.of_conn(c).and_then(|key| self.routes.get_mut(key)) else { continue };
            let mut out = self.directory.outbox(&mut self.sessions, &mut self.to_self, &mut self.ports.drops);
            self.arbiter.handle_timeout(now, c, (&mut route.state, &route.flow), &mut out);
        }
    }

    /// No new connections; back-ends are told to end theirs.
    pub(crate) fn begin_stop(&mut self, now: Instant) {
        self.stop_at = Some(now + self.settings.stop_grace);
        self.end_draining();
        let nodes: Vec<NodeId> = self.board.nodes().map(|(node, _)| node).collect();
        for node in nodes {
            self.board.set_drain(node, DrainState::Stopping);
        }
        let keys: Vec<_> = self.engine.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(conn) = self.engine.get_mut(key) {
                conn.tcb.close();
            }
            self.engine.settle(key, now);
            self.wake(key);
        }
    }

    /// When the grace time is over, what is left is reset.
    pub(crate) fn continue_stop(&mut self, now: Instant) {
        if self.stop_at.is_none_or(|at| now < at) {
            return;
        }
        for key in (0..self.routes.places()).map(RouteKey::of_place) {
            let Some(route) = self.routes.get(key) else { continue };
            if matches!(route.place, Place::TimeWait(_)) {
                continue;
            }
            let (c, owner) = (route.c, route.state.owner());
            let mut out = self.directory.outbox(&mut self.sessions, &mut self.to_self, &mut self.ports.drops);
            if owner != NodeId::FRONT_END {
                out.send(owner, &Over { c }.into());
            }
            self.stats.stopped += 1;
            self.reset_route(key);
        }
    }
}

/// Who has refused the connection: an attempt was tried and is not confirmed, while its donor asks again. (Its recipient asks under the
/// attempt's own epoch, and so confirms it.) Not so where somebody wanted the connection there: what is refused then may be a response that
/// cannot go on there, and requests can.
fn refused(state: &RouteState, ask: &Ask<'_>) -> Option<NodeId> {
    let is_tried = |grant: &&Grant| grant.n == ask.n && ask.e < grant.e2 && grant.e2 <= ask.tried;
    let is_refused = |grant: &&Grant| is_tried(grant) && grant.strip.is_some();
    state.pending().filter(is_refused).map(|grant| grant.to)
}

/// What the recipient of the grant that answers `ask` is told: it can prepare while the owner still sends.
fn prefetch<'a>(state: &RouteState, ask: &Ask<'a>) -> Option<(NodeId, Prefetch<'a>)> {
    let Ask { c, n, key, .. } = *ask;
    let is_known = key.may_prepare && !key.is_cut && !state.is_settling();
    let grant = state.pending().filter(|grant| is_known && grant.n == n)?;
    let Grant { e2, to, g, strip, .. } = *grant;
    Some((to, Prefetch { c, e2, g, n, strip: strip?, key }))
}

/// What the dispatcher says to an owner that asks.
fn choose(dispatcher: &Dispatcher, is_up: impl Fn(NodeId) -> bool, key: &AskedKey<'_>) -> Choice {
    match dispatcher.decide(RequestKey { host: key.host, target: key.target }, |backend| is_up(node_of(backend))) {
        Dispatched::Serve { backend, strip } => Choice::Serve { node: node_of(backend), strip },
        Dispatched::Unavailable => Choice::Reject { status: 503, retry_after_s: 1 },
        Dispatched::NoRoute => Choice::Reject { status: 404, retry_after_s: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handoff_proto::arbiter::{Arbiter, Nodes};
    use handoff_proto::message::MoveAsk;
    use handoff_proto::names::{Epoch, Generation};

    const C: ConnId = ConnId(1);
    const G: Generation = Generation(7);

    struct AllUp;

    impl Nodes for AllUp {
        fn generation(&self, _: NodeId) -> Generation {
            G
        }
    }

    struct Silence;

    impl Outbox for Silence {
        fn send(&mut self, _: NodeId, _: &Message<'_>) {}
    }

    fn key(may_prepare: bool) -> AskedKey<'static> {
        AskedKey { may_prepare, ..AskedKey::new(b"GET", b"h", b"/be2/x?y") }
    }

    fn ask(n: u32, key: AskedKey<'_>) -> Ask<'_> {
        Ask { c: C, e: Epoch::FIRST, tried: Epoch::FIRST, n, key }
    }

    /// A recipient whose INSTALLED is late asks about the request that it came for: it has refused nothing. Its donor, when it asks again, says
    /// that it has.
    #[test]
    fn a_recipient_that_asks_has_not_refused() {
        let (mut arbiter, mut state) = (Arbiter::new(), RouteState::new(G));
        let grant = arbiter.grant_first(C, &mut state, Epoch::FIRST, NodeId(2), 1, 0, &AllUp).expect("all are up");
        let recipient = Ask { e: grant.e2, tried: grant.e2, ..ask(1, key(true)) };
        assert_eq!(refused(&state, &recipient), None);
        let donor = Ask { tried: grant.e2, ..ask(1, key(true)) };
        assert_eq!(refused(&state, &donor), Some(NodeId(2)));
        assert_eq!(refused(&state, &Ask { tried: Epoch::FIRST, ..donor }), None, "the attempt was not tried");
        assert_eq!(refused(&state, &Ask { n: 2, ..donor }), None, "about another request");
    }

    /// What is said ahead when `question` was answered with a grant.
    fn told(question: &Ask<'_>) -> Option<(NodeId, u32, u32, u16, usize)> {
        let (mut arbiter, mut state) = (Arbiter::new(), RouteState::new(G));
        let choose = |_: &AskedKey<'_>| Choice::Serve { node: NodeId(2), strip: 4 };
        let from = NodeId::FRONT_END;
        let _ = arbiter
            .handle_ask(Instant::ZERO, &mut state, from, question, &AllUp, choose, &mut Silence)
            .expect("it is the owner");
        let (to, Prefetch { e2, n, strip, key, g, c }) = prefetch(&state, question)?;
        assert_eq!((g, c), (G, C));
        Some((to, e2.0, n, strip, key.len()))
    }

    #[test]
    fn the_recipient_of_a_grant_is_told_what_it_may_prepare() {
        assert_eq!(told(&ask(5, key(true))), Some((NodeId(2), 1, 5, 4, key(true).len())));
        assert_eq!(told(&ask(5, key(false))), None);
        assert_eq!(told(&ask(5, AskedKey { is_cut: true, ..key(true) })), None);
    }

    /// Nobody has decided who serves the request after a move that somebody wished; nor is a grant for another request a reason.
    #[test]
    fn nothing_is_said_of_what_is_not_decided() {
        let (mut arbiter, mut state) = (Arbiter::new(), RouteState::new(G));
        assert!(prefetch(&state, &ask(5, key(true))).is_none());
        let wish = MoveAsk { c: C, e: Epoch::FIRST, tried: Epoch::FIRST, n: 5, to: NodeId(2) };
        let from = NodeId::FRONT_END;
        let _ = arbiter
            .handle_move_ask(Instant::ZERO, &mut state, from, &wish, &AllUp, &mut Silence)
            .expect("it is the owner");
        assert!(state.pending().is_some());
        assert!(prefetch(&state, &ask(5, key(true))).is_none() && prefetch(&state, &ask(6, key(true))).is_none());
    }
}
