//! CUBIC (RFC 9438), in integers: windows in bytes, times in milliseconds.

use crate::time::{Duration, Instant};

/// What it remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cubic {
    /// `W_max`, in bytes.
    pub w_max: u32,
    /// When the current congestion avoidance began; `None` before.
    pub epoch: Option<Instant>,
    /// `K`, in milliseconds.
    pub k_ms: u32,
    /// The window at the epoch's beginning, in bytes.
    pub w_epoch: u32,
    /// `W_est`, what Reno would have, in bytes (RFC 9438 section 4.3).
    pub w_est: u32,
    /// Growth of `W_est` that is not yet a whole byte, in bytes times `cwnd`.
    pub fraction: u32,
}

impl Cubic {
    /// How much the window grows. `prior` is `cwnd_prior`, what it was when it was last reduced.
    pub(crate) fn on_ack(
        &mut self,
        now: Instant,
        (cwnd, prior): (u32, u32),
        acked: u32,
        mss: u32,
        srtt: Duration,
    ) -> u32 {
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.begin(now, cwnd, mss),
        };
        // Section 4.3: alpha = 3 (1 - beta) / (1 + beta) = 9/17 until W_est has reached cwnd_prior, then 1. That is not W_max, which
        // is less after fast convergence, and what the window is after a timeout.
        let (share, whole) = (u64::from(mss) * u64::from(acked), u64::from(cwnd.max(1)));
        let share = if self.w_est < prior { share * 9 / 17 } else { share } + u64::from(self.fraction);
        self.w_est = self.w_est.saturating_add(u32::try_from(share / whole).unwrap_or(u32::MAX));
        self.fraction = u32::try_from(share % whole).unwrap_or(0);
        let elapsed = now.since(epoch) + srtt;
        let target = self.window_at(elapsed, mss);
        if target <= self.w_est {
            return self.w_est.saturating_sub(cwnd);
        }
        // Sections 4.4 and 4.5: towards the target, by at most half a window in a round trip. What is less than a byte is made up for by
        // the next acknowledgments, for which the target is further away.
        let missing = u64::from(target.saturating_sub(cwnd).min(cwnd / 2));
        u32::try_from(missing * u64::from(acked) / whole).unwrap_or(u32::MAX)
    }

    /// Section 4.6, with fast convergence (section 4.7). Returns the reduced window: beta is 0.7.
    pub(crate) fn on_loss(&mut self, cwnd: u32, mss: u32) -> u32 {
        let reduced = u32::try_from(u64::from(cwnd) * 7 / 10).unwrap_or(cwnd);
        self.w_max = if cwnd < self.w_max { u32::try_from(u64::from(cwnd) * 17 / 20).unwrap_or(cwnd) } else { cwnd };
        self.epoch = None;
        self.fraction = 0;
        reduced.max(2 * mss)
    }

    /// Time that does not count: the window was not what limited sending (section 4.2).
    pub(crate) fn pause(&mut self, from: Instant, to: Instant) {
        self.epoch = self.epoch.map(|epoch| epoch + to.since(from));
    }

    /// Sending stopped for so long that the window is not believed: congestion avoidance begins anew.
    pub(crate) const fn restart(&mut self) {
        self.epoch = None;
    }

    /// After a timeout (section 4.8): the next congestion avoidance takes the window that it begins with for `W_max`, and K for 0.
    pub(crate) const fn forget(&mut self) {
        self.w_max = 0;
        self.epoch = None;
    }

    fn begin(&mut self, now: Instant, cwnd: u32, mss: u32) -> Instant {
        self.epoch = Some(now);
        self.w_epoch = cwnd;
        self.w_est = cwnd;
        self.fraction = 0;
        if cwnd >= self.w_max {
            self.w_max = cwnd;
            self.k_ms = 0;
        } else {
            // K = cbrt((W_max - cwnd) / C) seconds, windows in segments, C = 0.4: in ms, cbrt(segments * 2.5e9).
            let missing = u64::from(self.w_max - cwnd) * 2_500_000_000 / u64::from(mss.max(1));
            self.k_ms = u32::try_from(cube_root(missing)).unwrap_or(u32::MAX);
        }
        now
    }

    /// `W_cubic(t) = C (t - K)^3 + W_max` (section 4.2).
    fn window_at(&self, t: Duration, mss: u32) -> u32 {
        // A thousand seconds away it is beyond every window, and the cube below 2^63.
        let t_ms = i64::try_from(t.as_millis()).unwrap_or(i64::MAX).min(2_000_000);
        let distance = (t_ms - i64::from(self.k_ms)).clamp(-1_000_000, 1_000_000);
        let growth = distance * distance * distance / 1_000_000 * i64::from(mss) * 4 / 10_000;
        u32::try_from((i64::from(self.w_max) + growth).max(0)).unwrap_or(u32::MAX)
    }
}

/// The greatest integer whose cube is not above `n`.
const fn cube_root(n: u64) -> u64 {
    let mut root = 0;
    let mut bit = 1 << 20;
    while bit > 0 {
        let next: u64 = root | bit;
        if next * next * next <= n {
            root = next;
        }
        bit >>= 1;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cube_roots_are_exact() {
        for (n, root) in [(0, 0), (1, 1), (7, 1), (8, 2), (26, 2), (27, 3), (1_000_000_000, 1000), (999_999_999, 999)] {
            assert_eq!(cube_root(n), root);
        }
    }

    #[test]
    fn grows_like_reno_only_from_where_it_was_reduced() {
        // RFC 9438 section 4.3, with fast convergence: 80 segments lost to 56, and W_max is 68.
        let (mss, prior) = (1_000, 80_000);
        let mut cubic = Cubic::default();
        cubic.on_loss(100_000, mss);
        assert_eq!((cubic.on_loss(prior, mss), cubic.w_max), (56_000, 68_000));
        cubic.begin(Instant::ZERO, 56_000, mss);
        for (w_est, grown) in [(67_000, 529), (70_000, 529), (79_999, 529), (80_000, 1_000)] {
            (cubic.w_est, cubic.fraction) = (w_est, 0);
            cubic.on_ack(Instant::ZERO, (70_000, prior), 70_000, mss, Duration::from_millis(1));
            assert_eq!(cubic.w_est, w_est + grown);
        }
    }

    #[test]
    fn grows_like_reno_also_where_an_acknowledgment_is_worth_less_than_a_byte() {
        // RFC 9438 section 4.3: a round trip is worth 9/17 of a segment, whatever the window and the number of acknowledgments.
        let (mss, acked) = (1_448, 2 * 1_448);
        for segments in [10, 1_000, 20_000] {
            let cwnd = segments * mss;
            let mut cubic = Cubic::default();
            cubic.on_loss(cwnd * 10 / 7, mss);
            cubic.begin(Instant::ZERO, cwnd, mss);
            for _ in 0..segments / 2 {
                cubic.on_ack(Instant::ZERO, (cwnd, 2 * cwnd), acked, mss, Duration::ZERO);
            }
            assert!((cubic.w_est - cwnd).abs_diff(766) <= 1, "{segments}: {}", cubic.w_est - cwnd);
        }
    }

    #[test]
    fn time_without_need_of_the_window_does_not_count() {
        // RFC 9438 section 4.2: a minute of small responses, and the curve goes on where it was.
        let mss = 1_000;
        let mut cubic = Cubic::default();
        cubic.on_loss(100_000, mss);
        let ack = |cubic: &mut Cubic, s: u64| {
            cubic.on_ack(Instant::from_micros(s * 1_000_000), (70_000, 100_000), mss, mss, Duration::ZERO)
        };
        ack(&mut cubic, 100);
        let mut other = cubic;
        for _ in 0..60 {
            other.pause(Instant::ZERO, Instant::from_micros(1_000_000));
        }
        assert_eq!(ack(&mut other, 162), ack(&mut cubic, 102));
        assert_eq!(other.w_est, cubic.w_est);
    }

    #[test]
    fn is_back_at_its_maximum_after_k() {
        // RFC 9438 section 4.2: 100 segments lost to 70; K = cbrt(30 / 0.4) = 4.217 s.
        let mss = 1000;
        let mut cubic = Cubic::default();
        assert_eq!(cubic.on_loss(100_000, mss), 70_000);
        cubic.begin(Instant::ZERO, 70_000, mss);
        assert_eq!(cubic.k_ms, 4_217);
        assert_eq!(cubic.window_at(Duration::from_millis(4_217), mss), 100_000);
        assert!(cubic.window_at(Duration::ZERO, mss).abs_diff(70_000) < 100);
        // C (10 - 4.217)^3 + 100 = 177.4 segments.
        assert!(cubic.window_at(Duration::from_secs(10), mss).abs_diff(177_400) < 100);
    }
}
