//! The back-end's program in a shell without DPDK: from the command line to the exit code.
//!
//! One test runs the node, because signals and logging belong to the process.
#![cfg(feature = "program")]

#[path = "../../../stack/host/tests/support/node/mod.rs"]
mod node;

use baton_backend::program::BackendProgram;
use node::{Wrong, execute, expect_parts, expect_refused, expect_short_secret_refused, run_and_ask};
use std::fs;
use std::path::PathBuf;

const EXAMPLE: &str = include_str!("../../../docs/examples/backend.toml");
const FILE: &str = "backend.toml";

/// A directory with the example's configuration, a secret, and a `www` below the configuration.
fn directory() -> (tempfile::TempDir, PathBuf) {
    let made = node::directory(FILE, &EXAMPLE.replacen("root = \"/srv/www\"", "root = \"www\"", 1));
    fs::create_dir(made.0.path().join("www")).unwrap();
    made
}

#[test]
fn check_takes_the_example_and_says_what_is_wrong_with_others() {
    let (guard, config) = directory();
    let expected = "ok: back-end be1 of fe1: files below www and probe endpoints\n";
    assert_eq!(execute::<BackendProgram>("check", Some(&config)), (0, expected.to_owned(), String::new()));
    expect_short_secret_refused::<BackendProgram>(guard.path(), &config);

    fs::remove_dir(guard.path().join("www")).unwrap();
    let (code, _, err) = execute::<BackendProgram>("check", Some(&config));
    assert_eq!(code, 2);
    let sentence = format!("cannot serve files below serve.root, {}/www: No such file", guard.path().display());
    assert!(err.contains(&sentence), "{err}");
    fs::write(guard.path().join("www"), "").unwrap();
    let (code, _, err) = execute::<BackendProgram>("check", Some(&config));
    assert!(code == 2 && err.to_lowercase().contains("not a directory"), "{err}");

    expect_refused::<BackendProgram>(
        FILE,
        EXAMPLE,
        &[
            Wrong {
                from: "name = \"be1\"",
                to: "id = 1\nname = \"be1\"",
                at: "name = \"be1\"",
                sentence: "node.id: only a front-end has an id",
            },
            Wrong { from: "[admin]", to: "[admins]", at: "[admin]", sentence: "admins: unknown key" },
            Wrong { from: "probe = true", to: "probe = 1", at: "probe = true", sentence: "serve.probe: " },
            Wrong { from: "root = ", to: "roots = ", at: "root = ", sentence: "serve.roots: unknown key" },
        ],
    );
}

#[test]
fn keys_and_version() {
    let (code, out, _) = execute::<BackendProgram>("keys", None);
    assert_eq!(code, 0);
    expect_parts(&out, &["\nserve.probe\ttrue or false\tfalse\t"]);
    let version = format!("baton-backend {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(execute::<BackendProgram>("--version", None), (0, version, String::new()));
}

#[test]
fn a_run_answers_and_stops() {
    // What it serves lies in a directory of its own: the configuration's is made by the run.
    let www = tempfile::tempdir().unwrap();
    let root = format!("root = \"{}\"", www.path().display());
    let config = EXAMPLE.replacen("root = \"/srv/www\"", &root, 1);
    let [metrics, status, _] = run_and_ask::<BackendProgram>(FILE, &config);
    expect_parts(
        &metrics,
        &[
            "baton_build_info{program=\"baton-backend\",",
            "baton_drops_total{reason=\"truncated\"} 1\n",
            "baton_connections{state=\"owned\"} 0.0\n",
            "baton_handoffs_total{kind=\"later\",result=\"done\"} 0\n",
            "baton_lease_held{frontend=\"fe1\"} 0.0\n",
        ],
    );
    expect_parts(&status, &["\"kind\":\"back-end\"", "\"leaving\":0", "\"name\":\"fe1\"", "\"lease_held\":false"]);
}
