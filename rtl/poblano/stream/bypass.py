"""A FIFO that shows what arrives at once."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..verilog import place
from .fifo import FIFO

__all__ = ["BypassFIFO"]


class BypassFIFO(wiring.Component):
    """A FIFO whose output is its input in the same cycle, while nothing waits in it.

    Latency: combinational.

    ``i.ready`` does not depend on ``o.ready`` in the same cycle.

    Parameters
    ----------
    shape : of the payload, which is only carried
    depth : payloads that can wait

    Members
    -------
    i : In(stream(shape))
    o : Out(stream(shape))
    """

    def __init__(self, *, shape, depth):
        self.width, self.depth = Shape.cast(shape).width, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        waiting = place(m, "waiting", FIFO(shape=self.width, depth=self.depth))
        m.d.comb += [
            Value.cast(self.o.payload).eq(Mux(waiting.o.valid, waiting.o.payload, self.i.payload)),
            self.o.valid.eq(waiting.o.valid | self.i.valid),
            waiting.o.ready.eq(self.o.ready),
            self.i.ready.eq(waiting.i.ready),
            waiting.i.payload.eq(self.i.payload),
            waiting.i.valid.eq(self.i.valid & (waiting.o.valid | ~self.o.ready)),
        ]
        return m
