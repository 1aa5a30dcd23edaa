//! A back-end's numbers, and what people may ask of it.

use baton_stack::addr::Flow;
use baton_stack::drop::DropCounters;
use baton_stack::engine::Windows;
use baton_stack::tcp::{CloseReason, Info};
use baton_stack::time::Instant;
use handoff_proto::admin;
pub use handoff_proto::admin::Command;
use handoff_proto::message::{DrainState, RefuseReason};
use handoff_proto::session::Traffic;
use handoff_proto::tail::TailCounts;

use crate::ahead::AheadCounts;
use crate::link::Link;
use crate::node::{BackEnd, Place};

/// What a back-end answers to a [`Command`].
pub type Reply = admin::Reply<Snapshot>;

/// The numbers of a moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// What has been counted since the start.
    pub stats: Stats,
    /// What was dropped.
    pub drops: DropCounters,
    /// What was said to other nodes.
    pub said: Traffic,
    /// Receive windows that have grown.
    pub windows: Windows,
    /// Connections that are owned now.
    pub connections: usize,
    /// Connections that are frozen, on their way to another node.
    pub leaving: usize,
    /// Packets that wait for their connection.
    pub held: usize,
    /// Sources in the content store, and bytes of memory that they hold.
    pub store: (usize, usize),
    /// Bytes of memory that are lent to sources which are read ahead.
    pub store_ahead: usize,
    /// How often a source could not give its bytes or take a request's: each has cost a connection.
    pub store_failures: u64,
    /// What is kept of connections that were given away.
    pub tails: TailNumbers,
    /// Responses that wait, prepared, for connections that may come, and the bytes that they hold.
    pub ahead: (usize, usize),
    /// What became of what this node was told ahead.
    pub prefetches: AheadCounts,
    /// The front-ends.
    pub leases: Vec<LeaseSnapshot>,
}

/// A front-end, as a back-end knows it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LeaseSnapshot {
    /// Its name.
    pub name: String,
    /// Whether its lease is held.
    pub is_held: bool,
    /// Whether it wants its connections to go elsewhere, or all to end.
    pub is_draining: bool,
    /// This back-end's generation.
    pub generation: u64,
}

/// Tails, of all front-ends' connections.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TailNumbers {
    /// How many there are.
    pub held: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What they were used for.
    pub counts: TailCounts,
}

impl TailNumbers {
    fn with(mut self, link: &mut Link) -> Self {
        link.tail_counts.add(link.tails.take_counts());
        self.held += link.tails.len();
        self.bytes += link.tails.bytes();
        self.counts.add(link.tail_counts);
        self
    }
}

/// What a back-end counts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Requests answered.
    pub requests: u64,
    /// Bytes of responses, heads included.
    pub response_bytes: u64,
    /// Questions to the front-end who serves a request.
    pub asks: u64,
    /// Connections frozen and sent to another node.
    pub handoffs_started: u64,
    /// Of these, in the middle of a response that goes on there.
    pub handoffs_amid: u64,
    /// Of those that were started, installed there.
    pub handoffs_done: u64,
    /// Of these, taken back because the recipient refused, by reason; the last is the front-end's verdict.
    pub handoffs_refused: [u64; RefuseReason::ALL.len() + 1],
    /// Bytes of images sent.
    pub image_bytes: u64,
    /// Connections whose bytes could not be read when they were to be frozen.
    pub freeze_failed: u64,
    /// Images installed here.
    pub installed: u64,
    /// Images refused here.
    pub refused: u64,
    /// Client packets passed on to a later owner.
    pub stragglers: u64,
    /// Client packets held until their connection came.
    pub held: u64,
    /// Held packets given back to the front-end.
    pub returned: u64,
    /// Connections dropped without a word, because the front-end no longer has them or this node's lease lapsed.
    pub discarded: u64,
    /// Connections lost with a recipient that died.
    pub lost: u64,
    /// Leases that lapsed.
    pub leases_lapsed: u64,
    /// Segments of clients that a router had marked for congestion.
    pub ecn_marked: u64,
    /// Windows that were reduced because what was sent from here was marked.
    pub ecn_slowed: u64,
    /// Questions for bytes that an earlier owner keeps.
    pub fetches: u64,
    /// Bytes that came from earlier owners.
    pub tail_bytes_taken: u64,
    /// Connections that ended here, by reason.
    pub closed: [u64; CloseReason::ALL.len()],
}

impl Stats {
    /// Counts a connection that ended.
    pub(crate) fn count_closed(&mut self, reason: CloseReason) {
        if let Some(at) = CloseReason::ALL.iter().position(|known| *known == reason) {
            self.closed[at] += 1;
        }
    }

    /// Counts a connection that came back.
    pub(crate) fn count_refused(&mut self, reason: Option<RefuseReason>) {
        let at = RefuseReason::ALL.iter().position(|known| Some(*known) == reason);
        self.handoffs_refused[at.unwrap_or(RefuseReason::ALL.len())] += 1;
    }
}

impl<S> BackEnd<S> {
    /// What TCP knows of a connection that this node owns: for those who watch it from outside.
    #[must_use]
    pub fn tcp_info(&self, now: Instant, flow: &Flow) -> Option<Info> {
        match self.flows.get(flow)? {
            Place::Owned(key) => self.engine.get(*key).map(|conn| conn.tcb.info(now)),
            Place::Leaving(_) => None,
        }
    }

    pub(crate) fn snapshot(&mut self, now: Instant) -> Snapshot {
        let lease = |link: &Link| LeaseSnapshot {
            name: self.sessions.name(link.directory.front_end).unwrap_or_default().to_owned(),
            is_held: link.holder.is_valid(now),
            is_draining: link.holder.drain() != DrainState::Serving,
            generation: link.recipient.generation().0,
        };
        Snapshot {
            stats: self.stats,
            drops: self.ports.drops.clone(),
            said: *self.sessions.said(),
            windows: self.engine.windows(),
            connections: self.engine.len(),
            leaving: self.frozen.len(),
            held: self.hold.len(),
            store: (self.server.store.sources(), self.server.store.bytes()),
            store_ahead: self.server.store.bytes_ahead(),
            store_failures: self.server.store.failures(),
            tails: self.links.iter_mut().fold(TailNumbers::default(), TailNumbers::with),
            ahead: self.ahead.waiting(),
            prefetches: self.ahead.counts,
            leases: self.links.iter().map(lease).collect(),
        }
    }
}
