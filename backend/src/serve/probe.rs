//! Probe endpoints: bodies that anyone can compute, for tests, benchmarks and the first five minutes.
//!
//! | path | response |
//! |---|---|
//! | `/bytes/N?seed=S` | N bytes with Content-Length |
//! | `/chunked/N?seed=S` | the same N bytes, chunked, in chunks of 1 to 8,192 bytes |
//! | `/echo` | the request's body, sent while it arrives |
//!
//! The bytes: with `mix` the finisher of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
//! generators", OOPSLA 2014) and all arithmetic modulo 2^64, byte `i` is byte `i % 8`, counted from the low end, of
//! `mix(S + (i / 8 + 1) * 0x9E3779B97F4A7C15)`. Chunk `k` of `/chunked` has
//! `1 + mix(S ^ (0x6368756e6b6564 + k * 0x9E3779B97F4A7C15)) % 8192` bytes, or what is left. They are the same on every
//! back-end, so a response can be checked, or continued, anywhere.

use baton_http1::{BodyFraming, Method, Status};

use super::begun::Begun;
use super::body::{Body, BodyError, Content, Continuation, Ready, Validator, to_u64, to_usize};
use super::echo::Echo;
use super::service::{Expected, NotResumed, Preparation, Prepared, Request, Response, Service};

/// The longest body of `/bytes` and `/chunked`.
pub const PROBE_LEN_MAX: u64 = 1 << 40;

/// The longest chunk of `/chunked`.
pub const PROBE_CHUNK_LEN_MAX: u64 = 8_192;

/// The beginning of the paths of both kinds, and of what their contents are called between nodes.
const BYTES: &str = "/bytes/";
const CHUNKED: &str = "/chunked/";
/// The function at the top of this file.
const FUNCTION: &[u8; 16] = b"splitmix64 bytes";
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

/// The probe endpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe;

impl Probe {
    /// Whether `path` is a probe's.
    #[must_use]
    pub fn serves(path: &str) -> bool {
        path == "/echo" || path.starts_with(BYTES) || path.starts_with(CHUNKED)
    }
}

impl Service for Probe {
    fn prepare(&mut self, request: &Request<'_>) -> Prepared {
        respond(request, Vec::new()).into()
    }

    fn prefetch(&mut self, expected: &Expected<'_>) -> Option<Box<dyn Preparation>> {
        let Expected { is_head, path, query, bytes_max } = *expected;
        let len = path.strip_prefix(BYTES).or_else(|| path.strip_prefix(CHUNKED));
        let len = len.and_then(number).filter(|&len| len <= PROBE_LEN_MAX && !is_head)?;
        let mut beginning = vec![0; to_usize(len.min(to_u64(bytes_max)))];
        fill(seed(query.unwrap_or_default())?, 0, &mut beginning);
        Some(Box::new(Beginning(beginning)))
    }

    fn resume(&mut self, content: &Content, length: Option<u64>) -> Result<Box<dyn Body>, NotResumed> {
        let name = std::str::from_utf8(&content.name).unwrap_or_default();
        let body: Option<Box<dyn Body>> = if let Some(bytes) = name.strip_prefix(BYTES) {
            Reproducible::named(bytes).map(|bytes| Box::new(bytes) as Box<dyn Body>)
        } else {
            let bytes = name.strip_prefix(CHUNKED).and_then(Reproducible::named);
            bytes.map(|Reproducible { seed, len }| Box::new(Cut::new(seed, len)) as Box<dyn Body>)
        };
        let wanted = Continuation::Of(content.clone());
        body.filter(|body| body.continuation() == wanted && body.length() == length).ok_or(NotResumed::Differs)
    }
}

/// How the body of a response begins.
#[derive(Debug)]
struct Beginning(Vec<u8>);

impl Preparation for Beginning {
    fn respond(self: Box<Self>, request: &Request<'_>) -> Prepared {
        respond(request, self.0).into()
    }

    fn memory(&self) -> usize {
        self.0.len()
    }
}

/// Answers a request. The response's body begins with `beginning`, which may be empty.
fn respond(request: &Request<'_>, beginning: Vec<u8>) -> Response {
    let path = request.path();
    if path == "/echo" {
        echo(request)
    } else if let Some(len) = path.strip_prefix(BYTES) {
        reproducible(request, len, |seed, len| {
            Response::new(Status::OK, Begun::new(Reproducible { seed, len }, beginning))
        })
    } else if let Some(len) = path.strip_prefix(CHUNKED) {
        reproducible(request, len, |seed, len| Response::new(Status::OK, Begun::new(Cut::new(seed, len), beginning)))
    } else {
        Response::text(Status::NOT_FOUND, "no such probe")
    }
}

fn echo(request: &Request<'_>) -> Response {
    if !matches!(request.method(), Method::Get | Method::Head | Method::Post | Method::Put) {
        return Response::method_not_allowed("GET, HEAD, POST, PUT");
    }
    let length = match request.framing() {
        BodyFraming::None => Some(0),
        BodyFraming::Length(length) => Some(length),
        BodyFraming::Chunked => None,
    };
    Response::new(Status::OK, Echo::new(length)).with_header(OCTETS.0, OCTETS.1).taking_request_body()
}

/// A response of `len` bytes from the query's seed, if both are numbers within their limits.
fn reproducible(request: &Request<'_>, len: &str, response: impl FnOnce(u64, u64) -> Response) -> Response {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Response::method_not_allowed("GET, HEAD");
    }
    let Some(len) = number(len).filter(|&len| len <= PROBE_LEN_MAX) else {
        let line = format!("the length is not a decimal number of at most {PROBE_LEN_MAX}");
        return Response::text(Status::BAD_REQUEST, &line);
    };
    let Some(seed) = seed(request.query().unwrap_or_default()) else {
        return Response::text(Status::BAD_REQUEST, "the seed is not a decimal number below 2^64");
    };
    response(seed, len).with_header(OCTETS.0, OCTETS.1)
}

/// `seed=` of the query, 0 without one. Other parameters mean nothing here.
fn seed(query: &str) -> Option<u64> {
    query.split('&').find_map(|parameter| parameter.strip_prefix("seed=")).map_or(Some(0), number)
}

/// Decimal digits alone; `str::parse` would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The finisher of splitmix64.
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Fills `buf` with the bytes of `seed` from `offset` on: the definition at the top of this file.
pub fn fill(seed: u64, offset: u64, buf: &mut [u8]) {
    let word = |index: u64| mix(seed.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN))).to_le_bytes();
    let skip = usize::from(offset.to_le_bytes()[0] & 7);
    let first_len = if skip == 0 { 0 } else { (8 - skip).min(buf.len()) };
    let (first, rest) = buf.split_at_mut(first_len);
    let mut index = offset / 8;
    if first_len > 0 {
        first.copy_from_slice(&word(index)[skip..skip + first_len]);
        index += 1;
    }
    let mut words = rest.chunks_exact_mut(8);
    for piece in &mut words {
        piece.copy_from_slice(&word(index));
        index += 1;
    }
    let last = words.into_remainder();
    let last_len = last.len();
    last.copy_from_slice(&word(index)[..last_len]);
}

/// How long chunk number `index` of `/chunked` is, before it is cut to what is left.
#[must_use]
pub const fn chunk_len(seed: u64, index: u64) -> u64 {
    const CHUNKED: u64 = 0x0063_6875_6e6b_6564; // "chunked"
    1 + mix(seed ^ CHUNKED.wrapping_add(index.wrapping_mul(GOLDEN))) % PROBE_CHUNK_LEN_MAX
}

/// The body of `/bytes`.
#[derive(Clone, Copy, Debug)]
struct Reproducible {
    seed: u64,
    len: u64,
}

impl Body for Reproducible {
    fn length(&self) -> Option<u64> {
        Some(self.len)
    }

    fn ready(&self) -> Ready {
        Ready { end: self.len, complete: true }
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
        fill(self.seed, offset, buf);
        Ok(())
    }

    fn continuation(&self) -> Continuation {
        self.content(BYTES)
    }
}

impl Reproducible {
    /// The bytes are a pure function of what is in the name, so the name says which they are. The validator says the same, and which
    /// function it is: a later one, with other bytes, has another.
    fn content(&self, kind: &str) -> Continuation {
        let Self { seed, len } = self;
        let mut bytes = [0; 32];
        bytes[..FUNCTION.len()].copy_from_slice(FUNCTION);
        bytes[16..24].copy_from_slice(&len.to_be_bytes());
        bytes[24..].copy_from_slice(&seed.to_be_bytes());
        let name = format!("{kind}{len}?seed={seed}").into_bytes();
        Continuation::Of(Content { name, first: 0, validator: Validator(bytes) })
    }

    /// What [`Self::content`] has named.
    fn named(name: &str) -> Option<Self> {
        let (len, query) = name.split_once('?')?;
        Some(Self { seed: seed(query)?, len: number(len).filter(|&len| len <= PROBE_LEN_MAX)? })
    }
}

/// The body of `/chunked`: its length is known, but it is told in chunks.
#[derive(Clone, Copy, Debug)]
struct Cut {
    bytes: Reproducible,
    /// The number of the next chunk to be cut.
    index: u64,
}

impl Cut {
    const fn new(seed: u64, len: u64) -> Self {
        Self { bytes: Reproducible { seed, len }, index: 0 }
    }
}

impl Body for Cut {
    fn length(&self) -> Option<u64> {
        None
    }

    fn ready(&self) -> Ready {
        self.bytes.ready()
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
        self.bytes.read(offset, buf)
    }

    fn chunk_end(&mut self, start: u64) -> u64 {
        let len = chunk_len(self.bytes.seed, self.index);
        self.index += 1;
        start.saturating_add(len)
    }

    fn continuation(&self) -> Continuation {
        self.bytes.content(CHUNKED)
    }
}
