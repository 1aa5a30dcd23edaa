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

from labkit.base import run

PREFIX = 24
CLIENT = "10.77.0.1"
VIP = "10.77.0.100"
FRONTEND = "10.77.0.10"
BACKENDS_MAX = 64
INTERFACE = "eth0"
SWITCH = "sw"
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


def address_of(node):
    """A node's own address."""
    if node == "client":
        return CLIENT
    if node.startswith("fe"):
        return FRONTEND
    return f"10.77.0.{20 + backend_number(node)}"


def mac_of(node):
    """The Ethernet address that others see, made from the node's own address so that captures are easy to read."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address_of(node).split("."))


def backend_number(node):
    return int(node.removeprefix("be"))


def namespace(lab, node):
    return f"{lab}-{node}"


def namespaces_of(lab):
    """The lab's namespaces that exist, whatever is left of it."""
    mine = re.compile(rf"{re.escape(lab)}-(client|{SWITCH}|fe\d+|be\d+)")
    listed = json.loads(run("ip", "-j", "netns", "list").stdout or "[]")
    return sorted(entry["name"] for entry in listed if mine.fullmatch(entry["name"]))


def labs():
    """Every lab that has a namespace."""
    listed = json.loads(run("ip", "-j", "netns", "list").stdout or "[]")
    return sorted(entry["name"].removesuffix(f"-{SWITCH}") for entry in listed if entry["name"].endswith(f"-{SWITCH}"))


def inside(lab, node, *words):
    """The command line that runs `words` in a node's namespace."""
    return ["ip", "netns", "exec", namespace(lab, node), *map(str, words)]


def build(lab, nodes, with_tap):
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
    _ip(namespace(lab, "client"), f"address add {CLIENT}/{PREFIX} dev {INTERFACE}")
    for node in ["client", *nodes]:
        _ip(namespace(lab, node), f"link set {INTERFACE} up")
    _ip(switch, *(f"link set {name} up" for name in (CLIENT_BRIDGE, CLUSTER_BRIDGE, OUTER_UPLINK, INNER_UPLINK)))


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


def _plain(lab, node, *interfaces):
    """Switches the offloads of interfaces off."""
    for interface in interfaces:
        words = [word for offload in OFFLOADS for word in (offload, "off")]
        run(*inside(lab, node, "ethtool", "-K", interface, *words))


def _ip(name, *lines):
    """Several ip(8) commands with one call."""
    run("ip", "-n", name, "-batch", "-", input="\n".join(lines) + "\n")
