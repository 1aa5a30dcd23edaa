//! What is said about a move: the image on its way, who owns the connection then, what is settled after silence and deaths,
//! the bytes that stay behind, and the end.

use baton_stack::addr::{ConnId, Flow};

use super::MESSAGE_HEADER_BYTES;
use crate::codec::{wire_enum, wire_struct};
use crate::names::{Epoch, Generation, NodeId};

/// The most parts of an image that one PART-ACK acknowledges beyond those without a gap.
pub const PART_ACK_BITS: u16 = 128;

wire_struct! {
    /// Owner -> F. Answered by GRANT or MOVE-REJECT; repeated until then. If F has an answer to ASK in hand that the owner
    /// may still use, it says that one again: of one owner and epoch there is one grant at a time (R7).
    pub struct MoveAsk {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// As in ASK (R1).
        tried: Epoch,
        /// The ordinal of the request that comes next.
        n: u32,
        /// The node that is wanted.
        to: NodeId,
    }
}

wire_struct! {
    /// F -> owner: the node is down, or is the owner.
    pub struct MoveReject {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// The ordinal of the request that comes next.
        n: u32,
        /// The node that was wanted.
        to: NodeId,
    }
}

wire_struct! {
    /// F -> owner. Repeated until the owner asks (MOVE-ASK), a few times: an owner that is busy asks later.
    pub struct MoveWish {
        /// The connection.
        c: ConnId,
        /// The owner's epoch, as F knows it.
        e: Epoch,
        /// The node that is wanted.
        to: NodeId,
    }
}

wire_struct! {
    /// D -> R. Answered part by part with PART-ACK (an image of one part is not), as a whole with INSTALLED or REFUSED.
    pub struct Handoff<'a> {
        /// The connection.
        c: ConnId,
        /// The donor's epoch.
        base: Epoch,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient's generation (R4).
        g: Generation,
        /// The image's length.
        total: u32,
        /// The length of each part but the last.
        part_bytes: u16,
        /// Which part this is, from 0.
        part: u16,
        /// Its bytes.
        bytes: &'a [u8],
    }
}

/// What [`Handoff`] adds to the bytes of a part.
pub const HANDOFF_OVERHEAD: usize = MESSAGE_HEADER_BYTES + 8 + 4 + 4 + 8 + 4 + 2 + 2 + 2;

wire_struct! {
    /// R -> D. Selective.
    pub struct PartAck {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient's generation.
        g: Generation,
        /// Every part before this one has come, and this one has not.
        missing: u16,
        /// Bit i: part `missing + 1 + i` has come.
        beyond: u128,
    }
}

wire_struct! {
    /// R -> F until ROUTED, R -> D until DONE. Kept by R, also after moving on or closing, until both (R9).
    pub struct Installed {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e2: Epoch,
        /// The owner's generation.
        g: Generation,
    }
}

wire_struct! {
    /// F -> R.
    pub struct Routed {
        /// The connection.
        c: ConnId,
        /// The epoch that was announced; the route has it or a later one.
        e2: Epoch,
    }
}

wire_struct! {
    /// D -> R.
    pub struct Done {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
    }
}

wire_struct! {
    /// R -> D. Remembered by R (R9, R10).
    pub struct Refused {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient's generation: a life speaks for itself only (R6).
        g: Generation,
        /// Why.
        reason: RefuseReason,
    }
}

wire_enum! {
    /// Why a recipient takes no image.
    pub enum RefuseReason {
        /// It has too much to do.
        Overload = 1,
        /// It has as many connections, or images on the way, as it may have.
        Limit = 2,
        /// The image is longer than any may be.
        TooLarge = 3,
        /// The image is of a version, or has a part, that it cannot read.
        Version = 4,
        /// The image is no image.
        Malformed = 5,
        /// It is giving its own connections away.
        Draining = 6,
        /// The front-end took the attempt back first.
        Revoked = 7,
        /// The rest of the image did not come in time.
        Incomplete = 8,
        /// A response is to be continued whose content is another one here, or none.
        ContentDiffers = 9,
        /// A response is to be continued, and it is not known yet whether its content is the same here. Later it may be.
        ContentUnknown = 10,
    }
}

impl RefuseReason {
    /// The reason's name in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::Limit => "limit",
            Self::TooLarge => "too_large",
            Self::Version => "version",
            Self::Malformed => "malformed",
            Self::Draining => "draining",
            Self::Revoked => "revoked",
            Self::Incomplete => "incomplete",
            Self::ContentDiffers => "content_differs",
            Self::ContentUnknown => "content_unknown",
        }
    }
}

wire_struct! {
    /// D -> F. Answered by THAW, ATTEMPT-GONE or SETTLE, when F knows.
    pub struct Abort {
        /// The connection.
        c: ConnId,
        /// The donor's epoch.
        base: Epoch,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient.
        to: NodeId,
        /// The recipient's generation.
        g: Generation,
    }
}

wire_struct! {
    /// F -> D.
    pub struct Thaw {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
    }
}

wire_struct! {
    /// F -> D.
    pub struct AttemptGone {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
    }
}

wire_struct! {
    /// F -> R. Repeated until answered by REVOKED or INSTALLED, or R is dead.
    pub struct Revoke {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient's generation.
        g: Generation,
        /// The connection's flow: R may have nothing of the attempt but packets that wait for it (R11).
        flow: Flow,
    }
}

wire_struct! {
    /// R -> F. Remembered by R (R9, R10).
    pub struct Revoked {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The recipient's generation.
        g: Generation,
    }
}

wire_struct! {
    /// F -> D: the life `g` of `to` is over. Repeated until answered by SETTLED or D is dead too. A donor that was
    /// frozen towards it discards its image; one that was not never uses `e2`.
    pub struct Settle {
        /// The connection.
        c: ConnId,
        /// The donor's epoch.
        base: Epoch,
        /// The epoch of the attempt.
        e2: Epoch,
        /// The dead recipient.
        to: NodeId,
        /// The generation that is dead.
        g: Generation,
    }
}

wire_struct! {
    /// D -> F.
    pub struct Settled {
        /// The connection.
        c: ConnId,
        /// The epoch of the attempt.
        e2: Epoch,
        /// What became of it.
        claim: SettleClaim,
    }
}

wire_enum! {
    /// What a donor says of an attempt whose recipient is dead.
    pub enum SettleClaim {
        /// The donor owns the connection; the attempt was never made, or was refused.
        Kept = 1,
        /// The image went out: the dead node may have sent. The donor has nothing any more.
        Lost = 2,
    }
}

wire_struct! {
    /// Owner -> holder. Answered by TAIL, in pieces, and TAIL-GONE; repeated until all has come.
    pub struct Fetch {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// The place of the first byte: how many were sent before it on the connection.
        start: u64,
        /// How many.
        len: u32,
    }
}

wire_struct! {
    /// Holder -> owner, also unasked.
    pub struct Tail<'a> {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// The first byte.
        start: u64,
        /// The bytes.
        bytes: &'a [u8],
    }
}

wire_struct! {
    /// Holder -> owner.
    pub struct TailGone {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// The first byte.
        start: u64,
        /// How many.
        len: u32,
    }
}

wire_struct! {
    /// Owner -> holder. Cumulative; repeated until RELEASED, and now and then as a sign that the rest is needed still.
    pub struct Release {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// No byte before this one is needed any more: it is acknowledged, or has come.
        up_to: u64,
    }
}

wire_struct! {
    /// Holder -> owner. Cumulative.
    pub struct Released {
        /// The connection.
        c: ConnId,
        /// The owner's epoch, as it was said.
        e: Epoch,
        /// Every byte before this one is discarded.
        up_to: u64,
    }
}

wire_struct! {
    /// Holder -> F, when it hears nothing from an owner. Answered by OVER if F has no such connection any more, else not at all.
    pub struct TailKept {
        /// The connection.
        c: ConnId,
    }
}

wire_struct! {
    /// Owner -> F. Repeated until CLOSED-ACK. Implies INSTALLED(c, e); beats every INSTALLED of that `c`.
    pub struct Closed {
        /// The connection.
        c: ConnId,
        /// The owner's epoch.
        e: Epoch,
        /// SND.NXT (RFC 9293 section 3.3.1).
        snd_nxt: u32,
        /// RCV.NXT.
        rcv_nxt: u32,
        /// Last TSval sent and TS.Recent (RFC 7323 section 4.3); `None` without the option.
        timestamps: Option<ClosedTimestamps>,
        /// How it ended.
        ended: Ended,
        /// What was served by all of the connection's owners.
        served: Served,
    }
}

wire_struct! {
    /// What the next connection of the flow must be above.
    pub struct ClosedTimestamps {
        /// The last TSval sent.
        ts_val: u32,
        /// TS.Recent.
        ts_recent: u32,
    }
}

wire_enum! {
    /// How a connection ended.
    pub enum Ended {
        /// Both sides have closed, ours first: TIME_WAIT is due.
        Active = 1,
        /// Both sides have closed, the client's first.
        Passive = 2,
        /// The client reset it.
        ResetByClient = 3,
        /// The owner reset it.
        ResetByUs = 4,
        /// The client was silent for too long.
        TimedOut = 5,
    }
}

wire_struct! {
    /// What a connection was used for.
    pub struct Served {
        /// Responses that were completed.
        requests: u32,
        /// Bytes of responses that were sent, heads included.
        bytes: u64,
    }
}

impl Served {
    /// Nothing yet.
    pub const NOTHING: Self = Self { requests: 0, bytes: 0 };
}

wire_struct! {
    /// F -> owner.
    pub struct ClosedAck {
        /// The connection.
        c: ConnId,
    }
}

wire_struct! {
    /// F -> a node that takes itself for the owner.
    pub struct Over {
        /// The connection.
        c: ConnId,
    }
}
