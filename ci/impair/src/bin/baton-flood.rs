//! A flood of SYN segments from random sources, at a steady rate, from a seed: what a server must live through (RFC 4987).
//!
//! The segments are such as a usual client sends, with all options. Nobody answers what comes back.

#![forbid(unsafe_code)]

use anyhow::{Context, bail};
use baton_impair::link::{BATCH, Port};
use clap::Parser;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the flood sleeps when it is not behind.
const TICK: Duration = Duration::from_micros(500);
/// What it is behind by more than this it does not make up for: a flood has no bursts that the machine made.
const BEHIND_MAX: Duration = Duration::from_millis(50);
/// Sources are drawn from here: addresses that no machine on the internet has (RFC 6598, RFC 3849).
const SOURCES_V4: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
const SOURCE_BITS_V4: u32 = 22;
const SOURCES_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const PROTOCOL_TCP: u8 = 6;
/// The length of a segment, TCP header and options, as headers say it.
const TCP_LENGTH: u8 = 40;
const TCP_BYTES: usize = TCP_LENGTH as usize;

/// Sends SYN segments from random sources to one address.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "The last line is sent=N unsent=N seconds=S. Exit codes: 0 done, 1 failed, 2 wrong usage"
)]
struct Arguments {
    /// The interface to send on.
    #[arg(long)]
    interface: String,
    /// The Ethernet address the frames come from.
    #[arg(long)]
    source_mac: Mac,
    /// The Ethernet address the frames go to.
    #[arg(long)]
    target_mac: Mac,
    /// The address to flood.
    #[arg(long)]
    target: IpAddr,
    /// The port to flood.
    #[arg(long, default_value_t = 80)]
    port: u16,
    /// Segments per second.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: u32,
    /// How long, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Where the random numbers begin.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mac([u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octets: Result<Vec<u8>, _> = text.split(':').map(|part| u8::from_str_radix(part, 16)).collect();
        let octets = octets.ok().and_then(|octets| octets.try_into().ok());
        octets.map(Self).ok_or_else(|| format!("{text:?} is no Ethernet address"))
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("baton-flood: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Floods; returns what was done, in a line.
fn run(arguments: &Arguments) -> anyhow::Result<String> {
    if arguments.target.is_multicast() || arguments.target.is_unspecified() {
        bail!("{} is not the address of one machine", arguments.target);
    }
    let mut port = Port::open_to_send(&arguments.interface).context("cannot open the interface")?;
    let mut flood = Flood::new(arguments);
    let mut pace = Pace::new(arguments.rate);
    let (mut sent, mut unsent) = (0, 0);
    let mut batch = vec![Vec::new(); BATCH];
    let began = Instant::now();
    let lasts = Duration::from_secs(arguments.seconds.into());
    loop {
        let elapsed = began.elapsed();
        if elapsed >= lasts {
            return Ok(format!("sent={sent} unsent={unsent} seconds={:.3}", elapsed.as_secs_f64()));
        }
        let due = pace.due(elapsed, BATCH);
        if due == 0 {
            sleep(TICK);
            continue;
        }
        for frame in &mut batch[..due] {
            flood.write(frame);
        }
        let refused = port.send(&batch[..due]);
        unsent += refused;
        sent += due as u64 - refused;
    }
}

/// How many segments are due.
#[derive(Debug)]
struct Pace {
    per_second: u64,
    /// Those that were due and are taken care of, sent or given up.
    done: u64,
}

impl Pace {
    const fn new(rate: u32) -> Self {
        Self { per_second: rate as u64, done: 0 }
    }

    /// So many may leave now, at most `most`.
    fn due(&mut self, elapsed: Duration, most: usize) -> usize {
        let target = self.at(elapsed);
        self.done = self.done.max(self.at(elapsed.saturating_sub(BEHIND_MAX)));
        let due = target.saturating_sub(self.done).min(most as u64);
        self.done += due;
        usize::try_from(due).unwrap_or(most)
    }

    fn at(&self, elapsed: Duration) -> u64 {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        micros.saturating_mul(self.per_second) / 1_000_000
    }
}

/// Makes the segments.
#[derive(Debug)]
struct Flood {
    random: ChaCha8Rng,
    ethernet: [u8; 12],
    target: IpAddr,
    port: u16,
}

impl Flood {
    fn new(arguments: &Arguments) -> Self {
        let mut ethernet = [0; 12];
        ethernet[..6].copy_from_slice(&arguments.target_mac.0);
        ethernet[6..].copy_from_slice(&arguments.source_mac.0);
        let random = ChaCha8Rng::seed_from_u64(arguments.seed);
        Self { random, ethernet, target: arguments.target, port: arguments.port }
    }

    /// Replaces `frame` by the next segment's.
    fn write(&mut self, frame: &mut Vec<u8>) {
        frame.clear();
        frame.extend_from_slice(&self.ethernet);
        match self.target {
            IpAddr::V4(target) => self.write_v4(frame, target),
            IpAddr::V6(target) => self.write_v6(frame, target),
        }
    }

    fn write_v4(&mut self, frame: &mut Vec<u8>, target: Ipv4Addr) {
        let host = self.random.next_u32() & ((1 << SOURCE_BITS_V4) - 1);
        let source = Ipv4Addr::from_bits(SOURCES_V4.to_bits() | host).octets();
        let mut header = [0x45, 0, 0, 20 + TCP_LENGTH, 0, 0, 0x40, 0, 64, PROTOCOL_TCP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        header[12..16].copy_from_slice(&source);
        header[16..].copy_from_slice(&target.octets());
        let sum = checksum([&header[..]]);
        header[10..12].copy_from_slice(&sum);
        frame.extend_from_slice(&ETHERTYPE_IPV4);
        frame.extend_from_slice(&header);
        frame.extend_from_slice(&self.segment(&[&source, &target.octets()]));
    }

    fn write_v6(&mut self, frame: &mut Vec<u8>, target: Ipv6Addr) {
        let mut source = SOURCES_V6.octets();
        self.random.fill_bytes(&mut source[4..]);
        frame.extend_from_slice(&ETHERTYPE_IPV6);
        frame.extend_from_slice(&[0x60, 0, 0, 0, 0, TCP_LENGTH, PROTOCOL_TCP, 64]);
        frame.extend_from_slice(&source);
        frame.extend_from_slice(&target.octets());
        frame.extend_from_slice(&self.segment(&[&source, &target.octets()]));
    }

    /// A SYN between `addresses`, with the options of a usual client: MSS, SACK permitted, timestamps, window scale.
    fn segment(&mut self, addresses: &[&[u8]; 2]) -> [u8; TCP_BYTES] {
        let mut segment = [
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0, 0, 0, 0,
            0, // ports, numbers, SYN, window, checksum
            2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        // Not the ports that a machine keeps for its own services.
        let [high, low, ..] = self.random.next_u32().to_be_bytes();
        segment[..2].copy_from_slice(&[high | 0x80, low]);
        segment[2..4].copy_from_slice(&self.port.to_be_bytes());
        segment[4..8].copy_from_slice(&self.random.next_u32().to_be_bytes());
        segment[28..32].copy_from_slice(&self.random.next_u32().to_be_bytes());
        let pseudo = [0, PROTOCOL_TCP, 0, TCP_LENGTH];
        let sum = checksum([addresses[0], addresses[1], &pseudo, &segment]);
        segment[16..18].copy_from_slice(&sum);
        segment
    }
}

/// The internet checksum (RFC 1071) over parts of even length.
fn checksum<const N: usize>(parts: [&[u8]; N]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    // The end-around carry at each step, so that the sum stays in 16 bits.
    let sum = words.fold(0_u16, |sum, word| {
        let (sum, carry) = sum.overflowing_add(u16::from_be_bytes([word[0], word[1]]));
        sum + u16::from(carry)
    });
    (!sum).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(target: &str) -> Arguments {
        let words = [
            "baton-flood",
            "--interface",
            "eth0",
            "--source-mac",
            "02:00:00:00:00:01",
            "--target-mac",
            "02:00:00:00:00:02",
        ];
        Arguments::try_parse_from(words.into_iter().chain(["--target", target])).unwrap()
    }

    fn frames(target: &str, count: usize) -> Vec<Vec<u8>> {
        let mut flood = Flood::new(&arguments(target));
        let mut frames = vec![Vec::new(); count];
        frames.iter_mut().for_each(|frame| flood.write(frame));
        frames
    }

    #[test]
    fn an_ipv4_segment_has_right_checksums_and_a_foreign_source() {
        for frame in frames("10.77.0.100", 100) {
            assert_eq!(frame.len(), 14 + 20 + 40);
            assert_eq!(frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
            assert_eq!(checksum([&frame[14..34]]), [0, 0]);
            assert_eq!(checksum([&frame[26..34], &[0, 6, 0, 40], &frame[34..]]), [0, 0]);
            assert_eq!((frame[26], frame[27] & 0xc0), (100, 64));
            assert_eq!(frame[30..34], [10, 77, 0, 100]);
            assert_eq!((&frame[36..38], frame[47]), (&[0, 80][..], 2));
        }
    }

    #[test]
    fn an_ipv6_segment_has_a_right_checksum() {
        for frame in frames("fd77::100", 100) {
            assert_eq!(frame.len(), 14 + 40 + 40);
            assert_eq!(checksum([&frame[22..54], &[0, 6, 0, 40], &frame[54..]]), [0, 0]);
            assert_eq!(frame[22..26], [0x20, 0x01, 0x0d, 0xb8]);
        }
    }

    #[test]
    fn a_seed_makes_the_same_flood_and_sources_differ() {
        let first = frames("10.77.0.100", 1_000);
        assert_eq!(first, frames("10.77.0.100", 1_000));
        let sources: std::collections::HashSet<&[u8]> = first.iter().map(|frame| &frame[26..36]).collect();
        assert_eq!(sources.len(), 1_000);
    }

    #[test]
    fn the_pace_is_the_rate_and_lost_time_is_not_made_up_for() {
        let mut pace = Pace::new(100_000);
        assert_eq!(pace.due(Duration::ZERO, 64), 0);
        assert_eq!(pace.due(Duration::from_micros(100), 64), 10);
        assert_eq!(pace.due(Duration::from_micros(100), 64), 0);
        assert_eq!(pace.due(Duration::from_millis(1), 64), 64);
        assert_eq!(pace.due(Duration::from_millis(1), 64), 26);
        // A second late: only what became due in the last 50 ms.
        assert_eq!(pace.due(Duration::from_secs(1), 1_000_000), 5_000);
    }

    #[test]
    fn wrong_addresses_are_refused() {
        assert!(Mac::from_str("02:00:00:00:00").is_err());
        assert!(Mac::from_str("02:00:00:00:00:0g").is_err());
        assert_eq!(Mac::from_str("02:00:00:00:00:ff"), Ok(Mac([2, 0, 0, 0, 0, 255])));
        assert!(run(&arguments("224.0.0.1")).unwrap_err().to_string().contains("not the address of one machine"));
    }
}
