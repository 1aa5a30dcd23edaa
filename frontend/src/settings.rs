//! What a front-end node is built from: checked values, no files, no devices.

use std::net::IpAddr;

use baton_http1::Limits as HeadLimits;
use baton_stack::addr::Endpoint;
use baton_stack::neighbor::Interface;
use baton_stack::tcp::TcpConfig;
use baton_stack::time::Duration;
use handoff_proto::lease::LeaseSettings;
use handoff_proto::names::Boot;
use handoff_proto::seal::ClusterSecret;

use crate::dispatch::Route;

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
    pub secret: ClusterSecret,
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
    /// TCP towards clients.
    pub tcp: TcpConfig,
    /// What a request's head may be.
    pub head: HeadLimits,
    /// Connections.
    pub connections_max: usize,
    /// Connections whose handshake is not finished.
    pub half_open_max: usize,
    /// How long an orderly stop may take before connections are reset.
    pub stop_grace: Duration,
}
