//! Windows: closed, small, opened again, on both sides (RFC 9293 section 3.8.6).

use super::script::{PLAIN, SACK, ms, run, run_with};
use crate::tcp::TcpConfig;

#[test]
fn a_closed_window_is_probed_until_it_opens() {
    run(
        PLAIN,
        "20   in  A 1 ack 1 win 0 =>
         30   push 1000
         230  out A 0 ack 1
         235  in  A 1 ack 1 win 0 =>
         630  out A 0 ack 1
         635  in  A 1 ack 1 win 0 =>
         1430 out A 0 ack 1
         1500 in  A 1 ack 1 win 65535 =>
         1500 out PA 1 len 1000",
    );
}

#[test]
fn a_peer_that_answers_probes_is_never_given_up() {
    // RFC 9293 section 3.8.6.1, MUST-37; RTO_MAX is a second here.
    let config = TcpConfig { rto_max: ms(1_000), data_retries: 3, ..TcpConfig::default() };
    let mut script = std::string::String::from("20 in A 1 ack 1 win 0\n30 push 1000\n");
    let mut at = 30;
    for wait in [200, 400, 800].into_iter().chain([1_000; 20]) {
        at += wait;
        script += &std::format!("{at} out A 0 ack 1\n{at} in A 1 ack 1 win 0 =>\n");
    }
    run_with(&config, PLAIN, &script);
    // One that is silent is.
    run_with(
        &config,
        PLAIN,
        "20   in  A 1 ack 1 win 0
         30   push 1000
         230  out A 0 ack 1
         630  out A 0 ack 1
         1430 out A 0 ack 1
         2430 out RA 1 ack 1
         2430 state Closed",
    );
}

#[test]
fn a_window_that_closes_over_data_in_flight_gives_nobody_up() {
    let config = TcpConfig { rto_max: ms(400), data_retries: 3, ..TcpConfig::default() };
    let mut script = std::string::String::from("20 push 1000\n20 out PA 1 len 1000\n");
    let mut at = 20;
    for wait in [200].into_iter().chain([400; 12]) {
        at += wait;
        script += &std::format!("{at} out PA 1 len 1000 ack 1\n{at} in A 1 ack 1 win 0 =>\n");
    }
    run_with(&config, PLAIN, &script);
}

#[test]
fn a_window_too_small_for_a_segment_waits_for_the_override() {
    // RFC 9293 section 3.8.6.2.1: neither a full segment, nor all, nor half the greatest window.
    run(
        PLAIN,
        "20  push 1460
         20  out PA 1 len 1460
         30  in  A 1 ack 1461 win 100 => acked
         40  push 1000
         # RTO = 10 + max(4 * 3.75, ...), at least 200 ms.
         240 out A 1461 len 100
         250 in  A 1 ack 1561 win 100 => acked
         450 out A 1561 len 100
         460 in  A 1 ack 1661 win 800 => acked
         460 out PA 1661 len 800",
    );
}

#[test]
fn half_the_greatest_window_is_worth_a_segment() {
    run(
        "",
        "0  in  S 0 win 1000 mss 1460
         0  out SA 0 ack 1
         10 in  A 1 ack 1 win 1000
         20 push 1400
         20 out A 1 len 1000
         30 in  A 1 ack 1001 win 500 => acked
         30 out PA 1001 len 400",
    );
}

#[test]
fn fin_waits_behind_data_but_for_no_window() {
    run(
        PLAIN,
        "20  in  A 1 ack 1 win 0
         30  push 100
         31  close
         230 out A 0 ack 1
         240 in  A 1 ack 1 win 1000
         240 out FPA 1 len 100",
    );
    run(PLAIN, "20 in A 1 ack 1 win 0\n30 close\n30 out FA 1 ack 1");
}

#[test]
fn an_old_segment_does_not_change_the_window() {
    run(
        PLAIN,
        "20 in  PA 1 len 10 ack 1 win 5000 => received
         25 read 10
         30 in  A 1 ack 1 win 100 => OutOfWindow
         30 out A 1 ack 11
         31 push 5000
         31 out A 1 len 1460 times 3
         31 out PA 4381 len 620",
    );
}

#[test]
fn data_sent_again_brings_the_latest_window() {
    // Its number is below WL1, its acknowledgment and window are new.
    run(
        PLAIN,
        "20 push 4000
         20 out A 1 len 1460
         20 out A 1461 len 1460
         20 out PA 2921 len 1080
         25 in  PA 101 len 100 ack 1 win 4000 =>
         25 out A 4001 ack 1
         30 in  PA 1 len 100 ack 4001 win 0 => received acked
         30 out A 4001 ack 201
         31 read 200
         40 push 100
         240 out A 4000 ack 201",
    );
}

#[test]
fn our_window_closes_and_opens_again() {
    let config = TcpConfig { recv_buffer_bytes: 2_920, ..TcpConfig::default() };
    run_with(
        &config,
        "",
        "0  in  S 0 win 65535 mss 1460
         0  out SA 0 ack 1 win 2920
         10 in  A 1 ack 1
         20 in  A 1 len 1460 ack 1 => received
         21 in  A 1461 len 1460 ack 1 => received
         21 out A 1 ack 2921 win 0
         # A probe with one byte, and one without.
         30 in  A 2921 len 1 ack 1 => OutOfWindow
         30 out A 1 ack 2921 win 0
         31 in  A 2920 ack 1 => OutOfWindow
         31 out A 1 ack 2921 win 0
         # RFC 9293 section 3.8.6.2.2: not by crumbs.
         40 read 100
         41 read 1359
         42 read 1
         42 out A 1 ack 2921 win 1460
         43 read 1460
         43 out A 1 ack 2921 win 2920",
    );
}

#[test]
fn acknowledgments_that_come_into_a_closed_window_count() {
    let config = TcpConfig { recv_buffer_bytes: 1_000, ..TcpConfig::default() };
    run_with(
        &config,
        "",
        "0  in  S 0 win 65535 mss 1460
         0  out SA 0 ack 1 win 1000
         10 in  A 1 ack 1
         15 push 10
         15 out PA 1 len 10
         20 in  A 1 len 1000 ack 1 => received
         60 out A 11 ack 1001 win 0
         70 in  A 1001 ack 11 => acked
         71 in  A 1001 len 1 ack 11 => OutOfWindow
         71 out A 11 ack 1001 win 0",
    );
}

#[test]
fn reading_at_once_does_not_acknowledge_each_segment() {
    run(
        PLAIN,
        "20 in  A 1 len 1460 ack 1 => received
         20 read 1460
         21 in  A 1461 len 1460 ack 1 => received
         21 out A 1 ack 2921
         21 read 1460
         22 in  A 2921 len 1460 ack 1 => received
         22 read 1460
         62 out A 1 ack 4381",
    );
}

#[test]
fn acknowledgments_wait_or_ride_along() {
    run(
        PLAIN,
        "20 in  PA 1 len 10 ack 1 => received
         60 out A 1 ack 11
         70 in  PA 11 len 10 ack 1 => received
         75 push 5
         75 out PA 1 len 5 ack 21
         90 read 20",
    );
    // Small segments: no more than two wait.
    run(
        PLAIN,
        "20 in  PA 1 len 10 ack 1
         21 in  PA 11 len 10 ack 1
         22 in  PA 21 len 10 ack 1
         22 out A 1 ack 31",
    );
    // A gap, and what fills it, are told at once (RFC 5681 section 4.2).
    run(
        SACK,
        "20 in  PA 11 len 10 ack 1
         20 out A 1 ack 1 sack 11-21
         21 in  PA 31 len 10 ack 1
         21 out A 1 ack 1 sack 31-41,11-21
         22 in  PA 1 len 10 ack 1 => received
         22 out A 1 ack 21 sack 31-41
         23 in  PA 1 len 10 ack 1 => OutOfWindow
         23 out A 1 ack 21 sack 1-11,31-41
         24 in  PA 21 len 10 ack 1 => received
         24 out A 1 ack 41 sack -",
    );
}

#[test]
fn what_is_beyond_the_window_is_cut_off() {
    let config = TcpConfig { recv_buffer_bytes: 1_000, ..TcpConfig::default() };
    run_with(
        &config,
        "",
        "0  in  S 0 win 65535 mss 1460
         0  out SA 0 ack 1 win 1000
         10 in  A 1 ack 1
         20 in  FA 1 len 1200 ack 1 => received
         20 out A 1 ack 1001 win 0
         20 state Established
         30 read 1000
         30 out A 1 ack 1001 win 1000
         40 in  FA 1001 len 200 ack 1 => received finished
         40 out A 1 ack 1202
         40 read 200",
    );
}

#[test]
fn an_idle_peer_is_asked_whether_it_lives() {
    let config = TcpConfig { keepalive: Some(ms(10_000)), ..TcpConfig::default() };
    run_with(
        &config,
        PLAIN,
        "10010 out A 0 ack 1
         10020 in  A 1 ack 1 =>
         20020 out A 0 ack 1
         21270 out A 0 ack 1
         22520 out A 0 ack 1
         23770 out A 0 ack 1
         25020 out A 0 ack 1
         26270 out RA 1 ack 1
         26270 state Closed",
    );
}

#[test]
fn probes_are_as_many_and_as_far_apart_as_was_set() {
    let (keepalive, keepalive_interval) = (Some(ms(10_000)), Some(ms(700)));
    let config = TcpConfig { keepalive, keepalive_interval, keepalive_probes: 2, ..TcpConfig::default() };
    run_with(
        &config,
        PLAIN,
        "10010 out A 0 ack 1
         10710 out A 0 ack 1
         11410 out RA 1 ack 1
         11410 state Closed",
    );
}

#[test]
fn keepalive_does_not_count_what_is_sent_again() {
    let config = TcpConfig { keepalive: Some(ms(1_000)), rto_max: ms(500), data_retries: 12, ..TcpConfig::default() };
    let mut script =
        std::string::String::from("20 push 10\n20 out PA 1 len 10\n220 out PA 1 len 10\n620 out PA 1 len 10\n");
    for n in 1..=10 {
        script += &std::format!("{} out PA 1 len 10\n", 620 + 500 * n);
    }
    script += "6120 out RA 11 ack 1";
    run_with(&config, PLAIN, &script);
}

#[test]
fn silence_about_what_was_sent_has_a_limit_of_time() {
    // RFC 9293 section 3.8.3, MUST-21: between two repetitions, exactly when the time is over.
    let config = TcpConfig { user_timeout: Some(ms(1_000)), ..TcpConfig::default() };
    run_with(
        &config,
        PLAIN,
        "20   push 100
         20   out PA 1 len 100
         220  out PA 1 len 100
         620  out PA 1 len 100
         # More of it does not begin the time anew; an answer does.
         700  push 100
         700  out PA 101 len 100
         1019 in  A 1 ack 101 => acked
         1819 out PA 101 len 100
         2019 out RA 201 ack 1
         2019 state Closed",
    );
    // Idle connections have all the time.
    run_with(&config, PLAIN, "20 push 100\n20 out PA 1 len 100\n30 in A 1 ack 101\n90000 state Established");
}

#[test]
fn silence_about_a_closed_window_has_a_limit_of_time() {
    let config = TcpConfig { user_timeout: Some(ms(1_000)), ..TcpConfig::default() };
    run_with(
        &config,
        PLAIN,
        "20   in  A 1 ack 1 win 0
         5000 push 1000
         5200 out A 0 ack 1
         5600 out A 0 ack 1
         # MUST-37: while it answers, it may keep its window closed.
         5900 in  A 1 ack 1 win 0 =>
         6400 out A 0 ack 1
         6900 out RA 1 ack 1
         6900 state Closed",
    );
}
