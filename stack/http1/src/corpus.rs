//! Request streams that are accepted, with what they mean, and streams that are refused, with their class.
//!
//! For tests, of this crate and of others: whoever moves a connection in the middle of a stream can check against this.

use crate::body::BodyError as B;
use crate::cursor::RequestError::{self, Body, Head};
use crate::head::HeadError as H;

/// A stream that is read to its end.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// What the stream shows.
    pub name: &'static str,
    /// The bytes on the wire.
    pub stream: &'static [u8],
    /// The requests in it.
    pub requests: &'static [Request],
    /// Whether no further request is read behind these.
    pub closed: bool,
}

/// One request of an accepted stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The method's token.
    pub method: &'static str,
    /// The host, if any.
    pub host: Option<&'static str>,
    /// The path.
    pub path: &'static str,
    /// The query, if any.
    pub query: Option<&'static str>,
    /// The body's payload.
    pub body: &'static [u8],
}

/// A stream that is refused at some byte.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// The kind of attack or mistake.
    pub class: &'static str,
    /// The bytes on the wire.
    pub stream: &'static [u8],
    /// How many whole requests come before the refused one.
    pub requests_before: u32,
    /// The reason.
    pub error: RequestError,
    /// The status of the refusal.
    pub status: u16,
}

const fn accepted(name: &'static str, stream: &'static [u8], requests: &'static [Request]) -> Accepted {
    Accepted { name, stream, requests, closed: false }
}

const fn last(name: &'static str, stream: &'static [u8], requests: &'static [Request]) -> Accepted {
    Accepted { name, stream, requests, closed: true }
}

const fn request(method: &'static str, path: &'static str, body: &'static [u8]) -> Request {
    Request { method, host: Some("a"), path, query: None, body }
}

const fn get(path: &'static str) -> Request {
    request("GET", path, b"")
}

const fn at(host: Option<&'static str>, path: &'static str, query: Option<&'static str>) -> Request {
    Request { method: "GET", host, path, query, body: b"" }
}

/// Streams that every part of the product must read alike.
pub const ACCEPTED: &[Accepted] = &[
    accepted("nothing", b"", &[]),
    accepted("one GET", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[get("/")]),
    accepted(
        "three pipelined",
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a\r\n\r\nDELETE /3 HTTP/1.1\r\nHost: a\r\n\r\n",
        &[get("/1"), request("HEAD", "/2", b""), request("DELETE", "/3", b"")],
    ),
    accepted(
        "body by length, then GET",
        b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /q HTTP/1.1\r\nHost: a\r\n\r\n",
        &[request("POST", "/p", b"hello"), get("/q")],
    ),
    accepted(
        "a body that looks like a request",
        b"PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: 34\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n\
          GET /q HTTP/1.1\r\nHost: a\r\n\r\n",
        &[request("PUT", "/p", b"GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"), get("/q")],
    ),
    accepted(
        "chunked, upper and lower hex, leading zeros",
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n00A\r\n0123456789\r\n\
          b\r\n\r\n\r\n\r\n\r\n\r\n!\r\n0\r\n\r\nGET /q HTTP/1.1\r\nHost: a\r\n\r\n",
        &[request("POST", "/c", b"hello0123456789\r\n\r\n\r\n\r\n\r\n!"), get("/q")],
    ),
    accepted(
        "chunk extensions and trailers",
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=b; c=\"d;\\\"e\"\r\nhello\r\n0;last\r\n\
          X-Sum: 1\r\nContent-Length: 99\r\nEmpty:\r\n\r\nGET /q HTTP/1.1\r\nHost: a\r\n\r\n",
        &[request("POST", "/c", b"hello"), get("/q")],
    ),
    accepted(
        "empty bodies of both framings",
        b"POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n\
          POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /q HTTP/1.1\r\nHost: a\r\n\r\n",
        &[request("POST", "/0", b""), request("POST", "/1", b""), get("/q")],
    ),
    accepted(
        "empty lines before request lines",
        b"\r\nPOST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n\r\n\r\n\r\nGET /q HTTP/1.1\r\nHost: a\r\n\r\n",
        &[request("POST", "/p", b"hi"), get("/q")],
    ),
    accepted(
        "absolute-form replaces Host",
        b"GET http://b:8080/x?y HTTP/1.1\r\nHost: a\r\n\r\nGET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n\
          GET http://b?z HTTP/1.1\r\nHost: a\r\n\r\n",
        &[at(Some("b:8080"), "/x", Some("y")), at(Some("b"), "/", None), at(Some("b"), "/", Some("z"))],
    ),
    accepted(
        "OPTIONS of the server",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
        &[request("OPTIONS", "*", b""), request("OPTIONS", "*", b"")],
    ),
    accepted(
        "hosts",
        b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\nGET / HTTP/1.1\r\nHost: a_b.c-d.\r\n\r\n\
          GET / HTTP/1.1\r\nHost:\t10.0.0.1:65535 \t\r\n\r\nGET / HTTP/1.1\r\nHost: a:\r\n\r\n",
        &[
            at(Some("[2001:db8::1]:80"), "/", None),
            at(Some("a_b.c-d."), "/", None),
            at(Some("10.0.0.1:65535"), "/", None),
            at(Some("a:"), "/", None),
        ],
    ),
    accepted(
        "targets that browsers send",
        b"GET /a%20b?q=[1|2]{3}^`\\&r=100%?? HTTP/1.1\r\nHost: a\r\n\r\nGET //x/../y;v=1 HTTP/1.1\r\nHost: a\r\n\r\n",
        &[at(Some("a"), "/a%20b", Some("q=[1|2]{3}^`\\&r=100%??")), at(Some("a"), "//x/../y;v=1", None)],
    ),
    accepted("another method", b"M-SEARCH /x HTTP/1.1\r\nHost: a\r\n\r\n", &[request("M-SEARCH", "/x", b"")]),
    accepted(
        "fields of many shapes",
        b"GET / HTTP/1.1\r\nhOsT: a\r\nX-Empty:\r\nX-High: \xff\xfe\r\nX-Tab:\ta\tb\t\r\n!#$%&'*+-.^_`|~1: y\r\n\r\n",
        &[get("/")],
    ),
    accepted(
        "a client that waits for 100",
        b"POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc",
        &[request("POST", "/p", b"abc")],
    ),
    last(
        "close among the options, bytes behind it unread",
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: x, , Close\r\n\r\nGET /3 HTTP/1.1\r\n",
        &[get("/1"), get("/2")],
    ),
    last(
        "close behind a body",
        b"POST /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        &[request("POST", "/1", b"x")],
    ),
    last("HTTP/1.0 closes", b"GET /old HTTP/1.0\r\n\r\n", &[at(None, "/old", None)]),
    last(
        "HTTP/1.0 keeps alive when asked, until it does not",
        b"GET /1 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n\
          POST /2 HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx",
        &[at(None, "/1", None), request("POST", "/2", b"x")],
    ),
];

const fn refused(class: &'static str, error: RequestError, status: u16, stream: &'static [u8]) -> Refused {
    Refused { class, stream, requests_before: 0, error, status }
}

const fn after(requests_before: u32, refused: Refused) -> Refused {
    Refused { requests_before, ..refused }
}

/// Streams that must be refused, each for the reason given.
pub const REFUSED: &[Refused] = &[
    // Line ends.
    refused("bare LF ends the request line", Head(H::BareLf), 400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    refused("bare LF ends a header line", Head(H::BareLf), 400, b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
    refused("bare LF as the empty line", Head(H::BareLf), 400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    refused("bare LF before the request line", Head(H::BareLf), 400, b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("bare LF behind an empty line", Head(H::BareLf), 400, b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("bare CR in a value", Head(H::BareCr), 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: z\r\n\r\n"),
    refused("CR CR LF", Head(H::BareCr), 400, b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    refused("bare CR in the request line", Head(H::BareCr), 400, b"GET /\rHTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("five empty lines first", Head(H::TooManyEmptyLines), 400, b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n"),
    // Control bytes.
    refused("NUL in a value", Head(H::ControlByte), 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    refused("NUL in the target", Head(H::ControlByte), 400, b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("DEL in a value", Head(H::ControlByte), 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"),
    refused("VT before a coding", Head(H::ControlByte), 400, b"POST / HTTP/1.1\r\nTransfer-Encoding:\x0bchunked\r\n\r\n"),
    refused("TLS on a plain port", Head(H::ControlByte), 400, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
    // Request line.
    refused("no version", Head(H::InvalidRequestLine), 400, b"GET /\r\nHost: a\r\n\r\n"),
    refused("two spaces", Head(H::InvalidRequestLine), 400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("space behind the version", Head(H::InvalidRequestLine), 400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    refused("space in the target", Head(H::InvalidRequestLine), 400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("tab for a space", Head(H::InvalidRequestLine), 400, b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("space before the method", Head(H::InvalidMethod), 400, b" / HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("method is no token", Head(H::InvalidMethod), 400, b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("CONNECT", Head(H::ConnectNotServed), 501, b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("version in lower case", Head(H::InvalidVersion), 400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    refused("version of two digits", Head(H::InvalidVersion), 400, b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    refused("HTTP/1.2", Head(H::VersionNotServed), 505, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    refused("HTTP/0.9", Head(H::VersionNotServed), 505, b"GET / HTTP/0.9\r\n\r\n"),
    refused("HTTP/2 preface", Head(H::VersionNotServed), 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    // Target.
    refused("empty target", Head(H::InvalidTarget), 400, b"GET  HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("relative target", Head(H::InvalidTarget), 400, b"GET x HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("asterisk without OPTIONS", Head(H::InvalidTarget), 400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("fragment", Head(H::InvalidTarget), 400, b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("quote in the target", Head(H::InvalidTarget), 400, b"GET /\"a HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("byte above ASCII in the target", Head(H::InvalidTarget), 400, b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("another scheme", Head(H::InvalidTarget), 400, b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("userinfo in the target", Head(H::InvalidHost), 400, b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("empty authority", Head(H::InvalidHost), 400, b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Header lines.
    refused("obs-fold", Head(H::ObsFold), 400, b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"),
    refused("obs-fold of a coding", Head(H::ObsFold), 400, b"GET / HTTP/1.1\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n"),
    refused("first header line indented", Head(H::ObsFold), 400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    refused("line of one space", Head(H::ObsFold), 400, b"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n"),
    refused("space before the colon", Head(H::SpaceBeforeColon), 400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    refused("tab before the colon", Head(H::SpaceBeforeColon), 400, b"GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n"),
    refused("no colon", Head(H::MissingColon), 400, b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    refused("empty field name", Head(H::InvalidHeaderName), 400, b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n"),
    refused("space in a field name", Head(H::InvalidHeaderName), 400, b"GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n"),
    refused("quote in a field name", Head(H::InvalidHeaderName), 400, b"GET / HTTP/1.1\r\nHost: a\r\n\"X\": z\r\n\r\n"),
    // Host.
    refused("no Host", Head(H::MissingHost), 400, b"GET / HTTP/1.1\r\n\r\n"),
    refused("no Host beside absolute-form", Head(H::MissingHost), 400, b"GET http://a/ HTTP/1.1\r\n\r\n"),
    refused("Host twice", Head(H::RepeatedHost), 400, b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"),
    refused("the same Host twice", Head(H::RepeatedHost), 400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    refused("empty Host", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    refused("list of hosts", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    refused("path in Host", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    refused("userinfo in Host", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    refused("encoded Host", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost: a%00b\r\n\r\n"),
    refused("bytes above ASCII in Host", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n"),
    refused("bad port", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
    refused("signed port", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n"),
    refused("port without host", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n"),
    refused("IPv6 without brackets", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost: 2001:db8::1\r\n\r\n"),
    refused("no IPv6 in brackets", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost: [a]\r\n\r\n"),
    refused("open bracket", Head(H::InvalidHost), 400, b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    // Framing.
    refused(
        "CL.TE",
        Head(H::LengthAndTransferEncoding),
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    ),
    refused(
        "TE.CL",
        Head(H::LengthAndTransferEncoding),
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n",
    ),
    refused(
        "TE.TE, the second unknown",
        Head(H::RepeatedTransferEncoding),
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "CL.TE with an unknown coding",
        Head(H::LengthAndTransferEncoding),
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: xchunked\r\n\r\n",
    ),
    refused(
        "chunked hidden by a space",
        Head(H::SpaceBeforeColon),
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n",
    ),
    refused(
        "two Content-Lengths",
        Head(H::RepeatedContentLength),
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ),
    refused(
        "the same Content-Length twice",
        Head(H::RepeatedContentLength),
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
    ),
    refused(
        "Content-Length as a list",
        Head(H::ListedContentLength),
        400,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
    ),
    refused("CL signed", Head(H::InvalidContentLength), 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n"),
    refused("CL negative", Head(H::InvalidContentLength), 400, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
    refused("CL in hex", Head(H::InvalidContentLength), 400, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n"),
    refused("CL with a space", Head(H::InvalidContentLength), 400, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\n"),
    refused("CL empty", Head(H::InvalidContentLength), 400, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    refused(
        "CL of 2^64",
        Head(H::ContentLengthOverflow),
        400,
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
    ),
    refused(
        "chunked in HTTP/1.0",
        Head(H::TransferEncodingInHttp10),
        400,
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "gzip before chunked",
        Head(H::TransferCodingNotServed),
        501,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    ),
    refused("identity", Head(H::TransferCodingNotServed), 501, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    refused(
        "chunked in quotes",
        Head(H::TransferCodingNotServed),
        501,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
    ),
    refused(
        "chunked with a parameter",
        Head(H::TransferCodingNotServed),
        501,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
    ),
    refused("empty coding", Head(H::TransferCodingNotServed), 501, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    refused("an expectation", Head(H::ExpectationNotMet), 417, b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n"),
    // Behind a good request.
    after(
        1,
        refused(
            "bytes behind a body are no request",
            Head(H::InvalidRequestLine),
            400,
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiX\r\n\r\n",
        ),
    ),
    // Chunked bodies.
    chunked("bare LF behind a chunk size", B::InvalidChunkSize, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n"),
    chunked("CR alone behind a chunk size", B::BareCr, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\rx\r\n0\r\n\r\n"),
    chunked("no chunk size", B::InvalidChunkSize, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nx\r\n"),
    chunked("no chunk size before an extension", B::InvalidChunkSize, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n;a\r\n"),
    chunked("chunk size with 0x", B::InvalidChunkSize, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n"),
    chunked("signed chunk size", B::InvalidChunkSize, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n"),
    chunked("space behind a chunk size", B::InvalidChunkSize, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n"),
    chunked("space before a chunk size", B::InvalidChunkSize, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\nx\r\n"),
    chunked(
        "chunk size of seventeen digits",
        B::ChunkSizeOverflow,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n",
    ),
    chunked(
        "chunks of 2^64 together",
        B::ChunkSizeOverflow,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nffffffffffffffff\r\nx",
    ),
    chunked("chunk too long", B::MissingChunkEnd, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n"),
    chunked("chunk ends with LF", B::MissingChunkEnd, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\n0\r\n\r\n"),
    chunked("chunk ends with CR", B::MissingChunkEnd, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r0\r\n\r\n"),
    chunked("LF in an extension", B::InvalidExtension, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nx\r\n0\r\n\r\n"),
    chunked("NUL in an extension", B::InvalidExtension, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\0\r\nx\r\n"),
    chunked("trailer without a colon", B::InvalidTrailer, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n"),
    chunked("space before a trailer's colon", B::InvalidTrailer, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n"),
    chunked("folded trailer", B::InvalidTrailer, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n z\r\n\r\n"),
    chunked("empty trailer name", B::InvalidTrailer, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n: y\r\n\r\n"),
    chunked("LF ends a trailer", B::InvalidTrailer, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n"),
    chunked("CR alone ends a trailer", B::BareCr, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\rZ: z\r\n\r\n"),
    chunked("LF as the empty line", B::InvalidTrailer, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET /"),
    chunked("CR alone as the empty line", B::BareCr, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\rGET / HTTP/1.1\r\n"),
];

const fn chunked(class: &'static str, error: B, stream: &'static [u8]) -> Refused {
    refused(class, Body(error), 400, stream)
}
