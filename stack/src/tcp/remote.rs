//! Bytes that earlier owners keep: which of them are needed, and how they come here.
//!
//! ```text
//!   freeze_leaving          SND.UNA                              SND.NXT
//!     before, at A             |- Local ---------- Local ----------|
//!     in the image             |- Remote(A) -----------------------|
//!     at the next owner        |- Remote(A) --|- lost -|- Remote --|   wanted: the lost range
//!     when that has come       |- Remote(A) --|- Local-|- Remote --|
//! ```
//! An acknowledgment drops them like any others. None of them is needed unless it is lost.

use alloc::collections::BTreeMap;

use super::content::{Content, ContentLost, Extent, Place};
use super::queue::Remote;
use super::seq::SeqNum;
use super::tcb::{CloseReason, EXTENTS_MAX, Tcb};
use crate::time::Instant;

/// Bytes of the send queue that stay behind when their connection goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Kept {
    /// The place of the first.
    pub start: u64,
    /// Where they are; local.
    pub extent: Extent,
}

/// What of a connection has no fixed length.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Bulk {
    /// Bytes of the send queue in this node's store.
    pub local: u64,
    /// Extents of the send queue.
    pub extents: usize,
    /// Bytes that were received and not consumed, in order or not.
    pub received: usize,
    /// Ranges of those that are out of order.
    pub ranges: usize,
    /// Runs of the scoreboard.
    pub runs: usize,
}

impl Tcb {
    /// What of it has no fixed length.
    #[must_use]
    pub fn bulk(&self) -> Bulk {
        let out_of_order = &self.rcv.out_of_order;
        let lens = self.extents().filter(|extent| matches!(extent.place, Place::Local { .. })).map(|extent| extent.len);
        Bulk {
            local: lens.sum(),
            extents: self.extents().count(),
            received: self.unread().len() + out_of_order.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(),
            ranges: out_of_order.len(),
            runs: self.rec.sent.runs().count(),
        }
    }

    /// Whether earlier owners keep something of what is not acknowledged.
    #[must_use]
    pub const fn has_remote(&self) -> bool {
        self.snd.queue.has_remote()
    }

    /// What earlier owners keep of what is not acknowledged, in order.
    pub fn remotes(&self) -> impl Iterator<Item = Remote> {
        self.snd.queue.remotes(0, u64::MAX)
    }

    /// The place of the first byte that is not acknowledged.
    #[must_use]
    pub const fn first_place(&self) -> u64 {
        self.snd.queue.start()
    }

    /// What earlier owners keep and is to be sent from here: it is lost, or a probe would send it, or it never was sent and comes
    /// next. A range may come twice.
    pub fn wanted(&self) -> impl Iterator<Item = Remote> {
        let probe = self.probe_again().map(|(seq, len, _)| (seq, seq + len));
        let unsent = u32::try_from(self.snd.unsent()).unwrap_or(u32::MAX).min(self.mss());
        let next = (self.snd.nxt, self.snd.nxt + unsent);
        let ranges = self.rec.sent.losses().chain(probe).chain((unsent > 0).then_some(next));
        let none = if self.has_remote() { usize::MAX } else { 0 };
        ranges.take(none).flat_map(|(from, to)| self.snd.queue.remotes(self.place(from), self.place(to)))
    }

    /// Whether nothing is in flight, and nothing can be sent before bytes have come that another node keeps.
    pub(crate) fn awaits_bytes(&self) -> bool {
        if !self.has_remote() || self.rec.sent.pipe() > 0 {
            return false;
        }
        let is_remote = |at: u64| self.snd.queue.first_remote(None, at, at + 1).is_some();
        self.rec.sent.first_lost().is_some_and(|(seq, _)| is_remote(self.place(seq)))
    }

    fn place(&self, seq: SeqNum) -> u64 {
        self.snd.queue.start() + u64::from(seq.since(self.snd.una))
    }

    /// Takes bytes in that an earlier owner keeps, from place `start` on; what of them is not needed is let go. Gives how many it
    /// has taken.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn supply(
        &mut self,
        now: Instant,
        start: u64,
        bytes: &[u8],
        content: &mut impl Content,
    ) -> Result<u64, ContentLost> {
        let end = start.saturating_add(u64::try_from(bytes.len()).map_err(|_| ContentLost)?);
        let did_wait = self.awaits_bytes();
        let mut taken = 0;
        let mut from = start;
        while let Some(remote) = self.snd.queue.first_remote(None, from, end) {
            let index = |place: u64| usize::try_from(place - start).map_err(|_| ContentLost);
            let piece = bytes.get(index(remote.start)?..index(remote.start + remote.len)?).ok_or(ContentLost)?;
            let source = content.insert(piece.to_vec())?;
            if !self.snd.queue.bring(remote, Place::Local { source, offset: 0 }, EXTENTS_MAX) {
                content.release(source, remote.len);
                return Err(ContentLost);
            }
            taken += remote.len;
            from = remote.start + remote.len;
        }
        self.note_bytes(now, did_wait);
        Ok(taken)
    }

    /// What this node, `holder`, has kept since it gave the connection away is the connection's again.
    ///
    /// # Errors
    /// The bytes cannot be read, or there is no room for them. What is kept is given back all the same.
    pub fn reclaim(
        &mut self,
        now: Instant,
        holder: u16,
        kept: &[Kept],
        content: &mut impl Content,
    ) -> Result<(), ContentLost> {
        let did_wait = self.awaits_bytes();
        // The queue gives a source back when the last byte of it is acknowledged. Where the queue has that byte from elsewhere, because
        // it was fetched meanwhile, the store would never hear of it: then the rest is copied.
        let mut spent = BTreeMap::new();
        for &Kept { start, extent } in kept {
            let Place::Local { source, offset } = extent.place else { continue };
            let (end, up_to) = (start + extent.len, offset + extent.len);
            match self.snd.queue.first_remote(Some(holder), end - 1, end) {
                Some(_) => spent.remove(&source),
                None => spent.insert(source, up_to),
            };
        }
        let mut result = Ok(());
        for &Kept { start, extent } in kept {
            let Place::Local { source, offset } = extent.place else { continue };
            let is_whole = !spent.contains_key(&source);
            while result.is_ok()
                && let Some(remote) = self.snd.queue.first_remote(Some(holder), start, start + extent.len)
            {
                let offset = offset + (remote.start - start);
                result = if is_whole {
                    let here = Place::Local { source, offset };
                    if self.snd.queue.bring(remote, here, EXTENTS_MAX) { Ok(()) } else { Err(ContentLost) }
                } else {
                    self.copy(remote, (source, offset), content)
                };
            }
        }
        for (source, up_to) in spent {
            content.release(source, up_to);
        }
        self.note_bytes(now, did_wait);
        result
    }

    fn copy(
        &mut self,
        remote: Remote,
        (source, offset): (super::SourceId, u64),
        content: &mut impl Content,
    ) -> Result<(), ContentLost> {
        let mut bytes = alloc::vec![0; usize::try_from(remote.len).map_err(|_| ContentLost)?];
        content.read(source, offset, &mut bytes)?;
        let copy = content.insert(bytes)?;
        if self.snd.queue.bring(remote, Place::Local { source: copy, offset: 0 }, EXTENTS_MAX) {
            return Ok(());
        }
        content.release(copy, remote.len);
        Err(ContentLost)
    }

    /// What was waited for can be sent now: the timer's time runs from here.
    fn note_bytes(&mut self, now: Instant, did_wait: bool) {
        if did_wait && !self.awaits_bytes() && self.timers.retransmit.is_some() {
            self.arm_retransmit(now);
        }
    }

    /// Bytes that must be sent again are nowhere any more: the connection is reset.
    pub fn lose_tail(&mut self) {
        self.abort_for(CloseReason::TailLost);
    }
}
