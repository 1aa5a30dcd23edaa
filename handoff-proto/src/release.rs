//! RELEASE, said until the holder has heard it: an owner tells earlier owners what they need not keep any more.
//!
//! ```text
//!   owner of c, which came with bytes that H keeps:
//!     hold -----> every RELEASE_KEEP: the rest is needed still
//!     note -----> after RELEASE_DELAY, or at once when much can go: up to here
//!     finish ---> the same; nothing of H's is needed, and the entry goes with RELEASED
//!     leave ----> the next owner does it
//! ```
//! One per front-end.

use std::collections::{BTreeMap, BTreeSet};

use baton_stack::addr::ConnId;
use baton_stack::drop::DropReason;
use baton_stack::time::{Duration, Instant};

use crate::message::{Outbox, Release, Released};
use crate::names::{Epoch, NodeId};
use crate::retry::Retry;

/// How long the RELEASE of all that a holder keeps waits for company: about a heartbeat.
pub const RELEASE_DELAY: Duration = Duration::from_millis(250);
/// How long the RELEASE of a part waits for the rest: longer than most windows take to be acknowledged, so that a move has one.
pub const RELEASE_PART_DELAY: Duration = Duration::from_secs(1);
/// The wait before RELEASE is repeated first.
pub const RELEASE_RETRY: Duration = Duration::from_millis(50);
/// The longest wait between two of them. They go on for as long as the node's lease does, or the holder's life.
pub const RELEASE_RETRY_MAX: Duration = Duration::from_millis(1_000);
/// How often a holder hears that a connection lives and needs its bytes, where nothing can be released.
pub const RELEASE_KEEP: Duration = Duration::from_secs(30);

/// What holders are to be told.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Releases {
    limit: usize,
    entries: BTreeMap<(ConnId, NodeId), Entry>,
    due: BTreeSet<(Instant, (ConnId, NodeId))>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Entry {
    e: Epoch,
    up_to: u64,
    /// The last that was said.
    said: u64,
    is_last: bool,
    /// Runs while RELEASED is missing.
    retry: Option<Retry>,
    due: Instant,
}

impl Releases {
    /// Remembers at most `limit`: above it, holders find out by themselves, late.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit, entries: BTreeMap::new(), due: BTreeSet::new() }
    }

    /// A connection has come under `e`, and `holder` keeps bytes of it.
    ///
    /// # Errors
    /// The limit is reached: the holder is told nothing.
    pub fn hold(&mut self, now: Instant, c: ConnId, e: Epoch, holder: NodeId) -> Result<(), DropReason> {
        let key = (c, holder);
        self.remove(key);
        if self.entries.len() >= self.limit {
            return Err(DropReason::MessageLimit);
        }
        let due = now + RELEASE_KEEP;
        self.entries.insert(key, Entry { e, up_to: 0, said: 0, is_last: false, retry: None, due });
        self.due.insert((due, key));
        Ok(())
    }

    /// Nothing before `up_to` is needed.
    pub fn note(&mut self, now: Instant, c: ConnId, holder: NodeId, up_to: u64) {
        self.change((c, holder), |entry| {
            entry.up_to = entry.up_to.max(up_to);
            entry.due = entry.due_with_news(now);
        });
    }

    /// Nothing is needed of what this holder keeps.
    pub fn finish(&mut self, now: Instant, c: ConnId, holder: NodeId) {
        self.change((c, holder), |entry| {
            (entry.up_to, entry.is_last) = (u64::MAX, true);
            entry.due = entry.due.min(now + entry.patience());
        });
    }

    /// The connection has gone on, with the knowledge of who keeps what.
    pub fn leave(&mut self, c: ConnId, holder: NodeId) {
        self.remove((c, holder));
    }

    /// What there is to say of a connection is said now: its holders are waiting.
    pub fn hurry(&mut self, now: Instant, c: ConnId) {
        let range = (c, NodeId(0))..=(c, NodeId(u16::MAX));
        let waiting = self.entries.range(range).filter(|(_, entry)| entry.up_to > entry.said);
        for key in waiting.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.change(key, |entry| entry.due = now);
        }
    }

    /// A holder has discarded bytes.
    ///
    /// # Errors
    /// It is not waited for.
    pub fn handle_released(&mut self, now: Instant, from: NodeId, released: &Released) -> Result<(), DropReason> {
        let Released { c, e, up_to } = *released;
        let key = (c, from);
        let entry = self.entries.get(&key).filter(|entry| entry.e == e && up_to >= entry.said);
        let Some(entry) = entry else { return Err(DropReason::MessageStale) };
        if entry.is_last && up_to >= entry.up_to {
            self.remove(key);
            return Ok(());
        }
        self.change(key, |entry| {
            entry.retry = None;
            entry.due = now + if entry.up_to > entry.said { entry.patience() } else { RELEASE_KEEP };
        });
        Ok(())
    }

    /// A node's life is over, and with it what it kept.
    pub fn handle_node_down(&mut self, node: NodeId) {
        for key in self.entries.keys().copied().filter(|(_, holder)| *holder == node).collect::<Vec<_>>() {
            self.remove(key);
        }
    }

    /// The node has a new generation: nothing of the old one is said any more.
    pub fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Says what is due. Not to be called without a lease (R13). `lives` says of a node whether it may: who had died before the
    /// connection came keeps nothing, and nobody says so again.
    pub fn handle_timeout(&mut self, now: Instant, lives: impl Fn(NodeId) -> bool, out: &mut impl Outbox) {
        while let Some((_, key)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            if !lives(key.1) {
                self.remove(key);
                continue;
            }
            self.change(key, |entry| {
                let retry = entry.retry.get_or_insert_with(|| Retry::new(now, RELEASE_RETRY));
                if retry.is_due(now) {
                    retry.again(now, RELEASE_RETRY, RELEASE_RETRY_MAX);
                }
                entry.due = retry.at;
                entry.said = entry.up_to;
                out.send(key.1, &Release { c: key.0, e: entry.e, up_to: entry.up_to }.into());
            });
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn change(&mut self, key: (ConnId, NodeId), change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let before = entry.due;
        change(entry);
        if entry.due != before {
            self.due.remove(&(before, key));
            self.due.insert((entry.due, key));
        }
    }

    fn remove(&mut self, key: (ConnId, NodeId)) {
        if let Some(entry) = self.entries.remove(&key) {
            self.due.remove(&(entry.due, key));
        }
    }
}

impl Entry {
    fn due_with_news(&self, now: Instant) -> Instant {
        // Under way already: what is new is said with the repetition, or after the answer.
        if self.retry.is_some() { self.due } else { self.due.min(now + self.patience()) }
    }

    const fn patience(&self) -> Duration {
        if self.is_last { RELEASE_DELAY } else { RELEASE_PART_DELAY }
    }
}
