//! TCP played against scripts, against smoltcp over a bad network, and against anything at all.

mod close;
mod connect;
mod cookie;
mod ecn;
mod handshake;
mod host;
mod limits;
mod pair;
mod props;
mod rack;
mod recovery;
mod script;
mod security;
mod silence;
mod smol;
mod store;
mod throughput;
mod tuning;
mod undo;
mod window;
