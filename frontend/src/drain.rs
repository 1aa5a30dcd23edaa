//! Draining: a back-end is given nothing new, and what it has goes elsewhere, a little at a time.
//!
//! ```text
//!   people --drain--> its next LEASE says so; the dispatcher passes it over; nobody is granted a move to it
//!                 --> each turn: the next places of the route table; whoever is at a back-end that drains is wished elsewhere
//!   people --undrain--> as before
//! ```
//! A wish is followed when nothing of a response is left to be sent, so nothing is interrupted. It may be lost: the walk through the table
//! begins anew for as long as a back-end drains.

use baton_stack::addr::ConnId;
use baton_stack::time::{Duration, Instant};
use handoff_proto::admin::{DrainRefused, DrainTaken};
use handoff_proto::message::{DrainState, MoveWish, Outbox};
use handoff_proto::names::NodeId;

use crate::accept::node_of;
use crate::dispatch::BackendIndex;
use crate::node::FrontEnd;
use crate::routes::{Place, RouteKey};

/// From one turn to the next.
pub(crate) const TURN: Duration = Duration::from_millis(10);
/// Connections that are wished elsewhere in one turn at the most: 3,200 in a second.
pub(crate) const WISHES_PER_TURN: usize = 32;
/// Places of the route table that are looked at in one turn at the most.
pub(crate) const PLACES_PER_TURN: usize = 4_096;
/// The least time from the beginning of one walk through the table to that of the next: who has been wished elsewhere may still be busy.
pub(crate) const WALK_MIN: Duration = Duration::from_millis(500);

/// Which back-ends drain, and where the walk through the route table is.
#[derive(Debug, Default)]
pub(crate) struct Draining {
    nodes: Vec<Drained>,
    place: usize,
    turn_at: Option<Instant>,
    walk_at: Instant,
}

#[derive(Debug)]
struct Drained {
    node: NodeId,
    /// Where its connections may go: those that share a route with it, or, if none does, all others.
    others: Vec<NodeId>,
}

impl Draining {
    pub(crate) const fn poll_at(&self) -> Option<Instant> {
        self.turn_at
    }
}

impl FrontEnd {
    /// Somebody wants the back-end of this name to drain, or to serve as before. What is so already stays so.
    ///
    /// # Errors
    /// There is none of this name, or the front-end stops.
    pub(crate) fn set_drain(
        &mut self,
        now: Instant,
        name: &str,
        is_draining: bool,
    ) -> Result<DrainTaken, DrainRefused> {
        let found = self.board.nodes().find(|(_, status)| status.config.name == name);
        let (node, _) = found.ok_or(DrainRefused::UnknownNode)?;
        if self.stop_at.is_some() {
            return Err(DrainRefused::Stopping);
        }
        self.draining.nodes.retain(|drained| drained.node != node);
        if is_draining {
            let others = self.others(node);
            self.draining.nodes.push(Drained { node, others });
            (self.draining.place, self.draining.walk_at) = (0, now);
        }
        self.board.set_drain(node, if is_draining { DrainState::Draining } else { DrainState::Serving });
        self.draining.turn_at = (!self.draining.nodes.is_empty()).then_some(now);
        Ok(DrainTaken { node: name.to_owned(), is_draining })
    }

    /// Nobody drains any more: the front-end stops, and has told everybody to.
    pub(crate) fn end_draining(&mut self) {
        self.draining = Draining::default();
    }

    fn others(&self, node: NodeId) -> Vec<NodeId> {
        let all = || self.board.nodes().map(|(other, _)| other).filter(|other| *other != node);
        let index = usize::from(node.0).saturating_sub(1);
        let beside = self.dispatcher.beside(BackendIndex(index));
        let others: Vec<_> = all().filter(|other| beside.iter().any(|backend| node_of(*backend) == *other)).collect();
        if others.is_empty() { all().collect() } else { others }
    }

    /// Wishes some connections of back-ends that drain elsewhere.
    pub(crate) fn poll_draining(&mut self, now: Instant) {
        if self.draining.turn_at.is_none_or(|at| now < at) {
            return;
        }
        let (places, mut wishes) = (self.routes.places(), 0);
        let stop = places.min(self.draining.place.saturating_add(PLACES_PER_TURN));
        while self.draining.place < stop && wishes < WISHES_PER_TURN {
            wishes += usize::from(self.wish_elsewhere(now, self.draining.place));
            self.draining.place += 1;
        }
        let mut next = now + TURN;
        if self.draining.place >= places {
            self.draining.place = 0;
            next = next.max(self.draining.walk_at + WALK_MIN);
            self.draining.walk_at = next;
        }
        self.draining.turn_at = Some(next);
    }

    /// Wishes the connection at this place elsewhere, if its owner drains, it is not on its way already, and there is somewhere to go.
    fn wish_elsewhere(&mut self, now: Instant, place: usize) -> bool {
        let Some(route) = self.routes.get(RouteKey::of_place(place)) else { return false };
        let owner = route.state.owner();
        let is_settled = matches!(route.place, Place::Away(_)) && route.state.pending().is_none();
        let Some(drained) = self.draining.nodes.iter().find(|drained| is_settled && drained.node == owner) else {
            return false;
        };
        let is_there = |node: &NodeId| self.board.is_offered(*node) && !self.directory.is_paused(now, *node);
        let there: Vec<NodeId> = drained.others.iter().copied().filter(is_there).collect();
        let (c, e) = (route.c, route.state.epoch());
        let Some(&to) = there.get(spread(c, there.len())) else { return false };
        let mut out = self.directory.outbox(&mut self.sessions, &mut self.to_self, &mut self.ports.drops);
        out.send(owner, &MoveWish { c, e, to }.into());
        self.stats.drain_wishes += 1;
        true
    }
}

/// Which of `choices` a connection goes to: the same one each time, and about as many to each. Ids of one front-end count up.
fn spread(c: ConnId, choices: usize) -> usize {
    usize::try_from(c.0 & u64::from(u32::MAX)).unwrap_or(0).checked_rem(choices).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Route;
    use crate::settings::{Life, Settings};
    use baton_stack::addr::{Endpoint, Flow, IpAddr, MacAddr};
    use baton_stack::node::PortId;
    use baton_stack::tcp::SeqNum;
    use handoff_proto::arbiter::RouteState;
    use handoff_proto::message::{Installed, Join, Message};
    use handoff_proto::names::{Boot, Epoch, Generation};
    use handoff_proto::seal::ClusterSecret;

    struct Silence;

    impl Outbox for Silence {
        fn send(&mut self, _: NodeId, _: &Message<'_>) {}
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    /// A front-end with the back-ends be1 and be2, both up, and a connection at be1 in each of these places of its route table.
    fn front_end(places: usize, owned: impl Fn(usize) -> bool) -> FrontEnd {
        let config = crate::config::parse("f.toml", include_str!("../../docs/examples/frontend.toml")).unwrap();
        let secret = ClusterSecret::parse(&[b'k'; 32]).unwrap();
        let life = Life { boot: Boot(1), seed: [7; 32], secrets: secret.into(), macs: &[MacAddr([2, 0, 0, 0, 0, 1])] };
        let mut front = FrontEnd::new(Settings::new(&config, life));
        for node in [NodeId(1), NodeId(2)] {
            let join = Join { number: 1, boot: Boot(1), g: Generation::NONE };
            front.board.handle_join(at(0), node, &join, &mut Silence).unwrap();
        }
        for place in 0..places {
            let c = ConnId(u64::try_from(place).unwrap());
            let owner = if owned(place) { NodeId(1) } else { NodeId(2) };
            let mut state = RouteState::new(front.board.own_generation());
            let (arbiter, board) = (&mut front.arbiter, &front.board);
            let grant = arbiter.grant_first(c, &mut state, Epoch::FIRST, owner, 0, 0, board).unwrap();
            let installed = Installed { c, e2: grant.e2, g: grant.g };
            let _ = arbiter.handle_installed(&mut state, owner, &installed, board, &mut Silence).unwrap();
            let [_, _, high, low] = u32::try_from(place).unwrap().to_be_bytes();
            let client = Endpoint { addr: IpAddr::from([10, 0, high, low]), port: 1 };
            let route = Route {
                flow: Flow { client, vip: Endpoint { addr: IpAddr::from([10, 77, 0, 100]), port: 80 } },
                last_ack: SeqNum(0),
                seq_end: SeqNum(0),
                place: Place::Away(owner),
                state,
                c,
                first: grant.e2,
                since_s: 0,
                moving: None,
                port: PortId(0),
                client_mac: MacAddr::default(),
            };
            front.routes.insert(route).unwrap();
        }
        front
    }

    /// How many wishes have been said after the turn at this time.
    fn wishes(front: &mut FrontEnd, ms: u64) -> u64 {
        front.poll_draining(at(ms));
        front.stats.drain_wishes
    }

    #[test]
    fn a_turn_wishes_as_many_elsewhere_as_its_limit_says() {
        let limit = u64::try_from(WISHES_PER_TURN).unwrap();
        let mut front = front_end(WISHES_PER_TURN, |_| true);
        front.set_drain(at(1), "be1", true).unwrap();
        assert_eq!((wishes(&mut front, 1), wishes(&mut front, 11)), (limit, limit), "and again after a while:");
        assert_eq!((wishes(&mut front, 500), wishes(&mut front, 501)), (limit, 2 * limit));
        let mut front = front_end(WISHES_PER_TURN + 1, |_| true);
        front.set_drain(at(1), "be1", true).unwrap();
        assert_eq!((wishes(&mut front, 1), wishes(&mut front, 10)), (limit, limit));
        assert_eq!((wishes(&mut front, 11), front.draining.poll_at()), (limit + 1, Some(at(501))));
    }

    #[test]
    fn a_turn_looks_at_as_many_places_as_its_limit_says() {
        for (last, turns) in [(PLACES_PER_TURN - 1, 1), (PLACES_PER_TURN, 2)] {
            let mut front = front_end(last + 1, |place| place == last);
            front.set_drain(at(0), "be1", true).unwrap();
            for turn in 0..turns {
                assert_eq!(front.stats.drain_wishes, 0);
                front.poll_draining(at(turn * 10));
            }
            assert_eq!(front.stats.drain_wishes, 1, "{last}");
        }
    }

    #[test]
    fn only_a_back_end_that_drains_loses_its_connections_and_only_where_there_is_another() {
        let mut front = front_end(2, |place| place == 0);
        assert_eq!((wishes(&mut front, 0), front.draining.poll_at()), (0, None));
        assert_eq!(front.set_drain(at(0), "be3", true), Err(DrainRefused::UnknownNode));
        front.set_drain(at(0), "be1", true).unwrap();
        assert!(!front.board.is_offered(NodeId(1)) && front.board.is_offered(NodeId(2)));
        assert_eq!(wishes(&mut front, 0), 1);
        front.set_drain(at(1), "be2", true).unwrap();
        assert_eq!(wishes(&mut front, 1), 1, "nobody is left to take them");
        assert!(front.set_drain(at(2), "be1", false).is_ok());
        assert_eq!(wishes(&mut front, 2), 2, "that of be2");
        assert!(front.set_drain(at(3), "be2", false).is_ok());
        assert_eq!((wishes(&mut front, 900), front.draining.poll_at()), (2, None));
        front.begin_stop(at(901));
        assert_eq!(front.set_drain(at(902), "be1", true), Err(DrainRefused::Stopping));
    }

    /// The same connection is wished to the same node each time, and each node gets its share.
    #[test]
    fn connections_are_spread() {
        for choices in 1..5 {
            let mut shares = vec![0; choices];
            (0..100).for_each(|c| shares[spread(ConnId(0x0100_0000_0000_0000 + c), choices)] += 1);
            assert!(shares.iter().all(|share| (100 / choices..=100 / choices + 1).contains(share)), "{shares:?}");
        }
        assert_eq!(spread(ConnId(5), 0), 0);
    }
}
