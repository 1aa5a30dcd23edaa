//! A back-end's numbers as metrics. Front-ends use the same names for the same things.
//!
//! | metric | labels |
//! |---|---|
//! | `baton_connections` | `state`: `owned`, `leaving` (its image is on its way) |
//! | `baton_handoffs_total` | `kind`: `later` here, `first` at front-ends; `result`: `done`, `refused`, `lost` |
//! | `baton_handoffs_refused_total` | `kind`, `reason`: the recipient's, or `arbiter` |
//! | `baton_images_total` | `result`: `installed`, `refused`: what became of images that came here |
//! | `baton_prefetches_total` | `event`: what became of words of requests that are about to come; `sent` at front-ends |
//! | `baton_lease_held` | `frontend` |
//! | `baton_drops_total` | `reason` |
//! | `baton_messages_sent_total` | `message`: its kind |

use crate::ahead::AheadCounts;
use crate::stats::{Snapshot, Stats, TailNumbers};
use baton_host::Metrics;
use baton_stack::tcp::CloseReason;
use handoff_proto::tail::TailCounts;

/// The handoffs that a back-end makes.
const KIND: &str = "later";

/// Adds all numbers. Nothing is left out: a new counter does not compile until it has a name here.
pub(super) fn add(snapshot: &Snapshot, metrics: &mut Metrics) {
    let Snapshot {
        stats,
        drops,
        said,
        windows,
        connections,
        leaving,
        held,
        store: (sources, bytes),
        store_ahead,
        store_failures,
        tails,
        ahead: (prepared, prepared_bytes),
        prefetches,
        leases,
    } = snapshot;
    metrics.drops(drops);
    let help = "Messages to other nodes, by kind";
    metrics.counters("baton_messages_sent_total", help, ["message"], said.messages().map(|(name, n)| ([name], n)));
    metrics.counter("baton_datagrams_sent_total", "Datagrams with messages to other nodes", said.datagrams);
    metrics.windows(windows);
    let rows = [(["owned"], *connections as f64), (["leaving"], *leaving as f64)];
    metrics.gauges("baton_connections", "Connections now, by state", ["state"], rows);
    metrics.gauge("baton_holding_packets", "Packets that wait for their connection", *held as f64);
    metrics.gauge("baton_store_sources", "Sources in the content store", *sources as f64);
    metrics.gauge("baton_store_bytes", "Bytes of memory that the content store's sources hold", *bytes as f64);
    let help = "Bytes of memory that are lent to files which are read ahead";
    metrics.gauge("baton_store_ahead_bytes", help, *store_ahead as f64);
    let help = "Times that a source could not give its bytes or take a request's";
    metrics.counter("baton_store_failures_total", help, *store_failures);
    add_stats(stats, metrics);
    add_tails(tails, metrics);
    metrics.gauge("baton_prepared", "Responses prepared for connections that may come", *prepared as f64);
    metrics.gauge("baton_prepared_bytes", "Bytes of memory that those hold", *prepared_bytes as f64);
    add_prefetches(prefetches, metrics);
    let rows = leases.iter().map(|lease| ([lease.name.as_str()], f64::from(u8::from(lease.is_held))));
    metrics.gauges("baton_lease_held", "Whether a front-end's lease is held", ["frontend"], rows);
    let rows = leases.iter().map(|lease| ([lease.name.as_str()], f64::from(u8::from(lease.is_draining))));
    let help = "Whether a front-end wants its connections to go elsewhere";
    metrics.gauges("baton_draining", help, ["frontend"], rows);
}

fn add_stats(stats: &Stats, metrics: &mut Metrics) {
    let Stats {
        requests,
        response_bytes,
        asks,
        handoffs_started,
        handoffs_amid,
        handoffs_done,
        handoffs_refused,
        image_bytes,
        freeze_failed,
        installed,
        refused,
        stragglers,
        held,
        returned,
        discarded,
        lost,
        leases_lapsed,
        ecn_marked,
        ecn_slowed,
        fetches,
        tail_bytes_taken,
        closed,
    } = stats;
    for (name, help, value) in [
        ("baton_requests_total", "Requests answered", requests),
        ("baton_response_bytes_total", "Bytes of responses, heads included", response_bytes),
        ("baton_asks_total", "Questions of owners who serves a request", asks),
        ("baton_handoffs_amid_total", "Handoffs begun in the middle of a response", handoffs_amid),
        ("baton_image_bytes_total", "Bytes of images sent", image_bytes),
        ("baton_freeze_failures_total", "Connections reset because their bytes could not be read", freeze_failed),
        ("baton_stragglers_total", "Client packets passed on to a later owner", stragglers),
        ("baton_held_packets_total", "Client packets held until their connection came", held),
        ("baton_returned_packets_total", "Held packets given back to the front-end", returned),
        (
            "baton_discarded_total",
            "Connections dropped without a word: another owns them, or no lease is held",
            discarded,
        ),
        ("baton_ecn_marked_total", "Segments of clients that a router had marked for congestion", ecn_marked),
        ("baton_ecn_slowed_total", "Windows reduced because what was sent from here was marked", ecn_slowed),
        ("baton_fetches_total", "Questions for bytes that an earlier owner keeps", fetches),
        ("baton_tail_bytes_taken_total", "Bytes taken over from earlier owners", tail_bytes_taken),
        ("baton_leases_lapsed_total", "Leases that ran out", leases_lapsed),
    ] {
        metrics.counter(name, help, *value);
    }
    let images = [(["installed"], *installed), (["refused"], *refused)];
    metrics.counters("baton_images_total", "Images that came here, by what became of them", ["result"], images);
    metrics.handoffs(KIND, *handoffs_started, &[("done", *handoffs_done), ("lost", *lost)], handoffs_refused);
    metrics.closed(closed);
    let causes = CloseReason::ALL.iter().zip(closed).filter(|(reason, _)| is_reset_of_ours(**reason));
    let rows = causes.map(|(reason, number)| ([reason.label()], *number));
    metrics.counters("baton_resets_total", "Connections reset, by cause", ["cause"], rows);
}

fn add_tails(tails: &TailNumbers, metrics: &mut Metrics) {
    let TailNumbers { held, bytes, counts: TailCounts { kept, fetched_bytes, pushed_bytes, gone, asked } } = tails;
    metrics.gauge("baton_tails", "Connections given away whose last bytes are kept here", *held as f64);
    metrics.gauge("baton_tail_bytes", "Bytes of those", *bytes as f64);
    metrics.counter("baton_tails_kept_total", "Connections given away whose last bytes stayed here", *kept);
    let rows = [(["fetched"], *fetched_bytes), (["pushed"], *pushed_bytes)];
    metrics.counters("baton_tail_bytes_given_total", "Bytes kept here that a later owner was sent", ["how"], rows);
    metrics.counter("baton_tails_gone_total", "Questions for bytes that are not kept here any more", *gone);
    metrics.counter(
        "baton_tails_asked_total",
        "Questions to a front-end whether a tail's connection has ended",
        *asked,
    );
}

fn add_prefetches(counts: &AheadCounts, metrics: &mut Metrics) {
    let AheadCounts { received, used, repeated, declined, refused, stale, expired, void } = *counts;
    let rows = [
        (["received"], received),
        (["used"], used),
        (["repeated"], repeated),
        (["declined"], declined),
        (["refused"], refused),
        (["stale"], stale),
        (["expired"], expired),
        (["void"], void),
    ];
    let help = "Words of requests that are about to come, by what became of them";
    metrics.counters("baton_prefetches_total", help, ["event"], rows);
}

const fn is_reset_of_ours(reason: CloseReason) -> bool {
    match reason {
        CloseReason::Aborted | CloseReason::ContentLost | CloseReason::TailLost => true,
        CloseReason::Finished | CloseReason::ResetByPeer | CloseReason::TimedOut => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Composed;
    use crate::settings::{Life, Settings};
    use crate::stats::{Command, LeaseSnapshot, Reply};
    use crate::{BackEnd, config};
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
        let config = config::parse("b.toml", include_str!("../../../docs/examples/backend.toml")).unwrap();
        let secret = ClusterSecret::parse(&[b'k'; 32]).unwrap();
        let macs = &[MacAddr([2, 0, 0, 0, 0, 2])];
        let life = Life { boot: Boot(1), seed: [7; 32], secrets: secret.into(), macs, unix_at_origin_s: 0 };
        let mut node = BackEnd::new(Settings::new(&config, life), Composed::new());
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
        for line in ["baton_lease_held{frontend=\"fe1\"} 0.0", "baton_handoffs_total{kind=\"later\",result=\"lost\"} 0"]
        {
            assert!(text.contains(&format!("{line}\n")), "{line:?} is not in\n{text}");
        }
        assert_eq!(text.matches("\nbaton_handoffs_refused_total{").count(), RefuseReason::ALL.len() + 1);
    }

    #[test]
    fn known_numbers_are_where_they_belong() {
        let mut drops = DropCounters::default();
        drops.count(DropReason::HoldLimit);
        let mut said = Traffic::default();
        said.datagrams += 141;
        said.count(16);
        let windows = Windows { bytes: 9_000, bytes_max: 10_000, refused: 130 };
        let stats = Stats {
            requests: 101,
            response_bytes: 102,
            asks: 103,
            handoffs_started: 104,
            handoffs_done: 105,
            handoffs_amid: 126,
            handoffs_refused: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
            image_bytes: 106,
            freeze_failed: 107,
            installed: 108,
            refused: 109,
            stragglers: 110,
            held: 111,
            returned: 112,
            discarded: 113,
            lost: 114,
            leases_lapsed: 115,
            ecn_marked: 117,
            ecn_slowed: 118,
            fetches: 119,
            tail_bytes_taken: 120,
            closed: [21, 22, 23, 24, 25, 26],
        };
        let held = LeaseSnapshot { name: "fe1".to_owned(), is_held: true, ..LeaseSnapshot::default() };
        let drained = LeaseSnapshot { name: "fe2".to_owned(), is_draining: true, ..LeaseSnapshot::default() };
        let leases = vec![held, drained];
        let (store, store_ahead, store_failures) = ((5, 6_000), 65_536, 116);
        let tails = TailNumbers {
            held: 6,
            bytes: 7_000,
            counts: TailCounts { kept: 121, fetched_bytes: 122, pushed_bytes: 123, gone: 124, asked: 125 },
        };
        let prefetches = AheadCounts {
            received: 131,
            used: 132,
            repeated: 133,
            declined: 134,
            refused: 135,
            stale: 136,
            expired: 137,
            void: 138,
        };
        let (connections, leaving, held, ahead) = (50, 4, 3, (7, 8_000));
        let counts = Snapshot {
            stats,
            drops,
            said,
            windows,
            connections,
            leaving,
            held,
            store,
            store_ahead,
            store_failures,
            tails,
            ahead,
            prefetches,
            leases,
        };
        let text = text(&counts);
        for line in EXPECTED.lines() {
            assert!(text.contains(&format!("\n{line}\n")), "{line:?} is not in\n{text}");
        }
    }

    const EXPECTED: &str = r#"baton_window_growth_bytes 9000.0
baton_window_growth_refused_total 130
baton_drops_total{reason="hold_limit"} 1
baton_messages_sent_total{message="Handoff"} 1
baton_datagrams_sent_total 141
baton_connections{state="owned"} 50.0
baton_connections{state="leaving"} 4.0
baton_holding_packets 3.0
baton_store_sources 5.0
baton_store_bytes 6000.0
baton_store_ahead_bytes 65536.0
baton_store_failures_total 116
baton_requests_total 101
baton_response_bytes_total 102
baton_asks_total 103
baton_handoffs_started_total{kind="later"} 104
baton_handoffs_total{kind="later",result="done"} 105
baton_handoffs_total{kind="later",result="refused"} 66
baton_handoffs_total{kind="later",result="lost"} 114
baton_handoffs_refused_total{kind="later",reason="overload"} 1
baton_handoffs_refused_total{kind="later",reason="content_unknown"} 10
baton_handoffs_refused_total{kind="later",reason="arbiter"} 11
baton_handoffs_amid_total 126
baton_image_bytes_total 106
baton_freeze_failures_total 107
baton_images_total{result="installed"} 108
baton_images_total{result="refused"} 109
baton_stragglers_total 110
baton_held_packets_total 111
baton_returned_packets_total 112
baton_discarded_total 113
baton_leases_lapsed_total 115
baton_tails 6.0
baton_tail_bytes 7000.0
baton_tails_kept_total 121
baton_tail_bytes_given_total{how="fetched"} 122
baton_tail_bytes_given_total{how="pushed"} 123
baton_tails_gone_total 124
baton_tails_asked_total 125
baton_prepared 7.0
baton_prepared_bytes 8000.0
baton_prefetches_total{event="received"} 131
baton_prefetches_total{event="used"} 132
baton_prefetches_total{event="repeated"} 133
baton_prefetches_total{event="declined"} 134
baton_prefetches_total{event="refused"} 135
baton_prefetches_total{event="stale"} 136
baton_prefetches_total{event="expired"} 137
baton_prefetches_total{event="void"} 138
baton_fetches_total 119
baton_tail_bytes_taken_total 120
baton_ecn_marked_total 117
baton_ecn_slowed_total 118
baton_lease_held{frontend="fe1"} 1.0
baton_lease_held{frontend="fe2"} 0.0
baton_draining{frontend="fe1"} 0.0
baton_draining{frontend="fe2"} 1.0
baton_closed_total{reason="finished"} 21
baton_closed_total{reason="timed_out"} 23
baton_resets_total{cause="aborted"} 24
baton_resets_total{cause="content_lost"} 25"#;
}
