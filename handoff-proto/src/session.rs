//! Sessions: all other nodes that this node's core talks to, from HELLO to sealed datagrams.
//!
//! ```text
//!   A                                              B
//!   |--- HELLO (boot, challenge a) --------------->|  changes nothing at B: it may be a replay
//!   |<-- HELLO-ACK (boot, challenge b, echo a) ----|  A: fresh; keys from both boots and challenges
//!   |--- HELLO-ACK (challenge a, echo b) --------->|  B: fresh; the same keys
//!   |<== sealed datagrams of many messages =======>|
//! ```
//! Either side may begin, or both. A life with a lower boot than one that was proved is not listened to; a higher one
//! that is proved takes the old one's place, with new keys.
//!
//! The caller wraps what [`Sessions::write_datagram`] writes into UDP and IP, and hands in what comes.

mod hello;
mod peer;
mod traffic;
mod unseal;

pub use traffic::Traffic;
pub use unseal::{Captured, Unsealer};

use std::collections::{BTreeSet, VecDeque};

use ahash::RandomState;
use baton_stack::addr::IpAddr;
use baton_stack::drop::DropReason;
use baton_stack::time::{Duration, Instant, earliest};
use hashbrown::HashMap;

use crate::codec::{Reader, Wire};
use crate::header::{DatagramKind, HEADER_BYTES, Header, VERSION_MAX, VERSION_MIN};
use crate::message::{HANDOFF_OVERHEAD, Message, MessageError};
use crate::names::{Boot, NAME_BYTES_MAX};
use crate::seal::{Challenges, SecretId, Secrets, TAG_BYTES};
use peer::{Confirmed, Peer};

/// The wait before HELLO is repeated first.
pub const HELLO_RETRY: Duration = Duration::from_millis(20);
/// The longest wait between two HELLO. They go on until the other node answers.
pub const HELLO_RETRY_MAX: Duration = Duration::from_millis(500);
/// The most other nodes.
pub const PEERS_MAX: usize = 2_048;
/// The most bytes of messages that wait for one node before its session is up.
pub const QUEUE_BYTES_BEFORE_SESSION_MAX: usize = 64 << 10;
/// The most bytes of messages that wait for one node.
pub const QUEUE_BYTES_MAX: usize = 1 << 20;
/// How long a node is left alone that could not be reached on the link.
pub const POSTPONE: Duration = Duration::from_millis(5);
/// The shortest datagram limit that a node may have: the largest message of fixed size must fit.
pub const DATAGRAM_BYTES_MIN: u16 = 1_280 - 40 - 8;

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its name; unique in the cluster.
    pub name: String,
    /// Its life; grows with each start.
    pub boot: Boot,
    /// Which of the machine's cores.
    pub core: u8,
    /// How many cores.
    pub cores: u8,
    /// What it is.
    pub role: Role,
    /// The longest UDP payload that it sends and takes, by its MTU; at least [`DATAGRAM_BYTES_MIN`].
    pub datagram_bytes: u16,
}

crate::codec::wire_enum! {
    /// The two node types.
    pub enum Role {
        /// A front-end.
        FrontEnd = 1,
        /// A back-end.
        BackEnd = 2,
    }
}

/// What another node says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerInfo {
    /// Its life.
    pub boot: Boot,
    /// What it is.
    pub role: Role,
    /// How many cores it has.
    pub cores: u8,
    /// The wire version that the two use.
    pub version: u8,
    /// The longest UDP payload that it takes.
    pub datagram_bytes: u16,
}

/// Another node, by the order in which it was added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerIndex(pub usize);

/// What happened to a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum SessionEvent {
    /// The other node has proved a life that was not known: new keys. What waited for an earlier life is gone.
    PeerBooted {
        /// The node.
        peer: PeerIndex,
        /// Its life.
        boot: Boot,
    },
}

/// A datagram that may be written now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Outgoing {
    /// For whom.
    pub peer: PeerIndex,
    /// Where to.
    pub addr: IpAddr,
}

/// The sessions of one node's core.
#[derive(Debug)]
pub struct Sessions {
    me: Identity,
    secrets: Secrets,
    challenges: Challenges,
    peers: Vec<Peer>,
    by_addr: HashMap<(IpAddr, u8), PeerIndex, RandomState>,
    /// Peers with something to write.
    ready: VecDeque<PeerIndex>,
    /// When a HELLO is due, or a postponement over.
    due: BTreeSet<(Instant, PeerIndex)>,
    /// Peers for which something was queued since the last look at the clock.
    news: Vec<PeerIndex>,
    /// Until when it may wait.
    flushes: BTreeSet<(Instant, PeerIndex)>,
    said: Traffic,
    events: VecDeque<SessionEvent>,
    scratch: Vec<u8>,
}

impl Sessions {
    /// Without peers. `seed` must be unpredictable: challenges come from it.
    #[must_use]
    pub fn new(me: Identity, secrets: impl Into<Secrets>, seed: [u8; 32]) -> Self {
        debug_assert!(!me.name.is_empty() && me.name.len() <= NAME_BYTES_MAX);
        Self {
            me,
            secrets: secrets.into(),
            challenges: Challenges::new(&seed),
            peers: Vec::new(),
            // The keys are nodes of the cluster: nobody outside chooses them.
            by_addr: HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)),
            ready: VecDeque::new(),
            due: BTreeSet::new(),
            news: Vec::new(),
            flushes: BTreeSet::new(),
            said: Traffic::default(),
            events: VecDeque::new(),
            scratch: Vec::new(),
        }
    }

    /// Adds another node and begins to say HELLO to it. A known name and core keeps its index; a new address of it is
    /// taken over. `None` above [`PEERS_MAX`], and for this node itself.
    pub fn add_peer(&mut self, now: Instant, name: &str, core: u8, addr: IpAddr) -> Option<PeerIndex> {
        if (name, core) == (self.me.name.as_str(), self.me.core) {
            return None;
        }
        if let Some(known) = self.find(name, core) {
            let peer = self.peers.get_mut(known.0)?;
            self.by_addr.remove(&(peer.addr(), core));
            peer.set_addr(addr);
            self.by_addr.insert((addr, core), known);
            return Some(known);
        }
        if self.peers.len() >= PEERS_MAX || name.is_empty() || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let index = PeerIndex(self.peers.len());
        self.peers.push(Peer::new(&self.me, &self.secrets, name, core, addr, self.challenges.draw()));
        self.by_addr.insert((addr, core), index);
        self.due.insert((now, index));
        Some(index)
    }

    /// The node's secrets have changed. Sessions go on; those that are under another secret than the first are replaced, without a
    /// lost message, by sessions under it, if this node's name comes before the other's: the other will see to the rest.
    pub fn set_secrets(&mut self, secrets: Secrets) {
        self.secrets = secrets;
        for index in (0..self.peers.len()).map(PeerIndex) {
            let peer = self.peers.get_mut(index.0);
            if peer.is_some_and(|peer| peer.set_secrets(&self.me, &self.secrets)) {
                self.make_ready(index);
            }
        }
    }

    /// The secret that the session with a peer is under; `None` without one.
    #[must_use]
    pub fn secret(&self, peer: PeerIndex) -> Option<SecretId> {
        self.peers.get(peer.0).and_then(Peer::secret)
    }

    /// How many peers there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// The peer with this name and core.
    #[must_use]
    pub fn find(&self, name: &str, core: u8) -> Option<PeerIndex> {
        self.peers.iter().position(|peer| (peer.name(), peer.core()) == (name, core)).map(PeerIndex)
    }

    /// A peer's name.
    #[must_use]
    pub fn name(&self, peer: PeerIndex) -> Option<&str> {
        self.peers.get(peer.0).map(Peer::name)
    }

    /// A peer's address.
    #[must_use]
    pub fn addr(&self, peer: PeerIndex) -> Option<IpAddr> {
        self.peers.get(peer.0).map(Peer::addr)
    }

    /// The life of a peer that has proved itself; `None` before.
    #[must_use]
    pub fn boot(&self, peer: PeerIndex) -> Option<Boot> {
        self.peers.get(peer.0).and_then(Peer::boot)
    }

    /// What a peer that has proved itself says of itself.
    #[must_use]
    pub fn info(&self, peer: PeerIndex) -> Option<PeerInfo> {
        self.peers.get(peer.0).and_then(Peer::info)
    }

    /// How long a message may be, with its header, to fit a datagram of this node.
    #[must_use]
    pub fn message_bytes_max(&self) -> usize {
        usize::from(self.me.datagram_bytes.max(DATAGRAM_BYTES_MIN)) - HEADER_BYTES - TAG_BYTES
    }

    /// How long a part of an image may be: one HANDOFF then fills a datagram to this peer.
    #[must_use]
    pub fn part_bytes(&self, peer: PeerIndex) -> u16 {
        let datagram = self.peers.get(peer.0).map_or(DATAGRAM_BYTES_MIN, |peer| peer.datagram_bytes(&self.me));
        let part = usize::from(datagram) - HEADER_BYTES - TAG_BYTES - HANDOFF_OVERHEAD;
        u16::try_from(part).unwrap_or(u16::MAX)
    }

    /// What was said so far.
    #[must_use]
    pub const fn said(&self) -> &Traffic {
        &self.said
    }

    /// Queues a message. It leaves with others, in order, once the session is up: at once, or, if it has patience
    /// ([`Message::patience`]), with the next one to the same node that has none.
    ///
    /// # Errors
    /// It is dropped: an unknown peer, a message longer than a datagram, or a full queue.
    pub fn send(&mut self, peer: PeerIndex, message: &Message<'_>) -> Result<(), DropReason> {
        let me = &self.me;
        let entry = self.peers.get_mut(peer.0).ok_or(DropReason::MessageUnknownPeer)?;
        self.scratch.clear();
        message.encode(&mut self.scratch);
        if self.scratch.len() > usize::from(entry.datagram_bytes(me)) - HEADER_BYTES - TAG_BYTES {
            return Err(DropReason::MessageLimit);
        }
        let had_news = entry.has_news();
        entry.push(&self.scratch, message.patience())?;
        if !had_news {
            self.news.push(peer);
        }
        Ok(())
    }

    /// Drops what waits for a peer and has not been written.
    pub fn forget_queued(&mut self, peer: PeerIndex) {
        if let Some(entry) = self.peers.get_mut(peer.0) {
            entry.forget_queued();
        }
    }

    /// The next datagram that may be written; asked again until `None` (or until nothing can be sent). Peers take turns.
    pub fn next_transmit(&mut self, now: Instant) -> Option<Outgoing> {
        self.note_patience(now);
        while let Some((at, index)) = self.flushes.first().copied().filter(|(at, _)| *at <= now) {
            self.flushes.remove(&(at, index));
            if let Some(peer) = self.peers.get_mut(index.0) {
                peer.flush();
            }
            self.make_ready(index);
        }
        while let Some((at, index)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, index));
            if let Some(peer) = self.peers.get_mut(index.0) {
                peer.wake(now);
            }
            self.make_ready(index);
        }
        while let Some(index) = self.ready.front().copied() {
            match self.peers.get_mut(index.0) {
                Some(peer) if peer.has_output() => return Some(Outgoing { peer: index, addr: peer.addr() }),
                Some(peer) => peer.is_ready = false,
                None => {}
            }
            self.ready.pop_front();
        }
        None
    }

    /// Writes the next datagram for `peer` and returns its length; zero if there is none or `buf` is too short for it.
    pub fn write_datagram(&mut self, now: Instant, index: PeerIndex, buf: &mut [u8]) -> usize {
        let Some(peer) = self.peers.get_mut(index.0) else { return 0 };
        let len = peer.write(now, &self.me, buf, &mut self.said);
        if let Some(at) = peer.take_deadline() {
            self.due.insert((at, index));
        }
        if let Some(at) = peer.take_flushed() {
            self.flushes.remove(&(at, index));
        }
        // To the back of the line.
        self.ready.retain(|ready| *ready != index);
        peer.is_ready = false;
        if peer.has_output() && len > 0 {
            self.make_ready(index);
        }
        len
    }

    /// [`Self::next_transmit`] and [`Self::write_datagram`] in one: the datagram's length with its destination.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<(Outgoing, usize)> {
        let outgoing = self.next_transmit(now)?;
        let len = self.write_datagram(now, outgoing.peer, buf);
        (len > 0).then_some((outgoing, len))
    }

    /// The peer could not be reached on the link (its neighbour entry is pending): leaves it alone for [`POSTPONE`].
    pub fn postpone(&mut self, now: Instant, index: PeerIndex) {
        if let Some(peer) = self.peers.get_mut(index.0) {
            peer.is_ready = false;
            self.ready.retain(|ready| *ready != index);
            self.due.insert((now + POSTPONE, index));
        }
    }

    /// Handles a UDP payload that came from `from`: who sent it, and the messages in it. HELLO is dealt with here and
    /// has none.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_datagram<'b>(
        &mut self,
        now: Instant,
        from: IpAddr,
        datagram: &'b mut [u8],
    ) -> Result<(PeerIndex, Messages<'b>), DropReason> {
        let (head, body) = datagram.split_at_mut_checked(HEADER_BYTES).ok_or(DropReason::Truncated)?;
        let header = Header::take(&mut Reader::new(head)).ok_or(DropReason::MessageMalformed)?;
        if !(VERSION_MIN..=VERSION_MAX).contains(&header.version) {
            return Err(DropReason::MessageMalformed);
        }
        let index = self.sender(from, header.sender_core).ok_or(DropReason::MessageUnknownPeer)?;
        if header.receiver_core != self.me.core {
            return Err(DropReason::NotOurs);
        }
        match header.kind {
            DatagramKind::Hello => {
                self.handle_hello(now, index, &header, head, body)?;
                Ok((index, Messages { rest: Reader::new(&[]) }))
            }
            DatagramKind::Sealed => {
                let peer = self.peers.get_mut(index.0).ok_or(DropReason::MessageUnknownPeer)?;
                let body = peer.open(now, &self.me, &header, head, body)?;
                Ok((index, Messages { rest: Reader::new(body) }))
            }
        }
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// When [`Self::next_transmit`] has something new; [`Instant::ZERO`] if it has something now.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        if !self.ready.is_empty() || !self.news.is_empty() {
            return Some(Instant::ZERO);
        }
        let first = |times: &BTreeSet<(Instant, PeerIndex)>| times.first().map(|(at, _)| *at);
        earliest(first(&self.due), first(&self.flushes))
    }

    /// Notes until when what was queued since the last look at the clock may wait.
    fn note_patience(&mut self, now: Instant) {
        while let Some(index) = self.news.pop() {
            let Some(peer) = self.peers.get_mut(index.0) else { continue };
            if let Some((at, before)) = peer.note_patience(now) {
                if let Some(before) = before {
                    self.flushes.remove(&(before, index));
                }
                self.flushes.insert((at, index));
            } else if peer.has_output() {
                self.make_ready(index);
            }
        }
    }

    fn sender(&self, from: IpAddr, core: u8) -> Option<PeerIndex> {
        self.by_addr.get(&(from, core)).copied()
    }

    fn make_ready(&mut self, index: PeerIndex) {
        if let Some(peer) = self.peers.get_mut(index.0)
            && !peer.is_ready
        {
            peer.is_ready = true;
            self.ready.push_back(index);
        }
    }

    fn handle_hello(
        &mut self,
        now: Instant,
        index: PeerIndex,
        header: &Header,
        head: &[u8],
        body: &[u8],
    ) -> Result<(), DropReason> {
        let peer = self.peers.get_mut(index.0).ok_or(DropReason::MessageUnknownPeer)?;
        let (secret, hello) = peer.open_hello(head, body)?;
        let confirmed = peer.handle_hello(now, &self.me, header, (secret, &hello))?;
        if confirmed != Confirmed::Nothing {
            peer.set_challenge(self.challenges.draw());
        }
        if confirmed == Confirmed::NewLife {
            self.events.push_back(SessionEvent::PeerBooted { peer: index, boot: header.sender_boot });
        }
        if let Some(at) = peer.take_deadline() {
            self.due.insert((at, index));
        }
        self.make_ready(index);
        Ok(())
    }
}

/// The messages of a datagram.
#[derive(Debug)]
pub struct Messages<'b> {
    rest: Reader<'b>,
}

impl<'b> Iterator for Messages<'b> {
    /// A message, or why one was dropped: those after it still come.
    type Item = Result<Message<'b>, DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            match Message::decode(&mut self.rest) {
                Ok(message) => return Some(Ok(message)),
                Err(MessageError::Skipped) => {}
                Err(MessageError::Truncated | MessageError::Malformed | MessageError::UnknownKind) => {
                    return Some(Err(DropReason::MessageMalformed));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod rotation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod weather;
