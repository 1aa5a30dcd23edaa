"""A node's metrics as numbers."""

import re

LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="([^"]*)"')


def read(text):
    """Name and labels to value: `{("baton_drops_total", (("reason", "truncated"),)): 3.0}`."""
    numbers = {}
    for line in text.splitlines():
        if not line.startswith("#") and (found := LINE.fullmatch(line)):
            name, labels, value = found.groups()
            numbers[name, tuple(LABEL.findall(labels or ""))] = float(value)
    return numbers


def total(numbers, name, **labels):
    """The sum over all rows of a metric that have these labels."""
    wanted = set(labels.items())
    return sum(value for (row, its), value in numbers.items() if row == name and wanted <= set(its))


class Watch:
    """How metrics of some nodes change while something is done."""

    def __init__(self, lab, nodes):
        self.lab = lab
        self.before = {node: read(lab.metrics(node)) for node in nodes}

    def grown(self, node, name, **labels):
        """By how much a counter has grown since."""
        return total(read(self.lab.metrics(node)), name, **labels) - total(self.before[node], name, **labels)
