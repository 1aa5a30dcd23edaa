//! What the fuzzer begins with: what is known to be right, and how it is said.

use baton_http1::corpus::{ACCEPTED, REFUSED};
use baton_stack::addr::ConnId;
use handoff_proto::message::{Message, Over};

use crate::Target;

const GOLDEN_IMAGE: &str = include_str!("../../../handoff-proto/src/image/golden_v1.hex");

/// What the fuzzer of `target` begins with.
#[must_use]
pub fn seeds(target: Target) -> Vec<Vec<u8>> {
    match target {
        Target::Tcb => conversations(),
        Target::Image => vec![hex(GOLDEN_IMAGE)],
        Target::Messages => messages(),
        Target::Http => {
            let streams =
                ACCEPTED.iter().map(|accepted| accepted.stream).chain(REFUSED.iter().map(|refused| refused.stream));
            streams.map(|stream| [&[3, 5, 7, 11][..], stream].concat()).collect()
        }
        Target::Nodes => visits(),
    }
}

/// Bytes in pairs of digits; everything else is passed over.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|byte| char::from(byte).to_digit(16)).filter_map(|n| n.try_into().ok()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The SYN with all options, then events.
fn conversations() -> Vec<Vec<u8>> {
    let opening: &[u8] = &[0xff, 0xff, 1, 15, 0xff, 0xff, 5, 0xb4, 7, 0, 0, 0x10];
    let write: &[u8] = &[11, 0x40, 0];
    let acknowledge: &[u8] = &[0, 0, 0x10];
    let moves: &[u8] = &[14, 0, 1, 2, 2];
    let request: &[u8] = &[0, 8, 0x18, 0, 200, 12, 0, 200];
    let sack: &[u8] = &[0, 2 | 16, 0x10, 1, 40, 5, 100, 200, 5, 120];
    let (timer, close, fin): (&[u8], &[u8], &[u8]) = (&[9], &[13], &[0, 0, 0x11]);
    // IPv6, opened from here: SYN and ACK with all options do not come, the plainest do.
    let called: &[u8] = &[0xff, 0xff, 1 | 2 | 4, 0, 0, 32, 0x12];
    let too_big: &[u8] = &[15, 0, 0, 0x05, 0xdc, 0x05, 0x14];
    let (urgent, nagle): (&[u8], &[u8]) = (&[15, 100], &[15, 150, 1 | 16]);
    vec![
        [called, write, too_big, moves, acknowledge, nagle, write, urgent, timer, acknowledge, close, fin].concat(),
        [opening, request, write, acknowledge, moves, acknowledge, close, fin].concat(),
        [opening, write, sack, moves, sack, timer, moves, timer, acknowledge].concat(),
        [opening, fin, moves, write, close, moves, timer, acknowledge].concat(),
        [opening, write, timer, timer, moves, timer, acknowledge, request, moves].concat(),
    ]
}

fn messages() -> Vec<Vec<u8>> {
    let mut over = Vec::new();
    Message::Over(Over { c: ConnId::new(1, 0, 7, 9) }).encode(&mut over);
    // Each kind with a body of some bytes: the fuzzer finds the right lengths from here.
    let kinds = (0..64_u8).map(|kind| [&[kind, 0, 0, 40][..], &[0; 40]].concat());
    kinds.chain([over]).collect()
}

/// A connection each: SYN, request, acknowledgments, time. And two that go to the other back-end: between requests, and in the middle of a pipeline.
fn visits() -> Vec<Vec<u8>> {
    let syn: &[u8] = &[0, 0, 0, 0, 3, 0xe8, 0];
    let acknowledge: &[u8] = &[4, 0];
    let wait: &[u8] = &[7, 10];
    let [here, there]: [&[u8]; 2] = [&[1, 0, 0], &[1, 6, 0]];
    let visit = |said: &[&[u8]]| [&[syn, acknowledge][..], said].concat().concat();
    let phrases = (0..6_u8).map(|phrase| visit(&[&[1, phrase, 0], wait, acknowledge, wait, here, wait]));
    let apart = visit(&[here, wait, acknowledge, wait, there, wait, acknowledge, wait, here, wait, acknowledge]);
    let pipelined = visit(&[here, there, here, wait, acknowledge, wait, acknowledge, wait, acknowledge, wait]);
    phrases.chain([apart, pipelined]).collect()
}
