//! ICMP: answers to echo requests (RFC 792, RFC 1122 section 3.2.2.6) and the flow that an error message quotes.

use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Ipv4Packet};

use crate::addr::{Endpoint, Flow, IpAddr};
use crate::checksum;
use crate::drop::DropReason;
use crate::wire::{HOP_LIMIT, IpLayers, protocol};

/// What an ICMP message asks of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmp {
    /// An echo request: turn it round with [`echo_in_place`].
    EchoRequest,
    /// An error about a packet that was sent on this flow: it belongs to the flow's owner.
    ErrorFor(Flow),
}

/// Reads an ICMP message that was sent to us.
///
/// # Errors
/// The reason for which it is dropped.
pub fn parse(frame: &[u8], ip: &IpLayers) -> Result<Icmp, DropReason> {
    let message = &frame[ip.l4.clone()];
    let packet = Icmpv4Packet::new_checked(message).map_err(|_| DropReason::Truncated)?;
    if checksum::of(message) != 0 {
        return Err(DropReason::BadChecksum);
    }
    match packet.msg_type() {
        Icmpv4Message::EchoRequest => Ok(Icmp::EchoRequest),
        Icmpv4Message::DstUnreachable | Icmpv4Message::TimeExceeded | Icmpv4Message::ParamProblem => {
            quoted_flow(packet.data()).map(Icmp::ErrorFor).ok_or(DropReason::Icmp)
        }
        _ => Err(DropReason::Icmp),
    }
}

/// The flow of a quoted packet, which went from the VIP to the client: an IP header and at least the ports.
fn quoted_flow(quoted: &[u8]) -> Option<Flow> {
    let header = quoted.get(..20)?;
    let ip = Ipv4Packet::new_unchecked(header);
    let header_len = usize::from(ip.header_len());
    if ip.version() != 4 || header_len < 20 || u8::from(ip.next_header()) != protocol::TCP {
        return None;
    }
    let ports = quoted.get(header_len..header_len + 4)?;
    Some(Flow {
        vip: Endpoint { addr: IpAddr::V4(ip.src_addr()), port: u16::from_be_bytes([ports[0], ports[1]]) },
        client: Endpoint { addr: IpAddr::V4(ip.dst_addr()), port: u16::from_be_bytes([ports[2], ports[3]]) },
    })
}

/// Turns an echo request into its reply, in place: the same bytes go back to where they came from.
pub fn echo_in_place(frame: &mut [u8], ip: &IpLayers) {
    for i in 0..6 {
        frame.swap(i, i + 6);
    }
    let mut header = Ipv4Packet::new_unchecked(&mut frame[ip.ip_offset..ip.l4.start]);
    let (src, dst) = (header.src_addr(), header.dst_addr());
    header.set_src_addr(dst);
    header.set_dst_addr(src);
    header.set_hop_limit(HOP_LIMIT);
    header.fill_checksum();
    let mut message = Icmpv4Packet::new_unchecked(&mut frame[ip.l4.clone()]);
    message.set_msg_type(Icmpv4Message::EchoReply);
    message.fill_checksum();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Ipv4Addr, MacAddr};
    use crate::wire::{self, Envelope, Packet};
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

    fn framed(message: &[u8]) -> (Vec<u8>, IpLayers) {
        let envelope = Envelope {
            src_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            dst_mac: MacAddr([2, 0, 0, 0, 0, 2]),
            vlan: 0,
            src: IpAddr::V4(CLIENT),
            dst: IpAddr::V4(VIP),
        };
        let mut frame = vec![0; envelope.len()];
        frame.extend_from_slice(message);
        envelope.write_headers(&mut frame, protocol::ICMP, message.len());
        let Ok(wire::Layers { packet: Packet::Ip(ip), .. }) = wire::parse(&frame, 0) else { panic!("a good frame") };
        (frame, ip)
    }

    fn with_checksum(mut message: Vec<u8>) -> Vec<u8> {
        message[2..4].fill(0);
        let sum = checksum::of(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }

    #[test]
    fn echo_comes_back_with_the_same_data() {
        let (mut frame, ip) = framed(&with_checksum(vec![8, 0, 0, 0, 1, 2, 3, 4, b'p', b'i', b'n', b'g']));
        assert_eq!(parse(&frame, &ip), Ok(Icmp::EchoRequest));
        echo_in_place(&mut frame, &ip);
        let layers = wire::parse(&frame, 0).expect("a good reply");
        assert_eq!(layers.dst_mac, MacAddr([2, 0, 0, 0, 0, 1]));
        let Packet::Ip(reply) = layers.packet else { panic!("IP") };
        assert_eq!((reply.src, reply.dst), (IpAddr::V4(VIP), IpAddr::V4(CLIENT)));
        let message = &frame[reply.l4];
        assert_eq!((message[0], checksum::of(message), &message[4..]), (0, 0, &b"\x01\x02\x03\x04ping"[..]));
    }

    #[test]
    fn an_error_names_the_flow_it_quotes() {
        let mut message = vec![3, 4, 0, 0, 0, 0, 5, 0];
        message.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
        message.extend_from_slice(&VIP.octets());
        message.extend_from_slice(&CLIENT.octets());
        message.extend_from_slice(&[0, 80, 0x30, 0x39, 0, 0, 0, 0]);
        let (frame, ip) = framed(&with_checksum(message.clone()));
        let flow = Flow {
            client: Endpoint { addr: IpAddr::V4(CLIENT), port: 12345 },
            vip: Endpoint { addr: IpAddr::V4(VIP), port: 80 },
        };
        assert_eq!(parse(&frame, &ip), Ok(Icmp::ErrorFor(flow)));
        message.truncate(30);
        let (frame, ip) = framed(&with_checksum(message));
        assert_eq!(parse(&frame, &ip), Err(DropReason::Icmp), "no ports quoted");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(message in proptest::collection::vec(any::<u8>(), 0..64), kind in 0u8..16) {
            let mut message = message;
            if message.len() >= 8 {
                message[0] = kind;
                message = with_checksum(message);
            }
            let (frame, ip) = framed(&message);
            let _ = parse(&frame, &ip);
        }
    }
}
