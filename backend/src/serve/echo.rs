//! The echo: a response whose body is the request's, sent while it still arrives.

use std::collections::VecDeque;

use super::body::{Body, BodyError, Ready, range_within, to_u64, to_usize};

/// Bytes that an echo holds for the client to acknowledge; when they are reached, the client's sending is held back.
///
/// A client that reads nothing before it has sent everything can only echo what fits in here (and in its own buffers),
/// as with any server that answers while it reads.
pub const ECHO_BUFFER_LEN: usize = 2 * 1024 * 1024;

/// A body that gives back what it is fed.
#[derive(Debug)]
pub struct Echo {
    length: Option<u64>,
    /// The bytes from `released` on.
    buffer: VecDeque<u8>,
    released: u64,
    finished: bool,
}

impl Echo {
    /// An echo of a request body of this length, if it was announced.
    #[must_use]
    pub const fn new(length: Option<u64>) -> Self {
        Self { length, buffer: VecDeque::new(), released: 0, finished: false }
    }

    fn fed(&self) -> u64 {
        self.released + to_u64(self.buffer.len())
    }
}

impl Body for Echo {
    fn length(&self) -> Option<u64> {
        self.length
    }

    fn ready(&self) -> Ready {
        let end = self.fed();
        Ready { end, complete: self.finished || self.length == Some(end) }
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
        let start = offset.checked_sub(self.released).ok_or(BodyError::OutOfRange)?;
        let range = range_within(start, buf.len(), self.buffer.len())?;
        // The buffer is a ring: the range lies in its first half, in its second, or across.
        let (first, second) = self.buffer.as_slices();
        let in_first = &first[range.start.min(first.len())..range.end.min(first.len())];
        let in_second = &second[range.start.saturating_sub(first.len())..range.end.saturating_sub(first.len())];
        let (head, tail) = buf.split_at_mut(in_first.len());
        head.copy_from_slice(in_first);
        tail.copy_from_slice(in_second);
        Ok(())
    }

    fn release(&mut self, up_to: u64) {
        let gone = to_usize(up_to.saturating_sub(self.released)).min(self.buffer.len());
        self.buffer.drain(..gone);
        self.released += to_u64(gone);
    }

    fn room(&self) -> usize {
        ECHO_BUFFER_LEN - self.buffer.len()
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        let end = self.fed() + to_u64(bytes.len());
        if self.finished || bytes.len() > self.room() || self.length.is_some_and(|length| end > length) {
            return Err(BodyError::TooMuch);
        }
        self.buffer.extend(bytes);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), BodyError> {
        self.finished = true;
        if self.length.is_none_or(|length| length == self.fed()) { Ok(()) } else { Err(BodyError::EndedEarly) }
    }

    fn memory(&self) -> usize {
        self.buffer.len()
    }
}
