//! The arithmetic of leases: one node and its front-end, with a clock, and messages that take as long as they like.

use baton_stack::addr::IpAddr;
use baton_stack::time::{Duration, Instant};
use handoff_proto::arbiter::Nodes;
use handoff_proto::codec::Reader;
use handoff_proto::lease::{HolderEvent, LeaseBoard, LeaseHolder, LeaseSettings, NodeConfig};
use handoff_proto::message::{Lease, LoadReport, Message};
use handoff_proto::names::{Boot, Generation, NodeId};
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::net::Mail;

const NODE: NodeId = NodeId(1);
const STEP: Duration = Duration::from_millis(300);
const LOAD: LoadReport = LoadReport { connections: 0, requests: 0, bytes: 0, busy_permille: 0 };

/// How many messages are on their way in each direction; one more, and the oldest is lost.
const ON_THE_WAY_MAX: usize = 2;

/// How long it runs, and what is wrong with it.
struct Leases {
    steps: u8,
    /// How much faster than the node's the front-end's clock runs, in thousandths.
    skew_permille: u32,
    /// Any LEASE answers the newest request.
    answers_count_late: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Pair {
    steps: u8,
    holder: LeaseHolder,
    board: LeaseBoard,
    /// On their way to the front-end, and to the node.
    requests: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    /// The number of the node's newest request.
    newest: u32,
    /// The node's process is stopped.
    is_stopped: bool,
    has_been_buried: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// Time passes, and both do what is due.
    Time,
    /// A request, or an answer, arrives; what arrives is gone.
    Request(usize),
    Answer(usize),
    /// The node's process stops, or goes on.
    Stop,
}

fn put(on_the_way: &mut Vec<Vec<u8>>, bytes: Vec<u8>) {
    if on_the_way.len() >= ON_THE_WAY_MAX {
        on_the_way.remove(0);
    }
    on_the_way.push(bytes);
}

impl Leases {
    fn at_node(&self, pair: &Pair) -> Instant {
        Instant::from_micros(1_000_000) + STEP * u32::from(pair.steps)
    }

    fn at_front_end(&self, pair: &Pair) -> Instant {
        Instant::from_micros(1_000_000) + STEP * u32::from(pair.steps) * (1_000 + self.skew_permille) / 1_000
    }

    fn time(&self, pair: &mut Pair) {
        pair.steps += 1;
        if !pair.is_stopped {
            let mut mail = Mail::default();
            match pair.holder.handle_timeout(self.at_node(pair), &LOAD, &mut mail) {
                HolderEvent::Nothing | HolderEvent::Lapsed => {}
            }
            for (_, bytes) in mail.0 {
                pair.newest = match Message::decode(&mut Reader::new(&bytes)).expect("it was encoded") {
                    Message::Join(join) => join.number,
                    Message::LeaseReq(request) => request.number,
                    _ => pair.newest,
                };
                put(&mut pair.requests, bytes);
            }
        }
        pair.board.handle_timeout(self.at_front_end(pair));
        while pair.board.poll_event().is_some() {}
        pair.has_been_buried |= pair.board.generation(NODE) == Generation::NONE && pair.newest > 1;
    }

    fn request(&self, pair: &mut Pair, index: usize) {
        let bytes = pair.requests.remove(index);
        let (now, mut mail) = (self.at_front_end(pair), Mail::default());
        let _ = match Message::decode(&mut Reader::new(&bytes)).expect("it was encoded") {
            Message::Join(join) => pair.board.handle_join(now, NODE, &join, &mut mail),
            Message::LeaseReq(request) => pair.board.handle_lease_req(now, NODE, &request, &mut mail),
            _ => Ok(()),
        };
        while pair.board.poll_event().is_some() {}
        for (_, bytes) in mail.0 {
            put(&mut pair.answers, bytes);
        }
    }

    fn answer(&self, pair: &mut Pair, index: usize) {
        let bytes = pair.answers.remove(index);
        let now = self.at_node(pair);
        if let Message::Lease(lease) = Message::decode(&mut Reader::new(&bytes)).expect("it was encoded") {
            let number = if self.answers_count_late { pair.newest } else { lease.number };
            let _ = pair.holder.handle_lease(now, &Lease { number, ..lease });
        }
    }
}

impl Model for Leases {
    type State = Pair;
    type Action = Step;

    fn init_states(&self) -> Vec<Pair> {
        let config = NodeConfig { name: "be1".into(), addr: IpAddr::from([10, 0, 0, 1]), core: 0 };
        let settings = LeaseSettings::default();
        vec![Pair {
            steps: 0,
            holder: LeaseHolder::new(settings, Boot(1)),
            board: LeaseBoard::new(settings, Boot(1), [config]),
            requests: vec![],
            answers: vec![],
            newest: 0,
            is_stopped: false,
            has_been_buried: false,
        }]
    }

    fn actions(&self, pair: &Pair, actions: &mut Vec<Step>) {
        if pair.steps < self.steps {
            actions.push(Step::Time);
        }
        actions.extend((0..pair.requests.len()).map(Step::Request));
        if pair.is_stopped {
            actions.push(Step::Stop);
        } else {
            actions.extend((0..pair.answers.len()).map(Step::Answer));
            if pair.holder.generation() != Generation::NONE && !pair.has_been_buried {
                actions.push(Step::Stop);
            }
        }
    }

    fn next_state(&self, last: &Pair, action: Step) -> Option<Pair> {
        let mut pair = last.clone();
        match action {
            Step::Time => self.time(&mut pair),
            Step::Request(index) => self.request(&mut pair, index),
            Step::Answer(index) => self.answer(&mut pair, index),
            Step::Stop => pair.is_stopped = !pair.is_stopped,
        }
        Some(pair)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            // R2: whoever may speak is not given up, and is not taken for another life.
            Property::always("who may speak is up", |run: &Self, pair: &Pair| {
                let speaks = pair.holder.is_valid(run.at_node(pair));
                !speaks || pair.board.generation(NODE) == pair.holder.generation()
            }),
            Property::sometimes("given up, and back", |run: &Self, pair: &Pair| {
                pair.has_been_buried && pair.holder.is_valid(run.at_node(pair))
            }),
        ]
    }
}

fn run(leases: Leases, steps: HasDiscoveries) -> Vec<&'static str> {
    let checker = leases.checker().finish_when(steps).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let mut found: Vec<_> = checker.discoveries().into_keys().collect();
    found.sort_unstable();
    println!("leases: {states} states, {} transitions, depth {depth}: {found:?}", checker.state_count());
    found
}

#[test]
fn a_node_that_may_speak_is_not_given_up() {
    let leases = Leases { steps: 8, skew_permille: 0, answers_count_late: false };
    assert_eq!(run(leases, HasDiscoveries::All), ["given up, and back"]);
}

/// A front-end's clock that runs a sixth faster than the node's is what a margin of 300 ms to 1,500 ms allows.
#[test]
fn clocks_may_differ_by_the_margin() {
    let leases = Leases { steps: 8, skew_permille: 160, answers_count_late: false };
    assert_eq!(run(leases, HasDiscoveries::All), ["given up, and back"]);
    let leases = Leases { steps: 9, skew_permille: 500, answers_count_late: false };
    assert!(run(leases, HasDiscoveries::AnyFailures).contains(&"who may speak is up"), "and not by more");
}

/// A lease that counts from any but the request that it answers.
#[test]
fn a_lapsed_lease_renewed() {
    let leases = Leases { steps: 9, skew_permille: 0, answers_count_late: true };
    assert!(run(leases, HasDiscoveries::AnyFailures).contains(&"who may speak is up"));
}
