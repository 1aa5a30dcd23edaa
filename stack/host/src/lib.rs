//! What both node programs share around the core.
//!
//! What this crate does: command line, logging, signals, the files read at start, the boot id, metrics and the admin listener.
//!
//! What it does not do: it knows nothing of connections, routes or handoffs; a node's program tells it through traits.
//!
//! It may import `baton-config`, `baton-stack` and `baton-dpdk`; never a node.
#![forbid(unsafe_code)]

pub mod admin;
pub mod boot;
pub mod cli;
pub mod files;
pub mod log;
mod metrics;
pub mod signals;

pub use metrics::{CONTENT_TYPE, Metrics};
