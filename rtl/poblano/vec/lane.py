"""A lane of the vector unit: operation, special function, operation."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..vector.alu import LaneALU
from ..vector.sfu import SpecialFunction

__all__ = ["VectorLane"]


class VectorLane(wiring.Component):
    """``x = op2(sfu(op1(a, y1)), y2)``, :attr:`LATENCY` enabled cycles after its operands; one result a cycle.

    Members
    -------
    a, y1, y2 : In(32), operands of the same element. op1, sfu, op2 : In(3), constant while elements are in the lane.
    en : In(1), clock enable of the whole lane.
    x : Out(32)
    """

    LATENCY = 2 * LaneALU.LATENCY + SpecialFunction.LATENCY

    a: In(32)
    y1: In(32)
    y2: In(32)
    op1: In(3)
    sfu: In(3)
    op2: In(3)
    en: In(1)
    x: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = LaneALU()
        m.submodules.function = function = SpecialFunction()
        m.submodules.second = second = LaneALU()
        y2 = self.y2
        for n in range(LaneALU.LATENCY + SpecialFunction.LATENCY):
            later = Signal(32, name=f"y2_{n}", reset_less=True)
            with m.If(self.en):
                m.d.sync += later.eq(y2)
            y2 = later
        m.d.comb += [
            first.en.eq(self.en), first.op.eq(self.op1), first.a.eq(self.a), first.b.eq(self.y1),
            function.en.eq(self.en), function.op.eq(self.sfu), function.x.eq(first.o),
            second.en.eq(self.en), second.op.eq(self.op2), second.a.eq(function.o), second.b.eq(y2),
            self.x.eq(second.o),
        ]
        return m
