"""The room of experts in a window: an expert is full when it has as many rows as it has room for."""

from amaranth.hdl import *

from poblano.config import ExpertsConfig
from poblano.moe import capacity

from .harness import Harness, Mutation, Property
from .words import Words

MODULE = "poblano.moe.capacity"


class Rows(Harness):
    """Windows of any rows, one behind the other. An arbitrary expert is watched."""

    CONFIG = ExpertsConfig(experts=5, used=2, rows=6)

    def prove(self, m):
        capacity.sram = Words
        self.dut, inside = self.peek("dut", capacity.Capacity(self.CONFIG), driven=("capacity",))
        dut, watched = self.dut, self.constant("watched", range(self.CONFIG.experts))
        most, following = Signal.like(dut.capacity), self.free("following", len(dut.capacity))
        rows, began = Signal(range(self.CONFIG.rows + 1)), Signal()
        m.d.comb += dut.capacity.eq(most)
        self.assume((following != 0) & (following <= self.CONFIG.rows))
        self.assume((dut.number < self.CONFIG.experts) & (dut.other < self.CONFIG.experts))
        idle, before = self.past(~dut.takes, "idle_before"), self.past(dut.number, "number_before")
        here = dut.number == watched
        takes = idle & (before == dut.number) & began & ~dut.start & ~(here & (rows == self.CONFIG.rows))
        self.assume(~dut.takes | takes)
        with m.If(dut.takes & here):
            m.d.sync += rows.eq(rows + 1)
        with m.If(dut.start):
            m.d.sync += [began.eq(1), rows.eq(0), most.eq(following)]
        full = rows >= most
        self.check("full", ~began | ~here | (dut.full == full))
        self.check("late", ~began | (dut.other != watched) | (dut.late == full))
        self.check("some", ~began | ~full | dut.some)
        self.cover("fills", began & dut.takes & (rows == 1) & (most == 2))
        self._invariant(inside, began, watched, rows, most)
        read = idle & (before == watched)
        self.check("read", ~read | (inside["counts"].read.data == inside["counts"].words[watched]))

    def _invariant(self, inside, began, watched, rows, most):
        """What the proof needs to know of the registers."""
        counted, full = (inside[name].bit_select(watched, 1) for name in ("counted", "full"))
        count = inside["counts"].words[watched]
        self.check("most", ~began | (most != 0) & (most <= self.CONFIG.rows))
        self.check("rows", ~began | (rows <= self.CONFIG.rows))
        self.check("counted", ~began | (counted == (rows != 0)))
        self.check("count", ~began | ~counted | (count == rows))
        self.check("is full", ~began | (full == (rows >= most)))


MUTATIONS = (
    Mutation(
        "one too few", MODULE, "with m.If(count == self.capacity):", "with m.If(count + 1 == self.capacity):"
    ),
    Mutation(
        "of the window before",
        MODULE,
        "m.d.sync += [counted.eq(0), full.eq(0), self.some.eq(0)]",
        "m.d.sync += [full.eq(0), self.some.eq(0)]",
    ),
    Mutation(
        "stays full",
        MODULE,
        "m.d.sync += [counted.eq(0), full.eq(0), self.some.eq(0)]",
        "m.d.sync += [counted.eq(0), self.some.eq(0)]",
    ),
    Mutation(
        "another's",
        MODULE,
        "self.late.eq(full.bit_select(self.other, 1))",
        "self.late.eq(full.bit_select(self.number, 1))",
    ),
    Mutation("not counted", MODULE, "Mux(known, counts.read.data, 0) + 1", "Mux(known, counts.read.data, 0)"),
)
PROPERTIES = (
    Property(
        "rows",
        Rows,
        "an expert is full as long as it has as many rows of the window as it has room for",
        method="induction",
        depth=1,
        sat=True,
        mutations=MUTATIONS,
    ),
)
