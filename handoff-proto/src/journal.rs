//! What a node remembers of its latest moves: one event for each, with its reason and what each phase took.
//!
//! ```text
//!   asked ---> granted ---> frozen ---> handed off ---> installed ---> routed
//!   ASK sent   GRANT came   no byte     all parts       INSTALLED      the front-end's
//!                           from here   sent            came           own view only
//! ```
//! A donor sees the first five; the front-end sees of a later move when it granted and when it routed.

use std::collections::VecDeque;

use baton_stack::addr::ConnId;
use baton_stack::time::{Duration, Instant};

use crate::message::{Grant, RefuseReason};
use crate::names::{Epoch, NodeId};

/// How many moves a node remembers; older ones are forgotten.
pub const MOVES_MAX: usize = 1_024;

/// Why a connection was to move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveReason {
    /// Its next request is served elsewhere.
    Request,
    /// Somebody wished it.
    Admin,
    /// Its owner drains.
    Drain,
}

impl MoveReason {
    /// Why a grant was given.
    #[must_use]
    pub const fn of(grant: &Grant, owner_drains: bool) -> Self {
        match grant.strip {
            Some(_) => Self::Request,
            None if owner_drains => Self::Drain,
            None => Self::Admin,
        }
    }

    /// The reason's name in logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Admin => "admin",
            Self::Drain => "drain",
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveResult {
    /// The recipient has it.
    Moved,
    /// The recipient refused, and said why; the donor has it as before.
    Refused(RefuseReason),
    /// The front-end says that the recipient never took it; the donor has it as before.
    TakenBack,
    /// The recipient died and may have sent: the front-end resets the client.
    Lost,
    /// The front-end gave no grant to where somebody wished it.
    NotGranted,
}

impl MoveResult {
    /// The result of a move that was taken back.
    #[must_use]
    pub fn refused(reason: Option<RefuseReason>) -> Self {
        reason.map_or(Self::TakenBack, Self::Refused)
    }

    /// The result's name in logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Refused(_) => "refused",
            Self::TakenBack => "taken_back",
            Self::Lost => "lost",
            Self::NotGranted => "not_granted",
        }
    }
}

/// One move. Times count from the moment that it was asked for, which a front-end takes to be that of its grant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MoveEvent {
    /// The connection.
    pub c: ConnId,
    /// The donor's epoch.
    pub base: Epoch,
    /// The attempt's epoch; the donor's where no grant was given.
    pub e2: Epoch,
    /// The recipient, and its name as far as it is known.
    pub to: (NodeId, String),
    /// Why.
    pub reason: MoveReason,
    /// What became of it.
    pub result: MoveResult,
    /// When it was asked for, by the node's own clock.
    pub asked: Instant,
    /// Until the grant came.
    pub granted: Option<Duration>,
    /// Until the connection was frozen: from there on the donor was silent.
    pub frozen: Option<Duration>,
    /// Until the last part of the image had been given to the session.
    pub handed_off: Option<Duration>,
    /// Until the recipient's word came.
    pub installed: Option<Duration>,
    /// Until the front-end routed the connection to its new owner.
    pub routed: Option<Duration>,
    /// The image's length and the number of its parts.
    pub image: Option<(usize, u16)>,
}

impl MoveEvent {
    /// A move for which a grant was asked then, and came at `granted`.
    #[must_use]
    pub const fn begun(grant: &Grant, to: String, asked: Instant, granted: Instant, owner_drains: bool) -> Self {
        Self {
            c: grant.c,
            base: grant.base,
            e2: grant.e2,
            to: (grant.to, to),
            reason: MoveReason::of(grant, owner_drains),
            result: MoveResult::Moved,
            asked,
            granted: Some(granted.since(asked)),
            frozen: None,
            handed_off: None,
            installed: None,
            routed: None,
            image: None,
        }
    }
}

/// The latest moves, numbered from 1.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    moves: VecDeque<MoveEvent>,
    last: u64,
}

/// Some of a journal's moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moves {
    /// With their numbers, oldest first.
    pub list: Vec<(u64, MoveEvent)>,
    /// The number of the newest move that there is.
    pub last: u64,
}

impl Journal {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { moves: VecDeque::new(), last: 0 }
    }

    /// Notes a move whose fate is known. Above [`MOVES_MAX`] the oldest is forgotten.
    pub fn note(&mut self, event: MoveEvent) {
        if self.moves.len() >= MOVES_MAX {
            self.moves.pop_front();
        }
        self.moves.push_back(event);
        self.last += 1;
    }

    /// At most `limit` moves with numbers above `after`. Of those that are forgotten nothing is said: their numbers are missing.
    #[must_use]
    pub fn after(&self, after: u64, limit: usize) -> Moves {
        let first = self.last - u64::try_from(self.moves.len()).unwrap_or(self.last);
        let skip = usize::try_from(after.saturating_sub(first)).unwrap_or(usize::MAX);
        let numbered = (first + 1..).zip(&self.moves).skip(skip).take(limit);
        Moves { list: numbered.map(|(number, event)| (number, event.clone())).collect(), last: self.last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Generation;

    fn event(n: u64) -> MoveEvent {
        let grant = Grant {
            c: ConnId(n),
            base: Epoch(1),
            e2: Epoch(2),
            to: NodeId(2),
            g: Generation(1),
            n: 0,
            strip: n.is_multiple_of(2).then_some(0),
        };
        MoveEvent::begun(&grant, "be2".to_owned(), Instant::from_micros(5), Instant::from_micros(9), false)
    }

    fn numbers(moves: &Moves) -> Vec<u64> {
        assert!(moves.list.iter().all(|(number, event)| event.c.0 == *number));
        moves.list.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn moves_are_numbered_and_read_on_from_where_one_was() {
        let mut journal = Journal::new();
        assert_eq!(journal.after(0, 10), Moves { list: vec![], last: 0 });
        (1..=5).for_each(|n| journal.note(event(n)));
        assert_eq!(numbers(&journal.after(0, 2)), [1, 2]);
        assert_eq!(numbers(&journal.after(2, 10)), [3, 4, 5]);
        assert_eq!((numbers(&journal.after(5, 10)), journal.after(9, 1).last), (vec![], 5));
        assert_eq!(numbers(&journal.after(u64::MAX, 10)), [0; 0]);
    }

    #[test]
    fn as_many_are_remembered_as_named_and_not_one_more() {
        let mut journal = Journal::new();
        let max = u64::try_from(MOVES_MAX).unwrap();
        (1..=max).for_each(|n| journal.note(event(n)));
        assert_eq!(numbers(&journal.after(0, usize::MAX)), (1..=max).collect::<Vec<_>>());
        journal.note(event(max + 1));
        assert_eq!(numbers(&journal.after(0, usize::MAX)), (2..=max + 1).collect::<Vec<_>>(), "the first is forgotten");
        assert_eq!(numbers(&journal.after(max - 1, 10)), [max, max + 1]);
    }

    #[test]
    fn a_grant_says_why() {
        assert_eq!((event(2).reason, event(3).reason), (MoveReason::Request, MoveReason::Admin));
        assert_eq!(event(2).granted, Some(Duration::from_micros(4)));
        let refused = |reason| MoveResult::refused(reason).label();
        assert_eq!((refused(None), refused(Some(RefuseReason::Limit))), ("taken_back", "refused"));
    }
}
