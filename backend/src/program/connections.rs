//! Connections and moves as JSON, and wishes to move a connection.

use super::metrics::refusal;
use super::{BackendSource, unexpected};
use crate::stats::{Command, Reply};
use baton_host::{ConnectionSource, NumberedMoves, Refused, Unavailable};
use baton_stack::addr::ConnId;
use handoff_proto::admin::{ConnectionInfo, Connections, Page, WishTaken};
use handoff_proto::journal::{MoveEvent, MoveResult, Moves};
use serde_json::{Value, json};
use std::time::Duration;

impl ConnectionSource for BackendSource {
    fn connections(&self, from: usize, limit: usize) -> Result<Value, Unavailable> {
        match self.control.call(Command::Connections(Page { from, limit }))? {
            Reply::Connections(Connections { list, next }) => {
                Ok(json!({"connections": list.iter().map(describe).collect::<Vec<_>>(), "next": next}))
            }
            other => Err(unexpected(&other)),
        }
    }

    fn moves(&self, after: u64, limit: usize) -> Result<NumberedMoves, Unavailable> {
        match self.control.call(Command::Moves { after, limit })? {
            Reply::Moves(Moves { list, last }) => {
                Ok(NumberedMoves { list: list.iter().map(describe_move).collect(), last })
            }
            other => Err(unexpected(&other)),
        }
    }

    fn move_connection(&self, id: u64, to: String) -> Result<Result<Value, Refused>, Unavailable> {
        let c = ConnId(id);
        match self.control.call(Command::Move { c, to })? {
            Reply::Move(Ok(WishTaken { from, to })) => Ok(Ok(json!({"id": c.to_string(), "from": from, "to": to}))),
            Reply::Move(Err(refused)) => Ok(Err(Refused { status: refused.status(), reason: refused.to_string() })),
            other => Err(unexpected(&other)),
        }
    }
}

/// Times in microseconds from the moment that the move was asked for.
fn describe_move((number, event): &(u64, MoveEvent)) -> (u64, Value) {
    let MoveEvent { c, base, e2, to, reason, result, asked: _, granted, frozen, handed_off, installed, routed, image } =
        event;
    let micros = |phase: &Option<Duration>| phase.map(|phase| u64::try_from(phase.as_micros()).unwrap_or(u64::MAX));
    let refused = match result {
        MoveResult::Refused(reason) => Some(refusal(*reason)),
        MoveResult::Moved | MoveResult::TakenBack | MoveResult::Lost | MoveResult::NotGranted => None,
    };
    let value = json!({
        "number": number,
        "id": c.to_string(),
        "reason": reason.label(),
        "result": result.label(),
        "refusal": refused,
        "to": to.1,
        "epochs": [base.0, e2.0],
        "granted_us": micros(granted),
        "frozen_us": micros(frozen),
        "handed_off_us": micros(handed_off),
        "installed_us": micros(installed),
        "routed_us": micros(routed),
        "image_bytes": image.map(|(bytes, _)| bytes),
        "image_parts": image.map(|(_, parts)| parts),
    });
    (*number, value)
}

fn describe(info: &ConnectionInfo) -> Value {
    let ConnectionInfo { c, flow, owner, epoch, state, moving_to, served, age } = info;
    json!({
        "id": c.to_string(),
        "client": flow.client.to_string(),
        "vip": flow.vip.to_string(),
        "owner": owner,
        "epoch": epoch.0,
        "state": state,
        "moving_to": moving_to,
        "requests": served.map(|served| served.requests),
        "response_bytes": served.map(|served| served.bytes),
        "age_seconds": age.as_secs_f64(),
    })
}
