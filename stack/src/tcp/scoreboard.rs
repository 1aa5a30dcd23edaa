//! What is in flight, in runs: stretches of the sequence space with the same fate, sent at the same time.
//!
//! ```text
//!   SND.UNA                                                            SND.NXT
//!      |--- sent at 3 ---|--- SACKed ---|- lost -|- again at 9 -|- sent at 5 -|
//! ```
//! It is RFC 8985's list of segments (section 5.2) without the segments: a burst is one run, whatever its length, so a
//! bulk transfer has about one run for each acknowledgment in a round trip. When there are too many, neighbours become one with the
//! later of their times: what was sent earlier is then found to be lost a little later.

use alloc::collections::VecDeque;

use super::seq::SeqNum;
use crate::time::Instant;

/// Runs of one connection at the most.
pub const RUNS_MAX: usize = 256;
/// SACKed ranges that are remembered at the most. The lowest are kept: they decide what is sent again next.
pub const SACKED_RANGES_MAX: usize = 64;

/// A stretch of what is in flight. `At` is an instant, or its age in a frozen connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run<At> {
    /// The number behind its last byte; it begins where the run before it ends.
    pub end: SeqNum,
    /// When it was last sent.
    pub sent: At,
    /// The receiver has said that it is there.
    pub sacked: bool,
    /// Taken for lost, and not sent again since.
    pub lost: bool,
    /// It was sent more than once.
    pub again: bool,
}

/// Everything between SND.UNA and SND.NXT.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scoreboard {
    start: SeqNum,
    runs: VecDeque<Run<Instant>>,
    /// SACKed bytes.
    sacked: u32,
    /// Bytes that are taken for lost.
    lost: u32,
}

impl Scoreboard {
    pub(crate) fn new(start: SeqNum) -> Self {
        Self { start, ..Self::default() }
    }

    /// The scoreboard with these runs.
    pub(crate) fn of(start: SeqNum, runs: impl Iterator<Item = Run<Instant>>) -> Self {
        let mut board = Self { start, runs: runs.collect(), ..Self::default() };
        board.count();
        board
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run<Instant>> {
        self.runs.iter()
    }

    /// SND.UNA.
    #[cfg(test)]
    pub(crate) const fn start(&self) -> SeqNum {
        self.start
    }

    /// SND.NXT.
    pub(crate) fn end(&self) -> SeqNum {
        self.runs.back().map_or(self.start, |run| run.end)
    }

    /// Bytes that are SACKed.
    pub(crate) const fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Bytes that are taken for lost and not sent again yet.
    pub(crate) const fn lost(&self) -> u32 {
        self.lost
    }

    /// Bytes that were sent more than once, and are not known to have arrived or to be lost again.
    pub(crate) fn again(&self) -> u32 {
        let is_again = |run: &Run<Instant>| run.again && !run.sacked && !run.lost;
        self.bounded().filter(|(_, run)| is_again(run)).map(|(start, run)| run.end.since(start)).sum()
    }

    /// Whether what is at SND.UNA was sent more than once.
    pub(crate) fn is_first_again(&self) -> bool {
        self.runs.front().is_some_and(|run| run.again)
    }

    /// Bytes in flight, as far as we know (`Pipe` of RFC 6675).
    pub(crate) fn pipe(&self) -> u32 {
        self.end().since(self.start) - self.sacked - self.lost
    }

    /// SACKed ranges.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (SeqNum, SeqNum)> {
        self.bounded().filter(|(_, run)| run.sacked).map(|(start, run)| (start, run.end))
    }

    /// The number behind the highest byte that is known to have arrived.
    pub(crate) fn highest(&self) -> SeqNum {
        if self.sacked == 0 {
            return self.start;
        }
        self.runs.iter().rev().find(|run| run.sacked).map_or(self.start, |run| run.end)
    }

    /// Sent for the first time: everything up to `end`.
    pub(crate) fn push(&mut self, end: SeqNum, now: Instant) {
        let fresh = Run { end, sent: now, sacked: false, lost: false, again: false };
        match self.runs.back_mut() {
            Some(last) if is_same(last, &fresh) => last.end = end,
            _ => {
                self.runs.push_back(fresh);
                self.shorten();
            }
        }
    }

    /// Everything before `una` is acknowledged; `delivered` hears of what was not SACKed before.
    pub(crate) fn acknowledge(&mut self, una: SeqNum, mut delivered: impl FnMut(u32, Run<Instant>)) {
        while self.start.lt(una)
            && let Some(&run) = self.runs.front()
        {
            let end = run.end.min(una);
            let len = end.since(self.start);
            if run.sacked {
                self.sacked -= len;
            } else {
                self.lost -= if run.lost { len } else { 0 };
                delivered(len, Run { end, ..run });
            }
            self.start = end;
            if end == run.end {
                self.runs.pop_front();
            }
        }
        if self.runs.is_empty() {
            // The SYN is on no scoreboard; and an idle connection holds no memory.
            *self = Self::new(self.start.max(una));
        }
    }

    /// Takes a SACK block that lies within what was sent; `delivered` hears of what is new in it. True if anything is.
    pub(crate) fn sack(&mut self, left: SeqNum, right: SeqNum, mut delivered: impl FnMut(u32, Run<Instant>)) -> bool {
        let at = self.runs.partition_point(|run| run.end.le(left));
        if self.runs.get(at).is_none_or(|run| run.sacked && right.le(run.end)) {
            return false;
        }
        let (first, last) = (self.cut(left), self.cut(right));
        for index in first..last {
            let (start, run) = (self.start_of(index), self.runs[index]);
            if run.sacked {
                continue;
            }
            let len = run.end.since(start);
            self.lost -= if run.lost { len } else { 0 };
            self.sacked += len;
            delivered(len, run);
            self.runs[index] = Run { sacked: true, lost: false, again: false, ..run };
        }
        self.join(first, last);
        self.forget_highest();
        self.shorten();
        true
    }

    /// What of the range was not SACKed has been sent again.
    pub(crate) fn resent(&mut self, left: SeqNum, right: SeqNum, now: Instant) {
        let (first, last) = (self.cut(left), self.cut(right));
        for index in first..last {
            let (start, run) = (self.start_of(index), self.runs[index]);
            if !run.sacked {
                self.lost -= if run.lost { run.end.since(start) } else { 0 };
                self.runs[index] = Run { sent: now, lost: false, again: true, ..run };
            }
        }
        self.join(first, last);
        self.shorten();
    }

    /// The first range that is to be sent again (`NextSeg` rule 1 of RFC 6675).
    pub(crate) fn first_lost(&self) -> Option<(SeqNum, SeqNum)> {
        if self.lost == 0 {
            return None;
        }
        let mut lost = self.bounded().skip_while(|(_, run)| !run.lost);
        let (start, first) = lost.next()?;
        let end = lost.take_while(|(_, run)| run.lost).last().map_or(first.end, |(_, run)| run.end);
        Some((start, end))
    }

    /// What is taken for lost, in order.
    pub(crate) fn losses(&self) -> impl Iterator<Item = (SeqNum, SeqNum)> {
        let most = if self.lost == 0 { 0 } else { self.runs.len() };
        self.bounded().take(most).filter(|(_, run)| run.lost).map(|(start, run)| (start, run.end))
    }

    /// Takes for lost what is in flight and meets the condition; it hears where a run begins.
    pub(crate) fn lose_if(&mut self, mut is_lost: impl FnMut(SeqNum, &Run<Instant>) -> bool) {
        let mut start = self.start;
        for run in &mut self.runs {
            if !run.sacked && !run.lost && is_lost(start, run) {
                run.lost = true;
                self.lost += run.end.since(start);
            }
            start = run.end;
        }
    }

    /// Takes this range for lost.
    pub(crate) fn lose(&mut self, left: SeqNum, right: SeqNum) {
        let (first, last) = (self.cut(left), self.cut(right));
        for index in first..last {
            let (start, run) = (self.start_of(index), self.runs[index]);
            if !run.sacked && !run.lost {
                self.runs[index].lost = true;
                self.lost += run.end.since(start);
            }
        }
        self.join(first, last);
        self.shorten();
    }

    /// Nothing is lost after all.
    pub(crate) fn find(&mut self) {
        for run in &mut self.runs {
            run.lost = false;
        }
        self.lost = 0;
    }

    /// The receiver may have dropped what it has SACKed (RFC 2018 section 8).
    pub(crate) fn forget_sacked(&mut self) {
        for run in &mut self.runs {
            run.sacked = false;
        }
        self.count();
    }

    /// The beginning and the run, of each.
    fn bounded(&self) -> impl Iterator<Item = (SeqNum, &Run<Instant>)> {
        self.runs.iter().scan(self.start, |start, run| Some((core::mem::replace(start, run.end), run)))
    }

    fn start_of(&self, index: usize) -> SeqNum {
        index.checked_sub(1).and_then(|before| self.runs.get(before)).map_or(self.start, |run| run.end)
    }

    /// Makes a run begin at `at`, and says which.
    fn cut(&mut self, at: SeqNum) -> usize {
        let index = self.runs.partition_point(|run| run.end.le(at));
        let Some(&run) = self.runs.get(index).filter(|_| self.start_of(index).lt(at)) else { return index };
        self.runs.insert(index, Run { end: at, ..run });
        index + 1
    }

    /// Makes one of equal neighbours, from the one before `first` to `last`.
    fn join(&mut self, first: usize, last: usize) {
        for index in (first.max(1)..=last).rev() {
            let (Some(&before), Some(&run)) = (self.runs.get(index - 1), self.runs.get(index)) else { continue };
            if is_same(&before, &run) {
                self.runs[index - 1] = Run { end: run.end, sent: before.sent.max(run.sent), ..before };
                self.runs.remove(index);
            }
        }
    }

    /// The highest SACKed range gives way to a lower one.
    fn forget_highest(&mut self) {
        // There is a run at least between two of them.
        if self.runs.len() <= SACKED_RANGES_MAX || self.ranges().count() <= SACKED_RANGES_MAX {
            return;
        }
        let start_of_highest = self.ranges().last();
        if let Some(run) = self.runs.iter_mut().rev().find(|run| run.sacked) {
            run.sacked = false;
        }
        self.sacked -= start_of_highest.map_or(0, |(left, right)| right.since(left));
    }

    /// Keeps the limit: neighbours become one, those of one fate first.
    fn shorten(&mut self) {
        if self.runs.len() <= RUNS_MAX {
            return;
        }
        // Half of them, so that it is seldom.
        self.pair(is_same_fate);
        while self.runs.len() > RUNS_MAX - RUNS_MAX / 8 {
            self.pair(|a, b| !a.sacked && !b.sacked);
        }
        self.count();
    }

    /// Each run and its next become one, if they may.
    fn pair(&mut self, may: impl Fn(&Run<Instant>, &Run<Instant>) -> bool) {
        let mut paired = VecDeque::with_capacity(self.runs.len());
        let mut is_pair = true;
        for run in self.runs.drain(..) {
            match paired.back_mut() {
                Some(last) if !is_pair && may(last, &run) => {
                    // In doubt it is in flight still: then its time tells.
                    let Run { end, sent, lost, again, sacked } = run;
                    *last = Run {
                        end,
                        sent: sent.max(last.sent),
                        sacked,
                        lost: lost && last.lost,
                        again: again || last.again,
                    };
                    is_pair = true;
                }
                _ => {
                    paired.push_back(run);
                    is_pair = false;
                }
            }
        }
        self.runs = paired;
    }

    fn count(&mut self) {
        let (mut sacked, mut lost) = (0, 0);
        for (start, run) in self.bounded() {
            let len = run.end.since(start);
            sacked += if run.sacked { len } else { 0 };
            lost += if run.lost { len } else { 0 };
        }
        (self.sacked, self.lost) = (sacked, lost);
    }
}

fn is_same_fate(a: &Run<Instant>, b: &Run<Instant>) -> bool {
    (a.sacked, a.lost, a.again) == (b.sacked, b.lost, b.again)
}

/// Whether two neighbours need not be told apart. Of what has arrived, nobody asks when it was sent.
fn is_same(a: &Run<Instant>, b: &Run<Instant>) -> bool {
    is_same_fate(a, b) && (a.sacked || a.sent == b.sent)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::time::Duration;

    const fn s(n: u32) -> SeqNum {
        SeqNum(n)
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    /// Ten segments of 100, each a millisecond after the other.
    fn ten() -> Scoreboard {
        let mut board = Scoreboard::new(s(0));
        for n in 1..=10 {
            board.push(s(100 * n), at(u64::from(n)));
        }
        board
    }

    /// The invariants that the counters stand for.
    fn check(board: &Scoreboard) {
        let mut counted = board.clone();
        counted.count();
        assert_eq!(&counted, board);
        assert!(board.runs.len() <= RUNS_MAX && board.ranges().count() <= SACKED_RANGES_MAX);
        assert!(board.bounded().all(|(start, run)| start.lt(run.end) && !(run.sacked && run.lost)));
    }

    #[test]
    fn a_burst_is_one_run() {
        let mut board = Scoreboard::new(s(u32::MAX - 50));
        for n in 0..10 {
            board.push(s(50) + 100 * n, at(1));
        }
        board.push(s(1_000), at(2));
        assert_eq!(board.runs.len(), 2);
        board.acknowledge(s(960), |_, _| {});
        assert_eq!((board.runs.len(), board.start(), board.pipe()), (1, s(960), 40));
        board.acknowledge(s(1_000), |_, _| {});
        assert_eq!(board, Scoreboard::new(s(1_000)));
    }

    #[test]
    fn ranges_merge_and_what_is_new_is_told_once() {
        let mut board = ten();
        let mut new = Vec::new();
        let mut tell = |len, run: Run<Instant>| new.push((len, run.end, run.sent));
        assert!(board.sack(s(100), s(250), &mut tell));
        assert!(!board.sack(s(100), s(250), &mut tell) && !board.sack(s(120), s(200), &mut tell));
        assert!(board.sack(s(200), s(300), &mut tell));
        assert_eq!(new, [(100, s(200), at(2)), (50, s(250), at(3)), (50, s(300), at(3))]);
        assert_eq!(board.ranges().collect::<Vec<_>>(), [(s(100), s(300))]);
        assert_eq!((board.sacked(), board.pipe(), board.highest()), (200, 800, s(300)));
        let mut acked = Vec::new();
        board.acknowledge(s(350), |len, run| acked.push((len, run.end, run.sent)));
        assert_eq!(acked, [(100, s(100), at(1)), (50, s(350), at(4))]);
        assert_eq!((board.sacked(), board.pipe(), board.highest()), (0, 650, s(350)));
        check(&board);
    }

    #[test]
    fn what_is_lost_is_sent_again_and_may_be_lost_again() {
        let mut board = ten();
        board.sack(s(100), s(300), |_, _| {});
        board.sack(s(400), s(700), |_, _| {});
        board.lose_if(|_, run| run.sent <= at(5));
        assert_eq!((board.lost(), board.pipe(), board.first_lost()), (200, 300, Some((s(0), s(100)))));
        board.resent(s(0), s(100), at(20));
        assert_eq!((board.lost(), board.pipe(), board.first_lost()), (100, 400, Some((s(300), s(400)))));
        board.resent(s(300), s(360), at(21));
        assert_eq!((board.pipe(), board.first_lost()), (460, Some((s(360), s(400)))));
        board.resent(s(360), s(400), at(21));
        assert_eq!((board.lost(), board.pipe(), board.first_lost()), (0, 500, None));
        check(&board);
        board.lose_if(|_, run| run.sent <= at(20));
        assert_eq!(board.first_lost(), Some((s(0), s(100))), "the one sent again, not the younger");
        assert_eq!(board.lost(), 400, "and the last three");
        board.forget_sacked();
        board.lose_if(|_, _| true);
        assert_eq!((board.pipe(), board.first_lost()), (0, Some((s(0), s(1_000)))));
        check(&board);
    }

    #[test]
    fn the_lowest_sacked_ranges_are_kept() {
        let mut board = Scoreboard::new(s(0));
        board.push(s(100_000), at(1));
        let ranges = u32::try_from(SACKED_RANGES_MAX).unwrap();
        for n in 1..=ranges {
            assert!(board.sack(s(100 * n), s(100 * n + 10), |_, _| {}));
        }
        assert_eq!(board.ranges().count(), 64);
        board.sack(s(90_000), s(90_001), |_, _| {});
        assert_eq!((board.ranges().count(), board.highest()), (64, s(6_410)), "one past the limit is forgotten");
        board.sack(s(5), s(6), |_, _| {});
        assert_eq!((board.ranges().count(), board.highest()), (64, s(6_310)), "a lower one takes its place");
        check(&board);
    }

    #[test]
    fn runs_have_a_limit() {
        let mut board = Scoreboard::new(s(0));
        for n in 1..=u32::try_from(RUNS_MAX).unwrap() {
            board.push(s(10 * n), at(u64::from(n)));
        }
        assert_eq!(board.runs.len(), 256);
        board.push(s(2_570), at(257));
        // The later time of each pair.
        assert_eq!((board.runs.len(), board.runs[0].end, board.runs[0].sent), (129, s(20), at(2)));
        assert_eq!((board.end(), board.pipe()), (s(2_570), 2_570));
        check(&board);
        // Of any fate: as many as there can be.
        for n in 0..64 {
            board.sack(s(40 * n + 10), s(40 * n + 13), |_, _| {});
            check(&board);
        }
        for n in 0..2_500 {
            board.lose(s(n), s(n + 1));
            board.resent(s(n / 2), s(n / 2 + 1), at(300 + u64::from(n)));
            check(&board);
        }
    }
}
