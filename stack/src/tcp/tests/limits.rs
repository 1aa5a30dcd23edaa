//! Each limit, at it and one past it.

use std::vec::Vec;

use super::host::{Host, Moves, flow};
use super::pair::text;
use super::store::Store;
use crate::addr::MacAddr;
use crate::drop::DropReason;
use crate::ecn::Ecn;
use crate::engine::{Engine, EngineFull};
use crate::node::PortId;
use crate::tcp::{
    EXTENTS_MAX, Flags, FrozenBytes, OUT_OF_ORDER_RANGES_MAX, Options, PushError, RUNS_MAX, Run, SACKED_RANGES_MAX,
    Segment, SeqNum, Tcb, TcpConfig, ThawError,
};
use crate::time::{Duration, Instant};
use crate::wire::{Envelope, IpSettings};

const NOW: Instant = Instant::ZERO;

fn segment(flags: Flags, seq: u32, ack: u32, payload: &[u8]) -> Segment<'_> {
    let options = Options { mss: Some(1_000), sack_permitted: true, ..Options::default() };
    let (seq, ack) = (SeqNum(seq), SeqNum(ack));
    Segment {
        src_port: 40_000,
        dst_port: 80,
        seq,
        ack,
        flags,
        window: u16::MAX,
        urgent: 0,
        options,
        payload,
        ecn: Ecn::NotEct,
    }
}

fn established() -> Host {
    let syn = segment(Flags::SYN, 0, 0, &[]);
    let mut host = Host::accept(NOW, &TcpConfig::default(), Moves::Never, (SeqNum(0), 0), &syn).unwrap();
    let _ = host.handle_segment(NOW, &segment(Flags::ACK, 1, 1, &[])).unwrap();
    host
}

#[test]
fn extents() {
    let mut host = established();
    for n in 0..EXTENTS_MAX {
        let extent = host.store.extent(n % 3, b"a few bytes");
        host.store.release_before(extent);
        host.tcb_mut().push(extent).unwrap();
    }
    let extent = host.store.extent(0, b"x");
    assert_eq!(host.tcb_mut().push(extent), Err(PushError::Full));
    assert_eq!(host.tcb().unsent(), 11 * EXTENTS_MAX as u64);
    host.store.release_before(crate::tcp::Extent {
        place: crate::tcp::Place::Local { source: source(&extent), offset: 1 },
        ..extent
    });
    // A move makes one of them.
    host.move_on(NOW);
    assert_eq!(host.tcb().extents().count(), 1);
    assert_eq!(host.tcb().unsent(), 11 * EXTENTS_MAX as u64);
}

fn source(extent: &crate::tcp::Extent) -> crate::tcp::SourceId {
    match extent.place {
        crate::tcp::Place::Local { source, .. } => source,
        crate::tcp::Place::Remote { .. } => panic!("remote"),
    }
}

/// Only what was never sent, nothing that urgent data reaches into, and nothing once FIN stands behind it.
#[test]
fn what_is_taken_back_was_not_promised() {
    let mut host = established();
    let extent = host.store.extent(0, b"some bytes, and some more");
    let of = source(&extent);
    let part = |from, len| extent.without_first(from).first(len);
    let mut tcb = host.tcb().clone();
    assert_eq!(tcb.take_back(of), 0, "there is nothing");
    tcb.push(part(0, 10)).unwrap();
    let mut buf = [0; 1_500];
    assert!(tcb.poll_transmit(NOW, &mut host.store, &mut buf).len > 0);
    assert_eq!((tcb.unsent(), tcb.take_back(of)), (0, 0), "it is in flight");
    tcb.push(part(10, 15)).unwrap();
    assert_eq!((tcb.take_back(of), tcb.unsent(), tcb.unacknowledged()), (15, 0, 10));
    tcb.push(part(10, 5)).unwrap();
    assert!(tcb.mark_urgent());
    tcb.push(part(15, 10)).unwrap();
    assert_eq!((tcb.take_back(of), tcb.unsent()), (10, 5), "urgent data reaches up to here");
    tcb.push(part(15, 10)).unwrap();
    tcb.close();
    assert_eq!((tcb.take_back(of), tcb.unsent()), (0, 15), "its end is known");
}

#[test]
fn extents_of_a_frozen_connection() {
    let mut host = established();
    let frozen = host.freeze(NOW);
    for (extents, expected) in
        [(EXTENTS_MAX, Ok(EXTENTS_MAX)), (EXTENTS_MAX + 1, Err(ThawError::Impossible("send queue")))]
    {
        let mut frozen = frozen.clone();
        let remote =
            |n: usize| FrozenBytes::Remote { holder: u16::from(n.is_multiple_of(2)), offset: 5 * n as u64, len: 5 };
        frozen.queue = (0..extents).map(remote).collect();
        let thawed = Tcb::thaw(frozen, NOW, &TcpConfig::default(), &mut Store::default());
        assert_eq!(thawed.map(|tcb| tcb.extents().count()), expected);
    }
}

#[test]
fn ranges_of_a_frozen_connection() {
    let mut host = established();
    let mut frozen = host.freeze(NOW);
    frozen.queue = std::vec![FrozenBytes::Here(text(1, 10_000))];
    frozen.snd_nxt = frozen.snd_una + 10_000;
    let range = |from: SeqNum, n: usize| from + u32::try_from(10 * n).unwrap();
    let thaw = |sacked: usize, out_of_order: usize| {
        let mut frozen = frozen.clone();
        let una = frozen.snd_una;
        let run = |end, sacked| Run { end, sent: Duration::ZERO, sacked, lost: false, again: false };
        let runs = (1..=sacked).flat_map(|n| [run(range(una, n), false), run(range(una, n) + 5, true)]);
        frozen.recovery.sent = runs.chain([run(una + 10_000, false)]).collect();
        let nxt = frozen.rcv_nxt;
        frozen.out_of_order = (1..=out_of_order).map(|n| (range(nxt, n), std::vec![0; 5])).collect();
        Tcb::thaw(frozen, NOW, &TcpConfig::default(), &mut Store::default()).map(|_| ())
    };
    assert_eq!(thaw(SACKED_RANGES_MAX, OUT_OF_ORDER_RANGES_MAX), Ok(()));
    assert_eq!(thaw(SACKED_RANGES_MAX + 1, 0), Err(ThawError::Impossible("scoreboard")));
    assert_eq!(thaw(0, OUT_OF_ORDER_RANGES_MAX + 1), Err(ThawError::Impossible("out-of-order ranges")));
}

#[test]
fn runs_of_a_frozen_connection() {
    let mut host = established();
    let mut frozen = host.freeze(NOW);
    frozen.queue = std::vec![FrozenBytes::Here(text(1, 10_000))];
    frozen.snd_nxt = frozen.snd_una + u32::try_from(RUNS_MAX + 1).unwrap();
    let thaw = |runs: u32, first: u32| {
        let mut frozen = frozen.clone();
        let una = frozen.snd_una;
        let run = |end| Run { end: una + end, sent: Duration::ZERO, sacked: false, lost: false, again: false };
        frozen.recovery.sent = (first..first + runs).map(run).collect();
        Tcb::thaw(frozen, NOW, &TcpConfig::default(), &mut Store::default()).map(|_| ())
    };
    assert_eq!(thaw(256, 2), Ok(()));
    // One past the limit; one that ends too early.
    assert_eq!(thaw(257, 1), Err(ThawError::Impossible("scoreboard")));
    assert_eq!(thaw(256, 1), Err(ThawError::Impossible("scoreboard")));
}

#[test]
fn out_of_order_ranges() {
    let mut host = established();
    let bytes = text(2, 10_000);
    let piece = |n: usize| segment(Flags::ACK, u32::try_from(1 + 20 * n).unwrap(), 1, &bytes[20 * n..20 * n + 10]);
    for n in 1..=OUT_OF_ORDER_RANGES_MAX {
        assert!(host.handle_segment(NOW, &piece(n)).is_ok(), "{n}");
    }
    let past = OUT_OF_ORDER_RANGES_MAX + 1;
    assert_eq!(host.handle_segment(NOW, &piece(past)), Err(DropReason::OutOfOrderLimit));
    // What joins a range is taken still, and so is what is next.
    let joins = segment(Flags::ACK, 31, 1, &bytes[30..40]);
    assert!(host.handle_segment(NOW, &joins).is_ok());
    let all = segment(Flags::ACK, 1, 1, &bytes[..1_000]);
    let _ = host.handle_segment(NOW, &all).unwrap();
    host.move_on(NOW);
    let rest = segment(Flags::ACK, 1_001, 1, &bytes[1_000..2_000]);
    let _ = host.handle_segment(NOW, &rest).unwrap();
    assert_eq!(host.tcb().unread(), &bytes[..2_000]);
}

#[test]
fn out_of_order_bytes() {
    let mut host = established();
    let edge = host.tcb().rcv.edge;
    let bytes = text(2, 70_000);
    let at = |seq: u32, len: usize| {
        let from = usize::try_from(seq - 1).unwrap();
        segment(Flags::ACK, seq, 1, &bytes[from..from + len])
    };
    let held = |host: &Host| host.tcb().rcv.out_of_order.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    // Everything behind the first byte, up to the promised edge.
    let mut seq = 2;
    while seq < edge.0 {
        let len = usize::try_from((edge.0 - seq).min(1_000)).unwrap();
        let _ = host.handle_segment(NOW, &at(seq, len)).unwrap();
        seq += u32::try_from(len).unwrap();
    }
    let most = usize::try_from(edge.0 - 2).unwrap();
    assert_eq!(held(&host), most);
    // One past it: cut off, and dropped.
    assert_eq!(host.handle_segment(NOW, &at(edge.0, 1)), Err(DropReason::OutOfWindow));
    let _ = host.handle_segment(NOW, &at(edge.0 - 1, 2)).unwrap();
    assert_eq!(held(&host), most);
    let _ = host.handle_segment(NOW, &at(1, 1)).unwrap();
    assert_eq!(host.tcb().unread(), &bytes[..most + 1]);
}

#[test]
fn connections_of_a_node() {
    let mut engine = Engine::new(2, 0, NOW);
    let envelope = Envelope {
        src_mac: MacAddr::default(),
        dst_mac: MacAddr::default(),
        vlan: 0,
        src: flow().vip.addr,
        dst: flow().client.addr,
        ip: IpSettings::DEFAULT,
    };
    let tcb = || {
        let syn = segment(Flags::SYN, 0, 0, &[]);
        Tcb::accept(NOW, &TcpConfig::default(), flow(), SeqNum(0), 0, &syn).unwrap()
    };
    let first = engine.insert(NOW, tcb(), 1, PortId(0), envelope).unwrap();
    assert!(engine.insert(NOW, tcb(), 2, PortId(0), envelope).is_ok());
    let EngineFull(_, app) = engine.insert(NOW, tcb(), 3, PortId(0), envelope).unwrap_err();
    assert_eq!((app, engine.len()), (3, 2));
    // One that goes makes room for another.
    assert!(engine.remove(first).is_some());
    assert!(engine.insert(NOW, tcb(), 4, PortId(0), envelope).is_ok());
}

#[test]
fn sacked_ranges() {
    let mut host = established();
    host.push(NOW, &text(1, 60_000));
    let mut acked = 1;
    // Until enough is in flight.
    while host.tcb().unacknowledged() < 30_000 {
        acked = host.tcb().snd_nxt().0;
        let _ = host.handle_segment(NOW, &segment(Flags::ACK, 1, acked, &[])).unwrap();
        if host.tcb().unsent() < 30_000 {
            host.push(NOW, &text(1, 60_000));
        }
    }
    for n in 0..SACKED_RANGES_MAX + 10 {
        let left = SeqNum(acked + 100 + 200 * u32::try_from(n).unwrap());
        let mut sack = segment(Flags::ACK, 1, acked, &[]);
        sack.options.sack.push((left, left + 50));
        let _ = host.handle_segment(NOW, &sack).unwrap();
    }
    assert_eq!(host.tcb().rec.sent.ranges().count(), SACKED_RANGES_MAX);
    let lefts: Vec<u32> = host.tcb().rec.sent.ranges().map(|(left, _)| left.0 - acked).collect();
    assert_eq!((lefts[0], lefts[SACKED_RANGES_MAX - 1]), (100, 100 + 200 * 63), "the lowest are kept");
    let _ = host.handle_segment(NOW, &segment(Flags::ACK, 1, host.tcb().snd_nxt().0, &[])).unwrap();
    assert_eq!(host.tcb().rec.sent.ranges().count(), 0);
}

#[test]
fn a_store_without_room_refuses_the_connection() {
    let mut host = established();
    host.push(NOW, &text(1, 1_000));
    let frozen = host.freeze(NOW);
    let mut store = Store::default();
    store.full = true;
    let thawed = Tcb::thaw(frozen, NOW, &TcpConfig::default(), &mut store);
    assert!(matches!(thawed, Err(ThawError::NoRoom(_))));
}

#[test]
fn a_segment_ends_where_another_node_keeps_the_bytes() {
    let mut host = established();
    let mut frozen = host.freeze(NOW);
    let remote = FrozenBytes::Remote { holder: 3, offset: 300, len: 500 };
    frozen.queue = std::vec![FrozenBytes::Here(text(1, 300)), remote, FrozenBytes::Here(text(2, 300))];
    let mut store = Store::default();
    let local = Instant::from_micros(1_000_000_000_000);
    let tcb = Tcb::thaw(frozen, local, &TcpConfig::default(), &mut store).unwrap();
    let mut host = Host::adopt(tcb, store, &TcpConfig::default());
    let lens: Vec<usize> = host.out.drain(..).map(|(_, bytes)| bytes.len() - 20).collect();
    assert_eq!(lens, [300]);
    // Acknowledged, it waits; nothing is reset.
    let _ = host.handle_segment(NOW, &segment(Flags::ACK, 1, 301, &[])).unwrap();
    assert_eq!((host.out.len(), host.tcb().unsent()), (0, 800));
}
