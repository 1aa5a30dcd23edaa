//! One client connection as seen on the wire, at the moment each segment leaves its sender.
//!
//! ```text
//! sequence space, relative to the server's ISS
//!   0      1 .......... high              FIN
//!   SYN    bytes sent by anyone so far    after the last byte, once and for all
//! ```

use super::wire::Segment;
use super::{Found, Rules};
use crate::world::DeviceId;
use baton_stack::time::{Duration, Instant};

/// What the client's SYN offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Offer {
    pub(super) isn: u32,
    window: u16,
    scale: Option<u8>,
    timestamps: bool,
}

impl Offer {
    pub(super) fn new(syn: &Segment<'_>) -> Self {
        Self { isn: syn.seq, window: syn.window, scale: syn.window_scale, timestamps: syn.tsval.is_some() }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct FlowWatch {
    offer: Offer,
    iss: u32,
    /// Shifts of the server's and the client's windows (RFC 7323 section 2.2: both or none).
    server_shift: u8,
    client_shift: u8,
    timestamps: bool,
    /// Who spoke last, and the tag of what it said.
    pub(super) speaker: (DeviceId, u64),
    /// How often another node went on.
    pub(super) moves: u64,
    sent: Vec<Option<u8>>,
    fin: Option<usize>,
    ack: u32,
    edge: u32,
    tsval: Option<u32>,
    client_next: u32,
    client_edge: u32,
    client_acked: u32,
    client_fin: Option<u32>,
    client_reset: bool,
    front_end_error: bool,
    /// Who sent the last new byte, and when.
    last_byte: Option<(DeviceId, Instant)>,
}

/// The greatest window shift (RFC 7323 section 2.3).
const SHIFT_MAX: u8 = 14;
/// Bytes that a node may leave out, where the rules allow it to at all: what it wrote and then held back.
const GAP_LEN_MAX: usize = 1 << 20;

impl FlowWatch {
    /// A connection that begins with this SYN-ACK.
    pub(super) fn new(offer: Offer, speaker: (DeviceId, u64), segment: &Segment<'_>) -> Self {
        let (server_shift, client_shift) = match (segment.window_scale, offer.scale) {
            (Some(server), Some(client)) => (server.min(SHIFT_MAX), client.min(SHIFT_MAX)),
            _ => (0, 0),
        };
        let ack = segment.ack.unwrap_or(0);
        let iss = segment.seq;
        Self {
            offer,
            iss,
            server_shift,
            client_shift,
            timestamps: offer.timestamps && segment.tsval.is_some(),
            speaker,
            moves: 0,
            sent: Vec::new(),
            fin: None,
            ack,
            edge: ack.wrapping_add(u32::from(segment.window)),
            tsval: segment.tsval,
            client_next: offer.isn.wrapping_add(1),
            client_edge: iss.wrapping_add(1).wrapping_add(u32::from(offer.window)),
            client_acked: iss,
            client_fin: None,
            client_reset: false,
            front_end_error: false,
            last_byte: None,
        }
    }

    /// Whether `offer` and a SYN-ACK with this sequence number belong to this connection.
    pub(super) fn is_of(&self, offer: Offer) -> bool {
        self.offer.isn == offer.isn
    }

    /// Whether a SYN-ACK may still replace the last one: nothing has been built on it.
    pub(super) fn is_fresh(&self) -> bool {
        self.sent.is_empty() && self.client_next == self.offer.isn.wrapping_add(1)
    }

    /// The shift of the client's windows, and their right edge at first.
    pub(super) const fn client_window(&self) -> (u8, u32) {
        (self.client_shift, self.client_edge)
    }

    /// The server's ISS.
    pub(super) const fn iss(&self) -> u32 {
        self.iss
    }

    /// How many bytes the server has sent, retransmissions not counted.
    pub(super) fn sent_len(&self) -> u64 {
        u64::try_from(self.sent.len()).unwrap_or(u64::MAX)
    }

    /// Whether a RST is the right answer to what is still under way: the client has reset the connection, or both
    /// ends have closed and acknowledged it (RFC 9293 section 3.10.7.1: a closed connection answers with RST).
    pub(super) fn is_over(&self) -> bool {
        let fin =
            self.fin.and_then(|fin| u32::try_from(fin).ok()).map(|fin| self.iss.wrapping_add(2).wrapping_add(fin));
        let server_closed = fin.is_some_and(|end| after(end, self.client_acked) <= 0);
        let client_closed = self.client_fin.is_some_and(|end| after(end, self.ack) <= 0);
        self.client_reset || (server_closed && client_closed)
    }

    /// Whether the client would act on a RST with this sequence number (RFC 5961 section 3.2).
    pub(super) const fn would_reset(&self, seq: u32) -> bool {
        after(seq, self.client_acked) >= 0 && after(self.client_edge, seq) >= 0
    }

    /// Takes note of what the client sends.
    pub(super) fn client_sends(&mut self, segment: &Segment<'_>) {
        if segment.rst {
            self.client_reset = true;
            return;
        }
        let len = u32::try_from(segment.payload.len()).unwrap_or(0) + u32::from(segment.fin);
        self.client_next = later(self.client_next, segment.seq.wrapping_add(len));
        if segment.fin {
            self.client_fin = Some(segment.seq.wrapping_add(len));
        }
        if let Some(ack) = segment.ack {
            self.client_acked = later(self.client_acked, ack);
            let edge = ack.wrapping_add(u32::from(segment.window) << self.client_shift);
            self.client_edge = later(self.client_edge, edge);
        }
    }

    /// Whether the client has sent its FIN.
    pub(super) const fn client_has_closed(&self) -> bool {
        self.client_fin.is_some()
    }

    /// Takes note of when new bytes are sent, before they are checked. Gives how long the connection was silent because another
    /// node has gone on with it: zero if none has.
    pub(super) fn note_byte(&mut self, at: Instant, from: DeviceId, segment: &Segment<'_>) -> Option<Duration> {
        let start = usize::try_from(segment.seq.wrapping_sub(self.iss).wrapping_sub(1)).ok()?;
        if segment.payload.is_empty() || start < self.sent.len() {
            return None;
        }
        let before = self.last_byte.replace((from, at));
        let (_, before) = before.filter(|(speaker, _)| *speaker != from).unwrap_or((from, at));
        Some(at.since(before))
    }

    /// Checks a segment without SYN and RST that the server's side sends.
    pub(super) fn server_sends(
        &mut self,
        segment: &Segment<'_>,
        from_front_end: bool,
        rules: Rules,
        found: &mut Found<'_>,
    ) {
        // An old acknowledgment may complete a SYN cookie once more when the connection is long over (RFC 4987 section 3.6): what
        // is answered to it then reaches nobody.
        if from_front_end && self.is_over() && segment.payload.is_empty() {
            return;
        }
        self.check_bytes(segment, rules, found);
        self.check_acknowledgment(segment, found);
        self.check_timestamp(segment, found);
        if from_front_end && !segment.payload.is_empty() && !self.front_end_error {
            self.front_end_error = is_error(segment.payload);
            if !self.front_end_error {
                found.violation("bypass", "the front-end sends response bytes that are no error of its own");
            }
        }
    }

    fn check_bytes(&mut self, segment: &Segment<'_>, rules: Rules, found: &mut Found<'_>) {
        let offset = segment.seq.wrapping_sub(self.iss).wrapping_sub(1).cast_signed();
        let Ok(start) = usize::try_from(offset) else {
            if !segment.payload.is_empty() {
                found.violation("bytes", &format!("{} bytes before the first", segment.payload.len()));
            }
            return;
        };
        let end = start + segment.payload.len();
        // The FIN takes a sequence number of its own.
        let next = self.sent.len() + usize::from(self.fin.is_some());
        if start > next && !rules.silent_takeover {
            found.violation("bytes", &format!("a gap: goes on at {start}, only {} bytes were sent", self.sent.len()));
        }
        if !segment.payload.is_empty() && self.fin.is_some_and(|fin| end > fin) {
            found.violation("bytes", &format!("bytes up to {end} after a FIN at {:?}", self.fin));
        }
        if segment.fin && self.fin.is_some_and(|fin| fin != end) {
            found.violation("bytes", &format!("a FIN at {end}, another was at {:?}", self.fin));
        }
        if segment.fin {
            self.fin = Some(end);
        }
        // One byte past the edge is a zero-window probe (RFC 9293 section 3.8.6.1).
        let past = after(segment.seq.wrapping_add(u32::try_from(segment.payload.len()).unwrap_or(0)), self.client_edge);
        if past > 1 && !rules.any_window {
            found.violation("window", &format!("sends {past} bytes past the client's window"));
        }
        if segment.payload.is_empty() {
            return;
        }
        if start > self.sent.len() + GAP_LEN_MAX {
            found.violation("bytes", &format!("goes on at {start} after {} bytes", self.sent.len()));
            return;
        }
        if self.sent.len() < end {
            self.sent.resize(end, None);
        }
        // A keep-alive's byte may be any (RFC 1122 section 4.2.3.6): it lies before what the client has acknowledged.
        if segment.payload.len() == 1 && after(segment.seq, self.client_acked) < 0 {
            return;
        }
        for (position, (slot, &byte)) in (start..).zip(self.sent[start..end].iter_mut().zip(segment.payload)) {
            if slot.is_some_and(|before| before != byte) {
                found.violation("bytes", &format!("byte {position} of the stream was another when it was first sent"));
                break;
            }
            *slot = Some(byte);
        }
    }

    fn check_acknowledgment(&mut self, segment: &Segment<'_>, found: &mut Found<'_>) {
        let Some(ack) = segment.ack else {
            found.violation("ack", "a segment without an acknowledgment");
            return;
        };
        if after(self.ack, ack) > 0 {
            found.violation("ack", &format!("the ACK number goes back by {}", after(self.ack, ack)));
        }
        if after(ack, self.client_next) > 0 {
            found.violation("ack", &format!("acknowledges {} bytes never sent", after(ack, self.client_next)));
        }
        self.ack = later(self.ack, ack);
        let edge = ack.wrapping_add(u32::from(segment.window) << self.server_shift);
        // A window is a multiple of the shift's unit, an ACK number is not: the edge may waver by less than a unit.
        let back = after(self.edge, edge);
        if back >= 1 << self.server_shift {
            found.violation("edge", &format!("the right window edge goes back by {back}"));
        }
        self.edge = later(self.edge, edge);
    }

    fn check_timestamp(&mut self, segment: &Segment<'_>, found: &mut Found<'_>) {
        if !self.timestamps {
            return;
        }
        match (self.tsval, segment.tsval) {
            (Some(before), Some(now)) => {
                if after(before, now) > 0 {
                    found.violation("tsval", &format!("TSval goes back by {}", after(before, now)));
                }
                self.tsval = Some(later(before, now));
            }
            (_, None) => found.violation("tsval", "a segment without timestamps after they were negotiated"),
            (None, now) => self.tsval = now,
        }
    }
}

/// How far `a` is after `b` in sequence space; zero or negative if it is not.
const fn after(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b).cast_signed()
}

const fn later(a: u32, b: u32) -> u32 {
    if after(a, b) > 0 { a } else { b }
}

/// Whether a response begins here and is an error.
fn is_error(payload: &[u8]) -> bool {
    payload.starts_with(b"HTTP/1.") && matches!(payload.get(9), Some(b'4' | b'5'))
}
