//! Client packets that came before their connection did: let in when it is here, else given back to its front-end (R11, R12).

use baton_stack::addr::Flow;
use baton_stack::drop::DropReason;
use baton_stack::engine::ConnKey;
use baton_stack::node::{RxChecksum, Transmit};
use baton_stack::tcp::Segment;
use baton_stack::time::Instant;
use baton_stack::wire::{self, Layers, Packet};

use crate::node::{BackEnd, Place};
use crate::serve::Service;

impl<S: Service> BackEnd<S> {
    /// Lets held frames in, now that their connection is here, or sends them back to the front-end: that of `link`, if it is known whose they are.
    pub(crate) fn release_held<T: Transmit>(
        &mut self,
        now: Instant,
        flow: &Flow,
        frames: Vec<Vec<u8>>,
        link: Option<usize>,
        tx: &mut T,
    ) {
        for frame in frames {
            let result = match self.flows.get(flow) {
                Some(&Place::Owned(key)) => self.take_held(now, key, &frame),
                Some(&Place::Leaving(_)) | None => self.return_held(now, frame, link, tx),
            };
            if let Err(reason) = result {
                self.ports.drops.count(reason);
            }
        }
    }

    fn take_held(&mut self, now: Instant, key: ConnKey, frame: &[u8]) -> Result<(), DropReason> {
        let Layers { packet: Packet::Ip(ip), .. } = self.reparse(frame)? else { return Err(DropReason::Malformed) };
        ip.verify_transport(frame, RxChecksum::Unknown)?;
        self.handle_segment(now, key, &Segment::parse(&frame[ip.l4])?.with_ecn(ip.ecn))
    }

    /// A packet of an unknown connection belongs to the front-end that sent it on. If another back-end did, nobody here can tell: it goes to any
    /// front-end, and one that it does not belong to drops it.
    fn return_held<T: Transmit>(
        &mut self,
        now: Instant,
        mut frame: Vec<u8>,
        link: Option<usize>,
        tx: &mut T,
    ) -> Result<(), DropReason> {
        let Layers { src_mac, packet: Packet::Ip(ip), .. } = self.reparse(&frame)? else {
            return Err(DropReason::Malformed);
        };
        let of_any = || self.links.iter().position(|link| link.holder.is_valid(now));
        let link = link.or_else(|| self.front_end_at(src_mac)).or_else(of_any);
        let link = link.map(|link| &self.links[link]).filter(|link| link.holder.is_valid(now));
        let front_end = link.ok_or(DropReason::LeaseExpired)?.directory.addr;
        let (port, mac) = self.ports.resolve(front_end, now)?;
        let src = self.ports.interface(port).ok_or(DropReason::HoldExpired)?.mac;
        wire::forward_in_place(&mut frame, &ip, src, mac)?;
        let sent = tx.transmit(port, frame.len(), |buffer| {
            buffer[..frame.len()].copy_from_slice(&frame);
            frame.len()
        });
        self.stats.returned += 1;
        if sent { Ok(()) } else { Err(DropReason::TransmitFull) }
    }

    fn reparse(&self, frame: &[u8]) -> Result<Layers, DropReason> {
        let vlan = self.settings.interfaces.first().map_or(0, |interface| interface.vlan);
        wire::parse(frame, vlan)
    }
}
