//! A host that sends nonsense: frames that a node must drop and count, without harm to anybody else.
//!
//! All of it comes from the host's own addresses: frames in another's name would harm any network of this kind.

use crate::dice::Dice;
use crate::plan::VIP_PORT;
use baton_stack::addr::{IpAddr, MacAddr};
use baton_stack::node::{FRAME_LEN_MAX, Frame, Node, PortId, Transmit, Verdict};
use baton_stack::time::{Duration, Instant};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Packet, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet,
    TcpPacket, UdpPacket,
};

/// What a host of nonsense is made of.
#[derive(Clone, Debug)]
pub struct NoiseSettings {
    /// Its own addresses.
    pub mac: MacAddr,
    /// As above.
    pub address: IpAddr,
    /// Whom it bothers: Ethernet and IP addresses.
    pub targets: Vec<(MacAddr, IpAddr)>,
    /// The UDP port on which nodes talk to each other.
    pub cluster_port: u16,
    /// Time between two frames, on average.
    pub every: Duration,
    /// When it falls silent.
    pub until: Instant,
}

/// A host of nonsense.
#[derive(Debug)]
pub struct Noise {
    settings: NoiseSettings,
    dice: Dice,
    next: Instant,
    sent: u64,
}

impl Noise {
    /// A host that draws from `dice`.
    #[must_use]
    pub const fn new(settings: NoiseSettings, dice: Dice) -> Self {
        Self { settings, dice, next: Instant::ZERO, sent: 0 }
    }

    /// Frames sent so far.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    fn frame(&mut self) -> Vec<u8> {
        let targets = self.settings.targets.len();
        let Some(&(mac, address)) = self.settings.targets.get(self.dice.size(0, targets.saturating_sub(1))) else {
            return Vec::new();
        };
        let mac = if self.dice.below(10) == 0 { MacAddr::BROADCAST } else { mac };
        let (kind, from) = (self.dice.below(6), self.settings.address);
        let mut frame = match kind {
            // Nobody has an address in the other family.
            _ if address.is_ipv4() != from.is_ipv4() => {
                let len = self.dice.size(14, FRAME_LEN_MAX);
                self.bytes(len)
            }
            1 => self.packet(IpProtocol::Udp, from, address),
            2 => {
                let protocol = self.protocol();
                self.packet(protocol, from, address)
            }
            3..=5 => self.packet(IpProtocol::Tcp, from, address),
            _ => {
                let len = self.dice.size(14, FRAME_LEN_MAX);
                self.bytes(len)
            }
        };
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
        ethernet.set_dst_addr(EthernetAddress(mac.0));
        ethernet.set_src_addr(EthernetAddress(self.settings.mac.0));
        if ethernet.ethertype() == EthernetProtocol::Arp {
            // A well-formed lie about an address would harm any neighbour.
            frame.truncate(20);
        }
        if self.dice.below(8) == 0 {
            let len = self.dice.size(14, frame.len());
            frame.truncate(len);
        }
        frame
    }

    /// Any protocol; in IPv6 often ICMPv6 or an extension header.
    fn protocol(&mut self) -> IpProtocol {
        let any = self.byte();
        let often = [1, 58, 0, 43, 44, 60][usize::from(any % 6)];
        let is_often = self.settings.address.is_ipv6() && self.dice.below(2) == 0;
        IpProtocol::from(if is_often { often } else { any })
    }

    /// An IP packet whose headers are right, or nearly so, around random contents.
    fn packet(&mut self, protocol: IpProtocol, from: IpAddr, to: IpAddr) -> Vec<u8> {
        let len = self.dice.size(20, 400);
        let header_len = if from.is_ipv4() { 20 } else { 40 };
        let mut frame = self.bytes(14 + header_len + len);
        let (fragment, unchecked) = (self.dice.below(10) == 0, self.dice.below(10) == 0);
        write_ip(&mut frame, (from, to), protocol, len, fragment);
        let (source, target) = (IpAddress::from(from), IpAddress::from(to));
        let payload = &mut frame[14 + header_len..];
        match (protocol, source, target) {
            (IpProtocol::Tcp, ..) => {
                let mut tcp = TcpPacket::new_unchecked(payload);
                tcp.set_dst_port(VIP_PORT);
                tcp.set_header_len(20 + u8::try_from(self.dice.below(6) * 4).unwrap_or(0));
                if usize::from(tcp.header_len()) <= len && !unchecked {
                    tcp.fill_checksum(&source, &target);
                }
            }
            (IpProtocol::Udp, ..) => {
                let mut udp = UdpPacket::new_unchecked(payload);
                udp.set_dst_port(self.settings.cluster_port);
                udp.set_len(u16::try_from(len).unwrap_or(u16::MAX));
                if !unchecked {
                    udp.fill_checksum(&source, &target);
                }
            }
            // Its hop limit keeps it from being a lie about a neighbour.
            (IpProtocol::Icmpv6, IpAddress::Ipv6(source), IpAddress::Ipv6(target)) if !unchecked => {
                payload[0] = 125 + payload[0] % 16;
                Icmpv6Packet::new_unchecked(payload).fill_checksum(&source, &target);
            }
            _ => {}
        }
        frame
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.dice.below(256)).unwrap_or(0)
    }
}

/// Writes an IP header in front of `len` bytes.
pub(crate) fn write_ip(
    frame: &mut [u8],
    (from, to): (IpAddr, IpAddr),
    protocol: IpProtocol,
    len: usize,
    fragment: bool,
) {
    let mut ethernet = EthernetFrame::new_unchecked(frame);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            ethernet.set_ethertype(EthernetProtocol::Ipv4);
            let mut ip = Ipv4Packet::new_unchecked(ethernet.payload_mut());
            ip.set_version(4);
            ip.set_header_len(20);
            ip.set_total_len(u16::try_from(20 + len).unwrap_or(u16::MAX));
            ip.clear_flags();
            ip.set_frag_offset(0);
            ip.set_more_frags(fragment);
            ip.set_hop_limit(64);
            ip.set_next_header(protocol);
            ip.set_src_addr(from);
            ip.set_dst_addr(to);
            ip.fill_checksum();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            ethernet.set_ethertype(EthernetProtocol::Ipv6);
            let mut ip = Ipv6Packet::new_unchecked(ethernet.payload_mut());
            ip.set_version(6);
            ip.set_payload_len(u16::try_from(len).unwrap_or(u16::MAX));
            ip.set_hop_limit(64);
            ip.set_next_header(if fragment { IpProtocol::Ipv6Frag } else { protocol });
            ip.set_src_addr(from);
            ip.set_dst_addr(to);
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
    }
}

impl Node for Noise {
    type Command = ();
    type Reply = ();

    fn handle_frame<F: Frame, T: Transmit>(&mut self, _: Instant, _: PortId, _: &mut F, _: &mut T) -> Verdict {
        Verdict::Free
    }

    fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        if now < self.next || now >= self.settings.until {
            return;
        }
        let frame = self.frame();
        let sent = tx.transmit(PortId(0), frame.len(), |out| {
            out[..frame.len()].copy_from_slice(&frame);
            frame.len()
        });
        self.sent += u64::from(sent);
        let twice = u64::try_from(self.settings.every.as_micros()).unwrap_or(u64::MAX).saturating_mul(2);
        self.next = now + Duration::from_micros(self.dice.between(1, twice));
    }

    fn poll_at(&self) -> Option<Instant> {
        (self.next < self.settings.until).then_some(self.next)
    }

    fn handle_command(&mut self, _: Instant, (): ()) {}

    fn stop(&mut self, _: Instant) {}

    fn is_stopped(&self) -> bool {
        false
    }

    fn may_transmit(&self, _: Instant) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Seen, parse};
    use crate::dice::Seed;
    use crate::plan::{Family, Place, Plan};

    #[test]
    fn it_speaks_every_kind_of_nonsense_and_only_for_itself() {
        for family in [Family::V4, Family::V6] {
            let (place, vip) = (Place::noise(family), Plan::new(Seed(1), 1, family).vip);
            let own = place.mac;
            let settings = NoiseSettings {
                mac: own,
                address: place.address,
                targets: vec![(MacAddr([2; 6]), vip.addr)],
                cluster_port: 9910,
                every: Duration::from_micros(10),
                until: Instant::from_micros(100),
            };
            let mut noise = Noise::new(settings, Seed(1).stream("noise"));
            let (mut tcp, mut broken, mut other) = (0, 0, 0);
            for _ in 0..5000 {
                let frame = noise.frame();
                assert!((14..=FRAME_LEN_MAX).contains(&frame.len()));
                assert_eq!(frame[6..12], own.0);
                match parse(&frame) {
                    Seen::Tcp(segment) => {
                        assert_eq!(segment.from.addr, noise.settings.address);
                        tcp += 1;
                    }
                    Seen::Broken { .. } => broken += 1,
                    Seen::Udp { .. } | Seen::Other => other += 1,
                }
            }
            assert!(tcp > 200 && broken > 500 && other > 500, "{family:?}: {tcp} {broken} {other}");
        }
    }
}
