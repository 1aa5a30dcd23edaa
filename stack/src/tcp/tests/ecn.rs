//! A router that marks, in virtual time: the way is used in full, and nothing is ever lost or sent again.

use std::collections::VecDeque;

use super::host::flow;
use super::store::Store;
use crate::addr::{IpAddr, MacAddr};
use crate::ecn::Ecn;
use crate::engine::Engine;
use crate::node::{PortId, Transmit};
use crate::tcp::{Algorithm, Flags, Options, Segment, SeqNum, Tcb, TcpConfig, Written};
use crate::time::Instant;
use crate::wire::{Envelope, IpSettings, Packet, parse};

const MSS: u32 = 1_460;
/// One segment a millisecond, over 40 ms: forty are on the way.
const ONE_WAY_MS: u64 = 20;
/// The router's queue, in segments: marked from here on, dropped from there on.
const MARKED_FROM: usize = 20;
const DROPPED_FROM: usize = 150;
const SECONDS: u64 = 20;

#[derive(Debug, Default)]
struct Seen {
    delivered: u64,
    marked: u64,
    reductions: u64,
    /// The longest queue after slow start.
    queue: usize,
}

fn segment(flags: Flags, seq: u32, ack: SeqNum) -> Segment<'static> {
    let is_syn = flags.has(Flags::SYN);
    let options = Options { mss: is_syn.then_some(1_460), window_scale: is_syn.then_some(7), ..Options::default() };
    let (seq, ecn) = (SeqNum(seq), Ecn::NotEct);
    Segment { src_port: 40_000, dst_port: 80, seq, ack, flags, window: 60_000, urgent: 0, options, payload: &[], ecn }
}

/// Sends for as long as there is time; the peer acknowledges each segment and echoes as RFC 3168 section 6.1.3 says.
fn run(congestion: Algorithm) -> Seen {
    let (config, mut store) = (TcpConfig { congestion, ..TcpConfig::default() }, Store::default());
    let mut tcb = {
        let syn = segment(Flags::SYN.with(Flags::ECE).with(Flags::CWR), 0, SeqNum(0));
        Tcb::accept(Instant::ZERO, &config, flow(), SeqNum(0), 0, &syn).unwrap()
    };
    let _ = tcb.handle_segment(Instant::ZERO, &segment(Flags::ACK, 1, SeqNum(1)), &mut store).unwrap();
    let bytes = std::vec![7; 30_000_000];
    let extent = store.extent(0, &bytes);
    tcb.push(extent).unwrap();
    let (mut seen, mut next, mut echo) = (Seen::default(), SeqNum(1), false);
    let mut queue: VecDeque<(SeqNum, Flags, Ecn)> = VecDeque::new();
    let mut acks: VecDeque<(u64, SeqNum, bool)> = VecDeque::new();
    for ms in 0..SECONDS * 1_000 {
        let now = Instant::from_micros(ms * 1_000);
        // There and back: the acknowledgment comes a round trip after its segment has left the router.
        if let Some((seq, flags, ecn)) = queue.pop_front() {
            assert_eq!(seq, next, "a segment is lost or sent again");
            next += MSS;
            echo = ecn == Ecn::Ce || (echo && !flags.has(Flags::CWR));
            seen.delivered += 1;
            seen.marked += u64::from(ecn == Ecn::Ce);
            acks.push_back((ms + 2 * ONE_WAY_MS, next, echo));
        }
        while let Some((_, ack, echo)) = acks.pop_front_if(|(at, ..)| *at <= ms) {
            let flags = if echo { Flags::ACK.with(Flags::ECE) } else { Flags::ACK };
            let outcome = tcb.handle_segment(now, &segment(flags, 1, ack), &mut store).unwrap();
            seen.reductions += u64::from(outcome.slowed);
        }
        let _ = tcb.handle_timeout(now, &mut store);
        let mut buf = [0; 1_500];
        loop {
            let Written { len, ecn } = tcb.poll_transmit(now, &mut store, &mut buf);
            if len == 0 {
                break;
            }
            let sent = Segment::parse(&buf[..len]).unwrap();
            if sent.payload.is_empty() {
                continue;
            }
            assert_eq!(ecn, Ecn::Ect0);
            let ecn = if queue.len() >= MARKED_FROM { Ecn::Ce } else { ecn };
            queue.push_back((sent.seq, sent.flags, ecn));
            assert!(queue.len() < DROPPED_FROM, "the router has no more room");
        }
        seen.queue = if ms > 2_000 { seen.queue.max(queue.len()) } else { 0 };
    }
    seen
}

#[test]
fn a_router_that_marks_needs_to_drop_nothing() {
    for congestion in [Algorithm::NewReno, Algorithm::Cubic] {
        let seen = run(congestion);
        // 20 seconds carry 20,000 segments. NewReno's window goes from 60 segments, with the queue, to 30, and the way is not full
        // for ten of the next thirty round trips: one in 28 is missing.
        assert!(seen.delivered > SECONDS * 1_000 * 94 / 100, "{congestion:?} {seen:?}");
        // The window comes down as soon as it is heard: no longer queue than what is marked in a round trip or two.
        assert!(seen.queue < 3 * MARKED_FROM, "{congestion:?} {seen:?}");
        assert!(seen.marked > 0 && seen.reductions > 3, "{congestion:?} {seen:?}");
        // Once a window at the most: no more often than there were round trips.
        assert!(seen.reductions <= SECONDS * 1_000 / (2 * ONE_WAY_MS), "{congestion:?} {seen:?}");
    }
}

/// Frames that have left.
#[derive(Default)]
struct Sent(std::vec::Vec<std::vec::Vec<u8>>);

impl Transmit for Sent {
    fn transmit(&mut self, _port: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut frame = std::vec![0; len_max];
        let len = write(&mut frame);
        frame.truncate(len);
        self.0.push(frame);
        true
    }
}

#[test]
fn what_the_connection_says_is_in_the_ip_header_of_both_families() {
    for (src, dst) in [([10, 0, 0, 2].into(), [10, 0, 0, 1].into()), (IpAddr::from([7; 16]), IpAddr::from([9; 16]))] {
        let (config, mut store, now, mut sent) =
            (TcpConfig::default(), Store::default(), Instant::ZERO, Sent::default());
        let syn = segment(Flags::SYN.with(Flags::ECE).with(Flags::CWR), 0, SeqNum(0));
        let tcb = Tcb::accept(now, &config, flow(), SeqNum(0), 0, &syn).unwrap();
        let mut engine = Engine::new(1, 0, now);
        let (mac, ip) = (MacAddr::default(), IpSettings { hop_limit: 99, dscp: 46 });
        let envelope = Envelope { src_mac: mac, dst_mac: mac, vlan: 0, src, dst, ip };
        let key = engine.insert(now, tcb, (), PortId(0), envelope).unwrap();
        engine.transmit(now, 9, &mut store, &mut sent, &mut std::vec::Vec::new());
        let _ = engine.handle_segment(key, now, &segment(Flags::ACK, 1, SeqNum(1)), &mut store).unwrap();
        let extent = store.extent(0, b"text");
        let conn = engine.get_mut(key).unwrap();
        conn.tcb.push(extent).unwrap();
        // Another class of service, while the connection lasts (RFC 9293, SHLD-21).
        conn.envelope.ip.dscp = 10;
        engine.settle(key, now);
        engine.transmit(now, 9, &mut store, &mut sent, &mut std::vec::Vec::new());
        let seen = sent.0.iter().map(|frame| {
            let Packet::Ip(ip) = parse(frame, 0).unwrap().packet else { panic!("no IP packet") };
            let class = if ip.src.is_ipv4() { frame[15] } else { frame[14] << 4 | frame[15] >> 4 };
            (ip.ecn, class >> 2, ip.hop_limit)
        });
        let seen: std::vec::Vec<_> = seen.collect();
        assert_eq!(seen, [(Ecn::NotEct, 46, 99), (Ecn::Ect0, 10, 99)], "SYN-ACK and data");
    }
}
