//! What is known of a connection, for people and for `TCP_INFO`.

use super::recovery::Phase;
use super::tcb::{State, Tcb};
use crate::time::{Duration, Instant};

/// A connection's figures at one moment. Bytes, unless the name says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// The state.
    pub state: State,
    /// The longest payload of a segment, with the options that every segment has.
    pub snd_mss: u32,
    /// What we said of the longest payload that we take.
    pub rcv_mss: u32,
    /// The shift of windows that we receive, if scaling is in use.
    pub snd_scale: Option<u8>,
    /// The shift of windows that we send.
    pub rcv_scale: u8,
    /// Whether SACK is in use.
    pub sack: bool,
    /// Whether timestamps are in use.
    pub timestamps: bool,
    /// Whether ECN is in use.
    pub ecn: bool,
    /// The retransmission timeout, backoff included.
    pub rto: Duration,
    /// SRTT; zero before the first sample.
    pub srtt: Duration,
    /// RTTVAR.
    pub rttvar: Duration,
    /// How often the timer has run out without a sample in between.
    pub backoff: u8,
    /// Repetitions or probes without an answer.
    pub unanswered: u8,
    /// The congestion window.
    pub cwnd: u32,
    /// The slow start threshold.
    pub ssthresh: u32,
    /// What is done about losses.
    pub phase: Phase,
    /// Sent and not acknowledged.
    pub in_flight: u32,
    /// Of these, SACKed.
    pub sacked: u32,
    /// Of these, taken for lost.
    pub lost: u32,
    /// Of what was lost, sent again.
    pub resent: u32,
    /// Queued and never sent.
    pub unsent: u64,
    /// SND.WND.
    pub snd_wnd: u32,
    /// The window that the peer has from us.
    pub rcv_wnd: u32,
    /// How long ago data was sent.
    pub sent_age: Duration,
    /// How long ago something was received.
    pub heard_age: Duration,
}

impl Tcb {
    /// The connection's figures.
    #[must_use]
    pub fn info(&self, now: Instant) -> Info {
        let resent = self.rec.sent.again();
        let us = |us| Duration::from_micros(u64::from(us));
        Info {
            state: self.state,
            snd_mss: self.mss(),
            rcv_mss: u32::from(self.opts.rcv_mss),
            snd_scale: self.opts.snd_scale,
            rcv_scale: self.opts.rcv_scale,
            sack: self.opts.sack,
            timestamps: self.opts.timestamps,
            ecn: self.opts.ecn,
            rto: self.rtt.rto(&self.config),
            srtt: us(self.rtt.srtt_us),
            rttvar: us(self.rtt.rttvar_us),
            backoff: self.rtt.backoff,
            unanswered: self.unanswered,
            cwnd: self.cc.cwnd,
            ssthresh: self.cc.ssthresh,
            phase: self.rec.phase,
            in_flight: self.unacknowledged(),
            sacked: self.rec.sent.sacked(),
            lost: self.rec.sent.lost() + resent,
            resent,
            unsent: self.unsent(),
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.offered(),
            sent_age: now.since(self.sent_at),
            heard_age: now.since(self.heard_at),
        }
    }
}
