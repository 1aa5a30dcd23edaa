//! The cluster's secret changes while two nodes talk: nothing is lost, and in the end all is under the new one.

use baton_stack::addr::{ConnId, Ipv4Addr};

use super::*;
use crate::message::Thaw;
use crate::names::Epoch;
use crate::seal::{ClusterSecret, SECRETS_MAX, SecretsError};

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const P: PeerIndex = PeerIndex(0);
const OLD: u8 = b'o';
const NEW: u8 = b'n';
const NEWER: u8 = b'r';

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1_000)
}

fn secret(of: u8) -> ClusterSecret {
    ClusterSecret::parse(&[of; 32]).unwrap()
}

fn secrets(of: &[u8]) -> Secrets {
    Secrets::new(of.iter().map(|of| secret(*of))).unwrap()
}

/// Two nodes, the leader `a` first, and a network that loses what it is told to.
struct Pair {
    nodes: [Sessions; 2],
    now: u64,
    sent: u64,
    got: Vec<u64>,
    /// Datagrams that were refused.
    refused: Vec<DropReason>,
    /// Datagrams that get lost, by their number from now on.
    lost: u64,
    carried: u64,
}

impl Pair {
    fn new(a: &[u8], b: &[u8]) -> Self {
        let node = |name: &str, of: &[u8], seed| {
            let (role, datagram_bytes) = (Role::BackEnd, 1_472);
            let me = Identity { name: name.to_owned(), boot: Boot(10), core: 0, cores: 1, role, datagram_bytes };
            Sessions::new(me, secrets(of), [seed; 32])
        };
        let mut nodes = [node("a", a, 1), node("b", b, 2)];
        nodes[0].add_peer(at(0), "b", 0, B).unwrap();
        nodes[1].add_peer(at(0), "a", 0, A).unwrap();
        Self { nodes, now: 0, sent: 0, got: vec![], refused: vec![], lost: 0, carried: 0 }
    }

    /// With a session.
    fn friends(a: &[u8], b: &[u8]) -> Self {
        let mut pair = Self::new(a, b);
        pair.run(50, false);
        assert!(pair.nodes.iter().all(|node| node.boot(P).is_some()));
        for node in &mut pair.nodes {
            while node.poll_event().is_some() {}
        }
        pair.refused.clear();
        pair
    }

    /// Some milliseconds, each with a message both ways if they have something to say.
    fn run(&mut self, ms: u64, with_messages: bool) {
        for _ in 0..ms {
            self.now += 1;
            for from in 0..2 {
                if with_messages {
                    self.sent += 1;
                    self.nodes[from].send(P, &Thaw { c: ConnId(self.sent), e2: Epoch(1) }.into()).unwrap();
                }
                self.carry(from);
            }
        }
    }

    fn carry(&mut self, from: usize) {
        let now = at(self.now);
        let mut buf = [0; 1_472];
        while let Some((_, len)) = self.nodes[from].poll_transmit(now, &mut buf) {
            let is_lost = self.carried < 64 && self.lost >> self.carried & 1 == 1;
            self.carried += 1;
            if is_lost {
                continue;
            }
            let addr = if from == 0 { A } else { B };
            match self.nodes[1 - from].handle_datagram(now, addr, &mut buf[..len]) {
                Ok((_, messages)) => self.got.extend(messages.map(|message| message.unwrap().connection().unwrap().0)),
                Err(reason) => self.refused.push(reason),
            }
        }
    }

    fn set(&mut self, node: usize, of: &[u8]) {
        self.nodes[node].set_secrets(secrets(of));
    }

    /// The secrets of both nodes' sessions.
    fn under(&self) -> [Option<SecretId>; 2] {
        [0, 1].map(|node| self.nodes[node].secret(P))
    }

    fn is_under(&self, of: u8) -> bool {
        self.under() == [Some(secret(of).id()); 2]
    }
}

/// The whole way: read both, write the new, forget the old; whoever is told first.
#[test]
fn the_secret_changes_and_not_a_message_is_lost() {
    for first in [0, 1] {
        for traffic in [true, false] {
            let mut pair = Pair::friends(&[OLD], &[OLD]);
            for (step, now_under) in [(&[OLD, NEW][..], OLD), (&[NEW, OLD], NEW), (&[NEW], NEW)] {
                for node in [first, 1 - first] {
                    pair.set(node, step);
                    pair.run(5, traffic);
                }
                pair.run(100, traffic);
                assert!(pair.is_under(now_under), "{step:?}, {:?}", pair.under());
            }
            assert_eq!(pair.refused, [], "first {first}");
            let mut got = pair.got.clone();
            got.sort_unstable();
            assert_eq!(got, (1..=pair.sent).collect::<Vec<_>>(), "first {first}");
            assert!(pair.nodes.iter_mut().all(|node| node.poll_event().is_none()), "it is no new life");
            // All is said: nobody goes on asking for anything.
            let carried = pair.carried;
            pair.run(2_000, false);
            assert_eq!(pair.carried, carried);
        }
    }
}

/// Whatever is lost of the new handshake, the two agree in the end, and what came meanwhile came once.
#[test]
fn any_datagram_of_the_change_may_be_lost() {
    for lost in 0..256_u64 {
        let mut pair = Pair::friends(&[OLD, NEW], &[OLD, NEW]);
        (pair.lost, pair.carried) = (lost, 0);
        pair.set(0, &[NEW, OLD]);
        pair.set(1, &[NEW, OLD]);
        pair.run(3_000, lost.is_multiple_of(2));
        assert!(pair.is_under(NEW), "lost {lost:08b}: {:?}", pair.under());
        let unique: BTreeSet<_> = pair.got.iter().collect();
        assert_eq!(unique.len(), pair.got.len(), "lost {lost:08b}: a message came twice");
        let missing = pair.sent - u64::try_from(pair.got.len()).unwrap();
        assert!(missing <= u64::from(lost.count_ones()), "lost {lost:08b}: {missing} are missing");
        assert_eq!(pair.refused, [], "lost {lost:08b}");
    }
}

#[test]
fn who_does_not_read_the_new_secret_yet_goes_on_under_the_old() {
    let mut pair = Pair::friends(&[OLD], &[OLD]);
    pair.set(0, &[NEW, OLD]);
    pair.run(1_000, true);
    assert!(pair.is_under(OLD));
    assert_eq!(u64::try_from(pair.got.len()).unwrap(), pair.sent);
    assert!(!pair.refused.is_empty() && pair.refused.iter().all(|reason| *reason == DropReason::MessageUnsealed));
    pair.set(1, &[OLD, NEW]);
    pair.run(1_000, true);
    assert!(pair.is_under(NEW), "as soon as it does");
    assert_eq!(u64::try_from(pair.got.len()).unwrap(), pair.sent);
}

#[test]
fn the_first_session_is_under_the_leader_s_secret() {
    for lost in 0..64 {
        let mut pair = Pair::new(&[NEW, OLD], &[OLD, NEW]);
        pair.lost = lost;
        pair.run(2_000, false);
        assert!(pair.is_under(NEW), "lost {lost:06b}: {:?}", pair.under());
        pair.lost = 0;
        pair.run(10, true);
        assert_eq!(u64::try_from(pair.got.len()).unwrap(), pair.sent, "lost {lost:06b}");
    }
    let mut pair = Pair::new(&[NEW], &[OLD]);
    pair.run(2_000, false);
    assert_eq!(pair.under(), [None; 2], "without a common one there is none");
}

#[test]
fn two_changes_one_right_behind_the_other() {
    for gap in 0..8 {
        let mut pair = Pair::friends(&[OLD, NEW, NEWER], &[OLD, NEW, NEWER]);
        for step in [[NEW, OLD, NEWER], [NEWER, NEW, OLD]] {
            pair.set(0, &step);
            pair.set(1, &step);
            pair.run(gap, true);
        }
        pair.run(1_000, true);
        assert!(pair.is_under(NEWER), "gap {gap}");
        let unique: BTreeSet<_> = pair.got.iter().collect();
        assert_eq!(unique.len(), pair.got.len(), "gap {gap}");
        pair.got.clear();
        pair.sent = 0;
        pair.run(10, true);
        assert_eq!(pair.got.len(), 20, "gap {gap}");
    }
}

/// A second change finds the first one half done: whatever is lost, nothing is sealed with keys that the other has not, and both end with the
/// same session.
#[test]
fn a_second_change_while_the_first_is_not_done() {
    for (gap, lost) in (0..5).flat_map(|gap| (0..256).map(move |lost| (gap, lost))) {
        let mut pair = Pair::friends(&[OLD, NEW, NEWER], &[OLD, NEW, NEWER]);
        (pair.lost, pair.carried) = (lost, 0);
        for step in [[NEW, OLD, NEWER], [NEWER, NEW, OLD]] {
            pair.set(0, &step);
            pair.set(1, &step);
            pair.run(gap, lost.is_multiple_of(2));
        }
        pair.run(3_000, lost.is_multiple_of(2));
        assert!(pair.is_under(NEWER), "gap {gap}, lost {lost:08b}: {:?}", pair.under());
        let is_expected = |reason: &DropReason| *reason == DropReason::MessageReplayed;
        assert!(pair.refused.iter().all(is_expected), "gap {gap}, lost {lost:08b}: {:?}", pair.refused);
        pair.lost = 0;
        pair.got.clear();
        pair.sent = 0;
        pair.run(10, true);
        assert_eq!(pair.got.len(), 20, "gap {gap}, lost {lost:08b}");
    }
}

/// What was recorded before the change brings the old keys not back.
#[test]
fn old_hellos_change_nothing_after_the_change() {
    let mut pair = Pair::new(&[OLD], &[OLD]);
    let mut recorded: Vec<(usize, Vec<u8>)> = vec![];
    let mut buf = [0; 1_472];
    for _ in 0..4 {
        for from in 0..2 {
            while let Some((_, len)) = pair.nodes[from].poll_transmit(at(0), &mut buf) {
                recorded.push((from, buf[..len].to_vec()));
                let addr = if from == 0 { A } else { B };
                let _ = pair.nodes[1 - from].handle_datagram(at(0), addr, &mut buf[..len]);
            }
        }
    }
    assert!(recorded.len() >= 3);
    for step in [&[OLD, NEW][..], &[NEW, OLD]] {
        pair.set(0, step);
        pair.set(1, step);
        pair.run(50, true);
    }
    assert!(pair.is_under(NEW));
    for node in &mut pair.nodes {
        while node.poll_event().is_some() {}
    }
    for _ in 0..3 {
        for (from, datagram) in &recorded {
            let addr = if *from == 0 { A } else { B };
            let mut again = datagram.clone();
            let _ = pair.nodes[1 - from].handle_datagram(at(pair.now), addr, &mut again);
            pair.run(1, true);
        }
    }
    pair.run(1_000, true);
    assert!(pair.is_under(NEW));
    assert_eq!(u64::try_from(pair.got.len()).unwrap(), pair.sent);
    assert!(pair.nodes.iter_mut().all(|node| node.poll_event().is_none()));
}

#[test]
fn a_node_has_as_many_secrets_as_named_and_not_one_more() {
    let of = |count: u8| Secrets::new((0..count).map(|n| secret(b'm' + n)));
    let max = u8::try_from(SECRETS_MAX).unwrap();
    assert_eq!(of(0), Err(SecretsError::None));
    assert_eq!(of(max).unwrap().iter().count(), SECRETS_MAX);
    assert_eq!(of(max + 1), Err(SecretsError::TooMany));
    let twice = Secrets::new([secret(OLD), secret(NEW), secret(OLD)]).unwrap();
    assert_eq!(twice, secrets(&[OLD, NEW]));
    assert_ne!(secret(OLD).id(), secret(NEW).id());
}
