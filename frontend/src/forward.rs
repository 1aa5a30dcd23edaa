//! The fast path: a client's segment of a connection that a back-end owns.
//!
//! Look at it, find its route, note the client's last ACK and sequence end, rewrite the Ethernet addresses, send the same buffer.
//! Whatever is not as plain as that is left, untouched, to the long way through `handle_tcp`, which also counts what is dropped.
//!
//! ```text
//!  a burst   look at each, hash its flow     (the frames' first lines)
//!            find each a likely place        (the index' buckets; with many routes all are read before the first is needed)
//!            send each on                    (the routes' rows, likewise): compare the flow, note, rewrite
//! ```

use baton_stack::addr::{IpAddr, MacAddr};
use baton_stack::glance::{self, Plain, Progress};
use baton_stack::node::{Frame, PortId, Transmit, Verdict};
use baton_stack::ports::Ports;
use baton_stack::time::{Duration, Instant};
use baton_stack::wire::Macs;
use handoff_proto::names::NodeId;

use crate::node::{Directory, FrontEnd, Idle};
use crate::routes::{Away, Hint};

/// How long the way to a back-end is taken as known before its neighbour entry is looked up again: that notes that it is in use, and
/// sees another Ethernet address.
const HOP_VALID: Duration = Duration::from_micros(100);

/// Frames that are looked at before the first is sent on, at the most.
const LOOK_AHEAD_MAX: usize = 32;

/// The way to a node.
#[derive(Clone, Copy, Debug)]
struct Hop {
    /// From then on it is to be looked up anew.
    until: Instant,
    port: PortId,
    /// The node's Ethernet address, and ours on that port.
    macs: Macs,
}

/// The ways to the back-ends, by node id.
#[derive(Debug)]
pub(crate) struct Hops(Vec<Hop>);

impl Hops {
    /// For so many back-ends. No way is known yet.
    pub(crate) fn new(back_ends: usize) -> Self {
        let macs = Macs::new(MacAddr::default(), MacAddr::default());
        Self(vec![Hop { until: Instant::ZERO, port: PortId(0), macs }; back_ends + 1])
    }

    /// The way to `node`. `None` if it is not known, and asked for now.
    #[inline]
    fn way(
        &mut self,
        now: Instant,
        node: NodeId,
        directory: &Directory,
        ports: &mut Ports,
        idle: &mut Idle,
    ) -> Option<&Hop> {
        let hop = self.0.get_mut(usize::from(node.0))?;
        if now >= hop.until {
            *idle = Idle::Unknown;
            look_up(hop, now, directory.addr_of(node)?, ports)?;
        }
        Some(hop)
    }
}

#[cold]
fn look_up(hop: &mut Hop, now: Instant, addr: IpAddr, ports: &mut Ports) -> Option<()> {
    let (port, dst) = ports.resolve(addr, now).ok()?;
    let src = ports.interface(port)?.mac;
    *hop = Hop { until: now + HOP_VALID, port, macs: Macs::new(dst, src) };
    Some(())
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
        let mac = self.ports.plain_mac(port);
        for (frames, verdicts) in frames.chunks_mut(LOOK_AHEAD_MAX).zip(verdicts.chunks_mut(LOOK_AHEAD_MAX)) {
            let mut hints = [Hint::NONE; LOOK_AHEAD_MAX];
            let hints = &mut hints[..frames.len()];
            if let Some(mac) = mac {
                self.look(mac, frames, hints);
                self.routes.look_ahead(hints);
            }
            for ((frame, verdict), hint) in frames.iter_mut().zip(verdicts).zip(hints) {
                *verdict = match self.forward_at_once(now, *hint, frame.bytes_mut()) {
                    Some(to) => Verdict::Forward(to),
                    None => self.handle_any(now, port, frame, tx),
                };
            }
        }
    }

    /// Notes the flow of each frame that is a plain segment to `mac`.
    #[inline(never)]
    fn look<F: Frame>(&self, mac: MacAddr, frames: &[F], hints: &mut [Hint]) {
        for (frame, hint) in frames.iter().zip(hints) {
            if let Some(plain) = Plain::of(frame.bytes(), mac, frame.checksum()) {
                *hint = self.routes.hint(&plain);
            }
        }
    }

    /// Sends a plain segment on to the connection's owner, by this port. `None`: it takes the long way, as if this had not been tried.
    #[inline]
    fn forward_at_once(&mut self, now: Instant, hint: Hint, frame: &mut [u8]) -> Option<PortId> {
        if hint.is_none() {
            return None;
        }
        let len = frame.len();
        let Some(headers) = glance::again_v4(frame) else { return self.forward_v6(now, hint, frame) };
        let away = self.routes.away_v4(glance::flow_v4(headers), hint)?;
        let plain = Plain::V4(headers);
        let (hop_limit, progress) = (plain.hop_limit(), plain.progress());
        let to = self.hops.way(now, away.owner(), &self.directory, &mut self.ports, &mut self.idle)?;
        forward(headers, true, hop_limit, (away, progress), to)?;
        let port = to.port;
        self.count_forwarded(len);
        Some(port)
    }

    #[inline(never)]
    fn forward_v6(&mut self, now: Instant, hint: Hint, frame: &mut [u8]) -> Option<PortId> {
        let (len, plain) = (frame.len(), Plain::again(frame)?);
        let Plain::V6(headers) = plain else { return None };
        let away = self.routes.away(&glance::flow_v6(headers), hint)?;
        let (hop_limit, progress) = (plain.hop_limit(), plain.progress());
        let to = self.hops.way(now, away.owner(), &self.directory, &mut self.ports, &mut self.idle)?;
        forward(frame, false, hop_limit, (away, progress), to)?;
        let port = to.port;
        self.count_forwarded(len);
        Some(port)
    }

    #[inline]
    fn count_forwarded(&mut self, len: usize) {
        self.stats.forwarded_packets += 1;
        self.stats.forwarded_bytes += u64::try_from(len).unwrap_or(0);
    }
}

/// Notes what a segment says, and rewrites it; neither if it has come to its last hop.
#[inline]
fn forward(
    frame: &mut [u8],
    is_ipv4: bool,
    hop_limit: u8,
    (mut away, progress): (Away<'_>, Progress),
    to: &Hop,
) -> Option<()> {
    glance::forward_in_place(frame, is_ipv4, hop_limit, to.macs).ok()?;
    away.note(progress);
    Some(())
}
