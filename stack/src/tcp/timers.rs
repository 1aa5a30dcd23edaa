//! Timers as data: a deadline each, or none.

use super::content::Content;
use super::recovery::Phase;
use super::tcb::{CloseReason, Outcome, State, Tcb};
use crate::time::Instant;

/// When something is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timers {
    /// To send again what is not acknowledged (RFC 6298), or the SYN-ACK.
    pub retransmit: Option<Instant>,
    /// To probe a closed window (RFC 9293 section 3.8.6.1).
    pub persist: Option<Instant>,
    /// To acknowledge what could not be acknowledged with data (RFC 9293 section 3.8.6.3).
    pub delayed_ack: Option<Instant>,
    /// To see whether an idle peer lives (RFC 9293 section 3.8.4).
    pub keepalive: Option<Instant>,
    /// To give up a peer that has our FIN and does not finish (FIN-WAIT-2).
    pub fin_wait_2: Option<Instant>,
    /// To take for lost what did not come within the reordering window (RFC 8985 section 6.2).
    pub reorder: Option<Instant>,
    /// To probe whether the last segments were lost (RFC 8985 section 7).
    pub probe: Option<Instant>,
}

impl Tcb {
    /// When [`Tcb::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let Timers { retransmit, persist, delayed_ack, keepalive, fin_wait_2, reorder, probe } = self.timers;
        // As numbers: each of eight decides nothing about the way through the code.
        let number = |at: Option<Instant>| at.map_or(u64::MAX, Instant::micros);
        let others = [persist, delayed_ack, keepalive, fin_wait_2, reorder, probe, self.user_timeout_at()];
        let first = others.into_iter().map(number).fold(number(retransmit), u64::min);
        (first < u64::MAX).then(|| Instant::from_micros(first))
    }

    /// Does what is due at `now`; what is to be sent comes out of [`Tcb::poll_transmit`].
    pub fn handle_timeout(&mut self, now: Instant, _content: &mut impl Content) -> Outcome {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.timers.delayed_ack) {
            self.timers.delayed_ack = None;
            self.ack_now = true;
        }
        if is_due(self.timers.fin_wait_2) || is_due(self.user_timeout_at()) {
            self.abort_for(CloseReason::TimedOut);
        }
        if is_due(self.timers.reorder) {
            self.reordering_timeout(now);
        }
        if is_due(self.timers.probe) {
            self.probe_timeout(now);
        }
        if is_due(self.timers.retransmit) {
            self.retransmission_timeout(now);
        }
        if is_due(self.timers.persist) {
            self.persist_timeout();
        }
        if is_due(self.timers.keepalive) {
            self.keepalive_timeout(now);
        }
        Outcome { closed: self.closed, ..Outcome::default() }
    }

    /// RFC 6298 section 5.4 to 5.7.
    fn retransmission_timeout(&mut self, now: Instant) {
        self.timers.retransmit = None;
        if self.awaits_bytes() {
            // Nothing was sent since the last time: it says nothing of the path.
            self.arm_retransmit(now);
            return;
        }
        self.rtt.backoff = self.rtt.backoff.saturating_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        if matches!(self.state, State::SynSent | State::SynReceived) {
            let retries = if self.is_active { self.config.syn_retries } else { self.config.syn_ack_retries };
            if self.unanswered > retries {
                self.finish(CloseReason::TimedOut);
                return;
            }
            self.control_now = true;
            self.timed = None;
            if self.state == State::SynSent {
                // Some drop what offers ECN (RFC 3168 section 6.1.1.1).
                self.opts.ecn = false;
            }
            // RFC 5681 section 3.1: after a lost SYN or SYN-ACK the initial window is one segment.
            self.cc.cwnd = self.mss();
            self.arm_retransmit(now);
            return;
        }
        if self.unanswered > self.config.data_retries {
            self.abort_for(CloseReason::TimedOut);
            return;
        }
        let in_flight = self.unacknowledged();
        if in_flight == 0 {
            return;
        }
        if self.believe_claim(now) {
            return;
        }
        let (mss, una) = (self.mss(), self.snd.una);
        let is_again = matches!(self.rec.phase, Phase::Timeout(point) if una.lt(point));
        // Once for each window of data, where a mark was echoed (RFC 3168 section 6.1.2) and where losses were found, as in Linux: what
        // proportional rate reduction has left of the window is no measure of the path.
        let is_reduced = match self.rec.phase {
            Phase::Open => self.is_reduced_for(una),
            Phase::Fast(_) => true,
            Phase::Timeout(_) => is_again,
        };
        if self.rec.is_open() && !is_reduced {
            self.remember_window(in_flight);
        } else if !is_again {
            // Two signs of congestion are not taken back.
            self.rec.undo = None;
        }
        self.cc.on_timeout(in_flight, mss, !is_reduced);
        self.note_reduction();
        self.begin_slow_start(now);
        self.timed = None;
        self.arm_retransmit(now);
    }

    /// The window is still closed: probe it. Every answer, also one that keeps it closed, is a sign of life.
    fn persist_timeout(&mut self) {
        self.timers.persist = None;
        if self.is_corked() {
            // No probe: the peer has been waiting, not we.
            self.probe_now = true;
            return;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered > self.config.data_retries {
            self.abort_for(CloseReason::TimedOut);
            return;
        }
        self.probe_now = true;
        self.rtt.backoff = self.rtt.backoff.saturating_add(1);
    }

    fn keepalive_timeout(&mut self, now: Instant) {
        let Some(idle) = self.config.keepalive() else { return };
        if now.since(self.heard_at) < idle {
            self.timers.keepalive = Some(self.heard_at + idle);
            return;
        }
        if self.unacknowledged() > 0 || self.timers.persist.is_some() {
            // Not idle: what is sent again, or the window's probe, finds out (RFC 9293 section 3.8.4).
            self.timers.keepalive = Some(now + idle);
            return;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        // RFC 1122 section 4.2.3.6 leaves the number open.
        if self.unanswered > self.config.keepalive_probes {
            self.abort_for(CloseReason::TimedOut);
            return;
        }
        self.probe_now = true;
        let interval = self.config.keepalive_interval();
        self.timers.keepalive = Some(now + interval.unwrap_or_else(|| self.rtt.rto(&self.config).max(idle / 8)));
    }

    /// When the peer has been silent for too long about what is in flight, or about its closed window (RFC 9293 section 3.8.3,
    /// MUST-21). Of an opening, if it is ours: who is heard here for the first time has `syn_ack_retries`.
    fn user_timeout_at(&self) -> Option<Instant> {
        let is_ours = self.is_active || self.is_synchronized();
        let waits = is_ours && (self.timers.retransmit.is_some() || self.is_probing());
        self.config.user_timeout().filter(|_| waits).map(|most| self.waiting_since + most)
    }

    /// Whether the window is closed, or too small, and probed.
    pub(crate) const fn is_probing(&self) -> bool {
        self.timers.persist.is_some()
    }

    /// The peer has answered, or there was nothing to answer until now.
    pub(crate) const fn note_answer(&mut self, now: Instant) {
        self.unanswered = 0;
        self.waiting_since = now;
    }

    /// Starts FIN-WAIT-2's timer anew: our FIN is acknowledged, or the peer has said something since. RFC 9293 knows no end of that
    /// state; without one, who never closes would keep a connection for ever.
    pub(crate) fn arm_fin_wait_2(&mut self, now: Instant) {
        self.timers.fin_wait_2 = self.config.fin_wait_2().map(|most| now + most);
    }

    /// Starts the retransmission timer anew (RFC 6298 sections 5.1 and 5.3).
    pub(crate) fn arm_retransmit(&mut self, now: Instant) {
        self.timers.retransmit = Some(now.after_micros(self.rtt.rto_us(&self.config)));
    }

    /// Starts keepalive, where it is wanted.
    pub(crate) fn arm_keepalive(&mut self, now: Instant) {
        self.timers.keepalive = self.config.keepalive().map(|idle| now + idle);
    }

    /// After a silence longer than the RTO the window is not believed any more (RFC 5681 section 4.1).
    pub(crate) fn restart_if_idle(&mut self, now: Instant) {
        if self.unacknowledged() > 0 || !self.rec.is_open() {
            return;
        }
        let (idle, rto) = (now.micros().saturating_sub(self.sent_at.micros()), self.rtt.rto_us(&self.config));
        if idle > rto {
            let mss = self.mss();
            let timeouts = (idle - 1) / rto.max(1);
            self.cc.on_idle(u32::try_from(timeouts).unwrap_or(u32::MAX), mss, self.config.initial_window_segments);
        }
    }
}
