//! Nonsense at full speed from a device that never runs dry.

mod support;

use std::thread;
use std::time::Duration;

use baton_dpdk::{Clock, Idle, Outcome, PortConfig, Ports, Stop, control, run};
use baton_stack::addr::{IpAddr, Ipv4Addr, MacAddr};
use baton_stack::checksum;
use baton_stack::neighbor::Interface;
use baton_stack::node::{Frame, Node, PortId, Transmit, Verdict};
use baton_stack::ports::{Input, Ports as Host};
use baton_stack::time::Instant;
use support::{PATIENCE, eal};

/// An IP host that scribbles over each frame before it looks at it.
struct Babel {
    host: Host,
    mac: MacAddr,
    dice: u64,
    frames: u64,
    forwarded: u64,
    others: u64,
    stopped: bool,
}

impl Babel {
    fn new(mac: MacAddr) -> Self {
        let addr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));
        let interface = Interface { port: PortId(0), mac, addr, prefix_len: 24, gateway: None, vlan: 0, mtu: 1_500 };
        let host = Host::new(vec![interface], &[], Instant::ZERO);
        Self { host, mac, dice: 0x9E37_79B9_7F4A_7C15, frames: 0, forwarded: 0, others: 0, stopped: false }
    }

    /// xorshift64.
    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }

    /// Random bytes, behind as much of a sane beginning as the dice say: most garbage dies at the first header otherwise.
    fn scribble(&mut self, frame: &mut [u8]) {
        for chunk in frame.chunks_mut(8) {
            let bytes = self.roll().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        let sane = self.roll();
        let mut set = |bit: u32, at: usize, bytes: &[u8]| {
            if sane >> bit & 1 == 1
                && let Some(place) = frame.get_mut(at..at + bytes.len())
            {
                place.copy_from_slice(bytes);
            }
        };
        set(0, 0, &self.mac.0);
        set(1, 12, if sane >> 9 & 3 == 0 { &[8, 6, 0, 1, 8, 0, 6, 4, 0] } else { &[8, 0, 0x45, 0, 0, 50] });
        set(2, 20, &[0, 0]);
        set(3, 23, &[[1, 6, 17, 6][usize::from(sane >> 12 & 3 != 0)]]);
        set(4, 30, &[10, 0, 0, 10]);
        if sane >> 5 & 1 == 1 {
            frame[24..26].fill(0);
            let sum = checksum::of(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

impl Node for Babel {
    type Command = ();
    type Reply = (u64, u64);

    fn handle_frame<F: Frame, T: Transmit>(
        &mut self,
        now: Instant,
        port: PortId,
        frame: &mut F,
        tx: &mut T,
    ) -> Verdict {
        assert_eq!(frame.bytes().len(), 64);
        self.frames += 1;
        self.scribble(frame.bytes_mut());
        match self.host.handle_frame(now, port, frame, tx) {
            Input::Done(verdict) => {
                self.forwarded += u64::from(verdict != Verdict::Free);
                verdict
            }
            Input::Udp { .. } | Input::Tcp { .. } | Input::IcmpError { .. } => {
                self.others += 1;
                Verdict::Free
            }
        }
    }

    fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        self.host.poll(now, tx);
    }

    fn poll_at(&self) -> Option<Instant> {
        self.host.poll_at()
    }

    fn handle_command(&mut self, _: Instant, (): ()) -> (u64, u64) {
        (self.frames, self.host.drops.total())
    }

    fn stop(&mut self, _: Instant) {
        self.stopped = true;
    }

    fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn may_transmit(&self, _: Instant) -> bool {
        true
    }
}

#[test]
fn five_seconds_of_nonsense() {
    let eal = eal();
    let mut ports = Ports::open(&eal, &[PortConfig::new("net_null0", 1_500)]).unwrap();
    println!("{}", ports.capabilities());
    let mut babel = Babel::new(ports.macs()[0]);
    let (handle, inbox) = control::<Babel>();
    let watching = thread::spawn(move || {
        for _ in 0..50 {
            thread::sleep(Duration::from_millis(100));
            handle.command((), PATIENCE).unwrap();
        }
        let numbers = handle.numbers(PATIENCE).unwrap();
        handle.stop(Stop::Clean);
        numbers
    });
    let report = run(&mut babel, &mut ports, &inbox, Idle::Adaptive, &Clock::start());
    let numbers = watching.join().unwrap();
    println!("{numbers}{report}");
    for (reason, count) in babel.host.drops.iter().filter(|(_, count)| *count > 0) {
        println!("the node dropped, {}: {count}", reason.label());
    }
    println!("parsed: {}, sent back: {}", babel.others, babel.forwarded);

    assert_eq!(report.outcome, Outcome::Stopped);
    let [port] = &report.stats.ports[..] else { panic!("{report}") };
    assert_eq!(port.counted.rx_packets, babel.frames, "each frame was seen");
    assert!(babel.frames > 100_000, "{} frames", babel.frames);
    assert!(babel.host.drops.total() > 0 && babel.others > 0);
    // An answer to ARP leaves its own frame for a drop that is none; all others are either dropped, parsed or sent back.
    assert!(babel.host.drops.total() + babel.others + babel.forwarded <= babel.frames);
    assert!(numbers.busy_ratio > 0.5, "there is always something to do");
    let pool = ports.pool().clone();
    drop(ports);
    assert_eq!(pool.available(), pool.frames());
}
