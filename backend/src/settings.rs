//! What a back-end node is built from: checked values, no files, no devices.

use std::net::IpAddr;

use baton_config::{Cluster, Limits};
use baton_http1::Limits as HeadLimits;
use baton_stack::addr::MacAddr;
use baton_stack::neighbor::Interface;
use baton_stack::tcp::TcpConfig;
use baton_stack::time::Duration;
use handoff_proto::hold::HoldLimits;
use handoff_proto::lease::LeaseSettings;
use handoff_proto::names::Boot;
use handoff_proto::seal::Secrets;
use handoff_proto::tail::TailLimits;

use crate::ahead::AheadLimits;
use crate::config::{BackendConfig, Frontend};
use crate::serving::RequestLimits;

/// Everything about a back-end but what it serves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Its life; grows with each start.
    pub boot: Boot,
    /// Where its randomness begins; secret and new with each start.
    pub seed: [u8; 32],
    /// What all nodes of the cluster share.
    pub secrets: Secrets,
    /// Its ports, in the order of their ids.
    pub interfaces: Vec<Interface>,
    /// The UDP port on which nodes talk.
    pub udp_port: u16,
    /// The front-ends, by name and address.
    pub front_ends: Vec<(String, IpAddr)>,
    /// Leases.
    pub lease: LeaseSettings,
    /// TCP towards clients.
    pub tcp: TcpConfig,
    /// What a request may be.
    pub request: RequestLimits,
    /// Connections.
    pub connections_max: usize,
    /// Bytes that receive windows may grow by, of all connections together.
    pub window_bytes_max: u64,
    /// Packets that wait for their connection.
    pub hold: HoldLimits,
    /// What is remembered of connections that moved or closed.
    pub records_max: usize,
    /// What is kept of connections that went elsewhere.
    pub tails: TailLimits,
    /// Whether it prepares responses for connections that may come.
    pub prefetch: bool,
    /// How much is prepared.
    pub ahead: AheadLimits,
    /// The longest image, in bytes.
    pub image_bytes_max: usize,
    /// How long an orderly stop may take before connections are reset.
    pub stop_grace: Duration,
    /// Whether responses name this node and the epoch.
    pub identify: bool,
    /// Whether a connection moves on only when the client has acknowledged all: for comparison.
    pub drain_before_moves: bool,
    /// The time in seconds since 1970 at the origin of the node's clock.
    pub unix_at_origin_s: u64,
}

/// What a node is given when it starts, and its configuration does not say.
#[derive(Clone, Debug)]
pub struct Life<'a> {
    /// Which life it is; grows with each start.
    pub boot: Boot,
    /// Where its randomness begins; secret and new with each start.
    pub seed: [u8; 32],
    /// What all nodes of the cluster share.
    pub secrets: Secrets,
    /// The Ethernet address of each port, in the order of `[[port]]`.
    pub macs: &'a [MacAddr],
    /// The time in seconds since 1970 at the origin of the node's clock.
    pub unix_at_origin_s: u64,
}

impl Settings {
    /// The settings of a node with this configuration: the program and the simulator both build theirs here.
    #[must_use]
    pub fn new(config: &BackendConfig, life: Life<'_>) -> Self {
        let Life { boot, seed, secrets, macs, unix_at_origin_s } = life;
        let common = &config.common;
        let named = |frontend: &Frontend| (frontend.name.to_string(), frontend.address);
        Self {
            name: common.node.name.to_string(),
            boot,
            seed,
            secrets,
            interfaces: common.interfaces(macs),
            udp_port: common.cluster.udp_port,
            front_ends: config.frontends.iter().map(named).collect(),
            lease: lease(&common.cluster),
            tcp: common.tcp_config(),
            request: RequestLimits { head: head(&common.limits), body_bytes_max: common.limits.body_bytes },
            connections_max: count(common.limits.connections),
            window_bytes_max: common.limits.window_bytes,
            hold: hold(&common.limits),
            records_max: count(common.limits.records),
            tails: TailLimits { bytes: common.limits.tail_bytes, ..TailLimits::default() },
            prefetch: common.cluster.prefetch,
            ahead: AheadLimits::default(),
            image_bytes_max: count(common.limits.image_bytes),
            stop_grace: common.node.stop_grace,
            identify: config.serve.identify,
            drain_before_moves: config.serve.drain_before_moves,
            unix_at_origin_s,
        }
    }
}

fn lease(cluster: &Cluster) -> LeaseSettings {
    LeaseSettings { lease: cluster.lease, heartbeat: cluster.heartbeat, margin: cluster.lease_margin }
}

fn head(limits: &Limits) -> HeadLimits {
    let default = HeadLimits::default();
    HeadLimits { head_bytes_max: count(limits.head_bytes), headers_max: limits.headers.into(), ..default }
}

fn hold(limits: &Limits) -> HoldLimits {
    HoldLimits {
        packets_per_flow: count(limits.hold_packets_per_connection),
        packets: count(limits.hold_packets),
        time: limits.hold,
    }
}

/// A limit as a length; the configuration's forms keep it far below what any machine can address.
fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use baton_stack::node::PortId;
    use baton_stack::tcp::Algorithm;
    use baton_stack::wire::IpSettings;

    use super::*;
    use crate::BackEnd;
    use crate::serve::Composed;
    use baton_stack::node::Node;
    use baton_stack::time::Instant;
    use handoff_proto::seal::ClusterSecret;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn settings(text: &str) -> Settings {
        let config = crate::config::parse("backend.toml", text).unwrap();
        let secret = ClusterSecret::parse(&[b'k'; 32]).unwrap();
        Settings::new(
            &config,
            Life { boot: Boot(5), seed: [7; 32], secrets: secret.into(), macs: &[MAC], unix_at_origin_s: 1_000 },
        )
    }

    #[test]
    fn the_example_becomes_a_node() {
        let example = settings(include_str!("../../docs/examples/backend.toml"));
        assert_eq!((example.name.as_str(), example.boot, example.unix_at_origin_s), ("be1", Boot(5), 1_000));
        let [ref interface] = example.interfaces[..] else { panic!("{:?}", example.interfaces) };
        assert_eq!((interface.port, interface.mac, interface.prefix_len), (PortId(0), MAC, 24));
        assert_eq!((interface.addr, interface.mtu), ([10, 77, 0, 21].into(), 1_500));
        assert_eq!(interface.gateway, Some([10, 77, 0, 1].into()));
        assert_eq!(example.front_ends, [("fe1".to_owned(), [10, 77, 0, 10].into())]);
        assert!(example.identify);
        let node = BackEnd::new(example, Composed::new().with_probe());
        assert!(node.may_transmit(Instant::ZERO) && !node.is_stopped());
    }

    #[test]
    fn what_is_not_configured_is_as_the_stack_has_it() {
        let settings = settings(include_str!("../../docs/examples/backend.toml"));
        assert_eq!(settings.tcp, TcpConfig::default());
        assert_eq!(settings.lease, LeaseSettings::default());
        assert_eq!(settings.request.head, HeadLimits::default());
    }

    #[test]
    fn every_number_of_the_configuration_arrives() {
        let text = include_str!("../../docs/examples/backend.toml").replace(
            "[admin]",
            "[tcp]\ncongestion = \"newreno\"\nkeepalive_ms = 9000\nuser_timeout_ms = 7000\nfin_wait_2_ms = 0\nrecv_buffer_bytes = 8192\n\
             path_mtu_age_ms = 400000\nhop_limit = 99\ndscp = 46\nnagle = true\necn = false\n[limits]\nhead_bytes = 2048\n\
             headers = 50\nbody_bytes = 51\nconnections = 52\nhold_packets_per_connection = 5\n\
             hold_packets = 54\nhold_ms = 55\nrecords = 1025\nimage_bytes = 5242879\ntail_bytes = 1026\n[admin]",
        );
        let settings = settings(&text);
        let ms = Duration::from_millis;
        assert_eq!((settings.tcp.congestion, settings.tcp.keepalive), (Algorithm::NewReno, Some(ms(9_000))));
        assert_eq!((settings.tcp.user_timeout, settings.tcp.fin_wait_2), (Some(ms(7_000)), None));
        assert_eq!((settings.tcp.recv_buffer_bytes, settings.tcp.path_mtu_age), (8_192, ms(400_000)));
        assert_eq!(settings.tcp.ip, IpSettings { hop_limit: 99, dscp: 46 });
        assert_eq!((settings.tcp.nagle, settings.tcp.ecn), (true, false));
        assert_eq!((settings.request.head.head_bytes_max, settings.request.head.headers_max), (2_048, 50));
        assert_eq!((settings.request.body_bytes_max, settings.connections_max), (51, 52));
        assert_eq!(settings.hold, HoldLimits { packets_per_flow: 5, packets: 54, time: ms(55) });
        assert_eq!((settings.records_max, settings.image_bytes_max), (1_025, 5_242_879));
        assert_eq!(settings.tails.bytes, 1_026);
    }

    #[test]
    fn a_port_with_two_addresses_is_two_interfaces() {
        let text = include_str!("../../docs/examples/backend.toml")
            .replace("\ngateway", "\nsecond_address = \"fd77::21/64\"\nsecond_gateway = \"fe80::1\"\ngateway");
        let settings = settings(&text);
        let [ref v4, ref v6] = settings.interfaces[..] else { panic!("{:?}", settings.interfaces) };
        assert_eq!((v4.port, v4.mac, v4.mtu), (v6.port, v6.mac, v6.mtu));
        assert_eq!((v4.addr, v4.prefix_len), ([10, 77, 0, 21].into(), 24));
        assert_eq!((v6.addr, v6.prefix_len), ("fd77::21".parse().unwrap(), 64));
        assert_eq!((v4.gateway, v6.gateway), (Some([10, 77, 0, 1].into()), Some("fe80::1".parse().unwrap())));
    }
}
