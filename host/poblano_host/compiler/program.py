"""Programs: commands with their waits, computed from what each command reads and writes."""

from dataclasses import dataclass, field

import numpy as np

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.commands import WAITS, Command, Opcode, UnitKind, unit_index

__all__ = ["LayerWork", "Program", "ProgramBuilder", "Region", "rows_region"]


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


def rows_region(key, base, stride, rows, extent):
    """``rows`` rows of ``extent`` units, ``stride`` apart."""
    if rows == 1 or stride == extent:
        return Region(key, slice(base, base + (rows - 1) * stride + extent))
    return Region(key, (base + stride * np.arange(rows)[:, None] + np.arange(extent)).ravel())


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
        self._streams = [[] for _ in range(config.tiles)]  # [position of STREAM, position of its last MATMUL]
        tile = config.tile
        self._sizes = {"vmem": tile.vmem_lines, "amem": tile.amem_blocks}

    def vmem(self, tile, base, stride, rows, lines):
        """Lines of a tile's vector memory."""
        return rows_region(("vmem", tile), base, stride, rows, lines)

    def amem(self, tile, base, stride, rows, blocks):
        """Blocks of a tile's activation memory."""
        return rows_region(("amem", tile), base, stride, rows, blocks)

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

    def emit(self, opcode, unit, operands, *, reads=(), writes=(), label=""):
        """Append a command; NOPs before it carry the waits that it has no room for."""
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
            unit_index(UnitKind.DMA),
            dict(
                mem_addr=addr,
                mem_stride=stride,
                dst=dst,
                dst_stride=dst_stride,
                rows=rows,
                lines=lines,
                tiles=sum(1 << t for t in tiles),
            ),
            reads=reads,
            writes=[self.vmem(t, dst, dst_stride, rows, lines) for t in tiles],
            label=label,
        )

    def store(self, tile, src, src_stride, rows, lines, addr, stride, *, writes, label=""):
        self.emit(
            Opcode.STORE,
            unit_index(UnitKind.DMA),
            dict(
                mem_addr=addr,
                mem_stride=stride,
                src=src,
                src_stride=src_stride,
                rows=rows,
                lines=lines,
                tile=tile,
            ),
            reads=[self.vmem(tile, src, src_stride, rows, lines)],
            writes=writes,
            label=label,
        )

    def store_block(self, tile, src, src_stride, rows, offset, length, addr, stride, *, writes, label=""):
        self.emit(
            Opcode.STORE_BLOCK,
            unit_index(UnitKind.DMA),
            dict(
                mem_addr=addr,
                mem_stride=stride,
                src=src,
                src_stride=src_stride,
                rows=rows,
                offset=offset,
                length=length,
                tile=tile,
            ),
            reads=[self.amem(tile, src, src_stride, rows, 1)],
            writes=writes,
            label=label,
        )

    def store_scale(self, tile, src, src_stride, rows, addr, stride, *, writes, label=""):
        self.emit(
            Opcode.STORE_SCALE,
            unit_index(UnitKind.DMA),
            dict(mem_addr=addr, mem_stride=stride, src=src, src_stride=src_stride, rows=rows, tile=tile),
            reads=[self.amem(tile, src, src_stride, rows, 1)],
            writes=writes,
            label=label,
        )

    def stream(self, tile, addr, row_bytes, *, rows=1, stride=0, reads=(), label=""):
        place = self.emit(
            Opcode.STREAM,
            unit_index(UnitKind.STREAM, tile),
            dict(mem_addr=addr, mem_stride=stride, row_bytes=row_bytes, rows=rows),
            reads=reads,
            label=label,
        )
        self._streams[tile].append([place, place])

    def matmul(
        self,
        tile,
        tiles,
        *,
        a,
        a_stride,
        rows,
        k_blocks,
        groups,
        dst,
        dst_stride,
        element=0,
        scale=0,
        minimum=0,
        transpose=0,
        activation=0,
        label="",
    ):
        lines = -(-groups * self.config.tile.array.cols // LINE_WORDS)
        place = self.emit(
            Opcode.MATMUL,
            unit_index(UnitKind.MATMUL, tile),
            dict(
                a=a,
                a_stride=a_stride,
                rows=rows,
                k_blocks=k_blocks,
                groups=groups,
                dst=dst,
                dst_stride=dst_stride,
                element=element,
                scale=scale,
                minimum=minimum,
                transpose=transpose,
                activation=activation,
                tiles=sum(1 << t for t in tiles),
            ),
            reads=[self.amem(tile, a, a_stride, rows, k_blocks)],
            writes=[self.vmem(t, dst, dst_stride, rows, lines) for t in tiles],
            label=label,
        )
        self._streams[tile][-1][1] = place

    def vector(self, tile, tiles=None, *, rows=1, blocks, label="", **operands):
        tiles = [tile] if tiles is None else tiles
        o = dict(rows=rows, blocks=blocks, share=1, limit=0xFFFF, tiles=sum(1 << t for t in tiles)) | operands
        get = lambda name: o.get(name, 0)
        lines = blocks * BLOCK // LINE_WORDS
        scalars = -(-rows // LINE_WORDS)
        reads = [self.vmem(tile, get("a"), get("a_stride"), rows, lines)]
        selected = {get(f"sel{n}") for n in (1, 2) if get(f"op{n}")}
        if 0 in selected:
            b_rows = -(-rows // o["share"]) if get("b_stride") else 1
            reads.append(self.vmem(tile, get("b"), get("b_stride"), b_rows, lines))
        if 1 in selected:
            reads.append(self.vmem(tile, get("c"), 0, 1, scalars))
        writes = []
        for t in tiles:
            if get("sink") == 1:
                writes.append(self.vmem(t, get("dst"), get("dst_stride"), rows, lines))
            elif get("sink") == 2:
                writes.append(self.amem(t, get("dst"), get("dst_stride"), rows, blocks))
            if get("reduce"):
                writes.append(self.vmem(t, get("r"), 0, 1, 1 if get("reduce") == 3 else scalars))
        self.emit(
            Opcode.VECTOR, unit_index(UnitKind.VECTOR, tile), o, reads=reads, writes=writes, label=label
        )

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
