//! Virtual time: a point on a node's own monotonic clock, in microseconds.
//!
//! The core never reads a clock. The shell (or the simulator) hands an [`Instant`] to every call.
//! An `Instant` means nothing on another node, so none ever travels: images carry durations.

use core::ops::{Add, Sub};
pub use core::time::Duration;

/// Microseconds since an arbitrary origin of this node's monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant {
    micros: u64,
}

impl Instant {
    /// The clock's origin.
    pub const ZERO: Self = Self { micros: 0 };

    /// The point `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self { micros }
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.micros
    }

    /// The point `micros` microseconds later, or the end of time.
    #[must_use]
    pub const fn after_micros(self, micros: u64) -> Self {
        Self { micros: self.micros.saturating_add(micros) }
    }

    /// Time from `earlier` to `self`; zero if `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros.saturating_sub(earlier.micros))
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
