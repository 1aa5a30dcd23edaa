//! A front-end and its back-ends in one thread: the production nodes, built from configurations as the programs are.
//!
//! Frames go round in bursts: a node takes all that wait for it, up to a receive burst, and is then polled once, as the
//! shell does it.

use std::collections::VecDeque;

use anyhow::{Context, Result, ensure};
use baton_backend::BackEnd;
use baton_frontend::FrontEnd;
use baton_stack::addr::{Endpoint, IpAddr, Ipv4Addr, MacAddr};
use baton_stack::node::{Frame, Node, PortId, Verdict};
use baton_stack::time::{Duration, Instant};
use handoff_proto::names::Boot;
use handoff_proto::seal::ClusterSecret;

use crate::client::{CLIENT_MAC, Client};
use crate::frame::{Buffer, Wire};
use crate::meter::Meter;
use crate::service::Steady;

/// What clients connect to.
pub const VIP: Endpoint = Endpoint { addr: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100)), port: 80 };
/// The front-end's Ethernet address.
pub const FRONT_END_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 10]);
/// Frames that a node takes in one turn at the most.
pub const BURST: usize = 32;

const SECRET: &[u8] = b"the secret of a measured cluster, 32 bytes and more";
const FIRST_BACK_END: u8 = 21;
/// How long the nodes need to find each other.
const START: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(1);
/// Datagrams of the cluster begin with these ports, at this offset of a frame.
const UDP_PORT: [u8; 2] = 9_910_u16.to_be_bytes();
/// Where a frame for a client has the client's port.
const CLIENT_PORT: std::ops::Range<usize> = 36..38;
const UDP_DST: std::ops::Range<usize> = 36..38;

/// Whose work is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// Nobody's.
    Nobody,
    /// The front-end's.
    FrontEnd,
    /// All back-ends'.
    BackEnds,
    /// Everybody's.
    All,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The front-end.
    pub front_end: FrontEnd,
    /// The back-ends: be1 serves what is below `/be1/`, and so on; be1 everything else.
    pub back_ends: Vec<BackEnd<Steady>>,
    /// Whose work is measured.
    pub watch: Watch,
    /// With what.
    pub meter: Meter,
    /// Buffers.
    pub wire: Wire,
    /// The time.
    pub now: Instant,
    /// Datagrams between nodes so far.
    pub datagrams: u64,
    /// How many bytes are allocated, if somebody wants to know whose they are.
    gauge: Option<fn() -> isize>,
    /// What each node holds of them, the front-end first.
    held: Vec<isize>,
    under_way: VecDeque<Buffer>,
    /// Frames for clients that nobody has taken.
    for_clients: Vec<Buffer>,
    macs: Vec<MacAddr>,
}

impl Cluster {
    /// A cluster whose nodes know each other.
    ///
    /// # Errors
    /// A node refuses its configuration, or does not come up.
    pub fn start(back_ends: u8, connections: usize) -> Result<Self> {
        Self::start_gauged(back_ends, connections, None)
    }

    /// A cluster in which `gauge`, the number of bytes that are allocated, is read around everything that a node does.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_gauged(back_ends: u8, connections: usize, gauge: Option<fn() -> isize>) -> Result<Self> {
        let read = || gauge.map_or(0, |gauge| gauge());
        let hosts: Vec<u8> = (0..back_ends).map(|k| FIRST_BACK_END + k).collect();
        let macs = [10].iter().chain(&hosts).map(|&host| MacAddr([2, 0, 0, 0, 0, host])).collect();
        let mut before = read();
        let mut held = Vec::new();
        let front_end = front_end(&hosts, connections)?;
        held.push(read() - before);
        let mut nodes = Vec::with_capacity(hosts.len());
        for (k, &host) in (1..).zip(&hosts) {
            before = read();
            nodes.push(back_end(k, host, connections)?);
            held.push(read() - before);
        }
        let mut cluster = Self {
            front_end,
            back_ends: nodes,
            watch: Watch::Nobody,
            meter: Meter::default(),
            wire: Wire::default(),
            now: Instant::ZERO,
            datagrams: 0,
            gauge,
            held,
            under_way: VecDeque::new(),
            for_clients: Vec::new(),
            macs,
        };
        cluster.pass(START);
        Ok(cluster)
    }

    /// Lets time pass; everybody does what becomes due.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + TICK;
            for node in 0..self.macs.len() {
                self.turn(node, Vec::new());
            }
            self.settle();
        }
    }

    /// Lets time pass, in steps to when somebody has something to do.
    pub fn pass_when_due(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let at = (0..self.macs.len()).filter_map(|node| self.due_at(node)).min().filter(|at| *at <= end);
            let Some(at) = at else { break };
            self.now = self.now.max(at);
        }
        self.now = end;
    }

    /// Puts a client's frame on the wire.
    pub fn send(&mut self, frame: Buffer) {
        self.under_way.push_back(frame);
    }

    /// Goes on until nothing is under way and nobody has anything to do now.
    pub fn settle(&mut self) {
        loop {
            while let Some(frame) = self.under_way.front() {
                let to = destination(frame);
                if to == MacAddr::BROADCAST {
                    self.broadcast();
                } else if let Some(node) = self.macs.iter().position(|mac| *mac == to) {
                    let burst = self.burst_for(to);
                    self.turn(node, burst);
                } else if let Some(frame) = self.under_way.pop_front() {
                    // For nobody.
                    self.wire.free(frame);
                }
            }
            let Some(node) = (0..self.macs.len()).find(|&node| self.is_due(node)) else { return };
            self.turn(node, Vec::new());
        }
    }

    /// Lets `client` take what has come for it; it must be the only one that anything has come for.
    pub fn receive(&mut self, client: &mut Client) {
        for frame in self.for_clients.drain(..) {
            client.receive(&frame);
            self.wire.free(frame);
        }
    }

    /// Lets each of `clients` take what has come for it. Returns how many frames that was.
    pub fn receive_all(&mut self, clients: &mut [Client]) -> usize {
        let count = self.for_clients.len();
        for frame in self.for_clients.drain(..) {
            let port = frame.bytes().get(CLIENT_PORT).unwrap_or_default();
            if let Some(client) = clients.iter_mut().find(|client| client.flow.client.port.to_be_bytes() == port) {
                client.receive(&frame);
            }
            self.wire.free(frame);
        }
        count
    }

    /// Takes the frames that have come for clients.
    pub fn take_received(&mut self) -> Vec<Buffer> {
        std::mem::take(&mut self.for_clients)
    }

    /// Takes every frame that is under way.
    pub fn take_under_way(&mut self) -> Vec<Buffer> {
        self.under_way.drain(..).collect()
    }

    /// A connection that has had its first response, of 100 bytes, and acknowledged it. Its path begins with `prefix`.
    ///
    /// # Errors
    /// There is no response.
    pub fn connect(&mut self, number: u32, prefix: &str) -> Result<Client> {
        let mut client = Client::new(number);
        let syn = client.syn(&mut self.wire);
        self.exchange(&mut client, syn);
        let request = client.request(&mut self.wire, &format!("{prefix}/100"));
        self.exchange(&mut client, request);
        ensure!(client.received >= 100, "client {number} got {} bytes", client.received);
        let ack = client.acknowledge(&mut self.wire);
        self.exchange(&mut client, ack);
        Ok(client)
    }

    /// Sends one frame of a client and lets it take what comes back.
    pub fn exchange(&mut self, client: &mut Client, frame: Buffer) {
        self.send(frame);
        self.settle();
        self.receive(client);
    }

    fn due_at(&self, node: usize) -> Option<Instant> {
        match node {
            0 => self.front_end.poll_at(),
            node => self.back_ends[node - 1].poll_at(),
        }
    }

    fn is_due(&self, node: usize) -> bool {
        self.due_at(node).is_some_and(|at| at <= self.now)
    }

    fn burst_for(&mut self, mac: MacAddr) -> Vec<Buffer> {
        let mut burst = Vec::with_capacity(BURST);
        while burst.len() < BURST && self.under_way.front().is_some_and(|frame| destination(frame) == mac) {
            burst.extend(self.under_way.pop_front());
        }
        burst
    }

    fn broadcast(&mut self) {
        let Some(frame) = self.under_way.pop_front() else { return };
        for node in 0..self.macs.len() {
            let copy = self.wire.frame(frame.bytes());
            self.turn(node, vec![copy]);
        }
        self.wire.free(frame);
    }

    /// One turn of a node: a burst in, one poll, what it wrote out.
    pub fn turn(&mut self, node: usize, mut burst: Vec<Buffer>) {
        let Self { front_end, back_ends, watch, meter, wire, now, gauge, held, .. } = self;
        let is_watched = match node {
            0 => matches!(watch, Watch::FrontEnd | Watch::All),
            _ => matches!(watch, Watch::BackEnds | Watch::All),
        };
        let mut work = || match node {
            0 => take_turn(front_end, *now, &mut burst, wire),
            node => take_turn(&mut back_ends[node - 1], *now, &mut burst, wire),
        };
        let before = gauge.map_or(0, |gauge| gauge());
        if is_watched {
            meter.of(work)
        } else {
            work()
        }
        held[node] += gauge.map_or(0, |gauge| gauge()) - before;
        self.collect();
    }

    /// How many bytes a node holds, if there is a gauge: the front-end is 0.
    #[must_use]
    pub fn held(&self, node: usize) -> isize {
        self.held.get(node).copied().unwrap_or(0)
    }

    /// The first half of a back-end's turn: its burst, nobody watching.
    pub fn take_frames(&mut self, back_end: usize, mut burst: Vec<Buffer>) {
        take_frames(&mut self.back_ends[back_end - 1], self.now, &mut burst, &mut self.wire);
    }

    /// The second half: its poll.
    pub fn poll(&mut self, back_end: usize) {
        self.back_ends[back_end - 1].poll(self.now, &mut self.wire);
    }

    /// Puts what nodes have written on its way. Returns how many of these frames are for clients.
    pub fn collect(&mut self) -> usize {
        let before = self.for_clients.len();
        for frame in self.wire.drain() {
            self.datagrams += u64::from(frame.bytes().get(UDP_DST) == Some(&UDP_PORT));
            if destination(&frame) == CLIENT_MAC {
                self.for_clients.push(frame);
            } else {
                self.under_way.push_back(frame);
            }
        }
        self.for_clients.len() - before
    }
}

fn take_turn<N: Node>(node: &mut N, now: Instant, burst: &mut Vec<Buffer>, wire: &mut Wire) {
    take_frames(node, now, burst, wire);
    node.poll(now, wire);
}

fn take_frames<N: Node>(node: &mut N, now: Instant, burst: &mut Vec<Buffer>, wire: &mut Wire) {
    while !burst.is_empty() {
        let count = burst.len().min(BURST);
        let mut verdicts = [Verdict::Free; BURST];
        node.handle_burst(now, PortId(0), &mut burst[..count], &mut verdicts[..count], wire);
        for (frame, verdict) in burst.drain(..count).zip(verdicts) {
            match verdict {
                Verdict::Free => wire.free(frame),
                Verdict::Forward(_) => wire.forward(frame),
            }
        }
    }
}

/// Whom a frame is for.
fn destination(frame: &Buffer) -> MacAddr {
    frame.bytes().first_chunk().map_or(CLIENT_MAC, |mac| MacAddr(*mac))
}

fn secret() -> Result<ClusterSecret> {
    ClusterSecret::parse(SECRET).ok().context("the secret")
}

fn front_end(hosts: &[u8], connections: usize) -> Result<FrontEnd> {
    let limits = format!("connections = {connections}\nhalf_open = {}\n", connections.min(4_096));
    let mut text = common("fe1", "id = 1\n", 10, &limits);
    text += "[[listener]]\naddress = \"10.77.0.100\"\nport = 80\n";
    for (k, host) in (1..).zip(hosts) {
        text += &format!("[[backend]]\nname = \"be{k}\"\naddress = \"10.77.0.{host}\"\n");
        text += &format!("[[route]]\npath_prefix = \"/be{k}/\"\nstrip_prefix = true\nbackends = [\"be{k}\"]\n");
    }
    text += "[[route]]\nbackends = [\"be1\"]\n";
    let config = baton_frontend::config::parse("fe1.toml", &text)?;
    let life = baton_frontend::settings::Life {
        boot: Boot(1),
        seed: [1; 32],
        secrets: secret()?.into(),
        macs: &[FRONT_END_MAC],
    };
    Ok(FrontEnd::new(baton_frontend::Settings::new(&config, life)))
}

fn back_end(k: u8, host: u8, connections: usize) -> Result<BackEnd<Steady>> {
    // A connection that came is remembered as long as it is there.
    let limits = format!("connections = {connections}\nrecords = {}\n", connections.max(262_144));
    let text = common(&format!("be{k}"), "", host, &limits)
        + "[[frontend]]\nname = \"fe1\"\naddress = \"10.77.0.10\"\n[serve]\nprobe = true\nidentify = true\n";
    let config = baton_backend::config::parse("be.toml", &text)?;
    let life = baton_backend::settings::Life {
        boot: Boot(1),
        seed: [k + 1; 32],
        secrets: secret()?.into(),
        macs: &[MacAddr([2, 0, 0, 0, 0, host])],
        unix_at_origin_s: 1_800_000_000,
    };
    Ok(BackEnd::new(baton_backend::Settings::new(&config, life), Steady::default()))
}

fn common(name: &str, id: &str, host: u8, limits: &str) -> String {
    format!(
        "[node]\nname = \"{name}\"\n{id}[cluster]\nsecret_file = \"cluster.key\"\n[limits]\n{limits}\
         [[port]]\ndevice = \"none\"\naddress = \"10.77.0.{host}/24\"\n"
    )
}
