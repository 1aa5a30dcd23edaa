//! The writer: what it writes, and what it refuses to write.

use core::num::NonZeroU64;
use std::string::String;
use std::vec::Vec;

use crate::response::{CHUNK_END, CONTINUE, ChunkHead, LAST_CHUNK, write_last_chunk};
use crate::{BodyDecoder, BodyFraming, ErrorResponse, ResponseBody, ResponseError, ResponseHead, Status, Version};

const OK: ResponseHead<'_> = ResponseHead {
    status: Status::OK,
    version: Version::Http11,
    keep_alive: true,
    body: ResponseBody::Length(5),
    date: None,
    headers: &[],
};

fn written(head: &ResponseHead<'_>) -> String {
    let mut out = b"before".to_vec();
    head.write(&mut out).expect("written");
    String::from_utf8(out.split_off(6)).expect("ASCII")
}

#[test]
fn heads() {
    let cases: &[(ResponseHead<'_>, &str)] = &[
        (OK, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        (
            ResponseHead {
                date: Some(b"Sun, 06 Nov 1994 08:49:37 GMT"),
                headers: &[("etag", b"\"a\""), ("x", b"")],
                ..OK
            },
            "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\netag: \"a\"\r\nx: \r\ncontent-length: 5\r\n\r\n",
        ),
        (
            ResponseHead { keep_alive: false, body: ResponseBody::Length(u64::MAX), ..OK },
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\nconnection: close\r\n\r\n",
        ),
        (ResponseHead { body: ResponseBody::Chunked, ..OK }, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (
            ResponseHead { version: Version::Http10, ..OK },
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n",
        ),
        (
            ResponseHead {
                version: Version::Http10,
                keep_alive: false,
                body: ResponseBody::streamed(Version::Http10),
                ..OK
            },
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        ),
        (
            ResponseHead { status: Status::NOT_MODIFIED, body: ResponseBody::None, ..OK },
            "HTTP/1.1 304 Not Modified\r\n\r\n",
        ),
        (
            ResponseHead { status: Status::NOT_MODIFIED, body: ResponseBody::Length(0), ..OK },
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            ResponseHead { status: Status::new(599).expect("in range"), body: ResponseBody::Length(0), ..OK },
            "HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n",
        ),
    ];
    for (head, want) in cases {
        assert_eq!(written(head), *want);
    }
}

#[test]
fn heads_that_are_not_written() {
    use ResponseError as E;
    let cases: &[(ResponseHead<'_>, ResponseError)] = &[
        (ResponseHead { headers: &[("x", b"a\r\nset-cookie: b")], ..OK }, E::InvalidFieldValue),
        (ResponseHead { headers: &[("x", b"a\nb")], ..OK }, E::InvalidFieldValue),
        (ResponseHead { headers: &[("x", b"a\rb")], ..OK }, E::InvalidFieldValue),
        (ResponseHead { headers: &[("x", b"a\0b")], ..OK }, E::InvalidFieldValue),
        (ResponseHead { date: Some(b"today\r\n"), ..OK }, E::InvalidFieldValue),
        (ResponseHead { headers: &[("ok", b"y"), ("x:", b"y")], ..OK }, E::InvalidFieldName),
        (ResponseHead { headers: &[("", b"y")], ..OK }, E::InvalidFieldName),
        (ResponseHead { headers: &[("Content-Length", b"6")], ..OK }, E::ReservedField),
        (ResponseHead { headers: &[("transfer-encoding", b"chunked")], ..OK }, E::ReservedField),
        (ResponseHead { headers: &[("Connection", b"close")], ..OK }, E::ReservedField),
        (ResponseHead { headers: &[("date", b"now")], ..OK }, E::ReservedField),
        (ResponseHead { status: Status::CONTINUE, body: ResponseBody::None, ..OK }, E::NotFinal),
        (ResponseHead { body: ResponseBody::None, ..OK }, E::FramingMissing),
        (ResponseHead { status: Status::NO_CONTENT, ..OK }, E::FramingNotAllowed),
        (ResponseHead { status: Status::NOT_MODIFIED, body: ResponseBody::Chunked, ..OK }, E::FramingNotAllowed),
        (ResponseHead { version: Version::Http10, body: ResponseBody::Chunked, ..OK }, E::ChunkedToHttp10),
        (ResponseHead { body: ResponseBody::UntilClose, ..OK }, E::UntilCloseKeptAlive),
    ];
    for (head, error) in cases {
        let mut out = b"before".to_vec();
        assert_eq!(head.write(&mut out), Err(*error));
        assert_eq!(out, b"before", "nothing is written beside an error");
    }
}

fn error_written(response: &ErrorResponse<'_>) -> String {
    let mut out = Vec::new();
    response.write(&mut out).expect("written");
    String::from_utf8(out).expect("ASCII")
}

#[test]
fn error_responses_say_what_is_wrong() {
    let reasons = [
        (400, "Bad Request"),
        (404, "Not Found"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (417, "Expectation Failed"),
        (431, "Request Header Fields Too Large"),
        (500, "Internal Server Error"),
        (501, "Not Implemented"),
        (503, "Service Unavailable"),
        (505, "HTTP Version Not Supported"),
    ];
    for (code, reason) in reasons {
        let response = ErrorResponse::closing(Status::new(code).expect("in range"));
        let length = reason.len() + 5;
        let want = std::format!(
            "HTTP/1.1 {code} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{code} {reason}\n"
        );
        assert_eq!(error_written(&response), want);
    }
}

#[test]
fn error_responses_have_their_fields() {
    let busy = ErrorResponse {
        retry_after_s: Some(7),
        keep_alive: true,
        ..ErrorResponse::closing(Status::SERVICE_UNAVAILABLE)
    };
    assert!(error_written(&busy).contains("\r\nretry-after: 7\r\n"));
    assert!(!error_written(&busy).contains("connection:"));
    let not_allowed = ErrorResponse {
        allow: Some("GET, HEAD"),
        head_only: true,
        headers: &[("x-baton-backend", b"be1")],
        ..ErrorResponse::closing(Status::METHOD_NOT_ALLOWED)
    };
    let text = error_written(&not_allowed);
    assert!(text.contains("\r\nallow: GET, HEAD\r\nx-baton-backend: be1\r\ncontent-length: 23\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n"), "HEAD has no text: {text}");
    let mut out = Vec::new();
    let unsaid = ErrorResponse { allow: None, ..not_allowed };
    assert_eq!(unsaid.write(&mut out), Err(ResponseError::AllowMissing));
    let split = ErrorResponse { allow: Some("GET\r\nx: y"), ..not_allowed };
    assert_eq!(split.write(&mut out), Err(ResponseError::InvalidFieldValue));
    assert!(out.is_empty());
}

#[test]
fn statuses_are_of_three_digits() {
    for (code, valid) in [(0, false), (99, false), (100, true), (599, true), (600, false)] {
        assert_eq!(Status::new(code).map(Status::code), valid.then_some(code));
    }
}

#[test]
fn chunk_framing_is_what_the_decoder_reads() {
    let size = |size| NonZeroU64::new(size).expect("not zero");
    assert_eq!(ChunkHead::new(size(1)).as_bytes(), b"1\r\n");
    assert_eq!(ChunkHead::new(size(8_192)).as_bytes(), b"2000\r\n");
    assert_eq!(ChunkHead::new(size(0xabc)).as_bytes(), b"abc\r\n");
    assert_eq!(ChunkHead::new(size(u64::MAX)).as_bytes(), b"ffffffffffffffff\r\n");

    let mut trailers = Vec::new();
    write_last_chunk(&[("x-sum", b"1")], &mut trailers).expect("written");
    assert_eq!(trailers, b"0\r\nx-sum: 1\r\n\r\n");
    assert_eq!(write_last_chunk(&[("x", b"\n")], &mut trailers), Err(ResponseError::InvalidFieldValue));
    for end in [LAST_CHUNK, &trailers] {
        let payload = [b'p'; 300];
        let stream = [ChunkHead::new(size(300)).as_bytes(), &payload, CHUNK_END, end].concat();
        let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
        let step = decoder.decode(&stream).expect("a chunk");
        assert_eq!(stream[step.payload.clone()], payload);
        let step = decoder.decode(&stream[step.consumed..]).expect("the end");
        assert!(step.done && step.payload.is_empty());
    }
}

#[test]
fn continue_is_an_interim_response() {
    assert_eq!(CONTINUE, b"HTTP/1.1 100 Continue\r\n\r\n");
}
