//! What is known of losses: the SACK scoreboard and what follows from it (RFC 6675), or duplicate acknowledgments alone
//! (RFC 6582).
//!
//! ```text
//!   SND.UNA        rtx_nxt           lost_end                        SND.NXT
//!      |  sent again  |  to send again  |  in flight as far as we know  |
//!      |----####------|----####---------|--------########---------------|      #### = SACKed
//! ```

use alloc::vec::Vec;

use super::seq::SeqNum;

/// SACKed ranges that are remembered at the most. The lowest are kept: they decide what is sent again next.
pub const SACKED_RANGES_MAX: usize = 64;
/// `DupThresh` (RFC 6675 section 2).
pub const DUP_THRESH: u8 = 3;

/// What a sender is doing about losses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// Nothing is lost.
    #[default]
    Open,
    /// Fast recovery, until everything before this is acknowledged.
    Fast(SeqNum),
    /// The timer ran out: slow start, until everything before this is acknowledged.
    Timeout(SeqNum),
}

/// Loss recovery's state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// The phase.
    pub phase: Phase,
    /// Duplicate acknowledgments in a row.
    pub dup_acks: u8,
    /// SACKed ranges above SND.UNA, in order, not touching.
    pub sacked: Vec<(SeqNum, SeqNum)>,
    /// What lies below, and is not SACKed, is lost.
    pub lost_end: SeqNum,
    /// What lies below, and was lost, has been sent again.
    pub rtx_nxt: SeqNum,
}

impl Recovery {
    pub(crate) fn new(una: SeqNum) -> Self {
        Self { lost_end: una, rtx_nxt: una, ..Self::default() }
    }

    /// Takes a SACK block that lies within what was sent. True if it says something new.
    pub(crate) fn insert(&mut self, mut left: SeqNum, mut right: SeqNum) -> bool {
        if self.sacked.iter().any(|&(l, r)| l.le(left) && right.le(r)) {
            return false;
        }
        let first = self.sacked.iter().position(|&(_, r)| left.le(r)).unwrap_or(self.sacked.len());
        let mut end = first;
        while let Some(&(l, r)) = self.sacked.get(end).filter(|(l, _)| l.le(right)) {
            (left, right) = (left.min(l), right.max(r));
            end += 1;
        }
        if first == end && self.sacked.len() >= SACKED_RANGES_MAX {
            if first == self.sacked.len() {
                return false;
            }
            self.sacked.pop();
        }
        self.sacked.splice(first..end, [(left, right)]);
        true
    }

    /// Everything before `una` is acknowledged.
    pub(crate) fn advance(&mut self, una: SeqNum) {
        self.sacked.retain(|&(_, r)| una.lt(r));
        if let Some(first) = self.sacked.first_mut() {
            first.0 = first.0.max(una);
        }
        self.lost_end = self.lost_end.max(una);
        self.rtx_nxt = self.rtx_nxt.max(una);
    }

    /// Finds what is lost by now: what has three SACKed ranges, or more than two segments of SACKed bytes, above it (`IsLost`).
    pub(crate) fn update_lost(&mut self, mss: u32) {
        let (mut ranges, mut bytes) = (0, 0);
        for &(left, right) in self.sacked.iter().rev() {
            ranges += 1;
            bytes += right.since(left);
            if ranges >= DUP_THRESH || bytes > 2 * mss {
                self.lost_end = self.lost_end.max(left);
                return;
            }
        }
    }

    /// SACKed bytes between two numbers.
    fn sacked_between(&self, from: SeqNum, to: SeqNum) -> u32 {
        self.sacked.iter().map(|&(l, r)| r.min(to).since(l.max(from))).sum()
    }

    /// Bytes that are in flight, as far as we know (`Pipe`).
    pub(crate) fn pipe(&self, una: SeqNum, nxt: SeqNum) -> u32 {
        let unknown = nxt.since(self.lost_end) - self.sacked_between(self.lost_end, nxt);
        let again_end = self.rtx_nxt.min(self.lost_end);
        unknown + again_end.since(una) - self.sacked_between(una, again_end)
    }

    /// The next range to send again (`NextSeg` rule 1).
    pub(crate) fn next_lost(&self) -> Option<(SeqNum, SeqNum)> {
        let mut start = self.rtx_nxt;
        for &(left, right) in &self.sacked {
            if start.lt(left) {
                let end = left.min(self.lost_end);
                return start.lt(end).then_some((start, end));
            }
            start = start.max(right);
        }
        start.lt(self.lost_end).then_some((start, self.lost_end))
    }

    /// The whole window is taken for lost. What the receiver has SACKed it may have dropped since (RFC 2018 section 8).
    pub(crate) fn lose_all(&mut self, una: SeqNum, nxt: SeqNum) {
        self.sacked.clear();
        self.dup_acks = 0;
        (self.rtx_nxt, self.lost_end) = (una, nxt);
        self.phase = Phase::Timeout(nxt);
    }

    /// Whether the flow of data is not disturbed.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(n: u32) -> SeqNum {
        SeqNum(n)
    }

    #[test]
    fn ranges_merge_and_are_bounded() {
        let mut recovery = Recovery::new(s(0));
        assert!(recovery.insert(s(10), s(20)) && recovery.insert(s(30), s(40)));
        assert!(!recovery.insert(s(12), s(20)));
        assert!(recovery.insert(s(20), s(30)));
        assert_eq!(recovery.sacked, [(s(10), s(40))]);
        let ranges = u32::try_from(SACKED_RANGES_MAX).unwrap();
        for n in 1..ranges {
            assert!(recovery.insert(s(100 * n), s(100 * n + 10)));
        }
        assert!(!recovery.insert(s(100 * ranges), s(100 * ranges + 10)), "one past the limit");
        assert!(recovery.insert(s(5), s(6)), "a lower one takes the highest's place");
        assert_eq!(recovery.sacked.len(), SACKED_RANGES_MAX);
    }

    #[test]
    fn pipe_and_next_segment_follow_rfc_6675() {
        let mut recovery = Recovery::new(s(0));
        // Ten segments of 100 in flight; the first and the fourth are lost.
        recovery.insert(s(100), s(300));
        recovery.update_lost(100);
        assert_eq!((recovery.pipe(s(0), s(1000)), recovery.next_lost()), (800, None));
        recovery.insert(s(400), s(700));
        recovery.update_lost(100);
        assert_eq!(recovery.lost_end, s(400));
        assert_eq!((recovery.pipe(s(0), s(1000)), recovery.next_lost()), (300, Some((s(0), s(100)))));
        recovery.rtx_nxt = s(100);
        assert_eq!((recovery.pipe(s(0), s(1000)), recovery.next_lost()), (400, Some((s(300), s(400)))));
        recovery.rtx_nxt = s(400);
        assert_eq!((recovery.pipe(s(0), s(1000)), recovery.next_lost()), (500, None));
        recovery.advance(s(700));
        assert_eq!((recovery.pipe(s(700), s(1000)), recovery.sacked.len()), (300, 0));
    }
}
