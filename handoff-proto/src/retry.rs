//! When to say a thing again: waits that double up to a limit.

use baton_stack::time::{Duration, Instant};

/// The next repetition of a message. Plain data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Retry {
    /// When it is due.
    pub(crate) at: Instant,
    /// How often it was repeated.
    pub(crate) tries: u8,
}

impl Retry {
    /// After a first sending at `now`.
    pub(crate) fn new(now: Instant, first: Duration) -> Self {
        Self { at: now + first, tries: 0 }
    }

    /// After a repetition at `now`: waits `first` times two to the number of repetitions, at most `max`.
    pub(crate) fn again(&mut self, now: Instant, first: Duration, max: Duration) {
        self.tries = self.tries.saturating_add(1);
        let factor = 1_u32.checked_shl(u32::from(self.tries)).unwrap_or(u32::MAX);
        self.at = now + first.saturating_mul(factor).min(max);
    }

    /// Whether it is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let (first, max) = (Duration::from_millis(20), Duration::from_millis(100));
        let mut retry = Retry::new(Instant::ZERO, first);
        let mut waits = vec![];
        for _ in 0..40 {
            let before = retry.at;
            assert!(!retry.is_due(Instant::from_micros(before.micros() - 1)) && retry.is_due(before));
            retry.again(before, first, max);
            waits.push((retry.at - before).as_millis());
        }
        assert_eq!(waits[..4], [40, 80, 100, 100]);
        assert_eq!(waits[39], 100);
    }
}
