//! The owner's questions for bytes that earlier owners keep: a few at a time, repeated until the bytes have come.
//!
//! The TCB says what is wanted, and takes in what comes ([`Tcb::wanted`], [`Tcb::supply`]); this asks, and knows when to give up:
//! when the holder has lost the bytes, or is dead, or says nothing for [`FETCH_TRIES_MAX`] repetitions, while they are wanted.

use arrayvec::ArrayVec;
use baton_stack::addr::ConnId;
use baton_stack::tcp::{Remote, Tcb};
use baton_stack::time::{Duration, Instant};

use crate::message::{Fetch, Outbox, TailGone};
use crate::names::{Epoch, NodeId};
use crate::retry::Retry;

/// Questions of one connection at a time.
pub const FETCHES_MAX: usize = 4;
/// Bytes that one of them asks for at the most.
pub const FETCH_BYTES_MAX: u64 = 16 << 10;
/// The wait before FETCH is repeated first.
pub const FETCH_RETRY: Duration = Duration::from_millis(20);
/// The longest wait between two of them.
pub const FETCH_RETRY_MAX: Duration = Duration::from_millis(500);
/// How often FETCH is repeated in vain before the bytes are given up: about a minute.
pub const FETCH_TRIES_MAX: u8 = 120;
/// How often it is repeated before a node list without the holder is believed: it may be older than the holder.
pub const FETCH_UNLISTED_TRIES_MAX: u8 = 6;

/// A send queue that bytes are fetched for: a connection's, as far as this matters.
pub trait Wants {
    /// What earlier owners keep and is to be sent from here.
    fn wanted(&self) -> impl Iterator<Item = Remote>;
}

impl Wants for Tcb {
    fn wanted(&self) -> impl Iterator<Item = Remote> {
        Self::wanted(self)
    }
}

/// What one connection asks for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Fetcher {
    c: ConnId,
    e: Epoch,
    asked: ArrayVec<Asked, FETCHES_MAX>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Asked {
    remote: Remote,
    retry: Retry,
}

/// Bytes are wanted and nowhere any more: the connection cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bytes that must be sent again are lost with their holder")]
pub struct TailLost;

impl Fetcher {
    /// For the owner of `c` at epoch `e`.
    #[must_use]
    pub const fn new(c: ConnId, e: Epoch) -> Self {
        Self { c, e, asked: ArrayVec::new_const() }
    }

    /// Asks for what is wanted now, and for nothing else. `me` is this node. Gives how many questions were new.
    ///
    /// # Errors
    /// This node itself had kept what is wanted, in an earlier life.
    pub fn update(
        &mut self,
        now: Instant,
        me: NodeId,
        queue: &impl Wants,
        out: &mut impl Outbox,
    ) -> Result<usize, TailLost> {
        self.asked.retain(|asked| asked.narrow(now, queue));
        let before = self.asked.len();
        for wanted in queue.wanted() {
            if wanted.holder == me.0 {
                return Err(TailLost);
            }
            let (mut at, end) = (wanted.start, wanted.start + wanted.len);
            while at < end && !self.asked.is_full() {
                if let Some(asked) = self.asked.iter().find(|asked| asked.covers(at)) {
                    at = asked.end();
                    continue;
                }
                let next = self.asked.iter().map(|asked| asked.remote.start).filter(|start| *start > at).min();
                let len = (end.min(next.unwrap_or(end)) - at).min(FETCH_BYTES_MAX);
                let asked = Asked { remote: Remote { start: at, len, ..wanted }, retry: Retry::new(now, FETCH_RETRY) };
                self.send(&asked, out);
                self.asked.push(asked);
            }
        }
        Ok(self.asked.len() - before)
    }

    /// Whether these bytes were asked for.
    #[must_use]
    pub fn has_asked(&self, start: u64) -> bool {
        self.asked.iter().any(|asked| asked.covers(start))
    }

    /// A holder does not have bytes any more.
    ///
    /// # Errors
    /// They are wanted.
    pub fn handle_gone(&self, from: NodeId, gone: &TailGone, queue: &impl Wants) -> Result<(), TailLost> {
        let TailGone { c, e, start, len } = *gone;
        let end = start.saturating_add(len.into());
        let is_meant =
            |wanted: Remote| wanted.holder == from.0 && wanted.start < end && start < wanted.start + wanted.len;
        if (c, e) == (self.c, self.e) && queue.wanted().any(is_meant) { Err(TailLost) } else { Ok(()) }
    }

    /// Repeats what is due. `is_listed`: whether the node list has the holder, alive. Not to be called without a lease (R13).
    ///
    /// # Errors
    /// A holder is dead, or has not answered for too long.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        is_listed: impl Fn(NodeId) -> bool,
        out: &mut impl Outbox,
    ) -> Result<(), TailLost> {
        for index in 0..self.asked.len() {
            let Some(asked) = self.asked.get_mut(index).filter(|asked| asked.retry.is_due(now)) else { continue };
            let tries_max =
                if is_listed(NodeId(asked.remote.holder)) { FETCH_TRIES_MAX } else { FETCH_UNLISTED_TRIES_MAX };
            if asked.retry.tries >= tries_max {
                return Err(TailLost);
            }
            asked.retry.again(now, FETCH_RETRY, FETCH_RETRY_MAX);
            let asked = *asked;
            self.send(&asked, out);
        }
        Ok(())
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.asked.iter().map(|asked| asked.retry.at).min()
    }

    fn send(&self, asked: &Asked, out: &mut impl Outbox) {
        let Remote { holder, start, len } = asked.remote;
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        out.send(NodeId(holder), &Fetch { c: self.c, e: self.e, start, len }.into());
    }
}

impl Asked {
    const fn end(&self) -> u64 {
        self.remote.start + self.remote.len
    }

    const fn covers(&self, place: u64) -> bool {
        self.remote.start <= place && place < self.end()
    }

    /// Leaves off what is not wanted any more at both ends; false if nothing is left. That some has come starts the wait anew.
    fn narrow(&mut self, now: Instant, queue: &impl Wants) -> bool {
        let (from, to) = (self.remote.start, self.end());
        let within = queue.wanted().filter(|wanted| wanted.start < to && from < wanted.start + wanted.len);
        let hull = within.fold(None, |hull: Option<(u64, u64)>, wanted| {
            let (start, end) = (wanted.start.max(from), (wanted.start + wanted.len).min(to));
            Some(hull.map_or((start, end), |(first, last)| (first.min(start), last.max(end))))
        });
        let Some((start, end)) = hull else { return false };
        if (start, end) != (from, to) {
            (self.remote.start, self.remote.len) = (start, end - start);
            self.retry = Retry::new(now, FETCH_RETRY);
        }
        true
    }
}
