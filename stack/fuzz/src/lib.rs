//! What must hold for any bytes whatever: one function for each door through which bytes come in.
//!
//! | target | its bytes are |
//! |---|---|
//! | `tcb` | what happens to one connection: segments, time, writes, reads, moves to other nodes |
//! | `image` | an image: what decodes is written again as the same, and what thaws can live |
//! | `messages` | a datagram after unsealing |
//! | `http` | requests of one connection, in pieces of any length |
//! | `nodes` | frames into a front-end and two back-ends that know each other, and hand connections over |
//!
//! `ci/fuzz` runs them under libFuzzer, with coverage to guide it. What it finds is kept in `crashes/TARGET/`, and a plain test
//! plays it, and the seeds, and some noise, for ever.
//!
//! It may import everything but the shell; nothing imports it.
#![forbid(unsafe_code)]

mod http;
mod image;
mod input;
mod messages;
mod nodes;
mod seeds;
mod tcb;

pub use seeds::seeds;

/// One door.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// One connection.
    Tcb,
    /// Images.
    Image,
    /// Messages between nodes.
    Messages,
    /// Requests.
    Http,
    /// Frames into nodes.
    Nodes,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 5] = [Self::Tcb, Self::Image, Self::Messages, Self::Http, Self::Nodes];

    /// Its name: in `ci/fuzz`, and of its folder in `crashes`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcb => "tcb",
            Self::Image => "image",
            Self::Messages => "messages",
            Self::Http => "http",
            Self::Nodes => "nodes",
        }
    }

    /// The target of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// Lets the bytes in.
    ///
    /// # Panics
    /// If something does not hold that must.
    pub fn run(self, bytes: &[u8]) {
        match self {
            Self::Tcb => tcb::run(bytes),
            Self::Image => image::run(bytes),
            Self::Messages => messages::run(bytes),
            Self::Http => http::run(bytes),
            Self::Nodes => nodes::run(bytes),
        }
    }
}
