//! Rules that span several keys of the tables both node types have.

use crate::common::{Cluster, Common, Limits, Port, PortAddress, Tcp};
use crate::read::Checker;
use ipnet::IpNet;
use std::net::IpAddr;

/// What an image needs besides unread and unacknowledged bytes: headers, the connection itself, its HTTP cursor.
const IMAGE_OVERHEAD_BYTES: u32 = 16_384;

impl Common {
    /// Refuses wrong combinations of the common tables.
    pub fn check(&self, checker: &mut Checker<'_>) {
        if let Some(at) = self.eal.iter().position(|argument| argument == "--") {
            checker.refuse(&format!("eal[{at}]"), "\"--\" ends EAL's arguments and is not one of them");
        }
        self.cluster.check(checker);
        check_ports(&self.ports, checker);
        self.tcp.check(checker);
        self.limits.check(&self.tcp, checker);
        if !self.admin.listen.ip().is_loopback() {
            let sentence =
                format!("{} is not a loopback address; whoever reaches it controls the node", self.admin.listen);
            checker.refuse("admin.listen", sentence);
        }
    }

    /// The port with a network that contains `address`, and that network.
    fn port_to(&self, address: IpAddr) -> Option<(usize, IpNet)> {
        let networks =
            self.ports.iter().enumerate().flat_map(|(n, port)| port.addresses().map(move |own| (n, own.address)));
        networks.into_iter().find(|(_, network)| network.contains(&address))
    }

    /// The key under which `address` is one of this node's own.
    #[must_use]
    pub fn own_address_key(&self, address: IpAddr) -> Option<String> {
        let own = self.ports.iter().enumerate().flat_map(|(n, port)| port.addresses().map(move |own| (n, own)));
        own.into_iter()
            .find(|(_, own)| own.address.addr() == address)
            .map(|(n, own)| format!("port[{n}].{}", own.keys.0))
    }

    /// Refuses `address`, which stands at `path` and belongs to another node, unless it is a usable host address that no port of this
    /// node has and that lies in the network of one: nodes reach each other without a router.
    pub fn check_peer_address(&self, path: &str, address: IpAddr, checker: &mut Checker<'_>) {
        if let Some(problem) = host_address_problem(address) {
            checker.refuse(path, format!("{address} {problem}"));
        } else if let Some(key) = self.own_address_key(address) {
            checker.refuse(path, format!("{address} is this node's own address, {key}"));
        } else if let Some((_, network)) = self.port_to(address) {
            if let Some(problem) = network_edge_problem(network, address) {
                checker.refuse(path, format!("{address} {problem}"));
            }
        } else {
            checker.refuse(
                path,
                format!("{address} is in the network of no port (port[].address); nodes must share a network"),
            );
        }
    }

    /// Refuses `address`, a VIP at `path`, unless a port has an address of its family: neighbours are asked for from there.
    pub fn check_vip_family(&self, path: &str, address: IpAddr, checker: &mut Checker<'_>) {
        let mut own = self.ports.iter().flat_map(Port::addresses);
        if !own.any(|own| own.address.addr().is_ipv4() == address.is_ipv4()) {
            let family = family_of(address);
            checker.refuse(
                path,
                format!(
                    "{address} is an {family} address, and no port has one: port[].second_address gives a port an address of \
                     the other family"
                ),
            );
        }
    }
}

/// A family's name.
const fn family_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

impl Cluster {
    fn check(&self, checker: &mut Checker<'_>) {
        if self.heartbeat * 2 > self.lease {
            let sentence = format!(
                "cluster.heartbeat_ms ({}) must be at most half of cluster.lease_ms ({}), or one lost message ends the lease",
                self.heartbeat.as_millis(),
                self.lease.as_millis()
            );
            checker.refuse_pair("cluster.heartbeat_ms", "cluster.lease_ms", sentence);
        }
    }
}

fn check_ports(ports: &[Port], checker: &mut Checker<'_>) {
    for (n, port) in ports.iter().enumerate() {
        if let Some(m) = ports[..n].iter().position(|earlier| earlier.device == port.device) {
            let sentence = format!("device \"{}\" is already that of port[{m}]", port.device);
            checker.refuse(&format!("port[{n}].device"), sentence);
        }
        check_families(n, port, checker);
        for own in port.addresses() {
            check_address(n, &own, checker);
            for (m, earlier) in ports[..n].iter().enumerate() {
                for other in earlier.addresses() {
                    check_apart((n, &own), (m, &other), checker);
                }
            }
        }
    }
}

/// Refuses second addresses that are no second family.
fn check_families(n: usize, port: &Port, checker: &mut Checker<'_>) {
    let key = |name: &str| format!("port[{n}].{name}");
    if let Some(second) = port.second_address
        && second.addr().is_ipv4() == port.address.addr().is_ipv4()
    {
        let family = family_of(second.addr());
        let sentence = format!(
            "port[{n}].second_address ({second}) and port[{n}].address ({}) are both {family} addresses; a port has one of each \
             family at most",
            port.address
        );
        checker.refuse_pair(&key("second_address"), &key("address"), sentence);
    }
    if let Some(gateway) = port.second_gateway.filter(|_| port.second_address.is_none()) {
        let sentence = format!("port[{n}].second_gateway ({gateway}) needs a port[{n}].second_address of its family");
        checker.refuse_pair(&key("second_gateway"), &key("second_address"), sentence);
    }
}

/// Refuses what is no address of a host, and a gateway that is not next to it.
fn check_address(n: usize, own: &PortAddress, checker: &mut Checker<'_>) {
    let PortAddress { address, gateway, keys: (key, gateway_key) } = *own;
    let path = format!("port[{n}].{key}");
    let host = address.addr();
    if let Some(problem) = host_address_problem(host).or_else(|| network_edge_problem(address, host)) {
        checker.refuse(&path, format!("{address} {problem}"));
    }
    let Some(gateway) = gateway else { return };
    let gateway_path = format!("port[{n}].{gateway_key}");
    let is_link_local =
        matches!((gateway, host), (IpAddr::V6(gateway), IpAddr::V6(_)) if gateway.is_unicast_link_local());
    if is_link_local {
        // Routers say where they are by such addresses, which are in no configured network.
    } else if let Some(problem) = host_address_problem(gateway) {
        checker.refuse(&gateway_path, format!("{gateway} {problem}"));
    } else if gateway == host {
        checker.refuse(&gateway_path, format!("{gateway} is the node itself ({path})"));
    } else if !address.contains(&gateway) {
        checker.refuse(&gateway_path, format!("{gateway} is not in the network of {path}, {address}"));
    }
}

/// Refuses the address of a port that is in the network of another's.
fn check_apart((n, own): (usize, &PortAddress), (m, other): (usize, &PortAddress), checker: &mut Checker<'_>) {
    let (path, key, address) = (format!("port[{n}].{}", own.keys.0), other.keys.0, own.address);
    if other.address.addr() == address.addr() {
        checker.refuse(&path, format!("{} is already the address of port[{m}]", address.addr()));
    } else if other.address.contains(&address.network()) || address.contains(&other.address.network()) {
        checker.refuse(&path, format!("{address} overlaps with port[{m}].{key}, {}", other.address));
    }
}

impl Tcp {
    fn check(&self, checker: &mut Checker<'_>) {
        let ordered = [
            ("tcp.rto_min_ms", self.rto_min, "tcp.rto_initial_ms", self.rto_initial),
            ("tcp.rto_initial_ms", self.rto_initial, "tcp.rto_max_ms", self.rto_max),
            ("tcp.delayed_ack_ms", self.delayed_ack, "tcp.rto_initial_ms", self.rto_initial),
        ];
        for (low_key, low, high_key, high) in ordered {
            if low > high {
                let (low, high) = (low.as_millis(), high.as_millis());
                checker.refuse_pair(low_key, high_key, format!("{low_key} ({low}) is above {high_key} ({high})"));
            }
        }
    }
}

/// Refuses a low limit above a high one.
fn check_order((low_key, low): (&str, u32), (high_key, high): (&str, u32), checker: &mut Checker<'_>) {
    if low > high {
        checker.refuse_pair(low_key, high_key, format!("{low_key} ({low}) is above {high_key} ({high})"));
    }
}

impl Limits {
    /// The rules for who takes SYNs.
    pub fn check_half_open(&self, checker: &mut Checker<'_>) {
        let (half_open, connections) = (self.half_open, self.connections);
        check_order(("limits.half_open", half_open), ("limits.connections", connections), checker);
    }

    fn check(&self, tcp: &Tcp, checker: &mut Checker<'_>) {
        let ordered = [
            (
                "limits.hold_packets_per_connection",
                self.hold_packets_per_connection,
                "limits.hold_packets",
                self.hold_packets,
            ),
            ("limits.head_bytes", self.head_bytes, "tcp.recv_buffer_bytes", tcp.recv_buffer_bytes),
            ("tcp.recv_buffer_bytes", tcp.recv_buffer_bytes, "tcp.recv_buffer_max_bytes", tcp.recv_buffer_max_bytes),
        ];
        for (low_key, low, high_key, high) in ordered {
            check_order((low_key, low), (high_key, high), checker);
        }
        let (unread, in_flight) = (tcp.recv_buffer_max_bytes, tcp.in_flight_bytes_max);
        let need = unread + in_flight + IMAGE_OVERHEAD_BYTES;
        if self.image_bytes < need {
            let sentence = format!(
                "limits.image_bytes ({}) is too small for an image with tcp.recv_buffer_max_bytes ({unread}) and \
                 tcp.in_flight_bytes_max ({in_flight}): it needs {need}",
                self.image_bytes
            );
            let keys = ["limits.image_bytes", "tcp.in_flight_bytes_max", "tcp.recv_buffer_max_bytes"];
            let written = keys.into_iter().find(|key| checker.contains(key)).unwrap_or(keys[0]);
            checker.refuse(written, sentence);
        }
    }
}

/// Why `address` cannot be the address of one host here, as the end of a sentence; `None` if it can.
#[must_use]
pub fn host_address_problem(address: IpAddr) -> Option<&'static str> {
    let (is_unspecified, is_loopback) = (address.is_unspecified(), address.is_loopback());
    match address {
        _ if is_unspecified => Some("is the unspecified address"),
        _ if is_loopback => Some("is a loopback address"),
        _ if address.is_multicast() => Some("is a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            Some("is a link-local address, which means another host on each link")
        }
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("is an IPv4 address in IPv6 clothes; write it as IPv4"),
        IpAddr::V6(_) => None,
    }
}

/// Why no host in `network` may have `address`: it is the network's first, which in IPv6 means any router (RFC 4291 section
/// 2.6.1), or in IPv4 its last. A network of one or two addresses has none such.
fn network_edge_problem(network: IpNet, address: IpAddr) -> Option<&'static str> {
    if network.max_prefix_len() - network.prefix_len() < 2 {
        None
    } else if address == network.network() {
        Some(match address {
            IpAddr::V4(_) => "is the address of the network itself, not of a host in it",
            IpAddr::V6(_) => "is the anycast address of its network's routers, not of a host in it",
        })
    } else if address.is_ipv4() && address == network.broadcast() {
        Some("is the broadcast address of its network")
    } else {
        None
    }
}
