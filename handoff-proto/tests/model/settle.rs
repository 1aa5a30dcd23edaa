//! Progress: whatever has happened, and though everything on its way be lost, peace brings every connection to an end and
//! lets every record go.

use handoff_proto::names::NodeId;

use crate::client::{End, Segment};
use crate::world::{Left, Rules, State};

/// How many slices of peace it may take: above every lease, record, former owner and repetition.
const SLICES: usize = 12;
/// How often everybody may speak within a slice before they are thought to go in circles.
const ROUNDS_MAX: usize = 200;

/// # Errors
/// What does not settle, in a few words.
pub(crate) fn settles(state: &State, rules: &Rules) -> Result<(), String> {
    let mut state = state.clone();
    state.net.take();
    // First the machines alone, with idle applications: everything under way is decided, confirmed and forgotten.
    for _ in 0..SLICES {
        slice(&mut state, rules, false)?;
    }
    at_rest(&state, rules)?;
    // Then the applications go on.
    for _ in 0..SLICES {
        slice(&mut state, rules, true)?;
    }
    match state.client.end {
        None => Err("the connection never ends".into()),
        Some(End::Closed | End::Reset(_) | End::TailLost) => at_rest(&state, rules),
    }
}

fn slice(state: &mut State, rules: &Rules, drives: bool) -> Result<(), String> {
    state.look_after_leases(rules, true);
    state.look_after_the_rest(rules);
    for _ in 0..ROUNDS_MAX {
        for packet in state.net.take() {
            if state.opens(&packet, rules) {
                state.deliver(&packet, false, rules);
            }
        }
        let speakers = if drives { state.speakers(rules) } else { Vec::new() };
        for id in speakers {
            if id == NodeId::FRONT_END || state.back(id).can_drive(state.now, state.client.c, rules) {
                state.drive(id, rules);
            }
        }
        for id in state.speakers(rules).into_iter().filter(|id| *id != NodeId::FRONT_END) {
            state.go_on_with_tcp(id, rules);
        }
        if state.client.segment != Segment::Done && drives {
            state.move_segment(rules);
        }
        state.judge();
        if let Some(wrong) = state.client.wrong {
            return Err(format!("{wrong:?} in peace"));
        }
        if state.net.is_empty() {
            return Ok(());
        }
    }
    Err("they talk in circles".into())
}

/// Nothing is frozen, remembered, or still being said; the front-end's route leads to the owner.
fn at_rest(state: &State, rules: &Rules) -> Result<(), String> {
    let speakers = state.speakers(rules);
    if state.front.arbiter.poll_at().is_some() || state.front.is_frozen() {
        return Err(format!("the front-end has not settled: {:?}", state.front.conn));
    }
    for back in state.backs.iter().filter(|back| back.is_alive) {
        let left = (back.recipient.records(), back.recipient.incoming(), back.formers.len(), back.closed.len());
        let kept = (back.store.len(), back.tails.len(), back.releases.len());
        if kept != (0, 0, 0) {
            return Err(format!("{} keeps {kept:?}", back.id));
        }
        let is_frozen = back.conns.values().any(|conn| conn.donor.is_silent());
        if left != (0, 0, 0, 0) || is_frozen || !back.hold.is_empty() {
            return Err(format!("{} remembers {left:?}, frozen {is_frozen}, holds {}", back.id, back.hold.len()));
        }
    }
    let route = state.front.conn.as_ref().map(|conn| conn.route.owner());
    match (state.client.end, route, &*speakers) {
        (None, Some(owner), [speaker]) if owner == *speaker => Ok(()),
        (Some(_), None, []) => Ok(()),
        (end, route, speakers) => Err(format!("ended {end:?}, routed to {route:?}, owned by {speakers:?}")),
    }
}

/// What does not matter for [`settles`]: messages on their way, and what else may go wrong.
pub(crate) fn without_net(state: &State) -> State {
    let mut state = state.clone();
    state.net.take();
    state.left = Left::NOTHING;
    state
}
