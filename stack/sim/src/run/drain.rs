//! A back-end that is drained: what it has goes elsewhere, nothing new comes, and no client notices.

use super::*;
use crate::client::{Request, RequestKind, Script};
use crate::scenario::{Severity, Wishes};
use baton_backend::BackEnd;
use baton_backend::serve::Probe;
use baton_backend::stats::{Command as Asked, Reply as Answer, Snapshot};
use baton_frontend::FrontEnd;
use baton_frontend::stats::{Command, Reply};
use baton_stack::node::Node;
use handoff_proto::admin::{DrainRefused, Page};

const THIRD: Duration = Duration::from_millis(333);

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

/// Connections that ask for something now and then, and are idle in between. Half of them begin late.
fn idlers(severity: Severity) -> Scenario {
    let wishes = Wishes { severity: Some(severity), back_ends: Some(3), ..Wishes::default() };
    let script = |n: u64| Script {
        start: Duration::from_millis(if n.is_multiple_of(2) { 1_000 } else { 4_000 } + n * 7),
        requests: (0..18)
            .map(|k| {
                // Each path is another, so that the hash gives each back-end its share.
                let seed = n * 18 + k;
                Request { back_end: None, kind: RequestKind::Bytes, len: 5_000 + usize::try_from(seed).unwrap(), seed }
            })
            .collect(),
        think: THIRD,
        ..Script::default()
    };
    Scenario { clients: vec![(0..40).map(script).collect()], moves: Vec::new(), ..Scenario::with(7, &wishes) }
}

struct Cluster(Stage);

impl Cluster {
    fn of(scenario: &Scenario) -> Self {
        let plan = Plan::new(scenario.seed, scenario.back_ends, scenario.family);
        let members = Subject::Cluster.members(&plan, &scenario.tuning);
        Self(Stage::build(scenario, Cast { members, plan, is_reference: false }, Recorders::default()))
    }

    fn set_drain(&mut self, node: &str, is_draining: bool) -> Result<(), DrainRefused> {
        let device = self.0.members[0];
        let now = self.0.world.node_time(device);
        let command = Command::Drain { node: node.to_owned(), is_draining };
        let front_end = self.0.world.node_mut::<FrontEnd>(device).expect("it lives");
        let Reply::Drain(answer) = front_end.handle_command(now, command) else { panic!("another answer") };
        answer.map(|_| ())
    }

    fn back_end(&mut self, number: usize) -> Snapshot {
        let device = self.0.members[number];
        let now = self.0.world.node_time(device);
        let node = self.0.world.node_mut::<BackEnd<Probe>>(device).expect("it lives");
        let Answer::Stats(snapshot) = node.handle_command(now, Asked::Stats) else { panic!("another answer") };
        *snapshot
    }
}

#[test]
fn what_a_drained_back_end_has_goes_elsewhere_and_nothing_new_comes() {
    for severity in [Severity::Clean, Severity::Links] {
        let scenario = idlers(severity);
        let mut cluster = Cluster::of(&scenario);
        cluster.0.world.run_until(at(3_000));
        assert_eq!(cluster.set_drain("be9", true), Err(DrainRefused::UnknownNode));
        assert!(cluster.back_end(1).connections > 0);
        cluster.set_drain("be1", true).unwrap();
        cluster.0.world.run_until(at(4_000));
        let drained = cluster.back_end(1);
        assert_eq!(drained.connections, 0, "{severity:?}");
        assert!(drained.leases[0].is_draining);
        // The other half of the clients comes now.
        cluster.0.world.run_until(at(6_000));
        let later = cluster.back_end(1);
        assert_eq!((later.stats.installed, later.tails.held), (drained.stats.installed, 0), "{severity:?}");
        cluster.set_drain("be1", false).unwrap();
        cluster.0.world.run_until(at(7_000));
        let serving = cluster.back_end(1);
        assert!(!serving.leases[0].is_draining && serving.stats.installed > drained.stats.installed, "{severity:?}");
        let took = cluster.0.drive(&scenario);
        let report = cluster.0.judge(&scenario, took);
        assert_eq!(report.violations, []);
        assert_eq!((report.finished, report.answers, report.unavailable), (40, 40 * 18, 0), "{report}");
        // Where links double and delay, a segment of a connection that is over may be answered; one that hits anybody is a violation.
        assert!(report.tally.resets == 0 || severity == Severity::Links, "{severity:?}: {report}");
    }
}

/// A wish that does not arrive is said again; one that was followed is not.
#[test]
fn a_wish_that_is_lost_is_said_again() {
    let mut scenario = idlers(Severity::Clean);
    scenario.clients[0].truncate(1);
    let script = &mut scenario.clients[0][0];
    script.requests.truncate(2);
    script.requests[0].back_end = Some(1);
    script.requests[1].back_end = Some(2);
    script.think = Duration::from_secs(3);
    let ms = Duration::from_millis;
    scenario.troubles = vec![(ms(2_000), Trouble::Cut(1)), (ms(2_100), Trouble::Mend(1))];
    let mut cluster = Cluster::of(&scenario);
    cluster.0.world.run_until(at(2_050));
    let device = cluster.0.members[0];
    let now = cluster.0.world.node_time(device);
    let front_end = cluster.0.world.node_mut::<FrontEnd>(device).expect("it lives");
    let Reply::Connections(list) = front_end.handle_command(now, Command::Connections(Page { from: 0, limit: 9 }))
    else {
        panic!("another answer")
    };
    let command = Command::Move { c: list.list[0].c, to: "be2".to_owned() };
    assert!(matches!(front_end.handle_command(now, command), Reply::Move(Ok(_))));
    cluster.0.world.run_until(at(2_095));
    assert_eq!((cluster.back_end(1).connections, cluster.back_end(2).connections), (1, 0));
    cluster.0.world.run_until(at(2_600));
    assert_eq!((cluster.back_end(1).connections, cluster.back_end(2).connections), (0, 1));
    let took = cluster.0.drive(&scenario);
    let report = cluster.0.judge(&scenario, took);
    assert_eq!((report.violations.len(), report.finished, report.tally.moves, report.tally.resets), (0, 1, 2, 0));
}

/// A long response goes on elsewhere at the byte where it stopped, or is sent to its end first: the client cannot tell.
#[test]
fn a_download_is_not_interrupted() {
    let mut scenario = idlers(Severity::Clean);
    scenario.clients[0].truncate(1);
    let script = &mut scenario.clients[0][0];
    script.requests.truncate(2);
    script.requests[0] = Request { back_end: Some(1), len: 3_000_000, ..script.requests[0].clone() };
    script.think = Duration::from_secs(3);
    scenario.downlink = LinkSettings { bandwidth: Some(8_000_000), ..scenario.downlink };
    let mut cluster = Cluster::of(&scenario);
    cluster.0.world.run_until(at(2_000));
    cluster.set_drain("be1", true).unwrap();
    assert_eq!(cluster.back_end(1).connections, 1, "it is being sent");
    cluster.0.world.run_until(at(5_500));
    assert_eq!((cluster.back_end(1).connections, cluster.back_end(1).stats.handoffs_done), (0, 1));
    let took = cluster.0.drive(&scenario);
    let report = cluster.0.judge(&scenario, took);
    assert_eq!((report.violations.len(), report.finished, report.answers, report.tally.resets), (0, 1, 2, 0));
}
