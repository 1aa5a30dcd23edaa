//! What both node programs share around the core.
//!
//! What this crate does: command line, logging, signals, the files read at start, the boot id, metrics and the admin listener, with what
//! nodes of both kinds can be asked.
//!
//! What it does not do: it takes no part in connections, routes or handoffs; a node's program tells it through traits.
//!
//! It may import `baton-config`, `baton-stack`, `handoff-proto` and `baton-dpdk`; never a node.
#![forbid(unsafe_code)]

pub mod admin;
pub mod boot;
pub mod cli;
mod dpdk;
pub mod files;
pub mod log;
mod metrics;
mod move_log;
mod node_source;
mod program;
mod shell;
pub mod signals;
mod source;
mod start;

pub use admin::connections::{ConnectionSource, NumberedMoves, Refused};
pub use admin::draining::DrainSource;
pub use admin::{AdminSource, Unavailable};
pub use dpdk::{DpdkShell, main};
pub use metrics::{CONTENT_TYPE, Metrics};
pub use node_source::{NodeSource, Numbers, check_secrets, cluster_secrets};
pub use program::{EXIT_FAILED, EXIT_INVALID, EXIT_OK, Program, Start, execute, main_in};
pub use shell::{Control, PortNumbers, Remote, Shell, ShellNumbers};
