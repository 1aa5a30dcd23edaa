//! What is measured, told apart from what is only needed for it.
//!
//! The same call serves both kinds of figures: valgrind counts instructions only inside [`measured_work`], and a
//! [`Meter`] adds up the time that is spent there.

use std::time::{Duration, Instant};

/// The function whose instructions are counted, as `valgrind --toggle-collect` takes it.
pub const COUNTED: &str = "*measured_work*";

/// Calls over which the meter's own time is averaged.
const CALIBRATION: u32 = 10_000;

/// Adds up what is spent in measured work.
#[derive(Debug)]
pub struct Meter {
    spent: Duration,
    calls: u32,
    /// What the clock itself takes, in each call.
    own: Duration,
}

impl Default for Meter {
    fn default() -> Self {
        let mut meter = Self { spent: Duration::ZERO, calls: 0, own: Duration::ZERO };
        for _ in 0..CALIBRATION {
            let began = Instant::now();
            meter.spent += began.elapsed();
        }
        meter.own = meter.spent / CALIBRATION;
        meter.spent = Duration::ZERO;
        meter
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
