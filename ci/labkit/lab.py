"""One lab: what `ci/lab` does, for scripts and tests to call as well."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from labkit import build, config, net
from labkit.base import STATE, Failed, Misused, need_tools, run, say, wait_until
from labkit.capture import Capture
from labkit.faults import Injector
from labkit.process import Process, signal_number
from labkit.sockets import socket_in

PMDS = ["af_packet", "af_xdp", "tap"]
# How long a node may take to answer on its admin listener, and the cluster on the VIP.
NODE_SECONDS = 15
CLUSTER_SECONDS = 20


class Lab:
    """A lab by its name; it may be up or not."""

    def __init__(self, name):
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,30}", name):
            raise Misused(f"LAB={name} is no name for a lab: lower-case letters, digits, - and _")
        self.name = name
        self.folder = STATE / name

    # What is remembered between calls.

    @property
    def settings(self):
        """How the lab was brought up."""
        try:
            return json.loads((self.folder / "lab.json").read_text())
        except (OSError, ValueError):
            raise Failed(f"the lab {self.name} is not up; run: ci/lab up") from None

    def nodes(self):
        """The Baton nodes."""
        return ["fe1", *(f"be{number}" for number in range(1, self.settings["backends"] + 1))]

    @property
    def network(self):
        """The lab's addresses."""
        return net.IPV6 if self.settings.get("ipv6") else net.IPV4

    def process(self, node):
        """A node's program."""
        self.need_node(node)
        return Process(self.name, node, self.folder / node)

    def injector(self):
        """The fault injector."""
        return Injector(self.name, Process(self.name, net.SWITCH, self.folder / "impair"))

    def need_node(self, node, or_client=False):
        """Refuses what is no node of this lab."""
        names = ["client", *self.nodes()] if or_client else self.nodes()
        if node not in names:
            raise Misused(f"there is no node {node}; the nodes are {', '.join(names)}")

    # Up and down.

    def up(self, backends=2, pmd="af_packet", docroot=None, overrides=(), ipv6=False):
        """Builds and starts the lab, and waits until the VIP answers for each back-end."""
        need_tools("ip", "ethtool", "sysctl", "tcpdump", "curl")
        pairs = config.read_overrides(overrides)
        if docroot and not Path(docroot).is_dir():
            raise Misused(f"--docroot: {docroot} is no directory")
        if self.folder.exists() or net.namespaces_of(self.name):
            raise Failed(f"the lab {self.name} is up already, or left over; run: ci/lab down")
        programs = build.programs()
        known = {kind: config.known_keys(programs / f"baton-{kind}") for kind in ("frontend", "backend")}
        config.refuse_unknown(pairs, set().union(*known.values()))
        try:
            self._make_folder(backends, pmd, docroot, programs, ipv6)
            self._write_configs(pairs, known)
            net.build(self.name, self.nodes(), with_tap=pmd == "tap", network=self.network)
            net.join_clients(self.name, joined=True)
            self.injector().start(programs / "baton-impair")
            self._start_all()
        except BaseException:
            self.down()
            raise

    def down(self):
        """Takes away all that there is of the lab. Does nothing if there is nothing."""
        need_tools("ip")
        # Twice: a program may start another while it is looked for.
        for _ in range(2):
            for pid in net.processes(self.name):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            wait_until(lambda: not net.processes(self.name), 10)
        net.remove(self.name)
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            STATE.rmdir()
        except OSError:
            pass  # Other labs are there, or none was.

    def _make_folder(self, backends, pmd, docroot, programs, ipv6):
        self.folder.mkdir(parents=True)
        secret = os.urandom(32).hex() + "\n"
        # The other one is for changing the secret; until then it is the same.
        for name in ("cluster.key", "other.key"):
            self.write_secret(name, secret)
        root = Path(docroot).resolve() if docroot else _make_docroot(self.folder / "docroot")
        settings = {"backends": backends, "pmd": pmd, "docroot": str(root), "programs": str(programs), "ipv6": ipv6}
        (self.folder / "lab.json").write_text(json.dumps(settings, indent=2) + "\n")

    def _write_configs(self, pairs, known):
        settings = self.settings
        for node in self.nodes():
            if node.startswith("fe"):
                tables = config.frontend(self.name, settings["pmd"], settings["backends"], self.network)
            else:
                tables = config.backend(self.name, settings["pmd"], node, settings["docroot"], self.network)
            config.override(tables, pairs, known[_kind(node)])
            path = self.folder / node / "config.toml"
            path.parent.mkdir()
            path.write_text(config.to_toml(tables))
            (path.parent / "admin").write_text(tables["admin"]["listen"])
            checked = run(self._program(node), "check", "--config", path, check=False)
            if checked.returncode != 0:
                raise Failed(f"the configuration of {node} is refused:\n{checked.stderr.strip()}")

    def _start_all(self):
        for node in self.nodes():
            self._spawn(node)
        for node in self.nodes():
            self._wait_node(node)
        for node in self.nodes()[1:]:
            self._wait_served(node)

    def write_secret(self, name, text):
        """Writes one of the lab's secret files, `cluster.key` or `other.key`. Nodes read it when they start or are told to."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)

    # Nodes.

    def start(self, node):
        """Starts a node that does not run, and waits until it answers on its admin listener."""
        if self.process(node).pid():
            raise Failed(f"{node} is running")
        self._spawn(node)
        self._wait_node(node)

    def kill(self, node, word="KILL"):
        """Sends a node a signal."""
        number = signal_number(word)
        if number is None:
            raise Misused(f"there is no signal {word}")
        self.process(node).signal(number)

    def log(self, node):
        """The file with what a node has written since the lab is up; `impair` for that of the fault injector."""
        return self.injector().process.log if node == "impair" else self.process(node).log

    def metrics(self, node):
        """A node's metrics, as text."""
        self.need_node(node)
        status, body = self._ask_admin(node, "/metrics")
        if status != 200:
            raise Failed(f"{node} answers {status} for its metrics: {body.strip()}")
        return body

    def admin_address(self, node):
        """Where a node's admin listener is, inside its namespace: HOST:PORT."""
        self.need_node(node)
        return (self.folder / node / "admin").read_text()

    def status(self):
        """The lab and its nodes, as data."""
        settings = self.settings
        nodes = []
        for name in self.nodes():
            process = self.process(name)
            pid = process.pid()
            nodes.append({
                "name": name, "namespace": net.namespace(self.name, name), "address": self.network.address_of(name),
                "mac": net.mac_of(name), "running": pid is not None, "pid": pid, "exit_code": process.exit_code(),
            })
        client = {"namespace": net.namespace(self.name, "client"), "address": self.network.client}
        injector = self.injector()
        impair = injector.status() if injector.process.pid() else {"on": False}
        return {"lab": self.name, "vip": self.network.vip, "pmd": settings["pmd"], "docroot": settings["docroot"],
                "client": client, "nodes": nodes, "impair": impair}

    def shell_lines(self):
        """What `up` prints: the VIP and the namespaces, for a shell to read."""
        names = [("CLIENT_NS", "client"), *((f"{node.upper()}_NS", node) for node in self.nodes())]
        return [f"VIP={self.network.vip}", *(f"{variable}={net.namespace(self.name, node)}" for variable, node in names)]

    # The client's side.

    def inside(self, node, words):
        """The command line that runs `words` in the namespace of a node or of the client."""
        self.need_node(node, or_client=True)
        return net.inside(self.name, node, *words)

    def socket(self, family=None, kind=socket.SOCK_STREAM, protocol=0):
        """A socket of the client; of the lab's family, if no other is asked for."""
        return socket_in(net.namespace(self.name, "client"), family or self.network.family, kind, protocol)

    def capture(self, side, path, filter_words=()):
        """A capture at the client, on the cluster's side of the fault injector, or (a node's name) on that node's link."""
        self.settings
        if side == "client":
            return Capture(self.name, "client", net.INTERFACE, path, filter_words)
        interface = net.INNER_UPLINK if side == "cluster" else side
        return Capture(self.name, net.SWITCH, interface, path, filter_words)

    # Helpers.

    def _program(self, node):
        return Path(self.settings["programs"]) / f"baton-{_kind(node)}"

    def _spawn(self, node):
        # Under the lab's own folder, so that nothing of EAL's outlives it.
        environment = {"RUNTIME_DIRECTORY": str(self.folder / "eal")}
        (self.folder / "eal").mkdir(exist_ok=True)
        self.process(node).start([self._program(node), "run", "--config", self.folder / node / "config.toml"], environment)

    def _wait_node(self, node):
        process = self.process(node)
        healthy = lambda: process.exit_code() is not None or self._is_healthy(node)
        if wait_until(healthy, NODE_SECONDS) and process.exit_code() is None:
            if self.settings["pmd"] == "tap":
                net.attach_tap(self.name, node)
            return
        for line in process.last_words():
            say(f"{node}| {line}")
        code = process.exit_code()
        raise Failed(f"{node} does not answer on its admin listener" if code is None else f"{node} ended with {code}")

    def _is_healthy(self, node):
        try:
            return self._ask_admin(node, "/healthz")[0] == 200
        except Failed:
            return False

    def _ask_admin(self, node, path):
        host, _, port = self.admin_address(node).rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=3)
        try:
            connection.sock = socket_in(net.namespace(self.name, node))
            connection.sock.settimeout(3)
            connection.sock.connect((host, int(port)))
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{node} does not answer on its admin listener: {error}") from None
        finally:
            connection.close()

    def _wait_served(self, node):
        """Waits until the VIP answers for a back-end, whatever it answers: only the front-end says 503."""
        url = self.network.url(f"/{node}/")
        words = self.inside("client", ["curl", "-g", "-s", "-o", os.devnull, "-w", "%{http_code}", "--max-time", "2", url])

        def answer():
            self.last_answer = subprocess.run(words, capture_output=True, text=True).stdout
            return self.last_answer not in ("000", "503")

        if not wait_until(answer, CLUSTER_SECONDS, pause=0.1):
            for line in self.process("fe1").last_words():
                say(f"fe1| {line}")
            why = "nothing" if self.last_answer == "000" else self.last_answer
            raise Failed(f"the VIP answers {why} for {node} after {CLUSTER_SECONDS} s")


def _kind(node):
    return "frontend" if node.startswith("fe") else "backend"


def _make_docroot(root):
    """A few files to fetch, the same in every lab."""
    pages = root / "pages"
    pages.mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html><title>Baton</title><p>Served by a back-end of the lab.</p>\n")
    (root / "hello.txt").write_text("Hello from the lab.\n")
    (root / "100k.bin").write_bytes(bytes(n * 7 % 251 for n in range(100_000)))
    for number in range(1, 5):
        (pages / f"{number}.html").write_text(f"<!doctype html><title>{number}</title><p>Page {number}.</p>\n")
    return root
