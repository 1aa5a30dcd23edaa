//! Congestion control (RFC 5681), with CUBIC (RFC 9438) or NewReno for growth, and the first slow start as in HyStart++ (RFC 9406). Plain
//! integers: it travels.

mod cubic;
pub(crate) mod hystart;
mod newreno;

pub use cubic::Cubic;
pub use hystart::HyStart;
pub use newreno::NewReno;

use super::seq::SeqNum;
use crate::time::{Duration, Instant};

/// Which algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// RFC 5681 with RFC 6582.
    NewReno,
    /// RFC 9438.
    Cubic,
}

/// The algorithm's own state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Growth {
    /// RFC 5681 section 3.1.
    NewReno(NewReno),
    /// RFC 9438 section 4.
    Cubic(Cubic),
}

/// The congestion state of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Congestion {
    /// The congestion window, in bytes.
    pub cwnd: u32,
    /// The slow start threshold, in bytes.
    pub ssthresh: u32,
    /// How it grows.
    pub growth: Growth,
    /// What the first slow start has seen, while it lasts and something is to be sent.
    pub start: Option<HyStart>,
}

/// No window is greater, whatever the algorithm says.
pub(crate) const CWND_MAX: u32 = 1 << 30;

impl Congestion {
    pub(crate) fn new(algorithm: Algorithm, mss: u32, initial_segments: u8) -> Self {
        let growth = match algorithm {
            Algorithm::NewReno => Growth::NewReno(NewReno::default()),
            Algorithm::Cubic => Growth::Cubic(Cubic::default()),
        };
        Self { cwnd: Self::initial_window(mss, initial_segments), ssthresh: u32::MAX, growth, start: None }
    }

    /// RFC 6928 section 2: min(10 MSS, max(2 MSS, 14600)), with the number of segments a setting.
    pub(crate) fn initial_window(mss: u32, segments: u8) -> u32 {
        let segments = u32::from(segments);
        (segments * mss).min((2 * mss).max(segments * 1460))
    }

    /// An acknowledgment up to `una`, while `nxt` is SND.NXT, that has measured a round trip or none: whether the first slow start goes
    /// on, as long as nothing has ended it (RFC 9406 section 4.2).
    pub(crate) fn note_round_trip(&mut self, (una, nxt): (SeqNum, SeqNum), rtt_us: Option<u32>) {
        if self.ssthresh != u32::MAX {
            return;
        }
        let start = self.start.get_or_insert(HyStart::begin(nxt));
        if start.on_ack((una, nxt), rtt_us) {
            self.ssthresh = self.cwnd;
            self.start = None;
        }
    }

    /// Nothing is left to be sent or acknowledged: the next round trips are compared among themselves.
    pub(crate) const fn forget_round_trips(&mut self) {
        self.start = None;
    }

    /// New data was acknowledged outside of fast recovery, while the window was what limited sending. `is_restart`: in what is
    /// sent again after a timeout.
    pub(crate) fn on_ack(&mut self, now: Instant, acked: u32, mss: u32, srtt: Duration, is_restart: bool) {
        let mut acked = acked;
        if self.cwnd < self.ssthresh {
            // RFC 5681 section 3.1. Receivers acknowledge whole bursts at once: eight segments count (RFC 9406 section 4.2), but
            // after a timeout, when one acknowledgment may tell of what arrived long ago, two (RFC 3465 section 2.3 has one; Linux all).
            acked = acked.min(if is_restart { 2 } else { hystart::L } * mss);
            let growth = self.start.map_or(acked, |start| start.growth(acked));
            let grown = growth.min(self.ssthresh - self.cwnd);
            self.cwnd = (self.cwnd + grown).min(CWND_MAX);
            acked -= grown;
            if acked == 0 || self.cwnd < self.ssthresh {
                return;
            }
        }
        let cwnd = self.cwnd;
        let grown = match &mut self.growth {
            Growth::NewReno(growth) => growth.on_ack(cwnd, acked, mss),
            Growth::Cubic(growth) => {
                // The threshold is beta times that, 0.7.
                let prior = u32::try_from(u64::from(self.ssthresh) * 10 / 7).unwrap_or(u32::MAX);
                growth.on_ack(now, (cwnd, prior), acked, mss, srtt)
            }
        };
        self.cwnd = cwnd.saturating_add(grown).min(CWND_MAX);
    }

    /// Loss was found by acknowledgments: the window is reduced, once per window of data.
    pub(crate) fn on_loss(&mut self, in_flight: u32, mss: u32) {
        self.ssthresh = self.reduced(in_flight, mss);
        self.cwnd = self.ssthresh;
        self.start = None;
    }

    /// The retransmission timer ran out (RFC 5681 section 3.1, equation 4). `is_first`: the threshold has not come down for this window
    /// of data before.
    pub(crate) fn on_timeout(&mut self, in_flight: u32, mss: u32, is_first: bool) {
        if is_first {
            self.ssthresh = self.reduced(in_flight, mss);
        }
        if let Growth::Cubic(cubic) = &mut self.growth {
            cubic.forget();
        }
        self.cwnd = mss;
        self.start = None;
    }

    /// Nothing was sent for longer than so many RTOs. For each the window is halved, down to the restart window (RFC 2861 section 3.1,
    /// RFC 5681 section 4.1), and slow start goes up to three quarters of what it was.
    pub(crate) fn on_idle(&mut self, timeouts: u32, mss: u32, initial_segments: u8) {
        let restart = self.cwnd.min(Self::initial_window(mss, initial_segments));
        self.ssthresh = self.ssthresh.max(self.cwnd / 4 * 3);
        self.cwnd = self.cwnd.checked_shr(timeouts).unwrap_or(0).max(restart);
        if let Growth::Cubic(cubic) = &mut self.growth {
            cubic.restart();
        }
    }

    /// It was not the window that limited sending between the two.
    pub(crate) fn on_unused(&mut self, from: Instant, to: Instant) {
        if let Growth::Cubic(cubic) = &mut self.growth {
            cubic.pause(from, to);
        }
    }

    fn reduced(&mut self, in_flight: u32, mss: u32) -> u32 {
        let reduced = match &mut self.growth {
            // What duplicates have let out beyond the window does not count (RFC 5681 section 3.2, step 2).
            Growth::NewReno(_) => in_flight.min(self.cwnd) / 2,
            Growth::Cubic(cubic) => cubic.on_loss(self.cwnd.min(in_flight.max(self.cwnd / 2)), mss),
        };
        reduced.max(2 * mss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round of ten acknowledgments of a segment each.
    fn round(cc: &mut Congestion, una: &mut SeqNum, rtt_ms: u32) {
        let end = *una + 10_000;
        for _ in 0..10 {
            *una += 1_000;
            // What is sent once all of this round is acknowledged is the next one.
            let nxt = if *una == end { end + 10_000 } else { end };
            cc.note_round_trip((*una, nxt), Some(rtt_ms * 1_000));
            cc.on_ack(Instant::ZERO, 1_000, 1_000, Duration::from_millis(40), false);
        }
    }

    #[test]
    fn the_first_slow_start_slows_down_and_ends_where_round_trips_become_longer() {
        // RFC 9406 section 4.2.
        for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
            let (mut cc, mut una) = (Congestion::new(algorithm, 1_000, 10), SeqNum(7));
            round(&mut cc, &mut una, 40);
            assert_eq!(cc.cwnd, 20_000);
            // From the eighth on, a fourth: so is the growth of four rounds more, of which the last ends it.
            for (rtt_ms, cwnd) in [(60, 27_750), (60, 30_250), (60, 32_750), (60, 35_250)] {
                round(&mut cc, &mut una, rtt_ms);
                assert_eq!((cc.cwnd, cc.ssthresh), (cwnd, u32::MAX));
            }
            round(&mut cc, &mut una, 60);
            assert_eq!((cc.ssthresh, cc.start), (37_500, None));
            // What ended it is not looked at again.
            round(&mut cc, &mut una, 400);
            assert_eq!((cc.ssthresh, cc.start), (37_500, None));
        }
    }

    #[test]
    fn a_loss_ends_the_first_slow_start_and_forgets_what_it_has_seen() {
        let mut una = SeqNum(7);
        let losses: [fn(&mut Congestion); 2] =
            [|cc| cc.on_loss(20_000, 1_000), |cc| cc.on_timeout(20_000, 1_000, true)];
        for lose in losses {
            let mut cc = Congestion::new(Algorithm::Cubic, 1_000, 10);
            round(&mut cc, &mut una, 40);
            assert!(cc.start.is_some());
            lose(&mut cc);
            assert_eq!((cc.ssthresh, cc.start), (14_000, None));
        }
    }
}
