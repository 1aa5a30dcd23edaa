//! Images in parts, and every limit at its edge and one past it.

use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr};
use baton_stack::drop::DropReason;
use baton_stack::time::Instant;
use handoff_proto::arbiter::Death;
use handoff_proto::closed::ClosedReports;
use handoff_proto::codec::Reader;
use handoff_proto::donor::{Donor, DonorEvent, NoHandoff, Standing};
use handoff_proto::former::{FORMER_TIME, Former, Formers};
use handoff_proto::image::IMAGE_BYTES_MAX;
use handoff_proto::message::{
    Closed, Done, Ended, Grant, Handoff, Installed, Message, PartAck, RefuseReason, Refused, RequestKey, Revoke,
    Served, Settle,
};
use handoff_proto::names::{Epoch, Generation, NodeId};
use handoff_proto::recipient::{Arrival, PART_TIME_MAX, Recipient, RecipientLimits};
use proptest::prelude::*;

use crate::back::flow;
use crate::world::{Dice, Mail};

const F: NodeId = NodeId::FRONT_END;
const D: NodeId = NodeId(1);
const R: NodeId = NodeId(2);
const G: Generation = Generation(5);
const C: ConnId = ConnId(7);

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1_000)
}

fn recipient(limits: RecipientLimits) -> Recipient {
    let mut recipient = Recipient::new(limits);
    recipient.set_generation(G);
    recipient
}

/// A donor with a grant in hand.
fn granted() -> Donor {
    let mut donor = Donor::new(C, Epoch(1));
    let mut out = Mail::default();
    donor.ask(at(0), 0, &RequestKey::new(b"GET", b"h", b"/"), &mut out);
    let grant = Grant { c: C, base: Epoch(1), e2: Epoch(2), to: R, g: G, n: 0, strip: Some(0) };
    assert_eq!(donor.handle_message(at(0), F, &grant.into(), &mut out), Ok(DonorEvent::Granted(grant)));
    donor
}

const FINE: Standing = Standing { has_lease: true, recipient_g: Some(G) };

fn parts_in(mail: &Mail) -> Vec<u16> {
    let part = |bytes: &[u8]| match Message::decode(&mut Reader::new(bytes)).unwrap() {
        Message::Handoff(part) => part.part,
        other => panic!("{other:?}"),
    };
    mail.0.iter().map(|(_, bytes)| part(bytes)).collect()
}

/// Plays donor against recipient with losses until the image has come, within the donor's patience.
fn carry(image: &[u8], part_bytes: u16, loss: u64, seed: u64) -> Option<Arrival> {
    let (mut donor, mut recipient) = (granted(), recipient(RecipientLimits::default()));
    let (mut dice, mut mail) = (Dice(seed), Mail::default());
    donor.hand_off(at(0), FINE, image.into(), part_bytes, &mut mail).unwrap();
    for ms in 0..20_000 {
        for (to, bytes) in core::mem::take(&mut mail.0) {
            if dice.permille(loss) {
                continue;
            }
            match Message::decode(&mut Reader::new(&bytes)).unwrap() {
                Message::Handoff(part) => {
                    assert_eq!(to, R);
                    if let Some(arrival) = recipient.handle_handoff(at(ms), D, &part, true, &mut mail).unwrap() {
                        return Some(arrival);
                    }
                }
                ack @ Message::PartAck(_) => drop(donor.handle_message(at(ms), R, &ack, &mut mail)),
                Message::Abort(_) => return None,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(donor.handle_timeout(at(ms), &mut mail), DonorEvent::Nothing);
    }
    None
}

#[test]
fn an_image_of_the_largest_size_is_carried() {
    let image: Vec<u8> = (0..IMAGE_BYTES_MAX).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let arrival = carry(&image, 1_380, 0, 1).unwrap();
    assert!(arrival.image == image && (arrival.donor, arrival.base) == (D, Epoch(1)));
}

#[test]
fn an_image_above_the_limit_is_refused_before_anything_is_kept() {
    let (mut recipient, mut out) = (recipient(RecipientLimits::default()), Mail::default());
    let total = u32::try_from(IMAGE_BYTES_MAX + 1).unwrap();
    let part =
        |total, e2| Handoff { c: C, base: Epoch(1), e2, g: G, total, part_bytes: 1_000, part: 0, bytes: &[0; 1_000] };
    assert_eq!(recipient.handle_handoff(at(0), D, &part(total, Epoch(2)), true, &mut out), Ok(None));
    assert_eq!(recipient.handle_handoff(at(0), D, &part(u32::MAX, Epoch(3)), true, &mut out), Ok(None));
    assert_eq!(out.names(), [(1, "Refused"), (1, "Refused")]);
    assert_eq!(recipient.handle_handoff(at(0), D, &part(total - 1, Epoch(4)), true, &mut out), Ok(None));
    assert_eq!(recipient.incoming(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_image_is_carried_whole_over_a_lossy_network(
        image in proptest::collection::vec(any::<u8>(), 1..3_000),
        part_bytes in 1..400_u16,
        seed: u64,
    ) {
        let arrival = carry(&image, part_bytes, 100, seed).unwrap();
        prop_assert_eq!(arrival.image, image);
    }

    /// Parts that do not belong together, in any order: never a panic, never an image that nobody sent.
    #[test]
    fn any_parts_are_taken_without_panic(
        parts in proptest::collection::vec((0..40_u32, 0..12_u16, 0..6_u16, 0..14_usize, 1..4_u32, 0..2_u16), 0..60),
    ) {
        let limits = RecipientLimits { images: 2, image_bytes: 64, records: 4 };
        let (mut recipient, mut out) = (recipient(limits), Mail::default());
        for (total, part_bytes, part, len, e2, from) in parts {
            let bytes = vec![1; len];
            let part = Handoff { c: C, base: Epoch(0), e2: Epoch(e2), g: G, total, part_bytes, part, bytes: &bytes };
            if let Ok(Some(arrival)) = recipient.handle_handoff(at(0), NodeId(from), &part, true, &mut out) {
                prop_assert_eq!(&arrival.image, &vec![1; usize::try_from(total).unwrap()]);
            }
            prop_assert!(recipient.incoming() <= 2 && recipient.records() <= 4);
        }
    }
}

#[test]
fn a_window_of_parts_is_in_flight_and_the_lost_one_goes_again_first() {
    let mut donor = granted();
    let mut out = Mail::default();
    donor.hand_off(at(0), FINE, vec![0; 100].into(), 1, &mut out).unwrap();
    assert_eq!(parts_in(&out), (0..32).collect::<Vec<_>>());
    let ack = |donor: &mut Donor, missing, beyond| {
        let mut out = Mail::default();
        let ack = PartAck { c: C, e2: Epoch(2), g: G, missing, beyond };
        assert_eq!(donor.handle_message(at(1), R, &ack.into(), &mut out), Ok(DonorEvent::Nothing));
        parts_in(&out)
    };
    assert_eq!(ack(&mut donor, 10, 0), (32..42).collect::<Vec<_>>());
    // 10 is missing: two later ones may have overtaken it, three have not.
    assert_eq!(ack(&mut donor, 10, 0b11), []);
    assert_eq!(ack(&mut donor, 10, 0b111), [10]);
    assert_eq!(ack(&mut donor, 10, 0b1111), [], "once per timeout");
    assert_eq!(ack(&mut donor, 10, 0b1111), [], "no news");
    assert_eq!(ack(&mut donor, 15, 0), (42..47).collect::<Vec<_>>());
    let mut out = Mail::default();
    let _ = donor.handle_timeout(donor.poll_at().unwrap(), &mut out);
    assert_eq!(parts_in(&out), (15..47).collect::<Vec<_>>());
    // All acknowledged: the last one again, to be told what became of it.
    assert_eq!(ack(&mut donor, 47, 0), (47..79).collect::<Vec<_>>());
    assert_eq!(ack(&mut donor, 79, 0), (79..100).collect::<Vec<_>>());
    assert_eq!(ack(&mut donor, 100, u128::MAX), []);
    let mut out = Mail::default();
    let _ = donor.handle_timeout(donor.poll_at().unwrap(), &mut out);
    assert_eq!(parts_in(&out), [99]);
    let nobody = PartAck { c: C, e2: Epoch(2), g: Generation(6), missing: 1, beyond: 0 };
    assert_eq!(donor.handle_message(at(1), R, &nobody.into(), &mut out), Err(DropReason::MessageStale));
}

#[test]
fn an_image_that_cannot_be_cut_comes_back() {
    let mut out = Mail::default();
    for image in [vec![], vec![0; 65_536]] {
        let back: Box<[u8]> = image.into();
        let result = granted().hand_off(at(0), FINE, back.clone(), 1, &mut out);
        assert_eq!(result, Err((NoHandoff::Unsendable, back)));
    }
    assert!(out.0.is_empty());
    assert_eq!(granted().hand_off(at(0), FINE, vec![0; 65_535].into(), 1, &mut out), Ok(()));
}

#[test]
fn images_bytes_and_records_are_bounded() {
    let limits = RecipientLimits { images: 2, image_bytes: 50, records: 3 };
    let (mut recipient, mut out) = (recipient(limits), Mail::default());
    let mut take = |recipient: &mut Recipient, c, total| {
        out.0.clear();
        let bytes = [0; 10];
        let part =
            Handoff { c: ConnId(c), base: Epoch(0), e2: Epoch(1), g: G, total, part_bytes: 10, part: 0, bytes: &bytes };
        let taken = recipient.handle_handoff(at(0), D, &part, true, &mut out).map(|arrival| arrival.is_some());
        (taken, out.names().iter().map(|(_, name)| *name).collect::<Vec<_>>())
    };
    assert_eq!(take(&mut recipient, 1, 20), (Ok(false), vec!["PartAck"]));
    assert_eq!(take(&mut recipient, 2, 31), (Ok(false), vec!["Refused"]), "51 bytes");
    assert_eq!(take(&mut recipient, 3, 30), (Ok(false), vec!["PartAck"]), "50 bytes");
    assert_eq!(take(&mut recipient, 4, 10), (Ok(true), vec![]), "what comes in one part needs no room");
    assert_eq!((recipient.incoming(), recipient.records()), (2, 1));
    // The rest does not come: refused, and the room is free again.
    recipient.handle_timeout(at(0) + PART_TIME_MAX, |_| true, &mut Mail::default());
    assert_eq!((recipient.incoming(), recipient.records()), (0, 3));
    assert_eq!(take(&mut recipient, 5, 10), (Err(DropReason::MessageLimit), vec![]));
    let revoke = |c| Revoke { c: ConnId(c), e2: Epoch(1), g: G, flow: flow(ConnId(c)) };
    let mut out = Mail::default();
    assert_eq!(recipient.handle_revoke(at(0), &revoke(5), true, &mut out), Err(DropReason::MessageLimit));
    assert_eq!(recipient.handle_revoke(at(0), &revoke(3), true, &mut out), Ok(()), "what is known is said");
    recipient.handle_done(at(0), D, &Done { c: ConnId(2), e2: Epoch(1) }).unwrap();
    recipient.handle_timeout(at(10_000), |_| true, &mut out);
    assert_eq!(recipient.handle_revoke(at(0), &revoke(5), true, &mut out), Ok(()));
    // The number of images, with bytes to spare.
    let limits = RecipientLimits { image_bytes: 1_000, records: 9, ..limits };
    let mut other = Recipient::new(limits);
    other.set_generation(G);
    let said: Vec<_> = (1..=3).map(|c| take_names(&mut other, c)).collect();
    assert_eq!(said, ["PartAck", "PartAck", "Refused"]);
}

fn take_names(recipient: &mut Recipient, c: u64) -> &'static str {
    let mut out = Mail::default();
    let part = Handoff {
        c: ConnId(c),
        base: Epoch(0),
        e2: Epoch(1),
        g: G,
        total: 20,
        part_bytes: 10,
        part: 0,
        bytes: &[0; 10],
    };
    recipient.handle_handoff(at(0), D, &part, true, &mut out).unwrap();
    out.names()[0].1
}

/// A donor that is dead need not confirm.
#[test]
fn the_dead_confirm_everything() {
    let (mut recipient, mut out) = (recipient(RecipientLimits::default()), Mail::default());
    let part = Handoff { c: C, base: Epoch(0), e2: Epoch(1), g: G, total: 1, part_bytes: 10, part: 0, bytes: b"i" };
    let arrival = recipient.handle_handoff(at(0), D, &part, true, &mut out).unwrap().unwrap();
    recipient.refuse(at(0), arrival.attempt, arrival.donor, RefuseReason::Malformed, &mut out);
    recipient.handle_timeout(at(5_000), |_| true, &mut out);
    assert_eq!(recipient.records(), 1);
    recipient.handle_node_down(at(5_000), D);
    recipient.handle_timeout(at(7_000), |_| true, &mut out);
    assert_eq!(recipient.records(), 0);
}

fn closed(c: u64) -> Closed {
    let (ended, served) = (Ended::Passive, Served { requests: 1, bytes: 2 });
    Closed { c: ConnId(c), e: Epoch(1), snd_nxt: 1, rcv_nxt: 2, timestamps: None, ended, served }
}

#[test]
fn closed_is_said_until_it_is_heard() {
    let (mut reports, mut out) = (ClosedReports::new(2), Mail::default());
    assert_eq!(reports.report(at(0), closed(1), &mut out), Ok(()));
    assert_eq!(reports.report(at(0), closed(2), &mut out), Ok(()));
    assert_eq!(reports.report(at(0), closed(3), &mut out), Err(DropReason::MessageLimit));
    assert_eq!(reports.report(at(0), closed(2), &mut out), Ok(()), "again");
    assert_eq!((out.0.len(), reports.len()), (4, 2));
    assert!(reports.contains(ConnId(1)) && !reports.contains(ConnId(3)));
    reports.acknowledge(ConnId(1));
    reports.acknowledge(ConnId(1));
    out.0.clear();
    let mut times = vec![];
    for ms in 0..2_000 {
        reports.handle_timeout(at(ms), &mut out);
        times.extend(core::mem::take(&mut out.0).iter().map(|_| ms));
    }
    assert_eq!(times, [20, 60, 140, 300, 620, 1_120, 1_620]);
    reports.acknowledge(ConnId(2));
    assert!(reports.is_empty() && reports.poll_at().is_none());
}

fn former(c: u64, port: u16) -> Former {
    let end = |last, port| Endpoint { addr: IpAddr::from([10, 0, 0, last]), port };
    Former { c: ConnId(c), flow: Flow { client: end(1, port), vip: end(2, 80) }, e2: Epoch(4), to: R, g: G }
}

#[test]
fn stragglers_keep_their_way_open_and_silence_closes_it() {
    let mut formers = Formers::new(2, 1);
    let (one, two, three) = (former(1, 1), former(2, 2), former(3, 3));
    formers.insert(at(0), one);
    formers.insert(at(1), two);
    assert_eq!(formers.straggler(at(2), &one.flow), Some(one));
    assert_eq!(formers.straggler(at(2), &three.flow), None);
    formers.insert(at(3), three);
    assert_eq!((formers.len(), formers.of(ConnId(2))), (2, None), "the longest silent one gives way");
    formers.handle_timeout(at(1) + FORMER_TIME);
    assert_eq!(formers.len(), 2);
    formers.handle_timeout(at(2) + FORMER_TIME);
    assert_eq!(formers.of(ConnId(1)), None);
    formers.handle_node_down(Death { node: R, g: Generation(4) });
    assert_eq!(formers.len(), 1);
    formers.handle_node_down(Death { node: R, g: G });
    assert!(formers.is_empty() && formers.poll_at().is_none());
    // A flow that is used again belongs to its new connection.
    formers.insert(at(4), one);
    let again = Former { c: ConnId(9), ..one };
    formers.insert(at(4), again);
    formers.remove(ConnId(1));
    assert_eq!(formers.straggler(at(5), &one.flow), Some(again));
}

#[test]
fn a_former_owner_answers_for_what_it_gave_away() {
    let mut formers = Formers::new(2, 1);
    formers.insert(at(0), former(1, 1));
    let answer = |formers: &Formers, from, message: Message<'_>| {
        let mut out = Mail::default();
        formers.handle_message(from, &message, &mut out).map(|()| out.names())
    };
    let c = ConnId(1);
    assert_eq!(answer(&formers, R, Installed { c, e2: Epoch(4), g: G }.into()), Ok(vec![(2, "Done")]));
    let refused = Refused { c, e2: Epoch(4), g: G, reason: RefuseReason::Limit };
    assert_eq!(answer(&formers, R, refused.into()), Ok(vec![(2, "Done")]));
    let settle = |c, e2| Message::from(Settle { c, base: Epoch(3), e2: Epoch(e2), to: R, g: G });
    assert_eq!(answer(&formers, F, settle(c, 4)), Ok(vec![(0, "Settled")]));
    assert_eq!(answer(&formers, F, settle(c, 3)), Err(DropReason::MessageStale), "not what it gave");
    assert_eq!(answer(&formers, F, settle(ConnId(2), 3)), Ok(vec![(0, "Settled")]), "given long ago");
    assert_eq!(answer(&formers, R, settle(c, 4)), Err(DropReason::MessageStale), "not the front-end");
    assert_eq!(answer(&formers, R, Done { c, e2: Epoch(4) }.into()), Err(DropReason::MessageStale));
}
