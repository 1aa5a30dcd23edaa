//! CLOSED, said until the front-end has heard it.

use std::collections::{BTreeMap, BTreeSet};

use baton_stack::addr::ConnId;
use baton_stack::drop::DropReason;
use baton_stack::time::{Duration, Instant};

use crate::message::{Closed, Outbox};
use crate::names::NodeId;
use crate::retry::Retry;

/// The wait before CLOSED is repeated first.
pub const CLOSED_RETRY: Duration = Duration::from_millis(20);
/// The longest wait between two CLOSED. They go on for as long as the node's lease does.
pub const CLOSED_RETRY_MAX: Duration = Duration::from_millis(500);

/// Connections that ended here and of which the front-end may not know yet. One per front-end.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ClosedReports {
    limit: usize,
    reports: BTreeMap<ConnId, (Closed, Retry)>,
    due: BTreeSet<(Instant, ConnId)>,
}

impl ClosedReports {
    /// Repeats at most `limit` reports at a time: as many as the node may have connections.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit, reports: BTreeMap::new(), due: BTreeSet::new() }
    }

    /// Reports the end of a connection, now and until it is acknowledged.
    ///
    /// # Errors
    /// Above the limit: it is said once and not repeated.
    pub fn report(&mut self, now: Instant, closed: Closed, out: &mut impl Outbox) -> Result<(), DropReason> {
        out.send(NodeId::FRONT_END, &closed.into());
        if self.reports.len() >= self.limit && !self.reports.contains_key(&closed.c) {
            return Err(DropReason::MessageLimit);
        }
        let retry = Retry::new(now, CLOSED_RETRY);
        if let Some((_, before)) = self.reports.insert(closed.c, (closed, retry)) {
            self.due.remove(&(before.at, closed.c));
        }
        self.due.insert((retry.at, closed.c));
        Ok(())
    }

    /// The front-end has heard it, or has no such connection any more.
    pub fn acknowledge(&mut self, c: ConnId) {
        if let Some((_, retry)) = self.reports.remove(&c) {
            self.due.remove(&(retry.at, c));
        }
    }

    /// Reports the end of this connection again, in answer to a question about it. False if there is nothing to report.
    ///
    /// A donor that is asked with SETTLE says so here first: what it still reports as closed, under the epoch that is
    /// asked about or a later one, nobody else can have had.
    pub fn answer(&self, c: ConnId, out: &mut impl Outbox) -> bool {
        let report = self.reports.get(&c);
        if let Some((closed, _)) = report {
            out.send(NodeId::FRONT_END, &(*closed).into());
        }
        report.is_some()
    }

    /// Whether the end of this connection is still being reported.
    #[must_use]
    pub fn contains(&self, c: ConnId) -> bool {
        self.reports.contains_key(&c)
    }

    /// The node has a new generation: nothing of the old one is said any more.
    pub fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// How many are waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.reports.len()
    }

    /// Whether none is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// Repeats what is due. Not to be called without a lease (R13).
    pub fn handle_timeout(&mut self, now: Instant, out: &mut impl Outbox) {
        while let Some((at, c)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, c));
            if let Some((closed, retry)) = self.reports.get_mut(&c) {
                out.send(NodeId::FRONT_END, &(*closed).into());
                retry.again(now, CLOSED_RETRY, CLOSED_RETRY_MAX);
                self.due.insert((retry.at, c));
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}
