//! What an image says of explicit congestion notification and of Nagle's algorithm: nothing, where they are not in use.
//!
//! ```text
//!  8010  SignalNumbers: flags 1 (1 ECN is in use, 2 ECE is due, 4 CWR is due, 8 the point counts, 16 the short
//!        segment does), reserved 3, point 4, end of the short segment 4
//! ```

use baton_stack::tcp::{Frozen, SeqNum, Signals};
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ImageError;

const FLAG_ECN: u8 = 1 << 0;
const FLAG_ECHO: u8 = 1 << 1;
const FLAG_CWR: u8 = 1 << 2;
const FLAG_POINT: u8 = 1 << 3;
const FLAG_SMALL: u8 = 1 << 4;
const FLAGS_KNOWN: u8 = (1 << 5) - 1;

/// ECN with what was signalled, and the short segment that is in flight.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(C)]
pub(super) struct SignalNumbers {
    flags: u8,
    reserved: [u8; 3],
    point: U32,
    small: U32,
}

const _: () = assert!(size_of::<SignalNumbers>() == 12);

impl SignalNumbers {
    pub(super) fn of(tcb: &Frozen) -> Self {
        let Signals { echo, cwr, point } = tcb.signals;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        Self {
            flags: flag(tcb.opts.ecn, FLAG_ECN)
                | flag(echo, FLAG_ECHO)
                | flag(cwr, FLAG_CWR)
                | flag(point.is_some(), FLAG_POINT)
                | flag(tcb.small.is_some(), FLAG_SMALL),
            reserved: [0; 3],
            point: point.map_or(0, |point| point.0).into(),
            small: tcb.small.map_or(0, |small| small.0).into(),
        }
    }

    pub(super) const fn is_ecn(self) -> bool {
        self.flags & FLAG_ECN != 0
    }

    pub(super) fn small(self) -> Option<SeqNum> {
        (self.flags & FLAG_SMALL != 0).then(|| SeqNum(self.small.get()))
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
