//! What a program needs of the shell that drives its node: DPDK in the programs, a fake one in tests.

use crate::admin::Unavailable;
use crate::metrics::Metrics;
use crate::signals::StopRequest;
use baton_config::Common;
use baton_stack::addr::MacAddr;
use baton_stack::drop::DropCounters;
use baton_stack::node::Node;
use std::fmt;
use std::sync::Arc;

/// Ports that are open and a poll loop that is ready to run one node.
pub trait Shell<N: Node>: Sized {
    /// Starts EAL with `eal` and opens the configuration's ports. Called once per process.
    ///
    /// # Errors
    /// A port is missing or cannot do what is asked of it.
    fn open(eal: &[String], common: &Common) -> anyhow::Result<Self>;

    /// The Ethernet address of each port.
    fn macs(&self) -> Vec<MacAddr>;

    /// What was asked of each port, what it grants, and what is done in software instead: a table for people.
    fn capabilities(&self) -> String;

    /// How other threads reach the poll loop, before and while it runs.
    fn remote(&self) -> Arc<dyn Remote<N>>;

    /// Runs `node` until it has stopped.
    ///
    /// # Errors
    /// A port failed.
    fn run(self, node: N) -> anyhow::Result<()>;
}

/// The poll loop, as other threads reach it.
pub trait Remote<N: Node>: Send + Sync {
    /// Has the node handle a command, and waits a short time for its reply.
    ///
    /// # Errors
    /// The loop did not answer in time, or has ended.
    fn command(&self, command: N::Command) -> Result<N::Reply, Unavailable>;

    /// The loop's own numbers.
    ///
    /// # Errors
    /// The loop did not answer in time, or has ended.
    fn numbers(&self) -> Result<ShellNumbers, Unavailable>;

    /// Asks for a stop.
    fn stop(&self, request: StopRequest);
}

/// How a program's admin source puts commands to its node. Cheap to clone.
pub struct Control<N: Node>(Arc<dyn Remote<N>>);

impl<N: Node> Control<N> {
    pub(crate) fn new(remote: Arc<dyn Remote<N>>) -> Self {
        Self(remote)
    }

    /// Has the node handle `command` between two turns of the poll loop. Blocks for a short time: call it
    /// from [`AdminSource`](crate::AdminSource) methods or inside [`ask`](crate::admin::ask).
    ///
    /// # Errors
    /// The loop did not answer in time, or has ended.
    pub fn call(&self, command: N::Command) -> Result<N::Reply, Unavailable> {
        self.0.command(command)
    }
}

impl<N: Node> Clone for Control<N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<N: Node> fmt::Debug for Control<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

/// What the shell counts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ShellNumbers {
    /// Per port, in the order of `[[port]]`.
    pub ports: Vec<PortNumbers>,
    /// Turns of the poll loop.
    pub turns: u64,
    /// The share of time, from 0 to 1, in which the loop had something to do, since the question before.
    pub busy_ratio: f64,
    /// What the shell itself dropped.
    pub drops: DropCounters,
}

/// What one port counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortNumbers {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames that the device had no room for.
    pub rx_missed: u64,
    /// Frames received with errors.
    pub rx_errors: u64,
    /// Receptions that failed for lack of a buffer.
    pub rx_no_buffer: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that the device failed to send.
    pub tx_errors: u64,
    /// Frames that the transmit queue did not take, and that were dropped.
    pub tx_unsent: u64,
}

impl ShellNumbers {
    /// Adds the numbers that every node has.
    pub fn add_to(&self, metrics: &mut Metrics) {
        type Column = (&'static str, &'static str, fn(&PortNumbers) -> u64);
        let columns: [Column; 9] = [
            ("baton_port_rx_packets_total", "Frames received", |port| port.rx_packets),
            ("baton_port_rx_bytes_total", "Bytes received", |port| port.rx_bytes),
            ("baton_port_rx_missed_total", "Frames that the device had no room for", |port| port.rx_missed),
            ("baton_port_rx_errors_total", "Frames received with errors", |port| port.rx_errors),
            ("baton_port_rx_no_buffer_total", "Receptions that failed for lack of a buffer", |port| port.rx_no_buffer),
            ("baton_port_tx_packets_total", "Frames sent", |port| port.tx_packets),
            ("baton_port_tx_bytes_total", "Bytes sent", |port| port.tx_bytes),
            ("baton_port_tx_errors_total", "Frames that the device failed to send", |port| port.tx_errors),
            ("baton_port_tx_unsent_total", "Frames that the transmit queue did not take", |port| port.tx_unsent),
        ];
        for (name, help, value) in columns {
            let rows = self.ports.iter().enumerate().map(|(n, port)| ([n.to_string()], value(port)));
            metrics.counters(name, help, ["port"], rows);
        }
        metrics.counter("baton_loop_turns_total", "Turns of the poll loop", self.turns);
        metrics.gauge("baton_busy_ratio", "Share of time in which the poll loop had something to do", self.busy_ratio);
        metrics.drops(&self.drops);
    }
}
