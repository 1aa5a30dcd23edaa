//! A burst of frames gives what its frames give one by one: what is sent on, what is answered, what is counted and what becomes of every
//! connection. With few routes, and with so many that a burst's routes are looked at ahead.

use baton_benches::client::Client;
use baton_benches::cluster::{BURST, Cluster};
use baton_benches::frame::Buffer;
use baton_frontend::stats::{Command, Reply, Snapshot};
use baton_stack::node::{Frame, Node, PortId, Verdict};
use baton_stack::time::Duration;
use handoff_proto::admin::{ConnectionInfo, PAGE_MAX, Page};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const PORT: PortId = PortId(0);
/// From here on a front-end looks at a burst's routes ahead: the constant is its own.
const MANY: u32 = 2_048;
/// More than are looked at ahead at once, more than a receive burst.
const FRAMES_MAX: usize = 80;
const CASES: u32 = 60;

/// One frame of a client.
#[derive(Clone, Debug)]
struct Drawn {
    /// Which of the clients: those behind the last are not known.
    client: prop::sample::Index,
    is_known: bool,
    kind: Kind,
    /// A byte that is damaged on the way.
    damage: Option<(prop::sample::Index, u8)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Ack,
    Request,
    Fin,
    Syn,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let kind = prop_oneof![6 => Just(Kind::Ack), 3 => Just(Kind::Request), 1 => Just(Kind::Fin), 1 => Just(Kind::Syn)];
    let damage = prop::option::weighted(0.15, (any::<prop::sample::Index>(), 1..=u8::MAX));
    (any::<prop::sample::Index>(), prop::bool::weighted(0.8), kind, damage)
        .prop_map(|(client, is_known, kind, damage)| Drawn { client, is_known, kind, damage })
}

/// A cluster, and clients whose connections a back-end owns.
struct Bed {
    cluster: Cluster,
    clients: Vec<Client>,
}

/// What came of some frames.
#[derive(PartialEq, Debug)]
struct Outcome {
    /// Of each frame its verdict, and its bytes if it was sent on.
    frames: Vec<(Verdict, Option<Vec<u8>>)>,
    /// What the node wrote, meanwhile and with its next poll.
    written: Vec<Vec<u8>>,
}

impl Bed {
    fn new(connections: u32) -> Self {
        let limit = usize::try_from(connections).unwrap() + 4_096;
        let mut cluster = Cluster::start(2, limit).unwrap();
        let prefix = |number: u32| if number.is_multiple_of(2) { "" } else { "/be2" };
        let clients = (0..connections).map(|number| cluster.connect(number, prefix(number)).unwrap()).collect();
        Self { cluster, clients }
    }

    fn frame(&mut self, drawn: &Drawn) -> Vec<u8> {
        let Self { cluster, clients } = self;
        let number = drawn.client.index(clients.len());
        let mut stranger = Client::new(1_000_000 + u32::try_from(number).unwrap());
        let client = if drawn.is_known { &mut clients[number] } else { &mut stranger };
        client.tick(1);
        let frame = match drawn.kind {
            Kind::Ack => client.acknowledge(&mut cluster.wire),
            Kind::Request => client.request(&mut cluster.wire, "/100"),
            Kind::Fin => client.fin(&mut cluster.wire),
            Kind::Syn => client.syn(&mut cluster.wire),
        };
        let mut bytes = frame.bytes().to_vec();
        cluster.wire.free(frame);
        if let Some((at, by)) = &drawn.damage {
            let at = at.index(bytes.len());
            bytes[at] ^= by;
        }
        bytes
    }

    /// Hands frames in, at most `at_once` in one call.
    fn take(&mut self, frames: &[Vec<u8>], at_once: usize) -> Outcome {
        let Cluster { front_end, wire, now, .. } = &mut self.cluster;
        let mut outcome = Outcome { frames: vec![], written: vec![] };
        for frames in frames.chunks(at_once) {
            let mut frames: Vec<Buffer> = frames.iter().map(|bytes| wire.frame(bytes)).collect();
            let mut verdicts = vec![Verdict::Free; frames.len()];
            if at_once == 1 {
                verdicts[0] = front_end.handle_frame(*now, PORT, &mut frames[0], wire);
            } else {
                front_end.handle_burst(*now, PORT, &mut frames, &mut verdicts, wire);
            }
            for (frame, verdict) in frames.into_iter().zip(verdicts) {
                let bytes = matches!(verdict, Verdict::Forward(_)).then(|| frame.bytes().to_vec());
                outcome.frames.push((verdict, bytes));
                wire.free(frame);
            }
        }
        front_end.poll(*now, wire);
        outcome.written = wire.drain().map(|frame| frame.bytes().to_vec()).collect();
        *now = *now + Duration::from_micros(70);
        outcome
    }

    fn numbers(&mut self) -> Snapshot {
        let now = self.cluster.now;
        let Reply::Stats(snapshot) = self.cluster.front_end.handle_command(now, Command::Stats) else {
            panic!("its numbers")
        };
        *snapshot
    }

    fn connections(&mut self) -> Vec<ConnectionInfo> {
        let (now, mut all, mut from) = (self.cluster.now, vec![], Some(0));
        while let Some(place) = from {
            let page = Command::Connections(Page { from: place, limit: PAGE_MAX });
            let Reply::Connections(page) = self.cluster.front_end.handle_command(now, page) else { panic!("a page") };
            all.extend(page.list);
            from = page.next;
        }
        all
    }
}

/// Draws bursts, and gives each to one node as it is and to its twin frame by frame.
fn compare(connections: u32) {
    let (mut bursts, mut singles) = (Bed::new(connections), Bed::new(connections));
    let before = bursts.numbers();
    assert_eq!(before, singles.numbers());
    assert_eq!(before.connections, usize::try_from(connections).unwrap());
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let strategy =
        (prop::collection::vec(drawn(), 1..FRAMES_MAX), prop::sample::select(vec![2, 3, 4, BURST, FRAMES_MAX]));
    // The nodes go on from case to case: what one leaves behind, the next finds.
    let (bursts, singles) = (std::cell::RefCell::new(&mut bursts), std::cell::RefCell::new(&mut singles));
    let played = runner.run(&strategy, |(drawn, at_once)| {
        let (mut bursts, mut singles) = (bursts.borrow_mut(), singles.borrow_mut());
        let frames: Vec<Vec<u8>> = drawn.iter().map(|drawn| bursts.frame(drawn)).collect();
        let same: Vec<Vec<u8>> = drawn.iter().map(|drawn| singles.frame(drawn)).collect();
        prop_assert_eq!(&frames, &same, "the clients are twins, too");
        prop_assert_eq!(bursts.take(&frames, at_once), singles.take(&frames, 1), "{} at once", at_once);
        prop_assert_eq!(bursts.numbers(), singles.numbers());
        Ok(())
    });
    played.unwrap();
    let (mut bursts, mut singles) = (bursts.borrow_mut(), singles.borrow_mut());
    assert_eq!(bursts.connections(), singles.connections());
    let after = bursts.numbers();
    assert!(after.stats.forwarded_packets > before.stats.forwarded_packets + 500, "most of it was the short way");
    assert!(after.stats.syns > before.stats.syns, "and not all");
}

#[test]
fn a_burst_gives_what_single_frames_give_with_few_routes() {
    compare(60);
}

#[test]
fn a_burst_gives_what_single_frames_give_with_one_route_less_than_many() {
    compare(MANY - 1);
}

#[test]
fn a_burst_gives_what_single_frames_give_with_routes_that_are_looked_at_ahead() {
    compare(MANY + 200);
}
