//! Request boundaries in a pipelined HTTP/1.1 byte stream, and the response heads that answer them.
//!
//! The owner of a connection receives one stream of bytes and has to know where each request begins and ends. This
//! crate says so, strictly: whatever two readers could understand differently is refused with a status and a named
//! reason ([`HeadError`], [`BodyError`]), because a request boundary that is read in two ways is request smuggling
//! (RFC 9112 sections 11.1 and 11.2).
//!
//! ```text
//!   unread bytes   GET /a HTTP/1.1 ... | POST /b HTTP/1.1 ... | 5\r\nhello\r\n0\r\n\r\n | GET /c HT
//!   Cursor         Head          End    Head                    Body       Body    End   Incomplete
//! ```
//!
//! - [`head`](mod@head): one strict request head, parsed in place, nothing copied.
//! - [`body`](mod@body): message framing; the payload is given as ranges of the caller's bytes.
//! - [`cursor`](mod@cursor): where the parser stands in the stream. A [`Cursor`] is plain data of a fixed wire layout:
//!   it travels in the image of a frozen connection, beside the unread bytes, and the next owner goes on at that byte.
//! - [`response`](mod@response): writes response heads, error responses and chunk framing.
//!
//! To read ahead, copy the cursor: while a response is being sent, `let mut ahead = cursor;` and
//! `ahead.advance(unread, &limits)` give the next head. If the connection stays, `cursor = ahead` and the bytes are
//! consumed; if it moves, the untouched `cursor` and the unread bytes go into the image.
//!
//! What this crate does not do: it keeps no buffers, decodes no percent-encoding, dates, ranges or entity tags, decides
//! no route, and speaks neither HTTP/2 nor upgrades; CONNECT is refused. Trailer fields are checked and dropped.
//!
//! What it may not import: the TCP stack or anything above it, a clock, sockets, logging, `std`. No `unsafe`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod body;
#[cfg(any(test, feature = "corpus"))]
pub mod corpus;
pub mod cursor;
mod fields;
pub mod head;
pub mod response;
mod scan;
#[cfg(test)]
mod tests;

pub use body::{BodyDecoder, BodyError, BodyStep};
pub use cursor::{Advance, CURSOR_LEN, Cursor, CursorError, Phase, RequestError};
pub use head::{BodyFraming, HeadError, Limits, Method, Parsed, RequestHead, Version, parse_head};
pub use response::{ErrorResponse, ResponseBody, ResponseError, ResponseHead, Status};
pub use scan::head_end;
