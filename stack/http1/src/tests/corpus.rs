//! Each stream of the corpus means what it says, and an independent reader agrees.

use std::string::ToString;
use std::vec::Vec;

use crate::corpus::{ACCEPTED, REFUSED};
use crate::{Cursor, Limits, Parsed, RequestHead, Version, parse_head};

use super::{long_stream, read_whole};

#[test]
fn accepted_streams_mean_what_they_say() {
    for case in ACCEPTED {
        let seen = read_whole(case.stream);
        assert_eq!((seen.error, seen.closed), (None, case.closed), "{}", case.name);
        assert_eq!(seen.requests.len(), case.requests.len(), "{}", case.name);
        for ((got, want), ordinal) in seen.requests.iter().zip(case.requests).zip(0..) {
            let got_line = (got.method.as_str(), got.host.as_deref(), got.path.as_str(), got.query.as_deref());
            assert_eq!(got_line, (want.method, want.host, want.path, want.query), "{}", case.name);
            assert_eq!(got.body, want.body, "{}", case.name);
            assert!(got.ended, "{}", case.name);
            assert_eq!(got.ordinal, ordinal, "{}", case.name);
        }
    }
}

#[test]
fn accepted_streams_follow_one_another_on_one_connection() {
    let seen = read_whole(&long_stream());
    assert_eq!(seen.error, None);
    let wanted = ACCEPTED.iter().filter(|case| !case.closed).flat_map(|case| case.requests);
    let wanted: Vec<_> = wanted.map(|request| (request.path.to_string(), request.body.to_vec())).collect();
    let got: Vec<_> = seen.requests.iter().map(|request| (request.path.clone(), request.body.clone())).collect();
    assert_eq!(got, wanted);
}

#[test]
fn refused_streams_are_refused_for_their_reason() {
    for case in REFUSED {
        let seen = read_whole(case.stream);
        assert_eq!(seen.error, Some(case.error), "{}", case.class);
        assert_eq!(case.error.status().code(), case.status, "{}", case.class);
        let ended = seen.requests.iter().filter(|request| request.ended).count();
        assert_eq!(u32::try_from(ended), Ok(case.requests_before), "{}", case.class);
    }
}

#[test]
fn no_two_cases_have_one_name_or_one_stream() {
    let mut names: Vec<_> =
        ACCEPTED.iter().map(|case| case.name).chain(REFUSED.iter().map(|case| case.class)).collect();
    let mut streams: Vec<_> =
        ACCEPTED.iter().map(|case| case.stream).chain(REFUSED.iter().map(|case| case.stream)).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    streams.sort_unstable();
    streams.dedup();
    assert_eq!((names.len(), streams.len()), (count, count));
}

#[test]
fn an_independent_reader_agrees_on_every_accepted_head() {
    let stream = long_stream();
    let mut cursor = Cursor::new();
    let (mut at, mut heads) = (0, 0);
    loop {
        match cursor.advance(&stream[at..], &Limits::default()).expect("accepted") {
            crate::Advance::Head(head) => {
                agrees(&stream[at..], &head);
                heads += 1;
                at += head.len;
            }
            crate::Advance::Incomplete => break,
            advance => at += advance.consumed(),
        }
    }
    assert!(heads > 20, "{heads}");
}

/// Checks a head against httparse.
pub(super) fn agrees(bytes: &[u8], head: &RequestHead<'_>) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut other = httparse::Request::new(&mut fields);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(head.len)));
    assert_eq!(other.method, Some(head.method.as_str()));
    assert_eq!(other.path, Some(head.target));
    assert_eq!(other.version, Some(u8::from(head.version == Version::Http11)));
    let others: Vec<_> = other.headers.iter().map(|field| (field.name, field.value)).collect();
    assert_eq!(head.headers().collect::<Vec<_>>(), others);
}

fn head(bytes: &[u8]) -> RequestHead<'_> {
    match parse_head(bytes, &Limits::default()) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fields_are_found_by_name_in_any_case() {
    let head = head(
        b"GET / HTTP/1.1\r\nHost: A.example:80\r\nif-none-match: \"x\" , \"y\"\r\nRange:bytes=0-1\t\r\nRANGE: bytes=2-\r\n\r\n",
    );
    assert_eq!(head.header("If-None-Match"), Some(&b"\"x\" , \"y\""[..]));
    assert_eq!(head.header("range"), Some(&b"bytes=0-1"[..]));
    assert_eq!(head.header("If-Modified-Since"), None);
    assert_eq!(head.headers().count(), 4);
    assert_eq!((head.host, head.host_name()), (Some("A.example:80"), Some("A.example")));
}

#[test]
fn host_names_are_without_the_port() {
    for (host, name) in [("a:80", "a"), ("a:", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a", "a")] {
        let bytes = std::format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(head(bytes.as_bytes()).host_name(), Some(name));
    }
}

#[test]
fn keep_alive_follows_version_and_connection() {
    let cases = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, CLOSE\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, connection, keep_alive) in cases {
        let bytes = std::format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        assert_eq!(head(bytes.as_bytes()).keep_alive, keep_alive, "{version} {connection}");
    }
}

#[test]
fn continue_is_due_only_where_a_body_is_awaited() {
    let cases = [
        ("1.1", "Content-Length: 5\r\n", true),
        ("1.1", "Transfer-Encoding: chunked\r\n", true),
        ("1.1", "Content-Length: 0\r\n", false),
        ("1.1", "", false),
        ("1.0", "Content-Length: 5\r\n", false),
    ];
    for (version, framing, due) in cases {
        let bytes = std::format!("POST / HTTP/{version}\r\nHost: a\r\nExpect: 100-continue\r\n{framing}\r\n");
        assert_eq!(head(bytes.as_bytes()).expects_continue, due, "{version} {framing}");
    }
}
