//! A place for a node: its life, its clock, its receive ring, its stalls.

use super::Clock;
use crate::dice::Dice;
use crate::frame::{SimFrame, SimNode};
use baton_stack::node::PortId;
use baton_stack::time::{Duration, Instant};
use std::collections::VecDeque;

/// Builds one life of a node; the argument is its boot number, which grows by one with each life.
pub type Maker = Box<dyn FnMut(u32) -> Box<dyn SimNode>>;

/// Frames that a node's receive ring holds, as a NIC's descriptors would; above it, the NIC drops.
pub const RX_RING: usize = 1024;
/// Frames that a node takes in one turn.
pub const RX_BURST: usize = 32;
/// New frames that a node may write in one turn, if its settings do not say otherwise.
pub const TX_ROOM: usize = 512;

/// What a node's processor does besides running it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeSettings {
    /// How its clock runs.
    pub clock: Clock,
    /// Chance, per turn and in parts per million, that its burst leaves late, as if the process had lost the CPU
    /// between its last look at the clock and the burst.
    pub stall_ppm: u32,
    /// How late at most.
    pub stall_by: Duration,
    /// New frames that it may write in one turn; then it is told that no buffer is left.
    pub tx_room: usize,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self { clock: Clock::default(), stall_ppm: 0, stall_by: Duration::ZERO, tx_room: TX_ROOM }
    }
}

/// What has happened to a node's frames besides being handled.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NodeCounters {
    /// Turns it was given.
    pub turns: u64,
    /// Frames that came when its receive ring was full or when it was not running.
    pub not_received: u64,
    /// Frames that it wrote and, asked again right before the burst, would not send.
    pub held_back: u64,
    /// Most turns in a row that neither took nor gave a frame and yet asked for another at once.
    pub idle_turns_max: u32,
}

/// Where a node lives.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) make: Maker,
    pub(super) node: Option<Box<dyn SimNode>>,
    pub(super) boot: u32,
    pub(super) settings: NodeSettings,
    pub(super) dice: Dice,
    pub(super) inbox: VecDeque<(PortId, SimFrame)>,
    pub(super) paused: bool,
    /// A burst waits for its late departure.
    pub(super) stalled: bool,
    /// The next turn, and the token that its event must carry.
    pub(super) wake: Option<(Instant, u64)>,
    pub(super) idle_turns: u32,
    pub(super) counters: NodeCounters,
}

impl Slot {
    /// Takes a frame into the receive ring. `false` if it is lost.
    pub(super) fn receive(&mut self, port: u16, frame: SimFrame) -> bool {
        let room = self.node.is_some() && self.inbox.len() < RX_RING;
        if room {
            self.inbox.push_back((PortId(port), frame));
        } else {
            self.counters.not_received += 1;
        }
        room
    }

    /// Whether it can have a turn now.
    pub(super) const fn is_running(&self) -> bool {
        self.node.is_some() && !self.paused && !self.stalled
    }

    /// Ends this life at once.
    pub(super) fn end(&mut self) {
        self.node = None;
        self.inbox.clear();
        self.stalled = false;
        self.paused = false;
        self.wake = None;
        self.idle_turns = 0;
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("name", &self.name).field("boot", &self.boot).finish_non_exhaustive()
    }
}
