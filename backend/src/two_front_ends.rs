//! A back-end of two front-ends: what is whose.

use std::net::Ipv4Addr;

use baton_http1::Cursor;
use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr, MacAddr};
use baton_stack::drop::DropReason;
use baton_stack::ecn::Ecn;
use baton_stack::node::{Frame, Node, PortId, Verdict};
use baton_stack::tcp::{Flags, Options, Segment, SeqNum, Tcb, TcpConfig};
use baton_stack::wire::{self, Envelope, IpSettings, Packet, protocol};
use handoff_proto::image::{Image, Plan, Planned};
use handoff_proto::message::{Handoff, Message, Revoke, Served};
use handoff_proto::names::Epoch;

use crate::fixture::{G, MAC, Written, at, joining, lease};
use crate::node::BackEnd;
use crate::serve::{ContentStore, Probe, StoreLimits};

const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

struct Bytes(Vec<u8>);

impl Frame for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn prepend(&mut self, _: usize) -> bool {
        false
    }

    fn trim_front(&mut self, _: usize) -> bool {
        false
    }
}

/// Of TCP: where from, and to which Ethernet address.
fn segments(written: &Written) -> Vec<(IpAddr, MacAddr)> {
    let segment = |frame: &Vec<u8>| {
        let layers = wire::parse(frame, 0).unwrap();
        let Packet::Ip(ip) = layers.packet else { return None };
        (ip.protocol == protocol::TCP).then_some((ip.src, layers.dst_mac))
    };
    written.0.iter().filter_map(segment).collect()
}

/// Of the front-end on link 0 or 1.
fn address(link: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 10 + link)
}

fn mac(link: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, link])
}

fn vip(link: u8) -> IpAddr {
    IpAddr::from([10, 77, 0, 100 + link])
}

fn flow(link: u8) -> Flow {
    let client = Endpoint { addr: IpAddr::from([10, 77, 1, 1]), port: 40_000 };
    Flow { client, vip: Endpoint { addr: vip(link), port: 80 } }
}

/// With leases from both until so many milliseconds, and who knows where both are.
fn leased(until_ms: [u32; 2]) -> BackEnd<Probe> {
    let mut node = joining(|settings| settings.front_ends.push(("fe2".to_owned(), address(1).into())));
    for (link, lease_ms) in (0..).zip(until_ms) {
        let front_end = node.links[usize::from(link)].directory.front_end;
        node.handle_message(at(0), front_end, &lease(1, G, lease_ms).into(), &mut Written::default()).unwrap();
        let (source, target) = (address(link).octets(), [10, 77, 0, 21]);
        let request = [
            &MAC.0[..],
            &mac(link).0,
            &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
            &mac(link).0,
            &source,
            &[0; 6],
            &target,
            &[0; 18],
        ];
        take(&mut node, 0, request.concat());
    }
    node
}

fn take(node: &mut BackEnd<Probe>, ms: u64, frame: Vec<u8>) {
    let verdict = node.handle_frame(at(ms), PortId(0), &mut Bytes(frame), &mut Written::default());
    assert_eq!(verdict, Verdict::Free);
}

fn segment(flags: Flags, seq: u32, ack: u32) -> Segment<'static> {
    Segment {
        src_port: 40_000,
        dst_port: 80,
        seq: SeqNum(seq),
        ack: SeqNum(ack),
        flags,
        window: 64_000,
        urgent: 0,
        ecn: Ecn::NotEct,
        options: Options { mss: flags.has(Flags::SYN).then_some(1_460), ..Options::default() },
        payload: b"",
    }
}

/// A client's acknowledgment, as the node at `from` sends it on.
fn acknowledgment(link: u8, from: MacAddr) -> Vec<u8> {
    let Flow { client, vip } = flow(link);
    let (src, dst, ip) = (client.addr, vip.addr, IpSettings::DEFAULT);
    let envelope = Envelope { src_mac: from, dst_mac: MAC, vlan: 0, src, dst, ip };
    let mut frame = vec![0; 200];
    let len = segment(Flags::ACK, 1_001, 5_001).emit(&mut frame[34..]);
    let len = envelope.seal_tcp(&mut frame, len, Ecn::NotEct);
    frame.truncate(len);
    frame
}

/// The image of a connection of this front-end whose first request is here.
fn image(link: u8) -> Image {
    let mut store = ContentStore::new(StoreLimits::default());
    let mut tcb =
        Tcb::accept(at(0), &TcpConfig::default(), flow(link), SeqNum(5_000), 99, &segment(Flags::SYN, 1_000, 0))
            .unwrap();
    assert!(tcb.poll_transmit(at(0), &mut store, &mut [0; 1_500]).len > 0);
    let _ = tcb.handle_segment(at(1), &segment(Flags::ACK, 1_001, 5_001), &mut store).unwrap();
    let mut tcb = tcb.freeze(at(2), &mut store).unwrap();
    tcb.unread = b"GET /bytes/50000 HTTP/1.1\r\nhost: h\r\n\r\n".to_vec();
    let unread = u32::try_from(tcb.unread.len()).unwrap();
    tcb.rcv_nxt += unread;
    Image {
        c: ConnId::new(1 + link, 0, 7, 9),
        base: Epoch(0),
        epoch: Epoch(1),
        tried: Epoch(1),
        next_hop: ROUTER,
        tcb,
        cursor: Cursor::new(),
        plan: Plan::of(Planned { n: 0, strip: 0 }),
        resume: None,
        served: Served { requests: 0, bytes: 0 },
    }
}

/// Hands the image over, under epoch 1; what is written at once.
fn hand_over(node: &mut BackEnd<Probe>, ms: u64, link: u8, image: &Image) -> Written {
    let bytes = &image.encode()[..];
    let total = u32::try_from(bytes.len()).unwrap();
    let (c, base, e2) = (image.c, Epoch(0), Epoch(1));
    let part = Handoff { c, base, e2, g: G, total, part_bytes: 1_300, part: 0, bytes };
    let front_end = node.links[usize::from(link)].directory.front_end;
    let mut written = Written::default();
    node.handle_message(at(ms), front_end, &part.into(), &mut written).unwrap();
    written
}

/// R2: a lease ends between the turn and its burst.
#[test]
fn only_what_was_written_under_the_lease_that_ended_stays_here() {
    let mut node = leased([1_000, 1_500]);
    for link in 0..2 {
        hand_over(&mut node, 990, link, &image(link));
    }
    let mut written = Written::default();
    node.poll(at(999), &mut written);
    let from = |link| segments(&written).iter().filter(|(src, _)| *src == vip(link)).count();
    assert_eq!((from(0), from(1)), (10, 10), "both send their first window");
    assert!(node.may_transmit(at(999)));
    assert!(!node.may_transmit(at(1_000)));
    let mut left = written;
    left.0.retain(|frame| node.may_transmit_frame(at(1_000), frame));
    assert_eq!(segments(&left), [(vip(1), ROUTER); 10]);
    left.0.retain(|frame| node.may_transmit_frame(at(1_500), frame));
    assert_eq!(segments(&left), []);
}

/// Messages say things of connections; ARP does not. What is neither stays here.
#[test]
fn a_message_leaves_with_the_leases_of_those_who_name_its_receiver() {
    let mut node = leased([1_000, 1_500]);
    node.poll(at(1), &mut Written::default());
    let may = |frame: &[u8]| [999, 1_000, 1_500].map(|ms| node.may_transmit_frame(at(ms), frame));
    let message = |to: IpAddr| {
        let src = IpAddr::from([10, 77, 0, 21]);
        let envelope = Envelope { src_mac: MAC, dst_mac: ROUTER, vlan: 0, src, dst: to, ip: IpSettings::DEFAULT };
        let mut frame = vec![0; 100];
        let len = envelope.seal_udp(&mut frame, 9_910, 9_910, 40);
        frame.truncate(len);
        frame
    };
    assert_eq!(may(&message(address(0).into())), [true, false, false]);
    assert_eq!(may(&message(address(1).into())), [true, true, false]);
    let arp = [&[0xff; 6][..], &MAC.0, &[0x08, 0x06], &[0; 46]].concat();
    assert_eq!(may(&arp), [true; 3]);
    assert_eq!(may(&acknowledgment(0, ROUTER)), [false; 3], "nobody knows whose it is");
    assert_eq!(may(b"no frame"), [false; 3]);
}

/// R12: nobody else knows the connection.
#[test]
fn a_held_packet_goes_back_to_the_front_end_that_sent_it_on() {
    for (link, until_ms, expected) in
        [(0, [1_500; 2], Some(mac(0))), (1, [1_500; 2], Some(mac(1))), (1, [1_500, 1_000], None)]
    {
        let mut node = leased(until_ms);
        take(&mut node, 100, acknowledgment(link, mac(link)));
        let mut written = Written::default();
        node.poll(at(1_100), &mut written);
        let went_to: Vec<_> = segments(&written).into_iter().map(|(_, to)| to).collect();
        assert_eq!(went_to, Vec::from_iter(expected));
        assert_eq!(node.ports.drops.of(DropReason::LeaseExpired), u64::from(expected.is_none()), "not to a stranger");
    }
}

/// R11: whoever sent it on, the attempt says whose it is.
#[test]
fn what_waits_for_an_attempt_that_is_refused_goes_back_to_its_front_end() {
    let mut node = leased([1_500; 2]);
    take(&mut node, 100, acknowledgment(1, ROUTER));
    let refused = Image { epoch: Epoch(9), ..image(1) };
    let written = hand_over(&mut node, 200, 1, &refused);
    assert_eq!(segments(&written), [(flow(1).client.addr, mac(1))]);
}

/// R11: nothing is known of the attempt but that it will not come.
#[test]
fn what_waits_for_an_attempt_of_which_only_revoke_comes_goes_back_at_once() {
    let mut node = leased([1_500; 2]);
    for link in 0..2 {
        take(&mut node, 100, acknowledgment(link, ROUTER));
    }
    let revoke = Message::Revoke(Revoke { c: ConnId::new(2, 0, 7, 9), e2: Epoch(1), g: G, flow: flow(1) });
    let front_end = node.links[1].directory.front_end;
    for expected in [vec![(flow(1).client.addr, mac(1))], vec![]] {
        let mut written = Written::default();
        node.handle_message(at(101), front_end, &revoke, &mut written).unwrap();
        assert_eq!(segments(&written), expected, "the other's waits on");
    }
    assert_eq!(node.hold.len(), 1);
}
