//! Every state of a connection in every situation, moved under every kind of network: the matrix of `docs/tcb.md`.
//!
//! A cell is made under a faultless network, by what the peer is told to do and by cutting one direction for a moment. It is checked that the
//! cell is what it is called. Then the network gets its faults, the connection moves, both sides say and hear the rest, and close.

use baton_stack::tcp::{Frozen, Phase, State, Tcb, TcpConfig};
use baton_stack::time::{Duration, Instant};

use super::host::Journey;
use super::peer::{Peer, PeerSettings};
use super::{Path, seeds, way};
use crate::content;
use crate::link::LinkSettings;

const DOCUMENT: &str = include_str!("../../../../docs/tcb.md");
const HEADING: &str = "## States in which a connection moves";
const DELAY: Duration = Duration::from_millis(5);
const MSS: u64 = 1_448;
const SEED: u64 = 1;
/// Said after the move, where something may be said.
const REST: u64 = 40_000;
/// The buffer of a peer that closes its window.
const SMALL_BUFFER: u64 = 8_192;
const GETS: &str =
    "GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\nGET /three HTTP/1.1\r\nHost: a\r\n\r\n";
/// Where the third of them is half said.
const HALF: usize = 70;
const END: Instant = Instant::from_micros(900_000_000);

const STATES: [(&str, State); 8] = [
    ("SYN-RECEIVED", State::SynReceived),
    ("ESTABLISHED", State::Established),
    ("CLOSE-WAIT", State::CloseWait),
    ("FIN-WAIT-1", State::FinWait1),
    ("FIN-WAIT-2", State::FinWait2),
    ("CLOSING", State::Closing),
    ("LAST-ACK", State::LastAck),
    ("TIME-WAIT", State::TimeWait),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Situation {
    Idle,
    Unsent,
    Unacknowledged,
    SackHoles,
    OutOfOrder,
    ZeroWindow,
    Recovery,
    HalfRequest,
    Pipelined,
}

const SITUATIONS: [(&str, Situation); 9] = [
    ("idle", Situation::Idle),
    ("unsent", Situation::Unsent),
    ("unacknowledged", Situation::Unacknowledged),
    ("SACK holes", Situation::SackHoles),
    ("out of order", Situation::OutOfOrder),
    ("zero window", Situation::ZeroWindow),
    ("recovery", Situation::Recovery),
    ("half a request", Situation::HalfRequest),
    ("pipelined", Situation::Pipelined),
];

/// Why a cell cannot be: the letter in the document.
fn impossible(state: State, situation: Situation) -> Option<char> {
    let has_peers_fin = matches!(state, State::CloseWait | State::Closing | State::LastAck | State::TimeWait);
    let is_all_acknowledged = matches!(state, State::FinWait2 | State::TimeWait);
    match situation {
        _ if state == State::SynReceived => Some('a'),
        Situation::Unsent
        | Situation::Unacknowledged
        | Situation::SackHoles
        | Situation::ZeroWindow
        | Situation::Recovery
            if is_all_acknowledged =>
        {
            Some('b')
        }
        Situation::OutOfOrder if has_peers_fin => Some('c'),
        _ => None,
    }
}

/// The kinds of network, both ways.
fn networks() -> [(&'static str, LinkSettings); 6] {
    let clean = way(DELAY);
    [
        ("clean", clean),
        ("1 % loss", LinkSettings { loss_ppm: 10_000, ..clean }),
        ("5 % loss", LinkSettings { loss_ppm: 50_000, ..clean }),
        ("duplicates", LinkSettings { duplicate_ppm: 50_000, ..clean }),
        ("reordering", LinkSettings { reorder_ppm: 50_000, reorder_by: Duration::from_millis(12), ..clean }),
        ("corruption", LinkSettings { corrupt_ppm: 20_000, ..clean }),
    ]
}

/// A conversation on its way into a cell, and out of it.
struct Cell {
    path: Path,
    pushed: u64,
    said: Vec<u8>,
    reads_requests: bool,
    what: String,
}

impl Cell {
    fn open(seed: u64, situation: Situation, what: String) -> Self {
        let mut path = Path::new(seed, way(DELAY), way(DELAY));
        let buffer = if situation == Situation::ZeroWindow { SMALL_BUFFER } else { PeerSettings::default().buffer };
        let peer = Peer::new(PeerSettings { buffer, ..PeerSettings::default() });
        path.connect(Instant::ZERO, &TcpConfig::default(), peer);
        let reads_requests = matches!(situation, Situation::HalfRequest | Situation::Pipelined);
        let mut cell = Self { path, pushed: 0, said: Vec::new(), reads_requests, what };
        cell.until("open", |path| path.host(0).state() == Some(State::Established));
        cell
    }

    fn tcb(&mut self) -> &Tcb {
        self.path.conns[0].host.tcb().unwrap()
    }

    fn until(&mut self, word: &str, is_done: impl FnMut(&mut Path) -> bool) {
        let is_done = self.path.play(END, is_done);
        assert!(is_done, "{}: never {word}: {:#?}", self.what, self.path);
    }

    fn wait(&mut self, time: Duration) {
        let until = self.path.now + time;
        self.path.play(until, |_| false);
    }

    fn push(&mut self, len: u64) {
        self.pushed += len;
        self.path.host(0).push(SEED, len);
        self.path.settle();
    }

    fn say(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(bytes);
        self.path.peer(0).say(bytes);
        self.path.settle();
    }

    fn close(&mut self) {
        self.path.host(0).tcb_mut().unwrap().close();
        self.path.settle();
    }

    fn finish(&mut self) {
        self.path.peer(0).finish();
        self.path.settle();
    }

    /// Lets nothing through to the peer, or again.
    fn cut_down(&mut self, partitioned: bool) {
        self.path.down.set(LinkSettings { partitioned, ..way(DELAY) });
    }

    fn cut_up(&mut self, partitioned: bool) {
        self.path.up.set(LinkSettings { partitioned, ..way(DELAY) });
    }

    /// What the peer has said, before either closes.
    fn hear(&mut self, situation: Situation) {
        match situation {
            Situation::OutOfOrder => {
                let bytes = content::bytes(9, 3_000);
                self.cut_up(true);
                self.say(&bytes[..1_000]);
                self.cut_up(false);
                self.say(&bytes[1_000..]);
                self.wait(2 * DELAY);
            }
            Situation::HalfRequest | Situation::Pipelined => {
                let upto = if situation == Situation::HalfRequest { HALF } else { GETS.len() };
                self.say(&GETS.as_bytes()[..upto]);
                // Acknowledged too: the peer is not to say it again.
                self.until("acknowledged", |path| path.peer(0).is_acknowledged());
                let heads = if situation == Situation::HalfRequest { 3 } else { 1 };
                self.path.host(0).read_heads(heads);
            }
            _ => {}
        }
    }

    /// What our side has said and not been answered.
    fn send(&mut self, situation: Situation) {
        match situation {
            Situation::Unsent | Situation::Unacknowledged => {
                self.cut_down(true);
                self.push(if situation == Situation::Unsent { 60_000 } else { 3 * MSS });
                self.cut_down(false);
            }
            Situation::SackHoles | Situation::Recovery => {
                self.cut_down(true);
                self.push(MSS);
                self.cut_down(false);
                self.push(if situation == Situation::SackHoles { MSS } else { 5 * MSS });
                self.until("answered", |path| path.peer(0).has_hole());
                self.wait(DELAY);
            }
            Situation::ZeroWindow => {
                self.path.peer(0).reads = false;
                self.push(SMALL_BUFFER + 9_000);
                // Less than the window can say is left.
                self.until("full", |path| path.peer(0).heard() > SMALL_BUFFER - 256);
                // The last, lone segment is acknowledged late.
                self.wait(PeerSettings::default().ack_delay + 3 * DELAY);
            }
            _ => {}
        }
    }

    /// Into the state.
    fn come_to(&mut self, state: State, situation: Situation) {
        if matches!(state, State::CloseWait | State::LastAck) {
            self.hear(situation);
            self.finish();
            self.until("finished", |path| path.host(0).state() == Some(State::CloseWait));
            self.wait(2 * DELAY);
        } else {
            self.hear(situation);
        }
        self.send(situation);
        match state {
            State::FinWait1 | State::LastAck => {
                self.cut_down(true);
                self.close();
            }
            State::Closing => {
                self.cut_down(true);
                self.close();
                self.finish();
                self.wait(DELAY);
            }
            State::FinWait2 | State::TimeWait => {
                self.close();
                self.until("finished", |path| path.host(0).state() == Some(State::FinWait2));
                if state == State::TimeWait {
                    self.finish();
                    self.until("over", |path| path.host(0).state() == Some(State::TimeWait));
                }
            }
            _ => {}
        }
    }

    /// The rest of the conversation, to its end.
    fn end(&mut self, situation: Situation) {
        let state = self.path.host(0).state();
        let may_push = matches!(state, Some(State::Established | State::CloseWait));
        if may_push {
            self.push(REST);
        }
        let may_say = matches!(state, Some(State::Established | State::FinWait1 | State::FinWait2));
        if may_say {
            if situation == Situation::HalfRequest {
                self.say(&GETS.as_bytes()[HALF..]);
            }
            self.finish();
        }
        self.wait(Duration::from_millis(20));
        self.path.peer(0).resume();
        let reads_requests = self.reads_requests;
        let pushed = self.pushed;
        self.until("over", |path| {
            let host = path.host(0);
            if reads_requests {
                host.read_heads(9);
            } else {
                host.read();
            }
            if host.tcb().is_some_and(|tcb| tcb.unsent() == 0) && may_push {
                host.tcb_mut().unwrap().close();
            }
            path.settle();
            let is_over = matches!(path.host(0).state(), Some(State::TimeWait | State::Closed));
            is_over && path.peer(0).has_heard_fin() && path.peer(0).heard() == pushed
        });
    }

    fn check(&mut self) {
        let host = self.path.host(0);
        if self.reads_requests {
            // What is no whole request stays unread.
            host.read();
            assert_eq!(host.heads, heads_of(&self.said), "{}", self.what);
        }
        assert_eq!(host.moved, 1, "{}", self.what);
        assert!(host.heard == self.said, "{}: the host heard something else", self.what);
        assert!(host.is_store_empty(), "{}: bytes are kept for nothing", self.what);
        let closed = self.tcb().closed();
        assert_eq!(closed, Some(baton_stack::tcp::CloseReason::Finished), "{}", self.what);
        assert!(!self.path.peer(0).is_reset, "{}", self.what);
    }
}

fn heads_of(said: &[u8]) -> Vec<&'static str> {
    let all = ["/one", "/two", "/three"];
    let count = said.windows(4).filter(|window| window == b"\r\n\r\n").count();
    all[..count].to_vec()
}

/// Whether what was frozen is what the cell is called.
fn is_in(frozen: &Frozen, situation: Situation) -> bool {
    let queued: u64 = frozen.queue.iter().map(baton_stack::tcp::FrozenBytes::len).sum();
    let in_flight = u64::from(frozen.snd_nxt.since(frozen.snd_una));
    let has_hole = frozen.recovery.sent.iter().any(|run| run.sacked);
    match situation {
        Situation::Idle => queued == 0 && frozen.unread.is_empty(),
        Situation::Unsent => queued > in_flight,
        Situation::Unacknowledged => queued > 0 && in_flight >= queued,
        Situation::SackHoles => has_hole,
        Situation::OutOfOrder => !frozen.out_of_order.is_empty(),
        Situation::ZeroWindow => frozen.snd_wnd == 0 && queued > in_flight,
        Situation::Recovery => has_hole && matches!(frozen.recovery.phase, Phase::Fast(_)),
        Situation::HalfRequest | Situation::Pipelined => !frozen.unread.is_empty(),
    }
}

fn play(
    seed: u64,
    (state_name, state): (&str, State),
    (name, situation): (&str, Situation),
    network: (&str, LinkSettings),
) {
    let what = format!("{state_name}, {name}, {}, seed {seed}", network.0);
    let mut cell = Cell::open(seed, situation, what);
    cell.come_to(state, situation);
    let what = cell.what.clone();
    assert_eq!(cell.tcb().state(), state, "{what}");
    cell.path.down.set(network.1);
    cell.path.up.set(network.1);
    assert!(cell.path.move_on(0, Journey::Real(Duration::from_micros(300))), "{what}: it does not move");
    let carried = cell.path.host(0).carried.clone().unwrap();
    assert_eq!(carried.state, state, "{what}");
    assert!(is_in(&carried, situation), "{what}: it is in another situation: {carried:#?}");
    cell.until("there", |path| path.host(0).tcb().is_some());
    cell.end(situation);
    cell.check();
}

#[test]
fn every_state_moves_in_every_situation_under_every_network() {
    let seeds = seeds(10);
    let mut played = 0;
    for state in STATES {
        for situation in SITUATIONS.into_iter().filter(|situation| impossible(state.1, situation.1).is_none()) {
            for network in networks() {
                for seed in 0..seeds {
                    play(seed, state, situation, network);
                    played += 1;
                }
            }
        }
    }
    println!("{played} conversations");
}

#[test]
fn a_half_open_connection_does_not_move() {
    let mut path = Path::new(1, way(DELAY), way(DELAY));
    path.connect(Instant::ZERO, &TcpConfig::default(), Peer::new(PeerSettings::default()));
    assert!(path.play(END, |path| path.host(0).state() == Some(State::SynReceived)));
    assert!(!path.move_on(0, Journey::Exact));
    assert_eq!(path.host(0).state(), Some(State::SynReceived), "and goes on as it was");
    assert!(path.play(END, |path| path.host(0).state() == Some(State::Established)));
}

#[test]
fn the_document_says_which_cells_there_are() {
    let (_, section) = DOCUMENT.split_once(HEADING).unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let names: Vec<&str> = SITUATIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(rows[0][1..], names[..]);
    // Behind the rule under the heads, one row for each state.
    for ((name, state), row) in STATES.iter().zip(&rows[2..]) {
        assert_eq!(row[0], *name);
        for ((column, situation), cell) in SITUATIONS.iter().zip(&row[1..]) {
            let expected = impossible(*state, *situation).map_or(String::from("yes"), String::from);
            assert_eq!(*cell, expected, "{name}, {column}");
        }
    }
    for letter in ['a', 'b', 'c'] {
        assert!(section.contains(&format!("- **{letter}**:")), "the reason {letter} is not given");
    }
}
