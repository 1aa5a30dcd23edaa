"""Reads classic pcap files of Ethernet frames: TCP segments over IPv4 and IPv6, and no more."""

import socket
import struct
from dataclasses import dataclass

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
MAGICS = {b"\xd4\xc3\xb2\xa1": ("<", 1e6), b"\xa1\xb2\xc3\xd4": (">", 1e6),
          b"\x4d\x3c\xb2\xa1": ("<", 1e9), b"\xa1\xb2\x3c\x4d": (">", 1e9)}
SEQUENCE = 1 << 32


@dataclass
class Segment:
    """One TCP segment."""

    time: float
    source_mac: str
    target_mac: str
    source: tuple
    target: tuple
    seq: int
    ack: int
    flags: int
    length: int

    @property
    def end(self):
        """The sequence number behind it."""
        return (self.seq + self.length + bool(self.flags & SYN) + bool(self.flags & FIN)) % SEQUENCE


def frames(path):
    """Time and bytes of each frame."""
    with open(path, "rb") as file:
        magic = file.read(4)
        order, ticks = MAGICS[magic]
        file.read(16)
        (link,) = struct.unpack(order + "I", file.read(4))
        if link != 1:
            raise ValueError(f"{path}: link type {link} is not Ethernet")
        while header := file.read(16):
            seconds, fraction, kept, length = struct.unpack(order + "IIII", header)
            if kept != length:
                raise ValueError(f"{path}: a frame of {length} bytes is cut to {kept}")
            yield seconds + fraction / ticks, file.read(kept)


def segments(path):
    """The TCP segments, in order."""
    for when, frame in frames(path):
        if segment := _segment(when, frame):
            yield segment


def before(a, b):
    """Whether sequence number `a` is before `b`."""
    return 0 < (b - a) % SEQUENCE < SEQUENCE // 2


def next_expected(received):
    """What the receiver of these segments expects next: the end of what has come without a gap."""
    expected, waiting = None, []
    for segment in received:
        if segment.flags & RST:
            continue
        if expected is None or segment.flags & SYN:
            expected = segment.end if segment.flags & SYN else segment.seq
        waiting.append((segment.seq, segment.end))
        moved = True
        while moved:
            ready = [end for seq, end in waiting if not before(expected, seq) and before(expected, end)]
            moved = bool(ready)
            if moved:
                expected = ready[0]
            waiting = [(seq, end) for seq, end in waiting if before(expected, end)]
    return expected


def _segment(when, frame):
    if len(frame) >= 54 and frame[12:14] == b"\x08\x00" and frame[23] == 6:
        tcp = 14 + (frame[14] & 15) * 4
        (total,) = struct.unpack("!H", frame[16:18])
        end, source, target = 14 + total, frame[26:30], frame[30:34]
    elif len(frame) >= 74 and frame[12:14] == b"\x86\xdd" and frame[20] == 6:
        tcp = 54
        (payload,) = struct.unpack("!H", frame[18:20])
        end, source, target = tcp + payload, frame[22:38], frame[38:54]
    else:
        return None
    source_port, target_port, seq, ack, offset, flags = struct.unpack("!HHIIBB", frame[tcp : tcp + 14])
    length = end - tcp - (offset >> 4) * 4
    return Segment(when, _mac(frame[6:12]), _mac(frame[:6]), (_address(source), source_port), (_address(target), target_port), seq, ack,
                   flags, length)


def _mac(octets):
    return octets.hex(":")


def _address(octets):
    return socket.inet_ntop(socket.AF_INET if len(octets) == 4 else socket.AF_INET6, octets)
