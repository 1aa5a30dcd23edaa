//! What is made ready for connections that may come here: PREFETCH names a request, and its response is prepared while the donor
//! still sends the one before it.
//!
//! ```text
//!   PREFETCH --take--> service opens and reads --> waits --claim--> with the connection, for the request that was named
//!                 \--> refused, declined, stale      \-----------> expired, void: given back
//! ```
//! A hint and nothing more: whatever happens to one, only counters show it.

use std::collections::HashMap;

use ahash::RandomState;
use baton_http1::RequestHead;
use baton_stack::addr::ConnId;
use baton_stack::time::{Duration, Instant};
use handoff_proto::donor::GRANT_VALID;
use handoff_proto::due::DueList;
use handoff_proto::message::{Prefetch, RequestKey};
use handoff_proto::names::Epoch;

use crate::serve::{Expected, Preparation, Service};

/// How much may wait, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AheadLimits {
    /// Preparations. Each may hold a file open.
    pub count: usize,
    /// Bytes that they hold in all.
    pub bytes: usize,
    /// Bytes of each: about what a connection sends before its first acknowledgment. The operating system reads on by itself.
    pub bytes_each: usize,
    /// How long one waits for its connection.
    pub time: Duration,
}

impl Default for AheadLimits {
    fn default() -> Self {
        Self { count: 256, bytes: 2 << 20, bytes_each: 16_384, time: GRANT_VALID }
    }
}

/// What became of PREFETCH messages. All but the first add up to the first, less those that wait.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AheadCounts {
    /// Messages.
    pub received: u64,
    /// Responses that were begun with what had been prepared.
    pub used: u64,
    /// Said again while it waited: it waits as long again.
    pub repeated: u64,
    /// The service had nothing to prepare, or the request was not known in whole.
    pub declined: u64,
    /// A limit was reached.
    pub refused: u64,
    /// It came too late, for another life, or this node takes no hints.
    pub stale: u64,
    /// Nothing came within the time.
    pub expired: u64,
    /// The connection came otherwise, or not at all.
    pub void: u64,
}

/// All that waits.
#[derive(Debug)]
pub(crate) struct Ahead {
    limits: AheadLimits,
    waiting: HashMap<ConnId, Waiting, RandomState>,
    bytes: usize,
    due: DueList,
    pub(crate) counts: AheadCounts,
}

#[derive(Debug)]
struct Waiting {
    link: usize,
    e2: Epoch,
    ready: Ready,
}

/// What is ready for one request.
#[derive(Debug)]
pub struct Ready {
    n: u32,
    strip: u16,
    is_head: bool,
    target: Box<[u8]>,
    bytes: usize,
    preparation: Box<dyn Preparation>,
}

impl Ready {
    /// The preparation, if the request of `head`, of ordinal `n` and with so many bytes of its path to be stripped, is the one that it is for.
    #[must_use]
    pub fn for_request(self, n: u32, strip: u16, head: &RequestHead<'_>) -> Option<Box<dyn Preparation>> {
        let is_named = (self.n, self.strip) == (n, strip)
            && is_head(head.method.as_str().as_bytes()) == Some(self.is_head)
            && head.path_and_query().is_some_and(|target| target.as_bytes() == &*self.target);
        is_named.then_some(self.preparation)
    }
}

impl Ahead {
    pub(crate) fn new(limits: AheadLimits, hasher: RandomState) -> Self {
        Self {
            limits,
            waiting: HashMap::with_hasher(hasher),
            bytes: 0,
            due: DueList::new(),
            counts: AheadCounts::default(),
        }
    }

    /// Prepares what `prefetch` asks for, which came over `link` and is not stale.
    pub(crate) fn take<S: Service>(&mut self, now: Instant, link: usize, prefetch: &Prefetch<'_>, service: &mut S) {
        let Prefetch { c, e2, n, strip, ref key, .. } = *prefetch;
        match self.waiting.get(&c) {
            Some(waiting) if waiting.e2 > e2 => {
                self.counts.stale += 1;
                return;
            }
            Some(waiting) if waiting.e2 == e2 => {
                self.counts.repeated += 1;
                self.due.set(c, Some(now + self.limits.time));
                return;
            }
            Some(_) => self.void(c),
            None => {}
        }
        if self.waiting.len() >= self.limits.count || self.bytes >= self.limits.bytes {
            self.counts.refused += 1;
            return;
        }
        let bytes_max = self.limits.bytes_each.min(self.limits.bytes - self.bytes);
        let Some((is_head, preparation)) = prepare(strip, key, bytes_max, service) else {
            self.counts.declined += 1;
            return;
        };
        let bytes = preparation.memory();
        let ready = Ready { n, strip, is_head, target: key.target.into(), bytes, preparation };
        self.bytes += bytes;
        self.waiting.insert(c, Waiting { link, e2, ready });
        self.due.set(c, Some(now + self.limits.time));
    }

    /// The connection has come under `e2`: what waits for it goes with it. Whether it is used is counted by [`Self::count_use`].
    pub(crate) fn claim(&mut self, c: ConnId, e2: Epoch) -> Option<Ready> {
        if self.waiting.get(&c)?.e2 != e2 {
            self.void(c);
            return None;
        }
        self.remove(c)
    }

    /// The connection has no need of what waits for it.
    pub(crate) fn void(&mut self, c: ConnId) {
        self.counts.void += u64::from(self.remove(c).is_some());
    }

    /// What had come with its connection was used for a response, or not.
    pub(crate) const fn count_use(&mut self, is_used: bool) {
        if is_used {
            self.counts.used += 1;
        } else {
            self.counts.void += 1;
        }
    }

    /// This node has another life in the eyes of the link's front-end.
    pub(crate) fn clear(&mut self, link: usize) {
        let of_link = |(c, waiting): (&ConnId, &Waiting)| (waiting.link == link).then_some(*c);
        let gone: Vec<_> = self.waiting.iter().filter_map(of_link).collect();
        for c in gone {
            self.void(c);
        }
    }

    /// Gives back what has waited long enough.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(c) = self.due.pop(now) {
            self.counts.expired += u64::from(self.remove(c).is_some());
        }
    }

    pub(crate) fn poll_at(&self) -> Option<Instant> {
        self.due.poll_at()
    }

    /// How many there are, and the bytes that they hold.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    fn remove(&mut self, c: ConnId) -> Option<Ready> {
        let Waiting { ready, .. } = self.waiting.remove(&c)?;
        self.due.set(c, None);
        self.bytes -= ready.bytes;
        Some(ready)
    }
}

/// Has the service prepare the request, if it is known in whole and is one that may be prepared.
fn prepare<S: Service>(
    strip: u16,
    key: &RequestKey<'_>,
    bytes_max: usize,
    service: &mut S,
) -> Option<(bool, Box<dyn Preparation>)> {
    if key.is_cut || !key.may_prepare {
        return None;
    }
    let is_head = is_head(key.method)?;
    let target = std::str::from_utf8(key.target).ok()?;
    let (whole, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let path = stripped(whole, strip);
    let preparation = service.prefetch(&Expected { is_head, path, query, bytes_max })?;
    Some((is_head, preparation))
}

/// Whether a method is HEAD; `None` if it is neither that nor GET.
fn is_head(method: &[u8]) -> Option<bool> {
    match method {
        b"GET" => Some(false),
        b"HEAD" => Some(true),
        _ => None,
    }
}

/// What a service sees of a path.
pub(crate) fn stripped(path: &str, strip: u16) -> &str {
    path.get(usize::from(strip)..).filter(|rest| !rest.is_empty()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::{Prepared, Probe, Request};
    use baton_http1::{Limits, Parsed, parse_head};
    use handoff_proto::names::Generation;

    const LIMITS: AheadLimits = AheadLimits { count: 3, bytes: 40, bytes_each: 20, time: Duration::from_millis(10) };

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn ahead(limits: AheadLimits) -> Ahead {
        Ahead::new(limits, RandomState::with_seeds(1, 2, 3, 4))
    }

    fn get(target: &str) -> RequestKey<'_> {
        RequestKey { may_prepare: true, ..RequestKey::new(b"GET", b"h", target.as_bytes()) }
    }

    fn hint(c: u64, e2: u32, key: RequestKey<'_>) -> Prefetch<'_> {
        Prefetch { c: ConnId(c), e2: Epoch(e2), g: Generation(1), n: 4, strip: 4, key }
    }

    fn take(ahead: &mut Ahead, ms: u64, c: u64, e2: u32, target: &str) -> AheadCounts {
        ahead.take(at(ms), 0, &hint(c, e2, get(target)), &mut Probe);
        ahead.counts
    }

    /// Whether what was made ready answers this request.
    fn fits(ready: Ready, n: u32, strip: u16, line: &str) -> bool {
        let text = format!("{line} HTTP/1.1\r\nhost: h\r\n\r\n");
        let Ok(Parsed::Complete(head)) = parse_head(text.as_bytes(), &Limits::default()) else { panic!("{text}") };
        let Some(preparation) = ready.for_request(n, strip, &head) else { return false };
        let request = Request::new(&head, stripped(head.path, strip), 0);
        let Prepared::Response(mut response) = preparation.respond(&request) else { panic!("an upload") };
        let (mut bytes, mut expected) = ([0; 20], [0; 20]);
        crate::serve::probe::fill(7, 0, &mut expected);
        response.body_mut().read(0, &mut bytes).unwrap();
        assert_eq!((bytes, response.body_mut().memory()), (expected, 20));
        true
    }

    #[test]
    fn what_was_named_is_used_and_nothing_else() {
        let cases = [
            (4, 4, "GET /be1/bytes/20?seed=7", true),
            (4, 4, "GET http://h/be1/bytes/20?seed=7", true),
            (5, 4, "GET /be1/bytes/20?seed=7", false),
            (4, 0, "GET /be1/bytes/20?seed=7", false),
            (4, 4, "HEAD /be1/bytes/20?seed=7", false),
            (4, 4, "POST /be1/bytes/20?seed=7", false),
            (4, 4, "GET /be1/bytes/20?seed=8", false),
            (4, 4, "GET /be1/bytes/20", false),
        ];
        for (n, strip, line, expected) in cases {
            let mut ahead = ahead(LIMITS);
            take(&mut ahead, 0, 1, 2, "/be1/bytes/20?seed=7");
            let ready = ahead.claim(ConnId(1), Epoch(2)).expect("it waits");
            assert_eq!(fits(ready, n, strip, line), expected, "{n} {strip} {line}");
            assert_eq!((ahead.waiting(), ahead.poll_at()), ((0, 0), None));
        }
    }

    #[test]
    fn another_epoch_finds_nothing() {
        for e2 in [1, 3] {
            let mut ahead = ahead(LIMITS);
            take(&mut ahead, 0, 1, 2, "/be1/bytes/20");
            assert!(ahead.claim(ConnId(1), Epoch(e2)).is_none());
            assert!(ahead.claim(ConnId(1), Epoch(2)).is_none());
            assert_eq!((ahead.waiting(), ahead.counts.void), ((0, 0), 1));
        }
    }

    #[test]
    fn only_a_later_attempt_takes_an_earlier_one_s_place() {
        let mut ahead = ahead(LIMITS);
        take(&mut ahead, 0, 1, 2, "/be1/bytes/20");
        assert_eq!(take(&mut ahead, 5, 1, 2, "/be1/bytes/20").repeated, 1);
        assert_eq!(take(&mut ahead, 5, 1, 1, "/be1/bytes/20").stale, 1);
        assert_eq!(ahead.poll_at(), Some(at(15)), "said again, it waits as long again");
        assert_eq!(take(&mut ahead, 6, 1, 3, "/be1/bytes/9").void, 1);
        assert_eq!(ahead.waiting(), (1, 9));
        assert!(ahead.claim(ConnId(1), Epoch(3)).is_some());
    }

    #[test]
    fn limits_hold_at_and_one_past() {
        let mut ahead = ahead(LIMITS);
        for c in 1..=3 {
            assert_eq!(take(&mut ahead, 0, c, 2, "/be1/bytes/5").refused, 0);
        }
        assert_eq!(take(&mut ahead, 0, 4, 2, "/be1/bytes/5").refused, 1);
        assert_eq!(ahead.waiting(), (3, 15));
        ahead.void(ConnId(1));
        ahead.void(ConnId(2));
        assert_eq!(take(&mut ahead, 0, 5, 2, "/be1/bytes/99").refused, 1);
        assert_eq!(ahead.waiting(), (2, 25), "twenty of each at the most");
        take(&mut ahead, 0, 6, 2, "/be1/bytes/99");
        assert_eq!(ahead.waiting(), (3, 40), "and what is left of all");
        ahead.void(ConnId(3));
        ahead.void(ConnId(5));
        take(&mut ahead, 0, 7, 2, "/be1/bytes/99");
        assert_eq!((ahead.waiting(), ahead.counts.refused), ((2, 35), 1));
        let mut tight = self::ahead(AheadLimits { bytes: 20, ..LIMITS });
        take(&mut tight, 0, 1, 2, "/be1/bytes/20");
        assert_eq!((take(&mut tight, 0, 2, 2, "/be1/bytes/1").refused, tight.waiting()), (1, (1, 20)));
    }

    #[test]
    fn what_waits_too_long_is_given_back() {
        let mut ahead = ahead(LIMITS);
        take(&mut ahead, 0, 1, 2, "/be1/bytes/20");
        take(&mut ahead, 1, 2, 2, "/be1/bytes/20");
        ahead.handle_timeout(at(9));
        assert_eq!((ahead.waiting(), ahead.poll_at()), ((2, 40), Some(at(10))));
        ahead.handle_timeout(at(10));
        assert_eq!((ahead.waiting(), ahead.counts.expired), ((1, 20), 1));
        ahead.handle_timeout(at(11));
        assert_eq!((ahead.waiting(), ahead.poll_at(), ahead.counts.expired), ((0, 0), None, 2));
        assert!(ahead.claim(ConnId(1), Epoch(2)).is_none());
    }

    #[test]
    fn only_what_may_be_prepared_and_is_known_in_whole_is() {
        let whole = get("/be1/bytes/20");
        let keys = [
            RequestKey { may_prepare: false, ..whole },
            RequestKey { is_cut: true, ..whole },
            RequestKey { method: b"POST", ..whole },
            RequestKey { method: b"HEAD", ..whole },
            RequestKey { target: b"/be1/bytes/\xff", ..whole },
            get("/be1/bytes/x"),
            get("/be1/nothing"),
            get("/be1"),
        ];
        let mut ahead = ahead(LIMITS);
        for key in keys {
            ahead.take(at(0), 0, &hint(1, 2, key), &mut Probe);
        }
        assert_eq!((ahead.counts.declined, ahead.waiting()), (8, (0, 0)));
    }

    #[test]
    fn another_life_has_nothing_of_the_last_one() {
        let mut ahead = ahead(LIMITS);
        take(&mut ahead, 0, 1, 2, "/be1/bytes/20");
        ahead.take(at(0), 1, &hint(2, 2, get("/be1/bytes/20")), &mut Probe);
        ahead.clear(0);
        assert_eq!((ahead.waiting(), ahead.counts.void), ((1, 20), 1));
        assert!(ahead.claim(ConnId(2), Epoch(2)).is_some());
    }
}
