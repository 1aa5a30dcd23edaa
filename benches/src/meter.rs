//! What is measured, told apart from what is only needed for it.
//!
//! The same call serves both kinds of figures: valgrind counts instructions only inside [`measured_work`], and a
//! [`Meter`] adds up the time that is spent there.

use std::time::{Duration, Instant};

/// The function whose instructions are counted, as `valgrind --toggle-collect` takes it.
pub const COUNTED: &str = "*measured_work*";

/// How often the meter looks what a pair of readings of the clock takes.
const CALIBRATION: u32 = 10_000;

/// Adds up what is spent in measured work.
#[derive(Debug)]
pub struct Meter {
    spent: Duration,
    calls: u32,
    /// What a call has in it of the clock itself: the least time between two readings with nothing in between. Whatever else makes such a pair
    /// take longer is of that pair, not of every call.
    own: Duration,
}

impl Default for Meter {
    fn default() -> Self {
        let pairs = (0..CALIBRATION).map(|_| {
            let began = Instant::now();
            began.elapsed()
        });
        Self { spent: Duration::ZERO, calls: 0, own: pairs.min().unwrap_or_default() }
    }
}

impl Meter {
    /// Does measured work.
    pub fn of<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let result = measured_work(work);
        self.spent += began.elapsed();
        self.calls += 1;
        result
    }

    /// The time of all measured work so far.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.spent.saturating_sub(self.own * self.calls)
    }
}

#[inline(never)]
fn measured_work<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece of work that knows how long it takes at least, by the same clock.
    fn wait(least: Duration) {
        let began = Instant::now();
        while began.elapsed() < least {}
    }

    #[test]
    fn no_more_is_subtracted_than_the_clock_takes() {
        const CALLS: u32 = 20_000;
        let least = Duration::from_nanos(200);
        let mut meter = Meter::default();
        for _ in 0..CALLS {
            meter.of(|| wait(least));
        }
        let spent = meter.spent();
        assert!(spent >= least * CALLS, "{spent:?} for {CALLS} times {least:?}; the clock: {:?}", meter.own);
    }

    #[test]
    fn what_the_clock_takes_is_subtracted() {
        const CALLS: u32 = 20_000;
        let mut meter = Meter::default();
        for _ in 0..CALLS {
            meter.of(|| ());
        }
        assert_eq!(meter.spent + Duration::ZERO, meter.spent() + meter.own * CALLS);
        assert!(meter.own > Duration::ZERO && meter.own * CALLS <= meter.spent, "the least is in every call");
    }
}
