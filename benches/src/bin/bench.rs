//! `bench counts`: instructions against the baseline. `bench times`: nanoseconds of the same work against the budgets.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use baton_benches::cases::{self, CASES, Case, DIFFERENCES};
use baton_benches::gate::{self, Counts, Standing, TOLERANCE_PERCENT};
use clap::{Parser, Subcommand};

/// Measures Baton's data path.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Counts instructions and compares them with the baseline.
    Counts {
        /// The baseline.
        #[arg(long)]
        baseline: PathBuf,
        /// Writes what was counted as the new baseline; cases that were not counted keep theirs.
        #[arg(long)]
        bless: bool,
        /// Only these cases.
        cases: Vec<String>,
    },
    /// Measures the least time of several runs and compares it with the budget.
    Times {
        /// How many runs.
        #[arg(long, default_value_t = 20)]
        runs: u32,
        /// Only these cases.
        cases: Vec<String>,
    },
    /// Lists the cases.
    List,
    /// Does one case's work once and prints how often it did it; for valgrind.
    #[command(hide = true)]
    Run {
        /// The case.
        case: String,
    },
}

fn main() -> Result<ExitCode> {
    match Options::parse().command {
        Command::Counts { baseline, bless, cases } => counts(&baseline, bless, &chosen(&cases)?),
        Command::Times { runs, cases } => times(runs, &chosen(&cases)?),
        Command::List => {
            for Case { name, what, .. } in CASES {
                println!("{name:24} {what}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { case } => {
            println!("{}", (find(&case)?.run)()?.times);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn find(name: &str) -> Result<&'static Case> {
    cases::find(name).with_context(|| format!("there is no case {name}; `bench list` has them"))
}

fn chosen(names: &[String]) -> Result<Vec<&'static Case>> {
    if names.is_empty() { Ok(CASES.iter().collect()) } else { names.iter().map(|name| find(name)).collect() }
}

fn counts(path: &PathBuf, bless: bool, cases: &[&Case]) -> Result<ExitCode> {
    let program = std::env::current_exe()?;
    let baseline = if bless { gate::read(path).unwrap_or_default() } else { gate::read(path)? };
    let began = Instant::now();
    let mut counts = Counts::new();
    let mut broken = 0;
    println!("{:24} {:>12} {:>12} {:>8}", "case", "instructions", "baseline", "");
    for case in cases {
        let count = gate::count(&program, case.name)?;
        counts.insert(case.name.to_owned(), count);
        let before = baseline.get(case.name).copied();
        let (change, mark) = match gate::compare(count, before) {
            Standing::New => ("new".to_owned(), ""),
            Standing::Holds(percent) => (format!("{percent:+.1} %"), ""),
            Standing::Broken(percent) => (format!("{percent:+.1} %"), " <-- more than the baseline allows"),
        };
        broken += usize::from(!mark.is_empty());
        let before = before.map_or("-".to_owned(), |before| before.to_string());
        println!("{:24} {count:>12} {before:>12} {change:>8}{mark}", case.name);
    }
    for (name, count) in gate::differences(&counts) {
        println!("{name:24} {count:>12}");
    }
    println!("{} cases in {} s", cases.len(), began.elapsed().as_secs());
    if bless {
        let all: Counts = baseline.into_iter().chain(counts).collect();
        std::fs::write(path, gate::text(&all))?;
        return Ok(ExitCode::SUCCESS);
    }
    if broken > 0 {
        println!(
            "{broken} counts are more than {TOLERANCE_PERCENT} % above the baseline; where that is wanted: ci/bench --bless"
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn times(runs: u32, cases: &[&Case]) -> Result<ExitCode> {
    println!("{:24} {:>10} {:>10}", "case", "ns", "budget");
    let mut measured = Vec::new();
    for case in cases {
        let ns = least(runs, case)?;
        print_time(case.name, ns, case.budget_ns);
        measured.push((case.name, ns));
    }
    let of = |wanted: &str| measured.iter().find(|(name, _)| *name == wanted).map(|(_, ns)| *ns);
    for difference in DIFFERENCES {
        if let (Some(more), Some(less)) = (of(difference.more), of(difference.less)) {
            print_time(difference.name, more - less, Some(difference.budget_ns));
        }
    }
    println!("image of an idle connection: {} bytes (budget 384)", cases::idle_image_len()?);
    Ok(ExitCode::SUCCESS)
}

/// The least time of `runs` runs, once, in nanoseconds: what disturbs a run only makes it longer. Runs that take long are
/// repeated less often.
fn least(runs: u32, case: &Case) -> Result<f64> {
    const ENOUGH_S: u64 = 5;
    let (began, mut least) = (Instant::now(), f64::INFINITY);
    for _ in 0..runs {
        let done = (case.run)()?;
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let ns = done.meter.spent().as_nanos() as f64 / done.times as f64;
        least = least.min(ns);
        if began.elapsed().as_secs() >= ENOUGH_S {
            break;
        }
    }
    Ok(least)
}

fn print_time(name: &str, ns: f64, budget_ns: Option<f64>) {
    let verdict = match budget_ns {
        None => String::new(),
        Some(budget) if ns <= budget => format!("{budget:>10.0} holds"),
        Some(budget) => format!("{budget:>10.0} MISSED, {:.1} times as long", ns / budget),
    };
    println!("{name:24} {ns:>10.0} {verdict}");
}
