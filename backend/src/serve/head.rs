//! Heads of responses.

use std::time::{Duration, UNIX_EPOCH};

use baton_http1::response::Field;
use baton_http1::{ErrorResponse, Method, ResponseBody, ResponseHead, Status, Version};

use super::service::{Request, Response};

/// The field that names the back-end which made a response.
pub const BACKEND_FIELD: &str = "x-baton-backend";

/// The field that tells the epoch at which a response was made.
pub const EPOCH_FIELD: &str = "x-baton-epoch";

/// When a client may come back after a 503.
const RETRY_AFTER_S: u32 = 1;

/// 9999-12-31 23:59:59: the last date that HTTP can write.
const DATE_MAX_S: u64 = 253_402_300_799;

/// Writes the heads of one core's responses.
#[derive(Clone, Debug)]
pub struct Responder {
    identity: Option<String>,
    unix_now_s: u64,
    date: String,
}

impl Responder {
    /// With an identity, every response names this node and the connection's epoch.
    #[must_use]
    pub fn new(identity: Option<String>) -> Self {
        Self { identity, unix_now_s: 0, date: http_date(0) }
    }

    /// Notes the time, in seconds since 1970. Cheap to call often.
    pub fn set_time(&mut self, unix_now_s: u64) {
        if unix_now_s != self.unix_now_s {
            self.unix_now_s = unix_now_s;
            self.date = http_date(unix_now_s);
        }
    }

    /// The time that was noted last, in seconds since 1970.
    #[must_use]
    pub const fn unix_now_s(&self) -> u64 {
        self.unix_now_s
    }

    /// A whole response that refuses a request, or what cannot be read as one, and ends the connection. `head_only`
    /// in answer to HEAD.
    #[must_use]
    pub fn refusal(&self, status: Status, epoch: u32, head_only: bool) -> Vec<u8> {
        let epoch = epoch.to_string();
        let headers = self.identity_fields(&epoch);
        let refusal = ErrorResponse {
            head_only,
            retry_after_s: (status == Status::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_S),
            date: Some(self.date.as_bytes()),
            headers: &headers,
            ..ErrorResponse::closing(status)
        };
        let mut out = Vec::new();
        if refusal.write(&mut out).is_err() {
            // A name that no field can carry, or a status that needs more than this: then without any of it.
            out.extend_from_slice(LAST_RESORT);
        }
        out
    }

    /// Appends the head of `response` to `out`; false if a field of it cannot be written.
    #[must_use]
    pub(super) fn write(&self, response: &Response, facts: &HeadFacts, out: &mut Vec<u8>) -> bool {
        let epoch = facts.epoch.to_string();
        let mut headers = self.identity_fields(&epoch);
        headers.extend(response.headers.iter().map(|(name, value)| (name.as_ref(), value.as_bytes())));
        let head = ResponseHead {
            status: response.status,
            version: facts.version,
            keep_alive: facts.keep_alive,
            body: facts.framing,
            date: Some(self.date.as_bytes()),
            headers: &headers,
        };
        head.write(out).is_ok()
    }

    fn identity_fields<'a>(&'a self, epoch: &'a str) -> Vec<Field<'a>> {
        match &self.identity {
            Some(name) => vec![(BACKEND_FIELD, name.as_bytes()), (EPOCH_FIELD, epoch.as_bytes())],
            None => Vec::new(),
        }
    }
}

const LAST_RESORT: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What the head of a response says of its connection and its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HeadFacts {
    pub(super) version: Version,
    pub(super) head_only: bool,
    pub(super) epoch: u32,
    pub(super) keep_alive: bool,
    pub(super) framing: ResponseBody,
}

impl HeadFacts {
    /// The facts of a response to `request`, before the response is known.
    pub(super) fn of(request: &Request<'_>, epoch: u32, keep_alive: bool) -> Self {
        Self {
            version: request.version(),
            head_only: request.method() == Method::Head,
            epoch,
            keep_alive,
            framing: ResponseBody::None,
        }
    }

    /// With what `response` adds to them. A body that ends with the connection ends the connection.
    pub(super) fn with(self, response: &Response) -> Self {
        let framing = match (response.status, response.body.length()) {
            (Status::NO_CONTENT | Status::NOT_MODIFIED, _) => ResponseBody::None,
            (_, Some(length)) => ResponseBody::Length(length),
            (_, None) => ResponseBody::streamed(self.version),
        };
        Self { framing, keep_alive: self.keep_alive && framing != ResponseBody::UntilClose, ..self }
    }

    /// Whether the body is sent.
    pub(super) fn sends_body(&self) -> bool {
        !self.head_only && !matches!(self.framing, ResponseBody::None | ResponseBody::Length(0))
    }
}

/// A date as HTTP writes it (RFC 9110 section 5.6.7); the last one it can write if `unix_s` is later.
pub(super) fn http_date(unix_s: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix_s.min(DATE_MAX_S)))
}
