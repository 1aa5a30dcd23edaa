//! HTTP/1.1 messages for the simulator's own ends: small, strict, and apart from the parser it is there to check.

/// The longest head that is read, in bytes.
pub(crate) const HEAD_LEN_MAX: usize = 16_384;
/// The longest line of a chunked body's framing.
const LINE_LEN_MAX: usize = 1024;

/// A message's first line and fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) first_line: String,
    fields: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "a head that is no text".to_owned())?;
        let mut lines = text.split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| format!("a field without a colon: {line:?}"))?;
            let well_formed =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if !well_formed || value.contains(['\r', '\n', '\0']) {
                return Err(format!("a malformed field: {line:?}"));
            }
            fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
        }
        Ok(Self { first_line, fields })
    }

    /// The field's value. Refuses a field that is there twice with two values.
    pub(crate) fn field(&self, name: &str) -> Result<Option<&str>, String> {
        let mut values = self.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let first = values.next();
        match values.find(|value| Some(*value) != first) {
            Some(other) => Err(format!("{name} is both {first:?} and {other:?}")),
            None => Ok(first),
        }
    }

    /// The field's value as a decimal number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let parse = |value: &str| {
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| value.parse().ok()).flatten().ok_or_else(|| format!("{name} is {value:?}, no number"))
        };
        self.field(name)?.map(parse).transpose()
    }

    /// Whether `token` is in the field's comma-separated list.
    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        let values = self.fields.iter().filter(|(n, _)| n == name).flat_map(|(_, value)| value.split(','));
        values.into_iter().any(|value| value.trim().eq_ignore_ascii_case(token))
    }

    /// Content-Length or chunked; `None` if it names neither.
    pub(crate) fn framing(&self) -> Result<Option<Framing>, String> {
        let length = self.number("content-length")?;
        match (self.field("transfer-encoding")?, length) {
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            (Some(coding), length) => Err(format!("transfer-encoding {coding:?} with content-length {length:?}")),
            (None, Some(length)) => Ok(Some(Framing::Length(length))),
            (None, None) => Ok(None),
        }
    }
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// With a chunk of no bytes.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What a [`Reader`] has come upon.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Step<'a> {
    /// A whole head. [`Reader::begin_body`] must follow.
    Head(Head),
    /// Bytes of the body.
    Body(&'a [u8]),
    /// The message is complete; the next one begins.
    End,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Head,
    /// The head is out, the framing not yet told.
    Between,
    Fixed(u64),
    UntilClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
}

/// Reads a stream of messages.
#[derive(Debug)]
pub(crate) struct Reader {
    state: State,
    line: Vec<u8>,
}

impl Reader {
    pub(crate) const fn new() -> Self {
        Self { state: State::Head, line: Vec::new() }
    }

    /// Says how the body ends whose head has just been read.
    pub(crate) const fn begin_body(&mut self, framing: Framing) {
        self.state = match framing {
            Framing::Length(len) => State::Fixed(len),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
    }

    /// Whether the stream may end here.
    pub(crate) const fn may_end(&self) -> bool {
        matches!(self.state, State::UntilClose) || (matches!(self.state, State::Head) && self.line.is_empty())
    }

    /// Takes bytes off `input`. `None` when it needs more.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Step<'a>>, String> {
        loop {
            match self.state {
                State::Between => return Err("a head was not followed up".to_owned()),
                State::Head => {
                    if !self.take_until(input, b"\r\n\r\n", HEAD_LEN_MAX)? {
                        return Ok(None);
                    }
                    self.state = State::Between;
                    return Head::parse(&std::mem::take(&mut self.line)).map(|head| Some(Step::Head(head)));
                }
                State::Fixed(0) => {
                    self.state = State::Head;
                    return Ok(Some(Step::End));
                }
                State::Fixed(left) => {
                    return Ok(take(input, left).map(|(bytes, left)| {
                        self.state = State::Fixed(left);
                        Step::Body(bytes)
                    }));
                }
                State::UntilClose => return Ok(take(input, u64::MAX).map(|(bytes, _)| Step::Body(bytes))),
                State::Chunk(0) => self.state = State::ChunkEnd,
                State::Chunk(left) => {
                    return Ok(take(input, left).map(|(bytes, left)| {
                        self.state = State::Chunk(left);
                        Step::Body(bytes)
                    }));
                }
                State::ChunkSize | State::ChunkEnd | State::Trailer => {
                    if !self.take_until(input, b"\r\n", LINE_LEN_MAX)? {
                        return Ok(None);
                    }
                    if self.chunk_line()? {
                        return Ok(Some(Step::End));
                    }
                }
            }
        }
    }

    /// Handles a line of a chunked body's framing; `true` when it was the last.
    fn chunk_line(&mut self) -> Result<bool, String> {
        let line = std::mem::take(&mut self.line);
        match self.state {
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => return Err(format!("a chunk is longer than it said: {line:?}")),
            State::Trailer if line.is_empty() => {
                self.state = State::Head;
                return Ok(true);
            }
            State::Trailer => {}
            _ => {
                let text = String::from_utf8_lossy(&line);
                let digits = text.split(';').next().unwrap_or_default().trim_end();
                let hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let size = hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten();
                let size = size.ok_or_else(|| format!("a chunk size of {text:?}"))?;
                self.state = if size == 0 { State::Trailer } else { State::Chunk(size) };
            }
        }
        Ok(false)
    }

    /// Collects into `line` up to `end`, which it swallows. `false` when it needs more.
    fn take_until(&mut self, input: &mut &[u8], end: &[u8], max: usize) -> Result<bool, String> {
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            self.line.push(byte);
            if self.line.ends_with(end) {
                self.line.truncate(self.line.len() - end.len());
                return Ok(true);
            }
            if self.line.len() >= max {
                return Err(format!("more than {max} bytes without an end"));
            }
        }
        Ok(false)
    }
}

/// The next bytes of `input`, at most `left`, and how many are then left. `None` if there are none.
fn take<'a>(input: &mut &'a [u8], left: u64) -> Option<(&'a [u8], u64)> {
    let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    let (now, later) = input.split_at(len);
    *input = later;
    (len > 0).then(|| (now, left.saturating_sub(u64::try_from(len).unwrap_or(u64::MAX))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads everything in pieces of `piece` bytes; gives first line and body of each message.
    fn read(stream: &[u8], piece: usize) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut reader = Reader::new();
        let mut messages: Vec<(String, Vec<u8>)> = Vec::new();
        for mut input in stream.chunks(piece) {
            while let Some(step) = reader.next(&mut input)? {
                match step {
                    Step::Head(head) => {
                        reader.begin_body(head.framing()?.unwrap_or(Framing::UntilClose));
                        messages.push((head.first_line, Vec::new()));
                    }
                    Step::Body(bytes) => messages.last_mut().unwrap().1.extend(bytes),
                    Step::End => {}
                }
            }
        }
        if reader.may_end() { Ok(messages) } else { Err("unfinished".to_owned()) }
    }

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        let stream = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello\
            HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: u\r\n\r\n\
            HTTP/1.1 204 No\r\ncontent-length: 0\r\n\r\nHTTP/1.0 200 OK\r\n\r\nto the end";
        let expected: Vec<(String, Vec<u8>)> = [
            ("HTTP/1.1 200 OK", &b"hello"[..]),
            ("HTTP/1.1 200 OK", b"abc0123456789"),
            ("HTTP/1.1 204 No", b""),
            ("HTTP/1.0 200 OK", b"to the end"),
        ]
        .map(|(line, body)| (line.to_owned(), body.to_vec()))
        .to_vec();
        for piece in 1..stream.len() {
            assert_eq!(read(stream, piece), Ok(expected.clone()), "{piece}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        let cases: [&[u8]; 9] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        ];
        for case in cases {
            assert!(read(case, 7).is_err(), "{}", String::from_utf8_lossy(case));
        }
    }

    #[test]
    fn heads_have_their_limit() {
        let head = |len: usize| {
            let mut head = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
            head.resize(len - 4, b'y');
            head.extend(b"\r\n\r\n");
            head
        };
        let mut reader = Reader::new();
        assert!(matches!(reader.next(&mut &head(HEAD_LEN_MAX)[..]), Ok(Some(Step::Head(_)))));
        let mut reader = Reader::new();
        assert!(reader.next(&mut &head(HEAD_LEN_MAX + 1)[..]).is_err());
    }
}
