//! What an image says of explicit congestion notification: nothing, where it is not in use.
//!
//! ```text
//!  8010  SignalNumbers: flags 1 (1 ECN is in use, 2 ECE is due, 4 CWR is due, 8 the point counts), reserved 3, point 4
//! ```

use baton_stack::tcp::{Frozen, SeqNum, Signals};
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ImageError;

const FLAG_ECN: u8 = 1 << 0;
const FLAG_ECHO: u8 = 1 << 1;
const FLAG_CWR: u8 = 1 << 2;
const FLAG_POINT: u8 = 1 << 3;
const FLAGS_KNOWN: u8 = (1 << 4) - 1;

/// ECN, and what was signalled.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(C)]
pub(super) struct SignalNumbers {
    flags: u8,
    reserved: [u8; 3],
    point: U32,
}

const _: () = assert!(size_of::<SignalNumbers>() == 8);

impl SignalNumbers {
    pub(super) fn of(tcb: &Frozen) -> Self {
        let Signals { echo, cwr, point } = tcb.signals;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        Self {
            flags: flag(tcb.opts.ecn, FLAG_ECN)
                | flag(echo, FLAG_ECHO)
                | flag(cwr, FLAG_CWR)
                | flag(point.is_some(), FLAG_POINT),
            reserved: [0; 3],
            point: point.map_or(0, |point| point.0).into(),
        }
    }

    pub(super) const fn is_ecn(self) -> bool {
        self.flags & FLAG_ECN != 0
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
