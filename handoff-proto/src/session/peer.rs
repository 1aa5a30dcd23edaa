//! One other node: its handshake, its keys, and what waits for it.

use baton_stack::addr::IpAddr;
use baton_stack::drop::DropReason;
use baton_stack::time::{Duration, Instant};

use super::hello::{Challenge, Hello};
use super::{
    DATAGRAM_BYTES_MIN, HELLO_RETRY, HELLO_RETRY_MAX, Identity, PeerInfo, QUEUE_BYTES_BEFORE_SESSION_MAX,
    QUEUE_BYTES_MAX,
};
use crate::codec::Reader;
use crate::header::{DatagramKind, HEADER_BYTES, Header, VERSION_MAX, VERSION_MIN};
use crate::message::{MESSAGE_HEADER_BYTES, NodeName};
use crate::names::Boot;
use crate::recipient::MESSAGE_LIFE;
use crate::retry::Retry;
use crate::seal::{CHALLENGE_BYTES, ClusterSecret, HelloKey, KeyEnd, Opener, Sealer, TAG_BYTES};

/// Two clocks that drift apart by less than this many millionths do not make messages look old.
const DRIFT_PPM: u64 = 500;

/// How long the allowance for drift grows before it counts as a fact.
const DRIFT_PERIOD: Duration = Duration::from_secs(10);

/// Another node.
#[derive(Debug)]
pub(super) struct Peer {
    name: String,
    core: u8,
    addr: IpAddr,
    send_key: HelloKey,
    receive_key: HelloKey,
    /// Not proved to anybody yet: of the next session.
    challenge: Challenge,
    session: Option<Session>,
    hello: Option<Retry>,
    is_hello_due: bool,
    /// A later life than the session's has said HELLO and has not proved itself: it may think that it has.
    has_unproved_life: bool,
    /// A HELLO-ACK to write: the echo, and whether one is wanted back.
    answer: Option<(Challenge, bool)>,
    /// To be noted by the caller.
    deadline: Option<Instant>,
    queue: Queue,
    /// Whether it stands in the line of those with output.
    pub(super) is_ready: bool,
}

/// What both have agreed on.
#[derive(Debug)]
struct Session {
    info: PeerInfo,
    my_challenge: Challenge,
    peer_challenge: Challenge,
    sealer: Sealer,
    opener: Opener,
    age: AgeCheck,
}

/// What a HELLO has brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Confirmed {
    /// A life that was not known has proved itself.
    NewLife,
    /// Nothing that changes anything.
    Nothing,
}

impl Peer {
    pub(super) fn new(
        me: &Identity,
        secret: &ClusterSecret,
        name: &str,
        core: u8,
        addr: IpAddr,
        challenge: [u8; CHALLENGE_BYTES],
    ) -> Self {
        Self {
            name: name.to_owned(),
            core,
            addr,
            send_key: HelloKey::new(secret, (&me.name, me.core), (name, core)),
            receive_key: HelloKey::new(secret, (name, core), (&me.name, me.core)),
            challenge: Challenge(challenge),
            session: None,
            hello: None,
            is_hello_due: false,
            has_unproved_life: false,
            answer: None,
            deadline: None,
            queue: Queue::default(),
            is_ready: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn core(&self) -> u8 {
        self.core
    }

    pub(super) const fn addr(&self) -> IpAddr {
        self.addr
    }

    pub(super) const fn set_addr(&mut self, addr: IpAddr) {
        self.addr = addr;
    }

    pub(super) const fn receive_key(&self) -> &HelloKey {
        &self.receive_key
    }

    pub(super) const fn set_challenge(&mut self, challenge: [u8; CHALLENGE_BYTES]) {
        self.challenge = Challenge(challenge);
    }

    pub(super) fn boot(&self) -> Option<Boot> {
        self.info().map(|info| info.boot)
    }

    pub(super) fn info(&self) -> Option<PeerInfo> {
        self.session.as_ref().map(|session| session.info)
    }

    /// The longest datagram that both take.
    pub(super) fn datagram_bytes(&self, me: &Identity) -> u16 {
        let mine = me.datagram_bytes.max(DATAGRAM_BYTES_MIN);
        self.session.as_ref().map_or(DATAGRAM_BYTES_MIN, |session| session.info.datagram_bytes).min(mine)
    }

    pub(super) fn push(&mut self, message: &[u8]) -> Result<(), DropReason> {
        let limit = if self.session.is_some() { QUEUE_BYTES_MAX } else { QUEUE_BYTES_BEFORE_SESSION_MAX };
        self.queue.push(message, limit)
    }

    pub(super) fn forget_queued(&mut self) {
        self.queue = Queue::default();
    }

    /// A deadline has passed.
    pub(super) fn wake(&mut self, now: Instant) {
        let wants_session = self.session.is_none() || self.has_unproved_life;
        if wants_session && self.hello.is_none_or(|retry| retry.is_due(now)) {
            self.is_hello_due = true;
        }
    }

    /// When to be woken next, if that has changed.
    pub(super) const fn take_deadline(&mut self) -> Option<Instant> {
        self.deadline.take()
    }

    pub(super) fn has_output(&self) -> bool {
        self.answer.is_some() || self.is_hello_due || self.session.is_some() && !self.queue.is_empty()
    }

    pub(super) fn write(&mut self, now: Instant, me: &Identity, buf: &mut [u8]) -> usize {
        if let Some((echo, wants_answer)) = self.answer {
            let len = self.write_hello(now, me, Some(echo), wants_answer, buf);
            if len > 0 {
                self.answer = None;
            }
            return len;
        }
        if self.is_hello_due {
            match &mut self.hello {
                Some(retry) => retry.again(now, HELLO_RETRY, HELLO_RETRY_MAX),
                None => self.hello = Some(Retry::new(now, HELLO_RETRY)),
            }
            self.deadline = self.hello.map(|retry| retry.at);
            self.is_hello_due = false;
            return self.write_hello(now, me, None, true, buf);
        }
        self.write_sealed(now, me, buf).unwrap_or(0)
    }

    pub(super) fn handle_hello(
        &mut self,
        now: Instant,
        me: &Identity,
        secret: &ClusterSecret,
        header: &Header,
        hello: &Hello<'_>,
    ) -> Result<Confirmed, DropReason> {
        if hello.sender.as_str() != self.name || hello.receiver.as_str() != me.name {
            return Err(DropReason::MessageUnknownPeer);
        }
        if hello.version_min > VERSION_MAX || hello.version_max < VERSION_MIN || header.sender_boot == Boot(0) {
            return Err(DropReason::MessageMalformed);
        }
        let boot = header.sender_boot;
        if let Some(session) = &self.session
            && (boot < session.info.boot || boot == session.info.boot && hello.challenge != session.peer_challenge)
        {
            return Err(DropReason::MessageStale);
        }
        let is_known = self.session.as_ref().is_some_and(|session| session.info.boot == boot);
        let confirmed = match hello.echo {
            Some(echo) if echo == self.challenge && !is_known => {
                self.begin(now, me, secret, header, hello).ok_or(DropReason::MessageMalformed)?;
                Confirmed::NewLife
            }
            Some(_) if !is_known && !hello.wants_answer => return Err(DropReason::MessageReplayed),
            Some(_) | None => Confirmed::Nothing,
        };
        let is_unproved = !is_known && confirmed == Confirmed::Nothing;
        if is_unproved && self.session.is_some() && !self.has_unproved_life {
            self.has_unproved_life = true;
            let retry = Retry::new(now, HELLO_RETRY);
            (self.hello, self.deadline) = (Some(retry), Some(retry.at));
        }
        if hello.wants_answer {
            let wants_answer = is_unproved;
            self.answer = Some((hello.challenge, wants_answer));
        }
        Ok(confirmed)
    }

    pub(super) fn open<'b>(
        &mut self,
        now: Instant,
        me: &Identity,
        header: &Header,
        head: &[u8],
        body: &'b mut [u8],
    ) -> Result<&'b [u8], DropReason> {
        let session = self.session.as_mut().ok_or(DropReason::MessageStale)?;
        if (header.sender_boot, header.receiver_boot) != (session.info.boot, me.boot)
            || header.version != session.info.version
        {
            return Err(DropReason::MessageStale);
        }
        let body = session.opener.open(header.counter, head, body)?;
        if session.age.is_young(now, header.sent_ms) { Ok(body) } else { Err(DropReason::MessageStale) }
    }

    /// The other node is fresh: it knows a challenge that was never used before.
    fn begin(
        &mut self,
        now: Instant,
        me: &Identity,
        secret: &ClusterSecret,
        header: &Header,
        hello: &Hello<'_>,
    ) -> Option<()> {
        let mine = KeyEnd { name: &me.name, core: me.core, boot: me.boot, challenge: self.challenge.0 };
        let theirs =
            KeyEnd { name: &self.name, core: self.core, boot: header.sender_boot, challenge: hello.challenge.0 };
        let session = Session {
            info: PeerInfo {
                boot: header.sender_boot,
                role: hello.role,
                cores: hello.cores,
                version: hello.version_max.min(VERSION_MAX),
                datagram_bytes: hello.datagram_bytes.max(DATAGRAM_BYTES_MIN),
            },
            my_challenge: self.challenge,
            peer_challenge: hello.challenge,
            sealer: Sealer::new(secret, &mine, &theirs)?,
            opener: Opener::new(secret, &theirs, &mine)?,
            age: AgeCheck::new(now, header.sent_ms),
        };
        if self.session.replace(session).is_some() {
            self.queue = Queue::default();
        }
        (self.hello, self.is_hello_due, self.has_unproved_life) = (None, false, false);
        Some(())
    }

    fn header(&self, now: Instant, me: &Identity, kind: DatagramKind, counter: u64) -> Header {
        Header {
            version: self.session.as_ref().map_or(VERSION_MIN, |session| session.info.version),
            kind,
            sender_boot: me.boot,
            receiver_boot: self.boot().unwrap_or(Boot(0)),
            sender_core: me.core,
            receiver_core: self.core,
            sent_ms: millis(now),
            counter,
        }
    }

    fn write_hello(
        &self,
        now: Instant,
        me: &Identity,
        echo: Option<Challenge>,
        wants_answer: bool,
        buf: &mut [u8],
    ) -> usize {
        let (Some(sender), Some(receiver)) = (NodeName::new(&me.name), NodeName::new(&self.name)) else { return 0 };
        // To the life that is known, the challenge that it knows; to any other, the one that nobody has proved yet.
        let known = self.session.as_ref().filter(|session| Some(session.peer_challenge) == echo);
        let hello = Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            role: me.role,
            cores: me.cores,
            datagram_bytes: me.datagram_bytes,
            sender,
            receiver,
            challenge: known.map_or(self.challenge, |session| session.my_challenge),
            echo,
            wants_answer,
        };
        let mut header = self.header(now, me, DatagramKind::Hello, 0);
        header.version = VERSION_MIN;
        let mut datagram = header.encode().to_vec();
        hello.seal(&self.send_key, &mut datagram);
        match buf.get_mut(..datagram.len()) {
            Some(place) => {
                place.copy_from_slice(&datagram);
                datagram.len()
            }
            None => 0,
        }
    }

    fn write_sealed(&mut self, now: Instant, me: &Identity, buf: &mut [u8]) -> Option<usize> {
        let limit = usize::from(self.datagram_bytes(me)).min(buf.len());
        let room = limit.checked_sub(HEADER_BYTES + TAG_BYTES)?;
        let (head, rest) = buf.split_at_mut_checked(HEADER_BYTES)?;
        let len = self.queue.pop_into(rest.get_mut(..room)?);
        if len == 0 {
            return None;
        }
        let counter = self.session.as_mut()?.sealer.next_counter()?;
        head.copy_from_slice(&self.header(now, me, DatagramKind::Sealed, counter).encode());
        let (body, rest) = rest.split_at_mut_checked(len)?;
        let tag = self.session.as_ref()?.sealer.seal(counter, head, body)?;
        rest.get_mut(..TAG_BYTES)?.copy_from_slice(&tag);
        Some(HEADER_BYTES + len + TAG_BYTES)
    }
}

/// Messages that wait, encoded, one behind the other.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    const fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    fn push(&mut self, message: &[u8], limit: usize) -> Result<(), DropReason> {
        if self.bytes.len() - self.start + message.len() > limit {
            return Err(DropReason::MessageLimit);
        }
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(message);
        Ok(())
    }

    /// Moves as many whole messages as fit, at least one if any fits.
    fn pop_into(&mut self, out: &mut [u8]) -> usize {
        let waiting = self.bytes.get(self.start..).unwrap_or_default();
        let mut reader = Reader::new(waiting);
        let mut len = 0;
        while let Some(body) = reader.array::<2>().and_then(|_| reader.take::<&[u8]>()) {
            if len + MESSAGE_HEADER_BYTES + body.len() > out.len() {
                break;
            }
            len += MESSAGE_HEADER_BYTES + body.len();
        }
        out.iter_mut().zip(waiting.iter().take(len)).for_each(|(to, from)| *to = *from);
        self.start += len;
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
        len
    }
}

/// Tells how old a datagram is, from the sender's clock and the least delay seen so far (R10).
#[derive(Clone, PartialEq, Eq, Debug)]
struct AgeCheck {
    /// Receiver's clock less sender's, at the least delay seen, in milliseconds modulo 2^32.
    least: u32,
    since: Instant,
}

impl AgeCheck {
    fn new(now: Instant, sent_ms: u32) -> Self {
        Self { least: millis(now).wrapping_sub(sent_ms), since: now }
    }

    fn is_young(&mut self, now: Instant, sent_ms: u32) -> bool {
        let delay = millis(now).wrapping_sub(sent_ms);
        let behind = delay.wrapping_sub(self.least);
        // In the first half of the circle: later than the least. In the second: a new least.
        if behind > u32::MAX / 2 {
            (self.least, self.since) = (delay, now);
            return true;
        }
        let elapsed = u64::try_from(now.since(self.since).as_micros()).unwrap_or(u64::MAX);
        let drift = Duration::from_micros(elapsed / 1_000 * DRIFT_PPM / 1_000);
        // The allowance moves into the reference now and then; a datagram that was as fast as ever takes it back.
        if now.since(self.since) >= DRIFT_PERIOD {
            self.least = self.least.wrapping_add(u32::try_from(drift.as_millis()).unwrap_or(0));
            self.since = now;
        }
        Duration::from_millis(u64::from(behind)) <= MESSAGE_LIFE + drift
    }
}

/// A node's clock as it travels: milliseconds modulo 2^32.
fn millis(now: Instant) -> u32 {
    let [.., a, b, c, d] = (now.micros() / 1_000).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
