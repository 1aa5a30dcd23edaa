//! Two ports of one process, back to back, without any device: for tests and benchmarks.

use std::array;
use std::ffi::CString;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;
use dpdk_sys::rte_ring;
use thiserror::Error;

use crate::eal::{Eal, last_error};
use crate::mbuf::{Mbuf, MbufArray};
use crate::port::{BURST, find};

/// The fewest frames that can be under way in one direction.
pub const RING_FRAMES_MIN: u32 = 1;

/// The most frames that can be under way in one direction.
pub const RING_FRAMES_MAX: u32 = 65_535;

/// `RING_F_EXACT_SZ` of `rte_ring.h`: not rounded to a power of two.
const EXACT_SIZE: u32 = 4;

/// Why there is no pair.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RingError {
    /// Fewer or more frames than possible.
    #[error("{RING_FRAMES_MIN} to {RING_FRAMES_MAX} frames can be under way, not {0}")]
    Size(u32),
    /// No ring.
    #[error("cannot make a ring of {frames} frames: {reason}")]
    NoRing {
        /// How many frames it was to hold.
        frames: u32,
        /// DPDK's text for the error number.
        reason: String,
    },
    /// No device.
    #[error("cannot make a device of rings: {0}")]
    NoDevice(String),
}

/// Two devices, and two rings between them: what one sends, the other receives, in the very same buffer.
///
/// ```text
///  devices()[0]  == ring ==>  devices()[1]
///                <== ring ==
/// ```
///
/// Drop it after the ports that were opened on it; their rings stay in memory otherwise.
pub struct RingPair {
    devices: [String; 2],
    rings: [NonNull<rte_ring>; 2],
    eal: Eal,
}

// SAFETY: the rings are only touched when no port uses them any more, under EAL's lock; DPDK's rings may be used by any thread.
unsafe impl Send for RingPair {}
// SAFETY: as above; a shared reference gives access to the names only.
unsafe impl Sync for RingPair {}

impl RingPair {
    /// A pair between which exactly `frames` frames can be under way in each direction.
    ///
    /// # Errors
    /// Not a possible number, or too little memory.
    pub fn new(eal: &Eal, frames: u32) -> Result<Self, RingError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !(RING_FRAMES_MIN..=RING_FRAMES_MAX).contains(&frames) {
            return Err(RingError::Size(frames));
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let names: [String; 2] = array::from_fn(|end| format!("baton{number}_{end}"));
        let guard = eal.open_ports();
        let rings = [ring(&names[0], frames)?, ring(&names[1], frames)?];
        let devices = names.each_ref().map(|name| format!("net_ring_{name}"));
        for (end, name) in names.iter().enumerate() {
            let (mut rx, mut tx) = (rings[end].as_ptr(), rings[1 - end].as_ptr());
            let name = c_string(name);
            // SAFETY: one live ring each way; the arrays are only read during the call. The rings outlive the device: see `drop`.
            let id = unsafe { dpdk_sys::rte_eth_from_rings(name.as_ptr(), &raw mut rx, 1, &raw mut tx, 1, 0) };
            if id < 0 {
                return Err(RingError::NoDevice(last_error()));
            }
        }
        drop(guard);
        Ok(Self { devices, rings, eal: eal.clone() })
    }

    /// The names of the two devices, to be opened as ports.
    #[must_use]
    pub fn devices(&self) -> [&str; 2] {
        self.devices.each_ref().map(String::as_str)
    }
}

fn ring(name: &str, frames: u32) -> Result<NonNull<rte_ring>, RingError> {
    let name = c_string(name);
    // SAFETY: EAL runs, as the caller's `Eal` proves; the name is copied; any NUMA node will do (-1).
    let ring = unsafe { dpdk_sys::rte_ring_create(name.as_ptr(), frames, -1, EXACT_SIZE) };
    NonNull::new(ring).ok_or_else(|| RingError::NoRing { frames, reason: last_error() })
}

fn c_string(name: &str) -> CString {
    CString::new(name).expect("letters and digits")
}

impl Drop for RingPair {
    fn drop(&mut self) {
        let open_ports = self.eal.open_ports();
        let ids = self.devices.each_ref().map(|device| find(device));
        if ids.iter().flatten().any(|id| open_ports.contains(id)) {
            // A port still uses the rings.
            return;
        }
        for id in ids.into_iter().flatten() {
            // SAFETY: a device that is not open as a port, and cannot be opened meanwhile: the lock is held.
            let _ = unsafe { dpdk_sys::rte_eth_dev_close(id) };
        }
        for ring in self.rings {
            empty(ring);
            // SAFETY: no device uses the ring any more, and nobody else knows it.
            unsafe { dpdk_sys::rte_ring_free(ring.as_ptr()) }
        }
    }
}

/// Gives frames that are still under way back to their pools.
fn empty(ring: NonNull<rte_ring>) {
    let mut frames = ArrayVec::<Mbuf, BURST>::new();
    let dequeue = |to: *mut *mut dpdk_sys::rte_mbuf, room: u16| {
        // SAFETY: a live ring, and room for so many pointers.
        let count =
            unsafe { dpdk_sys::rte_ring_dequeue_burst(ring.as_ptr(), to.cast(), room.into(), std::ptr::null_mut()) };
        u16::try_from(count).expect("no more than there was room for")
    };
    // SAFETY: what is in the ring was sent by a port, so that nobody else owns it.
    while unsafe { frames.fill_with(dequeue) } > 0 {
        frames.free_all();
    }
}

impl fmt::Debug for RingPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [left, right] = &self.devices;
        write!(f, "RingPair({left} <-> {right})")
    }
}
