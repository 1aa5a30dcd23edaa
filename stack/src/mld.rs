//! Multicast listener reports (MLDv2, RFC 3810): they tell the switches of a link behind which port solicitations for our addresses
//! are wanted. A switch that snoops on them keeps groups that nobody has reported from everybody.
//!
//! ```text
//!  | IPv6 header         | hop-by-hop           | type 143 ... records | record: type, group ...
//!    :: -> ff02::16,       router alert: routers    1                      4 at start,
//!    hop limit 1           and switches look                               2 in answer to a query
//! ```
//! Reports come from the unspecified address (RFC 3590): a node has no link-local one, and the groups of neighbour discovery
//! concern no router.

use crate::addr::{IpAddr, Ipv6Addr, MacAddr};
use crate::checksum;
use crate::drop::DropReason;
use crate::ndp::multicast_mac;
use crate::time::Duration;
use crate::wire::{Envelope, IPV6_LEN, IpLayers, IpSettings, protocol};

/// The type of a query.
pub const QUERY: u8 = 130;
const REPORT: u8 = 143;
const QUERY_LEN: usize = 24;
/// Where reports go: all routers that speak `MLDv2`.
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Hop-by-hop options with a router alert for MLD (RFC 2711), in front of ICMPv6.
const ROUTER_ALERT: [u8; 8] = [protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0];
const HEADER_LEN: usize = 8;
const RECORD_LEN: usize = 20;
/// Groups in one report at the most: it fits into the shortest IPv6 MTU.
pub const GROUPS_MAX: usize = 60;
/// How long an answer to a query may take at the most, whatever the query allows.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// Why a report is sent: what its records are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// We listen from now on: `CHANGE_TO_EXCLUDE_MODE`, of nobody.
    Joined = 4,
    /// We were asked: `MODE_IS_EXCLUDE`, of nobody.
    Asked = 2,
}

/// How long an answer to a query may take.
///
/// # Errors
/// [`DropReason::Icmp`] if it is no query of a router next to us (RFC 3810 section 6.2).
pub fn parse_query(message: &[u8], ip: &IpLayers) -> Result<Duration, DropReason> {
    let IpAddr::V6(src) = ip.src else { return Err(DropReason::Icmp) };
    let is_near = ip.hop_limit == 1 && src.is_unicast_link_local();
    let fixed = message.first_chunk::<QUERY_LEN>().filter(|_| is_near).ok_or(DropReason::Icmp)?;
    let code = u16::from_be_bytes([fixed[4], fixed[5]]);
    // Section 5.1.3: from 32768 on a floating-point number.
    let ms = if code < 0x8000 { u64::from(code) } else { (u64::from(code & 0xfff) | 0x1000) << ((code >> 12 & 7) + 3) };
    Ok(Duration::from_millis(ms).min(DELAY_MAX))
}

/// What goes around a report from `mac`.
#[must_use]
pub const fn envelope(mac: MacAddr, vlan: u16) -> Envelope {
    let (dst_mac, ip) = (multicast_mac(ROUTERS), IpSettings::DEFAULT);
    Envelope { src_mac: mac, dst_mac, vlan, src: IpAddr::V6(Ipv6Addr::UNSPECIFIED), dst: IpAddr::V6(ROUTERS), ip }
}

/// The bytes of a frame with a report of that many groups.
#[must_use]
pub const fn frame_len(envelope: &Envelope, groups: usize) -> usize {
    envelope.len() + ROUTER_ALERT.len() + HEADER_LEN + RECORD_LEN * groups
}

/// Writes a report of at most [`GROUPS_MAX`] groups as a whole frame; returns its length.
pub fn emit(envelope: &Envelope, reason: Reason, groups: &[Ipv6Addr], frame: &mut [u8]) -> usize {
    let (at, len) = (envelope.len(), frame_len(envelope, groups.len()));
    let (alert, message) = frame[at..len].split_at_mut(ROUTER_ALERT.len());
    alert.copy_from_slice(&ROUTER_ALERT);
    message.fill(0);
    message[0] = REPORT;
    message[6..8].copy_from_slice(&u16::try_from(groups.len()).unwrap_or(0).to_be_bytes());
    for (record, group) in message[HEADER_LEN..].chunks_exact_mut(RECORD_LEN).zip(groups) {
        record[0] = reason as u8;
        record[4..].copy_from_slice(&group.octets());
    }
    let sum = checksum::of_transport(envelope.src, envelope.dst, protocol::ICMPV6, message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    envelope.write_headers(frame, 0, len - at);
    frame[at - IPV6_LEN + 7] = 1;
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{self, Packet};
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x10);

    fn ip_of(frame: &[u8]) -> IpLayers {
        let Ok(wire::Layers { packet: Packet::Ip(ip), .. }) = wire::parse(frame, 0) else { panic!("a good frame") };
        ip
    }

    fn report(groups: &[Ipv6Addr]) -> Vec<u8> {
        let envelope = envelope(MAC, 0);
        let mut frame = vec![0xa5; frame_len(&envelope, groups.len())];
        assert_eq!(emit(&envelope, Reason::Joined, groups, &mut frame), frame.len());
        frame
    }

    #[test]
    fn a_report_is_what_rfc_3810_draws() {
        let frame = report(&[GROUP]);
        let ip = ip_of(&frame);
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 0x16]);
        assert_eq!((ip.src, ip.hop_limit, ip.protocol), (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 1, 58));
        assert_eq!(frame[54..62], [58, 0, 5, 2, 0, 0, 1, 0]);
        let message = &frame[ip.l4.clone()];
        assert_eq!(checksum::of_transport(ip.src, ip.dst, ip.protocol, message), 0);
        assert_eq!((message[0], message[1], &message[4..12]), (143, 0, &[0, 0, 0, 1, 4, 0, 0, 0][..]));
        assert_eq!(message[12..], GROUP.octets());
    }

    #[test]
    fn a_full_report_fits_the_shortest_mtu() {
        let frame = report(&[GROUP; GROUPS_MAX]);
        assert!(frame.len() <= 14 + 1_280);
        assert!(frame.len() + RECORD_LEN > 14 + 1_280 - RECORD_LEN, "and hardly more would");
        assert_eq!(frame[68..70], [0, 60]);
    }

    /// A query with this maximum response code.
    fn query(code: u16, src: Ipv6Addr, hops: u8) -> Result<Duration, DropReason> {
        let mut message = vec![0; 28];
        message[0] = QUERY;
        message[4..6].copy_from_slice(&code.to_be_bytes());
        let ip = IpLayers { src: IpAddr::V6(src), hop_limit: hops, ..ip_of(&report(&[])) };
        parse_query(&message, &ip)
    }

    #[test]
    fn queries_say_how_much_time_there_is() {
        let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        assert_eq!(query(1_000, router, 1), Ok(Duration::from_secs(1)));
        assert_eq!(query(0x7fff, router, 1), Ok(DELAY_MAX));
        assert_eq!(query(0x8000, router, 1), Ok(DELAY_MAX), "32768 ms");
        assert_eq!(query(1_000, router, 2), Err(DropReason::Icmp));
        assert_eq!(query(1_000, Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1), 1), Err(DropReason::Icmp));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(message in proptest::collection::vec(any::<u8>(), 0..60), near: bool) {
            let mut ip = ip_of(&report(&[]));
            if near {
                ip.src = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
            }
            let _ = parse_query(&message, &ip);
        }
    }
}
