//! A hierarchical timing wheel: one deadline per key, set and cancelled in constant time, without allocation.
//!
//! Level `l` has 64 slots of `64^l` ticks. A deadline stands at the level of the highest 6-bit group in which
//! its tick differs from the current one, so it is moved down at most once per level before it fires. It never
//! fires early, and at most one tick (1.024 ms) late.

use alloc::vec::Vec;

use crate::time::Instant;

const TICK_BITS: u32 = 10;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 7;
/// Ticks beyond this (139 years) fire there.
const TICK_MAX: u64 = (1 << (SLOT_BITS * 7)) - 1;

const NIL: u32 = u32::MAX;
/// The list of entries that are due.
const DUE: u16 = 7 * 64;
const _: () = assert!(DUE as usize == LEVELS * SLOTS);
const UNLINKED: u16 = u16::MAX;

#[derive(Clone, Debug)]
struct Entry {
    tick: u64,
    prev: u32,
    next: u32,
    list: u16,
}

/// Deadlines by key. Keys are small integers (slots of a slab).
#[derive(Clone, Debug)]
pub struct Wheel {
    tick: u64,
    entries: Vec<Entry>,
    heads: Vec<u32>,
    occupied: [u64; LEVELS],
}

impl Wheel {
    /// An empty wheel that starts at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            tick: now.micros() >> TICK_BITS,
            entries: Vec::new(),
            heads: alloc::vec![NIL; usize::from(DUE) + 1],
            occupied: [0; LEVELS],
        }
    }

    /// Sets the key's one deadline, or cancels it with `None`.
    pub fn set(&mut self, key: u32, deadline: Option<Instant>) {
        let index = key as usize;
        let Some(deadline) = deadline else {
            if index < self.entries.len() {
                self.unlink(key);
            }
            return;
        };
        let tick = (deadline.micros().saturating_add((1 << TICK_BITS) - 1) >> TICK_BITS).min(TICK_MAX);
        if index >= self.entries.len() {
            self.entries.resize(index + 1, Entry { tick: 0, prev: NIL, next: NIL, list: UNLINKED });
        }
        if self.entries[index].list != UNLINKED && self.entries[index].tick == tick {
            return;
        }
        self.unlink(key);
        self.entries[index].tick = tick;
        self.link(key);
    }

    /// Takes a key whose deadline has come; its deadline is then gone. Call until it yields `None`.
    pub fn pop_due(&mut self, now: Instant) -> Option<u32> {
        self.advance(now.micros() >> TICK_BITS);
        let key = self.heads[usize::from(DUE)];
        if key == NIL {
            return None;
        }
        self.unlink(key);
        Some(key)
    }

    /// When to call [`Wheel::pop_due`] next: never later than the first deadline, sometimes earlier.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        if self.heads[usize::from(DUE)] != NIL {
            return Some(Instant::from_micros(self.tick << TICK_BITS));
        }
        self.next_occupied().map(|(tick, _)| Instant::from_micros(tick << TICK_BITS))
    }

    fn advance(&mut self, target: u64) {
        while let Some((tick, list)) = self.next_occupied().filter(|&(tick, _)| tick <= target) {
            self.tick = tick;
            let mut key = self.heads[list];
            while key != NIL {
                let next = self.entries[key as usize].next;
                self.unlink(key);
                self.link(key);
                key = next;
            }
        }
        self.tick = self.tick.max(target);
    }

    /// The first occupied list after the current tick, and the tick at which it opens. The lowest level comes first.
    fn next_occupied(&self) -> Option<(u64, usize)> {
        (0..LEVELS).find_map(|level| {
            let shift = SLOT_BITS * u32::try_from(level).unwrap_or(0);
            let current = slot_of(self.tick, shift);
            let later = self.occupied[level] & u64::MAX.checked_shl(current + 1).unwrap_or(0);
            if later == 0 {
                return None;
            }
            let slot = later.trailing_zeros();
            let above = self.tick >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
            Some((above | u64::from(slot) << shift, level * SLOTS + slot as usize))
        })
    }

    fn link(&mut self, key: u32) {
        let tick = self.entries[key as usize].tick;
        let list = if tick <= self.tick {
            usize::from(DUE)
        } else {
            let level = (tick ^ self.tick).ilog2() / SLOT_BITS;
            let slot = slot_of(tick, level * SLOT_BITS);
            self.occupied[level as usize] |= 1 << slot;
            level as usize * SLOTS + slot as usize
        };
        let head = self.heads[list];
        let entry = &mut self.entries[key as usize];
        entry.list = u16::try_from(list).unwrap_or(UNLINKED);
        entry.prev = NIL;
        entry.next = head;
        if head != NIL {
            self.entries[head as usize].prev = key;
        }
        self.heads[list] = key;
    }

    fn unlink(&mut self, key: u32) {
        let Entry { prev, next, list, .. } = self.entries[key as usize];
        if list == UNLINKED {
            return;
        }
        let list = usize::from(list);
        if prev == NIL {
            self.heads[list] = next;
        } else {
            self.entries[prev as usize].next = next;
        }
        if next != NIL {
            self.entries[next as usize].prev = prev;
        }
        if self.heads[list] == NIL && list < usize::from(DUE) {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
        self.entries[key as usize].list = UNLINKED;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "masked to 6 bits")]
const fn slot_of(tick: u64, shift: u32) -> u32 {
    (tick >> shift) as u32 & (SLOTS as u32 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    #[test]
    fn fires_in_order_never_early_and_once() {
        let mut wheel = Wheel::new(Instant::from_micros(5_000_000));
        let deadlines = [5_000_000, 5_000_001, 5_070_000, 9_000_000, 400_000_000, 90_000_000_000];
        for (key, at) in (0u32..).zip(deadlines) {
            wheel.set(key, Some(Instant::from_micros(at)));
        }
        for (key, at) in (0u32..).zip(deadlines) {
            while let Some(next) = wheel.poll_at().filter(|next| next.micros() < at) {
                assert_eq!(wheel.pop_due(next), None, "{at} fires early");
            }
            assert_eq!(wheel.pop_due(Instant::from_micros(at + 1023)), Some(key));
        }
        assert_eq!((wheel.pop_due(Instant::from_micros(u64::MAX)), wheel.poll_at()), (None, None));
    }

    #[test]
    fn a_deadline_past_the_last_level_is_kept() {
        let mut wheel = Wheel::new(Instant::ZERO);
        wheel.set(3, Some(Instant::from_micros(u64::MAX)));
        assert_eq!(wheel.pop_due(Instant::from_micros(1 << 50)), None);
        assert_eq!(wheel.pop_due(Instant::from_micros(u64::MAX)), Some(3));
    }

    proptest! {
        /// Against a sorted map: whatever is set, moved, cancelled and waited for.
        #[test]
        fn agrees_with_a_sorted_map(
            start in 0u64..1 << 40,
            steps in proptest::collection::vec((0u32..20, 0u8..4, 0u64..34, 1u64..1000), 1..300),
        ) {
            let mut now = start;
            let mut wheel = Wheel::new(Instant::from_micros(now));
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            for (key, action, magnitude, factor) in steps {
                let span = factor << magnitude;
                match action {
                    0 => {
                        wheel.set(key, None);
                        model.remove(&key);
                    }
                    1 | 2 => {
                        wheel.set(key, Some(Instant::from_micros(now + span)));
                        model.insert(key, now + span);
                    }
                    _ => {
                        now += span;
                        let mut due = Vec::new();
                        while let Some(key) = wheel.pop_due(Instant::from_micros(now)) {
                            due.push(key);
                        }
                        for &key in &due {
                            prop_assert!(model.remove(&key).is_some_and(|at| at <= now), "{} early or twice", key);
                        }
                        // What is left is due within the tick or later, and the wheel would wake up for it.
                        for &at in model.values() {
                            prop_assert!(at + 1023 >= now);
                        }
                        if let Some(&first) = model.values().min() {
                            let wake = wheel.poll_at().expect("a deadline is set").micros();
                            prop_assert!(wake <= (first + 1023).max(now));
                        }
                    }
                }
            }
        }
    }
}
