//! docs/rfc9293.md is about every requirement, and what it names exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use baton_scripts::{cases, find};

/// How many there are of each kind in appendix B.
const KINDS: [(&str, usize); 4] = [("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1)];
const REASON_LEN_MIN: usize = 12;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The rows: requirement, what it asks, what checks it, what is to be said.
fn rows(text: &str) -> Vec<[String; 4]> {
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    let is_row = |line: &&str| KINDS.iter().any(|(kind, _)| line.starts_with(&format!("| {kind}-")));
    text.lines().filter(is_row).map(cells).map(|cells| row(&cells)).collect()
}

fn row(cells: &[String]) -> [String; 4] {
    let [before, id, asked, checked, said, behind] = cells else { panic!("{cells:?} is not of four cells") };
    assert!(before.is_empty() && behind.is_empty(), "{id}: text outside the cells");
    [id, asked, checked, said].map(Clone::clone)
}

fn table() -> Vec<[String; 4]> {
    rows(&fs::read_to_string(root().join("docs/rfc9293.md")).expect("the table"))
}

/// What stands in backticks.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_requirement_has_its_row() {
    let mut count = BTreeMap::new();
    for [id, ..] in table() {
        *count.entry(id).or_insert(0) += 1;
    }
    for (kind, last) in KINDS {
        for n in 1..=last {
            assert_eq!(count.remove(&format!("{kind}-{n}")), Some(1), "{kind}-{n} has not one row");
        }
    }
    assert!(count.is_empty(), "there are no such requirements: {count:?}");
}

#[test]
fn no_row_is_blank() {
    for [id, asked, checked, said] in table() {
        assert!(!asked.is_empty(), "{id}: what does it ask?");
        let has_reason = said.len() >= REASON_LEN_MIN;
        assert!(named(&checked).next().is_some() || has_reason, "{id}: neither a test nor a reason");
    }
}

#[test]
fn what_is_named_exists() {
    let scripts: Vec<String> = find(&cases()).expect("the scripts").into_iter().map(|(name, _)| name).collect();
    for [id, _, checked, _] in table() {
        for name in named(&checked) {
            if let Some((file, test)) = name.split_once("::") {
                let text = fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{id}: there is no {file}"));
                assert!(text.contains(&format!("fn {test}(")), "{id}: {file} has no test {test}");
            } else {
                assert!(scripts.iter().any(|script| script == name), "{id}: there is no script {name}");
            }
        }
    }
}

#[test]
fn a_script_names_only_requirements_that_name_it_too() {
    let table = table();
    for (name, path) in find(&cases()).expect("the scripts") {
        let text = fs::read_to_string(path).expect("a script");
        let comments = text.lines().filter_map(|line| line.split_once('#')).map(|(_, comment)| comment);
        let words: Vec<&str> =
            comments.flat_map(|comment| comment.split([' ', ',', '(', ')', ':', '.', ';'])).collect();
        for word in words {
            if let Some([.., checked, _]) = table.iter().find(|[id, ..]| id == word) {
                assert!(named(checked).any(|named| named == name), "{name} says {word}, whose row does not name it");
            }
        }
    }
}

#[test]
fn the_checks_find_what_is_wrong() {
    let rows = rows("| MUST-1 | a | `x/y`, `z` | |\n| Feature |\n| MAY-2 | b | | because |\n");
    assert_eq!(rows.len(), 2);
    assert_eq!(named(&rows[0][2]).collect::<Vec<_>>(), ["x/y", "z"]);
    assert_eq!(rows[1], ["MAY-2", "b", "", "because"]);
}
