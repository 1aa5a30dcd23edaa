//! Metrics: plain numbers, collected for one scrape and written as Prometheus text.
//!
//! A node's numbers live in its poll loop as plain integers. A scrape asks the loop for a copy and puts it in here, a line per metric:
//!
//! ```
//! use baton_host::Metrics;
//! let mut metrics = Metrics::default();
//! metrics.counter("baton_connections_total", "Connections accepted", 7);
//! metrics.gauge("baton_connections_open", "Connections that are open now", 3.0);
//! metrics.counters("baton_handoffs_total", "Handoffs by result", ["result"], [(["installed"], 5), (["refused"], 1)]);
//! assert!(metrics.to_text().contains("baton_handoffs_total{result=\"refused\"} 1\n"));
//! ```

use baton_stack::drop::DropCounters;
use baton_stack::engine::Windows;
use baton_stack::tcp::CloseReason;
use handoff_proto::message::RefuseReason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;

/// The content type of [`Metrics::to_text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The numbers of one scrape. A metric that is given twice, say by the shell and by the node, is written once: rows with the same labels
/// add up.
#[derive(Clone, Default, Debug)]
pub struct Metrics {
    families: Vec<Family>,
}

#[derive(Clone, Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    labels: Vec<(&'static str, String)>,
    value: Number,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Counter,
    Gauge,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Count(u64),
    Level(f64),
}

impl Number {
    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Count(a), Self::Count(b)) => Self::Count(a.saturating_add(b)),
            (Self::Level(a), Self::Level(b)) => Self::Level(a + b),
            // One name is of one kind; if it is not, the later number stands.
            (Self::Count(_), Self::Level(_)) | (Self::Level(_), Self::Count(_)) => other,
        }
    }
}

impl Metrics {
    /// A number that only grows. `name` begins with `baton_` and ends with `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.counters::<0, &str>(name, help, [], [([], value)]);
    }

    /// Numbers that only grow, told apart by `labels`; each row has a value for every label.
    pub fn counters<const N: usize, V: Into<String>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        rows: impl IntoIterator<Item = ([V; N], u64)>,
    ) {
        debug_assert!(name.ends_with("_total"), "{name}: a counter's name ends with _total");
        let rows = rows.into_iter().map(|(values, value)| (values, Number::Count(value)));
        self.add(name, help, Kind::Counter, labels, rows);
    }

    /// A number that goes up and down. `name` begins with `baton_`.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.gauges::<0, &str>(name, help, [], [([], value)]);
    }

    /// Numbers that go up and down, told apart by `labels`; each row has a value for every label.
    pub fn gauges<const N: usize, V: Into<String>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        rows: impl IntoIterator<Item = ([V; N], f64)>,
    ) {
        let rows = rows.into_iter().map(|(values, value)| (values, Number::Level(value)));
        self.add(name, help, Kind::Gauge, labels, rows);
    }

    /// `baton_drops_total{reason="..."}`, a row for every reason, also those that never occurred.
    pub fn drops(&mut self, drops: &DropCounters) {
        let rows = drops.iter().map(|(reason, count)| ([reason.label()], count));
        self.counters("baton_drops_total", "Packets and messages dropped, by reason", ["reason"], rows);
    }

    /// What receive windows have grown by.
    pub fn windows(&mut self, windows: &Windows) {
        let help = "Bytes that receive windows have grown by, of all connections together";
        self.gauge("baton_window_growth_bytes", help, windows.bytes as f64);
        let help = "Times that a receive window has grown less than its connection could have used";
        self.counter("baton_window_growth_refused_total", help, windows.refused);
    }

    /// The handoffs that a node has made, all of one kind: `first` or `later`. `refused` counts those taken back, by [`RefuseReason`] and behind
    /// them those that the arbiter took back; `results` has the fates that are not among them.
    pub fn handoffs(&mut self, kind: &'static str, started: u64, results: &[(&'static str, u64)], refused: &[u64]) {
        self.counters("baton_handoffs_started_total", "Handoffs begun", ["kind"], [([kind], started)]);
        let results = results.iter().copied().chain([("refused", refused.iter().sum())]);
        let rows = results.map(|(result, number)| ([kind, result], number));
        self.counters("baton_handoffs_total", "Handoffs whose fate is known, by result", ["kind", "result"], rows);
        let reasons = RefuseReason::ALL.iter().map(|reason| reason.label()).chain(["arbiter"]);
        let rows = reasons.zip(refused).map(|(reason, number)| ([kind, reason], *number));
        self.counters("baton_handoffs_refused_total", "Handoffs taken back, by reason", ["kind", "reason"], rows);
    }

    /// Connections that ended at this node, by why: a number for each [`CloseReason`].
    pub fn closed(&mut self, closed: &[u64]) {
        let rows = CloseReason::ALL.iter().zip(closed).map(|(reason, number)| ([reason.label()], *number));
        self.counters("baton_closed_total", "Connections that ended at this node, by reason", ["reason"], rows);
    }

    /// All of it in the OpenMetrics text format, which Prometheus reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut out = String::new();
        // Writing to a String does not fail, and the collector adds no failure of its own.
        let written = text::encode(&mut out, &registry);
        debug_assert!(written.is_ok(), "metrics are always encodable");
        out
    }

    fn add<const N: usize, V: Into<String>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: [&'static str; N],
        rows: impl IntoIterator<Item = ([V; N], Number)>,
    ) {
        debug_assert!(name.starts_with("baton_"), "{name}: a metric's name begins with baton_");
        let at = self.families.iter().position(|family| family.name == name).unwrap_or_else(|| {
            self.families.push(Family { name, help, kind, rows: Vec::new() });
            self.families.len() - 1
        });
        let family = &mut self.families[at].rows;
        let known = family.len();
        for (values, value) in rows {
            let labels: Vec<_> = labels.into_iter().zip(values.map(Into::into)).collect();
            match family[..known].iter_mut().find(|row| row.labels == labels) {
                Some(row) => row.value = row.value.plus(value),
                None => family.push(Row { labels, value }),
            }
        }
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.families {
            let (kind, name) = match family.kind {
                // The encoder puts the suffix back.
                Kind::Counter => (MetricType::Counter, family.name.trim_end_matches("_total")),
                Kind::Gauge => (MetricType::Gauge, family.name),
            };
            let mut metric = encoder.encode_descriptor(name, family.help, None, kind)?;
            for row in &family.rows {
                match (row.value, row.labels.is_empty()) {
                    (Number::Count(value), true) => metric.encode_counter::<Labels, _, u64>(&value, None)?,
                    (Number::Level(value), true) => metric.encode_gauge(&value)?,
                    (Number::Count(value), false) => {
                        ConstCounter::new(value).encode(metric.encode_family(&row.labels)?)?;
                    }
                    (Number::Level(value), false) => {
                        ConstGauge::new(value).encode(metric.encode_family(&row.labels)?)?
                    }
                }
            }
        }
        Ok(())
    }
}

/// The labels of an exemplar; there are none.
type Labels = Vec<(&'static str, String)>;

#[cfg(test)]
mod tests {
    use super::*;
    use baton_stack::drop::DropReason;

    #[test]
    fn each_kind_as_text() {
        let mut metrics = Metrics::default();
        metrics.counter("baton_a_total", "Things that happened", u64::MAX);
        metrics.gauge("baton_b", "A level", 0.25);
        metrics.counters("baton_c_total", "By two labels", ["x", "y"], [(["1", "2"], 3), (["4", "5"], 6)]);
        metrics.gauges("baton_d", "By port", ["port"], (0..2).map(|port| ([port.to_string()], f64::from(port))));
        let expected = "# HELP baton_a Things that happened\n# TYPE baton_a counter\nbaton_a_total 18446744073709551615\n\
            # HELP baton_b A level\n# TYPE baton_b gauge\nbaton_b 0.25\n\
            # HELP baton_c By two labels\n# TYPE baton_c counter\nbaton_c_total{x=\"1\",y=\"2\"} 3\nbaton_c_total{x=\"4\",y=\"5\"} 6\n\
            # HELP baton_d By port\n# TYPE baton_d gauge\nbaton_d{port=\"0\"} 0.0\nbaton_d{port=\"1\"} 1.0\n# EOF\n";
        assert_eq!(metrics.to_text(), expected);
    }

    #[test]
    fn every_drop_reason_has_its_line() {
        let mut drops = DropCounters::default();
        drops.count(DropReason::BadChecksum);
        drops.count(DropReason::BadChecksum);
        let mut metrics = Metrics::default();
        metrics.drops(&drops);
        let text = metrics.to_text();
        assert!(text.contains("baton_drops_total{reason=\"bad_checksum\"} 2\n"), "{text}");
        assert!(text.contains("baton_drops_total{reason=\"unknown_flow\"} 0\n"), "{text}");
        assert_eq!(text.matches("baton_drops_total{").count(), DropReason::ALL.len());
    }

    #[test]
    fn what_two_sides_count_adds_up() {
        let mut metrics = Metrics::default();
        for reason in [DropReason::TransmitFull, DropReason::BadChecksum] {
            let mut drops = DropCounters::default();
            drops.count(reason);
            drops.count(DropReason::Truncated);
            metrics.drops(&drops);
        }
        metrics.counters("baton_x_total", "X", ["core"], [(["0"], 1)]);
        metrics.counters("baton_x_total", "X", ["core"], [(["1"], 2)]);
        let text = metrics.to_text();
        for line in ["transmit_full\"} 1", "bad_checksum\"} 1", "truncated\"} 2", "core=\"0\"} 1", "core=\"1\"} 2"] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        assert_eq!(text.matches("# TYPE").count(), 2);
    }

    #[test]
    fn no_metrics_are_still_a_complete_text() {
        assert_eq!(Metrics::default().to_text(), "# EOF\n");
    }
}
