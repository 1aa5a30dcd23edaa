//! What a client does on one connection.

use crate::content;
use baton_stack::time::Duration;
use std::fmt::Write as _;

/// One connection's life, from the client's side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// When it connects, from the beginning of the world.
    pub start: Duration,
    /// Whether it waits for this client's connection before it to be over, and takes its port: the same flow again.
    pub same_port: bool,
    /// What it asks for, in this order.
    pub requests: Vec<Request>,
    /// How many requests may be unanswered at once; one is no pipelining.
    pub depth: usize,
    /// How long it thinks after each answer.
    pub think: Duration,
    /// How it ends.
    pub close: Close,
    /// How fast it reads.
    pub reading: Reading,
    /// Its receive buffer, in bytes: its greatest window.
    pub receive_buffer: usize,
    /// Its send buffer, in bytes.
    pub send_buffer: usize,
    /// Whether it offers timestamps (RFC 7323).
    pub timestamps: bool,
    /// Whether it delays its acknowledgments.
    pub delayed_ack: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            start: Duration::ZERO,
            same_port: false,
            requests: Vec::new(),
            depth: 1,
            think: Duration::ZERO,
            close: Close::AfterAnswers,
            reading: Reading::Eager,
            receive_buffer: 65_535,
            send_buffer: 65_535,
            timestamps: true,
            delayed_ack: true,
        }
    }
}

/// How a client ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// Closes when all answers are there.
    AfterAnswers,
    /// Closes its half right behind the last request and goes on reading.
    AfterRequests,
    /// Asks for `Connection: close` with the last request, so that the server closes first.
    ByServer,
    /// Resets the connection when all answers are there.
    Abort,
}

/// How fast a client reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// Whatever is there, at once.
    Eager,
    /// At most so many bytes at once, then nothing for a while: closes the window.
    Slow {
        /// Bytes at once.
        bytes: usize,
        /// The while.
        pause: Duration,
    },
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The back-end whose path it asks for (`/beK/...`, counted from one); none leaves it to the hash of the path.
    pub back_end: Option<usize>,
    /// What.
    pub kind: RequestKind,
    /// Bytes of content, asked for or sent.
    pub len: usize,
    /// The content's seed.
    pub seed: u64,
}

/// The probe endpoints and ways to ask them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestKind {
    /// `GET /bytes/N?seed=S`.
    Bytes,
    /// `HEAD /bytes/N?seed=S`.
    Head,
    /// `GET /chunked/N?seed=S`.
    Chunked,
    /// `POST /echo` with Content-Length.
    Echo,
    /// `POST /echo`, chunked, in chunks of at most this many bytes.
    EchoChunked(usize),
    /// `POST /echo` with `Expect: 100-continue`; does not wait for it (RFC 9110 section 10.1.1 allows that).
    EchoExpect,
}

impl Request {
    /// The path, with the query.
    #[must_use]
    pub fn target(&self) -> String {
        let prefix = self.back_end.map(|k| format!("/be{k}")).unwrap_or_default();
        let (len, seed) = (self.len, self.seed);
        match self.kind {
            RequestKind::Bytes | RequestKind::Head => format!("{prefix}/bytes/{len}?seed={seed}"),
            RequestKind::Chunked => format!("{prefix}/chunked/{len}?seed={seed}"),
            RequestKind::Echo | RequestKind::EchoChunked(_) | RequestKind::EchoExpect => format!("{prefix}/echo"),
        }
    }

    /// The request's bytes; `last` asks for the connection's end.
    #[must_use]
    pub fn encode(&self, last: bool) -> Vec<u8> {
        let method = match self.kind {
            RequestKind::Bytes | RequestKind::Chunked => "GET",
            RequestKind::Head => "HEAD",
            RequestKind::Echo | RequestKind::EchoChunked(_) | RequestKind::EchoExpect => "POST",
        };
        let mut head = format!("{method} {} HTTP/1.1\r\nHost: baton.example\r\n", self.target());
        if last {
            head.push_str("Connection: close\r\n");
        }
        if self.kind == RequestKind::EchoExpect {
            head.push_str("Expect: 100-continue\r\n");
        }
        match self.kind {
            RequestKind::Bytes | RequestKind::Chunked | RequestKind::Head => {
                head.push_str("\r\n");
                head.into_bytes()
            }
            RequestKind::Echo | RequestKind::EchoExpect => {
                // Writing to a String does not fail.
                let _ = write!(head, "Content-Length: {}\r\n\r\n", self.len);
                [head.into_bytes(), content::bytes(self.seed, self.len)].concat()
            }
            RequestKind::EchoChunked(chunk_len) => {
                head.push_str("Transfer-Encoding: chunked\r\n\r\n");
                let mut out = head.into_bytes();
                for chunk in content::bytes(self.seed, self.len).chunks(chunk_len.max(1)) {
                    out.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    out.extend(chunk);
                    out.extend(b"\r\n");
                }
                out.extend(b"0\r\n\r\n");
                out
            }
        }
    }
}
