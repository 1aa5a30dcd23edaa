//! The contract between a node and its world.
//!
//! A [`Node`] is one core of a front-end or back-end: a state machine over Ethernet frames. The DPDK
//! shell and the simulator drive it in the same three ways, and in no other:
//!
//! ```text
//!   frame in  --handle_frame-->  Verdict (this very buffer goes out again, or is freed)
//!   time      --poll---------->  whatever became due
//!   people    --handle_command-> a reply
//!                  every call may write new frames through its Transmit
//! ```
//!
//! A world calls `handle_frame` for each frame of a receive burst, or `handle_burst` for all of them, then `poll` once, then sends the
//! frames that were written; it calls `poll` again no later than `poll_at`.

use crate::time::Instant;

/// A port of the node, by its position in the configuration's `[[port]]` array.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId(pub u16);

/// A received frame, in a buffer that may be sent on. Starts at the Ethernet header, has no FCS.
pub trait Frame {
    /// The frame's bytes.
    fn bytes(&self) -> &[u8];

    /// The frame's bytes, to be rewritten in place.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Makes room for `len` bytes in front. The new bytes' contents are unspecified. `false` if the
    /// buffer lacks the headroom; the frame is then unchanged.
    #[must_use]
    fn prepend(&mut self, len: usize) -> bool;

    /// Removes `len` bytes from the front. `false` if the frame is shorter; it is then unchanged.
    #[must_use]
    fn trim_front(&mut self, len: usize) -> bool;

    /// Whether the device has verified the IP and TCP/UDP checksums, and how.
    fn checksum(&self) -> RxChecksum {
        RxChecksum::Unknown
    }
}

/// What the device says of a received frame's IP and L4 checksums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RxChecksum {
    /// Not looked at: software must verify.
    Unknown,
    /// Both verified.
    Good,
}

/// What becomes of a received frame's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// The node is done with it.
    Free,
    /// It goes out on this port, as it now stands.
    Forward(PortId),
}

/// Where a node writes new frames.
pub trait Transmit {
    /// Takes an empty buffer, lets `write` fill it and queues it on `port`.
    ///
    /// `write` gets `len_max` bytes (at most [`FRAME_LEN_MAX`]), starting at the Ethernet header, with unspecified contents, and returns how many it used; zero
    /// sends nothing. Returns `false`, without calling `write`, when no buffer or no room is left: the
    /// caller keeps its state and tries again in its next `poll`.
    #[must_use]
    fn transmit(&mut self, port: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool;
}

/// The longest frame a [`Transmit`] must be able to take, in bytes: an Ethernet header, one VLAN tag and a 1,500-byte packet.
pub const FRAME_LEN_MAX: usize = 1518;

/// One core of one node: the same type in production and in simulation.
pub trait Node {
    /// What people may ask of it while it runs (admin calls).
    type Command;
    /// What it answers.
    type Reply;

    /// Handles one received frame. Never panics, whatever the bytes.
    fn handle_frame<F: Frame, T: Transmit>(&mut self, now: Instant, port: PortId, frame: &mut F, tx: &mut T)
    -> Verdict;

    /// Handles a burst of received frames, in their order, as [`Node::handle_frame`] does each, and says of each what becomes of it:
    /// `verdicts` is as long as `frames`. A node may look at all of them first.
    fn handle_burst<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frames: &mut [F],
        verdicts: &mut [Verdict],
        tx: &mut T,
    ) {
        for (frame, verdict) in frames.iter_mut().zip(verdicts) {
            *verdict = self.handle_frame(now, port, frame, tx);
        }
    }

    /// Does what is due at `now`: timers, segments that became sendable, messages. Bounded work per call;
    /// when work is left over, [`Node::poll_at`] says `now` or earlier.
    fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T);

    /// When `poll` must be called next if no frame arrives before; `None`: not at all.
    fn poll_at(&self) -> Option<Instant>;

    /// Handles one command.
    fn handle_command(&mut self, now: Instant, command: Self::Command) -> Self::Reply;

    /// Told now and then by the world: the share of the time since it was told last in which there was something to do, in thousandths.
    fn note_busy(&mut self, permille: u16) {
        let _ = permille;
    }

    /// Starts an orderly stop: connections are moved or, after the node's grace time, reset.
    fn stop(&mut self, now: Instant);

    /// Whether an orderly stop has finished: the world may drop the node after sending what it wrote.
    fn is_stopped(&self) -> bool;

    /// Called by the shell right before each transmit burst with the clock read again: whether frames written at
    /// or before now may still leave (ownership rule R2: a burst past the node's lease is dropped).
    fn may_transmit(&self, now: Instant) -> bool;

    /// Called as [`Node::may_transmit`] is where that says no, for each frame of the burst: whether this one may leave all the same. Only a node
    /// with several leases has a reason to say yes.
    fn may_transmit_frame(&self, now: Instant, frame: &[u8]) -> bool {
        let _ = (now, frame);
        false
    }
}
