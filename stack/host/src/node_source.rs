//! What people may ask of a running node of either kind, put to the node and said in JSON.

use crate::admin::connections::{ConnectionSource, NumberedMoves, Refused};
use crate::admin::draining::DrainSource;
use crate::admin::{AdminSource, Unavailable};
use crate::files::{Secret, load_secret, secret_files};
use crate::metrics::Metrics;
use crate::shell::Control;
use anyhow::Context;
use baton_config::Cluster;
use baton_stack::addr::ConnId;
use baton_stack::node::Node;
use handoff_proto::admin::{Command, ConnectionInfo, Connections, DrainTaken, Page, Reply, WishTaken};
use handoff_proto::journal::{MoveEvent, MoveResult, Moves};
use handoff_proto::seal::{ClusterSecret, Secrets};
use serde_json::{Value, json};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// A node's numbers of a moment.
pub trait Numbers {
    /// Adds all of them.
    fn add_to(&self, metrics: &mut Metrics);

    /// What the node is and does now, for `/v1/status`.
    fn status(&self) -> Value;
}

/// What the admin listener asks of a node.
pub struct NodeSource<N: Node> {
    control: Control<N>,
}

impl<N: Node> fmt::Debug for NodeSource<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeSource")
    }
}

impl<N, S> NodeSource<N>
where
    N: Node<Command = Command, Reply = Reply<S>>,
    S: fmt::Debug,
{
    /// Asks over `control`.
    pub const fn new(control: Control<N>) -> Self {
        Self { control }
    }

    /// Has the node take other secrets over.
    ///
    /// # Errors
    /// They are none, or the node did not answer.
    pub fn set_secrets(&self, secrets: &[Secret]) -> anyhow::Result<()> {
        match self.control.call(Command::Secrets(cluster_secrets(secrets)?))? {
            Reply::Secrets => Ok(()),
            other => Err(unexpected(&other).into()),
        }
    }

    fn numbers(&self) -> Result<S, Unavailable> {
        match self.control.call(Command::Stats)? {
            Reply::Stats(numbers) => Ok(*numbers),
            other => Err(unexpected(&other)),
        }
    }
}

/// The node answered another question.
fn unexpected<S: fmt::Debug>(reply: &Reply<S>) -> Unavailable {
    Unavailable(format!("an answer to another question: {reply:?}"))
}

impl<N, S> AdminSource for NodeSource<N>
where
    N: Node<Command = Command, Reply = Reply<S>> + 'static,
    S: Numbers + fmt::Debug + 'static,
{
    fn metrics(&self, metrics: &mut Metrics) -> Result<(), Unavailable> {
        self.numbers()?.add_to(metrics);
        Ok(())
    }

    fn status(&self) -> Result<Value, Unavailable> {
        Ok(self.numbers()?.status())
    }

    fn health(&self) -> Result<(), Unavailable> {
        self.numbers().map(|_| ())
    }
}

impl<N, S> ConnectionSource for NodeSource<N>
where
    N: Node<Command = Command, Reply = Reply<S>> + 'static,
    S: Numbers + fmt::Debug + 'static,
{
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

impl<N, S> DrainSource for NodeSource<N>
where
    N: Node<Command = Command, Reply = Reply<S>> + 'static,
    S: Numbers + fmt::Debug + 'static,
{
    fn drain(&self, node: String, is_draining: bool) -> Result<Result<Value, Refused>, Unavailable> {
        match self.control.call(Command::Drain { node, is_draining })? {
            Reply::Drain(Ok(DrainTaken { node, is_draining })) => {
                Ok(Ok(json!({"name": node, "draining": is_draining})))
            }
            Reply::Drain(Err(refused)) => Ok(Err(Refused { status: refused.status(), reason: refused.to_string() })),
            other => Err(unexpected(&other)),
        }
    }
}

/// The contents of secret files as the nodes use them.
///
/// # Errors
/// One is no secret, or they are too many.
pub fn cluster_secrets(secrets: &[Secret]) -> anyhow::Result<Secrets> {
    let parsed: Result<Vec<_>, _> = secrets.iter().map(|secret| ClusterSecret::parse(secret.bytes())).collect();
    Ok(Secrets::new(parsed?)?)
}

/// Whether the secret files that the configuration in `config_path` names can be used.
///
/// # Errors
/// One cannot.
pub fn check_secrets(cluster: &Cluster, config_path: &Path) -> anyhow::Result<()> {
    for path in secret_files(config_path, cluster) {
        let secret = load_secret(&path)?;
        ClusterSecret::parse(secret.bytes()).with_context(|| format!("the secret file {}", path.display()))?;
    }
    Ok(())
}

/// Times in microseconds from the moment that the move was asked for.
fn describe_move((number, event): &(u64, MoveEvent)) -> (u64, Value) {
    let MoveEvent { c, base, e2, to, reason, result, asked: _, granted, frozen, handed_off, installed, routed, image } =
        event;
    let micros = |phase: &Option<Duration>| phase.map(|phase| u64::try_from(phase.as_micros()).unwrap_or(u64::MAX));
    let refused = match result {
        MoveResult::Refused(reason) => Some(reason.label()),
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
