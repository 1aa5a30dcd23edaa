"""The fault injector's control socket, and who forwards between clients and cluster: the kernel, or the injector."""

import os
import socket
import tempfile

from labkit import net
from labkit.base import Failed, wait_until

ANSWER_SECONDS = 5


class Injector:
    """The injector of one lab: a program that runs in the switch's namespace as long as the lab is up."""

    def __init__(self, lab, process):
        self.lab, self.process = lab, process
        self.socket = process.folder / "control"

    def start(self, program):
        """Starts it, switched off: the kernel forwards."""
        self.process.start([program, "--left", net.CLIENT_PORT, "--right", net.OUTER_UPLINK, "--control", self.socket])
        if not wait_until(lambda: self.socket.exists() or self.process.exit_code() is not None, 5) \
                or self.process.exit_code() is not None:
            raise Failed(f"the fault injector does not start: {' '.join(self.process.last_words(1))}")

    def on(self, faults):
        """Puts the injector between clients and cluster, or changes its faults if it is there. Counters go on."""
        # First out of the bridge: a frame lost now is a loss like others, a frame that both forward would be one too many.
        net.join_clients(self.lab, joined=False)
        words = ["faults", *(f"--{name} {value}" for name, value in faults.items() if value is not None)]
        self._ask(" ".join(words))

    def off(self):
        """Takes it out again. What was under way is delivered."""
        self._ask("off")
        net.join_clients(self.lab, joined=True)

    def status(self):
        """Whether it is on, and its counters for each direction: `left` is from the client, `right` from the cluster."""
        pairs = dict(word.split("=") for word in self._ask("status").split())
        counters = {"left": {}, "right": {}}
        for key, value in pairs.items():
            side, _, name = key.partition("_")
            if side in counters:
                counters[side][name] = int(value)
        return {"on": pairs["on"] == "1", "from_client": counters["left"], "from_cluster": counters["right"]}

    def _ask(self, command):
        with tempfile.TemporaryDirectory(dir=self.process.folder) as folder, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
            asker.bind(os.path.join(folder, "asker"))
            asker.settimeout(ANSWER_SECONDS)
            try:
                asker.sendto(command.encode(), str(self.socket))
                answer = asker.recv(4096).decode()
            except OSError as error:
                raise Failed(f"the fault injector does not answer: {error}") from None
        if answer.startswith("error"):
            raise Failed(f"the fault injector refuses: {answer.removeprefix('error ')}")
        return answer
