//! What is in flight when a connection goes: it stays with the node that has sent it, and a later owner fetches what is lost of it.

use baton_stack::addr::ConnId;
use baton_stack::drop::DropReason;
use baton_stack::engine::{Conn, ConnKey};
use baton_stack::tcp::{Bulk, Frozen, FrozenBytes};
use baton_stack::time::Instant;
use handoff_proto::fetch::{Fetcher, TailLost};
use handoff_proto::image::{Image, Resume};
use handoff_proto::message::{Done, DrainState, Message, Outbox, Tail, TailGone};
use handoff_proto::names::{Generation, NodeId};

use crate::node::{BackEnd, Owned};
use crate::serve::Service;
use crate::serving::Destination;

/// What a connection here has with nodes that owned it before.
#[derive(Debug)]
pub(crate) struct Tails {
    fetcher: Fetcher,
    /// Who keeps something, and from where on, as far as they were told. In no order; as many as there were owners in one window.
    holders: Vec<(NodeId, u64)>,
}

impl Tails {
    /// When a question is to be repeated.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        self.fetcher.poll_at()
    }
}

impl<S: Service> BackEnd<S> {
    /// Whether what is in flight stays here when the connection goes: not if the whole image fits into one datagram with it, and not
    /// if there is no room, or more in the queue than what is in flight.
    pub(crate) fn leaves_tail(&self, conn: &Conn<Owned>, to: Destination, resume: Option<&Resume>) -> bool {
        let link = &self.links[conn.app.link];
        let bulk = conn.tcb.bulk();
        let Bulk { local, extents, .. } = bulk;
        let peer = link.directory.session_of(to.to).unwrap_or(link.directory.front_end);
        let is_long = Image::len_at_most(&bulk, resume) > u64::from(self.sessions.part_bytes(peer));
        local > 0 && is_long && conn.tcb.unsent() == 0 && link.tails.has_room(local, extents)
    }

    /// The connection goes: holders whose bytes it still needs will hear from the next owner, the others from here.
    pub(crate) fn leave_holders(&mut self, now: Instant, link: usize, c: ConnId, tails: &Tails, frozen: &Frozen) {
        let releases = &mut self.links[link].releases;
        for &(node, _) in &tails.holders {
            let is_needed =
                |bytes: &FrozenBytes| matches!(bytes, FrozenBytes::Remote { holder, .. } if *holder == node.0);
            if frozen.queue.iter().any(is_needed) {
                releases.leave(c, node);
            } else {
                releases.finish(now, c, node);
            }
        }
    }

    /// The connection has come: what this node has kept of it itself is its own again, and others hear from this node now.
    pub(crate) fn claim_tails(&mut self, now: Instant, key: ConnKey) {
        let Some(conn) = self.engine.get_mut(key) else { return };
        let Owned { link, serving, tails, .. } = &mut conn.app;
        let (c, e, link) = (serving.conn, serving.epoch, &mut self.links[*link]);
        let me = link.holder.me();
        let kept = link.tails.take(c);
        if conn.tcb.reclaim(now, me.0, &kept, &mut self.server.store).is_err() {
            conn.tcb.lose_tail();
        }
        let mut holders: Vec<(NodeId, u64)> = Vec::new();
        for remote in conn.tcb.remotes() {
            let node = NodeId(remote.holder);
            if node != me && holders.iter().all(|(known, _)| *known != node) {
                holders.push((node, remote.start));
            }
        }
        for &(node, _) in &holders {
            if let Err(reason) = link.releases.hold(now, c, e, node) {
                self.ports.drops.count(reason);
            }
        }
        *tails = conn.tcb.has_remote().then(|| Box::new(Tails { fetcher: Fetcher::new(c, e), holders }));
        self.engine.settle(key, now);
    }

    /// Whether `node` keeps bytes of a connection that is here.
    pub(crate) fn keeps_tail(&self, c: ConnId, node: NodeId) -> bool {
        let conn = self.owned.get(&c).and_then(|key| self.engine.get(*key));
        let tails = conn.and_then(|conn| conn.app.tails.as_ref());
        tails.is_some_and(|tails| tails.holders.iter().any(|(holder, _)| *holder == node))
    }

    /// Asks for what is wanted, and lets go what is not needed any more, after anything has happened to the connection.
    pub(crate) fn tend_tails(&mut self, now: Instant, key: ConnKey) {
        let Some(conn) = self.engine.get_mut(key) else { return };
        let Conn { tcb, app: Owned { link, serving, tails: slot, .. }, .. } = conn;
        let Some(tails) = slot else { return };
        if tcb.closed().is_some() {
            // Nothing is asked for any more; the holders hear of the end when the connection goes.
            self.fetches_due.set(serving.conn, None);
            return;
        }
        let (c, link) = (serving.conn, &mut self.links[*link]);
        let releases = &mut link.releases;
        tails.holders.retain_mut(|(node, told)| {
            let Some(first) = tcb.remotes().find(|remote| remote.holder == node.0) else {
                releases.finish(now, c, *node);
                return false;
            };
            if first.start > *told {
                *told = first.start;
                releases.note(now, c, *node, first.start);
            }
            true
        });
        let me = link.holder.me();
        let mut out = link.directory.outbox(&mut self.sessions, &mut self.ports.drops);
        let asked = tails.fetcher.update(now, me, tcb, &mut out);
        self.fetches_due.set(c, tails.fetcher.poll_at());
        if !tcb.has_remote() {
            *slot = None;
        }
        match asked {
            Ok(questions) => self.stats.fetches += questions as u64,
            Err(TailLost) => self.lose_tail(now, key),
        }
    }

    /// Bytes that must be sent again are nowhere any more.
    fn lose_tail(&mut self, now: Instant, key: ConnKey) {
        if let Some(conn) = self.engine.get_mut(key) {
            conn.tcb.lose_tail();
        }
        self.engine.settle(key, now);
        self.wake(key);
    }

    /// The connection has ended here, or is dropped: nobody need keep anything.
    pub(crate) fn drop_holders(&mut self, conn: &Conn<Owned>) {
        let Owned { link, serving, tails, .. } = &conn.app;
        let Some(tails) = tails else { return };
        self.fetches_due.set(serving.conn, None);
        for (node, _) in &tails.holders {
            self.links[*link].releases.finish(Instant::ZERO, serving.conn, *node);
        }
    }

    /// Repeats questions that are due.
    pub(crate) fn poll_fetches(&mut self, now: Instant) {
        while let Some(c) = self.fetches_due.pop(now) {
            let Some(&key) = self.owned.get(&c) else { continue };
            let Some(conn) = self.engine.get_mut(key) else { continue };
            let Owned { link, tails: Some(tails), .. } = &mut conn.app else { continue };
            let link = &mut self.links[*link];
            if !link.was_leased {
                continue;
            }
            let holder = &link.holder;
            let is_listed = |node| holder.peer(node).is_some_and(|peer| peer.g != Generation::NONE);
            let mut out = link.directory.outbox(&mut self.sessions, &mut self.ports.drops);
            match tails.fetcher.handle_timeout(now, is_listed, &mut out) {
                Ok(()) => self.fetches_due.set(c, tails.poll_at()),
                Err(TailLost) => self.lose_tail(now, key),
            }
        }
    }

    /// A message about a tail: to its holder, or to the connection's owner.
    pub(crate) fn handle_tail_message(
        &mut self,
        now: Instant,
        link: usize,
        from: NodeId,
        message: &Message<'_>,
    ) -> Result<(), DropReason> {
        if !self.links[link].holder.is_valid(now) {
            return Err(DropReason::MessageStale);
        }
        let Self { links, sessions, ports, server, .. } = self;
        let entry = &mut links[link];
        let mut out = entry.directory.outbox(sessions, &mut ports.drops);
        match message {
            Message::Fetch(fetch) => entry.tails.handle_fetch(now, from, fetch, &mut server.store, &mut out),
            Message::Release(release) => {
                entry.tails.handle_release(now, from, release, &mut server.store, &mut out);
                // Who needs less of a tail than before owns the connection (R15). The answer says that this is known here.
                if let Some(frozen) = self.frozen.get_mut(&release.c) {
                    let event = frozen.donor.handle_route(release.e);
                    self.handle_donor_event(now, release.c, event);
                }
                Ok(())
            }
            Message::Released(released) => {
                // Has it confirmed already, this is no news; nor if the connection had come here from another node.
                let done = entry.recipient.handle_done(now, from, &Done { c: released.c, e2: released.e });
                entry.releases.handle_released(now, from, released).or(done)
            }
            Message::Tail(tail) => self.handle_tail(now, link, tail),
            Message::TailGone(gone) => self.handle_tail_gone(now, from, gone),
            _ => Err(DropReason::MessageMalformed),
        }
    }

    /// Bytes come, asked for or not. Where the connection has gone on, they follow it.
    fn handle_tail(&mut self, now: Instant, link: usize, tail: &Tail<'_>) -> Result<(), DropReason> {
        let Some(&key) = self.owned.get(&tail.c) else {
            let Self { links, sessions, ports, .. } = self;
            let entry = &links[link];
            let former = entry.formers.of(tail.c).filter(|former| former.e2 > tail.e);
            let former = former.ok_or(DropReason::MessageStale)?;
            let mut out = entry.directory.outbox(sessions, &mut ports.drops);
            out.send(former.to, &Tail { e: former.e2, ..*tail }.into());
            return Ok(());
        };
        let conn = self.engine.get_mut(key).ok_or(DropReason::MessageStale)?;
        let tails = conn.app.tails.as_ref().ok_or(DropReason::MessageStale)?;
        let was_asked = tails.fetcher.has_asked(tail.start);
        match conn.tcb.supply(now, tail.start, tail.bytes, &mut self.server.store) {
            Ok(taken) => self.stats.tail_bytes_taken += taken,
            Err(_) => conn.tcb.lose_tail(),
        }
        self.engine.settle(key, now);
        self.tend_tails(now, key);
        if !was_asked {
            self.links[link].releases.hurry(now, tail.c);
        }
        self.wake(key);
        Ok(())
    }

    fn handle_tail_gone(&mut self, now: Instant, from: NodeId, gone: &TailGone) -> Result<(), DropReason> {
        let key = *self.owned.get(&gone.c).ok_or(DropReason::MessageStale)?;
        let conn = self.engine.get(key).ok_or(DropReason::MessageStale)?;
        let tails = conn.app.tails.as_ref().ok_or(DropReason::MessageStale)?;
        if tails.fetcher.handle_gone(from, gone, &conn.tcb).is_err() {
            self.lose_tail(now, key);
        }
        Ok(())
    }

    /// Tails are pushed to whoever owns the connections while this node drains, stops, or has little room.
    pub(crate) fn decide_pushing(&mut self, now: Instant, link: usize) {
        let is_stopping = self.is_stopping();
        let link = &mut self.links[link];
        let is_pushing = is_stopping || link.holder.drain() != DrainState::Serving || link.tails.is_tight();
        link.tails.set_pushing(now, is_pushing);
    }
}
