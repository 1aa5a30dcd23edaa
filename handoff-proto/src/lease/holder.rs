//! The holder's side, at a back-end: one per front-end.

use arrayvec::ArrayVec;
use baton_stack::addr::{IpAddr, MacAddr};
use baton_stack::drop::DropReason;
use baton_stack::time::{Duration, Instant, earliest};

use super::{HURRY_MIN, JOIN_RETRY, JOIN_RETRY_MAX, LeaseSettings, NODES_MAX};
use crate::arbiter::Death;
use crate::message::{DrainState, Join, Lease, LeaseReq, LoadReport, Outbox};
use crate::names::{Boot, Generation, NodeId};
use crate::retry::Retry;

/// How many requests may be unanswered before the oldest is given up.
const UNANSWERED_MAX: usize = 16;

/// A node's lease from one front-end.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LeaseHolder {
    settings: LeaseSettings,
    boot: Boot,
    me: NodeId,
    g: Generation,
    state: State,
    number: u32,
    /// The requests that may still be answered, with the moment when each was sent.
    sent: ArrayVec<(u32, Instant), UNANSWERED_MAX>,
    drain: DrainState,
    route_version: u32,
    route_version_used: u32,
    peers: Vec<Peer>,
    peers_version: u32,
    gathered: Gathered,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Joining { retry: Option<Retry> },
    Joined { until: Instant, request_at: Instant },
}

/// A node list that is coming in.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Gathered {
    version: u32,
    peers: Vec<Option<Peer>>,
}

/// Another node of the same front-end, or this node itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Peer {
    /// Its number in messages.
    pub id: NodeId,
    /// Its generation; [`Generation::NONE`] if it is down.
    pub g: Generation,
    /// Which of the machine's cores it is.
    pub core: u8,
    /// Its own address.
    pub addr: IpAddr,
    /// Where the front-end last saw it; zero if nowhere.
    pub mac: MacAddr,
    /// Its name.
    pub name: String,
}

/// What came of a timeout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum HolderEvent {
    /// Nothing to do.
    Nothing,
    /// The lease is over: the node is silent until it has another. It keeps what it has until it learns its
    /// generation.
    Lapsed,
}

/// What came of a lease.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaseNews {
    /// The node has a new generation: before anything else it discards every connection, image and record, silently,
    /// gives held packets back to the front-end, and calls
    /// [`Recipient::set_generation`](crate::recipient::Recipient::set_generation) (R3).
    pub new_generation: Option<Generation>,
    /// The node list is another.
    pub has_new_peers: bool,
    /// Lives of other nodes that are over by this list.
    pub deaths: Vec<Death>,
}

impl LeaseHolder {
    /// Without a lease: [`Self::handle_timeout`] sends the first JOIN. `boot` is the process's own.
    #[must_use]
    pub fn new(settings: LeaseSettings, boot: Boot) -> Self {
        Self {
            settings,
            boot,
            me: NodeId::FRONT_END,
            g: Generation::NONE,
            state: State::Joining { retry: None },
            number: 0,
            sent: ArrayVec::new(),
            drain: DrainState::Serving,
            route_version: 0,
            route_version_used: 0,
            peers: Vec::new(),
            peers_version: 0,
            gathered: Gathered::default(),
        }
    }

    /// Whether the node may install, hand off, answer and send now (R13).
    #[must_use]
    pub fn is_valid(&self, now: Instant) -> bool {
        match self.state {
            State::Joined { until, .. } => now < until,
            State::Joining { .. } => false,
        }
    }

    /// Whether what was written may still leave (R2). Without a lease a node writes nothing but HELLO and JOIN, and
    /// those may; what it wrote under a lease that has passed since may not.
    #[must_use]
    pub fn may_transmit(&self, now: Instant) -> bool {
        match self.state {
            State::Joined { until, .. } => now < until,
            State::Joining { .. } => true,
        }
    }

    /// Notices that the lease is over, renews it, or joins.
    pub fn handle_timeout(&mut self, now: Instant, load: &LoadReport, out: &mut impl Outbox) -> HolderEvent {
        match self.state {
            State::Joined { until, .. } if until <= now => {
                self.rejoin();
                self.join(now, out);
                HolderEvent::Lapsed
            }
            State::Joined { until, request_at } if request_at <= now => {
                self.state = State::Joined { until, request_at: now + self.settings.heartbeat };
                let number = self.next_number(now);
                let (boot, g, peers_version) = (self.boot, self.g, self.peers_version);
                let route_version = self.route_version_used;
                let request = LeaseReq { number, boot, g, peers_version, route_version, load: *load };
                out.send(NodeId::FRONT_END, &request.into());
                HolderEvent::Nothing
            }
            State::Joining { retry } if retry.is_none_or(|retry| retry.is_due(now)) => {
                self.join(now, out);
                HolderEvent::Nothing
            }
            State::Joined { .. } | State::Joining { .. } => HolderEvent::Nothing,
        }
    }

    /// When [`Self::handle_timeout`] has something to do; `None`: at once.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        match self.state {
            State::Joined { until, request_at } => earliest(Some(until), Some(request_at)),
            State::Joining { retry } => Some(retry.map_or(Instant::ZERO, |retry| retry.at)),
        }
    }

    /// The node list lacks what the front-end knows: the next request goes out at once, or [`HURRY_MIN`] after the last one.
    pub fn hurry(&mut self, now: Instant) {
        if let State::Joined { request_at, .. } = &mut self.state {
            let since_last = self.settings.heartbeat.saturating_sub(request_at.since(now));
            *request_at = (*request_at).min(now + HURRY_MIN.saturating_sub(since_last));
        }
    }

    /// The front-end has started anew: it knows nothing of this node's lease. JOIN goes out with the next timeout.
    pub fn rejoin(&mut self) {
        self.sent.clear();
        self.state = State::Joining { retry: None };
    }

    /// Handles LEASE. It counts from the moment its request was sent (R2).
    ///
    /// # Errors
    /// The message changes nothing: of another boot, of a generation that is over, or the answer to a request that is
    /// forgotten, or sent so long ago that the lease is over.
    pub fn handle_lease(&mut self, now: Instant, lease: &Lease<'_>) -> Result<LeaseNews, DropReason> {
        if lease.boot != self.boot || lease.g < self.g || lease.g == Generation::NONE {
            return Err(DropReason::MessageStale);
        }
        let asked = self.sent.iter().find(|(number, _)| *number == lease.number).map(|(_, at)| *at);
        let lasts = self.settings.lease.min(Duration::from_millis(u64::from(lease.lease_ms)));
        let until = asked.ok_or(DropReason::MessageStale)? + lasts;
        if until <= now {
            return Err(DropReason::MessageStale);
        }
        let mut news = LeaseNews::default();
        if lease.g != self.g {
            self.g = lease.g;
            // Perhaps another life of the front-end, which counts from the beginning.
            (self.peers_version, self.gathered) = (0, Gathered::default());
            news.new_generation = Some(lease.g);
        }
        self.state = match self.state {
            State::Joined { until: before, request_at } => State::Joined { until: until.max(before), request_at },
            State::Joining { .. } => State::Joined { until, request_at: now + self.settings.heartbeat },
        };
        // Later pieces of the node list come under the same number.
        self.sent.retain(|(number, _)| *number >= lease.number);
        (self.me, self.drain, self.route_version) = (lease.you, lease.drain, lease.route_version);
        self.gather(lease, &mut news);
        Ok(news)
    }

    /// The node's generation.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.g
    }

    /// The number under which the front-end knows this node. [`NodeId::FRONT_END`] before the first lease.
    #[must_use]
    pub const fn me(&self) -> NodeId {
        self.me
    }

    /// What the node is to do with its connections.
    #[must_use]
    pub const fn drain(&self) -> DrainState {
        self.drain
    }

    /// The newest route table, and the one that was last said to be in use.
    #[must_use]
    pub const fn route_versions(&self) -> (u32, u32) {
        (self.route_version, self.route_version_used)
    }

    /// Says which route table is in use, with the next heartbeat.
    pub const fn use_route_version(&mut self, version: u32) {
        self.route_version_used = version;
    }

    /// All nodes of the front-end, this one among them.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// One of them.
    #[must_use]
    pub fn peer(&self, id: NodeId) -> Option<&Peer> {
        // The list is in the order of ids, from 1, as long as the front-end numbers so.
        let direct = usize::from(id.0).checked_sub(1).and_then(|index| self.peers.get(index));
        direct.filter(|peer| peer.id == id).or_else(|| self.peers.iter().find(|peer| peer.id == id))
    }

    /// Whether a node lives, by the newest list. One that is not on it may: the list may be older than the node.
    #[must_use]
    pub fn lives(&self, id: NodeId) -> bool {
        self.peer(id).is_none_or(|peer| peer.g != Generation::NONE)
    }

    fn join(&mut self, now: Instant, out: &mut impl Outbox) {
        let number = self.next_number(now);
        out.send(NodeId::FRONT_END, &Join { number, boot: self.boot, g: self.g }.into());
        if let State::Joining { retry } = &mut self.state {
            match retry {
                Some(retry) => retry.again(now, JOIN_RETRY, JOIN_RETRY_MAX),
                None => *retry = Some(Retry::new(now, JOIN_RETRY)),
            }
        }
    }

    fn next_number(&mut self, now: Instant) -> u32 {
        self.number = self.number.wrapping_add(1);
        if self.sent.is_full() {
            self.sent.remove(0);
        }
        self.sent.push((self.number, now));
        self.number
    }

    /// Takes a piece of the node list in; the list changes when it is whole.
    fn gather(&mut self, lease: &Lease<'_>, news: &mut LeaseNews) {
        let total = usize::from(lease.peers_total);
        if lease.peers_version == self.peers_version || total > NODES_MAX {
            return;
        }
        if self.gathered.version != lease.peers_version || self.gathered.peers.len() != total {
            self.gathered = Gathered { version: lease.peers_version, peers: vec![None; total] };
        }
        for (offset, entry) in lease.peers.iter().enumerate() {
            let place = self.gathered.peers.get_mut(usize::from(lease.peers_first) + offset);
            if let Some(place) = place {
                let name = entry.name.as_str().to_owned();
                let (id, g, core, addr, mac) = (entry.id, entry.g, entry.core, entry.addr, entry.mac);
                *place = Some(Peer { id, g, core, addr, mac, name });
            }
        }
        if self.gathered.peers.iter().all(Option::is_some) {
            let peers: Vec<_> = core::mem::take(&mut self.gathered).peers.into_iter().flatten().collect();
            let before = core::mem::replace(&mut self.peers, peers);
            self.peers_version = lease.peers_version;
            news.has_new_peers = true;
            news.deaths = before.iter().filter_map(|peer| self.death_of(peer)).collect();
        }
    }

    fn death_of(&self, before: &Peer) -> Option<Death> {
        let is_over = before.g != Generation::NONE && self.peer(before.id).map(|peer| peer.g) != Some(before.g);
        is_over.then_some(Death { node: before.id, g: before.g })
    }
}
