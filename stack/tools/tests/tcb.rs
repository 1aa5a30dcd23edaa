//! The program `tcb`, with the image that decodes for ever.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../handoff-proto/src/image/golden_v1.hex");

fn tcb(words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_tcb")).args(words).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn golden() -> Vec<u8> {
    baton_tools::file::read(Path::new(GOLDEN)).unwrap()
}

#[test]
fn the_golden_image_is_dumped_field_by_field() {
    let (code, text, err) = tcb(&["dump", GOLDEN]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for line in [
        "connection: 0100000007000009",
        "epoch: 2",
        "served_bytes: 4096",
        "plan.0.strip: 4",
        "tcb.flow: 10.77.0.1:40000 -> 10.77.0.100:80",
        "tcb.state: Established",
        "tcb.unread: 474554202f",
        "tcb.queue.1.holder: 3",
        "tcb.out_of_order.0.bytes: 616263",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line:?} is not in\n{text}");
    }
    let (code, json, _) = tcb(&["dump", "--json", GOLDEN]);
    assert_eq!(code, Some(0));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["tcb"]["queue"][0]["bytes"].as_str().unwrap().len(), 600);
    assert!(value["tcb"].as_object().unwrap().len() > 30, "{json}");
}

#[test]
fn images_are_verified_in_digits_and_in_binary() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("image");
    fs::write(&binary, golden()).unwrap();
    for file in [GOLDEN, binary.to_str().unwrap()] {
        let (code, said, err) = tcb(&["verify", file]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{file}");
        assert!(said.starts_with("ok: connection 0100000007000009, epoch 2, "), "{said}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image");
    let path = file.to_str().unwrap();
    let mut impossible = golden();
    // SND.UNA beyond SND.NXT.
    impossible[88..92].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut unknown = golden();
    unknown.extend_from_slice(&[0xff, 0xff, 0, 0, 0, 0]);
    let mut skipped = golden();
    skipped.extend_from_slice(&[0x7f, 0xff, 0, 0, 0, 0]);
    let cases: [(&[u8], &str); 5] = [
        (&golden()[..200], "does not decode: the image ends too early"),
        (&[7; 400], "does not decode: the image is of version 7"),
        (&unknown, "does not decode: the image has a part of unknown kind 0xffff"),
        (&skipped, "encoded again it differs from byte"),
        (&impossible, ""),
    ];
    for (bytes, sentence) in cases {
        fs::write(&file, bytes).unwrap();
        let (code, said, err) = tcb(&["verify", path]);
        assert_eq!((code, said.as_str()), (Some(1), ""), "{sentence}");
        assert!(err.starts_with(&format!("tcb: {path}: ")) && err.contains(sentence), "{err}");
    }
    fs::write(&file, "012").unwrap();
    assert_eq!(tcb(&["verify", path]).0, Some(2));
    assert_eq!(tcb(&["verify", "/nowhere/image"]).0, Some(2));
    assert_eq!(tcb(&["look", path]).0, Some(2));
}
