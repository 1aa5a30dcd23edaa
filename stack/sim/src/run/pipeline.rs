//! Pipelined requests for several back-ends: nothing waits, nothing is copied.

use super::*;
use crate::client::{Request, RequestKind, Script};
use crate::plan::Family;
use crate::scenario::{Severity, Wishes};
use baton_backend::BackEnd;
use baton_backend::serve::{Probe, Service};
use baton_backend::stats::{Command, Reply, Snapshot};
use baton_stack::node::Node;
use baton_stack::tcp::CloseReason;

/// Between a client and the cluster, one way.
pub(super) const DELAY: Duration = Duration::from_millis(20);

/// One client with one connection, 40 ms away, on links that lose nothing.
pub(super) fn far_away(requests: Vec<Request>, depth: usize, back_ends: usize) -> Scenario {
    let wishes = Wishes {
        severity: Some(Severity::Clean),
        family: Some(Family::V4),
        back_ends: Some(back_ends),
        ..Wishes::default()
    };
    let link = LinkSettings { delay: DELAY, ..LinkSettings::default() };
    let start = Duration::from_secs(1);
    let script = Script { start, requests, depth, receive_buffer: 2 << 20, ..Script::default() };
    let (clients, moves) = (vec![vec![script]], Vec::new());
    Scenario { clients, uplink: link, downlink: link, moves, ..Scenario::with(1, &wishes) }
}

/// `times` requests of `len` bytes, for the back-ends in turn.
pub(super) fn in_turn(back_ends: &[usize], times: usize, len: usize) -> Vec<Request> {
    let request = |(n, k)| Request { back_end: Some(k), kind: RequestKind::Bytes, len, seed: n };
    (0..).zip(back_ends.iter().copied().cycle().take(times)).map(request).collect()
}

pub(super) fn run_cluster(scenario: &Scenario) -> Report {
    let report = run(scenario, Subject::Cluster, Recorders::default());
    assert_eq!(report.violations, []);
    assert_eq!((report.finished, report.cut_short), (scenario.connections(), 0));
    report
}

/// Bytes that clients were sent, per second.
#[expect(clippy::cast_precision_loss, reason = "a ratio of two of them is all that is wanted")]
pub(super) fn goodput(report: &Report, scenario: &Scenario) -> f64 {
    let start = scenario.clients[0][0].start;
    report.tally.bytes as f64 / (report.tally.last_byte_at.since(Instant::ZERO) - start).as_secs_f64()
}

/// A cluster that has not begun.
pub(super) fn stage(scenario: &Scenario) -> Stage {
    stage_that_serves(scenario, || Probe)
}

fn stage_that_serves<S: Service + 'static>(scenario: &Scenario, service: impl Fn() -> S + Copy + 'static) -> Stage {
    let plan = Plan::new(scenario.seed, scenario.back_ends, scenario.family);
    let members = crate::cluster::members_that_serve(&plan, &scenario.tuning, service);
    Stage::build(scenario, Cast { members, plan, is_reference: false }, Recorders::default())
}

/// Runs it, and gives the back-ends' numbers too.
pub(super) fn run_and_ask(scenario: &Scenario) -> (Report, Vec<Snapshot>) {
    run_serving(scenario, || Probe)
}

/// As [`run_and_ask`], with back-ends that serve what `service` makes.
pub(super) fn run_serving<S: Service + 'static>(
    scenario: &Scenario,
    service: impl Fn() -> S + Copy + 'static,
) -> (Report, Vec<Snapshot>) {
    let mut stage = stage_that_serves(scenario, service);
    let took = stage.drive(scenario);
    let at = stage.world.now();
    let members = stage.members.clone();
    let nodes = members.into_iter().skip(1).filter_map(|device| {
        let node = stage.world.node_mut::<BackEnd<S>>(device)?;
        let Reply::Stats(snapshot) = node.handle_command(at, Command::Stats) else { panic!("no numbers") };
        Some(*snapshot)
    });
    let snapshots = nodes.collect();
    let report = stage.judge(scenario, took);
    assert_eq!(report.violations, []);
    (report, snapshots)
}

pub(super) fn sum(snapshots: &[Snapshot], number: impl Fn(&Snapshot) -> u64) -> u64 {
    snapshots.iter().map(number).sum()
}

/// At 40 ms, requests for two back-ends in turn, 100 KB each, four at a time, are answered as fast as by one back-end.
#[test]
fn a_pipeline_across_back_ends_is_as_fast_as_one_back_end() {
    let (moving, staying) = (in_turn(&[1, 2], 100, 100_000), in_turn(&[1], 100, 100_000));
    let (moving, staying) = (far_away(moving, 4, 2), far_away(staying, 4, 2));
    let (moved, stayed) = (run_cluster(&moving), run_cluster(&staying));
    let ratio = goodput(&moved, &moving) / goodput(&stayed, &staying);
    println!("goodput moving / staying: {ratio:.3}\nmoving: {:?}\nstaying: {:?}", moved.tally, stayed.tally);
    assert_eq!((moved.tally.moves, stayed.tally.moves), (100, 1));
    assert!(ratio >= 0.97, "{ratio}");
    let per_move = (moved.tally.datagrams - stayed.tally.datagrams, moved.tally.handed_bytes);
    println!("per move: {} datagrams, {} bytes between back-ends", per_move.0 / 100, per_move.1 / 100);
    assert!(per_move.0 <= 100 * 9 && per_move.1 <= 100 * 1_500, "{per_move:?}");
}

/// The question who serves a request is asked, and asked again, while a response goes out that takes longer than a grant is
/// good for: when its last byte is sent, nothing is in the way of the move but the image's own way.
#[test]
fn a_grant_is_at_hand_when_a_long_response_ends() {
    let mut requests = in_turn(&[1, 2], 2, 2_000_000);
    requests[1].len = 1_000;
    let one_way = Duration::from_millis(5);
    let mut scenario = far_away(requests, 2, 2);
    // Six seconds for the response, and for what the send queue takes at once still more than one. The link, not the window, says
    // when a segment can leave: every four milliseconds.
    scenario.downlink = LinkSettings { bandwidth: Some(3_000_000), ..scenario.downlink };
    let client = &mut scenario.clients[0][0];
    (client.receive_buffer, client.delayed_ack) = (32_000, false);
    scenario.cluster_link = LinkSettings { delay: one_way / 2, ..scenario.cluster_link };
    let report = run_cluster(&scenario);
    assert_eq!(report.tally.moves, 2);
    assert!(report.tally.gap_max < one_way * 2, "{:?}", report.tally);
}

/// Sixteen requests for four back-ends are sent at once. Each is asked about as soon as its head is read, so the responses leave one behind the other,
/// in order, and between two of them there is the image's own way and nothing else, though four back-ends take part.
#[test]
fn requests_for_several_back_ends_leave_in_order_without_an_idle_gap() {
    let mut requests = in_turn(&[1, 2, 3, 4], 16, 60_000);
    // The first is long enough for the window to open; from then on the link says when a segment can leave, every four milliseconds.
    requests[0].len = 2_000_000;
    let one_way = Duration::from_millis(5);
    let mut scenario = far_away(requests, 16, 4);
    scenario.downlink = LinkSettings { bandwidth: Some(3_000_000), ..scenario.downlink };
    let client = &mut scenario.clients[0][0];
    (client.receive_buffer, client.delayed_ack) = (32_000, false);
    scenario.cluster_link = LinkSettings { delay: one_way / 2, ..scenario.cluster_link };
    let (report, snapshots) = run_and_ask(&scenario);
    assert_eq!((report.tally.moves, report.answers, report.tally.resets), (16, 16, 0));
    // One question each, but for the first request and what is asked again while the long response goes out.
    let asks = sum(&snapshots, |node| node.stats.asks);
    assert!((15..15 + 15).contains(&asks), "{asks}");
    assert!(report.tally.gap_max < one_way * 2, "{:?}", report.tally);
}

/// With a megabyte in flight, a move costs what the handoff itself needs: nothing of what was sent is copied.
#[test]
fn a_loss_free_move_copies_nothing() {
    let mut requests = in_turn(&[1, 2], 2, 20_000_000);
    requests[1].len = 1_000;
    let (report, snapshots) = run_and_ask(&far_away(requests, 2, 2));
    assert_eq!((report.tally.moves, report.tally.resets), (2, 0));
    // The first image comes from the front-end, the second with the message that it was installed; then the tail is let go.
    assert!(report.tally.handed_bytes < 4_000, "{:?}", report.tally);
    assert_eq!(sum(&snapshots, |node| node.tails.counts.kept), 1);
    assert_eq!(sum(&snapshots, |node| node.tails.counts.fetched_bytes + node.tails.counts.pushed_bytes), 0);
    assert_eq!(sum(&snapshots, |node| node.tails.bytes), 0);
}

/// What is lost of a tail comes from who keeps it. Nobody keeps anything when the client has all.
#[test]
fn a_lost_range_is_fetched_from_a_chain_of_holders() {
    let mut fetches = 0;
    for (seed, loss_ppm) in [(1, 10_000), (2, 30_000), (3, 30_000), (4, 60_000)] {
        let mut scenario = far_away(in_turn(&[1, 2, 3], 30, 60_000), 16, 3);
        scenario.seed = crate::dice::Seed(seed);
        scenario.downlink = LinkSettings { loss_ppm, ..scenario.downlink };
        scenario.healed_at = Duration::from_secs(60);
        let (report, snapshots) = run_and_ask(&scenario);
        assert_eq!((report.finished, report.tally.resets), (1, 0), "{report}");
        fetches += sum(&snapshots, |node| node.stats.fetches);
        assert_eq!(sum(&snapshots, |node| node.tails.counts.gone), 0);
        assert_eq!(sum(&snapshots, |node| node.tails.bytes + node.store.0 as u64), 0, "seed {seed}: something is left");
    }
    assert!(fetches > 20, "{fetches}");
}

/// A response is in flight, on a link that loses, and its connection has just gone on to another back-end, when something
/// happens to the node that has sent it.
fn after_a_move(seed: u64, loss_ppm: u32, trouble: Trouble) -> (Report, Vec<Snapshot>) {
    let mut requests = in_turn(&[1, 2], 2, 300_000);
    requests[1].len = 2_000_000;
    let mut scenario = far_away(requests, 2, 2);
    scenario.seed = crate::dice::Seed(seed);
    scenario.downlink = LinkSettings { loss_ppm, ..scenario.downlink };
    let moved_at = run_cluster(&scenario).tally.last_move_at.since(Instant::ZERO);
    scenario.troubles = vec![(moved_at + Duration::from_millis(10), trouble)];
    run_and_ask(&scenario)
}

/// A holder dies while what it kept is needed: the connection is reset, once, and counted. Where it is not needed, nothing happens.
#[test]
fn a_dead_holder_resets_once() {
    let (mut lost, mut lived) = (0, 0);
    for seed in 1..13 {
        let (report, snapshots) = after_a_move(seed, 10_000, Trouble::Crash(1));
        let at = CloseReason::ALL.iter().position(|reason| *reason == CloseReason::TailLost).unwrap();
        let here = sum(&snapshots, |node| node.stats.closed[at]);
        assert!(here <= 1 && (report.tally.resets > 0) == (here > 0), "{report}");
        assert_eq!(report.finished, 1 - usize::from(here > 0), "{report}");
        (lost, lived) = (lost + here, lived + report.finished);
    }
    assert!(lost > 0 && lived > 0, "{lost} reset, {lived} not");
}

/// An owner dies, and with it whoever could say what the holder need not keep any more: the front-end says so when it is asked.
#[test]
fn a_tail_whose_owner_has_died_is_let_go() {
    for seed in 1..7 {
        let (report, snapshots) = after_a_move(seed, 10_000, Trouble::Crash(2));
        assert!(report.tally.resets > 0, "{report}");
        let count =
            |number: fn(&handoff_proto::tail::TailCounts) -> u64| sum(&snapshots, |node| number(&node.tails.counts));
        assert_eq!((count(|counts| counts.kept), count(|counts| counts.asked)), (1, 1), "{report}");
        assert_eq!(sum(&snapshots, |node| node.tails.bytes + node.store.0 as u64), 0, "seed {seed}: something is left");
    }
}

/// A node that stops gives what it keeps to the owners first.
#[test]
fn a_holder_that_stops_pushes_its_tails() {
    for seed in 1..8 {
        let (report, snapshots) = after_a_move(seed, 20_000, Trouble::Stop(1));
        assert_eq!((report.tally.resets, report.finished, report.unavailable), (0, 1, 0), "{report}");
        assert!(sum(&snapshots, |node| node.stats.tail_bytes_taken) > 0, "{report}");
    }
}
