use baton_http1::{Advance, Limits};
use baton_stack::addr::{Endpoint, Flow, IpAddr};
use baton_stack::ecn::Ecn;
use baton_stack::tcp::{
    Content, ContentLost, Flags, FrozenTuning, HyStart, Options, PathMtu, Phase, Probe, Prr, Run, Segment, SeqNum,
    Signals, SourceId, Tcb, TcpConfig, Timestamps, Undo,
};
use baton_stack::time::{Duration, Instant};
use proptest::prelude::*;

use super::*;

/// An image of version 1. It must decode for as long as version 1 is read.
const GOLDEN: &str = include_str!("golden_v1.hex");

/// A store of one source: what is to be sent.
#[derive(Default)]
struct Store(Vec<Vec<u8>>);

impl Content for Store {
    fn read(&mut self, source: SourceId, offset: u64, buf: &mut [u8]) -> Result<(), ContentLost> {
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.0[usize::try_from(source.0).unwrap()][start..start + buf.len()]);
        Ok(())
    }

    fn release(&mut self, _source: SourceId, _up_to: u64) {}

    fn insert(&mut self, bytes: Vec<u8>) -> Result<SourceId, ContentLost> {
        self.0.push(bytes);
        Ok(SourceId(self.0.len() as u64 - 1))
    }
}

fn flow(is_v6: bool) -> Flow {
    let end = |addr: u8, port| {
        let v6 = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, addr];
        Endpoint { addr: if is_v6 { IpAddr::from(v6) } else { IpAddr::from([10, 77, 0, addr]) }, port }
    };
    Flow { client: end(1, 40_000), vip: end(100, 80) }
}

/// A connection that has been established, as a front-end's first handoff finds it.
fn connection(is_v6: bool) -> Tcb {
    let segment = |flags, seq, ack, payload: &'static [u8]| Segment {
        src_port: 40_000,
        dst_port: 80,
        seq: SeqNum(seq),
        ack,
        flags,
        window: 64_000,
        urgent: 0,
        ecn: Ecn::NotEct,
        options: Options {
            mss: flags.has(Flags::SYN).then_some(1_460),
            window_scale: flags.has(Flags::SYN).then_some(7),
            sack_permitted: flags.has(Flags::SYN),
            timestamps: Some(Timestamps { val: 777, ecr: 0 }),
            ..Options::default()
        },
        payload,
    };
    let at = |us| Instant::from_micros(us);
    let (config, mut store) = (TcpConfig::default(), Store::default());
    let syn = segment(Flags::SYN, 1_000, SeqNum(0), b"");
    let mut tcb = Tcb::accept(at(1_000), &config, flow(is_v6), SeqNum(5_000), 99, &syn).unwrap();
    let mut buf = [0; 1_500];
    assert!(tcb.poll_transmit(at(1_000), &mut store, &mut buf).len > 0);
    let ack = segment(Flags::ACK, 1_001, SeqNum(5_001), b"");
    let _ = tcb.handle_segment(at(2_000), &ack, &mut store).unwrap();
    tcb
}

fn image(tcb: Tcb, store: &mut Store) -> Image {
    let mut cursor = Cursor::new();
    assert!(matches!(cursor.advance(b"GET /", &Limits::default()), Ok(Advance::Incomplete)));
    Image {
        c: ConnId::new(1, 0, 7, 9),
        base: Epoch(1),
        epoch: Epoch(2),
        tried: Epoch(2),
        next_hop: MacAddr([2, 0, 0, 0, 0, 1]),
        tcb: tcb.freeze(Instant::from_micros(3_000), store).unwrap(),
        cursor,
        plan: Plan::of(Planned { n: 0, strip: 4 }),
        resume: None,
        served: Served { requests: 3, bytes: 4_096 },
    }
}

/// An image with at least one of every part.
fn full_image() -> Image {
    let mut image = image(connection(false), &mut Store::default());
    image.tcb.unread = b"GET /".to_vec();
    image.tcb.rcv_nxt += 5;
    let nxt = image.tcb.rcv_nxt;
    image.tcb.out_of_order = vec![(nxt + 10, b"abc".to_vec()), (nxt + 20, b"defg".to_vec())];
    image.tcb.queue = vec![FrozenBytes::Here(vec![7; 300]), FrozenBytes::Remote { holder: 3, offset: 377, len: 200 }];
    image.tcb.snd_place = 77;
    image.tcb.snd_nxt = image.tcb.snd_una + 500;
    let una = image.tcb.snd_una;
    let run = |end, ms, sacked| {
        let sent = Duration::from_millis(ms);
        Run { end: una + end, sent, sacked, lost: !sacked && end == 100, again: end == 300 }
    };
    image.tcb.recovery.sent =
        vec![run(100, 40, false), run(200, 40, true), run(300, 3, false), run(400, 30, true), run(500, 30, false)];
    image.tcb.recovery.phase = Phase::Fast(una + 500);
    image.tcb.recovery.force = true;
    image.tcb.recovery.prr = Prr { delivered: 1, out: 2, flight: 3 };
    image.tcb.recovery.undo = Some(Undo {
        pipe_prev: 99,
        growth: image.tcb.growth,
        from: una,
        until: None,
        stamp: Some(1_234),
        again: 100,
        needless: 7,
    });
    image.tcb.recovery.rack.newest = Some((Duration::from_millis(30), una + 400));
    image.tcb.recovery.rack.boundary = Some(una + 200);
    image.tcb.opts.ecn = true;
    image.tcb.signals = Signals { echo: true, cwr: true, point: Some(una + 400) };
    image.tcb.tuning =
        FrozenTuning { grown: Some(99_000), rtt_us: 40_000, measure: Some((Duration::from_millis(7), nxt)) };
    image.tcb.small = Some(una + 450);
    image.tcb.snd_urgent = Some(una + 400);
    image.tcb.rcv_urgent = Some(nxt + 3);
    image.tcb.recovery.probe = Probe::Sent { end: una + 500, is_again: true };
    image.tcb.timers.reorder = Some(Duration::from_micros(77));
    image.tcb.timers.retransmit = Some(Duration::from_micros(123_456));
    image.tcb.path = PathMtu {
        mtu: 1_400,
        confirmed: 1_300,
        sizing: Some((una + 500, 1_400)),
        claim: Some((una + 100, 1_290)),
        raise_at: Some(Duration::from_secs(599)),
    };
    image.tcb.start =
        Some(HyStart { end: una + 500, last_us: 40_000, least_us: 46_000, samples: 8, baseline_us: 45_000, rounds: 3 });
    assert!(image.plan.push(Planned { n: 1, strip: 0 }));
    image.resume = Some(Resume {
        n: 3,
        status: 206,
        keep_alive: true,
        first: 1_000,
        length: Some(70_000),
        offset: 65_536,
        validator: [0x5a; 32],
        name: b"/films/one.bin".to_vec(),
    });
    image
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| line.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n").collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn the_golden_image_decodes_for_ever() {
    let image = full_image();
    assert_eq!(to_hex(&image.encode()), GOLDEN, "what is written has changed: that is a new version");
    assert_eq!(Image::decode(&from_hex(GOLDEN)).unwrap(), image);
}

#[test]
fn an_idle_connection_s_image_is_within_its_budget() {
    for is_v6 in [false, true] {
        let mut image = image(connection(is_v6), &mut Store::default());
        // After an upload, with ECN in use.
        image.tcb.opts.ecn = true;
        image.tcb.tuning = FrozenTuning { grown: Some(99_000), ..FrozenTuning::default() };
        let len = image.encode().len();
        // docs/handoff.md section 5: at most 384 bytes.
        assert!(len <= 384, "{len}");
        assert!(len <= IDLE_IMAGE_BYTES_MAX);
    }
}

#[test]
fn what_is_thawed_is_what_was_frozen() {
    let mut store = Store::default();
    let config = TcpConfig::default();
    let image = image(connection(true), &mut store);
    let decoded = Image::decode(&image.encode()).unwrap();
    let later = Instant::from_micros(9_000_000);
    let tcb = Tcb::thaw(decoded.tcb, later, &config, &mut store).unwrap();
    assert_eq!(tcb.freeze(later, &mut store).unwrap(), image.tcb);
}

#[test]
fn an_unknown_part_is_refused_or_skipped_by_its_bit() {
    let image = full_image();
    let mut bytes = image.encode();
    let end = bytes.len();
    bytes.extend_from_slice(&[0x7f, 0xff, 0, 0, 0, 2, 1, 2]);
    assert_eq!(Image::decode(&bytes), Ok(image));
    bytes[end] = 0xff;
    let refused = Image::decode(&bytes).unwrap_err();
    assert_eq!(refused, ImageError::UnknownPart(0xffff));
    assert_eq!(refused.refusal(), RefuseReason::Version);
}

#[test]
fn another_version_is_refused() {
    let mut bytes = full_image().encode();
    bytes[0] = 2;
    assert_eq!(Image::decode(&bytes), Err(ImageError::Version(2)));
    assert_eq!(Image::decode(&[]), Err(ImageError::Truncated));
}

#[test]
fn every_cut_is_an_error_or_between_two_parts() {
    let image = full_image();
    let bytes = image.encode();
    for len in 0..bytes.len() {
        if let Ok(shorter) = Image::decode(&bytes[..len]) {
            assert_ne!(shorter, image, "{len}");
        }
    }
}

#[test]
fn plan_and_parts_at_their_limits_and_one_past() {
    let mut image = full_image();
    image.plan = Plan::default();
    for n in 0..32 {
        assert!(image.plan.push(Planned { n, strip: 0 }));
    }
    assert!(!image.plan.push(Planned { n: 32, strip: 0 }));
    image.tcb.out_of_order = (0..64).map(|i| (image.tcb.rcv_nxt + 2 + 3 * i, vec![0])).collect();
    let run = image.tcb.recovery.sent[0];
    image.tcb.recovery.sent = (1..=256).map(|i| Run { end: image.tcb.snd_una + i, ..run }).collect();
    assert_eq!(Image::decode(&image.encode()), Ok(image.clone()));
    image.tcb.out_of_order.push((image.tcb.rcv_nxt + 1_000, vec![0]));
    assert_eq!(Image::decode(&image.encode()), Err(ImageError::Malformed("number of parts")));
    image.tcb.out_of_order.pop();
    image.tcb.recovery.sent.push(run);
    assert_eq!(Image::decode(&image.encode()), Err(ImageError::Malformed("scoreboard")));
}

proptest! {
    /// Whatever was changed, on the wire or by an enemy inside: an error, or a connection that works or is refused.
    #[test]
    fn no_bytes_make_it_panic(at in 0_usize..2_000, value in any::<u8>(), cut in 0_usize..2_000) {
        let mut bytes = full_image().encode();
        let at = at % bytes.len();
        bytes[at] = value;
        bytes.truncate(bytes.len() - cut % 64);
        if let Ok(image) = Image::decode(&bytes) {
            let mut store = Store::default();
            let now = Instant::from_micros(5);
            if let Ok(mut tcb) = Tcb::thaw(image.tcb, now, &TcpConfig::default(), &mut store) {
                let mut buf = [0; 1_500];
                for _ in 0..8 {
                    let _ = tcb.poll_transmit(now, &mut store, &mut buf);
                }
                let _ = tcb.handle_timeout(Instant::from_micros(60_000_000), &mut store);
            }
        }
    }
}
