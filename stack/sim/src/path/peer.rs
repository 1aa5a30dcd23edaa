//! The other end: a small TCP that does what a test tells it to.
//!
//! It receives as RFC 9293, 2018, 2883, 5681 and 7323 ask: it keeps what comes out of order, tells of it in SACK blocks with
//! the newest first, tells of duplicates, acknowledges every second segment, what is out of order at once, and a lone segment
//! after [`PeerSettings::ack_delay`]. It sends as simply as is allowed: one timer, and all again from SND.UNA when that runs out.
//! Nothing of it but headers is shared with what it talks to.

use baton_stack::addr::Flow;
use baton_stack::ecn::Ecn;
use baton_stack::tcp::{Flags, Options, Segment, SeqNum, Timestamps};
use baton_stack::time::{Duration, Instant, earliest};
use baton_stack::wire::Envelope;

use crate::content;
use crate::frame::SimFrame;

const IRS: SeqNum = SeqNum(u32::MAX - 3);
const SCALE: u8 = 8;
const HEADERS_LEN_MAX: usize = 120;
const MSS: u16 = 1_460;
/// Three blocks fit beside timestamps.
const SACK_BLOCKS_MAX: usize = 3;
/// Bytes that it has in flight at the most.
const IN_FLIGHT_MAX: u64 = 65_536;

/// What a peer may differ in.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerSettings {
    /// The receive buffer, in bytes.
    pub buffer: u64,
    pub timestamps: bool,
    pub ack_delay: Duration,
    /// Before anything is sent again, the first time.
    pub rto: Duration,
    /// Whose bytes it must hear: the content of this seed.
    pub seed: u64,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            buffer: 4 << 20,
            timestamps: true,
            ack_delay: Duration::from_millis(40),
            rto: Duration::from_millis(400),
            seed: 1,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Its SYN is not sent.
    Waiting,
    SynSent,
    Open,
}

/// The peer. Places in either stream count from its first byte.
#[derive(Debug)]
pub(super) struct Peer {
    settings: PeerSettings,
    phase: Phase,
    // Receiving.
    host_iss: SeqNum,
    /// Everything before has come.
    next: u64,
    /// How much of it was read; the window is counted from here.
    read: u64,
    /// Whether it reads what comes.
    pub(super) reads: bool,
    /// What has come above `next`, the newest first.
    ranges: Vec<(u64, u64)>,
    dsack: Option<(u64, u64)>,
    fin_at: Option<u64>,
    /// Data segments since the last acknowledgment.
    unacked: u32,
    ack_now: bool,
    ack_at: Option<Instant>,
    ts_recent: u32,
    // Sending.
    /// What it has to say.
    said: Vec<u8>,
    una: u64,
    nxt: u64,
    /// Whether FIN follows, and whether that is acknowledged.
    finishes: bool,
    fin_acked: bool,
    window: u64,
    scale: u8,
    again_at: Option<Instant>,
    backoff: u32,
    /// One byte goes into a closed window.
    probe_now: bool,
    /// The connection was reset.
    pub(super) is_reset: bool,
    pub(super) segments: u64,
}

impl Peer {
    pub(super) const fn new(settings: PeerSettings) -> Self {
        Self {
            settings,
            phase: Phase::Waiting,
            host_iss: SeqNum(0),
            next: 0,
            read: 0,
            reads: true,
            ranges: Vec::new(),
            dsack: None,
            fin_at: None,
            unacked: 0,
            ack_now: false,
            ack_at: None,
            ts_recent: 0,
            said: Vec::new(),
            una: 0,
            nxt: 0,
            finishes: false,
            fin_acked: false,
            window: 0,
            scale: 0,
            again_at: None,
            backoff: 0,
            probe_now: false,
            is_reset: false,
            segments: 0,
        }
    }

    /// How many bytes have come in order.
    pub(super) const fn heard(&self) -> u64 {
        self.next
    }

    /// Whether the handshake is done.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the other side's FIN has come, and all before it.
    pub(super) fn has_heard_fin(&self) -> bool {
        self.fin_at == Some(self.next)
    }

    /// Whether everything that it said is acknowledged, its FIN too if there is one.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.una == self.said.len() as u64 && self.fin_acked == self.finishes
    }

    /// Whether what has come has a hole.
    pub(super) const fn has_hole(&self) -> bool {
        !self.ranges.is_empty()
    }

    pub(super) fn say(&mut self, bytes: &[u8]) {
        assert!(!self.finishes, "it has said its last byte");
        self.said.extend_from_slice(bytes);
    }

    pub(super) const fn finish(&mut self) {
        self.finishes = true;
    }

    /// Reads again, and says so.
    pub(super) const fn resume(&mut self) {
        (self.reads, self.read, self.ack_now) = (true, self.next, true);
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        let first = if self.phase == Phase::Waiting { Some(Instant::ZERO) } else { None };
        earliest(first, earliest(self.ack_at, self.again_at))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.phase == Phase::Waiting {
            self.phase = Phase::SynSent;
            self.again_at = Some(now);
        }
        if self.ack_at.is_some_and(|at| at <= now) {
            self.ack_now = true;
        }
        if self.again_at.is_some_and(|at| at <= now) && self.phase == Phase::Open {
            // All again; from `poll_transmit`, which sets the timer anew.
            self.nxt = self.una;
            self.again_at = None;
            self.probe_now = self.window == 0;
            self.backoff += 1;
        }
    }

    pub(super) fn handle_segment(&mut self, now: Instant, segment: &Segment<'_>) {
        self.segments += 1;
        if segment.flags.has(Flags::RST) {
            self.is_reset = true;
            return;
        }
        if segment.flags.has(Flags::SYN) {
            if self.phase == Phase::SynSent {
                self.phase = Phase::Open;
                self.host_iss = segment.seq;
                self.scale = segment.options.window_scale.unwrap_or(0);
                self.ts_recent = segment.options.timestamps.map_or(0, |ts| ts.val);
                (self.again_at, self.backoff) = (None, 0);
            }
            // Also where ours was lost.
            self.ack_now = true;
            self.window = u64::from(segment.window);
            return;
        }
        if self.phase != Phase::Open {
            return;
        }
        self.take_ack(segment);
        self.take_data(now, segment);
        if let Some(ts) = segment.options.timestamps
            && self.place(segment.seq) <= Some(self.next)
            && SeqNum(self.ts_recent).le(SeqNum(ts.val))
        {
            self.ts_recent = ts.val;
        }
    }

    fn take_ack(&mut self, segment: &Segment<'_>) {
        // Zero for an old one.
        let acked = u64::from(segment.ack.since(IRS + 1 + wrapping(self.una)));
        let fin = u64::from(self.finishes);
        assert!(self.una + acked <= self.said.len() as u64 + fin, "what was never sent is acknowledged");
        let una = (self.una + acked).min(self.said.len() as u64);
        self.fin_acked |= self.finishes && self.una + acked > self.said.len() as u64;
        if una > self.una || self.fin_acked {
            (self.una, self.nxt, self.backoff) = (una, self.nxt.max(una), 0);
            self.again_at = None;
        }
        self.window = u64::from(segment.window) << self.scale;
    }

    /// A place in what the host says; `None` before its first byte.
    fn place(&self, seq: SeqNum) -> Option<u64> {
        let next = self.host_iss + 1 + wrapping(self.next);
        match seq.distance_from(next) {
            Some(ahead) => Some(self.next + u64::from(ahead)),
            None => self.next.checked_sub(u64::from(next.since(seq))),
        }
    }

    fn take_data(&mut self, now: Instant, segment: &Segment<'_>) {
        let Some(at) = self.place(segment.seq) else {
            // A keepalive probe before any byte.
            self.ack_now = true;
            return;
        };
        let end = at + segment.payload.len() as u64;
        let wrong = content::first_difference(self.settings.seed, at, segment.payload);
        assert_eq!(wrong, None, "the peer hears a wrong byte in {at}..{end}");
        if segment.flags.has(Flags::FIN) {
            assert!(self.fin_at.is_none_or(|fin| fin == end), "FIN has moved");
            self.fin_at = Some(end);
            self.ack_now = true;
        }
        if segment.payload.is_empty() {
            // A probe of what has been acknowledged long ago.
            self.ack_now |= at < self.next;
            return;
        }
        assert!(self.fin_at.is_none_or(|fin| end <= fin), "bytes behind FIN");
        let is_known = end <= self.next || self.ranges.iter().any(|(from, to)| *from <= at && end <= *to);
        if is_known {
            self.dsack = Some((at, end));
            self.ack_now = true;
            return;
        }
        if end > self.read + self.settings.buffer {
            // Behind the window: a probe, or a mistake.
            self.ack_now = true;
            return;
        }
        if at > self.next {
            self.keep(at, end);
            self.ack_now = true;
            return;
        }
        let had_hole = self.has_hole();
        self.next = end;
        while let Some(n) = self.ranges.iter().position(|(from, _)| *from <= self.next) {
            self.next = self.next.max(self.ranges.remove(n).1);
        }
        if self.reads {
            self.read = self.next;
        }
        self.unacked += 1;
        if had_hole || self.unacked >= 2 {
            self.ack_now = true;
        } else if self.ack_at.is_none() {
            self.ack_at = Some(now + self.settings.ack_delay);
        }
    }

    /// Keeps a range above `next`, and makes it the newest.
    fn keep(&mut self, mut at: u64, mut end: u64) {
        self.ranges.retain(|(from, to)| {
            let touches = *from <= end && at <= *to;
            if touches {
                (at, end) = (at.min(*from), end.max(*to));
            }
            !touches
        });
        self.ranges.insert(0, (at, end));
    }

    /// The next frame that may leave now.
    pub(super) fn poll_transmit(&mut self, now: Instant, flow: &Flow, envelope: &Envelope) -> Option<SimFrame> {
        match self.phase {
            Phase::Waiting => None,
            Phase::SynSent => {
                if self.again_at.is_some_and(|at| at > now) {
                    return None;
                }
                self.again_at = Some(now + Duration::from_secs(1));
                Some(self.emit(now, flow, envelope, Flags::SYN, IRS, &[]))
            }
            Phase::Open => self.poll_open(now, flow, envelope),
        }
    }

    fn poll_open(&mut self, now: Instant, flow: &Flow, envelope: &Envelope) -> Option<SimFrame> {
        let end = self.said.len() as u64;
        let window = self.window.min(IN_FLIGHT_MAX).max(u64::from(self.probe_now));
        let upto = end.min(self.una + window);
        let seq = |place: u64| IRS + 1 + wrapping(place);
        if self.nxt < upto {
            let len = (upto - self.nxt).min(u64::from(MSS) - 40);
            let range = usize::try_from(self.nxt).unwrap()..usize::try_from(self.nxt + len).unwrap();
            let payload = self.said[range].to_vec();
            let at = seq(self.nxt);
            self.nxt += len;
            self.probe_now = false;
            self.arm(now);
            return Some(self.emit(now, flow, envelope, Flags::ACK.with(Flags::PSH), at, &payload));
        }
        if self.finishes && !self.fin_acked && self.nxt == end {
            // FIN has the place behind the last byte.
            self.nxt += 1;
            self.arm(now);
            return Some(self.emit(now, flow, envelope, Flags::ACK.with(Flags::FIN), seq(end), &[]));
        }
        if !self.is_acknowledged() {
            // Still, or for a closed window.
            self.arm(now);
        }
        if !self.ack_now {
            return None;
        }
        let at = seq(self.nxt);
        Some(self.emit(now, flow, envelope, Flags::ACK, at, &[]))
    }

    fn arm(&mut self, now: Instant) {
        if self.again_at.is_none() {
            self.again_at = Some(now + self.settings.rto * 2_u32.pow(self.backoff.min(5)));
        }
    }

    fn emit(
        &mut self,
        now: Instant,
        flow: &Flow,
        envelope: &Envelope,
        flags: Flags,
        seq: SeqNum,
        payload: &[u8],
    ) -> SimFrame {
        let is_syn = flags.has(Flags::SYN);
        let mut options = Options::default();
        if is_syn {
            (options.mss, options.window_scale, options.sack_permitted) = (Some(MSS), Some(SCALE), true);
        } else {
            let seq = |place: u64| self.host_iss + 1 + wrapping(place);
            let blocks = self.dsack.iter().chain(&self.ranges).take(SACK_BLOCKS_MAX);
            options.sack = blocks.map(|(from, to)| (seq(*from), seq(*to))).collect();
        }
        if self.settings.timestamps {
            let val = u32::try_from(now.micros() / 1_000 + 1).unwrap();
            options.timestamps = Some(Timestamps { val, ecr: self.ts_recent });
        }
        let window = (self.read + self.settings.buffer).saturating_sub(self.next);
        let window = if is_syn { window.min(0xffff) } else { (window >> SCALE).min(0xffff) };
        let fin = u64::from(self.has_heard_fin());
        let ack = if is_syn { SeqNum(0) } else { self.host_iss + 1 + wrapping(self.next + fin) };
        let segment = Segment {
            src_port: flow.client.port,
            dst_port: flow.vip.port,
            seq,
            ack,
            flags,
            ecn: Ecn::NotEct,
            window: u16::try_from(window).unwrap(),
            urgent: 0,
            options,
            payload,
        };
        (self.unacked, self.ack_now, self.ack_at, self.dsack) = (0, false, None, None);
        let mut frame = vec![0; HEADERS_LEN_MAX + payload.len()];
        let len = segment.emit(&mut frame[envelope.len()..]);
        let len = envelope.seal_tcp(&mut frame, len, Ecn::NotEct);
        SimFrame::new(&frame[..len])
    }
}

/// A place as it goes into a sequence number.
#[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
const fn wrapping(place: u64) -> u32 {
    place as u32
}
