//! Who may move the clock, and how threads take turns.
//!
//! The tool's main thread injects and receives packets and sleeps: it *drives* the clock. Calls that block come from a second thread. So that a
//! script gives the same times in each run, the clock stands still while another thread has something to do:
//!
//! ```text
//!   driver    inject ---+ wake                   +--- settle: nobody has anything to do --- advance ...
//!   second    (blocked) +--> looks again, returns, reads the clock --+
//! ```
//! A driver that blocks moves the clock itself, from timer to timer. Nothing here waits in real time but for other threads.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Instant as RealInstant;

use baton_stack::time::{Duration, Instant, earliest};
use nix::errno::Errno;

use crate::net::{Net, Packet};
use crate::settings::Settings;
use crate::sockets::Sockets;

/// What reading the clock costs: whoever spins on it sees it move.
const CLOCK_READ: Duration = Duration::from_micros(2);
/// Real time for a thread that was woken to look again, at the most.
const WAKE_REAL: Duration = Duration::from_secs(2);
/// Real time for a thread whose call has just returned to come back, at the most.
const RETURN_REAL: Duration = Duration::from_millis(100);
/// Real time for another thread to do something, when virtual time has nothing left to offer.
const OTHERS_REAL: Duration = Duration::from_millis(500);

/// A call that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Waiter {
    /// When it gives up.
    deadline: Option<Instant>,
    /// The change after which it has looked.
    seen: u64,
}

#[derive(Debug)]
struct Turns {
    sockets: Sockets,
    settings: Settings,
    /// Counts whatever may let a waiter go on.
    change: u64,
    waiters: BTreeMap<u64, Waiter>,
    next_waiter: u64,
    /// Threads whose waiting call has returned, and who have not come back.
    away: Vec<ThreadId>,
    /// Every thread that ever called.
    known: HashSet<ThreadId>,
    driver: ThreadId,
    is_over: bool,
}

/// How long a call may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// For this long, or for ever.
    For(Option<Duration>),
}

/// A virtual host that several threads use.
#[derive(Debug)]
pub(crate) struct Host {
    turns: Mutex<Turns>,
    changed: Condvar,
}

type Guard<'a> = MutexGuard<'a, Turns>;

impl Host {
    /// The calling thread drives the clock, until another one does.
    pub(crate) fn new(settings: Settings) -> Self {
        let turns = Turns {
            sockets: Sockets::new(Net::new(settings.moves)),
            settings,
            change: 0,
            waiters: BTreeMap::new(),
            next_waiter: 0,
            away: Vec::new(),
            known: HashSet::new(),
            driver: std::thread::current().id(),
            is_over: false,
        };
        Self { turns: Mutex::new(turns), changed: Condvar::new() }
    }

    /// Does `attempt`, again and again while it answers `EAGAIN` and there is patience.
    pub(crate) fn call<R>(
        &self,
        patience: impl FnOnce(&Sockets) -> Patience,
        mut attempt: impl FnMut(&mut Sockets) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let mut turns = self.enter();
        let mut result = attempt(&mut turns.sockets);
        self.note_change(&mut turns);
        let Patience::For(limit) = patience(&turns.sockets) else { return result };
        if !would_block(&result) {
            return result;
        }
        let deadline = limit.map(|limit| turns.sockets.net.now() + limit);
        let id = turns.next_waiter;
        turns.next_waiter += 1;
        loop {
            let is_late = deadline.is_some_and(|deadline| deadline <= turns.sockets.net.now());
            if turns.is_over || is_late {
                break;
            }
            if turns.driver == std::thread::current().id() {
                turns.waiters.remove(&id);
                let before = turns.change;
                turns = self.drive(turns, deadline);
                if turns.change == before {
                    // Nobody is left who could end the wait.
                    result = Err(Errno::EDEADLK);
                    break;
                }
            } else {
                turns = self.sleep(turns, id, deadline);
            }
            result = attempt(&mut turns.sockets);
            if !would_block(&result) {
                self.note_change(&mut turns);
                break;
            }
        }
        if turns.waiters.remove(&id).is_some() {
            turns.away.push(std::thread::current().id());
            self.changed.notify_all();
        }
        if turns.is_over { Err(Errno::ECANCELED) } else { result }
    }

    /// Moves the clock to whatever comes next; if that is nothing, gives others the time to do something.
    fn drive<'a>(&self, turns: Guard<'a>, deadline: Option<Instant>) -> Guard<'a> {
        let mut turns = self.settle(turns);
        if self.step(&mut turns, deadline.unwrap_or(Instant::from_micros(u64::MAX))) {
            return turns;
        }
        if let Some(deadline) = deadline {
            turns.sockets.net.advance(deadline);
            self.note_change(&mut turns);
            return turns;
        }
        let before = turns.change;
        self.await_others(turns, |turns| turns.change != before)
    }

    /// Waits for a change, or for the deadline to come.
    fn sleep<'a>(&self, mut turns: Guard<'a>, id: u64, deadline: Option<Instant>) -> Guard<'a> {
        let seen = turns.change;
        turns.waiters.insert(id, Waiter { deadline, seen });
        // The driver may be waiting for this one to have looked.
        self.changed.notify_all();
        let is_idle = |turns: &mut Turns| {
            let is_late = deadline.is_some_and(|deadline| deadline <= turns.sockets.net.now());
            turns.change == seen && !is_late && !turns.is_over
        };
        self.changed.wait_while(turns, is_idle).unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet arrives.
    pub(crate) fn inject(&self, packet: &[u8]) {
        let mut turns = self.enter_as_driver();
        turns.sockets.net.inject(packet);
        self.note_change(&mut turns);
    }

    /// The next packet that leaves; time passes until there is one. `None`: within the settings' limit there is none.
    pub(crate) fn receive_packet(&self) -> Option<Packet> {
        let mut turns = self.enter_as_driver();
        let limit = turns.sockets.net.now() + turns.settings.give_up;
        loop {
            while !turns.sockets.net.has_sent() {
                turns = self.settle(turns);
                if !turns.sockets.net.has_sent() && !self.step(&mut turns, limit) {
                    break;
                }
            }
            if !turns.sockets.net.has_sent() {
                let before = turns.change;
                turns = self.await_others(turns, |turns| turns.change != before);
                if turns.change != before {
                    continue;
                }
            }
            return turns.sockets.net.take_sent();
        }
    }

    /// Time passes.
    pub(crate) fn pass(&self, time: Duration) {
        let turns = self.enter_as_driver();
        self.pass_in(turns, time);
    }

    /// Reads the clock, which costs a little time.
    pub(crate) fn read_clock(&self) -> Instant {
        let turns = self.enter();
        self.pass_in(turns, CLOCK_READ)
    }

    fn pass_in(&self, mut turns: Guard<'_>, time: Duration) -> Instant {
        let target = turns.sockets.net.now() + time;
        while self.step(&mut turns, target) {
            turns = self.settle(turns);
        }
        turns.sockets.net.advance(target);
        target
    }

    /// The end: whoever waits goes away empty-handed.
    pub(crate) fn end(&self) {
        let mut turns = self.lock();
        turns.is_over = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> Guard<'_> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread comes in: first everybody else does what there is to do for them.
    fn enter(&self) -> Guard<'_> {
        let mut turns = self.lock();
        let me = std::thread::current().id();
        turns.away.retain(|id| *id != me);
        turns.known.insert(me);
        self.changed.notify_all();
        self.settle(turns)
    }

    fn enter_as_driver(&self) -> Guard<'_> {
        let mut turns = self.enter();
        let me = std::thread::current().id();
        if turns.driver != me {
            turns.driver = me;
            // Who drove until now, and waits, must learn that it waits like everybody.
            self.note_change(&mut turns);
        }
        turns
    }

    fn note_change(&self, turns: &mut Guard<'_>) {
        turns.change += 1;
        self.changed.notify_all();
    }

    /// Goes on to the next timer or deadline, if that is no later than `limit`. The clock stays where there is none.
    fn step(&self, turns: &mut Guard<'_>, limit: Instant) -> bool {
        let deadlines = turns.waiters.values().map(|waiter| waiter.deadline);
        let next = deadlines.fold(turns.sockets.net.next_timer(), earliest);
        let Some(next) = next.filter(|next| *next <= limit) else { return false };
        turns.sockets.net.advance(next);
        self.note_change(turns);
        true
    }

    /// Waits until each waiter has looked at the last change, and those that had something to return have done so.
    fn settle<'a>(&self, turns: Guard<'a>) -> Guard<'a> {
        let turns = self.wait_real(turns, WAKE_REAL, Turns::has_unsettled_waiter);
        let me = std::thread::current().id();
        let mut turns = self.wait_real(turns, RETURN_REAL, |turns| turns.away.iter().any(|id| *id != me));
        // Who has not come back by now does something else, or has ended.
        turns.away.clear();
        turns
    }

    /// Waits a little for another thread, if there is one that could act.
    fn await_others<'a>(&self, turns: Guard<'a>, has_acted: impl Fn(&Turns) -> bool) -> Guard<'a> {
        if turns.known.len() <= turns.waiters.len() + 1 {
            return turns;
        }
        self.wait_real(turns, OTHERS_REAL, |turns| !has_acted(turns))
    }

    fn wait_real<'a>(&self, mut turns: Guard<'a>, limit: Duration, is_early: impl Fn(&Turns) -> bool) -> Guard<'a> {
        let until = RealInstant::now() + limit;
        while is_early(&turns) {
            let left = until.saturating_duration_since(RealInstant::now());
            if left.is_zero() {
                break;
            }
            turns = self.changed.wait_timeout(turns, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        turns
    }
}

impl Turns {
    fn has_unsettled_waiter(&self) -> bool {
        let now = self.sockets.net.now();
        self.waiters.values().any(|waiter| waiter.seen != self.change || waiter.deadline.is_some_and(|at| at <= now))
    }
}

const fn would_block<R>(result: &Result<R, Errno>) -> bool {
    matches!(result, Err(Errno::EAGAIN))
}
