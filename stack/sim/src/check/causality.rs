//! Which node can know of which frame: Lamport's happened-before, kept with one vector per node.
//!
//! A node that goes on where another left off must have heard from it, directly or through others, something sent
//! after all that the other said before. This needs no understanding of the nodes' messages, only that they exist.

use crate::world::DeviceId;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How many of the last frames between nodes are remembered while they are on their way.
pub const IN_FLIGHT_MAX: usize = 262_144;

/// For each node the tag of its last frame that is known of.
type Knowledge = BTreeMap<DeviceId, u64>;

/// What each node can know.
#[derive(Debug, Default)]
pub(crate) struct Causality {
    known: BTreeMap<DeviceId, Rc<Knowledge>>,
    in_flight: BTreeMap<u64, (DeviceId, Rc<Knowledge>)>,
}

impl Causality {
    /// `from` has sent the frame `tag`, which another node may receive.
    pub(crate) fn sent(&mut self, from: DeviceId, tag: u64) {
        let known = Rc::clone(self.known.entry(from).or_default());
        self.in_flight.insert(tag, (from, known));
        while self.in_flight.len() > IN_FLIGHT_MAX {
            self.in_flight.pop_first();
        }
    }

    /// `to` has received it.
    pub(crate) fn received(&mut self, to: DeviceId, tag: u64) {
        let Some((from, carried)) = self.in_flight.get(&tag).cloned() else {
            return;
        };
        let own = self.known.entry(to).or_default();
        let learns = |device: DeviceId, tag: u64| own.get(&device).is_none_or(|&before| before < tag);
        if !learns(from, tag) && carried.iter().all(|(&device, &tag)| !learns(device, tag)) {
            return;
        }
        let own = Rc::make_mut(own);
        for (device, tag) in carried.iter().map(|(&device, &tag)| (device, tag)).chain([(from, tag)]) {
            let entry = own.entry(device).or_default();
            *entry = tag.max(*entry);
        }
    }

    /// Whether `node` can know of the frame `tag` that `of` sent.
    pub(crate) fn knows(&self, node: DeviceId, of: DeviceId, tag: u64) -> bool {
        self.known.get(&node).and_then(|known| known.get(&of)).is_some_and(|&last| last >= tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: DeviceId = DeviceId(0);
    const B: DeviceId = DeviceId(1);
    const C: DeviceId = DeviceId(2);

    #[test]
    fn knowledge_travels_with_frames_only() {
        let mut causality = Causality::default();
        causality.sent(A, 1);
        causality.sent(A, 2);
        assert!(!causality.knows(B, A, 1));
        causality.received(B, 1);
        assert!(causality.knows(B, A, 1) && !causality.knows(B, A, 2));
        causality.sent(B, 3);
        causality.received(B, 2); // after 3 was sent: 3 does not carry it
        causality.received(C, 3);
        assert!(causality.knows(C, A, 1) && causality.knows(C, B, 3) && !causality.knows(C, A, 2));
        causality.received(C, 1); // late: takes nothing back
        assert!(causality.knows(C, B, 3));
        causality.received(C, 99); // never sent by a node
        assert!(!causality.knows(C, A, 99));
    }

    #[test]
    fn the_oldest_frames_are_forgotten_above_the_limit() {
        let mut causality = Causality::default();
        let last = u64::try_from(IN_FLIGHT_MAX).unwrap();
        (0..=last).for_each(|tag| causality.sent(A, tag));
        causality.received(B, 0);
        assert!(!causality.knows(B, A, 0));
        causality.received(B, 1);
        assert!(causality.knows(B, A, 1));
    }
}
