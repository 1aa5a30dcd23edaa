//! Congestion control (RFC 5681), with CUBIC (RFC 9438) or NewReno for growth. Plain integers: it travels.

mod cubic;
mod newreno;

pub use cubic::Cubic;
pub use newreno::NewReno;

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
}

/// No window is greater, whatever the algorithm says.
pub(crate) const CWND_MAX: u32 = 1 << 30;

impl Congestion {
    pub(crate) fn new(algorithm: Algorithm, mss: u32, initial_segments: u8) -> Self {
        let growth = match algorithm {
            Algorithm::NewReno => Growth::NewReno(NewReno::default()),
            Algorithm::Cubic => Growth::Cubic(Cubic::default()),
        };
        Self { cwnd: Self::initial_window(mss, initial_segments), ssthresh: u32::MAX, growth }
    }

    /// RFC 6928 section 2: min(10 MSS, max(2 MSS, 14600)), with the number of segments a setting.
    pub(crate) fn initial_window(mss: u32, segments: u8) -> u32 {
        let segments = u32::from(segments);
        (segments * mss).min((2 * mss).max(segments * 1460))
    }

    /// New data was acknowledged outside of fast recovery, while the window was what limited sending. `is_restart`: in what is
    /// sent again after a timeout.
    pub(crate) fn on_ack(&mut self, now: Instant, acked: u32, mss: u32, srtt: Duration, is_restart: bool) {
        let mut acked = acked;
        if self.cwnd < self.ssthresh {
            // RFC 5681 section 3.1. Receivers acknowledge whole bursts at once: eight segments count (RFC 9406 section 4.2), but
            // after a timeout, when one acknowledgment may tell of what arrived long ago, two (RFC 3465 section 2.3).
            acked = acked.min(if is_restart { 2 } else { 8 } * mss);
            let grown = acked.min(self.ssthresh - self.cwnd);
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
    }

    /// The retransmission timer ran out (RFC 5681 section 3.1, equation 4). `is_first`: for data not sent again by it before.
    pub(crate) fn on_timeout(&mut self, in_flight: u32, mss: u32, is_first: bool) {
        if is_first {
            self.ssthresh = self.reduced(in_flight, mss);
            if let Growth::Cubic(cubic) = &mut self.growth {
                cubic.forget();
            }
        }
        self.cwnd = mss;
    }

    /// Nothing was sent for longer than an RTO (RFC 5681 section 4.1).
    pub(crate) fn on_idle(&mut self, mss: u32, initial_segments: u8) {
        self.cwnd = self.cwnd.min(Self::initial_window(mss, initial_segments));
        if let Growth::Cubic(cubic) = &mut self.growth {
            cubic.pause();
        }
    }

    fn reduced(&mut self, in_flight: u32, mss: u32) -> u32 {
        let reduced = match &mut self.growth {
            Growth::NewReno(_) => in_flight / 2,
            Growth::Cubic(cubic) => cubic.on_loss(self.cwnd.min(in_flight.max(self.cwnd / 2)), mss),
        };
        reduced.max(2 * mss)
    }
}
