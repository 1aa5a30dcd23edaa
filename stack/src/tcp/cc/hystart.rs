//! HyStart++ (RFC 9406): slow start ends when round trips become longer, and not only when a full buffer loses what came too much.
//!
//! ```text
//!   slow start --a round's least round trip is longer than the last one's--> conservative slow start --5 rounds--> over
//!              <--a round's least round trip is shorter than what began it---
//! ```

use crate::tcp::seq::SeqNum;

/// `MIN_RTT_THRESH` (RFC 9406 section 4.3), in microseconds.
const MIN_RTT_THRESH_US: u32 = 4_000;
/// `MAX_RTT_THRESH`, in microseconds.
const MAX_RTT_THRESH_US: u32 = 16_000;
/// `MIN_RTT_DIVISOR`.
const MIN_RTT_DIVISOR: u32 = 8;
/// `N_RTT_SAMPLE`: so many round trips make a round's least one.
pub(crate) const N_RTT_SAMPLE: u8 = 8;
/// `CSS_GROWTH_DIVISOR`: by how much slower the window grows in conservative slow start.
const CSS_GROWTH_DIVISOR: u32 = 4;
/// `CSS_ROUNDS`: so long that lasts.
pub(crate) const CSS_ROUNDS: u8 = 5;
/// `L` of senders that do not pace, in segments: what one acknowledgment counts for at the most.
pub(super) const L: u32 = 8;

/// What it remembers, from the first acknowledgment in slow start on. Times are in microseconds; zero means that there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HyStart {
    /// `windowEnd`: when this is acknowledged the round is over.
    pub end: SeqNum,
    /// `lastRoundMinRTT`.
    pub last_us: u32,
    /// `currentRoundMinRTT`.
    pub least_us: u32,
    /// `rttSampleCount`, up to [`N_RTT_SAMPLE`].
    pub samples: u8,
    /// `cssBaselineMinRtt`: zero outside of conservative slow start.
    pub baseline_us: u32,
    /// How many rounds conservative slow start has lasted.
    pub rounds: u8,
}

impl HyStart {
    /// The first round, of all that is in flight.
    pub(crate) const fn begin(nxt: SeqNum) -> Self {
        Self { end: nxt, last_us: 0, least_us: 0, samples: 0, baseline_us: 0, rounds: 0 }
    }

    /// An acknowledgment up to `una`, while `nxt` is SND.NXT, that has measured a round trip or none (section 4.2). True if slow start is
    /// over.
    #[must_use]
    pub(crate) fn on_ack(&mut self, (una, nxt): (SeqNum, SeqNum), rtt_us: Option<u32>) -> bool {
        if let Some(rtt_us) = rtt_us {
            self.least_us = if self.least_us == 0 { rtt_us } else { self.least_us.min(rtt_us) };
            self.samples = (self.samples + 1).min(N_RTT_SAMPLE);
            self.compare();
        }
        // The acknowledgment that ends a round belongs to it: what it answers was sent before.
        if una.lt(self.end) {
            return false;
        }
        (self.end, self.last_us, self.least_us, self.samples) = (nxt, self.least_us, 0, 0);
        if self.is_conservative() {
            self.rounds += 1;
        }
        self.rounds >= CSS_ROUNDS
    }

    fn compare(&mut self) {
        if self.samples < N_RTT_SAMPLE {
            return;
        }
        if self.is_conservative() {
            if self.least_us < self.baseline_us {
                // It was no queue.
                (self.baseline_us, self.rounds) = (0, 0);
            }
        } else if self.last_us > 0 && self.least_us >= self.last_us + threshold_us(self.last_us) {
            self.baseline_us = self.least_us;
        }
    }

    const fn is_conservative(&self) -> bool {
        self.baseline_us > 0
    }

    /// How much the window grows where slow start would have it grow by `bytes`.
    pub(crate) const fn growth(&self, bytes: u32) -> u32 {
        if self.is_conservative() { bytes / CSS_GROWTH_DIVISOR } else { bytes }
    }
}

/// `RttThresh`.
fn threshold_us(last_us: u32) -> u32 {
    (last_us / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH_US, MAX_RTT_THRESH_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Acknowledgments with these round trips, in milliseconds, that do not end the round.
    fn acks(start: &mut HyStart, ms: &[u32]) {
        for rtt_ms in ms {
            assert!(!start.on_ack((start.end - 1, start.end + 99), Some(rtt_ms * 1_000)));
        }
    }

    /// A round of them. True if slow start is over.
    fn round(start: &mut HyStart, ms: &[u32]) -> bool {
        let (last, others) = ms.split_last().unwrap();
        acks(start, others);
        start.on_ack((start.end, start.end + 1_000), Some(last * 1_000))
    }

    fn begun() -> HyStart {
        HyStart::begin(SeqNum(u32::MAX - 500))
    }

    #[test]
    fn the_threshold_is_an_eighth_between_4_and_16_ms() {
        // RFC 9406 section 4.3.
        for (last_ms, threshold_ms) in [(1, 4), (32, 4), (40, 5), (96, 12), (128, 16), (500, 16)] {
            assert_eq!(threshold_us(last_ms * 1_000), threshold_ms * 1_000, "{last_ms}");
        }
    }

    #[test]
    fn a_longer_round_trip_makes_it_conservative_with_the_eighth_sample() {
        let mut start = begun();
        assert!(!round(&mut start, &[40; 8]));
        // 40 ms and an eighth of it.
        acks(&mut start, &[45; 7]);
        assert_eq!(start.growth(8_000), 8_000);
        acks(&mut start, &[45]);
        // Section 4.2: a fourth of the growth.
        assert_eq!((start.baseline_us, start.growth(8_000)), (45_000, 2_000));
    }

    #[test]
    fn what_is_shorter_than_the_threshold_and_what_is_long_only_once_change_nothing() {
        for second in [&[44; 20][..], &[90, 90, 90, 90, 90, 90, 90, 44], &[90; 7]] {
            let mut start = begun();
            assert!(!round(&mut start, &[40; 8]));
            assert!(!round(&mut start, second));
            assert_eq!(start.baseline_us, 0, "{second:?}");
        }
    }

    #[test]
    fn five_conservative_rounds_end_slow_start() {
        // Section 4.2: the round in which it became so counts.
        let mut start = begun();
        let ends: [bool; 6] = core::array::from_fn(|n| round(&mut start, &[if n == 0 { 40 } else { 60 }; 8]));
        assert_eq!(ends, [false, false, false, false, false, true]);
    }

    #[test]
    fn a_shorter_round_trip_than_the_baseline_makes_it_slow_start_again() {
        let mut start = begun();
        for ms in [40, 60, 60] {
            assert!(!round(&mut start, &[ms; 8]));
        }
        assert_eq!((start.baseline_us, start.rounds), (60_000, 2));
        acks(&mut start, &[59; 8]);
        assert_eq!((start.baseline_us, start.rounds, start.growth(8_000)), (0, 0, 8_000));
    }

    #[test]
    fn acknowledgments_without_a_round_trip_end_rounds_and_no_more() {
        let mut start = begun();
        assert!(!round(&mut start, &[40; 8]));
        assert!(!start.on_ack((start.end, start.end + 1_000), None));
        assert_eq!((start.last_us, start.least_us, start.samples), (0, 0, 0));
        assert!(!round(&mut start, &[90; 8]));
        assert_eq!(start.baseline_us, 0, "there is no round before to compare with");
    }
}
