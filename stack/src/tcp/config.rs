//! How TCP behaves: what an operator may set.

use super::cc::Algorithm;
use crate::time::Duration;
use crate::wire::IpSettings;

/// Settings of a node's connections. They do not travel: a thawed connection takes those of its new node. A time above half an hour is kept
/// to the millisecond, and one above 24 days as that.
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

/// The settings of one connection: the same in a third of the memory, for there are many connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OwnConfig {
    rto_initial: Time,
    rto_min: Time,
    rto_max: Time,
    delayed_ack: Time,
    path_mtu_age: Time,
    keepalive: Option<Time>,
    user_timeout: Option<Time>,
    fin_wait_2: Option<Time>,
    keepalive_interval: Option<Time>,
    pub(crate) recv_buffer_bytes: u32,
    pub(crate) recv_buffer_max_bytes: u32,
    pub(crate) in_flight_bytes_max: u32,
    pub(crate) mtu: u16,
    pub(crate) syn_retries: u8,
    pub(crate) syn_ack_retries: u8,
    pub(crate) data_retries: u8,
    pub(crate) keepalive_probes: u8,
    pub(crate) initial_window_segments: u8,
    pub(crate) congestion: Algorithm,
    pub(crate) nagle: bool,
    pub(crate) cork: bool,
    pub(crate) ecn: bool,
}

impl From<&TcpConfig> for OwnConfig {
    fn from(config: &TcpConfig) -> Self {
        let TcpConfig {
            mtu,
            recv_buffer_bytes,
            recv_buffer_max_bytes,
            in_flight_bytes_max,
            rto_initial,
            rto_min,
            rto_max,
            delayed_ack,
            // Of a connection that has ended.
            time_wait: _,
            path_mtu_age,
            syn_retries,
            syn_ack_retries,
            data_retries,
            keepalive,
            user_timeout,
            fin_wait_2,
            keepalive_interval,
            keepalive_probes,
            initial_window_segments,
            congestion,
            // In the envelope.
            ip: _,
            nagle,
            cork,
            ecn,
        } = *config;
        Self {
            rto_initial: rto_initial.into(),
            rto_min: rto_min.into(),
            rto_max: rto_max.into(),
            delayed_ack: delayed_ack.into(),
            path_mtu_age: path_mtu_age.into(),
            keepalive: keepalive.map(Time::from),
            user_timeout: user_timeout.map(Time::from),
            fin_wait_2: fin_wait_2.map(Time::from),
            keepalive_interval: keepalive_interval.map(Time::from),
            recv_buffer_bytes,
            recv_buffer_max_bytes,
            in_flight_bytes_max,
            mtu,
            syn_retries,
            syn_ack_retries,
            data_retries,
            keepalive_probes,
            initial_window_segments,
            congestion,
            nagle,
            cork,
            ecn,
        }
    }
}

impl OwnConfig {
    pub(crate) fn rto_initial(&self) -> Duration {
        self.rto_initial.into()
    }

    pub(crate) const fn rto_initial_us(&self) -> u64 {
        self.rto_initial.micros()
    }

    pub(crate) const fn rto_min_us(&self) -> u64 {
        self.rto_min.micros()
    }

    pub(crate) const fn rto_max_us(&self) -> u64 {
        self.rto_max.micros()
    }

    pub(crate) fn delayed_ack(&self) -> Duration {
        self.delayed_ack.into()
    }

    pub(crate) fn path_mtu_age(&self) -> Duration {
        self.path_mtu_age.into()
    }

    pub(crate) fn keepalive(&self) -> Option<Duration> {
        self.keepalive.map(Duration::from)
    }

    pub(crate) fn user_timeout(&self) -> Option<Duration> {
        self.user_timeout.map(Duration::from)
    }

    pub(crate) fn fin_wait_2(&self) -> Option<Duration> {
        self.fin_wait_2.map(Duration::from)
    }

    pub(crate) fn keepalive_interval(&self) -> Option<Duration> {
        self.keepalive_interval.map(Duration::from)
    }
}

/// A time in four bytes: below half an hour to the microsecond, above to the millisecond, and no longer than 24 days.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Time(u32);

/// Set where the rest are milliseconds.
const IN_MILLIS: u32 = 1 << 31;

impl From<Duration> for Time {
    fn from(time: Duration) -> Self {
        let whole = |n: u128| u32::try_from(n).ok().filter(|n| *n < IN_MILLIS);
        match whole(time.as_micros()) {
            Some(micros) => Self(micros),
            None => Self(whole(time.as_millis()).unwrap_or(IN_MILLIS - 1) | IN_MILLIS),
        }
    }
}

impl Time {
    const fn micros(self) -> u64 {
        let n = (self.0 & !IN_MILLIS) as u64;
        if self.0 & IN_MILLIS == 0 { n } else { n * 1_000 }
    }
}

impl From<Time> for Duration {
    fn from(time: Time) -> Self {
        Self::from_micros(time.micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_four_bytes() {
        let back = |time: Duration| Duration::from(Time::from(time));
        for micros in [0, 1, 999, 1_000_000, 2_147_483_647] {
            assert_eq!(back(Duration::from_micros(micros)), Duration::from_micros(micros));
        }
        assert_eq!(back(Duration::from_micros(2_147_483_648)), Duration::from_millis(2_147_483));
        // What a configuration can say at the most, and what it cannot.
        for millis in [600_000, 86_400_000, 2_147_483_647] {
            assert_eq!(back(Duration::from_millis(millis)), Duration::from_millis(millis));
        }
        assert_eq!(back(Duration::from_millis(2_147_483_648)), Duration::from_millis(2_147_483_647));
        assert_eq!(back(Duration::MAX), Duration::from_millis(2_147_483_647));
    }

    #[test]
    fn a_connection_keeps_what_was_set() {
        let config = TcpConfig { keepalive: Some(Duration::from_secs(7_200)), ..TcpConfig::default() };
        let own = OwnConfig::from(&config);
        assert_eq!((own.rto_initial(), own.rto_initial_us()), (config.rto_initial, 1_000_000));
        assert_eq!((own.rto_min_us(), own.rto_max_us()), (200_000, 60_000_000));
        assert_eq!((own.delayed_ack(), own.path_mtu_age()), (config.delayed_ack, config.path_mtu_age));
        assert_eq!((own.keepalive(), own.keepalive_interval()), (config.keepalive, None));
        assert_eq!((own.user_timeout(), own.fin_wait_2()), (None, config.fin_wait_2));
        assert!(size_of::<OwnConfig>() <= 80, "{} bytes", size_of::<OwnConfig>());
    }
}
