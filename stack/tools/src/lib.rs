//! What people do with the image of a frozen connection: read it, and check it.
//!
//! What this crate does: [`file`](mod@file) reads an image from a file, [`dump`] says what is in it, [`verify`] brings it to life and
//! freezes it again. The program `tcb` is these three behind a command line.
//!
//! What it does not do: no packets, no nodes; it opens no sealed datagram.
//!
//! It may import `baton-stack` and `handoff-proto`.
#![forbid(unsafe_code)]

pub mod dump;
pub mod file;
pub mod verify;
