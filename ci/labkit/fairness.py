"""How two connections share a bottleneck: a token bucket behind the injector, which adds the way's delay.

```
    be1 ----\\
    be2 ---- cluster ==== injector (delay) ==== client's interface | tbf | client's TCP
    linux --/
```

The bucket is at the client, and not where the cluster sends: there the kernel's senders would see how much of theirs waits in it,
as they see it of their own interface, and hold back. No sender has that on a real way.
"""

import contextlib
import statistics
import threading
import time
from dataclasses import dataclass

from labkit import goodput, net
from labkit.base import run

RATE_MBIT = 40
DELAY_MS = 10
# The queue holds what is under way in a round trip of an empty queue.
QUEUE_BYTES = RATE_MBIT * 1_000_000 // 8 * 2 * DELAY_MS // 1000
BURST_BYTES = 16_384
# The device in front of which the bucket is: what comes in through the client's interface makes a detour over it.
NARROW = "narrow"
# The second connection begins this much later; the shares are taken when both have found theirs.
LATER_SECONDS = 0.5
# What was asked of the stack, of a fair share.
FAIR = (0.8, 1.25)


@dataclass(frozen=True)
class Flow:
    """One of the two: its name, and where it fetches from."""

    name: str
    address: tuple
    path: str


def flows(lab, linux):
    """A back-end's, another back-end's and the kernel's."""
    vip = (lab.network.vip, 80)
    return [Flow("be1", vip, f"/be1/{goodput.FILE}"), Flow("be2", vip, f"/be2/{goodput.FILE}"),
            Flow("linux", linux.address, f"/{goodput.FILE}")]


@contextlib.contextmanager
def bottleneck(lab):
    """The token bucket and the delay."""
    client = net.namespace(lab.name, "client")
    tc = lambda words: run(*net.inside(lab.name, "client", "tc", *words.split()))
    run("ip", "-n", client, "link", "add", NARROW, "type", "ifb")
    try:
        run("ip", "-n", client, "link", "set", NARROW, "up")
        tc(f"qdisc add dev {NARROW} root tbf rate {RATE_MBIT}mbit burst {BURST_BYTES} limit {QUEUE_BYTES}")
        tc(f"qdisc add dev {net.INTERFACE} ingress")
        tc(f"filter add dev {net.INTERFACE} parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev {NARROW}")
        with goodput.weather(lab, goodput.Cell(0, DELAY_MS), 1):
            yield
    finally:
        tc(f"qdisc del dev {net.INTERFACE} ingress")
        run("ip", "-n", client, "link", "del", NARROW)


def shares(lab, first, second, settle, seconds, runs):
    """For each run, the first one's and the second one's rate in bit/s while both are there; they begin in turn."""
    found = []
    for number in range(runs):
        order = (first, second) if number % 2 == 0 else (second, first)
        with bottleneck(lab):
            rates = _together(lab, order, settle, seconds)
        found.append(tuple(rates) if number % 2 == 0 else tuple(reversed(rates)))
    return found


def of_fair(found):
    """The median over the runs of the first one's share, 1 being half of what both had; and the smallest part of the bottleneck's
    rate that both had together."""
    return statistics.median(2 * a / (a + b) for a, b in found), min(a + b for a, b in found) / (RATE_MBIT * 1e6)


def _together(lab, order, settle, seconds):
    begin = time.monotonic() + LATER_SECONDS + settle
    rates, errors = [0.0, 0.0], []

    def one(number):
        try:
            time.sleep(number * LATER_SECONDS)
            flow = order[number]
            rates[number] = goodput.rate_between(lab, flow.address, flow.path, begin, begin + seconds)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(begin + seconds - time.monotonic() + goodput.CONNECT_SECONDS)
    if errors:
        raise errors[0]
    return rates
