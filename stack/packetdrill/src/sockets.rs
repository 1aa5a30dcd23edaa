//! The sockets: what each call does now, or that it would have to wait.
//!
//! No call here waits. One that cannot be done yet answers `EAGAIN`; whether the caller waits is decided in `waiting`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;

use baton_stack::addr::{Endpoint, Flow, IpAddr, Ipv4Addr, Ipv6Addr};
use baton_stack::tcp::{CloseReason, State, TcpConfig};
use baton_stack::time::Duration;
use nix::errno::Errno;
use nix::libc;

use crate::address::Family;
use crate::info::tcp_info;
use crate::net::{Conn, ConnKey, Listener, ListenerKey, Net};
use crate::options::Options;

/// Sockets at the most.
pub(crate) const SOCKETS_MAX: usize = 512;
/// The backlog of a listener at the most, as Linux's `somaxconn`.
const BACKLOG_MAX: usize = 4_096;
/// Ports that are given out, as Linux's.
const PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;
/// `ioctl` requests that the C library's bindings do not name.
const SIOCOUTQNSD: u64 = 0x894b;

/// What a socket is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// Nothing yet.
    Fresh,
    Listening,
    Connected(ConnKey),
}

/// A socket.
#[derive(Debug)]
struct Socket {
    /// Keeps the descriptor's number from being given to anything else: `/dev/null`.
    _file: File,
    family: Family,
    is_nonblocking: bool,
    options: Options,
    bound: Option<Endpoint>,
    role: Role,
    /// Reading was shut down.
    is_deaf: bool,
    /// The connection's failure was told: it is told once.
    is_failure_told: bool,
    /// A connection is being opened, and nobody was told what became of it.
    is_connecting: bool,
}

/// A virtual host and its sockets.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) net: Net,
    table: BTreeMap<i32, Socket>,
}

impl Sockets {
    pub(crate) fn new(net: Net) -> Self {
        Self { net, table: BTreeMap::new() }
    }

    fn find(&self, fd: i32) -> Result<&Socket, Errno> {
        self.table.get(&fd).ok_or(Errno::EBADF)
    }

    fn find_mut(&mut self, fd: i32) -> Result<&mut Socket, Errno> {
        self.table.get_mut(&fd).ok_or(Errno::EBADF)
    }

    /// The connection of a socket, for calls that need one.
    fn connection(&self, fd: i32, none: Errno) -> Result<(ConnKey, &Conn), Errno> {
        let Role::Connected(key) = self.find(fd)?.role else { return Err(none) };
        self.net.conn(key).map(|conn| (key, conn)).ok_or(none)
    }

    fn add(&mut self, family: Family, is_nonblocking: bool, options: Options, role: Role) -> Result<i32, Errno> {
        if self.table.len() >= SOCKETS_MAX {
            return Err(Errno::EMFILE);
        }
        let open = OpenOptions::new().read(true).write(true).open("/dev/null");
        let file = open.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EMFILE)))?;
        let fd = file.as_raw_fd();
        let (bound, is_deaf, is_failure_told, is_connecting) = (None, false, false, false);
        let _file = file;
        let socket =
            Socket { _file, family, is_nonblocking, options, bound, role, is_deaf, is_failure_told, is_connecting };
        self.table.insert(fd, socket);
        Ok(fd)
    }

    pub(crate) fn socket(&mut self, domain: i32, kind: i32, protocol: i32) -> Result<i32, Errno> {
        let family = Family::of(domain).ok_or(Errno::EAFNOSUPPORT)?;
        let is_nonblocking = kind & libc::SOCK_NONBLOCK != 0;
        if kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != libc::SOCK_STREAM {
            return Err(Errno::ESOCKTNOSUPPORT);
        }
        if protocol != 0 && protocol != libc::IPPROTO_TCP {
            return Err(Errno::EPROTONOSUPPORT);
        }
        self.add(family, is_nonblocking, Options::default(), Role::Fresh)
    }

    /// What an address for this socket must be.
    pub(crate) fn family(&self, fd: i32) -> Result<Family, Errno> {
        Ok(self.find(fd)?.family)
    }

    pub(crate) fn bind(&mut self, fd: i32, mut local: Endpoint) -> Result<(), Errno> {
        let socket = self.find(fd)?;
        if socket.bound.is_some() || socket.role != Role::Fresh {
            return Err(Errno::EINVAL);
        }
        let may_share = socket.options.reuse_address;
        if local.port == 0 {
            local.port = self.free_port()?;
        }
        for other in self.table.values().filter(|other| other.bound.is_some_and(|at| at.port == local.port)) {
            let is_listening = other.role == Role::Listening;
            if is_listening || !may_share || !other.options.reuse_address {
                return Err(Errno::EADDRINUSE);
            }
        }
        self.find_mut(fd)?.bound = Some(local);
        Ok(())
    }

    /// A port for who does not mind which.
    fn free_port(&self) -> Result<u16, Errno> {
        let is_free = |port: &u16| self.table.values().all(|other| other.bound.is_none_or(|at| at.port != *port));
        PORTS.clone().find(is_free).ok_or(Errno::EADDRINUSE)
    }

    pub(crate) fn listen(&mut self, fd: i32, backlog: i32) -> Result<(), Errno> {
        let socket = self.find(fd)?;
        if socket.role == Role::Fresh && socket.bound.is_none() {
            self.bind(fd, Endpoint { addr: socket.family.any(), port: 0 })?;
        }
        let socket = self.find_mut(fd)?;
        let backlog = usize::try_from(backlog).unwrap_or(BACKLOG_MAX).min(BACKLOG_MAX);
        match socket.role {
            Role::Connected(_) => return Err(Errno::EINVAL),
            Role::Fresh => {
                let local = socket.bound.ok_or(Errno::EINVAL)?;
                socket.role = Role::Listening;
                let config = socket.options.config(socket.family);
                let listener = Listener { local, config, backlog, ready: std::collections::VecDeque::new() };
                self.net.listeners.insert(ListenerKey(fd), listener);
            }
            Role::Listening => {
                if let Some(listener) = self.net.listeners.get_mut(&ListenerKey(fd)) {
                    listener.backlog = backlog;
                }
            }
        }
        Ok(())
    }

    /// Begins to open a connection: `EINPROGRESS`. If one is being opened, what has become of it.
    pub(crate) fn connect(&mut self, fd: i32, peer: Endpoint) -> Result<(), Errno> {
        let socket = self.find(fd)?;
        match socket.role {
            Role::Fresh => {}
            Role::Connected(_) if socket.is_connecting => {
                return self.finish_connecting(fd).map_err(|error| match error {
                    Errno::EAGAIN => Errno::EALREADY,
                    error => error,
                });
            }
            Role::Listening | Role::Connected(_) => return Err(Errno::EISCONN),
        }
        let (config, bound) = (socket.options.config(socket.family), socket.bound);
        let port = bound.map_or_else(|| self.free_port(), |bound| Ok(bound.port))?;
        let addr = bound.map(|bound| bound.addr).filter(|addr| !addr.is_unspecified());
        let local = Endpoint { addr: addr.unwrap_or_else(|| own_address(peer.addr.is_ipv4())), port };
        let key = self.net.connect(Flow { client: peer, vip: local }, config)?;
        let socket = self.find_mut(fd)?;
        (socket.role, socket.bound, socket.is_connecting) = (Role::Connected(key), Some(local), true);
        Err(Errno::EINPROGRESS)
    }

    /// What has become of a connection that is being opened.
    pub(crate) fn finish_connecting(&mut self, fd: i32) -> Result<(), Errno> {
        let (_, conn) = self.connection(fd, Errno::ENOTCONN)?;
        if is_opening(conn) {
            return Err(Errno::EAGAIN);
        }
        let failure = self.take_failure(fd)?;
        self.find_mut(fd)?.is_connecting = false;
        failure.map_or(Ok(()), Err)
    }

    /// The new descriptor, and who is at the other end.
    pub(crate) fn accept(&mut self, fd: i32) -> Result<(i32, Endpoint), Errno> {
        let socket = self.find(fd)?;
        if socket.role != Role::Listening {
            return Err(Errno::EINVAL);
        }
        let (family, options) = (socket.family, socket.options);
        let is_waiting = self.net.listeners.get(&ListenerKey(fd)).is_some_and(|listener| !listener.ready.is_empty());
        if !is_waiting {
            return Err(Errno::EAGAIN);
        }
        // Before the connection is taken: without a descriptor it stays.
        let new = self.add(family, false, options, Role::Fresh)?;
        let key = self.net.accept(ListenerKey(fd)).ok_or(Errno::EAGAIN)?;
        let conn = self.net.conn(key).ok_or(Errno::ECONNABORTED)?;
        let flow = conn.tcb.flow();
        let socket = self.find_mut(new)?;
        (socket.role, socket.bound) = (Role::Connected(key), Some(flow.vip));
        Ok((new, flow.client))
    }

    /// Reads at most `len` bytes; none means that nothing follows. With `is_peek` they stay.
    pub(crate) fn receive(&mut self, fd: i32, len: usize, is_peek: bool) -> Result<Vec<u8>, Errno> {
        let (key, conn) = self.connection(fd, Errno::ENOTCONN)?;
        let unread = conn.tcb.unread();
        let bytes = unread[..unread.len().min(len)].to_vec();
        if !bytes.is_empty() || len == 0 {
            if !is_peek {
                self.net.change(key, |tcb, _| tcb.consume(bytes.len()));
            }
            return Ok(bytes);
        }
        let is_at_end = self.is_at_end(fd, conn);
        match self.take_failure(fd)? {
            Some(errno) => Err(errno),
            None if is_at_end => Ok(bytes),
            None => Err(Errno::EAGAIN),
        }
    }

    /// Whether nothing will come any more.
    fn is_at_end(&self, fd: i32, conn: &Conn) -> bool {
        let is_deaf = self.find(fd).is_ok_and(|socket| socket.is_deaf);
        is_deaf || conn.tcb.peer_finished() || conn.tcb.closed().is_some()
    }

    /// Writes as many of the bytes as there is room for.
    pub(crate) fn send(&mut self, fd: i32, bytes: &[u8], is_urgent: bool) -> Result<usize, Errno> {
        let (key, conn) = self.connection(fd, Errno::EPIPE)?;
        let may_send = matches!(conn.tcb.state(), State::SynReceived | State::Established | State::CloseWait);
        if is_opening(conn) {
            return Err(Errno::EAGAIN);
        }
        let part = &bytes[..bytes.len().min(self.room(fd, conn))];
        let is_full = part.is_empty() && !bytes.is_empty() || !conn.tcb.has_queue_room();
        if let Some(errno) = self.take_failure(fd)? {
            return Err(errno);
        }
        if !may_send {
            return Err(Errno::EPIPE);
        }
        if is_full {
            return Err(Errno::EAGAIN);
        }
        if part.is_empty() || self.net.write(key, part, is_urgent) { Ok(part.len()) } else { Err(Errno::EPIPE) }
    }

    /// How many bytes the send buffer takes.
    fn room(&self, fd: i32, conn: &Conn) -> usize {
        let limit = self.find(fd).map_or(0, |socket| u64::from(socket.options.send_buffer));
        usize::try_from(limit.saturating_sub(conn.queued())).unwrap_or(usize::MAX)
    }

    pub(crate) fn shutdown(&mut self, fd: i32, how: i32) -> Result<(), Errno> {
        let (reads, writes) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        if self.find(fd)?.role == Role::Listening && reads {
            self.net.stop_listening(ListenerKey(fd));
            self.find_mut(fd)?.role = Role::Fresh;
            return Ok(());
        }
        let (key, conn) = self.connection(fd, Errno::ENOTCONN)?;
        if conn.tcb.state() == State::Closed {
            return Err(Errno::ENOTCONN);
        }
        self.find_mut(fd)?.is_deaf |= reads;
        if writes {
            self.net.change(key, |tcb, _| tcb.close());
        }
        Ok(())
    }

    /// Begins to close: the descriptor is gone when this is done, and what is still to be sent goes on without it. What is
    /// returned is how long the caller may wait for that, and for whom.
    pub(crate) fn close(&mut self, fd: i32) -> Result<Option<(ConnKey, Duration)>, Errno> {
        let Socket { role, options, .. } = self.table.remove(&fd).ok_or(Errno::EBADF)?;
        match role {
            Role::Fresh => Ok(None),
            Role::Listening => {
                self.net.stop_listening(ListenerKey(fd));
                Ok(None)
            }
            Role::Connected(key) => {
                let has_unread = self.net.conn(key).is_some_and(|conn| !conn.tcb.unread().is_empty());
                // What was not read was not served: the peer is told so (RFC 2525 section 2.17).
                let is_reset = has_unread || options.linger == Some(Duration::ZERO);
                self.net.orphan(key, is_reset);
                Ok(options.linger.filter(|time| !time.is_zero()).map(|time| (key, time)))
            }
        }
    }

    /// Whether a closed connection has been told and acknowledged everything.
    pub(crate) fn has_lingered(&self, key: ConnKey) -> bool {
        self.net
            .conn(key)
            .is_none_or(|conn| matches!(conn.tcb.state(), State::FinWait2 | State::TimeWait | State::Closed))
    }

    pub(crate) fn is_nonblocking(&self, fd: i32) -> bool {
        self.find(fd).is_ok_and(|socket| socket.is_nonblocking)
    }

    /// How long a call waits at the most, receiving and sending.
    pub(crate) fn timeouts(&self, fd: i32) -> (Option<Duration>, Option<Duration>) {
        self.find(fd).map_or((None, None), |socket| (socket.options.receive_timeout, socket.options.send_timeout))
    }

    pub(crate) fn fcntl(&mut self, fd: i32, command: i32, value: i32) -> Result<i32, Errno> {
        let socket = self.find_mut(fd)?;
        match command {
            libc::F_GETFL => Ok(libc::O_RDWR | if socket.is_nonblocking { libc::O_NONBLOCK } else { 0 }),
            libc::F_SETFL => {
                socket.is_nonblocking = value & libc::O_NONBLOCK != 0;
                Ok(0)
            }
            libc::F_GETFD => Ok(libc::FD_CLOEXEC),
            libc::F_SETFD => Ok(0),
            _ => Err(Errno::EINVAL),
        }
    }

    /// What `ioctl` answers, or takes, in the int that its argument points to.
    pub(crate) fn ioctl(&mut self, fd: i32, request: u64, value: i32) -> Result<i32, Errno> {
        self.find(fd)?;
        if request == libc::FIONBIO {
            self.find_mut(fd)?.is_nonblocking = value != 0;
            return Ok(value);
        }
        let (_, conn) = self.connection(fd, Errno::EINVAL)?;
        let count = match request {
            libc::FIONREAD => conn.tcb.unread().len() as u64,
            libc::TIOCOUTQ => conn.queued(),
            SIOCOUTQNSD => conn.tcb.unsent(),
            _ => return Err(Errno::EINVAL),
        };
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    pub(crate) fn set_option(&mut self, fd: i32, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        let socket = self.find_mut(fd)?;
        socket.options.set(level, name, value)?;
        let config = socket.options.config(socket.family);
        match socket.role {
            Role::Fresh => {}
            Role::Listening => {
                if let Some(listener) = self.net.listeners.get_mut(&ListenerKey(fd)) {
                    listener.config = config;
                }
            }
            Role::Connected(key) => {
                if (level, name) == (libc::IPPROTO_TCP, libc::TCP_NODELAY) && !config.nagle {
                    // What waits leaves, whatever else is set (tcp(7)).
                    self.net.configure(key, TcpConfig { cork: false, ..config });
                }
                self.net.configure(key, config);
            }
        }
        Ok(())
    }

    pub(crate) fn option(&mut self, fd: i32, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        let socket = self.find(fd)?;
        let int = |value: i32| Ok(value.to_ne_bytes().to_vec());
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => {
                let errno = self.take_failure(fd)?;
                int(errno.map_or(0, |errno| errno as i32))
            }
            (libc::SOL_SOCKET, libc::SO_TYPE) => int(libc::SOCK_STREAM),
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => int(socket.family.number()),
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => int(libc::IPPROTO_TCP),
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => int((socket.role == Role::Listening).into()),
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
                let connected = self.connection(fd, Errno::ENOTCONN).map(|(_, conn)| conn.tcb.info(self.net.now()));
                let set = socket.options.segment.map(u32::from);
                let segment = connected.map_or(set.unwrap_or(536), |info| info.snd_mss);
                int(i32::try_from(segment).unwrap_or(i32::MAX))
            }
            (libc::IPPROTO_TCP, libc::TCP_INFO) => {
                let conn = self.connection(fd, Errno::ENOTCONN).ok().map(|(_, conn)| conn);
                Ok(tcp_info(conn, socket.role == Role::Listening, self.net.now()))
            }
            _ => socket.options.get(level, name).ok_or(Errno::ENOPROTOOPT),
        }
    }

    /// The connection's failure, if it was not told yet.
    fn take_failure(&mut self, fd: i32) -> Result<Option<Errno>, Errno> {
        let errno = self.connection(fd, Errno::ENOTCONN).ok().and_then(|(_, conn)| failure(conn));
        let socket = self.find_mut(fd)?;
        let is_told = socket.is_failure_told;
        socket.is_failure_told |= errno.is_some();
        Ok(errno.filter(|_| !is_told))
    }

    /// What of `events` is so, and what is always reported.
    pub(crate) fn events(&self, fd: i32, events: i16) -> i16 {
        if fd < 0 {
            return 0;
        }
        let Ok(socket) = self.find(fd) else { return libc::POLLNVAL };
        let always = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
        let Ok((_, conn)) = self.connection(fd, Errno::ENOTCONN) else {
            let listener = self.net.listeners.get(&ListenerKey(fd));
            let is_ready = listener.is_some_and(|listener| !listener.ready.is_empty());
            let listening = if is_ready { libc::POLLIN | libc::POLLRDNORM } else { 0 };
            let fresh = libc::POLLOUT | libc::POLLWRNORM | libc::POLLHUP;
            return if socket.role == Role::Listening { listening & events } else { fresh & (events | always) };
        };
        if is_opening(conn) {
            return 0;
        }
        let mut so = 0;
        let is_at_end = self.is_at_end(fd, conn);
        if is_at_end || !conn.tcb.unread().is_empty() {
            so |= libc::POLLIN | libc::POLLRDNORM;
        }
        if is_at_end {
            so |= libc::POLLRDHUP;
        }
        let has_said_all = !matches!(conn.tcb.state(), State::SynReceived | State::Established | State::CloseWait);
        let limit = usize::try_from(socket.options.send_buffer).unwrap_or(usize::MAX);
        // A third, so that who writes when it may does not write crumbs.
        if has_said_all || self.room(fd, conn) >= limit / 3 {
            so |= libc::POLLOUT | libc::POLLWRNORM;
        }
        if is_at_end && has_said_all {
            so |= libc::POLLHUP;
        }
        if failure(conn).is_some() && !socket.is_failure_told {
            so |= libc::POLLERR;
        }
        so & (events | always)
    }
}

/// The host's address towards others, as the tool has it if nobody says anything else.
const fn own_address(is_ipv4: bool) -> IpAddr {
    if is_ipv4 {
        IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1))
    } else {
        IpAddr::V6(Ipv6Addr::new(0xfd3d, 0xfa7b, 0xd17d, 0, 0, 0, 0, 1))
    }
}

/// Whether the handshake of a socket's connection goes on.
const fn is_opening(conn: &Conn) -> bool {
    matches!(conn.tcb.state(), State::SynSent | State::SynReceived)
}

/// What a connection's end means to who uses its socket.
fn failure(conn: &Conn) -> Option<Errno> {
    conn.failure().map(|reason| match reason {
        CloseReason::ResetByPeer if matches!(conn.state_before, State::SynSent | State::SynReceived) => {
            Errno::ECONNREFUSED
        }
        CloseReason::ResetByPeer if conn.state_before == State::CloseWait => Errno::EPIPE,
        CloseReason::ResetByPeer | CloseReason::Aborted | CloseReason::Finished => Errno::ECONNRESET,
        CloseReason::TimedOut => Errno::ETIMEDOUT,
        CloseReason::ContentLost | CloseReason::TailLost => Errno::EIO,
    })
}
