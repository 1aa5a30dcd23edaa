//! Every message of the ownership protocol.
//!
//! ```text
//!   0        1        2                 4
//!   +--------+--------+-----------------+--------------------+
//!   |  kind  | flags  | length of body  |  body ...          |
//!   +--------+--------+-----------------+--------------------+
//! ```
//! `flags` bit 0, [`MUST_KNOW`]: a receiver that does not know the kind counts the message as malformed; without the
//! bit it skips it. Several messages share a datagram. Each is idempotent, and each carries what is needed to see
//! that it is of another epoch, generation or boot.
//!
//! A message about a connection names third nodes in the numbers of the connection's front-end ([`NodeId`]).

mod moves;
mod nodes;
#[cfg(any(test, feature = "samples"))]
pub mod samples;

pub use moves::*;
pub use nodes::*;

use baton_stack::addr::ConnId;
use baton_stack::time::Duration;

use crate::codec::{Reader, Wire};
use crate::names::NodeId;

/// Where the state machines put what they want to say. `to` may be the node itself (a front-end that is the donor of
/// a first handoff asks its own arbiter): such a message is handed to the node's own handler after the call.
pub trait Outbox {
    /// Takes one message for `to`. May lose it: every message is repeated until it is answered.
    fn send(&mut self, to: NodeId, message: &Message<'_>);
}

/// The flag of a message that a receiver must not skip when it does not know its kind.
pub const MUST_KNOW: u8 = 1 << 0;
/// How long a message may wait for others that go the same way, the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Patience {
    /// Not at all: somebody cannot go on without it.
    None,
    /// Until the last datagram to that node is so old: it is welcome, but not worth a datagram of its own where there are many.
    Gap(Duration),
    /// So long: it only ends repetitions, or the way of packets that arrive all the same.
    For(Duration),
}

/// How old the last datagram to a node is when a hint has one of its own.
pub const HINT_GAP: Duration = Duration::from_millis(1);
/// How long INSTALLED waits for company. Meanwhile the former owner passes the client's packets on.
pub const INSTALLED_PATIENCE: Duration = Duration::from_millis(4);
/// How long a confirmation waits for company: a part of the time after which what it confirms is repeated.
pub const CONFIRMATION_PATIENCE: Duration = Duration::from_millis(5);
/// The length of a message's header, in bytes.
pub const MESSAGE_HEADER_BYTES: usize = 4;

macro_rules! messages {
    ($($(#[$doc:meta])+ $kind:literal $flags:ident $name:ident $(<$life:lifetime>)?,)+) => {
        /// One message.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Message<'a> {
            $($(#[$doc])+ $name($name $(<$life>)?),)+
        }

        impl<'a> Message<'a> {
            /// Every kind, as on the wire, with its name.
            pub const KINDS: &'static [(u8, &'static str)] = &[$(($kind, stringify!($name)),)+];

            /// The kind, as on the wire.
            #[must_use]
            pub const fn kind(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $kind,)+
                }
            }

            /// The message's name in metrics and tests.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)+
                }
            }

            const fn flags(&self) -> u8 {
                match self {
                    $(Self::$name(_) => messages!(@flags $flags),)+
                }
            }

            fn put_body(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(body) => body.put(out),)+
                }
            }

            fn take_body(kind: u8, reader: &mut Reader<'a>) -> Result<Self, MessageError> {
                let message = match kind {
                    $($kind => reader.take().map(Self::$name),)+
                    _ => return Err(MessageError::UnknownKind),
                };
                message.ok_or(MessageError::Malformed)
            }
        }

        $(impl<'a> From<$name $(<$life>)?> for Message<'a> {
            fn from(body: $name $(<$life>)?) -> Self {
                Self::$name(body)
            }
        })+
    };
    (@flags must) => { MUST_KNOW };
    (@flags hint) => { 0 };
}

messages! {
    /// A back-end starts, or has lost its lease.
    1 must Join,
    /// The heartbeat.
    2 must LeaseReq,
    /// The front-end's answer to both.
    3 must Lease<'a>,

    /// The owner asks who serves a request.
    8 must Ask<'a>,
    /// Answer: the owner itself.
    9 must Stay,
    /// Answer: another node; the owner may hand the connection to it.
    10 must Grant,
    /// Answer: another node, through the owner.
    11 must Forward,
    /// Answer: nobody; the owner says so to the client.
    12 must Reject,
    /// The recipient of a move may prepare this request.
    13 hint Prefetch<'a>,
    /// The owner asks for a grant to a node that somebody has named.
    14 must MoveAsk,
    /// Answer: not to that node.
    15 must MoveReject,

    /// A part of an image.
    16 must Handoff<'a>,
    /// Which parts have come.
    17 must PartAck,
    /// The recipient owns the connection.
    18 must Installed,
    /// The front-end knows, and routes accordingly.
    19 must Routed,
    /// The donor knows, and has dropped its image.
    20 must Done,
    /// The recipient will never install this image.
    21 must Refused,
    /// Somebody at the front-end wants the connection at another node.
    22 must MoveWish,

    /// The donor hears nothing from the recipient.
    24 must Abort,
    /// The recipient will never install: the donor owns the connection as before.
    25 must Thaw,
    /// Somebody owns the connection under this attempt's epoch or a later one: the donor drops its image. (The answer
    /// to ABORT. That bytes of a tail are gone is [`TailGone`].)
    26 must AttemptGone,
    /// The front-end asks a recipient to give an attempt up.
    27 must Revoke,
    /// The recipient will never install it.
    28 must Revoked,
    /// The recipient of an attempt is dead: what did the donor do with it?
    29 must Settle,
    /// What the donor did.
    30 must Settled,

    /// The owner needs bytes that an earlier owner keeps.
    40 must Fetch,
    /// The bytes.
    41 must Tail<'a>,
    /// The holder no longer has them. (That an attempt is over is [`AttemptGone`].)
    42 must TailGone,
    /// The client has acknowledged bytes that an earlier owner keeps.
    43 must Release,
    /// The holder has discarded them.
    44 must Released,
    /// The holder hears nothing from an owner: has the connection ended?
    45 must TailKept,

    /// The connection has ended at its owner.
    48 must Closed,
    /// The front-end knows.
    49 must ClosedAck,
    /// The front-end has no such connection any more: a node that still owns it drops it, silently.
    50 must Over,
}

impl<'a> Message<'a> {
    /// The connection that the message is about; `None` for one between nodes.
    #[must_use]
    pub const fn connection(&self) -> Option<ConnId> {
        match self {
            Self::Join(_) | Self::LeaseReq(_) | Self::Lease(_) => None,
            Self::Ask(Ask { c, .. })
            | Self::Stay(Stay { c, .. })
            | Self::Grant(Grant { c, .. })
            | Self::Forward(Forward { c, .. })
            | Self::Reject(Reject { c, .. })
            | Self::Prefetch(Prefetch { c, .. })
            | Self::MoveAsk(MoveAsk { c, .. })
            | Self::MoveReject(MoveReject { c, .. })
            | Self::MoveWish(MoveWish { c, .. })
            | Self::Handoff(Handoff { c, .. })
            | Self::PartAck(PartAck { c, .. })
            | Self::Installed(Installed { c, .. })
            | Self::Routed(Routed { c, .. })
            | Self::Done(Done { c, .. })
            | Self::Refused(Refused { c, .. })
            | Self::Abort(Abort { c, .. })
            | Self::Thaw(Thaw { c, .. })
            | Self::AttemptGone(AttemptGone { c, .. })
            | Self::Revoke(Revoke { c, .. })
            | Self::Revoked(Revoked { c, .. })
            | Self::Settle(Settle { c, .. })
            | Self::Settled(Settled { c, .. })
            | Self::Fetch(Fetch { c, .. })
            | Self::Tail(Tail { c, .. })
            | Self::TailGone(TailGone { c, .. })
            | Self::Release(Release { c, .. })
            | Self::Released(Released { c, .. })
            | Self::TailKept(TailKept { c })
            | Self::Closed(Closed { c, .. })
            | Self::ClosedAck(ClosedAck { c })
            | Self::Over(Over { c }) => Some(*c),
        }
    }

    /// How long the message may wait for others that go the same way.
    #[must_use]
    pub const fn patience(&self) -> Patience {
        match self {
            Self::Installed(_) => Patience::For(INSTALLED_PATIENCE),
            Self::Routed(_) | Self::Done(_) | Self::Release(_) | Self::Released(_) | Self::ClosedAck(_) => {
                Patience::For(CONFIRMATION_PATIENCE)
            }
            Self::Prefetch(_) => Patience::Gap(HINT_GAP),
            _ => Patience::None,
        }
    }

    /// Appends the message with its header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.kind(), self.flags(), 0, 0]);
        self.put_body(out);
        let body = out.len() - start - MESSAGE_HEADER_BYTES;
        let len = u16::try_from(body).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(field) = out.get_mut(start + 2..start + MESSAGE_HEADER_BYTES) {
            field.copy_from_slice(&len);
        }
    }

    /// The length of the message with its header.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.len()
    }

    /// Reads the next message of a datagram. An error concerns this message only: the reader stands behind it, or, if
    /// its header is cut, at the end.
    ///
    /// # Errors
    /// The sender's fault, each.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, MessageError> {
        let header = (reader.take::<u8>(), reader.take::<u8>(), reader.take::<&[u8]>());
        let (Some(kind), Some(flags), Some(body)) = header else {
            reader.rest();
            return Err(MessageError::Truncated);
        };
        let mut body = Reader::new(body);
        match Self::take_body(kind, &mut body) {
            Ok(message) if body.is_empty() => Ok(message),
            Ok(_) | Err(MessageError::Malformed | MessageError::Truncated) => Err(MessageError::Malformed),
            Err(MessageError::UnknownKind | MessageError::Skipped) if flags & MUST_KNOW == 0 => {
                Err(MessageError::Skipped)
            }
            Err(MessageError::UnknownKind | MessageError::Skipped) => Err(MessageError::UnknownKind),
        }
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// The datagram ends within a message.
    #[error("a message is cut short")]
    Truncated,
    /// A field has a value that it cannot have, or the body is too short or too long.
    #[error("a message has a field of impossible value")]
    Malformed,
    /// A kind that this version does not know and must not skip.
    #[error("a message of unknown kind that must not be skipped")]
    UnknownKind,
    /// A kind that this version does not know and may skip: not an error of the sender.
    #[error("a message of unknown kind, skipped")]
    Skipped,
}

#[cfg(test)]
mod tests;
