"""A FIFO that shows what arrives at once."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from ..verilog import place

__all__ = ["BypassFIFO"]


class BypassFIFO(wiring.Component):
    """A FIFO whose output is its input in the same cycle, while nothing waits in it.

    Latency: none; 1 cycle for an item that is not taken at once.

    ``i.ready`` does not depend on ``o.ready`` in the same cycle.

    Parameters
    ----------
    width : bits of an item; depth : items that can wait

    Members
    -------
    i : In(stream), o : Out(stream)
    """

    def __init__(self, *, width, depth):
        self.width, self.depth = width, depth
        super().__init__({"i": In(stream.Signature(width)), "o": Out(stream.Signature(width))})

    def elaborate(self, platform):
        m = Module()
        fifo = place(m, "fifo", SyncFIFO(width=self.width, depth=self.depth))
        m.d.comb += [
            self.o.payload.eq(Mux(fifo.r_rdy, fifo.r_data, self.i.payload)),
            self.o.valid.eq(fifo.r_rdy | self.i.valid),
            fifo.r_en.eq(self.o.ready),
            self.i.ready.eq(fifo.w_rdy),
            fifo.w_data.eq(self.i.payload),
            fifo.w_en.eq(self.i.valid & (fifo.r_rdy | ~self.o.ready)),
        ]
        return m
