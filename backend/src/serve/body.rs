//! Bodies of responses: bytes that are produced when TCP sends them, and again when it sends them again.

use std::fmt;

/// The body of one response.
///
/// There is no send buffer: TCP output reads a body straight into the frame that it sends, and reads the same range
/// again for a retransmission. So a body must give the same bytes for a range, however often and in whatever pieces it
/// is read, until the range is released. A body that no longer can says so with a [`BodyError`]; the connection is then
/// reset, because a client must never get a wrong byte.
///
/// Offsets count payload bytes from 0; transfer coding is put around them elsewhere.
///
/// A response may depend on the request's body while that is still arriving (an echo, a transcoder): a
/// [`Response::taking_request_body`](super::Response::taking_request_body) is fed through [`Body::feed`], never more
/// than [`Body::room`] at a time, and [`Body::finish`] ends it. While there is no room, the client's sending is held
/// back by the TCP receive window.
pub trait Body: fmt::Debug + Send {
    /// The body's whole length, where it is known before the first byte: the Content-Length. Never changes.
    /// Without it a response is sent chunked, or until close to a client of HTTP/1.0.
    fn length(&self) -> Option<u64>;

    /// How far the body can be read now.
    fn ready(&self) -> Ready;

    /// Fills `buf` with the bytes from `offset` on. The range lies between what was released and what is ready.
    ///
    /// # Errors
    /// The bytes cannot be given, or no longer be vouched for. `buf` is then unspecified.
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError>;

    /// Whether a read costs much however short it is, so that what follows `offset` is best read in longer pieces than segments are. Until they are
    /// sent, [`ContentStore`](super::ContentStore) keeps them: what [`Body::read`] vouches for is vouched for then.
    fn is_read_ahead(&self, offset: u64) -> bool {
        let _ = offset;
        false
    }

    /// The client has everything before `up_to`: it will not be read again. Never goes back.
    fn release(&mut self, up_to: u64) {
        let _ = up_to;
    }

    /// Where the chunk that begins at `start` ends, for a body of unknown length; `start` is less than what is ready.
    /// An answer beyond what is ready, or not after `start`, is moved between the two. Asked once for each chunk, in
    /// order.
    fn chunk_end(&mut self, start: u64) -> u64 {
        let _ = start;
        self.ready().end
    }

    /// How another node could go on with this body at any offset. What can be continued but is not named yet is being
    /// named from now on, by [`Service::work`](super::Service::work).
    fn continuation(&self) -> Continuation {
        Continuation::Nowhere
    }

    /// How many bytes of the request's body can be taken now.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// Takes bytes of the request's body, at most [`Body::room`].
    ///
    /// # Errors
    /// The body cannot be continued: the connection is reset.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        let _ = bytes;
        Ok(())
    }

    /// The request's body has ended.
    ///
    /// # Errors
    /// The body cannot be continued: the connection is reset.
    fn finish(&mut self) -> Result<(), BodyError> {
        Ok(())
    }

    /// Bytes of memory that this body holds now, beside itself: counted against the store's limit.
    fn memory(&self) -> usize {
        0
    }
}

/// How far a body can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// Bytes before this offset can be read. Never goes back.
    pub end: u64,
    /// Whether `end` is the end of the body.
    pub complete: bool,
}

/// Names the exact bytes of a content: equal validators under one name promise equal bytes, on whatever node. A time or a
/// size is none; a digest of the bytes is one, and so is what a pure function was called with.
/// What the bytes say is the service's own affair.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Validator(pub [u8; 32]);

/// Whether, and as what, another node can go on with a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Continuation {
    /// Nobody else has these bytes, or nobody can say so.
    Nowhere,
    /// What names the bytes is being found out.
    NotYet,
    /// Whoever has this content has the bytes.
    Of(Content),
}

/// A content that several nodes may have, and where in it a body begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// What the services call it: not empty.
    pub name: Vec<u8>,
    /// Where the body's first byte is in it.
    pub first: u64,
    /// Its exact bytes.
    pub validator: Validator,
}

/// Why a body's bytes cannot be given. The connection is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// What is being sent has changed since the response began: the caller of the service changed it.
    #[error("the content changed while it was sent")]
    Changed,
    /// The device or file system failed.
    #[error("the content cannot be read: {0}")]
    Io(std::io::ErrorKind),
    /// A range outside what is ready, or already released: our own fault.
    #[error("a range that is not there")]
    OutOfRange,
    /// More of the request's body than there was room for, or than was announced: our own fault.
    #[error("more request body than there is room for")]
    TooMuch,
    /// The request's body ended before the length that was announced.
    #[error("the request body ended early")]
    EndedEarly,
}

/// A body of bytes in memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bytes {
    bytes: Vec<u8>,
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self { bytes: text.into() }
    }
}

impl Body for Bytes {
    fn length(&self) -> Option<u64> {
        Some(to_u64(self.bytes.len()))
    }

    fn ready(&self) -> Ready {
        Ready { end: to_u64(self.bytes.len()), complete: true }
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
        let range = range_within(offset, buf.len(), self.bytes.len())?;
        buf.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn memory(&self) -> usize {
        self.bytes.len()
    }
}

/// The range of `len` bytes at `offset`, if it lies within `total` bytes.
pub(super) fn range_within(offset: u64, len: usize, total: usize) -> Result<std::ops::Range<usize>, BodyError> {
    let start = usize::try_from(offset).map_err(|_| BodyError::OutOfRange)?;
    let end = start.checked_add(len).filter(|&end| end <= total).ok_or(BodyError::OutOfRange)?;
    Ok(start..end)
}

/// A length as an offset. No machine has more than 64 bits of it.
pub(super) fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// As much of `len` as a `usize` holds.
pub(super) fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
