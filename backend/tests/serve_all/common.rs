//! A node in miniature: begins exchanges, feeds them, and collects what they put into the send queue.

use std::collections::VecDeque;

use baton_backend::serve::{
    Body, ContentStore, Exchange, Extent, Prepared, Request, Responder, Response, Server, Service, StoreLimits, Terms,
};
use baton_http1::{BodyDecoder, BodyFraming, Limits, Parsed, parse_head};

/// 2026-11-23 08:16:40, a Monday.
pub(crate) const NOW_S: u64 = 1_795_421_800;

/// Runs `f` with the request of this head: lines without their CRLF.
pub(crate) fn with_request<R>(lines: &[&str], f: impl FnOnce(&Request<'_>) -> R) -> R {
    let text = lines.join("\r\n") + "\r\n\r\n";
    let Ok(Parsed::Complete(head)) = parse_head(text.as_bytes(), &Limits::default()) else {
        panic!("not a request head: {text}");
    };
    f(&Request::new(&head, head.path, NOW_S))
}

/// `GET path` with these further lines.
pub(crate) fn with_get<R>(path: &str, lines: &[&str], f: impl FnOnce(&Request<'_>) -> R) -> R {
    let first = format!("GET {path} HTTP/1.1");
    let mut all = vec![first.as_str(), "host: test"];
    all.extend(lines);
    with_request(&all, f)
}

/// What a service answers to `GET path` with these further lines.
pub(crate) fn get(service: &mut impl Service, path: &str, lines: &[&str]) -> Response {
    with_get(path, lines, |request| response(service.prepare(request)))
}

pub(crate) fn response(prepared: Prepared) -> Response {
    match prepared {
        Prepared::Response(response) => response,
        Prepared::Upload(upload) => panic!("an upload: {upload:?}"),
    }
}

pub(crate) fn read(body: &mut dyn Body, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; len];
    body.read(offset, &mut bytes).unwrap();
    bytes
}

/// All of a body that is complete.
pub(crate) fn read_all(response: &mut Response) -> Vec<u8> {
    let ready = response.body_mut().ready();
    assert!(ready.complete);
    read(response.body_mut(), 0, usize::try_from(ready.end).unwrap())
}

pub(crate) fn server<S: Service>(service: S) -> Server<S> {
    limited_server(service, StoreLimits::default())
}

pub(crate) fn limited_server<S: Service>(service: S, limits: StoreLimits) -> Server<S> {
    let mut responder = Responder::new(Some("be1".into()));
    responder.set_time(NOW_S);
    Server { service, store: ContentStore::new(limits), responder }
}

pub(crate) const TERMS: Terms = Terms { epoch: 7, keep_alive: true, continue_due: false };

/// A whole response as the client got it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) wire: Vec<u8>,
    pub(crate) keep_alive: bool,
}

impl Fetched {
    pub(crate) fn head(&self) -> String {
        let (head, _) = self.split();
        String::from_utf8(head.to_vec()).unwrap()
    }

    /// What follows the head.
    pub(crate) fn rest(&self) -> &[u8] {
        self.split().1
    }

    /// The payload of a chunked body, and the sizes of its chunks.
    pub(crate) fn chunks(&self) -> (Vec<u8>, Vec<usize>) {
        dechunk(self.rest())
    }

    fn split(&self) -> (&[u8], &[u8]) {
        let end = self.wire.windows(4).position(|window| window == b"\r\n\r\n").expect("no head");
        self.wire.split_at(end + 4)
    }
}

pub(crate) fn dechunk(wire: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
    let (mut payload, mut sizes, mut at) = (Vec::new(), Vec::new(), 0);
    while !decoder.is_done() {
        let step = decoder.decode(&wire[at..]).expect("broken framing");
        assert!(step.consumed > 0 || step.done, "the framing ends early");
        if !step.payload.is_empty() {
            sizes.push(step.payload.len());
            payload.extend_from_slice(&wire[at..][step.payload]);
        }
        at += step.consumed;
    }
    assert_eq!(at, wire.len(), "bytes behind the last chunk");
    (payload, sizes)
}

/// Sends a whole request and collects the whole response, acknowledging as it goes.
pub(crate) fn fetch<S: Service>(server: &mut Server<S>, lines: &[&str], body: &[u8]) -> Fetched {
    let mut exchange = with_request(lines, |request| server.begin(request, TERMS)).unwrap();
    let mut client = Client::default();
    let mut rest = body;
    while !rest.is_empty() {
        let now = exchange.room(&server.store).min(rest.len());
        exchange.feed(&mut server.store, &rest[..now]).unwrap();
        rest = &rest[now..];
        client.drain(&mut exchange, &mut server.store, 60_000);
        client.acknowledge(&mut server.store);
    }
    server.finish(&mut exchange).unwrap();
    client.drain(&mut exchange, &mut server.store, 60_000);
    assert!(exchange.is_complete());
    client.acknowledge(&mut server.store);
    Fetched { wire: client.wire, keep_alive: exchange.keep_alive() }
}

/// The other end: what it got, and what it has not yet acknowledged.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) wire: Vec<u8>,
    pub(crate) unacknowledged: VecDeque<Extent>,
}

impl Client {
    /// Takes all extents that are ready, each of at most `len_max` bytes, reading it in pieces, one of them twice.
    pub(crate) fn drain(&mut self, exchange: &mut Exchange, store: &mut ContentStore, len_max: u64) {
        while let Some(extent) = exchange.next_extent(store, len_max) {
            assert!(extent.len > 0 && extent.len <= len_max);
            let start = self.wire.len();
            for offset in (0..extent.len).step_by(1_448) {
                let len = usize::try_from((extent.len - offset).min(1_448)).unwrap();
                let mut segment = vec![0xee; len];
                store.read_source(extent.source, extent.offset + offset, &mut segment).unwrap();
                self.wire.extend_from_slice(&segment);
            }
            let mut again = vec![0; self.wire.len() - start];
            store.read_source(extent.source, extent.offset, &mut again).unwrap();
            assert_eq!(again, self.wire[start..]);
            self.unacknowledged.push_back(extent);
        }
    }

    pub(crate) fn acknowledge(&mut self, store: &mut ContentStore) {
        for extent in self.unacknowledged.drain(..) {
            store.release_source(extent.source, extent.offset + extent.len);
        }
    }
}
