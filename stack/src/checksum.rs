//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use crate::addr::IpAddr;

/// The ones' complement sum of `bytes` as 16-bit big-endian words, not folded; an odd last byte is padded with zero.
fn sum(bytes: &[u8]) -> u64 {
    // Four bytes a step: the carries gather in the upper half and are folded at the end.
    let mut words = bytes.chunks_exact(4);
    let mut total: u64 = 0;
    for word in &mut words {
        total += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    total + u64::from(u32::from_be_bytes(last))
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
pub fn of(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
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

/// The checksum after one 16-bit word it covers changed from `old` to `new` (RFC 1624 equation 3).
#[must_use]
pub fn updated(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn example_of_rfc_1071() {
        // Section 3: the sum of 0001 f203 f4f5 f6f7 is ddf2.
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn odd_length_is_padded_with_zero() {
        assert_eq!(of(&[1, 2, 3]), of(&[1, 2, 3, 0]));
    }

    proptest! {
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
