//! What a node sends in one turn of the loop.

use std::hint;

use arrayvec::ArrayVec;
use baton_stack::drop::{DropCounters, DropReason};
use baton_stack::node::{Frame, PortId, Transmit};

use crate::mbuf::{Mbuf, MbufArray};
use crate::pool::Pool;
use crate::port::BURST;
use crate::ports::{PORTS_MAX, Ports};

/// The most frames that one port sends in one turn: room for a full burst of each port to leave by the same one.
pub const TRANSMIT_FRAMES_MAX: usize = PORTS_MAX * BURST;

/// How often in a row a device may take nothing before the rest of the frames is dropped.
pub const FLUSH_TRIES_MAX: u32 = 64;

/// An Ethernet header. Devices may choke on less.
const FRAME_LEN_MIN: usize = 14;

/// The frames that a node sends in one turn, in order, by port. They leave with [`TxBurst::flush`], and not before.
#[derive(Debug)]
pub struct TxBurst {
    pool: Pool,
    /// Empty frames, taken from the pool in bulk.
    stock: ArrayVec<Mbuf, BURST>,
    queues: Vec<Queue>,
    drops: DropCounters,
}

#[derive(Default, Debug)]
struct Queue {
    frames: ArrayVec<Mbuf, TRANSMIT_FRAMES_MAX>,
    unsent: u64,
}

impl TxBurst {
    /// An empty burst for as many ports, whose new frames come from `pool`.
    #[must_use]
    pub fn new(pool: &Pool, ports: usize) -> Self {
        let queues = std::iter::repeat_with(Queue::default).take(ports).collect();
        Self { pool: pool.clone(), stock: ArrayVec::new(), queues, drops: DropCounters::default() }
    }

    /// Queues a received frame on `port`: its buffer goes out as it is. Dropped, and counted, if the queue is full, there is no such port, or not even an
    /// Ethernet header is left.
    pub fn forward(&mut self, port: PortId, mut frame: Mbuf) {
        if frame.len() < FRAME_LEN_MIN {
            return self.drops.count(DropReason::Truncated);
        }
        frame.forget_reception();
        let queue = self.queues.get_mut(usize::from(port.0)).filter(|queue| !queue.frames.is_full());
        match queue {
            Some(queue) => queue.frames.push(frame),
            None => self.drops.count(DropReason::TransmitFull),
        }
    }

    /// How many frames are queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queues.iter().map(|queue| queue.frames.len()).sum()
    }

    /// Sends what is queued; what the devices do not take is dropped and counted as unsent. Returns how many frames there were.
    pub fn flush(&mut self, ports: &mut Ports) -> usize {
        let queued = self.queued();
        for (queue, (_, port)) in self.queues.iter_mut().zip(ports.iter_mut()) {
            let mut tries = 0;
            while !queue.frames.is_empty() && tries < FLUSH_TRIES_MAX {
                if port.send(&mut queue.frames) > 0 {
                    tries = 0;
                } else {
                    tries += 1;
                    hint::spin_loop();
                }
            }
            queue.unsent += count(queue.frames.free_all());
        }
        queued
    }

    /// Drops what is queued and may not leave any more. Returns how many frames that were.
    pub fn discard(&mut self, may_leave: impl Fn(&[u8]) -> bool) -> usize {
        let queued = self.queued();
        for queue in &mut self.queues {
            queue.frames.retain(|frame| may_leave(frame.bytes()));
        }
        let discarded = queued - self.queued();
        for _ in 0..discarded {
            self.drops.count(DropReason::LeaseExpired);
        }
        discarded
    }

    /// Frames that `port` did not take, so far.
    #[must_use]
    pub fn unsent(&self, port: PortId) -> u64 {
        self.queues.get(usize::from(port.0)).map_or(0, |queue| queue.unsent)
    }

    /// What was dropped for other reasons, so far.
    #[must_use]
    pub fn drops(&self) -> &DropCounters {
        &self.drops
    }
}

impl Transmit for TxBurst {
    fn transmit(&mut self, port: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let queue = self.queues.get_mut(usize::from(port.0)).filter(|queue| !queue.frames.is_full());
        let Some(queue) = queue else { return false };
        if self.stock.is_empty() {
            self.pool.fill(&mut self.stock);
        }
        let Some(mut frame) = self.stock.pop() else { return false };
        let written = frame.write(len_max, write);
        match written {
            Some(1..) => queue.frames.push(frame),
            Some(0) | None => self.stock.push(frame),
        }
        written.is_some()
    }
}

pub(crate) fn count(frames: usize) -> u64 {
    u64::try_from(frames).unwrap_or(u64::MAX)
}
