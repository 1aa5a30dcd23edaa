//! Compares a stream of answers with what was asked for, byte by byte.

use super::{Request, RequestKind};
use crate::content;
use crate::http::{Framing, Head, Reader, Step};
use baton_stack::time::Instant;

/// What a client puts up with, because of what the scenario does to the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tolerance {
    /// 503 as an answer, and a connection that ends after one.
    pub unavailable: bool,
    /// A connection that is reset.
    pub reset: bool,
    /// Answers without `x-baton-backend` and `x-baton-epoch`.
    pub anonymous: bool,
    /// A connection whose answers are all there but that the server does not close: smoltcp may lose a FIN for good.
    pub lingering: bool,
}

/// One complete answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// When its last byte was read.
    pub at: Instant,
    /// The status code.
    pub status: u16,
    /// Bytes of body.
    pub body_len: u64,
    /// `x-baton-backend`.
    pub back_end: Option<String>,
    /// `x-baton-epoch`.
    pub epoch: Option<u64>,
}

/// Reads answers and checks them.
#[derive(Debug)]
pub(crate) struct Answers {
    reader: Reader,
    tolerance: Tolerance,
    current: Option<Answer>,
    done: Vec<Answer>,
}

const STATUS_OK: u16 = 200;
const STATUS_UNAVAILABLE: u16 = 503;

impl Answers {
    pub(crate) const fn new(tolerance: Tolerance) -> Self {
        Self { reader: Reader::new(), tolerance, current: None, done: Vec::new() }
    }

    /// From now on a server may be unavailable.
    pub(crate) const fn tolerate_unavailable(&mut self) {
        self.tolerance.unavailable = true;
    }

    /// The complete answers so far.
    pub(crate) fn done(&self) -> &[Answer] {
        &self.done
    }

    /// Takes bytes of the stream; `requests` are those that have been sent, all of them. Says what is wrong.
    pub(crate) fn read(&mut self, now: Instant, mut input: &[u8], requests: &[Request]) -> Result<(), String> {
        let told = |ordinal: usize, wrong: String| format!("answer {}: {wrong}", ordinal + 1);
        loop {
            let ordinal = self.done.len();
            let Some(step) = self.reader.next(&mut input).map_err(|wrong| told(ordinal, wrong))? else {
                return Ok(());
            };
            let request = requests.get(ordinal).ok_or_else(|| told(ordinal, "nobody asked for it".to_owned()))?;
            match step {
                Step::Head(head) => self.head(now, &head, request).map_err(|wrong| told(ordinal, wrong))?,
                Step::Body(bytes) => self.body(bytes, request).map_err(|wrong| told(ordinal, wrong))?,
                Step::End => self.end(now, request).map_err(|wrong| told(ordinal, wrong))?,
            }
        }
    }

    /// The stream has ended. Says what is wrong.
    pub(crate) fn finish(&mut self, now: Instant, requests: &[Request]) -> Result<(), String> {
        let ordinal = self.done.len();
        if !self.reader.may_end() {
            return Err(format!("answer {}: the stream ends inside it", ordinal + 1));
        }
        if self.current.is_some() {
            let request = requests.get(ordinal).ok_or("nobody asked for it")?;
            self.end(now, request)?;
        }
        let refused = self.tolerance.unavailable && self.done.iter().any(|a| a.status == STATUS_UNAVAILABLE);
        if self.done.len() < requests.len() && !refused {
            return Err(format!("the stream ends after {} of {} answers", self.done.len(), requests.len()));
        }
        Ok(())
    }

    fn head(&mut self, now: Instant, head: &Head, request: &Request) -> Result<(), String> {
        let status = status(&head.first_line)?;
        if (100..200).contains(&status) && status != 101 {
            self.reader.begin_body(Framing::Length(0));
            return Ok(());
        }
        let allowed = status == STATUS_OK || (status == STATUS_UNAVAILABLE && self.tolerance.unavailable);
        if !allowed {
            return Err(format!("{:?} for {}", head.first_line, request.target()));
        }
        let framing = head.framing()?;
        if status == STATUS_OK {
            self.identity(head, request)?;
            if request.kind == RequestKind::Chunked && framing != Some(Framing::Chunked) {
                return Err("is not chunked".to_owned());
            }
            if let Some(Framing::Length(len)) = framing
                && len != u64::try_from(request.len).unwrap_or(u64::MAX)
            {
                return Err(format!("content-length {len} instead of {}", request.len));
            }
        }
        let framing = if request.kind == RequestKind::Head { Some(Framing::Length(0)) } else { framing };
        self.reader.begin_body(framing.unwrap_or(Framing::UntilClose));
        self.current = Some(Answer {
            at: now,
            status,
            body_len: 0,
            back_end: head.field("x-baton-backend")?.map(str::to_owned),
            epoch: head.number("x-baton-epoch")?,
        });
        Ok(())
    }

    /// The right back-end answers; epochs never fall, and rise when the back-end changes.
    fn identity(&self, head: &Head, request: &Request) -> Result<(), String> {
        let (Some(name), Some(epoch)) = (head.field("x-baton-backend")?, head.number("x-baton-epoch")?) else {
            return if self.tolerance.anonymous { Ok(()) } else { Err("does not say who it is from".to_owned()) };
        };
        if let Some(k) = request.back_end
            && name != format!("be{k}")
        {
            return Err(format!("from {name} instead of be{k}"));
        }
        let last = self.done.iter().rev().find_map(|answer| Some((answer.back_end.as_deref()?, answer.epoch?)));
        match last {
            Some((_, before)) if epoch < before => Err(format!("epoch {epoch} after {before}")),
            Some((who, before)) if who != name && epoch == before => {
                Err(format!("epoch {epoch} from both {who} and {name}"))
            }
            _ => Ok(()),
        }
    }

    fn body(&mut self, bytes: &[u8], request: &Request) -> Result<(), String> {
        let Some(answer) = &mut self.current else {
            return Err("a body without a head".to_owned());
        };
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if answer.status == STATUS_OK {
            if let Some(at) = content::first_difference(request.seed, answer.body_len, bytes) {
                let at = answer.body_len + u64::try_from(at).unwrap_or(u64::MAX);
                return Err(format!("byte {at} of {} is wrong ({})", request.len, request.target()));
            }
            if answer.body_len + len > u64::try_from(request.len).unwrap_or(u64::MAX) {
                return Err(format!("more than {} bytes", request.len));
            }
        }
        answer.body_len += len;
        Ok(())
    }

    fn end(&mut self, now: Instant, request: &Request) -> Result<(), String> {
        let Some(answer) = self.current.take() else {
            return Ok(()); // an interim answer (1xx)
        };
        let expected =
            if request.kind == RequestKind::Head { 0 } else { u64::try_from(request.len).unwrap_or(u64::MAX) };
        if answer.status == STATUS_OK && answer.body_len != expected {
            return Err(format!("{} bytes instead of {expected}", answer.body_len));
        }
        self.done.push(Answer { at: now, ..answer });
        Ok(())
    }
}

fn status(line: &str) -> Result<u16, String> {
    let refused = || format!("a status line of {line:?}");
    let code = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).ok_or_else(refused)?;
    code.parse().ok().filter(|code| (100..600).contains(code)).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: RequestKind, len: usize) -> Request {
        Request { back_end: Some(2), kind, len, seed: 9 }
    }

    fn ok(extra: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 200 OK\r\nx-baton-backend: be2\r\nx-baton-epoch: 3\r\n{extra}\r\n");
        [head.into_bytes(), body.to_vec()].concat()
    }

    fn check(stream: &[u8], requests: &[Request], tolerance: Tolerance) -> Result<usize, String> {
        let mut answers = Answers::new(tolerance);
        for piece in stream.chunks(5) {
            answers.read(Instant::ZERO, piece, requests)?;
        }
        answers.finish(Instant::ZERO, requests)?;
        Ok(answers.done().len())
    }

    #[test]
    fn right_answers_pass() {
        let body = content::bytes(9, 20);
        let chunked = [b"5\r\n", &body[..5], b"\r\nf\r\n", &body[5..], b"\r\n0\r\n\r\n"].concat();
        let stream = [
            ok("Content-Length: 20\r\n", &body),
            ok("Content-Length: 20\r\n", b""),
            ok("Transfer-Encoding: chunked\r\n", &chunked),
            b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
            ok("Content-Length: 20\r\n", &body),
            ok("Connection: close\r\n", &body),
        ]
        .concat();
        let kinds =
            [RequestKind::Bytes, RequestKind::Head, RequestKind::Chunked, RequestKind::EchoExpect, RequestKind::Bytes];
        assert_eq!(check(&stream, &kinds.map(|kind| request(kind, 20)), Tolerance::default()), Ok(5));
    }

    #[test]
    fn every_wrong_answer_is_noticed() {
        let body = content::bytes(9, 20);
        let mut wrong = body.clone();
        wrong[19] ^= 1;
        let renamed = |from: &str, to: &str| {
            let text = String::from_utf8(ok("Content-Length: 0\r\n", b"")).unwrap();
            text.replace(from, to).into_bytes()
        };
        let two = |second: Vec<u8>| [ok("Content-Length: 0\r\n", b""), second].concat();
        let cases = [
            ("a wrong byte", ok("Content-Length: 20\r\n", &wrong), 1, 20),
            ("a missing byte", ok("Content-Length: 19\r\n", &body[..19]), 1, 20),
            ("a missing byte at the end", ok("", &body[..19]), 1, 20),
            ("a byte too many", ok("", &content::bytes(9, 21)), 1, 20),
            ("an end inside", ok("Content-Length: 20\r\n", &body[..7]), 1, 20),
            ("an answer too many", two(ok("Content-Length: 0\r\n", b"")), 1, 0),
            ("an answer too few", ok("Content-Length: 0\r\n", b""), 2, 0),
            ("another back-end", renamed("be2", "be1"), 1, 0),
            ("nobody", renamed("x-baton-backend", "x"), 1, 0),
            ("an epoch that falls", two(renamed("epoch: 3", "epoch: 2")), 2, 0),
            ("503", renamed("200", "503"), 1, 0),
            ("404", renamed("200", "404"), 1, 0),
        ];
        for (what, stream, asked, len) in cases {
            let requests = vec![request(RequestKind::Bytes, len); asked];
            assert!(check(&stream, &requests, Tolerance::default()).is_err(), "{what}");
        }
        let chunked = [request(RequestKind::Chunked, 20)];
        assert!(check(&ok("Content-Length: 20\r\n", &body), &chunked, Tolerance::default()).is_err());
    }

    #[test]
    fn one_epoch_has_one_back_end() {
        let stream = [ok("Content-Length: 0\r\n", b""), {
            let text = String::from_utf8(ok("Content-Length: 0\r\n", b"")).unwrap();
            text.replace("be2", "be1").into_bytes()
        }]
        .concat();
        let anywhere = vec![Request { back_end: None, ..request(RequestKind::Bytes, 0) }; 2];
        assert!(check(&stream, &anywhere, Tolerance::default()).unwrap_err().contains("both"));
    }

    #[test]
    fn what_is_tolerated_is_told() {
        let unavailable = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nnope";
        let tolerance = Tolerance { unavailable: true, ..Tolerance::default() };
        assert_eq!(check(unavailable, &[request(RequestKind::Bytes, 20)], tolerance), Ok(1));
        assert_eq!(check(unavailable, &vec![request(RequestKind::Bytes, 20); 3], tolerance), Ok(1));
        let plain = [b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", &content::bytes(9, 20)[..]].concat();
        let anonymous = Tolerance { anonymous: true, ..Tolerance::default() };
        assert_eq!(check(&plain, &[request(RequestKind::Bytes, 20)], anonymous), Ok(1));
    }
}
