//! Anything at all: segments, times, moves and frozen connections that nobody meant.

use std::vec::Vec;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;

use super::host::{Host, Moves, flow};
use super::pair::{below, rng, text};
use super::store::Store;
use crate::ecn::Ecn;
use crate::tcp::{
    Algorithm, Flags, Frozen, FrozenBytes, FrozenCubic, FrozenGrowth, FrozenRack, FrozenRecovery, FrozenTimers,
    FrozenTuning, HyStart, Negotiated, NewReno, Options, PATH_MTU_MIN, PathMtu, Phase, Probe, Prr, Rtt, Run, Segment,
    SeqNum, Signals, State, Tcb, TcpConfig, ThawError, Timestamps, Undo,
};
use crate::time::{Duration, Instant};

/// What happens to a connection. Numbers are relative to where it is, so that most of it means something.
#[derive(Clone, Debug)]
enum Event {
    Segment { flags: u8, seq: (u8, i32), ack: (u8, i32), window: u16, len: u16, tsval: i8, sack: Vec<(i32, u16)> },
    Pass(u32),
    Timeout,
    Push(u16),
    Consume(u16),
    Close,
    Abort,
    Move,
}

fn near() -> impl Strategy<Value = (u8, i32)> {
    (0..4_u8, prop_oneof![6 => -3..=3_i32, 2 => -3_000..3_000_i32, 1 => any::<i32>()])
}

fn event() -> impl Strategy<Value = Event> {
    let flags = prop_oneof![
        10 => Just(0x10_u8),
        3 => Just(0x18),
        3 => Just(0x11),
        1 => Just(0x02),
        1 => Just(0x04),
        2 => any::<u8>(),
    ];
    let window = prop_oneof![3 => Just(u16::MAX), 2 => 0..3_000_u16, 1 => any::<u16>()];
    let len = prop_oneof![3 => Just(0_u16), 2 => 1..20_u16, 2 => Just(1_460), 1 => 0..9_000_u16];
    let sack = prop::collection::vec((-100..20_000_i32, 1..3_000_u16), 0..4);
    let tsval = prop_oneof![5 => Just(0_i8), 1 => any::<i8>()];
    prop_oneof![
        12 => (flags, near(), near(), window, len, tsval, sack).prop_map(|(flags, seq, ack, window, len, tsval, sack)| {
            Event::Segment { flags, seq, ack, window, len, tsval, sack }
        }),
        3 => prop_oneof![0..300_000_u32, any::<u32>()].prop_map(Event::Pass),
        3 => Just(Event::Timeout),
        4 => (0..20_000_u16).prop_map(Event::Push),
        2 => (0..5_000_u16).prop_map(Event::Consume),
        1 => Just(Event::Close),
        1 => prop_oneof![9 => Just(Event::Timeout), 1 => Just(Event::Abort)],
        3 => Just(Event::Move),
    ]
}

/// Plays events; the host itself asserts what must hold.
fn play(host: &mut Host, mut now: Instant, events: &[Event]) {
    let payload = text(5, 9_000);
    for event in events {
        match event {
            Event::Segment { flags, seq, ack, window, len, tsval, sack } => {
                let tcb = host.tcb();
                let from = |(from, by): (u8, i32), of: [SeqNum; 4]| of[usize::from(from)] + by.cast_unsigned();
                let rcv_fin = tcb.rcv.fin.unwrap_or(tcb.rcv.nxt);
                let seq = from(*seq, [tcb.rcv.nxt, tcb.rcv.nxt, tcb.rcv.edge, rcv_fin]);
                let ack = from(*ack, [tcb.snd.una, tcb.snd.nxt, tcb.snd.nxt, tcb.rec.sent.highest()]);
                let recent = tcb.ts.recent.wrapping_add_signed(i32::from(*tsval));
                let una = tcb.snd.una;
                let block = |(left, len): &(i32, u16)| {
                    let left = una + left.cast_unsigned();
                    (left, left + u32::from(*len))
                };
                let options = Options {
                    timestamps: tcb.opts.timestamps.then_some(Timestamps { val: recent, ecr: tcb.ts.last }),
                    sack: sack.iter().map(block).collect(),
                    ..Options::default()
                };
                let segment = Segment {
                    src_port: 40_000,
                    dst_port: 80,
                    seq,
                    ack,
                    flags: Flags(*flags),
                    window: *window,
                    urgent: *window,
                    ecn: Ecn::of(len.to_be_bytes()[1]),
                    options,
                    payload: &payload[..usize::from(*len)],
                };
                let _ = host.handle_segment(now, &segment);
            }
            Event::Pass(micros) => {
                now = now + Duration::from_micros(u64::from(*micros));
                // As the engine would have called.
                while let Some(at) = host.poll_at().filter(|at| *at <= now) {
                    let _ = host.handle_timeout(at.max(Instant::ZERO));
                }
            }
            Event::Timeout => {
                if let Some(at) = host.poll_at().filter(|at| at.micros() < 1 << 50) {
                    now = now.max(at);
                    let _ = host.handle_timeout(now);
                }
            }
            Event::Push(n) => {
                let may = matches!(host.tcb().state(), State::SynReceived | State::Established | State::CloseWait);
                if may && !host.tcb().snd.fin && *n > 0 && host.tcb().unsent() < 1 << 60 {
                    host.push(now, &text(6, usize::from(*n)));
                }
            }
            Event::Consume(n) => {
                let n = usize::from(*n).min(host.tcb().unread().len());
                let _ = host.consume(now, n);
            }
            Event::Close => host.close(now),
            Event::Abort => {
                host.tcb_mut().abort();
                host.transmit(now);
            }
            Event::Move => {
                if host.tcb().is_synchronized() {
                    host.move_on(now);
                }
            }
        }
        host.out.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_segment_at_no_time_breaks_a_connection(
        mss in prop::option::of(any::<u16>()),
        window_scale in prop::option::of(any::<u8>()),
        sack_permitted in any::<bool>(),
        tsval in prop::option::of(any::<u32>()),
        numbers in any::<(u32, u32, u32, u16)>(),
        recv_buffer_bytes in 1..500_000_u32,
        in_flight_bytes_max in 1..100_000_u32,
        reno in any::<bool>(),
        keepalive in any::<bool>(),
        handshake in any::<bool>(),
        ecn in any::<bool>(),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let (isn, irs, ts_offset, window) = numbers;
        let timestamps = tsval.map(|val| Timestamps { val, ecr: 0 });
        let syn = Segment {
            src_port: 40_000,
            dst_port: 80,
            seq: SeqNum(irs),
            ack: SeqNum(0),
            flags: if ecn { Flags::SYN.with(Flags::ECE).with(Flags::CWR) } else { Flags::SYN },
            window,
            urgent: 0,
            ecn: Ecn::NotEct,
            options: Options { mss, window_scale, sack_permitted, timestamps, ..Options::default() },
            payload: &[],
        };
        let config = TcpConfig {
            recv_buffer_bytes,
            in_flight_bytes_max,
            congestion: if reno { Algorithm::NewReno } else { Algorithm::Cubic },
            keepalive: keepalive.then_some(Duration::from_secs(1)),
            user_timeout: keepalive.then_some(Duration::from_secs(30)),
            ..TcpConfig::default()
        };
        let now = Instant::ZERO;
        let mut host = Host::accept(now, &config, Moves::Never, (SeqNum(isn), ts_offset), &syn).unwrap();
        if handshake {
            let ack = Segment {
                seq: SeqNum(irs) + 1,
                ack: SeqNum(isn) + 1,
                flags: Flags::ACK,
                options: Options { timestamps, ..Options::default() },
                ..syn
            };
            let _ = host.handle_segment(now, &ack).unwrap();
        }
        play(&mut host, now, &events);
    }

    #[test]
    fn any_pieces_of_a_stream_make_the_stream(
        pieces in prop::collection::vec((0..3_000_usize, 1..400_usize), 1..120),
        window in prop_oneof![Just(3_500_u32), 500..3_000_u32],
    ) {
        let bytes = text(3, 3_400);
        let segment = |flags, seq, payload| Segment {
            src_port: 40_000,
            dst_port: 80,
            seq: SeqNum(u32::MAX - 700) + seq,
            ack: SeqNum(1),
            flags,
            window: 1_000,
            urgent: 0,
            ecn: Ecn::NotEct,
            options: Options::default(),
            payload,
        };
        let now = Instant::ZERO;
        let config = TcpConfig { recv_buffer_bytes: window, ..TcpConfig::default() };
        let mut host =
            Host::accept(now, &config, Moves::Never, (SeqNum(0), 0), &segment(Flags::SYN, 0, &[])).unwrap();
        let _ = host.handle_segment(now, &segment(Flags::ACK, 1, &[])).unwrap();
        // What is there, by bytes.
        let mut have = std::vec![false; bytes.len()];
        for (n, (from, len)) in pieces.iter().enumerate() {
            let upto = (from + len).min(bytes.len());
            let edge = host.tcb().rcv.edge.since(SeqNum(u32::MAX - 700) + 1) as usize;
            let seq = u32::try_from(1 + from).unwrap();
            let result = host.handle_segment(now, &segment(Flags::ACK, seq, &bytes[*from..upto]));
            if result.is_ok() {
                have[*from..upto.min(edge).max(*from)].fill(true);
            }
            let whole = have.iter().take_while(|have| **have).count();
            prop_assert_eq!(host.tcb().unread(), &bytes[..whole]);
            let kept: usize = host.tcb().rcv.out_of_order.iter().map(|(_, bytes)| bytes.len()).sum();
            prop_assert_eq!(kept, have[whole..].iter().filter(|have| **have).count());
            if n % 7 == 0 {
                host.move_on(now);
            }
        }
    }

    #[test]
    fn any_frozen_connection_is_refused_or_lives(
        seed in any::<u64>(),
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut numbers = rng(seed, 1);
        let frozen = frozen(&mut numbers);
        let config = TcpConfig { keepalive: Some(Duration::from_secs(1)), ..TcpConfig::default() };
        let mut store = Store::default();
        let local = Instant::from_micros(1_000_000_000_000);
        if let Ok(tcb) = Tcb::thaw(frozen, local, &config, &mut store) {
            let mut host = Host::adopt(tcb, store, &config);
            play(&mut host, Instant::ZERO, &events);
        }
    }
}

/// Mostly up to `usual`; now and then anything.
fn wild(rng: &mut ChaCha8Rng, usual: u32) -> u32 {
    match below(rng, 60) {
        0 => rng.next_u32(),
        1 => 0,
        2 => u32::MAX,
        3 => 1 << 31,
        _ => below(rng, usual.saturating_add(1).max(1)),
    }
}

fn age(rng: &mut ChaCha8Rng) -> Duration {
    match below(rng, 40) {
        0 => Duration::MAX,
        1 => Duration::from_secs(rng.next_u64() >> 20),
        _ => Duration::from_micros(u64::from(below(rng, 10_000_000))),
    }
}

fn perhaps<T>(rng: &mut ChaCha8Rng, some: impl FnOnce(&mut ChaCha8Rng) -> T) -> Option<T> {
    (below(rng, 2) == 0).then(|| some(rng))
}

#[expect(clippy::too_many_lines, reason = "one field a line: nothing to split")]
fn frozen(rng: &mut ChaCha8Rng) -> Frozen {
    use State::{CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, SynReceived, TimeWait};
    let states = [Established, Established, CloseWait, FinWait1, FinWait2, Closing, LastAck, TimeWait, SynReceived];
    let state = states[below(rng, 9) as usize];
    let is_odd = below(rng, 20) == 0;
    let fin = matches!(state, FinWait1 | Closing | LastAck) != is_odd;
    let has_fin = matches!(state, CloseWait | Closing | LastAck | TimeWait);
    let snd_place = if below(rng, 40) == 0 { rng.next_u64() } else { u64::from(rng.next_u32()) };
    let queue = if matches!(state, FinWait2 | TimeWait) { Vec::new() } else { frozen_queue(rng, snd_place) };
    let queued: u64 = queue.iter().map(FrozenBytes::len).fold(0, u64::saturating_add);
    let snd_una = SeqNum(rng.next_u32());
    let most = u32::try_from(queued.min(100_000)).unwrap() + u32::from(fin);
    let in_flight = wild(rng, most);
    let snd_nxt = snd_una + in_flight;
    let rcv_nxt = SeqNum(rng.next_u32());
    let window = wild(rng, 70_000);
    let within = |rng: &mut ChaCha8Rng| snd_una + wild(rng, in_flight);
    let phase = below(rng, 3);
    let sent = frozen_runs(rng, snd_una, in_flight, phase == 0);
    let mut at = rcv_nxt;
    let out_of_order = (0..if has_fin { 0 } else { below(rng, 4) }).map(|_| {
        let seq = at + 1 + wild(rng, window / 8);
        let len = 1 + below(rng, window / 8 + 1).min(9_000);
        at = seq + len;
        (seq, std::vec![7; len as usize])
    });
    let out_of_order = out_of_order.collect();
    let point = within(rng);
    let probes = [Probe::None, Probe::Due, Probe::Sent { end: within(rng), is_again: below(rng, 2) == 0 }];
    let rack = FrozenRack {
        newest: perhaps(rng, |rng| (age(rng), within(rng))),
        rtt_us: wild(rng, 1_000_000),
        min_rtt: (wild(rng, 1_000_000), age(rng)),
        is_reordering_seen: below(rng, 2) == 0,
        wider: rng.next_u32().to_be_bytes()[0],
        persist: rng.next_u32().to_be_bytes()[0],
        dsack_round: perhaps(rng, within),
        boundary: perhaps(rng, within),
    };
    let phases = [Phase::Open, Phase::Fast(point), Phase::Timeout(point)];
    let cubic = FrozenCubic {
        w_max: wild(rng, 1_000_000),
        epoch_age: perhaps(rng, age),
        k_ms: wild(rng, 10_000),
        w_epoch: wild(rng, 100_000),
        w_est: wild(rng, 100_000),
        fraction: wild(rng, 100_000),
    };
    let growths = [FrozenGrowth::Cubic(cubic), FrozenGrowth::NewReno(NewReno { acked: wild(rng, 100_000) })];
    let undo = perhaps(rng, |rng| Undo {
        pipe_prev: wild(rng, 100_000),
        growth: growths[below(rng, 2) as usize],
        from: within(rng),
        until: perhaps(rng, within),
        stamp: perhaps(rng, RngCore::next_u32),
        again: wild(rng, 10_000),
        needless: wild(rng, 10_000),
    });
    let start = perhaps(rng, |rng| HyStart {
        end: within(rng),
        last_us: wild(rng, 1_000_000),
        least_us: wild(rng, 1_000_000),
        samples: u8::try_from(below(rng, 9 + u32::from(is_odd))).unwrap(),
        baseline_us: 1 + wild(rng, 1_000_000) / 2,
        rounds: u8::try_from(below(rng, 5 + u32::from(is_odd))).unwrap(),
    });
    Frozen {
        flow: flow(),
        state,
        opts: Negotiated {
            snd_mss: u16::try_from(wild(rng, 1_460) & 0xffff).unwrap().max(if is_odd { 0 } else { 48 }),
            rcv_mss: u16::try_from(wild(rng, 1_460) & 0xffff).unwrap().max(48),
            snd_scale: perhaps(rng, |rng| u8::try_from(below(rng, 15 + u32::from(is_odd))).unwrap()),
            rcv_scale: u8::try_from(below(rng, 15 + u32::from(is_odd))).unwrap(),
            sack: below(rng, 2) == 0,
            timestamps: below(rng, 2) == 0,
            ecn: below(rng, 2) == 0,
        },
        iss: SeqNum(rng.next_u32()),
        snd_una,
        snd_nxt,
        snd_wnd: wild(rng, 100_000),
        snd_wl1: rcv_nxt - wild(rng, 10),
        snd_wl2: snd_una - wild(rng, 10),
        max_wnd: wild(rng, 100_000),
        snd_place,
        queue,
        fin,
        small: perhaps(rng, within),
        snd_urgent: perhaps(rng, within),
        irs: SeqNum(rng.next_u32()),
        rcv_nxt,
        rcv_edge: rcv_nxt + window,
        unread: std::vec![9; below(rng, 5_000) as usize],
        out_of_order,
        rcv_latest: rcv_nxt + wild(rng, 10_000),
        rcv_fin: if has_fin { Some(rcv_nxt - 1) } else { perhaps(rng, |rng| rcv_nxt + wild(rng, window)) },
        rcv_urgent: perhaps(rng, |rng| rcv_nxt + wild(rng, 60_000)),
        tuning: FrozenTuning {
            grown: perhaps(rng, |rng| wild(rng, 400_000)),
            rtt_us: wild(rng, 100_000),
            measure: perhaps(rng, |rng| (age(rng), rcv_nxt - wild(rng, 10_000))),
        },
        tsval: rng.next_u32(),
        ts_recent: rng.next_u32(),
        ts_recent_age: age(rng),
        last_ack_sent: rcv_nxt - wild(rng, 3),
        rtt: Rtt {
            srtt_us: wild(rng, 1_000_000),
            rttvar_us: wild(rng, 1_000_000),
            backoff: rng.next_u32().to_be_bytes()[0],
        },
        cwnd: wild(rng, 100_000),
        ssthresh: if start.is_some() && !is_odd { u32::MAX } else { wild(rng, 100_000) },
        growth: growths[below(rng, 2) as usize],
        start,
        recovery: FrozenRecovery {
            phase: phases[phase as usize],
            dup_acks: rng.next_u32().to_be_bytes()[0],
            sent,
            rack,
            probe: probes[below(rng, 3) as usize],
            force: below(rng, 2) == 0,
            prr: Prr { delivered: wild(rng, 100_000), out: wild(rng, 100_000), flight: wild(rng, 100_000) },
            undo,
        },
        signals: if below(rng, 2) == 0 {
            Signals::default()
        } else {
            Signals { echo: below(rng, 2) == 0, cwr: below(rng, 2) == 0, point: perhaps(rng, within) }
        },
        path: frozen_path(rng, within, is_odd),
        timers: FrozenTimers {
            retransmit: perhaps(rng, age),
            persist: perhaps(rng, age),
            delayed_ack: perhaps(rng, age),
            keepalive: perhaps(rng, age),
            fin_wait_2: perhaps(rng, age),
            reorder: perhaps(rng, age),
            probe: perhaps(rng, age),
        },
        timed: perhaps(rng, |rng| (within(rng), age(rng))),
        sent_age: age(rng),
        heard_age: age(rng),
        waiting_age: age(rng),
        unanswered: rng.next_u32().to_be_bytes()[0],
        unacked_segments: rng.next_u32().to_be_bytes()[0],
        ack_now: below(rng, 2) == 0,
        probe_now: below(rng, 2) == 0,
    }
}

/// A path MTU, seldom one below the floor.
fn frozen_path(rng: &mut ChaCha8Rng, within: impl Fn(&mut ChaCha8Rng) -> SeqNum, is_odd: bool) -> PathMtu<Duration> {
    let mtu = |rng: &mut ChaCha8Rng| PATH_MTU_MIN - u16::from(is_odd) + u16::try_from(below(rng, 948)).unwrap();
    PathMtu {
        mtu: perhaps(rng, mtu).unwrap_or(u16::MAX),
        confirmed: u16::try_from(below(rng, 1_501)).unwrap(),
        sizing: perhaps(rng, |rng| (within(rng), 1_500)),
        claim: perhaps(rng, |rng| (within(rng), mtu(rng))),
        raise_at: perhaps(rng, age),
    }
}

/// Runs that mostly end where they must.
fn frozen_runs(rng: &mut ChaCha8Rng, una: SeqNum, in_flight: u32, is_open: bool) -> Vec<Run<Duration>> {
    let mut runs = Vec::new();
    let mut end = 0;
    while end < in_flight && runs.len() < 40 {
        end = if runs.len() == 39 { in_flight } else { (end + 1).saturating_add(wild(rng, in_flight / 4)) };
        end = if below(rng, 200) == 0 { end } else { end.min(in_flight) };
        let (sacked, lost) =
            [(false, false), (true, false), (false, true)][below(rng, if is_open { 2 } else { 3 }) as usize];
        runs.push(Run { end: una + end, sent: age(rng), sacked, lost, again: below(rng, 2) == 0 });
    }
    runs
}

/// Ranges that are mostly where they must be.
fn frozen_queue(rng: &mut ChaCha8Rng, start: u64) -> Vec<FrozenBytes> {
    let mut place = start;
    let parts = below(rng, 5);
    (0..parts)
        .map(|_| {
            let len = 1 + below(rng, 20_000);
            let offset = place;
            place = place.wrapping_add(u64::from(len));
            if below(rng, 3) > 0 {
                return FrozenBytes::Here(std::vec![5; len as usize]);
            }
            let (wrong, huge) = (below(rng, 40) == 0, below(rng, 20) == 0);
            let offset = if wrong { rng.next_u64() } else { offset };
            let len = if huge { rng.next_u64() } else { u64::from(len) };
            place = if huge { offset.wrapping_add(len) } else { place };
            FrozenBytes::Remote { holder: 1, offset, len }
        })
        .collect()
}

#[test]
fn most_of_those_frozen_connections_live() {
    // Else the property above would say little.
    let mut reasons = std::collections::BTreeMap::new();
    for seed in 0..2_000 {
        let frozen = frozen(&mut rng(seed, 1));
        let thawed = Tcb::thaw(frozen, Instant::ZERO, &TcpConfig::default(), &mut Store::default());
        let reason = match thawed {
            Ok(_) => "lives",
            Err(ThawError::Impossible(what)) => what,
            Err(ThawError::NoRoom(_)) => "no room",
        };
        *reasons.entry(reason).or_insert(0) += 1;
    }
    assert!(reasons["lives"] > 200, "{reasons:?}");
    assert!(reasons.len() > 8, "{reasons:?}");
}
