//! Moves that somebody wished: MOVE-ASK between an owner's donor and the front-end's arbiter. The storms have wishes, too.

use std::time::Duration;

use baton_stack::addr::ConnId;
use baton_stack::drop::DropReason;
use baton_stack::time::Instant;
use handoff_proto::arbiter::{Arbiter, Choice, Decision, Nodes, RouteState, answer_unknown};
use handoff_proto::codec::Reader;
use handoff_proto::donor::{ASK_TRIES_MAX, Donor, DonorEvent, NoHandoff, Standing};
use handoff_proto::message::{Grant, Installed, Message, MoveAsk, MoveReject, RequestKey, Stay};
use handoff_proto::names::{Epoch, Generation, NodeId};

use crate::world::Mail;

const C: ConnId = ConnId(7);
const F: NodeId = NodeId::FRONT_END;
const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const DEAD: NodeId = NodeId(9);

struct Alive;

impl Nodes for Alive {
    fn generation(&self, node: NodeId) -> Generation {
        if node == DEAD { Generation::NONE } else { Generation(u64::from(node.0) + 1) }
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1_000)
}

fn key() -> RequestKey<'static> {
    RequestKey::new(b"GET", b"h", b"/")
}

/// The connection at A, epoch 1, and its front-end.
struct Pair {
    donor: Donor,
    arbiter: Arbiter,
    route: RouteState,
}

impl Pair {
    fn new() -> Self {
        let (mut arbiter, mut route) = (Arbiter::new(), RouteState::new(Alive.generation(F)));
        let grant = arbiter.grant_first(C, &mut route, Epoch::FIRST, A, 0, 0, &Alive).unwrap();
        let installed = Installed { c: C, e2: grant.e2, g: grant.g };
        let routed = arbiter.handle_installed(&mut route, A, &installed, &Alive, &mut Mail::default());
        assert_eq!(routed, Ok(Decision::Route { to: A, epoch: Epoch(1) }));
        Self { donor: Donor::new(C, Epoch(1)), arbiter, route }
    }

    /// The front-end hears what the owner has said, last message first, and answers. The dispatcher always says `choice`.
    fn front_end_hears(&mut self, said: &Mail, choice: NodeId) -> Vec<Vec<u8>> {
        let mut out = Mail::default();
        for (to, bytes) in said.0.iter().rev() {
            assert_eq!(*to, F);
            let decision = match Message::decode(&mut Reader::new(bytes)).unwrap() {
                Message::Ask(ask) => {
                    let choose = |_: &RequestKey<'_>| Choice::Serve { node: choice, strip: 3 };
                    self.arbiter.handle_ask(at(0), &mut self.route, A, &ask, &Alive, choose, &mut out)
                }
                Message::MoveAsk(ask) => {
                    self.arbiter.handle_move_ask(at(0), &mut self.route, A, &ask, &Alive, &mut out)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(decision, Ok(Decision::Keep));
        }
        out.0.into_iter().map(|(_, bytes)| bytes).collect()
    }

    fn donor_hears(&mut self, answer: &[u8]) -> Result<DonorEvent, DropReason> {
        let message = Message::decode(&mut Reader::new(answer)).unwrap();
        self.donor.handle_message(at(1), F, &message, &mut Mail::default())
    }

    fn wish(&mut self, to: NodeId) -> Mail {
        let mut out = Mail::default();
        self.donor.ask_move(at(0), 5, to, &mut out);
        out
    }

    fn ask(&mut self, n: u32) -> Mail {
        let mut out = Mail::default();
        self.donor.ask(at(0), n, &key(), &mut out);
        out
    }
}

fn granted(event: Result<DonorEvent, DropReason>) -> Grant {
    match event {
        Ok(DonorEvent::Granted(grant)) => grant,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wish_is_granted_and_decides_no_request() {
    let mut pair = Pair::new();
    let said = pair.wish(B);
    assert_eq!((pair.donor.asking(), pair.donor.asking_move()), (None, Some(B)));
    let answers = pair.front_end_hears(&said, A);
    let grant = granted(pair.donor_hears(&answers[0]));
    assert_eq!((grant.base, grant.e2, grant.to, grant.n, grant.strip), (Epoch(1), Epoch(2), B, 5, None));
    let standing = Standing { has_lease: true, recipient_g: Some(Alive.generation(B)) };
    pair.donor.hand_off(at(2), standing, Box::from([1]), 100, &mut Mail::default()).unwrap();
    let installed = Installed { c: C, e2: grant.e2, g: grant.g };
    let decision = pair.arbiter.handle_installed(&mut pair.route, B, &installed, &Alive, &mut Mail::default());
    assert_eq!(decision, Ok(Decision::Route { to: B, epoch: Epoch(2) }));
}

#[test]
fn nobody_goes_to_the_dead_or_to_himself() {
    for to in [DEAD, A, NodeId(9)] {
        let mut pair = Pair::new();
        let said = pair.wish(to);
        let answers = pair.front_end_hears(&said, A);
        assert_eq!(pair.donor_hears(&answers[0]), Ok(DonorEvent::MoveRejected { to }));
        assert_eq!(pair.route.pending(), None);
        assert_eq!(pair.donor_hears(&answers[0]), Err(DropReason::MessageStale), "once");
        assert_eq!((pair.donor.asking_move(), pair.donor.poll_at()), (None, None));
    }
}

/// A refusal is of a wish, not of a request; of this wish, not of another.
#[test]
fn a_late_refusal_of_a_wish_refuses_nothing_else() {
    let mut pair = Pair::new();
    let reject = |n, to| Message::from(MoveReject { c: C, e: Epoch(1), n, to });
    pair.ask(5);
    let mut out = Mail::default();
    assert_eq!(pair.donor.handle_message(at(1), F, &reject(5, B), &mut out), Err(DropReason::MessageStale));
    pair.wish(B);
    for wrong in [reject(4, B), reject(5, A), MoveReject { c: C, e: Epoch(2), n: 5, to: B }.into()] {
        assert_eq!(pair.donor.handle_message(at(1), F, &wrong, &mut out), Err(DropReason::MessageStale), "{wrong:?}");
    }
    assert_eq!(pair.donor.handle_message(at(1), A, &reject(5, B), &mut out), Err(DropReason::MessageStale), "not F");
    // Nor does an answer about the request end the wish.
    let stay = Stay { c: C, e: Epoch(1), n: 5, strip: 0 };
    assert_eq!(pair.donor.handle_message(at(1), F, &stay.into(), &mut out), Err(DropReason::MessageStale));
    assert_eq!(pair.donor.asking_move(), Some(B));
}

/// What a broken arbiter would do: give the wish an epoch of its own while the request's grant is still on its way. Used later, that one
/// would be unknown at the front-end, and the connection lost.
#[test]
fn a_wish_does_not_void_a_grant_that_is_on_its_way() {
    let mut pair = Pair::new();
    let asked = pair.ask(5);
    let late = pair.front_end_hears(&asked, B);
    let wished = pair.wish(NodeId(3));
    let answers = pair.front_end_hears(&wished, A);
    assert_eq!(answers, late, "the same grant again (R7)");
    let grant = granted(pair.donor_hears(&answers[0]));
    assert_eq!((grant.e2, grant.to, grant.strip), (Epoch(2), B, Some(3)), "it says itself what it is for");
    assert_eq!(pair.donor_hears(&late[0]), Err(DropReason::MessageStale));
}

/// The other way round: the request's question gets the wish's grant.
#[test]
fn a_question_is_answered_with_the_wish_s_grant() {
    let mut pair = Pair::new();
    let wished = pair.wish(B);
    pair.front_end_hears(&wished, A);
    let asked = pair.ask(5);
    let answers = pair.front_end_hears(&asked, A);
    let grant = granted(pair.donor_hears(&answers[0]));
    assert_eq!((grant.e2, grant.to, grant.strip), (Epoch(2), B, None));
    // A question about a later request voids it.
    let asked = pair.ask(6);
    let answers = pair.front_end_hears(&asked, A);
    assert_eq!(pair.donor_hears(&answers[0]), Ok(DonorEvent::Stay { n: 6, strip: 3 }));
    assert_eq!((pair.route.pending(), pair.donor.tried()), (None, Epoch(2)));
}

#[test]
fn a_wish_is_asked_again_and_given_up() {
    let mut pair = Pair::new();
    pair.wish(B);
    let mut asked = 0;
    let event = loop {
        let now = pair.donor.poll_at().unwrap();
        let mut out = Mail::default();
        let event = pair.donor.handle_timeout(now, &mut out);
        if event != DonorEvent::Nothing {
            assert!(now.since(at(0)) < Duration::from_secs(3));
            break event;
        }
        assert_eq!(out.names(), [(0, "MoveAsk")]);
        asked += 1;
    };
    assert_eq!((event, asked), (DonorEvent::Unanswered { n: 5 }, ASK_TRIES_MAX));
    let ready = pair.donor.ready(at(0), Standing { has_lease: true, recipient_g: None });
    assert_eq!(ready, Err(NoHandoff::NoGrant));
}

#[test]
fn the_owner_of_a_forgotten_connection_hears_that_it_is_over() {
    let mut pair = Pair::new();
    let said = pair.wish(B);
    let mut out = Mail::default();
    answer_unknown(A, &Message::decode(&mut Reader::new(&said.0[0].1)).unwrap(), &mut out).unwrap();
    assert_eq!(out.names(), [(1, "Over")]);
}

#[test]
fn a_connection_at_rest_is_known_by_owner_generation_and_epoch() {
    let mut route = RouteState::new(Alive.generation(F));
    let rest = route.at_rest().unwrap();
    assert_eq!((rest.owner, rest.owner_g, rest.epoch), (F, Alive.generation(F), Epoch::FIRST));
    assert_eq!(RouteState::resting(rest), route);
    let mut arbiter = Arbiter::new();
    let refused = arbiter.grant_first(C, &mut route, Epoch::FIRST, A, 0, 0, &Alive).unwrap();
    assert_eq!(route.at_rest(), None, "an attempt is under way");
    arbiter.handle_refused(C, &mut route, refused.e2);
    assert_eq!((route.at_rest(), route.pending()), (None, None), "an epoch above the owner's is burnt");
    let grant = arbiter.grant_first(C, &mut route, refused.e2, B, 0, 0, &Alive).unwrap();
    let installed = Installed { c: C, e2: grant.e2, g: grant.g };
    let _ = arbiter.handle_installed(&mut route, B, &installed, &Alive, &mut Mail::default()).unwrap();
    let rest = route.at_rest().unwrap();
    assert_eq!((rest.owner, rest.owner_g, rest.epoch), (B, Alive.generation(B), Epoch(2)));
    // The next epoch is above all that were given, for the packed one, too.
    let mut again = RouteState::resting(rest);
    for route in [&mut route, &mut again] {
        let move_ask = MoveAsk { c: C, e: Epoch(2), tried: Epoch(2), n: 1, to: A };
        let decision = arbiter.handle_move_ask(at(0), route, B, &move_ask, &Alive, &mut Mail::default());
        assert_eq!((decision, route.pending().map(|grant| grant.e2)), (Ok(Decision::Keep), Some(Epoch(3))));
    }
}
