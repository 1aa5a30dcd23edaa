//! What a front-end node is built from: checked values, no files, no devices.

use std::net::IpAddr;

use baton_config::{Cluster, Limits, SynCookies};
use baton_http1::Limits as HeadLimits;
use baton_stack::addr::{Endpoint, MacAddr};
use baton_stack::neighbor::Interface;
use baton_stack::tcp::TcpConfig;
use baton_stack::time::Duration;
use handoff_proto::lease::LeaseSettings;
use handoff_proto::names::Boot;
use handoff_proto::seal::Secrets;

use crate::config::{Backend, FrontendConfig, Listener};
use crate::dispatch::{BackendIndex, Route};

/// Everything about a front-end.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Its id in connection ids.
    pub id: u8,
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
    /// What clients connect to.
    pub listeners: Vec<Endpoint>,
    /// The back-ends, by name and address.
    pub backends: Vec<(String, IpAddr)>,
    /// Which requests go where.
    pub routes: Vec<Route>,
    /// Leases.
    pub lease: LeaseSettings,
    /// Whether back-ends are told ahead of connections that may come to them.
    pub prefetch: bool,
    /// TCP towards clients.
    pub tcp: TcpConfig,
    /// What a request's head may be.
    pub head: HeadLimits,
    /// Connections.
    pub connections_max: usize,
    /// Bytes that receive windows may grow by, of all connections together.
    pub window_bytes_max: u64,
    /// Connections whose handshake is not finished.
    pub half_open_max: usize,
    /// When SYNs are answered with cookies.
    pub syn_cookies: SynCookies,
    /// How long an orderly stop may take before connections are reset.
    pub stop_grace: Duration,
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
}

impl Settings {
    /// The settings of a node with this configuration: the program and the simulator both build theirs here.
    #[must_use]
    pub fn new(config: &FrontendConfig, life: Life<'_>) -> Self {
        let Life { boot, seed, secrets, macs } = life;
        let common = &config.common;
        let endpoint = |listener: &Listener| Endpoint { addr: listener.address, port: listener.port };
        let named = |backend: &Backend| (backend.name.to_string(), backend.address);
        Self {
            name: common.node.name.to_string(),
            id: common.node.id,
            boot,
            seed,
            secrets,
            interfaces: common.interfaces(macs),
            udp_port: common.cluster.udp_port,
            listeners: config.listeners.iter().map(endpoint).collect(),
            backends: config.backends.iter().map(named).collect(),
            routes: routes(config),
            lease: lease(&common.cluster),
            prefetch: common.cluster.prefetch,
            tcp: common.tcp_config(),
            head: head(&common.limits),
            connections_max: count(common.limits.connections),
            window_bytes_max: common.limits.window_bytes,
            half_open_max: count(common.limits.half_open),
            syn_cookies: common.tcp.syn_cookies,
            stop_grace: common.node.stop_grace,
        }
    }
}

/// The routes with their back-ends as positions; a checked configuration names no back-end that it does not have.
fn routes(config: &FrontendConfig) -> Vec<Route> {
    let routes = config.routes.iter().map(|route| Route {
        host: route.host.clone(),
        path_prefix: route.path_prefix.clone(),
        strip_prefix: route.strip_prefix,
        backends: route.backends.iter().filter_map(|name| config.backend(name)).map(BackendIndex).collect(),
    });
    routes.collect()
}

fn lease(cluster: &Cluster) -> LeaseSettings {
    LeaseSettings { lease: cluster.lease, heartbeat: cluster.heartbeat, margin: cluster.lease_margin }
}

fn head(limits: &Limits) -> HeadLimits {
    let default = HeadLimits::default();
    HeadLimits { head_bytes_max: count(limits.head_bytes), headers_max: limits.headers.into(), ..default }
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
    use crate::FrontEnd;
    use crate::dispatch::{Decision, Dispatcher, RequestKey};
    use baton_stack::node::Node;
    use baton_stack::time::Instant;
    use handoff_proto::seal::ClusterSecret;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn settings(text: &str) -> Settings {
        let config = crate::config::parse("frontend.toml", text).unwrap();
        let secret = ClusterSecret::parse(&[b'k'; 32]).unwrap();
        Settings::new(&config, Life { boot: Boot(5), seed: [7; 32], secrets: secret.into(), macs: &[MAC] })
    }

    #[test]
    fn the_example_becomes_a_node() {
        let example = settings(include_str!("../../docs/examples/frontend.toml"));
        assert_eq!((example.name.as_str(), example.id, example.boot), ("fe1", 1, Boot(5)));
        let [ref interface] = example.interfaces[..] else { panic!("{:?}", example.interfaces) };
        assert_eq!((interface.port, interface.mac, interface.prefix_len), (PortId(0), MAC, 24));
        assert_eq!((interface.addr, interface.mtu), ([10, 77, 0, 10].into(), 1_500));
        assert_eq!(interface.gateway, Some([10, 77, 0, 1].into()));
        assert_eq!(example.listeners, [Endpoint { addr: [10, 77, 0, 100].into(), port: 80 }]);
        assert_eq!(example.backends[1], ("be2".to_owned(), [10, 77, 0, 22].into()));
        assert_eq!((example.connections_max, example.half_open_max), (65_536, 4_096));

        let names: Vec<_> = example.backends.iter().map(|(name, _)| name.clone()).collect();
        let dispatcher = Dispatcher::new(example.routes.clone(), &names);
        for (host, target, backend, strip) in [("h", "/be1/x", 0, 4), ("static.example.org", "/x", 1, 0)] {
            let key = RequestKey { host: host.as_bytes(), target: target.as_bytes() };
            let expected = Decision::Serve { backend: BackendIndex(backend), strip };
            assert_eq!(dispatcher.decide(key, |_| true), expected, "{host}{target}");
        }
        let node = FrontEnd::new(example);
        assert!(node.may_transmit(Instant::ZERO) && !node.is_stopped());
    }

    #[test]
    fn what_is_not_configured_is_as_the_stack_has_it() {
        let settings = settings(include_str!("../../docs/examples/frontend.toml"));
        assert_eq!(settings.tcp, TcpConfig::default());
        assert_eq!(settings.lease, LeaseSettings::default());
        assert_eq!(settings.head, HeadLimits::default());
        assert_eq!(settings.syn_cookies, SynCookies::Auto);
    }

    #[test]
    fn every_number_of_the_configuration_arrives() {
        let text = include_str!("../../docs/examples/frontend.toml")
            .replace("mtu = 1500", "mtu = 1400")
            .replace("vlan = 0 ", "vlan = 7 ")
            .replace("lease_ms = 1500", "lease_ms = 1600")
            .replace("heartbeat_ms = 300", "heartbeat_ms = 310")
            .replace("lease_margin_ms = 300", "lease_margin_ms = 320")
            .replace("stop_grace_ms = 2000", "stop_grace_ms = 2100")
            .replace("udp_port = 9910", "udp_port = 9911")
            .replace("congestion = \"cubic\"", "congestion = \"newreno\"\nkeepalive_ms = 9000\ndata_retries = 4\npath_mtu_age_ms = 400000\nuser_timeout_ms = 7000\nfin_wait_2_ms = 0\nhop_limit = 99\ndscp = 46\nnagle = true")
            .replace("ecn = true ", "ecn = false ")
            .replace("syn_cookies = \"auto\"", "syn_cookies = \"never\"")
            .replace("half_open = 4096", "half_open = 4095\nhead_bytes = 2048\nheaders = 50");
        let settings = settings(&text);
        assert_eq!((settings.interfaces[0].vlan, settings.tcp.mtu), (7, 1_400));
        let ms = Duration::from_millis;
        assert_eq!(settings.lease, LeaseSettings { lease: ms(1_600), heartbeat: ms(310), margin: ms(320) });
        assert_eq!((settings.stop_grace, settings.udp_port, settings.half_open_max), (ms(2_100), 9_911, 4_095));
        assert_eq!((settings.tcp.congestion, settings.tcp.keepalive), (Algorithm::NewReno, Some(ms(9_000))));
        assert_eq!((settings.tcp.data_retries, settings.syn_cookies), (4, SynCookies::Never));
        assert_eq!(settings.tcp.path_mtu_age, ms(400_000));
        assert_eq!(settings.tcp.ip, IpSettings { hop_limit: 99, dscp: 46 });
        assert_eq!((settings.tcp.nagle, settings.tcp.ecn), (true, false));
        assert_eq!((settings.tcp.user_timeout, settings.tcp.fin_wait_2), (Some(ms(7_000)), None));
        assert_eq!((settings.head.head_bytes_max, settings.head.headers_max), (2_048, 50));
    }

    #[test]
    fn a_port_with_two_addresses_is_two_interfaces() {
        let text = include_str!("../../docs/examples/frontend.toml")
            .replace("\ngateway", "\nsecond_address = \"fd77::10/64\"\nsecond_gateway = \"fe80::1\"\ngateway");
        let settings = settings(&text);
        let [ref v4, ref v6] = settings.interfaces[..] else { panic!("{:?}", settings.interfaces) };
        assert_eq!((v4.port, v4.mac, v4.mtu), (v6.port, v6.mac, v6.mtu));
        assert_eq!((v4.addr, v4.prefix_len), ([10, 77, 0, 10].into(), 24));
        assert_eq!((v6.addr, v6.prefix_len), ("fd77::10".parse().unwrap(), 64));
        assert_eq!((v4.gateway, v6.gateway), (Some([10, 77, 0, 1].into()), Some("fe80::1".parse().unwrap())));
    }
}
