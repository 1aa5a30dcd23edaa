//! A node's ports as one IP host: what every node does with a frame before it looks at connections.
//!
//! ```text
//!  frame -> Ethernet -> ARP           answered here
//!                    -> IP -> ICMP    echo answered in place; an error goes to the owner of the flow it quotes;
//!                                     for IPv6 also neighbour discovery, answered here
//!                          -> UDP     to our own address: cluster messages
//!                          -> TCP     to a connection
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use crate::addr::{Endpoint, Flow, IpAddr, Ipv4Addr, MacAddr};
use crate::drop::{DropCounters, DropReason};
use crate::icmp::{self, Icmp};
use crate::neighbor::{Interface, Neighbors};
use crate::node::{Frame, PortId, Transmit, Verdict};
use crate::tcp::TooBig;
use crate::time::{Instant, earliest};
use crate::wire::{self, Envelope, IpLayers, IpSettings, Layers, Packet, protocol};

const TCP_HEADER_LEN: usize = 20;

/// What a received frame turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Dealt with; this becomes of its buffer.
    Done(Verdict),
    /// A UDP packet to our own address; its checksum is verified.
    Udp {
        /// The sender's address.
        from: IpAddr,
        /// The sender on this link.
        src_mac: MacAddr,
        /// The destination port.
        port: u16,
        /// The payload in the frame.
        payload: Range<usize>,
    },
    /// A TCP segment. Its checksum is not verified: who only forwards it leaves that to the owner.
    Tcp {
        /// The flow, if the segment came from a client.
        flow: Flow,
        /// The sender on this link.
        src_mac: MacAddr,
        /// Where its parts are.
        ip: IpLayers,
    },
    /// An ICMP error that quotes a packet of this flow.
    IcmpError {
        /// The flow.
        flow: Flow,
        /// What is told of the packet, if it was too big for its path.
        too_big: Option<TooBig>,
        /// Where its parts are.
        ip: IpLayers,
    },
}

/// The ports of one node, with their neighbours.
#[derive(Clone, Debug)]
pub struct Ports {
    /// One for each interface.
    ports: Vec<Neighbors>,
    /// What was dropped, by reason; the node counts its own drops here too.
    pub drops: DropCounters,
}

impl Ports {
    /// The interfaces of all ports. `vips` are answered for on each that is of their family.
    #[must_use]
    pub fn new(interfaces: Vec<Interface>, vips: &[IpAddr], now: Instant) -> Self {
        let ports = interfaces.into_iter().map(|interface| Neighbors::new(interface, vips.to_vec(), now)).collect();
        Self { ports, drops: DropCounters::default() }
    }

    /// The interface of a port; the first, if it has two. Ethernet address and VLAN are the same for both.
    #[must_use]
    pub fn interface(&self, port: PortId) -> Option<&Interface> {
        self.ports.iter().map(Neighbors::interface).find(|interface| interface.port == port)
    }

    /// The address to which [plain](crate::glance::Plain) segments come on `port`; none do on a tagged one.
    #[must_use]
    pub fn plain_mac(&self, port: PortId) -> Option<MacAddr> {
        self.interface(port).filter(|interface| interface.vlan == 0).map(|interface| interface.mac)
    }

    /// The interface of a port that a packet to `dst` concerns: of its family, if there is one. A back-end without an address in a
    /// family serves its clients all the same: the front-end has their neighbours.
    fn interface_for(&mut self, port: PortId, dst: IpAddr) -> Option<&mut Neighbors> {
        let of_port = |n: &Neighbors| n.interface().port == port;
        let at = self.ports.iter().position(|n| of_port(n) && n.interface().is_family_of(dst));
        let at = at.or_else(|| self.ports.iter().position(of_port))?;
        self.ports.get_mut(at)
    }

    /// Takes a frame as far as it goes without knowing connections.
    pub fn handle_frame<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frame: &mut F,
        tx: &mut T,
    ) -> Input {
        self.classify(now, port, frame, tx).unwrap_or_else(|reason| {
            self.drops.count(reason);
            Input::Done(Verdict::Free)
        })
    }

    fn classify<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frame: &mut F,
        tx: &mut T,
    ) -> Result<Input, DropReason> {
        let vlan = self.interface(port).ok_or(DropReason::NotOurs)?.vlan;
        let Layers { src_mac, dst_mac, packet } = wire::parse(frame.bytes(), vlan)?;
        let ip = match packet {
            Packet::Arp(range) => {
                let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                let neighbors = self.interface_for(port, any).ok_or(DropReason::NotOurs)?;
                neighbors.handle_arp(now, &frame.bytes()[range], tx)?;
                return Ok(Input::Done(Verdict::Free));
            }
            Packet::Ip(ip) => ip,
        };
        let neighbors = self.interface_for(port, ip.dst).ok_or(DropReason::NotOurs)?;
        let interface = neighbors.interface();
        if dst_mac != interface.mac {
            let is_heard = ip.protocol == protocol::ICMPV6 && neighbors.listens_to(dst_mac, ip.dst);
            return if is_heard {
                handle_icmp(neighbors, now, frame, src_mac, ip, tx)
            } else {
                Err(DropReason::NotOurs)
            };
        }
        match (ip.protocol, ip.dst) {
            (protocol::TCP, _) => {
                let flow = flow_of(frame.bytes(), &ip)?;
                Ok(Input::Tcp { flow, src_mac, ip })
            }
            (protocol::UDP, dst) if dst == interface.addr => {
                ip.verify_transport(frame.bytes(), frame.checksum())?;
                let (_, port, payload) = wire::parse_udp(frame.bytes(), &ip)?;
                Ok(Input::Udp { from: ip.src, src_mac, port, payload })
            }
            (protocol::UDP, _) => Err(DropReason::NotOurs),
            (protocol::ICMP, IpAddr::V4(_)) | (protocol::ICMPV6, IpAddr::V6(_)) => {
                handle_icmp(neighbors, now, frame, src_mac, ip, tx)
            }
            _ => Err(DropReason::UnknownProtocol),
        }
    }

    /// The port and Ethernet address through which `dst` is reached.
    ///
    /// # Errors
    /// [`DropReason::NeighborPending`] while it is being asked for, or when there is no way.
    pub fn resolve(&mut self, dst: IpAddr, now: Instant) -> Result<(PortId, MacAddr), DropReason> {
        let (at, mac) = self.way_to(dst, now)?;
        Ok((self.ports[at].interface().port, mac))
    }

    /// Whether `addr` is a neighbour, known by this Ethernet address.
    #[must_use]
    pub fn is_at(&self, addr: IpAddr, mac: MacAddr) -> bool {
        self.ports.iter().any(|neighbors| neighbors.is_at(addr, mac))
    }

    /// As [`Ports::resolve`], with the interface's place.
    fn way_to(&mut self, dst: IpAddr, now: Instant) -> Result<(usize, MacAddr), DropReason> {
        let at = self
            .ports
            .iter()
            .position(|n| n.interface().is_on_link(dst))
            .or_else(|| self.ports.iter().position(|n| n.interface().next_hop(dst).is_some()))
            .ok_or(DropReason::NeighborPending)?;
        Ok((at, self.ports[at].resolve(dst, now)?))
    }

    /// Sends a received frame on to another node, in place.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn forward<F: Frame>(
        &mut self,
        now: Instant,
        frame: &mut F,
        ip: &IpLayers,
        to: IpAddr,
    ) -> Result<Verdict, DropReason> {
        let (port, mac) = self.resolve(to, now)?;
        let src = self.interface(port).map_or(MacAddr::default(), |interface| interface.mac);
        wire::forward_in_place(frame.bytes_mut(), ip, src, mac)?;
        Ok(Verdict::Forward(port))
    }

    /// Sends a UDP packet from our own address to another node; `write` gets the room for the payload and returns
    /// how much of it was used. Returns `Ok(false)` when there was no room to send.
    ///
    /// # Errors
    /// [`DropReason::NeighborPending`], without calling `write`.
    pub fn send_udp<T: Transmit>(
        &mut self,
        now: Instant,
        to: IpAddr,
        udp_port: u16,
        tx: &mut T,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<bool, DropReason> {
        let (at, dst_mac) = self.way_to(to, now)?;
        let interface = self.ports[at].interface();
        let (src, ip) = (interface.addr, IpSettings::DEFAULT);
        let envelope = Envelope { src_mac: interface.mac, dst_mac, vlan: interface.vlan, src, dst: to, ip };
        Ok(tx.transmit(interface.port, envelope.frame_len(interface.mtu), |frame| {
            let at = envelope.udp_payload_offset();
            match write(&mut frame[at..]) {
                0 => 0,
                len => envelope.seal_udp(frame, udp_port, udp_port, len),
            }
        }))
    }

    /// What is due on the ports themselves: neighbours to ask for, addresses to announce.
    pub fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        for neighbors in &mut self.ports {
            neighbors.poll(now, tx);
        }
    }

    /// When [`Ports::poll`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.ports.iter().map(Neighbors::poll_at).fold(None, earliest)
    }
}

/// Answers what an ICMP message asks for, or says whose flow it is about.
fn handle_icmp<F: Frame, T: Transmit>(
    neighbors: &mut Neighbors,
    now: Instant,
    frame: &mut F,
    src_mac: MacAddr,
    ip: IpLayers,
    tx: &mut T,
) -> Result<Input, DropReason> {
    match icmp::parse(frame.bytes(), &ip)? {
        Icmp::EchoRequest if neighbors.answers_for(ip.dst) => {
            icmp::echo_in_place(frame.bytes_mut(), &ip);
            Ok(Input::Done(Verdict::Forward(neighbors.interface().port)))
        }
        Icmp::EchoRequest => Err(DropReason::NotOurs),
        Icmp::ErrorFor(..) if ip.dst.is_multicast() => Err(DropReason::Icmp),
        Icmp::ErrorFor(flow, too_big) => Ok(Input::IcmpError { flow, too_big, ip }),
        Icmp::Neighbor(message) => {
            let IpAddr::V6(source) = ip.src else { return Err(DropReason::Ndp) };
            neighbors.handle_ndp(now, message, (source, src_mac), tx)?;
            Ok(Input::Done(Verdict::Free))
        }
        Icmp::ListenerQuery(within) => {
            neighbors.handle_query(now, within);
            Ok(Input::Done(Verdict::Free))
        }
    }
}

/// The flow of a segment that a client sent.
///
/// # Errors
/// [`DropReason::Truncated`].
pub fn flow_of(frame: &[u8], ip: &IpLayers) -> Result<Flow, DropReason> {
    let header = &frame[ip.l4.clone()];
    if header.len() < TCP_HEADER_LEN {
        return Err(DropReason::Truncated);
    }
    let client = Endpoint { addr: ip.src, port: u16::from_be_bytes([header[0], header[1]]) };
    let vip = Endpoint { addr: ip.dst, port: u16::from_be_bytes([header[2], header[3]]) };
    Ok(Flow { client, vip })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Ipv6Addr;
    use crate::ecn::Ecn;
    use crate::ndp::{ALL_NODES, Ndp, multicast_mac, solicited_node};
    use crate::node::FRAME_LEN_MAX;
    use alloc::vec;

    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));
    const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x10);
    const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100);
    const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    struct Bytes(Vec<u8>);

    impl Frame for Bytes {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
        fn bytes_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
        fn prepend(&mut self, len: usize) -> bool {
            self.0.splice(0..0, vec![0; len]);
            true
        }
        fn trim_front(&mut self, len: usize) -> bool {
            self.0.drain(..len);
            true
        }
    }

    #[derive(Default)]
    struct Sent(Vec<Vec<u8>>);

    impl Transmit for Sent {
        fn transmit(&mut self, _: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
            assert!(len_max <= FRAME_LEN_MAX);
            let mut frame = vec![0; len_max];
            let len = write(&mut frame);
            frame.truncate(len);
            self.0.push(frame);
            true
        }
    }

    fn interface(addr: IpAddr) -> Interface {
        let prefix_len = if addr.is_ipv4() { 24 } else { 64 };
        Interface { port: PortId(0), mac: MAC, addr, prefix_len, gateway: None, vlan: 0, mtu: 1500 }
    }

    fn ports(own: &[IpAddr]) -> Ports {
        let interfaces = own.iter().map(|&addr| interface(addr)).collect();
        Ports::new(interfaces, &[VIP, IpAddr::V6(VIP_V6)], Instant::ZERO)
    }

    /// Own address, VIP and a neighbour in either family.
    fn family(v6: bool) -> [IpAddr; 3] {
        if v6 { [OWN_V6, VIP_V6, PEER_V6].map(IpAddr::V6) } else { [OWN, VIP, PEER] }
    }

    fn udp(dst_mac: MacAddr, src: IpAddr, dst: IpAddr) -> Bytes {
        let envelope = Envelope { src_mac: PEER_MAC, dst_mac, vlan: 0, src, dst, ip: IpSettings::DEFAULT };
        let mut frame = vec![0; 80];
        let len = envelope.seal_udp(&mut frame, 9910, 9910, 4);
        frame.truncate(len);
        Bytes(frame)
    }

    fn ndp(message: Ndp, dst_mac: MacAddr, src: Ipv6Addr, dst: Ipv6Addr) -> Bytes {
        let envelope = Envelope {
            src_mac: PEER_MAC,
            dst_mac,
            vlan: 0,
            src: IpAddr::V6(src),
            dst: IpAddr::V6(dst),
            ip: IpSettings::DEFAULT,
        };
        let mut frame = vec![0; crate::ndp::FRAME_LEN];
        let len = message.emit(&envelope, &mut frame);
        frame.truncate(len);
        Bytes(frame)
    }

    /// An ICMPv6 message with a right checksum.
    fn icmpv6(dst_mac: MacAddr, dst: Ipv6Addr, mut message: Vec<u8>) -> Bytes {
        let (src, dst) = (IpAddr::V6(PEER_V6), IpAddr::V6(dst));
        let sum = crate::checksum::of_transport(src, dst, protocol::ICMPV6, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let envelope = Envelope { src_mac: PEER_MAC, dst_mac, vlan: 0, src, dst, ip: IpSettings::DEFAULT };
        let mut frame = vec![0; envelope.len()];
        frame.extend_from_slice(&message);
        envelope.write_headers(&mut frame, protocol::ICMPV6, message.len());
        Bytes(frame)
    }

    #[test]
    fn udp_is_taken_at_our_own_address_only() {
        for v6 in [false, true] {
            let [own, vip, peer] = family(v6);
            let (mut ports, mut sent) = (ports(&[OWN, IpAddr::V6(OWN_V6)]), Sent::default());
            let mut take = |frame: &mut Bytes| ports.handle_frame(Instant::ZERO, PortId(0), frame, &mut sent);
            let payload = if v6 { 62..66 } else { 42..46 };
            let at = payload.start + 2;
            let taken = Input::Udp { from: peer, src_mac: PEER_MAC, port: 9910, payload };
            assert_eq!(take(&mut udp(MAC, peer, own)), taken);
            assert_eq!(take(&mut udp(MAC, peer, vip)), Input::Done(Verdict::Free));
            assert_eq!(take(&mut udp(PEER_MAC, peer, own)), Input::Done(Verdict::Free));
            let mut damaged = udp(MAC, peer, own);
            damaged.0[at] ^= 4;
            assert_eq!(take(&mut damaged), Input::Done(Verdict::Free));
            assert_eq!((ports.drops.of(DropReason::NotOurs), ports.drops.of(DropReason::BadChecksum)), (2, 1));
        }
    }

    #[test]
    fn a_message_waits_for_its_neighbour_and_then_goes_there() {
        for v6 in [false, true] {
            let [own, _, peer] = family(v6);
            let (mut ports, mut sent) = (ports(&[OWN, IpAddr::V6(OWN_V6)]), Sent::default());
            ports.poll(Instant::ZERO, &mut sent);
            sent.0.clear();
            let unknown = ports.send_udp(Instant::ZERO, peer, 9910, &mut sent, |_| panic!("nowhere to send"));
            assert_eq!(unknown, Err(DropReason::NeighborPending));
            ports.poll(Instant::ZERO, &mut sent);
            assert_eq!(sent.0.len(), 1, "it is asked for");
            if v6 {
                let message =
                    Ndp::Advertisement { target: PEER_V6, solicited: true, overrides: true, mac: Some(PEER_MAC) };
                let mut answer = ndp(message, MAC, PEER_V6, OWN_V6);
                assert_eq!(
                    ports.handle_frame(Instant::ZERO, PortId(0), &mut answer, &mut sent),
                    Input::Done(Verdict::Free)
                );
                sent.0.clear();
                let known = ports.send_udp(Instant::ZERO, peer, 9910, &mut sent, |room| {
                    assert_eq!(room.len(), 1500 - 48);
                    room.len()
                });
                assert_eq!(known, Ok(true));
                let layers = wire::parse(&sent.0[0], 0).expect("a good frame");
                let Packet::Ip(ip) = layers.packet else { panic!("IP") };
                assert_eq!((layers.dst_mac, ip.src, ip.dst), (PEER_MAC, own, peer));
                assert_eq!(sent.0[0].len(), 14 + 1500);
            }
        }
    }

    #[test]
    fn neighbours_who_ask_the_group_are_answered_and_others_are_not() {
        let (mut ports, mut sent) = (ports(&[IpAddr::V6(OWN_V6)]), Sent::default());
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
        for target in [OWN_V6, VIP_V6] {
            let (message, group) = (Ndp::Solicitation { target, mac: Some(PEER_MAC) }, solicited_node(target));
            let mut question = ndp(message, multicast_mac(group), link_local, group);
            let input = ports.handle_frame(Instant::ZERO, PortId(0), &mut question, &mut sent);
            assert_eq!((input, sent.0.len()), (Input::Done(Verdict::Free), 1));
            let layers = wire::parse(&sent.0.remove(0), 0).expect("a good frame");
            let Packet::Ip(ip) = layers.packet else { panic!("IP") };
            assert_eq!((layers.dst_mac, ip.src, ip.dst), (PEER_MAC, IpAddr::V6(target), IpAddr::V6(link_local)));
        }
        // The group of somebody else, and our group at an Ethernet address that is not its own.
        let other = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x77);
        for (dst, mac) in [(other, multicast_mac(solicited_node(other))), (OWN_V6, MacAddr::BROADCAST)] {
            let message = Ndp::Solicitation { target: OWN_V6, mac: Some(PEER_MAC) };
            let mut question = ndp(message, mac, PEER_V6, solicited_node(dst));
            ports.handle_frame(Instant::ZERO, PortId(0), &mut question, &mut sent);
        }
        assert_eq!((sent.0.len(), ports.drops.of(DropReason::NotOurs)), (0, 2));
    }

    #[test]
    fn only_neighbours_are_heard_in_groups() {
        let (mut ports, mut sent) = (ports(&[IpAddr::V6(OWN_V6)]), Sent::default());
        let mut take = |frame: &mut Bytes| ports.handle_frame(Instant::ZERO, PortId(0), frame, &mut sent);
        let ping = vec![128, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(take(&mut icmpv6(MAC, OWN_V6, ping.clone())), Input::Done(Verdict::Forward(PortId(0))));
        assert_eq!(take(&mut icmpv6(MAC, VIP_V6, ping.clone())), Input::Done(Verdict::Forward(PortId(0))));
        assert_eq!(take(&mut icmpv6(multicast_mac(ALL_NODES), ALL_NODES, ping)), Input::Done(Verdict::Free));
        let mut error = vec![1, 0, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 20, 6, 64];
        error.extend_from_slice(&VIP_V6.octets());
        error.extend_from_slice(&PEER_V6.octets());
        error.extend_from_slice(&[0, 80, 0x30, 0x39]);
        let flow = Flow {
            client: Endpoint { addr: IpAddr::V6(PEER_V6), port: 12345 },
            vip: Endpoint { addr: IpAddr::V6(VIP_V6), port: 80 },
        };
        assert!(matches!(take(&mut icmpv6(MAC, VIP_V6, error.clone())), Input::IcmpError { flow: f, .. } if f == flow));
        assert_eq!(take(&mut icmpv6(multicast_mac(ALL_NODES), ALL_NODES, error)), Input::Done(Verdict::Free));
        let mut group = udp(multicast_mac(ALL_NODES), IpAddr::V6(PEER_V6), IpAddr::V6(ALL_NODES));
        assert_eq!(take(&mut group), Input::Done(Verdict::Free));
        assert_eq!((ports.drops.of(DropReason::NotOurs), ports.drops.of(DropReason::Icmp)), (2, 1));
    }

    #[test]
    fn each_family_is_announced_and_asked_for_on_its_own_interface() {
        let count = |own: &[IpAddr]| {
            let (mut ports, mut sent) = (ports(own), Sent::default());
            ports.poll(Instant::ZERO, &mut sent);
            let of = |ethertype: [u8; 2]| sent.0.iter().filter(|frame| frame[12..14] == ethertype).count();
            (of([8, 6]), of([0x86, 0xdd]))
        };
        // In IPv6 the group is joined, too.
        assert_eq!(count(&[OWN]), (1, 0));
        assert_eq!(count(&[IpAddr::V6(OWN_V6)]), (0, 2));
        assert_eq!(count(&[OWN, IpAddr::V6(OWN_V6)]), (1, 2));
    }

    #[test]
    fn a_segment_of_the_other_family_reaches_a_node_without_an_address_in_it() {
        for (own, v6) in [(OWN, true), (IpAddr::V6(OWN_V6), false)] {
            let [_, vip, peer] = family(v6);
            let (mut ports, mut sent) = (ports(&[own]), Sent::default());
            let envelope =
                Envelope { src_mac: PEER_MAC, dst_mac: MAC, vlan: 0, src: peer, dst: vip, ip: IpSettings::DEFAULT };
            let mut frame = vec![0; envelope.len() + 20];
            frame[envelope.len() + 12] = 0x50;
            envelope.seal_tcp(&mut frame, 20, Ecn::NotEct);
            let input = ports.handle_frame(Instant::ZERO, PortId(0), &mut Bytes(frame), &mut sent);
            assert!(matches!(input, Input::Tcp { flow, .. } if flow.vip.addr == vip));
            assert_eq!(ports.resolve(peer, Instant::ZERO), Err(DropReason::NeighborPending), "there is no way");
        }
    }
}
