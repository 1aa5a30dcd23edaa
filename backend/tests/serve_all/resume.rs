//! Responses that go on at another node: cut at every byte, and the bytes are those of a response that was not.

use std::fs;

use baton_backend::serve::{CHUNKED_OFFSET_MAX, Composed, Files, Probe, Request, Resumable, Server, Service, Work};
use baton_backend::serving::{Destination, RequestLimits, Serving, Step, UNSENT_BYTES_MAX, Verdict};
use baton_http1::{Cursor, Limits};
use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr, MacAddr};
use baton_stack::ecn::Ecn;
use baton_stack::tcp::{Flags, Options, Segment, SeqNum, State, Tcb, TcpConfig, Written};
use baton_stack::time::{Duration, Instant};
use handoff_proto::image::{Image, Plan, Resume};
use handoff_proto::message::{RefuseReason, Served};
use handoff_proto::names::{Epoch, Generation, NodeId};

use crate::common::{TERMS, server, with_request};

const ISS: SeqNum = SeqNum(u32::MAX - 1_000);
const IRS: SeqNum = SeqNum(77);
const MSS: usize = 1_460;
const BE2: Destination = Destination { e2: Epoch(2), to: NodeId(2), g: Generation(2), strip: None };

/// A connection at the node that has it, and its client.
struct Seat {
    now: Instant,
    tcb: Tcb,
    serving: Serving,
    server: Server<Composed>,
    /// Bytes that the client has said and heard.
    said: u32,
    heard: Vec<u8>,
}

impl Seat {
    fn open(service: Composed) -> Self {
        let end = |addr: [u8; 4], port| Endpoint { addr: IpAddr::from(addr), port };
        let flow = Flow { client: end([10, 0, 0, 1], 40_000), vip: end([10, 0, 0, 2], 80) };
        let now = Instant::from_micros(1_000_000_000);
        // A small window: what is offered later counts as much, and is used to its last byte.
        let syn = Segment { flags: Flags::SYN, seq: IRS, ..segment(0, SeqNum(0), 1, &[]) };
        let tcb = Tcb::accept(now, &TcpConfig::default(), flow, ISS, 7, &syn).unwrap();
        let serving = Serving::new(ConnId::new(1, 0, 7, 9), Epoch(1), Cursor::new(), Served::NOTHING);
        let mut seat = Self { now, tcb, serving, server: server(service), said: 0, heard: Vec::new() };
        seat.transmit();
        seat.hear(0, &[]);
        seat
    }

    /// The client says something, has heard everything, and takes so much more.
    fn hear(&mut self, window: usize, bytes: &[u8]) {
        self.now = self.now + Duration::from_millis(1);
        let fin = u32::from(self.tcb.snd_nxt().since(ISS + 1) as usize > self.heard.len());
        let ack = ISS + 1 + u32::try_from(self.heard.len()).unwrap() + fin;
        let segment = segment(self.said, ack, u16::try_from(window).unwrap(), bytes);
        self.said += u32::try_from(bytes.len()).unwrap();
        let _ = self.tcb.handle_segment(self.now, &segment, &mut self.server.store).unwrap();
    }

    /// The node does what it can; gives the step at which it waits for somebody else.
    fn serve(&mut self) -> Step {
        for _ in 0..1_000 {
            let step = self.serving.drive(&mut self.tcb, &mut self.server, &limits());
            let has_sent = self.transmit();
            match step {
                Step::Ask { ordinal } => self.serving.decide(ordinal, Verdict::Serve { strip: 0 }),
                Step::AwaitName => assert_ne!(self.server.service.work(), Work::Nothing),
                Step::Wait if has_sent => {}
                step => return step,
            }
        }
        panic!("it is busy for ever");
    }

    fn transmit(&mut self) -> bool {
        let mut buf = [0; 1_600];
        for n in 0.. {
            let Written { len, .. } = self.tcb.poll_transmit(self.now, &mut self.server.store, &mut buf);
            if len == 0 {
                return n > 0;
            }
            let sent = Segment::parse(&buf[..len]).unwrap();
            let at = usize::try_from(sent.seq.since(ISS + 1)).unwrap();
            if !sent.payload.is_empty() && at == self.heard.len() {
                self.heard.extend_from_slice(sent.payload);
            }
        }
        unreachable!("a node sends finitely much")
    }

    /// Reads and acknowledges until nothing comes any more.
    fn finish(mut self) -> (Vec<u8>, Served, State) {
        loop {
            let before = self.heard.len();
            self.hear(65_000, &[]);
            assert_eq!(self.serve(), Step::Wait);
            if self.heard.len() == before {
                return (self.heard, self.serving.served, self.tcb.state());
            }
        }
    }

    /// The connection goes to a node with this service, where it stands.
    fn move_to(mut self, service: Composed) -> Result<Self, RefuseReason> {
        self.serving.want(NodeId(2));
        assert!(matches!(self.serve(), Step::AskMove { to: NodeId(2), .. }));
        self.serving.grant(BE2);
        assert_eq!(self.serve(), Step::Move(BE2));
        let sent = self.tcb.unsent();
        let resume = self.serving.interrupt(&mut self.tcb, &self.server.store).map(|(resume, unsent)| {
            assert!(unsent <= sent);
            resume
        });
        let (cursor, served) = (self.serving.cursor(), self.serving.served);
        let image = Image {
            c: ConnId::new(1, 0, 7, 9),
            base: Epoch(1),
            epoch: Epoch(2),
            tried: Epoch(2),
            next_hop: MacAddr([2; 6]),
            tcb: self.tcb.freeze(self.now, &mut self.server.store).unwrap(),
            cursor,
            plan: Plan::default(),
            resume,
            served,
        };
        let bytes = image.encode();
        assert!(bytes.len() < 70_000, "what was not sent has travelled: {}", bytes.len());
        let image = Image::decode(&bytes).unwrap();
        let mut server = server(service);
        let resume = image.resume.expect("it was in the middle of a response");
        let exchange = server.resume(2, &resume)?;
        let serving = Serving::new(image.c, image.epoch, image.cursor, image.served).amid(Some(exchange));
        let now = self.now + Duration::from_secs(77);
        let tcb = Tcb::thaw(image.tcb, now, &TcpConfig::default(), &mut server.store).unwrap();
        Ok(Self { now, tcb, serving, server, ..self })
    }
}

fn limits() -> RequestLimits {
    RequestLimits { head: Limits::default(), body_bytes_max: 1 << 20 }
}

fn segment(at: u32, ack: SeqNum, window: u16, payload: &[u8]) -> Segment<'_> {
    Segment {
        src_port: 40_000,
        dst_port: 80,
        seq: IRS + 1 + at,
        ack,
        flags: Flags::ACK,
        ecn: Ecn::NotEct,
        window,
        urgent: 0,
        options: Options { mss: Some(1_460), ..Options::default() },
        payload,
    }
}

/// A service with the probes, and one that has a file of `len` bytes.
fn services(len: usize) -> (tempfile::TempDir, impl Fn() -> Composed) {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = vec![0; len];
    baton_backend::serve::probe::fill(3, 0, &mut bytes);
    fs::write(folder.path().join("f"), bytes).unwrap();
    let root = folder.path().to_owned();
    (folder, move || Composed::new().with_probe().with_files(Files::new(&root).unwrap()))
}

/// A client that takes exactly `sent` bytes of the answers to these requests, then the move, then the rest.
fn cut(service: &impl Fn() -> Composed, requests: &[u8], sent: usize) -> (Vec<u8>, Served, State) {
    let mut seat = Seat::open(service());
    // The odd bytes first, then whole segments: nothing is held back for being short.
    seat.hear(sent % MSS, requests);
    assert_eq!(seat.serve(), Step::Wait);
    while seat.heard.len() < sent {
        seat.hear(MSS, &[]);
        assert_eq!(seat.serve(), Step::Wait);
    }
    // What is left of a window behind a short response is not worth a segment.
    let is_single = requests.windows(4).filter(|bytes| bytes == b"\r\n\r\n").count() == 1;
    assert!(seat.heard.len() == sent || !is_single, "{} of {sent}", seat.heard.len());
    let there = if requests.windows(6).any(|bytes| bytes == b"T /f H") { knowing(service()) } else { service() };
    seat.move_to(there).unwrap().finish()
}

/// The service, once it has found out what names its file.
fn knowing(mut service: Composed) -> Composed {
    let _ = crate::common::get(&mut service, "/f", &[]).body_mut().continuation();
    while service.work() != Work::Nothing {}
    service
}

fn uncut(service: &impl Fn() -> Composed, requests: &[u8]) -> (Vec<u8>, Served, State) {
    let mut seat = Seat::open(service());
    seat.hear(60_000, requests);
    assert_eq!(seat.serve(), Step::Wait);
    seat.finish()
}

/// Longer than what is queued ahead: at every place that is tried something of it is still with the service.
const LONG: usize = 600_000;

#[test]
fn a_response_goes_on_at_any_byte() {
    assert!(LONG as u64 > UNSENT_BYTES_MAX + 2_000);
    let (_folder, service) = services(LONG);
    for path in [format!("/bytes/{LONG}?seed=3"), format!("/chunked/{LONG}?seed=3"), "/f".to_owned()] {
        for close in ["", "connection: close\r\n"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: t\r\n{close}\r\n");
            let whole = uncut(&service, request.as_bytes());
            let wanted_state = if close.is_empty() { State::Established } else { State::FinWait2 };
            assert_eq!((whole.1.requests, whole.2), (1, wanted_state));
            assert_eq!(whole.1.bytes, whole.0.len() as u64);
            // All of the head and what follows it, and some places behind.
            for sent in
                (0..260).chain((260..2_000).step_by(197)).chain([LONG - usize::try_from(UNSENT_BYTES_MAX).unwrap()])
            {
                assert!(cut(&service, request.as_bytes(), sent) == whole, "{path} after {sent} bytes");
            }
        }
    }
}

#[test]
fn what_was_wanted_elsewhere_in_time_goes_on_there_to_its_last_byte() {
    let (_folder, service) = services(LONG);
    for (request, state) in [
        (&b"GET /f HTTP/1.1\r\nhost: t\r\n\r\n"[..], State::Established),
        (b"GET /f HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n", State::FinWait2),
    ] {
        let whole = uncut(&service, request);
        for left in (0..100).step_by(9).chain([1_000, 30_000]) {
            let mut seat = Seat::open(service());
            let sent = whole.0.len() - left;
            seat.hear(sent % MSS, request);
            assert_eq!(seat.serve(), Step::Wait);
            // Wanted while there is much to come; the answer to the question takes as long as the rest.
            seat.serving.want(NodeId(2));
            while seat.heard.len() < sent {
                seat.hear(MSS, &[]);
                assert!(left == 0 || matches!(seat.serve(), Step::AskMove { .. }), "{left}");
                if left == 0 {
                    let _ = seat.serve();
                }
            }
            if left > 0 {
                assert!(seat.move_to(knowing(service())).unwrap().finish() == whole, "{left} bytes are left");
            } else {
                // There is no middle left: between two requests it goes as ever, and not at all once we have closed.
                let moves = matches!(seat.serve(), Step::AskMove { .. });
                assert_eq!(moves, state == State::Established);
            }
        }
    }
}

#[test]
fn ranges_and_requests_behind_go_on_too() {
    let (_folder, service) = services(LONG);
    let range = "GET /f HTTP/1.1\r\nhost: t\r\nrange: bytes=10000-589999\r\n\r\n";
    let small = "GET /f HTTP/1.1\r\nhost: t\r\nrange: bytes=5-9\r\n\r\n";
    let head = "HEAD /f HTTP/1.1\r\nhost: t\r\n\r\n";
    for request in [range.to_owned(), format!("{small}{range}{head}{small}"), format!("{head}{range}{range}{small}")] {
        let whole = uncut(&service, request.as_bytes());
        assert!(whole.0.starts_with(b"HTTP/1.1 "));
        for sent in (0..700).step_by(23) {
            let (heard, served, _) = cut(&service, request.as_bytes(), sent);
            assert!(differ_in_epoch_only(&heard, &whole.0) && served == whole.1, "{request} after {sent} bytes");
        }
    }
}

/// Responses that begin after the move name the new owner's epoch.
fn differ_in_epoch_only(one: &[u8], other: &[u8]) -> bool {
    let differing: Vec<_> = one.iter().zip(other).filter(|(one, other)| one != other).collect();
    one.len() == other.len() && differing.len() < 4 && differing.iter().all(|pair| *pair == (&b'2', &b'1'))
}

#[test]
fn another_file_is_refused_and_an_unknown_one_too() {
    let (_folder, service) = services(LONG);
    let (other_folder, other) = services(LONG);
    let seat = || {
        let mut seat = Seat::open(service());
        seat.hear(MSS, b"GET /f HTTP/1.1\r\nhost: t\r\n\r\n");
        assert_eq!(seat.serve(), Step::Wait);
        seat
    };
    assert_eq!(seat().move_to(other()).err(), Some(RefuseReason::ContentUnknown));
    assert!(seat().move_to(knowing(other())).is_ok());
    let path = other_folder.path().join("f");
    let mut bytes = fs::read(&path).unwrap();
    bytes[LONG - 1] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(seat().move_to(knowing(other())).err(), Some(RefuseReason::ContentDiffers));
    // Replaced since it was looked at: what is known is of another file.
    let known = knowing(other());
    fs::write(other_folder.path().join("new"), vec![1; LONG]).unwrap();
    fs::rename(other_folder.path().join("new"), &path).unwrap();
    assert_eq!(seat().move_to(known).err(), Some(RefuseReason::ContentUnknown));
    fs::remove_file(&path).unwrap();
    assert_eq!(seat().move_to(other()).err(), Some(RefuseReason::ContentDiffers));
}

/// Where the response to these lines could go on, once its head was given out.
fn resumable(service: Composed, lines: &[&str], len: u64) -> Resumable {
    let mut server = server(service);
    let mut exchange = with_request(lines, |request: &Request<'_>| server.begin(request, TERMS)).unwrap();
    assert_eq!(exchange.resumable(&server.store), Resumable::No, "the head was not given out");
    while exchange.body_bytes() < len {
        // Acknowledged at once: so many chunks are cut at the most.
        if let Some(extent) = exchange.next_extent(&mut server.store, len - exchange.body_bytes()) {
            server.store.release_source(extent.source, extent.offset + extent.len);
        }
    }
    exchange.resumable(&server.store)
}

#[test]
fn what_cannot_go_on_elsewhere() {
    let (_folder, service) = services(10);
    let at = |lines: &[&str], len| resumable(service(), lines, len);
    assert!(matches!(at(&["GET /bytes/9 HTTP/1.1", "host: t"], 3), Resumable::At(Resume { offset: 3, .. })));
    assert_eq!(at(&["GET /chunked/9 HTTP/1.0"], 3), Resumable::No, "its end is the connection's");
    assert_eq!(at(&["GET /f HTTP/1.1", "host: t"], 3), Resumable::NotYet);
    assert_eq!(at(&["GET /none HTTP/1.1", "host: t"], 1), Resumable::No, "nobody else says so");
    let chunked = ["GET /chunked/100000000 HTTP/1.1", "host: t"];
    assert!(matches!(at(&chunked, 16 << 20), Resumable::At(Resume { length: None, .. })));
    assert_eq!(at(&chunked, (16 << 20) + 1), Resumable::No, "too many chunks to count");
    let echo = ["POST /echo HTTP/1.1", "host: t", "content-length: 3"];
    let mut server = server(service());
    let mut exchange = with_request(&echo, |request| server.begin(request, TERMS)).unwrap();
    exchange.feed(&mut server.store, b"123").unwrap();
    server.finish(&mut exchange).unwrap();
    while exchange.next_extent(&mut server.store, 99).is_some() {}
    assert_eq!(exchange.resumable(&server.store), Resumable::No, "only this node has the bytes");
}

#[test]
fn what_no_node_sends_is_refused() {
    let lines = ["GET /bytes/9?seed=5 HTTP/1.1", "host: t"];
    let Resumable::At(good) = resumable(Composed::new().with_probe(), &lines, 3) else { panic!("no place") };
    let resume = |change: &dyn Fn(&mut Resume)| {
        let mut resume = good.clone();
        change(&mut resume);
        server(Probe).resume(2, &resume).err()
    };
    assert_eq!((good.name.as_slice(), resume(&|_| {})), (&b"/bytes/9?seed=5"[..], None));
    assert_eq!(resume(&|resume| resume.offset = 9), None);
    for change in [
        &(|resume: &mut Resume| resume.offset = 10) as &dyn Fn(&mut Resume),
        &|resume| resume.length = Some(8),
        &|resume| resume.length = None,
        &|resume| resume.first = 1,
        &|resume| resume.validator[0] ^= 1,
        &|resume| resume.name = b"/bytes/8?seed=5".to_vec(),
        &|resume| resume.name = b"/chunked/9?seed=5".to_vec(),
        &|resume| resume.name = b"/echo".to_vec(),
        &|resume| resume.name = vec![0xff],
    ] {
        assert_eq!(resume(change), Some(RefuseReason::ContentDiffers));
    }
    assert_eq!(resume(&|resume| resume.status = 99), Some(RefuseReason::Malformed));
    let chunked = |resume: &mut Resume| (resume.length, resume.offset) = (None, CHUNKED_OFFSET_MAX + 1);
    assert_eq!(resume(&chunked), Some(RefuseReason::Malformed));
}
