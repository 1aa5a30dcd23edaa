//! All nodes, the network, the client, and what can happen next.

use std::sync::Arc;

use baton_stack::addr::ConnId;
use baton_stack::time::{Duration, Instant};
use handoff_proto::donor::Donor;
use handoff_proto::lease::{HolderEvent, LeaseSettings};
use handoff_proto::message::Message;
use handoff_proto::names::{Boot, NodeId};
use handoff_proto::recipient::MESSAGE_LIFE;

use crate::back::Back;
use crate::client::{Client, End, Segment, Wrong};
use crate::front::Front;
use crate::mutants::{Mutant, knows_all};
use crate::net::{Mail, Net, Packet};

/// How long leases are looked after at one go; less than a lease lasts.
pub(crate) const SLICE: Duration = Duration::from_secs(1);

/// What a run consists of, and how much of each evil.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) backs: u16,
    /// Which back-end serves each request.
    pub(crate) plan: &'static [u16],
    /// Whether the first handoff is over when the run begins.
    pub(crate) has_begun: bool,
    /// Whether donors wait for ever. Else each may ask for its attempt back at any moment.
    pub(crate) is_patient: bool,
    /// Attempts to move, in all.
    pub(crate) grants: u8,
    pub(crate) crashes: u8,
    /// Processes that start again after a crash.
    pub(crate) restarts: u8,
    pub(crate) lapses: u8,
    pub(crate) refusals: u8,
    /// How often time passes so far that messages grow old.
    pub(crate) ticks: u8,
    /// A message's life in ticks: with more than one, memory is outlived by some of them.
    pub(crate) life: u8,
    /// Former owners that are forgotten for want of room.
    pub(crate) evictions: u8,
    /// Connections that the client resets.
    pub(crate) client_resets: u8,
    /// Client segments that are watched.
    pub(crate) segments: u8,
    /// Connections, one after the other, on the same ports.
    pub(crate) connections: u32,
    pub(crate) part_bytes: u16,
    /// Whether what is not acknowledged stays with who has sent it. Else everything is acknowledged at once.
    pub(crate) tails: bool,
    /// Responses that are lost on their way to the client.
    pub(crate) losses: u8,
    /// How often an owner takes something for lost, rightly or not.
    pub(crate) doubts: u8,
    /// Holders that stop, or have little room: they give unasked what they keep.
    pub(crate) pushes: u8,
    pub(crate) mutant: Option<Mutant>,
}

impl Rules {
    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn requests(&self) -> u32 {
        u32::try_from(self.plan.len()).expect("few requests")
    }

    /// How many nodes own the connection one after the other, if nothing fails.
    pub(crate) fn owners(&self) -> usize {
        self.plan.chunk_by(|a, b| a == b).count()
    }

    pub(crate) fn planned(&self, n: u32) -> NodeId {
        NodeId(usize::try_from(n).ok().and_then(|n| self.plan.get(n)).copied().unwrap_or(1))
    }

    fn tick(&self) -> Duration {
        MESSAGE_LIFE / u32::from(self.life)
    }
}

/// What may still go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Left {
    pub(crate) crashes: u8,
    pub(crate) restarts: u8,
    pub(crate) lapses: u8,
    pub(crate) refusals: u8,
    pub(crate) ticks: u8,
    pub(crate) evictions: u8,
    pub(crate) client_resets: u8,
    pub(crate) segments: u8,
    pub(crate) losses: u8,
    pub(crate) doubts: u8,
    pub(crate) pushes: u8,
}

impl Left {
    pub(crate) const NOTHING: Self = Self {
        crashes: 0,
        restarts: 0,
        lapses: 0,
        refusals: 0,
        ticks: 0,
        evictions: 0,
        client_resets: 0,
        segments: 0,
        losses: 0,
        doubts: 0,
        pushes: 0,
    };
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) now: Instant,
    pub(crate) front: Arc<Front>,
    pub(crate) backs: Vec<Arc<Back>>,
    pub(crate) net: Net,
    /// The newest life of each node from which each node has heard; the front-end is first in both.
    met: Vec<Vec<Boot>>,
    pub(crate) client: Client,
    pub(crate) left: Left,
}

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// A message arrives; a whole image is taken or refused.
    Deliver { packet: Packet, refuses: bool },
    /// The node's application goes on.
    Drive(NodeId),
    /// A donor gives up waiting.
    Abort(NodeId),
    /// The process dies.
    Crash(NodeId),
    /// A new one starts.
    Restart(NodeId),
    /// The node is cut off or stopped for longer than its lease, and comes back.
    Lapse(NodeId),
    /// The front-end has heard nothing from the node for a lease and the margin.
    Bury(NodeId),
    /// A heartbeat with its answer.
    Heartbeat(NodeId),
    /// The node forgets a connection that it gave away.
    Evict(NodeId),
    /// The client resets its connection, at the owner.
    ClientResets(NodeId),
    /// The client connects anew from the same port.
    Connect,
    /// The client sends a segment.
    ClientSends,
    /// The segment goes on from where it is.
    SegmentMoves,
    /// Time passes.
    Tick,
    /// The node serves, and what it sends is lost.
    DriveInVain(NodeId),
    /// The owner hears what the client has.
    Acknowledge(NodeId),
    /// The owner takes a response for lost.
    Doubt(NodeId, u32),
    /// The node says what there is to say of what it or others keep.
    TellOfTails(NodeId),
    /// The node gives unasked what it keeps.
    Push(NodeId),
}

impl State {
    /// Everybody has joined and a client has connected.
    pub(crate) fn new(rules: &Rules) -> Self {
        let nodes = usize::from(rules.backs) + 1;
        let mut state = Self {
            now: Instant::from_micros(1_000_000),
            front: Arc::new(Front::new(rules.backs)),
            backs: (1..=rules.backs).map(|id| Arc::new(Back::new(NodeId(id), Boot(1)))).collect(),
            net: Net::default(),
            met: vec![vec![Boot(1); nodes]; nodes],
            client: Client::new(ConnId(0)),
            left: Left {
                crashes: rules.crashes,
                restarts: rules.restarts,
                lapses: rules.lapses,
                refusals: rules.refusals,
                ticks: rules.ticks,
                evictions: rules.evictions,
                client_resets: rules.client_resets,
                segments: rules.segments,
                losses: rules.losses,
                doubts: rules.doubts,
                pushes: rules.pushes,
            },
        };
        for id in (1..=rules.backs).map(NodeId) {
            let mut mail = Mail::default();
            let event = state.back_mut(id).handle_lease_timeout(Instant::from_micros(1_000_000), &mut mail);
            assert_eq!(event, HolderEvent::Nothing);
            state.post(id, mail, rules);
            state.deliver_all(rules);
        }
        for id in (1..=rules.backs).map(NodeId) {
            state.heartbeat(id, rules);
        }
        let c = Arc::make_mut(&mut state.front).accept(rules);
        state.client = Client::new(c);
        if rules.has_begun {
            state.drive(NodeId::FRONT_END, rules);
            state.deliver_all(rules);
        }
        state
    }

    fn deliver_all(&mut self, rules: &Rules) {
        while !self.net.is_empty() {
            for packet in self.net.take() {
                self.deliver(&packet, false, rules);
            }
        }
    }

    pub(crate) fn back(&self, id: NodeId) -> &Back {
        &self.backs[usize::from(id.0) - 1]
    }

    pub(crate) fn back_mut(&mut self, id: NodeId) -> &mut Back {
        Arc::make_mut(&mut self.backs[usize::from(id.0) - 1])
    }

    fn boot_of(&self, id: NodeId) -> Boot {
        if id == NodeId::FRONT_END { Boot(1) } else { self.back(id).boot }
    }

    fn is_alive(&self, id: NodeId) -> bool {
        id == NodeId::FRONT_END || self.back(id).is_alive
    }

    pub(crate) fn donor_of(&self, id: NodeId, c: ConnId) -> Option<&Donor> {
        if id == NodeId::FRONT_END {
            return self.front.conn.as_ref().filter(|conn| conn.c == c)?.donor.as_ref();
        }
        self.back(id).conns.get(&c).map(|conn| &conn.donor)
    }

    /// Who may send on the client's connection now.
    pub(crate) fn speakers(&self, rules: &Rules) -> Vec<NodeId> {
        let c = self.client.c;
        let speaks =
            |back: &&Arc<Back>| (back.has_lease(self.now) || rules.is(Mutant::SpeaksWithoutLease)) && back.owns(c);
        let front = self.front.owns(c).then_some(NodeId::FRONT_END);
        front.into_iter().chain(self.backs.iter().filter(speaks).map(|back| back.id)).collect()
    }

    pub(crate) fn actions(&self, rules: &Rules, actions: &mut Vec<Action>) {
        if self.client.wrong.is_some() {
            return;
        }
        for packet in self.net.packets().iter().filter(|packet| self.opens(packet, rules)) {
            let is_image = matches!(packet.message(), Message::Handoff(_));
            actions.push(Action::Deliver { packet: packet.clone(), refuses: false });
            if is_image && self.left.refusals > 0 {
                actions.push(Action::Deliver { packet: packet.clone(), refuses: true });
            }
        }
        if self.front.owns(self.client.c) {
            actions.push(Action::Drive(NodeId::FRONT_END));
        }
        if self.front.is_frozen() && !rules.is_patient {
            actions.push(Action::Abort(NodeId::FRONT_END));
        }
        for back in &self.backs {
            self.actions_of(back, rules, actions);
        }
        let is_over = self.client.end.is_some() && self.front.conn.is_none();
        if is_over && self.front.accepted < rules.connections {
            actions.push(Action::Connect);
        }
        match self.client.segment {
            Segment::Done if self.left.segments > 0 && self.client.end.is_none() => actions.push(Action::ClientSends),
            Segment::Done => {}
            Segment::AtFrontEnd | Segment::OnTheWay(_) | Segment::Held(_) => actions.push(Action::SegmentMoves),
        }
        if self.left.ticks > 0 {
            actions.push(Action::Tick);
        }
    }

    fn actions_of(&self, back: &Back, rules: &Rules, actions: &mut Vec<Action>) {
        let (id, c) = (back.id, self.client.c);
        if !back.is_alive {
            if self.left.restarts > 0 {
                actions.push(Action::Restart(id));
            }
        } else {
            if back.can_drive(self.now, c, rules) {
                actions.push(Action::Drive(id));
            }
            let is_frozen = back.conns.get(&c).is_some_and(|conn| conn.donor.frozen_towards().is_some());
            if is_frozen && !rules.is_patient {
                actions.push(Action::Abort(id));
            }
            if self.left.crashes > 0 {
                actions.push(Action::Crash(id));
            }
            if self.left.evictions > 0 && back.formers.of(c).is_some() {
                actions.push(Action::Evict(id));
            }
        }
        if back.has_lease(self.now) {
            if self.left.lapses > 0 {
                actions.push(Action::Lapse(id));
            }
            if !knows_all(self, id) {
                actions.push(Action::Heartbeat(id));
            }
            if self.left.client_resets > 0 && back.owns(c) {
                actions.push(Action::ClientResets(id));
            }
            if rules.tails {
                self.actions_of_tails(back, rules, actions);
            }
        } else if self.front.board.status(id).is_some_and(|status| status.is_up()) {
            actions.push(Action::Bury(id));
        }
    }

    fn actions_of_tails(&self, back: &Back, rules: &Rules, actions: &mut Vec<Action>) {
        let (id, c) = (back.id, self.client.c);
        if self.left.losses > 0 && back.is_serving(c) && back.can_drive(self.now, c, rules) {
            actions.push(Action::DriveInVain(id));
        }
        if let Some(conn) = back.conns.get(&c) {
            if !conn.queue.is_empty() && conn.queue.start() < self.client.acknowledged() {
                actions.push(Action::Acknowledge(id));
            }
            let doubtful = |n: &u32| conn.queue.can_doubt(*n, self.client.has(*n));
            let doubts = conn.queue.places().filter(doubtful).map(|n| Action::Doubt(id, n));
            actions.extend(doubts.filter(|_| self.left.doubts > 0));
        }
        if !back.releases.is_empty() || !back.tails.is_empty() {
            actions.push(Action::TellOfTails(id));
        }
        if self.left.pushes > 0 && !back.tails.is_empty() {
            actions.push(Action::Push(id));
        }
    }

    /// Whether the receiver's session opens it: it is of lives that have spoken to each other, and not of earlier ones.
    pub(crate) fn opens(&self, packet: &Packet, rules: &Rules) -> bool {
        let is_current = packet.to_boot == self.boot_of(packet.to)
            && packet.from_boot >= self.met[usize::from(packet.to.0)][usize::from(packet.from.0)];
        self.is_alive(packet.to) && (is_current || rules.is(Mutant::LeaseOfAnotherLife))
    }

    pub(crate) fn apply(&mut self, action: &Action, rules: &Rules) {
        let now = self.now;
        match action {
            Action::Deliver { packet, refuses } => self.deliver(packet, *refuses, rules),
            Action::Drive(id) => self.drive(*id, rules),
            Action::Abort(id) => self.abort(*id, rules),
            Action::Crash(id) => {
                self.left.crashes -= 1;
                self.back_mut(*id).crash();
                self.lose_segment(*id);
            }
            Action::Restart(id) => {
                self.left.restarts -= 1;
                let back = self.back_mut(*id);
                back.restart();
                let mut mail = Mail::default();
                let _ = back.handle_lease_timeout(now, &mut mail);
                self.post(*id, mail, rules);
            }
            Action::Lapse(id) => self.lapse(*id, rules),
            Action::Bury(id) => self.bury(*id, rules),
            Action::Heartbeat(id) => self.heartbeat(*id, rules),
            Action::Evict(id) => {
                self.left.evictions -= 1;
                let c = self.client.c;
                self.back_mut(*id).formers.remove(c);
            }
            Action::ClientResets(id) => {
                self.left.client_resets -= 1;
                let (c, mut mail) = (self.client.c, Mail::default());
                let (back, client) = self.back_and_client(*id);
                back.close(now, c, rules, client, &mut mail);
                self.post(*id, mail, rules);
            }
            Action::Connect => {
                let c = Arc::make_mut(&mut self.front).accept(rules);
                self.client.connect(c);
            }
            Action::ClientSends => {
                self.left.segments -= 1;
                self.client.segment = Segment::AtFrontEnd;
            }
            Action::SegmentMoves => self.move_segment(rules),
            Action::Tick => {
                self.left.ticks -= 1;
                self.tick(rules);
            }
            Action::DriveInVain(id) => {
                self.left.losses -= 1;
                self.drive(*id, rules);
                self.client.lose_last();
            }
            Action::Acknowledge(id) => self.acknowledge(*id, rules),
            Action::Doubt(id, n) => {
                self.left.doubts -= 1;
                self.doubt(*id, *n, rules);
            }
            Action::TellOfTails(id) => {
                let (c, mut mail) = (self.client.c, Mail::default());
                self.back_mut(*id).tell_of_tails(now, c, &mut mail);
                self.post(*id, mail, rules);
            }
            Action::Push(id) => {
                self.left.pushes -= 1;
                self.back_mut(*id).tails.set_pushing(now, true);
            }
        }
        self.judge();
    }

    fn acknowledge(&mut self, id: NodeId, rules: &Rules) {
        let (now, c, up_to, mut mail) = (self.now, self.client.c, self.client.acknowledged(), Mail::default());
        let (back, client) = self.back_and_client(id);
        back.acknowledged(now, c, up_to, rules, client, &mut mail);
        self.post(id, mail, rules);
    }

    fn doubt(&mut self, id: NodeId, n: u32, rules: &Rules) {
        let (now, c, mut mail) = (self.now, self.client.c, Mail::default());
        let (back, client) = self.back_and_client(id);
        back.doubt(now, c, n, rules, client, &mut mail);
        self.post(id, mail, rules);
    }

    /// TCP at an owner, without further losses: what is missing is sent again, and acknowledgments come.
    pub(crate) fn go_on_with_tcp(&mut self, id: NodeId, rules: &Rules) {
        let c = self.client.c;
        let missing: Vec<_> = match self.back(id).conns.get(&c) {
            Some(conn) => conn.queue.places().filter(|n| !self.client.has(*n)).collect(),
            None => return,
        };
        for n in missing {
            self.doubt(id, n, rules);
        }
        self.acknowledge(id, rules);
    }

    pub(crate) fn back_and_client(&mut self, id: NodeId) -> (&mut Back, &mut Client) {
        (Arc::make_mut(&mut self.backs[usize::from(id.0) - 1]), &mut self.client)
    }

    pub(crate) fn drive(&mut self, id: NodeId, rules: &Rules) {
        let (now, c, mut mail) = (self.now, self.client.c, Mail::default());
        if id == NodeId::FRONT_END {
            Arc::make_mut(&mut self.front).drive(now, rules, &mut self.client, &mut mail);
        } else {
            let (back, client) = self.back_and_client(id);
            back.drive(now, c, rules, client, &mut mail);
        }
        self.post(id, mail, rules);
    }

    fn abort(&mut self, id: NodeId, rules: &Rules) {
        let (now, mut mail) = (self.now, Mail::default());
        if id == NodeId::FRONT_END {
            Arc::make_mut(&mut self.front).abort(now, rules, &mut mail);
        } else {
            self.back_mut(id).abort(now, |_, _, _| true, rules, &mut mail);
        }
        self.post(id, mail, rules);
    }

    /// Puts what a node says on its way.
    pub(crate) fn post(&mut self, from: NodeId, mail: Mail, rules: &Rules) {
        let mut out = Mail::default();
        if from == NodeId::FRONT_END {
            Arc::make_mut(&mut self.front).send(self.now, mail, rules, &mut out);
        } else {
            out = mail;
        }
        for (to, bytes) in out.0 {
            let (to_boot, from_boot) = (self.boot_of(to), self.boot_of(from));
            let packet = Packet { to, from, to_boot, from_boot, age: 0, bytes: bytes.into() };
            let passes = rules.mutant.is_none_or(|mutant| mutant.lets_pass(from, &packet.message()));
            if self.is_alive(to) && passes {
                self.net.insert(packet);
            }
        }
    }

    pub(crate) fn deliver(&mut self, packet: &Packet, refuses: bool, rules: &Rules) {
        let (now, to, from) = (self.now, packet.to, packet.from);
        self.net.note_delivered(packet);
        let met = &mut self.met[usize::from(to.0)][usize::from(from.0)];
        *met = packet.from_boot.max(*met);
        let message = packet.message();
        let message = rules.mutant.map_or(message, |mutant| mutant.bend(self, to, message));
        let mut mail = Mail::default();
        let result = if to == NodeId::FRONT_END {
            let before = Arc::clone(&self.front);
            let result = Arc::make_mut(&mut self.front).handle(now, from, &message, rules, &mut mail);
            self.check_dropped(result.is_err(), *before != *self.front, &mail, rules);
            result
        } else {
            let before = Arc::clone(&self.backs[usize::from(to.0) - 1]);
            let (back, client) = self.back_and_client(to);
            let result = back.handle(now, (from, &message), refuses, rules, client, &mut mail);
            self.check_dropped(result.is_err(), *before != *self.back(to), &mail, rules);
            result
        };
        if refuses && result.is_ok() {
            self.left.refusals -= 1;
        }
        self.post(to, mail, rules);
    }

    /// I7: what is counted as dropped changes nothing and is not answered.
    fn check_dropped(&mut self, is_dropped: bool, has_changed: bool, mail: &Mail, rules: &Rules) {
        if is_dropped && (has_changed || !mail.0.is_empty()) && rules.mutant.is_none() {
            self.client.accuse(Wrong::DroppedMessageActed);
        }
    }

    pub(crate) fn move_segment(&mut self, rules: &Rules) {
        let (now, c) = (self.now, self.client.c);
        match self.client.segment {
            Segment::Done => {}
            Segment::AtFrontEnd => self.client.segment = self.front.route_segment(),
            // Without a lease a node takes nothing; the client sends it again.
            Segment::OnTheWay(id) if !self.back(id).has_lease(now) => self.client.segment = Segment::AtFrontEnd,
            Segment::OnTheWay(id) => {
                let (back, client) = self.back_and_client(id);
                back.take_segment(now, c, rules, client);
            }
            Segment::Held(id) => {
                let (back, client) = self.back_and_client(id);
                back.hold_is_over(client);
            }
        }
    }

    /// What a dead process had is gone; the client sends it again.
    fn lose_segment(&mut self, id: NodeId) {
        if self.client.segment == Segment::Held(id) {
            self.client.segment = Segment::AtFrontEnd;
        }
    }

    /// Looks at what must never be.
    pub(crate) fn judge(&mut self) {
        let resets = core::mem::take(&mut Arc::make_mut(&mut self.front).resets);
        for (c, cause) in resets {
            let is_up = |back: &&Arc<Back>| {
                back.is_alive && self.front.board.status(back.id).is_some_and(|s| s.g == back.holder.generation())
            };
            let lives = self.backs.iter().filter(is_up).any(|back| back.owns(c) || back.closed.contains(c));
            if lives || !self.has_failed() {
                self.client.accuse(Wrong::ResetWithoutProof);
            }
            self.client.end(c, End::Reset(cause));
        }
        self.judge_tails();
        if let Segment::Held(id) = self.client.segment
            && self.back(id).hold.is_empty()
        {
            self.client.accuse(Wrong::Segment);
        }
    }

    /// A byte that another node keeps for a living owner is there, as long as that node has not failed; and who gives a connection up
    /// for want of bytes has wanted one that is not.
    fn judge_tails(&mut self) {
        let has = |(node, place): (NodeId, u64)| self.back(node).keeps(self.client.c, place);
        let stands =
            |node: NodeId| self.back(node).boot == Boot(1) && self.back(node).is_alive && !self.back(node).has_lapsed;
        let is_up = |back: &Back| {
            back.is_alive && self.front.board.status(back.id).is_some_and(|s| s.g == back.holder.generation())
        };
        let is_routed = self.front.conn.is_some();
        let owners = self.backs.iter().filter(|back| is_routed && is_up(back) && back.owns(self.client.c));
        let mut kept = owners.filter_map(|back| back.conns.get(&self.client.c)).flat_map(|conn| conn.queue.kept());
        let is_given_up = kept.any(|(node, n)| stands(node) && !has((node, n.into())));
        let lost = self.client.lost_tail.as_ref();
        let has_no_proof = lost.is_some_and(|wanted| wanted.iter().all(|byte| is_up(self.back(byte.0)) && has(*byte)));
        if is_given_up {
            self.client.accuse(Wrong::TailGivenUp);
        }
        if has_no_proof {
            self.client.accuse(Wrong::ResetWithoutProof);
        }
        self.client.lost_tail = None;
    }

    /// Whether any node has died or lost its lease.
    fn has_failed(&self) -> bool {
        self.backs.iter().any(|back| back.boot != Boot(1) || !back.is_alive || back.has_lapsed)
    }
}

/// Leases and time.
impl State {
    fn lapse(&mut self, id: NodeId, rules: &Rules) {
        self.left.lapses -= 1;
        let mut at = self.now;
        let (back, mut mail) = (self.back_mut(id), Mail::default());
        while back.holder.is_valid(at) {
            at = at + Duration::from_millis(100);
        }
        assert_eq!(back.handle_lease_timeout(at, &mut mail), HolderEvent::Lapsed);
        back.has_lapsed = true;
        self.post(id, mail, rules);
    }

    /// Everybody else goes on with heartbeats meanwhile, whose answers are lost.
    fn bury(&mut self, id: NodeId, rules: &Rules) {
        let LeaseSettings { lease, margin, .. } = LeaseSettings::default();
        let at = self.now + lease + margin;
        let mut mail = Mail::default();
        let others = self.backs.iter().filter(|back| back.has_lease(self.now));
        for back in others {
            let (mut holder, mut request) = (back.as_ref().clone(), Mail::default());
            holder.holder.hurry(self.now);
            let _ = holder.handle_lease_timeout(self.now + Duration::from_millis(5), &mut request);
            for (_, bytes) in request.0 {
                let message = Message::decode(&mut handoff_proto::codec::Reader::new(&bytes)).expect("it was encoded");
                let front = Arc::make_mut(&mut self.front);
                let _ = front.handle(at, back.id, &message, rules, &mut Mail::default());
            }
        }
        let front = Arc::make_mut(&mut self.front);
        front.board.handle_timeout(at);
        front.handle_board_events(self.now, rules, &mut mail);
        // Answers to what the node asked before are too late by now: the lease would be over.
        self.net.retain(|packet| packet.to != id || !matches!(packet.message(), Message::Lease(_)));
        self.post(NodeId::FRONT_END, mail, rules);
    }

    fn heartbeat(&mut self, id: NodeId, rules: &Rules) {
        let now = self.now;
        let (back, mut mail) = (self.back_mut(id), Mail::default());
        back.holder.hurry(now);
        let _ = back.handle_lease_timeout(now + Duration::from_millis(5), &mut mail);
        self.exchange_leases(id, mail, rules);
    }

    /// What a node says about its lease is heard and answered at once.
    fn exchange_leases(&mut self, id: NodeId, mail: Mail, rules: &Rules) {
        for (_, bytes) in mail.0 {
            let message = Message::decode(&mut handoff_proto::codec::Reader::new(&bytes)).expect("it was encoded");
            let mut answers = Mail::default();
            let now = self.now;
            let _ = Arc::make_mut(&mut self.front).handle(now, id, &message, rules, &mut answers);
            for (to, bytes) in answers.0 {
                let packet = Packet {
                    to,
                    from: NodeId::FRONT_END,
                    to_boot: self.boot_of(to),
                    from_boot: Boot(1),
                    age: 0,
                    bytes: bytes.into(),
                };
                self.deliver(&packet, false, rules);
            }
        }
    }

    /// Time passes: leases are looked after, what is unanswered for a lease and the margin is dead, messages grow old, and
    /// everybody repeats what is due.
    fn tick(&mut self, rules: &Rules) {
        self.net.grow_older(rules.life);
        let end = self.now + rules.tick();
        while self.now < end {
            self.look_after_leases(rules, false);
        }
        self.look_after_the_rest(rules);
    }

    /// One slice of time, as far as leases go. JOIN gets through, or is on its way.
    pub(crate) fn look_after_leases(&mut self, rules: &Rules, joins: bool) {
        self.now = self.now + SLICE;
        for index in 0..self.backs.len() {
            let id = self.backs[index].id;
            if !self.back(id).is_alive {
                continue;
            }
            let (now, mut mail) = (self.now, Mail::default());
            let _ = self.back_mut(id).handle_lease_timeout(now, &mut mail);
            if joins || self.back(id).has_lease(now) {
                self.exchange_leases(id, mail, rules);
            } else {
                self.post(id, mail, rules);
            }
        }
        let (now, mut mail) = (self.now, Mail::default());
        let front = Arc::make_mut(&mut self.front);
        front.board.handle_timeout(now);
        front.handle_board_events(now, rules, &mut mail);
        self.post(NodeId::FRONT_END, mail, rules);
    }

    pub(crate) fn look_after_the_rest(&mut self, rules: &Rules) {
        let (now, mut mail) = (self.now, Mail::default());
        Arc::make_mut(&mut self.front).handle_timeout(now, &mut mail);
        self.post(NodeId::FRONT_END, mail, rules);
        for index in 0..self.backs.len() {
            let (id, mut mail) = (self.backs[index].id, Mail::default());
            if self.back(id).is_alive {
                let (back, client) = self.back_and_client(id);
                back.handle_timeout(now, rules, client, &mut mail);
                self.post(id, mail, rules);
            }
        }
        self.judge();
    }
}
