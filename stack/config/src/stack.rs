//! The configuration in the stack's own types.

use crate::{Common, Congestion, Port, PortAddress};
use baton_stack::addr::MacAddr;
use baton_stack::neighbor::Interface;
use baton_stack::node::PortId;
use baton_stack::tcp::{Algorithm, TcpConfig};
use baton_stack::wire::IpSettings;
use std::time::Duration;

impl Common {
    /// The ports as the stack knows them: an interface for each address. `macs` has their Ethernet addresses, in the order of
    /// `[[port]]`; a port without one is left out.
    #[must_use]
    pub fn interfaces(&self, macs: &[MacAddr]) -> Vec<Interface> {
        let interface = |id: u16, port: &Port, mac: &MacAddr, own: PortAddress| Interface {
            port: PortId(id),
            mac: *mac,
            addr: own.address.addr(),
            prefix_len: own.address.prefix_len(),
            gateway: own.gateway,
            vlan: port.vlan,
            mtu: port.mtu,
        };
        (0..)
            .zip(self.ports.iter().zip(macs))
            .flat_map(|(id, (port, mac))| port.addresses().map(move |own| interface(id, port, mac, own)))
            .collect()
    }

    /// How its TCP behaves: `[tcp]`, and the least MTU of the ports.
    #[must_use]
    pub fn tcp_config(&self) -> TcpConfig {
        let tcp = &self.tcp;
        TcpConfig {
            mtu: self.ports.iter().map(|port| port.mtu).min().unwrap_or(TcpConfig::default().mtu),
            recv_buffer_bytes: tcp.recv_buffer_bytes,
            recv_buffer_max_bytes: tcp.recv_buffer_max_bytes,
            in_flight_bytes_max: tcp.in_flight_bytes_max,
            rto_initial: tcp.rto_initial,
            rto_min: tcp.rto_min,
            rto_max: tcp.rto_max,
            delayed_ack: tcp.delayed_ack,
            time_wait: tcp.time_wait,
            path_mtu_age: tcp.path_mtu_age,
            syn_ack_retries: tcp.syn_ack_retries,
            data_retries: tcp.data_retries,
            keepalive: perhaps(tcp.keepalive),
            user_timeout: perhaps(tcp.user_timeout),
            fin_wait_2: perhaps(tcp.fin_wait_2),
            initial_window_segments: tcp.initial_window_segments,
            ip: IpSettings { hop_limit: tcp.hop_limit, dscp: tcp.dscp },
            nagle: tcp.nagle,
            ecn: tcp.ecn,
            congestion: match tcp.congestion {
                Congestion::Cubic => Algorithm::Cubic,
                Congestion::NewReno => Algorithm::NewReno,
            },
            ..TcpConfig::default()
        }
    }
}

/// Zero stands for never.
fn perhaps(time: Duration) -> Option<Duration> {
    Some(time).filter(|time| !time.is_zero())
}
