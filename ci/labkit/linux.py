"""The kernel's TCP as a server in the lab, to compare with: nginx in a namespace of its own, with CUBIC, beside the back-ends.

It stands on the cluster's side of the fault injector, behind the same links without offloads, and serves the same files. The cluster
and it have the same client.
"""

import http.client
import ipaddress
import signal

from labkit import net
from labkit.base import Failed, need_tools, run, wait_until
from labkit.process import Process
from labkit.sockets import socket_in

START_SECONDS = 10
STOP_SECONDS = 5

# One process, no log of requests, nothing of the machine's own nginx.
CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""

SERVER = """
    server {{
        listen {address}:80;
        root {root};
    }}
"""


class Nginx:
    """nginx over the kernel's TCP in a namespace of its own, in a lab that is up; as a context it is gone behind it."""

    def __init__(self, lab, node, congestion="cubic"):
        self.lab, self.node, self.congestion = lab, node, congestion
        self.process = Process(lab.name, node, lab.folder / node)

    def servers(self):
        """What it is to do, in its configuration's words."""
        raise NotImplementedError

    def probe(self):
        """A path that it answers."""
        raise NotImplementedError

    @property
    def address(self):
        """Where it listens."""
        return self.lab.network.address_of(self.node), 80

    @staticmethod
    def at(host):
        """A host as a port follows it."""
        return f"[{host}]" if ":" in host else host

    def __enter__(self):
        need_tools("nginx")
        net.add_kernel(self.lab.name, self.node, self.lab.network)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.pid():
            self.process.signal(signal.SIGKILL)
            self.process.wait_end(STOP_SECONDS)
        net.remove_beside(self.lab.name, self.node)

    def _start(self):
        self.set_route()
        folder = self.process.folder
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=folder, servers=self.servers()))
        self.process.start(["nginx", "-e", folder / "log", "-p", folder, "-c", config])
        if not wait_until(lambda: self.process.exit_code() is not None or self._answers(), START_SECONDS) \
                or self.process.exit_code() is not None:
            raise Failed(f"nginx does not answer: {' '.join(self.process.last_words(1))}")

    def set_route(self, *words):
        """The way to the client, with what ip-route(8) may say about TCP on it. The algorithm as well, for the machine may prefer
        another: by route, because a namespace may not choose a default that the machine restricts."""
        network = self.lab.network
        subnet = ipaddress.ip_network(f"{network.client}/{network.prefix}", strict=False)
        run("ip", "-n", net.namespace(self.lab.name, self.node), "route", "replace", subnet, "dev", net.INTERFACE,
            "src", network.address_of(self.node), "congctl", self.congestion, *words)

    def _answers(self):
        connection = http.client.HTTPConnection(*self.address, timeout=1)
        try:
            connection.sock = socket_in(net.namespace(self.lab.name, "client"), self.lab.network.family)
            connection.sock.settimeout(1)
            connection.sock.connect(self.address)
            connection.request("GET", self.probe())
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class LinuxServer(Nginx):
    """The same files as the back-ends have."""

    def __init__(self, lab, congestion="cubic"):
        super().__init__(lab, net.LINUX, congestion)

    def servers(self):
        return SERVER.format(address=self.at(self.address[0]), root=self.lab.settings["docroot"])

    def probe(self):
        return "/hello.txt"
