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
mod dpdk;
pub mod files;
pub mod log;
mod metrics;
mod move_log;
mod program;
mod shell;
pub mod signals;
mod source;
mod start;

pub use admin::connections::{ConnectionSource, NumberedMoves, Refused};
pub use admin::{AdminSource, Unavailable};
pub use dpdk::{DpdkShell, main};
pub use metrics::{CONTENT_TYPE, Metrics};
pub use program::{EXIT_FAILED, EXIT_INVALID, EXIT_OK, Program, Start, execute, main_in};
pub use shell::{Control, PortNumbers, Remote, Shell, ShellNumbers};
