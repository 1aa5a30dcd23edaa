//! TCP (RFC 9293): connections as plain data, segments in, segments out.
//!
//! ```text
//!            SYN                    Segment::parse                          poll_transmit
//!   wire ----------> Tcb::accept ------------------> Tcb::handle_segment ---------------> wire
//!                                                     Tcb::handle_timeout
//!   nobody's SYN: Tcb::connect               freeze | ^ thaw
//!                                               v |
//!                                              Frozen   (handoff-proto writes it as an image)
//! ```
//! - [`tcb`](self::Tcb) is the control block, `input` and `output` are what it does with segments, `timers` with time.
//! - [`Content`] is where the bytes to send are. The TCB has only extents of it.
//! - `freeze` is the one place where it is decided what becomes of each field in a move.
//! - [`SynCookies`] answers SYNs, and knows what they asked for when the handshake is complete, without a TCB in between.
//! - [`TimeWait`], [`reset_for`], [`reset_for_half_open`], [`reset_at`]: what is said for connections that are not there any more.

mod cc;
mod config;
mod connect;
mod content;
mod cookie;
mod ecn;
mod freeze;
mod frozen;
mod gone;
mod info;
mod input;
mod isn;
mod output;
mod path;
mod prr;
mod queue;
mod rack;
mod recovery;
mod remote;
mod rtt;
mod scoreboard;
mod segment;
mod seq;
mod tcb;
#[cfg(test)]
mod tests;
mod timers;
mod tuning;
mod urgent;

pub use cc::{Algorithm, Congestion, Cubic, Growth, HyStart, NewReno};
pub use config::TcpConfig;
pub use connect::ConnectError;
pub use content::{Content, ContentLost, Extent, Place, SourceId};
pub use cookie::{COOKIE_LIFE_MAX, SynCookies, may_complete};
pub use ecn::Signals;
pub use freeze::{FreezeError, ThawError};
pub use frozen::{
    Frozen, FrozenBytes, FrozenCubic, FrozenGrowth, FrozenRack, FrozenRecovery, FrozenTimers, FrozenTuning,
};
pub use gone::{GONE_ANSWERS_MAX, TimeWait, TimeWaitAction, reset_at, reset_for, reset_for_half_open};
pub use info::Info;
pub use input::OUT_OF_ORDER_RANGES_MAX;
pub use isn::{isn, ts_offset, ts_offset_above};
pub use output::{CORK_MAX, Due, Written};
pub use path::{PATH_MTU_MIN, PATH_MTU_MIN_V6, PathMtu, TooBig};
pub use prr::{Prr, Undo};
pub use queue::{Queue, Remote};
pub use rack::{Probe, Rack};
pub use recovery::{DUP_THRESH, Phase, Recovery};
pub use remote::{Bulk, Kept};
pub use rtt::Rtt;
pub use scoreboard::{RUNS_MAX, Run, SACKED_RANGES_MAX, Scoreboard};
pub use segment::{Flags, HEADER_LEN, HEADER_LEN_MAX, Options, SACK_BLOCKS_MAX, Segment, Timestamps};
pub use seq::SeqNum;
pub use tcb::{
    CloseReason, EXTENTS_MAX, MSS_DEFAULT, MSS_DEFAULT_V6, Negotiated, Outcome, PushError, Rcv, Snd, State, Tcb,
    TsClock,
};
pub use timers::Timers;
pub use tuning::Tuning;
