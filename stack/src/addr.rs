//! Addresses: of Ethernet, of connections and of connections' ends.

use core::fmt;
use core::hash::{Hash, Hasher};
pub use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the group bit is set (broadcast included).
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Endpoint {
    /// The IP address.
    pub addr: IpAddr,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            IpAddr::V4(a) => write!(f, "{a}:{}", self.port),
            IpAddr::V6(a) => write!(f, "[{a}]:{}", self.port),
        }
    }
}

/// The 4-tuple of a client connection. Both addresses are of one family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Flow {
    /// The client's end.
    pub client: Endpoint,
    /// Our end: VIP and listening port.
    pub vip: Endpoint,
}

/// In as few words as there are bits: a hash of every packet's flow is taken.
impl Hash for Flow {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(flow) = FlowV4::of(self) {
            return flow.hash(state);
        }
        for addr in [self.client.addr, self.vip.addr] {
            match addr {
                IpAddr::V4(addr) => state.write_u32(addr.to_bits()),
                IpAddr::V6(addr) => state.write_u128(addr.to_bits()),
            }
        }
        state.write_u32(u32::from(self.client.port) << 16 | u32::from(self.vip.port));
    }
}

/// A flow over IPv4 as its client's packets have it: both addresses, then both ports, each in network order. Its hash is that of the
/// [`Flow`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowV4(pub [u8; 12]);

impl FlowV4 {
    /// `None` for a flow over IPv6.
    #[must_use]
    #[inline]
    pub fn of(flow: &Flow) -> Option<Self> {
        let (IpAddr::V4(client), IpAddr::V4(vip)) = (flow.client.addr, flow.vip.addr) else { return None };
        let [a, b, c, d] = client.octets();
        let [e, f, g, h] = vip.octets();
        let ([i, j], [k, l]) = (flow.client.port.to_be_bytes(), flow.vip.port.to_be_bytes());
        Some(Self([a, b, c, d, e, f, g, h, i, j, k, l]))
    }

    /// The same with the parts apart.
    #[must_use]
    pub fn flow(self) -> Flow {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.0;
        let end = |addr: [u8; 4], port| Endpoint { addr: IpAddr::from(addr), port: u16::from_be_bytes(port) };
        Flow { client: end([a, b, c, d], [i, j]), vip: end([e, f, g, h], [k, l]) }
    }
}

impl Hash for FlowV4 {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.0;
        state.write_u128(u128::from_be_bytes([0, 0, 0, 0, a, b, c, d, e, f, g, h, i, j, k, l]));
    }
}

impl Flow {
    /// Whether the client's end can be somebody's: a host's address, not ours, and a port (RFC 9293 section 3.9.2.3, MUST-63; RFC
    /// 1122 section 3.2.1.3). What comes from any other is not even answered.
    #[must_use]
    pub fn has_possible_client(&self) -> bool {
        let addr = self.client.addr;
        let is_broadcast = addr == IpAddr::V4(Ipv4Addr::BROADCAST);
        let is_host = !(addr.is_multicast() || addr.is_unspecified() || addr.is_loopback() || is_broadcast);
        is_host && addr != self.vip.addr && self.client.port != 0
    }
}

/// The connection id `c`: unique per connection for ever, allotted by the front-end at accept.
///
/// ```text
///  63      56 55      48 47                        24 23                         0
/// +----------+----------+----------------------------+----------------------------+
/// | front-end|   core   |   boot (24 bits, low end)  |          counter           |
/// +----------+----------+----------------------------+----------------------------+
/// ```
/// When the counter is used up the front-end takes its next boot number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

impl ConnId {
    /// Packs the four fields; `boot` and `counter` are taken modulo 2^24.
    #[must_use]
    pub const fn new(front_end: u8, core: u8, boot: u32, counter: u32) -> Self {
        const MASK: u64 = (1 << 24) - 1;
        Self((front_end as u64) << 56 | (core as u64) << 48 | (boot as u64 & MASK) << 24 | (counter as u64 & MASK))
    }

    /// The front-end that allotted it.
    #[must_use]
    pub const fn front_end(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The front-end's core that allotted it.
    #[must_use]
    pub const fn core(self) -> u8 {
        (self.0 >> 48 & 0xff) as u8
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_an_address_of_many_or_none() {
        let flow = |client: &str| {
            let client: core::net::SocketAddr = client.parse().unwrap();
            let vip = if client.is_ipv4() { "10.0.0.2" } else { "2001:db8::2" };
            let vip = Endpoint { addr: vip.parse().unwrap(), port: 80 };
            Flow { client: Endpoint { addr: client.ip(), port: client.port() }, vip }
        };
        for good in ["10.0.0.1:1", "223.255.255.255:65535", "[2001:db8::1]:1", "[fe80::1]:1"] {
            assert!(flow(good).has_possible_client(), "{good}");
        }
        for bad in [
            "224.0.0.1:1",
            "239.255.255.255:1",
            "255.255.255.255:1",
            "0.0.0.0:1",
            "127.0.0.1:1",
            "10.0.0.2:80",
            "10.0.0.1:0",
            "[ff02::1]:1",
            "[::]:1",
            "[::1]:1",
            "[2001:db8::2]:1",
        ] {
            assert!(!flow(bad).has_possible_client(), "{bad}");
        }
    }
}
