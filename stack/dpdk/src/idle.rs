//! What the poll loop does when a turn found nothing to do.

use std::hint;
use std::thread;
use std::time::Duration;

use baton_stack::time::Instant;
use nix::sys::prctl;

use crate::ports::Ports;

/// What the poll loop does when a turn found nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// Polls on: lowest latency, a whole CPU.
    Spin,
    /// Polls on for a tenth of a millisecond, always letting others run, and then, where all devices tell when they have frames (`net_af_packet`),
    /// waits for one. Elsewhere it sleeps: at first shortly, then up to 100 microseconds, after a while without work up to 250. Never past the node's next
    /// deadline.
    Adaptive,
}

/// How long after the last work the loop polls on: an answer within a rack takes less, and the system may take that long to wake somebody up. Whoever else
/// has work on this CPU does it meanwhile.
const POLL_ON: Duration = Duration::from_micros(100);

/// The first sleep. A shorter one costs more than it saves.
const SLEEP_MIN: Duration = Duration::from_micros(10);

/// The longest sleep of a loop that had something to do a moment ago: what a frame that comes then waits, at most.
const SLEEP_MAX: Duration = Duration::from_micros(100);

/// After so long without work the loop is taken to be unused.
const UNUSED: Duration = Duration::from_millis(10);

/// The longest sleep of an unused loop. Each waking costs some microseconds: so it stays at a few percent of a CPU.
const SLEEP_MAX_UNUSED: Duration = Duration::from_micros(250);

/// The longest wait for a frame, where devices tell of them: people's requests come without one.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// By how much the system may prolong a sleep, so as to wake up several threads at once. Linux' own choice is 50 microseconds.
const TIMER_SLACK_NS: u64 = 1_000;

/// What to do before the next turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Go,
    Spin,
    Yield,
    Sleep(Duration),
    /// Until a frame is there, and no longer than this.
    Wait(Duration),
}

/// The rest between two turns.
#[derive(Debug)]
pub(crate) struct Rest {
    idle: Idle,
    /// Whether devices tell when they have frames.
    can_wait: bool,
    /// When the loop last had something to do.
    worked_at: Instant,
    sleep: Duration,
    /// The thread's timer slack before, to be set again.
    slack_ns: Option<i32>,
}

impl Rest {
    pub(crate) fn new(idle: Idle, can_wait: bool, now: Instant) -> Self {
        let slack_ns = match idle {
            Idle::Spin => None,
            Idle::Adaptive => prctl::get_timerslack().ok(),
        };
        if slack_ns.is_some() {
            // Sleeps are longer without it, and that is all.
            let _ = prctl::set_timerslack(TIMER_SLACK_NS);
        }
        Self { idle, can_wait, worked_at: now, sleep: SLEEP_MIN, slack_ns }
    }

    /// Rests after a turn that ended at `now`; the node must be polled at `poll_at`.
    pub(crate) fn after(&mut self, worked: bool, now: Instant, poll_at: Option<Instant>, ports: &Ports) {
        match self.step(worked, now, poll_at) {
            Step::Go => {}
            Step::Spin => hint::spin_loop(),
            Step::Yield => thread::yield_now(),
            Step::Sleep(duration) => thread::sleep(duration),
            Step::Wait(duration) => {
                if !ports.wait(duration) {
                    thread::sleep(duration.min(SLEEP_MAX));
                }
            }
        }
    }

    fn step(&mut self, worked: bool, now: Instant, poll_at: Option<Instant>) -> Step {
        if worked {
            self.worked_at = now;
            self.sleep = SLEEP_MIN;
            return Step::Go;
        }
        if self.idle == Idle::Spin {
            return Step::Spin;
        }
        let idle_for = now - self.worked_at;
        let left = poll_at.map_or(Duration::MAX, |at| at - now);
        if left.is_zero() {
            return Step::Go;
        }
        if idle_for < POLL_ON || left < SLEEP_MIN {
            return Step::Yield;
        }
        if self.can_wait {
            return Step::Wait(left.min(WAIT_MAX));
        }
        let sleep = self.sleep;
        self.sleep = (sleep * 2).min(if idle_for < UNUSED { SLEEP_MAX } else { SLEEP_MAX_UNUSED });
        Step::Sleep(sleep.min(left))
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some(slack_ns) = self.slack_ns.and_then(|slack_ns| u64::try_from(slack_ns).ok()) {
            let _ = prctl::set_timerslack(slack_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    fn micros(sleep: u64) -> Step {
        Step::Sleep(Duration::from_micros(sleep))
    }

    #[test]
    fn first_it_polls_on_then_longer_and_longer_sleeps() {
        let mut rest = Rest::new(Idle::Adaptive, false, at(0));
        assert_eq!(rest.step(true, at(1_000), None), Step::Go);
        for (now, step) in [
            (1_001, Step::Yield),
            (1_099, Step::Yield),
            (1_100, micros(10)),
            (1_110, micros(20)),
            (1_130, micros(40)),
            (1_170, micros(80)),
            (1_250, micros(100)),
            (10_999, micros(100)),
            (11_000, micros(100)),
            (11_100, micros(200)),
            (11_300, micros(250)),
            (99_999, micros(250)),
        ] {
            assert_eq!(rest.step(false, at(now), None), step, "{now}");
        }
        assert_eq!(rest.step(true, at(100_000), None), Step::Go);
        assert_eq!(rest.step(false, at(100_100), None), micros(10), "from the beginning");
    }

    #[test]
    fn no_sleep_past_the_next_deadline() {
        let mut rest = Rest::new(Idle::Adaptive, false, at(0));
        for _ in 0..4 {
            rest.step(false, at(100), None);
        }
        for (poll_at, step) in [
            (99, Step::Go),
            (1_000, Step::Go),
            (1_001, Step::Yield),
            (1_009, Step::Yield),
            (1_010, micros(10)),
            (1_060, micros(60)),
            (2_000, micros(100)),
        ] {
            assert_eq!(rest.step(false, at(1_000), Some(at(poll_at))), step, "{poll_at}");
        }
    }

    #[test]
    fn where_devices_tell_of_frames_it_waits_for_them() {
        let mut rest = Rest::new(Idle::Adaptive, true, at(0));
        assert_eq!(rest.step(true, at(1_000), None), Step::Go);
        for (now, poll_at, step) in [
            (1_099, None, Step::Yield),
            (1_099, Some(1_099), Step::Go),
            (1_100, None, Step::Wait(Duration::from_millis(1))),
            (1_130, Some(1_630), Step::Wait(Duration::from_micros(500))),
            (1_130, Some(1_140), Step::Wait(Duration::from_micros(10))),
            (1_130, Some(1_139), Step::Yield),
            (1_130, Some(1_130), Step::Go),
            (90_000, Some(99_000), Step::Wait(Duration::from_millis(1))),
        ] {
            assert_eq!(rest.step(false, at(now), poll_at.map(at)), step, "{now} {poll_at:?}");
        }
    }

    #[test]
    fn spin_never_sleeps() {
        let mut rest = Rest::new(Idle::Spin, true, at(0));
        assert_eq!(rest.step(false, at(1_000_000), None), Step::Spin);
        assert_eq!(rest.step(false, at(1_000_000), Some(at(9_000_000))), Step::Spin);
    }

    #[test]
    fn the_thread_s_timer_slack_is_as_before_afterwards() {
        let before = prctl::get_timerslack().unwrap();
        let rest = Rest::new(Idle::Adaptive, false, at(0));
        assert_eq!(prctl::get_timerslack(), Ok(1_000));
        drop(rest);
        assert_eq!(prctl::get_timerslack(), Ok(before));
    }
}
