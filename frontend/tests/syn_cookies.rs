//! A front-end node under more SYNs than it has memory for.

use baton_config::SynCookies as When;
use baton_frontend::settings::Life;
use baton_frontend::stats::{Command, Reply, Snapshot};
use baton_frontend::{FrontEnd, Settings};
use baton_stack::addr::{Endpoint, Flow, IpAddr, MacAddr};
use baton_stack::drop::DropReason;
use baton_stack::ecn::Ecn;
use baton_stack::node::{Frame, Node, PortId, RxChecksum, Transmit, Verdict};
use baton_stack::tcp::{COOKIE_LIFE_MAX, Flags, Options, Segment, SeqNum, Timestamps};
use baton_stack::time::{Duration, Instant};
use baton_stack::wire::{Envelope, IpSettings, Layers, Packet, parse, protocol};
use handoff_proto::names::Boot;
use handoff_proto::seal::ClusterSecret;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const PORT: PortId = PortId(0);
const HALF_OPEN_MAX: u32 = 64;
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
/// By then every back-end of an earlier life would have lost its lease.
const START: Instant = Instant::from_micros(60_000_000);

struct Buffer(Vec<u8>);

impl Frame for Buffer {
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

/// What leaves, in buffers that are there from the beginning.
struct Out {
    frames: Vec<[u8; 1_518]>,
    lengths: Vec<usize>,
}

impl Transmit for Out {
    fn transmit(&mut self, _: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let at = self.lengths.len();
        let Some(frame) = self.frames.get_mut(at) else { return false };
        let len = write(&mut frame[..len_max]);
        if len > 0 {
            self.lengths.push(len);
        }
        true
    }
}

/// A front-end without back-ends that are up, and its clients.
struct World {
    node: FrontEnd,
    out: Out,
    now: Instant,
    is_ipv6: bool,
    /// Behind what left last.
    end: SeqNum,
}

impl World {
    fn new(when: When, is_ipv6: bool) -> Self {
        let mut text = include_str!("../../docs/examples/frontend.toml")
            .replace("half_open = 4096", &format!("half_open = {HALF_OPEN_MAX}"));
        if is_ipv6 {
            text = text.replace("\ngateway", "\nsecond_address = \"fd77::10/64\"\ngateway");
            text = text.replace("address = \"10.77.0.100\"", "address = \"fd77::100\"");
        }
        let config = baton_frontend::config::parse("f.toml", &text).unwrap();
        let secret = ClusterSecret::parse(&[b'k'; 32]).unwrap();
        let mut settings =
            Settings::new(&config, Life { boot: Boot(5), seed: [7; 32], secrets: secret.into(), macs: &[MAC] });
        settings.syn_cookies = when;
        let out = Out { frames: vec![[0; 1_518]; 256], lengths: Vec::with_capacity(256) };
        let mut world = Self { node: FrontEnd::new(settings), out, now: Instant::ZERO, is_ipv6, end: SeqNum(0) };
        world.turn();
        world.now = START;
        world.turn();
        world
    }

    fn flow(&self, client: u32) -> Flow {
        let [a, b, c, d] = client.to_be_bytes();
        let end = |last: [u8; 4], port| {
            let [a, b, c, d] = last;
            let v6 = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d];
            Endpoint { addr: if self.is_ipv6 { IpAddr::from(v6) } else { IpAddr::from(last) }, port }
        };
        let vip = if self.is_ipv6 { end([0, 0, 1, 0], 80) } else { end([10, 77, 0, 100], 80) };
        // Any client address but none that a port's network takes for special.
        Flow { client: end([20 + a % 100, b, c, d], 40_000), vip }
    }

    /// Lets timers run, and forgets what leaves.
    fn turn(&mut self) {
        self.node.poll(self.now, &mut self.out);
        self.out.lengths.clear();
    }

    /// Hands a segment in, and gives back what left at once and with the next poll.
    fn send(&mut self, flow: &Flow, segment: &Segment<'_>) -> Vec<Segment<'static>> {
        let mut frame = framed(flow, segment);
        let verdict = self.node.handle_frame(self.now, PORT, &mut frame, &mut self.out);
        assert_eq!(verdict, Verdict::Free);
        self.node.poll(self.now, &mut self.out);
        let frames = self.out.lengths.iter().zip(&self.out.frames).map(|(len, frame)| &frame[..*len]);
        let answers: Vec<_> = frames.filter_map(|frame| answer(flow, frame)).collect();
        self.out.lengths.clear();
        self.end = answers.last().map_or(self.end, |(_, end)| *end);
        answers.into_iter().map(|(answer, _)| answer).collect()
    }

    fn snapshot(&mut self) -> Snapshot {
        let Reply::Stats(snapshot) = self.node.handle_command(self.now, Command::Stats) else { panic!("its numbers") };
        *snapshot
    }

    fn drops(&mut self, reason: DropReason) -> u64 {
        self.snapshot().drops.of(reason)
    }

    /// SYNs of so many clients from this one on, each of which is answered.
    fn flood(&mut self, clients: std::ops::Range<u32>) {
        for client in clients {
            let flow = self.flow(client);
            assert_eq!(self.send(&flow, &syn(1_000)).len(), 1, "{client}");
        }
    }

    /// The SYN-ACK.
    fn begin(&mut self, flow: &Flow, seq: u32) -> Segment<'static> {
        let [ref syn_ack] = self.send(flow, &syn(seq))[..] else { panic!("one SYN-ACK") };
        assert_eq!((syn_ack.flags, syn_ack.ack), (Flags::SYN.with(Flags::ACK), SeqNum(seq + 1)));
        syn_ack.clone()
    }
}

fn framed(flow: &Flow, segment: &Segment<'_>) -> Buffer {
    let (src, dst, ip) = (flow.client.addr, flow.vip.addr, IpSettings::DEFAULT);
    let envelope = Envelope { src_mac: CLIENT_MAC, dst_mac: MAC, vlan: 0, src, dst, ip };
    let mut frame = vec![0; 1_518];
    let len = segment.emit(&mut frame[envelope.len()..]);
    let len = envelope.seal_tcp(&mut frame, len, Ecn::NotEct);
    frame.truncate(len);
    Buffer(frame)
}

/// A segment to this client, without its payload, and where it ends.
fn answer(flow: &Flow, frame: &[u8]) -> Option<(Segment<'static>, SeqNum)> {
    let Ok(Layers { packet: Packet::Ip(ip), .. }) = parse(frame, 0) else { return None };
    if ip.protocol != protocol::TCP {
        return None;
    }
    assert_eq!((ip.src, ip.dst), (flow.vip.addr, flow.client.addr));
    ip.verify_transport(frame, RxChecksum::Unknown).unwrap();
    let segment = Segment::parse(&frame[ip.l4]).unwrap();
    assert_eq!(segment.dst_port, flow.client.port);
    let is_error = segment.payload.starts_with(b"HTTP/1.1 503");
    let end = segment.seq + segment.len();
    Some((Segment { payload: if is_error { b"503" } else { b"" }, ..segment }, end))
}

fn segment(flags: Flags, seq: SeqNum, ack: SeqNum, ecr: u32, payload: &'static [u8]) -> Segment<'static> {
    let timestamps = Some(Timestamps { val: 70, ecr });
    let options = Options { timestamps, ..Options::default() };
    Segment {
        src_port: 40_000,
        dst_port: 80,
        seq,
        ack,
        flags,
        window: 500,
        urgent: 0,
        options,
        payload,
        ecn: Ecn::NotEct,
    }
}

fn syn(seq: u32) -> Segment<'static> {
    let syn = segment(Flags::SYN, SeqNum(seq), SeqNum(0), 0, b"");
    let options = Options { mss: Some(1_460), window_scale: Some(7), sack_permitted: true, ..syn.options };
    Segment { options, ..syn }
}

/// What completes the handshake, with a request.
fn third(syn_ack: &Segment<'_>) -> Segment<'static> {
    let ecr = syn_ack.options.timestamps.unwrap().val;
    segment(Flags::ACK.with(Flags::PSH), syn_ack.ack, syn_ack.seq + 1, ecr, REQUEST)
}

#[test]
fn a_flood_is_answered_and_allocates_nothing() {
    let mut world = World::new(When::Auto, false);
    world.flood(0..HALF_OPEN_MAX);
    assert_eq!((world.snapshot().half_open, world.snapshot().stats.cookies_sent), (64, 0));
    // The first one finds what is still to be made ready.
    world.flood(999..1_000);
    let mut frames: Vec<Buffer> = (1_000..11_000).map(|client| framed(&world.flow(client), &syn(client))).collect();
    let region = Region::new(ALLOCATOR);
    for frame in &mut frames {
        assert_eq!(world.node.handle_frame(world.now, PORT, frame, &mut world.out), Verdict::Free);
        assert_eq!(world.out.lengths.len(), 1);
        world.turn();
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations, change.deallocations), (0, 0, 0));
    let after = world.snapshot();
    assert_eq!((after.half_open, after.owned, after.connections), (64, 64, 64));
    assert_eq!((after.stats.syns, after.stats.cookies_sent), (10_065, 10_001));
    assert_eq!(after.drops.total(), 0);
}

#[test]
fn a_client_gets_in_during_a_flood_in_both_families() {
    for (when, is_ipv6) in [When::Auto, When::Always].into_iter().flat_map(|when| [(when, false), (when, true)]) {
        let mut world = World::new(when, is_ipv6);
        world.flood(0..HALF_OPEN_MAX);
        let flow = world.flow(9_999);
        let syn_ack = world.begin(&flow, 1_000);
        let options = &syn_ack.options;
        assert_eq!((options.sack_permitted, options.window_scale.is_some()), (true, true));
        assert_eq!(world.snapshot().stats.cookies_accepted, 0);
        // Nobody serves it, but it is read and answered.
        let answers = world.send(&flow, &third(&syn_ack));
        assert!(answers.iter().any(|answer| answer.payload == b"503"), "{answers:?}");
        let after = world.snapshot();
        assert_eq!((after.stats.accepted, after.stats.cookies_accepted, after.stats.cookies_refused), (1, 1, 0));
        let half_open = if when == When::Always { 0 } else { 64 };
        assert_eq!((after.half_open, after.owned), (half_open, half_open + 1), "{when:?}");
    }
}

#[test]
fn one_syn_below_the_limit_is_remembered_and_the_one_past_it_is_not() {
    for (when, sent, dropped) in [(When::Auto, 1, 0), (When::Never, 0, 1)] {
        let mut world = World::new(when, false);
        world.flood(0..HALF_OPEN_MAX);
        assert_eq!((world.snapshot().half_open, world.snapshot().stats.cookies_sent), (64, 0));
        let flow = world.flow(9_999);
        assert_eq!(world.send(&flow, &syn(1)).len(), usize::from(sent == 1));
        assert_eq!((world.snapshot().half_open, world.snapshot().stats.cookies_sent), (64, sent), "{when:?}");
        assert_eq!(world.drops(DropReason::HalfOpenLimit), dropped);
    }
}

/// The network may bring a client's second segment first. It is of no connection yet, and must not end the one that begins.
#[test]
fn text_that_overtakes_the_cookie_is_dropped_and_not_reset() {
    let mut world = World::new(When::Always, false);
    let flow = world.flow(1);
    let syn_ack = world.begin(&flow, 1_000);
    let behind = syn_ack.ack + u32::try_from(REQUEST.len()).unwrap();
    let more = Segment { seq: behind, payload: b"more", ..third(&syn_ack) };
    let fin = Segment { seq: behind, flags: Flags::ACK.with(Flags::FIN), payload: b"", ..third(&syn_ack) };
    for second in [more, fin] {
        assert!(world.send(&flow, &second).is_empty());
    }
    assert_eq!((world.drops(DropReason::BadCookie), world.snapshot().stats.cookies_refused), (2, 2));
    let answers = world.send(&flow, &third(&syn_ack));
    assert!(answers.iter().any(|answer| answer.payload == b"503"), "{answers:?}");
}

/// Text that comes again belongs to a connection that is over: its client learns so, cookies or not.
#[test]
fn text_that_comes_again_without_a_cookie_is_reset() {
    let mut world = World::new(When::Always, false);
    let (flow, other) = (world.flow(1), world.flow(2));
    world.begin(&other, 1_000);
    let text = segment(Flags::ACK, SeqNum(1_001), SeqNum(5), 9, REQUEST);
    for after_us in [0, 199_999] {
        world.now = world.now + Duration::from_micros(after_us);
        assert!(world.send(&flow, &text).is_empty());
    }
    world.now = world.now + Duration::from_micros(1);
    let [ref reset] = world.send(&flow, &text)[..] else { panic!("one reset") };
    assert_eq!((reset.flags, reset.seq), (Flags::RST, SeqNum(5)));
    // As many flows as are remembered, and more, take its place: it is new again.
    for client in 1_000..11_000 {
        world.send(&world.flow(client), &text);
    }
    assert!(world.send(&flow, &text).is_empty());
}

/// RFC 9293 section 3.9.2.3, MUST-57 and MUST-63: neither an answer nor memory, with cookies or without.
#[test]
fn segments_to_and_from_addresses_of_many_are_dropped_in_silence() {
    let v4 = [("10.77.0.20", "10.77.0.255"), ("10.77.0.20", "255.255.255.255"), ("10.77.0.20", "224.0.0.1")];
    let v6 = [("fd77::20", "ff02::1"), ("fd77::20", "ff02::1:ff00:100")];
    let from_v4 = [("224.0.0.1", "10.77.0.100"), ("255.255.255.255", "10.77.0.100"), ("0.0.0.0", "10.77.0.100")];
    let from_v6 = [("ff02::1", "fd77::100"), ("::", "fd77::100"), ("::1", "fd77::100")];
    for (when, is_ipv6) in [When::Auto, When::Always].into_iter().flat_map(|when| [(when, false), (when, true)]) {
        let mut world = World::new(when, is_ipv6);
        let pairs = if is_ipv6 { [&v6[..], &from_v6[..]].concat() } else { [&v4[..], &from_v4[..]].concat() };
        for (client, vip) in pairs {
            let end = |addr: &str, port| Endpoint { addr: addr.parse().unwrap(), port };
            let flow = Flow { client: end(client, 40_000), vip: end(vip, 80) };
            for segment in [syn(1_000), segment(Flags::ACK, SeqNum(1), SeqNum(1), 9, b"text")] {
                assert!(world.send(&flow, &segment).is_empty(), "{client} to {vip}");
            }
        }
        let after = world.snapshot();
        assert_eq!((after.half_open, after.stats.syns, after.stats.cookies_sent), (0, 0, 0));
        // The node hears as before.
        let flow = world.flow(1);
        world.begin(&flow, 1_000);
    }
}

#[test]
fn a_wrong_cookie_gets_the_answer_of_any_unknown_flow() {
    let mut world = World::new(When::Always, false);
    let flow = world.flow(1);
    let stray = segment(Flags::ACK, SeqNum(1_001), SeqNum(5), 9, b"");
    // None is out yet.
    let before = world.send(&flow, &stray);
    assert_eq!((world.drops(DropReason::UnknownFlow), world.drops(DropReason::BadCookie)), (1, 0));
    let syn_ack = world.begin(&flow, 1_000);
    assert_eq!(world.send(&flow, &stray), before);
    assert_eq!((world.drops(DropReason::UnknownFlow), world.drops(DropReason::BadCookie)), (1, 1));
    let wrong = Segment { ack: syn_ack.seq + 2, payload: b"", ..third(&syn_ack) };
    let [ref reset] = world.send(&flow, &wrong)[..] else { panic!("one reset") };
    assert_eq!((reset.flags, reset.seq), (Flags::RST, syn_ack.seq + 2));
    assert_eq!((world.snapshot().stats.cookies_refused, world.snapshot().connections), (2, 0));
    // The right one is still right, until it is too old.
    assert_eq!(world.drops(DropReason::BadCookie), 2);
    world.now = world.now + COOKIE_LIFE_MAX;
    world.turn();
    assert_eq!(world.send(&flow, &third(&syn_ack)).len(), 0);
    assert_eq!((world.drops(DropReason::BadCookie), world.snapshot().connections), (3, 0));
    world.now = world.now + Duration::from_micros(1);
    assert_eq!(world.send(&flow, &third(&syn_ack)).len(), 1);
    assert_eq!((world.drops(DropReason::UnknownFlow), world.drops(DropReason::BadCookie)), (2, 3));
}

#[test]
fn a_syn_that_came_again_and_was_remembered_gives_way_to_the_cookie_before() {
    let mut world = World::new(When::Auto, false);
    world.flood(0..HALF_OPEN_MAX);
    let flow = world.flow(9_999);
    let cookie = world.begin(&flow, 1_000);
    // A place becomes free: one of the others is reset.
    let other = world.flow(0);
    world.send(&other, &segment(Flags::RST, SeqNum(1_001), SeqNum(0), 0, b""));
    assert_eq!(world.snapshot().half_open, 63);
    let remembered = world.begin(&flow, 1_000);
    assert_eq!(world.snapshot().half_open, 64);
    assert_ne!(remembered.seq, cookie.seq);
    let answers = world.send(&flow, &third(&cookie));
    assert!(answers.iter().any(|answer| answer.payload == b"503"), "{answers:?}");
    assert_eq!((world.snapshot().half_open, world.snapshot().owned), (63, 64));
    // An acknowledgment of neither resets, as ever.
    let other = world.flow(1);
    let [ref reset] = world.send(&other, &segment(Flags::ACK, SeqNum(1_001), SeqNum(5), 0, b""))[..] else {
        panic!("one reset")
    };
    assert_eq!((reset.flags, reset.seq), (Flags::RST, SeqNum(5)));
}

/// A connection that the node closes, and remembers.
fn close_first(world: &mut World, flow: &Flow) {
    let before = world.snapshot().time_wait;
    let syn_ack = world.begin(flow, 1_000);
    let answers = world.send(flow, &third(&syn_ack));
    assert!(answers.iter().any(|answer| answer.flags.has(Flags::FIN)), "{answers:?}");
    let seq = syn_ack.ack + u32::try_from(REQUEST.len()).unwrap();
    world.send(flow, &segment(Flags::ACK.with(Flags::FIN), seq, world.end, 0, b""));
    assert_eq!(world.snapshot().time_wait, before + 1);
}

#[test]
fn a_connection_that_comes_out_of_time_wait_is_remembered_up_to_twice_the_limit() {
    let mut world = World::new(When::Auto, false);
    let flows: Vec<Flow> = (0..=HALF_OPEN_MAX).map(|client| world.flow(500_000 + client)).collect();
    for flow in &flows {
        close_first(&mut world, flow);
    }
    world.flood(0..HALF_OPEN_MAX);
    assert_eq!((world.snapshot().half_open, world.snapshot().time_wait), (64, 65));
    let (last, others) = flows.split_last().unwrap();
    for flow in others {
        world.begin(flow, 100_000);
    }
    assert_eq!((world.snapshot().half_open, world.snapshot().time_wait), (128, 1));
    // One past it: the SYN is dropped, and the memory stays.
    assert!(world.send(last, &syn(100_000)).is_empty());
    assert_eq!((world.snapshot().half_open, world.snapshot().time_wait), (128, 1));
    assert_eq!((world.drops(DropReason::HalfOpenLimit), world.snapshot().stats.cookies_sent), (1, 0));
}
