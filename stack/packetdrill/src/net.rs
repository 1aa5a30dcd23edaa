//! Packets in, packets out: the connections of one virtual host, and the ports that it listens on.

use std::collections::{BTreeMap, HashMap, VecDeque};

use baton_http1::Cursor;
use baton_stack::addr::{ConnId, Endpoint, Flow, MacAddr};
use baton_stack::ecn::Ecn;
use baton_stack::icmp::{self, Icmp};
use baton_stack::node::RxChecksum;
use baton_stack::tcp::{
    CloseReason, Content, Extent, Flags, Place, Segment, SourceId, State, Tcb, TcpConfig, TimeWait, TimeWaitAction,
    Written, isn, reset_for, reset_for_half_open, ts_offset, ts_offset_above,
};
use baton_stack::time::{Duration, Instant, earliest};
use baton_stack::wire::{self, Envelope, IpLayers, IpSettings, protocol};
use handoff_proto::image::{Image, Plan};
use handoff_proto::message::Served;
use handoff_proto::names::Epoch;
use nix::errno::Errno;

use crate::store::Store;

/// Connections at the most; a SYN for one more is dropped.
pub(crate) const CONNECTIONS_MAX: usize = 1_024;
/// Packets that nobody has received yet, at the most; later ones are dropped.
pub(crate) const PACKETS_MAX: usize = 16_384;

/// Two runs give the same numbers.
const KEYS: (u64, u64) = (0x6261_746f_6e00_0001, 0x6261_746f_6e00_0002);
/// What the wire module wants in front of a packet.
const ETHERNET_LEN: usize = 14;
/// Where the clock starts: late enough for every age that an image can carry in a script.
const START: Instant = Instant::from_micros(1_000_000_000_000);

/// A packet that has left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Packet {
    /// From the IP header on.
    pub(crate) bytes: Vec<u8>,
    /// When it left.
    pub(crate) at: Instant,
}

/// Names a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ConnKey(u64);

/// Names a listening socket: its descriptor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ListenerKey(pub(crate) i32);

/// What went over a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) segments_in: u32,
    pub(crate) segments_out: u32,
    pub(crate) data_segments_in: u32,
    pub(crate) data_segments_out: u32,
    pub(crate) retransmissions: u32,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_again: u64,
}

/// Whose a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holder {
    /// It waits to be accepted, or for the end of its handshake.
    Listener(ListenerKey),
    /// A socket.
    Socket,
    /// Nobody: it was closed, and sends what is left.
    Nobody,
}

/// A connection.
#[derive(Clone, Debug)]
pub(crate) struct Conn {
    pub(crate) tcb: Tcb,
    pub(crate) config: TcpConfig,
    pub(crate) counts: Counts,
    /// The state before the last segment or timeout: what a reset means depends on it.
    pub(crate) state_before: State,
    /// Where the last bytes to send are in the store.
    stream: Option<SourceId>,
    holder: Holder,
}

/// A port that is listened on.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) local: Endpoint,
    pub(crate) config: TcpConfig,
    pub(crate) backlog: usize,
    /// Established and not accepted.
    pub(crate) ready: VecDeque<ConnKey>,
}

/// The virtual host. It has every address: a packet's destination is its own.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    now: Instant,
    conns: BTreeMap<ConnKey, Conn>,
    by_flow: HashMap<Flow, ConnKey>,
    ended: HashMap<Flow, TimeWait>,
    pub(crate) listeners: BTreeMap<ListenerKey, Listener>,
    sent: VecDeque<Packet>,
    pub(crate) store: Store,
    next_key: u64,
    /// Whether connections move to another node between any two events.
    moves: bool,
}

impl Net {
    pub(crate) fn new(moves: bool) -> Self {
        Self {
            now: START,
            conns: BTreeMap::new(),
            by_flow: HashMap::new(),
            ended: HashMap::new(),
            listeners: BTreeMap::new(),
            sent: VecDeque::new(),
            store: Store::default(),
            next_key: 0,
            moves,
        }
    }

    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    /// When the next timer of a connection runs out.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.conns.values().map(|conn| conn.tcb.poll_at()).fold(None, earliest)
    }

    /// Sets the clock, and lets connections do what is due by then. The caller stops at each [`Net::next_timer`].
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let is_due = |conn: &Conn| conn.tcb.poll_at().is_some_and(|at| at <= self.now);
        let due: Vec<ConnKey> = self.conns.iter().filter(|(_, conn)| is_due(conn)).map(|(key, _)| *key).collect();
        for key in due {
            if let Some(conn) = self.conns.get_mut(&key) {
                conn.state_before = conn.tcb.state();
                let _ = conn.tcb.handle_timeout(self.now, &mut self.store);
                self.settle(key);
            }
        }
    }

    /// The next packet that has left.
    pub(crate) fn take_sent(&mut self) -> Option<Packet> {
        self.sent.pop_front()
    }

    pub(crate) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    pub(crate) fn conn(&self, key: ConnKey) -> Option<&Conn> {
        self.conns.get(&key)
    }

    /// Changes a connection from the socket's side, and sends what comes of it.
    pub(crate) fn change<R>(&mut self, key: ConnKey, change: impl FnOnce(&mut Tcb, Instant) -> R) -> Option<R> {
        let conn = self.conns.get_mut(&key)?;
        let result = change(&mut conn.tcb, self.now);
        self.settle(key);
        Some(result)
    }

    /// Gives a connection other settings.
    pub(crate) fn configure(&mut self, key: ConnKey, config: TcpConfig) {
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.config = config;
        }
        self.change(key, |tcb, now| tcb.configure(now, &config));
    }

    /// Queues bytes for sending, perhaps urgent ones. False if the connection takes none any more.
    pub(crate) fn write(&mut self, key: ConnKey, bytes: &[u8], is_urgent: bool) -> bool {
        let Some(conn) = self.conns.get_mut(&key) else { return false };
        let (source, offset) = self.store.append(conn.stream, bytes);
        conn.stream = Some(source);
        let len = bytes.len() as u64;
        let is_taken = conn.tcb.push(Extent { len, place: Place::Local { source, offset } }).is_ok();
        if !is_taken {
            self.store.release(source, offset + len);
        } else if is_urgent {
            conn.tcb.mark_urgent();
        }
        self.settle(key);
        is_taken
    }

    /// Opens a connection, whose SYN leaves.
    pub(crate) fn connect(&mut self, flow: Flow, config: TcpConfig) -> Result<ConnKey, Errno> {
        self.ended.retain(|_, end| self.now < end.until());
        if self.by_flow.contains_key(&flow) || self.ended.contains_key(&flow) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if self.conns.len() >= CONNECTIONS_MAX {
            return Err(Errno::ENOBUFS);
        }
        let (first, offset) = (isn(KEYS, &flow, self.now), ts_offset(KEYS, &flow));
        let tcb = Tcb::connect(self.now, &config, flow, first, offset).map_err(|_| Errno::ENETUNREACH)?;
        Ok(self.add(tcb, config, Holder::Socket))
    }

    /// Takes an established connection from a listener.
    pub(crate) fn accept(&mut self, listener: ListenerKey) -> Option<ConnKey> {
        let key = self.listeners.get_mut(&listener)?.ready.pop_front()?;
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.holder = Holder::Socket;
        }
        Some(key)
    }

    /// Nobody listens any more: what was not accepted is reset.
    pub(crate) fn stop_listening(&mut self, listener: ListenerKey) {
        self.listeners.remove(&listener);
        let is_its = |conn: &Conn| conn.holder == Holder::Listener(listener);
        let keys: Vec<ConnKey> = self.conns.iter().filter(|(_, conn)| is_its(conn)).map(|(key, _)| *key).collect();
        for key in keys {
            self.orphan(key, true);
        }
    }

    /// The socket of a connection is gone: FIN follows what is queued, or it is reset.
    pub(crate) fn orphan(&mut self, key: ConnKey, is_reset: bool) {
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.holder = Holder::Nobody;
            if is_reset {
                conn.tcb.abort();
            } else {
                conn.tcb.close();
            }
            self.settle(key);
        }
    }

    /// A packet arrives, from its IP header on. What is no good packet is dropped, as a host does.
    pub(crate) fn inject(&mut self, packet: &[u8]) {
        let is_v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
        let mut frame = vec![0; ETHERNET_LEN];
        frame[12..].copy_from_slice(if is_v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
        frame.extend_from_slice(packet);
        let Ok(wire::Layers { packet: wire::Packet::Ip(ip), .. }) = wire::parse(&frame, 0) else { return };
        match ip.protocol {
            protocol::TCP if ip.verify_transport(&frame, RxChecksum::Unknown).is_ok() => self.take_segment(&frame, ip),
            protocol::ICMP | protocol::ICMPV6 => self.take_error(&frame, &ip),
            _ => {}
        }
    }

    /// An ICMP error about a packet of a connection: "packet too big" concerns it, as at the nodes.
    fn take_error(&mut self, frame: &[u8], ip: &IpLayers) {
        let Ok(Icmp::ErrorFor(flow, Some(told))) = icmp::parse(frame, ip) else { return };
        if let Some(&key) = self.by_flow.get(&flow) {
            let _ = self.change(key, |tcb, now| tcb.handle_too_big(now, &told));
        }
    }

    fn take_segment(&mut self, frame: &[u8], ip: IpLayers) {
        let Ok(segment) = Segment::parse(&frame[ip.l4]) else { return };
        let segment = segment.with_ecn(ip.ecn);
        let end = |addr, port| Endpoint { addr, port };
        let flow = Flow { client: end(ip.src, segment.src_port), vip: end(ip.dst, segment.dst_port) };
        match self.by_flow.get(&flow) {
            Some(&key) => self.deliver(key, &segment),
            None => self.deliver_to_nobody(flow, &segment),
        }
    }

    fn deliver(&mut self, key: ConnKey, segment: &Segment<'_>) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        conn.state_before = conn.tcb.state();
        let flow = conn.tcb.flow();
        let is_half_open = matches!(conn.state_before, State::SynSent | State::SynReceived);
        conn.counts.segments_in += 1;
        conn.counts.data_segments_in += u32::from(!segment.payload.is_empty());
        let before = conn.tcb.rcv_nxt();
        let outcome = conn.tcb.handle_segment(self.now, segment, &mut self.store);
        conn.counts.bytes_in += u64::from(conn.tcb.rcv_nxt().since(before));
        if let (Ok(outcome), Holder::Listener(listener)) = (&outcome, conn.holder)
            && outcome.established
            && let Some(listener) = self.listeners.get_mut(&listener)
        {
            listener.ready.push_back(key);
        }
        if conn.holder == Holder::Nobody && !conn.tcb.unread().is_empty() {
            // Nobody will ever read it, and the peer should know (RFC 1122 section 4.2.2.13).
            conn.tcb.abort();
        }
        if let Err(reason) = outcome
            && is_half_open
            && let Some(reset) = reset_for_half_open(reason, segment)
        {
            self.send(flow, &reset);
        }
        self.settle(key);
    }

    /// A segment of no connection: of one that ended, of a new one, or a stray.
    fn deliver_to_nobody(&mut self, flow: Flow, segment: &Segment<'_>) {
        let mut floors = None;
        self.ended.retain(|_, end| self.now < end.until());
        if let Some(end) = self.ended.get_mut(&flow) {
            match end.handle_segment(self.now, segment) {
                TimeWaitAction::Ignore => return,
                TimeWaitAction::Acknowledge => {
                    let answer = end.acknowledgment(self.now);
                    return self.send(flow, &answer);
                }
                TimeWaitAction::Reopen { isn_floor, tsval_floor } => floors = Some((isn_floor, tsval_floor)),
            }
        }
        let is_syn = segment.flags.has(Flags::SYN) && segment.flags.0 & (Flags::ACK.0 | Flags::RST.0) == 0;
        let Some((&key, listener)) = self.listeners.iter().find(|(_, listener)| listener.hears(flow.vip)) else {
            return self.refuse(flow, segment);
        };
        if !is_syn {
            return self.refuse(flow, segment);
        }
        let config = listener.config;
        // A host does not say that its queue is full: the peer tries again.
        if listener.ready.len() > listener.backlog || self.conns.len() >= CONNECTIONS_MAX {
            return;
        }
        let (mut first, mut offset) = (isn(KEYS, &flow, self.now), ts_offset(KEYS, &flow));
        if let Some((isn_floor, tsval_floor)) = floors {
            first = if first.lt(isn_floor) { isn_floor } else { first };
            offset = ts_offset_above(offset, tsval_floor, self.now);
        }
        let Ok(tcb) = Tcb::accept(self.now, &config, flow, first, offset, segment) else { return };
        self.ended.remove(&flow);
        self.add(tcb, config, Holder::Listener(key));
    }

    fn refuse(&mut self, flow: Flow, segment: &Segment<'_>) {
        if let Some(reset) = reset_for(segment) {
            self.send(flow, &reset);
        }
    }

    fn add(&mut self, tcb: Tcb, config: TcpConfig, holder: Holder) -> ConnKey {
        let (key, flow, state_before) = (ConnKey(self.next_key), tcb.flow(), tcb.state());
        self.next_key += 1;
        self.conns.insert(key, Conn { tcb, config, counts: Counts::default(), state_before, stream: None, holder });
        self.by_flow.insert(flow, key);
        self.settle(key);
        key
    }

    /// Sends what a connection has to send, moves it where that is wanted, and clears away what has ended.
    fn settle(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.tcb.check_stall(self.now);
        }
        // Each segment is an event of its own.
        while self.transmit(key) {
            self.relocate(key);
        }
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.tcb.check_stall(self.now);
        }
        self.relocate(key);
        self.clear_away(key);
    }

    /// Sends one segment of a connection, if it has one.
    fn transmit(&mut self, key: ConnKey) -> bool {
        let Some(conn) = self.conns.get_mut(&key) else { return false };
        let flow = conn.tcb.flow();
        let envelope = envelope(flow);
        let at = envelope.len();
        let mut frame = vec![0; envelope.frame_len(conn.tcb.mtu())];
        let next = conn.tcb.snd_nxt();
        let Written { len, ecn } = conn.tcb.poll_transmit(self.now, &mut self.store, &mut frame[at..]);
        if len == 0 {
            return false;
        }
        if let Ok(segment) = Segment::parse(&frame[at..at + len]) {
            let counts = &mut conn.counts;
            let payload = segment.payload.len() as u64;
            counts.segments_out += 1;
            counts.data_segments_out += u32::from(payload > 0);
            counts.bytes_out += payload;
            if !segment.is_empty() && segment.seq.lt(next) && !segment.flags.has(Flags::SYN) {
                counts.retransmissions += 1;
                counts.bytes_again += payload;
            }
        }
        let total = envelope.seal_tcp(&mut frame, len, ecn);
        self.leave(&frame[ETHERNET_LEN..total]);
        true
    }

    /// Sends a segment that no connection sends.
    fn send(&mut self, flow: Flow, segment: &Segment<'_>) {
        let envelope = envelope(flow);
        let at = envelope.len();
        let mut frame = vec![0; envelope.frame_len(TcpConfig::default().mtu)];
        let len = segment.emit(&mut frame[at..]);
        let total = envelope.seal_tcp(&mut frame, len, Ecn::NotEct);
        self.leave(&frame[ETHERNET_LEN..total]);
    }

    fn leave(&mut self, packet: &[u8]) {
        if self.sent.len() < PACKETS_MAX {
            self.sent.push_back(Packet { bytes: packet.to_vec(), at: self.now });
        }
    }

    /// Freezes a connection, writes its image, and thaws what is read from that. In SYN-RECEIVED and CLOSED none moves.
    fn relocate(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(&key).filter(|_| self.moves) else { return };
        let Ok(tcb) = conn.tcb.clone().freeze(self.now, &mut self.store) else { return };
        let image = Image {
            c: ConnId(key.0),
            base: Epoch(1),
            epoch: Epoch(2),
            tried: Epoch(2),
            next_hop: MacAddr::default(),
            tcb,
            cursor: Cursor::new(),
            plan: Plan::default(),
            resume: None,
            served: Served::NOTHING,
        };
        let read = Image::decode(&image.encode()).expect("what was written as an image is one");
        conn.tcb = Tcb::thaw(read.tcb, self.now, &conn.config, &mut self.store).expect("what was frozen thaws");
        conn.stream = None;
    }

    /// A connection that has ended is a memory at the most, apart from what its socket has not read yet.
    fn clear_away(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get(&key) else { return };
        let tcb = &conn.tcb;
        let flow = tcb.flow();
        if tcb.closed().is_none() {
            return;
        }
        if self.by_flow.get(&flow) == Some(&key) {
            self.by_flow.remove(&flow);
            if tcb.state() == State::TimeWait && self.ended.len() < CONNECTIONS_MAX {
                let timestamps = tcb.last_tsval().zip(tcb.ts_recent());
                let lasts = conn.config.time_wait;
                let end = TimeWait::new(flow, tcb.snd_nxt(), tcb.rcv_nxt(), timestamps, self.now, lasts);
                self.ended.insert(flow, end);
            }
        }
        let is_unaccepted = match conn.holder {
            Holder::Socket => return,
            Holder::Nobody => false,
            // As on Linux, what was reset before it was accepted can still be accepted, unless it was never established.
            Holder::Listener(listener) => self.listeners.get(&listener).is_some_and(|l| l.ready.contains(&key)),
        };
        if !is_unaccepted && let Some(conn) = self.conns.remove(&key) {
            for extent in conn.tcb.extents() {
                if let Place::Local { source, offset } = extent.place {
                    self.store.release(source, offset + extent.len);
                }
            }
        }
    }
}

impl Conn {
    /// Bytes that are queued: sent and not acknowledged, or not sent.
    pub(crate) fn queued(&self) -> u64 {
        self.tcb.extents().map(|extent| extent.len).sum()
    }

    /// Why it ended, if not in peace.
    pub(crate) fn failure(&self) -> Option<CloseReason> {
        self.tcb.closed().filter(|reason| *reason != CloseReason::Finished)
    }
}

impl Listener {
    fn hears(&self, to: Endpoint) -> bool {
        self.local.port == to.port && (self.local.addr.is_unspecified() || self.local.addr == to.addr)
    }
}

fn envelope(flow: Flow) -> Envelope {
    let mac = MacAddr::default();
    Envelope { src_mac: mac, dst_mac: mac, vlan: 0, src: flow.vip.addr, dst: flow.client.addr, ip: IpSettings::DEFAULT }
}

/// How long after `from` something is, in whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
