//! Neighbour discovery on the wire (RFC 4861): the two messages by which neighbours find each other's Ethernet address.
//!
//! ```text
//!  0      1      2          4            8                   24            32
//!  | type | code | checksum | flags      | target address    | option: Ethernet address
//!    135    0                 -            whom is asked for    1, 1, the asker's      neighbour solicitation
//!    136    0                 R S O        who answers          2, 1, the answerer's   neighbour advertisement
//! ```
//! Router discovery and redirects are not served: where packets go is configured, and nobody on the link may change it.

use crate::addr::{IpAddr, Ipv6Addr, MacAddr};
use crate::checksum;
use crate::drop::DropReason;
use crate::wire::{Envelope, IPV6_LEN, IpLayers, protocol};

/// Types of the messages that concern routers and redirects, and of the two that are served.
const TYPES: core::ops::RangeInclusive<u8> = 133..=137;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
/// A message with its one option.
const MESSAGE_LEN: usize = 32;
const FIXED_LEN: usize = 24;
/// The only hop limit of a packet that cannot have passed a router.
const HOP_LIMIT: u8 = 255;

/// All nodes on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The bytes of a frame with a message, at the most.
pub const FRAME_LEN: usize = 14 + 4 + IPV6_LEN + MESSAGE_LEN;

/// A neighbour discovery message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ndp {
    /// Who has `target`?
    Solicitation {
        /// The address that is asked for.
        target: Ipv6Addr,
        /// The asker's Ethernet address, if it says so.
        mac: Option<MacAddr>,
    },
    /// I have `target`.
    Advertisement {
        /// The address that is spoken of.
        target: Ipv6Addr,
        /// Whether it answers a solicitation.
        solicited: bool,
        /// Whether it replaces what is known already.
        overrides: bool,
        /// The speaker's Ethernet address, if it says so.
        mac: Option<MacAddr>,
    },
}

/// Whether an ICMPv6 message of this type is neighbour discovery's.
#[must_use]
pub fn is_type(kind: u8) -> bool {
    TYPES.contains(&kind)
}

/// The group in which who asks for `addr` finds its owner (RFC 4291 section 2.7.1).
#[must_use]
pub const fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::from_octets([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The Ethernet address of a group (RFC 2464 section 7).
#[must_use]
pub const fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// Reads a message and checks all that RFC 4861 sections 7.1.1 and 7.1.2 ask for. Its checksum is verified already.
///
/// # Errors
/// [`DropReason::Ndp`], also for messages of and to routers.
pub fn parse(message: &[u8], ip: &IpLayers) -> Result<Ndp, DropReason> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip.src, ip.dst) else { return Err(DropReason::Ndp) };
    let fixed = message.first_chunk::<FIXED_LEN>().ok_or(DropReason::Ndp)?;
    let [kind, code, _, _, flags, ..] = *fixed;
    let mut octets = [0; 16];
    octets.copy_from_slice(&fixed[8..]);
    let target = Ipv6Addr::from_octets(octets);
    if ip.hop_limit != HOP_LIMIT || code != 0 || target.is_multicast() || src.is_multicast() {
        return Err(DropReason::Ndp);
    }
    let options = &message[FIXED_LEN..];
    match kind {
        SOLICITATION => {
            let mac = mac_option(options, SOURCE_MAC)?;
            // Who looks whether an address is taken has none yet, and asks the group.
            if src.is_unspecified() && (mac.is_some() || dst != solicited_node(target)) {
                return Err(DropReason::Ndp);
            }
            Ok(Ndp::Solicitation { target, mac })
        }
        ADVERTISEMENT => {
            let solicited = flags & FLAG_SOLICITED != 0;
            let mac = mac_option(options, TARGET_MAC)?;
            if src.is_unspecified() || (dst.is_multicast() && solicited) {
                return Err(DropReason::Ndp);
            }
            Ok(Ndp::Advertisement { target, solicited, overrides: flags & FLAG_OVERRIDE != 0, mac })
        }
        _ => Err(DropReason::Ndp),
    }
}

/// The Ethernet address in the option `wanted`; the last, if there are several. Unknown options are skipped.
fn mac_option(mut options: &[u8], wanted: u8) -> Result<Option<MacAddr>, DropReason> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        // No option has length zero (RFC 4861 section 4.6): such a packet is dropped whole.
        let len = 8 * usize::from(units);
        let option = options.get(..len).filter(|option| !option.is_empty()).ok_or(DropReason::Ndp)?;
        if kind == wanted {
            let [_, _, a, b, c, d, e, f] = *option else { return Err(DropReason::Ndp) };
            let mac = MacAddr([a, b, c, d, e, f]);
            if mac.is_multicast() {
                return Err(DropReason::Ndp);
            }
            found = Some(mac);
        }
        options = &options[len..];
    }
    if options.is_empty() { Ok(found) } else { Err(DropReason::Ndp) }
}

impl Ndp {
    /// Writes the message as a whole frame; returns the frame's length. An Ethernet address that is `None` is left out.
    pub fn emit(&self, envelope: &Envelope, frame: &mut [u8]) -> usize {
        let (kind, flags, target, option, mac) = match *self {
            Self::Solicitation { target, mac } => (SOLICITATION, 0, target, SOURCE_MAC, mac),
            Self::Advertisement { target, solicited, overrides, mac } => {
                let solicited = if solicited { FLAG_SOLICITED } else { 0 };
                let overrides = if overrides { FLAG_OVERRIDE } else { 0 };
                (ADVERTISEMENT, solicited | overrides, target, TARGET_MAC, mac)
            }
        };
        let at = envelope.len();
        let len = if mac.is_some() { MESSAGE_LEN } else { FIXED_LEN };
        let message = &mut frame[at..at + len];
        message.fill(0);
        message[0] = kind;
        message[4] = flags;
        message[8..FIXED_LEN].copy_from_slice(&target.octets());
        if let Some(mac) = mac {
            message[FIXED_LEN..FIXED_LEN + 2].copy_from_slice(&[option, 1]);
            message[FIXED_LEN + 2..].copy_from_slice(&mac.0);
        }
        let sum = checksum::of_transport(envelope.src, envelope.dst, protocol::ICMPV6, message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        envelope.write_headers(frame, protocol::ICMPV6, len);
        frame[at - IPV6_LEN + 7] = HOP_LIMIT;
        at + len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{self, IpSettings, Packet};
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;
    use smoltcp::wire::{Icmpv6Packet, Icmpv6Repr, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress};

    const ASKER: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
    const TARGET: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0x12ab, 0xcdef);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn envelope(src: Ipv6Addr, dst: Ipv6Addr) -> Envelope {
        Envelope {
            src_mac: MAC,
            dst_mac: MAC,
            vlan: 0,
            src: IpAddr::V6(src),
            dst: IpAddr::V6(dst),
            ip: IpSettings::DEFAULT,
        }
    }

    fn framed(message: Ndp, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
        let mut frame = vec![0xa5; FRAME_LEN];
        let len = message.emit(&envelope(src, dst), &mut frame);
        frame.truncate(len);
        frame
    }

    fn ip_of(frame: &[u8]) -> IpLayers {
        let Ok(wire::Layers { packet: Packet::Ip(ip), .. }) = wire::parse(frame, 0) else { panic!("a good frame") };
        ip
    }

    fn parsed(frame: &[u8]) -> Result<Ndp, DropReason> {
        let ip = ip_of(frame);
        parse(&frame[ip.l4.clone()], &ip)
    }

    fn asked() -> Vec<u8> {
        framed(Ndp::Solicitation { target: TARGET, mac: Some(MAC) }, ASKER, solicited_node(TARGET))
    }

    #[test]
    fn groups_are_those_of_the_rfcs() {
        // The example of RFC 4291 section 2.7.1.
        let addr: Ipv6Addr = "4037::01:800:200e:8c6c".parse().expect("an address");
        assert_eq!(solicited_node(addr), "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().expect("an address"));
        assert_eq!(multicast_mac(solicited_node(addr)), MacAddr([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
        assert_eq!(multicast_mac(ALL_NODES), MacAddr([0x33, 0x33, 0, 0, 0, 1]));
    }

    #[test]
    fn messages_come_back() {
        for mac in [None, Some(MAC)] {
            for (solicited, overrides) in [(false, true), (true, false), (true, true)] {
                let message = Ndp::Advertisement { target: TARGET, solicited, overrides, mac };
                assert_eq!(parsed(&framed(message, TARGET, ASKER)), Ok(message));
            }
            let message = Ndp::Solicitation { target: TARGET, mac };
            assert_eq!(parsed(&framed(message, ASKER, TARGET)), Ok(message));
        }
    }

    /// Another implementation reads what we write, checksum and all.
    #[test]
    fn smoltcp_reads_them() {
        let repr = |frame: &[u8], src: Ipv6Addr, dst: Ipv6Addr| {
            let packet = Icmpv6Packet::new_checked(&frame[ip_of(frame).l4]).expect("ICMPv6").into_inner().to_vec();
            let packet = Icmpv6Packet::new_unchecked(packet);
            Icmpv6Repr::parse(&src, &dst, &Icmpv6Packet::new_unchecked(&packet.into_inner()[..]), &Default::default())
                .map(|repr| match repr {
                    Icmpv6Repr::Ndisc(ndisc) => alloc::format!("{ndisc:?}"),
                    other => panic!("{other:?}"),
                })
                .expect("NDP")
        };
        let lladdr = Some(RawHardwareAddress::from_bytes(&MAC.0));
        let expected = NdiscRepr::NeighborSolicit { target_addr: TARGET, lladdr };
        assert_eq!(repr(&asked(), ASKER, solicited_node(TARGET)), alloc::format!("{expected:?}"));
        let message = Ndp::Advertisement { target: TARGET, solicited: true, overrides: true, mac: Some(MAC) };
        let flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
        let expected = NdiscRepr::NeighborAdvert { flags, target_addr: TARGET, lladdr };
        assert_eq!(repr(&framed(message, TARGET, ASKER), TARGET, ASKER), alloc::format!("{expected:?}"));
    }

    #[test]
    fn what_has_passed_a_router_is_not_believed() {
        let mut frame = asked();
        assert_eq!(frame[21], 255);
        frame[21] = 254;
        assert_eq!(parsed(&frame), Err(DropReason::Ndp));
    }

    #[test]
    fn each_rule_of_validity_is_kept() {
        let good = asked();
        let spoilt = |at: usize, byte: u8| {
            let mut frame = good.clone();
            frame[at] = byte;
            parsed(&frame)
        };
        assert!(parsed(&good).is_ok());
        for (at, byte, what) in [
            (54, 134, "a router advertisement"),
            (54, 137, "a redirect"),
            (55, 1, "a code"),
            (62, 0xff, "a group as target"),
            (79, 0, "an option without length"),
            (79, 2, "an option longer than the message"),
            (80, 1, "a group's Ethernet address"),
            (22, 0xff, "from a group"),
        ] {
            assert_eq!(spoilt(at, byte), Err(DropReason::Ndp), "{what}");
        }
        assert_eq!(spoilt(78, 14), Ok(Ndp::Solicitation { target: TARGET, mac: None }), "an unknown option");
        let none = Ipv6Addr::UNSPECIFIED;
        let asks = |mac, dst| parsed(&framed(Ndp::Solicitation { target: TARGET, mac }, none, dst));
        assert!(asks(None, solicited_node(TARGET)).is_ok());
        assert_eq!(asks(Some(MAC), solicited_node(TARGET)), Err(DropReason::Ndp));
        assert_eq!(asks(None, TARGET), Err(DropReason::Ndp));
        let says = |solicited, src| {
            let message = Ndp::Advertisement { target: TARGET, solicited, overrides: true, mac: Some(MAC) };
            parsed(&framed(message, src, ALL_NODES))
        };
        assert!(says(false, TARGET).is_ok());
        assert_eq!(says(true, TARGET), Err(DropReason::Ndp));
        assert_eq!(says(false, none), Err(DropReason::Ndp));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut message in proptest::collection::vec(any::<u8>(), 0..80), kind in 130u8..140) {
            if let Some(first) = message.first_mut() {
                *first = kind;
            }
            let frame = asked();
            let _ = parse(&message, &ip_of(&frame));
        }

        #[test]
        fn any_cut_or_flip_is_handled(cut in 0usize..=FRAME_LEN, at in 0usize..86, bit in 0u8..8) {
            let mut frame = asked();
            frame[at] ^= 1 << bit;
            frame.truncate(cut);
            if let Ok(wire::Layers { packet: Packet::Ip(ip), .. }) = wire::parse(&frame, 0) {
                let _ = parse(&frame[ip.l4.clone()], &ip);
            }
        }
    }
}
