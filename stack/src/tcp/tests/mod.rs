//! TCP played against scripts, against smoltcp over a bad network, and against anything at all.

mod close;
mod host;
mod pair;
mod script;
mod smol;
mod store;
