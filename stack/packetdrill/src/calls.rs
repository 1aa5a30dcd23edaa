//! The calls, in safe terms: which of them wait, for how long, and what a wait that ends early leaves.

use baton_stack::addr::Endpoint;
use baton_stack::time::Duration;
use nix::errno::Errno;
use nix::libc;

use crate::address::{self, Family};
use crate::sockets::Sockets;
use crate::waiting::{Host, Patience};

/// A descriptor that `poll` looks at, and what it looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PollFd {
    pub(crate) fd: i32,
    pub(crate) events: i16,
    pub(crate) revents: i16,
}

const RECEIVE_FLAGS: i32 =
    libc::MSG_DONTWAIT | libc::MSG_PEEK | libc::MSG_WAITALL | libc::MSG_TRUNC | libc::MSG_NOSIGNAL;
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_OOB;

/// The patience of a call on a socket.
fn patience(sockets: &Sockets, fd: i32, flags: i32, limit: Option<Duration>) -> Patience {
    let is_impatient = sockets.is_nonblocking(fd) || flags & libc::MSG_DONTWAIT != 0;
    if is_impatient { Patience::None } else { Patience::For(limit) }
}

impl Host {
    /// A call that never waits.
    pub(crate) fn now<R>(&self, attempt: impl FnMut(&mut Sockets) -> Result<R, Errno>) -> Result<R, Errno> {
        self.call(|_| Patience::None, attempt)
    }

    /// An address for a socket: `bind`.
    pub(crate) fn bind(&self, fd: i32, addr: &[u8]) -> Result<(), Errno> {
        self.now(|sockets| {
            let local = address::parse(addr, sockets.family(fd)?)?;
            sockets.bind(fd, local)
        })
    }

    /// Opens a connection, and waits until it is established.
    pub(crate) fn connect(&self, fd: i32, addr: &[u8]) -> Result<(), Errno> {
        let begun = self.now(|sockets| {
            let peer = address::parse(addr, sockets.family(fd)?)?;
            sockets.connect(fd, peer)
        });
        if begun != Err(Errno::EINPROGRESS) {
            return begun;
        }
        let wait = self
            .call(|sockets| patience(sockets, fd, 0, sockets.timeouts(fd).1), |sockets| sockets.finish_connecting(fd));
        // What goes on without the caller.
        if wait == Err(Errno::EAGAIN) { Err(Errno::EINPROGRESS) } else { wait }
    }

    /// The new descriptor, and the peer as the listener's family writes it.
    pub(crate) fn accept(&self, fd: i32) -> Result<(i32, Endpoint, Family), Errno> {
        self.call(
            |sockets| patience(sockets, fd, 0, sockets.timeouts(fd).0),
            |sockets| {
                let (new, peer) = sockets.accept(fd)?;
                Ok((new, peer, sockets.family(new)?))
            },
        )
    }

    /// Reads at most `len` bytes.
    pub(crate) fn receive(&self, fd: i32, len: usize, flags: i32) -> Result<Vec<u8>, Errno> {
        if flags & !RECEIVE_FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        let is_peek = flags & libc::MSG_PEEK != 0;
        let is_all = flags & libc::MSG_WAITALL != 0 && !is_peek;
        let mut got = Vec::new();
        let result = self.call(
            |sockets| patience(sockets, fd, flags, sockets.timeouts(fd).0),
            |sockets| {
                let bytes = sockets.receive(fd, len - got.len(), is_peek)?;
                let is_end = bytes.is_empty();
                got.extend(bytes);
                if is_all && !is_end && got.len() < len { Err(Errno::EAGAIN) } else { Ok(()) }
            },
        );
        // What was read before the wait ended is not lost.
        if got.is_empty() { result.map(|()| got) } else { Ok(got) }
    }

    /// Writes all bytes, or as many as there was room for. With `MSG_OOB` they are urgent, and in line (RFC 6093).
    pub(crate) fn send(&self, fd: i32, bytes: &[u8], flags: i32) -> Result<usize, Errno> {
        if flags & !SEND_FLAGS != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut done = 0;
        let result = self.call(
            |sockets| patience(sockets, fd, flags, sockets.timeouts(fd).1),
            |sockets| {
                // A byte or more has room now; for the rest the caller may wait.
                done += sockets.send(fd, &bytes[done..], flags & libc::MSG_OOB != 0)?;
                if done < bytes.len() { Err(Errno::EAGAIN) } else { Ok(()) }
            },
        );
        if done == 0 { result.map(|()| 0) } else { Ok(done) }
    }

    /// Closes; a socket that lingers waits for its peer.
    pub(crate) fn close(&self, fd: i32) -> Result<(), Errno> {
        let lingers = self.now(|sockets| sockets.close(fd))?;
        let Some((key, limit)) = lingers else { return Ok(()) };
        let wait = self.call(
            |_| Patience::For(Some(limit)),
            |sockets| if sockets.has_lingered(key) { Ok(()) } else { Err(Errno::EAGAIN) },
        );
        // The descriptor is closed, whatever became of the wait.
        wait.or(Ok(()))
    }

    /// Fills in `revents`, and counts those that are not zero. A negative timeout, in milliseconds, is none.
    pub(crate) fn poll(&self, fds: &mut [PollFd], timeout: i32) -> Result<i32, Errno> {
        let limit = u64::try_from(timeout).ok().map(Duration::from_millis);
        let patience = if timeout == 0 { Patience::None } else { Patience::For(limit) };
        let result = self.call(
            |_| patience,
            |sockets| {
                for poll in fds.iter_mut() {
                    poll.revents = sockets.events(poll.fd, poll.events);
                }
                let count = fds.iter().filter(|poll| poll.revents != 0).count();
                if count == 0 { Err(Errno::EAGAIN) } else { Ok(i32::try_from(count).unwrap_or(i32::MAX)) }
            },
        );
        if result == Err(Errno::EAGAIN) { Ok(0) } else { result }
    }
}
