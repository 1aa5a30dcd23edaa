//! Captures of what passes in the simulator.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use baton_stack::time::Instant;
use pcap_file::pcap::{PcapPacket, PcapWriter};
use pcap_file::{PcapError, PcapResult};

/// Writes frames to a pcap file.
pub struct Pcap {
    out: PcapWriter<Box<dyn Write>>,
    error: Option<PcapError>,
}

impl fmt::Debug for Pcap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pcap").field("error", &self.error).finish_non_exhaustive()
    }
}

impl Pcap {
    /// Writes the file's header to `out`.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn new(out: Box<dyn Write>) -> PcapResult<Self> {
        Ok(Self { out: PcapWriter::new(out)?, error: None })
    }

    /// Writes one frame. A failed write is kept for [`Pcap::finish`].
    pub fn frame(&mut self, at: Instant, bytes: &[u8]) {
        if self.error.is_some() {
            return;
        }
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let frame = PcapPacket::new(Duration::from_micros(at.micros()), len, bytes);
        self.error = self.out.write_packet(&frame).err();
    }

    /// Flushes the file.
    ///
    /// # Errors
    /// The first error of any write.
    pub fn finish(self) -> PcapResult<()> {
        match self.error {
            Some(error) => Err(error),
            None => self.out.into_writer().flush().map_err(PcapError::IoError),
        }
    }
}
