//! One direction of a link: bandwidth, delay and seeded faults.
//!
//! ```text
//! frame -> partition? -> room in the queue? -> serialize at `bandwidth` -> loss, duplication, corruption
//!       -> delay + jitter (order kept) or delay + jitter + `reorder_by` (order broken) -> arrival
//! ```
//! Every frame takes the same number of draws, whatever the settings: turning one fault off leaves the others' draws.

use crate::dice::{Dice, PPM};
use crate::frame::SimFrame;
use baton_stack::node::Frame;
use baton_stack::time::{Duration, Instant};

const ETHERNET_HEADER_LEN: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const IPV6_HEADER_LEN: usize = 40;
/// The first byte of an IPv6 header behind the fields that no checksum covers and that say how long the packet is.
const IPV6_NEXT_HEADER: usize = 6;

/// What one direction of a link does to frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkSettings {
    /// Chance to lose a frame, in parts per million.
    pub loss_ppm: u32,
    /// Chance to deliver a frame twice.
    pub duplicate_ppm: u32,
    /// Chance to deliver a frame late by [`LinkSettings::reorder_by`], so that others overtake it.
    pub reorder_ppm: u32,
    /// How late at most.
    pub reorder_by: Duration,
    /// Chance to change one byte behind the Ethernet header.
    pub corrupt_ppm: u32,
    /// Time on the way.
    pub delay: Duration,
    /// Further time on the way, from zero to this, drawn for each frame. Keeps the order.
    pub jitter: Duration,
    /// Bits per second; `None` is unlimited.
    pub bandwidth: Option<u64>,
    /// Bytes that may wait for a link with limited bandwidth.
    pub queue_bytes: u64,
    /// Whether nothing passes.
    pub partitioned: bool,
}

impl Default for LinkSettings {
    /// A short and faultless cable.
    fn default() -> Self {
        Self {
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            reorder_by: Duration::ZERO,
            corrupt_ppm: 0,
            delay: Duration::from_micros(5),
            jitter: Duration::ZERO,
            bandwidth: None,
            queue_bytes: u64::MAX,
            partitioned: false,
        }
    }
}

impl LinkSettings {
    /// The same link without loss, duplication, reordering, corruption or partition.
    #[must_use]
    pub const fn healed(self) -> Self {
        Self { loss_ppm: 0, duplicate_ppm: 0, reorder_ppm: 0, corrupt_ppm: 0, partitioned: false, ..self }
    }
}

/// What a direction has done so far, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LinkCounters {
    /// Put on the link.
    pub sent: u64,
    /// Lost by chance, by partition, or as a frame that its Ethernet checksum would have condemned.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub queue_full: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Delayed so that others may overtake.
    pub reordered: u64,
    /// Delivered with a changed byte.
    pub corrupted: u64,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Link {
    settings: LinkSettings,
    counters: LinkCounters,
    dice: Dice,
    free_at: Instant,
    last_arrival: Instant,
}

struct Draws {
    lost: bool,
    duplicated: bool,
    reorder_by: Option<Duration>,
    corruption: Option<(u64, u8)>,
    jitter: Duration,
}

impl Link {
    /// A direction that draws from `dice`.
    #[must_use]
    pub fn new(settings: LinkSettings, dice: Dice) -> Self {
        Self { settings, counters: LinkCounters::default(), dice, free_at: Instant::ZERO, last_arrival: Instant::ZERO }
    }

    /// Takes a frame and tells `arrive` when it, and perhaps a copy, comes out.
    pub fn carry(&mut self, now: Instant, mut frame: SimFrame, mut arrive: impl FnMut(Instant, SimFrame)) {
        self.counters.sent += 1;
        let draws = self.draw();
        if self.settings.partitioned {
            self.counters.lost += 1;
            return;
        }
        let Some(sent) = self.serialize(now, frame.len()) else {
            self.counters.queue_full += 1;
            return;
        };
        let corrupted = draws.corruption.is_some_and(|(position, flip)| corrupt(&mut frame, position, flip));
        if draws.lost || (draws.corruption.is_some() && !corrupted) {
            self.counters.lost += 1;
            return;
        }
        self.counters.corrupted += u64::from(corrupted);
        let arrival = self.arrival(sent, &draws);
        if draws.duplicated {
            self.counters.duplicated += 1;
            arrive(arrival, frame.clone());
        }
        arrive(arrival, frame);
    }

    /// Its settings.
    #[must_use]
    pub const fn settings(&self) -> &LinkSettings {
        &self.settings
    }

    /// Changes its settings for frames sent from now on.
    pub const fn set(&mut self, settings: LinkSettings) {
        self.settings = settings;
    }

    /// What it has done so far.
    #[must_use]
    pub const fn counters(&self) -> LinkCounters {
        self.counters
    }

    fn draw(&mut self) -> Draws {
        let s = &self.settings;
        let lost = self.dice.chance(s.loss_ppm);
        let duplicated = self.dice.chance(s.duplicate_ppm);
        let late = self.dice.chance(s.reorder_ppm);
        let reorder_by = Duration::from_micros(self.dice.between(1, micros(s.reorder_by)));
        let corrupted = self.dice.chance(s.corrupt_ppm);
        let position = self.dice.bits();
        let flip = u8::try_from(self.dice.between(1, 255)).unwrap_or(1);
        let jitter = Duration::from_micros(self.dice.between(0, micros(s.jitter)));
        Draws {
            lost,
            duplicated,
            reorder_by: late.then_some(reorder_by),
            corruption: corrupted.then_some((position, flip)),
            jitter,
        }
    }

    /// When the frame's last bit has left; `None` if the queue is full.
    fn serialize(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(bandwidth) = self.settings.bandwidth else {
            return Some(now);
        };
        let bits = u64::try_from(len).unwrap_or(u64::MAX).saturating_mul(8);
        let queued = u128::from(micros(self.free_at.since(now))) * u128::from(bandwidth) / 8 / u128::from(PPM);
        if queued + u128::from(bits / 8) > u128::from(self.settings.queue_bytes) {
            return None;
        }
        let takes = Duration::from_micros(bits.saturating_mul(u64::from(PPM)) / bandwidth.max(1));
        self.free_at = self.free_at.max(now) + takes;
        Some(self.free_at)
    }

    fn arrival(&mut self, sent: Instant, draws: &Draws) -> Instant {
        let arrival = (sent + self.settings.delay + draws.jitter).max(self.last_arrival);
        if let Some(late) = draws.reorder_by {
            self.counters.reordered += 1;
            return arrival + late;
        }
        self.last_arrival = arrival;
        arrival
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Changes one byte of an IP packet, which its checksums always notice, but for an IPv6 hop limit: a change within 8 bits alters a
/// one's-complement sum. `false` for other frames: they have no checksum but Ethernet's, which drops them.
fn corrupt(frame: &mut SimFrame, position: u64, flip: u8) -> bool {
    let bytes = frame.bytes_mut();
    let length = |at: usize| bytes.get(at..at + 2).map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])));
    let (first, len) = match bytes.get(12..14).map(|b| [b[0], b[1]]) {
        Some(ETHERTYPE_IPV4) => (0, length(16)),
        Some(ETHERTYPE_IPV6) => (IPV6_NEXT_HEADER, IPV6_HEADER_LEN + length(18)),
        _ => return false,
    };
    let (first, end) = (ETHERNET_HEADER_LEN + first, (ETHERNET_HEADER_LEN + len).min(bytes.len()));
    let Some(span) = end.checked_sub(first).filter(|&span| span > 0) else {
        return false;
    };
    let offset = usize::try_from(position % u64::try_from(span).unwrap_or(1)).unwrap_or(0);
    bytes[first + offset] ^= flip;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Seed;

    fn link(settings: LinkSettings) -> Link {
        Link::new(settings, Seed(1).stream("test"))
    }

    fn ipv4(len: usize) -> SimFrame {
        let mut bytes = vec![0; len];
        bytes[12..14].copy_from_slice(&ETHERTYPE_IPV4);
        let total = u16::try_from(len - ETHERNET_HEADER_LEN).unwrap();
        bytes[16..18].copy_from_slice(&total.to_be_bytes());
        SimFrame::new(&bytes)
    }

    fn carry(link: &mut Link, now: u64, frame: SimFrame) -> Vec<(u64, SimFrame)> {
        let mut out = Vec::new();
        link.carry(Instant::from_micros(now), frame, |at, frame| out.push((at.micros(), frame)));
        out
    }

    #[test]
    fn each_fault_happens_about_as_often_as_asked_for() {
        const RATE: u32 = 100_000;
        let base = LinkSettings { reorder_by: Duration::from_millis(1), ..LinkSettings::default() };
        let cases = [
            LinkSettings { loss_ppm: RATE, ..base },
            LinkSettings { duplicate_ppm: RATE, ..base },
            LinkSettings { reorder_ppm: RATE, ..base },
            LinkSettings { corrupt_ppm: RATE, ..base },
        ];
        for (case, settings) in cases.into_iter().enumerate() {
            let mut link = link(settings);
            let frames = (0..10_000).map(|i| carry(&mut link, i * 10, ipv4(60)).len()).sum::<usize>();
            let c = link.counters();
            let counts = [c.lost, c.duplicated, c.reordered, c.corrupted];
            for (other, count) in counts.into_iter().enumerate() {
                assert!(if other == case { (800..1200).contains(&count) } else { count == 0 }, "{case}: {counts:?}");
            }
            assert_eq!(frames as u64, c.sent - c.lost + c.duplicated);
        }
    }

    #[test]
    fn turning_one_fault_off_leaves_the_other_draws() {
        let both = LinkSettings { loss_ppm: 50_000, corrupt_ppm: 50_000, ..LinkSettings::default() };
        let lost = |settings| {
            let mut link = link(settings);
            (0..1000).filter(|&i| carry(&mut link, i, ipv4(60)).is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(lost(both), lost(LinkSettings { corrupt_ppm: 0, ..both }));
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_breaks_it() {
        let jittery = LinkSettings { jitter: Duration::from_millis(5), ..LinkSettings::default() };
        let arrivals = |settings| {
            let mut link = link(settings);
            (0..500).flat_map(|i| carry(&mut link, i * 10, ipv4(60))).map(|(at, _)| at).collect::<Vec<_>>()
        };
        assert!(arrivals(jittery).is_sorted());
        let late = LinkSettings { reorder_ppm: 100_000, reorder_by: Duration::from_millis(5), ..jittery };
        assert!(!arrivals(late).is_sorted());
    }

    #[test]
    fn bandwidth_spaces_frames_and_the_queue_holds_its_limit() {
        let settings = LinkSettings {
            bandwidth: Some(8_000_000), // one byte per microsecond
            queue_bytes: 3000,
            delay: Duration::ZERO,
            ..LinkSettings::default()
        };
        let mut link = link(settings);
        let at: Vec<_> = (0..3).flat_map(|_| carry(&mut link, 0, ipv4(1000))).map(|(at, _)| at).collect();
        assert_eq!(at, [1000, 2000, 3000]);
        assert!(carry(&mut link, 0, ipv4(18)).is_empty(), "past the limit");
        assert_eq!(link.counters().queue_full, 1);
        assert_eq!(carry(&mut link, 1000, ipv4(1000))[0].0, 4000, "room again after one frame has left");
    }

    #[test]
    fn corruption_changes_one_byte_behind_the_header_or_loses_the_frame() {
        let mut link = link(LinkSettings { corrupt_ppm: PPM, ..LinkSettings::default() });
        let whole = ipv4(60);
        for _ in 0..200 {
            let out = carry(&mut link, 0, ipv4(60));
            let changed: Vec<_> =
                out[0].1.bytes().iter().zip(whole.bytes()).enumerate().filter(|(_, (a, b))| a != b).collect();
            assert!(changed.len() == 1 && changed[0].0 >= ETHERNET_HEADER_LEN, "{changed:?}");
        }
        assert!(carry(&mut link, 0, SimFrame::new(&[0; 60])).is_empty(), "an ARP frame has no checksum of its own");
        assert!(carry(&mut link, 0, SimFrame::new(&[0; 3])).is_empty());
    }

    #[test]
    fn an_ipv6_packet_is_changed_where_a_checksum_sees_it_and_not_in_its_length() {
        let settings = LinkSettings { corrupt_ppm: PPM, ..LinkSettings::default() };
        let mut link = link(settings);
        let whole = {
            let mut bytes = vec![0; 14 + 40 + 20 + 6];
            bytes[12..14].copy_from_slice(&ETHERTYPE_IPV6);
            bytes[19] = 20;
            SimFrame::new(&bytes)
        };
        let mut changed = [false; 80];
        for _ in 0..2_000 {
            let out = carry(&mut link, 0, whole.clone());
            let differing: Vec<_> = (0..80).filter(|&at| out[0].1.bytes()[at] != whole.bytes()[at]).collect();
            assert_eq!(differing.len(), 1);
            changed[differing[0]] = true;
        }
        let expected: Vec<_> = (0..80).map(|at| (20..74).contains(&at)).collect();
        assert_eq!(changed[..], expected[..]);
    }

    #[test]
    fn a_partition_lets_nothing_pass_and_heals() {
        let settings = LinkSettings { partitioned: true, loss_ppm: PPM, ..LinkSettings::default() };
        let mut link = link(settings);
        assert!(carry(&mut link, 0, ipv4(60)).is_empty());
        link.set(settings.healed());
        assert_eq!(carry(&mut link, 0, ipv4(60)).len(), 1);
        assert!(!link.settings().partitioned);
    }
}
