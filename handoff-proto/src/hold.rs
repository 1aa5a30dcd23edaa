//! Client packets that came before the connection did (R11, R12).
//!
//! They wait for at most a hold time. If the image is installed they are handed to the connection; if the attempt is
//! refused or revoked, or nothing comes, they go back to the front-end. They are never answered and never reset.

use std::collections::{BTreeMap, BTreeSet};

use baton_stack::addr::Flow;
use baton_stack::drop::DropReason;
use baton_stack::time::{Duration, Instant};

/// How much is held, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HoldLimits {
    /// Packets of one flow.
    pub packets_per_flow: usize,
    /// Packets in all.
    pub packets: usize,
    /// T_hold: how long a flow's packets wait, from the first on.
    pub time: Duration,
}

impl Default for HoldLimits {
    fn default() -> Self {
        Self { packets_per_flow: 64, packets: 16_384, time: Duration::from_millis(500) }
    }
}

/// All packets that are held.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Hold {
    limits: HoldLimits,
    flows: BTreeMap<Flow, Held>,
    packets: usize,
    due: BTreeSet<(Instant, Flow)>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Held {
    until: Instant,
    packets: Vec<Vec<u8>>,
}

impl Hold {
    /// Holding nothing.
    #[must_use]
    pub const fn new(limits: HoldLimits) -> Self {
        Self { limits, flows: BTreeMap::new(), packets: 0, due: BTreeSet::new() }
    }

    /// Holds a copy of a packet.
    ///
    /// # Errors
    /// [`DropReason::HoldLimit`]: it is dropped, and TCP recovers.
    pub fn hold(&mut self, now: Instant, flow: Flow, packet: &[u8]) -> Result<(), DropReason> {
        let of_flow = self.flows.get(&flow).map_or(0, |held| held.packets.len());
        if self.packets >= self.limits.packets || of_flow >= self.limits.packets_per_flow {
            return Err(DropReason::HoldLimit);
        }
        let until = now + self.limits.time;
        let held = self.flows.entry(flow).or_insert_with(|| Held { until, packets: Vec::new() });
        held.packets.push(packet.to_vec());
        self.due.insert((held.until, flow));
        self.packets += 1;
        Ok(())
    }

    /// Takes everything that waits for a flow, in the order in which it came: for the connection that was installed, or
    /// to go back to the front-end.
    pub fn take(&mut self, flow: &Flow) -> Vec<Vec<u8>> {
        let Some(held) = self.flows.remove(flow) else { return Vec::new() };
        self.due.remove(&(held.until, *flow));
        self.packets -= held.packets.len();
        held.packets
    }

    /// Takes the packets of a flow that has waited long enough: they go back to the front-end. To be called until
    /// `None`.
    pub fn take_expired(&mut self, now: Instant) -> Option<(Flow, Vec<Vec<u8>>)> {
        let (_, flow) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        Some((flow, self.take(&flow)))
    }

    /// Takes the packets of any flow: the node has a new generation, and everything goes back to the front-end. To be
    /// called until `None`.
    pub fn take_any(&mut self) -> Option<(Flow, Vec<Vec<u8>>)> {
        let flow = *self.flows.first_key_value()?.0;
        Some((flow, self.take(&flow)))
    }

    /// How many packets are held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.packets
    }

    /// Whether none is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// When [`Self::take_expired`] has something.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_stack::addr::{Endpoint, IpAddr};

    const LIMITS: HoldLimits = HoldLimits { packets_per_flow: 2, packets: 3, time: Duration::from_millis(10) };

    fn flow(port: u16) -> Flow {
        let end = |addr: [u8; 4], port| Endpoint { addr: IpAddr::from(addr), port };
        Flow { client: end([10, 0, 0, 1], port), vip: end([10, 0, 0, 2], 80) }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    #[test]
    fn limits_hold_at_and_one_past() {
        let mut hold = Hold::new(LIMITS);
        assert_eq!(hold.hold(at(0), flow(1), b"a"), Ok(()));
        assert_eq!(hold.hold(at(0), flow(1), b"b"), Ok(()));
        assert_eq!(hold.hold(at(0), flow(1), b"c"), Err(DropReason::HoldLimit));
        assert_eq!(hold.hold(at(0), flow(2), b"d"), Ok(()));
        assert_eq!(hold.hold(at(0), flow(3), b"e"), Err(DropReason::HoldLimit));
        assert_eq!(hold.take(&flow(1)), [b"a", b"b"]);
        assert_eq!(hold.hold(at(0), flow(3), b"e"), Ok(()));
        assert_eq!(hold.len(), 2);
    }

    /// C12: what came for a try that is refused or revoked is still there to go back.
    #[test]
    fn c12_a_held_packet_does_not_vanish_with_a_refusal() {
        let mut hold = Hold::new(LIMITS);
        hold.hold(at(0), flow(1), b"a").unwrap();
        hold.hold(at(0), flow(2), b"b").unwrap();
        assert_eq!(hold.take(&flow(1)), [b"a"]);
        assert_eq!(hold.take(&flow(1)), Vec::<Vec<u8>>::new());
        assert_eq!(hold.take_any(), Some((flow(2), vec![b"b".to_vec()])));
        assert!(hold.is_empty() && hold.poll_at().is_none());
    }

    /// C13: what waits for a try that was forgotten goes back, in the end.
    #[test]
    fn c13_a_held_packet_never_waits_for_ever() {
        let mut hold = Hold::new(LIMITS);
        hold.hold(at(0), flow(1), b"a").unwrap();
        hold.hold(at(9), flow(1), b"b").unwrap();
        assert_eq!(hold.poll_at(), Some(at(10)));
        assert_eq!(hold.take_expired(at(9)), None);
        assert_eq!(hold.take_expired(at(10)), Some((flow(1), vec![b"a".to_vec(), b"b".to_vec()])));
        assert_eq!((hold.len(), hold.poll_at(), hold.take_any()), (0, None, None));
    }
}
