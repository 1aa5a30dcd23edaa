//! A pool of frame buffers.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;
use baton_stack::node::Frame;
use dpdk_sys::rte_mempool;
use thiserror::Error;

use crate::eal::{Eal, last_error};
use crate::mbuf::{Mbuf, MbufArray};

/// The fewest buffers that a pool can have.
pub const POOL_FRAMES_MIN: u32 = 32;

/// The most buffers that a pool can have: at 2.4 KB each, 2.4 GB.
pub const POOL_FRAMES_MAX: u32 = (1 << 20) - 1;

/// Buffers that a thread known to EAL keeps for itself, so as not to touch the shared part each time.
const CACHE_FRAMES_MAX: u32 = 256;

/// Bytes of a buffer: headroom and 2,048 bytes of frame.
const BUFFER_BYTES: u16 = 2_048 + 128;

/// Bytes of a frame that fit into a buffer behind its headroom.
pub(crate) const FRAME_ROOM: u32 = 2_048;

const _: () = assert!(BUFFER_BYTES as u32 == dpdk_sys::RTE_MBUF_DEFAULT_BUF_SIZE);

/// Why there is no pool.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PoolError {
    /// Fewer or more buffers than possible.
    #[error("a pool has {POOL_FRAMES_MIN} to {POOL_FRAMES_MAX} buffers, not {0}")]
    Size(u32),
    /// Most often memory: EAL's `-m` is too small.
    #[error("cannot make a pool of {frames} buffers: {reason}; EAL's -m says how much memory there is")]
    Refused {
        /// How many buffers were asked for.
        frames: u32,
        /// DPDK's text for the error number.
        reason: String,
    },
}

/// A pool of equal buffers, from which frames are received and written. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Mempool>);

#[derive(Debug)]
struct Mempool {
    raw: NonNull<rte_mempool>,
    frames: u32,
    eal: Eal,
}

// SAFETY: DPDK's pools are made for many producers and consumers; per-thread caches are found by thread id.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Pool {
    /// A pool of `frames` buffers; one less than a power of two wastes least.
    ///
    /// # Errors
    /// Not a possible number, or more memory than EAL has.
    pub fn new(eal: &Eal, frames: u32) -> Result<Self, PoolError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !(POOL_FRAMES_MIN..=POOL_FRAMES_MAX).contains(&frames) {
            return Err(PoolError::Size(frames));
        }
        let name = format!("baton_pool_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(name).expect("letters and digits");
        let cache = CACHE_FRAMES_MAX.min(frames / 4);
        // SAFETY: EAL runs; the name is copied; any NUMA node will do (-1).
        let raw = unsafe { dpdk_sys::rte_pktmbuf_pool_create(name.as_ptr(), frames, cache, 0, BUFFER_BYTES, -1) };
        match NonNull::new(raw) {
            Some(raw) => Ok(Self(Arc::new(Mempool { raw, frames, eal: eal.clone() }))),
            None => Err(PoolError::Refused { frames, reason: last_error() }),
        }
    }

    /// How many buffers the pool has.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.0.frames
    }

    /// How many of them are in the pool now, and not on their way. Slow: counts every thread's cache.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.0.available()
    }

    /// An empty frame; `None` if the pool is empty.
    #[must_use]
    pub fn take(&self) -> Option<Mbuf> {
        let mut one = ArrayVec::<Mbuf, 1>::new();
        self.fill(&mut one);
        one.pop()
    }

    /// A frame with these bytes; `None` if the pool is empty or the bytes are more than a buffer holds.
    #[must_use]
    pub fn take_with(&self, bytes: &[u8]) -> Option<Mbuf> {
        let mut frame = self.take()?;
        let copy = |to: &mut [u8]| {
            to.copy_from_slice(bytes);
            bytes.len()
        };
        frame.write(bytes.len(), copy)?;
        debug_assert_eq!(frame.bytes(), bytes);
        Some(frame)
    }

    /// Fills `frames` up with empty frames in one call, or, when the pool has not as many, with as many as are left, but at
    /// most one. Returns how many were added.
    pub fn fill<const N: usize>(&self, frames: &mut ArrayVec<Mbuf, N>) -> usize {
        let alloc = |to, count: u16| {
            // SAFETY: `to` has room for `count` pointers; all are written, or none.
            let status = unsafe { dpdk_sys::rte_pktmbuf_alloc_bulk(self.0.raw.as_ptr(), to, count.into()) };
            if status == 0 { count } else { 0 }
        };
        // SAFETY: `alloc` writes buffers that it has just taken out of the pool.
        let many = unsafe { frames.fill_with(alloc) };
        if many > 0 {
            return many;
        }
        // SAFETY: as above.
        unsafe { frames.fill_with(|to, room| if room == 0 { 0 } else { alloc(to, 1) }) }
    }

    pub(crate) fn as_ptr(&self) -> *mut rte_mempool {
        self.0.raw.as_ptr()
    }
}

impl Mempool {
    fn available(&self) -> u32 {
        // SAFETY: a live pool.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }
}

impl Drop for Mempool {
    fn drop(&mut self) {
        if self.available() == self.frames {
            // SAFETY: every buffer is back, and nobody else holds the pool.
            unsafe { dpdk_sys::rte_mempool_free(self.raw.as_ptr()) }
        } else {
            // A frame lives longer than its pool. It must find memory when it is dropped.
            self.eal.keep_memory();
        }
    }
}
