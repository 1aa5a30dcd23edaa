//! What a back-end node is built from: checked values, no files, no devices.

use std::net::IpAddr;

use baton_http1::Limits as HeadLimits;
use baton_stack::neighbor::Interface;
use baton_stack::tcp::TcpConfig;
use baton_stack::time::Duration;
use handoff_proto::hold::HoldLimits;
use handoff_proto::lease::LeaseSettings;
use handoff_proto::names::Boot;
use handoff_proto::seal::ClusterSecret;

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
    pub secret: ClusterSecret,
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
    /// What a request's head may be.
    pub head: HeadLimits,
    /// The longest body of a request, in bytes; above it the answer is 413.
    pub body_bytes_max: u64,
    /// Connections.
    pub connections_max: usize,
    /// Packets that wait for their connection.
    pub hold: HoldLimits,
    /// What is remembered of connections that moved or closed.
    pub records_max: usize,
    /// The longest image, in bytes.
    pub image_bytes_max: usize,
    /// How long an orderly stop may take before connections are reset.
    pub stop_grace: Duration,
    /// Whether responses name this node and the epoch.
    pub identify: bool,
    /// The time in seconds since 1970 at the origin of the node's clock.
    pub unix_at_origin_s: u64,
}
