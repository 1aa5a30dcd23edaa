use baton_stack::addr::IpAddr;
use baton_stack::drop::DropReason;
use baton_stack::time::Instant;

use super::*;
use crate::arbiter::{Death, Nodes};
use crate::codec::{List, Reader};
use crate::message::{DrainState, Lease, LoadReport, Message, Outbox};
use crate::names::{Boot, Generation, NodeId};

const N: NodeId = NodeId(1);
const LOAD: LoadReport = LoadReport { connections: 3, requests: 0, bytes: 0, busy_permille: 0 };

#[derive(Default)]
struct Mail(Vec<Vec<u8>>);

impl Outbox for Mail {
    fn send(&mut self, _: NodeId, message: &Message<'_>) {
        let mut bytes = vec![];
        message.encode(&mut bytes);
        self.0.push(bytes);
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1_000)
}

fn board_of(count: u32, boot: u32) -> LeaseBoard {
    let config = |n: u32| NodeConfig { name: format!("be{n}"), addr: IpAddr::from(n.to_be_bytes()), core: 0 };
    LeaseBoard::new(LeaseSettings::default(), Boot(boot), (1..=count).map(config))
}

fn holder(boot: u32) -> LeaseHolder {
    LeaseHolder::new(LeaseSettings::default(), Boot(boot))
}

/// What the holder says at `ms`, if anything.
fn says(holder: &mut LeaseHolder, ms: u64) -> (HolderEvent, Option<Vec<u8>>) {
    let mut mail = Mail::default();
    let event = holder.handle_timeout(at(ms), &LOAD, &mut mail);
    (event, mail.0.pop())
}

/// What the board answers.
fn asked(board: &mut LeaseBoard, ms: u64, request: &[u8]) -> Result<Vec<Vec<u8>>, DropReason> {
    let mut mail = Mail::default();
    match Message::decode(&mut Reader::new(request)).unwrap() {
        Message::Join(join) => board.handle_join(at(ms), N, &join, &mut mail)?,
        Message::LeaseReq(request) => board.handle_lease_req(at(ms), N, &request, &mut mail)?,
        other => panic!("{other:?}"),
    }
    Ok(mail.0)
}

fn takes(holder: &mut LeaseHolder, ms: u64, answer: &[u8]) -> Result<LeaseNews, DropReason> {
    let Ok(Message::Lease(lease)) = Message::decode(&mut Reader::new(answer)) else { panic!() };
    holder.handle_lease(at(ms), &lease)
}

fn events(board: &mut LeaseBoard) -> Vec<BoardEvent> {
    core::iter::from_fn(|| board.poll_event()).collect()
}

/// A board and a holder that has joined at 0.
fn joined() -> (LeaseBoard, LeaseHolder) {
    let (mut board, mut holder) = (board_of(1, 1), holder(1));
    let join = says(&mut holder, 0).1.unwrap();
    let answer = asked(&mut board, 0, &join).unwrap().remove(0);
    assert_eq!(takes(&mut holder, 0, &answer).unwrap().new_generation, Some(Generation(1 << 32 | 1)));
    events(&mut board);
    (board, holder)
}

#[test]
fn a_node_joins_and_renews_each_heartbeat() {
    let (mut board, mut holder) = (board_of(1, 1), holder(7));
    assert!(!holder.is_valid(at(0)) && holder.may_transmit(at(0)), "JOIN may leave");
    let join = says(&mut holder, 0).1.unwrap();
    let answer = asked(&mut board, 1, &join).unwrap().remove(0);
    let g = Generation::new(Boot(1), 1);
    assert_eq!(events(&mut board), [BoardEvent::NodeUp { node: N, g, has_rejoined: false }]);
    let news = takes(&mut holder, 2, &answer).unwrap();
    assert_eq!((news.new_generation, news.has_new_peers, news.deaths.len()), (Some(g), true, 0));
    assert_eq!((holder.me(), holder.generation(), holder.drain()), (N, g, DrainState::Serving));
    assert_eq!(holder.peer(N).unwrap().name, "be1");

    for beat in 1..=10 {
        let ms = 2 + beat * 300;
        assert_eq!(says(&mut holder, ms - 1).1, None);
        let request = says(&mut holder, ms).1.unwrap();
        let answer = asked(&mut board, ms, &request).unwrap().remove(0);
        assert_eq!(takes(&mut holder, ms, &answer), Ok(LeaseNews::default()), "nothing is new");
    }
    assert_eq!(board.status(N).unwrap().load, LOAD);
    board.handle_timeout(at(4_000));
    assert!(events(&mut board).is_empty() && board.generation(N) == g);
}

/// R2: from the moment of the request, at the node; lease and margin after the last answer, at the front-end.
#[test]
fn the_node_falls_silent_before_it_is_declared_dead() {
    let (mut board, mut holder) = (board_of(1, 1), holder(1));
    let join = says(&mut holder, 0).1.unwrap();
    // The network takes 400 ms each way.
    let answer = asked(&mut board, 400, &join).unwrap().remove(0);
    takes(&mut holder, 800, &answer).unwrap();
    assert!(holder.is_valid(at(1_499)) && holder.may_transmit(at(1_499)));
    assert!(!holder.is_valid(at(1_500)) && !holder.may_transmit(at(1_500)));
    events(&mut board);
    assert_eq!(board.poll_at(), Some(at(400 + 1_500 + 300)));
    board.handle_timeout(at(2_199));
    assert!(events(&mut board).is_empty());
    board.handle_timeout(at(2_200));
    assert_eq!(events(&mut board), [BoardEvent::NodeDown(Death { node: N, g: Generation::new(Boot(1), 1) })]);
    assert_eq!((board.generation(N), board.poll_at()), (Generation::NONE, None));
}

/// C4: a node that the front-end gave up does not speak on when the network heals.
#[test]
fn c04_a_lost_lease_does_not_heal() {
    let (mut board, mut holder) = joined();
    board.handle_timeout(at(1_800));
    events(&mut board);
    // Its heartbeat of before comes through now: not answered.
    let late = says(&mut holder, 1_400).1.unwrap();
    assert_eq!(asked(&mut board, 1_900, &late), Err(DropReason::MessageStale));
    let (event, join) = says(&mut holder, 1_900);
    assert_eq!(event, HolderEvent::Lapsed);
    assert!(!holder.is_valid(at(1_900)));
    let answer = asked(&mut board, 1_900, &join.unwrap()).unwrap().remove(0);
    let news = takes(&mut holder, 1_900, &answer).unwrap();
    assert_eq!(news.new_generation, Some(Generation::new(Boot(1), 2)), "another life: it discards everything");
    assert_eq!(
        events(&mut board),
        [BoardEvent::NodeUp { node: N, g: Generation::new(Boot(1), 2), has_rejoined: true }]
    );
}

/// C5: the reply to a request of before does not revive a lease that is over.
#[test]
fn c05_a_delayed_lease_revives_nothing() {
    let (mut board, mut holder) = joined();
    let request = says(&mut holder, 300).1.unwrap();
    let delayed = asked(&mut board, 300, &request).unwrap().remove(0);
    assert_eq!(says(&mut holder, 1_500).0, HolderEvent::Lapsed);
    assert_eq!(takes(&mut holder, 1_600, &delayed), Err(DropReason::MessageStale));
    // Nor does the answer to a JOIN, when the JOIN is a lease old.
    let join = says(&mut holder, 1_520).1.unwrap();
    let answer = asked(&mut board, 1_520, &join).unwrap().remove(0);
    assert_eq!(takes(&mut holder, 3_020, &answer), Err(DropReason::MessageStale));
    assert!(!holder.is_valid(at(1_600)));
}

/// A lapse that the front-end did not see as a death: the node goes on as the one that it was (R3).
#[test]
fn an_unchanged_generation_resumes() {
    let (mut board, mut holder) = joined();
    assert_eq!(says(&mut holder, 1_500).0, HolderEvent::Lapsed);
    let join = says(&mut holder, 1_520).1.unwrap();
    let answer = asked(&mut board, 1_521, &join).unwrap().remove(0);
    assert_eq!(takes(&mut holder, 1_522, &answer), Ok(LeaseNews::default()));
    assert!(holder.is_valid(at(1_522)) && events(&mut board).is_empty());
}

/// C11: a restart that nobody noticed is a death, at once.
#[test]
fn c11_a_new_boot_is_a_death() {
    let (mut board, _) = joined();
    let mut reborn = holder(2);
    let join = says(&mut reborn, 200).1.unwrap();
    let answer = asked(&mut board, 200, &join).unwrap().remove(0);
    let (old, new) = (Generation::new(Boot(1), 1), Generation::new(Boot(1), 2));
    let expected =
        [BoardEvent::NodeDown(Death { node: N, g: old }), BoardEvent::NodeUp { node: N, g: new, has_rejoined: true }];
    assert_eq!(events(&mut board), expected);
    assert_eq!(takes(&mut reborn, 200, &answer).unwrap().new_generation, Some(new));
}

/// C16: a duplicate JOIN, and one of an old boot, is no second crash.
#[test]
fn c16_a_duplicate_join_is_not_a_second_crash() {
    let (mut board, mut old) = joined();
    let mut reborn = holder(2);
    let join = says(&mut reborn, 200).1.unwrap();
    asked(&mut board, 200, &join).unwrap();
    let g = board.generation(N);
    events(&mut board);
    for ms in [201, 500] {
        asked(&mut board, ms, &join).unwrap();
    }
    let (_, late) = says(&mut old, 1_500);
    assert_eq!(asked(&mut board, 600, &late.unwrap()), Err(DropReason::MessageStale));
    assert!(events(&mut board).is_empty());
    assert_eq!(board.generation(N), g);
}

/// A lease of another life, or of a generation that is over, is not this one's.
#[test]
fn a_lease_for_another_life_is_ignored() {
    let (mut board, mut holder) = joined();
    let request = says(&mut holder, 300).1.unwrap();
    let answer = asked(&mut board, 300, &request).unwrap().remove(0);
    let Ok(Message::Lease(lease)) = Message::decode(&mut Reader::new(&answer)) else { panic!() };
    for wrong in [
        Lease { boot: Boot(2), ..lease },
        Lease { g: Generation(lease.g.0 - 1), ..lease },
        Lease { g: Generation::NONE, ..lease },
        Lease { number: lease.number + 1, ..lease },
    ] {
        assert_eq!(holder.handle_lease(at(301), &wrong), Err(DropReason::MessageStale), "{wrong:?}");
    }
    assert!(holder.handle_lease(at(301), &lease).is_ok());
    // The front-end's own setting is shorter: it counts.
    let request = says(&mut holder, 600).1.unwrap();
    let answer = asked(&mut board, 600, &request).unwrap().remove(0);
    let Ok(Message::Lease(lease)) = Message::decode(&mut Reader::new(&answer)) else { panic!() };
    let (_, mut short) = joined();
    let _ = says(&mut short, 300);
    let _ = says(&mut short, 600);
    short.handle_lease(at(600), &Lease { lease_ms: 1_000, ..lease }).unwrap();
    assert!(short.is_valid(at(1_599)) && !short.is_valid(at(1_600)));
}

/// A restarted front-end gives only generations that it never gave before, and so takes everything from everybody.
#[test]
fn a_restarted_front_end_gives_new_generations() {
    let (_, mut holder) = joined();
    let mut board = board_of(1, 2);
    let request = says(&mut holder, 300).1.unwrap();
    assert_eq!(asked(&mut board, 300, &request), Err(DropReason::MessageStale));
    holder.rejoin();
    assert!(!holder.is_valid(at(300)));
    let join = says(&mut holder, 301).1.unwrap();
    let answer = asked(&mut board, 301, &join).unwrap().remove(0);
    assert_eq!(takes(&mut holder, 301, &answer).unwrap().new_generation, Some(Generation::new(Boot(2), 1)));
}

#[test]
fn a_long_node_list_comes_in_pieces_and_a_known_one_not_at_all() {
    let mut board = board_of(30, 1);
    let mut holder = holder(1);
    let join = says(&mut holder, 0).1.unwrap();
    let mut pieces = asked(&mut board, 0, &join).unwrap();
    assert_eq!(pieces.len(), 30_usize.div_ceil(crate::message::LEASE_PEERS_MAX));
    pieces.reverse();
    let news: Vec<_> = pieces.iter().map(|piece| takes(&mut holder, 0, piece).unwrap().has_new_peers).collect();
    assert_eq!(news, [false, false, true]);
    assert_eq!(holder.peers().len(), 30);
    assert_eq!(holder.peer(NodeId(30)).unwrap().name, "be30");
    assert_eq!(holder.peer(NodeId(31)), None);
    let request = says(&mut holder, 300).1.unwrap();
    assert_eq!(asked(&mut board, 300, &request).unwrap().len(), 1);

    // Another node comes and goes: the holder hears of its death.
    let mut other = LeaseHolder::new(LeaseSettings::default(), Boot(1));
    let join = says(&mut other, 300).1.unwrap();
    let Ok(Message::Join(join)) = Message::decode(&mut Reader::new(&join)) else { panic!() };
    let mut deaths = vec![];
    for (beat, boot) in [(2, 1), (3, 2)] {
        let ms = beat * 300;
        board
            .handle_join(at(ms), NodeId(2), &crate::message::Join { boot: Boot(boot), ..join }, &mut Mail::default())
            .unwrap();
        let request = says(&mut holder, ms).1.unwrap();
        for piece in asked(&mut board, ms, &request).unwrap() {
            deaths.extend(takes(&mut holder, ms, &piece).unwrap().deaths);
        }
    }
    assert_eq!(deaths, [Death { node: NodeId(2), g: Generation::new(Boot(1), 2) }]);
}

#[test]
fn join_is_repeated_with_backoff() {
    let mut holder = holder(1);
    assert_eq!(holder.poll_at(), Some(Instant::ZERO));
    let times: Vec<_> = (0..1_200).filter(|ms| says(&mut holder, *ms).1.is_some()).collect();
    assert_eq!(times, [0, 20, 60, 140, 300, 600, 900]);
}

#[test]
fn unknown_nodes_and_those_above_the_limit_are_nobody() {
    let most = u32::try_from(NODES_MAX).unwrap();
    let mut board = board_of(most + 1, 1);
    assert_eq!(board.nodes().count(), NODES_MAX);
    let last = NodeId(u16::try_from(NODES_MAX).unwrap());
    assert!(board.status(last).is_some() && board.status(NodeId(last.0 + 1)).is_none());
    let join = crate::message::Join { number: 1, boot: Boot(1), g: Generation::NONE };
    let nobody = board.handle_join(at(0), NodeId(last.0 + 1), &join, &mut Mail::default());
    assert_eq!(nobody, Err(DropReason::MessageStale));
    assert!(board.handle_join(at(0), last, &join, &mut Mail::default()).is_ok());
    // A list that claims more than any front-end has is not gathered.
    let (_, mut holder) = joined();
    let number = match Message::decode(&mut Reader::new(&says(&mut holder, 300).1.unwrap())) {
        Ok(Message::LeaseReq(request)) => request.number,
        other => panic!("{other:?}"),
    };
    let lease = Lease {
        number,
        boot: Boot(1),
        g: holder.generation(),
        you: N,
        lease_ms: 1_500,
        drain: DrainState::Serving,
        route_version: 0,
        peers_version: 99,
        peers_total: u16::MAX,
        peers_first: 0,
        peers: List::EMPTY,
    };
    assert_eq!(holder.handle_lease(at(300), &lease), Ok(LeaseNews::default()));
}

#[test]
fn orders_reach_the_node_with_its_next_lease() {
    let (mut board, mut holder) = joined();
    board.set_drain(N, DrainState::Draining);
    board.set_route_version(4);
    let request = says(&mut holder, 300).1.unwrap();
    let answer = asked(&mut board, 300, &request).unwrap().remove(0);
    takes(&mut holder, 300, &answer).unwrap();
    assert_eq!((holder.drain(), holder.route_versions()), (DrainState::Draining, (4, 0)));
    holder.use_route_version(4);
    let request = says(&mut holder, 600).1.unwrap();
    asked(&mut board, 600, &request).unwrap();
    assert_eq!(board.status(N).unwrap().route_version, 4);
}
