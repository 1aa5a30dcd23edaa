//! What is prepared before a connection comes: it is used, it shortens the hole, and nothing is left of it.

use super::pipeline::{far_away, in_turn, run_and_ask, run_serving, sum};
use super::*;
use crate::scenario::{Severity, Wishes};
use crate::world::work;
use baton_backend::ahead::AheadCounts;
use baton_backend::serve::{Expected, Preparation, Prepared, Probe, Request, Service};
use baton_backend::stats::Snapshot;

/// What finding, opening and reading takes on a disk that is not asleep.
const OPENING: Duration = Duration::from_millis(2);

/// Probe bodies from a disk.
#[derive(Clone, Copy, Debug)]
struct Disk;

#[derive(Debug)]
struct Opened(Box<dyn Preparation>);

impl Service for Disk {
    fn prepare(&mut self, request: &Request<'_>) -> Prepared {
        work::spend(OPENING);
        Probe.prepare(request)
    }

    fn prefetch(&mut self, expected: &Expected<'_>) -> Option<Box<dyn Preparation>> {
        work::spend(OPENING);
        Some(Box::new(Opened(Probe.prefetch(expected)?)))
    }
}

impl Preparation for Opened {
    fn respond(self: Box<Self>, request: &Request<'_>) -> Prepared {
        self.0.respond(request)
    }

    fn memory(&self) -> usize {
        self.0.memory()
    }
}

/// Thirty responses of 60 KB, from three back-ends in turn, on a link that says when a segment can leave.
fn in_line(prefetch: bool) -> Scenario {
    let mut requests = in_turn(&[1, 2, 3], 31, 60_000);
    requests[0].len = 1_000_000;
    let mut scenario = far_away(requests, 8, 3);
    scenario.downlink = LinkSettings { bandwidth: Some(30_000_000), ..scenario.downlink };
    scenario.clients[0][0].receive_buffer = 150_000;
    scenario.clients[0][0].delayed_ack = false;
    scenario.tuning.prefetch = prefetch;
    scenario
}

fn counts(snapshots: &[Snapshot]) -> AheadCounts {
    let sum = |number: fn(&AheadCounts) -> u64| sum(snapshots, |node| number(&node.prefetches));
    AheadCounts {
        received: sum(|counts| counts.received),
        used: sum(|counts| counts.used),
        repeated: sum(|counts| counts.repeated),
        declined: sum(|counts| counts.declined),
        refused: sum(|counts| counts.refused),
        stale: sum(|counts| counts.stale),
        expired: sum(|counts| counts.expired),
        void: sum(|counts| counts.void),
    }
}

/// The recipient opens and reads while the donor still sends, so that the client does not wait for it.
#[test]
fn a_response_is_prepared_while_the_one_before_it_goes_out() {
    let (with, snapshots) = run_serving(&in_line(true), || Disk);
    let (without, others) = run_serving(&in_line(false), || Disk);
    println!("hole: {:?} prepared, {:?} not", with.tally.gap_max, without.tally.gap_max);
    assert_eq!((with.tally.moves, without.tally.moves), (31, 31));
    let moves = 30;
    let counted = counts(&snapshots);
    assert_eq!((counted.used, counted.received - counted.repeated), (moves, moves), "{counted:?}");
    assert_eq!(counts(&others), AheadCounts::default());
    assert!(with.tally.gap_max + OPENING * 3 / 4 < without.tally.gap_max, "{:?} {:?}", with.tally, without.tally);
    assert!(snapshots.iter().all(|node| node.ahead == (0, 0) && node.store.0 == 0), "something is left");
}

/// Whatever links and nodes do: what was told ahead is accounted for, and nothing of it stays.
#[test]
fn nothing_is_left_of_what_was_told_ahead() {
    let mut all = AheadCounts::default();
    for (seed, severity) in (1..25).zip([Severity::Links, Severity::Nodes].into_iter().cycle()) {
        let mut scenario = Scenario::with(seed, &Wishes { severity: Some(severity), ..Wishes::default() });
        scenario.tuning.prefetch = true;
        let (report, snapshots) = run_and_ask(&scenario);
        let counted = counts(&snapshots);
        let AheadCounts { received, used, repeated, declined, refused, stale, expired, void } = counted;
        let ends = used + repeated + declined + refused + stale + expired + void;
        assert_eq!(received, ends, "seed {seed}: {counted:?} {report}");
        assert!(snapshots.iter().all(|node| node.ahead == (0, 0)), "seed {seed}");
        (all.used, all.stale, all.repeated) = (all.used + used, all.stale + stale, all.repeated + repeated);
    }
    assert!(all.used > 100 && all.stale > 0 && all.repeated > 0, "{all:?}");
}
