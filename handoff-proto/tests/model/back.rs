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

use crate::client::{Client, End, Segment};
use crate::mutants::Mutant;
use crate::net::Mail;
use crate::world::Rules;

/// Every connection of a run is on these ports.
pub(crate) const FLOW: Flow = Flow {
    client: Endpoint { addr: IpAddr::V4(baton_stack::addr::Ipv4Addr::new(10, 1, 0, 1)), port: 1_024 },
    vip: Endpoint { addr: IpAddr::V4(baton_stack::addr::Ipv4Addr::new(10, 1, 0, 2)), port: 80 },
};

const LOAD: LoadReport = LoadReport { connections: 0, requests: 0, bytes: 0, busy_permille: 0 };
const RECORDS: usize = 8;

/// What a frozen connection looks like.
pub(crate) fn image(next: u32) -> Box<[u8]> {
    next.to_be_bytes().into()
}

pub(crate) fn next_of(image: &[u8]) -> u32 {
    u32::from_be_bytes(image.try_into().expect("an image comes whole"))
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
        speaks && self.conns.get(&c).is_some_and(|conn| conn.next.is_some() && conn.donor.asking().is_none())
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
        let Some(conn) = self.conns.get_mut(&c) else { return };
        let Some(next) = conn.next.take() else { return };
        conn.donor.hand_off(now, standing, image(next), rules.part_bytes, out).expect("a grant that is ready");
        if rules.is(Mutant::GrantUsedTwice) {
            self.used = Some(grant);
        }
    }

    /// The connection ends here: after the last response, or because the client resets it.
    pub(crate) fn close(&mut self, now: Instant, c: ConnId, rules: &Rules, client: &mut Client, out: &mut Mail) {
        let Some(conn) = self.conns.remove(&c) else { return };
        let (e, requests) = (conn.donor.epoch(), conn.next.unwrap_or(0));
        let served = Served { requests, bytes: 0 };
        let closed = Closed { c, e, snd_nxt: 1, rcv_nxt: 2, timestamps: None, ended: Ended::Active, served };
        client.end(c, End::Closed);
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
                self.conns.remove(&over.c);
                self.formers.remove(over.c);
                Ok(())
            }
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
            self.conns.clear();
            self.formers.clear();
            self.closed.clear();
            self.recipient.set_generation(g);
            while let Some((_, held)) = self.hold.take_any() {
                self.give_back(&held, client);
            }
        }
        for death in news.deaths {
            self.recipient.handle_node_down(now, death.node);
            self.formers.handle_node_down(death);
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
        self.conns.retain(|_, conn| conn.donor.is_silent());
        let conn = Conn { donor: Donor::new(attempt.c, attempt.e2), next: Some(next_of(&image)), is_decided: true };
        self.conns.insert(attempt.c, conn);
        self.recipient.install(now, attempt, donor, out);
        self.formers.remove(attempt.c);
        client.install(attempt.c, attempt.e2);
        self.take_held(client);
    }

    fn act(&mut self, now: Instant, c: ConnId, event: DonorEvent, rules: &Rules) {
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
            }
            DonorEvent::Thaw { image, e2, .. } => {
                let mut donor = Donor::new(c, conn.donor.epoch());
                if !rules.is(Mutant::GrantUsedTwice) {
                    donor.has_tried(e2);
                }
                *conn = Conn { donor, next: Some(next_of(&image)), is_decided: false };
            }
            DonorEvent::Lost { .. } => drop(self.conns.remove(&c)),
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
