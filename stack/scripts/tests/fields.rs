//! docs/tcb.md says of every field of a connection what becomes of it, and of none that there is not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A section of docs/tcb.md, and the structs that it is about: file below `stack/src/tcp`, and name.
const SECTIONS: [(&str, &[(&str, &str)]); 11] = [
    ("Tcb", &[("tcb.rs", "Tcb")]),
    ("Negotiated (`opts`)", &[("tcb.rs", "Negotiated")]),
    ("Snd", &[("tcb.rs", "Snd"), ("queue.rs", "Queue")]),
    ("Rcv", &[("tcb.rs", "Rcv"), ("tuning.rs", "Tuning")]),
    ("TsClock (`ts`)", &[("tcb.rs", "TsClock")]),
    ("Rtt", &[("rtt.rs", "Rtt")]),
    (
        "Congestion (`cc`)",
        &[
            ("cc/mod.rs", "Congestion"),
            ("cc/newreno.rs", "NewReno"),
            ("cc/cubic.rs", "Cubic"),
            ("cc/hystart.rs", "HyStart"),
        ],
    ),
    (
        "Recovery (`rec`)",
        &[
            ("recovery.rs", "Recovery"),
            ("rack.rs", "Rack"),
            ("prr.rs", "Prr"),
            ("prr.rs", "Undo"),
            ("scoreboard.rs", "Run"),
        ],
    ),
    ("Congestion that was signalled (`signals`)", &[("ecn.rs", "Signals")]),
    ("Path MTU (`path`)", &[("path.rs", "PathMtu")]),
    ("Timers", &[("timers.rs", "Timers")]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of a struct's fields.
fn fields_of(file: &str, name: &str) -> Vec<String> {
    let source = read(&format!("stack/src/tcp/{file}"));
    let from = [format!("pub struct {name} {{"), format!("pub struct {name}<")];
    let begin = from.iter().find_map(|head| source.find(head)).unwrap_or_else(|| panic!("{file} has no {name}"));
    let (body, _) = source[begin..].split_once("\n}").expect("it ends");
    let field = |line: &str| {
        let line = line.strip_prefix("    ")?.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        let (name, _) = line.split_once(": ")?;
        name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()).then(|| name.to_owned())
    };
    body.lines().filter_map(field).collect()
}

/// The rows of the tables in a section: what it is about, and its fate.
fn rows(text: &str, section: &str) -> Vec<(Vec<String>, String)> {
    let (_, rest) = text.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("there is no {section}"));
    let body = rest.split("\n## ").next().unwrap_or_default();
    let cells = body.lines().filter(|line| line.starts_with("| ")).map(|line| line.split('|').collect::<Vec<_>>());
    cells.filter(|cells| cells[1].contains('`')).map(|cells| (named(cells[1]), cells[2].trim().to_owned())).collect()
}

/// What stands in backticks: of `a.b` both.
fn named(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).flat_map(|name| name.split('.')).map(str::to_owned).collect()
}

#[test]
fn every_field_has_its_row_and_every_row_its_field() {
    let text = read("docs/tcb.md");
    for (section, structs) in SECTIONS {
        let rows = rows(&text, section);
        let told: BTreeSet<&str> = rows.iter().flat_map(|(names, _)| names).map(String::as_str).collect();
        let fields: Vec<(&str, Vec<String>)> =
            structs.iter().map(|(file, name)| (*name, fields_of(file, name))).collect();
        for (of, fields) in &fields {
            assert!(!fields.is_empty(), "{of} has no fields");
            for field in fields {
                assert!(told.contains(field.as_str()), "{section} says nothing of `{field}` of {of}");
            }
        }
        for name in told {
            let is_field = fields.iter().any(|(_, fields)| fields.iter().any(|field| field == name));
            assert!(is_field, "{section} speaks of `{name}`, which there is not");
        }
    }
}

#[test]
fn every_row_says_what_becomes_of_it() {
    let text = read("docs/tcb.md");
    for (section, _) in SECTIONS {
        for (names, fate) in rows(&text, section) {
            let is_fate = ["travel", "recomputed", "reset"].iter().any(|word| fate.starts_with(word));
            assert!(is_fate || section == "Tcb" && fate.is_empty(), "{section}: {names:?} has no fate but '{fate}'");
        }
    }
}
