"""A tile's vector unit."""

from types import SimpleNamespace

from poblano.config import BLOCK, LINE_WORDS
from poblano.isa.commands import Opcode
from poblano.isa.vector_ops import AluOp, Reduce, Select, Sink
from poblano.memory.local import LocalMemories
from poblano.moe.listed_rows import ListedRows
from poblano.moe.router import Router
from poblano.vector.argmax import Argmax
from poblano.vector.lane import VectorLane
from poblano.vector.quantiser import Quantiser
from poblano.vector.reducer import Reducer
from poblano.vector.unit import VectorUnit as Hardware
from poblano.vector.walk import row_group

from .experts import BY_LIST
from .parts import asked

__all__ = ["VectorTimes", "VectorUnit"]

ADDED = Reduce.SUM, Reduce.SUM_SQUARES
"""The reductions whose rows are walked in groups."""


def _listed(o):
    """The VECTOR command of a row of a command whose rows a list names; a row's scalar is in the command."""
    scalar = lambda select: Select.IMMEDIATE if select == Select.ROW else select
    row = dict(rows=1, reduce=Reduce.NONE, sel1=scalar(o.sel1), sel2=scalar(o.sel2))
    return SimpleNamespace(**vars(o) | row)


class VectorTimes:
    """How long commands take in a tile's vector unit."""

    def __init__(self, tile):
        self._lanes, self._banks = tile.lanes, tile.vmem_banks
        self._group = row_group(tile.lanes)
        self._quantise = asked(Quantiser, tile.lanes, tile.array.arithmetic).latency
        reducer = asked(Reducer, tile.lanes)
        reductions = (Reduce.SUM, Reduce.SUM_SQUARES, Reduce.MAXIMUM)
        self._reductions = {reduce: reducer.latency(reduce) for reduce in reductions}
        self._reductions |= {Reduce.NONE: 0, Reduce.ARGMAX: asked(Argmax, tile.lanes).latency}
        self._known = {}

    def of(self, o):
        """Cycles from a command's transfer to its completion."""
        if o.opcode == Opcode.ROUTE:
            return Router.latency(o, self._lanes, LocalMemories.LATENCY)
        if o.opcode in BY_LIST:
            return o.rows * (ListedRows.latency(LocalMemories.LATENCY) + self._vector(_listed(o)))
        return 1 if o.opcode == Opcode.CLEAR else self._vector(o)

    def _vector(self, o):
        apart = (o.a - o.b) * LINE_WORDS // self._lanes % self._banks
        key = o.sfu, o.op1, o.op2, o.sel1, o.sel2, o.reduce, o.sink, o.rows, o.blocks, apart
        if key not in self._known:
            self._known[key] = self._cycles(o, apart)
        return self._known[key]

    def _cycles(self, o, apart):
        cycles = Hardware.TURN + LocalMemories.LATENCY + VectorLane.latency(o.op1, o.sfu, o.op2)
        selected = {sel for op, sel in ((o.op1, o.sel1), (o.op2, o.sel2)) if op != AluOp.PASS}
        if Select.ROW in selected:  # they share a port with operand b
            cycles += 1 + (-(-o.rows // self._group) if Select.B in selected else 0)
        if Select.B in selected and not apart:  # both operands begin in one bank
            cycles += 1
        together = self._group if o.reduce in ADDED else 1
        groups, beats = -(-o.rows // together), together * o.blocks * BLOCK // self._lanes
        reduction = self._reductions[o.reduce]
        if o.reduce != Reduce.NONE and o.sink != Sink.NONE:
            # Results that come before the last elements take turns with them.
            cycles += max(0, (groups * beats - reduction - 1) // beats)
        quantise = self._quantise if o.sink == Sink.QUANTISE else 0
        return cycles + max(quantise, reduction) + groups * beats


class VectorUnit:
    """Takes its commands, one after the other."""

    def __init__(self, clock, times, *, finish, idle):
        self.clock, self._times, self._finish, self._idle = clock, times, finish, idle
        self._free = 0

    def ready(self, o):
        """From which cycle on a command is taken."""
        return self._free

    def start(self, o, now):
        """A command is taken."""
        cycles = self._times.of(o)
        self._free = now + cycles
        self.clock.at(now + cycles, self._done)

    def _done(self):
        self._finish(self.clock.now)
        self._idle()
