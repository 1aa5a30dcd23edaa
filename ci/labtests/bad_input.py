"""What must be refused: malformed requests, garbage packets, messages of strangers, wrong configurations."""

import random
import re
import socket
import struct
import tempfile
import time
from pathlib import Path

from labkit import net, pcap
from labkit.base import run
from labkit.client import Connection, Ended, check_bytes, request
from labkit.runner import case, expect
from labkit.scrape import Watch
from labtests.transfer import sequential

# limits.hold_ms as it is by itself.
HOLD_SECONDS = 1.0
HOST = f"Host: {net.VIP}\r\n"

# The head, behind the place where the prefix of a back-end comes, and the answers that are right.
HEADS = {
    "no version": ("GET %s/bytes/1\r\n\r\n", {400, 505}),
    "a space too many": (f"GET %s/bytes/1  HTTP/1.1\r\n{HOST}\r\n", {400}),
    "a control character": (f"GET %s/bytes/\x01 HTTP/1.1\r\n{HOST}\r\n", {400}),
    "a version of the future": (f"GET %s/bytes/1 HTTP/9.9\r\n{HOST}\r\n", {400, 505}),
    "no host": ("GET %s/bytes/1 HTTP/1.1\r\n\r\n", {400}),
    "two hosts": (f"GET %s/bytes/1 HTTP/1.1\r\n{HOST}Host: other\r\n\r\n", {400}),
    "a field without colon": (f"GET %s/bytes/1 HTTP/1.1\r\n{HOST}nonsense\r\n\r\n", {400}),
    "a space in front of the colon": (f"GET %s/bytes/1 HTTP/1.1\r\n{HOST}Content-Length : 0\r\n\r\n", {400}),
    "a NUL in a value": (f"GET %s/bytes/1 HTTP/1.1\r\n{HOST}X: a\0b\r\n\r\n", {400}),
    "conflicting lengths": (f"POST %s/echo HTTP/1.1\r\n{HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", {400}),
    "a repeated length": (f"POST %s/echo HTTP/1.1\r\n{HOST}Content-Length: 1\r\nContent-Length: 1\r\n\r\na", {400}),
    "a signed length": (f"POST %s/echo HTTP/1.1\r\n{HOST}Content-Length: +1\r\n\r\na", {400}),
    "length and chunked": (
        f"POST %s/echo HTTP/1.1\r\n{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "an unknown coding": (f"POST %s/echo HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip\r\n\r\n", {400, 501}),
    "a long head": (f"GET %s/bytes/1 HTTP/1.1\r\n{HOST}X: {'a' * 20_000}\r\n\r\n", {431}),
    "too many fields": (f"GET %s/bytes/1 HTTP/1.1\r\n{HOST}" + "X: a\r\n" * 150 + "\r\n", {431}),
    "a long target": (f"GET %s/bytes/{'1' * 20_000} HTTP/1.1\r\n{HOST}\r\n", {414, 431}),
}


@case()
def malformed_heads_as_first_request(lab, full):
    """The front-end answers."""
    for name, (head, statuses) in HEADS.items():
        with Connection(lab) as connection:
            refuse(connection, name, head % "/be1", statuses)


@case()
def malformed_heads_as_later_request(lab, full):
    """The owner answers."""
    for name, (head, statuses) in HEADS.items():
        with Connection(lab) as connection:
            for backend in ("be1", "be2"):
                check_bytes(connection.get(f"/{backend}/bytes/100?seed=1"), 1, 100, backend)
            refuse(connection, name, head % "/be2", statuses)


def refuse(connection, name, head, statuses):
    """The head gets one of the statuses, and nothing follows."""
    try:
        connection.send(head.encode("latin-1"))
    except ConnectionError:
        pass  # The answer came before all was sent.
    response = connection.response()
    expect(response.status in statuses, f"{name}: status {response.status}")
    try:
        rest = connection.rest()
    except ConnectionResetError:
        rest = b""  # A close with unread request bytes may be a reset (RFC 9293 section 3.6.1).
    expect(rest == b"", f"{name}: {rest[:60]!r} follows")


@case()
def a_broken_chunked_body(lab, full):
    for body in (b"zz\r\n", b"5\r\nhelloXX", b"-1\r\n", b"fffffffffffffffff\r\n"):
        with Connection(lab) as connection:
            check_bytes(connection.get("/be2/bytes/100?seed=1"), 1, 100, "be2")
            connection.send(request("/be1/echo", "POST", ["Transfer-Encoding: chunked"]) + body)
            try:
                status = connection.response().status
                expect(status == 400, f"{body!r}: status {status}")
            except (Ended, ConnectionResetError):
                pass  # The response had begun: to end the connection is all that is left to say.
    sequential(lab, 4, 1_000)


@case()
def garbage_packets_are_counted(lab, full):
    nodes = lab.nodes()
    watch = Watch(lab, nodes)
    generator = random.Random(7)
    wire = packet_socket(lab)
    for node in nodes:
        wire.settimeout(0.01)
        for frame in garbage(generator, net.mac_of(node)):
            wire.send(frame)
    time.sleep(1.0)
    for node in nodes:
        # A back-end holds packets of unknown flows before it looks at them closely.
        closely = ["bad_checksum"] if node == "fe1" else []
        # No ip_fragment: the af_packet driver has the kernel put fragments together, and these have no second half.
        for reason in ("truncated", "unknown_protocol", "malformed", *closely):
            grown = watch.grown(node, "baton_drops_total", reason=reason)
            expect(grown > 0, f"{node} counted no {reason}")
    sequential(lab, 10, 10_000)


def packet_socket(lab):
    """Sends frames as the client's interface."""
    wire = lab.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((net.INTERFACE, 0))
    return wire


def garbage(generator, mac):
    """Frames for a node that no good client sends."""
    random_bytes = lambda low, high: generator.randbytes(generator.randint(low, high))
    address = net.VIP if mac == net.mac_of("fe1") else next(
        net.address_of(f"be{n}") for n in range(1, net.BACKENDS_MAX + 1) if net.mac_of(f"be{n}") == mac)
    for _ in range(200):
        yield ethernet(mac, 0x0800, random_bytes(0, 200))
        yield ethernet(mac, generator.choice([0x86DD, 0x88CC, 0x1234]), random_bytes(46, 200))
        yield ethernet(mac, 0x0800, ipv4(address, 6, random_bytes(0, 19)))
        yield ethernet(mac, 0x0800, ipv4(address, 6, tcp(address, 40_000, 80, payload=random_bytes(0, 400))[:-1] + b"\xff\xff"))
        yield ethernet(mac, 0x0800, ipv4(address, 250, random_bytes(20, 60)))
        yield ethernet(mac, 0x0800, ipv4(address, 6, random_bytes(20, 60), fragment=0x2000))
        yield ethernet(mac, 0x0800, ipv4(address, 17, struct.pack("!HHHH", 5, 9910, 500, 0) + b"short"))
        yield ethernet(mac, 0x0800, b"\x41" + ipv4(address, 6, random_bytes(20, 60))[1:])
        yield ethernet(mac, 0x0806, random_bytes(10, 46))


@case()
def a_segment_of_an_unknown_flow(lab, full):
    """A back-end never answers for the VIP: it holds the packet for a while, as one that came before its connection, and gives it to the
    front-end. That counts it, and may send the one RST of RFC 9293."""
    watch = Watch(lab, lab.nodes())
    wire = packet_socket(lab)
    answers = lab.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    answers.bind((net.INTERFACE, 3))
    segment = ipv4(net.VIP, 6, tcp(net.VIP, 50_123, 80, flags=0x10))
    for node in lab.nodes():
        for _ in range(5):
            wire.send(ethernet(net.mac_of(node), 0x0800, segment))
    time.sleep(HOLD_SECONDS + 0.5)
    answers.setblocking(False)
    senders = []
    while frame := _receive(answers):
        if frame[12:14] == b"\x08\x00" and frame[36:38] == struct.pack("!H", 50_123):
            senders.append(frame[6:12].hex(":"))
    sent = 5 * len(lab.nodes())
    expect(set(senders) <= {net.mac_of("fe1")} and len(senders) <= sent, f"answers from {senders}")
    grown = watch.grown("fe1", "baton_drops_total", reason="unknown_flow")
    expect(grown >= sent, f"fe1 counted {grown:.0f} unknown_flow of {sent}")


def _receive(wire):
    try:
        return wire.recv(2048)
    except BlockingIOError:
        return b""


@case()
def messages_of_strangers_change_nothing(lab, full):
    """True messages sent again, spoilt, from elsewhere, and plain nonsense: each is counted by its reason, and has no effect."""
    heard = {node: overheard(lab, node) for node in lab.nodes()}
    watch = Watch(lab, lab.nodes())
    wire = packet_socket(lab)
    generator = random.Random(11)
    with Connection(lab) as connection:
        check_bytes(connection.get("/be1/bytes/1000?seed=1"), 1, 1_000, "be1")
        for node, (source, messages) in heard.items():
            # Each byte of the head spoilt in turn: also the counter, without which it would be a repetition and no more.
            spoilt = [bytes([*message[:at], message[at] ^ 0x10, *message[at + 1 :]]) for message in messages[:1]
                      for at in range(min(64, len(message)))]
            nonsense = [generator.randbytes(generator.randint(0, 600)) for _ in messages]
            for sender, payloads in [(source, messages), (source, spoilt), (net.CLIENT, messages), (source, nonsense)]:
                for payload in payloads:
                    message = udp(sender, net.address_of(node), 9910, 9910, payload)
                    wire.send(ethernet(net.mac_of(node), 0x0800, ipv4(net.address_of(node), 17, message, source=sender)))
        time.sleep(0.5)
        check_bytes(connection.get("/be2/bytes/1000?seed=2"), 2, 1_000, "be2")
        check_bytes(connection.get("/be1/bytes/1000?seed=3"), 3, 1_000, "be1")
    for node, (_, messages) in heard.items():
        for reason in ("message_replayed", "message_unsealed", "message_unknown_peer", "message_malformed"):
            grown = watch.grown(node, "baton_drops_total", reason=reason)
            expect(grown >= 1, f"{node} counted no {reason} after {len(messages)} of them")


def overheard(lab, node):
    """Messages to a node from one other, as they were on its link: who sent them, and each one's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "messages.pcap"
        with lab.capture(node, path, ["udp", "and", "port", "9910"]):
            time.sleep(1.2)
        came = [frame for _, frame in pcap.frames(path) if frame[:6].hex(":") == net.mac_of(node)]
    expect(came, f"{node} hears nothing from the cluster")
    first = came[0][26:30]
    # Behind 14 bytes of Ethernet, 20 of IPv4 and 8 of UDP; what UDP's length leaves out is padding.
    messages = [frame[42 : 34 + struct.unpack("!H", frame[38:40])[0]] for frame in came if frame[26:30] == first]
    return socket.inet_ntoa(first), messages


# What is changed in the front-end's configuration, and what the answer must say.
CONFIGS = {
    "an unknown key": ("[node]\n", "[node]\ncolour = 3\n", "node.colour"),
    "a wrong type": ("port = 80", 'port = "80"', "listener[0].port"),
    "a missing back-end": ('backends = ["be1", "be2"]', 'backends = ["be1", "be9"]', "be9"),
    "a duplicate name": ('name = "be2"', 'name = "be1"', "backend[1].name"),
}


@case()
def wrong_configurations(lab, full):
    program = Path(lab.settings["programs"]) / "baton-frontend"
    folder = lab.folder / "fe1"
    good = (folder / "config.toml").read_text()
    for name, (old, new, words) in CONFIGS.items():
        expect(old in good, f"{name}: the lab's configuration has no {old!r}")
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".toml") as file:
            file.write(good.replace(old, new, 1))
            file.flush()
            done = run(program, "check", "--config", file.name, check=False)
        expect(done.returncode == 2, f"{name}: exit code {done.returncode}")
        said = done.stderr
        expect(words in said and re.search(r":\d+:\d+", said), f"{name}: no line, or no {words}, in: {said}")


def ethernet(mac, kind, payload):
    return bytes.fromhex(mac.replace(":", "")) + bytes.fromhex(net.mac_of("client").replace(":", "")) \
        + struct.pack("!H", kind) + payload.ljust(46, b"\0")


def ipv4(target, protocol, payload, fragment=0, source=net.CLIENT):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, fragment, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(target))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def tcp(target, source_port, target_port, flags=0x10, payload=b""):
    head = struct.pack("!HHIIBBHHH", source_port, target_port, 1000, 2000, 5 << 4, flags, 1000, 0, 0)
    return head[:16] + struct.pack("!H", checksum(pseudo(net.CLIENT, target, 6, head + payload))) + head[18:] + payload


def udp(source, target, source_port, target_port, payload):
    head = struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0)
    return head[:6] + struct.pack("!H", checksum(pseudo(source, target, 17, head + payload)) or 0xFFFF) + payload


def pseudo(source, target, protocol, data):
    return socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!BBH", 0, protocol, len(data)) + data


def checksum(data):
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@case(overrides=("limits.body_bytes=1000",))
def a_body_above_its_limit(lab, full):
    with Connection(lab) as connection:
        connection.send(request("/be1/echo", "POST", body=b"x" * 1000))
        response = connection.response()
        expect((response.status, response.body) == (200, b"x" * 1000), f"at the limit: status {response.status}")
        connection.send(request("/be2/echo", "POST", body=b"x" * 1001))
        status = connection.response().status
        expect(status == 413, f"one past the limit: status {status}")
        try:
            rest = connection.rest()
        except ConnectionResetError:
            rest = b""  # As above: there were unread request bytes.
        expect(rest == b"", f"{rest[:60]!r} follows")
    with Connection(lab) as connection:
        connection.send(request("/be1/echo", "POST", ["Transfer-Encoding: chunked"]))
        connection.send(b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n")
        try:
            response = connection.response()
            expect(response.status == 413, f"a chunked body: status {response.status}")
        except (Ended, ConnectionError):
            pass  # The echo had begun: nothing but the end is honest then.
    sequential(lab, 4, 1_000)
