use super::*;

fn secret() -> ClusterSecret {
    ClusterSecret::parse(&[b'k'; 32]).unwrap()
}

fn end(name: &str, challenge: u8) -> KeyEnd<'_> {
    KeyEnd { name, core: 0, boot: Boot(1), challenge: [challenge; CHALLENGE_BYTES] }
}

fn pair(secret: &ClusterSecret) -> (Sealer, Opener) {
    let (a, b) = (end("a", 1), end("b", 2));
    (Sealer::new(secret, &a, &b).unwrap(), Opener::new(secret, &a, &b).unwrap())
}

#[test]
fn a_secret_is_hex_base64_or_raw() {
    let bytes: Vec<u8> = (0..32).collect();
    let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1C1D1E1F";
    let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    for contents in [hex.to_owned(), format!("{hex}\n"), base64.to_owned(), format!(" {base64}\r\n")] {
        assert_eq!(*ClusterSecret::parse(contents.as_bytes()).unwrap().0, bytes, "{contents:?}");
    }
    let url_alphabet = ClusterSecret::parse(&[b"_-_-".repeat(11), b"".to_vec()].concat()).unwrap();
    let plain_alphabet = ClusterSecret::parse(&b"/+/+".repeat(11)).unwrap();
    assert_eq!(url_alphabet.0, plain_alphabet.0);
    let raw = b"thirty-two bytes, and not base64";
    assert_eq!(*ClusterSecret::parse(raw).unwrap().0, raw);
}

#[test]
fn a_short_secret_is_refused_with_its_length() {
    let error = |contents: &[u8]| ClusterSecret::parse(contents).unwrap_err();
    assert_eq!(error(b""), SecretError::TooShort { bytes: 0 });
    assert_eq!(error(&[b'k'; 31]), SecretError::TooShort { bytes: 31 });
    assert_eq!(error(&[b'a'; 62]), SecretError::ShortHex { digits: 62 });
    assert_eq!(error(&[b'a'; 65]), SecretError::ShortHex { digits: 65 });
    assert!(error(&[b'a'; 62]).to_string().contains("64 or more"));
    assert_eq!(format!("{:?}", secret()), "ClusterSecret");
}

#[test]
fn what_is_sealed_opens_once_and_only_unchanged() {
    let secret = secret();
    let (mut sealer, mut opener) = pair(&secret);
    let counter = sealer.next_counter().unwrap();
    assert_eq!((counter, sealer.next_counter()), (0, Some(1)));
    let mut body = b"body".to_vec();
    let tag = sealer.seal(counter, b"header", &mut body).unwrap();
    assert_ne!(body, b"body");
    body.extend(tag);
    for bit in 0..body.len() * 8 {
        let mut damaged = body.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(opener.open(0, b"header", &mut damaged), Err(DropReason::MessageUnsealed), "bit {bit}");
    }
    for (counter, header) in [(1, &b"header"[..]), (0, b"headed")] {
        assert_eq!(opener.open(counter, header, &mut body.clone()), Err(DropReason::MessageUnsealed));
    }
    assert_eq!(opener.open(0, b"header", &mut body.clone()[..3]), Err(DropReason::MessageUnsealed));
    assert_eq!(opener.open(0, b"header", &mut body.clone()).unwrap(), b"body");
    assert_eq!(opener.open(0, b"header", &mut body), Err(DropReason::MessageReplayed));
}

/// Every word that goes into a key changes it.
#[test]
fn a_key_is_of_one_pair_one_direction_and_one_pair_of_lives() {
    let secret = secret();
    let (a, b) = (end("a", 1), end("b", 2));
    let mut sealed = b"body".to_vec();
    let tag = Sealer::new(&secret, &a, &b).unwrap().seal(0, b"", &mut sealed).unwrap();
    sealed.extend(tag);
    let opens = |secret: &ClusterSecret, sender: &KeyEnd<'_>, receiver: &KeyEnd<'_>| {
        Opener::new(secret, sender, receiver).unwrap().open(0, b"", &mut sealed.clone()).is_ok()
    };
    assert!(opens(&secret, &a, &b));
    assert!(!opens(&secret, &b, &a), "reflected");
    assert!(!opens(&ClusterSecret::parse(&[b'x'; 32]).unwrap(), &a, &b));
    for other in [
        KeyEnd { name: "ab", ..a },
        KeyEnd { core: 1, ..a },
        KeyEnd { boot: Boot(2), ..a },
        KeyEnd { challenge: [9; CHALLENGE_BYTES], ..a },
    ] {
        assert!(!opens(&secret, &other, &b), "{other:?}");
        assert!(!opens(&secret, &a, &KeyEnd { name: "b", ..other }), "{other:?}");
    }
}

#[test]
fn the_window_holds_at_its_edge_and_not_past_it() {
    let mut window = ReplayWindow::default();
    for counter in [0, 5, 3] {
        assert!(window.is_new(counter));
        window.insert(counter);
        assert!(!window.is_new(counter));
    }
    assert!(window.is_new(4));
    window.insert(5 + REPLAY_WINDOW - 1);
    assert!(!window.is_new(5) && window.is_new(6), "5 is the oldest in the window, and seen");
    window.insert(6 + REPLAY_WINDOW - 1);
    assert!(!window.is_new(5), "5 is behind the window");
    assert!(window.is_new(6));
    window.insert(1 << 40);
    assert!(!window.is_new((1 << 40) - REPLAY_WINDOW) && window.is_new((1 << 40) - REPLAY_WINDOW + 1));
    assert!(!window.is_new(u64::MAX));
}

/// Against a set that forgets nothing.
#[test]
fn the_window_agrees_with_a_set() {
    let (mut window, mut seen, mut state) = (ReplayWindow::default(), std::collections::HashSet::new(), 1_u64);
    let mut highest = 0;
    for step in 0..20_000_u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let jump = if step % 100 == 0 { state >> 53 } else { state >> 60 };
        let counter = (highest + jump).saturating_sub(state >> 40 & 0x7ff);
        let is_new = counter + REPLAY_WINDOW > highest && !seen.contains(&counter);
        assert_eq!(window.is_new(counter), is_new, "step {step}: {counter} of {highest}");
        if is_new {
            window.insert(counter);
            seen.insert(counter);
            highest = highest.max(counter);
        }
    }
}
