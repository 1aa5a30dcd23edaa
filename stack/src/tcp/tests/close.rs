//! Closing, in each order, and what is lost on the way (RFC 9293 section 3.6).

use super::host::flow;
use super::script::{PLAIN, run, run_with};
use super::store::Store;
use crate::ecn::Ecn;
use crate::tcp::{Flags, Options, PushError, Segment, SeqNum, Tcb, TcpConfig};
use crate::time::Instant;

#[test]
fn closed_before_the_handshake_is_complete() {
    // RFC 9293 section 3.10.4: FIN waits for ESTABLISHED.
    run(
        "",
        "0  in  S 0 win 65535 mss 1460
         0  out SA 0 ack 1
         5  push 100
         6  close
         7  state SynReceived
         10 in  A 1 ack 1 => established
         10 out FPA 1 len 100 ack 1
         10 state FinWait1
         20 in  A 1 ack 102 => acked
         20 state FinWait2",
    );
    run(
        "",
        "0    in  S 0 win 65535 mss 1460
         0    out SA 0 ack 1
         5    close
         1000 out SA 0 ack 1
         1010 in  A 1 ack 1 => established
         1010 out FA 1 ack 1
         1020 in  FA 1 ack 2 => acked finished closed
         1020 out A 2 ack 2",
    );
}

#[test]
fn nothing_is_queued_behind_fin() {
    let segment = |flags, seq, ack| Segment {
        src_port: 40_000,
        dst_port: 80,
        seq: SeqNum(seq),
        ack: SeqNum(ack),
        flags,
        window: 1_000,
        urgent: 0,
        ecn: Ecn::NotEct,
        options: Options::default(),
        payload: &[],
    };
    let (now, config) = (Instant::ZERO, TcpConfig::default());
    let syn = segment(Flags::SYN, 0, 0);
    let mut tcb = Tcb::accept(now, &config, flow(), SeqNum(0), 0, &syn).unwrap();
    let (mut store, mut buf) = (Store::default(), [0; 1500]);
    let _ = tcb.handle_segment(now, &segment(Flags::ACK, 1, 1), &mut store).unwrap();
    tcb.close();
    let extent = store.extent(0, b"late");
    assert_eq!(tcb.push(extent), Err(PushError::Closed));
    assert!(tcb.poll_transmit(now, &mut store, &mut buf).len > 0);
    let _ = tcb.handle_segment(now, &segment(Flags::ACK, 1, 2), &mut store).unwrap();
    assert_eq!(tcb.push(extent), Err(PushError::Closed), "also when FIN is acknowledged");
}

#[test]
fn the_peer_closes_first() {
    run(
        PLAIN,
        "20 in  FPA 1 len 100 ack 1 => received finished
         20 out A 1 ack 102
         20 state CloseWait
         20 read 100
         30 push 50
         30 out PA 1 len 50 ack 102
         31 close
         31 out FA 51 ack 102
         31 state LastAck
         40 in  A 102 ack 51 => acked
         41 in  A 102 ack 52 => acked closed
         41 state Closed",
    );
}

#[test]
fn we_close_first() {
    run(
        PLAIN,
        "20 push 50
         20 out PA 1 len 50 ack 1
         21 close
         21 out FA 51 ack 1
         30 in  A 1 ack 51 => acked
         30 state FinWait1
         31 in  A 1 ack 52 => acked
         31 state FinWait2
         # The other side may go on.
         40 in  PA 1 len 10 ack 52 => received
         40 read 10
         80 out A 52 ack 11
         90 in  FA 11 ack 52 => finished closed
         90 out A 52 ack 12
         90 state TimeWait
         # Its FIN again: our acknowledgment was lost.
         95 in  FA 11 ack 52 => OutOfWindow
         95 out A 52 ack 12",
    );
}

#[test]
fn both_close_at_once() {
    run(
        PLAIN,
        "20 close
         20 out FA 1 ack 1
         25 in  FA 1 ack 1 => finished
         25 out A 2 ack 2
         25 state Closing
         30 in  A 2 ack 2 => acked closed
         30 state TimeWait",
    );
}

#[test]
fn fin_that_acknowledges_fin() {
    run(
        PLAIN,
        "20 close
         20 out FA 1 ack 1
         30 in  FA 1 ack 2 => acked finished closed
         30 out A 2 ack 2
         30 state TimeWait",
    );
}

#[test]
fn a_lost_fin_is_sent_again() {
    run(
        PLAIN,
        "20  close
         20  out FA 1 ack 1
         220 out FA 1 ack 1
         620 out FA 1 ack 1
         630 in  A 1 ack 2 => acked
         630 state FinWait2",
    );
}

#[test]
fn fin_goes_again_with_the_data_before_it() {
    // Sent apart, lost together.
    run(
        PLAIN,
        "20  push 100
         20  out PA 1 len 100 ack 1
         21  close
         21  out FA 101 ack 1
         220 out FPA 1 len 100 ack 1
         230 in  A 1 ack 102 => acked
         230 state FinWait2",
    );
    // Sent together; only the data arrived.
    run(
        PLAIN,
        "20  push 1560
         20  out A 1 len 1460 ack 1
         20  out PA 1461 len 100 ack 1
         20  close
         20  out FA 1561 ack 1
         30  in  A 1 ack 1461 => acked
         230 out FPA 1461 len 100 ack 1
         240 in  A 1 ack 1561 => acked
         # Backed off once, and nothing has been measured since.
         640 out FA 1561 ack 1
         650 in  A 1 ack 1562 => acked
         650 state FinWait2",
    );
}

#[test]
fn fin_that_comes_with_bytes_already_here() {
    // The peer sends its last data again, with FIN on it now.
    run(
        PLAIN,
        "20 in  PA 1 len 100 ack 1 => received
         25 in  FPA 1 len 100 ack 1 => finished
         25 out A 1 ack 102
         25 state CloseWait
         25 read 100",
    );
}

#[test]
fn fin_before_the_data_in_front_of_it() {
    run(
        PLAIN,
        "20 in  FPA 101 len 50 ack 1 =>
         20 out A 1 ack 1
         20 state Established
         30 in  A 1 len 100 ack 1 => received finished
         30 out A 1 ack 152
         30 state CloseWait
         30 read 150",
    );
}

#[test]
fn bytes_behind_fin_are_not_taken() {
    run(
        PLAIN,
        "20 in  FA 1 ack 1 => finished
         20 out A 1 ack 2
         # RFC 9293 section 3.10.7.4, seventh: this should not occur; ignore it.
         30 in  PA 2 len 100 ack 1 => OutOfWindow
         30 out A 1 ack 2
         30 state CloseWait",
    );
    // FIN in front of what came before it, from a peer that changes its mind.
    run(
        PLAIN,
        "20 in  PA 101 len 100 ack 1 =>
         20 out A 1 ack 1
         30 in  FA 51 ack 1 =>
         30 out A 1 ack 1
         40 in  PA 1 len 50 ack 1 => received finished
         40 out A 1 ack 52
         40 read 50
         40 state CloseWait",
    );
}

#[test]
fn a_reset_ends_it_from_any_state() {
    run(PLAIN, "20 in R 1 => closed\n20 state Closed");
    run(PLAIN, "20 close\n20 out FA 1 ack 1\n30 in RA 1 ack 2 => closed\n30 state Closed");
    run(PLAIN, "20 in FA 1 ack 1\n20 out A 1 ack 2\n30 in R 2 => closed\n30 state Closed");
    run(PLAIN, "20 push 10\n20 out PA 1 len 10 ack 1\n30 in R 1 => closed\n30 state Closed");
}

#[test]
fn a_reset_does_not_end_time_wait() {
    // RFC 1337 section 3.
    run(
        PLAIN,
        "20 close
         20 out FA 1 ack 1
         30 in  FA 1 ack 2 => acked finished closed
         30 out A 2 ack 2
         40 in  R 2 => BadReset
         40 state TimeWait",
    );
}

#[test]
fn we_reset() {
    run(
        PLAIN,
        "20 push 3000\n20 out A 1 len 1460\n20 out A 1461 len 1460\n20 out PA 2921 len 80\n30 abort\n30 out RA 3001 ack 1",
    );
    run("", "0 in S 0 mss 1460\n0 out SA 0 ack 1\n5 abort\n5 out RA 1 ack 1\n5 state Closed");
    // In TIME-WAIT there is nobody to tell.
    run(PLAIN, "20 close\n20 out FA 1\n30 in FA 1 ack 2\n30 out A 2 ack 2\n40 abort\n40 state Closed");
}

#[test]
fn bytes_that_cannot_be_read_end_it() {
    run(PLAIN, "20 push 100\n20 out PA 1 len 100\n30 break\n220 out RA 101 ack 1\n220 state Closed");
}

#[test]
fn a_client_that_never_closes_is_given_up() {
    // Not while it speaks: the time counts from the last text that was taken.
    run(
        PLAIN,
        "20 close
         20 out FA 1 ack 1
         30 in  A 1 ack 2 => acked
         30 state FinWait2
         50030 in PA 1 len 10 ack 2 => received
         50070 out A 2 ack 11
         50080 read 10
         # An acknowledgment is no text.
         100000 in A 11 ack 2 =>
         110030 out RA 2 ack 11
         110030 state Closed",
    );
    let config = TcpConfig { fin_wait_2: None, ..TcpConfig::default() };
    run_with(&config, PLAIN, "20 close\n20 out FA 1\n30 in A 1 ack 2\n900000000 state FinWait2");
    // Its FIN in time: TIME-WAIT, and no timer.
    run(
        PLAIN,
        "20 close
         20 out FA 1 ack 1
         30 in  A 1 ack 2 => acked
         60029 in FA 1 ack 2 => finished closed
         60029 out A 2 ack 2
         70000 state TimeWait",
    );
}
