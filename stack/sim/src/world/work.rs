//! Work that takes time. A node's turn takes none by itself; what a service does in it may: a turn ends that much later, and its burst
//! leaves then.

use baton_stack::time::Duration;
use std::cell::Cell;

thread_local! {
    /// What the present turn has taken. One world runs on one thread, and looks at this around each turn.
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Says that something took so long, within a node's turn.
pub fn spend(time: Duration) {
    SPENT.set(SPENT.get() + time);
}

/// What was spent since it was asked last.
pub(super) fn take() -> Duration {
    SPENT.take()
}
