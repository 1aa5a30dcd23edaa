//! Throughput and fairness over loss, round trip and buffer, as a table that is kept: `table.txt`.
//!
//! A change of TCP shows as a difference. Where chance decides which segments are lost, one cell may differ by [`CELL_PERCENT`];
//! the means of the columns may not, for then something is better or worse throughout. `BATON_SNAPSHOT=write` writes the table anew.

use std::fmt::Write;
use std::path::PathBuf;

use baton_stack::tcp::{Algorithm, TcpConfig};
use baton_stack::time::{Duration, Instant};

use super::peer::{Peer, PeerSettings};
use super::{Path, seeds, way};
use crate::link::LinkSettings;

const TABLE: &str = include_str!("table.txt");
/// Bits per second.
const BANDWIDTH: u64 = 10_000_000;
const LOSSES_PPM: [u32; 4] = [0, 1_000, 10_000, 30_000];
const ROUND_TRIPS_MS: [u64; 4] = [1, 10, 40, 100];
const BUFFERS_KB: [u64; 3] = [16, 64, 256];
/// One connection alone, from its SYN on.
const ALONE: Duration = Duration::from_secs(8);
/// The second of two begins so much later.
const LATER: Duration = Duration::from_secs(1);
/// Two are compared from here, until there.
const SHARED: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(22));
/// Queued and not sent, at least.
const AHEAD: u64 = 262_144;

const CELL_PERCENT: f64 = 20.0;
const MEAN_PERCENT: f64 = 4.0;
const COLUMNS: [&str; 4] = ["one CUBIC", "one NewReno", "two CUBIC", "later's share"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Conditions {
    loss_ppm: u32,
    rtt_ms: u64,
    buffer_kb: u64,
}

fn grid() -> impl Iterator<Item = Conditions> {
    LOSSES_PPM.into_iter().flat_map(|loss_ppm| {
        ROUND_TRIPS_MS.into_iter().flat_map(move |rtt_ms| {
            BUFFERS_KB.into_iter().map(move |buffer_kb| Conditions { loss_ppm, rtt_ms, buffer_kb })
        })
    })
}

/// What each connection's peer has heard at `from`, and at `to`.
fn heard(seed: u64, at: Conditions, flows: &[Algorithm], from: Duration, to: Duration) -> [Vec<u64>; 2] {
    let delay = Duration::from_micros(at.rtt_ms * 500);
    let down = LinkSettings {
        loss_ppm: at.loss_ppm,
        bandwidth: Some(BANDWIDTH),
        queue_bytes: at.buffer_kb * 1_000,
        ..way(delay)
    };
    let mut path = Path::new(seed, down, way(delay));
    for (n, congestion) in flows.iter().enumerate() {
        let starts = Instant::ZERO + LATER * u32::try_from(n).unwrap();
        path.connect(
            starts,
            &TcpConfig { congestion: *congestion, ..TcpConfig::default() },
            Peer::new(PeerSettings::default()),
        );
    }
    [from, to].map(|until| {
        path.play(Instant::ZERO + until, |path| {
            for n in 0..flows.len() {
                let host = path.host(n);
                if host.tcb().is_some_and(|tcb| tcb.unsent() < AHEAD) {
                    host.push(PeerSettings::default().seed, AHEAD);
                }
            }
            false
        });
        (0..flows.len()).map(|n| path.peer(n).heard()).collect()
    })
}

/// Mbit/s.
fn rate(bytes: u64, over: Duration) -> f64 {
    f64::from(u32::try_from(bytes * 8 / 1_000).unwrap()) / 1_000.0 / over.as_secs_f64()
}

fn alone(seed: u64, at: Conditions, congestion: Algorithm) -> f64 {
    let [before, after] = heard(seed, at, &[congestion], Duration::ZERO, ALONE);
    rate(after[0] - before[0], ALONE)
}

/// Of two CUBIC connections together, and what share of the half is the later one's.
fn shared(seed: u64, at: Conditions) -> [f64; 2] {
    let (from, to) = SHARED;
    let [before, after] = heard(seed, at, &[Algorithm::Cubic; 2], from, to);
    let [one, other] = [0, 1].map(|n| rate(after[n] - before[n], to - from));
    [one + other, other / ((one + other) / 2.0)]
}

fn row(seed: u64, at: Conditions) -> [f64; 4] {
    let [both, share] = shared(seed, at);
    [alone(seed, at, Algorithm::Cubic), alone(seed, at, Algorithm::NewReno), both, share]
}

fn write(rows: &[(Conditions, [f64; 4])]) -> String {
    let mut out = String::from(
        "# Mbit/s of goodput behind a bottleneck of 10 Mbit/s, from the simulator; table.rs says how.\n\
         # Two share it: together, and the later one's share of its fair half.\n\
         # loss %  RTT ms  buffer KB  one CUBIC  one NewReno  two CUBIC  later's share\n",
    );
    for (at, [cubic, new_reno, both, share]) in rows {
        let Conditions { loss_ppm, rtt_ms, buffer_kb } = at;
        let loss = f64::from(*loss_ppm) / 10_000.0;
        writeln!(out, "{loss:8.1}{rtt_ms:8}{buffer_kb:11}{cubic:11.2}{new_reno:13.2}{both:11.2}{share:15.2}").unwrap();
    }
    out
}

fn read(table: &str) -> Vec<[f64; 4]> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let numbers: Vec<f64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
            numbers[3..].try_into().unwrap()
        })
        .collect()
}

fn differs(one: f64, other: f64, percent: f64) -> bool {
    (one - other).abs() > other * percent / 100.0
}

#[test]
fn throughput_and_fairness_are_as_they_were() {
    let rows: Vec<_> = grid().map(|at| (at, row(1, at))).collect();
    if std::env::var("BATON_SNAPSHOT").is_ok_and(|word| word == "write") {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/path/table.txt");
        std::fs::write(file, write(&rows)).unwrap();
        return;
    }
    let kept = read(TABLE);
    assert_eq!(kept.len(), rows.len());
    let mut differences = String::new();
    for ((at, row), kept) in rows.iter().zip(&kept) {
        for ((is, was), column) in row.iter().zip(kept).zip(COLUMNS) {
            if differs(*is, *was, CELL_PERCENT) {
                writeln!(differences, "{at:?}, {column}: {is:.2}, was {was:.2}").unwrap();
            }
        }
    }
    // Other losses, in a long run: what is left of chance in the means becomes less.
    let further = (2..=seeds(1)).flat_map(|seed| grid().map(move |at| row(seed, at)));
    let all: Vec<[f64; 4]> = rows.iter().map(|(_, row)| *row).chain(further).collect();
    for (n, column) in COLUMNS.into_iter().enumerate() {
        let mean = |rows: &[[f64; 4]]| rows.iter().map(|row| row[n]).sum::<f64>() / rows.len() as f64;
        let (is, was) = (mean(&all), mean(&kept));
        println!("{column}: {is:.3} on average, was {was:.3}");
        if differs(is, was, MEAN_PERCENT) {
            writeln!(differences, "{column} on average: {is:.3}, was {was:.3}").unwrap();
        }
    }
    assert!(
        differences.is_empty(),
        "{differences}If that is as it should be: BATON_SNAPSHOT=write cargo nextest run -p baton-sim path::table"
    );
}
