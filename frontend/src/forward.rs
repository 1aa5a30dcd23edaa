//! The fast path: a client's segment of a connection that a back-end owns.
//!
//! Look at it, find its route, note the client's last ACK and sequence end, rewrite the Ethernet addresses, send the same buffer.
//! Whatever is not as plain as that is left, untouched, to the long way through `handle_tcp`, which also counts what is dropped.

use arrayvec::ArrayVec;
use baton_stack::addr::{IpAddr, MacAddr};
use baton_stack::glance::Glance;
use baton_stack::node::{Frame, PortId, Transmit, Verdict};
use baton_stack::ports::Ports;
use baton_stack::time::{Duration, Instant};
use handoff_proto::names::NodeId;

use crate::node::FrontEnd;
use crate::routes::Place;

/// How long the way to a back-end is taken as known before its neighbour entry is looked up again: that notes that it is in use, and
/// sees another Ethernet address.
const HOP_VALID: Duration = Duration::from_micros(100);

/// Frames that are looked at before the first is sent on, at the most.
const LOOK_AHEAD_MAX: usize = 32;
/// In a burst of fewer there is nothing to gain.
const LOOK_AHEAD_MIN: usize = 4;

/// With fewer routes they are in the caches anyway.
const ROUTES_FAR: usize = 4_096;

/// The way to a node.
#[derive(Clone, Copy, Debug)]
struct Hop {
    /// From then on it is to be looked up anew.
    until: Instant,
    port: PortId,
    /// Ours on that port.
    src: MacAddr,
    /// The node's.
    dst: MacAddr,
}

/// The ways to the back-ends, by node id.
#[derive(Debug)]
pub(crate) struct Hops(Vec<Hop>);

impl Hops {
    /// For so many back-ends. No way is known yet.
    pub(crate) fn new(back_ends: usize) -> Self {
        let unknown = Hop { until: Instant::ZERO, port: PortId(0), src: MacAddr::default(), dst: MacAddr::default() };
        Self(vec![unknown; back_ends + 1])
    }

    /// The way to `node`, if it was looked up a moment ago.
    #[inline]
    fn known(&self, now: Instant, node: NodeId) -> Option<Hop> {
        self.0.get(usize::from(node.0)).filter(|hop| now < hop.until).copied()
    }

    #[cold]
    fn look_up(&mut self, now: Instant, node: NodeId, addr: IpAddr, ports: &mut Ports) -> Option<Hop> {
        let (port, dst) = ports.resolve(addr, now).ok()?;
        let src = ports.interface(port)?.mac;
        let hop = Hop { until: now + HOP_VALID, port, src, dst };
        *self.0.get_mut(usize::from(node.0))? = hop;
        Some(hop)
    }
}

/// A plain segment, and the hash of its flow.
struct Plain {
    glance: Glance,
    hash: u64,
}

impl FrontEnd {
    /// Sends on what is plain, and takes the rest the long way; all in its order.
    pub(crate) fn handle_frames<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frames: &mut [F],
        verdicts: &mut [Verdict],
        tx: &mut T,
    ) {
        for (frames, verdicts) in frames.chunks_mut(LOOK_AHEAD_MAX).zip(verdicts.chunks_mut(LOOK_AHEAD_MAX)) {
            let look = |frame: &F| {
                let glance = self.ports.glance(port, frame)?;
                let hash = self.routes.hash_of(&glance.flow);
                Some(Plain { glance, hash })
            };
            let plains: ArrayVec<Option<Plain>, LOOK_AHEAD_MAX> = frames.iter().map(look).collect();
            if plains.len() >= LOOK_AHEAD_MIN && self.routes.len() >= ROUTES_FAR {
                self.routes.touch(plains.iter().flatten().map(|plain| plain.hash));
            }
            for ((frame, verdict), plain) in frames.iter_mut().zip(verdicts).zip(&plains) {
                let at_once = plain.as_ref().and_then(|plain| self.forward_at_once(now, plain, frame));
                *verdict = match at_once {
                    Some(verdict) => verdict,
                    None => self.handle_any(now, port, frame, tx),
                };
            }
        }
    }

    /// Sends a plain segment on to the connection's owner. `None`: it takes the long way, as if this had not been tried.
    #[inline]
    fn forward_at_once<F: Frame>(&mut self, now: Instant, plain: &Plain, frame: &mut F) -> Option<Verdict> {
        let Plain { glance, hash } = plain;
        let route = self.routes.of_hashed_flow_mut(&glance.flow, *hash)?;
        let Place::Away(owner) = route.place else { return None };
        debug_assert_eq!(owner, route.state.owner(), "the arbiter says so too");
        let hop = match self.hops.known(now, owner) {
            Some(hop) => hop,
            None => self.hops.look_up(now, owner, self.directory.addr_of(owner)?, &mut self.ports)?,
        };
        let bytes = frame.bytes_mut();
        glance.forward_in_place(bytes, hop.src, hop.dst).ok()?;
        route.note(bytes.get(glance.segment.clone())?);
        self.stats.forwarded_packets += 1;
        self.stats.forwarded_bytes += u64::try_from(bytes.len()).unwrap_or(0);
        Some(Verdict::Forward(hop.port))
    }
}
