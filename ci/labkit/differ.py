"""Random segments to the kernel's TCP and to Baton's, from the same seeds: what do they answer?

Every seed is a small conversation: a handshake, perhaps a request and its response, then segments that no good client sends, or sends only
now and then. Both servers wait for the rest of a request meanwhile, so that all they say is TCP's. All conversations take their steps
together; after each step the answers are put in a form in which both can be compared: numbers count from where the conversation's
random part began, of the window only whether it is closed.
"""

import random
from dataclasses import dataclass, field

from labkit import rawtcp
from labkit.base import Failed
from labkit.rawtcp import ACK, FIN, PSH, RST, SEQUENCE, SYN, URG, Segment

# The last number of a machine that is not there, with a port for each conversation.
GHOST = "201"
FIRST_PORT = 20_000
STEPS = 7
# A handshake that is not completed has fewer: a second after the SYN, both repeat their SYN-ACK.
OPENING_STEPS = 4
STEP_SECONDS = 0.15
# More at once than a listener keeps would not be answered.
AT_ONCE = 240
# What the conversation's bytes are: the begin of a head that never ends, and is not longer than a head may be.
HEAD = b"GET /be1/" + b"a" * 70_000
FILLER = ord("a")
NEAR_EDGE = 40_000
TEXT_BYTES_MAX = 300
REQUEST = b"GET /be1/bytes/64?seed=1 HTTP/1.1\r\nHost: lab\r\n\r\n"
KINDS = ("listening", "opening", "front-end", "back-end")


@dataclass(frozen=True)
class Shot:
    """A step: a segment by its relation to what the server expects."""

    name: str
    flags: int = ACK
    offset: int = 0
    length: int = 0
    ack: int = 0
    stamp: int | None = 1
    window: int = 64_240
    urgent: int = 0
    spoilt: str = ""
    # The offset counts from the right edge of the window that this server offers.
    from_edge: bool = False
    # Instead of the usual options, or behind them.
    options: bytes | None = None
    extra: bytes = b""
    scale: int = 7

    @property
    def is_reset(self):
        """Whether it ends a connection that expects its number."""
        return bool(self.flags & RST)


@dataclass(frozen=True)
class Answer:
    """One segment of an answer, comparable."""

    flags: str
    seq: int
    ack: int
    closed: bool
    echo: int | None
    sacked: tuple
    length: int

    def __str__(self):
        parts = [f"{self.flags} seq {self.seq} ack {self.ack}"]
        parts += ["window closed"] if self.closed else []
        parts += [] if self.echo is None else [f"echo {self.echo}"]
        parts += [f"sacked {self.sacked}"] if self.sacked else []
        return ", ".join(parts + ([f"{self.length} bytes"] if self.length else []))


@dataclass(eq=False)
class Conversation:
    """One seed at one server."""

    kind: str
    port: int
    iss: int
    ack: int
    target: tuple
    # What the offsets of the steps count from, and where the bytes of the head begin.
    seq: int = 0
    text: int = 0
    edge: int = 0
    # What the server expects next, as it said last.
    expected: int = 0
    scale: int = 0
    clock: int = 0
    peer_stamp: int = 0
    begun: bool = False
    answers: list = field(default_factory=list)

    def segment(self, shot):
        """The step's segment for this server."""
        self.clock += 10
        base = self.edge if shot.from_edge else self.seq
        at = place(base + shot.offset, self.text)
        text = bytes(HEAD[n] if 0 <= n < len(HEAD) else FILLER for n in range(at, at + shot.length))
        options = shot.options
        if options is None and shot.flags & SYN:
            options = rawtcp.syn_options(self.stamp(shot) or 0, shot.scale)
        elif options is None:
            value = self.stamp(shot)
            options = (b"" if value is None else rawtcp.timestamps(value, self.peer_stamp)) + shot.extra
        return Segment(self.port, base + shot.offset, self.ack + shot.ack, shot.flags, shot.window, shot.urgent, options, text,
                       shot.spoilt)

    def stamp(self, shot):
        """TSval: 1 is the clock's, anything else is added to it."""
        return None if shot.stamp is None else self.iss + self.clock + (0 if shot.stamp == 1 else shot.stamp)

    def note(self, seen):
        """Follows what the server offers and how it counts."""
        if seen.flags & SYN and seen.flags & ACK:
            self.scale = seen.scale or 0
            if not self.begun:
                self.ack, self.begun = (seen.seq + 1) % SEQUENCE, True
        # A handshake is completed by the echo of a SYN-ACK; Linux takes no later one there.
        if seen.stamps and not seen.flags & RST and (self.kind != "opening" or seen.flags & SYN):
            self.peer_stamp = seen.stamps[0]
        if seen.flags & ACK and not seen.flags & RST:
            self.expected = seen.ack
            self.edge = seen.ack + (seen.window << (0 if seen.flags & SYN else self.scale))

    def answer(self, seen):
        """The answer in numbers that count from here."""
        echo = place(seen.stamps[1], self.iss) if seen.stamps and not seen.flags & RST else None
        blocks = (tuple(place(edge, self.seq) for edge in block) for block in seen.sacked)
        # What lies at the right edge is not compared: the windows are not the same.
        sacked = tuple(block for block in blocks if block[0] < NEAR_EDGE)
        # A reset in answer to a segment without ACK has the number zero.
        seq = 0 if seen.flags & RST and seen.seq == 0 else place(seen.seq, self.ack)
        # The number of a SYN-ACK is random.
        seq = -1 if seen.flags & SYN else seq
        return Answer(seen.letters, seq, place(seen.ack, self.seq) if seen.flags & ACK else 0,
                      seen.window == 0 and not seen.flags & RST, echo, sacked, seen.length)


def place(number, base):
    """How far a number lies behind `base`, or in front of it."""
    return (number - base + SEQUENCE // 2) % SEQUENCE - SEQUENCE // 2


def plain(answers):
    """The answers of one step without what another of them says as well: a bare ACK beside one that acknowledges no less."""
    kept = []
    for number, answer in enumerate(answers):
        is_bare = answer.flags == "A" and not answer.length and not answer.sacked
        others = kept + answers[number + 1 :]
        if not (is_bare and any(other.ack >= answer.ack and "R" not in other.flags for other in others)):
            kept.append(answer)
    return kept


def script(seed):
    """A conversation's kind and its steps."""
    generator = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    makers = {"listening": _first_shot, "opening": _opening_shot}
    first = [_syn_shot(generator)] if kind == "opening" else []
    maker = makers.get(kind, _shot)
    count = {"listening": 1, "opening": OPENING_STEPS - 1}.get(kind, STEPS)
    shots = first + [maker(generator) for _ in range(count)]
    # Last: is it still there, and where?
    return kind, shots + ([] if kind == "listening" else [Shot("is anybody there", offset=-1)])


def _first_shot(generator):
    flags = generator.choice([0, ACK, FIN, FIN | ACK, RST, RST | ACK, SYN | ACK, SYN | RST, SYN | FIN, PSH | ACK, URG, SYN | FIN | RST | ACK])
    return Shot(f"to a listener: {_names(flags)}", flags=flags, length=generator.choice([0, 0, 10]), stamp=generator.choice([1, None]))


def _syn_shot(generator):
    return generator.choice([
        Shot("SYN", SYN),
        Shot("SYN", SYN),
        Shot("SYN without options", SYN, options=b""),
        Shot("SYN with text", SYN, length=5),
        Shot("SYN with an MSS of nothing", SYN, options=b"\x02\x04\x00\x00"),
        Shot("SYN with a scale of 15", SYN, scale=15),
        Shot("SYN with an unknown option", SYN, options=b"\xfd\x06abcd\x01\x01"),
        Shot("SYN with an option of length 0", SYN, options=b"\x02\x00\x05\xb4"),
        Shot("SYN with an option past the end", SYN, options=b"\x02\x08\x05\xb4"),
        Shot("SYN with a closed window", SYN, window=0),
        Shot("SYN and PSH", SYN | PSH),
        Shot("SYN and URG", SYN | URG, urgent=7),
    ])


def _opening_shot(generator):
    later = 1
    return generator.choice([
        Shot("opening: ACK", ACK, later),
        Shot("opening: ACK with text", ACK | PSH, later, length=9),
        Shot("opening: ACK of nothing sent", ACK, later, ack=generator.choice([1, 1_000, 1 << 20])),
        Shot("opening: ACK of the SYN-ACK's own number", ACK, later, ack=-1),
        Shot("opening: the SYN again", SYN, 0),
        Shot("opening: another SYN", SYN, generator.choice([100, -100, 1 << 24])),
        Shot("opening: RST", RST, later, stamp=None),
        Shot("opening: RST elsewhere in the window", RST, later + 100, stamp=None),
        Shot("opening: RST out of the window", RST, later + (1 << 24), stamp=None),
        Shot("opening: FIN", FIN | ACK, later),
        Shot("opening: text out of the window", ACK | PSH, later + (1 << 24), length=10),
        Shot("opening: an old timestamp", ACK, later, stamp=-100_000),
        Shot("opening: no timestamp", ACK, later, stamp=None),
        Shot("opening: no flags", 0, later),
        Shot("opening: text ahead", ACK | PSH, later + 50, length=10),
    ])


def _shot(generator):
    small, far = generator.randint(1, TEXT_BYTES_MAX), generator.choice([1 << 20, 1 << 24, 1 << 30, -(1 << 20), -(1 << 30)])
    near = generator.choice([0, 0, 0, 10, 100, 300, -1, -10, -100])
    text = ACK | PSH
    shots = [
        (6, Shot("text", text, near, length=small)),
        (2, Shot("text far away", text, far, length=small)),
        (2, Shot("text over the right edge", text, generator.choice([-50, -1]), length=100, from_edge=True)),
        (1, Shot("text at the right edge", text, 0, length=10, from_edge=True)),
        (1, Shot("an ACK at the right edge", ACK, generator.choice([0, 1, -1]), from_edge=True)),
        (2, Shot("an ACK", ACK, near)),
        (1, Shot("an ACK far away", ACK, far)),
        (2, Shot("an ACK of what was not sent", generator.choice([ACK, text]), near, length=generator.choice([0, small]),
                 ack=generator.choice([1, 100, 1 << 20]))),
        (1, Shot("an old ACK", generator.choice([ACK, text]), near, length=small, ack=-1)),
        (1, Shot("an ACK of long ago", generator.choice([ACK, text]), near, length=small, ack=-(1 << 24))),
        (1, Shot("no ACK", generator.choice([0, PSH]), near, length=small)),
        (2, Shot("an old timestamp", text, near, length=generator.choice([0, small]), stamp=generator.choice([-5, -1_000, -(1 << 20)]))),
        (1, Shot("no timestamp", text, near, length=generator.choice([0, small]), stamp=None)),
        (1, Shot("a closed window", ACK, 0, window=0)),
        (1, Shot("urgent", text | URG, near, length=small, urgent=generator.choice([0, 1, 100, 60_000]))),
        (2, Shot("SYN", generator.choice([SYN, SYN | ACK]), generator.choice([near, far, 1_000]))),
        (1, Shot("RST ahead", RST, generator.choice([1, 100, 10_000]), stamp=None)),
        (1, Shot("RST far away", RST, far, stamp=None)),
        (1, Shot("RST behind", RST, generator.choice([-1, -100]), stamp=None)),
        (1, Shot("RST", RST | generator.choice([0, ACK]), 0, stamp=generator.choice([None, 1]))),
        (1, Shot("FIN ahead", FIN | ACK, generator.choice([5_000, 20_000]), length=generator.choice([0, 10]))),
        (1, Shot("FIN far away", FIN | ACK, far)),
        (1, Shot("SYN, FIN and RST", SYN | FIN | RST | ACK, near)),
        (2, Shot("spoilt", text, near, length=small, spoilt=generator.choice(["checksum", "short offset", "long offset"]))),
        (1, Shot("an unknown option", text, near, length=small, extra=b"\xfd\x04ab")),
        (1, Shot("an option without end", text, near, length=small, extra=b"\xfd\x0c\x00\x00")),
        (1, Shot("an option of length 0", text, near, length=small, extra=b"\xfd\x00\x00\x00")),
    ]
    return generator.choices([shot for _, shot in shots], [weight for weight, _ in shots])[0]


def _names(flags):
    names = [name for flag, name in ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"), (URG, "URG")) if flags & flag]
    return " ".join(names) or "no flags"


def play(lab, seeds, servers):
    """Plays the seeds' conversations at each server, (MAC, address) by name. Yields each seed, its steps, and each server's conversation
    with its answers, a list for every step."""
    seeds = list(seeds)
    with rawtcp.Ghost(lab, lab.network.network + GHOST) as ghost:
        for first in range(0, len(seeds), AT_ONCE):
            yield from _play(ghost, seeds[first : first + AT_ONCE], FIRST_PORT + first, servers)


def _play(ghost, seeds, first_port, servers):
    played = []
    for number, seed in enumerate(seeds):
        kind, shots = script(seed)
        generator = random.Random(~seed)
        iss, ack = (generator.choice([generator.getrandbits(32), SEQUENCE - generator.randint(1, 400)]) for _ in range(2))
        its = {name: Conversation(kind, first_port + number, iss, ack, target, seq=iss, text=iss + 1) for name, target in servers.items()}
        played.append((seed, shots, its))
    _open(ghost, [it for _, _, its in played for it in its.values() if it.kind in ("front-end", "back-end")])
    for step in range(max(len(shots) for _, shots, _ in played)):
        now = [(it, shots[step]) for _, shots, its in played if step < len(shots) for it in its.values()]
        for it, answers in _exchange(ghost, [(it, it.segment(shot)) for it, shot in now]).items():
            it.answers.append(answers)
    # Nothing of them is left for those who come after, nor for the servers to repeat.
    _exchange(ghost, [(it, Segment(it.port, it.expected, it.ack, RST)) for _, _, its in played for it in its.values()])
    yield from played


def _open(ghost, conversations):
    """The handshake, and for half of them a request and its response."""
    _exchange(ghost, [(it, it.segment(Shot("SYN", SYN))) for it in conversations])
    for it in conversations:
        if not it.begun:
            raise Failed(f"{it.target[1]} does not answer the SYN from port {it.port}")
        it.seq += 1
    _exchange(ghost, [(it, it.segment(Shot("ACK"))) for it in conversations])
    handed = [it for it in conversations if it.kind == "back-end"]
    wanted = [(it, Segment(it.port, it.seq, it.ack, ACK | PSH, options=rawtcp.timestamps(it.stamp(Shot("")), it.peer_stamp),
                           payload=REQUEST)) for it in handed]
    for it, answers in _exchange(ghost, wanted).items():
        length = sum(answer.length for answer in answers)
        if not length:
            raise Failed(f"{it.target[1]} does not answer the request from port {it.port}")
        it.seq += len(REQUEST)
        it.text = it.seq
        it.ack += length
    _exchange(ghost, [(it, it.segment(Shot("ACK"))) for it in handed])


def _exchange(ghost, segments):
    """Sends a segment of each conversation, and returns what came in answer, as it came."""
    by_place = {(it.target[1], it.port): it for it, _ in segments}
    answers = {it: [] for it in by_place.values()}
    for it, segment in segments:
        ghost.send(*it.target, segment)
    for seen in ghost.listen(STEP_SECONDS):
        if it := by_place.get((seen.source, seen.port)):
            it.note(seen)
            answers[it].append(it.answer(seen))
    return answers
