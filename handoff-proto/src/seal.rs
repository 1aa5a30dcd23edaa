//! Keys, and what is sealed with them.
//!
//! Every node holds the cluster's secret: who has it is inside. From it come, by HKDF-SHA-256 (RFC 5869):
//! - per pair and direction an HMAC key for HELLO;
//! - per pair, direction and pair of lives an AES-256-GCM key for everything else. It depends on both names, cores,
//!   boots and the two challenges of the HELLO that agreed on it, so it was never used before, and its nonces are a
//!   counter from 0.

use core::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use baton_stack::drop::DropReason;
use zeroize::Zeroizing;

use crate::names::Boot;

/// The fewest bytes of a secret.
pub const SECRET_BYTES_MIN: usize = 32;
/// What sealing adds behind the body.
pub const TAG_BYTES: usize = 16;
/// How far behind the newest datagram an older one is still taken, in datagrams.
pub const REPLAY_WINDOW: u64 = 1_024;
/// The length of a challenge.
pub const CHALLENGE_BYTES: usize = 16;
/// The length of the HMAC behind a HELLO.
pub const HELLO_TAG_BYTES: usize = 32;

/// The most secrets that a node has at a time.
pub const SECRETS_MAX: usize = 4;

/// What all nodes of a cluster share, and nobody else knows. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct ClusterSecret(Zeroizing<Vec<u8>>);

/// Two secrets are the same if they have the same number.
impl PartialEq for ClusterSecret {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for ClusterSecret {}

/// Tells secrets apart without telling anything of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SecretId(pub u64);

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The secrets of a node: it writes under the first and reads what was written under any. More than one while the cluster's
/// secret is being changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secrets(Vec<ClusterSecret>);

impl Secrets {
    /// The first is the one to write under. The same secret twice counts once.
    ///
    /// # Errors
    /// There is none, or there are more than [`SECRETS_MAX`].
    pub fn new(secrets: impl IntoIterator<Item = ClusterSecret>) -> Result<Self, SecretsError> {
        let mut all: Vec<ClusterSecret> = Vec::new();
        for secret in secrets {
            if !all.contains(&secret) {
                all.push(secret);
            }
        }
        match all.len() {
            0 => Err(SecretsError::None),
            1..=SECRETS_MAX => Ok(Self(all)),
            _ => Err(SecretsError::TooMany),
        }
    }

    /// The secrets, the one to write under first.
    pub fn iter(&self) -> impl Iterator<Item = &ClusterSecret> {
        self.0.iter()
    }
}

impl From<ClusterSecret> for Secrets {
    fn from(secret: ClusterSecret) -> Self {
        Self(vec![secret])
    }
}

/// Why secrets are no set of secrets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretsError {
    /// There is none.
    #[error("there is no secret")]
    None,
    /// There are too many.
    #[error("more than {SECRETS_MAX} secrets")]
    TooMany,
}

impl ClusterSecret {
    /// Reads the contents of a secret file: 64 or more hexadecimal digits; or base64 of 32 or more bytes; or 32 or more
    /// bytes of anything else. White space around it does not count.
    ///
    /// # Errors
    /// It is too short.
    pub fn parse(contents: &[u8]) -> Result<Self, SecretError> {
        let text = contents.trim_ascii();
        if !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit) {
            return match from_hex(text) {
                Some(bytes) if bytes.len() >= SECRET_BYTES_MIN => Ok(Self(bytes)),
                Some(_) | None => Err(SecretError::ShortHex { digits: text.len() }),
            };
        }
        match from_base64(text) {
            Some(bytes) if bytes.len() >= SECRET_BYTES_MIN => Ok(Self(bytes)),
            Some(_) | None if text.len() >= SECRET_BYTES_MIN => Ok(Self(Zeroizing::new(text.to_vec()))),
            Some(_) | None => Err(SecretError::TooShort { bytes: text.len() }),
        }
    }

    /// A number that is the same wherever the secret is, and says nothing of it.
    #[must_use]
    pub fn id(&self) -> SecretId {
        let mut id = [0; 32];
        self.expand(&[b"id"], Len32, &mut id);
        let [a, b, c, d, e, f, g, h, ..] = id;
        SecretId(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    fn expand<L: hkdf::KeyType>(&self, info: &[&[u8]], len: L, out: &mut [u8]) {
        // Fails only if the length is beyond what HKDF can give, and it is 32.
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"baton handoff v1");
        let filled = salt.extract(&self.0).expand(info, len).and_then(|okm| okm.fill(out));
        debug_assert!(filled.is_ok());
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret")
    }
}

/// Why the contents of a file are no secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretError {
    /// Only hexadecimal digits, and too few or an odd number of them.
    #[error("{digits} hexadecimal digits; a cluster secret has an even number of 64 or more (32 bytes)")]
    ShortHex {
        /// How many there are.
        digits: usize,
    },
    /// Anything else.
    #[error("{bytes} bytes; a cluster secret has 32 or more")]
    TooShort {
        /// How many there are.
        bytes: usize,
    },
}

fn from_hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.chunks(2).map(byte).collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}

/// RFC 4648 section 4, with padding; section 5's alphabet is taken too.
fn from_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    for group in digits.chunks(4) {
        let mut bits = 0;
        for &digit in group {
            bits = bits << 6 | value(digit)?;
        }
        bits <<= 6 * (4 - group.len());
        let [_, whole @ ..] = bits.to_be_bytes();
        bytes.extend(whole.iter().take(group.len() * 3 / 4));
    }
    Some(bytes)
}

/// One end of a session, as it enters the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyEnd<'a> {
    pub(crate) name: &'a str,
    pub(crate) core: u8,
    pub(crate) boot: Boot,
    pub(crate) challenge: [u8; CHALLENGE_BYTES],
}

struct Len32;

impl hkdf::KeyType for Len32 {
    fn len(&self) -> usize {
        32
    }
}

/// The HMAC key of HELLO from one node to another, under one secret.
#[derive(Clone)]
pub(crate) struct HelloKey(hmac::Key);

impl HelloKey {
    pub(crate) fn new(secret: &ClusterSecret, sender: (&str, u8), receiver: (&str, u8)) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        let (sender_len, receiver_len) = (len_bytes(sender.0), len_bytes(receiver.0));
        let info: [&[u8]; 7] = [
            b"hello",
            &sender_len,
            sender.0.as_bytes(),
            &[sender.1],
            &receiver_len,
            receiver.0.as_bytes(),
            &[receiver.1],
        ];
        secret.expand(&info, Len32, key.as_mut());
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; HELLO_TAG_BYTES] {
        let mut tag = [0; HELLO_TAG_BYTES];
        tag.iter_mut().zip(hmac::sign(&self.0, bytes).as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }

    pub(crate) fn verify(&self, bytes: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.0, bytes, tag).is_ok()
    }
}

impl fmt::Debug for HelloKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HelloKey")
    }
}

fn len_bytes(name: &str) -> [u8; 2] {
    u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes()
}

fn seal_key(secret: &ClusterSecret, sender: &KeyEnd<'_>, receiver: &KeyEnd<'_>) -> Option<LessSafeKey> {
    let mut key = Zeroizing::new([0; 32]);
    let (sender_len, receiver_len) = (len_bytes(sender.name), len_bytes(receiver.name));
    let (sender_boot, receiver_boot) = (sender.boot.0.to_be_bytes(), receiver.boot.0.to_be_bytes());
    let info: [&[u8]; 11] = [
        b"seal",
        &sender_len,
        sender.name.as_bytes(),
        &[sender.core],
        &sender_boot,
        &sender.challenge,
        &receiver_len,
        receiver.name.as_bytes(),
        &[receiver.core],
        &receiver_boot,
        &receiver.challenge,
    ];
    secret.expand(&info, Len32, key.as_mut());
    UnboundKey::new(&AES_256_GCM, key.as_ref()).ok().map(LessSafeKey::new)
}

fn nonce(counter: u64) -> Nonce {
    let [a, b, c, d, e, f, g, h] = counter.to_be_bytes();
    Nonce::assume_unique_for_key([0, 0, 0, 0, a, b, c, d, e, f, g, h])
}

/// Seals what one node sends another.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: LessSafeKey,
    counter: u64,
}

impl Sealer {
    pub(crate) fn new(secret: &ClusterSecret, sender: &KeyEnd<'_>, receiver: &KeyEnd<'_>) -> Option<Self> {
        seal_key(secret, sender, receiver).map(|key| Self { key, counter: 0 })
    }

    /// Takes the next counter: it goes into the header before sealing.
    pub(crate) fn next_counter(&mut self) -> Option<u64> {
        let counter = self.counter;
        self.counter = counter.checked_add(1)?;
        Some(counter)
    }

    /// Encrypts `body` in place; authenticates `header` with it. The tag goes behind the body.
    pub(crate) fn seal(&self, counter: u64, header: &[u8], body: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
        let tag = self.key.seal_in_place_separate_tag(nonce(counter), Aad::from(header), body).ok()?;
        tag.as_ref().try_into().ok()
    }
}

/// Opens what one node has from another.
#[derive(Debug)]
pub(crate) struct Opener {
    key: LessSafeKey,
    window: ReplayWindow,
}

impl Opener {
    pub(crate) fn new(secret: &ClusterSecret, sender: &KeyEnd<'_>, receiver: &KeyEnd<'_>) -> Option<Self> {
        seal_key(secret, sender, receiver).map(|key| Self { key, window: ReplayWindow::default() })
    }

    /// Decrypts `sealed` (body and tag) in place and returns the body.
    pub(crate) fn open<'a>(
        &mut self,
        counter: u64,
        header: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], DropReason> {
        if !self.window.is_new(counter) {
            return Err(DropReason::MessageReplayed);
        }
        let body = open(&self.key, counter, header, sealed).ok_or(DropReason::MessageUnsealed)?;
        self.window.insert(counter);
        Ok(body)
    }
}

/// Opens what one node said to another, in any order and as often as it was recorded.
#[derive(Debug)]
pub(crate) struct Reopener(LessSafeKey);

impl Reopener {
    pub(crate) fn new(secret: &ClusterSecret, sender: &KeyEnd<'_>, receiver: &KeyEnd<'_>) -> Option<Self> {
        seal_key(secret, sender, receiver).map(Self)
    }

    /// Decrypts `sealed` (body and tag) in place and returns the body; `None` if it was sealed with another key.
    pub(crate) fn open<'a>(&self, counter: u64, header: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        open(&self.0, counter, header, sealed)
    }
}

fn open<'a>(key: &LessSafeKey, counter: u64, header: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
    key.open_in_place(nonce(counter), Aad::from(header), sealed).ok()
}

/// Which counters were seen: everything below the window counts as seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ReplayWindow {
    /// One above the highest that was seen.
    next: u64,
    /// Bit `counter % REPLAY_WINDOW`, for the `REPLAY_WINDOW` counters below `next`.
    seen: [u64; (REPLAY_WINDOW / 64) as usize],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { next: 0, seen: [0; (REPLAY_WINDOW / 64) as usize] }
    }
}

impl ReplayWindow {
    pub(crate) fn is_new(&self, counter: u64) -> bool {
        if counter >= self.next {
            return counter != u64::MAX;
        }
        self.next - counter <= REPLAY_WINDOW && !self.bit(counter)
    }

    pub(crate) fn insert(&mut self, counter: u64) {
        if counter >= self.next {
            let first = self.next.max(counter.saturating_sub(REPLAY_WINDOW));
            for skipped in first..counter {
                self.set_bit(skipped, false);
            }
            self.next = counter + 1;
        }
        self.set_bit(counter, true);
    }

    fn bit(&self, counter: u64) -> bool {
        let (word, bit) = Self::place(counter);
        self.seen.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }

    fn set_bit(&mut self, counter: u64, value: bool) {
        let (word, bit) = Self::place(counter);
        if let Some(word) = self.seen.get_mut(word) {
            *word = *word & !(1 << bit) | u64::from(value) << bit;
        }
    }

    fn place(counter: u64) -> (usize, u64) {
        let place = counter % REPLAY_WINDOW;
        (usize::try_from(place / 64).unwrap_or(0), place % 64)
    }
}

/// Challenges that nobody can foretell, from a seed that was handed in.
pub(crate) struct Challenges {
    key: hmac::Key,
    given: u64,
}

impl Challenges {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, seed), given: 0 }
    }

    pub(crate) fn draw(&mut self) -> [u8; CHALLENGE_BYTES] {
        self.given += 1;
        let tag = hmac::sign(&self.key, &self.given.to_be_bytes());
        let mut challenge = [0; CHALLENGE_BYTES];
        challenge.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        challenge
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Challenges({} given)", self.given)
    }
}

#[cfg(test)]
mod tests;
