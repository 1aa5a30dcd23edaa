//! The cluster's secret changes while datagrams are late, overtake each other, come twice or get lost, and while nodes stand still: drawn from a
//! seed. Whatever happens, what a node is sent by another it can open, and in the end both have the same session. (A HELLO may be so late that its
//! secret is gone.)

use std::collections::BTreeMap;

use baton_stack::addr::{ConnId, Ipv4Addr};

use super::*;
use crate::message::Thaw;
use crate::names::Epoch;
use crate::seal::ClusterSecret;

const ADDRS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))];
const P: PeerIndex = PeerIndex(0);
const SEEDS: u64 = 500;

/// What the network and the machines do.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// The longest delay of a datagram, in milliseconds. Shorter ones overtake it.
    delay_ms: u64,
    lost_percent: u64,
    twice_percent: u64,
    /// The longest that a node stands still; what comes meanwhile waits for it.
    still_ms: u64,
    /// The longest wait between two nodes that are told of new secrets.
    gap_ms: u64,
}

/// A sequence of numbers that a seed makes (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end.max(1)
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn secrets(of: &[u8]) -> Secrets {
    Secrets::new(of.iter().map(|of| ClusterSecret::parse(&[*of; 32]).unwrap())).unwrap()
}

struct World {
    nodes: [Sessions; 2],
    weather: Weather,
    draw: Draw,
    ms: u64,
    /// Until when a node stands still.
    still: [u64; 2],
    /// What is under way, by when it arrives.
    flying: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    carried: u64,
    sent: u64,
    got: BTreeSet<u64>,
    refused: Vec<Refused>,
    /// Nobody has anything to say.
    is_quiet: bool,
}

/// A datagram that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Refused {
    ms: u64,
    node: usize,
    reason: DropReason,
    kind: u8,
}

impl World {
    fn new(weather: Weather, seed: u64) -> Self {
        let node = |name: &str, seed| {
            let (role, datagram_bytes) = (Role::BackEnd, 1_472);
            let me = Identity { name: name.to_owned(), boot: Boot(10), core: 0, cores: 1, role, datagram_bytes };
            Sessions::new(me, secrets(b"o"), [seed; 32])
        };
        let mut nodes = [node("a", 1), node("b", 2)];
        let now = Instant::from_micros(1_000_000);
        nodes[0].add_peer(now, "b", 0, ADDRS[1]).unwrap();
        nodes[1].add_peer(now, "a", 0, ADDRS[0]).unwrap();
        let calm = Weather { delay_ms: 1, lost_percent: 0, twice_percent: 0, still_ms: 0, gap_ms: 0 };
        let mut world = Self {
            nodes,
            weather: calm,
            draw: Draw(seed),
            ms: 0,
            still: [0; 2],
            flying: BTreeMap::new(),
            carried: 0,
            sent: 0,
            got: BTreeSet::new(),
            refused: vec![],
            is_quiet: false,
        };
        world.run(100);
        world.weather = weather;
        world
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            for node in 0..2 {
                if self.weather.still_ms > 0 && self.still[node] <= self.ms && self.draw.below(200) == 0 {
                    self.still[node] = self.ms + self.draw.below(self.weather.still_ms);
                }
                if self.still[node] <= self.ms {
                    self.step(node);
                }
            }
        }
    }

    /// Takes what has come, and says something.
    fn step(&mut self, node: usize) {
        let now = Instant::from_micros(1_000_000 + self.ms * 1_000);
        let mine = |(at, _): &(u64, u64), to: usize| *at <= self.ms && to == node;
        let arrived: Vec<_> = self.flying.iter().filter(|(key, (to, _))| mine(key, *to)).map(|(key, _)| *key).collect();
        for key in arrived {
            let (_, mut datagram) = self.flying.remove(&key).unwrap();
            let kind = datagram[3];
            match self.nodes[node].handle_datagram(now, ADDRS[1 - node], &mut datagram) {
                Ok((_, messages)) => {
                    for message in messages {
                        let ConnId(number) = message.unwrap().connection().unwrap();
                        assert!(self.got.insert(number), "{number} came twice");
                    }
                }
                Err(reason) => self.refused.push(Refused { ms: self.ms, node, reason, kind }),
            }
        }
        if self.ms.is_multiple_of(3) && !self.is_quiet {
            self.sent += 1;
            self.nodes[node].send(P, &Thaw { c: ConnId(self.sent), e2: Epoch(1) }.into()).unwrap();
        }
        let mut buf = [0; 1_472];
        while let Some((_, len)) = self.nodes[node].poll_transmit(now, &mut buf) {
            if self.draw.percent(self.weather.lost_percent) {
                continue;
            }
            let copies = 1 + u64::from(self.draw.percent(self.weather.twice_percent));
            for _ in 0..copies {
                self.carried += 1;
                let at = self.ms + 1 + self.draw.below(self.weather.delay_ms);
                self.flying.insert((at, self.carried), (1 - node, buf[..len].to_vec()));
            }
        }
    }

    /// Two changes of the secret, one behind the other, as an operator makes them: each step on both nodes before the next.
    fn change_twice(&mut self) {
        for (before, after) in [(b'o', b'n'), (b'n', b'r')] {
            for step in [&[before, after][..], &[after, before], &[after]] {
                let first = usize::from(self.draw.percent(50));
                for node in [first, 1 - first] {
                    self.tell(node, step);
                    let gap = self.draw.below(self.weather.gap_ms + 1);
                    self.run(gap);
                }
            }
        }
    }

    /// A node that stands still takes its new secrets when it goes on, before anything else; whoever tells it waits for that.
    fn tell(&mut self, node: usize, step: &[u8]) {
        while self.still[node] > self.ms {
            self.run(1);
        }
        self.nodes[node].set_secrets(secrets(step));
    }

    /// Good weather, until all is said.
    fn settle(&mut self) {
        self.run(1_000);
        self.weather = Weather { delay_ms: 1, lost_percent: 0, twice_percent: 0, still_ms: 0, ..self.weather };
        self.run(2_000);
    }

    /// The sealed datagrams that were refused for another reason than that they came twice.
    fn refused_sealed(&self) -> Vec<&Refused> {
        let is_wrong = |refused: &&Refused| refused.kind == 2 && refused.reason != DropReason::MessageReplayed;
        self.refused.iter().filter(is_wrong).collect()
    }
}

fn weather_of(seed: u64) -> Weather {
    let mut draw = Draw(seed ^ 0xbad);
    Weather {
        delay_ms: [1, 5, 50, 300][usize::try_from(draw.below(4)).unwrap()],
        lost_percent: [0, 0, 5, 30][usize::try_from(draw.below(4)).unwrap()],
        twice_percent: [0, 10][usize::try_from(draw.below(2)).unwrap()],
        still_ms: [0, 0, 100, 600][usize::try_from(draw.below(4)).unwrap()],
        gap_ms: [0, 5, 50, 400][usize::try_from(draw.below(4)).unwrap()],
    }
}

#[test]
fn in_any_weather_the_secret_changes_and_everything_opens() {
    let newest = secrets(b"r").iter().next().map(ClusterSecret::id);
    for seed in 0..SEEDS {
        let weather = weather_of(seed);
        let mut world = World::new(weather, seed);
        world.change_twice();
        world.settle();
        assert_eq!(world.refused_sealed(), Vec::<&Refused>::new(), "seed {seed}, {weather:?}");
        let under = [0, 1].map(|node| world.nodes[node].secret(P));
        assert_eq!(under, [newest; 2], "seed {seed}, {weather:?}");
        // What was said last may still be under way.
        world.run(5);
        let missing: Vec<_> = (1..=world.sent).filter(|number| !world.got.contains(number)).collect();
        let (old, fresh): (Vec<_>, Vec<_>) = missing.into_iter().partition(|number| *number + 1_000 < world.sent);
        assert!(weather.lost_percent > 0 || old.is_empty(), "seed {seed}, {weather:?}: {old:?} are missing");
        assert!(fresh.len() <= 4, "seed {seed}, {weather:?}: in the end {} do not come", fresh.len());
        let carried = world.carried;
        world.is_quiet = true;
        world.run(2_000);
        assert!(world.carried - carried <= 2, "seed {seed}, {weather:?}: somebody goes on asking");
    }
}
