//! Every rule is broken once, and kept once by almost the same frames.

use super::wire::build;
use super::*;
use crate::frame::SimFrame;
use baton_stack::addr::{IpAddr, Ipv4Addr};

const FRONT_END: DeviceId = DeviceId(1);
const A: DeviceId = DeviceId(2);
const B: DeviceId = DeviceId(3);
const CLIENT: DeviceId = DeviceId(4);
const ISS: u32 = u32::MAX - 2;
const ISN: u32 = 1000;
const SHIFT: u8 = 3;

fn end(last: u8, port: u16) -> Endpoint {
    Endpoint { addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), port }
}

/// A connection after its handshake with the front-end; the client has sent 100 bytes.
struct Scene {
    checks: Checks,
    tag: u64,
}

impl Scene {
    fn new(rules: Rules) -> Self {
        let roles = Roles {
            vips: [end(100, 80)].into(),
            nodes: [FRONT_END, A, B].into(),
            front_ends: [FRONT_END].into(),
            front_end_addresses: [end(10, 0).addr].into(),
            clients: [CLIENT].into(),
            strangers: [end(9, 0).addr].into(),
        };
        let mut scene = Self { checks: Checks::new(roles, rules), tag: 0 };
        scene.send(CLIENT, Segment { syn: true, seq: ISN, ack: None, window_scale: Some(0), window: 1000, ..client() });
        let syn_ack = Segment { syn: true, seq: ISS, ack: Some(ISN + 1), window_scale: Some(SHIFT), ..server() };
        scene.send(FRONT_END, syn_ack);
        scene.send(CLIENT, Segment { payload: &[0; 100], ..client() });
        scene.hand_over(FRONT_END, A);
        scene
    }

    fn send(&mut self, from: DeviceId, segment: Segment<'_>) -> u64 {
        self.raw(from, &build(&segment))
    }

    fn raw(&mut self, from: DeviceId, bytes: &[u8]) -> u64 {
        self.tag += 1;
        let mut frame = SimFrame::new(bytes);
        frame.tag = self.tag;
        self.checks.sent(Instant::ZERO, from, &frame);
        self.tag
    }

    /// A frame of the nodes' own: what it says does not matter.
    fn hand_over(&mut self, from: DeviceId, to: DeviceId) {
        let tag = self.raw(from, &[0; 60]);
        let mut frame = SimFrame::new(&[0; 60]);
        frame.tag = tag;
        self.checks.delivered(Instant::ZERO, to, &frame);
    }

    fn rules_broken(&self) -> Vec<&'static str> {
        self.checks.violations().iter().map(|violation| violation.rule).collect()
    }
}

fn client() -> Segment<'static> {
    Segment {
        from: end(200, 20_000),
        to: end(100, 80),
        seq: ISN + 1,
        ack: Some(ISS.wrapping_add(1)),
        syn: false,
        fin: false,
        rst: false,
        window: 1000,
        window_scale: None,
        tsval: Some(5),
        payload: &[],
    }
}

fn server() -> Segment<'static> {
    Segment {
        from: end(100, 80),
        to: end(200, 20_000),
        seq: ISS.wrapping_add(1),
        ack: Some(ISN + 101),
        window: 500,
        tsval: Some(50),
        ..client()
    }
}

fn at(offset: u32, payload: &[u8]) -> Segment<'_> {
    Segment { seq: ISS.wrapping_add(1).wrapping_add(offset), payload, ..server() }
}

/// What a scene in which `A` has sent "abcdef" says to `segment`, sent by `from`.
fn after_six(from: DeviceId, segment: Segment<'_>) -> Vec<&'static str> {
    let mut scene = Scene::new(Rules::default());
    scene.send(A, at(0, b"abcdef"));
    assert!(scene.rules_broken().is_empty(), "{:?}", scene.checks.violations());
    scene.send(from, segment);
    scene.rules_broken()
}

#[test]
fn each_rule_is_noticed_when_broken_and_silent_when_kept() {
    let error = b"HTTP/1.1 503 Service Unavailable\r\n";
    let cases: [(&str, Segment<'_>, &[&str]); 18] = [
        ("goes on", at(6, b"gh"), &[]),
        ("again, the same", at(2, b"cdefgh"), &[]),
        ("again, another byte", at(2, b"cdEf"), &["bytes"]),
        ("leaves a gap", at(7, b"h"), &["bytes"]),
        ("before the first byte", Segment { seq: ISS, payload: b"x", ..server() }, &["bytes"]),
        ("keeps alive", Segment { seq: ISS, ..server() }, &[]),
        ("fills the window", at(6, &[0; 994]), &[]),
        ("probes", at(6, &[0; 995]), &[]),
        ("past the window", at(6, &[0; 996]), &["window"]),
        ("ACK goes back", Segment { ack: Some(ISN + 100), window: 501, ..server() }, &["ack"]),
        ("ACK of the future", Segment { ack: Some(ISN + 102), ..server() }, &["ack"]),
        ("no ACK", Segment { ack: None, ..at(6, b"g") }, &["ack"]),
        ("edge goes back", Segment { window: 499, ..server() }, &["edge"]),
        ("TSval goes back", Segment { tsval: Some(49), ..server() }, &["tsval"]),
        ("TSval vanishes", Segment { tsval: None, ..server() }, &["tsval"]),
        ("RST", Segment { rst: true, ..server() }, &["reset"]),
        ("FIN", Segment { fin: true, ..at(6, b"gh") }, &[]),
        ("an error in the middle", at(6, error), &[]),
    ];
    for (what, segment, expected) in cases {
        assert_eq!(after_six(A, segment), expected, "{what}");
    }
}

#[test]
fn a_speaker_must_have_heard_of_the_last_word() {
    assert_eq!(after_six(B, at(6, b"gh")), ["speaker"]);
    assert_eq!(after_six(FRONT_END, server()), ["speaker"], "even an ACK");
    let mut scene = Scene::new(Rules::default());
    scene.send(A, at(0, b"abc"));
    scene.hand_over(A, B);
    scene.send(B, at(3, b"def"));
    assert!(scene.rules_broken().is_empty());
    scene.send(A, at(0, b"abc"));
    assert_eq!(scene.rules_broken(), ["speaker"], "an earlier owner stays silent");
    let tally = scene.checks.tally();
    assert_eq!((tally.flows, tally.moves, tally.bytes, tally.resets), (1, 3, 6, 0));

    let mut scene = Scene::new(Rules::default());
    scene.send(A, at(0, b"abc"));
    scene.hand_over(A, B);
    scene.send(A, at(3, b"d"));
    scene.send(B, at(3, b"d"));
    assert_eq!(scene.rules_broken(), ["speaker"], "the donor spoke after its handoff");

    let mut scene = Scene::new(Rules { silent_takeover: true, ..Rules::default() });
    scene.send(A, at(0, b"abc"));
    scene.send(B, at(3, b"def"));
    assert!(scene.rules_broken().is_empty());
}

#[test]
fn the_front_end_may_send_its_errors_only() {
    let mut scene = Scene::new(Rules::default());
    scene.send(FRONT_END, at(0, b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(scene.rules_broken(), ["bypass"]);
    let mut scene = Scene::new(Rules::default());
    scene.send(FRONT_END, at(0, b"HTTP/1.1 503 S\r\n"));
    scene.send(FRONT_END, at(16, b"\r\n"));
    assert!(scene.rules_broken().is_empty());
}

#[test]
fn a_fin_is_the_end_and_stays_where_it_is() {
    for (segment, expected) in [
        (Segment { fin: true, ..at(6, b"gh") }, &[][..]),
        (Segment { fin: true, ..at(8, b"") }, &[]),
        (Segment { fin: true, ..at(6, b"g") }, &["bytes"]),
        (at(8, b"i"), &["bytes"]),
        (at(9, b""), &[]),
        (at(10, b""), &["bytes"]),
    ] {
        let mut scene = Scene::new(Rules::default());
        scene.send(A, at(0, b"abcdef"));
        scene.send(A, Segment { fin: true, ..at(6, b"gh") });
        scene.send(A, segment);
        assert_eq!(scene.rules_broken(), expected);
    }
}

#[test]
fn resets_need_a_reason() {
    let reset = Segment { rst: true, ..server() };
    let mut scene = Scene::new(Rules { resets: true, ..Rules::default() });
    scene.send(FRONT_END, reset);
    assert!(scene.rules_broken().is_empty());
    let mut scene = Scene::new(Rules::default());
    scene.send(FRONT_END, Segment { seq: ISS.wrapping_sub(1), ..reset });
    scene.send(FRONT_END, Segment { seq: ISS.wrapping_add(1002), ..reset });
    assert!(scene.rules_broken().is_empty(), "outside the window it hits nobody");
    scene.send(FRONT_END, Segment { seq: ISS.wrapping_add(1001), ..reset });
    assert_eq!(scene.rules_broken(), ["reset"]);
    let mut scene = Scene::new(Rules::default());
    scene.send(CLIENT, Segment { rst: true, ..client() });
    scene.send(FRONT_END, reset);
    assert!(scene.rules_broken().is_empty());
    assert_eq!(scene.checks.tally().resets, 1);
}

#[test]
fn a_client_that_has_closed_may_be_reset_where_that_is_excused() {
    let reset = Segment { rst: true, ..server() };
    for (excused, closes) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut scene = Scene::new(Rules::default());
        if excused {
            scene.checks.excuse_resets_behind_fin();
        }
        scene.send(CLIENT, Segment { fin: closes, ..client() });
        scene.send(FRONT_END, reset);
        let expected: &[&str] = if excused && closes { &[] } else { &["reset"] };
        assert_eq!(scene.rules_broken(), expected, "{excused} {closes}");
    }
}

#[test]
fn a_connection_that_is_over_answers_with_a_reset() {
    let mut scene = Scene::new(Rules::default());
    scene.send(A, Segment { fin: true, ..at(0, b"abc") });
    scene.send(CLIENT, Segment { fin: true, seq: ISN + 101, ack: Some(ISS.wrapping_add(5)), ..client() });
    scene.send(A, Segment { ack: Some(ISN + 102), ..at(4, b"") });
    scene.send(A, Segment { rst: true, ..server() });
    assert!(scene.rules_broken().is_empty());

    let mut scene = Scene::new(Rules::default());
    scene.send(A, Segment { fin: true, ..at(0, b"abc") });
    scene.send(CLIENT, Segment { fin: true, seq: ISN + 101, ack: Some(ISS.wrapping_add(4)), ..client() });
    scene.send(A, Segment { ack: Some(ISN + 102), ..at(4, b"") });
    scene.send(A, Segment { rst: true, ..at(3, b"") });
    assert_eq!(scene.rules_broken(), ["reset"], "the client has not acknowledged the FIN");
}

#[test]
fn what_is_said_to_strangers_is_not_judged() {
    let mut scene = Scene::new(Rules::default());
    scene.send(A, Segment { rst: true, to: end(9, 1), ..server() });
    scene.send(A, Segment { to: end(9, 1), ..at(0, b"abc") });
    assert!(scene.rules_broken().is_empty());
}

#[test]
fn what_no_receiver_would_accept_is_a_violation() {
    let mut scene = Scene::new(Rules::default());
    let mut frame = build(&at(0, b"abc"));
    *frame.last_mut().unwrap() ^= 1;
    scene.raw(A, &frame);
    frame.truncate(40);
    scene.raw(A, &frame);
    scene.raw(CLIENT, &frame); // clients are not what is checked
    assert_eq!(scene.rules_broken(), ["checksum", "checksum"]);
}

#[test]
fn a_keep_alive_may_carry_any_byte_that_is_acknowledged() {
    let mut scene = Scene::new(Rules::default());
    scene.send(A, at(0, b"abcdef"));
    scene.send(CLIENT, Segment { seq: ISN + 101, ack: Some(ISS.wrapping_add(5)), ..client() });
    scene.send(A, at(3, b"x"));
    assert!(scene.rules_broken().is_empty());
    scene.send(A, at(4, b"x"));
    assert_eq!(scene.rules_broken(), ["bytes"]);
}

#[test]
fn a_new_connection_of_the_same_ports_begins_anew() {
    let mut scene = Scene::new(Rules::default());
    scene.send(A, at(0, b"abcdef"));
    scene.send(FRONT_END, Segment { seq: 7, ..server() });
    assert_eq!(scene.rules_broken().first(), Some(&"speaker"));
    let mut scene = Scene::new(Rules::default());
    scene.send(A, at(0, b"abcdef"));
    scene.send(CLIENT, Segment { syn: true, seq: 5000, ack: None, window_scale: Some(0), ..client() });
    scene.send(FRONT_END, Segment { syn: true, seq: 7, ack: Some(5001), window_scale: Some(0), ..server() });
    scene.send(FRONT_END, Segment { seq: 8, ack: Some(5001), ..server() });
    assert!(scene.rules_broken().is_empty(), "{:?}", scene.checks.violations());
    assert_eq!(scene.checks.tally().flows, 2);
    scene.send(FRONT_END, Segment { syn: true, seq: 9, ack: Some(5001), window_scale: Some(0), ..server() });
    assert!(scene.rules_broken().is_empty(), "nothing was built on it yet");
}

#[test]
fn violations_are_kept_up_to_their_limit() {
    let mut scene = Scene::new(Rules::default());
    for _ in 0..=VIOLATIONS_MAX {
        scene.send(A, Segment { rst: true, ..server() });
    }
    assert_eq!(scene.checks.violations().len(), VIOLATIONS_MAX);
    assert_eq!(scene.checks.violations()[0].to_string().split(' ').nth(1), Some("reset:"));
}
