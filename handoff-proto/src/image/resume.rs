//! What an image says of a response that is being sent: where its new owner goes on with it. Bytes that the donor had given to TCP and
//! that were not sent are not in the image; the new owner has them itself, or it refuses.
//!
//! ```text
//!  8009  n 4, status 2, flags 1 (1 keep-alive, 2 chunked), reserved 1, first 8, length 8 (chunked: all bits set), offset 8,
//!        validator 32, name: the rest, 1 to 1,024 bytes
//! ```

use super::ImageError;
use super::parts::{PART_HEADER_LEN, ensure_end, put_part};
use super::times::NEVER;
use crate::codec::{Reader, Wire};

/// The longest name of a content, in bytes. A response whose content has a longer one goes on where it began.
pub const RESUME_NAME_BYTES_MAX: usize = 1_024;

/// The length of the part without the name.
const FIXED_LEN: usize = 64;

const FLAG_KEEP_ALIVE: u8 = 1 << 0;
const FLAG_CHUNKED: u8 = 1 << 1;
const FLAGS_KNOWN: u8 = (1 << 2) - 1;

/// A response whose head was sent, or travels among the bytes to send, and whose body goes on at the new owner.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Resume {
    /// The ordinal of its request.
    pub n: u32,
    /// The status that its head has.
    pub status: u16,
    /// Whether the connection stays open after it, as its head has told the client.
    pub keep_alive: bool,
    /// Where in the content the body begins: a range's first byte.
    pub first: u64,
    /// The body's length, if its head has told it; else the body is chunked.
    pub length: Option<u64>,
    /// The next byte of the body to send, chunk framing included.
    pub offset: u64,
    /// Names the content's exact bytes: whoever has the same validator under the same name has the same bytes.
    pub validator: [u8; 32],
    /// What the services call the content.
    pub name: Vec<u8>,
}

impl Resume {
    /// The length of the part.
    pub(super) const fn len(&self) -> usize {
        PART_HEADER_LEN + FIXED_LEN + self.name.len()
    }

    pub(super) fn put(&self, kind: u16, out: &mut Vec<u8>) {
        let Self { n, status, keep_alive, first, length, offset, validator, name } = self;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        put_part(out, kind, |out| {
            n.put(out);
            status.put(out);
            (flag(*keep_alive, FLAG_KEEP_ALIVE) | flag(length.is_none(), FLAG_CHUNKED)).put(out);
            0_u8.put(out);
            first.put(out);
            length.unwrap_or(NEVER).put(out);
            offset.put(out);
            out.extend_from_slice(validator);
            out.extend_from_slice(name);
        });
    }

    pub(super) fn take(value: &[u8]) -> Result<Self, ImageError> {
        let mut reader = Reader::new(value);
        let n = reader.take().ok_or(ImageError::Truncated)?;
        let status = reader.take().ok_or(ImageError::Truncated)?;
        let flags: u8 = reader.take().ok_or(ImageError::Truncated)?;
        let reserved: u8 = reader.take().ok_or(ImageError::Truncated)?;
        let first: u64 = reader.take().ok_or(ImageError::Truncated)?;
        let length: u64 = reader.take().ok_or(ImageError::Truncated)?;
        let offset: u64 = reader.take().ok_or(ImageError::Truncated)?;
        let validator = reader.array().ok_or(ImageError::Truncated)?;
        let name = reader.rest();
        ensure_end(&reader, "response")?;
        let is_chunked = flags & FLAG_CHUNKED != 0;
        if flags & !FLAGS_KNOWN != 0 || reserved != 0 || is_chunked != (length == NEVER) {
            return Err(ImageError::Malformed("reserved field"));
        }
        // A body that its length ends lies within the numbers, and the next byte within the body.
        let is_within = is_chunked || (offset <= length && first.checked_add(length).is_some());
        if !is_within || name.is_empty() || name.len() > RESUME_NAME_BYTES_MAX {
            return Err(ImageError::Malformed("response"));
        }
        Ok(Self {
            n,
            status,
            keep_alive: flags & FLAG_KEEP_ALIVE != 0,
            first,
            length: (!is_chunked).then_some(length),
            offset,
            validator,
            name: name.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: u16 = 0x8009;

    fn resume() -> Resume {
        let (first, length, offset) = (1 << 40, Some(9_000), 9_000);
        let name = b"/a/b".to_vec();
        Resume { n: 7, status: 206, keep_alive: true, first, length, offset, validator: [3; 32], name }
    }

    /// The part's value.
    fn value(resume: &Resume) -> Vec<u8> {
        let mut out = Vec::new();
        resume.put(KIND, &mut out);
        assert_eq!(out.len(), resume.len());
        out.split_off(6)
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        for keep_alive in [false, true] {
            for length in [None, Some(9_000)] {
                let resume = Resume { keep_alive, length, ..resume() };
                assert_eq!(Resume::take(&value(&resume)), Ok(resume));
            }
        }
    }

    #[test]
    fn the_name_at_its_limits_and_one_past() {
        for (len, is_right) in [(0, false), (1, true), (1_024, true), (1_025, false)] {
            let resume = Resume { name: vec![b'n'; len], ..resume() };
            let taken = Resume::take(&value(&resume));
            assert_eq!(taken, if is_right { Ok(resume) } else { Err(ImageError::Malformed("response")) }, "{len}");
        }
    }

    #[test]
    fn what_no_response_has_is_refused() {
        let wrong = |change: fn(&mut Resume)| {
            let mut resume = resume();
            change(&mut resume);
            Resume::take(&value(&resume))
        };
        assert_eq!(wrong(|resume| resume.offset = 9_001), Err(ImageError::Malformed("response")));
        assert_eq!(wrong(|resume| resume.first = u64::MAX), Err(ImageError::Malformed("response")));
        assert_eq!(wrong(|resume| resume.length = Some(NEVER)), Err(ImageError::Malformed("reserved field")));
        let good = value(&resume());
        for (at, byte) in [(6, 4), (7, 1), (6, 2)] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert_eq!(Resume::take(&bytes), Err(ImageError::Malformed("reserved field")), "{at}");
        }
        for len in 0..FIXED_LEN {
            assert!(Resume::take(&good[..len]).is_err(), "{len}");
        }
    }
}
