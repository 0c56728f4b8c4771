"""Parts that come one after the other, put together."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Gather"]


class Gather(wiring.Component):
    """Passes on payloads as they are or, where they are ``parts``, one of ``count`` of them: its first part
    is the first of the first, its second that of the second, and so on.

    Latency: combinational from the last one.

    Parts come in whole payloads: ``parts`` changes only after a multiple of ``count``.

    Parameters
    ----------
    width : bits of a part
    count : parts of a payload, a power of two, at least 2

    Members
    -------
    i : In(stream of ``word``, ``count`` parts, and ``parts``, whether all but the one wanted are of no
        meaning; it is in every place)
    o : Out(stream(width * count))
    """

    def __init__(self, *, width, count):
        self.width, self.count = width, count
        word = data.ArrayLayout(width, count)
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"word": word, "parts": 1}))),
                "o": Out(stream.Signature(word)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i, o = self.i.payload, self.o.payload
        kept = Signal(data.ArrayLayout(self.width, self.count - 1))
        place, more = Signal(range(self.count)), Signal()
        m.d.comb += [
            more.eq(i.parts & (place != self.count - 1)),
            self.o.valid.eq(self.i.valid & ~more),
            self.i.ready.eq(self.o.ready | more),
            o.eq(i.word),
        ]
        for n in range(self.count - 1):
            with m.If(i.parts):
                m.d.comb += o[n].eq(kept[n])
            with m.If(self.i.valid & more & (place == n)):
                m.d.sync += kept[n].eq(i.word[n])
        with m.If(self.i.valid & self.i.ready & i.parts):
            m.d.sync += place.eq(place + 1)
        return m
