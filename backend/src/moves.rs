//! Giving connections away and taking them in: freeze and thaw, and what surrounds them.

use baton_http1::Phase;
use baton_stack::addr::{ConnId, Flow, MacAddr};
use baton_stack::engine::{Conn, ConnKey, EngineFull};
use baton_stack::node::{PortId, Transmit};
use baton_stack::tcp::{Frozen as TcbFrozen, State, Tcb, ThawError};
use baton_stack::time::Instant;
use baton_stack::wire::Envelope;
use handoff_proto::donor::{Donor, Standing};
use handoff_proto::former::Former;
use handoff_proto::image::{Image, Plan, Planned, Resume};
use handoff_proto::journal::{MoveEvent, MoveResult};
use handoff_proto::lease::LeaseHolder;
use handoff_proto::message::{DrainState, Grant, RefuseReason};
use handoff_proto::names::{Epoch, Generation, NodeId};
use handoff_proto::recipient::{Arrival, Attempt};

use crate::link::Link;
use crate::node::{BackEnd, Owned, Place};
use crate::serve::{Exchange, Service};
use crate::serving::{Destination, Serving, Verdict};

/// A connection that was frozen and whose fate is not known yet. The image is in the donor.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) link: usize,
    pub(crate) donor: Donor,
    pub(crate) flow: Flow,
    /// When the connection came here.
    pub(crate) since: Instant,
    /// What is known of the move so far.
    pub(crate) event: MoveEvent,
    /// The response in the middle of which it left: should it come back, it goes on here.
    pub(crate) exchange: Option<Exchange>,
}

impl Frozen {
    /// Notes when the last part of the image went out.
    pub(crate) fn note_parts(&mut self, now: Instant) {
        if self.event.handed_off.is_none() && self.donor.parts().is_some_and(|(_, all_sent)| all_sent) {
            self.event.handed_off = Some(now.since(self.event.asked));
        }
    }
}

impl<S: Service> BackEnd<S> {
    /// Freezes a connection and hands it over, if the grant still stands; else it asks again. In the middle of a response it goes only if
    /// that can go on elsewhere.
    pub(crate) fn hand_off(&mut self, now: Instant, key: ConnKey, to: Destination) {
        let Some(conn) = self.engine.get_mut(key) else { return };
        let Owned { link, donor, serving, .. } = &mut conn.app;
        let holder = &mut self.links[*link].holder;
        let standing = standing(holder, now, to.to);
        if donor.ready(now, standing).is_err() {
            serving.undecide();
            self.wake(key);
            return;
        }
        if standing.recipient_g.is_none_or(|g| g < to.g) {
            // The front-end knows more than it has told so far.
            holder.hurry(now);
            self.have_wait(key);
            return;
        }
        let resume = serving.interrupt(&mut conn.tcb, &self.server.store);
        if serving.is_busy() && resume.is_none() {
            return;
        }
        let resume = resume.map(|(resume, unsent)| {
            self.unsent_again += unsent;
            self.stats.handoffs_amid += 1;
            resume
        });
        let Some(mut conn) = self.engine.remove(key) else { return };
        self.donors_due.set(conn.app.serving.conn, None);
        self.forget_ahead(&mut conn);
        self.freeze(now, conn, (to, standing), resume);
    }

    fn freeze(
        &mut self,
        now: Instant,
        conn: Conn<Owned>,
        (to, standing): (Destination, Standing),
        resume: Option<Resume>,
    ) {
        let leaves_tail = self.leaves_tail(&conn, to, resume.as_ref());
        let Conn { tcb, app, port, envelope, .. } = conn;
        let Owned { link, serving, mut donor, since, asked, granted, tails, .. } = app;
        let (flow, c) = (tcb.flow(), serving.conn);
        let frozen = if leaves_tail {
            tcb.freeze_leaving(now, self.links[link].holder.me().0)
        } else {
            tcb.freeze(now, &mut self.server.store).map(|frozen| (frozen, Vec::new()))
        };
        let (tcb, kept) = match frozen {
            Ok(frozen) => frozen,
            Err((mut tcb, _)) => {
                // Its bytes cannot be had any more, here or anywhere: nothing but a reset is honest.
                tcb.abort();
                self.stats.freeze_failed += 1;
                let app =
                    Owned { link, serving, donor, since, asked, granted, is_awake: false, is_waiting: false, tails };
                self.put_back(now, *tcb, app, port, envelope);
                return;
            }
        };
        self.fetches_due.set(c, None);
        if let Some(tails) = tails {
            self.leave_holders(now, link, c, &tails, &tcb);
        }
        let keeps_tail = self.links[link].tails.keep(now, (c, to.e2, to.to), kept, &mut self.server.store);
        let planned = |strip| Plan::of(Planned { n: serving.cursor().ordinal(), strip });
        let plan = to.strip.map_or_else(Plan::default, planned);
        let image = Image {
            c,
            base: serving.epoch,
            epoch: to.e2,
            tried: to.e2,
            next_hop: envelope.dst_mac,
            tcb,
            cursor: serving.cursor(),
            plan,
            resume,
            served: serving.served,
        };
        let bytes = image.encode().into_boxed_slice();
        self.stats.image_bytes += bytes.len() as u64;
        let entry = &self.links[link];
        let peer = entry.directory.session_of(to.to).unwrap_or(entry.directory.front_end);
        let part_bytes = self.sessions.part_bytes(peer);
        let mut out = entry.directory.outbox(&mut self.sessions, &mut self.ports.drops);
        self.stats.handoffs_started += 1;
        let image_len = bytes.len();
        let grant = Grant {
            c,
            base: serving.epoch,
            e2: to.e2,
            to: to.to,
            g: to.g,
            n: serving.cursor().ordinal(),
            strip: to.strip,
        };
        let mut event = begun(entry, &grant, now, (asked, granted));
        let sent = donor.hand_off(now, standing, bytes, part_bytes, &mut out);
        donor.set_keeps_tail(keeps_tail);
        event.image = donor.parts().map(|(parts, _)| (image_len, parts));
        self.owned.remove(&c);
        let _ = self.flows.insert(flow, Place::Leaving(c));
        self.donors_due.set(c, donor.poll_at());
        let mut frozen = Frozen { link, donor, flow, since, event, exchange: serving.into_exchange() };
        frozen.note_parts(now);
        self.frozen.insert(c, frozen);
        if let Err((_, image)) = sent {
            self.take_back(now, c, &image, to.e2, None);
        }
    }

    /// Another node owns the connection now.
    pub(crate) fn moved(&mut self, now: Instant, c: ConnId, e2: Epoch, to: NodeId, g: Generation) {
        let Some(frozen) = self.forget_frozen(c) else { return };
        self.again.forget(c);
        self.stats.handoffs_done += 1;
        if let Some(exchange) = &frozen.exchange {
            exchange.leave(&mut self.server.store);
        }
        let installed = Some(now.since(frozen.event.asked));
        self.journal.note(MoveEvent { installed, ..frozen.event });
        self.links[frozen.link].formers.insert(now, Former { c, flow: frozen.flow, e2, to, g });
    }

    /// The attempt has failed and the connection is here as before: it is thawed, and asks again.
    pub(crate) fn take_back(
        &mut self,
        now: Instant,
        c: ConnId,
        image: &[u8],
        tried: Epoch,
        reason: Option<RefuseReason>,
    ) {
        let Some(frozen) = self.forget_frozen(c) else { return };
        self.stats.count_refused(reason);
        if reason == Some(RefuseReason::ContentUnknown) {
            self.again.refused(now, c, frozen.event.to.0);
        } else {
            self.again.forget(c);
        }
        self.journal.note(MoveEvent { result: MoveResult::refused(reason), ..frozen.event });
        let Frozen { link, since, mut exchange, .. } = frozen;
        let Ok(image) = Image::decode(image) else {
            // Our own image, encoded by ourselves.
            self.stats.lost += 1;
            self.links[link].tails.discard(c, &mut self.server.store);
            exchange.iter_mut().for_each(|exchange| exchange.abandon(&mut self.server.store));
            return;
        };
        let mut donor = Donor::new(c, image.base);
        donor.has_tried(tried);
        if self.thaw(now, link, Image { plan: Plan::default(), ..image }, (donor, since), exchange).is_err() {
            self.stats.lost += 1;
            self.links[link].tails.discard(c, &mut self.server.store);
        }
    }

    /// Takes a whole image in, or refuses it.
    pub(crate) fn adopt<T: Transmit>(&mut self, now: Instant, link: usize, arrival: Arrival, tx: &mut T) {
        let Arrival { attempt, donor, image, .. } = arrival;
        let taken = self.take_in(now, link, &image, attempt);
        let ready = self.ahead.claim(attempt.c, attempt.e2);
        let entry = &mut self.links[link];
        let mut out = entry.directory.outbox(&mut self.sessions, &mut self.ports.drops);
        match taken {
            Ok(flow) => {
                entry.recipient.install(now, attempt, donor, &mut out);
                if self.keeps_tail(attempt.c, donor) {
                    self.links[link].recipient.leave_time(now, attempt);
                }
                if let Some(ready) = ready
                    && let Some(conn) = self.owned.get(&attempt.c).and_then(|key| self.engine.get_mut(*key))
                {
                    conn.app.serving.expect(ready);
                }
                // An attempt of this node's own from before: that the connection comes back proves that it succeeded (R15).
                if let Some(frozen) = self.frozen.get_mut(&attempt.c) {
                    let event = frozen.donor.handle_route(attempt.e2);
                    self.handle_donor_event(now, attempt.c, event);
                }
                let entry = &mut self.links[link];
                entry.formers.remove(attempt.c);
                self.stats.installed += 1;
                let held = self.hold.take(&flow);
                self.release_held(now, &flow, held, Some(link), tx);
            }
            Err(reason) => {
                if ready.is_some() {
                    self.ahead.count_use(false);
                }
                entry.recipient.refuse(now, attempt, donor, reason, &mut out);
                self.stats.refused += 1;
                // What waits for it goes back (R11): its front-end knows who has the connection now.
                if let Ok(image) = Image::decode(&image) {
                    let flow = image.tcb.flow;
                    let held = self.hold.take(&flow);
                    self.release_held(now, &flow, held, Some(link), tx);
                }
            }
        }
    }

    /// What waits for images that will not come whole goes back (R11).
    pub(crate) fn return_given_up<T: Transmit>(&mut self, now: Instant, link: usize, tx: &mut T) {
        if self.links[link].recipient.has_given_up() {
            for flow in self.links[link].recipient.take_given_up() {
                let held = self.hold.take(&flow);
                self.release_held(now, &flow, held, Some(link), tx);
            }
        }
    }

    fn take_in(&mut self, now: Instant, link: usize, image: &[u8], attempt: Attempt) -> Result<Flow, RefuseReason> {
        let Attempt { c, e2 } = attempt;
        if self.is_stopping() || self.links[link].holder.drain() == DrainState::Stopping {
            return Err(RefuseReason::Draining);
        }
        if image.len() > self.settings.image_bytes_max {
            return Err(RefuseReason::TooLarge);
        }
        let image = Image::decode(image).map_err(|error| error.refusal())?;
        if (image.c, image.epoch) != (c, e2) {
            return Err(RefuseReason::Malformed);
        }
        let flow = image.tcb.flow;
        // The front-end has given the flow to a new connection: an older one on it has ended, whatever this node knows.
        if let Some(&Place::Owned(older)) = self.flows.get(&flow) {
            self.discard(older);
            self.stats.discarded += 1;
        }
        let exchange = self.take_up(&image)?;
        let mut donor = Donor::new(c, e2);
        donor.has_tried(image.tried);
        self.thaw(now, link, image, (donor, now), exchange)?;
        Ok(flow)
    }

    /// Takes up the response in the middle of which a connection comes, if it does.
    fn take_up(&mut self, image: &Image) -> Result<Option<Exchange>, RefuseReason> {
        let Some(resume) = &image.resume else { return Ok(None) };
        let may_send = matches!(image.tcb.state, State::Established | State::CloseWait);
        if !may_send || matches!(image.cursor.phase(), Phase::InBody(_)) {
            return Err(RefuseReason::Malformed);
        }
        let exchange = self.server.resume(image.epoch.0, resume);
        self.has_work |= exchange.as_ref().err() == Some(&RefuseReason::ContentUnknown);
        exchange.map(Some)
    }

    /// Brings a connection to life under its donor's epoch. With the donor comes the time since when the connection is here. The
    /// response that goes on is given up if the connection is refused.
    fn thaw(
        &mut self,
        now: Instant,
        link: usize,
        image: Image,
        (donor, since): (Donor, Instant),
        mut exchange: Option<Exchange>,
    ) -> Result<(), RefuseReason> {
        let Image { c, tcb, cursor, plan, served, next_hop, .. } = image;
        let flow = tcb.flow;
        let there = self.envelope(&flow, next_hop).ok_or(RefuseReason::Limit);
        let thawed = there.and_then(|there| Ok((there, self.thaw_tcb(now, tcb)?)));
        let ((port, envelope), mut tcb) = thawed.inspect_err(|_| {
            exchange.iter_mut().for_each(|exchange| exchange.abandon(&mut self.server.store));
        })?;
        tcb.note_move();
        let drains = self.settings.drain_before_moves;
        let mut serving = Serving::new(c, donor.epoch(), cursor, served).draining(drains).amid(exchange);
        for Planned { n, strip } in plan.iter() {
            serving.decide(n, Verdict::Serve { strip });
        }
        let (asked, granted) = (now, now);
        let tails = None;
        let app = Owned { link, serving, donor, since, asked, granted, is_awake: false, is_waiting: false, tails };
        if !self.put_back(now, tcb, app, port, envelope) {
            return Err(RefuseReason::Limit);
        }
        if let Some(&key) = self.owned.get(&c) {
            self.claim_tails(now, key);
        }
        Ok(())
    }

    fn thaw_tcb(&mut self, now: Instant, tcb: TcbFrozen) -> Result<Tcb, RefuseReason> {
        Tcb::thaw(tcb, now, &self.settings.tcp, &mut self.server.store).map_err(|error| match error {
            ThawError::Impossible(_) => RefuseReason::Malformed,
            ThawError::NoRoom(_) => RefuseReason::Limit,
        })
    }

    /// Puts a connection into every table. False above a limit: it is gone then.
    fn put_back(&mut self, now: Instant, tcb: Tcb, app: Owned, port: PortId, envelope: Envelope) -> bool {
        let (flow, c, link) = (tcb.flow(), app.serving.conn, app.link);
        let due = app.donor.poll_at();
        let key = match self.engine.insert(now, tcb, app, port, envelope) {
            Ok(key) => key,
            Err(EngineFull(tcb, mut app)) => {
                app.serving.abandon(&mut self.server);
                self.free_queue(&tcb);
                return false;
            }
        };
        if self.flows.insert(flow, Place::Owned(key)).is_err() {
            self.discard(key);
            return false;
        }
        self.owned.insert(c, key);
        self.donors_due.set(c, due);
        if !self.links[link].was_leased {
            self.engine.suspend_one(key);
        }
        self.wake(key);
        true
    }

    /// What goes around the segments of a flow. The next hop is the one that the client's packets come from.
    fn envelope(&self, flow: &Flow, next_hop: MacAddr) -> Option<(PortId, Envelope)> {
        let interfaces = &self.settings.interfaces;
        let interface = interfaces.iter().find(|i| i.is_on_link(flow.client.addr)).or_else(|| interfaces.first())?;
        let (src, dst, ip) = (flow.vip.addr, flow.client.addr, self.settings.tcp.ip);
        let envelope = Envelope { src_mac: interface.mac, dst_mac: next_hop, vlan: interface.vlan, src, dst, ip };
        Some((interface.port, envelope))
    }

    /// A node's life is over: what is frozen towards it waits for the front-end's word alone.
    pub(crate) fn abort_towards(&mut self, now: Instant, link: usize, node: NodeId, g: Generation) {
        let is_towards = |frozen: &Frozen| {
            frozen.link == link && frozen.donor.frozen_towards().is_some_and(|(_, to, to_g)| (to, to_g) == (node, g))
        };
        let towards: Vec<_> = self.frozen.iter().filter(|(_, frozen)| is_towards(frozen)).map(|(c, _)| *c).collect();
        for c in towards {
            let Some(frozen) = self.frozen.get_mut(&c) else { continue };
            let directory = &self.links[link].directory;
            frozen.donor.abort(now, &mut directory.outbox(&mut self.sessions, &mut self.ports.drops));
            self.donors_due.set(c, frozen.donor.poll_at());
        }
    }

    /// A frozen connection has ended, or nobody knows where it is: nothing of it is kept.
    pub(crate) fn give_up_frozen(&mut self, c: ConnId) -> Option<Frozen> {
        let mut frozen = self.forget_frozen(c)?;
        frozen.exchange.iter_mut().for_each(|exchange| exchange.abandon(&mut self.server.store));
        self.links[frozen.link].tails.discard(c, &mut self.server.store);
        Some(frozen)
    }

    /// Drops a frozen connection from every table.
    fn forget_frozen(&mut self, c: ConnId) -> Option<Frozen> {
        let frozen = self.frozen.remove(&c)?;
        self.donors_due.set(c, None);
        if self.flows.get(&frozen.flow) == Some(&Place::Leaving(c)) {
            self.flows.remove(&frozen.flow);
        }
        Some(frozen)
    }
}

/// What is known of a move when its connection has just been frozen. Asked for and granted when?
fn begun(link: &Link, grant: &Grant, now: Instant, (asked, granted): (Instant, Instant)) -> MoveEvent {
    let name = link.holder.peer(grant.to).map_or_else(String::new, |peer| peer.name.clone());
    let drains = link.holder.drain() == DrainState::Draining;
    MoveEvent { frozen: Some(now.since(asked)), ..MoveEvent::begun(grant, name, asked, granted, drains) }
}

/// What must be true for a handoff to `to`.
fn standing(holder: &LeaseHolder, now: Instant, to: NodeId) -> Standing {
    Standing { has_lease: holder.is_valid(now), recipient_g: holder.peer(to).map(|peer| peer.g) }
}
