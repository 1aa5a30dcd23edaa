//! The shell of the programs: DPDK's ports, and its poll loop on the calling thread.

use crate::admin::Unavailable;
use crate::program::{Program, main_in};
use crate::shell::{PortNumbers, Remote, Shell, ShellNumbers};
use crate::signals::StopRequest;
use anyhow::Context;
use baton_config::{Common, Idle as IdleSetting};
use baton_dpdk::{
    Clock, ControlError, ControlHandle, ControlInbox, Eal, Idle, LoopStats, Outcome, PortConfig, PortStats, Ports,
    Stop, control, pin_to_core, run,
};
use baton_stack::addr::MacAddr;
use baton_stack::node::Node;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How long an admin call waits for the poll loop.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A program's whole `main`.
#[must_use]
pub fn main<P: Program + 'static>() -> ExitCode {
    main_in::<P, DpdkShell<P::Node>>()
}

/// DPDK ports, and the poll loop that drives a node on them.
#[derive(Debug)]
pub struct DpdkShell<N: Node> {
    ports: Ports,
    handle: ControlHandle<N>,
    inbox: ControlInbox<N>,
    clock: Clock,
    idle: Idle,
    core: Option<usize>,
}

impl<N> Shell<N> for DpdkShell<N>
where
    N: Node<Command: Send + 'static, Reply: Send + 'static> + 'static,
{
    fn open(eal: &[String], common: &Common) -> anyhow::Result<Self> {
        let eal = Eal::init(&with_prefix(eal, common.node.name.as_str()))?;
        let config = |port: &baton_config::Port| PortConfig {
            hears_groups: port.has_ipv6(),
            ..PortConfig::new(port.device.as_str(), port.mtu)
        };
        let configs: Vec<PortConfig> = common.ports.iter().map(config).collect();
        let ports = Ports::open(&eal, &configs).context("cannot open the ports")?;
        let (handle, inbox) = control();
        let idle = match common.node.idle {
            IdleSetting::Spin => Idle::Spin,
            IdleSetting::Adaptive => Idle::Adaptive,
        };
        Ok(Self { ports, handle, inbox, clock: Clock::start(), idle, core: common.node.core })
    }

    fn macs(&self) -> Vec<MacAddr> {
        self.ports.macs()
    }

    fn capabilities(&self) -> String {
        self.ports.capabilities()
    }

    fn remote(&self) -> Arc<dyn Remote<N>> {
        Arc::new(PollLoop(self.handle.clone()))
    }

    fn run(self, mut node: N) -> anyhow::Result<()> {
        let Self { mut ports, handle: _, inbox, clock, idle, core } = self;
        if let Some(core) = core {
            // Last, for threads that are started later would be there too.
            pin_to_core(core).context("node.core")?;
        }
        let report = run(&mut node, &mut ports, &inbox, idle, &clock);
        if report.outcome == Outcome::CutShort {
            warn!("stopped at once: connections were left as they were");
        }
        for line in report.to_string().lines() {
            info!("{line}");
        }
        Ok(())
    }
}

/// `arguments` with EAL's files named after the node, unless they have a name already: nodes on one machine
/// must not share them.
fn with_prefix(arguments: &[String], name: &str) -> Vec<String> {
    let mut arguments = arguments.to_vec();
    if !arguments.iter().any(|argument| argument.starts_with("--file-prefix")) {
        arguments.push(format!("--file-prefix=baton-{name}"));
    }
    arguments
}

/// The poll loop, as other threads reach it.
struct PollLoop<N: Node>(ControlHandle<N>);

impl<N: Node<Command: Send, Reply: Send>> Remote<N> for PollLoop<N> {
    fn command(&self, command: N::Command) -> Result<N::Reply, Unavailable> {
        self.0.command(command, ANSWER_WITHIN).map_err(unavailable)
    }

    fn numbers(&self) -> Result<ShellNumbers, Unavailable> {
        let LoopStats { turns, busy_ratio, drops, ports } = self.0.numbers(ANSWER_WITHIN).map_err(unavailable)?;
        Ok(ShellNumbers { ports: ports.iter().map(port_numbers).collect(), turns, busy_ratio, drops })
    }

    fn stop(&self, request: StopRequest) {
        self.0.stop(match request {
            StopRequest::Clean => Stop::Clean,
            StopRequest::Immediate => Stop::Immediate,
        });
    }
}

fn unavailable(error: ControlError) -> Unavailable {
    Unavailable(error.to_string())
}

fn port_numbers(port: &PortStats) -> PortNumbers {
    let counted = &port.counted;
    PortNumbers {
        rx_packets: counted.rx_packets,
        rx_bytes: counted.rx_bytes,
        rx_missed: counted.rx_missed,
        // A frame that no buffer holds is as lost as a damaged one.
        rx_errors: counted.rx_errors + port.rx_too_long,
        rx_no_buffer: counted.rx_no_buffer,
        tx_packets: counted.tx_packets,
        tx_bytes: counted.tx_bytes,
        tx_errors: counted.tx_errors,
        tx_unsent: port.tx_unsent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_dpdk::DeviceStats;

    #[test]
    fn nodes_on_one_machine_have_files_of_their_own() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (given, expected) in [
            ("", "--file-prefix=baton-f1"),
            ("--no-huge -m 64", "--no-huge -m 64 --file-prefix=baton-f1"),
            ("--file-prefix=x", "--file-prefix=x"),
            ("--file-prefix x", "--file-prefix x"),
        ] {
            assert_eq!(with_prefix(&words(given), "f1"), words(expected));
        }
    }

    #[test]
    fn each_number_has_its_place() {
        let counted = DeviceStats {
            rx_packets: 1,
            rx_bytes: 2,
            rx_missed: 3,
            rx_errors: 4,
            rx_no_buffer: 5,
            tx_packets: 6,
            tx_bytes: 7,
            tx_errors: 8,
        };
        let port = PortStats { counted, rx_too_long: 10, tx_unsent: 9, ..PortStats::default() };
        let expected = PortNumbers {
            rx_packets: 1,
            rx_bytes: 2,
            rx_missed: 3,
            rx_errors: 14,
            rx_no_buffer: 5,
            tx_packets: 6,
            tx_bytes: 7,
            tx_errors: 8,
            tx_unsent: 9,
        };
        assert_eq!(port_numbers(&port), expected);
    }
}
