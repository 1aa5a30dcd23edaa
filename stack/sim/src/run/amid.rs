//! Moves in the middle of responses: they go on at the other node, whose bytes are the same, or where they began.

use super::*;
use crate::client::{Close, Request, RequestKind, Script};
use crate::people::Asked;
use crate::scenario::{Severity, Wishes};
use baton_backend::BackEnd;
use baton_backend::serve::{Composed, Files, probe};
use baton_backend::stats::{Command, Reply, Snapshot};
use baton_frontend::FrontEnd;
use baton_frontend::stats::{Command as FrontCommand, Reply as FrontReply};
use baton_stack::node::Node;
use handoff_proto::message::RefuseReason;
use std::fs;
use std::path::Path;

/// A node's send queue, unsent, at the most.
const QUEUED_MAX: u64 = baton_backend::serving::UNSENT_BYTES_MAX;
const LEN: usize = 2_000_000;
/// How often somebody wants a connection elsewhere.
const EVERY: Duration = Duration::from_millis(12);

/// Two back-ends, and a client that asks the first for long responses and something short behind each, `depth` at a time.
fn scenario(seed: u64, severity: Severity, kinds: &[RequestKind], close: Close, depth: usize) -> Scenario {
    let delay = Some(Duration::from_millis(4));
    let wishes = Wishes { severity: Some(severity), back_ends: Some(2), delay, ..Wishes::default() };
    let request = |(kind, len)| Request { back_end: Some(1), kind, len, seed: 3 };
    let requests = kinds.iter().flat_map(|kind| [(*kind, LEN), (RequestKind::Head, LEN), (*kind, 2_000)]);
    let start = Duration::from_secs(1);
    let receive_buffer = 100_000;
    let requests: Vec<_> = requests.map(request).collect();
    let script = Script { start, requests, depth, receive_buffer, close, ..Script::default() };
    Scenario {
        clients: vec![vec![script]],
        moves: vec![],
        troubles: vec![],
        noise: None,
        ..Scenario::with(seed, &wishes)
    }
}

/// What came of a run.
struct Outcome {
    report: Report,
    back_ends: Vec<Snapshot>,
    /// Responses and bytes of them, as the front-end has counted when connections ended.
    closed: (u64, u64),
}

impl Outcome {
    fn sum(&self, number: impl Fn(&Snapshot) -> u64) -> u64 {
        self.back_ends.iter().map(number).sum()
    }

    fn amid(&self) -> u64 {
        self.sum(|node| node.stats.handoffs_amid)
    }

    fn refused(&self, reason: RefuseReason) -> u64 {
        let at = RefuseReason::ALL.iter().position(|known| *known == reason).unwrap();
        self.sum(|node| node.stats.handoffs_refused[at])
    }
}

/// Runs it, while somebody wants every connection at the other back-end, again and again. `meanwhile` hears how often that was.
fn run_wishing(
    scenario: &Scenario,
    serve: impl Fn(&str) -> Composed + Clone + 'static,
    mut meanwhile: impl FnMut(usize),
) -> Outcome {
    run_wishing_at(scenario, serve, move |times| {
        meanwhile(times);
        true
    })
}

/// Runs it, while somebody wants every connection at the other back-end whenever `wants` says so.
fn run_wishing_at(
    scenario: &Scenario,
    serve: impl Fn(&str) -> Composed + Clone + 'static,
    mut wants: impl FnMut(usize) -> bool,
) -> Outcome {
    let plan = Plan::new(scenario.seed, scenario.back_ends, scenario.family);
    let members = crate::cluster::members_by_place(&plan, &scenario.tuning, move |place| serve(&place.name));
    let mut stage = Stage::build(scenario, Cast { members, plan, is_reference: false }, Recorders::default());
    let deadline = Instant::ZERO + Duration::from_secs(100);
    for times in 0.. {
        let until = stage.world.now() + EVERY;
        stage.world.run_until(until);
        if stage.all_done() || stage.world.now() > deadline {
            break;
        }
        for k in [1, 2].into_iter().take(if wants(times) { 2 } else { 0 }) {
            let device = stage.members[k];
            let now = stage.world.node_time(device);
            let Some(node) = stage.world.node_mut::<BackEnd<Composed>>(device) else { continue };
            for connection in node.connections(now).list {
                let _ = node.wish(now, connection.c, &format!("be{}", 3 - k)).unwrap();
            }
        }
    }
    let took = stage.world.now().since(Instant::ZERO);
    stage.world.run_until(stage.world.now() + Duration::from_secs(8));
    let now = stage.world.now();
    let members = stage.members.clone();
    let numbers = |device| {
        let node = stage.world.node_mut::<BackEnd<Composed>>(device).unwrap();
        let Reply::Stats(snapshot) = node.handle_command(now, Command::Stats) else { panic!("no numbers") };
        *snapshot
    };
    let back_ends: Vec<_> = members[1..].iter().copied().map(numbers).collect();
    let front_end = stage.world.node_mut::<FrontEnd>(members[0]).unwrap();
    let FrontReply::Stats(front) = front_end.handle_command(now, FrontCommand::Stats) else { panic!("no numbers") };
    let closed = (front.stats.requests, front.stats.response_bytes);
    let report = stage.judge(scenario, took);
    assert_eq!(report.violations, [], "seed {}", scenario.seed.0);
    assert_eq!((report.finished, report.cut_short), (1, 0), "seed {}", scenario.seed.0);
    assert_eq!(report.answers, scenario.clients[0][0].requests.len());
    Outcome { report, back_ends, closed }
}

fn check_counts(outcome: &Outcome) {
    let answers = outcome.report.answers as u64;
    assert_eq!((outcome.closed.0, outcome.sum(|node| node.stats.requests)), (answers, answers), "counted once");
    let bytes = outcome.report.tally.bytes;
    assert_eq!(outcome.closed.1, bytes);
    // What a node has queued and taken back unsent is set off against what it queues next.
    let counted = outcome.sum(|node| node.stats.response_bytes);
    assert!((bytes..=bytes + 2 * QUEUED_MAX).contains(&counted), "{counted}, {bytes}");
    for node in &outcome.back_ends {
        assert_eq!((node.store, node.tails.held, node.leaving), ((0, 0), 0, 0), "something is left");
    }
}

fn probes(_: &str) -> Composed {
    Composed::new().with_probe()
}

#[test]
fn responses_go_on_at_the_other_node_again_and_again() {
    let kinds = [RequestKind::Bytes, RequestKind::Chunked];
    // Behind the first move the next request, which is there already, has it go back: then nobody else may move it.
    for (close, depth, least) in
        [(Close::AfterAnswers, 1, 8), (Close::ByServer, 1, 8), (Close::AfterRequests, 3, 2), (Close::ByServer, 3, 2)]
    {
        let outcome = run_wishing(&scenario(1, Severity::Clean, &kinds, close, depth), probes, |_| {});
        assert!(outcome.amid() >= least, "{close:?}, {depth}: {}, {}", outcome.amid(), outcome.report);
        check_counts(&outcome);
        assert_eq!(outcome.sum(|node| node.stats.handoffs_started), outcome.sum(|node| node.stats.handoffs_done));
    }
}

/// On links that lose, double, reorder and corrupt, whatever the seed.
#[test]
fn no_byte_of_them_is_lost_in_bad_weather() {
    let mut amid = 0;
    for seed in 0..30 {
        let close = [Close::AfterAnswers, Close::AfterRequests, Close::ByServer][usize::try_from(seed).unwrap() % 3];
        let kinds = [RequestKind::Bytes, RequestKind::Chunked];
        let depth = if seed % 2 == 0 { 1 } else { 3 };
        let outcome = run_wishing(&scenario(seed, Severity::Links, &kinds, close, depth), probes, |_| {});
        amid += outcome.amid();
        check_counts(&outcome);
    }
    assert!(amid >= 150, "{amid}");
}

/// A folder for each back-end, with the long response's bytes.
fn folders() -> [tempfile::TempDir; 2] {
    [1, 2].map(|_| {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bytes")).unwrap();
        for len in [LEN, 2_000] {
            write(folder.path(), len, 3);
        }
        folder
    })
}

/// The way careful tools do it.
fn write(folder: &Path, len: usize, seed: u64) {
    let mut bytes = vec![0; len];
    probe::fill(seed, 0, &mut bytes);
    fs::write(folder.join("new"), bytes).unwrap();
    fs::rename(folder.join("new"), folder.join(format!("bytes/{len}"))).unwrap();
}

fn serving(folders: &[tempfile::TempDir; 2]) -> impl Fn(&str) -> Composed + Clone + 'static {
    let paths = [0, 1].map(|k: usize| folders[k].path().to_owned());
    move |name: &str| Composed::new().with_files(Files::new(&paths[usize::from(name == "be2")]).unwrap())
}

const FILES: [RequestKind; 3] = [RequestKind::Bytes; 3];

#[test]
fn a_file_goes_on_where_its_bytes_are_the_same() {
    for (seed, severity) in [(1, Severity::Clean), (2, Severity::Links), (3, Severity::Links)] {
        let folders = folders();
        let outcome = run_wishing(&scenario(seed, severity, &FILES, Close::ByServer, 1), serving(&folders), |_| {});
        assert!(outcome.amid() >= 6, "{}", outcome.report);
        // The first that asks has to wait until it is found out, and then nobody has.
        assert_eq!(outcome.refused(RefuseReason::ContentDiffers), 0);
        assert!((1..=2).contains(&outcome.refused(RefuseReason::ContentUnknown)), "{}", outcome.report);
        check_counts(&outcome);
    }
}

/// Nobody knows the file's name between nodes when a connection is wanted elsewhere, once: here it is found out first, there when the image
/// has come and gone back.
#[test]
fn a_wish_that_came_too_early_is_said_again() {
    let folders = folders();
    let scenario = scenario(1, Severity::Clean, &FILES[..1], Close::ByServer, 1);
    // While the first response is sent.
    let outcome = run_wishing_at(&scenario, serving(&folders), |times| times == 88);
    let refused = [RefuseReason::ContentUnknown, RefuseReason::ContentDiffers].map(|reason| outcome.refused(reason));
    assert_eq!((outcome.amid(), refused), (2, [1, 0]), "{}", outcome.report);
    check_counts(&outcome);
}

#[test]
fn a_file_that_differs_goes_on_where_it_began() {
    for (seed, severity) in [(1, Severity::Clean), (2, Severity::Links), (3, Severity::Links)] {
        let folders = folders();
        // Of the same length. What be1 sends is right; be2 has nothing to say before be1's responses are sent.
        write(folders[1].path(), LEN, 4);
        let outcome = run_wishing(&scenario(seed, severity, &FILES, Close::AfterAnswers, 1), serving(&folders), |_| {});
        let differing = outcome.refused(RefuseReason::ContentDiffers);
        assert!(differing >= 3, "{differing}, {}", outcome.report);
        assert_eq!(outcome.amid(), differing + outcome.refused(RefuseReason::ContentUnknown), "none was taken");
        check_counts(&outcome);
    }
}

#[test]
fn a_file_that_is_replaced_meanwhile_goes_on_nowhere_any_more() {
    let folders = folders();
    let scenario = scenario(1, Severity::Clean, &FILES[..1], Close::AfterAnswers, 3);
    let replaced = folders[1].path().to_owned();
    // be2 has the bytes, and knows it, and then it has others.
    let outcome = run_wishing(&scenario, serving(&folders), move |times| {
        if times == 86 {
            write(&replaced, LEN, 4);
        }
    });
    let done = outcome.sum(|node| node.stats.handoffs_done);
    assert!(outcome.refused(RefuseReason::ContentUnknown) >= 1, "{}", outcome.report);
    assert!(outcome.refused(RefuseReason::ContentDiffers) >= 1 && done >= 1, "{}", outcome.report);
    check_counts(&outcome);
}
