//! The front-end's rate over DPDK's `net_ring`, next to a loop that only swaps addresses, as `testpmd`'s 5tswap mode does.
//!
//! One thread plays both ends: it fills the ring, then lets the node empty it, and only the second half is timed. So no
//! generator can be the bottleneck, and no second core is needed.
//!
//! ```text
//!   far end --1,024 frames--> ring --> receive, handle_frame, poll, send --> ring --> far end
//!                                      '------------ timed -----------'
//! ```
#![forbid(unsafe_code)]

use std::time::{Duration, Instant as SystemTime};

use anyhow::{Context, Result, ensure};
use baton_benches::cases::Forwarding;
use baton_dpdk::{Eal, Mbuf, PortConfig, Ports, RingPair, RxBurst, TxBurst};
use baton_stack::node::{Frame, Node, PortId, Transmit, Verdict};
use baton_stack::time::Instant;
use clap::Parser;

const RING_FRAMES: usize = 1_024;
const EAL: &str = "--no-huge -m 128 --no-pci --no-shconf --no-telemetry --log-level=error";

/// Measures how fast a front-end sends client packets on.
#[derive(Debug, Parser)]
struct Options {
    /// How many flows, drawn at random for each packet; once each.
    #[arg(long, default_values_t = [1_000, 100_000, 1_000_000])]
    flows: Vec<u32>,
    /// Rounds of 1,024 packets.
    #[arg(long, default_value_t = 2_000)]
    rounds: u32,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let eal = Eal::init(&EAL.split_whitespace().map(str::to_owned).collect::<Vec<_>>())?;
    let mut ring = Ring::new(&eal)?;
    println!("{:>10} {:>12} {:>12} {:>8} {:>8}", "flows", "swap ns", "baton ns", "ratio", "budget");
    for flows in options.flows {
        let mut bed = Forwarding::new(flows)?;
        let (mut swaps, mut forwards) = (Vec::new(), Vec::new());
        // In turns: what disturbs the one disturbs the other.
        for _ in 0..options.rounds {
            let packets: Vec<_> = (0..RING_FRAMES).map(|_| bed.packet()).collect();
            let now = bed.cluster.now;
            swaps.push(ring.round(&packets, now, &mut Swap)?);
            forwards.push(ring.round(&packets, now, &mut bed.cluster.front_end)?);
            for packet in packets {
                bed.cluster.wire.free(packet);
            }
        }
        let (swap, forward) = (median(swaps), median(forwards));
        let ratio = swap / forward;
        let budget = if flows <= 1_000 { 0.85 } else { 0.6 };
        let verdict = if ratio >= budget { "holds" } else { "MISSED" };
        println!("{flows:>10} {swap:>12.1} {forward:>12.1} {ratio:>8.2} {budget:>8} {verdict}");
    }
    Ok(())
}

/// The time of one packet, in nanoseconds.
fn median(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort_unstable();
    rounds.get(rounds.len() / 2).map_or(f64::NAN, |round| round.as_secs_f64() * 1e9 / RING_FRAMES as f64)
}

/// Both ends of a ring.
struct Ring {
    near: Ports,
    far: Ports,
    rx: RxBurst,
    tx: TxBurst,
    sink: RxBurst,
    // Last: after the ports.
    _pair: RingPair,
}

impl Ring {
    fn new(eal: &Eal) -> Result<Self> {
        let pair = RingPair::new(eal, u32::try_from(RING_FRAMES)?)?;
        let [near, far] = pair.devices().map(|device| Ports::open(eal, &[PortConfig::new(device, 1_500)]));
        let (near, far) = (near?, far?);
        let tx = TxBurst::new(near.pool(), near.len());
        Ok(Self { near, far, rx: RxBurst::new(), tx, sink: RxBurst::new(), _pair: pair })
    }

    /// Has `node` forward `packets`; returns how long that took.
    fn round<N: Node, F: Frame>(&mut self, packets: &[F], now: Instant, node: &mut N) -> Result<Duration> {
        let mut source = TxBurst::new(self.far.pool(), self.far.len());
        for packets in packets.chunks(baton_dpdk::BURST) {
            for packet in packets {
                source.forward(PortId(0), self.mbuf(packet)?);
            }
            source.flush(&mut self.far);
        }
        let began = SystemTime::now();
        let mut left = packets.len();
        while left > 0 {
            let came = self.turn(now, node);
            ensure!(came > 0, "{left} frames are missing in the ring");
            left -= came;
        }
        let took = began.elapsed();
        let mut back = 0;
        for (_, port) in self.far.iter_mut() {
            loop {
                let came = port.receive(&mut self.sink);
                self.sink.drain(Some);
                back += came;
                if came == 0 {
                    break;
                }
            }
        }
        ensure!(back == packets.len(), "{back} of {} packets came back", packets.len());
        Ok(took)
    }

    /// The poll loop's turn, as `baton_dpdk::run` does it.
    fn turn<N: Node>(&mut self, now: Instant, node: &mut N) -> usize {
        let Self { near, rx, tx, .. } = self;
        let mut came = 0;
        for (id, port) in near.iter_mut() {
            came += port.receive(rx);
            let (frames, verdicts) = rx.to_judge();
            node.handle_burst(now, id, frames, verdicts, tx);
            rx.finish(|to, frame| tx.forward(to, frame));
        }
        node.poll(now, tx);
        if node.may_transmit(now) {
            tx.flush(near);
        }
        came
    }

    fn mbuf<F: Frame>(&self, packet: &F) -> Result<Mbuf> {
        self.far.pool().take_with(packet.bytes()).context("no buffer is left")
    }
}

/// Swaps the addresses of all layers and sends the frame back: what forwarding costs when nothing is looked at.
#[derive(Debug)]
struct Swap;

impl Node for Swap {
    type Command = ();
    type Reply = ();

    fn handle_frame<F: Frame, T: Transmit>(&mut self, _: Instant, port: PortId, frame: &mut F, _: &mut T) -> Verdict {
        let Some(headers) = frame.bytes_mut().first_chunk_mut::<38>() else { return Verdict::Free };
        // An untagged frame with an IPv4 header without options.
        if headers[12..15] != [8, 0, 0x45] {
            return Verdict::Free;
        }
        let [d, s] = [0, 6].map(|at| [0, 1, 2, 3, 4, 5].map(|k| headers[at + k]));
        headers[..6].copy_from_slice(&s);
        headers[6..12].copy_from_slice(&d);
        let [s, d] = [26, 30].map(|at| [0, 1, 2, 3].map(|k| headers[at + k]));
        headers[26..30].copy_from_slice(&d);
        headers[30..34].copy_from_slice(&s);
        let [s, d] = [34, 36].map(|at| [headers[at], headers[at + 1]]);
        headers[34..36].copy_from_slice(&d);
        headers[36..38].copy_from_slice(&s);
        Verdict::Forward(port)
    }

    fn poll<T: Transmit>(&mut self, _: Instant, _: &mut T) {}

    fn poll_at(&self) -> Option<Instant> {
        None
    }

    fn handle_command(&mut self, _: Instant, (): ()) {}

    fn stop(&mut self, _: Instant) {}

    fn is_stopped(&self) -> bool {
        true
    }

    fn may_transmit(&self, _: Instant) -> bool {
        true
    }
}
