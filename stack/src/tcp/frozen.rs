//! A connection between two nodes: durations and integers only, and what must hold of them.

use alloc::vec::Vec;

use super::cc::hystart::{CSS_ROUNDS, N_RTT_SAMPLE};
use super::cc::{HyStart, NewReno};
use super::ecn::Signals;
use super::freeze::ThawError;
use super::input::OUT_OF_ORDER_RANGES_MAX;
use super::path::{PATH_MTU_MIN, PATH_MTU_MIN_V6, PathMtu};
use super::prr::{Prr, Undo};
use super::rack::Probe;
use super::recovery::Phase;
use super::rtt::Rtt;
use super::scoreboard::{RUNS_MAX, Run, SACKED_RANGES_MAX};
use super::seq::SeqNum;
use super::tcb::{EXTENTS_MAX, MSS_MIN, Negotiated, State};
use crate::addr::Flow;
use crate::time::Duration;

/// The greatest window that the header can express (RFC 7323 section 2.3).
const WINDOW_MAX: u32 = 0xffff << 14;
/// The last place in a stream: more than anybody sends, and far from where sums wrap.
const PLACE_MAX: u64 = 1 << 62;
/// The longest SRTT or RTTVAR that a node can have measured, in microseconds.
const RTT_MAX_US: u32 = 480_000_000;

/// The longest round trip that an echoed timestamp is believed to show, in microseconds.
const RCV_RTT_MAX_US: u32 = ((1 << 20) - 1) * 1_000;

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
    /// The place of SND.UNA: how many bytes were sent on the connection and are acknowledged.
    pub snd_place: u64,
    /// The bytes from SND.UNA on.
    pub queue: Vec<FrozenBytes>,
    /// Whether FIN follows the queue.
    pub fin: bool,
    /// Where the last short segment ended, while it is in flight.
    pub small: Option<SeqNum>,
    /// Where our urgent data ends, while it is not acknowledged.
    pub snd_urgent: Option<SeqNum>,
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
    /// Where the peer's urgent data ends, while not all of it has been consumed.
    pub rcv_urgent: Option<SeqNum>,
    /// The receive window's size.
    pub tuning: FrozenTuning,
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
    /// What the first slow start has seen.
    pub start: Option<HyStart>,
    /// Loss recovery and the scoreboard.
    pub recovery: FrozenRecovery,
    /// Congestion that was signalled.
    pub signals: Signals,
    /// What is known of the path; when longer packets are tried again as a time from now.
    pub path: PathMtu<Duration>,
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
        /// The place of the first byte: how many were ever sent before it on the connection.
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

/// Loss recovery; [`Recovery`](super::Recovery) says what the fields are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FrozenRecovery {
    /// The phase.
    pub phase: Phase,
    /// Duplicate acknowledgments in a row.
    pub dup_acks: u8,
    /// What is in flight, from SND.UNA to SND.NXT.
    pub sent: Vec<Run<Duration>>,
    /// RACK.
    pub rack: FrozenRack,
    /// The tail loss probe.
    pub probe: Probe,
    /// The first lost segment is sent whatever the window says.
    pub force: bool,
    /// Proportional rate reduction.
    pub prr: Prr,
    /// What to take back if the last reduction was needless.
    pub undo: Option<Undo<FrozenGrowth>>,
}

/// RACK's state; [`Rack`](super::Rack) says what the fields are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrozenRack {
    /// How long ago the newest of what has arrived was sent, and where it ended.
    pub newest: Option<(Duration, SeqNum)>,
    /// RACK.rtt, in microseconds.
    pub rtt_us: u32,
    /// RACK.min_RTT in microseconds, and its age.
    pub min_rtt: (u32, Duration),
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

/// The receive window's size; [`Tuning`](super::Tuning) says what the fields are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrozenTuning {
    /// The window, where it is larger than a new connection's at the node that froze it.
    pub grown: Option<u32>,
    /// The round-trip time as the receiver sees it, in microseconds.
    pub rtt_us: u32,
    /// How long something has been measured, and what had been consumed at the beginning.
    pub measure: Option<(Duration, SeqNum)>,
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
    /// The reordering window.
    pub reorder: Option<Duration>,
    /// The tail loss probe.
    pub probe: Option<Duration>,
}

impl Frozen {
    /// Whether a connection can have been frozen to this: what the code relies on without asking again.
    pub(crate) fn check(&self) -> Result<(), ThawError> {
        let ensure = |holds: bool, name| if holds { Ok(()) } else { Err(ThawError::Impossible(name)) };
        ensure(self.flow.client.addr.is_ipv4() == self.flow.vip.addr.is_ipv4(), "flow")?;
        ensure(!matches!(self.state, State::SynSent | State::SynReceived | State::Closed), "state")?;
        let Negotiated { snd_mss, rcv_mss, snd_scale, rcv_scale, sack: _, timestamps: _, ecn } = self.opts;
        ensure(snd_mss >= MSS_MIN && rcv_mss >= MSS_MIN, "MSS")?;
        ensure(snd_scale.is_none_or(|shift| shift <= 14) && rcv_scale <= 14, "window scale")?;
        ensure(self.snd_wnd <= WINDOW_MAX && self.max_wnd <= WINDOW_MAX, "send window")?;
        ensure(self.cwnd > 0 && self.cwnd <= 1 << 30 && self.ssthresh > 0, "congestion window")?;
        ensure(self.rtt.srtt_us <= RTT_MAX_US && self.rtt.rttvar_us <= RTT_MAX_US, "round-trip time")?;
        ensure(ecn || self.signals == Signals::default(), "ECN state")?;
        let floor = if self.flow.vip.addr.is_ipv4() { PATH_MTU_MIN } else { PATH_MTU_MIN_V6 };
        let claimed = self.path.claim.map_or(floor, |(_, mtu)| mtu);
        ensure(self.path.mtu >= floor && claimed >= floor, "path MTU")?;
        self.check_sending(ensure)?;
        self.check_receiving(ensure)
    }

    fn check_sending(&self, ensure: impl Fn(bool, &'static str) -> Result<(), ThawError>) -> Result<(), ThawError> {
        ensure(self.snd_place <= PLACE_MAX && self.queue.len() <= EXTENTS_MAX, "send queue")?;
        let mut end = self.snd_place;
        for bytes in &self.queue {
            ensure(bytes.len() > 0 && bytes.is_at(end), "send queue")?;
            end = end
                .checked_add(bytes.len())
                .filter(|end| *end <= PLACE_MAX)
                .ok_or(ThawError::Impossible("send queue"))?;
        }
        let queued = end - self.snd_place;
        let in_flight = self.snd_nxt.distance_from(self.snd_una).ok_or(ThawError::Impossible("SND.NXT"))?;
        ensure(u64::from(in_flight) <= queued + u64::from(self.fin), "SND.NXT")?;
        let is_closing = !matches!(self.state, State::Established | State::CloseWait);
        let may_hold_fin = matches!(self.state, State::FinWait1 | State::Closing | State::LastAck);
        ensure(self.fin == may_hold_fin && (!is_closing || may_hold_fin || queued == 0), "FIN")?;
        let is_between = |seq: SeqNum| self.snd_una.le(seq) && seq.le(self.snd_nxt);
        ensure(self.timed.is_none_or(|(seq, _)| is_between(seq)), "timed segment")?;
        ensure(self.small.is_none_or(is_between), "short segment")?;
        let up = self.snd_urgent.map_or(Some(0), |up| up.distance_from(self.snd_una));
        ensure(up.is_some_and(|up| u64::from(up) <= queued), "urgent pointer")?;
        self.check_start(&ensure)?;
        self.check_recovery(in_flight, ensure)
    }

    fn check_start(&self, ensure: impl Fn(bool, &'static str) -> Result<(), ThawError>) -> Result<(), ThawError> {
        let Some(HyStart { end, last_us, least_us, samples, baseline_us, rounds }) = self.start else { return Ok(()) };
        ensure(self.ssthresh == u32::MAX, "slow start")?;
        ensure(self.snd_una.le(end) && end.le(self.snd_nxt), "slow start")?;
        ensure(last_us.max(least_us).max(baseline_us) <= RTT_MAX_US, "round-trip time")?;
        ensure(samples <= N_RTT_SAMPLE && rounds < CSS_ROUNDS && (rounds == 0 || baseline_us > 0), "slow start")
    }

    fn check_recovery(
        &self,
        in_flight: u32,
        ensure: impl Fn(bool, &'static str) -> Result<(), ThawError>,
    ) -> Result<(), ThawError> {
        let FrozenRecovery { phase, dup_acks: _, sent, rack, probe, force: _, prr: _, undo } = &self.recovery;
        let point = match *phase {
            Phase::Open => self.snd_nxt,
            Phase::Fast(point) | Phase::Timeout(point) => point,
        };
        ensure(point.le(self.snd_nxt), "recovery point")?;
        let was_sent = |seq: Option<SeqNum>| seq.is_none_or(|seq| seq.le(self.snd_nxt));
        let end = if let Probe::Sent { end, .. } = *probe { Some(end) } else { None };
        ensure(was_sent(rack.newest.map(|(_, end)| end)) && was_sent(rack.boundary), "RACK")?;
        let undo = undo.as_ref();
        ensure(was_sent(undo.map(|undo| undo.from)) && was_sent(undo.and_then(|undo| undo.until)), "undo")?;
        ensure(was_sent(self.signals.point), "ECN state")?;
        ensure(was_sent(rack.dsack_round) && was_sent(end), "RACK")?;
        ensure(rack.rtt_us <= RTT_MAX_US && rack.min_rtt.0 <= RTT_MAX_US, "round-trip time")?;
        let is_sacked = |run: &&Run<Duration>| run.sacked;
        ensure(sent.len() <= RUNS_MAX && sent.iter().filter(is_sacked).count() <= SACKED_RANGES_MAX, "scoreboard")?;
        ensure(*phase != Phase::Open || !sent.iter().any(|run| run.lost), "scoreboard")?;
        // By distances: numbers far apart have no order.
        let mut start = 0;
        for run in sent {
            let Some(end) = run.end.distance_from(self.snd_una) else {
                return Err(ThawError::Impossible("scoreboard"));
            };
            ensure(start < end && !(run.sacked && run.lost), "scoreboard")?;
            start = end;
        }
        ensure(start == in_flight, "scoreboard")
    }

    fn check_receiving(&self, ensure: impl Fn(bool, &'static str) -> Result<(), ThawError>) -> Result<(), ThawError> {
        let window = self.rcv_edge.distance_from(self.rcv_nxt).ok_or(ThawError::Impossible("receive window"))?;
        ensure(window <= WINDOW_MAX, "receive window")?;
        ensure(u32::try_from(self.unread.len()).is_ok_and(|len| len <= WINDOW_MAX), "unread bytes")?;
        let FrozenTuning { grown, rtt_us, measure } = self.tuning;
        let was_consumed = measure.is_none_or(|(_, from)| self.rcv_nxt.distance_from(from).is_some());
        ensure(was_consumed && grown.is_none_or(|grown| grown <= WINDOW_MAX), "receive window's size")?;
        ensure(rtt_us <= RCV_RTT_MAX_US, "receiver's round-trip time")?;
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
        let unread = u32::try_from(self.unread.len()).unwrap_or(WINDOW_MAX) + u32::from(has_received_fin);
        let up = self.rcv_urgent.map_or(Some(1), |up| up.distance_from(self.rcv_nxt - unread));
        let most = unread + window + u32::from(u16::MAX);
        ensure(up.is_some_and(|up| (1..=most).contains(&up)), "urgent pointer")?;
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

    /// Whether it can begin at this place of the stream.
    const fn is_at(&self, place: u64) -> bool {
        match self {
            Self::Here(_) => true,
            Self::Remote { offset, .. } => *offset == place,
        }
    }
}
