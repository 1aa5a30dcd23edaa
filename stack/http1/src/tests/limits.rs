//! Every limit, at the limit and one past it.

use std::string::String;

use crate::body::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, TRAILER_BYTES_MAX};
use crate::head::{HEAD_BYTES_CEILING, LEADING_EMPTY_LINES_MAX};
use crate::{BodyDecoder, BodyError, BodyFraming, HeadError, Limits, Parsed, parse_head};

fn parse(head: &str, limits: Limits) -> Result<(), HeadError> {
    match parse_head(head.as_bytes(), &limits)? {
        Parsed::Complete(parsed) => assert_eq!(parsed.len, head.len()),
        Parsed::Partial => panic!("partial"),
    }
    // No prefix of a head within the limits is refused.
    assert_eq!(parse_head(&head.as_bytes()[..head.len() - 1], &limits), Ok(Parsed::Partial));
    Ok(())
}

fn head_of(len: usize) -> String {
    let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    std::format!("{start}{}\r\n\r\n", "x".repeat(len - start.len() - 4))
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let limits = Limits::default();
    assert_eq!((limits.head_bytes_max, limits.request_line_bytes_max, limits.headers_max), (16_384, 8_192, 100));
}

#[test]
fn head_bytes() {
    let limits = Limits::default();
    assert_eq!(parse(&head_of(limits.head_bytes_max), limits), Ok(()));
    assert_eq!(parse(&head_of(limits.head_bytes_max + 1), limits), Err(HeadError::HeadTooLarge));
    let unended = "GET / HTTP/1.1\r\nHost: a\r\nX: ".chars().chain(std::iter::repeat('x')).take(limits.head_bytes_max);
    let unended: String = unended.collect();
    assert_eq!(parse_head(&unended.as_bytes()[1..], &limits), Ok(Parsed::Partial));
    assert_eq!(parse_head(unended.as_bytes(), &limits), Err(HeadError::HeadTooLarge));
}

#[test]
fn no_setting_lifts_the_ceiling() {
    let limits = Limits { head_bytes_max: usize::MAX, ..Limits::default() };
    assert_eq!(parse(&head_of(HEAD_BYTES_CEILING), limits), Ok(()));
    assert_eq!(parse(&head_of(HEAD_BYTES_CEILING + 1), limits), Err(HeadError::HeadTooLarge));
}

#[test]
fn request_line_bytes() {
    let limits = Limits { request_line_bytes_max: 40, ..Limits::default() };
    let line = |len: usize| std::format!("GET /{} HTTP/1.1", "x".repeat(len - 14));
    for start in ["", "\r\n"] {
        let head = |len| std::format!("{start}{}\r\nHost: a\r\n\r\n", line(len));
        assert_eq!(parse(&head(40), limits), Ok(()));
        assert_eq!(parse(&head(41), limits), Err(HeadError::RequestLineTooLong));
        // As soon as it is certain, without waiting for the line's end.
        let partial = std::format!("{start}{}", "x".repeat(41));
        assert_eq!(parse_head(&partial.as_bytes()[..partial.len() - 1], &limits), Ok(Parsed::Partial));
        assert_eq!(parse_head(partial.as_bytes(), &limits), Err(HeadError::RequestLineTooLong));
    }
}

#[test]
fn headers() {
    let limits = Limits::default();
    let head = |count: usize| std::format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(count - 1));
    assert_eq!(parse(&head(limits.headers_max), limits), Ok(()));
    assert_eq!(parse(&head(limits.headers_max + 1), limits), Err(HeadError::TooManyHeaders));
}

#[test]
fn leading_empty_lines() {
    let head = |count: usize| std::format!("{}GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n".repeat(count));
    assert_eq!(parse(&head(LEADING_EMPTY_LINES_MAX), Limits::default()), Ok(()));
    assert_eq!(parse(&head(LEADING_EMPTY_LINES_MAX + 1), Limits::default()), Err(HeadError::TooManyEmptyLines));
}

#[test]
fn content_length() {
    let head = |length: &str| std::format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    assert_eq!(parse(&head("18446744073709551615"), Limits::default()), Ok(()));
    assert_eq!(parse(&head("000018446744073709551615"), Limits::default()), Ok(()));
    assert_eq!(parse(&head("18446744073709551616"), Limits::default()), Err(HeadError::ContentLengthOverflow));
    assert_eq!(parse(&head("99999999999999999999"), Limits::default()), Err(HeadError::ContentLengthOverflow));
}

/// Reads a whole chunked body: the payload's length.
fn chunked(body: &str) -> Result<u64, BodyError> {
    let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
    let mut input = body.as_bytes();
    while !decoder.is_done() {
        let step = decoder.decode(input)?;
        assert!(step.consumed > 0, "stuck at {input:?}");
        input = &input[step.consumed..];
    }
    assert!(input.is_empty());
    Ok(decoder.payload_bytes())
}

#[test]
fn chunk_size_digits() {
    let body = |digits: usize| std::format!("{}1\r\nx\r\n0\r\n\r\n", "0".repeat(digits - 1));
    let most = usize::from(CHUNK_SIZE_DIGITS_MAX);
    assert_eq!(chunked(&body(most)), Ok(1));
    assert_eq!(chunked(&body(most + 1)), Err(BodyError::ChunkSizeOverflow));
}

#[test]
fn chunk_size_of_64_bits() {
    let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
    let step = decoder.decode(b"ffffffffffffffff\r\nx").expect("fits");
    assert_eq!((step.consumed, step.payload, step.done), (19, 18..19, false));
    let mut second = BodyDecoder::new(BodyFraming::Chunked);
    assert_eq!(second.decode(b"1\r\nx").map(|step| step.consumed), Ok(4));
    let mut fits = second;
    assert!(fits.decode(b"\r\nfffffffffffffffe\r\n").is_ok());
    assert_eq!(second.decode(b"\r\nffffffffffffffff\r\n"), Err(BodyError::ChunkSizeOverflow));
}

#[test]
fn chunk_extension_bytes_are_counted_over_all_chunks() {
    let most = usize::from(CHUNK_EXTENSION_BYTES_MAX);
    let body = |bytes: usize| std::format!("1;{}\r\nx\r\n1;\r\nx\r\n0\r\n\r\n", "e".repeat(bytes - 2));
    assert_eq!(chunked(&body(most)), Ok(2));
    assert_eq!(chunked(&body(most + 1)), Err(BodyError::ExtensionTooLarge));
    assert_eq!(BodyError::ExtensionTooLarge.status().code(), 413);
}

#[test]
fn trailer_bytes() {
    let most = usize::from(TRAILER_BYTES_MAX);
    let body = |bytes: usize| std::format!("0\r\nX:{}\r\n\r\n", "t".repeat(bytes - 6));
    assert_eq!(chunked(&body(most)), Ok(0));
    assert_eq!(chunked(&body(most + 1)), Err(BodyError::TrailerTooLarge));
    assert_eq!(BodyError::TrailerTooLarge.status().code(), 431);
}
