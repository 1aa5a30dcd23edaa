//! What an image says of what is in flight: nothing, for an idle connection.
//!
//! ```text
//!  8005  runs: end 4, age 4 (microseconds; the greatest: or more), marks 1 (1 SACKed, 2 lost, 4 sent again); in order
//!  8007  Flight: recovery, RACK, the tail loss probe, the segment that is timed, and their timers
//!  8008  UndoNumbers: what to take back if the last reduction of the window was needless
//! ```

use baton_stack::tcp::{
    Frozen, FrozenGrowth, FrozenRack, FrozenRecovery, FrozenTimers, Phase, Probe, Prr, RUNS_MAX, Run, SeqNum, Undo,
};
use baton_stack::time::Duration;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ImageError;
use super::block::{growth_numbers, growth_of};
use super::times::{NEVER, duration, micros};
use crate::codec::{Reader, Wire};

/// Bytes of one run.
pub(super) const RUN_LEN: usize = 9;

const MARK_SACKED: u8 = 1 << 0;
const MARK_LOST: u8 = 1 << 1;
const MARK_AGAIN: u8 = 1 << 2;
const MARKS_KNOWN: u8 = (1 << 3) - 1;

const FLAG_FORCE: u8 = 1 << 0;
const FLAG_DSACK_ROUND: u8 = 1 << 1;
const FLAG_BOUNDARY: u8 = 1 << 2;
const FLAGS_KNOWN: u8 = (1 << 3) - 1;

/// The numbers of what is in flight.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(super) struct Flight {
    /// 0: open, 1: fast recovery, 2: after a timeout.
    phase: u8,
    dup_acks: u8,
    flags: u8,
    /// 0: none, 1: due, 2: something new is on its way, 3: something old is.
    probe_kind: u8,
    recovery_point: U32,
    probe_end: U32,
    newest_end: U32,
    newest_age: U64,
    dsack_round: U32,
    boundary: U32,
    timed_seq: U32,
    timed_age: U64,
    retransmit: U64,
    reorder: U64,
    probe: U64,
    prr_delivered: U32,
    prr_out: U32,
    prr_flight: U32,
}

/// What may be taken back.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(super) struct UndoNumbers {
    algorithm: u8,
    flags: u8,
    reserved: U16,
    pipe_prev: U32,
    growth: [U32; 5],
    epoch_age: U64,
    from: U32,
    until: U32,
    stamp: U32,
    again: U32,
    needless: U32,
}

const _: () = assert!(size_of::<Flight>() == 80);
const _: () = assert!(size_of::<UndoNumbers>() == 56);

const UNDO_UNTIL: u8 = 1 << 0;
const UNDO_STAMP: u8 = 1 << 1;
const UNDO_KNOWN: u8 = (1 << 2) - 1;

impl UndoNumbers {
    pub(super) fn of(undo: &Undo<FrozenGrowth>) -> Self {
        let Undo { pipe_prev, growth, from, until, stamp, again, needless } = *undo;
        let (algorithm, growth, epoch_age) = growth_numbers(growth);
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        Self {
            algorithm,
            flags: flag(until.is_some(), UNDO_UNTIL) | flag(stamp.is_some(), UNDO_STAMP),
            reserved: 0.into(),
            pipe_prev: pipe_prev.into(),
            growth,
            epoch_age,
            from: from.0.into(),
            until: until.map_or(0, |until| until.0).into(),
            stamp: stamp.unwrap_or(0).into(),
            again: again.into(),
            needless: needless.into(),
        }
    }

    fn undo(&self) -> Result<Undo<FrozenGrowth>, ImageError> {
        if self.flags & !UNDO_KNOWN != 0 || self.reserved.get() != 0 {
            return Err(ImageError::Malformed("reserved field"));
        }
        Ok(Undo {
            pipe_prev: self.pipe_prev.get(),
            growth: growth_of(self.algorithm, self.growth, self.epoch_age)?,
            from: SeqNum(self.from.get()),
            until: (self.flags & UNDO_UNTIL != 0).then(|| SeqNum(self.until.get())),
            stamp: (self.flags & UNDO_STAMP != 0).then(|| self.stamp.get()),
            again: self.again.get(),
            needless: self.needless.get(),
        })
    }
}

impl Default for Flight {
    fn default() -> Self {
        let (none, never) = (U32::new(0), U64::new(NEVER));
        Self {
            phase: 0,
            dup_acks: 0,
            flags: 0,
            probe_kind: 0,
            recovery_point: none,
            probe_end: none,
            newest_end: none,
            newest_age: never,
            dsack_round: none,
            boundary: none,
            timed_seq: none,
            timed_age: never,
            retransmit: never,
            reorder: never,
            probe: never,
            prr_delivered: none,
            prr_out: none,
            prr_flight: none,
        }
    }
}

impl Flight {
    pub(super) fn of(tcb: &Frozen) -> Self {
        let FrozenRecovery { phase, dup_acks, sent: _, rack, probe, force, prr, undo: _ } = &tcb.recovery;
        let FrozenTimers { retransmit, persist: _, delayed_ack: _, keepalive: _, fin_wait_2: _, reorder, probe: timer } =
            tcb.timers;
        let (phase, point) = match phase {
            Phase::Open => (0, SeqNum(0)),
            Phase::Fast(point) => (1, *point),
            Phase::Timeout(point) => (2, *point),
        };
        let (probe_kind, probe_end) = match *probe {
            Probe::None => (0, SeqNum(0)),
            Probe::Due => (1, SeqNum(0)),
            Probe::Sent { end, is_again } => (2 + u8::from(is_again), end),
        };
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let number = |seq: Option<SeqNum>| U32::new(seq.map_or(0, |seq| seq.0));
        Self {
            phase,
            dup_acks: *dup_acks,
            flags: flag(*force, FLAG_FORCE)
                | flag(rack.dsack_round.is_some(), FLAG_DSACK_ROUND)
                | flag(rack.boundary.is_some(), FLAG_BOUNDARY),
            probe_kind,
            recovery_point: point.0.into(),
            probe_end: probe_end.0.into(),
            newest_end: number(rack.newest.map(|(_, end)| end)),
            newest_age: micros(rack.newest.map(|(age, _)| age)),
            dsack_round: number(rack.dsack_round),
            boundary: number(rack.boundary),
            timed_seq: number(tcb.timed.map(|(seq, _)| seq)),
            timed_age: micros(tcb.timed.map(|(_, age)| age)),
            retransmit: micros(retransmit),
            reorder: micros(reorder),
            probe: micros(timer),
            prr_delivered: prr.delivered.into(),
            prr_out: prr.out.into(),
            prr_flight: prr.flight.into(),
        }
    }

    /// Loss recovery, with its other parts and the `rack` of the Block.
    pub(super) fn recovery(
        &self,
        (sent, undo): (Vec<Run<Duration>>, Option<UndoNumbers>),
        rack: FrozenRack,
    ) -> Result<FrozenRecovery, ImageError> {
        if self.flags & !FLAGS_KNOWN != 0 {
            return Err(ImageError::Malformed("reserved field"));
        }
        let has = |flag: u8| self.flags & flag != 0;
        let point = SeqNum(self.recovery_point.get());
        let end = SeqNum(self.probe_end.get());
        Ok(FrozenRecovery {
            phase: match self.phase {
                0 => Phase::Open,
                1 => Phase::Fast(point),
                2 => Phase::Timeout(point),
                _ => return Err(ImageError::Malformed("recovery phase")),
            },
            dup_acks: self.dup_acks,
            sent,
            rack: FrozenRack {
                newest: duration(self.newest_age).map(|age| (age, SeqNum(self.newest_end.get()))),
                dsack_round: has(FLAG_DSACK_ROUND).then(|| SeqNum(self.dsack_round.get())),
                boundary: has(FLAG_BOUNDARY).then(|| SeqNum(self.boundary.get())),
                ..rack
            },
            probe: match self.probe_kind {
                0 => Probe::None,
                1 => Probe::Due,
                2 => Probe::Sent { end, is_again: false },
                3 => Probe::Sent { end, is_again: true },
                _ => return Err(ImageError::Malformed("tail loss probe")),
            },
            force: has(FLAG_FORCE),
            prr: Prr { delivered: self.prr_delivered.get(), out: self.prr_out.get(), flight: self.prr_flight.get() },
            undo: undo.map(|undo| undo.undo()).transpose()?,
        })
    }

    /// What is left of the timers: retransmission, reordering window, tail loss probe.
    pub(super) fn timers(&self) -> (Option<Duration>, Option<Duration>, Option<Duration>) {
        (duration(self.retransmit), duration(self.reorder), duration(self.probe))
    }

    /// The segment that is timed.
    pub(super) fn timed(&self) -> Option<(SeqNum, Duration)> {
        duration(self.timed_age).map(|age| (SeqNum(self.timed_seq.get()), age))
    }
}

pub(super) fn put_runs(runs: &[Run<Duration>], out: &mut Vec<u8>) {
    for Run { end, sent, sacked, lost, again } in runs {
        end.0.put(out);
        u32::try_from(sent.as_micros()).unwrap_or(u32::MAX).put(out);
        let mark = |is_set: bool, mark: u8| if is_set { mark } else { 0 };
        out.push(mark(*sacked, MARK_SACKED) | mark(*lost, MARK_LOST) | mark(*again, MARK_AGAIN));
    }
}

pub(super) fn take_runs(reader: &mut Reader<'_>) -> Result<Vec<Run<Duration>>, ImageError> {
    let mut runs = Vec::new();
    while runs.len() < RUNS_MAX && !reader.is_empty() {
        let end = reader.take().ok_or(ImageError::Truncated)?;
        let age: u32 = reader.take().ok_or(ImageError::Truncated)?;
        let marks: u8 = reader.take().ok_or(ImageError::Truncated)?;
        if marks & !MARKS_KNOWN != 0 {
            return Err(ImageError::Malformed("scoreboard"));
        }
        let has = |mark: u8| marks & mark != 0;
        let (sacked, lost, again) = (has(MARK_SACKED), has(MARK_LOST), has(MARK_AGAIN));
        runs.push(Run { end: SeqNum(end), sent: Duration::from_micros(age.into()), sacked, lost, again });
    }
    Ok(runs)
}
