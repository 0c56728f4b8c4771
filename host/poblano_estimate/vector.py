"""The vector unit: how long its commands take."""

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.vector_ops import AluOp, Reduce, Select, Sink
from poblano.memory.local import LocalMemories
from poblano.vector.lane import VectorLane
from poblano.vector.quantiser import Quantiser
from poblano.vector.reducer import Reducer
from poblano.vector.walk import row_group

__all__ = ["VectorTimes"]

TURN = 4
"""Cycles beside the memory's, the lanes', and the longer of the quantiser's and the reduction's."""
ADDED = Reduce.SUM, Reduce.SUM_SQUARES


class VectorTimes:
    """Of the commands of a tile's vector unit."""

    def __init__(self, tile):
        self.lanes, self.group = tile.lanes, row_group(tile.lanes)
        self.quantise = Quantiser(tile.lanes, tile.array.arithmetic).latency
        self._reducer, self._known, self._banks = Reducer(tile.lanes), {}, tile.vmem_banks

    def of(self, o):
        """Cycles from a command's transfer to its completion."""
        apart = (o.a - o.b) * LINE_WORDS // self.lanes % self._banks
        key = o.sfu, o.op1, o.op2, o.sel1, o.sel2, o.reduce, o.sink, o.rows, o.blocks, apart
        if key not in self._known:
            self._known[key] = self._cycles(o, apart)
        return self._known[key]

    def _cycles(self, o, apart):
        rows, group = o.rows, self.group
        cycles = TURN + LocalMemories.LATENCY + VectorLane.latency(o.op1, o.sfu, o.op2)
        selected = {sel for op, sel in ((o.op1, o.sel1), (o.op2, o.sel2)) if op != AluOp.PASS}
        if Select.ROW in selected:
            cycles += 1 + (-(-rows // group) if Select.B in selected else 0)
        cycles += Select.B in selected and not apart  # both operands begin in one bank
        quantise = self.quantise if o.sink == Sink.QUANTISE else 0
        reduction = self._reduction(o.reduce)
        together = group if o.reduce in ADDED else 1
        groups = -(-rows // together)
        beats = together * o.blocks * BLOCK // self.lanes  # of a group
        if o.reduce != Reduce.NONE and o.sink != Sink.NONE:
            # Results that come before the last elements take turns with them.
            cycles += max(0, (groups * beats - reduction - 1) // beats)
        return cycles + max(quantise, reduction) + groups * beats - 1

    def _reduction(self, reduce):
        if reduce == Reduce.NONE:
            return 0
        if reduce == Reduce.ARGMAX:
            return self.lanes + 3
        return self._reducer.latency(Reduce(reduce))
