//! A whole move: everything that every node does for it.

use anyhow::{Result, ensure};
use baton_stack::time::Duration;

use super::Done;
use crate::cluster::{Cluster, Watch};

const TIMES: usize = 32;
const TIMES_BEFORE: usize = 4;
/// Long enough for everything that a move leaves behind to be told, short enough for no lease to be renewed.
const PAUSE: Duration = Duration::from_millis(5);

/// Per request that moves its connection.
pub(super) fn moves() -> Result<Done> {
    requests(["/be2", "/be1"])
}

/// Per request that does not.
pub(super) fn stays() -> Result<Done> {
    requests(["/be1", "/be1"])
}

/// One connection, whose requests are for these back-ends in turn. What comes after the response belongs to it.
fn requests(prefixes: [&str; 2]) -> Result<Done> {
    let mut cluster = Cluster::start(2, 1_000)?;
    let mut client = cluster.connect(0, "/be1")?;
    for (times, counts) in [(TIMES_BEFORE, false), (TIMES, true)] {
        for n in 0..times {
            let before = client.received;
            client.tick(1);
            let request = client.request(&mut cluster.wire, &format!("{}/100", prefixes[n % 2]));
            cluster.watch = if counts { Watch::All } else { Watch::Nobody };
            cluster.exchange(&mut client, request);
            ensure!(client.received > before, "no response to request {n}");
            let ack = client.acknowledge(&mut cluster.wire);
            cluster.exchange(&mut client, ack);
            cluster.pass_when_due(PAUSE);
        }
    }
    Ok(Done { times: TIMES as u64, meter: cluster.meter })
}
