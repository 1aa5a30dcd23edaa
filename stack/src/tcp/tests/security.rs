//! What strangers and old duplicates may try: RFC 5961, and PAWS of RFC 7323.

use super::script::{PLAIN, STAMPS, run};

#[test]
fn a_reset_must_be_exact() {
    run(
        PLAIN,
        "20 in  R 2 => BadReset
         20 out A 1 ack 1
         21 in  R 70000 => BadReset
         22 in  R 0 => BadReset
         22 state Established",
    );
}

#[test]
fn an_acknowledgment_must_be_possible() {
    // RFC 5961 section 5.2: not above SND.NXT, not below SND.UNA - MAX.SND.WND.
    run(
        "",
        "0  in  S 0 win 1000 mss 1460
         0  out SA 0 ack 1
         10 in  A 1 ack 1 win 1000
         20 push 1000
         20 out PA 1 len 1000
         30 in  A 1 ack 1001 win 1000 => acked
         40 in  PA 1 len 10 ack 1002 => BadAck
         40 out A 1001 ack 1
         41 in  PA 1 len 10 ack 0 => BadAck
         41 out A 1001 ack 1
         42 in  PA 1 len 10 ack 1 => received",
    );
}

#[test]
fn challenges_have_a_limit() {
    let mut script = std::string::String::new();
    for at in 20..30 {
        script += &std::format!("{at} in R 5 => BadReset\n{at} out A 1 ack 1\n");
    }
    script += "30 in R 5 => BadReset\n1019 in R 5 => BadReset\n";
    // The second began with the first of them; in the next there are ten again.
    for at in 1020..1030 {
        script += &std::format!("{at} in R 5 => BadReset\n{at} out A 1 ack 1\n");
    }
    script += "1030 in R 5 => BadReset\n";
    run(PLAIN, &script);
}

#[test]
fn an_older_timestamp_is_an_old_duplicate() {
    run(
        STAMPS,
        "20 in  PA 1 len 10 ack 1 ts 1020:0 => received
         30 in  PA 11 len 10 ack 1 ts 1019:0 => Paws
         30 out A 1 ack 11 ts 30:1020
         31 in  A 11 ack 1 ts 1019:0 => Paws
         31 out A 1 ack 11
         # Without: not of this connection (RFC 7323 section 3.2).
         32 in  PA 11 len 10 ack 1 => Paws
         # RST needs none.
         33 in  R 11 => closed",
    );
}

#[test]
fn ts_recent_is_what_the_last_acknowledgment_answers() {
    // RFC 7323 section 4.3: with delayed acknowledgments, the first of the segments that share one.
    run(
        STAMPS,
        "20 in  A 1 len 1460 ack 1 ts 1020:0 => received
         21 in  A 1461 len 1460 ack 1 ts 1021:0 => received
         21 out A 1 ack 2921 ts 21:1020
         # Behind a gap: not echoed.
         30 in  A 4381 len 1460 ack 1 ts 1030:0 =>
         30 out A 1 ack 2921 ts 30:1020
         31 in  A 2921 len 1460 ack 1 ts 1031:0 => received
         31 out A 1 ack 5841 ts 31:1031",
    );
}

#[test]
fn after_24_days_a_timestamp_is_not_old() {
    // RFC 7323 section 5.5.
    let at = 10 + 24 * 24 * 3_600_000_u64;
    run(
        STAMPS,
        &std::format!(
            "{0} in PA 1 len 10 ack 1 ts 500:0 => Paws
             {0} out A 1 ack 1
             {1} in PA 1 len 10 ack 1 ts 500:0 => received
             {2} out A 1 ack 11",
            at - 1,
            at,
            at + 40
        ),
    );
}
