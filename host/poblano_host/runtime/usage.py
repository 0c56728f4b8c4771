"""Where the cycles of runs went: what each unit did in them, and what a phase is limited by."""

from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np

from poblano.isa.commands import raw_waits
from poblano.isa.topology import UnitKind

from .timeline import unit_slices

__all__ = ["REASONS", "PhaseUse", "UnitUse", "command_units", "phase_use", "unit_uses"]

REASONS = {
    UnitKind.DMA: ("memory has not answered, or local memories are busy", "memory or the bus takes no more"),
    UnitKind.STREAM: ("memory has not answered", "the weight FIFO is full: the matmul unit takes no more"),
    UnitKind.MATMUL: ("weights or activations have not come", "a local memory or the bus takes no more"),
    UnitKind.VECTOR: ("banks of vector memory are busy", "a local memory or the bus takes no more"),
}
"""Why a unit with a command in progress loses cycles: what its counters STALL_IN and STALL_OUT mean."""

LIMITING = 0.5
"""A part that takes so much of the time, or memory that moves so much of what it can, limits a phase."""


@dataclass(frozen=True)
class UnitUse:
    """Of a unit, as fractions of all cycles: a command was in progress and it was ``working``, it lost the
    cycle for want of ``input`` or because its ``output`` was not taken (:data:`REASONS`); or it had none,
    because the next waited for units of other kinds (``waiting``), or was not there yet (``idle``)."""

    unit: int
    working: float
    input: float
    output: float
    waiting: dict
    idle: float

    def as_json(self):
        return asdict(self) | {"waiting": {kind.value: share for kind, share in self.waiting.items()}}


@dataclass(frozen=True)
class PhaseUse:
    """All cycles of a phase in parts, as fractions, the average of the tiles: a MATMUL was in progress and
    the array at work (``arrays``), or it waited for ``weights`` or to write ``results``; else a VECTOR was
    (``vector``), else a transfer (``transfers``), else ``nothing``. Beside these ``memory`` and ``macs``: the
    fractions of the bytes and the multiply-accumulates that would have been possible."""

    phase: str
    arrays: float
    weights: float
    results: float
    vector: float
    transfers: float
    nothing: float
    memory: float
    macs: float

    @property
    def limit(self):
        """The part that limits the phase, why, and its share, as words and a fraction."""
        share = lambda value: f"{value:.0%}"
        if self.memory >= max(LIMITING, self.arrays):
            return "memory", f"it moves {share(self.memory)} of the bytes that it can", self.memory
        parts = {
            "the arrays": (self.arrays, "they work in {} of the cycles"),
            "memory's latency": (self.weights, "in {} of the cycles the arrays wait for weights"),
            "the writing of results": (self.results, "in {} of the cycles the arrays can't write theirs"),
            "the vector units": (self.vector, "in {} of the cycles they work and the arrays wait"),
            "transfers": (self.transfers, "in {} of the cycles data come or go, and nothing computes"),
            "dependencies": (self.nothing, "in {} of the cycles every command waits for another"),
        }
        name, (value, why) = max(parts.items(), key=lambda part: part[1][0])
        return name, why.format(share(value)), value

    def as_json(self):
        return asdict(self) | {"limit": self.limit[0]}

    @property
    def sentences(self):
        """What limits the phase, with figures, as a text for people."""
        name, why, value = self.limit
        mostly = "" if value >= LIMITING else "mostly "
        share = lambda value: f"{value:.1%}"
        parts = [
            f"{self.phase} is limited {mostly}by {name}: {why}. Of the cycles the",
            f"arrays work in {share(self.arrays)}, wait for weights in {share(self.weights)} and to write",
            f"results in {share(self.results)}; only vector units work in {share(self.vector)}, only",
            f"transfers are under way in {share(self.transfers)}, and every command waits in",
            f"{share(self.nothing)}. Memory moves {share(self.memory)} of what it can, and the arrays do",
            f"{share(self.macs)} of the multiply-accumulates that they can",
        ]
        if self.macs < self.arrays / 2:
            parts[-1] += ": they also work while weights enter them, which takes as long for one token as for"
            parts.append("many, and on rows and columns that are padding")
        return " ".join(parts) + "."


def command_units(program):
    """The unit of each command of a program."""
    return (program.words[:, 0] >> np.uint64(8) & np.uint64(0xFF)).astype(np.int64)


def phase_use(phase, runs, summary, config):
    """The :class:`PhaseUse` of the runs of a phase and their :class:`~.report.Summary`; None for runs without
    cycles or events."""
    cycles = sum(run.result.cycles for run in runs)
    if not cycles or not all(len(run.result.events) for run in runs):
        return None
    topology, parts = config.topology, np.zeros(6)
    for tile in range(config.tiles):
        kinds = (UnitKind.MATMUL, UnitKind.VECTOR, UnitKind.STREAM)
        matmul, vector, stream = (topology.unit(kind, tile) for kind in kinds)
        groups = [matmul], [vector], [stream, topology.unit(UnitKind.DMA)]
        times = sum(_exclusive(run, groups) for run in runs)
        busy, lost = sum(_counts(run, matmul) for run in runs), np.zeros(2)
        if busy[0]:
            lost = times[0] * busy[1:] / busy[0]
        parts += [times[0] - lost.sum(), *lost, *times[1:], 0]
    parts /= config.tiles * cycles
    parts[5] = 1 - parts.sum()
    arrays, weights, results, vector, transfers, nothing = parts.tolist()
    return PhaseUse(
        phase=phase,
        arrays=arrays,
        weights=weights,
        results=results,
        vector=vector,
        transfers=transfers,
        nothing=nothing,
        memory=summary.memory_utilisation,
        macs=summary.array_utilisation,
    )


def _counts(run, unit):
    """Cycles in progress, and of these those lost for input and for output. A cycle that is lost for both
    counts for input."""
    counters = run.result.counters[unit]
    busy, lacks = counters["BUSY"], min(counters["STALL_IN"], counters["BUSY"])
    return np.array([busy, lacks, min(counters["STALL_OUT"], busy - lacks)], float)


def _exclusive(run, groups):
    """Cycles in which a unit of each group had a command in progress and none of the groups before."""
    times = unit_slices(command_units(run.program), run.result.events)
    points = np.unique(np.concatenate([times["start"], times["end"], [0, run.result.cycles]]))
    left, result = np.ones(len(points) - 1, bool), []
    for units in groups:
        mine, steps = times[np.isin(times["unit"], units)], np.zeros(len(points), np.int64)
        np.add.at(steps, np.searchsorted(points, mine["start"]), 1)
        np.add.at(steps, np.searchsorted(points, mine["end"]), -1)
        covered = steps.cumsum()[:-1] > 0
        result.append((np.diff(points) * (covered & left)).sum())
        left &= ~covered
    return np.array(result, float)


def unit_uses(runs, config):
    """The :class:`UnitUse` of every unit over ``runs``; none for runs without cycles or events."""
    cycles = sum(run.result.cycles for run in runs)
    if not cycles or not all(len(run.result.events) for run in runs):
        return []
    waiting = [Counter() for _ in range(config.units)]
    for run in runs:
        _add_waiting(waiting, run, config)
    uses = []
    for unit in range(config.units):
        busy, lacks, holds = sum(_counts(run, unit) for run in runs)
        waits = {kind: count / cycles for kind, count in waiting[unit].most_common() if count}
        idle = max(0.0, 1 - busy / cycles - sum(waits.values()))
        uses.append(
            UnitUse(unit, (busy - lacks - holds) / cycles, lacks / cycles, holds / cycles, waits, idle)
        )
    return uses


def _add_waiting(waiting, run, config):
    """Add the cycles in which a unit's next command waited for units of each kind: for the last of its waits
    that came to hold."""
    words, units = run.program.words, command_units(run.program)
    times = unit_slices(units, run.result.events)
    ends = [times["end"][times["unit"] == unit] for unit in range(config.units)]
    for unit in range(config.units):
        mine = times[times["unit"] == unit]
        before = np.concatenate(([0], mine["end"][:-1]))
        for place in np.flatnonzero(mine["start"] > before).tolist():
            header = words[mine["command"][place]]
            found = raw_waits(int(header[0]) | int(header[1]) << 64)
            held = [(int(ends[u][n - 1]), u) for u, n in found if u < config.units and 0 < n <= len(ends[u])]
            last, other = max(held, default=(0, unit))
            start, begin = int(mine["start"][place]), int(before[place])
            if last > begin:
                waiting[unit][config.topology.kind_of(other)] += min(last, start) - begin
