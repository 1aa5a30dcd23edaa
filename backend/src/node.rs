//! The back-end node: one core that owns connections, answers requests, and takes and gives connections.
//!
//! ```text
//!  frame --Ports--> UDP  --> messages.rs   what other nodes say
//!                   TCP  --> packets.rs    owned: engine; on its way or gone elsewhere: passed on, in place;
//!                                          unknown: held, until its image comes or the time is over
//!  poll  --> leases.rs --> timers --> turns.rs: connections that have something to do --> segments --> messages
//! ```
//! moves.rs freezes and thaws; link.rs is what there is per front-end; burst.rs tells whose a written frame is.

use std::collections::HashMap;

use ahash::RandomState;
use baton_stack::addr::ConnId;
use baton_stack::drop::DropReason;
use baton_stack::engine::{Conn, ConnKey, Engine};
use baton_stack::flow_table::FlowTable;
use baton_stack::node::{Frame, Node, PortId, Transmit, Verdict};
use baton_stack::ports::{Input, Ports};
use baton_stack::tcp::{Extent, Place as ExtentPlace, Tcb};
use baton_stack::time::{Instant, earliest};
use handoff_proto::admin::{DrainRefused, PAGE_MAX};
use handoff_proto::donor::Donor;
use handoff_proto::due::DueList;
use handoff_proto::hold::Hold;
use handoff_proto::journal::Journal;
use handoff_proto::session::{Identity, Role, Sessions};

use crate::again::Again;
use crate::ahead::Ahead;
use crate::link::Link;
use crate::moves::Frozen;
use crate::serve::{ContentStore, Responder, Server, Service, StoreLimits};
use crate::serving::Serving;
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
    /// Wishes that are to be said again.
    pub(crate) again: Again,
    /// Whether the service has work that waits to be done in pieces.
    pub(crate) has_work: bool,
    /// Bytes of responses that are counted already, and were taken back unsent when their connection moved.
    pub(crate) unsent_again: u64,
    /// How much of its time the node has had something to do lately, in thousandths; 0 in worlds that do not say.
    pub(crate) busy_permille: u16,
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
            again: Again::default(),
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
}

impl<S: Service> BackEnd<S> {
    /// Takes a connection out of every table, with what it holds in the store. Nothing is said to anybody.
    pub(crate) fn discard(&mut self, key: ConnKey) -> Option<Conn<Owned>> {
        let mut conn = self.engine.remove(key)?;
        self.donors_due.set(conn.app.serving.conn, None);
        self.again.forget(conn.app.serving.conn);
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
            self.poll_wishes(now);
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
            self.again.poll_at(),
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

/// Four numbers from the seed, for hash tables.
fn seeds_of(seed: &[u8; 32]) -> [u64; 4] {
    let mut seeds = [0; 4];
    for (seed, bytes) in seeds.iter_mut().zip(seed.chunks_exact(8)) {
        *seed = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    }
    seeds
}
