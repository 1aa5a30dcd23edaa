//! `sim --seed S` runs one scenario, `sim --seeds N` many. The last line of one run is its trace hash.

use anyhow::{Context, Result};
use baton_sim::dice::PPM;
use baton_sim::pcap::Pcap;
use baton_sim::plan::{BACK_ENDS_MAX, CLIENTS_MAX, Family, Subject};
use baton_sim::run::{Recorders, Report, run};
use baton_sim::scenario::{Scenario, Severity, Wishes};
use baton_stack::time::Duration;
use clap::{Parser, ValueEnum};
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs a whole cluster in virtual time: production nodes, independent clients, seeded faults, checkers on the wire.
///
/// Exit status: 0 if nothing was found, 1 if a rule was broken, 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(name = "sim", version)]
struct Options {
    /// Runs the scenario of this seed.
    #[arg(long, value_name = "S", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Runs this many seeds, one after the other, until one fails.
    #[arg(long, value_name = "N", required_unless_present = "seed")]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, value_name = "S", default_value_t = 0)]
    from: u64,
    /// Goes on after a seed that fails.
    #[arg(long)]
    keep_going: bool,
    /// Puts one ordinary server in the cluster's place: says whether the scenario itself can be got through.
    #[arg(long)]
    reference: bool,
    /// Prints every frame and every trouble.
    #[arg(short, long, conflicts_with = "seeds")]
    verbose: bool,
    /// Writes the link between clients and cluster to a pcap file.
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    pcap: Option<PathBuf>,
    /// How bad it may get; drawn from the seed if not given.
    #[arg(long, value_enum)]
    severity: Option<Bad>,
    /// Which addresses there are; drawn from the seed if not given.
    #[arg(long, value_enum)]
    family: Option<Addresses>,
    /// As --family ipv6.
    #[arg(long, conflicts_with = "family")]
    ipv6: bool,
    /// Number of back-ends.
    #[arg(long, value_name = "N", value_parser = count(BACK_ENDS_MAX))]
    backends: Option<usize>,
    /// Number of client hosts.
    #[arg(long, value_name = "N", value_parser = count(CLIENTS_MAX))]
    clients: Option<usize>,
    /// Connections of each client host.
    #[arg(long, value_name = "N", value_parser = count(CONNECTIONS_MAX))]
    connections: Option<usize>,
    /// Requests of each connection.
    #[arg(long, value_name = "N", value_parser = count(REQUESTS_MAX))]
    requests: Option<usize>,
    /// Share of frames lost between clients and cluster, each way, 0 to 1.
    #[arg(long, value_name = "P", value_parser = share)]
    loss: Option<u32>,
    /// Share of frames delivered twice.
    #[arg(long, value_name = "P", value_parser = share)]
    dup: Option<u32>,
    /// Share of frames that others may overtake.
    #[arg(long, value_name = "P", value_parser = share)]
    reorder: Option<u32>,
    /// Share of frames with a changed byte.
    #[arg(long, value_name = "P", value_parser = share)]
    corrupt: Option<u32>,
    /// One-way delay between clients and cluster, in milliseconds.
    #[arg(long, value_name = "MS")]
    delay: Option<u64>,
}

/// Connections that `--connections` allows.
const CONNECTIONS_MAX: usize = 10_000;
/// Requests that `--requests` allows.
const REQUESTS_MAX: usize = 100_000;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Bad {
    /// Nothing goes wrong.
    Clean,
    /// Links lose, double, reorder and corrupt.
    Links,
    /// Besides, back-ends crash, stand still or are cut off.
    Nodes,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Addresses {
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// Clients and VIP have IPv6, the nodes IPv4.
    Mixed,
}

impl Options {
    fn family(&self) -> Option<Addresses> {
        if self.ipv6 { Some(Addresses::Ipv6) } else { self.family }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match drive(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `false` if a rule was broken.
fn drive(options: &Options) -> Result<bool> {
    if let Some(seed) = options.seed {
        return one(options, seed);
    }
    let count = options.seeds.unwrap_or(0);
    let mut failures = 0;
    for (done, seed) in (1..=count).zip(options.from..) {
        let report = run(&scenario(options, seed), subject(options), Recorders::default());
        if report.violations.is_empty() {
            eprintln!("[{done}/{count}] seed {seed}: ok: {report}");
            continue;
        }
        failures += 1;
        eprintln!("[{done}/{count}] seed {seed}: FAILED: {report}");
        complain(options, seed, &report);
        if !options.keep_going {
            break;
        }
    }
    println!("{failures} of {count} seeds failed");
    Ok(failures == 0)
}

fn one(options: &Options, seed: u64) -> Result<bool> {
    let scenario = scenario(options, seed);
    let Scenario { back_ends, family, .. } = &scenario;
    println!("seed {seed}: {back_ends} back-ends, {} connections, {family:?}", scenario.connections());
    println!("to the cluster: {:?}", scenario.uplink);
    println!("to the clients: {:?}", scenario.downlink);
    println!("in the cluster: {:?}", scenario.cluster_link);
    for (at, trouble) in &scenario.troubles {
        println!("at {} ms: {trouble:?}", at.as_millis());
    }
    let pcap = options.pcap.as_ref().map(|path| {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Pcap::new(Box::new(BufWriter::new(file))).with_context(|| format!("cannot write {}", path.display()))
    });
    let recorders = Recorders { pcap: pcap.transpose()?, verbose: options.verbose };
    let report = run(&scenario, subject(options), recorders);
    println!("{report}");
    if !report.violations.is_empty() {
        complain(options, seed, &report);
    }
    println!("{}", report.trace);
    Ok(report.violations.is_empty())
}

fn complain(options: &Options, seed: u64, report: &Report) {
    for violation in &report.violations {
        println!("violation at {violation}");
    }
    println!("repeat with: sim --seed {seed}{}", repetition(options));
}

/// The options that make a scenario, as they were given.
fn repetition(options: &Options) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!(" --{name} {value}"));
        }
    };
    let share = |ppm: Option<u32>| ppm.map(|ppm| (f64::from(ppm) / f64::from(PPM)).to_string());
    add("severity", options.severity.and_then(|bad| bad.to_possible_value()).map(|bad| bad.get_name().to_owned()));
    add("family", options.family().and_then(|of| of.to_possible_value()).map(|of| of.get_name().to_owned()));
    add("backends", options.backends.map(|n| n.to_string()));
    add("clients", options.clients.map(|n| n.to_string()));
    add("connections", options.connections.map(|n| n.to_string()));
    add("requests", options.requests.map(|n| n.to_string()));
    add("loss", share(options.loss));
    add("dup", share(options.dup));
    add("reorder", share(options.reorder));
    add("corrupt", share(options.corrupt));
    add("delay", options.delay.map(|ms| ms.to_string()));
    if options.reference {
        text.push_str(" --reference");
    }
    text
}

fn scenario(options: &Options, seed: u64) -> Scenario {
    let severity = options.severity.map(|bad| match bad {
        Bad::Clean => Severity::Clean,
        Bad::Links => Severity::Links,
        Bad::Nodes => Severity::Nodes,
    });
    let family = options.family().map(|family| match family {
        Addresses::Ipv4 => Family::V4,
        Addresses::Ipv6 => Family::V6,
        Addresses::Mixed => Family::Mixed,
    });
    let wishes = Wishes {
        severity,
        family,
        back_ends: options.backends,
        clients: options.clients,
        connections: options.connections,
        requests: options.requests,
        loss_ppm: options.loss,
        duplicate_ppm: options.dup,
        reorder_ppm: options.reorder,
        corrupt_ppm: options.corrupt,
        delay: options.delay.map(Duration::from_millis),
    };
    Scenario::with(seed, &wishes)
}

const fn subject(options: &Options) -> Subject {
    if options.reference { Subject::Reference } else { Subject::Cluster }
}

fn count(max: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(n) if (1..=max).contains(&n) => Ok(n),
        _ => Err(format!("not a number from 1 to {max}")),
    }
}

/// A share from 0 to 1, in parts per million.
fn share(text: &str) -> Result<u32, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.0..=1.0).contains(&share) {
        return Err("not from 0 to 1".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
    let ppm = (share * f64::from(PPM)).round() as u32;
    Ok(ppm)
}
