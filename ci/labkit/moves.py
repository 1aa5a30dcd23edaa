"""What a move costs a client: the gap in its stream, the time to the first byte, goodput, and what passes between the back-ends.

Everything is measured beside the same requests that one back-end serves alone, on one connection, in one run.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from labkit import net, pcap
from labkit.base import Failed
from labkit.client import Connection, check_bytes, request
from labkit.linux import LinuxServer
from labkit.relay import Relay
from labkit.scrape import Watch

HOME, AWAY = "be1", "be2"
# A response that opens the congestion window; what follows fits into it.
OPENING_BYTES = 2_000_000
PIECE_BYTES = 20_000
STREAM_BYTES, STREAM_DEPTH, STREAM_DELAY_MS = 100_000, 4, 20
# A file of a kilobyte, as a single request's response is long.
RELAYED_FILE = "kilobyte"
# What was asked: of the goodput of the same stream from one back-end.
STREAM_SHARE = 0.97


@dataclass(frozen=True)
class Spread:
    """Times in milliseconds: median and 99th percentile."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds):
        """Of a list of times in seconds."""
        ordered = sorted(seconds)
        return cls(statistics.median(ordered) * 1e3, ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e3)

    def __str__(self):
        return f"{self.p50:.2f} ms ({self.p99:.2f} ms)"


def gaps(lab, count):
    """Pairs of pipelined requests, for two back-ends and for one in turn. Returns two lists of seconds: between the last segment of
    the first response and the first of the second one, as the client's interface sees them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gaps.pcap"
        with lab.capture("client", path, ["tcp", "and", "src", "host", lab.network.vip]), Connection(lab) as connection:
            stream = Stream(connection)
            stream.fetch([(HOME, OPENING_BYTES)])
            boundaries = {True: [], False: []}
            owner = HOME
            for number in range(count):
                moved = number % 2 == 0
                other = _other(owner) if moved else owner
                # From the owner of the moment: this pair has one move at most, and it is between its responses.
                boundaries[moved].append(stream.fetch([(owner, PIECE_BYTES), (other, PIECE_BYTES)])[0])
                owner = other
        segments = [segment for segment in pcap.segments(path) if segment.target[1] == connection.port]
    return [_gaps_at(segments, boundaries[moved]) for moved in (True, False)]


def first_bytes(lab, count):
    """Single requests on one connection, each second one for the other back-end. Returns two lists of seconds from the request to the
    first byte of the response: of those that moved the connection, and of those that did not."""
    moved, stayed = [], []
    with Connection(lab) as connection:
        connection.get(f"/{HOME}/bytes/{PIECE_BYTES}?seed=0")
        owner = HOME
        for number in range(count):
            if number % 2 == 0:
                owner = _other(owner)
            (moved if number % 2 == 0 else stayed).append(_first_byte(connection, owner))
    return moved, stayed


def first_bytes_through_relay(lab, count):
    """The same through a relay in the same topology (labkit/relay.py), each second request for the other of its servers: seconds to the first byte."""
    Path(lab.settings["docroot"], RELAYED_FILE).write_bytes(bytes(1000))
    with LinuxServer(lab) as server, Relay(lab, server) as relay, Connection(lab, address=relay.address) as connection:
        return [_first_byte_of(connection, f"/be{number % 2 + 1}/{RELAYED_FILE}")[0] for number in range(count)]


def streams(lab, requests, runs):
    """The goodput in bit/s of a pipelined stream whose requests are for two back-ends in turn, and of one that stays with one; a list
    each, with a way of 20 ms."""
    found = {True: [], False: []}
    for number in range(runs):
        for moving in (True, False) if number % 2 else (False, True):
            lab.injector().on({"seed": number, "delay": STREAM_DELAY_MS})
            try:
                found[moving].append(_stream(lab, requests, moving))
            finally:
                lab.injector().off()
    return found[True], found[False]


def between_backends(lab, count, pipelined, delay_ms=0):
    """Moves of a connection: idle, one request after the other, or pipelined, with all in flight that the windows allow. Returns bytes and
    datagrams that passed between the back-ends, and the moves that they were for."""
    watch = Watch(lab, [HOME, AWAY])
    lab.injector().on({"seed": 1, "delay": delay_ms})
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "between.pcap"
            words = ["udp", "and", "host", lab.network.address_of(HOME), "and", "host", lab.network.address_of(AWAY)]
            with lab.capture(HOME, path, words), Connection(lab) as connection:
                stream = Stream(connection)
                stream.fetch([(HOME, OPENING_BYTES)])
                wanted = [(HOME if number % 2 else AWAY, STREAM_BYTES) for number in range(count)]
                for some in [wanted] if pipelined else [[one] for one in wanted]:
                    stream.fetch(some)
            lengths = [len(frame) for _, frame in pcap.frames(path)]
    finally:
        lab.injector().off()
    moves = sum(watch.grown(node, "baton_handoffs_total", kind="later", result="done") for node in (HOME, AWAY))
    if moves < count - 1:
        raise Failed(f"{moves:.0f} moves of {count} requests")
    return sum(lengths), len(lengths), int(moves)


class Stream:
    """A connection whose place in the sequence space is known."""

    def __init__(self, connection):
        self.connection, self.seed = connection, 0

    def fetch(self, wanted):
        """Pipelined requests, (back-end, length) each; returns where each response ended, in bytes of the stream."""
        seeds = range(self.seed, self.seed + len(wanted))
        self.seed += len(wanted)
        self.connection.send(b"".join(request(f"/{backend}/bytes/{length}?seed={seed % 16}")
                                      for seed, (backend, length) in zip(seeds, wanted)))
        ends = []
        for seed, (backend, length) in zip(seeds, wanted):
            response = self.connection.response()
            check_bytes(response, seed % 16, length, backend)
            ends.append(self.connection.received - len(self.connection.unread))
        return ends


def _other(backend):
    return AWAY if backend == HOME else HOME


def _gaps_at(segments, boundaries):
    """How long after the last byte before each boundary of the stream the first byte behind it came; in one segment: no time."""
    first = segments[0]
    if not first.flags & pcap.SYN:
        raise Failed("the capture does not begin with the handshake")
    begin = (first.seq + 1) % pcap.SEQUENCE
    placed = [((segment.seq - begin) % pcap.SEQUENCE, segment) for segment in segments if segment.length]
    found = []
    for boundary in boundaries:
        before = max(segment.time for at, segment in placed if at < boundary <= at + segment.length)
        behind = min(segment.time for at, segment in placed if at <= boundary < at + segment.length)
        found.append(max(0.0, behind - before))
    return found


def _first_byte(connection, backend):
    """Seconds to the first byte of a small response, that is then read to its end."""
    took, response = _first_byte_of(connection, f"/{backend}/bytes/1000?seed=1")
    check_bytes(response, 1, 1000, backend)
    return took


def _first_byte_of(connection, path):
    began = time.perf_counter()
    connection.send(request(path))
    connection.wait_begin()
    took = time.perf_counter() - began
    response = connection.response()
    if response.status != 200:
        raise Failed(f"{path} is answered with {response.status}")
    return took, response


def _stream(lab, requests, moving):
    paths = [f"/{AWAY if moving and number % 2 else HOME}/bytes/{STREAM_BYTES}?seed={number % 16}" for number in range(requests)]
    with Connection(lab, timeout=30) as connection:
        began = time.monotonic()
        connection.send(b"".join(map(request, paths[:STREAM_DEPTH])))
        for number in range(requests):
            check_bytes(connection.response(), number % 16, STREAM_BYTES)
            if number + STREAM_DEPTH < requests:
                connection.send(request(paths[number + STREAM_DEPTH]))
        return requests * STREAM_BYTES * 8 / (time.monotonic() - began)
