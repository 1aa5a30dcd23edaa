//! The least that is a program, in the real shell.
#![allow(unreachable_pub, reason = "shared by test files")]

use baton_config::{Checker, Common, Config, Key, known_keys, table};
use baton_host::files::Secret;
use baton_host::{AdminSource, Control, DpdkShell, Metrics, Program, Start, Unavailable, execute};
use baton_stack::addr::MacAddr;
use baton_stack::node::{Frame, Node, PortId, Transmit, Verdict};
use baton_stack::time::{Duration, Instant};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

table! {
    /// The node's configuration.
    pub struct SinkConfig {
        flat common: Common;
    }
}

impl Config for SinkConfig {
    fn check(&self, checker: &mut Checker<'_>) {
        self.common.check(checker);
    }
}

/// Receives and forgets; sends one frame now and then. Takes its grace time to stop.
pub struct Sink {
    mac: MacAddr,
    frames: u64,
    send_at: Instant,
    grace: Duration,
    stopped_at: Option<Instant>,
    now: Instant,
}

impl Node for Sink {
    type Command = ();
    type Reply = u64;

    fn handle_frame<F: Frame, T: Transmit>(&mut self, _: Instant, _: PortId, _: &mut F, _: &mut T) -> Verdict {
        self.frames += 1;
        Verdict::Free
    }

    fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        self.now = now;
        if now < self.send_at {
            return;
        }
        let mac = self.mac;
        let sent = tx.transmit(PortId(0), 60, |frame| {
            frame.fill(0);
            frame[..6].fill(0xFF);
            frame[6..12].copy_from_slice(&mac.0);
            60
        });
        assert!(sent);
        self.send_at = now + Duration::from_millis(1);
    }

    fn poll_at(&self) -> Option<Instant> {
        Some(self.send_at)
    }

    fn handle_command(&mut self, _: Instant, (): ()) -> u64 {
        self.frames
    }

    fn stop(&mut self, now: Instant) {
        self.stopped_at = Some(now + self.grace);
    }

    fn is_stopped(&self) -> bool {
        self.stopped_at.is_some_and(|at| at <= self.now)
    }

    fn may_transmit(&self, _: Instant) -> bool {
        true
    }
}

pub struct SinkSource(Control<Sink>);

impl AdminSource for SinkSource {
    fn metrics(&self, metrics: &mut Metrics) -> Result<(), Unavailable> {
        metrics.counter("baton_sink_frames_total", "Frames", self.0.call(())?);
        Ok(())
    }

    fn status(&self) -> Result<serde_json::Value, Unavailable> {
        Ok(serde_json::Value::Null)
    }

    fn health(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}

pub struct SinkProgram;

impl Program for SinkProgram {
    const NAME: &'static str = "baton-sink";
    const ABOUT: &'static str = "A sink.";
    const VERSION: &'static str = "0";

    type Config = SinkConfig;
    type Node = Sink;
    type Source = SinkSource;

    fn common(config: &SinkConfig) -> &Common {
        &config.common
    }

    fn known_keys() -> Vec<Key> {
        known_keys::<SinkConfig>()
    }

    fn summary(_: &SinkConfig) -> String {
        "a sink".to_owned()
    }

    fn node(start: &Start<'_, SinkConfig>) -> anyhow::Result<Sink> {
        assert_eq!(start.macs.len(), start.config.common.ports.len());
        assert_ne!(start.macs[0], MacAddr::default());
        Ok(Sink {
            mac: start.macs[0],
            frames: 0,
            send_at: Instant::ZERO,
            grace: start.config.common.node.stop_grace,
            stopped_at: None,
            now: Instant::ZERO,
        })
    }

    fn set_secrets(_: &Control<Sink>, _: &[Secret]) -> anyhow::Result<()> {
        Ok(())
    }

    fn source(control: Control<Sink>) -> SinkSource {
        SinkSource(control)
    }
}

/// A directory with a secret and a configuration: `node` is more of the `[node]` table.
pub fn directory(node: &str, device: &str, admin: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("cluster.key");
    fs::write(&secret, [9; 32]).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let config = directory.path().join("sink.toml");
    let text = format!(
        "eal = [\"--no-huge\", \"-m\", \"64\", \"--no-pci\", \"--no-shconf\", \"--no-telemetry\", \"--vdev=net_null0,size=64,copy=1\"]\n\
         [node]\nname = \"sink\"\n{node}\n[cluster]\nsecret_file = \"cluster.key\"\n\
         [[port]]\ndevice = \"{device}\"\naddress = \"10.0.0.1/24\"\n[admin]\nlisten = \"{admin}\"\n\
         [log]\nlevel = \"error\"\n"
    );
    fs::write(&config, text).unwrap();
    (directory, config)
}

/// Runs the program in DPDK's shell: exit code and standard error.
pub fn run(config: &std::path::Path) -> (u8, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = ["baton-sink", "run", "--config", config.to_str().unwrap()];
    let code = execute::<SinkProgram, DpdkShell<Sink>>(words.map(Into::into), &mut out, &mut err);
    assert!(out.is_empty());
    (code, String::from_utf8(err).unwrap())
}
