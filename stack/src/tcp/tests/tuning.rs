//! The receive window grows as far as there is memory for it, and what was promised stays promised.

use super::host::flow;
use super::store::Store;
use crate::addr::{Flow, MacAddr};
use crate::ecn::Ecn;
use crate::engine::{ConnKey, Engine};
use crate::node::PortId;
use crate::tcp::{Flags, Options, Segment, SeqNum, Tcb, TcpConfig};
use crate::time::Instant;
use crate::wire::{Envelope, IpSettings};

const TEXT: [u8; 1_000] = [7; 1_000];

fn config() -> TcpConfig {
    TcpConfig { mtu: 1_040, recv_buffer_bytes: 10_000, recv_buffer_max_bytes: 40_000, ..TcpConfig::default() }
}

fn segment(flags: Flags, seq: u32, ack: u32, payload: &[u8]) -> Segment<'_> {
    let options = Options { mss: Some(1_000), window_scale: Some(0), ..Options::default() };
    let (seq, ack, ecn) = (SeqNum(seq), SeqNum(ack), Ecn::NotEct);
    Segment { src_port: 40_000, dst_port: 80, seq, ack, flags, window: u16::MAX, urgent: 0, options, payload, ecn }
}

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

/// A connection whose handshake took ten milliseconds.
fn established(port: u16) -> Tcb {
    let flow = Flow { client: crate::addr::Endpoint { port, ..flow().client }, ..flow() };
    let syn = segment(Flags::SYN, 0, 0, &[]);
    let mut tcb = Tcb::accept(at(0), &config(), flow, SeqNum(0), 0, &syn).unwrap();
    let _ = tcb.handle_segment(at(10), &segment(Flags::ACK, 1, 1, &[]), &mut Store::default()).unwrap();
    tcb
}

fn insert(engine: &mut Engine<()>, tcb: Tcb) -> ConnKey {
    let (mac, flow) = (MacAddr::default(), tcb.flow());
    let (src, dst, ip) = (flow.vip.addr, flow.client.addr, IpSettings::DEFAULT);
    let envelope = Envelope { src_mac: mac, dst_mac: mac, vlan: 0, src, dst, ip };
    engine.insert(at(10), tcb, (), PortId(0), envelope).unwrap()
}

/// Sends ten segments in a round trip, and one more after it; all are consumed. The window wished for is 20,000 bytes.
fn upload(engine: &mut Engine<()>, key: ConnKey, from_ms: u64) -> u32 {
    let mut store = Store::default();
    for n in 0..11 {
        let now = at(from_ms + n);
        let tcb = &mut engine.get_mut(key).unwrap().tcb;
        tcb.ack_now = false;
        let seq = tcb.rcv_nxt().0;
        assert!(tcb.offered() >= 1_000);
        let _ = engine.handle_segment(key, now, &segment(Flags::ACK, seq, 1, &TEXT), &mut store).unwrap();
        engine.get_mut(key).unwrap().tcb.consume(1_000);
        // The acknowledgment leaves.
        let _ = engine.get_mut(key).unwrap().tcb.poll_transmit(now, &mut store, &mut [0; 1_100]);
    }
    engine.get(key).unwrap().tcb.window()
}

#[test]
fn memory_for_windows_has_its_limit() {
    for (limit, second_gets, refused) in [(20_000, 20_000, 0), (19_999, 19_999, 1), (10_000, 10_000, 1)] {
        let mut engine = Engine::new(8, limit, at(0));
        let [first, second] = [1, 2].map(|port| insert(&mut engine, established(port)));
        assert_eq!(upload(&mut engine, first, 20), 20_000);
        assert_eq!(upload(&mut engine, second, 20), second_gets, "{limit}");
        let windows = engine.windows();
        assert_eq!((windows.bytes, windows.refused), (u64::from(second_gets), refused), "{limit}");
        // What one leaves the other may have.
        engine.remove(first);
        assert_eq!(engine.windows().bytes, u64::from(second_gets) - 10_000);
        assert_eq!(upload(&mut engine, second, 40), 20_000.max(second_gets));
        engine.remove(second);
        assert_eq!(engine.windows().bytes, 0);
    }
}

#[test]
fn who_comes_here_has_no_more_than_there_is() {
    let mut engine = Engine::new(8, 1 << 20, at(0));
    let key = insert(&mut engine, established(1));
    assert_eq!(upload(&mut engine, key, 20), 20_000);
    let conn = engine.remove(key).unwrap();
    let edge = conn.tcb.rcv.edge;
    let frozen = conn.tcb.freeze(at(40), &mut Store::default()).unwrap();
    // Another node has less memory left, or smaller windows; what was promised stays.
    let thaw = |config: &TcpConfig| Tcb::thaw(frozen.clone(), at(40), config, &mut Store::default()).unwrap();
    let mut small = Engine::new(8, 3_000, at(0));
    let key = insert(&mut small, thaw(&config()));
    assert_eq!((small.get(key).unwrap().tcb.window(), small.windows().bytes), (13_000, 3_000));
    assert_eq!((small.get(key).unwrap().tcb.rcv.edge, small.windows().refused), (edge, 1));
    let tcb = thaw(&TcpConfig { recv_buffer_max_bytes: 10_000, ..config() });
    assert_eq!((tcb.window(), tcb.rcv.edge), (10_000, edge));
    assert_eq!(tcb.window_to_offer(), tcb.offered(), "the edge stays until it is reached");
}

#[test]
fn an_old_measure_does_not_stay_behind() {
    // It would be out of the reach of sequence numbers some day.
    let mut engine = Engine::new(8, 1 << 20, at(0));
    let key = insert(&mut engine, established(1));
    assert_eq!(upload(&mut engine, key, 20), 20_000);
    assert!(engine.get(key).unwrap().tcb.rcv.tuning.measure.is_some());
    engine.get_mut(key).unwrap().tcb.rcv.tuning.window = 40_000;
    let seq = engine.get(key).unwrap().tcb.rcv_nxt().0;
    let text = segment(Flags::ACK, seq, 1, &TEXT);
    let _ = engine.handle_segment(key, at(40), &text, &mut Store::default()).unwrap();
    assert_eq!(engine.get(key).unwrap().tcb.rcv.tuning.measure, None);
    assert_eq!(engine.get(key).unwrap().tcb.wanted_window(), None);
}
