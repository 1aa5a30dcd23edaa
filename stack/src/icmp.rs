//! ICMP for both families: answers to echo requests (RFC 792, RFC 1122 section 3.2.2.6; RFC 4443 section 4), the flow that an
//! error message quotes, and for IPv6 the messages of neighbours.

use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Icmpv6Message, Ipv4Packet, Ipv6Packet};

use crate::addr::{Endpoint, Flow, IpAddr};
use crate::checksum;
use crate::drop::DropReason;
use crate::mld;
use crate::ndp::{self, Ndp};
use crate::tcp::{SeqNum, TooBig};
use crate::time::Duration;
use crate::wire::{HOP_LIMIT, IPV6_LEN, IpLayers, protocol};

/// Type, code and checksum of an ICMPv6 message and four bytes that depend on the type.
const ICMPV6_HEADER_LEN: usize = 8;
const IPV6_HEADER_LEN: u16 = 40;
/// Code of "destination unreachable": fragmentation needed and DF set (RFC 1191 section 4).
const FRAGMENTATION_NEEDED: u8 = 4;
/// What links take, of what is above the least that is believed (RFC 1191 section 7.1).
const PLATEAUS: [u16; 3] = [1_492, 1_006, 576];

/// What an ICMP message asks of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmp {
    /// An echo request: turn it round with [`echo_in_place`].
    EchoRequest,
    /// An error about a packet that was sent on this flow: it belongs to the flow's owner. If the packet was too big, what is
    /// told of it.
    ErrorFor(Flow, Option<TooBig>),
    /// A neighbour asks or answers (IPv6).
    Neighbor(Ndp),
    /// A router or switch asks which groups we listen to, and for an answer within this time (IPv6).
    ListenerQuery(Duration),
}

/// Reads an ICMP or ICMPv6 message that was sent to us.
///
/// # Errors
/// The reason for which it is dropped.
pub fn parse(frame: &[u8], ip: &IpLayers) -> Result<Icmp, DropReason> {
    let message = &frame[ip.l4.clone()];
    if ip.protocol == protocol::ICMPV6 { parse_v6(message, ip) } else { parse_v4(message) }
}

fn parse_v4(message: &[u8]) -> Result<Icmp, DropReason> {
    let packet = Icmpv4Packet::new_checked(message).map_err(|_| DropReason::Truncated)?;
    if checksum::of(message) != 0 {
        return Err(DropReason::BadChecksum);
    }
    match packet.msg_type() {
        Icmpv4Message::EchoRequest => Ok(Icmp::EchoRequest),
        Icmpv4Message::DstUnreachable | Icmpv4Message::TimeExceeded | Icmpv4Message::ParamProblem => {
            let is_too_big =
                packet.msg_type() == Icmpv4Message::DstUnreachable && packet.msg_code() == FRAGMENTATION_NEEDED;
            let mtu = is_too_big.then(|| u16::from_be_bytes([message[6], message[7]]));
            quoted_v4(packet.data(), mtu).ok_or(DropReason::Icmp)
        }
        _ => Err(DropReason::Icmp),
    }
}

fn parse_v6(message: &[u8], ip: &IpLayers) -> Result<Icmp, DropReason> {
    let (header, body) = message.split_at_checked(ICMPV6_HEADER_LEN).ok_or(DropReason::Truncated)?;
    if checksum::of_transport(ip.src, ip.dst, protocol::ICMPV6, message) != 0 {
        return Err(DropReason::BadChecksum);
    }
    match Icmpv6Message::from(header[0]) {
        // In place means with all its headers, and a source route is not to be turned round (RFC 8200 section 4.4).
        Icmpv6Message::EchoRequest if ip.l4.start == ip.ip_offset + IPV6_LEN => Ok(Icmp::EchoRequest),
        Icmpv6Message::DstUnreachable
        | Icmpv6Message::PktTooBig
        | Icmpv6Message::TimeExceeded
        | Icmpv6Message::ParamProblem => {
            let is_too_big = header[0] == u8::from(Icmpv6Message::PktTooBig);
            let mtu = is_too_big.then(|| u32::from_be_bytes([header[4], header[5], header[6], header[7]]));
            quoted_v6(body, mtu).ok_or(DropReason::Icmp)
        }
        kind if u8::from(kind) == mld::QUERY => mld::parse_query(message, ip).map(Icmp::ListenerQuery),
        kind if ndp::is_type(kind.into()) => ndp::parse(message, ip).map(Icmp::Neighbor),
        _ => Err(DropReason::Icmp),
    }
}

/// What a quoted packet says, which went from the VIP to the client: an IP header and at least the ports. `mtu` is that of the
/// next hop, if the packet was too big for it; zero from a router that does not tell.
fn quoted_v4(quoted: &[u8], mtu: Option<u16>) -> Option<Icmp> {
    let header = quoted.get(..20)?;
    let ip = Ipv4Packet::new_unchecked(header);
    let header_len = usize::from(ip.header_len());
    if ip.version() != 4 || header_len < 20 || u8::from(ip.next_header()) != protocol::TCP {
        return None;
    }
    let tcp = quoted.get(header_len..)?;
    let flow = quoted_flow(IpAddr::V4(ip.src_addr()), IpAddr::V4(ip.dst_addr()), tcp)?;
    let packet = ip.total_len();
    let too_big = mtu.and_then(|mtu| too_big(tcp, packet, if mtu == 0 { plateau_below(packet) } else { mtu }));
    Some(Icmp::ErrorFor(flow, too_big))
}

/// The next smaller size of packet that links take (RFC 1191 section 7.1), for routers that do not tell.
fn plateau_below(packet: u16) -> u16 {
    PLATEAUS.into_iter().find(|plateau| *plateau < packet).unwrap_or(0)
}

fn too_big(tcp: &[u8], packet: u16, mtu: u16) -> Option<TooBig> {
    let [_, _, _, _, a, b, c, d, ..] = *tcp else { return None };
    Some(TooBig { seq: SeqNum(u32::from_be_bytes([a, b, c, d])), packet, mtu })
}

/// As [`quoted_v4`]. What we send has no extension headers, so a quoted packet that has some is not ours.
fn quoted_v6(quoted: &[u8], mtu: Option<u32>) -> Option<Icmp> {
    let (header, tcp) = quoted.split_at_checked(IPV6_LEN)?;
    let ip = Ipv6Packet::new_unchecked(header);
    if ip.version() != 6 || u8::from(ip.next_header()) != protocol::TCP {
        return None;
    }
    let flow = quoted_flow(IpAddr::V6(ip.src_addr()), IpAddr::V6(ip.dst_addr()), tcp)?;
    let packet = ip.payload_len().saturating_add(IPV6_HEADER_LEN);
    let too_big = mtu.and_then(|mtu| too_big(tcp, packet, u16::try_from(mtu).unwrap_or(u16::MAX)));
    Some(Icmp::ErrorFor(flow, too_big))
}

fn quoted_flow(src: IpAddr, dst: IpAddr, tcp: &[u8]) -> Option<Flow> {
    let [a, b, c, d, ..] = *tcp else { return None };
    Some(Flow {
        vip: Endpoint { addr: src, port: u16::from_be_bytes([a, b]) },
        client: Endpoint { addr: dst, port: u16::from_be_bytes([c, d]) },
    })
}

/// Turns an echo request into its reply, in place: the same bytes go back to where they came from.
pub fn echo_in_place(frame: &mut [u8], ip: &IpLayers) {
    for i in 0..6 {
        frame.swap(i, i + 6);
    }
    let header = &mut frame[ip.ip_offset..ip.l4.start];
    match (ip.src, ip.dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut header = Ipv6Packet::new_unchecked(header);
            header.set_src_addr(dst);
            header.set_dst_addr(src);
            header.set_hop_limit(HOP_LIMIT);
            let message = &mut frame[ip.l4.clone()];
            message[0] = Icmpv6Message::EchoReply.into();
            message[2..4].fill(0);
            let sum = checksum::of_transport(ip.dst, ip.src, protocol::ICMPV6, message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        _ => {
            let mut header = Ipv4Packet::new_unchecked(header);
            let (src, dst) = (header.src_addr(), header.dst_addr());
            header.set_src_addr(dst);
            header.set_dst_addr(src);
            header.set_hop_limit(HOP_LIMIT);
            header.fill_checksum();
            let mut message = Icmpv4Packet::new_unchecked(&mut frame[ip.l4.clone()]);
            message.set_msg_type(Icmpv4Message::EchoReply);
            message.fill_checksum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Ipv4Addr, Ipv6Addr, MacAddr};
    use crate::wire::{self, Envelope, IpSettings, Packet};
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
    const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
    const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100);

    fn addresses(v6: bool) -> (IpAddr, IpAddr) {
        if v6 { (IpAddr::V6(CLIENT_V6), IpAddr::V6(VIP_V6)) } else { (IpAddr::V4(CLIENT), IpAddr::V4(VIP)) }
    }

    /// A message from the client to the VIP, with its checksum set right.
    fn framed(v6: bool, mut message: Vec<u8>) -> (Vec<u8>, IpLayers) {
        let (src, dst) = addresses(v6);
        let protocol = if v6 { protocol::ICMPV6 } else { protocol::ICMP };
        if message.len() >= 4 {
            message[2..4].fill(0);
            let sum = if v6 { checksum::of_transport(src, dst, protocol, &message) } else { checksum::of(&message) };
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let (src_mac, dst_mac) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let envelope = Envelope { src_mac, dst_mac, vlan: 0, src, dst, ip: IpSettings::DEFAULT };
        let mut frame = vec![0; envelope.len()];
        frame.extend_from_slice(&message);
        envelope.write_headers(&mut frame, protocol, message.len());
        let Ok(wire::Layers { packet: Packet::Ip(ip), .. }) = wire::parse(&frame, 0) else { panic!("a good frame") };
        (frame, ip)
    }

    #[test]
    fn echo_comes_back_with_the_same_data() {
        for (v6, request, reply) in [(false, 8, 0), (true, 128, 129)] {
            let (mut frame, ip) = framed(v6, vec![request, 0, 0, 0, 1, 2, 3, 4, b'p', b'i', b'n', b'g']);
            assert_eq!(parse(&frame, &ip), Ok(Icmp::EchoRequest));
            echo_in_place(&mut frame, &ip);
            let layers = wire::parse(&frame, 0).expect("a good reply");
            assert_eq!(layers.dst_mac, MacAddr([2, 0, 0, 0, 0, 1]));
            let Packet::Ip(answer) = layers.packet else { panic!("IP") };
            assert_eq!((answer.dst, answer.src), addresses(v6));
            assert_eq!(answer.hop_limit, HOP_LIMIT);
            let message = &frame[answer.l4.clone()];
            assert_eq!((message[0], &message[4..]), (reply, &b"\x01\x02\x03\x04ping"[..]));
            let sum = if v6 {
                checksum::of_transport(answer.src, answer.dst, protocol::ICMPV6, message)
            } else {
                checksum::of(message)
            };
            assert_eq!(sum, 0);
        }
    }

    #[test]
    fn a_wrong_checksum_is_named() {
        for (v6, request) in [(false, 8), (true, 128)] {
            let (mut frame, ip) = framed(v6, vec![request, 0, 0, 0, 1, 2, 3, 4]);
            frame[ip.l4.end - 1] ^= 1;
            assert_eq!(parse(&frame, &ip), Err(DropReason::BadChecksum));
        }
    }

    #[test]
    fn echo_behind_extension_headers_is_not_answered() {
        let (mut frame, _) = framed(true, vec![128, 0, 0, 0, 1, 2, 3, 4]);
        frame[20] = 60;
        frame[19] += 8;
        frame.splice(54..54, [protocol::ICMPV6, 0, 1, 4, 0, 0, 0, 0]);
        let Ok(wire::Layers { packet: Packet::Ip(ip), .. }) = wire::parse(&frame, 0) else { panic!("a good frame") };
        assert_eq!(parse(&frame, &ip), Err(DropReason::Icmp));
    }

    /// An error message that quotes a segment from the VIP's port 80 to the client's port 12345.
    fn error(v6: bool, kind: u8) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 5, 0];
        if v6 {
            message.extend_from_slice(&[0x60, 0, 0, 0, 0, 20, 6, 64]);
            message.extend_from_slice(&VIP_V6.octets());
            message.extend_from_slice(&CLIENT_V6.octets());
        } else {
            message.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
            message.extend_from_slice(&VIP.octets());
            message.extend_from_slice(&CLIENT.octets());
        }
        message.extend_from_slice(&[0, 80, 0x30, 0x39, 0, 0, 0, 0]);
        message
    }

    #[test]
    fn an_error_names_the_flow_it_quotes() {
        for (v6, kinds, quoted) in [(false, &[3, 11, 12][..], 30), (true, &[1, 2, 3, 4][..], 51)] {
            let (client, vip) = addresses(v6);
            let flow = Flow { client: Endpoint { addr: client, port: 12345 }, vip: Endpoint { addr: vip, port: 80 } };
            for &kind in kinds {
                let (frame, ip) = framed(v6, error(v6, kind));
                let Ok(Icmp::ErrorFor(quoted, too_big)) = parse(&frame, &ip) else { panic!("type {kind}") };
                assert_eq!(quoted, flow, "type {kind}");
                assert_eq!(too_big.is_some(), v6 && kind == 2, "type {kind}");
            }
            let mut message = error(v6, kinds[0]);
            message.truncate(quoted);
            let (frame, ip) = framed(v6, message);
            assert_eq!(parse(&frame, &ip), Err(DropReason::Icmp), "no ports quoted");
        }
    }

    #[test]
    fn a_router_tells_what_it_could_have_passed_on() {
        let told = |v6: bool, message: Vec<u8>| {
            let (frame, ip) = framed(v6, message);
            let Ok(Icmp::ErrorFor(_, too_big)) = parse(&frame, &ip) else { panic!("an error") };
            too_big.map(|TooBig { seq, packet, mtu }| (seq.0, packet, mtu))
        };
        // An MTU of the next hop; none, from old routers (RFC 1191 section 5); what is longer than any packet.
        for (mtu, packet, expected) in [
            (1_400, 1_500, Some((0x0102_0304, 1_500, 1_400))),
            (0, 1_500, Some((0x0102_0304, 1_500, 1_492))),
            (0, 1_492, Some((0x0102_0304, 1_492, 1_006))),
            (0, 576, Some((0x0102_0304, 576, 0))),
        ] {
            let mut message = error(false, 3);
            message[1] = FRAGMENTATION_NEEDED;
            message[6..8].copy_from_slice(&u16::to_be_bytes(mtu));
            message[10..12].copy_from_slice(&u16::to_be_bytes(packet));
            message[32..36].copy_from_slice(&[1, 2, 3, 4]);
            assert_eq!(told(false, message.clone()), expected, "{mtu} {packet}");
            message[1] = 3;
            assert_eq!(told(false, message), None);
        }
        for (mtu, expected) in [(1_400, 1_400), (70_000, u16::MAX)] {
            let mut message = error(true, 2);
            message[4..8].copy_from_slice(&u32::to_be_bytes(mtu));
            message[12..14].copy_from_slice(&1_460_u16.to_be_bytes());
            message[52..56].copy_from_slice(&[1, 2, 3, 4]);
            assert_eq!(told(true, message.clone()), Some((0x0102_0304, 1_500, expected)));
            // The ports alone name the flow, but not the packet.
            message.truncate(55);
            assert_eq!(told(true, message), None);
        }
    }

    #[test]
    fn what_is_quoted_must_be_a_tcp_packet_of_the_family() {
        for (at, byte) in [(8, 0x45), (14, 17), (14, 44)] {
            let mut message = error(true, 1);
            message[at] = byte;
            let (frame, ip) = framed(true, message);
            assert_eq!(parse(&frame, &ip), Err(DropReason::Icmp));
        }
    }

    #[test]
    fn other_messages_are_counted() {
        // An echo reply, a listener query from far away, a listener report, an unassigned error.
        for kind in [129, 130, 143, 100] {
            let (frame, ip) = framed(true, vec![kind, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(parse(&frame, &ip), Err(DropReason::Icmp));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(v6: bool, message in proptest::collection::vec(any::<u8>(), 0..80), kind: u8) {
            let mut message = message;
            if message.len() >= 8 {
                // Half of them of the types that are read on.
                message[0] = if kind < 128 { kind % 16 } else { 127 + kind % 12 };
            }
            let (mut frame, ip) = framed(v6, message);
            if parse(&frame, &ip) == Ok(Icmp::EchoRequest) {
                echo_in_place(&mut frame, &ip);
            }
        }

        #[test]
        fn any_cut_or_flip_of_an_error_is_handled(v6: bool, cut in 0usize..100, at in 0usize..76, bit in 0u8..8) {
            let (mut frame, _) = framed(v6, error(v6, 3));
            let at = at % frame.len();
            frame[at] ^= 1 << bit;
            frame.truncate(cut);
            if let Ok(wire::Layers { packet: Packet::Ip(ip), .. }) = wire::parse(&frame, 0) {
                let _ = parse(&frame, &ip);
            }
        }
    }
}
