//! How other threads reach the poll loop: a bounded queue of requests, and a flag for the stop.
//!
//! ```text
//!  ControlHandle --request--> queue --between two turns--> ControlInbox
//!       ^                                                       |
//!       +--------------------- one reply per request <----------+
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use baton_stack::node::Node;
use crossbeam::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use thiserror::Error;

use crate::stats::LoopStats;

/// The most requests that wait for the loop; more wait outside, for as long as they may.
pub const CONTROL_QUEUE_MAX: usize = 64;

/// The most requests that the loop takes between two bursts.
pub const COMMANDS_PER_TURN_MAX: usize = 4;

/// How the loop is asked to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stop {
    /// When the node has moved or reset its connections.
    Clean,
    /// Now.
    Immediate,
}

/// Why the loop did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ControlError {
    /// The queue stayed full.
    #[error("the poll loop has too many requests to answer")]
    Full,
    /// The loop has the request and may still obey it.
    #[error("the poll loop did not answer in time")]
    Timeout,
    /// There is no loop any more.
    #[error("the poll loop has ended")]
    Ended,
}

/// A pair of ends: handles for other threads, one inbox for the loop.
#[must_use]
pub fn control<N: Node>() -> (ControlHandle<N>, ControlInbox<N>) {
    let (sender, requests) = bounded(CONTROL_QUEUE_MAX);
    let flags = Arc::new(Flags::default());
    (ControlHandle { requests: sender, flags: Arc::clone(&flags) }, ControlInbox { requests, flags })
}

/// What other threads ask for.
pub(crate) enum Request<N: Node> {
    Command(N::Command, Sender<N::Reply>),
    Numbers(Sender<LoopStats>),
}

/// The end for other threads. Cheap to clone.
pub struct ControlHandle<N: Node> {
    requests: Sender<Request<N>>,
    flags: Arc<Flags>,
}

/// The loop's end. When it is dropped, whoever waits for an answer learns that none will come.
pub struct ControlInbox<N: Node> {
    requests: Receiver<Request<N>>,
    flags: Arc<Flags>,
}

#[derive(Default, Debug)]
struct Flags {
    /// What stop is asked for. Not a request in the queue: it must not wait or be lost when that is full.
    stop: AtomicU8,
    /// Set when nobody will answer any more, and before the queue is emptied for the last time.
    ended: AtomicBool,
}

const GO_ON: u8 = 0;
const STOP_CLEAN: u8 = 1;
const STOP_IMMEDIATE: u8 = 2;

impl<N: Node> ControlHandle<N> {
    /// Has the node handle `command` between two turns of the loop, and waits for its reply.
    ///
    /// # Errors
    /// No reply within `timeout`.
    pub fn command(&self, command: N::Command, timeout: Duration) -> Result<N::Reply, ControlError> {
        self.ask(timeout, |reply| Request::Command(command, reply))
    }

    /// The loop's numbers. The busy ratio is that since the last time anybody asked.
    ///
    /// # Errors
    /// No reply within `timeout`.
    pub fn numbers(&self, timeout: Duration) -> Result<LoopStats, ControlError> {
        self.ask(timeout, Request::Numbers)
    }

    /// Asks for a stop. A second request, whatever it asks for, stops the loop at once. Never lost, not even if the loop begins later.
    pub fn stop(&self, stop: Stop) {
        let wish = |before: u8| match (before, stop) {
            (GO_ON, Stop::Clean) => Some(STOP_CLEAN),
            _ => Some(STOP_IMMEDIATE),
        };
        // `wish` always has one.
        let _ = self.flags.stop.fetch_update(Ordering::AcqRel, Ordering::Acquire, wish);
    }

    fn ask<R>(&self, timeout: Duration, request: impl FnOnce(Sender<R>) -> Request<N>) -> Result<R, ControlError> {
        let deadline = Instant::now().checked_add(timeout);
        // Room for the one reply, so that the loop never waits.
        let (reply, replied) = bounded(1);
        self.requests.send_timeout(request(reply), timeout).map_err(|error| match error {
            SendTimeoutError::Timeout(_) => ControlError::Full,
            SendTimeoutError::Disconnected(_) => ControlError::Ended,
        })?;
        if self.flags.ended.load(Ordering::SeqCst) {
            // Perhaps too late for the last emptying: no point in waiting.
            return replied.try_recv().map_err(|_| ControlError::Ended);
        }
        let left = deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
        replied.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => ControlError::Timeout,
            RecvTimeoutError::Disconnected => ControlError::Ended,
        })
    }
}

impl<N: Node> ControlInbox<N> {
    /// The next request, if there is one.
    pub(crate) fn next(&self) -> Option<Request<N>> {
        self.requests.try_recv().ok()
    }

    /// What has been asked for.
    pub(crate) fn stop_requested(&self) -> Option<Stop> {
        match self.flags.stop.load(Ordering::Acquire) {
            GO_ON => None,
            STOP_CLEAN => Some(Stop::Clean),
            _ => Some(Stop::Immediate),
        }
    }
}

impl<N: Node> Drop for ControlInbox<N> {
    fn drop(&mut self) {
        self.flags.ended.store(true, Ordering::SeqCst);
        // The channel keeps what is in it for as long as there are handles. Dropped with the requests are the ways to reply, and with them all hope.
        while self.next().is_some() {}
    }
}

impl<N: Node> Clone for ControlHandle<N> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone(), flags: Arc::clone(&self.flags) }
    }
}

impl<N: Node> fmt::Debug for ControlHandle<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlHandle")
    }
}

impl<N: Node> fmt::Debug for ControlInbox<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlInbox")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_stack::node::{Frame, PortId, Transmit, Verdict};
    use baton_stack::time::Instant;

    struct Nobody;

    impl Node for Nobody {
        type Command = u32;
        type Reply = u32;
        fn handle_frame<F: Frame, T: Transmit>(&mut self, _: Instant, _: PortId, _: &mut F, _: &mut T) -> Verdict {
            Verdict::Free
        }
        fn poll<T: Transmit>(&mut self, _: Instant, _: &mut T) {}
        fn poll_at(&self) -> Option<Instant> {
            None
        }
        fn handle_command(&mut self, _: Instant, command: u32) -> u32 {
            command
        }
        fn stop(&mut self, _: Instant) {}
        fn is_stopped(&self) -> bool {
            true
        }
        fn may_transmit(&self, _: Instant) -> bool {
            true
        }
    }

    #[test]
    fn a_clean_stop_once_and_then_at_once() {
        for (requests, asked) in [
            (&[][..], None),
            (&[Stop::Clean], Some(Stop::Clean)),
            (&[Stop::Clean, Stop::Clean], Some(Stop::Immediate)),
            (&[Stop::Immediate], Some(Stop::Immediate)),
            (&[Stop::Immediate, Stop::Clean], Some(Stop::Immediate)),
            (&[Stop::Clean; 300], Some(Stop::Immediate)),
        ] {
            let (handle, inbox) = control::<Nobody>();
            for &request in requests {
                handle.clone().stop(request);
            }
            assert_eq!(inbox.stop_requested(), asked, "{requests:?}");
        }
    }

    #[test]
    fn an_answer_or_why_there_is_none() {
        let (handle, inbox) = control::<Nobody>();
        let soon = Duration::from_millis(1);
        for _ in 0..CONTROL_QUEUE_MAX {
            assert_eq!(handle.command(7, soon), Err(ControlError::Timeout));
        }
        assert_eq!(handle.command(7, soon), Err(ControlError::Full), "one past the limit");
        let waiting = {
            let handle = handle.clone();
            std::thread::spawn(move || handle.command(8, Duration::from_secs(60)))
        };
        let mut taken = 0;
        let reply = loop {
            match inbox.next() {
                Some(Request::Command(8, reply)) => break reply,
                Some(_) => taken += 1,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(taken, CONTROL_QUEUE_MAX);
        reply.send(9).unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(9));

        let waiting = {
            let handle = handle.clone();
            std::thread::spawn(move || handle.numbers(Duration::from_secs(60)))
        };
        while inbox.requests.is_empty() {
            std::thread::yield_now();
        }
        drop(inbox);
        assert_eq!(waiting.join().unwrap(), Err(ControlError::Ended), "whoever waits learns of it");
        assert_eq!(handle.command(7, soon), Err(ControlError::Ended));
    }
}
