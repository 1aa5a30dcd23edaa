//! Frames as the simulator keeps them, and the object-safe face of a node.

use baton_stack::node::{FRAME_LEN_MAX, Frame, Node, PortId, Transmit, Verdict};
use baton_stack::time::Instant;
use std::any::Any;

/// Free bytes in front of every frame, as in a DPDK mbuf (`RTE_PKTMBUF_HEADROOM`).
pub const HEADROOM: usize = 128;

/// A frame in a buffer with headroom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SimFrame {
    buffer: Vec<u8>,
    start: usize,
    /// Which sending this frame comes from: grows over the whole world with each frame that a node sends, and
    /// stays with it through switches and duplication.
    pub(crate) tag: u64,
}

impl SimFrame {
    /// A frame with these bytes, and [`HEADROOM`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut buffer = vec![0; HEADROOM];
        buffer.extend_from_slice(bytes);
        Self { buffer, start: HEADROOM, tag: 0 }
    }

    fn written(len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Option<Self> {
        // Unspecified contents: not zero, so that a node that forgets a byte is noticed.
        let mut buffer = vec![0xa5; HEADROOM + len_max];
        let len = write(&mut buffer[HEADROOM..]).min(len_max);
        buffer.truncate(HEADROOM + len);
        (len > 0).then_some(Self { buffer, start: HEADROOM, tag: 0 })
    }

    /// Length in bytes, Ethernet header included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether it has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which sending this frame comes from.
    #[must_use]
    pub const fn tag(&self) -> u64 {
        self.tag
    }
}

impl Frame for SimFrame {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..]
    }

    fn prepend(&mut self, len: usize) -> bool {
        match self.start.checked_sub(len) {
            Some(start) => {
                self.start = start;
                true
            }
            None => false,
        }
    }

    fn trim_front(&mut self, len: usize) -> bool {
        let enough = len <= self.len();
        if enough {
            self.start += len;
        }
        enough
    }
}

/// Collects the frames of one turn of a node.
#[derive(Debug)]
pub struct Outbox {
    frames: Vec<(PortId, SimFrame)>,
    room: usize,
}

impl Outbox {
    /// An outbox that takes `room` new frames and then says that no buffer is left.
    #[must_use]
    pub const fn new(room: usize) -> Self {
        Self { frames: Vec::new(), room }
    }

    /// Queues a frame that the node sends on. It has its buffer already, so the room does not matter.
    pub fn forward(&mut self, port: PortId, frame: SimFrame) {
        self.frames.push((port, frame));
    }

    /// The frames, in the order in which they leave.
    #[must_use]
    pub fn into_frames(self) -> Vec<(PortId, SimFrame)> {
        self.frames
    }
}

impl Transmit for Outbox {
    fn transmit(&mut self, port: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.room == 0 || len_max > FRAME_LEN_MAX {
            return false;
        }
        if let Some(frame) = SimFrame::written(len_max, write) {
            self.room -= 1;
            self.frames.push((port, frame));
        }
        true
    }
}

/// [`Node`] without its generics, so that one world can hold nodes of several types. Implemented for every node.
pub trait SimNode: Any {
    /// [`Node::handle_frame`].
    fn take_frame(&mut self, now: Instant, port: PortId, frame: &mut SimFrame, tx: &mut Outbox) -> Verdict;
    /// [`Node::poll`].
    fn take_turn(&mut self, now: Instant, tx: &mut Outbox);
    /// [`Node::poll_at`].
    fn next_turn(&self) -> Option<Instant>;
    /// [`Node::stop`].
    fn begin_stop(&mut self, now: Instant);
    /// [`Node::is_stopped`].
    fn has_stopped(&self) -> bool;
    /// [`Node::may_transmit`], or [`Node::may_transmit_frame`].
    fn may_send(&self, now: Instant, frame: &SimFrame) -> bool;
}

impl<N: Node + 'static> SimNode for N {
    fn take_frame(&mut self, now: Instant, port: PortId, frame: &mut SimFrame, tx: &mut Outbox) -> Verdict {
        self.handle_frame(now, port, frame, tx)
    }

    fn take_turn(&mut self, now: Instant, tx: &mut Outbox) {
        self.poll(now, tx);
    }

    fn next_turn(&self) -> Option<Instant> {
        self.poll_at()
    }

    fn begin_stop(&mut self, now: Instant) {
        self.stop(now);
    }

    fn has_stopped(&self) -> bool {
        self.is_stopped()
    }

    fn may_send(&self, now: Instant, frame: &SimFrame) -> bool {
        self.may_transmit(now) || self.may_transmit_frame(now, frame.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headroom_is_exactly_as_large_as_named() {
        let mut frame = SimFrame::new(&[1, 2, 3]);
        assert!(!frame.prepend(HEADROOM + 1));
        assert_eq!(frame.bytes(), [1, 2, 3]);
        assert!(frame.prepend(HEADROOM));
        assert_eq!(frame.len(), HEADROOM + 3);
        assert!(!frame.trim_front(HEADROOM + 4));
        assert!(frame.trim_front(HEADROOM + 3));
        assert!(frame.is_empty());
    }

    #[test]
    fn an_outbox_takes_what_it_has_room_for() {
        let mut outbox = Outbox::new(2);
        assert!(outbox.transmit(PortId(0), 10, |_| 0));
        assert!(!outbox.transmit(PortId(0), FRAME_LEN_MAX + 1, |_| 1));
        assert!(outbox.transmit(PortId(0), FRAME_LEN_MAX, |b| b.len()));
        assert!(outbox.transmit(PortId(1), 10, |_| 4));
        assert!(!outbox.transmit(PortId(1), 10, |_| unreachable!("no room is left")));
        outbox.forward(PortId(2), SimFrame::new(&[9]));
        let lengths: Vec<_> = outbox.into_frames().iter().map(|(port, f)| (port.0, f.len())).collect();
        assert_eq!(lengths, [(0, FRAME_LEN_MAX), (1, 4), (2, 1)]);
    }
}
