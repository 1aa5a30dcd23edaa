//! The world's mechanics, with nodes of a few lines.

use super::*;
use baton_stack::node::{Node, Transmit};

/// Returns each frame on the port it came from after `delay`, and speaks by itself at `alarm`.
struct Echo {
    boot: u32,
    delay: Option<Duration>,
    pending: VecDeque<(Instant, PortId, Vec<u8>)>,
    lease: Option<Instant>,
    stop: Option<Instant>,
    turns: Vec<Instant>,
    spin: bool,
}

impl Echo {
    fn new(boot: u32, delay: Option<Duration>) -> Self {
        Self { boot, delay, pending: VecDeque::new(), lease: None, stop: None, turns: Vec::new(), spin: false }
    }
}

impl Node for Echo {
    type Command = ();
    type Reply = ();

    fn handle_frame<F: Frame, T: Transmit>(&mut self, now: Instant, port: PortId, frame: &mut F, _: &mut T) -> Verdict {
        let Some(delay) = self.delay else {
            frame.bytes_mut()[..6].fill(7);
            return Verdict::Forward(port);
        };
        self.pending.push_back((now + delay, port, frame.bytes().to_vec()));
        Verdict::Free
    }

    fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        self.turns.push(now);
        while self.pending.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, port, bytes)) = self.pending.pop_front() else { return };
            let written = tx.transmit(port, bytes.len(), |out| {
                out.copy_from_slice(&bytes);
                bytes.len()
            });
            if !written {
                self.pending.push_front((now, port, bytes));
                return;
            }
        }
    }

    fn poll_at(&self) -> Option<Instant> {
        if self.spin { Some(Instant::ZERO) } else { self.pending.front().map(|(at, ..)| *at) }
    }

    fn handle_command(&mut self, _: Instant, (): ()) {}

    fn stop(&mut self, now: Instant) {
        self.stop = Some(now);
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    fn may_transmit(&self, now: Instant) -> bool {
        self.lease.is_none_or(|end| now <= end)
    }
}

/// Sees every frame that reaches a node's port.
#[derive(Default)]
struct Log(Vec<(u64, usize, Vec<u8>)>);

impl Observer for Log {
    fn sent(&mut self, _: Instant, _: Port, _: &SimFrame) {}

    fn delivered(&mut self, at: Instant, to: Port, frame: &SimFrame) {
        self.0.push((at.micros(), to.device.0, frame.bytes().to_vec()));
    }

    fn acted(&mut self, _: Instant, _: &Action) {}
}

fn node(world: &mut World<Log>, name: &str, settings: NodeSettings, delay: Option<Duration>) -> Port {
    let device = world.add_node(name, settings, Box::new(move |boot| Box::new(Echo::new(boot, delay))));
    Port { device, port: 0 }
}

/// Two nodes on one cable of 10 us; the first returns at once, the second after `delay` of its own clock.
fn pair(delay: Duration, settings: NodeSettings) -> (World<Log>, Port, Port, CableId) {
    let mut world = World::new(Seed(1), Log::default());
    let a = node(&mut world, "a", NodeSettings::default(), None);
    let b = node(&mut world, "b", settings, Some(delay));
    let link = LinkSettings { delay: Duration::from_micros(10), ..LinkSettings::default() };
    let cable = world.connect("ab", [a, b], link, link);
    (world, a, b, cable)
}

fn at(micros: u64) -> Instant {
    Instant::from_micros(micros)
}

fn times(world: &World<Log>, device: DeviceId) -> Vec<u64> {
    world.observer().0.iter().filter(|(_, to, _)| *to == device.0).map(|(at, ..)| *at).collect()
}

#[test]
fn a_forwarded_frame_and_a_written_frame_travel_and_time_passes_between() {
    let (mut world, a, b, _) = pair(Duration::from_micros(100), NodeSettings::default());
    world.push(at(0), What::Arrive(a, SimFrame::new(&[1; 60])));
    world.run_until(at(250));
    assert_eq!(times(&world, a.device), [0, 120, 240]);
    assert_eq!(times(&world, b.device), [10, 130, 250]);
    assert_eq!(world.observer().0[1].2[..7], [7, 7, 7, 7, 7, 7, 1], "rewritten in place");
}

#[test]
fn a_node_lives_by_its_own_clock() {
    let clock = Clock { offset: Duration::from_secs(5), skew_ppm: 100_000 };
    let (mut world, _, b, _) = pair(Duration::from_micros(110), NodeSettings { clock, ..NodeSettings::default() });
    world.push(at(1000), What::Arrive(b, SimFrame::new(&[1; 60])));
    world.run_until(at(1200));
    let turns = &world.node::<Echo>(b.device).unwrap().turns;
    // It runs a tenth faster: 110 of its microseconds pass in 100 of the world's.
    let turns: Vec<_> = turns.iter().take(3).map(|t| t.micros()).collect();
    assert_eq!(turns, [5_000_000, 5_001_100, 5_001_210]);
    assert_eq!(world.node_time(b.device), at(5_001_320));
}

#[test]
fn frames_of_one_microsecond_are_one_burst_up_to_its_limit() {
    for (frames, turns) in [(RX_BURST, 1), (RX_BURST + 1, 2)] {
        let (mut world, _, b, _) = pair(Duration::from_secs(1), NodeSettings::default());
        world.run_until(at(50));
        let before = world.node_counters(b.device).turns;
        for _ in 0..frames {
            world.push(at(100), What::Arrive(b, SimFrame::new(&[1; 60])));
        }
        world.run_until(at(200));
        assert_eq!(world.node_counters(b.device).turns - before, turns);
    }
}

#[test]
fn the_receive_ring_of_a_paused_node_holds_its_limit() {
    let (mut world, a, b, _) = pair(Duration::ZERO, NodeSettings::default());
    world.schedule(at(10), Action::Pause(b.device));
    for _ in 0..=RX_RING {
        world.push(at(20), What::Arrive(b, SimFrame::new(&[1; 60])));
    }
    world.run_until(at(1000));
    assert_eq!(world.node_counters(b.device).not_received, 1);
    assert!(times(&world, a.device).is_empty(), "a paused node does nothing");
    world.schedule(at(2000), Action::Resume(b.device));
    world.run_until(at(2011));
    assert_eq!(times(&world, a.device).len(), RX_RING);
}

#[test]
fn a_crash_forgets_and_a_restart_is_a_new_boot() {
    let (mut world, a, b, _) = pair(Duration::from_micros(100), NodeSettings::default());
    world.push(at(0), What::Arrive(b, SimFrame::new(&[1; 60])));
    world.schedule(at(50), Action::Crash(b.device));
    world.push(at(60), What::Arrive(b, SimFrame::new(&[1; 60])));
    world.schedule(at(70), Action::Restart(b.device));
    world.schedule(at(80), Action::Restart(b.device)); // lives: nothing to do
    world.run_until(at(65));
    assert!(!world.is_alive(b.device));
    world.run_until(at(500));
    assert!(times(&world, a.device).is_empty());
    assert_eq!(world.node::<Echo>(b.device).unwrap().boot, 2);
    assert_eq!(world.node_counters(b.device).not_received, 1);
}

#[test]
fn a_stopped_node_is_dropped() {
    let (mut world, _, b, _) = pair(Duration::ZERO, NodeSettings::default());
    world.schedule(at(50), Action::Stop(b.device));
    world.run_until(at(49));
    assert!(world.is_alive(b.device));
    world.run_until(at(50));
    assert!(!world.is_alive(b.device));
}

#[test]
fn a_stalled_burst_asks_again_before_it_leaves() {
    for (lease, held_back) in [(1_000_000, 0), (100, 1)] {
        let stall =
            NodeSettings { stall_ppm: 1_000_000, stall_by: Duration::from_millis(500), ..NodeSettings::default() };
        let (mut world, a, b, _) = pair(Duration::ZERO, stall);
        world.node_mut::<Echo>(b.device).unwrap().lease = Some(at(lease));
        world.push(at(50), What::Arrive(b, SimFrame::new(&[1; 60])));
        world.run_until(at(600_000));
        assert_eq!(world.node_counters(b.device).held_back, held_back);
        assert_eq!(times(&world, a.device).is_empty(), held_back == 1);
    }
}

#[test]
fn a_cut_link_carries_nothing_until_it_is_whole_again() {
    let (mut world, a, b, cable) = pair(Duration::ZERO, NodeSettings::default());
    world.schedule(at(10), Action::Partition(cable, true));
    world.push(at(20), What::Arrive(b, SimFrame::new(&[1; 60])));
    world.schedule(at(100), Action::Partition(cable, false));
    world.push(at(200), What::Arrive(b, SimFrame::new(&[1; 60])));
    world.run_until(at(215));
    assert_eq!(times(&world, a.device), [210]);
    assert_eq!(world.link_counters(cable)[1].lost, 1);
    let slow = LinkSettings { delay: Duration::from_micros(50), ..world.link_settings(cable)[1] };
    world.schedule(at(300), Action::SetLink(cable, slow, slow));
    world.push(at(1000), What::Arrive(b, SimFrame::new(&[1; 60])));
    world.run_until(at(1055));
    assert_eq!(times(&world, a.device).last(), Some(&1050));
}

#[test]
fn a_node_without_room_to_write_gets_another_turn() {
    let (mut world, a, b, _) = pair(Duration::ZERO, NodeSettings { tx_room: 2, ..NodeSettings::default() });
    for _ in 0..5 {
        world.push(at(100), What::Arrive(b, SimFrame::new(&[1; 60])));
    }
    world.run_until(at(115));
    assert_eq!(times(&world, a.device), [110, 110, 111, 111, 112]);
}

#[test]
fn a_node_that_spins_is_slowed_down_and_seen() {
    let (mut world, _, b, _) = pair(Duration::ZERO, NodeSettings::default());
    world.node_mut::<Echo>(b.device).unwrap().spin = true;
    world.run_until(at(u64::from(IDLE_TURNS_MAX) - 2));
    assert!(world.node_counters(b.device).idle_turns_max <= IDLE_TURNS_MAX);
    world.run_until(at(1_000_000));
    let counters = world.node_counters(b.device);
    assert!(counters.idle_turns_max > IDLE_TURNS_MAX);
    assert!(counters.turns < 20_000, "{counters:?}");
}

#[test]
fn a_switch_learns_and_equal_seeds_give_equal_traces() {
    let run = |seed| {
        let mut world = World::new(Seed(seed), ());
        let switch = world.add_switch();
        let settings = LinkSettings { loss_ppm: 300_000, jitter: Duration::from_micros(50), ..LinkSettings::default() };
        let ports: Vec<_> = (0..3)
            .map(|i| {
                let name = format!("n{i}");
                let make: Maker = Box::new(|boot| Box::new(Echo::new(boot, Some(Duration::from_micros(5)))));
                let device = world.add_node(&name, NodeSettings::default(), make);
                let port = Port { device, port: 0 };
                let other = world.add_switch_port(switch);
                world.connect(&name, [port, other], settings, settings);
                port
            })
            .collect();
        for i in 0..20 {
            let mut frame = [i; 60];
            frame[..6].fill(0xff);
            frame[6..12].fill(2);
            world.push(at(u64::from(i)), What::Arrive(ports[usize::from(i % 3)], SimFrame::new(&frame)));
        }
        world.run_until(at(400));
        (world.trace().to_string(), world.trace().frames())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
    assert!(run(1).1 > 20);
}
