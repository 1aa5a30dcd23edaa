//! A back-end of the example's configuration for tests inside this crate, and the leases that it is given.

use baton_stack::addr::MacAddr;
use baton_stack::node::{Node, PortId, Transmit};
use baton_stack::time::Instant;
use handoff_proto::codec::List;
use handoff_proto::message::{DrainState, Lease};
use handoff_proto::names::{Boot, Generation, NodeId};
use handoff_proto::seal::ClusterSecret;

use crate::node::BackEnd;
use crate::serve::Probe;
use crate::settings::{Life, Settings};

pub(crate) const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub(crate) const G: Generation = Generation(7);
const BOOT: Boot = Boot(5);

/// Keeps what is written.
#[derive(Default)]
pub(crate) struct Written(pub(crate) Vec<Vec<u8>>);

impl Transmit for Written {
    fn transmit(&mut self, _: PortId, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut frame = vec![0; len_max];
        let len = write(&mut frame);
        frame.truncate(len);
        self.0.extend((len > 0).then_some(frame));
        true
    }
}

pub(crate) fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

/// A back-end that has said JOIN and heard nothing, for what `change` makes of its settings.
pub(crate) fn joining(change: impl FnOnce(&mut Settings)) -> BackEnd<Probe> {
    let config = crate::config::parse("b.toml", include_str!("../../docs/examples/backend.toml")).unwrap();
    let secret = ClusterSecret::parse(&[b'k'; 32]).unwrap();
    let life = Life { boot: BOOT, seed: [7; 32], secrets: secret.into(), macs: &[MAC], unix_at_origin_s: 0 };
    let mut settings = Settings::new(&config, life);
    change(&mut settings);
    let mut node = BackEnd::new(settings, Probe);
    node.poll(at(0), &mut Written::default());
    node
}

/// The answer to JOIN or LEASE-REQ of this number.
pub(crate) fn lease(number: u32, g: Generation, lease_ms: u32) -> Lease<'static> {
    Lease {
        number,
        boot: BOOT,
        g,
        you: NodeId(1),
        lease_ms,
        drain: DrainState::Serving,
        route_version: 0,
        peers_version: 1,
        peers_total: 0,
        peers_first: 0,
        peers: List::EMPTY,
    }
}
