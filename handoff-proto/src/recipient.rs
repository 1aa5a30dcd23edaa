//! The recipient: takes images in, decides once about each attempt, and remembers what it decided.
//!
//! ```text
//!   (nothing) --HANDOFF parts--> coming in --whole--> Arrival --install--> Installed --ROUTED, DONE--+
//!       |                            |                   \----refuse-----> Refused ------DONE--------+--T_life--> (nothing)
//!       +---------REVOKE-------------+-----------------------------------> Revoked ------------------+
//! ```
//! A record is repeated to those who must know it until they confirm (R9), and kept for [`MESSAGE_LIFE`] after (R10):
//! by then no message of the attempt exists any more.
//!
//! One per front-end: generations and node ids are the front-end's.

use std::collections::{BTreeMap, BTreeSet};

use baton_stack::addr::{ConnId, Flow};
use baton_stack::drop::DropReason;
use baton_stack::time::{Duration, Instant};

use crate::image::{IMAGE_BYTES_MAX, Image};
use crate::message::{
    Done, Handoff, Installed, Message, Outbox, PartAck, RefuseReason, Refused, Revoke, Revoked, Routed,
};
use crate::names::{Epoch, Generation, NodeId};
use crate::parts::PartsIn;
use crate::retry::Retry;

/// T_life: the greatest age of a message. Receivers drop older ones; records stay this much longer than needed.
pub const MESSAGE_LIFE: Duration = Duration::from_secs(2);
/// The wait before a record is repeated first.
pub const RECORD_RETRY: Duration = Duration::from_millis(20);
/// The longest wait between two repetitions of a record. They go on for as long as the node's lease does, or until the
/// other node's life is over.
pub const RECORD_RETRY_MAX: Duration = Duration::from_millis(500);
/// How long a donor that keeps what was in flight has for its word, which comes with RELEASED, before it is asked for it.
pub const RECORD_TAIL_RETRY: Duration = Duration::from_secs(1);
/// How long the next part of an image may take before the attempt is refused.
pub const PART_TIME_MAX: Duration = Duration::from_secs(2);

/// How much a recipient takes in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RecipientLimits {
    /// Images that are incomplete at one time.
    pub images: usize,
    /// Bytes of incomplete images in all.
    pub image_bytes: usize,
    /// Records. Above it no image is taken and nothing is revoked: the others ask again.
    pub records: usize,
}

impl Default for RecipientLimits {
    fn default() -> Self {
        Self { images: 4_096, image_bytes: 64 << 20, records: 1 << 18 }
    }
}

/// One attempt to move one connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Attempt {
    /// The connection.
    pub c: ConnId,
    /// The attempt's epoch.
    pub e2: Epoch,
}

/// A whole image, to be installed or refused now. If it is dropped instead, the donor sends it again.
///
/// The connection may come back to a node that is still frozen as its donor, and does not know yet that it has arrived
/// where it went: then [`Donor::handle_route`](crate::donor::Donor::handle_route) with `base` says so.
#[derive(PartialEq, Eq, Debug)]
#[must_use]
pub struct Arrival {
    /// Which attempt.
    pub attempt: Attempt,
    /// The donor.
    pub donor: NodeId,
    /// The donor's epoch.
    pub base: Epoch,
    /// The image's bytes.
    pub image: Vec<u8>,
}

/// All attempts towards this node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Recipient {
    limits: RecipientLimits,
    g: Generation,
    incoming: BTreeMap<Attempt, Incoming>,
    incoming_bytes: usize,
    records: BTreeMap<Attempt, Record>,
    /// Flows whose image will not be taken although it was not whole: at most as many as there may be incomplete images.
    given_up: Vec<Flow>,
    /// One entry for each incoming image and each record.
    due: BTreeSet<(Instant, Attempt)>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Incoming {
    donor: NodeId,
    parts: PartsIn,
    until: Instant,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Record {
    verdict: Verdict,
    /// Who must confirm. `None` if a REVOKE came before any HANDOFF: then none follows, except one already under way.
    donor: Option<NodeId>,
    donor_knows: bool,
    front_end_knows: bool,
    retry: Retry,
    /// Until when the donor is not told again.
    donor_has_until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Verdict {
    Installed,
    Refused(RefuseReason),
    Revoked,
}

impl Recipient {
    /// Without a generation: everything is ignored until [`Self::set_generation`].
    #[must_use]
    pub const fn new(limits: RecipientLimits) -> Self {
        Self {
            limits,
            g: Generation::NONE,
            incoming: BTreeMap::new(),
            incoming_bytes: 0,
            records: BTreeMap::new(),
            given_up: Vec::new(),
            due: BTreeSet::new(),
        }
    }

    /// The node's generation.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.g
    }

    /// The node has a new generation: everything of the old one is forgotten, silently (R3).
    pub fn set_generation(&mut self, g: Generation) {
        if g != self.g {
            *self = Self { g, ..Self::new(self.limits) };
        }
    }

    /// Takes a part of an image in. An `Arrival` is to be decided at once.
    ///
    /// # Errors
    /// Nothing changes and nothing is said: the message is of another generation (R4), the node has no lease (R13), a
    /// later attempt is known, or there is no room to remember a decision.
    pub fn handle_handoff(
        &mut self,
        now: Instant,
        from: NodeId,
        part: &Handoff<'_>,
        has_lease: bool,
        out: &mut impl Outbox,
    ) -> Result<Option<Arrival>, DropReason> {
        if part.g != self.g || self.g == Generation::NONE || !has_lease {
            return Err(DropReason::MessageStale);
        }
        let attempt = Attempt { c: part.c, e2: part.e2 };
        if let Some(record) = self.records.get_mut(&attempt) {
            let donor = *record.donor.get_or_insert(from);
            if donor == from {
                record.tell_donor(attempt, self.g, donor, out);
            }
            return Ok(None);
        }
        if self.knows_later(attempt) {
            return Err(DropReason::MessageStale);
        }
        if self.records.len() >= self.limits.records {
            return Err(DropReason::MessageLimit);
        }
        match self.reassemble(now, from, attempt, part) {
            Reassembly::Whole(image) => Ok(Some(Arrival { attempt, donor: from, base: part.base, image })),
            Reassembly::Partial(missing, beyond) => {
                let Attempt { c, e2 } = attempt;
                out.send(from, &PartAck { c, e2, g: self.g, missing, beyond }.into());
                Ok(None)
            }
            Reassembly::Misfit => Err(DropReason::MessageMalformed),
            Reassembly::Refuse(reason) => {
                self.give_up(Some(part.bytes).filter(|_| part.part == 0).and_then(Image::flow_in));
                self.decide(now, attempt, Some(from), Verdict::Refused(reason), out);
                Ok(None)
            }
        }
    }

    /// The node has thawed the image and owns the connection from now on.
    pub fn install(&mut self, now: Instant, attempt: Attempt, donor: NodeId, out: &mut impl Outbox) {
        self.decide(now, attempt, Some(donor), Verdict::Installed, out);
    }

    /// The donor of an installed image keeps what was in flight: it confirms with RELEASED, later than others.
    pub fn leave_time(&mut self, now: Instant, attempt: Attempt) {
        if let Some(record) = self.records.get_mut(&attempt) {
            record.donor_has_until = now + RECORD_TAIL_RETRY;
        }
    }

    /// The node does not take the image, and never will.
    pub fn refuse(
        &mut self,
        now: Instant,
        attempt: Attempt,
        donor: NodeId,
        reason: RefuseReason,
        out: &mut impl Outbox,
    ) {
        self.decide(now, attempt, Some(donor), Verdict::Refused(reason), out);
    }

    /// The front-end takes an attempt back, if it is not too late.
    ///
    /// # Errors
    /// Nothing changes and nothing is said, as in [`Self::handle_handoff`].
    pub fn handle_revoke(
        &mut self,
        now: Instant,
        revoke: &Revoke,
        has_lease: bool,
        out: &mut impl Outbox,
    ) -> Result<(), DropReason> {
        let Revoke { c, e2, g, flow } = *revoke;
        if g != self.g || self.g == Generation::NONE || !has_lease {
            return Err(DropReason::MessageStale);
        }
        let attempt = Attempt { c, e2 };
        match self.records.get(&attempt) {
            Some(record) => record.tell_front_end(attempt, self.g, out),
            None if self.records.len() >= self.limits.records => return Err(DropReason::MessageLimit),
            None => {
                let incoming = self.forget_incoming(attempt);
                self.give_up(Some(flow));
                self.decide(now, attempt, incoming.map(|incoming| incoming.donor), Verdict::Revoked, out);
            }
        }
        Ok(())
    }

    /// The front-end routes to this node, or has gone on.
    ///
    /// # Errors
    /// No such attempt is remembered.
    pub fn handle_routed(&mut self, now: Instant, routed: &Routed) -> Result<(), DropReason> {
        self.confirm(now, Attempt { c: routed.c, e2: routed.e2 }, Record::front_end_confirms)
    }

    /// The donor `from` knows.
    ///
    /// # Errors
    /// No such attempt of this donor is remembered.
    pub fn handle_done(&mut self, now: Instant, from: NodeId, done: &Done) -> Result<(), DropReason> {
        let attempt = Attempt { c: done.c, e2: done.e2 };
        if self.records.get(&attempt).is_some_and(|record| record.donor == Some(from)) {
            self.confirm(now, attempt, |record| record.donor_knows = true)
        } else {
            Err(DropReason::MessageStale)
        }
    }

    /// The front-end has no such connection any more: no attempt needs its word.
    pub fn handle_over(&mut self, now: Instant, c: ConnId) {
        for attempt in self.attempts_of(c) {
            let _ = self.confirm(now, attempt, Record::front_end_confirms);
        }
    }

    /// The life of `node` is over: it need not confirm anything.
    pub fn handle_node_down(&mut self, now: Instant, node: NodeId) {
        let of_node = |(attempt, record): (&Attempt, &Record)| (record.donor == Some(node)).then_some(*attempt);
        let attempts: Vec<_> = self.records.iter().filter_map(of_node).collect();
        for attempt in attempts {
            let _ = self.confirm(now, attempt, |record| record.donor_knows = true);
        }
    }

    /// Repeats what is due, forgets what is over. Not to be called without a lease (R13). `lives` says of a node whether
    /// it does: the image of one that is dead may still have come after the word of its death.
    pub fn handle_timeout(&mut self, now: Instant, lives: impl Fn(NodeId) -> bool, out: &mut impl Outbox) {
        while let Some(&(at, attempt)) = self.due.first().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, attempt));
            if let Some(incoming) = self.forget_incoming(attempt) {
                self.give_up(incoming.parts.first().and_then(Image::flow_in));
                let verdict = Verdict::Refused(RefuseReason::Incomplete);
                self.decide(now, attempt, Some(incoming.donor), verdict, out);
            } else if let Some(record) = self.records.get_mut(&attempt) {
                if record.is_confirmed() {
                    self.records.remove(&attempt);
                    continue;
                }
                record.donor_knows |= record.donor.is_some_and(|donor| !lives(donor));
                if record.is_confirmed() {
                    record.retry.at = now + MESSAGE_LIFE;
                } else {
                    record.retry.again(now, RECORD_RETRY, RECORD_RETRY_MAX);
                    record.tell(now, attempt, self.g, out);
                }
                self.due.insert((record.retry.at, attempt));
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether it is too late for this attempt: what becomes of it, or of a later one, was decided here.
    #[must_use]
    pub fn has_decided(&self, attempt: Attempt) -> bool {
        self.records.contains_key(&attempt) || self.knows_later(attempt)
    }

    /// Whether [`Self::take_given_up`] has anything to give.
    #[must_use]
    pub const fn has_given_up(&self) -> bool {
        !self.given_up.is_empty()
    }

    /// Flows of attempts that were revoked, or refused before their image was whole, as far as its beginning had come: packets that wait for
    /// them go back (R11).
    pub fn take_given_up(&mut self) -> Vec<Flow> {
        core::mem::take(&mut self.given_up)
    }

    /// How many images are incomplete.
    #[must_use]
    pub fn incoming(&self) -> usize {
        self.incoming.len()
    }

    /// How many decisions are remembered.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records.len()
    }

    fn reassemble(&mut self, now: Instant, from: NodeId, attempt: Attempt, part: &Handoff<'_>) -> Reassembly {
        if !self.incoming.contains_key(&attempt) {
            match self.start(now, from, part) {
                Ok(incoming) if incoming.parts.is_single() => {
                    let mut parts = incoming.parts;
                    let fits = parts.insert(part.part, part.part_bytes, part.bytes);
                    return if fits { Reassembly::Whole(parts.into_bytes()) } else { Reassembly::Misfit };
                }
                Ok(incoming) => {
                    self.incoming_bytes += incoming.parts.total();
                    self.due.insert((incoming.until, attempt));
                    self.incoming.insert(attempt, incoming);
                }
                Err(refusal) => return refusal,
            }
        }
        let Some(incoming) = self.incoming.get_mut(&attempt) else { return Reassembly::Misfit };
        let is_same = incoming.donor == from && usize::try_from(part.total) == Ok(incoming.parts.total());
        if !is_same || !incoming.parts.insert(part.part, part.part_bytes, part.bytes) {
            return Reassembly::Misfit;
        }
        if incoming.parts.is_whole() {
            let image = self.forget_incoming(attempt).map(|incoming| incoming.parts.into_bytes());
            return image.map_or(Reassembly::Misfit, Reassembly::Whole);
        }
        self.due.remove(&(incoming.until, attempt));
        incoming.until = now + PART_TIME_MAX;
        self.due.insert((incoming.until, attempt));
        let (missing, beyond) = incoming.parts.acknowledgment();
        Reassembly::Partial(missing, beyond)
    }

    /// Checks every length before anything is allocated.
    fn start(&self, now: Instant, donor: NodeId, part: &Handoff<'_>) -> Result<Incoming, Reassembly> {
        let total = usize::try_from(part.total).unwrap_or(usize::MAX);
        if total > IMAGE_BYTES_MAX {
            return Err(Reassembly::Refuse(RefuseReason::TooLarge));
        }
        let is_single = total <= usize::from(part.part_bytes);
        let is_full = self.incoming.len() >= self.limits.images
            || self.incoming_bytes.saturating_add(total) > self.limits.image_bytes;
        if !is_single && is_full {
            return Err(Reassembly::Refuse(RefuseReason::Limit));
        }
        let parts = PartsIn::new(total, part.part_bytes).ok_or(Reassembly::Misfit)?;
        Ok(Incoming { donor, parts, until: now + PART_TIME_MAX })
    }

    /// An image of this flow, if it is known, will not be taken.
    fn give_up(&mut self, flow: Option<Flow>) {
        if self.given_up.len() < self.limits.images {
            self.given_up.extend(flow);
        }
    }

    fn forget_incoming(&mut self, attempt: Attempt) -> Option<Incoming> {
        let incoming = self.incoming.remove(&attempt)?;
        self.incoming_bytes -= incoming.parts.total();
        self.due.remove(&(incoming.until, attempt));
        Some(incoming)
    }

    fn decide(
        &mut self,
        now: Instant,
        attempt: Attempt,
        donor: Option<NodeId>,
        verdict: Verdict,
        out: &mut impl Outbox,
    ) {
        let mut record = Record {
            verdict,
            donor,
            donor_knows: donor.is_none(),
            front_end_knows: verdict != Verdict::Installed,
            retry: Retry::new(now, RECORD_RETRY),
            donor_has_until: now,
        };
        record.tell(now, attempt, self.g, out);
        if verdict == Verdict::Revoked {
            record.tell_front_end(attempt, self.g, out);
        }
        if record.is_confirmed() {
            record.retry.at = now + MESSAGE_LIFE;
        }
        self.due.insert((record.retry.at, attempt));
        self.records.insert(attempt, record);
    }

    fn confirm(&mut self, now: Instant, attempt: Attempt, note: impl FnOnce(&mut Record)) -> Result<(), DropReason> {
        let record = self.records.get_mut(&attempt).ok_or(DropReason::MessageStale)?;
        let was_confirmed = record.is_confirmed();
        note(record);
        if record.is_confirmed() && !was_confirmed {
            self.due.remove(&(record.retry.at, attempt));
            record.retry.at = now + MESSAGE_LIFE;
            self.due.insert((record.retry.at, attempt));
        }
        Ok(())
    }

    /// A later attempt of the connection has come to this node: nobody waits for this one any more.
    fn knows_later(&self, attempt: Attempt) -> bool {
        let end = Attempt { c: attempt.c, e2: Epoch(u32::MAX) };
        self.records.range(attempt..=end).any(|(known, _)| known.e2 > attempt.e2)
    }

    fn attempts_of(&self, c: ConnId) -> Vec<Attempt> {
        let all = Attempt { c, e2: Epoch::FIRST }..=Attempt { c, e2: Epoch(u32::MAX) };
        self.records.range(all).map(|(attempt, _)| *attempt).collect()
    }
}

enum Reassembly {
    Whole(Vec<u8>),
    Partial(u16, u128),
    Misfit,
    Refuse(RefuseReason),
}

impl Record {
    const fn is_confirmed(&self) -> bool {
        self.donor_knows && self.front_end_knows
    }

    /// Its word is also that of the donor of a first handoff.
    fn front_end_confirms(&mut self) {
        self.front_end_knows = true;
        self.donor_knows |= self.donor == Some(NodeId::FRONT_END);
    }

    /// Says the verdict to everybody who has not confirmed it and has had time to.
    fn tell(&self, now: Instant, attempt: Attempt, g: Generation, out: &mut impl Outbox) {
        if !self.front_end_knows {
            self.tell_front_end(attempt, g, out);
        }
        let also_front_end = self.donor == Some(NodeId::FRONT_END) && self.verdict == Verdict::Installed;
        if let Some(donor) = self.donor
            && !self.donor_knows
            && self.donor_has_until <= now
            && (!also_front_end || self.front_end_knows)
        {
            self.tell_donor(attempt, g, donor, out);
        }
    }

    fn tell_donor(&self, attempt: Attempt, g: Generation, donor: NodeId, out: &mut impl Outbox) {
        let Attempt { c, e2 } = attempt;
        let message: Message<'_> = match self.verdict {
            Verdict::Installed => Installed { c, e2, g }.into(),
            Verdict::Refused(reason) => Refused { c, e2, g, reason }.into(),
            Verdict::Revoked => Refused { c, e2, g, reason: RefuseReason::Revoked }.into(),
        };
        out.send(donor, &message);
    }

    fn tell_front_end(&self, attempt: Attempt, g: Generation, out: &mut impl Outbox) {
        let Attempt { c, e2 } = attempt;
        let message: Message<'_> = match self.verdict {
            Verdict::Installed => Installed { c, e2, g }.into(),
            Verdict::Refused(_) | Verdict::Revoked => Revoked { c, e2, g }.into(),
        };
        out.send(NodeId::FRONT_END, &message);
    }
}
