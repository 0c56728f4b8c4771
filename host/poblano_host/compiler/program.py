"""Programs: commands with their waits, computed from what each command reads and writes."""

from dataclasses import dataclass, field

import numpy as np

from poblano.isa.commands import WAITS, Command, Opcode
from poblano.isa.regions import Access, Memory, Place
from poblano.isa.topology import UnitKind
from poblano.isa.vector_ops import NO_LIMIT

__all__ = ["LayerWork", "Program", "ProgramBuilder", "Region"]


@dataclass(frozen=True)
class LayerWork:
    """The least work of a layer: useful multiply-accumulates, bytes of weights and other bytes from
    memory."""

    name: str
    macs: int
    weight_bytes: int
    other_bytes: int = 0


@dataclass
class Program:
    """Commands for one run of the chip, what to write before and what to read after.

    ``inputs`` is a list of (address, bytes); ``logits`` is (address, rows) or None; ``best`` lists the
    addresses of each tile's argmax (value, index) or is empty; ``result`` is (address, shape) of a matmul
    job's product, else None.
    """

    commands: list
    inputs: list = field(default_factory=list)
    logits: tuple | None = None
    best: list = field(default_factory=list)
    result: tuple | None = None
    work: list = field(default_factory=list)

    def encode(self):
        return b"".join(command.encode() for command in self.commands)


@dataclass(frozen=True)
class Region:
    """Units ``index`` (an array or slice) of the memory ``key``, for dependencies."""

    key: tuple
    index: object


def mask(tiles):
    """The mask of tiles, as of a command's field."""
    return sum(1 << tile for tile in tiles)


def _places(span):
    """The units of a :class:`~poblano.isa.regions.Span`, as an index."""
    base, stride, rows, extent = span
    if rows == 1 or stride in (0, extent):
        return slice(base, base + (rows - 1) * stride + extent)
    return (base + stride * np.arange(rows)[:, None] + np.arange(extent)).ravel()


class ProgramBuilder:
    """Emits commands, works out their waits and moves weight streams ahead.

    A command waits for the last writers of what it reads, and for the last writers and readers of what it
    writes.
    """

    def __init__(self, config):
        self.config = config
        self.commands = []
        self.work = []
        self._units = config.units
        self._issued = np.zeros(self._units, np.int64)
        self._history = [[np.zeros(self._units, np.int64)] for _ in range(self._units)]
        self._place = [[] for _ in range(self._units)]  # program position of each unit's commands
        self._memories = {}
        self._sizes = {memory.name: memory.size(config) for memory in Memory}
        self._streams = [[] for _ in range(config.tiles)]  # [position of STREAM, position of its last MATMUL]

    @staticmethod
    def memory(*name):
        """A named part of memory, as a whole."""
        return Region(("memory", *name), slice(0, 1))

    def _counts(self, region):
        if region.key not in self._memories:
            size = self._sizes.get(region.key[0], 1)
            self._memories[region.key] = np.zeros((2, self._units, size), np.int32)  # last write, last read
        return self._memories[region.key]

    def _waits(self, unit, reads, writes):
        """The counts that each unit must have reached, without those that follow from others."""
        needed = np.zeros(self._units, np.int64)
        for region in reads:
            np.maximum(needed, self._counts(region)[0][:, region.index].max(1), out=needed)
        for region in writes:
            np.maximum(needed, self._counts(region)[:, :, region.index].max((0, 2)), out=needed)
        known = self._history[unit][-1]
        wanted = [v for v in np.nonzero(needed > known)[0] if v != unit]
        kept = [
            v
            for v in wanted
            if not any(w != v and self._history[w][needed[w]][v] >= needed[v] for w in wanted)
        ]
        clock = known.copy()
        for v in kept:
            np.maximum(clock, self._history[v][needed[v]], out=clock)
        return [(int(v), int(needed[v])) for v in kept], clock

    def _regions(self, command):
        """The regions of local memories that a command reads, and those that it writes."""
        o, reads, writes = command.values, [], []
        for region in command.opcode.definition.local:
            if region.used(o, self.config):
                places = _places(region.span(o, self.config))
                if region.place is Place.TILES:
                    tiles = [t for t in range(self.config.tiles) if o.tiles >> t & 1]
                else:
                    own = region.place is Place.OWN
                    tiles = [self.config.topology.tile_of(command.unit) if own else o.tile]
                target = reads if region.access is Access.READ else writes
                target += [Region((region.memory.name, tile), places) for tile in tiles]
        return reads, writes

    def emit(self, opcode, kind, operands, *, tile=0, reads=(), writes=(), label=""):
        """Append a command for a unit of ``kind``, of ``tile``; its place among the commands.

        What it reads and writes in local memories follows from its operands; ``reads`` and ``writes`` are
        the named parts of memory (:meth:`memory`). NOPs before it carry the waits that it has no room for.
        """
        unit = self.config.topology.unit(kind, tile)
        local_reads, local_writes = self._regions(Command(opcode, unit, operands))
        reads, writes = [*reads, *local_reads], [*writes, *local_writes]
        waits, clock = self._waits(unit, reads, writes)
        while len(waits) > WAITS:
            self._append(Command(Opcode.NOP, unit, {}, tuple(waits[:WAITS]), "wait"), clock)
            waits = waits[WAITS:]
        self._append(Command(opcode, unit, operands, tuple(waits), label), clock)
        count = self._issued[unit]
        for regions, which in ((reads, 1), (writes, 0)):
            for region in regions:
                self._counts(region)[which, unit, region.index] = count
        return len(self.commands) - 1

    def _append(self, command, clock):
        unit = command.unit
        self._issued[unit] += 1
        clock = clock.copy()
        clock[unit] = self._issued[unit]
        self._history[unit].append(clock)
        self._place[unit].append(len(self.commands))
        self.commands.append(command)

    # Commands of the units

    def load(self, tiles, addr, stride, dst, dst_stride, rows, lines, *, reads, label=""):
        self.emit(
            Opcode.LOAD,
            UnitKind.DMA,
            dict(
                mem_addr=addr,
                mem_stride=stride,
                dst=dst,
                dst_stride=dst_stride,
                rows=rows,
                lines=lines,
                tiles=mask(tiles),
            ),
            reads=reads,
            label=label,
        )

    def _store(self, opcode, tile, src, src_stride, rows, addr, stride, writes, label, **others):
        operands = dict(
            mem_addr=addr, mem_stride=stride, src=src, src_stride=src_stride, rows=rows, tile=tile
        )
        self.emit(opcode, UnitKind.DMA, operands | others, writes=writes, label=label)

    def store(self, tile, src, src_stride, rows, lines, addr, stride, *, writes, label=""):
        self._store(Opcode.STORE, tile, src, src_stride, rows, addr, stride, writes, label, lines=lines)

    def store_block(self, tile, src, src_stride, rows, offset, length, addr, stride, *, writes, label=""):
        others = dict(offset=offset, length=length)
        self._store(Opcode.STORE_BLOCK, tile, src, src_stride, rows, addr, stride, writes, label, **others)

    def store_scale(self, tile, src, src_stride, rows, addr, stride, *, writes, label=""):
        self._store(Opcode.STORE_SCALE, tile, src, src_stride, rows, addr, stride, writes, label)

    def stream(self, tile, addr, row_bytes, *, rows=1, stride=0, reads=(), label=""):
        operands = dict(mem_addr=addr, mem_stride=stride, row_bytes=row_bytes, rows=rows)
        place = self.emit(Opcode.STREAM, UnitKind.STREAM, operands, tile=tile, reads=reads, label=label)
        self._streams[tile].append([place, place])

    def matmul(self, tile, tiles, *, label="", **operands):
        operands |= dict(tiles=mask(tiles))
        place = self.emit(Opcode.MATMUL, UnitKind.MATMUL, operands, tile=tile, label=label)
        self._streams[tile][-1][1] = place

    def vector(self, tile, tiles=None, *, label="", **operands):
        defaults = dict(rows=1, limit=NO_LIMIT, tiles=mask([tile] if tiles is None else tiles))
        self.emit(Opcode.VECTOR, UnitKind.VECTOR, defaults | operands, tile=tile, label=label)

    def build(self, **attributes):
        """The program, with each weight stream moved ahead as far as its waits and the queues allow."""
        return Program(self._hoisted(), work=self.work, **attributes)

    def _hoisted(self):
        """Streams move ahead of commands that they do not depend on, so that weights arrive while others
        work.

        Dispatch is in order and a queue holds ``queue_depth`` commands: a stream must stay behind the
        matmuls that drain the stream ``queue_depth`` before it, or dispatch would block on a full queue for
        ever.
        """
        depth = self.config.queue_depth
        before = {}  # program position -> positions of the streams that move before it
        for streams in self._streams:
            last = 0
            for k, (place, _) in enumerate(streams):
                earliest = last
                if k >= depth:
                    earliest = max(earliest, streams[k - depth][1] + 1)
                for unit, count in self.commands[place].waits:
                    earliest = max(earliest, self._place[unit][count - 1] + 1)
                previous = self._place[self.commands[place].unit]
                at = previous.index(place) if len(previous) < 64 else int(np.searchsorted(previous, place))
                if at and self.commands[previous[at - 1]].opcode is Opcode.NOP:
                    earliest = place  # its NOPs stay before it
                before.setdefault(min(earliest, place), []).append(place)
                last = min(earliest, place)
        moved = {place for places in before.values() for place in places}
        order = []
        for position, command in enumerate(self.commands):
            order += [self.commands[place] for place in before.get(position, ())]
            if position not in moved:
                order.append(command)
        return order
