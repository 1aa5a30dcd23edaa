//! The handoff protocol: sealed messages between nodes, the image of a frozen connection, and the state machines that
//! decide who owns a connection.
//!
//! What this crate does:
//! - [`message`], [`codec`], [`header`]: what nodes say to each other, and how it looks on the wire.
//! - [`seal`], [`session`]: keys, sealing, replay protection, queues, datagrams: one [`session::Sessions`] per node.
//! - [`lease`]: [`lease::LeaseHolder`] at a back-end, [`lease::LeaseBoard`] at a front-end.
//! - [`donor`], [`recipient`], [`arbiter`]: who may send on a connection. Pure transitions over plain data.
//! - [`closed`], [`former`], [`hold`]: what a node remembers of connections that ended, left, or have not come yet;
//!   [`due`]: when each has something to do.
//! - [`tail`], [`fetch`], [`release`]: what an earlier owner keeps of what it sent, and how a later one gets it and lets it go.
//! - [`image`]: a frozen connection as bytes.
//! - [`admin`]: what people may ask of a node about its connections; [`journal`]: what it remembers of moves.
//!
//! What it does not do: no clock, no sockets, no threads, no logging. Time and randomness are handed in; what is to be
//! sent comes out through an [`Outbox`](message::Outbox) or `poll_transmit`.
//!
//! It may import `baton-stack` and `baton-http1`, nothing else of Baton.
#![forbid(unsafe_code)]

pub mod admin;
pub mod arbiter;
pub mod closed;
pub mod codec;
pub mod donor;
pub mod due;
pub mod fetch;
pub mod former;
pub mod header;
pub mod hold;
pub mod image;
pub mod journal;
pub mod lease;
pub mod message;
pub mod names;
mod parts;
pub mod recipient;
pub mod release;
mod retry;
pub mod seal;
pub mod session;
pub mod tail;
pub mod wishes;
