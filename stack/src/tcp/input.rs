//! Segments that arrive (RFC 9293 section 3.10.7): sequence number, RST, SYN, ACK, text, FIN, in this order.

use super::content::Content;
use super::rack::Delivery;
use super::segment::{Flags, Segment};
use super::seq::SeqNum;
use super::tcb::{CloseReason, Outcome, State, Tcb};
use crate::drop::DropReason;
use crate::time::{Duration, Instant};

/// Out-of-order ranges of one connection at the most.
pub const OUT_OF_ORDER_RANGES_MAX: usize = 64;
/// Challenge ACKs of one connection in a [`CHALLENGE_PERIOD`] (RFC 5961 section 7).
const CHALLENGES_MAX: u8 = 10;
pub(crate) const CHALLENGE_PERIOD: Duration = Duration::from_secs(1);
/// When TS.Recent is too old to be believed (RFC 7323 section 5.5).
const TS_RECENT_AGE_MAX: Duration = Duration::from_secs(24 * 24 * 3600);
/// Segments with data that share an acknowledgment (RFC 9293 section 3.8.6.3, MUST-58).
const SEGMENTS_PER_ACK: u8 = 2;

impl Tcb {
    /// Handles a segment of this connection.
    ///
    /// # Errors
    /// Why it was dropped. An acknowledgment may be due all the same.
    pub fn handle_segment(
        &mut self,
        now: Instant,
        segment: &Segment<'_>,
        content: &mut impl Content,
    ) -> Result<Outcome, DropReason> {
        self.age_path_mtu(now);
        let before = (self.state, self.peer_finished());
        if self.state == State::Closed {
            return Err(DropReason::UnexpectedSegment);
        }
        if self.state == State::SynSent {
            return self.handle_in_syn_sent(now, segment);
        }
        if self.completes_both(segment) {
            return Ok(self.take_syn_ack(now, segment));
        }
        if self.state == State::SynReceived && !self.complete_handshake(now, segment)? {
            return Ok(Outcome { closed: self.closed, ..Outcome::default() });
        }
        let mut outcome = Outcome { established: before.0 == State::SynReceived, ..Outcome::default() };
        let result = self.process(now, segment, content, &mut outcome);
        outcome.peer_finished = self.peer_finished() && !before.1;
        outcome.closed = self.closed;
        // A segment whose text is dropped may have said something else: an acknowledgment, FIN, the handshake's end.
        let Outcome { received: _, acked, peer_finished, established, marked: _, slowed, urgent, closed: _ } = outcome;
        if !(acked || peer_finished || established || slowed || urgent) {
            result?;
        }
        self.heard_at = now;
        Ok(outcome)
    }

    /// SYN-RECEIVED after both have opened: whether the peer says its SYN again, and acknowledges ours (RFC 9293 section 3.5,
    /// figure 7).
    fn completes_both(&self, segment: &Segment<'_>) -> bool {
        let says_both = segment.flags.has(Flags::SYN.with(Flags::ACK)) && !segment.flags.has(Flags::RST);
        let is_expected = segment.seq == self.rcv.irs && segment.ack == self.snd.nxt;
        self.state == State::SynReceived && self.is_active && says_both && is_expected
    }

    /// SYN-RECEIVED: true when the handshake is complete and the segment is to be processed further.
    fn complete_handshake(&mut self, now: Instant, segment: &Segment<'_>) -> Result<bool, DropReason> {
        if segment.flags.has(Flags::RST) {
            if segment.seq == self.rcv.nxt {
                self.finish(CloseReason::ResetByPeer);
                return Ok(false);
            }
            // Elsewhere in the window it is challenged, in every state (RFC 9293 section 3.10.7.4, first).
            if self.rcv.nxt.lt(segment.seq) && segment.seq.lt(self.rcv.edge) {
                self.challenge(now);
            }
            return Err(DropReason::BadReset);
        }
        if segment.flags.has(Flags::SYN) {
            if segment.seq == self.rcv.irs && !segment.flags.has(Flags::ACK) {
                self.note_timestamp(now, segment);
                // One that offers no ECN any more takes its offer back (RFC 3168 section 6.1.1).
                self.opts.ecn &= Self::offers_ecn(segment);
                // Which of our SYN-ACKs is answered next cannot be told.
                self.timed = None;
                self.control_now = true;
                return Ok(false);
            }
            // A peer that has forgotten its first SYN resets this connection when it hears of it, and comes again.
            self.challenge(now);
            return Err(DropReason::UnexpectedSegment);
        }
        if !segment.flags.has(Flags::ACK) {
            return Err(DropReason::UnexpectedSegment);
        }
        self.check_paws(now, segment)?;
        self.check_sequence(now, segment)?;
        if segment.ack != self.snd.nxt {
            return Err(DropReason::BadAck);
        }
        self.establish(now, segment, self.scaled_window(segment));
        Ok(true)
    }

    /// Our SYN is acknowledged, and theirs has come.
    pub(crate) fn establish(&mut self, now: Instant, segment: &Segment<'_>, window: u32) {
        self.sample_handshake(now, segment);
        self.snd.una = self.snd.nxt;
        self.state = if self.snd.fin { State::FinWait1 } else { State::Established };
        (self.snd.wl1, self.snd.wl2) = (segment.seq, segment.ack);
        self.snd.wnd = window;
        self.snd.max_wnd = self.snd.max_wnd.max(self.snd.wnd);
        self.timers.retransmit = None;
        (self.rtt.backoff, self.control_now) = (0, false);
        self.note_answer(now);
        self.rec.sent.acknowledge(self.snd.una, |_, _| {});
        self.arm_keepalive(now);
    }

    /// The text and FIN of the segment that has completed the handshake.
    pub(crate) fn take_text(&mut self, now: Instant, segment: &Segment<'_>, outcome: &mut Outcome) {
        outcome.urgent = self.note_urgent(segment);
        // What is dropped of it comes again.
        outcome.received = self.process_text(now, segment, outcome).unwrap_or(false);
        self.process_fin(segment);
        outcome.peer_finished = self.peer_finished();
    }

    fn sample_handshake(&mut self, now: Instant, segment: &Segment<'_>) {
        if let Some((_, at)) = self.timed.take() {
            self.rtt.sample(now.since(at));
        } else {
            self.sample_timestamp(now, segment);
        }
        if self.rtt.srtt_us == 0 && self.rtt.backoff > 0 {
            // RFC 6298 section 5.7: three seconds, which is what one sample of a second makes.
            self.rtt.sample(self.config.rto_initial());
        }
    }

    /// A segment of a synchronized connection.
    fn process(
        &mut self,
        now: Instant,
        segment: &Segment<'_>,
        content: &mut impl Content,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        // RFC 5961 section 4.2: irrespective of the sequence number, and of the timestamp. A peer that has forgotten the
        // connection answers with a reset that we believe.
        if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::RST) {
            self.challenge(now);
            return Err(DropReason::UnexpectedSegment);
        }
        self.check_paws(now, segment)?;
        self.check_sequence(now, segment)?;
        if segment.flags.has(Flags::RST) {
            // RFC 1337 section 3: a reset does not end TIME-WAIT.
            if self.state == State::TimeWait {
                return Err(DropReason::BadReset);
            }
            // RFC 5961 section 3.2: exactly the next number, or it is challenged.
            if segment.seq == self.rcv.nxt {
                self.finish(CloseReason::ResetByPeer);
                return Ok(());
            }
            self.challenge(now);
            return Err(DropReason::BadReset);
        }
        if !segment.flags.has(Flags::ACK) {
            return Err(DropReason::UnexpectedSegment);
        }
        self.check_ack(now, segment)?;
        // Where nothing is in flight, this answers a probe: the peer lives, whatever its window. And one that keeps its window
        // closed is not given up while it answers (RFC 9293 section 3.8.6.1, MUST-37).
        if self.timers.retransmit.is_none() || segment.window == 0 {
            self.note_answer(now);
        }
        self.note_timestamp(now, segment);
        (outcome.acked, outcome.slowed) = self.process_ack(now, segment, content);
        if self.state == State::Closed {
            return Ok(());
        }
        if self.state != State::TimeWait {
            self.arm_keepalive(now);
        }
        outcome.urgent = self.note_urgent(segment);
        let received = self.process_text(now, segment, outcome);
        if self.state == State::FinWait2 && received == Ok(true) {
            self.arm_fin_wait_2(now);
        }
        self.process_fin(segment);
        outcome.received = received?;
        Ok(())
    }

    /// RFC 7323 section 5: a segment with an older timestamp is an old duplicate.
    fn check_paws(&mut self, now: Instant, segment: &Segment<'_>) -> Result<(), DropReason> {
        if !self.opts.timestamps || segment.flags.has(Flags::RST) {
            return Ok(());
        }
        // Section 3.2: once negotiated, every segment has one.
        let Some(ts) = segment.options.timestamps else { return Err(DropReason::Paws) };
        let is_older = SeqNum(ts.val).lt(SeqNum(self.ts.recent));
        if is_older && now.since(self.ts.recent_at) < TS_RECENT_AGE_MAX {
            // Acknowledgments of acknowledgments have a limit.
            if segment.is_empty() {
                self.challenge(now);
            } else {
                self.ack_now = true;
            }
            return Err(DropReason::Paws);
        }
        Ok(())
    }

    /// RFC 9293 section 3.10.7.4, first: whether anything of the segment is in the window.
    fn check_sequence(&mut self, now: Instant, segment: &Segment<'_>) -> Result<(), DropReason> {
        let (nxt, edge) = (self.rcv.nxt, self.rcv.edge);
        let (first, end) = (segment.seq, segment.seq + segment.len());
        let is_acceptable = if segment.is_empty() {
            // At the right edge too: an acknowledgment of a peer that has filled the window.
            nxt.le(first) && first.le(edge)
        } else {
            // A closed window takes no text, but acknowledgments that come with it.
            (first.lt(edge) && nxt.lt(end)) || first == nxt
        };
        if is_acceptable {
            return Ok(());
        }
        if segment.flags.has(Flags::RST) {
            return Err(DropReason::BadReset);
        }
        if segment.flags.has(Flags::SYN) || segment.is_empty() {
            self.challenge(now);
        } else {
            self.ack_now = true;
            if end.le(nxt) && self.opts.sack {
                self.dsack = Some((first, end));
            }
        }
        Err(DropReason::OutOfWindow)
    }

    /// RFC 5961 section 5.2: the acknowledgment lies in what the peer can mean.
    fn check_ack(&mut self, now: Instant, segment: &Segment<'_>) -> Result<(), DropReason> {
        let is_old = segment.ack.lt(self.snd.una - self.snd.max_wnd);
        if is_old || self.snd.nxt.lt(segment.ack) {
            self.challenge(now);
            return Err(DropReason::BadAck);
        }
        Ok(())
    }

    /// An acknowledgment that tells a peer where we are, not too often.
    fn challenge(&mut self, now: Instant) {
        let (since, count) = &mut self.challenges;
        if *count == 0 || now.since(*since) >= CHALLENGE_PERIOD {
            (*since, *count) = (now, 0);
        }
        if *count < CHALLENGES_MAX {
            *count += 1;
            self.ack_now = true;
        }
    }

    /// RFC 7323 section 4.3, step 2.
    pub(crate) fn note_timestamp(&mut self, now: Instant, segment: &Segment<'_>) {
        let Some(ts) = segment.options.timestamps.filter(|_| self.opts.timestamps) else { return };
        if segment.seq.le(self.ts.last_ack_sent) {
            (self.ts.recent, self.ts.recent_at) = (ts.val, now);
        }
    }

    fn scaled_window(&self, segment: &Segment<'_>) -> u32 {
        u32::from(segment.window) << self.opts.snd_scale.unwrap_or(0)
    }

    /// Fifth, check the ACK field. Whether something new was acknowledged, and whether the window was reduced for a mark.
    fn process_ack(&mut self, now: Instant, segment: &Segment<'_>, content: &mut impl Content) -> (bool, bool) {
        let ack = segment.ack;
        let window = self.scaled_window(segment);
        let is_duplicate =
            ack == self.snd.una && segment.is_empty() && window == self.snd.wnd && self.unacknowledged() > 0;
        self.update_window(now, segment, window);
        let in_flight = self.unacknowledged();
        let acked = ack.since(self.snd.una);
        let mut delivery = self.delivery(now, segment);
        if acked > 0 {
            self.advance(now, segment, acked, content, &mut delivery);
        }
        let is_sacked = self.note_sack(segment, &mut delivery);
        if is_duplicate && (is_sacked || !self.opts.sack) {
            self.rec.dup_acks = self.rec.dup_acks.saturating_add(1);
        }
        if let Some(end) = self.note_probe_answer(segment, acked, delivery.dsack)
            && self.rec.is_open()
            && !self.is_reduced_for(end - 1)
        {
            self.reduce_window(in_flight);
        }
        self.forget_point();
        if delivery.is_echo {
            // There is congestion, whatever is found out about losses.
            self.rec.undo = None;
        }
        self.undo_if_needless(segment, acked, &delivery);
        let slowed = self.recover(now, acked, in_flight, &delivery);
        (acked > 0, slowed)
    }

    /// SND.WND follows the newest segment (RFC 9293 section 3.10.7.4). One that acknowledges more is newer than all before, also if
    /// it repeats older data: else the old window, counted from the new SND.UNA, would reach further than was promised.
    fn update_window(&mut self, now: Instant, segment: &Segment<'_>, window: u32) {
        let snd = &mut self.snd;
        let is_newer =
            snd.una.lt(segment.ack) || snd.wl1.lt(segment.seq) || (snd.wl1 == segment.seq && snd.wl2.le(segment.ack));
        if !is_newer || segment.ack.lt(snd.una) {
            return;
        }
        let was_closed = snd.wnd == 0;
        (snd.wnd, snd.wl1, snd.wl2) = (window, snd.wl1.max(segment.seq), segment.ack);
        snd.max_wnd = snd.max_wnd.max(window);
        if was_closed && window > 0 {
            self.timers.persist = None;
            self.rtt.backoff = 0;
            self.note_answer(now);
        }
    }

    /// SND.UNA moves.
    fn advance(
        &mut self,
        now: Instant,
        segment: &Segment<'_>,
        acked: u32,
        content: &mut impl Content,
        delivery: &mut Delivery,
    ) {
        let fin = if self.snd.fin_sent() { self.snd.data_end() } else { None };
        let fin_acked = fin.is_some_and(|fin| fin.lt(segment.ack));
        self.release(acked - u32::from(fin_acked), content);
        self.snd.una = segment.ack;
        self.snd.small = self.snd.small.filter(|small| segment.ack.lt(*small));
        self.snd.urgent = self.snd.urgent.filter(|up| segment.ack.lt(*up));
        self.confirm_size();
        self.sample_rtt(now, segment);
        self.note_answer(now);
        self.rec.sent.acknowledge(segment.ack, |len, run| delivery.note(len, run));
        if self.unacknowledged() == 0 {
            self.timers.retransmit = None;
        } else {
            self.arm_retransmit(now);
        }
        if fin_acked {
            self.snd.fin = false;
            match self.state {
                State::FinWait1 => {
                    self.state = State::FinWait2;
                    self.arm_fin_wait_2(now);
                }
                State::Closing => self.enter_time_wait(),
                State::LastAck => self.finish(CloseReason::Finished),
                _ => {}
            }
        }
    }

    fn sample_rtt(&mut self, now: Instant, segment: &Segment<'_>) {
        if let Some((seq, at)) = self.timed {
            if seq.le(segment.ack) {
                self.timed = None;
                self.rtt.sample(now.since(at));
            }
        } else if !self.rec.is_open() {
            self.sample_timestamp(now, segment);
        }
    }

    /// Nothing is timed after a retransmission; the timestamp still tells which sending was answered.
    fn sample_timestamp(&mut self, now: Instant, segment: &Segment<'_>) {
        if let Some(ts) = segment.options.timestamps.filter(|_| self.opts.timestamps) {
            let ms = self.tsval(now).wrapping_sub(ts.ecr);
            if ms < 1 << 20 {
                self.rtt.sample(Duration::from_millis(u64::from(ms)));
            }
        }
    }

    /// Takes the segment's SACK blocks. True if they say something new.
    fn note_sack(&mut self, segment: &Segment<'_>, delivery: &mut Delivery) -> bool {
        if !self.opts.sack || segment.options.sack.is_empty() {
            return false;
        }
        let mut is_new = false;
        for &(left, right) in &segment.options.sack {
            // One at or below SND.UNA is a duplicate's report (RFC 2883).
            if self.snd.una.lt(left) && left.lt(right) && right.le(self.snd.nxt) {
                is_new |= self.rec.sent.sack(left, right, |len, run| delivery.note(len, run));
            }
        }
        is_new
    }

    /// Seventh, process the segment text. True if there are new bytes to read.
    fn process_text(&mut self, now: Instant, segment: &Segment<'_>, outcome: &mut Outcome) -> Result<bool, DropReason> {
        if segment.payload.is_empty() {
            return Ok(false);
        }
        let skip = usize::try_from(self.rcv.nxt.since(segment.seq)).unwrap_or(usize::MAX);
        let seq = segment.seq.max(self.rcv.nxt);
        // Nothing comes behind the window, and nothing behind FIN.
        let end = self.rcv.fin.map_or(self.rcv.edge, |fin| fin.min(self.rcv.edge));
        let room = usize::try_from(end.since(seq)).unwrap_or(0);
        let text = segment.payload.get(skip..).unwrap_or_default();
        if text.len() > room || text.is_empty() {
            self.ack_now = true;
        }
        let text = &text[..text.len().min(room)];
        if text.is_empty() {
            return Err(DropReason::OutOfWindow);
        }
        outcome.marked = self.note_mark(segment);
        if skip > 0 && self.opts.sack {
            self.dsack = Some((segment.seq, self.rcv.nxt));
        }
        if seq != self.rcv.nxt {
            self.ack_now = true;
            return self.insert_out_of_order(seq, text).map(|()| false);
        }
        self.rcv.buffer.extend_from_slice(text);
        self.rcv.nxt += u32::try_from(text.len()).unwrap_or(0);
        if self.rcv.out_of_order.is_empty() {
            self.delay_ack(now, text.len());
        } else {
            self.pull_out_of_order();
            self.ack_now = true;
        }
        self.tune_window(now, segment);
        Ok(true)
    }

    /// Acknowledges every second full segment at once, anything else a little later.
    fn delay_ack(&mut self, now: Instant, len: usize) {
        // A full segment may be shorter than what we take: the way to here may not carry as much.
        let is_full = len >= usize::from(self.opts.rcv_mss) / 2;
        self.unacked_segments = self.unacked_segments.saturating_add(1);
        let is_due = self.unacked_segments >= SEGMENTS_PER_ACK && (is_full || self.unacked_segments > SEGMENTS_PER_ACK);
        if is_due || self.config.delayed_ack().is_zero() {
            self.ack_now = true;
        } else if self.timers.delayed_ack.is_none() {
            self.timers.delayed_ack = Some(now + self.config.delayed_ack());
        }
    }

    fn insert_out_of_order(&mut self, seq: SeqNum, text: &[u8]) -> Result<(), DropReason> {
        let ranges = &mut self.rcv.out_of_order;
        let end_of = |range: &(SeqNum, alloc::vec::Vec<u8>)| range.0 + u32::try_from(range.1.len()).unwrap_or(0);
        let end = seq + u32::try_from(text.len()).unwrap_or(0);
        let first = ranges.iter().position(|range| seq.le(end_of(range))).unwrap_or(ranges.len());
        let mut last = first;
        while ranges.get(last).is_some_and(|range| range.0.le(end)) {
            last += 1;
        }
        // What of it was there already is reported (RFC 2883 section 4).
        let there = ranges.get(first).map(|range| (seq.max(range.0), end.min(end_of(range))));
        if let Some((left, right)) = there.filter(|(left, right)| self.opts.sack && left.lt(*right)) {
            self.dsack = Some((left, right));
        }
        if first == last {
            if ranges.len() >= OUT_OF_ORDER_RANGES_MAX {
                return Err(DropReason::OutOfOrderLimit);
            }
            ranges.insert(first, (seq, text.to_vec()));
        } else {
            // Joins what it touches. What is there already stays; mostly the text goes behind it.
            let (start, range) = &mut ranges[first];
            let before = usize::try_from(start.since(seq)).unwrap_or(0).min(text.len());
            if before > 0 {
                range.splice(..0, text[..before].iter().copied());
                *start = seq;
            }
            let start = *start;
            for next in first + 1..=last {
                // The text fills up to the next range, or goes on to its own end.
                let stop = ranges.get(next).filter(|_| next < last).map_or(end, |(seq, _)| *seq);
                let (_, range) = &mut ranges[first];
                let have = start + u32::try_from(range.len()).unwrap_or(0);
                let from = usize::try_from(have.since(seq)).unwrap_or(usize::MAX);
                let upto = usize::try_from(stop.since(seq)).unwrap_or(0);
                range.extend_from_slice(text.get(from..upto).unwrap_or_default());
                if next < last {
                    let bytes = core::mem::take(&mut ranges[next].1);
                    ranges[first].1.extend_from_slice(&bytes);
                }
            }
            ranges.drain(first + 1..last);
        }
        self.rcv.latest = seq;
        Ok(())
    }

    /// Moves what has become in order to the buffer.
    fn pull_out_of_order(&mut self) {
        let rcv = &mut self.rcv;
        let mut taken = 0;
        for (seq, bytes) in &rcv.out_of_order {
            if rcv.nxt.lt(*seq) {
                break;
            }
            let skip = usize::try_from(rcv.nxt.since(*seq)).unwrap_or(usize::MAX);
            if let Some(rest) = bytes.get(skip..) {
                rcv.buffer.extend_from_slice(rest);
                rcv.nxt += u32::try_from(rest.len()).unwrap_or(0);
            }
            taken += 1;
        }
        rcv.out_of_order.drain(..taken);
        if rcv.out_of_order.is_empty() {
            rcv.out_of_order = alloc::vec::Vec::new();
        }
    }

    /// Eighth, check the FIN bit.
    fn process_fin(&mut self, segment: &Segment<'_>) {
        if segment.flags.has(Flags::FIN) {
            let fin = segment.seq + u32::try_from(segment.payload.len()).unwrap_or(0);
            if self.rcv.fin.is_none() && self.rcv.nxt.le(fin) && fin.le(self.rcv.edge) {
                self.rcv.fin = Some(fin);
                self.drop_behind(fin);
            }
            self.ack_now = true;
        }
        if self.rcv.fin != Some(self.rcv.nxt) {
            return;
        }
        self.rcv.nxt += 1;
        self.rcv.edge = self.rcv.edge.max(self.rcv.nxt);
        self.settle_urgent();
        self.ack_now = true;
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(),
            _ => {}
        }
    }

    /// Forgets out-of-order bytes behind FIN, from a peer that changes its mind.
    fn drop_behind(&mut self, fin: SeqNum) {
        self.rcv.out_of_order.retain(|(seq, _)| seq.lt(fin));
        if let Some((seq, bytes)) = self.rcv.out_of_order.last_mut() {
            bytes.truncate(usize::try_from(fin.since(*seq)).unwrap_or(usize::MAX));
        }
    }

    fn enter_time_wait(&mut self) {
        self.state = State::TimeWait;
        self.timers = super::timers::Timers::default();
        self.closed = Some(CloseReason::Finished);
    }
}
