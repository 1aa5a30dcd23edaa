//! How large the receive window is: as large as what arrives in a round trip asks for (dynamic right-sizing: Fisk and Feng, 2001).
//!
//! ```text
//!   began, from           a round trip later              window = twice what was consumed between them
//!   -----|--------------------------|---->  time          so that a sender in slow start is never held up
//! ```
//! A window begins with `recv_buffer_bytes` and ends with `recv_buffer_max_bytes`. What lies between is wished for here and
//! granted by whoever keeps the node's memory ([`Engine`](crate::engine::Engine)). It never becomes smaller: the right edge that was promised stays.

use super::segment::Segment;
use super::seq::SeqNum;
use super::tcb::Tcb;
use crate::time::Instant;

/// A clock that ticks in milliseconds tells no shorter time.
const TICK_US: u32 = 1_000;

/// The receive window's size. Travels, the time as its age.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// Bytes that may be unread, or on their way.
    pub window: u32,
    /// What it should be. No more than `window`: nothing is wished for. Reset: it is asked for again.
    pub wanted: u32,
    /// The round-trip time as the receiver sees it, in microseconds; zero before the first sample.
    pub rtt_us: u32,
    /// What is being measured: since when, and what had been consumed then. `None` before the first long segment: short
    /// requests need no window.
    pub measure: Option<(Instant, SeqNum)>,
}

impl Tuning {
    pub(crate) const fn new(window: u32) -> Self {
        Self { window, wanted: 0, rtt_us: 0, measure: None }
    }
}

impl Tcb {
    /// The receive window that the peer could use, if that is more than there is.
    #[must_use]
    pub fn wanted_window(&self) -> Option<u32> {
        let Tuning { window, wanted, .. } = self.rcv.tuning;
        (wanted > window).then_some(wanted)
    }

    /// Answers [`Tcb::wanted_window`]: the window is `bytes` from now on. Fewer than there are change nothing but that.
    pub fn grant_window(&mut self, bytes: u32) {
        let tuning = &mut self.rcv.tuning;
        tuning.window = tuning.window.max(bytes.min(tuning.wanted));
        tuning.wanted = 0;
    }

    /// The receive window: bytes that may be unread, or on their way.
    #[must_use]
    pub const fn window(&self) -> u32 {
        self.rcv.tuning.window
    }

    /// How much more of a window it has than it began with here.
    #[must_use]
    pub fn grown_window(&self) -> u32 {
        self.rcv.tuning.window.saturating_sub(self.config.recv_buffer_bytes)
    }

    /// Leaves no more than `bytes` of [`Tcb::grown_window`] to a connection that has come here. What was promised stays.
    pub fn limit_window(&mut self, bytes: u32) {
        let most = self.config.recv_buffer_bytes.saturating_add(bytes);
        self.rcv.tuning.window = self.rcv.tuning.window.min(most);
    }

    /// The greatest window that the header can say (RFC 7323 section 2.3).
    pub(crate) fn window_field_max(&self) -> u32 {
        if self.opts.snd_scale.is_some() { 0xffff << self.opts.rcv_scale } else { 0xffff }
    }

    /// Text has arrived in order.
    pub(crate) fn tune_window(&mut self, now: Instant, segment: &Segment<'_>) {
        let most = self.config.recv_buffer_max_bytes.min(self.window_field_max());
        if self.rcv.tuning.window >= most {
            self.rcv.tuning.measure = None;
            return;
        }
        // A full segment may be shorter than what we take: the way to here may not carry as much.
        if segment.payload.len() >= usize::from(self.opts.rcv_mss) / 2 {
            self.sample_as_receiver(now, segment);
        } else if self.rcv.tuning.measure.is_none() {
            return;
        }
        let unread = self.rcv.unread_seq();
        let srtt = self.rtt.srtt_us;
        let tuning = &mut self.rcv.tuning;
        let (began, from) = *tuning.measure.get_or_insert((now, unread));
        let rtt = if tuning.rtt_us == 0 { srtt } else { tuning.rtt_us };
        if rtt == 0 {
            tuning.measure = None;
            return;
        }
        if now.since(began).as_micros() < u128::from(rtt) {
            return;
        }
        tuning.measure = Some((now, unread));
        let wanted = unread.since(from).saturating_mul(2).min(most);
        if wanted > tuning.window {
            tuning.wanted = wanted;
        }
    }

    /// The time from a TSval of ours to its echo. A peer that had nothing to say echoes late: what is shorter is believed at once, what is
    /// longer by an eighth.
    fn sample_as_receiver(&mut self, now: Instant, segment: &Segment<'_>) {
        let Some(ts) = segment.options.timestamps.filter(|_| self.opts.timestamps) else { return };
        let ms = self.tsval(now).wrapping_sub(ts.ecr);
        if ms >= 1 << 20 {
            return;
        }
        let sample = (ms * 1_000).max(TICK_US);
        let rtt = &mut self.rcv.tuning.rtt_us;
        *rtt = if *rtt == 0 || sample < *rtt { sample } else { *rtt + (sample - *rtt) / 8 };
    }
}
