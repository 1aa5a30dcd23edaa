//! An idle connection as an image: given and taken.

use anyhow::{Result, anyhow, ensure};
use baton_http1::Cursor;
use baton_stack::addr::{ConnId, IpAddr, Ipv4Addr};
use baton_stack::tcp::{Tcb, TcpConfig};
use baton_stack::time::{Duration, Instant};
use handoff_proto::image::{Image, Plan, Planned};
use handoff_proto::message::{Handoff, Message, Served};
use handoff_proto::names::{Boot, Epoch, Generation};
use handoff_proto::seal::ClusterSecret;
use handoff_proto::session::{Identity, PeerIndex, Role, Sessions};

use super::tcp::{Plain, established};
use super::{Done, dropped};
use crate::client::{CLIENT_MAC, Client};
use crate::frame::Wire;
use crate::meter::Meter;

const TIMES: usize = 64;
const TIMES_BEFORE: usize = 8;
const DATAGRAM_LEN: usize = 1_472;
const ADDR: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))];
const NAMES: [&str; 2] = ["be1", "be2"];

/// Per image: frozen, encoded, sealed.
pub(super) fn give() -> Result<Done> {
    let mut pair = Pair::new()?;
    let _ = pair.give_all(TIMES_BEFORE, false)?;
    let _ = pair.give_all(TIMES, true)?;
    Ok(Done { times: TIMES as u64, meter: pair.meter })
}

/// Per image: opened, decoded, thawed.
pub(super) fn take() -> Result<Done> {
    let mut pair = Pair::new()?;
    for (times, counts) in [(TIMES_BEFORE, false), (TIMES, true)] {
        let datagrams = pair.give_all(times, false)?;
        pair.take_all(datagrams, counts)?;
    }
    Ok(Done { times: TIMES as u64, meter: pair.meter })
}

/// The length of an idle connection's image, in bytes.
///
/// # Errors
/// There is no such connection.
pub fn idle_image_len() -> Result<usize> {
    Ok(encode(idle()?, Instant::ZERO)?.len())
}

/// A connection that has nothing to do.
fn idle() -> Result<Tcb> {
    established(&mut Wire::default(), &mut Client::new(0))
}

fn encode(tcb: Tcb, now: Instant) -> Result<Vec<u8>> {
    let mut content = Plain::default();
    let tcb = tcb.freeze(now, &mut content).map_err(|(_, error)| error)?;
    let image = Image {
        c: ConnId(1),
        base: Epoch(1),
        epoch: Epoch(2),
        tried: Epoch(2),
        next_hop: CLIENT_MAC,
        tcb,
        cursor: Cursor::new(),
        plan: Plan::of(Planned { n: 1, strip: 0 }),
        resume: None,
        served: Served::NOTHING,
    };
    Ok(image.encode())
}

/// Two nodes that know each other.
struct Pair {
    nodes: [Sessions; 2],
    now: Instant,
    meter: Meter,
}

impl Pair {
    fn new() -> Result<Self> {
        let secret = ClusterSecret::parse(&[b'k'; 32]).map_err(|error| anyhow!("{error:?}"))?;
        let mut nodes = [0, 1].map(|me| Sessions::new(identity(me), secret.clone(), [u8::from(me == 0); 32]));
        let mut now = Instant::ZERO;
        for (me, node) in nodes.iter_mut().enumerate() {
            ensure!(node.add_peer(now, NAMES[1 - me], 0, ADDR[1 - me]).is_some(), "a peer");
        }
        while nodes.iter().any(|node| node.boot(PeerIndex(0)).is_none()) {
            now = now + Duration::from_millis(1);
            for me in [0, 1] {
                let mut datagram = [0; DATAGRAM_LEN];
                while let Some((_, len)) = nodes[me].poll_transmit(now, &mut datagram) {
                    let _ = nodes[1 - me].handle_datagram(now, ADDR[me], &mut datagram[..len]).map_err(dropped)?;
                }
            }
        }
        Ok(Self { nodes, now, meter: Meter::default() })
    }

    fn give_all(&mut self, times: usize, counts: bool) -> Result<Vec<Vec<u8>>> {
        let tcb = idle()?;
        let mut given: Vec<_> = (0..times).map(|_| (Some(tcb.clone()), vec![0; DATAGRAM_LEN])).collect();
        let Self { nodes: [donor, _], now, meter } = self;
        let mut work = || -> Result<()> {
            for (tcb, datagram) in &mut given {
                let Some(tcb) = tcb.take() else { continue };
                let len = give_one(donor, *now, tcb, datagram)?;
                datagram.truncate(len);
            }
            Ok(())
        };
        if counts {
            meter.of(work)?
        } else {
            work()?
        }
        Ok(given.into_iter().map(|(_, datagram)| datagram).collect())
    }

    fn take_all(&mut self, mut datagrams: Vec<Vec<u8>>, counts: bool) -> Result<()> {
        let mut taken: Vec<Tcb> = Vec::with_capacity(datagrams.len());
        let Self { nodes: [_, recipient], now, meter } = self;
        let mut work = || -> Result<()> {
            for datagram in &mut datagrams {
                taken.push(take_one(recipient, *now, datagram)?);
            }
            Ok(())
        };
        if counts { meter.of(work) } else { work() }
    }
}

fn give_one(donor: &mut Sessions, now: Instant, tcb: Tcb, datagram: &mut [u8]) -> Result<usize> {
    let bytes = encode(tcb, now)?;
    let handoff = Handoff {
        c: ConnId(1),
        base: Epoch(1),
        e2: Epoch(2),
        g: Generation(1),
        total: u32::try_from(bytes.len())?,
        part_bytes: donor.part_bytes(PeerIndex(0)),
        part: 0,
        bytes: &bytes,
    };
    donor.send(PeerIndex(0), &Message::Handoff(handoff)).map_err(dropped)?;
    Ok(donor.write_datagram(now, PeerIndex(0), datagram))
}

fn take_one(recipient: &mut Sessions, now: Instant, datagram: &mut [u8]) -> Result<Tcb> {
    let (_, mut messages) = recipient.handle_datagram(now, ADDR[0], datagram).map_err(dropped)?;
    let Some(Ok(Message::Handoff(handoff))) = messages.next() else { return Err(anyhow!("no HANDOFF")) };
    let image = Image::decode(handoff.bytes)?;
    Ok(Tcb::thaw(image.tcb, now, &TcpConfig::default(), &mut Plain(Vec::new()))?)
}

fn identity(me: usize) -> Identity {
    Identity {
        name: NAMES[me].to_owned(),
        boot: Boot(1),
        core: 0,
        cores: 1,
        role: Role::BackEnd,
        datagram_bytes: u16::try_from(DATAGRAM_LEN).unwrap_or(u16::MAX),
    }
}
