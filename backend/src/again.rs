//! Wishes that are said again: the content was not known yet where the connection is wanted, and is being found out there.

use std::collections::BTreeMap;

use baton_stack::addr::ConnId;
use baton_stack::time::{Duration, Instant};
use handoff_proto::due::DueList;
use handoff_proto::names::NodeId;

/// Connections of which a wish is said again, at the most; those of others are said once.
const AGAIN_MAX: usize = 4_096;
/// How often a wish is said again: for 13 seconds in all.
const AGAIN_TIMES_MAX: u8 = 8;
/// The wait before the first time; each later one is twice as long.
const AGAIN_WAIT: Duration = Duration::from_millis(50);

/// The wishes of one node.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// Where each connection is wanted, and how often that was said again.
    wishes: BTreeMap<ConnId, (NodeId, u8)>,
    due: DueList,
}

impl Again {
    /// The connection was refused at `to`, where its content is being found out.
    pub(crate) fn refused(&mut self, now: Instant, c: ConnId, to: NodeId) {
        let times = self.wishes.get(&c).filter(|(wanted, _)| *wanted == to).map_or(0, |(_, times)| *times);
        let is_new = !self.wishes.contains_key(&c);
        if times >= AGAIN_TIMES_MAX || (is_new && self.wishes.len() >= AGAIN_MAX) {
            self.forget(c);
            return;
        }
        self.wishes.insert(c, (to, times + 1));
        self.due.set(c, Some(now + AGAIN_WAIT * (1 << times)));
    }

    /// The connection has gone, or ended, or is wanted elsewhere.
    pub(crate) fn forget(&mut self, c: ConnId) {
        if self.wishes.remove(&c).is_some() {
            self.due.set(c, None);
        }
    }

    /// A connection that is to be wanted once more, and where.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(ConnId, NodeId)> {
        let c = self.due.pop(now)?;
        self.wishes.get(&c).map(|(to, _)| (c, *to))
    }

    /// When the next is due.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        self.due.poll_at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    #[test]
    fn a_wish_is_said_again_eight_times_and_later_each_time() {
        let (mut again, mut now, c) = (Again::default(), Instant::from_micros(7), ConnId(1));
        for wait in [50, 100, 200, 400, 800, 1_600, 3_200, 6_400] {
            again.refused(now, c, B);
            let due = now + Duration::from_millis(wait);
            assert_eq!((again.poll_at(), again.pop(now)), (Some(due), None));
            now = due;
            assert_eq!((again.pop(now), again.pop(now), again.poll_at()), (Some((c, B)), None, None));
        }
        again.refused(now, c, B);
        assert_eq!((again.poll_at(), again.wishes.len()), (None, 0));
    }

    #[test]
    fn another_node_is_another_wish() {
        let (mut again, now, c) = (Again::default(), Instant::ZERO, ConnId(1));
        again.refused(now, c, B);
        again.refused(now, c, B);
        again.refused(now, c, C);
        let due = now + AGAIN_WAIT;
        assert_eq!((again.poll_at(), again.pop(due)), (Some(due), Some((c, C))));
        again.refused(now, c, C);
        again.forget(c);
        assert_eq!((again.poll_at(), again.pop(due + AGAIN_WAIT * 2)), (None, None));
    }

    #[test]
    fn wishes_at_their_limit_and_one_past() {
        let (mut again, now) = (Again::default(), Instant::ZERO);
        for n in 0..=4_096 {
            again.refused(now, ConnId(n), B);
        }
        assert_eq!(again.wishes.len(), 4_096);
        again.refused(now, ConnId(5), B);
        assert_eq!(again.wishes.get(&ConnId(5)), Some(&(B, 2)), "it is one of them");
        again.forget(ConnId(0));
        again.refused(now, ConnId(4_096), B);
        assert_eq!(again.wishes.len(), 4_096);
    }
}
