//! A front-end's numbers, and what people may ask of it.

use baton_stack::drop::DropCounters;
use baton_stack::engine::Windows;
use baton_stack::tcp::CloseReason;
use handoff_proto::admin;
pub use handoff_proto::admin::Command;
use handoff_proto::arbiter::{Choice, ResetCause};
use handoff_proto::message::{DrainState, Ended, RefuseReason};
use handoff_proto::names::NodeId;
use handoff_proto::session::Traffic;

use crate::node::FrontEnd;

/// What a front-end answers to a [`Command`].
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
    /// Connections with a route, without those in TIME_WAIT.
    pub connections: usize,
    /// Connections in TIME_WAIT.
    pub time_wait: usize,
    /// Connections whose handshake is not finished.
    pub half_open: usize,
    /// Connections that the front-end owns, half-open ones included.
    pub owned: usize,
    /// First handoffs whose fate is not known yet.
    pub leaving: usize,
    /// The back-ends.
    pub nodes: Vec<NodeSnapshot>,
}

impl Snapshot {
    /// The connections by where they are, each in one place.
    #[must_use]
    pub fn places(&self) -> [(&'static str, usize); 5] {
        [
            ("half_open", self.half_open),
            ("owned", self.owned.saturating_sub(self.half_open)),
            ("leaving", self.leaving),
            ("routed", self.connections.saturating_sub(self.owned + self.leaving)),
            ("time_wait", self.time_wait),
        ]
    }
}

/// A back-end, as the front-end knows it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NodeSnapshot {
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub is_up: bool,
    /// Whether it drains: it is given nothing new, and what it has goes elsewhere.
    pub is_draining: bool,
    /// Connections that it said it owns.
    pub connections: u32,
    /// The share of its time in which it said it has something to do, in thousandths.
    pub busy_permille: u16,
    /// Requests that it said it has answered.
    pub requests: u64,
    /// Response bytes that it said it has sent.
    pub bytes: u64,
}

/// What a front-end counts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// SYNs that were answered.
    pub syns: u64,
    /// Handshakes that were finished.
    pub accepted: u64,
    /// SYNs of these that were answered with a cookie: nothing is remembered of them.
    pub cookies_sent: u64,
    /// Handshakes that a cookie finished.
    pub cookies_accepted: u64,
    /// Acknowledgments, while cookies were out, of none of them or of one that was too old.
    pub cookies_refused: u64,
    /// Client packets sent on to owners.
    pub forwarded_packets: u64,
    /// Bytes of these.
    pub forwarded_bytes: u64,
    /// First handoffs begun.
    pub handoffs_started: u64,
    /// Of these, installed.
    pub handoffs_done: u64,
    /// Of these, taken back, by the recipient's reason; the last is the arbiter's verdict.
    pub handoffs_refused: [u64; RefuseReason::ALL.len() + 1],
    /// Changes of owner, first handoffs included.
    pub moves: u64,
    /// Questions of owners who serves a request.
    pub asks: u64,
    /// Answers: the owner itself.
    pub stays: u64,
    /// Answers: another node.
    pub grants: u64,
    /// Nodes told ahead which request may come to them.
    pub prefetches: u64,
    /// Answers: nobody.
    pub rejects: u64,
    /// Error responses of the front-end's own: 4xx and 5xx.
    pub errors: [u64; 2],
    /// Connections reset, by cause.
    pub resets: [u64; ResetCause::ALL.len()],
    /// Connections reset because the front-end stopped.
    pub stopped: u64,
    /// Connections that ended at a back-end, by how.
    pub ended: [u64; Ended::ALL.len()],
    /// Segments of clients, received here, that a router had marked for congestion.
    pub ecn_marked: u64,
    /// Windows that were reduced because what was sent from here was marked.
    pub ecn_slowed: u64,
    /// Connections that ended here, by reason.
    pub closed_here: [u64; CloseReason::ALL.len()],
    /// Responses of connections that have ended.
    pub requests: u64,
    /// Response bytes of connections that have ended.
    pub response_bytes: u64,
    /// Connections of back-ends that drain, wished elsewhere: some more than once.
    pub drain_wishes: u64,
    /// Times that a back-end came up.
    pub nodes_up: u64,
    /// Times that a back-end was declared dead or came again.
    pub nodes_down: u64,
}

impl Stats {
    pub(crate) fn count_refused(&mut self, reason: Option<RefuseReason>) {
        let at = RefuseReason::ALL.iter().position(|known| Some(*known) == reason);
        self.handoffs_refused[at.unwrap_or(RefuseReason::ALL.len())] += 1;
    }

    pub(crate) fn count_choice(&mut self, choice: &Choice, from: NodeId) {
        match choice {
            Choice::Serve { node, .. } if *node == from => self.stays += 1,
            Choice::Serve { .. } | Choice::Forward { .. } => self.grants += 1,
            Choice::Reject { .. } => self.rejects += 1,
        }
    }

    pub(crate) fn count_error(&mut self, status: u16) {
        self.errors[usize::from(status >= 500)] += 1;
    }

    pub(crate) fn count_reset(&mut self, cause: ResetCause) {
        count(&mut self.resets, ResetCause::ALL, cause);
    }

    pub(crate) fn count_ended(&mut self, ended: Ended) {
        count(&mut self.ended, Ended::ALL, ended);
    }

    pub(crate) fn count_closed(&mut self, reason: Option<CloseReason>) {
        count(&mut self.closed_here, CloseReason::ALL, reason.unwrap_or(CloseReason::Finished));
    }
}

fn count<T: Copy + PartialEq>(counters: &mut [u64], kinds: &[T], kind: T) {
    if let Some(at) = kinds.iter().position(|known| *known == kind) {
        counters[at] += 1;
    }
}

impl FrontEnd {
    /// The numbers of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let live = self.routes.live();
        let node = |(_, status): (NodeId, &handoff_proto::lease::NodeStatus)| NodeSnapshot {
            name: status.config.name.clone(),
            is_up: status.is_up(),
            is_draining: status.drain == DrainState::Draining,
            connections: status.load.connections,
            busy_permille: status.load.busy_permille,
            requests: status.load.requests,
            bytes: status.load.bytes,
        };
        Snapshot {
            stats: self.stats,
            drops: self.ports.drops.clone(),
            said: *self.sessions.said(),
            windows: self.engine.windows(),
            connections: live,
            time_wait: self.routes.len() - live,
            half_open: self.half_open,
            owned: self.engine.len(),
            leaving: self.frozen.len(),
            nodes: self.board.nodes().map(node).collect(),
        }
    }
}
