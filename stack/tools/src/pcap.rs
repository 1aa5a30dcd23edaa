//! Captures as the `pcap-file` crate reads them, and what is no capture in words. Frames are taken raw: a file whose frames were kept in
//! part is as good as another, and goes out with the lengths and times that it came with.

use std::io::{self, Read};

use pcap_file::pcap::{PcapHeader, PcapReader, RawPcapPacket};
use pcap_file::{DataLink, PcapError};

/// How a file of the newer format begins.
const MAGIC_PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Why a file is no capture, or none that is read here.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It cannot be read.
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
}

/// A capture of Ethernet frames.
#[derive(Debug)]
pub struct Capture<R: Read>(PcapReader<io::Chain<io::Cursor<[u8; 4]>, R>>);

impl<R: Read> Capture<R> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// It is another file.
    pub fn open(mut file: R) -> Result<Self, CaptureError> {
        let mut magic = [0; 4];
        file.read_exact(&mut magic).map_err(|_| CaptureError::Magic)?;
        if magic == MAGIC_PCAPNG {
            return Err(CaptureError::Pcapng);
        }
        let reader = PcapReader::new(io::Cursor::new(magic).chain(file)).map_err(|_| CaptureError::Magic)?;
        match reader.header().datalink {
            DataLink::ETHERNET => Ok(Self(reader)),
            other => Err(CaptureError::LinkType(other.into())),
        }
    }

    /// The file's header.
    pub fn header(&self) -> PcapHeader {
        self.0.header()
    }

    /// The next frame; `None` at the end. A capture that is still being made may end within a frame.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_frame(&mut self) -> Result<Option<RawPcapPacket<'_>>, CaptureError> {
        match self.0.next_raw_packet() {
            None => Ok(None),
            Some(Ok(frame)) => Ok(Some(frame)),
            Some(Err(PcapError::IoError(error))) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Some(Err(error)) => Err(io::Error::other(error).into()),
        }
    }
}

/// The error beneath one of the crate's.
pub(crate) fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcap::PcapWriter;
    use pcap_file::{Endianness, TsResolution};

    type Frame = (u32, u32, u32, Vec<u8>);

    fn file(header: PcapHeader, frames: &[Frame]) -> Vec<u8> {
        let mut writer = PcapWriter::with_header(vec![], header).unwrap();
        for (ts_sec, ts_frac, orig_len, data) in frames {
            let incl_len = u32::try_from(data.len()).unwrap();
            let frame =
                RawPcapPacket { ts_sec: *ts_sec, ts_frac: *ts_frac, incl_len, orig_len: *orig_len, data: data.into() };
            writer.write_raw_packet(&frame).unwrap();
        }
        writer.into_writer()
    }

    fn all(file: &[u8]) -> Result<Vec<Frame>, CaptureError> {
        let mut capture = Capture::open(file)?;
        let mut frames = vec![];
        while let Some(frame) = capture.next_frame()? {
            frames.push((frame.ts_sec, frame.ts_frac, frame.orig_len, frame.data.into_owned()));
        }
        Ok(frames)
    }

    #[test]
    fn files_of_both_byte_orders_read_as_they_are_however_much_was_kept_of_a_frame() {
        let frames = [(1, 2, 1_500, vec![7; 3]), (3, 999_999_999, 0, vec![])];
        for (endianness, ts_resolution) in
            [(Endianness::Little, TsResolution::MicroSecond), (Endianness::Big, TsResolution::NanoSecond)]
        {
            let bytes = file(PcapHeader { endianness, ts_resolution, snaplen: 3, ..PcapHeader::default() }, &frames);
            assert_eq!(all(&bytes).unwrap(), frames);
            for cut in 24..bytes.len() {
                assert!(all(&bytes[..cut]).unwrap().len() < frames.len(), "a cut frame is none");
            }
        }
    }

    #[test]
    fn what_is_no_capture_is_refused_in_a_sentence() {
        let other_link = file(PcapHeader { datalink: DataLink::LINUX_SLL, ..PcapHeader::default() }, &[]);
        let pcapng = [&MAGIC_PCAPNG[..], &[0; 24]].concat();
        let cases: [(&[u8], &str); 4] =
            [(b"", "no pcap file"), (&[0; 24], "no pcap file"), (&pcapng, "editcap"), (&other_link, "link type 113")];
        for (bytes, sentence) in cases {
            let error = all(bytes).unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
    }
}
