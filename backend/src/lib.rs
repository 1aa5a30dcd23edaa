//! Baton's back-end: a node that owns client connections, answers their requests, and hands them on.
//!
//! What this crate does: [`BackEnd`], one core of a back-end as a state machine over frames; [`serve`], the
//! [`serve::Service`] trait with its first implementations; [`config`], the program's configuration;
//! [`Settings::new`], from the one to the other.
//!
//! What it does not do: no clock, no sockets, no threads, no DPDK. The program around it (feature `program`) and the
//! simulator drive the same type.
//!
//! It may import `handoff-proto`, `baton-stack`, `baton-http1` and `baton-config`; never `baton-frontend`.
#![forbid(unsafe_code)]

mod again;
pub mod ahead;
mod burst;
pub mod config;
#[cfg(test)]
mod fixture;
mod held;
mod leases;
mod link;
mod messages;
mod moves;
mod node;
mod packets;
#[cfg(feature = "program")]
pub mod program;
pub mod serve;
pub mod serving;
pub mod settings;
pub mod stats;
mod tails;
mod turns;
#[cfg(test)]
mod two_front_ends;
mod wishes;

pub use node::BackEnd;
pub use settings::Settings;
