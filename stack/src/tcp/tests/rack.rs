//! Losses found by time, and the tail loss probe (RFC 8985).

use super::script::{PLAIN, SACK, run_with};
use crate::ecn::Ecn;
use crate::tcp::{Algorithm, TcpConfig};

/// Ten segments, and no more to say.
const TEN: &str = "
    20 push 14600
    20 out A 1 len 1460 times 9
    20 out PA 13141 len 1460
";

fn after_ten(opening: &str, script: &str) {
    let config = TcpConfig { congestion: Algorithm::NewReno, ..TcpConfig::default() };
    run_with(&config, &std::format!("{opening}{TEN}"), script);
}

#[test]
fn what_comes_late_is_not_lost() {
    after_ten(
        SACK,
        "30 in  A 1 ack 1 sack 1461-2921 =>
         # Within a quarter of the round trip.
         31 in  A 1 ack 2921 => acked
         31 cwnd 17520
         # Three are there: but reordering was seen, so the window is kept.
         35 in  A 1 ack 2921 sack 4381-8761 =>
         # Sent at 20; what came last took 15; and 2.5 more.
         37.500 out A 2921 len 1460
         40 in  A 1 ack 14601 => acked",
    );
}

#[test]
fn a_lost_retransmission_is_found_without_the_timer() {
    after_ten(
        SACK,
        "30 in  A 1 ack 1 sack 1461-5841 =>
         30 out A 1 len 1460
         31 in  A 1 ack 1 sack 1461-14601 =>
         32 push 1460
         32 out PA 14601 len 1460
         # What was sent after it has come.
         42 in  A 1 ack 1 sack 1461-16061 =>
         42 out A 1 len 1460
         52 in  A 1 ack 16061 => acked",
    );
}

#[test]
fn needless_retransmissions_widen_the_window() {
    after_ten(
        SACK,
        "30 in  A 1 ack 1 sack 1461-2921 =>
         32.500 out A 1 len 1460
         33 in  A 1 ack 2921 => acked
         43 in  A 1 ack 2921 sack 1-1461 =>
         50 in  A 1 ack 14601 => acked
         60 push 4380
         60 out A 14601 len 1460
         60 out A 16061 len 1460
         60 out PA 17521 len 1460
         # Twice a quarter now.
         70 in  A 1 ack 14601 sack 16061-17521 =>
         75 out A 14601 len 1460
         80 in  A 1 ack 18981 => acked",
    );
}

#[test]
fn a_probe_shows_that_the_tail_is_lost() {
    after_ten(
        SACK,
        "30 in  A 1 ack 11681 => acked
         # Two round trips, and not the timer's 200 ms.
         50 out PA 13141 len 1460
         60 in  A 1 ack 11681 sack 13141-14601 =>
         60 out A 11681 len 1460
         60 cwnd 1460
         70 in  A 1 ack 14601 => acked
         70 cwnd 2920",
    );
}

#[test]
fn a_probe_may_be_the_loss_s_only_repair() {
    // RFC 8985 section 7.4: nobody else has seen the loss; the window is reduced.
    after_ten(
        SACK,
        "30  in  A 1 ack 13141 => acked
         30  cwnd 26280
         # A single segment: its acknowledgment may be delayed. Never later than the timer.
         230 out PA 13141 len 1460
         240 in  A 1 ack 14601 => acked
         240 cwnd 26280
         250 push 1460
         250 out PA 14601 len 1460
         260 in  A 1 ack 16061 => acked
         260 cwnd 2920",
    );
    // Both have come: nothing was lost.
    for duplicate in ["sack 13141-14601", ""] {
        after_ten(
            SACK,
            &std::format!(
                "30  in  A 1 ack 13141 => acked
                 230 out PA 13141 len 1460
                 231 in  A 1 ack 14601 => acked
                 240 in  A 1 ack 14601 {duplicate} =>
                 250 push 1460
                 250 out PA 14601 len 1460
                 260 in  A 1 ack 16061 => acked
                 260 cwnd 26280"
            ),
        );
    }
}

#[test]
fn a_probe_carries_fin_and_leaves_the_timer_its_time() {
    run_with(
        &TcpConfig::default(),
        SACK,
        "20  push 100
         20  out PA 1 len 100
         20  close
         20  out FA 101 ack 1
         # RTO is 200 ms: from the first on, and from the probe on.
         220 out FPA 1 len 100
         420 out FPA 1 len 100
         820 out FPA 1 len 100
         830 in  A 1 ack 102 => acked
         830 state FinWait2",
    );
}

#[test]
fn a_probe_waits_for_the_peer_s_window() {
    run_with(
        &TcpConfig::default(),
        SACK,
        "20 in  A 1 ack 1 win 2920
         21 push 5840
         21 out A 1 len 1460
         21 out A 1461 len 1460
         # No room for what is new: the last once more.
         41 out A 1461 len 1460
         51 in  A 1 ack 1 sack 1461-2921 win 2920 =>
         51 out A 1 len 1460
         60 in  A 1 ack 2921 win 0 => acked",
    );
}

#[test]
fn what_overtakes_the_boundary_of_a_move_is_no_loss() {
    // Four segments leave just before the move, and four after it, which are there first.
    let crossing = |end: &str| {
        let script = "30 in  A 1 ack 2921 => acked
             30 push 5840
             30 out A 14601 len 1460 times 3
             30 out PA 18981 len 1460
             30 boundary
             31 in  A 1 ack 5841 => acked
             31 push 5840
             31 out A 20441 len 1460 times 3
             31 out PA 24821 len 1460
             40 in  A 1 ack 14601 => acked
             40 cwnd 29200
             41 in  A 1 ack 14601 sack 20441-26281 =>\n";
        after_ten(SACK, &std::format!("{script}{end}"));
    };
    crossing(
        "42 in  A 1 ack 26281 => acked
         42 cwnd 29200",
    );
    // It is found all the same, a little later.
    crossing(
        "42.500 out A 14601 len 1460
         43 in  A 1 ack 26281 => acked",
    );
    // What the earlier owner has sent cannot overtake itself: such a loss is found as if nothing had moved.
    after_ten(
        SACK,
        "22 boundary
         30 in  A 1 ack 1 sack 1461-8761 =>
         30 out A 1 len 1460
         40 in  A 1 ack 14601 => acked",
    );
    // Without SACK, three duplicates wait too.
    after_ten(
        PLAIN,
        "22 boundary
         30 in  A 1 ack 1 =>
         30 in  A 1 ack 1 =>
         30 in  A 1 ack 1 =>
         30.900 in A 1 ack 14601 => acked
         30.900 cwnd 26280",
    );
    after_ten(
        PLAIN,
        "22 boundary
         30 in  A 1 ack 1 =>
         30 in  A 1 ack 1 =>
         30 in  A 1 ack 1 =>
         31 out A 1 len 1460
         40 in  A 1 ack 14601 => acked
         # Behind the boundary all is as ever.
         50 push 7300
         50 out A 14601 len 1460 times 4
         50 out PA 20441 len 1460
         60 in  A 1 ack 14601 =>
         60 in  A 1 ack 14601 =>
         60 in  A 1 ack 14601 =>
         60 out A 14601 len 1460
         70 in  A 1 ack 21901 => acked",
    );
}

#[test]
fn an_acknowledgment_that_took_longer_than_is_believed_moves_on() {
    use super::host::{Host, Moves};
    use super::pair::text;
    use crate::tcp::{Flags, Options, Segment, SeqNum};
    use crate::time::{Duration, Instant};
    let options = Options { mss: Some(1_000), sack_permitted: true, ..Options::default() };
    let (syn, ack) = (Flags::SYN, Flags::ACK);
    let syn = Segment { seq: SeqNum(0), ack: SeqNum(0), flags: syn, ..segment(options.clone()) };
    let mut host = Host::accept(Instant::ZERO, &TcpConfig::default(), Moves::Never, (SeqNum(0), 0), &syn).unwrap();
    let segment = |n| Segment { seq: SeqNum(1), ack: SeqNum(n), flags: ack, ..segment(options.clone()) };
    let _ = host.handle_segment(Instant::ZERO, &segment(1)).unwrap();
    host.push(Instant::ZERO, &text(1, 100));
    // Nobody called for the timers meanwhile.
    let late = Instant::ZERO + Duration::from_secs(1_000);
    let _ = host.handle_segment(late, &segment(101)).unwrap();
    host.move_on(late);
}

fn segment(options: crate::tcp::Options) -> crate::tcp::Segment<'static> {
    let (seq, flags) = (crate::tcp::SeqNum(0), crate::tcp::Flags::default());
    crate::tcp::Segment {
        src_port: 40_000,
        dst_port: 80,
        seq,
        ack: seq,
        flags,
        window: u16::MAX,
        urgent: 0,
        ecn: Ecn::NotEct,
        options,
        payload: &[],
    }
}
