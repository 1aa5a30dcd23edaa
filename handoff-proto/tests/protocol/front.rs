//! A front-end made of the real machines and a dispatcher that throws dice.

use std::collections::BTreeMap;

use baton_stack::addr::{ConnId, IpAddr};
use baton_stack::time::Instant;
use handoff_proto::arbiter::{Arbiter, Choice, Decision, Nodes, RouteState, answer_unknown};
use handoff_proto::donor::{Donor, DonorEvent, Standing};
use handoff_proto::lease::{BoardEvent, LeaseBoard, LeaseSettings, NodeConfig};
use handoff_proto::message::{Message, RequestKey};
use handoff_proto::names::{Boot, NodeId};

use crate::back::flow;
use crate::world::{Clients, Dice, End, Mail};

pub(crate) const PART_BYTES: u16 = 8;
/// After this many refusals the front-end answers itself.
const TRIES_MAX: u32 = 3;

#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) board: LeaseBoard,
    pub(crate) arbiter: Arbiter,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    accepted: u32,
    backs: u16,
    /// Where requests go, instead of anywhere.
    pub(crate) only_to: Option<NodeId>,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) route: RouteState,
    pub(crate) donor: Option<Donor>,
    tries: u32,
}

impl Front {
    pub(crate) fn new(backs: u16) -> Self {
        let config = |id| NodeConfig {
            name: format!("be{id}"),
            addr: IpAddr::from([10, 0, 0, u8::try_from(id).unwrap()]),
            core: 0,
        };
        Self {
            board: LeaseBoard::new(LeaseSettings::default(), Boot(1), (1..=backs).map(config)),
            arbiter: Arbiter::new(),
            conns: BTreeMap::new(),
            accepted: 0,
            backs,
            only_to: None,
        }
    }

    pub(crate) fn may_speak(&self, c: ConnId) -> bool {
        let of_conn = |conn: &Conn| conn.donor.as_ref().is_some_and(|donor| !donor.is_silent());
        self.conns.get(&c).is_some_and(of_conn)
    }

    /// A client connects and sends its first request.
    pub(crate) fn accept(&mut self, clients: &mut Clients) -> ConnId {
        self.accepted += 1;
        let c = ConnId::new(1, 0, 1, self.accepted);
        let route = RouteState::new(self.board.own_generation());
        let donor = Some(Donor::new(c, route.epoch()));
        self.conns.insert(c, Conn { route, donor, tries: 0 });
        clients.0.entry(c).or_default();
        c
    }

    fn pick(&self, dice: &mut Dice) -> NodeId {
        self.only_to.unwrap_or_else(|| NodeId(1 + u16::try_from(dice.below(u64::from(self.backs))).unwrap()))
    }

    pub(crate) fn tick(&mut self, now: Instant, clients: &mut Clients, dice: &mut Dice, out: &mut Mail) {
        // Half of the connections at rest keep what a packed route keeps.
        for (_, conn) in self.conns.iter_mut().filter(|(c, _)| c.0.is_multiple_of(2)) {
            if let Some(rest) = conn.route.at_rest() {
                conn.route = RouteState::resting(rest);
            }
        }
        self.board.handle_timeout(now);
        while let Some(event) = self.board.poll_event() {
            if let BoardEvent::NodeDown(death) = event {
                let connections: Vec<_> = self.conns.keys().copied().collect();
                for c in connections {
                    let conn = self.conns.get_mut(&c).unwrap();
                    let decision =
                        self.arbiter.handle_node_down(now, c, (&mut conn.route, &flow(c)), death, &self.board, out);
                    self.act(c, decision, clients);
                }
            }
        }
        while let Some(c) = self.arbiter.pop_due(now) {
            let conn = self.conns.get_mut(&c).expect("a deadline belongs to a route");
            self.arbiter.handle_timeout(now, c, (&mut conn.route, &flow(c)), out);
        }
        let connections: Vec<_> = self.conns.keys().copied().collect();
        for c in connections {
            self.drive(now, c, clients, dice, out);
        }
    }

    /// The front-end's own part: the first handoff.
    fn drive(&mut self, now: Instant, c: ConnId, clients: &mut Clients, dice: &mut Dice, out: &mut Mail) {
        let to = self.pick(dice);
        let conn = self.conns.get_mut(&c).unwrap();
        let Some(donor) = &mut conn.donor else { return };
        assert_eq!(donor.handle_timeout(now, out), DonorEvent::Nothing);
        if donor.is_silent() {
            return;
        }
        if conn.tries >= TRIES_MAX {
            clients.serve(NodeId::FRONT_END, c, donor.epoch(), 0);
            self.arbiter.forget(c, &mut conn.route);
            self.conns.remove(&c);
            clients.end(c, End::Closed);
            return;
        }
        let tried = donor.tried();
        if let Some(grant) = self.arbiter.grant_first(c, &mut conn.route, tried, to, 0, 0, &self.board) {
            conn.tries += 1;
            donor.accept_grant(now, grant);
            let standing = Standing { has_lease: true, recipient_g: Some(self.board.generation(to)) };
            donor.hand_off(now, standing, crate::back::image(0), PART_BYTES, out).unwrap();
        }
    }

    pub(crate) fn handle(
        &mut self,
        now: Instant,
        from: NodeId,
        message: &Message<'_>,
        clients: &mut Clients,
        dice: &mut Dice,
        out: &mut Mail,
    ) {
        let node = self.pick(dice);
        match message {
            Message::Join(join) => drop(self.board.handle_join(now, from, join, out)),
            Message::LeaseReq(request) => drop(self.board.handle_lease_req(now, from, request, out)),
            _ => {
                let c = message.connection().unwrap();
                let Some(conn) = self.conns.get_mut(&c) else {
                    let _ = answer_unknown(from, message, out);
                    return;
                };
                let (route, board) = (&mut conn.route, &self.board);
                let decision = match message {
                    Message::Ask(ask) => {
                        let choose = |_: &RequestKey<'_>| Choice::Serve { node, strip: 0 };
                        self.arbiter.handle_ask(now, route, from, ask, board, choose, out)
                    }
                    Message::MoveAsk(ask) => self.arbiter.handle_move_ask(now, route, from, ask, board, out),
                    Message::Installed(m) => self.arbiter.handle_installed(route, from, m, board, out),
                    Message::Abort(m) => self.arbiter.handle_abort(now, (route, &flow(c)), from, m, board, out),
                    Message::Revoked(m) => self.arbiter.handle_revoked(route, from, m, board, out),
                    Message::Settled(m) => self.arbiter.handle_settled(route, from, m, board),
                    Message::Closed(m) => self.arbiter.handle_closed(route, from, m, board, out),
                    _ => Ok(Decision::Keep),
                };
                if let Some(donor) = &mut conn.donor {
                    let event = donor.handle_message(now, from, message, out);
                    if matches!(event, Ok(DonorEvent::Moved { .. } | DonorEvent::Lost { .. })) {
                        conn.donor = None;
                    }
                } else if matches!(message, Message::Refused(_)) {
                    answer_unknown(from, message, out).unwrap();
                }
                self.act(c, decision.unwrap_or(Decision::Keep), clients);
            }
        }
    }

    fn act(&mut self, c: ConnId, decision: Decision, clients: &mut Clients) {
        match decision {
            Decision::Keep => {}
            Decision::Route { epoch, .. } => {
                let conn = self.conns.get_mut(&c).unwrap();
                if let Some(donor) = &mut conn.donor {
                    let _ = donor.handle_route(epoch);
                    conn.donor = None;
                }
            }
            Decision::Reset(cause) => {
                self.conns.remove(&c);
                clients.end(c, End::Reset(cause));
            }
            Decision::Closed => {
                self.conns.remove(&c);
                clients.end(c, End::Closed);
            }
        }
    }
}
