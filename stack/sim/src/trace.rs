//! The fingerprint of a run: a hash over everything that was delivered, when and where.

use crate::world::Port;
use baton_stack::time::Instant;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt;
use std::hash::Hasher;

/// The hash of a run so far. Equal hashes mean the same frames at the same ports in the same microseconds.
#[derive(Clone, Debug)]
pub struct Trace {
    hasher: SipHasher13,
    frames: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hasher: SipHasher13::new(), frames: 0 }
    }
}

impl Trace {
    pub(crate) fn delivered(&mut self, at: Instant, to: Port, frame: &[u8]) {
        self.frames += 1;
        self.hasher.write_u64(at.micros());
        self.hasher.write_u64(u64::try_from(to.device.0).unwrap_or(u64::MAX));
        self.hasher.write_u16(to.port);
        self.hasher.write_u64(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        self.hasher.write(frame);
    }

    /// How many frames went into it.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.hasher.finish128().as_u128())
    }
}
