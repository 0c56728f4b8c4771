"""About how many cycles commands take: for the order of a program, never for its meaning."""

from poblano.config import BLOCK, LINE_BYTES, LINE_WORDS
from poblano.isa.commands import Opcode
from poblano.isa.vector_ops import Reduce, Select, Sink
from poblano.isa.weight_stream import Element

from .image import align

__all__ = ["Timing"]

DMA_FILL = 20
"""Cycles that a command takes beside those of its data."""


LIST_FILL = 7
"""Cycles from a row that a list names to the next one's command."""


class Timing:
    """Cycles of the commands of a chip, with its memory behind it and all tiles at work."""

    def __init__(self, config):
        self.config = config
        self.array, self.lanes = config.tile.array, config.tile.lanes
        self.scalers = config.tile.scalers
        self.bandwidth = float(config.memory.total_bandwidth)

    def of(self, opcode, o):
        """(cycles that the unit is kept, cycles until the effects can be seen) for operands ``o``."""
        if opcode is Opcode.MATMUL:
            return self._matmul(o)
        if opcode is Opcode.STREAM:
            cycles = int(o["rows"] * o["row_bytes"] * self.config.tiles / self.bandwidth)
            return cycles, cycles + self.config.memory.latency
        if opcode is Opcode.VECTOR:
            cycles = self._vector(o)
            return cycles, cycles
        if opcode in (Opcode.GATHER, Opcode.SCATTER):
            cycles = o["rows"] * (self._vector(o | dict(rows=1)) + LIST_FILL)
            return cycles, cycles
        if opcode is Opcode.ROUTE:
            cycles = o["rows"] * 2 * (o["experts"] + 4 * o["used"]) + o["experts"]
            return cycles, cycles
        if opcode is Opcode.EXPERT:
            return 1, 1
        memory = self.config.memory
        row = o.get("lines", 0) * LINE_BYTES // memory.data_bytes
        if opcode is not Opcode.LOAD:
            row = max(row, memory.latency // memory.outstanding_writes)
        cycles = o["rows"] * max(1, row) + DMA_FILL
        return cycles, cycles + memory.latency

    def _matmul(self, o):
        array, rows = self.array, o["rows"]
        narrow = Element(o.get("element", 0)).bits == 4
        passes = array.passes_4bit if narrow else array.passes
        steps = o["k_blocks"] // array.segments
        drain = rows * array.cols // self.scalers
        cycles = o["groups"] * steps * max(passes * max(rows, array.items), drain)
        return cycles, cycles + 11 * array.rows // 2 + drain

    def _vector(self, o):
        """From a completion to the next, as docs/architecture.md has it."""
        lanes, rows, group = self.lanes, o["rows"], max(1, self.lanes // LINE_WORDS)
        reduce, sink = o.get("reduce", Reduce.NONE), o.get("sink", Sink.NONE)
        selected = {o.get(f"sel{n}", Select.B) for n in (1, 2) if o.get(f"op{n}")}
        cycles = 5 + sum(4 if o.get(f"op{n}") else 1 for n in (1, 2)) + (11 if o.get("sfu") else 1)
        if Select.ROW in selected:
            cycles += 1 + (rows // group if Select.B in selected else 0)
        log_lanes = lanes.bit_length() - 1
        quantise = 16 + log_lanes // 2 + BLOCK // lanes if sink == Sink.QUANTISE else 0
        reduction = {
            Reduce.NONE: 0,
            Reduce.SUM: 24,
            Reduce.SUM_SQUARES: 27,
            Reduce.MAXIMUM: 1 + log_lanes,
            Reduce.ARGMAX: lanes + 3,
        }[reduce]
        cycles += max(quantise, reduction)
        if reduce in (Reduce.SUM, Reduce.SUM_SQUARES):
            rows = align(rows, group)
        if reduce and sink:
            cycles += rows // group
        return cycles + rows * o["blocks"] * BLOCK // lanes
