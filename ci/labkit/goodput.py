"""How fast one connection carries a large file: a back-end's TCP and the kernel's, side by side.

Every pair of runs meets the same weather: the injector begins anew from the same seed, so that the n-th packet from the server is lost for
both or for neither. Where loss and not the machine limits the rate, several connections run at once, and each counts for itself.
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
CONNECT_SECONDS = 30

LOSSES = (0, 0.001, 0.01, 0.03)
DELAYS_MS = (0, 10, 50)
# What is asked of the stack: this share of the kernel's goodput; and what it must not fall below, for windows of a dozen segments are not yet
# all that far. Something else than TCP decides where there is no delay, the machine, and where hardly anything is lost: the greatest
# window, which travels with a connection.
SHARE, LEAST = 0.95, 0.85
LEAST_ON_A_BUSY_MACHINE, LEAST_OF_A_FULL_WINDOW = 0.5, 0.1


@dataclass(frozen=True)
class Cell:
    """One kind of weather: the share of packets lost, and the delay each way."""

    loss: float
    delay_ms: int

    @property
    def connections(self):
        """So many at once do not yet disturb each other: loss keeps their windows small."""
        return 8 if self.loss >= 0.01 and self.delay_ms >= 10 else 1

    @property
    def least(self):
        """The share of the kernel's goodput that this cell must have."""
        if self.delay_ms == 0:
            return LEAST_ON_A_BUSY_MACHINE
        return LEAST_OF_A_FULL_WINDOW if self.loss < 0.01 else LEAST

    def __str__(self):
        return f"{self.loss * 100:g} % loss, {self.delay_ms} ms"


CELLS = [Cell(loss, delay) for loss in LOSSES for delay in DELAYS_MS]


def make_file(lab):
    """The file that both servers have."""
    with open(f"{lab.settings['docroot']}/{FILE}", "wb") as file:
        file.truncate(FILE_BYTES)


def compare(lab, linux, cell, seconds, runs):
    """Goodputs in bit/s: the back-end's and the kernel's, a list each, of pairs of runs in the same weather."""
    ours, theirs = [], []
    for seed in range(1, runs + 1):
        pair = [(ours, (lab.network.vip, 80), f"/be1/{FILE}"), (theirs, linux.address, f"/{FILE}")]
        # Neither always has the machine as the other left it.
        for results, address, path in pair if seed % 2 else reversed(pair):
            with weather(lab, cell, seed):
                results.append(statistics.mean(download(lab, address, path, seconds, cell.connections)))
    return ours, theirs


def ratio(ours, theirs):
    """The median of the pairs' ratios."""
    return statistics.median(our / their for our, their in zip(ours, theirs))


@contextlib.contextmanager
def weather(lab, cell, seed):
    """The injector between client and cluster, also where it has nothing to do: so that all cells are comparable."""
    lab.injector().on({"seed": seed, "loss": cell.loss, "delay": cell.delay_ms})
    try:
        yield
    finally:
        lab.injector().off()


def download(lab, address, path, seconds, connections=1):
    """The goodput in bit/s of each of some connections that fetch the same file for a while, from the request on."""
    goodputs, errors = [0.0] * connections, []
    start = threading.Barrier(connections)

    def one(number):
        try:
            goodputs[number] = _download(lab, address, path, seconds, start)
        except Exception as error:
            start.abort()
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + CONNECT_SECONDS)
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


def _download(lab, address, path, seconds, start):
    with _fetch(lab, address, path, start) as client:
        began = time.monotonic()
        received = _drain(client, began + seconds)
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
