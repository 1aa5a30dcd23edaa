//! What an image says of the first slow start: nothing once that is over, or where nothing is to be sent.
//!
//! ```text
//!  8013  StartNumbers: round's end 4, least round trip of the last round 4, of this round 4, baseline 4, samples 1, rounds 1,
//!        reserved 2
//! ```

use baton_stack::tcp::{HyStart, SeqNum};
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ImageError;

/// HyStart++'s numbers. Times in microseconds, zero: none.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(super) struct StartNumbers {
    end: U32,
    last_us: U32,
    least_us: U32,
    baseline_us: U32,
    samples: u8,
    rounds: u8,
    reserved: U16,
}

const _: () = assert!(size_of::<StartNumbers>() == 20);

impl StartNumbers {
    pub(super) fn of(start: &HyStart) -> Self {
        let HyStart { end, last_us, least_us, samples, baseline_us, rounds } = *start;
        Self {
            end: end.0.into(),
            last_us: last_us.into(),
            least_us: least_us.into(),
            baseline_us: baseline_us.into(),
            samples,
            rounds,
            reserved: 0.into(),
        }
    }

    pub(super) fn start(&self) -> Result<HyStart, ImageError> {
        if self.reserved.get() != 0 {
            return Err(ImageError::Malformed("reserved field"));
        }
        Ok(HyStart {
            end: SeqNum(self.end.get()),
            last_us: self.last_us.get(),
            least_us: self.least_us.get(),
            samples: self.samples,
            baseline_us: self.baseline_us.get(),
            rounds: self.rounds,
        })
    }
}
