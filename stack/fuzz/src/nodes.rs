//! Frames into a front-end and two back-ends that know each other: a client that may say anything, and strangers.
//!
//! None may panic, be busy for ever, or send what no network takes.

use std::collections::VecDeque;

use baton_backend::BackEnd;
use baton_backend::serve::Probe;
use baton_frontend::FrontEnd;
use baton_stack::addr::{IpAddr, MacAddr};
use baton_stack::ecn::Ecn;
use baton_stack::node::{FRAME_LEN_MAX, Frame, Node, PortId, Transmit, Verdict};
use baton_stack::tcp::{Flags, Options, Segment, SeqNum, Timestamps};
use baton_stack::time::{Duration, Instant};
use baton_stack::wire::{self, Envelope, IpSettings, Packet, protocol};
use handoff_proto::names::Boot;
use handoff_proto::seal::ClusterSecret;

use crate::input::Input;

const SECRET: &[u8] = b"the secret of a cluster that is played with, 32 bytes and more";
const HEADROOM: usize = 128;
const CLIENT_MAC: MacAddr = mac(1);
const FRONT_END: u8 = 10;
const BACK_ENDS: [u8; 2] = [21, 22];
const HOSTS: [u8; 3] = [FRONT_END, BACK_ENDS[0], BACK_ENDS[1]];
const VIP: [u8; 4] = [10, 77, 0, 100];
/// Connections of each node.
const CONNECTIONS: u32 = 16;
/// More turns than all ever need between two inputs.
const TURNS_MAX: u32 = 4_000;
const CLUSTER_PORT: u16 = 9_910;
/// What clients say.
const PHRASES: [&[u8]; 7] = [
    b"GET /bytes/5000 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /be1/chunked/300?seed=7 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789",
    b"GET / HTTP/1.0\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /",
    // The other back-end's: the connection goes there, and PREFETCH goes ahead of it.
    b"GET /be2/bytes/3000 HTTP/1.1\r\nHost: a\r\n\r\n",
];

const fn mac(host: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, host])
}

#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new(frame: &[u8]) -> Self {
        let mut bytes = vec![0; HEADROOM];
        bytes.extend_from_slice(frame);
        Self { bytes, start: HEADROOM }
    }
}

impl Frame for Buffer {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    fn prepend(&mut self, len: usize) -> bool {
        let start = self.start.checked_sub(len);
        self.start = start.unwrap_or(self.start);
        start.is_some()
    }

    fn trim_front(&mut self, len: usize) -> bool {
        let fits = len <= self.bytes.len() - self.start;
        self.start += if fits { len } else { 0 };
        fits
    }
}

#[derive(Debug, Default)]
struct Wire(VecDeque<Buffer>);

impl Transmit for Wire {
    fn transmit(&mut self, port: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        assert!(port == PortId(0) && len_max <= FRAME_LEN_MAX, "no port takes such a frame");
        let mut frame = vec![0xa5; len_max];
        let len = write(&mut frame);
        assert!(len <= len_max, "a frame is longer than its buffer");
        if len > 0 {
            self.0.push_back(Buffer::new(&frame[..len]));
        }
        true
    }
}

struct Cluster {
    now: Instant,
    front_end: FrontEnd,
    back_ends: [BackEnd<Probe>; 2],
    wire: Wire,
    /// The client's connection: what is acknowledged, and said.
    ack: SeqNum,
    seq: SeqNum,
    port: u16,
    /// How many frames are changed on their way.
    faults: VecDeque<(u16, u8)>,
}

pub(crate) fn run(bytes: &[u8]) {
    let _ = play(bytes);
}

fn play(bytes: &[u8]) -> Cluster {
    let mut cluster = Cluster::start();
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        cluster.step(&mut input);
    }
    cluster
}

impl Cluster {
    fn start() -> Self {
        let mut cluster = Self {
            now: Instant::from_micros(1_000_000),
            front_end: front_end(),
            back_ends: [back_end("be1", BACK_ENDS[0]), back_end("be2", BACK_ENDS[1])],
            wire: Wire::default(),
            ack: SeqNum(0),
            seq: SeqNum(1_000),
            port: 40_000,
            faults: VecDeque::new(),
        };
        // All have leases, and the back-ends have heard of each other.
        cluster.pass(Duration::from_millis(1_000));
        cluster
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 12 {
            0 => {
                // A new connection.
                self.port = 40_000 + u16::from(input.byte() % 8);
                self.seq = SeqNum(input.u32());
                self.say(Flags::SYN, &[], input);
                self.seq += 1;
            }
            1..=3 => {
                let phrase = PHRASES[usize::from(input.byte()) % PHRASES.len()];
                self.say(Flags::ACK.with(Flags::PSH), phrase, input);
                self.seq += u32::try_from(phrase.len()).unwrap_or(0);
            }
            4 => self.say(Flags::ACK, &[], input),
            5 => {
                let flags = Flags(input.byte());
                let len = usize::from(input.byte());
                let payload = input.take(len);
                self.say(flags, payload, input);
            }
            6 => self.pass(Duration::from_micros(u64::from(input.u16()))),
            7 => self.pass(Duration::from_millis(u64::from(input.byte()) * 8)),
            8 => {
                // Anything, to either.
                let len = usize::from(input.u16() % 1_519);
                let mut frame = input.take(len).to_vec();
                let host = host(input);
                if let Some(destination) = frame.get_mut(..6) {
                    destination.copy_from_slice(&mac(host).0);
                }
                self.wire.0.push_back(Buffer::new(&frame));
            }
            9 => self.datagram(input),
            10 => self.faults.push_back((input.u16(), input.byte())),
            _ => self.packet(input),
        }
        self.pass(Duration::from_micros(20));
    }

    /// The client's segment.
    fn say(&mut self, flags: Flags, payload: &[u8], input: &mut Input<'_>) {
        let shape = input.byte();
        let is_syn = flags.has(Flags::SYN);
        let skew = if shape & 1 == 0 { 0 } else { u32::from(input.u16()) };
        let segment = Segment {
            src_port: self.port,
            dst_port: 80,
            seq: self.seq + skew,
            ack: self.ack - if shape & 2 == 0 { 0 } else { u32::from(input.u16()) },
            flags,
            ecn: Ecn::NotEct,
            window: if shape & 4 == 0 { 60_000 } else { input.u16() },
            urgent: 0,
            options: Options {
                mss: is_syn.then_some(1_460),
                window_scale: (is_syn && shape & 8 == 0).then_some(7),
                sack_permitted: is_syn && shape & 16 == 0,
                timestamps: (shape & 32 == 0)
                    .then(|| Timestamps { val: u32::try_from(self.now.micros() / 1_000).unwrap_or(0), ecr: 0 }),
                ..Options::default()
            },
            payload,
        };
        let envelope = envelope(CLIENT_MAC, FRONT_END, [10, 77, 0, 1], VIP);
        let mut frame = vec![0; 1_800];
        let len = segment.emit(&mut frame[envelope.len()..]);
        let len = envelope.seal_tcp(&mut frame, len, Ecn::NotEct);
        self.wire.0.push_back(Buffer::new(&frame[..len]));
    }

    /// A datagram that claims to be of the cluster.
    fn datagram(&mut self, input: &mut Input<'_>) {
        let (from, to) = (host(input), host(input));
        let envelope = envelope(mac(from), to, [10, 77, 0, from], [10, 77, 0, to]);
        let len = usize::from(input.byte()) * 4;
        let bytes = input.take(len);
        let mut frame = vec![0; 1_500];
        let at = envelope.len() + 8;
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        let len = envelope.seal_udp(&mut frame, CLUSTER_PORT, CLUSTER_PORT, bytes.len());
        self.wire.0.push_back(Buffer::new(&frame[..len]));
    }

    /// A packet of any protocol.
    fn packet(&mut self, input: &mut Input<'_>) {
        let host = host(input);
        let envelope =
            envelope(CLIENT_MAC, host, [10, 77, 0, 1], if input.byte() & 1 == 0 { VIP } else { [10, 77, 0, host] });
        let of = [protocol::ICMP, protocol::UDP, protocol::TCP, protocol::ICMPV6][usize::from(input.byte() % 4)];
        let len = usize::from(input.byte());
        let bytes = input.take(len);
        let mut frame = vec![0; envelope.len() + bytes.len()];
        frame[envelope.len()..].copy_from_slice(bytes);
        envelope.write_headers(&mut frame, of, bytes.len());
        self.wire.0.push_back(Buffer::new(&frame));
    }

    /// Lets time pass; everybody does what becomes due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "a node is busy for ever");
            while let Some(frame) = self.wire.0.pop_front() {
                self.deliver(frame);
            }
            let [a, b] = &self.back_ends;
            let next = [self.front_end.poll_at(), a.poll_at(), b.poll_at()].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = at.max(self.now);
            self.front_end.poll(self.now, &mut self.wire);
            for back_end in &mut self.back_ends {
                back_end.poll(self.now, &mut self.wire);
            }
            if self.wire.0.is_empty() && at <= self.now {
                // Somebody has more to do at once; the clock goes on all the same.
                self.now = self.now + Duration::from_micros(1);
            }
        }
        self.now = self.now.max(end);
    }

    fn deliver(&mut self, mut frame: Buffer) {
        if let Some((at, flip)) = self.faults.pop_front()
            && let Some(byte) = frame.bytes_mut().get_mut(usize::from(at))
        {
            *byte ^= flip;
        }
        let to = frame.bytes().first_chunk().map_or(CLIENT_MAC, |mac| MacAddr(*mac));
        let is_for_all = to.0[0] & 1 == 1;
        let now = self.now;
        if to == CLIENT_MAC || is_for_all {
            self.hear(frame.bytes());
        }
        for (back_end, host) in self.back_ends.iter_mut().zip(BACK_ENDS) {
            if to == mac(host) || is_for_all {
                let mut copy = Buffer::new(frame.bytes());
                if let Verdict::Forward(_) = back_end.handle_frame(now, PortId(0), &mut copy, &mut self.wire) {
                    self.wire.0.push_back(copy);
                }
            }
        }
        if (to == mac(FRONT_END) || is_for_all)
            && let Verdict::Forward(_) = self.front_end.handle_frame(now, PortId(0), &mut frame, &mut self.wire)
        {
            self.wire.0.push_back(frame);
        }
    }

    /// The client notes how far it has heard.
    fn hear(&mut self, frame: &[u8]) {
        let Ok(layers) = wire::parse(frame, 0) else { return };
        match layers.packet {
            Packet::Ip(ip) if ip.protocol == protocol::TCP => {
                let Ok(segment) = Segment::parse(&frame[ip.l4]) else { return };
                if segment.dst_port == self.port {
                    self.ack = segment.seq + segment.len();
                }
            }
            Packet::Ip(_) | Packet::Arp(_) => {}
        }
    }
}

fn host(input: &mut Input<'_>) -> u8 {
    HOSTS[usize::from(input.byte()) % HOSTS.len()]
}

fn envelope(src_mac: MacAddr, to: u8, src: [u8; 4], dst: [u8; 4]) -> Envelope {
    let (src, dst, ip) = (IpAddr::from(src), IpAddr::from(dst), IpSettings::DEFAULT);
    Envelope { src_mac, dst_mac: mac(to), vlan: 0, src, dst, ip }
}

fn secret() -> ClusterSecret {
    ClusterSecret::parse(SECRET).unwrap_or_else(|error| panic!("our secret: {error}"))
}

/// `id` and `half_open` are a front-end's lines.
fn common(name: &str, (id, half_open): (&str, &str), host: u8) -> String {
    format!(
        "[node]\nname = \"{name}\"\n{id}[cluster]\nsecret_file = \"cluster.key\"\n\
         [limits]\nconnections = {CONNECTIONS}\n{half_open}\
         [[port]]\ndevice = \"none\"\naddress = \"10.77.0.{host}/24\"\n"
    )
}

fn front_end() -> FrontEnd {
    let text = common("fe1", ("id = 1\n", &format!("half_open = {CONNECTIONS}\n")), FRONT_END)
        + "[[listener]]\naddress = \"10.77.0.100\"\nport = 80\n\
           [[backend]]\nname = \"be1\"\naddress = \"10.77.0.21\"\n\
           [[backend]]\nname = \"be2\"\naddress = \"10.77.0.22\"\n\
           [[route]]\npath_prefix = \"/be2/\"\nstrip_prefix = true\nbackends = [\"be2\"]\n\
           [[route]]\npath_prefix = \"/be1/\"\nstrip_prefix = true\nbackends = [\"be1\"]\n\
           [[route]]\nbackends = [\"be1\"]\n";
    let config = baton_frontend::config::parse("fe1.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    let (boot, macs) = (Boot(1), &[mac(FRONT_END)]);
    let life = baton_frontend::settings::Life { boot, seed: [1; 32], secrets: secret().into(), macs };
    FrontEnd::new(baton_frontend::Settings::new(&config, life))
}

fn back_end(name: &str, host: u8) -> BackEnd<Probe> {
    let text = common(name, ("", ""), host)
        + "[[frontend]]\nname = \"fe1\"\naddress = \"10.77.0.10\"\n[serve]\nprobe = true\nidentify = true\n";
    let config = baton_backend::config::parse("be.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    let (boot, macs) = (Boot(1), &[mac(host)]);
    let (seed, secrets) = ([host; 32], secret().into());
    let life = baton_backend::settings::Life { boot, seed, secrets, macs, unix_at_origin_s: 1_800_000_000 };
    BackEnd::new(baton_backend::Settings::new(&config, life), Probe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_backend::stats::{Command, Reply};

    /// Else the fuzzer would have to find the way there alone.
    #[test]
    fn seeds_bring_hints_ahead_of_connections_that_come() {
        let (mut received, mut used, mut moved) = (0, 0, 0);
        for seed in crate::seeds(crate::Target::Nodes) {
            let mut cluster = play(&seed);
            let now = cluster.now;
            for back_end in &mut cluster.back_ends {
                let Reply::Stats(numbers) = back_end.handle_command(now, Command::Stats) else { panic!("numbers") };
                received += numbers.prefetches.received;
                used += numbers.prefetches.used;
                moved += numbers.stats.handoffs_done;
            }
        }
        assert!(received >= 2 && used >= 1 && moved >= 2, "{received} hints, {used} used, {moved} moves");
    }
}
