"""About how many cycles commands take: for the order of a program, never for its meaning."""

from poblano.config import BLOCK, LINE_BYTES, LINE_WORDS
from poblano.isa.commands import Opcode
from poblano.isa.vector_ops import Sink
from poblano.isa.weight_stream import Element

__all__ = ["Timing"]

DMA_FILL = 20
VECTOR_FILL, QUANTISE_FILL = 14, 32
"""Cycles that a command takes beside those of its data; of vector commands with a quantised sink."""


class Timing:
    """Cycles of the commands of a chip, with its memory behind it and all tiles at work."""

    def __init__(self, config):
        self.config = config
        self.array, self.lanes = config.tile.array, config.tile.lanes
        self.scalers = config.tile.scalers
        self.bandwidth = float(config.memory.bandwidth)

    def of(self, opcode, o):
        """(cycles that the unit is kept, cycles until the effects can be seen) for operands ``o``."""
        if opcode is Opcode.MATMUL:
            return self._matmul(o)
        if opcode is Opcode.STREAM:
            cycles = int(o["rows"] * o["row_bytes"] * self.config.tiles / self.bandwidth)
            return cycles, cycles + self.config.memory.latency
        if opcode is Opcode.VECTOR:
            cycles = o["rows"] * o["blocks"] * BLOCK // self.lanes
            cycles += QUANTISE_FILL if o.get("sink") == Sink.QUANTISE else VECTOR_FILL
            if o.get("reduce") and o.get("sink"):
                # The results of a group of rows take the place of a write.
                cycles += o["rows"] // max(1, self.lanes // LINE_WORDS)
            return cycles, cycles
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
