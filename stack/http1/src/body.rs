//! Message bodies: by length, and the chunked transfer coding (RFC 9112 section 7.1).
//!
//! ```text
//!   Length --left = 0--> Done
//!
//!   Size --;--> Extension --CR--> SizeLf --LF, size > 0--> Data --left = 0--> DataCr -> DataLf --+
//!    ^  \----------CR---------------^  \                                                         |
//!    |                                  \--LF, size = 0--> TrailerStart --CR--> EndLf --LF--> Done
//!    +-----------------------------------------------------------------------------------------+
//!   TrailerStart -> TrailerName -> TrailerValue -> TrailerLf -> TrailerStart
//! ```
//! The decoder holds integers only, and one byte moves it by one step: it can be frozen behind any byte.

use core::ops::Range;

use crate::fields::{is_token_byte, is_value_byte};
use crate::head::BodyFraming;
use crate::response::Status;

/// Hex digits of one chunk size, leading zeros included: what fits in 64 bits.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;

/// Bytes of chunk extensions, their semicolons included, in all chunks of one body together.
pub const CHUNK_EXTENSION_BYTES_MAX: u16 = 16_384;

/// Bytes of a trailer section, from behind the last chunk's size line to the end of the body.
pub const TRAILER_BYTES_MAX: u16 = 8_192;

/// Where a body is, and which bytes of it are payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyDecoder {
    state: State,
    /// Payload bytes given out so far.
    payload_bytes: u64,
    /// Bytes of chunk extensions so far.
    extension_bytes: u16,
    /// Bytes of the trailer section so far.
    trailer_bytes: u16,
}

impl BodyDecoder {
    /// A decoder at the first byte behind the head.
    #[must_use]
    pub const fn new(framing: BodyFraming) -> Self {
        let state = match framing {
            BodyFraming::None | BodyFraming::Length(0) => State::Done,
            BodyFraming::Length(left) => State::Length { left },
            BodyFraming::Chunked => State::Size { value: 0, digits: 0 },
        };
        Self { state, payload_bytes: 0, extension_bytes: 0, trailer_bytes: 0 }
    }

    /// Whether the body has ended.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How many payload bytes were given out so far.
    #[must_use]
    pub const fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Whether not a byte of the body has been read, and one is to come.
    #[must_use]
    pub const fn is_untouched(&self) -> bool {
        self.payload_bytes == 0
            && self.extension_bytes == 0
            && matches!(self.state, State::Length { .. } | State::Size { value: 0, digits: 0 })
    }

    /// Reads on in `input`, up to the end of the first piece of payload, of the body or of the input. Call again with
    /// what was not consumed while it consumes anything.
    ///
    /// # Errors
    /// The framing is broken: the stream cannot be read further, and neither can this decoder.
    pub fn decode(&mut self, input: &[u8]) -> Result<BodyStep, BodyError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Length { left } | State::Data { left } => return Ok(self.take_payload(input, at, left)),
                State::Done => return Ok(BodyStep { consumed: at, payload: at..at, done: true }),
                _ => {}
            }
            let Some(&byte) = input.get(at) else {
                return Ok(BodyStep { consumed: at, payload: at..at, done: false });
            };
            self.state = self.next(byte)?;
            at += 1;
        }
    }

    fn take_payload(&mut self, input: &[u8], at: usize, left: u64) -> BodyStep {
        let available = input.len() - at;
        let taken = usize::try_from(left).map_or(available, |left| left.min(available));
        let taken_bytes = u64::try_from(taken).unwrap_or(left);
        let left = left - taken_bytes;
        self.payload_bytes += taken_bytes;
        self.state = match self.state {
            State::Length { .. } if left == 0 => State::Done,
            State::Length { .. } => State::Length { left },
            _ if left == 0 => State::DataCr,
            _ => State::Data { left },
        };
        BodyStep { consumed: at + taken, payload: at..at + taken, done: self.is_done() }
    }

    /// The state behind one byte of framing.
    fn next(&mut self, byte: u8) -> Result<State, BodyError> {
        match (self.state, byte) {
            (State::Size { value, digits }, _) => self.next_in_size(value, digits, byte),
            (State::Extension { size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Extension { size }, _) if is_value_byte(byte) => self.count_extension(size),
            (State::Extension { .. }, _) => Err(BodyError::InvalidExtension),
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::TrailerStart),
            (State::SizeLf { size }, b'\n') => Ok(State::Data { left: size }),
            (State::SizeLf { .. }, _) => Err(BodyError::BareCr),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { value: 0, digits: 0 }),
            (State::DataCr | State::DataLf, _) => Err(BodyError::MissingChunkEnd),
            (state, _) => {
                if self.trailer_bytes >= TRAILER_BYTES_MAX {
                    return Err(BodyError::TrailerTooLarge);
                }
                self.trailer_bytes += 1;
                next_in_trailer(state, byte)
            }
        }
    }

    fn next_in_size(&mut self, value: u64, digits: u8, byte: u8) -> Result<State, BodyError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == CHUNK_SIZE_DIGITS_MAX {
                return Err(BodyError::ChunkSizeOverflow);
            }
            return Ok(State::Size { value: (value << 4) | u64::from(digit), digits: digits + 1 });
        }
        // RFC 9112 section 7.1.1 lets whitespace stand before the semicolon; it is refused, as readers disagree on it.
        if digits == 0 || !matches!(byte, b'\r' | b';') {
            return Err(BodyError::InvalidChunkSize);
        }
        if self.payload_bytes.checked_add(value).is_none() {
            return Err(BodyError::ChunkSizeOverflow);
        }
        if byte == b';' { self.count_extension(value) } else { Ok(State::SizeLf { size: value }) }
    }

    fn count_extension(&mut self, size: u64) -> Result<State, BodyError> {
        if self.extension_bytes >= CHUNK_EXTENSION_BYTES_MAX {
            return Err(BodyError::ExtensionTooLarge);
        }
        self.extension_bytes += 1;
        Ok(State::Extension { size })
    }

    /// The decoder as integers, for the cursor's wire layout.
    pub(crate) const fn to_parts(self) -> Parts {
        let (kind, value, digits) = match self.state {
            State::Length { left } => (0, left, 0),
            State::Size { value, digits } => (1, value, digits),
            State::Extension { size } => (2, size, 0),
            State::SizeLf { size } => (3, size, 0),
            State::Data { left } => (4, left, 0),
            State::DataCr => (5, 0, 0),
            State::DataLf => (6, 0, 0),
            State::TrailerStart => (7, 0, 0),
            State::TrailerName => (8, 0, 0),
            State::TrailerValue => (9, 0, 0),
            State::TrailerLf => (10, 0, 0),
            State::EndLf => (11, 0, 0),
            State::Done => (12, 0, 0),
        };
        let Self { state: _, payload_bytes, extension_bytes, trailer_bytes } = self;
        Parts { kind, digits, value, payload_bytes, extension_bytes, trailer_bytes }
    }

    /// The decoder that these integers are, if any is. What its state has no place for is not looked at here: the cursor
    /// compares its whole encoding.
    pub(crate) fn from_parts(parts: Parts) -> Option<Self> {
        let Parts { kind, digits, value, payload_bytes, extension_bytes, trailer_bytes } = parts;
        let state = match kind {
            0 => State::Length { left: value },
            1 => State::Size { value, digits },
            2 => State::Extension { size: value },
            3 => State::SizeLf { size: value },
            4 => State::Data { left: value },
            5 => State::DataCr,
            6 => State::DataLf,
            7 => State::TrailerStart,
            8 => State::TrailerName,
            9 => State::TrailerValue,
            10 => State::TrailerLf,
            11 => State::EndLf,
            12 => State::Done,
            _ => return None,
        };
        let decoder = Self { state, payload_bytes, extension_bytes, trailer_bytes };
        decoder.is_consistent().then_some(decoder)
    }

    /// Whether these counts can occur in this state.
    fn is_consistent(&self) -> bool {
        let Self { state, payload_bytes, extension_bytes, trailer_bytes } = *self;
        let fits = |more: u64| payload_bytes.checked_add(more).is_some();
        let in_chunks = trailer_bytes == 0;
        let counts = extension_bytes <= CHUNK_EXTENSION_BYTES_MAX && trailer_bytes <= TRAILER_BYTES_MAX;
        counts
            && match state {
                State::Length { left } => in_chunks && left > 0 && fits(left) && extension_bytes == 0,
                State::Size { value, digits } => {
                    let first = payload_bytes == 0;
                    let wide = digits == CHUNK_SIZE_DIGITS_MAX;
                    let value_ok = wide || (digits < CHUNK_SIZE_DIGITS_MAX && value >> (4 * u32::from(digits)) == 0);
                    in_chunks && value_ok && !(first && extension_bytes > 0)
                }
                State::Extension { size } => in_chunks && fits(size) && extension_bytes > 0,
                State::SizeLf { size } => in_chunks && fits(size),
                State::Data { left } => in_chunks && left > 0 && fits(left),
                State::DataCr | State::DataLf => in_chunks && payload_bytes > 0,
                // The shortest trailer field is `a:` CR LF.
                State::TrailerStart => in_chunks || trailer_bytes >= 4,
                State::TrailerName => trailer_bytes >= 1,
                State::TrailerValue => trailer_bytes >= 2,
                State::TrailerLf => trailer_bytes >= 3,
                State::EndLf => trailer_bytes == 1 || trailer_bytes >= 5,
                // By length, or behind the CR LF that ends a trailer section.
                State::Done => (in_chunks && extension_bytes == 0) || trailer_bytes == 2 || trailer_bytes >= 6,
            }
    }
}

/// The state behind one byte of the trailer section (RFC 9112 section 7.1.2). Field names are tokens, so a folded line
/// is refused like any other line that does not begin with one.
const fn next_in_trailer(state: State, byte: u8) -> Result<State, BodyError> {
    match (state, byte) {
        (State::TrailerStart, b'\r') => Ok(State::EndLf),
        (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => Ok(State::TrailerName),
        (State::TrailerName, b':') => Ok(State::TrailerValue),
        (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
        (State::TrailerValue, _) if is_value_byte(byte) => Ok(State::TrailerValue),
        (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
        (State::EndLf, b'\n') => Ok(State::Done),
        (State::TrailerLf | State::EndLf, _) => Err(BodyError::BareCr),
        _ => Err(BodyError::InvalidTrailer),
    }
}

/// What the next byte of a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Payload of a body of known length; `left` > 0.
    Length { left: u64 },
    /// In the digits of a chunk size.
    Size { value: u64, digits: u8 },
    /// In the extensions behind a chunk size.
    Extension { size: u64 },
    /// The LF of a chunk's size line.
    SizeLf { size: u64 },
    /// Payload of a chunk; `left` > 0.
    Data { left: u64 },
    /// The CR behind a chunk's payload.
    DataCr,
    /// The LF behind a chunk's payload.
    DataLf,
    /// The first byte of a trailer field, or the CR of the empty line.
    TrailerStart,
    /// In the name of a trailer field.
    TrailerName,
    /// In the value of a trailer field.
    TrailerValue,
    /// The LF of a trailer field.
    TrailerLf,
    /// The LF of the empty line that ends the body.
    EndLf,
    /// None: the body has ended.
    Done,
}

/// A [`BodyDecoder`] as integers. `value` and `digits` belong to the state, `kind` numbers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parts {
    pub(crate) kind: u8,
    pub(crate) digits: u8,
    pub(crate) value: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) extension_bytes: u16,
    pub(crate) trailer_bytes: u16,
}

/// What one call of [`BodyDecoder::decode`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct BodyStep {
    /// How many bytes of the input were read, framing and payload.
    pub consumed: usize,
    /// Which of these bytes are payload: a range of the input, perhaps empty.
    pub payload: Range<usize>,
    /// Whether the body has ended.
    pub done: bool,
}

/// Why a body is refused. After any of these the stream cannot be read further.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum BodyError {
    /// A chunk size without digits, or with anything but an extension or CR behind them.
    #[error("a chunk size is malformed")]
    InvalidChunkSize,
    /// More than [`CHUNK_SIZE_DIGITS_MAX`] digits, or a body of more than 64 bits.
    #[error("a chunk size is too large")]
    ChunkSizeOverflow,
    /// A control byte or a bare LF in a chunk extension.
    #[error("a chunk extension is malformed")]
    InvalidExtension,
    /// More than [`CHUNK_EXTENSION_BYTES_MAX`] bytes of extensions.
    #[error("the chunk extensions are too large")]
    ExtensionTooLarge,
    /// A chunk's payload is not followed by CRLF.
    #[error("a chunk does not end with CRLF")]
    MissingChunkEnd,
    /// CR without LF in a size line or trailer.
    #[error("a CR without LF in the framing of a body")]
    BareCr,
    /// A trailer line that is no field line, is folded, or has a control byte.
    #[error("a trailer field is malformed")]
    InvalidTrailer,
    /// More than [`TRAILER_BYTES_MAX`] bytes of trailers.
    #[error("the trailer section is too large")]
    TrailerTooLarge,
}

impl BodyError {
    /// The status of the response that refuses the request, where none has been sent yet.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::TrailerTooLarge => Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::ExtensionTooLarge => Status::CONTENT_TOO_LARGE,
            Self::InvalidChunkSize
            | Self::ChunkSizeOverflow
            | Self::InvalidExtension
            | Self::MissingChunkEnd
            | Self::BareCr
            | Self::InvalidTrailer => Status::BAD_REQUEST,
        }
    }
}
