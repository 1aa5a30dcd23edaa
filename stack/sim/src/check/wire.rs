//! What a frame says, read with smoltcp's wire formats: not with those of the nodes that are watched.

use baton_stack::addr::{Endpoint, IpAddr};
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, TcpOption, TcpPacket};

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
    /// Something else.
    Other,
}

/// Reads a frame.
pub(crate) fn parse(frame: &[u8]) -> Seen<'_> {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
        return Seen::Broken { how: "a frame without an Ethernet header", from: None };
    };
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return Seen::Other;
    }
    let Ok(ip) = Ipv4Packet::new_checked(ethernet.payload()) else {
        return Seen::Broken { how: "an IPv4 packet shorter than it says", from: None };
    };
    if !ip.verify_checksum() {
        return Seen::Broken { how: "a wrong IPv4 checksum", from: None };
    }
    if ip.next_header() != IpProtocol::Tcp {
        return Seen::Other;
    }
    let (source, target) = (ip.src_addr(), ip.dst_addr());
    let Ok(tcp) = TcpPacket::new_checked(ip.payload()) else {
        return Seen::Broken { how: "a TCP segment shorter than it says", from: Some(IpAddr::V4(source)) };
    };
    if !tcp.verify_checksum(&IpAddress::Ipv4(source), &IpAddress::Ipv4(target)) {
        return Seen::Broken { how: "a wrong TCP checksum", from: Some(IpAddr::V4(source)) };
    }
    let Some((window_scale, tsval)) = options(tcp.options()) else {
        return Seen::Broken { how: "malformed TCP options", from: Some(IpAddr::V4(source)) };
    };
    let end = |addr, port| Endpoint { addr: IpAddr::V4(addr), port };
    Seen::Tcp(Segment {
        from: end(source, tcp.src_port()),
        to: end(target, tcp.dst_port()),
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
    use smoltcp::wire::{EthernetAddress, TcpSeqNumber};
    let v4 = |end: Endpoint| match end.addr {
        IpAddr::V4(addr) => addr,
        IpAddr::V6(_) => panic!("IPv4 only"),
    };
    let (source, target) = (v4(segment.from), v4(segment.to));
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
    let mut frame = vec![0; 14 + 20 + tcp_len];
    let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
    ethernet.set_dst_addr(EthernetAddress([2; 6]));
    ethernet.set_src_addr(EthernetAddress([4; 6]));
    ethernet.set_ethertype(EthernetProtocol::Ipv4);
    let mut ip = Ipv4Packet::new_unchecked(ethernet.payload_mut());
    ip.set_version(4);
    ip.set_header_len(20);
    ip.set_total_len(u16::try_from(20 + tcp_len).unwrap());
    ip.set_hop_limit(64);
    ip.set_next_header(IpProtocol::Tcp);
    ip.set_src_addr(source);
    ip.set_dst_addr(target);
    ip.fill_checksum();
    let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
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
    tcp.fill_checksum(&IpAddress::Ipv4(source), &IpAddress::Ipv4(target));
    frame
}
