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
use handoff_proto::message::{Grant, Lease, Message, Over, Prefetch};
use handoff_proto::names::NodeId;
use handoff_proto::recipient::Attempt;
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

    pub(crate) fn handle_message<T: Transmit>(
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
                match entry.recipient.handle_handoff(now, from, part, has_lease, &mut out)? {
                    Some(arrival) => self.adopt(now, link, arrival, tx),
                    None => self.return_given_up(now, link, tx),
                }
                Ok(())
            }
            Message::Revoke(revoke) => {
                entry.recipient.handle_revoke(now, revoke, has_lease, &mut out)?;
                self.ahead.void(revoke.c);
                self.return_given_up(now, link, tx);
                Ok(())
            }
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
            Message::Prefetch(prefetch) => {
                self.handle_prefetch(now, link, from, prefetch);
                Ok(())
            }
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
        self.wake_waiting();
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

    /// A connection may come, with this request. A hint: what cannot be heeded is counted and otherwise forgotten.
    fn handle_prefetch(&mut self, now: Instant, link: usize, from: NodeId, prefetch: &Prefetch<'_>) {
        self.ahead.counts.received += 1;
        let entry = &self.links[link];
        let is_late = entry.recipient.has_decided(Attempt { c: prefetch.c, e2: prefetch.e2 });
        let is_of_another_life = from != NodeId::FRONT_END || prefetch.g != entry.recipient.generation();
        let takes_none = self.is_stopping() || !entry.holder.is_valid(now) || !self.settings.prefetch;
        if is_late || is_of_another_life || takes_none {
            self.ahead.counts.stale += 1;
            return;
        }
        self.ahead.take(now, link, prefetch, &mut self.server.service);
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
            DonorEvent::Thaw { image, tried, reason, .. } => self.take_back(now, c, &image, tried, reason),
            DonorEvent::Lost { .. } => {
                self.stats.lost += 1;
                if let Some(frozen) = self.give_up_frozen(c) {
                    self.journal.note(MoveEvent { result: MoveResult::Lost, ..frozen.event });
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
        self.ahead.void(over.c);
        self.links[link].closed.acknowledge(over.c);
        if let Some(&key) = self.owned.get(&over.c) {
            self.discard(key);
            self.stats.discarded += 1;
        }
        self.give_up_frozen(over.c);
        self.links[link].formers.remove(over.c);
        self.links[link].tails.discard(over.c, &mut self.server.store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ahead::AheadCounts;
    use crate::fixture::{G, Written, at, joining, lease};
    use crate::serve::Probe;
    use crate::settings::Settings;
    use baton_stack::addr::{Endpoint, Flow};
    use baton_stack::node::Node;
    use baton_stack::time::Duration;
    use handoff_proto::message::{RequestKey, Revoke};
    use handoff_proto::names::{Epoch, Generation};

    /// A back-end with a lease, for what `change` makes of its settings.
    fn leased(change: impl FnOnce(&mut Settings)) -> BackEnd<Probe> {
        let mut node = joining(change);
        take_lease(&mut node, 0, 1, G);
        node
    }

    fn take_lease(node: &mut BackEnd<Probe>, ms: u64, number: u32, g: Generation) {
        let front_end = node.links[0].directory.front_end;
        node.handle_lease(at(ms), front_end, &lease(number, g, 1_500), &mut Written::default()).unwrap();
    }

    fn tell(node: &mut BackEnd<Probe>, ms: u64, from: NodeId, e2: u32, g: Generation) -> AheadCounts {
        let key = RequestKey { may_prepare: true, ..RequestKey::new(b"GET", b"h", b"/bytes/9") };
        let prefetch = Prefetch { c: ConnId(1), e2: Epoch(e2), g, n: 1, strip: 0, key };
        node.handle_prefetch(at(ms), 0, from, &prefetch);
        node.ahead.counts
    }

    #[test]
    fn a_hint_is_heeded_from_the_front_end_for_this_life_and_under_a_lease() {
        let mut node = leased(|_| ());
        assert_eq!(tell(&mut node, 0, NodeId(2), 2, G).stale, 1);
        assert_eq!(tell(&mut node, 0, NodeId::FRONT_END, 2, Generation(6)).stale, 2);
        assert_eq!(tell(&mut node, 1_500, NodeId::FRONT_END, 2, G).stale, 3, "no lease");
        assert_eq!(node.ahead.waiting(), (0, 0));
        let counts = tell(&mut node, 0, NodeId::FRONT_END, 2, G);
        assert_eq!((counts.received, counts.stale, node.ahead.waiting()), (4, 3, (1, 9)));
        node.poll(at(999), &mut Written::default());
        assert_eq!(node.ahead.waiting(), (1, 9));
        node.poll(at(1_000), &mut Written::default());
        assert_eq!((node.ahead.waiting(), node.ahead.counts.expired), ((0, 0), 1));
    }

    #[test]
    fn what_is_switched_off_stopped_or_decided_is_not_prepared() {
        let mut node = leased(|settings| settings.prefetch = false);
        assert_eq!(tell(&mut node, 0, NodeId::FRONT_END, 2, G).stale, 1);
        let mut node = leased(|_| ());
        let end = |port| Endpoint { addr: IpAddr::from([10, 77, 0, 1]), port };
        let flow = Flow { client: end(40_000), vip: end(80) };
        let revoke = Message::Revoke(Revoke { c: ConnId(1), e2: Epoch(2), g: G, flow });
        assert_eq!(tell(&mut node, 0, NodeId::FRONT_END, 2, G).stale, 0);
        let front_end = node.links[0].directory.front_end;
        node.handle_message(at(0), front_end, &revoke, &mut Written::default()).unwrap();
        assert_eq!((node.ahead.waiting(), node.ahead.counts.void), ((0, 0), 1));
        assert_eq!(tell(&mut node, 0, NodeId::FRONT_END, 2, G).stale, 1, "it comes late");
        assert_eq!(tell(&mut node, 0, NodeId::FRONT_END, 3, G).stale, 1, "a later attempt is another");
        assert_eq!(node.ahead.waiting(), (1, 9));
        node.stop(at(0));
        assert_eq!(tell(&mut node, 0, NodeId::FRONT_END, 4, G).stale, 2);
    }

    #[test]
    fn a_new_life_forgets_what_the_last_one_prepared() {
        let mut node = leased(|_| ());
        tell(&mut node, 0, NodeId::FRONT_END, 2, G);
        node.links[0].holder.rejoin();
        node.poll(at(1), &mut Written::default());
        take_lease(&mut node, 2, 2, Generation(8));
        assert_eq!((node.ahead.waiting(), node.ahead.counts.void), ((0, 0), 1));
        assert!(node.poll_at().is_some_and(|next| next < at(2) + Duration::from_secs(1)), "only its lease is due");
        assert_eq!(tell(&mut node, 2, NodeId::FRONT_END, 2, Generation(8)).stale, 0);
    }
}
