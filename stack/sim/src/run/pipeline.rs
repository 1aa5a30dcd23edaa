//! Pipelined requests for several back-ends: nothing waits, nothing is copied.

use super::*;
use crate::client::{Request, RequestKind, Script};
use crate::plan::Family;
use crate::scenario::{Severity, Wishes};

/// Between a client and the cluster, one way.
const DELAY: Duration = Duration::from_millis(20);

/// One client with one connection, 40 ms away, on links that lose nothing.
fn far_away(requests: Vec<Request>, depth: usize, back_ends: usize) -> Scenario {
    let wishes = Wishes {
        severity: Some(Severity::Clean),
        family: Some(Family::V4),
        back_ends: Some(back_ends),
        ..Wishes::default()
    };
    let link = LinkSettings { delay: DELAY, ..LinkSettings::default() };
    let start = Duration::from_secs(1);
    let script = Script { start, requests, depth, receive_buffer: 2 << 20, ..Script::default() };
    Scenario { clients: vec![vec![script]], uplink: link, downlink: link, ..Scenario::with(1, &wishes) }
}

/// `times` requests of `len` bytes, for the back-ends in turn.
fn in_turn(back_ends: &[usize], times: usize, len: usize) -> Vec<Request> {
    let request = |(n, k)| Request { back_end: Some(k), kind: RequestKind::Bytes, len, seed: n };
    (0..).zip(back_ends.iter().copied().cycle().take(times)).map(request).collect()
}

fn run_cluster(scenario: &Scenario) -> Report {
    let report = run(scenario, Subject::Cluster, Recorders::default());
    assert_eq!(report.violations, []);
    assert_eq!((report.finished, report.cut_short), (scenario.connections(), 0));
    report
}

/// Bytes that clients were sent, per second.
#[expect(clippy::cast_precision_loss, reason = "a ratio of two of them is all that is wanted")]
fn goodput(report: &Report, scenario: &Scenario) -> f64 {
    let start = scenario.clients[0][0].start;
    report.tally.bytes as f64 / (report.tally.last_byte_at.since(Instant::ZERO) - start).as_secs_f64()
}

/// At 40 ms, requests for two back-ends in turn, 100 KB each, four at a time, are answered about as fast as by one back-end.
#[test]
fn a_pipeline_across_back_ends_is_as_fast_as_one_back_end() {
    let (moving, staying) = (in_turn(&[1, 2], 100, 100_000), in_turn(&[1], 100, 100_000));
    let (moving, staying) = (far_away(moving, 4, 2), far_away(staying, 4, 2));
    let (moved, stayed) = (run_cluster(&moving), run_cluster(&staying));
    let ratio = goodput(&moved, &moving) / goodput(&stayed, &staying);
    println!("goodput moving / staying: {ratio:.3}\nmoving: {:?}\nstaying: {:?}", moved.tally, stayed.tally);
    assert_eq!((moved.tally.moves, stayed.tally.moves), (100, 1));
    assert!(ratio >= 0.95, "{ratio}");
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
