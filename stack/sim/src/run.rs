//! One run: a scenario and a subject become a world, the world runs to its end, the checkers judge.
//!
//! ```text
//!  client1 --.                                                .-- fe1
//!  client2 ---- client switch --uplink/downlink-- cluster switch ---- be1
//!     ...  --'                 (faults, capture)     (faults) '-- be2 ...
//! ```

#[cfg(test)]
mod ahead;
#[cfg(test)]
mod amid;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod front_ends;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod pipeline;
#[cfg(test)]
mod pipes;
#[cfg(test)]
mod tests;

use crate::check::{Checks, Roles, Rules, Tally, Violation};
use crate::client::{Client, ClientSettings, Outcome, Tolerance};
use crate::frame::SimFrame;
use crate::link::LinkSettings;
use crate::noise::{Noise, NoiseSettings};
use crate::pcap::Pcap;
use crate::people::{move_some_connection, set_drain};
use crate::plan::{CLUSTER_PORT, Member, Place, Plan, Role, Subject, prefix_len};
use crate::scenario::{Scenario, Trouble};
use crate::world::{Action, CableId, DeviceId, IDLE_TURNS_MAX, Maker, NodeSettings, Observer, Port, World};
use baton_frontend::FrontEnd;
use baton_stack::node::Frame;
use baton_stack::time::{Duration, Instant};
use smoltcp::wire::{EthernetFrame, PrettyPrinter};
use std::fmt;

/// How often it is looked whether everything has come to its end.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long the world runs on after that: nobody may say anything wrong then either.
const AFTERMATH: Duration = Duration::from_secs(1);
/// Events after which a run is given up: a hundred times what a long scenario needs.
pub const EVENTS_MAX: u64 = 200_000_000;

/// What a run leaves besides its report.
#[derive(Debug, Default)]
pub struct Recorders {
    /// A capture of the link between clients and cluster, on the clients' side.
    pub pcap: Option<Pcap>,
    /// Prints a line for each frame that a node or client takes, and for each trouble.
    pub verbose: bool,
}

/// What became of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Rules broken.
    pub violations: Vec<Violation>,
    /// The run's fingerprint.
    pub trace: String,
    /// Frames delivered.
    pub frames: u64,
    /// Virtual time that passed until everything had come to its end.
    pub took: Duration,
    /// What was seen on the wire.
    pub tally: Tally,
    /// Complete answers with status 200.
    pub answers: usize,
    /// Answers with another status.
    pub unavailable: usize,
    /// Connections that ended as their script says.
    pub finished: usize,
    /// Connections that did not, for a reason in the scenario.
    pub cut_short: usize,
    /// People's wishes to move a connection that a node took.
    pub wishes: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, took, tally, answers, unavailable, finished, cut_short, wishes, .. } = self;
        write!(
            f,
            "{} ms, {frames} frames, {finished} connections finished, {cut_short} cut short, ",
            took.as_millis()
        )?;
        write!(f, "{answers} answers, {unavailable} unavailable, ")?;
        write!(f, "{} moves ({wishes} wished), {} bytes, {} resets", tally.moves, tally.bytes, tally.resets)
    }
}

/// Runs `scenario` with `subject`.
#[must_use]
pub fn run(scenario: &Scenario, subject: Subject, recorders: Recorders) -> Report {
    let plan = Plan::new(scenario.seed, scenario.back_ends, scenario.family);
    let cast =
        Cast { members: subject.members(&plan, &scenario.tuning), plan, is_reference: subject == Subject::Reference };
    let mut stage = Stage::build(scenario, cast, recorders);
    let took = stage.drive(scenario);
    stage.judge(scenario, took)
}

/// Who plays.
#[derive(Debug)]
struct Cast {
    plan: Plan,
    members: Vec<Member>,
    is_reference: bool,
}

/// The world and where in it everybody is.
#[derive(Debug)]
struct Stage {
    world: World<Audience>,
    members: Vec<DeviceId>,
    clients: Vec<DeviceId>,
    wishes: usize,
}

/// All who watch.
#[derive(Debug)]
struct Audience {
    checks: Checks,
    /// The rules that hold once something has befallen a node.
    excuses: Rules,
    trunk: Port,
    pcap: Option<Pcap>,
    /// Names of the devices, if someone wants to read what happens; switches have none.
    names: Option<Vec<String>>,
}

impl Observer for Audience {
    fn sent(&mut self, at: Instant, from: Port, frame: &SimFrame) {
        self.checks.sent(at, from.device, frame);
        self.capture(at, from, frame);
    }

    fn delivered(&mut self, at: Instant, to: Port, frame: &SimFrame) {
        self.checks.delivered(at, to.device, frame);
        self.capture(at, to, frame);
        if let Some(name) = self.names.as_ref().and_then(|names| names.get(to.device.0)).filter(|name| !name.is_empty())
        {
            let text = PrettyPrinter::<EthernetFrame<&[u8]>>::new("", &frame.bytes()).to_string();
            println!("{} {name} <- {}", Moment(at), text.replace(['\n', '\r'], " "));
        }
    }

    fn acted(&mut self, at: Instant, action: &Action) {
        if matches!(action, Action::Crash(_) | Action::Pause(_) | Action::Partition(_, true)) {
            self.checks.change_rules(self.excuses);
        }
        if self.names.is_some() {
            println!("{} {action:?}", Moment(at));
        }
    }
}

impl Audience {
    fn capture(&mut self, at: Instant, port: Port, frame: &SimFrame) {
        if port == self.trunk
            && let Some(pcap) = &mut self.pcap
        {
            pcap.frame(at, frame.bytes());
        }
    }
}

/// Seconds with six decimals.
struct Moment(Instant);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4}.{:06}", self.0.micros() / 1_000_000, self.0.micros() % 1_000_000)
    }
}

impl Stage {
    fn build(scenario: &Scenario, cast: Cast, recorders: Recorders) -> Self {
        let Cast { plan, members: cluster, is_reference } = cast;
        let troubled = scenario.has_troubles();
        let audience = Audience {
            checks: Checks::new(Roles::default(), Rules::default()),
            excuses: Rules { resets: true, silent_takeover: true, any_window: is_reference, ..Rules::default() },
            trunk: Port { device: DeviceId(0), port: 0 },
            pcap: recorders.pcap,
            names: recorders.verbose.then(Vec::new),
        };
        let mut world = World::new(scenario.seed, audience);
        let (outside, inside) = (world.add_switch(), world.add_switch());
        let trunk = [world.add_switch_port(outside), world.add_switch_port(inside)];
        let trunk_cable = world.connect("trunk", trunk, scenario.uplink, scenario.downlink);
        world.observer_mut().trunk = trunk[0];

        let mut roles = Roles::default();
        for (place, vip) in plan.front_ends() {
            roles.vips.insert(vip);
            roles.front_end_addresses.extend(place.addresses());
        }
        let (mut members, mut cables) = (Vec::new(), Vec::new());
        for (index, member) in cluster.into_iter().enumerate() {
            let settings = scenario.nodes.get(index).copied().unwrap_or_default();
            let place = (inside, scenario.cluster_link);
            let (device, cable) = attach(&mut world, &member.name, settings, member.make, place);
            roles.nodes.insert(device);
            if member.role == Role::FrontEnd {
                roles.front_ends.insert(device);
            }
            members.push(device);
            cables.push(cable);
        }
        let tolerance =
            Tolerance { unavailable: troubled, reset: troubled, anonymous: is_reference, lingering: is_reference };
        let clients = add_clients(&mut world, scenario, &plan, tolerance, outside);
        roles.clients.extend(&clients);
        if let Some(every) = scenario.noise {
            roles.strangers.insert(Place::noise(scenario.family).address);
            add_noise(&mut world, scenario, &plan, every, outside);
        }
        let rules = Rules { any_window: is_reference, ..Rules::default() };
        let mut checks = Checks::new(roles, rules);
        if scenario.is_faultless() {
            checks.watch_pipes();
        }
        world.observer_mut().checks = checks;
        schedule(&mut world, scenario, &members, &cables, trunk_cable);
        let mut stage = Self { world, members, clients, wishes: 0 };
        stage.name_devices();
        stage
    }

    /// Where links in the cluster lose much, a back-end may not have joined when the first client comes, and what only it serves is unavailable.
    fn excuse_late_nodes(&mut self) {
        let front_end = self.world.node::<FrontEnd>(self.members[0]);
        if front_end.is_none_or(|front_end| front_end.snapshot().nodes.iter().all(|node| node.is_up)) {
            return;
        }
        for &client in &self.clients {
            if let Some(client) = self.world.node_mut::<Client>(client) {
                client.tolerate_unavailable();
            }
        }
    }

    /// Runs until everything has come to its end, or its time is over. Gives how long that took.
    fn drive(&mut self, scenario: &Scenario) -> Duration {
        let starts = scenario.clients.iter().flatten().map(|script| script.start);
        let mut first_start = starts.clone().min();
        let begun = starts.max().unwrap_or_default().max(scenario.healed_at);
        let deadline = Instant::ZERO + begun + scenario.patience;
        let last_trouble = scenario.troubles.last().map_or(Duration::ZERO, |(at, _)| *at);
        let mut moves = scenario.moves.iter().map(|at| Instant::ZERO + *at).peekable();
        let mut drains = scenario.drains.iter().peekable();
        let mut dice = scenario.seed.stream("wishes");
        while self.world.now() < deadline && self.world.events() < EVENTS_MAX {
            let look = self.world.now() + LOOK_EVERY;
            if first_start.take_if(|at| Instant::ZERO + *at <= look).is_some() {
                self.excuse_late_nodes();
            }
            while let Some(at) = moves.next_if(|at| *at <= look) {
                self.world.run_until(at);
                let answer = move_some_connection(&mut self.world, &self.members, &mut dice);
                self.wishes += usize::from(matches!(answer, Some(Ok(_))));
            }
            while let Some((_, number, is_draining)) = drains.next_if(|(at, ..)| Instant::ZERO + *at <= look) {
                set_drain(&mut self.world, self.members[0], *number, *is_draining);
                // A client that is turned away in the middle of an upload may close inside it, and is reset then.
                self.world.observer_mut().checks.excuse_resets_behind_fin();
            }
            self.world.run_until(look);
            let failed = !self.world.observer().checks.violations().is_empty();
            if failed || (self.all_done() && self.world.now() >= Instant::ZERO + last_trouble) {
                break;
            }
        }
        let took = self.world.now().since(Instant::ZERO);
        self.world.run_until(self.world.now() + AFTERMATH);
        took
    }

    fn all_done(&self) -> bool {
        self.clients.iter().all(|&device| self.world.node::<Client>(device).is_none_or(Client::is_done))
    }

    fn judge(mut self, scenario: &Scenario, took: Duration) -> Report {
        let failed_before = !self.world.observer().checks.violations().is_empty();
        let mut report = Report {
            violations: Vec::new(),
            trace: self.world.trace().to_string(),
            frames: self.world.trace().frames(),
            took,
            tally: self.world.observer().checks.tally(),
            answers: 0,
            unavailable: 0,
            finished: 0,
            cut_short: 0,
            wishes: self.wishes,
        };
        let mut wrong = Vec::new();
        for connection in
            self.clients.iter().filter_map(|&device| self.world.node::<Client>(device)).flat_map(Client::connections)
        {
            let who = format!("port {}", connection.local_port());
            let answers = connection.answers();
            let good = answers.iter().filter(|answer| answer.status == 200).count();
            report.answers += good;
            report.unavailable += answers.len() - good;
            match connection.outcome() {
                Outcome::Finished => report.finished += 1,
                Outcome::Reset | Outcome::TurnedAway => report.cut_short += 1,
                Outcome::Wrong(text) => wrong.push(("client", format!("{who}: {text}"))),
                Outcome::Running if failed_before => {}
                Outcome::Running => {
                    let asked = connection.script().requests.len();
                    wrong.push(("progress", format!("{who}: {} of {asked} answers, not at its end", answers.len())));
                }
            }
        }
        for &device in &self.members {
            let counters = self.world.node_counters(device);
            if counters.idle_turns_max > IDLE_TURNS_MAX {
                let name = self.world.node_name(device);
                wrong.push(("idle", format!("{name} asked for {} idle turns in a row", counters.idle_turns_max)));
            }
        }
        if self.world.events() >= EVENTS_MAX {
            wrong.push(("progress", format!("more than {EVENTS_MAX} events with seed {}", scenario.seed.0)));
        }
        let at = self.world.now();
        let audience = self.world.observer_mut();
        for (rule, text) in wrong {
            audience.checks.add(at, rule, text);
        }
        report.violations = audience.checks.violations().to_vec();
        if let Some(Err(error)) = audience.pcap.take().map(Pcap::finish) {
            eprintln!("the capture is incomplete: {error}");
        }
        report
    }

    fn name_devices(&mut self) {
        let last = self.members.iter().chain(&self.clients).map(|device| device.0).max().unwrap_or(0);
        let names = (0..=last).map(|device| self.world.node_name(DeviceId(device)).to_owned()).collect();
        if let Some(wanted) = &mut self.world.observer_mut().names {
            *wanted = names;
        }
    }
}

/// Adds a node and connects it to a switch.
fn attach(
    world: &mut World<Audience>,
    name: &str,
    settings: NodeSettings,
    make: Maker,
    (switch, link): (DeviceId, LinkSettings),
) -> (DeviceId, CableId) {
    let device = world.add_node(name, settings, make);
    let ports = [Port { device, port: 0 }, world.add_switch_port(switch)];
    (device, world.connect(name, ports, link, link))
}

fn add_clients(
    world: &mut World<Audience>,
    scenario: &Scenario,
    plan: &Plan,
    tolerance: Tolerance,
    switch: DeviceId,
) -> Vec<DeviceId> {
    let mut devices = Vec::new();
    for (index, scripts) in scenario.clients.iter().enumerate() {
        let place = Place::client(index, scenario.family);
        let settings = ClientSettings {
            mac: place.mac,
            address: (place.address, prefix_len(place.address)),
            server: plan.server_of(index),
            tolerance,
            seed: scenario.seed.stream(&format!("secrets {}", place.name)).bits(),
            scripts: scripts.clone(),
        };
        let make: Maker = Box::new(move |_| Box::new(Client::new(settings.clone())));
        let link = (switch, LinkSettings::default());
        devices.push(attach(world, &place.name, NodeSettings::default(), make, link).0);
    }
    devices
}

fn add_noise(world: &mut World<Audience>, scenario: &Scenario, plan: &Plan, every: Duration, switch: DeviceId) {
    let place = Place::noise(scenario.family);
    let nodes = plan.back_ends.iter().chain(plan.front_ends().map(|(place, _)| place));
    let mut targets: Vec<_> = nodes.flat_map(|node| node.addresses().map(|address| (node.mac, address))).collect();
    targets.extend(plan.front_ends().map(|(place, vip)| (place.mac, vip.addr)));
    let settings = NoiseSettings {
        mac: place.mac,
        address: place.address,
        targets,
        cluster_port: CLUSTER_PORT,
        every,
        until: Instant::ZERO + scenario.healed_at,
    };
    let dice = scenario.seed.stream("nonsense");
    let make: Maker = Box::new(move |_| Box::new(Noise::new(settings.clone(), dice.clone())));
    attach(world, &place.name, NodeSettings::default(), make, (switch, LinkSettings::default()));
}

fn schedule(
    world: &mut World<Audience>,
    scenario: &Scenario,
    members: &[DeviceId],
    cables: &[CableId],
    trunk: CableId,
) {
    for &(at, trouble) in &scenario.troubles {
        let node = |k: usize| members.get(k).copied();
        let cable = |k: usize| cables.get(k).copied();
        let action = match trouble {
            Trouble::Crash(k) => node(k).map(Action::Crash),
            Trouble::Restart(k) => node(k).map(Action::Restart),
            Trouble::Stop(k) => node(k).map(Action::Stop),
            Trouble::Pause(k) => node(k).map(Action::Pause),
            Trouble::Resume(k) => node(k).map(Action::Resume),
            Trouble::Cut(k) => cable(k).map(|cable| Action::Partition(cable, true)),
            Trouble::Mend(k) => cable(k).map(|cable| Action::Partition(cable, false)),
        };
        if let Some(action) = action {
            world.schedule(Instant::ZERO + at, action);
        }
    }
    let healed_at = Instant::ZERO + scenario.healed_at;
    world.schedule(healed_at, Action::SetLink(trunk, scenario.uplink.healed(), scenario.downlink.healed()));
    for &cable in cables {
        let healed = scenario.cluster_link.healed();
        world.schedule(healed_at, Action::SetLink(cable, healed, healed));
    }
}
