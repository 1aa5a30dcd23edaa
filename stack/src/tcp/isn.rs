//! First numbers of a connection: unpredictable to strangers, growing for each flow.

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::seq::SeqNum;
use super::tcb::ts_clock;
use crate::addr::{Flow, IpAddr};
use crate::time::Instant;

/// Told apart in the hash: none gives another away.
const TIMESTAMP_DOMAIN: u8 = 1;
const SEQUENCE_DOMAIN: u8 = 0;
const COOKIE_DOMAIN: u8 = 2;

/// The initial send sequence number of a flow: a 4-microsecond clock plus a keyed hash of the flow (RFC 6528 section 3).
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a clock and a hash that wrap")]
pub fn isn(keys: (u64, u64), flow: &Flow, now: Instant) -> SeqNum {
    SeqNum((now.micros() / 4) as u32) + hash(keys, flow, SEQUENCE_DOMAIN, &[]) as u32
}

/// What is added to the node's millisecond clock for the flow's TSval: a keyed hash (RFC 7323 section 7.1).
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "any 32 bits of the hash do")]
pub fn ts_offset(keys: (u64, u64), flow: &Flow) -> u32 {
    hash(keys, flow, TIMESTAMP_DOMAIN, &[]) as u32
}

/// `offset`, moved on if needed so that the flow's next TSval is above `floor`, which an earlier connection has used.
#[must_use]
pub const fn ts_offset_above(offset: u32, floor: u32, now: Instant) -> u32 {
    let clock = ts_clock(now);
    if SeqNum(floor).lt(SeqNum(clock.wrapping_add(offset))) {
        offset
    } else {
        floor.wrapping_add(1).wrapping_sub(clock)
    }
}

/// For SYN cookies: a keyed hash of the flow and what else is `said`.
pub(super) fn keyed_hash(keys: (u64, u64), flow: &Flow, said: &[u8]) -> u64 {
    hash(keys, flow, COOKIE_DOMAIN, said)
}

fn hash(keys: (u64, u64), flow: &Flow, domain: u8, said: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(keys.0, keys.1);
    hasher.write_u8(domain);
    for end in [flow.client, flow.vip] {
        match end.addr {
            IpAddr::V4(addr) => hasher.write(&addr.octets()),
            IpAddr::V6(addr) => hasher.write(&addr.octets()),
        }
        hasher.write_u16(end.port);
    }
    hasher.write(said);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Endpoint;

    const KEYS: (u64, u64) = (7, 11);

    fn flow(port: u16) -> Flow {
        let end = |addr: [u8; 4], port| Endpoint { addr: IpAddr::from(addr), port };
        Flow { client: end([10, 0, 0, 1], port), vip: end([10, 0, 0, 2], 80) }
    }

    #[test]
    fn numbers_grow_by_one_each_four_microseconds() {
        let first = isn(KEYS, &flow(1), Instant::from_micros(1_000_000));
        let second = isn(KEYS, &flow(1), Instant::from_micros(1_000_400));
        assert_eq!(second.since(first), 100);
        assert_ne!(isn(KEYS, &flow(2), Instant::ZERO), isn(KEYS, &flow(1), Instant::ZERO));
        assert_ne!(isn((7, 12), &flow(1), Instant::ZERO), isn(KEYS, &flow(1), Instant::ZERO));
    }

    #[test]
    fn sequence_numbers_do_not_give_timestamps_away() {
        assert_ne!(isn(KEYS, &flow(1), Instant::ZERO).0, ts_offset(KEYS, &flow(1)));
    }

    #[test]
    fn a_tsval_above_the_floor_also_across_the_wrap() {
        let now = Instant::from_micros(5_000_000);
        for offset in [0, 1, 1 << 31, u32::MAX] {
            for floor in [0, 4_999, 5_000, 1 << 31, u32::MAX] {
                let tsval = 5_000_u32.wrapping_add(ts_offset_above(offset, floor, now));
                assert!(SeqNum(floor).lt(SeqNum(tsval)), "{offset} {floor} {tsval}");
            }
        }
        assert_eq!(ts_offset_above(100, 5_099, now), 100);
        assert_eq!(ts_offset_above(100, 5_100, now), 101);
    }
}
