//! A scenario: who is there, what clients ask for, what goes wrong and when it is mended. All from one seed.

use crate::client::{Close, Reading, Request, RequestKind, Script};
use crate::config::Tuning;
use crate::dice::{Dice, PPM, Seed};
use crate::link::LinkSettings;
use crate::plan::Family;
use crate::world::{Clock, NodeSettings, TX_ROOM};
use baton_stack::time::Duration;

/// What befalls a back-end, counted from one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It dies.
    Crash(usize),
    /// It begins a new life.
    Restart(usize),
    /// It is stopped in good order.
    Stop(usize),
    /// It stands still.
    Pause(usize),
    /// It goes on.
    Resume(usize),
    /// Its cable is cut.
    Cut(usize),
    /// Its cable is whole again.
    Mend(usize),
}

/// What goes wrong besides links.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Nothing at all: no fault on any link either.
    Clean,
    /// Links lose, double, reorder and corrupt; nodes stall for moments.
    Links,
    /// Besides, back-ends crash, stand still for seconds or are cut off.
    Nodes,
}

/// Everything that a run depends on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// Of all that is random during the run.
    pub seed: Seed,
    /// Which addresses there are.
    pub family: Family,
    /// Number of back-ends.
    pub back_ends: usize,
    /// For each client host, its connections.
    pub clients: Vec<Vec<Script>>,
    /// Between clients and cluster, towards the cluster.
    pub uplink: LinkSettings,
    /// Between clients and cluster, towards the clients.
    pub downlink: LinkSettings,
    /// Between each node and the cluster's switch, both ways.
    pub cluster_link: LinkSettings,
    /// The nodes' clocks and stalls: front-end, then back-ends.
    pub nodes: Vec<NodeSettings>,
    /// What befalls whom, and when.
    pub troubles: Vec<(Duration, Trouble)>,
    /// When people have a node move a connection.
    pub moves: Vec<Duration>,
    /// When people have a back-end, counted from one, drain (`true`) or serve as before.
    pub drains: Vec<(Duration, usize, bool)>,
    /// How often a host sends nonsense, if there is one.
    pub noise: Option<Duration>,
    /// What its nodes are told that others are not.
    pub tuning: Tuning,
    /// When every link is healed.
    pub healed_at: Duration,
    /// Within this time after healing and after the last connection's start, everything must come to its end.
    pub patience: Duration,
}

/// What the command line may fix; the rest is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Wishes {
    /// How bad it may get; drawn if not given.
    pub severity: Option<Severity>,
    /// Which addresses there are; drawn if not given.
    pub family: Option<Family>,
    /// Back-ends.
    pub back_ends: Option<usize>,
    /// Client hosts.
    pub clients: Option<usize>,
    /// Connections of each client host.
    pub connections: Option<usize>,
    /// Requests of each connection.
    pub requests: Option<usize>,
    /// Loss between clients and cluster, each way, in parts per million; likewise the following.
    pub loss_ppm: Option<u32>,
    /// Duplication.
    pub duplicate_ppm: Option<u32>,
    /// Reordering.
    pub reorder_ppm: Option<u32>,
    /// Corruption.
    pub corrupt_ppm: Option<u32>,
    /// One-way delay.
    pub delay: Option<Duration>,
}

/// Links are healed then, or when the last trouble is over, if that is later.
const HEALED_AT: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(90);

impl Scenario {
    /// The scenario of `seed`.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self::with(seed, &Wishes::default())
    }

    /// The scenario of `seed`, but for `wishes`.
    #[must_use]
    pub fn with(seed: u64, wishes: &Wishes) -> Self {
        let seed = Seed(seed);
        let severity = wishes.severity.unwrap_or_else(|| draw_severity(&mut seed.stream("severity")));
        let back_ends = wishes.back_ends.unwrap_or_else(|| seed.stream("back-ends").size(2, 8));
        let mut dice = seed.stream("links");
        let wished = |link: LinkSettings| LinkSettings {
            loss_ppm: wishes.loss_ppm.unwrap_or(link.loss_ppm),
            duplicate_ppm: wishes.duplicate_ppm.unwrap_or(link.duplicate_ppm),
            reorder_ppm: wishes.reorder_ppm.unwrap_or(link.reorder_ppm),
            corrupt_ppm: wishes.corrupt_ppm.unwrap_or(link.corrupt_ppm),
            delay: wishes.delay.unwrap_or(link.delay),
            ..link
        };
        let delay = Duration::from_micros([50, 500, 5_000, 20_000][dice.size(0, 3)]);
        let uplink = wished(client_link(&mut dice, severity, delay));
        let downlink = wished(client_link(&mut dice, severity, delay));
        let cluster_link = cluster_link(&mut dice, severity);
        let troubles = if severity == Severity::Nodes { draw_troubles(seed, back_ends) } else { Vec::new() };
        let over = troubles.last().map_or(Duration::ZERO, |(at, _)| *at);
        Self {
            seed,
            family: wishes.family.unwrap_or_else(|| draw_family(&mut seed.stream("family"))),
            back_ends,
            clients: draw_clients(seed, back_ends, wishes),
            uplink,
            downlink,
            cluster_link,
            nodes: (0..=back_ends).map(|i| node(&mut seed.stream(&format!("nature {i}")), severity)).collect(),
            troubles,
            moves: draw_moves(&mut seed.stream("moves")),
            drains: draw_drains(&mut seed.stream("drains"), severity, back_ends),
            noise: if severity > Severity::Clean { draw_noise(&mut seed.stream("noise")) } else { None },
            tuning: draw_tuning(&mut seed.stream("tuning")),
            healed_at: HEALED_AT.max(over),
            patience: PATIENCE,
        }
    }

    /// Whether connections may be reset and requests refused in it.
    #[must_use]
    pub const fn has_troubles(&self) -> bool {
        !self.troubles.is_empty()
    }

    /// Whether every frame that is sent arrives, once and unchanged, and nothing befalls a node.
    #[must_use]
    pub fn is_faultless(&self) -> bool {
        let is_whole = |link: &LinkSettings| {
            link.loss_ppm + link.duplicate_ppm + link.corrupt_ppm == 0 && link.queue_bytes == u64::MAX
        };
        !self.has_troubles() && [self.uplink, self.downlink, self.cluster_link].iter().all(is_whole)
    }

    /// Connections in all.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.clients.iter().map(Vec::len).sum()
    }
}

fn draw_severity(dice: &mut Dice) -> Severity {
    match dice.below(4) {
        0 => Severity::Clean,
        1 | 2 => Severity::Links,
        _ => Severity::Nodes,
    }
}

fn draw_family(dice: &mut Dice) -> Family {
    match dice.below(8) {
        0 | 1 => Family::V6,
        2 => Family::Mixed,
        _ => Family::V4,
    }
}

/// A fault's rate: absent in half of the links, else up to `max`.
fn rate(dice: &mut Dice, max: u32) -> u32 {
    let present = dice.chance(PPM / 2);
    let rate = u32::try_from(dice.between(0, u64::from(max))).unwrap_or(0);
    if present { rate } else { 0 }
}

/// Some front-ends remember hardly any SYN, so that the noise and the clients themselves are a flood; some remember none. Some clusters do not
/// prepare anything.
fn draw_tuning(dice: &mut Dice) -> Tuning {
    let half_open = u32::try_from(dice.size(1, 3)).unwrap_or(1);
    let tuning = match dice.below(8) {
        0 | 1 => Tuning { half_open, ..Tuning::default() },
        2 => Tuning { syn_cookies: "always", ..Tuning::default() },
        _ => Tuning::default(),
    };
    Tuning { prefetch: dice.below(4) > 0, ..tuning }
}

fn draw_noise(dice: &mut Dice) -> Option<Duration> {
    let every = Duration::from_micros(dice.between(500, 20_000));
    dice.chance(PPM / 4).then_some(every)
}

fn client_link(dice: &mut Dice, severity: Severity, delay: Duration) -> LinkSettings {
    let lossy = severity > Severity::Clean;
    let link = LinkSettings {
        loss_ppm: rate(dice, 40_000),
        duplicate_ppm: rate(dice, 20_000),
        reorder_ppm: rate(dice, 60_000),
        reorder_by: Duration::from_micros(dice.between(100, 5_000)),
        corrupt_ppm: rate(dice, 5_000),
        delay,
        jitter: Duration::from_micros(dice.between(0, 300)),
        bandwidth: [None, Some(20_000_000), Some(100_000_000), Some(1_000_000_000)][dice.size(0, 3)],
        queue_bytes: dice.between(100_000, 1_000_000),
        partitioned: false,
    };
    // A full queue is loss, too: a clean link has none.
    if lossy { link } else { LinkSettings { queue_bytes: u64::MAX, ..link.healed() } }
}

fn cluster_link(dice: &mut Dice, severity: Severity) -> LinkSettings {
    let link = LinkSettings {
        loss_ppm: rate(dice, 5_000),
        duplicate_ppm: rate(dice, 5_000),
        reorder_ppm: rate(dice, 10_000),
        reorder_by: Duration::from_micros(dice.between(10, 1_000)),
        corrupt_ppm: rate(dice, 1_000),
        delay: Duration::from_micros(dice.between(2, 100)),
        jitter: Duration::from_micros(dice.between(0, 20)),
        ..LinkSettings::default()
    };
    if severity > Severity::Clean { link } else { link.healed() }
}

fn node(dice: &mut Dice, severity: Severity) -> NodeSettings {
    let offset = Duration::from_micros(dice.below(1 << 40));
    let skew_ppm = i32::try_from(dice.below(401)).unwrap_or(0) - 200;
    let stall_ppm = rate(dice, 500);
    let stall_by = Duration::from_micros(dice.between(1, 5_000));
    let scarce = dice.chance(PPM / 4);
    let tx_room = if scarce { dice.size(2, 32) } else { TX_ROOM };
    let clock = Clock { offset, skew_ppm };
    if severity > Severity::Clean {
        NodeSettings { clock, stall_ppm, stall_by, tx_room }
    } else {
        NodeSettings { clock, ..NodeSettings::default() }
    }
}

fn draw_clients(seed: Seed, back_ends: usize, wishes: &Wishes) -> Vec<Vec<Script>> {
    let hosts = wishes.clients.unwrap_or_else(|| seed.stream("clients").size(1, 3));
    (0..hosts)
        .map(|host| {
            let connections = seed.stream(&format!("client {host}")).size(1, 8);
            let connections = wishes.connections.unwrap_or(connections);
            let mut scripts: Vec<Script> = Vec::with_capacity(connections);
            for index in 0..connections {
                let mut script = script(&mut seed.stream(&format!("script {host} {index}")), back_ends, wishes);
                // A client may take a port again at once only if it is not the one in TIME-WAIT.
                let free = scripts.last().is_some_and(|last| matches!(last.close, Close::ByServer | Close::Abort));
                script.same_port &= free;
                scripts.push(script);
            }
            scripts
        })
        .collect()
}

fn script(dice: &mut Dice, back_ends: usize, wishes: &Wishes) -> Script {
    let requests = dice.size(1, 12);
    let requests = wishes.requests.unwrap_or(requests);
    // Some connections stay with one back-end, most change with every request or so.
    let home = dice.chance(PPM / 5).then(|| dice.size(1, back_ends));
    let large = dice.chance(PPM / 6);
    let requests: Vec<_> = (0..requests).map(|_| request(dice, back_ends, home, large)).collect();
    Script {
        // Back-ends have joined by then.
        start: Duration::from_micros(dice.between(500_000, 3_000_000)),
        requests,
        depth: [1, 1, 2, 4, 16][dice.size(0, 4)],
        think: Duration::from_micros([0, 0, 1_000, 200_000][dice.size(0, 3)]),
        close: close(dice),
        reading: if dice.chance(PPM / 8) {
            Reading::Slow { bytes: dice.size(500, 20_000), pause: Duration::from_micros(dice.between(1_000, 30_000)) }
        } else {
            Reading::Eager
        },
        receive_buffer: [2_920, 16_384, 65_535, 400_000][dice.size(0, 3)],
        send_buffer: [4_096, 65_535][dice.size(0, 1)],
        timestamps: dice.chance(PPM / 4 * 3),
        delayed_ack: dice.chance(PPM / 2),
        same_port: dice.chance(PPM / 2),
    }
}

fn close(dice: &mut Dice) -> Close {
    match dice.below(8) {
        0 | 1 => Close::ByServer,
        2 => Close::AfterRequests,
        3 => Close::Abort,
        _ => Close::AfterAnswers,
    }
}

fn request(dice: &mut Dice, back_ends: usize, home: Option<usize>, large: bool) -> Request {
    let back_end = home.or_else(|| dice.chance(PPM / 8 * 7).then(|| dice.size(1, back_ends)));
    let chunk_len = dice.size(1, 3_000);
    let kind = match dice.below(10) {
        0 => RequestKind::Head,
        1 | 2 => RequestKind::Chunked,
        3 => RequestKind::Echo,
        4 => RequestKind::EchoChunked(chunk_len),
        5 => RequestKind::EchoExpect,
        _ => RequestKind::Bytes,
    };
    let len = match dice.below(8) {
        0 => dice.size(0, 1),
        1..=3 => dice.size(2, 2_000),
        4..=6 => dice.size(2_000, 30_000),
        _ => dice.size(30_000, if large { 400_000 } else { 100_000 }),
    };
    // An echo's chunks must not be so many that their framing is most of it.
    let len = if matches!(kind, RequestKind::EchoChunked(c) if c < 64) { len.min(2_000) } else { len };
    Request { back_end, kind, len, seed: dice.bits() >> 1 }
}

fn draw_troubles(seed: Seed, back_ends: usize) -> Vec<(Duration, Trouble)> {
    let mut dice = seed.stream("troubles");
    let mut troubles = Vec::new();
    let mut at = Duration::ZERO;
    for _ in 0..dice.size(1, 3) {
        // One at a time: each is over before the next begins.
        at += Duration::from_micros(dice.between(200_000, 1_500_000));
        let victim = dice.size(1, back_ends);
        let (begin, end) = match dice.below(4) {
            0 | 1 => (Trouble::Crash(victim), Trouble::Restart(victim)),
            2 => (Trouble::Pause(victim), Trouble::Resume(victim)),
            _ => (Trouble::Cut(victim), Trouble::Mend(victim)),
        };
        troubles.push((at, begin));
        at += Duration::from_micros(dice.between(1_000, 4_000_000));
        troubles.push((at, end));
    }
    troubles
}

/// In half of the scenarios in which requests may be refused, for some are for one back-end alone. Now and then nobody thinks of the end.
fn draw_drains(dice: &mut Dice, severity: Severity, back_ends: usize) -> Vec<(Duration, usize, bool)> {
    if severity < Severity::Nodes || dice.chance(PPM / 2) {
        return Vec::new();
    }
    let (victim, begin) = (dice.size(1, back_ends), dice.between(500_000, 4_000_000));
    let end = dice.chance(PPM / 8 * 7).then(|| begin + dice.between(1_000, 3_000_000));
    let [begin, end] = [Some(begin), end].map(|at| at.map(Duration::from_micros));
    begin.map(|at| (at, victim, true)).into_iter().chain(end.map(|at| (at, victim, false))).collect()
}

/// In half of the scenarios nobody has a wish.
fn draw_moves(dice: &mut Dice) -> Vec<Duration> {
    let wishes = if dice.chance(PPM / 2) { dice.size(1, 60) } else { 0 };
    let mut moves: Vec<_> = (0..wishes).map(|_| Duration::from_micros(dice.between(500_000, 5_000_000))).collect();
    moves.sort_unstable();
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_scenario() {
        assert_eq!(Scenario::from_seed(5), Scenario::from_seed(5));
        assert_ne!(Scenario::from_seed(5), Scenario::from_seed(6));
    }

    #[test]
    fn a_wish_changes_what_it_names_and_nothing_else() {
        let plain = Scenario::from_seed(5);
        let wishes = Wishes { loss_ppm: Some(77), ..Wishes::default() };
        let wished = Scenario::with(5, &wishes);
        assert_eq!((wished.uplink.loss_ppm, wished.downlink.loss_ppm), (77, 77));
        let restored = Scenario {
            uplink: LinkSettings { loss_ppm: plain.uplink.loss_ppm, ..wished.uplink },
            downlink: LinkSettings { loss_ppm: plain.downlink.loss_ppm, ..wished.downlink },
            ..wished
        };
        assert_eq!(restored, plain);
    }

    #[test]
    fn severity_bounds_what_goes_wrong() {
        for seed in 0..50 {
            let with = |severity| Scenario::with(seed, &Wishes { severity: Some(severity), ..Wishes::default() });
            let clean = with(Severity::Clean);
            assert_eq!(clean.uplink, clean.uplink.healed());
            assert_eq!(clean.cluster_link, clean.cluster_link.healed());
            assert!(
                !clean.has_troubles() && clean.nodes.iter().all(|node| node.stall_ppm == 0 && node.tx_room == TX_ROOM)
            );
            assert!(!with(Severity::Links).has_troubles());
            let nodes = with(Severity::Nodes);
            assert!(nodes.has_troubles());
            assert!(nodes.troubles.is_sorted_by_key(|(at, _)| *at));
        }
    }
}
