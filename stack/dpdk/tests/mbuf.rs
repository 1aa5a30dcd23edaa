//! Frames in their buffers.

mod support;

use arrayvec::ArrayVec;
use baton_dpdk::{Eal, EalError, Mbuf, POOL_FRAMES_MAX, Pool, PoolError};
use baton_stack::node::{Frame, RxChecksum};
use proptest::prelude::*;
use support::eal;

#[test]
fn frames_agree_with_a_vector() {
    let pool = Pool::new(&eal(), 63).unwrap();
    proptest!(|(start in proptest::collection::vec(any::<u8>(), 0..2_048), steps in proptest::collection::vec((any::<bool>(), 0usize..160), 0..20))| {
        let mut frame = pool.take_with(&start).unwrap();
        let (mut model, mut headroom) = (start, 128);
        for (prepend, len) in steps {
            if prepend {
                prop_assert_eq!(frame.prepend(len), len <= headroom);
                if len <= headroom {
                    frame.bytes_mut()[..len].fill(9);
                    model.splice(0..0, vec![9; len]);
                    headroom -= len;
                }
            } else {
                prop_assert_eq!(frame.trim_front(len), len <= model.len());
                if len <= model.len() {
                    model.drain(..len);
                    headroom += len;
                }
            }
            prop_assert_eq!(frame.bytes(), &model[..]);
            prop_assert_eq!((frame.headroom(), frame.room()), (headroom, 2_176 - headroom));
        }
        prop_assert_eq!(frame.checksum(), RxChecksum::Unknown);
    });
    assert_eq!(pool.available(), 63);
}

#[test]
fn a_frame_as_long_as_a_buffer_and_one_byte_longer() {
    let pool = Pool::new(&eal(), 32).unwrap();
    assert!(pool.take_with(&[7; 2_049]).is_none());
    let mut frame = pool.take_with(&[7; 2_048]).unwrap();
    assert_eq!(frame.len(), 2_048);
    assert_eq!(frame.write(2_049, |_| panic!("no room")), None);
    assert_eq!(frame.write(10, |to| to.len() + 1), Some(10), "no more than there was room for");
    assert!(frame.prepend(128) && !frame.prepend(1));
    assert_eq!(frame.len(), 138);
}

#[test]
fn pools_at_their_limits_and_past_them() {
    let eal = eal();
    for frames in [0, 31, POOL_FRAMES_MAX + 1] {
        assert_eq!(Pool::new(&eal, frames).unwrap_err(), PoolError::Size(frames));
    }
    assert!(matches!(Pool::new(&eal, POOL_FRAMES_MAX), Err(PoolError::Refused { .. })), "more than there is memory");
    let pool = Pool::new(&eal, 32).unwrap();
    let mut all = ArrayVec::<Mbuf, 33>::new();
    while pool.fill(&mut all) > 0 {}
    assert_eq!((all.len(), pool.available()), (32, 0));
    assert!(pool.take().is_none());
    all.pop();
    assert!(pool.take().is_some());
    drop(pool);
    // Frames outlive their pool.
    assert!(all.iter_mut().all(|frame| frame.write(60, |to| to.len()) == Some(60)));
}

#[test]
fn eal_starts_once() {
    let _eal = eal();
    assert_eq!(Eal::init(&[]).unwrap_err(), EalError::StartedBefore);
}
