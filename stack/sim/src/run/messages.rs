//! What moves cost in messages and datagrams, counted at all nodes.

use super::pipeline::{far_away, in_turn, stage};
use super::*;
use crate::client::{Close, Request, RequestKind, Script};
use baton_backend::BackEnd;
use baton_backend::serve::Probe;
use baton_backend::stats::{Command, Reply};
use baton_frontend::FrontEnd;
use baton_stack::node::Node;
use std::collections::BTreeMap;

/// What there is between nodes without any connection.
const HEARTBEAT: [&str; 3] = ["Join", "LeaseReq", "Lease"];

/// What all nodes together have said so far, but for heartbeats, and how many connections back-ends have given away.
#[derive(Clone, Default, Debug)]
struct Said {
    messages: BTreeMap<&'static str, u64>,
    datagrams: u64,
    moves: u64,
}

impl Said {
    fn until(stage: &mut Stage, at: Duration) -> Self {
        stage.world.run_until(Instant::ZERO + at);
        let mut said = Self::default();
        let members = stage.members.clone();
        for (n, device) in members.into_iter().enumerate() {
            let now = stage.world.node_time(device);
            let traffic = if n == 0 {
                let node = stage.world.node_mut::<FrontEnd>(device).unwrap();
                let ask = baton_frontend::stats::Command::Stats;
                let baton_frontend::stats::Reply::Stats(numbers) = node.handle_command(now, ask) else { panic!() };
                numbers.said
            } else {
                let node = stage.world.node_mut::<BackEnd<Probe>>(device).unwrap();
                let Reply::Stats(numbers) = node.handle_command(now, Command::Stats) else { panic!() };
                said.moves += numbers.stats.handoffs_done;
                numbers.said
            };
            said.datagrams += traffic.datagrams;
            for (name, count) in traffic.messages().filter(|(name, _)| !HEARTBEAT.contains(name)) {
                *said.messages.entry(name).or_default() += count;
            }
        }
        said
    }

    fn since(&self, before: &Self) -> Self {
        let less = |(name, count): (&&'static str, &u64)| (*name, count - before.messages[name]);
        Self {
            messages: self.messages.iter().map(less).filter(|(_, count)| *count > 0).collect(),
            datagrams: self.datagrams - before.datagrams,
            moves: self.moves - before.moves,
        }
    }

    fn count(&self) -> u64 {
        self.messages.values().sum()
    }
}

/// What is said in a move, and the hint if there is one.
fn wanted(of_move: &[(&'static str, u64)], prefetch: bool) -> BTreeMap<&'static str, u64> {
    of_move.iter().copied().chain(prefetch.then_some(("Prefetch", 1))).collect()
}

/// A connection with nothing in flight goes on to another back-end: seven messages, each of one kind, and a hint.
#[test]
fn a_move_of_an_idle_connection_takes_seven_messages_and_a_hint() {
    for prefetch in [false, true] {
        let mut scenario = far_away(in_turn(&[1, 2, 2], 3, 1_000), 1, 2);
        scenario.clients[0][0].think = Duration::from_secs(1);
        scenario.tuning.prefetch = prefetch;
        let mut stage = stage(&scenario);
        let before = Said::until(&mut stage, Duration::from_millis(1_900));
        let said = Said::until(&mut stage, Duration::from_millis(2_400)).since(&before);
        println!("{said:?}");
        assert_eq!(said.moves, 1);
        let seven = [("Ask", 1), ("Done", 1), ("Grant", 1), ("Handoff", 1), ("Installed", 2), ("Routed", 1)];
        assert_eq!(said.messages, wanted(&seven, prefetch));
    }
}

/// Two pipelined requests for two back-ends, with a megabyte in flight when the first response ends; 40 ms from the client.
fn with_a_window_in_flight() -> Scenario {
    let mut requests = in_turn(&[1, 2], 2, 20_000_000);
    requests[1].len = 1_000;
    let mut scenario = far_away(requests, 2, 2);
    scenario.clients[0][0].close = Close::Abort;
    scenario
}

/// What is in flight stays with the donor: eight messages until nobody keeps anything, and a hint.
#[test]
fn a_move_with_a_window_in_flight_takes_eight_messages_and_a_hint() {
    for prefetch in [false, true] {
        let mut scenario = with_a_window_in_flight();
        let last = Request { back_end: Some(2), ..scenario.clients[0][0].requests[1].clone() };
        scenario.clients[0][0].requests.push(last);
        scenario.clients[0][0].think = Duration::from_secs(2);
        scenario.tuning.prefetch = prefetch;
        let mut stage = stage(&scenario);
        // The first handoff is over, and the third request has not come.
        let before = Said::until(&mut stage, Duration::from_millis(1_300));
        let said = Said::until(&mut stage, Duration::from_secs(4)).since(&before);
        println!("{said:?}");
        assert_eq!(said.moves, 1);
        let eight = [("Ask", 1), ("Grant", 1), ("Handoff", 1), ("Installed", 2), ("Routed", 1)];
        let eight = [&eight[..], &[("Release", 1), ("Released", 1)]].concat();
        assert_eq!(said.messages, wanted(&eight, prefetch));
    }
}

/// Between the donor's last byte and the recipient's first, one message passes: the image.
#[test]
fn one_message_passes_between_two_owners() {
    let scenario = with_a_window_in_flight();
    let report = run(&scenario, Subject::Cluster, Recorders::default());
    assert_eq!((report.violations, report.tally.moves), (vec![], 2));
    let first_byte = report.tally.last_move_at.since(Instant::ZERO);
    let last_byte = first_byte - report.tally.gap_max;
    println!("{:?} from the donor's last byte to the recipient's first", report.tally.gap_max);
    let tick = Duration::from_micros(1);
    let mut stage = stage(&scenario);
    let before = Said::until(&mut stage, last_byte - tick);
    let said = Said::until(&mut stage, first_byte - tick).since(&before);
    assert_eq!((said.messages, said.datagrams), (BTreeMap::from([("Handoff", 1)]), 1));
}

/// Ten thousand moves in a second, between three back-ends: single requests, for whose ASK, GRANT and HANDOFF somebody waits.
#[test]
fn at_ten_thousand_moves_a_second_messages_share_datagrams() {
    let (hosts, connections, per_second) = (10, 10, 10_000);
    let count = hosts * connections;
    let every = Duration::from_micros(1_000_000 * count / per_second);
    let mut scenario = far_away(Vec::new(), 1, 3);
    let script = |n: u64| {
        let mut dice = scenario.seed.stream(&format!("connection {n}"));
        let start = Duration::from_secs(1) + Duration::from_micros(dice.between(0, 10_000));
        let mut owner = 0;
        // Each is for one of the two others.
        let mut request = |seed: u64| {
            owner = (owner + dice.size(1, 2)) % 3;
            Request { back_end: Some(owner + 1), kind: RequestKind::Bytes, len: 1_000, seed }
        };
        let think = every - Duration::from_micros(1_000);
        Script { start, requests: (0..100).map(&mut request).collect(), think, ..Script::default() }
    };
    scenario.clients =
        (0..hosts).map(|host| (0..connections).map(|n| script(host * connections + n)).collect()).collect();
    let link = LinkSettings { delay: Duration::from_micros(50), ..LinkSettings::default() };
    (scenario.uplink, scenario.downlink) = (link, link);
    let mut stage = stage(&scenario);
    let before = Said::until(&mut stage, Duration::from_millis(1_200));
    let said = Said::until(&mut stage, Duration::from_millis(1_700)).since(&before);
    println!("in half a second: {said:?}, {} messages", said.count());
    assert!(said.moves >= 5_000, "{said:?}");
    assert!(said.count() <= said.moves * 8 && said.datagrams <= said.moves * 3, "{said:?}");
}
