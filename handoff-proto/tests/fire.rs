//! A node under fire: whatever is forged, repeated, cut or bent changes nothing at it, and each piece is counted.

use std::collections::BTreeMap;

use baton_stack::addr::{ConnId, IpAddr, Ipv4Addr};
use baton_stack::drop::DropReason;
use baton_stack::time::Instant;
use handoff_proto::header::HEADER_BYTES;
use handoff_proto::message::{Handoff, Thaw};
use handoff_proto::names::{Boot, Epoch, Generation};
use handoff_proto::seal::ClusterSecret;
use handoff_proto::session::{Identity, PeerIndex, Role, Sessions};

const FRIEND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const P: PeerIndex = PeerIndex(0);
const MTU: usize = 1_472;
const SHOTS: u64 = 1_200_000;
/// Honest traffic between the shots, and a look whether the victim is as it was.
const LOOK_EVERY: u64 = 500;

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1_000)
}

fn sessions(name: &str, secret: u8, seed: u8) -> Sessions {
    let (role, datagram_bytes) = (Role::BackEnd, u16::try_from(MTU).unwrap());
    let me = Identity { name: name.to_owned(), boot: Boot(10), core: 0, cores: 1, role, datagram_bytes };
    Sessions::new(me, ClusterSecret::parse(&[secret; 32]).unwrap(), [seed; 32])
}

fn datagrams(now: Instant, from: &mut Sessions) -> Vec<Vec<u8>> {
    let (mut all, mut buf) = (vec![], [0; MTU]);
    while let Some((_, len)) = from.poll_transmit(now, &mut buf) {
        all.push(buf[..len].to_vec());
    }
    all
}

/// Two friends with a session, and everything that was said on the wire so far.
struct Range {
    friend: Sessions,
    victim: Sessions,
    recorded: Vec<Vec<u8>>,
    said: u64,
}

impl Range {
    fn new() -> Self {
        let (mut friend, mut victim) = (sessions("a", b'k', 1), sessions("b", b'k', 2));
        friend.add_peer(at(0), "b", 0, VICTIM).unwrap();
        victim.add_peer(at(0), "a", 0, FRIEND).unwrap();
        let mut range = Self { friend, victim, recorded: vec![], said: 0 };
        for _ in 0..6 {
            range.exchange(0);
        }
        assert!(range.friend.boot(P).is_some() && range.victim.boot(P).is_some());
        while range.victim.poll_event().is_some() {}
        range
    }

    /// Both say what they have to say; gives how many messages the victim heard.
    fn exchange(&mut self, ms: u64) -> usize {
        let mut heard = 0;
        for datagram in datagrams(at(ms), &mut self.friend) {
            let mut copy = datagram.clone();
            let (_, messages) = self.victim.handle_datagram(at(ms), FRIEND, &mut copy).expect("a friend's word");
            heard += messages.filter(Result::is_ok).count();
            self.recorded.push(datagram);
        }
        for mut datagram in datagrams(at(ms), &mut self.victim) {
            self.recorded.push(datagram.clone());
            let _ = self.friend.handle_datagram(at(ms), VICTIM, &mut datagram);
        }
        heard
    }

    /// Some honest messages, of which each must be heard.
    fn talk(&mut self, ms: u64) {
        let (c, e) = (ConnId(self.said), Epoch(1));
        let bytes = [7; 700];
        let part = Handoff { c, base: e, e2: e, g: Generation(1), total: 700, part_bytes: 700, part: 0, bytes: &bytes };
        self.friend.send(P, &part.into()).unwrap();
        self.friend.send(P, &Thaw { c, e2: e }.into()).unwrap();
        self.said += 2;
        assert_eq!(self.exchange(ms), 2, "a friend's word was not heard");
    }

    /// Something that nobody in the cluster has sent just so, or that was heard already.
    fn shot(&self, dice: &mut Dice, outsider: &[Vec<u8>]) -> Vec<u8> {
        let any = |dice: &mut Dice| self.recorded[dice.below(self.recorded.len())].clone();
        let mut shot = any(dice);
        match dice.below(8) {
            // Repeated, by the friend or reflected.
            0 => {}
            1 => shot.truncate(dice.below(shot.len())),
            2 => (0..=dice.below(8)).for_each(|_| shot.push(u8::try_from(dice.below(256)).unwrap())),
            3 => {
                for _ in 0..=dice.below(8) {
                    let bit = dice.below(shot.len() * 8);
                    shot[bit / 8] ^= 1 << (bit % 8);
                }
            }
            // One's head, another's body.
            4 => {
                let other = any(dice);
                shot.truncate(HEADER_BYTES);
                shot.extend_from_slice(other.get(HEADER_BYTES..).unwrap_or_default());
            }
            // A counter that was never used.
            5 => {
                let counter = u64::MAX - u64::try_from(dice.below(1 << 40)).unwrap();
                shot[20..28].copy_from_slice(&counter.to_be_bytes());
            }
            // Well made, under another secret.
            6 => shot = outsider[dice.below(outsider.len())].clone(),
            _ => {
                let len = dice.below(MTU);
                shot.truncate(if dice.below(2) == 0 { 0 } else { HEADER_BYTES });
                (shot.len()..len).for_each(|_| shot.push(u8::try_from(dice.below(256)).unwrap()));
            }
        }
        shot
    }
}

/// What somebody with another secret says under the friend's name.
fn outsider() -> Vec<Vec<u8>> {
    let (mut liar, mut mirror) = (sessions("a", b'x', 3), sessions("b", b'x', 4));
    liar.add_peer(at(0), "b", 0, VICTIM).unwrap();
    mirror.add_peer(at(0), "a", 0, FRIEND).unwrap();
    let mut all = vec![];
    for _ in 0..6 {
        let _ = liar.send(P, &Thaw { c: ConnId(1), e2: Epoch(9) }.into());
        for mut datagram in datagrams(at(0), &mut liar) {
            all.push(datagram.clone());
            let _ = mirror.handle_datagram(at(0), FRIEND, &mut datagram);
        }
        for mut datagram in datagrams(at(0), &mut mirror) {
            let _ = liar.handle_datagram(at(0), VICTIM, &mut datagram);
        }
    }
    all
}

#[test]
fn nothing_that_is_forged_repeated_cut_or_bent_changes_anything() {
    let (mut range, outsider) = (Range::new(), outsider());
    assert!(outsider.len() >= 4);
    (0..20).for_each(|_| range.talk(0));
    let mut dice = Dice(42);
    let mut counted: BTreeMap<DropReason, u64> = BTreeMap::new();
    let mut hellos = 0;
    let before = format!("{:?}", range.victim);
    for shot in 1..=SHOTS {
        let mut bytes = range.shot(&mut dice, &outsider);
        let from = if dice.below(16) == 0 { VICTIM } else { FRIEND };
        match range.victim.handle_datagram(at(0), from, &mut bytes) {
            Err(reason) => *counted.entry(reason).or_default() += 1,
            // A HELLO of this very session, said again: answered, for the answer may have been lost.
            Ok((_, messages)) => {
                hellos += 1;
                assert_eq!(messages.count(), 0, "shot {shot}: a message was taken");
            }
        }
        assert_eq!(range.victim.poll_event(), None, "shot {shot}: something happened");
        if shot.is_multiple_of(LOOK_EVERY) {
            datagrams(at(0), &mut range.victim);
            assert_eq!(format!("{:?}", range.victim), before, "shot {shot}: the victim is another");
        }
    }
    let all: u64 = counted.values().sum();
    assert_eq!(all + hellos, SHOTS, "each is counted");
    for reason in [
        DropReason::Truncated,
        DropReason::MessageMalformed,
        DropReason::MessageReplayed,
        DropReason::MessageStale,
        DropReason::MessageUnsealed,
        DropReason::MessageUnknownPeer,
        DropReason::NotOurs,
    ] {
        assert!(counted.contains_key(&reason), "{reason:?} was never counted: {counted:?}");
    }
    assert!(hellos < SHOTS / 10, "{hellos} of {SHOTS} were taken for HELLO");
    (0..20).for_each(|_| range.talk(1));
}
