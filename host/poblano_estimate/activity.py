"""What commands do, as counts: of them energy is the sum."""

from dataclasses import dataclass, fields

from poblano.config import BLOCK, LINE_BYTES
from poblano.isa.commands import COMMAND_BYTES, Opcode
from poblano.isa.vector_ops import Reduce, SfuOp, Sink
from poblano.memory.store import WORD_BYTES

from .experts import BY_LIST

__all__ = ["Activity", "Counter"]


@dataclass(frozen=True)
class Activity:
    """Counts of a program's commands, all tiles together; sums and multiples of them are ones too.

    commands : that are fetched, checked and started
    stream_bytes : of weights, keys and values that enter weight FIFOs
    load_bytes, store_bytes : that the DMA engine reads from memory and writes to it
    macs : multiply-accumulates of processing elements, those with padding too
    weight_tiles : that enter arrays
    activation_blocks : blocks of 32 that arrays read from activation memory
    sums : results of arrays that accumulators scale and add, one for each block of K
    results : FP32 numbers that matmul units write
    vector_elements : FP32 numbers that pass vector lanes
    special_functions, quantised, reduced : of these, those with a special function, to blocks, into sums or
        maxima
    matmul_cycles, vector_cycles : cycles of work of the units, the sum of all tiles
    dma_cycles : cycles in which the DMA engine moves a beat
    """

    commands: int = 0
    stream_bytes: int = 0
    load_bytes: int = 0
    store_bytes: int = 0
    macs: int = 0
    weight_tiles: int = 0
    activation_blocks: int = 0
    sums: int = 0
    results: int = 0
    vector_elements: int = 0
    special_functions: int = 0
    quantised: int = 0
    reduced: int = 0
    matmul_cycles: float = 0
    vector_cycles: float = 0
    dma_cycles: float = 0

    @property
    def bytes_read(self):
        """From memory."""
        return self.stream_bytes + self.load_bytes + COMMAND_BYTES * self.commands

    def __add__(self, other):
        return Activity(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, count):
        return Activity(*(count * getattr(self, f.name) for f in fields(self)))

    def as_json(self):
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Counter:
    """Counts the commands of a chip of ``config``, with its units' ``products`` and ``vectors`` (their
    times)."""

    def __init__(self, config, products, vectors):
        self._config, self._products, self._vectors = config, products, vectors

    def count(self, commands):
        """The :class:`Activity` of some commands."""
        totals = dict.fromkeys((field.name for field in fields(Activity)), 0)
        for o in commands:
            totals["commands"] += 1
            for name, value in self._of(o).items():
                totals[name] += value
        return Activity(**totals)

    def _of(self, o):
        if o.opcode == Opcode.STREAM:
            return {"stream_bytes": o.rows * o.row_bytes}
        if o.opcode == Opcode.MATMUL:
            return self._product(o)
        if o.opcode in (Opcode.VECTOR, *BY_LIST):
            return self._vector(o)
        if o.opcode in (Opcode.ROUTE, Opcode.CLEAR):
            return {"vector_cycles": self._vectors.of(o)}
        beat = self._config.memory.data_bytes
        if o.opcode == Opcode.LOAD:
            size = o.rows * o.lines * LINE_BYTES
            return {"load_bytes": size, "dma_cycles": size / beat}
        row = {Opcode.STORE: lambda: o.lines * LINE_BYTES, Opcode.STORE_BLOCK: lambda: o.length}
        if o.opcode in (*row, Opcode.STORE_SCALE, Opcode.STORE_WORD):
            size = row.get(o.opcode, lambda: WORD_BYTES)()
            return {"store_bytes": o.rows * size, "dma_cycles": o.rows * max(1, size / beat)}
        return {}

    def _product(self, o):
        array, course = self._config.tile.array, self._products.of(o)
        blocks = o.groups * o.k_blocks * o.rows
        return {
            "macs": blocks * BLOCK * array.cols,
            "weight_tiles": course.passes,
            "activation_blocks": blocks,
            "sums": blocks * array.cols,
            "results": o.groups * o.rows * array.cols,
            "matmul_cycles": course.passes * course.pace,
        }

    def _vector(self, o):
        elements = o.rows * o.blocks * BLOCK
        return {
            "vector_elements": elements,
            "special_functions": elements * (o.sfu != SfuOp.PASS),
            "quantised": elements * (o.sink == Sink.QUANTISE),
            "reduced": elements * (o.opcode == Opcode.VECTOR and o.reduce != Reduce.NONE),
            "vector_cycles": self._vectors.of(o),
        }
