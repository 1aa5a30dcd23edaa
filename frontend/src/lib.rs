//! Baton's front-end: a node that accepts client connections, hands them to back-ends, forwards the clients' packets to
//! whoever owns them, and arbitrates between owners.
//!
//! What this crate does: [`FrontEnd`], one core of a front-end as a state machine over frames; [`dispatch`], which
//! back-end serves a request; [`config`], the program's configuration; [`Settings::new`], from the one to the other.
//!
//! What it does not do: no clock, no sockets, no threads, no DPDK. The program around it (feature `program`) and the
//! simulator drive the same type.
//!
//! It may import `handoff-proto`, `baton-stack`, `baton-http1` and `baton-config`; never `baton-backend`.
#![forbid(unsafe_code)]

mod accept;
pub mod config;
mod cookies;
pub mod dispatch;
mod drain;
mod forward;
mod handoff;
mod messages;
mod node;
#[cfg(feature = "program")]
pub mod program;
mod routes;
pub mod settings;
mod shared;
pub mod stats;
mod store;
mod wishes;

pub use node::FrontEnd;
pub use settings::Settings;
