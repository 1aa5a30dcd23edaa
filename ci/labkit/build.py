"""The programs of the lab: release builds of this tree, made if they are not fresh."""

import json
import os
import subprocess
from pathlib import Path

from labkit.base import ROOT, Failed, cargo, say

NODES = ["baton-frontend", "baton-backend", "baton-impair"]
# Its program `tcb` reads captures; a lab runs without it.
PACKAGES = [*NODES, "baton-tools"]


def programs():
    """The directory with the programs, built. `BATON_BIN=DIR` uses those in DIR as they are."""
    ready = os.environ.get("BATON_BIN")
    folder = Path(ready) if ready else _build()
    missing = [name for name in NODES if not os.access(folder / name, os.X_OK)]
    if missing:
        raise Failed(f"{folder} has no program called {missing[0]}")
    return folder


def target_directory():
    """Where cargo puts what it builds."""
    command, environment = cargo()
    words = [command, "metadata", "--no-deps", "--format-version", "1"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"cargo metadata: {done.stderr.strip().splitlines()[-1]}")
    return Path(json.loads(done.stdout)["target_directory"])


def _build():
    command, environment = cargo()
    words = [command, "build", "--release", "--bins"]
    for package in PACKAGES:
        words += ["--package", package]
    say("building those release programs that are not fresh (the first time takes minutes)")
    # Cargo's own progress goes to standard error, past us.
    if subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL).returncode != 0:
        raise Failed("the programs do not build; cargo says why above")
    return target_directory() / "release"
