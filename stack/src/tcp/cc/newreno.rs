//! Congestion avoidance of RFC 5681 section 3.1, by bytes acknowledged (RFC 3465).

/// What it remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NewReno {
    /// Bytes acknowledged since the window last grew.
    pub acked: u32,
}

impl NewReno {
    /// How much the window grows: one segment for each window of bytes.
    pub(crate) fn on_ack(&mut self, cwnd: u32, acked: u32, mss: u32) -> u32 {
        self.acked = self.acked.saturating_add(acked);
        if self.acked < cwnd {
            return 0;
        }
        self.acked -= cwnd;
        mss
    }
}
