//! The runs, and what must hold in each of them.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::client::{End, Wrong};
use crate::mutants::Mutant;
use crate::settle::{settles, without_net};
use crate::world::{Action, Rules, State};

/// The property that is to be found: the run is not empty.
const MOVES: &str = "closes after every move";

/// One run, for the checker.
struct Run {
    rules: Rules,
    /// States that are known to settle, without what does not matter for it.
    settled: Mutex<HashSet<u64>>,
}

impl Run {
    fn new(rules: Rules) -> Self {
        Self { rules, settled: Mutex::new(HashSet::new()) }
    }

    fn settles(&self, state: &State) -> bool {
        let mut hasher = DefaultHasher::new();
        without_net(state).hash(&mut hasher);
        let key = hasher.finish();
        if self.settled.lock().expect("no check panics").contains(&key) {
            return true;
        }
        let settles = settles(state, &self.rules).is_ok();
        if settles {
            self.settled.lock().expect("no check panics").insert(key);
        }
        settles
    }
}

impl Model for Run {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.rules)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.actions(&self.rules, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        state.apply(&action, &self.rules);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn not(state: &State, wrong: Wrong) -> bool {
            state.client.wrong != Some(wrong)
        }
        vec![
            Property::always("one speaker", |run: &Self, state: &State| state.speakers(&run.rules).len() <= 1),
            Property::always("epochs rise", |_, state| not(state, Wrong::EpochFell)),
            Property::always("one stream", |_, state| not(state, Wrong::Stream)),
            Property::always("installed once", |_, state| not(state, Wrong::InstalledTwice)),
            Property::always("resets have proof", |_, state| not(state, Wrong::ResetWithoutProof)),
            Property::always("dropped is dropped", |_, state| not(state, Wrong::DroppedMessageActed)),
            Property::always("tails are kept", |_, state| not(state, Wrong::TailGivenUp)),
            Property::always("segments arrive", |_, state| not(state, Wrong::Segment)),
            Property::always("settles", |run: &Self, state: &State| state.client.wrong.is_some() || run.settles(state)),
            Property::sometimes(MOVES, |run: &Self, state: &State| {
                state.client.end == Some(End::Closed) && state.client.owners >= run.rules.owners()
            }),
        ]
    }
}

/// Three nodes, two moves: from the front-end to the first back-end, and from there to the second.
const TWO_MOVES: Rules = Rules {
    backs: 2,
    plan: &[1, 2],
    has_begun: false,
    is_patient: false,
    grants: 2,
    crashes: 0,
    restarts: 0,
    lapses: 0,
    refusals: 0,
    ticks: 0,
    life: 1,
    evictions: 0,
    client_resets: 0,
    segments: 0,
    connections: 1,
    part_bytes: 64,
    tails: false,
    losses: 0,
    doubts: 0,
    pushes: 0,
    mutant: None,
};
/// Three nodes, one move.
const ONE_MOVE: Rules = Rules { plan: &[1], grants: 1, ..TWO_MOVES };
/// From the first back-end to the second, and what is not acknowledged stays with the first.
const TAIL: Rules = Rules { has_begun: true, tails: true, ..TWO_MOVES };
/// And back to the first.
const TAILS: Rules = Rules { plan: &[1, 2, 1], grants: 3, ..TAIL };
/// From the first back-end by the second to the third.
const IN_A_ROW: Rules = Rules { backs: 3, has_begun: true, is_patient: true, plan: &[1, 2, 3], grants: 3, ..TWO_MOVES };
/// The connection comes back to its first owner.
const THERE_AND_BACK: Rules = Rules { plan: &[1, 2, 1], grants: 3, ..TWO_MOVES };

/// Looks at every state that can be reached.
fn holds(name: &str, rules: Rules) {
    let began = std::time::Instant::now();
    let checker = Run::new(rules).checker().spawn_bfs().join();
    report(name, began, &checker);
}

/// The same in the order that needs least memory. The depth is that of the longest way taken, not of the shortest.
fn holds_in_depth(name: &str, rules: Rules) {
    let began = std::time::Instant::now();
    let checker = Run::new(rules).checker().spawn_dfs().join();
    report(name, began, &checker);
}

fn report(name: &str, began: std::time::Instant, checker: &impl Checker<Run>) {
    let (unique, all, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("{name}: {unique} states, {all} transitions, depth {depth}, {:.1} s", began.elapsed().as_secs_f32());
    let broken = checker.discoveries().into_iter().find(|(property, _)| *property != MOVES);
    if let Some((property, path)) = broken {
        let last = path.last_state().clone();
        let why = settles(&last, &checker.model().rules);
        for action in path.into_actions() {
            println!("  {action:?}");
        }
        panic!("{name}: {property}: {:?}, settles: {why:?}\n{last:#?}", last.client.wrong);
    }
    checker.assert_any_discovery(MOVES);
}

#[test]
fn two_moves() {
    holds("two moves", TWO_MOVES);
    holds("two moves, images in two parts", Rules { part_bytes: 2, ..TWO_MOVES });
}

#[test]
fn two_moves_and_memory_that_ends() {
    holds("two moves, 2 ticks", Rules { ticks: 2, ..TWO_MOVES });
    holds("two moves, 1 tick, 1 eviction", Rules { ticks: 1, evictions: 1, ..TWO_MOVES });
}

#[test]
fn two_moves_and_a_client_s_segment() {
    holds("two moves, 1 segment", Rules { segments: 1, ..TWO_MOVES });
    holds("one move, 1 segment, 1 refusal, 1 tick", Rules { segments: 1, refusals: 1, ticks: 1, ..ONE_MOVE });
}

#[test]
fn two_moves_and_a_refusal() {
    holds("two moves, 1 refusal", Rules { refusals: 1, ..TWO_MOVES });
}

#[test]
fn two_moves_and_a_crash() {
    holds("two moves, 1 crash", Rules { crashes: 1, ..TWO_MOVES });
    holds("two moves, 1 crash, 1 reset by the client", Rules { crashes: 1, client_resets: 1, ..TWO_MOVES });
}

#[test]
fn one_move_and_a_restart() {
    holds("one move, 1 restart", Rules { crashes: 1, restarts: 1, ..ONE_MOVE });
}

#[test]
fn one_move_and_a_lapsed_lease() {
    holds("one move, 1 lapse, 1 tick", Rules { lapses: 1, ticks: 1, ..ONE_MOVE });
}

#[test]
fn two_connections_on_the_same_ports() {
    holds("two connections, 1 tick", Rules { connections: 2, grants: 2, ticks: 1, ..ONE_MOVE });
}

#[test]
fn a_move_and_what_stays_behind() {
    holds("a tail, 1 loss, 1 doubt", Rules { losses: 1, doubts: 1, ..TAIL });
}

#[test]
fn a_move_and_a_holder_that_dies() {
    let crash = Rules { is_patient: true, losses: 1, doubts: 1, crashes: 1, ..TAIL };
    holds("a tail, patient, 1 loss, 1 doubt, 1 crash", crash);
}

#[test]
fn there_and_back_and_what_stays_behind() {
    holds("tails there and back, patient", Rules { is_patient: true, ..TAILS });
}

/// The runs that take minutes, only with `BATON_FULL`: each a test of its own, so that one goes on beside another.
mod larger {
    use super::{CRASH_AND_AGAIN, IN_A_ROW, ONE_MOVE, Rules, TAIL, TAILS, THERE_AND_BACK, TWO_MOVES, holds_in_depth};

    macro_rules! larger {
        ($($test:ident: $rules:expr;)+) => {
            $(#[test] fn $test() { holds_if_asked_for(stringify!($test), $rules); })+
        }
    }

    larger! {
        two_moves_1_lapse: Rules { lapses: 1, ..TWO_MOVES };
        there_and_back: THERE_AND_BACK;
        two_moves_1_restart: Rules { crashes: 1, restarts: 1, ..TWO_MOVES };
        two_moves_1_crash_1_tick: Rules { crashes: 1, ticks: 1, ..TWO_MOVES };
        two_moves_1_refusal_1_more_attempt: Rules { refusals: 1, grants: 3, ..TWO_MOVES };
        one_move_2_ticks_each_half_a_message_s_life: Rules { ticks: 2, life: 2, ..ONE_MOVE };
        a_move_1_crash_1_more_attempt: CRASH_AND_AGAIN;
        a_tail_of_two_1_loss_2_doubts: Rules { losses: 1, doubts: 2, plan: &[1, 1, 2], ..TAIL };
        a_tail_1_loss_1_doubt_1_crash: Rules { losses: 1, doubts: 1, crashes: 1, ..TAIL };
        a_tail_1_push_1_doubt_1_tick: Rules { pushes: 1, doubts: 1, ticks: 1, ..TAIL };
        tails_there_and_back_patient_1_doubt: Rules { is_patient: true, doubts: 1, ..TAILS };
        tails_there_and_back_patient_1_push: Rules { is_patient: true, pushes: 1, ..TAILS };
        three_in_a_row_patient_2_deaths: Rules { crashes: 2, ..IN_A_ROW };
        two_moves_1_segment_1_refusal_1_eviction: Rules { segments: 1, refusals: 1, evictions: 1, ..TWO_MOVES };
    }

    fn holds_if_asked_for(name: &str, rules: Rules) {
        if std::env::var("BATON_FULL").map_or(true, |word| word.is_empty()) {
            println!("the larger runs want BATON_FULL=1, as ci/test --full has it");
            return;
        }
        holds_in_depth(name, rules);
    }
}

/// Runs a broken protocol until something is wrong with it, and says what.
fn caught(mutant: Mutant, rules: Rules) -> Vec<&'static str> {
    let model = Run::new(Rules { mutant: Some(mutant), ..rules });
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut found: Vec<_> = checker.discoveries().into_keys().filter(|property| *property != MOVES).collect();
    found.sort_unstable();
    println!("{mutant:?}: {found:?} after {} states", checker.unique_state_count());
    found
}

/// One test a mutant: what it breaks, in which run.
macro_rules! mutants {
    ($($(#[$doc:meta])* $test:ident: $mutant:ident in $rules:expr, breaks $property:literal;)+) => {
        $($(#[$doc])* #[test] fn $test() {
            let found = caught(Mutant::$mutant, $rules);
            assert!(found.contains(&$property), "{found:?}");
        })+

        #[test]
        fn every_mutant_has_a_test() {
            let mut tested = vec![$(Mutant::$mutant),+];
            tested.sort_unstable();
            tested.dedup();
            assert_eq!(tested, Mutant::ALL);
        }
    };
}

const CRASH: Rules = Rules { crashes: 1, ..TWO_MOVES };
/// From the first back-end to the second, in two attempts if need be.
const CRASH_AND_AGAIN: Rules = Rules { has_begun: true, grants: 3, ..CRASH };
const RESTART: Rules = Rules { crashes: 1, restarts: 1, ..TWO_MOVES };
/// To the first, to the second, to the first and to the second: each keeps something twice.
const BACK_AGAIN: Rules = Rules { is_patient: true, plan: &[1, 2, 1, 2], grants: 4, ..TAIL };
const SEGMENT: Rules = Rules { segments: 1, ..TWO_MOVES };

mutants! {
    without_the_epoch_check: NoEpochCheck in Rules { refusals: 1, grants: 3, ..TWO_MOVES }, breaks "settles";
    a_straggler_is_answered: AnswersStraggler in SEGMENT, breaks "segments arrive";
    without_straggler_forwarding: DropsStraggler in SEGMENT, breaks "segments arrive";
    without_the_early_packet_hold: HoldsNothing in SEGMENT, breaks "segments arrive";
    a_refusal_drops_what_was_held: RefusalDropsHeld in Rules { refusals: 1, ..SEGMENT }, breaks "segments arrive";
    a_revocation_drops_what_was_held: RevokeDropsHeld in SEGMENT, breaks "segments arrive";
    installed_after_revoke: ReinstallsAfterRevoke in TWO_MOVES, breaks "one speaker";
    records_forgotten_too_early: ForgetsRecords in TWO_MOVES, breaks "installed once";
    without_routed: NoRouted in TWO_MOVES, breaks "settles";
    without_done: NoDone in TWO_MOVES, breaks "settles";
    without_the_lease: SpeaksWithoutLease in Rules { lapses: 1, ..TWO_MOVES }, breaks "one stream";
    an_epoch_granted_twice: ForgetsGrants in TWO_MOVES, breaks "settles";
    a_connection_id_used_twice: NameUsedTwice in Rules { connections: 2, grants: 2, ..ONE_MOVE }, breaks "settles";
    thawed_without_proof: ThawsWithoutProof in TWO_MOVES, breaks "one speaker";
    without_revoke: NoRevoke in TWO_MOVES, breaks "one speaker";
    kept_although_frozen: KeepsWhatWasSent in CRASH, breaks "settles";
    said_to_be_kept_although_lost: SaysKeptButLost in CRASH, breaks "settles";
    installed_of_a_dead_life: BelievesTheDead in CRASH, breaks "settles";
    a_lease_of_another_life: LeaseOfAnotherLife in Rules { lapses: 1, ..RESTART }, breaks "settles";
    a_restart_unnoticed: RestartUnnoticed in RESTART, breaks "settles";
    a_word_forgotten_at_thaw: ThawedForgetsItsWord in CRASH_AND_AGAIN, breaks "settles";
    a_grant_used_twice: GrantUsedTwice in TWO_MOVES, breaks "settles";
    reset_as_soon_as_the_owner_is_dead: ResetsAtOnce in CRASH, breaks "resets have proof";
    closed_said_once: ClosedOnce in TWO_MOVES, breaks "settles";
    a_tail_forgotten_at_done: ForgetsTailAtDone in TAIL, breaks "tails are kept";
    a_release_of_an_earlier_time: ReleaseOfAnyEpoch in BACK_AGAIN, breaks "tails are kept";
    every_gone_taken_for_a_loss: TakesEveryGone in Rules { plan: &[1, 1, 2], doubts: 1, ..TAIL }, breaks "resets have proof";
    without_release: NoRelease in TAIL, breaks "settles";
    without_fetch: NoFetch in Rules { losses: 1, ..TAIL }, breaks "settles";
    without_the_question_of_a_holder: NoTailKept in Rules { crashes: 1, ..TAIL }, breaks "settles";
    over_said_of_the_living: SaysOverOfTheLiving in Rules { backs: 3, crashes: 1, ..TAIL }, breaks "settles";
}
