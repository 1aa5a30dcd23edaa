//! The TCB's numbers: those that every connection has, in a block of one length. What only some have stands in parts.

use baton_stack::addr::Flow;
use baton_stack::tcp::{
    Frozen, FrozenCubic, FrozenGrowth, FrozenRack, FrozenRecovery, FrozenTimers, Negotiated, NewReno, PathMtu, Rtt,
    SeqNum, State,
};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ImageError;
use super::parts::TcbParts;
use super::times::{duration, micros};

/// The TCB's numbers.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Block {
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

const _: () = assert!(size_of::<Block>() == 208);

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

#[expect(clippy::too_many_lines, reason = "one field a line: nothing to split")]
pub(super) fn block_of(tcb: &Frozen) -> Block {
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
pub(super) fn frozen_of(flow: Flow, block: &Block, parts: TcbParts) -> Result<Frozen, ImageError> {
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
pub(super) fn growth_numbers(growth: FrozenGrowth) -> (u8, [U32; 5], U64) {
    let (algorithm, numbers, epoch_age) = match growth {
        FrozenGrowth::NewReno(NewReno { acked }) => (ALGORITHM_NEW_RENO, [acked, 0, 0, 0, 0], None),
        FrozenGrowth::Cubic(FrozenCubic { w_max, epoch_age, k_ms, w_epoch, w_est, fraction }) => {
            (ALGORITHM_CUBIC, [w_max, k_ms, w_epoch, w_est, fraction], epoch_age)
        }
    };
    (algorithm, numbers.map(U32::new), micros(epoch_age))
}

pub(super) fn growth_of(algorithm: u8, numbers: [U32; 5], epoch_age: U64) -> Result<FrozenGrowth, ImageError> {
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
