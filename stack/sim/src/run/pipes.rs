//! A move does not drain the way to the client (I5): there is never half a round trip in which nothing is on it although there is
//! something to send.

use super::pipeline::{far_away, goodput, in_turn, run_cluster, stage};
use super::*;
use crate::check::Lull;
use crate::client::{Request, RequestKind, Script};
use crate::config::Tuning;
use crate::dice::Seed;
use baton_backend::BackEnd;
use baton_backend::serve::Probe;
use baton_stack::addr::Flow;

/// How often the way to a client was drained, and how often a connection moved.
fn drained(scenario: &Scenario) -> (usize, u64) {
    assert!(scenario.is_faultless());
    let mut first = stage(scenario);
    let took = first.drive(scenario);
    let lulls = first.world.observer().checks.lulls().to_vec();
    let report = first.judge(scenario, took);
    assert_eq!((report.violations, report.finished), (vec![], scenario.connections()));
    // The same once more, to ask the owner of the moment about its window: nobody owns a connection that is on its way.
    let mut again = stage(scenario);
    let mut in_order = lulls;
    in_order.sort_by_key(|lull| lull.asked_at);
    let vip = Plan::new(scenario.seed, scenario.back_ends, scenario.family).vip;
    let mut drained = 0;
    for Lull { client, asked_at, .. } in in_order {
        again.world.run_until(asked_at);
        let flow = Flow { client, vip };
        let owner = again.members[1..].iter().find_map(|&device| {
            let now = again.world.node_time(device);
            again.world.node::<BackEnd<Probe>>(device)?.tcp_info(now, &flow)
        });
        drained += usize::from(owner.is_none_or(|info| info.in_flight + info.snd_mss <= info.cwnd));
    }
    (drained, report.tally.moves)
}

/// Pipelined streams for several back-ends, drawn from the seed: sizes, depths, ways, rates.
fn streams(seed: u64) -> Scenario {
    let mut dice = Seed(seed).stream("pipes");
    let back_ends = dice.size(2, 4);
    let delay = Duration::from_millis([5, 20, 50][dice.size(0, 2)]);
    let bandwidth = [None, Some(50_000_000), Some(1_000_000_000)][dice.size(0, 2)];
    let mut script = || {
        let mut owner = 0;
        let mut request = |seed: u64| {
            owner = (owner + dice.size(1, back_ends - 1)) % back_ends;
            let len = [dice.size(1, 2_000), dice.size(2_000, 60_000), dice.size(60_000, 400_000)][dice.size(0, 2)];
            Request { back_end: Some(owner + 1), kind: RequestKind::Bytes, len, seed }
        };
        let requests = (0..40).map(&mut request).collect();
        let start = Duration::from_micros(dice.between(1_000_000, 1_500_000));
        Script { start, requests, depth: [4, 16][dice.size(0, 1)], receive_buffer: 2 << 20, ..Script::default() }
    };
    let clients = vec![vec![script(), script()], vec![script()]];
    let link = LinkSettings { delay, ..LinkSettings::default() };
    let base = far_away(Vec::new(), 1, back_ends);
    Scenario { seed: Seed(seed), clients, uplink: link, downlink: LinkSettings { bandwidth, ..link }, ..base }
}

/// The same, with donors that wait until all is acknowledged.
fn draining(scenario: &Scenario) -> Scenario {
    let tuning = Tuning { drain_before_moves: true, ..scenario.tuning };
    Scenario { tuning, ..scenario.clone() }
}

#[test]
fn no_move_drains_the_way_to_a_client() {
    let (mut windows, mut moves) = (0, 0);
    for seed in 1..=12 {
        let found = drained(&streams(seed));
        assert_eq!(found.0, 0, "seed {seed}: drained {} times in {} moves", found.0, found.1);
        (windows, moves) = (windows + found.0, moves + found.1);
    }
    println!("{windows} drained windows in {moves} moves");
    assert!(moves > 1_400, "{moves}");
}

/// The comparison, and the proof that the checker sees: whoever waits for acknowledgments drains at each move.
#[test]
fn waiting_for_acknowledgments_drains_at_every_move() {
    let requests = in_turn(&[1, 2], 41, 400_000);
    let moving = far_away(requests, 4, 2);
    let waiting = draining(&moving);
    let staying = far_away(in_turn(&[1], 41, 400_000), 4, 2);
    let (found, moves) = drained(&waiting);
    let without = drained(&moving);
    println!("{found} drained windows in {moves} moves with draining, {} in {} without", without.0, without.1);
    assert_eq!(without, (0, 41));
    // The first is the front-end's, of a connection on which nothing was sent.
    assert!(moves == 41 && found >= 40, "{found} in {moves}");
    let share = |scenario: &Scenario| goodput(&run_cluster(scenario), scenario);
    let (fast, slow, one) = (share(&moving), share(&waiting), share(&staying));
    println!("goodput of one back-end's: {:.3}, with draining {:.3}", fast / one, slow / one);
    assert!(fast / one >= 0.97 && slow / one < 0.9, "{fast} {slow} {one}");
}
