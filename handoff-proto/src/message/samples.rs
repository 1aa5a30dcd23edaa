//! One message of each kind, for tests of whatever reads or shows messages, here and in other crates (feature `samples`). That they are all
//! there is, a test of this module checks.

use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr, MacAddr};

use super::*;
use crate::codec::List;
use crate::header::HEADER_BYTES;
use crate::names::{Boot, Epoch, Generation, NAME_BYTES_MAX, NodeId};
use crate::seal::TAG_BYTES;
use crate::session::DATAGRAM_BYTES_MIN;

pub(super) const C: ConnId = ConnId(0x0102_0304_0506_0708);
pub(super) const E: Epoch = Epoch(0x1112_1314);
pub(super) const E2: Epoch = Epoch(0x2122_2324);
pub(super) const G: Generation = Generation(0x3132_3334_3536_3738);
pub(super) const TO: NodeId = NodeId(0x4142);

/// The bytes of `values`, for a [`List`].
pub(super) fn encoded<'a, T: Wire<'a>>(values: &[T]) -> Vec<u8> {
    let mut bytes = vec![];
    values.iter().for_each(|value| value.put(&mut bytes));
    bytes
}

pub(super) fn peer(name: &str) -> PeerEntry<'_> {
    let addr = IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    PeerEntry { id: TO, g: G, core: 1, addr, mac: MacAddr([2; 6]), name: NodeName::new(name).expect("a name") }
}

fn flow() -> Flow {
    let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let vip = Endpoint { addr: IpAddr::from([10, 77, 0, 100]), port: 80 };
    Flow { client: Endpoint { addr: IpAddr::from(v6), port: 40_000 }, vip }
}

/// One of each kind, as large as it may be where it has parts of variable length.
pub fn with_samples(check: impl FnOnce(&[Message<'_>])) {
    let long_name = "n".repeat(NAME_BYTES_MAX);
    let peers = encoded(&[peer(&long_name); LEASE_PEERS_MAX]);
    let host = vec![b'h'; KEY_BYTES_MAX];
    let key = RequestKey::new(b"POST", &host, b"/cut");
    let part = vec![7; usize::from(DATAGRAM_BYTES_MIN) - HEADER_BYTES - TAG_BYTES - HANDOFF_OVERHEAD];
    let (boot, number, n, strip) = (Boot(5), 6, 7, 8);
    let load = LoadReport { connections: 1, requests: 2, bytes: 3, busy_permille: 4 };
    let served = Served { requests: 1, bytes: 2 };
    let timestamps = Some(ClosedTimestamps { ts_val: 3, ts_recent: 4 });
    check(&[
        Join { number, boot, g: G }.into(),
        LeaseReq { number, boot, g: G, peers_version: 1, route_version: 2, load }.into(),
        Lease {
            number,
            boot,
            g: G,
            you: TO,
            lease_ms: 1_500,
            drain: DrainState::Draining,
            route_version: 2,
            peers_version: 1,
            peers_total: 1_000,
            peers_first: 988,
            peers: List::from_encoded(u16::try_from(LEASE_PEERS_MAX).unwrap(), &peers).unwrap(),
        }
        .into(),
        Ask { c: C, e: E, tried: E2, n, key }.into(),
        Stay { c: C, e: E, n, strip }.into(),
        Grant { c: C, base: E, e2: E2, to: TO, g: G, n, strip: Some(strip) }.into(),
        Forward { c: C, e: E, n, node: TO, strip }.into(),
        Reject { c: C, e: E, n, status: 503, retry_after_s: 1, strip: 0 }.into(),
        Prefetch { c: C, e2: E2, g: G, n, strip, key: RequestKey { may_prepare: true, ..key } }.into(),
        MoveAsk { c: C, e: E, tried: E2, n, to: TO }.into(),
        MoveReject { c: C, e: E, n, to: TO }.into(),
        MoveWish { c: C, e: E, to: TO }.into(),
        Handoff { c: C, base: E, e2: E2, g: G, total: 9_000, part_bytes: 900, part: 3, bytes: &part }.into(),
        PartAck { c: C, e2: E2, g: G, missing: 3, beyond: 1 << 127 | 1 }.into(),
        Installed { c: C, e2: E2, g: G }.into(),
        Routed { c: C, e2: E2 }.into(),
        Done { c: C, e2: E2 }.into(),
        Refused { c: C, e2: E2, g: G, reason: RefuseReason::Overload }.into(),
        Abort { c: C, base: E, e2: E2, to: TO, g: G }.into(),
        Thaw { c: C, e2: E2 }.into(),
        AttemptGone { c: C, e2: E2 }.into(),
        Revoke { c: C, e2: E2, g: G, flow: flow() }.into(),
        Revoked { c: C, e2: E2, g: G }.into(),
        Settle { c: C, base: E, e2: E2, to: TO, g: G }.into(),
        Settled { c: C, e2: E2, claim: SettleClaim::Lost }.into(),
        Fetch { c: C, e: E, start: 1, len: 2 }.into(),
        Tail { c: C, e: E, start: 1, bytes: b"tail" }.into(),
        TailGone { c: C, e: E, start: 1, len: 2 }.into(),
        Release { c: C, e: Epoch(4), up_to: 1 }.into(),
        Released { c: C, e: Epoch(4), up_to: 1 }.into(),
        TailKept { c: C }.into(),
        Closed { c: C, e: E, snd_nxt: 1, rcv_nxt: 2, timestamps, ended: Ended::Active, served }.into(),
        ClosedAck { c: C }.into(),
        Over { c: C }.into(),
    ]);
}
