"""Moves that a person wishes at the admin listeners, with curl."""

import json
import random
import socket
import time
from pathlib import Path

from labkit.base import run
from labkit.client import Connection, check_bytes, request
from labkit.runner import case, expect
from labkit.scrape import Watch

SECONDS_MAX = 3
PAGE_MAX = 1_000
FILE_BYTES, FILE_MOVES = 8_000_000, 6


def call(lab, node, path, method="GET"):
    """Status and body of a request to a node's admin listener."""
    url = f"http://{lab.admin_address(node)}{path}"
    command = lab.inside(node, ["curl", "-sS", "-m", "5", "-X", method, "-w", "\n%{http_code}", url])
    body, _, status = run(*command).stdout.rpartition("\n")
    return int(status), body.strip()


def pages(lab, node, limit):
    """A node's connections, page by page."""
    place = 0
    while place is not None:
        status, body = call(lab, node, f"/v1/connections?from={place}&limit={limit}")
        expect(status == 200, f"{node}: the list has status {status}: {body}")
        answer = json.loads(body)
        expect(len(answer["connections"]) <= limit, f"a page of {len(answer['connections'])}")
        yield answer["connections"]
        place = answer["next"]


def connections(lab, node):
    """All connections of a node. Those that have ended a moment ago are among a front-end's, and may be thousands."""
    return [entry for page in pages(lab, node, PAGE_MAX) for entry in page]


def end_of(address, port):
    """An address and a port as nodes write them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def entry_of(lab, node, client):
    """A node's entry of a client's connection, or None."""
    end = end_of(client.socket.getsockname()[0], client.port)
    mine = [entry for entry in connections(lab, node) if entry["client"] == end]
    expect(len(mine) <= 1, f"{node} has {end} twice: {mine}")
    return mine[0] if mine else None


def wish(lab, node, identifier, to, status):
    """Wishes the connection at `to`, and expects this status. A back-end hears with its next heartbeat only who else is up."""
    end = time.monotonic() + SECONDS_MAX
    while True:
        got, body = call(lab, node, f"/v1/connections/{identifier}/move?to={to}", "POST")
        if got != 503 or status == 503 or time.monotonic() > end:
            break
    expect(got == status, f"{node}, {identifier} to {to}: {got}, not {status}: {body}")
    return body


def wait_for(lab, client, owner):
    """Waits until front-end and owner agree that the connection is there; gives the owner's entry."""
    end = time.monotonic() + SECONDS_MAX
    while True:
        seen = entry_of(lab, "fe1", client), entry_of(lab, owner, client)
        if all(seen) and seen[0]["owner"] == owner and seen[0]["epoch"] == seen[1]["epoch"]:
            return seen[1]
        expect(time.monotonic() < end, f"port {client.port} is not at {owner} after {SECONDS_MAX} s: {seen}")
        time.sleep(0.02)


@case()
def the_list_comes_in_pages(lab, full):
    with Connection(lab) as one, Connection(lab) as two, Connection(lab) as three:
        clients = [one, two, three]
        for client in clients:
            check_bytes(client.get("/be1/bytes/1000?seed=1"), 1, 1_000, "be1")
            wait_for(lab, client, "be1")
        found = [entry["id"] for page in pages(lab, "be1", 2) for entry in page]
        wanted = [entry_of(lab, "be1", client)["id"] for client in clients]
        expect(all(found.count(identifier) == 1 for identifier in wanted), f"{wanted} in {found}")


@case()
def an_idle_connection_goes_where_it_is_wanted(lab, full):
    with Connection(lab) as client:
        check_bytes(client.get("/be1/bytes/10000?seed=1"), 1, 10_000, "be1")
        entry = wait_for(lab, client, "be1")
        expect((entry["state"], entry["requests"], entry["moving_to"]) == ("idle", 1, None), f"{entry}")
        expect(entry["response_bytes"] > 10_000 and entry["vip"] == end_of(lab.network.vip, 80), f"{entry}")
        identifier = entry["id"]
        # Once asked at the front-end, once at the owner itself.
        for asked, at, to in [("fe1", "be1", "be2"), ("be2", "be2", "be1"), ("fe1", "be1", "be2")]:
            answer = json.loads(wish(lab, asked, identifier, to, 202))
            expect(answer == {"id": identifier, "from": at, "to": to}, f"{answer}")
            entry = wait_for(lab, client, to)
            expect(entry_of(lab, at, client) is None, f"{at} has it still")
            expect((entry["state"], entry["requests"]) == ("idle", 1), f"{entry}")
        check_bytes(client.get("/be2/bytes/10000?seed=2"), 2, 10_000, "be2")
        expect(wait_for(lab, client, "be2")["epoch"] == entry["epoch"], "it has moved again for a request of be2")
        check_bytes(client.get("/be1/bytes/10000?seed=3"), 3, 10_000, "be1")


@case()
def a_busy_connection_goes_in_the_middle_of_its_response(lab, full):
    """What the probes answer is the same everywhere, so the response goes on at the other back-end; the client reads nothing before."""
    length = 40_000_000
    with Connection(lab, 60) as client:
        client.send(request(f"/be1/bytes/{length}?seed=1"))
        entry = wait_for(lab, client, "be1")
        expect(entry["state"] == "busy", f"{entry}")
        for to in ("be2", "be1", "be2"):
            wish(lab, "fe1", entry["id"], to, 202)
            entry = wait_for(lab, client, to)
            expect((entry["state"], entry["requests"]) == ("busy", 0), f"{entry}")
        check_bytes(client.response(), 1, length, "be1")
        expect(wait_for(lab, client, "be2")["requests"] == 1, "the response was not counted once")
        check_bytes(client.get("/be2/bytes/10000?seed=2"), 2, 10_000, "be2")


@case()
def a_download_moves_to_and_fro(lab, full):
    """A file whose digest both back-ends find out first; its bytes come from both."""
    data = random.Random(1).randbytes(FILE_BYTES)
    (Path(lab.settings["docroot"]) / "amid.bin").write_bytes(data)
    watch = Watch(lab, ("be1", "be2"))
    with Connection(lab, 60) as client:
        # A small buffer, so that most of the file is still to be sent when the last move begins.
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        client.send(request("/be1/amid.bin"))
        identifier = wait_for(lab, client, "be1")["id"]
        for step in range(FILE_MOVES):
            client.take_ahead(FILE_BYTES // 2 // FILE_MOVES)
            move_amid(lab, client, identifier, ("be2", "be1")[step % 2])
        response = client.response()
        expect(response.status == 200 and response.backend == "be1", f"{response.status} from {response.backend}")
        expect(response.body == data, "the file differs from what was sent")
        owner = ("be1", "be2")[FILE_MOVES % 2]
        expect(wait_for(lab, client, owner)["requests"] == 1, "the response was not counted once")
    amid = sum(watch.grown(node, "baton_handoffs_amid_total") for node in ("be1", "be2"))
    expect(amid >= FILE_MOVES, f"{amid:.0f} handoffs in the middle of a response")
    return f"{FILE_MOVES} moves, {amid:.0f} attempts"


def move_amid(lab, client, identifier, to):
    """Wishes until the connection is there: who is asked for a file for the first time has to read it before."""
    at = {"be1": "be2", "be2": "be1"}[to]
    end = time.monotonic() + 5 * SECONDS_MAX
    while not entry_of(lab, to, client):
        status, body = call(lab, at, f"/v1/connections/{identifier}/move?to={to}", "POST")
        expect(status in (202, 404, 409, 503), f"{at}: {status}: {body}")
        expect(time.monotonic() < end, f"it is not at {to}")
        time.sleep(0.05)
    entry = wait_for(lab, client, to)
    expect((entry["state"], entry["requests"]) == ("busy", 0), f"{entry}")


@case()
def a_wish_that_cannot_be_is_refused_in_words(lab, full):
    with Connection(lab) as client:
        check_bytes(client.get("/be1/bytes/100?seed=1"), 1, 100, "be1")
        identifier = wait_for(lab, client, "be1")["id"]
        for node in ("fe1", "be1"):
            wish(lab, node, identifier, "be1", 409)
            wish(lab, node, identifier, "be77", 422)
            wish(lab, node, "00000000000000ff", "be2", 404)
            wish(lab, node, "ff", "be2", 404)
            expect(call(lab, node, f"/v1/connections/{identifier}/move", "POST")[0] == 400, "a wish without a node")
        wish(lab, "be2", identifier, "be1", 404)
        check_bytes(client.get("/be1/bytes/100?seed=2"), 2, 100, "be1")


@case()
def before_its_first_request_a_connection_is_the_front_end_s(lab, full):
    with Connection(lab) as client:
        client.send(b"GET /be1/bytes/5 HTTP/1.1\r\nHost: x\r\n")
        end = time.monotonic() + SECONDS_MAX
        while not (entry := entry_of(lab, "fe1", client)):
            expect(time.monotonic() < end, "the front-end does not list it")
        expect((entry["owner"], entry["state"], entry["epoch"]) == ("fe1", "here", 0), f"{entry}")
        wish(lab, "fe1", entry["id"], "be2", 409)
        client.send(b"\r\n")
        expect(client.response().backend == "be1", "it went to the wrong node")


@case()
def each_move_leaves_one_event(lab, full):
    with Connection(lab) as client:
        check_bytes(client.get("/be1/bytes/10000?seed=1"), 1, 10_000, "be1")
        identifier = wait_for(lab, client, "be1")["id"]
        check_bytes(client.get("/be2/bytes/10000?seed=2"), 2, 10_000, "be2")
        wish(lab, "be2", identifier, "be1", 202)
        wait_for(lab, client, "be1")
        time.sleep(0.1)
        seen = {node: [event for event in moves(lab, node) if event["id"] == identifier] for node in ("fe1", "be1", "be2")}
        told = [(node, event["reason"], event["to"], event["result"]) for node in seen for event in seen[node]]
        wanted = [("fe1", "request", "be1", "moved"), ("fe1", "request", "be2", "moved"), ("fe1", "admin", "be1", "moved"),
                  ("be1", "request", "be2", "moved"), ("be2", "admin", "be1", "moved")]
        expect(told == wanted, f"{told}")
        for node in ("be1", "be2"):
            (event,) = seen[node]
            phases = [event[name] for name in ("granted_us", "frozen_us", "handed_off_us", "installed_us")]
            expect(None not in phases and phases == sorted(phases), f"{node}: {event}")
            expect(event["image_bytes"] >= 308 and event["image_parts"] >= 1, f"{event}")
        expect(all(event["routed_us"] is not None for event in seen["fe1"]), f"{seen['fe1']}")


def moves(lab, node):
    """All moves that a node remembers."""
    found = []
    while True:
        status, body = call(lab, node, f"/v1/moves?after={found[-1]['number'] if found else 0}&limit=50")
        expect(status == 200, f"{node}: the moves have status {status}: {body}")
        answer = json.loads(body)
        if not answer["moves"]:
            return found
        found += answer["moves"]
