//! The back-end's node: frames in, frames out.

use anyhow::{Result, ensure};
use baton_stack::time::Duration;

use super::Done;
use crate::client::Client;
use crate::cluster::{BURST, Cluster, Watch};
use crate::frame::Buffer;
use crate::meter::Meter;

/// Positions among a cluster's nodes.
const FRONT_END: usize = 0;
const BACK_END: usize = 1;
const ROUNDS: usize = 16;
const ROUNDS_BEFORE: usize = 4;
/// Round trips of the transfer before anything counts: slow start ends.
const TRIPS_BEFORE: usize = 12;
const TRIPS: usize = 8;
const RTT: Duration = Duration::from_millis(10);

/// Per request of 32 connections that are busy at the same time.
pub(super) fn request() -> Result<Done> {
    requests(BURST)
}

/// Per request of one connection.
pub(super) fn request_alone() -> Result<Done> {
    requests(1)
}

fn requests(connections: usize) -> Result<Done> {
    let mut cluster = Cluster::start(1, 1_000)?;
    let mut clients: Vec<Client> = (0..).take(connections).map(|n| cluster.connect(n, "")).collect::<Result<_>>()?;
    let mut times = 0;
    for round in 0..ROUNDS_BEFORE + ROUNDS {
        let counts = round >= ROUNDS_BEFORE;
        for client in &mut clients {
            client.tick(1);
            let frame = client.request(&mut cluster.wire, "/100");
            cluster.send(frame);
        }
        cluster.watch = if counts { Watch::BackEnds } else { Watch::Nobody };
        cluster.settle();
        cluster.watch = Watch::Nobody;
        ensure!(cluster.receive_all(&mut clients) == connections, "a frame for each client");
        times += if counts { connections } else { 0 };
        cluster.now = cluster.now + Duration::from_micros(500);
    }
    Ok(Done { times: times as u64, meter: cluster.meter })
}

/// Per pure ACK of a long transfer.
pub(super) fn ack() -> Result<Done> {
    transfer("/1000000000000", false)
}

/// Per full segment of a long transfer.
pub(super) fn segment() -> Result<Done> {
    transfer("/1000000000000", true)
}

/// The same of a file.
pub(super) fn file_segment() -> Result<Done> {
    transfer("/file", true)
}

/// One connection that gets a long response. The front-end takes no part in it here.
fn transfer(path: &str, counts_segments: bool) -> Result<Done> {
    let mut cluster = Cluster::start(1, 1_000)?;
    let mut client = cluster.connect(0, "")?;
    let request = client.request(&mut cluster.wire, path);
    cluster.send(request);
    cluster.settle();
    let mut meter = Meter::default();
    let mut times = 0;
    for trip in 0..TRIPS_BEFORE + TRIPS {
        let counts = trip >= TRIPS_BEFORE;
        let segments = cluster.take_received();
        ensure!(segments.len() > 5, "{} segments in a round trip", segments.len());
        client.tick(10);
        let mut acks = Vec::new();
        for (n, frame) in (1..).zip(&segments) {
            client.receive(frame);
            if n % 2 == 0 || n == segments.len() {
                acks.push(client.acknowledge(&mut cluster.wire));
            }
        }
        cluster.now = cluster.now + RTT;
        let came = acks.len();
        let sent = answer(&mut cluster, acks, counts.then_some((&mut meter, counts_segments)));
        times += if counts { if counts_segments { sent } else { came } } else { 0 };
        for frame in segments {
            cluster.wire.free(frame);
        }
    }
    Ok(Done { times: times as u64, meter })
}

/// Has the back-end take a window's acknowledgments, in bursts, and send what it then may. Returns how many frames its
/// counted polls sent.
fn answer(cluster: &mut Cluster, mut acks: Vec<Buffer>, counted: Option<(&mut Meter, bool)>) -> usize {
    let (mut meter, counts_polls) = match counted {
        Some((meter, counts_polls)) => (Some(meter), counts_polls),
        None => (None, false),
    };
    let mut sent = 0;
    while !acks.is_empty() {
        cluster.turn(FRONT_END, acks.drain(..acks.len().min(BURST)).collect());
        let burst = cluster.take_under_way();
        let frames = |cluster: &mut Cluster| cluster.take_frames(BACK_END, burst);
        match &mut meter {
            Some(meter) if !counts_polls => meter.of(|| frames(cluster)),
            _ => frames(cluster),
        }
        match &mut meter {
            Some(meter) if counts_polls => meter.of(|| cluster.poll(BACK_END)),
            _ => cluster.poll(BACK_END),
        }
        sent += cluster.collect();
    }
    // Were more sent now, they would not be counted.
    cluster.settle();
    sent
}
