//! Tails: who keeps what was in flight, who asks for it, and when it is let go, over a network that loses, repeats and reorders.

use std::mem::take;

use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr};
use baton_stack::ecn::Ecn;
use baton_stack::tcp::{
    Content, ContentLost, Extent, Flags, FrozenBytes, Kept, Options, Phase, Place, Remote, Run, Segment, SeqNum,
    SourceId, Tcb, TcpConfig,
};
use baton_stack::time::{Duration, Instant};
use handoff_proto::arbiter::answer_unknown;
use handoff_proto::codec::Reader;
use handoff_proto::fetch::{FETCH_BYTES_MAX, FETCH_TRIES_MAX, FETCHES_MAX, Fetcher, TailLost};
use handoff_proto::message::{Fetch, Message, Release, Released, Tail, TailGone, TailKept};
use handoff_proto::names::{Epoch, NodeId};
use handoff_proto::release::{RELEASE_DELAY, RELEASE_KEEP, RELEASE_RETRY_MAX, Releases};
use handoff_proto::tail::{KEPT_RETRY_MAX, PUSH_BYTES, TAIL_PIECE_BYTES, TAIL_QUIET, TailLimits, TailStore};

use crate::world::{Dice, Mail};

const C: ConnId = ConnId(7);
const HOLDER: NodeId = NodeId(1);
const OWNER: NodeId = NodeId(2);
const START: u64 = 1_000;

/// Sources, and how far each is released.
#[derive(Default)]
struct Store(Vec<(Vec<u8>, u64)>);

impl Content for Store {
    fn read(&mut self, source: SourceId, offset: u64, buf: &mut [u8]) -> Result<(), ContentLost> {
        let (bytes, released) = &self.0[usize::try_from(source.0).unwrap()];
        assert!(offset >= *released, "read after it was released");
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&bytes[start..start + buf.len()]);
        Ok(())
    }

    fn release(&mut self, source: SourceId, up_to: u64) {
        let (bytes, released) = &mut self.0[usize::try_from(source.0).unwrap()];
        assert!(*released <= up_to && up_to <= bytes.len() as u64);
        *released = up_to;
    }

    fn insert(&mut self, bytes: Vec<u8>) -> Result<SourceId, ContentLost> {
        self.0.push((bytes, 0));
        Ok(SourceId(self.0.len() as u64 - 1))
    }
}

impl Store {
    fn is_released(&self) -> bool {
        self.0.iter().all(|(bytes, released)| *released == bytes.len() as u64)
    }
}

/// The byte at a place of the stream.
fn byte(place: u64) -> u8 {
    (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_be_bytes()[7]
}

fn bytes(start: u64, len: u64) -> Vec<u8> {
    (start..start + len).map(byte).collect()
}

fn ms(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

/// A tail of `len` bytes from [`START`] on, in sources of at most `each`.
fn keep(tails: &mut TailStore, store: &mut Store, len: u64, each: u64) {
    let mut kept = vec![];
    let mut at = START;
    while at < START + len {
        let n = each.min(START + len - at);
        let source = store.insert(bytes(at, n)).unwrap();
        kept.push(Kept { start: at, extent: Extent { len: n, place: Place::Local { source, offset: 0 } } });
        at += n;
    }
    tails.keep(ms(0), (C, Epoch(2), OWNER), kept, store);
}

/// A connection that has come with `len` bytes in flight, all with the holder; `lost` of them are lost: (from, length).
fn owner(len: u64, lost: &[(u64, u64)], store: &mut Store) -> Tcb {
    let end = |addr: [u8; 4], port| Endpoint { addr: IpAddr::from(addr), port };
    let flow = Flow { client: end([10, 0, 0, 1], 40_000), vip: end([10, 0, 0, 2], 80) };
    let segment = |flags: Flags, seq, ack| Segment {
        src_port: 40_000,
        dst_port: 80,
        seq: SeqNum(seq),
        ack: SeqNum(ack),
        flags,
        window: 60_000,
        urgent: 0,
        ecn: Ecn::NotEct,
        options: Options { mss: Some(1_460), sack_permitted: flags.has(Flags::SYN), ..Options::default() },
        payload: &[],
    };
    let (config, mut buf) = (TcpConfig::default(), [0; 1_500]);
    let mut tcb = Tcb::accept(ms(1), &config, flow, SeqNum(99), 0, &segment(Flags::SYN, 0, 0)).unwrap();
    let _ = tcb.poll_transmit(ms(1), store, &mut buf);
    let _ = tcb.handle_segment(ms(2), &segment(Flags::ACK, 1, 100), store).unwrap();
    let mut frozen = tcb.freeze(ms(3), store).unwrap();
    frozen.snd_place = START;
    frozen.queue = vec![FrozenBytes::Remote { holder: HOLDER.0, offset: START, len }];
    frozen.snd_nxt = frozen.snd_una + u32::try_from(len).unwrap();
    frozen.recovery.phase = Phase::Fast(frozen.snd_nxt);
    let mut at = 0;
    let run = |end: u64, lost| Run {
        end: frozen.snd_una + u32::try_from(end).unwrap(),
        sent: Duration::ZERO,
        sacked: false,
        lost,
        again: false,
    };
    let mut runs = vec![];
    for &(from, n) in lost {
        if from > at {
            runs.push(run(from, false));
        }
        runs.push(run(from + n, true));
        at = from + n;
    }
    if at < len {
        runs.push(run(len, false));
    }
    frozen.recovery.sent = runs;
    Tcb::thaw(frozen, ms(4), &config, store).unwrap()
}

fn wanted(tcb: &Tcb) -> Vec<(u64, u64)> {
    tcb.wanted().map(|Remote { start, len, .. }| (start, len)).collect()
}

fn decode(bytes: &[u8]) -> Message<'_> {
    Message::decode(&mut Reader::new(bytes)).unwrap()
}

/// One holder and one owner.
struct Pair {
    tails: TailStore,
    kept: Store,
    tcb: Tcb,
    store: Store,
    fetcher: Fetcher,
    releases: Releases,
    now: Instant,
}

impl Pair {
    fn new(len: u64, lost: &[(u64, u64)]) -> Self {
        let (mut tails, mut kept, mut store) =
            (TailStore::new(TailLimits::default()), Store::default(), Store::default());
        keep(&mut tails, &mut kept, len, 7_000);
        let tcb = owner(len, lost, &mut store);
        let mut releases = Releases::new(1);
        releases.hold(ms(4), C, Epoch(2), HOLDER).unwrap();
        Self { tails, kept, tcb, store, fetcher: Fetcher::new(C, Epoch(2)), releases, now: ms(4) }
    }

    /// What the owner does after anything has happened.
    fn tend(&mut self, out: &mut Mail) {
        self.fetcher.update(self.now, OWNER, &self.tcb, out).unwrap();
        match self.tcb.remotes().next() {
            Some(first) => self.releases.note(self.now, C, HOLDER, first.start),
            None => self.releases.finish(self.now, C, HOLDER),
        }
    }

    fn deliver(&mut self, to: NodeId, bytes: &[u8], out: &mut Mail) {
        match decode(bytes) {
            Message::Fetch(fetch) if to == HOLDER => {
                self.tails.handle_fetch(self.now, OWNER, &fetch, &mut self.kept, out).unwrap();
            }
            Message::Release(release) if to == HOLDER => {
                self.tails.handle_release(self.now, OWNER, &release, &mut self.kept, out);
            }
            Message::Tail(Tail { start, bytes, .. }) => {
                self.tcb.supply(self.now, start, bytes, &mut self.store).unwrap();
                self.tend(out);
            }
            // A FETCH that comes after all was released: nobody wants it any more.
            Message::TailGone(gone) => self.fetcher.handle_gone(HOLDER, &gone, &self.tcb).unwrap(),
            Message::Released(released) => {
                let _ = self.releases.handle_released(self.now, HOLDER, &released);
            }
            other => panic!("{other:?}"),
        }
    }

    fn timeouts(&mut self, out: &mut Mail) {
        self.fetcher.handle_timeout(self.now, |_| true, out).unwrap();
        self.releases.handle_timeout(self.now, |_| true, out);
        self.tails.handle_timeout(self.now, &mut self.kept, out);
    }

    /// What has come is what was sent.
    fn check_bytes(&mut self) {
        let mut place = self.tcb.first_place();
        let extents: Vec<Extent> = self.tcb.extents().copied().collect();
        for Extent { len, place: at } in extents {
            if let Place::Local { source, offset } = at {
                let mut buf = vec![0; usize::try_from(len).unwrap()];
                self.store.read(source, offset, &mut buf).unwrap();
                assert!(buf == bytes(place, len), "other bytes at {place}");
            }
            place += len;
        }
    }
}

/// What is under way: when it arrives, where, and what.
type Wire = Vec<(Instant, NodeId, Vec<u8>)>;

/// A millisecond passes: what has arrived is taken, and what is due is said.
fn pass_a_moment(pair: &mut Pair, wire: &mut Wire, out: &mut Mail) {
    pair.now = pair.now + Duration::from_millis(1);
    let (due, later): (Vec<_>, _) = take(wire).into_iter().partition(|(at, ..)| *at <= pair.now);
    *wire = later;
    for (_, to, bytes) in due {
        pair.deliver(to, &bytes, out);
    }
    pair.timeouts(out);
}

/// Plays until nothing is left to do.
fn storm(mut pair: Pair, seed: u64, loss: u64) -> Pair {
    let mut dice = Dice(seed);
    let mut wire = Wire::new();
    let mut out = Mail::default();
    pair.tend(&mut out);
    for _ in 0..200_000 {
        for (to, bytes) in out.0.drain(..) {
            for _ in 0..=u64::from(dice.permille(loss / 2)) {
                if !dice.permille(loss) {
                    wire.push((pair.now + Duration::from_micros(dice.below(30_000)), to, bytes.clone()));
                }
            }
        }
        if wire.is_empty() && pair.tails.is_empty() && pair.releases.is_empty() {
            break;
        }
        pass_a_moment(&mut pair, &mut wire, &mut out);
    }
    pair.check_bytes();
    pair
}

#[test]
fn what_is_lost_comes_through_any_storm_and_nothing_else_does() {
    for seed in 0..40 {
        let lost = [(3_000, 1_460), (10_000, 30_000), (99_000, 1_000)];
        let mut pair = Pair::new(100_000, &lost);
        let mut out = Mail::default();
        pair.tend(&mut out);
        let asked: Vec<_> = out.0.iter().map(|(to, bytes)| (*to, decode(bytes))).collect();
        assert_eq!(asked.len(), FETCHES_MAX, "{asked:?}");
        pair.fetcher = Fetcher::new(C, Epoch(2));
        let mut pair = storm_until_fetched(pair, seed);
        let local: u64 = pair.tcb.bulk().local;
        assert_eq!((wanted(&pair.tcb), local), (vec![], 32_460), "seed {seed}");
        assert_eq!(pair.tails.take_counts().gone, 0);
    }
}

/// As [`storm`], until all that is lost has come: the rest stays with its holder.
fn storm_until_fetched(mut pair: Pair, seed: u64) -> Pair {
    let mut dice = Dice(seed);
    let mut wire = Wire::new();
    let mut out = Mail::default();
    pair.tend(&mut out);
    while pair.tcb.wanted().next().is_some() {
        assert!(pair.now < ms(60_000), "{:?}", pair.fetcher);
        for (to, bytes) in out.0.drain(..) {
            let copies = [0, 1, 1, 1, 2][usize::try_from(dice.below(5)).unwrap()];
            for _ in 0..copies {
                wire.push((pair.now + Duration::from_micros(dice.below(30_000)), to, bytes.clone()));
            }
        }
        pass_a_moment(&mut pair, &mut wire, &mut out);
    }
    pair.check_bytes();
    pair
}

#[test]
fn a_holder_that_pushes_gives_everything_and_keeps_nothing() {
    for seed in 0..20 {
        let mut pair = Pair::new(60_000, &[]);
        pair.tails.set_pushing(ms(4), true);
        let pair = storm(pair, seed, 200);
        assert!(pair.tails.is_empty() && pair.releases.is_empty(), "seed {seed}");
        assert!(pair.kept.is_released() && !pair.tcb.has_remote(), "seed {seed}");
        assert_eq!(pair.tcb.bulk().local, 60_000);
    }
}

#[test]
fn pushes_stop_at_their_limit_until_some_is_released() {
    let mut pair = Pair::new(60_000, &[]);
    let (mut out, mut again) = (Mail::default(), Mail::default());
    pair.tails.set_pushing(ms(5), true);
    pair.tails.handle_timeout(ms(5), &mut pair.kept, &mut out);
    let len = |out: &Mail| -> u64 {
        let of = |bytes: &[u8]| if let Message::Tail(tail) = decode(bytes) { tail.bytes.len() as u64 } else { 0 };
        out.0.iter().map(|(_, bytes)| of(bytes)).sum()
    };
    assert_eq!(len(&out), PUSH_BYTES);
    let release = Release { c: C, e: Epoch(2), up_to: START + PUSH_BYTES };
    pair.tails.handle_release(ms(6), OWNER, &release, &mut pair.kept, &mut again);
    pair.tails.handle_timeout(ms(6), &mut pair.kept, &mut again);
    assert_eq!((len(&again), pair.tails.bytes()), (PUSH_BYTES, 60_000 - PUSH_BYTES));
}

#[test]
fn a_question_is_cut_into_datagrams_and_what_is_not_there_is_gone() {
    let (mut tails, mut store, mut out) = (TailStore::new(TailLimits::default()), Store::default(), Mail::default());
    keep(&mut tails, &mut store, 3_000, 2_000);
    let fetch = |start, len| Fetch { c: C, e: Epoch(2), start, len };
    tails.handle_fetch(ms(1), OWNER, &fetch(START - 10, 3_020), &mut store, &mut out).unwrap();
    let answers: Vec<_> = out.0.iter().map(|(_, bytes)| decode(bytes)).collect();
    let gone = |start, len| Message::from(TailGone { c: C, e: Epoch(2), start, len });
    assert_eq!((answers[0], answers.last()), (gone(START - 10, 10), Some(&gone(START + 3_000, 10))));
    let of = |message: &Message<'_>| if let Message::Tail(tail) = message { Some(tail.bytes.len()) } else { None };
    let lens: Vec<_> = answers.iter().filter_map(of).collect();
    assert_eq!(lens, [TAIL_PIECE_BYTES, 2_000 - TAIL_PIECE_BYTES, 1_000]);
    // Of a connection that nobody here has heard of; and of an owner before the one it was given to.
    let mut out = Mail::default();
    let stranger = Fetch { c: ConnId(8), ..fetch(0, 5) };
    tails.handle_fetch(ms(1), OWNER, &stranger, &mut store, &mut out).unwrap();
    assert_eq!(out.names(), [(OWNER.0, "TailGone")]);
    let old = Fetch { e: Epoch(1), ..fetch(START, 5) };
    assert!(tails.handle_fetch(ms(1), OWNER, &old, &mut store, &mut Mail::default()).is_err());
}

#[test]
fn an_earlier_owner_s_release_does_not_touch_a_later_tail() {
    let (mut tails, mut store, mut out) = (TailStore::new(TailLimits::default()), Store::default(), Mail::default());
    keep(&mut tails, &mut store, 3_000, 3_000);
    let release = |e| Release { c: C, e: Epoch(e), up_to: u64::MAX };
    tails.handle_release(ms(1), OWNER, &release(1), &mut store, &mut out);
    assert_eq!(
        (tails.bytes(), out.names()),
        (3_000, vec![(OWNER.0, "Released")]),
        "answered, or it would come for ever"
    );
    tails.handle_release(ms(1), OWNER, &release(2), &mut store, &mut out);
    assert!(tails.is_empty() && store.is_released());
}

#[test]
fn the_store_of_tails_has_limits() {
    let mut tails = TailStore::new(TailLimits { bytes: 1_000, extents: 2 });
    assert!(tails.has_room(1_000, 2) && !tails.has_room(1_001, 1) && !tails.has_room(1, 3));
    let mut store = Store::default();
    keep(&mut tails, &mut store, 800, 400);
    assert!(tails.has_room(200, 0) && !tails.has_room(201, 0) && !tails.has_room(1, 1));
    assert!(tails.is_tight());
    assert_eq!(tails.take(C).len(), 2);
    assert!(tails.has_room(1_000, 2) && !store.is_released(), "taken, not given back");
}

/// What a holder says by itself until `end`, and when, in seconds.
fn said_until(tails: &mut TailStore, store: &mut Store, end: Instant) -> Vec<(u16, &'static str, u64)> {
    let mut said = vec![];
    while let Some(at) = tails.poll_at().filter(|at| *at <= end) {
        let mut out = Mail::default();
        tails.handle_timeout(at, store, &mut out);
        said.extend(out.names().into_iter().map(|(to, name)| (to, name, at.micros() / 1_000_000)));
    }
    said
}

#[test]
fn a_holder_that_hears_nothing_asks_the_front_end_and_keeps_its_tail() {
    let (mut tails, mut store, mut out) = (TailStore::new(TailLimits::default()), Store::default(), Mail::default());
    keep(&mut tails, &mut store, 3_000, 3_000);
    assert!(RELEASE_KEEP + RELEASE_RETRY_MAX * 4 < TAIL_QUIET, "a living owner says something well before");
    // With an owner that speaks there is nothing to ask.
    let heard = Instant::ZERO + RELEASE_KEEP;
    let release = Release { c: C, e: Epoch(2), up_to: 0 };
    tails.handle_release(heard, OWNER, &release, &mut store, &mut out);
    assert_eq!(said_until(&mut tails, &mut store, ms(74_999)), []);
    // Then the waits double; a front-end that says nothing has the connection, so the bytes stay.
    let ask = |at| (NodeId::FRONT_END.0, "TailKept", at);
    let asked = said_until(&mut tails, &mut store, ms(300_000));
    assert_eq!(asked, [75, 77, 81, 89, 105, 137, 182, 227, 272].map(ask));
    assert_eq!((tails.take_counts().asked, tails.len(), KEPT_RETRY_MAX), (9, 1, TAIL_QUIET));
    // What an owner says now may be old: the questions go on. The front-end's word ends the tail.
    tails.handle_release(ms(300_000), OWNER, &release, &mut store, &mut out);
    assert_eq!(said_until(&mut tails, &mut store, ms(320_000)), [317].map(ask));
    tails.discard(C, &mut store);
    assert!(tails.is_empty() && tails.poll_at().is_none() && store.is_released());
}

#[test]
fn a_holder_asks_at_once_when_a_node_has_died() {
    let (mut tails, mut store) = (TailStore::new(TailLimits::default()), Store::default());
    keep(&mut tails, &mut store, 3_000, 3_000);
    tails.handle_node_down(ms(9_000));
    let ask = |at| (NodeId::FRONT_END.0, "TailKept", at);
    // An old question of the dead owner's does not put it off.
    let fetch = Fetch { c: C, e: Epoch(2), start: START, len: 1 };
    tails.handle_fetch(ms(9_000), OWNER, &fetch, &mut store, &mut Mail::default()).unwrap();
    assert_eq!(said_until(&mut tails, &mut store, ms(25_000)), [9, 13, 21].map(ask));
}

#[test]
fn a_question_makes_no_push_come_sooner() {
    let (mut tails, mut store) = (TailStore::new(TailLimits::default()), Store::default());
    keep(&mut tails, &mut store, 3_000, 3_000);
    tails.set_pushing(ms(1_000), true);
    let mut out = Mail::default();
    tails.handle_timeout(ms(1_000), &mut store, &mut out);
    tails.handle_node_down(ms(1_001));
    out.0.clear();
    tails.handle_timeout(ms(1_001), &mut store, &mut out);
    assert_eq!(out.names(), [(NodeId::FRONT_END.0, "TailKept")]);
}

#[test]
fn the_front_end_says_only_of_a_connection_that_it_does_not_have_that_it_is_over() {
    let mut out = Mail::default();
    answer_unknown(HOLDER, &TailKept { c: C }.into(), &mut out).unwrap();
    assert_eq!(out.names(), [(HOLDER.0, "Over")]);
}

#[test]
fn a_fetch_has_limits() {
    let mut store = Store::default();
    let tcb = owner(10 * FETCH_BYTES_MAX, &[(0, 10 * FETCH_BYTES_MAX)], &mut store);
    let (mut fetcher, mut out) = (Fetcher::new(C, Epoch(2)), Mail::default());
    assert_eq!(fetcher.update(ms(4), OWNER, &tcb, &mut out), Ok(FETCHES_MAX));
    let lens: Vec<_> = out.0.iter().map(|(_, m)| if let Message::Fetch(f) = decode(m) { f.len } else { 0 }).collect();
    assert_eq!(lens, [u32::try_from(FETCH_BYTES_MAX).unwrap(); FETCHES_MAX]);
    assert_eq!(fetcher.update(ms(5), OWNER, &tcb, &mut out), Ok(0), "asked already");
    // Silence: repeated, with longer and longer waits, and then given up; of a holder that no list names, soon.
    let tries = |is_listed: bool| {
        let (mut fetcher, mut now, mut tries) = (fetcher.clone(), ms(5), 0);
        while fetcher.handle_timeout(now, |_| is_listed, &mut Mail::default()).is_ok() {
            (now, tries) = (fetcher.poll_at().unwrap(), tries + 1);
        }
        (tries - 1, now.micros() / 1_000_000)
    };
    assert_eq!(tries(true), (usize::from(FETCH_TRIES_MAX), 58));
    assert_eq!(tries(false), (6, 1));
    // What a node has kept itself, in an earlier life, is lost.
    assert_eq!(fetcher.update(ms(5), HOLDER, &tcb, &mut out), Err(TailLost));
}

#[test]
fn what_is_gone_matters_only_if_it_is_wanted() {
    let mut store = Store::default();
    let tcb = owner(10_000, &[(2_000, 1_000)], &mut store);
    let mut fetcher = Fetcher::new(C, Epoch(2));
    let _ = fetcher.update(ms(4), OWNER, &tcb, &mut Mail::default());
    let gone = |e, start, len| TailGone { c: C, e: Epoch(e), start, len };
    assert_eq!(fetcher.handle_gone(HOLDER, &gone(2, START, 2_000), &tcb), Ok(()));
    assert_eq!(fetcher.handle_gone(HOLDER, &gone(1, START + 2_000, 10), &tcb), Ok(()), "to an earlier owner");
    assert_eq!(fetcher.handle_gone(NodeId(3), &gone(2, START + 2_000, 10), &tcb), Ok(()), "it never had it");
    assert_eq!(fetcher.handle_gone(HOLDER, &gone(2, START + 2_999, 1), &tcb), Err(TailLost));
}

#[test]
fn releases_wait_for_more_and_are_said_until_heard() {
    let mut releases = Releases::new(1);
    releases.hold(ms(0), C, Epoch(2), HOLDER).unwrap();
    assert!(releases.hold(ms(0), C, Epoch(2), NodeId(5)).is_err(), "one past the limit");
    let said = |releases: &mut Releases, now: Instant| {
        let mut out = Mail::default();
        releases.handle_timeout(now, |_| true, &mut out);
        let of = |bytes: &[u8]| if let Message::Release(release) = decode(bytes) { release.up_to } else { 0 };
        out.0.iter().map(|(_, bytes)| of(bytes)).collect::<Vec<_>>()
    };
    releases.note(ms(1), C, HOLDER, 10);
    releases.note(ms(2), C, HOLDER, 20);
    assert_eq!(releases.poll_at(), Some(ms(1_001)), "a part: the rest may follow");
    assert_eq!(said(&mut releases, ms(1_001)), [20]);
    assert_eq!(said(&mut releases, ms(1_002)), Vec::<u64>::new());
    assert_eq!(said(&mut releases, ms(1_051)), [20], "no answer");
    let released = |up_to| Released { c: C, e: Epoch(2), up_to };
    assert!(releases.handle_released(ms(1_060), HOLDER, &released(19)).is_err(), "an old one");
    releases.handle_released(ms(1_060), HOLDER, &released(20)).unwrap();
    assert_eq!(releases.poll_at(), Some(ms(1_060) + RELEASE_KEEP), "the rest is needed still");
    releases.note(ms(1_100), C, HOLDER, 30);
    releases.finish(ms(1_200), C, HOLDER);
    assert_eq!(releases.poll_at(), Some(ms(1_450)), "all of it: no more follows");
    releases.hurry(ms(1_300), C);
    assert_eq!(said(&mut releases, ms(1_300)), [u64::MAX]);
    releases.handle_released(ms(1_301), HOLDER, &released(u64::MAX)).unwrap();
    assert!(releases.is_empty() && releases.poll_at().is_none());
}

#[test]
fn a_holder_that_was_dead_when_the_connection_came_is_told_nothing() {
    let mut releases = Releases::new(1);
    releases.hold(ms(0), C, Epoch(2), HOLDER).unwrap();
    releases.finish(ms(1), C, HOLDER);
    let mut out = Mail::default();
    releases.handle_timeout(ms(1) + RELEASE_DELAY, |node| node != HOLDER, &mut out);
    assert!(releases.is_empty() && releases.poll_at().is_none() && out.0.is_empty());
}
