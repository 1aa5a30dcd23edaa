"""The figures that the lab gives, for docs/performance.md: each as a table on standard output."""

import argparse
import os
import statistics

from labkit import fairness, flood, goodput
from labkit.base import Failed, Misused, say
from labkit.lab import Lab
from labkit.linux import LinuxServer


def main(arguments):
    """Measures what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ci/figures", description="Figures of the lab, beside the kernel's in the same run.")
    parser.add_argument("what", choices=sorted(FIGURES), nargs="+")
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured; medians are printed (5)")
    parser.add_argument("--seconds", type=float, default=10, help="how long each run lasts (10)")
    options = parser.parse_args(arguments)
    lab = Lab(os.environ.get("LAB") or "figures")
    try:
        for what in options.what:
            lab.down()
            lab.up()
            FIGURES[what](lab, options)
    except (Failed, Misused) as error:
        say(error)
        return 1
    except KeyboardInterrupt:
        return 1
    finally:
        lab.down()
    return 0


def table(heads, rows):
    """Prints rows as they come, in the form that docs/performance.md has."""
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def _goodput(lab, options):
    goodput.make_file(lab)
    with LinuxServer(lab) as linux:
        def rows():
            for cell in goodput.CELLS:
                ours, theirs = goodput.compare(lab, linux, cell, options.seconds, options.runs)
                medians = (f"{statistics.median(side) / 1e6:.2f}" for side in (ours, theirs))
                yield [str(cell), *medians, f"{goodput.ratio(ours, theirs):.2f}"]
        table(["weather, each way", "Baton, Mbit/s", "Linux, Mbit/s", "ratio"], rows())


def _fairness(lab, options):
    goodput.make_file(lab)
    with LinuxServer(lab) as linux:
        be1, be2, kernel = fairness.flows(lab, linux)

        def rows():
            for first, second in ((be1, be2), (be1, kernel), (kernel, kernel)):
                found = fairness.shares(lab, first, second, options.seconds, options.seconds, options.runs)
                share, used = fairness.of_fair(found)
                yield [f"{first.name} and {second.name}", f"{share:.2f}", f"{used:.2f}"]
        table(["connections", "the first one's rate, of a fair one", "used of the bottleneck, at least"], rows())


def _flood(lab, options):
    def rows():
        kinds = [("none", None), ("to nobody", flood.nobody(lab)), ("to the VIP", flood.front_end(lab))]
        found = {name: [] for name, _ in kinds}
        for _ in range(options.runs):
            for name, mac in kinds:
                found[name].append(flood.under_flood(lab, mac, int(options.seconds)) if mac
                                   else (flood.clients(lab, int(options.seconds)), 0))
        for name, runs in found.items():
            rates = [statistics.median(rates) for rates in ([had.rate for had, _ in runs], [its for _, its in runs])]
            yield [name, f"{rates[1]:,.0f}", f"{rates[0]:,.0f}", str(sum(had.failed for had, _ in runs)),
                   f"{max(had.half_open for had, _ in runs):,}"]
    table(["flood", "SYN/s", "requests/s of the clients, a connection each", "failed", "half-open at the most"], rows())


FIGURES = {"goodput": _goodput, "fairness": _fairness, "flood": _flood}
