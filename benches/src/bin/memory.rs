//! What a connection takes at each node: allocated bytes over connections, with every table at its limit.
#![forbid(unsafe_code)]

use std::alloc::System;

use anyhow::Result;
use baton_benches::Cluster;
use baton_benches::cases::idle_image_len;
use baton_stack::time::Duration;
use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How long the connections are idle: longer than any record of a move lasts.
const IDLE: Duration = Duration::from_secs(20);

/// Measures the memory of idle connections that back-ends own.
#[derive(Debug, Parser)]
struct Options {
    /// How many connections; also the nodes' limit. The default is the nodes' own.
    #[arg(long, default_value_t = 65_536)]
    connections: u32,
}

fn main() -> Result<()> {
    let connections = Options::parse().connections;
    let mut cluster = Cluster::start_gauged(1, usize::try_from(connections)?, Some(allocated))?;
    let fixed = [cluster.held(0), cluster.held(1)];
    for number in 0..connections {
        cluster.connect(number, "")?;
    }
    // What is remembered of how each came here is over.
    cluster.pass_when_due(IDLE);
    println!("{:32} {:>8} {:>8}   of which allocated at start", "bytes per connection", "measured", "budget");
    for (node, name, budget) in [(0, "front-end, flow owned elsewhere", 64), (1, "back-end, idle connection", 1_024)] {
        let held = cluster.held(node) / isize::try_from(connections)?;
        let at_start = fixed[node] / isize::try_from(connections)?;
        let verdict = if held <= budget { "holds" } else { "MISSED" };
        println!("{name:32} {held:>8} {budget:>8}   {at_start:>8}   {verdict}");
    }
    println!("{:32} {:>8} {:>8}", "image of an idle connection", idle_image_len()?, 384);
    Ok(())
}

fn allocated() -> isize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.cast_signed() - stats.bytes_deallocated.cast_signed()
}
