//! Connections as JSON, and wishes to move them.

use super::{FrontendSource, unexpected};
use crate::stats::{Command, Reply};
use baton_host::{ConnectionSource, Refused, Unavailable};
use baton_stack::addr::ConnId;
use handoff_proto::admin::{ConnectionInfo, Connections, Page, WishTaken};
use serde_json::{Value, json};

impl ConnectionSource for FrontendSource {
    fn connections(&self, from: usize, limit: usize) -> Result<Value, Unavailable> {
        match self.control.call(Command::Connections(Page { from, limit }))? {
            Reply::Connections(Connections { list, next }) => {
                Ok(json!({"connections": list.iter().map(describe).collect::<Vec<_>>(), "next": next}))
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
