//! A whole program around a fake node in a fake shell: from the command line to the exit code.
//!
//! One test runs the node, because signals and logging belong to the process.

use anyhow::{bail, ensure};
use axum::Router;
use axum::routing::post;
use baton_config::{Checker, Common, Config, Key, known_keys, table};
use baton_host::admin::ask;
use baton_host::files::Secret;
use baton_host::signals::StopRequest;
use baton_host::{
    AdminSource, Control, Metrics, PortNumbers, Program, Remote, Shell, ShellNumbers, Start, Unavailable, execute,
};
use baton_stack::addr::MacAddr;
use baton_stack::node::{Frame, Node, PortId, Transmit, Verdict};
use baton_stack::time::Instant;
use signal_hook::consts::SIGTERM;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

table! {
    /// The fake node's configuration.
    struct FakeConfig {
        flat common: Common;
    }
}

impl Config for FakeConfig {
    fn check(&self, checker: &mut Checker<'_>) {
        self.common.check(checker);
    }
}

/// Counts commands; an orderly stop ends at once.
struct FakeNode {
    commands: u64,
    stopped: bool,
}

impl Node for FakeNode {
    type Command = &'static str;
    type Reply = u64;

    fn handle_frame<F: Frame, T: Transmit>(&mut self, _: Instant, _: PortId, _: &mut F, _: &mut T) -> Verdict {
        Verdict::Free
    }

    fn poll<T: Transmit>(&mut self, _: Instant, _: &mut T) {}

    fn poll_at(&self) -> Option<Instant> {
        None
    }

    fn handle_command(&mut self, _: Instant, _: &'static str) -> u64 {
        self.commands += 1;
        self.commands
    }

    fn stop(&mut self, _: Instant) {
        self.stopped = true;
    }

    fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn may_transmit(&self, _: Instant) -> bool {
        true
    }
}

enum ToLoop {
    Command(&'static str, SyncSender<u64>),
    Stop(StopRequest),
}

struct FakeRemote(Mutex<Sender<ToLoop>>);

impl FakeRemote {
    fn send(&self, message: ToLoop) -> Result<(), Unavailable> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send(message).map_err(|_| Unavailable("the loop has ended".to_owned()))
    }
}

impl Remote<FakeNode> for FakeRemote {
    fn command(&self, command: &'static str) -> Result<u64, Unavailable> {
        let (reply, replied) = mpsc::sync_channel(1);
        self.send(ToLoop::Command(command, reply))?;
        replied.recv_timeout(Duration::from_secs(5)).map_err(|_| Unavailable("no reply".to_owned()))
    }

    fn numbers(&self) -> Result<ShellNumbers, Unavailable> {
        let port = PortNumbers { rx_packets: 11, tx_unsent: 2, ..PortNumbers::default() };
        Ok(ShellNumbers { ports: vec![port], turns: 5, busy_ratio: 0.5, ..ShellNumbers::default() })
    }

    fn stop(&self, request: StopRequest) {
        let _ = self.send(ToLoop::Stop(request));
    }
}

struct FakeShell {
    remote: Arc<FakeRemote>,
    inbox: Receiver<ToLoop>,
}

impl Shell<FakeNode> for FakeShell {
    fn open(eal: &[String], common: &Common) -> anyhow::Result<Self> {
        if eal != ["--no-huge", "-m", "64"] {
            bail!("EAL refuses {eal:?}");
        }
        assert_eq!(common.ports.len(), 1);
        let (sender, inbox) = mpsc::channel();
        Ok(Self { remote: Arc::new(FakeRemote(Mutex::new(sender))), inbox })
    }

    fn macs(&self) -> Vec<MacAddr> {
        vec![MacAddr([2, 0, 0, 0, 0, 1])]
    }

    fn capabilities(&self) -> String {
        "port 0: nothing\n".to_owned()
    }

    fn remote(&self) -> Arc<dyn Remote<FakeNode>> {
        Arc::clone(&self.remote) as Arc<dyn Remote<FakeNode>>
    }

    fn run(self, mut node: FakeNode) -> anyhow::Result<()> {
        while !node.is_stopped() {
            match self.inbox.recv_timeout(Duration::from_secs(20)) {
                Ok(ToLoop::Command("burn", _)) => bail!("the port burns"),
                Ok(ToLoop::Command(command, reply)) => {
                    let _ = reply.send(node.handle_command(Instant::ZERO, command));
                }
                Ok(ToLoop::Stop(StopRequest::Clean)) => node.stop(Instant::ZERO),
                Ok(ToLoop::Stop(StopRequest::Immediate)) => return Ok(()),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => bail!("nobody asks for anything"),
            }
        }
        Ok(())
    }
}

struct FakeSource(Control<FakeNode>);

impl AdminSource for FakeSource {
    fn metrics(&self, metrics: &mut Metrics) -> Result<(), Unavailable> {
        metrics.counter("baton_fake_commands_total", "Commands", self.0.call("count")?);
        Ok(())
    }

    fn status(&self) -> Result<serde_json::Value, Unavailable> {
        Ok(serde_json::json!({"fake": true}))
    }

    fn health(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}

struct FakeProgram;

impl Program for FakeProgram {
    const NAME: &'static str = "baton-fake";
    const ABOUT: &'static str = "A fake.";
    const VERSION: &'static str = "9.8.7";

    type Config = FakeConfig;
    type Node = FakeNode;
    type Source = FakeSource;

    fn common(config: &FakeConfig) -> &Common {
        &config.common
    }

    fn known_keys() -> Vec<Key> {
        known_keys::<FakeConfig>()
    }

    fn summary(config: &FakeConfig) -> String {
        format!("fake {}", config.common.node.name)
    }

    fn check_files(config: &FakeConfig, path: &Path) -> anyhow::Result<()> {
        if config.common.node.name.as_str() == "nofiles" {
            bail!("a file that {} names is missing", path.file_name().unwrap_or_default().display());
        }
        Ok(())
    }

    fn node(start: &Start<'_, FakeConfig>) -> anyhow::Result<FakeNode> {
        if start.config.common.node.name.as_str() == "unbuildable" {
            bail!("no");
        }
        assert_eq!(start.secrets[0].bytes(), [9; 32]);
        assert_eq!(start.macs, [MacAddr([2, 0, 0, 0, 0, 1])]);
        assert!(start.boot > 0 && start.seed != [0; 32]);
        Ok(FakeNode { commands: 0, stopped: false })
    }

    fn set_secrets(_: &Control<FakeNode>, secrets: &[Secret]) -> anyhow::Result<()> {
        ensure!(!secrets.is_empty(), "no secrets");
        Ok(())
    }

    fn source(control: Control<FakeNode>) -> FakeSource {
        FakeSource(control)
    }

    fn routes(control: Control<FakeNode>) -> Router {
        let route = |command: &'static str| {
            let control = control.clone();
            post(move || ask(move || control.call(command).map(|count| count.to_string())))
        };
        Router::new().route("/v1/count", route("count")).route("/v1/burn", route("burn"))
    }
}

/// A directory with a secret and a configuration of a node called `name`.
fn directory(name: &str, admin: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("cluster.key");
    fs::write(&secret, [9; 32]).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let config = directory.path().join("fake.toml");
    let text = format!(
        "eal = [\"--no-huge\"]\n[node]\nname = \"{name}\"\n[cluster]\nsecret_file = \"cluster.key\"\n\
         [[port]]\ndevice = \"d0\"\naddress = \"10.0.0.1/24\"\n[admin]\nlisten = \"{admin}\"\n[log]\nlevel = \"error\"\n"
    );
    fs::write(&config, text).unwrap();
    (directory, config)
}

/// Exit code, standard output and standard error.
fn execute_line(arguments: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = std::iter::once("baton-fake").chain(arguments.iter().copied()).map(Into::into);
    let code = execute::<FakeProgram, FakeShell>(words, &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn check_says_ok_or_what_is_wrong() {
    let (guard, config) = directory("f1", "127.0.0.1:0");
    let path = config.to_str().unwrap();
    assert_eq!(execute_line(&["check", "--config", path]), (0, "ok: fake f1\n".to_owned(), String::new()));

    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[log]\nlevel", "[log]\nleve")).unwrap();
    let (code, out, err) = execute_line(&["check", "--config", path]);
    assert_eq!((code, out.as_str()), (2, ""));
    for part in ["log.leve: unknown key", "fake.toml:12:1", "known here: level, format"] {
        assert!(err.contains(part), "{part:?} is not in\n{err}");
    }

    fs::write(&config, text).unwrap();
    fs::set_permissions(guard.path().join("cluster.key"), Permissions::from_mode(0o644)).unwrap();
    let (code, _, err) = execute_line(&["check", "--config", path]);
    assert_eq!(code, 2);
    assert!(err.starts_with("baton-fake: the secret file") && err.contains("has mode 0644"), "{err}");

    let (code, _, err) = execute_line(&["check", "--config", "/none/fake.toml"]);
    assert_eq!(
        (code, err.as_str()),
        (2, "baton-fake: cannot read the configuration /none/fake.toml: No such file or directory (os error 2)\n")
    );

    let (_guard, config) = directory("nofiles", "127.0.0.1:0");
    let (code, _, err) = execute_line(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (2, "baton-fake: a file that fake.toml names is missing\n"));
}

#[test]
fn keys_help_version_and_wrong_usage() {
    let (code, out, err) = execute_line(&["keys"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("\ntcp.rto_min_ms\tfrom 10 to 60000 ms\t200\t"), "{out}");
    assert!(out.contains("\nnode.name\ta name\trequired\t"), "{out}");
    assert_eq!(out.lines().count(), FakeProgram::known_keys().len());
    assert_eq!(execute_line(&["--version"]), (0, "baton-fake 9.8.7\n".to_owned(), String::new()));
    assert_eq!(execute_line(&["--help"]).0, 0);
    let (code, out, err) = execute_line(&["walk"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("unrecognized subcommand 'walk'"), "{err}");
}

fn fetch(address: &str, line: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// An address of this machine's loopback that nobody listens on now.
fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn fetch_when_up(address: &str, line: &str) -> String {
    for _ in 0..200 {
        if let Some(answer) = fetch(address, line) {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("{address} does not answer");
}

/// What stands in the way of a run, and what is said of it.
fn runs_that_fail() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).unwrap();
    let cannot_listen =
        format!("baton-fake: cannot listen on admin.listen, {}: Address already in use (os error 98)\n", taken.1);
    for (name, admin, eal, expected) in [
        ("f1", "127.0.0.1:0", "65", "baton-fake: EAL refuses [\"--no-huge\", \"-m\", \"65\"]\n"),
        ("unbuildable", "127.0.0.1:0", "64", "baton-fake: cannot build the node: no\n"),
        ("f1", &taken.1, "64", &cannot_listen),
    ] {
        let (_guard, config) = directory(name, admin);
        let (code, _, err) = execute_line(&["-m", eal, "--", "run", "--config", config.to_str().unwrap()]);
        assert_eq!((code, err.as_str()), (1, expected));
    }

    let admin = free_address();
    let (_guard, config) = directory("f1", &admin);
    let asker = std::thread::spawn(move || fetch_when_up(&admin, "POST /v1/burn"));
    let (code, _, err) = execute_line(&["-m", "64", "--", "run", "--config", config.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (1, "baton-fake: the poll loop failed: the port burns\n"));
    // The answer is cut off with the program, or says that the loop has ended: both are right.
    asker.join().unwrap();
}

#[test]
fn run_from_start_to_stop() {
    runs_that_fail();
    let admin = free_address();
    let (_guard, config) = directory("f1", &admin);
    let path = config.to_str().unwrap().to_owned();
    let arguments = ["-m", "64", "--", "run", "--config", &path];

    let asker = std::thread::spawn({
        let admin = admin.clone();
        move || {
            let metrics = fetch_when_up(&admin, "GET /metrics");
            let status = fetch_when_up(&admin, "GET /v1/status");
            let count = fetch_when_up(&admin, "POST /v1/count");
            signal_hook::low_level::raise(SIGTERM).unwrap();
            (metrics, status, count)
        }
    });
    let (code, out, err) = execute_line(&arguments);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    let (metrics, status, count) = asker.join().unwrap();
    for line in [
        "baton_build_info{program=\"baton-fake\",version=\"9.8.7\",name=\"f1\",boot=",
        "baton_port_rx_packets_total{port=\"0\"} 11\n",
        "baton_port_tx_unsent_total{port=\"0\"} 2\n",
        "baton_drops_total{reason=\"truncated\"} 0\n",
        "baton_loop_turns_total 5\n",
        "baton_busy_ratio 0.5\n",
        "baton_uptime_seconds ",
        "baton_fake_commands_total 1\n",
    ] {
        assert!(metrics.contains(line), "{line:?} is not in\n{metrics}");
    }
    for part in ["\"name\":\"f1\"", "\"mac\":\"02:00:00:00:00:01\"", "\"node\":{\"fake\":true}", "\"stopping\":false"] {
        assert!(status.contains(part), "{part:?} is not in\n{status}");
    }
    assert!(count.ends_with("\r\n\r\n2"), "{count}");
    assert!(fetch(&admin, "GET /metrics").is_none(), "the listener has ended");
}
