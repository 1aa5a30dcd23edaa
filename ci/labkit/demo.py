"""One TCP connection, answered by two back-ends: the table of `ci/demo`."""

import hashlib
import os
import sys
import time

from labkit.base import Failed, Misused
from labkit.client import Connection, Wrong, request
from labkit.content import content
from labkit.lab import Lab
from labkit.scrape import Watch

# Back-end and size of each object.
OBJECTS = [("be1", 100_000), ("be2", 250_000), ("be1", 1_000_000), ("be2", 20), ("be2", 500_000), ("be1", 70_000)]
# A front-end that forwards ACKs and moves connections sends less than this share of what the responses have.
BYPASS_SHARE_MAX = 0.1
COLUMNS = "{:12} {:30} {:8} {:>5} {:>10}  {:14} {:>6}"


def main():
    """Shows it; returns the exit code."""
    lab = Lab(os.environ.get("LAB") or "demo")
    try:
        lab.down()
        lab.up()
        print("\nA client, a front-end and two back-ends. The client opens one TCP connection to the VIP, "
              f"{lab.status()['vip']} port 80.\n")
        watch = Watch(lab, lab.nodes())
        bodies, wrong = show_transfers(lab)
        bypassed = show_bypass(lab, watch, bodies)
    except (Failed, Misused, Wrong, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        lab.down()
        return 1
    show_way_on(lab)
    if wrong:
        print(f"demo: {wrong} responses are wrong", file=sys.stderr)
    if not bypassed:
        print("demo: the front-end sent more than it may: responses passed it", file=sys.stderr)
    return 1 if wrong or not bypassed else 0


def show_transfers(lab):
    """Fetches all objects twice on one connection; returns the bytes that came, and how many responses were wrong."""
    paths = [f"/{backend}/bytes/{length}?seed={seed}" for seed, (backend, length) in enumerate(OBJECTS, 1)]
    bodies, wrong = 0, 0
    print(COLUMNS.format("", "request", "back-end", "epoch", "bytes", "checksum", "port"))
    with Connection(lab) as connection:
        sequential = (connection.get(path) for path in paths)
        for kind, responses in [("one by one", sequential), ("pipelined", pipelined(connection, paths))]:
            for seed, (path, response) in enumerate(zip(paths, responses), 1):
                backend, length = OBJECTS[seed - 1]
                right = response.body == content(seed, length) and response.backend == backend
                checksum = hashlib.sha256(response.body).hexdigest()[:8] + (" ok" if right else " WRONG")
                print(COLUMNS.format(kind, f"GET {path}", response.backend or "-", response.epoch or "-", len(response.body),
                                     checksum, connection.port))
                kind = ""
                bodies += len(response.body)
                wrong += not right
    return bodies, wrong


def pipelined(connection, paths):
    """Sends all requests at once; gives the responses as they come."""
    connection.send(b"".join(map(request, paths)))
    for _ in paths:
        yield connection.response()


def show_bypass(lab, watch, bodies):
    """What each node sent meanwhile; returns whether the responses bypassed the front-end."""
    time.sleep(0.2)  # The last acknowledgments.
    print(f"\nResponse bodies: {bodies:,} bytes. Sent meanwhile:\n")
    sent_by = {node: int(watch.grown(node, "baton_port_tx_bytes_total")) for node in lab.nodes()}
    for node, sent in sent_by.items():
        share = f"{100 * sent / bodies:.1f} % of the bodies"
        role = "requests, ACKs and handoffs" if node == "fe1" else "responses, straight to the client, and handoffs"
        print(f"  {node:5} {sent:>12,} bytes  {share:24} {role}")
    bypassed = sent_by["fe1"] < BYPASS_SHARE_MAX * bodies
    if bypassed:
        print("\nThe responses did not pass the front-end, and the client has noticed nothing: one connection, one port.")
    return bypassed


def show_way_on(lab):
    """Commands to try next."""
    lab_is = f"LAB={lab.name} "
    print(f"""
The lab is up. Go on:
  {lab_is}ci/lab exec client -- curl -si http://10.77.0.100/be1/hello.txt
  {lab_is}ci/lab capture /tmp/move.pcap -- curl -s -o /dev/null -o /dev/null http://10.77.0.100/be[1-2]/bytes/100000
  {lab_is}ci/lab kill be2     (then ask it for something: 503, and be1 goes on; ci/lab start be2)
  {lab_is}ci/lab impair --seed 1 --loss 0.02 --reorder 0.03
  {lab_is}ci/lab metrics fe1
  {lab_is}ci/lab down""")


if __name__ == "__main__":
    sys.exit(main())
