//! A deterministic world: the production nodes, seeded links and independent clients under virtual time.
//!
//! What this crate does: it gives nodes (anything that is a [`baton_stack::node::Node`]) links, switches, clocks,
//! crashes and stalls, all drawn from one seed; it drives them with TCP clients of another make (smoltcp); and it
//! watches every frame with checkers that share no code with what they check.
//!
//! What it does not do: no threads, no real time, no sockets. Two runs with one seed are identical to the byte.
//!
//! It may import the nodes and what lies below them; nothing imports it.
#![forbid(unsafe_code)]

pub mod check;
pub mod client;
mod cluster;
pub mod config;
pub mod content;
pub mod dice;
pub mod frame;
mod host;
mod http;
pub mod link;
pub mod noise;
#[cfg(test)]
mod path;
pub mod pcap;
mod people;
pub mod plan;
pub mod reference;
pub mod run;
pub mod scenario;
pub mod trace;
pub mod world;
