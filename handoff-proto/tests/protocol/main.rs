//! The ownership protocol, played by the real state machines over a network that loses, repeats and reorders.

mod back;
mod counterexamples;
mod front;
mod limits;
mod storm;
mod tails;
mod wishes;
mod world;
