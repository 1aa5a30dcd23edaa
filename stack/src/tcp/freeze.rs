//! Freeze and thaw: a connection leaves one node and goes on at another.
//!
//! ```text
//!   Tcb --freeze(now, content)--> Frozen ~~~ image, wire ~~~ Frozen --thaw(now, config, content)--> Tcb
//!       consumes it: it cannot speak any more
//! ```
//! [`Frozen`] holds durations, never instants, and integers only. Both directions name every field of the TCB, so a new
//! field does not compile until somebody has decided what becomes of it: it *travels*, is *recomputed*, or is *reset*.
//!
//! A frozen connection may come off a wire: [`Tcb::thaw`] refuses what no TCB could have frozen to.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::cc::{Congestion, Cubic, Growth, NewReno};
use super::config::TcpConfig;
use super::content::{Content, ContentLost, Extent, Place};
use super::input::OUT_OF_ORDER_RANGES_MAX;
use super::queue::Queue;
use super::recovery::{Phase, Recovery, SACKED_RANGES_MAX};
use super::rtt::Rtt;
use super::seq::SeqNum;
use super::tcb::{CloseReason, EXTENTS_MAX, MSS_MIN, Negotiated, Rcv, Snd, State, Tcb, TsClock, ts_clock};
use super::timers::Timers;
use crate::addr::Flow;
use crate::time::{Duration, Instant};

/// The greatest window that the header can express (RFC 7323 section 2.3).
const WINDOW_MAX: u32 = 0xffff << 14;
/// The last place in a stream: more than anybody sends, and far from where sums wrap.
const PLACE_MAX: u64 = 1 << 62;
/// The longest SRTT or RTTVAR that a node can have measured, in microseconds.
const RTT_MAX_US: u32 = 480_000_000;

/// A connection between two nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frozen {
    /// The flow.
    pub flow: Flow,
    /// The state; synchronized.
    pub state: State,
    /// What was agreed on.
    pub opts: Negotiated,
    /// ISS.
    pub iss: SeqNum,
    /// SND.UNA.
    pub snd_una: SeqNum,
    /// SND.NXT.
    pub snd_nxt: SeqNum,
    /// SND.WND, scaled.
    pub snd_wnd: u32,
    /// SND.WL1.
    pub snd_wl1: SeqNum,
    /// SND.WL2.
    pub snd_wl2: SeqNum,
    /// The greatest window that was ever offered.
    pub max_wnd: u32,
    /// The bytes from SND.UNA on.
    pub queue: Vec<FrozenBytes>,
    /// Whether FIN follows the queue.
    pub fin: bool,
    /// IRS.
    pub irs: SeqNum,
    /// RCV.NXT.
    pub rcv_nxt: SeqNum,
    /// The right edge that was promised.
    pub rcv_edge: SeqNum,
    /// Received, in order, not consumed: the bytes before RCV.NXT.
    pub unread: Vec<u8>,
    /// Received ranges above RCV.NXT, in order, not touching.
    pub out_of_order: Vec<(SeqNum, Vec<u8>)>,
    /// The range that came last.
    pub rcv_latest: SeqNum,
    /// Where the peer's FIN is, once it has come.
    pub rcv_fin: Option<SeqNum>,
    /// The TSval at the moment of freezing.
    pub tsval: u32,
    /// TS.Recent.
    pub ts_recent: u32,
    /// How old TS.Recent is.
    pub ts_recent_age: Duration,
    /// Last.ACK.sent.
    pub last_ack_sent: SeqNum,
    /// The round-trip time and the backoff.
    pub rtt: Rtt,
    /// The congestion window, in bytes.
    pub cwnd: u32,
    /// The slow start threshold, in bytes.
    pub ssthresh: u32,
    /// The algorithm's own state.
    pub growth: FrozenGrowth,
    /// Loss recovery and the SACK scoreboard.
    pub recovery: Recovery,
    /// Running timers.
    pub timers: FrozenTimers,
    /// A sequence number whose acknowledgment is timed, and how long already.
    pub timed: Option<(SeqNum, Duration)>,
    /// How long ago data was sent.
    pub sent_age: Duration,
    /// How long ago something was received.
    pub heard_age: Duration,
    /// How long we have been waiting for an answer.
    pub waiting_age: Duration,
    /// Probes or repetitions without an answer.
    pub unanswered: u8,
    /// Segments with data since our last acknowledgment.
    pub unacked_segments: u8,
    /// An acknowledgment is due at once.
    pub ack_now: bool,
    /// A probe is due at once.
    pub probe_now: bool,
}

/// A range of the send queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FrozenBytes {
    /// The bytes themselves.
    Here(Vec<u8>),
    /// Bytes that an earlier owner keeps.
    Remote {
        /// Its number in the messages of the connection's front-end.
        holder: u16,
        /// The first byte, counted from the first byte ever sent on the connection.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
}

/// The congestion algorithm's own state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrozenGrowth {
    /// NewReno.
    NewReno(NewReno),
    /// CUBIC.
    Cubic(FrozenCubic),
}

/// CUBIC's state; [`Cubic`] says what the fields are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrozenCubic {
    /// `W_max`, in bytes.
    pub w_max: u32,
    /// How long ago the current congestion avoidance began.
    pub epoch_age: Option<Duration>,
    /// `K`, in milliseconds.
    pub k_ms: u32,
    /// The window at the epoch's beginning, in bytes.
    pub w_epoch: u32,
    /// `W_est`, in bytes.
    pub w_est: u32,
    /// Growth that is not yet a whole byte.
    pub fraction: u32,
}

/// How long each running timer has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrozenTimers {
    /// Retransmission.
    pub retransmit: Option<Duration>,
    /// Persist.
    pub persist: Option<Duration>,
    /// Delayed acknowledgment.
    pub delayed_ack: Option<Duration>,
    /// Keepalive.
    pub keepalive: Option<Duration>,
    /// FIN-WAIT-2.
    pub fin_wait_2: Option<Duration>,
}

/// Why a connection cannot be frozen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FreezeError {
    /// SYN-RECEIVED and CLOSED do not move: the one is the front-end's, the other nobody's.
    #[error("a connection in state {0:?} does not move")]
    NotSynchronized(State),
    /// The bytes to send cannot be read.
    #[error(transparent)]
    ContentLost(ContentLost),
}

/// Why what came is no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ThawError {
    /// A field, named here, has a value that no connection has.
    #[error("no connection has such a {0}")]
    Impossible(&'static str),
    /// The content store has no room for its bytes.
    #[error(transparent)]
    NoRoom(ContentLost),
}

impl Tcb {
    /// Ends this node's part in the connection. The bytes to send are read from `content` and released there.
    ///
    /// # Errors
    /// The connection comes back as it was, with the reason.
    #[expect(clippy::too_many_lines, reason = "one field a line: nothing to split")]
    pub fn freeze(self, now: Instant, content: &mut impl Content) -> Result<Frozen, (Box<Self>, FreezeError)> {
        if !self.is_synchronized() {
            let state = self.state;
            return Err((Box::new(self), FreezeError::NotSynchronized(state)));
        }
        let queue = match read_all(&self.snd.queue, content) {
            Ok(queue) => queue,
            Err(lost) => return Err((Box::new(self), FreezeError::ContentLost(lost))),
        };
        for extent in self.snd.queue.extents() {
            if let Place::Local { source, offset } = extent.place {
                content.release(source, offset + extent.len);
            }
        }
        let tsval = self.tsval(now);
        let Self {
            flow,
            state,
            config: _,
            opts,
            snd,
            rcv,
            ts,
            rtt,
            cc,
            rec,
            timers,
            timed,
            sent_at,
            heard_at,
            waiting_since,
            unanswered,
            unacked_segments,
            ack_now,
            probe_now,
            dsack: _,
            challenges: _,
            control_now: _,
            closed: _,
        } = self;
        let Snd { iss, una, nxt, wnd, wl1, wl2, max_wnd, queue: _, fin } = snd;
        let Rcv { irs, nxt: rcv_nxt, edge, mut buffer, consumed, out_of_order, latest, fin: rcv_fin } = rcv;
        let TsClock { offset: _, last: _, recent, recent_at, last_ack_sent } = ts;
        let Congestion { cwnd, ssthresh, growth } = cc;
        buffer.drain(..consumed);
        Ok(Frozen {
            flow,
            state,
            opts,
            iss,
            snd_una: una,
            snd_nxt: nxt,
            snd_wnd: wnd,
            snd_wl1: wl1,
            snd_wl2: wl2,
            max_wnd,
            queue,
            fin,
            irs,
            rcv_nxt,
            rcv_edge: edge,
            unread: buffer,
            out_of_order,
            rcv_latest: latest,
            rcv_fin,
            tsval,
            ts_recent: recent,
            ts_recent_age: now.since(recent_at),
            last_ack_sent,
            rtt,
            cwnd,
            ssthresh,
            growth: freeze_growth(growth, now),
            recovery: rec,
            timers: freeze_timers(timers, now),
            timed: timed.map(|(seq, at)| (seq, now.since(at))),
            sent_age: now.since(sent_at),
            heard_age: now.since(heard_at),
            waiting_age: now.since(waiting_since),
            unanswered,
            unacked_segments,
            ack_now,
            probe_now,
        })
    }

    /// Goes on with a connection at this node, under its own `config`. The bytes to send go into `content`.
    ///
    /// # Errors
    /// It is no connection, or its bytes have no room.
    #[expect(clippy::too_many_lines, reason = "one field a line: nothing to split")]
    pub fn thaw(
        frozen: Frozen,
        now: Instant,
        config: &TcpConfig,
        content: &mut impl Content,
    ) -> Result<Self, ThawError> {
        frozen.check()?;
        let Frozen {
            flow,
            state,
            opts,
            iss,
            snd_una,
            snd_nxt,
            snd_wnd,
            snd_wl1,
            snd_wl2,
            max_wnd,
            queue,
            fin,
            irs,
            rcv_nxt,
            rcv_edge,
            unread,
            out_of_order,
            rcv_latest,
            rcv_fin,
            tsval,
            ts_recent,
            ts_recent_age,
            last_ack_sent,
            rtt,
            cwnd,
            ssthresh,
            growth,
            recovery,
            timers,
            timed,
            sent_age,
            heard_age,
            waiting_age,
            unanswered,
            unacked_segments,
            ack_now,
            probe_now,
        } = frozen;
        let queue = store_all(queue, content).map_err(ThawError::NoRoom)?;
        let (una, nxt, wnd) = (snd_una, snd_nxt, snd_wnd);
        let snd = Snd { iss, una, nxt, wnd, wl1: snd_wl1, wl2: snd_wl2, max_wnd, queue, fin };
        let (latest, fin) = (rcv_latest, rcv_fin);
        let rcv = Rcv { irs, nxt: rcv_nxt, edge: rcv_edge, buffer: unread, consumed: 0, out_of_order, latest, fin };
        let mut tcb = Self {
            flow,
            state,
            config: *config,
            opts,
            snd,
            rcv,
            ts: TsClock {
                offset: tsval.wrapping_sub(ts_clock(now)),
                last: tsval,
                recent: ts_recent,
                recent_at: before(now, ts_recent_age),
                last_ack_sent,
            },
            rtt,
            cc: Congestion { cwnd, ssthresh, growth: thaw_growth(growth, now) },
            rec: recovery,
            timers: thaw_timers(timers, now),
            // Short by the time of the move. Without it a client without timestamps that is moved with each response
            // would never be measured.
            timed: timed.map(|(seq, age)| (seq, before(now, age))),
            sent_at: before(now, sent_age),
            heard_at: before(now, heard_age),
            waiting_since: before(now, waiting_age),
            unanswered,
            unacked_segments,
            ack_now,
            probe_now,
            dsack: None,
            challenges: (now, 0),
            control_now: false,
            closed: if state == State::TimeWait { Some(CloseReason::Finished) } else { None },
        };
        if tcb.unacknowledged() > 0 && tcb.timers.retransmit.is_none() {
            // Never frozen like this here; without the timer it would wait for ever.
            tcb.arm_retransmit(now);
        }
        if tcb.state == State::FinWait2 && tcb.timers.fin_wait_2.is_none() {
            // Its last owner had none; this one may.
            tcb.arm_fin_wait_2(now);
        }
        Ok(tcb)
    }
}

impl Frozen {
    /// Whether a connection can have been frozen to this: what the code relies on without asking again.
    fn check(&self) -> Result<(), ThawError> {
        let ensure = |holds: bool, name| if holds { Ok(()) } else { Err(ThawError::Impossible(name)) };
        ensure(self.flow.client.addr.is_ipv4() == self.flow.vip.addr.is_ipv4(), "flow")?;
        ensure(!matches!(self.state, State::SynReceived | State::Closed), "state")?;
        let Negotiated { snd_mss, rcv_mss, snd_scale, rcv_scale, sack: _, timestamps: _ } = self.opts;
        ensure(snd_mss >= MSS_MIN && rcv_mss >= MSS_MIN, "MSS")?;
        ensure(snd_scale.is_none_or(|shift| shift <= 14) && rcv_scale <= 14, "window scale")?;
        ensure(self.snd_wnd <= WINDOW_MAX && self.max_wnd <= WINDOW_MAX, "send window")?;
        ensure(self.cwnd > 0 && self.cwnd <= 1 << 30 && self.ssthresh > 0, "congestion window")?;
        ensure(self.rtt.srtt_us <= RTT_MAX_US && self.rtt.rttvar_us <= RTT_MAX_US, "round-trip time")?;
        self.check_sending(ensure)?;
        self.check_receiving(ensure)
    }

    fn check_sending(&self, ensure: impl Fn(bool, &'static str) -> Result<(), ThawError>) -> Result<(), ThawError> {
        let ends = |bytes: &FrozenBytes| bytes.end().is_some_and(|end| end <= PLACE_MAX);
        ensure(self.queue.iter().all(|bytes| bytes.len() > 0 && ends(bytes)), "send queue")?;
        let lens = self.queue.iter().map(FrozenBytes::len);
        let queued = lens.clone().try_fold(0_u64, u64::checked_add).filter(|queued| *queued <= PLACE_MAX);
        let queued = queued.ok_or(ThawError::Impossible("send queue"))?;
        ensure(self.queue.len() <= EXTENTS_MAX, "send queue")?;
        let in_flight = self.snd_nxt.distance_from(self.snd_una).ok_or(ThawError::Impossible("SND.NXT"))?;
        ensure(u64::from(in_flight) <= queued + u64::from(self.fin), "SND.NXT")?;
        let is_closing = !matches!(self.state, State::Established | State::CloseWait);
        let may_hold_fin = matches!(self.state, State::FinWait1 | State::Closing | State::LastAck);
        ensure(self.fin == may_hold_fin && (!is_closing || may_hold_fin || queued == 0), "FIN")?;
        let Recovery { phase, dup_acks: _, sacked, lost_end, rtx_nxt } = &self.recovery;
        let is_between = |seq: SeqNum| self.snd_una.le(seq) && seq.le(self.snd_nxt);
        ensure(is_between(*lost_end) && is_between(*rtx_nxt), "recovery point")?;
        ensure(self.timed.is_none_or(|(seq, _)| is_between(seq)), "timed segment")?;
        let point = match *phase {
            Phase::Open => self.snd_nxt,
            Phase::Fast(point) | Phase::Timeout(point) => point,
        };
        ensure(point.le(self.snd_nxt), "recovery point")?;
        ensure(sacked.len() <= SACKED_RANGES_MAX, "scoreboard")?;
        // By distances: numbers far apart have no order.
        let mut end = 0;
        for &(left, right) in sacked {
            let ends = (left.distance_from(self.snd_una), right.distance_from(self.snd_una));
            let (Some(left), Some(right)) = ends else { return Err(ThawError::Impossible("scoreboard")) };
            ensure(end <= left && left < right && right <= in_flight, "scoreboard")?;
            end = right;
        }
        Ok(())
    }

    fn check_receiving(&self, ensure: impl Fn(bool, &'static str) -> Result<(), ThawError>) -> Result<(), ThawError> {
        let window = self.rcv_edge.distance_from(self.rcv_nxt).ok_or(ThawError::Impossible("receive window"))?;
        ensure(window <= WINDOW_MAX, "receive window")?;
        ensure(u32::try_from(self.unread.len()).is_ok_and(|len| len <= WINDOW_MAX), "unread bytes")?;
        ensure(self.out_of_order.len() <= OUT_OF_ORDER_RANGES_MAX, "out-of-order ranges")?;
        let is_next = |fin: SeqNum| fin + 1 == self.rcv_nxt || self.rcv_nxt.le(fin);
        ensure(self.rcv_fin.is_none_or(|fin| is_next(fin) && fin.le(self.rcv_edge)), "FIN of the peer")?;
        let limit = self.rcv_fin.map_or(window, |fin| fin.since(self.rcv_nxt));
        let mut end = 0;
        for (seq, bytes) in &self.out_of_order {
            let len = u32::try_from(bytes.len()).ok().filter(|len| (1..=WINDOW_MAX).contains(len));
            let start = seq.distance_from(self.rcv_nxt);
            let (Some(start), Some(len)) = (start, len) else {
                return Err(ThawError::Impossible("out-of-order ranges"));
            };
            ensure(end < start && start + len <= limit, "out-of-order ranges")?;
            end = start + len;
        }
        let has_received_fin = self.rcv_fin.is_some_and(|fin| fin.lt(self.rcv_nxt));
        let state_says_so = matches!(self.state, State::CloseWait | State::Closing | State::LastAck | State::TimeWait);
        ensure(has_received_fin == state_says_so, "FIN of the peer")
    }
}

impl FrozenBytes {
    /// How many bytes.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Here(bytes) => bytes.len() as u64,
            Self::Remote { len, .. } => *len,
        }
    }

    /// The place behind the last byte, counted as the holder counts; `None` if there is no such number.
    fn end(&self) -> Option<u64> {
        match self {
            Self::Here(bytes) => Some(bytes.len() as u64),
            Self::Remote { offset, len, .. } => offset.checked_add(*len),
        }
    }
}

/// The queue with its local bytes; neighbours become one range.
fn read_all(queue: &Queue, content: &mut impl Content) -> Result<Vec<FrozenBytes>, ContentLost> {
    let mut frozen: Vec<FrozenBytes> = Vec::new();
    for extent in queue.extents() {
        match extent.place {
            Place::Remote { holder, offset } => frozen.push(FrozenBytes::Remote { holder, offset, len: extent.len }),
            Place::Local { source, offset } => {
                let len = usize::try_from(extent.len).map_err(|_| ContentLost)?;
                if let Some(FrozenBytes::Here(bytes)) = frozen.last_mut() {
                    let start = bytes.len();
                    bytes.resize(start + len, 0);
                    content.read(source, offset, &mut bytes[start..])?;
                } else {
                    let mut bytes = vec![0; len];
                    content.read(source, offset, &mut bytes)?;
                    frozen.push(FrozenBytes::Here(bytes));
                }
            }
        }
    }
    Ok(frozen)
}

/// The queue, with the bytes that came along in the store. All or nothing is stored.
fn store_all(queue: Vec<FrozenBytes>, content: &mut impl Content) -> Result<Queue, ContentLost> {
    let mut extents = Queue::default();
    for bytes in queue {
        let len = bytes.len();
        let place = match bytes {
            FrozenBytes::Remote { holder, offset, .. } => Ok(Place::Remote { holder, offset }),
            FrozenBytes::Here(bytes) => content.insert(bytes).map(|source| Place::Local { source, offset: 0 }),
        };
        match place {
            Ok(place) => {
                // As many at the most as were checked.
                let _ = extents.push(Extent { len, place }, EXTENTS_MAX);
            }
            Err(lost) => {
                for extent in extents.extents() {
                    if let Extent { len, place: Place::Local { source, .. } } = extent {
                        content.release(*source, *len);
                    }
                }
                return Err(lost);
            }
        }
    }
    Ok(extents)
}

fn freeze_growth(growth: Growth, now: Instant) -> FrozenGrowth {
    match growth {
        Growth::NewReno(reno) => FrozenGrowth::NewReno(reno),
        Growth::Cubic(Cubic { w_max, epoch, k_ms, w_epoch, w_est, fraction }) => {
            let epoch_age = epoch.map(|epoch| now.since(epoch));
            FrozenGrowth::Cubic(FrozenCubic { w_max, epoch_age, k_ms, w_epoch, w_est, fraction })
        }
    }
}

fn thaw_growth(growth: FrozenGrowth, now: Instant) -> Growth {
    match growth {
        FrozenGrowth::NewReno(reno) => Growth::NewReno(reno),
        FrozenGrowth::Cubic(FrozenCubic { w_max, epoch_age, k_ms, w_epoch, w_est, fraction }) => {
            let epoch = epoch_age.map(|age| before(now, age));
            Growth::Cubic(Cubic { w_max, epoch, k_ms, w_epoch, w_est, fraction })
        }
    }
}

fn freeze_timers(timers: Timers, now: Instant) -> FrozenTimers {
    let Timers { retransmit, persist, delayed_ack, keepalive, fin_wait_2 } = timers;
    let left = |at: Option<Instant>| at.map(|at| at.since(now));
    FrozenTimers {
        retransmit: left(retransmit),
        persist: left(persist),
        delayed_ack: left(delayed_ack),
        keepalive: left(keepalive),
        fin_wait_2: left(fin_wait_2),
    }
}

fn thaw_timers(timers: FrozenTimers, now: Instant) -> Timers {
    let FrozenTimers { retransmit, persist, delayed_ack, keepalive, fin_wait_2 } = timers;
    let at = |left: Option<Duration>| left.map(|left| now + left);
    Timers {
        retransmit: at(retransmit),
        persist: at(persist),
        delayed_ack: at(delayed_ack),
        keepalive: at(keepalive),
        fin_wait_2: at(fin_wait_2),
    }
}

/// The point `age` before `now`; a node that started later than that takes its own beginning.
fn before(now: Instant, age: Duration) -> Instant {
    let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    Instant::from_micros(now.micros().saturating_sub(age))
}
