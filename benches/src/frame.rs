//! Frames in buffers that are used again, as mbufs are: what is measured allocates nothing for them.

use baton_stack::node::{FRAME_LEN_MAX, Frame, PortId, Transmit};

/// Free bytes in front of every frame (`RTE_PKTMBUF_HEADROOM`).
const HEADROOM: usize = 128;
const BUFFER_LEN: usize = HEADROOM + 1_920;
/// Buffers that lie ready; more are made when they run out.
const READY: usize = 2_048;

/// A frame in its buffer.
#[derive(Clone, Debug)]
pub struct Buffer {
    bytes: Box<[u8; BUFFER_LEN]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn empty() -> Self {
        Self { bytes: Box::new([0; BUFFER_LEN]), start: HEADROOM, end: HEADROOM }
    }

    /// Becomes the frame that `write` writes into at most `len_max` bytes.
    fn write(&mut self, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> usize {
        let len = write(&mut self.bytes[HEADROOM..HEADROOM + len_max]);
        (self.start, self.end) = (HEADROOM, HEADROOM + len);
        len
    }
}

impl Frame for Buffer {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    fn prepend(&mut self, len: usize) -> bool {
        let start = self.start.checked_sub(len);
        self.start = start.unwrap_or(self.start);
        start.is_some()
    }

    fn trim_front(&mut self, len: usize) -> bool {
        let fits = len <= self.end - self.start;
        self.start += if fits { len } else { 0 };
        fits
    }
}

/// What nodes write into, and where their frames lie until somebody takes them.
#[derive(Debug)]
pub struct Wire {
    free: Vec<Buffer>,
    sent: Vec<Buffer>,
}

impl Default for Wire {
    fn default() -> Self {
        let free = (0..READY).map(|_| Buffer::empty()).collect();
        Self { free, sent: Vec::with_capacity(READY) }
    }
}

impl Wire {
    /// A frame with these bytes.
    #[must_use]
    pub fn frame(&mut self, bytes: &[u8]) -> Buffer {
        self.written(bytes.len(), |to| {
            to.copy_from_slice(bytes);
            bytes.len()
        })
    }

    /// The frame that `write` writes.
    #[must_use]
    pub fn written(&mut self, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Buffer {
        let mut buffer = self.take();
        buffer.write(len_max, write);
        buffer
    }

    /// Gives a buffer back.
    pub fn free(&mut self, buffer: Buffer) {
        self.free.push(buffer);
    }

    /// Sends a frame that a node only passes on.
    pub fn forward(&mut self, frame: Buffer) {
        self.sent.push(frame);
    }

    /// What was sent since the last call.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Buffer> {
        self.sent.drain(..)
    }

    fn take(&mut self) -> Buffer {
        self.free.pop().unwrap_or_else(Buffer::empty)
    }
}

impl Transmit for Wire {
    fn transmit(&mut self, _: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        debug_assert!(len_max <= FRAME_LEN_MAX);
        let mut buffer = self.take();
        if buffer.write(len_max, write) > 0 {
            self.sent.push(buffer);
        } else {
            self.free.push(buffer);
        }
        true
    }
}
