"""A counterexample as a table: a line for each signal, a column for each cycle."""

import re

__all__ = ["Trace", "read_trace"]

UNNAMED = re.compile(r"\$|^(clk|rst|once_clk|formal_running)$")
"""Signals that nobody has named, and those that are the same in every trace."""
CHECK = "check_"


class Trace:
    """``signals``: the values in each cycle, integers, by the path of the signal; of the top without a dot.

    Cycle 0 is the reset.
    """

    def __init__(self, signals):
        self.signals = signals

    @property
    def failing(self):
        """The names of the checks that are 0, as in the source but for spaces, with the first such cycle."""
        return {
            path.removeprefix(CHECK): values.index(0)
            for path, values in sorted(self.signals.items())
            if path.startswith(CHECK) and 0 in values
        }

    def table(self, *, inside=True):
        """Text; without ``inside`` only signals of the harness, which has the inputs and the checks, of them
        those that change. A value is hexadecimal, and a dot where it is that of the cycle before."""
        failing, shown = self.failing, {}
        structs = {path.rpartition(".")[0] for path in self.signals} & set(self.signals)
        outside = lambda path: "." not in path or path.partition(".")[0] in structs
        for path, values in self.signals.items():
            if path in structs or path.startswith(CHECK) and path.removeprefix(CHECK) not in failing:
                continue
            if inside or outside(path) and len(set(values)) > 1:
                shown[path] = values
        most = max((len(values) for values in shown.values()), default=0)
        cells = {
            path: [f"{v:x}" if n == 0 or v != values[n - 1] else "." for n, v in enumerate(values)]
            for path, values in shown.items()
        }
        columns = [
            max(len(str(n)), *(len(row[n]) for row in cells.values() if n < len(row))) for n in range(most)
        ]
        width = max(map(len, shown), default=0)
        line = lambda name, row: f"{name:{width}}  " + " ".join(f"{c:>{w}}" for c, w in zip(row, columns))
        order = lambda path: (not path.startswith(CHECK), not outside(path), path.rpartition(".")[0], path)
        ordered = sorted(cells, key=order)
        head = line("cycle (0: the reset)"[:width], map(str, range(most)))
        return "\n".join([head, *(line(path, cells[path]) for path in ordered)])


def read_trace(path):
    """The :class:`Trace` of a VCD file that smtbmc wrote."""
    scopes, places, values, signals, begun = [], {}, {}, {}, False
    steps = 0
    for line in path.read_text().splitlines():
        if match := re.match(r"\$scope module (\S+) ", line):
            scopes.append(match[1].removeprefix("\\"))
        elif line.startswith("$upscope"):
            scopes.pop()
        elif match := re.match(r"\$var \S+ \d+ (\S+) (\S+)", line):
            name = ".".join([*scopes[1:], match[2].removeprefix("\\")])
            if scopes and not any(UNNAMED.search(part) for part in name.split(".")):
                places.setdefault(match[1], []).append(name)
        elif match := re.match(r"b([01x]+) (\S+)$", line):
            if match[2] == "t":
                _keep(signals, places, values, steps if begun else None)
                begun, steps = True, int(match[1], 2)
            values[match[2]] = int(match[1].replace("x", "0"), 2)
    _keep(signals, places, values, steps if begun else None)
    return Trace(signals)


def _keep(signals, places, values, step):
    """Adds the values of a step, which are all known now, to the signals."""
    if step is None:
        return
    for code, names in places.items():
        for name in names:
            row = signals.setdefault(name, [])
            row += [values.get(code, 0)] * (step + 1 - len(row))
