//! The turns of connections: who has something to do, and what comes of it.

use baton_stack::engine::ConnKey;
use baton_stack::tcp::{CloseReason, State};
use baton_stack::time::Instant;
use handoff_proto::message::{Closed, ClosedTimestamps, Ended, RequestKey};

use crate::node::{BackEnd, Owned};
use crate::serve::{Service, Work};
use crate::serving::Step;

impl<S: Service> BackEnd<S> {
    /// Puts a connection on the list of those that may have something to do.
    pub(crate) fn wake(&mut self, key: ConnKey) {
        if let Some(conn) = self.engine.get_mut(key)
            && !conn.app.is_awake
        {
            conn.app.is_awake = true;
            self.awake.push(key);
        }
    }

    /// Has a connection wait for the next node list, or for what the service finds out.
    pub(crate) fn have_wait(&mut self, key: ConnKey) {
        if let Some(conn) = self.engine.get_mut(key)
            && !conn.app.is_waiting
        {
            conn.app.is_waiting = true;
            self.waiting.push(key);
        }
    }

    /// What was waited for may be there.
    pub(crate) fn wake_waiting(&mut self) {
        for key in std::mem::take(&mut self.waiting) {
            if let Some(conn) = self.engine.get_mut(key) {
                conn.app.is_waiting = false;
                self.wake(key);
            }
        }
    }

    /// Lets the service do a piece of work, if it has some, and those go on who have waited for it.
    pub(crate) fn work(&mut self) {
        match self.server.service.work() {
            Work::Going => {}
            Work::Found => self.wake_waiting(),
            Work::Nothing => self.has_work = false,
        }
    }

    /// Lets every connection that is awake go on as far as it can.
    pub(crate) fn serve(&mut self, now: Instant) {
        let mut awake = std::mem::take(&mut self.awake);
        for key in awake.drain(..) {
            self.drive(now, key);
        }
        // Those that woke meanwhile are in the new list; the old one lends its memory.
        if self.awake.is_empty() {
            self.awake = awake;
        }
    }

    fn drive(&mut self, now: Instant, key: ConnKey) {
        let Some(conn) = self.engine.get_mut(key) else { return };
        conn.app.is_awake = false;
        if !self.links[conn.app.link].was_leased {
            // It is woken when the lease is there again.
            return;
        }
        if conn.app.tails.is_some() {
            self.tend_tails(now, key);
        }
        let Some(conn) = self.engine.get_mut(key) else { return };
        let before = conn.app.serving.served;
        let step = match conn.tcb.state() {
            State::Closed | State::TimeWait => Step::Wait,
            _ => conn.app.serving.drive(&mut conn.tcb, &mut self.server, &self.settings.request),
        };
        let after = conn.app.serving.served;
        if let Some(is_used) = conn.app.serving.take_use() {
            self.ahead.count_use(is_used);
        }
        let leaves_with = conn.app.serving.leaves_with().filter(|_| conn.app.donor.is_grant_aging(now));
        self.stats.requests += u64::from(after.requests - before.requests);
        let counted = self.unsent_again.min(after.bytes - before.bytes);
        self.unsent_again -= counted;
        self.stats.response_bytes += after.bytes - before.bytes - counted;
        if step == Step::Reset {
            conn.tcb.abort();
        }
        self.engine.settle(key, now);
        match step {
            // The response takes longer than a grant is good for: the same one again, while there is time.
            Step::Wait => leaves_with.into_iter().for_each(|ordinal| self.ask(now, key, ordinal)),
            Step::Reset => {}
            Step::Ask { ordinal } => self.ask(now, key, ordinal),
            Step::AskMove { ordinal, to } => self.ask_move(now, key, ordinal, to),
            Step::Move(destination) => self.hand_off(now, key, destination),
            Step::AwaitName => {
                self.has_work = true;
                self.have_wait(key);
            }
        }
        self.end_if_over(now, key);
    }

    /// Asks the front-end who serves the request that the unread bytes begin with.
    fn ask(&mut self, now: Instant, key: ConnKey, ordinal: u32) {
        let Some(conn) = self.engine.get_mut(key) else { return };
        let Owned { link, serving, donor, asked, .. } = &mut conn.app;
        if donor.asking() == Some(ordinal) {
            return;
        }
        let Some(head) = serving.peek(&conn.tcb, &self.settings.request) else { return };
        let host = head.host.unwrap_or_default().as_bytes();
        let target = head.path_and_query().unwrap_or(head.path).as_bytes();
        let key = RequestKey::new(head.method.as_str().as_bytes(), host, target);
        let request = RequestKey { may_prepare: serving.may_prepare(&head), ..key };
        *asked = now;
        let link = &self.links[*link];
        donor.ask(now, ordinal, &request, &mut link.directory.outbox(&mut self.sessions, &mut self.ports.drops));
        self.donors_due.set(serving.conn, donor.poll_at());
        self.stats.asks += 1;
    }

    /// Says goodbye to a connection that has ended, and tells the front-end.
    fn end_if_over(&mut self, now: Instant, key: ConnKey) {
        let Some(conn) = self.engine.get(key) else { return };
        let state = conn.tcb.state();
        let is_over = match state {
            State::TimeWait => true,
            // A reset of ours leaves first.
            State::Closed => !conn.tcb.wants_transmit(now),
            _ => false,
        };
        if !is_over || (state == State::TimeWait && conn.tcb.wants_transmit(now)) {
            return;
        }
        let Some(conn) = self.discard(key) else { return };
        let Owned { link, serving, .. } = &conn.app;
        let reason = conn.tcb.closed().unwrap_or(CloseReason::Finished);
        self.stats.count_closed(reason);
        let timestamps = conn.tcb.last_tsval().zip(conn.tcb.ts_recent());
        let closed = Closed {
            c: serving.conn,
            e: serving.epoch,
            snd_nxt: conn.tcb.snd_nxt().0,
            rcv_nxt: conn.tcb.rcv_nxt().0,
            timestamps: timestamps.map(|(ts_val, ts_recent)| ClosedTimestamps { ts_val, ts_recent }),
            ended: ended(state, reason),
            served: serving.served,
        };
        let link = &mut self.links[*link];
        let mut out = link.directory.outbox(&mut self.sessions, &mut self.ports.drops);
        if let Err(reason) = link.closed.report(now, closed, &mut out) {
            self.ports.drops.count(reason);
        }
    }
}

/// How a connection ended, as CLOSED says it.
fn ended(state: State, reason: CloseReason) -> Ended {
    match reason {
        CloseReason::ResetByPeer => Ended::ResetByClient,
        CloseReason::TimedOut => Ended::TimedOut,
        CloseReason::Aborted | CloseReason::ContentLost | CloseReason::TailLost => Ended::ResetByUs,
        CloseReason::Finished if state == State::TimeWait => Ended::Active,
        CloseReason::Finished => Ended::Passive,
    }
}
