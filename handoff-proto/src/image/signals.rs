//! What an image says of explicit congestion notification, of Nagle's algorithm, of urgent data, and of a receive window that grows:
//! nothing, where they are not in use.
//!
//! ```text
//!  8010  SignalNumbers: flags 1 (1 ECN is in use, 2 ECE is due, 4 CWR is due, 8 the point counts, 16 the short
//!        segment does, 32 our urgent pointer does, 64 the client's), reserved 3, point 4, end of the short segment 4, urgent
//!        pointers 4 and 4
//!  8011  WindowNumbers: grown 4 (0: it has not), the receiver's round-trip time 4, consumed 4, age of the measure 8
//! ```

use baton_stack::tcp::{Frozen, FrozenTuning, SeqNum, Signals};
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ImageError;
use super::times::{NEVER, duration, micros};

const FLAG_ECN: u8 = 1 << 0;
const FLAG_ECHO: u8 = 1 << 1;
const FLAG_CWR: u8 = 1 << 2;
const FLAG_POINT: u8 = 1 << 3;
const FLAG_SMALL: u8 = 1 << 4;
const FLAG_SND_URGENT: u8 = 1 << 5;
const FLAG_RCV_URGENT: u8 = 1 << 6;
const FLAGS_KNOWN: u8 = (1 << 7) - 1;

/// ECN with what was signalled, the short segment that is in flight, and urgent pointers.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(C)]
pub(super) struct SignalNumbers {
    flags: u8,
    reserved: [u8; 3],
    point: U32,
    small: U32,
    snd_urgent: U32,
    rcv_urgent: U32,
}

const _: () = assert!(size_of::<SignalNumbers>() == 20);

impl SignalNumbers {
    pub(super) fn of(tcb: &Frozen) -> Self {
        let Signals { echo, cwr, point } = tcb.signals;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let number = |seq: Option<SeqNum>| U32::new(seq.map_or(0, |seq| seq.0));
        Self {
            flags: flag(tcb.opts.ecn, FLAG_ECN)
                | flag(echo, FLAG_ECHO)
                | flag(cwr, FLAG_CWR)
                | flag(point.is_some(), FLAG_POINT)
                | flag(tcb.small.is_some(), FLAG_SMALL)
                | flag(tcb.snd_urgent.is_some(), FLAG_SND_URGENT)
                | flag(tcb.rcv_urgent.is_some(), FLAG_RCV_URGENT),
            reserved: [0; 3],
            point: number(point),
            small: number(tcb.small),
            snd_urgent: number(tcb.snd_urgent),
            rcv_urgent: number(tcb.rcv_urgent),
        }
    }

    pub(super) const fn is_ecn(self) -> bool {
        self.flags & FLAG_ECN != 0
    }

    pub(super) fn small(self) -> Option<SeqNum> {
        (self.flags & FLAG_SMALL != 0).then(|| SeqNum(self.small.get()))
    }

    /// SND.UP and RCV.UP.
    pub(super) fn urgent(self) -> (Option<SeqNum>, Option<SeqNum>) {
        let pointer = |flag: u8, at: U32| (self.flags & flag != 0).then(|| SeqNum(at.get()));
        (pointer(FLAG_SND_URGENT, self.snd_urgent), pointer(FLAG_RCV_URGENT, self.rcv_urgent))
    }

    pub(super) fn signals(self) -> Result<Signals, ImageError> {
        if self.flags & !FLAGS_KNOWN != 0 || self.reserved != [0; 3] {
            return Err(ImageError::Malformed("reserved field"));
        }
        let has = |flag: u8| self.flags & flag != 0;
        let point = has(FLAG_POINT).then(|| SeqNum(self.point.get()));
        Ok(Signals { echo: has(FLAG_ECHO), cwr: has(FLAG_CWR), point })
    }
}

/// The receive window's size, and what it is measured by.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(super) struct WindowNumbers {
    grown: U32,
    rtt_us: U32,
    from: U32,
    age: U64,
}

const _: () = assert!(size_of::<WindowNumbers>() == 20);

impl Default for WindowNumbers {
    fn default() -> Self {
        Self { grown: U32::new(0), rtt_us: U32::new(0), from: U32::new(0), age: U64::new(NEVER) }
    }
}

impl WindowNumbers {
    pub(super) fn of(tuning: FrozenTuning) -> Self {
        let FrozenTuning { grown, rtt_us, measure } = tuning;
        Self {
            grown: grown.unwrap_or(0).into(),
            rtt_us: rtt_us.into(),
            from: measure.map_or(0, |(_, from)| from.0).into(),
            age: micros(measure.map(|(age, _)| age)),
        }
    }

    pub(super) fn tuning(self) -> FrozenTuning {
        let from = SeqNum(self.from.get());
        FrozenTuning {
            grown: Some(self.grown.get()).filter(|grown| *grown > 0),
            rtt_us: self.rtt_us.get(),
            measure: duration(self.age).map(|age| (age, from)),
        }
    }
}
