//! The numbers that name nodes, lives of nodes and owners of connections.

use core::fmt;

/// The longest node name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// A node, as one front-end numbers them (LEASE tells back-ends who is who). Numbers of two front-ends are unrelated:
/// a message about a connection speaks in those of the connection's front-end, one without a connection in those of
/// the front-end that sent it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u16);

impl NodeId {
    /// The front-end itself.
    pub const FRONT_END: Self = Self(0);
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node{}", self.0)
    }
}

/// Orders the owners of a connection. Only the front-end gives one, each once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The front-end's own, from accept to the first handoff.
    pub const FIRST: Self = Self(0);

    /// The one after, if there is one: a connection that has moved four thousand million times stays where it is.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(next) => Some(Self(next)),
            None => None,
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One start of a node. Grows with each start; never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Boot(pub u32);

/// One life of a node in the eyes of a front-end: what a lease is for. The front-end gives each once, ever:
/// ```text
///  63           32 31            0
/// +---------------+---------------+
/// |front-end boot |    counter    |
/// +---------------+---------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(pub u64);

impl Generation {
    /// No life: never joined, or dead.
    pub const NONE: Self = Self(0);

    /// The `counter`-th life that a front-end gives in its life `boot`.
    #[must_use]
    pub const fn new(boot: Boot, counter: u32) -> Self {
        Self((boot.0 as u64) << 32 | counter as u64)
    }
}
