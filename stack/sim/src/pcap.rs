//! Classic pcap files (tcpdump, 1989): a 24-byte header, then 16 bytes in front of each frame.

use baton_stack::time::Instant;
use std::fmt;
use std::io::{self, Write};

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const LINK_TYPE_ETHERNET: u32 = 1;
const SNAP_LEN: u32 = 65_535;

/// Writes frames to a pcap file.
pub struct Pcap {
    out: Box<dyn Write>,
    error: Option<io::Error>,
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
    pub fn new(mut out: Box<dyn Write>) -> io::Result<Self> {
        let mut header = Vec::with_capacity(24);
        header.extend(MAGIC_MICROSECONDS.to_le_bytes());
        header.extend([2, 0, 4, 0]); // version 2.4
        header.extend([0; 8]); // time zone and accuracy, by custom zero
        header.extend(SNAP_LEN.to_le_bytes());
        header.extend(LINK_TYPE_ETHERNET.to_le_bytes());
        out.write_all(&header)?;
        Ok(Self { out, error: None })
    }

    /// Writes one frame. A failed write is kept for [`Pcap::finish`].
    pub fn frame(&mut self, at: Instant, bytes: &[u8]) {
        if self.error.is_some() {
            return;
        }
        let low = |n: u64| u32::try_from(n & u64::from(u32::MAX)).unwrap_or(u32::MAX).to_le_bytes();
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut record = Vec::with_capacity(16 + bytes.len());
        record.extend(low(at.micros() / 1_000_000));
        record.extend(low(at.micros() % 1_000_000));
        record.extend(low(len));
        record.extend(low(len));
        record.extend_from_slice(bytes);
        self.error = self.out.write_all(&record).err();
    }

    /// Flushes the file.
    ///
    /// # Errors
    /// The first error of any write.
    pub fn finish(mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_layout_is_the_classic_one() {
        let file = Shared::default();
        let mut pcap = Pcap::new(Box::new(file.clone())).unwrap();
        pcap.frame(Instant::from_micros(3_000_007), &[0xaa, 0xbb, 0xcc]);
        pcap.finish().unwrap();
        let expected: Vec<u8> = [
            &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0][..],
            &[3, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 0xaa, 0xbb, 0xcc][..],
        ]
        .concat();
        assert_eq!(*file.0.borrow(), expected);
    }
}
