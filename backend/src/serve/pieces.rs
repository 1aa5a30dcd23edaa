//! What is read of bodies in pieces that are longer than a segment, and sent segment by segment.
//!
//! ```text
//!   body      |======== sent ========|---- piece ----|. . . . . . . .
//!                            ^ again: read alone     ^ the next is read when TCP wants this byte
//! ```
//! To read a file has a price however little is read (two calls of the kernel), so a body may ask to be read ahead
//! ([`Body::is_read_ahead`](super::Body::is_read_ahead)). A piece is held from its first segment to its last, and one of which nothing was sent for long
//! while others were is taken over: the memory is lent to the responses that are being sent. Where all of it is lent, the others are read segment by segment.

use std::ops::Range;

use baton_stack::tcp::SourceId;

use super::body::{BodyError, to_u64, to_usize};

/// Bytes that are read of a body at a time.
pub const PIECE_LEN: usize = 32 << 10;

/// A piece is idle when nothing was read of it while this many times as many reads as there are pieces were made
/// of other bodies.
const IDLE_ROUNDS: u64 = 16;

/// The pieces of one core.
#[derive(Debug)]
pub(super) struct Pieces {
    max: usize,
    pieces: Vec<Piece>,
    /// Those that nobody has.
    free: Vec<u32>,
    /// Reads of bodies that are read ahead, so far: what time is measured by here.
    reads: u64,
    /// The one that was looked at last, whether it is idle.
    hand: usize,
}

#[derive(Debug)]
struct Piece {
    owner: Option<SourceId>,
    /// Where in the source it begins.
    start: u64,
    len: usize,
    /// When it was read from.
    read_at: u64,
    /// [`PIECE_LEN`] of them.
    bytes: Box<[u8]>,
}

/// Which piece a source has, if it was not taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct PieceId(Option<u32>);

impl Pieces {
    pub(super) const fn new(max: usize) -> Self {
        Self { max, pieces: Vec::new(), free: Vec::new(), reads: 0, hand: 0 }
    }

    /// Copies what the piece of `source` has at `offset`, and says how many bytes these were. A piece that was read to its end is given back.
    pub(super) fn copy(&mut self, id: &mut PieceId, source: SourceId, offset: u64, buf: &mut [u8]) -> usize {
        let now = self.reads + 1;
        let Some(piece) = self.owned(*id, source) else { return 0 };
        let Some(skip) = offset.checked_sub(piece.start).map(to_usize).filter(|skip| *skip < piece.len) else {
            return 0;
        };
        let len = buf.len().min(piece.len - skip);
        buf[..len].copy_from_slice(&piece.bytes[skip..skip + len]);
        piece.read_at = now;
        let is_last = skip + len == piece.len;
        self.reads = now;
        if is_last {
            self.give_back(id, source);
        }
        len
    }

    /// Reads a piece of `source`, which lies at `range` and is no longer than one can be, in place of the one it has. False if all are lent.
    ///
    /// # Errors
    /// `read` failed.
    pub(super) fn fill(
        &mut self,
        id: &mut PieceId,
        source: SourceId,
        range: Range<u64>,
        read: impl FnOnce(&mut [u8]) -> Result<(), BodyError>,
    ) -> Result<bool, BodyError> {
        self.give_back(id, source);
        let Some(number) = self.lend() else { return Ok(false) };
        let (read_at, piece) = (self.reads, &mut self.pieces[number as usize]);
        let len = PIECE_LEN.min(to_usize(range.end - range.start));
        // Whoever had it finds it with another, or with nobody if it cannot be read.
        piece.owner = None;
        let result = read(&mut piece.bytes[..len]);
        if result.is_err() {
            self.free.push(number);
        } else {
            (piece.owner, piece.start, piece.len, piece.read_at) = (Some(source), range.start, len, read_at);
            *id = PieceId(Some(number));
        }
        result.map(|()| true)
    }

    /// The source needs its piece no more.
    pub(super) fn give_back(&mut self, id: &mut PieceId, source: SourceId) {
        if let Some(piece) = self.owned(*id, source) {
            piece.owner = None;
            self.free.extend(id.0);
        }
        *id = PieceId::default();
    }

    /// Bytes that sources have of it.
    pub(super) fn bytes(&self) -> usize {
        (self.pieces.len() - self.free.len()) * PIECE_LEN
    }

    fn owned(&mut self, PieceId(number): PieceId, source: SourceId) -> Option<&mut Piece> {
        self.pieces.get_mut(number? as usize).filter(|piece| piece.owner == Some(source))
    }

    /// A piece that nobody has, or an idle one: of those that are lent, one is looked at for each that is wanted.
    fn lend(&mut self) -> Option<u32> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        if self.pieces.len() < self.max {
            let number = u32::try_from(self.pieces.len()).ok()?;
            let bytes = vec![0; PIECE_LEN].into();
            self.pieces.push(Piece { owner: None, start: 0, len: 0, read_at: 0, bytes });
            return Some(number);
        }
        self.reads += 1;
        self.hand = if self.hand + 1 < self.pieces.len() { self.hand + 1 } else { 0 };
        let idle_reads = IDLE_ROUNDS * to_u64(self.max);
        let is_idle = self.pieces.get(self.hand).is_some_and(|piece| self.reads - piece.read_at > idle_reads);
        u32::try_from(self.hand).ok().filter(|_| is_idle)
    }
}
