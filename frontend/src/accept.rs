//! Connections that the front-end still owns: the handshake, the first request's head, and answers to requests that no
//! back-end can be given.

use baton_http1::{Advance, BodyFraming, Cursor, ErrorResponse, Method, Phase, RequestHead, Status};
use baton_stack::addr::{ConnId, Flow, MacAddr};
use baton_stack::drop::DropReason;
use baton_stack::engine::{Conn, ConnKey, EngineFull};
use baton_stack::node::PortId;
use baton_stack::tcp::{Content, Extent, Outcome, Place as ExtentPlace, Segment, SeqNum, State, Tcb};
use baton_stack::tcp::{TimeWait, isn, reset_for_half_open, ts_offset};
use baton_stack::time::Instant;
use handoff_proto::arbiter::RouteState;
use handoff_proto::donor::Donor;
use handoff_proto::message::Served;
use handoff_proto::names::{Epoch, NodeId};

use crate::dispatch::{BackendIndex, Decision, RequestKey};
use crate::handoff::FirstHandoff;
use crate::node::{Bare, FrontEnd};
use crate::routes::{Place, Route, RouteKey};

/// The longest body of a refused request that is read past to keep the connection, in bytes.
const SKIPPED_BODY_MAX: u64 = 1 << 20;
/// When a client may come back after a 503, in seconds.
const RETRY_AFTER_S: u32 = 1;
/// Connection ids of one boot number.
const CONNECTIONS_PER_BOOT: u32 = 1 << 24;

/// A connection that the front-end owns.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) c: ConnId,
    pub(crate) route: RouteKey,
    pub(crate) cursor: Cursor,
    pub(crate) donor: Donor,
    pub(crate) served: Served,
    pub(crate) is_half_open: bool,
    pub(crate) is_awake: bool,
}

impl Accepted {
    pub(crate) fn new(c: ConnId, route: RouteKey, cursor: Cursor, donor: Donor, served: Served) -> Self {
        Self { c, route, cursor, donor, served, is_half_open: false, is_awake: false }
    }
}

/// What a connection needs after it was looked at.
enum Step {
    Wait,
    Reset,
    HandOff(FirstHandoff),
}

impl FrontEnd {
    /// Answers a SYN and remembers it. `floors` are the sequence number and TSval that an earlier connection of the flow has
    /// used up.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        hop: (PortId, MacAddr),
        flow: Flow,
        syn: &Segment<'_>,
        floors: Option<(SeqNum, u32)>,
    ) -> Result<(), DropReason> {
        if self.stop_at.is_some() {
            return Err(DropReason::UnknownFlow);
        }
        let (mut first, mut ts) = (isn(self.isn_keys, &flow, now), ts_offset(self.isn_keys, &flow));
        if let Some((isn_floor, tsval_floor)) = floors {
            first = if first.lt(isn_floor) { isn_floor } else { first };
            ts = baton_stack::tcp::ts_offset_above(ts, tsval_floor, now);
        }
        let tcb = Tcb::accept(now, &self.settings.tcp, flow, first, ts, syn)?;
        let key = self.install(now, tcb, hop, (first, syn.seq + 1))?;
        if let Some(conn) = self.engine.get_mut(key) {
            conn.app.is_half_open = true;
        }
        self.half_open += 1;
        self.stats.syns += 1;
        Ok(())
    }

    /// Takes a new connection in, with its route. `seen` is the client's last acknowledgment and the end of what it has sent.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn install(
        &mut self,
        now: Instant,
        tcb: Tcb,
        (port, client_mac): (PortId, MacAddr),
        (last_ack, seq_end): (SeqNum, SeqNum),
    ) -> Result<ConnKey, DropReason> {
        let flow = tcb.flow();
        let envelope = self.envelope(port, &flow, client_mac).ok_or(DropReason::NotOurs)?;
        let c = self.next_conn_id();
        let state = RouteState::new(self.board.own_generation());
        let (place, first, moving) = (Place::Leaving, Epoch::FIRST, None);
        let since_s = u32::try_from(now.micros() / 1_000_000).unwrap_or(u32::MAX);
        let route = Route { c, flow, state, first, place, moving, since_s, port, client_mac, last_ack, seq_end };
        let route = self.routes.insert(route).ok_or(DropReason::ConnectionLimit)?;
        let accepted = Accepted::new(c, route, Cursor::new(), Donor::new(c, Epoch::FIRST), Served::NOTHING);
        match self.engine.insert(now, tcb, accepted, port, envelope) {
            Ok(key) => {
                if let Some(route) = self.routes.get_mut(route) {
                    route.place = Place::Here(key);
                }
                Ok(key)
            }
            Err(EngineFull(..)) => {
                self.drop_route(route);
                Err(DropReason::ConnectionLimit)
            }
        }
    }

    fn next_conn_id(&mut self) -> ConnId {
        let counter = self.next_connection;
        self.next_connection = self.next_connection.wrapping_add(1);
        // A boot whose ids are used up goes on with the next boot's; quarter seconds pass faster than these.
        let boot = self.settings.boot.0.wrapping_add(counter / CONNECTIONS_PER_BOOT);
        ConnId::new(self.settings.id, 0, boot, counter)
    }

    /// Hands a segment to a connection that the front-end owns.
    pub(crate) fn handle_segment(
        &mut self,
        now: Instant,
        key: ConnKey,
        segment: &Segment<'_>,
    ) -> Result<(), DropReason> {
        let outcome = self.engine.handle_segment(key, now, segment, &mut self.store);
        self.wake(key);
        let outcome = match outcome {
            // Two SYNs of the client were answered, this way and that, and it has heard the other answer.
            Err(DropReason::BadAck) if self.complete_instead(now, key, segment) => return Ok(()),
            outcome => outcome.inspect_err(|reason| self.answer_refused(key, *reason, segment))?,
        };
        self.note(key, &outcome);
        Ok(())
    }

    /// A half-open connection resets what acknowledges another one.
    fn answer_refused(&mut self, key: ConnKey, reason: DropReason, segment: &Segment<'_>) {
        let Some(conn) = self.engine.get_mut(key).filter(|conn| conn.app.is_half_open) else { return };
        let Some(route) = self.routes.get(conn.app.route) else { return };
        let (flow, port, mac) = (route.flow, route.port, route.client_mac);
        if let Some(reset) = reset_for_half_open(reason, segment) {
            self.reply(Bare { flow, port, mac, segment: reset });
        }
    }

    pub(crate) fn wake(&mut self, key: ConnKey) {
        if let Some(conn) = self.engine.get_mut(key)
            && !conn.app.is_awake
        {
            conn.app.is_awake = true;
            self.awake.push(key);
        }
    }

    pub(crate) fn note(&mut self, key: ConnKey, outcome: &Outcome) {
        self.stats.ecn_marked += u64::from(outcome.marked);
        self.stats.ecn_slowed += u64::from(outcome.slowed);
        let Some(conn) = self.engine.get_mut(key) else { return };
        if outcome.established && conn.app.is_half_open {
            conn.app.is_half_open = false;
            self.half_open -= 1;
            self.stats.accepted += 1;
        }
    }

    /// Lets every connection that is awake go on as far as it can.
    pub(crate) fn serve(&mut self, now: Instant) {
        let mut awake = std::mem::take(&mut self.awake);
        for key in awake.drain(..) {
            self.drive(now, key);
        }
        if self.awake.is_empty() {
            self.awake = awake;
        }
    }

    fn drive(&mut self, now: Instant, key: ConnKey) {
        let Some(conn) = self.engine.get_mut(key) else { return };
        conn.app.is_awake = false;
        let step = match conn.tcb.state() {
            State::Closed | State::TimeWait | State::SynSent | State::SynReceived => Step::Wait,
            _ => self.read_requests(now, key),
        };
        if matches!(step, Step::Reset)
            && let Some(conn) = self.engine.get_mut(key)
        {
            conn.tcb.abort();
        }
        self.engine.settle(key, now);
        if let Step::HandOff(handoff) = step {
            self.hand_off(now, key, handoff);
        }
        self.end_if_over(now, key);
    }

    /// Reads on until a request is to be handed over, or nothing more can be read.
    fn read_requests(&mut self, now: Instant, key: ConnKey) -> Step {
        loop {
            let Some(conn) = self.engine.get_mut(key) else { return Step::Wait };
            let mut cursor = conn.app.cursor;
            let advance = match cursor.advance(conn.tcb.unread(), &self.settings.head) {
                Ok(advance) => advance,
                Err(error) => {
                    conn.app.cursor = cursor;
                    return self.respond_and_close(key, error.status());
                }
            };
            let consumed = advance.consumed();
            match advance {
                Advance::Incomplete | Advance::Closed => {
                    conn.app.cursor = cursor;
                    if conn.tcb.peer_finished() || cursor.phase() == Phase::Closed {
                        conn.tcb.close();
                    }
                    return Step::Wait;
                }
                Advance::Head(head) => {
                    let n = cursor.ordinal();
                    let (board, directory) = (&self.board, &self.directory);
                    let is_up = |backend: BackendIndex| {
                        let node = node_of(backend);
                        board.is_offered(node) && !directory.is_paused(now, node)
                    };
                    let key_of_request =
                        RequestKey { host: head.host.unwrap_or_default().as_bytes(), target: head.path.as_bytes() };
                    let status = match self.dispatcher.decide(key_of_request, is_up) {
                        Decision::Serve { backend, strip } => {
                            return Step::HandOff(FirstHandoff { to: node_of(backend), n, strip });
                        }
                        Decision::Unavailable => Status::SERVICE_UNAVAILABLE,
                        Decision::NoRoute => Status::NOT_FOUND,
                    };
                    let (bytes, keep_alive) = error_response(&head, status);
                    if !keep_alive {
                        cursor.close_after_this();
                    }
                    if !put(&mut self.store, &mut conn.tcb, bytes, &mut conn.app.served) {
                        return Step::Reset;
                    }
                    self.stats.count_error(status.code());
                }
                Advance::Body { .. } | Advance::End => {}
            }
            conn.app.cursor = cursor;
            conn.tcb.consume(consumed);
        }
    }

    /// Answers a request that no back-end took, once its head has been read again; the connection lives on.
    pub(crate) fn respond_unavailable(&mut self, key: ConnKey) {
        let Some(conn) = self.engine.get_mut(key) else { return };
        let mut cursor = conn.app.cursor;
        let Ok(Advance::Head(head)) = cursor.advance(conn.tcb.unread(), &self.settings.head) else { return };
        let (bytes, keep_alive) = error_response(&head, Status::SERVICE_UNAVAILABLE);
        let consumed = head.len;
        if !keep_alive {
            cursor.close_after_this();
        }
        conn.app.cursor = cursor;
        conn.tcb.consume(consumed);
        if !put(&mut self.store, &mut conn.tcb, bytes, &mut conn.app.served) {
            conn.tcb.abort();
        }
        self.stats.count_error(Status::SERVICE_UNAVAILABLE.code());
        self.wake(key);
    }

    fn respond_and_close(&mut self, key: ConnKey, status: Status) -> Step {
        let Some(conn) = self.engine.get_mut(key) else { return Step::Wait };
        let mut bytes = Vec::new();
        if ErrorResponse::closing(status).write(&mut bytes).is_err() {
            return Step::Reset;
        }
        self.stats.count_error(status.code());
        if !put(&mut self.store, &mut conn.tcb, bytes, &mut conn.app.served) {
            return Step::Reset;
        }
        conn.tcb.close();
        Step::Wait
    }

    /// Forgets a connection that has ended here, or goes on to remember its end.
    pub(crate) fn end_if_over(&mut self, now: Instant, key: ConnKey) {
        let Some(conn) = self.engine.get(key) else { return };
        let is_over = matches!(conn.tcb.state(), State::Closed | State::TimeWait) && !conn.tcb.wants_transmit(now);
        if !is_over {
            return;
        }
        let Some(conn) = self.discard(key) else { return };
        self.stats.count_closed(conn.tcb.closed());
        let route = conn.app.route;
        if conn.tcb.state() == State::TimeWait {
            let end = TimeWait::new(
                conn.tcb.flow(),
                conn.tcb.snd_nxt(),
                conn.tcb.rcv_nxt(),
                conn.tcb.last_tsval().zip(conn.tcb.ts_recent()),
                now,
                self.settings.tcp.time_wait,
            );
            self.end_route(route, end);
        } else {
            self.drop_route(route);
        }
    }

    /// Takes a connection out of the engine, with what it holds in the store. Its route stays.
    pub(crate) fn discard(&mut self, key: ConnKey) -> Option<Conn<Accepted>> {
        let conn = self.engine.remove(key)?;
        if conn.app.is_half_open {
            self.half_open -= 1;
        }
        for Extent { place, .. } in conn.tcb.extents() {
            if let ExtentPlace::Local { source, .. } = place {
                self.store.remove(*source);
            }
        }
        Some(conn)
    }
}

/// The node id of a back-end: positions in the configuration, from 1.
pub(crate) fn node_of(backend: BackendIndex) -> NodeId {
    NodeId(u16::try_from(backend.0 + 1).unwrap_or(u16::MAX))
}

/// An error response to a request, and whether the connection can go on after it.
fn error_response(head: &RequestHead<'_>, status: Status) -> (Vec<u8>, bool) {
    let can_skip = match head.framing {
        BodyFraming::None => true,
        BodyFraming::Length(len) => len <= SKIPPED_BODY_MAX && !head.expects_continue,
        BodyFraming::Chunked => false,
    };
    let keep_alive = head.keep_alive && can_skip;
    let response = ErrorResponse {
        version: head.version,
        keep_alive,
        head_only: head.method == Method::Head,
        retry_after_s: (status == Status::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_S),
        ..ErrorResponse::closing(status)
    };
    let mut bytes = Vec::new();
    if response.write(&mut bytes).is_ok() {
        return (bytes, keep_alive);
    }
    bytes.clear();
    bytes.extend_from_slice(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    (bytes, false)
}

/// Queues bytes for sending. False if there is no room for them.
fn put(store: &mut impl Content, tcb: &mut Tcb, bytes: Vec<u8>, served: &mut Served) -> bool {
    let len = bytes.len() as u64;
    let Ok(source) = store.insert(bytes) else { return false };
    served.requests += 1;
    served.bytes += len;
    tcb.push(Extent { len, place: ExtentPlace::Local { source, offset: 0 } }).is_ok()
}
