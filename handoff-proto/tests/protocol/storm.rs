//! Seeds: faults first, then peace; every connection must end, rightly, and everything be forgotten.

use handoff_proto::names::NodeId;

use crate::world::{Dice, End, Faults, World};

/// The first `count` seeds; `STORM_FACTOR` in the environment makes it that many times more.
fn seeds(count: u64) -> core::ops::Range<u64> {
    let factor = std::env::var("STORM_FACTOR").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    0..count * factor
}

const STORM: Faults = Faults { loss: 100, dup: 50, delay_ms: 30 };

fn start(seed: u64, faults: Faults) -> World {
    let mut world = World::new(seed, 2, Faults::NONE);
    world.run(50);
    world.faults = faults;
    for _ in 0..4 {
        world.front.accept(&mut world.clients);
    }
    world
}

/// Peace, until every connection has ended and every record is forgotten.
fn settle(world: &mut World, seed: u64) -> (usize, usize) {
    world.faults = Faults::NONE;
    for back in &mut world.backs {
        if !back.is_alive {
            back.start();
        }
    }
    let mut waited = 0;
    while world.clients.0.values().any(|client| client.end.is_none()) {
        world.run(50);
        waited += 50;
        assert!(waited < 20_000, "seed {seed}: a connection never ends: {:?}\n{:?}", world.clients, world.front);
    }
    world.run(8_000);
    assert!(
        world.front.conns.is_empty() && world.front.arbiter.poll_at().is_none(),
        "seed {seed}: front-end remembers"
    );
    for back in &world.backs {
        let left = (back.conns.len(), back.recipient.records(), back.recipient.incoming(), back.closed.len());
        assert_eq!((left, back.formers.len()), ((0, 0, 0, 0), 0), "seed {seed}: {} remembers", back.id);
    }
    let resets = world.clients.0.values().filter(|client| matches!(client.end, Some(End::Reset(_)))).count();
    let moves = world.clients.0.values().map(|client| client.owners).sum();
    (resets, moves)
}

#[test]
fn peace_moves_and_never_resets() {
    let mut moves = 0;
    for seed in seeds(10) {
        let mut world = start(seed, Faults::NONE);
        let (resets, moved) = settle(&mut world, seed);
        assert_eq!(resets, 0, "seed {seed}");
        moves += moved;
    }
    assert!(moves > 100, "{moves} moves");
}

#[test]
fn loss_duplication_and_reordering_never_reset() {
    let mut moves = 0;
    for seed in seeds(40) {
        let mut world = start(seed, STORM);
        world.run(3_000);
        let (resets, moved) = settle(&mut world, seed);
        assert_eq!(resets, 0, "seed {seed}");
        moves += moved;
    }
    assert!(moves > 400, "{moves} moves");
}

#[test]
fn refusals_never_reset() {
    for seed in seeds(20) {
        let mut world = start(seed, STORM);
        world.back(1).refuses = 500;
        world.back(2).refuses = 300;
        world.run(3_000);
        let (resets, _) = settle(&mut world, seed);
        assert_eq!(resets, 0, "seed {seed}");
    }
}

#[test]
fn restarts_reset_at_most_once_each() {
    let mut all = 0;
    for seed in seeds(40) {
        let mut world = start(seed, STORM);
        let mut dice = Dice(!seed);
        world.run(dice.below(600));
        let victim = 1 + u16::try_from(dice.below(2)).unwrap();
        world.back(victim).kill();
        world.run(dice.below(3_000));
        world.back(victim).start();
        world.run(3_000);
        all += settle(&mut world, seed).0;
    }
    assert!(all > 10, "only {all} resets: the victims had nothing");
}

#[test]
fn pauses_longer_and_shorter_than_a_lease_are_survived() {
    for seed in seeds(40) {
        let mut world = start(seed, STORM);
        let mut dice = Dice(!seed);
        world.run(dice.below(600));
        for victim in 1..=2 {
            let until = world.now + core::time::Duration::from_millis(dice.below(4_000));
            world.back(victim).pause(until);
        }
        world.run(6_000);
        settle(&mut world, seed);
    }
}

#[test]
fn both_nodes_may_die() {
    for seed in seeds(20) {
        let mut world = start(seed, STORM);
        let mut dice = Dice(!seed);
        for victim in [1, 2] {
            world.run(dice.below(400));
            world.back(victim).kill();
        }
        world.run(dice.below(3_000));
        settle(&mut world, seed);
    }
}

/// A connection whose owner died is reset within three seconds.
#[test]
fn the_owner_s_death_is_seen_in_time() {
    let mut world = start(1, Faults::NONE);
    world.front.only_to = Some(NodeId(1));
    world.run(30);
    world.back(1).kill();
    world.run(2_900);
    assert!(world.clients.0.values().all(|client| client.end.is_some()), "{:?}", world.clients);
}
