//! A front-end's numbers as metrics. Back-ends use the same names for the same things.
//!
//! | metric | labels |
//! |---|---|
//! | `baton_connections` | `state`: `half_open`, `owned`, `leaving` (its image is on its way), `routed` (a back-end owns it), `time_wait` |
//! | `baton_syn_cookies_total` | `event`: `sent`, `accepted`, `refused` |
//! | `baton_handoffs_total` | `kind`: `first` here, `later` at back-ends; `result`: `done`, `refused` |
//! | `baton_handoffs_refused_total` | `kind`, `reason`: the recipient's, or `arbiter` |
//! | `baton_resets_total` | `cause` |
//! | `baton_drops_total` | `reason` |
//! | `baton_messages_sent_total` | `message`: its kind |

use crate::stats::{NodeSnapshot, Snapshot, Stats};
use baton_host::Metrics;
use handoff_proto::arbiter::ResetCause;
use handoff_proto::message::Ended;

/// The handoffs that a front-end makes.
const KIND: &str = "first";

/// Adds all numbers. Nothing is left out: a new counter does not compile until it has a name here.
pub(super) fn add(snapshot: &Snapshot, metrics: &mut Metrics) {
    let Snapshot {
        stats,
        drops,
        said,
        windows,
        nodes,
        connections: _,
        time_wait: _,
        half_open: _,
        owned: _,
        leaving: _,
    } = snapshot;
    metrics.drops(drops);
    let help = "Messages to other nodes, by kind";
    metrics.counters("baton_messages_sent_total", help, ["message"], said.messages().map(|(name, n)| ([name], n)));
    metrics.counter("baton_datagrams_sent_total", "Datagrams with messages to other nodes", said.datagrams);
    metrics.windows(windows);
    let rows = snapshot.places().map(|(state, number)| ([state], number as f64));
    metrics.gauges("baton_connections", "Connections now, by state", ["state"], rows);
    add_stats(stats, metrics);
    add_nodes(nodes, metrics);
}

fn add_stats(stats: &Stats, metrics: &mut Metrics) {
    let Stats {
        syns,
        accepted,
        cookies_sent,
        cookies_accepted,
        cookies_refused,
        forwarded_packets,
        forwarded_bytes,
        handoffs_started,
        handoffs_done,
        handoffs_refused,
        moves,
        asks,
        prefetches,
        stays,
        grants,
        rejects,
        errors: [errors_4xx, errors_5xx],
        resets,
        stopped,
        ended,
        ecn_marked,
        ecn_slowed,
        closed_here,
        requests,
        response_bytes,
        drain_wishes,
        nodes_up,
        nodes_down,
    } = stats;
    for (name, help, value) in [
        ("baton_syns_total", "SYNs that were answered", syns),
        ("baton_accepted_total", "Handshakes that were finished", accepted),
        ("baton_forwarded_packets_total", "Client packets sent on to owners", forwarded_packets),
        ("baton_forwarded_bytes_total", "Bytes of client packets sent on to owners", forwarded_bytes),
        ("baton_owner_changes_total", "Changes of owner, first handoffs included", moves),
        ("baton_asks_total", "Questions of owners who serves a request", asks),
        ("baton_closed_requests_total", "Responses of connections that have ended at back-ends", requests),
        (
            "baton_closed_response_bytes_total",
            "Response bytes of connections that have ended at back-ends",
            response_bytes,
        ),
        ("baton_ecn_marked_total", "Segments of clients that a router had marked for congestion", ecn_marked),
        ("baton_ecn_slowed_total", "Windows reduced because what was sent from here was marked", ecn_slowed),
        (
            "baton_drain_wishes_total",
            "Connections of back-ends that drain, wished elsewhere: some more than once",
            drain_wishes,
        ),
        ("baton_node_joins_total", "Times that a back-end came up", nodes_up),
        ("baton_node_losses_total", "Times that a back-end was declared dead or came again", nodes_down),
    ] {
        metrics.counter(name, help, *value);
    }
    let cookies = [("sent", cookies_sent), ("accepted", cookies_accepted), ("refused", cookies_refused)];
    let cookies = cookies.map(|(event, number)| ([event], *number));
    metrics.counters("baton_syn_cookies_total", "SYN cookies, by what became of them", ["event"], cookies);
    metrics.handoffs(KIND, *handoffs_started, &[("done", *handoffs_done)], handoffs_refused);
    let answers = [(["stay"], *stays), (["grant"], *grants), (["reject"], *rejects)];
    metrics.counters("baton_answers_total", "Answers to the questions of owners", ["answer"], answers);
    let help = "Words to back-ends of requests that are about to come to them";
    metrics.counters("baton_prefetches_total", help, ["event"], [(["sent"], *prefetches)]);
    let errors = [(["4xx"], *errors_4xx), (["5xx"], *errors_5xx)];
    metrics.counters("baton_error_responses_total", "Error responses of the node's own", ["class"], errors);
    add_ends(closed_here, ended, metrics);
    let causes = ResetCause::ALL.iter().map(|cause| cause.label()).zip(resets.iter().copied());
    let causes = causes.chain([("stopped", *stopped)]).map(|(cause, number)| ([cause], number));
    metrics.counters("baton_resets_total", "Connections reset, by cause", ["cause"], causes);
}

fn add_ends(closed_here: &[u64], ended: &[u64], metrics: &mut Metrics) {
    metrics.closed(closed_here);
    let rows = Ended::ALL.iter().zip(ended).map(|(ended, number)| ([ending(*ended)], *number));
    metrics.counters("baton_closed_at_backends_total", "Connections that ended at back-ends", ["reason"], rows);
}

fn add_nodes(nodes: &[NodeSnapshot], metrics: &mut Metrics) {
    let up = nodes.iter().filter(|node| node.is_up).count();
    metrics.gauge("baton_nodes_up", "Back-ends that are up", up as f64);
    let rows = nodes.iter().map(|node| ([node.name.as_str()], f64::from(u8::from(node.is_up))));
    metrics.gauges("baton_node_up", "Whether a back-end is up", ["node"], rows);
    let rows = nodes.iter().map(|node| ([node.name.as_str()], f64::from(u8::from(node.is_draining))));
    metrics.gauges("baton_node_draining", "Whether a back-end drains", ["node"], rows);
    let rows = nodes.iter().map(|node| ([node.name.as_str()], f64::from(node.connections)));
    metrics.gauges("baton_node_connections", "Connections that a back-end said it owns", ["node"], rows);
    let rows = nodes.iter().map(|node| ([node.name.as_str()], f64::from(node.busy_permille) / 1_000.0));
    let help = "Share of its time in which a back-end said it has something to do";
    metrics.gauges("baton_node_busy_ratio", help, ["node"], rows);
    let rows = nodes.iter().map(|node| ([node.name.as_str()], node.requests));
    metrics.counters("baton_node_requests_total", "Requests that a back-end said it has answered", ["node"], rows);
    let rows = nodes.iter().map(|node| ([node.name.as_str()], node.bytes));
    metrics.counters("baton_node_response_bytes_total", "Bytes that a back-end said it has sent", ["node"], rows);
}

const fn ending(ended: Ended) -> &'static str {
    match ended {
        Ended::Active => "finished_by_us",
        Ended::Passive => "finished_by_client",
        Ended::ResetByClient => "reset_by_client",
        Ended::ResetByUs => "reset_by_us",
        Ended::TimedOut => "timed_out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Life, Settings};
    use crate::stats::{Command, Reply};
    use crate::{FrontEnd, config};
    use baton_stack::addr::MacAddr;
    use baton_stack::drop::{DropCounters, DropReason};
    use baton_stack::engine::Windows;
    use baton_stack::node::Node;
    use baton_stack::time::Instant;
    use handoff_proto::message::RefuseReason;
    use handoff_proto::names::Boot;
    use handoff_proto::seal::ClusterSecret;
    use handoff_proto::session::Traffic;
    use std::collections::BTreeSet;

    fn text(snapshot: &Snapshot) -> String {
        let mut metrics = Metrics::default();
        add(snapshot, &mut metrics);
        metrics.to_text()
    }

    fn fresh() -> Snapshot {
        let config = config::parse("f.toml", include_str!("../../../docs/examples/frontend.toml")).unwrap();
        let secret = ClusterSecret::parse(&[b'k'; 32]).unwrap();
        let life = Life { boot: Boot(1), seed: [7; 32], secrets: secret.into(), macs: &[MacAddr([2, 0, 0, 0, 0, 1])] };
        let mut node = FrontEnd::new(Settings::new(&config, life));
        let Reply::Stats(snapshot) = node.handle_command(Instant::ZERO, Command::Stats) else {
            panic!("another answer")
        };
        *snapshot
    }

    #[test]
    fn a_fresh_node_has_every_metric_at_zero() {
        let text = text(&fresh());
        let (mut families, mut samples) = (BTreeSet::new(), 0);
        for line in text.lines().filter(|line| *line != "# EOF") {
            match line.strip_prefix('#') {
                Some(comment) if comment.starts_with(" TYPE ") => {
                    assert!(families.insert(comment.split(' ').nth(2).unwrap().to_owned()), "twice: {line}");
                }
                Some(_) => {}
                None => {
                    assert!(line.ends_with(" 0") || line.ends_with(" 0.0"), "{line}");
                    samples += 1;
                }
            }
        }
        assert!(families.iter().all(|name| name.starts_with("baton_")) && samples > families.len(), "{text}");
        for line in ["baton_node_up{node=\"be2\"} 0.0", "baton_handoffs_total{kind=\"first\",result=\"done\"} 0"] {
            assert!(text.contains(&format!("{line}\n")), "{line:?} is not in\n{text}");
        }
        assert_eq!(text.matches("\nbaton_handoffs_refused_total{").count(), RefuseReason::ALL.len() + 1);
    }

    #[test]
    fn known_numbers_are_where_they_belong() {
        let mut drops = DropCounters::default();
        drops.count(DropReason::HalfOpenLimit);
        let mut said = Traffic::default();
        said.datagrams += 141;
        said.count(16);
        let windows = Windows { bytes: 9_000, bytes_max: 10_000, refused: 130 };
        let stats = Stats {
            syns: 101,
            accepted: 102,
            cookies_sent: 121,
            cookies_accepted: 122,
            cookies_refused: 123,
            forwarded_packets: 103,
            forwarded_bytes: 104,
            handoffs_started: 105,
            handoffs_done: 106,
            handoffs_refused: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
            moves: 107,
            asks: 108,
            prefetches: 140,
            stays: 109,
            grants: 110,
            rejects: 111,
            errors: [112, 113],
            resets: [114, 115],
            stopped: 116,
            ended: [11, 12, 13, 14, 15],
            ecn_marked: 121,
            ecn_slowed: 122,
            closed_here: [21, 22, 23, 24, 25, 26],
            requests: 117,
            response_bytes: 118,
            drain_wishes: 141,
            nodes_up: 119,
            nodes_down: 120,
        };
        let name = "be1".to_owned();
        let node = NodeSnapshot {
            name,
            is_up: true,
            is_draining: true,
            connections: 31,
            busy_permille: 250,
            requests: 32,
            bytes: 33,
        };
        let nodes = vec![node, NodeSnapshot { name: "be2".to_owned(), ..NodeSnapshot::default() }];
        let counts = Snapshot {
            said,
            stats,
            drops,
            windows,
            connections: 50,
            time_wait: 9,
            half_open: 3,
            owned: 10,
            leaving: 4,
            nodes,
        };
        let text = text(&counts);
        for line in EXPECTED.lines() {
            assert!(text.contains(&format!("\n{line}\n")), "{line:?} is not in\n{text}");
        }
    }

    const EXPECTED: &str = r#"baton_window_growth_bytes 9000.0
baton_window_growth_refused_total 130
baton_ecn_marked_total 121
baton_ecn_slowed_total 122
baton_drops_total{reason="half_open_limit"} 1
baton_messages_sent_total{message="Handoff"} 1
baton_datagrams_sent_total 141
baton_connections{state="half_open"} 3.0
baton_connections{state="owned"} 7.0
baton_connections{state="leaving"} 4.0
baton_connections{state="routed"} 36.0
baton_connections{state="time_wait"} 9.0
baton_syns_total 101
baton_accepted_total 102
baton_syn_cookies_total{event="sent"} 121
baton_syn_cookies_total{event="accepted"} 122
baton_syn_cookies_total{event="refused"} 123
baton_forwarded_packets_total 103
baton_forwarded_bytes_total 104
baton_handoffs_started_total{kind="first"} 105
baton_handoffs_total{kind="first",result="done"} 106
baton_handoffs_total{kind="first",result="refused"} 66
baton_handoffs_refused_total{kind="first",reason="overload"} 1
baton_handoffs_refused_total{kind="first",reason="incomplete"} 8
baton_handoffs_refused_total{kind="first",reason="arbiter"} 11
baton_owner_changes_total 107
baton_asks_total 108
baton_drain_wishes_total 141
baton_node_busy_ratio{node="be1"} 0.25
baton_node_draining{node="be1"} 1.0
baton_node_draining{node="be2"} 0.0
baton_prefetches_total{event="sent"} 140
baton_answers_total{answer="stay"} 109
baton_answers_total{answer="grant"} 110
baton_answers_total{answer="reject"} 111
baton_error_responses_total{class="4xx"} 112
baton_error_responses_total{class="5xx"} 113
baton_resets_total{cause="owner_died"} 114
baton_resets_total{cause="recipient_died"} 115
baton_resets_total{cause="stopped"} 116
baton_closed_at_backends_total{reason="finished_by_us"} 11
baton_closed_at_backends_total{reason="timed_out"} 15
baton_closed_total{reason="finished"} 21
baton_closed_total{reason="content_lost"} 25
baton_closed_requests_total 117
baton_closed_response_bytes_total 118
baton_node_joins_total 119
baton_node_losses_total 120
baton_nodes_up 1.0
baton_node_up{node="be1"} 1.0
baton_node_up{node="be2"} 0.0
baton_node_connections{node="be1"} 31.0
baton_node_requests_total{node="be1"} 32
baton_node_response_bytes_total{node="be1"} 33"#;
}
