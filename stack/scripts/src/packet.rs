//! A segment as a line tells it.

use baton_stack::drop::DropReason;
use baton_stack::ecn::Ecn;
use baton_stack::tcp::{Flags, HEADER_LEN, Options, Outcome, Segment, SeqNum, Timestamps};
use baton_stack::time::Instant;

use crate::config::number;

/// The first sequence numbers, ours and the peer's. Both wrap in the first kilobytes.
pub(crate) const ISS: SeqNum = SeqNum(u32::MAX - 2_999);
pub(crate) const IRS: SeqNum = SeqNum(u32::MAX - 99);

const LETTERS: [(Flags, char); 8] = [
    (Flags(0x02), 'S'),
    (Flags(0x01), 'F'),
    (Flags(0x08), 'P'),
    (Flags(0x04), 'R'),
    (Flags(0x10), 'A'),
    (Flags(0x20), 'U'),
    (Flags(0x40), 'E'),
    (Flags(0x80), 'W'),
];

/// What a line says. An option is: not mentioned; not there; there.
#[derive(Debug, Default)]
pub(crate) struct Packet {
    pub(crate) flags: Flags,
    pub(crate) seq: u32,
    pub(crate) len: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) window: Option<u16>,
    pub(crate) urgent: Option<u16>,
    pub(crate) ecn: Option<Ecn>,
    pub(crate) mss: Option<Option<u16>>,
    pub(crate) scale: Option<Option<u8>>,
    pub(crate) sack_permitted: Option<bool>,
    pub(crate) timestamps: Option<Option<(u32, u32)>>,
    pub(crate) sack: Option<Vec<(u32, u32)>>,
    /// The bytes of the options, as they are.
    pub(crate) raw_options: Option<Vec<u8>>,
    pub(crate) result: Option<Vec<String>>,
}

impl Packet {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let [letters, seq, rest @ ..] = words else { return Err("flags and a sequence number, please".to_owned()) };
        let mut packet = Self { flags: flags(letters)?, seq: number(seq)?, ..Self::default() };
        let mut words = rest.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "sackok" => packet.sack_permitted = Some(true),
                "nosackok" => packet.sack_permitted = Some(false),
                "=>" => packet.result = Some(words.by_ref().map(str::to_owned).collect()),
                _ => packet.take(word, words.next().ok_or_else(|| format!("{word} needs a value"))?)?,
            }
        }
        Ok(packet)
    }

    fn take(&mut self, word: &str, value: &str) -> Result<(), String> {
        let is_absent = value == "-";
        match word {
            "len" => self.len = number(value)?,
            "ack" => self.ack = Some(number(value)?),
            "win" => self.window = Some(number(value)?),
            "urg" => self.urgent = Some(number(value)?),
            "ecn" => self.ecn = Some(ecn(value)?),
            "mss" if is_absent => self.mss = Some(None),
            "mss" => self.mss = Some(Some(number(value)?)),
            "ws" if is_absent => self.scale = Some(None),
            "ws" => self.scale = Some(Some(number(value)?)),
            "ts" if is_absent => self.timestamps = Some(None),
            "ts" => self.timestamps = Some(Some(two(value, ':')?)),
            "sack" if is_absent => self.sack = Some(Vec::new()),
            "sack" => self.sack = Some(value.split(',').map(|block| two(block, '-')).collect::<Result<_, _>>()?),
            "opts" => self.raw_options = Some(hex(value)?),
            other => return Err(format!("what is {other}?")),
        }
        Ok(())
    }

    /// The segment's bytes, from the peer's port to ours. `iss` is the number that ours are counted from.
    pub(crate) fn emit(&self, iss: SeqNum, payload: &[u8]) -> Vec<u8> {
        let options = Options {
            mss: self.mss.flatten(),
            window_scale: self.scale.flatten(),
            sack_permitted: self.sack_permitted == Some(true),
            timestamps: self.timestamps.flatten().map(|(val, ecr)| Timestamps { val, ecr }),
            sack: self.sack.iter().flatten().map(|(left, right)| (iss + *left, iss + *right)).collect(),
        };
        let segment = Segment {
            src_port: 40_000,
            dst_port: 80,
            seq: IRS + self.seq,
            ack: self.ack.map_or(SeqNum(0), |ack| iss + ack),
            flags: self.flags,
            window: self.window.unwrap_or(u16::MAX),
            urgent: self.urgent.unwrap_or(0),
            ecn: Ecn::NotEct,
            options,
            payload,
        };
        let mut bytes = vec![0; HEADER_LEN + segment.options.len() + payload.len()];
        segment.emit(&mut bytes);
        if let Some(raw) = &self.raw_options {
            let behind = bytes.split_off(HEADER_LEN);
            bytes.extend_from_slice(raw);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes[12] = u8::try_from(bytes.len() / 4).unwrap_or(15) << 4;
            bytes.extend_from_slice(&behind);
        }
        bytes
    }
}

/// The names of the field's values, in the language.
const ECN: [(Ecn, &str); 4] = [(Ecn::NotEct, "-"), (Ecn::Ect1, "ect1"), (Ecn::Ect0, "ect0"), (Ecn::Ce, "ce")];

fn ecn(text: &str) -> Result<Ecn, String> {
    let known = ECN.iter().find(|(_, name)| *name == text);
    known.map(|(ecn, _)| *ecn).ok_or_else(|| format!("ecn is -, ect0, ect1 or ce, not {text}"))
}

fn two(text: &str, by: char) -> Result<(u32, u32), String> {
    let (a, b) = text.split_once(by).ok_or_else(|| format!("{text}: two numbers and a {by}, please"))?;
    Ok((number(a)?, number(b)?))
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("opts wants pairs of hexadecimal digits, at most 40, not {text}");
    if !text.len().is_multiple_of(2) || text.len() > 80 || !text.is_ascii() {
        return Err(wrong());
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())).collect()
}

fn flags(letters: &str) -> Result<Flags, String> {
    letters.chars().try_fold(Flags::default(), |flags, letter| {
        let known = LETTERS.iter().find(|(_, known)| *known == letter);
        known.map(|(flag, _)| flags.with(*flag)).ok_or_else(|| format!("{letter} is no flag"))
    })
}

/// What came of a segment, in the language's words.
pub(crate) fn words(result: Result<Outcome, DropReason>) -> Vec<String> {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(reason) => return vec![format!("{reason:?}")],
    };
    let all = [
        (outcome.received, "received"),
        (outcome.acked, "acked"),
        (outcome.established, "established"),
        (outcome.peer_finished, "finished"),
        (outcome.marked, "marked"),
        (outcome.slowed, "slowed"),
        (outcome.urgent, "urgent"),
        (outcome.closed.is_some(), "closed"),
    ];
    all.iter().filter(|(is, _)| *is).map(|(_, name)| (*name).to_owned()).collect()
}

/// A sequence number of the peer, from 0.
pub(crate) fn relative(seq: SeqNum) -> u32 {
    seq.0.wrapping_sub(IRS.0)
}

/// What has left, and when.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) bytes: Vec<u8>,
    pub(crate) ecn: Ecn,
}

/// A segment of ours as the language says it.
pub(crate) fn show(iss: SeqNum, Sent { at, bytes, ecn }: &Sent) -> String {
    let Ok(segment) = Segment::parse(bytes) else { return format!("{bytes:02x?}") };
    let letters = LETTERS.iter().filter(|(flag, _)| segment.flags.has(*flag)).map(|(_, letter)| *letter);
    let letters: String = letters.collect();
    let seq = segment.seq.0.wrapping_sub(iss.0);
    let (us, ack, len, window) = (at.micros(), relative(segment.ack), segment.payload.len(), segment.window);
    let mut text = format!("{}.{:03} out {letters} {seq} len {len} ack {ack} win {window}", us / 1000, us % 1000);
    if segment.flags.has(Flags::URG) {
        text += &format!(" urg {}", segment.urgent);
    }
    if let Some((_, name)) = ECN.iter().find(|(known, _)| known == ecn && *ecn != Ecn::NotEct) {
        text += &format!(" ecn {name}");
    }
    let options = &segment.options;
    if let Some(mss) = options.mss {
        text += &format!(" mss {mss}");
    }
    if let Some(scale) = options.window_scale {
        text += &format!(" ws {scale}");
    }
    if options.sack_permitted {
        text += " sackok";
    }
    if let Some(Timestamps { val, ecr }) = options.timestamps {
        text += &format!(" ts {val}:{ecr}");
    }
    let blocks = options.sack.iter().map(|(left, right)| format!("{}-{}", relative(*left), relative(*right)));
    let blocks: Vec<_> = blocks.collect();
    if !blocks.is_empty() {
        text += &format!(" sack {}", blocks.join(","));
    }
    text
}
