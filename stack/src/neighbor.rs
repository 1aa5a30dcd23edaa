//! Neighbours on a port's link: which Ethernet address answers for which IP address (ARP, RFC 826).
//!
//! A node asks only as itself, never as a VIP: a back-end that asked as the VIP would steal it from the front-end.
//! Only what was asked for, or comes with a request addressed to us, is learned; a client's SYN makes no entry.

use alloc::vec::Vec;

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetProtocol};

use crate::addr::{IpAddr, Ipv4Addr, MacAddr};
use crate::drop::DropReason;
use crate::node::{PortId, Transmit};
use crate::time::{Duration, Instant, earliest};
use crate::wire::write_ethernet;

/// Time between two requests for the same address (RFC 1122 section 2.3.2.1: at most one a second).
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// Requests without an answer before a neighbour is given up.
const REQUESTS_MAX: u8 = 3;
/// How long an answer is believed before it is asked for again (the old one is used meanwhile).
const REACHABLE: Duration = Duration::from_secs(60);
/// How long a neighbour that nobody asks for is kept.
const UNUSED_MAX: Duration = Duration::from_secs(300);
/// Neighbours kept at the most.
pub const NEIGHBORS_MAX: usize = 1024;
/// How often a VIP is announced at start, a request interval apart (RFC 5227 section 2.3 asks for two).
const ANNOUNCEMENTS: u8 = 2;
const ARP_LEN: usize = 28;

/// A port as the IP layer sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The port.
    pub port: PortId,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// The node's own address on it.
    pub addr: IpAddr,
    /// Leading bits that all neighbours share.
    pub prefix_len: u8,
    /// Where everything else goes.
    pub gateway: Option<IpAddr>,
    /// VLAN id, zero for none.
    pub vlan: u16,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
}

impl Interface {
    /// Whether `addr` is a direct neighbour.
    #[must_use]
    pub fn is_on_link(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(addr)) => {
                let differing = (own.to_bits() ^ addr.to_bits()).leading_zeros();
                differing >= u32::from(self.prefix_len)
            }
            (IpAddr::V6(own), IpAddr::V6(addr)) => {
                let differing = (own.to_bits() ^ addr.to_bits()).leading_zeros();
                differing >= u32::from(self.prefix_len)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The neighbour through which `addr` is reached, if there is one.
    #[must_use]
    pub fn next_hop(&self, addr: IpAddr) -> Option<IpAddr> {
        if self.is_on_link(addr) { Some(addr) } else { self.gateway }
    }
}

#[derive(Clone, Debug)]
struct Neighbor {
    addr: IpAddr,
    mac: Option<MacAddr>,
    /// Requests sent since the last answer.
    requests: u8,
    /// When the next request is due.
    ask_at: Instant,
    /// When somebody last wanted it.
    used: Instant,
}

#[derive(Clone, Debug)]
struct Announcement {
    addr: Ipv4Addr,
    left: u8,
    at: Instant,
}

/// The neighbours of one port.
#[derive(Clone, Debug)]
pub struct Neighbors {
    interface: Interface,
    /// Addresses answered for besides our own.
    vips: Vec<IpAddr>,
    /// Sorted by address.
    table: Vec<Neighbor>,
    announcements: Vec<Announcement>,
}

impl Neighbors {
    /// Nobody known yet. ARP requests for `vips` are answered too, and they are announced at `now`.
    #[must_use]
    pub fn new(interface: Interface, vips: Vec<IpAddr>, now: Instant) -> Self {
        let announcements = vips
            .iter()
            .filter_map(|vip| match vip {
                IpAddr::V4(addr) => Some(Announcement { addr: *addr, left: ANNOUNCEMENTS, at: now }),
                IpAddr::V6(_) => None,
            })
            .collect();
        Self { interface, vips, table: Vec::new(), announcements }
    }

    /// The port that these are neighbours of.
    #[must_use]
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Whether `addr` is our own address on this port or a VIP.
    #[must_use]
    pub fn answers_for(&self, addr: IpAddr) -> bool {
        addr == self.interface.addr || self.vips.contains(&addr)
    }

    /// The Ethernet address of the next hop towards `dst`. When it is not known it is asked for in the next
    /// [`Neighbors::poll`].
    ///
    /// # Errors
    /// [`DropReason::NeighborPending`].
    pub fn resolve(&mut self, dst: IpAddr, now: Instant) -> Result<MacAddr, DropReason> {
        let hop = self.interface.next_hop(dst).ok_or(DropReason::NeighborPending)?;
        match self.position(hop) {
            Ok(at) => {
                let neighbor = &mut self.table[at];
                neighbor.used = now;
                neighbor.mac.ok_or(DropReason::NeighborPending)
            }
            Err(at) => {
                if self.table.len() < NEIGHBORS_MAX {
                    self.table.insert(at, Neighbor { addr: hop, mac: None, requests: 0, ask_at: now, used: now });
                }
                Err(DropReason::NeighborPending)
            }
        }
    }

    /// Handles a received ARP packet: learns from it and answers requests for our addresses.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_arp<T: Transmit>(&mut self, now: Instant, packet: &[u8], tx: &mut T) -> Result<(), DropReason> {
        let packet = ArpPacket::new_checked(packet).map_err(|_| DropReason::Truncated)?;
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        }) = ArpRepr::parse(&packet)
        else {
            return Err(DropReason::Arp);
        };
        let mac = MacAddr(source_hardware_addr.0);
        if mac.is_multicast() {
            return Err(DropReason::Arp);
        }
        let (source, target) = (IpAddr::V4(source_protocol_addr), IpAddr::V4(target_protocol_addr));
        let ours = self.answers_for(target);
        match operation {
            ArpOperation::Request if ours => {
                if !source_protocol_addr.is_unspecified() {
                    self.learn(source, mac, now, true);
                }
                let reply = self.arp(ArpOperation::Reply, target_protocol_addr, mac, source_protocol_addr);
                if self.send(&reply, mac, tx) { Ok(()) } else { Err(DropReason::TransmitFull) }
            }
            // An announcement or somebody else's request: corrects what we know, adds nothing.
            ArpOperation::Request => {
                self.learn(source, mac, now, false);
                Ok(())
            }
            ArpOperation::Reply => {
                self.learn(source, mac, now, false);
                Ok(())
            }
            ArpOperation::Unknown(_) => Err(DropReason::Arp),
        }
    }

    /// Sends the requests and announcements that are due.
    pub fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        self.table.retain(|n| now.since(n.used) < UNUSED_MAX && (n.requests < REQUESTS_MAX || now < n.ask_at));
        for at in 0..self.table.len() {
            let Neighbor { addr: IpAddr::V4(addr), ask_at, mac, .. } = self.table[at] else { continue };
            if now < ask_at {
                continue;
            }
            let IpAddr::V4(own) = self.interface.addr else { continue };
            let request = self.arp(ArpOperation::Request, own, MacAddr::default(), addr);
            // A neighbour that we know is asked alone, so that nobody else is troubled (RFC 1122 section 2.3.2.1).
            if self.send(&request, mac.unwrap_or(MacAddr::BROADCAST), tx) {
                self.table[at].requests += 1;
                self.table[at].ask_at = now + REQUEST_INTERVAL;
            }
        }
        for at in 0..self.announcements.len() {
            let Announcement { addr, at: due, .. } = self.announcements[at];
            if now < due {
                continue;
            }
            let announcement = self.arp(ArpOperation::Request, addr, MacAddr::default(), addr);
            if self.send(&announcement, MacAddr::BROADCAST, tx) {
                self.announcements[at].left -= 1;
                self.announcements[at].at = now + REQUEST_INTERVAL;
            }
        }
        self.announcements.retain(|a| a.left > 0);
    }

    /// When [`Neighbors::poll`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let requests = self.table.iter().map(|n| n.ask_at).min();
        earliest(requests, self.announcements.iter().map(|a| a.at).min())
    }

    fn position(&self, addr: IpAddr) -> Result<usize, usize> {
        self.table.binary_search_by_key(&addr, |n| n.addr)
    }

    fn learn(&mut self, addr: IpAddr, mac: MacAddr, now: Instant, add: bool) {
        match self.position(addr) {
            Ok(at) => {
                let neighbor = &mut self.table[at];
                neighbor.mac = Some(mac);
                neighbor.requests = 0;
                neighbor.ask_at = now + REACHABLE;
            }
            Err(at) if add && self.table.len() < NEIGHBORS_MAX && self.interface.is_on_link(addr) => {
                self.table
                    .insert(at, Neighbor { addr, mac: Some(mac), requests: 0, ask_at: now + REACHABLE, used: now });
            }
            Err(_) => {}
        }
    }

    fn arp(&self, operation: ArpOperation, source: Ipv4Addr, target_mac: MacAddr, target: Ipv4Addr) -> ArpRepr {
        ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(self.interface.mac.0),
            source_protocol_addr: source,
            target_hardware_addr: EthernetAddress(target_mac.0),
            target_protocol_addr: target,
        }
    }

    fn send<T: Transmit>(&self, repr: &ArpRepr, dst: MacAddr, tx: &mut T) -> bool {
        tx.transmit(self.interface.port, 18 + ARP_LEN, |frame| {
            let at = write_ethernet(frame, self.interface.mac, dst, self.interface.vlan, EthernetProtocol::Arp);
            repr.emit(&mut ArpPacket::new_unchecked(&mut frame[at..at + ARP_LEN]));
            at + ARP_LEN
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{self, Packet};
    use alloc::vec;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
    const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
    const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    #[derive(Default)]
    struct Sent(Vec<Vec<u8>>);

    impl Transmit for Sent {
        fn transmit(&mut self, _: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
            let mut frame = vec![0; len_max];
            let len = write(&mut frame);
            frame.truncate(len);
            self.0.push(frame);
            true
        }
    }

    impl Sent {
        fn take(&mut self) -> Vec<(MacAddr, ArpRepr)> {
            let frames = core::mem::take(&mut self.0);
            frames
                .iter()
                .map(|frame| {
                    let layers = wire::parse(frame, 0).expect("a frame");
                    let Packet::Arp(range) = layers.packet else { panic!("ARP") };
                    (layers.dst_mac, ArpRepr::parse(&ArpPacket::new_checked(&frame[range]).expect("ARP")).expect("ARP"))
                })
                .collect()
        }
    }

    fn neighbors(vips: &[Ipv4Addr]) -> Neighbors {
        let interface = Interface {
            port: PortId(0),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            addr: IpAddr::V4(OWN),
            prefix_len: 24,
            gateway: Some(IpAddr::V4(PEER)),
            vlan: 0,
            mtu: 1500,
        };
        Neighbors::new(interface, vips.iter().map(|&vip| IpAddr::V4(vip)).collect(), Instant::ZERO)
    }

    fn packet(operation: ArpOperation, source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(PEER_MAC.0),
            source_protocol_addr: source,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: target,
        };
        let mut bytes = vec![0; ARP_LEN];
        repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
        bytes
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn answers_for_its_own_address_and_its_vips_only() {
        let (mut neighbors, mut sent) = (neighbors(&[VIP]), Sent::default());
        for (target, answered) in [(OWN, true), (VIP, true), (Ipv4Addr::new(10, 0, 0, 77), false)] {
            neighbors.handle_arp(at(0), &packet(ArpOperation::Request, PEER, target), &mut sent).expect("good");
            let replies = sent.take();
            assert_eq!(replies.len(), usize::from(answered));
            for (dst, repr) in replies {
                let ArpRepr::EthernetIpv4 { operation, source_protocol_addr, .. } = repr else { panic!("IPv4") };
                assert_eq!((dst, operation, source_protocol_addr), (PEER_MAC, ArpOperation::Reply, target));
            }
        }
    }

    #[test]
    fn asks_as_itself_gives_up_and_asks_again() {
        let (mut neighbors, mut sent) = (neighbors(&[]), Sent::default());
        let far = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1));
        assert_eq!(neighbors.resolve(far, at(0)), Err(DropReason::NeighborPending));
        for second in 0..3 {
            neighbors.poll(at(second), &mut sent);
            let [(dst, ArpRepr::EthernetIpv4 { operation, source_protocol_addr, target_protocol_addr, .. })] =
                sent.take()[..]
            else {
                panic!("one request a second")
            };
            assert_eq!((dst, operation), (MacAddr::BROADCAST, ArpOperation::Request));
            assert_eq!((source_protocol_addr, target_protocol_addr), (OWN, PEER), "the gateway, asked as ourselves");
        }
        neighbors.poll(at(3), &mut sent);
        assert_eq!((sent.take().len(), neighbors.poll_at()), (0, None), "given up");
        assert_eq!(neighbors.resolve(far, at(4)), Err(DropReason::NeighborPending));
        neighbors.poll(at(4), &mut sent);
        neighbors.handle_arp(at(4), &packet(ArpOperation::Reply, PEER, OWN), &mut sent).expect("good");
        assert_eq!(neighbors.resolve(far, at(4)), Ok(PEER_MAC));
        // Refreshed with a unicast request while the old answer is in use.
        sent.take();
        neighbors.poll(at(64), &mut sent);
        assert_eq!(sent.take().len(), 1);
        assert_eq!(neighbors.resolve(far, at(64)), Ok(PEER_MAC));
    }

    #[test]
    fn an_answer_nobody_asked_for_is_not_learned() {
        let (mut neighbors, mut sent) = (neighbors(&[]), Sent::default());
        neighbors.handle_arp(at(0), &packet(ArpOperation::Reply, PEER, OWN), &mut sent).expect("good");
        assert_eq!(neighbors.resolve(IpAddr::V4(PEER), at(0)), Err(DropReason::NeighborPending));
    }

    #[test]
    fn announces_vips_twice() {
        let (mut neighbors, mut sent) = (neighbors(&[VIP]), Sent::default());
        for second in 0..5 {
            neighbors.poll(at(second), &mut sent);
        }
        let announcements = sent.take();
        assert_eq!(announcements.len(), 2);
        assert!(announcements.iter().all(|(dst, repr)| *dst == MacAddr::BROADCAST
            && matches!(repr, ArpRepr::EthernetIpv4 { source_protocol_addr, target_protocol_addr, .. }
                if *source_protocol_addr == VIP && *target_protocol_addr == VIP)));
    }

    #[test]
    fn the_table_holds_its_limit_and_not_one_more() {
        let mut neighbors = neighbors(&[]);
        neighbors.interface.prefix_len = 8;
        for i in 0..=u32::try_from(NEIGHBORS_MAX).expect("small") {
            let addr = Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 0, 0).to_bits() + i);
            assert_eq!(neighbors.resolve(IpAddr::V4(addr), at(0)), Err(DropReason::NeighborPending));
        }
        assert_eq!(neighbors.table.len(), NEIGHBORS_MAX);
    }
}
