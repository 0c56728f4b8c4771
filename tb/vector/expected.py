"""What a VECTOR command reads and writes, and in which order: the specification's side of the bench."""

from collections import deque

import numpy as np

from poblano.config import BLOCK, LINE_WORDS
from poblano.formats.element import Activation
from poblano.interfaces import MetaLayout
from poblano.isa.vector_ops import Reduce
from poblano.vector import reference
from tb.vector.contents import CONFIG, GROUP, LANES

__all__ = ["Expected"]

META = MetaLayout(CONFIG.tile.local.sum_width)
META_BYTES = -(-META.size // 8)


class Expected:
    """``reads`` of ports a and b (rows of vector memory; those of b in any order, of row scalars one for each
    group of rows), ``elements`` (space,
    address, bytes) and ``results`` (word of vector memory, bytes) of a command's operands ``o`` on
    ``vmem``; ``best`` is the last argmax before it, and after it."""

    def __init__(self, o, vmem, best):
        self.o, self.best = o, best
        self.elements, self.results = deque(), deque()
        self.reads = {"a": deque(), "b": deque()}
        if not (o["sink"] or o["reduce"]):
            return
        self._reads()
        x = reference.operands(o, vmem)
        if o["sink"] == 1:
            self._rows(x)
        elif o["sink"] == 2:
            self._blocks(x)
        self._reduction(x)

    @property
    def complete(self):
        return not self.elements and not self.results and not any(self.reads.values())

    def order(self):
        """(row, block) in the order in which the unit walks: row after row, or block after block of a group
        of rows."""
        rows, blocks = self.o["rows"], self.o["blocks"]
        together = self.o["reduce"] in (Reduce.SUM, Reduce.SUM_SQUARES)
        group = GROUP if together else 1
        return [
            (row, block)
            for first in range(0, rows, group)
            for block in range(blocks)
            for row in range(first, min(first + group, rows))
        ]

    def _words(self, name, row, block):
        """The rows of vector memory that hold a block of an operand."""
        o = self.o
        first = (LINE_WORDS * (o[name] + row * o[f"{name}_stride"]) + BLOCK * block) // LANES
        return range(first, first + BLOCK // LANES)

    def _reads(self):
        o = self.o
        uses = {(o["sel1"] if o["op1"] else None), (o["sel2"] if o["op2"] else None)}
        self.reads["a"].extend(k for row, block in self.order() for k in self._words("a", row, block))
        if 0 in uses:
            for row, block in self.order():
                self.reads["b"].extend(self._words("b", row // o["share"], block))
        if 1 in uses:
            self.reads["b"].extend((LINE_WORDS * o["c"] + r) // LANES for r in range(0, o["rows"], GROUP))

    def _rows(self, x):
        for row, block in self.order():
            words = x[row, BLOCK * block : BLOCK * (block + 1)].reshape(-1, LANES)
            self.elements.extend(
                (0, at, data.tobytes()) for at, data in zip(self._words("dst", row, block), words)
            )

    def _blocks(self, x):
        o, field = self.o, META["sum"]
        q, scale, total = reference.quantise(x, Activation(o["activation"]))
        for row, block in self.order():
            meta = int(scale[row, block].view(np.uint32))
            meta |= (int(total[row, block]) & (1 << field.width) - 1) << field.offset
            data = q[row, BLOCK * block : BLOCK * (block + 1)].tobytes()
            step = o["dst_step"] or o["dst_stride"]
            turns = row // o["share"] if o["dst_step"] else row
            at = o["dst"] + turns * o["dst_stride"] + (row - turns) * step + block
            self.elements.append((1, at, data + meta.to_bytes(META_BYTES, "little")))

    def _reduction(self, x):
        o = self.o
        if o["reduce"] == Reduce.ARGMAX:
            before = reference.ARGMAX_START if o["first"] else self.best
            self.best = reference.argmax(x, o["index"], before)
            values = [np.float32(self.best[0]), np.uint32(self.best[1]).view(np.float32)]
        elif o["reduce"]:
            values = reference.reduce_rows(o["reduce"], x)
        else:
            values = []
        self.results.extend((LINE_WORDS * o["r"] + r, value.tobytes()) for r, value in enumerate(values))
