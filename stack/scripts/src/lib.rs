//! Packet scripts: conversations of a peer that does as it is told with Baton's TCP, one file each, in virtual time.
//!
//! ```text
//! # Everything behind a # is for people: the sentence of the RFC, why a number is what it is.
//! config <key> <value>                 before the first event; see below
//! <ms> in  <flags> <seq> [len n] [ack n] [win n] [urg n] [ecn e] [options] [=> what came of it]
//! <ms> out <flags> <seq> [len n] [ack n] [win n] [urg n] [ecn e] [options]
//! <ms> connect | write n | write n urgent | read n | close | abort      what the application calls
//! <ms> too_big <seq> len n mtu n [=> Icmp]   a router says so of a packet; with the reason if it is not believed
//! <ms> break | linger | forget               what happens to the node
//! <ms> stay | go                             see below
//! <ms> state <name> | cwnd n | unsent n | unread n | urgent n, or - for nothing
//! ```
//! **Numbers.** Times are milliseconds since the beginning, with decimals if need be. Sequence numbers count from 0 on both sides,
//! SYN being 0; behind the scenes both wrap in the first kilobytes. Windows are as in the header, not scaled. TSval is the time in
//! milliseconds.
//!
//! **Flags** are letters of `SAPFRUEW`: SYN, ACK, PSH, FIN, RST, URG, ECE, CWR.
//!
//! **ecn** is the field of the IP header: `-` (the default), `ect0`, `ect1` or `ce`.
//!
//! **Options**: `mss n`, `ws n`, `sackok`, `ts val:ecr`, `sack a-b,c-d`. With `-` for its value, an `out` line says that there is
//! no such option (`nosackok`). `opts 01030300` gives the bytes of the options themselves, in hexadecimal, for what no sane
//! peer sends.
//!
//! **out** says everything about flags, numbers and length, and of window, ECN field and options what it names. What leaves must leave at
//! that very time, in that order, and nothing else may. Payload is compared to the byte.
//!
//! **What came of it**: words of `received acked established finished marked slowed urgent closed`, or the name of a drop reason, or of
//! what TIME-WAIT does; nothing behind `=>` means that it was taken and changed nothing; no `=>` means that nobody looks.
//!
//! **Who answers.** Before a SYN opens a connection there is nobody, and stray segments are answered with a reset, as a front-end
//! does; `connect` opens one from here. `linger` leaves the memory of a connection in TIME-WAIT behind, as a front-end does; `forget` leaves nothing. `break` makes
//! the bytes to send unreadable.
//!
//! **Moves.** Each script is played twice: at one node, and moving to another node, with another clock, before each event and before
//! each segment that leaves, as an image that is encoded and decoded. `stay` and `go` end and begin the moves where a script
//! needs what a move resets (docs/tcb.md); the script says why.
//!
//! **Keys** are the fields of [`TcpConfig`](baton_stack::tcp::TcpConfig), durations in milliseconds, `family 4` or `6`, and
//! `syn_cookies always`: then SYNs are answered with cookies, and our sequence numbers count from the one that left last.
//! The receive window grows only where `recv_buffer_max_bytes` is set, behind `recv_buffer_bytes`.
//!
//! This crate may import `baton-stack`, `baton-http1` and `handoff-proto`.
#![forbid(unsafe_code)]

mod config;
mod host;
mod packet;
mod player;
mod script;
mod store;

use std::fs;
use std::path::{Path, PathBuf};

pub use host::Moves;
pub use script::Script;

/// Plays a script.
///
/// # Errors
/// The line that did not come true, and what came instead.
pub fn play(script: &Script, moves: Moves) -> Result<(), String> {
    player::Player::new(script, moves).play(script)
}

/// Where this repository's scripts are.
#[must_use]
pub fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Every script below `folder`, by its name: `topic/case`. In order.
///
/// # Errors
/// A folder cannot be read.
pub fn find(folder: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "pkt") {
                let name = path.strip_prefix(folder).unwrap_or(&path).with_extension("");
                found.push((name.to_string_lossy().into_owned(), path));
            }
        }
    }
    found.sort();
    Ok(found)
}
