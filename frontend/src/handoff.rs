//! The first handoff of a connection: the front-end is the donor, under the same rules as everybody.

use baton_stack::addr::{ConnId, Flow, MacAddr};
use baton_stack::engine::{Conn, ConnKey};
use baton_stack::node::PortId;
use baton_stack::tcp::Tcb;
use baton_stack::time::Instant;
use handoff_proto::arbiter::Nodes;
use handoff_proto::donor::{Donor, DonorEvent, Standing};
use handoff_proto::image::{Image, Plan, Planned};
use handoff_proto::journal::MoveResult;
use handoff_proto::names::{Epoch, NodeId};

use crate::accept::Accepted;
use crate::node::FrontEnd;
use crate::routes::{Place, RouteKey};

/// A request that a back-end is to serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FirstHandoff {
    /// The back-end.
    pub(crate) to: NodeId,
    /// The request's ordinal.
    pub(crate) n: u32,
    /// Bytes of its path that the service does not see.
    pub(crate) strip: u16,
}

/// A connection whose image is on its way. The image is in the donor.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) donor: Donor,
    pub(crate) route: RouteKey,
}

impl FrontEnd {
    /// Freezes a connection and hands it over. If that cannot be, the client gets 503 and the connection stays.
    pub(crate) fn hand_off(&mut self, now: Instant, key: ConnKey, handoff: FirstHandoff) {
        let Some(conn) = self.engine.get_mut(key) else { return };
        let Accepted { c, route, donor, .. } = &mut conn.app;
        let FirstHandoff { to, n, strip } = handoff;
        let grant = self
            .routes
            .get_mut(*route)
            .and_then(|route| self.arbiter.grant_first(*c, &mut route.state, donor.tried(), to, n, strip, &self.board));
        if let Some(grant) = grant {
            donor.accept_grant(now, grant);
        }
        let standing = Standing { has_lease: true, recipient_g: Some(self.board.generation(to)) };
        let Ok(grant) = donor.ready(now, standing) else {
            self.respond_unavailable(key);
            return;
        };
        let Some(conn) = self.discard_for_handoff(key) else { return };
        let Conn { tcb, app, envelope, .. } = conn;
        let Accepted { c, route, cursor, served, mut donor, .. } = app;
        let base = donor.epoch();
        let tcb = match tcb.freeze(now, &mut self.store) {
            Ok(frozen) => frozen,
            // The front-end's own few bytes cannot be lost; were they, the client would have to know.
            Err((tcb, _)) => return self.reset_lost(route, &tcb),
        };
        let plan = Plan::of(Planned { n, strip });
        let next_hop = envelope.dst_mac;
        let image =
            Image { c, base, epoch: grant.e2, tried: grant.e2, next_hop, tcb, cursor, plan, resume: None, served };
        let bytes = image.encode().into_boxed_slice();
        let Some(peer) = self.directory.session_of(to) else { return };
        let part_bytes = self.sessions.part_bytes(peer);
        let mut out = self.directory.outbox(&mut self.sessions, &mut self.to_self, &mut self.ports.drops);
        self.stats.handoffs_started += 1;
        let image_len = bytes.len();
        let sent = donor.hand_off(now, standing, bytes, part_bytes, &mut out);
        self.note_grant(now, route);
        if let Some(route) = self.routes.get_mut(route) {
            route.place = Place::Leaving;
            if let Some(event) = &mut route.moving {
                event.frozen = Some(now.since(event.asked));
                event.handed_off = donor.parts().and_then(|(_, all_sent)| all_sent.then_some(now.since(event.asked)));
                event.image = donor.parts().map(|(parts, _)| (image_len, parts));
            }
        }
        self.donors_due.set(c, donor.poll_at());
        self.frozen.insert(c, Frozen { donor, route });
        if let Err((_, image)) = sent {
            self.take_back(now, c, &image, grant.e2);
        }
    }

    /// Takes a connection out of the engine, but leaves its bytes in the store for the freeze to read.
    fn discard_for_handoff(&mut self, key: ConnKey) -> Option<Conn<Accepted>> {
        self.engine.remove(key)
    }

    /// A connection whose own bytes are lost is reset.
    fn reset_lost(&mut self, route: RouteKey, tcb: &Tcb) {
        if let Some(route) = self.routes.get_mut(route) {
            route.last_ack = tcb.snd_una();
        }
        self.reset_route(route);
    }

    /// Acts on what a donor of the front-end has found out.
    pub(crate) fn handle_donor_event(&mut self, now: Instant, c: ConnId, event: DonorEvent) {
        match event {
            DonorEvent::Nothing => {}
            DonorEvent::Moved { .. } => {
                self.forget_frozen(c);
                self.stats.handoffs_done += 1;
            }
            DonorEvent::Thaw { image, e2, tried, reason, .. } => {
                self.stats.count_refused(reason);
                let key = self.routes.of_conn(c);
                if let Some(key) = key {
                    self.end_move(key, e2, |event| event.result = MoveResult::refused(reason));
                }
                if let Some(route) = key.and_then(|key| self.routes.get_mut(key)) {
                    if let Some(grant) = route.state.pending().filter(|grant| reason.is_some() && grant.e2 == e2) {
                        self.directory.pause(now, grant.to);
                    }
                    self.arbiter.handle_refused(c, &mut route.state, e2);
                }
                self.take_back(now, c, &image, tried);
            }
            // The arbiter decides on the reset; it has heard the same.
            DonorEvent::Lost { .. } => {
                self.forget_frozen(c);
            }
            // A front-end's donor never asks: its grants come from its own arbiter.
            DonorEvent::Stay { .. }
            | DonorEvent::Granted(_)
            | DonorEvent::MoveRejected { .. }
            | DonorEvent::Forward { .. }
            | DonorEvent::Reject { .. }
            | DonorEvent::Unanswered { .. }
            | DonorEvent::GrantVoid { .. } => {}
        }
    }

    /// The recipient has not taken it: the connection is here as before, and the request is answered with 503.
    fn take_back(&mut self, now: Instant, c: ConnId, image: &[u8], tried: Epoch) {
        let Some(Frozen { route, .. }) = self.forget_frozen(c) else { return };
        let Ok(image) = Image::decode(image) else { return self.reset_route(route) };
        let Image { base, tcb, cursor, served, next_hop, .. } = image;
        let mut donor = Donor::new(c, base);
        donor.has_tried(tried);
        let Some(entry) = self.routes.get(route) else { return };
        let (flow, port) = (entry.flow, entry.port);
        let Some(key) = self.thaw(now, (flow, port, next_hop), tcb, Accepted::new(c, route, cursor, donor, served))
        else {
            return self.reset_route(route);
        };
        if let Some(entry) = self.routes.get_mut(route) {
            entry.place = Place::Here(key);
        }
        // The request goes to whom the dispatcher now says; who has refused is passed over for a while.
        self.wake(key);
    }

    fn thaw(
        &mut self,
        now: Instant,
        to: (Flow, PortId, MacAddr),
        frozen: baton_stack::tcp::Frozen,
        app: Accepted,
    ) -> Option<ConnKey> {
        let (flow, port, next_hop) = to;
        let envelope = self.envelope(port, &flow, next_hop)?;
        let tcb = Tcb::thaw(frozen, now, &self.settings.tcp, &mut self.store).ok()?;
        self.engine.insert(now, tcb, app, port, envelope).ok()
    }

    /// Drops the image of a first handoff.
    pub(crate) fn forget_frozen(&mut self, c: ConnId) -> Option<Frozen> {
        let frozen = self.frozen.remove(&c)?;
        self.donors_due.set(c, None);
        Some(frozen)
    }

    /// Repeats what donors have to repeat.
    pub(crate) fn poll_donors(&mut self, now: Instant) {
        while let Some(c) = self.donors_due.pop(now) {
            let Some(frozen) = self.frozen.get_mut(&c) else { continue };
            let mut out = self.directory.outbox(&mut self.sessions, &mut self.to_self, &mut self.ports.drops);
            let event = frozen.donor.handle_timeout(now, &mut out);
            self.donors_due.set(c, frozen.donor.poll_at());
            self.handle_donor_event(now, c, event);
        }
    }
}
