//! Virtual time: a point on a node's own monotonic clock, in microseconds.
//!
//! The core never reads a clock. The shell (or the simulator) hands an [`Instant`] to every call.
//! An `Instant` means nothing on another node, so none ever travels: images carry durations.

use core::fmt;
use core::num::NonZeroU64;
use core::ops::{Add, Sub};
pub use core::time::Duration;

/// Microseconds since an arbitrary origin of this node's monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    /// One more than there are, so that a time that may be missing takes no more memory than one that is there: a connection has a dozen.
    micros_and_one: NonZeroU64,
}

impl Instant {
    /// The clock's origin.
    pub const ZERO: Self = Self { micros_and_one: NonZeroU64::MIN };

    /// The point `micros` microseconds after the origin; the end of time is one before the greatest number.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self { micros_and_one: NonZeroU64::MIN.saturating_add(micros) }
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.micros_and_one.get() - 1
    }

    /// The point `micros` microseconds later, or the end of time.
    #[must_use]
    pub const fn after_micros(self, micros: u64) -> Self {
        Self { micros_and_one: self.micros_and_one.saturating_add(micros) }
    }

    /// Time from `earlier` to `self`; zero if `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros_and_one.get().saturating_sub(earlier.micros_and_one.get()))
    }
}

impl Default for Instant {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instant").field("micros", &self.micros()).finish()
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time (584,000 years).
    fn add(self, rhs: Duration) -> Self {
        self.after_micros(rhs.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(rhs.subsec_micros())))
    }
}

impl Sub<Self> for Instant {
    type Output = Duration;

    /// As [`Instant::since`]: never negative.
    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

/// The earlier of two deadlines, where `None` means never.
#[must_use]
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (Some(t), None) | (None, Some(t)) => Some(t),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_may_be_missing_takes_no_more_memory() {
        assert_eq!((size_of::<Instant>(), size_of::<Option<Instant>>()), (8, 8));
    }

    #[test]
    fn the_origin_and_the_end_of_time() {
        let end = Instant::from_micros(u64::MAX);
        assert_eq!(
            (Instant::ZERO.micros(), Instant::default(), end.micros()),
            (0, Instant::from_micros(0), u64::MAX - 1)
        );
        assert_eq!(Instant::from_micros(u64::MAX - 1), end);
        assert_eq!((end + Duration::from_micros(1), Instant::ZERO + Duration::MAX), (end, end));
        assert_eq!((end - Instant::ZERO, Instant::ZERO - end), (Duration::from_micros(u64::MAX - 1), Duration::ZERO));
        assert_eq!(std::format!("{:?}", Instant::from_micros(7)), "Instant { micros: 7 }");
    }
}
