"""How fast one connection carries a large file: a back-end's TCP and the kernel's, side by side.

Where losses limit the rate, both have many connections at once, through the same injector: each counts for itself, none disturbs another, and
whatever else the machine does it does to both. They are counted when the first slow start is over, whose end is one loss's chance. Elsewhere the
machine or the window limits the rate, and one connection at a time runs; pairs of runs then meet the same weather: the injector begins anew
from the same seed, so that the n-th packet from the server is lost for both or for neither.
"""

import contextlib
import socket
import statistics
import struct
import threading
import time
from dataclasses import dataclass

from labkit.base import Failed
from labkit.client import request

READ_BYTES = 1 << 20
# A file that no run comes to the end of; without content, for only its length matters here.
FILE, FILE_BYTES = "endless.bin", 8 << 30
# So much of it is read in a run at the most, where nothing but the machine is in the way.
WARM_BYTES = 4 << 30
CONNECT_SECONDS = 30

LOSSES = (0, 0.001, 0.01, 0.03)
DELAYS_MS = (0, 10, 50)
LINK_MBIT = 1_000
# What is asked of the stack: this share of the kernel's goodput. Where there is no delay it is the machine that decides, and other work on it.
SHARE, SHARE_OF_THE_MACHINE = 0.95, 0.5
# How long connections that losses limit run before they are counted.
SETTLE_SECONDS = 6
# The mean of connections that have lost n packets between them varies by 0.5 to 1 / sqrt(n): 2,500 losses on each side leave 1.5 to 3 % of
# chance in a ratio. Where losses are rarest it takes many connections and a long time to have so many.
LONGER = 4


@dataclass(frozen=True)
class Cell:
    """One kind of weather: the share of packets lost, the delay each way, and the rate of the link, if not the machine's."""

    loss: float
    delay_ms: int
    rate_mbit: int | None = None

    @property
    def is_limited_by_loss(self):
        """Whether both can run at once."""
        return self.loss > 0 and self.delay_ms > 0

    @property
    def connections(self):
        """So many of each at once do not disturb each other, for losses keep their windows small, and lose enough for a mean."""
        if not self.is_limited_by_loss:
            return 1
        if self.loss < 0.01:
            return 12 if self.delay_ms < 50 else 32
        return 16 if self.delay_ms < 50 else 64

    @property
    def longer(self):
        """How many times as long as other cells its connections run, to lose as much."""
        return LONGER if self.is_limited_by_loss and self.loss < 0.01 and self.delay_ms >= 50 else 1

    @property
    def least(self):
        """The share of the kernel's goodput that this cell must have."""
        return SHARE if self.delay_ms else SHARE_OF_THE_MACHINE

    def __str__(self):
        return f"{self.loss * 100:g} % loss, {self.delay_ms} ms" + (f", {self.rate_mbit} Mbit/s" if self.rate_mbit else "")


CELLS = [Cell(loss, delay) for loss in LOSSES for delay in DELAYS_MS]
# Without delay, behind a link as clients have, where it is the link that limits: the machine has time for both. A figure to compare with, not a bound.
LINK_CELLS = [Cell(loss, 0, LINK_MBIT) for loss in LOSSES if loss < 0.01]


def make_file(lab):
    """The file that both servers have."""
    with open(_place(lab), "wb") as file:
        file.truncate(FILE_BYTES)


def warm_file(lab):
    """Has the machine keep the file's beginning in memory. Who read it first would read for the other as well, and lose time."""
    buffer = bytearray(READ_BYTES)
    with open(_place(lab), "rb", buffering=0) as file:
        for _ in range(WARM_BYTES // READ_BYTES):
            file.readinto(buffer)


def _place(lab):
    return f"{lab.settings['docroot']}/{FILE}"


def compare(lab, linux, cell, seconds, runs):
    """Goodputs in bit/s of one connection: the back-end's and the kernel's, a list each, of pairs of runs."""
    ours, theirs = [], []
    if not cell.is_limited_by_loss:
        warm_file(lab)
    for seed in range(1, runs + 1):
        pair = [(ours, (lab.network.vip, 80), f"/be1/{FILE}"), (theirs, linux.address, f"/{FILE}")]
        # Neither always has the machine as the other left it.
        pair = pair if seed % 2 else pair[::-1]
        for at_once in [pair] if cell.is_limited_by_loss else [[side] for side in pair]:
            with weather(lab, cell, seed):
                _run(lab, at_once, cell, seconds * cell.longer)
    return ours, theirs


def _run(lab, sides, cell, seconds):
    """Adds to each side's results the mean of its connections' goodputs."""
    settle = SETTLE_SECONDS if cell.is_limited_by_loss else 0
    wanted = [(address, path) for _, address, path in sides for _ in range(cell.connections)]
    goodputs = download(lab, wanted, settle, seconds)
    for number, (results, _, _) in enumerate(sides):
        results.append(statistics.mean(goodputs[number * cell.connections:][:cell.connections]))


def ratio(cell, ours, theirs):
    """Of what losses limit the ratio of the means: each run counts by its losses. Elsewhere the median of the pairs' ratios: a run that
    the machine spoilt does not count."""
    if cell.is_limited_by_loss:
        return statistics.mean(ours) / statistics.mean(theirs)
    return statistics.median(our / their for our, their in zip(ours, theirs))


@contextlib.contextmanager
def weather(lab, cell, seed):
    """The injector between client and cluster, also where it has nothing to do: so that all cells are comparable."""
    lab.injector().on({"seed": seed, "loss": cell.loss, "delay": cell.delay_ms, "rate": cell.rate_mbit})
    try:
        yield
    finally:
        lab.injector().off()


def download(lab, wanted, settle, seconds):
    """The goodput in bit/s of each of some connections, pairs of address and path: of so many seconds that begin so long after the request."""
    goodputs, errors = [0.0] * len(wanted), []
    start = threading.Barrier(len(wanted))

    def one(number):
        try:
            with _fetch(lab, *wanted[number], start) as client:
                began = time.monotonic() + settle
                _drain(client, began)
                received = _drain(client, began + seconds)
                goodputs[number] = received * 8 / (time.monotonic() - began)
        except Exception as error:
            start.abort()
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(settle + seconds + CONNECT_SECONDS)
    if errors:
        raise errors[0]
    return goodputs


def rate_between(lab, address, path, begin, end):
    """The goodput in bit/s of one connection between two moments of time.monotonic(), fetched from now on."""
    with _fetch(lab, address, path) as client:
        _drain(client, begin)
        began = time.monotonic()
        received = _drain(client, end)
        return received * 8 / (time.monotonic() - began)


@contextlib.contextmanager
def _fetch(lab, address, path, start=None):
    """A connection with its request sent; at the end it is reset, so that the server stops at once."""
    with lab.socket() as client:
        client.settimeout(CONNECT_SECONDS)
        client.connect(address)
        if start:
            start.wait(CONNECT_SECONDS)
        client.sendall(request(path))
        yield client
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _drain(client, end):
    """Counts bytes until time is up."""
    buffer, received = bytearray(READ_BYTES), 0
    while (left := end - time.monotonic()) > 0:
        client.settimeout(left)
        try:
            length = client.recv_into(buffer)
        except TimeoutError:
            break
        if length == 0:
            raise Failed("the server closed before the end of the run")
        received += length
    return received
