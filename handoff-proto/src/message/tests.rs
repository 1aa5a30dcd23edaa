use baton_stack::addr::{IpAddr, MacAddr};
use proptest::prelude::*;

use super::*;
use crate::codec::List;
use crate::header::HEADER_BYTES;
use crate::names::{Boot, Epoch, Generation, NAME_BYTES_MAX};
use crate::seal::TAG_BYTES;
use crate::session::DATAGRAM_BYTES_MIN;

const C: ConnId = ConnId(0x0102_0304_0506_0708);
const E: Epoch = Epoch(0x1112_1314);
const E2: Epoch = Epoch(0x2122_2324);
const G: Generation = Generation(0x3132_3334_3536_3738);
const TO: NodeId = NodeId(0x4142);

/// The bytes of `values`, for a [`List`].
fn encoded<'a, T: Wire<'a>>(values: &[T]) -> Vec<u8> {
    let mut bytes = vec![];
    values.iter().for_each(|value| value.put(&mut bytes));
    bytes
}

fn peer(name: &str) -> PeerEntry<'_> {
    let addr = IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    PeerEntry { id: TO, g: G, core: 1, addr, mac: MacAddr([2; 6]), name: NodeName::new(name).unwrap() }
}

/// One of each kind, as large as it may be where it has parts of variable length.
fn with_samples(check: impl FnOnce(&[Message<'_>])) {
    let long_name = "n".repeat(NAME_BYTES_MAX);
    let peers = encoded(&[peer(&long_name); LEASE_PEERS_MAX]);
    let claim = FenceClaim { c: C, role: FenceRole::Frozen, e: E, e2: E2, to: TO };
    let claims = encoded(&[claim; FENCED_CLAIMS_MAX]);
    let host = vec![b'h'; KEY_BYTES_MAX];
    let key = RequestKey::new(b"POST", &host, b"/cut");
    let part = vec![7; usize::from(DATAGRAM_BYTES_MIN) - HEADER_BYTES - TAG_BYTES - HANDOFF_OVERHEAD];
    let (boot, number, n, strip) = (Boot(5), 6, 7, 8);
    let load = LoadReport { connections: 1, requests: 2, bytes: 3, busy_permille: 4 };
    let served = Served { requests: 1, bytes: 2 };
    let timestamps = Some(ClosedTimestamps { ts_val: 3, ts_recent: 4 });
    check(&[
        Join { number, boot, g: G }.into(),
        LeaseReq { number, boot, g: G, peers_version: 1, route_version: 2, load }.into(),
        Lease {
            number,
            boot,
            g: G,
            you: TO,
            lease_ms: 1_500,
            drain: DrainState::Draining,
            route_version: 2,
            peers_version: 1,
            peers_total: 1_000,
            peers_first: 988,
            peers: List::from_encoded(u16::try_from(LEASE_PEERS_MAX).unwrap(), &peers).unwrap(),
        }
        .into(),
        Ask { c: C, e: E, tried: E2, n, key }.into(),
        Stay { c: C, e: E, n, strip }.into(),
        Grant { c: C, base: E, e2: E2, to: TO, g: G, n, strip: Some(strip) }.into(),
        Forward { c: C, e: E, n, node: TO, strip }.into(),
        Reject { c: C, e: E, n, status: 503, retry_after_s: 1, strip: 0 }.into(),
        Prefetch { c: C, e2: E2, n, strip, key }.into(),
        MoveAsk { c: C, e: E, tried: E2, n, to: TO }.into(),
        MoveReject { c: C, e: E, n, to: TO }.into(),
        MoveWish { c: C, e: E, to: TO }.into(),
        Handoff { c: C, base: E, e2: E2, g: G, total: 9_000, part_bytes: 900, part: 3, bytes: &part }.into(),
        PartAck { c: C, e2: E2, g: G, missing: 3, beyond: 1 << 127 | 1 }.into(),
        Installed { c: C, e2: E2, g: G }.into(),
        Routed { c: C, e2: E2 }.into(),
        Done { c: C, e2: E2 }.into(),
        Refused { c: C, e2: E2, g: G, reason: RefuseReason::Overload }.into(),
        Abort { c: C, base: E, e2: E2, to: TO, g: G }.into(),
        Thaw { c: C, e2: E2 }.into(),
        AttemptGone { c: C, e2: E2 }.into(),
        Revoke { c: C, e2: E2, g: G }.into(),
        Revoked { c: C, e2: E2, g: G }.into(),
        Settle { c: C, base: E, e2: E2, to: TO, g: G }.into(),
        Settled { c: C, e2: E2, claim: SettleClaim::Lost }.into(),
        Fence { node: TO, g: G }.into(),
        Fenced {
            node: TO,
            g: G,
            part: 0,
            parts: 2,
            claims: List::from_encoded(u16::try_from(FENCED_CLAIMS_MAX).unwrap(), &claims).unwrap(),
        }
        .into(),
        Fetch { c: C, e: E, start: 1, len: 2 }.into(),
        Tail { c: C, e: E, start: 1, bytes: b"tail" }.into(),
        TailGone { c: C, e: E, start: 1, len: 2 }.into(),
        Release { c: C, e: Epoch(4), up_to: 1 }.into(),
        Released { c: C, e: Epoch(4), up_to: 1 }.into(),
        Closed { c: C, e: E, snd_nxt: 1, rcv_nxt: 2, timestamps, ended: Ended::Active, served }.into(),
        ClosedAck { c: C }.into(),
        Over { c: C }.into(),
    ]);
}

fn bytes_of(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![];
    message.encode(&mut bytes);
    bytes
}

#[test]
fn every_kind_reads_back() {
    with_samples(|samples| {
        for message in samples {
            let mut bytes = bytes_of(message);
            assert_eq!(bytes.len(), message.encoded_len());
            bytes.push(0xff);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Message::decode(&mut reader), Ok(*message));
            assert_eq!(reader.rest(), [0xff], "{} takes what is not its own", message.name());
        }
    });
}

#[test]
fn the_samples_are_all_there_is() {
    with_samples(|samples| {
        for kind in 0..=u8::MAX {
            let is_known =
                Message::decode(&mut Reader::new(&[kind, MUST_KNOW, 0, 0])) != Err(MessageError::UnknownKind);
            assert_eq!(is_known, samples.iter().any(|message| message.kind() == kind), "kind {kind}");
        }
    });
}

#[test]
fn every_message_fits_the_smallest_datagram() {
    let room = usize::from(DATAGRAM_BYTES_MIN) - HEADER_BYTES - TAG_BYTES;
    with_samples(|samples| {
        for message in samples {
            assert!(message.encoded_len() <= room, "{}: {} of {room}", message.name(), message.encoded_len());
        }
        let handoff = samples.iter().find(|message| message.name() == "Handoff").unwrap();
        assert_eq!(handoff.encoded_len(), room, "HANDOFF_OVERHEAD is what a HANDOFF adds");
    });
}

#[test]
fn every_cut_message_is_refused() {
    with_samples(|samples| {
        for message in samples {
            let bytes = bytes_of(message);
            for len in 0..bytes.len() {
                let mut reader = Reader::new(&bytes[..len]);
                assert_eq!(Message::decode(&mut reader), Err(MessageError::Truncated), "{} at {len}", message.name());
                assert!(reader.is_empty());
            }
            // A body that is too short or too long by one, behind a header that agrees with it.
            for (len, extra) in [(bytes.len() - 1, 0), (bytes.len(), 1)] {
                let mut wrong = bytes[..len].to_vec();
                wrong.resize(len + extra, 0);
                let body = u16::try_from(wrong.len() - MESSAGE_HEADER_BYTES).unwrap();
                wrong[2..4].copy_from_slice(&body.to_be_bytes());
                assert_eq!(
                    Message::decode(&mut Reader::new(&wrong)),
                    Err(MessageError::Malformed),
                    "{}",
                    message.name()
                );
            }
        }
    });
}

/// Each message has exactly one wire form, so whatever decodes from damaged bytes encodes to them again.
#[test]
fn every_flipped_bit_is_another_message_or_none() {
    with_samples(|samples| {
        for message in samples {
            let bytes = bytes_of(message);
            for bit in (0..bytes.len() * 8).filter(|bit| !(8..16).contains(bit)) {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                if let Ok(other) = Message::decode(&mut Reader::new(&damaged)) {
                    assert_ne!(other, *message, "bit {bit} of {} means nothing", message.name());
                    assert_eq!(bytes_of(&other), damaged[..other.encoded_len()]);
                }
            }
        }
    });
}

#[test]
fn an_unknown_kind_is_skipped_or_refused_by_its_flag() {
    let bytes = [200, 0, 0, 2, 9, 9, 201, MUST_KNOW, 0, 1, 9, 51, 0, 0, 0];
    let mut reader = Reader::new(&bytes);
    assert_eq!(Message::decode(&mut reader), Err(MessageError::Skipped));
    assert_eq!(Message::decode(&mut reader), Err(MessageError::UnknownKind));
    assert_eq!(Message::decode(&mut reader), Err(MessageError::Skipped));
    assert!(reader.is_empty());
}

#[test]
fn a_grant_looks_as_drawn() {
    let grant = Grant { c: C, base: E, e2: E2, to: TO, g: G, n: 7, strip: Some(8) };
    #[rustfmt::skip]
    let drawn = [
        10, 1, 0, 33,
        1, 2, 3, 4, 5, 6, 7, 8,
        0x11, 0x12, 0x13, 0x14,
        0x21, 0x22, 0x23, 0x24,
        0x41, 0x42,
        0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38,
        0, 0, 0, 7,
        1, 0, 8,
    ];
    assert_eq!(bytes_of(&grant.into()), drawn);
}

#[test]
fn a_key_is_cut_at_its_limit_and_one_past() {
    let target = vec![b'a'; KEY_BYTES_MAX - 4];
    let key = RequestKey::new(b"GET", b"h", &target);
    assert_eq!((key.len(), key.is_cut), (KEY_BYTES_MAX, false));
    let longer = vec![b'a'; KEY_BYTES_MAX - 3];
    let cut = RequestKey::new(b"GET", b"h", &longer);
    assert_eq!((cut.target, cut.is_cut), (&longer[..KEY_BYTES_MAX - 4], true));
    let past = RequestKey { method: b"GET", host: b"h", target: &longer, is_cut: false };
    let message = bytes_of(&Ask { c: C, e: E, tried: E, n: 0, key: past }.into());
    assert_eq!(Message::decode(&mut Reader::new(&message)), Err(MessageError::Malformed));
}

#[test]
fn a_name_is_neither_empty_nor_too_long() {
    let longest = "n".repeat(NAME_BYTES_MAX);
    assert_eq!(NodeName::new(&longest).unwrap().as_str(), longest);
    assert_eq!(NodeName::new(&"n".repeat(NAME_BYTES_MAX + 1)), None);
    assert_eq!(NodeName::new(""), None);
}

#[test]
fn a_list_gives_back_its_values() {
    let names = ["a", "bc", "def"];
    let bytes = encoded(&names.map(peer));
    let list: List<'_, PeerEntry<'_>> = List::from_encoded(3, &bytes).unwrap();
    assert_eq!((list.len(), list.is_empty()), (3, false));
    assert!(list.iter().map(|entry| entry.name.as_str()).eq(names));
    assert_eq!(List::<PeerEntry<'_>>::from_encoded(4, &bytes), None);
    assert!(List::<PeerEntry<'_>>::EMPTY.is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = Reader::new(&bytes);
        let mut before = reader.len() + 1;
        while !reader.is_empty() {
            prop_assert!(reader.len() < before, "no progress");
            before = reader.len();
            let _ = Message::decode(&mut reader);
        }
    }

    #[test]
    fn any_body_of_any_kind_has_one_form(kind in 0..60_u8, body in proptest::collection::vec(any::<u8>(), 0..90)) {
        let mut bytes = vec![kind, MUST_KNOW, 0, u8::try_from(body.len()).unwrap()];
        bytes.extend(body);
        if let Ok(message) = Message::decode(&mut Reader::new(&bytes)) {
            let again = bytes_of(&message);
            prop_assert_eq!(&again[MESSAGE_HEADER_BYTES..], &bytes[MESSAGE_HEADER_BYTES..]);
        }
    }
}
