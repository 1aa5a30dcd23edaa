"""The figures that the lab gives, for docs/performance.md: each as a table on standard output."""

import argparse
import os
import statistics

from labkit import fairness, flood, goodput, moves
from labkit.base import Failed, Misused, say
from labkit.lab import Lab
from labkit.linux import LinuxServer


def main(arguments):
    """Measures what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ci/figures", description="Figures of the lab, beside the kernel's in the same run.")
    parser.add_argument("what", choices=sorted(FIGURES), nargs="+")
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured; medians are printed (5)")
    parser.add_argument("--seconds", type=float, default=15, help="how long each run lasts (15)")
    parser.add_argument("--loss", type=float, choices=goodput.LOSSES, help="goodput: with this share of packets lost alone")
    parser.add_argument("--delay", type=int, choices=goodput.DELAYS_MS, help="goodput: with this delay in ms alone")
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
            for cell in goodput.CELLS + goodput.LINK_CELLS:
                if options.loss not in (None, cell.loss) or options.delay not in (None, cell.delay_ms):
                    continue
                ours, theirs = goodput.compare(lab, linux, cell, options.seconds, options.runs)
                medians = (f"{statistics.median(side) / 1e6:.2f}" for side in (ours, theirs))
                yield [str(cell), *medians, f"{goodput.ratio(cell, ours, theirs):.2f}"]
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
    seconds = int(options.seconds)

    def rows():
        kinds = [("none", None), ("to nobody", flood.nobody(lab)), ("to the VIP", flood.front_end(lab))]
        for name, its in (("steady", flood.clients), ("as many as can", flood.crowd)):
            found = {where: [] for where, _ in kinds}
            for _ in range(options.runs):
                for where, mac in kinds:
                    found[where].append(flood.under_flood(lab, mac, its, seconds) if mac else (its(lab, seconds), 0))
            for where, runs in found.items():
                had, flooded = zip(*runs)
                yield [name, where, f"{statistics.median(flooded):,.0f}", f"{statistics.median(run.rate for run in had):,.0f}",
                       str(sum(run.failed for run in had)), f"{max(run.half_open for run in had):,}"]
    table(["clients", "flood", "SYN/s", "their requests/s", "failed", "half-open at the most"], rows())


def _moves(lab, options):
    count = 200 * options.runs
    moved, alone = (moves.Spread.of(seconds) for seconds in moves.gaps(lab, count))
    first, without = (moves.Spread.of(seconds) for seconds in moves.first_bytes(lab, count))
    relayed = moves.Spread.of(moves.first_bytes_through_relay(lab, count))
    moving, staying = moves.streams(lab, 100, options.runs)
    share = statistics.median(a / b for a, b in zip(moving, staying))
    rows = [["gap between two responses in the client's stream, median (99th percentile)", str(moved), str(alone)],
            ["time to the first byte of a single request", str(first), str(without)],
            ["the same through a relay (nginx)", "", str(relayed)],
            [f"goodput of a stream, {moves.STREAM_DELAY_MS} ms each way, Mbit/s", *(f"{statistics.median(its) / 1e6:.1f}"
                                                                                   for its in (moving, staying))],
            ["its share", f"{share:.3f}", "1"]]
    for text, pipelined, delay in (("of an idle connection", False, 0), ("with a window in flight", True, moves.STREAM_DELAY_MS)):
        sent, datagrams, its = moves.between_backends(lab, 50 * options.runs, pipelined, delay)
        rows.append([f"bytes between the back-ends, for a move {text}", f"{sent / its:,.0f} in {datagrams / its:.1f} datagrams", "0"])
    table(["", "with a move", "without"], rows)
    # For comparison: donors that wait until all is acknowledged.
    lab.down()
    lab.up(overrides=["serve.drain_before_moves=true"])
    drained, staying = moves.streams(lab, 100, options.runs)
    print(f"\nWith draining the stream has {statistics.median(a / b for a, b in zip(drained, staying)):.3f} of one back-end's goodput.")


FIGURES = {"goodput": _goodput, "fairness": _fairness, "flood": _flood, "moves": _moves}
