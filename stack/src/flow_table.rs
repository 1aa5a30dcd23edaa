//! What a node knows of each flow: a hash table with a limit, sized once so that it never rehashes under load.

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::addr::Flow;

/// A table from flow to `V`.
#[derive(Clone, Debug)]
pub struct FlowTable<V> {
    entries: HashTable<(Flow, V)>,
    hasher: RandomState,
    limit: usize,
}

/// The table holds as many flows as its limit allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableFull;

impl<V> FlowTable<V> {
    /// An empty table for at most `limit` flows. The seeds are secret and new with every boot: whoever knows
    /// them could choose flows that collide.
    #[must_use]
    pub fn new(limit: usize, seeds: [u64; 4]) -> Self {
        let [a, b, c, d] = seeds;
        Self { entries: HashTable::with_capacity(limit), hasher: RandomState::with_seeds(a, b, c, d), limit }
    }

    /// What is known of `flow`.
    #[must_use]
    pub fn get(&self, flow: &Flow) -> Option<&V> {
        self.entries.find(self.hasher.hash_one(flow), |(key, _)| key == flow).map(|(_, value)| value)
    }

    /// As [`FlowTable::get`], to be changed.
    pub fn get_mut(&mut self, flow: &Flow) -> Option<&mut V> {
        self.entries.find_mut(self.hasher.hash_one(flow), |(key, _)| key == flow).map(|(_, value)| value)
    }

    /// Notes `value`, returning what was known before.
    ///
    /// # Errors
    /// [`TableFull`] for a flow not yet known when the table is at its limit; nothing changes then.
    pub fn insert(&mut self, flow: Flow, value: V) -> Result<Option<V>, TableFull> {
        let full = self.entries.len() >= self.limit;
        let hash = self.hasher.hash_one(flow);
        match self.entries.entry(hash, |(key, _)| *key == flow, |(key, _)| self.hasher.hash_one(key)) {
            Entry::Occupied(mut entry) => Ok(Some(core::mem::replace(&mut entry.get_mut().1, value))),
            Entry::Vacant(_) if full => Err(TableFull),
            Entry::Vacant(entry) => {
                entry.insert((flow, value));
                Ok(None)
            }
        }
    }

    /// Forgets `flow`, returning what was known.
    pub fn remove(&mut self, flow: &Flow) -> Option<V> {
        let entry = self.entries.find_entry(self.hasher.hash_one(flow), |(key, _)| key == flow).ok()?;
        Some(entry.remove().0.1)
    }

    /// How many flows are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no flow is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every flow, in no useful order (but the same in two runs with the same seeds and history).
    pub fn iter(&self) -> impl Iterator<Item = (&Flow, &V)> {
        self.entries.iter().map(|(flow, value)| (flow, value))
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
