//! Chunk framing in the store: readable at any offset until it is released.

use baton_backend::serve::probe::fill;
use baton_backend::serve::{
    Body, BodyError, CHUNK_LEN_MAX, CHUNKS_HELD_MAX, Coding, ContentStore, Echo, Probe, ReadError, Ready, SourceId,
    StoreLimits,
};
use proptest::prelude::*;

use crate::common::{dechunk, get};

fn store() -> ContentStore {
    ContentStore::new(StoreLimits::default())
}

/// A body that is cut as its test says.
#[derive(Debug)]
struct Pieces {
    len: u64,
    ends: Vec<u64>,
}

impl Body for Pieces {
    fn length(&self) -> Option<u64> {
        None
    }
    fn ready(&self) -> Ready {
        Ready { end: self.len, complete: true }
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
        fill(9, offset, buf);
        Ok(())
    }
    fn chunk_end(&mut self, start: u64) -> u64 {
        self.ends.iter().copied().find(|&end| end > start).unwrap_or(0)
    }
}

/// What the wire must be, written plainly.
fn encode(payload: &[u8], ends: &[u64]) -> Vec<u8> {
    let (mut wire, mut start) = (Vec::new(), 0);
    for &end in ends {
        let end = usize::try_from(end).unwrap();
        wire.extend_from_slice(format!("{:x}\r\n", end - start).as_bytes());
        wire.extend_from_slice(&payload[start..end]);
        wire.extend_from_slice(b"\r\n");
        start = end;
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

fn read(store: &mut ContentStore, id: SourceId, start: usize, len: usize) -> Vec<u8> {
    let mut buf = vec![0xee; len];
    store.read_source(id, u64::try_from(start).unwrap(), &mut buf).unwrap();
    buf
}

proptest! {
    /// Any slice, in any order, with releases in between, equals the plainly written wire.
    #[test]
    fn any_slice_equals_the_whole(
        lens in prop::collection::vec(1..400_u64, 0..40),
        reads in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64, any::<bool>()), 1..40),
    ) {
        let ends: Vec<u64> = lens.iter().scan(0, |sum, len| { *sum += len; Some(*sum) }).collect();
        let len = ends.last().copied().unwrap_or(0);
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        fill(9, 0, &mut payload);
        let wire = encode(&payload, &ends);
        let mut store = store();
        let id = store.insert_body(Box::new(Pieces { len, ends }), Coding::Chunked, false).unwrap();
        let mut released = 0;
        for (a, b, release) in reads {
            let at = |share: f64| released + scale(share, wire.len() - released);
            let (start, end) = (at(a.min(b)), at(a.max(b)));
            prop_assert_eq!(&read(&mut store, id, start, end - start), &wire[start..end]);
            if release && end < wire.len() {
                released = end;
                store.release_source(id, u64::try_from(released).unwrap());
            }
        }
        prop_assert_eq!(store.ready(id, u64::MAX), Some(Ready { end: u64::try_from(wire.len()).unwrap(), complete: true }));
        store.release_source(id, u64::try_from(wire.len()).unwrap());
        prop_assert_eq!(store.sources(), 0);
    }

    /// An echo fed in any pieces: what was said once is said again, and the payload is what was fed.
    #[test]
    fn a_growing_body_keeps_its_chunks(pieces in prop::collection::vec(0..3_000_usize, 0..30)) {
        let mut store = store();
        let id = store.insert_body(Box::new(Echo::new(None)), Coding::Chunked, true).unwrap();
        let (mut fed, mut wire): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        for piece in pieces {
            let bytes: Vec<u8> = (0..piece).map(|at| at.to_le_bytes()[0]).collect();
            fed.extend_from_slice(&bytes);
            store.feed(id, &bytes).unwrap();
            let ready = store.ready(id, u64::MAX).unwrap();
            prop_assert!(!ready.complete);
            let now = read(&mut store, id, 0, usize::try_from(ready.end).unwrap());
            prop_assert!(now.starts_with(&wire));
            wire = now;
        }
        store.finish(id).unwrap();
        let ready = store.ready(id, u64::MAX).unwrap();
        prop_assert!(ready.complete);
        let now = read(&mut store, id, 0, usize::try_from(ready.end).unwrap());
        prop_assert!(now.starts_with(&wire));
        prop_assert_eq!(dechunk(&now).0, fed);
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test's share"
)]
fn scale(share: f64, of: usize) -> usize {
    (share * of as f64) as usize
}

#[test]
fn chunks_held_are_bounded() {
    let mut store = store();
    let len = u64::try_from(CHUNKS_HELD_MAX).unwrap() + 1;
    let ends: Vec<u64> = (1..=len).collect();
    let id = store.insert_body(Box::new(Pieces { len, ends }), Coding::Chunked, false).unwrap();
    // Each chunk of one byte is six on the wire.
    let at_limit = 6 * (len - 1);
    assert_eq!(store.ready(id, u64::MAX), Some(Ready { end: at_limit, complete: false }));
    store.release_source(id, 5);
    assert_eq!(
        store.ready(id, u64::MAX),
        Some(Ready { end: at_limit, complete: false }),
        "a chunk is not released in part"
    );
    store.release_source(id, 6);
    assert_eq!(store.ready(id, u64::MAX), Some(Ready { end: at_limit + 6, complete: false }));
    store.release_source(id, 12);
    assert_eq!(store.ready(id, u64::MAX), Some(Ready { end: at_limit + 11, complete: true }));
}

#[test]
fn one_chunk_is_bounded() {
    for (len, header) in [(CHUNK_LEN_MAX, &b"100000\r\n"[..]), (CHUNK_LEN_MAX + 1, b"100000\r\n")] {
        let mut store = store();
        let id = store.insert_body(Box::new(Pieces { len, ends: vec![len] }), Coding::Chunked, false).unwrap();
        assert_eq!(read(&mut store, id, 0, 8), header);
        let total = store.ready(id, u64::MAX).unwrap().end;
        // A second chunk of one byte takes six more.
        assert_eq!(total, 8 + CHUNK_LEN_MAX + 2 + 6 * (len - CHUNK_LEN_MAX) + 5);
    }
}

#[test]
fn it_looks_no_further_than_it_is_asked() {
    let mut response = get(&mut Probe, "/chunked/1099511627776?seed=1", &[]);
    assert_eq!(response.body_mut().length(), None);
    let lines = ["GET /chunked/1099511627776?seed=1 HTTP/1.1", "host: t"];
    let mut server = crate::common::server(Probe);
    let mut exchange =
        crate::common::with_request(&lines, |request| server.begin(request, crate::common::TERMS)).unwrap();
    while exchange.next_extent(&mut server.store, 10_000).is_some_and(|extent| extent.offset < 1_000_000) {}
    assert!(server.store.bytes() < 20_000, "{}", server.store.bytes());
    assert!(!exchange.is_complete());
}

#[test]
fn released_bytes_are_refused() {
    let mut store = store();
    let id = store.insert_body(Box::new(Pieces { len: 20, ends: vec![10, 20] }), Coding::Chunked, false).unwrap();
    let _ = store.ready(id, u64::MAX);
    store.release_source(id, 5);
    assert_eq!(store.read_source(id, 4, &mut [0]), Err(ReadError::Body(BodyError::OutOfRange)));
    assert_eq!(store.read_source(id, 5, &mut [0]), Ok(()));
    assert_eq!(store.read_source(id, 34, &mut [0; 2]), Err(ReadError::Body(BodyError::OutOfRange)), "behind the end");
    assert_eq!(store.failures(), 2);
}
