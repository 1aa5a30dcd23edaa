//! Checkers that watch every frame and share no code with what they check.
//!
//! | rule | what it says |
//! |---|---|
//! | `speaker` | whoever goes on with a connection has heard from whoever spoke last, after its last word (I1, I3) |
//! | `bytes` | a range of the sequence space carries the same bytes whoever sends it, and how often; no gap, one FIN (I2) |
//! | `ack`, `tsval`, `edge` | ACK number, TSval and right window edge never go back, whoever sends (I4) |
//! | `window` | nothing past the client's window, but a probe's byte |
//! | `reset` | no RST without a reason in the scenario (I6) |
//! | `bypass` | no response byte from the front-end, but of its own errors |
//! | `checksum` | what a node sends is well-formed |
//! | `client` | the client's stream is right, byte by byte ([`crate::client`]) (I2) |
//! | `progress` | once faults have stopped, every client comes to its end in time |
//! | `idle` | no node asks for turns without end in which it does nothing |
//!
//! All is observed where a segment leaves its sender: what links do to it later proves nothing about nodes.

mod causality;
mod flow;
mod pipe;
#[cfg(test)]
mod tests;
mod wire;

pub use causality::IN_FLIGHT_MAX;
pub use pipe::{LULLS_MAX, Lull};
pub(crate) use wire::{Seen, Segment, parse};

use crate::frame::SimFrame;
use crate::world::DeviceId;
use baton_stack::addr::{Endpoint, IpAddr};
use baton_stack::node::Frame;
use baton_stack::time::{Duration, Instant};
use causality::Causality;
use flow::{FlowWatch, Offer};
use pipe::Pipe;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Violations that are kept; one is enough to fail.
pub const VIOLATIONS_MAX: usize = 32;

/// Who is who.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Roles {
    /// Where clients connect to.
    pub vips: BTreeSet<Endpoint>,
    /// The nodes of the cluster.
    pub nodes: BTreeSet<DeviceId>,
    /// Which of them may not send responses.
    pub front_ends: BTreeSet<DeviceId>,
    /// The addresses of those.
    pub front_end_addresses: BTreeSet<IpAddr>,
    /// The client hosts.
    pub clients: BTreeSet<DeviceId>,
    /// Hosts that talk nonsense: what is answered to them is not judged, but for its form.
    pub strangers: BTreeSet<IpAddr>,
}

/// What the scenario excuses.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rules {
    /// Connections may be reset.
    pub resets: bool,
    /// Resets of clients that have closed: inside an upload that nobody takes.
    pub resets_behind_fin: bool,
    /// A node may go on without having heard from the last speaker: its lease has proved it silent.
    pub silent_takeover: bool,
    /// A server may send past the client's window, as smoltcp does when it retransmits fast.
    pub any_window: bool,
}

/// A rule broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// When.
    pub at: Instant,
    /// Which rule.
    pub rule: &'static str,
    /// How.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.at.micros();
        write!(f, "{}.{:06} {}: {}", micros / 1_000_000, micros % 1_000_000, self.rule, self.text)
    }
}

/// What was seen, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Connections that got a SYN-ACK.
    pub flows: u64,
    /// How often another node went on with a connection.
    pub moves: u64,
    /// Bytes sent to clients, retransmissions not counted.
    pub bytes: u64,
    /// RST segments sent to clients.
    pub resets: u64,
    /// The longest silence between the last byte that an owner sent and the first from the next one.
    pub gap_max: Duration,
    /// When another node last went on with a connection.
    pub last_move_at: Instant,
    /// When a client was last sent something new.
    pub last_byte_at: Instant,
    /// Datagrams from node to node.
    pub datagrams: u64,
    /// The bytes of those from back-end to back-end, without the front-end's, frame headers included.
    pub handed_bytes: u64,
}

/// All checkers.
#[derive(Debug)]
pub struct Checks {
    roles: Roles,
    rules: Rules,
    offers: BTreeMap<Endpoint, Offer>,
    flows: BTreeMap<Endpoint, FlowWatch>,
    causality: Causality,
    last_words: BTreeMap<Endpoint, Instant>,
    /// The ways to the clients, if no link loses anything.
    pipes: Option<BTreeMap<Endpoint, Pipe>>,
    lulls: Vec<Lull>,
    tally: Tally,
    violations: Vec<Violation>,
}

/// Where a checker leaves what it found about one segment.
pub(crate) struct Found<'a> {
    at: Instant,
    from: DeviceId,
    client: Endpoint,
    violations: &'a mut Vec<Violation>,
}

impl Found<'_> {
    pub(crate) fn violation(&mut self, rule: &'static str, text: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            let text = format!("device {} to {}: {text}", self.from.0, self.client);
            self.violations.push(Violation { at: self.at, rule, text });
        }
    }
}

impl Checks {
    /// Checkers that have seen nothing yet.
    #[must_use]
    pub fn new(roles: Roles, rules: Rules) -> Self {
        Self {
            roles,
            rules,
            offers: BTreeMap::new(),
            flows: BTreeMap::new(),
            causality: Causality::default(),
            last_words: BTreeMap::new(),
            pipes: None,
            lulls: Vec::new(),
            tally: Tally::default(),
            violations: Vec::new(),
        }
    }

    /// No link loses, doubles or changes anything: notes when nothing is on the way to a client although there is something to send.
    pub fn watch_pipes(&mut self) {
        self.pipes.get_or_insert_default();
    }

    /// When that was so, in the order of the ends, up to [`LULLS_MAX`].
    #[must_use]
    pub fn lulls(&self) -> &[Lull] {
        &self.lulls
    }

    /// From now on `rules` hold: something has happened that excuses more.
    pub const fn change_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// From now on a client that has closed may be reset.
    pub const fn excuse_resets_behind_fin(&mut self) {
        self.rules.resets_behind_fin = true;
    }

    /// A device puts a frame on its port.
    pub fn sent(&mut self, at: Instant, from: DeviceId, frame: &SimFrame) {
        let is_node = self.roles.nodes.contains(&from);
        if !is_node && !self.roles.clients.contains(&from) {
            return;
        }
        if is_node {
            self.causality.sent(from, frame.tag());
        }
        match parse(frame.bytes()) {
            Seen::Tcp(segment) if !is_node && self.roles.vips.contains(&segment.to) => self.client_sends(&segment),
            Seen::Tcp(segment) if self.roles.strangers.contains(&segment.to.addr) => {}
            Seen::Tcp(segment) if is_node && self.roles.vips.contains(&segment.from) => {
                self.server_sends(at, from, frame.tag(), &segment);
            }
            // What a client's segment has suffered on its way is forwarded with it: its receiver looks at the checksum.
            Seen::Broken { how, from: source }
                if is_node && source.is_none_or(|source| self.roles.vips.iter().any(|vip| vip.addr == source)) =>
            {
                self.add(at, "checksum", format!("device {} sends {how}", from.0));
            }
            Seen::Udp { to } if is_node => self.node_sends(from, to, frame.len()),
            Seen::Tcp(_) | Seen::Udp { .. } | Seen::Broken { .. } | Seen::Other => {}
        }
    }

    fn node_sends(&mut self, from: DeviceId, to: IpAddr, len: usize) {
        self.tally.datagrams += 1;
        if !self.roles.front_ends.contains(&from) && !self.roles.front_end_addresses.contains(&to) {
            self.tally.handed_bytes += u64::try_from(len).unwrap_or(0);
        }
    }

    /// A device takes a frame.
    pub fn delivered(&mut self, at: Instant, to: DeviceId, frame: &SimFrame) {
        let is_node = self.roles.nodes.contains(&to);
        if is_node {
            self.causality.received(to, frame.tag());
        }
        if let Some(pipes) = &mut self.pipes
            && let Seen::Tcp(segment) = parse(frame.bytes())
        {
            let is_of_client = is_node && self.roles.vips.contains(&segment.to);
            let is_for_client = self.roles.clients.contains(&to) && !segment.payload.is_empty();
            let client = if is_of_client { segment.from } else { segment.to };
            match pipes.get_mut(&client) {
                Some(pipe) if is_of_client => pipe.client_heard(at, &segment),
                Some(pipe) if is_for_client => pipe.arrived(at),
                Some(_) | None => {}
            }
        }
    }

    /// Adds what someone else found.
    pub fn add(&mut self, at: Instant, rule: &'static str, text: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { at, rule, text });
        }
    }

    /// Every rule broken so far, up to [`VIOLATIONS_MAX`].
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// When a back-end has spoken last as this VIP.
    #[must_use]
    pub fn last_word(&self, vip: Endpoint) -> Option<Instant> {
        self.last_words.get(&vip).copied()
    }

    /// What was seen so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.flows.values().fold(self.tally, add_flow)
    }

    fn client_sends(&mut self, segment: &Segment<'_>) {
        if segment.syn {
            self.offers.insert(segment.from, Offer::new(segment));
            return;
        }
        if let Some(flow) = self.flows.get_mut(&segment.from) {
            flow.client_sends(segment);
        }
    }

    fn server_sends(&mut self, at: Instant, from: DeviceId, tag: u64, segment: &Segment<'_>) {
        let client = segment.to;
        let Self { roles, rules, offers, flows, causality, pipes, lulls, last_words, tally, violations } = self;
        if !roles.front_ends.contains(&from) {
            last_words.insert(segment.from, at);
        }
        let mut found = Found { at, from, client, violations };
        if segment.rst {
            tally.resets += 1;
            // A segment of an earlier connection of the same ports may still be answered, too: it hits nobody.
            let harmless = |flow: &FlowWatch| flow.is_over() || !flow.would_reset(segment.seq);
            let excusable = |flow: &FlowWatch| harmless(flow) || rules.resets_behind_fin && flow.client_has_closed();
            let excused = rules.resets || flows.get(&client).is_some_and(excusable);
            if !excused {
                found.violation("reset", "a RST that nothing in the scenario explains");
            }
            return;
        }
        if segment.syn {
            let Some(&offer) = offers.get(&client) else {
                found.violation("speaker", "a SYN-ACK that no SYN asked for");
                return;
            };
            let known = flows.get(&client).filter(|flow| flow.is_of(offer));
            if known.is_some_and(|flow| flow.iss() == segment.seq) {
                return;
            }
            if known.is_some_and(|flow| !flow.is_fresh() && !flow.is_over()) {
                found.violation("bytes", "a second SYN-ACK with another ISS");
            }
            if segment.ack != Some(offer.isn.wrapping_add(1)) {
                // An old SYN's answer: the client knows what to do with it.
                return;
            }
            tally.flows += u64::from(known.is_none());
            let flow = FlowWatch::new(offer, (from, tag), segment);
            if let Some(pipes) = pipes {
                let (shift, edge) = flow.client_window();
                pipes.insert(client, Pipe::new(at, segment, shift, edge));
            }
            if let Some(ended) = flows.insert(client, flow) {
                *tally = add_flow(*tally, &ended);
            }
            return;
        }
        let Some(flow) = flows.get_mut(&client) else {
            found.violation("speaker", "a segment on a connection that never began");
            return;
        };
        let (last, last_tag) = flow.speaker;
        if last != from {
            flow.moves += 1;
            tally.last_move_at = at;
            if !rules.silent_takeover && !causality.knows(from, last, last_tag) {
                let text = format!("speaks although it cannot have heard of the last word of device {}", last.0);
                found.violation("speaker", &text);
            }
        }
        flow.speaker = (from, tag);
        if let Some(pipe) = pipes.as_mut().and_then(|pipes| pipes.get_mut(&client))
            && !segment.payload.is_empty()
            && let Some(lull) = pipe.sent(at, client, segment)
            && lulls.len() < LULLS_MAX
        {
            lulls.push(lull);
        }
        if let Some(silence) = flow.note_byte(at, from, segment) {
            tally.last_byte_at = tally.last_byte_at.max(at);
            tally.gap_max = tally.gap_max.max(silence);
        }
        flow.server_sends(segment, roles.front_ends.contains(&from), *rules, &mut found);
    }
}

fn add_flow(tally: Tally, flow: &FlowWatch) -> Tally {
    Tally { moves: tally.moves + flow.moves, bytes: tally.bytes + flow.sent_len(), ..tally }
}
