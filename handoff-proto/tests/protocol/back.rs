//! A back-end made of the real machines; its connections are a number: the next response.

use std::collections::BTreeMap;

use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr};
use baton_stack::time::Instant;
use handoff_proto::closed::ClosedReports;
use handoff_proto::codec::Reader;
use handoff_proto::donor::{Donor, DonorEvent, Standing};
use handoff_proto::former::{Former, Formers};
use handoff_proto::lease::{HolderEvent, LeaseHolder, LeaseSettings};
use handoff_proto::message::{Closed, Ended, LoadReport, Message, RefuseReason, RequestKey, Served};
use handoff_proto::names::{Boot, NodeId};
use handoff_proto::recipient::{Recipient, RecipientLimits};

use crate::front::PART_BYTES;
use crate::world::{Clients, Dice, Mail};

/// How many responses each connection gets.
pub(crate) const REQUESTS: u32 = 12;
const LOAD: LoadReport = LoadReport { connections: 0, requests: 0, bytes: 0, busy_permille: 0 };

/// An image of several parts.
pub(crate) fn image(next: u32) -> Box<[u8]> {
    next.to_be_bytes().repeat(20).into()
}

pub(crate) fn next_of(image: &[u8]) -> u32 {
    let (first, _) = image.split_first_chunk().unwrap();
    assert_eq!(image, &*self::image(u32::from_be_bytes(*first)), "an image came garbled");
    u32::from_be_bytes(*first)
}

#[derive(Debug)]
pub(crate) struct Back {
    pub(crate) id: NodeId,
    pub(crate) boot: Boot,
    pub(crate) is_alive: bool,
    paused_until: Option<Instant>,
    pub(crate) holder: LeaseHolder,
    pub(crate) recipient: Recipient,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    pub(crate) formers: Formers,
    pub(crate) closed: ClosedReports,
    /// Chance to refuse an image, in thousandths.
    pub(crate) refuses: u64,
    pub(crate) dice: Dice,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) donor: Donor,
    /// `None` while frozen.
    pub(crate) next: Option<u32>,
    /// The next response is decided, here or by this grant, which is used not before then.
    decided: Option<Instant>,
}

impl Back {
    pub(crate) fn new(id: NodeId) -> Self {
        Self {
            id,
            boot: Boot(1),
            is_alive: true,
            paused_until: None,
            holder: LeaseHolder::new(LeaseSettings::default(), Boot(1)),
            recipient: Recipient::new(RecipientLimits::default()),
            conns: BTreeMap::new(),
            formers: Formers::new(1_000, 1),
            closed: ClosedReports::new(1_000),
            refuses: 0,
            dice: Dice(u64::from(id.0)),
        }
    }

    /// The process dies, with all that it had.
    pub(crate) fn kill(&mut self) {
        self.is_alive = false;
    }

    /// A new process starts.
    pub(crate) fn start(&mut self) {
        let boot = Boot(self.boot.0 + 1);
        let holder = LeaseHolder::new(LeaseSettings::default(), boot);
        let (refuses, dice) = (self.refuses, self.dice.clone());
        *self = Self { boot, holder, refuses, dice, ..Self::new(self.id) };
    }

    /// The process stops and goes on later, none the wiser.
    pub(crate) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(until);
    }

    pub(crate) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    pub(crate) fn runs(&self, now: Instant) -> bool {
        self.is_alive && self.paused_until(now).is_none()
    }

    pub(crate) fn may_speak(&self, now: Instant, c: ConnId) -> bool {
        let is_owner = self.conns.get(&c).is_some_and(|conn| !conn.donor.is_silent());
        self.is_alive && is_owner && self.holder.is_valid(now)
    }

    /// R13: without a lease nothing leaves but JOIN.
    pub(crate) fn may_say(&self, now: Instant, bytes: &[u8]) -> bool {
        let message = Message::decode(&mut Reader::new(bytes)).unwrap();
        self.holder.is_valid(now) || matches!(message, Message::Join(_))
    }

    pub(crate) fn tick(&mut self, now: Instant, clients: &mut Clients, dice: &mut Dice, out: &mut Mail) {
        match self.holder.handle_timeout(now, &LOAD, out) {
            HolderEvent::Nothing | HolderEvent::Lapsed => {}
        }
        if !self.holder.is_valid(now) {
            return;
        }
        self.recipient.handle_timeout(now, |node| self.holder.lives(node), out);
        self.closed.handle_timeout(now, out);
        self.formers.handle_timeout(now);
        let connections: Vec<_> = self.conns.keys().copied().collect();
        for c in connections {
            let event = self.conns.get_mut(&c).unwrap().donor.handle_timeout(now, out);
            self.act(now, c, event);
            self.drive(now, c, clients, dice, out);
        }
    }

    /// The application: asks about each request, serves it here or hands the connection over, and closes after the last.
    fn drive(&mut self, now: Instant, c: ConnId, clients: &mut Clients, dice: &mut Dice, out: &mut Mail) {
        let Some(conn) = self.conns.get_mut(&c) else { return };
        let Some(next) = conn.next.filter(|_| dice.permille(200)) else { return };
        if next == REQUESTS {
            let e = conn.donor.epoch();
            self.conns.remove(&c);
            let served = Served { requests: next, bytes: 0 };
            let closed = Closed { c, e, snd_nxt: 1, rcv_nxt: 2, timestamps: None, ended: Ended::Active, served };
            self.closed.report(now, closed, out).unwrap();
            return;
        }
        if conn.decided.is_none() {
            // Now and then somebody wants it elsewhere, also while the owner is asking, also where it is and where nobody is.
            let is_asking = conn.donor.asking().is_some() || conn.donor.asking_move().is_some();
            if dice.permille(if is_asking { 20 } else { 150 }) {
                let to = NodeId(1 + u16::try_from(dice.below(3)).unwrap());
                conn.donor.ask_move(now, next, to, out);
            } else if !is_asking {
                conn.donor.ask(now, next, &RequestKey::new(b"GET", b"h", b"/"), out);
            }
            return;
        }
        if conn.decided.is_some_and(|at| at > now) {
            return;
        }
        let recipient_g = |to| self.holder.peer(to).map(|peer| peer.g);
        let standing = |to| Standing { has_lease: self.holder.is_valid(now), recipient_g: recipient_g(to) };
        conn.decided = None;
        match conn.donor.grant().map(|grant| grant.to) {
            None => {
                clients.serve(self.id, c, conn.donor.epoch(), next);
                conn.next = Some(next + 1);
            }
            Some(to) => {
                if conn.donor.hand_off(now, standing(to), image(next), PART_BYTES, out).is_ok() {
                    conn.next = None;
                }
            }
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, from: NodeId, message: &Message<'_>, out: &mut Mail) {
        if let Message::Lease(lease) = message {
            let Ok(news) = self.holder.handle_lease(now, lease) else { return };
            if let Some(g) = news.new_generation {
                self.conns.clear();
                self.formers.clear();
                self.closed.clear();
                self.recipient.set_generation(g);
            }
            for death in news.deaths {
                self.recipient.handle_node_down(now, death.node);
                self.formers.handle_node_down(death);
            }
            return;
        }
        let has_lease = self.holder.is_valid(now);
        if !has_lease {
            return;
        }
        let c = message.connection().unwrap();
        match message {
            Message::Handoff(part) => {
                let Ok(Some(arrival)) = self.recipient.handle_handoff(now, from, part, has_lease, out) else { return };
                let (attempt, donor) = (arrival.attempt, arrival.donor);
                if let Some(conn) = self.conns.get_mut(&c) {
                    // It comes back before the word that it had arrived there.
                    let event = conn.donor.handle_route(arrival.base);
                    self.act(now, c, event);
                }
                if self.dice.permille(self.refuses) {
                    self.recipient.refuse(now, attempt, donor, RefuseReason::Overload, out);
                    return;
                }
                let next = Some(next_of(&arrival.image));
                let before = self.conns.insert(c, Conn { donor: Donor::new(c, attempt.e2), next, decided: None });
                assert!(before.is_none(), "{} owns {c} twice: {before:?}", self.id);
                self.formers.remove(c);
                self.recipient.install(now, attempt, donor, out);
            }
            Message::Revoke(revoke) => drop(self.recipient.handle_revoke(now, revoke, has_lease, out)),
            Message::Routed(routed) => drop(self.recipient.handle_routed(now, routed)),
            Message::Done(done) => drop(self.recipient.handle_done(now, from, done)),
            Message::ClosedAck(ack) => self.closed.acknowledge(ack.c),
            Message::Over(over) => {
                self.recipient.handle_over(now, over.c);
                self.closed.acknowledge(over.c);
                self.conns.remove(&over.c);
            }
            _ => match self.conns.get_mut(&c) {
                Some(conn) => {
                    let event = conn.donor.handle_message(now, from, message, out).unwrap_or(DonorEvent::Nothing);
                    self.act(now, c, event);
                }
                None if matches!(message, Message::Settle(_)) && self.closed.answer(c, out) => {}
                None => drop(self.formers.handle_message(from, message, out)),
            },
        }
    }

    fn act(&mut self, now: Instant, c: ConnId, event: DonorEvent) {
        let Some(conn) = self.conns.get_mut(&c) else { return };
        match event {
            DonorEvent::Nothing | DonorEvent::Unanswered { .. } => {}
            DonorEvent::Stay { .. } | DonorEvent::Reject { .. } | DonorEvent::Forward { .. } => {
                conn.decided = Some(now)
            }
            DonorEvent::Granted(_) => {
                // Sometimes too late.
                let wait = if self.dice.permille(100) { self.dice.below(1_500) } else { 0 };
                conn.decided = Some(now + core::time::Duration::from_millis(wait));
            }
            DonorEvent::GrantVoid { .. } | DonorEvent::MoveRejected { .. } => conn.decided = None,
            DonorEvent::Moved { e2, to, g } => {
                self.conns.remove(&c);
                self.formers.insert(now, Former { c, flow: flow(c), e2, to, g });
            }
            DonorEvent::Thaw { image, .. } => (conn.next, conn.decided) = (Some(next_of(&image)), None),
            DonorEvent::Lost { .. } => drop(self.conns.remove(&c)),
        }
    }
}

pub(crate) fn flow(c: ConnId) -> Flow {
    let end = |last, port| Endpoint { addr: IpAddr::from([10, 1, 0, last]), port };
    Flow { client: end(1, u16::try_from(c.0 & 0xffff).unwrap()), vip: end(2, 80) }
}
