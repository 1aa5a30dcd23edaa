//! Baton's TCP/IP core: functions of (state, now, frame in) to (frames out, events).
//!
//! What this crate does: the plain-data [`tcp::Tcb`], its input, output, timers, congestion control,
//! freeze and thaw; addresses and frames; neighbours (ARP, NDP); ICMP; the flow table and the timer wheel.
//!
//! What it does not do: no clock, no sockets, no threads, no logging, no DPDK. Time and randomness are
//! handed in; bytes are written straight into a buffer that the caller supplies.
//!
//! It may import nothing of Baton but itself.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addr;
pub mod checksum;
pub mod drop;
pub mod ecn;
pub mod engine;
pub mod extension;
pub mod flow_table;
pub mod glance;
pub mod icmp;
pub mod index;
pub mod mld;
pub mod ndp;
pub mod neighbor;
pub mod node;
pub mod ports;
pub mod tcp;
pub mod time;
pub mod wheel;
pub mod wire;
