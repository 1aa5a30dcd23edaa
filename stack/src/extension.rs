//! IPv6 extension headers (RFC 8200 section 4): looked behind within limits, never obeyed.
//!
//! ```text
//!  | IPv6 header | hop-by-hop | destination options | routing | TCP ...
//!      next 0        next 60         next 43          next 6
//! ```
//! A node is a host for what is addressed to it: options that a receiver may skip are skipped, and a packet is dropped,
//! and counted, when an option or a routing header says that it must not be taken by who does not know it. No ICMP error
//! is sent about it, as about no other packet.

use crate::drop::DropReason;

/// Extension headers of one packet that are looked behind at the most (RFC 8504 section 5.3 lets a host limit them).
pub const HEADERS_MAX: usize = 4;
/// Bytes of them in all.
pub const BYTES_MAX: usize = 256;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

const PAD_1: u8 = 0;
/// What the two highest bits of an option's type say of who does not know it: zero is "skip over it".
const ACTION_MASK: u8 = 0xc0;

/// The protocol of what follows the extension headers at the beginning of `payload`, and their length. `first` is the Next
/// Header field of the IPv6 header.
///
/// # Errors
/// The reason for which the packet is dropped.
pub fn skip(first: u8, payload: &[u8]) -> Result<(u8, usize), DropReason> {
    let (mut next, mut at) = (first, 0);
    for headers in 0.. {
        match next {
            FRAGMENT => return Err(DropReason::IpFragment),
            // Only right behind the IPv6 header (RFC 8200 section 4.1).
            HOP_BY_HOP if headers > 0 => return Err(DropReason::Malformed),
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {}
            protocol => return Ok((protocol, at)),
        }
        let rest = &payload[at..];
        let [following, units, ..] = *rest else { return Err(DropReason::Truncated) };
        let len = 8 + 8 * usize::from(units);
        if headers >= HEADERS_MAX || at + len > BYTES_MAX {
            return Err(DropReason::ExtensionHeader);
        }
        let header = rest.get(..len).ok_or(DropReason::Truncated)?;
        match next {
            // Segments left: this is not the last stop (RFC 8200 section 4.4; type 0 is gone, RFC 5095).
            ROUTING if header[3] != 0 => return Err(DropReason::ExtensionHeader),
            ROUTING => {}
            _ => skip_options(&header[2..])?,
        }
        (next, at) = (following, at + len);
    }
    Err(DropReason::ExtensionHeader)
}

/// Looks through options (RFC 8200 section 4.2) for one that must not be skipped.
fn skip_options(mut options: &[u8]) -> Result<(), DropReason> {
    while let [kind, rest @ ..] = options {
        if *kind == PAD_1 {
            options = rest;
            continue;
        }
        if kind & ACTION_MASK != 0 {
            return Err(DropReason::ExtensionHeader);
        }
        let (len, body) = rest.split_first().ok_or(DropReason::Malformed)?;
        options = body.get(usize::from(*len)..).ok_or(DropReason::Malformed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const TCP: u8 = 6;

    /// Options that fill a header of 8 bytes: `PadN`.
    fn options(next: u8) -> Vec<u8> {
        vec![next, 0, 1, 4, 0, 0, 0, 0]
    }

    #[test]
    fn what_is_no_extension_header_stands_at_the_beginning() {
        for protocol in [TCP, 17, 58, 59, 50, 255] {
            assert_eq!(skip(protocol, &[]), Ok((protocol, 0)));
        }
    }

    #[test]
    fn headers_are_skipped_in_any_order_but_for_hop_by_hop() {
        let routing = |next| vec![next, 0, 2, 0, 0, 0, 0, 0];
        let packet = [options(60), options(43), routing(TCP), vec![1, 2, 3]].concat();
        assert_eq!(skip(0, &packet), Ok((TCP, 24)));
        let packet = [options(0), options(TCP)].concat();
        assert_eq!(skip(60, &packet), Err(DropReason::Malformed));
    }

    #[test]
    fn fragments_are_named_wherever_the_header_stands() {
        assert_eq!(skip(44, &[6, 0, 0, 1, 0, 0, 0, 9]), Err(DropReason::IpFragment));
        assert_eq!(skip(0, &options(44)), Err(DropReason::IpFragment));
    }

    #[test]
    fn as_many_as_the_limit_and_not_one_more() {
        let chain = |n: usize| -> Vec<u8> { (1..=n).flat_map(|i| options(if i == n { TCP } else { 60 })).collect() };
        assert_eq!(skip(60, &chain(HEADERS_MAX)), Ok((TCP, 8 * HEADERS_MAX)));
        assert_eq!(skip(60, &chain(HEADERS_MAX + 1)), Err(DropReason::ExtensionHeader));
    }

    #[test]
    fn as_long_as_the_limit_and_not_longer() {
        let long = |len: usize| {
            let units = u8::try_from(len / 8 - 1).expect("short");
            let mut header = vec![0; len];
            header[..2].copy_from_slice(&[TCP, units]);
            header
        };
        assert_eq!(skip(60, &long(BYTES_MAX)), Ok((TCP, BYTES_MAX)));
        assert_eq!(skip(60, &long(BYTES_MAX + 8)), Err(DropReason::ExtensionHeader));
    }

    #[test]
    fn a_packet_is_dropped_when_an_option_or_a_route_says_so() {
        // The router alert of MLD may be skipped, a jumbo payload and a home address may not.
        assert_eq!(skip(0, &[58, 0, 5, 2, 0, 0, 1, 0]), Ok((58, 8)));
        assert_eq!(skip(0, &[TCP, 0, 0xc2, 4, 0, 1, 0, 0]), Err(DropReason::ExtensionHeader));
        assert_eq!(skip(60, &[TCP, 0, 0, 0, 0, 0, 0x80, 0]), Err(DropReason::ExtensionHeader));
        assert_eq!(skip(43, &[TCP, 0, 0, 1, 0, 0, 0, 0]), Err(DropReason::ExtensionHeader));
        assert_eq!(skip(60, &[TCP, 0, 1, 5, 0, 0, 0, 0]), Err(DropReason::Malformed), "longer than its header");
        assert_eq!(skip(60, &[TCP, 0, 1, 3, 0, 0, 0, 1]), Err(DropReason::Malformed), "without its length");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(first in prop_oneof![Just(0u8), Just(43), Just(60), any::<u8>()],
                                  bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(60), any::<u8>()], 0..300)) {
            if let Ok((_, len)) = skip(first, &bytes) {
                prop_assert!(len <= bytes.len().min(BYTES_MAX));
            }
        }
    }
}
