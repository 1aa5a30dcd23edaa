//! Instruction counts against a baseline in the tree.
//!
//! Each case runs in a process of its own under valgrind, which counts the instructions of measured work and nothing
//! else. The counts of one binary repeat to the last digit; another compiler or another processor's choice of library
//! routines (checksums, AES, copying) shifts them a little.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cases::{CASES, DIFFERENCES};
use crate::meter::COUNTED;

/// How much more than its baseline a count may be, in percent.
pub const TOLERANCE_PERCENT: u64 = 3;

/// Instructions per case, once.
pub type Counts = BTreeMap<String, u64>;

/// Counts the instructions of one case. `program` runs it when it is called with `run NAME`.
///
/// # Errors
/// valgrind is not there, or the case fails.
pub fn count(program: &Path, name: &str) -> Result<u64> {
    let folder = tempfile::tempdir()?;
    let totals = folder.path().join("totals");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", totals.display()))
        .arg(program)
        .args(["run", name])
        .output()
        .context("valgrind does not start; ci/setup installs it")?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let times: u64 = String::from_utf8(output.stdout)?.trim().parse().context("how often the work was done")?;
    let text = std::fs::read_to_string(&totals)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:")).context("no total")?;
    let total: u64 = total.trim().parse()?;
    ensure!(total > 0 && times > 0, "{name}: nothing was counted");
    Ok((total + times / 2) / times)
}

/// Reads a baseline.
///
/// # Errors
/// There is none, or it is no list of counts.
pub fn read(path: &Path) -> Result<Counts> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{}: ci/bench --bless makes one", path.display()))?;
    let table: BTreeMap<String, Counts> = toml::from_str(&text).with_context(|| path.display().to_string())?;
    table.into_iter().find_map(|(name, counts)| (name == "instructions").then_some(counts)).context("no [instructions]")
}

/// A baseline's text.
#[must_use]
pub fn text(counts: &Counts) -> String {
    let mut text =
        "# Instructions per case, once; what once means is said by `ci/bench --list`. Written by `ci/bench --bless`.\n\
                    [instructions]\n"
            .to_owned();
    for case in CASES {
        if let Some(count) = counts.get(case.name) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "\"{}\" = {count}", case.name);
        }
    }
    text
}

/// How a count stands to its baseline.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Standing {
    /// There is no baseline for it.
    New,
    /// Not more than the tolerance above; so many percent.
    Holds(f64),
    /// More than that.
    Broken(f64),
}

/// Compares.
#[must_use]
pub fn compare(count: u64, baseline: Option<u64>) -> Standing {
    let Some(baseline) = baseline else { return Standing::New };
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let percent = (count as f64 / baseline as f64 - 1.0) * 100.0;
    if count * 100 > baseline * (100 + TOLERANCE_PERCENT) {
        Standing::Broken(percent)
    } else {
        Standing::Holds(percent)
    }
}

/// What [`DIFFERENCES`] come to, for those whose cases were counted.
#[must_use]
pub fn differences(counts: &Counts) -> Vec<(&'static str, u64)> {
    let of = |name: &str| counts.get(name).copied();
    DIFFERENCES.iter().filter_map(|d| Some((d.name, of(d.more)?.saturating_sub(of(d.less)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_percent_more_hold_and_a_little_more_do_not() {
        assert!(matches!(compare(1_030, Some(1_000)), Standing::Holds(_)));
        assert!(matches!(compare(1_031, Some(1_000)), Standing::Broken(_)));
        assert!(matches!(compare(10, Some(1_000)), Standing::Holds(_)));
        assert_eq!(compare(10, None), Standing::New);
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let counts: Counts = CASES.iter().zip(100..).map(|(case, count)| (case.name.to_owned(), count)).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.toml");
        std::fs::write(&path, text(&counts)).unwrap();
        assert_eq!(read(&path).unwrap(), counts);
        std::fs::write(&path, "[instructions]\n\"tcp/ack\" = \"many\"\n").unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn names_are_unique_and_differences_name_cases() {
        let names: std::collections::BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        for difference in DIFFERENCES {
            assert!(names.contains(difference.more) && names.contains(difference.less), "{}", difference.name);
        }
    }
}
