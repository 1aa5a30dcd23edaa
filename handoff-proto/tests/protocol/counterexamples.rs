//! What breaks the obvious protocol, one test each. C4, C5, C11 and C16 are with the leases, C12 and C13 with the held
//! packets.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr, Ipv4Addr};
use baton_stack::drop::DropReason;
use baton_stack::time::Instant;
use handoff_proto::arbiter::{Arbiter, Choice, Death, Decision, Nodes, ResetCause, RouteState, answer_unknown};
use handoff_proto::closed::ClosedReports;
use handoff_proto::codec::Reader;
use handoff_proto::donor::{Donor, DonorEvent, NoHandoff, Standing};
use handoff_proto::image::Image;
use handoff_proto::message::{
    Abort, Ask, Closed, Done, Ended, Grant, Handoff, Installed, Message, RefuseReason, Refused, RequestKey, Revoke,
    Revoked, Routed, Served, Settle, SettleClaim, Settled, Thaw,
};
use handoff_proto::names::{Epoch, Generation, NodeId};
use handoff_proto::recipient::{Attempt, MESSAGE_LIFE, Recipient, RecipientLimits};

use crate::world::Mail;

const C: ConnId = ConnId(7);
const FLOW: Flow = Flow {
    client: Endpoint { addr: IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)), port: 1_024 },
    vip: Endpoint { addr: IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2)), port: 80 },
};
const F: NodeId = NodeId::FRONT_END;
const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

/// Node n lives as generation n * 10, unless it is told otherwise.
#[derive(Default)]
struct Alive(BTreeMap<NodeId, Generation>);

impl Nodes for Alive {
    fn generation(&self, node: NodeId) -> Generation {
        self.0.get(&node).copied().unwrap_or(g_of(node))
    }
}

impl Alive {
    fn kill(&mut self, node: NodeId) -> Death {
        let g = self.generation(node);
        self.0.insert(node, Generation::NONE);
        Death { node, g }
    }
}

fn g_of(node: NodeId) -> Generation {
    Generation(u64::from(node.0) * 10 + 1)
}

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1_000)
}

fn fine(to: NodeId) -> Standing {
    Standing { has_lease: true, recipient_g: Some(g_of(to)) }
}

fn ask(e: u32, tried: u32, n: u32) -> Ask<'static> {
    Ask { c: C, e: Epoch(e), tried: Epoch(tried), n, key: RequestKey::new(b"GET", b"h", b"/") }
}

fn messages<T>(mail: &Mail, read: impl Fn(&Message<'_>) -> T) -> Vec<T> {
    mail.0.iter().map(|(_, bytes)| read(&Message::decode(&mut Reader::new(bytes)).unwrap())).collect()
}

/// The front-end of one connection, whose first handoff goes where it is told.
struct Front {
    arbiter: Arbiter,
    route: RouteState,
    donor: Donor,
    nodes: Alive,
}

impl Front {
    fn new() -> Self {
        let (nodes, donor) = (Alive::default(), Donor::new(C, Epoch::FIRST));
        Self { arbiter: Arbiter::new(), route: RouteState::new(nodes.generation(F)), donor, nodes }
    }

    /// Hands the connection to `to`.
    fn hand_off(&mut self, ms: u64, to: NodeId) -> (Grant, Mail) {
        let grant = self.arbiter.grant_first(C, &mut self.route, self.donor.tried(), to, 0, 0, &self.nodes).unwrap();
        let mut out = Mail::default();
        self.donor.accept_grant(at(ms), grant);
        self.donor.hand_off(at(ms), fine(to), Box::from([1, 2, 3]), 100, &mut out).unwrap();
        (grant, out)
    }

    /// `node` owns the connection at `e`, having asked under it.
    fn owned(&mut self, node: NodeId) -> Epoch {
        let (grant, _) = self.hand_off(0, node);
        let installed = Installed { c: C, e2: grant.e2, g: grant.g };
        let decision = self.installed(node, &installed).unwrap();
        assert_eq!(decision, Decision::Route { to: node, epoch: grant.e2 });
        assert!(matches!(self.donor.handle_route(grant.e2), DonorEvent::Moved { .. }));
        grant.e2
    }

    fn installed(&mut self, from: NodeId, installed: &Installed) -> Result<Decision, DropReason> {
        self.arbiter.handle_installed(&mut self.route, from, installed, &self.nodes, &mut Mail::default())
    }

    fn ask(&mut self, from: NodeId, ask: &Ask<'_>, choice: NodeId) -> (Result<Decision, DropReason>, Mail) {
        let mut out = Mail::default();
        let choose = |_: &RequestKey<'_>| Choice::Serve { node: choice, strip: 0 };
        let result = self.arbiter.handle_ask(at(0), &mut self.route, from, ask, &self.nodes, choose, &mut out);
        (result, out)
    }

    /// Asks and expects a grant.
    fn granted(&mut self, from: NodeId, question: &Ask<'_>, choice: NodeId) -> Grant {
        let (result, out) = self.ask(from, question, choice);
        assert_eq!(result, Ok(Decision::Keep));
        let grants = messages(&out, |message| match message {
            Message::Grant(grant) => *grant,
            other => panic!("{other:?}"),
        });
        grants[0]
    }

    fn abort(&mut self, from: NodeId, grant: &Grant) -> (Decision, Mail) {
        let Grant { c, base, e2, to, g, .. } = *grant;
        let mut out = Mail::default();
        let abort = Abort { c, base, e2, to, g };
        let decision = self.arbiter.handle_abort(at(0), (&mut self.route, &FLOW), from, &abort, &self.nodes, &mut out);
        (decision.unwrap(), out)
    }

    fn revoked(&mut self, from: NodeId, e2: Epoch) -> Result<Decision, DropReason> {
        let revoked = Revoked { c: C, e2, g: g_of(from) };
        self.arbiter.handle_revoked(&mut self.route, from, &revoked, &self.nodes, &mut Mail::default())
    }

    fn settled(&mut self, from: NodeId, e2: Epoch, claim: SettleClaim) -> Result<Decision, DropReason> {
        let settled = Settled { c: C, e2, claim };
        self.arbiter.handle_settled(&mut self.route, from, &settled, &self.nodes)
    }

    fn down(&mut self, node: NodeId) -> (Decision, Mail) {
        let death = self.nodes.kill(node);
        let mut out = Mail::default();
        let decision = self.arbiter.handle_node_down(at(0), C, (&mut self.route, &FLOW), death, &self.nodes, &mut out);
        (decision, out)
    }
}

fn recipient(node: NodeId) -> Recipient {
    let mut recipient = Recipient::new(RecipientLimits::default());
    recipient.set_generation(g_of(node));
    recipient
}

fn handoff(e2: u32, g: Generation) -> Handoff<'static> {
    Handoff { c: C, base: Epoch(0), e2: Epoch(e2), g, total: 5, part_bytes: 10, part: 0, bytes: b"image" }
}

fn attempt(e2: u32) -> Attempt {
    Attempt { c: C, e2: Epoch(e2) }
}

/// Hands a donor a grant for request `n` and lets it freeze.
fn frozen(donor: &mut Donor, ms: u64, grant: Grant) {
    let mut out = Mail::default();
    donor.ask(at(ms), grant.n, &RequestKey::new(b"GET", b"h", b"/"), &mut out);
    assert_eq!(donor.handle_message(at(ms), F, &grant.into(), &mut out), Ok(DonorEvent::Granted(grant)));
    donor.hand_off(at(ms), fine(grant.to), Box::from([1, 2, 3]), 100, &mut out).unwrap();
}

#[test]
fn c01_a_retry_takes_a_fresh_epoch_and_late_words_are_of_the_first_try() {
    let mut front = Front::new();
    let (first, _) = front.hand_off(0, A);
    let mut out = Mail::default();
    let refused = Refused { c: C, e2: first.e2, g: first.g, reason: RefuseReason::Overload };
    let event = front.donor.handle_message(at(1), A, &refused.into(), &mut out);
    assert!(matches!(event, Ok(DonorEvent::Thaw { .. })));
    let (second, _) = front.hand_off(2, A);
    assert!(second.e2 > first.e2, "the same node, another epoch");
    // The first try's REFUSED and REVOKED come again.
    let event = front.donor.handle_message(at(3), A, &refused.into(), &mut out);
    assert_eq!((event, front.donor.is_silent()), (Ok(DonorEvent::Nothing), true));
    assert_eq!(front.revoked(A, first.e2), Err(DropReason::MessageStale));
    assert_eq!(front.route.pending().map(|grant| grant.e2), Some(second.e2));
}

#[test]
fn c02_a_restarted_node_does_not_install_an_image_for_its_earlier_life() {
    let (mut node, mut out) = (recipient(A), Mail::default());
    let old = Generation(g_of(A).0 - 1);
    let result = node.handle_handoff(at(0), F, &handoff(1, old), true, &mut out);
    assert_eq!((result, out.0.len(), node.records()), (Err(DropReason::MessageStale), 0, 0));
    assert!(node.handle_handoff(at(0), F, &handoff(1, g_of(A)), true, &mut out).unwrap().is_some());
}

#[test]
fn c03_a_restarted_node_does_not_speak_for_its_earlier_life() {
    let (mut node, mut out) = (recipient(A), Mail::default());
    let arrival = node.handle_handoff(at(0), F, &handoff(1, g_of(A)), true, &mut out).unwrap().unwrap();
    node.install(at(0), arrival.attempt, arrival.donor, &mut out);
    let (before, after) = (g_of(A), Generation(g_of(A).0 + 5));
    node.set_generation(after);
    out.0.clear();
    let revoke = Revoke { c: C, e2: Epoch(1), g: before, flow: FLOW };
    assert_eq!(node.handle_revoke(at(1), &revoke, true, &mut out), Err(DropReason::MessageStale));
    assert_eq!(node.handle_handoff(at(1), F, &handoff(1, before), true, &mut out), Err(DropReason::MessageStale));
    node.handle_timeout(at(10_000), |_| true, &mut out);
    assert!(out.0.is_empty(), "neither REVOKED nor REFUSED: it cannot know");
}

#[test]
fn c06_an_image_that_went_to_a_dead_node_goes_to_nobody_else() {
    let mut front = Front::new();
    let (grant, _) = front.hand_off(0, A);
    let (decision, out) = front.down(A);
    assert_eq!((decision, out.names()), (Decision::Keep, vec![(0, "Settle")]));
    assert_eq!(front.arbiter.grant_first(C, &mut front.route, Epoch(0), B, 0, 0, &front.nodes), None);
    // Its own donor answers.
    let settle = Settle { c: C, base: Epoch(0), e2: grant.e2, to: A, g: grant.g };
    let mut out = Mail::default();
    let event = front.donor.handle_message(at(1), F, &settle.into(), &mut out);
    assert_eq!((event, front.donor.is_silent()), (Ok(DonorEvent::Lost { e2: grant.e2 }), true));
    let decision = front.settled(F, grant.e2, SettleClaim::Lost);
    assert_eq!(decision, Ok(Decision::Reset(ResetCause::RecipientDied)));
}

#[test]
fn c07_a_dead_owner_s_connection_may_live_on_elsewhere() {
    let mut front = Front::new();
    let e = front.owned(A);
    let grant = front.granted(A, &ask(e.0, e.0, 1), B);
    let (decision, out) = front.down(A);
    assert_eq!((decision, out.names()), (Decision::Keep, vec![(2, "Revoke")]), "asked, not reset");
    let installed = Installed { c: C, e2: grant.e2, g: grant.g };
    assert_eq!(front.installed(B, &installed), Ok(Decision::Route { to: B, epoch: grant.e2 }));
    assert_eq!(front.arbiter.poll_at(), None);
    // Or it does not: then once.
    let mut front = Front::new();
    let e = front.owned(A);
    let grant = front.granted(A, &ask(e.0, e.0, 1), B);
    assert_eq!(front.down(A).0, Decision::Keep);
    assert_eq!(front.revoked(B, grant.e2), Ok(Decision::Reset(ResetCause::OwnerDied)));
    assert_eq!(front.revoked(B, grant.e2), Err(DropReason::MessageStale));
}

#[test]
fn c08_a_connection_that_was_served_and_closed_does_not_thaw() {
    let (mut node, mut out) = (recipient(A), Mail::default());
    let arrival = node.handle_handoff(at(0), B, &handoff(1, g_of(A)), true, &mut out).unwrap().unwrap();
    node.install(at(0), arrival.attempt, arrival.donor, &mut out);
    node.handle_routed(at(1), &Routed { c: C, e2: Epoch(1) }).unwrap();
    // The donor has heard nothing; the connection is long over here.
    for ms in (0..60_000).step_by(10) {
        node.handle_timeout(at(ms), |_| true, &mut out);
    }
    out.0.clear();
    let revoke = Revoke { c: C, e2: Epoch(1), g: g_of(A), flow: FLOW };
    node.handle_revoke(at(60_000), &revoke, true, &mut out).unwrap();
    node.handle_handoff(at(60_000), B, &handoff(1, g_of(A)), true, &mut out).unwrap();
    assert_eq!(out.names(), [(0, "Installed"), (2, "Installed")]);
    // The front-end has forgotten the connection: it says so to a donor that still waits.
    let mut out = Mail::default();
    let abort = Abort { c: C, base: Epoch(0), e2: Epoch(1), to: A, g: g_of(A) };
    answer_unknown(B, &abort.into(), &mut out).unwrap();
    assert_eq!(out.names(), [(2, "AttemptGone")]);
    // Once the donor knows, and no message of it can be left, it is forgotten here too.
    node.handle_done(at(60_000), B, &Done { c: C, e2: Epoch(1) }).unwrap();
    node.handle_timeout(at(60_000) + MESSAGE_LIFE, |_| true, &mut out);
    assert_eq!((node.records(), node.poll_at()), (0, None));
}

#[test]
fn c09_a_refusal_is_remembered_for_as_long_as_a_handoff_can_come() {
    let (mut node, mut out) = (recipient(A), Mail::default());
    let arrival = node.handle_handoff(at(0), B, &handoff(1, g_of(A)), true, &mut out).unwrap().unwrap();
    node.refuse(at(0), arrival.attempt, arrival.donor, RefuseReason::Overload, &mut out);
    assert_eq!(
        node.handle_done(at(5), F, &Done { c: C, e2: Epoch(1) }),
        Err(DropReason::MessageStale),
        "not its donor"
    );
    node.handle_done(at(5), B, &Done { c: C, e2: Epoch(1) }).unwrap();
    let last = at(4) + MESSAGE_LIFE;
    node.handle_timeout(last, |_| true, &mut out);
    out.0.clear();
    assert_eq!(node.handle_handoff(last, B, &handoff(1, g_of(A)), true, &mut out), Ok(None));
    assert_eq!(out.names(), [(2, "Refused")]);
    node.handle_timeout(at(5) + MESSAGE_LIFE, |_| true, &mut out);
    assert_eq!(node.records(), 0);
}

#[test]
fn c10_a_grant_is_used_once() {
    let mut donor = Donor::new(C, Epoch(1));
    let grant = Grant { c: C, base: Epoch(1), e2: Epoch(2), to: B, g: g_of(B), n: 1, strip: Some(0) };
    frozen(&mut donor, 0, grant);
    let mut out = Mail::default();
    assert!(matches!(
        donor.handle_message(at(1), F, &Thaw { c: C, e2: Epoch(2) }.into(), &mut out),
        Ok(DonorEvent::Thaw { .. })
    ));
    donor.ask(at(2), 1, &RequestKey::new(b"GET", b"h", b"/"), &mut out);
    for wrong in [grant, Grant { e2: Epoch(3), base: Epoch(0), ..grant }, Grant { e2: Epoch(3), n: 2, ..grant }] {
        assert_eq!(donor.handle_message(at(3), F, &wrong.into(), &mut out), Err(DropReason::MessageStale), "{wrong:?}");
    }
    assert_eq!(donor.ready(at(3), fine(B)), Err(NoHandoff::NoGrant));
    let fresh = Grant { e2: Epoch(3), ..grant };
    assert_eq!(donor.handle_message(at(3), B, &fresh.into(), &mut out), Err(DropReason::MessageStale), "not from F");
    assert_eq!(donor.handle_message(at(3), F, &fresh.into(), &mut out), Ok(DonorEvent::Granted(fresh)));
}

/// Part `part` of an image of `total` bytes, cut out of the golden one.
fn part_of(e2: u32, total: u32, part: u16, bytes: &[u8]) -> Handoff<'_> {
    Handoff { total, part_bytes: 400, part, bytes, ..handoff(e2, g_of(A)) }
}

#[test]
fn c12_what_is_given_up_before_it_is_whole_is_named() {
    let digits: Vec<u8> = include_str!("../../src/image/golden_v1.hex")
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect();
    let image: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let (first, second, flow) = (&image[..400], &image[400..800], Image::flow_in(&image).unwrap());
    let total = u32::try_from(image.len()).unwrap();
    let (mut node, mut out) = (recipient(A), Mail::default());
    let mut hear = |node: &mut Recipient, at_ms, part: Handoff<'_>| {
        assert!(node.handle_handoff(at(at_ms), B, &part, true, &mut out).unwrap().is_none());
        node.take_given_up()
    };
    // Revoked in between, its beginning here or not; and before anything has come. Said again, it is nothing new.
    let revoke = |e2| Revoke { c: C, e2: Epoch(e2), g: g_of(A), flow };
    assert_eq!(hear(&mut node, 0, part_of(1, total, 0, first)), []);
    node.handle_revoke(at(1), &revoke(1), true, &mut Mail::default()).unwrap();
    assert_eq!((node.has_given_up(), node.take_given_up(), node.has_given_up()), (true, vec![flow], false));
    assert_eq!(hear(&mut node, 2, part_of(2, total, 1, second)), []);
    for (e2, expected) in [(2, vec![flow]), (3, vec![flow]), (3, vec![])] {
        node.handle_revoke(at(3), &revoke(e2), true, &mut Mail::default()).unwrap();
        assert_eq!(node.take_given_up(), expected);
    }
    // Its rest does not come in time.
    assert_eq!(hear(&mut node, 4, part_of(4, total, 0, first)), []);
    node.handle_timeout(at(2_003), |_| true, &mut Mail::default());
    assert_eq!(node.take_given_up(), []);
    node.handle_timeout(at(2_004), |_| true, &mut Mail::default());
    assert_eq!(node.take_given_up(), [flow]);
    // It is too long, as its first part says; so does another, which does not tell the flow.
    assert_eq!(hear(&mut node, 3_000, part_of(5, u32::MAX, 0, first)), [flow]);
    assert_eq!(hear(&mut node, 3_001, part_of(6, u32::MAX, 1, second)), []);
}

#[test]
fn c14_a_refusal_after_the_verdict_thaws_nothing() {
    let mut donor = Donor::new(C, Epoch(1));
    let grant = Grant { c: C, base: Epoch(1), e2: Epoch(2), to: B, g: g_of(B), n: 1, strip: Some(0) };
    frozen(&mut donor, 0, grant);
    let mut out = Mail::default();
    let settle = Settle { c: C, base: Epoch(1), e2: Epoch(2), to: B, g: g_of(B) };
    assert_eq!(donor.handle_message(at(1), F, &settle.into(), &mut out), Ok(DonorEvent::Lost { e2: Epoch(2) }));
    let refused = Refused { c: C, e2: Epoch(2), g: g_of(B), reason: RefuseReason::Limit };
    assert_eq!(donor.handle_message(at(2), B, &refused.into(), &mut out), Ok(DonorEvent::Nothing));
    assert!(donor.is_silent());
}

/// Found by the model: REVOKED of a node that died right after, when the owner has been asked already. Taken for proof,
/// it left a route to an owner that had given its image up, and nobody reset the client.
#[test]
fn c14_a_late_revoked_does_not_overtake_the_owner_s_answer() {
    let mut front = Front::new();
    let e = front.owned(A);
    let grant = front.granted(A, &ask(e.0, e.0, 1), B);
    assert_eq!(front.abort(A, &grant).1.names(), [(2, "Revoke")]);
    let (decision, out) = front.down(B);
    assert_eq!((decision, out.names()), (Decision::Keep, vec![(1, "Settle")]));
    assert_eq!(front.revoked(B, grant.e2), Err(DropReason::MessageStale));
    let lost = front.settled(A, grant.e2, SettleClaim::Lost);
    assert_eq!(lost, Ok(Decision::Reset(ResetCause::RecipientDied)));
}

#[test]
fn c15_an_old_abort_resets_nothing() {
    // It was refused, thawed, and is on its way again.
    let mut front = Front::new();
    let e = front.owned(A);
    let first = front.granted(A, &ask(e.0, e.0, 1), B);
    let second = front.granted(A, &ask(e.0, first.e2.0, 1), B);
    assert!(second.e2 > first.e2);
    let (decision, out) = front.abort(A, &first);
    assert_eq!((decision, out.names()), (Decision::Keep, vec![(1, "Thaw")]));
    // It has arrived.
    let _ = front.installed(B, &Installed { c: C, e2: second.e2, g: second.g }).unwrap();
    let (decision, out) = front.abort(A, &second);
    assert_eq!((decision, out.names()), (Decision::Keep, vec![(1, "AttemptGone")]));

    // It was refused, which the front-end does not know, and the recipient has died since.
    let mut front = Front::new();
    let e = front.owned(A);
    let grant = front.granted(A, &ask(e.0, e.0, 1), B);
    front.nodes.kill(B);
    let (decision, out) = front.abort(A, &grant);
    assert_eq!((decision, out.names()), (Decision::Keep, vec![(1, "Settle")]), "asked, not reset");
    let mut donor = Donor::new(C, e);
    let settle = Settle { c: C, base: e, e2: grant.e2, to: B, g: grant.g };
    let mut out = Mail::default();
    assert_eq!(donor.handle_message(at(0), F, &settle.into(), &mut out), Ok(DonorEvent::Nothing));
    let claims = messages(&out, |message| match message {
        Message::Settled(settled) => settled.claim,
        other => panic!("{other:?}"),
    });
    assert_eq!((claims, donor.tried()), (vec![SettleClaim::Kept], grant.e2));
    assert_eq!(front.settled(A, grant.e2, SettleClaim::Kept), Ok(Decision::Keep));
    assert_eq!(front.settled(A, grant.e2, SettleClaim::Lost), Err(DropReason::MessageStale), "nobody asked");
}

#[test]
fn c17_no_attempt_begins_while_another_is_being_settled() {
    let mut front = Front::new();
    let e = front.owned(A);
    let grant = front.granted(A, &ask(e.0, e.0, 1), B);
    let (decision, _) = front.down(B);
    assert_eq!(decision, Decision::Keep);
    for question in [ask(e.0, e.0, 1), ask(e.0, e.0, 2)] {
        let (result, out) = front.ask(A, &question, NodeId(3));
        assert_eq!((result, out.0.len()), (Ok(Decision::Keep), 0), "no answer yet");
    }
    let _ = front.settled(A, grant.e2, SettleClaim::Kept).unwrap();
    let next = front.granted(A, &ask(e.0, grant.e2.0, 2), NodeId(3));
    assert!(next.e2 > grant.e2);
}

#[test]
fn c18_a_later_epoch_confirms_the_first() {
    let mut front = Front::new();
    let (first, _) = front.hand_off(0, A);
    // INSTALLED is lost; the new owner asks already (R7).
    let (result, out) = front.ask(A, &ask(first.e2.0, first.e2.0, 1), B);
    assert_eq!(result, Ok(Decision::Route { to: A, epoch: first.e2 }));
    assert_eq!(out.names(), [(1, "Grant")]);
    let second = *front.route.pending().unwrap();
    let _ = front.installed(B, &Installed { c: C, e2: second.e2, g: second.g }).unwrap();
    assert_eq!(
        front.donor.handle_route(second.e2),
        DonorEvent::Moved { e2: first.e2, to: A, g: first.g },
        "the front-end is not frozen for ever"
    );
}

/// R7: the same answer to the same question.
#[test]
fn a_repeated_question_gets_the_same_grant_until_tried_passes_it() {
    let mut front = Front::new();
    let e = front.owned(A);
    let grant = front.granted(A, &ask(e.0, e.0, 1), B);
    assert_eq!(front.granted(A, &ask(e.0, e.0, 1), NodeId(3)), grant, "the dispatcher is not asked again");
    let other = front.granted(A, &ask(e.0, grant.e2.0, 1), NodeId(3));
    assert!(other.e2 > grant.e2 && other.to == NodeId(3));
    // A later request: the owner has no use for the grant any more.
    let later = front.granted(A, &ask(e.0, e.0, 2), B);
    assert!(later.e2 > other.e2);
    let (earlier, out) = front.ask(A, &ask(e.0, e.0, 1), B);
    assert_eq!((earlier, out.0.len()), (Ok(Decision::Keep), 0), "an old question");
    // Not the owner, or not its epoch.
    assert_eq!(front.ask(B, &ask(e.0, e.0, 1), B).0, Err(DropReason::MessageStale));
    assert_eq!(front.ask(A, &ask(e.0 + 1, e.0, 1), B).0, Err(DropReason::MessageStale));
    assert_eq!(front.ask(A, &ask(0, 0, 1), B).0, Err(DropReason::MessageStale));
}

#[test]
fn a_choice_that_is_down_is_503_and_the_owner_itself_is_stay() {
    let mut front = Front::new();
    let e = front.owned(A);
    assert_eq!(front.ask(A, &ask(e.0, e.0, 1), A).1.names(), [(1, "Stay")]);
    front.nodes.kill(B);
    let (_, out) = front.ask(A, &ask(e.0, e.0, 2), B);
    let statuses = messages(&out, |message| match message {
        Message::Reject(reject) => (reject.status, reject.n),
        other => panic!("{other:?}"),
    });
    assert_eq!(statuses, [(503, 2)]);
}

/// R7 and R13, at the donor.
#[test]
fn a_grant_is_used_in_time_to_a_living_node_and_under_a_lease() {
    let mut donor = Donor::new(C, Epoch(1));
    let grant = Grant { c: C, base: Epoch(1), e2: Epoch(2), to: B, g: g_of(B), n: 1, strip: Some(0) };
    let mut out = Mail::default();
    let key = RequestKey::new(b"GET", b"h", b"/");
    donor.ask(at(0), 1, &key, &mut out);
    let _ = donor.handle_message(at(900), F, &grant.into(), &mut out).unwrap();
    assert_eq!(donor.ready(at(999), Standing { has_lease: false, ..fine(B) }), Err(NoHandoff::NoLease));
    assert_eq!(donor.ready(at(999), fine(B)), Ok(grant));
    assert_eq!(donor.ready(at(1_000), fine(B)), Err(NoHandoff::Expired), "a second after the question");
    assert_eq!(donor.tried(), Epoch(1), "asked again, it is given again");
    donor.ask(at(1_000), 1, &key, &mut out);
    let _ = donor.handle_message(at(1_001), F, &grant.into(), &mut out).unwrap();
    let reborn = Standing { has_lease: true, recipient_g: Some(Generation(99)) };
    assert_eq!(donor.ready(at(1_002), reborn), Err(NoHandoff::RecipientGone));
    assert_eq!((donor.tried(), donor.grant()), (Epoch(2), None), "void for ever");
}

/// R14: the route only rises, and a dead generation owns nothing.
#[test]
fn the_route_only_rises() {
    let mut front = Front::new();
    let e = front.owned(A);
    let grant = front.granted(A, &ask(e.0, e.0, 1), B);
    let installed = Installed { c: C, e2: grant.e2, g: grant.g };
    front.nodes.0.insert(B, Generation(99));
    assert_eq!(front.installed(B, &installed), Err(DropReason::MessageStale), "a life that is over");
    front.nodes.0.remove(&B);
    assert_eq!(front.installed(A, &installed), Err(DropReason::MessageStale), "not the recipient");
    assert!(front.installed(B, &installed).is_ok());
    let old = Installed { c: C, e2: e, g: g_of(A) };
    assert_eq!(front.installed(A, &old), Ok(Decision::Keep), "confirmed, and nothing changes");
    assert_eq!((front.route.owner(), front.route.epoch()), (B, grant.e2));
    assert_eq!(front.installed(B, &Installed { e2: Epoch(99), ..installed }), Err(DropReason::MessageStale));
}

/// R13 at the recipient.
#[test]
fn without_a_lease_a_recipient_is_silent() {
    let (mut node, mut out) = (recipient(A), Mail::default());
    assert_eq!(node.handle_handoff(at(0), F, &handoff(1, g_of(A)), false, &mut out), Err(DropReason::MessageStale));
    let revoke = Revoke { c: C, e2: Epoch(1), g: g_of(A), flow: FLOW };
    assert_eq!(node.handle_revoke(at(0), &revoke, false, &mut out), Err(DropReason::MessageStale));
    let mut unjoined = Recipient::new(RecipientLimits::default());
    let nobody = handoff(1, Generation::NONE);
    assert_eq!(unjoined.handle_handoff(at(0), F, &nobody, true, &mut out), Err(DropReason::MessageStale));
    assert!(out.0.is_empty());
}

/// A revoked attempt is never installed, whatever comes later; an installed one is never revoked.
#[test]
fn revoke_and_handoff_are_settled_by_who_comes_first() {
    let (mut node, mut out) = (recipient(A), Mail::default());
    let revoke = |e2| Revoke { c: C, e2: Epoch(e2), g: g_of(A), flow: FLOW };
    node.handle_revoke(at(0), &revoke(1), true, &mut out).unwrap();
    assert_eq!(node.handle_handoff(at(1), B, &handoff(1, g_of(A)), true, &mut out), Ok(None));
    assert_eq!(out.names(), [(0, "Revoked"), (2, "Refused")]);
    out.0.clear();
    let arrival = node.handle_handoff(at(2), B, &handoff(2, g_of(A)), true, &mut out).unwrap().unwrap();
    node.install(at(2), arrival.attempt, arrival.donor, &mut out);
    node.handle_revoke(at(3), &revoke(2), true, &mut out).unwrap();
    assert_eq!(out.names(), [(0, "Installed"), (2, "Installed"), (0, "Installed")]);
    // In the middle of an image.
    out.0.clear();
    let part = Handoff { total: 15, ..handoff(3, g_of(A)) };
    let part = Handoff { bytes: b"0123456789", ..part };
    assert_eq!(node.handle_handoff(at(4), B, &part, true, &mut out), Ok(None));
    node.handle_revoke(at(5), &revoke(3), true, &mut out).unwrap();
    assert_eq!((out.names(), node.incoming()), (vec![(2, "PartAck"), (2, "Refused"), (0, "Revoked")], 0));
    // An attempt that is older than what is known here is of no use to anybody, and nothing true can be said of it.
    out.0.clear();
    node.set_generation(Generation(50));
    let late = |e2| Handoff { c: C, base: Epoch(0), ..handoff(e2, Generation(50)) };
    let arrival = node.handle_handoff(at(6), B, &late(9), true, &mut out).unwrap().unwrap();
    node.install(at(6), arrival.attempt, arrival.donor, &mut out);
    out.0.clear();
    assert_eq!(node.handle_handoff(at(7), B, &late(8), true, &mut out), Err(DropReason::MessageStale));
    assert_eq!((out.0.len(), attempt(9)), (0, arrival.attempt));
}

/// The donor's patience: HANDOFF, then ABORT, for as long as it takes; and every way out.
#[test]
fn a_silent_recipient_leads_to_abort_and_abort_to_a_verdict() {
    let mut donor = Donor::new(C, Epoch(1));
    let grant = Grant { c: C, base: Epoch(1), e2: Epoch(2), to: B, g: g_of(B), n: 1, strip: Some(0) };
    frozen(&mut donor, 0, grant);
    let mut said = vec![];
    for ms in 0..2_000 {
        let mut out = Mail::default();
        assert_eq!(donor.handle_timeout(at(ms), &mut out), DonorEvent::Nothing);
        said.extend(out.names().into_iter().map(|(_, name)| (ms, name)));
    }
    assert_eq!(said[..5], [(20, "Handoff"), (60, "Handoff"), (140, "Handoff"), (300, "Handoff"), (500, "Handoff")]);
    assert_eq!(said[5..8], [(700, "Abort"), (720, "Abort"), (760, "Abort")]);
    assert!(said[5..].iter().all(|(_, name)| *name == "Abort"), "no HANDOFF follows an ABORT");
    let mut out = Mail::default();
    let gone = handoff_proto::message::AttemptGone { c: C, e2: Epoch(2) };
    assert_eq!(
        donor.clone().handle_message(at(2_000), F, &gone.into(), &mut out),
        Ok(DonorEvent::Moved { e2: Epoch(2), to: B, g: g_of(B) })
    );
    let thaw = donor.handle_message(at(2_000), F, &Thaw { c: C, e2: Epoch(2) }.into(), &mut out);
    let image = Box::from([1, 2, 3]);
    assert_eq!(thaw, Ok(DonorEvent::Thaw { image, e2: Epoch(2), tried: Epoch(2), to: B, reason: None }));
    assert!(!donor.is_silent() && donor.tried() == Epoch(2) && donor.epoch() == Epoch(1));
}

/// Who asks and gets no answer is told so, and is free to ask again.
#[test]
fn an_unanswered_question_ends() {
    let mut donor = Donor::new(C, Epoch(1));
    let mut out = Mail::default();
    donor.ask(at(0), 4, &RequestKey::new(b"GET", b"h", b"/"), &mut out);
    let end = (0..10_000).find(|ms| donor.handle_timeout(at(*ms), &mut out) == DonorEvent::Unanswered { n: 4 });
    assert!((1_500..3_000).contains(&end.unwrap()), "{end:?}");
    assert_eq!((donor.asking(), donor.poll_at()), (None, None));
    assert_eq!(out.0.len(), 1 + usize::from(handoff_proto::donor::ASK_TRIES_MAX));
}

/// REVOKE and SETTLE are repeated until they are answered, and never after.
#[test]
fn the_arbiter_repeats_what_it_asks() {
    let mut front = Front::new();
    let e = front.owned(A);
    let grant = front.granted(A, &ask(e.0, e.0, 1), B);
    let _ = front.abort(A, &grant);
    let mut times = vec![];
    for ms in 0..1_000 {
        while front.arbiter.pop_due(at(ms)).is_some() {
            let mut out = Mail::default();
            front.arbiter.handle_timeout(at(ms), C, (&mut front.route, &FLOW), &mut out);
            assert_eq!(out.names(), [(2, "Revoke")]);
            times.push(ms);
        }
    }
    assert_eq!(times, [20, 60, 140, 300, 500, 700, 900]);
    assert_eq!(front.route.poll_at(), front.arbiter.poll_at());
    assert_eq!(front.revoked(B, grant.e2), Ok(Decision::Keep));
    assert_eq!((front.arbiter.poll_at(), front.route.pending()), (None, None));
    front.arbiter.forget(C, &mut front.route);
    assert_eq!(front.arbiter.poll_at(), None);
    assert_eq!(Duration::from_millis(20), handoff_proto::arbiter::SETTLE_RETRY);
}

/// C22: a donor that is frozen says that it will not use a later grant, of which it has only heard that its recipient is dead. Then its
/// own attempt is taken back, and the grant comes, late: the front-end believes the word that was given.
#[test]
fn c22_a_word_that_was_given_while_frozen_holds_when_the_connection_thaws() {
    let grant = |e2, to| Grant { c: C, base: Epoch(1), e2: Epoch(e2), to, g: g_of(to), n: 1, strip: Some(0) };
    let (mut donor, mut out) = (Donor::new(C, Epoch(1)), Mail::default());
    frozen(&mut donor, 0, grant(2, B));
    donor.abort(at(1), &mut out);
    out.0.clear();
    let settle = Settle { c: C, base: Epoch(1), e2: Epoch(3), to: B, g: g_of(B) };
    assert_eq!(donor.handle_message(at(2), F, &settle.into(), &mut out), Ok(DonorEvent::Nothing));
    let said = Message::decode(&mut Reader::new(&out.0[0].1)).unwrap();
    assert_eq!(said, Settled { c: C, e2: Epoch(3), claim: SettleClaim::Kept }.into());
    let event = donor.handle_message(at(3), F, &Thaw { c: C, e2: Epoch(2) }.into(), &mut out);
    let Ok(DonorEvent::Thaw { tried, .. }) = event else { panic!("{event:?}") };
    // The node makes another donor of the image.
    let mut thawed = Donor::new(C, Epoch(1));
    thawed.has_tried(tried);
    thawed.ask(at(4), 1, &RequestKey::new(b"GET", b"h", b"/"), &mut out);
    assert!(thawed.handle_message(at(5), F, &grant(3, B).into(), &mut out).is_err());
    assert_eq!(thawed.grant(), None);
}

/// C19: an image is installed although its donor is known to be dead, because it was on its way. Nobody will ever confirm
/// that to the recipient; the node list does.
#[test]
fn c19_a_dead_donor_need_not_confirm_what_came_after_its_death() {
    let (mut node, mut out) = (recipient(A), Mail::default());
    node.handle_node_down(at(0), B);
    let arrival = node.handle_handoff(at(1), B, &handoff(2, g_of(A)), true, &mut out).unwrap().unwrap();
    node.install(at(1), arrival.attempt, arrival.donor, &mut out);
    node.handle_routed(at(2), &Routed { c: C, e2: Epoch(2) }).unwrap();
    out.0.clear();
    node.handle_timeout(at(30), |node| node == B, &mut out);
    assert_eq!((out.names(), node.records()), (vec![(2, "Installed")], 1), "as long as the donor may live it is told");
    out.0.clear();
    node.handle_timeout(at(1_000), |node| node != B, &mut out);
    node.handle_timeout(at(1_000) + MESSAGE_LIFE, |node| node != B, &mut out);
    assert_eq!((out.0.len(), node.records(), node.poll_at()), (0, 0, None));
}

/// C20: an owner closes a connection with a grant in hand, its CLOSED is lost, and the grant's recipient dies. The owner
/// does not say that it has given the connection away: it says that it has ended.
#[test]
fn c20_a_connection_that_has_ended_was_not_lost_with_a_recipient() {
    let (mut reports, mut out) = (ClosedReports::new(1), Mail::default());
    let served = Served { requests: 1, bytes: 2 };
    let closed = Closed { c: C, e: Epoch(1), snd_nxt: 1, rcv_nxt: 2, timestamps: None, ended: Ended::Active, served };
    assert!(!reports.answer(C, &mut out), "nothing has ended");
    reports.report(at(0), closed, &mut out).unwrap();
    let mut front = Front::new();
    let e = front.owned(A);
    let grant = front.granted(A, &ask(e.0, e.0, 1), B);
    let (decision, out) = front.down(B);
    assert_eq!((decision, out.names(), grant.base), (Decision::Keep, vec![(1, "Settle")], closed.e));
    let mut out = Mail::default();
    assert!(reports.answer(C, &mut out));
    assert_eq!(out.names(), [(0, "Closed")]);
    let nodes = &front.nodes;
    let decision = front.arbiter.handle_closed(&mut front.route, A, &closed, nodes, &mut out);
    assert_eq!((decision, front.route.pending()), (Ok(Decision::Closed), None));
    reports.acknowledge(C);
    assert!(!reports.answer(C, &mut out));
}
