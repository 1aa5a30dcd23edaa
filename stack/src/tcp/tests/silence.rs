//! Connections of an engine side by side: those that may not speak for a while, and what one tells of another.

use std::vec::Vec;

use super::host::flow;
use super::store::Store;
use crate::addr::{Endpoint, Flow, MacAddr};
use crate::drop::DropReason;
use crate::ecn::Ecn;
use crate::engine::{ConnKey, Engine};
use crate::node::{PortId, Transmit};
use crate::tcp::{Flags, Options, Segment, SeqNum, Tcb, TcpConfig};
use crate::time::{Duration, Instant};
use crate::wire::{Envelope, IpSettings};

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

fn segment(flags: Flags, seq: u32, ack: u32) -> Segment<'static> {
    let options = Options { mss: Some(1_000), ..Options::default() };
    let (seq, ack, ecn) = (SeqNum(seq), SeqNum(ack), Ecn::NotEct);
    Segment { src_port: 40_000, dst_port: 80, seq, ack, flags, window: u16::MAX, urgent: 0, options, payload: &[], ecn }
}

/// A connection after its handshake, known as `name`, that has 100 bytes to send.
fn insert(engine: &mut Engine<u16>, store: &mut Store, name: u16) -> ConnKey {
    let flow = Flow { client: Endpoint { port: name, ..flow().client }, ..flow() };
    let mut tcb = Tcb::accept(at(0), &TcpConfig::default(), flow, SeqNum(0), 0, &segment(Flags::SYN, 0, 0)).unwrap();
    let _ = tcb.poll_transmit(at(0), store, &mut [0; 1_500]);
    let _ = tcb.handle_segment(at(10), &segment(Flags::ACK, 1, 1), store).unwrap();
    tcb.push(store.extent(0, &[7; 100])).unwrap();
    let mac = MacAddr::default();
    let (src, dst, ip) = (flow.vip.addr, flow.client.addr, IpSettings::DEFAULT);
    let envelope = Envelope { src_mac: mac, dst_mac: mac, vlan: 0, src, dst, ip };
    engine.insert(at(10), tcb, name, PortId(0), envelope).unwrap()
}

/// Counts frames.
struct Sent(usize);

impl Transmit for Sent {
    fn transmit(&mut self, _port: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        self.0 += usize::from(write(&mut std::vec![0; len_max]) > 0);
        true
    }
}

/// How many segments leave, and whose.
fn transmit(engine: &mut Engine<u16>, store: &mut Store, ms: u64) -> (usize, Vec<u16>) {
    let (mut sent, mut keys) = (Sent(0), Vec::new());
    engine.transmit(at(ms), 100, store, &mut sent, &mut keys);
    (sent.0, keys.into_iter().map(|key| engine.get(key).unwrap().app).collect())
}

#[test]
fn who_is_suspended_sends_nothing_and_has_no_timers() {
    let (mut engine, mut store) = (Engine::new(8, 0, at(0)), Store::default());
    let keys: Vec<_> = (1..=4).map(|name| insert(&mut engine, &mut store, name)).collect();
    // The odd ones fall silent with something to send, and what happens to them meanwhile wakes nothing.
    engine.suspend(|conn| conn.app % 2 == 1);
    let _ = engine.handle_segment(keys[0], at(11), &segment(Flags::ACK, 1, 1), &mut store).unwrap();
    assert_eq!(transmit(&mut engine, &mut store, 11), (2, [2, 4].into()));
    // One of the others falls silent with a segment in flight: of timers that run out there is one left.
    engine.suspend_one(keys[1]);
    let mut fired = Vec::new();
    while let Some((key, _)) = engine.handle_timeout(at(1_500), &mut store) {
        fired.push(engine.get(key).unwrap().app);
    }
    fired.dedup();
    assert_eq!((fired, transmit(&mut engine, &mut store, 1_500)), ([4].into(), (1, [4].into())));
    engine.remove(keys[3]);
    assert_eq!(engine.poll_at(at(1_500)), None);
    // They go on where they stood, those that are meant.
    engine.resume(at(2_000), |conn| conn.app < 3);
    while engine.handle_timeout(at(2_000), &mut store).is_some() {}
    assert_eq!(transmit(&mut engine, &mut store, 2_000), (2, [1, 2].into()), "the first time, and again");
    engine.resume(at(2_000), |_| true);
    assert_eq!(transmit(&mut engine, &mut store, 2_000), (1, [3].into()));
}

#[test]
fn challenges_of_one_connection_tell_nothing_of_another() {
    // RFC 5961 section 7 has them limited, and does not say for whom: a limit for all would tell whoever counts the answers to
    // himself whether he has guessed at another's connection rightly.
    let (mut engine, mut store) = (Engine::new(2, 0, at(0)), Store::default());
    let keys = [1, 2].map(|name| insert(&mut engine, &mut store, name));
    assert_eq!(transmit(&mut engine, &mut store, 10).0, 2);
    let mut answers = |key, ms, guesses| -> usize {
        let mut guess = || {
            let reset = segment(Flags::RST, 500, 0);
            assert_eq!(engine.handle_segment(key, at(ms), &reset, &mut store), Err(DropReason::BadReset));
            transmit(&mut engine, &mut store, ms).0
        };
        (0..guesses).map(|_| guess()).sum()
    };
    let [his, another] = keys;
    assert_eq!(answers(his, 20, 4), 4);
    assert_eq!(answers(another, 20, 100), 10);
    assert_eq!(answers(his, 20, 100), 6);
    assert_eq!((answers(his, 1_020, 100), answers(another, 1_020, 100)), (10, 10));
}

#[test]
fn the_next_owner_s_patience_with_an_idle_peer_counts_from_what_was_heard() {
    let patience = |seconds| TcpConfig { keepalive: Some(Duration::from_secs(seconds)), ..TcpConfig::default() };
    let mut store = Store::default();
    let mut tcb = Tcb::accept(at(0), &patience(5), flow(), SeqNum(0), 0, &segment(Flags::SYN, 0, 0)).unwrap();
    let _ = tcb.poll_transmit(at(0), &mut store, &mut [0; 1_500]);
    let _ = tcb.handle_segment(at(10), &segment(Flags::ACK, 1, 1), &mut store).unwrap();
    let frozen = tcb.freeze(at(1_000), &mut store).unwrap();
    let mut tcb = Tcb::thaw(frozen, at(1_000), &patience(9), &mut store).unwrap();
    // The timer travels, and finds that it is too early here.
    for (ms, is_asked, next) in [(5_010, false, Some(at(9_010))), (9_010, true, None)] {
        assert_eq!(tcb.poll_at(), Some(at(ms)));
        let _ = tcb.handle_timeout(at(ms), &mut store);
        assert_eq!(tcb.wants_transmit(at(ms)), is_asked, "{ms}");
        assert!(next.is_none() || tcb.poll_at() == next);
    }
}
