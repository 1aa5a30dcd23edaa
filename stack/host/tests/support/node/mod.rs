//! For the tests of both node programs: a program in a shell without DPDK, with its example configuration changed, and what it says.

mod shell;

use baton_host::Program;
use shell::FakeShell;
use signal_hook::consts::SIGTERM;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A directory with a configuration called `file`, and a secret.
pub(crate) fn directory(file: &str, config: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    write_secret(directory.path(), &[b'k'; 32]);
    let path = directory.path().join(file);
    fs::write(&path, config).unwrap();
    (directory, path)
}

pub(crate) fn write_secret(directory: &Path, contents: &[u8]) {
    let secret = directory.join("cluster.key");
    fs::write(&secret, contents).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
}

/// Exit code, standard output and standard error.
pub(crate) fn execute<P: Program<Node: 'static> + 'static>(
    command: &str,
    config: Option<&Path>,
) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut words = vec![P::NAME.into(), command.into()];
    words.extend(config.into_iter().flat_map(|path| ["--config".into(), path.into()]));
    let code = baton_host::execute::<P, FakeShell<P::Node>>(words, &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// The example with `from` made `to`; where a line of the example begins with `at` is the line that `check` must name, with the sentence.
pub(crate) struct Wrong {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) at: &'static str,
    pub(crate) sentence: &'static str,
}

/// Checks that `check` refuses each of `wrong`, and says where and why.
pub(crate) fn expect_refused<P: Program<Node: 'static> + 'static>(file: &str, example: &str, wrong: &[Wrong]) {
    for Wrong { from, to, at, sentence } in wrong {
        assert!(example.contains(from), "{from}");
        let line = example.lines().position(|line| line.starts_with(at)).unwrap() + 1;
        let (_guard, config) = directory(file, &example.replacen(from, to, 1));
        let (code, out, err) = execute::<P>("check", Some(&config));
        assert_eq!((code, out.as_str()), (2, ""), "{to}");
        for part in [sentence, format!("{file}:{line}:").as_str()] {
            assert!(err.contains(part), "{part:?} is not in\n{err}");
        }
    }
}

/// `check` refuses a secret that is too short.
pub(crate) fn expect_short_secret_refused<P: Program<Node: 'static> + 'static>(directory: &Path, config: &Path) {
    write_secret(directory, &[b'a'; 40]);
    let (code, _, err) = execute::<P>("check", Some(config));
    assert_eq!(code, 2);
    assert!(err.contains("cluster.key: 40 hexadecimal digits; a cluster secret has"), "{err}");
    write_secret(directory, &[b'k'; 32]);
}

/// Runs the program with a configuration until it has asked for others' addresses, asks it for its metrics, status and health, and has it
/// stop. One test of a process may: signals and logging are the process's.
pub(crate) fn run_and_ask<P: Program<Node: 'static> + 'static>(file: &str, config: &str) -> [String; 3] {
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = config.replacen("127.0.0.1:9901", &admin, 1).replacen("level = \"info\"", "level = \"error\"", 1);
    let (_guard, config) = directory(file, &config);
    let asker = std::thread::spawn(move || {
        // It looks for the other nodes at once: their Ethernet addresses must be asked for.
        let has_sent = |metrics: &str| !metrics.contains("baton_port_tx_packets_total{port=\"0\"} 0\n");
        let metrics = fetch_until(&admin, "/metrics", has_sent);
        let status = fetch_until(&admin, "/v1/status", |_| true);
        let health = fetch_until(&admin, "/healthz", |_| true);
        signal_hook::low_level::raise(SIGTERM).unwrap();
        [metrics, status, health]
    });
    assert_eq!(execute::<P>("run", Some(&config)), (0, String::new(), String::new()));
    let said = asker.join().unwrap();
    assert!(said[2].starts_with("HTTP/1.1 200"), "{}", said[2]);
    said
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

/// All these are in the text.
pub(crate) fn expect_parts(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}
