//! HELLO and HELLO-ACK on the wire: who is there, since when, and what it can do; with an HMAC under a key of this pair
//! and direction, so that a reflected one does not verify.

use baton_stack::drop::DropReason;

use super::Role;
use crate::codec::{Reader, Wire, wire_struct};
use crate::message::NodeName;
use crate::seal::{CHALLENGE_BYTES, HELLO_TAG_BYTES, HelloKey};

/// The random number that proves a HELLO-ACK fresh.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Challenge(pub(super) [u8; CHALLENGE_BYTES]);

impl Wire<'_> for Challenge {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn take(reader: &mut Reader<'_>) -> Option<Self> {
        reader.array().map(Self)
    }
}

wire_struct! {
    /// HELLO; with an echo, HELLO-ACK.
    pub(super) struct Hello<'a> {
        /// The oldest wire version that the sender reads.
        version_min: u8,
        /// The newest wire version that the sender reads and writes.
        version_max: u8,
        /// What the sender is.
        role: Role,
        /// How many cores it has.
        cores: u8,
        /// The longest UDP payload that it takes.
        datagram_bytes: u16,
        /// Its name.
        sender: NodeName<'a>,
        /// The name of the node that it is meant for.
        receiver: NodeName<'a>,
        /// To be echoed.
        challenge: Challenge,
        /// The receiver's challenge, if the sender has seen one.
        echo: Option<Challenge>,
        /// Whether the sender waits for an echo of its challenge.
        wants_answer: bool,
    }
}

impl<'a> Hello<'a> {
    /// Appends the HELLO to the datagram's header in `out`, with the tag over both.
    pub(super) fn seal(&self, key: &HelloKey, out: &mut Vec<u8>) {
        self.put(out);
        let tag = key.sign(out);
        out.extend_from_slice(&tag);
    }

    /// Reads a HELLO whose tag is right.
    pub(super) fn open(key: &HelloKey, head: &[u8], body: &'a [u8]) -> Result<Self, DropReason> {
        let end = body.len().checked_sub(HELLO_TAG_BYTES).ok_or(DropReason::Truncated)?;
        let (fields, tag) = body.split_at_checked(end).ok_or(DropReason::Truncated)?;
        if !key.verify(&[head, fields].concat(), tag) {
            return Err(DropReason::MessageUnsealed);
        }
        Self::read(fields)
    }

    /// Who says that he said it to whom, whatever the tag: what the key is made from.
    pub(super) fn names(body: &'a [u8]) -> Option<(NodeName<'a>, NodeName<'a>)> {
        let fields = body.get(..body.len().checked_sub(HELLO_TAG_BYTES)?)?;
        Self::read(fields).ok().map(|hello| (hello.sender, hello.receiver))
    }

    fn read(fields: &'a [u8]) -> Result<Self, DropReason> {
        let mut reader = Reader::new(fields);
        let hello = reader.take().ok_or(DropReason::MessageMalformed)?;
        if reader.is_empty() { Ok(hello) } else { Err(DropReason::MessageMalformed) }
    }
}
