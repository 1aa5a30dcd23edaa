//! The boot id: a number that grows with every start of a node, so that messages for an earlier life change nothing.
//!
//! It is read from the wall clock: quarter seconds since 2024. No file is needed, so a node may start from a read-only disk, and a
//! lost disk does not make an old life look new. Two starts never share a number, because a start takes the number of the *next* quarter
//! second and waits for it: whoever starts later sees a later clock.
//!
//! The price: a clock that was set back between two starts makes the later one look older. The front-end then refuses the node
//! until the clock has caught up, which is safe, and says so. Nodes should run a time daemon. 32 bits last until 2058.

use std::thread;
use std::time::{Duration, SystemTime};
use thiserror::Error;

/// 2024-01-01T00:00:00Z in seconds since 1970.
const ORIGIN_UNIX_SECONDS: u64 = 1_704_067_200;

/// The unit of boot ids. Shorter means less waiting at start, longer means more years in 32 bits.
const TICK: Duration = Duration::from_millis(250);

/// Why there is no boot id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BootError {
    /// The wall clock has not been set.
    #[error("the wall clock is before 2024: set it, for a node's boot id must grow with each start")]
    ClockTooEarly,
    /// The wall clock is beyond what 32 bits hold.
    #[error("the wall clock is after 2057: boot ids have run out, or the clock is wrong")]
    ClockTooLate,
}

/// Takes this start's boot id, and waits up to a quarter second until no earlier start can have it.
///
/// # Errors
/// The wall clock is far from right.
pub fn take() -> Result<u32, BootError> {
    let (id, wait) = next(SystemTime::now())?;
    thread::sleep(wait);
    Ok(id)
}

/// The boot id of a start at `now`, and how long that start must wait before it uses it.
fn next(now: SystemTime) -> Result<(u32, Duration), BootError> {
    let origin = SystemTime::UNIX_EPOCH + Duration::from_secs(ORIGIN_UNIX_SECONDS);
    let since = now.duration_since(origin).map_err(|_| BootError::ClockTooEarly)?;
    let id = since.as_millis() / TICK.as_millis() + 1;
    let id = u32::try_from(id).map_err(|_| BootError::ClockTooLate)?;
    Ok((id, (TICK * id).saturating_sub(since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z, 731 days after the origin.
    const NEW_YEAR_2026: u64 = 1_767_225_600;

    fn at(unix_millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(unix_millis)
    }

    #[test]
    fn it_is_the_next_quarter_second() {
        let quarters = 731 * 86_400 * 4;
        for (millis, id, wait) in
            [(0, quarters + 1, 250), (1, quarters + 1, 249), (249, quarters + 1, 1), (250, quarters + 2, 250)]
        {
            assert_eq!(next(at(NEW_YEAR_2026 * 1_000 + millis)), Ok((id, Duration::from_millis(wait))), "{millis}");
        }
    }

    #[test]
    fn a_start_after_the_wait_of_another_has_a_greater_id() {
        for millis in 0..1_000 {
            let now = at(NEW_YEAR_2026 * 1_000 + millis);
            let (id, wait) = next(now).unwrap();
            assert!(next(now + wait).unwrap().0 > id);
        }
    }

    #[test]
    fn a_clock_that_is_far_off_is_refused() {
        let last = ORIGIN_UNIX_SECONDS * 1_000 + (u64::from(u32::MAX) - 1) * 250;
        assert_eq!(next(at(ORIGIN_UNIX_SECONDS * 1_000 - 1)), Err(BootError::ClockTooEarly));
        assert_eq!(next(at(ORIGIN_UNIX_SECONDS * 1_000)).map(|(id, _)| id), Ok(1));
        assert_eq!(next(at(last + 249)).map(|(id, _)| id), Ok(u32::MAX));
        assert_eq!(next(at(last + 250)), Err(BootError::ClockTooLate));
    }
}
