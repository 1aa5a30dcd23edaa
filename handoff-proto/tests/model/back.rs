//! A back-end: the production machines, put together as `backend` does. A connection's TCB is a number, the next response.

use std::collections::BTreeMap;

use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr};
use baton_stack::drop::DropReason;
use baton_stack::time::Instant;
use handoff_proto::closed::ClosedReports;
use handoff_proto::donor::{Donor, DonorEvent, Standing};
use handoff_proto::former::{Former, Formers};
use handoff_proto::hold::{Hold, HoldLimits};
use handoff_proto::lease::{HolderEvent, LeaseHolder, LeaseSettings};
use handoff_proto::message::{Closed, Ended, Grant, Lease, LoadReport, Message, RefuseReason, RequestKey, Served};
use handoff_proto::names::{Boot, Generation, NodeId};
use handoff_proto::recipient::{Arrival, Attempt, Recipient, RecipientLimits};
use handoff_proto::release::Releases;
use handoff_proto::tail::{TailLimits, TailStore};

use crate::client::{Client, End, Segment};
use crate::mutants::Mutant;
use crate::net::Mail;
use crate::tails::{Queue, Store, Tails};
use crate::world::Rules;

/// Every connection of a run is on these ports.
pub(crate) const FLOW: Flow = Flow {
    client: Endpoint { addr: IpAddr::V4(baton_stack::addr::Ipv4Addr::new(10, 1, 0, 1)), port: 1_024 },
    vip: Endpoint { addr: IpAddr::V4(baton_stack::addr::Ipv4Addr::new(10, 1, 0, 2)), port: 80 },
};

const LOAD: LoadReport = LoadReport { connections: 0, requests: 0, bytes: 0, busy_permille: 0 };
const RECORDS: usize = 8;

/// What a frozen connection looks like: the next response, and who keeps each of the last ones.
pub(crate) fn image(next: u32, holders: &[NodeId]) -> Box<[u8]> {
    let holders = holders.iter().flat_map(|holder| holder.0.to_be_bytes());
    next.to_be_bytes().into_iter().chain(holders).collect()
}

pub(crate) fn thawed(image: &[u8]) -> (u32, Queue) {
    let (next, holders) = image.split_first_chunk().expect("an image comes whole");
    let (next, (holders, _)) = (u32::from_be_bytes(*next), holders.as_chunks());
    let holders: Vec<_> = holders.iter().map(|holder| NodeId(u16::from_be_bytes(*holder))).collect();
    (next, Queue::with(next, &holders))
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Back {
    pub(crate) id: NodeId,
    pub(crate) boot: Boot,
    pub(crate) is_alive: bool,
    pub(crate) holder: LeaseHolder,
    pub(crate) recipient: Recipient,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    pub(crate) formers: Formers,
    pub(crate) closed: ClosedReports,
    pub(crate) hold: Hold,
    pub(crate) store: Store,
    pub(crate) tails: TailStore,
    pub(crate) releases: Releases,
    /// Whether it has ever lost its lease.
    pub(crate) has_lapsed: bool,
    /// For mutants that forget or repeat what happened here: attempts that were revoked, and the last grant that was used.
    revoked: Vec<Attempt>,
    used: Option<Grant>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Conn {
    pub(crate) donor: Donor,
    /// `None` while frozen.
    pub(crate) next: Option<u32>,
    /// This node serves the next request, as the image's plan or an answer says.
    is_decided: bool,
    pub(crate) queue: Queue,
    pub(crate) tails: Option<Tails>,
}

impl Back {
    pub(crate) fn new(id: NodeId, boot: Boot) -> Self {
        Self {
            id,
            boot,
            is_alive: true,
            holder: LeaseHolder::new(LeaseSettings::default(), boot),
            recipient: Recipient::new(RecipientLimits { images: RECORDS, image_bytes: 1 << 10, records: RECORDS }),
            conns: BTreeMap::new(),
            formers: Formers::new(RECORDS, 1),
            closed: ClosedReports::new(RECORDS),
            hold: Hold::new(HoldLimits::default()),
            store: Store::default(),
            tails: TailStore::new(TailLimits::default()),
            releases: Releases::new(RECORDS),
            has_lapsed: false,
            revoked: Vec::new(),
            used: None,
        }
    }

    /// The process dies, with all that it had.
    pub(crate) fn crash(&mut self) {
        *self = Self { is_alive: false, ..Self::new(self.id, self.boot) };
    }

    /// A new process starts.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.id, Boot(self.boot.0 + 1));
    }

    pub(crate) fn has_lease(&self, now: Instant) -> bool {
        self.is_alive && self.holder.is_valid(now)
    }

    /// Whether it takes itself for the owner, with or without a lease.
    pub(crate) fn owns(&self, c: ConnId) -> bool {
        self.conns.get(&c).is_some_and(|conn| !conn.donor.is_silent())
    }

    /// Whether the application has something to do now.
    pub(crate) fn can_drive(&self, now: Instant, c: ConnId, rules: &Rules) -> bool {
        let speaks = self.has_lease(now) || rules.is(Mutant::SpeaksWithoutLease);
        let is_ready = |conn: &Conn| {
            // FIN is acknowledged after everything else.
            let is_last = conn.next.is_some_and(|next| next >= rules.requests());
            conn.next.is_some() && conn.donor.asking().is_none() && (!is_last || conn.queue.is_empty())
        };
        speaks && self.conns.get(&c).is_some_and(is_ready)
    }

    /// Whether the next thing that the application does is to serve.
    pub(crate) fn is_serving(&self, c: ConnId) -> bool {
        self.conns.get(&c).is_some_and(|conn| conn.is_decided)
    }

    /// The application: serves what is decided, hands over under a grant, asks about the rest, and closes after the last.
    pub(crate) fn drive(&mut self, now: Instant, c: ConnId, rules: &Rules, client: &mut Client, out: &mut Mail) {
        let Some(conn) = self.conns.get_mut(&c) else { return };
        let Some(next) = conn.next else { return };
        if let Some(grant) = self.used.take() {
            conn.donor.accept_grant(now, grant);
        }
        if conn.is_decided {
            client.serve(c, conn.donor.epoch(), next);
            (conn.next, conn.is_decided) = (Some(next + 1), false);
            if next + 1 < rules.requests() {
                conn.ask(now, out);
            }
            if rules.tails {
                self.queue(c, next);
            }
        } else if next >= rules.requests() {
            self.close(now, c, rules, client, out);
        } else if let Some(grant) = conn.donor.grant().copied() {
            let recipient_g = self.holder.peer(grant.to).map(|peer| peer.g);
            let standing = Standing { has_lease: self.holder.is_valid(now), recipient_g };
            if conn.donor.ready(now, standing).is_err() {
                conn.ask(now, out);
            } else if recipient_g.is_some_and(|g| g >= grant.g) {
                self.hand_off(now, c, grant, standing, rules, out);
            }
        } else {
            conn.ask(now, out);
        }
    }

    fn hand_off(&mut self, now: Instant, c: ConnId, grant: Grant, standing: Standing, rules: &Rules, out: &mut Mail) {
        let (holders, keeps_tail) = self.leave_bytes(now, c, &grant);
        let Some(conn) = self.conns.get_mut(&c) else { return };
        let Some(next) = conn.next.take() else { return };
        let image = image(next, &holders);
        conn.donor.hand_off(now, standing, image, rules.part_bytes, out).expect("a grant that is ready");
        conn.donor.set_keeps_tail(keeps_tail);
        if rules.is(Mutant::GrantUsedTwice) {
            self.used = Some(grant);
        }
    }

    /// The connection ends here: after the last response, or because the client resets it.
    pub(crate) fn close(&mut self, now: Instant, c: ConnId, rules: &Rules, client: &mut Client, out: &mut Mail) {
        self.end(now, c, (End::Closed, Ended::Active), rules, client, out);
    }

    pub(crate) fn end(
        &mut self,
        now: Instant,
        c: ConnId,
        (end, ended): (End, Ended),
        rules: &Rules,
        client: &mut Client,
        out: &mut Mail,
    ) {
        let Some(conn) = self.discard(c) else { return };
        let (e, requests) = (conn.donor.epoch(), conn.next.unwrap_or(0));
        let served = Served { requests, bytes: 0 };
        let closed = Closed { c, e, snd_nxt: 1, rcv_nxt: 2, timestamps: None, ended, served };
        client.end(c, end);
        self.closed.report(now, closed, out).expect("there is room");
        if rules.is(Mutant::ClosedOnce) {
            self.closed.acknowledge(c);
        }
    }

    /// Everything that goes by time, but leases.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rules: &Rules, client: &mut Client, out: &mut Mail) {
        self.formers.handle_timeout(now);
        if !self.has_lease(now) {
            return;
        }
        self.recipient.handle_timeout(now, |node| self.holder.lives(node), out);
        self.closed.handle_timeout(now, out);
        self.time_tails(now, out);
        self.time_fetches(now, rules, client, out);
        let connections: Vec<_> = self.conns.keys().copied().collect();
        for c in connections {
            let Some(conn) = self.conns.get_mut(&c) else { continue };
            let event = conn.donor.handle_timeout(now, out);
            self.act(now, c, event, rules);
        }
        while let Some((_, held)) = self.hold.take_expired(now) {
            self.give_back(&held, client);
        }
    }

    /// The lease's part of time.
    pub(crate) fn handle_lease_timeout(&mut self, now: Instant, out: &mut Mail) -> HolderEvent {
        self.holder.handle_timeout(now, &LOAD, out)
    }

    /// Held segments that nobody here will take.
    fn give_back(&mut self, held: &[Vec<u8>], client: &mut Client) {
        if !held.is_empty() && client.segment == Segment::Held(self.id) {
            client.segment = Segment::AtFrontEnd;
        }
    }

    /// Held segments that a connection here takes.
    fn take_held(&mut self, client: &mut Client) {
        if !self.hold.take(&FLOW).is_empty() && client.segment == Segment::Held(self.id) {
            client.segment = Segment::Done;
        }
    }

    /// # Errors
    /// The message is counted as dropped: nothing may have changed.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        (from, message): (NodeId, &Message<'_>),
        refuses: bool,
        rules: &Rules,
        client: &mut Client,
        out: &mut Mail,
    ) -> Result<(), DropReason> {
        if let Message::Lease(lease) = message {
            return self.handle_lease(now, lease, rules, client, out);
        }
        let has_lease = self.holder.is_valid(now);
        let c = message.connection().ok_or(DropReason::MessageMalformed)?;
        match message {
            Message::Handoff(part) => {
                if self.forgets(Attempt { c, e2: part.e2 }, rules) {
                    self.forget_records();
                }
                if let Some(arrival) = self.recipient.handle_handoff(now, from, part, has_lease, out)? {
                    self.adopt(now, arrival, refuses, rules, client, out);
                }
                Ok(())
            }
            Message::Revoke(revoke) => {
                self.recipient.handle_revoke(now, revoke, has_lease, out)?;
                for flow in self.recipient.take_given_up() {
                    let held = self.hold.take(&flow);
                    if !rules.is(Mutant::RevokeDropsHeld) {
                        self.give_back(&held, client);
                    }
                }
                if rules.is(Mutant::ReinstallsAfterRevoke) {
                    self.revoked.push(Attempt { c, e2: revoke.e2 });
                    self.revoked.sort();
                    self.revoked.dedup();
                }
                Ok(())
            }
            Message::Routed(routed) => self.recipient.handle_routed(now, routed),
            Message::Done(done) => self.recipient.handle_done(now, from, done),
            Message::ClosedAck(ack) => {
                self.closed.acknowledge(ack.c);
                Ok(())
            }
            Message::Over(over) => {
                self.recipient.handle_over(now, over.c);
                self.closed.acknowledge(over.c);
                self.discard(over.c);
                self.formers.remove(over.c);
                self.tails.discard(over.c, &mut self.store);
                Ok(())
            }
            Message::Fetch(_)
            | Message::Tail(_)
            | Message::TailGone(_)
            | Message::Release(_)
            | Message::Released(_) => self.handle_tail_message(now, (from, message), rules, client, out),
            _ => self.handle_donor_message(now, c, from, message, rules, out),
        }
    }

    fn handle_donor_message(
        &mut self,
        now: Instant,
        c: ConnId,
        from: NodeId,
        message: &Message<'_>,
        rules: &Rules,
        out: &mut Mail,
    ) -> Result<(), DropReason> {
        let Some(conn) = self.conns.get_mut(&c) else {
            if matches!(message, Message::Settle(_)) && self.closed.answer(c, out) {
                return Ok(());
            }
            return self.formers.handle_message(from, message, out);
        };
        match conn.donor.handle_message(now, from, message, out) {
            Ok(event) => {
                self.act(now, c, event, rules);
                Ok(())
            }
            // It may concern an earlier move of the connection, away from here.
            Err(reason) => match message {
                Message::Installed(_) | Message::Refused(_) => self.formers.handle_message(from, message, out),
                _ => Err(reason),
            },
        }
    }

    fn handle_lease(
        &mut self,
        now: Instant,
        lease: &Lease<'_>,
        rules: &Rules,
        client: &mut Client,
        out: &mut Mail,
    ) -> Result<(), DropReason> {
        let news = self.holder.handle_lease(now, lease)?;
        if let Some(g) = news.new_generation {
            let connections: Vec<_> = self.conns.keys().copied().collect();
            for c in connections {
                self.discard(c);
            }
            self.formers.clear();
            self.closed.clear();
            self.releases.clear();
            self.tails.clear(&mut self.store);
            self.recipient.set_generation(g);
            while let Some((_, held)) = self.hold.take_any() {
                self.give_back(&held, client);
            }
        }
        for death in news.deaths {
            self.recipient.handle_node_down(now, death.node);
            self.formers.handle_node_down(death);
            self.releases.handle_node_down(death.node);
            self.tails.handle_node_down(now);
            self.abort(now, |_, to, g| (to, g) == (death.node, death.g), rules, out);
        }
        Ok(())
    }

    /// Gives up waiting for recipients.
    pub(crate) fn abort(
        &mut self,
        now: Instant,
        is_meant: impl Fn(ConnId, NodeId, Generation) -> bool,
        rules: &Rules,
        out: &mut Mail,
    ) {
        let is_meant =
            |c: ConnId, conn: &Conn| conn.donor.frozen_towards().is_some_and(|(_, to, g)| is_meant(c, to, g));
        let meant: Vec<_> = self.conns.iter().filter(|(c, conn)| is_meant(**c, conn)).map(|(c, _)| *c).collect();
        for c in meant {
            let Some(conn) = self.conns.get_mut(&c) else { continue };
            if rules.is(Mutant::ThawsWithoutProof)
                && let Some((e2, ..)) = conn.donor.frozen_towards()
            {
                let thaw = handoff_proto::message::Thaw { c, e2 }.into();
                let event = conn.donor.handle_message(now, NodeId::FRONT_END, &thaw, out);
                self.act(now, c, event.expect("it is frozen"), rules);
                continue;
            }
            conn.donor.abort(now, out);
        }
    }

    fn adopt(
        &mut self,
        now: Instant,
        arrival: Arrival,
        refuses: bool,
        rules: &Rules,
        client: &mut Client,
        out: &mut Mail,
    ) {
        let Arrival { attempt, donor, image, .. } = arrival;
        if refuses {
            self.recipient.refuse(now, attempt, donor, RefuseReason::Overload, out);
            let held = self.hold.take(&FLOW);
            if !rules.is(Mutant::RefusalDropsHeld) {
                self.give_back(&held, client);
            }
            return;
        }
        // The front-end has given the flow to a new connection, or the old one comes back.
        if let Some(conn) = self.conns.get_mut(&attempt.c) {
            let event = conn.donor.handle_route(attempt.e2);
            self.act(now, attempt.c, event, rules);
        }
        let older: Vec<_> = self.conns.iter().filter(|(_, conn)| !conn.donor.is_silent()).map(|(c, _)| *c).collect();
        for c in older {
            self.discard(c);
        }
        let ((next, queue), donor_here) = (thawed(&image), Donor::new(attempt.c, attempt.e2));
        let conn = Conn { donor: donor_here, next: Some(next), is_decided: true, queue, tails: None };
        self.conns.insert(attempt.c, conn);
        self.claim_bytes(now, attempt.c);
        self.recipient.install(now, attempt, donor, out);
        if self.has_tail_at(attempt.c, donor) {
            self.recipient.leave_time(now, attempt);
        }
        self.formers.remove(attempt.c);
        client.install(attempt.c, attempt.e2);
        self.take_held(client);
    }

    pub(crate) fn act(&mut self, now: Instant, c: ConnId, event: DonorEvent, rules: &Rules) {
        let Some(conn) = self.conns.get_mut(&c) else { return };
        match event {
            DonorEvent::Nothing
            | DonorEvent::Unanswered { .. }
            | DonorEvent::Granted(_)
            | DonorEvent::MoveRejected { .. } => {}
            DonorEvent::Stay { .. } | DonorEvent::Reject { .. } | DonorEvent::Forward { .. } => conn.is_decided = true,
            DonorEvent::GrantVoid { .. } => conn.is_decided = false,
            DonorEvent::Moved { e2, to, g } => {
                self.conns.remove(&c);
                self.formers.insert(now, Former { c, flow: FLOW, e2, to, g });
                if rules.is(Mutant::ForgetsTailAtDone) {
                    self.tails.discard(c, &mut self.store);
                }
            }
            DonorEvent::Thaw { image, e2, tried, .. } => {
                let mut donor = Donor::new(c, conn.donor.epoch());
                match rules.mutant {
                    Some(Mutant::GrantUsedTwice) => {}
                    Some(Mutant::ThawedForgetsItsWord) => donor.has_tried(e2),
                    _ => donor.has_tried(tried),
                }
                let (next, queue) = thawed(&image);
                *conn = Conn { donor, next: Some(next), is_decided: false, queue, tails: None };
                self.claim_bytes(now, c);
            }
            DonorEvent::Lost { .. } => {
                self.conns.remove(&c);
                self.tails.discard(c, &mut self.store);
            }
        }
    }

    /// Where a client's segment goes that comes to this node.
    pub(crate) fn take_segment(&mut self, now: Instant, c: ConnId, rules: &Rules, client: &mut Client) {
        if let Some(conn) = self.conns.get(&c) {
            client.segment = match conn.donor.frozen_towards() {
                Some((_, to, _)) => Segment::OnTheWay(to),
                None => Segment::Done,
            };
        } else if let Some(former) = self.formers.straggler(now, &FLOW) {
            match rules.mutant {
                Some(Mutant::AnswersStraggler) => client.accuse(crate::client::Wrong::Segment),
                Some(Mutant::DropsStraggler) => client.segment = Segment::Held(self.id),
                _ => client.segment = Segment::OnTheWay(former.to),
            }
        } else {
            client.segment = Segment::Held(self.id);
            if !rules.is(Mutant::HoldsNothing) {
                self.hold.hold(now, FLOW, b"segment").expect("there is room for one");
            }
        }
    }

    /// The hold time is over.
    pub(crate) fn hold_is_over(&mut self, client: &mut Client) {
        let held = self.hold.take(&FLOW);
        self.give_back(&held, client);
    }

    /// For mutants: whether this node has forgotten that it decided about an attempt.
    fn forgets(&self, attempt: Attempt, rules: &Rules) -> bool {
        rules.is(Mutant::ForgetsRecords) || (rules.is(Mutant::ReinstallsAfterRevoke) && self.revoked.contains(&attempt))
    }

    fn forget_records(&mut self) {
        let g = self.recipient.generation();
        self.recipient.set_generation(Generation::NONE);
        self.recipient.set_generation(g);
    }
}

impl Conn {
    fn ask(&mut self, now: Instant, out: &mut Mail) {
        let next = self.next.expect("only an owner asks");
        self.donor.ask(now, next, &RequestKey::new(b"", b"", b""), out);
    }
}
