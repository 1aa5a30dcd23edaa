//! What a node knows of each flow: a hash table with a limit, whose index is made once and never rehashed.

use ahash::RandomState;
use slab::Slab;

use crate::addr::Flow;
use crate::index::Index;

/// A table from flow to `V`.
#[derive(Clone, Debug)]
pub struct FlowTable<V> {
    entries: Slab<(Flow, V)>,
    index: Index,
    hasher: RandomState,
}

/// The table holds as many flows as its limit allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableFull;

impl<V> FlowTable<V> {
    /// An empty table for at most `limit` flows, [`PLACES_MAX`](crate::index::PLACES_MAX) of them at the most. The seeds are secret and
    /// new with every boot: whoever knows them could choose flows that collide.
    #[must_use]
    pub fn new(limit: usize, seeds: [u64; 4]) -> Self {
        let [a, b, c, d] = seeds;
        Self { entries: Slab::new(), index: Index::new(limit), hasher: RandomState::with_seeds(a, b, c, d) }
    }

    #[inline]
    fn place(&self, flow: &Flow) -> Option<usize> {
        let is_it = |place| self.entries.get(place).is_some_and(|(key, _)| key == flow);
        self.index.find(self.hasher.hash_one(flow), is_it)
    }

    /// What is known of `flow`.
    #[must_use]
    #[inline]
    pub fn get(&self, flow: &Flow) -> Option<&V> {
        Some(&self.entries.get(self.place(flow)?)?.1)
    }

    /// As [`FlowTable::get`], to be changed.
    #[inline]
    pub fn get_mut(&mut self, flow: &Flow) -> Option<&mut V> {
        let place = self.place(flow)?;
        Some(&mut self.entries.get_mut(place)?.1)
    }

    /// Notes `value`, returning what was known before.
    ///
    /// # Errors
    /// [`TableFull`] for a flow not yet known when the table is at its limit; nothing changes then.
    pub fn insert(&mut self, flow: Flow, value: V) -> Result<Option<V>, TableFull> {
        if let Some(known) = self.get_mut(&flow) {
            return Ok(Some(core::mem::replace(known, value)));
        }
        let place = self.entries.vacant_key();
        self.index.insert(self.hasher.hash_one(flow), place).map_err(|_| TableFull)?;
        self.entries.insert((flow, value));
        Ok(None)
    }

    /// Forgets `flow`, returning what was known.
    pub fn remove(&mut self, flow: &Flow) -> Option<V> {
        let place = self.place(flow)?;
        self.index.remove(self.hasher.hash_one(flow), place);
        self.entries.try_remove(place).map(|(_, value)| value)
    }

    /// How many flows are known.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no flow is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Every flow, in no useful order (but the same in two runs with the same history).
    pub fn iter(&self) -> impl Iterator<Item = (&Flow, &V)> {
        self.entries.iter().map(|(_, (flow, value))| (flow, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Endpoint, IpAddr, Ipv4Addr};

    fn flow(port: u16) -> Flow {
        let end = |last, port| Endpoint { addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), port };
        Flow { client: end(1, port), vip: end(2, 80) }
    }

    #[test]
    fn holds_its_limit_and_not_one_more() {
        let mut table = FlowTable::new(3, [1, 2, 3, 4]);
        for port in 0..3 {
            assert_eq!(table.insert(flow(port), port), Ok(None));
        }
        assert_eq!(table.insert(flow(3), 3), Err(TableFull));
        assert_eq!(table.insert(flow(1), 11), Ok(Some(1)), "a known flow may change at the limit");
        assert_eq!((table.len(), table.get(&flow(1)), table.get(&flow(3))), (3, Some(&11), None));
        assert_eq!(table.remove(&flow(0)), Some(0));
        assert_eq!(table.insert(flow(3), 3), Ok(None));
    }
}
