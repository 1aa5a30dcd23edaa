//! What a frame says, read with smoltcp's wire formats: not with those of the nodes that are watched.

use baton_stack::addr::{Endpoint, IpAddr};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv6Packet, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpOption, TcpPacket,
};

/// A TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) from: Endpoint,
    pub(crate) to: Endpoint,
    pub(crate) seq: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) window: u16,
    pub(crate) window_scale: Option<u8>,
    pub(crate) tsval: Option<u32>,
    pub(crate) payload: &'a [u8],
}

/// What was found in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen<'a> {
    /// A TCP segment with right checksums.
    Tcp(Segment<'a>),
    /// A TCP segment, or what would be one, that no receiver may accept.
    Broken {
        /// What is wrong with it.
        how: &'static str,
        /// Where it comes from, if that can be believed.
        from: Option<IpAddr>,
    },
    /// A UDP datagram, not looked into.
    Udp {
        /// To whom.
        to: IpAddr,
    },
    /// Something else.
    Other,
}

/// Reads a frame.
pub(crate) fn parse(frame: &[u8]) -> Seen<'_> {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
        return Seen::Broken { how: "a frame without an Ethernet header", from: None };
    };
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => ipv4(ethernet.payload()),
        EthernetProtocol::Ipv6 => ipv6(ethernet.payload()),
        _ => Seen::Other,
    }
}

fn ipv4(packet: &[u8]) -> Seen<'_> {
    let Ok(ip) = Ipv4Packet::new_checked(packet) else {
        return Seen::Broken { how: "an IPv4 packet shorter than it says", from: None };
    };
    if !ip.verify_checksum() {
        return Seen::Broken { how: "a wrong IPv4 checksum", from: None };
    }
    match ip.next_header() {
        IpProtocol::Tcp => tcp(ip.payload(), IpAddr::V4(ip.src_addr()), IpAddr::V4(ip.dst_addr())),
        IpProtocol::Udp => Seen::Udp { to: IpAddr::V4(ip.dst_addr()) },
        _ => Seen::Other,
    }
}

/// Nobody here puts extension headers in front of TCP but the host of nonsense.
fn ipv6(packet: &[u8]) -> Seen<'_> {
    let Ok(ip) = Ipv6Packet::new_checked(packet) else {
        return Seen::Broken { how: "an IPv6 packet shorter than it says", from: None };
    };
    let (source, target) = (ip.src_addr(), ip.dst_addr());
    match ip.next_header() {
        IpProtocol::Tcp => tcp(ip.payload(), IpAddr::V6(source), IpAddr::V6(target)),
        IpProtocol::Udp => Seen::Udp { to: IpAddr::V6(target) },
        IpProtocol::Icmpv6 => {
            let message = Icmpv6Packet::new_checked(ip.payload());
            if message.is_ok_and(|message| message.verify_checksum(&source, &target)) {
                Seen::Other
            } else {
                Seen::Broken { how: "a wrong ICMPv6 message", from: Some(IpAddr::V6(source)) }
            }
        }
        _ => Seen::Other,
    }
}

fn tcp(segment: &[u8], source: IpAddr, target: IpAddr) -> Seen<'_> {
    let Ok(tcp) = TcpPacket::new_checked(segment) else {
        return Seen::Broken { how: "a TCP segment shorter than it says", from: Some(source) };
    };
    if !tcp.verify_checksum(&IpAddress::from(source), &IpAddress::from(target)) {
        return Seen::Broken { how: "a wrong TCP checksum", from: Some(source) };
    }
    let Some((window_scale, tsval)) = options(tcp.options()) else {
        return Seen::Broken { how: "malformed TCP options", from: Some(source) };
    };
    Seen::Tcp(Segment {
        from: Endpoint { addr: source, port: tcp.src_port() },
        to: Endpoint { addr: target, port: tcp.dst_port() },
        seq: tcp.seq_number().0.cast_unsigned(),
        ack: tcp.ack().then(|| tcp.ack_number().0.cast_unsigned()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        window: tcp.window_len(),
        window_scale,
        tsval,
        payload: tcp.payload(),
    })
}

/// Window scale and TSval.
fn options(mut bytes: &[u8]) -> Option<(Option<u8>, Option<u32>)> {
    let (mut scale, mut tsval) = (None, None);
    while !bytes.is_empty() {
        let (rest, option) = TcpOption::parse(bytes).ok()?;
        match option {
            TcpOption::EndOfList => break,
            TcpOption::WindowScale(shift) => scale = Some(shift),
            TcpOption::TimeStamp { tsval: value, .. } => tsval = Some(value),
            _ => {}
        }
        bytes = rest;
    }
    Some((scale, tsval))
}

/// Bytes of a segment for tests.
#[cfg(test)]
pub(crate) fn build(segment: &Segment<'_>) -> Vec<u8> {
    use crate::noise::write_ip;
    use smoltcp::wire::{EthernetAddress, TcpSeqNumber};
    let (source, target) = (segment.from.addr, segment.to.addr);
    let mut options = Vec::new();
    if let Some(shift) = segment.window_scale {
        options.extend([1, 3, 3, shift]);
    }
    if let Some(tsval) = segment.tsval {
        options.extend([1, 1, 8, 10]);
        options.extend(tsval.to_be_bytes());
        options.extend([0; 4]);
    }
    let tcp_len = 20 + options.len() + segment.payload.len();
    let header_len = if source.is_ipv4() { 20 } else { 40 };
    let mut frame = vec![0; 14 + header_len + tcp_len];
    let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
    ethernet.set_dst_addr(EthernetAddress([2; 6]));
    ethernet.set_src_addr(EthernetAddress([4; 6]));
    write_ip(&mut frame, (source, target), IpProtocol::Tcp, tcp_len, false);
    let mut tcp = TcpPacket::new_unchecked(&mut frame[14 + header_len..]);
    tcp.set_src_port(segment.from.port);
    tcp.set_dst_port(segment.to.port);
    tcp.set_header_len(u8::try_from(20 + options.len()).unwrap());
    tcp.set_seq_number(TcpSeqNumber(segment.seq.cast_signed()));
    tcp.set_ack(segment.ack.is_some());
    tcp.set_ack_number(TcpSeqNumber(segment.ack.unwrap_or(0).cast_signed()));
    tcp.set_syn(segment.syn);
    tcp.set_fin(segment.fin);
    tcp.set_rst(segment.rst);
    tcp.set_window_len(segment.window);
    tcp.options_mut().copy_from_slice(&options);
    tcp.payload_mut().copy_from_slice(segment.payload);
    tcp.fill_checksum(&IpAddress::from(source), &IpAddress::from(target));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Seed;
    use crate::plan::{Family, Place, Plan};

    #[test]
    fn segments_of_both_families_are_read_and_damage_is_seen() {
        for family in [Family::V4, Family::V6] {
            let (vip, client) = (Plan::new(Seed(1), 1, family).vip, Place::client(0, family).address);
            let segment = Segment {
                from: Endpoint { addr: client, port: 20_000 },
                to: vip,
                seq: 1,
                ack: Some(2),
                syn: false,
                fin: false,
                rst: false,
                window: 3,
                window_scale: None,
                tsval: Some(4),
                payload: b"abc",
            };
            let mut frame = build(&segment);
            assert_eq!(parse(&frame), Seen::Tcp(segment));
            let last = frame.len() - 1;
            frame[last] ^= 1;
            assert_eq!(parse(&frame), Seen::Broken { how: "a wrong TCP checksum", from: Some(client) });
            frame.truncate(last);
            assert!(matches!(parse(&frame), Seen::Broken { from: None, .. }));
        }
    }
}
