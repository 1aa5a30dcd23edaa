//! What a front-end is and does now, as JSON, for `/v1/status`.

use crate::stats::{NodeSnapshot, Snapshot};
use serde_json::{Map, Value, json};

/// Connections by state, handoffs, and the back-ends.
pub(super) fn describe(snapshot: &Snapshot) -> Value {
    let Snapshot { stats, drops, nodes, .. } = snapshot;
    let connections: Map<_, _> =
        snapshot.places().map(|(place, number)| (place.to_owned(), number.into())).into_iter().collect();
    let node = |node: &NodeSnapshot| {
        let NodeSnapshot { name, is_up, is_draining, connections, busy_permille, requests, bytes } = node;
        json!({
            "name": name,
            "up": is_up,
            "draining": is_draining,
            "connections": connections,
            "busy_permille": busy_permille,
            "requests": requests,
            "response_bytes": bytes,
        })
    };
    json!({
        "kind": "front-end",
        "connections": connections,
        "accepted": stats.accepted,
        "handoffs": {
            "started": stats.handoffs_started,
            "done": stats.handoffs_done,
            "refused": stats.handoffs_refused.iter().sum::<u64>(),
        },
        "owner_changes": stats.moves,
        "resets": stats.resets.iter().sum::<u64>() + stats.stopped,
        "drops": drops.total(),
        "backends": nodes.iter().map(node).collect::<Vec<_>>(),
    })
}
