//! How an image begins: who, where, when.

use baton_stack::addr::{Endpoint, Flow, IpAddr};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{IMAGE_VERSION, Image, ImageError};

/// Who, where, when.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Head {
    pub(super) version: u8,
    /// 4 or 6.
    pub(super) family: u8,
    pub(super) next_hop: [u8; 6],
    pub(super) c: U64,
    pub(super) base: U32,
    pub(super) epoch: U32,
    pub(super) tried: U32,
    pub(super) served_requests: U32,
    pub(super) served_bytes: U64,
    /// An IPv4 address stands in front, zeros behind it.
    pub(super) client_addr: [u8; 16],
    pub(super) vip_addr: [u8; 16],
    pub(super) client_port: U16,
    pub(super) vip_port: U16,
}

const _: () = assert!(size_of::<Head>() == 76);

impl Image {
    /// The flow of an image that begins like this. `None` if these bytes do not reach so far, or no image begins so.
    #[must_use]
    pub fn flow_in(beginning: &[u8]) -> Option<Flow> {
        let (head, _) = Head::read_from_prefix(beginning).ok()?;
        if head.version == IMAGE_VERSION { flow_of(&head).ok() } else { None }
    }

    pub(super) fn head(&self) -> Head {
        let Self { c, base, epoch, tried, next_hop, tcb, cursor: _, plan: _, resume: _, served } = self;
        let Flow { client, vip } = tcb.flow;
        Head {
            version: IMAGE_VERSION,
            family: if client.addr.is_ipv4() { 4 } else { 6 },
            next_hop: next_hop.0,
            c: c.0.into(),
            base: base.0.into(),
            epoch: epoch.0.into(),
            tried: tried.0.into(),
            served_requests: served.requests.into(),
            served_bytes: served.bytes.into(),
            client_addr: address_bytes(client.addr),
            vip_addr: address_bytes(vip.addr),
            client_port: client.port.into(),
            vip_port: vip.port.into(),
        }
    }
}

pub(super) fn flow_of(head: &Head) -> Result<Flow, ImageError> {
    let addr = |bytes: [u8; 16]| match head.family {
        4 => {
            let [a, b, c, d, rest @ ..] = bytes;
            if rest == [0; 12] { Ok(IpAddr::from([a, b, c, d])) } else { Err(ImageError::Malformed("address")) }
        }
        6 => Ok(IpAddr::from(bytes)),
        _ => Err(ImageError::Malformed("address family")),
    };
    Ok(Flow {
        client: Endpoint { addr: addr(head.client_addr)?, port: head.client_port.get() },
        vip: Endpoint { addr: addr(head.vip_addr)?, port: head.vip_port.get() },
    })
}

fn address_bytes(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => {
            let [a, b, c, d] = addr.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(addr) => addr.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("golden_v1.hex");

    #[test]
    fn a_flow_is_known_from_the_first_76_bytes_on() {
        let digits: Vec<u8> = GOLDEN.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
        let mut bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let flow = Image::decode(&bytes).unwrap().tcb.flow;
        assert_eq!((Image::flow_in(&bytes[..75]), Image::flow_in(&bytes[..76])), (None, Some(flow)));
        bytes[0] = 2;
        assert_eq!(Image::flow_in(&bytes), None, "of another version");
        (bytes[0], bytes[1]) = (1, 5);
        assert_eq!(Image::flow_in(&bytes), None, "of no family");
    }
}
