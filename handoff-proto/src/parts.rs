//! An image on its way in parts: which the donor must send, which the recipient has.

use crate::message::PART_ACK_BITS;

/// How many parts beyond the first unacknowledged one a donor sends.
pub(crate) const PARTS_IN_FLIGHT_MAX: u16 = 32;
/// A part is taken for lost when one this far behind it is acknowledged.
const REORDER_PARTS: u16 = 3;

/// A set of part numbers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct PartSet {
    words: Box<[u64]>,
}

impl PartSet {
    fn new(count: u16) -> Self {
        Self { words: vec![0; usize::from(count).div_ceil(64)].into_boxed_slice() }
    }

    fn contains(&self, part: u16) -> bool {
        self.words.get(usize::from(part / 64)).is_some_and(|word| word >> (part % 64) & 1 == 1)
    }

    /// Whether it was not there before.
    fn insert(&mut self, part: u16) -> bool {
        let is_new = !self.contains(part);
        if let Some(word) = self.words.get_mut(usize::from(part / 64)) {
            *word |= 1 << (part % 64);
        }
        is_new
    }
}

/// The donor's side.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct PartsOut {
    part_bytes: u16,
    count: u16,
    /// No part before this one is unacknowledged.
    first_unacked: u16,
    /// No part from this one on was sent.
    next: u16,
    acked: PartSet,
    /// Sent again since the last timeout.
    resent: PartSet,
}

impl PartsOut {
    /// `None` if `total` bytes make more parts than can be numbered, or none.
    pub(crate) fn new(total: usize, part_bytes: u16) -> Option<Self> {
        let count = u16::try_from(total.div_ceil(usize::from(part_bytes.max(1)))).ok().filter(|&count| count > 0)?;
        let (acked, resent) = (PartSet::new(count), PartSet::new(count));
        Some(Self { part_bytes, count, first_unacked: 0, next: 0, acked, resent })
    }

    pub(crate) const fn part_bytes(&self) -> u16 {
        self.part_bytes
    }

    /// How many parts there are.
    pub(crate) const fn count(&self) -> u16 {
        self.count
    }

    /// Whether each was sent at least once.
    pub(crate) const fn all_sent(&self) -> bool {
        self.next == self.count
    }

    /// The bytes of `part`.
    pub(crate) fn slice<'a>(&self, image: &'a [u8], part: u16) -> &'a [u8] {
        let start = usize::from(part) * usize::from(self.part_bytes);
        let rest = image.get(start..).unwrap_or_default();
        rest.get(..usize::from(self.part_bytes)).unwrap_or(rest)
    }

    /// The next part that was never sent and may be.
    pub(crate) fn send_next(&mut self) -> Option<u16> {
        let end = self.count.min(self.first_unacked.saturating_add(PARTS_IN_FLIGHT_MAX));
        (self.next < end).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Notes an acknowledgment. Whether it was news.
    pub(crate) fn acknowledge(&mut self, missing: u16, beyond: u128) -> bool {
        let mut is_news = false;
        for part in self.first_unacked..missing.min(self.next) {
            is_news |= self.acked.insert(part);
        }
        for bit in (0..PART_ACK_BITS).filter(|bit| beyond >> bit & 1 == 1) {
            let part = missing.saturating_add(1).saturating_add(bit);
            if part < self.next {
                is_news |= self.acked.insert(part);
            }
        }
        while self.first_unacked < self.next && self.acked.contains(self.first_unacked) {
            self.first_unacked += 1;
        }
        is_news
    }

    /// Takes the next part that must have been lost, because later ones have come.
    pub(crate) fn resend_next(&mut self) -> Option<u16> {
        let highest = (self.first_unacked..self.next).rev().find(|&part| self.acked.contains(part))?;
        let lost = (self.first_unacked..highest.saturating_sub(REORDER_PARTS - 1))
            .find(|&part| !self.acked.contains(part) && !self.resent.contains(part))?;
        self.resent.insert(lost);
        Some(lost)
    }

    /// After a timeout: what was sent again may be lost again.
    pub(crate) fn forget_resent(&mut self) {
        self.resent = PartSet::new(self.count);
    }

    /// After a timeout: what is to be sent again. If everything is acknowledged, the last part, as a question.
    pub(crate) fn unacked(&self) -> impl Iterator<Item = u16> + use<'_> {
        let last = (self.first_unacked == self.count).then(|| self.count - 1);
        (self.first_unacked..self.next).filter(|&part| !self.acked.contains(part)).chain(last)
    }
}

/// The recipient's side.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct PartsIn {
    bytes: Vec<u8>,
    part_bytes: u16,
    count: u16,
    first_missing: u16,
    have: PartSet,
}

impl PartsIn {
    /// `None` if these lengths cannot be.
    pub(crate) fn new(total: usize, part_bytes: u16) -> Option<Self> {
        if part_bytes == 0 {
            return None;
        }
        let count = u16::try_from(total.div_ceil(usize::from(part_bytes))).ok().filter(|&count| count > 0)?;
        Some(Self { bytes: vec![0; total], part_bytes, count, first_missing: 0, have: PartSet::new(count) })
    }

    /// How long the image is.
    pub(crate) const fn total(&self) -> usize {
        self.bytes.len()
    }

    /// Takes a part in; `false` if it does not fit this image.
    pub(crate) fn insert(&mut self, part: u16, part_bytes: u16, bytes: &[u8]) -> bool {
        if part_bytes != self.part_bytes || part >= self.count {
            return false;
        }
        let start = usize::from(part) * usize::from(part_bytes);
        let end = (start + usize::from(part_bytes)).min(self.bytes.len());
        let Some(place) = self.bytes.get_mut(start..end).filter(|place| place.len() == bytes.len()) else {
            return false;
        };
        if self.have.insert(part) {
            place.copy_from_slice(bytes);
        }
        while self.first_missing < self.count && self.have.contains(self.first_missing) {
            self.first_missing += 1;
        }
        true
    }

    /// The first part, if it has come.
    pub(crate) fn first(&self) -> Option<&[u8]> {
        self.have.contains(0).then(|| self.bytes.chunks(usize::from(self.part_bytes)).next().unwrap_or_default())
    }

    /// What a PART-ACK says.
    pub(crate) fn acknowledgment(&self) -> (u16, u128) {
        let beyond = (0..PART_ACK_BITS).fold(0, |beyond, bit| {
            let part = self.first_missing.saturating_add(1).saturating_add(bit);
            beyond | u128::from(part < self.count && self.have.contains(part)) << bit
        });
        (self.first_missing, beyond)
    }

    pub(crate) const fn is_whole(&self) -> bool {
        self.first_missing == self.count
    }

    pub(crate) const fn is_single(&self) -> bool {
        self.count == 1
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
