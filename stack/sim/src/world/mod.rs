//! The world: nodes, switches and links under virtual time.
//!
//! ```text
//! node --sent--> link --arrival--> switch --> link --arrival--> receive ring --delivered--> node's turn
//! ```
//! A turn is what the DPDK shell's loop does once: a burst of frames in, one `poll`, the written frames out. Events
//! happen in the order of their time, then of their making; nothing here looks at a real clock, so a run with one seed
//! is the same run every time.

mod clock;
mod slot;
mod switch;
#[cfg(test)]
mod tests;
pub mod work;

pub use clock::Clock;
pub use slot::{Maker, NodeCounters, NodeSettings, RX_BURST, RX_RING, TX_ROOM};

use crate::dice::Seed;
use crate::frame::{Outbox, SimFrame};
use crate::link::{Link, LinkCounters, LinkSettings};
use crate::trace::Trace;
use baton_stack::node::{Frame, PortId, Verdict};
use baton_stack::time::{Duration, Instant};
use slot::Slot;
use std::any::Any;
use std::collections::{BinaryHeap, VecDeque};
use switch::Switch;

/// A node or a switch, in the order of adding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceId(pub usize);

/// A port of a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Port {
    /// Whose.
    pub device: DeviceId,
    /// Which.
    pub port: u16,
}

/// A link between two ports, in the order of connecting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CableId(pub usize);

/// Something that people or misfortune do to the world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The node is gone from this moment, and all it knew.
    Crash(DeviceId),
    /// A new life of the node begins, after a crash or a finished stop; else nothing.
    Restart(DeviceId),
    /// The node stands still; its receive ring fills.
    Pause(DeviceId),
    /// It goes on.
    Resume(DeviceId),
    /// An orderly stop begins.
    Stop(DeviceId),
    /// Both directions of a link (first to second port, second to first) change.
    SetLink(CableId, LinkSettings, LinkSettings),
    /// A link is cut (`true`) or whole again.
    Partition(CableId, bool),
}

/// Who watches a world. Sees everything, changes nothing.
pub trait Observer {
    /// A device put a frame on its port: before the link's faults. Switches do, too.
    fn sent(&mut self, at: Instant, from: Port, frame: &SimFrame);
    /// A device takes a frame: behind the link's faults and, for a node, when it handles it.
    fn delivered(&mut self, at: Instant, to: Port, frame: &SimFrame);
    /// Someone did something.
    fn acted(&mut self, at: Instant, action: &Action);
}

/// Nobody watches.
impl Observer for () {
    fn sent(&mut self, _: Instant, _: Port, _: &SimFrame) {}
    fn delivered(&mut self, _: Instant, _: Port, _: &SimFrame) {}
    fn acted(&mut self, _: Instant, _: &Action) {}
}

/// Turns in a row that may do nothing and ask for another at once; then the world slows the node down.
pub const IDLE_TURNS_MAX: u32 = 1_000;
const IDLE_PENALTY: Duration = Duration::from_micros(100);
const MICROSECOND: Duration = Duration::from_micros(1);

/// The deterministic world.
#[derive(Debug)]
pub struct World<O> {
    now: Instant,
    seed: Seed,
    queue: BinaryHeap<Event>,
    events: u64,
    tags: u64,
    devices: Vec<Device>,
    cables: Vec<Cable>,
    trace: Trace,
    observer: O,
}

#[derive(Debug)]
enum Device {
    Node(Box<Slot>, Vec<Option<End>>),
    Switch(Switch, Vec<Option<End>>),
}

/// One direction of a cable, as seen from a port that sends into it.
#[derive(Clone, Copy, Debug)]
struct End {
    cable: usize,
    forth: bool,
}

#[derive(Debug)]
struct Cable {
    ports: [Port; 2],
    forth: Link,
    back: Link,
}

#[derive(Debug)]
enum What {
    Arrive(Port, SimFrame),
    Turn { device: DeviceId, token: u64 },
    Depart { device: DeviceId, boot: u32, frames: Vec<(PortId, SimFrame)> },
    Act(Action),
}

#[derive(Debug)]
struct Event {
    at: Instant,
    number: u64,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The heap gives the greatest: the earliest, and of equal times the one made first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<O: Observer> World<O> {
    /// An empty world.
    pub fn new(seed: Seed, observer: O) -> Self {
        Self {
            now: Instant::ZERO,
            seed,
            queue: BinaryHeap::new(),
            events: 0,
            tags: 0,
            devices: Vec::new(),
            cables: Vec::new(),
            trace: Trace::default(),
            observer,
        }
    }

    /// Adds a node and starts its first life, with boot number 1.
    pub fn add_node(&mut self, name: &str, settings: NodeSettings, mut make: Maker) -> DeviceId {
        let id = DeviceId(self.devices.len());
        let node = Some(make(1));
        let slot = Slot {
            name: name.to_owned(),
            make,
            node,
            boot: 1,
            settings,
            dice: self.seed.stream(&format!("node {name}")),
            inbox: VecDeque::new(),
            paused: false,
            stalled: false,
            wake: None,
            idle_turns: 0,
            counters: NodeCounters::default(),
        };
        self.devices.push(Device::Node(Box::new(slot), Vec::new()));
        self.wake(id, self.now);
        id
    }

    /// Adds a switch.
    pub fn add_switch(&mut self) -> DeviceId {
        self.devices.push(Device::Switch(Switch::default(), Vec::new()));
        DeviceId(self.devices.len() - 1)
    }

    /// Takes a switch's next port into use.
    ///
    /// # Panics
    /// If the device is no switch.
    pub fn add_switch_port(&mut self, device: DeviceId) -> Port {
        let Device::Switch(switch, _) = &mut self.devices[device.0] else {
            panic!("{device:?} is no switch");
        };
        Port { device, port: switch.add_port() }
    }

    /// Connects two free ports. `forth` is from the first to the second. The name picks the faults' random streams.
    ///
    /// # Panics
    /// If a port is in use.
    pub fn connect(&mut self, name: &str, ports: [Port; 2], forth: LinkSettings, back: LinkSettings) -> CableId {
        let cable = self.cables.len();
        for (port, forth) in ports.into_iter().zip([true, false]) {
            let (Device::Node(_, ends) | Device::Switch(_, ends)) = &mut self.devices[port.device.0];
            let index = usize::from(port.port);
            if ends.len() <= index {
                ends.resize(index + 1, None);
            }
            assert!(ends[index].is_none(), "{port:?} is in use");
            ends[index] = Some(End { cable, forth });
        }
        let link = |settings, direction| Link::new(settings, self.seed.stream(&format!("link {name} {direction}")));
        self.cables.push(Cable { ports, forth: link(forth, "forth"), back: link(back, "back") });
        CableId(cable)
    }

    /// Has `action` happen at `at`; at once if that is past.
    pub fn schedule(&mut self, at: Instant, action: Action) {
        self.push(at, What::Act(action));
    }

    /// Lets everything happen that happens at or before `until`; the time is `until` then.
    pub fn run_until(&mut self, until: Instant) {
        while self.queue.peek().is_some_and(|event| event.at <= until) {
            if let Some(event) = self.queue.pop() {
                self.now = event.at;
                self.happen(event.what);
            }
        }
        self.now = self.now.max(until);
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// How many events have been made: a measure of the run's length.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The run's fingerprint so far.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Who watches.
    #[must_use]
    pub const fn observer(&self) -> &O {
        &self.observer
    }

    /// Who watches, to be told or asked something.
    pub const fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// The node's present life, if it has one and is an `N`.
    #[must_use]
    pub fn node<N: 'static>(&self, device: DeviceId) -> Option<&N> {
        let node: &dyn Any = self.slot(device)?.node.as_deref()?;
        node.downcast_ref()
    }

    /// As [`World::node`], to give it a command. It gets a turn right after.
    pub fn node_mut<N: 'static>(&mut self, device: DeviceId) -> Option<&mut N> {
        self.wake(device, self.now);
        let node: &mut dyn Any = self.slot_mut(device)?.node.as_deref_mut()?;
        node.downcast_mut()
    }

    /// Whether the node is alive (a paused one is).
    #[must_use]
    pub fn is_alive(&self, device: DeviceId) -> bool {
        self.slot(device).is_some_and(|slot| slot.node.is_some())
    }

    /// The node's own time.
    #[must_use]
    pub fn node_time(&self, device: DeviceId) -> Instant {
        self.slot(device).map_or(self.now, |slot| slot.settings.clock.read(self.now))
    }

    /// What has happened to a node's frames; zeros for a switch.
    #[must_use]
    pub fn node_counters(&self, device: DeviceId) -> NodeCounters {
        self.slot(device).map(|slot| slot.counters).unwrap_or_default()
    }

    /// A node's name; empty for a switch.
    #[must_use]
    pub fn node_name(&self, device: DeviceId) -> &str {
        self.slot(device).map_or("", |slot| &slot.name)
    }

    /// The settings of a link's directions, forth and back.
    #[must_use]
    pub fn link_settings(&self, cable: CableId) -> [LinkSettings; 2] {
        let cable = &self.cables[cable.0];
        [*cable.forth.settings(), *cable.back.settings()]
    }

    /// What a link's directions have done, forth and back.
    #[must_use]
    pub fn link_counters(&self, cable: CableId) -> [LinkCounters; 2] {
        let cable = &self.cables[cable.0];
        [cable.forth.counters(), cable.back.counters()]
    }

    fn slot(&self, device: DeviceId) -> Option<&Slot> {
        match &self.devices[device.0] {
            Device::Node(slot, _) => Some(slot),
            Device::Switch(..) => None,
        }
    }

    fn slot_mut(&mut self, device: DeviceId) -> Option<&mut Slot> {
        match &mut self.devices[device.0] {
            Device::Node(slot, _) => Some(slot),
            Device::Switch(..) => None,
        }
    }

    fn push(&mut self, at: Instant, what: What) {
        self.events += 1;
        self.queue.push(Event { at: at.max(self.now), number: self.events, what });
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrive(port, frame) => self.arrive(port, frame),
            What::Turn { device, token } => {
                if self.slot(device).is_some_and(|slot| slot.wake.is_some_and(|(_, t)| t == token)) {
                    self.turn(device);
                }
            }
            What::Depart { device, boot, frames } => {
                let Some(slot) = self.slot_mut(device).filter(|slot| slot.boot == boot && slot.node.is_some()) else {
                    return;
                };
                if slot.paused {
                    // Stands still with its burst in hand; it leaves when the node goes on.
                    self.push(self.now + IDLE_PENALTY, What::Depart { device, boot, frames });
                    return;
                }
                slot.stalled = false;
                self.depart(device, frames);
                self.wake(device, self.now);
            }
            What::Act(action) => self.act(action),
        }
    }

    fn arrive(&mut self, port: Port, frame: SimFrame) {
        match &mut self.devices[port.device.0] {
            Device::Node(slot, _) => {
                if slot.receive(port.port, frame) {
                    self.wake(port.device, self.now);
                }
            }
            Device::Switch(switch, _) => {
                let mut to = Vec::new();
                switch.forward(port.port, frame.bytes(), |port| to.push(port));
                self.observer.delivered(self.now, port, &frame);
                self.trace.delivered(self.now, port, frame.bytes());
                for out in to {
                    self.send(Port { device: port.device, port: out }, frame.clone());
                }
            }
        }
    }

    /// Gives a node the turn that is due: a burst in, a poll, a burst out.
    fn turn(&mut self, device: DeviceId) {
        let now = self.now;
        let Device::Node(slot, _) = &mut self.devices[device.0] else { return };
        slot.wake = None;
        if !slot.is_running() {
            return;
        }
        let Some(node) = slot.node.as_deref_mut() else { return };
        slot.counters.turns += 1;
        let _ = work::take();
        let own = slot.settings.clock.read(now);
        let mut outbox = Outbox::new(slot.settings.tx_room);
        let burst = slot.inbox.len().min(RX_BURST);
        for (port, mut frame) in slot.inbox.drain(..burst) {
            let to = Port { device, port: port.0 };
            self.observer.delivered(now, to, &frame);
            self.trace.delivered(now, to, frame.bytes());
            if let Verdict::Forward(port) = node.take_frame(own, port, &mut frame, &mut outbox) {
                outbox.forward(port, frame);
            }
        }
        node.take_turn(own, &mut outbox);
        let frames = outbox.into_frames();
        slot.idle_turns = if burst == 0 && frames.is_empty() { slot.idle_turns + 1 } else { 0 };
        let stall = slot.dice.chance(slot.settings.stall_ppm);
        let late = slot.dice.between(1, u64::try_from(slot.settings.stall_by.as_micros()).unwrap_or(u64::MAX));
        let late =
            if stall && !frames.is_empty() { Duration::from_micros(late) } else { Duration::ZERO } + work::take();
        if late > Duration::ZERO {
            slot.stalled = true;
            let boot = slot.boot;
            self.push(now + late, What::Depart { device, boot, frames });
        } else {
            self.depart(device, frames);
            self.plan_turn(device);
        }
    }

    /// Asks the node which frames of its burst may still leave, and sends those.
    fn depart(&mut self, device: DeviceId, mut frames: Vec<(PortId, SimFrame)>) {
        let now = self.now;
        let Some(slot) = self.slot_mut(device) else { return };
        let Some(node) = slot.node.as_deref() else { return };
        let (written, local) = (frames.len(), slot.settings.clock.read(now));
        frames.retain(|(_, frame)| node.may_send(local, frame));
        slot.counters.held_back += u64::try_from(written - frames.len()).unwrap_or(0);
        for (port, mut frame) in frames {
            self.tags += 1;
            frame.tag = self.tags;
            self.send(Port { device, port: port.0 }, frame);
        }
    }

    fn send(&mut self, from: Port, frame: SimFrame) {
        self.observer.sent(self.now, from, &frame);
        let (Device::Node(_, ends) | Device::Switch(_, ends)) = &self.devices[from.device.0];
        let Some(end) = ends.get(usize::from(from.port)).copied().flatten() else {
            return;
        };
        let cable = &mut self.cables[end.cable];
        let (link, to) = if end.forth { (&mut cable.forth, cable.ports[1]) } else { (&mut cable.back, cable.ports[0]) };
        let (queue, events) = (&mut self.queue, &mut self.events);
        link.carry(self.now, frame, |at, frame| {
            *events += 1;
            queue.push(Event { at, number: *events, what: What::Arrive(to, frame) });
        });
    }

    /// Plans a node's next turn after one has ended.
    fn plan_turn(&mut self, device: DeviceId) {
        let now = self.now;
        let Some(slot) = self.slot_mut(device) else { return };
        let Some(node) = slot.node.as_deref() else { return };
        if node.has_stopped() {
            slot.end();
            return;
        }
        if !slot.inbox.is_empty() {
            self.wake(device, now);
            return;
        }
        let Some(due) = node.next_turn().map(|own| slot.settings.clock.when(own)) else {
            slot.idle_turns = 0;
            return;
        };
        if due > now {
            slot.idle_turns = 0;
        }
        slot.counters.idle_turns_max = slot.counters.idle_turns_max.max(slot.idle_turns);
        let pause = if slot.idle_turns > IDLE_TURNS_MAX { IDLE_PENALTY } else { MICROSECOND };
        self.wake(device, due.max(now + pause));
    }

    /// Gives the node a turn at `at` unless it has an earlier one.
    fn wake(&mut self, device: DeviceId, at: Instant) {
        let token = self.events + 1;
        let Some(slot) = self.slot_mut(device) else { return };
        if !slot.is_running() || slot.wake.is_some_and(|(earlier, _)| earlier <= at) {
            return;
        }
        slot.wake = Some((at, token));
        self.push(at, What::Turn { device, token });
    }

    fn act(&mut self, action: Action) {
        let now = self.now;
        self.observer.acted(now, &action);
        match action {
            Action::Crash(device) => {
                if let Some(slot) = self.slot_mut(device) {
                    slot.end();
                }
            }
            Action::Restart(device) => {
                if let Some(slot) = self.slot_mut(device).filter(|slot| slot.node.is_none()) {
                    slot.boot += 1;
                    slot.node = Some((slot.make)(slot.boot));
                }
                self.wake(device, now);
            }
            Action::Pause(device) => {
                if let Some(slot) = self.slot_mut(device) {
                    slot.paused = slot.node.is_some();
                    slot.wake = None;
                }
            }
            Action::Resume(device) => {
                if let Some(slot) = self.slot_mut(device) {
                    slot.paused = false;
                }
                self.wake(device, now);
            }
            Action::Stop(device) => {
                if let Some(slot) = self.slot_mut(device) {
                    let own = slot.settings.clock.read(now);
                    if let Some(node) = slot.node.as_deref_mut() {
                        node.begin_stop(own);
                    }
                }
                self.wake(device, now);
            }
            Action::SetLink(cable, forth, back) => {
                let cable = &mut self.cables[cable.0];
                cable.forth.set(forth);
                cable.back.set(back);
            }
            Action::Partition(cable, partitioned) => {
                let cable = &mut self.cables[cable.0];
                cable.forth.set(LinkSettings { partitioned, ..*cable.forth.settings() });
                cable.back.set(LinkSettings { partitioned, ..*cable.back.settings() });
            }
        }
    }
}
