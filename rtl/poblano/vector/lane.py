"""A lane of the vector unit: two operations with a special function between them."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa.vector_ops import AluOp, SfuOp
from ..verilog import place
from .alu import LaneALU
from .sfu import SpecialFunction

__all__ = ["RingDelay", "VectorLane"]


class RingDelay(wiring.Component):
    """``o`` is ``i`` of ``cycles`` cycles with ``en`` before: a memory that is written and read in a circle.

    Latency: ``cycles`` cycles with ``en``.

    What comes out before anything came in is undefined.
    """

    def __init__(self, *, width, cycles):
        if cycles < 3:
            raise ValueError(f"cycles must be at least 3, not {cycles!r}")
        self.width, self.cycles = width, cycles
        super().__init__({"i": In(width), "o": Out(width), "en": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.width, depth=self.cycles - 1, init=[])
        read_port, write_port = memory.read_port(), memory.write_port()
        at = Signal(range(self.cycles - 1))
        with m.If(self.en):
            m.d.sync += at.eq(Mux(at == self.cycles - 2, 0, at + 1))
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
    """``op2(sfu(op1(x, y1)), y2)``, :attr:`LATENCY` cycles in which ``en`` is 1 after its operands; one a
    cycle.

    Members
    -------
    op1, op2 : In(AluOp), sfu : In(SfuOp); constant while there is anything in the lane
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

    SECOND = LaneALU.LATENCY + SpecialFunction.LATENCY
    """Cycles from the operands to the second operation."""
    LATENCY = SECOND + LaneALU.LATENCY

    def elaborate(self, platform):
        m = Module()
        first = place(m, "first", LaneALU())
        function = place(m, "function", SpecialFunction())
        second = place(m, "second", LaneALU())
        y2 = place(m, "y2_delay", RingDelay(width=32, cycles=self.SECOND))
        m.d.comb += [
            first.op.eq(self.op1),
            first.a.eq(self.x),
            first.b.eq(self.y1),
            first.en.eq(self.en),
            function.op.eq(self.sfu),
            function.x.eq(first.o),
            function.en.eq(self.en),
            y2.i.eq(self.y2),
            y2.en.eq(self.en),
            second.op.eq(self.op2),
            second.a.eq(function.o),
            second.b.eq(y2.o),
            second.en.eq(self.en),
            self.o.eq(second.o),
        ]
        return m
