//! The front-end's node.

use anyhow::{Result, ensure};
use baton_stack::time::Duration;

use super::Done;
use crate::client::Client;
use crate::cluster::{BURST, Cluster, Watch};
use crate::frame::{Buffer, Wire};

const FRONT_END: usize = 0;
const BURSTS: usize = 64;
const BURSTS_BEFORE: usize = 4;
const CONNECTIONS: u32 = 48;
const CONNECTIONS_BEFORE: u32 = 8;

/// Per packet, with 1,000 flows.
pub(super) fn forward_1k() -> Result<Done> {
    forward(1_000)
}

/// Per packet, with 100,000 flows.
pub(super) fn forward_100k() -> Result<Done> {
    forward(100_000)
}

/// A front-end whose flows are all owned by back-ends.
#[derive(Debug)]
pub struct Forwarding {
    /// The cluster.
    pub cluster: Cluster,
    /// The clients, one for each flow.
    pub clients: Vec<Client>,
    next: u32,
}

impl Forwarding {
    /// With so many flows.
    ///
    /// # Errors
    /// A connection does not come about.
    pub fn new(flows: u32) -> Result<Self> {
        let mut cluster = Cluster::start(1, usize::try_from(flows)? + 1)?;
        let clients = (0..flows).map(|number| cluster.connect(number, "")).collect::<Result<_>>()?;
        Ok(Self { cluster, clients, next: 1 })
    }

    /// A pure ACK of some client, in no order that a cache could like.
    pub fn packet(&mut self) -> Buffer {
        let (client, wire) = self.pick();
        client.acknowledge(wire)
    }

    fn pick(&mut self) -> (&Client, &mut Wire) {
        // Numerical Recipes' generator: the upper bits are good enough.
        self.next = self.next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let at = (u64::from(self.next) * self.clients.len() as u64) >> 32;
        (&self.clients[usize::try_from(at).unwrap_or(0)], &mut self.cluster.wire)
    }
}

fn forward(flows: u32) -> Result<Done> {
    let mut bed = Forwarding::new(flows)?;
    let mut times = 0;
    for burst in 0..BURSTS_BEFORE + BURSTS {
        let packets: Vec<Buffer> = (0..BURST).map(|_| bed.packet()).collect();
        let counts = burst >= BURSTS_BEFORE;
        bed.cluster.watch = if counts { Watch::FrontEnd } else { Watch::Nobody };
        bed.cluster.turn(FRONT_END, packets);
        let forwarded = bed.cluster.take_under_way();
        ensure!(forwarded.len() == BURST, "{} of {BURST} packets were sent on", forwarded.len());
        for packet in forwarded {
            bed.cluster.wire.free(packet);
        }
        times += if counts { BURST } else { 0 };
        bed.cluster.now = bed.cluster.now + Duration::from_micros(1);
    }
    Ok(Done { times: times as u64, meter: bed.cluster.meter })
}

/// Per SYN that is answered with a cookie.
pub(super) fn syn_cookie() -> Result<Done> {
    // The first burst takes all places there are.
    let mut cluster = Cluster::start(1, BURST)?;
    let (mut times, mut number) = (0, 0);
    for burst in 0..BURSTS_BEFORE + BURSTS {
        let syns = (number..).take(BURST).map(|number| Client::new(number).syn(&mut cluster.wire)).collect();
        number += u32::try_from(BURST)?;
        let counts = burst >= BURSTS_BEFORE;
        cluster.watch = if counts { Watch::FrontEnd } else { Watch::Nobody };
        cluster.turn(FRONT_END, syns);
        let answers = cluster.take_received();
        ensure!(answers.len() == BURST, "{} of {BURST} SYNs were answered", answers.len());
        for answer in answers {
            cluster.wire.free(answer);
        }
        times += if counts { BURST } else { 0 };
        cluster.now = cluster.now + Duration::from_micros(1);
    }
    Ok(Done { times: times as u64, meter: cluster.meter })
}

/// Per connection, at the front-end.
pub(super) fn open_close() -> Result<Done> {
    lives(Watch::FrontEnd)
}

/// Per connection, at the back-end.
pub(super) fn open_close_at_back_end() -> Result<Done> {
    lives(Watch::BackEnds)
}

/// Connections one after the other: opened, used once, closed by the client.
fn lives(watch: Watch) -> Result<Done> {
    let mut cluster = Cluster::start(1, 1_000)?;
    for number in 0..CONNECTIONS_BEFORE + CONNECTIONS {
        cluster.watch = if number >= CONNECTIONS_BEFORE { watch } else { Watch::Nobody };
        let mut client = cluster.connect(number, "")?;
        let fin = client.fin(&mut cluster.wire);
        cluster.exchange(&mut client, fin);
        ensure!(client.is_finished, "the server's FIN");
        let last = client.acknowledge(&mut cluster.wire);
        cluster.exchange(&mut client, last);
        cluster.now = cluster.now + Duration::from_micros(100);
    }
    Ok(Done { times: CONNECTIONS.into(), meter: cluster.meter })
}
