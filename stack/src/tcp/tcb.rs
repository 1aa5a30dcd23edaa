//! The transmission control block: the plain data that is the connection.
//!
//! Each field says what becomes of it when the connection is frozen: it *travels*, is *recomputed* by the new owner, or
//! is *reset*. `freeze.rs` is where it happens; it names every field.

use alloc::vec::Vec;

use super::cc::Congestion;
use super::config::{OwnConfig, TcpConfig};
use super::content::{Content, Extent, SourceId};
use super::ecn::Signals;
use super::path::PathMtu;
use super::queue::Queue;
use super::recovery::Recovery;
use super::rtt::Rtt;
use super::segment::{Flags, Segment};
use super::seq::SeqNum;
use super::timers::Timers;
use super::tuning::Tuning;
use crate::addr::Flow;
use crate::drop::DropReason;
use crate::time::{Duration, Instant};

/// Extents in a send queue at the most.
pub const EXTENTS_MAX: usize = 4_096;
/// The default of the MSS option (RFC 9293 section 3.7.1, MUST-15), for IPv4.
pub const MSS_DEFAULT: u16 = 536;
/// As above, for IPv6.
pub const MSS_DEFAULT_V6: u16 = 1220;
/// The least segment size that is believed (as Linux's `tcp_min_snd_mss`).
pub(crate) const MSS_MIN: u16 = 48;

/// A connection's state (RFC 9293 section 3.3.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// SYN-RECEIVED.
    SynReceived = 1,
    /// ESTABLISHED.
    Established = 2,
    /// FIN-WAIT-1.
    FinWait1 = 3,
    /// FIN-WAIT-2.
    FinWait2 = 4,
    /// CLOSE-WAIT.
    CloseWait = 5,
    /// CLOSING.
    Closing = 6,
    /// LAST-ACK.
    LastAck = 7,
    /// TIME-WAIT.
    TimeWait = 8,
    /// CLOSED: nothing but a reset of our own may still leave.
    Closed = 9,
    /// SYN-SENT.
    SynSent = 10,
}

/// Why a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CloseReason {
    /// Both sides have said all and heard all.
    Finished,
    /// The peer reset it.
    ResetByPeer,
    /// The peer was silent for too long.
    TimedOut,
    /// We reset it.
    Aborted,
    /// The bytes to send could not be read; it was reset.
    ContentLost,
    /// The node that kept them has lost bytes that had to be sent again; it was reset.
    TailLost,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: &'static [Self] =
        &[Self::Finished, Self::ResetByPeer, Self::TimedOut, Self::Aborted, Self::ContentLost, Self::TailLost];

    /// The reason's name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ResetByPeer => "reset_by_peer",
            Self::TimedOut => "timed_out",
            Self::Aborted => "aborted",
            Self::ContentLost => "content_lost",
            Self::TailLost => "tail_lost",
        }
    }
}

/// What came of a segment or a timeout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Outcome {
    /// There are new bytes to read.
    pub received: bool,
    /// Bytes of ours were acknowledged.
    pub acked: bool,
    /// The peer has said its last byte.
    pub peer_finished: bool,
    /// The handshake is complete.
    pub established: bool,
    /// A router has marked data of the peer.
    pub marked: bool,
    /// The window was reduced because data of ours was marked.
    pub slowed: bool,
    /// There is urgent data, or more of it: [`Tcb::urgent`] says where it ends.
    pub urgent: bool,
    /// The connection is closed.
    pub closed: Option<CloseReason>,
}

/// Nothing more can be queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PushError {
    /// The queue has [`EXTENTS_MAX`] extents.
    #[error("the send queue is full")]
    Full,
    /// We have closed our side already.
    #[error("the sending side is closed")]
    Closed,
}

/// What both sides agreed on. Travels, exactly as negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// The longest payload that we send, without options.
    pub snd_mss: u16,
    /// What we said of the longest payload that we take.
    pub rcv_mss: u16,
    /// The shift of windows that we receive, and whether scaling is in use at all.
    pub snd_scale: Option<u8>,
    /// The shift of windows that we send; in use exactly when `snd_scale` is.
    pub rcv_scale: u8,
    /// Whether SACK is in use.
    pub sack: bool,
    /// Whether timestamps are in use.
    pub timestamps: bool,
    /// Whether ECN is in use.
    pub ecn: bool,
}

/// The sending half (RFC 9293 section 3.3.1). Travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snd {
    /// ISS.
    pub iss: SeqNum,
    /// SND.UNA.
    pub una: SeqNum,
    /// SND.NXT.
    pub nxt: SeqNum,
    /// SND.WND, scaled.
    pub wnd: u32,
    /// SND.WL1.
    pub wl1: SeqNum,
    /// SND.WL2.
    pub wl2: SeqNum,
    /// The greatest window that was ever offered.
    pub max_wnd: u32,
    /// The bytes from SND.UNA on, and the place of the first. Local extents are resolved to bytes in the image, or stay behind.
    pub queue: Queue,
    /// Whether FIN follows the queue.
    pub fin: bool,
    /// Where the last short segment ended, while it is in flight, under Nagle's algorithm (RFC 9293 section 3.7.4).
    pub small: Option<SeqNum>,
    /// SND.UP: where urgent data ends, while it is not acknowledged.
    pub urgent: Option<SeqNum>,
}

impl Snd {
    /// After our SYN, and theirs.
    fn new(iss: SeqNum, syn: &Segment<'_>) -> Self {
        let wnd = u32::from(syn.window);
        let queue = Queue::default();
        Self {
            iss,
            una: iss,
            nxt: iss + 1,
            wnd,
            wl1: syn.seq,
            wl2: iss,
            max_wnd: wnd,
            queue,
            fin: false,
            small: None,
            urgent: None,
        }
    }

    /// The sequence number behind the last byte that is queued: FIN's, if there is one.
    pub(crate) fn data_end(&self) -> Option<SeqNum> {
        u32::try_from(self.queue.bytes()).ok().filter(|queued| *queued < 1 << 31).map(|queued| self.una + queued)
    }

    /// Whether FIN has been sent.
    pub(crate) fn fin_sent(&self) -> bool {
        self.fin && self.data_end().is_some_and(|end| end.lt(self.nxt))
    }

    /// Queued bytes that were never sent.
    pub(crate) fn unsent(&self) -> u64 {
        if self.una == self.iss {
            // SYN alone is in flight.
            return self.queue.bytes();
        }
        let sent = u64::from(self.nxt.since(self.una)) - u64::from(self.fin_sent());
        self.queue.bytes().saturating_sub(sent)
    }
}

/// The receiving half. Travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rcv {
    /// IRS.
    pub irs: SeqNum,
    /// RCV.NXT.
    pub nxt: SeqNum,
    /// The right edge that was promised; never goes back.
    pub edge: SeqNum,
    /// Bytes in order that nobody has consumed; those before `consumed` are.
    pub buffer: Vec<u8>,
    /// How many bytes of the buffer are consumed.
    pub consumed: usize,
    /// Ranges above RCV.NXT, in order, not touching.
    pub out_of_order: Vec<(SeqNum, Vec<u8>)>,
    /// The range that came last: first in the next SACK option (RFC 2018 section 4).
    pub latest: SeqNum,
    /// Where FIN is, once it has come.
    pub fin: Option<SeqNum>,
    /// The window's size.
    pub tuning: Tuning,
    /// RCV.UP: where urgent data ends, while not all of it has been consumed.
    pub urgent: Option<SeqNum>,
}

impl Rcv {
    /// After their SYN.
    fn new(irs: SeqNum, config: &OwnConfig) -> Self {
        let nxt = irs + 1;
        let edge = nxt + config.recv_buffer_bytes.min(0xffff);
        let (buffer, out_of_order) = (Vec::new(), Vec::new());
        Self {
            irs,
            nxt,
            edge,
            buffer,
            consumed: 0,
            out_of_order,
            latest: nxt,
            fin: None,
            tuning: Tuning::new(config.recv_buffer_bytes),
            urgent: None,
        }
    }

    /// The sequence number of the first byte that nobody has consumed, or of FIN behind the last.
    pub(crate) fn unread_seq(&self) -> SeqNum {
        let unread = u32::try_from(self.buffer.len() - self.consumed).unwrap_or(u32::MAX);
        let has_fin = self.fin.is_some_and(|fin| fin.lt(self.nxt));
        self.nxt - (unread + u32::from(has_fin))
    }
}

/// Timestamps (RFC 7323). Travels; the clock goes on from where it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TsClock {
    /// TSval minus the node's own millisecond clock. Recomputed so that TSval goes on.
    pub offset: u32,
    /// The last TSval that was sent. Recomputed: the value at the moment of freezing is not below it.
    pub last: u32,
    /// TS.Recent.
    pub recent: u32,
    /// When TS.Recent was taken. Travels as its age.
    pub recent_at: Instant,
    /// Last.ACK.sent (RFC 7323 section 4.3).
    pub last_ack_sent: SeqNum,
}

/// A connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tcb {
    /// Travels.
    pub(crate) flow: Flow,
    /// Travels.
    pub(crate) state: State,
    /// Recomputed: the new node's own.
    pub(crate) config: OwnConfig,
    pub(crate) opts: Negotiated,
    pub(crate) snd: Snd,
    pub(crate) rcv: Rcv,
    pub(crate) ts: TsClock,
    /// Travels.
    pub(crate) rtt: Rtt,
    /// Travels.
    pub(crate) cc: Congestion,
    /// Travels.
    pub(crate) rec: Recovery,
    /// Travels.
    pub(crate) signals: Signals,
    /// Travels.
    pub(crate) path: PathMtu,
    /// Travels, as remaining times.
    pub(crate) timers: Timers,
    /// A sequence number whose acknowledgment is timed. Travels, the time as its age.
    pub(crate) timed: Option<(SeqNum, Instant)>,
    /// When data was last sent. Travels as its age.
    pub(crate) sent_at: Instant,
    /// When something was last received. Travels as its age.
    pub(crate) heard_at: Instant,
    /// Since when we wait for an answer to what is in flight, or to a probe of the window. Travels as its age.
    pub(crate) waiting_since: Instant,
    /// Probes or repetitions without an answer. Travels.
    pub(crate) unanswered: u8,
    /// Segments with data since our last acknowledgment. Travels.
    pub(crate) unacked_segments: u8,
    /// An acknowledgment is due now. Travels.
    pub(crate) ack_now: bool,
    /// A probe (window or keepalive) is due now. Travels.
    pub(crate) probe_now: bool,
    /// A duplicate range to report (RFC 2883). Reset: it is a hint.
    pub(crate) dsack: Option<(SeqNum, SeqNum)>,
    /// When challenge ACKs were last counted, and how many since (RFC 5961 section 7). Reset.
    pub(crate) challenges: (Instant, u8),
    /// Whether we have opened it. Reset: only SYN-RECEIVED asks, which does not travel.
    pub(crate) is_active: bool,
    /// SYN, SYN-ACK, or our RST, is to be sent. Reset: no such state travels.
    pub(crate) control_now: bool,
    /// Why it is closed. Reset: a closed connection does not travel.
    pub(crate) closed: Option<CloseReason>,
}

impl Tcb {
    /// Answers a SYN: the passive open (RFC 9293 section 3.10.7.2). The SYN-ACK comes out of [`Tcb::poll_transmit`].
    ///
    /// # Errors
    /// The segment is no SYN that could open a connection.
    pub fn accept(
        now: Instant,
        config: &TcpConfig,
        flow: Flow,
        isn: SeqNum,
        ts_offset: u32,
        syn: &Segment<'_>,
    ) -> Result<Self, DropReason> {
        let unwanted = Flags(Flags::ACK.0 | Flags::RST.0 | Flags::FIN.0);
        if !syn.flags.has(Flags::SYN) || syn.flags.0 & unwanted.0 != 0 {
            return Err(DropReason::UnexpectedSegment);
        }
        Ok(Self::hearing(now, config.into(), flow, isn, ts_offset, syn))
    }

    /// A connection in SYN-RECEIVED, of whose peer we have heard `syn`.
    pub(crate) fn hearing(
        now: Instant,
        config: OwnConfig,
        flow: Flow,
        isn: SeqNum,
        ts_offset: u32,
        syn: &Segment<'_>,
    ) -> Self {
        let (headers, mss_default) = if flow.vip.addr.is_ipv4() { (40, MSS_DEFAULT) } else { (60, MSS_DEFAULT_V6) };
        let rcv_mss = config.mtu.saturating_sub(headers).max(MSS_MIN);
        let offered = syn.options.mss.unwrap_or(mss_default).max(MSS_MIN);
        let scale = scale_for(config.recv_buffer_bytes.max(config.recv_buffer_max_bytes));
        let opts = Negotiated {
            snd_mss: offered.min(rcv_mss),
            rcv_mss,
            snd_scale: syn.options.window_scale.map(|shift| shift.min(14)),
            rcv_scale: scale,
            sack: syn.options.sack_permitted,
            timestamps: syn.options.timestamps.is_some(),
            ecn: config.ecn && Self::offers_ecn(syn),
        };
        let nxt = syn.seq + 1;
        let mss = u32::from(opts.snd_mss) - if opts.timestamps { 12 } else { 0 };
        let mut tcb = Self {
            flow,
            state: State::SynReceived,
            config,
            opts,
            snd: Snd::new(isn, syn),
            rcv: Rcv::new(syn.seq, &config),
            ts: TsClock {
                offset: ts_offset,
                last: ts_clock(now).wrapping_add(ts_offset),
                recent: syn.options.timestamps.map_or(0, |ts| ts.val),
                recent_at: now,
                last_ack_sent: nxt,
            },
            rtt: Rtt::default(),
            cc: Congestion::new(config.congestion, mss, config.initial_window_segments),
            rec: Recovery::new(isn + 1),
            signals: Signals::default(),
            path: PathMtu::default(),
            timers: Timers::default(),
            timed: Some((isn + 1, now)),
            sent_at: now,
            heard_at: now,
            waiting_since: now,
            unanswered: 0,
            unacked_segments: 0,
            ack_now: false,
            probe_now: false,
            dsack: None,
            challenges: (now, 0),
            is_active: false,
            control_now: true,
            closed: None,
        };
        tcb.timers.retransmit = Some(now + config.rto_initial());
        tcb
    }

    /// Bytes in order that nobody has consumed.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.rcv.buffer.get(self.rcv.consumed..).unwrap_or_default()
    }

    /// Consumes the first `n` unread bytes; the window may open again.
    pub fn consume(&mut self, n: usize) {
        let rcv = &mut self.rcv;
        rcv.consumed = (rcv.consumed + n).min(rcv.buffer.len());
        if rcv.consumed == rcv.buffer.len() {
            // An idle connection holds no buffer.
            rcv.buffer = Vec::new();
            rcv.consumed = 0;
        } else if rcv.consumed > rcv.buffer.len() / 2 {
            rcv.buffer.drain(..rcv.consumed);
            rcv.consumed = 0;
        }
        self.settle_urgent();
        // Told at once when the window is at least twice what the peer has; else with the next acknowledgment, or each
        // segment that is read would be acknowledged.
        let (window, offered) = (self.window_to_offer(), self.offered());
        if window > offered && window / 2 >= offered {
            self.ack_now |= self.is_synchronized() && self.rcv.fin.is_none();
        }
    }

    /// Whether everything that the peer will ever say is in [`Tcb::unread`] or consumed.
    #[must_use]
    pub fn peer_finished(&self) -> bool {
        self.rcv.fin.is_some_and(|fin| fin.lt(self.rcv.nxt))
    }

    /// Queues bytes for sending.
    ///
    /// # Errors
    /// The queue is full, or [`Tcb::close`] was called.
    pub fn push(&mut self, extent: Extent) -> Result<(), PushError> {
        let may_send =
            matches!(self.state, State::SynSent | State::SynReceived | State::Established | State::CloseWait);
        if self.snd.fin || !may_send {
            return Err(PushError::Closed);
        }
        if extent.len == 0 {
            return Ok(());
        }
        if self.snd.queue.push(extent, EXTENTS_MAX) { Ok(()) } else { Err(PushError::Full) }
    }

    /// Takes what was queued last and never sent out of the queue again, as far as it is `source`'s: the source goes on there, here or
    /// at another node. Gives how many bytes. Nothing once [`Tcb::close`] was called, and nothing that urgent data reaches into.
    pub fn take_back(&mut self, source: SourceId) -> u64 {
        let marked = self.snd.urgent.and_then(|up| up.distance_from(self.snd.una)).map_or(0, u64::from);
        let most = self.snd.unsent().min(self.snd.queue.bytes().saturating_sub(marked));
        if self.snd.fin { 0 } else { self.snd.queue.take_back(source, most) }
    }

    /// The send queue: everything that is not acknowledged.
    pub fn extents(&self) -> impl Iterator<Item = &Extent> {
        self.snd.queue.extents()
    }

    /// Whether [`Tcb::push`] takes another extent.
    #[must_use]
    pub fn has_queue_room(&self) -> bool {
        self.snd.queue.has_room(EXTENTS_MAX)
    }

    /// Why it is closed, if it is; [`State::TimeWait`] counts.
    #[must_use]
    pub const fn closed(&self) -> Option<CloseReason> {
        self.closed
    }

    /// Queued bytes that were never sent.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.snd.unsent()
    }

    /// What was sent and is not acknowledged, FIN included.
    #[must_use]
    pub fn unacknowledged(&self) -> u32 {
        self.snd.nxt.since(self.snd.una)
    }

    /// Takes other settings, as a connection does that comes to another node. What is agreed on or promised stays.
    pub fn configure(&mut self, now: Instant, config: &TcpConfig) {
        let config = OwnConfig::from(config);
        let is_probed = (self.config.keepalive(), self.config.keepalive_interval());
        if self.config.recv_buffer_bytes != config.recv_buffer_bytes {
            self.rcv.tuning = Tuning::new(config.recv_buffer_bytes);
        }
        self.config = config;
        if is_probed != (config.keepalive(), config.keepalive_interval())
            && self.is_synchronized()
            && self.closed.is_none()
        {
            self.arm_keepalive(now);
        }
    }

    /// Closes our side: FIN follows what is queued. Again, or when the connection is over, it does nothing. A connection of which
    /// the peer has said nothing yet is given up.
    pub fn close(&mut self) {
        match self.state {
            // Nobody has heard of it (RFC 9293 section 3.10.4).
            State::SynSent => return self.abort(),
            // FIN waits until the handshake is complete (RFC 9293 section 3.10.4).
            State::SynReceived => {}
            State::Established => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            _ => return,
        }
        self.snd.fin = true;
    }

    /// Resets the connection: RST is sent, and it is closed.
    pub fn abort(&mut self) {
        self.abort_for(CloseReason::Aborted);
    }

    pub(crate) fn abort_for(&mut self, reason: CloseReason) {
        if self.state != State::Closed {
            // In TIME_WAIT the peer has finished, and in SYN-SENT it has not begun: there is nobody to tell (RFC 9293 section
            // 3.10.5).
            self.control_now = !matches!(self.state, State::TimeWait | State::SynSent);
            self.finish(reason);
        }
    }

    /// The connection is closed, and nothing of it is left but what [`Tcb::extents`] names.
    pub(crate) fn finish(&mut self, reason: CloseReason) {
        self.state = State::Closed;
        self.closed = Some(reason);
        self.timers = Timers::default();
        (self.ack_now, self.probe_now) = (false, false);
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The flow.
    #[must_use]
    pub const fn flow(&self) -> Flow {
        self.flow
    }

    /// The longest IP packet that it sends, in bytes.
    #[must_use]
    pub const fn mtu(&self) -> u16 {
        self.config.mtu
    }

    /// SND.UNA.
    #[must_use]
    pub const fn snd_una(&self) -> SeqNum {
        self.snd.una
    }

    /// SND.NXT.
    #[must_use]
    pub const fn snd_nxt(&self) -> SeqNum {
        self.snd.nxt
    }

    /// RCV.NXT.
    #[must_use]
    pub const fn rcv_nxt(&self) -> SeqNum {
        self.rcv.nxt
    }

    /// A TSval that is not below any that was sent; `None` without timestamps.
    #[must_use]
    pub fn last_tsval(&self) -> Option<u32> {
        self.opts.timestamps.then_some(self.ts.last)
    }

    /// TS.Recent; `None` without timestamps.
    #[must_use]
    pub fn ts_recent(&self) -> Option<u32> {
        self.opts.timestamps.then_some(self.ts.recent)
    }

    /// The smoothed round-trip time, once there is one.
    #[must_use]
    pub fn srtt(&self) -> Option<Duration> {
        (self.rtt.srtt_us > 0).then(|| Duration::from_micros(u64::from(self.rtt.srtt_us)))
    }

    /// The congestion window, in bytes.
    #[must_use]
    pub const fn cwnd(&self) -> u32 {
        self.cc.cwnd
    }

    /// Whether both SYNs are acknowledged and the connection lives.
    pub(crate) const fn is_synchronized(&self) -> bool {
        !matches!(self.state, State::SynSent | State::SynReceived | State::Closed)
    }

    /// The longest payload of a segment with the options that every segment has.
    pub(crate) fn mss(&self) -> u32 {
        u32::from(self.snd_mss()) - if self.opts.timestamps { 12 } else { 0 }
    }

    pub(crate) fn tsval(&self, now: Instant) -> u32 {
        ts_clock(now).wrapping_add(self.ts.offset)
    }

    /// The window that the peer has from us now.
    pub(crate) const fn offered(&self) -> u32 {
        self.rcv.edge.since(self.rcv.nxt)
    }

    /// The window that we would offer now: free space, if that is enough more than what is offered (RFC 9293 section
    /// 3.8.6.2.2); else what is offered.
    pub(crate) fn window_to_offer(&self) -> u32 {
        let unread = u32::try_from(self.rcv.buffer.len() - self.rcv.consumed).unwrap_or(u32::MAX);
        // No more is promised before the handshake than a SYN-ACK that is sent again can say.
        let limit = if self.is_synchronized() { self.window_field_max() } else { 0xffff };
        let free = self.rcv.tuning.window.saturating_sub(unread).min(limit);
        let offered = self.offered();
        let step = (self.rcv.tuning.window / 2).min(u32::from(self.opts.rcv_mss));
        if free >= offered.saturating_add(step) { free } else { offered }
    }

    /// Bytes before SND.UNA are not needed any more.
    pub(crate) fn release(&mut self, acked: u32, content: &mut impl Content) {
        self.snd.queue.release(u64::from(acked), |source, up_to| content.release(source, up_to));
    }
}

/// The node's timestamp clock: milliseconds (RFC 7323 section 5.4).
#[expect(clippy::cast_possible_truncation, reason = "a clock that wraps")]
pub(crate) const fn ts_clock(now: Instant) -> u32 {
    (now.micros() / 1_000) as u32
}

/// The least shift with which the buffer can be offered whole (RFC 7323 section 2.3).
fn scale_for(buffer: u32) -> u8 {
    (0..14).find(|shift| buffer >> shift <= 0xffff).unwrap_or(14)
}
