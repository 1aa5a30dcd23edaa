//! What is lost, and how it is found and sent again: RFC 6298, 5681, 6582, 6675, 2018.

use super::script::{PLAIN, SACK, STAMPS, ms, run, run_with};
use crate::ecn::Ecn;
use crate::tcp::{Algorithm, TcpConfig};

/// Ten segments in flight: the initial window (RFC 6928), of twenty.
const TEN_SENT: &str = "
    20 push 29200
    20 out A 1 len 1460 times 10
";

fn reno() -> TcpConfig {
    TcpConfig { congestion: Algorithm::NewReno, ..TcpConfig::default() }
}

fn opened(opening: &str, then: &str) -> std::string::String {
    std::format!("{opening}{then}")
}

#[test]
fn the_timer_backs_off_and_gives_up() {
    let config = TcpConfig { data_retries: 3, ..TcpConfig::default() };
    run_with(
        &config,
        PLAIN,
        "20   push 100
         20   out PA 1 len 100
         220  out PA 1 len 100
         620  out PA 1 len 100
         1420 out PA 1 len 100
         3020 out RA 101 ack 1
         3020 state Closed",
    );
}

#[test]
fn only_a_sample_ends_the_backoff() {
    // RFC 6298 section 5 and Karn: which sending is acknowledged cannot be told.
    run(
        PLAIN,
        "20   push 100
         20   out PA 1 len 100
         220  out PA 1 len 100
         600  in  A 1 ack 101 => acked
         700  push 100
         700  out PA 101 len 100
         # Twice 200 ms still.
         1100 out PA 101 len 100
         1150 in  A 1 ack 201 => acked
         2000 push 100
         2000 out PA 201 len 100
         2290 in  A 1 ack 301 => acked
         2400 push 100
         2400 out PA 301 len 100
         # A sample at last: SRTT = 8.75 + 36.25 = 45, RTTVAR = 3.75 + 70 = 73.75.
         2740 out PA 301 len 100",
    );
    // A timestamp tells.
    run(
        STAMPS,
        "20   push 100
         20   out PA 1 len 100 ts 20:1010
         220  out PA 1 len 100 ts 220:1010
         230  in  A 1 ack 101 ts 1230:220 => acked
         300  push 100
         300  out PA 101 len 100
         500  out PA 101 len 100",
    );
}

#[test]
fn three_duplicates_and_it_is_sent_again() {
    // RFC 5681 section 3.2, RFC 6582 section 3.2: one segment for each acknowledgment, window halved.
    run_with(
        &reno(),
        &opened(PLAIN, TEN_SENT),
        "30 in  A 1 ack 1 =>
         # The first two let out what is new (RFC 3042).
         30 out A 14601 len 1460
         31 in  A 1 ack 1 =>
         31 out A 16061 len 1460
         32 in  A 1 ack 1 =>
         32 out A 1 len 1460
         32 cwnd 7300
         33 in  A 1 ack 1 =>
         34 in  A 1 ack 1 =>
         35 in  A 1 ack 1 =>
         36 in  A 1 ack 1 =>
         37 in  A 1 ack 1 =>
         # Eight of twelve have left; from now on each lets one segment out.
         37 out A 17521 len 1460
         38 in  A 1 ack 1 =>
         38 out A 18981 len 1460
         39 in  A 1 ack 1 =>
         39 out A 20441 len 1460
         40 in  A 1 ack 1 =>
         40 out A 21901 len 1460
         50 in  A 1 ack 17521 => acked
         50 cwnd 7300
         50 out A 23361 len 1460",
    );
}

#[test]
fn a_burst_of_acknowledgments_is_no_reason_to_slow_down_by_more() {
    // RFC 9438 section 4.6: 0.7 of the window. The first acknowledgment made it 20440, and the second finds 8760 in flight only because what
    // the first one lets out has not left yet.
    run(
        SACK,
        &opened(
            TEN_SENT,
            "30 burst A 1 ack 5841 => acked
             30 in  A 1 ack 5841 sack 7301-11681 =>
             30 out A 5841 len 1460
             30 out A 14601 len 1460
             30 out A 16061 len 1460
             50 in  A 1 ack 17521 => acked
             50 cwnd 14308
             50 out A 17521 len 1460
             50 out A 18981 len 1460
             50 out A 20441 len 1460
             50 out A 21901 len 1460
             50 out A 23361 len 1460
             50 out A 24821 len 1460
             50 out A 26281 len 1460
             50 out PA 27741 len 1460",
        ),
    );
}

#[test]
fn a_partial_acknowledgment_shows_the_next_hole() {
    run_with(
        &reno(),
        &opened(PLAIN, TEN_SENT),
        "30 in  A 1 ack 1 =>
         30 out A 14601 len 1460
         31 in  A 1 ack 1 =>
         31 out A 16061 len 1460
         32 in  A 1 ack 1 =>
         32 out A 1 len 1460
         40 in  A 1 ack 2921 => acked
         40 out A 2921 len 1460
         41 in  A 1 ack 17521 => acked
         41 cwnd 7300
         41 out A 17521 len 1460 times 5",
    );
}

#[test]
fn duplicates_that_say_something_else_do_not_count() {
    // RFC 5681 section 2: the same window, no data, no FIN.
    run_with(
        &reno(),
        &opened(PLAIN, TEN_SENT),
        "30 in  A 1 ack 1 win 60000 =>
         31 in  A 1 ack 1 win 61000 =>
         32 in  A 1 ack 1 win 62000 =>
         33 in  PA 1 len 10 ack 1 win 62000 => received
         34 in  A 11 ack 1 win 62000 =>
         # The first and the second (RFC 3042).
         34 out A 14601 len 1460 ack 11
         35 in  A 11 ack 1 win 62000 =>
         35 out A 16061 len 1460",
    );
}

#[test]
fn holes_between_sacked_ranges_are_sent_again_once() {
    // RFC 6675: the first and the fourth segment are lost.
    run_with(
        &reno(),
        &opened(SACK, TEN_SENT),
        "30 in  A 1 ack 1 sack 1461-2921 =>
         # What is SACKed has left the network.
         30 out A 14601 len 1460
         31 in  A 1 ack 1 sack 1461-4381 =>
         31 out A 16061 len 1460
         32 in  A 1 ack 1 sack 5841-7301,1461-4381 =>
         32 out A 1 len 1460
         # Half of ten, in proportion (RFC 6937): 7 in flight, and this one.
         32 cwnd 11680
         33 in  A 1 ack 1 sack 5841-8761,1461-4381 =>
         34 in  A 1 ack 1 sack 5841-10221,1461-4381 =>
         35 in  A 1 ack 1 sack 5841-11681,1461-4381 =>
         36 in  A 1 ack 1 sack 5841-13141,1461-4381 =>
         # The fourth has three segments above it, and now there is room.
         36 out A 4381 len 1460
         # What was sent again has come; the tenth, sent long before it, has not: lost (RFC 8985).
         50 in  A 1 ack 4381 sack 14601-17521,5841-13141 => acked
         50 out A 13141 len 1460
         50 out A 17521 len 1460 times 3
         52 in  A 1 ack 13141 sack 14601-17521 => acked
         52 out A 21901 len 1460",
    );
}

#[test]
fn fin_within_what_is_lost() {
    run(
        SACK,
        "20 push 4000
         20 out A 1 len 1460
         20 out A 1461 len 1460
         20 out PA 2921 len 1080
         21 close
         21 out FA 4001 ack 1
         # The last data and FIN are lost.
         30 in  A 1 ack 2921 => acked
         230 out FPA 2921 len 1080 ack 1
         240 in  A 1 ack 4002 => acked
         240 state FinWait2",
    );
    run(
        SACK,
        "20 push 100
         20 out PA 1 len 100
         21 close
         21 out FA 101 ack 1
         # FIN came, the data did not: the data alone goes again.
         30 in  A 1 ack 1 sack 101-102 =>
         # A round trip of 9 ms and a quarter more.
         31.250 out PA 1 len 100
         40 in  A 1 ack 102 => acked",
    );
}

#[test]
fn after_a_timeout_everything_is_sent_again_in_slow_start() {
    run_with(
        &reno(),
        &opened(SACK, TEN_SENT),
        "# The tail loss probe, whatever the window; it starts the timer anew.
         40  out A 14601 len 1460
         240 out A 1 len 1460
         240 cwnd 1460
         250 in  A 1 ack 1461 => acked
         250 cwnd 2920
         250 out A 1461 len 1460
         250 out A 2921 len 1460
         # The rest had come, but for the probe.
         260 in  A 1 ack 2921 sack 4381-14601 => acked
         260 cwnd 4380
         260 out A 14601 len 1460
         260 out A 16061 len 1460
         270 in  A 1 ack 14601 => acked
         270 cwnd 7300
         270 out A 17521 len 1460 times 3",
    );
}

#[test]
fn a_second_timeout_halves_nothing_more() {
    // RFC 5681 section 3.1: ssthresh is held when the data was already sent again by the timer.
    run_with(
        &reno(),
        &opened(PLAIN, TEN_SENT),
        "220 out A 1 len 1460
         620 out A 1 len 1460
         630 in  A 1 ack 14601 => acked
         # Slow start up to half of what was in flight.
         630 cwnd 4380
         630 out A 14601 len 1460 times 3
         640 in  A 1 ack 17521 => acked
         640 cwnd 7300
         640 out A 18981 len 1460 times 4",
    );
}

#[test]
fn the_window_grows_also_when_acknowledgments_come_in_a_burst() {
    use super::host::{Host, Moves};
    use super::pair::text;
    use crate::tcp::{Flags, Options, Segment, SeqNum};
    use crate::time::Instant;
    let segment = |flags, seq, ack| Segment {
        src_port: 40_000,
        dst_port: 80,
        seq: SeqNum(seq),
        ack: SeqNum(ack),
        flags,
        window: u16::MAX,
        urgent: 0,
        ecn: Ecn::NotEct,
        options: Options { mss: Some(1_000), ..Options::default() },
        payload: &[],
    };
    let now = Instant::ZERO;
    let syn = segment(Flags::SYN, 0, 0);
    let mut host = Host::accept(now, &reno(), Moves::Never, (SeqNum(0), 0), &syn).unwrap();
    let _ = host.handle_segment(now, &segment(Flags::ACK, 1, 1)).unwrap();
    host.push(now, &text(1, 50_000));
    assert_eq!((host.tcb().cwnd(), host.tcb().unacknowledged()), (10_000, 10_000));
    // The poll loop takes a burst in before it sends anything.
    let (local, mut store) = (host.local(now), core::mem::take(&mut host.store));
    for ack in (2_001..=10_001).step_by(2_000) {
        let _ = host.tcb_mut().handle_segment(local, &segment(Flags::ACK, 1, ack), &mut store).unwrap();
    }
    assert_eq!(host.tcb().cwnd(), 20_000);
}

#[test]
fn who_has_little_to_say_gets_no_greater_window() {
    run_with(
        &reno(),
        PLAIN,
        "20 push 1460
         20 out PA 1 len 1460
         30 in  A 1 ack 1461 => acked
         30 cwnd 14600
         40 push 14600
         40 out A 1461 len 1460 times 9
         40 out PA 14601 len 1460
         50 in  A 1 ack 4381 => acked
         50 cwnd 17520",
    );
}

#[test]
fn after_silence_it_begins_again_with_the_initial_window() {
    // RFC 5681 section 4.1; an acknowledgment in between is no data.
    let config = TcpConfig { initial_window_segments: 2, delayed_ack: ms(0), ..reno() };
    run_with(
        &config,
        PLAIN,
        "20 push 2920
         20 out A 1 len 1460
         20 out PA 1461 len 1460
         30 in  A 1 ack 2921 => acked
         30 cwnd 5840
         1000 in  PA 1 len 100 ack 2921 => received
         1000 out A 2921 ack 101
         1000 read 100
         1001 push 5840
         1001 out A 2921 len 1460
         1001 out A 4381 len 1460
         1001 cwnd 2920",
    );
}

#[test]
fn nothing_more_than_the_limit_is_in_flight() {
    let config = TcpConfig { in_flight_bytes_max: 3_000, ..reno() };
    run_with(
        &config,
        PLAIN,
        "20 push 5000
         20 out A 1 len 1460
         20 out A 1461 len 1460
         30 in  A 1 ack 1461 => acked
         30 out A 2921 len 1460
         40 in  A 1 ack 4381 => acked
         40 out PA 4381 len 620",
    );
}

#[test]
fn sack_blocks_take_their_room_from_data() {
    run(
        SACK,
        "20 in  PA 101 len 100 ack 1
         20 out A 1 ack 1 sack 101-201
         30 push 1460
         # Twelve bytes less, and not the last: no PSH, no FIN.
         30 out A 1 len 1448 sack 101-201
         30 out PA 1449 len 12 sack 101-201
         31 close
         31 out FA 1461 sack 101-201",
    );
    run(
        SACK,
        "20 in  PA 101 len 100 ack 1
         20 out A 1 ack 1
         30 in  A 201 ack 1 win 0
         31 push 1460
         32 close
         40 in  A 201 ack 1 win 65535
         40 out A 1 len 1448 sack 101-201
         40 out FPA 1449 len 12 sack 101-201
         50 in  A 1 ack 1462 => acked
         50 state FinWait2",
    );
}

#[test]
fn what_is_sent_keeps_the_proportion_of_the_reduction() {
    // RFC 6937: while twice as much as the new window is in flight, one segment for two that arrive; no silence and no burst.
    run_with(
        &reno(),
        &opened(SACK, TEN_SENT),
        "30 in  A 1 ack 1 sack 1461-5841 =>
         30 out A 1 len 1460
         31 in  A 1 ack 1 sack 1461-7301 =>
         31 out A 14601 len 1460
         32 in  A 1 ack 1 sack 1461-8761 =>
         33 in  A 1 ack 1 sack 1461-10221 =>
         # From now on, as much as arrives.
         34 in  A 1 ack 1 sack 1461-11681 =>
         34 out A 16061 len 1460
         35 in  A 1 ack 1 sack 1461-13141 =>
         35 out A 17521 len 1460
         36 in  A 1 ack 1 sack 1461-14601 =>
         36 out A 18981 len 1460
         40 in  A 1 ack 14601 => acked
         40 cwnd 7300
         40 out A 20441 len 1460",
    );
}
