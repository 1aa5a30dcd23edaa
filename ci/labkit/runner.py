"""Runs the lab's tests: each is a function that gets a lab that is up, and fails with an exception."""

import argparse
import importlib
import pkgutil
import sys
import time
import traceback
from dataclasses import dataclass, field

import labtests
from labkit.base import Failed, say
from labkit.client import Wrong
from labkit.lab import Lab

LAST_LINES = 8
_cases = []


@dataclass
class Case:
    """A test, and the lab that it wants."""

    name: str
    run: object
    full: bool
    fresh: bool
    up: dict = field(default_factory=dict)


def case(full=False, fresh=False, **up):
    """Makes a function a test. `up`: how its lab is brought up; tests that want the same one share it, unless `fresh`. `full`: only with
    --full."""
    def add(function):
        module = function.__module__.rpartition(".")[2]
        _cases.append(Case(f"{module}.{function.__name__}", function, full, fresh, up))
        return function
    return add


def expect(condition, words):
    """What a test says must be."""
    if not condition:
        raise Wrong(words)


def main(arguments, name="e2e"):
    """Runs what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ci/e2e", description="Lab tests: a real cluster, real kernel clients.")
    parser.add_argument("words", nargs="*", help="run only tests whose name contains one of these")
    parser.add_argument("--full", action="store_true", help="the long forms too")
    parser.add_argument("--list", action="store_true", help="list the tests and end")
    parser.add_argument("--keep", action="store_true", help=f"stop at the first failure and leave its lab up (LAB={name})")
    options = parser.parse_args(arguments)
    for module in sorted(found.name for found in pkgutil.iter_modules(labtests.__path__)):
        importlib.import_module(f"labtests.{module}")
    chosen = [case for case in _cases if options.full or not case.full or case.name in options.words]
    if options.words:
        chosen = [case for case in chosen if any(word in case.name for word in options.words)]
    if options.list or not chosen:
        print("\n".join(case.name for case in chosen) or "no test has such a name")
        return 0 if chosen else 2
    return _run_all(Lab(name), chosen, options)


def _run_all(lab, chosen, options):
    passed, failed, there = 0, [], None
    try:
        for case in sorted(chosen, key=lambda case: str(sorted(case.up.items()))):
            began = time.monotonic()
            try:
                if case.fresh or there != case.up:
                    lab.down()
                    there = None
                    lab.up(**case.up)
                    there = case.up
                note = case.run(lab, full=options.full)
                _need_all_running(lab)
                passed += 1
                print(f"ok      {case.name} ({time.monotonic() - began:.1f} s){f': {note}' if note else ''}", flush=True)
            except (Exception, SystemExit) as error:
                failed.append(case.name)
                print(f"FAILED  {case.name} ({time.monotonic() - began:.1f} s): {_reason(error)}", flush=True)
                _last_words(lab)
                if options.keep:
                    break
                # Whatever it was, the next test shall not suffer from it.
                there = None
    finally:
        if not (failed and options.keep):
            lab.down()
    for name in failed:
        print(f"failed: {name}")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


def _need_all_running(lab):
    for node in lab.status()["nodes"]:
        expect(node["running"], f"{node['name']} ended with {node['exit_code']}")


def _reason(error):
    if isinstance(error, (Wrong, Failed)):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"


def _last_words(lab):
    """The end of each node's log."""
    try:
        for node in lab.nodes():
            for line in lab.process(node).last_words(LAST_LINES):
                print(f"        {node}| {line}", file=sys.stderr)
    except Failed as error:
        say(error)
