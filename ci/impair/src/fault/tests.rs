use super::*;
use proptest::prelude::*;

/// An IPv4 frame whose body says which one it is.
fn frame(number: u32) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[14..18].try_into().unwrap())
}

fn share(text: &str) -> Share {
    text.parse().unwrap()
}

/// What comes out when frames 0.. of `count` are offered at one moment, and how the lane is left.
fn run(faults: Faults, direction: u64, count: u32) -> (Vec<Vec<u8>>, Lane) {
    let mut lane = Lane::new(faults, direction);
    let (now, mut out) = (Instant::now(), Vec::new());
    for n in 0..count {
        lane.offer(frame(n), now, &mut out);
    }
    (out, lane)
}

fn numbers(frames: &[Vec<u8>]) -> Vec<u32> {
    frames.iter().map(|frame| number(frame)).collect()
}

#[test]
fn shares() {
    for (text, of_2_32) in [("0", 0), ("1", 1 << 32), ("0.5", 1 << 31), ("0.25", 1 << 30), ("1e-9", 4)] {
        assert_eq!(text.parse(), Ok(Share { of_2_32 }), "{text}");
    }
    for text in ["-0.1", "1.01", "NaN", "inf", "", "2 %"] {
        assert!(text.parse::<Share>().is_err(), "{text}");
    }
    assert!(share("1").takes(u32::MAX));
    assert!(!share("0").takes(0));
    assert!(share("0.5").takes((1 << 31) - 1));
    assert!(!share("0.5").takes(1 << 31));
}

#[test]
fn no_faults_change_nothing() {
    let (out, lane) = run(Faults { seed: 7, ..Faults::default() }, 0, 1000);
    assert_eq!(out, (0..1000).map(frame).collect::<Vec<_>>());
    assert_eq!(lane.next_due(), None);
}

#[test]
fn capable_packets_are_marked_and_counted() {
    let mut lane = Lane::new(Faults { mark: share("1"), dup: share("1"), ..Faults::default() }, 0);
    let mut out = Vec::new();
    // The beginning of an IPv4 header: its second byte ends with the ECN field.
    for capable in [0x45ba_0000, 0x45b8_0000, 0x45b9_0000] {
        lane.offer(frame(capable), Instant::now(), &mut out);
    }
    assert_eq!(numbers(&out), [0x45bb_0000, 0x45bb_0000, 0x45b8_0000, 0x45b8_0000, 0x45bb_0000, 0x45bb_0000]);
    assert!(lane.counters().rows().contains(&("marked", 2)));
}

#[test]
fn the_same_seed_does_the_same_and_directions_and_seeds_differ() {
    let faults = |seed| Faults {
        seed,
        loss: share("0.1"),
        dup: share("0.1"),
        reorder: share("0.1"),
        corrupt: share("0.1"),
        mark: share("0.1"),
        delay_ms: 0,
        rate_mbit: 0,
    };
    let first = run(faults(1), 0, 2000).0;
    assert_eq!(first, run(faults(1), 0, 2000).0);
    assert_ne!(first, run(faults(1), 1, 2000).0);
    assert_ne!(first, run(faults(2), 0, 2000).0);
}

#[test]
fn another_fault_does_not_change_which_packets_are_lost() {
    let lossy = Faults { seed: 3, loss: share("0.2"), ..Faults::default() };
    let worse = Faults { dup: share("0.3"), reorder: share("0.3"), ..lossy };
    let mut survivors = numbers(&run(worse, 0, 500).0);
    survivors.sort_unstable();
    survivors.dedup();
    let (_, mut lane) = run(worse, 0, 500);
    let mut rest = Vec::new();
    lane.flush(&mut rest);
    survivors.extend(numbers(&rest));
    survivors.sort_unstable();
    survivors.dedup();
    assert_eq!(survivors, numbers(&run(lossy, 0, 500).0));
}

#[test]
fn setting_faults_begins_their_seed_anew() {
    let faults = Faults { seed: 5, loss: share("0.5"), ..Faults::default() };
    let fresh = numbers(&run(faults, 0, 100).0);
    let (_, mut lane) = run(faults, 0, 33);
    lane.set(faults);
    let (now, mut out) = (Instant::now(), Vec::new());
    (0..100).for_each(|n| lane.offer(frame(n), now, &mut out));
    assert_eq!(numbers(&out), fresh);
}

#[test]
fn shares_are_kept() {
    const PACKETS: u32 = 100_000;
    let faults =
        Faults { seed: 11, loss: share("0.02"), dup: share("0.01"), corrupt: share("0.002"), ..Faults::default() };
    let (out, lane) = run(faults, 0, PACKETS);
    let Counters { received, lost, doubled, corrupted, .. } = lane.counters();
    assert_eq!(received, u64::from(PACKETS));
    assert!((1_800..2_200).contains(&lost), "{lost}");
    assert!((850..1_150).contains(&doubled), "{doubled}");
    assert!((140..260).contains(&corrupted), "{corrupted}");
    assert_eq!(u64::try_from(out.len()).unwrap(), received - lost + doubled);
}

#[test]
fn all_or_nothing() {
    assert!(run(Faults { loss: share("1"), ..Faults::default() }, 0, 100).0.is_empty());
    let twice = numbers(&run(Faults { dup: share("1"), ..Faults::default() }, 0, 100).0);
    assert_eq!(twice, (0..100).flat_map(|n| [n, n]).collect::<Vec<_>>());
}

#[test]
fn a_copy_of_a_corrupted_packet_is_clean() {
    let (out, _) = run(Faults { dup: share("1"), corrupt: share("1"), ..Faults::default() }, 0, 50);
    for (n, pair) in (0..).zip(out.chunks(2)) {
        assert_ne!(pair[0], frame(n));
        assert_eq!(pair[1], frame(n));
    }
}

#[test]
fn arp_is_exempt_and_takes_no_place_in_the_sequence() {
    let mut arp = frame(77);
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let faults = Faults { seed: 9, loss: share("0.5"), delay_ms: 20, ..Faults::default() };
    let mut lane = Lane::new(faults, 0);
    let (now, mut out, mut arps) = (Instant::now(), Vec::new(), Vec::new());
    for n in 0..100 {
        lane.offer(arp.clone(), now, &mut arps);
        lane.offer(frame(n), now, &mut out);
    }
    assert_eq!(arps, vec![arp; 100]);
    lane.due(now + Duration::from_millis(20), &mut out);
    assert_eq!(numbers(&out), numbers(&run(Faults { delay_ms: 0, ..faults }, 0, 100).0));
    assert_eq!(lane.counters().exempt, 100);
}

#[test]
fn a_held_packet_leaves_after_its_overtakers_or_in_time() {
    let everything = Faults { reorder: share("1"), ..Faults::default() };
    let mut lane = Lane::new(everything, 0);
    let (now, mut out) = (Instant::now(), Vec::new());
    lane.offer(frame(0), now, &mut out);
    let overtakers = lane.held[0].overtakers;
    assert!((1..=OVERTAKERS_MAX).contains(&overtakers));
    assert_eq!(lane.next_due(), Some(now + HOLD_MAX));

    lane.due(now + HOLD_MAX - Duration::from_nanos(1), &mut out);
    assert!(out.is_empty());
    lane.set(Faults::default());
    for n in 1..=overtakers {
        assert_eq!(lane.held.len(), 1);
        lane.offer(frame(n), now, &mut out);
    }
    assert_eq!(numbers(&out), (1..=overtakers).chain([0]).collect::<Vec<_>>());

    let mut lane = Lane::new(everything, 0);
    let mut out = Vec::new();
    lane.offer(frame(0), now, &mut out);
    lane.due(now + HOLD_MAX, &mut out);
    assert_eq!(numbers(&out), [0]);
    assert_eq!(lane.next_due(), None);
}

#[test]
fn the_hold_has_a_limit() {
    let everything = Faults { reorder: share("1"), ..Faults::default() };
    let last = u32::try_from(HELD_MAX).unwrap();
    let (out, lane) = run(everything, 0, last);
    assert!(out.is_empty());
    assert_eq!(lane.held.len(), HELD_MAX);
    let (out, _) = run(everything, 0, last + 1);
    assert_eq!(number(&out[0]), last);
}

#[test]
fn the_delay_keeps_order_and_has_a_limit() {
    let faults = Faults { delay_ms: 10, ..Faults::default() };
    let most = u32::try_from(QUEUE_MAX).unwrap();
    let (out, mut lane) = run(faults, 0, most);
    assert!(out.is_empty());
    assert_eq!(lane.counters().overflow, 0);
    let (now, mut out) = (Instant::now(), Vec::new());
    lane.offer(frame(most), now, &mut out);
    assert_eq!(lane.counters().overflow, 1);
    lane.due(now + Duration::from_millis(10), &mut out);
    assert_eq!(numbers(&out), (0..most).collect::<Vec<_>>());
}

#[test]
fn a_link_sends_one_frame_after_the_other_and_keeps_them_for_a_limited_time() {
    // 60 bytes and what surrounds them on a wire: 672 bits, at 1 Mbit/s 672 us.
    let (mut lane, start) = (Lane::new(Faults { rate_mbit: 1, ..Faults::default() }, 0), Instant::now());
    let mut out = Vec::new();
    // Turns at 0, 672, ... 9,408 us; the next one would be at 10,080.
    for n in 0..16 {
        lane.offer(frame(n), start, &mut out);
    }
    assert!(out.is_empty());
    assert_eq!(lane.counters().overflow, 1);
    for (micros, sent) in [(671, 0), (672, 1), (1_343, 1), (1_344, 2), (10_079, 14), (10_080, 15)] {
        lane.due(start + Duration::from_micros(micros), &mut out);
        assert_eq!(numbers(&out), (0..sent).collect::<Vec<_>>(), "{micros}");
    }
    assert_eq!(lane.next_due(), None);
    // An idle link begins at once, and the delay is behind it.
    lane.set(Faults { rate_mbit: 1, delay_ms: 2, ..Faults::default() });
    let later = start + Duration::from_secs(1);
    lane.offer(frame(99), later, &mut out);
    assert_eq!(lane.next_due(), Some(later + Duration::from_micros(2_672)));
}

#[test]
fn a_shorter_delay_does_not_overtake() {
    let (_, mut lane) = run(Faults { delay_ms: 10, ..Faults::default() }, 0, 3);
    lane.set(Faults::default());
    let (now, mut out) = (Instant::now(), Vec::new());
    lane.offer(frame(3), now, &mut out);
    assert!(out.is_empty());
    lane.due(now + Duration::from_millis(10), &mut out);
    assert_eq!(numbers(&out), [0, 1, 2, 3]);
}

#[test]
fn short_frames_are_not_corrupted() {
    for length in 0..=15 {
        let mut short = vec![0; length];
        assert_eq!(flip(&mut short, u32::MAX), length > ETHERNET_HEADER, "{length}");
    }
}

proptest! {
    #[test]
    fn corruption_is_one_bit_behind_the_header(length in 15usize..1600, bit: u32) {
        let mut frame = vec![0u8; length];
        prop_assert!(flip(&mut frame, bit));
        prop_assert!(frame[..ETHERNET_HEADER].iter().all(|byte| *byte == 0));
        prop_assert_eq!(frame.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    }

    #[test]
    fn nothing_vanishes_but_the_lost(seed: u64, loss in 0.0f64..0.5, reorder in 0.0f64..1.0, delay_ms in 0u64..3) {
        let faults = Faults {
            seed, loss: share(&loss.to_string()), reorder: share(&reorder.to_string()), delay_ms, ..Faults::default()
        };
        let (mut out, mut lane) = run(faults, 1, 300);
        lane.flush(&mut out);
        let mut numbers = numbers(&out);
        numbers.sort_unstable();
        numbers.dedup();
        prop_assert_eq!(u64::try_from(numbers.len()).unwrap(), 300 - lane.counters().lost);
        prop_assert_eq!(numbers.len(), out.len());
    }
}
