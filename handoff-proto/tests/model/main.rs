//! The ownership protocol under a model checker: every order of messages, losses, repetitions, crashes, restarts, lapsed
//! leases, refusals and evictions that a small run allows, played by the production state machines.
//!
//! `BATON_FULL=1` adds the larger runs. What is covered, and what is not: `docs/handoff.md`, section 8.

mod back;
mod checks;
mod client;
mod front;
mod lease;
mod mutants;
mod net;
mod settle;
mod tails;
mod world;
