//! TCP segments on the wire (RFC 9293 section 3.1): header, options, payload.

use arrayvec::ArrayVec;

use super::seq::SeqNum;
use crate::drop::DropReason;
use crate::ecn::Ecn;

/// The length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;
/// The longest header, in bytes.
pub const HEADER_LEN_MAX: usize = 60;
/// SACK blocks in one segment at the most (RFC 2018 section 3).
pub const SACK_BLOCKS_MAX: usize = 4;

const KIND_END: u8 = 0;
const KIND_NOP: u8 = 1;
const KIND_MSS: u8 = 2;
const KIND_WINDOW_SCALE: u8 = 3;
const KIND_SACK_PERMITTED: u8 = 4;
const KIND_SACK: u8 = 5;
const KIND_TIMESTAMPS: u8 = 8;

/// The control bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN-Echo: congestion was signalled (RFC 3168 section 6.1).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168 section 6.1).
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The timestamps option (RFC 7323 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timestamps {
    /// TSval.
    pub val: u32,
    /// TSecr.
    pub ecr: u32,
}

/// The options of a segment. What is malformed or unknown is left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Maximum segment size, in bytes.
    pub mss: Option<u16>,
    /// Window scale, at most 14 (RFC 7323 section 2.3).
    pub window_scale: Option<u8>,
    /// Whether SACK is permitted.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// SACK blocks: first byte, and the byte after the last.
    pub sack: ArrayVec<(SeqNum, SeqNum), SACK_BLOCKS_MAX>,
}

/// One segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first byte, or of the SYN.
    pub seq: SeqNum,
    /// Acknowledgment number; counts only with [`Flags::ACK`].
    pub ack: SeqNum,
    /// Control bits.
    pub flags: Flags,
    /// The window field, not scaled.
    pub window: u16,
    /// The urgent pointer: where urgent data ends, counted from the sequence number. Counts only with [`Flags::URG`].
    pub urgent: u16,
    /// Options.
    pub options: Options,
    /// Payload.
    pub payload: &'a [u8],
    /// What the IP header in front said of congestion; [`Segment::emit`] does not write it.
    pub ecn: Ecn,
}

impl<'a> Segment<'a> {
    /// Reads a segment from its header on. The checksum is the caller's affair.
    ///
    /// # Errors
    /// [`DropReason::Truncated`] or [`DropReason::Malformed`].
    pub fn parse(tcp: &'a [u8]) -> Result<Self, DropReason> {
        let header = tcp.first_chunk::<HEADER_LEN>().ok_or(DropReason::Truncated)?;
        let len = usize::from(header[12] >> 4) * 4;
        if len < HEADER_LEN {
            return Err(DropReason::Malformed);
        }
        let (options, payload) = tcp[HEADER_LEN..].split_at_checked(len - HEADER_LEN).ok_or(DropReason::Truncated)?;
        Ok(Self {
            src_port: u16::from_be_bytes([header[0], header[1]]),
            dst_port: u16::from_be_bytes([header[2], header[3]]),
            seq: SeqNum(u32::from_be_bytes([header[4], header[5], header[6], header[7]])),
            ack: SeqNum(u32::from_be_bytes([header[8], header[9], header[10], header[11]])),
            flags: Flags(header[13]),
            window: u16::from_be_bytes([header[14], header[15]]),
            urgent: u16::from_be_bytes([header[18], header[19]]),
            options: Options::parse(options),
            payload,
            ecn: Ecn::NotEct,
        })
    }

    /// The same segment, out of an IP packet with this ECN field.
    #[must_use]
    pub fn with_ecn(self, ecn: Ecn) -> Self {
        Self { ecn, ..self }
    }

    /// What it takes of the sequence space: payload, SYN and FIN.
    #[must_use]
    pub fn len(&self) -> u32 {
        let payload = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        payload + u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN))
    }
}

impl<'a> Segment<'a> {
    /// Whether it takes nothing of the sequence space.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the segment; the checksum is left zero. Returns its length; zero if `buf` is too short.
    pub fn emit(&self, buf: &mut [u8]) -> usize {
        let header_len = HEADER_LEN + self.options.len();
        let len = header_len + self.payload.len();
        let Some(out) = buf.get_mut(..len) else { return 0 };
        let (header, payload) = out.split_at_mut(header_len);
        header[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        header[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        header[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        header[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        header[12] = u8::try_from(header_len / 4).unwrap_or(15) << 4;
        header[13] = self.flags.0;
        header[14..16].copy_from_slice(&self.window.to_be_bytes());
        header[16..18].fill(0);
        header[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        self.options.emit(&mut header[HEADER_LEN..]);
        payload.copy_from_slice(self.payload);
        len
    }
}

impl Options {
    /// Reads options; what is malformed ends them (RFC 9293 section 3.1, MUST-7), what is unknown is skipped (MUST-6).
    #[must_use]
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        // Timestamps behind two NOPs and nothing else (RFC 7323 appendix A): nearly every segment.
        if let [KIND_NOP, KIND_NOP, KIND_TIMESTAMPS, 10, body @ ..] = bytes
            && body.len() == 8
        {
            options.take(KIND_TIMESTAMPS, body);
            return options;
        }
        while let [kind, rest @ ..] = bytes {
            match *kind {
                KIND_END => break,
                KIND_NOP => bytes = rest,
                kind => {
                    let Some((&len, _)) = rest.split_first() else { break };
                    let Some(body) = bytes.get(2..usize::from(len)) else { break };
                    options.take(kind, body);
                    bytes = &bytes[usize::from(len)..];
                }
            }
        }
        options
    }

    fn take(&mut self, kind: u8, body: &[u8]) {
        match (kind, body) {
            (KIND_MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            // RFC 7323 section 2.3: a greater shift than 14 is taken for 14.
            (KIND_WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift.min(14)),
            (KIND_SACK_PERMITTED, []) => self.sack_permitted = true,
            (KIND_TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                let (val, ecr) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
                self.timestamps = Some(Timestamps { val, ecr });
            }
            (KIND_SACK, blocks) if blocks.len() % 8 == 0 => {
                for block in blocks.chunks_exact(8) {
                    let left = SeqNum(u32::from_be_bytes([block[0], block[1], block[2], block[3]]));
                    let right = SeqNum(u32::from_be_bytes([block[4], block[5], block[6], block[7]]));
                    if left.lt(right) {
                        let _ = self.sack.try_push((left, right));
                    }
                }
            }
            _ => {}
        }
    }

    /// Their length on the wire, padding included.
    #[must_use]
    pub fn len(&self) -> usize {
        let mss = if self.mss.is_some() { 4 } else { 0 };
        let scale = if self.window_scale.is_some() { 4 } else { 0 };
        // In front of timestamps, SACK-permitted takes the place of their padding (RFC 7323 appendix A).
        let permitted = if self.sack_permitted && self.timestamps.is_none() { 4 } else { 0 };
        let timestamps = if self.timestamps.is_some() { 12 } else { 0 };
        let sack = if self.sack.is_empty() { 0 } else { 4 + 8 * self.sack.len() };
        mss + scale + permitted + timestamps + sack
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes them; `out` is [`Options::len`] bytes.
    fn emit(&self, out: &mut [u8]) {
        out.fill(KIND_NOP);
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            put(&[KIND_MSS, 4, a, b]);
        }
        if let Some(shift) = self.window_scale {
            put(&[KIND_NOP, KIND_WINDOW_SCALE, 3, shift]);
        }
        match self.timestamps {
            Some(Timestamps { val, ecr }) => {
                put(if self.sack_permitted { &[KIND_SACK_PERMITTED, 2] } else { &[KIND_NOP, KIND_NOP] });
                put(&[KIND_TIMESTAMPS, 10]);
                put(&val.to_be_bytes());
                put(&ecr.to_be_bytes());
            }
            None if self.sack_permitted => put(&[KIND_NOP, KIND_NOP, KIND_SACK_PERMITTED, 2]),
            None => {}
        }
        if !self.sack.is_empty() {
            let len = u8::try_from(2 + 8 * self.sack.len()).unwrap_or(2);
            put(&[KIND_NOP, KIND_NOP, KIND_SACK, len]);
            for (left, right) in &self.sack {
                put(&left.0.to_be_bytes());
                put(&right.0.to_be_bytes());
            }
        }
    }
}
