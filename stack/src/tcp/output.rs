//! Segments that leave. One call, one segment: reset, SYN or SYN-ACK, what is lost, what is new, probe, acknowledgment.

use arrayvec::ArrayVec;

use super::content::{Content, Place};
use super::rack::Probe;
use super::recovery::{DUP_THRESH, Phase};
use super::segment::{Flags, HEADER_LEN, Options, SACK_BLOCKS_MAX, Segment, Timestamps};
use super::seq::SeqNum;
use super::tcb::{CloseReason, State, Tcb};
use crate::ecn::Ecn;
use crate::time::{Duration, Instant};

/// How long [`TcpConfig::cork`](super::TcpConfig::cork) holds back a short segment, as in Linux.
pub const CORK_MAX: Duration = Duration::from_millis(200);

/// A segment that is to be sent now. It is to be written before anything else happens to the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Due(Next);

/// What the next segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Reset,
    Syn,
    SynAck,
    /// Bytes from here, this many, and FIN behind them; sent before or not.
    Data {
        seq: SeqNum,
        len: u32,
        fin: bool,
        again: bool,
    },
    Probe,
    Ack,
}

/// A segment that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Written {
    /// Its length in bytes; zero: there was nothing to be sent.
    pub len: usize,
    /// What the IP header is to say of congestion.
    pub ecn: Ecn,
}

impl Tcb {
    /// Whether [`Tcb::poll_transmit`] would write a segment.
    #[must_use]
    pub fn wants_transmit(&self, now: Instant) -> bool {
        self.next_segment(now).is_some()
    }

    /// The segment that [`Tcb::poll_transmit`] would write, for [`Tcb::transmit`]: who has to find a buffer first does not decide twice.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Due> {
        self.next_segment(now).map(Due)
    }

    /// Writes one segment into `buf`, header and payload, checksum zero, if one is to be sent now. `buf` has room for a packet of
    /// [`Tcb::mtu`] bytes without its IP header.
    pub fn poll_transmit(&mut self, now: Instant, content: &mut impl Content, buf: &mut [u8]) -> Written {
        match self.due(now) {
            Some(due) => self.transmit(now, due, content, buf),
            None => Written { len: 0, ecn: Ecn::NotEct },
        }
    }

    /// Writes what is due, as [`Tcb::poll_transmit`] does.
    pub fn transmit(&mut self, now: Instant, Due(next): Due, content: &mut impl Content, buf: &mut [u8]) -> Written {
        let is_new = matches!(next, Next::Data { len: 1.., again: false, .. });
        let len = match next {
            Next::Reset => {
                self.control_now = false;
                self.write_reset(buf)
            }
            Next::Syn => {
                self.control_now = false;
                self.ts.last = self.tsval(now);
                let offer = if self.opts.ecn { Flags::ECE.with(Flags::CWR) } else { Flags::default() };
                Segment { flags: Flags::SYN.with(offer), ack: SeqNum(0), ..self.syn_ack(now) }.emit(buf)
            }
            Next::SynAck => {
                self.control_now = false;
                self.ack_now = false;
                self.ts.last = self.tsval(now);
                self.syn_ack(now).emit(buf)
            }
            Next::Data { seq, len, fin, again } => self.write_data(now, (seq, len, fin, again), content, buf),
            Next::Probe => {
                self.probe_now = false;
                self.check_stall(now);
                // An old number: the peer answers with where it is (RFC 9293 section 3.8.4).
                self.write(now, self.snd.una - 1, Flags::ACK, 0, buf)
            }
            Next::Ack => self.write(now, self.snd.nxt, Flags::ACK, 0, buf),
        };
        // New data alone (RFC 3168 section 6.1.5), and not the reset of a connection whose bytes are lost.
        let is_capable = is_new && self.opts.ecn && self.state != State::Closed;
        Written { len, ecn: if is_capable { Ecn::Ect0 } else { Ecn::NotEct } }
    }

    fn next_segment(&self, _now: Instant) -> Option<Next> {
        if self.control_now {
            return Some(match self.state {
                State::Closed => Next::Reset,
                State::SynSent => Next::Syn,
                _ => Next::SynAck,
            });
        }
        match self.state {
            State::Closed | State::SynSent => return None,
            State::SynReceived | State::TimeWait => return self.ack_now.then_some(Next::Ack),
            _ => {}
        }
        let data = self.next_probe().or_else(|| self.next_data());
        data.or_else(|| if self.probe_now { Some(Next::Probe) } else { self.ack_now.then_some(Next::Ack) })
    }

    /// The next segment with data or FIN, if the windows allow one.
    fn next_data(&self) -> Option<Next> {
        let mss = self.mss();
        let pipe = self.pipe();
        if let Some((start, end)) = self.rec.sent.first_lost() {
            if !self.rec.force && pipe + mss.min(end.since(start)) > self.cc.cwnd {
                return None;
            }
            let fin_at = if self.snd.fin_sent() { self.snd.data_end() } else { None };
            let data_end = fin_at.map_or(end, |fin| end.min(fin));
            let len = self.local_run(start, data_end.since(start).min(mss));
            let fin = fin_at.is_some_and(|fin| start + len == fin && fin.lt(end));
            if len == 0 && !fin {
                return None;
            }
            return Some(Next::Data { seq: start, len, fin, again: true });
        }
        self.next_new(mss, pipe)
    }

    fn next_new(&self, mss: u32, pipe: u32) -> Option<Next> {
        let snd = &self.snd;
        let unsent = snd.unsent();
        let fin_unsent = snd.fin && !snd.fin_sent();
        if unsent == 0 && !fin_unsent {
            return None;
        }
        let in_flight = self.unacknowledged();
        let edge = snd.una + snd.wnd.min(self.config.in_flight_bytes_max);
        let window = edge.since(snd.nxt);
        let congestion = self.cc.cwnd.saturating_sub(pipe);
        let wanted = u32::try_from(unsent.min(u64::from(mss))).unwrap_or(mss);
        let possible = wanted.min(window);
        let len = self.local_run(snd.nxt, possible);
        let fin = fin_unsent && u64::from(len) == unsent;
        if len == 0 {
            // FIN alone; it may also go out into a closed window, as a probe of it would.
            return (fin && unsent == 0).then_some(Next::Data { seq: snd.nxt, len, fin, again: false });
        }
        // Sender's SWS avoidance (RFC 9293 section 3.8.6.2.1): a full segment; or all there is, or a good part of the greatest
        // window, if that is not to wait for more; or the override timeout is over.
        let is_all = u64::from(len) == unsent;
        let is_part = || (is_all || len >= snd.max_wnd / 2) && (fin || !self.holds_back(is_all));
        let is_worth = len == mss || is_part() || len < possible || self.probe_now;
        let fits = len <= congestion || in_flight == 0;
        if !is_worth || !fits {
            return None;
        }
        Some(Next::Data { seq: snd.nxt, len, fin, again: false })
    }

    /// Whether a short segment waits. With Nagle's algorithm it waits for the last short one, not for all that is in flight
    /// (Minshall's variation, as in Linux): the end of a long write does not wait for a delayed acknowledgment. `is_all`: what is queued
    /// makes it short, not the window.
    fn holds_back(&self, is_all: bool) -> bool {
        (self.config.nagle && self.snd.small.is_some()) || (self.config.cork && is_all)
    }

    /// Whether nothing but the application's wish holds back what is queued.
    pub(crate) fn is_corked(&self) -> bool {
        let (snd, mss) = (&self.snd, self.mss());
        let window = (snd.una + snd.wnd.min(self.config.in_flight_bytes_max)).since(snd.nxt);
        self.config.cork && snd.unsent() < u64::from(mss) && snd.unsent() <= u64::from(window)
    }

    /// The tail loss probe (RFC 8985 section 7.3): the next new segment, where the peer has room for it and whatever the
    /// congestion window says; else the last one once more.
    fn next_probe(&self) -> Option<Next> {
        let (snd, mss) = (&self.snd, self.mss());
        let (old, len, fin) = self.probe_again()?;
        let unsent = snd.unsent();
        let wanted = u32::try_from(unsent.min(u64::from(mss))).unwrap_or(mss);
        let edge = snd.una + snd.wnd.min(self.config.in_flight_bytes_max);
        if wanted > 0 && wanted <= edge.since(snd.nxt) && self.local_run(snd.nxt, wanted) == wanted {
            let fin = snd.fin && u64::from(wanted) == unsent;
            return Some(Next::Data { seq: snd.nxt, len: wanted, fin, again: false });
        }
        (self.local_run(old, len) == len).then_some(Next::Data { seq: old, len, fin, again: true })
    }

    /// Where the last segment begins, how many bytes it has, and whether FIN: what a probe that is due would send again.
    pub(crate) fn probe_again(&self) -> Option<(SeqNum, u32, bool)> {
        if self.rec.probe != Probe::Due || self.unacknowledged() == 0 {
            return None;
        }
        let (snd, fin) = (&self.snd, self.snd.fin_sent());
        let data_end = if fin { snd.nxt - 1 } else { snd.nxt };
        let len = data_end.since(snd.una).min(self.mss());
        Some((data_end - len, len, fin))
    }

    /// Bytes in flight, as far as we know.
    fn pipe(&self) -> u32 {
        let pipe = self.rec.sent.pipe();
        if self.opts.sack {
            return pipe;
        }
        // Each duplicate says that a segment has left the network (RFC 6582). The first two let out what is new (RFC 3042).
        let left = match self.rec.phase {
            Phase::Open => self.rec.dup_acks.min(DUP_THRESH - 1),
            Phase::Fast(_) => self.rec.dup_acks,
            Phase::Timeout(_) => 0,
        };
        pipe.saturating_sub(u32::from(left) * self.mss())
    }

    /// How many bytes from `seq` on, at most `most`, are in this node's store. What an earlier owner keeps cannot be sent from
    /// here.
    fn local_run(&self, seq: SeqNum, most: u32) -> u32 {
        self.snd.queue.local_run(u64::from(seq.since(self.snd.una)), most)
    }

    fn write_data(
        &mut self,
        now: Instant,
        (seq, len, fin, again): (SeqNum, u32, bool, bool),
        content: &mut impl Content,
        buf: &mut [u8],
    ) -> usize {
        self.restart_if_idle(now);
        let mut flags = Flags::ACK;
        if fin {
            flags = flags.with(Flags::FIN);
        }
        // FIN alone pushes nothing.
        if len > 0 && seq + len == self.snd.data_end().unwrap_or(seq) {
            flags = flags.with(Flags::PSH);
        }
        let options = self.options(now);
        let header = HEADER_LEN + options.len();
        // SACK blocks beside data take from its room.
        let room = buf.len().min(usize::from(self.snd_mss()) + HEADER_LEN).saturating_sub(header);
        let full = usize::try_from(len).unwrap_or(0);
        let n = full.min(room);
        if n < full {
            flags = Flags::ACK;
        }
        if !again && n > 0 && core::mem::take(&mut self.signals.cwr) {
            flags = flags.with(Flags::CWR);
        }
        let Some(payload) = buf.get_mut(header..header + n).filter(|_| n > 0 || full == 0) else { return 0 };
        if self.read(seq, content, payload).is_err() {
            self.abort_for(CloseReason::ContentLost);
            self.control_now = false;
            return self.write_reset(buf);
        }
        let sent = u32::try_from(n).unwrap_or(0) + u32::from(flags.has(Flags::FIN));
        self.note_sent(now, seq, sent, again);
        // What SACK blocks have made short is not, and a lone FIN is nothing that more could join.
        if self.config.nagle && !again && (1..self.mss()).contains(&len) {
            self.snd.small = Some(self.snd.nxt);
        }
        self.note_size(seq + sent, header + n);
        self.write_with(now, seq, flags, options, n, buf)
    }

    /// What was sent moves SND.NXT or the retransmission pointer, and starts the timer.
    fn note_sent(&mut self, now: Instant, seq: SeqNum, sent: u32, again: bool) {
        if again {
            self.note_sent_again(seq, self.tsval(now), sent);
            self.rec.sent.resent(seq, seq + sent, now);
            self.rec.force = false;
            self.timed = None;
            if seq == self.snd.una {
                // What the timer waits for has left only now (RFC 6675 section 6): acknowledgments of what lies behind it have shown
                // that an earlier repetition was lost, and a round trip goes by until this one is answered.
                self.arm_retransmit(now);
            }
        } else {
            self.snd.nxt = seq + sent;
            self.rec.sent.push(self.snd.nxt, now);
            if self.timed.is_none() && self.rec.is_open() {
                self.timed = Some((self.snd.nxt, now));
            }
        }
        if matches!(self.rec.phase, Phase::Fast(_)) {
            self.rec.prr.out = self.rec.prr.out.saturating_add(sent);
        }
        if self.timers.retransmit.is_none() {
            self.arm_retransmit(now);
            if !self.is_probing() {
                self.waiting_since = now;
            }
        }
        self.timers.persist = None;
        self.probe_now = false;
        self.sent_at = now;
        if self.rec.probe == Probe::Due {
            self.rec.probe = Probe::Sent { end: self.snd.nxt, is_again: again };
        }
        self.arm_probe(now);
    }

    /// Reads the bytes at `seq` from where the extents say they are.
    fn read(&self, seq: SeqNum, content: &mut impl Content, mut buf: &mut [u8]) -> Result<(), super::ContentLost> {
        for extent in self.snd.queue.from(u64::from(seq.since(self.snd.una))) {
            if buf.is_empty() {
                break;
            }
            let n = buf.len().min(usize::try_from(extent.len).unwrap_or(usize::MAX));
            let (now, later) = buf.split_at_mut(n);
            let Place::Local { source, offset } = extent.place else { return Err(super::ContentLost) };
            content.read(source, offset, now)?;
            buf = later;
        }
        if buf.is_empty() { Ok(()) } else { Err(super::ContentLost) }
    }

    /// The options of every segment but the SYN.
    fn options(&self, now: Instant) -> Options {
        let timestamps = self.opts.timestamps.then(|| Timestamps { val: self.tsval(now), ecr: self.ts.recent });
        Options { timestamps, sack: self.sack_blocks(), ..Options::default() }
    }

    /// SACK blocks: a duplicate first (RFC 2883), then the range that came last, then those that were told last (RFC 2018 section 4):
    /// where bytes come in order but for holes, that is those before it and then the highest, downwards.
    fn sack_blocks(&self) -> ArrayVec<(SeqNum, SeqNum), SACK_BLOCKS_MAX> {
        let mut blocks = ArrayVec::new();
        if !self.opts.sack || (self.rcv.out_of_order.is_empty() && self.dsack.is_none()) {
            return blocks;
        }
        let most = if self.opts.timestamps { SACK_BLOCKS_MAX - 1 } else { SACK_BLOCKS_MAX };
        blocks.extend(self.dsack);
        let ranges = &self.rcv.out_of_order;
        let behind = ranges.partition_point(|(seq, _)| seq.le(self.rcv.latest));
        let (before, after) = ranges.split_at(behind);
        let room = most - blocks.len();
        blocks.extend(before.iter().rev().chain(after.iter().rev()).take(room).map(|(seq, bytes)| {
            let end = *seq + u32::try_from(bytes.len()).unwrap_or(0);
            (*seq, end)
        }));
        blocks
    }

    fn write(&mut self, now: Instant, seq: SeqNum, flags: Flags, len: usize, buf: &mut [u8]) -> usize {
        let options = self.options(now);
        self.write_with(now, seq, flags, options, len, buf)
    }

    /// Writes the header in front of `len` bytes of payload that stand in their place.
    fn write_with(
        &mut self,
        now: Instant,
        seq: SeqNum,
        flags: Flags,
        options: Options,
        len: usize,
        buf: &mut [u8],
    ) -> usize {
        let scale = if self.opts.snd_scale.is_some() { self.opts.rcv_scale } else { 0 };
        // Rounded up: rounded down, the edge that was promised before could go back. Before the handshake is complete it must not
        // go further than a SYN-ACK that is sent again can say.
        let unit = 1 << scale;
        let round = if self.is_synchronized() { unit - 1 } else { 0 };
        let window = ((self.window_to_offer() + round) / unit).min(0xffff);
        self.rcv.edge = self.rcv.edge.max(self.rcv.nxt + (window << scale));
        let flags = if self.signals.echo { flags.with(Flags::ECE) } else { flags };
        let (flags, urgent) = self.urgent_field(seq, flags);
        let header = Segment {
            src_port: self.flow.vip.port,
            dst_port: self.flow.client.port,
            seq,
            ack: self.rcv.nxt,
            flags,
            window: u16::try_from(window).unwrap_or(u16::MAX),
            urgent,
            options,
            payload: &[],
            ecn: Ecn::NotEct,
        };
        self.ts.last_ack_sent = self.rcv.nxt;
        (self.ack_now, self.unacked_segments, self.dsack) = (false, 0, None);
        self.timers.delayed_ack = None;
        self.ts.last = self.tsval(now);
        let written = header.emit(buf);
        if written == 0 { 0 } else { written + len }
    }

    /// The SYN-ACK, as it would be sent now.
    pub(crate) fn syn_ack(&self, now: Instant) -> Segment<'static> {
        let timestamps = self.opts.timestamps.then(|| Timestamps { val: self.tsval(now), ecr: self.ts.recent });
        let options = Options {
            mss: Some(self.opts.rcv_mss),
            window_scale: self.opts.snd_scale.map(|_| self.opts.rcv_scale),
            sack_permitted: self.opts.sack,
            timestamps,
            sack: ArrayVec::new(),
        };
        // The window of a SYN is never scaled (RFC 7323 section 2.2).
        let window = u16::try_from(self.offered()).unwrap_or(u16::MAX);
        Segment {
            src_port: self.flow.vip.port,
            dst_port: self.flow.client.port,
            seq: self.snd.iss,
            ack: self.rcv.nxt,
            flags: if self.opts.ecn {
                Flags::SYN.with(Flags::ACK).with(Flags::ECE)
            } else {
                Flags::SYN.with(Flags::ACK)
            },
            window,
            urgent: 0,
            options,
            payload: &[],
            ecn: Ecn::NotEct,
        }
    }

    fn write_reset(&self, buf: &mut [u8]) -> usize {
        let reset = Segment {
            src_port: self.flow.vip.port,
            dst_port: self.flow.client.port,
            seq: self.snd.nxt,
            ack: self.rcv.nxt,
            flags: Flags::RST.with(Flags::ACK),
            window: 0,
            urgent: 0,
            options: Options::default(),
            payload: &[],
            ecn: Ecn::NotEct,
        };
        reset.emit(buf)
    }

    /// Whether there is something to send, nothing in flight, and no window for it, or one too small to be worth it.
    fn is_stalled(&self) -> bool {
        self.is_synchronized() && self.unacknowledged() == 0 && self.snd.unsent() > 0 && self.next_data().is_none()
    }

    /// Starts the persist timer when the window has closed on what is queued (RFC 9293 section 3.8.6.1), or is too small to be
    /// worth a segment (section 3.8.6.2.1, the override timeout), or the application holds it back. To be called whenever something changed.
    pub fn check_stall(&mut self, now: Instant) {
        if self.timers.persist.is_none() && !self.probe_now && self.is_stalled() {
            let most = if self.is_corked() { CORK_MAX } else { self.rtt.rto(&self.config) };
            self.timers.persist = Some(now + most);
            if self.unanswered == 0 {
                self.waiting_since = now;
            }
        }
    }
}
