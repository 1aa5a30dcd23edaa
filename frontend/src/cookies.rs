//! SYNs that are answered without memory (RFC 4987), when there are more than there is memory for.

use ahash::RandomState;
use baton_config::SynCookies as When;
use baton_stack::addr::{Flow, MacAddr};
use baton_stack::drop::DropReason;
use baton_stack::ecn::Ecn;
use baton_stack::engine::ConnKey;
use baton_stack::node::{PortId, Transmit};
use baton_stack::tcp::{COOKIE_LIFE_MAX, Segment, SynCookies, Tcb, may_complete, ts_offset};
use baton_stack::time::{Duration, Instant};

use crate::node::{BARE_SEGMENT_MAX, FrontEnd};

/// As many half-open connections again may come out of TIME_WAIT. Their numbers must lie above those of the connection before,
/// and a cookie has no room for that; nor can strangers begin one, for the connection before had shown where its client is.
const REOPENED_SHARE: usize = 2;

/// Flows whose text has come without a cookie and without a connection, as far as they are remembered; a later one takes the place of an
/// earlier one.
const EARLY_MAX: usize = 1_024;
/// How soon what such text has overtaken follows it. What is repeated comes later.
const EARLY_TIME: Duration = Duration::from_millis(200);

/// The front-end's cookies.
#[derive(Debug)]
pub(crate) struct Cookies {
    cookies: SynCookies,
    /// When the last one was sent. Long after it nothing is taken for one.
    last: Option<Instant>,
    /// When text of a flow came first, at the place that its hash gives.
    early: Vec<Option<(Flow, Instant)>>,
    hasher: RandomState,
}

impl Cookies {
    pub(crate) fn new(keys: (u64, u64)) -> Self {
        let hasher = RandomState::with_seeds(keys.0, keys.1, !keys.0, !keys.1);
        Self { cookies: SynCookies::new(keys), last: None, early: vec![None; EARLY_MAX], hasher }
    }

    /// Whether text of a flow without a connection may have overtaken the segment that brings its cookie back: for a moment. Later it
    /// is of a connection that is over.
    pub(crate) fn may_be_early(&mut self, now: Instant, flow: &Flow) -> bool {
        let place = self.hasher.hash_one(flow) % EARLY_MAX as u64;
        let Some(slot) = usize::try_from(place).ok().and_then(|place| self.early.get_mut(place)) else { return false };
        match slot {
            Some((known, at)) if known == flow && now.since(*at) <= COOKIE_LIFE_MAX => now.since(*at) < EARLY_TIME,
            _ => {
                *slot = Some((*flow, now));
                true
            }
        }
    }

    /// Whether a client may still answer one.
    pub(crate) fn are_out(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.since(last) <= COOKIE_LIFE_MAX)
    }
}

impl FrontEnd {
    /// Answers a SYN of a flow that is not known.
    pub(crate) fn open<T: Transmit>(
        &mut self,
        now: Instant,
        hop: (PortId, MacAddr),
        flow: Flow,
        syn: &Segment<'_>,
        tx: &mut T,
    ) -> Result<(), DropReason> {
        let has_room = self.half_open < self.settings.half_open_max;
        match self.settings.syn_cookies {
            When::Auto | When::Never if has_room => self.accept(now, hop, flow, syn, None),
            When::Auto | When::Always => self.send_cookie(now, hop, flow, syn, tx),
            When::Never => Err(DropReason::HalfOpenLimit),
        }
    }

    /// Whether there is memory for a connection that comes out of TIME_WAIT.
    pub(crate) const fn check_reopen(&self) -> Result<(), DropReason> {
        let has_room = self.half_open < self.settings.half_open_max.saturating_mul(REOPENED_SHARE);
        if has_room { Ok(()) } else { Err(DropReason::HalfOpenLimit) }
    }

    fn send_cookie<T: Transmit>(
        &mut self,
        now: Instant,
        (port, mac): (PortId, MacAddr),
        flow: Flow,
        syn: &Segment<'_>,
        tx: &mut T,
    ) -> Result<(), DropReason> {
        if self.stop_at.is_some() {
            return Err(DropReason::UnknownFlow);
        }
        let offset = ts_offset(self.isn_keys, &flow);
        let syn_ack = self.cookies.cookies.syn_ack(now, &self.settings.tcp, flow, offset, syn)?;
        let envelope = self.envelope(port, &flow, mac).ok_or(DropReason::NotOurs)?;
        let is_sent = tx.transmit(port, envelope.len() + BARE_SEGMENT_MAX, |frame| {
            let len = syn_ack.emit(&mut frame[envelope.len()..]);
            envelope.seal_tcp(frame, len, Ecn::NotEct)
        });
        if !is_sent {
            return Err(DropReason::TransmitFull);
        }
        self.cookies.last = Some(now);
        self.stats.syns += 1;
        self.stats.cookies_sent += 1;
        Ok(())
    }

    /// Completes a handshake, if `segment` brings a cookie back. False if it is none.
    ///
    /// # Errors
    /// It is one, and there is no room for the connection: the client sends its request again.
    pub(crate) fn complete(
        &mut self,
        now: Instant,
        hop: (PortId, MacAddr),
        flow: Flow,
        segment: &Segment<'_>,
    ) -> Result<bool, DropReason> {
        let Some(tcb) = self.made_of_cookie(now, flow, segment) else { return Ok(false) };
        self.install_made(now, tcb, hop, segment)?;
        Ok(true)
    }

    /// A half-open connection gives way to one of the same flow whose cookie has come back: the client's SYN was answered with
    /// it, and when it came again, with a number that was remembered. False if `segment` brings none.
    pub(crate) fn complete_instead(&mut self, now: Instant, key: ConnKey, segment: &Segment<'_>) -> bool {
        if !may_complete(segment) || !self.cookies.are_out(now) {
            return false;
        }
        let Some(conn) = self.engine.get(key).filter(|conn| conn.app.is_half_open) else { return false };
        let half_open = conn.app.route;
        let Some(route) = self.routes.get(half_open) else { return false };
        let (flow, hop) = (route.flow, (route.port, route.client_mac));
        let Some(tcb) = self.made_of_cookie(now, flow, segment) else { return false };
        self.discard(key);
        self.drop_route(half_open);
        self.install_made(now, tcb, hop, segment).is_ok()
    }

    fn made_of_cookie(&mut self, now: Instant, flow: Flow, segment: &Segment<'_>) -> Option<Tcb> {
        if self.stop_at.is_some() {
            return None;
        }
        let offset = ts_offset(self.isn_keys, &flow);
        let cookies = self.cookies.cookies;
        let made = cookies.accept(now, &self.settings.tcp, flow, offset, segment, &mut self.store);
        made.ok().map(|(tcb, _)| tcb)
    }

    fn install_made(
        &mut self,
        now: Instant,
        tcb: Tcb,
        hop: (PortId, MacAddr),
        segment: &Segment<'_>,
    ) -> Result<(), DropReason> {
        let key = self.install(now, tcb, hop, (segment.ack, segment.seq + segment.len()))?;
        self.stats.accepted += 1;
        self.stats.cookies_accepted += 1;
        self.wake(key);
        Ok(())
    }
}
