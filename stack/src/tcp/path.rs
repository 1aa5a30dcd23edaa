//! The path MTU (RFC 1191, RFC 8201): what routers say of packets that were too big, and how much of that is believed (RFC 5927
//! section 7).
//!
//! ```text
//!   quoted number not in flight, MTU not below the packet and the path's, or below the floor   -> nothing
//!   packets of that size have arrived before    -> a claim: believed if the timer runs out on it, forgotten if it is acknowledged
//!   else                                        -> believed: shorter segments, what is in flight once more, the window as it was
//! ```

use super::prr::Prr;
use super::rack::Probe;
use super::recovery::Phase;
use super::seq::SeqNum;
use super::tcb::{MSS_MIN, Tcb};
use crate::drop::DropReason;
use crate::time::Instant;

/// The least path MTU that is believed for IPv4, in bytes: a segment of [`super::MSS_DEFAULT`] bytes goes through nearly (as
/// Linux's `min_pmtu`).
pub const PATH_MTU_MIN: u16 = 552;
/// As above, for IPv6 (RFC 8200 section 5).
pub const PATH_MTU_MIN_V6: u16 = 1280;
const IPV4_HEADER_LEN: u16 = 20;
const IPV6_HEADER_LEN: u16 = 40;
const TCP_HEADER_LEN: u16 = 20;

/// What a router says of a packet that it could not pass on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooBig {
    /// The sequence number of its segment.
    pub seq: SeqNum,
    /// Its length, from its IP header on, in bytes.
    pub packet: u16,
    /// What could have been passed on, in bytes.
    pub mtu: u16,
}

/// What is known of the path. `At` is an instant, or how long until then in a frozen connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathMtu<At = Instant> {
    /// The longest packet that it takes, in bytes, as far as anybody has said.
    pub mtu: u16,
    /// The longest that is known to have arrived.
    pub confirmed: u16,
    /// A longer one that is under way: the number behind it, and its length.
    pub sizing: Option<(SeqNum, u16)>,
    /// A claim against what is confirmed: the number of the packet, and the MTU.
    pub claim: Option<(SeqNum, u16)>,
    /// When longer packets are tried again.
    pub raise_at: Option<At>,
}

impl<At> Default for PathMtu<At> {
    fn default() -> Self {
        Self { mtu: u16::MAX, confirmed: 0, sizing: None, claim: None, raise_at: None }
    }
}

impl<At: Copy> PathMtu<At> {
    /// The same, with `raise_at` as told.
    pub(crate) fn map<To>(&self, to: impl FnOnce(At) -> To) -> PathMtu<To> {
        let Self { mtu, confirmed, sizing, claim, raise_at } = *self;
        PathMtu { mtu, confirmed, sizing, claim, raise_at: raise_at.map(to) }
    }
}

impl Tcb {
    /// An ICMP error says that a packet of this connection was too big for its path. Whoever tells the flow has looked at the
    /// checksum.
    ///
    /// # Errors
    /// [`DropReason::Icmp`]: it is not believed.
    pub fn handle_too_big(&mut self, now: Instant, told: &TooBig) -> Result<(), DropReason> {
        let TooBig { seq, packet, mtu } = *told;
        let is_in_flight = self.is_synchronized() && self.snd.una.le(seq) && seq.lt(self.snd.nxt);
        let is_less = mtu < packet && mtu < self.path_mtu();
        if !is_in_flight || !is_less || mtu < self.path_mtu_min() {
            return Err(DropReason::Icmp);
        }
        if mtu < self.path.confirmed {
            self.path.claim = Some((seq, mtu));
        } else {
            self.lower_path_mtu(now, mtu);
        }
        Ok(())
    }

    /// What is the least that is believed.
    pub(crate) const fn path_mtu_min(&self) -> u16 {
        if self.flow.vip.addr.is_ipv4() { PATH_MTU_MIN } else { PATH_MTU_MIN_V6 }
    }

    /// The longest packet that is sent.
    fn path_mtu(&self) -> u16 {
        self.path.mtu.min(self.config.mtu)
    }

    const fn ip_header_len(&self) -> u16 {
        if self.flow.vip.addr.is_ipv4() { IPV4_HEADER_LEN } else { IPV6_HEADER_LEN }
    }

    /// The effective send MSS without options (RFC 9293 section 3.7.1).
    pub(crate) fn snd_mss(&self) -> u16 {
        let mss = self.opts.snd_mss;
        if self.path.mtu == u16::MAX {
            return mss;
        }
        mss.min(self.path_mtu().saturating_sub(self.ip_header_len() + TCP_HEADER_LEN)).max(MSS_MIN)
    }

    /// Shorter packets from now on; everything that is in flight is sent again in such, and no congestion is read into it (RFC
    /// 1191 section 6.4, RFC 8201 section 5.4).
    fn lower_path_mtu(&mut self, now: Instant, mtu: u16) {
        let path = &mut self.path;
        (path.mtu, path.confirmed) = (mtu, path.confirmed.min(mtu));
        (path.sizing, path.claim) = (None, None);
        path.raise_at = Some(now + self.config.path_mtu_age());
        self.rec.sent.lose_if(|_, _| true);
        // As after a timeout the window goes on from where it is, which is here where it was.
        self.rec.phase = Phase::Timeout(self.snd.nxt);
        (self.rec.dup_acks, self.rec.force, self.rec.prr) = (0, true, Prr::default());
        (self.rec.probe, self.rec.undo, self.timed) = (Probe::None, None, None);
        (self.timers.reorder, self.timers.probe) = (None, None);
        self.arm_retransmit(now);
    }

    /// The timer has run out on what is in flight: a claim about it was right. False if there is none.
    pub(crate) fn believe_claim(&mut self, now: Instant) -> bool {
        let Some((_, mtu)) = self.path.claim else { return false };
        self.lower_path_mtu(now, mtu);
        true
    }

    /// A segment of `len` bytes leaves, header included, and `end` is behind it.
    pub(crate) fn note_size(&mut self, end: SeqNum, len: usize) {
        let len = u16::try_from(len).unwrap_or(u16::MAX).saturating_add(self.ip_header_len());
        if len > self.path.confirmed && self.path.sizing.is_none_or(|(_, under_way)| under_way < len) {
            self.path.sizing = Some((end, len));
        }
    }

    /// SND.UNA has moved.
    pub(crate) fn confirm_size(&mut self) {
        let una = self.snd.una;
        if let Some((_, len)) = self.path.sizing.filter(|(end, _)| end.le(una)) {
            (self.path.confirmed, self.path.sizing) = (self.path.confirmed.max(len), None);
        }
        self.path.claim = self.path.claim.filter(|(seq, _)| una.le(*seq));
    }

    /// Paths change: after a while longer packets are tried again (RFC 1191 section 6.3, RFC 8201 section 4). If they are too
    /// big still, that is believed at once.
    pub(crate) fn age_path_mtu(&mut self, now: Instant) {
        if self.path.raise_at.is_some_and(|at| at <= now) {
            (self.path.mtu, self.path.raise_at) = (u16::MAX, None);
        }
    }
}
