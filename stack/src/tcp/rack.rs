//! Losses found by time: RACK, and the tail loss probe (RFC 8985). A segment is lost when one that was sent after it has
//! arrived, and it itself has not within a round trip and a little more (the reordering window).
//!
//! While what an earlier owner sent is in flight, its last segments may come behind the first ones from here, for the
//! two took different ways. Until the boundary between them is acknowledged the window is kept, whatever was SACKed: a move
//! must not look like a loss.

use super::recovery::DUP_THRESH;
use super::rtt::SAMPLE_MAX_US;
use super::scoreboard::Run;
use super::segment::Segment;
use super::seq::SeqNum;
use super::tcb::{Tcb, ts_clock};
use crate::time::{Duration, Instant};

/// Recoveries after which a wider reordering window is given up (RFC 8985 section 6.2, step 4).
const REO_WND_PERSIST: u8 = 16;
/// How long the least round-trip time is believed (section 6.2, step 1: windowed).
const MIN_RTT_AGE_MAX: Duration = Duration::from_secs(300);
/// `TLP.max_ack_delay` (section 7.2): how long a peer may wait with an acknowledgment.
const MAX_ACK_DELAY: Duration = Duration::from_millis(200);
/// A probe's time before a round trip was measured (section 7.2).
const PTO_INITIAL: Duration = Duration::from_secs(1);
/// A duplicate acknowledgment across a boundary waits for no less, where nothing else is known.
const REO_WND_MIN: Duration = Duration::from_millis(1);

/// RACK's state (RFC 8985 section 5.3). Times travel as ages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rack {
    /// RACK.xmit_ts and RACK.end_seq: of what has arrived, what was sent last. `None` when nothing sent before can be in flight.
    pub newest: Option<(Instant, SeqNum)>,
    /// RACK.rtt, in microseconds.
    pub rtt_us: u32,
    /// RACK.min_RTT in microseconds, zero before the first, and when it was measured.
    pub min_rtt: (u32, Instant),
    /// RACK.reordering_seen.
    pub is_reordering_seen: bool,
    /// RACK.reo_wnd_mult, less one.
    pub wider: u8,
    /// RACK.reo_wnd_persist.
    pub persist: u8,
    /// RACK.dsack_round.
    pub dsack_round: Option<SeqNum>,
    /// What lies before was sent by an earlier owner.
    pub boundary: Option<SeqNum>,
}

/// The tail loss probe (RFC 8985 section 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Probe {
    /// None is on its way.
    #[default]
    None,
    /// It is to be sent now.
    Due,
    /// It is on its way: TLP.end_seq and TLP.is_retrans.
    Sent {
        /// SND.NXT when it was sent.
        end: SeqNum,
        /// It was the last segment once more, nothing new.
        is_again: bool,
    },
}

/// What one acknowledgment says has arrived.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Bytes that were not known to have arrived.
    pub(crate) bytes: u32,
    /// Whether the peer says that something of ours was marked (RFC 3168).
    pub(crate) is_echo: bool,
    /// A duplicate that the peer reports (RFC 2883).
    pub(crate) dsack: Option<(SeqNum, SeqNum)>,
    /// Where the first ends, of what was sent only once.
    pub(crate) original: Option<SeqNum>,
    /// What was sent last, of them.
    newest: Option<(Instant, SeqNum)>,
    highest: SeqNum,
    is_reordered: bool,
    /// What was sent again later than this cannot have been answered yet.
    latest: Instant,
    /// TSecr, and what makes a TSval of a time.
    echoed: Option<(u32, u32)>,
}

impl Delivery {
    pub(crate) fn note(&mut self, len: u32, run: Run<Instant>) {
        self.bytes += len;
        if self.highest.lt(run.end) {
            self.highest = run.end;
        } else if !run.again {
            self.is_reordered = true;
        }
        if !run.again && self.original.is_none_or(|first| run.end.lt(first)) {
            self.original = Some(run.end);
        }
        let sent = (run.sent, run.end);
        if (!run.again || self.is_answer_to(run.sent)) && self.newest.is_none_or(|newest| is_after(sent, newest)) {
            self.newest = Some(sent);
        }
    }

    /// How long ago what was sent last, of what has arrived, was sent, in microseconds.
    pub(crate) fn round_trip_us(&self, now: Instant) -> Option<u32> {
        let (sent, _) = self.newest?;
        let us = now.micros().saturating_sub(sent.micros());
        Some(u32::try_from(us).unwrap_or(SAMPLE_MAX_US).clamp(1, SAMPLE_MAX_US))
    }

    /// Whether it is the last sending that has arrived, and not one before (section 6.2, step 2).
    fn is_answer_to(&self, sent: Instant) -> bool {
        let is_echo = |(ecr, offset): (u32, u32)| SeqNum(ts_clock(sent).wrapping_add(offset)).le(SeqNum(ecr));
        sent <= self.latest && self.echoed.is_none_or(is_echo)
    }
}

/// `RACK_sent_after`.
fn is_after((sent, end): (Instant, SeqNum), (other, other_end): (Instant, SeqNum)) -> bool {
    sent > other || (sent == other && other_end.lt(end))
}

fn us(n: u32) -> Duration {
    Duration::from_micros(u64::from(n))
}

impl Tcb {
    /// The connection goes on at another node: what is in flight was sent from elsewhere, and what is sent from here may overtake
    /// it. To be called after [`Tcb::thaw`] where packets will take another way than before.
    pub fn note_move(&mut self) {
        if self.unacknowledged() > 0 {
            self.rec.rack.boundary = Some(self.snd.nxt);
        }
    }

    /// For what an acknowledgment will be found to say.
    pub(crate) fn delivery(&self, now: Instant, segment: &Segment<'_>) -> Delivery {
        let min_rtt = u64::from(self.rec.rack.min_rtt.0);
        let timestamps = segment.options.timestamps.filter(|_| self.opts.timestamps);
        Delivery {
            bytes: 0,
            is_echo: self.is_echo(segment),
            dsack: self.reported_duplicate(segment),
            original: None,
            newest: None,
            highest: self.rec.sent.highest(),
            is_reordered: false,
            latest: Instant::from_micros(now.micros().saturating_sub(min_rtt)),
            echoed: timestamps.map(|ts| (ts.ecr, self.ts.offset)),
        }
    }

    /// RFC 2883 section 4: the first block lies below the acknowledgment, or within the second.
    fn reported_duplicate(&self, segment: &Segment<'_>) -> Option<(SeqNum, SeqNum)> {
        if segment.options.sack.is_empty() {
            return None;
        }
        let mut blocks = segment.options.sack.iter().filter(|_| self.opts.sack);
        let &(left, right) = blocks.next()?;
        let is_within = |&(l, r): &(SeqNum, SeqNum)| l.le(left) && right.le(r);
        (right.le(segment.ack) || blocks.next().is_some_and(is_within)).then_some((left, right))
    }

    /// Takes for lost what an acknowledgment shows to be lost. `round_trip_us`: what it has measured; `is_over`: it has ended a recovery.
    pub(crate) fn find_losses(&mut self, now: Instant, delivery: &Delivery, round_trip_us: Option<u32>, is_over: bool) {
        let una = self.snd.una;
        let rack = &mut self.rec.rack;
        rack.boundary = rack.boundary.filter(|boundary| una.lt(*boundary));
        rack.is_reordering_seen |= delivery.is_reordered;
        if let (Some((sent, end)), Some(rtt)) = (delivery.newest, round_trip_us) {
            rack.rtt_us = rtt;
            if rack.min_rtt.0 == 0 || rtt <= rack.min_rtt.0 || now.since(rack.min_rtt.1) > MIN_RTT_AGE_MAX {
                rack.min_rtt = (rtt, now);
            }
            if rack.newest.is_none_or(|newest| is_after((sent, end), newest)) {
                rack.newest = Some((sent, end));
            }
        }
        self.adapt_window(delivery.dsack.is_some(), is_over);
        if self.unacknowledged() == 0 {
            self.rec.rack.newest = None;
        }
        if self.opts.sack {
            self.detect_losses(now);
        } else if delivery.bytes > 0 {
            self.timers.reorder = None;
        }
    }

    /// Section 6.2, step 4: needless retransmissions make the window wider for a while.
    fn adapt_window(&mut self, is_dsack: bool, is_over: bool) {
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        let rack = &mut self.rec.rack;
        rack.dsack_round = rack.dsack_round.filter(|round| una.lt(*round));
        if is_dsack && rack.dsack_round.is_none() {
            rack.dsack_round = (una != nxt).then_some(nxt);
            (rack.wider, rack.persist) = (rack.wider.saturating_add(1), REO_WND_PERSIST);
        } else if is_over {
            rack.persist = rack.persist.saturating_sub(1);
            if rack.persist == 0 {
                rack.wider = 0;
            }
        }
    }

    /// `RACK.reo_wnd`. `is_across`: for what an earlier owner has sent, after something from here has arrived. Among segments of
    /// one owner, a move makes losses neither surer nor less sure.
    fn reordering_window(&self, is_across: bool) -> Duration {
        let rack = &self.rec.rack;
        if !rack.is_reordering_seen && !is_across {
            let is_sure = self.rec.sent.sacked() > u32::from(DUP_THRESH - 1) * self.mss()
                || self.rec.sent.ranges().take(DUP_THRESH.into()).count() == usize::from(DUP_THRESH);
            if !self.rec.is_open() || is_sure {
                return Duration::ZERO;
            }
        }
        (us(rack.min_rtt.0) / 4).saturating_mul(u32::from(rack.wider) + 1).min(us(self.rtt.srtt_us))
    }

    /// What was sent longer ago than this can be known to be lost by now; `None` if no round trip is known.
    pub(crate) fn rack_horizon(&self) -> Option<Duration> {
        let rtt = self.rec.rack.rtt_us;
        (rtt > 0).then(|| us(rtt) + self.reordering_window(self.rec.rack.boundary.is_some()))
    }

    /// Section 6.2, step 5.
    fn detect_losses(&mut self, now: Instant) {
        self.timers.reorder = None;
        // In order, and nothing sent twice: all that is in flight was sent after all that has arrived.
        let is_quiet = self.rec.sent.sacked() == 0 && self.rec.is_open() && self.rec.probe == Probe::None;
        let Some(newest) = self.rec.rack.newest.filter(|_| !is_quiet && self.rec.rack.rtt_us > 0) else { return };
        let rtt = us(self.rec.rack.rtt_us);
        let (within, across) = (rtt + self.reordering_window(false), rtt + self.reordering_window(true));
        // Whether what has arrived left this owner, where that is not the one who has sent all that is in flight.
        let boundary = self.rec.rack.boundary.filter(|boundary| boundary.lt(newest.1));
        let mut longest = Duration::ZERO;
        self.rec.sent.lose_if(|_, run| {
            if !is_after(newest, (run.sent, run.end)) {
                return false;
            }
            let is_across = boundary.is_some_and(|boundary| run.end.le(boundary));
            let left = (run.sent + if is_across { across } else { within }).since(now);
            longest = longest.max(left);
            left.is_zero()
        });
        self.timers.reorder = (!longest.is_zero()).then(|| now + longest);
    }

    /// Whether a peer that says nothing of what has arrived has said three times that something is missing. Across a boundary
    /// it is not believed before the reordering window is over.
    pub(crate) fn is_lost_by_duplicates(&mut self, now: Instant) -> bool {
        if self.opts.sack || self.rec.dup_acks < DUP_THRESH {
            return false;
        }
        if self.rec.rack.boundary.is_none() {
            return true;
        }
        let window = (us(self.rec.rack.min_rtt.0) / 4).max(REO_WND_MIN);
        *self.timers.reorder.get_or_insert(now + window) <= now
    }

    /// The reordering window is over.
    pub(crate) fn reordering_timeout(&mut self, now: Instant) {
        if self.opts.sack {
            self.detect_losses(now);
        }
        let in_flight = self.unacknowledged();
        if self.begin_recovery(now, in_flight) {
            self.reduce_in_proportion(0, false);
        }
        self.timers.reorder = self.timers.reorder.filter(|at| *at > now);
    }

    /// Starts the probe's timer anew, where a probe would help (section 7.2), or stops it.
    pub(crate) fn arm_probe(&mut self, now: Instant) {
        let in_flight = self.unacknowledged();
        self.timers.probe = None;
        if !self.may_probe() || in_flight == 0 {
            return;
        }
        let at = match self.rtt.srtt_us {
            0 => now + PTO_INITIAL,
            srtt if in_flight <= self.mss() => now.after_micros(2 * u64::from(srtt)) + MAX_ACK_DELAY,
            srtt => now.after_micros(2 * u64::from(srtt)),
        };
        self.timers.probe = Some(self.timers.retransmit.map_or(at, |retransmit| at.min(retransmit)));
    }

    /// Whether a tail may be lost without a sign of it.
    pub(crate) fn may_probe(&self) -> bool {
        self.opts.sack && self.rec.is_open() && self.rec.probe == Probe::None && self.rec.sent.sacked() == 0
    }

    /// The probe's timer ran out; the other one begins anew.
    pub(crate) fn probe_timeout(&mut self, now: Instant) {
        self.timers.probe = None;
        if self.may_probe() && self.unacknowledged() > 0 {
            self.rec.probe = Probe::Due;
            self.arm_retransmit(now);
        }
    }

    /// Section 7.4.2: whether the probe has repaired a loss that nobody else will find. If so, where it ended.
    pub(crate) fn note_probe_answer(
        &mut self,
        segment: &Segment<'_>,
        acked: u32,
        dsack: Option<(SeqNum, SeqNum)>,
    ) -> Option<SeqNum> {
        let Probe::Sent { end, is_again } = self.rec.probe else {
            if acked > 0 {
                self.rec.probe = Probe::None;
            }
            return None;
        };
        if segment.ack.lt(end) {
            return None;
        }
        let is_needless = dsack.is_some_and(|(_, right)| right == end);
        let is_duplicate = acked == 0 && segment.is_empty() && segment.options.sack.is_empty();
        let is_repaired = is_again && !is_needless && end.lt(segment.ack);
        if !is_again || is_needless || is_repaired || is_duplicate {
            self.rec.probe = Probe::None;
        }
        is_repaired.then_some(end)
    }
}
