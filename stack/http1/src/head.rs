//! One request head: request line and header fields, read strictly (RFC 9112 sections 2 to 6).
//!
//! Nothing is copied: a [`RequestHead`] points into the caller's bytes. Where the RFC lets a server be lenient and two
//! readers could then disagree on a boundary, a host or a target, this one refuses.

use core::net::Ipv6Addr;
use core::str;

use crate::fields::{self, Lines};
use crate::response::Status;
use crate::scan::{head_end, request_line_start};

/// No setting lets a head grow above this many bytes: the unread bytes of an image must hold it.
pub const HEAD_BYTES_CEILING: usize = 65_536;

/// Empty lines tolerated before a request line (RFC 9112 section 2.2 asks for at least one).
pub const LEADING_EMPTY_LINES_MAX: usize = 4;

/// Reads the request head at the start of `bytes`.
///
/// # Errors
/// The first reason to refuse the stream. It cannot be read any further: answer with [`HeadError::status`] and close.
pub fn parse_head<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Parsed<'a>, HeadError> {
    parse_head_from(bytes, 0, limits)
}

/// As [`parse_head`], for bytes of which the first `scanned` were already found to be an incomplete head.
pub(crate) fn parse_head_from<'a>(bytes: &'a [u8], scanned: usize, limits: &Limits) -> Result<Parsed<'a>, HeadError> {
    let Some(len) = head_end(bytes, scanned, limits)? else {
        return Ok(Parsed::Partial);
    };
    let start = request_line_start(bytes)?;
    // Without the CRLF that is the empty line: what remains are whole lines.
    let (line, lines) = fields::split_line(&bytes[start..len - 2]);
    let request = RequestLine::parse(line)?;
    let seen = SeenFields::read(lines, limits.headers_max)?;
    let framing = seen.framing(request.version)?;
    let host = match (request.authority, seen.host) {
        (_, None) if request.version == Version::Http11 => return Err(HeadError::MissingHost),
        // RFC 9112 section 3.2.2: the authority of an absolute-form target replaces the Host field.
        (Some(authority), _) => Some(authority),
        (None, host) => host,
    };
    let has_body = !matches!(framing, BodyFraming::None | BodyFraming::Length(0));
    Ok(Parsed::Complete(RequestHead {
        method: request.method,
        target: request.target,
        path: request.path,
        query: request.query,
        version: request.version,
        host,
        keep_alive: !seen.close && (request.version == Version::Http11 || seen.keep_alive),
        // RFC 9110 section 10.1.1: ignored in a request of HTTP/1.0, and pointless without a body.
        expects_continue: seen.expects_continue && has_body && request.version == Version::Http11,
        framing,
        len,
        lines,
    }))
}

/// What [`parse_head`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Parsed<'a> {
    /// A whole head.
    Complete(RequestHead<'a>),
    /// More bytes are needed; so far nothing is wrong.
    Partial,
}

/// A request head that any two strict readers understand alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: Method<'a>,
    /// The request target as it was sent.
    pub target: &'a str,
    /// The target's path, not decoded; `/` where an absolute-form target has none, `*` in asterisk-form.
    pub path: &'a str,
    /// What follows the first `?` of the target, not decoded.
    pub query: Option<&'a str>,
    /// The protocol version.
    pub version: Version,
    /// The authority of the request: of an absolute-form target, else of the Host field. Absent only in HTTP/1.0.
    pub host: Option<&'a str>,
    /// Whether the client wants the connection to stay open after this request (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// Whether the client waits for [`CONTINUE`](crate::response::CONTINUE) before it sends the body.
    pub expects_continue: bool,
    /// How the body that follows is framed.
    pub framing: BodyFraming,
    /// The length of the head in bytes, with empty lines before it and the empty line that ends it.
    pub len: usize,
    /// The header lines, each with its CRLF.
    lines: &'a [u8],
}

impl<'a> RequestHead<'a> {
    /// The value of the first field of this name (any case), without whitespace around it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All fields in the order they were sent.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        // Each line was checked when the head was read, so none is left out here.
        Lines::new(self.lines).filter_map(|line| split_field(line).ok())
    }

    /// Path and query as they stand in the target, with the `?` between them. `None` where they do not stand together: an absolute-form target
    /// may have a query and no path.
    #[must_use]
    pub fn path_and_query(&self) -> Option<&'a str> {
        let Some(query) = self.query else { return Some(self.path) };
        let at = self.target.len().checked_sub(self.path.len() + 1 + query.len())?;
        self.target.get(at..).filter(|both| both.starts_with(self.path))
    }

    /// [`RequestHead::host`] without the port: what routes compare, without regard to case.
    #[must_use]
    pub fn host_name(&self) -> Option<&'a str> {
        self.host.map(|host| split_port(host).0)
    }
}

/// A request method (RFC 9110 section 9); methods are case-sensitive. CONNECT is refused before it gets here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method<'a> {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// Any other token.
    Other(&'a str),
}

impl<'a> Method<'a> {
    fn parse(token: &'a [u8]) -> Result<Self, HeadError> {
        if !fields::is_token(token) {
            return Err(HeadError::InvalidMethod);
        }
        match str::from_utf8(token).map_err(|_| HeadError::InvalidMethod)? {
            "CONNECT" => Err(HeadError::ConnectNotServed),
            "GET" => Ok(Self::Get),
            "HEAD" => Ok(Self::Head),
            "POST" => Ok(Self::Post),
            "PUT" => Ok(Self::Put),
            "DELETE" => Ok(Self::Delete),
            "OPTIONS" => Ok(Self::Options),
            other => Ok(Self::Other(other)),
        }
    }

    /// The method's token.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Other(token) => token,
        }
    }
}

/// The protocol version of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        match bytes {
            b"HTTP/1.1" => Ok(Self::Http11),
            b"HTTP/1.0" => Ok(Self::Http10),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(HeadError::VersionNotServed),
            _ => Err(HeadError::InvalidVersion),
        }
    }
}

/// How a request's body is framed (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyFraming {
    /// No body.
    None,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// How large a head may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a whole head; above it 431. Never above [`HEAD_BYTES_CEILING`], whatever stands here.
    pub head_bytes_max: usize,
    /// Bytes of a request line without its CRLF; above it 414.
    pub request_line_bytes_max: usize,
    /// Header fields; above it 431.
    pub headers_max: usize,
}

impl Limits {
    pub(crate) fn head_bytes_cap(&self) -> usize {
        self.head_bytes_max.min(HEAD_BYTES_CEILING)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes_max: 16_384, request_line_bytes_max: 8_192, headers_max: 100 }
    }
}

/// Why a head is refused. After any of these the stream cannot be read further.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum HeadError {
    /// CR without LF (RFC 9112 section 2.2).
    #[error("a CR without LF")]
    BareCr,
    /// LF without CR. RFC 9112 section 2.2 lets a recipient accept it; readers disagree on it, so this one does not.
    #[error("a line ends with LF alone")]
    BareLf,
    /// NUL or another control byte than HTAB (RFC 9110 section 5.5).
    #[error("a control byte in the head")]
    ControlByte,
    /// More than [`LEADING_EMPTY_LINES_MAX`] empty lines before the request line.
    #[error("too many empty lines before the request line")]
    TooManyEmptyLines,
    /// The request line is longer than [`Limits::request_line_bytes_max`].
    #[error("the request line is too long")]
    RequestLineTooLong,
    /// The head is longer than [`Limits::head_bytes_max`].
    #[error("the request head is too large")]
    HeadTooLarge,
    /// More fields than [`Limits::headers_max`].
    #[error("too many header fields")]
    TooManyHeaders,
    /// Not three parts with one space between them (RFC 9112 section 3).
    #[error("the request line is not method, target and version")]
    InvalidRequestLine,
    /// The method is no token.
    #[error("the method is not a token")]
    InvalidMethod,
    /// CONNECT asks for a tunnel, which is not served.
    #[error("CONNECT is not served")]
    ConnectNotServed,
    /// A byte that no target has, or a form other than origin, absolute (http) and, with OPTIONS, asterisk.
    #[error("the request target is invalid")]
    InvalidTarget,
    /// Not `HTTP/` digit `.` digit.
    #[error("the protocol version is malformed")]
    InvalidVersion,
    /// A version other than 1.0 and 1.1.
    #[error("the protocol version is not served")]
    VersionNotServed,
    /// A line that begins with whitespace (RFC 9112 sections 2.2 and 5.2).
    #[error("a folded header line")]
    ObsFold,
    /// Whitespace between field name and colon (RFC 9112 section 5.1).
    #[error("whitespace before the colon of a header field")]
    SpaceBeforeColon,
    /// A header line without a colon.
    #[error("a header line without a colon")]
    MissingColon,
    /// A field name that is no token.
    #[error("a header field name is not a token")]
    InvalidHeaderName,
    /// HTTP/1.1 without a Host field (RFC 9112 section 3.2).
    #[error("no Host field")]
    MissingHost,
    /// More than one Host field, even of one value.
    #[error("more than one Host field")]
    RepeatedHost,
    /// A host or port that cannot be one: in the Host field or in an absolute-form target.
    #[error("the host is invalid")]
    InvalidHost,
    /// Content-Length is not digits alone.
    #[error("Content-Length is not a number")]
    InvalidContentLength,
    /// Content-Length is a list, even of equal values (RFC 9112 section 6.3 lets a recipient refuse it).
    #[error("Content-Length is a list")]
    ListedContentLength,
    /// More than one Content-Length field, even of one value.
    #[error("more than one Content-Length field")]
    RepeatedContentLength,
    /// Content-Length does not fit in 64 bits.
    #[error("Content-Length is too large")]
    ContentLengthOverflow,
    /// Both framings at once (RFC 9112 section 6.1).
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndTransferEncoding,
    /// Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1: faulty framing).
    #[error("Transfer-Encoding in an HTTP/1.0 request")]
    TransferEncodingInHttp10,
    /// More than one Transfer-Encoding field.
    #[error("more than one Transfer-Encoding field")]
    RepeatedTransferEncoding,
    /// A transfer coding other than exactly `chunked`.
    #[error("a transfer coding that is not served")]
    TransferCodingNotServed,
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    #[error("an expectation that cannot be met")]
    ExpectationNotMet,
}

impl HeadError {
    /// The status of the response that refuses the request.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::RequestLineTooLong => Status::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyHeaders => Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::ConnectNotServed | Self::TransferCodingNotServed => Status::NOT_IMPLEMENTED,
            Self::VersionNotServed => Status::HTTP_VERSION_NOT_SUPPORTED,
            Self::ExpectationNotMet => Status::EXPECTATION_FAILED,
            Self::BareCr
            | Self::BareLf
            | Self::ControlByte
            | Self::TooManyEmptyLines
            | Self::InvalidRequestLine
            | Self::InvalidMethod
            | Self::InvalidTarget
            | Self::InvalidVersion
            | Self::ObsFold
            | Self::SpaceBeforeColon
            | Self::MissingColon
            | Self::InvalidHeaderName
            | Self::MissingHost
            | Self::RepeatedHost
            | Self::InvalidHost
            | Self::InvalidContentLength
            | Self::ListedContentLength
            | Self::RepeatedContentLength
            | Self::ContentLengthOverflow
            | Self::LengthAndTransferEncoding
            | Self::TransferEncodingInHttp10
            | Self::RepeatedTransferEncoding => Status::BAD_REQUEST,
        }
    }
}

/// `method SP request-target SP HTTP-version` (RFC 9112 section 3).
struct RequestLine<'a> {
    method: Method<'a>,
    target: &'a str,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    version: Version,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, HeadError> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HeadError::InvalidRequestLine);
        };
        if !target.iter().all(|&byte| is_target_byte(byte)) {
            return Err(HeadError::InvalidTarget);
        }
        let target = str::from_utf8(target).map_err(|_| HeadError::InvalidTarget)?;
        // The version first: what another version's method and target mean is not for this parser to say.
        let version = Version::parse(version)?;
        let method = Method::parse(method)?;
        let (authority, path, query) = split_target(target, method)?;
        Ok(Self { method, target, authority, path, query, version })
    }
}

/// What may stand in a target: visible ASCII without `"`, `#`, `<` and `>`, which every URL writer encodes. That is
/// wider than RFC 3986 by the likes of `|` and `[`, which browsers send as they are in a query.
const fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>')
}

/// Authority, path and query of a target (RFC 9112 section 3.2).
fn split_target<'a>(
    target: &'a str,
    method: Method<'_>,
) -> Result<(Option<&'a str>, &'a str, Option<&'a str>), HeadError> {
    const HTTP: &str = "http://";
    if target.starts_with('/') {
        let (path, query) = split_query(target);
        return Ok((None, path, query));
    }
    if target == "*" && method == Method::Options {
        return Ok((None, target, None));
    }
    let (Some(scheme), Some(rest)) = (target.get(..HTTP.len()), target.get(HTTP.len()..)) else {
        return Err(HeadError::InvalidTarget);
    };
    if !scheme.eq_ignore_ascii_case(HTTP) {
        return Err(HeadError::InvalidTarget);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    check_host(authority)?;
    let (path, query) = split_query(rest);
    let path = match path {
        // RFC 9110 section 7.1: OPTIONS of a whole server, as a proxy would be asked.
        "" if method == Method::Options && query.is_none() => "*",
        "" => "/",
        path => path,
    };
    Ok((Some(authority), path, query))
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

/// Host and port; the brackets of an IPv6 address stay with the host.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// `uri-host [":" port]` (RFC 9110 section 7.2), narrowed to what hosts are called: letters, digits, `-._~`, or an IPv6
/// address in brackets. Percent-encoding, userinfo, commas and the like are refused.
fn check_host(authority: &str) -> Result<(), HeadError> {
    let (host, port) = split_port(authority);
    let host_ok = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
        }
    };
    // An empty port is the default one (RFC 3986 section 3.2.3). `u16` alone would take a sign.
    let port_ok = port.is_none_or(|port| {
        port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
    });
    if host_ok && port_ok { Ok(()) } else { Err(HeadError::InvalidHost) }
}

/// Name and value of one header line (RFC 9112 section 5).
fn split_field(line: &[u8]) -> Result<(&str, &[u8]), HeadError> {
    if line.first().is_some_and(|&byte| fields::is_whitespace(byte)) {
        return Err(HeadError::ObsFold);
    }
    let colon = line.iter().position(|&byte| byte == b':').ok_or(HeadError::MissingColon)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.last().is_some_and(|&byte| fields::is_whitespace(byte)) {
        return Err(HeadError::SpaceBeforeColon);
    }
    if !fields::is_token(name) {
        return Err(HeadError::InvalidHeaderName);
    }
    let name = str::from_utf8(name).map_err(|_| HeadError::InvalidHeaderName)?;
    Ok((name, fields::trim(value)))
}

/// What the fields say about framing, host and connection.
#[derive(Default)]
struct SeenFields<'a> {
    host: Option<&'a str>,
    content_length: Option<u64>,
    /// Present, and whether it is exactly `chunked`.
    transfer_encoding: Option<bool>,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl<'a> SeenFields<'a> {
    fn read(lines: &'a [u8], headers_max: usize) -> Result<Self, HeadError> {
        let mut seen = Self::default();
        for (index, line) in Lines::new(lines).enumerate() {
            if index >= headers_max {
                return Err(HeadError::TooManyHeaders);
            }
            let (name, value) = split_field(line)?;
            seen.note(name, value)?;
        }
        Ok(seen)
    }

    fn note(&mut self, name: &str, value: &'a [u8]) -> Result<(), HeadError> {
        if name.eq_ignore_ascii_case("host") {
            let value = str::from_utf8(value).map_err(|_| HeadError::InvalidHost)?;
            if self.host.replace(value).is_some() {
                return Err(HeadError::RepeatedHost);
            }
            check_host(value)
        } else if name.eq_ignore_ascii_case("content-length") {
            match self.content_length.replace(content_length(value)?) {
                Some(_) => Err(HeadError::RepeatedContentLength),
                None => Ok(()),
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            match self.transfer_encoding.replace(value.eq_ignore_ascii_case(b"chunked")) {
                Some(_) => Err(HeadError::RepeatedTransferEncoding),
                None => Ok(()),
            }
        } else if name.eq_ignore_ascii_case("connection") {
            for option in fields::members(value) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
            Ok(())
        } else if name.eq_ignore_ascii_case("expect") {
            self.expects_continue = true;
            if value.eq_ignore_ascii_case(b"100-continue") { Ok(()) } else { Err(HeadError::ExpectationNotMet) }
        } else {
            Ok(())
        }
    }

    /// RFC 9112 section 6.3, without the repairs that it allows.
    fn framing(&self, version: Version) -> Result<BodyFraming, HeadError> {
        match (self.transfer_encoding, self.content_length) {
            (None, None) => Ok(BodyFraming::None),
            (None, Some(length)) => Ok(BodyFraming::Length(length)),
            (Some(_), _) if version == Version::Http10 => Err(HeadError::TransferEncodingInHttp10),
            (Some(_), Some(_)) => Err(HeadError::LengthAndTransferEncoding),
            (Some(true), None) => Ok(BodyFraming::Chunked),
            (Some(false), None) => Err(HeadError::TransferCodingNotServed),
        }
    }
}

/// `1*DIGIT` (RFC 9110 section 8.6).
fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    if value.contains(&b',') {
        return Err(HeadError::ListedContentLength);
    }
    if value.is_empty() {
        return Err(HeadError::InvalidContentLength);
    }
    value.iter().try_fold(0_u64, |length, &byte| {
        if !byte.is_ascii_digit() {
            return Err(HeadError::InvalidContentLength);
        }
        let digit = u64::from(byte - b'0');
        length.checked_mul(10).and_then(|tens| tens.checked_add(digit)).ok_or(HeadError::ContentLengthOverflow)
    })
}
