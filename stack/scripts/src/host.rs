//! A connection on a node: its clock, its store, and the moves to other nodes, as images.

use baton_http1::Cursor;
use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr, MacAddr};
use baton_stack::drop::DropReason;
use baton_stack::tcp::{
    ConnectError, Flags, Info, Outcome, Segment, SeqNum, SynCookies, Tcb, TcpConfig, TooBig, Written,
};
use baton_stack::time::{Duration, Instant};
use handoff_proto::image::{Image, Plan};
use handoff_proto::message::Served;
use handoff_proto::names::Epoch;

use crate::packet::Sent;
use crate::store::Store;

/// Ages reach back this far at the most: no clock is younger.
const ORIGIN_LEAST_US: u64 = 1_000_000_000_000;
/// The node's timestamp clock then: milliseconds, of 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "a clock that wraps")]
const ORIGIN_TSVAL: u32 = (ORIGIN_LEAST_US / 1_000) as u32;
/// More segments than any call lets out.
const BURST_MAX: usize = 100_000;

/// When the connection moves to another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moves {
    /// It stays.
    Never,
    /// Before each event and before each segment that leaves. Clocks differ by whole milliseconds, so that TSval ticks at
    /// the same times.
    Always,
}

/// What may never go back, seen from the wire.
#[derive(Clone, Copy, Debug)]
struct Seen {
    ack: SeqNum,
    edge: SeqNum,
    tsval: Option<u32>,
}

/// A connection, where it is now. Times are the world's.
#[derive(Debug)]
pub(crate) struct Host {
    /// `None` only during a move.
    tcb: Option<Tcb>,
    pub(crate) store: Store,
    config: TcpConfig,
    pub(crate) moves: Moves,
    moved: u64,
    /// The node's clock at the world's beginning, in microseconds.
    origin_us: u64,
    seen: Option<Seen>,
    /// What has left and nobody has taken yet.
    pub(crate) out: Vec<Sent>,
}

pub(crate) fn flow(is_ipv6: bool) -> Flow {
    let end = |addr: u8, port| {
        let v6 = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, addr];
        Endpoint { addr: if is_ipv6 { IpAddr::from(v6) } else { IpAddr::from([10, 0, 0, addr]) }, port }
    };
    Flow { client: end(1, 40_000), vip: end(2, 80) }
}

/// The world's time by the clock of the first node.
pub(crate) fn local(now: Instant) -> Instant {
    now + Duration::from_micros(ORIGIN_LEAST_US)
}

/// What makes TSval this at the world's beginning, on the first node: its own clock shows in none.
pub(crate) const fn ts_offset(tsval: u32) -> u32 {
    tsval.wrapping_sub(ORIGIN_TSVAL)
}

impl Host {
    /// Answers `syn`. `tsval` is the TSval of the world's beginning.
    pub(crate) fn accept(
        now: Instant,
        config: &TcpConfig,
        (flow, isn, tsval): (Flow, SeqNum, u32),
        syn: &Segment<'_>,
        moves: Moves,
    ) -> Result<Self, DropReason> {
        let tcb = Tcb::accept(local(now), config, flow, isn, ts_offset(tsval), syn)?;
        let mut host = Self::new(tcb, Store::default(), config, moves);
        host.transmit(now);
        Ok(host)
    }

    /// Opens a connection. `tsval` is the TSval of the world's beginning.
    pub(crate) fn connect(
        now: Instant,
        config: &TcpConfig,
        (flow, isn, tsval): (Flow, SeqNum, u32),
        moves: Moves,
    ) -> Result<Self, ConnectError> {
        let tcb = Tcb::connect(local(now), config, flow, isn, ts_offset(tsval))?;
        let mut host = Self::new(tcb, Store::default(), config, moves);
        host.transmit(now);
        Ok(host)
    }

    /// Takes in what `segment` completes, if it brings a cookie back. TSval is 0 at the world's beginning.
    pub(crate) fn complete(
        now: Instant,
        config: &TcpConfig,
        flow: Flow,
        cookies: &SynCookies,
        segment: &Segment<'_>,
        moves: Moves,
    ) -> Result<(Self, Outcome), DropReason> {
        let mut store = Store::default();
        let (tcb, outcome) = cookies.accept(local(now), config, flow, ts_offset(0), segment, &mut store)?;
        let mut host = Self::new(tcb, store, config, moves);
        host.transmit(now);
        Ok((host, outcome))
    }

    const fn new(tcb: Tcb, store: Store, config: &TcpConfig, moves: Moves) -> Self {
        Self {
            tcb: Some(tcb),
            store,
            config: *config,
            moves,
            moved: 0,
            origin_us: ORIGIN_LEAST_US,
            seen: None,
            out: Vec::new(),
        }
    }

    pub(crate) fn tcb(&self) -> &Tcb {
        self.tcb.as_ref().unwrap_or_else(|| unreachable!("asked in the middle of a move"))
    }

    fn tcb_mut(&mut self) -> &mut Tcb {
        self.tcb.as_mut().unwrap_or_else(|| unreachable!("asked in the middle of a move"))
    }

    fn local(&self, now: Instant) -> Instant {
        now + Duration::from_micros(self.origin_us)
    }

    /// A moment of the node's clock in the world's time.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        let at = self.tcb().poll_at()?;
        Some(Instant::from_micros(at.micros().saturating_sub(self.origin_us)))
    }

    pub(crate) fn handle_segment(&mut self, now: Instant, segment: &Segment<'_>) -> Result<Outcome, DropReason> {
        self.step(now);
        let local = self.local(now);
        let Self { tcb: Some(tcb), store, .. } = self else { unreachable!("in the middle of a move") };
        let outcome = tcb.handle_segment(local, segment, store);
        // There is memory enough.
        if let Some(wanted) = tcb.wanted_window() {
            tcb.grant_window(wanted);
        }
        self.transmit(now);
        outcome
    }

    pub(crate) fn handle_too_big(&mut self, now: Instant, told: &TooBig) -> Result<(), DropReason> {
        self.step(now);
        let local = self.local(now);
        let result = self.tcb_mut().handle_too_big(local, told);
        self.transmit(now);
        result
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.step(now);
        let local = self.local(now);
        let Self { tcb: Some(tcb), store, .. } = self else { unreachable!("in the middle of a move") };
        let _ = tcb.handle_timeout(local, store);
        self.transmit(now);
        assert!(self.poll_at().is_none_or(|at| at > now), "a timer runs out again at once");
    }

    /// False if it was refused.
    pub(crate) fn write(&mut self, now: Instant, bytes: &[u8], is_urgent: bool) -> bool {
        self.step(now);
        let extent = self.store.extent(bytes);
        let is_taken = self.tcb_mut().push(extent).is_ok() && (!is_urgent || self.tcb_mut().mark_urgent());
        self.transmit(now);
        is_taken
    }

    /// The first `n` unread bytes, if there are as many.
    pub(crate) fn read(&mut self, now: Instant, n: usize) -> Option<Vec<u8>> {
        self.step(now);
        let bytes = self.tcb().unread().get(..n)?.to_vec();
        self.tcb_mut().consume(n);
        self.transmit(now);
        Some(bytes)
    }

    pub(crate) fn close(&mut self, now: Instant) {
        self.step(now);
        self.tcb_mut().close();
        self.transmit(now);
    }

    pub(crate) fn abort(&mut self, now: Instant) {
        self.step(now);
        self.tcb_mut().abort();
        self.transmit(now);
    }

    /// Lets everything out that may leave.
    fn transmit(&mut self, now: Instant) {
        let mut buf = vec![0; usize::from(self.config.mtu)];
        let local = self.local(now);
        self.tcb_mut().check_stall(local);
        for left in (0..BURST_MAX).rev() {
            assert!(left > 0, "it never stops sending");
            self.step(now);
            let local = self.local(now);
            let Self { tcb: Some(tcb), store, .. } = self else { unreachable!("in the middle of a move") };
            let wants = tcb.wants_transmit(local);
            let Written { len, ecn } = tcb.poll_transmit(local, store, &mut buf);
            assert_eq!(wants, len > 0, "wants_transmit() and poll_transmit() disagree");
            if len == 0 {
                break;
            }
            self.note(local, &buf[..len]);
            self.out.push(Sent { at: now, bytes: buf[..len].to_vec(), ecn });
        }
        let local = self.local(now);
        self.tcb_mut().check_stall(local);
    }

    /// Between two events: moves on, where there is something to move.
    fn step(&mut self, now: Instant) {
        if self.moves == Moves::Never {
            return;
        }
        let Some(tcb) = self.tcb.take() else { return };
        let local = self.local(now);
        match tcb.freeze(local, &mut self.store) {
            Ok(frozen) => {
                assert!(self.store.is_released(), "the donor keeps bytes that nobody needs");
                let image = Image {
                    c: ConnId::new(1, 0, 7, 9),
                    base: Epoch(1),
                    epoch: Epoch(2),
                    tried: Epoch(2),
                    next_hop: MacAddr([2, 0, 0, 0, 0, 1]),
                    tcb: frozen,
                    cursor: Cursor::new(),
                    plan: Plan::default(),
                    resume: None,
                    served: Served::NOTHING,
                };
                self.arrive(now, &image.encode());
            }
            // Neither a half-open connection moves, nor one whose bytes cannot be read.
            Err((tcb, _)) => self.tcb = Some(*tcb),
        }
    }

    fn arrive(&mut self, now: Instant, image: &[u8]) {
        self.moved += 1;
        self.store = Store::default();
        // Any clock will do; none is the same as the one before.
        let random_ms = self.moved.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (1 << 32);
        self.origin_us = ORIGIN_LEAST_US + 1_000 * random_ms;
        let local = self.local(now);
        let image = Image::decode(image).unwrap_or_else(|error| panic!("an image of ours does not decode: {error}"));
        let tcb = Tcb::thaw(image.tcb, local, &self.config, &mut self.store);
        self.tcb = Some(tcb.unwrap_or_else(|error| panic!("a frozen connection does not thaw: {error}")));
    }

    /// What never goes back on the wire, also across moves.
    fn note(&mut self, at: Instant, bytes: &[u8]) {
        let Ok(segment) = Segment::parse(bytes) else { panic!("it sends what is no segment: {bytes:02x?}") };
        if segment.flags.has(Flags::RST) {
            return;
        }
        if !segment.flags.has(Flags::ACK) {
            // A SYN of ours: it promises nothing yet.
            return;
        }
        let Info { snd_scale, rcv_scale, .. } = self.tcb().info(at);
        let is_scaled = snd_scale.is_some() && !segment.flags.has(Flags::SYN);
        let shift = if is_scaled { rcv_scale } else { 0 };
        let edge = segment.ack + (u32::from(segment.window) << shift);
        let tsval = segment.options.timestamps.map(|ts| ts.val);
        if let Some(seen) = self.seen {
            assert!(seen.ack.le(segment.ack), "the acknowledgment goes back");
            // RFC 7323 section 2.4: less than one unit of the scaled window.
            assert!(seen.edge.le(edge + ((1 << shift) - 1)), "the right window edge goes back");
            let has_passed = |(old, new): (u32, u32)| SeqNum(old).le(SeqNum(new));
            assert!(seen.tsval.zip(tsval).is_none_or(has_passed), "TSval goes back");
            assert_eq!(seen.tsval.is_some(), tsval.is_some(), "timestamps come and go");
        }
        let edge = self.seen.map_or(edge, |seen| seen.edge.max(edge));
        self.seen = Some(Seen { ack: segment.ack, edge, tsval });
    }
}
