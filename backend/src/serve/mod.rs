//! What a back-end serves, and how its bytes get into the send queue.
//!
//! ```text
//!   Request --Service::prepare--> Response { status, headers, Body }      service.rs, body.rs
//!                                     |
//!             Server, Exchange: head, 100 Continue, framing, request body   exchange.rs, head.rs
//!                                     |
//!             ContentStore: sources, named in a TCB's send queue            store.rs, chunked.rs, pieces.rs
//!                                     |
//!             TCP output reads source, offset and length into the frame
//! ```
//! What a request will need can be made ready before its connection is here: [`Service::prefetch`], [`Preparation`], [`Begun`].
//!
//! Services: [`Files`] (a directory), [`Probe`] (bodies that anyone can compute, and an echo), [`Composed`] (both, as
//! the program is configured). To serve something else, implement [`Service`].
//!
//! No clock and no sockets: the node says what time it is, and a body is read when a frame is written.

mod begun;
mod body;
mod chunked;
mod compose;
mod echo;
mod exchange;
pub mod files;
mod head;
mod pieces;
pub mod probe;
mod resume;
mod service;
mod store;

pub use baton_stack::tcp::SourceId;
pub use begun::Begun;
pub use body::{Body, BodyError, Bytes, Content, Continuation, Ready, Validator};
pub use chunked::{CHUNK_LEN_MAX, CHUNKS_HELD_MAX};
pub use compose::Composed;
pub use echo::{ECHO_BUFFER_LEN, Echo};
pub use exchange::{Exchange, ExchangeError, Extent, FORGOTTEN_BODY_LEN_MAX, Server, Terms};
pub use files::Files;
pub use head::{BACKEND_FIELD, EPOCH_FIELD, Responder};
pub use pieces::PIECE_LEN;
pub use probe::Probe;
pub use resume::{CHUNKED_OFFSET_MAX, Resumable};
pub use service::{Expected, NotResumed, Preparation, Prepared, Request, Response, Service, Upload, Work};
pub use store::{Coding, ContentStore, ReadError, StoreFull, StoreLimits};
