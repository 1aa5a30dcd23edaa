"""Routers that mark instead of losing packets (RFC 3168), between Linux and Baton."""

from contextlib import contextmanager

from labkit import net
from labkit.base import run
from labkit.client import Connection, check_bytes, compare, request
from labkit.content import content
from labkit.runner import case, expect
from labkit.scrape import Watch
from labtests.transfer import BOTH, exchange, sequential


@contextmanager
def offering(lab):
    """The client's kernel offers ECN; by default it only accepts it."""
    def say(value):
        run(*net.inside(lab.name, "client", "sysctl", "-qw", f"net.ipv4.tcp_ecn={value}"))
    say(1)
    try:
        yield
    finally:
        say(2)


def marked(lab):
    """Packets marked so far, from the client and from the cluster."""
    status = lab.injector().status()
    return [status[side]["marked"] for side in ("from_client", "from_cluster")]


def upload(lab, length):
    """A body each way, to each back-end, on one connection."""
    with Connection(lab, 60) as connection:
        for seed, backend in enumerate(BOTH):
            body = content(seed, length)
            response = exchange(connection, request(f"/{backend}/echo", "POST", body=body))
            expect((response.status, response.backend) == (200, backend), f"{response.status} from {response.backend}")
            compare(response.body, body, f"echo of {backend}")


@case()
def marks_slow_down_both_ways(lab, full):
    """Each mark that the client's kernel echoes slows a back-end down, and each that comes with its data is echoed; nothing is lost."""
    watch = Watch(lab, lab.nodes())
    before = marked(lab)
    with offering(lab):
        lab.injector().on({"seed": 4, "mark": 0.02, "delay": 5})
        try:
            sequential(lab, 20, 500_000, timeout=60)
            upload(lab, 1_000_000)
            from_client, from_cluster = (now - then for now, then in zip(marked(lab), before))
        finally:
            lab.injector().off()
    heard = sum(watch.grown(node, "baton_ecn_marked_total") for node in lab.nodes())
    slowed = sum(watch.grown(node, "baton_ecn_slowed_total") for node in lab.nodes())
    expect(from_client > 0 and from_cluster > 0, f"marked were {from_client} and {from_cluster}")
    expect(0 < heard <= from_client, f"{heard} of {from_client} marks were heard")
    # Once for each window of data at the most.
    expect(0 < slowed <= from_cluster, f"{slowed} reductions for {from_cluster} marks")
    return f"{from_client:.0f} and {from_cluster:.0f} packets marked, {slowed:.0f} windows reduced"


@case()
def who_does_not_offer_is_not_marked(lab, full):
    before = marked(lab)
    lab.injector().on({"seed": 5, "mark": 1})
    try:
        with Connection(lab, 60) as connection:
            check_bytes(connection.get("/be1/bytes/500000?seed=1"), 1, 500_000, "be1")
        expect(marked(lab) == before, "packets without ECT were marked")
    finally:
        lab.injector().off()
