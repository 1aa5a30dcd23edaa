//! The front-end's program in a shell without DPDK: from the command line to the exit code.
//!
//! One test runs the node, because signals and logging belong to the process.
#![cfg(feature = "program")]

mod shell;

use baton_frontend::FrontEnd;
use baton_frontend::program::FrontendProgram;
use shell::FakeShell;
use signal_hook::consts::SIGTERM;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLE: &str = include_str!("../../../docs/examples/frontend.toml");

/// A directory with the example's configuration, changed by `change`, and a secret.
fn directory(change: impl FnOnce(&str) -> String) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    write_secret(directory.path(), &[b'k'; 32]);
    let config = directory.path().join("frontend.toml");
    fs::write(&config, change(EXAMPLE)).unwrap();
    (directory, config)
}

fn write_secret(directory: &Path, contents: &[u8]) {
    let secret = directory.join("cluster.key");
    fs::write(&secret, contents).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
}

/// Exit code, standard output and standard error.
fn execute(command: &str, config: Option<&Path>) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut words = vec!["baton-frontend".into(), command.into()];
    words.extend(config.into_iter().flat_map(|path| ["--config".into(), path.into()]));
    let code = baton_host::execute::<FrontendProgram, FakeShell<FrontEnd>>(words, &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn check_takes_the_example_and_says_what_is_wrong_with_others() {
    let (guard, config) = directory(str::to_owned);
    let expected = "ok: front-end fe1 (id 1): 1 port, 1 listener, 2 back-ends, 3 routes\n";
    assert_eq!(execute("check", Some(&config)), (0, expected.to_owned(), String::new()));

    write_secret(guard.path(), &[b'a'; 40]);
    let (code, _, err) = execute("check", Some(&config));
    assert_eq!(code, 2);
    assert!(err.contains("cluster.key: 40 hexadecimal digits; a cluster secret has"), "{err}");

    let line_of = |text: &str| EXAMPLE.lines().position(|line| line.starts_with(text)).unwrap() + 1;
    for (from, to, line, sentence) in [
        ("id = 1 ", "id = 0 ", line_of("id = 1"), "node.id: missing; a front-end needs one"),
        ("[admin]", "[admins]", line_of("[admin]"), "admins: unknown key"),
        ("port = 80", "port = \"80\"", line_of("port = 80"), "listener[0].port: "),
        (
            "backends = [\"be2\"]",
            "backends = [\"be3\"]",
            line_of("backends = [\"be2\"]"),
            "no [[backend]] has the name",
        ),
    ] {
        let (_guard, config) = directory(|text| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        let (code, out, err) = execute("check", Some(&config));
        assert_eq!((code, out.as_str()), (2, ""), "{to}");
        for part in [sentence, &format!("frontend.toml:{line}:")] {
            assert!(err.contains(part), "{part:?} is not in\n{err}");
        }
    }
}

#[test]
fn keys_and_version() {
    let (code, out, _) = execute("keys", None);
    assert_eq!(code, 0);
    assert!(out.contains("\nroute[].strip_prefix\ttrue or false\tfalse\t"), "{out}");
    let version = format!("baton-frontend {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(execute("--version", None), (0, version, String::new()));
}

fn fetch(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Asks until the answer is as it should be.
fn fetch_until(address: &str, path: &str, is_right: impl Fn(&str) -> bool) -> String {
    let mut last = None;
    for _ in 0..400 {
        last = fetch(address, path);
        match &last {
            Some(answer) if is_right(answer) => return answer.clone(),
            _ => std::thread::sleep(Duration::from_millis(25)),
        }
    }
    panic!("{address}{path} says {last:?}");
}

#[test]
fn a_run_answers_and_stops() {
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (_guard, config) = directory(|text| {
        text.replacen("127.0.0.1:9901", &admin, 1).replacen("level = \"info\"", "level = \"error\"", 1)
    });
    let asker = std::thread::spawn(move || {
        // It looks for the other nodes at once: their Ethernet addresses must be asked for.
        let has_sent = |metrics: &str| !metrics.contains("baton_port_tx_packets_total{port=\"0\"} 0\n");
        let metrics = fetch_until(&admin, "/metrics", has_sent);
        let status = fetch_until(&admin, "/v1/status", |_| true);
        let health = fetch_until(&admin, "/healthz", |_| true);
        signal_hook::low_level::raise(SIGTERM).unwrap();
        (metrics, status, health)
    });
    assert_eq!(execute("run", Some(&config)), (0, String::new(), String::new()));
    let (metrics, status, health) = asker.join().unwrap();
    for line in [
        "baton_build_info{program=\"baton-frontend\",",
        "baton_drops_total{reason=\"truncated\"} 1\n",
        "baton_connections{state=\"routed\"} 0.0\n",
        "baton_handoffs_total{kind=\"first\",result=\"done\"} 0\n",
        "baton_node_up{node=\"be1\"} 0.0\n",
    ] {
        assert!(metrics.contains(line), "{line:?} is not in\n{metrics}");
    }
    for part in ["\"kind\":\"front-end\"", "\"time_wait\":0", "\"name\":\"be2\"", "\"up\":false"] {
        assert!(status.contains(part), "{part:?} is not in\n{status}");
    }
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
}
