"""About how many cycles commands take: for the order of a program, never for its meaning."""

from poblano.config import BLOCK, LINE_BYTES
from poblano.isa.commands import Opcode
from poblano.isa.vector_ops import Sink
from poblano.isa.weight_stream import Element

__all__ = ["Timing"]

DMA_FILL, MATMUL_FILL = 20, 40
VECTOR_FILL, REDUCE_FILL, QUANTISE_FILL = 30, 50, 55
"""Cycles that a command takes beside those of its data; of vector commands with a reduction, with a
quantised sink."""


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
            fill = (
                QUANTISE_FILL
                if o.get("sink") == Sink.QUANTISE
                else REDUCE_FILL
                if o.get("reduce")
                else VECTOR_FILL
            )
            cycles = o["rows"] * o["blocks"] * BLOCK // self.lanes + fill
            return cycles, cycles
        beat = self.config.memory.data_bytes
        row = {Opcode.STORE_BLOCK: 1, Opcode.STORE_SCALE: 1}.get(opcode) or o["lines"] * LINE_BYTES // beat
        cycles = o["rows"] * max(1, row) + DMA_FILL
        return cycles, cycles + self.config.memory.latency

    def _matmul(self, o):
        array, rows = self.array, o["rows"]
        narrow = Element(o.get("element", 0)).bits == 4
        passes = array.passes_4bit if narrow else array.passes
        steps = o["k_blocks"] // array.segments
        drain = rows * array.cols // self.scalers
        cycles = o["groups"] * steps * max(passes * max(rows, array.items), drain)
        return cycles, cycles + 2 * array.rows + array.cols + drain + MATMUL_FILL
