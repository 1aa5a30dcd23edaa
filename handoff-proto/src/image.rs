//! A frozen connection as bytes.
//!
//! ```text
//!  +----------------------+  Head: who, where, when (fixed, 76 bytes)
//!  | version, ids, flow   |
//!  +----------------------+  Block: the TCB's numbers (fixed, 208 bytes)
//!  | sequence numbers ... |
//!  +----------------------+  the HTTP cursor (fixed, 32 bytes)
//!  | cursor               |
//!  +------+------+--------+
//!  | kind |  len | value  |  parts of any length, in any order; ranges of one kind in theirs
//!  +------+------+--------+
//!  |  ... until the end   |
//! ```
//! All integers are big-endian. Times are microseconds; all bits set means that there is none. A part whose kind has its highest
//! bit set must be understood: who does not know it refuses the image. Any other unknown part is skipped.
//!
//! The reader checks the form; whether the values make a connection is checked where it is thawed
//! ([`Tcb::thaw`](baton_stack::tcp::Tcb::thaw)).

use arrayvec::ArrayVec;
use baton_http1::{CURSOR_LEN, Cursor};
use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr, MacAddr};
use baton_stack::tcp::{
    Bulk, EXTENTS_MAX, Frozen, FrozenBytes, FrozenCubic, FrozenGrowth, FrozenRack, FrozenRecovery, FrozenTimers,
    Negotiated, NewReno, OUT_OF_ORDER_RANGES_MAX, PathMtu, Rtt, Run, SeqNum, State,
};
use baton_stack::time::Duration;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::{Reader, Wire};
use crate::message::{RefuseReason, Served};
use flight::{Flight, RUN_LEN, UndoNumbers};
use path::PathNumbers;
pub use resume::{RESUME_NAME_BYTES_MAX, Resume};
use signals::{SignalNumbers, WindowNumbers};
use start::StartNumbers;

use crate::names::Epoch;

mod beginning;
mod flight;
mod path;
mod resume;
mod signals;
mod start;

/// The longest image, in bytes.
pub const IMAGE_BYTES_MAX: usize = 8 << 20;
/// The version that is written. The one before it, once there is one, is read too.
pub const IMAGE_VERSION: u8 = 1;
/// The length of an idle connection's image at the most, whatever its address family.
pub const IDLE_IMAGE_BYTES_MAX: usize = 384;
/// Requests whose server is decided already, at the most.
pub const PLAN_MAX: usize = 32;

const KIND_MUST_UNDERSTAND: u16 = 1 << 15;
const KIND_UNREAD: u16 = KIND_MUST_UNDERSTAND | 1;
const KIND_OUT_OF_ORDER: u16 = KIND_MUST_UNDERSTAND | 2;
const KIND_BYTES: u16 = KIND_MUST_UNDERSTAND | 3;
const KIND_REMOTE: u16 = KIND_MUST_UNDERSTAND | 4;
const KIND_SENT: u16 = KIND_MUST_UNDERSTAND | 5;
const KIND_PLAN: u16 = KIND_MUST_UNDERSTAND | 6;
const KIND_FLIGHT: u16 = KIND_MUST_UNDERSTAND | 7;
const KIND_UNDO: u16 = KIND_MUST_UNDERSTAND | 8;
const KIND_RESUME: u16 = KIND_MUST_UNDERSTAND | 9;
const KIND_SIGNALS: u16 = KIND_MUST_UNDERSTAND | 0x10;
const KIND_WINDOW: u16 = KIND_MUST_UNDERSTAND | 0x11;
const KIND_PATH: u16 = KIND_MUST_UNDERSTAND | 0x12;
const KIND_START: u16 = KIND_MUST_UNDERSTAND | 0x13;

/// Kind and length in front of a part.
const PART_HEADER_LEN: usize = 6;
/// The longest part whose length is fixed, the flight's and the undo's aside.
const PART_FIXED_LEN_MAX: usize = 24;
/// Kinds of parts of which there is one at the most.
const PARTS_MAX_ONCE: usize = 9;

/// No time: the timer does not run.
const NEVER: u64 = u64::MAX;

/// Everything that a new owner needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The connection.
    pub c: ConnId,
    /// The donor's epoch.
    pub base: Epoch,
    /// The recipient's epoch.
    pub epoch: Epoch,
    /// The highest epoch under which it was ever tried to move the connection.
    pub tried: Epoch,
    /// Where the client's packets come from, and so where packets to it go.
    pub next_hop: MacAddr,
    /// The TCB.
    pub tcb: Frozen,
    /// Where the parser stands.
    pub cursor: Cursor,
    /// What is decided of requests to come.
    pub plan: Plan,
    /// The response that is being sent, if one is: the new owner goes on with it.
    pub resume: Option<Resume>,
    /// What the connection was used for so far.
    pub served: Served,
}

/// A request that the recipient is to serve itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Its ordinal on the connection.
    pub n: u32,
    /// Bytes of its path that the service does not see.
    pub strip: u16,
}

/// Requests whose server is decided: at most [`PLAN_MAX`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan(ArrayVec<Planned, PLAN_MAX>);

impl Plan {
    /// One request.
    #[must_use]
    pub fn of(planned: Planned) -> Self {
        Self(ArrayVec::from_iter([planned]))
    }

    /// Adds a request. False if there is no room.
    #[must_use]
    pub fn push(&mut self, planned: Planned) -> bool {
        self.0.try_push(planned).is_ok()
    }

    /// The requests.
    pub fn iter(&self) -> impl Iterator<Item = Planned> + '_ {
        self.0.iter().copied()
    }
}

/// Why bytes are no image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImageError {
    /// Too short for what it says of itself.
    #[error("the image ends too early")]
    Truncated,
    /// Of another version.
    #[error("the image is of version {0}")]
    Version(u8),
    /// A part that must be understood, and is not.
    #[error("the image has a part of unknown kind {0:#06x}")]
    UnknownPart(u16),
    /// A field or part, named here, has a value or comes as often as in no image.
    #[error("no image has such a {0}")]
    Malformed(&'static str),
}

impl ImageError {
    /// What the donor is told.
    #[must_use]
    pub const fn refusal(self) -> RefuseReason {
        match self {
            Self::Version(_) | Self::UnknownPart(_) => RefuseReason::Version,
            Self::Truncated | Self::Malformed(_) => RefuseReason::Malformed,
        }
    }
}

/// Who, where, when.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Head {
    version: u8,
    /// 4 or 6.
    family: u8,
    next_hop: [u8; 6],
    c: U64,
    base: U32,
    epoch: U32,
    tried: U32,
    served_requests: U32,
    served_bytes: U64,
    /// An IPv4 address stands in front, zeros behind it.
    client_addr: [u8; 16],
    vip_addr: [u8; 16],
    client_port: U16,
    vip_port: U16,
}

/// The TCB's numbers.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Block {
    state: u8,
    flags: u8,
    snd_scale: u8,
    rcv_scale: u8,
    snd_mss: U16,
    rcv_mss: U16,
    iss: U32,
    snd_una: U32,
    snd_nxt: U32,
    snd_wnd: U32,
    snd_wl1: U32,
    snd_wl2: U32,
    max_wnd: U32,
    irs: U32,
    rcv_nxt: U32,
    rcv_edge: U32,
    rcv_latest: U32,
    rcv_fin: U32,
    tsval: U32,
    ts_recent: U32,
    ts_recent_age: U64,
    last_ack_sent: U32,
    srtt_us: U32,
    rttvar_us: U32,
    backoff: u8,
    unanswered: u8,
    unacked_segments: u8,
    /// RACK.reo_wnd_mult, less one.
    reo_wnd_wider: u8,
    cwnd: U32,
    ssthresh: U32,
    /// 1: NewReno, 2: CUBIC.
    algorithm: u8,
    reo_wnd_persist: u8,
    path_confirmed: U16,
    /// NewReno: bytes acknowledged. CUBIC: `W_max`, K, window at the epoch, `W_est`, fraction.
    growth: [U32; 5],
    epoch_age: U64,
    rack_rtt_us: U32,
    min_rtt_us: U32,
    min_rtt_age: U64,
    persist: U64,
    delayed_ack: U64,
    keepalive: U64,
    fin_wait_2: U64,
    sent_age: U64,
    heard_age: U64,
    waiting_age: U64,
    /// How many bytes were sent and are acknowledged.
    snd_place: U64,
}

const _: () = assert!(size_of::<Head>() == 76);
const _: () = assert!(size_of::<Block>() == 208);
const _: () = assert!(size_of::<Head>() + size_of::<Block>() + CURSOR_LEN < IDLE_IMAGE_BYTES_MAX);

const FLAG_SACK: u8 = 1 << 0;
const FLAG_TIMESTAMPS: u8 = 1 << 1;
const FLAG_SCALING: u8 = 1 << 2;
const FLAG_FIN: u8 = 1 << 3;
const FLAG_RCV_FIN: u8 = 1 << 4;
const FLAG_ACK_NOW: u8 = 1 << 5;
const FLAG_PROBE_NOW: u8 = 1 << 6;
const FLAG_REORDERING: u8 = 1 << 7;

const ALGORITHM_NEW_RENO: u8 = 1;
const ALGORITHM_CUBIC: u8 = 2;

const STATES: [State; 7] = [
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];

impl Image {
    /// The image's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len_about());
        out.extend_from_slice(self.head().as_bytes());
        out.extend_from_slice(block_of(&self.tcb).as_bytes());
        let mut cursor = [0; CURSOR_LEN];
        self.cursor.encode(&mut cursor);
        out.extend_from_slice(&cursor);
        if !self.plan.0.is_empty() {
            put_part(&mut out, KIND_PLAN, |out| {
                for Planned { n, strip } in self.plan.iter() {
                    n.put(out);
                    strip.put(out);
                }
            });
        }
        if let Some(resume) = &self.resume {
            resume.put(KIND_RESUME, &mut out);
        }
        put_parts(&mut out, &self.tcb);
        out
    }

    /// Reads an image.
    ///
    /// # Errors
    /// It is none, or one that this version cannot read.
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        let version = *bytes.first().ok_or(ImageError::Truncated)?;
        if version != IMAGE_VERSION {
            return Err(ImageError::Version(version));
        }
        let (head, rest) = Head::read_from_prefix(bytes).map_err(|_| ImageError::Truncated)?;
        let (block, rest) = Block::read_from_prefix(rest).map_err(|_| ImageError::Truncated)?;
        let mut reader = Reader::new(rest);
        let cursor = reader.array::<CURSOR_LEN>().ok_or(ImageError::Truncated)?;
        let cursor = Cursor::decode(&cursor).map_err(|_| ImageError::Malformed("cursor"))?;
        let parts = Parts::take(&mut reader)?;
        let flow = flow_of(&head)?;
        Ok(Self {
            c: ConnId(head.c.get()),
            base: Epoch(head.base.get()),
            epoch: Epoch(head.epoch.get()),
            tried: Epoch(head.tried.get()),
            next_hop: MacAddr(head.next_hop),
            cursor,
            served: Served { requests: head.served_requests.get(), bytes: head.served_bytes.get() },
            plan: Plan(parts.plan),
            resume: parts.resume,
            tcb: frozen_of(flow, &block, parts.tcb)?,
        })
    }

    /// How long the image of a connection is at the most that has this in it, with all bytes to send, one planned request and the
    /// response that goes on.
    #[must_use]
    pub fn len_at_most(bulk: &Bulk, resume: Option<&Resume>) -> u64 {
        let Bulk { local, extents, received, ranges, runs } = *bulk;
        let parts = (extents + ranges + PARTS_MAX_ONCE) * (PART_HEADER_LEN + PART_FIXED_LEN_MAX);
        let once = size_of::<Flight>() + size_of::<UndoNumbers>() + resume.map_or(0, Resume::len);
        let known = received + parts + runs * RUN_LEN + once;
        let fixed = size_of::<Head>() + size_of::<Block>() + CURSOR_LEN;
        local.saturating_add(u64::try_from(fixed + known).unwrap_or(u64::MAX))
    }

    fn head(&self) -> Head {
        let Self { c, base, epoch, tried, next_hop, tcb, cursor: _, plan: _, resume: _, served } = self;
        let Flow { client, vip } = tcb.flow;
        Head {
            version: IMAGE_VERSION,
            family: if client.addr.is_ipv4() { 4 } else { 6 },
            next_hop: next_hop.0,
            c: c.0.into(),
            base: base.0.into(),
            epoch: epoch.0.into(),
            tried: tried.0.into(),
            served_requests: served.requests.into(),
            served_bytes: served.bytes.into(),
            client_addr: address_bytes(client.addr),
            vip_addr: address_bytes(vip.addr),
            client_port: client.port.into(),
            vip_port: vip.port.into(),
        }
    }

    /// What the image will take, and a little more.
    fn len_about(&self) -> usize {
        let queue = self.tcb.queue.iter().map(|bytes| match bytes {
            FrozenBytes::Here(bytes) => bytes.len() + 8,
            FrozenBytes::Remote { .. } => 32,
        });
        let ranges = self.tcb.out_of_order.iter().map(|(_, bytes)| bytes.len() + 16);
        let bytes = queue.chain(ranges).sum::<usize>() + self.tcb.unread.len();
        IDLE_IMAGE_BYTES_MAX + bytes + self.tcb.recovery.sent.len() * RUN_LEN + 80 + self.plan.0.len() * 8
    }
}

/// The parts of any length.
#[derive(Default)]
struct Parts {
    plan: ArrayVec<Planned, PLAN_MAX>,
    resume: Option<Resume>,
    tcb: TcbParts,
}

/// Those of a TCB.
#[derive(Default)]
struct TcbParts {
    queue: Vec<FrozenBytes>,
    unread: Option<Vec<u8>>,
    out_of_order: Vec<(SeqNum, Vec<u8>)>,
    sent: Vec<Run<Duration>>,
    flight: Option<Flight>,
    undo: Option<UndoNumbers>,
    signals: Option<SignalNumbers>,
    window: Option<WindowNumbers>,
    path: Option<PathNumbers>,
    start: Option<StartNumbers>,
}

impl Parts {
    fn take(reader: &mut Reader<'_>) -> Result<Self, ImageError> {
        let mut parts = Self::default();
        while !reader.is_empty() {
            let kind: u16 = reader.take().ok_or(ImageError::Truncated)?;
            let len: u32 = reader.take().ok_or(ImageError::Truncated)?;
            let len = usize::try_from(len).map_err(|_| ImageError::Truncated)?;
            let value = reader.bytes(len).ok_or(ImageError::Truncated)?;
            parts.add(kind, value)?;
        }
        Ok(parts)
    }

    fn add(&mut self, kind: u16, value: &[u8]) -> Result<(), ImageError> {
        let mut reader = Reader::new(value);
        let Self { plan, resume, tcb } = self;
        match kind {
            KIND_UNREAD if tcb.unread.is_none() => tcb.unread = Some(value.to_vec()),
            KIND_UNREAD => return Err(ImageError::Malformed("second part of unread bytes")),
            KIND_OUT_OF_ORDER if tcb.out_of_order.len() < OUT_OF_ORDER_RANGES_MAX => {
                let seq = reader.take().ok_or(ImageError::Truncated)?;
                tcb.out_of_order.push((SeqNum(seq), reader.rest().to_vec()));
            }
            KIND_BYTES if tcb.queue.len() < EXTENTS_MAX => tcb.queue.push(FrozenBytes::Here(value.to_vec())),
            KIND_REMOTE if tcb.queue.len() < EXTENTS_MAX => tcb.queue.push(take_remote(&mut reader)?),
            KIND_SENT if tcb.sent.is_empty() => {
                tcb.sent = flight::take_runs(&mut reader)?;
                ensure_end(&reader, "scoreboard")?;
            }
            KIND_FLIGHT if tcb.flight.is_none() => {
                tcb.flight = Some(Flight::read_from_bytes(value).map_err(|_| ImageError::Malformed("flight"))?);
            }
            KIND_UNDO if tcb.undo.is_none() => {
                tcb.undo = Some(UndoNumbers::read_from_bytes(value).map_err(|_| ImageError::Malformed("undo"))?);
            }
            KIND_SIGNALS if tcb.signals.is_none() => {
                let signals = SignalNumbers::read_from_bytes(value);
                tcb.signals = Some(signals.map_err(|_| ImageError::Malformed("signals"))?);
            }
            KIND_WINDOW if tcb.window.is_none() => {
                let window = WindowNumbers::read_from_bytes(value);
                tcb.window = Some(window.map_err(|_| ImageError::Malformed("receive window"))?);
            }
            KIND_PATH if tcb.path.is_none() => {
                tcb.path = Some(PathNumbers::read_from_bytes(value).map_err(|_| ImageError::Malformed("path"))?);
            }
            KIND_START if tcb.start.is_none() => {
                tcb.start =
                    Some(StartNumbers::read_from_bytes(value).map_err(|_| ImageError::Malformed("slow start"))?);
            }
            KIND_RESUME if resume.is_none() => *resume = Some(Resume::take(value)?),
            KIND_PLAN if plan.is_empty() => {
                while !plan.is_full() && !reader.is_empty() {
                    let n = reader.take().ok_or(ImageError::Truncated)?;
                    let strip = reader.take().ok_or(ImageError::Truncated)?;
                    plan.push(Planned { n, strip });
                }
                ensure_end(&reader, "plan")?;
            }
            KIND_OUT_OF_ORDER | KIND_BYTES | KIND_REMOTE | KIND_SENT | KIND_FLIGHT | KIND_UNDO | KIND_SIGNALS
            | KIND_WINDOW | KIND_PATH | KIND_START | KIND_PLAN | KIND_RESUME => {
                return Err(ImageError::Malformed("number of parts"));
            }
            kind if kind & KIND_MUST_UNDERSTAND != 0 => return Err(ImageError::UnknownPart(kind)),
            _ => {}
        }
        Ok(())
    }
}

fn take_remote(reader: &mut Reader<'_>) -> Result<FrozenBytes, ImageError> {
    let holder = reader.take().ok_or(ImageError::Truncated)?;
    let offset = reader.take().ok_or(ImageError::Truncated)?;
    let len = reader.take().ok_or(ImageError::Truncated)?;
    ensure_end(reader, "remote extent")?;
    Ok(FrozenBytes::Remote { holder, offset, len })
}

fn ensure_end(reader: &Reader<'_>, name: &'static str) -> Result<(), ImageError> {
    if reader.is_empty() { Ok(()) } else { Err(ImageError::Malformed(name)) }
}

/// Writes a part; its length is filled in afterwards.
fn put_part(out: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    kind.put(out);
    let at = out.len();
    0_u32.put(out);
    value(out);
    // An image is never longer than a few megabytes.
    let len = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

fn put_parts(out: &mut Vec<u8>, tcb: &Frozen) {
    if !tcb.unread.is_empty() {
        put_part(out, KIND_UNREAD, |out| out.extend_from_slice(&tcb.unread));
    }
    for (seq, bytes) in &tcb.out_of_order {
        put_part(out, KIND_OUT_OF_ORDER, |out| {
            seq.0.put(out);
            out.extend_from_slice(bytes);
        });
    }
    for bytes in &tcb.queue {
        match bytes {
            FrozenBytes::Here(bytes) => put_part(out, KIND_BYTES, |out| out.extend_from_slice(bytes)),
            FrozenBytes::Remote { holder, offset, len } => put_part(out, KIND_REMOTE, |out| {
                holder.put(out);
                offset.put(out);
                len.put(out);
            }),
        }
    }
    if !tcb.recovery.sent.is_empty() {
        put_part(out, KIND_SENT, |out| flight::put_runs(&tcb.recovery.sent, out));
    }
    let flight = Flight::of(tcb);
    if flight != Flight::default() {
        put_part(out, KIND_FLIGHT, |out| out.extend_from_slice(flight.as_bytes()));
    }
    if let Some(undo) = &tcb.recovery.undo {
        put_part(out, KIND_UNDO, |out| out.extend_from_slice(UndoNumbers::of(undo).as_bytes()));
    }
    let signals = SignalNumbers::of(tcb);
    if signals != SignalNumbers::default() {
        put_part(out, KIND_SIGNALS, |out| out.extend_from_slice(signals.as_bytes()));
    }
    let window = WindowNumbers::of(tcb.tuning);
    if window != WindowNumbers::default() {
        put_part(out, KIND_WINDOW, |out| out.extend_from_slice(window.as_bytes()));
    }
    if tcb.path != (PathMtu { confirmed: tcb.path.confirmed, ..PathMtu::default() }) {
        put_part(out, KIND_PATH, |out| out.extend_from_slice(PathNumbers::of(&tcb.path).as_bytes()));
    }
    if let Some(start) = &tcb.start {
        put_part(out, KIND_START, |out| out.extend_from_slice(StartNumbers::of(start).as_bytes()));
    }
}

#[expect(clippy::too_many_lines, reason = "one field a line: nothing to split")]
fn block_of(tcb: &Frozen) -> Block {
    let Frozen {
        flow: _,
        state,
        opts,
        iss,
        snd_una,
        snd_nxt,
        snd_wnd,
        snd_wl1,
        snd_wl2,
        max_wnd,
        snd_place,
        queue: _,
        fin,
        small: _,
        snd_urgent: _,
        irs,
        rcv_nxt,
        rcv_edge,
        unread: _,
        out_of_order: _,
        rcv_latest,
        rcv_fin,
        rcv_urgent: _,
        tuning: _,
        tsval,
        ts_recent,
        ts_recent_age,
        last_ack_sent,
        rtt,
        cwnd,
        ssthresh,
        growth,
        start: _,
        recovery,
        signals: _,
        path,
        timers,
        timed: _,
        sent_age,
        heard_age,
        waiting_age,
        unanswered,
        unacked_segments,
        ack_now,
        probe_now,
    } = tcb;
    let Negotiated { snd_mss, rcv_mss, snd_scale, rcv_scale, sack, timestamps, ecn: _ } = *opts;
    let Rtt { srtt_us, rttvar_us, backoff } = *rtt;
    let FrozenRecovery { phase: _, dup_acks: _, sent: _, rack, probe: _, force: _, prr: _, undo: _ } = recovery;
    let FrozenRack { newest: _, rtt_us, min_rtt, is_reordering_seen, wider, persist, dsack_round: _, boundary: _ } =
        *rack;
    let reo_wnd_persist = persist;
    let FrozenTimers { retransmit: _, persist, delayed_ack, keepalive, fin_wait_2, reorder: _, probe: _ } = *timers;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(sack, FLAG_SACK)
        | flag(timestamps, FLAG_TIMESTAMPS)
        | flag(snd_scale.is_some(), FLAG_SCALING)
        | flag(*fin, FLAG_FIN)
        | flag(rcv_fin.is_some(), FLAG_RCV_FIN)
        | flag(*ack_now, FLAG_ACK_NOW)
        | flag(*probe_now, FLAG_PROBE_NOW)
        | flag(is_reordering_seen, FLAG_REORDERING);
    let (algorithm, growth, epoch_age) = growth_numbers(*growth);
    Block {
        state: *state as u8,
        flags,
        snd_scale: snd_scale.unwrap_or(0),
        rcv_scale,
        snd_mss: snd_mss.into(),
        rcv_mss: rcv_mss.into(),
        iss: iss.0.into(),
        snd_una: snd_una.0.into(),
        snd_nxt: snd_nxt.0.into(),
        snd_wnd: (*snd_wnd).into(),
        snd_wl1: snd_wl1.0.into(),
        snd_wl2: snd_wl2.0.into(),
        max_wnd: (*max_wnd).into(),
        irs: irs.0.into(),
        rcv_nxt: rcv_nxt.0.into(),
        rcv_edge: rcv_edge.0.into(),
        rcv_latest: rcv_latest.0.into(),
        rcv_fin: rcv_fin.map_or(0, |fin| fin.0).into(),
        tsval: (*tsval).into(),
        ts_recent: (*ts_recent).into(),
        ts_recent_age: micros(Some(*ts_recent_age)),
        last_ack_sent: last_ack_sent.0.into(),
        srtt_us: srtt_us.into(),
        rttvar_us: rttvar_us.into(),
        backoff,
        unanswered: *unanswered,
        unacked_segments: *unacked_segments,
        reo_wnd_wider: wider,
        cwnd: (*cwnd).into(),
        ssthresh: (*ssthresh).into(),
        algorithm,
        reo_wnd_persist,
        path_confirmed: path.confirmed.into(),
        growth,
        epoch_age,
        rack_rtt_us: rtt_us.into(),
        min_rtt_us: min_rtt.0.into(),
        min_rtt_age: micros(Some(min_rtt.1)),
        persist: micros(persist),
        delayed_ack: micros(delayed_ack),
        keepalive: micros(keepalive),
        fin_wait_2: micros(fin_wait_2),
        sent_age: micros(Some(*sent_age)),
        heard_age: micros(Some(*heard_age)),
        waiting_age: micros(Some(*waiting_age)),
        snd_place: (*snd_place).into(),
    }
}

#[expect(clippy::too_many_lines, reason = "one field a line: nothing to split")]
fn frozen_of(flow: Flow, block: &Block, parts: TcbParts) -> Result<Frozen, ImageError> {
    let TcbParts { queue, unread, out_of_order, sent, flight, undo, signals, window, path, start } = parts;
    let signals = signals.unwrap_or_default();
    let flight = flight.unwrap_or_default();
    let has = |flag: u8| block.flags & flag != 0;
    let state = STATES.into_iter().find(|state| *state as u8 == block.state);
    let seq = |number: U32| SeqNum(number.get());
    let age = |age: U64| duration(age).ok_or(ImageError::Malformed("age"));
    Ok(Frozen {
        flow,
        state: state.ok_or(ImageError::Malformed("state"))?,
        opts: Negotiated {
            snd_mss: block.snd_mss.get(),
            rcv_mss: block.rcv_mss.get(),
            snd_scale: has(FLAG_SCALING).then_some(block.snd_scale),
            rcv_scale: block.rcv_scale,
            sack: has(FLAG_SACK),
            timestamps: has(FLAG_TIMESTAMPS),
            ecn: signals.is_ecn(),
        },
        iss: seq(block.iss),
        snd_una: seq(block.snd_una),
        snd_nxt: seq(block.snd_nxt),
        snd_wnd: block.snd_wnd.get(),
        snd_wl1: seq(block.snd_wl1),
        snd_wl2: seq(block.snd_wl2),
        max_wnd: block.max_wnd.get(),
        snd_place: block.snd_place.get(),
        queue,
        fin: has(FLAG_FIN),
        small: signals.small(),
        snd_urgent: signals.urgent().0,
        irs: seq(block.irs),
        rcv_nxt: seq(block.rcv_nxt),
        rcv_edge: seq(block.rcv_edge),
        unread: unread.unwrap_or_default(),
        out_of_order,
        rcv_latest: seq(block.rcv_latest),
        rcv_fin: has(FLAG_RCV_FIN).then(|| seq(block.rcv_fin)),
        rcv_urgent: signals.urgent().1,
        tuning: window.unwrap_or_default().tuning(),
        tsval: block.tsval.get(),
        ts_recent: block.ts_recent.get(),
        ts_recent_age: age(block.ts_recent_age)?,
        last_ack_sent: seq(block.last_ack_sent),
        rtt: Rtt { srtt_us: block.srtt_us.get(), rttvar_us: block.rttvar_us.get(), backoff: block.backoff },
        cwnd: block.cwnd.get(),
        ssthresh: block.ssthresh.get(),
        growth: growth_of(block.algorithm, block.growth, block.epoch_age)?,
        start: start.map(|start| start.start()).transpose()?,
        recovery: flight.recovery(
            (sent, undo),
            FrozenRack {
                rtt_us: block.rack_rtt_us.get(),
                min_rtt: (block.min_rtt_us.get(), age(block.min_rtt_age)?),
                is_reordering_seen: has(FLAG_REORDERING),
                wider: block.reo_wnd_wider,
                persist: block.reo_wnd_persist,
                ..FrozenRack::default()
            },
        )?,
        signals: signals.signals()?,
        path: match path {
            Some(path) => path.path(block.path_confirmed.get())?,
            None => PathMtu { confirmed: block.path_confirmed.get(), ..PathMtu::default() },
        },
        timers: FrozenTimers {
            retransmit: flight.timers().0,
            persist: duration(block.persist),
            delayed_ack: duration(block.delayed_ack),
            keepalive: duration(block.keepalive),
            fin_wait_2: duration(block.fin_wait_2),
            reorder: flight.timers().1,
            probe: flight.timers().2,
        },
        timed: flight.timed(),
        sent_age: age(block.sent_age)?,
        heard_age: age(block.heard_age)?,
        waiting_age: age(block.waiting_age)?,
        unanswered: block.unanswered,
        unacked_segments: block.unacked_segments,
        ack_now: has(FLAG_ACK_NOW),
        probe_now: has(FLAG_PROBE_NOW),
    })
}

/// The algorithm, its numbers, and how long ago its epoch began.
fn growth_numbers(growth: FrozenGrowth) -> (u8, [U32; 5], U64) {
    let (algorithm, numbers, epoch_age) = match growth {
        FrozenGrowth::NewReno(NewReno { acked }) => (ALGORITHM_NEW_RENO, [acked, 0, 0, 0, 0], None),
        FrozenGrowth::Cubic(FrozenCubic { w_max, epoch_age, k_ms, w_epoch, w_est, fraction }) => {
            (ALGORITHM_CUBIC, [w_max, k_ms, w_epoch, w_est, fraction], epoch_age)
        }
    };
    (algorithm, numbers.map(U32::new), micros(epoch_age))
}

fn growth_of(algorithm: u8, numbers: [U32; 5], epoch_age: U64) -> Result<FrozenGrowth, ImageError> {
    let [a, b, c, d, e] = numbers.map(U32::get);
    match algorithm {
        ALGORITHM_NEW_RENO => Ok(FrozenGrowth::NewReno(NewReno { acked: a })),
        ALGORITHM_CUBIC => {
            let epoch_age = duration(epoch_age);
            Ok(FrozenGrowth::Cubic(FrozenCubic { w_max: a, epoch_age, k_ms: b, w_epoch: c, w_est: d, fraction: e }))
        }
        _ => Err(ImageError::Malformed("congestion algorithm")),
    }
}

fn flow_of(head: &Head) -> Result<Flow, ImageError> {
    let addr = |bytes: [u8; 16]| match head.family {
        4 => {
            let [a, b, c, d, rest @ ..] = bytes;
            if rest == [0; 12] { Ok(IpAddr::from([a, b, c, d])) } else { Err(ImageError::Malformed("address")) }
        }
        6 => Ok(IpAddr::from(bytes)),
        _ => Err(ImageError::Malformed("address family")),
    };
    Ok(Flow {
        client: Endpoint { addr: addr(head.client_addr)?, port: head.client_port.get() },
        vip: Endpoint { addr: addr(head.vip_addr)?, port: head.vip_port.get() },
    })
}

fn address_bytes(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => {
            let [a, b, c, d] = addr.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(addr) => addr.octets(),
    }
}

fn micros(time: Option<Duration>) -> U64 {
    let micros = time.map_or(NEVER, |time| u64::try_from(time.as_micros()).map_or(NEVER - 1, |us| us.min(NEVER - 1)));
    micros.into()
}

fn duration(micros: U64) -> Option<Duration> {
    let micros = micros.get();
    (micros != NEVER).then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests;
