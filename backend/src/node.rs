//! The back-end node: one core that owns connections, answers requests, and takes and gives connections.
//!
//! ```text
//!  frame --Ports--> UDP  --> messages.rs   what other nodes say
//!                   TCP  --> flow known?   owned: engine, then serving.rs
//!                                          on its way or gone elsewhere: passed on, in place
//!                                          unknown: held, until its image comes or the time is over
//!  poll  --> timers --> connections that have something to do --> segments --> messages
//! ```
//! moves.rs freezes and thaws; link.rs is what there is per front-end; burst.rs tells whose a written frame is.

use std::collections::HashMap;

use ahash::RandomState;
use baton_stack::addr::{ConnId, Flow};
use baton_stack::drop::DropReason;
use baton_stack::engine::{Conn, ConnKey, Engine};
use baton_stack::flow_table::FlowTable;
use baton_stack::node::{Frame, Node, PortId, Transmit, Verdict};
use baton_stack::ports::{Input, Ports};
use baton_stack::tcp::{CloseReason, Extent, Place as ExtentPlace, Segment, State, Tcb, TooBig};
use baton_stack::time::{Instant, earliest};
use baton_stack::wire::IpLayers;
use handoff_proto::admin::{DrainRefused, PAGE_MAX};
use handoff_proto::donor::Donor;
use handoff_proto::due::DueList;
use handoff_proto::hold::Hold;
use handoff_proto::journal::Journal;
use handoff_proto::lease::HolderEvent;
use handoff_proto::message::{Closed, ClosedTimestamps, Ended, LoadReport, RequestKey};
use handoff_proto::names::NodeId;
use handoff_proto::session::{Identity, Role, Sessions};

use crate::ahead::Ahead;
use crate::link::Link;
use crate::moves::Frozen;
use crate::serve::{ContentStore, Responder, Server, Service, StoreLimits, Work};
use crate::serving::{Serving, Step};
use crate::settings::Settings;
use crate::stats::{Command, Reply, Stats};
use crate::tails::Tails;

/// Segments that one `poll` sends at the most.
const SEGMENTS_PER_POLL: usize = 256;
/// Datagrams that one `poll` sends at the most.
const DATAGRAMS_PER_POLL: usize = 64;
/// Rounds of serving and sending in one `poll`: the second sends what was queued when the first had sent all.
const ROUNDS_PER_POLL: usize = 3;
/// IP and UDP headers in front of a datagram.
const UDP_OVERHEAD_V6: u16 = 48;

/// A back-end's core.
#[derive(Debug)]
pub struct BackEnd<S> {
    pub(crate) settings: Settings,
    pub(crate) ports: Ports,
    pub(crate) sessions: Sessions,
    pub(crate) links: Vec<Link>,
    /// Which link a front-end's id in connection ids stands for, once it is known.
    pub(crate) link_of_front_end: HashMap<u8, usize, RandomState>,
    pub(crate) engine: Engine<Owned>,
    pub(crate) flows: FlowTable<Place>,
    pub(crate) owned: HashMap<ConnId, ConnKey, RandomState>,
    pub(crate) frozen: HashMap<ConnId, Frozen, RandomState>,
    pub(crate) hold: Hold,
    pub(crate) server: Server<S>,
    /// What is ready for connections that may come.
    pub(crate) ahead: Ahead,
    /// Connections that may have something to do.
    pub(crate) awake: Vec<ConnKey>,
    /// When donors have something to do.
    pub(crate) donors_due: DueList,
    /// When questions for bytes that other nodes keep are to be repeated.
    pub(crate) fetches_due: DueList,
    pub(crate) stats: Stats,
    /// The latest moves away from here.
    pub(crate) journal: Journal,
    /// Connections with a grant for a node that this node's list does not have yet, or with a response whose content has no name yet.
    pub(crate) waiting: Vec<ConnKey>,
    /// Whether the service has work that waits to be done in pieces.
    pub(crate) has_work: bool,
    /// Bytes of responses that are counted already, and were taken back unsent when their connection moved.
    pub(crate) unsent_again: u64,
    /// How much of its time the node has had something to do lately, in thousandths; 0 in worlds that do not say.
    busy_permille: u16,
    /// When connections that are still here are reset, once a stop has begun.
    stop_at: Option<Instant>,
    /// Whether any lease was held when this turn began.
    was_leased: bool,
    sent_out: Vec<ConnKey>,
}

/// A connection that this node owns.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) link: usize,
    pub(crate) serving: Serving,
    pub(crate) donor: Donor,
    /// When it came here.
    pub(crate) since: Instant,
    /// When the front-end was asked last, and when it last granted a move.
    pub(crate) asked: Instant,
    pub(crate) granted: Instant,
    pub(crate) is_awake: bool,
    /// Whether it waits for the next node list, or for what the service finds out.
    pub(crate) is_waiting: bool,
    /// What earlier owners keep of what is not acknowledged.
    pub(crate) tails: Option<Box<Tails>>,
}

/// What the node knows of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// It owns the connection.
    Owned(ConnKey),
    /// The connection is frozen, and its image on its way to this node.
    Leaving(ConnId),
}

impl<S: Service> BackEnd<S> {
    /// A back-end that serves `service`.
    #[must_use]
    pub fn new(settings: Settings, service: S) -> Self {
        let identity = Identity {
            name: settings.name.clone(),
            boot: settings.boot,
            core: 0,
            cores: 1,
            role: Role::BackEnd,
            datagram_bytes: settings.interfaces.iter().map(|i| i.mtu).min().unwrap_or(1_280) - UDP_OVERHEAD_V6,
        };
        let now = Instant::ZERO;
        let mut sessions = Sessions::new(identity, settings.secrets.clone(), settings.seed);
        let links = settings
            .front_ends
            .iter()
            .filter_map(|(name, addr)| Some(Link::new(sessions.add_peer(now, name, 0, *addr)?, *addr, &settings)))
            .collect();
        let seeds = seeds_of(&settings.seed);
        let hasher = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        let identity = settings.identify.then(|| settings.name.clone());
        Self {
            ports: Ports::new(settings.interfaces.clone(), &[], now),
            sessions,
            links,
            link_of_front_end: HashMap::with_hasher(hasher.clone()),
            engine: Engine::new(settings.connections_max, settings.window_bytes_max, now),
            flows: FlowTable::new(settings.connections_max, seeds),
            owned: HashMap::with_hasher(hasher.clone()),
            frozen: HashMap::with_hasher(hasher.clone()),
            hold: Hold::new(settings.hold),
            server: Server {
                service,
                store: ContentStore::new(StoreLimits::default()),
                responder: Responder::new(identity),
            },
            ahead: Ahead::new(settings.ahead, hasher),
            awake: Vec::new(),
            waiting: Vec::new(),
            has_work: false,
            unsent_again: 0,
            donors_due: DueList::new(),
            fetches_due: DueList::new(),
            stats: Stats::default(),
            journal: Journal::new(),
            busy_permille: 0,
            stop_at: None,
            was_leased: false,
            sent_out: Vec::new(),
            settings,
        }
    }

    /// The link of a connection's front-end. With one front-end there is no question; with several, the first message
    /// from the front-end itself has told.
    pub(crate) fn link_of(&self, c: ConnId) -> Option<usize> {
        if self.links.len() == 1 {
            return Some(0);
        }
        self.link_of_front_end.get(&c.front_end()).copied()
    }

    /// Takes a client's segment, wherever its connection is.
    pub(crate) fn handle_tcp<F: Frame>(
        &mut self,
        now: Instant,
        frame: &mut F,
        flow: &Flow,
        ip: &IpLayers,
    ) -> Result<Verdict, DropReason> {
        match self.flows.get(flow) {
            Some(&Place::Owned(key)) => {
                self.check_lease(now, key)?;
                ip.verify_transport(frame.bytes(), frame.checksum())?;
                self.handle_segment(now, key, &Segment::parse(&frame.bytes()[ip.l4.clone()])?.with_ecn(ip.ecn))?;
                Ok(Verdict::Free)
            }
            Some(&Place::Leaving(c)) => {
                let frozen = self.frozen.get(&c).ok_or(DropReason::UnknownFlow)?;
                if !self.links[frozen.link].holder.is_valid(now) {
                    return Err(DropReason::LeaseExpired);
                }
                let to = frozen.donor.frozen_towards().map_or(NodeId::FRONT_END, |(_, to, _)| to);
                let addr = self.links[frozen.link].directory.addr_of(to).ok_or(DropReason::OwnerUnknown)?;
                self.stats.stragglers += 1;
                self.ports.forward(now, frame, ip, addr)
            }
            None => self.handle_stranger(now, frame, flow, ip),
        }
    }

    /// A segment of a connection that is not here: passed on to where it went, or held for what may come (R12).
    fn handle_stranger<F: Frame>(
        &mut self,
        now: Instant,
        frame: &mut F,
        flow: &Flow,
        ip: &IpLayers,
    ) -> Result<Verdict, DropReason> {
        if let Some(verdict) = self.pass_on(now, frame, flow, ip)? {
            return Ok(verdict);
        }
        self.hold.hold(now, *flow, frame.bytes())?;
        self.stats.held += 1;
        Ok(Verdict::Free)
    }

    /// Sends a frame on to where its connection went; `None` if none went from here.
    fn pass_on<F: Frame>(
        &mut self,
        now: Instant,
        frame: &mut F,
        flow: &Flow,
        ip: &IpLayers,
    ) -> Result<Option<Verdict>, DropReason> {
        for link in &mut self.links {
            if let Some(former) = link.formers.straggler(now, flow) {
                if !link.holder.is_valid(now) {
                    return Err(DropReason::LeaseExpired);
                }
                let addr = link.directory.addr_of(former.to).ok_or(DropReason::OwnerUnknown)?;
                self.stats.stragglers += 1;
                return self.ports.forward(now, frame, ip, addr).map(Some);
            }
        }
        Ok(None)
    }

    /// An ICMP error about a packet that was sent on a flow goes the ways of the flow's segments; but for one that is not here yet it
    /// is not held: if the packet was too big, the next one will be.
    fn handle_error<F: Frame>(
        &mut self,
        now: Instant,
        frame: &mut F,
        flow: &Flow,
        (too_big, ip): (Option<TooBig>, &IpLayers),
    ) -> Result<Verdict, DropReason> {
        match self.flows.get(flow) {
            Some(&Place::Owned(key)) => {
                let told = too_big.ok_or(DropReason::Icmp)?;
                self.check_lease(now, key)?;
                self.engine.handle_too_big(key, now, &told)?;
                Ok(Verdict::Free)
            }
            Some(&Place::Leaving(_)) => self.handle_tcp(now, frame, flow, ip),
            None => self.pass_on(now, frame, flow, ip)?.ok_or(DropReason::Icmp),
        }
    }

    /// Whether the front-end of an owned connection lets this node speak on it now. One front-end's lease is looked at before, where
    /// the frame comes in.
    fn check_lease(&self, now: Instant, key: ConnKey) -> Result<(), DropReason> {
        if self.links.len() == 1 {
            return Ok(());
        }
        let conn = self.engine.get(key).ok_or(DropReason::UnknownFlow)?;
        if self.links[conn.app.link].holder.is_valid(now) { Ok(()) } else { Err(DropReason::LeaseExpired) }
    }

    /// Hands a segment to a connection that is owned here.
    pub(crate) fn handle_segment(
        &mut self,
        now: Instant,
        key: ConnKey,
        segment: &Segment<'_>,
    ) -> Result<(), DropReason> {
        let outcome = self.engine.handle_segment(key, now, segment, &mut self.server.store);
        self.wake(key);
        let outcome = outcome?;
        self.stats.ecn_marked += u64::from(outcome.marked);
        self.stats.ecn_slowed += u64::from(outcome.slowed);
        Ok(())
    }

    /// Puts a connection on the list of those that may have something to do.
    pub(crate) fn wake(&mut self, key: ConnKey) {
        if let Some(conn) = self.engine.get_mut(key)
            && !conn.app.is_awake
        {
            conn.app.is_awake = true;
            self.awake.push(key);
        }
    }

    /// Has a connection wait for the next node list, or for what the service finds out.
    pub(crate) fn have_wait(&mut self, key: ConnKey) {
        if let Some(conn) = self.engine.get_mut(key)
            && !conn.app.is_waiting
        {
            conn.app.is_waiting = true;
            self.waiting.push(key);
        }
    }

    /// What was waited for may be there.
    pub(crate) fn wake_waiting(&mut self) {
        for key in std::mem::take(&mut self.waiting) {
            if let Some(conn) = self.engine.get_mut(key) {
                conn.app.is_waiting = false;
                self.wake(key);
            }
        }
    }

    /// Lets the service do a piece of work, if it has some, and those go on who have waited for it.
    fn work(&mut self) {
        match self.server.service.work() {
            Work::Going => {}
            Work::Found => self.wake_waiting(),
            Work::Nothing => self.has_work = false,
        }
    }

    /// Lets every connection that is awake go on as far as it can.
    fn serve(&mut self, now: Instant) {
        let mut awake = std::mem::take(&mut self.awake);
        for key in awake.drain(..) {
            self.drive(now, key);
        }
        // Those that woke meanwhile are in the new list; the old one lends its memory.
        if self.awake.is_empty() {
            self.awake = awake;
        }
    }

    fn drive(&mut self, now: Instant, key: ConnKey) {
        let Some(conn) = self.engine.get_mut(key) else { return };
        conn.app.is_awake = false;
        if !self.links[conn.app.link].was_leased {
            // It is woken when the lease is there again.
            return;
        }
        if conn.app.tails.is_some() {
            self.tend_tails(now, key);
        }
        let Some(conn) = self.engine.get_mut(key) else { return };
        let before = conn.app.serving.served;
        let step = match conn.tcb.state() {
            State::Closed | State::TimeWait => Step::Wait,
            _ => conn.app.serving.drive(&mut conn.tcb, &mut self.server, &self.settings.request),
        };
        let after = conn.app.serving.served;
        if let Some(is_used) = conn.app.serving.take_use() {
            self.ahead.count_use(is_used);
        }
        let leaves_with = conn.app.serving.leaves_with().filter(|_| conn.app.donor.is_grant_aging(now));
        self.stats.requests += u64::from(after.requests - before.requests);
        let counted = self.unsent_again.min(after.bytes - before.bytes);
        self.unsent_again -= counted;
        self.stats.response_bytes += after.bytes - before.bytes - counted;
        if step == Step::Reset {
            conn.tcb.abort();
        }
        self.engine.settle(key, now);
        match step {
            // The response takes longer than a grant is good for: the same one again, while there is time.
            Step::Wait => leaves_with.into_iter().for_each(|ordinal| self.ask(now, key, ordinal)),
            Step::Reset => {}
            Step::Ask { ordinal } => self.ask(now, key, ordinal),
            Step::AskMove { ordinal, to } => self.ask_move(now, key, ordinal, to),
            Step::Move(destination) => self.hand_off(now, key, destination),
            Step::AwaitName => {
                self.has_work = true;
                self.have_wait(key);
            }
        }
        self.end_if_over(now, key);
    }

    /// Asks the front-end who serves the request that the unread bytes begin with.
    fn ask(&mut self, now: Instant, key: ConnKey, ordinal: u32) {
        let Some(conn) = self.engine.get_mut(key) else { return };
        let Owned { link, serving, donor, asked, .. } = &mut conn.app;
        if donor.asking() == Some(ordinal) {
            return;
        }
        let Some(head) = serving.peek(&conn.tcb, &self.settings.request) else { return };
        let host = head.host.unwrap_or_default().as_bytes();
        let target = head.path_and_query().unwrap_or(head.path).as_bytes();
        let key = RequestKey::new(head.method.as_str().as_bytes(), host, target);
        let request = RequestKey { may_prepare: serving.may_prepare(&head), ..key };
        *asked = now;
        let link = &self.links[*link];
        donor.ask(now, ordinal, &request, &mut link.directory.outbox(&mut self.sessions, &mut self.ports.drops));
        self.donors_due.set(serving.conn, donor.poll_at());
        self.stats.asks += 1;
    }

    /// Says goodbye to a connection that has ended, and tells the front-end.
    fn end_if_over(&mut self, now: Instant, key: ConnKey) {
        let Some(conn) = self.engine.get(key) else { return };
        let state = conn.tcb.state();
        let is_over = match state {
            State::TimeWait => true,
            // A reset of ours leaves first.
            State::Closed => !conn.tcb.wants_transmit(now),
            _ => false,
        };
        if !is_over || (state == State::TimeWait && conn.tcb.wants_transmit(now)) {
            return;
        }
        let Some(conn) = self.discard(key) else { return };
        let Owned { link, serving, .. } = &conn.app;
        let reason = conn.tcb.closed().unwrap_or(CloseReason::Finished);
        self.stats.count_closed(reason);
        let timestamps = conn.tcb.last_tsval().zip(conn.tcb.ts_recent());
        let closed = Closed {
            c: serving.conn,
            e: serving.epoch,
            snd_nxt: conn.tcb.snd_nxt().0,
            rcv_nxt: conn.tcb.rcv_nxt().0,
            timestamps: timestamps.map(|(ts_val, ts_recent)| ClosedTimestamps { ts_val, ts_recent }),
            ended: ended(state, reason),
            served: serving.served,
        };
        let link = &mut self.links[*link];
        let mut out = link.directory.outbox(&mut self.sessions, &mut self.ports.drops);
        if let Err(reason) = link.closed.report(now, closed, &mut out) {
            self.ports.drops.count(reason);
        }
    }
}

impl<S: Service> BackEnd<S> {
    /// Takes a connection out of every table, with what it holds in the store. Nothing is said to anybody.
    pub(crate) fn discard(&mut self, key: ConnKey) -> Option<Conn<Owned>> {
        let mut conn = self.engine.remove(key)?;
        self.donors_due.set(conn.app.serving.conn, None);
        self.flows.remove(&conn.tcb.flow());
        self.owned.remove(&conn.app.serving.conn);
        self.forget_ahead(&mut conn);
        conn.app.serving.abandon(&mut self.server);
        self.free_queue(&conn.tcb);
        self.drop_holders(&conn);
        Some(conn)
    }

    /// What was made ready for a connection is not needed any more.
    pub(crate) fn forget_ahead(&mut self, conn: &mut Conn<Owned>) {
        if conn.app.serving.forget_ahead() {
            self.ahead.count_use(false);
        }
    }

    /// Gives back what a connection's send queue holds in the store.
    pub(crate) fn free_queue(&mut self, tcb: &Tcb) {
        for Extent { place, .. } in tcb.extents() {
            if let ExtentPlace::Local { source, .. } = place {
                self.server.store.remove(*source);
            }
        }
    }

    /// Whether an orderly stop has begun.
    pub(crate) const fn is_stopping(&self) -> bool {
        self.stop_at.is_some()
    }

    /// Everything of one front-end's generation is over: dropped silently, held packets go back (R3).
    pub(crate) fn discard_all<T: Transmit>(&mut self, now: Instant, link: usize, tx: &mut T) {
        let of_link = |conn: &Conn<Owned>| conn.app.link == link;
        let keys: Vec<_> = self.engine.iter().filter(|(_, conn)| of_link(conn)).map(|(key, _)| key).collect();
        for key in keys {
            self.discard(key);
            self.stats.discarded += 1;
        }
        let leaving: Vec<_> = self.frozen.iter().filter(|(_, f)| f.link == link).map(|(c, _)| *c).collect();
        for c in leaving {
            self.give_up_frozen(c);
        }
        self.ahead.clear(link);
        self.links[link].formers.clear();
        self.links[link].closed.clear();
        self.links[link].releases.clear();
        self.links[link].tails.clear(&mut self.server.store);
        while let Some((flow, frames)) = self.hold.take_any() {
            self.release_held(now, &flow, frames, None, tx);
        }
    }

    /// What the front-ends are told with each heartbeat.
    fn load(&self) -> LoadReport {
        LoadReport {
            connections: u32::try_from(self.engine.len()).unwrap_or(u32::MAX),
            requests: self.stats.requests,
            bytes: self.stats.response_bytes,
            busy_permille: self.busy_permille,
        }
    }

    /// Everything that a link does by time.
    fn poll_link(&mut self, now: Instant, index: usize) {
        let load = self.load();
        self.decide_pushing(now, index);
        let link = &mut self.links[index];
        if link.was_leased && !link.holder.is_valid(now) {
            // What was to be said under the lease is not said under a later one (R13).
            for peer in link.directory.sessions() {
                self.sessions.forget_queued(peer);
            }
        }
        let mut out = link.directory.outbox(&mut self.sessions, &mut self.ports.drops);
        if link.holder.handle_timeout(now, &load, &mut out) == HolderEvent::Lapsed {
            self.stats.leases_lapsed += 1;
        }
        link.formers.handle_timeout(now);
        let was_leased = link.was_leased;
        link.was_leased = link.holder.is_valid(now);
        if link.was_leased {
            link.recipient.handle_timeout(now, |node| link.holder.lives(node), &mut out);
            link.closed.handle_timeout(now, &mut out);
            link.releases.handle_timeout(now, |node| link.holder.lives(node), &mut out);
            link.tails.handle_timeout(now, &mut self.server.store, &mut out);
        }
        match (was_leased, self.links[index].was_leased) {
            (true, false) => self.engine.suspend(|conn| conn.app.link == index),
            (false, true) => self.go_on(now, index),
            (true, true) | (false, false) => {}
        }
    }

    /// A lease is there again, and with it the connections that it is for: they go on where they stood (R3).
    fn go_on(&mut self, now: Instant, link: usize) {
        self.engine.resume(now, |conn| conn.app.link == link);
        let keys: Vec<_> = self.engine.iter().filter(|(_, conn)| conn.app.link == link).map(|(key, _)| key).collect();
        for key in keys {
            self.wake(key);
            let Some(conn) = self.engine.get(key) else { continue };
            let Owned { serving, donor, tails, .. } = &conn.app;
            self.donors_due.set(serving.conn, donor.poll_at());
            self.fetches_due.set(serving.conn, tails.as_ref().and_then(|tails| tails.poll_at()));
        }
        for (c, frozen) in self.frozen.iter().filter(|(_, frozen)| frozen.link == link) {
            self.donors_due.set(*c, frozen.donor.poll_at());
        }
    }

    fn has_lease(&self, now: Instant) -> bool {
        self.links.iter().any(|link| link.holder.is_valid(now))
    }

    /// Sends datagrams to other nodes while there is room.
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

    /// Brings a stop that has begun to its end when the grace time is over.
    fn continue_stop(&mut self, now: Instant) {
        if self.stop_at.is_none_or(|at| now < at) {
            return;
        }
        let keys: Vec<_> = self.engine.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(conn) = self.engine.get_mut(key) {
                conn.tcb.abort();
            }
            self.engine.settle(key, now);
            self.wake(key);
        }
        for link in &mut self.links {
            link.tails.clear(&mut self.server.store);
            link.releases.clear();
        }
    }
}

impl<S: Service> Node for BackEnd<S> {
    type Command = Command;
    type Reply = Reply;

    fn handle_frame<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frame: &mut F,
        tx: &mut T,
    ) -> Verdict {
        let result = match self.ports.handle_frame(now, port, frame, tx) {
            Input::Done(verdict) => return verdict,
            Input::Udp { from, port, payload, .. } if port == self.settings.udp_port => {
                self.handle_datagram(now, from, &mut frame.bytes_mut()[payload], tx).map(|()| Verdict::Free)
            }
            Input::Udp { .. } => Err(DropReason::NotOurs),
            Input::Tcp { flow, ip, .. } if self.has_lease(now) => self.handle_tcp(now, frame, &flow, &ip),
            // Without a lease nothing is sent, so nothing is taken either (R13).
            Input::Tcp { .. } => Err(DropReason::LeaseExpired),
            Input::IcmpError { flow, too_big, ip } if self.has_lease(now) => {
                self.handle_error(now, frame, &flow, (too_big, &ip))
            }
            Input::IcmpError { .. } => Err(DropReason::LeaseExpired),
        };
        result.unwrap_or_else(|reason| {
            self.ports.drops.count(reason);
            Verdict::Free
        })
    }

    fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        self.server.responder.set_time(self.settings.unix_at_origin_s + now.micros() / 1_000_000);
        for index in 0..self.links.len() {
            self.poll_link(now, index);
            self.return_given_up(now, index, tx);
        }
        self.ahead.handle_timeout(now);
        self.was_leased = self.links.iter().any(|link| link.was_leased);
        if self.stop_at.is_some_and(|at| now >= at) {
            // Who may not speak cannot even reset: its front-end does that, when its lease is over for it too.
            for index in 0..self.links.len() {
                if !self.links[index].was_leased {
                    self.discard_all(now, index, tx);
                }
            }
        }
        if self.was_leased {
            self.poll_donors(now);
            self.poll_fetches(now);
            while let Some((flow, frames)) = self.hold.take_expired(now) {
                self.release_held(now, &flow, frames, None, tx);
            }
            self.continue_stop(now);
            if self.has_work {
                self.work();
            }
            while let Some((key, _)) = self.engine.handle_timeout(now, &mut self.server.store) {
                self.wake(key);
            }
            for _ in 0..ROUNDS_PER_POLL {
                self.serve(now);
                let mut sent_out = std::mem::take(&mut self.sent_out);
                self.engine.transmit(now, SEGMENTS_PER_POLL, &mut self.server.store, tx, &mut sent_out);
                for key in sent_out.drain(..) {
                    self.wake(key);
                }
                self.sent_out = sent_out;
            }
        }
        // After the segments: an image must not overtake its donor's last data.
        self.send_messages(now, tx);
        self.ports.poll(now, tx);
    }

    fn poll_at(&self) -> Option<Instant> {
        let links = self.links.iter().map(Link::poll_at);
        let own = [self.sessions.poll_at(), self.ports.poll_at(), self.ahead.poll_at()];
        let always = links.chain(own).fold(None, earliest);
        if !self.was_leased {
            // What needs a lease waits for one, and a lease comes with a frame.
            return always;
        }
        let at_once = if self.awake.is_empty() && !self.has_work { None } else { Some(Instant::ZERO) };
        [
            self.donors_due.poll_at(),
            self.fetches_due.poll_at(),
            at_once,
            self.stop_at,
            self.hold.poll_at(),
            self.engine.poll_at(Instant::ZERO),
        ]
        .into_iter()
        .fold(always, earliest)
    }

    fn handle_command(&mut self, now: Instant, command: Command) -> Reply {
        match command {
            Command::Stats => Reply::Stats(Box::new(self.snapshot(now))),
            Command::Connections(page) => Reply::Connections(self.list(now, page)),
            Command::Secrets(secrets) => {
                self.sessions.set_secrets(secrets);
                Reply::Secrets
            }
            Command::Moves { after, limit } => Reply::Moves(self.journal.after(after, limit.min(PAGE_MAX))),
            Command::Move { c, to } => Reply::Move(self.wish(now, c, &to)),
            Command::Drain { .. } => Reply::Drain(Err(DrainRefused::NotHere)),
        }
    }

    fn note_busy(&mut self, permille: u16) {
        self.busy_permille = permille;
    }

    fn stop(&mut self, now: Instant) {
        self.stop_at = Some(now + self.settings.stop_grace);
        let keys: Vec<_> = self.engine.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(conn) = self.engine.get_mut(key) {
                conn.app.serving.close_after_response(&mut conn.tcb);
            }
            self.engine.settle(key, now);
            self.wake(key);
        }
    }

    fn is_stopped(&self) -> bool {
        let is_done = |link: &Link| link.closed.is_empty() && link.tails.is_empty() && link.releases.is_empty();
        let is_silent = self.links.iter().all(is_done);
        self.stop_at.is_some() && self.engine.is_empty() && self.frozen.is_empty() && is_silent
    }

    /// What was written under a lease must not leave after it (R2).
    fn may_transmit(&self, now: Instant) -> bool {
        !self.links.iter().any(|link| link.has_lapsed(now))
    }

    fn may_transmit_frame(&self, now: Instant, frame: &[u8]) -> bool {
        self.may_leave(now, frame)
    }
}

/// How a connection ended, as CLOSED says it.
fn ended(state: State, reason: CloseReason) -> Ended {
    match reason {
        CloseReason::ResetByPeer => Ended::ResetByClient,
        CloseReason::TimedOut => Ended::TimedOut,
        CloseReason::Aborted | CloseReason::ContentLost | CloseReason::TailLost => Ended::ResetByUs,
        CloseReason::Finished if state == State::TimeWait => Ended::Active,
        CloseReason::Finished => Ended::Passive,
    }
}

/// Four numbers from the seed, for hash tables.
fn seeds_of(seed: &[u8; 32]) -> [u64; 4] {
    let mut seeds = [0; 4];
    for (seed, bytes) in seeds.iter_mut().zip(seed.chunks_exact(8)) {
        *seed = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    }
    seeds
}
