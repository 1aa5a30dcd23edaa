"""The cluster's secret changes while it runs."""

import os
import threading
import time

from labkit.client import Connection, check_bytes
from labkit.runner import case, expect
from labtests.wishes import call

# Each step is done at all nodes before the next, so what one says another can open, however late it is. (Two changes of which the second
# finds the first half done once gave two nodes one session under two secrets: `session/weather.rs` and `session/rotation.rs` hold that.)
UNSEALED_MAX = 0
NODES = ("fe1", "be1", "be2")
LENGTH = 30_000


class Load:
    """Connections that go on asking, each time the other back-end; and new ones all the time."""

    def __init__(self, lab, count):
        self.lab, self.answers, self.failures = lab, 0, []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _ask(self, number):
        try:
            while not self.over.is_set():
                # The first connection lives as long as the load.
                rounds = 20 if number else 1_000_000
                with Connection(self.lab) as client:
                    for seed in range(rounds):
                        backend = f"be{1 + seed % 2}"
                        check_bytes(client.get(f"/{backend}/bytes/{LENGTH}?seed={seed}"), seed, LENGTH, backend)
                        self.answers += 1
                        if self.over.is_set():
                            break
        except Exception as error:  # Whatever it is, the test says so.
            self.failures.append(f"connection {number}: {error}")


def reload(lab, node, status=200):
    got, body = call(lab, node, "/v1/secrets/reload", "POST")
    expect(got == status, f"{node}: {got}, not {status}: {body}")
    return body


def unsealed(lab, node):
    """How many datagrams a node could not open so far."""
    lines = [line for line in lab.metrics(node).splitlines() if line.startswith("baton_drops_total")]
    return sum(int(float(line.split()[-1])) for line in lines if "message_unsealed" in line)


@case()
def the_secret_changes_under_load(lab, full):
    old, new = (os.urandom(32).hex() + "\n" for _ in range(2))
    before_all = {node: unsealed(lab, node) for node in NODES}
    with Load(lab, 6) as load:
        # A first change, from the lab's own secret; then another one, so that all is as it would be every month.
        for before, after in [((lab.folder / "cluster.key").read_text(), old), (old, new)]:
            for write, read in [(before, after), (after, before), (after, after)]:
                lab.write_secret("cluster.key", write)
                lab.write_secret("other.key", read)
                for node in NODES:
                    reload(lab, node)
                    time.sleep(0.15)
        answered = load.answers
        time.sleep(1)
        expect(load.answers > answered, "nothing is answered any more")
    expect(not load.failures, f"{len(load.failures)} connections failed: {load.failures[:3]}")
    expect(load.answers > 100, f"only {load.answers} answers: this was no load")
    lost = {node: unsealed(lab, node) - before_all[node] for node in NODES}
    expect(all(count <= UNSEALED_MAX for count in lost.values()), f"datagrams that did not open: {lost}")
    # A node that starts now has the new secret alone.
    lab.kill("be2")
    time.sleep(2.5)
    lab.start("be2")
    deadline = time.monotonic() + 5
    while True:
        with Connection(lab) as client:
            if client.get("/be2/bytes/100?seed=1").status == 200:
                break
        expect(time.monotonic() < deadline, "be2 does not come back")
        time.sleep(0.1)


@case()
def a_secret_that_others_can_read_is_refused(lab, full):
    path = lab.folder / "cluster.key"
    path.chmod(0o640)
    try:
        body = reload(lab, "be1", 422)
        expect("has mode 0640" in body and "chmod 600" in body, body)
    finally:
        path.chmod(0o600)
    reload(lab, "be1")
    with Connection(lab) as client:
        check_bytes(client.get("/be1/bytes/100?seed=1"), 1, 100, "be1")
