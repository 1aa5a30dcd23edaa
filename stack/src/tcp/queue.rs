//! The send queue: the extents from SND.UNA on, found by their place in the stream. A byte's place is how many were sent before it
//! on the connection, by whatever owner.

use alloc::collections::VecDeque;

use super::content::{Extent, Place};

/// Extents in order. Each is kept with where it ends in the stream, so that one of thousands is found without a walk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Queue {
    /// An extent, and the place behind its last byte.
    extents: VecDeque<(Extent, u64)>,
    /// The place of the first byte.
    start: u64,
    /// How many extents are with other nodes.
    remotes: usize,
}

impl Queue {
    /// An empty queue, whose first byte will have this place.
    pub(crate) fn starting_at(start: u64) -> Self {
        Self { start, ..Self::default() }
    }

    /// The place of the first byte.
    pub(crate) const fn start(&self) -> u64 {
        self.start
    }

    /// Whether other nodes keep something of it.
    pub(crate) const fn has_remote(&self) -> bool {
        self.remotes > 0
    }

    /// What other nodes keep of the bytes from place `from` to `to`, in order.
    pub(crate) fn remotes(&self, from: u64, to: u64) -> impl Iterator<Item = Remote> {
        let from = from.max(self.start);
        let mut place = from;
        self.from(from - self.start)
            .map_while(move |extent| {
                let start = place;
                place += extent.len;
                let len = extent.len.min(to.saturating_sub(start));
                (len > 0).then_some((start, len, extent.place))
            })
            .filter_map(|(start, len, place)| match place {
                Place::Remote { holder, .. } => Some(Remote { holder, start, len }),
                Place::Local { .. } => None,
            })
    }

    /// The first of those, of one holder or of any.
    pub(crate) fn first_remote(&self, holder: Option<u16>, from: u64, to: u64) -> Option<Remote> {
        self.remotes(from, to).find(|remote| holder.is_none_or(|holder| holder == remote.holder))
    }

    /// The bytes from `remote.start` on, which another node keeps, are in the store too: here. False, and nothing is done, if that
    /// would take more than `extents_max`.
    pub(crate) fn bring(&mut self, remote: Remote, here: Place, extents_max: usize) -> bool {
        let (start, stop) = (remote.start, remote.start + remote.len);
        let at = self.extents.partition_point(|(_, end)| *end <= start);
        let Some(&(whole, end)) = self.extents.get(at) else { return false };
        let begin = end - whole.len;
        let before = (start > begin).then(|| (Extent { len: start - begin, ..whole }, start));
        let after = (stop < end).then(|| (whole.without_first(stop - begin), end));
        let more = usize::from(before.is_some()) + usize::from(after.is_some());
        if self.extents.len() + more > extents_max {
            return false;
        }
        self.extents[at] = (Extent { len: remote.len, place: here }, stop);
        if let Some(after) = after {
            self.extents.insert(at + 1, after);
        }
        if let Some(before) = before {
            self.extents.insert(at, before);
        }
        self.remotes = self.remotes + more - 1;
        true
    }

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
            _ => {
                self.remotes += usize::from(is_remote(&extent));
                self.extents.push_back((extent, end));
            }
        }
        true
    }

    /// Takes the last bytes out again, at most `most`, as far as they are `source`'s. Gives how many; the source hears nothing.
    pub(crate) fn take_back(&mut self, source: super::SourceId, most: u64) -> u64 {
        let mut left = most;
        while left > 0
            && let Some((last, end)) = self.extents.back_mut()
            && matches!(last.place, Place::Local { source: of, .. } if of == source)
        {
            let part = last.len.min(left);
            (last.len, *end, left) = (last.len - part, *end - part, left - part);
            if last.len == 0 {
                self.extents.pop_back();
            }
        }
        most - left
    }

    /// Drops the first `n` bytes; each local source hears how far it is released.
    pub(crate) fn release(&mut self, mut n: u64, mut released: impl FnMut(super::SourceId, u64)) {
        while n > 0 {
            let Some((first, _)) = self.extents.front_mut() else { break };
            let part = first.len.min(n);
            *first = first.without_first(part);
            if let Place::Local { source, offset } = first.place {
                released(source, offset);
            }
            if first.len == 0 {
                self.remotes -= usize::from(is_remote(first));
                self.extents.pop_front();
            }
            self.start += part;
            n -= part;
        }
        if self.extents.is_empty() {
            // An idle connection holds no memory.
            self.extents = VecDeque::new();
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
        if !self.has_remote() {
            let left = self.bytes().saturating_sub(offset);
            return u32::try_from(left).unwrap_or(most).min(most);
        }
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

/// Bytes that another node keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Remote {
    /// The number of that node in the messages of the connection's front-end.
    pub holder: u16,
    /// The place of the first byte.
    pub start: u64,
    /// How many bytes.
    pub len: u64,
}

const fn is_remote(extent: &Extent) -> bool {
    matches!(extent.place, Place::Remote { .. })
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
    fn the_last_bytes_of_a_source_can_be_taken_back() {
        let mut queue = Queue::starting_at(100);
        assert!(queue.push(local(1, 0, 5), 9) && queue.push(local(2, 10, 5), 9) && queue.push(local(2, 20, 5), 9));
        assert_eq!((queue.take_back(SourceId(1), 3), queue.take_back(SourceId(2), 0)), (0, 0), "not the last; none");
        assert_eq!((queue.take_back(SourceId(2), 7), queue.bytes()), (7, 8));
        assert!(queue.push(local(2, 13, 4), 9), "it goes on where it was cut");
        assert_eq!(queue.extents().copied().collect::<Vec<_>>(), [local(1, 0, 5), local(2, 10, 7)]);
        assert_eq!((queue.take_back(SourceId(2), 100), queue.bytes()), (7, 5), "no more than there is");
        assert_eq!((queue.take_back(SourceId(1), 100), queue.bytes(), queue.start()), (5, 0, 100));
        assert!(queue.push(remote(100, 5), 9));
        assert_eq!((queue.take_back(SourceId(1), 5), queue.bytes()), (0, 5), "another node's");
    }

    #[test]
    fn a_run_ends_where_another_node_keeps_the_bytes() {
        let mut queue = Queue::default();
        assert!(queue.push(local(1, 10, 5), 9) && queue.push(local(2, 10, 5), 9));
        assert!(queue.push(remote(10, 5), 9) && queue.push(local(3, 0, 5), 9));
        assert_eq!((queue.local_run(0, 3), queue.local_run(2, 100)), (3, 8));
        assert_eq!((queue.local_run(10, 100), queue.local_run(15, 100), queue.local_run(20, 100)), (0, 5, 0));
    }

    #[test]
    fn what_others_keep_is_named_and_can_be_brought() {
        let mut queue = Queue::starting_at(100);
        assert!(queue.push(remote(100, 50), 9) && queue.push(local(1, 0, 10), 9) && queue.push(remote(160, 40), 9));
        let named = |queue: &Queue, from, to| queue.remotes(from, to).map(|r| (r.start, r.len)).collect::<Vec<_>>();
        assert_eq!(named(&queue, 0, 1_000), [(100, 50), (160, 40)]);
        assert_eq!(named(&queue, 120, 170), [(120, 30), (160, 10)]);
        assert_eq!(named(&queue, 150, 160), []);

        let bring = |queue: &mut Queue, start, len, most| {
            let here = Place::Local { source: SourceId(7), offset: 0 };
            queue.bring(Remote { holder: 1, start, len }, here, most)
        };
        assert!(!bring(&mut queue, 120, 10, 4), "from the middle: two extents more");
        assert!(bring(&mut queue, 120, 10, 5));
        assert_eq!(named(&queue, 0, 1_000), [(100, 20), (130, 20), (160, 40)]);
        assert!(bring(&mut queue, 100, 20, 5) && bring(&mut queue, 160, 5, 6));
        assert_eq!(named(&queue, 0, 1_000), [(130, 20), (165, 35)]);
        queue.release(40, |_, _| {});
        assert_eq!((named(&queue, 0, 1_000), queue.start(), queue.bytes()), (std::vec![(140, 10), (165, 35)], 140, 60));
        queue.release(10, |_, _| {});
        assert!(queue.has_remote() && bring(&mut queue, 165, 35, 6) && !queue.has_remote());
        assert_eq!((queue.local_run(0, 1_000), queue.bytes()), (50, 50));
    }
}
