"""An HTTP/1.1 client that sees everything: one TCP connection, requests when it likes, responses taken apart strictly."""

import socket
import time
from dataclasses import dataclass, field

from labkit import net
from labkit.content import chunk_lengths, content, first_difference

TIMEOUT_SECONDS = 10
HEAD_BYTES_MAX = 65_536
READ_BYTES = 1 << 18


class Wrong(Exception):
    """What came is not what must come."""


class Ended(Wrong):
    """The connection ended where a response should be."""


@dataclass
class Response:
    """One response, its body as the client's user sees it."""

    status: int
    fields: dict
    body: bytes
    chunks: list = field(default_factory=list)

    @property
    def backend(self):
        return self.fields.get("x-baton-backend")

    @property
    def epoch(self):
        word = self.fields.get("x-baton-epoch")
        return None if word is None else int(word)


class Connection:
    """One TCP connection of the lab's client to the VIP."""

    def __init__(self, lab, timeout=TIMEOUT_SECONDS, address=None):
        self.socket = lab.socket()
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(address or (lab.network.vip, 80))
        except BaseException:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self.socket.getsockname()[1]
        self.unread = bytearray()
        self.received = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def get(self, path):
        """One request and its response."""
        self.send(request(path))
        return self.response()

    def response(self, method="GET"):
        """The next response on the connection."""
        head = self._take_head()
        while 100 <= head[0] < 200:
            head = self._take_head()
        status, fields = head
        if method == "HEAD" or status in (204, 304):
            return Response(status, fields, b"")
        if "transfer-encoding" in fields:
            if fields["transfer-encoding"].lower() != "chunked" or "content-length" in fields:
                raise Wrong(f"a response with the framing {fields}")
            chunks = list(self._take_chunks())
            return Response(status, fields, b"".join(chunks), [len(chunk) for chunk in chunks])
        if "content-length" not in fields:
            return Response(status, fields, self.rest())
        return Response(status, fields, self._take(int(fields["content-length"])))

    def wait_begin(self):
        """Waits until something of the next response is there."""
        if not self.unread:
            self._need_more()

    def take_ahead(self, size):
        """Reads so many bytes more of what is to come, and keeps them for later."""
        end = len(self.unread) + size
        while len(self.unread) < end:
            self._need_more()

    def continue_(self):
        """The interim response to Expect: 100-continue."""
        status, _ = self._take_head()
        if status != 100:
            raise Wrong(f"100 expected, not {status}")

    def rest(self):
        """All that comes until the other side closes."""
        while self._read():
            pass
        rest = bytes(self.unread)
        self.unread.clear()
        return rest

    def wait_reset(self, seconds):
        """Waits for a reset; returns after how long. Anything else is wrong."""
        began = time.monotonic()
        self.socket.settimeout(seconds)
        try:
            while data := self.socket.recv(READ_BYTES):
                self.unread += data
        except ConnectionResetError:
            return time.monotonic() - began
        except TimeoutError:
            raise Wrong(f"no reset within {seconds} s") from None
        raise Wrong("closed in order, not reset")

    def _take_head(self):
        while (end := self.unread.find(b"\r\n\r\n")) < 0:
            if len(self.unread) > HEAD_BYTES_MAX:
                raise Wrong(f"a head without end: {bytes(self.unread[:80])!r}")
            self._need_more()
        lines = bytes(self.unread[:end]).decode("latin-1").split("\r\n")
        del self.unread[: end + 4]
        version, _, rest = lines[0].partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or not rest[:3].isdigit():
            raise Wrong(f"no status line: {lines[0][:80]!r}")
        fields = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip() or name.lower() in fields:
                raise Wrong(f"malformed or repeated field: {line[:80]!r}")
            fields[name.lower()] = value.strip()
        return int(rest[:3]), fields

    def _take_chunks(self):
        while True:
            line = self._take_line()
            try:
                length = int(line.partition(b";")[0], 16)
            except ValueError:
                raise Wrong(f"no chunk size: {line[:80]!r}") from None
            if length == 0:
                while self._take_line():
                    pass
                return
            yield self._take(length)
            if self._take(2) != b"\r\n":
                raise Wrong("a chunk does not end where it should")

    def _take_line(self):
        while (end := self.unread.find(b"\r\n")) < 0:
            self._need_more()
        return self._take(end + 2)[:-2]

    def _take(self, length):
        while len(self.unread) < length:
            self._need_more()
        taken = bytes(memoryview(self.unread)[:length])
        del self.unread[:length]
        return taken

    def _need_more(self):
        if not self._read():
            raise Ended(f"the connection ended with {len(self.unread)} bytes of a response")

    def _read(self):
        data = self.socket.recv(READ_BYTES)
        self.unread += data
        self.received += len(data)
        return len(data)


def request(path, method="GET", fields=(), body=b""):
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {net.VIP}", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def check_bytes(response, seed, length, backend=None):
    """The response must be /bytes/`length`?seed=`seed` or /chunked/..., to the last byte, from that back-end."""
    if response.status != 200:
        raise Wrong(f"status {response.status}: {response.body[:80]!r}")
    if backend and response.backend != backend:
        raise Wrong(f"answered by {response.backend}, not by {backend}")
    compare(response.body, content(seed, length), f"body of seed {seed}")
    if response.chunks and response.chunks != chunk_lengths(seed, length):
        raise Wrong(f"the chunks of seed {seed} are cut otherwise")


def compare(got, expected, what):
    """Both must be the same, to the last byte."""
    at = first_difference(got, expected)
    if at is not None:
        raise Wrong(f"{what}: {len(got)} bytes, {len(expected)} expected, first difference at byte {at}")
