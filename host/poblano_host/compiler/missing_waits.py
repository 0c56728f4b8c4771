"""Waits that a program lacks: pairs of commands whose order changes the result and that nothing keeps."""

from dataclasses import dataclass

import numpy as np

from poblano.isa.commands import Opcode
from poblano.isa.regions import Access, Memory
from poblano.isa.topology import UnitKind
from poblano.isa.weight_stream import weight_bytes

from .dependencies import Dependencies
from .regions import regions

__all__ = ["MissingWait", "missing_waits", "unit_queues", "weights_brought", "weights_taken"]


@dataclass(frozen=True)
class MissingWait:
    """Command ``later`` has an effect on what command ``earlier`` does, both numbers of a program, and does
    not wait for it: ``wait`` is what it lacks, ``what`` says what they have in common."""

    earlier: int
    later: int
    wait: str
    what: str


class _Op:
    """A command as :class:`.dependencies.Dependencies` sees it, and its region of memory."""

    reads_memory = writes_memory = ()
    block = None

    def __init__(self, command, config):
        self.unit = command.unit
        operands = {f.name: command.operands.get(f.name, f.default) for f in command.opcode.definition.fields}
        self.reads, self.writes = regions(command.opcode, command.unit, operands, config)
        memory = command.opcode.definition.memory
        self.memory = memory and memory.span(command.values)
        self.stores = bool(memory) and memory.access is Access.WRITE


def unit_queues(commands, config):
    """The numbers of each unit's commands, in order."""
    units = range(config.units)
    return [[n for n, command in enumerate(commands) if command.unit == unit] for unit in units]


def weights_brought(command):
    """Bytes that a command puts into the weight FIFO."""
    return command.values.rows * command.values.row_bytes if command.opcode is Opcode.STREAM else 0


def weights_taken(command, config):
    """Bytes of weights that a command takes from the weight FIFO."""
    return weight_bytes(command.values, config) if command.opcode is Opcode.MATMUL else 0


def missing_waits(commands, config):
    """The :class:`MissingWait` s of a program: of :class:`~poblano.isa.commands.Command` s that ``config``'s
    chip executes. A program without has one result, in whatever order its units work."""
    ops = [_Op(command, config) for command in commands]
    known, places = _known(commands, config)
    dependencies, memory, found = Dependencies(config), _MemoryOrder(len(ops)), []
    for later, op in enumerate(ops):
        for earlier in sorted(dependencies.add(later, op) | memory.add(later, op)):
            unit = ops[earlier].unit
            if unit == op.unit or known[later][unit] > places[earlier]:
                continue
            if known[earlier][op.unit] > places[later]:
                continue  # the other way round, but in an order
            what = _what(ops[earlier], op)
            if what is not None:  # a dependency can be that of an earlier reader in the same unit alone
                wait = f"{config.topology.name(unit)}>={places[earlier] + 1}"
                found.append(MissingWait(earlier, later, wait, what))
    return found


def _known(commands, config):
    """For each command how many commands of each unit are complete when it is, as far as waits say, and its
    place in its unit. Commands whose waits never hold know nothing."""
    units = range(config.units)
    queues = unit_queues(commands, config)
    places = np.zeros(len(commands), np.int64)
    for queue in queues:
        places[queue] = np.arange(len(queue))
    known = np.zeros((len(commands), config.units), np.int64)
    streams = {
        unit: _Streams(commands, queues, unit, config) for unit in config.topology.units_of(UnitKind.MATMUL)
    }
    heads, moved = [0] * config.units, True
    while moved:
        moved = False
        for unit in units:
            while heads[unit] < len(queues[unit]):
                n = queues[unit][heads[unit]]
                waits = [(u, count) for u, count in commands[n].waits if 0 < count <= len(queues[u])]
                if any(heads[u] < count for u, count in waits):
                    break
                before = [queues[u][count - 1] for u, count in waits]
                if heads[unit]:
                    before.append(queues[unit][heads[unit] - 1])
                if unit in streams:
                    before += streams[unit].taken(n, heads)
                for other in before:
                    np.maximum(known[n], known[other], out=known[n])
                known[n][unit] = heads[unit] + 1
                heads[unit] += 1
                moved = True
    return known, places


class _Streams:
    """Which STREAMs have brought all that they bring when a matmul unit's command is complete: their weights
    are in it or in those before."""

    def __init__(self, commands, queues, unit, config):
        topology = config.topology
        self.unit = topology.unit(UnitKind.STREAM, topology.tile_of(unit))
        self.queue = queues[self.unit]
        self.ends = np.cumsum([weights_brought(commands[n]) for n in self.queue], dtype=np.int64)
        sizes = [weights_taken(commands[n], config) for n in queues[unit]]
        self.needs = dict(zip(queues[unit], np.cumsum(sizes, dtype=np.int64).tolist()))

    def taken(self, n, heads):
        count = int(np.searchsorted(self.ends, self.needs[n], side="right"))
        return self.queue[min(count, heads[self.unit]) - 1 :][:1] if min(count, heads[self.unit]) else []


class _MemoryOrder:
    """Which commands before it one has to follow for what they do in memory."""

    def __init__(self, count):
        self._spans = []
        self._numbers, self._first, self._end = (np.zeros(count, np.int64) for _ in range(3))
        self._stores = np.zeros(count, bool)

    def add(self, number, op):
        if op.memory is None:
            return set()
        n = len(self._spans)
        near = (self._first[:n] < op.memory.end) & (op.memory.base < self._end[:n])
        near &= self._stores[:n] | op.stores
        found = {int(self._numbers[k]) for k in np.flatnonzero(near) if _meet(self._spans[k], op.memory)}
        self._spans.append(op.memory)
        self._numbers[n], self._stores[n] = number, op.stores
        self._first[n], self._end[n] = op.memory.base, op.memory.end
        return found


def _meet(one, two):
    """Whether two spans have an address in common."""
    starts = [np.int64(span.base) + np.int64(span.stride) * np.arange(span.rows) for span in (one, two)]
    near = np.searchsorted(starts[1], starts[0] - two.extent, side="right")  # the first row that ends behind
    inside = near < len(starts[1])
    return bool((starts[1][near[inside]] < starts[0][inside] + one.extent).any())


def _what(earlier, later):
    """What two commands have in common; None if it is nothing."""
    for mine, theirs, words in (
        (later.reads, earlier.writes, "reads {}, which {{}} writes"),
        (later.writes, earlier.reads, "writes {}, which {{}} reads"),
        (later.writes, earlier.writes, "writes {}, which {{}} writes too"),
    ):
        for one in mine:
            for two in theirs:
                if one[:2] == two[:2] and _meet(one, two):
                    noun = "lines" if one.memory is Memory.VECTOR else "blocks"
                    first, end = _shared(one, two)
                    place = f"{noun} {first} to {end - 1} of tile {one.tile}'s {one.memory.value}"
                    return words.format(place)
    if not (earlier.memory and later.memory and (earlier.stores or later.stores)):
        return None
    if not _meet(earlier.memory, later.memory):
        return None
    verb = "writes" if later.stores else "reads"
    other = ("writes too" if later.stores else "writes") if earlier.stores else "reads"
    return f"{verb} memory from 0x{_shared(earlier.memory, later.memory)[0]:x} on, which {{}} {other}"


def _shared(one, two):
    """Where what two spans share begins and ends, their gaps included."""
    ends = (span.base + span.stride * (span.rows - 1) + span.extent for span in (one, two))
    return max(one.base, two.base), min(ends)
