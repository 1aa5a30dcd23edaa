//! A client as small as can be: it sends what it is told to, and acknowledges what comes.

use baton_stack::addr::{Endpoint, Flow, IpAddr, Ipv4Addr, MacAddr};
use baton_stack::ecn::Ecn;
use baton_stack::node::{Frame, RxChecksum};
use baton_stack::tcp::{Flags, Options, Segment, SeqNum, Timestamps};
use baton_stack::wire::{self, Envelope, IpSettings, Layers, Packet};

use crate::cluster::{FRONT_END_MAC, VIP};
use crate::frame::{Buffer, Wire};

/// The Ethernet address of all clients: they are behind one router.
pub const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 200]);

const MSS: u16 = 1_460;
const WINDOW_SCALE: u8 = 8;
/// Clients for each client address.
const PORTS: u32 = 50_000;
const FIRST_PORT: u32 = 10_000;
/// The longest frame of a client.
const FRAME_LEN: usize = 1_514;

/// One end of a connection, with timestamps, SACK and window scaling like any client of today.
#[derive(Clone, Debug)]
pub struct Client {
    /// The connection.
    pub flow: Flow,
    seq: SeqNum,
    ack: SeqNum,
    clock: u32,
    ts_recent: u32,
    /// Bytes that came in order, and whether the end did.
    pub received: u64,
    /// Whether the server's FIN has come.
    pub is_finished: bool,
}

impl Client {
    /// The client of this number; each has a flow of its own.
    #[must_use]
    pub fn new(number: u32) -> Self {
        let addr = IpAddr::V4(Ipv4Addr::from_bits(0x0a4e_0000 + number / PORTS));
        let port = u16::try_from(FIRST_PORT + number % PORTS).unwrap_or(u16::MAX);
        let flow = Flow { client: Endpoint { addr, port }, vip: VIP };
        let seq = SeqNum(number.wrapping_mul(2_654_435_761));
        Self { flow, seq, ack: SeqNum(0), clock: 1_000, ts_recent: 0, received: 0, is_finished: false }
    }

    /// The first frame.
    pub fn syn(&mut self, wire: &mut Wire) -> Buffer {
        let frame = self.frame(wire, Flags::SYN, b"");
        self.seq += 1;
        frame
    }

    /// A request for `path`; acknowledges everything that came.
    pub fn request(&mut self, wire: &mut Wire, path: &str) -> Buffer {
        let text = format!("GET {path} HTTP/1.1\r\nhost: www.example.org\r\nuser-agent: bench\r\naccept: */*\r\n\r\n");
        let frame = self.frame(wire, Flags::ACK.with(Flags::PSH), text.as_bytes());
        self.seq += u32::try_from(text.len()).unwrap_or(0);
        frame
    }

    /// An acknowledgment of everything that came.
    pub fn acknowledge(&self, wire: &mut Wire) -> Buffer {
        self.frame(wire, Flags::ACK, b"")
    }

    /// The last frame but one.
    pub fn fin(&mut self, wire: &mut Wire) -> Buffer {
        let frame = self.frame(wire, Flags::ACK.with(Flags::FIN), b"");
        self.seq += 1;
        frame
    }

    /// Lets time pass on the client's clock.
    pub fn tick(&mut self, millis: u32) {
        self.clock = self.clock.wrapping_add(millis);
    }

    /// Takes a frame for this client.
    ///
    /// # Panics
    /// It is damaged, or not the next of its connection: then nothing that is measured means anything.
    pub fn receive(&mut self, frame: &Buffer) {
        let bytes = frame.bytes();
        let Ok(Layers { packet: Packet::Ip(ip), .. }) = wire::parse(bytes, 0) else { panic!("no IP packet") };
        ip.verify_transport(bytes, RxChecksum::Unknown).expect("a right checksum");
        let segment = Segment::parse(&bytes[ip.l4]).expect("a segment");
        assert!(!segment.flags.has(Flags::RST), "{}: reset", self.flow.client);
        if segment.flags.has(Flags::SYN) {
            self.ack = segment.seq;
        }
        if let Some(Timestamps { val, .. }) = segment.options.timestamps {
            self.ts_recent = val;
        }
        if segment.is_empty() {
            return;
        }
        assert_eq!(segment.seq, self.ack, "{}: bytes in order", self.flow.client);
        self.ack += segment.len();
        self.received += segment.payload.len() as u64;
        self.is_finished |= segment.flags.has(Flags::FIN);
    }

    fn frame(&self, wire: &mut Wire, flags: Flags, payload: &[u8]) -> Buffer {
        let is_syn = flags.has(Flags::SYN);
        let options = Options {
            mss: is_syn.then_some(MSS),
            window_scale: is_syn.then_some(WINDOW_SCALE),
            sack_permitted: is_syn,
            timestamps: Some(Timestamps { val: self.clock, ecr: self.ts_recent }),
            ..Options::default()
        };
        let segment = Segment {
            src_port: self.flow.client.port,
            dst_port: self.flow.vip.port,
            seq: self.seq,
            ack: self.ack,
            flags,
            window: u16::MAX,
            urgent: 0,
            ecn: Ecn::NotEct,
            options,
            payload,
        };
        let envelope = Envelope {
            src_mac: CLIENT_MAC,
            dst_mac: FRONT_END_MAC,
            vlan: 0,
            src: self.flow.client.addr,
            dst: self.flow.vip.addr,
            ip: IpSettings::DEFAULT,
        };
        wire.written(FRAME_LEN, |frame| {
            let len = segment.emit(&mut frame[envelope.len()..]);
            envelope.seal_tcp(frame, len, Ecn::NotEct)
        })
    }
}
