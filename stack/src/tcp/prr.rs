//! How much is sent during fast recovery (RFC 6937, proportional rate reduction, with the safety condition of RFC
//! 9937), and what is taken back when nothing was lost after all (RFC 4015, RFC 3708, RFC 5682).

use alloc::boxed::Box;

use super::cc::{CWND_MAX, Congestion, Growth};
use super::rack::Delivery;
use super::recovery::Phase;
use super::segment::Segment;
use super::seq::SeqNum;
use super::tcb::Tcb;

/// The state of proportional rate reduction, in bytes. All zero outside of fast recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prr {
    /// `prr_delivered`: what has arrived since the recovery began.
    pub delivered: u32,
    /// `prr_out`: what was sent since.
    pub out: u32,
    /// `RecoverFS`: what was in flight when it began.
    pub flight: u32,
}

/// What a reduction of the window has changed, as long as it may turn out to have been needless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Undo<G = Growth> {
    /// `pipe_prev` (RFC 4015 section 3): slow start goes up to this again.
    pub pipe_prev: u32,
    /// The algorithm's own state before.
    pub growth: G,
    /// SND.UNA when it began.
    pub from: SeqNum,
    /// SND.NXT when the recovery ended: when this is acknowledged, no more will be heard of it. `None` before.
    pub until: Option<SeqNum>,
    /// TSval of the segment at `from` as it was sent again first, until SND.UNA has moved (RFC 3522 section 3.2).
    pub stamp: Option<u32>,
    /// Bytes that were sent again.
    pub again: u32,
    /// Of them, bytes that the peer has reported as duplicates (RFC 3708 section 2).
    pub needless: u32,
}

impl Tcb {
    /// Sets the window so that as much leaves as has arrived, in the proportion of the reduction (RFC 6937 section 3.1).
    /// `is_safe`: SND.UNA has moved, and nothing more was found lost.
    pub(crate) fn reduce_in_proportion(&mut self, delivered: u32, is_safe: bool) {
        if !matches!(self.rec.phase, Phase::Fast(_)) || !self.opts.sack {
            return;
        }
        let (mss, ssthresh, pipe) = (self.mss(), self.cc.ssthresh, self.rec.sent.pipe());
        let prr = &mut self.rec.prr;
        prr.delivered = prr.delivered.saturating_add(delivered);
        let count = if pipe > ssthresh {
            let share = (u64::from(prr.delivered) * u64::from(ssthresh)).div_ceil(u64::from(prr.flight.max(1)));
            u32::try_from(share).unwrap_or(u32::MAX).saturating_sub(prr.out)
        } else {
            let arrived = prr.delivered.saturating_sub(prr.out).max(delivered);
            (ssthresh - pipe).min(arrived.saturating_add(if is_safe { mss } else { 0 }))
        };
        // The first segment is sent again at once.
        let count = if prr.out == 0 { count.max(mss) } else { count };
        self.cc.cwnd = pipe.saturating_add(count).clamp(mss, CWND_MAX);
    }

    /// The window is about to be reduced.
    pub(crate) fn remember_window(&mut self, in_flight: u32) {
        self.rec.undo = Some(Box::new(Undo {
            pipe_prev: self.cc.ssthresh.max(in_flight),
            growth: self.cc.growth,
            from: self.snd.una,
            until: None,
            stamp: None,
            again: 0,
            needless: 0,
        }));
    }

    /// What is at `seq` is being sent again, with this TSval.
    pub(crate) fn note_sent_again(&mut self, seq: SeqNum, tsval: u32, sent: u32) {
        let may_stamp = self.opts.timestamps && seq == self.snd.una && !self.rec.sent.is_first_again();
        if let Some(undo) = self.rec.undo.as_mut().filter(|undo| undo.until.is_none()) {
            // If the first segment was sent again in an earlier recovery already, the echo of that one tells nothing of this.
            if undo.again == 0 && may_stamp && undo.from == seq {
                undo.stamp = Some(tsval);
            }
            undo.again = undo.again.saturating_add(sent);
        }
    }

    /// Whether an acknowledgment shows that the last reduction was needless. If so, it is taken back.
    pub(crate) fn undo_if_needless(&mut self, segment: &Segment<'_>, acked: u32, delivery: &Delivery) {
        let (phase, una, sack) = (self.rec.phase, self.snd.una, self.opts.sack);
        let Some(undo) = &mut self.rec.undo else { return };
        if let Some((left, right)) = delivery.dsack
            && undo.from.le(left)
            && right.le(self.snd.nxt)
        {
            undo.needless = undo.needless.saturating_add(right.since(left));
        }
        // Everything that was sent again was there already (RFC 3708 section 2).
        let is_all_needless = undo.again > 0 && undo.needless >= undo.again;
        let is_first = acked > 0 && undo.from.lt(una) && undo.from == una - acked;
        let ecr = segment.options.timestamps.filter(|_| self.opts.timestamps).map(|ts| SeqNum(ts.ecr));
        // What is acknowledged was sent before it was sent again (RFC 3522 section 3.2, step 5).
        let is_older = undo.stamp.zip(ecr).is_some_and(|(stamp, ecr)| ecr.lt(SeqNum(stamp)));
        // After the timer, something is acknowledged that was sent only once, before: with SACK, it would have been known
        // if it had come in time (RFC 5682 section 3.1).
        let is_late = matches!(phase, Phase::Timeout(point) if delivery.original.is_some_and(|end| end.le(point)))
            && sack
            && !self.opts.timestamps;
        if acked > 0 {
            undo.stamp = None;
        }
        if is_all_needless || (is_first && (is_older || is_late)) {
            self.undo(acked);
        } else if undo.until.is_some_and(|until| until.le(una)) {
            self.rec.undo = None;
        }
    }

    /// RFC 4015 section 3.2, steps 5 to 8: no burst, but slow start up to where it was.
    fn undo(&mut self, acked: u32) {
        let Some(undo) = self.rec.undo.take() else { return };
        let first = Congestion::initial_window(self.mss(), self.config.initial_window_segments);
        let flight = self.unacknowledged();
        self.cc.cwnd =
            self.cc.cwnd.max(flight.saturating_add(acked.min(first)).min(undo.pipe_prev.max(flight)).min(CWND_MAX));
        self.cc.ssthresh = self.cc.ssthresh.max(undo.pipe_prev);
        self.cc.growth = undo.growth;
        (self.signals.cwr, self.signals.point) = (false, None);
        self.rec.sent.find();
        // What comes late may do so again.
        self.rec.rack.is_reordering_seen = true;
        self.rec.leave();
    }
}
