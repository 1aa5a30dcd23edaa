//! The back-end's program in a shell without DPDK: from the command line to the exit code.
//!
//! One test runs the node, because signals and logging belong to the process.
#![cfg(feature = "program")]

mod shell;

use baton_backend::BackEnd;
use baton_backend::program::BackendProgram;
use baton_backend::serve::Composed;
use shell::FakeShell;
use signal_hook::consts::SIGTERM;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLE: &str = include_str!("../../../docs/examples/backend.toml");

/// A directory with the example's configuration, changed by `change`, a secret, and a `www` below the configuration.
fn directory(change: impl FnOnce(&str) -> String) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    write_secret(directory.path(), &[b'k'; 32]);
    fs::create_dir(directory.path().join("www")).unwrap();
    let config = directory.path().join("backend.toml");
    fs::write(&config, change(&EXAMPLE.replacen("root = \"/srv/www\"", "root = \"www\"", 1))).unwrap();
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
    let mut words = vec!["baton-backend".into(), command.into()];
    words.extend(config.into_iter().flat_map(|path| ["--config".into(), path.into()]));
    let code = baton_host::execute::<BackendProgram, FakeShell<BackEnd<Composed>>>(words, &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn check_takes_the_example_and_says_what_is_wrong_with_others() {
    let (guard, config) = directory(str::to_owned);
    let expected = "ok: back-end be1 of fe1: files below www and probe endpoints\n";
    assert_eq!(execute("check", Some(&config)), (0, expected.to_owned(), String::new()));

    write_secret(guard.path(), &[b'a'; 40]);
    let (code, _, err) = execute("check", Some(&config));
    assert_eq!(code, 2);
    assert!(err.contains("cluster.key: 40 hexadecimal digits; a cluster secret has"), "{err}");

    write_secret(guard.path(), &[b'k'; 32]);
    fs::remove_dir(guard.path().join("www")).unwrap();
    let (code, _, err) = execute("check", Some(&config));
    assert_eq!(code, 2);
    let sentence = format!("cannot serve files below serve.root, {}/www: No such file", guard.path().display());
    assert!(err.contains(&sentence), "{err}");
    fs::write(guard.path().join("www"), "").unwrap();
    let (code, _, err) = execute("check", Some(&config));
    assert!(code == 2 && err.to_lowercase().contains("not a directory"), "{err}");

    let line_of = |text: &str| EXAMPLE.lines().position(|line| line.starts_with(text)).unwrap() + 1;
    for (from, to, line, sentence) in [
        ("name = \"be1\"", "id = 1\nname = \"be1\"", line_of("name = \"be1\""), "node.id: only a front-end has an id"),
        ("[admin]", "[admins]", line_of("[admin]"), "admins: unknown key"),
        ("probe = true", "probe = 1", line_of("probe = true"), "serve.probe: "),
        ("root = ", "roots = ", line_of("root = "), "serve.roots: unknown key"),
    ] {
        let (_guard, config) = directory(|text| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        let (code, out, err) = execute("check", Some(&config));
        assert_eq!((code, out.as_str()), (2, ""), "{to}");
        for part in [sentence, &format!("backend.toml:{line}:")] {
            assert!(err.contains(part), "{part:?} is not in\n{err}");
        }
    }
}

#[test]
fn keys_and_version() {
    let (code, out, _) = execute("keys", None);
    assert_eq!(code, 0);
    assert!(out.contains("\nserve.probe\ttrue or false\tfalse\t"), "{out}");
    let version = format!("baton-backend {}\n", env!("CARGO_PKG_VERSION"));
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
        "baton_build_info{program=\"baton-backend\",",
        "baton_drops_total{reason=\"truncated\"} 1\n",
        "baton_connections{state=\"owned\"} 0.0\n",
        "baton_handoffs_total{kind=\"later\",result=\"done\"} 0\n",
        "baton_lease_held{frontend=\"fe1\"} 0.0\n",
    ] {
        assert!(metrics.contains(line), "{line:?} is not in\n{metrics}");
    }
    for part in ["\"kind\":\"back-end\"", "\"leaving\":0", "\"name\":\"fe1\"", "\"lease_held\":false"] {
        assert!(status.contains(part), "{part:?} is not in\n{status}");
    }
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
}
