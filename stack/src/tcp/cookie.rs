//! SYN cookies (RFC 4987 section 3.6): a SYN-ACK that nobody remembers, because its own numbers tell what was agreed on. They
//! come back in the acknowledgment that completes the handshake.
//!
//! ```text
//!   sequence number                              TSval, if the client sends timestamps
//!   31                     4     3   2     0     31                  6    5     4     3       0
//!   +-----------------------+------+-------+     +--------------------+-----+------+-----------+
//!   | keyed hash of all this| slot |  MSS  |     | clock of the flow  | ECN | SACK |   scale   |
//!   +-----------------------+------+-------+     +--------------------+-----+------+-----------+
//!                             last bit, table                                        15: none
//! ```
//! The hash covers the flow, the client's sequence number, the time slot, the MSS and the options, so that a blind guess is
//! right once in 2^28. Without timestamps there is no room for options, and none is agreed on.

use super::TcpConfig;
use super::content::Content;
use super::isn::keyed_hash;
use super::rtt::Rtt;
use super::segment::{Flags, Options, Segment, Timestamps};
use super::seq::SeqNum;
use super::tcb::{MSS_DEFAULT, MSS_DEFAULT_V6, MSS_MIN, Outcome, Tcb};
use crate::addr::Flow;
use crate::drop::DropReason;
use crate::ecn::Ecn;
use crate::time::{Duration, Instant};

/// How long a time slot lasts. A cookie is believed in its own and in the next.
const SLOT: Duration = Duration::from_secs(32);
/// The greatest age at which a cookie is believed: a client's data that is repeated after 1, 2, 4, 8 and 16 seconds comes in time.
pub const COOKIE_LIFE_MAX: Duration = Duration::from_secs(64);
/// What is told of the client's MSS: the greatest of these that is not above it. The first is the least that is believed; the others
/// are the defaults of both families and what Ethernet and its tunnels leave.
const MSS_TABLE: [u16; 8] = [MSS_MIN, 256, MSS_DEFAULT, MSS_DEFAULT_V6, 1_360, 1_400, 1_440, 1_460];

const MSS_BITS: u32 = 0x7;
const SLOT_BIT: u32 = 0x8;
/// The bits of the sequence number that are the hash's.
const HASH_BITS: u32 = !0xf;

const OPTION_BITS: u32 = 0x3f;
const SCALE_BITS: u8 = 0xf;
const NO_SCALE: u8 = 0xf;
const SACK_BIT: u8 = 0x10;
const ECN_BIT: u8 = 0x20;
/// In the hash: no timestamps, so no options.
const NO_OPTIONS: u8 = 0x80;
/// What a SYN says that offers ECN (RFC 3168 section 6.1.1).
const ECN_SETUP: Flags = Flags::ECE.with(Flags::CWR);

/// Answers SYNs without memory, and knows its answers again.
#[derive(Clone, Copy, Debug)]
pub struct SynCookies {
    keys: (u64, u64),
}

/// What a cookie tells of the SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kept {
    /// An index of [`MSS_TABLE`].
    mss: u8,
    /// Scale, SACK and ECN, if there are timestamps.
    options: Option<u8>,
}

impl SynCookies {
    /// Cookies that nobody without `keys` can make.
    #[must_use]
    pub const fn new(keys: (u64, u64)) -> Self {
        Self { keys }
    }

    /// The SYN-ACK that answers `syn`. It says what that of [`Tcb::accept`] would say, with the MSS rounded down. `ts_offset` is
    /// the flow's ([`super::ts_offset`]).
    ///
    /// # Errors
    /// The segment is no SYN that could open a connection.
    pub fn syn_ack(
        &self,
        now: Instant,
        config: &TcpConfig,
        flow: Flow,
        ts_offset: u32,
        syn: &Segment<'_>,
    ) -> Result<Segment<'static>, DropReason> {
        let kept = Kept::of(&flow, syn);
        let isn = self.number(&flow, syn.seq, slot_at(now), kept);
        let mut told = kept.syn(&flow, syn.seq, syn.options.timestamps);
        // Whatever else it says is refused as always.
        told.flags = Flags(told.flags.0 | syn.flags.0 & !ECN_SETUP.0);
        let mut syn_ack = Tcb::accept(now, config, flow, isn, ts_offset, &told)?.syn_ack(now);
        if let (Some(timestamps), Some(options)) = (&mut syn_ack.options.timestamps, kept.options) {
            timestamps.val = with_options(timestamps.val, options);
        }
        Ok(syn_ack)
    }

    /// The connection that `segment` completes, if it acknowledges a cookie: what [`Tcb::accept`] and the same segment would have
    /// made, but that the time of the SYN-ACK is not known, and so no round-trip time. Its text and FIN are taken in.
    ///
    /// # Errors
    /// [`DropReason::BadCookie`] if it acknowledges none, or one that is too old; else why it cannot complete a handshake.
    pub fn accept(
        &self,
        now: Instant,
        config: &TcpConfig,
        flow: Flow,
        ts_offset: u32,
        segment: &Segment<'_>,
        content: &mut impl Content,
    ) -> Result<(Tcb, Outcome), DropReason> {
        if !may_complete(segment) {
            return Err(DropReason::UnexpectedSegment);
        }
        let (isn, irs) = (segment.ack - 1, segment.seq - 1);
        let kept = Kept::told(isn, segment.options.timestamps);
        let slot = slot_of(now, isn).ok_or(DropReason::BadCookie)?;
        if self.number(&flow, irs, slot, kept) != isn {
            return Err(DropReason::BadCookie);
        }
        let syn = kept.syn(&flow, irs, segment.options.timestamps);
        let mut tcb = Tcb::accept(now, config, flow, isn, ts_offset, &syn)?;
        (tcb.control_now, tcb.timed) = (false, None);
        let outcome = tcb.handle_segment(now, segment, content)?;
        // The echoed TSval has told the options, not when it was sent.
        tcb.rtt = Rtt::default();
        (tcb.rcv.tuning.rtt_us, tcb.rcv.tuning.measure) = (0, None);
        Ok((tcb, outcome))
    }

    /// The sequence number of a SYN-ACK.
    #[expect(clippy::cast_possible_truncation, reason = "28 bits of the hash are what there is room for")]
    fn number(&self, flow: &Flow, irs: SeqNum, slot: u64, kept: Kept) -> SeqNum {
        let [a, b, c, d] = irs.0.to_be_bytes();
        let [.., s, t, u, v] = slot.to_be_bytes();
        let said = [a, b, c, d, s, t, u, v, kept.mss, kept.options.unwrap_or(NO_OPTIONS)];
        let hash = keyed_hash(self.keys, flow, &said) as u32;
        let slot_bit = if slot.is_multiple_of(2) { 0 } else { SLOT_BIT };
        SeqNum(hash & HASH_BITS | slot_bit | u32::from(kept.mss))
    }
}

/// Whether a segment can be the third of a handshake.
#[must_use]
pub fn may_complete(segment: &Segment<'_>) -> bool {
    segment.flags.has(Flags::ACK) && segment.flags.0 & (Flags::SYN.0 | Flags::RST.0) == 0
}

impl Kept {
    fn of(flow: &Flow, syn: &Segment<'_>) -> Self {
        let default = if flow.vip.addr.is_ipv4() { MSS_DEFAULT } else { MSS_DEFAULT_V6 };
        let offered = syn.options.mss.unwrap_or(default);
        let mss = MSS_TABLE.iter().rposition(|mss| *mss <= offered).unwrap_or(0);
        let scale = syn.options.window_scale.unwrap_or(NO_SCALE);
        let sack = if syn.options.sack_permitted { SACK_BIT } else { 0 };
        let ecn = if Tcb::offers_ecn(syn) { ECN_BIT } else { 0 };
        Self { mss: u8::try_from(mss).unwrap_or(0), options: syn.options.timestamps.map(|_| scale | sack | ecn) }
    }

    /// What an acknowledgment says of the SYN, if `isn` is a cookie.
    fn told(isn: SeqNum, timestamps: Option<Timestamps>) -> Self {
        Self { mss: (isn.0 & MSS_BITS) as u8, options: timestamps.map(|ts| (ts.ecr & OPTION_BITS) as u8) }
    }

    /// The SYN as it is remembered. Its window is not: the acknowledgment has one.
    fn syn(self, flow: &Flow, seq: SeqNum, timestamps: Option<Timestamps>) -> Segment<'static> {
        let bits = self.options.unwrap_or(NO_SCALE);
        let ecn = if bits & ECN_BIT == 0 { Flags::default() } else { ECN_SETUP };
        let scale = bits & SCALE_BITS;
        let options = Options {
            mss: MSS_TABLE.get(usize::from(self.mss)).copied(),
            window_scale: (scale != NO_SCALE).then_some(scale),
            sack_permitted: bits & SACK_BIT != 0,
            timestamps,
            ..Options::default()
        };
        Segment {
            src_port: flow.client.port,
            dst_port: flow.vip.port,
            seq,
            ack: SeqNum(0),
            flags: Flags::SYN.with(ecn),
            window: 0,
            urgent: 0,
            options,
            payload: &[],
            ecn: Ecn::NotEct,
        }
    }
}

/// `tsval` with these bits at its end; not above it, or the connection's own clock would go back behind it.
fn with_options(tsval: u32, options: u8) -> u32 {
    let marked = tsval & !OPTION_BITS | u32::from(options);
    if SeqNum(tsval).lt(SeqNum(marked)) { marked.wrapping_sub(OPTION_BITS + 1) } else { marked }
}

fn slot_at(now: Instant) -> u64 {
    now.micros() / u64::try_from(SLOT.as_micros()).unwrap_or(u64::MAX)
}

/// The slot that a cookie can be of: this, or the one before.
fn slot_of(now: Instant, isn: SeqNum) -> Option<u64> {
    let slot = slot_at(now);
    let is_of_this = (isn.0 & SLOT_BIT != 0) != slot.is_multiple_of(2);
    if is_of_this { Some(slot) } else { slot.checked_sub(1) }
}
