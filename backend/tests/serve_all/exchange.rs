use baton_backend::serve::{
    Body, BodyError, Bytes, Composed, ECHO_BUFFER_LEN, Echo, ExchangeError, FORGOTTEN_BODY_LEN_MAX, Prepared, Probe,
    Ready, Request, Responder, Response, Service, StoreFull, StoreLimits, Terms, Upload,
};
use baton_http1::Status;

use crate::common::{Client, NOW_S, TERMS, fetch, get, limited_server, server, with_get, with_request};

const GET: [&str; 2] = ["GET / HTTP/1.1", "host: t"];

/// A service that makes one response.
struct Fixed(fn() -> Response);

impl Service for Fixed {
    fn prepare(&mut self, _: &Request<'_>) -> Prepared {
        (self.0)().into()
    }
}

fn hello() -> Response {
    Response::text(Status::OK, "hello")
}

#[test]
fn a_whole_response() {
    let fetched = fetch(&mut server(Fixed(hello)), &GET, b"");
    let expected = "HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 08:16:40 GMT\r\nx-baton-backend: be1\r\nx-baton-epoch: 7\r\n\
                    content-type: text/plain; charset=utf-8\r\ncontent-length: 6\r\n\r\nhello\n";
    assert_eq!(String::from_utf8(fetched.wire).unwrap(), expected);
    assert!(fetched.keep_alive);
}

#[test]
fn without_identity_and_at_the_end_of_dates() {
    let mut server = server(Fixed(hello));
    server.responder = Responder::new(None);
    server.responder.set_time(u64::MAX);
    let head = fetch(&mut server, &GET, b"").head();
    assert!(!head.contains("x-baton") && head.contains("\r\ndate: Fri, 31 Dec 9999 23:59:59 GMT\r\n"), "{head}");
}

#[test]
fn bodies_that_are_not_sent() {
    type Case = (fn() -> Response, &'static str, &'static str);
    let cases: [Case; 5] = [
        (hello, "HEAD", "content-length: 6\r\n"),
        (|| Response::new(Status::OK, Echo::new(None)), "HEAD", "transfer-encoding: chunked\r\n"),
        (|| Response::empty(Status::NO_CONTENT), "GET", ""),
        (|| Response::text(Status::NOT_MODIFIED, "?"), "GET", ""),
        (|| Response::empty(Status::OK), "GET", "content-length: 0\r\n"),
    ];
    for (make, method, framing) in cases {
        let mut server = server(Fixed(make));
        let fetched = fetch(&mut server, &[&format!("{method} / HTTP/1.1"), "host: t"], b"");
        let head = fetched.head();
        assert!(fetched.rest().is_empty() && fetched.keep_alive && head.contains(framing), "{head}");
        assert!(!framing.is_empty() || !(head.contains("content-length") || head.contains("transfer-encoding")));
        assert_eq!(server.store.sources(), 0);
    }
}

#[test]
fn keep_alive_follows_request_node_and_framing() {
    let stream: fn() -> Response = || Response::new(Status::OK, Bytes::from("x")).taking_request_body();
    let node_closes = Terms { keep_alive: false, ..TERMS };
    let cases: [(&[&str], Terms, bool, &str); 5] = [
        (&["GET / HTTP/1.1", "host: t"], TERMS, true, ""),
        (&["GET / HTTP/1.1", "host: t", "connection: close"], TERMS, false, "connection: close\r\n"),
        (&["GET / HTTP/1.1", "host: t"], node_closes, false, "connection: close\r\n"),
        (&["GET / HTTP/1.0"], TERMS, false, "connection: close\r\n"),
        (&["GET / HTTP/1.0", "connection: keep-alive"], TERMS, true, "connection: keep-alive\r\n"),
    ];
    for (lines, terms, keep_alive, field) in cases {
        let mut server = server(Fixed(stream));
        let mut exchange = with_request(lines, |request| server.begin(request, terms)).unwrap();
        let mut client = Client::default();
        client.drain(&mut exchange, &mut server.store, u64::MAX);
        assert_eq!(exchange.keep_alive(), keep_alive, "{lines:?}");
        assert!(String::from_utf8(client.wire).unwrap().contains(field));
    }
}

#[test]
fn a_request_body_that_nobody_wants() {
    let long = FORGOTTEN_BODY_LEN_MAX + 1;
    let waiting = Terms { continue_due: true, ..TERMS };
    let cases = [
        (format!("content-length: {FORGOTTEN_BODY_LEN_MAX}"), TERMS, true),
        (format!("content-length: {long}"), TERMS, false),
        ("transfer-encoding: chunked".into(), TERMS, false),
        ("content-length: 5".into(), waiting, false),
        ("content-length: 0".into(), TERMS, true),
    ];
    for (field, terms, keep_alive) in cases {
        let mut server = server(Fixed(hello));
        let lines = ["POST / HTTP/1.1", "host: t", &field];
        let mut exchange = with_request(&lines, |request| server.begin(request, terms)).unwrap();
        assert_eq!((exchange.keep_alive(), exchange.sends_continue()), (keep_alive, false), "{field}");
        assert_eq!(exchange.room(&server.store), usize::MAX);
        exchange.feed(&mut server.store, b"12345").unwrap();
        server.finish(&mut exchange).unwrap();
        let mut client = Client::default();
        client.drain(&mut exchange, &mut server.store, u64::MAX);
        assert!(client.wire.starts_with(b"HTTP/1.1 200 OK\r\n") && client.wire.ends_with(b"hello\n"));
    }
}

#[test]
fn continue_goes_before_the_response() {
    let mut server = server(Probe);
    let lines = ["POST /echo HTTP/1.1", "host: t", "content-length: 2", "expect: 100-continue"];
    for (continue_due, start) in
        [(true, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), (false, "HTTP/1.1 200 OK")]
    {
        let terms = Terms { continue_due, ..TERMS };
        let mut exchange = with_request(&lines, |request| server.begin(request, terms)).unwrap();
        assert_eq!((exchange.sends_continue(), exchange.keep_alive()), (continue_due, true));
        let mut client = Client::default();
        client.drain(&mut exchange, &mut server.store, 10);
        assert!(client.wire.starts_with(start.as_bytes()) && !exchange.is_complete());
        exchange.feed(&mut server.store, b"hi").unwrap();
        server.finish(&mut exchange).unwrap();
        client.drain(&mut exchange, &mut server.store, 10);
        assert!(client.wire.ends_with(b"\r\n\r\nhi") && exchange.is_complete());
        client.acknowledge(&mut server.store);
    }
    assert_eq!((server.store.sources(), server.store.bytes()), (0, 0));
}

/// Adds up the bytes of a request and then says their sum.
struct Summing;

#[derive(Debug, Default)]
struct Sum(u64);

impl Service for Summing {
    fn prepare(&mut self, _: &Request<'_>) -> Prepared {
        Prepared::Upload(Box::new(Sum::default()))
    }
}

impl Upload for Sum {
    fn room(&self) -> usize {
        3
    }
    fn feed(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        self.0 += bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        if self.0 > 1_000 { Err(BodyError::TooMuch) } else { Ok(()) }
    }
    fn finish(self: Box<Self>) -> Response {
        Response::text(Status::CREATED, &self.0.to_string())
    }
}

#[test]
fn an_upload_is_answered_at_its_end() {
    let mut server = server(Summing);
    let lines = ["PUT / HTTP/1.1", "host: t", "content-length: 3", "expect: 100-continue"];
    let terms = Terms { continue_due: true, ..TERMS };
    let mut exchange = with_request(&lines, |request| server.begin(request, terms)).unwrap();
    let mut client = Client::default();
    client.drain(&mut exchange, &mut server.store, u64::MAX);
    assert_eq!(client.wire, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!((exchange.status(), exchange.room(&server.store), exchange.is_complete()), (None, 3, false));
    exchange.feed(&mut server.store, &[100, 200, 3]).unwrap();
    server.finish(&mut exchange).unwrap();
    client.drain(&mut exchange, &mut server.store, u64::MAX);
    assert_eq!((exchange.status(), exchange.is_complete()), (Some(Status::CREATED), true));
    assert!(client.wire.ends_with(b"content-length: 4\r\n\r\n303\n"));
    client.acknowledge(&mut server.store);
    assert_eq!(server.store.sources(), 0);
}

#[test]
fn an_upload_without_a_body_and_one_that_fails() {
    assert_eq!(fetch(&mut server(Summing), &GET, b"").rest(), b"0\n");
    let mut server = server(Summing);
    let mut exchange = with_request(&GET, |request| server.begin(request, TERMS)).unwrap();
    assert_eq!(exchange.feed(&mut server.store, &[255; 4]), Err(BodyError::TooMuch));
}

#[test]
fn a_body_that_ends_early_is_an_error() {
    let mut server = server(Probe);
    let lines = ["POST /echo HTTP/1.1", "host: t", "content-length: 5"];
    let mut exchange = with_request(&lines, |request| server.begin(request, TERMS)).unwrap();
    exchange.feed(&mut server.store, b"1234").unwrap();
    assert_eq!(server.finish(&mut exchange), Err(ExchangeError::Body(BodyError::EndedEarly)));
}

#[test]
fn headers_that_cannot_be_written() {
    let bad: [fn() -> Response; 3] = [
        || hello().with_header("x-bad", "a\r\nset-cookie: b"),
        || hello().with_header("content-length", "1"),
        || hello().with_header("bad name", "1"),
    ];
    for make in bad {
        let mut server = server(Fixed(make));
        let fetched = fetch(&mut server, &GET, b"");
        assert!(fetched.wire.starts_with(b"HTTP/1.1 500 ") && !fetched.keep_alive);
        assert!(fetched.head().contains("\r\nx-baton-backend: be1\r\n"));
        assert_eq!(server.store.sources(), 0);
    }
}

#[test]
fn an_identity_that_cannot_be_written() {
    let mut server = server(Fixed(hello));
    server.responder = Responder::new(Some("be\n1".into()));
    let fetched = fetch(&mut server, &GET, b"");
    assert!(fetched.wire.starts_with(b"HTTP/1.1 500 ") && !fetched.keep_alive);
}

#[test]
fn refusals() {
    let mut responder = Responder::new(Some("be2".into()));
    responder.set_time(NOW_S);
    let text = String::from_utf8(responder.refusal(Status::BAD_REQUEST, 3, false)).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n") && text.ends_with("\r\n\r\n400 Bad Request\n"), "{text}");
    for field in
        ["x-baton-backend: be2", "x-baton-epoch: 3", "connection: close", "date: Mon, 23 Nov 2026 08:16:40 GMT"]
    {
        assert!(text.contains(&format!("\r\n{field}\r\n")), "{text}");
    }
    let text = String::from_utf8(responder.refusal(Status::SERVICE_UNAVAILABLE, 3, true)).unwrap();
    assert!(text.contains("\r\nretry-after: 1\r\n") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn the_node_answers_in_place_of_the_service() {
    let mut server = server(Fixed(hello));
    let refusal = Response::text(Status::SERVICE_UNAVAILABLE, "be2 is down").with_header("retry-after", "1");
    let mut exchange = with_request(&GET, |request| server.answer(request, TERMS, refusal.into())).unwrap();
    let mut client = Client::default();
    client.drain(&mut exchange, &mut server.store, u64::MAX);
    assert!(client.wire.starts_with(b"HTTP/1.1 503 ") && client.wire.ends_with(b"\r\n\r\nbe2 is down\n"));
    assert!(exchange.is_complete() && exchange.keep_alive(), "the connection lives on");
}

#[test]
fn a_full_store() {
    // Room for a head, not for the body.
    let make: fn() -> Response = || Response::new(Status::OK, Bytes::from(vec![0; 2_000]));
    let mut server = limited_server(Fixed(make), StoreLimits { sources_max: 2, bytes_max: 2_000, pieces_max: 0 });
    let keep = server.store.insert_bytes(vec![0; 1_000]).unwrap();
    let fetched = fetch(&mut server, &GET, b"");
    assert!(fetched.wire.starts_with(b"HTTP/1.1 503 ") && !fetched.keep_alive);
    // Not even for a head: nothing is left behind.
    server.store.insert_bytes(vec![0; 950]).unwrap();
    assert_eq!(with_request(&GET, |request| server.begin(request, TERMS)).unwrap_err(), StoreFull);
    server.store.remove(keep);
    assert_eq!((server.store.sources(), server.store.bytes()), (1, 950));
    // For a body, and then not for the head.
    let make: fn() -> Response = || Response::new(Status::OK, Bytes::from(vec![0; 1_000]));
    server.service = Fixed(make);
    assert_eq!(with_request(&GET, |request| server.begin(request, TERMS)).unwrap_err(), StoreFull);
    assert_eq!((server.store.sources(), server.store.bytes()), (1, 950));
}

#[test]
fn an_abandoned_exchange_leaves_nothing() {
    let mut server = server(Probe);
    let lines = ["POST /echo HTTP/1.1", "host: t", "content-length: 5"];
    let mut exchange = with_request(&lines, |request| server.begin(request, TERMS)).unwrap();
    exchange.feed(&mut server.store, b"123").unwrap();
    let head = exchange.next_extent(&mut server.store, 10).unwrap();
    exchange.abandon(&mut server.store);
    assert_eq!((server.store.sources(), server.store.bytes()), (0, 0));
    assert!(exchange.next_extent(&mut server.store, 10).is_none());
    server.store.remove(head.source);
    assert_eq!(server.store.sources(), 0);
}

#[test]
fn a_response_bigger_than_any_window_is_given_out_bit_by_bit() {
    let mut server = server(Probe);
    let mut exchange = with_get("/bytes/1099511627776", &[], |request| server.begin(request, TERMS)).unwrap();
    assert!(exchange.next_extent(&mut server.store, 0).is_none());
    while exchange.next_extent(&mut server.store, 1_000).is_some_and(|extent| extent.offset + extent.len < 100) {}
    let extent = exchange.next_extent(&mut server.store, 1 << 30).unwrap();
    assert_eq!(extent.len, 1 << 30);
    assert!(!exchange.is_complete());
}

#[test]
fn composed() {
    let mut none = Composed::new();
    assert_eq!(get(&mut none, "/bytes/1", &[]).status(), Status::NOT_FOUND);
    let mut probe = Composed::new().with_probe();
    assert_eq!(get(&mut probe, "/bytes/1", &[]).status(), Status::OK);
    assert_eq!(get(&mut probe, "/other", &[]).status(), Status::NOT_FOUND);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("echo"), "a file").unwrap();
    let files = baton_backend::serve::Files::new(dir.path()).unwrap();
    let mut both = Composed::new().with_probe().with_files(files.clone());
    assert_eq!(crate::common::read_all(&mut get(&mut both, "/echo", &[])), b"");
    assert_eq!(get(&mut both, "/none", &[]).status(), Status::NOT_FOUND);
    assert_eq!(crate::common::read_all(&mut get(&mut Composed::new().with_files(files), "/echo", &[])), b"a file");
}

#[test]
fn a_body_that_stops_being_readable() {
    #[derive(Debug)]
    struct Broken;
    impl Body for Broken {
        fn length(&self) -> Option<u64> {
            Some(5)
        }
        fn ready(&self) -> Ready {
            Ready { end: 5, complete: true }
        }
        fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), BodyError> {
            Err(BodyError::Changed)
        }
    }
    let mut server = server(Fixed(|| Response::new(Status::OK, Broken)));
    let mut exchange = with_request(&GET, |request| server.begin(request, TERMS)).unwrap();
    let _ = exchange.next_extent(&mut server.store, u64::MAX).unwrap();
    let body = exchange.next_extent(&mut server.store, u64::MAX).unwrap();
    let result = server.store.read_source(body.source, 0, &mut [0; 5]);
    assert_eq!(result, Err(baton_backend::serve::ReadError::Body(BodyError::Changed)));
    assert_eq!(server.store.failures(), 1);
}

#[test]
fn an_echo_may_use_all_its_buffer() {
    // What a client that reads only after it has sent everything needs.
    let mut server = server(Probe);
    let line = format!("content-length: {ECHO_BUFFER_LEN}");
    let mut exchange =
        with_request(&["POST /echo HTTP/1.1", "host: t", &line], |request| server.begin(request, TERMS)).unwrap();
    exchange.feed(&mut server.store, &vec![1; ECHO_BUFFER_LEN]).unwrap();
    server.finish(&mut exchange).unwrap();
}
