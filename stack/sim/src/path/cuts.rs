//! Cut at every byte: a connection that is wanted elsewhere after any number of its request bytes answers as one that stays.
//!
//! ```text
//!   stream[..k] --> Tcb, Serving   grant: Step::Move, as soon as it stands between two requests
//!                      freeze, encode ... decode, thaw
//!   stream[k..] ------> Tcb, Serving of another node
//! ```
//! The node's own serving code, TCB, content store and image; what the service was asked, and every byte of the responses, are compared.

use baton_backend::serve::{
    BodyError, Bytes, ContentStore, Prepared, Request, Responder, Response, Server, Service, StoreLimits, Upload,
};
use baton_backend::serving::{Destination, RequestLimits, Serving, Step, Verdict};
use baton_http1::corpus::{ACCEPTED, Accepted};
use baton_http1::{BodyFraming, Cursor, Limits, Status};
use baton_stack::addr::{ConnId, Endpoint, Flow, IpAddr};
use baton_stack::ecn::Ecn;
use baton_stack::tcp::{Flags, Options, Segment, SeqNum, State, Tcb, TcpConfig, Written};
use baton_stack::time::{Duration, Instant};
use handoff_proto::image::Image;
use handoff_proto::message::Served;
use handoff_proto::names::{Epoch, Generation, NodeId};
use std::sync::{Arc, Mutex};

use super::host::image;

const BEGIN: Instant = Instant::from_micros(1_000_000_000_000);
const ISS: SeqNum = SeqNum(u32::MAX - 30);
const IRS: SeqNum = SeqNum(u32::MAX - 40);
/// Moves at least.
const CUTS_LEAST: u64 = 100_000;
/// Shares of the streams, played side by side.
const SHARES: usize = 4;

/// What the service was asked: method, host, path and query, and the body.
type Asked = Vec<(String, Vec<u8>)>;

/// Answers with what it was asked, once it knows all of it.
#[derive(Clone, Debug, Default)]
struct Clerk(Arc<Mutex<Asked>>);

#[derive(Debug)]
struct Letter {
    clerk: Clerk,
    head: String,
    body: Vec<u8>,
}

impl Clerk {
    fn note(&self, head: &str, body: &[u8]) -> Response {
        let mut asked = self.0.lock().unwrap();
        asked.push((String::from(head), body.to_vec()));
        Response::new(Status::OK, Bytes::from([head.as_bytes(), b" ", body].concat()))
    }
}

impl Service for Clerk {
    fn prepare(&mut self, request: &Request<'_>) -> Prepared {
        let host = request.head().host;
        let head = told(request.method().as_str(), host, request.path(), request.query());
        match request.framing() {
            BodyFraming::None => self.note(&head, &[]).into(),
            BodyFraming::Length(_) | BodyFraming::Chunked => {
                Prepared::Upload(Box::new(Letter { clerk: self.clone(), head, body: Vec::new() }))
            }
        }
    }
}

impl Upload for Letter {
    fn room(&self) -> usize {
        usize::MAX
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Response {
        self.clerk.note(&self.head, &self.body)
    }
}

fn told(method: &str, host: Option<&str>, path: &str, query: Option<&str>) -> String {
    format!("{method} {host:?} {path} {query:?}")
}

/// What came of a stream.
#[derive(PartialEq, Eq, Debug)]
struct Answered {
    asked: Asked,
    responses: Vec<u8>,
    state: State,
}

/// The connection, at the node that has it.
struct Seat {
    now: Instant,
    tcb: Tcb,
    serving: Serving,
    server: Server<Clerk>,
    asked: Arc<Mutex<Asked>>,
    responses: Vec<u8>,
    moves: u64,
}

impl Seat {
    fn open() -> Self {
        let end = |addr: [u8; 4], port| Endpoint { addr: IpAddr::from(addr), port };
        let flow = Flow { client: end([10, 0, 0, 1], 40_000), vip: end([10, 0, 0, 2], 80) };
        let syn = Segment { seq: IRS, flags: Flags::SYN, ..segment(0, SeqNum(0), &[]) };
        let tcb = Tcb::accept(BEGIN, &TcpConfig::default(), flow, ISS, 7, &syn).unwrap();
        let asked = Arc::new(Mutex::new(Asked::new()));
        let serving = Serving::new(ConnId::new(1, 0, 7, 9), Epoch(1), Cursor::new(), Served::NOTHING);
        let server = server(&asked);
        let mut seat = Self { now: BEGIN, tcb, serving, server, asked, responses: Vec::new(), moves: 0 };
        seat.transmit();
        seat.hear(0, &[]);
        seat
    }

    /// The client says `bytes`, which begin at `at` of its stream, and acknowledges what it has heard.
    fn hear(&mut self, at: usize, bytes: &[u8]) {
        self.now = self.now + Duration::from_millis(1);
        let heard = u32::try_from(self.responses.len()).unwrap();
        let fin = u32::from(self.tcb.snd_nxt() == ISS + 2 + heard);
        let segment = segment(u32::try_from(at).unwrap(), ISS + 1 + heard + fin, bytes);
        let _ = self.tcb.handle_segment(self.now, &segment, &mut self.server.store);
        self.serve();
    }

    /// Everything that the node does until it waits.
    fn serve(&mut self) {
        for _ in 0..1_000 {
            let step = match self.tcb.state() {
                State::Closed | State::TimeWait => Step::Wait,
                _ => self.serving.drive(&mut self.tcb, &mut self.server, &limits()),
            };
            let has_sent = self.transmit();
            match step {
                Step::Ask { ordinal } => self.serving.decide(ordinal, Verdict::Serve { strip: 0 }),
                Step::Move(_) => self.move_on(),
                // What was sent may be what it waited for.
                Step::Wait if has_sent => {}
                Step::Wait => return,
                Step::AskMove { .. } | Step::AwaitName | Step::Reset => panic!("it does not go on: {step:?}"),
            }
        }
        panic!("it is busy for ever");
    }

    /// Somebody wants the connection elsewhere.
    fn want_elsewhere(&mut self) {
        let to = Destination { e2: Epoch(2), to: NodeId(2), g: Generation(2), strip: None };
        self.serving.grant(to);
        self.serve();
    }

    fn move_on(&mut self) {
        self.moves += 1;
        let tcb = self.tcb.clone();
        let frozen = tcb.freeze(self.now, &mut self.server.store).unwrap();
        assert_eq!(self.server.store.sources(), 0, "the donor keeps what nobody needs");
        let encoded = Image { served: self.serving.served, ..image(frozen, self.serving.cursor()) }.encode();
        let Image { tcb, cursor, served, .. } = Image::decode(&encoded).unwrap();
        self.server = server(&self.asked);
        // Another clock.
        self.now = self.now + Duration::from_micros(1_234_567 * (self.moves % 7));
        self.tcb = Tcb::thaw(tcb, self.now, &TcpConfig::default(), &mut self.server.store).unwrap();
        self.tcb.note_move();
        self.serving = Serving::new(ConnId::new(1, 0, 7, 9), Epoch(1), cursor, served);
    }

    /// Whether anything left.
    fn transmit(&mut self) -> bool {
        let mut buf = [0; 1_600];
        for n in 0..1_000 {
            let Written { len, .. } = self.tcb.poll_transmit(self.now, &mut self.server.store, &mut buf);
            if len == 0 {
                return n > 0;
            }
            let sent = Segment::parse(&buf[..len]).unwrap();
            let place = sent.seq.since(ISS + 1);
            if !sent.payload.is_empty() && usize::try_from(place).unwrap() == self.responses.len() {
                self.responses.extend_from_slice(sent.payload);
            }
        }
        panic!("it never stops sending");
    }

    fn answered(self) -> (Answered, u64) {
        let asked = self.asked.lock().unwrap().clone();
        (Answered { asked, responses: self.responses, state: self.tcb.state() }, self.moves)
    }
}

fn limits() -> RequestLimits {
    RequestLimits { head: Limits::default(), body_bytes_max: 1 << 20 }
}

fn server(asked: &Arc<Mutex<Asked>>) -> Server<Clerk> {
    Server {
        service: Clerk(Arc::clone(asked)),
        store: ContentStore::new(StoreLimits::default()),
        responder: Responder::new(None),
    }
}

fn segment(at: u32, ack: SeqNum, payload: &[u8]) -> Segment<'_> {
    Segment {
        src_port: 40_000,
        dst_port: 80,
        seq: IRS + 1 + at,
        ack,
        flags: Flags::ACK,
        ecn: Ecn::NotEct,
        window: u16::MAX,
        urgent: 0,
        options: Options { mss: Some(1_460), ..Options::default() },
        payload,
    }
}

/// Plays a stream that comes in two pieces, and is wanted elsewhere in between. An acknowledgment of the first responses comes before
/// or behind the move, as `k` is even or odd.
fn cut(stream: &[u8], k: usize) -> (Answered, u64) {
    let mut seat = Seat::open();
    seat.hear(0, &stream[..k]);
    if k.is_multiple_of(2) {
        seat.hear(k, &[]);
    }
    seat.want_elsewhere();
    seat.hear(k, &stream[k..]);
    seat.hear(stream.len(), &[]);
    seat.answered()
}

/// Plays a stream that comes byte by byte, and is wanted elsewhere before each.
fn cut_everywhere(stream: &[u8]) -> (Answered, u64) {
    let mut seat = Seat::open();
    for k in 0..stream.len() {
        seat.want_elsewhere();
        seat.hear(k, &stream[k..=k]);
    }
    seat.hear(stream.len(), &[]);
    seat.answered()
}

fn uncut(stream: &[u8]) -> Answered {
    let mut seat = Seat::open();
    seat.hear(0, stream);
    seat.hear(stream.len(), &[]);
    let (answered, moves) = seat.answered();
    assert_eq!(moves, 0);
    answered
}

/// Every stream alone, and behind every other that leaves the connection open.
fn streams() -> Vec<(String, Vec<u8>)> {
    let alone = ACCEPTED.iter().map(|Accepted { name, stream, .. }| (String::from(*name), stream.to_vec()));
    let open = ACCEPTED.iter().filter(|accepted| !accepted.closed && !accepted.stream.is_empty());
    let pairs = open.flat_map(|first| {
        ACCEPTED
            .iter()
            .map(move |then| (format!("{}; {}", first.name, then.name), [first.stream, then.stream].concat()))
    });
    alone.chain(pairs).collect()
}

#[test]
fn what_is_asked_is_what_the_corpus_says() {
    for Accepted { name, stream, requests, .. } in ACCEPTED {
        let expected: Asked =
            requests.iter().map(|r| (told(r.method, r.host, r.path, r.query), r.body.to_vec())).collect();
        assert_eq!(uncut(stream).asked, expected, "{name}");
    }
}

/// Cuts every stream of one share at every byte; returns how often the connection really moved.
fn share(n: usize) -> u64 {
    let mut moves = 0;
    for (name, stream) in streams().iter().skip(n).step_by(SHARES) {
        let expected = uncut(stream);
        for k in 0..=stream.len() {
            let (answered, moved) = cut(stream, k);
            assert_eq!(answered, expected, "{name}, cut at {k}");
            moves += moved;
        }
        let (answered, moved) = cut_everywhere(stream);
        assert_eq!(answered, expected, "{name}, cut everywhere");
        moves += moved;
    }
    moves
}

#[test]
fn a_stream_that_is_cut_at_any_byte_is_answered_as_a_whole_one() {
    let shares = [0, 1, 2, 3].map(|n| std::thread::spawn(move || share(n)));
    let moves: u64 = shares.into_iter().map(|share| share.join().unwrap()).sum();
    println!("{moves} moves");
    assert!(moves >= CUTS_LEAST, "only {moves} moves");
}
