//! Frames: from Ethernet down to where TCP, UDP, ICMP and ARP begin, and back.
//!
//! ```text
//!  0        12   14/18          ip_offset            l4.start              l4.end   frame end
//!  | macs    |type| (VLAN tag)  | IP header          | TCP / UDP / ICMP ... | padding |
//! ```
//! Parsing yields offsets, not borrows, so that a frame can be looked at and then rewritten in place.

use core::ops::Range;

use smoltcp::wire::{EthernetAddress, EthernetFrame, EthernetProtocol, Ipv4Packet, Ipv6Packet, UdpPacket};

use crate::addr::{IpAddr, MacAddr};
use crate::checksum;
use crate::drop::DropReason;
use crate::ecn::Ecn;
use crate::extension;
use crate::node::RxChecksum;

/// IP protocol numbers that a node serves.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// The hop limit of a packet that a node originates, where nothing else is set (RFC 1700).
pub const HOP_LIMIT: u8 = 64;

/// What the IP header of a node's own packets says, of what can be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpSettings {
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// The Differentiated Services codepoint, six bits (RFC 2474 section 3).
    pub dscp: u8,
}

impl IpSettings {
    /// [`HOP_LIMIT`] and best effort.
    pub const DEFAULT: Self = Self { hop_limit: HOP_LIMIT, dscp: 0 };
}

const ETHERNET_LEN: usize = 14;
const VLAN_TAG_LEN: usize = 4;
const ETHERTYPE_VLAN: u16 = 0x8100;
const IPV4_LEN: usize = 20;
pub(crate) const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
const TCP_CHECKSUM: usize = 16;

/// A parsed frame, as offsets into its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layers {
    /// The sender on this link.
    pub src_mac: MacAddr,
    /// The receiver on this link.
    pub dst_mac: MacAddr,
    /// What follows the Ethernet header.
    pub packet: Packet,
}

/// What a frame carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// An ARP packet in this range.
    Arp(Range<usize>),
    /// An IP packet.
    Ip(IpLayers),
}

/// An IP packet, as offsets into its frame. IPv4 header checksums are verified; transport checksums are not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IpLayers {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// The protocol of the payload ([`protocol`]).
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// Whether it may be marked, or was.
    pub ecn: Ecn,
    /// Where the IP header starts.
    pub ip_offset: usize,
    /// The payload, behind IPv4 options and IPv6 extension headers.
    pub l4: Range<usize>,
}

/// Parses `frame`, which must carry `vlan`'s tag if that is not zero, and none otherwise.
///
/// # Errors
/// The reason for which the frame is to be dropped.
pub fn parse(frame: &[u8], vlan: u16) -> Result<Layers, DropReason> {
    let ethernet = EthernetFrame::new_checked(frame).map_err(|_| DropReason::Truncated)?;
    let (src_mac, dst_mac) = (MacAddr(ethernet.src_addr().0), MacAddr(ethernet.dst_addr().0));
    let mut ethertype = ethernet.ethertype();
    let mut at = ETHERNET_LEN;
    let tag = if u16::from(ethertype) == ETHERTYPE_VLAN {
        let tag = frame.get(at..at + VLAN_TAG_LEN).ok_or(DropReason::Truncated)?;
        ethertype = EthernetProtocol::from(u16::from_be_bytes([tag[2], tag[3]]));
        at += VLAN_TAG_LEN;
        u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff
    } else {
        0
    };
    if tag != vlan {
        return Err(DropReason::NotOurs);
    }
    let packet = match ethertype {
        EthernetProtocol::Arp => Packet::Arp(at..frame.len()),
        EthernetProtocol::Ipv4 => Packet::Ip(parse_ipv4(frame, at)?),
        EthernetProtocol::Ipv6 => Packet::Ip(parse_ipv6(frame, at)?),
        EthernetProtocol::Unknown(_) => return Err(DropReason::UnknownProtocol),
    };
    Ok(Layers { src_mac, dst_mac, packet })
}

fn parse_ipv4(frame: &[u8], at: usize) -> Result<IpLayers, DropReason> {
    let bytes = &frame[at..];
    let ip = Ipv4Packet::new_unchecked(bytes);
    if bytes.len() < IPV4_LEN {
        return Err(DropReason::Truncated);
    }
    let (header, total) = (usize::from(ip.header_len()), usize::from(ip.total_len()));
    if ip.version() != 4 || header < IPV4_LEN || total < header {
        return Err(DropReason::Malformed);
    }
    if bytes.len() < total {
        return Err(DropReason::Truncated);
    }
    if !ip.verify_checksum() {
        return Err(DropReason::BadChecksum);
    }
    if ip.more_frags() || ip.frag_offset() != 0 {
        return Err(DropReason::IpFragment);
    }
    Ok(IpLayers {
        src: IpAddr::V4(ip.src_addr()),
        dst: IpAddr::V4(ip.dst_addr()),
        protocol: u8::from(ip.next_header()),
        hop_limit: ip.hop_limit(),
        ecn: Ecn::of(ip.ecn()),
        ip_offset: at,
        l4: at + header..at + total,
    })
}

fn parse_ipv6(frame: &[u8], at: usize) -> Result<IpLayers, DropReason> {
    let bytes = &frame[at..];
    let ip = Ipv6Packet::new_unchecked(bytes);
    if bytes.len() < IPV6_LEN {
        return Err(DropReason::Truncated);
    }
    if ip.version() != 6 {
        return Err(DropReason::Malformed);
    }
    let total = IPV6_LEN + usize::from(ip.payload_len());
    if bytes.len() < total {
        return Err(DropReason::Truncated);
    }
    let (protocol, skipped) = extension::skip(u8::from(ip.next_header()), &bytes[IPV6_LEN..total])?;
    Ok(IpLayers {
        src: IpAddr::V6(ip.src_addr()),
        dst: IpAddr::V6(ip.dst_addr()),
        protocol,
        hop_limit: ip.hop_limit(),
        ecn: Ecn::of(ip.traffic_class()),
        ip_offset: at,
        l4: at + IPV6_LEN + skipped..at + total,
    })
}

impl IpLayers {
    /// Verifies the transport checksum of a TCP or UDP packet, unless the device has done so.
    ///
    /// # Errors
    /// [`DropReason::BadChecksum`].
    pub fn verify_transport(&self, frame: &[u8], device: RxChecksum) -> Result<(), DropReason> {
        let packet = &frame[self.l4.clone()];
        // UDP over IPv4 may go without a checksum (RFC 768).
        let absent = self.protocol == protocol::UDP && self.src.is_ipv4() && packet.get(6..8) == Some(&[0, 0]);
        let good = device == RxChecksum::Good
            || absent
            || checksum::of_transport(self.src, self.dst, self.protocol, packet) == 0;
        if good { Ok(()) } else { Err(DropReason::BadChecksum) }
    }
}

/// The payload of a UDP packet and its ports (source, destination), as offsets into the frame.
///
/// # Errors
/// [`DropReason::Truncated`] when the UDP header promises more than there is.
pub fn parse_udp(frame: &[u8], ip: &IpLayers) -> Result<(u16, u16, Range<usize>), DropReason> {
    let packet = &frame[ip.l4.clone()];
    let udp = UdpPacket::new_checked(packet).map_err(|_| DropReason::Truncated)?;
    let end = ip.l4.start + usize::from(udp.len());
    Ok((udp.src_port(), udp.dst_port(), ip.l4.start + UDP_LEN..end))
}

/// Sends a received frame on to another node: new MACs, one hop less. Nothing else changes.
///
/// # Errors
/// [`DropReason::HopLimit`] when the packet has come to its last hop.
pub fn forward_in_place(frame: &mut [u8], ip: &IpLayers, src: MacAddr, dst: MacAddr) -> Result<(), DropReason> {
    rewrite(frame, ip.ip_offset, ip.src.is_ipv4(), ip.hop_limit, Macs::new(dst, src))
}

/// The two Ethernet addresses that a frame begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Macs([u8; 12]);

impl Macs {
    /// From `src` to `dst`.
    #[must_use]
    pub const fn new(dst: MacAddr, src: MacAddr) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (dst.0, src.0);
        Self([a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

/// As [`forward_in_place`], told all that it needs of the packet.
#[inline]
pub(crate) fn rewrite(
    frame: &mut [u8],
    ip_offset: usize,
    is_ipv4: bool,
    hop_limit: u8,
    to: Macs,
) -> Result<(), DropReason> {
    if hop_limit <= 1 {
        return Err(DropReason::HopLimit);
    }
    let (macs, rest) = frame.split_first_chunk_mut::<12>().ok_or(DropReason::Truncated)?;
    let ip = rest.get_mut(ip_offset - 12..).and_then(|ip| ip.first_chunk_mut::<IPV4_LEN>());
    let ip = ip.ok_or(DropReason::Truncated)?;
    if is_ipv4 {
        ip[8] = hop_limit - 1;
        let sum = checksum::after_a_hop(u16::from_be_bytes([ip[10], ip[11]]));
        [ip[10], ip[11]] = sum.to_be_bytes();
    } else {
        ip[7] = hop_limit - 1;
    }
    *macs = to.0;
    Ok(())
}

/// What is written around a packet of our own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Our MAC on the port.
    pub src_mac: MacAddr,
    /// The next hop.
    pub dst_mac: MacAddr,
    /// VLAN id; zero for none.
    pub vlan: u16,
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// The rest of the IP header.
    pub ip: IpSettings,
}

impl Envelope {
    /// Bytes in front of the transport header.
    #[must_use]
    pub const fn len(&self) -> usize {
        let tag = if self.vlan == 0 { 0 } else { VLAN_TAG_LEN };
        let ip = match self.src {
            IpAddr::V4(_) => IPV4_LEN,
            IpAddr::V6(_) => IPV6_LEN,
        };
        ETHERNET_LEN + tag + ip
    }

    /// Never: an envelope has a header at least.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Bytes of a frame whose IP packet has `mtu` bytes.
    #[must_use]
    pub fn frame_len(&self, mtu: u16) -> usize {
        let tag = if self.vlan == 0 { 0 } else { VLAN_TAG_LEN };
        ETHERNET_LEN + tag + usize::from(mtu)
    }

    /// Completes a frame whose TCP segment of `tcp_len` bytes stands at [`Envelope::len`], with this ECN field. Returns the frame's
    /// length.
    pub fn seal_tcp(&self, frame: &mut [u8], tcp_len: usize, ecn: Ecn) -> usize {
        let at = self.len();
        let sum = checksum::of_transport(self.src, self.dst, protocol::TCP, &frame[at..at + tcp_len]);
        frame[at + TCP_CHECKSUM..at + TCP_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
        self.write_ip(frame, protocol::TCP, tcp_len, ecn);
        at + tcp_len
    }

    /// Where the payload of a UDP packet stands.
    #[must_use]
    pub const fn udp_payload_offset(&self) -> usize {
        self.len() + UDP_LEN
    }

    /// Completes a frame whose UDP payload of `len` bytes stands at [`Envelope::udp_payload_offset`]. Returns the frame's length.
    pub fn seal_udp(&self, frame: &mut [u8], src_port: u16, dst_port: u16, len: usize) -> usize {
        let at = self.len();
        let total = UDP_LEN + len;
        let mut udp = UdpPacket::new_unchecked(&mut frame[at..at + total]);
        udp.set_src_port(src_port);
        udp.set_dst_port(dst_port);
        udp.set_len(u16::try_from(total).unwrap_or(u16::MAX));
        udp.set_checksum(0);
        let sum = match checksum::of_transport(self.src, self.dst, protocol::UDP, &frame[at..at + total]) {
            0 => 0xffff,
            sum => sum,
        };
        frame[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
        self.write_headers(frame, protocol::UDP, total);
        at + total
    }

    /// Writes the Ethernet and IP headers for a payload of `len` bytes that already stands in its place.
    pub fn write_headers(&self, frame: &mut [u8], protocol: u8, len: usize) {
        self.write_ip(frame, protocol, len, Ecn::NotEct);
    }

    fn write_ip(&self, frame: &mut [u8], protocol: u8, len: usize, ecn: Ecn) {
        let ethertype = match self.src {
            IpAddr::V4(_) => EthernetProtocol::Ipv4,
            IpAddr::V6(_) => EthernetProtocol::Ipv6,
        };
        let at = write_ethernet(frame, self.src_mac, self.dst_mac, self.vlan, ethertype);
        let length = u16::try_from(len).unwrap_or(u16::MAX);
        let IpSettings { hop_limit, dscp } = self.ip;
        let class = dscp << 2 | ecn as u8;
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = &mut frame[at..at + IPV4_LEN];
                header.fill(0);
                header[1] = class;
                let mut ip = Ipv4Packet::new_unchecked(header);
                ip.set_version(4);
                ip.set_header_len(20);
                ip.set_total_len(length.saturating_add(20));
                // Never fragmented, so the identification may be zero (RFC 6864 section 4.1).
                ip.set_dont_frag(true);
                ip.set_hop_limit(hop_limit);
                ip.set_next_header(protocol.into());
                ip.set_src_addr(src);
                ip.set_dst_addr(dst);
                ip.fill_checksum();
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = &mut frame[at..at + IPV6_LEN];
                header.fill(0);
                let mut ip = Ipv6Packet::new_unchecked(header);
                ip.set_version(6);
                ip.set_traffic_class(class);
                ip.set_payload_len(length);
                ip.set_next_header(protocol.into());
                ip.set_hop_limit(hop_limit);
                ip.set_src_addr(src);
                ip.set_dst_addr(dst);
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
        }
    }
}

/// Writes an Ethernet header with its VLAN tag, if any; returns where the payload starts.
pub(crate) fn write_ethernet(
    frame: &mut [u8],
    src: MacAddr,
    dst: MacAddr,
    vlan: u16,
    ethertype: EthernetProtocol,
) -> usize {
    let mut ethernet = EthernetFrame::new_unchecked(&mut *frame);
    ethernet.set_src_addr(EthernetAddress(src.0));
    ethernet.set_dst_addr(EthernetAddress(dst.0));
    ethernet.set_ethertype(ethertype);
    if vlan == 0 {
        return ETHERNET_LEN;
    }
    ethernet.set_ethertype(EthernetProtocol::from(ETHERTYPE_VLAN));
    frame[14..16].copy_from_slice(&vlan.to_be_bytes());
    frame[16..18].copy_from_slice(&u16::from(ethertype).to_be_bytes());
    ETHERNET_LEN + VLAN_TAG_LEN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Ipv4Addr, Ipv6Addr};
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn envelope(vlan: u16, v6: bool) -> Envelope {
        let (src, dst) = if v6 {
            (IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7)))
        } else {
            (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)))
        };
        let ip = IpSettings::DEFAULT;
        Envelope { src_mac: MacAddr([2, 0, 0, 0, 0, 1]), dst_mac: MacAddr([2, 0, 0, 0, 0, 2]), vlan, src, dst, ip }
    }

    fn udp_frame(vlan: u16, v6: bool, payload: &[u8]) -> Vec<u8> {
        let envelope = envelope(vlan, v6);
        let mut frame = vec![0xaa; 200];
        let at = envelope.udp_payload_offset();
        frame[at..at + payload.len()].copy_from_slice(payload);
        let len = envelope.seal_udp(&mut frame, 7, 9, payload.len());
        frame.truncate(len);
        frame
    }

    fn ip_of(frame: &[u8], vlan: u16) -> IpLayers {
        match parse(frame, vlan).expect("a good frame").packet {
            Packet::Ip(ip) => ip,
            Packet::Arp(_) => panic!("not ARP"),
        }
    }

    #[test]
    fn udp_comes_back_in_both_families_with_and_without_tag() {
        for (vlan, v6) in [(0, false), (0, true), (5, false), (5, true)] {
            let mut frame = udp_frame(vlan, v6, b"hello");
            // Ethernet padding behind the packet belongs to nobody.
            frame.extend_from_slice(&[0; 9]);
            let ip = ip_of(&frame, vlan);
            ip.verify_transport(&frame, RxChecksum::Unknown).expect("checksum");
            let (src, dst, payload) = parse_udp(&frame, &ip).expect("udp");
            assert_eq!((src, dst, &frame[payload]), (7, 9, &b"hello"[..]));
        }
    }

    #[test]
    fn a_frame_of_another_vlan_is_not_ours() {
        assert_eq!(parse(&udp_frame(5, false, b"x"), 0).unwrap_err(), DropReason::NotOurs);
        assert_eq!(parse(&udp_frame(0, false, b"x"), 5).unwrap_err(), DropReason::NotOurs);
        assert_eq!(parse(&udp_frame(6, false, b"x"), 5).unwrap_err(), DropReason::NotOurs);
    }

    #[test]
    fn fragments_and_bad_checksums_are_named() {
        let mut frame = udp_frame(0, false, b"x");
        frame[20] |= 0x20;
        assert_eq!(parse(&frame, 0).unwrap_err(), DropReason::BadChecksum);
        let sum = checksum::of(&{
            let mut header = frame[14..34].to_vec();
            header[10..12].fill(0);
            header
        });
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(parse(&frame, 0).unwrap_err(), DropReason::IpFragment);

        let mut frame = udp_frame(0, false, b"x");
        *frame.last_mut().expect("bytes") ^= 1;
        let ip = ip_of(&frame, 0);
        assert_eq!(ip.verify_transport(&frame, RxChecksum::Unknown), Err(DropReason::BadChecksum));
        assert_eq!(ip.verify_transport(&frame, RxChecksum::Good), Ok(()));
    }

    #[test]
    fn extension_headers_are_skipped_and_fragments_are_not() {
        let plain = udp_frame(0, true, b"hello");
        let with = |header: [u8; 8], first: u8| {
            let mut frame = plain.clone();
            frame[20] = first;
            frame[19] += 8;
            frame.splice(54..54, header);
            frame
        };
        let frame = with([protocol::UDP, 0, 1, 4, 0, 0, 0, 0], 60);
        let ip = ip_of(&frame, 0);
        assert_eq!((ip.protocol, ip.l4.start), (protocol::UDP, 62));
        ip.verify_transport(&frame, RxChecksum::Unknown).expect("the pseudo-header has the length of UDP alone");
        let (_, _, payload) = parse_udp(&frame, &ip).expect("udp");
        assert_eq!(&frame[payload], b"hello");
        let fragment = with([protocol::UDP, 0, 0, 1, 0, 0, 0, 7], 44);
        assert_eq!(parse(&fragment, 0).unwrap_err(), DropReason::IpFragment);
        // What the extension header claims must lie within the packet, padding behind it or not.
        let mut long = with([protocol::UDP, 9, 1, 4, 0, 0, 0, 0], 60);
        long.extend_from_slice(&[0; 100]);
        assert_eq!(parse(&long, 0).unwrap_err(), DropReason::Truncated);
    }

    #[test]
    fn the_ecn_field_goes_out_and_comes_back() {
        for (vlan, v6) in [(0, false), (0, true), (5, false), (5, true)] {
            for ecn in [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce] {
                let envelope = envelope(vlan, v6);
                let mut frame = vec![0; 100];
                let len = envelope.seal_tcp(&mut frame, 20, ecn);
                let mut ip = ip_of(&frame[..len], vlan);
                assert_eq!(ip.ecn, ecn);
                // A packet that is passed on says the same.
                forward_in_place(&mut frame, &ip, MacAddr([4; 6]), MacAddr([6; 6])).expect("hops left");
                ip = ip_of(&frame[..len], vlan);
                assert_eq!(ip.ecn, ecn);
            }
        }
        // RFC 3168 section 5: 01 is ECT(1), 10 is ECT(0), 11 is CE.
        let names = [0, 1, 2, 3, 0xfe].map(Ecn::of);
        assert_eq!(names, [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce, Ecn::Ect0]);
    }

    #[test]
    fn hop_limit_and_dscp_go_out_as_they_are_set() {
        for v6 in [false, true] {
            for (hop_limit, dscp, ecn) in [(1, 63, Ecn::Ect0), (255, 46, Ecn::NotEct), (64, 0, Ecn::Ce)] {
                let envelope = Envelope { ip: IpSettings { hop_limit, dscp }, ..envelope(0, v6) };
                let mut frame = vec![0; 100];
                let len = envelope.seal_tcp(&mut frame, 20, ecn);
                let ip = ip_of(&frame[..len], 0);
                assert_eq!((ip.hop_limit, ip.ecn), (hop_limit, ecn));
                // RFC 2474 section 3: the six bits in front of the ECN field, in the second byte or four bits after the version.
                let class = if v6 { frame[14] << 4 | frame[15] >> 4 } else { frame[15] };
                assert_eq!(class >> 2, dscp);
            }
        }
    }

    #[test]
    fn forwarding_takes_one_hop_and_stops_at_the_last() {
        for v6 in [false, true] {
            let mut frame = udp_frame(0, v6, b"hello");
            for left in (1..HOP_LIMIT).rev() {
                let ip = ip_of(&frame, 0);
                forward_in_place(&mut frame, &ip, MacAddr([4; 6]), MacAddr([6; 6])).expect("hops left");
                let layers = parse(&frame, 0).expect("still a good frame");
                assert_eq!((layers.src_mac, layers.dst_mac), (MacAddr([4; 6]), MacAddr([6; 6])));
                assert_eq!(ip_of(&frame, 0).hop_limit, left);
            }
            let ip = ip_of(&frame, 0);
            let result = forward_in_place(&mut frame, &ip, MacAddr([4; 6]), MacAddr([6; 6]));
            assert_eq!(result, Err(DropReason::HopLimit));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0usize..4) {
            if bytes.len() > 34 {
                let ethertype: [u8; 2] = [[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0]][kind];
                bytes[12..14].copy_from_slice(&ethertype);
            }
            if let Ok(Layers { packet: Packet::Ip(ip), .. }) = parse(&bytes, 0) {
                let _ = ip.verify_transport(&bytes, RxChecksum::Unknown);
                let _ = parse_udp(&bytes, &ip);
            }
        }

        #[test]
        fn any_cut_or_flip_of_a_good_frame_is_handled(cut in 0usize..80, at in 0usize..80, bit in 0u8..8, v6: bool) {
            let mut frame = udp_frame(0, v6, b"some payload bytes");
            let at = at % frame.len();
            frame[at] ^= 1 << bit;
            frame.truncate(cut);
            if let Ok(Layers { packet: Packet::Ip(ip), .. }) = parse(&frame, 0) {
                let _ = ip.verify_transport(&frame, RxChecksum::Unknown);
                let _ = parse_udp(&frame, &ip);
            }
        }
    }
}
