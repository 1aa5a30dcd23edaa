//! The list of known keys against the reader: what is listed is accepted with its default, what is not is refused.

use baton_config::{Checker, Common, Config, Form, Key, known_keys, parse, table};
use proptest::prelude::*;
use std::collections::BTreeSet;

table! {
    /// The common tables by themselves.
    struct Plain {
        flat common: Common;
    }
}

impl Config for Plain {
    fn check(&self, checker: &mut Checker<'_>) {
        self.common.check(checker);
    }
}

const REQUIRED: [(&str, &str); 4] = [
    ("node.name", "\"n1\""),
    ("cluster.secret_file", "\"cluster.key\""),
    ("port[].device", "\"net_null0\""),
    ("port[].address", "\"10.77.0.10/24\""),
];

/// A text that writes each of `keys` with the value that `value` gives it.
fn write(keys: &[Key], value: impl Fn(&Key) -> Option<String>) -> String {
    let mut text = String::new();
    let mut open = String::new();
    for key in keys {
        let Some(value) = value(key) else { continue };
        let (table, name) = key.path.rsplit_once('.').unwrap_or(("", &key.path));
        if table != open {
            open = table.to_owned();
            text += &table.strip_suffix("[]").map_or(format!("[{table}]\n"), |array| format!("[[{array}]]\n"));
        }
        text += &format!("{name} = {value}\n");
    }
    text
}

fn required_or_default(key: &Key) -> Option<String> {
    let required = REQUIRED.iter().find(|(path, _)| *path == key.path).map(|(_, value)| (*value).to_owned());
    required.or_else(|| key.default.clone())
}

#[test]
fn each_listed_default_is_what_the_reader_takes_when_the_key_is_left_out() {
    let keys = known_keys::<Plain>();
    let spelled_out = write(&keys, required_or_default);
    let left_out = write(&keys, |key| key.required.then(|| required_or_default(key)).flatten());
    assert!(spelled_out.lines().count() > left_out.lines().count() + 30);
    assert_eq!(parse::<Plain>("a", &spelled_out).unwrap(), parse::<Plain>("b", &left_out).unwrap());
}

#[test]
fn the_required_keys_are_those_and_each_is_missed_by_name() {
    let keys = known_keys::<Plain>();
    let required: BTreeSet<&str> = keys.iter().filter(|key| key.required).map(|key| key.path.as_str()).collect();
    assert_eq!(required, REQUIRED.iter().map(|(path, _)| *path).collect());
    for (missing, _) in REQUIRED {
        let text = write(&keys, |key| (key.path != missing).then(|| required_or_default(key)).flatten());
        let error = parse::<Plain>("t", &text).unwrap_err();
        let found: Vec<_> = error.problems().iter().map(|problem| problem.key().replace("[0]", "[]")).collect();
        assert_eq!(found, [missing]);
    }
}

#[test]
fn keys_are_unique_described_and_spelled_alike() {
    let keys = known_keys::<Plain>();
    let paths: BTreeSet<&str> = keys.iter().map(|key| key.path.as_str()).collect();
    assert_eq!(paths.len(), keys.len());
    for key in &keys {
        assert!(
            key.path.chars().all(|c| c.is_ascii_lowercase()
                || c.is_ascii_digit()
                || c == '_'
                || c == '.'
                || c == '['
                || c == ']'),
            "{key}"
        );
        assert!(key.doc.trim().ends_with('.'), "{key}");
        let unit_is_ms = matches!(key.form, Form::Integer { unit: "ms", .. });
        assert_eq!(unit_is_ms, key.path.ends_with("_ms"), "{key}");
    }
    for named in ["limits.records", "tcp.congestion", "eal", "admin.listen", "port[].mtu"] {
        assert!(paths.contains(named), "{named}");
    }
}

#[test]
fn each_integer_is_bounded_just_where_its_form_says() {
    let keys = known_keys::<Plain>();
    let problem_at = |path: &str, value: i128| {
        let text = write(&keys, |key| {
            if key.path == path {
                Some(value.to_string())
            } else {
                key.required.then(|| required_or_default(key)).flatten()
            }
        });
        let found = parse::<Plain>("t", &text).err();
        found.is_some_and(|error| error.problems().iter().any(|problem| problem.message().contains("out of range")))
    };
    for key in &keys {
        let Form::Integer { min, max, .. } = key.form else { continue };
        let (min, max) = (i128::from(min), i128::from(max));
        for (value, refused) in [(min - 1, true), (min, false), (max, false), (max + 1, true)] {
            assert_eq!(problem_at(&key.path, value), refused, "{} = {value}", key.path);
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\[\\]a-z0-9_.=\"#\\n ]{0,200}") {
        let _ = parse::<Plain>("t", &text);
    }

    #[test]
    fn a_key_that_is_not_listed_is_refused(name in "[a-z_]{1,12}") {
        let path = format!("tcp.{name}");
        prop_assume!(!known_keys::<Plain>().iter().any(|key| key.path == path));
        let error = parse::<Plain>("t", &format!("tcp.{name} = 1\n")).unwrap_err();
        prop_assert!(error.problems().iter().any(|problem| problem.key() == path && problem.message() == "unknown key"));
    }
}
