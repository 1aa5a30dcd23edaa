//! Where the bytes to send are: extents of a content store outside the TCB.

use alloc::vec::Vec;

/// Names a source in a content store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceId(pub u64);

/// The store's bytes cannot be had, or not be kept: the connection is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("content is lost")]
pub struct ContentLost;

/// The per-core content store, as TCP sees it.
pub trait Content {
    /// Fills `buf` with the source's bytes from `offset` on.
    ///
    /// # Errors
    /// The bytes cannot be given; `buf` is then unspecified.
    fn read(&mut self, source: SourceId, offset: u64, buf: &mut [u8]) -> Result<(), ContentLost>;

    /// The bytes before `up_to` are acknowledged and are never read again.
    fn release(&mut self, source: SourceId, up_to: u64);

    /// Keeps bytes that came with an image.
    ///
    /// # Errors
    /// There is no room.
    fn insert(&mut self, bytes: Vec<u8>) -> Result<SourceId, ContentLost>;
}

/// Where an extent's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    /// In this node's content store.
    Local {
        /// The source.
        source: SourceId,
        /// The extent's first byte in it.
        offset: u64,
    },
    /// With an earlier owner, who keeps what it has sent.
    Remote {
        /// The number of that node in the messages of the connection's front-end.
        holder: u16,
        /// The place of the extent's first byte: how many were ever sent before it on the connection.
        offset: u64,
    },
}

/// A range of the send sequence space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Extent {
    /// How many bytes.
    pub len: u64,
    /// Where they are.
    pub place: Place,
}

impl Extent {
    /// The same without its first `n` bytes.
    #[must_use]
    pub const fn without_first(self, n: u64) -> Self {
        let place = match self.place {
            Place::Local { source, offset } => Place::Local { source, offset: offset + n },
            Place::Remote { holder, offset } => Place::Remote { holder, offset: offset + n },
        };
        Self { len: self.len - n, place }
    }

    /// Its first bytes, at most `n`.
    #[must_use]
    pub const fn first(self, n: u64) -> Self {
        Self { len: if self.len < n { self.len } else { n }, place: self.place }
    }

    /// Whether `next` goes on where this ends.
    #[must_use]
    pub(crate) fn is_continued_by(&self, next: &Self) -> bool {
        match (self.place, next.place) {
            (Place::Local { source: a, offset: from }, Place::Local { source: b, offset: to }) => {
                a == b && from + self.len == to
            }
            (Place::Remote { holder: a, offset: from }, Place::Remote { holder: b, offset: to }) => {
                a == b && from + self.len == to
            }
            (Place::Local { .. }, Place::Remote { .. }) | (Place::Remote { .. }, Place::Local { .. }) => false,
        }
    }
}
