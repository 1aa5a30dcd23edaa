//! A frozen connection as bytes.
//!
//! ```text
//!  +----------------------+  Head: who, where, when (fixed, 76 bytes)
//!  | version, ids, flow   |
//!  +----------------------+  Block: the TCB's numbers (fixed, 208 bytes)
//!  | sequence numbers ... |
//!  +----------------------+  the HTTP cursor (fixed, 32 bytes)
//!  | cursor               |
//!  +------+------+--------+
//!  | kind |  len | value  |  parts of any length, in any order; ranges of one kind in theirs
//!  +------+------+--------+
//!  |  ... until the end   |
//! ```
//! All integers are big-endian. Times are microseconds; all bits set means that there is none. A part whose kind has its highest
//! bit set must be understood: who does not know it refuses the image. Any other unknown part is skipped.
//!
//! The reader checks the form; whether the values make a connection is checked where it is thawed
//! ([`Tcb::thaw`](baton_stack::tcp::Tcb::thaw)).

use arrayvec::ArrayVec;
use baton_http1::{CURSOR_LEN, Cursor};
use baton_stack::addr::{ConnId, MacAddr};
use baton_stack::tcp::{Bulk, Frozen, FrozenBytes};
use zerocopy::{FromBytes, IntoBytes};

use crate::codec::Reader;
use crate::message::{RefuseReason, Served};
use crate::names::Epoch;
use block::{Block, block_of, frozen_of};
use flight::{Flight, RUN_LEN, UndoNumbers};
use head::{Head, flow_of};
use parts::{PART_FIXED_LEN_MAX, PART_HEADER_LEN, PARTS_MAX_ONCE, Parts};
pub use resume::{RESUME_NAME_BYTES_MAX, Resume};

mod block;
mod flight;
mod head;
mod parts;
mod path;
mod resume;
mod signals;
mod start;
mod times;

/// The longest image, in bytes.
pub const IMAGE_BYTES_MAX: usize = 8 << 20;
/// The version that is written. The one before it, once there is one, is read too.
pub const IMAGE_VERSION: u8 = 1;
/// The length of an idle connection's image at the most, whatever its address family.
pub const IDLE_IMAGE_BYTES_MAX: usize = 384;
/// Requests whose server is decided already, at the most.
pub const PLAN_MAX: usize = 32;

/// Everything that a new owner needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The connection.
    pub c: ConnId,
    /// The donor's epoch.
    pub base: Epoch,
    /// The recipient's epoch.
    pub epoch: Epoch,
    /// The highest epoch under which it was ever tried to move the connection.
    pub tried: Epoch,
    /// Where the client's packets come from, and so where packets to it go.
    pub next_hop: MacAddr,
    /// The TCB.
    pub tcb: Frozen,
    /// Where the parser stands.
    pub cursor: Cursor,
    /// What is decided of requests to come.
    pub plan: Plan,
    /// The response that is being sent, if one is: the new owner goes on with it.
    pub resume: Option<Resume>,
    /// What the connection was used for so far.
    pub served: Served,
}

/// A request that the recipient is to serve itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Its ordinal on the connection.
    pub n: u32,
    /// Bytes of its path that the service does not see.
    pub strip: u16,
}

/// Requests whose server is decided: at most [`PLAN_MAX`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan(ArrayVec<Planned, PLAN_MAX>);

impl Plan {
    /// One request.
    #[must_use]
    pub fn of(planned: Planned) -> Self {
        Self(ArrayVec::from_iter([planned]))
    }

    /// Adds a request. False if there is no room.
    #[must_use]
    pub fn push(&mut self, planned: Planned) -> bool {
        self.0.try_push(planned).is_ok()
    }

    /// The requests.
    pub fn iter(&self) -> impl Iterator<Item = Planned> + '_ {
        self.0.iter().copied()
    }
}

/// Why bytes are no image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImageError {
    /// Too short for what it says of itself.
    #[error("the image ends too early")]
    Truncated,
    /// Of another version.
    #[error("the image is of version {0}")]
    Version(u8),
    /// A part that must be understood, and is not.
    #[error("the image has a part of unknown kind {0:#06x}")]
    UnknownPart(u16),
    /// A field or part, named here, has a value or comes as often as in no image.
    #[error("no image has such a {0}")]
    Malformed(&'static str),
}

impl ImageError {
    /// What the donor is told.
    #[must_use]
    pub const fn refusal(self) -> RefuseReason {
        match self {
            Self::Version(_) | Self::UnknownPart(_) => RefuseReason::Version,
            Self::Truncated | Self::Malformed(_) => RefuseReason::Malformed,
        }
    }
}

const _: () = assert!(size_of::<Head>() + size_of::<Block>() + CURSOR_LEN < IDLE_IMAGE_BYTES_MAX);

impl Image {
    /// The image's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len_about());
        out.extend_from_slice(self.head().as_bytes());
        out.extend_from_slice(block_of(&self.tcb).as_bytes());
        let mut cursor = [0; CURSOR_LEN];
        self.cursor.encode(&mut cursor);
        out.extend_from_slice(&cursor);
        parts::put(&mut out, self);
        out
    }

    /// Reads an image.
    ///
    /// # Errors
    /// It is none, or one that this version cannot read.
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        let version = *bytes.first().ok_or(ImageError::Truncated)?;
        if version != IMAGE_VERSION {
            return Err(ImageError::Version(version));
        }
        let (head, rest) = Head::read_from_prefix(bytes).map_err(|_| ImageError::Truncated)?;
        let (block, rest) = Block::read_from_prefix(rest).map_err(|_| ImageError::Truncated)?;
        let mut reader = Reader::new(rest);
        let cursor = reader.array::<CURSOR_LEN>().ok_or(ImageError::Truncated)?;
        let cursor = Cursor::decode(&cursor).map_err(|_| ImageError::Malformed("cursor"))?;
        let parts = Parts::take(&mut reader)?;
        let flow = flow_of(&head)?;
        Ok(Self {
            c: ConnId(head.c.get()),
            base: Epoch(head.base.get()),
            epoch: Epoch(head.epoch.get()),
            tried: Epoch(head.tried.get()),
            next_hop: MacAddr(head.next_hop),
            cursor,
            served: Served { requests: head.served_requests.get(), bytes: head.served_bytes.get() },
            plan: Plan(parts.plan),
            resume: parts.resume,
            tcb: frozen_of(flow, &block, parts.tcb)?,
        })
    }

    /// How long the image of a connection is at the most that has this in it, with all bytes to send, one planned request and the
    /// response that goes on.
    #[must_use]
    pub fn len_at_most(bulk: &Bulk, resume: Option<&Resume>) -> u64 {
        let Bulk { local, extents, received, ranges, runs } = *bulk;
        let parts = (extents + ranges + PARTS_MAX_ONCE) * (PART_HEADER_LEN + PART_FIXED_LEN_MAX);
        let once = size_of::<Flight>() + size_of::<UndoNumbers>() + resume.map_or(0, Resume::len);
        let known = received + parts + runs * RUN_LEN + once;
        let fixed = size_of::<Head>() + size_of::<Block>() + CURSOR_LEN;
        local.saturating_add(u64::try_from(fixed + known).unwrap_or(u64::MAX))
    }

    /// What the image will take, and a little more.
    fn len_about(&self) -> usize {
        let queue = self.tcb.queue.iter().map(|bytes| match bytes {
            FrozenBytes::Here(bytes) => bytes.len() + 8,
            FrozenBytes::Remote { .. } => 32,
        });
        let ranges = self.tcb.out_of_order.iter().map(|(_, bytes)| bytes.len() + 16);
        let bytes = queue.chain(ranges).sum::<usize>() + self.tcb.unread.len();
        IDLE_IMAGE_BYTES_MAX + bytes + self.tcb.recovery.sent.len() * RUN_LEN + 80 + self.plan.0.len() * 8
    }
}

#[cfg(test)]
mod tests;
