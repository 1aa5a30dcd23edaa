//! Whether the way to a client runs empty although there is something to send: what a move must not do (I5).
//!
//! ```text
//!   node  ---------- half a round trip ---------->  client
//!      last byte leaves    last byte arrives    next byte leaves
//!      |-------------------|====================|
//!                            nothing on the way: drained if it lasts half a round trip, and meanwhile
//!                            the response's bytes, the client's window and the congestion window were there
//! ```
//! Only for links that lose nothing: then whatever was sent arrives, and the congestion window never shrinks. The client's side of
//! the link tells all but the congestion window. That is its owner's: whoever wants to know asks the owner at [`Lull::asked_at`].

use super::wire::Segment;
use crate::http::{Framing, Reader, Step};
use baton_stack::addr::Endpoint;
use baton_stack::time::{Duration, Instant};

/// The most that are kept.
pub const LULLS_MAX: usize = 10_000;

/// Nothing was on the way to a client for half a round trip or longer, and there was something to send that its window had room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lull {
    /// Which client.
    pub client: Endpoint,
    /// Since when.
    pub from: Instant,
    /// When the next byte left.
    pub until: Instant,
    /// Half a round trip before that: had the congestion window room then, too, the way was drained.
    pub asked_at: Instant,
}

/// The way to one client.
#[derive(Debug)]
pub(super) struct Pipe {
    syn_ack_at: Instant,
    round_trip: Option<Duration>,
    /// Segments with text that have left and not arrived.
    on_the_way: u64,
    empty_since: Option<Instant>,
    /// What the client has asked for, as far as the cluster has it, and what it has been sent of that.
    asked: Messages,
    answered: Messages,
    data_since: Option<Instant>,
    /// The sequence number behind all that was sent, and the client's right window edge.
    next: u32,
    edge: u32,
    room_since: Option<Instant>,
    shift: u8,
}

/// Messages in one direction of a connection, byte by byte.
#[derive(Debug)]
struct Messages {
    next: u32,
    reader: Reader,
    complete: u64,
}

impl Messages {
    fn at(next: u32) -> Self {
        Self { next, reader: Reader::new(), complete: 0 }
    }

    /// Takes the segment's new bytes. Those of no known message count for nothing.
    fn take(&mut self, segment: &Segment<'_>) {
        let known = usize::try_from(self.next.wrapping_sub(segment.seq)).unwrap_or(usize::MAX);
        let Some(mut new) = segment.payload.get(known..) else { return };
        self.next = self.next.wrapping_add(u32::try_from(new.len()).unwrap_or(0));
        while let Ok(Some(step)) = self.reader.next(&mut new) {
            match step {
                Step::Head(head) => {
                    let framing = head.framing().ok().flatten();
                    self.reader.begin_body(framing.unwrap_or(Framing::Length(0)));
                }
                Step::Body(_) => {}
                Step::End => self.complete += 1,
            }
        }
    }
}

impl Pipe {
    /// Of a connection whose SYN-ACK leaves now. `shift` is the client's window scale, `edge` its first right window edge.
    pub(super) fn new(at: Instant, syn_ack: &Segment<'_>, shift: u8, edge: u32) -> Self {
        let next = syn_ack.seq.wrapping_add(1);
        Self {
            syn_ack_at: at,
            round_trip: None,
            on_the_way: 0,
            empty_since: Some(at),
            asked: Messages::at(syn_ack.ack.unwrap_or(0)),
            answered: Messages::at(next),
            data_since: None,
            next,
            edge,
            room_since: Some(at),
            shift,
        }
    }

    /// A segment of the client has come to the cluster; perhaps not for the first time.
    pub(super) fn client_heard(&mut self, at: Instant, segment: &Segment<'_>) {
        self.round_trip.get_or_insert_with(|| at.since(self.syn_ack_at));
        self.asked.take(segment);
        self.look_for_data(at);
        let Some(ack) = segment.ack else { return };
        let edge = ack.wrapping_add(u32::from(segment.window) << self.shift);
        if is_after(edge, self.edge) {
            self.edge = edge;
        }
        self.look_for_room(at);
    }

    /// A node sends text. A lull may be over.
    pub(super) fn sent(&mut self, at: Instant, client: Endpoint, segment: &Segment<'_>) -> Option<Lull> {
        let lull = self.lull(at, client);
        self.on_the_way += 1;
        self.empty_since = None;
        self.answered.take(segment);
        let end = segment.seq.wrapping_add(u32::try_from(segment.payload.len()).unwrap_or(0));
        if is_after(end, self.next) {
            self.next = end;
        }
        self.look_for_data(at);
        self.look_for_room(at);
        lull
    }

    /// The client takes text.
    pub(super) fn arrived(&mut self, at: Instant) {
        self.on_the_way = self.on_the_way.saturating_sub(1);
        if self.on_the_way == 0 {
            self.empty_since = Some(at);
        }
    }

    fn lull(&self, at: Instant, client: Endpoint) -> Option<Lull> {
        let from = self.empty_since?.max(self.data_since?).max(self.room_since?);
        let half = self.round_trip? / 2;
        (at.since(from) >= half).then(|| Lull {
            client,
            from,
            until: at,
            asked_at: Instant::from_micros(at.micros().saturating_sub(micros(half))),
        })
    }

    fn look_for_data(&mut self, at: Instant) {
        note(&mut self.data_since, at, self.asked.complete > self.answered.complete);
    }

    fn look_for_room(&mut self, at: Instant) {
        note(&mut self.room_since, at, is_after(self.edge, self.next));
    }
}

/// Notes since when something is so.
fn note(since: &mut Option<Instant>, at: Instant, is_so: bool) {
    *since = is_so.then(|| since.unwrap_or(at));
}

const fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
