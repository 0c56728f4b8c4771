"""Addresses of a two-dimensional region of a local memory."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegionLayout", "RegionWalk"]


class RegionLayout(data.StructLayout):
    """``rows`` rows of ``count`` consecutive items, the first at ``base``, each ``stride`` items after the
    one before."""

    def __init__(self, *, width):
        super().__init__({"base": width, "stride": width, "rows": 16, "count": width + 1})


class RegionWalk(wiring.Component):
    """The item numbers of a region, one a cycle, in order of rows and items.

    Latency: 1 cycle from a region to its first item.

    The next region is taken in the cycle of the last item of the one before. Numbers wrap at ``width`` bits.

    Members
    -------
    cmd : In(stream(RegionLayout))
    o : Out(stream({index, last})): the item, and whether it is the region's last
    """

    def __init__(self, *, width):
        self.width = width
        super().__init__(
            {
                "cmd": In(stream.Signature(RegionLayout(width=width))),
                "o": Out(stream.Signature(data.StructLayout({"index": width, "last": 1}))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        region = Signal.like(self.cmd.payload)  # base is the current row's, rows the rows left
        active, row_ends = Signal(), Signal()
        index = Signal(self.width)
        left = Signal(self.width + 1)  # items left in the row
        next_row = Signal(self.width)
        m.d.comb += [
            row_ends.eq(left == 1),
            next_row.eq(region.base + region.stride),
            self.o.valid.eq(active),
            self.o.payload.index.eq(index),
            self.o.payload.last.eq(row_ends & (region.rows == 1)),
            self.cmd.ready.eq(~active | self.o.ready & self.o.payload.last),
        ]
        with m.If(active & self.o.ready):
            with m.If(self.o.payload.last):
                m.d.sync += active.eq(0)
            with m.Elif(row_ends):
                m.d.sync += [
                    region.base.eq(next_row),
                    region.rows.eq(region.rows - 1),
                    index.eq(next_row),
                    left.eq(region.count),
                ]
            with m.Else():
                m.d.sync += [index.eq(index + 1), left.eq(left - 1)]
        with m.If(self.cmd.valid & self.cmd.ready):
            m.d.sync += [
                active.eq(1),
                region.eq(self.cmd.payload),
                index.eq(self.cmd.payload.base),
                left.eq(self.cmd.payload.count),
            ]
        return m
