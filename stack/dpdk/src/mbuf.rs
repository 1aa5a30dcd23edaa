//! One frame in one buffer of a pool.

use std::fmt;
use std::ptr::NonNull;
use std::slice;

use arrayvec::ArrayVec;
use baton_stack::node::{Frame, RxChecksum};
use dpdk_sys::rte_mbuf;

/// Offload flags that say what the device thinks of a received frame's checksums.
const CHECKSUM_FLAGS: u64 =
    (dpdk_sys::RTE_MBUF_F_RX_IP_CKSUM_MASK as u64) | (dpdk_sys::RTE_MBUF_F_RX_L4_CKSUM_MASK as u64);
const CHECKSUM_GOOD: u64 =
    (dpdk_sys::RTE_MBUF_F_RX_IP_CKSUM_GOOD as u64) | (dpdk_sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD as u64);

/// A buffer of a [`Pool`](crate::Pool), with the frame in it: this value alone owns it. Goes back to its pool when dropped.
///
/// All fields that are needed per frame are read and written here, in Rust: no call into C.
#[repr(transparent)]
pub struct Mbuf {
    raw: NonNull<rte_mbuf>,
}

// SAFETY: the buffer is owned by this value alone, and pools are safe to use from any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// How many bytes the frame has.
    #[expect(clippy::len_without_is_empty, reason = "an empty frame is nothing to ask for")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.header().data_len.into()
    }

    /// How many bytes [`Frame::prepend`] can add.
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.header().data_off.into()
    }

    /// How many bytes, from the frame's beginning, the buffer has.
    #[must_use]
    pub fn room(&self) -> usize {
        let header = self.header();
        usize::from(header.buf_len) - usize::from(header.data_off)
    }

    /// Lets `write` fill the first `len_max` bytes; the frame is then as long as `write` says. `None`, and the frame unchanged, if the buffer has less
    /// room.
    pub fn write(&mut self, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Option<usize> {
        if len_max > self.room() {
            return None;
        }
        let used = write(self.space(len_max)).min(len_max);
        self.set_len(used);
        Some(used)
    }

    /// The first `len` bytes from the frame's beginning.
    fn space(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.room(), "inside the buffer");
        // SAFETY: `buf_addr + data_off` and the `room()` bytes from there are inside the buffer, which this value owns
        // alone; pool memory comes zeroed from the system, so every byte is initialised.
        unsafe { slice::from_raw_parts_mut(self.data(), len) }
    }

    fn data(&self) -> *mut u8 {
        let header = self.header();
        // SAFETY: `data_off <= buf_len` holds for every buffer of a pool and is kept by all methods here.
        unsafe { header.buf_addr.cast::<u8>().add(header.data_off.into()) }
    }

    fn header(&self) -> &rte_mbuf {
        // SAFETY: points to the header of a live buffer, owned by this value alone.
        unsafe { self.raw.as_ref() }
    }

    fn header_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: as in `header`, and `self` is borrowed exclusively.
        unsafe { self.raw.as_mut() }
    }

    /// Sets the frame's length, at most `room()`.
    fn set_len(&mut self, len: usize) {
        let len = u16::try_from(len).expect("a buffer is at most 65,535 bytes long");
        let header = self.header_mut();
        header.data_len = len;
        header.pkt_len = len.into();
    }

    /// Makes a received frame one that may be sent: what the receiving device noted of it must not reach the sending one.
    pub(crate) fn forget_reception(&mut self) {
        self.header_mut().ol_flags = 0;
    }

    /// Makes a received frame that is spread over several buffers lie in one. `false` if it is too long for that.
    pub(crate) fn linearise(&mut self) -> bool {
        // SAFETY: a live buffer, first of its chain, owned by this value alone.
        self.header().nb_segs == 1 || unsafe { dpdk_sys::rte_pktmbuf_linearize(self.raw.as_ptr()) } == 0
    }

    /// Whether a received frame is spread over several buffers.
    pub(crate) fn is_chain(&self) -> bool {
        self.header().nb_segs != 1
    }

    /// Forgets what the device says of the checksums: it was not asked to look.
    pub(crate) fn distrust_checksums(&mut self) {
        self.header_mut().ol_flags &= !CHECKSUM_FLAGS;
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: a live buffer that this value owns alone, given back once.
        unsafe { dpdk_sys::rte_pktmbuf_free(self.raw.as_ptr()) }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mbuf({} bytes)", self.len())
    }
}

impl Frame for Mbuf {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the frame's `data_len` bytes are inside the buffer and initialised, see `space`.
        unsafe { slice::from_raw_parts(self.data(), self.len()) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.space(self.len())
    }

    fn prepend(&mut self, len: usize) -> bool {
        let new_off = u16::try_from(len).ok().and_then(|len| self.header().data_off.checked_sub(len));
        let Some(new_off) = new_off else { return false };
        let new_len = self.len() + len;
        self.header_mut().data_off = new_off;
        self.set_len(new_len);
        true
    }

    fn trim_front(&mut self, len: usize) -> bool {
        let Some(new_len) = self.len().checked_sub(len) else { return false };
        let header = self.header_mut();
        header.data_off += u16::try_from(len).expect("no more than data_len");
        self.set_len(new_len);
        true
    }

    fn checksum(&self) -> RxChecksum {
        if self.header().ol_flags & CHECKSUM_FLAGS == CHECKSUM_GOOD { RxChecksum::Good } else { RxChecksum::Unknown }
    }
}

/// Frames on their way through C, which sees an array of pointers.
pub(crate) trait MbufArray {
    /// Lets `fill` write pointers behind the frames that are there: it gets where and how many, and returns how many it wrote.
    ///
    /// # Safety
    /// Each pointer that `fill` writes is a live buffer that nobody else owns.
    unsafe fn fill_with(&mut self, fill: impl FnOnce(*mut *mut rte_mbuf, u16) -> u16) -> usize;

    /// Lets `take` have up to `count` frames from the front; it returns how many it has taken ownership of, again from the front.
    fn take_with(&mut self, count: usize, take: impl FnOnce(*mut *mut rte_mbuf, u16) -> u16) -> usize;

    /// Gives all frames back to their pools in one call; returns how many.
    fn free_all(&mut self) -> usize;
}

impl<const N: usize> MbufArray for ArrayVec<Mbuf, N> {
    unsafe fn fill_with(&mut self, fill: impl FnOnce(*mut *mut rte_mbuf, u16) -> u16) -> usize {
        let (len, room) = (self.len(), self.remaining_capacity());
        let most = u16::try_from(room).unwrap_or(u16::MAX);
        // SAFETY: `len` is at most the capacity. `Mbuf` is a transparent pointer.
        let free = unsafe { self.as_mut_ptr().add(len) }.cast::<*mut rte_mbuf>();
        let filled = usize::from(fill(free, most).min(most));
        // SAFETY: the caller vouches that the first `filled` of the free places now hold owned, live buffers.
        unsafe { self.set_len(len + filled) };
        filled
    }

    fn take_with(&mut self, count: usize, take: impl FnOnce(*mut *mut rte_mbuf, u16) -> u16) -> usize {
        let most = u16::try_from(count.min(self.len())).unwrap_or(u16::MAX);
        let taken = usize::from(take(self.as_mut_ptr().cast(), most).min(most));
        // Owned by whoever took them.
        self.drain(..taken).for_each(std::mem::forget);
        taken
    }

    fn free_all(&mut self) -> usize {
        let count = self.len();
        self.take_with(count, |frames, count| {
            // SAFETY: `count` pointers to live buffers that this array owned; `take_with` forgets them.
            unsafe { dpdk_sys::rte_pktmbuf_free_bulk(frames, count.into()) };
            count
        })
    }
}
