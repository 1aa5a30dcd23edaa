//! What the admin listener of every program answers: the program's and the shell's part, and the node's own.

use crate::admin::{AdminSource, Unavailable};
use crate::metrics::Metrics;
use crate::program::Program;
use crate::shell::Remote;
use baton_config::Common;
use baton_stack::addr::MacAddr;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The program's, the shell's and the node's answers in one.
pub(crate) struct WholeSource<P: Program> {
    pub(crate) remote: Arc<dyn Remote<P::Node>>,
    pub(crate) node: P::Source,
    pub(crate) identity: Identity,
    pub(crate) stopping: Arc<AtomicBool>,
}

/// What does not change while the program runs.
pub(crate) struct Identity {
    program: &'static str,
    version: &'static str,
    name: String,
    boot: u32,
    started: Instant,
    ports: Vec<Value>,
}

impl Identity {
    pub(crate) fn new<P: Program>(common: &Common, macs: &[MacAddr], boot: u32) -> Self {
        let describe = |(n, (port, mac)): (usize, (&baton_config::Port, &MacAddr))| {
            let second = port.second_address.map(|address| address.to_string());
            json!({"port": n, "device": port.device, "mac": mac.to_string(), "address": port.address.to_string(), "second_address": second, "mtu": port.mtu})
        };
        Self {
            program: P::NAME,
            version: P::VERSION,
            name: common.node.name.to_string(),
            boot,
            started: Instant::now(),
            ports: common.ports.iter().zip(macs).enumerate().map(describe).collect(),
        }
    }
}

impl<P: Program + 'static> AdminSource for WholeSource<P> {
    fn metrics(&self, metrics: &mut Metrics) -> Result<(), Unavailable> {
        let Identity { program, version, name, boot, started, .. } = &self.identity;
        let labels = ["program", "version", "name", "boot"];
        let row = ([(*program).to_owned(), (*version).to_owned(), name.clone(), boot.to_string()], 1.0);
        metrics.gauges("baton_build_info", "The program that runs; always 1", labels, [row]);
        metrics.gauge("baton_uptime_seconds", "Time since the node was built", started.elapsed().as_secs_f64());
        self.remote.numbers()?.add_to(metrics);
        self.node.metrics(metrics)
    }

    fn status(&self) -> Result<Value, Unavailable> {
        let numbers = self.remote.numbers()?;
        let Identity { program, version, name, boot, started, ports } = &self.identity;
        Ok(json!({
            "program": program,
            "version": version,
            "name": name,
            "boot": boot,
            "uptime_seconds": started.elapsed().as_secs(),
            "stopping": self.stopping.load(Ordering::Relaxed),
            "busy_ratio": numbers.busy_ratio,
            "ports": ports,
            "node": self.node.status()?,
        }))
    }

    fn health(&self) -> Result<(), Unavailable> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Unavailable("stopping".to_owned()));
        }
        self.remote.numbers()?;
        self.node.health()
    }
}
