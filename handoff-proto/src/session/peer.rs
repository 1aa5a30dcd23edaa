//! One other node: its handshake, its keys, and what waits for it.

use baton_stack::addr::IpAddr;
use baton_stack::drop::DropReason;
use baton_stack::time::{Duration, Instant};

use super::hello::{Challenge, Hello};
use super::{
    DATAGRAM_BYTES_MIN, HELLO_RETRY, HELLO_RETRY_MAX, Identity, PeerInfo, QUEUE_BYTES_BEFORE_SESSION_MAX,
    QUEUE_BYTES_MAX, Traffic,
};
use crate::codec::Reader;
use crate::header::{DatagramKind, HEADER_BYTES, Header, SessionTag, VERSION_MAX, VERSION_MIN};
use crate::message::{MESSAGE_HEADER_BYTES, NodeName, Patience};
use crate::names::Boot;
use crate::recipient::MESSAGE_LIFE;
use crate::retry::Retry;
use crate::seal::{CHALLENGE_BYTES, ClusterSecret, HelloKey, KeyEnd, Opener, Sealer, SecretId, Secrets, TAG_BYTES};

/// Two clocks that drift apart by less than this many millionths do not make messages look old.
const DRIFT_PPM: u64 = 500;

/// How long the allowance for drift grows before it counts as a fact.
const DRIFT_PERIOD: Duration = Duration::from_secs(10);

/// How long a session is still read from after another took its place, or after it was read from last: longer than any of its
/// datagrams is under way.
const OLD_SESSION_KEPT: Duration = Duration::from_secs(10);
/// Earlier sessions that are read from, at the most. More than two need several changes of the secret within the time of a few lost
/// datagrams.
const OLD_SESSIONS_MAX: usize = 4;

/// Another node.
///
/// When the cluster's secret changes, the node whose name comes first, the leader, has another session made, of the same two lives and under
/// its new secret. It reads from the new one at once, and writes into the old one until it has word that the other node has the new one,
/// too; the other does not begin a session before the leader has. So no datagram comes that cannot be opened, whatever overtakes what:
/// - A challenge is part of one session at the most, at either node. Of one session are a HELLO and an answer only if both
///   challenges and the secret are.
/// - All sessions of the last seconds are read from. The leader may have begun two of which the other has taken the earlier.
/// - The other answers the leader's every HELLO: if it has taken another session than the leader's last, the leader hears it, and begins anew.
#[derive(Debug)]
pub(super) struct Peer {
    name: String,
    core: u8,
    addr: IpAddr,
    /// For each secret, the one to write under first.
    keys: Vec<HelloKeys>,
    /// Whether this node's secret decides: of the two, its name comes first.
    leads: bool,
    /// Not proved to anybody yet: of the next session.
    challenge: Challenge,
    session: Option<Session>,
    /// The sessions before, of the same two lives, the latest first.
    old: Vec<Session>,
    /// Whether a session under another secret is wanted.
    wants_rekey: bool,
    hello: Option<Retry>,
    is_hello_due: bool,
    /// A later life than the session's has said HELLO and has not proved itself: it may think that it has.
    has_unproved_life: bool,
    /// A HELLO-ACK to write.
    answer: Option<Answer>,
    /// To be noted by the caller.
    deadline: Option<Instant>,
    queue: Queue,
    /// Whether what waits is written now. If not, it waits for company, until `flush_at`.
    is_pressing: bool,
    /// How long what was queued since the last look at the clock may wait.
    patience: Option<Patience>,
    flush_at: Option<Instant>,
    /// When all that waited had been written last.
    written_at: Option<Instant>,
    /// Whether it stands in the line of those with output.
    pub(super) is_ready: bool,
}

/// The keys of HELLO in both directions, under one secret.
#[derive(Clone, Debug)]
struct HelloKeys {
    secret: ClusterSecret,
    id: SecretId,
    send: HelloKey,
    receive: HelloKey,
}

/// A HELLO-ACK to write.
#[derive(Clone, Copy, Debug)]
struct Answer {
    echo: Challenge,
    wants_answer: bool,
    /// The secret of the HELLO that it answers.
    secret: SecretId,
}

/// What both have agreed on.
#[derive(Debug)]
struct Session {
    secret: SecretId,
    tag: SessionTag,
    info: PeerInfo,
    my_challenge: Challenge,
    peer_challenge: Challenge,
    sealer: Sealer,
    opener: Opener,
    age: AgeCheck,
    /// Whether the other node is known to have it, so that it may be written into.
    is_confirmed: bool,
    /// Until when it is read from, once another has taken its place.
    until: Instant,
}

impl Session {
    /// Whether the session is under this secret, and the other node's challenge is this.
    fn is_of(&self, challenge: Challenge, secret: SecretId) -> bool {
        self.peer_challenge == challenge && self.secret == secret
    }
}

/// What a HELLO has brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Confirmed {
    /// A life that was not known has proved itself.
    NewLife,
    /// The life that is known has a new session, under another secret.
    NewKeys,
    /// Nothing that changes anything.
    Nothing,
}

impl Peer {
    pub(super) fn new(
        me: &Identity,
        secrets: &Secrets,
        name: &str,
        core: u8,
        addr: IpAddr,
        challenge: [u8; CHALLENGE_BYTES],
    ) -> Self {
        Self {
            name: name.to_owned(),
            core,
            addr,
            keys: hello_keys(me, secrets, (name, core)),
            leads: (me.name.as_str(), me.core) < (name, core),
            challenge: Challenge(challenge),
            session: None,
            old: Vec::new(),
            wants_rekey: false,
            hello: None,
            is_hello_due: false,
            has_unproved_life: false,
            answer: None,
            deadline: None,
            queue: Queue::default(),
            is_pressing: false,
            patience: None,
            flush_at: None,
            written_at: None,
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

    /// Takes the node's new secrets over. True if a HELLO is due.
    pub(super) fn set_secrets(&mut self, me: &Identity, secrets: &Secrets) -> bool {
        self.keys = hello_keys(me, secrets, (&self.name, self.core));
        let first = self.keys.first().map(|keys| keys.id);
        // What was said under a secret that is gone cannot be answered.
        self.answer = self.answer.filter(|answer| self.keys.iter().any(|keys| keys.id == answer.secret));
        if self.leads {
            self.wants_rekey = self.session.as_ref().is_some_and(|session| Some(session.secret) != first);
        }
        if self.wants_rekey {
            (self.hello, self.is_hello_due) = (None, true);
        }
        self.wants_rekey
    }

    /// Reads a HELLO; tells the secret that it is under.
    pub(super) fn open_hello<'b>(&self, head: &[u8], body: &'b [u8]) -> Result<(SecretId, Hello<'b>), DropReason> {
        let mut refused = DropReason::MessageUnsealed;
        for keys in &self.keys {
            match Hello::open(&keys.receive, head, body) {
                Ok(hello) => return Ok((keys.id, hello)),
                Err(DropReason::MessageUnsealed) => {}
                Err(reason) => refused = reason,
            }
        }
        Err(refused)
    }

    /// The secret that the session is under.
    pub(super) fn secret(&self) -> Option<SecretId> {
        self.session.as_ref().map(|session| session.secret)
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

    /// Queues a message that may wait for others for so long.
    pub(super) fn push(&mut self, message: &[u8], patience: Patience) -> Result<(), DropReason> {
        let limit = if self.session.is_some() { QUEUE_BYTES_MAX } else { QUEUE_BYTES_BEFORE_SESSION_MAX };
        self.queue.push(message, limit)?;
        self.patience = Some(self.patience.map_or(patience, |before| before.min(patience)));
        Ok(())
    }

    /// Whether something was queued, and nobody has noted until when it may wait.
    pub(super) const fn has_news(&self) -> bool {
        self.patience.is_some()
    }

    /// Notes until when what was queued may wait: that time, if it is sooner than what was noted before, and what was. What has no
    /// patience does not wait, nor does more than a datagram holds.
    pub(super) fn note_patience(&mut self, now: Instant) -> Option<(Instant, Option<Instant>)> {
        let at = match self.patience.take()? {
            Patience::None => now,
            Patience::Gap(gap) => self.written_at.map_or(now, |at| now.max(at + gap)),
            Patience::For(time) => now + time,
        };
        if at <= now || self.queue.len() > usize::from(DATAGRAM_BYTES_MIN) {
            self.is_pressing = true;
        }
        if self.is_pressing || self.flush_at.is_some_and(|before| before <= at) {
            return None;
        }
        Some((at, self.flush_at.replace(at)))
    }

    /// What waits has waited for long enough.
    pub(super) fn flush(&mut self) {
        self.flush_at = None;
        self.is_pressing = !self.queue.is_empty();
    }

    /// The time until which something would have waited, if all has been written sooner.
    pub(super) const fn take_flushed(&mut self) -> Option<Instant> {
        if self.queue.is_empty() { self.flush_at.take() } else { None }
    }

    pub(super) fn forget_queued(&mut self) {
        self.queue = Queue::default();
        (self.is_pressing, self.patience) = (false, None);
    }

    /// A deadline has passed.
    pub(super) fn wake(&mut self, now: Instant) {
        let wants_session =
            self.session.is_none() || self.has_unproved_life || self.wants_rekey || self.is_unconfirmed();
        if wants_session && self.hello.is_none_or(|retry| retry.is_due(now)) {
            self.is_hello_due = true;
        }
    }

    /// When to be woken next, if that has changed.
    pub(super) const fn take_deadline(&mut self) -> Option<Instant> {
        self.deadline.take()
    }

    pub(super) fn has_output(&self) -> bool {
        let may_write = self.session.is_some() && self.is_pressing && !self.queue.is_empty();
        self.answer.is_some() || self.is_hello_due || may_write
    }

    /// Writes the next datagram, and counts the messages in it.
    pub(super) fn write(&mut self, now: Instant, me: &Identity, buf: &mut [u8], said: &mut Traffic) -> usize {
        if let Some(answer) = self.answer {
            let len = self.write_hello(now, me, Some(answer), buf);
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
            return self.write_hello(now, me, None, buf);
        }
        self.write_sealed(now, me, buf, said).unwrap_or(0)
    }

    pub(super) fn handle_hello(
        &mut self,
        now: Instant,
        me: &Identity,
        header: &Header,
        (secret, hello): (SecretId, &Hello<'_>),
    ) -> Result<Confirmed, DropReason> {
        if hello.sender.as_str() != self.name || hello.receiver.as_str() != me.name {
            return Err(DropReason::MessageUnknownPeer);
        }
        if hello.version_min > VERSION_MAX || hello.version_max < VERSION_MIN || header.sender_boot == Boot(0) {
            return Err(DropReason::MessageMalformed);
        }
        let boot = header.sender_boot;
        let (is_same_life, is_known) = match &self.session {
            Some(session) if boot < session.info.boot => return Err(DropReason::MessageStale),
            Some(session) if boot == session.info.boot => {
                // Before it has the session, the other may say HELLO under a secret of its own.
                let any_secret = self.leads && !self.wants_rekey && session.peer_challenge == hello.challenge;
                (true, any_secret || session.is_of(hello.challenge, secret))
            }
            Some(_) | None => (false, false),
        };
        if is_same_life && !is_known && self.leads && !self.wants_rekey {
            return self.begin_anew(hello.echo);
        }
        // The leader's secret is the session's: what the other says under one of its own is no proof to the leader.
        let is_binding = !self.leads || self.keys.first().is_some_and(|keys| keys.id == secret);
        let confirmed = match hello.echo {
            Some(echo) if echo == self.challenge && !is_known && is_binding => {
                self.begin(now, me, header, (secret, hello)).ok_or(DropReason::MessageMalformed)?;
                if is_same_life { Confirmed::NewKeys } else { Confirmed::NewLife }
            }
            Some(_) if !is_known && !hello.wants_answer => return Err(DropReason::MessageReplayed),
            Some(echo) if is_known && !hello.wants_answer => {
                if self.session.as_ref().is_some_and(|session| session.my_challenge == echo) {
                    self.confirm();
                }
                Confirmed::Nothing
            }
            Some(_) | None => Confirmed::Nothing,
        };
        let is_unproved = !is_known && confirmed == Confirmed::Nothing;
        if is_unproved && !is_same_life && self.session.is_some() && !self.has_unproved_life {
            self.has_unproved_life = true;
            let retry = Retry::new(now, HELLO_RETRY);
            (self.hello, self.deadline) = (Some(retry), Some(retry.at));
        }
        // Of the life that is known the leader asks; that it has a new session it says only when it has begun it.
        let may_answer = !(self.leads && is_same_life && is_unproved);
        if hello.wants_answer && may_answer {
            // The leader says under which secret the session is to be, whatever the other has said it under.
            let first = self.keys.first().map(|keys| keys.id);
            let of_leader = if is_known { self.secret() } else { first };
            let secret = of_leader.filter(|_| self.leads).unwrap_or(secret);
            self.answer = Some(Answer { echo: hello.challenge, wants_answer: is_unproved, secret });
        }
        Ok(confirmed)
    }

    /// To the leader's HELLO of a session that is not confirmed the other has answered with another challenge than that session's: it has
    /// begun a session in between and will not have this one. Another is made. Whatever else names an unknown session is old.
    fn begin_anew(&mut self, echo: Option<Challenge>) -> Result<Confirmed, DropReason> {
        let session = self.session.as_ref().filter(|session| !session.is_confirmed);
        if echo.is_none() || session.map(|session| session.my_challenge) != echo {
            return Err(DropReason::MessageStale);
        }
        (self.wants_rekey, self.hello, self.is_hello_due) = (true, None, true);
        Ok(Confirmed::Nothing)
    }

    /// Whether the other node is not known to have the session.
    fn is_unconfirmed(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.is_confirmed)
    }

    /// The other node has the session.
    fn confirm(&mut self) {
        if let Some(session) = self.session.as_mut().filter(|session| !session.is_confirmed) {
            session.is_confirmed = true;
            if !self.wants_rekey && !self.has_unproved_life {
                self.hello = None;
            }
        }
    }

    pub(super) fn open<'b>(
        &mut self,
        now: Instant,
        me: &Identity,
        header: &Header,
        head: &[u8],
        body: &'b mut [u8],
    ) -> Result<&'b [u8], DropReason> {
        self.forget_old(now);
        let newest = self.session.as_mut().ok_or(DropReason::MessageStale)?;
        let is_newest = newest.tag == header.session;
        let old = self.old.iter_mut().find(|old| old.tag == header.session);
        let session = if is_newest { newest } else { old.ok_or(DropReason::MessageStale)? };
        if (header.sender_boot, header.receiver_boot) != (session.info.boot, me.boot)
            || header.version != session.info.version
        {
            return Err(DropReason::MessageStale);
        }
        let body = session.opener.open(header.counter, head, body)?;
        if !session.age.is_young(now, header.sent_ms) {
            return Err(DropReason::MessageStale);
        }
        session.until = now + OLD_SESSION_KEPT;
        if is_newest {
            self.confirm();
        } else {
            session.is_confirmed = true;
        }
        Ok(body)
    }

    /// Forgets sessions that nobody has written into for long; not the one that this node writes into.
    fn forget_old(&mut self, now: Instant) {
        let mut is_written = self.is_unconfirmed();
        self.old.retain(|old| {
            let is_kept = is_written && old.is_confirmed || now < old.until;
            is_written &= !old.is_confirmed;
            is_kept
        });
    }

    /// The other node is fresh: it knows a challenge that was never used before.
    fn begin(
        &mut self,
        now: Instant,
        me: &Identity,
        header: &Header,
        (id, hello): (SecretId, &Hello<'_>),
    ) -> Option<()> {
        let is_same_life = self.boot() == Some(header.sender_boot);
        let secret = self.keys.iter().find(|keys| keys.id == id).map(|keys| &keys.secret)?;
        let mine = KeyEnd { name: &me.name, core: me.core, boot: me.boot, challenge: self.challenge.0 };
        let theirs =
            KeyEnd { name: &self.name, core: self.core, boot: header.sender_boot, challenge: hello.challenge.0 };
        let session = Session {
            secret: id,
            tag: tag_of(self.challenge, hello.challenge),
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
            is_confirmed: !(is_same_life && self.leads),
            until: now + OLD_SESSION_KEPT,
        };
        (self.hello, self.is_hello_due, self.has_unproved_life, self.wants_rekey) = (None, false, false, false);
        match self.session.replace(session) {
            Some(before) if is_same_life => self.keep(now, before),
            Some(_) => {
                self.forget_queued();
                self.old.clear();
            }
            None => {}
        }
        if self.is_unconfirmed() {
            let retry = Retry::new(now, HELLO_RETRY);
            (self.hello, self.deadline) = (Some(retry), Some(retry.at));
        }
        Some(())
    }

    /// Another session takes the place of this one. If there are too many, the oldest goes that is not written into.
    fn keep(&mut self, now: Instant, mut before: Session) {
        before.until = now + OLD_SESSION_KEPT;
        if self.old.len() >= OLD_SESSIONS_MAX {
            let written = if before.is_confirmed { None } else { self.old.iter().position(|old| old.is_confirmed) };
            let oldest = (0..self.old.len()).rev().find(|at| Some(*at) != written);
            oldest.map(|at| self.old.remove(at));
        }
        self.old.insert(0, before);
    }

    /// The session to write into: the latest that the other node is known to have.
    fn writing(&mut self) -> Option<&mut Session> {
        let old = self.old.iter_mut();
        self.session.iter_mut().chain(old).find(|session| session.is_confirmed)
    }

    fn header(&self, now: Instant, me: &Identity, kind: DatagramKind, counter: u64) -> Header {
        Header {
            version: self.session.as_ref().map_or(VERSION_MIN, |session| session.info.version),
            kind,
            sender_boot: me.boot,
            receiver_boot: self.boot().unwrap_or(Boot(0)),
            sender_core: me.core,
            receiver_core: self.core,
            session: SessionTag::NONE,
            sent_ms: millis(now),
            counter,
        }
    }

    fn write_hello(&self, now: Instant, me: &Identity, answer: Option<Answer>, buf: &mut [u8]) -> usize {
        let (Some(sender), Some(receiver)) = (NodeName::new(&me.name), NodeName::new(&self.name)) else { return 0 };
        let echo = answer.map(|answer| answer.echo);
        // To the life that is known, the challenge that it knows; to any other, the one that nobody has proved yet.
        let session = self.session.as_ref();
        let known = session.filter(|session| match echo {
            Some(echo) => answer.is_some_and(|answer| session.is_of(echo, answer.secret)),
            None => !session.is_confirmed && !self.wants_rekey,
        });
        let secret = answer.map(|answer| answer.secret).or_else(|| known.map(|session| session.secret));
        let under = self.keys.iter().find(|keys| Some(keys.id) == secret).or_else(|| self.keys.first());
        let Some(HelloKeys { send, .. }) = under else { return 0 };
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
            wants_answer: answer.is_none_or(|answer| answer.wants_answer),
        };
        let mut header = self.header(now, me, DatagramKind::Hello, 0);
        header.version = VERSION_MIN;
        let mut datagram = header.encode().to_vec();
        hello.seal(send, &mut datagram);
        match buf.get_mut(..datagram.len()) {
            Some(place) => {
                place.copy_from_slice(&datagram);
                datagram.len()
            }
            None => 0,
        }
    }

    fn write_sealed(&mut self, now: Instant, me: &Identity, buf: &mut [u8], said: &mut Traffic) -> Option<usize> {
        let limit = usize::from(self.datagram_bytes(me)).min(buf.len());
        let room = limit.checked_sub(HEADER_BYTES + TAG_BYTES)?;
        let (head, rest) = buf.split_at_mut_checked(HEADER_BYTES)?;
        let len = self.queue.pop_into(rest.get_mut(..room)?, said);
        if len == 0 {
            return None;
        }
        if self.queue.is_empty() {
            (self.is_pressing, self.patience, self.written_at) = (false, None, Some(now));
        }
        let session = self.writing()?;
        let (counter, tag) = (session.sealer.next_counter()?, session.tag);
        let header = Header { session: tag, ..self.header(now, me, DatagramKind::Sealed, counter) };
        head.copy_from_slice(&header.encode());
        let (body, rest) = rest.split_at_mut_checked(len)?;
        let tag = self.writing()?.sealer.seal(counter, head, body)?;
        rest.get_mut(..TAG_BYTES)?.copy_from_slice(&tag);
        said.datagrams += 1;
        Some(HEADER_BYTES + len + TAG_BYTES)
    }
}

fn hello_keys(me: &Identity, secrets: &Secrets, (name, core): (&str, u8)) -> Vec<HelloKeys> {
    let keys = |secret: &ClusterSecret| HelloKeys {
        id: secret.id(),
        send: HelloKey::new(secret, (&me.name, me.core), (name, core)),
        receive: HelloKey::new(secret, (name, core), (&me.name, me.core)),
        secret: secret.clone(),
    };
    secrets.iter().map(keys).collect()
}

pub(super) fn tag_of(Challenge([a, b, ..]): Challenge, Challenge([c, d, ..]): Challenge) -> SessionTag {
    SessionTag(u16::from_be_bytes([a ^ c, b ^ d]))
}

/// Messages that wait, encoded, one behind the other.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    const fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn push(&mut self, message: &[u8], limit: usize) -> Result<(), DropReason> {
        if self.len() + message.len() > limit {
            return Err(DropReason::MessageLimit);
        }
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(message);
        Ok(())
    }

    /// Moves as many whole messages as fit, at least one if any fits, and counts them.
    fn pop_into(&mut self, out: &mut [u8], said: &mut Traffic) -> usize {
        let waiting = self.bytes.get(self.start..).unwrap_or_default();
        let mut reader = Reader::new(waiting);
        let mut len = 0;
        while let Some(([kind, _], body)) = reader.array::<2>().and_then(|head| Some((head, reader.take::<&[u8]>()?))) {
            if len + MESSAGE_HEADER_BYTES + body.len() > out.len() {
                break;
            }
            len += MESSAGE_HEADER_BYTES + body.len();
            said.count(kind);
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
