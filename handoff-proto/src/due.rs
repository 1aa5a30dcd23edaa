//! When each of many connections has something to do next.

use std::collections::{BTreeMap, BTreeSet};

use baton_stack::addr::ConnId;
use baton_stack::time::Instant;

/// One deadline, or none, for each connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct DueList {
    at: BTreeMap<ConnId, Instant>,
    order: BTreeSet<(Instant, ConnId)>,
}

impl DueList {
    /// Without any deadline.
    #[must_use]
    pub const fn new() -> Self {
        Self { at: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// Sets the connection's deadline, whatever it was.
    pub fn set(&mut self, c: ConnId, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.at.insert(c, at),
            None => self.at.remove(&c),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, c));
        }
        if let Some(at) = at {
            self.order.insert((at, c));
        }
    }

    /// Takes the connection whose deadline is over for the longest time; it has none then.
    pub fn pop(&mut self, now: Instant) -> Option<ConnId> {
        let (_, c) = self.order.first().copied().filter(|(at, _)| *at <= now)?;
        self.set(c, None);
        Some(c)
    }

    /// The first deadline.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_once_and_can_be_changed() {
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        let mut due = DueList::new();
        due.set(ConnId(1), Some(at(5)));
        due.set(ConnId(2), Some(at(3)));
        due.set(ConnId(1), Some(at(2)));
        due.set(ConnId(3), Some(at(4)));
        due.set(ConnId(3), None);
        assert_eq!(due.poll_at(), Some(at(2)));
        assert_eq!(due.pop(at(1)), None);
        assert_eq!((due.pop(at(9)), due.pop(at(9)), due.pop(at(9))), (Some(ConnId(1)), Some(ConnId(2)), None));
        assert_eq!(due, DueList::new());
    }
}
