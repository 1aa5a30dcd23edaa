//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use crate::addr::IpAddr;

/// Bytes that one step of a sum takes.
const STEP: usize = 32;

/// The ones' complement sum of `bytes` as 16-bit big-endian words; an odd last byte is padded with zero.
fn sum(bytes: &[u8]) -> u64 {
    // The machine's own byte order and words of any width do as well, if the folded sum is turned round at the end (RFC
    // 1071 section 2 (B) and (C)). 2^32 is 1 modulo 2^16 - 1, as 2^16 is, and so is each carry out of the highest word.
    let mut steps = bytes.chunks_exact(STEP);
    let (mut wide, mut carries) = (0_u128, 0_u64);
    for step in &mut steps {
        for words in step.as_chunks::<16>().0 {
            let (sum, carry) = wide.overflowing_add(u128::from_ne_bytes(*words));
            (wide, carries) = (sum, carries + u64::from(carry));
        }
    }
    let [a, b, c, d] = [0, 32, 64, 96].map(|shift| u64::try_from(wide >> shift & 0xffff_ffff).unwrap_or(0));
    let mut total = a + b + c + d + carries;
    let (words, last) = steps.remainder().as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let mut padded = [0; 4];
    for (to, from) in padded.iter_mut().zip(last) {
        *to = *from;
    }
    total += u64::from(u32::from_ne_bytes(padded));
    u64::from(fold(total).to_be())
}

#[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits by the loop")]
const fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The checksum field for `bytes`, in which that field is zero. Over bytes that contain a right checksum it is zero.
#[must_use]
#[inline]
pub fn of(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// Whether an IPv4 header without options has a right checksum: as [`of`], for the one length that every forwarded packet has.
#[must_use]
#[inline]
pub fn is_right_in(header: &[u8; 20]) -> bool {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, last @ ..] = *header;
    // 2^64 is 1 modulo 2^16 - 1, as 2^16 is: what is carried out at the top comes back at the bottom.
    let add = |sum: u64, number| {
        let (sum, carry) = sum.overflowing_add(number);
        sum + u64::from(carry)
    };
    let sum = add(u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p]));
    let sum = add(sum, u64::from(u32::from_ne_bytes(last)));
    // Folding keeps what is left modulo 2^16 - 1, and of this zero folds to all ones: a header is never all zeros.
    sum.is_multiple_of(0xffff)
}

/// The checksum of a TCP, UDP or ICMPv6 packet with its pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
#[must_use]
pub fn of_transport(src: IpAddr, dst: IpAddr, protocol: u8, packet: &[u8]) -> u16 {
    let addresses = match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => sum(&s.octets()) + sum(&d.octets()),
        (IpAddr::V6(s), IpAddr::V6(d)) => sum(&s.octets()) + sum(&d.octets()),
        // A packet has one family; anything else cannot come out of a parser.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return 0xffff,
    };
    !fold(addresses + u64::from(protocol) + packet.len() as u64 + sum(packet))
}

/// The checksum of an IPv4 header whose time to live has become smaller by one: the word of it and the
/// protocol is smaller by 0x0100 (RFC 1624 equation 3).
#[must_use]
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "what is cut off has been added")]
pub const fn after_a_hop(checksum: u16) -> u16 {
    let sum = checksum as u32 + 0x0100;
    (sum + (sum >= 0xffff) as u32) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn example_of_rfc_1071() {
        // Section 3: the sum of 0001 f203 f4f5 f6f7 is ddf2.
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    /// The checksum after one 16-bit word it covers changed from `old` to `new` (RFC 1624 equation 3).
    fn updated(checksum: u16, old: u16, new: u16) -> u16 {
        !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
    }

    #[test]
    fn carries_of_a_header_are_kept() {
        let mut header = [0xff; 20];
        header[0] = 0x45;
        for last in 0..=u16::MAX {
            [header[18], header[19]] = last.to_be_bytes();
            assert_eq!(is_right_in(&header), of(&header) == 0, "{last:04x}");
        }
    }

    #[test]
    fn a_hop_changes_a_checksum_as_any_other_word_does() {
        for checksum in 0..=u16::MAX {
            assert_eq!(after_a_hop(checksum), updated(checksum, 0x0100, 0), "{checksum:04x}");
        }
    }

    #[test]
    fn odd_length_is_padded_with_zero() {
        assert_eq!(of(&[1, 2, 3]), of(&[1, 2, 3, 0]));
    }

    /// The sum as RFC 1071 section 1 has it, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        !fold(bytes.chunks(2).map(word).sum())
    }

    proptest! {
        #[test]
        fn a_header_is_right_when_its_sum_is_zero(mut header: [u8; 20], is_sealed: bool) {
            header[0] = 0x45;
            if is_sealed {
                header[10..12].fill(0);
                let checksum = of(&header);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                prop_assert!(is_right_in(&header));
            }
            prop_assert_eq!(is_right_in(&header), of(&header) == 0);
        }
    }

    #[test]
    fn carries_of_long_packets_are_kept() {
        for len in [1_460, 65_535] {
            assert_eq!(of(&vec![0xff; len]), plain(&vec![0xff; len]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_sum_as_word_by_word(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(of(&bytes), plain(&bytes));
        }

        #[test]
        fn right_checksum_sums_to_zero(mut bytes in proptest::collection::vec(any::<u8>(), 2..200)) {
            bytes[0] = 0;
            bytes[1] = 0;
            let checksum = of(&bytes);
            bytes[..2].copy_from_slice(&checksum.to_be_bytes());
            prop_assert!(matches!(of(&bytes), 0 | 0xffff));
        }

        #[test]
        fn update_equals_recomputation(mut bytes in proptest::collection::vec(1u8.., 20..40), new in 1u16..0xfffe) {
            let before = of(&bytes);
            let old = u16::from_be_bytes([bytes[8], bytes[9]]);
            bytes[8..10].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(updated(before, old, new), of(&bytes));
        }
    }
}
