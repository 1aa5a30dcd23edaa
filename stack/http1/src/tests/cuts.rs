//! A stream may be cut anywhere, and the connection moved at each cut, and its reader sees the same.

use proptest::prelude::*;
use std::string::String;
use std::vec::Vec;

use crate::corpus::{ACCEPTED, REFUSED};
use crate::{Advance, Cursor, Limits, Parsed, Phase, parse_head};

use super::corpus::agrees;
use super::{long_stream, read_moving, read_whole};

fn all_streams<'a>() -> impl Iterator<Item = (&'a str, &'a [u8])> {
    let accepted = ACCEPTED.iter().map(|case| (case.name, case.stream));
    accepted.chain(REFUSED.iter().map(|case| (case.class, case.stream)))
}

#[test]
fn one_cut_at_every_byte_changes_nothing() {
    for (name, stream) in all_streams() {
        let whole = read_whole(stream);
        for cut in 0..=stream.len() {
            let (before, behind) = stream.split_at(cut);
            assert_eq!(read_moving(&[before, behind], &Limits::default()), whole, "{name}, cut at {cut}");
        }
    }
}

#[test]
fn a_move_behind_every_byte_changes_nothing() {
    let long = long_stream();
    for (name, stream) in all_streams().chain([("all accepted streams", long.as_slice())]) {
        let pieces: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read_moving(&pieces, &Limits::default()), read_whole(stream), "{name}");
    }
}

#[test]
fn reading_ahead_leaves_the_cursor_where_it_was() {
    let stream = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    let limits = Limits::default();
    let mut cursor = Cursor::new();
    let first = cursor.advance(stream, &limits).expect("a head");
    let unread = &stream[first.consumed()..];
    assert_eq!(cursor.advance(unread, &limits), Ok(Advance::End));
    let before = cursor;
    let mut ahead = cursor;
    let Ok(Advance::Head(head)) = ahead.advance(unread, &limits) else { panic!("a head") };
    assert_eq!((head.path, ahead.ordinal()), ("/2", 1));
    assert_eq!(cursor, before);
    assert_eq!(cursor.advance(unread, &limits), Ok(Advance::Head(head)));
}

#[test]
fn a_waiting_client_is_remembered_until_its_body_begins_or_continue_is_sent() {
    let head = b"POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    let limits = Limits::default();
    let mut cursor = Cursor::new();
    assert!(matches!(cursor.advance(head, &limits), Ok(Advance::Head(_))));
    assert!(super::moved(&cursor).continue_due());
    assert_eq!(cursor.advance(b"", &limits), Ok(Advance::Incomplete));
    assert!(cursor.continue_due());
    let mut told = cursor;
    told.continue_sent();
    assert!(!super::moved(&told).continue_due());
    assert_eq!(cursor.advance(b"3", &limits), Ok(Advance::Body { consumed: 1, payload: 1..1 }));
    assert!(!cursor.continue_due());
}

#[test]
fn the_owner_can_make_a_request_the_last() {
    let stream = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let limits = Limits::default();
    let mut cursor = Cursor::new();
    assert!(matches!(cursor.advance(stream, &limits), Ok(Advance::Head(_))));
    cursor.close_after_this();
    assert_eq!(cursor.advance(stream, &limits), Ok(Advance::End));
    assert_eq!((cursor.phase(), cursor.keep_alive()), (Phase::Closed, false));
    let mut idle = Cursor::new();
    idle.close_after_this();
    assert_eq!(idle.advance(stream, &limits), Ok(Advance::Closed));
}

/// Heads that are mostly valid: what this reader accepts, httparse must read alike.
fn headlike() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(std::vec![
        "GET",
        "POST",
        "OPTIONS",
        " ",
        "/",
        "*",
        "http://b/x?y",
        " HTTP/1.1",
        " HTTP/1.0",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "\t",
        "Host: a\r\n",
        "Host: a\r\n",
        "X: y\r\n",
        "x:\t z \r\n",
        ": ",
        "Content-Length: 2\r\n",
        "Transfer-Encoding: chunked\r\n",
        "\0",
        "Expect: 100-continue\r\n",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\n",
        "POST /p?q HTTP/1.1\r\n",
        "\r\n\r\n",
        ",",
        "\"",
        "é",
    ]);
    prop::collection::vec(parts, 0..8).prop_map(|parts| {
        let mut head = parts.concat();
        head.push_str("\r\n\r\n");
        head.into_bytes()
    })
}

/// A stream of legal requests of every framing.
fn legal_stream() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..40);
    let chunks = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..4);
    let request = prop_oneof![
        "[a-z0-9/]{0,12}".prop_map(|path| std::format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()),
        body.prop_map(|body| {
            let head = std::format!("PUT /l HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.into_bytes(), body].concat()
        }),
        (chunks, "(;[a-z]{0,4}){0,2}", "(X: [a-z ]{0,4}\r\n){0,2}").prop_map(|(chunks, extension, trailers)| {
            let mut request = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in chunks {
                request.extend_from_slice(std::format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
                request.extend_from_slice(&chunk);
                request.extend_from_slice(b"\r\n");
            }
            request.extend_from_slice(std::format!("0{extension}\r\n{trailers}\r\n").as_bytes());
            request
        }),
    ];
    prop::collection::vec(request, 0..6).prop_map(|requests| requests.concat())
}

fn pieces<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn any_cuts_of_legal_streams_change_nothing(
        stream in legal_stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = read_whole(&stream);
        prop_assert_eq!(whole.error, None);
        prop_assert!(whole.requests.iter().all(|request| request.ended));
        prop_assert_eq!(read_moving(&pieces(&stream, &cuts), &Limits::default()), whole);
    }

    #[test]
    fn any_cuts_of_damaged_streams_change_nothing(
        stream in legal_stream(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        tight in any::<bool>(),
    ) {
        let mut stream = stream;
        for (place, byte) in damage {
            if !stream.is_empty() {
                let place = place.index(stream.len());
                stream[place] = byte;
            }
        }
        let tight_limits = Limits { head_bytes_max: 60, request_line_bytes_max: 20, headers_max: 2 };
        let limits = if tight { tight_limits } else { Limits::default() };
        let whole = read_moving(&[&stream], &limits);
        prop_assert_eq!(read_moving(&pieces(&stream, &cuts), &limits), whole);
    }

    #[test]
    fn what_is_accepted_is_read_alike_by_an_independent_reader(bytes in headlike()) {
        if let Ok(Parsed::Complete(head)) = parse_head(&bytes, &Limits::default()) {
            agrees(&bytes, &head);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,60}") {
        let text: String = text;
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let by_byte: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(read_moving(&by_byte, &Limits::default()), read_whole(bytes));
        }
    }
}
