"""A SYN flood from random sources, while usual clients open connections: what is left of their rate.

Two kinds of clients: those who come at a steady rate, each with a connection and a request; and a crowd that takes whatever the
machine can give. The machine that is flooded also makes the flood, so what a flood costs whoever it is for is measured beside: the
same flood to an Ethernet address at which nobody listens, behind the same links.
"""

import contextlib
import json
import re
import subprocess
import tempfile
from dataclasses import dataclass

from labkit import net, scrape
from labkit.base import Failed, run, wait_until

RATE = 110_000
# What was asked of the front-end: this share of the clients' rate, under no fewer SYN segments in a second.
SHARE = 0.75
RATE_MIN = 100_000
# Clients in a second who come at a steady rate, and how many of them come at once.
ARRIVALS, ARRIVALS_AT_ONCE = 500, 5
CROWD = 16
BODY_BYTES = 1_000
START_SECONDS = 5
# A client whose request has no answer by then has failed.
PATIENCE_SECONDS = 8


@dataclass(frozen=True)
class Run:
    """What clients had: requests per second, each on a connection of its own, and how many failed; and how many connections were
    half-open at the most."""

    rate: float
    failed: int
    half_open: int


@contextlib.contextmanager
def flood(lab, mac, seconds, rate=RATE):
    """The flood at the VIP, in frames for `mac`. What is yielded is, behind the context, its rate of segments per second."""
    net.add_stranger(lab.name)
    words = [f"{lab.settings['programs']}/baton-flood",
             "--interface", net.INTERFACE, "--source-mac", net.mac_of(net.STRANGER), "--target-mac", mac,
             "--target", lab.network.vip, "--rate", rate, "--seconds", seconds]
    result = {}
    try:
        child = subprocess.Popen(net.inside(lab.name, net.STRANGER, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            yield result
            said, complaint = child.communicate(timeout=seconds + START_SECONDS)
        except BaseException:
            child.kill()
            child.wait()
            raise
    finally:
        net.remove_beside(lab.name, net.STRANGER)
    found = re.search(r"sent=(\d+) unsent=\d+ seconds=([\d.]+)", said)
    if child.returncode != 0 or not found:
        raise Failed(f"the flood ended with {child.returncode}: {complaint.strip()}")
    result["rate"] = int(found[1]) / float(found[2])


def front_end(lab):
    """Where the flood hurts: the front-end's Ethernet address."""
    return net.mac_of("fe1")


def nobody(lab):
    """An Ethernet address behind the same links at which nobody listens: that of the bridge itself."""
    bridge = run("ip", "-n", net.namespace(lab.name, net.SWITCH), "-j", "link", "show", net.CLUSTER_BRIDGE).stdout
    return json.loads(bridge)[0]["address"]


def clients(lab, seconds):
    """Clients who come at a steady rate, for a while. What is slow, or comes again because nobody answered, lowers their rate."""
    count = seconds * ARRIVALS
    # By itself it names an IPv6 address without its brackets, which no server has to take.
    words = ["h2load", "--h1", "-H", ":authority: lab", "-n", count, "-c", count, "-r", ARRIVALS_AT_ONCE,
             "--rate-period", f"{1000 * ARRIVALS_AT_ONCE // ARRIVALS}ms", "-T", f"{PATIENCE_SECONDS}s", _url(lab)]
    said, most = _watched(lab, words, seconds)
    return read_h2load(said, most)


def crowd(lab, seconds):
    """Clients who ask again as soon as they are answered, for a while."""
    words = ["wrk", "-t", 1, "-c", CROWD, "-d", f"{seconds}s", "--timeout", f"{PATIENCE_SECONDS}s", "-H", "Connection: close", _url(lab)]
    said, most = _watched(lab, words, seconds)
    return read_wrk(said, most)


def read_h2load(said, half_open=0):
    """What h2load printed."""
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", said)
    counts = re.search(r"requests: (\d+) total, .*?(\d+) succeeded", said)
    if not rate or not counts:
        raise Failed(f"h2load says: {said.strip()[-200:]}")
    return Run(float(rate[1]), int(counts[1]) - int(counts[2]), half_open)


def read_wrk(said, half_open=0):
    """What wrk printed."""
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if not found:
        raise Failed(f"wrk says: {said.strip()[-200:]}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failed = sum(map(int, errors.groups())) if errors else 0
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return Run(float(found[1]), failed + (int(wrong[1]) if wrong else 0), half_open)


def _url(lab):
    return lab.network.url(f"/be1/bytes/{BODY_BYTES}")


def _watched(lab, words, seconds):
    """Runs a program of the client's to its end; what it said, and how many connections were half-open meanwhile at the most."""
    most = 0

    def ended():
        nonlocal most
        most = max(most, half_open(lab))
        return child.poll() is not None

    # To a file: nobody empties a pipe meanwhile.
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(net.inside(lab.name, "client", *words), stdout=output, stderr=subprocess.STDOUT)
        if not wait_until(ended, seconds + PATIENCE_SECONDS + START_SECONDS, pause=0.2):
            child.kill()
            raise Failed(f"{words[0]} does not end")
        output.seek(0)
        return output.read(), most


def half_open(lab):
    """How many connections are half-open now at the front-end."""
    return int(scrape.total(scrape.read(lab.metrics("fe1")), "baton_connections", state="half_open"))


def under_flood(lab, mac, its, seconds, rate=RATE):
    """What `its` clients have while the flood goes on, and the flood's own rate."""
    with flood(lab, mac, seconds + 1, rate) as flooded:
        had = its(lab, seconds)
    return had, flooded["rate"]
