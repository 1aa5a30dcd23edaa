//! Plays a script: hands in what comes in, waits for what must go out, and compares.

use baton_stack::ecn::Ecn;
use baton_stack::tcp::{
    Flags, Outcome, Segment, SeqNum, State, SynCookies, TimeWait, TimeWaitAction, TooBig, may_complete, reset_for,
    reset_for_half_open,
};
use baton_stack::time::Instant;

use crate::host::{Host, Moves, flow, local, ts_offset};
use crate::packet::{IRS, ISS, Packet, Sent, relative, show, words};
use crate::script::{Act, Fact, Script, Step};

/// What each side can say at the most, in bytes.
const STREAM_LEN: usize = 1 << 20;
/// Any key.
const COOKIES: SynCookies = SynCookies::new((0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210));

/// Who takes what the peer sends.
#[derive(Debug)]
enum Place {
    Nobody,
    Here(Box<Host>),
    TimeWait(Box<TimeWait>),
}

/// A script in the middle of being played.
#[derive(Debug)]
pub(crate) struct Player<'a> {
    script: &'a Script,
    moves: Moves,
    place: Place,
    /// What has left where no connection is.
    out: Vec<Sent>,
    now: Instant,
    /// Our first sequence number: in a script it is 0.
    iss: SeqNum,
    /// What the two sides say.
    ours: Vec<u8>,
    theirs: Vec<u8>,
    written: usize,
    read: usize,
}

impl<'a> Player<'a> {
    pub(crate) fn new(script: &'a Script, moves: Moves) -> Self {
        Self {
            script,
            moves,
            place: Place::Nobody,
            out: Vec::new(),
            now: Instant::ZERO,
            iss: ISS,
            ours: text(1),
            theirs: text(2),
            written: 0,
            read: 0,
        }
    }

    pub(crate) fn play(mut self, script: &Script) -> Result<(), String> {
        for step in &script.steps {
            self.step(step).map_err(|error| format!("{}\n  {error}", step.told))?;
        }
        self.expect_silence().map_err(|error| format!("at the end\n  {error}"))
    }

    fn step(&mut self, Step { told: _, at, act }: &Step) -> Result<(), String> {
        if let Act::Out(packet) = act {
            return self.expect(*at, packet);
        }
        self.advance(*at, false);
        self.now = *at;
        if let Act::Is(fact) = act {
            return self.check(fact);
        }
        self.expect_silence()?;
        match act {
            Act::In(packet) => self.hand_in(packet),
            Act::TooBig(seq, packet, mtu, is_believed) => {
                let told = TooBig { seq: self.iss + *seq, packet: *packet, mtu: *mtu };
                let found = self.host()?.handle_too_big(*at, &told).is_ok();
                if found == *is_believed { Ok(()) } else { Err(format!("it is believed: {found}")) }
            }
            Act::Connect => self.connect(),
            Act::Write(n, is_urgent) => self.write(*n, *is_urgent),
            Act::Read(n) => self.read(*n),
            Act::Close => self.host().map(|host| host.close(*at)),
            Act::Abort => self.host().map(|host| host.abort(*at)),
            Act::Break => self.host().map(|host| host.store.broken = true),
            Act::Linger => self.linger(),
            Act::Forget => {
                self.place = Place::Nobody;
                Ok(())
            }
            Act::Stay => self.host().map(|host| host.moves = Moves::Never),
            Act::Go => {
                let moves = self.moves;
                self.host().map(|host| host.moves = moves)
            }
            Act::Out(_) | Act::Is(_) => Ok(()),
        }
    }

    fn host(&mut self) -> Result<&mut Host, String> {
        match &mut self.place {
            Place::Here(host) => Ok(host),
            Place::Nobody | Place::TimeWait(_) => Err("there is no connection".to_owned()),
        }
    }

    fn out(&mut self) -> &mut Vec<Sent> {
        match &mut self.place {
            Place::Here(host) if self.out.is_empty() => &mut host.out,
            _ => &mut self.out,
        }
    }

    /// Lets timers run out until `at`, or until something leaves.
    fn advance(&mut self, at: Instant, until_out: bool) {
        while let Place::Here(host) = &mut self.place
            && let Some(due) = host.poll_at().filter(|due| *due <= at)
        {
            if until_out && !host.out.is_empty() {
                return;
            }
            host.handle_timeout(due.max(self.now));
        }
    }

    fn expect_silence(&mut self) -> Result<(), String> {
        let iss = self.iss;
        let out: Vec<String> = self.out().iter().map(|sent| show(iss, sent)).collect();
        if out.is_empty() { Ok(()) } else { Err(format!("before that this left:\n  {}", out.join("\n  "))) }
    }

    fn check(&mut self, fact: &Fact) -> Result<(), String> {
        let tcb = self.host()?.tcb();
        let (is, found) = match fact {
            Fact::State(name) => (format!("{:?}", tcb.state()) == *name, format!("{:?}", tcb.state())),
            Fact::Cwnd(n) => (tcb.cwnd() == *n, tcb.cwnd().to_string()),
            Fact::Unsent(n) => (tcb.unsent() == *n, tcb.unsent().to_string()),
            Fact::Urgent(n) => (tcb.urgent() == *n, format!("{:?}", tcb.urgent())),
            Fact::Unread(n) => (tcb.unread().len() == *n, tcb.unread().len().to_string()),
        };
        if is { Ok(()) } else { Err(format!("it is {found}")) }
    }

    fn connect(&mut self) -> Result<(), String> {
        let which = (flow(self.script.is_ipv6), ISS, 0);
        let host =
            Host::connect(self.now, &self.script.config, which, self.moves).map_err(|error| error.to_string())?;
        self.place = Place::Here(Box::new(host));
        Ok(())
    }

    fn write(&mut self, n: usize, is_urgent: bool) -> Result<(), String> {
        let (now, from) = (self.now, self.written);
        let bytes = self.ours.get(from..from + n).ok_or("that much is never said")?.to_vec();
        self.written += n;
        if self.host()?.write(now, &bytes, is_urgent) { Ok(()) } else { Err("it is refused".to_owned()) }
    }

    fn read(&mut self, n: usize) -> Result<(), String> {
        let now = self.now;
        let bytes = self.host()?.read(now, n).ok_or("there is not so much to read")?;
        let from = self.read;
        self.read += n;
        if bytes == self.theirs[from..from + n] { Ok(()) } else { Err("other bytes than the peer sent".to_owned()) }
    }

    /// The connection is over; its memory stays, as at a front-end.
    fn linger(&mut self) -> Result<(), String> {
        let (now, lasts) = (self.now, self.script.config.time_wait);
        let tcb = self.host()?.tcb();
        let timestamps = tcb.last_tsval().zip(tcb.ts_recent());
        let memory = TimeWait::new(tcb.flow(), tcb.snd_nxt(), tcb.rcv_nxt(), timestamps, now, lasts);
        self.place = Place::TimeWait(Box::new(memory));
        Ok(())
    }

    fn hand_in(&mut self, packet: &Packet) -> Result<(), String> {
        let from = usize::try_from(packet.seq.max(1) - 1).unwrap_or(usize::MAX);
        let len = usize::try_from(packet.len).unwrap_or(usize::MAX);
        let payload = self.theirs.get(from..from.saturating_add(len)).ok_or("that much is never said")?;
        let bytes = packet.emit(self.iss, payload);
        let segment = Segment::parse(&bytes).map_err(|reason| format!("it cannot be read: {reason:?}"))?;
        let segment = segment.with_ecn(packet.ecn.unwrap_or_default());
        let found = self.take(&segment);
        match &packet.result {
            Some(expected) if *expected != found => Err(format!("what came of it: {}", found.join(" "))),
            _ => Ok(()),
        }
    }

    fn take(&mut self, segment: &Segment<'_>) -> Vec<String> {
        let now = self.now;
        if let Place::TimeWait(memory) = &self.place
            && memory.until() <= now
        {
            self.place = Place::Nobody;
        }
        match &mut self.place {
            Place::Here(host) => {
                let is_half_open = matches!(host.tcb().state(), State::SynSent | State::SynReceived);
                let result = host.handle_segment(now, segment);
                // As a front-end does.
                if let Err(reason) = result
                    && is_half_open
                {
                    let reset = reset_for_half_open(reason, segment);
                    self.out.extend(reset.map(|reset| emit(now, &reset)));
                }
                words(result)
            }
            Place::Nobody => self.open(segment),
            Place::TimeWait(memory) => match memory.handle_segment(now, segment) {
                TimeWaitAction::Acknowledge => {
                    let answer = emit(now, &memory.acknowledgment(now));
                    self.out.push(answer);
                    vec!["Acknowledge".to_owned()]
                }
                TimeWaitAction::Reopen { isn_floor, tsval_floor } => {
                    let began = u32::try_from(now.micros() / 1_000).unwrap_or(0);
                    self.accept(segment, isn_floor, tsval_floor.wrapping_sub(began));
                    vec!["Reopen".to_owned()]
                }
                TimeWaitAction::Ignore => vec!["Ignore".to_owned()],
            },
        }
    }

    /// Nobody is there yet.
    fn open(&mut self, segment: &Segment<'_>) -> Vec<String> {
        let unwanted = Flags::ACK.0 | Flags::RST.0;
        let is_syn = segment.flags.has(Flags::SYN) && segment.flags.0 & unwanted == 0;
        if self.script.has_cookies && (is_syn || may_complete(segment)) {
            return if is_syn { self.send_cookie(segment) } else { self.complete(segment) };
        }
        if is_syn {
            return self.accept(segment, ISS, 0);
        }
        self.refuse(segment);
        vec!["UnknownFlow".to_owned()]
    }

    /// The port listens: only what acknowledges something is reset (RFC 9293 section 3.10.7.2).
    fn refuse(&mut self, segment: &Segment<'_>) {
        if let Some(reset) = reset_for(segment).filter(|_| segment.flags.has(Flags::ACK)) {
            self.out.push(emit(self.now, &reset));
        }
    }

    /// As a front-end does above the limit of half-open connections.
    fn send_cookie(&mut self, syn: &Segment<'_>) -> Vec<String> {
        let (now, flow) = (local(self.now), flow(self.script.is_ipv6));
        let answer = COOKIES.syn_ack(now, &self.script.config, flow, ts_offset(0), syn);
        if let Ok(syn_ack) = &answer {
            self.iss = syn_ack.seq;
            self.out.push(emit(self.now, syn_ack));
        }
        words(answer.map(|_| Outcome::default()))
    }

    fn complete(&mut self, segment: &Segment<'_>) -> Vec<String> {
        let flow = flow(self.script.is_ipv6);
        match Host::complete(self.now, &self.script.config, flow, &COOKIES, segment, self.moves) {
            Ok((host, outcome)) => {
                self.place = Place::Here(Box::new(host));
                words(Ok(outcome))
            }
            Err(reason) => {
                self.refuse(segment);
                words(Err(reason))
            }
        }
    }

    fn accept(&mut self, syn: &Segment<'_>, isn: SeqNum, tsval: u32) -> Vec<String> {
        let which = (flow(self.script.is_ipv6), isn, tsval);
        match Host::accept(self.now, &self.script.config, which, syn, self.moves) {
            Ok(host) => {
                self.place = Place::Here(Box::new(host));
                words(Ok(Outcome::default()))
            }
            Err(reason) => words(Err(reason)),
        }
    }

    fn expect(&mut self, at: Instant, packet: &Packet) -> Result<(), String> {
        if self.out().is_empty() {
            self.advance(at, true);
        }
        self.now = at;
        if self.out().is_empty() {
            return Err("nothing has left".to_owned());
        }
        let sent = self.out().remove(0);
        let iss = self.iss;
        let told = |problem: &str| format!("{problem}; this left:\n  {}", show(iss, &sent));
        if sent.at != at {
            return Err(told("another time"));
        }
        self.compare(packet, &sent).map_err(|problem| told(&format!("another {problem}")))
    }

    /// What is different.
    fn compare(&self, packet: &Packet, sent: &Sent) -> Result<(), &'static str> {
        let ensure = |is: bool, name| if is { Ok(()) } else { Err(name) };
        let segment = Segment::parse(&sent.bytes).map_err(|_| "kind of thing")?;
        let options = &segment.options;
        ensure(segment.flags == packet.flags, "set of flags")?;
        ensure(segment.seq == self.iss + packet.seq, "sequence number")?;
        ensure(u32::try_from(segment.payload.len()) == Ok(packet.len), "length")?;
        ensure(packet.ack.is_none_or(|ack| segment.ack == IRS + ack), "acknowledgment")?;
        let from = usize::try_from(packet.seq.max(1) - 1).unwrap_or(usize::MAX);
        let payload = self.ours.get(from..from.saturating_add(segment.payload.len()));
        ensure(segment.payload.is_empty() || payload == Some(segment.payload), "text")?;
        ensure(packet.window.is_none_or(|window| window == segment.window), "window")?;
        ensure(packet.urgent.is_none_or(|urgent| urgent == segment.urgent), "urgent pointer")?;
        ensure(packet.ecn.is_none_or(|ecn| ecn == sent.ecn), "ECN field")?;
        ensure(packet.mss.is_none_or(|mss| mss == options.mss), "MSS")?;
        ensure(packet.scale.is_none_or(|scale| scale == options.window_scale), "window scale")?;
        ensure(packet.sack_permitted.is_none_or(|sack| sack == options.sack_permitted), "SACK-permitted")?;
        let stamps = options.timestamps.map(|ts| (ts.val, ts.ecr));
        ensure(packet.timestamps.is_none_or(|timestamps| timestamps == stamps), "timestamps option")?;
        let blocks = options.sack.iter().map(|(left, right)| (relative(*left), relative(*right)));
        ensure(packet.sack.as_ref().is_none_or(|sack| blocks.eq(sack.iter().copied())), "list of SACK blocks")
    }
}

fn emit(at: Instant, segment: &Segment<'_>) -> Sent {
    let mut bytes = vec![0; baton_stack::tcp::HEADER_LEN_MAX];
    let len = segment.emit(&mut bytes);
    bytes.truncate(len);
    Sent { at, bytes, ecn: Ecn::NotEct }
}

/// Any bytes, those of one side unlike those of the other, a different one at each place.
fn text(side: u32) -> Vec<u8> {
    let mut state = side;
    let bytes = std::iter::from_fn(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(state.to_be_bytes()[0])
    });
    bytes.take(STREAM_LEN).collect()
}
