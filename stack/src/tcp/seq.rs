//! Sequence numbers and windows (RFC 9293 sections 3.4 and 3.8.6), as types that cannot be mixed.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A sequence number: 32 bits that wrap. Ordered by the shorter way round, which is right for numbers less than 2^31 apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// How far `self` is after `earlier`; `None` if it is before.
    #[must_use]
    pub const fn distance_from(self, earlier: Self) -> Option<u32> {
        let distance = self.0.wrapping_sub(earlier.0);
        if distance < 1 << 31 { Some(distance) } else { None }
    }

    /// How far `self` is after `earlier`; zero if it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        match self.distance_from(earlier) {
            Some(distance) => distance,
            None => 0,
        }
    }

    /// Before `other`.
    #[must_use]
    pub const fn lt(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0) >= 1 << 31
    }

    /// Before `other`, or the same.
    #[must_use]
    pub const fn le(self, other: Self) -> bool {
        !other.lt(self)
    }

    /// The later of the two.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.lt(other) { other } else { self }
    }

    /// The earlier of the two.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if self.lt(other) { self } else { other }
    }
}

impl Add<u32> for SeqNum {
    type Output = Self;

    fn add(self, rhs: u32) -> Self {
        Self(self.0.wrapping_add(rhs))
    }
}

impl AddAssign<u32> for SeqNum {
    fn add_assign(&mut self, rhs: u32) {
        *self = *self + rhs;
    }
}

impl Sub<u32> for SeqNum {
    type Output = Self;

    fn sub(self, rhs: u32) -> Self {
        Self(self.0.wrapping_sub(rhs))
    }
}

impl fmt::Debug for SeqNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
