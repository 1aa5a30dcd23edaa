//! The chunked transfer coding around a body, readable at any offset of the wire.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use baton_http1::response::{CHUNK_END, ChunkHead, LAST_CHUNK};

use super::body::{Body, BodyError, Ready, to_u64, to_usize};

/// Chunks of one body that are cut and not yet released. More are cut when the client has acknowledged some.
pub const CHUNKS_HELD_MAX: usize = 4_096;

/// Payload bytes of one chunk: larger ones are cut into several.
pub const CHUNK_LEN_MAX: u64 = 1 << 20;

/// A body of unknown length with its chunk framing (RFC 9112 section 7.1).
///
/// ```text
///  payload   |        chunk 0        |     chunk 1     | ...
///  wire      |3e8 CRLF ....... CRLF  |2 CRLF .. CRLF   | ... 0 CRLF CRLF
/// ```
/// Where a chunk ends is decided once, when it is first wanted, and remembered until it is released: so the bytes of
/// the wire are the same each time they are read.
#[derive(Debug)]
pub(super) struct Chunked {
    body: Box<dyn Body>,
    /// The chunks that are cut and not released, in order and without gaps.
    chunks: VecDeque<Chunk>,
    /// Where the next chunk will begin.
    next: Position,
    /// Whether the last chunk, the empty one, is among those cut.
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Position {
    wire: u64,
    payload: u64,
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    start: Position,
    /// Payload bytes; 0 is the last chunk.
    len: u64,
}

impl Chunk {
    /// The payload offset of the first payload byte at or behind `wire`.
    fn payload_at(&self, wire: u64) -> u64 {
        let head_len = NonZeroU64::new(self.len).map_or(0, |len| to_u64(ChunkHead::new(len).as_bytes().len()));
        self.start.payload + wire.saturating_sub(self.start.wire + head_len).min(self.len)
    }

    fn wire_end(&self) -> u64 {
        self.start.wire
            + match NonZeroU64::new(self.len) {
                Some(len) => to_u64(ChunkHead::new(len).as_bytes().len() + CHUNK_END.len()) + self.len,
                None => to_u64(LAST_CHUNK.len()),
            }
    }
}

impl Chunked {
    pub(super) fn new(body: Box<dyn Body>) -> Self {
        Self { body, chunks: VecDeque::new(), next: Position::default(), ended: false }
    }

    pub(super) fn body(&self) -> &dyn Body {
        self.body.as_ref()
    }

    pub(super) fn body_mut(&mut self) -> &mut dyn Body {
        self.body.as_mut()
    }

    /// Cuts chunks until the wire is known up to `wanted`, or nothing more is ready, or too many are held; says how
    /// far the wire can be read.
    pub(super) fn ready(&mut self, wanted: u64) -> Ready {
        while self.next.wire < wanted && self.chunks.len() < CHUNKS_HELD_MAX && self.cut() {}
        Ready { end: self.next.wire, complete: self.ended }
    }

    /// Cuts one more chunk, if there is one.
    fn cut(&mut self) -> bool {
        let Ready { end, complete } = self.body.ready();
        let start = self.next;
        if self.ended || (start.payload >= end && !complete) {
            return false;
        }
        let chunk_end = if start.payload < end {
            let limit = end.min(start.payload + CHUNK_LEN_MAX);
            self.body.chunk_end(start.payload).clamp(start.payload + 1, limit)
        } else {
            self.ended = true;
            start.payload
        };
        let chunk = Chunk { start, len: chunk_end - start.payload };
        self.next = Position { wire: chunk.wire_end(), payload: chunk_end };
        self.chunks.push_back(chunk);
        true
    }

    pub(super) fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
        let end = offset.checked_add(to_u64(buf.len())).ok_or(BodyError::OutOfRange)?;
        let first = self.chunks.front().map_or(self.next.wire, |chunk| chunk.start.wire);
        if offset < first || end > self.next.wire {
            return Err(BodyError::OutOfRange);
        }
        let mut index = self.chunks.partition_point(|chunk| chunk.wire_end() <= offset);
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let chunk = *self.chunks.get(index).ok_or(BodyError::OutOfRange)?;
            let here = to_usize(chunk.wire_end() - at).min(rest.len());
            let (now, later) = rest.split_at_mut(here);
            read_chunk(self.body.as_mut(), &chunk, at - chunk.start.wire, now)?;
            (rest, at, index) = (later, at + to_u64(here), index + 1);
        }
        Ok(())
    }

    pub(super) fn release(&mut self, up_to: u64) {
        while self.chunks.front().is_some_and(|chunk| chunk.wire_end() <= up_to) {
            self.chunks.pop_front();
        }
        self.body.release(self.chunks.front().map_or(self.next.payload, |chunk| chunk.payload_at(up_to)));
    }

    /// Goes on at `wire` as if everything before it had been sent and released: for a body that another node began.
    /// The cost grows with the number of chunks before it. False if the body ends before.
    pub(super) fn skip_to(&mut self, wire: u64) -> bool {
        while self.next.wire < wire {
            self.release(self.next.wire.min(wire));
            if !self.cut() {
                return false;
            }
        }
        self.release(wire);
        true
    }

    pub(super) fn memory(&self) -> usize {
        self.chunks.len() * size_of::<Chunk>() + self.body.memory()
    }
}

/// Reads a part of one chunk on the wire: its size line, its payload, its CRLF.
fn read_chunk(body: &mut dyn Body, chunk: &Chunk, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
    let Some(len) = NonZeroU64::new(chunk.len) else {
        copy_at(LAST_CHUNK, offset, buf);
        return Ok(());
    };
    let head = ChunkHead::new(len);
    let head_len = to_u64(head.as_bytes().len());
    let head_left = to_usize(head_len.saturating_sub(offset)).min(buf.len());
    let (in_head, rest) = buf.split_at_mut(head_left);
    copy_at(head.as_bytes(), offset, in_head);
    let offset = (offset + to_u64(head_left)).saturating_sub(head_len);
    let payload_left = to_usize(chunk.len.saturating_sub(offset)).min(rest.len());
    let (in_payload, in_end) = rest.split_at_mut(payload_left);
    if !in_payload.is_empty() {
        body.read(chunk.start.payload + offset, in_payload)?;
    }
    if !in_end.is_empty() {
        copy_at(CHUNK_END, offset + to_u64(payload_left) - chunk.len, in_end);
    }
    Ok(())
}

/// Copies what of `from` lies at `offset`; `buf` does not reach beyond its end.
fn copy_at(from: &[u8], offset: u64, buf: &mut [u8]) {
    let start = to_usize(offset).min(from.len());
    let from = &from[start..];
    let len = from.len().min(buf.len());
    buf[..len].copy_from_slice(&from[..len]);
}
