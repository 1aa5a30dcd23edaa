"""One connection, several back-ends: every byte compared."""

import threading

from labkit.client import Connection, Wrong, check_bytes, compare, request
from labkit.content import content
from labkit.runner import case, expect

BOTH = ("be1", "be2")
# In good weather a move takes one epoch. A few more may be lost when nodes start.
EPOCHS_MAX = 3


def alternating(count):
    """Back-ends in turn."""
    return [BOTH[number % 2] for number in range(count)]


def check_epochs(epochs):
    """Each move has an epoch of its own, above the one before."""
    expect(all(epoch is not None for epoch in epochs), f"a response without an epoch: {epochs}")
    expect(all(a < b for a, b in zip(epochs, epochs[1:])), f"epochs do not grow with each move: {epochs}")


def sequential(lab, count, length, timeout=10):
    """Requests one after the other on one connection, each to the other back-end than the one before."""
    epochs = []
    with Connection(lab, timeout) as connection:
        for seed, backend in enumerate(alternating(count)):
            response = connection.get(f"/{backend}/bytes/{length}?seed={seed}")
            check_bytes(response, seed, length, backend)
            epochs.append(response.epoch)
    check_epochs(epochs)


def pipelined(lab, lengths, timeout=10):
    """All requests at once on one connection, alternating; responses must come in their order."""
    epochs = []
    with Connection(lab, timeout) as connection:
        wanted = list(zip(alternating(len(lengths)), lengths))
        paths = [f"/{backend}/bytes/{length}?seed={seed}" for seed, (backend, length) in enumerate(wanted)]
        connection.send(b"".join(map(request, paths)))
        for seed, (backend, length) in enumerate(wanted):
            response = connection.response()
            check_bytes(response, seed, length, backend)
            epochs.append(response.epoch)
    check_epochs(epochs)


@case()
def alternating_200(lab, full):
    sequential(lab, 2000 if full else 200, 100_000)


@case(fresh=True)
def moves_right_after_the_start(lab, full):
    """Nodes that do not know each other yet wait for each other; they do not burn epochs over it."""
    for _ in range(3):
        with Connection(lab) as connection:
            epochs = [connection.get(f"/{backend}/bytes/10").epoch for backend in alternating(6)]
        check_epochs(epochs)
        expect(epochs[-1] <= EPOCHS_MAX * len(epochs), f"epochs are wasted: {epochs}")


@case()
def pipelined_16(lab, full):
    pipelined(lab, [100_000] * 16)
    pipelined(lab, [0, 1, 1_000_000, 3, 1460, 1448, 64_000, 1, 0, 0, 300_000, 5, 1447, 1449, 2, 10])


@case()
def pipeline_above_the_limit(lab, full):
    """More requests than a node reads ahead: the rest waits."""
    pipelined(lab, [1_000] * 200)


@case()
def every_length(lab, full):
    """Around segment ends, and the empty body."""
    with Connection(lab) as connection:
        for length in [*range(0, 20), *range(1400, 1500), 2895, 2896, 2897, 65_535, 65_536]:
            backend = BOTH[length % 2]
            check_bytes(connection.get(f"/{backend}/bytes/{length}?seed=9"), 9, length, backend)


@case()
def post_1_mb_to_each(lab, full):
    with Connection(lab) as connection:
        for seed, backend in enumerate(alternating(4)):
            body = content(seed, 1_000_000)
            response = exchange(connection, request(f"/{backend}/echo", "POST", body=body))
            expect((response.status, response.backend) == (200, backend), f"{response.status} from {response.backend}")
            compare(response.body, body, f"echo of {backend}")


def exchange(connection, data):
    """Sends while it receives: an echo comes before all of the request has left."""
    sender = threading.Thread(target=connection.send, args=(data,), daemon=True)
    sender.start()
    response = connection.response()
    sender.join(10)
    return response


@case()
def chunked_request_body(lab, full):
    pieces = [content(1, 1), content(2, 10_000), content(3, 70_000), content(4, 5)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    with Connection(lab) as connection:
        for backend in alternating(4):
            head = request(f"/{backend}/echo", "POST", ["Transfer-Encoding: chunked"])
            compare(exchange(connection, head + body).body, b"".join(pieces), f"echo of {backend}")


@case()
def expect_100_continue(lab, full):
    with Connection(lab) as connection:
        for backend in alternating(4):
            connection.send(request(f"/{backend}/echo", "POST", ["Expect: 100-continue", "Content-Length: 5"]))
            connection.continue_()
            connection.send(b"hello")
            compare(connection.response().body, b"hello", f"echo of {backend}")


@case()
def chunked_responses(lab, full):
    with Connection(lab) as connection:
        for seed, backend in enumerate(alternating(10)):
            for length in (0, 1, 8_192, 100_000):
                response = connection.get(f"/{backend}/chunked/{length}?seed={seed}")
                check_bytes(response, seed, length, backend)
        paths = [f"/{backend}/chunked/50000?seed={seed}" for seed, backend in enumerate(alternating(16))]
        connection.send(b"".join(map(request, paths)))
        for seed, backend in enumerate(alternating(16)):
            check_bytes(connection.response(), seed, 50_000, backend)


@case()
def a_slow_reader(lab, full):
    """A window that closes again and again, also while the connection moves."""
    with Connection(lab) as connection:
        connection.socket.setsockopt(1, 8, 4_096)  # SO_RCVBUF
        wanted = list(enumerate(alternating(8)))
        connection.send(b"".join(request(f"/{backend}/bytes/60000?seed={seed}") for seed, backend in wanted))
        threading.Event().wait(1.5)
        for seed, backend in wanted:
            check_bytes(connection.response(), seed, 60_000, backend)


@case()
def the_client_closes_its_half(lab, full):
    with Connection(lab) as connection:
        wanted = list(enumerate(alternating(6)))
        connection.send(b"".join(request(f"/{backend}/bytes/100000?seed={seed}") for seed, backend in wanted))
        connection.socket.shutdown(1)
        for seed, backend in wanted:
            check_bytes(connection.response(), seed, 100_000, backend)
        compare(connection.rest(), b"", "what follows the last response")


@case()
def requests_in_single_bytes(lab, full):
    with Connection(lab) as connection:
        for seed, backend in enumerate(alternating(4)):
            for byte in request(f"/{backend}/bytes/1000?seed={seed}"):
                connection.send(bytes([byte]))
            check_bytes(connection.response(), seed, 1_000, backend)


@case()
def connection_close_and_http_1_0(lab, full):
    for backend in BOTH:
        for data in (request("/be1/bytes/10?seed=0") + request(f"/{backend}/bytes/5000?seed=1", fields=["Connection: close"]),
                     request("/be1/bytes/10?seed=0") + f"GET /{backend}/bytes/5000?seed=1 HTTP/1.0\r\n\r\n".encode()):
            with Connection(lab) as connection:
                connection.send(data)
                check_bytes(connection.response(), 0, 10, "be1")
                check_bytes(connection.response(), 1, 5_000, backend)
                compare(connection.rest(), b"", "what follows the last response")


@case()
def files(lab, full):
    """Static files, the same from each back-end; HEAD, 304 and 404."""
    root = lab.settings["docroot"]
    with Connection(lab) as connection:
        for backend in BOTH:
            for name in ("hello.txt", "100k.bin", "pages/3.html"):
                with open(f"{root}/{name}", "rb") as file:
                    expected = file.read()
                response = connection.get(f"/{backend}/{name}")
                expect(response.status == 200, f"{name}: status {response.status}")
                compare(response.body, expected, name)
                connection.send(request(f"/{backend}/{name}", "HEAD"))
                head = connection.response("HEAD")
                expect(head.fields["content-length"] == str(len(expected)), f"HEAD of {name}: {head.fields}")
                connection.send(request(f"/{backend}/{name}", fields=[f"If-None-Match: {response.fields['etag']}"]))
                expect(connection.response().status == 304, f"{name}: no 304 for its own ETag")
            for name in ("missing", "../lab.json", "%2e%2e/lab.json", "pages/../../lab.json"):
                status = connection.get(f"/{backend}/{name}").status
                expect(status in (400, 403, 404), f"{name}: status {status}")
                if status == 400:
                    connection.close()
                    connection.__init__(lab)


@case()
def other_paths_go_by_hash(lab, full):
    """Always to the same back-end for a path, and to each for some."""
    owners = {}
    for _ in range(2):
        with Connection(lab) as connection:
            for number in range(40):
                path = f"/bytes/{number}?seed=3"
                response = connection.get(path)
                check_bytes(response, 3, number)
                expect(owners.setdefault(path, response.backend) == response.backend, f"{path} changed its back-end")
    expect(set(owners.values()) == set(BOTH), f"all paths went to {set(owners.values())}")


@case()
def clients_that_leave(lab, full):
    """Resets and silent closes in the middle of everything leave the cluster whole."""
    for number in range(60):
        connection = Connection(lab)
        connection.send(b"".join(request(f"/{backend}/bytes/200000") for backend in alternating(4)))
        if number % 3 == 0:
            connection.socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER, 0 s: close() resets
        if number % 3 != 1:
            connection.socket.recv(1 + number * 5_000)
        connection.close()
    sequential(lab, 10, 10_000)


@case(backends=4)
def four_backends(lab, full):
    names = [f"be{number}" for number in range(1, 5)]
    with Connection(lab) as connection:
        for seed in range(40):
            backend = names[seed * 7 % 4]
            check_bytes(connection.get(f"/{backend}/bytes/20000?seed={seed}"), seed, 20_000, backend)
    try:
        Connection(lab, address=("10.77.0.100", 81), timeout=2).close()
    except ConnectionRefusedError:
        return
    raise Wrong("a port that nobody listens on is not refused")
