"""A lab of IPv6 addresses alone: what the other tests do with IPv4, and what there is only in IPv6."""

import os
import re
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from labkit import net, pcap
from labkit.base import run, wait_until
from labkit.client import Connection, check_bytes
from labkit.content import content
from labkit.runner import case, expect
from labkit.scrape import Watch
from labtests import bypass, congestion, death, draining, floods, transfer, wishes
from labtests.bad_input import checksum, ethernet, packet_socket
from labtests.crowd import WEATHER
from labtests.transfer import pipelined, sequential

ECHO_REQUEST, ECHO_REPLY, SOLICITATION, ADVERTISEMENT, REPORT = 128, 129, 135, 136, 143
HOP_BY_HOP, ICMPV6, FRAGMENT, DESTINATION_OPTIONS = 0, 58, 44, 60
WRK_SECONDS = 3


@case(ipv6=True)
def one_connection_in_turn_and_pipelined(lab, full):
    sequential(lab, 500 if full else 100, 100_000)
    pipelined(lab, [0, 1, 1_000_000, 3, 1440, 1428, 64_000, 1, 0, 0, 300_000, 5, 1427, 1429, 2, 10])


@case(ipv6=True)
def one_connection_in_bad_weather(lab, full):
    lab.injector().on({"seed": 2} | WEATHER)
    try:
        sequential(lab, 50, 20_000, timeout=60)
        pipelined(lab, [100_000] * 8, timeout=60)
    finally:
        lab.injector().off()


@case(ipv6=True)
def bodies_slow_readers_and_half_closes(lab, full):
    transfer.post_1_mb_to_each(lab, full)
    transfer.chunked_request_body(lab, full)
    transfer.chunked_responses(lab, full)
    transfer.a_slow_reader(lab, full)
    transfer.the_client_closes_its_half(lab, full)


@case(ipv6=True)
def marks_slow_down_both_ways(lab, full):
    return congestion.marks_slow_down_both_ways(lab, full)


@case(ipv6=True)
def a_connection_goes_where_it_is_wanted(lab, full):
    wishes.an_idle_connection_goes_where_it_is_wanted(lab, full)
    return wishes.a_busy_connection_goes_in_the_middle_of_its_response(lab, full)


@case(ipv6=True)
def a_back_end_is_drained_and_serves_again(lab, full):
    return draining.a_back_end_is_drained_and_serves_again(lab, full)


@case(ipv6=True)
def a_syn_flood(lab, full):
    return floods.a_syn_flood(lab, full)


@case(ipv6=True)
def no_response_byte_passes_the_front_end(lab, full):
    return bypass.no_response_byte_passes_the_front_end(lab, full)


@case(ipv6=True)
def a_back_end_dies_and_comes_back(lab, full):
    return death.a_back_end_dies_and_comes_back(lab, full)


@case(ipv6=True)
def an_idle_connection_of_a_dead_owner_is_reset_once(lab, full):
    return death.an_idle_connection_of_a_dead_owner_is_reset_once(lab, full)


@case(ipv6=True)
def everybody_answers_echo_requests(lab, full):
    pinger = lab.socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_ICMPV6)
    pinger.settimeout(0.2)
    for number, address in enumerate([lab.network.vip, *map(lab.network.address_of, lab.nodes())]):
        for length in (0, 1, 56, 1_400):
            asked = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 77, number) + content(number, length)
            expect(_echo(pinger, address, asked), f"{address} does not answer an echo request with {length} bytes")


@case(ipv6=True)
def neighbours_with_a_link_local_address_are_answered(lab, full):
    """The client asks where the VIP is as fe80::..., and is answered there."""
    said = run(*lab.inside("client", ["ip", "-6", "-o", "address", "show", "dev", net.INTERFACE, "scope", "link"])).stdout
    own = re.search(r"inet6 (fe80:[^/]+)/", said)
    expect(own, f"the client has no link-local address: {said}")
    pinger = lab.socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_ICMPV6)
    pinger.settimeout(0.2)
    pinger.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, net.INTERFACE.encode())
    (index,) = re.findall(r"^(\d+):", said)
    pinger.bind((own[1], 0, 0, int(index)))
    run(*lab.inside("client", ["ip", "-6", "neighbour", "flush", "dev", net.INTERFACE]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "asked.pcap"
        with lab.capture("client", path, ["icmp6"]):
            for number, address in enumerate([lab.network.vip, lab.network.address_of("be1")]):
                asked = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 78, number) + b"as a neighbour"
                expect(_echo(pinger, address, asked), f"{address} does not answer {own[1]}")
        asked = [frame for _, frame in pcap.frames(path) if frame[54] == SOLICITATION and _address(frame[22:38]) == own[1]]
    expect(asked, "the client has not asked as its link-local address")


def _echo(pinger, address, asked):
    """Whether the answer has the same data; asked again if need be, as ping would."""
    for _ in range(5):
        pinger.sendto(asked, (address, 0))
        until = time.monotonic() + 1
        while time.monotonic() < until:
            try:
                answer, (source, *_) = pinger.recvfrom(2048)
            except TimeoutError:
                break
            if source == address and answer[0] == ECHO_REPLY and answer[4:] == asked[4:]:
                return True
    return False


@case(ipv6=True)
def wrk_and_curl_find_the_vip(lab, full):
    words = ["wrk", "-t", "1", "-c", "32", "-d", str(WRK_SECONDS), lab.network.url("/bytes/1000?seed=1")]
    said = run(*lab.inside("client", words)).stdout
    expect("Socket errors" not in said and "Non-2xx" not in said, said)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", said)
    expect(rate and float(rate[1]) > 100, said)
    words = ["curl", "-g", "-s", "-f", lab.network.url("/be1/hello.txt"), lab.network.url("/be2/hello.txt")]
    got = subprocess.run(lab.inside("client", words), capture_output=True, check=False).stdout
    expected = (Path(lab.settings["docroot"]) / "hello.txt").read_bytes()
    expect(got == 2 * expected, f"curl has {got!r}")
    return f"{float(rate[1]):.0f} requests/s"


@case(ipv6=True)
def neighbours_are_asked_and_answered_by_the_nodes_alone(lab, full):
    """On each node's link: nothing of its kernel's, no question that names the VIP as the asker, no answer for the VIP but fe1's."""
    run(*lab.inside("client", ["ip", "-6", "neighbour", "flush", "dev", net.INTERFACE]))
    said = []
    with tempfile.TemporaryDirectory() as folder:
        paths = {node: Path(folder) / f"{node}.pcap" for node in lab.nodes()}
        captures = [lab.capture(node, path, ["ip6", "and", "not", "tcp", "and", "not", "udp"]) for node, path in paths.items()]
        for capture in captures:
            capture.__enter__()
        try:
            with Connection(lab) as connection:
                for seed in range(20):
                    backend = f"be{1 + seed % 2}"
                    check_bytes(connection.get(f"/{backend}/bytes/1000?seed={seed}"), seed, 1_000, backend)
        finally:
            for capture in captures:
                capture.__exit__()
        for node, path in paths.items():
            mine = [frame for _, frame in pcap.frames(path) if frame[6:12].hex(":") == net.mac_of(node)]
            # A report has its router alert in front.
            kinds = [frame[62] if frame[20] == HOP_BY_HOP else frame[54] for frame in mine]
            said += [(node, kind, _address(frame[22:38]), _address(frame[62:78])) for kind, frame in zip(kinds, mine)]
    for node, kind, source, target in said:
        if kind == REPORT:
            # A kernel's would have a link-local address.
            expect(source == "::", f"a report from {node} comes from {source}")
            continue
        expect(kind in (SOLICITATION, ADVERTISEMENT), f"{node}, or its kernel, has sent ICMPv6 of type {kind}")
        if kind == SOLICITATION:
            expect(source == lab.network.address_of(node), f"{node} asks for {target} as {source}")
        else:
            allowed = [lab.network.address_of(node)] + [lab.network.vip] * (node == "fe1")
            expect(target in allowed, f"{node} answers for {target}")
    answered = [node for node, kind, _, target in said if kind == ADVERTISEMENT and target == lab.network.vip]
    expect(answered, "nobody has told the client where the VIP is")


@case(ipv6=True, fresh=True)
def a_switch_that_snoops_on_listener_reports(lab, full):
    """It asks for groups and floods none: a neighbour is found only if it has reported its group."""
    switch = lambda *words: run(*net.inside(lab.name, net.SWITCH, *words))
    switch("sysctl", "-qw", f"net.ipv6.conf.{net.CLUSTER_BRIDGE}.disable_ipv6=0")
    # A querier is silent until its address is its own.
    switch("ip", "-6", "address", "add", "fe80::1/64", "dev", net.CLUSTER_BRIDGE, "nodad")
    switch("ip", "link", "set", net.CLUSTER_BRIDGE, "type", "bridge", "mcast_snooping", "1", "mcast_mld_version", "2",
           "mcast_query_interval", "200", "mcast_query_response_interval", "100", "mcast_startup_query_interval", "50",
           "mcast_querier", "1")
    groups = {f"ff02::1:ff00:{lab.network.address_of(node).removeprefix('fd77::')}" for node in lab.nodes()} | {"ff02::1:ff00:100"}
    known = lambda: groups <= set(re.findall(r"grp (\S+)", switch("bridge", "mdb", "show", "dev", net.CLUSTER_BRIDGE).stdout))
    expect(wait_until(known, 10), f"the switch knows {switch('bridge', 'mdb', 'show', 'dev', net.CLUSTER_BRIDGE).stdout}, not {groups}")
    run(*lab.inside("client", ["ip", "-6", "neighbour", "flush", "dev", net.INTERFACE]))
    sequential(lab, 10, 10_000)
    everybody_answers_echo_requests(lab, full)


@case(ipv6=True)
def what_is_no_good_packet_is_counted_and_changes_nothing(lab, full):
    watch = Watch(lab, lab.nodes())
    wire = packet_socket(lab)
    own = lambda node: lab.network.address_of(node)
    stolen = bytes.fromhex(net.mac_of("client").replace(":", ""))
    with Connection(lab) as connection:
        check_bytes(connection.get("/be1/bytes/1000?seed=1"), 1, 1_000, "be1")
        for node in lab.nodes():
            other = "be1" if node == "fe1" else "fe1"
            # As from behind a router: a lie about where the other node is, and the truth about the VIP.
            lie = struct.pack("!BBHI", ADVERTISEMENT, 0, 0, 0x20000000) + _octets(own(other)) + b"\2\1" + stolen
            question = struct.pack("!BBHI", SOLICITATION, 0, 0, 0) + _octets(own(node)) + b"\1\1" + stolen
            for message in (lie, question):
                _send(wire, lab, node, ICMPV6, _icmpv6(lab.network.client, own(node), message), hops=254)
            _send(wire, lab, node, ICMPV6, _icmpv6(lab.network.client, own(node), question[:20]), hops=255)
            _send(wire, lab, node, ICMPV6, _icmpv6(lab.network.client, own(node), question)[:-1] + b"\xff", hops=255)
            _send(wire, lab, node, FRAGMENT, struct.pack("!BBHI", 6, 0, 1, 7) + content(1, 40))
            chain = b"".join(struct.pack("!BBBB4x", DESTINATION_OPTIONS, 0, 1, 4) for _ in range(9))
            _send(wire, lab, node, DESTINATION_OPTIONS, chain + content(1, 40))
            wire.send(ethernet(net.mac_of(node), 0x86DD, _ipv6(lab.network.client, own(node), 6, b"")[:39] + b"\0" * 20))
            for length in range(0, 120, 7):
                wire.send(ethernet(net.mac_of(node), 0x86DD, b"\x60" + os.urandom(length)))
        time.sleep(0.5)
        check_bytes(connection.get("/be2/bytes/100000?seed=2"), 2, 100_000, "be2")
        check_bytes(connection.get("/be1/bytes/100000?seed=3"), 3, 100_000, "be1")
    for node in lab.nodes():
        for reason, least in [("ndp", 3), ("bad_checksum", 1), ("ip_fragment", 1), ("extension_header", 1), ("truncated", 1)]:
            grown = watch.grown(node, "baton_drops_total", reason=reason)
            expect(grown >= least, f"{node} counted {grown:.0f} {reason}, {least} expected")


def _send(wire, lab, node, protocol, payload, hops=64):
    packet = _ipv6(lab.network.client, lab.network.address_of(node), protocol, payload, hops)
    wire.send(ethernet(net.mac_of(node), 0x86DD, packet))


def _ipv6(source, target, protocol, payload, hops=64):
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + _octets(source) + _octets(target) + payload


def _icmpv6(source, target, message):
    pseudo = _octets(source) + _octets(target) + struct.pack("!II", len(message), ICMPV6)
    return message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]


def _octets(address):
    return socket.inet_pton(socket.AF_INET6, address)


def _address(octets):
    return socket.inet_ntop(socket.AF_INET6, octets)
