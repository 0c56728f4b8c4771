"""A register between two streams."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skid"]


class Skid(wiring.Component):
    """Passes a stream on, an item a cycle; no signal of one side depends on the other side in the same cycle.

    Latency: 1 cycle.

    Parameters
    ----------
    shape : of the items, which are only carried

    Members
    -------
    i : In(stream), o : Out(stream)
    """

    def __init__(self, *, shape):
        self.width = Shape.cast(shape).width
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        shown, spare = Signal(self.width, reset_less=True), Signal(self.width, reset_less=True)
        valid, waits = Signal(), Signal()  # `spare` is filled if the item before it was not taken
        m.d.comb += [Value.cast(self.o.payload).eq(shown), self.o.valid.eq(valid), self.i.ready.eq(~waits)]
        with m.If(~waits):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(~valid | self.o.ready):
            m.d.sync += [
                shown.eq(Mux(waits, spare, self.i.payload)),
                valid.eq(waits | self.i.valid),
                waits.eq(0),
            ]
        with m.Else():
            m.d.sync += waits.eq(waits | self.i.valid)
        return m
