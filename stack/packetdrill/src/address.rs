//! Socket addresses as bytes: `sockaddr_in` and `sockaddr_in6`.
//!
//! ```text
//!  0        2      4            8                    16/24     28
//!  | family | port | address    | zeros              |              AF_INET
//!  | family | port | flow label | address            | scope   |    AF_INET6
//! ```

use baton_stack::addr::{Endpoint, IpAddr, Ipv4Addr, Ipv6Addr};
use nix::errno::Errno;
use nix::libc;

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

const V4_LEN: usize = 16;
const V6_LEN: usize = 28;

impl Family {
    pub(crate) const fn of(domain: i32) -> Option<Self> {
        match domain {
            libc::AF_INET => Some(Self::V4),
            libc::AF_INET6 => Some(Self::V6),
            _ => None,
        }
    }

    pub(crate) const fn number(self) -> i32 {
        match self {
            Self::V4 => libc::AF_INET,
            Self::V6 => libc::AF_INET6,
        }
    }

    /// Every address of the family.
    pub(crate) const fn any(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// Reads an address for a socket of `family`. One of IPv4 inside IPv6 is one of IPv4.
pub(crate) fn parse(bytes: &[u8], family: Family) -> Result<Endpoint, Errno> {
    let of = bytes.first_chunk::<2>().map(|number| i32::from(u16::from_ne_bytes(*number)));
    if of != Some(family.number()) {
        return Err(if of.is_some() { Errno::EAFNOSUPPORT } else { Errno::EINVAL });
    }
    let port = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]);
    match family {
        Family::V4 => {
            let bytes = bytes.first_chunk::<V4_LEN>().ok_or(Errno::EINVAL)?;
            let addr = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            Ok(Endpoint { addr: IpAddr::V4(addr), port: port(bytes) })
        }
        Family::V6 => {
            let bytes = bytes.first_chunk::<V6_LEN>().ok_or(Errno::EINVAL)?;
            let addr: [u8; 16] = bytes[8..24].try_into().map_err(|_| Errno::EINVAL)?;
            Ok(Endpoint { addr: Ipv6Addr::from(addr).to_canonical(), port: port(bytes) })
        }
    }
}

/// Writes an address for a socket of `family`.
pub(crate) fn encode(endpoint: Endpoint, family: Family) -> Vec<u8> {
    let number = u16::try_from(family.number()).unwrap_or(0);
    let mut bytes = number.to_ne_bytes().to_vec();
    bytes.extend(endpoint.port.to_be_bytes());
    match (family, endpoint.addr) {
        (Family::V4, IpAddr::V4(addr)) => {
            bytes.extend(addr.octets());
            bytes.resize(V4_LEN, 0);
        }
        (_, addr) => {
            let addr = match addr {
                IpAddr::V4(addr) => addr.to_ipv6_mapped(),
                IpAddr::V6(addr) => addr,
            };
            bytes.extend([0; 4]);
            bytes.extend(addr.octets());
            bytes.resize(V6_LEN, 0);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back() {
        let v4 = Endpoint { addr: IpAddr::from([192, 0, 2, 1]), port: 0x1f90 };
        let bytes = encode(v4, Family::V4);
        assert_eq!(bytes[2..8], [0x1f, 0x90, 192, 0, 2, 1]);
        assert_eq!((bytes.len(), parse(&bytes, Family::V4)), (16, Ok(v4)));
        let v6 = Endpoint { addr: IpAddr::V6(Ipv6Addr::LOCALHOST), port: 9 };
        assert_eq!(parse(&encode(v6, Family::V6), Family::V6), Ok(v6));
        assert_eq!(parse(&encode(v4, Family::V6), Family::V6), Ok(v4), "IPv4 on a socket of IPv6");
    }

    #[test]
    fn short_and_foreign_addresses_are_refused() {
        let bytes = encode(Endpoint { addr: Family::V4.any(), port: 1 }, Family::V4);
        assert_eq!(parse(&bytes[..15], Family::V4), Err(Errno::EINVAL));
        assert_eq!(parse(&bytes[..1], Family::V4), Err(Errno::EINVAL));
        assert_eq!(parse(&bytes, Family::V6), Err(Errno::EAFNOSUPPORT));
    }
}
