//! The poll loop, which drives one node on one core.

use std::fmt;
use std::thread;
use std::time::Duration;

use baton_stack::node::{Node, PortId};
use baton_stack::time::Instant;

use crate::clock::Clock;
use crate::control::{COMMANDS_PER_TURN_MAX, ControlInbox, Request, Stop};
use crate::idle::{Idle, Rest};
use crate::port::RxBurst;
use crate::ports::Ports;
use crate::stats::{LoopStats, Meter};
use crate::transmit::TxBurst;

/// How long devices get to send what their queues hold at the end.
const DRAIN: Duration = Duration::from_millis(1);

/// How the loop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The node stopped in an orderly way, and what it wrote last was sent.
    Stopped,
    /// A request to stop at once, or a second request: the node's connections are left as they were.
    CutShort,
}

/// What there is to say of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct RunReport {
    /// How it ended.
    pub outcome: Outcome,
    /// The last numbers.
    pub stats: LoopStats,
}

/// Runs `node` on `ports` until a stop is asked for through `inbox`'s handles. Call it on the thread that started EAL, or on a
/// [registered](crate::Eal::register_thread) one.
pub fn run<N: Node>(node: &mut N, ports: &mut Ports, inbox: &ControlInbox<N>, idle: Idle, clock: &Clock) -> RunReport {
    let start = clock.now();
    let (mut rx, mut tx) = (RxBurst::new(), TxBurst::new(ports.pool(), ports.len()));
    let (mut meter, mut rest) = (Meter::new(start), Rest::new(idle, ports.can_wait(), start));
    let (mut worked, mut stopping) = (false, false);
    let outcome = loop {
        let now = clock.now();
        meter.turn(worked, now);
        if let Some(permille) = meter.report() {
            node.note_busy(permille);
        }
        worked = serve(inbox, now, node, ports, &tx, &mut meter);
        match inbox.stop_requested() {
            Some(Stop::Immediate) => break Outcome::CutShort,
            Some(Stop::Clean) if !stopping => {
                stopping = true;
                node.stop(now);
            }
            Some(Stop::Clean) | None => {}
        }
        for (id, port) in ports.iter_mut() {
            worked |= port.receive(&mut rx) > 0;
            handle(&mut rx, now, id, node, &mut tx);
        }
        node.poll(now, &mut tx);
        // Read again: what was written under a lease must not leave after it.
        let now = clock.now();
        let discarded =
            if node.may_transmit(now) { 0 } else { tx.discard(|frame| node.may_transmit_frame(now, frame)) };
        worked |= 0 < discarded + tx.flush(ports);
        if stopping && node.is_stopped() {
            break Outcome::Stopped;
        }
        rest.after(worked, now, node.poll_at(), ports);
    };
    thread::sleep(DRAIN);
    RunReport { outcome, stats: numbers(&mut meter, ports, &tx) }
}

/// Has the node see a receive burst. What it writes meanwhile leaves in front of what it sends on.
fn handle<N: Node>(rx: &mut RxBurst, now: Instant, port: PortId, node: &mut N, tx: &mut TxBurst) {
    let (frames, verdicts) = rx.to_judge();
    node.handle_burst(now, port, frames, verdicts, tx);
    rx.finish(|to, frame| tx.forward(to, frame));
}

/// Answers waiting requests; whether there were any. Whoever does not wait for the answer any more misses it.
fn serve<N: Node>(
    inbox: &ControlInbox<N>,
    now: Instant,
    node: &mut N,
    ports: &Ports,
    tx: &TxBurst,
    meter: &mut Meter,
) -> bool {
    let mut any = false;
    for _ in 0..COMMANDS_PER_TURN_MAX {
        let Some(request) = inbox.next() else { break };
        any = true;
        match request {
            Request::Command(command, reply) => {
                let _ = reply.try_send(node.handle_command(now, command));
            }
            Request::Numbers(reply) => {
                let _ = reply.try_send(numbers(meter, ports, tx));
            }
        }
    }
    any
}

fn numbers(meter: &mut Meter, ports: &Ports, tx: &TxBurst) -> LoopStats {
    LoopStats {
        turns: meter.turns(),
        busy_ratio: meter.busy_ratio(),
        drops: tx.drops().clone(),
        ports: ports.stats(tx),
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Stopped => "stopped in order",
            Outcome::CutShort => "stopped at once",
        };
        write!(f, "{outcome}\n{}", self.stats)
    }
}
