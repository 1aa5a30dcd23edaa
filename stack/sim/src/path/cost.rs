//! What moves cost: a response of 1 MB that goes on at another node every 50 KB, against the same that stays.

use std::hash::Hasher;

use baton_stack::tcp::{Algorithm, TcpConfig};
use baton_stack::time::{Duration, Instant};

use super::host::Journey;
use super::peer::{Peer, PeerSettings};
use super::{Path, seeds, way};
use crate::link::LinkSettings;

const RESPONSE_LEN: u64 = 1_000_000;
/// Bytes sent between two moves.
const STRIDE: u64 = 50_000;
const DELAY: Duration = Duration::from_millis(20);
const LOSS_PPM: u32 = 10_000;
/// Bits per second.
const BANDWIDTH: u64 = 50_000_000;
/// How long an image is on its way.
const IMAGE_TAKES: Duration = Duration::from_micros(300);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Transfer {
    /// From the peer's SYN to the last byte that it missed.
    took: Duration,
    moves: u32,
    /// Of all frames that the peer was sent, with their times.
    trace: u64,
}

fn transfer(seed: u64, congestion: Algorithm, journey: Option<Journey>) -> Transfer {
    // Fast enough to be no bottleneck at this loss, and slow enough that a window does not arrive in one moment.
    let lossy = LinkSettings { loss_ppm: LOSS_PPM, bandwidth: Some(BANDWIDTH), ..way(DELAY) };
    let mut path = Path::new(seed, lossy, lossy);
    let config = TcpConfig { congestion, ..TcpConfig::default() };
    let n = path.connect(Instant::ZERO, &config, Peer::new(PeerSettings::default()));
    let end = Instant::ZERO + Duration::from_secs(600);
    assert!(path.play(end, |path| path.host(n).tcb().is_some() && path.peer(n).is_open()), "nobody answers");
    path.host(n).push(PeerSettings::default().seed, RESPONSE_LEN);
    let mut next = STRIDE;
    let is_heard = path.play(end, |path| {
        if let Some(journey) = journey
            && path.host(n).sent() >= next
            && next < RESPONSE_LEN
            && path.move_on(n, journey)
        {
            next += STRIDE;
        }
        path.peer(n).heard() == RESPONSE_LEN
    });
    assert!(is_heard, "it never comes: {path:#?}");
    Transfer { took: path.now.since(Instant::ZERO), moves: path.host(n).moved, trace: path.trace.finish() }
}

#[test]
fn a_response_that_moves_leaves_segment_by_segment_as_one_that_stays() {
    for congestion in [Algorithm::Cubic, Algorithm::NewReno] {
        for seed in 0..seeds(25) {
            let stays = transfer(seed, congestion, None);
            let moves = transfer(seed, congestion, Some(Journey::Exact));
            assert_eq!((stays.moves, moves.moves), (0, 19), "{congestion:?}, seed {seed}");
            assert_eq!((stays.took, stays.trace), (moves.took, moves.trace), "{congestion:?}, seed {seed}");
        }
    }
}

/// Issue: within 3 %. Losses fall on other segments once a move has shifted a segment by some microseconds, so that one pair says
/// nothing; the mean of many does.
#[test]
fn a_response_that_moves_between_nodes_takes_as_long_as_one_that_stays() {
    let seeds = seeds(300);
    for congestion in [Algorithm::Cubic, Algorithm::NewReno] {
        let mean = |journey: Option<Journey>| {
            let took = (0..seeds).map(|seed| transfer(seed, congestion, journey).took);
            took.sum::<Duration>() / u32::try_from(seeds).unwrap()
        };
        let (stays, moves) = (mean(None), mean(Some(Journey::Real(IMAGE_TAKES))));
        let ratio = moves.as_secs_f64() / stays.as_secs_f64();
        println!("{congestion:?}, {seeds} transfers: {stays:.3?} in one place, {moves:.3?} moving, ratio {ratio:.4}");
        assert!((0.97..1.03).contains(&ratio), "{congestion:?}: {stays:?} in one place, {moves:?} moving");
    }
}
