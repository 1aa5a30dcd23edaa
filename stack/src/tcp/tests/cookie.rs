//! SYN cookies: what comes back of them, and what is not believed.

use std::vec;

use super::host::flow;
use super::store::Store;
use crate::addr::{Endpoint, Flow};
use crate::drop::DropReason;
use crate::ecn::Ecn;
use crate::tcp::{
    COOKIE_LIFE_MAX, Flags, Options, Outcome, Segment, SeqNum, State, SynCookies, Tcb, TcpConfig, Timestamps,
};
use crate::time::{Duration, Instant};

const COOKIES: SynCookies = SynCookies::new((7, 11));
const IRS: SeqNum = SeqNum(u32::MAX - 5);
const TS_OFFSET: u32 = u32::MAX - 2_000_000;
const ECN_SETUP: Flags = Flags::SYN.with(Flags::ECE).with(Flags::CWR);

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000 * ms)
}

fn options(mss: u16, scale: Option<u8>, sack_permitted: bool) -> Options {
    let timestamps = Some(Timestamps { val: 70, ecr: 0 });
    Options { mss: Some(mss), window_scale: scale, sack_permitted, timestamps, ..Options::default() }
}

fn segment(flags: Flags, seq: SeqNum, ack: SeqNum, options: Options) -> Segment<'static> {
    Segment {
        src_port: 40_000,
        dst_port: 80,
        seq,
        ack,
        flags,
        window: 500,
        urgent: 0,
        options,
        payload: b"",
        ecn: Ecn::NotEct,
    }
}

fn syn(options: Options) -> Segment<'static> {
    segment(Flags::SYN, IRS, SeqNum(0), options)
}

fn answer(now: Instant, syn: &Segment<'_>) -> Segment<'static> {
    COOKIES.syn_ack(now, &TcpConfig::default(), flow(), TS_OFFSET, syn).unwrap()
}

/// What a client says to a SYN-ACK.
fn third(syn_ack: &Segment<'_>) -> Segment<'static> {
    let timestamps = syn_ack.options.timestamps.map(|ts| Timestamps { val: 80, ecr: ts.val });
    segment(Flags::ACK, syn_ack.ack, syn_ack.seq + 1, Options { timestamps, ..Options::default() })
}

fn complete(now: Instant, third: &Segment<'_>) -> Result<(Tcb, Outcome), DropReason> {
    COOKIES.accept(now, &TcpConfig::default(), flow(), TS_OFFSET, third, &mut Store::default())
}

/// What the ordinary handshake makes of the same segments.
fn ordinary(now: Instant, isn: SeqNum, syn: &Segment<'_>, third: &Segment<'_>) -> Tcb {
    let mut tcb = Tcb::accept(now, &TcpConfig::default(), flow(), isn, TS_OFFSET, syn).unwrap();
    let mut buf = vec![0; 100];
    assert!(tcb.poll_transmit(now, &mut Store::default(), &mut buf).len > 0);
    let outcome = tcb.handle_segment(now, third, &mut Store::default()).unwrap();
    assert!(outcome.established);
    tcb
}

#[test]
fn the_connection_is_the_one_that_the_ordinary_handshake_makes() {
    let now = at(1_234_567);
    for scale in [None, Some(0), Some(7), Some(14)] {
        for (sack, flags) in [(false, Flags::SYN), (true, Flags::SYN), (true, ECN_SETUP)] {
            for mss in [1_460, 1_400, 536, 48] {
                let syn = Segment { flags, ..syn(options(mss, scale, sack)) };
                let syn_ack = answer(now, &syn);
                let request = Segment { flags: Flags::ACK.with(Flags::PSH), payload: b"GET /", ..third(&syn_ack) };
                for third in [third(&syn_ack), request] {
                    let (tcb, outcome) = complete(now, &third).unwrap();
                    let expected =
                        Outcome { established: true, received: !third.payload.is_empty(), ..Outcome::default() };
                    assert_eq!(outcome, expected);
                    assert_eq!(tcb.unread(), third.payload);
                    let mut ordinary = ordinary(now, syn_ack.seq, &syn, &third);
                    // The SYN's window is forgotten, and so is when it was answered.
                    ordinary.snd.max_wnd = tcb.snd.max_wnd;
                    ordinary.rtt = tcb.rtt;
                    assert_eq!(tcb, ordinary, "{scale:?} {sack} {flags:?} {mss}");
                    assert_eq!((tcb.srtt(), tcb.snd.max_wnd), (None, 500 << scale.unwrap_or(0)));
                }
            }
        }
    }
}

#[test]
fn a_long_request_with_the_cookie_measures_no_round_trip() {
    // What comes back in TSecr has told the options: as a time it is too early by up to 63 ms.
    let now = at(1_234_567);
    let syn_ack = answer(now, &syn(options(1_460, Some(7), true)));
    let third = Segment { payload: &[b'x'; 1_400], ..third(&syn_ack) };
    let (tcb, _) = complete(now + Duration::from_millis(10), &third).unwrap();
    assert_eq!((tcb.srtt(), tcb.rcv.tuning.rtt_us, tcb.rcv.tuning.measure), (None, 0, None));
}

#[test]
fn the_syn_ack_says_what_the_ordinary_one_says() {
    let now = at(1_234_567);
    let syn = syn(options(1_460, Some(7), true));
    let mut syn_ack = answer(now, &syn);
    let mut buf = vec![0; 100];
    let mut tcb = Tcb::accept(now, &TcpConfig::default(), flow(), syn_ack.seq, TS_OFFSET, &syn).unwrap();
    let len = tcb.poll_transmit(now, &mut Store::default(), &mut buf).len;
    let ordinary = Segment::parse(&buf[..len]).unwrap();
    // The clock of the flow, with SACK and the scale in its last bits, and not above what the connection will say.
    let told = syn_ack.options.timestamps.as_mut().unwrap();
    let clock = ordinary.options.timestamps.unwrap().val;
    assert_eq!(told.val & 0x3f, 0x17);
    assert!(told.val <= clock && clock - told.val < 64, "{} {clock}", told.val);
    told.val = clock;
    assert_eq!(syn_ack, ordinary);
}

#[test]
fn without_timestamps_nothing_but_the_mss_is_kept() {
    for mss in [None, Some(1_300), Some(65_535), Some(0)] {
        let timestamps = None;
        let asked = Options { mss, timestamps, ..options(0, Some(7), true) };
        let syn_ack = answer(at(9), &Segment { flags: ECN_SETUP, ..syn(asked) });
        assert_eq!((syn_ack.flags, syn_ack.options.sack_permitted), (Flags::SYN.with(Flags::ACK), false));
        assert_eq!((syn_ack.options.window_scale, syn_ack.options.timestamps), (None, None));
        let (tcb, _) = complete(at(9), &third(&syn_ack)).unwrap();
        let expected = [(None, 536), (Some(1_300), 1_220), (Some(65_535), 1_460), (Some(0), 48)];
        assert!(expected.contains(&(mss, tcb.opts.snd_mss)), "{mss:?} {}", tcb.opts.snd_mss);
        assert_eq!((tcb.opts.snd_scale, tcb.opts.sack, tcb.opts.timestamps), (None, false, false));
    }
}

#[test]
fn the_mss_is_never_rounded_up() {
    for offered in 48..=1_460 {
        let (tcb, _) = complete(at(9), &third(&answer(at(9), &syn(options(offered, None, false))))).unwrap();
        assert!(tcb.opts.snd_mss <= offered, "{} {offered}", tcb.opts.snd_mss);
    }
}

#[test]
fn the_timestamp_never_goes_back_behind_the_cookie() {
    for ms in 0..200 {
        let syn_ack = answer(at(ms), &syn(options(1_460, None, true)));
        let (mut tcb, _) = complete(at(ms), &third(&syn_ack)).unwrap();
        tcb.ack_now = true;
        let mut buf = vec![0; 100];
        let len = tcb.poll_transmit(at(ms), &mut Store::default(), &mut buf).len;
        let next = Segment::parse(&buf[..len]).unwrap().options.timestamps.unwrap().val;
        let told = syn_ack.options.timestamps.unwrap().val;
        assert!(SeqNum(told).le(SeqNum(next)) && SeqNum(next).since(SeqNum(told)) < 64, "{told} {next}");
    }
}

#[test]
fn a_cookie_is_believed_in_its_slot_and_the_next() {
    let slot = u64::try_from(COOKIE_LIFE_MAX.as_millis()).unwrap() / 2;
    assert_eq!(slot, 32_000);
    for begun in [10 * slot, 11 * slot, 12 * slot - 1] {
        let third = third(&answer(at(begun), &syn(options(1_460, None, true))));
        let last = (begun / slot + 2) * slot - 1;
        assert!(complete(at(last), &third).is_ok(), "{begun}");
        assert_eq!(complete(at(last + 1), &third).unwrap_err(), DropReason::BadCookie, "{begun}");
        assert_eq!(complete(at(last + 1 + slot), &third).unwrap_err(), DropReason::BadCookie, "{begun}");
        assert_eq!(complete(at(last + 1 + 2 * slot), &third).unwrap_err(), DropReason::BadCookie, "{begun}");
    }
    // Nor one that comes from the future.
    let early = third(&answer(at(slot), &syn(options(1_460, None, true))));
    assert_eq!(complete(at(slot - 1), &early).unwrap_err(), DropReason::BadCookie);
}

#[test]
fn nothing_else_is_believed() {
    let now = at(100_000);
    let good = third(&answer(now, &syn(options(1_460, Some(7), true))));
    assert!(complete(now, &good).is_ok());
    for bit in 0..32 {
        let ack = SeqNum(((good.ack - 1).0 ^ 1 << bit).wrapping_add(1));
        assert_eq!(complete(now, &Segment { ack, ..good.clone() }).unwrap_err(), DropReason::BadCookie, "{bit}");
        let seq = SeqNum(good.seq.0 ^ 1 << bit);
        assert_eq!(complete(now, &Segment { seq, ..good.clone() }).unwrap_err(), DropReason::BadCookie, "{bit}");
    }
    // Other options than were agreed on.
    let mut stamped = good.clone();
    for bit in 0..6 {
        stamped.options.timestamps.as_mut().unwrap().ecr = good.options.timestamps.unwrap().ecr ^ 1 << bit;
        assert_eq!(complete(now, &stamped).unwrap_err(), DropReason::BadCookie, "{bit}");
    }
    stamped.options.timestamps = None;
    assert_eq!(complete(now, &stamped).unwrap_err(), DropReason::BadCookie);
    // Another flow, another key.
    let other = Flow { client: Endpoint { port: 40_001, ..flow().client }, ..flow() };
    let config = TcpConfig::default();
    let refused = COOKIES.accept(now, &config, other, TS_OFFSET, &good, &mut Store::default());
    assert_eq!(refused.unwrap_err(), DropReason::BadCookie);
    let refused = SynCookies::new((7, 12)).accept(now, &config, flow(), TS_OFFSET, &good, &mut Store::default());
    assert_eq!(refused.unwrap_err(), DropReason::BadCookie);
    // What cannot be the third segment of a handshake.
    for flags in [Flags::SYN.with(Flags::ACK), Flags::RST.with(Flags::ACK), Flags::default(), Flags::FIN] {
        let refused = complete(now, &Segment { flags, ..good.clone() });
        assert_eq!(refused.unwrap_err(), DropReason::UnexpectedSegment, "{flags:?}");
    }
}

#[test]
fn a_fin_may_come_with_the_acknowledgment() {
    let good = third(&answer(at(5), &syn(options(1_460, None, false))));
    let (tcb, outcome) = complete(at(5), &Segment { flags: Flags::ACK.with(Flags::FIN), ..good }).unwrap();
    assert!(outcome.peer_finished && outcome.established);
    assert_eq!(tcb.state(), State::CloseWait);
}

#[test]
fn what_opens_no_connection_gets_no_cookie() {
    for flags in [Flags::FIN, Flags::ACK, Flags::RST] {
        let syn = Segment { flags: Flags::SYN.with(flags), ..syn(options(1_460, None, false)) };
        let refused = COOKIES.syn_ack(at(5), &TcpConfig::default(), flow(), TS_OFFSET, &syn);
        assert_eq!(refused.unwrap_err(), DropReason::UnexpectedSegment, "{flags:?}");
    }
}

#[test]
fn sequence_numbers_are_spread_over_all_values() {
    // Of 4,096 flows, at the same time, no two in 28 bits are expected to be alike; the last four are no secret.
    let mut seen = std::collections::BTreeSet::new();
    for port in 0..4_096 {
        let flow = Flow { client: Endpoint { port, ..flow().client }, ..flow() };
        let syn = syn(options(1_460, None, false));
        let syn_ack = COOKIES.syn_ack(at(5), &TcpConfig::default(), flow, TS_OFFSET, &syn).unwrap();
        seen.insert(syn_ack.seq.0 >> 4);
    }
    assert!(seen.len() > 4_090, "{}", seen.len());
    let halves = seen.iter().filter(|number| **number < 1 << 27).count();
    assert!((1_848..2_248).contains(&halves), "{halves}");
    assert!(COOKIE_LIFE_MAX > Duration::from_secs(1 + 2 + 4 + 8 + 16));
}
