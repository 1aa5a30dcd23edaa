//! ICMP for both families: answers to echo requests (RFC 792, RFC 1122 section 3.2.2.6; RFC 4443 section 4), the flow that an
//! error message quotes, and for IPv6 the messages of neighbours.

use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Icmpv6Message, Ipv4Packet, Ipv6Packet};

use crate::addr::{Endpoint, Flow, IpAddr};
use crate::checksum;
use crate::drop::DropReason;
use crate::mld;
use crate::ndp::{self, Ndp};
use crate::time::Duration;
use crate::wire::{HOP_LIMIT, IPV6_LEN, IpLayers, protocol};

/// Type, code and checksum of an ICMPv6 message and four bytes that depend on the type.
const ICMPV6_HEADER_LEN: usize = 8;

/// What an ICMP message asks of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmp {
    /// An echo request: turn it round with [`echo_in_place`].
    EchoRequest,
    /// An error about a packet that was sent on this flow: it belongs to the flow's owner.
    ErrorFor(Flow),
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
            quoted_flow_v4(packet.data()).map(Icmp::ErrorFor).ok_or(DropReason::Icmp)
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
        | Icmpv6Message::ParamProblem => quoted_flow_v6(body).map(Icmp::ErrorFor).ok_or(DropReason::Icmp),
        kind if u8::from(kind) == mld::QUERY => mld::parse_query(message, ip).map(Icmp::ListenerQuery),
        kind if ndp::is_type(kind.into()) => ndp::parse(message, ip).map(Icmp::Neighbor),
        _ => Err(DropReason::Icmp),
    }
}

/// The flow of a quoted packet, which went from the VIP to the client: an IP header and at least the ports.
fn quoted_flow_v4(quoted: &[u8]) -> Option<Flow> {
    let header = quoted.get(..20)?;
    let ip = Ipv4Packet::new_unchecked(header);
    let header_len = usize::from(ip.header_len());
    if ip.version() != 4 || header_len < 20 || u8::from(ip.next_header()) != protocol::TCP {
        return None;
    }
    let ports = quoted.get(header_len..)?;
    quoted_flow(IpAddr::V4(ip.src_addr()), IpAddr::V4(ip.dst_addr()), ports)
}

/// As [`quoted_flow_v4`]. What we send has no extension headers, so a quoted packet that has some is not ours.
fn quoted_flow_v6(quoted: &[u8]) -> Option<Flow> {
    let (header, ports) = quoted.split_at_checked(IPV6_LEN)?;
    let ip = Ipv6Packet::new_unchecked(header);
    if ip.version() != 6 || u8::from(ip.next_header()) != protocol::TCP {
        return None;
    }
    quoted_flow(IpAddr::V6(ip.src_addr()), IpAddr::V6(ip.dst_addr()), ports)
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
                assert_eq!(parse(&frame, &ip), Ok(Icmp::ErrorFor(flow)), "type {kind}");
            }
            let mut message = error(v6, kinds[0]);
            message.truncate(quoted);
            let (frame, ip) = framed(v6, message);
            assert_eq!(parse(&frame, &ip), Err(DropReason::Icmp), "no ports quoted");
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
