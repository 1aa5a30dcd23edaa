//! Many bytes over 40 ms, in virtual time: against theory, and without silence.

use super::host::Moves;
use super::pair::{Link, Plan, Report, play};
use super::smol::ClientConfig;
use crate::tcp::{Algorithm, TcpConfig};
use crate::time::Duration;

const TEN_MEGABYTES: u32 = 10_000_000;

fn send(bytes: u32, loss: u32, congestion: Algorithm, seed: u64, moves: Moves) -> Report {
    let plan = Plan {
        seed,
        link: Link { loss, doubled: 0, delay_us: 20_000, jitter_us: 0, gap_us: 10 },
        client: ClientConfig {
            seed,
            mtu: 1_500,
            receive_buffer: 2_000_000,
            send_buffer: 10_000,
            timestamps: true,
            ack_delay: Some(Duration::from_millis(10)),
        },
        server: TcpConfig { congestion, ..TcpConfig::default() },
        exchanges: std::vec![(0, bytes)],
        in_turn: true,
        server_closes: true,
        slow_readers: false,
    };
    play(&plan, moves)
}

#[test]
fn without_loss_the_window_is_the_limit() {
    // 524,288 bytes a round trip: 0.76 s, and some five round trips of slow start.
    for congestion in [Algorithm::Cubic, Algorithm::NewReno] {
        let report = send(TEN_MEGABYTES, 0, congestion, 1, Moves::Never);
        assert!(report.took < Duration::from_millis(1_500), "{congestion:?} {:?}", report.took);
        assert!(report.silence <= Duration::from_millis(41), "{congestion:?} {:?}", report.silence);
    }
}

#[test]
fn with_one_percent_loss_it_is_as_fast_as_theory_says() {
    // Mathis: MSS / RTT * sqrt(3/2 / p) = 443 KB/s; 22.6 s. CUBIC is in its Reno-friendly region here.
    for congestion in [Algorithm::Cubic, Algorithm::NewReno] {
        for seed in 1..4 {
            let report = send(TEN_MEGABYTES, 10, congestion, seed, Moves::Never);
            let took = report.took;
            assert!(Duration::from_secs(11) < took && took < Duration::from_secs(45), "{congestion:?} {took:?}");
            // A segment lost twice waits for the timer: 200 ms, or 400 where that is lost as well.
            assert!(report.silence < Duration::from_millis(900), "{congestion:?} {:?}", report.silence);
        }
    }
}

fn upload(bytes: u32, recv_buffer_max_bytes: u32, timestamps: bool, moves: Moves) -> Report {
    let plan = Plan {
        seed: 1,
        link: Link { loss: 0, doubled: 0, delay_us: 20_000, jitter_us: 0, gap_us: 10 },
        client: ClientConfig {
            seed: 1,
            mtu: 1_500,
            receive_buffer: 65_535,
            send_buffer: 4_000_000,
            timestamps,
            ack_delay: Some(Duration::from_millis(10)),
        },
        server: TcpConfig { recv_buffer_max_bytes, ..TcpConfig::default() },
        exchanges: std::vec![(bytes, 1)],
        in_turn: true,
        server_closes: true,
        slow_readers: false,
    };
    play(&plan, moves)
}

#[test]
fn an_upload_over_a_long_way_has_a_window_that_grows() {
    let ms = Duration::from_millis;
    // 65,536 bytes a round trip: 6.1 s.
    let small = upload(TEN_MEGABYTES, 65_536, true, Moves::Never).took;
    assert!(ms(6_000) < small && small < ms(7_000), "{small:?}");
    for timestamps in [true, false] {
        // 393,216 bytes a round trip would be 1.02 s, 1,048,576 bytes 0.38 s; a few round trips go by until it has grown.
        let default = upload(TEN_MEGABYTES, 393_216, timestamps, Moves::Never).took;
        assert!(default < ms(1_400), "{timestamps} {default:?}");
        let large = upload(TEN_MEGABYTES, 1_048_576, timestamps, Moves::Never).took;
        assert!(large < ms(800), "{timestamps} {large:?}");
    }
}

#[test]
fn a_window_that_has_grown_moves_on() {
    let [stays, moves] = [Moves::Never, Moves::WhereExact].map(|moves| upload(2_000_000, 393_216, true, moves));
    assert!(moves.moved > 1_000);
    assert_eq!(stays.took, moves.took);
}

#[test]
fn moving_at_each_step_costs_nothing() {
    let [stays, moves] = [Moves::Never, Moves::WhereExact].map(|moves| send(1_000_000, 0, Algorithm::Cubic, 1, moves));
    assert!(moves.moved > 1_000);
    assert_eq!(stays.took, moves.took);
}
