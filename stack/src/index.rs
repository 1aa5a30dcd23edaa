//! A hash index: from the hash of a key to a place in a table of the caller's, who also compares the keys.
//!
//! One cache line per bucket. A look-up of something that is there reads one line nearly always, and there is never a moment at which
//! all has to be moved: the buckets are made once, and a removed entry leaves nothing behind.
//!
//! ```text
//!  bucket   | tags: 12 x 1 byte | beyond: 4 | places: 12 x 4 bytes |    64 bytes
//! ```
//! A tag is eight bits of the hash, and never 0, which marks an empty slot; all are compared in a few steps.
//! What finds its bucket full goes to the next one that is not. `beyond` counts the entries that went past this bucket: a search goes on
//! to the next only while there are some.

use alloc::vec::Vec;

/// Slots of a bucket.
const SLOTS: usize = 12;
/// Places that an index can tell apart: 0 to this, exclusive.
pub const PLACES_MAX: usize = u32::MAX as usize;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u8; SLOTS],
    beyond: u32,
    places: [u32; SLOTS],
}

const EACH: u64 = u64::from_ne_bytes([1; 8]);

/// Slots, as the top bits of the bytes that stand for them: the first eight, and the others.
#[derive(Clone, Copy)]
struct Slots(u64, u64);

impl Bucket {
    const EMPTY: Self = Self { tags: [0; SLOTS], beyond: 0, places: [0; SLOTS] };

    /// The tags as numbers: the first eight, and the others.
    #[inline]
    fn words(&self) -> (u64, u64) {
        let (first, rest) = self.tags.split_at(8);
        let first = first.first_chunk().map_or(0, |tags| u64::from_le_bytes(*tags));
        (first, rest.first_chunk().map_or(0, |tags| u64::from(u32::from_le_bytes(*tags))))
    }

    /// The first slot that has this tag, which is not 0.
    #[inline]
    fn first(&self, tag: u8) -> Option<usize> {
        const TOP_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
        let (first, rest) = self.words();
        let wanted = u64::from(tag) * EACH;
        // The lowest bit that is set is that of a byte as wanted; those above may be of others, by what was borrowed.
        let equal = |tags: u64| {
            let differing = tags ^ wanted;
            differing.wrapping_sub(EACH) & !differing & TOP_BITS
        };
        let (bits, before) = if equal(first) == 0 { (equal(rest), 8) } else { (equal(first), 0) };
        (bits != 0).then(|| before + (bits.trailing_zeros() / u8::BITS) as usize)
    }

    /// Which slots have this tag.
    #[inline]
    fn matching(&self, tag: u8) -> Slots {
        const LOW_BITS: u64 = u64::from_ne_bytes([0x7f; 8]);
        let (first, rest) = self.words();
        let wanted = u64::from(tag) * EACH;
        // A byte's top bit stays clear only if the byte is as wanted; no byte carries into the next.
        let equal = |tags: u64| {
            let differing = tags ^ wanted;
            !(((differing & LOW_BITS) + LOW_BITS) | differing | LOW_BITS)
        };
        Slots(equal(first), equal(rest) & u64::from(u32::MAX))
    }

    /// The place in a slot of which [`Slots`] has told.
    #[inline]
    const fn place_at(&self, slot: usize) -> usize {
        self.places[slot % SLOTS] as usize
    }
}

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let (bits, first) = if self.0 == 0 { (&mut self.1, 8) } else { (&mut self.0, 0) };
        if *bits == 0 {
            return None;
        }
        let slot = bits.trailing_zeros() / u8::BITS;
        *bits &= *bits - 1;
        Some(first + slot as usize)
    }
}

/// The index is as full as it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexFull;

/// From hashes to places.
#[derive(Clone, Debug)]
pub struct Index {
    buckets: Vec<Bucket>,
    len: usize,
    limit: usize,
}

impl Index {
    /// An empty index for at most `limit` entries, [`PLACES_MAX`] of them at the most. It takes 8 bytes for each, now and for ever.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(PLACES_MAX);
        // A third of the slots is free at least when the limit is reached, so that few buckets are full: with a quarter, long churn at the
        // limit makes a search that finds nothing look at four buckets instead of two.
        let buckets = (limit * 3 / 2).div_ceil(SLOTS).max(1);
        Self { buckets: alloc::vec![Bucket::EMPTY; buckets], len: 0, limit }
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The place with this hash that `is_it`. `is_it` is asked about places whose hash is alike in some bits.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let tag = tag_of(hash);
        let mut at = self.home(hash);
        // All may have been passed, each by another entry.
        for _ in 0..self.buckets.len() {
            let bucket = self.buckets.get(at)?;
            let found = bucket.matching(tag).map(|slot| bucket.place_at(slot)).find(|place| is_it(*place));
            if found.is_some() {
                return found;
            }
            if bucket.beyond == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Reads the bucket where a search for this hash begins, and returns something of it: for who has several to find, and would rather
    /// wait for memory once than several times.
    #[must_use]
    #[inline]
    pub fn touch(&self, hash: u64) -> u32 {
        self.buckets.get(self.home(hash)).map_or(0, |bucket| bucket.beyond)
    }

    /// The place that a search for this hash most likely ends at.
    #[must_use]
    #[inline]
    pub fn likely(&self, hash: u64) -> Option<u32> {
        let bucket = self.buckets.get(self.home(hash))?;
        bucket.first(tag_of(hash)).map(|slot| bucket.places[slot % SLOTS])
    }

    /// Adds a place under this hash. It is not looked whether it is there.
    ///
    /// # Errors
    /// [`IndexFull`] at the limit, or for a place from [`PLACES_MAX`] on; nothing changes then.
    pub fn insert(&mut self, hash: u64, place: usize) -> Result<(), IndexFull> {
        let number = u32::try_from(place).ok().filter(|_| place < PLACES_MAX).ok_or(IndexFull)?;
        if self.len >= self.limit {
            return Err(IndexFull);
        }
        let mut at = self.home(hash);
        // There is a free slot somewhere: there are more slots than the limit.
        loop {
            let bucket = &mut self.buckets[at];
            if let Some(slot) = bucket.matching(0).next() {
                bucket.tags[slot] = tag_of(hash);
                bucket.places[slot] = number;
                self.len += 1;
                return Ok(());
            }
            bucket.beyond += 1;
            at = self.after(at);
        }
    }

    /// Takes out the entry for `place` under this hash. False if there is none.
    pub fn remove(&mut self, hash: u64, place: usize) -> bool {
        let tag = tag_of(hash);
        let home = self.home(hash);
        let (mut at, mut looked_at) = (home, 0);
        loop {
            looked_at += 1;
            let bucket = &mut self.buckets[at];
            if let Some(slot) = bucket.matching(tag).find(|slot| bucket.place_at(*slot) == place) {
                bucket.tags[slot] = 0;
                bucket.places[slot] = 0;
                break;
            }
            if bucket.beyond == 0 || looked_at == self.buckets.len() {
                return false;
            }
            at = self.after(at);
        }
        let mut passed = home;
        while passed != at {
            self.buckets[passed].beyond -= 1;
            passed = self.after(passed);
        }
        self.len -= 1;
        true
    }

    /// The bucket where a search begins.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        // The hash as a fraction of all hashes.
        let at = (u128::from(hash) * self.buckets.len() as u128) >> 64;
        usize::try_from(at).unwrap_or(0)
    }

    #[inline]
    const fn after(&self, at: usize) -> usize {
        if at + 1 < self.buckets.len() { at + 1 } else { 0 }
    }
}

/// Eight bits of the hash that do not choose the bucket; never 0, which is an empty slot's.
#[inline]
const fn tag_of(hash: u64) -> u8 {
    let [tag, ..] = hash.to_le_bytes();
    if tag == 0 { 1 } else { tag }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    #[test]
    fn holds_its_limit_and_not_one_more() {
        let mut index = Index::new(100);
        for place in 0..100 {
            assert_eq!(index.insert(7, place), Ok(()), "all under one hash, many buckets long");
        }
        assert_eq!((index.insert(7, 100), index.insert(8, 100), index.len()), (Err(IndexFull), Err(IndexFull), 100));
        assert_eq!(index.find(7, |place| place == 99), Some(99));
        assert!(index.remove(7, 50) && !index.remove(7, 50));
        assert_eq!(index.insert(9, 100), Ok(()));
        assert_eq!(index.find(9, |place| place == 100), Some(100));
    }

    #[test]
    fn the_greatest_place_is_one_below_its_limit() {
        let mut index = Index::new(1);
        assert_eq!(index.insert(1, PLACES_MAX), Err(IndexFull));
        assert_eq!(index.insert(1, PLACES_MAX - 1), Ok(()));
        assert_eq!(index.find(1, |_| true), Some(PLACES_MAX - 1));
        assert!(index.remove(1, PLACES_MAX - 1) && index.is_empty());
    }

    #[test]
    fn a_search_ends_when_every_bucket_was_passed() {
        let mut index = Index::new(16);
        assert_eq!(index.buckets.len(), 2);
        let (first, second) = (1, 1 << 63 | 1);
        // Twelve fill the first bucket, and one goes past it.
        for place in 0..13 {
            index.insert(first, place).expect("room");
        }
        for place in 0..9 {
            assert!(index.remove(first, place));
        }
        // The second bucket has room for eleven, and one goes past it.
        for place in 20..32 {
            index.insert(second, place).expect("room");
        }
        assert!(index.buckets.iter().all(|bucket| bucket.beyond > 0));
        assert_eq!((index.find(first, |_| false), index.find(second, |_| false)), (None, None));
        assert!(!index.remove(first, 99) && !index.remove(second, 99));
        assert_eq!(
            (index.find(first, |place| place == 12), index.find(second, |place| place == 31)),
            (Some(12), Some(31))
        );
    }

    /// A mixer, so that tests need no hasher (the finisher of SplitMix64).
    fn mixed(number: u64) -> u64 {
        let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    #[test]
    fn after_long_churn_at_the_limit_no_trace_is_left() {
        const LIMIT: usize = 3_000;
        let mut index = Index::new(LIMIT);
        for number in 0..LIMIT {
            index.insert(mixed(number as u64), number).expect("room");
        }
        // Each place is given up and taken under another hash, many times over.
        let mut number_of: alloc::vec::Vec<u64> = (0..LIMIT as u64).collect();
        for number in LIMIT as u64..40 * LIMIT as u64 {
            let place = usize::try_from(mixed(number ^ 0x55) % LIMIT as u64).expect("small");
            assert!(index.remove(mixed(number_of[place]), place));
            number_of[place] = number;
            index.insert(mixed(number), place).expect("room");
        }
        let longest = number_of.iter().map(|number| probes(&index, mixed(*number))).max();
        assert!(longest <= Some(12), "{longest:?} buckets were looked at");
        for (place, number) in number_of.iter().enumerate() {
            assert!(index.remove(mixed(*number), place));
        }
        assert!(index.buckets.iter().all(|bucket| *bucket == Bucket::EMPTY));
    }

    fn probes(index: &Index, hash: u64) -> usize {
        let mut at = index.home(hash);
        let mut count = 1;
        while index.buckets[at].beyond > 0 {
            at = index.after(at);
            count += 1;
        }
        count
    }

    proptest! {
        #[test]
        fn it_finds_what_a_map_would(steps in proptest::collection::vec((0u64..40, 0usize..60, any::<bool>()), 0..400)) {
            let mut index = Index::new(64);
            let mut map = BTreeMap::new();
            for (key, place, adds) in steps {
                // Few hashes, so that buckets overflow.
                let hash = mixed(key % 5) & !0xf0;
                if adds {
                    if !map.contains_key(&place) && map.len() < 64 {
                        prop_assert_eq!(index.insert(hash, place), Ok(()));
                        map.insert(place, hash);
                    }
                } else {
                    let was_there = map.get(&place) == Some(&hash);
                    prop_assert_eq!(index.remove(hash, place), was_there);
                    if was_there {
                        map.remove(&place);
                    }
                }
                prop_assert_eq!(index.len(), map.len());
            }
            for (place, hash) in &map {
                prop_assert_eq!(index.find(*hash, |found| found == *place), Some(*place));
                let bucket = &index.buckets[index.home(*hash)];
                let slot = bucket.matching(tag_of(*hash)).next();
                prop_assert_eq!(index.likely(*hash), slot.map(|slot| bucket.places[slot]));
            }
            prop_assert_eq!(index.find(mixed(77), |place| map.get(&place) == Some(&mixed(77))), None);
        }
    }
}
