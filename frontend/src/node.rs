//! The front-end node: one core that accepts connections, hands them to back-ends and arbitrates between these.
//!
//! ```text
//!  frame --Ports--> UDP  --> messages.rs   what back-ends say
//!                   TCP  --> route known?  away: note ACK and sequence end, rewrite, send on      (plain ones: forward.rs)
//!                                          here: engine, then accept.rs: first head -> dispatcher -> first handoff
//!                            SYN           cookies.rs: remembered by accept.rs, or answered with a cookie
//!                            its cookie    accept.rs
//!                            else          RST, once every back-end has said what it owns
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::slice;

use ahash::RandomState;
use baton_stack::addr::{ConnId, Flow, IpAddr, MacAddr};
use baton_stack::drop::{DropCounters, DropReason};
use baton_stack::ecn::Ecn;
use baton_stack::engine::{ConnKey, Engine};
use baton_stack::node::{Frame, Node, PortId, Transmit, Verdict};
use baton_stack::ports::{Input, Ports};
use baton_stack::tcp::{Flags, Segment, TimeWait, TimeWaitAction, TooBig, may_complete, reset_for};
use baton_stack::time::{Duration, Instant, earliest};
use baton_stack::wire::{Envelope, IpLayers};
use handoff_proto::admin::PAGE_MAX;
use handoff_proto::arbiter::Arbiter;
use handoff_proto::due::DueList;
use handoff_proto::journal::Journal;
use handoff_proto::lease::{LeaseBoard, NodeConfig};
use handoff_proto::message::{Message, Outbox};
use handoff_proto::names::NodeId;
use handoff_proto::session::{Identity, PeerIndex, Role, Sessions};
use handoff_proto::wishes::Wishes;

use crate::accept::Accepted;
use crate::cookies::Cookies;
use crate::dispatch::Dispatcher;
use crate::drain::Draining;
use crate::forward::Hops;
use crate::handoff::Frozen;
use crate::routes::{Place, Route, RouteKey, Routes};
use crate::settings::Settings;
use crate::stats::{Command, Reply, Stats};
use crate::store::Store;

/// Segments that one `poll` sends at the most.
const SEGMENTS_PER_POLL: usize = 256;
/// Datagrams that one `poll` sends at the most.
const DATAGRAMS_PER_POLL: usize = 64;
/// Single segments (resets, answers in TIME_WAIT) that wait to be sent at the most.
const REPLIES_MAX: usize = 1_024;
/// The longest segment without payload.
pub(crate) const BARE_SEGMENT_MAX: usize = 60;
/// How long a back-end that has refused a connection is given no other: it has reasons that outlast a retry.
const REFUSAL_PAUSE: Duration = Duration::from_millis(250);
/// Ethernet addresses of back-ends that are remembered at the most.
const MACS_MAX: usize = 4_096;
/// IP and UDP headers in front of a datagram.
const UDP_OVERHEAD_V6: u16 = 48;

/// A front-end's core.
#[derive(Debug)]
pub struct FrontEnd {
    pub(crate) settings: Settings,
    pub(crate) ports: Ports,
    pub(crate) sessions: Sessions,
    pub(crate) directory: Directory,
    pub(crate) hops: Hops,
    pub(crate) board: LeaseBoard,
    pub(crate) arbiter: Arbiter,
    pub(crate) routes: Routes,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) engine: Engine<Accepted>,
    pub(crate) store: Store,
    /// Images of first handoffs whose fate is not known yet.
    pub(crate) frozen: HashMap<ConnId, Frozen, RandomState>,
    pub(crate) donors_due: DueList,
    /// Messages of the front-end to itself: its donors ask its arbiter.
    pub(crate) to_self: VecDeque<Vec<u8>>,
    /// Connections that may have something to do.
    pub(crate) awake: Vec<ConnKey>,
    pub(crate) half_open: usize,
    pub(crate) next_connection: u32,
    pub(crate) isn_keys: (u64, u64),
    pub(crate) cookies: Cookies,
    pub(crate) stats: Stats,
    /// The latest moves: of first handoffs all that a donor knows, of later ones grant and route.
    pub(crate) journal: Journal,
    pub(crate) stop_at: Option<Instant>,
    pub(crate) draining: Draining,
    /// What people have wished and no owner has asked about.
    pub(crate) wished: Wishes,
    /// Resets of dead connections, to be sent with the next poll.
    replies: VecDeque<Bare>,
    /// When unknown flows may be reset at the latest: by then every earlier lease has run out.
    strangers_at: Option<Instant>,
    sent_out: Vec<ConnKey>,
    pub(crate) idle: Idle,
}

/// What the node knows of when it has something to do: a node that only sends packets on need not look for it in each turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Idle {
    /// Something has happened that may have brought work.
    Unknown,
    /// It was polled since.
    Polled,
    /// Nothing has happened since, and nothing is to be done before this time, or ever.
    Until(Option<Instant>),
}

/// The back-ends' sessions and addresses. Node ids are positions in the configuration, from 1.
#[derive(Debug)]
pub(crate) struct Directory {
    nodes: Vec<(PeerIndex, IpAddr)>,
    /// Until when nodes are asked for nothing new, because they have refused a connection.
    paused_until: Vec<Instant>,
    /// Where sealed messages came from: a client's packet that comes from there was given back by a back-end.
    macs: HashSet<MacAddr, RandomState>,
}

impl Directory {
    /// Notes where a node's sealed messages come from.
    pub(crate) fn note_mac(&mut self, mac: MacAddr) {
        if self.macs.len() < MACS_MAX {
            self.macs.insert(mac);
        }
    }

    /// A node has refused a connection: it is left in peace for [`REFUSAL_PAUSE`].
    pub(crate) fn pause(&mut self, now: Instant, node: NodeId) {
        let place = usize::from(node.0).checked_sub(1).and_then(|at| self.paused_until.get_mut(at));
        if let Some(until) = place {
            *until = now + REFUSAL_PAUSE;
        }
    }

    /// Whether a node has refused a connection a moment ago.
    pub(crate) fn is_paused(&self, now: Instant, node: NodeId) -> bool {
        let place = usize::from(node.0).checked_sub(1).and_then(|at| self.paused_until.get(at));
        place.is_some_and(|until| now < *until)
    }

    pub(crate) fn session_of(&self, node: NodeId) -> Option<PeerIndex> {
        self.entry(node).map(|(peer, _)| *peer)
    }

    pub(crate) fn addr_of(&self, node: NodeId) -> Option<IpAddr> {
        self.entry(node).map(|(_, addr)| *addr)
    }

    pub(crate) fn id_of(&self, peer: PeerIndex) -> Option<NodeId> {
        let at = self.nodes.iter().position(|(index, _)| *index == peer)?;
        u16::try_from(at + 1).ok().map(NodeId)
    }

    fn entry(&self, node: NodeId) -> Option<&(PeerIndex, IpAddr)> {
        self.nodes.get(usize::from(node.0).checked_sub(1)?)
    }

    /// Where messages go.
    pub(crate) fn outbox<'a>(
        &'a self,
        sessions: &'a mut Sessions,
        to_self: &'a mut VecDeque<Vec<u8>>,
        drops: &'a mut DropCounters,
    ) -> Out<'a> {
        Out { directory: self, sessions, to_self, drops }
    }
}

/// An [`Outbox`] for the back-ends and the front-end itself. What cannot be queued is counted: it will be said again.
pub(crate) struct Out<'a> {
    directory: &'a Directory,
    sessions: &'a mut Sessions,
    to_self: &'a mut VecDeque<Vec<u8>>,
    drops: &'a mut DropCounters,
}

impl Outbox for Out<'_> {
    fn send(&mut self, to: NodeId, message: &Message<'_>) {
        if to == NodeId::FRONT_END {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            self.to_self.push_back(bytes);
            return;
        }
        let Some(peer) = self.directory.session_of(to) else { return };
        if let Err(reason) = self.sessions.send(peer, message) {
            self.drops.count(reason);
        }
    }
}

/// A segment without payload, and where it goes.
#[derive(Debug)]
pub(crate) struct Bare {
    pub(crate) flow: Flow,
    pub(crate) port: PortId,
    pub(crate) mac: MacAddr,
    pub(crate) segment: Segment<'static>,
}

impl FrontEnd {
    /// A front-end without connections.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let now = Instant::ZERO;
        let identity = Identity {
            name: settings.name.clone(),
            boot: settings.boot,
            core: 0,
            cores: 1,
            role: Role::FrontEnd,
            datagram_bytes: settings.interfaces.iter().map(|i| i.mtu).min().unwrap_or(1_280) - UDP_OVERHEAD_V6,
        };
        let mut sessions = Sessions::new(identity, settings.secrets.clone(), settings.seed);
        let peer = |(name, addr): &(String, IpAddr)| Some((sessions.add_peer(now, name, 0, *addr)?, *addr));
        let nodes = settings.backends.iter().filter_map(peer).collect();
        let config = |(name, addr): &(String, IpAddr)| NodeConfig { name: name.clone(), addr: *addr, core: 0 };
        let board = LeaseBoard::new(settings.lease, settings.boot, settings.backends.iter().map(config));
        let names: Vec<String> = settings.backends.iter().map(|(name, _)| name.clone()).collect();
        let vips: Vec<IpAddr> = settings.listeners.iter().map(|listener| listener.addr).collect();
        let [a, b, c, d] = seeds_of(&settings.seed);
        let isn_keys = (a ^ c.rotate_left(32), b ^ d.rotate_left(32));
        Self {
            ports: Ports::new(settings.interfaces.clone(), &vips, now),
            sessions,
            directory: Directory {
                paused_until: vec![Instant::ZERO; settings.backends.len()],
                nodes,
                macs: HashSet::with_hasher(RandomState::with_seeds(d, c, b, a)),
            },
            hops: Hops::new(settings.backends.len()),
            board,
            arbiter: Arbiter::new(),
            routes: Routes::new(settings.connections_max, [a, b, c, d]),
            dispatcher: Dispatcher::new(settings.routes.clone(), &names),
            engine: Engine::new(settings.connections_max, settings.window_bytes_max, now),
            store: Store::default(),
            frozen: HashMap::with_hasher(RandomState::with_seeds(a, c, b, d)),
            donors_due: DueList::new(),
            to_self: VecDeque::new(),
            awake: Vec::new(),
            half_open: 0,
            next_connection: 0,
            isn_keys,
            cookies: Cookies::new(isn_keys),
            stats: Stats::default(),
            journal: Journal::new(),
            stop_at: None,
            draining: Draining::default(),
            wished: Wishes::default(),
            replies: VecDeque::new(),
            strangers_at: None,
            sent_out: Vec::new(),
            idle: Idle::Unknown,
            settings,
        }
    }

    /// Takes a frame the long way. Not inlined: the short way is the faster for it.
    #[inline(never)]
    pub(crate) fn handle_any<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frame: &mut F,
        tx: &mut T,
    ) -> Verdict {
        self.idle = Idle::Unknown;
        let result = match self.ports.handle_frame(now, port, frame, tx) {
            Input::Done(verdict) => return verdict,
            Input::Tcp { flow, src_mac, ip } => self.handle_tcp(now, port, frame, (flow, src_mac, ip), tx),
            Input::Udp { from, src_mac, port, payload } if port == self.settings.udp_port => {
                self.handle_datagram(now, (from, src_mac), &mut frame.bytes_mut()[payload]).map(|()| Verdict::Free)
            }
            Input::Udp { .. } => Err(DropReason::NotOurs),
            Input::IcmpError { flow, too_big, ip } => self.handle_error(now, frame, &flow, (too_big, &ip)),
        };
        result.unwrap_or_else(|reason| {
            self.ports.drops.count(reason);
            Verdict::Free
        })
    }

    /// Takes a client's segment, or one that a back-end has given back.
    fn handle_tcp<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frame: &mut F,
        from: (Flow, MacAddr, IpLayers),
        tx: &mut T,
    ) -> Result<Verdict, DropReason> {
        let (flow, src_mac, ip) = from;
        let Some(key) = self.routes.of_flow(&flow) else {
            return self.handle_stranger(now, port, frame, (flow, src_mac, ip), tx);
        };
        self.routes.note(key, &frame.bytes()[ip.l4.clone()]);
        let Some(route) = self.routes.get(key) else { return Err(DropReason::UnknownFlow) };
        match &route.place {
            Place::Away(_) | Place::Leaving => {
                let owner = match route.place {
                    Place::Leaving => self.frozen.get(&route.c).and_then(|f| f.donor.frozen_towards()).map(|to| to.1),
                    _ => Some(route.state.owner()),
                };
                let addr = owner.and_then(|owner| self.directory.addr_of(owner)).ok_or(DropReason::OwnerUnknown)?;
                self.stats.forwarded_packets += 1;
                self.stats.forwarded_bytes += frame.bytes().len() as u64;
                self.ports.forward(now, frame, &ip, addr)
            }
            &Place::Here(conn) => {
                ip.verify_transport(frame.bytes(), frame.checksum())?;
                let segment = Segment::parse(&frame.bytes()[ip.l4])?.with_ecn(ip.ecn);
                self.handle_segment(now, conn, &segment)?;
                Ok(Verdict::Free)
            }
            Place::TimeWait(_) => {
                ip.verify_transport(frame.bytes(), frame.checksum())?;
                let segment = Segment::parse(&frame.bytes()[ip.l4])?.with_ecn(ip.ecn);
                self.handle_time_wait(now, key, (port, src_mac), &segment)?;
                Ok(Verdict::Free)
            }
        }
    }

    /// A segment of a connection that has ended (RFC 9293 section 3.10.7.4, RFC 6191).
    fn handle_time_wait(
        &mut self,
        now: Instant,
        key: RouteKey,
        from: (PortId, MacAddr),
        segment: &Segment<'_>,
    ) -> Result<(), DropReason> {
        let Some(route) = self.routes.get_mut(key) else { return Err(DropReason::UnknownFlow) };
        let (flow, port, mac) = (route.flow, route.port, route.client_mac);
        let Place::TimeWait(end) = &mut route.place else { return Err(DropReason::UnexpectedSegment) };
        let before = end.until();
        let action = end.handle_segment(now, segment);
        let answer = end.acknowledgment(now);
        self.routes.prolonged(key, before);
        match action {
            TimeWaitAction::Acknowledge => {
                self.reply(Bare { flow, port, mac, segment: answer });
                Ok(())
            }
            TimeWaitAction::Reopen { isn_floor, tsval_floor } => {
                self.check_reopen()?;
                let hop = self.client_hop(now, &flow, from)?;
                self.drop_route(key);
                self.accept(now, hop, flow, segment, Some((isn_floor, tsval_floor)))
            }
            TimeWaitAction::Ignore => Err(DropReason::UnexpectedSegment),
        }
    }

    /// A segment of a flow without a route.
    fn handle_stranger<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frame: &F,
        from: (Flow, MacAddr, IpLayers),
        tx: &mut T,
    ) -> Result<Verdict, DropReason> {
        let (flow, src_mac, ip) = from;
        if !flow.has_possible_client() {
            return Err(DropReason::Malformed);
        }
        if !self.settings.listeners.iter().any(|listener| listener.addr == flow.vip.addr) {
            return Err(DropReason::NotOurs);
        }
        ip.verify_transport(frame.bytes(), frame.checksum())?;
        let segment = Segment::parse(&frame.bytes()[ip.l4])?.with_ecn(ip.ecn);
        let hop = self.client_hop(now, &flow, (port, src_mac))?;
        let is_served = self.settings.listeners.contains(&flow.vip);
        let is_syn = segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) && !segment.flags.has(Flags::RST);
        if is_served && is_syn {
            self.open(now, hop, flow, &segment, tx)?;
            return Ok(Verdict::Free);
        }
        let may_have_cookie = is_served && may_complete(&segment) && self.cookies.are_out(now);
        if may_have_cookie && self.complete(now, hop, flow, &segment)? {
            return Ok(Verdict::Free);
        }
        if is_served && !self.knows_all(now) {
            return Err(DropReason::OwnerUnknown);
        }
        // A reset would hit a good connection, and what is dropped comes again.
        if may_have_cookie && !segment.is_empty() && self.cookies.may_be_early(now, &flow) {
            self.stats.cookies_refused += 1;
            return Err(DropReason::BadCookie);
        }
        // A port that listens resets only what acknowledges something (RFC 9293 section 3.10.7.2).
        let is_answered = !is_served || segment.flags.has(Flags::ACK);
        // Whoever guesses learns nothing: a wrong cookie gets the answer that every segment of an unknown flow gets.
        if let Some(reset) = reset_for(&segment).filter(|_| is_answered) {
            let (port, mac) = hop;
            self.reply(Bare { flow, port, mac, segment: reset });
        }
        if may_have_cookie {
            self.stats.cookies_refused += 1;
            return Err(DropReason::BadCookie);
        }
        Err(DropReason::UnknownFlow)
    }

    /// Takes a route out, with what the arbiter had planned for its connection and what its donor has kept.
    pub(crate) fn drop_route(&mut self, key: RouteKey) -> Option<Route> {
        let mut route = self.routes.remove(key)?;
        self.arbiter.forget(route.c, &mut route.state);
        self.forget_frozen(route.c);
        Some(route)
    }

    /// The connection of a route has ended, and its end is remembered; nothing is planned for it any more.
    pub(crate) fn end_route(&mut self, key: RouteKey, end: TimeWait) {
        let Some(route) = self.routes.get_mut(key) else { return };
        let c = route.c;
        self.arbiter.forget(c, &mut route.state);
        self.forget_frozen(c);
        self.routes.set_time_wait(key, end);
    }

    /// The way back to a client whose packet came `from` there: the same way, unless a back-end gave it back.
    fn client_hop(
        &mut self,
        now: Instant,
        flow: &Flow,
        from: (PortId, MacAddr),
    ) -> Result<(PortId, MacAddr), DropReason> {
        if self.directory.macs.contains(&from.1) { self.ports.resolve(flow.client.addr, now) } else { Ok(from) }
    }

    /// Whether no back-end can own a connection that has no route here: each has joined this life of the front-end, or
    /// its last lease from an earlier one is over.
    fn knows_all(&self, now: Instant) -> bool {
        self.strangers_at.is_some_and(|at| now >= at) || self.board.nodes().all(|(_, node)| node.is_up())
    }

    /// Queues a single segment to a client.
    pub(crate) fn reply(&mut self, bare: Bare) {
        if self.replies.len() < REPLIES_MAX {
            self.replies.push_back(bare);
        } else {
            self.ports.drops.count(DropReason::TransmitFull);
        }
    }

    fn send_replies<T: Transmit>(&mut self, tx: &mut T) {
        while let Some(Bare { flow, port, mac, segment }) = self.replies.front() {
            let Some(envelope) = self.envelope(*port, flow, *mac) else {
                self.replies.pop_front();
                continue;
            };
            let sent = tx.transmit(*port, envelope.len() + BARE_SEGMENT_MAX, |frame| {
                let len = segment.emit(&mut frame[envelope.len()..]);
                envelope.seal_tcp(frame, len, Ecn::NotEct)
            });
            if !sent {
                return;
            }
            self.replies.pop_front();
        }
    }

    /// What goes around segments of ours to a client.
    pub(crate) fn envelope(&self, port: PortId, flow: &Flow, client_mac: MacAddr) -> Option<Envelope> {
        let interface = self.ports.interface(port)?;
        Some(Envelope {
            src_mac: interface.mac,
            dst_mac: client_mac,
            vlan: interface.vlan,
            src: flow.vip.addr,
            dst: flow.client.addr,
            ip: self.settings.tcp.ip,
        })
    }

    fn send_messages<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        for _ in 0..DATAGRAMS_PER_POLL {
            let Some(outgoing) = self.sessions.next_transmit(now) else { return };
            let sessions = &mut self.sessions;
            let write = |buffer: &mut [u8]| sessions.write_datagram(now, outgoing.peer, buffer);
            match self.ports.send_udp(now, outgoing.addr, self.settings.udp_port, tx, write) {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => self.sessions.postpone(now, outgoing.peer),
            }
        }
    }
}

impl Node for FrontEnd {
    type Command = Command;
    type Reply = Reply;

    fn handle_frame<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frame: &mut F,
        tx: &mut T,
    ) -> Verdict {
        let mut verdict = Verdict::Free;
        self.handle_frames(now, port, slice::from_mut(frame), slice::from_mut(&mut verdict), tx);
        verdict
    }

    fn handle_burst<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frames: &mut [F],
        verdicts: &mut [Verdict],
        tx: &mut T,
    ) {
        self.handle_frames(now, port, frames, verdicts, tx);
    }

    fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        if self.idle == Idle::Polled {
            self.idle = Idle::Until(self.due_at());
        }
        if matches!(self.idle, Idle::Until(at) if at.is_none_or(|at| now < at)) {
            return;
        }
        self.poll_all(now, tx);
        self.idle = Idle::Polled;
    }

    fn poll_at(&self) -> Option<Instant> {
        match self.idle {
            Idle::Until(at) => at,
            Idle::Unknown | Idle::Polled => self.due_at(),
        }
    }

    fn handle_command(&mut self, now: Instant, command: Command) -> Reply {
        self.idle = Idle::Unknown;
        match command {
            Command::Stats => Reply::Stats(Box::new(self.snapshot())),
            Command::Connections(page) => Reply::Connections(self.list(now, page)),
            Command::Secrets(secrets) => {
                self.sessions.set_secrets(secrets);
                Reply::Secrets
            }
            Command::Moves { after, limit } => Reply::Moves(self.journal.after(after, limit.min(PAGE_MAX))),
            Command::Move { c, to } => Reply::Move(self.wish(now, c, &to)),
            Command::Drain { node, is_draining } => Reply::Drain(self.set_drain(now, &node, is_draining)),
        }
    }

    fn stop(&mut self, now: Instant) {
        self.idle = Idle::Unknown;
        self.begin_stop(now);
    }

    fn is_stopped(&self) -> bool {
        self.stop_at.is_some() && self.routes.live() == 0 && self.replies.is_empty() && self.engine.is_empty()
    }

    /// A front-end answers to nobody's lease.
    fn may_transmit(&self, _now: Instant) -> bool {
        true
    }
}

impl FrontEnd {
    /// Does everything that is due.
    fn poll_all<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        let LeaseTimes { lease, margin } = LeaseTimes::of(&self.settings);
        self.strangers_at.get_or_insert(now + lease + margin);
        self.board.handle_timeout(now);
        self.handle_board_events(now);
        self.poll_arbiter(now);
        self.poll_donors(now);
        self.routes.expire(now);
        self.continue_stop(now);
        self.poll_draining(now);
        self.poll_wishes(now);
        while let Some((key, outcome)) = self.engine.handle_timeout(now, &mut self.store) {
            self.note(key, &outcome);
            self.wake(key);
        }
        self.serve(now);
        let mut sent_out = std::mem::take(&mut self.sent_out);
        self.engine.transmit(now, SEGMENTS_PER_POLL, &mut self.store, tx, &mut sent_out);
        for key in sent_out.drain(..) {
            self.wake(key);
        }
        self.sent_out = sent_out;
        self.serve(now);
        self.handle_own_messages(now);
        self.send_replies(tx);
        self.send_messages(now, tx);
        self.ports.poll(now, tx);
        self.routes.pack();
    }

    /// When [`Self::poll_all`] has something to do.
    fn due_at(&self) -> Option<Instant> {
        let is_busy = !self.awake.is_empty() || !self.replies.is_empty() || !self.to_self.is_empty();
        [
            if is_busy { Some(Instant::ZERO) } else { None },
            self.donors_due.poll_at(),
            self.board.poll_at(),
            self.arbiter.poll_at(),
            self.routes.poll_at(),
            self.stop_at,
            self.draining.poll_at(),
            self.wished.poll_at(),
            self.sessions.poll_at(),
            self.ports.poll_at(),
        ]
        .into_iter()
        .fold(self.engine.poll_at(Instant::ZERO), earliest)
    }

    /// An ICMP error about a packet that was sent on a flow concerns its owner, as the flow's segments do.
    fn handle_error<F: Frame>(
        &mut self,
        now: Instant,
        frame: &mut F,
        flow: &Flow,
        (too_big, ip): (Option<TooBig>, &IpLayers),
    ) -> Result<Verdict, DropReason> {
        let route = self.routes.of_flow(flow).and_then(|key| self.routes.get(key)).ok_or(DropReason::Icmp)?;
        match route.place {
            Place::Away(owner) => {
                let addr = self.directory.addr_of(owner).ok_or(DropReason::OwnerUnknown)?;
                self.ports.forward(now, frame, ip, addr)
            }
            Place::Here(key) => {
                let told = too_big.ok_or(DropReason::Icmp)?;
                self.engine.handle_too_big(key, now, &told)?;
                Ok(Verdict::Free)
            }
            Place::Leaving | Place::TimeWait(_) => Err(DropReason::Icmp),
        }
    }
}

/// How long an earlier life's leases may last.
struct LeaseTimes {
    lease: baton_stack::time::Duration,
    margin: baton_stack::time::Duration,
}

impl LeaseTimes {
    const fn of(settings: &Settings) -> Self {
        Self { lease: settings.lease.lease, margin: settings.lease.margin }
    }
}

/// Four numbers from the seed, for hash tables and keys.
fn seeds_of(seed: &[u8; 32]) -> [u64; 4] {
    let mut seeds = [0; 4];
    for (seed, bytes) in seeds.iter_mut().zip(seed.chunks_exact(8)) {
        *seed = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    }
    seeds
}
