"""The items of a two-dimensional region."""

from amaranth.hdl import *

from poblano.stream.region_walk import RegionWalk

from .harness import Harness, Mutation, Property

MODULE = "poblano.stream.region_walk"
WIDTH = 3


class Region(Harness):
    """Regions of up to three rows of up to seven items, whose numbers wrap."""

    def prove(self, m):
        dut = self.add("dut", RegionWalk(width=WIDTH))
        region = dut.cmd.payload
        self.assume((region.rows != 0) & (region.rows <= 3) & (region.count != 0) & (region.count < 8))
        put, step = dut.cmd.valid & dut.cmd.ready, dut.o.valid & dut.o.ready
        # What is expected: the region taken last, and where in it.
        active, row, item = Signal(), Signal(2), Signal(WIDTH)
        kept = Signal.like(region.as_value(), reset_less=True)
        expected = region.shape()(kept)
        row_ends, last = Signal(), Signal()
        m.d.comb += [row_ends.eq(item == expected.count - 1), last.eq(row_ends & (row == expected.rows - 1))]
        with m.If(put):
            m.d.sync += [active.eq(1), kept.eq(region), row.eq(0), item.eq(0)]
        with m.Elif(step & last):
            m.d.sync += active.eq(0)
        with m.Elif(step):
            m.d.sync += [row.eq(row + row_ends), item.eq(Mux(row_ends, 0, item + 1))]
        index = (expected.base + row * expected.stride + item)[:WIDTH]
        self.check("no gap", dut.o.valid == active)
        self.check("index", ~active | (dut.o.payload.index == index))
        self.check("last", ~active | (dut.o.payload.last == last))
        self.check("next", dut.cmd.ready == (~active | (step & last)))
        self.cover("two", put & step)
        self.cover("large", step & last & (expected.rows == 3) & (expected.count == 3))
        self.cover("one", step & last & (expected.rows == 1) & (expected.count == 1))


PROPERTIES = (
    Property(
        "region",
        Region,
        "each item once, in order, in consecutive cycles; last is right; no gap between regions",
        mutations=(
            Mutation("stays in the row", MODULE, "row_ends.eq(left == 1)", "row_ends.eq(left == 0)"),
            Mutation(
                "row begins at the end", MODULE, "index.eq(next_row)", "index.eq(index + region.stride)"
            ),
            Mutation("row not kept", MODULE, "region.base.eq(next_row)", "region.base.eq(region.base)"),
            Mutation(
                "one row less",
                MODULE,
                "self.o.payload.last.eq(row_ends & (region.rows == 1))",
                "self.o.payload.last.eq(row_ends & (region.rows <= 2))",
            ),
            Mutation(
                "region lost",
                MODULE,
                "self.cmd.ready.eq(~active | self.o.ready & self.o.payload.last)",
                "self.cmd.ready.eq(~active | self.o.payload.last)",
            ),
            Mutation("not waiting", MODULE, "with m.If(active & self.o.ready):", "with m.If(active):"),
        ),
    ),
)
