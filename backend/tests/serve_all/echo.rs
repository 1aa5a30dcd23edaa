use baton_backend::serve::{Body, BodyError, ECHO_BUFFER_LEN, Echo, Probe};
use proptest::prelude::*;

use crate::common::{TERMS, fetch, read, server, with_request};

#[test]
fn a_length_is_answered_with_a_length() {
    let mut server = server(Probe);
    let body = vec![b'x'; 5_000_000];
    let fetched = fetch(&mut server, &["POST /echo HTTP/1.1", "host: t", "content-length: 5000000"], &body);
    assert!(fetched.head().contains("\r\ncontent-length: 5000000\r\n"));
    assert!(fetched.rest() == body);
    assert!(fetched.keep_alive);
    assert_eq!((server.store.sources(), server.store.bytes()), (0, 0));
}

#[test]
fn chunks_are_answered_with_chunks() {
    let mut server = server(Probe);
    let body: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    let fetched = fetch(&mut server, &["POST /echo HTTP/1.1", "host: t", "transfer-encoding: chunked"], &body);
    assert!(fetched.chunks().0 == body);
    assert!(fetched.keep_alive);
    assert_eq!((server.store.sources(), server.store.bytes()), (0, 0));
}

#[test]
fn nothing_echoes_nothing() {
    for lines in [&["POST /echo HTTP/1.1", "host: t", "content-length: 0"][..], &["GET /echo HTTP/1.1", "host: t"][..]]
    {
        let fetched = fetch(&mut server(Probe), lines, b"");
        assert!(fetched.head().contains("\r\ncontent-length: 0\r\n"));
        assert!(fetched.rest().is_empty() && fetched.keep_alive);
    }
    let fetched = fetch(&mut server(Probe), &["POST /echo HTTP/1.1", "host: t", "transfer-encoding: chunked"], b"");
    assert_eq!(fetched.rest(), b"0\r\n\r\n");
}

#[test]
fn the_buffer_is_bounded() {
    let mut echo = Echo::new(None);
    assert_eq!(echo.room(), ECHO_BUFFER_LEN);
    echo.feed(&vec![7; ECHO_BUFFER_LEN]).unwrap();
    assert_eq!((echo.room(), echo.memory()), (0, ECHO_BUFFER_LEN));
    assert_eq!(echo.feed(&[7]), Err(BodyError::TooMuch));
    echo.release(10);
    assert_eq!(echo.room(), 10);
    echo.feed(&[8; 10]).unwrap();
    assert_eq!(echo.feed(&[8]), Err(BodyError::TooMuch));
    let end = u64::try_from(ECHO_BUFFER_LEN).unwrap() + 10;
    assert_eq!(read(&mut echo, end - 11, 11), [7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8]);
}

#[test]
fn back_pressure_ends_when_the_client_acknowledges() {
    let mut server = server(Probe);
    let lines = ["POST /echo HTTP/1.1", "host: t", "transfer-encoding: chunked"];
    let mut exchange = with_request(&lines, |request| server.begin(request, TERMS)).unwrap();
    let body = vec![1; exchange.room(&server.store)];
    exchange.feed(&mut server.store, &body).unwrap();
    assert_eq!(exchange.room(&server.store), 0);
    let mut client = crate::common::Client::default();
    client.drain(&mut exchange, &mut server.store, u64::MAX);
    assert_eq!(exchange.room(&server.store), 0, "sent is not acknowledged");
    client.acknowledge(&mut server.store);
    assert_eq!(exchange.room(&server.store), ECHO_BUFFER_LEN);
    assert!(!exchange.is_complete());
}

#[test]
fn what_was_released_or_never_came_is_refused() {
    let mut echo = Echo::new(Some(6));
    echo.feed(b"abcd").unwrap();
    echo.release(2);
    assert_eq!(read(&mut echo, 2, 2), b"cd");
    for (offset, len) in [(1, 1), (0, 4), (4, 1), (3, 2), (u64::MAX, 1)] {
        assert_eq!(echo.read(offset, &mut vec![0; len]), Err(BodyError::OutOfRange), "{offset}+{len}");
    }
    assert_eq!(echo.feed(b"efg"), Err(BodyError::TooMuch), "longer than announced");
    assert_eq!(echo.finish(), Err(BodyError::EndedEarly));
}

proptest! {
    /// Feeds, reads and releases in any order: every read equals the bytes that were fed.
    #[test]
    fn any_slice_equals_what_was_fed(steps in prop::collection::vec((0..5_000_usize, 0..100_u8, 0..100_u8), 1..60)) {
        let mut echo = Echo::new(None);
        let (mut fed, mut released) = (Vec::new(), 0_usize);
        for (len, from, to) in steps {
            fed.extend((fed.len()..fed.len() + len).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]));
            echo.feed(&fed[fed.len() - len..]).unwrap();
            let held = fed.len() - released;
            let (a, b) = (held * usize::from(from.min(to)) / 100, held * usize::from(from.max(to)) / 100);
            let (start, end) = (released + a, released + b);
            prop_assert_eq!(read(&mut echo, u64::try_from(start).unwrap(), b - a), &fed[start..end]);
            released = start;
            echo.release(u64::try_from(released).unwrap());
            prop_assert_eq!(echo.memory(), fed.len() - released);
        }
    }
}
