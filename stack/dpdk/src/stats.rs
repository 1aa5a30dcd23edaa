//! The numbers of the poll loop.

use std::fmt;
use std::time::Duration;

use baton_stack::drop::DropCounters;
use baton_stack::time::Instant;

use crate::capabilities::Link;
use crate::port::DeviceStats;

/// What the poll loop counts, since it began unless it says otherwise.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LoopStats {
    /// Turns of the loop.
    pub turns: u64,
    /// The share of time, from 0 to 1, in which the loop had something to do, since the question before.
    pub busy_ratio: f64,
    /// What the shell itself dropped. Frames that a device did not take are in [`PortStats::tx_unsent`] instead.
    pub drops: DropCounters,
    /// The ports, by their ids.
    pub ports: Vec<PortStats>,
}

/// What one port counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortStats {
    /// The device's DPDK name.
    pub device: String,
    /// The state of the link now.
    pub link: Link,
    /// What the device counts.
    pub counted: DeviceStats,
    /// Received frames that were freed at once because they do not fit into one buffer.
    pub rx_too_long: u64,
    /// Frames that the device's transmit queue did not take, and that were dropped.
    pub tx_unsent: u64,
}

impl fmt::Display for LoopStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} turns, busy {:.1} %", self.turns, self.busy_ratio * 100.0)?;
        for port in &self.ports {
            writeln!(f, "{port}")?;
        }
        for (reason, count) in self.drops.iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "dropped, {}: {count}", reason.label())?;
        }
        Ok(())
    }
}

impl fmt::Display for PortStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, link, counted, rx_too_long, tx_unsent } = self;
        write!(f, "{device}: link {link}; {counted}, {rx_too_long} too long, {tx_unsent} unsent")
    }
}

impl fmt::Display for DeviceStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rx_packets, rx_bytes, rx_missed, rx_errors, rx_no_buffer, tx_packets, tx_bytes, tx_errors } = self;
        write!(f, "received {rx_packets} ({rx_bytes} bytes), {rx_missed} missed, {rx_errors} with errors, ")?;
        write!(f, "{rx_no_buffer} without buffer; sent {tx_packets} ({tx_bytes} bytes), {tx_errors} failed")
    }
}

/// Measures turns.
#[derive(Debug)]
pub(crate) struct Meter {
    turns: u64,
    /// When the turn that is being measured began.
    turn_at: Instant,
    /// Of the time since the question before.
    busy: Duration,
    asked_at: Instant,
    /// The same of the time since the node was told.
    busy_untold: Duration,
    told_at: Instant,
}

/// How often a node is told how busy it is.
const TELL_EVERY: Duration = Duration::from_millis(250);

impl Meter {
    pub(crate) fn new(now: Instant) -> Self {
        let nothing = Duration::ZERO;
        Self { turns: 0, turn_at: now, busy: nothing, asked_at: now, busy_untold: nothing, told_at: now }
    }

    /// The turn before, which had something to do or not, ends at `now`, and the next begins.
    pub(crate) fn turn(&mut self, worked: bool, now: Instant) {
        if worked {
            self.busy += now - self.turn_at;
            self.busy_untold += now - self.turn_at;
        }
        self.turn_at = now;
        self.turns += 1;
    }

    pub(crate) fn turns(&self) -> u64 {
        self.turns
    }

    /// The share of time with something to do, from the question before until the turn now under way.
    pub(crate) fn busy_ratio(&mut self) -> f64 {
        let passed = self.turn_at - self.asked_at;
        let ratio = if passed.is_zero() { 0.0 } else { self.busy.as_secs_f64() / passed.as_secs_f64() };
        (self.busy, self.asked_at) = (Duration::ZERO, self.turn_at);
        ratio
    }
}

impl Meter {
    /// What the node is to be told, in thousandths, if it is time.
    pub(crate) fn report(&mut self) -> Option<u16> {
        let passed = self.turn_at - self.told_at;
        if passed < TELL_EVERY {
            return None;
        }
        let permille = self.busy_untold.as_micros() * 1_000 / passed.as_micros().max(1);
        (self.busy_untold, self.told_at) = (Duration::ZERO, self.turn_at);
        u16::try_from(permille).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_stack::drop::DropReason;

    #[test]
    #[expect(clippy::float_cmp, reason = "quotients of small integers are exact")]
    fn the_busy_ratio_is_that_since_the_question_before() {
        let at = Instant::from_micros;
        let mut meter = Meter::new(at(0));
        assert_eq!(meter.busy_ratio(), 0.0);
        // Busy, idle, busy.
        for (worked, now) in [(true, 10), (false, 50), (true, 80)] {
            meter.turn(worked, at(now));
        }
        assert_eq!(meter.busy_ratio(), 0.5);
        assert_eq!(meter.busy_ratio(), 0.0);
        meter.turn(true, at(90));
        assert_eq!(meter.busy_ratio(), 1.0);
        assert_eq!(meter.turns(), 4);
    }

    /// Whoever else asks meanwhile takes nothing away from it.
    #[test]
    fn the_node_is_told_four_times_a_second() {
        let at = Instant::from_micros;
        let mut meter = Meter::new(at(0));
        meter.turn(true, at(100_000));
        assert_eq!((meter.report(), meter.busy_ratio()), (None, 1.0));
        meter.turn(false, at(249_999));
        assert_eq!(meter.report(), None);
        meter.turn(false, at(250_000));
        assert_eq!((meter.report(), meter.report()), (Some(400), None));
        meter.turn(true, at(1_000_000));
        assert_eq!(meter.report(), Some(1_000));
    }

    #[test]
    fn turns_shorter_than_the_clock_s_grain_count_all_the_same() {
        let mut meter = Meter::new(Instant::ZERO);
        for tenth in 1..=1_000 {
            meter.turn(true, Instant::from_micros(tenth / 10));
        }
        assert!((meter.busy_ratio() - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn numbers_for_people() {
        let counted = DeviceStats { rx_packets: 3, tx_packets: 2, ..DeviceStats::default() };
        let port = PortStats { device: "net_null0".to_owned(), counted, tx_unsent: 1, ..PortStats::default() };
        let mut stats = LoopStats { turns: 9, busy_ratio: 0.25, ports: vec![port], ..LoopStats::default() };
        stats.drops.count(DropReason::TransmitFull);
        assert_eq!(
            stats.to_string(),
            "9 turns, busy 25.0 %\n\
             net_null0: link down; received 3 (0 bytes), 0 missed, 0 with errors, 0 without buffer; \
             sent 2 (0 bytes), 0 failed, 0 too long, 1 unsent\n\
             dropped, transmit_full: 1\n"
        );
    }
}
