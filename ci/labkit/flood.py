"""A SYN flood from random sources, while usual clients open connections: what is left of their rate.

The machine that is flooded also makes the flood, so what a flood costs whoever it is for is measured beside: the same flood to an
Ethernet address at which nobody listens, behind the same links.
"""

import contextlib
import json
import re
import subprocess
from dataclasses import dataclass

from labkit import net, scrape
from labkit.base import Failed, run, wait_until

RATE = 100_000
# What was asked of the front-end: this share of the clients' rate, and a flood of no less than this share of the rate.
SHARE = 0.75
FLOOD_SHARE = 0.9
CLIENTS = 16
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
    client = run("ip", "-n", net.namespace(lab.name, "client"), "-j", "link", "show", net.INTERFACE).stdout
    words = [f"{lab.settings['programs']}/baton-flood",
             "--interface", net.INTERFACE, "--source-mac", json.loads(client)[0]["address"], "--target-mac", mac,
             "--target", lab.network.vip, "--rate", rate, "--seconds", seconds]
    child = subprocess.Popen(net.inside(lab.name, "client", *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    result = {}
    try:
        yield result
        said, complaint = child.communicate(timeout=seconds + START_SECONDS)
    except BaseException:
        child.kill()
        child.wait()
        raise
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
    """Usual clients for a while: a connection for each request, as fast as they are answered."""
    url = lab.network.url(f"/be1/bytes/{BODY_BYTES}")
    words = ["wrk", "-t", 1, "-c", CLIENTS, "-d", f"{seconds}s", "--timeout", f"{PATIENCE_SECONDS}s", "-H", "Connection: close", url]
    child = subprocess.Popen(net.inside(lab.name, "client", *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    most = 0

    def ended():
        nonlocal most
        most = max(most, half_open(lab))
        return child.poll() is not None

    if not wait_until(ended, seconds + PATIENCE_SECONDS + START_SECONDS, pause=0.2):
        child.kill()
        raise Failed("wrk does not end")
    return read_wrk(child.stdout.read(), most)


def read_wrk(said, half_open=0):
    """What wrk printed."""
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if not found:
        raise Failed(f"wrk says: {said.strip()[-200:]}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failed = sum(map(int, errors.groups())) if errors else 0
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return Run(float(found[1]), failed + (int(wrong[1]) if wrong else 0), half_open)


def half_open(lab):
    """How many connections are half-open now at the front-end."""
    return int(scrape.total(scrape.read(lab.metrics("fe1")), "baton_connections", state="half_open"))


def under_flood(lab, mac, seconds, rate=RATE):
    """What clients have while the flood goes on, and the flood's own rate."""
    with flood(lab, mac, seconds + 1, rate) as its:
        had = clients(lab, seconds)
    return had, its["rate"]
