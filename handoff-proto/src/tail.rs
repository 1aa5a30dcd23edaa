//! Tails: what this node sent on connections that it has given away, and the client had not acknowledged then. The bytes stay where
//! they were, in the node's content store; what is here says which they are, and for whom.
//!
//! ```text
//!   given away --keep--> kept --FETCH--> TAIL pieces, TAIL-GONE for what is not there
//!                          |---RELEASE up to--> the rest is kept; RELEASED
//!                          |---push: the node drains or stops, or has little room--> TAIL, unasked, until it is released
//!                          |---no word from an owner for TAIL_QUIET, or a node has died--> TAIL-KEPT to the front-end: is it over?
//!                          \---taken (the connection is back), or discarded (it has ended: OVER, or a new generation)--> nothing
//! ```
//! One per front-end: epochs and node ids are the front-end's. No time ends a tail: as long as the front-end has the connection, an
//! owner may want the bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use baton_stack::addr::ConnId;
use baton_stack::drop::DropReason;
use baton_stack::tcp::{Content, Kept, Place};
use baton_stack::time::{Duration, Instant};

use crate::message::{Fetch, Outbox, Release, Released, Tail as TailMessage, TailGone, TailKept};
use crate::names::{Epoch, NodeId};
use crate::retry::Retry;

/// How long no owner says anything of a tail before the front-end is asked whether the connection has ended. A living owner says
/// RELEASE at least every [`RELEASE_KEEP`](crate::release::RELEASE_KEEP).
pub const TAIL_QUIET: Duration = Duration::from_secs(45);
/// The wait before that question is repeated first.
pub const KEPT_RETRY: Duration = Duration::from_secs(1);
/// The longest wait between two of them. They go on until the tail is released or the connection over: what is heard meanwhile may
/// be old.
pub const KEPT_RETRY_MAX: Duration = TAIL_QUIET;
/// How many bytes one TAIL has at the most: it fits every datagram.
pub const TAIL_PIECE_BYTES: usize = 1_024;
/// How many bytes of a tail are pushed before the owner has released some.
pub const PUSH_BYTES: u64 = 16 << 10;
/// The wait before a push is repeated first.
pub const PUSH_RETRY: Duration = Duration::from_millis(20);
/// The longest wait between two pushes.
pub const PUSH_RETRY_MAX: Duration = Duration::from_millis(500);

/// How much is kept. Above it the bytes travel in the image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TailLimits {
    /// Bytes of all tails.
    pub bytes: u64,
    /// Extents of all tails.
    pub extents: usize,
}

impl Default for TailLimits {
    fn default() -> Self {
        Self { bytes: 256 << 20, extents: 1 << 16 }
    }
}

/// What tails were used for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct TailCounts {
    /// Tails that were kept.
    pub kept: u64,
    /// Bytes sent because they were asked for.
    pub fetched_bytes: u64,
    /// Bytes sent unasked.
    pub pushed_bytes: u64,
    /// Questions that could not be answered, or not whole.
    pub gone: u64,
    /// Questions to the front-end whether a connection has ended.
    pub asked: u64,
}

impl TailCounts {
    /// Adds those of another time or place.
    pub const fn add(&mut self, other: Self) {
        let Self { kept, fetched_bytes, pushed_bytes, gone, asked } = other;
        self.kept += kept;
        self.fetched_bytes += fetched_bytes;
        self.pushed_bytes += pushed_bytes;
        self.gone += gone;
        self.asked += asked;
    }
}

/// All tails of one front-end's connections.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TailStore {
    limits: TailLimits,
    by_connection: BTreeMap<ConnId, Tail>,
    due: BTreeSet<(Instant, ConnId)>,
    bytes: u64,
    extents: usize,
    is_pushing: bool,
    counts: TailCounts,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Tail {
    kept: VecDeque<Kept>,
    /// The epoch under which the connection was given away: what is said under a lower one is of another time.
    given: Epoch,
    /// The latest owner that is known.
    owner: (Epoch, NodeId),
    /// When the front-end is asked whether the connection has ended.
    ask: Retry,
    push: Option<Retry>,
}

impl Tail {
    fn due(&self) -> Instant {
        self.push.map_or(self.ask.at, |push| push.at.min(self.ask.at))
    }

    fn hear(&mut self, now: Instant, e: Epoch, from: NodeId) {
        if self.ask.tries == 0 {
            self.ask = Retry::new(now, TAIL_QUIET);
        }
        if e >= self.owner.0 {
            self.owner = (e, from);
        }
    }
}

impl TailStore {
    /// Without any.
    #[must_use]
    pub fn new(limits: TailLimits) -> Self {
        Self {
            limits,
            by_connection: BTreeMap::new(),
            due: BTreeSet::new(),
            bytes: 0,
            extents: 0,
            is_pushing: false,
            counts: TailCounts::default(),
        }
    }

    /// Whether a tail of so many bytes in so many extents can be kept.
    #[must_use]
    pub fn has_room(&self, bytes: u64, extents: usize) -> bool {
        bytes <= self.limits.bytes.saturating_sub(self.bytes)
            && extents <= self.limits.extents.saturating_sub(self.extents)
    }

    /// Keeps what was sent on a connection that goes to `to` under `e2`; before, [`Self::has_room`] said that there is room. False if
    /// that is nothing.
    pub fn keep(
        &mut self,
        now: Instant,
        (c, e2, to): (ConnId, Epoch, NodeId),
        kept: Vec<Kept>,
        content: &mut impl Content,
    ) -> bool {
        self.discard(c, content);
        if kept.is_empty() {
            return false;
        }
        self.bytes += kept.iter().map(|kept| kept.extent.len).sum::<u64>();
        self.extents += kept.len();
        self.counts.kept += 1;
        let push = self.is_pushing.then(|| Retry::new(now, PUSH_RETRY));
        let ask = Retry::new(now, TAIL_QUIET);
        let tail = Tail { kept: kept.into(), given: e2, owner: (e2, to), ask, push };
        self.due.insert((tail.due(), c));
        self.by_connection.insert(c, tail);
        true
    }

    /// Takes a tail out: the connection is back. Nothing is given back to the content store.
    pub fn take(&mut self, c: ConnId) -> Vec<Kept> {
        let Some(tail) = self.by_connection.remove(&c) else { return Vec::new() };
        self.due.remove(&(tail.due(), c));
        self.bytes -= tail.kept.iter().map(|kept| kept.extent.len).sum::<u64>();
        self.extents -= tail.kept.len();
        tail.kept.into()
    }

    /// Gives a tail up: the connection has ended.
    pub fn discard(&mut self, c: ConnId, content: &mut impl Content) {
        for kept in self.take(c) {
            give_back(&kept, kept.extent.len, content);
        }
    }

    /// The node has a new generation: everything of the old one goes.
    pub fn clear(&mut self, content: &mut impl Content) {
        while let Some((&c, _)) = self.by_connection.first_key_value() {
            self.discard(c, content);
        }
    }

    /// An owner needs bytes.
    ///
    /// # Errors
    /// The question is of an earlier owner.
    pub fn handle_fetch(
        &mut self,
        now: Instant,
        from: NodeId,
        fetch: &Fetch,
        content: &mut impl Content,
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let Fetch { c, e, start, len } = *fetch;
        let end = start.saturating_add(len.into());
        let mut at = start;
        let gone = |start: u64, end: u64| TailGone { c, e, start, len: u32::try_from(end - start).unwrap_or(u32::MAX) };
        if let Some(tail) = self.by_connection.get_mut(&c) {
            if e < tail.given {
                return Err(DropReason::MessageStale);
            }
            let before = tail.due();
            tail.hear(now, e, from);
            let due = tail.due();
            for piece in pieces(&tail.kept, start, end) {
                if at < piece.start {
                    self.counts.gone += 1;
                    out.send(from, &gone(at, piece.start).into());
                }
                at = piece.start + piece.extent.len;
                if send_piece(c, (e, from), &piece, content, out) {
                    self.counts.fetched_bytes += piece.extent.len;
                } else {
                    self.counts.gone += 1;
                    out.send(from, &gone(piece.start, at).into());
                }
            }
            self.reschedule(c, before, due);
        }
        if at < end {
            self.counts.gone += 1;
            out.send(from, &gone(at, end).into());
        }
        Ok(())
    }

    /// An owner does not need the first bytes any more. What is not here is discarded already, and so is said.
    pub fn handle_release(
        &mut self,
        now: Instant,
        from: NodeId,
        release: &Release,
        content: &mut impl Content,
        out: &mut impl Outbox,
    ) {
        let Release { c, e, up_to } = *release;
        out.send(from, &Released { c, e, up_to }.into());
        let Some(tail) = self.by_connection.get_mut(&c).filter(|tail| tail.given <= e) else { return };
        let before = tail.due();
        tail.hear(now, e, from);
        let mut is_news = false;
        while let Some(first) = tail.kept.front_mut()
            && first.start < up_to
        {
            is_news = true;
            let n = (up_to - first.start).min(first.extent.len);
            give_back(first, n, content);
            self.bytes -= n;
            *first = Kept { start: first.start + n, extent: first.extent.without_first(n) };
            if first.extent.len == 0 {
                tail.kept.pop_front();
                self.extents -= 1;
            }
        }
        if is_news && tail.push.is_some() {
            tail.push = Some(Retry::new(now, Duration::ZERO));
        }
        let due = tail.due();
        if tail.kept.is_empty() {
            self.due.remove(&(before, c));
            self.by_connection.remove(&c);
        } else {
            self.reschedule(c, before, due);
        }
    }

    /// A node's life is over. It may have owned any connection that went from here: what the front-end has reset, it says when asked.
    pub fn handle_node_down(&mut self, now: Instant) {
        self.due.clear();
        for (&c, tail) in &mut self.by_connection {
            tail.ask = Retry { at: now, tries: 1 };
            self.due.insert((tail.due(), c));
        }
    }

    /// Whether there is little room left; once tails are pushed because of it, until half is free.
    #[must_use]
    pub const fn is_tight(&self) -> bool {
        let most = if self.is_pushing { self.limits.bytes / 2 } else { self.limits.bytes / 4 * 3 };
        self.bytes > most
    }

    /// Whether every tail is pushed to its owner, unasked: the node drains, stops, or has little room.
    pub fn set_pushing(&mut self, now: Instant, is_pushing: bool) {
        if self.is_pushing == is_pushing {
            return;
        }
        self.is_pushing = is_pushing;
        self.due.clear();
        for (&c, tail) in &mut self.by_connection {
            tail.push = is_pushing.then(|| Retry::new(now, Duration::ZERO));
            self.due.insert((tail.due(), c));
        }
    }

    /// Pushes what is due, and asks about connections that nothing is heard of. Not to be called without a lease (R13).
    pub fn handle_timeout(&mut self, now: Instant, content: &mut impl Content, out: &mut impl Outbox) {
        while let Some((at, c)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, c));
            let Some(tail) = self.by_connection.get_mut(&c) else { continue };
            if tail.ask.is_due(now) {
                tail.ask.again(now, KEPT_RETRY, KEPT_RETRY_MAX);
                self.counts.asked += 1;
                out.send(NodeId::FRONT_END, &TailKept { c }.into());
            }
            if let Some(push) = tail.push.as_mut().filter(|push| push.is_due(now)) {
                push.again(now, PUSH_RETRY, PUSH_RETRY_MAX);
                let start = tail.kept.front().map_or(0, |first| first.start);
                for piece in pieces(&tail.kept, start, start + PUSH_BYTES) {
                    if send_piece(c, tail.owner, &piece, content, out) {
                        self.counts.pushed_bytes += piece.extent.len;
                    }
                }
            }
            self.due.insert((tail.due(), c));
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Bytes that are kept.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many tails there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_connection.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }

    /// What they were used for, since this was asked last.
    pub fn take_counts(&mut self) -> TailCounts {
        core::mem::take(&mut self.counts)
    }

    fn reschedule(&mut self, c: ConnId, before: Instant, due: Instant) {
        if before != due {
            self.due.remove(&(before, c));
            self.due.insert((due, c));
        }
    }
}

/// The first `n` bytes of an extent are needed no more.
fn give_back(kept: &Kept, n: u64, content: &mut impl Content) {
    if let Place::Local { source, offset } = kept.extent.place {
        content.release(source, offset + n);
    }
}

/// What is kept of the bytes from place `start` to `end`, none longer than a TAIL.
fn pieces(kept: &VecDeque<Kept>, start: u64, end: u64) -> impl Iterator<Item = Kept> {
    let most = TAIL_PIECE_BYTES as u64;
    kept.iter().flat_map(move |kept| {
        let (from, to) = (kept.start.max(start), (kept.start + kept.extent.len).min(end));
        let count = to.saturating_sub(from).div_ceil(most);
        (0..count).map(move |n| {
            let from = from + n * most;
            let extent = kept.extent.without_first(from - kept.start).first(most.min(to - from));
            Kept { start: from, extent }
        })
    })
}

/// False if the bytes cannot be read.
fn send_piece(
    c: ConnId,
    (e, to): (Epoch, NodeId),
    piece: &Kept,
    content: &mut impl Content,
    out: &mut impl Outbox,
) -> bool {
    let mut buf = [0; TAIL_PIECE_BYTES];
    let len = usize::try_from(piece.extent.len).unwrap_or(usize::MAX);
    let (Some(buf), Place::Local { source, offset }) = (buf.get_mut(..len), piece.extent.place) else { return false };
    if content.read(source, offset, buf).is_err() {
        return false;
    }
    out.send(to, &TailMessage { c, e, start: piece.start, bytes: buf }.into());
    true
}
