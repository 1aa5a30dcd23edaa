//! The front-end's program in a shell without DPDK: from the command line to the exit code.
//!
//! One test runs the node, because signals and logging belong to the process.
#![cfg(feature = "program")]

#[path = "../../../stack/host/tests/support/node/mod.rs"]
mod node;

use baton_frontend::program::FrontendProgram;
use node::{Wrong, execute, expect_parts, expect_refused, expect_short_secret_refused, run_and_ask};

const EXAMPLE: &str = include_str!("../../../docs/examples/frontend.toml");
const FILE: &str = "frontend.toml";

#[test]
fn check_takes_the_example_and_says_what_is_wrong_with_others() {
    let (guard, config) = node::directory(FILE, EXAMPLE);
    let expected = "ok: front-end fe1 (id 1): 1 port, 1 listener, 2 back-ends, 3 routes\n";
    assert_eq!(execute::<FrontendProgram>("check", Some(&config)), (0, expected.to_owned(), String::new()));
    expect_short_secret_refused::<FrontendProgram>(guard.path(), &config);
    expect_refused::<FrontendProgram>(
        FILE,
        EXAMPLE,
        &[
            Wrong { from: "id = 1 ", to: "id = 0 ", at: "id = 1", sentence: "node.id: missing; a front-end needs one" },
            Wrong { from: "[admin]", to: "[admins]", at: "[admin]", sentence: "admins: unknown key" },
            Wrong { from: "port = 80", to: "port = \"80\"", at: "port = 80", sentence: "listener[0].port: " },
            Wrong {
                from: "backends = [\"be2\"]",
                to: "backends = [\"be3\"]",
                at: "backends = [\"be2\"]",
                sentence: "no [[backend]] has the name",
            },
        ],
    );
}

#[test]
fn keys_and_version() {
    let (code, out, _) = execute::<FrontendProgram>("keys", None);
    assert_eq!(code, 0);
    expect_parts(&out, &["\nroute[].strip_prefix\ttrue or false\tfalse\t"]);
    let version = format!("baton-frontend {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(execute::<FrontendProgram>("--version", None), (0, version, String::new()));
}

#[test]
fn a_run_answers_and_stops() {
    let [metrics, status, _] = run_and_ask::<FrontendProgram>(FILE, EXAMPLE);
    expect_parts(
        &metrics,
        &[
            "baton_build_info{program=\"baton-frontend\",",
            "baton_drops_total{reason=\"truncated\"} 1\n",
            "baton_connections{state=\"routed\"} 0.0\n",
            "baton_handoffs_total{kind=\"first\",result=\"done\"} 0\n",
            "baton_node_up{node=\"be1\"} 0.0\n",
        ],
    );
    expect_parts(&status, &["\"kind\":\"front-end\"", "\"time_wait\":0", "\"name\":\"be2\"", "\"up\":false"]);
}
