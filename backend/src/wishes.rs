//! What people ask of a back-end about its connections: which there are, and to move one now.

use baton_stack::addr::ConnId;
use baton_stack::drop::DropReason;
use baton_stack::engine::{Conn, ConnKey};
use baton_stack::tcp::State;
use baton_stack::time::Instant;
use handoff_proto::admin::{ConnectionInfo, Connections, Page, WishRefused, WishTaken};
use handoff_proto::journal::{MoveEvent, MoveReason, MoveResult};
use handoff_proto::message::{DrainState, MoveWish};
use handoff_proto::names::{Generation, NodeId};

use crate::node::{BackEnd, Owned};
use crate::serve::Service;

impl<S: Service> BackEnd<S> {
    /// Some of the connections that this node owns.
    pub(crate) fn list(&self, now: Instant, page: Page) -> Connections {
        let describe = |place| self.engine.at_place(place).map(|conn| self.describe(now, conn));
        Connections::gather(page, self.engine.places(), describe)
    }

    fn describe(&self, now: Instant, conn: &Conn<Owned>) -> ConnectionInfo {
        let Owned { link, serving, donor, since, .. } = &conn.app;
        let name = |to| self.links[*link].holder.peer(to).map(|peer| peer.name.clone());
        let to = donor.grant().map(|grant| grant.to).or_else(|| serving.wanted_at());
        ConnectionInfo {
            c: serving.conn,
            flow: conn.tcb.flow(),
            owner: self.settings.name.clone(),
            epoch: serving.epoch,
            state: match conn.tcb.state() {
                State::Established | State::CloseWait if serving.is_idle(&conn.tcb) => "idle",
                State::Established | State::CloseWait => "busy",
                _ => "closing",
            },
            moving_to: to.and_then(name),
            served: Some(serving.served),
            age: now.since(*since),
        }
    }

    /// Somebody at this node wants the connection at the back-end of this name.
    pub(crate) fn wish(&mut self, now: Instant, c: ConnId, to: &str) -> Result<WishTaken, WishRefused> {
        if self.frozen.contains_key(&c) {
            return Err(WishRefused::Moving);
        }
        let key = *self.owned.get(&c).ok_or(WishRefused::NoConnection)?;
        let link = self.engine.get(key).ok_or(WishRefused::NoConnection)?.app.link;
        let holder = &self.links[link].holder;
        if !holder.is_valid(now) {
            return Err(WishRefused::NoLease);
        }
        if to == self.settings.name {
            return Err(WishRefused::SameNode);
        }
        let peer = holder.peers().iter().find(|peer| peer.name == to).ok_or(WishRefused::UnknownNode)?;
        if peer.g == Generation::NONE {
            return Err(WishRefused::NodeDown);
        }
        let id = peer.id;
        self.want(key, id)?;
        self.again.forget(c);
        Ok(WishTaken { from: self.settings.name.clone(), to: to.to_owned() })
    }

    /// Somebody at the front-end wants the connection elsewhere.
    ///
    /// # Errors
    /// The message changes nothing: the connection is not here under that epoch, or cannot move now.
    pub(crate) fn handle_move_wish(&mut self, from: NodeId, wish: &MoveWish) -> Result<(), DropReason> {
        let key = *self.owned.get(&wish.c).ok_or(DropReason::MessageStale)?;
        let is_known = self.engine.get(key).is_some_and(|conn| conn.app.serving.epoch == wish.e);
        if from != NodeId::FRONT_END || !is_known {
            return Err(DropReason::MessageStale);
        }
        match self.want(key, wish.to) {
            Ok(()) => {
                self.again.forget(wish.c);
                Ok(())
            }
            // It goes already, or ends: a wish that is said again is no fault.
            Err(WishRefused::Moving | WishRefused::Closing) => Ok(()),
            Err(_) => Err(DropReason::MessageStale),
        }
    }

    /// Says wishes again that were refused because the content was not known yet.
    pub(crate) fn poll_wishes(&mut self, now: Instant) {
        while let Some((c, to)) = self.again.pop(now) {
            // It goes already, or ends: then nobody need say it.
            if self.owned.get(&c).copied().is_none_or(|key| self.want(key, to).is_err()) {
                self.again.forget(c);
            }
        }
    }

    fn want(&mut self, key: ConnKey, to: NodeId) -> Result<(), WishRefused> {
        let conn = self.engine.get_mut(key).ok_or(WishRefused::NoConnection)?;
        let Owned { serving, donor, .. } = &mut conn.app;
        if donor.grant().is_some() || serving.leaves_with().is_some() || serving.wanted_at().is_some() {
            return Err(WishRefused::Moving);
        }
        if serving.is_ending(&self.server.store) || !matches!(conn.tcb.state(), State::Established | State::CloseWait) {
            return Err(WishRefused::Closing);
        }
        serving.want(to);
        self.wake(key);
        Ok(())
    }

    /// The connection stays: the front-end lets it not go where it was wanted.
    pub(crate) fn drop_wish(&mut self, c: ConnId, to: NodeId) {
        let Some(&key) = self.owned.get(&c) else { return };
        let Some(conn) = self.engine.get_mut(key) else { return };
        let Owned { link, serving, asked, .. } = &mut conn.app;
        serving.drop_wish();
        self.again.forget(c);
        let name = self.links[*link].holder.peer(to).map_or_else(String::new, |peer| peer.name.clone());
        self.journal.note(MoveEvent {
            c,
            base: serving.epoch,
            e2: serving.epoch,
            to: (to, name),
            reason: if self.links[*link].holder.drain() == DrainState::Draining {
                MoveReason::Drain
            } else {
                MoveReason::Admin
            },
            result: MoveResult::NotGranted,
            asked: *asked,
            granted: None,
            frozen: None,
            handed_off: None,
            installed: None,
            routed: None,
            image: None,
        });
        self.wake(key);
    }

    /// Asks the front-end whether the connection may go where it is wanted.
    pub(crate) fn ask_move(&mut self, now: Instant, key: ConnKey, ordinal: u32, to: NodeId) {
        let Some(conn) = self.engine.get_mut(key) else { return };
        let Owned { link, serving, donor, asked, .. } = &mut conn.app;
        if donor.asking_move() == Some(to) {
            return;
        }
        *asked = now;
        let link = &self.links[*link];
        donor.ask_move(now, ordinal, to, &mut link.directory.outbox(&mut self.sessions, &mut self.ports.drops));
        self.donors_due.set(serving.conn, donor.poll_at());
        self.stats.asks += 1;
    }
}
