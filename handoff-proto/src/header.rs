//! What stands in front of every datagram between nodes, and of every client packet in the `udp` tunnel.
//!
//! ```text
//!   0               2       3       4               8              12
//!   +---------------+-------+-------+---------------+---------------+
//!   |     magic     |version| kind  |  sender boot  | receiver boot |
//!   +-------+-------+-------+-------+---------------+---------------+
//!   |s. core|r. core|  session tag  |    sent ms    |
//!   +-------+-------+---------------+---------------+---------------+
//!   |            counter            |  body ...
//!   +-------------------------------+
//!   20                              28
//! ```
//! The header is authenticated with the body. `sent ms` is the sender's own clock, modulo 2^32: a receiver compares it
//! with those of earlier datagrams to tell how old this one is.

use baton_stack::addr::ConnId;

use crate::codec::{Reader, Wire, wire_enum};
use crate::names::{Boot, Epoch};

/// The first two bytes of a datagram between nodes.
pub const MAGIC: u16 = 0xba70;
/// The oldest wire version that this program reads.
pub const VERSION_MIN: u8 = 1;
/// The wire version that this program writes when the other node reads it.
pub const VERSION_MAX: u8 = 1;
/// The length of a [`Header`].
pub const HEADER_BYTES: usize = 28;
/// The kind of a sealed datagram of a capture that was opened ([`Unsealer`](crate::session::Unsealer)): behind the header its messages
/// in clear, and no tag. It is none of [`DatagramKind`]: no node takes it.
pub const KIND_UNSEALED: u8 = 0xff;
/// Where the kind stands in a header.
pub(crate) const KIND_AT: usize = 3;

wire_enum! {
    /// What follows a [`Header`].
    pub enum DatagramKind {
        /// HELLO or HELLO-ACK, authenticated and not encrypted.
        Hello = 1,
        /// Messages, sealed.
        Sealed = 2,
    }
}

/// Tells the sessions of one pair of nodes apart: while one takes another's place, datagrams of both are under way. Made
/// of both challenges; two sessions share it once in 65,536, and then some datagrams are lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionTag(pub u16);

impl SessionTag {
    /// In datagrams of no session.
    pub const NONE: Self = Self(0);
}

/// What stands in front of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The wire version of what follows.
    pub version: u8,
    /// What follows.
    pub kind: DatagramKind,
    /// The sender's life.
    pub sender_boot: Boot,
    /// The life of the receiver that it is meant for; zero if the sender does not know.
    pub receiver_boot: Boot,
    /// The sender's core.
    pub sender_core: u8,
    /// The core of the receiver that it is meant for.
    pub receiver_core: u8,
    /// Which of the two nodes' sessions sealed it ([`SessionTag`]); zero in HELLO.
    pub session: SessionTag,
    /// The sender's clock in milliseconds.
    pub sent_ms: u32,
    /// Under its key used once; zero in HELLO.
    pub counter: u64,
}

impl Wire<'_> for Header {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.encode());
    }

    fn take(reader: &mut Reader<'_>) -> Option<Self> {
        if reader.take::<u16>()? != MAGIC {
            return None;
        }
        let (version, kind) = (reader.take()?, reader.take()?);
        let (sender_boot, receiver_boot) = (reader.take()?, reader.take()?);
        let (sender_core, receiver_core) = (reader.take()?, reader.take()?);
        let session = SessionTag(reader.take()?);
        let (sent_ms, counter) = (reader.take()?, reader.take()?);
        Some(Self { version, kind, sender_boot, receiver_boot, sender_core, receiver_core, session, sent_ms, counter })
    }
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let Self { version, kind, sender_boot, receiver_boot, sender_core, receiver_core, session, sent_ms, counter } =
            *self;
        let kind = match kind {
            DatagramKind::Hello => 1,
            DatagramKind::Sealed => 2,
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..2].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[2..4].copy_from_slice(&[version, kind]);
        bytes[4..8].copy_from_slice(&sender_boot.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&receiver_boot.0.to_be_bytes());
        bytes[12..14].copy_from_slice(&[sender_core, receiver_core]);
        bytes[14..16].copy_from_slice(&session.0.to_be_bytes());
        bytes[16..20].copy_from_slice(&sent_ms.to_be_bytes());
        bytes[20..28].copy_from_slice(&counter.to_be_bytes());
        bytes
    }
}

/// The length of a [`TunnelHeader`].
pub const TUNNEL_HEADER_BYTES: usize = 16;
/// The version of the tunnel's layout.
pub const TUNNEL_VERSION: u8 = 1;

/// In front of a client packet in the `udp` tunnel, from the front-end or a former owner to the owner. Reserved: the
/// `direct` tunnel rewrites Ethernet addresses and adds nothing.
/// ```text
///   0       1       2               4               8                              16
///   +-------+-------+---------------+---------------+-------------------------------+
///   |version|  hop  |   reserved    |     epoch     |          connection           |
///   +-------+-------+---------------+---------------+-------------------------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TunnelHeader {
    /// How many nodes have passed it on. Only grows, so nothing circles (R12).
    pub hop: u8,
    /// The epoch of the owner that it is meant for.
    pub epoch: Epoch,
    /// The connection.
    pub c: ConnId,
}

impl TunnelHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; TUNNEL_HEADER_BYTES] {
        let mut bytes = [0; TUNNEL_HEADER_BYTES];
        bytes[0..2].copy_from_slice(&[TUNNEL_VERSION, self.hop]);
        bytes[4..8].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.c.0.to_be_bytes());
        bytes
    }

    /// Reads the header; `None` if it is cut or of another version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.take::<u8>()? != TUNNEL_VERSION {
            return None;
        }
        let hop = reader.take()?;
        let _: u16 = reader.take()?;
        Some(Self { hop, epoch: reader.take()?, c: reader.take()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_and_look_as_drawn() {
        let header = Header {
            version: 1,
            kind: DatagramKind::Sealed,
            sender_boot: Boot(0x0102_0304),
            receiver_boot: Boot(5),
            sender_core: 6,
            receiver_core: 7,
            session: SessionTag(0x0a0b),
            sent_ms: 8,
            counter: 9,
        };
        let bytes = header.encode();
        let drawn = [0xba, 0x70, 1, 2, 1, 2, 3, 4, 0, 0, 0, 5, 6, 7, 10, 11, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(bytes, drawn);
        assert_eq!(Header::take(&mut Reader::new(&bytes)), Some(header));
        for len in 0..HEADER_BYTES {
            assert_eq!(Header::take(&mut Reader::new(&bytes[..len])), None);
        }
    }

    #[test]
    fn a_tunnel_header_reads_back_and_looks_as_drawn() {
        let header = TunnelHeader { hop: 2, epoch: Epoch(3), c: ConnId(4) };
        let bytes = header.encode();
        assert_eq!(bytes, [1, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(TunnelHeader::decode(&bytes), Some(header));
        assert_eq!(TunnelHeader::decode(&bytes[..15]), None);
        assert_eq!(TunnelHeader::decode(&[2; 16]), None);
    }
}
