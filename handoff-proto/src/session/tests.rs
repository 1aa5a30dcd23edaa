use baton_stack::addr::{ConnId, Ipv4Addr};

use super::*;
use crate::header::{Header, KIND_UNSEALED};
use crate::message::{
    CONFIRMATION_PATIENCE, ClosedAck, Handoff, INSTALLED_PATIENCE, Installed, Patience, Prefetch, RequestKey, Routed,
    Tail, Thaw,
};
use crate::names::{Epoch, Generation};
use crate::recipient::MESSAGE_LIFE;
use crate::seal::ClusterSecret;

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const P: PeerIndex = PeerIndex(0);
const MTU: usize = 1_472;

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1_000)
}

fn sessions(name: &str, boot: u32, seed: u8) -> Sessions {
    with_secret(name, boot, seed, b'k')
}

fn with_secret(name: &str, boot: u32, seed: u8, secret: u8) -> Sessions {
    let (role, datagram_bytes) = (Role::BackEnd, u16::try_from(MTU).unwrap());
    let me = Identity { name: name.to_owned(), boot: Boot(boot), core: 0, cores: 1, role, datagram_bytes };
    Sessions::new(me, ClusterSecret::parse(&[secret; 32]).unwrap(), [seed; 32])
}

/// `a` and `b`, who know of each other and have said nothing yet.
fn strangers() -> (Sessions, Sessions) {
    let (mut a, mut b) = (sessions("a", 10, 1), sessions("b", 20, 2));
    a.add_peer(at(0), "b", 0, B).unwrap();
    b.add_peer(at(0), "a", 0, A).unwrap();
    (a, b)
}

/// `a` and `b` with a session.
fn friends() -> (Sessions, Sessions) {
    let (mut a, mut b) = strangers();
    talk(at(0), &mut a, &mut b);
    assert_eq!((a.boot(P), b.boot(P)), (Some(Boot(20)), Some(Boot(10))));
    while a.poll_event().is_some() || b.poll_event().is_some() {}
    (a, b)
}

/// All that `from` has to send now.
fn datagrams(now: Instant, from: &mut Sessions) -> Vec<Vec<u8>> {
    let mut all = vec![];
    let mut buf = [0; MTU];
    while let Some((_, len)) = from.poll_transmit(now, &mut buf) {
        all.push(buf[..len].to_vec());
    }
    all
}

/// Hands a datagram over; the names of the messages in it.
fn deliver(now: Instant, from: IpAddr, to: &mut Sessions, datagram: &[u8]) -> Result<Vec<&'static str>, DropReason> {
    let mut datagram = datagram.to_vec();
    let (peer, messages) = to.handle_datagram(now, from, &mut datagram)?;
    assert_eq!(peer, P);
    messages.map(|message| message.map(|message| message.name())).collect()
}

/// Until neither has anything to say; the names of all messages.
fn talk(now: Instant, a: &mut Sessions, b: &mut Sessions) -> Vec<&'static str> {
    let mut names = vec![];
    loop {
        let (from_a, from_b) = (datagrams(now, a), datagrams(now, b));
        if from_a.is_empty() && from_b.is_empty() {
            return names;
        }
        for datagram in from_a {
            names.extend(deliver(now, A, b, &datagram).unwrap_or_default());
        }
        for datagram in from_b {
            names.extend(deliver(now, B, a, &datagram).unwrap_or_default());
        }
    }
}

fn thaw(n: u64) -> Message<'static> {
    Thaw { c: ConnId(n), e2: Epoch(1) }.into()
}

#[test]
fn three_datagrams_make_a_session_and_one_carries_many_messages() {
    let (mut a, mut b) = (sessions("a", 10, 1), sessions("b", 20, 2));
    a.add_peer(at(0), "b", 0, B).unwrap();
    let hello = datagrams(at(0), &mut a);
    assert_eq!(hello.len(), 1);
    assert_eq!(deliver(at(0), A, &mut b, &hello[0]), Err(DropReason::MessageUnknownPeer));
    b.add_peer(at(9), "a", 0, A).unwrap();
    // Only one side begins: the other's own HELLO is due later.
    assert_eq!(deliver(at(0), A, &mut b, &hello[0]), Ok(vec![]));
    assert_eq!(b.boot(P), None, "a HELLO may be a replay");
    let answer = datagrams(at(0), &mut b);
    assert_eq!(answer.len(), 1);
    assert_eq!(deliver(at(0), B, &mut a, &answer[0]), Ok(vec![]));
    assert_eq!(a.poll_event(), Some(SessionEvent::PeerBooted { peer: P, boot: Boot(20) }));
    for n in 0..40 {
        a.send(P, &thaw(n)).unwrap();
    }
    let rest = datagrams(at(0), &mut a);
    assert_eq!(rest.len(), 2, "one answer, one datagram for forty messages");
    assert_eq!(deliver(at(0), A, &mut b, &rest[0]), Ok(vec![]));
    assert_eq!(b.poll_event(), Some(SessionEvent::PeerBooted { peer: P, boot: Boot(10) }));
    assert_eq!(deliver(at(0), A, &mut b, &rest[1]).unwrap().len(), 40);
    assert!(datagrams(at(1_000), &mut a).is_empty() && datagrams(at(1_000), &mut b).is_empty(), "all is said");
    let info = a.info(P).unwrap();
    assert_eq!((info.role, info.cores, info.version), (Role::BackEnd, 1, VERSION_MAX));
    assert_eq!(usize::from(info.datagram_bytes), MTU);
}

#[test]
fn hello_is_repeated_with_backoff_until_it_is_answered() {
    let (mut a, mut b) = strangers();
    let mut times = vec![];
    for ms in 0..3_000 {
        times.extend(datagrams(at(ms), &mut a).iter().map(|_| ms));
    }
    assert_eq!(times[..6], [0, 20, 60, 140, 300, 620]);
    assert_eq!(times[6..], [1_120, 1_620, 2_120, 2_620]);
    talk(at(3_200), &mut a, &mut b);
    assert_eq!(a.boot(P), Some(Boot(20)));
}

/// Whatever is lost, the two agree in the end.
#[test]
fn any_datagram_of_the_handshake_may_be_lost() {
    for lost in 0..64_u32 {
        let (mut a, mut b) = strangers();
        let mut serial = 0;
        let mut survives = || {
            serial += 1;
            serial > 6 || lost >> (serial - 1) & 1 == 0
        };
        for ms in 0..2_000 {
            for datagram in datagrams(at(ms), &mut a) {
                let _ = survives().then(|| deliver(at(ms), A, &mut b, &datagram));
            }
            for datagram in datagrams(at(ms), &mut b) {
                let _ = survives().then(|| deliver(at(ms), B, &mut a, &datagram));
            }
        }
        a.send(P, &thaw(1)).unwrap();
        b.send(P, &thaw(2)).unwrap();
        assert_eq!(talk(at(2_001), &mut a, &mut b), ["Thaw", "Thaw"], "lost {lost:06b}");
    }
}

/// The same after one of them has started anew, while the other still has its old session and no reason of its own to speak.
#[test]
fn any_datagram_of_a_new_life_s_handshake_may_be_lost() {
    for lost in 0..64_u32 {
        let (_, mut b) = friends();
        let mut a = sessions("a", 11, 3);
        a.add_peer(at(0), "b", 0, B).unwrap();
        let mut serial = 0;
        let mut survives = || {
            serial += 1;
            serial > 6 || lost >> (serial - 1) & 1 == 0
        };
        for ms in 0..2_000 {
            for datagram in datagrams(at(ms), &mut a) {
                let _ = survives().then(|| deliver(at(ms), A, &mut b, &datagram));
            }
            for datagram in datagrams(at(ms), &mut b) {
                let _ = survives().then(|| deliver(at(ms), B, &mut a, &datagram));
            }
        }
        a.send(P, &thaw(1)).unwrap();
        b.send(P, &thaw(2)).unwrap();
        assert_eq!(talk(at(2_001), &mut a, &mut b), ["Thaw", "Thaw"], "lost {lost:06b}");
    }
}

#[test]
fn a_replayed_or_reflected_hello_changes_nothing() {
    let (mut a, mut b) = strangers();
    let hello = datagrams(at(0), &mut a).remove(0);
    let their_hello = datagrams(at(0), &mut b).remove(0);
    deliver(at(0), A, &mut b, &hello).unwrap();
    deliver(at(0), B, &mut a, &their_hello).unwrap();
    let answer = datagrams(at(0), &mut b).remove(0);
    talk(at(0), &mut a, &mut b);
    deliver(at(0), B, &mut a, &answer).unwrap();
    talk(at(0), &mut a, &mut b);
    while a.poll_event().is_some() || b.poll_event().is_some() {}
    a.send(P, &thaw(1)).unwrap();
    let sealed = datagrams(at(1), &mut a).remove(0);

    // Again: an answer at most, no event, and the keys stay.
    for (from, old) in [(A, &hello), (B, &their_hello), (B, &answer)] {
        let to = if from == A { &mut b } else { &mut a };
        let _ = deliver(at(5), from, to, old);
        assert_eq!(to.poll_event(), None);
        datagrams(at(5), to);
    }
    // To whom it came from.
    assert_eq!(deliver(at(5), B, &mut a, &hello), Err(DropReason::MessageUnsealed));
    assert_eq!(deliver(at(5), B, &mut a, &sealed), Err(DropReason::MessageStale));
    assert_eq!(deliver(at(5), A, &mut b, &sealed), Ok(vec!["Thaw"]));
    assert_eq!(deliver(at(5), A, &mut b, &sealed), Err(DropReason::MessageReplayed));
}

#[test]
fn a_new_life_gets_new_keys_and_the_old_one_is_not_listened_to() {
    let (mut a, mut b) = friends();
    b.send(P, &thaw(1)).unwrap();
    let old = datagrams(at(1), &mut b).remove(0);
    a.send(P, &thaw(2)).unwrap();

    let mut reborn = sessions("b", 21, 3);
    reborn.add_peer(at(2), "a", 0, A).unwrap();
    assert_eq!(deliver(at(2), A, &mut reborn, &datagrams(at(2), &mut a)[0]), Err(DropReason::MessageStale));
    a.send(P, &thaw(3)).unwrap();
    let hello = datagrams(at(2), &mut reborn).remove(0);
    deliver(at(2), B, &mut a, &hello).unwrap();
    assert_eq!(a.boot(P), Some(Boot(20)), "not proved yet");
    assert!(talk(at(2), &mut a, &mut reborn).is_empty(), "what waited for the old life is gone");
    assert_eq!(a.poll_event(), Some(SessionEvent::PeerBooted { peer: P, boot: Boot(21) }));
    a.send(P, &thaw(4)).unwrap();
    assert_eq!(talk(at(3), &mut a, &mut reborn), ["Thaw"]);

    assert_eq!(deliver(at(3), B, &mut a, &old), Err(DropReason::MessageStale));
    for boot in [20, 21] {
        let mut ghost = sessions("b", boot, 4);
        ghost.add_peer(at(3), "a", 0, A).unwrap();
        let hello = datagrams(at(3), &mut ghost).remove(0);
        assert_eq!(deliver(at(3), B, &mut a, &hello), Err(DropReason::MessageStale), "boot {boot}");
    }
    assert_eq!(a.boot(P), Some(Boot(21)));
}

#[test]
fn who_lacks_the_secret_or_the_name_is_nobody() {
    let (mut a, _) = strangers();
    let mut outsider = with_secret("b", 20, 2, b'x');
    outsider.add_peer(at(0), "a", 0, A).unwrap();
    let hello = datagrams(at(0), &mut outsider).remove(0);
    assert_eq!(deliver(at(0), B, &mut a, &hello), Err(DropReason::MessageUnsealed));
    let mut other = sessions("c", 20, 2);
    other.add_peer(at(0), "a", 0, A).unwrap();
    let hello = datagrams(at(0), &mut other).remove(0);
    assert_eq!(deliver(at(0), B, &mut a, &hello), Err(DropReason::MessageUnsealed), "another name, another key");
    assert_eq!(deliver(at(0), A, &mut a, &hello), Err(DropReason::MessageUnknownPeer));
    let mut elsewhere = sessions("b", 20, 2);
    elsewhere.add_peer(at(0), "a", 1, A).unwrap();
    let hello = datagrams(at(0), &mut elsewhere).remove(0);
    assert_eq!(deliver(at(0), B, &mut a, &hello), Err(DropReason::NotOurs), "for another core");
    assert_eq!(a.boot(P), None);
}

/// Each truncation and each flipped bit of HELLO, HELLO-ACK and a sealed datagram, into every stage of the handshake.
#[test]
fn damaged_datagrams_are_counted_and_change_nothing() {
    let (mut a, mut b) = strangers();
    let hello = datagrams(at(0), &mut b).remove(0);
    deliver(at(0), A, &mut b, &datagrams(at(0), &mut a).remove(0)).unwrap();
    let answer = datagrams(at(0), &mut b).remove(0);
    let refused = |to: &mut Sessions, datagram: &[u8]| {
        for len in 0..datagram.len() {
            assert!(deliver(at(0), B, to, &datagram[..len]).is_err(), "{len}");
        }
        for bit in 0..datagram.len() * 8 {
            let mut damaged = datagram.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(deliver(at(0), B, to, &damaged).is_err(), "bit {bit}");
        }
        assert_eq!(to.poll_event(), None);
        assert!(datagrams(at(0), to).is_empty(), "a damaged datagram was answered");
    };
    refused(&mut a, &hello);
    refused(&mut a, &answer);
    deliver(at(0), B, &mut a, &answer).unwrap();
    talk(at(0), &mut a, &mut b);
    while a.poll_event().is_some() {}
    b.send(P, &thaw(7)).unwrap();
    let sealed = datagrams(at(0), &mut b).remove(0);
    refused(&mut a, &sealed);
    assert_eq!(deliver(at(0), B, &mut a, &sealed), Ok(vec!["Thaw"]));
}

#[test]
fn a_message_that_does_not_decode_spares_its_neighbours() {
    let (mut a, mut b) = friends();
    a.send(P, &thaw(1)).unwrap();
    a.peers[0].push(&[199, 1, 0, 0], Patience::None).unwrap();
    a.peers[0].push(&[199, 0, 0, 0], Patience::None).unwrap();
    a.send(P, &thaw(2)).unwrap();
    let mut datagram = datagrams(at(1), &mut a).remove(0);
    let (_, messages) = b.handle_datagram(at(1), A, &mut datagram).unwrap();
    let all: Vec<_> = messages.collect();
    assert_eq!(all, [Ok(thaw(1)), Err(DropReason::MessageMalformed), Ok(thaw(2))]);
}

#[test]
fn queues_are_bounded_before_and_with_a_session() {
    for (mut sender, limit) in [(strangers().0, QUEUE_BYTES_BEFORE_SESSION_MAX), (friends().0, QUEUE_BYTES_MAX)] {
        let message: Message<'_> = ClosedAck { c: ConnId(1) }.into();
        let fit = limit / message.encoded_len();
        for _ in 0..fit {
            sender.send(P, &message).unwrap();
        }
        assert_eq!(sender.send(P, &message), Err(DropReason::MessageLimit));
        assert_eq!(sender.send(PeerIndex(1), &message), Err(DropReason::MessageUnknownPeer));
    }
}

#[test]
fn the_largest_message_fills_a_datagram_and_one_byte_more_is_refused() {
    let (mut a, mut b) = friends();
    let part_bytes = a.part_bytes(P);
    let bytes = vec![1; usize::from(part_bytes)];
    let (c, e) = (ConnId(1), Epoch(1));
    let part = Handoff { c, base: e, e2: e, g: Generation(1), total: 1, part_bytes, part: 0, bytes: &bytes };
    a.send(P, &part.into()).unwrap();
    assert_eq!(Message::from(part).encoded_len(), a.message_bytes_max());
    let longer = vec![1; bytes.len() + 1];
    assert_eq!(a.send(P, &Handoff { bytes: &longer, ..part }.into()), Err(DropReason::MessageLimit));
    let datagram = datagrams(at(1), &mut a).remove(0);
    assert_eq!(datagram.len(), MTU);
    assert_eq!(deliver(at(1), A, &mut b, &datagram), Ok(vec!["Handoff"]));
    // Before HELLO only what any node takes.
    assert!(strangers().0.part_bytes(P) < part_bytes);
}

#[test]
fn order_is_kept_over_many_datagrams() {
    let (mut a, mut b) = friends();
    let bytes = [0; 100];
    for start in 0..200 {
        a.send(P, &Tail { c: ConnId(1), e: Epoch(1), start, bytes: &bytes }.into()).unwrap();
    }
    let mut next = 0;
    for mut datagram in datagrams(at(1), &mut a) {
        let (_, messages) = b.handle_datagram(at(1), A, &mut datagram).unwrap();
        for message in messages {
            let Ok(Message::Tail(tail)) = message else { panic!("{message:?}") };
            assert_eq!(tail.start, next);
            next += 1;
        }
    }
    assert_eq!(next, 200);
}

/// R10: what is older than a message may be is dropped, however well it is sealed; clocks may drift.
#[test]
fn an_old_datagram_is_dropped() {
    let (mut a, mut b) = friends();
    let life = u64::try_from(MESSAGE_LIFE.as_millis()).unwrap();
    let mut sent = |now| {
        a.send(P, &thaw(1)).unwrap();
        datagrams(now, &mut a).remove(0)
    };
    let (first, second, third) = (sent(at(100)), sent(at(101)), sent(at(102)));
    assert_eq!(deliver(at(100 + life), A, &mut b, &first), Ok(vec!["Thaw"]));
    assert_eq!(deliver(at(100 + life + 20), A, &mut b, &second), Err(DropReason::MessageStale));
    // An hour later, on a clock that has lost 0.4 s against the sender's: not taken for an old one.
    let hour = 3_600_000;
    let later = sent(at(hour));
    assert_eq!(deliver(at(hour + 400), A, &mut b, &later), Ok(vec!["Thaw"]));
    assert_eq!(deliver(at(hour), A, &mut b, &third), Err(DropReason::MessageStale));
}

/// R10: a session that is used does not grow more patient with time, also if the clocks drift apart.
#[test]
fn an_old_session_drops_old_datagrams_too() {
    let (mut a, mut b) = friends();
    let life = u64::try_from(MESSAGE_LIFE.as_millis()).unwrap();
    let day = 86_400_000;
    let mut sent = |now| {
        a.send(P, &thaw(1)).unwrap();
        datagrams(now, &mut a).remove(0)
    };
    // One a second, of a clock that loses 50 millionths: 4.3 s in all.
    let late = |ms: u64| ms + ms / 20_000;
    for ms in (1_000..=day).step_by(1_000) {
        let datagram = sent(at(ms));
        assert_eq!(deliver(at(late(ms)), A, &mut b, &datagram), Ok(vec!["Thaw"]), "after {ms} ms");
    }
    let (young, old) = (sent(at(day + 1_001)), sent(at(day + 1_002)));
    let received = late(day + 1_001);
    assert_eq!(deliver(at(received + life), A, &mut b, &young), Ok(vec!["Thaw"]));
    assert_eq!(deliver(at(received + life + 20), A, &mut b, &old), Err(DropReason::MessageStale));
}

#[test]
fn peers_take_turns_and_an_unreachable_one_waits() {
    let mut a = sessions("a", 10, 1);
    let c = IpAddr::from([10, 0, 0, 3]);
    let (b, c) = (a.add_peer(at(0), "b", 0, B).unwrap(), a.add_peer(at(0), "c", 0, c).unwrap());
    assert_eq!(a.add_peer(at(0), "b", 0, B), Some(b), "known already");
    assert_eq!(a.add_peer(at(0), "a", 0, A), None, "itself");
    let next = |a: &mut Sessions, ms| a.next_transmit(at(ms)).map(|outgoing| outgoing.peer);
    assert_eq!(next(&mut a, 0), Some(b));
    a.postpone(at(0), b);
    assert_eq!(next(&mut a, 0), Some(c));
    assert!(a.write_datagram(at(0), c, &mut [0; MTU]) > 0);
    assert_eq!(next(&mut a, 0), None);
    assert_eq!(a.poll_at(), Some(at(5)));
    assert_eq!(next(&mut a, 5), Some(b));
}

#[test]
fn peers_are_bounded() {
    let mut a = sessions("a", 10, 1);
    let addr = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
    for n in 0..PEERS_MAX {
        assert!(a.add_peer(at(0), &format!("n{n}"), 0, addr(n)).is_some());
    }
    assert_eq!(a.add_peer(at(0), "one more", 0, B), None);
    assert_eq!(a.len(), PEERS_MAX);
}

#[test]
fn a_wire_version_that_nobody_shares_is_refused() {
    let (mut a, mut b) = strangers();
    let mut hello = datagrams(at(0), &mut b).remove(0);
    hello[2] = VERSION_MAX + 1;
    assert_eq!(deliver(at(0), B, &mut a, &hello), Err(DropReason::MessageMalformed));
    let header = Header::take(&mut Reader::new(&hello));
    assert_eq!(header.map(|header| header.sender_boot), Some(Boot(20)));
}

/// Both directions of two lives of `b`: what an observer of the link records.
fn recorded() -> Vec<Vec<u8>> {
    let mut all = vec![];
    let (mut a, mut b) = strangers();
    for life in 0..2 {
        if life == 1 {
            b = sessions("b", 21, 3);
            b.add_peer(at(1), "a", 0, A).unwrap();
        }
        for n in 0..40 {
            let now = at(100 * life + n);
            a.send(P, &thaw(1_000 * life + n)).unwrap();
            b.send(P, &thaw(1_000 * life + 500 + n)).unwrap();
            for (from_a, datagram) in [(true, datagrams(now, &mut a)), (false, datagrams(now, &mut b))] {
                for datagram in datagram {
                    let (addr, to) = if from_a { (A, &mut b) } else { (B, &mut a) };
                    let _ = deliver(now, addr, to, &datagram);
                    all.push(datagram);
                }
            }
        }
    }
    all
}

fn unsealer(secret: u8, hellos: &[Vec<u8>]) -> Unsealer {
    let mut unsealer = Unsealer::new(&ClusterSecret::parse(&[secret; 32]).unwrap().into());
    for datagram in hellos {
        unsealer.learn(datagram);
    }
    unsealer
}

#[test]
fn who_has_the_secret_reads_a_capture_in_any_order() {
    let mut capture = recorded();
    let hellos = capture.iter().filter(|datagram| datagram[3] == 1).count();
    assert!(hellos >= 6 && capture.len() > hellos + 100, "{hellos} of {}", capture.len());
    for _ in 0..2 {
        let unsealer = unsealer(b'k', &capture);
        let mut read = BTreeSet::new();
        for datagram in &capture {
            match unsealer.open(datagram) {
                Captured::Hello => assert_eq!(datagram[3], 1),
                Captured::Unsealed(clear) => {
                    assert_eq!((clear.len() + TAG_BYTES, clear[3]), (datagram.len(), KIND_UNSEALED));
                    assert_eq!((&clear[..3], &clear[4..HEADER_BYTES]), (&datagram[..3], &datagram[4..HEADER_BYTES]));
                    let mut reader = Reader::new(&clear[HEADER_BYTES..]);
                    while !reader.is_empty() {
                        read.insert(Message::decode(&mut reader).unwrap().connection().unwrap().0);
                    }
                }
                other @ (Captured::Sealed | Captured::Foreign) => panic!("{other:?}"),
            }
        }
        assert!(read.len() > 150, "{}", read.len());
        assert!(read.contains(&539) && read.contains(&1_539), "both lives and both directions");
        capture.reverse();
    }
}

#[test]
fn who_has_another_secret_or_no_hello_reads_nothing() {
    let capture = recorded();
    let sealed: Vec<_> = capture.iter().filter(|datagram| datagram[3] == 2).cloned().collect();
    for unsealer in [unsealer(b'x', &capture), unsealer(b'k', &sealed)] {
        assert!(sealed.iter().all(|datagram| unsealer.open(datagram) == Captured::Sealed));
    }
    let unsealer = unsealer(b'k', &capture);
    let mut flipped = sealed[0].clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(unsealer.open(&flipped), Captured::Sealed);
    for other in [&[][..], &[0; 100], &sealed[0][..HEADER_BYTES - 1]] {
        assert_eq!(unsealer.open(other), Captured::Foreign);
    }
}

/// From the last HELLO-ACK alone: both challenges stand in it, and it is meant for a life that is known.
#[test]
fn the_last_hello_ack_is_enough_to_read_a_capture() {
    let capture = recorded();
    let sealed = capture.iter().position(|datagram| datagram[3] == 2).unwrap();
    let last = capture[..sealed].iter().rposition(|datagram| datagram[3] == 1).unwrap();
    let unsealer = unsealer(b'k', &capture[last..=last]);
    assert!(matches!(unsealer.open(&capture[sealed]), Captured::Unsealed(_)));
}

#[test]
fn no_node_takes_an_unsealed_datagram() {
    let (mut a, mut b) = friends();
    a.send(P, &thaw(1)).unwrap();
    let sealed = datagrams(at(1), &mut a).remove(0);
    let mut clear = sealed[..HEADER_BYTES].to_vec();
    thaw(1).encode(&mut clear);
    for tag in [&[][..], &sealed[sealed.len() - TAG_BYTES..]] {
        let mut datagram = [&clear, tag].concat();
        datagram[3] = KIND_UNSEALED;
        assert_eq!(deliver(at(1), A, &mut b, &datagram), Err(DropReason::MessageMalformed));
    }
    assert_eq!(deliver(at(1), A, &mut b, &sealed), Ok(vec!["Thaw"]), "and it has changed nothing");
}

fn routed(n: u64) -> Message<'static> {
    Routed { c: ConnId(n), e2: Epoch(1) }.into()
}

fn installed(n: u64) -> Message<'static> {
    Installed { c: ConnId(n), e2: Epoch(1), g: Generation(1) }.into()
}

/// When, in milliseconds, the datagrams of a side leave that is asked whenever it says that it has something to do.
fn leaves_at(from: &mut Sessions) -> Vec<(u64, Vec<u8>)> {
    let mut all = vec![];
    let mut now = at(0);
    while let Some(due) = from.poll_at().filter(|due| *due < at(1_000)) {
        now = now.max(due);
        let ms = now.since(at(0)).as_millis().try_into().unwrap();
        all.extend(datagrams(now, from).into_iter().map(|datagram| (ms, datagram)));
    }
    all
}

#[test]
fn what_has_time_waits_for_company_and_no_longer_than_it_may() {
    let (mut a, mut b) = friends();
    // Alone: until its time is over, the shortest of all that waits.
    a.send(P, &routed(1)).unwrap();
    assert_eq!(a.poll_at(), Some(Instant::ZERO), "somebody must look at the clock");
    assert!(datagrams(at(0), &mut a).is_empty());
    assert_eq!(a.poll_at(), Some(at(5)));
    a.send(P, &installed(2)).unwrap();
    a.send(P, &routed(3)).unwrap();
    let left = leaves_at(&mut a);
    assert_eq!(left.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), [4]);
    assert_eq!(deliver(at(4), A, &mut b, &left[0].1), Ok(vec!["Routed", "Installed", "Routed"]));
    assert_eq!(a.poll_at(), None, "nothing is left to wait for");
    // With what has no time: at once, in the order in which they were said.
    a.send(P, &routed(4)).unwrap();
    assert!(datagrams(at(10), &mut a).is_empty());
    a.send(P, &thaw(5)).unwrap();
    a.send(P, &routed(6)).unwrap();
    let left = datagrams(at(12), &mut a);
    assert_eq!(left.len(), 1);
    assert_eq!(deliver(at(12), A, &mut b, &left[0]), Ok(vec!["Routed", "Thaw", "Routed"]));
    assert_eq!(a.poll_at(), None);
}

#[test]
fn what_was_forgotten_makes_nothing_else_hurry() {
    let (mut a, mut b) = friends();
    a.send(P, &routed(1)).unwrap();
    a.send(P, &thaw(1)).unwrap();
    a.forget_queued(P);
    assert!(datagrams(at(0), &mut a).is_empty());
    a.send(P, &routed(2)).unwrap();
    assert!(datagrams(at(1), &mut a).is_empty());
    assert!(datagrams(at(5), &mut a).is_empty());
    let left = datagrams(at(6), &mut a);
    assert_eq!(deliver(at(6), A, &mut b, &left[0]), Ok(vec!["Routed"]));
}

#[test]
fn what_fills_a_datagram_needs_no_company() {
    let (mut a, mut b) = friends();
    let begun = a.said().datagrams;
    for n in 0..77 {
        a.send(P, &routed(n)).unwrap();
    }
    assert!(datagrams(at(0), &mut a).is_empty(), "16 bytes each, 1,232 in all");
    a.send(P, &routed(77)).unwrap();
    let left = datagrams(at(0), &mut a);
    assert_eq!(left.len(), 1);
    assert_eq!(deliver(at(0), A, &mut b, &left[0]).unwrap(), vec!["Routed"; 78]);
    assert!(datagrams(at(10), &mut a).is_empty(), "nothing is left to wait for");
    let said: Vec<_> = a.said().messages().filter(|(_, count)| *count > 0).collect();
    assert_eq!((a.said().datagrams - begun, said), (1, vec![("Routed", 78)]));
}

/// A hint has a datagram of its own only where datagrams are rare.
#[test]
fn a_hint_waits_for_company_where_there_is_some() {
    let (mut a, mut b) = friends();
    let hint = || Prefetch {
        c: ConnId(1),
        e2: Epoch(1),
        g: Generation(1),
        n: 1,
        strip: 0,
        key: RequestKey::new(b"GET", b"", b"/"),
    };
    a.send(P, &hint().into()).unwrap();
    assert_eq!(datagrams(at(10), &mut a).len(), 1, "nothing was said before");
    let soon = at(10) + Duration::from_micros(300);
    a.send(P, &hint().into()).unwrap();
    assert!(datagrams(soon, &mut a).is_empty());
    assert_eq!(a.poll_at(), Some(at(11)));
    a.send(P, &thaw(1)).unwrap();
    let left = datagrams(soon, &mut a);
    assert_eq!(left.len(), 1);
    assert_eq!(deliver(soon, A, &mut b, &left[0]), Ok(vec!["Prefetch", "Thaw"]));
    a.send(P, &hint().into()).unwrap();
    assert!(datagrams(soon, &mut a).is_empty());
    assert_eq!(datagrams(at(12), &mut a).len(), 1);
    a.send(P, &hint().into()).unwrap();
    assert_eq!(datagrams(at(13), &mut a).len(), 1, "a millisecond later");
}

/// Patience is a part of the time after which the message, or what it answers, is said again.
#[test]
fn patience_is_short_beside_repetitions() {
    use crate::{closed::CLOSED_RETRY, donor::HANDOFF_RETRY, recipient::RECORD_RETRY, release::RELEASE_RETRY};
    let shortest = [CLOSED_RETRY, HANDOFF_RETRY, RECORD_RETRY, RELEASE_RETRY].into_iter().min().unwrap();
    assert!(INSTALLED_PATIENCE + CONFIRMATION_PATIENCE <= shortest / 2);
    let of = |message: Message<'_>| message.patience();
    assert_eq!(of(installed(1)), Patience::For(Duration::from_millis(4)));
    assert_eq!(of(routed(1)), Patience::For(Duration::from_millis(5)));
    assert_eq!(of(thaw(1)), Patience::None);
}
