//! What a back-end is and does now, as JSON, for `/v1/status`.

use crate::stats::{LeaseSnapshot, Snapshot};
use serde_json::{Value, json};

/// Connections by state, handoffs, and the front-ends' leases.
pub(super) fn describe(snapshot: &Snapshot) -> Value {
    let Snapshot { stats, drops, connections, leaving, held, store: (sources, bytes), leases, .. } = snapshot;
    // A generation has 64 bits, more than a JSON number keeps everywhere.
    let lease = |lease: &LeaseSnapshot| {
        let LeaseSnapshot { name, is_held, is_draining, generation } = lease;
        json!({"name": name, "lease_held": is_held, "draining": is_draining, "generation": format!("{generation:016x}")})
    };
    json!({
        "kind": "back-end",
        "connections": {"owned": connections, "leaving": leaving},
        "requests": stats.requests,
        "response_bytes": stats.response_bytes,
        "handoffs": {
            "started": stats.handoffs_started,
            "done": stats.handoffs_done,
            "refused": stats.handoffs_refused.iter().sum::<u64>(),
            "lost": stats.lost,
        },
        "images": {"installed": stats.installed, "refused": stats.refused},
        "holding_packets": held,
        "store": {"sources": sources, "bytes": bytes},
        "drops": drops.total(),
        "frontends": leases.iter().map(lease).collect::<Vec<_>>(),
    })
}
