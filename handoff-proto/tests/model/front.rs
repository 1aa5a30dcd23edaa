//! The front-end: the production machines, put together as `frontend` does, for one connection at a time.

use std::collections::VecDeque;

use baton_stack::addr::{ConnId, IpAddr};
use baton_stack::drop::DropReason;
use baton_stack::time::Instant;
use handoff_proto::arbiter::{Arbiter, Choice, Decision, Nodes, ResetCause, RouteState, answer_unknown};
use handoff_proto::codec::Reader;
use handoff_proto::donor::{Donor, DonorEvent, Standing};
use handoff_proto::lease::{BoardEvent, LeaseBoard, LeaseSettings, NodeConfig};
use handoff_proto::message::{Ask, Done, Installed, Message, Outbox, RequestKey};
use handoff_proto::names::{Boot, Epoch, Generation, NodeId};

use crate::back::{FLOW, image, thawed};
use crate::client::{Client, End, Segment};
use crate::mutants::Mutant;
use crate::net::Mail;
use crate::world::Rules;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Front {
    pub(crate) board: LeaseBoard,
    pub(crate) arbiter: Arbiter,
    pub(crate) conn: Option<Conn>,
    /// Connections accepted so far, and grants given to all of them.
    pub(crate) accepted: u32,
    given: u8,
    /// What this connection's clients are to be told; the judge takes it at once.
    pub(crate) resets: Vec<(ConnId, ResetCause)>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Conn {
    pub(crate) c: ConnId,
    pub(crate) route: RouteState,
    pub(crate) donor: Option<Donor>,
    /// The next response, while the front-end is the owner.
    next: Option<u32>,
    /// The handoff for the next request has failed: the front-end answers it itself.
    has_failed: bool,
    /// The epoch under which the front-end gave it away.
    first: Option<Epoch>,
}

/// All nodes as the board knows them, but one as a message would have it.
struct Believing<'a>(&'a LeaseBoard, NodeId, Generation);

impl Nodes for Believing<'_> {
    fn generation(&self, node: NodeId) -> Generation {
        if node == self.1 { self.2 } else { self.0.generation(node) }
    }
}

impl Front {
    pub(crate) fn new(backs: u16) -> Self {
        let config = |id: u16| NodeConfig {
            name: format!("be{id}"),
            addr: IpAddr::from([10, 0, 0, u8::try_from(id).expect("few nodes")]),
            core: 0,
        };
        Self {
            board: LeaseBoard::new(LeaseSettings::default(), Boot(1), (1..=backs).map(config)),
            arbiter: Arbiter::new(),
            conn: None,
            accepted: 0,
            given: 0,
            resets: Vec::new(),
        }
    }

    /// A client connects. Every connection has a name of its own.
    pub(crate) fn accept(&mut self, rules: &Rules) -> ConnId {
        self.accepted += 1;
        let counter = if rules.is(Mutant::NameUsedTwice) { 1 } else { self.accepted };
        let c = ConnId::new(1, 0, 1, counter);
        let route = RouteState::new(self.board.own_generation());
        let donor = Some(Donor::new(c, route.epoch()));
        self.conn = Some(Conn { c, route, donor, next: Some(0), has_failed: false, first: None });
        c
    }

    pub(crate) fn owns(&self, c: ConnId) -> bool {
        let owns = |conn: &Conn| conn.c == c && conn.donor.as_ref().is_some_and(|donor| !donor.is_silent());
        self.conn.as_ref().is_some_and(owns)
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.donor.as_ref().is_some_and(Donor::is_silent))
    }

    /// The front-end's own part: hands the connection over, or answers itself, and closes after the last response.
    pub(crate) fn drive(&mut self, now: Instant, rules: &Rules, client: &mut Client, out: &mut Mail) {
        let Some(conn) = &mut self.conn else { return };
        let (Some(donor), Some(next)) = (&mut conn.donor, conn.next) else { return };
        if next >= rules.requests() {
            self.arbiter.forget(conn.c, &mut conn.route);
            client.end(conn.c, End::Closed);
            self.conn = None;
            return;
        }
        let to = rules.planned(next);
        let may_try = !conn.has_failed && self.given < rules.grants;
        let grant = if may_try {
            self.arbiter.grant_first(conn.c, &mut conn.route, donor.tried(), to, next, 0, &self.board)
        } else {
            None
        };
        let Some(grant) = grant else {
            client.serve(conn.c, donor.epoch(), next);
            (conn.next, conn.has_failed) = (Some(next + 1), false);
            return;
        };
        self.given += 1;
        donor.accept_grant(now, grant);
        let standing = Standing { has_lease: true, recipient_g: Some(self.board.generation(to)) };
        donor.hand_off(now, standing, image(next, &[]), rules.part_bytes, out).expect("a fresh grant");
        conn.next = None;
    }

    /// Everything that goes by time, but leases.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Mail) {
        while let Some(c) = self.arbiter.pop_due(now) {
            if let Some(conn) = self.conn.as_mut().filter(|conn| conn.c == c) {
                self.arbiter.handle_timeout(now, c, (&mut conn.route, &FLOW), out);
            }
        }
        if let Some(conn) = &mut self.conn
            && let Some(donor) = &mut conn.donor
        {
            let event = donor.handle_timeout(now, out);
            assert_eq!(event, DonorEvent::Nothing, "a front-end asks nobody");
        }
    }

    /// What became of nodes.
    pub(crate) fn handle_board_events(&mut self, now: Instant, rules: &Rules, out: &mut Mail) {
        while let Some(event) = self.board.poll_event() {
            let (BoardEvent::NodeDown(death), Some(conn)) = (event, &mut self.conn) else { continue };
            if rules.is(Mutant::ResetsAtOnce) && (conn.route.owner(), conn.route.owner_g()) == (death.node, death.g) {
                self.decided(Decision::Reset(ResetCause::OwnerDied));
                continue;
            }
            let decision =
                self.arbiter.handle_node_down(now, conn.c, (&mut conn.route, &FLOW), death, &self.board, out);
            self.decided(decision);
        }
    }

    /// Handles a message, and then what the front-end has said to itself.
    ///
    /// # Errors
    /// The message is counted as dropped: nothing may have changed.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        from: NodeId,
        message: &Message<'_>,
        rules: &Rules,
        out: &mut Mail,
    ) -> Result<(), DropReason> {
        let mut mail = Mail::default();
        let result = self.handle_one(now, from, message, rules, &mut mail);
        self.send(now, mail, rules, out);
        result
    }

    /// Passes on what the front-end says to others, and hears what it says to itself.
    pub(crate) fn send(&mut self, now: Instant, mail: Mail, rules: &Rules, out: &mut Mail) {
        let mut mail = VecDeque::from(mail.0);
        while let Some((to, bytes)) = mail.pop_front() {
            if to != NodeId::FRONT_END {
                out.0.push((to, bytes));
                continue;
            }
            let mut more = Mail::default();
            let message = Message::decode(&mut Reader::new(&bytes)).expect("what was encoded decodes");
            let _ = self.handle_one(now, NodeId::FRONT_END, &message, rules, &mut more);
            mail.extend(more.0);
        }
    }

    fn handle_one(
        &mut self,
        now: Instant,
        from: NodeId,
        message: &Message<'_>,
        rules: &Rules,
        out: &mut Mail,
    ) -> Result<(), DropReason> {
        match message {
            Message::Join(join) => {
                self.board.handle_join(now, from, join, out)?;
                self.handle_board_events(now, rules, out);
                return Ok(());
            }
            Message::LeaseReq(request) => return self.board.handle_lease_req(now, from, request, out),
            _ => {}
        }
        let c = message.connection().ok_or(DropReason::MessageStale)?;
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.c == c) else {
            return answer_unknown(from, message, out);
        };
        let is_leaving = conn.donor.as_ref().is_some_and(Donor::is_silent);
        let (arbiter, board, route) = (&mut self.arbiter, &self.board, &mut conn.route);
        let decision = match message {
            Message::Refused(_) if !is_leaving => return answer_unknown(from, message, out),
            Message::PartAck(_)
            | Message::Refused(_)
            | Message::Thaw(_)
            | Message::AttemptGone(_)
            | Message::Settle(_) => return self.tell_donor(now, from, message, out),
            Message::Ask(ask) => self.handle_ask(now, from, ask, rules, out)?,
            Message::Installed(installed) => self.handle_installed(now, from, installed, rules, out)?,
            Message::Abort(abort) if rules.is(Mutant::NoRevoke) => {
                // It takes silence for proof.
                let revoked = handoff_proto::message::Revoked { c, e2: abort.e2, g: abort.g };
                arbiter.handle_revoked(route, abort.to, &revoked, board, out)?
            }
            Message::Abort(abort) => arbiter.handle_abort(now, (route, &FLOW), from, abort, board, out)?,
            Message::Revoked(revoked) => arbiter.handle_revoked(route, from, revoked, board, out)?,
            Message::Settled(settled) => arbiter.handle_settled(route, from, settled, board)?,
            Message::Closed(closed) => arbiter.handle_closed(route, from, closed, board, out)?,
            Message::TailKept(_) if rules.is(Mutant::SaysOverOfTheLiving) => return answer_unknown(from, message, out),
            Message::TailKept(_) => Decision::Keep,
            _ => return Err(DropReason::MessageStale),
        };
        self.decided(decision);
        Ok(())
    }

    fn handle_ask(
        &mut self,
        now: Instant,
        from: NodeId,
        ask: &Ask<'_>,
        rules: &Rules,
        out: &mut Mail,
    ) -> Result<Decision, DropReason> {
        let Some(conn) = &mut self.conn else { return Err(DropReason::MessageStale) };
        let (board, given) = (&self.board, &mut self.given);
        // Who has refused is passed over.
        let refused = conn.route.pending().filter(|grant| grant.n == ask.n && grant.e2 <= ask.tried);
        let refused = refused.map(|grant| grant.to);
        let choose = |_: &RequestKey<'_>| {
            let planned = rules.planned(ask.n);
            let is_up = board.generation(planned) != Generation::NONE && refused != Some(planned);
            let moves = planned != from && is_up && *given < rules.grants;
            *given += u8::from(moves);
            Choice::Serve { node: if moves { planned } else { from }, strip: 0 }
        };
        let before = conn.route.clone();
        let result = self.arbiter.handle_ask(now, &mut conn.route, from, ask, board, choose, out);
        if rules.is(Mutant::ForgetsGrants) && conn.route.pending() != before.pending() {
            conn.route = before;
        }
        result
    }

    fn handle_installed(
        &mut self,
        now: Instant,
        from: NodeId,
        installed: &Installed,
        rules: &Rules,
        out: &mut Mail,
    ) -> Result<Decision, DropReason> {
        let Some(conn) = &mut self.conn else { return Err(DropReason::MessageStale) };
        let (arbiter, route) = (&mut self.arbiter, &mut conn.route);
        let decision = if rules.is(Mutant::BelievesTheDead) {
            let believing = Believing(&self.board, from, installed.g);
            arbiter.handle_installed(route, from, installed, &believing, out)?
        } else {
            arbiter.handle_installed(route, from, installed, &self.board, out)?
        };
        if conn.donor.as_ref().is_some_and(Donor::is_silent) {
            self.tell_donor(now, from, &(*installed).into(), out)?;
        } else if conn.first == Some(installed.e2) {
            // It has heard it, and its DONE was lost.
            out.send(from, &Done { c: installed.c, e2: installed.e2 }.into());
        }
        Ok(decision)
    }

    /// A message to the donor of the first handoff.
    fn tell_donor(
        &mut self,
        now: Instant,
        from: NodeId,
        message: &Message<'_>,
        out: &mut Mail,
    ) -> Result<(), DropReason> {
        let donor = self.conn.as_mut().and_then(|conn| conn.donor.as_mut()).filter(|donor| donor.is_silent());
        let donor = donor.ok_or(DropReason::MessageStale)?;
        let event = donor.handle_message(now, from, message, out)?;
        self.act(event);
        Ok(())
    }

    fn act(&mut self, event: DonorEvent) {
        let Some(conn) = &mut self.conn else { return };
        match event {
            DonorEvent::Moved { .. } | DonorEvent::Lost { .. } => conn.donor = None,
            DonorEvent::Thaw { image, e2, tried, .. } => {
                self.arbiter.handle_refused(conn.c, &mut conn.route, e2);
                let mut donor = Donor::new(conn.c, Epoch::FIRST);
                donor.has_tried(tried);
                (conn.donor, conn.next, conn.has_failed) = (Some(donor), Some(thawed(&image).0), true);
            }
            DonorEvent::Nothing
            | DonorEvent::Stay { .. }
            | DonorEvent::Granted(_)
            | DonorEvent::Forward { .. }
            | DonorEvent::Reject { .. }
            | DonorEvent::MoveRejected { .. }
            | DonorEvent::Unanswered { .. }
            | DonorEvent::GrantVoid { .. } => {}
        }
    }

    fn decided(&mut self, decision: Decision) {
        match decision {
            Decision::Keep => {}
            Decision::Route { epoch, .. } => {
                let Some(conn) = &mut self.conn else { return };
                if let Some(donor) = &mut conn.donor {
                    let event = donor.handle_route(epoch);
                    self.act(event);
                }
                if let Some(conn) = &mut self.conn {
                    conn.first = conn.first.or(Some(epoch));
                }
            }
            Decision::Reset(cause) => {
                if let Some(conn) = self.conn.take() {
                    self.resets.push((conn.c, cause));
                }
            }
            Decision::Closed => self.conn = None,
        }
    }

    /// The front-end gives up waiting for the recipient of its first handoff.
    pub(crate) fn abort(&mut self, now: Instant, rules: &Rules, out: &mut Mail) {
        let Some(conn) = &mut self.conn else { return };
        let Some(donor) = &mut conn.donor else { return };
        let mut mail = Mail::default();
        if rules.is(Mutant::ThawsWithoutProof)
            && let Some((e2, ..)) = donor.frozen_towards()
        {
            mail.send(NodeId::FRONT_END, &handoff_proto::message::Thaw { c: conn.c, e2 }.into());
        } else {
            donor.abort(now, &mut mail);
        }
        self.send(now, mail, rules, out);
    }

    /// Where a client's segment goes from here.
    pub(crate) fn route_segment(&self) -> Segment {
        let Some(conn) = &self.conn else { return Segment::Done };
        match &conn.donor {
            Some(donor) => donor.frozen_towards().map_or(Segment::Done, |(_, to, _)| Segment::OnTheWay(to)),
            None => Segment::OnTheWay(conn.route.owner()),
        }
    }
}
