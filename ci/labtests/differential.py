"""Random segments to Baton's TCP and to Linux's: the answers are the same, or the difference is explained."""

import collections
from dataclasses import replace

from labkit import differ, net, rawtcp
from labkit.base import run
from labkit.differences import NEVER_SENT, ends, explained
from labkit.linux import LinuxServer
from labkit.runner import case, expect

SEEDS, SEEDS_FULL = 480, 9_600
# In IPv6, others.
SEEDS_V6, SEEDS_V6_FULL = 240, 2_400
# So many conversations must be the same to their ends, or nothing was compared.
SAME_SHARE = 0.3
SHOWN = 5


# Every acknowledgment at once, at Linux too: when a delayed one comes is not what is compared.
@case(overrides=("tcp.delayed_ack_ms=0",))
def random_segments_beside_linux(lab, full):
    return beside_linux(lab, range(SEEDS_FULL if full else SEEDS))


@case(ipv6=True, overrides=("tcp.delayed_ack_ms=0",))
def random_segments_beside_linux_in_ipv6(lab, full):
    return beside_linux(lab, range(SEEDS_FULL, SEEDS_FULL + (SEEDS_V6_FULL if full else SEEDS_V6)))


def beside_linux(lab, seeds):
    """Plays the seeds at both; whatever differs must be explained."""
    tally, unexplained = collections.Counter(), []
    with LinuxServer(lab) as linux:
        _no_patience(lab, linux)
        servers = {"linux": (net.mac_of(net.LINUX), linux.address[0]), "baton": (net.mac_of("fe1"), lab.network.vip)}
        for seed, shots, its in differ.play(lab, seeds, servers):
            verdict, step = compare(shots, its["linux"], its["baton"])
            tally[verdict or "unexplained"] += 1
            if verdict is None:
                unexplained.append(told(seed, shots, step, its))
    total, same = sum(tally.values()), tally["same"]
    expect(not unexplained, f"{len(unexplained)} of {total} conversations differ and nothing explains it: "
                            + "".join(f"\n        {text}" for text in unexplained[:SHOWN]))
    expect(same >= SAME_SHARE * total, f"only {same} of {total} conversations are the same to their ends: {dict(tally)}")
    return ", ".join(f"{count} {name}" for name, count in tally.most_common())


def compare(shots, linux, baton):
    """`same`, `cut short` where what follows is another matter, or the name of the difference that explains where they part; `None` if nothing
    does. And the step."""
    was_reset, was_at_edge = False, False
    for step, shot in enumerate(shots):
        was_at_edge = was_at_edge or shot.from_edge
        ours, theirs = (_comparable(shot, its.answers[step], was_at_edge) for its in (baton, linux))
        if ours != theirs:
            return explained(linux.kind, shot, theirs, ours), step
        # Where blocks are not compared it shows only later that one of them has dropped this text.
        if was_at_edge and shot.length and linux.answers[step] != baton.answers[step] and NEVER_SENT.explains(linux.kind, shot, theirs, ours):
            return NEVER_SENT.name, step
        was_reset = was_reset or shot.is_reset
        # A connection that comes after another on the same ports counts from numbers that nobody compares.
        if ends(shot) or (was_reset and any("S" in answer.flags for answer in ours)):
            return "cut short", step
    return "same", len(shots)


def _comparable(shot, answers, was_at_edge):
    # A SYN-ACK that nobody asked for is one more of those that come every second.
    answers = [answer for answer in answers if shot.flags & rawtcp.SYN or answer.flags != "SA"]
    # How many blocks there is room for depends on those at the edge, which are not compared.
    return differ.plain([replace(answer, sacked=()) for answer in answers] if was_at_edge else answers)


def told(seed, shots, step, its):
    """A conversation to its first difference, to repeat it by hand."""
    say = lambda answers: "; ".join(map(str, answers)) or "nothing"
    lines = [f"seed {seed}, {its['linux'].kind}:"]
    lines += [f"  {shot.name} (flags {shot.flags:#x}, offset {shot.offset}, {shot.length} bytes, ack {shot.ack})"
              f" | Linux {say(its['linux'].answers[n])} | Baton {say(its['baton'].answers[n])}" for n, shot in enumerate(shots[: step + 1])]
    return "\n        ".join(lines)


def _no_patience(lab, linux):
    """Linux answers at once, and as often as it is asked."""
    name = net.namespace(lab.name, net.LINUX)
    linux.set_route("quickack", "1")
    run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.tcp_invalid_ratelimit=0", "net.ipv4.tcp_challenge_ack_limit=2147483647",
        "net.ipv4.tcp_syncookies=0", "net.ipv4.tcp_max_syn_backlog=4096")
