//! The grantor's side, at a front-end.

use std::collections::VecDeque;

use baton_stack::addr::{IpAddr, MacAddr};
use baton_stack::drop::DropReason;
use baton_stack::time::{Instant, earliest};

use super::{LeaseSettings, NODES_MAX};
use crate::arbiter::{Death, Nodes};
use crate::codec::{List, Wire};
use crate::message::{DrainState, Join, LEASE_PEERS_MAX, Lease, LeaseReq, LoadReport, NodeName, Outbox, PeerEntry};
use crate::names::{Boot, Generation, NodeId};

/// About the length of a [`PeerEntry`] with a short name.
const PEER_ENTRY_BYTES: usize = 48;

/// A node as the front-end's configuration has it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NodeConfig {
    /// Its name, 1 to [`NAME_BYTES_MAX`](crate::names::NAME_BYTES_MAX) bytes.
    pub name: String,
    /// Its own address.
    pub addr: IpAddr,
    /// Which of the machine's cores.
    pub core: u8,
}

/// What a front-end knows of a node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NodeStatus {
    /// Name, address and core.
    pub config: NodeConfig,
    /// The last process that joined; zero if none.
    pub boot: Boot,
    /// Its generation; [`Generation::NONE`] while it is down.
    pub g: Generation,
    /// When it was last answered.
    pub last_answer: Option<Instant>,
    /// What it last said of its load.
    pub load: LoadReport,
    /// What it is told to do with its connections.
    pub drain: DrainState,
    /// Where it was last seen; zero if nowhere.
    pub mac: MacAddr,
    /// The highest route table that it uses.
    pub route_version: u32,
    peers_version: u32,
}

impl NodeStatus {
    /// Whether it lives, as far as the front-end knows.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.g != Generation::NONE
    }
}

/// What happened to a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum BoardEvent {
    /// It lives.
    NodeUp {
        /// Which node.
        node: NodeId,
        /// Its generation.
        g: Generation,
        /// Whether it lived before.
        has_rejoined: bool,
    },
    /// A life is over: tell [`Arbiter::handle_node_down`](crate::arbiter::Arbiter::handle_node_down) for every
    /// connection, before the next message.
    NodeDown(Death),
}

/// All nodes of a front-end. Node ids are positions in the configuration, from 1.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LeaseBoard {
    settings: LeaseSettings,
    boot: Boot,
    given: u32,
    nodes: Vec<NodeStatus>,
    peers_version: u32,
    route_version: u32,
    /// No node's time is over before this.
    check_at: Option<Instant>,
    events: VecDeque<BoardEvent>,
}

impl LeaseBoard {
    /// Every node is down. `boot` is the front-end's own: it grows with each start, so that no generation is given
    /// twice. Nodes above [`NODES_MAX`], and names that no message can carry, are left out: the configuration refuses
    /// them.
    #[must_use]
    pub fn new(settings: LeaseSettings, boot: Boot, nodes: impl IntoIterator<Item = NodeConfig>) -> Self {
        let status = |config| NodeStatus {
            config,
            boot: Boot(0),
            g: Generation::NONE,
            last_answer: None,
            load: LoadReport { connections: 0, requests: 0, bytes: 0, busy_permille: 0 },
            drain: DrainState::Serving,
            mac: MacAddr::default(),
            route_version: 0,
            peers_version: 0,
        };
        let nodes = nodes.into_iter().filter(|node| NodeName::new(&node.name).is_some());
        Self {
            settings,
            boot,
            given: 0,
            nodes: nodes.take(NODES_MAX).map(status).collect(),
            peers_version: 1,
            route_version: 0,
            check_at: None,
            events: VecDeque::new(),
        }
    }

    /// Handles JOIN. `node` is the sender, whose session is of life `join.boot`.
    ///
    /// # Errors
    /// The message changes nothing: an unknown node, or an earlier life of it.
    pub fn handle_join(
        &mut self,
        now: Instant,
        node: NodeId,
        join: &Join,
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let status = self.status(node).ok_or(DropReason::MessageStale)?;
        if join.boot < status.boot || join.boot == Boot(0) {
            return Err(DropReason::MessageStale);
        }
        // A new boot proves that the old life is dead (R3); an equal one proves nothing, however often it is said.
        let (is_new, was_up, has_lived) = (join.boot > status.boot, status.is_up(), status.boot != Boot(0));
        if is_new && was_up {
            self.bury(node);
        }
        if is_new || !was_up {
            let g = self.next_generation();
            self.update(node, |status| {
                status.boot = join.boot;
                status.g = g;
                status.peers_version = 0;
                status.route_version = 0;
            });
            self.peers_version += 1;
            self.events.push_back(BoardEvent::NodeUp { node, g, has_rejoined: has_lived });
        }
        self.answer(now, node, join.number, out);
        Ok(())
    }

    /// Handles LEASE-REQ.
    ///
    /// # Errors
    /// The message changes nothing and is not answered: an unknown or dead node, or another life of it. That node's
    /// lease runs out, and it joins.
    pub fn handle_lease_req(
        &mut self,
        now: Instant,
        node: NodeId,
        request: &LeaseReq,
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let status = self.status(node).ok_or(DropReason::MessageStale)?;
        if !status.is_up() || (request.boot, request.g) != (status.boot, status.g) {
            return Err(DropReason::MessageStale);
        }
        self.update(node, |status| {
            status.load = request.load;
            status.peers_version = request.peers_version;
            status.route_version = request.route_version;
        });
        self.answer(now, node, request.number, out);
        Ok(())
    }

    /// Declares those nodes dead whose lease and margin have passed (R2).
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.check_at.is_none_or(|at| at > now) {
            return;
        }
        let mut next = None;
        for index in 0..self.nodes.len() {
            let node = id_of(index);
            match self.status(node).and_then(|status| self.deadline(status)) {
                Some(deadline) if deadline <= now => self.bury(node),
                deadline => next = earliest(next, deadline),
            }
        }
        self.check_at = next;
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub const fn poll_at(&self) -> Option<Instant> {
        self.check_at
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<BoardEvent> {
        self.events.pop_front()
    }

    /// The front-end's own generation: of every connection that has not moved yet.
    #[must_use]
    pub const fn own_generation(&self) -> Generation {
        Generation::new(self.boot, 0)
    }

    /// Tells a node what to do with its connections, from its next lease on.
    pub fn set_drain(&mut self, node: NodeId, drain: DrainState) {
        self.update(node, |status| status.drain = drain);
    }

    /// Notes where a node was seen; other nodes are told.
    pub fn set_mac(&mut self, node: NodeId, mac: MacAddr) {
        if self.status(node).is_some_and(|status| status.mac != mac) {
            self.update(node, |status| status.mac = mac);
            self.peers_version += 1;
        }
    }

    /// Announces a newer route table.
    pub const fn set_route_version(&mut self, version: u32) {
        self.route_version = version;
    }

    /// Whether a node is up and takes more.
    #[must_use]
    pub fn is_offered(&self, node: NodeId) -> bool {
        self.generation(node) != Generation::NONE && self.takes_more(node)
    }

    /// What is known of a node.
    #[must_use]
    pub fn status(&self, node: NodeId) -> Option<&NodeStatus> {
        self.nodes.get(usize::from(node.0).checked_sub(1)?)
    }

    /// All nodes with their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeStatus)> {
        self.nodes.iter().enumerate().map(|(index, status)| (id_of(index), status))
    }

    fn update(&mut self, node: NodeId, change: impl FnOnce(&mut NodeStatus)) {
        let index = usize::from(node.0).wrapping_sub(1);
        if let Some(status) = self.nodes.get_mut(index) {
            change(status);
        }
    }

    fn next_generation(&mut self) -> Generation {
        self.given += 1;
        Generation::new(self.boot, self.given)
    }

    fn deadline(&self, status: &NodeStatus) -> Option<Instant> {
        let answered = status.last_answer.filter(|_| status.is_up())?;
        Some(answered + self.settings.lease + self.settings.margin)
    }

    fn bury(&mut self, node: NodeId) {
        let g = self.generation(node);
        self.update(node, |status| status.g = Generation::NONE);
        self.peers_version += 1;
        self.events.push_back(BoardEvent::NodeDown(Death { node, g }));
    }

    /// Sends a lease, with as much of the node list as the node lacks.
    fn answer(&mut self, now: Instant, node: NodeId, number: u32, out: &mut impl Outbox) {
        self.update(node, |status| status.last_answer = Some(now));
        let Some(status) = self.status(node).cloned() else { return };
        self.check_at = earliest(self.check_at, self.deadline(&status));
        let peers_total = u16::try_from(self.nodes.len()).unwrap_or(u16::MAX);
        let lease = Lease {
            number,
            boot: status.boot,
            g: status.g,
            you: node,
            lease_ms: u32::try_from(self.settings.lease.as_millis()).unwrap_or(u32::MAX),
            drain: status.drain,
            route_version: self.route_version,
            peers_version: self.peers_version,
            peers_total,
            peers_first: 0,
            peers: List::EMPTY,
        };
        if status.peers_version == self.peers_version {
            out.send(node, &lease.into());
            return;
        }
        let mut scratch = Vec::with_capacity(LEASE_PEERS_MAX * PEER_ENTRY_BYTES);
        for (piece, nodes) in self.nodes.chunks(LEASE_PEERS_MAX).enumerate() {
            let first = piece * LEASE_PEERS_MAX;
            scratch.clear();
            for (offset, status) in nodes.iter().enumerate() {
                if let Some(entry) = status.entry(id_of(first + offset)) {
                    entry.put(&mut scratch);
                }
            }
            let count = u16::try_from(nodes.len()).unwrap_or(0);
            let peers = List::from_encoded(count, &scratch).unwrap_or(List::EMPTY);
            let peers_first = u16::try_from(first).unwrap_or(u16::MAX);
            out.send(node, &Lease { peers_first, peers, ..lease }.into());
        }
    }
}

impl NodeStatus {
    fn entry(&self, id: NodeId) -> Option<PeerEntry<'_>> {
        let NodeConfig { name, addr, core } = &self.config;
        Some(PeerEntry { id, g: self.g, core: *core, addr: *addr, mac: self.mac, name: NodeName::new(name)? })
    }
}

fn id_of(index: usize) -> NodeId {
    NodeId(u16::try_from(index + 1).unwrap_or(u16::MAX))
}

impl Nodes for LeaseBoard {
    fn generation(&self, node: NodeId) -> Generation {
        if node == NodeId::FRONT_END {
            return self.own_generation();
        }
        self.status(node).map_or(Generation::NONE, |status| status.g)
    }

    /// A front-end that stops has told everybody to; who owns connections goes on with them until it is over.
    fn takes_more(&self, node: NodeId) -> bool {
        self.status(node).is_some_and(|status| status.drain != DrainState::Draining)
    }
}
