//! The route table: what the front-end knows of every connection.

use std::collections::BTreeSet;

use ahash::RandomState;
use baton_stack::addr::{ConnId, Flow, MacAddr};
use baton_stack::engine::ConnKey;
use baton_stack::index::Index;
use baton_stack::node::PortId;
use baton_stack::tcp::{Flags, SeqNum, TimeWait};
use baton_stack::time::Instant;
use handoff_proto::arbiter::RouteState;
use handoff_proto::journal::MoveEvent;
use handoff_proto::names::{Epoch, NodeId};
use slab::Slab;

/// A route in its table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct RouteKey(usize);

/// One connection, as the front-end sees it. What is read and written for each packet that is sent on comes first, and is one cache
/// line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Route {
    pub(crate) flow: Flow,
    /// The client's last acknowledgment, and the end of what it has sent: what a reset needs.
    pub(crate) last_ack: SeqNum,
    pub(crate) seq_end: SeqNum,
    pub(crate) place: Place,
    /// Who owns it.
    pub(crate) state: RouteState,
    pub(crate) c: ConnId,
    /// The epoch of the handoff that took it away from the front-end; [`Epoch::FIRST`] until that is known.
    pub(crate) first: Epoch,
    /// When it was accepted, in whole seconds.
    pub(crate) since_s: u32,
    /// The move that was granted last, until its fate is known.
    pub(crate) moving: Option<Box<MoveEvent>>,
    /// Where the client's packets come from, and answers go to.
    pub(crate) port: PortId,
    pub(crate) client_mac: MacAddr,
}

const _: () = assert!(std::mem::offset_of!(Route, state) == 64 && size_of::<Route>() == 128);

/// Where the client's packets go.
#[derive(Debug)]
pub(crate) enum Place {
    /// To the front-end's own engine: handshake, first head, error answers.
    Here(ConnKey),
    /// To the recipient of the first handoff, which holds them until it has the connection.
    Leaving,
    /// To the owner, which is what the route's state says too.
    Away(NodeId),
    /// Nowhere: the connection has ended, and its end is remembered.
    TimeWait(Box<TimeWait>),
}

impl Route {
    /// Notes what a client's segment says of both directions. `tcp` starts at its header, which is whole.
    #[inline]
    pub(crate) fn note(&mut self, tcp: &[u8]) {
        let Some(header) = tcp.first_chunk::<20>() else { return };
        let number =
            |at: usize| SeqNum(u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
        let flags = Flags(header[13]);
        if flags.has(Flags::ACK) {
            self.last_ack = self.last_ack.max(number(8));
        }
        let payload = tcp.len().saturating_sub(usize::from(header[12] >> 4) * 4);
        let control = u32::from(flags.has(Flags::SYN)) + u32::from(flags.has(Flags::FIN));
        let len = u32::try_from(payload).unwrap_or(0) + control;
        self.seq_end = self.seq_end.max(number(4) + len);
    }
}

/// All routes, by flow and by connection id.
#[derive(Debug)]
pub(crate) struct Routes {
    routes: Slab<Route>,
    by_flow: Index,
    by_conn: Index,
    hasher: RandomState,
    /// When the memory of an ended connection is over.
    time_waits: BTreeSet<(Instant, RouteKey)>,
}

impl Routes {
    /// For at most `limit` connections.
    pub(crate) fn new(limit: usize, seeds: [u64; 4]) -> Self {
        let [a, b, c, d] = seeds;
        Self {
            routes: Slab::new(),
            by_flow: Index::new(limit),
            by_conn: Index::new(limit),
            hasher: RandomState::with_seeds(a, b, c, d),
            time_waits: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    /// How many are more than the memory of an ended connection.
    pub(crate) fn live(&self) -> usize {
        self.routes.len() - self.time_waits.len()
    }

    #[inline]
    pub(crate) fn of_flow(&self, flow: &Flow) -> Option<RouteKey> {
        let is_it = |place| self.routes.get(place).is_some_and(|route| route.flow == *flow);
        self.by_flow.find(self.hasher.hash_one(flow), is_it).map(RouteKey)
    }

    /// The hash under which a flow is looked up.
    #[inline]
    pub(crate) fn hash_of(&self, flow: &Flow) -> u64 {
        self.hasher.hash_one(flow)
    }

    /// As [`Routes::of_flow`], with the flow's hash.
    #[inline]
    pub(crate) fn of_hashed_flow_mut(&mut self, flow: &Flow, hash: u64) -> Option<&mut Route> {
        let is_it = |place| self.routes.get(place).is_some_and(|route: &Route| route.flow == *flow);
        let place = self.by_flow.find(hash, is_it)?;
        self.routes.get_mut(place)
    }

    /// Reads what looking up these hashes will read: first all buckets of the index, then all routes. What does not depend on each other
    /// the machine fetches at once, so that a burst waits for memory twice, and not twice for each frame.
    #[inline]
    pub(crate) fn touch(&self, hashes: impl Iterator<Item = u64> + Clone) {
        let buckets = hashes.clone().fold(0, |sum, hash| sum ^ self.by_flow.touch(hash));
        let routes = hashes.filter_map(|hash| self.routes.get(self.by_flow.likely(hash)?));
        std::hint::black_box(routes.fold(buckets, |sum, route| sum ^ route.last_ack.0));
    }

    pub(crate) fn of_conn(&self, c: ConnId) -> Option<RouteKey> {
        let is_it = |place| self.routes.get(place).is_some_and(|route| route.c == c);
        self.by_conn.find(self.hasher.hash_one(c), is_it).map(RouteKey)
    }

    pub(crate) fn get(&self, key: RouteKey) -> Option<&Route> {
        self.routes.get(key.0)
    }

    pub(crate) fn get_mut(&mut self, key: RouteKey) -> Option<&mut Route> {
        self.routes.get_mut(key.0)
    }

    /// How many places the table has, taken or free.
    pub(crate) fn places(&self) -> usize {
        self.routes.capacity()
    }

    /// The route at a place, counted from 0.
    pub(crate) fn at_place(&self, place: usize) -> Option<&Route> {
        self.routes.get(place)
    }

    /// Every route's key, at this moment.
    pub(crate) fn keys(&self) -> Vec<RouteKey> {
        self.routes.iter().map(|(place, _)| RouteKey(place)).collect()
    }

    /// Adds a route. `None` at the limit, or if its flow has a route.
    pub(crate) fn insert(&mut self, route: Route) -> Option<RouteKey> {
        if self.of_flow(&route.flow).is_some() {
            return None;
        }
        let place = self.routes.vacant_key();
        let (of_flow, of_conn) = (self.hasher.hash_one(route.flow), self.hasher.hash_one(route.c));
        self.by_flow.insert(of_flow, place).ok()?;
        if self.by_conn.insert(of_conn, place).is_err() {
            self.by_flow.remove(of_flow, place);
            return None;
        }
        self.routes.insert(route);
        Some(RouteKey(place))
    }

    pub(crate) fn remove(&mut self, key: RouteKey) -> Option<Route> {
        let route = self.routes.try_remove(key.0)?;
        if let Place::TimeWait(end) = &route.place {
            self.time_waits.remove(&(end.until(), key));
        }
        self.by_flow.remove(self.hasher.hash_one(route.flow), key.0);
        self.by_conn.remove(self.hasher.hash_one(route.c), key.0);
        Some(route)
    }

    /// The connection has ended; its end is remembered until the time given with it.
    pub(crate) fn set_time_wait(&mut self, key: RouteKey, end: TimeWait) {
        let Some(route) = self.routes.get_mut(key.0) else { return };
        if let Place::TimeWait(before) = &route.place {
            self.time_waits.remove(&(before.until(), key));
        }
        self.time_waits.insert((end.until(), key));
        route.place = Place::TimeWait(Box::new(end));
    }

    /// Notes that the time of an ended connection was prolonged from `before`.
    pub(crate) fn prolonged(&mut self, key: RouteKey, before: Instant) {
        let Some(Route { place: Place::TimeWait(end), .. }) = self.routes.get(key.0) else { return };
        let until = end.until();
        if until != before && self.time_waits.remove(&(before, key)) {
            self.time_waits.insert((until, key));
        }
    }

    /// Forgets the connections that ended long enough ago.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.time_waits.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.time_waits.pop_first() {
                self.remove(key);
            }
        }
    }

    pub(crate) fn poll_at(&self) -> Option<Instant> {
        self.time_waits.first().map(|(at, _)| *at)
    }
}
