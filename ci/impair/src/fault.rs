//! What becomes of packets, one lane for each direction. No sockets and no clock in here: frames and times are handed in.
//!
//! ```text
//!   offer ---> lost? ---> marked? ---> doubled? ---> corrupted? ---> reordered? ---> a turn on the link? ---> delayed? ---> out
//!                |            |            |                             |                     |                  |
//!              gone          CE       a clean copy                  held until             gone, if           a queue,
//!                                     goes as well               1-8 others passed      it is too far off     in order
//! ```
//!
//! Every packet that may suffer draws the same number of random values, so that packet n meets the same fate for a seed whatever
//! happened to packet n - 1.
//!
//! ARP passes untouched, and takes no place in the sequence: it is not what is tested, its times depend on the machine, and
//! losing it only stalls a connection for a second, as no other loss does.

mod mark;

use clap::Args;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use std::collections::VecDeque;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A reordered packet is overtaken by at most this many later ones.
pub(crate) const OVERTAKERS_MAX: u32 = 8;
/// A reordered packet waits for later ones no longer than this.
pub(crate) const HOLD_MAX: Duration = Duration::from_millis(5);
/// So many packets may be held at once; one more passes at its turn.
pub(crate) const HELD_MAX: usize = 64;
/// So many packets may be under way in the delay; one more is lost and counted as overflow.
pub(crate) const QUEUE_MAX: usize = 65_536;
/// A link of a certain rate keeps packets for so long; one that would have to wait longer for its turn is lost and counted as overflow.
pub(crate) const TURN_WAIT_MAX: Duration = Duration::from_millis(10);
/// The fastest link, in Mbit/s.
pub(crate) const RATE_MBIT_MAX: u64 = 100_000;
/// What a frame takes of an Ethernet link beside its own bytes: preamble, checksum, and the gap to the next one.
const LINK_OVERHEAD_BYTES: u64 = 24;
/// The longest delay, in ms.
pub(crate) const DELAY_MS_MAX: u64 = 10_000;

/// The bytes of an Ethernet header; corruption spares them, so that a frame still reaches who it was for.
const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];

/// A share of packets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Share {
    /// Of 2^32 packets, so many.
    of_2_32: u64,
}

impl Share {
    /// Whether a packet that drew `value` is among them.
    const fn takes(self, value: u32) -> bool {
        (value as u64) < self.of_2_32
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("{text} is not a share from 0 to 1"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^32 after the check above")]
        let of_2_32 = (share * f64::from(u32::MAX) + share).round() as u64;
        Ok(Self { of_2_32 })
    }
}

/// The faults to inject, in each direction.
#[derive(Args, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Faults {
    /// Where the random numbers begin.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The share of packets to lose, 0 to 1.
    #[arg(long, default_value = "0")]
    pub(crate) loss: Share,
    /// The share of packets to send twice.
    #[arg(long, default_value = "0")]
    pub(crate) dup: Share,
    /// The share of packets to hold back until later ones have passed.
    #[arg(long, default_value = "0")]
    pub(crate) reorder: Share,
    /// The share of packets in which one bit behind the Ethernet header is flipped.
    #[arg(long, default_value = "0")]
    pub(crate) corrupt: Share,
    /// The share of ECN-capable packets to mark as having met congestion.
    #[arg(long, default_value = "0")]
    pub(crate) mark: Share,
    /// How long every packet is under way, in ms.
    #[arg(long = "delay", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=DELAY_MS_MAX))]
    pub(crate) delay_ms: u64,
    /// The rate of the link, in Mbit/s. 0: as fast as the machine.
    #[arg(long = "rate", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=RATE_MBIT_MAX))]
    pub(crate) rate_mbit: u64,
}

/// What one direction has done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counters {
    received: u64,
    exempt: u64,
    lost: u64,
    doubled: u64,
    corrupted: u64,
    reordered: u64,
    overflow: u64,
    unsent: u64,
    marked: u64,
}

impl Counters {
    /// Each with its name.
    pub(crate) const fn rows(self) -> [(&'static str, u64); 9] {
        let Self { received, exempt, lost, doubled, corrupted, reordered, overflow, unsent, marked } = self;
        [
            ("received", received),
            ("exempt", exempt),
            ("lost", lost),
            ("doubled", doubled),
            ("corrupted", corrupted),
            ("reordered", reordered),
            ("overflow", overflow),
            ("unsent", unsent),
            ("marked", marked),
        ]
    }
}

/// A packet that others overtake.
#[derive(Debug)]
struct Held {
    frame: Vec<u8>,
    /// So many must still pass.
    overtakers: u32,
    until: Instant,
}

/// What happens to one packet.
struct Fate {
    lost: bool,
    doubled: bool,
    corrupted: bool,
    reordered: bool,
    marked: bool,
    /// How many overtake it, if reordered.
    overtakers: u32,
    /// Which bit is flipped, if corrupted: a share of the length.
    bit: u32,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Lane {
    faults: Faults,
    /// Tells the directions apart: they draw from different streams of one seed.
    direction: u64,
    random: ChaCha8Rng,
    held: Vec<Held>,
    /// When the link has sent all that had a turn so far.
    free_at: Option<Instant>,
    /// What is under way, and when it arrives.
    queue: VecDeque<(Instant, Vec<u8>)>,
    counters: Counters,
}

impl Lane {
    pub(crate) fn new(faults: Faults, direction: u64) -> Self {
        let random = stream(faults.seed, direction);
        let counters = Counters::default();
        Self { faults, direction, random, held: Vec::new(), free_at: None, queue: VecDeque::new(), counters }
    }

    /// Begins anew with other faults, from the start of their seed. What is under way goes on as it was.
    pub(crate) fn set(&mut self, faults: Faults) {
        self.random = stream(faults.seed, self.direction);
        self.faults = faults;
        self.free_at = None;
    }

    /// Takes a frame in, and puts what may leave now into `out`.
    pub(crate) fn offer(&mut self, mut frame: Vec<u8>, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.counters.received += 1;
        if is_exempt(&frame) {
            self.counters.exempt += 1;
            out.push(frame);
            return;
        }
        let fate = self.draw();
        if fate.lost {
            self.counters.lost += 1;
            return;
        }
        if fate.marked && mark::mark(&mut frame) {
            self.counters.marked += 1;
        }
        let copy = fate.doubled.then(|| frame.clone());
        if fate.corrupted && flip(&mut frame, fate.bit) {
            self.counters.corrupted += 1;
        }
        if fate.reordered && self.held.len() < HELD_MAX {
            self.counters.reordered += 1;
            self.held.push(Held { frame, overtakers: fate.overtakers, until: now + HOLD_MAX });
        } else {
            self.pass(frame, now, out);
        }
        if let Some(copy) = copy {
            self.counters.doubled += 1;
            self.pass(copy, now, out);
        }
    }

    /// Puts into `out` what has waited long enough.
    pub(crate) fn due(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        let (ready, held) = self.held.drain(..).partition(|held| held.until <= now);
        self.held = held;
        for Held { frame, .. } in ready {
            self.leave(frame, now, out);
        }
        while let Some((_, frame)) = self.queue.pop_front_if(|(arrival, _)| *arrival <= now) {
            out.push(frame);
        }
    }

    /// When [`Self::due`] is worth calling.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let held = self.held.iter().map(|held| held.until).min();
        let queued = self.queue.front().map(|(arrival, _)| *arrival);
        held.into_iter().chain(queued).min()
    }

    /// Puts all that is here into `out`.
    pub(crate) fn flush(&mut self, out: &mut Vec<Vec<u8>>) {
        out.extend(self.queue.drain(..).map(|(_, frame)| frame));
        out.extend(self.held.drain(..).map(|held| held.frame));
    }

    /// Counts frames that the interface did not take.
    pub(crate) const fn note_unsent(&mut self, frames: u64) {
        self.counters.unsent += frames;
    }

    pub(crate) const fn counters(&self) -> Counters {
        self.counters
    }

    /// Always the same number of values, whatever the faults are.
    fn draw(&mut self) -> Fate {
        let mut next = || self.random.next_u32();
        Fate {
            lost: self.faults.loss.takes(next()),
            doubled: self.faults.dup.takes(next()),
            corrupted: self.faults.corrupt.takes(next()),
            reordered: self.faults.reorder.takes(next()),
            overtakers: 1 + next() % OVERTAKERS_MAX,
            bit: next(),
            marked: self.faults.mark.takes(next()),
        }
    }

    /// A frame goes its way, and those it overtakes come nearer to theirs.
    fn pass(&mut self, frame: Vec<u8>, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.leave(frame, now, out);
        for held in &mut self.held {
            held.overtakers -= 1;
        }
        let (ready, held) = self.held.drain(..).partition(|held| held.overtakers == 0);
        self.held = held;
        for Held { frame, .. } in ready {
            self.leave(frame, now, out);
        }
    }

    /// Over the link and into the delay, or out.
    fn leave(&mut self, frame: Vec<u8>, now: Instant, out: &mut Vec<Vec<u8>>) {
        let Some(arrival) = self.arrival(frame.len(), now) else {
            self.counters.overflow += 1;
            return;
        };
        if arrival == now && self.queue.is_empty() {
            out.push(frame);
        } else if self.queue.len() < QUEUE_MAX {
            self.queue.push_back((arrival, frame));
        } else {
            self.counters.overflow += 1;
        }
    }

    /// When a frame that comes to the link now has passed all of it; `None` if its turn is too far off.
    fn arrival(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let delay = Duration::from_millis(self.faults.delay_ms);
        if self.faults.rate_mbit == 0 {
            return Some(now + delay);
        }
        let turn = self.free_at.map_or(now, |free_at| free_at.max(now));
        if turn - now > TURN_WAIT_MAX {
            return None;
        }
        let bits = (u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(LINK_OVERHEAD_BYTES)).saturating_mul(8);
        let sent = turn + Duration::from_nanos(bits.saturating_mul(1_000) / self.faults.rate_mbit);
        self.free_at = Some(sent);
        Some(sent + delay)
    }
}

fn stream(seed: u64, direction: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(direction);
    random
}

fn is_exempt(frame: &[u8]) -> bool {
    frame.get(12..ETHERNET_HEADER) == Some(&ETHERTYPE_ARP)
}

/// Flips the bit at `share` / 2^32 of what is behind the Ethernet header; false if nothing is there.
fn flip(frame: &mut [u8], share: u32) -> bool {
    let Some(body) = frame.get_mut(ETHERNET_HEADER..) else { return false };
    let Ok(bits) = u64::try_from(body.len() * 8) else { return false };
    let bit = (u64::from(share) * bits) >> 32;
    let Some(byte) = usize::try_from(bit / 8).ok().and_then(|index| body.get_mut(index)) else { return false };
    *byte ^= 1 << (bit % 8);
    true
}

#[cfg(test)]
mod tests;
