"""A relay in the lab's topology, to compare moves with: nginx as a reverse proxy in a namespace of its own, in front of nginx.

```
  client --- injector --- cluster's switch --- relay (accepts, reads requests, passes every byte on)
                                |
                              linux (serves)
```
It stands where the front-end stands, and its server where the back-ends stand; connections to the server stay open. Baton has no relay of its
own to compare with.
"""

from labkit import net
from labkit.linux import LinuxServer, Nginx

# The paths that a cluster's front-end sends to one back-end each: a pool of connections each here.
CONFIG = """
    upstream one {{ server {upstream}; keepalive 16; }}
    upstream two {{ server {upstream}; keepalive 16; }}
    server {{
        listen {address}:80;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location /be1/ {{ proxy_pass http://one/; }}
        location /be2/ {{ proxy_pass http://two/; }}
    }}
"""


class Relay(Nginx):
    """nginx in front of a server, in a lab that is up; as a context it is gone behind it."""

    def __init__(self, lab, server: LinuxServer):
        super().__init__(lab, net.RELAY)
        self.upstream = self.at(server.address[0]) + ":80"

    def servers(self):
        return CONFIG.format(upstream=self.upstream, address=self.at(self.address[0]))

    def probe(self):
        return "/be1/hello.txt"
