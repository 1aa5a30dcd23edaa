//! What other nodes said to each other, read again from a capture: whoever has the cluster's secret and the HELLO that a session began
//! with has its keys.

use std::collections::BTreeSet;

use ahash::RandomState;
use hashbrown::HashMap;

use super::hello::{Challenge, Hello};
use super::peer::tag_of;
use crate::codec::{Reader, Wire};
use crate::header::{DatagramKind, HEADER_BYTES, Header, KIND_AT, KIND_UNSEALED, SessionTag};
use crate::names::Boot;
use crate::seal::{CHALLENGE_BYTES, ClusterSecret, HelloKey, KeyEnd, Reopener, Secrets};

/// What a datagram of a capture is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Captured {
    /// Nothing of ours.
    Foreign,
    /// HELLO or HELLO-ACK: in clear as it is.
    Hello,
    /// It was sealed. Its header with the kind [`KIND_UNSEALED`], and its messages.
    Unsealed(Vec<u8>),
    /// It is sealed, and its session's HELLO was not told, or is under another secret.
    Sealed,
}

/// One end of a session, but for its life.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct End {
    name: String,
    core: u8,
    challenge: [u8; CHALLENGE_BYTES],
}

impl End {
    fn key_end(&self, boot: Boot) -> KeyEnd<'_> {
        KeyEnd { name: &self.name, core: self.core, boot, challenge: self.challenge }
    }
}

/// Two ends of which one has echoed the other, the lesser first, and the secret that this was under, by its place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Pair {
    secret: usize,
    ends: [End; 2],
}

/// What the header of a sealed datagram says of its key. Two sessions may have all of it in common, seldom.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Way {
    from: (Boot, u8),
    to: (Boot, u8),
    tag: SessionTag,
}

/// Opens the datagrams of a capture. It is told all HELLO first ([`learn`](Self::learn)): then also those are opened that were captured
/// before the HELLO of their session.
#[derive(Debug)]
pub struct Unsealer {
    secrets: Vec<ClusterSecret>,
    /// In which life a challenge was said.
    lives: HashMap<End, Boot, RandomState>,
    /// Sessions that are not known whole.
    waiting: BTreeSet<Pair>,
    /// Sessions whose keys are made.
    made: BTreeSet<Pair>,
    keys: HashMap<Way, Vec<Reopener>, RandomState>,
}

impl Unsealer {
    /// With the secrets that the cluster had while the capture was made.
    #[must_use]
    pub fn new(secrets: &Secrets) -> Self {
        // A capture is what its maker has chosen: nobody else chooses these keys.
        let hasher = || RandomState::with_seeds(5, 6, 7, 8);
        Self {
            secrets: secrets.iter().cloned().collect(),
            lives: HashMap::with_hasher(hasher()),
            waiting: BTreeSet::new(),
            made: BTreeSet::new(),
            keys: HashMap::with_hasher(hasher()),
        }
    }

    /// Takes a HELLO in. False if it is none, or is under another secret.
    pub fn learn(&mut self, datagram: &[u8]) -> bool {
        self.hello(datagram).is_some()
    }

    fn hello(&mut self, datagram: &[u8]) -> Option<()> {
        let (head, body) = datagram.split_at_checked(HEADER_BYTES)?;
        let header = Header::take(&mut Reader::new(head)).filter(|header| header.kind == DatagramKind::Hello)?;
        let (sender, receiver) = Hello::names(body)?;
        let ends = ((sender.as_str(), header.sender_core), (receiver.as_str(), header.receiver_core));
        let opened = self.secrets.iter().enumerate().find_map(|(secret, key)| {
            let hello = Hello::open(&HelloKey::new(key, ends.0, ends.1), head, body).ok()?;
            Some((secret, hello))
        });
        let (secret, hello) = opened?;
        let end = |(name, core): (&str, u8), Challenge(challenge)| End { name: name.to_owned(), core, challenge };
        let sender = end(ends.0, hello.challenge);
        if self.lives.insert(sender.clone(), header.sender_boot) != Some(header.sender_boot) {
            // Keys that were made of a guess are made anew.
            self.waiting.extend(self.made.extract_if(.., |Pair { ends, .. }| ends.contains(&sender)));
        }
        if let Some(echo) = hello.echo {
            let receiver = end(ends.1, echo);
            // What the receiver says of itself counts more; perhaps nobody has captured it.
            if header.receiver_boot != Boot(0) {
                self.lives.entry(receiver.clone()).or_insert(header.receiver_boot);
            }
            let mut ends = [sender, receiver];
            ends.sort_unstable();
            let pair = Pair { secret, ends };
            if !self.made.contains(&pair) {
                self.waiting.insert(pair);
            }
        }
        self.make_keys();
        Some(())
    }

    /// Makes the keys of sessions of which all is known.
    fn make_keys(&mut self) {
        let Self { secrets, lives, keys, .. } = self;
        let is_made = |Pair { secret, ends: [a, b] }: &Pair| {
            let (Some(secret), Some(boot_a), Some(boot_b)) = (secrets.get(*secret), lives.get(a), lives.get(b)) else {
                return false;
            };
            let tag = tag_of(Challenge(a.challenge), Challenge(b.challenge));
            let (a, b) = (a.key_end(*boot_a), b.key_end(*boot_b));
            for (from, to) in [(a, b), (b, a)] {
                let way = Way { from: (from.boot, from.core), to: (to.boot, to.core), tag };
                keys.entry(way).or_default().extend(Reopener::new(secret, &from, &to));
            }
            true
        };
        self.made.extend(self.waiting.extract_if(.., is_made));
    }

    /// What a datagram is, and what is in it.
    pub fn open(&self, datagram: &[u8]) -> Captured {
        let Some((head, sealed)) = datagram.split_at_checked(HEADER_BYTES) else { return Captured::Foreign };
        let Some(header) = Header::take(&mut Reader::new(head)) else { return Captured::Foreign };
        match header.kind {
            DatagramKind::Hello => Captured::Hello,
            DatagramKind::Sealed => self.reopen(&header, head, sealed).map_or(Captured::Sealed, Captured::Unsealed),
        }
    }

    fn reopen(&self, header: &Header, head: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let Header { sender_boot, receiver_boot, sender_core, receiver_core, session, counter, .. } = *header;
        let way = Way { from: (sender_boot, sender_core), to: (receiver_boot, receiver_core), tag: session };
        self.keys.get(&way)?.iter().find_map(|key| {
            let mut body = sealed.to_vec();
            let body = key.open(counter, head, &mut body)?;
            let mut datagram = [head, body].concat();
            *datagram.get_mut(KIND_AT)? = KIND_UNSEALED;
            Some(datagram)
        })
    }
}
