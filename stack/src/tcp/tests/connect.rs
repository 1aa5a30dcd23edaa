//! The active open, against this TCP and against smoltcp's, over a network that loses and reorders.

use std::collections::BTreeMap;
use std::vec::Vec;

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;
use smoltcp::socket::tcp::State as SmolState;

use super::host::flow;
use super::pair::{below, rng};
use super::smol::{Client, ClientConfig};
use super::store::Store;
use crate::addr::{Endpoint, Flow, IpAddr};
use crate::tcp::{CloseReason, ConnectError, Flags, Segment, SeqNum, State, Tcb, TcpConfig, reset_for_half_open};
use crate::time::{Duration, Instant, earliest};

const TIME_MAX: Instant = Instant::from_micros(600_000_000);
const DELAY_US: u32 = 5_000;
/// In thousandths.
const LOSSES: [u32; 4] = [0, 20, 100, 200];

/// Any bytes.
fn text(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let len = below(rng, 40_000);
    (0..len).map(|at| at.to_be_bytes()[3] ^ at.to_be_bytes()[2]).collect()
}

/// Patience without end: where much is lost, a minute of silence means nothing.
fn config() -> TcpConfig {
    TcpConfig { fin_wait_2: None, ..TcpConfig::default() }
}

/// One end of a connection.
struct End {
    flow: Flow,
    tcb: Option<Tcb>,
    store: Store,
    says: Vec<u8>,
    heard: Vec<u8>,
    established: u32,
}

impl End {
    fn new(flow: Flow, tcb: Option<Tcb>, says: Vec<u8>) -> Self {
        let mut end = Self { flow, tcb, store: Store::default(), says, heard: Vec::new(), established: 0 };
        end.say();
        end
    }

    /// Everything is said at once, also before the connection is established, and then nothing more.
    fn say(&mut self) {
        let Some(tcb) = &mut self.tcb else { return };
        let extent = self.store.extent(0, &self.says);
        tcb.push(extent).unwrap();
        if tcb.state() != State::SynSent {
            tcb.close();
        }
    }

    /// Takes a segment in; what answers at once, beside the connection.
    fn receive(&mut self, now: Instant, bytes: &[u8]) -> Option<Segment<'static>> {
        let segment = Segment::parse(bytes).unwrap();
        let Some(tcb) = &mut self.tcb else {
            if segment.flags == Flags::SYN {
                self.tcb = Tcb::accept(now, &config(), self.flow, SeqNum(9), 0, &segment).ok();
                self.say();
            }
            return None;
        };
        let is_half_open = matches!(tcb.state(), State::SynSent | State::SynReceived);
        let result = tcb.handle_segment(now, &segment, &mut self.store);
        self.established += u32::from(result.is_ok_and(|outcome| outcome.established));
        let unread = tcb.unread().to_vec();
        tcb.consume(unread.len());
        self.heard.extend_from_slice(&unread);
        if is_half_open && tcb.state() != State::SynSent {
            tcb.close();
        }
        result.err().filter(|_| is_half_open).and_then(|reason| reset_for_half_open(reason, &segment))
    }

    fn transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        let tcb = self.tcb.as_mut()?;
        tcb.check_stall(now);
        let mut buf = std::vec![0; 1_500];
        let len = tcb.poll_transmit(now, &mut self.store, &mut buf).len;
        (len > 0).then(|| buf[..len].to_vec())
    }

    fn is_over(&self) -> bool {
        self.tcb.as_ref().is_some_and(|tcb| matches!(tcb.state(), State::Closed | State::TimeWait))
    }
}

/// Lets two ends talk until both are finished.
fn talk(ends: &mut [End; 2], seed: u64, loss: u32) {
    let mut rng = rng(seed, 2);
    let mut wire: BTreeMap<(Instant, u64), (usize, Vec<u8>)> = BTreeMap::new();
    let (mut now, mut posted) = (Instant::ZERO, 0);
    let mut post = |wire: &mut BTreeMap<_, _>, now: Instant, to: usize, bytes: Vec<u8>| {
        posted += 1;
        let delay = Duration::from_micros(u64::from(DELAY_US + below(&mut rng, DELAY_US)));
        if below(&mut rng, 1_000) >= loss {
            wire.insert((now + delay, posted), (to, bytes));
        }
    };
    while !(ends[0].is_over() && ends[1].is_over()) {
        assert!(now < TIME_MAX, "seed {seed}: they never finish");
        for (from, end) in ends.iter_mut().enumerate() {
            while let Some(bytes) = end.transmit(now) {
                post(&mut wire, now, 1 - from, bytes);
            }
        }
        let timers = ends.iter().filter_map(|end| end.tcb.as_ref()?.poll_at()).reduce(Instant::min);
        let arrival = wire.first_key_value().map(|((at, _), _)| *at);
        now = earliest(timers, arrival).expect("somebody has something to do").max(now);
        while let Some(entry) = wire.first_entry().filter(|entry| entry.key().0 <= now) {
            let (to, bytes) = entry.remove();
            if let Some(answer) = ends[to].receive(now, &bytes) {
                let mut bytes = std::vec![0; 60];
                let len = answer.emit(&mut bytes);
                post(&mut wire, now, 1 - to, bytes[..len].to_vec());
            }
        }
        for end in ends.iter_mut() {
            if let Some(tcb) = &mut end.tcb {
                let _ = tcb.handle_timeout(now, &mut end.store);
            }
        }
    }
}

fn other(flow: Flow) -> Flow {
    Flow { client: flow.vip, vip: flow.client }
}

fn opener(flow: Flow, isn: u32, says: Vec<u8>) -> End {
    End::new(flow, Some(Tcb::connect(Instant::ZERO, &config(), flow, SeqNum(isn), 77).unwrap()), says)
}

fn assert_finished(ends: &[End; 2], seed: u64) {
    for (end, peer) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        assert_eq!(end.tcb.as_ref().unwrap().closed(), Some(CloseReason::Finished), "seed {seed}");
        assert!(end.heard == peer.says, "seed {seed}: other bytes than were said");
        assert_eq!(end.established, 1, "seed {seed}");
    }
}

#[test]
fn one_side_opens() {
    for seed in 0..40 {
        let mut rng = rng(seed, 1);
        let (ours, theirs) = (text(&mut rng), text(&mut rng));
        let mut ends = [opener(flow(), rng.next_u32(), ours), End::new(other(flow()), None, theirs)];
        talk(&mut ends, seed, LOSSES[usize::try_from(seed).unwrap() % LOSSES.len()]);
        assert_finished(&ends, seed);
    }
}

#[test]
fn both_sides_open_at_once() {
    for seed in 0..40 {
        let mut rng = rng(seed, 1);
        let (ours, theirs) = (text(&mut rng), text(&mut rng));
        let (a, b) = (rng.next_u32(), rng.next_u32());
        let mut ends = [opener(flow(), a, ours), opener(other(flow()), b, theirs)];
        talk(&mut ends, seed, LOSSES[usize::try_from(seed).unwrap() % LOSSES.len()]);
        assert_finished(&ends, seed);
    }
}

#[test]
fn smoltcp_listens() {
    for timestamps in [false, true] {
        let config = ClientConfig {
            seed: 3,
            mtu: 1_400,
            receive_buffer: 20_000,
            send_buffer: 20_000,
            timestamps,
            ack_delay: None,
        };
        let mut server = Client::listen(&config);
        let mut rng = rng(5, 1);
        let mut client = opener(flow(), 7, text(&mut rng));
        let (mut now, mut echo) = (Instant::ZERO, Vec::new());
        while !client.is_over() {
            assert!(now < TIME_MAX, "they never finish");
            while let Some(bytes) = client.transmit(now) {
                server.receive(&bytes);
            }
            let answers = server.poll(now);
            let socket = server.socket();
            if socket.can_recv() {
                echo.extend(socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap());
            }
            if socket.state() == SmolState::CloseWait && echo.len() == client.says.len() {
                socket.close();
            }
            for bytes in answers {
                assert_eq!(client.receive(now, &bytes), None);
            }
            now = now + Duration::from_millis(1);
            let _ = client.tcb.as_mut().unwrap().handle_timeout(now, &mut client.store);
        }
        assert!(echo == client.says, "timestamps {timestamps}: other bytes than were said");
        let tcb = client.tcb.as_ref().unwrap();
        assert_eq!((tcb.closed(), tcb.opts.timestamps), (Some(CloseReason::Finished), timestamps));
        assert_eq!((tcb.opts.snd_mss, tcb.opts.sack, tcb.opts.snd_scale.is_some()), (1_360, true, true));
    }
}

#[test]
fn nobody_is_called_who_is_not_one_host() {
    let (now, config) = (Instant::ZERO, TcpConfig::default());
    for (addr, is_host) in [
        (IpAddr::from([10, 0, 0, 1]), true),
        (IpAddr::from([224, 0, 0, 1]), false),
        (IpAddr::from([255, 255, 255, 255]), false),
        (IpAddr::from([0, 0, 0, 0]), false),
    ] {
        let flow = Flow { client: Endpoint { addr, port: 40_000 }, ..flow() };
        let opened = Tcb::connect(now, &config, flow, SeqNum(1), 0).map(|tcb| tcb.state());
        let expected = if is_host { Ok(State::SynSent) } else { Err(ConnectError::ImpossiblePeer) };
        assert_eq!(opened, expected, "{addr}");
    }
}

#[test]
fn neither_state_of_the_opening_freezes() {
    let mut end = opener(flow(), 1, Vec::new());
    let tcb = end.tcb.take().unwrap();
    let (tcb, _) = tcb.freeze(Instant::ZERO, &mut end.store).unwrap_err();
    assert_eq!(tcb.state(), State::SynSent);
}
