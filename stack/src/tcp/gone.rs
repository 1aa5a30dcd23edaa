//! What is said for connections that are not here, or not any more: resets, and TIME-WAIT.

use super::segment::{Flags, Options, Segment, Timestamps};
use super::seq::SeqNum;
use crate::addr::Flow;
use crate::drop::DropReason;
use crate::ecn::Ecn;
use crate::time::{Duration, Instant};

/// Answers of one ended connection in a [`PERIOD`]: two ends that both remember must not talk for ever.
pub const GONE_ANSWERS_MAX: u8 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// The reset that answers a segment of a connection that does not exist (RFC 9293 section 3.10.7.1); `None` for a reset.
#[must_use]
pub fn reset_for(segment: &Segment<'_>) -> Option<Segment<'static>> {
    if segment.flags.has(Flags::RST) {
        return None;
    }
    let (seq, ack, flags) = if segment.flags.has(Flags::ACK) {
        (segment.ack, SeqNum(0), Flags::RST)
    } else {
        (SeqNum(0), segment.seq + segment.len(), Flags::RST.with(Flags::ACK))
    };
    Some(bare((segment.dst_port, segment.src_port), (seq, ack), flags, Options::default()))
}

/// The reset that answers a segment which a half-open connection has refused: it acknowledges what was never sent, so it belongs
/// to another connection, and its sender is told (RFC 9293 section 3.10.7.4, fifth, SYN-RECEIVED). `None` if it was refused for
/// any other reason.
#[must_use]
pub fn reset_for_half_open(refused: DropReason, segment: &Segment<'_>) -> Option<Segment<'static>> {
    if refused == DropReason::BadAck { reset_for(segment) } else { None }
}

/// The reset of a connection of which only the peer's last acknowledgment and the end of what it sent are known: its sequence
/// number is the one that the peer expects (RFC 5961 section 3.2).
#[must_use]
pub fn reset_at(flow: &Flow, last_ack: SeqNum, seq_end: SeqNum) -> Segment<'static> {
    let ports = (flow.vip.port, flow.client.port);
    bare(ports, (last_ack, seq_end), Flags::RST.with(Flags::ACK), Options::default())
}

/// The memory of a connection that ended: the state TIME-WAIT (RFC 9293 section 3.3.2), wherever the connection was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeWait {
    flow: Flow,
    snd_nxt: SeqNum,
    rcv_nxt: SeqNum,
    /// The last TSval, when it was that, and TS.Recent.
    timestamps: Option<(u32, u32)>,
    since: Instant,
    until: Instant,
    lasts: Duration,
    answers: (Instant, u8),
}

/// What a segment asks of TIME-WAIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum TimeWaitAction {
    /// Say where we are.
    Acknowledge,
    /// A new connection; its numbers must be above these.
    Reopen {
        /// The first sequence number that the old connection cannot have used.
        isn_floor: SeqNum,
        /// A TSval that the old connection has not passed.
        tsval_floor: u32,
    },
    /// Nothing.
    Ignore,
}

impl TimeWait {
    /// Remembers a connection for `lasts`. `timestamps`: the last TSval sent, and TS.Recent, if they were in use.
    #[must_use]
    pub fn new(
        flow: Flow,
        snd_nxt: SeqNum,
        rcv_nxt: SeqNum,
        timestamps: Option<(u32, u32)>,
        now: Instant,
        lasts: Duration,
    ) -> Self {
        Self { flow, snd_nxt, rcv_nxt, timestamps, since: now, until: now + lasts, lasts, answers: (now, 0) }
    }

    /// When the memory is over.
    #[must_use]
    pub const fn until(&self) -> Instant {
        self.until
    }

    /// Decides on a segment of the flow.
    pub fn handle_segment(&mut self, now: Instant, segment: &Segment<'_>) -> TimeWaitAction {
        // RFC 1337: a reset does not end the memory.
        if segment.flags.has(Flags::RST) {
            return TimeWaitAction::Ignore;
        }
        if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) && self.is_new(segment) {
            return TimeWaitAction::Reopen { isn_floor: self.snd_nxt + 1, tsval_floor: self.tsval(now) };
        }
        if segment.flags.has(Flags::FIN) && segment.seq + segment.len() == self.rcv_nxt {
            // The peer's FIN once more: our acknowledgment was lost (RFC 9293 section 3.10.7.4, eighth).
            self.until = now + self.lasts;
        } else if segment.is_empty() && segment.seq == self.rcv_nxt && segment.ack == self.snd_nxt {
            return TimeWaitAction::Ignore;
        }
        let (since, count) = &mut self.answers;
        if now.since(*since) >= PERIOD {
            (*since, *count) = (now, 0);
        }
        if *count >= GONE_ANSWERS_MAX {
            return TimeWaitAction::Ignore;
        }
        *count += 1;
        TimeWaitAction::Acknowledge
    }

    /// The acknowledgment that [`TimeWaitAction::Acknowledge`] asks for.
    #[must_use]
    pub fn acknowledgment(&self, now: Instant) -> Segment<'static> {
        let timestamps = self.timestamps.map(|(_, recent)| Timestamps { val: self.tsval(now), ecr: recent });
        let options = Options { timestamps, ..Options::default() };
        let numbers = (self.snd_nxt, self.rcv_nxt);
        let answer = bare((self.flow.vip.port, self.flow.client.port), numbers, Flags::ACK, options);
        // The peer has said its last byte: no window invites any more, and this one takes no promise back.
        Segment { window: u16::MAX, ..answer }
    }

    /// Whether a SYN is of a new connection and not an old one's (RFC 6191 section 2, RFC 9293 section 3.10.7.4).
    fn is_new(&self, syn: &Segment<'_>) -> bool {
        match (self.timestamps, syn.options.timestamps) {
            (Some((_, recent)), Some(ts)) if ts.val != recent => SeqNum(recent).lt(SeqNum(ts.val)),
            _ => self.rcv_nxt.lt(syn.seq),
        }
    }

    /// The old connection's timestamp clock, as far as it is known: it has not run faster than this since.
    fn tsval(&self, now: Instant) -> u32 {
        let passed = u32::try_from(now.since(self.since).as_millis()).unwrap_or(u32::MAX);
        self.timestamps.map_or(0, |(val, _)| val.wrapping_add(passed))
    }
}

fn bare(
    (src_port, dst_port): (u16, u16),
    (seq, ack): (SeqNum, SeqNum),
    flags: Flags,
    options: Options,
) -> Segment<'static> {
    Segment { src_port, dst_port, seq, ack, flags, window: 0, urgent: 0, options, payload: &[], ecn: Ecn::NotEct }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Endpoint, IpAddr};

    fn flow() -> Flow {
        let end = |addr: [u8; 4], port| Endpoint { addr: IpAddr::from(addr), port };
        Flow { client: end([10, 0, 0, 1], 40_000), vip: end([10, 0, 0, 2], 80) }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn segment(flags: Flags, seq: u32, ack: u32, tsval: Option<u32>) -> Segment<'static> {
        let timestamps = tsval.map(|val| Timestamps { val, ecr: 0 });
        let options = Options { timestamps, ..Options::default() };
        bare((40_000, 80), (SeqNum(seq), SeqNum(ack)), flags, options)
    }

    fn time_wait() -> TimeWait {
        TimeWait::new(flow(), SeqNum(1_000), SeqNum(2_000), Some((500, 70)), at(0), Duration::from_secs(60))
    }

    #[test]
    fn resets_are_what_the_peer_believes() {
        let ack = segment(Flags::ACK, 5, 9, None);
        let reset = reset_for(&ack).unwrap();
        assert_eq!((reset.src_port, reset.dst_port, reset.seq, reset.flags), (80, 40_000, SeqNum(9), Flags::RST));
        let syn = segment(Flags::SYN, 5, 0, None);
        let reset = reset_for(&syn).unwrap();
        assert_eq!((reset.seq, reset.ack, reset.flags), (SeqNum(0), SeqNum(6), Flags::RST.with(Flags::ACK)));
        assert_eq!(reset_for(&reset), None);
        let reset = reset_at(&flow(), SeqNum(9), SeqNum(5));
        assert_eq!((reset.src_port, reset.dst_port, reset.seq, reset.ack), (80, 40_000, SeqNum(9), SeqNum(5)));
    }

    #[test]
    fn a_later_syn_opens_anew_above_the_old_numbers() {
        let floors = TimeWaitAction::Reopen { isn_floor: SeqNum(1_001), tsval_floor: 1_500 };
        for (seq, tsval, expected) in [
            (1, Some(71), floors),
            (1, Some(70), TimeWaitAction::Acknowledge),
            (2_001, Some(70), floors),
            (2_001, Some(69), TimeWaitAction::Acknowledge),
            (2_001, None, floors),
            (2_000, None, TimeWaitAction::Acknowledge),
        ] {
            let syn = segment(Flags::SYN, seq, 0, tsval);
            assert_eq!(time_wait().handle_segment(at(1_000), &syn), expected, "{seq} {tsval:?}");
        }
    }

    #[test]
    fn a_repeated_fin_is_acknowledged_and_starts_the_time_anew() {
        let mut end = time_wait();
        let fin = segment(Flags::FIN.with(Flags::ACK), 1_999, 1_000, Some(71));
        assert_eq!(end.handle_segment(at(5_000), &fin), TimeWaitAction::Acknowledge);
        assert_eq!(end.until(), at(65_000));
        let answer = end.acknowledgment(at(5_000));
        assert_eq!((answer.seq, answer.ack, answer.flags), (SeqNum(1_000), SeqNum(2_000), Flags::ACK));
        assert_eq!(answer.options.timestamps, Some(Timestamps { val: 5_500, ecr: 70 }));
    }

    #[test]
    fn a_reset_and_the_last_acknowledgment_say_nothing_new() {
        let mut end = time_wait();
        assert_eq!(end.handle_segment(at(0), &segment(Flags::RST, 2_000, 0, None)), TimeWaitAction::Ignore);
        assert_eq!(end.handle_segment(at(0), &segment(Flags::ACK, 2_000, 1_000, None)), TimeWaitAction::Ignore);
        assert_eq!(end.until(), at(60_000));
    }

    #[test]
    fn answers_are_limited_in_each_second() {
        let mut end = time_wait();
        let old = segment(Flags::ACK, 1, 1, None);
        for _ in 0..GONE_ANSWERS_MAX {
            assert_eq!(end.handle_segment(at(0), &old), TimeWaitAction::Acknowledge);
        }
        assert_eq!(end.handle_segment(at(999), &old), TimeWaitAction::Ignore);
        assert_eq!(end.handle_segment(at(1_000), &old), TimeWaitAction::Acknowledge);
    }
}
