//! Clients: hosts with a TCP of another make (smoltcp), each with connections that follow a script.

mod answer;
mod connection;
mod script;

pub use answer::{Answer, Tolerance};
pub use connection::{Connection, Outcome};
pub use script::{Close, Reading, Request, RequestKind, Script};

use crate::host::Host;
use baton_stack::addr::{Endpoint, IpAddr, MacAddr};
use baton_stack::node::{Frame, Node, PortId, Transmit, Verdict};
use baton_stack::time::{Instant, earliest};

/// The first local port of a client's connections; each next one takes the next.
pub const LOCAL_PORT_FIRST: u16 = 20_000;

/// What a client host is made of.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Its IP address and prefix length.
    pub address: (IpAddr, u8),
    /// The VIP and port it connects to.
    pub server: Endpoint,
    /// What it puts up with.
    pub tolerance: Tolerance,
    /// For its initial sequence numbers.
    pub seed: u64,
    /// One connection each. At most 10,000.
    pub scripts: Vec<Script>,
}

/// A client host.
#[derive(Debug)]
pub struct Client {
    host: Host,
    connections: Vec<Connection>,
    turn_at: Option<Instant>,
}

impl Client {
    /// A client that begins at the beginning of the world.
    #[must_use]
    pub fn new(settings: ClientSettings) -> Self {
        let ClientSettings { mac, address, server, tolerance, seed, scripts } = settings;
        let mut connections: Vec<Connection> = Vec::with_capacity(scripts.len());
        for (script, port) in scripts.into_iter().zip(LOCAL_PORT_FIRST..) {
            let port = connections.last().filter(|_| script.same_port).map_or(port, Connection::local_port);
            let first = Script { same_port: script.same_port && !connections.is_empty(), ..script };
            connections.push(Connection::new(first, port, server, tolerance));
        }
        Self { host: Host::new(mac, &[address], seed), connections, turn_at: Some(Instant::ZERO) }
    }

    /// Its connections.
    #[must_use]
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// From now on requests may find their server unavailable.
    pub fn tolerate_unavailable(&mut self) {
        self.connections.iter_mut().for_each(Connection::tolerate_unavailable);
    }

    /// Whether every connection has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.connections.iter().all(|connection| *connection.outcome() != Outcome::Running)
    }
}

impl Node for Client {
    type Command = ();
    type Reply = ();

    fn handle_frame<F: Frame, T: Transmit>(&mut self, _: Instant, _: PortId, frame: &mut F, _: &mut T) -> Verdict {
        self.host.receive(frame.bytes());
        Verdict::Free
    }

    fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        let connections = &mut self.connections;
        self.host.run(now, tx, |context, sockets| {
            let mut any = false;
            for index in 0..connections.len() {
                if let [.., earlier, connection] = &mut connections[..=index]
                    && connection.script().same_port
                {
                    connection.follow(now, earlier, sockets);
                }
                any |= connections[index].advance(now, context, sockets);
            }
            any
        });
        let own = self.connections.iter().fold(None, |at, connection| earliest(at, connection.turn_at(now)));
        self.turn_at = earliest(own, self.host.turn_at());
    }

    fn poll_at(&self) -> Option<Instant> {
        self.turn_at
    }

    fn handle_command(&mut self, _: Instant, (): ()) {}

    fn stop(&mut self, _: Instant) {}

    fn is_stopped(&self) -> bool {
        false
    }

    fn may_transmit(&self, _: Instant) -> bool {
        true
    }
}
