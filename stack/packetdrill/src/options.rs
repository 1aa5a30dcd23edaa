//! Socket options: what is set, and what that means for a connection.

use baton_stack::tcp::{Algorithm, TcpConfig};
use baton_stack::time::Duration;
use nix::errno::Errno;
use nix::libc;

use crate::address::Family;
use crate::net::micros;

/// The least buffer, in bytes, as Linux's.
const BUFFER_MIN: u32 = 2_304;
/// The greatest, in bytes.
pub(crate) const BUFFER_MAX: u32 = 16 << 20;
/// Segments shorter than this are not asked for.
const SEGMENT_MIN: u16 = 88;
/// The greatest number of seconds of the keepalive options, as Linux's.
const KEEPALIVE_SECONDS_MAX: i32 = 32_767;
/// The greatest number of probes, as Linux's.
const PROBES_MAX: i32 = 127;
/// The headers in front of a segment, without options, in bytes.
const HEADERS_V4: u16 = 40;
const HEADERS_V6: u16 = 60;

/// The options of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    pub(crate) reuse_address: bool,
    keepalive: bool,
    keepalive_idle: Duration,
    keepalive_interval: Duration,
    keepalive_probes: u8,
    /// How long a close waits, if it waits; zero resets.
    pub(crate) linger: Option<Duration>,
    receive_buffer: u32,
    pub(crate) send_buffer: u32,
    /// How long a call waits at the most.
    pub(crate) receive_timeout: Option<Duration>,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) segment: Option<u16>,
    syn_retries: u8,
    /// How long what was sent may stay unanswered.
    user_timeout: Option<Duration>,
    congestion: Algorithm,
    nagle: bool,
    cork: bool,
}

impl Default for Options {
    fn default() -> Self {
        let config = TcpConfig::default();
        Self {
            reuse_address: false,
            keepalive: false,
            keepalive_idle: Duration::from_secs(7_200),
            keepalive_interval: Duration::from_secs(75),
            keepalive_probes: 9,
            linger: None,
            receive_buffer: config.recv_buffer_bytes,
            send_buffer: 1 << 20,
            receive_timeout: None,
            send_timeout: None,
            segment: None,
            syn_retries: config.syn_ack_retries,
            user_timeout: None,
            congestion: config.congestion,
            // As every socket.
            nagle: true,
            cork: false,
        }
    }
}

impl Options {
    /// How connections of this socket behave.
    pub(crate) fn config(&self, family: Family) -> TcpConfig {
        let default = TcpConfig::default();
        let headers = if family == Family::V4 { HEADERS_V4 } else { HEADERS_V6 };
        TcpConfig {
            mtu: self.segment.map_or(default.mtu, |segment| (segment.saturating_add(headers)).min(default.mtu)),
            recv_buffer_bytes: self.receive_buffer,
            // As on Linux, where the application has said how large it is.
            recv_buffer_max_bytes: self.receive_buffer,
            keepalive: self.keepalive.then_some(self.keepalive_idle),
            keepalive_interval: Some(self.keepalive_interval),
            keepalive_probes: self.keepalive_probes,
            syn_ack_retries: self.syn_retries,
            user_timeout: self.user_timeout,
            congestion: self.congestion,
            nagle: self.nagle,
            cork: self.cork,
            ..default
        }
    }

    /// `setsockopt`. What a socket of this kind does not have is refused.
    pub(crate) fn set(&mut self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match level {
            libc::SOL_SOCKET => self.set_socket(name, value),
            libc::IPPROTO_TCP => self.set_tcp(name, value),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn set_socket(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        match name {
            libc::SO_REUSEADDR => self.reuse_address = int(value)? != 0,
            libc::SO_KEEPALIVE => self.keepalive = int(value)? != 0,
            libc::SO_RCVBUF => self.receive_buffer = buffer(int(value)?),
            libc::SO_SNDBUF => self.send_buffer = buffer(int(value)?),
            libc::SO_LINGER => {
                let seconds = int(value.get(4..).unwrap_or_default())?;
                let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                self.linger = (int(value)? != 0).then_some(seconds);
            }
            libc::SO_RCVTIMEO => self.receive_timeout = timeout(value)?,
            libc::SO_SNDTIMEO => self.send_timeout = timeout(value)?,
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn set_tcp(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        if name == libc::TCP_CONGESTION {
            self.congestion = match value.split(|byte| *byte == 0).next() {
                Some(b"cubic") => Algorithm::Cubic,
                Some(b"reno") => Algorithm::NewReno,
                _ => return Err(Errno::ENOENT),
            };
            return Ok(());
        }
        let value = int(value)?;
        let seconds = |least| {
            let is_good = (least..=KEEPALIVE_SECONDS_MAX).contains(&value);
            u64::try_from(value).ok().filter(|_| is_good).map(Duration::from_secs).ok_or(Errno::EINVAL)
        };
        let probes = || u8::try_from(value).ok().filter(|_| (1..=PROBES_MAX).contains(&value)).ok_or(Errno::EINVAL);
        match name {
            libc::TCP_KEEPIDLE => self.keepalive_idle = seconds(1)?,
            libc::TCP_KEEPINTVL => self.keepalive_interval = seconds(1)?,
            libc::TCP_KEEPCNT => self.keepalive_probes = probes()?,
            libc::TCP_SYNCNT => self.syn_retries = probes()?,
            libc::TCP_USER_TIMEOUT => {
                let ms = u64::try_from(value).map_err(|_| Errno::EINVAL)?;
                self.user_timeout = (ms > 0).then(|| Duration::from_millis(ms));
            }
            libc::TCP_NODELAY => self.nagle = value == 0,
            libc::TCP_CORK => self.cork = value != 0,
            libc::TCP_MAXSEG => {
                let segment = u16::try_from(value).map_err(|_| Errno::EINVAL)?;
                if segment != 0 && !(SEGMENT_MIN..=32_767).contains(&segment) {
                    return Err(Errno::EINVAL);
                }
                self.segment = (segment > 0).then_some(segment);
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// `getsockopt`, of what was set. `None`: it is none of these.
    pub(crate) fn get(&self, level: i32, name: i32) -> Option<Vec<u8>> {
        let int = |value: u32| Some(value.to_ne_bytes().to_vec());
        let seconds = |time: Duration| int(u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
        let pair = |first: i64, second: i64| Some([first.to_ne_bytes(), second.to_ne_bytes()].concat());
        let time = |time: Option<Duration>| {
            let time = time.unwrap_or_default();
            pair(i64::try_from(time.as_secs()).unwrap_or(i64::MAX), time.subsec_micros().into())
        };
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => int(self.reuse_address.into()),
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => int(self.keepalive.into()),
            // As on Linux, where half of a buffer is for what is kept beside the bytes.
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => int(2 * self.receive_buffer),
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => int(2 * self.send_buffer),
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                let seconds = u32::try_from(self.linger.unwrap_or_default().as_secs()).unwrap_or(u32::MAX);
                Some([u32::from(self.linger.is_some()).to_ne_bytes(), seconds.to_ne_bytes()].concat())
            }
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => time(self.receive_timeout),
            (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => time(self.send_timeout),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => seconds(self.keepalive_idle),
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => seconds(self.keepalive_interval),
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => int(self.keepalive_probes.into()),
            (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => int(self.syn_retries.into()),
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
                int(u32::try_from(self.user_timeout.unwrap_or_default().as_millis()).unwrap_or(u32::MAX))
            }
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => int((!self.nagle).into()),
            (libc::IPPROTO_TCP, libc::TCP_CORK) => int(self.cork.into()),
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => Some(match self.congestion {
                Algorithm::Cubic => b"cubic\0".to_vec(),
                Algorithm::NewReno => b"reno\0".to_vec(),
            }),
            _ => None,
        }
    }
}

/// The int at the front of an option's value.
fn int(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)
}

fn buffer(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0).clamp(BUFFER_MIN, BUFFER_MAX)
}

/// A `struct timeval`; zero is no limit.
fn timeout(value: &[u8]) -> Result<Option<Duration>, Errno> {
    let long = |at: usize| value.get(at..)?.first_chunk().map(|bytes| i64::from_ne_bytes(*bytes));
    let (seconds, us) = long(0).zip(long(8)).ok_or(Errno::EINVAL)?;
    let us = u32::try_from(us).ok().filter(|us| *us < 1_000_000).ok_or(Errno::EDOM)?;
    let time = Duration::new(u64::try_from(seconds).unwrap_or(0), us * 1_000);
    Ok(if micros(time) == 0 { None } else { Some(time) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(options: &mut Options, name: i32, value: i32) -> Result<(), Errno> {
        options.set(libc::IPPROTO_TCP, name, &value.to_ne_bytes())
    }

    #[test]
    fn limits_hold_and_one_past_is_refused() {
        let mut options = Options::default();
        for (name, least, most) in [
            (libc::TCP_KEEPIDLE, 1, 32_767),
            (libc::TCP_KEEPINTVL, 1, 32_767),
            (libc::TCP_KEEPCNT, 1, 127),
            (libc::TCP_SYNCNT, 1, 127),
            (libc::TCP_MAXSEG, 88, 32_767),
        ] {
            for good in [least, most] {
                assert_eq!(set(&mut options, name, good), Ok(()), "{name} {good}");
            }
            for bad in [least - 1, most + 1] {
                assert_eq!(set(&mut options, name, bad), Err(Errno::EINVAL), "{name} {bad}");
            }
        }
        assert_eq!(options.set(libc::IPPROTO_TCP, libc::TCP_KEEPCNT, &[1, 0, 0]), Err(Errno::EINVAL));
    }

    #[test]
    fn buffers_are_clamped_and_told_twice_as_large() {
        let mut options = Options::default();
        for (asked, got) in [(1, 2_304), (2_305, 2_305), (16 << 20, 16 << 20), ((16 << 20) + 1, 16 << 20)] {
            assert_eq!(options.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &i32::to_ne_bytes(asked)), Ok(()));
            assert_eq!(options.config(Family::V4).recv_buffer_bytes, got);
            assert_eq!(options.get(libc::SOL_SOCKET, libc::SO_RCVBUF), Some((2 * got).to_ne_bytes().to_vec()));
        }
    }

    #[test]
    fn a_segment_size_bounds_the_packets() {
        let mut options = Options::default();
        assert_eq!(options.config(Family::V4).mtu, 1_500);
        set(&mut options, libc::TCP_MAXSEG, 1_000).unwrap();
        assert_eq!((options.config(Family::V4).mtu, options.config(Family::V6).mtu), (1_040, 1_060));
        set(&mut options, libc::TCP_MAXSEG, 9_000).unwrap();
        assert_eq!(options.config(Family::V4).mtu, 1_500, "the path takes no more");
    }

    #[test]
    fn linger_is_a_pair() {
        let mut options = Options::default();
        let value = [1_i32.to_ne_bytes(), 5_i32.to_ne_bytes()].concat();
        assert_eq!(options.set(libc::SOL_SOCKET, libc::SO_LINGER, &value), Ok(()));
        assert_eq!(options.linger, Some(Duration::from_secs(5)));
        assert_eq!(options.get(libc::SOL_SOCKET, libc::SO_LINGER), Some(value));
        assert_eq!(options.set(libc::SOL_SOCKET, libc::SO_LINGER, &[1, 0, 0, 0]), Err(Errno::EINVAL));
    }
}
