"""A program that runs on in a namespace when the lab's command has ended: its pid, its log, how it ended."""

import os
import signal
import subprocess
from pathlib import Path

from labkit import net
from labkit.base import Failed, wait_until

# Starts the program, and stays to note how it ended. What a shell starts in the background ignores SIGINT unless it asks for it;
# our programs do.
KEEPER = '''
"$@" & pid=$!
echo $pid > "$STATE/pid.new" && mv "$STATE/pid.new" "$STATE/pid"
wait $pid; code=$?
echo $code > "$STATE/exit.new" && mv "$STATE/exit.new" "$STATE/exit"
'''


class Process:
    """One program of one lab; everything known about it is in `folder`."""

    def __init__(self, lab, node, folder):
        self.lab, self.node, self.folder = lab, node, Path(folder)

    @property
    def log(self):
        return self.folder / "log"

    def start(self, words, environment=None):
        """Starts the program in the node's namespace; what it writes goes to the log, behind what is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # The keeper of an earlier run may not have noted its end yet, and must not note it as the end of this one.
        wait_until(lambda: self._recorded_pid() is None or self.exit_code() is not None, 2)
        for stale in ("pid", "exit"):
            (self.folder / stale).unlink(missing_ok=True)
        command = net.inside(self.lab, self.node, "sh", "-c", KEEPER, "lab-keeper", *words)
        with self.log.open("ab") as log:
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                             cwd=self.folder, env=os.environ | {"STATE": str(self.folder)} | (environment or {}))
        if not wait_until(self._recorded_pid, 5):
            raise Failed(f"{self.folder.name} does not start; see {self.log}")

    def pid(self):
        """The pid while it runs, else `None`."""
        pid = self._recorded_pid()
        if pid is None or self.exit_code() is not None:
            return None
        try:
            # A pid may belong to somebody else by now, and somebody else is not in our namespace.
            its, ours = os.stat(f"/proc/{pid}/ns/net"), os.stat(f"/run/netns/{net.namespace(self.lab, self.node)}")
        except OSError:
            return None
        return pid if its.st_ino == ours.st_ino else None

    def exit_code(self):
        """How it ended: the exit code, 128 + N after signal N; `None` while it runs or if nobody saw it end."""
        return _number(self.folder / "exit")

    def signal(self, number):
        """Sends a signal; after SIGKILL it returns when the program is gone."""
        pid = self.pid()
        if pid is None:
            raise Failed(f"{self.folder.name} is not running")
        os.kill(pid, number)
        if number == signal.SIGKILL and not self.wait_end(10):
            raise Failed(f"{self.folder.name} (pid {pid}) does not end")

    def wait_end(self, seconds):
        """Waits until it is gone and its exit code is known; false if it still runs."""
        return wait_until(lambda: self.exit_code() is not None, seconds) or self.pid() is None

    def last_words(self, lines=12):
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text.splitlines()[-lines:]

    def _recorded_pid(self):
        return _number(self.folder / "pid")


def signal_number(word):
    """`KILL`, `SIGTERM` or `15` as a number; `None` if it is none of them."""
    if word.isdigit():
        return int(word) if int(word) in set(signal.Signals) else None
    name = word.upper() if word.upper().startswith("SIG") else f"SIG{word.upper()}"
    found = signal.Signals.__members__.get(name)
    return None if found is None else int(found)


def _number(path):
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
