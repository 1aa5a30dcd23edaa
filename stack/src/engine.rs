//! The connections that a node owns: their timers, and fair turns at sending.
//!
//! A node finds a connection in its own tables, hands the engine a segment or changes the connection's application
//! state, and the engine keeps the rest in order: one deadline per connection in the timing wheel, and one queue of
//! those that have something to send.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use slab::Slab;

use crate::drop::DropReason;
use crate::node::{PortId, Transmit};
use crate::tcp::{Content, Outcome, Segment, Tcb, TooBig, Written};
use crate::time::{Instant, earliest};
use crate::wheel::Wheel;
use crate::wire::Envelope;

/// Segments that one connection may send before the next has its turn.
const SEGMENTS_PER_TURN: usize = 16;

/// A connection in its engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnKey(u32);

/// A connection that this node owns.
#[derive(Clone, Debug)]
pub struct Conn<A> {
    /// The connection itself.
    pub tcb: Tcb,
    /// What the node knows of it.
    pub app: A,
    /// The port it sends on.
    pub port: PortId,
    /// What goes around its segments.
    pub envelope: Envelope,
    queued: bool,
    /// Its timers stand still, and it sends nothing.
    suspended: bool,
    /// How much of the memory for windows it has.
    window_bytes: u32,
}

/// The engine holds as many connections as its limit allows; the refused connection comes back.
#[derive(Debug)]
pub struct EngineFull<A>(pub Tcb, pub A);

/// Connections with application state `A`.
#[derive(Clone, Debug)]
pub struct Engine<A> {
    conns: Slab<Conn<A>>,
    wheel: Wheel,
    ready: VecDeque<ConnKey>,
    limit: usize,
    windows: Windows,
}

/// Receive windows that have grown: bytes that peers may send beyond what each connection begins with.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Windows {
    /// Granted now, to all connections together.
    pub bytes: u64,
    /// As much at the most.
    pub bytes_max: u64,
    /// How often a connection has got less than it could have used.
    pub refused: u64,
}

impl Windows {
    /// Takes as much of `wanted` as there is.
    fn take(&mut self, wanted: u32) -> u32 {
        let room = u32::try_from(self.bytes_max.saturating_sub(self.bytes)).unwrap_or(u32::MAX);
        let taken = wanted.min(room);
        self.bytes += u64::from(taken);
        self.refused += u64::from(taken < wanted);
        taken
    }
}

impl<A> Engine<A> {
    /// An engine for at most `limit` connections, whose receive windows may grow by `window_bytes_max` bytes in all.
    #[must_use]
    pub fn new(limit: usize, window_bytes_max: u64, now: Instant) -> Self {
        let windows = Windows { bytes_max: window_bytes_max, ..Windows::default() };
        Self { conns: Slab::new(), wheel: Wheel::new(now), ready: VecDeque::new(), limit, windows }
    }

    /// What receive windows have grown by.
    #[must_use]
    pub const fn windows(&self) -> Windows {
        self.windows
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// Takes a connection in.
    ///
    /// # Errors
    /// [`EngineFull`] at the limit.
    #[expect(clippy::result_large_err, reason = "the refused connection comes back whole, and seldom")]
    pub fn insert(
        &mut self,
        now: Instant,
        mut tcb: Tcb,
        app: A,
        port: PortId,
        envelope: Envelope,
    ) -> Result<ConnKey, EngineFull<A>> {
        let free = if self.conns.len() < self.limit { u32::try_from(self.conns.vacant_key()).ok() } else { None };
        let Some(key) = free.map(ConnKey) else { return Err(EngineFull(tcb, app)) };
        // One that comes from another node may have grown there.
        let window_bytes = self.windows.take(tcb.grown_window());
        tcb.limit_window(window_bytes);
        self.conns.insert(Conn { tcb, app, port, envelope, queued: false, suspended: false, window_bytes });
        self.settle(key, now);
        Ok(key)
    }

    /// Gives a connection up. Nothing of it is sent any more.
    pub fn remove(&mut self, key: ConnKey) -> Option<Conn<A>> {
        self.wheel.set(key.0, None);
        let conn = self.conns.try_remove(key.index())?;
        self.windows.bytes -= u64::from(conn.window_bytes);
        if conn.queued {
            self.ready.retain(|&queued| queued != key);
        }
        Some(conn)
    }

    /// A connection.
    #[must_use]
    pub fn get(&self, key: ConnKey) -> Option<&Conn<A>> {
        self.conns.get(key.index())
    }

    /// A connection, to be changed; call [`Engine::settle`] afterwards if its TCB was.
    pub fn get_mut(&mut self, key: ConnKey) -> Option<&mut Conn<A>> {
        self.conns.get_mut(key.index())
    }

    /// Every connection.
    pub fn iter(&self) -> impl Iterator<Item = (ConnKey, &Conn<A>)> {
        self.conns.iter().filter_map(|(index, conn)| Some((ConnKey(u32::try_from(index).ok()?), conn)))
    }

    /// How many places the table has, taken or free. A connection keeps its place for as long as it is here.
    #[must_use]
    pub fn places(&self) -> usize {
        self.conns.capacity()
    }

    /// The connection at a place, counted from 0.
    #[must_use]
    pub fn at_place(&self, place: usize) -> Option<&Conn<A>> {
        self.conns.get(place)
    }

    /// Hands a segment to its connection.
    ///
    /// # Errors
    /// Why the segment was dropped. The connection may owe an answer all the same.
    pub fn handle_segment<C: Content>(
        &mut self,
        key: ConnKey,
        now: Instant,
        segment: &Segment<'_>,
        content: &mut C,
    ) -> Result<Outcome, DropReason> {
        let conn = self.conns.get_mut(key.index()).ok_or(DropReason::UnknownFlow)?;
        let outcome = conn.tcb.handle_segment(now, segment, content);
        self.settle(key, now);
        outcome
    }

    /// Tells a connection that a packet of it was too big for its path.
    ///
    /// # Errors
    /// It is not believed.
    pub fn handle_too_big(&mut self, key: ConnKey, now: Instant, told: &TooBig) -> Result<(), DropReason> {
        let conn = self.conns.get_mut(key.index()).ok_or(DropReason::UnknownFlow)?;
        let result = conn.tcb.handle_too_big(now, told);
        self.settle(key, now);
        result
    }

    /// Lets one connection whose timer has run out act on it. Call until it yields `None`.
    pub fn handle_timeout<C: Content>(&mut self, now: Instant, content: &mut C) -> Option<(ConnKey, Outcome)> {
        loop {
            let key = ConnKey(self.wheel.pop_due(now)?);
            // The wheel may call early or after the TCB has moved its own deadline.
            let Some(conn) = self.conns.get_mut(key.index()) else { continue };
            let outcome = conn.tcb.handle_timeout(now, content);
            self.settle(key, now);
            return Some((key, outcome));
        }
    }

    /// Brings deadline and send queue in order after the TCB was changed from outside.
    pub fn settle(&mut self, key: ConnKey, now: Instant) {
        let Some(conn) = self.conns.get_mut(key.index()).filter(|conn| !conn.suspended) else { return };
        if let Some(wanted) = conn.tcb.wanted_window() {
            let window = conn.tcb.window();
            let taken = self.windows.take(wanted - window);
            conn.window_bytes += taken;
            conn.tcb.grant_window(window + taken);
        }
        conn.tcb.check_stall(now);
        self.wheel.set(key.0, conn.tcb.poll_at());
        if !conn.queued && conn.tcb.wants_transmit(now) {
            conn.queued = true;
            self.ready.push_back(key);
        }
    }

    /// A connection falls silent until [`Self::resume`]: no timer of it runs, nothing is sent.
    pub fn suspend_one(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(key.index()) else { return };
        conn.suspended = true;
        self.wheel.set(key.0, None);
        if core::mem::take(&mut conn.queued) {
            self.ready.retain(|&queued| queued != key);
        }
    }

    /// All connections for which this is true fall silent.
    pub fn suspend(&mut self, is_meant: impl Fn(&Conn<A>) -> bool) {
        let Self { conns, wheel, ready, .. } = self;
        for (key, conn) in conns.iter_mut().filter(|(_, conn)| is_meant(conn)) {
            (conn.suspended, conn.queued) = (true, false);
            if let Ok(key) = u32::try_from(key) {
                wheel.set(key, None);
            }
        }
        ready.retain(|key| conns.get(key.index()).is_some_and(|conn| !conn.suspended));
    }

    /// They go on. What their timers have missed is due now.
    pub fn resume(&mut self, now: Instant, is_meant: impl Fn(&Conn<A>) -> bool) {
        let meant: Vec<_> =
            self.iter().filter(|(_, conn)| conn.suspended && is_meant(conn)).map(|(key, _)| key).collect();
        for key in meant {
            if let Some(conn) = self.conns.get_mut(key.index()) {
                conn.suspended = false;
            }
            self.settle(key, now);
        }
    }

    /// Sends what the connections have to send, at most `budget` segments, each in its turn. The keys of those that have
    /// nothing more to send now are appended to `sent_out`.
    pub fn transmit<C: Content, T: Transmit>(
        &mut self,
        now: Instant,
        mut budget: usize,
        content: &mut C,
        tx: &mut T,
        sent_out: &mut Vec<ConnKey>,
    ) {
        while budget > 0 {
            let Some(&key) = self.ready.front() else { return };
            let Some(conn) = self.conns.get_mut(key.index()) else {
                self.ready.pop_front();
                continue;
            };
            let turn = budget.min(SEGMENTS_PER_TURN);
            let Turn { sent, no_room } = conn.turn(now, turn, content, tx);
            if no_room {
                // The others would fare no better.
                return;
            }
            let more = sent == turn && conn.tcb.wants_transmit(now);
            self.ready.pop_front();
            conn.queued = more;
            conn.tcb.check_stall(now);
            self.wheel.set(key.0, conn.tcb.poll_at());
            if more {
                self.ready.push_back(key);
            } else {
                sent_out.push(key);
            }
            budget -= sent;
        }
    }

    /// When there is something to do: at once if something can be sent.
    #[must_use]
    pub fn poll_at(&self, now: Instant) -> Option<Instant> {
        let ready = if self.ready.is_empty() { None } else { Some(now) };
        earliest(ready, self.wheel.poll_at())
    }
}

/// What came of a connection's turn at sending.
struct Turn {
    sent: usize,
    no_room: bool,
}

impl<A> Conn<A> {
    /// Sends at most `turn` segments.
    fn turn<C: Content, T: Transmit>(&mut self, now: Instant, turn: usize, content: &mut C, tx: &mut T) -> Turn {
        let Self { tcb, envelope, port, .. } = self;
        let at = envelope.len();
        let mut sent = 0;
        while sent < turn
            && let Some(due) = tcb.due(now)
        {
            let mut wrote = false;
            let room = tx.transmit(*port, envelope.frame_len(tcb.mtu()), |frame| {
                let Written { len, ecn } = tcb.transmit(now, due, content, &mut frame[at..]);
                wrote = len > 0;
                if wrote { envelope.seal_tcp(frame, len, ecn) } else { 0 }
            });
            if !room {
                return Turn { sent, no_room: true };
            }
            if !wrote {
                break;
            }
            sent += 1;
        }
        Turn { sent, no_room: false }
    }
}

impl ConnKey {
    const fn index(self) -> usize {
        self.0 as usize
    }
}
