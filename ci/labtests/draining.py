"""A back-end that is drained at the front-end's admin listener: what it has goes to the other one, and clients notice nothing."""

import json
import time

from labkit.client import Connection, check_bytes
from labkit.runner import case, expect
from labkit.scrape import Watch
from labtests.wishes import SECONDS_MAX, call, wait_for

IDLE = 40


def drain(lab, name, word, status=200):
    got, body = call(lab, "fe1", f"/v1/backends/{name}/{word}", "POST")
    expect(got == status, f"{word} of {name}: {got}, not {status}: {body}")


def described(lab, name):
    """What the front-end says of a back-end."""
    _, body = call(lab, "fe1", "/v1/status")
    return next(node for node in json.loads(body)["node"]["backends"] if node["name"] == name)


def wait_until(what, question):
    end = time.monotonic() + SECONDS_MAX
    while not question():
        expect(time.monotonic() < end, f"not after {SECONDS_MAX} s: {what}")
        time.sleep(0.02)


@case()
def a_back_end_is_drained_and_serves_again(lab, full):
    watch = Watch(lab, lab.nodes())
    clients = [Connection(lab) for _ in range(IDLE)]
    try:
        for seed, client in enumerate(clients):
            check_bytes(client.get(f"/be1/bytes/1000?seed={seed}"), seed, 1_000, "be1")
        drain(lab, "be1", "drain")
        expect(described(lab, "be1")["draining"] is True, "the status does not say so")
        for client in clients:
            wait_for(lab, client, "be2")
        wait_until("be1 says that it has none left", lambda: described(lab, "be1")["connections"] == 0)
        # Where a request may be served by either, the other one has it; where only by the one that is drained, nobody.
        with Connection(lab) as client:
            for n in range(8):
                response = client.get(f"/bytes/{n}?seed=1")
                check_bytes(response, 1, n, "be2")
            expect(client.get("/be1/bytes/1").status == 503, "a back-end that drains was given a request")
        for seed, client in enumerate(clients[: IDLE // 2]):
            check_bytes(client.get(f"/be2/bytes/1000?seed={seed}"), seed, 1_000, "be2")
    finally:
        drain(lab, "be1", "undrain")
    for seed, client in enumerate(clients):
        check_bytes(client.get(f"/be1/bytes/1000?seed={seed}"), seed, 1_000, "be1")
        client.close()
    expect(described(lab, "be1")["draining"] is False, "it drains still")
    drain(lab, "be9", "drain", 404)
    resets = sum(watch.grown(node, "baton_resets_total") for node in lab.nodes())
    expect(resets == 0, f"{resets:.0f} connections were reset")
    _, body = call(lab, "fe1", "/v1/moves?limit=1000")
    drained = [move for move in json.loads(body)["moves"] if move["reason"] == "drain" and move["result"] == "moved"]
    expect(len(drained) >= IDLE, f"{len(drained)} events of {IDLE} moves")
    return f"{watch.grown('fe1', 'baton_drain_wishes_total'):.0f} wishes for {IDLE} connections"
