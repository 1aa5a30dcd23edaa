//! Round-trip time and retransmission timeout (RFC 6298), in microseconds.

use super::config::OwnConfig;
use crate::time::Duration;

/// The greatest sample that is believed.
pub(crate) const SAMPLE_MAX_US: u32 = 120_000_000;

/// The estimator's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rtt {
    /// SRTT; zero before the first sample.
    pub srtt_us: u32,
    /// RTTVAR.
    pub rttvar_us: u32,
    /// How often the timer has run out without an acknowledgment in between (RFC 6298 section 5.5).
    pub backoff: u8,
}

impl Rtt {
    /// Takes a sample (RFC 6298 sections 2.2 and 2.3). It ends the backoff, and nothing else does (section 5, at the end): an
    /// acknowledgment of what was sent again may not have waited for it.
    pub(crate) fn sample(&mut self, rtt: Duration) {
        self.backoff = 0;
        let r = u32::try_from(rtt.as_micros()).unwrap_or(SAMPLE_MAX_US).clamp(1, SAMPLE_MAX_US);
        if self.srtt_us == 0 {
            (self.srtt_us, self.rttvar_us) = (r, r / 2);
            return;
        }
        // Both stay below SAMPLE_MAX_US, so the sums fit.
        self.rttvar_us = self.rttvar_us / 4 * 3 + self.srtt_us.abs_diff(r) / 4;
        self.srtt_us = (self.srtt_us / 8 * 7 + r / 8).max(1);
    }

    /// RTO with its backoff (RFC 6298 sections 2.3 and 5.5).
    pub(crate) fn rto(&self, config: &OwnConfig) -> Duration {
        Duration::from_micros(self.rto_us(config))
    }

    /// The same, in microseconds. On a long and steady way the deviation goes to nothing, and an acknowledgment that the peer holds back,
    /// as it may, would come too late: half of the least RTO is left for it (Linux leaves all of it).
    pub(crate) fn rto_us(&self, config: &OwnConfig) -> u64 {
        let base = if self.srtt_us == 0 {
            config.rto_initial_us()
        } else {
            let least = config.rto_min_us();
            let deviation = (4 * u64::from(self.rttvar_us)).max(least / 2);
            (u64::from(self.srtt_us) + deviation).max(least)
        };
        base.saturating_mul(1 << self.backoff.min(16)).min(config.rto_max_us())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::TcpConfig;

    #[test]
    fn follows_rfc_6298() {
        let config = OwnConfig::from(&TcpConfig::default());
        let mut rtt = Rtt::default();
        assert_eq!(rtt.rto(&config), Duration::from_secs(1));
        rtt.sample(Duration::from_millis(400));
        // SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 RTTVAR.
        assert_eq!((rtt.srtt_us, rtt.rttvar_us), (400_000, 200_000));
        assert_eq!(rtt.rto(&config), Duration::from_millis(1200));
        rtt.sample(Duration::from_millis(480));
        // RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R'|, SRTT = 7/8 SRTT + 1/8 R'.
        assert_eq!((rtt.srtt_us, rtt.rttvar_us), (410_000, 170_000));
        rtt.backoff = 2;
        assert_eq!(rtt.rto(&config), Duration::from_millis(1090 * 4));
        rtt.backoff = 200;
        assert_eq!(rtt.rto(&config), Duration::from_secs(60));
    }

    #[test]
    fn a_steady_way_leaves_time_for_an_acknowledgment_that_is_held_back() {
        let (config, mut rtt) = (OwnConfig::from(&TcpConfig::default()), Rtt::default());
        for _ in 0..100 {
            rtt.sample(Duration::from_millis(300));
        }
        assert_eq!(rtt.rto(&config), Duration::from_millis(400));
    }

    #[test]
    fn never_below_the_least() {
        let mut rtt = Rtt::default();
        rtt.sample(Duration::from_micros(50));
        assert_eq!(rtt.rto(&OwnConfig::from(&TcpConfig::default())), Duration::from_millis(200));
    }
}
