//! Times in images: microseconds, and a number for none.

use baton_stack::time::Duration;
use zerocopy::byteorder::big_endian::U64;

/// No time: the timer does not run.
pub(super) const NEVER: u64 = u64::MAX;

pub(super) fn micros(time: Option<Duration>) -> U64 {
    let micros = time.map_or(NEVER, |time| u64::try_from(time.as_micros()).map_or(NEVER - 1, |us| us.min(NEVER - 1)));
    micros.into()
}

pub(super) fn duration(micros: U64) -> Option<Duration> {
    let micros = micros.get();
    (micros != NEVER).then(|| Duration::from_micros(micros))
}
