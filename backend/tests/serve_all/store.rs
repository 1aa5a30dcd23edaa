use baton_backend::serve::{
    Body, Bytes, Coding, ContentStore, Echo, ReadError, Ready, SourceId, StoreFull, StoreLimits,
};

const LIMITS: StoreLimits = StoreLimits { sources_max: 3, bytes_max: 10, pieces_max: 2 };

fn read(store: &mut ContentStore, id: SourceId, offset: u64, len: usize) -> Result<Vec<u8>, ReadError> {
    let mut buf = vec![0; len];
    store.read_source(id, offset, &mut buf).map(|()| buf)
}

#[test]
fn bytes_stay_until_they_are_released() {
    let mut store = ContentStore::new(LIMITS);
    let id = store.insert_bytes(b"abcdef".to_vec()).unwrap();
    assert_eq!(store.ready(id, 0), Some(Ready { end: 6, complete: true }));
    assert_eq!(read(&mut store, id, 1, 3).unwrap(), b"bcd");
    store.release_source(id, 2);
    assert_eq!(read(&mut store, id, 2, 4).unwrap(), b"cdef");
    assert!(read(&mut store, id, 1, 3).is_err(), "released");
    assert!(read(&mut store, id, 2, 5).is_err(), "behind the end");
    assert!(read(&mut store, id, u64::MAX, 1).is_err());
    store.release_source(id, 1);
    assert_eq!(read(&mut store, id, 2, 1).unwrap(), b"c", "a release never goes back");
    assert_eq!((store.sources(), store.bytes()), (1, 6));
    store.release_source(id, 6);
    assert_eq!((store.sources(), store.bytes(), store.failures()), (0, 0, 3));
    assert_eq!(read(&mut store, id, 2, 1), Err(ReadError::NoSource));
}

#[test]
fn a_source_of_which_less_is_wanted_goes_earlier() {
    let mut store = ContentStore::new(LIMITS);
    let id = store.insert_bytes(b"abcdef".to_vec()).unwrap();
    store.release_source(id, 2);
    store.end_at(id, 4);
    assert_eq!(read(&mut store, id, 2, 2).unwrap(), b"cd");
    store.release_source(id, 3);
    assert_eq!(store.sources(), 1);
    store.release_source(id, 4);
    assert_eq!((store.sources(), store.bytes()), (0, 0));
    // All that is wanted was released before.
    let id = store.insert_bytes(b"abcdef".to_vec()).unwrap();
    store.release_source(id, 4);
    store.end_at(id, 4);
    store.end_at(id, 4);
    assert_eq!((store.sources(), store.bytes()), (0, 0));
}

#[test]
fn an_old_id_finds_nothing_in_a_slot_used_again() {
    let mut store = ContentStore::new(LIMITS);
    let old = store.insert_bytes(b"old".to_vec()).unwrap();
    store.remove(old);
    let new = store.insert_bytes(b"new".to_vec()).unwrap();
    assert_ne!(old, new);
    store.remove(old);
    store.release_source(old, 3);
    assert_eq!(store.ready(old, 1), None);
    assert_eq!(read(&mut store, old, 0, 3), Err(ReadError::NoSource));
    assert_eq!(read(&mut store, new, 0, 3).unwrap(), b"new");
}

#[test]
fn sources_are_bounded() {
    let mut store = ContentStore::new(LIMITS);
    let first = store.insert_bytes(vec![1]).unwrap();
    store.insert_bytes(vec![2]).unwrap();
    store.insert_bytes(vec![3]).unwrap();
    assert_eq!(store.insert_bytes(vec![4]), Err(StoreFull));
    store.remove(first);
    assert!(store.insert_bytes(vec![4]).is_ok());
}

#[test]
fn bytes_are_bounded() {
    let mut store = ContentStore::new(LIMITS);
    let first = store.insert_bytes(vec![1; 10]).unwrap();
    assert_eq!(store.insert_bytes(vec![2]), Err(StoreFull));
    store.remove(first);
    store.insert_bytes(vec![1; 9]).unwrap();
    assert_eq!(store.insert_bytes(vec![2; 2]), Err(StoreFull));
    store.insert_bytes(vec![2]).unwrap();
    assert_eq!(store.bytes(), 10);
}

#[test]
fn what_bodies_take_in_counts_too() {
    let mut store = ContentStore::new(LIMITS);
    let id = store.insert_body(Box::new(Echo::new(None)), Coding::Identity, true).unwrap();
    assert_eq!(store.room(id), 10);
    store.feed(id, &[1; 8]).unwrap();
    assert_eq!((store.room(id), store.bytes()), (2, 8));
    let other = store.insert_bytes(vec![1; 2]).unwrap();
    assert_eq!(store.room(id), 0);
    store.remove(other);
    store.release_source(id, 5);
    assert_eq!((store.room(id), store.bytes()), (7, 3));
}

#[test]
fn a_body_that_is_still_fed_stays() {
    let mut store = ContentStore::new(LIMITS);
    let id = store.insert_body(Box::new(Bytes::from("ok")), Coding::Identity, true).unwrap();
    store.release_source(id, 2);
    assert_eq!(store.sources(), 1);
    store.finish(id).unwrap();
    assert_eq!(store.sources(), 0);
    // What comes after that is nobody's.
    assert_eq!(store.room(id), usize::MAX);
    store.feed(id, b"more").unwrap();
}

#[test]
fn an_echo_that_is_whole_before_its_end_is_known_goes_with_it() {
    let mut store = ContentStore::new(LIMITS);
    let id = store.insert_body(Box::new(Echo::new(None)), Coding::Identity, true).unwrap();
    store.feed(id, b"abc").unwrap();
    assert_eq!(store.ready(id, u64::MAX), Some(Ready { end: 3, complete: false }));
    store.release_source(id, 3);
    assert_eq!(store.sources(), 1);
    store.finish(id).unwrap();
    assert_eq!(store.sources(), 0);
}

#[test]
fn it_goes_on_in_the_middle() {
    for coding in [Coding::Identity, Coding::Chunked] {
        let mut store = ContentStore::new(LIMITS);
        let body = || Box::new(Bytes::from("0123456789")) as Box<dyn Body>;
        let id = store.insert_body(body(), coding, false).unwrap();
        let end = store.ready(id, u64::MAX).unwrap().end;
        let whole = read(&mut store, id, 0, usize::try_from(end).unwrap()).unwrap();
        store.remove(id);
        for offset in 0..end {
            let id = store.insert_body(body(), coding, false).unwrap();
            assert!(store.skip_to(id, offset));
            let len = usize::try_from(end - offset).unwrap();
            assert_eq!(store.ready(id, u64::MAX).unwrap().end, end);
            assert_eq!(read(&mut store, id, offset, len).unwrap(), whole[whole.len() - len..], "{coding:?} {offset}");
            assert!(offset == 0 || read(&mut store, id, offset - 1, 1).is_err());
            store.remove(id);
        }
        let id = store.insert_body(body(), coding, false).unwrap();
        assert!(!store.skip_to(id, end + 1));
        store.remove(id);
        assert!(!store.skip_to(id, 0), "gone");
        assert_eq!((store.sources(), store.bytes()), (0, 0));
    }
}
