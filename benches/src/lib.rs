//! Benchmarks of the production nodes: instruction counts with a regression gate, times, memory.
//!
//! What this crate does: [`Cluster`], a front-end and its back-ends in one thread with reusable buffers; [`cases`], what
//! is measured; [`gate`], counts against a baseline. The programs are in `src/bin`; `ci/bench` runs them and
//! `docs/performance.md` has the figures.
//!
//! What it does not do: it says nothing of correctness (the simulator does), and nothing of devices.
//!
//! It may import every floor below.
#![forbid(unsafe_code)]

pub mod cases;
pub mod client;
pub mod cluster;
pub mod frame;
pub mod gate;
pub mod meter;
pub mod service;

pub use client::Client;
pub use cluster::{Cluster, Watch};
pub use frame::{Buffer, Wire};
pub use meter::Meter;
