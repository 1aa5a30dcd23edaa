//! One ordinary server with smoltcp's TCP that answers as the whole cluster should: the yardstick.
//!
//! A scenario that this server cannot get through says nothing against Baton; one that only this server gets through
//! does.

use crate::content;
use crate::host::{self, Host};
use crate::http::{Framing, Head, Reader, Step};
use baton_stack::addr::{Endpoint, IpAddr, MacAddr};
use baton_stack::node::{Frame, Node, PortId, Transmit, Verdict};
use baton_stack::time::Instant;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use std::collections::VecDeque;

const BUFFER_LEN: usize = 65_535;
/// Bytes of body that are made at once.
const PIECE_LEN: usize = 8192;
/// Answer bytes that may wait; above it, requests are not read.
const OUT_LEN_MAX: usize = 4 * BUFFER_LEN;

/// The server.
#[derive(Debug)]
pub struct Reference {
    host: Host,
    listen: Endpoint,
    /// One per connection that ever was; the last one listens. smoltcp asks sockets in this order whether a segment is
    /// theirs, and a listening one would take a SYN that comes twice from the connection that it has begun.
    sessions: Vec<(SocketHandle, Session)>,
}

impl Reference {
    /// A server at `listen`.
    #[must_use]
    pub fn new(mac: MacAddr, listen: Endpoint, prefix_len: u8, seed: u64) -> Self {
        let addresses: [(IpAddr, u8); 1] = [(listen.addr, prefix_len)];
        Self { host: Host::new(mac, &addresses, seed), listen, sessions: Vec::new() }
    }
}

fn listening(sockets: &mut SocketSet<'static>, port: u16) -> SocketHandle {
    let buffer = || SocketBuffer::new(vec![0; BUFFER_LEN]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_tsval_generator(Some(host::tsval));
    // A client whose reset got lost is found out.
    socket.set_keep_alive(Some(smoltcp::time::Duration::from_secs(5)));
    // A new socket can listen on any port but zero, and the port is not.
    let _listens = socket.listen(port);
    sockets.add(socket)
}

impl Node for Reference {
    type Command = ();
    type Reply = ();

    fn handle_frame<F: Frame, T: Transmit>(&mut self, _: Instant, _: PortId, frame: &mut F, _: &mut T) -> Verdict {
        self.host.receive(frame.bytes());
        Verdict::Free
    }

    fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        let (sessions, port) = (&mut self.sessions, self.listen.port);
        self.host.run(now, tx, |_, sockets| {
            let mut any = false;
            for (handle, session) in sessions.iter_mut() {
                any |= session.advance(*handle, sockets);
            }
            let listens = |&(handle, _): &(SocketHandle, _)| sockets.get::<Socket<'_>>(handle).is_listening();
            if !sessions.last().is_some_and(listens) {
                sessions.push((listening(sockets, port), Session::default()));
                any = true;
            }
            any
        });
    }

    fn poll_at(&self) -> Option<Instant> {
        self.host.turn_at()
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

/// One connection's requests and answers.
#[derive(Debug, Default)]
struct Session {
    reader: Option<Reader>,
    echo: Option<(Vec<u8>, bool)>,
    out: VecDeque<u8>,
    last: bool,
}

impl Session {
    fn advance(&mut self, handle: SocketHandle, sockets: &mut SocketSet<'static>) -> bool {
        let socket = sockets.get_mut::<Socket<'_>>(handle);
        let mut did = false;
        if socket.can_recv() && self.out.len() < OUT_LEN_MAX && !self.last {
            let read = socket.recv(|data| (data.len(), self.read(data)));
            if !matches!(read, Ok(Ok(()))) {
                socket.abort();
                return true;
            }
            did = true;
        }
        if socket.can_send() && !self.out.is_empty() {
            let (front, _) = self.out.as_slices();
            let sent = socket.send_slice(front).unwrap_or(0);
            self.out.drain(..sent);
            did |= sent > 0;
        }
        let over = self.last || (socket.state() == State::CloseWait && socket.recv_queue() == 0);
        if over && self.out.is_empty() && matches!(socket.state(), State::Established | State::CloseWait) {
            socket.close();
            did = true;
        }
        did
    }

    fn read(&mut self, mut input: &[u8]) -> Result<(), String> {
        let mut reader = self.reader.take().unwrap_or_else(Reader::new);
        while let Some(step) = reader.next(&mut input)? {
            match step {
                Step::Head(head) => {
                    reader.begin_body(head.framing()?.unwrap_or(Framing::Length(0)));
                    self.request(&head)?;
                }
                Step::Body(bytes) => {
                    if let Some((echo, _)) = &mut self.echo {
                        echo.extend_from_slice(bytes);
                    }
                }
                Step::End => {
                    if let Some((body, close)) = self.echo.take() {
                        self.answer_head(&format!("Content-Length: {}\r\n", body.len()), close);
                        self.out.extend(body);
                    }
                }
            }
        }
        self.reader = Some(reader);
        Ok(())
    }

    fn request(&mut self, head: &Head) -> Result<(), String> {
        let mut words = head.first_line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let close = head.has_token("connection", "close");
        let path = match target.strip_prefix("/be").and_then(|rest| rest.split_once('/')) {
            Some((_, path)) => path,
            None => target.trim_start_matches('/'),
        };
        if (method, path) == ("POST", "echo") {
            self.echo = Some((Vec::new(), close));
            return Ok(());
        }
        let (kind, len, seed) = probe(path).ok_or_else(|| format!("no such path: {target}"))?;
        match (method, kind) {
            ("GET", "bytes") => {
                self.answer_head(&format!("Content-Length: {len}\r\n"), close);
                self.body(len, seed, |out, piece| out.extend(piece));
            }
            ("HEAD", "bytes") => self.answer_head(&format!("Content-Length: {len}\r\n"), close),
            ("GET", "chunked") => {
                self.answer_head("Transfer-Encoding: chunked\r\n", close);
                self.body(len, seed, |out, piece| {
                    out.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                    out.extend(piece);
                    out.extend(b"\r\n");
                });
                self.out.extend(b"0\r\n\r\n");
            }
            _ => return Err(format!("no {method} of {target}")),
        }
        Ok(())
    }

    fn answer_head(&mut self, framing: &str, close: bool) {
        self.last |= close;
        let connection = if close { "Connection: close\r\n" } else { "" };
        self.out.extend(format!("HTTP/1.1 200 OK\r\n{framing}{connection}\r\n").into_bytes());
    }

    fn body(&mut self, len: usize, seed: u64, put: impl Fn(&mut VecDeque<u8>, &[u8])) {
        content::bytes(seed, len).chunks(PIECE_LEN).for_each(|piece| put(&mut self.out, piece));
    }
}

/// `KIND/N?seed=S`.
fn probe(path: &str) -> Option<(&str, usize, u64)> {
    let (kind, rest) = path.split_once('/')?;
    let (len, seed) = rest.split_once("?seed=")?;
    Some((kind, len.parse().ok()?, seed.parse().ok()?))
}
