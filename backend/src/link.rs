//! What a back-end has to do with one front-end: its lease, the connections that come from it and go, and the way to
//! everybody who is named in that front-end's messages.

use std::net::IpAddr;

use baton_stack::drop::DropCounters;
use baton_stack::time::{Instant, earliest};
use handoff_proto::closed::ClosedReports;
use handoff_proto::former::Formers;
use handoff_proto::lease::LeaseHolder;
use handoff_proto::message::{Message, Outbox};
use handoff_proto::names::NodeId;
use handoff_proto::recipient::{Recipient, RecipientLimits};
use handoff_proto::release::Releases;
use handoff_proto::session::{PeerIndex, Sessions};
use handoff_proto::tail::{TailCounts, TailStore};

use crate::settings::Settings;

/// A front-end, as a back-end sees it. Node ids and generations are the front-end's.
#[derive(Debug)]
pub(crate) struct Link {
    /// Who is who.
    pub(crate) directory: Directory,
    /// The lease.
    pub(crate) holder: LeaseHolder,
    /// Attempts to move connections here.
    pub(crate) recipient: Recipient,
    /// Connections that went elsewhere.
    pub(crate) formers: Formers,
    /// Connections that ended here.
    pub(crate) closed: ClosedReports,
    /// What was in flight on connections that went elsewhere.
    pub(crate) tails: TailStore,
    /// What that was used for, as far as it was asked.
    pub(crate) tail_counts: TailCounts,
    /// What other nodes need not keep for connections that are, or were, here.
    pub(crate) releases: Releases,
    /// Whether the lease was held when the link had its last turn: only then is anything said about connections.
    pub(crate) was_leased: bool,
}

impl Link {
    /// Without a lease.
    pub(crate) fn new(front_end: PeerIndex, addr: IpAddr, settings: &Settings) -> Self {
        let limits = RecipientLimits { records: settings.records_max, ..RecipientLimits::default() };
        let [a, b, c, d, ..] = settings.seed;
        Self {
            directory: Directory { front_end, addr, nodes: Vec::new() },
            holder: LeaseHolder::new(settings.lease, settings.boot),
            recipient: Recipient::new(limits),
            formers: Formers::new(settings.records_max, u64::from(u32::from_be_bytes([a, b, c, d]))),
            closed: ClosedReports::new(settings.records_max),
            tails: TailStore::new(settings.tails),
            tail_counts: TailCounts::default(),
            releases: Releases::new(settings.records_max),
            was_leased: false,
        }
    }

    /// Takes the node list of the lease over.
    pub(crate) fn update_directory(&mut self, now: Instant, sessions: &mut Sessions) {
        self.directory.nodes.clear();
        for peer in self.holder.peers() {
            if let Some(index) = sessions.add_peer(now, &peer.name, peer.core, peer.addr) {
                self.directory.nodes.push((peer.id, index, peer.addr));
            }
        }
    }

    /// Whether the lease has ended since the link had its last turn.
    pub(crate) fn has_lapsed(&self, now: Instant) -> bool {
        self.was_leased && !self.holder.is_valid(now)
    }

    /// When one of its parts has something to do.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        let always = earliest(self.holder.poll_at(), self.formers.poll_at());
        if !self.was_leased {
            return always;
        }
        [self.recipient.poll_at(), self.closed.poll_at(), self.tails.poll_at(), self.releases.poll_at()]
            .into_iter()
            .fold(always, earliest)
    }
}

/// The nodes that a front-end's messages name.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The front-end's session.
    pub(crate) front_end: PeerIndex,
    /// The front-end's own address.
    pub(crate) addr: IpAddr,
    nodes: Vec<(NodeId, PeerIndex, IpAddr)>,
}

impl Directory {
    /// Where messages to these nodes go.
    pub(crate) fn outbox<'a>(&'a self, sessions: &'a mut Sessions, drops: &'a mut DropCounters) -> Out<'a> {
        Out { directory: self, sessions, drops }
    }

    /// Whether a node with this address is named.
    pub(crate) fn names(&self, addr: IpAddr) -> bool {
        self.addr == addr || self.nodes.iter().any(|(.., node)| *node == addr)
    }

    /// The sessions with all nodes, the front-end first.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = PeerIndex> + '_ {
        [self.front_end].into_iter().chain(self.nodes.iter().map(|(_, peer, _)| *peer))
    }

    /// The number of the node with this session.
    pub(crate) fn id_of(&self, peer: PeerIndex) -> Option<NodeId> {
        if peer == self.front_end {
            return Some(NodeId::FRONT_END);
        }
        self.nodes.iter().find(|(_, index, _)| *index == peer).map(|(id, ..)| *id)
    }

    /// The node's own address.
    pub(crate) fn addr_of(&self, node: NodeId) -> Option<IpAddr> {
        if node == NodeId::FRONT_END {
            return Some(self.addr);
        }
        self.nodes.iter().find(|(id, ..)| *id == node).map(|(.., addr)| *addr)
    }

    /// The session with the node.
    pub(crate) fn session_of(&self, node: NodeId) -> Option<PeerIndex> {
        if node == NodeId::FRONT_END {
            return Some(self.front_end);
        }
        self.nodes.iter().find(|(id, ..)| *id == node).map(|(_, index, _)| *index)
    }
}

/// An [`Outbox`] for the nodes of one front-end. What cannot be queued is counted: it will be said again.
pub(crate) struct Out<'a> {
    directory: &'a Directory,
    sessions: &'a mut Sessions,
    drops: &'a mut DropCounters,
}

impl Outbox for Out<'_> {
    fn send(&mut self, to: NodeId, message: &Message<'_>) {
        // A node that the list no longer has is dead: nobody would answer.
        let Some(peer) = self.directory.session_of(to) else { return };
        if let Err(reason) = self.sessions.send(peer, message) {
            self.drops.count(reason);
        }
    }
}
