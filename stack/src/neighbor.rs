//! Neighbours on a port's link: which Ethernet address answers for which IP address (ARP, RFC 826; for IPv6 neighbour
//! discovery, RFC 4861).
//!
//! A node asks only as itself, never as a VIP: a back-end that asked as the VIP would steal it from the front-end.
//! Only what was asked for, or comes with a request addressed to us, is learned; a client's SYN makes no entry.

use alloc::vec::Vec;

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetProtocol};

use crate::addr::{IpAddr, Ipv4Addr, Ipv6Addr, MacAddr};
use crate::drop::DropReason;
use crate::mld;
use crate::ndp::{self, ALL_NODES, Ndp, multicast_mac, solicited_node};
use crate::node::{PortId, Transmit};
use crate::time::{Duration, Instant, earliest};
use crate::wire::{Envelope, IpSettings, write_ethernet};

/// Time between two requests for the same address (RFC 1122 section 2.3.2.1: at most one a second; RFC 4861 section 10: one
/// second).
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// Requests without an answer before a neighbour is given up (RFC 4861 section 10: three).
const REQUESTS_MAX: u8 = 3;
/// How long an answer is believed before it is asked for again (the old one is used meanwhile).
const REACHABLE: Duration = Duration::from_secs(60);
/// How long a neighbour that nobody asks for is kept.
const UNUSED_MAX: Duration = Duration::from_secs(300);
/// Neighbours kept at the most.
pub const NEIGHBORS_MAX: usize = 1024;
/// Neighbours kept at the most when one is to be added because it asked for us: a network of 2^64 addresses must not be able
/// to fill the table with names of its own making (RFC 6583).
pub const NEIGHBORS_HEARD_MAX: usize = NEIGHBORS_MAX / 2;
/// How often a VIP is announced at start, a request interval apart (RFC 5227 section 2.3 asks for two; RFC 4861 section 7.2.6
/// allows three).
const ANNOUNCEMENTS: u8 = 2;
const ARP_LEN: usize = 28;

/// A port as the IP layer sees it, in one family: a port with an address of each family is two interfaces.
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
    /// Whether `addr` is of this interface's family.
    #[must_use]
    pub const fn is_family_of(&self, addr: IpAddr) -> bool {
        self.addr.is_ipv4() == addr.is_ipv4()
    }

    /// Whether `addr` is a direct neighbour. A link-local address always is (RFC 4861 section 5.1).
    #[must_use]
    pub fn is_on_link(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(addr)) => {
                let differing = (own.to_bits() ^ addr.to_bits()).leading_zeros();
                differing >= u32::from(self.prefix_len)
            }
            (IpAddr::V6(own), IpAddr::V6(addr)) => {
                let differing = (own.to_bits() ^ addr.to_bits()).leading_zeros();
                differing >= u32::from(self.prefix_len) || addr.is_unicast_link_local()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The neighbour through which `addr` is reached, if there is one.
    #[must_use]
    pub fn next_hop(&self, addr: IpAddr) -> Option<IpAddr> {
        if self.is_on_link(addr) { Some(addr) } else { self.gateway.filter(|_| self.is_family_of(addr)) }
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

/// Reports of the groups in which we are asked for.
#[derive(Clone, Debug)]
struct Reports {
    /// Sorted.
    groups: Vec<Ipv6Addr>,
    /// How often they are to be sent.
    left: u8,
    at: Instant,
    reason: mld::Reason,
}

#[derive(Clone, Debug)]
struct Announcement {
    addr: IpAddr,
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
    /// For IPv6.
    reports: Option<Reports>,
}

impl Neighbors {
    /// Nobody known yet. Who asks for one of `vips` is answered too, and they are announced at `now`; those of the other family
    /// are left to another interface.
    #[must_use]
    pub fn new(interface: Interface, mut vips: Vec<IpAddr>, now: Instant) -> Self {
        vips.retain(|&vip| interface.is_family_of(vip));
        let announcements = vips.iter().map(|&addr| Announcement { addr, left: ANNOUNCEMENTS, at: now }).collect();
        let groups = groups_of(vips.iter().chain([&interface.addr]));
        let report = |groups| Reports { groups, left: ANNOUNCEMENTS, at: now, reason: mld::Reason::Joined };
        let reports = interface.addr.is_ipv6().then(|| report(groups));
        Self { interface, vips, table: Vec::new(), announcements, reports }
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

    /// Whether a packet to the group `dst` in a frame to `mac` is for us: from those who ask for our addresses, or for all nodes.
    #[must_use]
    pub fn listens_to(&self, mac: MacAddr, dst: IpAddr) -> bool {
        let (IpAddr::V6(group), Some(reports)) = (dst, &self.reports) else { return false };
        mac == multicast_mac(group) && (group == ALL_NODES || reports.groups.binary_search(&group).is_ok())
    }

    /// Whether `addr` is known by this Ethernet address.
    #[must_use]
    pub fn is_at(&self, addr: IpAddr, mac: MacAddr) -> bool {
        self.position(addr).is_ok_and(|at| self.table.get(at).is_some_and(|neighbor| neighbor.mac == Some(mac)))
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

    /// Handles a neighbour discovery message from `source`, at `src_mac` on this link: as [`Neighbors::handle_arp`].
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_ndp<T: Transmit>(
        &mut self,
        now: Instant,
        message: Ndp,
        (source, src_mac): (Ipv6Addr, MacAddr),
        tx: &mut T,
    ) -> Result<(), DropReason> {
        match message {
            Ndp::Solicitation { target, mac } => {
                if !self.answers_for(IpAddr::V6(target)) {
                    return Err(DropReason::NotOurs);
                }
                // Neighbours ask from any address they have, link-local ones included; who only looks whether the address is
                // taken has none, and all are told (RFC 4861 section 7.2.4).
                let (to, to_mac) = if source.is_unspecified() {
                    (ALL_NODES, multicast_mac(ALL_NODES))
                } else {
                    if let Some(mac) = mac {
                        self.learn(IpAddr::V6(source), mac, now, true);
                    }
                    (source, mac.unwrap_or(src_mac))
                };
                if self.advertise(target, target, (to, to_mac), tx) { Ok(()) } else { Err(DropReason::TransmitFull) }
            }
            // RFC 4861 section 7.2.5: it corrects what we know, and only if it says so; it adds nothing.
            Ndp::Advertisement { target, overrides, mac, .. } => {
                if let Ok(at) = self.position(IpAddr::V6(target)) {
                    let known = self.table[at].mac;
                    match mac.or(known) {
                        Some(mac) if overrides || known.is_none_or(|known| known == mac) => {
                            self.learn(IpAddr::V6(target), mac, now, false);
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
        }
    }

    /// Takes note that a router or switch wants to know our groups `within` that time. Nodes answer at different moments, and
    /// not more often than once in a request interval.
    pub fn handle_query(&mut self, now: Instant, within: Duration) {
        let [.., low] = self.interface.mac.0;
        let delay = within * u32::from(low) / 256;
        if let Some(reports) = self.reports.as_mut().filter(|reports| reports.left == 0) {
            reports.left = 1;
            reports.at = (now + delay).max(reports.at);
            reports.reason = mld::Reason::Asked;
        }
    }

    /// Sends the requests, reports and announcements that are due.
    pub fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        self.table.retain(|n| now.since(n.used) < UNUSED_MAX && (n.requests < REQUESTS_MAX || now < n.ask_at));
        for at in 0..self.table.len() {
            let Neighbor { addr, ask_at, mac, .. } = self.table[at];
            if now >= ask_at && self.ask(addr, mac, tx) {
                self.table[at].requests += 1;
                self.table[at].ask_at = now + REQUEST_INTERVAL;
            }
        }
        self.report(now, tx);
        for at in 0..self.announcements.len() {
            let Announcement { addr, at: due, .. } = self.announcements[at];
            if now >= due && self.announce(addr, tx) {
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
        let reports = self.reports.as_ref().filter(|reports| reports.left > 0).map(|reports| reports.at);
        earliest(earliest(requests, reports), self.announcements.iter().map(|a| a.at).min())
    }

    /// Reports our groups, if that is due. What finds no room is sent with the next poll, all of it again.
    fn report<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        let Some(reports) = self.reports.as_mut().filter(|reports| reports.left > 0 && now >= reports.at) else {
            return;
        };
        let Interface { port, mac, vlan, .. } = self.interface;
        let envelope = mld::envelope(mac, vlan);
        for groups in reports.groups.chunks(mld::GROUPS_MAX) {
            let write = |frame: &mut [u8]| mld::emit(&envelope, reports.reason, groups, frame);
            if !tx.transmit(port, mld::frame_len(&envelope, groups.len()), write) {
                return;
            }
        }
        reports.left -= 1;
        reports.at = now + REQUEST_INTERVAL;
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
            Err(at) if add && self.table.len() < NEIGHBORS_HEARD_MAX && self.interface.is_on_link(addr) => {
                self.table
                    .insert(at, Neighbor { addr, mac: Some(mac), requests: 0, ask_at: now + REACHABLE, used: now });
            }
            Err(_) => {}
        }
    }

    /// Asks for a neighbour, as ourselves. One that we know is asked alone, so that nobody else is troubled (RFC 1122 section
    /// 2.3.2.1; RFC 4861 section 7.3.3).
    fn ask<T: Transmit>(&self, addr: IpAddr, known: Option<MacAddr>, tx: &mut T) -> bool {
        match (self.interface.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(addr)) => {
                let request = self.arp(ArpOperation::Request, own, MacAddr::default(), addr);
                self.send(&request, known.unwrap_or(MacAddr::BROADCAST), tx)
            }
            (IpAddr::V6(own), IpAddr::V6(target)) => {
                let group = solicited_node(target);
                let to = known.map_or((group, multicast_mac(group)), |mac| (target, mac));
                self.send_ndp(Ndp::Solicitation { target, mac: Some(self.interface.mac) }, own, to, tx)
            }
            // The table has neighbours of our family only.
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => true,
        }
    }

    /// Tells everybody on the link that a VIP is here.
    fn announce<T: Transmit>(&self, vip: IpAddr, tx: &mut T) -> bool {
        match (vip, self.interface.addr) {
            (IpAddr::V4(vip), _) => {
                let announcement = self.arp(ArpOperation::Request, vip, MacAddr::default(), vip);
                self.send(&announcement, MacAddr::BROADCAST, tx)
            }
            (IpAddr::V6(vip), IpAddr::V6(own)) => self.advertise(vip, own, (ALL_NODES, multicast_mac(ALL_NODES)), tx),
            // A VIP of the other family is not ours to announce.
            (IpAddr::V6(_), IpAddr::V4(_)) => true,
        }
    }

    /// Says that `target` is here. To all nodes it is not an answer, whoever may have asked; it replaces what they know.
    fn advertise<T: Transmit>(&self, target: Ipv6Addr, source: Ipv6Addr, to: (Ipv6Addr, MacAddr), tx: &mut T) -> bool {
        let (solicited, mac) = (to.0 != ALL_NODES, Some(self.interface.mac));
        self.send_ndp(Ndp::Advertisement { target, solicited, overrides: true, mac }, source, to, tx)
    }

    fn send_ndp<T: Transmit>(&self, message: Ndp, src: Ipv6Addr, to: (Ipv6Addr, MacAddr), tx: &mut T) -> bool {
        let Interface { port, mac, vlan, .. } = self.interface;
        let envelope = Envelope {
            src_mac: mac,
            dst_mac: to.1,
            vlan,
            src: IpAddr::V6(src),
            dst: IpAddr::V6(to.0),
            ip: IpSettings::DEFAULT,
        };
        tx.transmit(port, ndp::FRAME_LEN, |frame| message.emit(&envelope, frame))
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

/// The groups in which others ask for these addresses, sorted.
fn groups_of<'a>(addresses: impl Iterator<Item = &'a IpAddr>) -> Vec<Ipv6Addr> {
    let group = |addr: &IpAddr| match addr {
        IpAddr::V4(_) => None,
        IpAddr::V6(addr) => Some(solicited_node(*addr)),
    };
    let mut groups: Vec<_> = addresses.filter_map(group).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests;
