//! Bytes that stay behind: a back-end's send queue, what it keeps for later owners, and what it says and hears about both, put
//! together as `backend/src/tails.rs` does. Each response is one byte, whose value is its place in the stream.

use std::collections::BTreeMap;

use baton_stack::addr::ConnId;
use baton_stack::drop::DropReason;
use baton_stack::tcp::{Content, ContentLost, Extent, Kept, Place, Remote, SourceId};
use baton_stack::time::Instant;
use handoff_proto::fetch::{Fetcher, TailLost, Wants};
use handoff_proto::message::{Done, Ended, Fetch, Grant, Message, Outbox, Release, Released, Tail, TailGone};
use handoff_proto::names::{Epoch, Generation, NodeId};

use crate::back::Back;
use crate::client::{Client, End};
use crate::mutants::Mutant;
use crate::net::Mail;
use crate::world::Rules;

/// The content store: sources of one byte.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Store(BTreeMap<u64, u8>);

impl Content for Store {
    fn read(&mut self, source: SourceId, offset: u64, buf: &mut [u8]) -> Result<(), ContentLost> {
        match (self.0.get(&source.0), offset, buf) {
            (Some(byte), 0, [place]) => {
                *place = *byte;
                Ok(())
            }
            _ => Err(ContentLost),
        }
    }

    fn release(&mut self, source: SourceId, up_to: u64) {
        assert!(up_to == 1 && self.0.remove(&source.0).is_some(), "{source:?} is released twice");
    }

    fn insert(&mut self, bytes: Vec<u8>) -> Result<SourceId, ContentLost> {
        let [byte] = *bytes else { return Err(ContentLost) };
        let free = (0..).find(|source| !self.0.contains_key(source)).ok_or(ContentLost)?;
        self.0.insert(free, byte);
        Ok(SourceId(free))
    }
}

impl Store {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Where a byte of the send queue is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    Here(SourceId),
    With(NodeId),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Byte {
    at: At,
    /// The owner takes it for lost.
    is_lost: bool,
}

/// What the client has not acknowledged.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Queue {
    start: u32,
    bytes: Vec<Byte>,
}

impl Wants for Queue {
    fn wanted(&self) -> impl Iterator<Item = Remote> {
        self.remotes().filter(|(_, is_lost)| *is_lost).map(|(remote, _)| remote)
    }
}

impl Queue {
    /// A queue of which everything is with other nodes.
    pub(crate) fn with(next: u32, holders: &[NodeId]) -> Self {
        let start = next - u32::try_from(holders.len()).expect("few bytes");
        Self { start, bytes: holders.iter().map(|holder| Byte { at: At::With(*holder), is_lost: false }).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where the first byte stands that is not acknowledged.
    pub(crate) fn start(&self) -> u32 {
        self.start
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = u32> {
        (self.start..).take(self.bytes.len())
    }

    /// What other nodes keep, and whether it is lost.
    fn remotes(&self) -> impl Iterator<Item = (Remote, bool)> {
        self.places().zip(&self.bytes).filter_map(|(place, byte)| match byte.at {
            At::With(holder) => Some((Remote { holder: holder.0, start: place.into(), len: 1 }, byte.is_lost)),
            At::Here(_) => None,
        })
    }

    /// Who keeps what.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (NodeId, u32)> {
        self.places().zip(&self.bytes).filter_map(|(place, byte)| match byte.at {
            At::With(holder) => Some((holder, place)),
            At::Here(_) => None,
        })
    }

    fn byte(&mut self, place: u64) -> Option<&mut Byte> {
        let index = place.checked_sub(self.start.into())?;
        self.bytes.get_mut(usize::try_from(index).ok()?)
    }

    /// Whether the owner may come to think that a byte is lost: it need not be.
    pub(crate) fn can_doubt(&self, place: u32, has_come: bool) -> bool {
        let byte = self.bytes.get(usize::try_from(place - self.start).expect("few bytes"));
        byte.is_some_and(|byte| !byte.is_lost && (!has_come || matches!(byte.at, At::With(_))))
    }
}

/// What a connection has with nodes that owned it before.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Tails {
    fetcher: Fetcher,
    holders: Vec<(NodeId, u64)>,
}

impl Back {
    /// A response goes out, and stays in the queue.
    pub(crate) fn queue(&mut self, c: ConnId, n: u32) {
        let Some(conn) = self.conns.get_mut(&c) else { return };
        let source = self.store.insert(vec![u8::try_from(n).expect("few responses")]).expect("there is room");
        if conn.queue.is_empty() {
            conn.queue.start = n;
        }
        conn.queue.bytes.push(Byte { at: At::Here(source), is_lost: false });
    }

    /// The connection goes under `grant`: its bytes stay. Gives who keeps each, and whether this node keeps any.
    pub(crate) fn leave_bytes(&mut self, now: Instant, c: ConnId, grant: &Grant) -> (Vec<NodeId>, bool) {
        let Some(conn) = self.conns.get_mut(&c) else { return (Vec::new(), false) };
        let (queue, tails) = (core::mem::take(&mut conn.queue), conn.tails.take());
        for (holder, _) in tails.into_iter().flat_map(|tails| tails.holders) {
            if queue.kept().any(|(kept_by, _)| kept_by == holder) {
                self.releases.leave(c, holder);
            } else {
                self.releases.finish(now, c, holder);
            }
        }
        let kept = queue.places().zip(&queue.bytes).filter_map(|(place, byte)| match byte.at {
            At::Here(source) => {
                Some(Kept { start: place.into(), extent: Extent { len: 1, place: Place::Local { source, offset: 0 } } })
            }
            At::With(_) => None,
        });
        let keeps_tail = self.tails.keep(now, (c, grant.e2, grant.to), kept.collect(), &mut self.store);
        self.tails.take_counts();
        let holder = |byte: &Byte| match byte.at {
            At::Here(_) => self.id,
            At::With(holder) => holder,
        };
        (queue.bytes.iter().map(holder).collect(), keeps_tail)
    }

    /// The connection has come: what is kept here is its own again, and others hear from this node now.
    pub(crate) fn claim_bytes(&mut self, now: Instant, c: ConnId) {
        let kept = self.tails.take(c);
        let Some(conn) = self.conns.get_mut(&c) else { return };
        let me = self.id;
        for Kept { start, extent } in kept {
            let Place::Local { source, offset } = extent.place else { continue };
            match conn.queue.byte(start) {
                Some(byte) if byte.at == At::With(me) => byte.at = At::Here(source),
                _ => self.store.release(source, offset + extent.len),
            }
        }
        let mut holders = Vec::<(NodeId, u64)>::new();
        for (node, place) in conn.queue.kept() {
            if node != me && holders.iter().all(|(known, _)| *known != node) {
                holders.push((node, place.into()));
            }
        }
        let e = conn.donor.epoch();
        for (node, _) in &holders {
            self.releases.hold(now, c, e, *node).expect("there is room");
        }
        conn.tails = (conn.queue.kept().next().is_some()).then(|| Tails { fetcher: Fetcher::new(c, e), holders });
    }

    /// Whether `node` keeps bytes of a connection that is here.
    pub(crate) fn has_tail_at(&self, c: ConnId, node: NodeId) -> bool {
        let tails = self.conns.get(&c).and_then(|conn| conn.tails.as_ref());
        tails.is_some_and(|tails| tails.holders.iter().any(|(holder, _)| *holder == node))
    }

    /// Asks for what is wanted, and lets go what is not needed any more.
    fn tend_tails(&mut self, now: Instant, c: ConnId, rules: &Rules, client: &mut Client, out: &mut Mail) {
        let Some(conn) = self.conns.get_mut(&c) else { return };
        let Some(tails) = &mut conn.tails else { return };
        let (queue, releases) = (&conn.queue, &mut self.releases);
        tails.holders.retain_mut(|(node, told)| {
            let Some((_, first)) = queue.kept().find(|(holder, _)| holder == node) else {
                releases.finish(now, c, *node);
                return false;
            };
            if u64::from(first) > *told {
                *told = first.into();
                releases.note(now, c, *node, *told);
            }
            true
        });
        let asked = tails.fetcher.update(now, self.id, queue, out);
        if queue.kept().next().is_none() {
            conn.tails = None;
        }
        if let Err(TailLost) = asked {
            self.lose_tail(now, c, rules, client, out);
        }
    }

    /// Bytes that must be sent again are nowhere any more: a reset.
    fn lose_tail(&mut self, now: Instant, c: ConnId, rules: &Rules, client: &mut Client, out: &mut Mail) {
        let Some(conn) = self.conns.get(&c) else { return };
        client.lost_tail = Some(conn.queue.wanted().map(|remote| (NodeId(remote.holder), remote.start)).collect());
        self.end(now, c, (End::TailLost, Ended::ResetByUs), rules, client, out);
    }

    /// Takes a connection out, with what it has in the store. Nobody need keep anything for it.
    pub(crate) fn discard(&mut self, c: ConnId) -> Option<crate::back::Conn> {
        let conn = self.conns.remove(&c)?;
        for byte in &conn.queue.bytes {
            if let At::Here(source) = byte.at {
                self.store.release(source, 1);
            }
        }
        for (node, _) in conn.tails.iter().flat_map(|tails| &tails.holders) {
            self.releases.finish(Instant::ZERO, c, *node);
        }
        Some(conn)
    }

    /// The client has acknowledged everything before `up_to`.
    pub(crate) fn acknowledged(
        &mut self,
        now: Instant,
        c: ConnId,
        up_to: u32,
        rules: &Rules,
        client: &mut Client,
        out: &mut Mail,
    ) {
        let Some(conn) = self.conns.get_mut(&c) else { return };
        while conn.queue.start < up_to && !conn.queue.is_empty() {
            if let At::Here(source) = conn.queue.bytes.remove(0).at {
                self.store.release(source, 1);
            }
            conn.queue.start += 1;
        }
        self.tend_tails(now, c, rules, client, out);
    }

    /// The owner takes a byte for lost: it is sent again, or asked for.
    pub(crate) fn doubt(
        &mut self,
        now: Instant,
        c: ConnId,
        place: u32,
        rules: &Rules,
        client: &mut Client,
        out: &mut Mail,
    ) {
        if let Some(byte) = self.conns.get_mut(&c).and_then(|conn| conn.queue.byte(place.into())) {
            byte.is_lost = true;
        }
        self.send_again(c, client);
        self.tend_tails(now, c, rules, client, out);
    }

    fn send_again(&mut self, c: ConnId, client: &mut Client) {
        let Some(conn) = self.conns.get_mut(&c) else { return };
        let e = conn.donor.epoch();
        for (place, byte) in (conn.queue.start..).zip(&mut conn.queue.bytes) {
            if let (At::Here(source), true) = (byte.at, byte.is_lost) {
                let mut value = [0];
                self.store.read(source, 0, &mut value).expect("it is in the queue");
                client.hear_again(c, e, place, value[0]);
                byte.is_lost = false;
            }
        }
    }

    /// What is to be said of tails now is said.
    pub(crate) fn tell_of_tails(&mut self, now: Instant, c: ConnId, out: &mut Mail) {
        self.releases.hurry(now, c);
        self.time_tails(now, out);
    }

    pub(crate) fn time_tails(&mut self, now: Instant, out: &mut Mail) {
        self.releases.handle_timeout(now, |node| self.holder.lives(node), out);
        self.tails.handle_timeout(now, &mut self.store, out);
        self.tails.take_counts();
    }

    /// Questions that are due are said again.
    pub(crate) fn time_fetches(&mut self, now: Instant, rules: &Rules, client: &mut Client, out: &mut Mail) {
        let connections: Vec<_> = self.conns.keys().copied().collect();
        for c in connections {
            let holder = &self.holder;
            let is_listed = |node| holder.peer(node).is_some_and(|peer| peer.g != Generation::NONE);
            let tails = self.conns.get_mut(&c).and_then(|conn| conn.tails.as_mut());
            let Some(Tails { fetcher, .. }) = tails else { continue };
            if let Err(TailLost) = fetcher.handle_timeout(now, is_listed, out) {
                self.lose_tail(now, c, rules, client, out);
            }
        }
    }

    /// A message about a tail: to its holder, or to the connection's owner.
    pub(crate) fn handle_tail_message(
        &mut self,
        now: Instant,
        (from, message): (NodeId, &Message<'_>),
        rules: &Rules,
        client: &mut Client,
        out: &mut Mail,
    ) -> Result<(), DropReason> {
        if !self.holder.is_valid(now) {
            return Err(DropReason::MessageStale);
        }
        let result = match message {
            Message::Fetch(fetch) => self.tails.handle_fetch(now, from, fetch, &mut self.store, out),
            Message::Release(release) if rules.is(Mutant::ReleaseOfAnyEpoch) => {
                let Release { c, e, up_to } = *release;
                let bent = Release { e: Epoch(u32::MAX), ..*release };
                self.tails.handle_release(now, from, &bent, &mut self.store, &mut Mail::default());
                out.send(from, &Released { c, e, up_to }.into());
                Ok(())
            }
            Message::Release(release) => {
                self.tails.handle_release(now, from, release, &mut self.store, out);
                // Who needs less of a tail than before owns the connection (R15).
                if let Some(conn) = self.conns.get_mut(&release.c) {
                    let event = conn.donor.handle_route(release.e);
                    self.act(now, release.c, event, rules);
                }
                Ok(())
            }
            Message::Released(released) => {
                let done = self.recipient.handle_done(now, from, &Done { c: released.c, e2: released.e });
                self.releases.handle_released(now, from, released).or(done)
            }
            Message::Tail(tail) => self.handle_tail(now, tail, rules, client, out),
            Message::TailGone(gone) => self.handle_tail_gone(now, from, gone, rules, client, out),
            other => panic!("{other:?} is not of a tail"),
        };
        self.tails.take_counts();
        result
    }

    fn handle_tail(
        &mut self,
        now: Instant,
        tail: &Tail<'_>,
        rules: &Rules,
        client: &mut Client,
        out: &mut Mail,
    ) -> Result<(), DropReason> {
        let c = tail.c;
        let Some(conn) = self.conns.get_mut(&c).filter(|conn| !conn.donor.is_silent()) else {
            let former = self.formers.of(c).filter(|former| former.e2 > tail.e).ok_or(DropReason::MessageStale)?;
            out.send(former.to, &Tail { e: former.e2, ..*tail }.into());
            return Ok(());
        };
        let Some(tails) = &conn.tails else { return Err(DropReason::MessageStale) };
        let was_asked = tails.fetcher.has_asked(tail.start);
        if let Some(byte) = conn.queue.byte(tail.start).filter(|byte| matches!(byte.at, At::With(_))) {
            byte.at = At::Here(self.store.insert(tail.bytes.to_vec()).expect("there is room"));
        }
        self.send_again(c, client);
        self.tend_tails(now, c, rules, client, out);
        if !was_asked {
            self.releases.hurry(now, c);
        }
        Ok(())
    }

    fn handle_tail_gone(
        &mut self,
        now: Instant,
        from: NodeId,
        gone: &TailGone,
        rules: &Rules,
        client: &mut Client,
        out: &mut Mail,
    ) -> Result<(), DropReason> {
        let conn = self.conns.get(&gone.c).ok_or(DropReason::MessageStale)?;
        let tails = conn.tails.as_ref().ok_or(DropReason::MessageStale)?;
        let is_lost = tails.fetcher.handle_gone(from, gone, &conn.queue).is_err();
        if is_lost || rules.is(Mutant::TakesEveryGone) {
            self.lose_tail(now, gone.c, rules, client, out);
        }
        Ok(())
    }

    /// Whether a later owner could have this byte from here.
    pub(crate) fn keeps(&self, c: ConnId, place: u64) -> bool {
        let (mut tails, mut store, mut out) = (self.tails.clone(), self.store.clone(), Mail::default());
        let fetch = Fetch { c, e: Epoch(u32::MAX), start: place, len: 1 };
        let answer = tails.handle_fetch(Instant::ZERO, self.id, &fetch, &mut store, &mut out);
        let is_tail = |bytes: &[u8]| {
            let mut reader = handoff_proto::codec::Reader::new(bytes);
            matches!(Message::decode(&mut reader), Ok(Message::Tail(_)))
        };
        answer.is_ok() && out.0.iter().all(|(_, bytes)| is_tail(bytes))
    }
}
