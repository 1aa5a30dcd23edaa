//! A short look at a frame: is it a plain TCP segment to us, and of which flow?
//!
//! Nearly every frame of a front-end is one, and is only sent on. A frame that is anything else, or that something is wrong with, is
//! `None` here: [`Ports::handle_frame`](crate::ports::Ports::handle_frame) then looks at all of it, and names what is wrong.

use core::ops::Range;

use crate::addr::{Endpoint, Flow, FlowV4, IpAddr, Ipv6Addr, MacAddr};
use crate::checksum;
use crate::drop::DropReason;
use crate::node::RxChecksum;
use crate::tcp::{Flags, SeqNum};
use crate::wire::{self, Macs, protocol};

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const TCP_LEN: usize = 20;
const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86dd;
/// Bytes of the headers of a plain segment over IPv4: Ethernet, IP and TCP, each without options.
pub const HEADERS_V4: usize = ETHERNET_LEN + IPV4_LEN + TCP_LEN;
/// The same over IPv6.
pub const HEADERS_V6: usize = ETHERNET_LEN + IPV6_LEN + TCP_LEN;

/// The headers of a plain TCP segment, where they stand in its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plain<'a> {
    /// Over IPv4.
    V4(&'a [u8; HEADERS_V4]),
    /// Over IPv6.
    V6(&'a [u8; HEADERS_V6]),
}

/// What a segment says of both directions: enough to reset its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What it acknowledges, if it acknowledges anything.
    pub ack: Option<SeqNum>,
    /// The sequence number behind its last byte.
    pub seq_end: SeqNum,
}

impl Progress {
    /// Of a segment of `len` bytes, header included, whose header begins so.
    #[must_use]
    #[inline]
    pub fn of(header: &[u8; TCP_LEN], len: usize) -> Self {
        let number =
            |at: usize| SeqNum(u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
        let flags = Flags(header[13]);
        let payload = len.saturating_sub(usize::from(header[12] >> 4) * 4);
        let control = u32::from(flags.has(Flags::SYN)) + u32::from(flags.has(Flags::FIN));
        let seq_end = number(4) + (u32::try_from(payload).unwrap_or(0) + control);
        Self { ack: flags.has(Flags::ACK).then(|| number(8)), seq_end }
    }
}

impl<'a> Plain<'a> {
    /// The plain segment in an untagged frame to `mac`: TCP behind an IP header without options or extensions, no fragment, whose IPv4
    /// header checksum is right.
    #[must_use]
    #[inline]
    pub fn of(frame: &'a [u8], mac: MacAddr, device: RxChecksum) -> Option<Self> {
        let plain = Self::again(frame)?;
        let is_plain = match plain {
            Self::V4(headers) => {
                let ip = headers[ETHERNET_LEN..].first_chunk::<IPV4_LEN>()?;
                let is_fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0;
                let is_good = || device == RxChecksum::Good || checksum::is_right_in(ip);
                ip[0] == 0x45 && ip[9] == protocol::TCP && !is_fragment && is_good()
            }
            Self::V6(headers) => headers[14] >> 4 == 6 && headers[20] == protocol::TCP,
        };
        let Range { start, end } = plain.segment();
        let is_whole = end >= start + TCP_LEN && end <= frame.len();
        (is_plain && is_whole && *frame.first_chunk::<6>()? == mac.0).then_some(plain)
    }

    /// A frame that was [looked at](Self::of), and has not been changed since.
    #[must_use]
    #[inline]
    pub fn again(frame: &'a [u8]) -> Option<Self> {
        let headers = frame.first_chunk::<HEADERS_V4>()?;
        match u16::from_be_bytes([headers[12], headers[13]]) {
            ETHERTYPE_V4 => Some(Self::V4(headers)),
            ETHERTYPE_V6 => frame.first_chunk::<HEADERS_V6>().map(Self::V6),
            _ => None,
        }
    }

    /// Time to live, or hop limit.
    #[must_use]
    #[inline]
    pub const fn hop_limit(&self) -> u8 {
        match self {
            Self::V4(headers) => headers[22],
            Self::V6(headers) => headers[21],
        }
    }

    /// The segment in the frame, from its header on.
    #[must_use]
    #[inline]
    pub fn segment(&self) -> Range<usize> {
        match self {
            Self::V4(headers) => {
                let total = usize::from(u16::from_be_bytes([headers[16], headers[17]]));
                ETHERNET_LEN + IPV4_LEN..ETHERNET_LEN + total
            }
            Self::V6(headers) => {
                let len = usize::from(u16::from_be_bytes([headers[18], headers[19]]));
                ETHERNET_LEN + IPV6_LEN..ETHERNET_LEN + IPV6_LEN + len
            }
        }
    }

    /// What it says of both directions.
    #[must_use]
    #[inline]
    pub fn progress(&self) -> Progress {
        let segment = self.segment();
        let header = match self {
            Self::V4(headers) => headers.last_chunk(),
            Self::V6(headers) => headers.last_chunk(),
        };
        Progress::of(header.unwrap_or(&[0; TCP_LEN]), segment.len())
    }
}

/// The flow of a segment over IPv4, if it came from a client.
#[must_use]
#[inline]
pub fn flow_v4(headers: &[u8; HEADERS_V4]) -> FlowV4 {
    FlowV4(*headers[26..].first_chunk().unwrap_or(&[0; 12]))
}

/// The flow of a segment over IPv6, if it came from a client.
#[must_use]
#[inline]
pub fn flow_v6(headers: &[u8; HEADERS_V6]) -> Flow {
    let addr = |at: usize| IpAddr::V6(Ipv6Addr::from(*headers[at..].first_chunk::<16>().unwrap_or(&[0; 16])));
    let port = |at: usize| u16::from_be_bytes([headers[at], headers[at + 1]]);
    Flow { client: Endpoint { addr: addr(22), port: port(54) }, vip: Endpoint { addr: addr(38), port: port(56) } }
}

/// The headers of a frame that was [looked at](Plain::of), and has not been changed since, if it is one over IPv4.
#[must_use]
#[inline]
pub fn again_v4(frame: &mut [u8]) -> Option<&mut [u8; HEADERS_V4]> {
    let headers = frame.first_chunk_mut::<HEADERS_V4>()?;
    (u16::from_be_bytes([headers[12], headers[13]]) == ETHERTYPE_V4).then_some(headers)
}

/// Sends a plain segment on to another node, as [`wire::forward_in_place`]: `is_ipv4` and `hop_limit` are its own.
///
/// # Errors
/// [`DropReason::HopLimit`] when the packet has come to its last hop; nothing is changed then.
#[inline]
pub fn forward_in_place(frame: &mut [u8], is_ipv4: bool, hop_limit: u8, to: Macs) -> Result<(), DropReason> {
    wire::rewrite(frame, ETHERNET_LEN, is_ipv4, hop_limit, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Ipv4Addr;
    use crate::ecn::Ecn;
    use crate::wire::{Envelope, IpLayers, IpSettings, Layers, Packet, parse};
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn frame(v6: bool, vlan: u16, payload: &[u8]) -> Vec<u8> {
        let addr = |last: u8| {
            if v6 {
                IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()))
            } else {
                IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
            }
        };
        let envelope = Envelope {
            src_mac: MacAddr([2; 6]),
            dst_mac: MAC,
            vlan,
            src: addr(1),
            dst: addr(2),
            ip: IpSettings::DEFAULT,
        };
        let mut frame = vec![0; envelope.len()];
        frame.extend_from_slice(&[0x30, 0x39, 0, 80]);
        frame.extend_from_slice(&[1, 2, 3, 4, 0, 0, 0, 7]);
        frame.extend_from_slice(&[0x50, 0x10, 0, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(payload);
        let len = envelope.seal_tcp(&mut frame, TCP_LEN + payload.len(), Ecn::NotEct);
        frame.truncate(len);
        frame
    }

    fn agree(short: &Plain<'_>, long: &IpLayers) -> bool {
        let Flow { client, vip } = flow(short);
        (client.addr, vip.addr, short.hop_limit(), &short.segment()) == (long.src, long.dst, long.hop_limit, &long.l4)
            && (long.protocol, long.ip_offset) == (protocol::TCP, ETHERNET_LEN)
    }

    fn flow(plain: &Plain<'_>) -> Flow {
        match plain {
            Plain::V4(headers) => flow_v4(headers).flow(),
            Plain::V6(headers) => flow_v6(headers),
        }
    }

    fn look(frame: &[u8]) -> Option<Plain<'_>> {
        Plain::of(frame, MAC, RxChecksum::Unknown)
    }

    #[test]
    fn it_sees_what_the_long_look_sees() {
        for v6 in [false, true] {
            let mut frame = frame(v6, 0, b"GET / HTTP/1.1\r\n");
            // Ethernet's padding belongs to nobody.
            frame.extend_from_slice(&[0; 7]);
            let short = look(&frame).expect("a plain segment");
            let Ok(Layers { packet: Packet::Ip(long), .. }) = parse(&frame, 0) else { panic!("a good frame") };
            assert!(agree(&short, &long), "{short:?} {long:?}");
            assert_eq!((flow(&short).client.port, flow(&short).vip.port), (12_345, 80));
            assert_eq!(FlowV4::of(&flow(&short)).is_some(), !v6);
            assert_eq!(short.progress(), Progress { ack: Some(SeqNum(7)), seq_end: SeqNum(0x0102_0304 + 16) });
            let (mut by_short, mut by_long) = (frame.clone(), frame.clone());
            let (src, dst) = (MacAddr([6; 6]), MacAddr([8; 6]));
            forward_in_place(&mut by_short, !v6, short.hop_limit(), Macs::new(dst, src)).expect("hops are left");
            wire::forward_in_place(&mut by_long, &long, src, dst).expect("hops are left");
            assert_eq!(by_short, by_long);
            assert_eq!(forward_in_place(&mut by_short, !v6, 1, Macs::new(dst, src)), Err(DropReason::HopLimit));
            assert_eq!(by_short, by_long, "nothing is changed");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_long_look() {
        for v6 in [false, true] {
            let plain = frame(v6, 0, b"x");
            assert_eq!(Plain::of(&plain, MacAddr([4; 6]), RxChecksum::Good), None, "to somebody else");
            assert_eq!(look(&frame(v6, 5, b"x")), None, "tagged");
            assert_eq!(look(&plain[..plain.len() - 1]), None, "cut");
            let change = |at: usize, byte: u8| {
                let mut frame = plain.clone();
                frame[at] = byte;
                Plain::of(&frame, MAC, RxChecksum::Good).map(|plain| plain.hop_limit())
            };
            assert_eq!(change(if v6 { 20 } else { 23 }, protocol::UDP), None, "another protocol");
            assert_eq!(change(14, 0x46), None, "options, or another version");
            if !v6 {
                assert_eq!(change(20, 0x20), None, "a fragment");
                assert!(change(24, 0).is_some(), "the device has said that the checksum is good");
                let mut damaged = plain.clone();
                damaged[24] ^= 1;
                assert_eq!(look(&damaged), None, "a wrong checksum");
            }
        }
    }

    proptest! {
        /// Whatever the bytes: if it says something, the long look says the same.
        #[test]
        fn it_never_says_anything_else(at in 0usize..60, byte: u8, cut in 0usize..80, v6: bool) {
            let mut frame = frame(v6, 0, b"some payload");
            let at = at % frame.len();
            frame[at] = byte;
            frame.truncate(cut);
            if let Some(short) = look(&frame) {
                let long = parse(&frame, 0);
                prop_assert!(matches!(&long, Ok(Layers { packet: Packet::Ip(long), .. }) if agree(&short, long)), "{:?}", long);
            }
        }
    }
}
