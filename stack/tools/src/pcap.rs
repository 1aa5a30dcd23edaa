//! Classic pcap files (tcpdump, 1989) of Ethernet frames: 24 bytes, then 16 in front of each frame. Byte order and precision of the times
//! are the maker's; what is written is as what was read.

use std::io::{self, Read, Write};

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const MAGIC_PCAPNG: u32 = 0x0a0d_0d0a;
const LINK_TYPE_ETHERNET: u32 = 1;
/// The longest frame that a file may say to have, in bytes: tcpdump's own limit.
pub const FRAME_BYTES_MAX: u32 = 262_144;
const FILE_HEADER_BYTES: usize = 24;

/// Why a file is no capture, or none that is read here.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It begins with something else.
    #[error("no pcap file")]
    Magic,
    /// The newer format.
    #[error("a pcapng file; `editcap -F pcap` makes a pcap file of it")]
    Pcapng,
    /// Frames of another kind of link.
    #[error("frames of link type {0}, not of Ethernet: capture on one interface, not on \"any\"")]
    LinkType(u32),
    /// A frame longer than any.
    #[error("a frame of {0} bytes")]
    FrameTooLong(u32),
}

/// The header of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    header: [u8; FILE_HEADER_BYTES],
    is_big_endian: bool,
}

impl Format {
    /// Microseconds, little-endian.
    pub const MICROSECONDS: Self = Self {
        header: [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0],
        is_big_endian: false,
    };

    /// Reads a file's header.
    ///
    /// # Errors
    /// It is another file.
    pub fn read(from: &mut impl Read) -> Result<Self, PcapError> {
        let mut header = [0; FILE_HEADER_BYTES];
        from.read_exact(&mut header).map_err(|_| PcapError::Magic)?;
        let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let is_magic = |magic: u32| magic == MAGIC_MICROSECONDS || magic == MAGIC_NANOSECONDS;
        let is_big_endian = match word(0) {
            magic if is_magic(u32::from_le_bytes(magic)) => false,
            magic if is_magic(u32::from_be_bytes(magic)) => true,
            magic if u32::from_be_bytes(magic) == MAGIC_PCAPNG => return Err(PcapError::Pcapng),
            _ => return Err(PcapError::Magic),
        };
        let format = Self { header, is_big_endian };
        match format.number(word(20)) {
            LINK_TYPE_ETHERNET => Ok(format),
            other => Err(PcapError::LinkType(other)),
        }
    }

    /// Writes the file's header.
    ///
    /// # Errors
    /// When `to` does not take it.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.header)
    }

    /// The next frame; `None` at the end. A capture that is still being made may end within a frame.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_frame(&self, from: &mut impl Read) -> Result<Option<Frame>, PcapError> {
        let mut record = [0; 16];
        if !is_there(from.read_exact(&mut record))? {
            return Ok(None);
        }
        let [time_and_kept, length] = [&record[..12], &record[12..]];
        let word = |bytes: &[u8]| self.number([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let (kept, length) = (word(&time_and_kept[8..]), word(length));
        if kept > FRAME_BYTES_MAX {
            return Err(PcapError::FrameTooLong(kept));
        }
        let mut bytes = vec![0; usize::try_from(kept).map_err(|_| PcapError::FrameTooLong(kept))?];
        let time = [word(&record), word(&record[4..])];
        Ok(is_there(from.read_exact(&mut bytes))?.then_some(Frame { time, length, bytes }))
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// When `to` does not take it.
    pub fn write_frame(&self, to: &mut impl Write, frame: &Frame) -> io::Result<()> {
        let kept = u32::try_from(frame.bytes.len()).map_err(io::Error::other)?;
        for number in [frame.time[0], frame.time[1], kept, frame.length] {
            to.write_all(&if self.is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() })?;
        }
        to.write_all(&frame.bytes)
    }

    const fn number(&self, bytes: [u8; 4]) -> u32 {
        if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

fn is_there(read: io::Result<()>) -> io::Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A frame as it was captured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Seconds, and parts of one as the file counts them.
    pub time: [u32; 2],
    /// How long it was; `bytes` are what was kept of it.
    pub length: u32,
    /// What was kept.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut file: &[u8]) -> Result<Vec<Frame>, PcapError> {
        let format = Format::read(&mut file)?;
        let mut frames = vec![];
        while let Some(frame) = format.read_frame(&mut file)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn file(format: Format, frames: &[Frame]) -> Vec<u8> {
        let mut file = vec![];
        format.write(&mut file).unwrap();
        frames.iter().for_each(|frame| format.write_frame(&mut file, frame).unwrap());
        file
    }

    #[test]
    fn files_of_both_byte_orders_read_back() {
        let frames =
            [Frame { time: [1, 2], length: 5, bytes: vec![7; 3] }, Frame { time: [3, 4], length: 0, bytes: vec![] }];
        let mut big = [0; FILE_HEADER_BYTES];
        big[..4].copy_from_slice(&MAGIC_NANOSECONDS.to_be_bytes());
        big[20..].copy_from_slice(&LINK_TYPE_ETHERNET.to_be_bytes());
        for format in [Format::MICROSECONDS, Format::read(&mut &big[..]).unwrap()] {
            let bytes = file(format, &frames);
            assert_eq!(all(&bytes).unwrap(), frames);
            assert_eq!(bytes[24..28], if format.is_big_endian { [0, 0, 0, 1] } else { [1, 0, 0, 0] });
            for cut in FILE_HEADER_BYTES..bytes.len() {
                assert!(all(&bytes[..cut]).unwrap().len() < frames.len(), "a cut frame is none");
            }
        }
    }

    #[test]
    fn what_is_no_capture_is_refused_in_a_sentence() {
        let mut other_link = file(Format::MICROSECONDS, &[]);
        other_link[20] = 113;
        let mut pcapng = other_link.clone();
        pcapng[..4].copy_from_slice(&MAGIC_PCAPNG.to_be_bytes());
        let of = |length: u32| {
            let mut bytes = file(Format::MICROSECONDS, &[Frame { time: [0; 2], length, bytes: vec![0; 4] }]);
            bytes[32..36].copy_from_slice(&length.to_le_bytes());
            bytes
        };
        let cases: [(&[u8], &str); 5] = [
            (b"", "no pcap file"),
            (&[0; 24], "no pcap file"),
            (&pcapng, "editcap"),
            (&other_link, "link type 113"),
            (&of(FRAME_BYTES_MAX + 1), "a frame of 262145 bytes"),
        ];
        for (bytes, sentence) in cases {
            let error = all(bytes).unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
        assert!(all(&of(FRAME_BYTES_MAX)).unwrap().is_empty(), "it may be so long; here it ends too early");
    }
}
