//! Bodies that are read ahead, in pieces that are longer than segments.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_backend::serve::probe::fill;
use baton_backend::serve::{
    Begun, Body, BodyError, Coding, ContentStore, PIECE_LEN, ReadError, Ready, SourceId, StoreLimits,
};
use proptest::prelude::*;

const MSS: usize = 1_448;

/// The bytes of a seed, and how often it was read.
#[derive(Clone, Debug)]
struct Costly {
    seed: u64,
    len: usize,
    reads: Arc<AtomicUsize>,
    /// Reads that end behind it fail.
    broken_at: usize,
}

impl Body for Costly {
    fn length(&self) -> Option<u64> {
        Some(to_u64(self.len))
    }

    fn ready(&self) -> Ready {
        Ready { end: to_u64(self.len), complete: true }
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        fill(self.seed, offset, buf);
        if to_usize(offset) + buf.len() > self.broken_at { Err(BodyError::Changed) } else { Ok(()) }
    }

    fn is_read_ahead(&self, _offset: u64) -> bool {
        true
    }
}

fn to_u64(n: usize) -> u64 {
    n.try_into().unwrap()
}

fn to_usize(n: u64) -> usize {
    n.try_into().unwrap()
}

fn store(pieces_max: usize) -> ContentStore {
    ContentStore::new(StoreLimits { pieces_max, ..StoreLimits::default() })
}

/// A response that TCP sends: the store's bytes are compared with those of the seed.
struct Sent {
    id: SourceId,
    body: Costly,
    at: usize,
}

impl Sent {
    fn begin(store: &mut ContentStore, seed: u64, len: usize) -> Self {
        let body = Costly { seed, len, reads: Arc::default(), broken_at: usize::MAX };
        let id = store.insert_body(Box::new(body.clone()), Coding::Identity, false).unwrap();
        Self { id, body, at: 0 }
    }

    fn read(&self, store: &mut ContentStore, at: usize, len: usize) -> Result<(), ReadError> {
        let (mut got, mut expected) = (vec![0xee; len], vec![0; len]);
        store.read_source(self.id, to_u64(at), &mut got)?;
        fill(self.body.seed, to_u64(at), &mut expected);
        assert!(got == expected, "{len} bytes at {at} of {}", self.body.len);
        Ok(())
    }

    fn segment(&mut self, store: &mut ContentStore) {
        let len = MSS.min(self.body.len - self.at);
        self.read(store, self.at, len).unwrap();
        self.at += len;
    }

    fn segments(&mut self, store: &mut ContentStore, count: usize) {
        (0..count).for_each(|_| self.segment(store));
    }

    fn all(&mut self, store: &mut ContentStore) {
        while self.at < self.body.len {
            self.segment(store);
        }
    }

    fn reads(&self) -> usize {
        self.body.reads.load(Ordering::Relaxed)
    }
}

#[test]
fn the_limits_are_what_the_documents_say() {
    assert_eq!((PIECE_LEN, StoreLimits::default().pieces_max), (32_768, 1_024));
}

#[test]
fn a_body_is_read_in_pieces() {
    for (len, reads) in [
        (1, 1),
        (MSS, 1),
        (MSS + 1, 1),
        (PIECE_LEN, 1),
        (PIECE_LEN + 1, 2),
        (10 * PIECE_LEN, 10),
        (10 * PIECE_LEN + 100, 11),
        (10 * PIECE_LEN + 2 * MSS, 11),
    ] {
        let mut store = store(1);
        let mut sent = Sent::begin(&mut store, 3, len);
        sent.all(&mut store);
        assert_eq!((sent.reads(), store.bytes_ahead()), (reads, 0), "{len}");
    }
}

#[test]
fn what_is_sent_again_is_read_alone_and_disturbs_nothing() {
    let mut store = store(1);
    let mut sent = Sent::begin(&mut store, 3, 3 * PIECE_LEN);
    sent.segments(&mut store, 30);
    assert_eq!(sent.reads(), 2, "the second piece has begun");
    sent.read(&mut store, 0, MSS).unwrap();
    sent.read(&mut store, PIECE_LEN - 2 * MSS, MSS).unwrap();
    assert_eq!(sent.reads(), 4);
    sent.read(&mut store, 29 * MSS, MSS).unwrap();
    sent.segments(&mut store, 3);
    assert_eq!(sent.reads(), 4, "it is still there");
    sent.all(&mut store);
    assert_eq!(sent.reads(), 5);
}

#[test]
fn what_has_no_price_is_not_read_ahead() {
    let mut store = store(1);
    let body = Costly { seed: 3, len: 4 * PIECE_LEN, reads: Arc::default(), broken_at: usize::MAX };
    // Its first bytes are in memory; TCP's segments do not end where they do.
    let mut beginning = vec![0; PIECE_LEN];
    fill(3, 0, &mut beginning);
    let begun = Begun::new(body.clone(), beginning);
    let id = store.insert_body(Box::new(begun), Coding::Identity, false).unwrap();
    let mut sent = Sent { id, body, at: 0 };
    sent.segments(&mut store, PIECE_LEN / MSS);
    assert_eq!((sent.reads(), store.bytes_ahead()), (0, 0));
    sent.segment(&mut store);
    assert_eq!((sent.reads(), store.bytes_ahead()), (1, 0), "the rest of a segment");
    sent.all(&mut store);
    assert_eq!((sent.reads(), store.bytes_ahead()), (4, 0));
}

#[test]
fn pieces_at_their_limit_and_one_past() {
    let mut store = store(2);
    let mut sent: Vec<Sent> = (1..=3).map(|seed| Sent::begin(&mut store, seed, 8 * PIECE_LEN)).collect();
    for _ in 0..10 {
        sent.iter_mut().for_each(|sent| sent.segment(&mut store));
    }
    assert_eq!(sent.iter().map(Sent::reads).collect::<Vec<_>>(), [1, 1, 10]);
    assert_eq!(store.bytes_ahead(), 2 * PIECE_LEN);
    // One has been sent, and its place is another's.
    let mut first = sent.remove(0);
    first.all(&mut store);
    assert_eq!((first.reads(), store.bytes_ahead()), (8, PIECE_LEN));
    sent[1].segments(&mut store, 10);
    assert_eq!((sent[1].reads(), store.bytes_ahead()), (11, 2 * PIECE_LEN));
    // With no memory at all there are no pieces, and all is as right.
    let mut store = self::store(0);
    let mut sent = Sent::begin(&mut store, 4, PIECE_LEN);
    sent.all(&mut store);
    assert_eq!((sent.reads(), store.bytes_ahead()), (PIECE_LEN.div_ceil(MSS), 0));
}

#[test]
fn a_piece_of_which_nothing_is_sent_is_taken_over() {
    let mut store = store(2);
    let mut sent: Vec<Sent> = (1..=3).map(|seed| Sent::begin(&mut store, seed, 64 * PIECE_LEN)).collect();
    sent[0].segment(&mut store);
    sent[1].segment(&mut store);
    // So many reads of others: not idle yet.
    sent[2].segments(&mut store, 30);
    assert_eq!((sent[2].reads(), store.bytes_ahead()), (30, 2 * PIECE_LEN));
    sent[1].segment(&mut store);
    // One of the two that are looked at in turn is.
    sent[2].segments(&mut store, 2);
    let before = sent[2].reads();
    sent[2].segments(&mut store, 10);
    assert_eq!((sent[2].reads(), store.bytes_ahead()), (before, 2 * PIECE_LEN));
    // Who has lost it goes on all the same, and who has not has it still.
    sent[0].segments(&mut store, 10);
    assert_eq!((sent[0].reads(), sent[1].reads()), (11, 1));
    sent[1].segment(&mut store);
    assert_eq!(sent[1].reads(), 1);
}

#[test]
fn a_piece_is_given_back_with_its_source() {
    let mut store = store(1);
    let begin = |store: &mut ContentStore| {
        let mut sent = Sent::begin(store, 5, 2 * PIECE_LEN);
        sent.segments(store, 3);
        assert_eq!(store.bytes_ahead(), PIECE_LEN);
        sent.id
    };
    // The connection has ended; the rest is sent from elsewhere.
    let id = begin(&mut store);
    store.remove(id);
    assert_eq!(store.bytes_ahead(), 0);
    let id = begin(&mut store);
    store.end_at(id, to_u64(3 * MSS));
    assert_eq!((store.bytes_ahead(), store.sources()), (0, 1));
    // A slot used again does not find the piece of its earlier use.
    store.remove(id);
    let id = begin(&mut store);
    store.remove(id);
    let mut again = Sent::begin(&mut store, 6, 2 * PIECE_LEN);
    again.all(&mut store);
    assert_eq!(again.reads(), 2);
}

#[test]
fn what_cannot_be_read_ahead_fails_and_holds_nothing() {
    let mut store = store(1);
    let body = Costly { seed: 7, len: 3 * PIECE_LEN, reads: Arc::default(), broken_at: PIECE_LEN };
    let id = store.insert_body(Box::new(body.clone()), Coding::Identity, false).unwrap();
    let mut sent = Sent { id, body, at: 0 };
    sent.segments(&mut store, PIECE_LEN / MSS);
    let result = sent.read(&mut store, sent.at, MSS);
    assert_eq!(result, Err(ReadError::Body(BodyError::Changed)));
    assert_eq!((store.bytes_ahead(), store.failures()), (0, 1));
}

#[test]
fn a_body_that_goes_on_here_is_read_ahead_from_there() {
    let mut store = store(1);
    let mut sent = Sent::begin(&mut store, 8, 4 * PIECE_LEN);
    assert!(store.skip_to(sent.id, 12_345));
    sent.at = 12_345;
    sent.all(&mut store);
    assert_eq!(sent.reads(), 4);
}

proptest! {
    /// New bytes, old bytes, released ones, of bodies that are fewer and more than there are pieces: always those of the body.
    #[test]
    fn whatever_is_read_is_right(
        pieces_max in 0_usize..3,
        steps in prop::collection::vec((0_usize..3, 0_u8..8, 1_usize..40_000, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut store = store(pieces_max);
        let mut sent: Vec<Sent> = (0..3).map(|n| Sent::begin(&mut store, n, 400 * PIECE_LEN)).collect();
        let mut released = [0; 3];
        for (which, kind, len, index) in steps {
            let (one, released) = (&mut sent[which], &mut released[which]);
            match kind {
                0 => {
                    *released += index.index(one.at - *released + 1);
                    store.release_source(one.id, to_u64(*released));
                }
                1 | 2 if one.at > *released => {
                    let at = *released + index.index(one.at - *released);
                    one.read(&mut store, at, len.min(one.at - at)).unwrap();
                }
                3 => {
                    let len = len.min(one.body.len - one.at);
                    one.read(&mut store, one.at, len).unwrap();
                    one.at += len;
                }
                _ => one.segment(&mut store),
            }
            prop_assert!(store.bytes_ahead() <= pieces_max * PIECE_LEN);
        }
    }
}
