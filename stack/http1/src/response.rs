//! Writes response heads, error responses and chunk framing.
//!
//! The writer owns the fields that say where a response ends (Content-Length, Transfer-Encoding, Connection), so they
//! cannot contradict each other; it refuses values that would break out of their line.

use alloc::vec;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use crate::fields;
use crate::head::Version;

/// The interim response that invites the body (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What follows the payload of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The end of a chunked body without trailer fields.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A field to write: its name and its value.
pub type Field<'a> = (&'a str, &'a [u8]);

/// The head of a final response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: Status,
    /// The version of the request: decides what the client understands. The response itself is always HTTP/1.1
    /// (RFC 9110 section 6.2).
    pub version: Version,
    /// Whether the connection stays open after this response.
    pub keep_alive: bool,
    /// How the response ends.
    pub body: ResponseBody,
    /// The Date field's value, where the sender has a clock (RFC 9110 section 6.6.1).
    pub date: Option<&'a [u8]>,
    /// Further fields, in this order.
    pub headers: &'a [Field<'a>],
}

/// How the end of a response is told. Of a HEAD request: as of the GET (RFC 9110 section 9.3.2); only the head is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseBody {
    /// The status itself says that no body follows: 204 and 304.
    None,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked; HTTP/1.1 only.
    Chunked,
    /// By the end of the connection, which then is not kept alive.
    UntilClose,
}

impl ResponseBody {
    /// For a body whose length is not known beforehand: chunked where the client knows it, else until close.
    #[must_use]
    pub const fn streamed(version: Version) -> Self {
        match version {
            Version::Http11 => Self::Chunked,
            Version::Http10 => Self::UntilClose,
        }
    }
}

impl ResponseHead<'_> {
    /// Appends the head to `out`.
    ///
    /// # Errors
    /// The caller's fault; `out` is then as it was.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), ResponseError> {
        self.write_with(&[], out)
    }

    fn write_with(&self, own: &[Field<'_>], out: &mut Vec<u8>) -> Result<(), ResponseError> {
        self.check()?;
        push_status_line(self.status, out);
        if let Some(date) = self.date {
            push_field("date", date, out);
        }
        for (name, value) in own.iter().chain(self.headers) {
            push_field(name, value, out);
        }
        match self.body {
            ResponseBody::Length(length) => {
                out.extend_from_slice(b"content-length: ");
                push_decimal(length, out);
                out.extend_from_slice(b"\r\n");
            }
            ResponseBody::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            ResponseBody::None | ResponseBody::UntilClose => {}
        }
        // RFC 9112 section 9.3: each version has its own default.
        match (self.version, self.keep_alive) {
            (Version::Http11, true) => {}
            (Version::Http10, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (_, false) => out.extend_from_slice(b"connection: close\r\n"),
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn check(&self) -> Result<(), ResponseError> {
        if self.status.code() < 200 {
            return Err(ResponseError::NotFinal);
        }
        // RFC 9110 section 8.6: no Content-Length in 204; section 15.4.5: 304 has the one of the 200, and no body.
        match (self.body, self.status) {
            (ResponseBody::None, Status::NO_CONTENT | Status::NOT_MODIFIED)
            | (ResponseBody::Length(_), Status::NOT_MODIFIED) => {}
            (ResponseBody::None, _) => return Err(ResponseError::FramingMissing),
            (_, Status::NO_CONTENT | Status::NOT_MODIFIED) => return Err(ResponseError::FramingNotAllowed),
            (ResponseBody::Chunked, _) if self.version == Version::Http10 => {
                return Err(ResponseError::ChunkedToHttp10);
            }
            (ResponseBody::UntilClose, _) if self.keep_alive => return Err(ResponseError::UntilCloseKeptAlive),
            _ => {}
        }
        if !self.date.is_none_or(is_value) {
            return Err(ResponseError::InvalidFieldValue);
        }
        check_fields(self.headers)
    }
}

/// A whole response that says what went wrong, in one line of text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorResponse<'a> {
    /// The status; the text repeats it.
    pub status: Status,
    /// The version of the request; HTTP/1.1 where it could not be read.
    pub version: Version,
    /// Whether the connection stays open. False wherever the request's end is not known.
    pub keep_alive: bool,
    /// Whether the request was HEAD: the text is left out.
    pub head_only: bool,
    /// When to try again, in seconds (RFC 9110 section 10.2.3): with 503 and 429.
    pub retry_after_s: Option<u32>,
    /// The methods that are allowed: 405 must say so (RFC 9110 section 15.5.6).
    pub allow: Option<&'a str>,
    /// The Date field's value.
    pub date: Option<&'a [u8]>,
    /// Further fields.
    pub headers: &'a [Field<'a>],
}

impl ErrorResponse<'_> {
    /// An error response that ends the connection, without further fields.
    #[must_use]
    pub const fn closing(status: Status) -> Self {
        Self {
            status,
            version: Version::Http11,
            keep_alive: false,
            head_only: false,
            retry_after_s: None,
            allow: None,
            date: None,
            headers: &[],
        }
    }

    /// Appends the response to `out`.
    ///
    /// # Errors
    /// The caller's fault; `out` is then as it was.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), ResponseError> {
        if self.status == Status::METHOD_NOT_ALLOWED && self.allow.is_none() {
            return Err(ResponseError::AllowMissing);
        }
        let mut text = Vec::new();
        push_status(self.status, &mut text);
        text.push(b'\n');
        let mut seconds = Vec::new();
        let mut own: Vec<Field<'_>> = vec![("content-type", b"text/plain; charset=utf-8")];
        if let Some(retry_after_s) = self.retry_after_s {
            push_decimal(u64::from(retry_after_s), &mut seconds);
            own.push(("retry-after", &seconds));
        }
        if let Some(allow) = self.allow {
            own.push(("allow", allow.as_bytes()));
        }
        check_fields(&own)?;
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let head = ResponseHead {
            status: self.status,
            version: self.version,
            keep_alive: self.keep_alive,
            body: ResponseBody::Length(length),
            date: self.date,
            headers: self.headers,
        };
        head.write_with(&own, out)?;
        if !self.head_only {
            out.extend_from_slice(&text);
        }
        Ok(())
    }
}

/// The size line before the payload of one chunk (RFC 9112 section 7.1). An empty chunk would end the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkHead {
    /// The line, at the end of the array.
    bytes: [u8; Self::LEN_MAX],
    start: usize,
}

impl ChunkHead {
    /// The longest size line: sixteen digits and CRLF.
    pub const LEN_MAX: usize = 18;

    /// The line for a chunk of `size` bytes.
    #[must_use]
    pub const fn new(size: NonZeroU64) -> Self {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let mut bytes = [0; Self::LEN_MAX];
        bytes[16] = b'\r';
        bytes[17] = b'\n';
        let mut start = 16;
        let mut left = size.get();
        while left > 0 {
            start -= 1;
            bytes[start] = DIGITS[(left & 0xf) as usize];
            left >>= 4;
        }
        Self { bytes, start }
    }

    /// The line's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// Appends the end of a chunked body with these trailer fields.
///
/// # Errors
/// A field is invalid; `out` is then as it was.
pub fn write_last_chunk(trailers: &[Field<'_>], out: &mut Vec<u8>) -> Result<(), ResponseError> {
    check_fields(trailers)?;
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        push_field(name, value, out);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// A response status: 100 to 599 (RFC 9110 section 15).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Status(u16);

macro_rules! statuses {
    ($($code:literal $name:ident $reason:literal,)+) => {
        impl Status {
            $(#[doc = concat!(stringify!($code), " ", $reason)] pub const $name: Self = Self($code);)+

            /// The reason phrase; empty for a status without a name here, as RFC 9112 section 4 allows.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $reason,)+
                    _ => "",
                }
            }
        }
    };
}

statuses! {
    100 CONTINUE "Continue",
    200 OK "OK",
    201 CREATED "Created",
    204 NO_CONTENT "No Content",
    206 PARTIAL_CONTENT "Partial Content",
    301 MOVED_PERMANENTLY "Moved Permanently",
    302 FOUND "Found",
    304 NOT_MODIFIED "Not Modified",
    307 TEMPORARY_REDIRECT "Temporary Redirect",
    308 PERMANENT_REDIRECT "Permanent Redirect",
    400 BAD_REQUEST "Bad Request",
    401 UNAUTHORIZED "Unauthorized",
    403 FORBIDDEN "Forbidden",
    404 NOT_FOUND "Not Found",
    405 METHOD_NOT_ALLOWED "Method Not Allowed",
    406 NOT_ACCEPTABLE "Not Acceptable",
    408 REQUEST_TIMEOUT "Request Timeout",
    409 CONFLICT "Conflict",
    410 GONE "Gone",
    411 LENGTH_REQUIRED "Length Required",
    412 PRECONDITION_FAILED "Precondition Failed",
    413 CONTENT_TOO_LARGE "Content Too Large",
    414 URI_TOO_LONG "URI Too Long",
    415 UNSUPPORTED_MEDIA_TYPE "Unsupported Media Type",
    416 RANGE_NOT_SATISFIABLE "Range Not Satisfiable",
    417 EXPECTATION_FAILED "Expectation Failed",
    421 MISDIRECTED_REQUEST "Misdirected Request",
    429 TOO_MANY_REQUESTS "Too Many Requests",
    431 REQUEST_HEADER_FIELDS_TOO_LARGE "Request Header Fields Too Large",
    500 INTERNAL_SERVER_ERROR "Internal Server Error",
    501 NOT_IMPLEMENTED "Not Implemented",
    502 BAD_GATEWAY "Bad Gateway",
    503 SERVICE_UNAVAILABLE "Service Unavailable",
    504 GATEWAY_TIMEOUT "Gateway Timeout",
    505 HTTP_VERSION_NOT_SUPPORTED "HTTP Version Not Supported",
}

impl Status {
    /// The status of this code, if it is in 100 to 599.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 100 && code <= 599 { Some(Self(code)) } else { None }
    }

    /// The three-digit code.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }
}

/// Why a response is not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResponseError {
    /// A field name that is no token.
    #[error("a response field name is not a token")]
    InvalidFieldName,
    /// CR, LF, NUL or another control byte in a value.
    #[error("a response field value has a control byte")]
    InvalidFieldValue,
    /// Connection, Content-Length, Date or Transfer-Encoding among the further fields: the writer sets them.
    #[error("a response field that is not the caller's to set")]
    ReservedField,
    /// A status below 200; [`CONTINUE`] is the only interim response.
    #[error("an interim status in a final response")]
    NotFinal,
    /// A body with a status that has none.
    #[error("a status without a body is given one")]
    FramingNotAllowed,
    /// No framing with a status that has a body.
    #[error("a status with a body is given no framing")]
    FramingMissing,
    /// Chunked to a client of HTTP/1.0 (RFC 9112 section 6.1).
    #[error("chunked to an HTTP/1.0 client")]
    ChunkedToHttp10,
    /// A body that ends with a connection that is kept alive.
    #[error("a body until close on a connection that stays open")]
    UntilCloseKeptAlive,
    /// 405 without the allowed methods.
    #[error("405 without Allow")]
    AllowMissing,
}

fn check_fields(headers: &[Field<'_>]) -> Result<(), ResponseError> {
    const RESERVED: [&str; 4] = ["connection", "content-length", "date", "transfer-encoding"];
    for (name, value) in headers {
        if !fields::is_token(name.as_bytes()) {
            return Err(ResponseError::InvalidFieldName);
        }
        if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err(ResponseError::ReservedField);
        }
        if !is_value(value) {
            return Err(ResponseError::InvalidFieldValue);
        }
    }
    Ok(())
}

fn is_value(value: &[u8]) -> bool {
    value.iter().all(|&byte| fields::is_value_byte(byte))
}

fn push_status_line(status: Status, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_status(status, out);
    out.extend_from_slice(b"\r\n");
}

/// Code, space and reason; the space stays where there is no reason (RFC 9112 section 4).
fn push_status(status: Status, out: &mut Vec<u8>) {
    push_decimal(u64::from(status.code()), out);
    out.push(b' ');
    out.extend_from_slice(status.reason().as_bytes());
}

fn push_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn push_decimal(number: u64, out: &mut Vec<u8>) {
    const DIGITS: [u8; 10] = *b"0123456789";
    // The largest u64 has twenty digits.
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut left = number;
    loop {
        start -= 1;
        digits[start] = DIGITS[usize::try_from(left % 10).unwrap_or(0)];
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}
