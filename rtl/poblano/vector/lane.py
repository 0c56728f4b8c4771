"""A lane of the vector unit: two operations with a special function between them."""

from itertools import product
from typing import Any

from amaranth.hdl import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..isa.vector_ops import AluOp, SfuOp
from ..verilog import place
from .alu import LaneALU
from .sfu import SpecialFunction

__all__ = ["RingDelay", "VectorLane"]


class RingDelay(wiring.Component):
    """``o`` is ``i`` of some cycles with ``en`` before: a memory that is written and read in a circle.

    Latency: ``cycles`` cycles with ``en``, or fewer.

    What comes out before anything came in is undefined, and so is what comes out of what came in before a
    change of ``last``.

    Parameters
    ----------
    cycles : the most cycles, at least 3

    Members
    -------
    i : In(width), o : Out(width)
    en : In(1)
    last : In, the cycles less 2, from 0; ``cycles - 2`` if it is left alone
    """

    def __init__(self, *, width, cycles):
        if cycles < 3:
            raise ValueError(f"cycles must be at least 3, not {cycles!r}")
        self.width, self.cycles = width, cycles
        super().__init__(
            {"i": In(width), "o": Out(width), "en": In(1), "last": In(range(cycles - 1), init=cycles - 2)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = words = memory.Memory(shape=self.width, depth=self.cycles - 1, init=[])
        read_port, write_port = words.read_port(), words.write_port()
        at = Signal(range(self.cycles - 1))
        with m.If(self.en):
            m.d.sync += at.eq(Mux(at >= self.last, 0, at + 1))
        m.d.comb += [
            read_port.en.eq(self.en),
            read_port.addr.eq(at),
            self.o.eq(read_port.data),
            write_port.en.eq(self.en),
            write_port.addr.eq(at),
            write_port.data.eq(self.i),
        ]
        return m


class VectorLane(wiring.Component):
    """``op2(sfu(op1(x, y1)), y2)``, one a cycle.

    Latency: 19 cycles with ``en``; :meth:`latency`, if one of the operations is PASS.

    Members
    -------
    op1, op2 : In(AluOp), sfu : In(SfuOp); constant from a cycle before the first operands to the last result
    x, y1, y2 : In(32)
    o : Out(32)
    en : In(1), the pipeline advances
    """

    op1: In(AluOp)
    sfu: In(SfuOp)
    op2: In(AluOp)
    x: In(32)
    y1: In(32)
    y2: In(32)
    o: Out(32)
    en: In(1)

    STAGES: tuple[Any, ...] = (LaneALU, SpecialFunction, LaneALU)
    LATENCY = sum(stage.LATENCY for stage in STAGES)
    """The latency of operations of which none is PASS."""

    @classmethod
    def latency(cls, *operations):
        """Cycles of ``op1, sfu, op2``: numbers, of which 0 is PASS."""
        return sum(
            stage.LATENCY if operation else stage.PASS_LATENCY
            for stage, operation in zip(cls.STAGES, operations)
        )

    def elaborate(self, platform):
        m = Module()
        first = place(m, "first", LaneALU())
        function = place(m, "function", SpecialFunction())
        second = place(m, "second", LaneALU())
        y2 = place(m, "y2_delay", RingDelay(width=32, cycles=LaneALU.LATENCY + SpecialFunction.LATENCY))
        # The lane keeps them itself: there are many lanes.
        op1, sfu, op2 = Signal.like(self.op1), Signal.like(self.sfu), Signal.like(self.op2)
        m.d.sync += [op1.eq(self.op1), sfu.eq(self.sfu), op2.eq(self.op2)]
        with m.Switch(Cat(Value.cast(op1).any(), Value.cast(sfu).any())):
            for operations in product((0, 1), repeat=2):
                with m.Case(operations[0] + 2 * operations[1]):
                    m.d.comb += y2.last.eq(self.latency(*operations) - 2)
        m.d.comb += [
            first.op.eq(op1),
            first.a.eq(self.x),
            first.b.eq(self.y1),
            first.en.eq(self.en),
            function.op.eq(sfu),
            function.x.eq(first.o),
            function.en.eq(self.en),
            y2.i.eq(self.y2),
            y2.en.eq(self.en),
            second.op.eq(op2),
            second.a.eq(function.o),
            second.b.eq(y2.o),
            second.en.eq(self.en),
            self.o.eq(second.o),
        ]
        return m
