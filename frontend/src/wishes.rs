//! What people ask of a front-end about its connections: which there are, and to have one moved.

use baton_stack::addr::ConnId;
use baton_stack::time::Instant;
use handoff_proto::admin::{ConnectionInfo, Connections, Page, WishRefused, WishTaken};
use handoff_proto::arbiter::Nodes;
use handoff_proto::journal::MoveEvent;
use handoff_proto::message::MoveWish;
use handoff_proto::names::{Epoch, Generation, NodeId};

use crate::node::FrontEnd;
use crate::routes::{Place, Route, RouteKey};

impl FrontEnd {
    /// Says wishes again that nobody has asked about.
    pub(crate) fn poll_wishes(&mut self, now: Instant) {
        let routes = &self.routes;
        let owner = |c, e| {
            let route = routes.of_conn(c).and_then(|key| routes.get(key))?;
            let state = &route.state;
            (state.epoch() == e && state.pending().is_none()).then(|| state.owner())
        };
        let mut out = self.directory.outbox(&mut self.sessions, &mut self.to_self, &mut self.ports.drops);
        self.wished.handle_timeout(now, owner, &mut out);
    }

    /// Some of the connections that have a route.
    pub(crate) fn list(&self, now: Instant, page: Page) -> Connections {
        let describe = |place| self.routes.get(RouteKey::of_place(place)).map(|route| self.describe(now, &route));
        Connections::gather(page, self.routes.places(), describe)
    }

    fn describe(&self, now: Instant, route: &Route) -> ConnectionInfo {
        ConnectionInfo {
            c: route.c,
            flow: route.flow,
            owner: self.name_of(route.state.owner()),
            epoch: route.state.epoch(),
            state: match route.place {
                Place::Here(_) => "here",
                Place::Leaving => "leaving",
                Place::Away(_) if route.state.is_settling() => "settling",
                Place::Away(_) => "routed",
                Place::TimeWait(_) => "time_wait",
            },
            moving_to: route.state.pending().map(|grant| self.name_of(grant.to)),
            served: None,
            age: now.since(Instant::from_micros(u64::from(route.since_s) * 1_000_000)),
        }
    }

    /// Notes when a move was granted, if a new grant was given in this turn.
    pub(crate) fn note_grant(&mut self, now: Instant, key: RouteKey) {
        let Some(route) = self.routes.get(key) else { return };
        let Some(grant) = route.state.pending().copied() else { return };
        if route.moving.as_ref().is_some_and(|event| event.e2 == grant.e2) {
            return;
        }
        let owner_drains = !self.board.takes_more(route.state.owner());
        let event = MoveEvent::begun(&grant, self.name_of(grant.to), now, now, owner_drains);
        if let Some(route) = self.routes.get_mut(key) {
            route.moving = Some(Box::new(event));
        }
    }

    /// Puts the move of a route into the journal, with what became of it.
    pub(crate) fn end_move(&mut self, key: RouteKey, e2: Epoch, change: impl FnOnce(&mut MoveEvent)) {
        let Some(route) = self.routes.get_mut(key) else { return };
        if let Some(mut event) = route.moving.take_if(|event| event.e2 == e2) {
            change(&mut event);
            self.journal.note(*event);
        }
    }

    fn name_of(&self, node: NodeId) -> String {
        if node == NodeId::FRONT_END {
            return self.settings.name.clone();
        }
        self.board.status(node).map_or_else(String::new, |status| status.config.name.clone())
    }

    /// Somebody wants a connection at the back-end of this name: its owner is told, and asks for a grant.
    pub(crate) fn wish(&mut self, now: Instant, c: ConnId, to: &str) -> Result<WishTaken, WishRefused> {
        let route = self.routes.of_conn(c).and_then(|key| self.routes.get(key)).ok_or(WishRefused::NoConnection)?;
        let (owner, e) = (route.state.owner(), route.state.epoch());
        let node = self.board.nodes().find(|(_, status)| status.config.name == to);
        let (node, _) = node.ok_or(WishRefused::UnknownNode)?;
        match route.place {
            Place::TimeWait(_) => return Err(WishRefused::Closing),
            Place::Leaving => return Err(WishRefused::Moving),
            Place::Here(_) => return Err(WishRefused::AtFrontEnd),
            Place::Away(_) if route.state.is_settling() => return Err(WishRefused::Moving),
            Place::Away(_) if owner == node => return Err(WishRefused::SameNode),
            Place::Away(_) if self.board.generation(node) == Generation::NONE => return Err(WishRefused::NodeDown),
            Place::Away(_) if !self.board.takes_more(node) => return Err(WishRefused::Draining),
            Place::Away(_) => {}
        }
        let mut out = self.directory.outbox(&mut self.sessions, &mut self.to_self, &mut self.ports.drops);
        self.wished.wish(now, owner, MoveWish { c, e, to: node }, &mut out);
        Ok(WishTaken { from: self.name_of(owner), to: to.to_owned() })
    }
}
