//! Reductions of the window that turn out to be needless: RFC 4015, RFC 3708, RFC 5682.

use super::script::{SACK, run_with};
use crate::tcp::{Algorithm, TcpConfig};

/// With SACK and timestamps.
const BOTH: &str = "
    0  in  S 0 win 65535 mss 1460 sackok ts 1000:0
    0  out SA 0 ack 1 sackok ts 0:1000
    10 in  A 1 ack 1 win 65535 ts 1010:0 => established
";

/// Four segments of 1,448 bytes, beside timestamps.
const FOUR: &str = "
    20 push 5792
    20 out A 1 len 1448 ts 20:1010
    20 out A 1449 len 1448
    20 out A 2897 len 1448
    20 out PA 4345 len 1448
";

fn play_with(congestion: Algorithm, script: &str) {
    run_with(&TcpConfig { congestion, initial_window_segments: 4, ..TcpConfig::default() }, script, "");
}

fn play(script: &str) {
    play_with(Algorithm::NewReno, script);
}

fn play_both(script: &str) {
    play_with(Algorithm::NewReno, script);
    play_with(Algorithm::Cubic, script);
}

#[test]
fn a_timestamp_tells_that_the_original_came() {
    play_both(&std::format!(
        "{BOTH}{FOUR}
         30 in  A 1 ack 1 sack 1449-5793 ts 1020:20 =>
         30 out A 1 len 1448 ts 30:1020
         # The echo is older than what was sent again.
         31 in  A 1 ack 5793 ts 1021:20 => acked
         31 cwnd 11584"
    ));
    // Not so: it was lost.
    play(&std::format!(
        "{BOTH}{FOUR}
         30 in  A 1 ack 1 sack 1449-5793 ts 1020:20 =>
         30 out A 1 len 1448 ts 30:1020
         40 in  A 1 ack 5793 ts 1030:30 => acked
         50 push 2896
         50 out A 5793 len 1448
         50 out PA 7241 len 1448
         51 push 4344
         60 in  A 1 ack 8689 ts 1050:50 => acked
         60 out A 8689 len 1448
         60 out A 10137 len 1448
         60 out PA 11585 len 1448"
    ));
}

#[test]
fn a_late_acknowledgment_ends_a_timeout_that_was_needless() {
    // The probe after two round trips, the timer 200 ms behind it; then everything comes.
    play_both(&std::format!(
        "{BOTH}{FOUR}
         40  out PA 4345 len 1448 ts 40:1010
         240 out A 1 len 1448 ts 240:1010
         240 cwnd 1448
         250 in  A 1 ack 2897 ts 1250:20 => acked
         # Nothing more goes again.
         250 cwnd 8688
         251 in  A 1 ack 5793 ts 1251:20 => acked"
    ));
    // Without timestamps: what was sent only once is acknowledged.
    play_both(&std::format!(
        "{SACK}
         20  push 5840
         20  out A 1 len 1460 times 3
         20  out PA 4381 len 1460
         40  out PA 4381 len 1460
         240 out A 1 len 1460
         250 in  A 1 ack 2921 => acked
         250 cwnd 8760
         251 in  A 1 ack 5841 => acked"
    ));
    // A timeout that was none.
    play_both(&std::format!(
        "{BOTH}{FOUR}
         40  out PA 4345 len 1448 ts 40:1010
         240 out A 1 len 1448 ts 240:1010
         250 in  A 1 ack 1449 ts 1250:240 => acked
         250 cwnd 2896
         250 out A 1449 len 1448
         250 out A 2897 len 1448
         260 in  A 1 ack 5793 ts 1260:250 => acked"
    ));
}

#[test]
fn duplicates_that_the_peer_reports_take_the_reduction_back() {
    // RFC 3708: all that was sent again is reported, after the recovery is over.
    let begin = std::format!(
        "{SACK}
         20 push 5840
         20 out A 1 len 1460 times 3
         20 out PA 4381 len 1460
         30 in  A 1 ack 1 sack 1461-5841 =>
         30 out A 1 len 1460
         31 in  A 1 ack 5841 => acked
         31 cwnd 2920"
    );
    // Slow start up to where it was: one segment more for each.
    play(&std::format!(
        "{begin}
         40 in  A 1 ack 5841 sack 1-1461 =>
         50 push 2920
         50 out A 5841 len 1460
         50 out PA 7301 len 1460
         60 in  A 1 ack 8761 => acked
         60 cwnd 5840"
    ));
    // One that comes a round trip later is of something else.
    play(&std::format!(
        "{begin}
         50 push 2920
         50 out A 5841 len 1460
         50 out PA 7301 len 1460
         60 in  A 1 ack 8761 => acked
         65 in  A 1 ack 8761 sack 1-1461 =>
         70 push 4380
         70 out A 8761 len 1460
         70 out A 10221 len 1460
         70 out PA 11681 len 1460
         80 in  A 1 ack 13141 => acked
         80 cwnd 5840"
    ));
}
