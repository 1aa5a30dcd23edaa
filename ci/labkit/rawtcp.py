"""Segments as bytes, right ones and wrong ones, from a machine that is not there: the lab's client sends them past its kernel."""

import selectors
import socket
import struct
import time
from dataclasses import dataclass

from labkit import net

FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
LETTERS = ((SYN, "S"), (FIN, "F"), (RST, "R"), (ACK, "A"))
SEQUENCE = 1 << 32
ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD
TCP, ICMPV6 = 6, 58
SOLICITATION, ADVERTISEMENT = 135, 136
# An advertisement that answers, and that replaces what is known.
SOLICITED_OVERRIDE = 0x60000000
PACKET_OUTGOING = 4
READ_BYTES, SOCKET_BUFFER = 2_048, 16 << 20
SO_RCVBUFFORCE = 33


@dataclass(frozen=True)
class Segment:
    """What is sent. `options` is the bytes of the options, a multiple of four long; `spoilt` names what is wrong with the header."""

    port: int
    seq: int
    ack: int
    flags: int
    window: int = 64_240
    urgent: int = 0
    options: bytes = b""
    payload: bytes = b""
    spoilt: str = ""

    def bytes(self, source, target, target_port=80):
        """The segment with its checksum, right unless that is what is spoilt."""
        words = (20 + len(self.options)) // 4
        if self.spoilt == "short offset":
            words = 4
        elif self.spoilt == "long offset":
            words = 15
        header = struct.pack("!HHIIBBHHH", self.port, target_port, self.seq % SEQUENCE, self.ack % SEQUENCE, words << 4, self.flags,
                             self.window, 0, self.urgent)
        body = header + self.options + self.payload
        checksum = _checksum(_pseudo(source, target, TCP, len(body)) + body)
        if self.spoilt == "checksum":
            checksum ^= 0x1234
        return body[:16] + struct.pack("!H", checksum) + body[18:]


@dataclass(frozen=True)
class Seen:
    """What came back."""

    source: str
    port: int
    seq: int
    ack: int
    flags: int
    window: int
    length: int
    scale: int | None
    stamps: tuple | None
    sacked: tuple

    @property
    def letters(self):
        """The flags that matter, as letters."""
        return "".join(letter for flag, letter in LETTERS if self.flags & flag)


class Ghost:
    """A machine with an address of its own on the client's link, of either family, without any kernel behind it."""

    def __init__(self, lab, address):
        self.address, self.octets = address, octets(address)
        self.wire = lab.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self.wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER)
        self.wire.bind((net.INTERFACE, 0x0003))
        self.wire.setblocking(False)
        self.mac = self.wire.getsockname()[4]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.wire, selectors.EVENT_READ)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.selector.close()
        self.wire.close()

    def send(self, mac, target, segment):
        """Sends a segment to `target` in a frame for `mac`, written 02:00:..."""
        body = segment.bytes(self.address, target)
        self._send(bytes.fromhex(mac.replace(":", "")), octets(target), TCP, body, 64)

    def _send(self, mac, target, protocol, body, hops):
        if len(target) == 4:
            kind = ETHERTYPE_IPV4
            head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0x4000, hops, protocol, 0, self.octets, target)
            head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
        else:
            kind = ETHERTYPE_IPV6
            head = struct.pack("!IHBB16s16s", 6 << 28, len(body), protocol, hops, self.octets, target)
        self.wire.send(mac + self.mac + struct.pack("!H", kind) + head + body)

    def listen(self, seconds):
        """All segments that come within some time. Answers who asks for the Ethernet address meanwhile."""
        seen, end = [], time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.selector.select(left):
                seen += self._read()
        return seen

    def _read(self):
        while True:
            try:
                frame, address = self.wire.recvfrom(READ_BYTES)
            except BlockingIOError:
                return
            if address[2] == PACKET_OUTGOING:
                continue
            (kind,) = struct.unpack("!H", frame[12:14])
            if kind == ETHERTYPE_ARP:
                self._answer(frame)
            elif kind == ETHERTYPE_IPV4 and frame[30:34] == self.octets and frame[23] == TCP:
                yield read(frame[14:])
            elif kind == ETHERTYPE_IPV6 and frame[20] == ICMPV6 and frame[54] == SOLICITATION:
                self._advertise(frame)
            elif kind == ETHERTYPE_IPV6 and frame[38:54] == self.octets and frame[20] == TCP:
                yield read(frame[14:])

    def _answer(self, frame):
        """RFC 826, who has our address?"""
        if frame[20:22] == b"\0\1" and frame[38:42] == self.octets:
            asker = frame[22:32]
            self.wire.send(asker[:6] + self.mac + frame[12:20] + b"\0\2" + self.mac + self.octets + asker)

    def _advertise(self, frame):
        """RFC 4861, the same in IPv6."""
        asker, asked = frame[22:38], frame[62:78]
        if asked == self.octets:
            message = struct.pack("!BBHI", ADVERTISEMENT, 0, 0, SOLICITED_OVERRIDE) + asked + b"\2\1" + self.mac
            pseudo = _pseudo(self.address, socket.inet_ntop(socket.AF_INET6, asker), ICMPV6, len(message))
            message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
            self._send(frame[6:12], asker, ICMPV6, message, 255)


def octets(address):
    """An address of either family as bytes."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _pseudo(source, target, protocol, length):
    end = struct.pack("!II", length, protocol) if ":" in source else struct.pack("!HH", protocol, length)
    return octets(source) + octets(target) + end


def read(packet):
    """Takes an IP packet with a TCP segment apart."""
    if packet[0] >> 4 == 6:
        source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
        tcp = packet[40 : 40 + struct.unpack("!H", packet[4:6])[0]]
    else:
        source = socket.inet_ntoa(packet[12:16])
        tcp = packet[(packet[0] & 15) * 4 : struct.unpack("!H", packet[2:4])[0]]
    _, port, seq, ack, words, flags, window = struct.unpack("!HHIIBBH", tcp[:16])
    header = (words >> 4) * 4
    scale, stamps, sacked = None, None, ()
    for kind, value in options(tcp[20:header]):
        if kind == 3:
            scale = value[0]
        elif kind == 8:
            stamps = struct.unpack("!II", value)
        elif kind == 5:
            edges = struct.unpack(f"!{len(value) // 4}I", value)
            sacked = tuple(zip(edges[::2], edges[1::2]))
    return Seen(source, port, seq, ack, flags, window, len(tcp) - header, scale, stamps, sacked)


def options(data):
    """The options of a right segment."""
    while data and data[0] != 0:
        if data[0] == 1:
            data = data[1:]
            continue
        yield data[0], data[2 : data[1]]
        data = data[data[1] :]


def timestamps(value, echo):
    """The option, with its padding."""
    return struct.pack("!BBBBII", 1, 1, 8, 10, value % SEQUENCE, echo % SEQUENCE)


def syn_options(value, scale=7):
    """The options of a usual client's SYN."""
    return struct.pack("!BBHBBBBIIBBBB", 2, 4, 1460, 4, 2, 8, 10, value % SEQUENCE, 0, 1, 3, 3, scale)


def _checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
