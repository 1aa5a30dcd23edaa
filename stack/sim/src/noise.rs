//! A host that sends nonsense: frames that a node must drop and count, without harm to anybody else.
//!
//! All of it comes from the host's own addresses: frames in another's name would harm any network of this kind.

use crate::dice::Dice;
use crate::plan::VIP_PORT;
use baton_stack::addr::{IpAddr, Ipv4Addr, MacAddr};
use baton_stack::node::{FRAME_LEN_MAX, Frame, Node, PortId, Transmit, Verdict};
use baton_stack::time::{Duration, Instant};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket,
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
        let mut frame = match (self.dice.below(6), address, self.settings.address) {
            (1, IpAddr::V4(to), IpAddr::V4(from)) => self.packet(IpProtocol::Udp, from, to),
            (2, IpAddr::V4(to), IpAddr::V4(from)) => {
                let protocol = IpProtocol::from(self.byte());
                self.packet(protocol, from, to)
            }
            (3..=5, IpAddr::V4(to), IpAddr::V4(from)) => self.packet(IpProtocol::Tcp, from, to),
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

    /// An IPv4 packet whose headers are right, or nearly so, around random contents.
    fn packet(&mut self, protocol: IpProtocol, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
        let len = self.dice.size(20, 400);
        let mut frame = self.bytes(14 + 20 + len);
        let (fragment, unchecked) = (self.dice.below(10) == 0, self.dice.below(10) == 0);
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
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
        let (source, target) = (IpAddress::Ipv4(from), IpAddress::Ipv4(to));
        match protocol {
            IpProtocol::Tcp => {
                let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
                tcp.set_dst_port(VIP_PORT);
                tcp.set_header_len(20 + u8::try_from(self.dice.below(6) * 4).unwrap_or(0));
                if usize::from(tcp.header_len()) <= len && !unchecked {
                    tcp.fill_checksum(&source, &target);
                }
            }
            IpProtocol::Udp => {
                let mut udp = UdpPacket::new_unchecked(ip.payload_mut());
                udp.set_dst_port(self.settings.cluster_port);
                udp.set_len(u16::try_from(len).unwrap_or(u16::MAX));
                if !unchecked {
                    udp.fill_checksum(&source, &target);
                }
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

    #[test]
    fn it_speaks_every_kind_of_nonsense_and_only_for_itself() {
        let own = MacAddr([2, 9, 9, 9, 9, 9]);
        let settings = NoiseSettings {
            mac: own,
            address: Ipv4Addr::new(10, 77, 0, 9).into(),
            targets: vec![(MacAddr([2; 6]), Ipv4Addr::new(10, 77, 0, 100).into())],
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
                Seen::Other => other += 1,
            }
        }
        assert!(tcp > 200 && broken > 500 && other > 500, "{tcp} {broken} {other}");
    }
}
