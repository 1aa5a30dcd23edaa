//! The client, and the judge: what may never happen is noted here, the first of it.

use baton_stack::addr::ConnId;
use handoff_proto::arbiter::ResetCause;
use handoff_proto::names::{Epoch, NodeId};

/// What may never happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Wrong {
    /// A response is missing, doubled, or comes after the connection's end (I2).
    Stream,
    /// An owner speaks whose epoch is below that of an earlier one (I1).
    EpochFell,
    /// One attempt is installed twice, on whatever nodes.
    InstalledTwice,
    /// A connection is reset although its owner lives, or although no node has failed at all (I6).
    ResetWithoutProof,
    /// A message that is counted as dropped has changed something (I7).
    DroppedMessageActed,
    /// A node has given up bytes that it kept, and the connection's owner may want them (I6).
    TailGivenUp,
    /// A client's segment was answered by a node that is not the owner, or it has vanished (I3).
    Segment,
}

/// How a connection ended for its client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum End {
    Closed,
    Reset(ResetCause),
    /// Reset by its owner: bytes that had to be sent again were lost with their holder.
    TailLost,
}

/// Where the one client segment is that is watched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Segment {
    /// There is none in this run, or the owner has taken it, or its connection has ended.
    Done,
    /// It comes to the front-end: from the client, or back from a node that could not wait for longer.
    AtFrontEnd,
    /// Between nodes.
    OnTheWay(NodeId),
    /// In the node's hold.
    Held(NodeId),
}

/// One client, with one connection after the other on the same ports.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Client {
    pub(crate) c: ConnId,
    /// Responses that it has got on this connection: the byte stream.
    pub(crate) served: u32,
    /// Which of them have come, a bit each.
    got: u32,
    /// What its owner wanted of others when it gave up; the judge takes it at once.
    pub(crate) lost_tail: Option<Vec<(NodeId, u64)>>,
    last_epoch: Epoch,
    /// How many nodes have served it.
    pub(crate) owners: usize,
    installed: Vec<(ConnId, Epoch)>,
    pub(crate) end: Option<End>,
    pub(crate) segment: Segment,
    pub(crate) wrong: Option<Wrong>,
}

impl Client {
    pub(crate) fn new(c: ConnId) -> Self {
        Self {
            c,
            served: 0,
            got: 0,
            lost_tail: None,
            last_epoch: Epoch::FIRST,
            owners: 0,
            installed: Vec::new(),
            end: None,
            segment: Segment::Done,
            wrong: None,
        }
    }

    /// Its next connection. What was installed for earlier ones is not forgotten, as long as their names differ.
    pub(crate) fn connect(&mut self, c: ConnId) {
        let Self { mut installed, wrong, .. } = self.clone();
        installed.retain(|(earlier, _)| *earlier != c);
        *self = Self { installed, wrong, ..Self::new(c) };
    }

    pub(crate) fn accuse(&mut self, wrong: Wrong) {
        self.wrong.get_or_insert(wrong);
    }

    /// A node sends response `n`.
    pub(crate) fn serve(&mut self, c: ConnId, e: Epoch, n: u32) {
        if c != self.c || self.end.is_some() || n != self.served {
            self.accuse(Wrong::Stream);
        }
        if e < self.last_epoch {
            self.accuse(Wrong::EpochFell);
        }
        self.owners += usize::from(e > self.last_epoch);
        (self.served, self.last_epoch) = (n + 1, e);
        self.got |= 1 << n;
    }

    /// The response that was sent last is lost on its way.
    pub(crate) fn lose_last(&mut self) {
        self.got &= !(1 << (self.served - 1));
    }

    /// An owner sends a response again.
    pub(crate) fn hear_again(&mut self, c: ConnId, e: Epoch, n: u32, value: u8) {
        if c != self.c || self.end.is_some() || n >= self.served || n != u32::from(value) {
            self.accuse(Wrong::Stream);
        }
        if e < self.last_epoch {
            self.accuse(Wrong::EpochFell);
        }
        (self.got, self.last_epoch) = (self.got | 1 << n, e);
    }

    /// Whether a response has come.
    pub(crate) fn has(&self, n: u32) -> bool {
        self.got >> n & 1 == 1
    }

    /// How many have come, up to the first gap: what it acknowledges.
    pub(crate) fn acknowledged(&self) -> u32 {
        self.got.trailing_ones()
    }

    /// A node has thawed the image of an attempt.
    pub(crate) fn install(&mut self, c: ConnId, e2: Epoch) {
        match self.installed.binary_search(&(c, e2)) {
            Ok(_) => self.accuse(Wrong::InstalledTwice),
            Err(place) => self.installed.insert(place, (c, e2)),
        }
    }

    /// The connection ends: the first end is what the client sees.
    pub(crate) fn end(&mut self, c: ConnId, end: End) {
        if c == self.c && self.end.is_none() {
            self.end = Some(end);
            self.segment = Segment::Done;
        }
    }
}
