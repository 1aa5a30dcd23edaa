//! What is done about losses: fast recovery, and slow start after a timeout. How losses are found: by time where the
//! peer says what has arrived (RFC 8985, `rack.rs`), else by three duplicate acknowledgments (RFC 6582).

use alloc::boxed::Box;

use super::cc::CWND_MAX;
use super::prr::{Prr, Undo};
use super::rack::{Delivery, Probe, Rack};
use super::scoreboard::Scoreboard;
use super::seq::SeqNum;
use super::tcb::Tcb;
use crate::time::{Duration, Instant};

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
    /// What is in flight.
    pub sent: Scoreboard,
    /// What tells that something is lost.
    pub rack: Rack,
    /// The tail loss probe.
    pub probe: Probe,
    /// The first segment that is lost is sent again whatever the window says (RFC 6675 section 5, step 4.3).
    pub force: bool,
    /// Proportional rate reduction.
    pub prr: Prr,
    /// What to take back if the last reduction was needless.
    pub undo: Option<Box<Undo>>,
}

impl Recovery {
    pub(crate) fn new(una: SeqNum) -> Self {
        Self { sent: Scoreboard::new(una), ..Self::default() }
    }

    /// Whether the flow of data is not disturbed.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// The recovery is over.
    pub(crate) fn leave(&mut self) {
        self.phase = Phase::Open;
        (self.dup_acks, self.force, self.prr) = (0, false, Prr::default());
        let nxt = self.sent.end();
        if let Some(undo) = &mut self.undo {
            undo.until = Some(nxt);
        }
    }
}

impl Tcb {
    /// Decides on loss recovery and the congestion window after an acknowledgment. True if the window was reduced for a mark.
    pub(crate) fn recover(&mut self, now: Instant, acked: u32, in_flight: u32, delivery: &Delivery) -> bool {
        let (mss, una, nxt) = (self.mss(), self.snd.una, self.snd.nxt);
        let round_trip_us = delivery.round_trip_us(now);
        if acked > 0 {
            self.cc.note_round_trip((una, nxt), round_trip_us);
            if una == nxt && self.snd.unsent() == 0 {
                self.cc.forget_round_trips();
            }
        }
        // The acknowledgment that ends fast recovery leaves the window as it is (RFC 6582 section 3.2, step 3).
        let may_grow = acked > 0 && !matches!(self.rec.phase, Phase::Fast(_));
        let is_restart = matches!(self.rec.phase, Phase::Timeout(_));
        let mut is_over = false;
        if let Phase::Fast(point) | Phase::Timeout(point) = self.rec.phase
            && point.le(una)
            && !self.is_awaiting_duplicates(point)
        {
            if self.opts.sack && !is_restart {
                self.cc.cwnd = self.cc.ssthresh.min(CWND_MAX);
            }
            self.rec.leave();
            is_over = true;
        }
        let mut slowed = false;
        let lost_before = self.rec.sent.lost();
        self.find_losses(now, delivery, round_trip_us, is_over);
        let is_safe = acked > 0 && self.rec.sent.lost() <= lost_before;
        match self.rec.phase {
            Phase::Open => {
                if acked > 0 {
                    self.rec.dup_acks = 0;
                }
                let may_begin = self.rec.sent.lost() > 0 || self.rec.dup_acks >= DUP_THRESH;
                if !may_begin || !self.begin_recovery(now, in_flight) {
                    slowed = delivery.is_echo && self.slow_down(in_flight);
                }
                // A window that was reduced for a mark grows again when that has had its effect, as after a loss.
                let may_grow = may_grow && self.rec.is_open() && !delivery.is_echo && !self.is_reduced_for(una);
                if self.is_cwnd_limited(in_flight) {
                    if may_grow {
                        self.cc.on_ack(now, acked, mss, self.smoothed(), is_restart);
                    }
                } else if acked > 0 || in_flight == 0 {
                    self.cc.on_unused(self.heard_at, now);
                }
            }
            // A partial acknowledgment, of a peer that does not say more: the next segment is lost too (RFC 6582 section 3.2).
            Phase::Fast(_) if acked > 0 && !self.opts.sack => {
                self.rec.sent.lose(una, (una + mss).min(nxt));
                self.rec.force = true;
                // Less by what was acknowledged, more by the segment that this acknowledgment stands for.
                let left = u32::from(self.rec.dup_acks).saturating_sub(acked / mss) + 1;
                self.rec.dup_acks = u8::try_from(left).unwrap_or(u8::MAX);
            }
            Phase::Fast(_) => {}
            Phase::Timeout(_) => {
                if acked > 0 {
                    self.cc.on_ack(now, acked, mss, self.smoothed(), is_restart);
                }
            }
        }
        self.reduce_in_proportion(delivery.bytes, is_safe);
        if acked > 0 || !self.may_probe() {
            self.arm_probe(now);
        }
        slowed
    }

    /// Begins fast recovery if something is lost.
    pub(crate) fn begin_recovery(&mut self, now: Instant, in_flight: u32) -> bool {
        let (mss, una, nxt) = (self.mss(), self.snd.una, self.snd.nxt);
        let is_lost = self.rec.sent.lost() > 0 || self.is_lost_by_duplicates(now);
        if !is_lost || una == nxt || !self.rec.is_open() {
            return false;
        }
        let first = self.rec.sent.first_lost().map_or(una, |(start, _)| start);
        if self.is_reduced_for(first) {
            // The window has been reduced for a mark since; a loss beside it is no news, and no mistake either.
            self.rec.undo = None;
        } else {
            self.remember_window(in_flight);
            self.reduce_window(in_flight);
        }
        self.rec.prr = Prr { delivered: 0, out: 0, flight: in_flight };
        self.rec.phase = Phase::Fast(nxt);
        self.rec.force = true;
        self.rec.probe = Probe::None;
        if !self.opts.sack {
            self.rec.sent.lose(una, (una + mss).min(nxt));
        }
        self.timed = None;
        self.arm_retransmit(now);
        true
    }

    /// The retransmission timer ran out: what was sent long enough ago is lost (RFC 8985 section 6.3), and slow start begins.
    pub(crate) fn begin_slow_start(&mut self, now: Instant) {
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        if self.rec.sent.ranges().next().is_some_and(|(left, _)| left == una) {
            // An acknowledgment of the first would have acknowledged it: the receiver has dropped what it had SACKed.
            self.rec.sent.forget_sacked();
        }
        let young = self.rack_horizon().filter(|_| self.opts.sack);
        self.rec.sent.lose_if(|start, run| start == una || young.is_none_or(|age| now.since(run.sent) >= age));
        (self.rec.dup_acks, self.rec.force, self.rec.prr) = (0, true, Prr::default());
        self.rec.probe = Probe::None;
        self.rec.phase = Phase::Timeout(nxt);
        (self.timers.reorder, self.timers.probe) = (None, None);
    }

    fn smoothed(&self) -> Duration {
        Duration::from_micros(u64::from(self.rtt.srtt_us))
    }

    /// After a timeout, all before `point` is acknowledged, but nothing behind it: without SACK, duplicates may still come of what was
    /// sent again needlessly, and tell of no loss (RFC 6582 section 3.2, step 2).
    fn is_awaiting_duplicates(&self, point: SeqNum) -> bool {
        let is_after_timeout = matches!(self.rec.phase, Phase::Timeout(_));
        let is_idle = self.unacknowledged() == 0 && self.snd.unsent() == 0;
        is_after_timeout && !self.opts.sack && self.snd.una == point && !is_idle
    }

    /// A loss or a mark was found, and is news: the window is reduced. `in_flight` is what was in flight before the acknowledgment that told.
    pub(crate) fn reduce_window(&mut self, in_flight: u32) {
        // Of several acknowledgments in one burst the last ones find less in flight, because nothing has been sent yet for the first ones. It
        // would have been, and a burst is no reason to reduce by more.
        let in_use = if self.is_held_back() { in_flight.max(self.cc.cwnd) } else { in_flight };
        self.cc.on_loss(in_use, self.mss());
        self.note_reduction();
    }

    /// Whether it was the congestion window that kept more from being sent (RFC 5681 section 3.1 grows no other): it was full,
    /// or, where several acknowledgments come in one burst, it still holds something back.
    fn is_cwnd_limited(&self, in_flight: u32) -> bool {
        in_flight + self.mss() > self.cc.cwnd || self.is_held_back()
    }

    /// Whether something waits to be sent that the receiver would take.
    fn is_held_back(&self) -> bool {
        self.snd.unsent() > 0 && self.cc.cwnd < self.snd.wnd.min(self.config.in_flight_bytes_max)
    }
}
