//! Explicit congestion notification (RFC 3168): routers mark what they would have dropped.
//!
//! ```text
//!   peer's data  --CE-->  we echo: ECE on every acknowledgment, until its CWR
//!   our data     --CE-->  the peer echoes: the window is reduced once, and CWR is on the next new data
//!
//!        una            point            nxt
//!   ------|---------------|---------------|---->     Data before `point` was sent before the reduction. What is lost or
//!           sent before     CWR first                marked of it is no news. Once SND.UNA is above it, CWR has arrived.
//! ```
//! Only new data is ECN-capable: not what is sent again, nor probes, nor pure acknowledgments (sections 6.1.4 to 6.1.6).

use super::segment::{Flags, Segment};
use super::seq::SeqNum;
use super::tcb::Tcb;
use crate::ecn::Ecn;

/// What is going on about congestion that was signalled. Travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Signals {
    /// Data of the peer was marked, and it has not said that it knows: ECE is on what we send.
    pub echo: bool,
    /// The next new data has CWR.
    pub cwr: bool,
    /// SND.NXT when the window was last reduced; `None` once what was sent later has been acknowledged.
    pub point: Option<SeqNum>,
}

impl Tcb {
    /// Whether a SYN offers ECN (section 6.1.1). Its own packet is not ECN-capable: if it says so, somebody on the way writes
    /// these bits, and what they say later means nothing.
    pub(crate) fn offers_ecn(syn: &Segment<'_>) -> bool {
        syn.flags.has(Flags::ECE.with(Flags::CWR)) && syn.ecn == Ecn::NotEct
    }

    /// Whether a SYN-ACK takes our offer up (section 6.1.1): ECE alone, or the peer sends back what it was sent.
    pub(crate) fn accepts_ecn(syn_ack: &Segment<'_>) -> bool {
        syn_ack.flags.has(Flags::ECE) && !syn_ack.flags.has(Flags::CWR) && syn_ack.ecn == Ecn::NotEct
    }

    /// Text of the peer has been accepted (section 6.1.3). CWR ends the echo of earlier marks, not of this segment's own. True if
    /// it was marked.
    pub(crate) fn note_mark(&mut self, segment: &Segment<'_>) -> bool {
        if !self.opts.ecn {
            return false;
        }
        let is_marked = segment.ecn == Ecn::Ce;
        self.signals.echo = is_marked || (self.signals.echo && !segment.flags.has(Flags::CWR));
        is_marked
    }

    /// Whether the peer says that data of ours was marked. An acknowledgment that others have overtaken may be from before our CWR.
    pub(crate) fn is_echo(&self, segment: &Segment<'_>) -> bool {
        self.opts.ecn && segment.flags.has(Flags::ECE) && self.snd.una.le(segment.ack)
    }

    /// SND.UNA has moved.
    pub(crate) fn forget_point(&mut self) {
        let (una, cwr) = (self.snd.una, self.signals.cwr);
        self.signals.point = self.signals.point.filter(|point| cwr || una.le(*point));
    }

    /// Whether the window has been reduced since what is at `seq` was sent (section 6.1.2: once for each window of data).
    pub(crate) fn is_reduced_for(&self, seq: SeqNum) -> bool {
        self.signals.point.is_some_and(|point| seq.lt(point))
    }

    /// The window is being reduced, for whatever reason: the peer hears of it (section 6.1.2).
    pub(crate) fn note_reduction(&mut self) {
        if self.opts.ecn {
            (self.signals.cwr, self.signals.point) = (true, Some(self.snd.nxt));
        }
    }

    /// The peer echoes a mark, and nothing is lost: the window is reduced as for a loss, if that is news. `in_flight` is
    /// what was in flight before this acknowledgment. True if it was reduced.
    pub(crate) fn slow_down(&mut self, in_flight: u32) -> bool {
        let is_news = !self.signals.cwr && self.signals.point.is_none();
        if !is_news || in_flight == 0 {
            return false;
        }
        let cwnd = self.cc.cwnd;
        self.reduce_window(in_flight);
        self.cc.cwnd = self.cc.cwnd.min(cwnd);
        true
    }
}
