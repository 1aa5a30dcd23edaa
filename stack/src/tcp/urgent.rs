//! The urgent pointer (RFC 9293 section 3.8.5), read as RFC 6093 has it: urgent bytes stay in the stream, and the pointer says where
//! they end.

use super::segment::{Flags, Segment};
use super::seq::SeqNum;
use super::tcb::{State, Tcb};

impl Tcb {
    /// How many bytes there are from the first unread one to the end of the urgent data, whether they have come or not; `None`: nothing
    /// urgent is left to be read (MUST-33).
    #[must_use]
    pub fn urgent(&self) -> Option<u32> {
        self.rcv.urgent.map(|up| up.since(self.rcv.unread_seq()))
    }

    /// What is queued now is urgent, to its last byte; said at once, also into a closed window. False where nothing can be queued,
    /// and where the end is further away than sequence numbers reach.
    pub fn mark_urgent(&mut self) -> bool {
        let may_send = matches!(self.state, State::Established | State::CloseWait) && !self.snd.fin;
        let Some(end) = self.snd.data_end().filter(|end| may_send && self.snd.una.lt(*end)) else { return false };
        self.snd.urgent = Some(end);
        self.ack_now = true;
        true
    }

    /// Sixth, check the URG bit (section 3.10.7.4). True if the application is to hear of it: there was nothing urgent before, or
    /// its end has moved (MUST-32).
    pub(crate) fn note_urgent(&mut self, segment: &Segment<'_>) -> bool {
        if !segment.flags.has(Flags::URG) {
            return false;
        }
        let may_receive = matches!(self.state, State::Established | State::FinWait1 | State::FinWait2);
        let up = segment.seq + u32::from(segment.urgent);
        let unread = self.rcv.unread_seq();
        let is_news = unread.lt(up) && self.rcv.urgent.is_none_or(|known| known.lt(up));
        if !may_receive || !is_news {
            return false;
        }
        self.rcv.urgent = Some(up);
        true
    }

    /// The application has read on, or the peer has said its last byte: nothing urgent comes behind that.
    pub(crate) fn settle_urgent(&mut self) {
        let (unread, fin) = (self.rcv.unread_seq(), self.rcv.fin.filter(|fin| fin.lt(self.rcv.nxt)));
        let end = |up: SeqNum| fin.map_or(up, |fin| up.min(fin));
        self.rcv.urgent = self.rcv.urgent.map(end).filter(|up| unread.lt(*up));
    }

    /// The URG bit and the pointer of a segment that begins at `seq`. What is too far away for the field is as far as it reaches.
    pub(crate) fn urgent_field(&self, seq: SeqNum, flags: Flags) -> (Flags, u16) {
        match self.snd.urgent.filter(|up| seq.lt(*up)) {
            Some(up) => (flags.with(Flags::URG), u16::try_from(up.since(seq)).unwrap_or(u16::MAX)),
            None => (flags, 0),
        }
    }
}
