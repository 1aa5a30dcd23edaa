"""Where Baton's TCP answers otherwise than Linux's, and why it may: what `ci/e2e differential` lets pass.

docs/rfc9293.md has the same list in words; a test holds both together.
"""

from dataclasses import dataclass, replace

from labkit.rawtcp import ACK, FIN, RST, SYN


@dataclass(frozen=True)
class Difference:
    """An explained difference: its name, why Baton does it so, and which answers it explains, (kind, shot, Linux's, Baton's)."""

    name: str
    why: str
    explains: object


def explained(kind, shot, linux, baton):
    """The name of the difference that explains these answers to a step, or `None`."""
    return next((its.name for its in DIFFERENCES if its.explains(kind, shot, linux, baton)), None)


def ends(shot):
    """Whether what follows this step is another matter: one of the two may have gone another way without a word."""
    is_unstamped = shot.stamp is None and not shot.flags & RST and shot.options is None
    # What a program does when its client has finished is not TCP's.
    return is_unstamped or shot.spoilt == "long offset" or bool(shot.flags & FIN and not shot.flags & (SYN | RST) and 0 <= shot.offset < 400)


def _without(answers, **fields):
    return [replace(answer, **fields) for answer in answers]


def _same_but(linux, baton, **fields):
    return linux != baton and _without(linux, **fields) == _without(baton, **fields)


def _is_duplicate_told(_, shot, linux, baton):
    if not _same_but(linux, baton, sacked=()):
        return False
    return all(not set(b.sacked) - set(a.sacked) and len(set(a.sacked) - set(b.sacked)) <= 1 for a, b in zip(linux, baton))


def _is_fin_sacked(_, shot, linux, baton):
    if not _same_but(linux, baton, sacked=()):
        return False
    shorter = lambda blocks: {(left, right - 1) for left, right in blocks if left < right - 1}
    return all(shorter(set(a.sacked) - set(b.sacked)) == set(b.sacked) - set(a.sacked) for a, b in zip(linux, baton))


def _one_is_silent(linux, baton):
    return (not linux or not baton) and all(answer.flags == "A" for answer in [*linux, *baton])


NEVER_SENT = Difference("an ACK of what was never sent",
                        "RFC 5961 section 5.2 takes ACKs back to SND.UNA - MAX.SND.WND. Linux, no further back than what it has ever sent.",
                        lambda kind, shot, linux, baton: shot.ack < 0 and kind != "back-end")

DIFFERENCES = [
    Difference("no timestamp",
               "RFC 7323 section 3.2: once negotiated, a segment without timestamps SHOULD be dropped silently. Linux takes it.",
               lambda _, shot, linux, baton: shot.stamp is None and not shot.flags & RST and not baton),
    Difference("a duplicate of what is out of order",
               "RFC 2883 lets a receiver report what came twice out of order. Linux does; Baton reports only what is below RCV.NXT.",
               _is_duplicate_told),
    Difference("the number of FIN in SACK blocks",
               "RFC 2018 speaks of data: Baton's blocks end before a FIN that is out of order, Linux's behind it.",
               _is_fin_sacked),
    NEVER_SENT,
    Difference("the timestamp beside an old ACK",
               "RFC 7323 section 4.3 looks at SEG.SEQ alone. Linux takes no timestamp from a segment whose ACK is old.",
               lambda kind, shot, linux, baton: shot.ack < 0 and (
                   _same_but(linux, baton, echo=0)
                   or _is_duplicate_told(kind, shot, _without(linux, echo=0), _without(baton, echo=0)))),
    Difference("text that ends at RCV.NXT",
               "RFC 9293 section 3.4 takes a segment whose last byte is in the window. Linux takes one that ends in front of it as well: it "
               "believes its timestamp, and looks at its ACK before it tells of the duplicate.",
               lambda _, shot, linux, baton: shot.length and any(shot.offset + shot.length == answer.ack for answer in baton)
               and _same_but(linux, baton, echo=0, sacked=())),
    Difference("a bare ACK with an old timestamp",
               "RFC 7323 section 5.3: not acceptable, so it is answered; Baton limits how often. Linux is silent, to spare ACKs for ACKs.",
               lambda _, shot, linux, baton: (shot.stamp or 0) < 0 and not shot.length and not linux),
    Difference("options that do not end",
               "RFC 9293 MUST-7 asks for survival. Baton takes what is right before them; Linux as well, unless 18 bytes are left, in which "
               "it looks for a signature: then it drops the segment.",
               lambda _, shot, linux, baton: shot.spoilt == "long offset" and not linux),
    Difference("the timestamp of a repeated SYN",
               "RFC 7323 section 4.3: the newest acceptable TSval is echoed. Linux echoes the first SYN's.",
               lambda kind, shot, linux, baton: kind == "opening" and shot.flags == SYN and _same_but(linux, baton, echo=0)),
    Difference("no ACK out of the window",
               "RFC 9293 section 3.10.7.4 looks at the number first, and answers; Linux drops first what acknowledges nothing.",
               lambda kind, shot, linux, baton: not shot.flags & (ACK | RST | SYN) and _one_is_silent(linux, baton)),
    Difference("another SYN before the handshake is complete",
               "RFC 9293 section 3.10.7.4 returns to LISTEN, as Linux does. Baton answers where it is: who has forgotten its first SYN resets "
               "that connection and comes again, and a stranger cannot end another's handshake.",
               lambda kind, shot, linux, baton: kind == "opening" and shot.flags == SYN and shot.offset != 0),
]
