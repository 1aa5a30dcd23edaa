//! What leases bring and take: a front-end's turn, and what becomes of its connections with and without its word.

use baton_stack::engine::Conn;
use baton_stack::node::Transmit;
use baton_stack::time::Instant;
use handoff_proto::lease::HolderEvent;
use handoff_proto::message::LoadReport;

use crate::node::{BackEnd, Owned};
use crate::serve::Service;

impl<S: Service> BackEnd<S> {
    /// Everything of one front-end's generation is over: dropped silently, held packets go back (R3).
    pub(crate) fn discard_all<T: Transmit>(&mut self, now: Instant, link: usize, tx: &mut T) {
        let of_link = |conn: &Conn<Owned>| conn.app.link == link;
        let keys: Vec<_> = self.engine.iter().filter(|(_, conn)| of_link(conn)).map(|(key, _)| key).collect();
        for key in keys {
            self.discard(key);
            self.stats.discarded += 1;
        }
        let leaving: Vec<_> = self.frozen.iter().filter(|(_, f)| f.link == link).map(|(c, _)| *c).collect();
        for c in leaving {
            self.give_up_frozen(c);
        }
        self.ahead.clear(link);
        self.links[link].formers.clear();
        self.links[link].closed.clear();
        self.links[link].releases.clear();
        self.links[link].tails.clear(&mut self.server.store);
        while let Some((flow, frames)) = self.hold.take_any() {
            self.release_held(now, &flow, frames, None, tx);
        }
    }

    /// What the front-ends are told with each heartbeat.
    fn load(&self) -> LoadReport {
        LoadReport {
            connections: u32::try_from(self.engine.len()).unwrap_or(u32::MAX),
            requests: self.stats.requests,
            bytes: self.stats.response_bytes,
            busy_permille: self.busy_permille,
        }
    }

    /// Everything that a link does by time.
    pub(crate) fn poll_link(&mut self, now: Instant, index: usize) {
        let load = self.load();
        self.decide_pushing(now, index);
        let link = &mut self.links[index];
        if link.was_leased && !link.holder.is_valid(now) {
            // What was to be said under the lease is not said under a later one (R13).
            for peer in link.directory.sessions() {
                self.sessions.forget_queued(peer);
            }
        }
        let mut out = link.directory.outbox(&mut self.sessions, &mut self.ports.drops);
        if link.holder.handle_timeout(now, &load, &mut out) == HolderEvent::Lapsed {
            self.stats.leases_lapsed += 1;
        }
        link.formers.handle_timeout(now);
        let was_leased = link.was_leased;
        link.was_leased = link.holder.is_valid(now);
        if link.was_leased {
            link.recipient.handle_timeout(now, |node| link.holder.lives(node), &mut out);
            link.closed.handle_timeout(now, &mut out);
            link.releases.handle_timeout(now, |node| link.holder.lives(node), &mut out);
            link.tails.handle_timeout(now, &mut self.server.store, &mut out);
        }
        match (was_leased, self.links[index].was_leased) {
            (true, false) => self.engine.suspend(|conn| conn.app.link == index),
            (false, true) => self.go_on(now, index),
            (true, true) | (false, false) => {}
        }
    }

    /// A lease is there again, and with it the connections that it is for: they go on where they stood (R3).
    fn go_on(&mut self, now: Instant, link: usize) {
        self.engine.resume(now, |conn| conn.app.link == link);
        let keys: Vec<_> = self.engine.iter().filter(|(_, conn)| conn.app.link == link).map(|(key, _)| key).collect();
        for key in keys {
            self.wake(key);
            let Some(conn) = self.engine.get(key) else { continue };
            let Owned { serving, donor, tails, .. } = &conn.app;
            self.donors_due.set(serving.conn, donor.poll_at());
            self.fetches_due.set(serving.conn, tails.as_ref().and_then(|tails| tails.poll_at()));
        }
        for (c, frozen) in self.frozen.iter().filter(|(_, frozen)| frozen.link == link) {
            self.donors_due.set(*c, frozen.donor.poll_at());
        }
    }

    pub(crate) fn has_lease(&self, now: Instant) -> bool {
        self.links.iter().any(|link| link.holder.is_valid(now))
    }
}
