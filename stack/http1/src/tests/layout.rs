//! The cursor's wire layout: fixed, and without room for a state that cannot be.

use proptest::prelude::*;
use std::vec::Vec;

use crate::{Advance, CURSOR_LEN, Cursor, CursorError, Limits};

/// The cursor behind all that can be read of `stream`.
fn behind(stream: &[u8]) -> Cursor {
    let mut cursor = Cursor::new();
    let mut at = 0;
    loop {
        match cursor.advance(&stream[at..], &Limits::default()).expect("accepted") {
            Advance::Incomplete | Advance::Closed => return cursor,
            advance => at += advance.consumed(),
        }
    }
}

fn wire(cursor: &Cursor) -> [u8; CURSOR_LEN] {
    let mut wire = [0; CURSOR_LEN];
    cursor.encode(&mut wire);
    wire
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn golden_layouts() {
    let cases: [(&str, Cursor, [u8; CURSOR_LEN]); 7] = [
        (
            "new",
            Cursor::new(),
            [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "three bytes into the second head",
            behind(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"),
            [1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "closed",
            behind(b"GET / HTTP/1.0\r\n\r\n"),
            [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "two of 259 bytes, the last request",
            behind(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 259\r\n\r\nab"),
            [1, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "a body is awaited with 100-continue",
            behind(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"),
            [1, 16, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "in the digits of the second chunk",
            behind(std::format!("{CHUNKED}3;ext\r\nabc\r\n1f").as_bytes()),
            [1, 17, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 31, 0, 0, 0, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0],
        ),
        (
            "in a trailer's value",
            behind(std::format!("{CHUNKED}0\r\nX: y").as_bytes()),
            [1, 25, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0],
        ),
    ];
    for (name, cursor, golden) in cases {
        assert_eq!(wire(&cursor), golden, "{name}");
        assert_eq!(Cursor::decode(&golden), Ok(cursor), "{name}");
    }
}

/// What to set in the encoding of a cursor, by offset.
type Changes = &'static [(usize, u8)];

#[test]
fn states_that_cannot_be_are_refused() {
    const AT_HEAD: &str = "";
    const LENGTH: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab";
    const MAX_PAYLOAD: Changes =
        &[(16, 255), (17, 255), (18, 255), (19, 255), (20, 255), (21, 255), (22, 255), (23, 255)];
    use CursorError::{InvalidState, ReservedNotZero, UnknownVersion};
    let cases: &[(&str, &str, Changes, CursorError)] = &[
        ("version 0", AT_HEAD, &[(0, 0)], UnknownVersion(0)),
        ("version 2", AT_HEAD, &[(0, 2)], UnknownVersion(2)),
        ("a reserved byte", AT_HEAD, &[(31, 1)], ReservedNotZero),
        ("a reserved flag", AT_HEAD, &[(2, 5)], ReservedNotZero),
        ("an unknown phase", AT_HEAD, &[(1, 2)], InvalidState),
        ("a phase behind the last", AT_HEAD, &[(1, 29)], InvalidState),
        ("at a head, not keep-alive", AT_HEAD, &[(2, 0)], InvalidState),
        ("at a head, continue due", AT_HEAD, &[(2, 3)], InvalidState),
        ("at a head, payload", AT_HEAD, &[(23, 1)], InvalidState),
        ("scanned above any head", AT_HEAD, &[(13, 1)], InvalidState),
        ("scanned above 32 bits", AT_HEAD, &[(11, 1)], InvalidState),
        ("closed, keep-alive", AT_HEAD, &[(1, 1)], InvalidState),
        ("closed, scanned", AT_HEAD, &[(1, 1), (2, 0), (15, 1)], InvalidState),
        ("no length left", LENGTH, &[(15, 0)], InvalidState),
        ("digits outside a chunk size", LENGTH, &[(3, 1)], InvalidState),
        ("extensions of a body by length", LENGTH, &[(25, 1)], InvalidState),
        ("trailers of a body by length", LENGTH, &[(27, 4)], InvalidState),
        ("continue due in a begun body", LENGTH, &[(2, 3)], InvalidState),
        ("a body above 64 bits", LENGTH, MAX_PAYLOAD, InvalidState),
        ("a size above its digits", "1f", &[(3, 1)], InvalidState),
        ("seventeen digits", "1f", &[(3, 17)], InvalidState),
        ("extensions before the first size", "", &[(1, 17), (25, 1)], InvalidState),
        ("an extension without bytes", "1;", &[(25, 0)], InvalidState),
        ("extensions above the limit", "1;", &[(24, 64)], InvalidState),
        ("trailers in a chunk", "5\r\nab", &[(27, 4)], InvalidState),
        ("an empty chunk", "5\r\nab", &[(15, 0)], InvalidState),
        ("a chunk's end without payload", "1\r\na", &[(23, 0)], InvalidState),
        ("a trailer too short", "0\r\na:\r\n", &[(27, 3)], InvalidState),
        ("trailers above the limit", "0\r\na:\r\n", &[(26, 32)], InvalidState),
        ("a name without bytes", "0\r\na", &[(27, 0)], InvalidState),
        ("an end without its CR", "0\r\n\r", &[(27, 0)], InvalidState),
        ("a value beside a trailer", "0\r\na", &[(15, 1)], InvalidState),
    ];
    for (name, stream, changes, error) in cases {
        let whole = if stream.is_empty() || stream.starts_with('P') {
            (*stream).into()
        } else {
            std::format!("{CHUNKED}{stream}")
        };
        let mut bytes = wire(&behind(whole.as_bytes()));
        assert!(Cursor::decode(&bytes).is_ok(), "{name}");
        for &(offset, byte) in *changes {
            bytes[offset] = byte;
        }
        assert_eq!(Cursor::decode(&bytes), Err(*error), "{name}");
    }
    for len in [0, CURSOR_LEN - 1, CURSOR_LEN + 1] {
        assert_eq!(Cursor::decode(&std::vec![1; len]), Err(CursorError::WrongLength));
    }
}

#[test]
fn each_state_of_a_trailer_has_its_shortest_length() {
    // Phase, and which lengths of a trailer section it can stand behind, up to six bytes: `a:` CR LF CR LF.
    let cases: [(u8, &[u8]); 6] = [
        (23, &[0, 4, 5, 6]),
        (24, &[1, 2, 3, 4, 5, 6]),
        (25, &[2, 3, 4, 5, 6]),
        (26, &[3, 4, 5, 6]),
        (27, &[1, 5, 6]),
        (28, &[0, 2, 6]),
    ];
    for (phase, lengths) in cases {
        for length in 0..=6 {
            let mut bytes = [0; CURSOR_LEN];
            [bytes[0], bytes[1], bytes[27]] = [1, phase, length];
            assert_eq!(Cursor::decode(&bytes).is_ok(), lengths.contains(&length), "phase {phase}, {length} bytes");
        }
    }
}

/// Bytes that are often a cursor: small values in the places that matter.
fn cursorlike() -> impl Strategy<Value = [u8; CURSOR_LEN]> {
    let phase = prop_oneof![Just(0_u8), Just(1), 16..30_u8];
    let small = || prop_oneof![Just(0_u64), 0..40_u64, Just(u64::MAX), any::<u64>()];
    let count = || prop_oneof![Just(0_u16), 0..10_u16, any::<u16>()];
    (phase, 0..4_u8, 0..18_u8, any::<u32>(), small(), small(), count(), count()).prop_map(
        |(phase, flags, digits, ordinal, value, payload, extension, trailer)| {
            let mut bytes = [0; CURSOR_LEN];
            bytes[..4].copy_from_slice(&[1, phase, flags, digits]);
            bytes[4..8].copy_from_slice(&ordinal.to_be_bytes());
            bytes[8..16].copy_from_slice(&value.to_be_bytes());
            bytes[16..24].copy_from_slice(&payload.to_be_bytes());
            bytes[24..26].copy_from_slice(&extension.to_be_bytes());
            bytes[26..28].copy_from_slice(&trailer.to_be_bytes());
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn what_decodes_encodes_to_the_same_bytes_and_reads_on(
        bytes in cursorlike(),
        stream in prop_oneof![prop::collection::vec(any::<u8>(), 0..60), "[0-9a-f;:\r\n ]{0,40}".prop_map(Vec::from)],
    ) {
        if let Ok(decoded) = Cursor::decode(&bytes) {
            prop_assert_eq!(wire(&decoded), bytes);
            let (mut cursor, mut at) = (decoded, 0);
            while let Ok(advance) = cursor.advance(&stream[at..], &Limits::default()) {
                if matches!(advance, Advance::Incomplete | Advance::Closed) {
                    break;
                }
                at += advance.consumed();
                // Wherever a decoded cursor gets to is a state that decodes again.
                prop_assert_eq!(Cursor::decode(&wire(&cursor)), Ok(cursor));
            }
        }
    }
}

#[test]
fn the_last_ordinal_ends_the_connection() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut bytes = wire(&Cursor::new());
    bytes[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut cursor = Cursor::decode(&bytes).expect("a cursor");
    assert!(matches!(cursor.advance(head, &Limits::default()), Ok(Advance::Head(_))));
    assert_eq!(cursor.advance(b"", &Limits::default()), Ok(Advance::End));
    assert_eq!(cursor.advance(head, &Limits::default()), Ok(Advance::Closed));
}
