//! Connections that this node has given away: where their stragglers go (R9, R10).

use core::hash::{Hash, Hasher};
use std::collections::{BTreeMap, BTreeSet};

use ahash::RandomState;
use baton_stack::addr::{ConnId, Flow};
use baton_stack::drop::DropReason;
use baton_stack::time::{Duration, Instant};
use hashbrown::HashMap;

use crate::arbiter::Death;
use crate::message::{Done, Message, Outbox, SettleClaim, Settled};
use crate::names::{Epoch, Generation, NodeId};

/// How long an entry stays after the last straggler. The front-end sends a straggler as long as it has not heard of the
/// new owner, so silence for this long means that it has; should one come later still, it goes back to the front-end.
pub const FORMER_TIME: Duration = Duration::from_secs(5);

/// A connection that was given away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Former {
    /// The connection.
    pub c: ConnId,
    /// Its flow.
    pub flow: Flow,
    /// The epoch under which it was given.
    pub e2: Epoch,
    /// To whom.
    pub to: NodeId,
    /// To which life of it.
    pub g: Generation,
}

/// All of them, of one front-end, bounded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Formers {
    limit: usize,
    by_connection: BTreeMap<ConnId, (Former, Instant)>,
    by_flow: HashMap<Flow, ConnId, RandomState>,
    due: BTreeSet<(Instant, ConnId)>,
}

impl Hash for Formers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { limit, by_connection, by_flow, due: _ } = self;
        limit.hash(state);
        // In an order that is the same for equal tables; the deadlines follow from the entries.
        by_connection.hash(state);
        for (c, (former, _)) in by_connection {
            (by_flow.get(&former.flow) == Some(c)).hash(state);
        }
    }
}

impl Formers {
    /// Remembers at most `limit`; above it, the one that has been silent for longest goes. `seed` makes the flow table's
    /// order unpredictable for clients.
    #[must_use]
    pub fn new(limit: usize, seed: u64) -> Self {
        let by_flow =
            HashMap::with_hasher(RandomState::with_seeds(seed, !seed, seed.rotate_left(17), 0x0062_6174_6f6e));
        Self { limit: limit.max(1), by_connection: BTreeMap::new(), by_flow, due: BTreeSet::new() }
    }

    /// Notes that a connection was given away.
    pub fn insert(&mut self, now: Instant, former: Former) {
        self.remove(former.c);
        if self.by_connection.len() >= self.limit
            && let Some((_, oldest)) = self.due.first().copied()
        {
            self.remove(oldest);
        }
        self.by_connection.insert(former.c, (former, now + FORMER_TIME));
        self.by_flow.insert(former.flow, former.c);
        self.due.insert((now + FORMER_TIME, former.c));
    }

    /// Forgets a connection: it has come back.
    pub fn remove(&mut self, c: ConnId) {
        if let Some((former, until)) = self.by_connection.remove(&c) {
            self.due.remove(&(until, c));
            if self.by_flow.get(&former.flow) == Some(&c) {
                self.by_flow.remove(&former.flow);
            }
        }
    }

    /// Where a straggler of this flow goes. Its coming shows that the entry is needed for longer.
    pub fn straggler(&mut self, now: Instant, flow: &Flow) -> Option<Former> {
        let c = *self.by_flow.get(flow)?;
        let (former, until) = self.by_connection.get_mut(&c)?;
        let later = now + FORMER_TIME;
        if later != *until {
            self.due.remove(&(*until, c));
            *until = later;
            self.due.insert((later, c));
        }
        Some(*former)
    }

    /// Whether a connection of this flow was given away.
    #[must_use]
    pub fn knows(&self, flow: &Flow) -> bool {
        self.by_flow.contains_key(flow)
    }

    /// What is known of a connection.
    #[must_use]
    pub fn of(&self, c: ConnId) -> Option<&Former> {
        self.by_connection.get(&c).map(|(former, _)| former)
    }

    /// The life of a node is over: stragglers for it have nowhere to go.
    pub fn handle_node_down(&mut self, death: Death) {
        let towards = |(former, _): &(Former, Instant)| (former.to, former.g) == (death.node, death.g);
        let gone: Vec<_> =
            self.by_connection.values().filter(|entry| towards(entry)).map(|(former, _)| former.c).collect();
        for c in gone {
            self.remove(c);
        }
    }

    /// Answers a message to the donor of a connection that is not (or no longer) here: INSTALLED, REFUSED and SETTLE.
    ///
    /// # Errors
    /// The message changes nothing.
    pub fn handle_message(&self, from: NodeId, message: &Message<'_>, out: &mut impl Outbox) -> Result<(), DropReason> {
        match message {
            Message::Installed(m) => out.send(from, &Done { c: m.c, e2: m.e2 }.into()),
            Message::Refused(m) => out.send(from, &Done { c: m.c, e2: m.e2 }.into()),
            Message::Settle(settle) if from == NodeId::FRONT_END => {
                // Either it went there, or so long ago that it is forgotten. A later attempt answers for itself.
                if self.of(settle.c).is_some_and(|former| former.e2 != settle.e2) {
                    return Err(DropReason::MessageStale);
                }
                out.send(from, &Settled { c: settle.c, e2: settle.e2, claim: SettleClaim::Lost }.into());
            }
            _ => return Err(DropReason::MessageStale),
        }
        Ok(())
    }

    /// The node has a new generation: everything of the old one is forgotten.
    pub fn clear(&mut self) {
        self.by_connection.clear();
        self.by_flow.clear();
        self.due.clear();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_connection.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }

    /// Forgets what has been silent for long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, c)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.remove(c);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}
