//! A small language for conversations with a peer that does as it is told.
//!
//! ```text
//! <ms> in  <flags> <seq> [len n] [ack n] [win n] [options] [=> what came of it]
//! <ms> out <flags> <seq> [len n] [ack n] [win n] [options] [times n]
//! <ms> push n | read n | close | abort | break | boundary | state <name> | cwnd n | unsent n
//! ```
//! Flags are letters of `SAPFR`. Sequence numbers count from 0 on both sides, SYN being 0; windows are as in the header. Options:
//! `mss n`, `ws n`, `sackok`, `ts val:ecr`, `sack a-b,c-d`. `times n`: so many segments, each behind the one before. An `out` line says everything about flags, numbers and
//! length, and of window and options what it names; `sack -` means that there are no blocks. What leaves must leave at that
//! very time, in that order, and nothing else may. What came of a segment: `received acked established finished closed`, or
//! the name of a drop reason; not said: not looked at. TSval is the time in milliseconds.
//! A time may have three digits behind a point.
//!
//! Each script is played twice: at one node, and moving to another before each step.

use std::string::{String, ToString};
use std::vec::Vec;

use super::host::{Host, Moves};
use super::pair::text;
use crate::drop::DropReason;
use crate::ecn::Ecn;
use crate::tcp::{Flags, Options, Outcome, Segment, SeqNum, TcpConfig, Timestamps};
use crate::time::{Duration, Instant};

/// Both wrap in the first kilobytes.
const ISS: SeqNum = SeqNum(u32::MAX - 2_999);
const IRS: SeqNum = SeqNum(u32::MAX - 99);
const STREAM_LEN: usize = 1 << 20;

/// Opens a connection in ten milliseconds, without options.
pub(super) const PLAIN: &str = "
    0  in  S 0 win 65535 mss 1460
    0  out SA 0 ack 1 win 65535 mss 1460
    10 in  A 1 ack 1 win 65535 => established
";
/// The same, with SACK.
pub(super) const SACK: &str = "
    0  in  S 0 win 65535 mss 1460 sackok
    0  out SA 0 ack 1 mss 1460 sackok
    10 in  A 1 ack 1 win 65535 => established
";
/// The same, with timestamps; the peer's run at 1,000 and on.
pub(super) const STAMPS: &str = "
    0  in  S 0 win 65535 mss 1460 ts 1000:0
    0  out SA 0 ack 1 ts 0:1000
    10 in  A 1 ack 1 win 65535 ts 1010:0 => established
";

struct Player {
    host: Option<Host>,
    config: TcpConfig,
    moves: Moves,
    now: Instant,
    /// What the two sides say.
    ours: Vec<u8>,
    theirs: Vec<u8>,
    pushed: usize,
    read: usize,
    line: String,
}

/// One segment, as a line tells it.
#[derive(Debug, Default)]
struct Line {
    flags: String,
    seq: u32,
    len: u32,
    /// Said of several; 0 of one.
    times: u32,
    ack: Option<u32>,
    window: Option<u16>,
    mss: Option<u16>,
    scale: Option<u8>,
    sack_permitted: bool,
    timestamps: Option<(u32, u32)>,
    sack: Option<Vec<(u32, u32)>>,
    result: Option<Vec<String>>,
}

pub(super) fn run(opening: &str, script: &str) {
    run_with(&TcpConfig::default(), opening, script);
}

pub(super) fn run_with(config: &TcpConfig, opening: &str, script: &str) {
    for moves in [Moves::Never, Moves::WhereExact] {
        let mut player = Player {
            host: None,
            // Windows are as the scripts say.
            config: TcpConfig { recv_buffer_max_bytes: config.recv_buffer_bytes, ..*config },
            moves,
            now: Instant::ZERO,
            ours: text(1, STREAM_LEN),
            theirs: text(2, STREAM_LEN),
            pushed: 0,
            read: 0,
            line: String::new(),
        };
        for line in opening.lines().chain(script.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                player.line = std::format!("{line} ({moves:?})");
                player.play(line);
            }
        }
        player.line = "the end".to_string();
        player.expect_silence();
    }
}

impl Player {
    fn host(&mut self) -> &mut Host {
        self.host.as_mut().unwrap()
    }

    fn play(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = time(words[0]).unwrap_or_else(|| panic!("no time: {line}"));
        assert!(at >= self.now, "back in time: {line}");
        if words[1] == "out" {
            let mut line = parse(&words[2..]);
            for _ in 0..line.times.max(1) {
                self.expect(at, &line);
                line.seq += line.len;
            }
            return;
        }
        self.advance(at, false);
        self.now = at;
        if !matches!(words[1], "state" | "cwnd" | "unsent") {
            self.expect_silence();
        }
        let number = || words[2].parse::<usize>().unwrap();
        match words[1] {
            "in" => self.hand_in(&parse(&words[2..]), false),
            "burst" => self.hand_in(&parse(&words[2..]), true),
            "push" => {
                let n = number();
                let bytes = self.ours[self.pushed..self.pushed + n].to_vec();
                self.pushed += n;
                self.host().push(at, &bytes);
            }
            "read" => {
                let n = number();
                let bytes = self.host().consume(at, n);
                assert!(bytes == self.theirs[self.read..self.read + n], "wrong bytes: {}", self.line);
                self.read += n;
            }
            "close" => self.host().close(at),
            "abort" => {
                self.host().tcb_mut().abort();
                self.host().transmit(at);
            }
            "boundary" => self.host().tcb_mut().note_move(),
            "break" => self.host().store.broken = true,
            "state" => assert_eq!(std::format!("{:?}", self.host().tcb().state()), words[2], "{}", self.line),
            "cwnd" => assert_eq!(self.host().tcb().cwnd() as usize, number(), "{}", self.line),
            "unsent" => assert_eq!(self.host().tcb().unsent(), number() as u64, "{}", self.line),
            other => panic!("what is {other}?"),
        }
    }

    /// Lets timers run out until `at`, or until something leaves.
    fn advance(&mut self, at: Instant, until_out: bool) {
        while let Some(host) = &mut self.host
            && let Some(due) = host.poll_at().filter(|due| *due <= at)
        {
            if until_out && !host.out.is_empty() {
                return;
            }
            let _ = host.handle_timeout(due);
        }
    }

    fn expect_silence(&mut self) {
        if let Some(host) = &self.host {
            let out: Vec<String> = host.out.iter().map(|(at, bytes)| show(*at, bytes)).collect();
            assert!(out.is_empty(), "before {}:\n{}", self.line, out.join("\n"));
        }
    }

    /// `is_followed`: another segment comes in the same burst.
    fn hand_in(&mut self, line: &Line, is_followed: bool) {
        let from = (line.seq.max(1) - 1) as usize;
        let payload = self.theirs[from..from + line.len as usize].to_vec();
        let segment = Segment {
            src_port: 40_000,
            dst_port: 80,
            seq: IRS + line.seq,
            ack: line.ack.map_or(SeqNum(0), |ack| ISS + ack),
            flags: flags(&line.flags),
            window: line.window.unwrap_or(u16::MAX),
            urgent: 0,
            ecn: Ecn::NotEct,
            options: Options {
                mss: line.mss,
                window_scale: line.scale,
                sack_permitted: line.sack_permitted,
                timestamps: line.timestamps.map(|(val, ecr)| Timestamps { val, ecr }),
                sack: line.sack.iter().flatten().map(|(left, right)| (ISS + *left, ISS + *right)).collect(),
            },
            payload: &payload,
        };
        let now = self.now;
        let result = match &mut self.host {
            Some(host) if is_followed => host.take_segment(now, &segment),
            Some(host) => host.handle_segment(now, &segment),
            None => match Host::accept(now, &self.config, self.moves, (ISS, 0), &segment) {
                Ok(host) => {
                    self.host = Some(host);
                    Ok(Outcome::default())
                }
                Err(reason) => Err(reason),
            },
        };
        if let Some(expected) = &line.result {
            assert_eq!(&name(result), expected, "{}", self.line);
        }
    }

    fn expect(&mut self, at: Instant, line: &Line) {
        if self.host.as_ref().unwrap().out.is_empty() {
            self.advance(at, true);
        }
        self.now = at;
        let told = self.line.clone();
        let host = self.host();
        assert!(!host.out.is_empty(), "nothing has left: {told}");
        let (when, bytes) = host.out.remove(0);
        let out = Segment::parse(&bytes).unwrap();
        let what = std::format!("\n  told: {told}\n  left: {}", show(when, &bytes));
        assert_eq!(when, at, "at another time{what}");
        assert_eq!(out.flags, flags(&line.flags), "flags{what}");
        assert_eq!(out.seq, ISS + line.seq, "sequence number{what}");
        assert_eq!(out.payload.len(), line.len as usize, "length{what}");
        if let Some(ack) = line.ack {
            assert_eq!(out.ack, IRS + ack, "acknowledgment{what}");
        }
        let from = (line.seq.max(1) - 1) as usize;
        assert!(out.payload == &self.ours[from..from + out.payload.len()], "bytes{what}");
        assert!(line.window.is_none_or(|window| window == out.window), "window{what}");
        assert!(line.mss.is_none_or(|mss| Some(mss) == out.options.mss), "MSS{what}");
        assert!(line.scale.is_none_or(|scale| Some(scale) == out.options.window_scale), "scale{what}");
        assert!(!line.sack_permitted || out.options.sack_permitted, "SACK-permitted{what}");
        let stamps = out.options.timestamps.map(|ts| (ts.val, ts.ecr));
        assert!(line.timestamps.is_none() || line.timestamps == stamps, "timestamps{what}");
        if let Some(blocks) = &line.sack {
            let said: Vec<_> = out.options.sack.iter().map(|(l, r)| (relative(*l), relative(*r))).collect();
            assert_eq!(&said, blocks, "SACK blocks{what}");
        }
    }
}

/// Milliseconds, with microseconds behind the point if need be.
fn time(text: &str) -> Option<Instant> {
    let (ms, us) = text.split_once('.').unwrap_or((text, "000"));
    let us = us.parse::<u64>().ok().filter(|_| us.len() == 3)?;
    Some(Instant::from_micros(1_000 * ms.parse::<u64>().ok()? + us))
}

fn relative(seq: SeqNum) -> u32 {
    seq.0.wrapping_sub(IRS.0)
}

fn parse(words: &[&str]) -> Line {
    let mut line = Line { flags: words[0].to_string(), seq: words[1].parse().unwrap(), ..Line::default() };
    let mut words = words[2..].iter();
    while let Some(word) = words.next() {
        if *word == "sackok" {
            line.sack_permitted = true;
            continue;
        }
        if *word == "=>" {
            line.result = Some(words.by_ref().map(ToString::to_string).collect());
            continue;
        }
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        let two = |text: &str, by: char| {
            let (a, b) = text.split_once(by).unwrap();
            (a.parse::<u32>().unwrap(), b.parse::<u32>().unwrap())
        };
        match *word {
            "len" => line.len = value.parse().unwrap(),
            "times" => line.times = value.parse().unwrap(),
            "ack" => line.ack = Some(value.parse().unwrap()),
            "win" => line.window = Some(value.parse().unwrap()),
            "mss" => line.mss = Some(value.parse().unwrap()),
            "ws" => line.scale = Some(value.parse().unwrap()),
            "ts" => line.timestamps = Some(two(value, ':')),
            "sack" if *value == "-" => line.sack = Some(Vec::new()),
            "sack" => line.sack = Some(value.split(',').map(|block| two(block, '-')).collect()),
            other => panic!("what is {other}?"),
        }
    }
    line
}

fn flags(letters: &str) -> Flags {
    letters.chars().fold(Flags::default(), |flags, letter| {
        flags.with(match letter {
            'S' => Flags::SYN,
            'A' => Flags::ACK,
            'P' => Flags::PSH,
            'F' => Flags::FIN,
            'R' => Flags::RST,
            other => panic!("what is {other}?"),
        })
    })
}

fn name(result: Result<Outcome, DropReason>) -> Vec<String> {
    let Outcome { received, acked, peer_finished, established, marked: _, slowed: _, urgent: _, closed } = match result
    {
        Ok(outcome) => outcome,
        Err(reason) => return std::vec![std::format!("{reason:?}")],
    };
    let all = [
        (received, "received"),
        (acked, "acked"),
        (established, "established"),
        (peer_finished, "finished"),
        (closed.is_some(), "closed"),
    ];
    all.iter().filter(|(is, _)| *is).map(|(_, name)| name.to_string()).collect()
}

fn show(at: Instant, bytes: &[u8]) -> String {
    let segment = Segment::parse(bytes).unwrap();
    let letters: String =
        [(Flags::SYN, 'S'), (Flags::FIN, 'F'), (Flags::PSH, 'P'), (Flags::RST, 'R'), (Flags::ACK, 'A')]
            .iter()
            .filter(|(flag, _)| segment.flags.has(*flag))
            .map(|(_, letter)| *letter)
            .collect();
    let seq = segment.seq.0.wrapping_sub(ISS.0);
    let us = at.since(Instant::ZERO).as_micros();
    let (ack, len, window) = (relative(segment.ack), segment.payload.len(), segment.window);
    let blocks: Vec<_> = segment.options.sack.iter().map(|(l, r)| (relative(*l), relative(*r))).collect();
    std::format!(
        "{}.{:03} out {letters} {seq} len {len} ack {ack} win {window} ts {:?} sack {blocks:?}",
        us / 1000,
        us % 1000,
        segment.options.timestamps
    )
}

/// Milliseconds.
pub(super) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
