//! The content store: what TCP's send queue points into.
//!
//! A connection's send queue says `Local(source, offset, length)`; a source is a few bytes in memory (a response's head)
//! or a [`Body`] that produces its bytes when it is asked. There is one store per core, outside every TCB. A source
//! lives until the client has acknowledged all of it, or until its connection ends.

use baton_stack::tcp::{self, ContentLost, SourceId};

use super::body::{Body, BodyError, Bytes, Ready, to_u64};
use super::chunked::Chunked;
use super::pieces::{PIECE_LEN, PieceId, Pieces};

/// How much a store holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreLimits {
    /// Sources, of all connections of the core.
    pub sources_max: usize,
    /// Bytes of memory that the sources hold: heads, echoes, buffers of bodies. What a file holds in the page cache
    /// does not count.
    pub bytes_max: usize,
    /// Bodies that are read ahead at one time, each [`PIECE_LEN`](super::PIECE_LEN) bytes; the others are read segment by segment.
    pub pieces_max: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { sources_max: 262_144, bytes_max: 268_435_456, pieces_max: 1_024 }
    }
}

/// The sources of one core.
#[derive(Debug)]
pub struct ContentStore {
    limits: StoreLimits,
    slots: Vec<Slot>,
    /// Slots without a source.
    free: Vec<u32>,
    bytes: usize,
    pieces: Pieces,
    failures: u64,
}

/// How a body is put on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// As it is.
    Identity,
    /// With chunk framing around it; offsets then count bytes of the wire.
    Chunked,
}

impl ContentStore {
    /// An empty store.
    #[must_use]
    pub const fn new(limits: StoreLimits) -> Self {
        let pieces = Pieces::new(limits.pieces_max);
        Self { limits, slots: Vec::new(), free: Vec::new(), bytes: 0, pieces, failures: 0 }
    }

    /// Keeps bytes in memory.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn insert_bytes(&mut self, bytes: Vec<u8>) -> Result<SourceId, StoreFull> {
        self.insert_source(Content::Identity(Box::new(Bytes::from(bytes))), false)
    }

    /// Keeps a body. If `feeding`, it stays until [`ContentStore::finish`] even when all of it is released.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn insert_body(&mut self, body: Box<dyn Body>, coding: Coding, feeding: bool) -> Result<SourceId, StoreFull> {
        let content = match coding {
            Coding::Identity => Content::Identity(body),
            Coding::Chunked => Content::Chunked(Box::new(Chunked::new(body))),
        };
        self.insert_source(content, feeding)
    }

    /// Goes on with a body at `offset` of its wire bytes, as if all before it had been released. False if there is no
    /// such source or it ends before.
    #[must_use]
    pub fn skip_to(&mut self, id: SourceId, offset: u64) -> bool {
        let Some(source) = self.source_mut(id) else { return false };
        let there = match &mut source.content {
            Content::Identity(body) => body.ready().end >= offset,
            Content::Chunked(chunked) => chunked.skip_to(offset),
        };
        if there {
            self.release_source(id, offset);
        }
        there
    }

    /// No more of a source than the bytes before `end` will be wanted: it goes when they are released.
    pub fn end_at(&mut self, id: SourceId, end: u64) {
        let Some(source) = source_mut(&mut self.slots, id) else { return };
        source.end = end;
        self.pieces.give_back(&mut source.piece, id);
        if source.is_spent() {
            self.remove(id);
        }
    }

    /// How far a source can be read; it need not look beyond `wanted`. `None` if there is no such source.
    pub fn ready(&mut self, id: SourceId, wanted: u64) -> Option<Ready> {
        let ready = self.source_mut(id)?.content.ready(wanted);
        self.recount(id);
        Some(ready)
    }

    /// Fills `buf` with the bytes of a source from `offset` on.
    ///
    /// # Errors
    /// The bytes are not there, or not any more: the connection must be reset.
    pub fn read_source(&mut self, id: SourceId, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let result = match source_mut(&mut self.slots, id) {
            None => Err(ReadError::NoSource),
            Some(source) => source.read(id, &mut self.pieces, offset, buf).map_err(ReadError::Body),
        };
        self.failures += u64::from(result.is_err());
        result
    }

    /// The client has acknowledged a source's bytes before `up_to`. A source of which nothing is left to send goes.
    pub fn release_source(&mut self, id: SourceId, up_to: u64) {
        let Some(source) = self.source_mut(id) else { return };
        if up_to > source.released {
            source.released = up_to;
            source.content.release(up_to);
        }
        if source.is_spent() {
            self.remove(id);
        } else {
            self.recount(id);
        }
    }

    /// Forgets a source: its connection has ended.
    pub fn remove(&mut self, id: SourceId) {
        let Some(source) = source_mut(&mut self.slots, id) else { return };
        self.bytes -= source.counted;
        self.pieces.give_back(&mut source.piece, id);
        let slot = &mut self.slots[slot_index(id)];
        slot.source = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(slot_number(id));
    }

    /// How many bytes of the request's body a source can take now. A source that is not there takes all, and nothing
    /// becomes of them.
    #[must_use]
    pub fn room(&self, id: SourceId) -> usize {
        let left = self.limits.bytes_max.saturating_sub(self.bytes);
        self.body(id).map_or(usize::MAX, |body| body.room().min(left))
    }

    /// Gives bytes of the request's body to a source: at most [`ContentStore::room`].
    ///
    /// # Errors
    /// The response cannot be continued: the connection must be reset.
    pub fn feed(&mut self, id: SourceId, bytes: &[u8]) -> Result<(), BodyError> {
        let Some(source) = self.source_mut(id) else { return Ok(()) };
        let result = source.content.body_mut().feed(bytes);
        self.failures += u64::from(result.is_err());
        self.recount(id);
        result
    }

    /// The request's body has ended.
    ///
    /// # Errors
    /// The response cannot be continued: the connection must be reset.
    pub fn finish(&mut self, id: SourceId) -> Result<(), BodyError> {
        let Some(source) = self.source_mut(id) else { return Ok(()) };
        source.feeding = false;
        let result = source.content.body_mut().finish();
        let spent = source.is_spent();
        self.failures += u64::from(result.is_err());
        if spent {
            self.remove(id);
        } else {
            self.recount(id);
        }
        result
    }

    /// The body of a source.
    #[must_use]
    pub fn body(&self, id: SourceId) -> Option<&dyn Body> {
        let slot = self.slots.get(slot_index(id)).filter(|slot| slot.generation == generation(id))?;
        slot.source.as_ref().map(|source| source.content.body())
    }

    /// How many sources there are.
    #[must_use]
    pub const fn sources(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes of memory that the sources hold.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that are lent to sources which are read ahead.
    #[must_use]
    pub fn bytes_ahead(&self) -> usize {
        self.pieces.bytes()
    }

    /// How often a source could not give its bytes or take the request's: each has cost a connection.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    fn insert_source(&mut self, content: Content, feeding: bool) -> Result<SourceId, StoreFull> {
        let counted = content.memory();
        if self.sources() >= self.limits.sources_max || counted > self.limits.bytes_max.saturating_sub(self.bytes) {
            return Err(StoreFull);
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                let number = u32::try_from(self.slots.len()).map_err(|_| StoreFull)?;
                self.slots.push(Slot { generation: 0, source: None });
                number
            }
        };
        self.bytes += counted;
        let slot = &mut self.slots[number as usize];
        slot.source = Some(Source {
            content,
            released: 0,
            end: u64::MAX,
            read_to: 0,
            piece: PieceId::default(),
            feeding,
            counted,
        });
        Ok(source_id(number, slot.generation))
    }

    fn source_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        source_mut(&mut self.slots, id)
    }

    /// Counts a source's memory again after something was done with it.
    fn recount(&mut self, id: SourceId) {
        let Some(source) = self.source_mut(id) else { return };
        let now = source.content.memory();
        let before = std::mem::replace(&mut source.counted, now);
        self.bytes = self.bytes - before + now;
    }
}

impl tcp::Content for ContentStore {
    fn read(&mut self, source: SourceId, offset: u64, buf: &mut [u8]) -> Result<(), ContentLost> {
        self.read_source(source, offset, buf).map_err(|_| ContentLost)
    }

    fn release(&mut self, source: SourceId, up_to: u64) {
        self.release_source(source, up_to);
    }

    fn insert(&mut self, bytes: Vec<u8>) -> Result<SourceId, ContentLost> {
        self.insert_bytes(bytes).map_err(|_| ContentLost)
    }
}

fn source_mut(slots: &mut [Slot], id: SourceId) -> Option<&mut Source> {
    slots.get_mut(slot_index(id)).filter(|slot| slot.generation == generation(id))?.source.as_mut()
}

/// The store's limit of sources or bytes is reached: answer 503, or reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the content store is full")]
pub struct StoreFull;

/// Why a source cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// It was released or removed, or is of another store.
    #[error("no such source")]
    NoSource,
    /// The body cannot give the bytes.
    #[error(transparent)]
    Body(BodyError),
}

/// An id: the slot's generation above its number.
const fn source_id(number: u32, generation: u32) -> SourceId {
    SourceId((generation as u64) << 32 | number as u64)
}

#[expect(clippy::cast_possible_truncation, reason = "the low half of the id")]
const fn slot_number(id: SourceId) -> u32 {
    id.0 as u32
}

const fn slot_index(id: SourceId) -> usize {
    slot_number(id) as usize
}

const fn generation(id: SourceId) -> u32 {
    (id.0 >> 32) as u32
}

#[derive(Debug)]
struct Slot {
    /// Grows each time the slot is emptied: an id of an earlier use finds nothing.
    generation: u32,
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    content: Content,
    released: u64,
    /// Where the bytes end that will be wanted, if that is before its own end.
    end: u64,
    /// Where nothing was read yet: what lies before is read again.
    read_to: u64,
    /// What was read ahead.
    piece: PieceId,
    /// Whether bytes of the request's body are still to come.
    feeding: bool,
    /// What it adds to the store's count of bytes.
    counted: usize,
}

impl Source {
    fn read(&mut self, id: SourceId, pieces: &mut Pieces, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
        let end = offset.checked_add(to_u64(buf.len())).ok_or(BodyError::OutOfRange)?;
        let ready_end = self.content.ready(end).end;
        if offset < self.released || end > ready_end {
            return Err(BodyError::OutOfRange);
        }
        match &mut self.content {
            Content::Identity(_) => self.read_pieces(id, pieces, (offset, ready_end.min(self.end)), buf),
            Content::Chunked(chunked) => chunked.read(offset, buf),
        }
    }

    /// Reads a body that ends at `body_end`, by way of a piece if it is to be read ahead. What is read again is read alone, and so is a body's rest.
    fn read_pieces(
        &mut self,
        id: SourceId,
        pieces: &mut Pieces,
        (offset, body_end): (u64, u64),
        mut buf: &mut [u8],
    ) -> Result<(), BodyError> {
        let (mut at, end) = (offset, offset + to_u64(buf.len()));
        let body = self.content.body_mut();
        loop {
            let known = pieces.copy(&mut self.piece, id, at, buf);
            (at, buf) = (at + to_u64(known), &mut buf[known..]);
            if buf.is_empty() {
                break;
            }
            let piece_end = body_end.min(at + to_u64(PIECE_LEN));
            let is_ahead = at >= self.read_to && end < piece_end && body.is_read_ahead(at);
            if !is_ahead || !pieces.fill(&mut self.piece, id, at..piece_end, |bytes| body.read(at, bytes))? {
                body.read(at, buf)?;
                break;
            }
        }
        self.read_to = self.read_to.max(end);
        Ok(())
    }

    fn is_spent(&mut self) -> bool {
        if self.released >= self.end {
            return true;
        }
        let ready = self.content.ready(self.released.saturating_add(1));
        ready.complete && self.released >= ready.end && !self.feeding
    }
}

#[derive(Debug)]
enum Content {
    Identity(Box<dyn Body>),
    Chunked(Box<Chunked>),
}

impl Content {
    fn ready(&mut self, wanted: u64) -> Ready {
        match self {
            Self::Identity(body) => body.ready(),
            Self::Chunked(chunked) => chunked.ready(wanted),
        }
    }

    fn release(&mut self, up_to: u64) {
        match self {
            Self::Identity(body) => body.release(up_to),
            Self::Chunked(chunked) => chunked.release(up_to),
        }
    }

    fn body(&self) -> &dyn Body {
        match self {
            Self::Identity(body) => body.as_ref(),
            Self::Chunked(chunked) => chunked.body(),
        }
    }

    fn body_mut(&mut self) -> &mut dyn Body {
        match self {
            Self::Identity(body) => body.as_mut(),
            Self::Chunked(chunked) => chunked.body_mut(),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Identity(body) => body.memory(),
            Self::Chunked(chunked) => chunked.memory(),
        }
    }
}
