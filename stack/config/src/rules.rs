//! Rules that span several keys of the tables both node types have.

use crate::common::{Cluster, Common, Limits, Port, Tcp};
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

    /// The port whose network contains `address`.
    #[must_use]
    pub fn port_to(&self, address: IpAddr) -> Option<usize> {
        self.ports.iter().position(|port| port.address.contains(&address))
    }

    /// Refuses `address`, which stands at `path` and belongs to another node, unless it is a usable host address that no port of this
    /// node has and that lies in the network of one: nodes reach each other without a router.
    pub fn check_peer_address(&self, path: &str, address: IpAddr, checker: &mut Checker<'_>) {
        if let Some(problem) = host_address_problem(address) {
            checker.refuse(path, format!("{address} {problem}"));
        } else if let Some(at) = self.ports.iter().position(|port| port.address.addr() == address) {
            checker.refuse(path, format!("{address} is this node's own address, port[{at}].address"));
        } else if let Some(at) = self.port_to(address) {
            if let Some(problem) = network_edge_problem(self.ports[at].address, address) {
                checker.refuse(path, format!("{address} {problem}"));
            }
        } else {
            checker.refuse(
                path,
                format!("{address} is in the network of no port (port[].address); nodes must share a network"),
            );
        }
    }
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
        let path = format!("port[{n}].address");
        let address = port.address.addr();
        if let Some(problem) = host_address_problem(address).or_else(|| network_edge_problem(port.address, address)) {
            checker.refuse(&path, format!("{} {problem}", port.address));
        }
        if let Some(gateway) = port.gateway {
            check_gateway(n, port, gateway, checker);
        }
        for (m, earlier) in ports[..n].iter().enumerate() {
            if earlier.device == port.device {
                let sentence = format!("device \"{}\" is already that of port[{m}]", port.device);
                checker.refuse(&format!("port[{n}].device"), sentence);
            }
            if earlier.address.addr() == address {
                checker.refuse(&path, format!("{address} is already the address of port[{m}]"));
            } else if earlier.address.contains(&port.address.network())
                || port.address.contains(&earlier.address.network())
            {
                checker.refuse(&path, format!("{} overlaps with port[{m}].address, {}", port.address, earlier.address));
            }
        }
    }
}

fn check_gateway(n: usize, port: &Port, gateway: IpAddr, checker: &mut Checker<'_>) {
    let path = format!("port[{n}].gateway");
    if let Some(problem) = host_address_problem(gateway) {
        checker.refuse(&path, format!("{gateway} {problem}"));
    } else if gateway == port.address.addr() {
        checker.refuse(&path, format!("{gateway} is the node itself (port[{n}].address)"));
    } else if !port.address.contains(&gateway) {
        checker.refuse(&path, format!("{gateway} is not in the network of port[{n}].address, {}", port.address));
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

impl Limits {
    fn check(&self, tcp: &Tcp, checker: &mut Checker<'_>) {
        let ordered = [
            ("limits.half_open", self.half_open, "limits.connections", self.connections),
            (
                "limits.hold_packets_per_connection",
                self.hold_packets_per_connection,
                "limits.hold_packets",
                self.hold_packets,
            ),
            ("limits.head_bytes", self.head_bytes, "tcp.recv_buffer_bytes", tcp.recv_buffer_bytes),
        ];
        for (low_key, low, high_key, high) in ordered {
            if low > high {
                checker.refuse_pair(low_key, high_key, format!("{low_key} ({low}) is above {high_key} ({high})"));
            }
        }
        let (unread, in_flight) = (tcp.recv_buffer_bytes, tcp.in_flight_bytes_max);
        let need = unread + in_flight + IMAGE_OVERHEAD_BYTES;
        if self.image_bytes < need {
            let sentence = format!(
                "limits.image_bytes ({}) is too small for an image with tcp.recv_buffer_bytes ({unread}) and \
                 tcp.in_flight_bytes_max ({in_flight}): it needs {need}",
                self.image_bytes
            );
            let keys = ["limits.image_bytes", "tcp.in_flight_bytes_max", "tcp.recv_buffer_bytes"];
            let written = keys.into_iter().find(|key| checker.contains(key)).unwrap_or(keys[0]);
            checker.refuse(written, sentence);
        }
    }
}

/// Why `address` cannot be the address of one host here, as the end of a sentence; `None` if it can.
#[must_use]
pub fn host_address_problem(address: IpAddr) -> Option<&'static str> {
    let IpAddr::V4(v4) = address else { return Some("is an IPv6 address; only IPv4 is served yet") };
    if v4.is_unspecified() {
        Some("is the unspecified address")
    } else if v4.is_loopback() {
        Some("is a loopback address")
    } else if v4.is_multicast() {
        Some("is a multicast address")
    } else if v4.is_broadcast() {
        Some("is the broadcast address")
    } else {
        None
    }
}

/// Why no host in `network` may have `address`: it is the network's first or last. A /31 or /32 has none such.
fn network_edge_problem(network: IpNet, address: IpAddr) -> Option<&'static str> {
    if network.max_prefix_len() - network.prefix_len() < 2 {
        None
    } else if address == network.network() {
        Some("is the address of the network itself, not of a host in it")
    } else if address == network.broadcast() {
        Some("is the broadcast address of its network")
    } else {
        None
    }
}
