//! The `sim` program as people and scripts call it.

use std::process::{Command, Output};
use std::time::Duration;

use pcap_file::pcap::{PcapPacket, PcapReader};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints text")
}

#[test]
fn a_seed_prints_the_same_again_and_a_hash_last() {
    let first = sim(&["--seed", "7", "--reference"]);
    let again = sim(&["--seed", "7", "--reference"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stdout));
    assert_eq!(text(&first.stdout), text(&again.stdout));
    let hash = text(&first.stdout).lines().last().unwrap_or_default().to_owned();
    assert!(hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    let other = sim(&["--seed", "8", "--reference"]);
    assert_ne!(text(&other.stdout).lines().last(), Some(&*hash));
    let loud = sim(&["--seed", "7", "--reference", "--verbose"]);
    assert!(loud.stdout.len() > 10 * first.stdout.len());
    assert_eq!(text(&loud.stdout).lines().last(), Some(&*hash));
}

#[test]
fn many_seeds_are_counted() {
    let many = sim(&["--seeds", "3", "--from", "40", "--reference", "--severity", "links"]);
    assert_eq!(many.status.code(), Some(0));
    assert_eq!(text(&many.stdout), "0 of 3 seeds failed\n");
    let progress = text(&many.stderr);
    assert_eq!(progress.lines().count(), 3);
    assert!(progress.contains("[3/3] seed 42: ok"), "{progress}");
}

#[test]
fn the_faults_that_were_asked_for_are_those_that_happen() {
    let lossless = sim(&["--seed", "1", "--reference", "--severity", "clean", "--clients", "1", "--connections", "2"]);
    let lossy = sim(&[
        "--seed",
        "1",
        "--reference",
        "--severity",
        "clean",
        "--clients",
        "1",
        "--connections",
        "2",
        "--loss",
        "0.25",
    ]);
    assert!(text(&lossless.stdout).contains("2 connections finished"), "{}", text(&lossless.stdout));
    assert!(text(&lossy.stdout).contains("loss_ppm: 250000"));
    assert_ne!(text(&lossless.stdout).lines().last(), text(&lossy.stdout).lines().last());
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let wrong: [&[&str]; 7] = [
        &[],
        &["--seed", "x"],
        &["--seed", "1", "--seeds", "2"],
        &["--seed", "1", "--loss", "1.01"],
        &["--seed", "1", "--backends", "0"],
        &["--seed", "1", "--backends", "65"],
        &["--seeds", "2", "--pcap", "x"],
    ];
    for arguments in wrong {
        assert_eq!(sim(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let unwritable = sim(&["--seed", "1", "--reference", "--pcap", "/nonexistent/x.pcap"]);
    assert_eq!(unwritable.status.code(), Some(1));
    assert!(text(&unwritable.stderr).contains("cannot write /nonexistent/x.pcap"));
}

#[test]
fn a_capture_holds_both_directions() {
    let file = std::env::temp_dir().join(format!("baton-sim-{}.pcap", std::process::id()));
    let path = file.to_string_lossy().into_owned();
    let output = sim(&["--seed", "2", "--reference", "--pcap", &path]);
    let capture = std::fs::read(&file).expect("a capture was written");
    std::fs::remove_file(&file).expect("it can be removed");
    assert_eq!(output.status.code(), Some(0));
    let mut capture = PcapReader::new(&capture[..]).expect("it is one");
    let (mut up, mut down) = (0, 0);
    let mut latest = Duration::ZERO;
    while let Some(frame) = capture.next_packet() {
        let PcapPacket { timestamp, data: frame, .. } = frame.expect("whole frames");
        assert!(latest <= timestamp, "in their order");
        latest = timestamp;
        // The VIP's host is reached at the cluster's only Ethernet address here.
        up += u32::from(frame[..6] == [2, 0, 0, 0, 0, 10]);
        down += u32::from(frame[6..12] == [2, 0, 0, 0, 0, 10]);
    }
    assert!(latest < Duration::from_secs(3_600), "virtual time begins at zero: {latest:?}");
    assert!(up > 10 && down > 10, "{up} up, {down} down");
}
