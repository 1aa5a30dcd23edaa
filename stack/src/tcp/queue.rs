//! The send queue: the extents from SND.UNA on, found by their place in the stream.

use alloc::collections::VecDeque;

use super::content::{Extent, Place};

/// Extents in order. Each is kept with where it ends in the stream, so that one of thousands is found without a walk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Queue {
    /// An extent, and the place behind its last byte.
    extents: VecDeque<(Extent, u64)>,
    /// The place of the first byte.
    start: u64,
}

impl Queue {
    pub(crate) fn extents(&self) -> impl Iterator<Item = &Extent> {
        self.extents.iter().map(|(extent, _)| extent)
    }

    /// Whether [`Queue::push`] takes another extent, whatever it is.
    pub(crate) fn has_room(&self, extents_max: usize) -> bool {
        self.extents.len() < extents_max
    }

    /// How many bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.extents.back().map_or(0, |(_, end)| end - self.start)
    }

    /// Appends an extent, to the last one if it goes on there. False, and nothing is done, if that would take more than
    /// `extents_max`.
    pub(crate) fn push(&mut self, extent: Extent, extents_max: usize) -> bool {
        let end = self.start + self.bytes() + extent.len;
        let is_full = self.extents.len() >= extents_max;
        match self.extents.back_mut() {
            Some((last, last_end)) if last.is_continued_by(&extent) => {
                last.len += extent.len;
                *last_end = end;
            }
            _ if is_full => return false,
            _ => self.extents.push_back((extent, end)),
        }
        true
    }

    /// Drops the first `n` bytes; each local source hears how far it is released.
    pub(crate) fn release(&mut self, mut n: u64, mut released: impl FnMut(super::SourceId, u64)) {
        while n > 0 {
            let Some((first, _)) = self.extents.front_mut() else { return };
            let part = first.len.min(n);
            *first = first.without_first(part);
            if let Place::Local { source, offset } = first.place {
                released(source, offset);
            }
            if first.len == 0 {
                self.extents.pop_front();
            }
            self.start += part;
            n -= part;
        }
    }

    /// What the queue has from its byte `offset` on, in pieces.
    pub(crate) fn from(&self, offset: u64) -> impl Iterator<Item = Extent> {
        let place = self.start.saturating_add(offset);
        let first = self.extents.partition_point(|(_, end)| *end <= place);
        self.extents.range(first..).map(move |(extent, end)| {
            let begin = end - extent.len;
            extent.without_first(place.saturating_sub(begin))
        })
    }

    /// How many bytes from `offset` on, at most `most`, are in this node's store.
    pub(crate) fn local_run(&self, offset: u64, most: u32) -> u32 {
        let mut run = 0;
        for extent in self.from(offset) {
            if run >= u64::from(most) || !matches!(extent.place, Place::Local { .. }) {
                break;
            }
            run += extent.len;
        }
        u32::try_from(run).unwrap_or(most).min(most)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::tcp::{EXTENTS_MAX, SourceId};

    fn local(source: u64, offset: u64, len: u64) -> Extent {
        Extent { len, place: Place::Local { source: SourceId(source), offset } }
    }

    fn remote(offset: u64, len: u64) -> Extent {
        Extent { len, place: Place::Remote { holder: 1, offset } }
    }

    #[test]
    fn what_goes_on_is_one_extent() {
        let mut queue = Queue::default();
        assert!(queue.push(local(1, 10, 5), 2) && queue.push(local(1, 15, 5), 2));
        assert!(queue.push(local(1, 21, 5), 2));
        assert!(!queue.push(local(2, 0, 1), 2), "one past the limit");
        assert!(queue.push(local(1, 26, 5), 2), "at the limit the last may still grow");
        assert_eq!((queue.extents().count(), queue.bytes()), (2, 20));
    }

    #[test]
    fn each_byte_is_found_where_it_is() {
        let mut queue = Queue::default();
        for n in 0..EXTENTS_MAX as u64 {
            assert!(queue.push(local(n, 7 * n, 3), EXTENTS_MAX));
        }
        assert!(!queue.push(local(0, 0, 1), EXTENTS_MAX));
        for gone in [0_u64, 1, 3, 100, 4_000] {
            let start = queue.start;
            queue.release(gone, |_, _| {});
            let at = start + gone;
            for offset in [0_u64, 1, 2, 3, 500] {
                let (place, first) = (at + offset, queue.from(offset).next().unwrap());
                let within = place % 3;
                assert_eq!(first, local(place / 3, 7 * (place / 3) + within, 3 - within));
            }
        }
        assert_eq!(queue.from(queue.bytes()).next(), None);
    }

    #[test]
    fn sources_hear_how_far_they_are_released() {
        let mut queue = Queue::default();
        assert!(queue.push(local(1, 10, 5), 9) && queue.push(remote(5, 5), 9) && queue.push(local(2, 0, 5), 9));
        let mut heard = Vec::new();
        queue.release(12, |source, up_to| heard.push((source.0, up_to)));
        assert_eq!((heard, queue.bytes()), (std::vec![(1, 15), (2, 2)], 3));
    }

    #[test]
    fn a_run_ends_where_another_node_keeps_the_bytes() {
        let mut queue = Queue::default();
        assert!(queue.push(local(1, 10, 5), 9) && queue.push(local(2, 10, 5), 9));
        assert!(queue.push(remote(10, 5), 9) && queue.push(local(3, 0, 5), 9));
        assert_eq!((queue.local_run(0, 3), queue.local_run(2, 100)), (3, 8));
        assert_eq!((queue.local_run(10, 100), queue.local_run(15, 100), queue.local_run(20, 100)), (0, 5, 0));
    }
}
