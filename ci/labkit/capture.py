"""A complete capture around a command: from before its first packet to behind its last."""

import re
import signal
import subprocess
import time

from labkit import net
from labkit.base import Failed

# Kilobytes that the kernel may keep for tcpdump while that does not run.
BUFFER_KB = 65_536
START_SECONDS = 10
# How long packets may come behind the end of the command that made them, and how long tcpdump may take to write what is there.
TAIL_SECONDS = 0.3
DRAIN_SECONDS = 30


class Capture:
    """tcpdump on one interface, as a context: inside it captures, behind it the file is complete."""

    def __init__(self, lab, node, interface, path, filter_words=()):
        self.path = path
        # --immediate-mode: the kernel hands over each packet at once, so that what tcpdump has counted is all there is.
        words = ["tcpdump", "-n", "-i", interface, "-s", "0", "-B", str(BUFFER_KB), "--immediate-mode", "-Z", "root",
                 "-w", str(path), *filter_words]
        self.command = net.inside(lab, node, *words)

    def __enter__(self):
        # A session of its own: Ctrl-C is for the command that is watched, not for the one that watches.
        self.tcpdump = subprocess.Popen(self.command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                                        start_new_session=True)
        said = self._read_until("listening on")
        if "listening on" not in said:
            self.tcpdump.wait()
            raise Failed(f"tcpdump: {said.strip() or 'it does not start'}")
        return self

    def __exit__(self, *_):
        self._drain()
        self.tcpdump.send_signal(signal.SIGINT)
        said = self.tcpdump.stderr.read()
        code = self.tcpdump.wait()
        dropped = re.search(r"(\d+) packets? dropped by kernel", said)
        if code != 0 or not dropped:
            raise Failed(f"tcpdump ended with {code}: {said.strip()}")
        if int(dropped[1]) > 0:
            raise Failed(f"the capture is not complete: {dropped[1]} packets came faster than tcpdump took them")

    def _drain(self):
        """Waits for the last packets of what was done, and until tcpdump has written all that had come by then. It does not wait for
        silence: the nodes of a cluster always talk."""
        time.sleep(TAIL_SECONDS)
        there, end = None, time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < end and self.tcpdump.poll() is None:
            if counts := self._counts():
                there = there or counts[1]
                if counts[0] >= there:
                    return
            time.sleep(0.02)

    def _counts(self):
        """How many packets tcpdump has taken, and how many there were for it."""
        self.tcpdump.send_signal(signal.SIGUSR1)
        line = self._read_until("dropped by kernel")
        found = re.search(r"(\d+) packets? captured, (\d+) packets? received", line)
        return (int(found[1]), int(found[2])) if found else None

    def _read_until(self, words):
        """The first line with `words` that tcpdump writes; the last line if it ends before."""
        last = ""
        for line in self.tcpdump.stderr:
            last = line
            if words in line:
                break
        return last
