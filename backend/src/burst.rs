//! Whose a written frame is. Asked only where a lease has ended between a turn's beginning and its burst: what was written under that lease
//! must not leave, and what the other front-ends allow must not be lost with it (R2).
//!
//! | frame | leaves with |
//! |---|---|
//! | about neighbours; ICMP of our own | nobody's lease: it says nothing of connections |
//! | to a node | the leases of all front-ends that name the node |
//! | a segment of a connection here, or on its way from here to where it went | the lease of the connection's front-end |
//! | a segment that goes back | the lease of the front-end that it goes to |
//! | anything else | none |

use baton_stack::addr::{Flow, MacAddr};
use baton_stack::ports;
use baton_stack::time::Instant;
use baton_stack::wire::{self, IpLayers, Layers, Packet, protocol};

use crate::node::{BackEnd, Place};
use crate::serve::Service;

impl<S: Service> BackEnd<S> {
    /// Whether a frame that was written in this turn may still leave.
    pub(crate) fn may_leave(&self, now: Instant, frame: &[u8]) -> bool {
        let interfaces = &self.settings.interfaces;
        let parsed = interfaces.iter().find_map(|interface| wire::parse(frame, interface.vlan).ok());
        let Some(Layers { dst_mac, packet, .. }) = parsed else { return false };
        let Packet::Ip(ip) = packet else { return true };
        match ip.protocol {
            protocol::TCP => {
                self.link_of_segment(frame, &ip, dst_mac).is_some_and(|link| !self.links[link].has_lapsed(now))
            }
            protocol::UDP => {
                let mut naming = self.links.iter().filter(|link| link.directory.names(ip.dst));
                naming.all(|link| !link.has_lapsed(now))
            }
            _ => interfaces.iter().any(|interface| interface.addr == ip.src),
        }
    }

    fn link_of_segment(&self, frame: &[u8], ip: &IpLayers, dst_mac: MacAddr) -> Option<usize> {
        let flow = ports::flow_of(frame, ip).ok()?;
        let of_response = Flow { client: flow.vip, vip: flow.client };
        match self.flows.get(&of_response).or_else(|| self.flows.get(&flow)) {
            Some(&Place::Owned(key)) => self.engine.get(key).map(|conn| conn.app.link),
            Some(Place::Leaving(c)) => self.frozen.get(c).map(|frozen| frozen.link),
            None => {
                let passed_on = self.links.iter().position(|link| link.formers.knows(&flow));
                passed_on.or_else(|| self.front_end_at(dst_mac))
            }
        }
    }

    /// The link of the front-end with this Ethernet address.
    pub(crate) fn front_end_at(&self, mac: MacAddr) -> Option<usize> {
        self.links.iter().position(|link| self.ports.is_at(link.directory.addr, mac))
    }
}
