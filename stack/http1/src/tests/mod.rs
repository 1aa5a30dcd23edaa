//! Tests across modules: the corpus, the cuts, the limits, the wire layout, and the writer.

mod corpus;
mod cuts;
mod layout;
mod limits;
mod response;

use std::string::{String, ToString};
use std::vec::Vec;

use crate::corpus::ACCEPTED;
use crate::{Advance, CURSOR_LEN, Cursor, Limits, RequestError};

/// What a reader saw of a stream, with bodies joined: how the pieces fall depends on the cuts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Seen {
    requests: Vec<SeenRequest>,
    closed: bool,
    error: Option<RequestError>,
}

/// One request of [`Seen`].
#[derive(Clone, PartialEq, Eq, Debug)]
struct SeenRequest {
    ordinal: u32,
    method: String,
    host: Option<String>,
    path: String,
    query: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    keep_alive: bool,
    head_len: usize,
    body: Vec<u8>,
    ended: bool,
}

/// Reads a stream that arrives in `pieces`. After each piece the connection moves: a new cursor is decoded from the
/// bytes of the old one, and the unread bytes go with it.
fn read_moving(pieces: &[&[u8]], limits: &Limits) -> Seen {
    let mut seen = Seen::default();
    let mut cursor = Cursor::new();
    let mut unread: Vec<u8> = Vec::new();
    for piece in pieces {
        unread.extend_from_slice(piece);
        while seen.error.is_none() {
            match cursor.advance(&unread, limits) {
                Ok(Advance::Incomplete) => break,
                Ok(Advance::Closed) => {
                    seen.closed = true;
                    break;
                }
                Ok(advance) => {
                    note(&advance, &cursor, &unread, &mut seen.requests);
                    let consumed = advance.consumed();
                    unread.drain(..consumed);
                }
                Err(error) => {
                    assert_eq!(cursor.advance(&unread, limits), Ok(Advance::Closed), "an error closes the cursor");
                    seen.error = Some(error);
                }
            }
            cursor = moved(&cursor);
        }
        cursor = moved(&cursor);
    }
    seen
}

fn note(advance: &Advance<'_>, cursor: &Cursor, unread: &[u8], requests: &mut Vec<SeenRequest>) {
    match advance {
        Advance::Head(head) => requests.push(SeenRequest {
            ordinal: cursor.ordinal(),
            method: head.method.as_str().to_string(),
            host: head.host.map(str::to_string),
            path: head.path.to_string(),
            query: head.query.map(str::to_string),
            headers: head.headers().map(|(name, value)| (name.to_string(), value.to_vec())).collect(),
            keep_alive: head.keep_alive,
            head_len: head.len,
            body: Vec::new(),
            ended: false,
        }),
        Advance::Body { consumed, payload } => {
            assert!(*consumed > 0 && payload.end <= *consumed);
            requests.last_mut().expect("a body follows a head").body.extend_from_slice(&unread[payload.clone()]);
        }
        Advance::End => requests.last_mut().expect("an end follows a head").ended = true,
        Advance::Incomplete | Advance::Closed => {}
    }
}

fn moved(cursor: &Cursor) -> Cursor {
    let mut wire = [0; CURSOR_LEN];
    cursor.encode(&mut wire);
    let there = Cursor::decode(&wire).expect("what a cursor encodes, decodes");
    assert_eq!(there, *cursor);
    there
}

fn read_whole(stream: &[u8]) -> Seen {
    read_moving(&[stream], &Limits::default())
}

/// All accepted streams that leave the connection open, one behind the other.
fn long_stream() -> Vec<u8> {
    ACCEPTED.iter().filter(|case| !case.closed).flat_map(|case| case.stream).copied().collect()
}

#[test]
fn path_and_query_are_one_piece_where_the_target_has_both_in_one() {
    let cases = [
        ("GET /a/b?c=d&e HTTP/1.1", Some("/a/b?c=d&e")),
        ("GET /a HTTP/1.1", Some("/a")),
        ("GET /? HTTP/1.1", Some("/?")),
        ("GET http://h/a?b HTTP/1.1", Some("/a?b")),
        ("GET http://h HTTP/1.1", Some("/")),
        ("GET http://h?a HTTP/1.1", None),
        ("OPTIONS * HTTP/1.1", Some("*")),
    ];
    for (line, expected) in cases {
        let text = std::format!("{line}\r\nhost: h\r\n\r\n");
        match crate::parse_head(text.as_bytes(), &Limits::default()) {
            Ok(crate::Parsed::Complete(head)) => assert_eq!(head.path_and_query(), expected, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}
