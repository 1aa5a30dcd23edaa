//! A short look at a frame: is it a plain TCP segment to us, and of which flow?
//!
//! Nearly every frame of a front-end is one, and is only sent on. A frame that is anything else, or that something is wrong with, is
//! `None` here: [`Ports::handle_frame`](crate::ports::Ports::handle_frame) then looks at all of it, and names what is wrong.

use core::ops::Range;

use crate::addr::{Endpoint, Flow, IpAddr, Ipv4Addr, Ipv6Addr, MacAddr};
use crate::checksum;
use crate::drop::DropReason;
use crate::node::RxChecksum;
use crate::wire::{self, protocol};

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const TCP_LEN: usize = 20;

/// A plain TCP segment in a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Glance {
    /// The flow, if the segment came from a client.
    pub flow: Flow,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// The segment, from its header on.
    pub segment: Range<usize>,
}

impl Glance {
    /// Sends the frame on to another node: as [`wire::forward_in_place`].
    ///
    /// # Errors
    /// [`DropReason::HopLimit`] when the packet has come to its last hop; nothing is changed then.
    #[inline]
    pub fn forward_in_place(&self, frame: &mut [u8], src: MacAddr, dst: MacAddr) -> Result<(), DropReason> {
        wire::rewrite(frame, ETHERNET_LEN, self.flow.client.addr.is_ipv4(), self.hop_limit, src, dst)
    }
}

/// The plain segment in an untagged frame to `mac`: TCP behind an IP header without options or extensions, no fragment, whose IPv4 header
/// checksum is right.
#[must_use]
#[inline]
pub fn plain_tcp(frame: &[u8], mac: MacAddr, device: RxChecksum) -> Option<Glance> {
    let ethernet = frame.first_chunk::<ETHERNET_LEN>()?;
    let [d0, d1, d2, d3, d4, d5, .., kind0, kind1] = *ethernet;
    if [d0, d1, d2, d3, d4, d5] != mac.0 {
        return None;
    }
    match [kind0, kind1] {
        [0x08, 0x00] => plain_ipv4(frame, device),
        [0x86, 0xdd] => plain_ipv6(frame),
        _ => None,
    }
}

#[inline]
fn plain_ipv4(frame: &[u8], device: RxChecksum) -> Option<Glance> {
    let (ip, rest) = frame.get(ETHERNET_LEN..)?.split_first_chunk::<IPV4_LEN>()?;
    let tcp = rest.first_chunk::<TCP_LEN>()?;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let is_fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0;
    let is_whole = (IPV4_LEN + TCP_LEN..=IPV4_LEN + rest.len()).contains(&total);
    if ip[0] != 0x45 || ip[9] != protocol::TCP || is_fragment || !is_whole {
        return None;
    }
    if device != RxChecksum::Good && !checksum::is_right_in(ip) {
        return None;
    }
    let client = IpAddr::V4(Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]));
    let vip = IpAddr::V4(Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]));
    let segment = ETHERNET_LEN + IPV4_LEN..ETHERNET_LEN + total;
    Some(Glance { flow: flow_of(client, vip, tcp), hop_limit: ip[8], segment })
}

#[inline]
fn plain_ipv6(frame: &[u8]) -> Option<Glance> {
    let (ip, rest) = frame.get(ETHERNET_LEN..)?.split_first_chunk::<IPV6_LEN>()?;
    let tcp = rest.first_chunk::<TCP_LEN>()?;
    let len = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
    let is_whole = (TCP_LEN..=rest.len()).contains(&len);
    if ip[0] >> 4 != 6 || ip[6] != protocol::TCP || !is_whole {
        return None;
    }
    let (client, vip) = ip[8..].split_first_chunk::<16>()?;
    let (client, vip) = (IpAddr::V6(Ipv6Addr::from(*client)), IpAddr::V6(Ipv6Addr::from(*vip.first_chunk::<16>()?)));
    let at = ETHERNET_LEN + IPV6_LEN;
    Some(Glance { flow: flow_of(client, vip, tcp), hop_limit: ip[7], segment: at..at + len })
}

#[inline]
fn flow_of(client: IpAddr, vip: IpAddr, tcp: &[u8; TCP_LEN]) -> Flow {
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    Flow { client: Endpoint { addr: client, port: port(0) }, vip: Endpoint { addr: vip, port: port(2) } }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        frame.extend_from_slice(&[0; 8]);
        frame.extend_from_slice(&[0x50, 0x10, 0, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(payload);
        let len = envelope.seal_tcp(&mut frame, TCP_LEN + payload.len(), Ecn::NotEct);
        frame.truncate(len);
        frame
    }

    fn agree(short: &Glance, long: &IpLayers) -> bool {
        let Flow { client, vip } = short.flow;
        (client.addr, vip.addr, short.hop_limit, &short.segment) == (long.src, long.dst, long.hop_limit, &long.l4)
            && (long.protocol, long.ip_offset) == (protocol::TCP, ETHERNET_LEN)
    }

    fn look(frame: &[u8]) -> Option<Glance> {
        plain_tcp(frame, MAC, RxChecksum::Unknown)
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
            assert_eq!((short.flow.client.port, short.flow.vip.port), (12_345, 80));
            let (mut by_short, mut by_long) = (frame.clone(), frame);
            let (src, dst) = (MacAddr([6; 6]), MacAddr([8; 6]));
            short.forward_in_place(&mut by_short, src, dst).expect("hops are left");
            wire::forward_in_place(&mut by_long, &long, src, dst).expect("hops are left");
            assert_eq!(by_short, by_long);
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_long_look() {
        for v6 in [false, true] {
            let plain = frame(v6, 0, b"x");
            assert_eq!(plain_tcp(&plain, MacAddr([4; 6]), RxChecksum::Good), None, "to somebody else");
            assert_eq!(look(&frame(v6, 5, b"x")), None, "tagged");
            assert_eq!(look(&plain[..plain.len() - 1]), None, "cut");
            let change = |at: usize, byte: u8| {
                let mut frame = plain.clone();
                frame[at] = byte;
                plain_tcp(&frame, MAC, RxChecksum::Good)
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
