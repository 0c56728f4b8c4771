"""The scores by which groups of experts are selected."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..formats.float32 import FloatAdd
from ..verilog import place
from .order import KEY_BITS, key_of, value_of

__all__ = ["GroupScores"]


class GroupScores(wiring.Component):
    """The score of each group of values: the FP32 sum of its two largest, of which NaN is the least.

    Latency: ``LATENCY`` cycles from a group's last value to its score.

    Values come one a cycle, group by group; a group has at least two, and the next one's may follow at once.

    Members
    -------
    valid : In(1), value : In(32), last : In(1), the group's next value, and whether it is its last
    scored : Out(1), score : Out(32), a group's score
    busy : Out(1), scores of groups whose last value came are to follow, or this is one
    """

    LATENCY = 1 + FloatAdd.LATENCY

    valid: In(1)
    value: In(32)
    last: In(1)
    scored: Out(1)
    score: Out(32)
    busy: Out(1)

    def elaborate(self, platform):
        m = Module()
        add = place(m, "add", FloatAdd())
        first = Signal(init=1)
        best = Signal(KEY_BITS)
        second = Signal(KEY_BITS)
        key = Signal(KEY_BITS)
        coming = Signal(self.LATENCY)
        m.d.comb += key.eq(key_of(self.value))
        m.d.sync += coming.eq(Cat(self.valid & self.last, coming))
        with m.If(self.valid):
            m.d.sync += first.eq(self.last)
            with m.If(first | (key > best)):
                m.d.sync += [best.eq(key), second.eq(Mux(first, 0, best))]
            with m.Elif(key > second):
                m.d.sync += second.eq(key)
        m.d.comb += [
            add.en.eq(1),
            add.a.eq(value_of(best)),
            add.b.eq(value_of(second)),
            self.score.eq(add.o),
            self.scored.eq(coming[-1]),
            self.busy.eq(coming.any()),
        ]
        return m
