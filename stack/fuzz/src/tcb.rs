//! One connection of either family, opened by either side: any segments, at any time, with writes, reads, moves, other settings and
//! words of routers between them.
//!
//! What it says on the wire must be what was written, in its place; acknowledgment, window edge and TSval never go back; a
//! timer that has run out does not run out again at once; and an image is the same when it is written again.

use baton_backend::serve::ContentStore;
use baton_http1::Cursor;
use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr, MacAddr};
use baton_stack::ecn::Ecn;
use baton_stack::tcp::{
    Algorithm, Extent, Flags, Frozen, Info, Options, Place, Segment, SeqNum, State, Tcb, TcpConfig, Timestamps, TooBig,
    Written,
};
use baton_stack::time::{Duration, Instant};
use handoff_proto::image::{Image, Plan};
use handoff_proto::message::Served;
use handoff_proto::names::Epoch;

use crate::image::new_store;
use crate::input::Input;

const BEGIN: Instant = Instant::from_micros(1_000_000_000_000);
const ISS: SeqNum = SeqNum(u32::MAX - 2_000);
const IRS: SeqNum = SeqNum(u32::MAX - 70);
const SEGMENTS_MAX: u32 = 4_000;
/// Bytes that are written in one conversation at the most.
const WRITTEN_MAX: u64 = 1 << 20;

struct Life {
    now: Instant,
    config: TcpConfig,
    /// `None` only during a move.
    tcb: Option<Tcb>,
    store: ContentStore,
    written: u64,
    seen: Option<(SeqNum, SeqNum, Option<u32>)>,
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Some(mut life) = Life::begin(&mut input) else { return };
    life.transmit();
    while !input.is_empty() {
        life.step(&mut input);
        life.transmit();
    }
}

/// The flow, of IPv6 or of IPv4.
fn flow(is_ipv6: bool) -> Flow {
    let end = |last: u8, port| {
        let v6 = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        Endpoint { addr: if is_ipv6 { IpAddr::from(v6) } else { IpAddr::from([10, 0, 0, last]) }, port }
    };
    Flow { client: end(1, 40_000), vip: end(2, 80) }
}

/// What bits of a byte ask for; the second and third are the family's and who opens.
fn config(bits: u8) -> TcpConfig {
    let has = |bit: u8| bits & bit != 0;
    TcpConfig {
        keepalive: (!has(1)).then_some(Duration::from_secs(9)),
        user_timeout: has(8).then_some(Duration::from_secs(5)),
        nagle: has(16),
        cork: has(32),
        congestion: if has(64) { Algorithm::NewReno } else { Algorithm::Cubic },
        fin_wait_2: (!has(128)).then_some(Duration::from_secs(60)),
        ..TcpConfig::default()
    }
}

/// The byte of our stream at `place`.
const fn said(place: u64) -> u8 {
    place.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
}

impl Life {
    fn begin(input: &mut Input<'_>) -> Option<Self> {
        let recv_buffer_bytes = u32::from(input.u16()) + 2_000;
        let (settings, options) = (input.byte(), input.byte());
        let is_set = |bit: u8| settings & bit != 0;
        let flow = flow(is_set(2));
        let config = TcpConfig { recv_buffer_bytes, ..config(settings) };
        let store = new_store();
        let life = |tcb| Self { now: BEGIN, config, tcb: Some(tcb), store, written: 0, seen: None };
        if is_set(4) {
            return Tcb::connect(BEGIN, &config, flow, ISS, 7).ok().map(life);
        }
        let has = |bit: u8| options & bit != 0;
        let syn = Segment {
            src_port: 40_000,
            dst_port: 80,
            seq: IRS,
            ack: SeqNum(0),
            flags: if has(16) { Flags(0xc2) } else { Flags::SYN },
            ecn: Ecn::NotEct,
            window: input.u16(),
            urgent: 0,
            options: Options {
                mss: has(1).then(|| input.u16()),
                window_scale: has(2).then(|| input.byte() % 15),
                sack_permitted: has(4),
                timestamps: has(8).then_some(Timestamps { val: 1, ecr: 0 }),
                ..Options::default()
            },
            payload: &[],
        };
        Tcb::accept(BEGIN, &config, flow, ISS, 7, &syn).ok().map(life)
    }

    fn tcb(&mut self) -> &mut Tcb {
        self.tcb.as_mut().unwrap_or_else(|| panic!("in the middle of a move"))
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..=6 => self.hear(input),
            7 => self.hear_raw(input),
            8 => self.wait(Duration::from_micros(u64::from(input.u16()) * 16)),
            9 | 10 => self.run_out(),
            11 => self.write(u64::from(input.u16())),
            12 => {
                let len = usize::from(input.u16());
                let tcb = self.tcb();
                tcb.consume(len.min(tcb.unread().len()));
            }
            13 => self.tcb().close(),
            14 => self.move_on(u64::from(input.u32())),
            _ => self.step_seldom(input),
        }
    }

    fn step_seldom(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        match input.byte() {
            0..=99 => {
                let (una, nxt) = (self.tcb().snd_una(), self.tcb().snd_nxt());
                let in_flight = nxt.since(una);
                let seq = una + in_flight.min(u32::from(input.byte()) * (in_flight / 255 + 1));
                let told = TooBig { seq, packet: input.u16(), mtu: input.u16() };
                let _ = self.tcb().handle_too_big(now, &told);
            }
            100..=149 => _ = self.tcb().mark_urgent(),
            150..=220 => {
                let TcpConfig { recv_buffer_bytes, .. } = self.config;
                self.config = TcpConfig { recv_buffer_bytes, ..config(input.byte()) };
                let config = self.config;
                self.tcb().configure(now, &config);
            }
            // The rarest last: it ends all.
            0xde if input.byte() == 0xad => self.tcb().abort(),
            _ => {}
        }
    }

    /// A segment near to where the connection is.
    fn hear(&mut self, input: &mut Input<'_>) {
        let shape = input.byte();
        let has = |bit: u8| shape & bit != 0;
        let (una, nxt, rcv) = (self.tcb().snd_una(), self.tcb().snd_nxt(), self.tcb().rcv_nxt());
        let flags = match input.byte() {
            flags @ (0..=0x3f | 0xc0..=0xff) => Flags(flags),
            _ => Flags::ACK,
        };
        let in_flight = nxt.since(una);
        let part = |share: u8| in_flight.min(u32::from(share) * (in_flight / 255 + 1));
        let ack = match shape & 3 {
            0 => nxt,
            1 => una + part(input.byte()),
            2 => una,
            _ => SeqNum(input.u32()),
        };
        let seq = if has(4) { rcv + u32::from(input.u16()) - 16_384 } else { rcv };
        let len = if has(8) { usize::from(input.u16() % 1_461) } else { 0 };
        // Their bytes say where they are; what is read is not looked at here, for other segments may lie.
        let payload: Vec<u8> = (0..).map(|n: u32| (seq + n).0.to_be_bytes()[3]).take(len).collect();
        let mut options = Options::default();
        if has(16) {
            for _ in 0..=input.byte() % 3 {
                let left = una + part(input.byte());
                let block = (left, left + u32::from(input.u16()));
                let _ = options.sack.try_push(block);
            }
        }
        if !has(32) {
            let ecr = self.tcb().last_tsval().unwrap_or(0);
            let val = 1 + u32::try_from((self.now - BEGIN).as_millis()).unwrap_or(u32::MAX);
            options.timestamps = Some(Timestamps { val, ecr });
        }
        let ecn = Ecn::of(input.byte());
        let urgent = if flags.0 & 0x20 == 0 { 0 } else { input.u16() };
        let window = if has(64) { input.u16() } else { u16::MAX };
        let segment = Segment {
            src_port: 40_000,
            dst_port: 80,
            seq,
            ack,
            flags,
            ecn,
            window,
            urgent,
            options,
            payload: &payload,
        };
        self.deliver(&segment);
    }

    /// Any bytes as a segment.
    fn hear_raw(&mut self, input: &mut Input<'_>) {
        let len = usize::from(input.byte());
        if let Ok(segment) = Segment::parse(input.take(len)) {
            self.deliver(&segment);
        }
    }

    fn deliver(&mut self, segment: &Segment<'_>) {
        let Self { tcb: Some(tcb), store, now, config, .. } = self else { return };
        let _ = tcb.handle_segment(*now, segment, store);
        let window_max = config.recv_buffer_bytes.max(config.recv_buffer_max_bytes);
        assert!(tcb.unread().len() <= window_max as usize, "more is received than was ever offered");
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.tcb().poll_at().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.time_out();
            self.transmit();
        }
        self.now = until;
    }

    /// Until the next timer.
    fn run_out(&mut self) {
        if let Some(at) = self.tcb().poll_at() {
            self.now = at.max(self.now);
            self.time_out();
        }
    }

    fn time_out(&mut self) {
        let Self { tcb: Some(tcb), store, now, .. } = self else { return };
        let _ = tcb.handle_timeout(*now, store);
        assert!(tcb.poll_at().is_none_or(|at| at > *now), "a timer runs out again at once");
    }

    fn write(&mut self, len: u64) {
        if len == 0 || self.written + len > WRITTEN_MAX {
            return;
        }
        let bytes = (self.written..self.written + len).map(said).collect();
        let Ok(source) = self.store.insert_bytes(bytes) else { return };
        if self.tcb().push(Extent { len, place: Place::Local { source, offset: 0 } }).is_ok() {
            self.written += len;
        } else {
            self.store.remove(source);
        }
    }

    fn move_on(&mut self, micros: u64) {
        let Some(tcb) = self.tcb.take() else { return };
        let tcb = match tcb.freeze(self.now, &mut self.store) {
            Ok(frozen) => {
                let encoded = image(frozen).encode();
                let image =
                    Image::decode(&encoded).unwrap_or_else(|error| panic!("our image does not decode: {error}"));
                assert_eq!(image.encode(), encoded, "an image is another when it is written again");
                self.store = new_store();
                self.now = self.now + Duration::from_micros(micros % 2_000);
                let tcb = Tcb::thaw(image.tcb, self.now, &self.config, &mut self.store);
                let mut tcb = tcb.unwrap_or_else(|error| panic!("a frozen connection does not thaw: {error}"));
                if micros.is_multiple_of(2) {
                    tcb.note_move();
                }
                tcb
            }
            Err((tcb, _)) => *tcb,
        };
        self.tcb = Some(tcb);
    }

    fn transmit(&mut self) {
        let mut buf = [0; 1_600];
        let now = self.now;
        self.tcb().check_stall(now);
        for n in 0.. {
            assert!(n < SEGMENTS_MAX, "it never stops sending");
            let Self { tcb: Some(tcb), store, .. } = self else { return };
            let wants = tcb.wants_transmit(now);
            let Written { len, .. } = tcb.poll_transmit(now, store, &mut buf);
            assert_eq!(wants, len > 0, "wants_transmit() and poll_transmit() disagree");
            if len == 0 {
                break;
            }
            self.note(&buf[..len]);
        }
        self.tcb().check_stall(now);
    }

    /// What is on the wire.
    fn note(&mut self, bytes: &[u8]) {
        let segment = Segment::parse(bytes).unwrap_or_else(|error| panic!("it sends what is no segment: {error:?}"));
        if segment.flags.has(Flags::RST) {
            return;
        }
        let is_syn = segment.flags.has(Flags::SYN);
        if is_syn && !segment.flags.has(Flags::ACK) {
            // It promises nothing yet.
            return;
        }
        if !is_syn {
            let place = segment.seq.distance_from(ISS + 1);
            let end = place.map(|place| u64::from(place) + segment.payload.len() as u64);
            assert!(segment.payload.is_empty() || end <= Some(self.written), "bytes that nobody wrote");
            let is_right = |(n, byte): (u64, &u8)| place.is_some_and(|place| said(u64::from(place) + n) == *byte);
            assert!((0..).zip(segment.payload).all(is_right), "other bytes than were written");
        }
        let now = self.now;
        let Info { snd_scale, rcv_scale, .. } = self.tcb().info(now);
        let shift = if snd_scale.is_some() && !is_syn { rcv_scale } else { 0 };
        let edge = segment.ack + (u32::from(segment.window) << shift);
        let tsval = segment.options.timestamps.map(|ts| ts.val);
        if let Some((ack, old_edge, old_tsval)) = self.seen {
            assert!(ack.le(segment.ack), "the acknowledgment goes back");
            assert!(old_edge.le(edge + ((1 << shift) - 1)), "the right window edge goes back");
            let has_passed = |(old, new): (u32, u32)| SeqNum(old).le(SeqNum(new));
            assert!(old_tsval.zip(tsval).is_none_or(has_passed), "TSval goes back");
        }
        self.seen = Some((segment.ack, self.seen.map_or(edge, |(_, old, _)| old.max(edge)), tsval));
        let state = self.tcb().state();
        assert!(state != State::Closed, "a closed connection speaks");
    }
}

fn image(tcb: Frozen) -> Image {
    Image {
        c: ConnId::new(1, 0, 7, 9),
        base: Epoch(1),
        epoch: Epoch(2),
        tried: Epoch(2),
        next_hop: MacAddr([2, 0, 0, 0, 0, 1]),
        tcb,
        cursor: Cursor::new(),
        plan: Plan::default(),
        resume: None,
        served: Served::NOTHING,
    }
}
