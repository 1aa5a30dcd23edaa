//! How TCP behaves: what an operator may set.

use super::cc::Algorithm;
use crate::time::Duration;
use crate::wire::IpSettings;

/// Settings of a node's connections. They do not travel: a thawed connection takes those of its new node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpConfig {
    /// The longest IP packet that is sent or asked for, in bytes.
    pub mtu: u16,
    /// The receive window of a new connection, in bytes.
    pub recv_buffer_bytes: u32,
    /// The greatest receive window, in bytes: as far as it grows where more arrives.
    pub recv_buffer_max_bytes: u32,
    /// The most bytes that are sent and not acknowledged.
    pub in_flight_bytes_max: u32,
    /// Retransmission timeout before a measurement (RFC 6298 section 2.1).
    pub rto_initial: Duration,
    /// The least retransmission timeout. Half of it is the least that the timeout is above the round-trip time.
    pub rto_min: Duration,
    /// The greatest retransmission timeout (RFC 6298 section 2.5).
    pub rto_max: Duration,
    /// How long an acknowledgment may wait (RFC 9293 section 3.8.6.3).
    pub delayed_ack: Duration,
    /// How long an ended connection is remembered.
    pub time_wait: Duration,
    /// How long a path that took no longer packets is believed to take none (RFC 1191 section 6.3: ten minutes).
    pub path_mtu_age: Duration,
    /// How often a SYN is repeated, and the SYN-ACK where both have opened (RFC 9293 section 3.8.3, MUST-23: for three minutes).
    pub syn_retries: u8,
    /// How often a SYN-ACK is repeated.
    pub syn_ack_retries: u8,
    /// How often data is repeated before the connection is given up (RFC 9293 section 3.8.3).
    pub data_retries: u8,
    /// Idle time after which the client is probed; `None`: never (RFC 9293 section 3.8.4).
    pub keepalive: Option<Duration>,
    /// How long what was sent may stay without any answer before the connection is given up; `None`: as long as the
    /// retries last (RFC 9293 section 3.8.3, MUST-21; RFC 5482, of which nothing is said to the peer).
    pub user_timeout: Option<Duration>,
    /// How long a peer that has our FIN may say nothing and not finish; `None`: for ever.
    pub fin_wait_2: Option<Duration>,
    /// Time between probes of an idle client; `None`: an eighth of the idle time, but no less than the RTO.
    pub keepalive_interval: Option<Duration>,
    /// Probes of an idle client before it is given up.
    pub keepalive_probes: u8,
    /// Initial window in segments (RFC 6928).
    pub initial_window_segments: u8,
    /// Congestion control of new connections.
    pub congestion: Algorithm,
    /// What the IP header of its packets says.
    pub ip: IpSettings,
    /// Whether a short segment waits while another one is in flight (Nagle's algorithm, RFC 9293 section 3.7.4).
    pub nagle: bool,
    /// Whether a short segment waits for more in any case, [`CORK_MAX`](super::CORK_MAX) at the longest. A wish of the application
    /// for the time in which it queues pieces: given to one connection by [`Tcb::configure`](super::Tcb::configure), and taken back.
    pub cork: bool,
    /// Whether ECN is agreed on with peers that offer it (RFC 3168).
    pub ecn: bool,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            mtu: 1500,
            recv_buffer_bytes: 65_536,
            recv_buffer_max_bytes: 393_216,
            in_flight_bytes_max: 4_194_304,
            rto_initial: Duration::from_secs(1),
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(60),
            delayed_ack: Duration::from_millis(40),
            time_wait: Duration::from_secs(60),
            path_mtu_age: Duration::from_secs(600),
            syn_retries: 7,
            syn_ack_retries: 7,
            data_retries: 15,
            keepalive: None,
            user_timeout: None,
            fin_wait_2: Some(Duration::from_secs(60)),
            keepalive_interval: None,
            keepalive_probes: 5,
            initial_window_segments: 10,
            congestion: Algorithm::Cubic,
            ip: IpSettings::DEFAULT,
            nagle: false,
            cork: false,
            ecn: true,
        }
    }
}
