//! A whole connection as a node drives it: cursor, exchanges, send queue, with small buffers everywhere.

use baton_backend::serve::probe::fill;
use baton_backend::serve::{Composed, Exchange, Request, Server, Terms};
use baton_http1::{Advance, Cursor, Limits, Phase};
use proptest::prelude::*;

use crate::common::{Client, NOW_S, dechunk, server};

/// What a connection's owner may hold unread.
const RECEIVE_BUFFER_LEN: usize = 4_096;

struct Connection {
    server: Server<Composed>,
    cursor: Cursor,
    unread: Vec<u8>,
    exchange: Option<Exchange>,
    client: Client,
}

impl Connection {
    fn new() -> Self {
        Self {
            server: server(Composed::new().with_probe()),
            cursor: Cursor::new(),
            unread: Vec::new(),
            exchange: None,
            client: Client::default(),
        }
    }

    /// Reads and answers until nothing moves.
    fn run(&mut self, extent_len_max: u64) {
        loop {
            if let Some(exchange) = &mut self.exchange {
                self.client.drain(exchange, &mut self.server.store, extent_len_max);
                let request_ended = !matches!(self.cursor.phase(), Phase::InBody(_));
                if request_ended && exchange.is_complete() {
                    self.exchange = None;
                } else if request_ended {
                    return;
                }
            }
            if !self.advance() {
                return;
            }
        }
    }

    fn advance(&mut self) -> bool {
        // While it is in a body, the cursor is shown no more than the exchange can take.
        let room = self.exchange.as_ref().map_or(usize::MAX, |exchange| exchange.room(&self.server.store));
        let shown = self.unread.len().min(room);
        let mut cursor = self.cursor;
        let advance = cursor.advance(&self.unread[..shown], &Limits::default()).unwrap();
        let consumed = advance.consumed();
        match advance {
            Advance::Incomplete | Advance::Closed => return false,
            Advance::Head(head) => {
                let request = Request::new(&head, head.path, NOW_S);
                let terms = Terms { epoch: 1, keep_alive: true, continue_due: cursor.continue_due() };
                let exchange = self.server.begin(&request, terms).unwrap();
                if exchange.sends_continue() {
                    cursor.continue_sent();
                }
                if !exchange.keep_alive() {
                    cursor.close_after_this();
                }
                self.exchange = Some(exchange);
            }
            Advance::Body { payload, .. } => {
                let exchange = self.exchange.as_mut().unwrap();
                exchange.feed(&mut self.server.store, &self.unread[payload]).unwrap();
            }
            Advance::End => self.server.finish(self.exchange.as_mut().unwrap()).unwrap(),
        }
        self.cursor = cursor;
        self.unread.drain(..consumed);
        true
    }
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill(seed, 0, &mut bytes);
    bytes
}

fn requests() -> Vec<u8> {
    let mut out = b"GET /bytes/10000?seed=1 HTTP/1.1\r\nhost: t\r\n\r\n".to_vec();
    out.extend_from_slice(b"POST /echo HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n");
    for chunk in bytes(2, 30_000).chunks(777) {
        out.extend_from_slice(format!("{:X};x=y\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\ntrailer: x\r\n\r\n");
    out.extend_from_slice(b"HEAD /bytes/7 HTTP/1.1\r\nhost: t\r\n\r\n");
    out.extend_from_slice(b"GET /chunked/40000?seed=3 HTTP/1.1\r\nhost: t\r\n\r\n");
    out.extend_from_slice(b"POST /none HTTP/1.1\r\nhost: t\r\ncontent-length: 9000\r\n\r\n");
    out.extend_from_slice(&bytes(4, 9_000));
    out.extend_from_slice(b"PUT /echo HTTP/1.1\r\nhost: t\r\ncontent-length: 20000\r\nconnection: close\r\n\r\n");
    out.extend_from_slice(&bytes(5, 20_000));
    out
}

/// Takes one response off the front of `wire`: its status line, and its body of the length that is expected.
fn response<'a>(wire: &mut &'a [u8], body_len: impl FnOnce(&[u8]) -> usize) -> (String, &'a [u8]) {
    let end = wire.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (head, rest) = wire.split_at(end);
    let (body, rest) = rest.split_at(body_len(rest));
    *wire = rest;
    (String::from_utf8(head.to_vec()).unwrap(), body)
}

/// Up to the last chunk; none of the payloads here contains it by chance.
fn chunked_len(rest: &[u8]) -> usize {
    rest.windows(7).position(|window| window == b"\r\n0\r\n\r\n").unwrap() + 7
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn pipelined_requests_are_answered_in_order(
        pieces in prop::collection::vec((1..3_000_usize, any::<bool>()), 1..60),
        extent_len_max in 1..20_000_u64,
    ) {
        let mut connection = Connection::new();
        let input = requests();
        let mut rest = input.as_slice();
        for &(len, acknowledges) in pieces.iter().cycle().take(200_000) {
            if rest.is_empty() && connection.cursor.phase() == Phase::Closed && connection.exchange.is_none() {
                break;
            }
            let now = len.min(rest.len()).min(RECEIVE_BUFFER_LEN - connection.unread.len());
            connection.unread.extend_from_slice(&rest[..now]);
            rest = &rest[now..];
            connection.run(extent_len_max);
            if acknowledges {
                connection.client.acknowledge(&mut connection.server.store);
            }
        }
        connection.client.acknowledge(&mut connection.server.store);
        prop_assert_eq!((connection.server.store.sources(), connection.server.store.bytes()), (0, 0));
        check(&connection.client.wire);
    }
}

fn check(mut wire: &[u8]) {
    let wire = &mut wire;
    assert!(response(wire, |_| 10_000).1 == bytes(1, 10_000));
    assert!(dechunk(response(wire, chunked_len).1).0 == bytes(2, 30_000));
    assert!(response(wire, |_| 0).0.contains("content-length: 7\r\n"));
    assert!(dechunk(response(wire, chunked_len).1).0 == bytes(3, 40_000));
    let (head, text) = response(wire, |_| "nothing is served here\n".len());
    assert!(head.starts_with("HTTP/1.1 404 ") && text == b"nothing is served here\n");
    let (head, echo) = response(wire, |_| 20_000);
    assert!(echo == bytes(5, 20_000) && head.contains("connection: close\r\n"));
    assert!(wire.is_empty());
}
