//! Values that many routes have in common, each kept once: a route has its number, of two bytes.

use std::collections::HashMap;
use std::hash::Hash;

use ahash::RandomState;
use slab::Slab;

/// Different values at the most.
pub(crate) const SHARED_MAX: usize = 1 << u16::BITS;

/// Values by number, with how often each is used.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    values: Slab<(T, u32)>,
    numbers: HashMap<T, u16, RandomState>,
}

impl<T: Copy + Eq + Hash> Shared<T> {
    /// None yet.
    pub(crate) fn new(seeds: [u64; 4]) -> Self {
        let [a, b, c, d] = seeds;
        Self { values: Slab::new(), numbers: HashMap::with_hasher(RandomState::with_seeds(a, b, c, d)) }
    }

    /// The number of a value, for one user more. `None` for a value that is not there when [`SHARED_MAX`] are.
    pub(crate) fn take(&mut self, value: T) -> Option<u16> {
        if let Some(number) = self.numbers.get(&value) {
            self.values.get_mut(usize::from(*number))?.1 += 1;
            return Some(*number);
        }
        let number = Some(self.values.vacant_key()).filter(|number| *number < SHARED_MAX)?;
        let number = u16::try_from(number).ok()?;
        self.values.insert((value, 1));
        self.numbers.insert(value, number);
        Some(number)
    }

    /// The value of a number.
    pub(crate) fn get(&self, number: u16) -> Option<T> {
        self.values.get(usize::from(number)).map(|(value, _)| *value)
    }

    /// One of a number's users is gone; with the last, the value goes too.
    pub(crate) fn give(&mut self, number: u16) {
        let Some((value, users)) = self.values.get_mut(usize::from(number)) else { return };
        *users -= 1;
        if *users == 0 {
            self.numbers.remove(value);
            self.values.remove(usize::from(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_until_its_last_user_goes() {
        let mut shared = Shared::new([1, 2, 3, 4]);
        let (a, b) = (shared.take('a'), shared.take('b'));
        assert_eq!((a, b, shared.take('a')), (Some(0), Some(1), a));
        shared.give(0);
        assert_eq!((shared.get(0), shared.get(1)), (Some('a'), Some('b')));
        shared.give(0);
        assert_eq!((shared.get(0), shared.take('c'), shared.get(0)), (None, Some(0), Some('c')));
    }

    #[test]
    fn the_limit_holds_and_not_one_more() {
        let mut shared = Shared::new([1, 2, 3, 4]);
        for value in 0..SHARED_MAX {
            assert_eq!(shared.take(value).map(usize::from), Some(value));
        }
        assert_eq!(shared.take(SHARED_MAX), None);
        assert_eq!(shared.take(7), Some(7), "one that is there has room for more users");
        shared.give(9);
        assert_eq!(shared.take(SHARED_MAX), Some(9));
    }
}
