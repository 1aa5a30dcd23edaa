//! The network: everything that was said and may still arrive.
//!
//! What is on its way may be delivered at any time, in any order, as often as the adversary likes, or never: loss, delay,
//! reordering and duplication are one thing here. It is gone when its life is over, and what a session would not open
//! never arrives. JOIN, LEASE-REQ and LEASE arrive at most once: each is said once under its number, and the sessions'
//! replay window takes care of copies.

use core::fmt;
use std::sync::Arc;

use handoff_proto::codec::Reader;
use handoff_proto::message::{Message, Outbox};
use handoff_proto::names::{Boot, NodeId};

/// One message on its way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Packet {
    pub(crate) to: NodeId,
    pub(crate) from: NodeId,
    pub(crate) to_boot: Boot,
    pub(crate) from_boot: Boot,
    /// How many ticks ago it was said.
    pub(crate) age: u8,
    pub(crate) bytes: Arc<[u8]>,
}

impl Packet {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::decode(&mut Reader::new(&self.bytes)).expect("what was encoded decodes")
    }

    fn says(&self, other: &Self) -> bool {
        let ends = |packet: &Self| (packet.to, packet.from, packet.to_boot, packet.from_boot);
        ends(self) == ends(other) && self.bytes == other.bytes
    }

    fn arrives_once(&self) -> bool {
        matches!(self.message(), Message::Join(_) | Message::LeaseReq(_) | Message::Lease(_))
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}->{}.{} {:?}", self.from, self.from_boot.0, self.to, self.to_boot.0, self.message())
    }
}

/// All of them, ordered, each once.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Net(Arc<Vec<Packet>>);

impl Net {
    pub(crate) fn packets(&self) -> &[Packet] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An older copy of the same can do nothing that a younger one cannot.
    pub(crate) fn insert(&mut self, packet: Packet) {
        let copy = self.0.iter().position(|other| other.says(&packet));
        if copy.is_some_and(|place| self.0[place].age <= packet.age) {
            return;
        }
        let packets = Arc::make_mut(&mut self.0);
        if let Some(place) = copy {
            packets.remove(place);
        }
        let place = packets.partition_point(|other| *other < packet);
        packets.insert(place, packet);
    }

    /// Takes what is delivered, if it comes only once.
    pub(crate) fn note_delivered(&mut self, packet: &Packet) {
        if packet.arrives_once()
            && let Ok(place) = self.0.binary_search(packet)
        {
            Arc::make_mut(&mut self.0).remove(place);
        }
    }

    /// Takes everything, for a schedule without faults.
    pub(crate) fn take(&mut self) -> Vec<Packet> {
        core::mem::take(Arc::make_mut(&mut self.0))
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&Packet) -> bool) {
        Arc::make_mut(&mut self.0).retain(keep);
    }

    /// A tick passes. Messages last for `life` ticks.
    pub(crate) fn grow_older(&mut self, life: u8) {
        let packets = Arc::make_mut(&mut self.0);
        packets.retain(|packet| packet.age + 1 < life);
        for packet in &mut *packets {
            packet.age += 1;
        }
        packets.sort();
    }
}

/// What a machine wants to send.
#[derive(Default, Debug)]
pub(crate) struct Mail(pub(crate) Vec<(NodeId, Vec<u8>)>);

impl Outbox for Mail {
    fn send(&mut self, to: NodeId, message: &Message<'_>) {
        let mut bytes = Vec::with_capacity(64);
        message.encode(&mut bytes);
        self.0.push((to, bytes));
    }
}
