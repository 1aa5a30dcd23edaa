//! All randomness of a run, from one seed.
//!
//! Each user of randomness has its own stream, named by a string. Adding a link or a client changes no other's draws,
//! so a failing seed stays recognizable when a scenario is varied by hand.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// One in a million: the unit of every probability here. Integers, so that a run is the same on every machine.
pub const PPM: u32 = 1_000_000;

/// The seed of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream called `name`: always the same for one seed, unrelated to every other name's.
    #[must_use]
    pub fn stream(self, name: &str) -> Dice {
        let mut key = [0; 32];
        for (part, index) in key.chunks_exact_mut(8).zip(0u64..) {
            let mut hasher = SipHasher13::new_with_keys(self.0, index);
            hasher.write(name.as_bytes());
            part.copy_from_slice(&hasher.finish().to_le_bytes());
        }
        Dice { rng: ChaCha8Rng::from_seed(key) }
    }
}

/// A stream of random draws.
#[derive(Clone, Debug)]
pub struct Dice {
    rng: ChaCha8Rng,
}

impl Dice {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A number below `bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.rng.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included; `low` if they are the wrong way round.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// As [`Dice::between`], for sizes and counts.
    pub fn size(&mut self, low: usize, high: usize) -> usize {
        let span = u64::try_from(high.saturating_sub(low)).unwrap_or(u64::MAX);
        low + usize::try_from(self.between(0, span)).unwrap_or(0)
    }

    /// `true` with probability `ppm` in a million. Always takes exactly one draw.
    pub fn chance(&mut self, ppm: u32) -> bool {
        self.below(u64::from(PPM)) < u64::from(ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_seed_and_name_only() {
        let draw = |seed, name: &str| Seed(seed).stream(name).bits();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }

    #[test]
    fn draws_keep_their_bounds() {
        let mut dice = Seed(3).stream("bounds");
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.between(5, 5), 5);
        assert_eq!(dice.between(5, 4), 5);
        let mut seen = [false; 4];
        for _ in 0..1000 {
            seen[dice.size(0, 3)] = true;
        }
        assert_eq!(seen, [true; 4]);
        assert!((0..1000).all(|_| !dice.chance(0)));
        assert!((0..1000).all(|_| dice.chance(PPM)));
    }
}
