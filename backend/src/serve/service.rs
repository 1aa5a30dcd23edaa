//! What a Rust engineer implements to embed Baton's back-end.

use std::borrow::Cow;
use std::fmt;

use baton_http1::{BodyFraming, Method, RequestHead, Status, Version};

use super::body::{Body, BodyError, Bytes, Content};

/// Serves requests: one instance per core, never shared.
///
/// A service has no clock and no sockets. It must not block: a core serves thousands of connections, and all of them
/// wait for it.
///
/// ```
/// use baton_backend::serve::{Body, BodyError, Prepared, Ready, Request, Response, Service};
/// use baton_http1::Status;
///
/// /// Counts from 0 to 255 and starts again, for as many bytes as the path asks.
/// struct Counting;
///
/// #[derive(Debug)]
/// struct Count(u64);
///
/// impl Service for Counting {
///     fn prepare(&mut self, request: &Request<'_>) -> Prepared {
///         match request.path().strip_prefix("/count/").and_then(|len| len.parse().ok()) {
///             Some(len) => Response::new(Status::OK, Count(len)).with_header("content-type", "x-test/count").into(),
///             None => Response::text(Status::NOT_FOUND, "try /count/1000").into(),
///         }
///     }
/// }
///
/// impl Body for Count {
///     fn length(&self) -> Option<u64> {
///         Some(self.0)
///     }
///     fn ready(&self) -> Ready {
///         Ready { end: self.0, complete: true }
///     }
///     // The same bytes for the same offset, however often it is asked: that is what retransmissions read.
///     fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), BodyError> {
///         for (at, byte) in (offset..).zip(buf) {
///             *byte = at.to_le_bytes()[0];
///         }
///         Ok(())
///     }
/// }
///
/// let mut body = Count(1000);
/// let mut bytes = [0; 3];
/// body.read(255, &mut bytes)?;
/// assert_eq!(bytes, [255, 0, 1]);
/// # Ok::<(), BodyError>(())
/// ```
pub trait Service: Send {
    /// Decides what becomes of a request, as soon as its head is there.
    fn prepare(&mut self, request: &Request<'_>) -> Prepared;

    /// Makes ready what it can for a request that is expected here: finds and opens what the response is made of, and reads its
    /// beginning. It changes nothing that anybody can see: the request may never come. `None` if nothing is gained, which is always right.
    fn prefetch(&mut self, expected: &Expected<'_>) -> Option<Box<dyn Preparation>> {
        let _ = expected;
        None
    }

    /// The body that another node's service has described by [`Body::continuation`]. `length` is that of the whole body,
    /// if it is not chunked.
    ///
    /// # Errors
    /// This node does not have the very same bytes, or cannot tell yet.
    fn resume(&mut self, content: &Content, length: Option<u64>) -> Result<Box<dyn Body>, NotResumed> {
        let _ = (content, length);
        Err(NotResumed::Differs)
    }

    /// A small piece of what takes too long to be done at once: finding out what names a content. Called between
    /// bursts, again and again while there is more, once a body was [not named yet](super::Continuation::NotYet) or a content
    /// [not known](NotResumed::Unknown).
    fn work(&mut self) -> Work {
        Work::Nothing
    }
}

/// Why a service does not go on with a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotResumed {
    /// The content is another one here, or not here at all.
    #[error("the content is another one")]
    Differs,
    /// Whether it is the same is being found out.
    #[error("whether the content is the same is not known yet")]
    Unknown,
}

/// What became of a piece of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// There is none.
    Nothing,
    /// It goes on.
    Going,
    /// Something was found out: ask again who has waited.
    Found,
}

impl<S: Service + ?Sized> Service for Box<S> {
    fn prepare(&mut self, request: &Request<'_>) -> Prepared {
        (**self).prepare(request)
    }

    fn prefetch(&mut self, expected: &Expected<'_>) -> Option<Box<dyn Preparation>> {
        (**self).prefetch(expected)
    }

    fn resume(&mut self, content: &Content, length: Option<u64>) -> Result<Box<dyn Body>, NotResumed> {
        (**self).resume(content, length)
    }

    fn work(&mut self) -> Work {
        (**self).work()
    }
}

/// A request's head, as a service sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    head: &'a RequestHead<'a>,
    path: &'a str,
    unix_now_s: u64,
}

impl<'a> Request<'a> {
    /// The request of `head` at `unix_now_s`, in seconds since 1970. `path` is the head's, or what is left of it behind
    /// a route's prefix.
    #[must_use]
    pub const fn new(head: &'a RequestHead<'a>, path: &'a str, unix_now_s: u64) -> Self {
        Self { head, path, unix_now_s }
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> Method<'a> {
        self.head.method
    }

    /// The path, still percent-encoded, without the query; `*` in `OPTIONS *`.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// The query, still percent-encoded, without its `?`.
    #[must_use]
    pub const fn query(&self) -> Option<&'a str> {
        self.head.query
    }

    /// The protocol version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.head.version
    }

    /// The value of the first field of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.head.header(name)
    }

    /// How the request's body is framed.
    #[must_use]
    pub const fn framing(&self) -> BodyFraming {
        self.head.framing
    }

    /// The time, in seconds since 1970.
    #[must_use]
    pub const fn unix_now_s(&self) -> u64 {
        self.unix_now_s
    }

    /// The whole head, its path with the route's prefix.
    #[must_use]
    pub const fn head(&self) -> &'a RequestHead<'a> {
        self.head
    }
}

/// A request that may come, as far as it is known already: GET or HEAD, without a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected<'a> {
    /// Whether it is HEAD: there will be no content to send.
    pub is_head: bool,
    /// As [`Request::path`].
    pub path: &'a str,
    /// As [`Request::query`].
    pub query: Option<&'a str>,
    /// The most bytes that may be kept for it.
    pub bytes_max: usize,
}

/// What a service has made ready for a request that is expected.
pub trait Preparation: fmt::Debug + Send {
    /// Answers the request, which has come: its method, path and query are those that were expected.
    fn respond(self: Box<Self>, request: &Request<'_>) -> Prepared;

    /// Bytes of memory that it holds, beside itself.
    fn memory(&self) -> usize;
}

/// What a service makes of a request.
#[derive(Debug)]
pub enum Prepared {
    /// The response is known now, its body perhaps not yet.
    Response(Response),
    /// The response depends on the whole of the request's body, which goes in here.
    Upload(Box<dyn Upload>),
}

impl From<Response> for Prepared {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

/// Takes a request's body and then makes the response.
pub trait Upload: fmt::Debug + Send {
    /// How many bytes can be taken now.
    fn room(&self) -> usize;

    /// Takes bytes of the request's body, at most [`Upload::room`].
    ///
    /// # Errors
    /// The upload cannot go on and nothing can be answered: the connection is reset. What can be answered is
    /// remembered until [`Upload::finish`].
    fn feed(&mut self, bytes: &[u8]) -> Result<(), BodyError>;

    /// The request's body has ended.
    fn finish(self: Box<Self>) -> Response;
}

/// A response: what is said in its head, and its body.
#[derive(Debug)]
pub struct Response {
    pub(super) status: Status,
    pub(super) headers: Vec<(Cow<'static, str>, String)>,
    pub(super) body: Box<dyn Body>,
    pub(super) takes_request_body: bool,
}

impl Response {
    /// A response with this body. It is left out where the method or the status forbids one: HEAD, 204, 304.
    #[must_use]
    pub fn new(status: Status, body: impl Body + 'static) -> Self {
        Self { status, headers: Vec::new(), body: Box::new(body), takes_request_body: false }
    }

    /// A response without content.
    #[must_use]
    pub fn empty(status: Status) -> Self {
        Self::new(status, Bytes::default())
    }

    /// A response of one line of text; the line's end is added.
    #[must_use]
    pub fn text(status: Status, line: &str) -> Self {
        Self::new(status, Bytes::from(format!("{line}\n").into_bytes()))
            .with_header("content-type", "text/plain; charset=utf-8")
    }

    /// 405 with the methods that are allowed (RFC 9110 section 15.5.6).
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::text(Status::METHOD_NOT_ALLOWED, &format!("allowed: {allow}")).with_header("allow", allow)
    }

    /// Adds a field. Not Content-Length, Transfer-Encoding, Connection or Date: they are written for every response.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The request's body goes into the response's body ([`Body::feed`]). Otherwise it is read and forgotten.
    #[must_use]
    pub const fn taking_request_body(mut self) -> Self {
        self.takes_request_body = true;
        self
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The value of the first field of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body.
    pub fn body_mut(&mut self) -> &mut dyn Body {
        self.body.as_mut()
    }
}
