//! TCP alone: one connection that sends without end.

use anyhow::Result;
use baton_stack::node::Frame;
use baton_stack::tcp::{Content, ContentLost, Extent, Place, Segment, SeqNum, SourceId, Tcb, TcpConfig, Written};
use baton_stack::time::{Duration, Instant};
use baton_stack::wire::{self, Envelope, IpSettings, Layers, Packet};

use super::{Done, dropped};
use crate::client::{CLIENT_MAC, Client};
use crate::cluster::FRONT_END_MAC;
use crate::frame::{Buffer, Wire};
use crate::meter::Meter;

/// Round trips before anything counts: slow start ends.
const ROUNDS_BEFORE: usize = 12;
const ROUNDS: usize = 8;
const RTT: Duration = Duration::from_millis(10);
const FRAME_LEN: usize = 1_514;

/// Content that has every byte.
#[derive(Clone, Debug)]
pub(super) struct Plain(pub(super) Vec<u8>);

impl Default for Plain {
    fn default() -> Self {
        Self(vec![0x5a; 1 << 12])
    }
}

impl Content for Plain {
    fn read(&mut self, _: SourceId, _: u64, buf: &mut [u8]) -> Result<(), ContentLost> {
        buf.copy_from_slice(self.0.get(..buf.len()).ok_or(ContentLost)?);
        Ok(())
    }

    fn release(&mut self, _: SourceId, _: u64) {}

    fn insert(&mut self, _: Vec<u8>) -> Result<SourceId, ContentLost> {
        Ok(SourceId(0))
    }
}

/// Per full segment sent.
pub(super) fn segment() -> Result<Done> {
    Bulk::new()?.measured(true)
}

/// Per pure ACK received.
pub(super) fn ack() -> Result<Done> {
    Bulk::new()?.measured(false)
}

/// A connection after its handshake.
pub(super) fn established(wire: &mut Wire, client: &mut Client) -> Result<Tcb> {
    let (now, config, mut content) = (Instant::ZERO, TcpConfig::default(), Plain::default());
    let syn = client.syn(wire);
    let mut tcb = Tcb::accept(now, &config, client.flow, SeqNum(7), 0, &segment_of(tcp_of(&syn))?).map_err(dropped)?;
    let envelope = envelope(client);
    let syn_ack = wire.written(FRAME_LEN, |frame| {
        let Written { len, ecn } = tcb.poll_transmit(now, &mut content, &mut frame[envelope.len()..]);
        envelope.seal_tcp(frame, len, ecn)
    });
    client.receive(&syn_ack);
    let ack = client.acknowledge(wire);
    let _ = tcb.handle_segment(now, &segment_of(tcp_of(&ack))?, &mut content).map_err(dropped)?;
    Ok(tcb)
}

struct Bulk {
    tcb: Tcb,
    content: Plain,
    client: Client,
    envelope: Envelope,
    now: Instant,
    wire: Wire,
    meter: Meter,
}

impl Bulk {
    fn new() -> Result<Self> {
        let (mut wire, mut client) = (Wire::default(), Client::new(0));
        let mut tcb = established(&mut wire, &mut client)?;
        tcb.push(Extent { len: 1 << 40, place: Place::Local { source: SourceId(0), offset: 0 } })?;
        let (content, envelope) = (Plain::default(), envelope(&client));
        Ok(Self { tcb, content, client, envelope, now: Instant::ZERO, wire, meter: Meter::default() })
    }

    /// Round trips: a window goes out, its acknowledgments come back.
    fn measured(mut self, counts_segments: bool) -> Result<Done> {
        let mut times = 0;
        for round in 0..ROUNDS_BEFORE + ROUNDS {
            let counts = round >= ROUNDS_BEFORE;
            let frames = self.send(counts && counts_segments);
            let acks = self.acknowledge(&frames);
            self.now = self.now + RTT;
            self.take(&acks, counts && !counts_segments)?;
            times += if counts { if counts_segments { frames.len() } else { acks.len() } } else { 0 };
            for frame in frames.into_iter().chain(acks) {
                self.wire.free(frame);
            }
        }
        Ok(Done { times: times as u64, meter: self.meter })
    }

    /// All that may be sent now.
    fn send(&mut self, counts: bool) -> Vec<Buffer> {
        let Self { tcb, content, envelope, now, wire, meter, .. } = self;
        let mut frames = Vec::with_capacity(1_024);
        let mut work = || {
            // As the engine does.
            while let Some(due) = tcb.due(*now) {
                frames.push(wire.written(FRAME_LEN, |frame| {
                    let Written { len, ecn } = tcb.transmit(*now, due, content, &mut frame[envelope.len()..]);
                    envelope.seal_tcp(frame, len, ecn)
                }));
            }
        };
        if counts {
            meter.of(work)
        } else {
            work()
        }
        frames
    }

    /// An acknowledgment for every second frame.
    fn acknowledge(&mut self, frames: &[Buffer]) -> Vec<Buffer> {
        self.client.tick(10);
        let mut acks = Vec::new();
        for (n, frame) in (1..).zip(frames) {
            self.client.receive(frame);
            if n % 2 == 0 || n == frames.len() {
                acks.push(self.client.acknowledge(&mut self.wire));
            }
        }
        acks
    }

    fn take(&mut self, acks: &[Buffer], counts: bool) -> Result<()> {
        let Self { tcb, content, now, meter, .. } = self;
        let segments: Vec<&[u8]> = acks.iter().map(tcp_of).collect();
        let mut work = || -> Result<()> {
            for &segment in &segments {
                let _ = tcb.handle_segment(*now, &segment_of(segment)?, content).map_err(dropped)?;
            }
            Ok(())
        };
        if counts { meter.of(work) } else { work() }
    }
}

fn envelope(client: &Client) -> Envelope {
    let (src, dst) = (client.flow.vip.addr, client.flow.client.addr);
    Envelope { src_mac: FRONT_END_MAC, dst_mac: CLIENT_MAC, vlan: 0, src, dst, ip: IpSettings::DEFAULT }
}

fn segment_of(tcp: &[u8]) -> Result<Segment<'_>> {
    Segment::parse(tcp).map_err(dropped)
}

/// The TCP segment of a frame.
fn tcp_of(frame: &Buffer) -> &[u8] {
    match wire::parse(frame.bytes(), 0) {
        Ok(Layers { packet: Packet::Ip(ip), .. }) => &frame.bytes()[ip.l4],
        _ => &[],
    }
}
