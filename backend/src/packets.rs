//! Client packets: to the connection that is owned here, on to where it went, or held for what may come.

use baton_stack::addr::Flow;
use baton_stack::drop::DropReason;
use baton_stack::engine::ConnKey;
use baton_stack::node::{Frame, Verdict};
use baton_stack::tcp::{Segment, TooBig};
use baton_stack::time::Instant;
use baton_stack::wire::IpLayers;
use handoff_proto::names::NodeId;

use crate::node::{BackEnd, Place};
use crate::serve::Service;

impl<S: Service> BackEnd<S> {
    /// Takes a client's segment, wherever its connection is.
    pub(crate) fn handle_tcp<F: Frame>(
        &mut self,
        now: Instant,
        frame: &mut F,
        flow: &Flow,
        ip: &IpLayers,
    ) -> Result<Verdict, DropReason> {
        match self.flows.get(flow) {
            Some(&Place::Owned(key)) => {
                self.check_lease(now, key)?;
                ip.verify_transport(frame.bytes(), frame.checksum())?;
                self.handle_segment(now, key, &Segment::parse(&frame.bytes()[ip.l4.clone()])?.with_ecn(ip.ecn))?;
                Ok(Verdict::Free)
            }
            Some(&Place::Leaving(c)) => {
                let frozen = self.frozen.get(&c).ok_or(DropReason::UnknownFlow)?;
                if !self.links[frozen.link].holder.is_valid(now) {
                    return Err(DropReason::LeaseExpired);
                }
                let to = frozen.donor.frozen_towards().map_or(NodeId::FRONT_END, |(_, to, _)| to);
                let addr = self.links[frozen.link].directory.addr_of(to).ok_or(DropReason::OwnerUnknown)?;
                self.stats.stragglers += 1;
                self.ports.forward(now, frame, ip, addr)
            }
            None => self.handle_stranger(now, frame, flow, ip),
        }
    }

    /// A segment of a connection that is not here: passed on to where it went, or held for what may come (R12).
    fn handle_stranger<F: Frame>(
        &mut self,
        now: Instant,
        frame: &mut F,
        flow: &Flow,
        ip: &IpLayers,
    ) -> Result<Verdict, DropReason> {
        if let Some(verdict) = self.pass_on(now, frame, flow, ip)? {
            return Ok(verdict);
        }
        self.hold.hold(now, *flow, frame.bytes())?;
        self.stats.held += 1;
        Ok(Verdict::Free)
    }

    /// Sends a frame on to where its connection went; `None` if none went from here.
    fn pass_on<F: Frame>(
        &mut self,
        now: Instant,
        frame: &mut F,
        flow: &Flow,
        ip: &IpLayers,
    ) -> Result<Option<Verdict>, DropReason> {
        for link in &mut self.links {
            if let Some(former) = link.formers.straggler(now, flow) {
                if !link.holder.is_valid(now) {
                    return Err(DropReason::LeaseExpired);
                }
                let addr = link.directory.addr_of(former.to).ok_or(DropReason::OwnerUnknown)?;
                self.stats.stragglers += 1;
                return self.ports.forward(now, frame, ip, addr).map(Some);
            }
        }
        Ok(None)
    }

    /// An ICMP error about a packet that was sent on a flow goes the ways of the flow's segments; but for one that is not here yet it
    /// is not held: if the packet was too big, the next one will be.
    pub(crate) fn handle_error<F: Frame>(
        &mut self,
        now: Instant,
        frame: &mut F,
        flow: &Flow,
        (too_big, ip): (Option<TooBig>, &IpLayers),
    ) -> Result<Verdict, DropReason> {
        match self.flows.get(flow) {
            Some(&Place::Owned(key)) => {
                let told = too_big.ok_or(DropReason::Icmp)?;
                self.check_lease(now, key)?;
                self.engine.handle_too_big(key, now, &told)?;
                Ok(Verdict::Free)
            }
            Some(&Place::Leaving(_)) => self.handle_tcp(now, frame, flow, ip),
            None => self.pass_on(now, frame, flow, ip)?.ok_or(DropReason::Icmp),
        }
    }

    /// Whether the front-end of an owned connection lets this node speak on it now. One front-end's lease is looked at before, where
    /// the frame comes in.
    fn check_lease(&self, now: Instant, key: ConnKey) -> Result<(), DropReason> {
        if self.links.len() == 1 {
            return Ok(());
        }
        let conn = self.engine.get(key).ok_or(DropReason::UnknownFlow)?;
        if self.links[conn.app.link].holder.is_valid(now) { Ok(()) } else { Err(DropReason::LeaseExpired) }
    }

    /// Hands a segment to a connection that is owned here.
    pub(crate) fn handle_segment(
        &mut self,
        now: Instant,
        key: ConnKey,
        segment: &Segment<'_>,
    ) -> Result<(), DropReason> {
        let outcome = self.engine.handle_segment(key, now, segment, &mut self.server.store);
        self.wake(key);
        let outcome = outcome?;
        self.stats.ecn_marked += u64::from(outcome.marked);
        self.stats.ecn_slowed += u64::from(outcome.slowed);
        Ok(())
    }
}
