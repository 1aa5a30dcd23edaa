//! Where the parser stands in a connection's byte stream, as plain data, and the driver that moves it on.
//!
//! ```text
//!   AtHead --Head--> InBody --Body ...--> (body done) --End, ordinal + 1--> AtHead
//!      |                |                      \--End, not keep-alive-----> Closed
//!      +----error-------+--------------------------------------------------> Closed
//! ```
//!
//! The wire layout, big-endian, [`CURSOR_LEN`] bytes:
//! ```text
//!   0       1       2       3       4               8
//!   +-------+-------+-------+-------+---------------+-------------------------------+
//!   |version| phase | flags |digits |    ordinal    |   value: scanned, left, size  |
//!   +-------+-------+-------+-------+-------+-------+---------------+---------------+
//!   |          payload bytes        | ext.  |trailer|   reserved    |
//!   +-------------------------------+-------+-------+---------------+
//!   16                              24      26      28              32
//! ```
//! `phase`: 0 at a head, 1 closed, 16 and above a state of the body decoder. `flags`: bit 0 keep-alive, bit 1 a
//! `100 Continue` is due. What a phase has no use for is zero, so each cursor has exactly one encoding.

use core::ops::Range;

use crate::body::{BodyDecoder, BodyError, Parts};
use crate::head::{HEAD_BYTES_CEILING, HeadError, Limits, Parsed, RequestHead, parse_head_from};
use crate::response::Status;

/// The length of an encoded [`Cursor`].
pub const CURSOR_LEN: usize = 32;

/// The version of the layout that [`Cursor::encode`] writes.
pub const CURSOR_VERSION: u8 = 1;

const PHASE_AT_HEAD: u8 = 0;
const PHASE_CLOSED: u8 = 1;
const PHASE_BODY_FIRST: u8 = 16;
const FLAG_KEEP_ALIVE: u8 = 1 << 0;
const FLAG_CONTINUE_DUE: u8 = 1 << 1;

/// Where the parser stands: behind all consumed bytes and before the first unread byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    ordinal: u32,
    keep_alive: bool,
    continue_due: bool,
    phase: Phase,
}

/// What the unread bytes of a stream begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// A request head, or nothing yet.
    AtHead {
        /// How many of the unread bytes are known to be an incomplete head.
        scanned: u32,
    },
    /// The rest of a request's body, perhaps none.
    InBody(BodyDecoder),
    /// Nothing that will be read: no request follows on this connection.
    Closed,
}

impl Default for Cursor {
    fn default() -> Self {
        Self::new()
    }
}

impl Cursor {
    /// At the first byte of a connection.
    #[must_use]
    pub const fn new() -> Self {
        Self { ordinal: 0, keep_alive: true, continue_due: false, phase: Phase::AtHead { scanned: 0 } }
    }

    /// The number of the request that the cursor is at or in; the first of a connection is 0.
    #[must_use]
    pub const fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// What the unread bytes begin with.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether a further request may follow the one that the cursor is at or in.
    #[must_use]
    pub const fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for [`CONTINUE`](crate::response::CONTINUE): it asked to, none was sent, and no byte
    /// of the body has come.
    #[must_use]
    pub const fn continue_due(&self) -> bool {
        self.continue_due
    }

    /// Notes that `100 Continue` was sent.
    pub const fn continue_sent(&mut self) {
        self.continue_due = false;
    }

    /// Gives up reading: no further request is taken from this connection.
    pub const fn close(&mut self) {
        self.keep_alive = false;
        self.continue_due = false;
        self.phase = Phase::Closed;
    }

    /// Makes the request that the cursor is at or in the last one of this connection.
    pub const fn close_after_this(&mut self) {
        match self.phase {
            Phase::InBody(_) => self.keep_alive = false,
            Phase::AtHead { .. } | Phase::Closed => self.close(),
        }
    }

    /// Moves on by one event. `unread` are all bytes from the cursor on; the caller drops [`Advance::consumed`] of
    /// them from its front, and calls again until it gets [`Advance::Incomplete`] or [`Advance::Closed`].
    ///
    /// # Errors
    /// The stream is refused and the cursor is closed: answer with [`RequestError::status`] and close.
    pub fn advance<'a>(&mut self, unread: &'a [u8], limits: &Limits) -> Result<Advance<'a>, RequestError> {
        let advanced = match self.phase {
            Phase::AtHead { scanned } => self.advance_head(unread, scanned, limits).map_err(RequestError::Head),
            Phase::InBody(decoder) if decoder.is_done() => Ok(self.end_request()),
            Phase::InBody(decoder) => self.advance_body(unread, decoder).map_err(RequestError::Body),
            Phase::Closed => Ok(Advance::Closed),
        };
        if advanced.is_err() {
            self.close();
        }
        advanced
    }

    fn advance_head<'a>(&mut self, unread: &'a [u8], scanned: u32, limits: &Limits) -> Result<Advance<'a>, HeadError> {
        let scanned = usize::try_from(scanned).unwrap_or(0);
        match parse_head_from(unread, scanned, limits)? {
            Parsed::Complete(head) => {
                self.keep_alive = head.keep_alive;
                self.continue_due = head.expects_continue;
                self.phase = Phase::InBody(BodyDecoder::new(head.framing));
                Ok(Advance::Head(head))
            }
            Parsed::Partial => {
                self.phase = Phase::AtHead { scanned: u32::try_from(unread.len()).unwrap_or(0) };
                Ok(Advance::Incomplete)
            }
        }
    }

    fn advance_body<'a>(&mut self, unread: &[u8], mut decoder: BodyDecoder) -> Result<Advance<'a>, BodyError> {
        let step = decoder.decode(unread)?;
        if step.consumed == 0 {
            return Ok(Advance::Incomplete);
        }
        // RFC 9110 section 10.1.1: the body has begun, so nobody waits any more.
        self.continue_due = false;
        self.phase = Phase::InBody(decoder);
        Ok(Advance::Body { consumed: step.consumed, payload: step.payload })
    }

    const fn end_request<'a>(&mut self) -> Advance<'a> {
        match self.ordinal.checked_add(1) {
            Some(next) if self.keep_alive => {
                self.ordinal = next;
                self.phase = Phase::AtHead { scanned: 0 };
            }
            Some(_) | None => self.close(),
        }
        Advance::End
    }

    /// Writes the cursor in its wire layout.
    pub fn encode(&self, out: &mut [u8; CURSOR_LEN]) {
        let Self { ordinal, keep_alive, continue_due, phase } = *self;
        let mut parts = Parts { kind: 0, digits: 0, value: 0, payload_bytes: 0, extension_bytes: 0, trailer_bytes: 0 };
        let phase = match phase {
            Phase::AtHead { scanned } => {
                parts.value = u64::from(scanned);
                PHASE_AT_HEAD
            }
            Phase::InBody(decoder) => {
                parts = decoder.to_parts();
                PHASE_BODY_FIRST + parts.kind
            }
            Phase::Closed => PHASE_CLOSED,
        };
        *out = [0; CURSOR_LEN];
        out[0] = CURSOR_VERSION;
        out[1] = phase;
        out[2] = (u8::from(keep_alive) * FLAG_KEEP_ALIVE) | (u8::from(continue_due) * FLAG_CONTINUE_DUE);
        out[3] = parts.digits;
        out[4..8].copy_from_slice(&ordinal.to_be_bytes());
        out[8..16].copy_from_slice(&parts.value.to_be_bytes());
        out[16..24].copy_from_slice(&parts.payload_bytes.to_be_bytes());
        out[24..26].copy_from_slice(&parts.extension_bytes.to_be_bytes());
        out[26..28].copy_from_slice(&parts.trailer_bytes.to_be_bytes());
    }

    /// Reads a cursor from its wire layout. What it returns encodes to the same bytes.
    ///
    /// # Errors
    /// The bytes are not the encoding of any cursor.
    pub fn decode(bytes: &[u8]) -> Result<Self, CursorError> {
        let bytes: &[u8; CURSOR_LEN] = bytes.try_into().map_err(|_| CursorError::WrongLength)?;
        let [version, phase, flags, digits, o0, o1, o2, o3, rest @ ..] = *bytes;
        let [v0, v1, v2, v3, v4, v5, v6, v7, p0, p1, p2, p3, p4, p5, p6, p7, e0, e1, t0, t1, reserved @ ..] = rest;
        if version != CURSOR_VERSION {
            return Err(CursorError::UnknownVersion(version));
        }
        if reserved != [0; 4] || flags & !(FLAG_KEEP_ALIVE | FLAG_CONTINUE_DUE) != 0 {
            return Err(CursorError::ReservedNotZero);
        }
        let parts = Parts {
            kind: phase.saturating_sub(PHASE_BODY_FIRST),
            digits,
            value: u64::from_be_bytes([v0, v1, v2, v3, v4, v5, v6, v7]),
            payload_bytes: u64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7]),
            extension_bytes: u16::from_be_bytes([e0, e1]),
            trailer_bytes: u16::from_be_bytes([t0, t1]),
        };
        let phase = match phase {
            PHASE_AT_HEAD => {
                Phase::AtHead { scanned: u32::try_from(parts.value).map_err(|_| CursorError::InvalidState)? }
            }
            PHASE_CLOSED => Phase::Closed,
            PHASE_BODY_FIRST.. => Phase::InBody(BodyDecoder::from_parts(parts).ok_or(CursorError::InvalidState)?),
            _ => return Err(CursorError::InvalidState),
        };
        let cursor = Self {
            ordinal: u32::from_be_bytes([o0, o1, o2, o3]),
            keep_alive: flags & FLAG_KEEP_ALIVE != 0,
            continue_due: flags & FLAG_CONTINUE_DUE != 0,
            phase,
        };
        let mut again = [0; CURSOR_LEN];
        cursor.encode(&mut again);
        if again != *bytes || !cursor.is_consistent() { Err(CursorError::InvalidState) } else { Ok(cursor) }
    }

    /// Whether the flags and counts can occur in this phase.
    fn is_consistent(&self) -> bool {
        match self.phase {
            Phase::AtHead { scanned } => {
                let scanned_ok = usize::try_from(scanned).is_ok_and(|scanned| scanned < HEAD_BYTES_CEILING);
                self.keep_alive && !self.continue_due && scanned_ok
            }
            Phase::InBody(decoder) => !self.continue_due || decoder.is_untouched(),
            Phase::Closed => !self.keep_alive && !self.continue_due,
        }
    }
}

/// One event of the stream. For each request: one `Head`, any number of `Body`, one `End`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Advance<'a> {
    /// Nothing can be read before more bytes come.
    Incomplete,
    /// A whole request head.
    Head(RequestHead<'a>),
    /// A piece of the body.
    Body {
        /// Bytes to drop from the front of the unread bytes, framing and payload.
        consumed: usize,
        /// Which of the unread bytes are payload, perhaps none.
        payload: Range<usize>,
    },
    /// The request has ended. The cursor is at the next head, or closed.
    End,
    /// No request follows.
    Closed,
}

impl Advance<'_> {
    /// How many bytes to drop from the front of the unread bytes.
    #[must_use]
    pub const fn consumed(&self) -> usize {
        match self {
            Self::Head(head) => head.len,
            Self::Body { consumed, .. } => *consumed,
            Self::Incomplete | Self::End | Self::Closed => 0,
        }
    }
}

/// Why a request is refused: the client's fault in each case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum RequestError {
    /// In its head.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// In its body.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl RequestError {
    /// The status of the response that refuses the request.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Head(error) => error.status(),
            Self::Body(error) => error.status(),
        }
    }
}

/// Why bytes are no cursor: the fault of the node that sent them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CursorError {
    /// Not [`CURSOR_LEN`] bytes.
    #[error("an HTTP cursor of the wrong length")]
    WrongLength,
    /// A layout that this version does not read.
    #[error("an HTTP cursor of unknown version {0}")]
    UnknownVersion(u8),
    /// A reserved byte or flag is set.
    #[error("reserved bytes of an HTTP cursor are not zero")]
    ReservedNotZero,
    /// An unknown phase, or values that cannot occur in it.
    #[error("an HTTP cursor in a state that cannot be")]
    InvalidState,
}
