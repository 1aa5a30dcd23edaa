//! A connection on a node: its clock, its store, and the moves to other nodes.

use std::vec::Vec;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::store::Store;
use crate::addr::{Endpoint, Flow, IpAddr};
use crate::drop::DropReason;
use crate::tcp::input::CHALLENGE_PERIOD;
use crate::tcp::{
    Content, Flags, Frozen, Kept, Outcome, Place, RUNS_MAX, Remote, SACKED_RANGES_MAX, Scoreboard, Segment, SeqNum,
    State, Tcb, TcpConfig,
};
use crate::time::{Duration, Instant};

/// Ages reach back this far at the most: no clock is younger.
const ORIGIN_LEAST_US: u64 = 1_000_000_000_000;

pub(super) fn flow() -> Flow {
    let end = |addr: [u8; 4], port| Endpoint { addr: IpAddr::from(addr), port };
    Flow { client: end([10, 0, 0, 1], 40_000), vip: end([10, 0, 0, 2], 80) }
}

/// When the connection moves to another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moves {
    Never,
    /// Before each step at which nothing is pending that a move resets: a D-SACK block, and the count of challenge
    /// ACKs in the current second. Clocks differ by whole milliseconds, so that TSval ticks at the same times.
    WhereExact,
    /// Before each step, to clocks that differ by any number of microseconds.
    Always,
    /// As above, between three nodes; what is to be sent stays behind, and comes when it is wanted, mostly at once.
    Leaving,
}

/// One of three nodes, while the connection is elsewhere.
#[derive(Debug, Default)]
struct Away {
    store: Store,
    kept: Vec<Kept>,
}

impl Away {
    /// Bytes that it keeps.
    fn read(&mut self, remote: Remote) -> Vec<u8> {
        let mut bytes = Vec::new();
        let end = remote.start + remote.len;
        for Kept { start, extent } in &self.kept {
            let Place::Local { source, offset } = extent.place else { panic!("remote") };
            let (from, to) = ((*start).max(remote.start), (start + extent.len).min(end));
            if from < to {
                let mut piece = std::vec![0; usize::try_from(to - from).unwrap()];
                self.store.read(source, offset + (from - start), &mut piece).unwrap();
                bytes.extend(piece);
            }
        }
        assert_eq!(bytes.len() as u64, remote.len, "{remote:?} is not kept");
        bytes
    }

    /// Nothing that it keeps is needed any more.
    fn let_go(&mut self) {
        for Kept { extent, .. } in self.kept.drain(..) {
            let Place::Local { source, offset } = extent.place else { panic!("remote") };
            self.store.release(source, offset + extent.len);
        }
        assert!(self.store.is_released(), "it kept more than it knew");
    }
}

/// What may never go back, seen from the wire.
#[derive(Clone, Copy, Debug)]
struct Seen {
    ack: SeqNum,
    edge: SeqNum,
    tsval: Option<u32>,
}

/// A connection, where it is now.
#[derive(Debug)]
pub(super) struct Host {
    /// `None` only during a move.
    tcb: Option<Tcb>,
    pub store: Store,
    pub config: TcpConfig,
    moves: Moves,
    pub moved: usize,
    /// The node's clock at the world's beginning, in microseconds.
    origin_us: u64,
    rng: ChaCha8Rng,
    seen: Option<Seen>,
    /// What has left and nobody has taken yet, with its time.
    pub out: Vec<(Instant, Vec<u8>)>,
    /// Which of the three nodes it is at, and what the others keep.
    here: u16,
    away: [Away; 3],
}

impl Host {
    /// Answers `syn`; times are the world's from here on.
    pub(super) fn accept(
        now: Instant,
        config: &TcpConfig,
        moves: Moves,
        (isn, ts_offset): (SeqNum, u32),
        syn: &Segment<'_>,
    ) -> Result<Self, DropReason> {
        let local = Instant::from_micros(now.micros() + ORIGIN_LEAST_US);
        // The node's own clock shows in no TSval.
        let offset = ts_offset.wrapping_sub(u32::try_from(ORIGIN_LEAST_US / 1_000 % (1 << 32)).unwrap());
        let tcb = Tcb::accept(local, config, flow(), isn, offset, syn)?;
        let mut host = Self {
            tcb: Some(tcb),
            store: Store::default(),
            config: *config,
            moves,
            moved: 0,
            origin_us: ORIGIN_LEAST_US,
            rng: ChaCha8Rng::seed_from_u64(7),
            seen: None,
            out: Vec::new(),
            here: 0,
            away: Default::default(),
        };
        host.transmit(now);
        Ok(host)
    }

    /// A host with a connection that came from elsewhere.
    pub(super) fn adopt(tcb: Tcb, store: Store, config: &TcpConfig) -> Self {
        let mut host = Self {
            tcb: Some(tcb),
            store,
            config: *config,
            moves: Moves::Never,
            moved: 0,
            origin_us: ORIGIN_LEAST_US,
            rng: ChaCha8Rng::seed_from_u64(7),
            seen: None,
            out: Vec::new(),
            here: 0,
            away: Default::default(),
        };
        host.check();
        host.transmit(Instant::ZERO);
        host
    }

    pub(super) fn tcb(&self) -> &Tcb {
        self.tcb.as_ref().unwrap()
    }

    /// The same, to be changed; [`Host::transmit`] afterwards.
    pub(super) fn tcb_mut(&mut self) -> &mut Tcb {
        self.tcb.as_mut().unwrap()
    }

    pub(super) fn local(&self, now: Instant) -> Instant {
        now + Duration::from_micros(self.origin_us)
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        let at = self.tcb().poll_at()?;
        Some(Instant::from_micros(at.micros().saturating_sub(self.origin_us)))
    }

    pub(super) fn handle_segment(&mut self, now: Instant, segment: &Segment<'_>) -> Result<Outcome, DropReason> {
        let outcome = self.take_segment(now, segment);
        self.transmit(now);
        outcome
    }

    /// A segment behind which others come in the same burst: nothing is sent before those have been seen.
    pub(super) fn take_segment(&mut self, now: Instant, segment: &Segment<'_>) -> Result<Outcome, DropReason> {
        self.step(now);
        let local = self.local(now);
        let tcb = self.tcb.as_mut().unwrap();
        let outcome = tcb.handle_segment(local, segment, &mut self.store);
        // There is memory enough.
        if let Some(wanted) = tcb.wanted_window() {
            tcb.grant_window(wanted);
        }
        self.check();
        outcome
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Outcome {
        self.step(now);
        let local = self.local(now);
        let outcome = self.tcb.as_mut().unwrap().handle_timeout(local, &mut self.store);
        self.check();
        self.transmit(now);
        assert!(self.poll_at().is_none_or(|at| at > now), "a timer runs out again at once");
        outcome
    }

    pub(super) fn push(&mut self, now: Instant, bytes: &[u8]) {
        self.step(now);
        let extent = self.store.extent(3, bytes);
        self.store.release_before(extent);
        self.tcb_mut().push(extent).unwrap();
        self.transmit(now);
    }

    pub(super) fn consume(&mut self, now: Instant, n: usize) -> Vec<u8> {
        self.step(now);
        let bytes = self.tcb().unread()[..n].to_vec();
        self.tcb_mut().consume(n);
        self.transmit(now);
        bytes
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.step(now);
        self.tcb_mut().close();
        self.transmit(now);
    }

    /// Lets everything out that may leave.
    pub(super) fn transmit(&mut self, now: Instant) {
        let mut buf = std::vec![0; usize::from(self.config.mtu)];
        let local = self.local(now);
        self.tcb_mut().check_stall(local);
        for left in (0..100_000).rev() {
            assert!(left > 0, "it never stops sending");
            self.step(now);
            let local = self.local(now);
            let wants = self.tcb().wants_transmit(local);
            let written = self.tcb.as_mut().unwrap().poll_transmit(local, &mut self.store, &mut buf);
            let len = written.len;
            self.check();
            assert_eq!(wants, len > 0, "wants_transmit() and poll_transmit() disagree");
            if len == 0 {
                break;
            }
            self.note(&buf[..len]);
            self.out.push((now, buf[..len].to_vec()));
        }
        let local = self.local(now);
        self.tcb_mut().check_stall(local);
    }

    /// Between two events: moves on, if it is time.
    fn step(&mut self, now: Instant) {
        let local = self.local(now);
        let tcb = self.tcb();
        let is_pending =
            tcb.dsack.is_some() || tcb.challenges.1 > 0 && local.since(tcb.challenges.0) < CHALLENGE_PERIOD;
        match self.moves {
            Moves::Never => return,
            Moves::WhereExact if is_pending => return,
            Moves::WhereExact | Moves::Always | Moves::Leaving => {}
        }
        if !tcb.is_synchronized() || self.store.broken {
            return;
        }
        if self.moves == Moves::Leaving {
            self.leave(now);
            self.fetch(now);
        } else {
            self.move_on(now);
        }
    }

    /// Goes on at another node, or the same again; this one keeps what is to be sent.
    fn leave(&mut self, now: Instant) {
        self.moved += 1;
        let local = self.local(now);
        let (frozen, kept) = self.tcb.take().unwrap().freeze_leaving(local, self.here).unwrap();
        self.away[usize::from(self.here)] = Away { store: std::mem::take(&mut self.store), kept };
        let [there, ..] = self.rng.next_u32().to_be_bytes();
        self.here = u16::from(there % 3);
        self.origin_us = ORIGIN_LEAST_US + u64::from(self.rng.next_u32());
        let Away { store, kept } = std::mem::take(&mut self.away[usize::from(self.here)]);
        self.store = store;
        let local = self.local(now);
        let mut tcb = Tcb::thaw(frozen, local, &self.config, &mut self.store).unwrap();
        tcb.reclaim(local, self.here, &kept, &mut self.store).unwrap();
        assert!(tcb.remotes().all(|remote| remote.holder != self.here), "it keeps what it has");
        self.tcb = Some(tcb);
        self.check();
    }

    /// Gets what is wanted, three times out of four, and tells who keeps what nobody needs.
    fn fetch(&mut self, now: Instant) {
        let local = self.local(now);
        let tcb = self.tcb.as_mut().unwrap();
        if !self.rng.next_u32().is_multiple_of(4) {
            for remote in tcb.wanted().collect::<Vec<_>>() {
                let bytes = self.away[usize::from(remote.holder)].read(remote);
                let taken = tcb.supply(local, remote.start, &bytes, &mut self.store).unwrap();
                assert!(taken == remote.len || taken == 0, "a lost segment and the probe's may be the same");
            }
            assert_eq!(tcb.wanted().count(), 0);
        }
        for (holder, away) in (0..).zip(&mut self.away) {
            if !tcb.remotes().any(|remote| remote.holder == holder) {
                away.let_go();
            }
        }
        self.check();
    }

    /// Ends this node's part.
    pub(super) fn freeze(&mut self, now: Instant) -> Frozen {
        let local = self.local(now);
        self.tcb.take().unwrap().freeze(local, &mut self.store).unwrap()
    }

    /// Goes on at another node.
    pub(super) fn move_on(&mut self, now: Instant) {
        self.moved += 1;
        let frozen = self.freeze(now);
        assert!(self.store.is_released(), "the donor keeps nothing");
        self.store = Store::default();
        let random = u64::from(self.rng.next_u32());
        let micros = if self.moves == Moves::Always { random } else { random / 1_000 * 1_000 };
        self.origin_us = ORIGIN_LEAST_US + micros;
        let local = self.local(now);
        self.tcb = Some(Tcb::thaw(frozen, local, &self.config, &mut self.store).unwrap());
        self.check();
    }

    /// What always holds.
    fn check(&self) {
        let tcb = self.tcb();
        check_invariants(tcb);
    }

    /// What never goes back on the wire, also across moves.
    fn note(&mut self, bytes: &[u8]) {
        let segment = Segment::parse(bytes).unwrap();
        if segment.flags.has(Flags::RST) {
            return;
        }
        let is_syn = segment.flags.has(Flags::SYN);
        let opts = self.tcb().opts;
        let shift = if is_syn || opts.snd_scale.is_none() { 0 } else { opts.rcv_scale };
        let edge = segment.ack + (u32::from(segment.window) << shift);
        let tsval = segment.options.timestamps.map(|ts| ts.val);
        if let Some(seen) = self.seen {
            assert!(seen.ack.le(segment.ack), "the acknowledgment goes back");
            // RFC 7323 section 2.4: less than one unit of the scaled window.
            assert!(seen.edge.le(edge + ((1 << shift) - 1)), "the right window edge goes back");
            assert!(seen.tsval.is_none_or(|old| SeqNum(old).le(SeqNum(tsval.unwrap()))), "TSval goes back");
        }
        let edge = self.seen.map_or(edge, |seen| seen.edge.max(edge));
        self.seen = Some(Seen { ack: segment.ack, edge, tsval });
        assert!(edge.le(self.tcb().rcv.edge), "a window is promised that is not kept");
        assert!(tsval.is_none_or(|val| Some(val) == self.tcb().last_tsval()), "the last TSval is not known");
    }
}

/// What holds for each TCB after each event.
pub(super) fn check_invariants(tcb: &Tcb) {
    let (snd, rec) = (&tcb.snd, &tcb.rec);
    assert!(snd.una.le(snd.nxt), "SND.UNA {:?} is above SND.NXT {:?}", snd.una, snd.nxt);
    if tcb.state() == State::Closed {
        assert_eq!(tcb.poll_at(), None);
        return;
    }
    let in_flight = tcb.unacknowledged();
    if tcb.is_synchronized() {
        assert!(u64::from(in_flight) <= snd.queue.bytes() + u64::from(snd.fin), "more in flight than was queued");
        assert!(in_flight == 0 || tcb.timers.retransmit.is_some(), "data in flight and no timer");
        let is_between = |seq: SeqNum| snd.una.le(seq) && seq.le(snd.nxt);
        assert_eq!((rec.sent.start(), rec.sent.end()), (snd.una, snd.nxt), "the scoreboard is of something else");
        assert!(tcb.timed.is_none_or(|(seq, _)| is_between(seq)), "timed is what is not in flight");
    }
    let mut end = rec.sent.start();
    for run in rec.sent.runs() {
        assert!(end.lt(run.end) && !(run.sacked && run.lost), "the scoreboard is out of order");
        end = run.end;
    }
    let recounted = Scoreboard::of(rec.sent.start(), rec.sent.runs().copied());
    assert_eq!((recounted.sacked(), recounted.lost()), (rec.sent.sacked(), rec.sent.lost()), "miscounted");
    assert!(rec.sent.runs().count() <= RUNS_MAX && rec.sent.ranges().count() <= SACKED_RANGES_MAX);
    assert!(rec.sent.lost() == 0 || !rec.is_open(), "lost, and nobody cares");
    let rcv = &tcb.rcv;
    assert!(rcv.nxt.le(rcv.edge), "RCV.NXT is above the window's edge");
    let mut end = rcv.nxt;
    for (seq, bytes) in &rcv.out_of_order {
        assert!(end.lt(*seq) && !bytes.is_empty(), "out-of-order ranges touch");
        end = *seq + u32::try_from(bytes.len()).unwrap();
        assert!(end.le(rcv.edge), "out-of-order bytes above the window's edge");
        assert!(rcv.fin.is_none_or(|fin| end.le(fin)), "bytes behind FIN");
    }
    assert!(tcb.cc.cwnd > 0 && tcb.cc.ssthresh > 0);
}
