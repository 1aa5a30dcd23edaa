//! The tables that both node types have.

use crate::form::{int, list, ms, text};
use crate::table;
use crate::values::{Name, choice};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The most secrets that a node reads besides the one that it writes under.
pub const OTHER_SECRETS_MAX: usize = 3;
/// The most ports that a node may have.
pub const PORTS_MAX: usize = 16;

table! {
    /// What a configuration of either node type has.
    pub struct Common {
        /// Arguments for DPDK's EAL, in front of those given on the command line.
        "eal" => eal: Vec<String> = Vec::new(), list(0, 64, "arguments");
        /// Who this node is.
        "node" => node: Node, text("a table");
        /// How the nodes of the cluster talk to each other.
        "cluster" => cluster: Cluster, text("a table");
        /// The DPDK ports, in the order of their port numbers.
        "port" => ports: Vec<Port>, list(1, PORTS_MAX, "tables");
        /// How TCP behaves.
        "tcp" => tcp: Tcp, text("a table");
        /// How much of anything a node may hold.
        "limits" => limits: Limits, text("a table");
        /// Where people and tools ask the node.
        "admin" => admin: Admin, text("a table");
        /// What the node writes to standard error.
        "log" => log: Log, text("a table");
    }
}

table! {
    /// `[node]`: who this node is, and how its poll loop runs.
    pub struct Node {
        /// The node's name, unique in the cluster.
        "name" => name: Name, text("a name");
        /// The front-end's id in every connection id, unique among front-ends. Only front-ends have one; 0 stands for none.
        "id" => id: u8 = 0, int(0, 255, "");
        /// The CPU to pin the poll loop to; without it the loop floats.
        "core" => core: Option<usize>, int(0, 1023, "");
        /// What the poll loop does when nothing arrives: poll on, or pause and sleep a little.
        "idle" => idle: Idle = Idle::Adaptive, text("\"spin\" or \"adaptive\"");
        /// How long connections may go on after the first stop signal before they are reset.
        "stop_grace_ms" => stop_grace: Duration = Duration::from_millis(2_000), ms(0, 600_000);
    }
}

choice! {
    /// What the poll loop does when nothing arrives.
    Idle {
        /// Polls on: lowest latency, a whole CPU.
        Spin = "spin",
        /// Polls for a moment, letting others run, then waits for frames where the device tells of them (af_packet); else it sleeps until the next
        /// deadline or for some tens of microseconds.
        Adaptive = "adaptive",
    }
}

table! {
    /// `[cluster]`: how the nodes of one cluster talk to each other, and how long silence may last.
    pub struct Cluster {
        /// The file with the cluster's secret, relative to the configuration file; at least 32 bytes, readable by its owner alone.
        "secret_file" => secret_file: PathBuf, text("a path");
        /// More files with secrets: what was written under one of these is read, too. For changing the cluster's secret while it runs.
        "other_secret_files" => other_secret_files: Vec<PathBuf> = Vec::new(), list(0, OTHER_SECRETS_MAX, "paths");
        /// The UDP port of messages between nodes, the same on all of them.
        "udp_port" => udp_port: u16 = 9910, int(1, 65_535, "");
        /// How long a node may speak after the front-end's last answer.
        "lease_ms" => lease: Duration = Duration::from_millis(1_500), ms(100, 60_000);
        /// How often a node renews its lease.
        "heartbeat_ms" => heartbeat: Duration = Duration::from_millis(300), ms(10, 20_000);
        /// How much longer than the lease the front-end waits before it takes a node for dead; covers clocks that run at different speeds.
        "lease_margin_ms" => lease_margin: Duration = Duration::from_millis(300), ms(1, 60_000);
        /// Whether a front-end tells back-ends which requests are about to come to them, and whether a back-end then opens and reads ahead.
        "prefetch" => prefetch: bool = true, text("true or false");
    }
}

table! {
    /// `[[port]]`: one DPDK port and the addresses this node has on it.
    pub struct Port {
        /// The DPDK name of the device, such as `net_af_packet0` or `0000:01:00.0`.
        "device" => device: String, text("a DPDK device name");
        /// The node's own address with the prefix length of its network.
        "address" => address: IpNet, text("an IP address with its prefix length");
        /// Where packets for other networks go. For IPv6 it may be a link-local address.
        "gateway" => gateway: Option<IpAddr>, text("an IP address");
        /// An address of the other family, for VIPs of that family. Only a front-end that serves both needs one.
        "second_address" => second_address: Option<IpNet>, text("an IP address with its prefix length");
        /// Where packets of that family for other networks go.
        "second_gateway" => second_gateway: Option<IpAddr>, text("an IP address");
        /// The VLAN that every frame carries; 0 means untagged.
        "vlan" => vlan: u16 = 0, int(0, 4_094, "");
        /// The longest IP packet. Messages between nodes need 1,280 bytes, as IPv6 does.
        "mtu" => mtu: u16 = 1_500, int(1_280, 1_500, "bytes");
    }
}

/// One of the addresses of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortAddress {
    /// The address with its network.
    pub address: IpNet,
    /// Where packets of its family for other networks go.
    pub gateway: Option<IpAddr>,
    /// The names of the two keys.
    pub keys: (&'static str, &'static str),
}

impl Port {
    /// The port's addresses, at most one of each family.
    pub fn addresses(&self) -> impl Iterator<Item = PortAddress> {
        let first = PortAddress { address: self.address, gateway: self.gateway, keys: ("address", "gateway") };
        let keys = ("second_address", "second_gateway");
        let gateway = self.second_gateway;
        [first].into_iter().chain(self.second_address.map(|address| PortAddress { address, gateway, keys }))
    }

    /// Whether one of them is an IPv6 address.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.addresses().any(|own| own.address.addr().is_ipv6())
    }
}

table! {
    /// `[tcp]`: how TCP behaves towards clients.
    pub struct Tcp {
        /// Retransmission timeout before a round trip has been measured (RFC 6298 section 2.1).
        "rto_initial_ms" => rto_initial: Duration = Duration::from_millis(1_000), ms(10, 60_000);
        /// Least retransmission timeout (RFC 6298 section 2.4 says one second; like Linux we go lower).
        "rto_min_ms" => rto_min: Duration = Duration::from_millis(200), ms(10, 60_000);
        /// Greatest retransmission timeout (RFC 6298 section 2.5: at least 60 seconds).
        "rto_max_ms" => rto_max: Duration = Duration::from_millis(60_000), ms(1_000, 600_000);
        /// How long an acknowledgment may wait for company (RFC 9293 section 3.8.6.3: less than half a second); 0 sends each at once.
        "delayed_ack_ms" => delayed_ack: Duration = Duration::from_millis(40), ms(0, 499);
        /// How long a closed connection is remembered, so that late segments of it do no harm (TIME-WAIT).
        "time_wait_ms" => time_wait: Duration = Duration::from_millis(60_000), ms(100, 240_000);
        /// How often an unanswered SYN-ACK is repeated; seven times last for three minutes (RFC 9293 section 3.8.3).
        "syn_ack_retries" => syn_ack_retries: u8 = 7, int(0, 10, "");
        /// Whether SYNs are answered without memory (RFC 4987): when `limits.half_open` is reached, at all times, or never.
        "syn_cookies" => syn_cookies: SynCookies = SynCookies::Auto, text("\"auto\", \"always\" or \"never\"");
        /// How often unacknowledged data is repeated before the connection is given up (R2 of RFC 9293 section 3.8.3).
        "data_retries" => data_retries: u8 = 15, int(3, 30, "");
        /// Idle time after which the client is probed; 0 means never (RFC 9293 section 3.8.4: off by default).
        "keepalive_ms" => keepalive: Duration = Duration::ZERO, ms(0, 86_400_000);
        /// How long sent data may stay unanswered (RFC 9293 section 3.8.3); 0 means as long as `data_retries` allow.
        "user_timeout_ms" => user_timeout: Duration = Duration::ZERO, ms(0, 86_400_000);
        /// How long a client that has our FIN may say nothing and not close; 0 means for ever.
        "fin_wait_2_ms" => fin_wait_2: Duration = Duration::from_millis(60_000), ms(0, 86_400_000);
        /// How long a path on which a router found packets too big is sent none so long (RFC 1191 section 6.3, RFC 8201 section 4).
        "path_mtu_age_ms" => path_mtu_age: Duration = Duration::from_millis(600_000), ms(300_000, 86_400_000);
        /// Initial congestion window (RFC 6928: ten).
        "initial_window_segments" => initial_window_segments: u8 = 10, int(1, 64, "segments");
        /// The receive window that a connection begins with: request bytes that it holds unread.
        "recv_buffer_bytes" => recv_buffer_bytes: u32 = 65_536, int(4_096, 1_048_576, "bytes");
        /// The greatest receive window, where an upload over a long way needs more.
        "recv_buffer_max_bytes" => recv_buffer_max_bytes: u32 = 393_216, int(4_096, 1_048_576, "bytes");
        /// The most response bytes of a connection that are sent and not yet acknowledged.
        "in_flight_bytes_max" => in_flight_bytes_max: u32 = 4_194_304, int(16_384, 7_340_032, "bytes");
        /// The congestion control algorithm of new connections.
        "congestion" => congestion: Congestion = Congestion::Cubic, text("\"cubic\" or \"newreno\"");
        /// The hop limit, or time to live, of packets to clients.
        "hop_limit" => hop_limit: u8 = 64, int(1, 255, "");
        /// The Differentiated Services codepoint of packets to clients (RFC 2474); 0 is best effort.
        "dscp" => dscp: u8 = 0, int(0, 63, "");
        /// Whether a short segment waits while another short one is in flight (Nagle's algorithm); responses are queued whole, so it would gain nothing.
        "nagle" => nagle: bool = false, text("true or false");
        /// Whether ECN is agreed on with clients that offer it (RFC 3168): routers then mark what they would have dropped.
        "ecn" => ecn: bool = true, text("true or false");
    }
}

choice! {
    /// A congestion control algorithm.
    Congestion {
        /// CUBIC (RFC 9438).
        Cubic = "cubic",
        /// NewReno (RFC 5681, RFC 6582).
        NewReno = "newreno",
    }
}

choice! {
    /// When SYNs are answered with cookies.
    SynCookies {
        /// Above the limit of half-open connections.
        Auto = "auto",
        /// All of them.
        Always = "always",
        /// None: above the limit they are dropped.
        Never = "never",
    }
}

table! {
    /// `[limits]`: how much of anything a node may hold. Above a limit something is refused or dropped, and counted.
    pub struct Limits {
        /// Connections that a node holds or routes.
        "connections" => connections: u32 = 65_536, int(1, 16_777_216, "connections");
        /// Connections whose handshake is not finished; above it SYNs are answered with cookies, if `tcp.syn_cookies` allows.
        "half_open" => half_open: u32 = 4_096, int(1, 1_048_576, "connections");
        /// Packets held for one connection whose image is on its way here.
        "hold_packets_per_connection" => hold_packets_per_connection: u32 = 64, int(1, 4_096, "packets");
        /// Packets held in all.
        "hold_packets" => hold_packets: u32 = 4_096, int(1, 262_144, "packets");
        /// How long a packet is held.
        "hold_ms" => hold: Duration = Duration::from_millis(1_000), ms(10, 10_000);
        /// A request's head, from its first byte to the blank line; above it the answer is 431.
        "head_bytes" => head_bytes: u32 = 16_384, int(256, 65_536, "bytes");
        /// Header fields of a request; above it the answer is 431.
        "headers" => headers: u16 = 100, int(1, 1_000, "fields");
        /// A request's body; above it the answer is 413.
        "body_bytes" => body_bytes: u64 = 67_108_864, int(0, 1 << 40, "bytes");
        /// The image of a connection, in all its parts.
        "image_bytes" => image_bytes: u32 = 5_242_880, int(65_536, 8_388_608, "bytes");
        /// What a node remembers of connections that it moved or closed.
        "records" => records: u32 = 262_144, int(1_024, 67_108_864, "records");
        /// Bytes that receive windows grow by in all, above what each connection begins with; past it they stay as they are.
        "window_bytes" => window_bytes: u64 = 67_108_864, int(0, 1 << 40, "bytes");
        /// Bytes in flight of connections that a back-end has given away, kept until a client has them; zero: they travel.
        "tail_bytes" => tail_bytes: u64 = 268_435_456, int(0, 1 << 40, "bytes");
    }
}

table! {
    /// `[admin]`: where people and tools ask the node.
    pub struct Admin {
        /// Where `/metrics`, `/healthz` and `/v1/` are served; a loopback address, for there is no other protection.
        "listen" => listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 9901)), text("a loopback address with a port");
    }
}

table! {
    /// `[log]`: what the node writes to standard error. `BATON_LOG` in the environment overrides the level.
    pub struct Log {
        /// The least important events that are written.
        "level" => level: LogLevel = LogLevel::Info, text("\"error\", \"warn\", \"info\", \"debug\" or \"trace\"");
        /// Lines for people, or one JSON object per line.
        "format" => format: LogFormat = LogFormat::Human, text("\"human\" or \"json\"");
    }
}

choice! {
    /// How important an event is.
    LogLevel {
        /// Something does not work.
        Error = "error",
        /// Something is not as it should be.
        Warn = "warn",
        /// Starts, stops, peers that come and go.
        Info = "info",
        /// Details for the search of errors.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// How an event is written.
    LogFormat {
        /// A line for people.
        Human = "human",
        /// A JSON object on one line.
        Json = "json",
    }
}
