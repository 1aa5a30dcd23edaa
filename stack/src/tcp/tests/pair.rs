//! Conversations with smoltcp over a network that loses, doubles and reorders.
//!
//! ```text
//!   client (smoltcp)  --requests-->  link  -->  Host (Tcb and Store, perhaps moving)
//!                     <--responses--
//! ```
//! A request is two numbers, its own length and that of its response, and then bytes. Both streams are compared to the byte.

use std::collections::BTreeMap;
use std::vec::Vec;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use smoltcp::socket::tcp::State as SmolState;

use super::host::{Host, Moves};
use super::smol::{Client, ClientConfig};
use crate::tcp::{Algorithm, CloseReason, Segment, SeqNum, State, TcpConfig};
use crate::time::{Duration, Instant, earliest};

/// A conversation takes no longer.
const TIME_MAX: Duration = Duration::from_secs(1_200);
const HEADER_LEN: usize = 8;

/// Numbers for one conversation: one stream for each purpose, so that none depends on what another was used for.
pub(super) fn rng(seed: u64, purpose: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose);
    rng
}

pub(super) fn below(rng: &mut ChaCha8Rng, n: u32) -> u32 {
    rng.next_u32() % n
}

/// The network: chances in thousandths, delays in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub loss: u32,
    pub doubled: u32,
    pub delay_us: u32,
    pub jitter_us: u32,
    /// How long one segment takes to leave.
    pub gap_us: u32,
}

/// What is said.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub seed: u64,
    pub link: Link,
    pub client: ClientConfig,
    pub server: TcpConfig,
    /// Lengths of requests and responses.
    pub exchanges: Vec<(u32, u32)>,
    /// Whether the next request waits for the last response.
    pub in_turn: bool,
    /// Whether the server closes first.
    pub server_closes: bool,
    /// Whether both read at leisure, so that windows close.
    pub slow_readers: bool,
}

impl Plan {
    /// Anything that may happen.
    pub(super) fn random(seed: u64) -> Self {
        let mut rng = rng(seed, 1);
        let pick = |rng: &mut ChaCha8Rng, from: &[u32]| from[below(rng, u32::try_from(from.len()).unwrap()) as usize];
        let delay_us = pick(&mut rng, &[100, 5_000, 20_000, 80_000]);
        let link = Link {
            loss: pick(&mut rng, &[0, 5, 20, 60, 120]),
            doubled: pick(&mut rng, &[0, 0, 10, 50]),
            delay_us,
            jitter_us: pick(&mut rng, &[0, 0, delay_us / 4, delay_us]),
            gap_us: pick(&mut rng, &[0, 10, 100]),
        };
        let client = ClientConfig {
            seed,
            mtu: pick(&mut rng, &[576, 1400, 1500]) as usize,
            receive_buffer: pick(&mut rng, &[1_000, 4_096, 65_535, 300_000]) as usize,
            send_buffer: pick(&mut rng, &[4_096, 65_535]) as usize,
            timestamps: below(&mut rng, 2) == 0,
            ack_delay: if below(&mut rng, 3) == 0 { None } else { Some(Duration::from_millis(10)) },
        };
        let server = TcpConfig {
            recv_buffer_bytes: pick(&mut rng, &[2_000, 16_384, 65_536, 200_000]),
            congestion: if below(&mut rng, 2) == 0 { Algorithm::Cubic } else { Algorithm::NewReno },
            in_flight_bytes_max: pick(&mut rng, &[20_000, 524_288]),
            ..TcpConfig::default()
        };
        let exchanges = (0..=below(&mut rng, 6)).map(|_| {
            let request = pick(&mut rng, &[0, 100, 3_000, 30_000]);
            let response = pick(&mut rng, &[1, 500, 5_000, 60_000]);
            (below(&mut rng, request + 1), below(&mut rng, response + 1))
        });
        let exchanges = exchanges.collect();
        Self {
            seed,
            link,
            client,
            server,
            exchanges,
            in_turn: below(&mut rng, 2) == 0,
            server_closes: below(&mut rng, 2) == 0,
            slow_readers: below(&mut rng, 2) == 0,
        }
    }
}

/// What came of a conversation.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What our side sent, and when, in microseconds.
    pub sent: Vec<(u64, Vec<u8>)>,
    pub moved: usize,
    pub took: Duration,
    /// The longest time in which our side sent nothing while the client missed bytes that were queued.
    pub silence: Duration,
}

struct World {
    plan: Plan,
    now: Instant,
    /// Segments on their way: when, in which order, whether to the client.
    wire: BTreeMap<(Instant, u64), (bool, Vec<u8>)>,
    posted: u64,
    /// When the line is free again, to the server and to the client.
    free: [Instant; 2],
    chance: ChaCha8Rng,
    leisure: ChaCha8Rng,
    client: Client,
    server: Option<Host>,
    moves: Moves,
    /// What the client has to say, and how much of it is said.
    requests: Vec<u8>,
    requests_sent: usize,
    /// What it must hear, and how much of it is heard.
    responses: Vec<u8>,
    responses_read: usize,
    /// What the server has read, and how far it has answered.
    heard: Vec<u8>,
    answered: usize,
    responses_pushed: usize,
    /// When somebody goes on reading.
    wake: Option<Instant>,
    last_sent: Instant,
    /// smoltcp has forgotten its timer: it waits for ever for the acknowledgment of its FIN, or of that and of text before it, which were lost.
    is_stuck: bool,
    report: Report,
}

/// Plays a conversation to its end.
pub(super) fn play(plan: &Plan, moves: Moves) -> Report {
    let mut world = World::new(plan, moves);
    while !world.is_over() {
        world.advance();
        assert!(world.now.since(Instant::ZERO) < TIME_MAX, "no end: {}", world.describe());
    }
    world.finish()
}

/// Any bytes, a different one at each place.
pub(super) fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = std::vec![0; len];
    rng(seed, 2).fill_bytes(&mut bytes);
    bytes
}

impl World {
    fn new(plan: &Plan, moves: Moves) -> Self {
        let total: u32 = plan.exchanges.iter().map(|(_, response)| response).sum();
        let mut requests = Vec::new();
        for (n, (request, response)) in (0..).zip(&plan.exchanges) {
            requests.extend_from_slice(&request.to_be_bytes());
            requests.extend_from_slice(&response.to_be_bytes());
            requests.extend_from_slice(&text(plan.seed + n, *request as usize));
        }
        Self {
            now: Instant::ZERO,
            wire: BTreeMap::new(),
            posted: 0,
            free: [Instant::ZERO; 2],
            chance: rng(plan.seed, 3),
            leisure: rng(plan.seed, 4),
            client: Client::connect(&plan.client),
            server: None,
            moves,
            requests,
            requests_sent: 0,
            responses: text(plan.seed + 1_000, total as usize),
            responses_read: 0,
            heard: Vec::new(),
            answered: 0,
            responses_pushed: 0,
            wake: None,
            last_sent: Instant::ZERO,
            is_stuck: false,
            report: Report::default(),
            plan: plan.clone(),
        }
    }

    fn is_over(&mut self) -> bool {
        if self.is_stuck {
            return true;
        }
        let state = self.client.socket().state();
        let has_read = !self.client.socket().can_recv();
        let client_done = matches!(state, SmolState::Closed | SmolState::TimeWait) && has_read && self.posted > 0;
        let ours = self.server.as_ref().map(|server| server.tcb().state());
        client_done && matches!(ours, Some(State::Closed | State::TimeWait))
    }

    fn finish(mut self) -> Report {
        let what = self.describe();
        let server = self.server.as_ref().unwrap();
        if self.is_stuck {
            // What we have not heard it has still, and should send again (RFC 6298 section 5). All that we had to say has come.
            let missing = self.requests.len() - self.heard.len();
            assert!(self.requests.starts_with(&self.heard), "the server heard something else: {what}");
            assert!(missing <= self.client.socket().send_queue(), "{missing} bytes are lost: {what}");
            assert_eq!(self.responses_read, self.responses_pushed, "{what}");
            self.report.moved = server.moved;
            return self.report;
        }
        assert_eq!(self.responses_read, self.responses.len(), "{what}");
        assert!(self.heard == self.requests, "the server heard something else: {what}");
        // A client whose TIME-WAIT is over resets, where every acknowledgment of FIN was lost.
        let is_forgotten = server.tcb().closed == Some(CloseReason::ResetByPeer) && server.tcb().snd.queue.bytes() == 0;
        assert!(is_forgotten || server.tcb().closed == Some(CloseReason::Finished), "{what}");
        assert!(server.store.is_released(), "bytes are kept for nothing: {what}");
        self.report.moved = server.moved;
        self.report.took = self.now.since(Instant::ZERO);
        self.report
    }

    fn describe(&mut self) -> std::string::String {
        std::format!(
            "seed {} at {:?}, client {:?}, read {} of {}, said {} of {}, server {:#?}, {:?}",
            self.plan.seed,
            self.now,
            self.client.socket().state(),
            self.responses_read,
            self.responses.len(),
            self.requests_sent,
            self.requests.len(),
            self.server.as_ref().map(Host::tcb),
            self.plan,
        )
    }

    /// The next event, whatever it is.
    fn advance(&mut self) {
        let next = self.wire.keys().next().map(|(at, _)| *at);
        let server_at = self.server.as_ref().and_then(Host::poll_at);
        let client_at = self.client.poll_at(self.now);
        let at = [next, server_at, client_at].into_iter().fold(self.wake, earliest);
        let Some(at) = at else {
            // Its fault only if it waits for the acknowledgment of its FIN, and we owe it nothing: we have not seen that FIN.
            let owes = |server: &Host| server.tcb().unacknowledged() > 0 || server.tcb().unsent() > 0;
            let is_ours = self.server.as_ref().is_none_or(|server| owes(server) || server.tcb().peer_finished());
            let is_stuck = !is_ours && self.client.socket().state() == SmolState::FinWait1;
            assert!(is_stuck, "nobody does anything: {}", self.describe());
            self.is_stuck = true;
            return;
        };
        self.now = if at > self.now { at } else { self.now + Duration::from_micros(1) };
        self.wake = self.wake.filter(|at| *at > self.now);
        while let Some(((at, _), _)) = self.wire.first_key_value()
            && *at <= self.now
        {
            let Some((_, (to_client, bytes))) = self.wire.pop_first() else { break };
            if to_client {
                self.client.receive(&bytes);
            } else {
                self.serve(&bytes);
            }
        }
        if let Some(server) = &mut self.server
            && server.poll_at().is_some_and(|at| at <= self.now)
        {
            let _ = server.handle_timeout(self.now);
        }
        self.act_as_client();
        self.act_as_server();
        self.post_all();
    }

    fn serve(&mut self, bytes: &[u8]) {
        let segment = Segment::parse(bytes).unwrap();
        if let Some(server) = &mut self.server {
            let _ = server.handle_segment(self.now, &segment);
        } else {
            let isn = SeqNum(u32::MAX - 20_000);
            let host = Host::accept(self.now, &self.plan.server, self.moves, (isn, u32::MAX - 100), &segment);
            self.server = host.ok();
        }
    }

    fn act_as_client(&mut self) {
        // What arrives, before what it is to say next.
        let first = self.client.poll(self.now);
        self.post(false, first);
        let read_max = self.read_max();
        let socket = self.client.socket();
        let mut expected = &self.responses[self.responses_read..];
        if socket.can_recv() && read_max > 0 {
            let mut buf = std::vec![0; read_max];
            let n = socket.recv_slice(&mut buf).unwrap();
            assert!(expected.len() >= n && expected[..n] == buf[..n], "the client heard something else");
            self.responses_read += n;
            expected = &expected[n..];
        }
        if socket.may_send() {
            let upto = if self.plan.in_turn { self.said_in_turn() } else { self.requests.len() };
            let socket = self.client.socket();
            if upto > self.requests_sent {
                self.requests_sent += socket.send_slice(&self.requests[self.requests_sent..upto]).unwrap();
            }
            let is_said = self.requests_sent == self.requests.len();
            if !self.plan.server_closes && is_said && (expected.is_empty() || self.plan.seed.is_multiple_of(3)) {
                socket.close();
            }
            if self.plan.server_closes && expected.is_empty() && !socket.may_recv() {
                socket.close();
            }
        }
        if self.client.socket().can_recv() {
            self.wake_later();
        }
        let second = self.client.poll(self.now);
        self.post(false, second);
    }

    /// How far the client may speak when each request waits for the response before it.
    fn said_in_turn(&self) -> usize {
        let (mut said, mut heard) = (0, 0);
        for (request, response) in &self.plan.exchanges {
            said += HEADER_LEN + *request as usize;
            heard += *response as usize;
            if heard > self.responses_read {
                break;
            }
        }
        said
    }

    fn act_as_server(&mut self) {
        let read_max = self.read_max();
        let Some(server) = &mut self.server else { return };
        let n = server.tcb().unread().len().min(read_max);
        if n > 0 {
            self.heard.extend(server.consume(self.now, n));
        }
        while let Some(header) = self.heard.get(self.answered..self.answered + HEADER_LEN) {
            let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap()) as usize;
            let (request, response) = (number(0), number(4));
            if self.heard.len() < self.answered + HEADER_LEN + request {
                break;
            }
            self.answered += HEADER_LEN + request;
            let mut rest = &self.responses[self.responses_pushed..self.responses_pushed + response];
            self.responses_pushed += response;
            // In pieces, from anywhere.
            while !rest.is_empty() {
                let n = (1 + below(&mut self.leisure, 20_000) as usize).min(rest.len());
                server.push(self.now, &rest[..n]);
                rest = &rest[n..];
            }
        }
        let is_answered = self.answered == self.requests.len();
        if is_answered && (self.plan.server_closes || server.tcb().peer_finished()) {
            server.close(self.now);
        }
        if !server.tcb().unread().is_empty() {
            self.wake_later();
        }
    }

    fn read_max(&mut self) -> usize {
        if !self.plan.slow_readers {
            return usize::from(u16::MAX);
        }
        if below(&mut self.leisure, 3) == 0 { 0 } else { below(&mut self.leisure, 3_000) as usize }
    }

    fn wake_later(&mut self) {
        let later = self.now + Duration::from_micros(u64::from(1 + below(&mut self.leisure, 40_000)));
        self.wake = earliest(self.wake, Some(later));
    }

    fn post_all(&mut self) {
        let Some(server) = &mut self.server else { return };
        let out = core::mem::take(&mut server.out);
        let is_wanted = self.responses_read < self.responses_pushed;
        if !is_wanted {
            self.last_sent = self.now;
        }
        if !out.is_empty() {
            self.report.silence = self.report.silence.max(self.now.since(self.last_sent));
            self.last_sent = self.now;
        }
        self.report.sent.extend(out.iter().map(|(at, bytes)| (at.micros(), bytes.clone())));
        self.post(true, out.into_iter().map(|(_, bytes)| bytes).collect());
    }

    fn post(&mut self, to_client: bool, segments: Vec<Vec<u8>>) {
        for bytes in segments {
            self.posted += 1;
            let Link { loss, doubled, delay_us, jitter_us, gap_us } = self.plan.link;
            let free = &mut self.free[usize::from(to_client)];
            let left = self.now.max(*free);
            *free = left + Duration::from_micros(u64::from(gap_us));
            if below(&mut self.chance, 1_000) < loss {
                continue;
            }
            let copies = if below(&mut self.chance, 1_000) < doubled { 2 } else { 1 };
            for copy in 0..copies {
                let delay = delay_us + below(&mut self.chance, jitter_us + 1);
                let at = left + Duration::from_micros(u64::from(delay));
                self.wire.insert((at, self.posted * 2 + copy), (to_client, bytes.clone()));
            }
        }
    }
}

/// How many seeds: `BATON_TCP_SEEDS` for a long run.
fn seeds(usual: u64) -> u64 {
    std::env::var("BATON_TCP_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usual)
}

#[test]
fn both_streams_arrive_whole() {
    for seed in 0..seeds(400) {
        let _ = play(&Plan::random(seed), Moves::Never);
    }
}

#[test]
fn moves_between_any_two_events_change_no_byte_and_no_time() {
    let mut moved = 0;
    for seed in 0..seeds(150) {
        let plan = Plan::random(seed);
        let (stays, moves) = (play(&plan, Moves::Never), play(&plan, Moves::WhereExact));
        moved += moves.moved;
        for (n, (one, other)) in stays.sent.iter().zip(&moves.sent).enumerate() {
            let show = |bytes: &[u8]| std::format!("{:?}", Segment { payload: &[], ..Segment::parse(bytes).unwrap() });
            assert!(
                one == other,
                "seed {seed}, segment {n}: {} {} {} {}",
                one.0,
                show(&one.1),
                other.0,
                show(&other.1)
            );
        }
        assert_eq!(stays.sent.len(), moves.sent.len(), "seed {seed}");
    }
    assert!(moved > 10_000, "{moved}");
}

#[test]
fn both_streams_arrive_whole_when_it_moves_at_each_step_to_any_clock() {
    for seed in 1_000..1_000 + seeds(150) {
        let report = play(&Plan::random(seed), Moves::Always);
        assert!(report.moved > 0);
    }
}

#[test]
fn both_streams_arrive_whole_when_what_is_sent_stays_behind_at_each_step() {
    for seed in 2_000..2_000 + seeds(150) {
        let report = play(&Plan::random(seed), Moves::Leaving);
        assert!(report.moved > 0);
    }
}
