//! A node's own clock: offset and rate against the world's time.

use baton_stack::time::{Duration, Instant};

const MILLION: i128 = 1_000_000;

/// How a node's monotonic clock runs: it shows `offset + t * (1 + skew)` at world time `t`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Clock {
    /// What it shows when the world begins.
    pub offset: Duration,
    /// How much faster it runs, in parts per million; negative is slower. Must be above -1,000,000.
    pub skew_ppm: i32,
}

impl Clock {
    /// What it shows at `world`.
    #[must_use]
    pub fn read(self, world: Instant) -> Instant {
        let t = i128::from(world.micros());
        let own = t + t * i128::from(self.skew_ppm) / MILLION;
        Instant::from_micros(clamp(own)) + self.offset
    }

    /// The earliest world time at which it shows `own` or later.
    #[must_use]
    pub fn when(self, own: Instant) -> Instant {
        let ahead = i128::from(own.micros()) - i128::try_from(self.offset.as_micros()).unwrap_or(i128::MAX);
        if ahead <= 0 {
            return Instant::ZERO;
        }
        let rate = (MILLION + i128::from(self.skew_ppm)).max(1);
        let mut world = clamp(ahead.saturating_mul(MILLION) / rate);
        // Both divisions round: settle the last microsecond by looking.
        while world > 0 && self.read(Instant::from_micros(world - 1)) >= own {
            world -= 1;
        }
        while world < u64::MAX && self.read(Instant::from_micros(world)) < own {
            world += 1;
        }
        Instant::from_micros(world)
    }
}

fn clamp(micros: i128) -> u64 {
    u64::try_from(micros.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_the_first_moment_that_reads_so() {
        for skew_ppm in [-500, -3, 0, 7, 500] {
            let clock = Clock { offset: Duration::from_secs(1000), skew_ppm };
            for own in (0..200).map(|i| Instant::from_micros(1_000_000_000 + i * 7919)) {
                let world = clock.when(own);
                assert!(clock.read(world) >= own);
                if world > Instant::ZERO {
                    assert!(clock.read(Instant::from_micros(world.micros() - 1)) < own);
                }
            }
            assert_eq!(clock.when(Instant::ZERO), Instant::ZERO);
        }
    }

    #[test]
    fn skew_is_in_parts_per_million() {
        let clock = Clock { offset: Duration::ZERO, skew_ppm: 100 };
        assert_eq!(clock.read(Instant::from_micros(10_000_000)).micros(), 10_001_000);
    }
}
