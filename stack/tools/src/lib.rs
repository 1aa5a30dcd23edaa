//! What people do with the image of a frozen connection, and with a capture of what nodes said: read them, and check them.
//!
//! What this crate does: [`file`](mod@file) reads an image from a file, [`dump`] says what is in it, [`verify`] brings it to life and
//! freezes it again. [`pcap`] reads captures, [`mod@unseal`] opens the sealed datagrams in one. The program `tcb` is these behind a
//! command line. `wireshark/baton.lua` is for Wireshark: it shows what is in a capture.
//!
//! What it does not do: it captures nothing and sends nothing.
//!
//! It may import `baton-stack` and `handoff-proto`.
#![forbid(unsafe_code)]

pub mod dump;
pub mod file;
pub mod pcap;
pub mod unseal;
pub mod verify;
