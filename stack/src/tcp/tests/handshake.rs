//! The passive open: what is agreed on, and what goes wrong on the way.

use super::script::{PLAIN, ms, run, run_with};
use crate::tcp::TcpConfig;

#[test]
fn options_are_used_exactly_when_both_offer_them() {
    run(
        "",
        "0  in  S 0 win 1000
         0  out SA 0 ack 1 win 65535 mss 1460 sack -
         10 in  A 1 ack 1 win 1000 => established
         20 push 600
         # RFC 9293 section 3.7.1: 536 where nothing is said.
         20 out A 1 len 536
         20 out PA 537 len 64",
    );
    run(
        "",
        "0  in  S 0 win 65535 mss 1460 sackok ts 7:0 ws 7
         0  out SA 0 ack 1 win 65535 mss 1460 sackok ts 0:7 ws 1
         10 in  A 1 ack 1 win 23 ts 8:0 => established
         20 push 4000
         # The window is 23 << 7.
         20 out A 1 len 1448 ts 20:8
         20 out A 1449 len 1448 ts 20:8
         30 in  A 1 ack 2897 win 23 ts 9:20 => acked
         30 out PA 2897 len 1104 ts 30:9",
    );
    // Timestamps take twelve bytes of each segment.
    run(
        "",
        "0  in  S 0 win 65535 mss 1000 ts 7:0
         0  out SA 0 ack 1 ts 0:7
         10 in  A 1 ack 1 ts 8:0 => established
         20 push 1500
         20 out A 1 len 988
         20 out PA 989 len 512",
    );
    // RFC 7323 section 2.3: a greater shift than 14 is 14.
    run(
        "",
        "0  in  S 0 win 65535 mss 1460 ws 200
         0  out SA 0 ack 1 ws 1
         10 in  A 1 ack 1 win 1
         20 push 16384
         20 out A 1 len 1460 times 10",
    );
}

#[test]
fn what_is_no_syn_opens_nothing() {
    for flags in ["A", "SA", "SR", "SF", "R"] {
        run("", &std::format!("0 in {flags} 0 ack 1 => UnexpectedSegment"));
    }
}

#[test]
fn a_small_mtu_is_told() {
    let config = TcpConfig { mtu: 600, ..TcpConfig::default() };
    run_with(
        &config,
        "",
        "0  in  S 0 win 65535 mss 1460
         0  out SA 0 ack 1 mss 560
         10 in  A 1 ack 1
         20 push 600
         20 out A 1 len 560
         20 out PA 561 len 40",
    );
}

#[test]
fn the_syn_ack_is_repeated_and_given_up() {
    run_with(
        &TcpConfig { syn_ack_retries: 5, ..TcpConfig::default() },
        "",
        "0     in  S 0 win 65535 mss 1460
         0     out SA 0 ack 1
         1000  out SA 0 ack 1
         3000  out SA 0 ack 1
         7000  out SA 0 ack 1
         15000 out SA 0 ack 1
         31000 out SA 0 ack 1
         62999 state SynReceived
         63000 state Closed",
    );
}

#[test]
fn a_repeated_syn_is_answered_again() {
    run(
        "",
        "0   in  S 0 win 65535 mss 1460 ts 100:0
         0   out SA 0 ack 1 ts 0:100
         900 in  S 0 win 65535 mss 1460 ts 1000:0
         900 out SA 0 ack 1 ts 900:1000
         # Not 10 ms after the second: which one is answered is not known but for the timestamp.
         910 in  A 1 ack 1 ts 1010:0 => established
         920 push 10
         920 out PA 1 len 10
         # RTO = 910 + 4 * 455.
         3650 out PA 1 len 10",
    );
}

#[test]
fn a_repeated_syn_tells_no_round_trip_time() {
    run(
        "",
        "0    in  S 0 win 65535 mss 1460
         0    out SA 0 ack 1
         900  in  S 0 win 65535 mss 1460
         900  out SA 0 ack 1
         910  in  A 1 ack 1 => established
         920  push 10
         920  out PA 1 len 10
         1920 out PA 1 len 10",
    );
}

#[test]
fn after_a_lost_syn_ack_it_begins_with_care() {
    // RFC 5681 section 3.1: one segment. RFC 6298 section 5.7: three seconds.
    run(
        "",
        "0    in  S 0 win 65535 mss 1460
         0    out SA 0 ack 1
         1000 out SA 0 ack 1
         1010 in  A 1 ack 1 => established
         1020 push 5000
         1020 out A 1 len 1460
         4020 out A 1 len 1460",
    );
}

#[test]
fn data_may_come_with_or_instead_of_the_third_acknowledgment() {
    run(
        "",
        "0  in  S 0 win 65535 mss 1460
         0  out SA 0 ack 1
         10 in  PA 1 len 100 ack 1 => received established
         50 out A 1 ack 101
         60 read 100",
    );
    run(
        "",
        "0  in  S 0 win 65535 mss 1460 sackok
         0  out SA 0 ack 1
         10 in  PA 101 len 100 ack 1 => established
         10 out A 1 ack 1 sack 101-201
         11 in  PA 1 len 100 ack 1 => received
         11 out A 1 ack 201 sack -
         12 read 200",
    );
    run(
        "",
        "0  in  S 0 win 65535 mss 1460
         0  out SA 0 ack 1
         10 in  FPA 1 len 100 ack 1 => received established finished
         10 out A 1 ack 102
         10 state CloseWait",
    );
}

#[test]
fn in_syn_received_only_what_fits_counts() {
    run(
        "",
        "0  in  S 0 win 65535 mss 1460 ts 100:0
         0  out SA 0 ack 1
         # Not our number.
         10 in  A 1 ack 2 ts 101:0 => BadAck
         11 in  A 1 ack 0 ts 101:0 => BadAck
         # A reset must have the very next number; one elsewhere in the window is challenged.
         12 in  R 100000 => BadReset
         12 in  R 2 => BadReset
         12 out A 1 ack 1
         # Out of the window, or old: told where we are.
         13 in  A 70000 ack 1 ts 101:0 => OutOfWindow
         13 out A 1 ack 1
         14 in  PA 1 len 10 ack 1 ts 99:0 => Paws
         14 out A 1 ack 1
         14 state SynReceived
         20 in  R 1 => closed
         20 state Closed",
    );
}

#[test]
fn a_client_that_begins_anew_learns_of_the_old_syn() {
    // RFC 9293 section 3.5.1: it answers our acknowledgment with a reset, and then its SYN is welcome.
    run(
        "",
        "0  in  S 0 win 65535 mss 1460
         0  out SA 0 ack 1
         10 in  S 5000 win 65535 mss 1460 => UnexpectedSegment
         10 out A 1 ack 1
         20 in  R 1 => closed",
    );
}

#[test]
fn an_open_connection_challenges_a_syn() {
    // RFC 5961 section 4.2.
    run(
        PLAIN,
        "20 in  S 0 win 65535 mss 1460 => UnexpectedSegment
         20 out A 1 ack 1
         21 in  S 5000 win 65535 mss 1460 => UnexpectedSegment
         21 out A 1 ack 1
         21 state Established",
    );
}

#[test]
fn windows_are_not_scaled_in_the_handshake() {
    let config = TcpConfig { recv_buffer_bytes: 1 << 20, delayed_ack: ms(0), ..TcpConfig::default() };
    run_with(
        &config,
        "",
        "0  in  S 0 win 65535 mss 1460 ws 2
         0  out SA 0 ack 1 win 65535 ws 5
         10 in  PA 1 len 32 ack 1 win 10
         10 out A 1 ack 33 win 32767",
    );
}
