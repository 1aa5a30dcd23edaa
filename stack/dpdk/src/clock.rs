//! The shell's clock.

use std::time::Duration;

use baton_stack::time::Instant;

/// What the clock of a node shows when it starts: a connection that comes from an older node has things that happened before, and their
/// times must not be cut off at zero.
pub const CLOCK_BASE: Duration = Duration::from_secs(86_400);

/// The monotonic clock that a node sees, in microseconds since [`CLOCK_BASE`] before [`Clock::start`]. Read without a system call.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock that shows [`CLOCK_BASE`] now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Instant {
        let micros = (CLOCK_BASE + self.origin.elapsed()).as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_goes_forward_at_the_pace_of_the_system() {
        let clock = Clock::start();
        let (before, real) = (clock.now(), std::time::Instant::now());
        std::thread::sleep(Duration::from_millis(5));
        let passed = clock.now() - before;
        assert!(passed >= Duration::from_millis(5), "{passed:?}");
        assert!(passed <= real.elapsed() + Duration::from_millis(1), "{passed:?}");
    }
}
