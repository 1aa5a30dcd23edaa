use super::*;
use crate::icmp::{self, Icmp};
use crate::wire::{self, Packet};
use alloc::vec;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x10);
const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
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

/// A neighbour discovery message on the wire: to which Ethernet address, from and to which address.
type Told = (MacAddr, IpAddr, IpAddr, Ndp);

impl Sent {
    /// Takes the listener reports out: the reason and the groups of each.
    fn take_reports(&mut self) -> Vec<(u8, Vec<Ipv6Addr>)> {
        let is_report = |frame: &Vec<u8>| frame[20] == 0 && frame[62] == 143;
        let (reports, rest) = core::mem::take(&mut self.0).into_iter().partition(is_report);
        self.0 = rest;
        let reports: Vec<Vec<u8>> = reports;
        let told = |frame: &Vec<u8>| {
            let records = frame[70..].chunks_exact(20);
            let group = |record: &[u8]| Ipv6Addr::from_octets(record[4..].try_into().expect("an address"));
            (frame[70], records.map(group).collect())
        };
        reports.iter().map(told).collect()
    }

    fn take_ndp(&mut self) -> Vec<Told> {
        self.take_reports();
        let frames = core::mem::take(&mut self.0);
        let told = |frame: &Vec<u8>| {
            let layers = wire::parse(frame, 0).expect("a frame");
            let Packet::Ip(ip) = layers.packet else { panic!("IPv6") };
            let Ok(Icmp::Neighbor(message)) = icmp::parse(frame, &ip) else { panic!("neighbour discovery") };
            (layers.dst_mac, ip.src, ip.dst, message)
        };
        frames.iter().map(told).collect()
    }
}

fn neighbors_v6(vips: &[Ipv6Addr]) -> Neighbors {
    let interface = Interface {
        port: PortId(0),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        addr: IpAddr::V6(OWN_V6),
        prefix_len: 64,
        gateway: Some(IpAddr::V6(LINK_LOCAL)),
        vlan: 0,
        mtu: 1500,
    };
    Neighbors::new(interface, vips.iter().map(|&vip| IpAddr::V6(vip)).collect(), Instant::ZERO)
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

fn advertisement(target: Ipv6Addr, overrides: bool, mac: Option<MacAddr>) -> Ndp {
    Ndp::Advertisement { target, solicited: true, overrides, mac }
}

#[test]
fn answers_solicitations_for_its_own_address_and_its_vips_only() {
    let (mut neighbors, mut sent) = (neighbors_v6(&[VIP_V6]), Sent::default());
    let own_mac = neighbors.interface.mac;
    for source in [PEER_V6, LINK_LOCAL] {
        for target in [OWN_V6, VIP_V6] {
            let question = Ndp::Solicitation { target, mac: Some(PEER_MAC) };
            neighbors.handle_ndp(at(0), question, (source, PEER_MAC), &mut sent).expect("good");
            let [(mac, from, to, answer)] = sent.take_ndp()[..] else { panic!("one answer") };
            assert_eq!((mac, from, to), (PEER_MAC, IpAddr::V6(target), IpAddr::V6(source)));
            let expected = Ndp::Advertisement { target, solicited: true, overrides: true, mac: Some(own_mac) };
            assert_eq!(answer, expected);
        }
    }
    let other = Ndp::Solicitation { target: PEER_V6, mac: Some(PEER_MAC) };
    assert_eq!(neighbors.handle_ndp(at(0), other, (LINK_LOCAL, PEER_MAC), &mut sent), Err(DropReason::NotOurs));
    assert_eq!(sent.take_ndp().len(), 0);
}

#[test]
fn who_asks_without_saying_where_he_is_is_answered_there_and_not_learned() {
    let (mut neighbors, mut sent) = (neighbors_v6(&[VIP_V6]), Sent::default());
    let question = Ndp::Solicitation { target: VIP_V6, mac: None };
    neighbors.handle_ndp(at(0), question, (PEER_V6, PEER_MAC), &mut sent).expect("good");
    assert_eq!(sent.take_ndp()[0].0, PEER_MAC);
    assert!(neighbors.table.is_empty());
}

/// Who looks whether an address is free has none to be answered at: all are told that it is taken.
#[test]
fn an_address_is_defended_against_those_who_want_it_too() {
    let (mut neighbors, mut sent) = (neighbors_v6(&[VIP_V6]), Sent::default());
    let question = Ndp::Solicitation { target: VIP_V6, mac: None };
    neighbors.handle_ndp(at(0), question, (Ipv6Addr::UNSPECIFIED, PEER_MAC), &mut sent).expect("good");
    let [(mac, _, to, Ndp::Advertisement { target, solicited, overrides, .. })] = sent.take_ndp()[..] else {
        panic!("one answer")
    };
    assert_eq!((mac, to), (MacAddr([0x33, 0x33, 0, 0, 0, 1]), IpAddr::V6(ALL_NODES)));
    assert_eq!((target, solicited, overrides), (VIP_V6, false, true));
    assert!(neighbors.table.is_empty());
}

#[test]
fn solicits_as_itself_gives_up_and_asks_again() {
    let (mut neighbors, mut sent) = (neighbors_v6(&[]), Sent::default());
    neighbors.reports = None;
    let far = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    assert_eq!(neighbors.resolve(far, at(0)), Err(DropReason::NeighborPending));
    for second in 0..3 {
        neighbors.poll(at(second), &mut sent);
        let [(mac, from, to, Ndp::Solicitation { target, mac: own })] = sent.take_ndp()[..] else {
            panic!("one question a second")
        };
        assert_eq!((mac, from), (MacAddr([0x33, 0x33, 0xff, 0, 0, 1]), IpAddr::V6(OWN_V6)));
        assert_eq!((to, target), (IpAddr::V6(solicited_node(LINK_LOCAL)), LINK_LOCAL), "the gateway");
        assert_eq!(own, Some(neighbors.interface.mac));
    }
    neighbors.poll(at(3), &mut sent);
    assert_eq!((sent.take_ndp().len(), neighbors.poll_at()), (0, None), "given up");
    assert_eq!(neighbors.resolve(far, at(4)), Err(DropReason::NeighborPending));
    neighbors.poll(at(4), &mut sent);
    let answer = advertisement(LINK_LOCAL, true, Some(PEER_MAC));
    neighbors.handle_ndp(at(4), answer, (LINK_LOCAL, PEER_MAC), &mut sent).expect("good");
    assert_eq!(neighbors.resolve(far, at(4)), Ok(PEER_MAC));
    // Refreshed with a question to the neighbour alone, while the old answer is in use.
    sent.take_ndp();
    neighbors.poll(at(64), &mut sent);
    let asked = sent.take_ndp();
    assert_eq!((asked.len(), asked[0].0, asked[0].2), (1, PEER_MAC, IpAddr::V6(LINK_LOCAL)));
    assert_eq!(neighbors.resolve(far, at(64)), Ok(PEER_MAC));
    // An answer to a question to it alone need not say its Ethernet address (RFC 4861 section 4.4).
    let answer = advertisement(LINK_LOCAL, false, None);
    neighbors.handle_ndp(at(64), answer, (LINK_LOCAL, PEER_MAC), &mut sent).expect("good");
    assert_eq!(neighbors.poll_at(), Some(at(124)));
}

#[test]
fn an_advertisement_corrects_only_if_it_says_so_and_adds_nothing() {
    let (mut neighbors, mut sent) = (neighbors_v6(&[]), Sent::default());
    let other = MacAddr([2, 0, 0, 0, 0, 8]);
    let mut tell = |neighbors: &mut Neighbors, overrides, mac| {
        let message = advertisement(PEER_V6, overrides, mac);
        neighbors.handle_ndp(at(0), message, (PEER_V6, PEER_MAC), &mut sent).expect("good");
        neighbors.table.first().and_then(|n| n.mac)
    };
    assert_eq!(tell(&mut neighbors, true, Some(PEER_MAC)), None, "nobody asked");
    assert_eq!(neighbors.resolve(IpAddr::V6(PEER_V6), at(0)), Err(DropReason::NeighborPending));
    assert_eq!(tell(&mut neighbors, true, None), None, "it does not say where");
    assert_eq!(tell(&mut neighbors, false, Some(PEER_MAC)), Some(PEER_MAC), "nothing was known");
    assert_eq!(tell(&mut neighbors, false, Some(other)), Some(PEER_MAC));
    assert_eq!(tell(&mut neighbors, true, Some(other)), Some(other));
}

#[test]
fn advertises_vips_twice_from_its_own_address() {
    let (mut neighbors, mut sent) = (neighbors_v6(&[VIP_V6]), Sent::default());
    for second in 0..5 {
        neighbors.poll(at(second), &mut sent);
    }
    let told = sent.take_ndp();
    let mac = Some(neighbors.interface.mac);
    let message = Ndp::Advertisement { target: VIP_V6, solicited: false, overrides: true, mac };
    let all = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(told, vec![(all, IpAddr::V6(OWN_V6), IpAddr::V6(ALL_NODES), message); 2]);
}

#[test]
fn vips_of_the_other_family_are_another_interface_s() {
    let both = vec![IpAddr::V4(VIP), IpAddr::V6(VIP_V6)];
    let v4 = Neighbors::new(neighbors(&[]).interface, both.clone(), at(0));
    assert!(v4.answers_for(IpAddr::V4(VIP)) && !v4.answers_for(IpAddr::V6(VIP_V6)));
    let v6 = Neighbors::new(neighbors_v6(&[]).interface, both, at(0));
    assert!(v6.answers_for(IpAddr::V6(VIP_V6)) && !v6.answers_for(IpAddr::V4(VIP)));
    // Nor is there a way from one family to the other.
    assert_eq!(v6.interface.next_hop(IpAddr::V4(PEER)), None);
    assert_eq!(v4.interface.next_hop(IpAddr::V6(PEER_V6)), None);
}

#[test]
fn those_who_ask_fill_half_of_the_table_and_not_one_place_more() {
    let (mut neighbors, mut sent) = (neighbors_v6(&[]), Sent::default());
    for i in 0..=u16::try_from(NEIGHBORS_HEARD_MAX).expect("small") {
        let source = Ipv6Addr::new(0xfd77, 0, 0, 0, 1, 0, 0, i);
        let question = Ndp::Solicitation { target: OWN_V6, mac: Some(PEER_MAC) };
        neighbors.handle_ndp(at(0), question, (source, PEER_MAC), &mut sent).expect("good");
    }
    assert_eq!(neighbors.table.len(), NEIGHBORS_HEARD_MAX);
    assert_eq!(sent.take_ndp().len(), NEIGHBORS_HEARD_MAX + 1, "answered all the same");
    for i in 0..=u16::try_from(NEIGHBORS_MAX).expect("small") {
        let addr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 2, 0, 0, i));
        assert_eq!(neighbors.resolve(addr, at(0)), Err(DropReason::NeighborPending));
    }
    assert_eq!(neighbors.table.len(), NEIGHBORS_MAX);
}

#[test]
fn groups_are_reported_at_start_and_when_somebody_asks() {
    let (mut neighbors, mut sent) = (neighbors_v6(&[VIP_V6]), Sent::default());
    let groups = vec![solicited_node(OWN_V6), solicited_node(VIP_V6)];
    for second in 0..5 {
        neighbors.poll(at(second), &mut sent);
    }
    assert_eq!(sent.take_reports(), vec![(4, groups.clone()); 2]);
    assert_eq!(neighbors.poll_at(), None);
    // Ten questions at once are one, and the answer comes in time.
    for _ in 0..10 {
        neighbors.handle_query(at(10), Duration::from_secs(10));
    }
    let due = neighbors.poll_at().expect("an answer is due");
    assert!(at(10) <= due && due < at(20));
    neighbors.poll(due, &mut sent);
    assert_eq!(sent.take_reports(), [(2, groups)]);
    // A question right after it waits.
    neighbors.handle_query(due, Duration::ZERO);
    assert_eq!(neighbors.poll_at(), Some(due + REQUEST_INTERVAL));
}

#[test]
fn as_many_groups_as_fit_are_reported_at_once_and_one_more_in_another() {
    for (count, reports) in [(mld::GROUPS_MAX, 1), (mld::GROUPS_MAX + 1, 2)] {
        let vips: Vec<_> = (1..).take(count - 1).map(|i| Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 1, i)).collect();
        let (mut neighbors, mut sent) = (neighbors_v6(&vips), Sent::default());
        neighbors.poll(at(0), &mut sent);
        let told = sent.take_reports();
        assert_eq!((told.len(), told.iter().map(|(_, groups)| groups.len()).sum()), (reports, count));
    }
}

#[test]
fn addresses_that_share_a_group_report_it_once() {
    let twin = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 0x10);
    let (mut neighbors, mut sent) = (neighbors_v6(&[twin]), Sent::default());
    neighbors.poll(at(0), &mut sent);
    assert_eq!(sent.take_reports(), [(4, vec![solicited_node(OWN_V6)])]);
    let v4 = super::tests::neighbors(&[]);
    assert_eq!(v4.poll_at(), None, "IPv4 needs none");
}
