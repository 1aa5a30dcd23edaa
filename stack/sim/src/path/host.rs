//! A connection at the node that owns it now: the production TCB, content store and clock, and the way to another node.

use baton_backend::serve::{Body, BodyError, Coding, ContentStore, Ready, StoreLimits};
use baton_http1::{Advance, Cursor, Limits};
use baton_stack::addr::{ConnId, Flow, MacAddr};
use baton_stack::tcp::{Extent, Flags, Frozen, Place as Source, Segment, SeqNum, State, Tcb, TcpConfig, Written};
use baton_stack::time::{Duration, Instant, earliest};
use baton_stack::wire::Envelope;
use handoff_proto::image::{Image, Plan};
use handoff_proto::message::Served;
use handoff_proto::names::Epoch;

use crate::content;
use crate::frame::SimFrame;

/// Ages reach back this far at the most: no node is younger.
const ORIGIN_LEAST_US: u64 = 1_000_000_000_000;
/// Where our sequence numbers begin: they wrap soon.
pub(super) const ISS: SeqNum = SeqNum(u32::MAX - 100_000);

/// How a connection gets to its next node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Journey {
    /// Without any time, to a clock that differs by whole milliseconds, and nobody says that it has moved: what leaves is
    /// the same, at the same time, as if it had stayed.
    Exact,
    /// As between nodes: to any clock, in a time, in which client packets wait; losses are then found by time alone for a while.
    Real(Duration),
}

#[derive(Debug)]
enum Place {
    /// Nobody has called yet.
    Nowhere,
    Here(Box<Tcb>),
    /// On its way, until then. What comes for it waits.
    Between {
        image: Vec<u8>,
        until: Instant,
        journey: Journey,
        early: Vec<Vec<u8>>,
    },
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
pub(super) struct Host {
    config: TcpConfig,
    flow: Flow,
    place: Place,
    store: ContentStore,
    /// The node's clock at the world's beginning, in microseconds.
    origin_us: u64,
    /// The shift of the windows that we offer.
    scale: u8,
    seen: Option<Seen>,
    /// Bytes that were pushed so far.
    pushed: u64,
    /// What the peer said, as far as it was read.
    pub(super) heard: Vec<u8>,
    /// The paths of the requests among it, and where their reader stands: for peers that say requests.
    pub(super) heads: Vec<String>,
    pub(super) cursor: Cursor,
    pub(super) moved: u32,
    /// What came out of the last freeze.
    pub(super) carried: Option<Frozen>,
}

/// The bytes of a stream from `from` on.
#[derive(Debug)]
struct Piece {
    seed: u64,
    from: u64,
    len: u64,
}

impl Body for Piece {
    fn length(&self) -> Option<u64> {
        Some(self.len)
    }

    fn ready(&self) -> Ready {
        Ready { end: self.len, complete: true }
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
        content::fill(self.seed, self.from + offset, buf);
        Ok(())
    }
}

impl Host {
    /// A node at which a SYN of this flow opens a connection.
    pub(super) const fn listen(config: TcpConfig, flow: Flow) -> Self {
        Self {
            config,
            flow,
            place: Place::Nowhere,
            store: new_store(),
            origin_us: ORIGIN_LEAST_US,
            scale: 0,
            seen: None,
            pushed: 0,
            heard: Vec::new(),
            heads: Vec::new(),
            cursor: Cursor::new(),
            moved: 0,
            carried: None,
        }
    }

    /// The TCB, if a node has it now.
    pub(super) fn tcb(&self) -> Option<&Tcb> {
        match &self.place {
            Place::Here(tcb) => Some(tcb),
            Place::Nowhere | Place::Between { .. } => None,
        }
    }

    pub(super) fn tcb_mut(&mut self) -> Option<&mut Tcb> {
        match &mut self.place {
            Place::Here(tcb) => Some(tcb),
            Place::Nowhere | Place::Between { .. } => None,
        }
    }

    pub(super) fn state(&self) -> Option<State> {
        self.tcb().map(Tcb::state)
    }

    /// How many bytes of the stream were ever sent.
    pub(super) fn sent(&self) -> u64 {
        self.tcb().map_or(0, |tcb| self.pushed - tcb.unsent())
    }

    /// Whether a connection holds bytes in the store.
    pub(super) const fn is_store_empty(&self) -> bool {
        self.store.sources() == 0
    }

    /// Queues the next `len` bytes of the stream of `seed`.
    pub(super) fn push(&mut self, seed: u64, len: u64) {
        let piece = Piece { seed, from: self.pushed, len };
        let source = self.store.insert_body(Box::new(piece), Coding::Identity, false).unwrap();
        self.pushed += len;
        let extent = Extent { len, place: Source::Local { source, offset: 0 } };
        self.tcb_mut().unwrap().push(extent).unwrap();
    }

    /// Reads the next requests of the peer, `heads` at the most. They have no bodies.
    pub(super) fn read_heads(&mut self, heads: usize) {
        let Place::Here(tcb) = &mut self.place else { return };
        for _ in 0..heads {
            let len = match self.cursor.advance(tcb.unread(), &Limits::default()) {
                Ok(Advance::Head(head)) => {
                    self.heads.push(String::from(head.path));
                    head.len
                }
                Ok(Advance::Incomplete | Advance::Closed) => return,
                Ok(Advance::Body { .. } | Advance::End) | Err(_) => panic!("the peer says GET alone"),
            };
            self.heard.extend_from_slice(&tcb.unread()[..len]);
            tcb.consume(len);
            let end = self.cursor.advance(tcb.unread(), &Limits::default());
            assert_eq!(end, Ok(Advance::End), "behind a head without a body");
        }
    }

    /// Reads all that the peer has said.
    pub(super) fn read(&mut self) {
        let Place::Here(tcb) = &mut self.place else { return };
        self.heard.extend_from_slice(tcb.unread());
        tcb.consume(tcb.unread().len());
    }

    fn local(&self, now: Instant) -> Instant {
        now + Duration::from_micros(self.origin_us)
    }

    /// When there is something to do.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        match &self.place {
            Place::Nowhere => None,
            Place::Here(tcb) => {
                let at = tcb.poll_at()?;
                Some(Instant::from_micros(at.micros().saturating_sub(self.origin_us)))
            }
            Place::Between { until, .. } => earliest(None, Some(*until)),
        }
    }

    /// Takes a segment, from its header on.
    pub(super) fn handle_segment(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(segment) = Segment::parse(bytes) else { return };
        let local = self.local(now);
        match &mut self.place {
            Place::Nowhere => {
                // What is no SYN, or comes too late, opens nothing.
                let Ok(tcb) = Tcb::accept(local, &self.config, self.flow, ISS, 7, &segment) else { return };
                self.place = Place::Here(Box::new(tcb));
            }
            Place::Here(tcb) => {
                let _ = tcb.handle_segment(local, &segment, &mut self.store);
            }
            Place::Between { early, .. } => early.push(bytes.to_vec()),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Place::Between { until, .. } = &self.place {
            if *until <= now {
                self.arrive(now);
            }
            return;
        }
        let (local, is_due) = (self.local(now), self.poll_at().is_some_and(|at| at <= now));
        if let (Place::Here(tcb), true) = (&mut self.place, is_due) {
            let _ = tcb.handle_timeout(local, &mut self.store);
            assert!(self.poll_at().is_none_or(|at| at > now), "a timer runs out again at once");
        }
    }

    /// The next frame that may leave now.
    pub(super) fn poll_transmit(&mut self, now: Instant, envelope: &Envelope) -> Option<SimFrame> {
        let local = self.local(now);
        let Place::Here(tcb) = &mut self.place else { return None };
        tcb.check_stall(local);
        let mut frame = vec![0; envelope.frame_len(tcb.mtu())];
        let Written { len, ecn } = tcb.poll_transmit(local, &mut self.store, &mut frame[envelope.len()..]);
        if len == 0 {
            return None;
        }
        self.note(&frame[envelope.len()..envelope.len() + len]);
        let len = envelope.seal_tcp(&mut frame, len, ecn);
        Some(SimFrame::new(&frame[..len]))
    }

    /// Leaves this node for another, whose clock is chosen by `random`. False where nothing can move.
    pub(super) fn move_on(&mut self, now: Instant, journey: Journey, random: u64) -> bool {
        let local = self.local(now);
        let Place::Here(tcb) = std::mem::replace(&mut self.place, Place::Nowhere) else {
            panic!("nothing is here to be moved")
        };
        let frozen = match tcb.freeze(local, &mut self.store) {
            Ok(frozen) => frozen,
            Err((tcb, _)) => {
                self.place = Place::Here(tcb);
                return false;
            }
        };
        assert!(self.is_store_empty(), "the donor keeps bytes that nobody needs");
        self.carried = Some(frozen.clone());
        let image = image(frozen, self.cursor).encode();
        let random_us = random % (1 << 32);
        let (random_us, until) = match journey {
            Journey::Exact => (random_us / 1_000 * 1_000, now),
            Journey::Real(takes) => (random_us, now + takes),
        };
        self.origin_us = ORIGIN_LEAST_US + random_us;
        self.place = Place::Between { image, until, journey, early: Vec::new() };
        self.store = new_store();
        self.moved += 1;
        if until <= now {
            self.arrive(now);
        }
        true
    }

    fn arrive(&mut self, now: Instant) {
        let Place::Between { image, journey, early, .. } = std::mem::replace(&mut self.place, Place::Nowhere) else {
            return;
        };
        let local = self.local(now);
        let decoded = Image::decode(&image).unwrap_or_else(|error| panic!("our image does not decode: {error}"));
        assert_eq!(decoded.encode(), image, "an image is another when it is written again");
        let mut tcb = Tcb::thaw(decoded.tcb, local, &self.config, &mut self.store)
            .unwrap_or_else(|error| panic!("a frozen connection does not thaw: {error}"));
        if journey != Journey::Exact {
            tcb.note_move();
        }
        self.cursor = decoded.cursor;
        self.place = Place::Here(Box::new(tcb));
        for bytes in early {
            self.handle_segment(now, &bytes);
        }
    }

    /// What never goes back on the wire, also across moves.
    fn note(&mut self, bytes: &[u8]) {
        let segment = Segment::parse(bytes).unwrap();
        if segment.flags.has(Flags::RST) {
            return;
        }
        let is_syn = segment.flags.has(Flags::SYN);
        if is_syn {
            self.scale = segment.options.window_scale.unwrap_or(0);
        }
        let shift = if is_syn { 0 } else { self.scale };
        let edge = segment.ack + (u32::from(segment.window) << shift);
        let tsval = segment.options.timestamps.map(|ts| ts.val);
        if let Some(seen) = self.seen {
            assert!(seen.ack.le(segment.ack), "the acknowledgment goes back");
            // RFC 7323 section 2.4: less than one unit of the scaled window.
            assert!(seen.edge.le(edge + ((1 << shift) - 1)), "the right window edge goes back");
            let has_passed = |(old, new): (u32, u32)| SeqNum(old).le(SeqNum(new));
            assert!(seen.tsval.zip(tsval).is_none_or(has_passed), "TSval goes back");
        }
        let edge = self.seen.map_or(edge, |seen| seen.edge.max(edge));
        self.seen = Some(Seen { ack: segment.ack, edge, tsval });
    }
}

const fn new_store() -> ContentStore {
    ContentStore::new(StoreLimits { sources_max: 4_096, bytes_max: 64 << 20, pieces_max: 0 })
}

/// An image of a connection, with the rest as any.
pub(super) fn image(tcb: Frozen, cursor: Cursor) -> Image {
    Image {
        c: ConnId::new(1, 0, 7, 9),
        base: Epoch(1),
        epoch: Epoch(2),
        tried: Epoch(2),
        next_hop: MacAddr([2, 0, 0, 0, 0, 1]),
        tcb,
        cursor,
        plan: Plan::default(),
        resume: None,
        served: Served::NOTHING,
    }
}
