"""What the lab's parts share: how it fails, how it calls programs, where things are."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
STATE = Path("/run/baton-lab")


class Failed(Exception):
    """Something did not work: exit code 1, after one line that says why."""


class Misused(Exception):
    """The lab was asked for something that makes no sense: exit code 2."""


def say(text):
    """Progress goes to standard error: standard output is for scripts."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def run(*words, check=True, **options):
    """Runs a program, quietly; what it complained about becomes the reason if it fails."""
    words = [str(word) for word in words]
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if check and done.returncode != 0:
        complaint = (done.stderr or done.stdout).strip().splitlines()
        raise Failed(f"{' '.join(words[:6])}: {complaint[-1] if complaint else f'exit code {done.returncode}'}")
    return done


def need_tools(*names):
    """The lab's own tools, and root."""
    if os.geteuid() != 0:
        raise Failed("network namespaces need root: run it with sudo")
    missing = [name for name in names if not shutil.which(name)]
    if missing:
        raise Failed(f"not installed: {', '.join(missing)}; run ci/setup")


def cargo():
    """The command that builds, and its environment; under sudo the toolchain is that of the user who called."""
    environment = dict(os.environ)
    if found := shutil.which("cargo"):
        return found, environment
    homes = [os.path.expanduser("~")]
    if os.environ.get("SUDO_USER"):
        homes.append(os.path.expanduser(f"~{os.environ['SUDO_USER']}"))
    for home in homes:
        cargo_home = environment.get("CARGO_HOME", f"{home}/.cargo")
        if os.access(f"{cargo_home}/bin/cargo", os.X_OK):
            environment.setdefault("CARGO_HOME", cargo_home)
            environment.setdefault("RUSTUP_HOME", f"{home}/.rustup")
            environment["PATH"] = f"{cargo_home}/bin:{environment['PATH']}"
            return f"{cargo_home}/bin/cargo", environment
    raise Failed("there is no cargo; run ci/setup, it says how to get it")


def wait_until(condition, seconds, pause=0.02):
    """Asks again and again; returns what `condition` says at last, true or not."""
    end = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < end:
        time.sleep(pause)
    return answer
