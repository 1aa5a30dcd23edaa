//! The active open (RFC 9293 sections 3.5 and 3.10.7.3).
//!
//! ```text
//!                              SYN,ACK
//!   connect --> SYN-SENT -----------------------> ESTABLISHED
//!                  |                                   ^
//!                  | SYN: both have opened             | ACK, or SYN,ACK
//!                  +----------> SYN-RECEIVED ----------+
//! ```
//! A flow names its ends by who serves whom elsewhere: here `vip` is the end that opens, ours, and `client` is the peer.
//! Neither state freezes.

use super::TcpConfig;
use super::segment::{Flags, Options, Segment, Timestamps};
use super::seq::SeqNum;
use super::tcb::{CloseReason, Outcome, State, Tcb};
use crate::addr::Flow;
use crate::drop::DropReason;
use crate::ecn::Ecn;
use crate::time::Instant;

/// A connection cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody, everybody or many have the peer's address (RFC 9293 section 3.9.2.3, MUST-46).
    #[error("the peer's address is not that of one host")]
    ImpossiblePeer,
}

impl Tcb {
    /// Opens a connection from `flow.vip`, which is ours, to `flow.client`. The SYN comes out of [`Tcb::poll_transmit`], and offers
    /// all there is; what is pushed meanwhile is sent when the connection is established.
    ///
    /// # Errors
    /// There can be no such peer.
    pub fn connect(
        now: Instant,
        config: &TcpConfig,
        flow: Flow,
        isn: SeqNum,
        ts_offset: u32,
    ) -> Result<Self, ConnectError> {
        if !flow.has_possible_client() {
            return Err(ConnectError::ImpossiblePeer);
        }
        let mut tcb = Self::hearing(now, config.into(), flow, isn, ts_offset, &offer());
        (tcb.state, tcb.is_active) = (State::SynSent, true);
        Ok(tcb)
    }

    /// SYN-SENT.
    pub(crate) fn handle_in_syn_sent(&mut self, now: Instant, segment: &Segment<'_>) -> Result<Outcome, DropReason> {
        let has_ack = segment.flags.has(Flags::ACK);
        // SND.UNA < SEG.ACK =< SND.NXT, and SYN is all that is between.
        if has_ack && segment.ack != self.snd.nxt {
            return Err(DropReason::BadAck);
        }
        if segment.flags.has(Flags::RST) {
            // Also RFC 5961 section 3.2: a reset is believed if it acknowledges our SYN.
            if !has_ack {
                return Err(DropReason::BadReset);
            }
            self.finish(CloseReason::ResetByPeer);
            return Ok(Outcome { closed: self.closed, ..Outcome::default() });
        }
        if !segment.flags.has(Flags::SYN) {
            return Err(DropReason::UnexpectedSegment);
        }
        let offers_ecn = self.opts.ecn;
        self.take_syn(now, segment);
        if has_ack {
            self.opts.ecn = offers_ecn && Self::accepts_ecn(segment);
            return Ok(self.take_syn_ack(now, segment));
        }
        self.opts.ecn &= offers_ecn;
        self.state = State::SynReceived;
        self.arm_retransmit(now);
        Ok(Outcome::default())
    }

    /// The peer's SYN has come: now it is known what both offer. What has happened since our SYN stays.
    fn take_syn(&mut self, now: Instant, segment: &Segment<'_>) {
        let heard = Self::hearing(now, self.config, self.flow, self.snd.iss, self.ts.offset, segment);
        let was = core::mem::replace(self, heard);
        self.is_active = true;
        (self.snd.queue, self.snd.fin) = (was.snd.queue, was.snd.fin);
        (self.rtt, self.timed, self.unanswered) = (was.rtt, was.timed, was.unanswered);
        (self.ts.last, self.sent_at, self.challenges) = (was.ts.last, was.sent_at, was.challenges);
        if was.unanswered > 0 {
            // RFC 5681 section 3.1: after a lost SYN the initial window is one segment.
            self.cc.cwnd = self.mss();
        }
    }

    /// SYN and ACK of ours in one segment, after our SYN: the connection is established. The text and FIN that may follow are
    /// taken in.
    pub(crate) fn take_syn_ack(&mut self, now: Instant, segment: &Segment<'_>) -> Outcome {
        // The window of a SYN is never scaled (RFC 7323 section 2.2).
        self.establish(now, segment, u32::from(segment.window));
        self.note_timestamp(now, segment);
        self.ack_now = true;
        let text = Segment {
            seq: segment.seq + 1,
            flags: Flags(segment.flags.0 & !Flags::SYN.0),
            options: Options::default(),
            ..*segment
        };
        self.heard_at = now;
        let mut outcome = Outcome { established: true, ..Outcome::default() };
        self.take_text(now, &text, &mut outcome);
        outcome
    }
}

/// What we offer, as if the peer had said it: as long as nothing is heard, that is what is agreed on.
fn offer() -> Segment<'static> {
    let options = Options {
        window_scale: Some(0),
        sack_permitted: true,
        timestamps: Some(Timestamps::default()),
        ..Options::default()
    };
    Segment {
        src_port: 0,
        dst_port: 0,
        seq: SeqNum(0),
        ack: SeqNum(0),
        flags: Flags::SYN.with(Flags::ECE).with(Flags::CWR),
        window: 0,
        urgent: 0,
        options,
        payload: &[],
        ecn: Ecn::NotEct,
    }
}
