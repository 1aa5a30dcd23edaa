//! One EAL for the tests of a process: most runners give each test its own process, some do not.
#![allow(dead_code, unreachable_pub, reason = "no test file needs all of it")]

use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant as SystemTime};

use arrayvec::ArrayVec;
use baton_dpdk::{
    Clock, ControlHandle, Eal, Idle, Mbuf, PortConfig, Ports, RingPair, RunReport, RxBurst, Stop, control, run,
};
use baton_stack::node::{Frame, Node, PortId, Transmit, Verdict};
use baton_stack::time::Instant;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// EAL without huge pages, files, or devices other than three that receive zeros without end.
pub fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    let start = || {
        let line = "--no-huge -m 192 --no-pci --no-shconf --no-telemetry --log-level=error \
                    --vdev=net_null0,size=64,copy=1 --vdev=net_null1,size=64,copy=1 --vdev=net_null2,size=64,copy=1";
        Eal::init(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap()
    };
    EAL.get_or_init(start).clone()
}

/// What [`Mirror`] does with a frame, by the frame's 15th byte, the first behind the Ethernet header.
pub mod order {
    pub const FREE: u8 = 0;
    /// Turns the addresses round and sends the buffer back.
    pub const REFLECT: u8 = 1;
    /// As `REFLECT`, with eight bytes more in front.
    pub const PREPEND: u8 = 2;
    /// As `REFLECT`, without the first 14 bytes.
    pub const TRIM: u8 = 3;
    /// Writes the same into a new frame.
    pub const COPY: u8 = 4;
    /// Sends the buffer to a port that is not there.
    pub const NOWHERE: u8 = 5;
    /// Sends a buffer with 13 bytes: not even an Ethernet header.
    pub const STUMP: u8 = 6;
}

/// What tests ask of [`Mirror`].
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// Whether it may transmit from now on.
    MayTransmit(bool),
    /// Not to transmit from now on, but for frames with this byte behind their Ethernet header.
    MayTransmitOnly(u8),
    /// To write so many frames in its next poll.
    Write(usize),
    /// To be done with an orderly stop from now on.
    BeStopped,
    /// How many `transmit` calls succeeded and failed, and how many times it was told to stop.
    Counts,
    /// The first number: how many microseconds of CPU time its loop has used.
    CpuMicros,
}

/// Obeys orders in frames and from tests.
#[derive(Debug)]
pub struct Mirror {
    pub may_transmit: bool,
    pub exempt: Option<u8>,
    pub write: usize,
    pub written: usize,
    pub refused: usize,
    pub stops: usize,
    pub stopped: bool,
    /// What `is_stopped` says as soon as `stop` was called.
    pub stops_at_once: bool,
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            may_transmit: true,
            exempt: None,
            write: 0,
            written: 0,
            refused: 0,
            stops: 0,
            stopped: false,
            stops_at_once: true,
        }
    }
}

impl Node for Mirror {
    type Command = Ask;
    type Reply = (usize, usize, usize);

    fn handle_frame<F: Frame, T: Transmit>(&mut self, _: Instant, port: PortId, frame: &mut F, tx: &mut T) -> Verdict {
        let Some(&order) = frame.bytes().get(14) else { return Verdict::Free };
        if order == order::FREE {
            return Verdict::Free;
        }
        let (to, from) = frame.bytes_mut()[..12].split_at_mut(6);
        to.swap_with_slice(from);
        match order {
            order::REFLECT => Verdict::Forward(port),
            order::PREPEND if frame.prepend(8) => {
                frame.bytes_mut()[..8].copy_from_slice(b"in front");
                Verdict::Forward(port)
            }
            order::TRIM if frame.trim_front(14) => Verdict::Forward(port),
            order::COPY => {
                let bytes = frame.bytes();
                let sent = tx.transmit(port, bytes.len(), |to| {
                    to.copy_from_slice(bytes);
                    bytes.len()
                });
                assert!(sent);
                Verdict::Free
            }
            order::NOWHERE => Verdict::Forward(PortId(9)),
            order::STUMP => {
                let len = frame.bytes().len();
                assert!(frame.trim_front(len - 13));
                Verdict::Forward(port)
            }
            _ => Verdict::Free,
        }
    }

    fn poll<T: Transmit>(&mut self, _: Instant, tx: &mut T) {
        for n in 0..std::mem::take(&mut self.write) {
            let sent = tx.transmit(PortId(0), 60, |to| {
                to.fill(u8::try_from(n % 251).unwrap());
                60
            });
            if sent { self.written += 1 } else { self.refused += 1 }
        }
    }

    fn poll_at(&self) -> Option<Instant> {
        None
    }

    fn handle_command(&mut self, _: Instant, ask: Ask) -> Self::Reply {
        match ask {
            Ask::MayTransmit(may) => self.may_transmit = may,
            Ask::MayTransmitOnly(byte) => (self.may_transmit, self.exempt) = (false, Some(byte)),
            Ask::Write(frames) => self.write = frames,
            Ask::BeStopped => self.stopped = true,
            Ask::Counts => {}
            Ask::CpuMicros => {
                let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
                let micros = |time: TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
                return (usize::try_from(micros(usage.user_time()) + micros(usage.system_time())).unwrap(), 0, 0);
            }
        }
        (self.written, self.refused, self.stops)
    }

    fn stop(&mut self, _: Instant) {
        self.stops += 1;
        // The last words.
        self.write = 1;
        self.stopped = self.stops_at_once;
    }

    fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn may_transmit(&self, _: Instant) -> bool {
        self.may_transmit
    }

    fn may_transmit_frame(&self, _: Instant, frame: &[u8]) -> bool {
        self.exempt.is_some() && frame.get(14) == self.exempt.as_ref()
    }
}

/// A [`Mirror`] in a poll loop of its own, and the ports of whoever looks into it.
pub struct Room {
    pub handle: ControlHandle<Mirror>,
    looping: JoinHandle<(RunReport, Ports)>,
    /// The other end.
    pub far: Ports,
    // Last: after the ports.
    _pair: RingPair,
}

impl Room {
    /// `frames` can be under way in each direction; the mirror's pool has `pool_frames`.
    pub fn new(mirror: Mirror, frames: u32, pool_frames: u32, idle: Idle) -> Self {
        let eal = eal();
        let pair = RingPair::new(&eal, frames).unwrap();
        let port = |end: usize, pool_frames| PortConfig { pool_frames, ..PortConfig::new(pair.devices()[end], 1_500) };
        let mut near = Ports::open(&eal, &[port(0, pool_frames)]).unwrap();
        let far = Ports::open(&eal, &[port(1, 4_095)]).unwrap();
        let (handle, inbox) = control::<Mirror>();
        let mut mirror = mirror;
        let looping = thread::spawn(move || {
            let registered = eal.register_thread().unwrap();
            let report = run(&mut mirror, &mut near, &inbox, idle, &Clock::start());
            drop(registered);
            (report, near)
        });
        Self { handle, looping, far, _pair: pair }
    }

    /// A room for tests of something else.
    pub fn simple() -> Self {
        Self::new(Mirror::default(), 1_024, 4_095, Idle::Adaptive)
    }

    pub fn ask(&self, ask: Ask) -> (usize, usize, usize) {
        self.handle.command(ask, PATIENCE).unwrap()
    }

    /// Asks for the counts until they are these. An order is carried out in the turn after its answer at the latest, and a question may be
    /// answered before that.
    pub fn expect_counts(&self, counts: (usize, usize, usize)) {
        let deadline = SystemTime::now() + PATIENCE;
        while self.ask(Ask::Counts) != counts {
            assert!(SystemTime::now() < deadline, "{:?}, not {counts:?}", self.ask(Ask::Counts));
        }
    }

    /// Sends a frame of `len` bytes with an order; returns where its bytes are.
    pub fn send(&mut self, order: u8, len: usize) -> *const u8 {
        let mut frame = self.far.pool().take().unwrap();
        frame.write(len, |to| {
            to.fill(0xEE);
            to[..15].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xB5, order]);
            len
        });
        let place = frame.bytes().as_ptr();
        let mut frames = ArrayVec::<Mbuf, 1>::new();
        frames.push(frame);
        let (_, port) = self.far.iter_mut().next().unwrap();
        assert_eq!(port.send(&mut frames), 1);
        place
    }

    /// Waits for `count` frames.
    pub fn receive(&mut self, count: usize) -> Vec<Mbuf> {
        let (mut frames, mut burst) = (Vec::new(), RxBurst::new());
        let deadline = SystemTime::now() + PATIENCE;
        while frames.len() < count {
            assert!(SystemTime::now() < deadline, "{} of {count} frames have come", frames.len());
            frames.extend(self.poll(&mut burst));
        }
        frames
    }

    /// What has come.
    pub fn poll(&mut self, burst: &mut RxBurst) -> Vec<Mbuf> {
        let mut frames = Vec::new();
        let (_, port) = self.far.iter_mut().next().unwrap();
        port.receive(burst);
        burst.drain(|frame| {
            frames.push(frame);
            None
        });
        if frames.is_empty() {
            thread::yield_now();
        }
        frames
    }

    /// Asks for a stop and waits for the end. Every buffer is back in its pool then.
    pub fn stop(self, stop: Stop) -> RunReport {
        self.handle.stop(stop);
        self.join()
    }

    /// Waits for the end.
    pub fn join(self) -> RunReport {
        let Self { handle, looping, mut far, _pair } = self;
        let (report, near) = looping.join().unwrap();
        let mut burst = RxBurst::new();
        let (_, port) = far.iter_mut().next().unwrap();
        while port.receive(&mut burst) > 0 {}
        drop(burst);
        for ports in [&near, &far] {
            assert_eq!(ports.pool().available(), ports.pool().frames(), "no frame is lost");
        }
        drop(handle);
        report
    }
}
