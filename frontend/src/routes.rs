//! The route table: what the front-end knows of every connection.
//!
//! Nearly all connections are at rest: a back-end owns them, and nothing is planned. Such a route is packed into two rows; all others
//! have a [`Route`] of their own beside them. Whoever wants to change a route has it unpacked, and [`Routes::pack`] packs what is at
//! rest again.
//!
//! ```text
//!  hot    | flow: 12 | last ACK: 4 | sequence end: 4 | what: 4 | c: 8 |    32 bytes: all that a forwarded packet reads and writes
//!  cold   | epoch: 4 | first: 4 | since: 4 | hop: 2 | life: 2 |            16 bytes
//! ```
//! Rows and indices are made once, for as many routes as there may be, and never move.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::ops::Deref;

use ahash::RandomState;
use baton_stack::addr::{ConnId, Endpoint, Flow, FlowV4, IpAddr, MacAddr};
use baton_stack::engine::ConnKey;
use baton_stack::glance::{self, Plain, Progress};
use baton_stack::index::Index;
use baton_stack::node::PortId;
use baton_stack::tcp::{SeqNum, TimeWait};
use baton_stack::time::Instant;
use handoff_proto::arbiter::{Death, Rest, RouteState};
use handoff_proto::journal::MoveEvent;
use handoff_proto::names::{Epoch, Generation, NodeId};
use slab::Slab;

use crate::shared::Shared;

/// With fewer routes, index and rows are in the caches anyway.
const ROUTES_FAR: usize = 2_048;

/// No place.
const NOWHERE: u32 = u32::MAX;

/// A route in its table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct RouteKey(usize);

impl RouteKey {
    /// Of the route at a place, counted from 0, if one is there.
    pub(crate) const fn of_place(place: usize) -> Self {
        Self(place)
    }
}

/// One connection, as the front-end sees it.
#[derive(Debug)]
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

/// A route that is looked at: where it stands, or unpacked for the purpose.
#[derive(Debug)]
pub(crate) enum Seen<'a> {
    Full(&'a Route),
    Packed(Route),
}

impl Deref for Seen<'_> {
    type Target = Route;

    fn deref(&self) -> &Route {
        match self {
            Self::Full(route) => route,
            Self::Packed(route) => route,
        }
    }
}

/// What a packet that is sent on reads and writes of its route.
#[derive(Debug)]
pub(crate) struct Away<'a> {
    owner: NodeId,
    last_ack: &'a mut SeqNum,
    seq_end: &'a mut SeqNum,
}

impl Away<'_> {
    #[inline]
    pub(crate) const fn owner(&self) -> NodeId {
        self.owner
    }

    /// Notes what a client's segment says of both directions.
    #[inline]
    pub(crate) fn note(&mut self, progress: Progress) {
        note(self.last_ack, self.seq_end, progress);
    }
}

#[inline]
fn note(last_ack: &mut SeqNum, seq_end: &mut SeqNum, progress: Progress) {
    if let Some(ack) = progress.ack {
        *last_ack = last_ack.max(ack);
    }
    *seq_end = seq_end.max(progress.seq_end);
}

/// A flow's hash, and where its route may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hint {
    hash: u64,
    place: u32,
}

impl Hint {
    /// For a frame whose flow is not known.
    pub(crate) const NONE: Self = Self { hash: 0, place: NOWHERE };

    /// One flow in 2^64 has this hash by chance, and takes the long way.
    #[inline]
    pub(crate) const fn is_none(self) -> bool {
        self.hash == 0
    }
}

/// What a place in the table holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct What(u32);

impl What {
    const VACANT: Self = Self(0);
    /// Its owner is in the lower half.
    const AT_REST: u32 = 1 << 16;
    const FULL: u32 = 2 << 16;
    /// The addresses of its flow are in a table of their own.
    const V6: u32 = 4 << 16;

    const fn is_v6(self) -> bool {
        self.0 & Self::V6 != 0
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    const fn at_rest(self) -> Option<NodeId> {
        if self.0 & Self::AT_REST == 0 { None } else { Some(NodeId(self.0 as u16)) }
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
struct Hot {
    /// For IPv6: the number of its addresses, four zeros, both ports.
    flow: FlowV4,
    last_ack: SeqNum,
    /// Of a full route: its number. Of a vacant place: the next vacant one.
    seq_end: SeqNum,
    what: What,
    c: ConnId,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cold {
    epoch: Epoch,
    first: Epoch,
    since_s: u32,
    hop: u16,
    life: u16,
}

const _: () = assert!(size_of::<Hot>() == 32 && size_of::<Cold>() == 16);

#[derive(Debug)]
struct Full {
    route: Route,
    /// Whether it is among those that [`Routes::pack`] looks at.
    is_loose: bool,
}

/// All routes, by flow and by connection id.
#[derive(Debug)]
pub(crate) struct Routes {
    hot: Vec<Hot>,
    cold: Vec<Cold>,
    /// The first vacant place.
    vacant: u32,
    len: usize,
    full: Slab<Box<Full>>,
    /// Client and VIP.
    addrs_v6: Slab<[Ipv6Addr; 2]>,
    hops: Shared<(PortId, MacAddr)>,
    lives: Shared<Generation>,
    /// Full routes that may have changed since [`Routes::pack`].
    loose: Vec<RouteKey>,
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
            hot: Vec::with_capacity(limit),
            cold: Vec::with_capacity(limit),
            vacant: NOWHERE,
            len: 0,
            full: Slab::new(),
            addrs_v6: Slab::new(),
            hops: Shared::new([b, c, d, a]),
            lives: Shared::new([c, d, a, b]),
            loose: Vec::new(),
            by_flow: Index::new(limit),
            by_conn: Index::new(limit),
            hasher: RandomState::with_seeds(a, b, c, d),
            time_waits: BTreeSet::new(),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// How many are more than the memory of an ended connection.
    pub(crate) fn live(&self) -> usize {
        self.len - self.time_waits.len()
    }

    /// The hash of a plain segment's flow.
    #[inline]
    pub(crate) fn hint(&self, plain: &Plain<'_>) -> Hint {
        let hash = match plain {
            Plain::V4(headers) => self.hasher.hash_one(glance::flow_v4(headers)),
            Plain::V6(headers) => self.hasher.hash_one(glance::flow_v6(headers)),
        };
        Hint { hash, place: NOWHERE }
    }

    /// Notes for each flow where its route most likely is. When there are many routes, what does not depend on each other is read at
    /// once, first all buckets of the index, then all rows: so that a burst waits for memory twice, and not twice for each frame.
    #[inline(never)]
    pub(crate) fn look_ahead(&self, hints: &mut [Hint]) {
        let is_far = self.len >= ROUTES_FAR && hints.len() > 1;
        if is_far {
            std::hint::black_box(hints.iter().fold(0, |sum, hint| sum ^ self.by_flow.touch(hint.hash)));
        }
        for hint in hints.iter_mut() {
            hint.place = self.by_flow.likely(hint.hash).unwrap_or(NOWHERE);
        }
        if is_far {
            let rows = hints.iter().filter_map(|hint| self.hot.get(hint.place as usize));
            std::hint::black_box(rows.fold(0, |sum, hot| sum ^ hot.what.0));
        }
    }

    /// The route of a plain segment over IPv4, if its owner is elsewhere.
    #[inline]
    pub(crate) fn away_v4(&mut self, flow: FlowV4, hint: Hint) -> Option<Away<'_>> {
        let is_it = |place: usize| self.hot.get(place).is_some_and(|hot| hot.flow == flow && !hot.what.is_v6());
        let likely = hint.place as usize;
        let place = if is_it(likely) { likely } else { self.by_flow.find(hint.hash, is_it)? };
        self.away_at(place)
    }

    /// The route of a segment of any flow, if its owner is elsewhere.
    pub(crate) fn away(&mut self, flow: &Flow, hint: Hint) -> Option<Away<'_>> {
        self.away_at(self.place_of(hint.hash, flow)?)
    }

    #[inline]
    fn away_at(&mut self, place: usize) -> Option<Away<'_>> {
        let hot = self.hot.get_mut(place)?;
        if let Some(owner) = hot.what.at_rest() {
            return Some(Away { owner, last_ack: &mut hot.last_ack, seq_end: &mut hot.seq_end });
        }
        let route = &mut full_of(&mut self.full, hot)?.route;
        let Place::Away(owner) = route.place else { return None };
        debug_assert_eq!(owner, route.state.owner(), "the arbiter says so too");
        Some(Away { owner, last_ack: &mut route.last_ack, seq_end: &mut route.seq_end })
    }

    pub(crate) fn of_flow(&self, flow: &Flow) -> Option<RouteKey> {
        self.place_of(self.hasher.hash_one(flow), flow).map(RouteKey)
    }

    pub(crate) fn of_conn(&self, c: ConnId) -> Option<RouteKey> {
        let is_it = |place| self.hot.get(place).is_some_and(|hot: &Hot| hot.c == c);
        self.by_conn.find(self.hasher.hash_one(c), is_it).map(RouteKey)
    }

    fn place_of(&self, hash: u64, flow: &Flow) -> Option<usize> {
        let is_it = |place| self.hot.get(place).is_some_and(|hot| self.flow_of(hot) == Some(*flow));
        self.by_flow.find(hash, is_it)
    }

    /// The flow that a row stands for.
    fn flow_of(&self, hot: &Hot) -> Option<Flow> {
        let flow = hot.flow.flow();
        if !hot.what.is_v6() {
            return Some(flow);
        }
        let [client, vip] = *self.addrs_v6.get(addrs_number(hot.flow))?;
        let end = |addr, port| Endpoint { addr: IpAddr::V6(addr), port };
        Some(Flow { client: end(client, flow.client.port), vip: end(vip, flow.vip.port) })
    }

    pub(crate) fn get(&self, key: RouteKey) -> Option<Seen<'_>> {
        let hot = self.hot.get(key.0)?;
        if let Some(owner) = hot.what.at_rest() {
            return self.unpacked(key, hot, owner).map(Seen::Packed);
        }
        Some(Seen::Full(&self.full.get(full_number(hot)?)?.route))
    }

    /// A route that is to be changed; it is unpacked until [`Routes::pack`] finds it at rest.
    pub(crate) fn get_mut(&mut self, key: RouteKey) -> Option<&mut Route> {
        self.unpack(key)?;
        let hot = self.hot.get(key.0)?;
        let full = full_of(&mut self.full, hot)?;
        if !full.is_loose {
            full.is_loose = true;
            self.loose.push(key);
        }
        Some(&mut full.route)
    }

    /// Notes what a client's segment says of both directions; `tcp` is the segment.
    pub(crate) fn note(&mut self, key: RouteKey, tcp: &[u8]) {
        let (Some(hot), Some(header)) = (self.hot.get_mut(key.0), tcp.first_chunk()) else { return };
        let progress = Progress::of(header, tcp.len());
        if hot.what.at_rest().is_some() {
            note(&mut hot.last_ack, &mut hot.seq_end, progress);
        } else if let Some(full) = full_of(&mut self.full, hot) {
            note(&mut full.route.last_ack, &mut full.route.seq_end, progress);
        }
    }

    /// Whether the death of a node may concern the arbiter for this route: one at rest, only if it is its owner's.
    pub(crate) fn is_touched_by(&self, key: RouteKey, death: Death) -> bool {
        let Some(hot) = self.hot.get(key.0) else { return false };
        match hot.what.at_rest() {
            Some(owner) => {
                let g = self.cold.get(key.0).and_then(|cold| self.lives.get(cold.life));
                (owner, g) == (death.node, Some(death.g))
            }
            None => hot.what != What::VACANT,
        }
    }

    /// How many places the table has, taken or free.
    pub(crate) const fn places(&self) -> usize {
        self.hot.len()
    }

    /// Adds a route. `None` at the limit, or if its flow has a route.
    pub(crate) fn insert(&mut self, route: Route) -> Option<RouteKey> {
        if self.of_flow(&route.flow).is_some() {
            return None;
        }
        let place = if self.vacant == NOWHERE { self.hot.len() } else { self.vacant as usize };
        let (of_flow, of_conn) = (self.hasher.hash_one(route.flow), self.hasher.hash_one(route.c));
        let (flow, family) = self.row_flow(&route.flow)?;
        if self.by_flow.insert(of_flow, place).is_err() {
            self.forget_addrs(flow, What(family));
            return None;
        }
        if self.by_conn.insert(of_conn, place).is_err() {
            self.by_flow.remove(of_flow, place);
            self.forget_addrs(flow, What(family));
            return None;
        }
        let c = route.c;
        let number = self.full.insert(Box::new(Full { route, is_loose: true }));
        let number = SeqNum(u32::try_from(number).ok()?);
        let hot = Hot { flow, last_ack: SeqNum(0), seq_end: number, what: What(What::FULL | family), c };
        if let Some(vacant) = self.hot.get_mut(place) {
            self.vacant = vacant.seq_end.0;
            *vacant = hot;
        } else {
            self.hot.push(hot);
            self.cold.push(Cold::default());
        }
        self.len += 1;
        let key = RouteKey(place);
        self.loose.push(key);
        Some(key)
    }

    /// A flow as rows have it, and its family.
    fn row_flow(&mut self, flow: &Flow) -> Option<(FlowV4, u32)> {
        if let Some(flow) = FlowV4::of(flow) {
            return Some((flow, 0));
        }
        let (IpAddr::V6(client), IpAddr::V6(vip)) = (flow.client.addr, flow.vip.addr) else { return None };
        let [a, b, c, d] = u32::try_from(self.addrs_v6.insert([client, vip])).ok()?.to_be_bytes();
        let ([i, j], [k, l]) = (flow.client.port.to_be_bytes(), flow.vip.port.to_be_bytes());
        Some((FlowV4([a, b, c, d, 0, 0, 0, 0, i, j, k, l]), What::V6))
    }

    /// The end of what [`Routes::row_flow`] has begun.
    fn forget_addrs(&mut self, flow: FlowV4, what: What) {
        if what.is_v6() {
            self.addrs_v6.try_remove(addrs_number(flow));
        }
    }

    pub(crate) fn remove(&mut self, key: RouteKey) -> Option<Route> {
        self.unpack(key)?;
        let hot = self.hot.get_mut(key.0)?;
        let Full { route, .. } = *self.full.try_remove(full_number(hot)?)?;
        let (flow, what, next) = (hot.flow, hot.what, SeqNum(self.vacant));
        *hot = Hot { flow: FlowV4([0; 12]), last_ack: SeqNum(0), seq_end: next, what: What::VACANT, c: ConnId(0) };
        self.forget_addrs(flow, what);
        self.vacant = u32::try_from(key.0).unwrap_or(NOWHERE);
        self.len -= 1;
        if let Place::TimeWait(end) = &route.place {
            self.time_waits.remove(&(end.until(), key));
        }
        self.by_flow.remove(self.hasher.hash_one(route.flow), key.0);
        self.by_conn.remove(self.hasher.hash_one(route.c), key.0);
        Some(route)
    }

    /// The connection has ended; its end is remembered until the time given with it.
    pub(crate) fn set_time_wait(&mut self, key: RouteKey, end: TimeWait) {
        let Some(route) = self.get_mut(key) else { return };
        let until = end.until();
        let before = std::mem::replace(&mut route.place, Place::TimeWait(Box::new(end)));
        if let Place::TimeWait(before) = before {
            self.time_waits.remove(&(before.until(), key));
        }
        self.time_waits.insert((until, key));
    }

    /// Notes that the time of an ended connection was prolonged from `before`.
    pub(crate) fn prolonged(&mut self, key: RouteKey, before: Instant) {
        let until = match self.get(key).as_deref() {
            Some(Route { place: Place::TimeWait(end), .. }) => end.until(),
            _ => return,
        };
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

    /// Packs the routes that may have changed since the last call, and are at rest.
    pub(crate) fn pack(&mut self) {
        while let Some(key) = self.loose.pop() {
            let Some(hot) = self.hot.get(key.0) else { continue };
            let Some(full) = full_of(&mut self.full, hot) else { continue };
            full.is_loose = false;
            let Route { flow: _, last_ack, seq_end, place, state, c: _, first, since_s, moving, port, client_mac } =
                &full.route;
            let (Place::Away(_), None, Some(Rest { owner, owner_g, epoch })) = (place, moving, state.at_rest()) else {
                continue;
            };
            // When there are too many different ones, it stays as it is.
            let Some(hop) = self.hops.take((*port, *client_mac)) else { continue };
            let Some(life) = self.lives.take(owner_g) else {
                self.hops.give(hop);
                continue;
            };
            let cold = Cold { epoch, first: *first, since_s: *since_s, hop, life };
            let (last_ack, seq_end) = (*last_ack, *seq_end);
            let number = full_number(hot);
            let what = What(What::AT_REST | hot.what.0 & What::V6 | u32::from(owner.0));
            if let (Some(hot), Some(row)) = (self.hot.get_mut(key.0), self.cold.get_mut(key.0)) {
                *hot = Hot { last_ack, seq_end, what, ..*hot };
                *row = cold;
            }
            number.and_then(|number| self.full.try_remove(number));
        }
    }

    /// Gives a packed route a [`Route`] of its own. `None` if there is no route.
    fn unpack(&mut self, key: RouteKey) -> Option<()> {
        let hot = self.hot.get(key.0)?;
        let Some(owner) = hot.what.at_rest() else { return full_number(hot).map(drop) };
        let route = self.unpacked(key, hot, owner)?;
        let what = What(What::FULL | hot.what.0 & What::V6);
        let number = self.full.insert(Box::new(Full { route, is_loose: false }));
        let seq_end = SeqNum(u32::try_from(number).ok()?);
        let hot = self.hot.get_mut(key.0)?;
        *hot = Hot { seq_end, what, ..*hot };
        let Cold { hop, life, .. } = *self.cold.get(key.0)?;
        self.hops.give(hop);
        self.lives.give(life);
        Some(())
    }

    /// What the rows of a route at rest say.
    fn unpacked(&self, key: RouteKey, hot: &Hot, owner: NodeId) -> Option<Route> {
        let Hot { flow: _, last_ack, seq_end, what: _, c } = *hot;
        let Cold { epoch, first, since_s, hop, life } = *self.cold.get(key.0)?;
        let (port, client_mac) = self.hops.get(hop)?;
        let state = RouteState::resting(Rest { owner, owner_g: self.lives.get(life)?, epoch });
        let (flow, place, moving) = (self.flow_of(hot)?, Place::Away(owner), None);
        Some(Route { flow, last_ack, seq_end, place, state, c, first, since_s, moving, port, client_mac })
    }
}

/// The number of the addresses of a flow over IPv6.
const fn addrs_number(flow: FlowV4) -> usize {
    let [a, b, c, d, ..] = flow.0;
    u32::from_be_bytes([a, b, c, d]) as usize
}

/// The number of a full route.
#[inline]
fn full_number(hot: &Hot) -> Option<usize> {
    (hot.what.0 & What::FULL != 0).then_some(hot.seq_end.0 as usize)
}

#[inline]
fn full_of<'a>(full: &'a mut Slab<Box<Full>>, hot: &Hot) -> Option<&'a mut Full> {
    full.get_mut(full_number(hot)?).map(Box::as_mut)
}

#[cfg(test)]
mod tests;
