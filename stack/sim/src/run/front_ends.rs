//! Two front-ends of the same back-ends: each has leases and connections of its own.

use super::*;
use crate::client::{Request, RequestKind, Script};
use crate::config::Tuning;
use crate::plan::Family;
use crate::scenario::{Severity, Wishes};

/// When the first front-end is cut off.
const CUT_AT: Duration = Duration::from_secs(2);
/// A lease, and a moment for what is on its way.
const SILENT_AT: Duration = Duration::from_millis(2_000 + 1_500 + 5);

/// A client of each front-end, 40 ms away, sends 3 MB to the same back-end and gets them back, for about six seconds; the first front-end is
/// cut off from `CUT_AT` to `mended_at`, and would wait `margin` beyond a lease.
fn two_front_ends(mended_at: Duration, margin: Duration) -> Scenario {
    let (severity, family) = (Some(Severity::Clean), Some(Family::V4));
    let wishes = Wishes { severity, family, back_ends: Some(2), ..Wishes::default() };
    let link = LinkSettings { delay: Duration::from_millis(20), ..LinkSettings::default() };
    let request = Request { back_end: Some(1), kind: RequestKind::Echo, len: 3_000_000, seed: 1 };
    let script = Script {
        start: Duration::from_secs(1),
        requests: vec![request],
        receive_buffer: 20_000,
        send_buffer: 20_000,
        ..Script::default()
    };
    Scenario {
        clients: vec![vec![script.clone()], vec![script]],
        moves: Vec::new(),
        uplink: link,
        downlink: link,
        troubles: vec![(CUT_AT, Trouble::Cut(0)), (mended_at, Trouble::Mend(0))],
        tuning: Tuning { lease_margin: margin, ..Tuning::default() },
        ..Scenario::with(1, &wishes)
    }
}

/// What a back-end has said last as each of the VIPs, at `at`; and the report at the end.
fn last_words(scenario: &Scenario, at: Duration) -> (Vec<Duration>, Report) {
    let plan = Plan::new(scenario.seed, scenario.back_ends, scenario.family).with_other_front_end(scenario.family);
    let vips: Vec<_> = plan.front_ends().map(|(_, vip)| vip).collect();
    let cast = Cast { members: Subject::Cluster.members(&plan, &scenario.tuning), plan, is_reference: false };
    let mut stage = Stage::build(scenario, cast, Recorders::default());
    stage.world.run_until(Instant::ZERO + at);
    let word = |vip| stage.world.observer().checks.last_word(vip).expect("it has spoken").since(Instant::ZERO);
    let words = vips.into_iter().map(word).collect();
    let took = stage.drive(scenario);
    (words, stage.judge(scenario, took))
}

/// A back-end that loses one lease falls silent on the connections that it is for, and goes on with the others; when the lease is
/// there again under the same generation, they go on, too (R2, R3).
#[test]
fn connections_of_a_front_end_that_was_away_go_on_with_its_lease() {
    let mended_at = CUT_AT + Duration::from_secs(3);
    let scenario = two_front_ends(mended_at, Duration::from_secs(4));
    let (words, report) = last_words(&scenario, mended_at);
    assert!(words[0] < SILENT_AT && words[0] > CUT_AT, "{words:?}");
    assert!(words[1] + Duration::from_millis(100) > mended_at, "the other's go on: {words:?}");
    assert_eq!(report.violations, []);
    assert_eq!((report.finished, report.answers, report.tally.resets), (2, 2, 0), "{report}");
}

/// Where the front-end has given the back-ends up meanwhile, what they had for it is discarded, and its client hears of it.
#[test]
fn connections_of_a_front_end_that_gave_its_nodes_up_are_discarded() {
    let mended_at = CUT_AT + Duration::from_secs(3);
    let scenario = two_front_ends(mended_at, Tuning::default().lease_margin);
    let (words, report) = last_words(&scenario, mended_at + Duration::from_secs(1));
    assert!(words[0] < SILENT_AT && words[0] > CUT_AT, "never again: {words:?}");
    assert_eq!(report.violations, []);
    assert_eq!((report.finished, report.cut_short), (1, 1), "{report}");
    assert!(report.tally.resets > 0, "{report}");
}
