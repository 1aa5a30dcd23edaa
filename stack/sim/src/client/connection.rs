//! One connection of a client: writes its script's requests, reads the answers, ends as the script says.

use super::answer::Answers;
use super::{Answer, Close, Reading, Script, Tolerance};
use crate::host;
use baton_stack::addr::Endpoint;
use baton_stack::time::{Duration, Instant, earliest};
use smoltcp::iface::{Context, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};

/// How long a server may take to close, where it need not close at all.
const LINGER: Duration = Duration::from_secs(20);
/// Between a connection's end and the next one of the same port.
const PORT_PAUSE: Duration = Duration::from_millis(1);

/// How a connection ended, or that it has not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Not yet.
    Running,
    /// As the script says, every byte right.
    Finished,
    /// The server reset it, which the scenario explains.
    Reset,
    /// The server closed it after a 503, which the scenario explains.
    TurnedAway,
    /// Something is wrong with it.
    Wrong(String),
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    script: Script,
    local_port: u16,
    server: Endpoint,
    tolerance: Tolerance,
    /// When it may connect, once that is known.
    ready_at: Option<Instant>,
    handle: Option<SocketHandle>,
    /// The socket that had its port before.
    forebear: Option<SocketHandle>,
    complete_at: Option<Instant>,
    server_closed: bool,
    outcome: Outcome,
    requested: usize,
    out: Vec<u8>,
    out_sent: usize,
    answers: Answers,
    think_until: Instant,
    read_at: Instant,
}

impl Connection {
    pub(super) fn new(script: Script, local_port: u16, server: Endpoint, tolerance: Tolerance) -> Self {
        let ready_at = (!script.same_port).then(|| Instant::ZERO + script.start);
        Self {
            ready_at,
            script,
            local_port,
            server,
            tolerance,
            handle: None,
            forebear: None,
            complete_at: None,
            server_closed: false,
            outcome: Outcome::Running,
            requested: 0,
            out: Vec::new(),
            out_sent: 0,
            answers: Answers::new(tolerance),
            think_until: Instant::ZERO,
            read_at: Instant::ZERO,
        }
    }

    /// What it does.
    #[must_use]
    pub const fn script(&self) -> &Script {
        &self.script
    }

    /// The client's port.
    #[must_use]
    pub const fn local_port(&self) -> u16 {
        self.local_port
    }

    /// How it ended.
    #[must_use]
    pub const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The complete answers so far.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        self.answers.done()
    }

    /// When it wants to do something of its own accord, besides what its socket wants.
    pub(super) fn turn_at(&self, now: Instant) -> Option<Instant> {
        if self.outcome != Outcome::Running {
            return None;
        }
        if self.handle.is_none() {
            return self.ready_at;
        }
        let later = |at: Instant| (at > now).then_some(at);
        earliest(earliest(later(self.think_until), later(self.read_at)), self.lingers_until())
    }

    /// When a connection that the server does not close is given up, if that is tolerated.
    fn lingers_until(&self) -> Option<Instant> {
        self.complete_at.filter(|_| self.tolerance.lingering).map(|at| at + LINGER)
    }

    /// Whether nothing of it is left: its port is free.
    pub(super) fn is_over(&self, sockets: &SocketSet<'static>) -> bool {
        let closed = |handle| sockets.get::<Socket<'_>>(handle).state() == State::Closed;
        self.outcome != Outcome::Running && self.handle.is_none_or(closed)
    }

    /// Tells a connection that waits for its port that `earlier` no longer needs it, and takes the port over.
    pub(super) fn follow(&mut self, now: Instant, earlier: &mut Self, sockets: &mut SocketSet<'static>) {
        if self.ready_at.is_some() || !earlier.is_over(sockets) {
            return;
        }
        // A moment later: a reset that the socket still has to send must leave before the socket goes.
        self.ready_at = Some((now + PORT_PAUSE).max(Instant::ZERO + self.script.start));
        self.forebear = earlier.handle.take();
    }

    /// Does what it can do now. `true` if the socket has something new to do.
    pub(super) fn advance(&mut self, now: Instant, context: &mut Context, sockets: &mut SocketSet<'static>) -> bool {
        if self.outcome != Outcome::Running {
            return false;
        }
        let Some(handle) = self.handle else {
            return self.open(now, context, sockets);
        };
        let socket = sockets.get_mut::<Socket<'_>>(handle);
        if matches!(socket.state(), State::SynSent) {
            return false;
        }
        let wrote = self.write(now, socket);
        let read = match self.read(now, socket) {
            Ok(read) => read,
            Err(wrong) => {
                socket.abort();
                self.outcome = Outcome::Wrong(wrong);
                return true;
            }
        };
        let moved = self.settle(now, socket);
        wrote || read || moved
    }

    /// From now on a server may be unavailable.
    pub(super) const fn tolerate_unavailable(&mut self) {
        self.answers.tolerate_unavailable();
    }

    fn open(&mut self, now: Instant, context: &mut Context, sockets: &mut SocketSet<'static>) -> bool {
        if self.ready_at.is_none_or(|at| now < at) {
            return false;
        }
        if let Some(earlier) = self.forebear.take() {
            sockets.remove(earlier);
        }
        let buffer = |len: usize| SocketBuffer::new(vec![0; len]);
        let mut socket = Socket::new(buffer(self.script.receive_buffer), buffer(self.script.send_buffer));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(self.script.delayed_ack.then(|| smoltcp::time::Duration::from_millis(10)));
        // So that a client whose server has died without a word finds out.
        socket.set_keep_alive(Some(smoltcp::time::Duration::from_secs(5)));
        if self.script.timestamps {
            socket.set_tsval_generator(Some(host::tsval));
        }
        let server = (smoltcp::wire::IpAddress::from(self.server.addr), self.server.port);
        if let Err(error) = socket.connect(context, server, self.local_port) {
            self.outcome = Outcome::Wrong(format!("cannot connect: {error:?}"));
            return false;
        }
        self.handle = Some(sockets.add(socket));
        true
    }

    fn write(&mut self, now: Instant, socket: &mut Socket<'_>) -> bool {
        let unanswered = self.requested - self.answers.done().len().min(self.requested);
        let more = self.requested < self.script.requests.len();
        if more && unanswered < self.script.depth.max(1) && now >= self.think_until {
            let last = self.requested + 1 == self.script.requests.len() && self.script.close == Close::ByServer;
            self.out.extend(self.script.requests[self.requested].encode(last));
            self.requested += 1;
        }
        let sent = if socket.can_send() { socket.send_slice(&self.out[self.out_sent..]).unwrap_or(0) } else { 0 };
        self.out_sent += sent;
        if self.out_sent == self.out.len() {
            self.out.clear();
            self.out_sent = 0;
            let all = self.requested == self.script.requests.len();
            if all && self.script.close == Close::AfterRequests && matches!(socket.state(), State::Established) {
                socket.close();
                return true;
            }
        }
        sent > 0
    }

    fn read(&mut self, now: Instant, socket: &mut Socket<'_>) -> Result<bool, String> {
        // At the end of TIME-WAIT the socket forgets what is not read.
        let is_last_chance = matches!(socket.state(), State::TimeWait);
        if now < self.read_at && !is_last_chance || !socket.can_recv() {
            return Ok(false);
        }
        let most = match self.script.reading {
            Reading::Eager => usize::MAX,
            Reading::Slow { .. } if is_last_chance => usize::MAX,
            Reading::Slow { bytes, pause } => {
                self.read_at = now + pause;
                bytes
            }
        };
        let answered = self.answers.done().len();
        let (answers, requests) = (&mut self.answers, &self.script.requests[..self.requested]);
        let result = socket.recv(|data| {
            let len = data.len().min(most);
            (len, answers.read(now, &data[..len], requests))
        });
        result.unwrap_or(Ok(()))?;
        if self.answers.done().len() > answered {
            self.think_until = now + self.script.think;
        }
        Ok(true)
    }

    /// Ends what is at its end.
    fn settle(&mut self, now: Instant, socket: &mut Socket<'_>) -> bool {
        let unread = socket.recv_queue() > 0;
        let complete = self.answers.done().len() == self.script.requests.len();
        if complete && self.complete_at.is_none() {
            self.complete_at = Some(now);
        }
        if self.lingers_until().is_some_and(|end| now >= end) {
            socket.abort();
            self.outcome = Outcome::Finished;
            return true;
        }
        let state = socket.state();
        self.server_closed |= matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        match state {
            // A RST may come after the FIN, when the server has forgotten the connection: what was received counts.
            State::Closed if unread => false,
            State::Closed => {
                self.outcome = match (self.server_closed, self.tolerance.reset) {
                    (true, _) => self.ended(now),
                    (false, true) => Outcome::Reset,
                    (false, false) => Outcome::Wrong(format!("reset after {} answers", self.answers.done().len())),
                };
                false
            }
            State::TimeWait if !unread => {
                self.outcome = self.ended(now);
                false
            }
            State::CloseWait if !unread => {
                if let Outcome::Wrong(wrong) = self.ended(now) {
                    socket.abort();
                    self.outcome = Outcome::Wrong(wrong);
                } else {
                    socket.close();
                }
                true
            }
            State::Established if complete && self.script.close == Close::AfterAnswers => {
                socket.close();
                true
            }
            State::Established if complete && self.script.close == Close::Abort => {
                socket.abort();
                self.outcome = Outcome::Finished;
                true
            }
            _ => false,
        }
    }

    /// The outcome of a connection that the server has closed and that is read to its end.
    fn ended(&mut self, now: Instant) -> Outcome {
        match self.answers.finish(now, &self.script.requests) {
            Err(wrong) => Outcome::Wrong(wrong),
            Ok(()) if self.answers.done().len() == self.script.requests.len() => Outcome::Finished,
            Ok(()) => Outcome::TurnedAway,
        }
    }
}
