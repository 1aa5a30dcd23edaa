//! Leases: how a node knows that it may speak, and how a front-end knows that it does not.
//!
//! ```text
//!   holder                                     grantor
//!     |--- JOIN #1 (boot, g or none) ------------>|   new boot, or declared dead: g is raised
//!     |<-- LEASE #1 (g, node list) ---------------|
//!     |    runs from the moment #1 was *sent*     |
//!     |--- LEASE-REQ #2 (load) ------------------>|   each heartbeat
//!     |<-- LEASE #2 ------------------------------|   last answer: the node lives until lease + margin after it
//! ```
//! The holder's lease begins before the grantor's answer, and ends before the grantor gives the node up, whatever the
//! network does, as long as the two clocks run equally fast within the margin (R2).

mod board;
mod holder;

pub use board::{BoardEvent, LeaseBoard, NodeConfig, NodeStatus};
pub use holder::{HolderEvent, LeaseHolder, LeaseNews, Peer};

use baton_stack::time::Duration;

/// The wait before JOIN is repeated first.
pub const JOIN_RETRY: Duration = Duration::from_millis(20);
/// The longest wait between two JOIN. They go on for as long as the node runs.
pub const JOIN_RETRY_MAX: Duration = Duration::from_millis(300);
/// The least wait between two requests, also when something is missing from the node list.
pub const HURRY_MIN: Duration = Duration::from_millis(5);
/// The most nodes of one front-end.
pub const NODES_MAX: usize = 1_024;

/// How long things take. The same at all nodes of a cluster; a holder takes the shorter of two leases.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeaseSettings {
    /// How long a lease lasts.
    pub lease: Duration,
    /// How often it is renewed.
    pub heartbeat: Duration,
    /// How much longer the grantor waits.
    pub margin: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_millis(1_500),
            heartbeat: Duration::from_millis(300),
            margin: Duration::from_millis(300),
        }
    }
}

#[cfg(test)]
mod tests;
