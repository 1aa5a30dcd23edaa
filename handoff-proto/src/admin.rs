//! What people ask of a running node about its connections, and what they are told. The same at front-ends and back-ends.

use baton_stack::addr::{ConnId, Flow};
use baton_stack::time::Duration;

use crate::journal::Moves;
use crate::names::Epoch;
use crate::seal::Secrets;

/// What may be asked of a running node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Its numbers.
    Stats,
    /// Some of its connections.
    Connections(Page),
    /// To take other secrets over.
    Secrets(Secrets),
    /// The latest moves.
    Moves {
        /// Only those with higher numbers.
        after: u64,
        /// How many at the most.
        limit: usize,
    },
    /// To move a connection now, or to have its owner move it.
    Move {
        /// The connection.
        c: ConnId,
        /// The name of the back-end that is to have it.
        to: String,
    },
    /// Of a front-end: to have a back-end give away what it has and take no more, or serve as before.
    Drain {
        /// The back-end's name.
        node: String,
        /// Whether it is to drain.
        is_draining: bool,
    },
}

/// What it answers. `S` is what a node of its kind has for numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply<S> {
    /// Its numbers.
    Stats(Box<S>),
    /// Some of its connections.
    Connections(Connections),
    /// The secrets were taken over.
    Secrets,
    /// The latest moves.
    Moves(Moves),
    /// Whether the wish was taken, or passed on.
    Move(Result<WishTaken, WishRefused>),
    /// Whether the back-end drains, or serves, from now on.
    Drain(Result<DrainTaken, DrainRefused>),
}

/// The most connections in one answer.
pub const PAGE_MAX: usize = 1_000;
/// The most places of a table that are looked at for one answer, taken or free: what the poll loop spends on a question.
pub const PAGE_PLACES_MAX: usize = 8_192;

/// Which connections are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// The place in the node's table at which to begin: 0, then [`Connections::next`].
    pub from: usize,
    /// How many at the most; above [`PAGE_MAX`] it is that.
    pub limit: usize,
}

/// Some of a node's connections. A connection that lives while all pages are asked for is in one of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connections {
    /// In the order of the table.
    pub list: Vec<ConnectionInfo>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<usize>,
}

impl Connections {
    /// Walks through a table with `places` places, of which `look` tells the connection.
    pub fn gather(page: Page, places: usize, mut look: impl FnMut(usize) -> Option<ConnectionInfo>) -> Self {
        let limit = page.limit.min(PAGE_MAX);
        let stop = places.min(page.from.saturating_add(PAGE_PLACES_MAX));
        let (mut list, mut place) = (Vec::new(), page.from);
        while place < stop && list.len() < limit {
            list.extend(look(place));
            place += 1;
        }
        Self { list, next: (place < places).then_some(place) }
    }
}

/// One connection, as the node that is asked knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionInfo {
    /// Its id.
    pub c: ConnId,
    /// Client and VIP.
    pub flow: Flow,
    /// The owner's name.
    pub owner: String,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// What is going on, in a word.
    pub state: &'static str,
    /// The node to which it may move, or is on its way.
    pub moving_to: Option<String>,
    /// What all its owners have served; `None` at a front-end, which does not see responses.
    pub served: Option<crate::message::Served>,
    /// How long the node has known it.
    pub age: Duration,
}

/// A wish to move a connection that was passed on. What becomes of it is seen later: the recipient may refuse.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WishTaken {
    /// The owner's name.
    pub from: String,
    /// The wanted node's name.
    pub to: String,
}

/// Why a connection is not moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WishRefused {
    /// The node does not have it.
    #[error("no such connection at this node")]
    NoConnection,
    /// The cluster has no back-end of this name.
    #[error("no such back-end")]
    UnknownNode,
    /// The back-end is there and has no lease.
    #[error("the back-end is down")]
    NodeDown,
    /// It has the connection.
    #[error("the back-end owns the connection already")]
    SameNode,
    /// The connection is on its way, or a grant to move it is in hand.
    #[error("the connection is moving already")]
    Moving,
    /// No back-end has had the connection yet.
    #[error("the front-end still owns the connection: its first request decides")]
    AtFrontEnd,
    /// It has ended, or no request will follow.
    #[error("the connection is closing")]
    Closing,
    /// The back-end drains.
    #[error("the back-end drains: it takes no more")]
    Draining,
    /// The node may not give connections away now.
    #[error("the node has no lease")]
    NoLease,
}

impl WishRefused {
    /// The HTTP status of the admin listener's answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::NoConnection => 404,
            Self::UnknownNode => 422,
            Self::SameNode | Self::Moving | Self::AtFrontEnd | Self::Closing | Self::Draining => 409,
            Self::NodeDown | Self::NoLease => 503,
        }
    }
}

/// What was said of draining a back-end, and taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrainTaken {
    /// The back-end's name.
    pub node: String,
    /// Whether it drains from now on.
    pub is_draining: bool,
}

/// Why a back-end is not drained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DrainRefused {
    /// The front-end has no back-end of this name.
    #[error("no such back-end")]
    UnknownNode,
    /// The node is a back-end.
    #[error("back-ends are drained at a front-end")]
    NotHere,
    /// The front-end stops, and all of them do so too.
    #[error("the front-end stops")]
    Stopping,
}

impl DrainRefused {
    /// The HTTP status of the admin listener's answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::UnknownNode | Self::NotHere => 404,
            Self::Stopping => 409,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_stack::addr::{Endpoint, IpAddr};

    fn info(place: usize) -> ConnectionInfo {
        let end = |port| Endpoint { addr: IpAddr::from([10, 0, 0, 1]), port };
        ConnectionInfo {
            c: ConnId(u64::try_from(place).unwrap()),
            flow: Flow { client: end(1), vip: end(2) },
            owner: "be1".to_owned(),
            epoch: Epoch(1),
            state: "idle",
            moving_to: None,
            served: None,
            age: Duration::ZERO,
        }
    }

    /// Every page, from a table in which each `step`th place is taken.
    fn walk(places: usize, step: usize, limit: usize) -> (Vec<usize>, usize) {
        let (mut seen, mut pages, mut from) = (vec![], 0, 0);
        loop {
            let mut looked = 0;
            let look = |place: usize| {
                looked += 1;
                place.is_multiple_of(step).then(|| info(place))
            };
            let Connections { list, next } = Connections::gather(Page { from, limit }, places, look);
            assert!(list.len() <= limit.min(PAGE_MAX) && looked <= PAGE_PLACES_MAX);
            seen.extend(list.iter().map(|info| usize::try_from(info.c.0).unwrap()));
            pages += 1;
            let Some(next) = next else { return (seen, pages) };
            from = next;
        }
    }

    #[test]
    fn the_pages_have_every_connection_once() {
        for (places, step, limit) in [(0, 1, 10), (1, 1, 1), (25, 1, 10), (25, 3, 2), (30, 1, 10)] {
            let (seen, _) = walk(places, step, limit);
            assert_eq!(seen, (0..places).step_by(step).collect::<Vec<_>>(), "{places} {step} {limit}");
        }
    }

    #[test]
    fn a_page_ends_at_its_limits() {
        assert_eq!(walk(PAGE_MAX, 1, usize::MAX).1, 1);
        assert_eq!(walk(PAGE_MAX + 1, 1, usize::MAX).1, 2, "one past it");
        assert_eq!(walk(PAGE_PLACES_MAX, PAGE_PLACES_MAX, 10).1, 1);
        assert_eq!(walk(PAGE_PLACES_MAX + 1, PAGE_PLACES_MAX, 10).1, 2, "one past it");
        let past = Connections::gather(Page { from: usize::MAX, limit: 1 }, 5, |_| Some(info(0)));
        assert_eq!(past, Connections { list: vec![], next: None });
    }
}
