use proptest::prelude::*;

use super::samples::{C, E, E2, G, TO, encoded, peer, with_samples};
use super::*;
use crate::codec::List;
use crate::header::HEADER_BYTES;
use crate::names::NAME_BYTES_MAX;
use crate::seal::TAG_BYTES;
use crate::session::DATAGRAM_BYTES_MIN;

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
    let past = RequestKey { method: b"GET", host: b"h", target: &longer, is_cut: false, may_prepare: false };
    let message = bytes_of(&Ask { c: C, e: E, tried: E, n: 0, key: past }.into());
    assert_eq!(Message::decode(&mut Reader::new(&message)), Err(MessageError::Malformed));
}

/// Its first byte has two bits; a third makes it no key.
#[test]
fn a_key_says_whether_it_may_be_prepared() {
    let key = RequestKey::new(b"GET", b"h", b"/a?b");
    for (is_cut, may_prepare, first) in [(false, false, 0), (true, false, 1), (false, true, 2), (true, true, 3)] {
        let mut bytes = encoded(&[RequestKey { is_cut, may_prepare, ..key }]);
        assert_eq!(bytes[0], first);
        assert_eq!(RequestKey::take(&mut Reader::new(&bytes)), Some(RequestKey { is_cut, may_prepare, ..key }));
        bytes[0] |= 4;
        assert_eq!(RequestKey::take(&mut Reader::new(&bytes)), None);
    }
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
