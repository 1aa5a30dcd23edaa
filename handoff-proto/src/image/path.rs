//! What an image says of the path MTU, but for what is confirmed, which is in the Block: nothing, where no router has said anything
//! and no longer packet than before is under way.
//!
//! ```text
//!  8012  PathNumbers: mtu 2 (the greatest: unknown), flags 1 (1 `sizing` counts, 2 `claim` does), reserved 1, sizing 4 + 2,
//!        claim 4 + 2, raise 8
//! ```

use baton_stack::tcp::{PathMtu, SeqNum};
use baton_stack::time::Duration;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ImageError;
use super::times::{duration, micros};

const FLAG_SIZING: u8 = 1 << 0;
const FLAG_CLAIM: u8 = 1 << 1;
const FLAGS_KNOWN: u8 = (1 << 2) - 1;

/// What is known of the path.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(super) struct PathNumbers {
    mtu: U16,
    flags: u8,
    reserved: u8,
    sizing_end: U32,
    sizing_len: U16,
    claim_seq: U32,
    claim_mtu: U16,
    raise: U64,
}

const _: () = assert!(size_of::<PathNumbers>() == 24);

impl PathNumbers {
    pub(super) fn of(path: &PathMtu<Duration>) -> Self {
        let PathMtu { mtu, confirmed: _, sizing, claim, raise_at } = *path;
        let (sizing_end, sizing_len) = sizing.map_or((0, 0), |(end, len)| (end.0, len));
        let (claim_seq, claim_mtu) = claim.map_or((0, 0), |(seq, mtu)| (seq.0, mtu));
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        Self {
            mtu: mtu.into(),
            flags: flag(sizing.is_some(), FLAG_SIZING) | flag(claim.is_some(), FLAG_CLAIM),
            reserved: 0,
            sizing_end: sizing_end.into(),
            sizing_len: sizing_len.into(),
            claim_seq: claim_seq.into(),
            claim_mtu: claim_mtu.into(),
            raise: micros(raise_at),
        }
    }

    /// The path, with what the Block says is `confirmed`.
    pub(super) fn path(&self, confirmed: u16) -> Result<PathMtu<Duration>, ImageError> {
        if self.flags & !FLAGS_KNOWN != 0 || self.reserved != 0 {
            return Err(ImageError::Malformed("reserved field"));
        }
        let has = |flag: u8| self.flags & flag != 0;
        Ok(PathMtu {
            mtu: self.mtu.get(),
            confirmed,
            sizing: has(FLAG_SIZING).then(|| (SeqNum(self.sizing_end.get()), self.sizing_len.get())),
            claim: has(FLAG_CLAIM).then(|| (SeqNum(self.claim_seq.get()), self.claim_mtu.get())),
            raise_at: duration(self.raise),
        })
    }
}
