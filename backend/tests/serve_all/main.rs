//! The serving side of a back-end: services, the content store, exchanges.

mod chunked;
mod common;
mod echo;
mod exchange;
mod files;
mod pieces;
mod pipeline;
mod probe;
mod resume;
mod store;
