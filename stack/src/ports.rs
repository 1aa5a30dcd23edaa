//! A node's ports as one IP host: what every node does with a frame before it looks at connections.
//!
//! ```text
//!  frame -> Ethernet -> ARP           answered here
//!                    -> IP -> ICMP    echo answered in place; an error goes to the owner of the flow it quotes
//!                          -> UDP     to our own address: cluster messages
//!                          -> TCP     to a connection
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use crate::addr::{Endpoint, Flow, IpAddr, MacAddr};
use crate::drop::{DropCounters, DropReason};
use crate::icmp::{self, Icmp};
use crate::neighbor::{Interface, Neighbors};
use crate::node::{Frame, PortId, Transmit, Verdict};
use crate::time::{Instant, earliest};
use crate::wire::{self, Envelope, IpLayers, Layers, Packet, protocol};

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
        /// Where its parts are.
        ip: IpLayers,
    },
}

/// The ports of one node, with their neighbours.
#[derive(Clone, Debug)]
pub struct Ports {
    ports: Vec<Neighbors>,
    /// What was dropped, by reason; the node counts its own drops here too.
    pub drops: DropCounters,
}

impl Ports {
    /// Ports in the order of their ids. `vips` are answered for on all of them.
    #[must_use]
    pub fn new(interfaces: Vec<Interface>, vips: &[IpAddr], now: Instant) -> Self {
        let ports = interfaces.into_iter().map(|interface| Neighbors::new(interface, vips.to_vec(), now)).collect();
        Self { ports, drops: DropCounters::default() }
    }

    /// The interface of a port.
    #[must_use]
    pub fn interface(&self, port: PortId) -> Option<&Interface> {
        self.ports.get(usize::from(port.0)).map(Neighbors::interface)
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
        let neighbors = self.ports.get_mut(usize::from(port.0)).ok_or(DropReason::NotOurs)?;
        let interface = neighbors.interface();
        let Layers { src_mac, dst_mac, packet } = wire::parse(frame.bytes(), interface.vlan)?;
        let ip = match packet {
            Packet::Arp(range) => {
                neighbors.handle_arp(now, &frame.bytes()[range], tx)?;
                return Ok(Input::Done(Verdict::Free));
            }
            Packet::Ip(ip) => ip,
        };
        if dst_mac != interface.mac {
            return Err(DropReason::NotOurs);
        }
        match ip.protocol {
            protocol::TCP => {
                let flow = flow_of(frame.bytes(), &ip)?;
                Ok(Input::Tcp { flow, src_mac, ip })
            }
            protocol::UDP if ip.dst == interface.addr => {
                ip.verify_transport(frame.bytes(), frame.checksum())?;
                let (_, port, payload) = wire::parse_udp(frame.bytes(), &ip)?;
                Ok(Input::Udp { from: ip.src, src_mac, port, payload })
            }
            protocol::ICMP if ip.dst.is_ipv4() => match icmp::parse(frame.bytes(), &ip)? {
                Icmp::EchoRequest if neighbors.answers_for(ip.dst) => {
                    icmp::echo_in_place(frame.bytes_mut(), &ip);
                    Ok(Input::Done(Verdict::Forward(port)))
                }
                Icmp::EchoRequest => Err(DropReason::NotOurs),
                Icmp::ErrorFor(flow) => Ok(Input::IcmpError { flow, ip }),
            },
            protocol::UDP => Err(DropReason::NotOurs),
            _ => Err(DropReason::UnknownProtocol),
        }
    }

    /// The port and Ethernet address through which `dst` is reached.
    ///
    /// # Errors
    /// [`DropReason::NeighborPending`] while it is being asked for, or when there is no way.
    pub fn resolve(&mut self, dst: IpAddr, now: Instant) -> Result<(PortId, MacAddr), DropReason> {
        let at = self
            .ports
            .iter()
            .position(|n| n.interface().is_on_link(dst))
            .or_else(|| self.ports.iter().position(|n| n.interface().next_hop(dst).is_some()))
            .ok_or(DropReason::NeighborPending)?;
        let mac = self.ports[at].resolve(dst, now)?;
        Ok((self.ports[at].interface().port, mac))
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
        let (port, dst_mac) = self.resolve(to, now)?;
        let Some(interface) = self.interface(port) else { return Err(DropReason::NeighborPending) };
        let envelope = Envelope { src_mac: interface.mac, dst_mac, vlan: interface.vlan, src: interface.addr, dst: to };
        let ethernet = envelope.len() - if to.is_ipv4() { 20 } else { 40 };
        Ok(tx.transmit(port, ethernet + usize::from(interface.mtu), |frame| {
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

/// The flow of a segment that a client sent.
fn flow_of(frame: &[u8], ip: &IpLayers) -> Result<Flow, DropReason> {
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
    use crate::addr::Ipv4Addr;
    use crate::node::FRAME_LEN_MAX;
    use alloc::vec;

    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));
    const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
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

    fn ports() -> Ports {
        let interface =
            Interface { port: PortId(0), mac: MAC, addr: OWN, prefix_len: 24, gateway: None, vlan: 0, mtu: 1500 };
        Ports::new(vec![interface], &[VIP], Instant::ZERO)
    }

    fn udp(dst_mac: MacAddr, dst: IpAddr) -> Bytes {
        let envelope = Envelope { src_mac: PEER_MAC, dst_mac, vlan: 0, src: PEER, dst };
        let mut frame = vec![0; 60];
        let len = envelope.seal_udp(&mut frame, 9910, 9910, 4);
        frame.truncate(len);
        Bytes(frame)
    }

    #[test]
    fn udp_is_taken_at_our_own_address_only() {
        let (mut ports, mut sent) = (ports(), Sent::default());
        let mut take = |frame: &mut Bytes| ports.handle_frame(Instant::ZERO, PortId(0), frame, &mut sent);
        assert_eq!(take(&mut udp(MAC, OWN)), Input::Udp { from: PEER, src_mac: PEER_MAC, port: 9910, payload: 42..46 });
        assert_eq!(take(&mut udp(MAC, VIP)), Input::Done(Verdict::Free));
        assert_eq!(take(&mut udp(PEER_MAC, OWN)), Input::Done(Verdict::Free));
        let mut damaged = udp(MAC, OWN);
        damaged.0[44] ^= 4;
        assert_eq!(take(&mut damaged), Input::Done(Verdict::Free));
        assert_eq!((ports.drops.of(DropReason::NotOurs), ports.drops.of(DropReason::BadChecksum)), (2, 1));
    }

    #[test]
    fn a_message_waits_for_its_neighbour() {
        let (mut ports, mut sent) = (ports(), Sent::default());
        let unknown = ports.send_udp(Instant::ZERO, PEER, 9910, &mut sent, |_| panic!("nowhere to send"));
        assert_eq!(unknown, Err(DropReason::NeighborPending));
        ports.poll(Instant::ZERO, &mut sent);
        assert!(sent.0.iter().any(|frame| frame[12..14] == [8, 6]), "it is asked for");
    }
}
