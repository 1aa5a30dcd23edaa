"""The lab's network: namespaces, veth pairs and bridges. The machine's own network is not touched.

            client                         sw                                fe1, be1, be2 ...
          +--------+   +------------------------------------------+        +--------+
          |  eth0 =======client      uplink0 === uplink1    fe1 =============eth0   |
          | kernel |   |    \\          /             \\     /  be1 ====...  | DPDK   |
          +--------+   |     [clients]               [cluster]  ...        +--------+
                       +------------------------------------------+

`clients` and `cluster` are bridges. While faults are injected, `client` and `uplink0` are taken out of the bridge `clients` and the
injector forwards between them; `cluster` notices nothing. So `uplink1` always shows what the cluster sees of its clients.
"""

import json
import os
import re
import socket
from dataclasses import dataclass

from labkit.base import run

BACKENDS_MAX = 64
INTERFACE = "eth0"
SWITCH = "sw"
# The kernel as a server, beside the back-ends, to compare with: its namespace, and its port at the switch.
LINUX = "linux"
# The kernel as a relay, where the front-end stands, to compare with.
RELAY = "relay"
# Where floods come from: its namespace, and its port at the switch.
STRANGER = "stranger"
# Ends of links inside the switch.
CLIENT_PORT = "client"
OUTER_UPLINK = "uplink0"
INNER_UPLINK = "uplink1"
CLIENT_BRIDGE = "clients"
CLUSTER_BRIDGE = "cluster"

# With --pmd tap: the node's device, and the bridge that joins it to the node's end of the link.
TAP = "tap0"
TAP_BRIDGE = "joint"

# No spanning tree and no waiting: a lab's bridge forwards from its first moment.
BRIDGE = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"

# Whatever would make frames that no wire carries: unfinished checksums, segments longer than the MTU.
OFFLOADS = ["tx", "rx", "sg", "tso", "gso", "gro"]


@dataclass(frozen=True)
class Network:
    """The addresses of a lab: IPv4, or IPv6 alone."""

    network: str
    prefix: int
    family: int

    @property
    def vip(self):
        return self.network + "100"

    @property
    def client(self):
        return self.address_of("client")

    def address_of(self, node):
        """A node's own address. The host's number is written in the same digits in both families."""
        if node == "client":
            return self.network + "1"
        if node == LINUX:
            return self.network + "90"
        if node == STRANGER:
            return self.network + "91"
        if node == RELAY:
            return self.network + "92"
        return self.network + ("10" if node.startswith("fe") else str(20 + backend_number(node)))

    def url(self, path=""):
        """The VIP's URL, with the brackets that an IPv6 address has there."""
        return f"http://{f'[{self.vip}]' if self.family == socket.AF_INET6 else self.vip}{path}"


IPV4 = Network("10.77.0.", 24, socket.AF_INET)
IPV6 = Network("fd77::", 64, socket.AF_INET6)

# For those who have to do with IPv4 alone.
CLIENT = IPV4.client
VIP = IPV4.vip


def address_of(node):
    """A node's own IPv4 address."""
    return IPV4.address_of(node)


def mac_of(node):
    """The Ethernet address that others see, made from the node's IPv4 address so that captures are easy to read."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address_of(node).split("."))


def backend_number(node):
    return int(node.removeprefix("be"))


def namespace(lab, node):
    return f"{lab}-{node}"


def namespaces_of(lab):
    """The lab's namespaces that exist, whatever is left of it."""
    mine = re.compile(rf"{re.escape(lab)}-(client|{SWITCH}|{LINUX}|{STRANGER}|fe\d+|be\d+)")
    listed = json.loads(run("ip", "-j", "netns", "list").stdout or "[]")
    return sorted(entry["name"] for entry in listed if mine.fullmatch(entry["name"]))


def labs():
    """Every lab that has a namespace."""
    listed = json.loads(run("ip", "-j", "netns", "list").stdout or "[]")
    return sorted(entry["name"].removesuffix(f"-{SWITCH}") for entry in listed if entry["name"].endswith(f"-{SWITCH}"))


def inside(lab, node, *words):
    """The command line that runs `words` in a node's namespace."""
    return ["ip", "netns", "exec", namespace(lab, node), *map(str, words)]


def build(lab, nodes, with_tap, network=IPV4):
    """Makes the namespaces of client, switch and nodes, and links them."""
    switch = namespace(lab, SWITCH)
    _add_namespace(lab, SWITCH)
    _ip(switch, f"link add {CLIENT_BRIDGE} {BRIDGE}", f"link add {CLUSTER_BRIDGE} {BRIDGE}",
        f"link add {OUTER_UPLINK} type veth peer name {INNER_UPLINK}",
        f"link set {OUTER_UPLINK} master {CLIENT_BRIDGE}",
        f"link set {INNER_UPLINK} master {CLUSTER_BRIDGE}")
    _plain(lab, SWITCH, OUTER_UPLINK, INNER_UPLINK)
    for node in ["client", *nodes]:
        _add_namespace(lab, node)
        bridge = CLIENT_BRIDGE if node == "client" else CLUSTER_BRIDGE
        run("ip", "-n", switch, "link", "add", node, "type", "veth", "peer", "name", INTERFACE,
            "netns", namespace(lab, node))
        _ip(switch, f"link set {node} master {bridge} up")
        _plain(lab, SWITCH, node)
        _plain(lab, node, INTERFACE)
        if node != "client" and with_tap:
            _ip(namespace(lab, node), f"link add {TAP_BRIDGE} {BRIDGE}", f"link set {INTERFACE} master {TAP_BRIDGE}",
                f"link set {TAP_BRIDGE} up")
        else:
            _ip(namespace(lab, node), f"link set {INTERFACE} address {mac_of(node)}")
    if network.family == socket.AF_INET6:
        _allow_ipv6(namespace(lab, "client"))
    for node in ["client", *nodes]:
        _ip(namespace(lab, node), f"link set {INTERFACE} up")
    detection = "nodad" if network.family == socket.AF_INET6 else ""
    _ip(namespace(lab, "client"), f"address add {network.client}/{network.prefix} dev {INTERFACE} {detection}")
    _ip(switch, *(f"link set {name} up" for name in (CLIENT_BRIDGE, CLUSTER_BRIDGE, OUTER_UPLINK, INNER_UPLINK)))


def add_kernel(lab, node, network=IPV4):
    """Adds the namespace of a host that speaks the kernel's TCP, on the cluster's side, without offloads as all others."""
    _add_beside(lab, node)
    detection = ""
    if network.family == socket.AF_INET6:
        _allow_ipv6(namespace(lab, node))
        detection = "nodad"
    _ip(namespace(lab, node), f"link set {INTERFACE} up",
        f"address add {network.address_of(node)}/{network.prefix} dev {INTERFACE} {detection}")


def add_stranger(lab):
    """Adds the namespace that floods come from, next to the cluster: what a flood costs on its way is the machine's and no part of it.
    It has no address, so its kernel throws away what comes back as soon as it can."""
    _add_beside(lab, STRANGER)
    _ip(namespace(lab, STRANGER), f"link set {INTERFACE} up")


def remove_beside(lab, node):
    """Takes such a namespace away. Its link first: the kernel takes that away some time after the namespace, and the next one has its name."""
    run("ip", "-n", namespace(lab, SWITCH), "link", "delete", node, check=False)
    run("ip", "netns", "delete", namespace(lab, node), check=False)


def _add_beside(lab, node):
    """Links a new namespace to the cluster's side of the switch."""
    _add_namespace(lab, node)
    run("ip", "-n", namespace(lab, SWITCH), "link", "add", node, "type", "veth", "peer", "name", INTERFACE,
        "netns", namespace(lab, node))
    _ip(namespace(lab, SWITCH), f"link set {node} master {CLUSTER_BRIDGE} up")
    _plain(lab, SWITCH, node)
    _plain(lab, node, INTERFACE)
    _ip(namespace(lab, node), f"link set {INTERFACE} address {mac_of(node)}")


def join_clients(lab, joined):
    """Whether the kernel forwards between the client and the cluster, or leaves that to the injector."""
    master = f"master {CLIENT_BRIDGE}" if joined else "nomaster"
    _ip(namespace(lab, SWITCH), *(f"link set {name} {master}" for name in (CLIENT_PORT, OUTER_UPLINK)))


def attach_tap(lab, node):
    """Joins the device that a node has made, and started, to the node's link."""
    # The node keeps its address; the kernel's end needs another, or the bridge takes the node's frames for its own. Not earlier:
    # starting the device sets the kernel's end to the node's address.
    other = "06" + mac_of(node)[2:]
    _ip(namespace(lab, node), f"link set {TAP} address {other}", f"link set {TAP} master {TAP_BRIDGE} up")


def processes(lab):
    """Processes in the lab's namespaces, but for this one and those that it runs in."""
    own, ancestor = set(), os.getpid()
    while ancestor > 1:
        own.add(ancestor)
        with open(f"/proc/{ancestor}/stat") as stat:
            ancestor = int(stat.read().rpartition(")")[2].split()[1])
    found = set()
    for name in namespaces_of(lab):
        found.update(int(pid) for pid in run("ip", "netns", "pids", name, check=False).stdout.split())
    return found - own


def remove(lab):
    """Takes the namespaces away, and with them all that is in them."""
    for name in namespaces_of(lab):
        run("ip", "netns", "delete", name)


def _add_namespace(lab, node):
    name = namespace(lab, node)
    run("ip", "netns", "add", name)
    # No stray router solicitations: what is on the wire is what the lab is about. And bridges that only bridge: where the machine
    # filters bridged packets, they would swallow malformed ones. -e: not every machine has these.
    run("ip", "netns", "exec", name, "sysctl", "-eqw", "net.ipv6.conf.all.disable_ipv6=1",
        "net.ipv6.conf.default.disable_ipv6=1", *(f"net.bridge.bridge-nf-call-{kind}tables=0" for kind in ("ip", "ip6", "arp")))
    _ip(name, "link set lo up")


def _allow_ipv6(name):
    """Lets the kernel of a namespace, the client's, speak IPv6 on its interface. That of the nodes stays silent: DPDK answers there."""
    settings = [f"net.ipv6.conf.{INTERFACE}.{key}" for key in ("disable_ipv6=0", "accept_ra=0", "router_solicitations=0", "accept_dad=0")]
    # The last first: with the address comes at once what the others are about.
    run("ip", "netns", "exec", name, "sysctl", "-qw", *reversed(settings))


def _plain(lab, node, *interfaces):
    """Switches the offloads of interfaces off."""
    for interface in interfaces:
        words = [word for offload in OFFLOADS for word in (offload, "off")]
        run(*inside(lab, node, "ethtool", "-K", interface, *words))


def _ip(name, *lines):
    """Several ip(8) commands with one call."""
    run("ip", "-n", name, "-batch", "-", input="\n".join(lines) + "\n")
