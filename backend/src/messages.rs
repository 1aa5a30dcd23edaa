//! What other nodes say to a back-end.

use std::net::IpAddr;

use baton_http1::Status;
use baton_stack::addr::ConnId;
use baton_stack::drop::DropReason;
use baton_stack::node::Transmit;
use baton_stack::time::Instant;
use handoff_proto::donor::DonorEvent;
use handoff_proto::journal::{MoveEvent, MoveResult};
use handoff_proto::lease::LeaseNews;
use handoff_proto::message::{Grant, Lease, Message, Over};
use handoff_proto::names::NodeId;
use handoff_proto::session::{PeerIndex, SessionEvent};

use crate::node::BackEnd;
use crate::serve::Service;
use crate::serving::{Destination, Serving, Verdict};

impl<S: Service> BackEnd<S> {
    /// Takes a datagram from another node.
    pub(crate) fn handle_datagram<T: Transmit>(
        &mut self,
        now: Instant,
        from: IpAddr,
        datagram: &mut [u8],
        tx: &mut T,
    ) -> Result<(), DropReason> {
        let (peer, messages) = self.sessions.handle_datagram(now, from, datagram)?;
        self.handle_session_events();
        for message in messages {
            let handled = message.and_then(|message| self.handle_message(now, peer, &message, tx));
            if let Err(reason) = handled {
                self.ports.drops.count(reason);
            }
        }
        Ok(())
    }

    /// A front-end that has started anew knows nothing of our lease.
    fn handle_session_events(&mut self) {
        while let Some(SessionEvent::PeerBooted { peer, .. }) = self.sessions.poll_event() {
            for link in self.links.iter_mut().filter(|link| link.directory.front_end == peer) {
                link.holder.rejoin();
            }
        }
    }

    fn handle_message<T: Transmit>(
        &mut self,
        now: Instant,
        peer: PeerIndex,
        message: &Message<'_>,
        tx: &mut T,
    ) -> Result<(), DropReason> {
        if let Message::Lease(lease) = message {
            return self.handle_lease(now, peer, lease, tx);
        }
        let c = message.connection().ok_or(DropReason::MessageMalformed)?;
        let link = self.learn_link(c, peer).ok_or(DropReason::MessageUnknownPeer)?;
        let from = self.links[link].directory.id_of(peer).ok_or(DropReason::MessageUnknownPeer)?;
        let has_lease = self.links[link].holder.is_valid(now);
        let Self { links, sessions, ports, .. } = self;
        let entry = &mut links[link];
        let mut out = entry.directory.outbox(sessions, &mut ports.drops);
        match message {
            Message::Handoff(part) => {
                if let Some(arrival) = entry.recipient.handle_handoff(now, from, part, has_lease, &mut out)? {
                    self.adopt(now, link, arrival, tx);
                }
                Ok(())
            }
            Message::Revoke(revoke) => entry.recipient.handle_revoke(now, revoke, has_lease, &mut out),
            Message::Routed(routed) => entry.recipient.handle_routed(now, routed),
            Message::Done(done) => entry.recipient.handle_done(now, from, done),
            Message::ClosedAck(ack) if from == NodeId::FRONT_END => {
                entry.closed.acknowledge(ack.c);
                Ok(())
            }
            Message::Over(over) if from == NodeId::FRONT_END => {
                self.handle_over(now, link, over);
                Ok(())
            }
            Message::Prefetch(_) => Ok(()),
            Message::MoveWish(wish) => self.handle_move_wish(from, wish),
            Message::Fetch(_)
            | Message::Tail(_)
            | Message::TailGone(_)
            | Message::Release(_)
            | Message::Released(_) => self.handle_tail_message(now, link, from, message),
            _ => self.handle_donor_message(now, link, c, from, message),
        }
    }

    fn handle_lease<T: Transmit>(
        &mut self,
        now: Instant,
        peer: PeerIndex,
        lease: &Lease<'_>,
        tx: &mut T,
    ) -> Result<(), DropReason> {
        let index = self.links.iter().position(|link| link.directory.front_end == peer);
        let index = index.ok_or(DropReason::MessageUnknownPeer)?;
        let link = &mut self.links[index];
        let LeaseNews { new_generation, has_new_peers, deaths } = link.holder.handle_lease(now, lease)?;
        if has_new_peers {
            link.update_directory(now, &mut self.sessions);
        }
        if let Some(g) = new_generation {
            self.discard_all(now, index, tx);
            self.links[index].recipient.set_generation(g);
        }
        for key in std::mem::take(&mut self.waiting) {
            if let Some(conn) = self.engine.get_mut(key) {
                conn.app.is_waiting = false;
                self.wake(key);
            }
        }
        for death in deaths {
            let link = &mut self.links[index];
            link.recipient.handle_node_down(now, death.node);
            link.formers.handle_node_down(death);
            link.releases.handle_node_down(death.node);
            link.tails.handle_node_down(now);
            self.abort_towards(now, index, death.node, death.g);
        }
        Ok(())
    }

    /// The link of a message's connection. What the front-end itself says of a connection tells whose it is.
    fn learn_link(&mut self, c: ConnId, peer: PeerIndex) -> Option<usize> {
        if let Some(link) = self.links.iter().position(|link| link.directory.front_end == peer) {
            self.link_of_front_end.insert(c.front_end(), link);
            return Some(link);
        }
        self.link_of(c)
    }

    /// A message to the owner or donor of a connection.
    fn handle_donor_message(
        &mut self,
        now: Instant,
        link: usize,
        c: ConnId,
        from: NodeId,
        message: &Message<'_>,
    ) -> Result<(), DropReason> {
        let Self { links, sessions, ports, engine, owned, frozen, .. } = self;
        let entry = &mut links[link];
        let mut out = entry.directory.outbox(sessions, &mut ports.drops);
        let key = owned.get(&c).copied();
        let owner = key.and_then(|key| engine.get_mut(key)).map(|conn| &mut conn.app.donor);
        let Some(donor) = owner.or_else(|| frozen.get_mut(&c).map(|frozen| &mut frozen.donor)) else {
            if matches!(message, Message::Settle(_)) && entry.closed.answer(c, &mut out) {
                return Ok(());
            }
            return entry.formers.handle_message(from, message, &mut out);
        };
        let event = donor.handle_message(now, from, message, &mut out);
        self.donors_due.set(c, donor.poll_at());
        if let Message::PartAck(_) = message
            && let Some(frozen) = frozen.get_mut(&c)
        {
            frozen.note_parts(now);
        }
        match event {
            Ok(event) => {
                self.handle_donor_event(now, c, event);
                Ok(())
            }
            // It may concern an earlier move of the connection, away from here.
            Err(reason) => {
                let entry = &mut self.links[link];
                let mut out = entry.directory.outbox(&mut self.sessions, &mut self.ports.drops);
                match message {
                    Message::Installed(_) | Message::Refused(_) => {
                        entry.formers.handle_message(from, message, &mut out)
                    }
                    _ => Err(reason),
                }
            }
        }
    }

    /// Repeats what donors have to repeat.
    pub(crate) fn poll_donors(&mut self, now: Instant) {
        while let Some(c) = self.donors_due.pop(now) {
            let Self { links, sessions, ports, engine, owned, frozen, .. } = self;
            let key = owned.get(&c).copied();
            let owner = key.and_then(|key| engine.get_mut(key)).map(|conn| (conn.app.link, &mut conn.app.donor));
            let donor = owner.or_else(|| frozen.get_mut(&c).map(|frozen| (frozen.link, &mut frozen.donor)));
            // Without its lease it waits until that is there again.
            let Some((link, donor)) = donor.filter(|(link, _)| links[*link].was_leased) else { continue };
            let mut out = links[link].directory.outbox(sessions, &mut ports.drops);
            let event = donor.handle_timeout(now, &mut out);
            self.donors_due.set(c, donor.poll_at());
            self.handle_donor_event(now, c, event);
        }
    }

    pub(crate) fn handle_donor_event(&mut self, now: Instant, c: ConnId, event: DonorEvent) {
        match event {
            DonorEvent::Nothing => {}
            DonorEvent::Stay { n, strip } => self.decide(c, n, Some(Verdict::Serve { strip })),
            DonorEvent::Granted(Grant { e2, to, g, n, strip, .. }) => {
                self.note_grant(now, c);
                let destination = Destination { e2, to, g, strip };
                match strip {
                    Some(_) => self.decide(c, n, Some(Verdict::Move(destination))),
                    None => self.change_serving(c, |serving| serving.grant(destination)),
                }
            }
            DonorEvent::MoveRejected { to } => self.drop_wish(c, to),
            // Nobody here produces responses for others.
            DonorEvent::Forward { n, .. } => {
                self.decide(c, n, Some(Verdict::Reject { status: Status::BAD_GATEWAY, retry_after_s: 0 }));
            }
            DonorEvent::Reject { n, status, retry_after_s } => {
                let status = Status::new(status).unwrap_or(Status::SERVICE_UNAVAILABLE);
                self.decide(c, n, Some(Verdict::Reject { status, retry_after_s }));
            }
            DonorEvent::Unanswered { n } | DonorEvent::GrantVoid { n } => self.decide(c, n, None),
            DonorEvent::Moved { e2, to, g } => self.moved(now, c, e2, to, g),
            DonorEvent::Thaw { image, e2, reason, .. } => self.take_back(now, c, &image, e2, reason),
            DonorEvent::Lost { .. } => {
                self.stats.lost += 1;
                if let Some(frozen) = self.forget_frozen(c) {
                    self.journal.note(MoveEvent { result: MoveResult::Lost, ..frozen.event });
                    self.links[frozen.link].tails.discard(c, &mut self.server.store);
                }
            }
        }
    }

    /// Notes who serves a request, or that it must be asked again.
    fn decide(&mut self, c: ConnId, n: u32, verdict: Option<Verdict>) {
        self.change_serving(c, |serving| match verdict {
            Some(verdict) => serving.decide(n, verdict),
            None => serving.undecide(),
        });
    }

    fn note_grant(&mut self, now: Instant, c: ConnId) {
        if let Some(conn) = self.owned.get(&c).and_then(|key| self.engine.get_mut(*key)) {
            conn.app.granted = now;
        }
    }

    fn change_serving(&mut self, c: ConnId, change: impl FnOnce(&mut Serving)) {
        let Some(&key) = self.owned.get(&c) else { return };
        if let Some(conn) = self.engine.get_mut(key) {
            change(&mut conn.app.serving);
        }
        self.wake(key);
    }

    /// The front-end has no such connection any more: nobody is told, nothing is sent.
    fn handle_over(&mut self, now: Instant, link: usize, over: &Over) {
        self.links[link].recipient.handle_over(now, over.c);
        self.links[link].closed.acknowledge(over.c);
        if let Some(&key) = self.owned.get(&over.c) {
            self.discard(key);
            self.stats.discarded += 1;
        }
        self.forget_frozen(over.c);
        self.links[link].formers.remove(over.c);
        self.links[link].tails.discard(over.c, &mut self.server.store);
    }
}
