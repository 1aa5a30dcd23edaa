"""The lab's figures in a short form: each beside the kernel's TCP in the same run. `ci/figures` prints the long form.

The bounds here are wider than what is asked of the stack, by what few and short runs vary, and by what other work on the machine costs a back-end
more than the kernel; with --full they are what is asked, where TCP decides.
"""

from labkit import fairness, goodput
from labkit.linux import LinuxServer
from labkit.runner import case, expect

# Short runs: where losses limit the rate, and are many enough to say something.
CELLS = [goodput.Cell(0.01, 10), goodput.Cell(0.03, 10)]
SECONDS, RUNS = 6, 1
SHARE_SHORT = 0.8
FAIR_SETTLE, FAIR_SECONDS = 4, 5
FAIR_SHORT = (0.5, 1.6)
FULL_SECONDS, FULL_RUNS = 12, 3


@case()
def goodput_beside_linux(lab, full):
    goodput.make_file(lab)
    cells = goodput.CELLS if full else CELLS
    seconds, runs = (FULL_SECONDS, FULL_RUNS) if full else (SECONDS, RUNS)
    with LinuxServer(lab) as linux:
        ratios = {cell: goodput.ratio(cell, *goodput.compare(lab, linux, cell, seconds, runs)) for cell in cells}
    note = ", ".join(f"{ratio:.2f} at {cell}" for cell, ratio in ratios.items())
    least = lambda cell: cell.least if full else SHARE_SHORT
    expect(all(ratio >= least(cell) for cell, ratio in ratios.items()), f"of Linux's goodput: {note}")
    return note


@case()
def fairness_beside_linux(lab, full):
    goodput.make_file(lab)
    low, high = fairness.FAIR if full else FAIR_SHORT
    settle, seconds, runs = (FULL_SECONDS, FULL_SECONDS, FULL_RUNS) if full else (FAIR_SETTLE, FAIR_SECONDS, 1)
    notes = []
    with LinuxServer(lab) as linux:
        be1, be2, kernel = fairness.flows(lab, linux)
        for first, second in ((be1, be2), (be1, kernel)):
            share, used = fairness.of_fair(fairness.shares(lab, first, second, settle, seconds, runs))
            notes.append(f"{share:.2f} of fair beside {second.name}, {used:.2f} of the bottleneck used")
            expect(low <= share <= high, f"{first.name} has {notes[-1]}")
            expect(used >= (0.8 if full else 0.6), f"the bottleneck is not used: {notes[-1]}")
    return "; ".join(notes)
