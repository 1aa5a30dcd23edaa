//! What people have wished of connections that other nodes own: MOVE-WISH is said again until the owner asks for it.
//!
//! A wish is followed once: when the owner has asked (MOVE-ASK), whatever comes of it, it is not said again. An owner that is busy
//! asks later, so a wish is repeated a few times only.

use baton_stack::addr::ConnId;
use baton_stack::time::{Duration, Instant};

use crate::message::{MoveWish, Outbox};
use crate::names::{Epoch, NodeId};
use crate::retry::Retry;

/// The wait before a wish is said again first.
pub const WISH_RETRY: Duration = Duration::from_millis(20);
/// The longest wait.
pub const WISH_RETRY_MAX: Duration = Duration::from_millis(200);
/// How often a wish is repeated: for 0.7 seconds. By then the owner has heard it, or cannot be reached.
pub const WISH_TRIES_MAX: u8 = 5;
/// Wishes that may have to be said again at the most; one above it is said once.
pub const WISHES_MAX: usize = 256;

/// The wishes of a front-end's people that owners have not asked about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wishes(Vec<Wish>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Wish {
    message: MoveWish,
    retry: Retry,
}

impl Wishes {
    /// Tells `owner`, now and perhaps again. A later wish for the same connection takes the place of an earlier one.
    pub fn wish(&mut self, now: Instant, owner: NodeId, message: MoveWish, out: &mut impl Outbox) {
        out.send(owner, &message.into());
        self.forget(message.c);
        if self.0.len() < WISHES_MAX {
            self.0.push(Wish { message, retry: Retry::new(now, WISH_RETRY) });
        }
    }

    /// The owner has asked for it.
    pub fn forget(&mut self, c: ConnId) {
        self.0.retain(|wish| wish.message.c != c);
    }

    /// Says again what is due. `owner` tells who owns a connection under this epoch and may still be wished something; `None`: nobody, it is over.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        owner: impl Fn(ConnId, Epoch) -> Option<NodeId>,
        out: &mut impl Outbox,
    ) {
        if self.poll_at().is_none_or(|at| now < at) {
            return;
        }
        self.0.retain_mut(|Wish { message, retry }| {
            if !retry.is_due(now) {
                return true;
            }
            let Some(owner) = owner(message.c, message.e).filter(|_| retry.tries < WISH_TRIES_MAX) else {
                return false;
            };
            retry.again(now, WISH_RETRY, WISH_RETRY_MAX);
            out.send(owner, &(*message).into());
            true
        });
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.0.iter().map(|wish| wish.retry.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[derive(Default)]
    struct Said(Vec<(NodeId, ConnId)>);

    impl Outbox for Said {
        fn send(&mut self, to: NodeId, message: &Message<'_>) {
            let Message::MoveWish(wish) = message else { panic!("{message:?}") };
            self.0.push((to, wish.c));
        }
    }

    const OWNER: NodeId = NodeId(1);

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn wish(c: u64) -> MoveWish {
        MoveWish { c: ConnId(c), e: Epoch(3), to: NodeId(2) }
    }

    fn owned(_: ConnId, e: Epoch) -> Option<NodeId> {
        (e == Epoch(3)).then_some(OWNER)
    }

    #[test]
    fn a_wish_is_said_six_times_and_no_more() {
        let (mut wishes, mut said, mut times) = (Wishes::default(), Said::default(), vec![]);
        wishes.wish(at(0), OWNER, wish(1), &mut said);
        while let Some(next) = wishes.poll_at() {
            wishes.handle_timeout(Instant::from_micros(next.micros() - 1), owned, &mut said);
            let before = said.0.len();
            wishes.handle_timeout(next, owned, &mut said);
            if said.0.len() > before {
                times.push(next.micros() / 1_000);
            }
        }
        assert_eq!(times, [20, 60, 140, 300, 500]);
        assert_eq!(said.0, [(OWNER, ConnId(1)); 6]);
    }

    #[test]
    fn what_was_asked_about_or_is_over_is_not_said_again() {
        let (mut wishes, mut said) = (Wishes::default(), Said::default());
        wishes.wish(at(0), OWNER, wish(1), &mut said);
        wishes.wish(at(0), OWNER, MoveWish { e: Epoch(4), ..wish(2) }, &mut said);
        wishes.forget(ConnId(1));
        wishes.handle_timeout(at(20), owned, &mut said);
        assert_eq!((said.0.len(), wishes.poll_at()), (2, None));
    }

    #[test]
    fn a_later_wish_takes_an_earlier_one_s_place() {
        let (mut wishes, mut said) = (Wishes::default(), Said::default());
        wishes.wish(at(0), OWNER, wish(1), &mut said);
        wishes.wish(at(9), OWNER, wish(1), &mut said);
        assert_eq!(wishes.poll_at(), Some(at(29)));
        wishes.handle_timeout(at(29), owned, &mut said);
        assert_eq!(said.0.len(), 3);
    }

    #[test]
    fn wishes_at_their_limit_and_one_past_it() {
        let (mut wishes, mut said) = (Wishes::default(), Said::default());
        let limit = u64::try_from(WISHES_MAX).unwrap();
        (0..=limit).for_each(|c| wishes.wish(at(0), OWNER, wish(c), &mut said));
        assert_eq!(said.0.len(), WISHES_MAX + 1);
        wishes.handle_timeout(at(20), owned, &mut said);
        assert_eq!(said.0.len(), 2 * WISHES_MAX + 1, "one is said once");
    }
}
