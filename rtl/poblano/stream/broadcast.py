"""A stream for several consumers."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Broadcast"]


class Broadcast(wiring.Component):
    """Hands each payload to ``count`` consumers, or to some of them, to each once and as soon as it is ready.

    Latency: combinational.

    There is no buffer: the transfer at ``i`` completes in the cycle in which the
    last consumer takes the payload; one that goes to none completes at once.

    Parameters
    ----------
    shape : of the payload, which is only carried
    count : consumers

    Members
    -------
    i : In(stream(shape))
    to : In(count), the consumers of the payload, part of it; all of them if it is not driven
    o : Out(stream(shape)).array(count)
    """

    def __init__(self, *, shape, count):
        self.width, self.count = Shape.cast(shape).width, count
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "to": In(count, init=(1 << count) - 1),
                "o": Out(stream.Signature(shape)).array(count),
            }
        )

    def elaborate(self, platform):
        m = Module()
        taken = Signal(self.count)  # consumers that already have the payload
        have = Signal(self.count)
        for n, port in enumerate(self.o):
            m.d.comb += [
                Value.cast(port.payload).eq(self.i.payload),
                port.valid.eq(self.i.valid & self.to[n] & ~taken[n]),
                have[n].eq(taken[n] | port.ready | ~self.to[n]),
            ]
        m.d.comb += self.i.ready.eq(have.all())
        with m.If(self.i.valid):
            m.d.sync += taken.eq(Mux(have.all(), 0, have))
        return m
