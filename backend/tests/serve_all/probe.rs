use baton_backend::serve::probe::{PROBE_CHUNK_LEN_MAX, PROBE_LEN_MAX, chunk_len, fill};
use baton_backend::serve::{Expected, Probe, Service};
use baton_http1::Status;
use proptest::prelude::*;

use crate::common::{fetch, get, read, read_all, response, server, with_get, with_request};

fn bytes(seed: u64, offset: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0xee; len];
    fill(seed, offset, &mut buf);
    buf
}

/// splitmix64's published sequence for seed 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64"): the bytes are
/// its outputs, low end first.
#[test]
fn bytes_are_splitmix64() {
    let outputs: [u64; 5] = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
    ];
    let expected: Vec<u8> = outputs.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(bytes(1_234_567, 0, 40), expected);
}

#[test]
fn seeds_wrap_around() {
    assert_eq!(bytes(u64::MAX, 0, 8), 0xe4d9_7177_1b65_2c20_u64.to_le_bytes());
}

proptest! {
    #[test]
    fn any_slice_equals_the_whole(seed: u64, start in 0..5_000_usize, len in 0..3_000_usize) {
        prop_assert_eq!(bytes(seed, u64::try_from(start).unwrap(), len), &bytes(seed, 0, 8_000)[start..start + len]);
    }

    #[test]
    fn far_slices_agree(seed: u64, start in 0..PROBE_LEN_MAX, cut in 0..100_usize) {
        let whole = bytes(seed, start, 100);
        prop_assert_eq!(&bytes(seed, start + u64::try_from(cut).unwrap(), 100 - cut), &whole[cut..]);
        prop_assert_eq!(&bytes(seed, start, cut), &whole[..cut]);
    }

    #[test]
    fn chunks_are_within_their_bounds(seed: u64, index: u64) {
        prop_assert!((1..=PROBE_CHUNK_LEN_MAX).contains(&chunk_len(seed, index)));
    }
}

#[test]
fn bytes_over_http() {
    let mut server = server(Probe);
    let fetched = fetch(&mut server, &["GET /bytes/100000?seed=5 HTTP/1.1", "host: t"], b"");
    assert!(fetched.head().contains("\r\ncontent-length: 100000\r\n"), "{}", fetched.head());
    assert_eq!(fetched.rest(), bytes(5, 0, 100_000));
    assert!(fetched.keep_alive);
    assert_eq!((server.store.sources(), server.store.bytes()), (0, 0));
}

#[test]
fn chunked_over_http() {
    let mut server = server(Probe);
    let fetched = fetch(&mut server, &["GET /chunked/100000?seed=5 HTTP/1.1", "host: t"], b"");
    assert!(fetched.head().contains("\r\ntransfer-encoding: chunked\r\n"));
    let (payload, sizes) = fetched.chunks();
    assert_eq!(payload, bytes(5, 0, 100_000));
    let (last, whole) = sizes.split_last().unwrap();
    for (index, &size) in whole.iter().enumerate() {
        assert_eq!(u64::try_from(size).unwrap(), chunk_len(5, u64::try_from(index).unwrap()));
    }
    assert!(u64::try_from(*last).unwrap() <= chunk_len(5, u64::try_from(whole.len()).unwrap()));
    assert!(sizes.len() > 10 && fetched.keep_alive);
    assert_eq!((server.store.sources(), server.store.bytes()), (0, 0));
}

#[test]
fn chunked_to_http10_ends_with_the_connection() {
    let fetched = fetch(&mut server(Probe), &["GET /chunked/9000 HTTP/1.0", "connection: keep-alive"], b"");
    assert!(!fetched.head().contains("transfer-encoding") && fetched.head().contains("\r\nconnection: close\r\n"));
    assert_eq!(fetched.rest(), bytes(0, 0, 9_000));
    assert!(!fetched.keep_alive);
}

#[test]
fn nothing_in_chunks() {
    let fetched = fetch(&mut server(Probe), &["GET /chunked/0 HTTP/1.1", "host: t"], b"");
    assert_eq!(fetched.rest(), b"0\r\n\r\n");
}

#[test]
fn lengths_and_seeds() {
    let cases = [
        ("/bytes/0", Status::OK),
        ("/bytes/1099511627776", Status::OK),
        ("/bytes/1099511627777", Status::BAD_REQUEST),
        ("/chunked/1099511627776", Status::OK),
        ("/chunked/1099511627777", Status::BAD_REQUEST),
        ("/bytes/", Status::BAD_REQUEST),
        ("/bytes/-1", Status::BAD_REQUEST),
        ("/bytes/+1", Status::BAD_REQUEST),
        ("/bytes/1x", Status::BAD_REQUEST),
        ("/bytes/99999999999999999999999999", Status::BAD_REQUEST),
        ("/bytes/1?seed=18446744073709551615", Status::OK),
        ("/bytes/1?seed=18446744073709551616", Status::BAD_REQUEST),
        ("/bytes/1?seed=", Status::BAD_REQUEST),
        ("/bytes/1?x=y&seed=3", Status::OK),
        ("/bytes/1?seeds=x", Status::OK),
        ("/bytes", Status::NOT_FOUND),
        ("/echo/", Status::NOT_FOUND),
        ("/", Status::NOT_FOUND),
    ];
    for (path, status) in cases {
        assert_eq!(get(&mut Probe, path, &[]).status(), status, "{path}");
    }
    assert_eq!(read_all(&mut get(&mut Probe, "/bytes/9?x=y&seed=3", &[])), bytes(3, 0, 9));
    let mut huge = get(&mut Probe, "/bytes/1099511627776", &[]);
    assert_eq!(read(huge.body_mut(), PROBE_LEN_MAX - 3, 3), bytes(0, PROBE_LEN_MAX - 3, 3));
}

#[test]
fn methods() {
    let cases = [
        ("GET /bytes/1", Status::OK, None),
        ("HEAD /bytes/1", Status::OK, None),
        ("POST /bytes/1", Status::METHOD_NOT_ALLOWED, Some("GET, HEAD")),
        ("PUT /chunked/1", Status::METHOD_NOT_ALLOWED, Some("GET, HEAD")),
        ("PUT /echo", Status::OK, None),
        ("POST /echo", Status::OK, None),
        ("GET /echo", Status::OK, None),
        ("DELETE /echo", Status::METHOD_NOT_ALLOWED, Some("GET, HEAD, POST, PUT")),
    ];
    for (line, status, allow) in cases {
        let response = with_request(&[&format!("{line} HTTP/1.1"), "host: t"], |request| {
            crate::common::response(baton_backend::serve::Service::prepare(&mut Probe, request))
        });
        assert_eq!((response.status(), response.header("Allow")), (status, allow), "{line}");
    }
}

#[test]
fn what_was_computed_ahead_is_what_would_have_been_sent() {
    for (path, query) in [("/bytes/9", None), ("/bytes/3000", Some("seed=5")), ("/chunked/3000", Some("x=y&seed=6"))] {
        let target = query.map_or(path.to_owned(), |query| format!("{path}?{query}"));
        for bytes_max in [0, 1, 100, 5_000] {
            let expected = Expected { is_head: false, path, query, bytes_max };
            let ahead = Probe.prefetch(&expected).unwrap();
            assert!(ahead.memory() <= bytes_max);
            let mut with = with_get(&target, &[], |request| response(ahead.respond(request)));
            assert_eq!(read_all(&mut with), read_all(&mut get(&mut Probe, &target, &[])), "{target} {bytes_max}");
        }
        assert!(Probe.prefetch(&Expected { is_head: true, path, query, bytes_max: 10 }).is_none());
    }
    for (path, query) in
        [("/echo", None), ("/bytes/x", None), ("/bytes/1099511627777", None), ("/bytes/1", Some("seed=x"))]
    {
        assert!(Probe.prefetch(&Expected { is_head: false, path, query, bytes_max: 10 }).is_none(), "{path} {query:?}");
    }
}
