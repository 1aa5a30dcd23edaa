"""The configuration files of the lab's nodes, and `--set`, which overrides keys in them."""

import json
import re
import tomllib

from labkit import net
from labkit.base import Failed, Misused, run

# Megabytes of memory for one node: without huge pages it is ordinary memory, taken when it is touched.
MEMORY_MB = 256

# Rings that hold a burst of many windows. A frame slot must fit into one packet buffer, a block must hold whole slots.
AF_PACKET = "framesz=2048,framecnt=4096,blocksz=65536,qdisc_bypass=1"


def device(pmd, node):
    """DPDK's name for the node's port, and the arguments that make it."""
    if pmd == "tap":
        return "net_tap0", f"net_tap0,iface={net.TAP},mac={net.mac_of(node)}"
    if pmd == "af_xdp":
        return "net_af_xdp0", f"net_af_xdp0,iface={net.INTERFACE}"
    return "net_af_packet0", f"net_af_packet0,iface={net.INTERFACE},{AF_PACKET}"


def frontend(lab, pmd, backends, network=net.IPV4):
    """The front-end's configuration."""
    names = [f"be{number}" for number in range(1, backends + 1)]
    prefixed = [{"path_prefix": f"/{name}/", "strip_prefix": True, "backends": [name]} for name in names]
    config = _common(lab, pmd, "fe1", network)
    config["node"]["id"] = 1
    return config | {
        "listener": [{"address": network.vip, "port": 80}],
        "backend": [{"name": name, "address": network.address_of(name)} for name in names],
        "route": [*prefixed, {"path_prefix": "/", "backends": names}],
    }


def backend(lab, pmd, node, docroot, network=net.IPV4):
    """A back-end's configuration."""
    return _common(lab, pmd, node, network) | {
        "frontend": [{"name": "fe1", "address": network.address_of("fe1")}],
        "serve": {"root": str(docroot), "probe": True, "identify": True},
    }


def _common(lab, pmd, node, network):
    name, vdev = device(pmd, node)
    return {
        # No --in-memory: EAL refuses it together with --no-huge. The prefix keeps the nodes of one machine apart.
        "eal": ["--no-huge", "-m", str(MEMORY_MB), "--no-pci", "--no-telemetry", f"--file-prefix={lab}-{node}",
                f"--vdev={vdev}"],
        "node": {"name": node, "idle": "adaptive"},
        "cluster": {"secret_file": "../cluster.key", "other_secret_files": ["../other.key"]},
        "port": [{"device": name, "address": f"{network.address_of(node)}/{network.prefix}", "gateway": network.client}],
        "admin": {"listen": "127.0.0.1:9901"},
    }


def read_overrides(settings):
    """`KEY=VALUE` words as pairs. A value is TOML, or else a string without quotes."""
    pairs = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = re.sub(r"\[\d*\]", "", key.strip())
        if not equals or not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*", key):
            raise Misused(f"--set wants KEY=VALUE with a dotted key, not {setting!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        pairs.append((key, value))
    return pairs


def known_keys(program):
    """The dotted keys that a program's configuration may have; those in arrays of tables without brackets."""
    lines = run(program, "keys").stdout.splitlines()
    return {line.split("\t")[0].replace("[]", "") for line in lines}


def override(config, overrides, known):
    """Applies those overrides that the node's program knows; in an array of tables, to each."""
    for key, value in overrides:
        if key in known:
            _put(config, key.split("."), value)


def refuse_unknown(overrides, known_to_any):
    """A key that no node has is a mistake."""
    for key, _ in overrides:
        if key not in known_to_any:
            raise Misused(f"--set: no node has the key {key}; `baton-frontend keys` and `baton-backend keys` list them")


def _put(table, path, value):
    name, *rest = path
    if not rest:
        table[name] = value
        return
    inner = table.setdefault(name, {})
    for element in inner if isinstance(inner, list) else [inner]:
        _put(element, rest, value)


def to_toml(config):
    """Writes a configuration: plain values first, then tables, then arrays of tables."""
    plain, tables = [], []
    for key, value in config.items():
        if isinstance(value, dict):
            tables.append(f"\n[{key}]\n" + _plain_lines(value))
        elif isinstance(value, list) and value and all(isinstance(element, dict) for element in value):
            tables += [f"\n[[{key}]]\n" + _plain_lines(element) for element in value]
        else:
            plain.append(f"{key} = {_value(value)}\n")
    return "".join(plain + tables)


def _plain_lines(table):
    return "".join(f"{key} = {_value(value)}\n" for key, value in table.items())


def _value(value):
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return str(value)
    raise Failed(f"a configuration cannot have the value {value!r}")
