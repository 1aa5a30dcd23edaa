//! Connections alone: production TCBs behind a bottleneck, without the nodes around them.
//!
//! ```text
//!   Host (Tcb, content store, clock) --down: Link, the bottleneck--> Peer
//!    moves as an image to another    <--up: Link------------------- a small TCP of this crate's own
//! ```
//! Whole nodes decide when a connection moves; here a test does, at any moment. All that is sent and heard is compared, byte
//! by byte, with what should be said ([`content`](crate::content)).

mod cost;
mod cuts;
mod host;
mod peer;
mod states;
mod table;

use std::collections::BTreeMap;
use std::hash::Hasher;

use baton_stack::addr::{Endpoint, Flow, IpAddr, MacAddr};
use baton_stack::node::{Frame, RxChecksum};
use baton_stack::tcp::{Segment, TcpConfig};
use baton_stack::time::{Duration, Instant, earliest};
use baton_stack::wire::{self, Envelope, IpSettings, Packet};
use siphasher::sip::SipHasher13;

use crate::dice::{Dice, Seed};
use crate::frame::SimFrame;
use crate::link::{Link, LinkSettings};
use host::{Host, Journey};
use peer::Peer;

/// More events than any of these conversations has.
const EVENTS_MAX: u32 = 20_000_000;
const HOST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// One connection: its two ends.
#[derive(Debug)]
struct Conn {
    flow: Flow,
    host: Host,
    peer: Peer,
    starts: Instant,
}

/// Connections that share one way.
#[derive(Debug)]
struct Path {
    now: Instant,
    conns: Vec<Conn>,
    down: Link,
    up: Link,
    /// Frames on their way: when, in which order; whose, and whether to the peer.
    wire: BTreeMap<(Instant, u64), (usize, bool, SimFrame)>,
    posted: u64,
    events: u32,
    clocks: Dice,
    /// Of what the hosts have sent, and when.
    trace: SipHasher13,
}

impl Path {
    fn new(seed: u64, down: LinkSettings, up: LinkSettings) -> Self {
        Self {
            now: Instant::ZERO,
            conns: Vec::new(),
            down: Link::new(down, Seed(seed).stream("down")),
            up: Link::new(up, Seed(seed).stream("up")),
            wire: BTreeMap::new(),
            posted: 0,
            events: 0,
            clocks: Seed(seed).stream("clocks"),
            trace: SipHasher13::new(),
        }
    }

    /// A further connection, whose peer opens it at `starts`.
    fn connect(&mut self, starts: Instant, config: &TcpConfig, peer: Peer) -> usize {
        let n = self.conns.len();
        let end = |addr: [u8; 4], port| Endpoint { addr: IpAddr::from(addr), port };
        let port = 40_000 + u16::try_from(n).unwrap();
        let flow = Flow { client: end([10, 0, 0, 1], port), vip: end([10, 0, 0, 2], 80) };
        let host = Host::listen(*config, flow);
        self.conns.push(Conn { flow, host, peer, starts });
        n
    }

    fn host(&mut self, n: usize) -> &mut Host {
        &mut self.conns[n].host
    }

    fn peer(&mut self, n: usize) -> &mut Peer {
        &mut self.conns[n].peer
    }

    /// Moves a connection to a node with another clock. False if it is in no state that moves.
    fn move_on(&mut self, n: usize, journey: Journey) -> bool {
        let (now, random) = (self.now, self.clocks.bits());
        let has_moved = self.host(n).move_on(now, journey, random);
        self.settle();
        has_moved
    }

    /// The next event. False if there is none before `until`.
    fn advance(&mut self, until: Instant) -> bool {
        self.settle();
        let next = self.wire.keys().next().map(|(at, _)| *at);
        let now = self.now;
        let at = self.conns.iter().fold(next, |at, conn| {
            let peer = conn.peer.poll_at().map(|at| at.max(conn.starts));
            earliest(at, earliest(conn.host.poll_at(), peer))
        });
        let Some(at) = at.filter(|at| *at <= until) else {
            self.now = until;
            return false;
        };
        self.events += 1;
        assert!(self.events < EVENTS_MAX, "it does not end: {:#?}", self.conns);
        self.now = at.max(now);
        while let Some(((at, _), _)) = self.wire.first_key_value()
            && *at <= self.now
        {
            let Some((_, (n, to_peer, frame))) = self.wire.pop_first() else { break };
            self.deliver(n, to_peer, &frame);
            self.settle();
        }
        for n in 0..self.conns.len() {
            let now = self.now;
            let conn = &mut self.conns[n];
            if conn.starts <= now {
                conn.peer.handle_timeout(now);
            }
            conn.host.handle_timeout(now);
        }
        self.settle();
        true
    }

    /// Plays until `is_done`, and no longer than until `until`. Whether it was done.
    fn play(&mut self, until: Instant, mut is_done: impl FnMut(&mut Self) -> bool) -> bool {
        loop {
            if is_done(self) {
                return true;
            }
            if !self.advance(until) {
                return is_done(self);
            }
        }
    }

    /// Hands a frame over, if its checksums are right.
    fn deliver(&mut self, n: usize, to_peer: bool, frame: &SimFrame) {
        let bytes = frame.bytes();
        let Ok(layers) = wire::parse(bytes, 0) else { return };
        let Packet::Ip(ip) = layers.packet else { return };
        if ip.verify_transport(bytes, RxChecksum::Unknown).is_err() {
            return;
        }
        let (now, tcp) = (self.now, &bytes[ip.l4]);
        let conn = &mut self.conns[n];
        if !to_peer {
            conn.host.handle_segment(now, tcp);
        } else if let Ok(segment) = Segment::parse(tcp) {
            conn.peer.handle_segment(now, &segment);
        }
    }

    /// Puts what both ends have to say on the wire.
    fn settle(&mut self) {
        let Self { now, conns, down, up, wire, posted, trace, .. } = self;
        let now = *now;
        for (n, conn) in conns.iter_mut().enumerate() {
            let Flow { client, vip } = conn.flow;
            let (vlan, ip) = (0, IpSettings::DEFAULT);
            let to_peer = Envelope { src_mac: HOST_MAC, dst_mac: PEER_MAC, vlan, src: vip.addr, dst: client.addr, ip };
            let to_host = Envelope { src_mac: PEER_MAC, dst_mac: HOST_MAC, vlan, src: client.addr, dst: vip.addr, ip };
            while let Some(frame) = conn.host.poll_transmit(now, &to_peer) {
                trace.write_u64(now.micros());
                trace.write(frame.bytes());
                down.carry(now, frame, |at, frame| {
                    *posted += 1;
                    wire.insert((at, *posted), (n, true, frame));
                });
            }
            if conn.starts > now {
                continue;
            }
            while let Some(frame) = conn.peer.poll_transmit(now, &conn.flow, &to_host) {
                up.carry(now, frame, |at, frame| {
                    *posted += 1;
                    wire.insert((at, *posted), (n, false, frame));
                });
            }
        }
    }
}

/// A link of this delay each way.
fn way(delay: Duration) -> LinkSettings {
    LinkSettings { delay, ..LinkSettings::default() }
}

/// How many seeds a test plays: `usual`, or as `BATON_SEEDS` says in a long run, where that is more.
fn seeds(usual: u64) -> u64 {
    std::env::var("BATON_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).map_or(usual, |seeds: u64| seeds.max(usual))
}
