//! A script as data.

use baton_stack::tcp::TcpConfig;
use baton_stack::time::Instant;

use crate::config::{self, number};
use crate::packet::Packet;

/// A script that has been read.
#[derive(Debug)]
pub struct Script {
    pub(crate) config: TcpConfig,
    pub(crate) is_ipv6: bool,
    /// SYNs are answered with cookies.
    pub(crate) has_cookies: bool,
    pub(crate) steps: Vec<Step>,
}

/// A line with a time.
#[derive(Debug)]
pub(crate) struct Step {
    /// The line's number and text, for people.
    pub(crate) told: String,
    pub(crate) at: Instant,
    pub(crate) act: Act,
}

/// What happens, or must be so.
#[derive(Debug)]
pub(crate) enum Act {
    In(Box<Packet>),
    Out(Box<Packet>),
    /// The number, length and MTU of a packet that was too big; whether that is believed.
    TooBig(u32, u16, u16, bool),
    Connect,
    Write(usize, bool),
    Read(usize),
    Close,
    Abort,
    Break,
    Linger,
    Forget,
    Stay,
    Go,
    Is(Fact),
}

/// What can be asked of a connection.
#[derive(Debug)]
pub(crate) enum Fact {
    State(String),
    Cwnd(u32),
    Unsent(u64),
    Unread(usize),
    Urgent(Option<u32>),
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// The line that is none of the language, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let default = TcpConfig::default();
        let config = TcpConfig { recv_buffer_max_bytes: default.recv_buffer_bytes, ..default };
        let mut script = Self { config, is_ipv6: false, has_cookies: false, steps: Vec::new() };
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                let told = format!("line {}: {line}", n + 1);
                script.take(&told, line).map_err(|error| format!("{told}\n  {error}"))?;
            }
        }
        if script.steps.is_empty() { Err("nothing happens in it".to_owned()) } else { Ok(script) }
    }

    fn take(&mut self, told: &str, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["config", ..] if !self.steps.is_empty() => Err("config comes before the first event".to_owned()),
            ["config", "family", "4"] => Ok(()),
            ["config", "family", "6"] => {
                self.is_ipv6 = true;
                Ok(())
            }
            ["config", "syn_cookies", "always"] => {
                self.has_cookies = true;
                Ok(())
            }
            ["config", key, value] => match config::set(&mut self.config, key, value)? {
                true => Ok(()),
                false => Err(format!("there is no key {key}")),
            },
            [at, ref what @ ..] => {
                let at = time(at)?;
                if self.steps.last().is_some_and(|last| at < last.at) {
                    return Err("back in time".to_owned());
                }
                self.steps.push(Step { told: told.to_owned(), at, act: act(what)? });
                Ok(())
            }
            [] => Ok(()),
        }
    }
}

fn act(words: &[&str]) -> Result<Act, String> {
    Ok(match *words {
        ["in", ref rest @ ..] => Act::In(Box::new(Packet::parse(rest)?)),
        ["out", ref rest @ ..] => Act::Out(Box::new(Packet::parse(rest)?)),
        ["too_big", seq, "len", len, "mtu", mtu] => Act::TooBig(number(seq)?, number(len)?, number(mtu)?, true),
        ["too_big", seq, "len", len, "mtu", mtu, "=>", "Icmp"] => {
            Act::TooBig(number(seq)?, number(len)?, number(mtu)?, false)
        }
        ["connect"] => Act::Connect,
        ["write", n] => Act::Write(number(n)?, false),
        ["write", n, "urgent"] => Act::Write(number(n)?, true),
        ["read", n] => Act::Read(number(n)?),
        ["close"] => Act::Close,
        ["abort"] => Act::Abort,
        ["break"] => Act::Break,
        ["linger"] => Act::Linger,
        ["forget"] => Act::Forget,
        ["stay"] => Act::Stay,
        ["go"] => Act::Go,
        ["state", name] => Act::Is(Fact::State(name.to_owned())),
        ["cwnd", n] => Act::Is(Fact::Cwnd(number(n)?)),
        ["unsent", n] => Act::Is(Fact::Unsent(number(n)?)),
        ["urgent", "-"] => Act::Is(Fact::Urgent(None)),
        ["urgent", n] => Act::Is(Fact::Urgent(Some(number(n)?))),
        ["unread", n] => Act::Is(Fact::Unread(number(n)?)),
        _ => return Err(format!("what is {}?", words.join(" "))),
    })
}

/// Milliseconds with at most three decimals.
fn time(word: &str) -> Result<Instant, String> {
    let (whole, part) = word.split_once('.').unwrap_or((word, ""));
    if part.len() > 3 {
        return Err(format!("{word} is finer than a microsecond"));
    }
    let micros: u64 = number(&format!("{part:0<3}"))?;
    Ok(Instant::from_micros(1_000 * number::<u64>(whole)? + micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_decimals() {
        let micros = |word| time(word).map(Instant::micros);
        assert_eq!((micros("10"), micros("10.5"), micros("0.001")), (Ok(10_000), Ok(10_500), Ok(1)));
        assert!(micros("1.0001").is_err() && micros("x").is_err());
    }

    #[test]
    fn what_is_not_of_the_language_is_refused_with_its_line() {
        for (text, problem) in [
            ("", "nothing happens"),
            ("0 in S 0\n0 hop", "line 2: 0 hop\n  what is hop?"),
            ("5 close\n4 close", "back in time"),
            ("config mtu big\n0 close", "big is no number"),
            ("config moon 1\n0 close", "no key moon"),
            ("0 close\nconfig mtu 1280", "before the first event"),
            ("0 in X 0", "X"),
            ("0 in S 0 len", "len needs a value"),
            ("0 in S 0 opts 0", "opts"),
            ("0 in S 0 colour red", "what is colour?"),
        ] {
            let error = Script::parse(text).expect_err(text);
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
