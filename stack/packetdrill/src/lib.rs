//! The library that the public packetdrill tool loads (`--so_filename`) to drive Baton's TCP.
//!
//! What this crate does: it exports `packetdrill_interface_init`, which fills in the tool's table of calls. Behind it is one
//! virtual host with sockets, packets that are injected and received, and a virtual clock. docs/packetdrill.md says how to use it.
//!
//! ```text
//!   tool --> abi (C: pointers, errno) --> calls (what waits) --> waiting (threads, clock) --> sockets --> net --> Tcb
//! ```
//! What it does not do: no real time, no real packets. A descriptor is a real one, of `/dev/null`, so that its number is the
//! tool's own.
//!
//! It may import `baton-stack`, `baton-http1` and `handoff-proto`. `unsafe` is in `abi` alone, for the tool's pointers.

mod abi;
#[forbid(unsafe_code)]
mod address;
#[forbid(unsafe_code)]
mod calls;
#[forbid(unsafe_code)]
mod info;
#[forbid(unsafe_code)]
mod net;
#[forbid(unsafe_code)]
mod options;
#[forbid(unsafe_code)]
mod settings;
#[forbid(unsafe_code)]
mod sockets;
#[forbid(unsafe_code)]
mod store;
#[forbid(unsafe_code)]
mod waiting;

pub use abi::{Interface, packetdrill_interface_init};
