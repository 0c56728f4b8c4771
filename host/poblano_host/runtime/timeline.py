"""When each command ran: slices from the chip's trace, and a timeline for Chrome's and Perfetto's trace
viewers."""

import json
from pathlib import Path

import numpy as np

from poblano.isa.topology import LARGEST

from ..cache import keep

__all__ = ["SLICE", "slices", "trace_events", "unit_slices", "write_timeline"]

SLICE = np.dtype([("command", np.int64), ("unit", np.int64), ("start", np.int64), ("end", np.int64)])
"""Command number ``command`` of a program was in progress in ``unit`` from cycle ``start`` to before
``end``."""


def slices(commands, events):
    """The :data:`SLICE` of each command that has completed, by its place in the program.

    ``events`` is a run's array of starts and ends: those of a unit come in the order of its commands. A
    command that its unit began while it finished the one before starts where that one ends, so that a
    unit's slices do not overlap.
    """
    return unit_slices(np.array([command.unit for command in commands], np.int64), events)


def unit_slices(units, events):
    """As :func:`slices`, for the units of a program's commands."""
    found = []
    for unit in np.unique(units):
        places = np.nonzero(units == unit)[0]
        mine = events[events["unit"] == unit]
        starts, ends = (mine["cycle"][mine["done"] == done].astype(np.int64) for done in (0, 1))
        count = len(ends)
        part = np.zeros(count, SLICE)
        part["command"], part["unit"], part["end"] = places[:count], unit, ends + 1
        part["start"] = np.maximum(starts[:count], np.concatenate(([0], ends[:-1] + 1))[:count])
        found.append(part)
    return np.sort(np.concatenate(found), order="command") if found else np.zeros(0, SLICE)


def trace_events(runs):
    """Trace events of ``runs``, a list of (name, commands, events, cycles), one after the other; a cycle is
    a microsecond."""
    result, named, at = [], set(), 0
    for name, commands, events, cycles in runs:
        result.append(dict(name=name, ph="X", pid=0, tid=0, ts=at, dur=cycles, args=dict(cycles=cycles)))
        for command, unit, start, end in slices(commands, events).tolist():
            named.add(unit)
            result.append(
                dict(
                    name=commands[command].label or commands[command].opcode.name,
                    ph="X",
                    pid=0,
                    tid=unit + 1,
                    ts=at + start,
                    dur=end - start,
                    cat=commands[command].opcode.name,
                    args=dict(command=command, cycles=end - start),
                )
            )
        at += cycles
    thread = lambda tid, name: [
        dict(name="thread_name", ph="M", pid=0, tid=tid, args=dict(name=name)),
        dict(name="thread_sort_index", ph="M", pid=0, tid=tid, args=dict(sort_index=tid)),
    ]
    names = [
        dict(name="process_name", ph="M", pid=0, args=dict(name="poblano: 1 us is 1 cycle")),
        *thread(0, "program"),
    ]
    for unit in sorted(named):
        names += thread(unit + 1, LARGEST.name(unit))
    return names + result


def write_timeline(path, runs):
    """Write ``runs`` (see :func:`trace_events`) as Chrome trace JSON."""
    events = ",\n".join(json.dumps(event, separators=(",", ":")) for event in trace_events(runs))
    keep(Path(path), f'{{"displayTimeUnit": "ns", "traceEvents": [\n{events}\n]}}\n'.encode())
