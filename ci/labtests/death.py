"""Nodes that die, stop, stand still and come back."""

import signal
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from labkit import net, pcap
from labkit.base import Failed, wait_until
from labkit.client import Connection, Wrong, check_bytes, request
from labkit.runner import case, expect
from labtests.transfer import sequential

# What is promised after a death and after a start.
SECONDS = 3.0
GRACE_SECONDS = 2.0


@contextmanager
def bystander(lab):
    """A connection of be1's that goes on whatever happens to others; raises what it met."""
    stop, errors, count = threading.Event(), [], [0]

    def go_on():
        try:
            with Connection(lab) as connection:
                while not stop.is_set():
                    check_bytes(connection.get("/be1/bytes/3000?seed=1"), 1, 3_000, "be1")
                    count[0] += 1
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(15)
    if errors:
        raise Wrong(f"a connection of be1 suffered: {errors[0]}")
    expect(count[0] > 10, f"a connection of be1 had only {count[0]} responses")


def status_of(lab, path):
    """The status that a connection of its own gets; `None` if it gets none."""
    try:
        with Connection(lab, timeout=SECONDS) as connection:
            return connection.get(path).status
    except (OSError, Wrong):
        return None


def wait_status(lab, path, status, since, seconds=SECONDS):
    """Waits until a new connection gets `status`; returns how long after `since` that was."""
    left = since + seconds - time.monotonic()
    came = wait_until(lambda: status_of(lab, path) == status, left, pause=0.05)
    after = time.monotonic() - since
    expect(came and after <= seconds + 0.2, f"{path} has no {status} {after:.1f} s after")
    return after


def revive(lab, node):
    """Starts a node, waits until it is served; returns how long that took."""
    began = time.monotonic()
    lab.start(node)
    return wait_status(lab, f"/{node}/bytes/1", 200, began)


@case()
def a_back_end_dies_and_comes_back(lab, full):
    with bystander(lab), Connection(lab) as connection:
        check_bytes(connection.get("/be2/bytes/1000?seed=1"), 1, 1_000, "be2")
        check_bytes(connection.get("/be1/bytes/1000?seed=2"), 2, 1_000, "be1")
        died = time.monotonic()
        lab.kill("be2")
        down = wait_status(lab, "/be2/bytes/1", 503, died)
        # The answer to ASK, on a connection that be1 owns: it lives on.
        for seed in range(3):
            began = time.monotonic()
            response = connection.get("/be2/bytes/1000")
            expect(response.status == 503, f"status {response.status} for a request to a dead back-end")
            expect(time.monotonic() - began < 1, "a 503 took more than a second")
            check_bytes(connection.get(f"/be1/bytes/1000?seed={seed}"), seed, 1_000, "be1")
        up = revive(lab, "be2")
        check_bytes(connection.get("/be2/bytes/100000?seed=5"), 5, 100_000, "be2")
        check_bytes(connection.get("/be1/bytes/100000?seed=6"), 6, 100_000, "be1")
    return f"503 after {down:.1f} s, served again after {up:.1f} s"


@case()
def a_back_end_whose_front_end_is_dead_stops_in_order(lab, full):
    with Connection(lab) as connection:
        check_bytes(connection.get("/be2/bytes/1000?seed=1"), 1, 1_000, "be2")
        lab.kill("fe1")
        time.sleep(SECONDS)
        process = lab.process("be2")
        began = time.monotonic()
        lab.kill("be2", "TERM")
        expect(process.wait_end(GRACE_SECONDS + 2), "be2 does not stop")
        took = time.monotonic() - began
        expect(process.exit_code() == 0, f"be2 ended with {process.exit_code()}")
    lab.start("fe1")
    revive(lab, "be2")
    return f"stopped after {took:.1f} s"


@case()
def an_idle_connection_of_a_dead_owner_is_reset_once(lab, full):
    def prepare(connection):
        check_bytes(connection.get("/be1/bytes/5000?seed=1"), 1, 5_000, "be1")
        check_bytes(connection.get("/be2/bytes/5000?seed=2"), 2, 5_000, "be2")
    return reset_once(lab, prepare)


@case()
def a_busy_connection_of_a_dead_owner_is_reset_once(lab, full):
    def prepare(connection):
        check_bytes(connection.get("/be1/bytes/5000?seed=1"), 1, 5_000, "be1")
        connection.send(request("/be2/bytes/1000000000?seed=2"))
        while len(connection.unread) < 1_000_000:
            connection._read()
    return reset_once(lab, prepare)


def reset_once(lab, prepare):
    """Kills be2, which owns the connection that `prepare` leaves; the capture shows what the client was told."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reset.pcap"
        # The capture must not be too much for the machine: heads are enough.
        with lab.capture("client", path, ["tcp"]), Connection(lab) as connection:
            prepare(connection)
            began = time.monotonic()
            lab.kill("be2")
            try:
                connection.wait_reset(SECONDS + 2)
                after = time.monotonic() - began
                time.sleep(0.5)
            finally:
                revive(lab, "be2")
        to_client = [s for s in pcap.segments(path) if s.source == (lab.network.vip, 80) and s.target[1] == connection.port]
    expect(after <= SECONDS + 0.2, f"the reset came {after:.1f} s after the death")
    resets = [segment for segment in to_client if segment.flags & pcap.RST]
    expect(len(resets) == 1, f"{len(resets)} resets")
    expected = pcap.next_expected(to_client)
    expect(resets[0].seq == expected, f"the reset has sequence number {resets[0].seq}; the client expects {expected}")
    return f"reset after {after:.1f} s"


@case()
def a_clean_stop_of_a_back_end(lab, full):
    """SIGTERM: exit code 0 within the grace, though connections are open."""
    with bystander(lab), Connection(lab) as connection:
        check_bytes(connection.get("/be2/bytes/1000?seed=1"), 1, 1_000, "be2")
        lab.kill("be2", "TERM")
        process = lab.process("be2")
        expect(process.wait_end(GRACE_SECONDS + 2), "be2 does not stop")
        expect(process.exit_code() == 0, f"be2 stopped with exit code {process.exit_code()}")
        # Moved away or reset, as it likes; but told.
        try:
            connection.get("/be1/bytes/1000?seed=1")
        except (ConnectionError, Wrong):
            pass
        revive(lab, "be2")


@case()
def a_second_signal_stops_at_once(lab, full):
    with Connection(lab) as connection:
        connection.send(request("/be2/bytes/1000000000"))
        connection._read()
        process = lab.process("be2")
        process.signal(signal.SIGTERM)
        time.sleep(0.2)
        try:
            process.signal(signal.SIGINT)
        except Failed:
            pass  # It was faster than we.
        began = time.monotonic()
        expect(process.wait_end(5), "be2 does not stop")
        took = time.monotonic() - began
        expect(took < 1, f"be2 went on for {took:.1f} s")
        revive(lab, "be2")


@case()
def a_clean_stop_of_the_front_end(lab, full):
    with Connection(lab) as connection:
        check_bytes(connection.get("/be1/bytes/1000?seed=1"), 1, 1_000, "be1")
        lab.kill("fe1", "TERM")
        process = lab.process("fe1")
        expect(process.wait_end(GRACE_SECONDS + 2), "fe1 does not stop")
        expect(process.exit_code() == 0, f"fe1 stopped with exit code {process.exit_code()}")
    began = time.monotonic()
    lab.start("fe1")
    for node in ("be1", "be2"):
        wait_status(lab, f"/{node}/bytes/1", 200, began, seconds=10)
    sequential(lab, 10, 10_000)


@case()
def the_front_end_dies_and_comes_back(lab, full):
    """Its connections are lost, the cluster is not."""
    with Connection(lab) as connection:
        check_bytes(connection.get("/be1/bytes/1000?seed=1"), 1, 1_000, "be1")
        lab.kill("fe1")
        began = time.monotonic()
        lab.start("fe1")
        for node in ("be1", "be2"):
            wait_status(lab, f"/{node}/bytes/1", 200, began, seconds=10)
    sequential(lab, 10, 10_000)


@case()
def a_back_end_that_stood_still_does_no_harm(lab, full):
    """It wakes with connections that others have settled meanwhile; it must not speak on them."""
    with bystander(lab), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "still.pcap"
        with lab.capture("client", path, ["tcp"]), Connection(lab) as connection:
            check_bytes(connection.get("/be2/bytes/5000?seed=2"), 2, 5_000, "be2")
            began = time.monotonic()
            lab.kill("be2", "STOP")
            try:
                after = connection.wait_reset(SECONDS + 2)
                wait_status(lab, "/be2/bytes/1", 503, began, seconds=SECONDS + 2)
            finally:
                lab.kill("be2", "CONT")
            woke = time.monotonic()
            wait_status(lab, "/be2/bytes/1", 200, woke)
            time.sleep(1)
        to_client = [s for s in pcap.segments(path) if s.source == (lab.network.vip, 80) and s.target[1] == connection.port]
    expect(after <= SECONDS + 0.2, f"the reset came {after:.1f} s after")
    reset = next(s.time for s in to_client if s.flags & pcap.RST)
    late = [s for s in to_client if s.source_mac == net.mac_of("be2") and s.time > reset]
    expect(not late, f"be2 sent {len(late)} segments on a connection that was no longer its own")


@case(full=True)
def deaths_in_bad_weather(lab, full):
    """Again and again: the cluster always heals."""
    for seed in range(10):
        lab.injector().on({"seed": seed, "loss": 0.02, "reorder": 0.03})
        try:
            node = f"be{1 + seed % 2}"
            lab.kill(node)
            time.sleep(0.3 * seed)
            began = time.monotonic()
            lab.start(node)
            wait_status(lab, f"/{node}/bytes/1", 200, began, seconds=10)
            sequential(lab, 6, 50_000, timeout=60)
        finally:
            lab.injector().off()
