"""Many connections at once, in good weather and bad."""

import threading
import time

from labkit.client import Connection, check_bytes
from labkit.content import content
from labkit.runner import case, expect
from labkit.scrape import Watch
from labtests.transfer import BOTH, pipelined, sequential

CONNECTIONS = 64
SECONDS = 10
LENGTH = 10_000
SEEDS = 16
WEATHER = {"loss": 0.02, "dup": 0.01, "reorder": 0.03, "corrupt": 0.002, "delay": None}


def crowd(lab, seconds, timeout):
    """Connections that alternate back-ends with each request until time is up; the first error is raised. Returns the number of
    requests of each connection."""
    end, counts, errors = time.monotonic() + seconds, [0] * CONNECTIONS, []

    def one(number):
        try:
            with Connection(lab, timeout) as connection:
                while time.monotonic() < end and not errors:
                    turn = counts[number]
                    backend, seed = BOTH[(number + turn) % 2], (number + turn) % SEEDS
                    check_bytes(connection.get(f"/{backend}/bytes/{LENGTH}?seed={seed}"), seed, LENGTH, backend)
                    counts[number] += 1
        except Exception as error:
            errors.append((number, error))

    for seed in range(SEEDS):
        content(seed, LENGTH)
    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + timeout + 5)
    if errors:
        number, error = errors[0]
        raise type(error)(f"{error} (connection {number}, request {counts[number] + 1}; {len(errors)} in all)")
    expect(min(counts) > 1, f"a connection did not come to its second request: {sorted(counts)[:5]}")
    return counts


@case()
def concurrent_64(lab, full):
    counts = crowd(lab, 60 if full else SECONDS, timeout=10)
    return f"{sum(counts)} requests, {min(counts)} to {max(counts)} a connection"


@case()
def concurrent_64_in_bad_weather(lab, full):
    watch = Watch(lab, lab.nodes())
    notes = []
    for seed in range(1, 11) if full else [1]:
        lab.injector().on({"seed": seed} | WEATHER)
        try:
            counts = crowd(lab, SECONDS, timeout=60)
        finally:
            lab.injector().off()
        notes.append(f"{sum(counts)} requests, {min(counts)} to {max(counts)} a connection")
    spoilt = sum(watch.grown(node, "baton_drops_total", reason="bad_checksum") for node in lab.nodes())
    expect(spoilt > 0, "no node has counted a spoilt packet")
    return "; ".join(notes)


@case()
def one_connection_in_bad_weather(lab, full):
    lab.injector().on({"seed": 2} | WEATHER)
    try:
        sequential(lab, 100, 20_000, timeout=60)
        pipelined(lab, [100_000] * 16, timeout=60)
    finally:
        lab.injector().off()


@case()
def a_long_way(lab, full):
    """25 ms each way: a move happens while much is in flight."""
    lab.injector().on({"seed": 3, "delay": 25})
    try:
        sequential(lab, 20, 100_000, timeout=30)
        pipelined(lab, [200_000] * 16, timeout=30)
    finally:
        lab.injector().off()


@case()
def weather_changes(lab, full):
    """Switching the injector on and off costs no connection."""
    with Connection(lab, timeout=30) as connection:
        for seed in range(12):
            if seed % 2 == 0:
                lab.injector().on({"seed": seed, "loss": 0.01, "delay": 5})
            backend = BOTH[seed % 2]
            check_bytes(connection.get(f"/{backend}/bytes/100000?seed={seed}"), seed, 100_000, backend)
            if seed % 2 == 0:
                lab.injector().off()
