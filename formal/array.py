"""The systolic array: every activation meets the weights of its tile, once, and its sums come out in
order."""

from functools import partial
from types import SimpleNamespace

from amaranth.hdl import *
from amaranth.lib import data

from poblano.compute import array
from poblano.compute.array import SystolicArray

from .harness import Harness, Mutation, Property, Watch


def _narrow():
    """Operands and sums of two bits: enough, because the sums are bilinear and no control depends on an
    operand."""
    operand = data.StructLayout({"significand": signed(2), "exponent": 0, "special": 0})
    return SimpleNamespace(
        fp4_rate=1,
        special_bits=0,
        activation_lane=operand,
        weight_operand=operand,
        sum_layout=data.StructLayout({"value": signed(2), "special": 0}),
    )


class Product(Harness):
    """One arbitrary activation element and one arbitrary weight are 1, all others that are transferred are 0.

    The marked activation's sums must have a 1 in the weight's column if the weight is in the activation's
    row and tile, and be 0 otherwise; those of all other activations must be 0. What the ports carry without
    a transfer is free. ``block`` rows make a segment, ``group`` columns a group.
    """

    def __init__(self, rows, cols, load_rows, block, group, registered=False):
        super().__init__()
        self.rows, self.cols, self.load_rows, self.registered = rows, cols, load_rows, registered
        self.block, self.group = block, group

    def prove(self, m):
        array.BLOCK, array.GROUP = self.block, self.group
        config = SimpleNamespace(
            rows=self.rows,
            cols=self.cols,
            load_rows=self.load_rows,
            segments=max(1, self.rows // self.block),
            arithmetic=_narrow(),
            multiplier="dsp",
            multiplier_registers=self.registered,
        )
        dut = self.add("dut", SystolicArray(config))
        self.wide = max(self.rows, self.cols)
        self.taken, self.item = dut.a.valid & dut.a.ready, dut.w.valid & dut.w.ready
        self.swap = self.taken & dut.a.payload.first
        count, mode, loaded = self._tiles(m, dut)
        mark, marked, row, col = self._weight(m, dut, count)
        coming, active = Signal(), Signal()  # the marked weight is in the tile that comes in, is active
        with m.If(self.swap):
            m.d.sync += [active.eq(coming), coming.eq(mark)]
        with m.Elif(mark):
            m.d.sync += coming.eq(1)
        own_row = self.constant("own_row", range(self.wide))
        self.assume(own_row < self.rows)
        in_tile = Mux(dut.a.payload.first, coming, active) & (row == own_row)
        watch = self._sums(m, dut, own_row, in_tile, col)
        self.cover("product", watch.ends & (watch.value != 0))
        self.cover("new tile", self.swap & active & loaded)
        self.cover("column", marked & mode & watch.ends & (watch.value != 0))

    def _tiles(self, m, dut):
        """Tiles as they come in: which item is next, by rows or columns, and whether one is loaded."""
        transpose, bands = dut.w.payload.transpose, self.load_rows
        count, mode, loaded = Signal(range(self.wide)), Signal(), Signal()
        self.assume(~self.item | (count == 0) | (transpose == mode))
        last = count == Mux(transpose, self.cols // bands - 1, self.rows // bands - 1)
        with m.If(self.item):
            m.d.sync += [count.eq(Mux(last, 0, count + 1)), mode.eq(transpose)]
        m.d.sync += loaded.eq((loaded & ~self.swap) | (self.item & last))
        self.check("loaded", dut.loaded == loaded)
        self.check("waits", ~self.swap | loaded)
        self.check("whole", ~self.item | ~loaded | self.swap)
        begun = Signal()
        with m.If(self.taken):
            m.d.sync += begun.eq(1)
        self.assume(~self.taken | begun | dut.a.payload.first)
        return count, mode, loaded

    def _weight(self, m, dut, count):
        """The marked weight: whether it comes or has come, its row and its column."""
        bands, wide, transpose = self.load_rows, self.wide, dut.w.payload.transpose
        which, k = self.constant("which", range(max(2, bands))), self.constant("k", range(wide))
        self.assume((which < bands) & (k < wide))
        marked, mark = Signal(), Signal()
        m.d.comb += mark.eq(self.item & self.free("mark") & ~marked)
        with m.If(mark):
            m.d.sync += marked.eq(1)
        for b in range(bands):
            for n in range(wide):
                one = mark & (which == b) & (k == n)
                self.assume(~self.item | (dut.w.payload.data[b][n].as_value() == one))
        at, row, col = Signal(range(wide + 1)), Signal(range(wide)), Signal(range(wide))
        m.d.comb += at.eq(count * bands + which)
        with m.If(mark):
            m.d.sync += [row.eq(Mux(transpose, k, at)), col.eq(Mux(transpose, at, k))]
        return mark, marked, row, col

    def _sums(self, m, dut, own_row, in_tile, col):
        """The marked activation, in row ``own_row``: the :class:`Watch` of its sums, their latency, and all
        others' sums."""
        taken, given, sums = self.taken, dut.o.valid & dut.o.ready, dut.o.payload.as_value()
        segments, latency = max(1, self.rows // self.block), dut.latency
        expected = Signal(2 * segments * self.cols)
        m.d.comb += expected.eq(
            Cat(
                Cat(in_tile & (col == c) & (own_row // self.block == s), C(0, 1))
                for s in range(segments)
                for c in range(self.cols)
            )
        )
        watch = Watch(
            self, m, "sums", put=taken, put_data=expected, get=given, get_data=sums, capacity=latency
        )
        for r in range(self.rows):
            one = watch.pick & ~watch.seen & (own_row == r)
            self.assume(~taken | (dut.a.payload.data[r].as_value() == one))
        self.check("others", ~given | watch.ends | (sums == 0))
        age = Signal(range(latency + 2))
        moves = ~dut.o.valid | dut.o.ready
        with m.If(~watch.watching):
            m.d.sync += age.eq(1)
        with m.Elif(moves):
            m.d.sync += age.eq(age + 1)
        self.check("latency", ~watch.watching | (age <= latency))
        self.check("exact", ~watch.ends | (age == latency))
        waits = self.past(dut.o.valid & ~dut.o.ready, "waits")
        self.check("stable", ~waits | (dut.o.valid & (sums == self.past(sums, "before"))))
        return watch


ARRAY, PE = "poblano.compute.array", "poblano.compute.pe"

MUTATIONS = (
    Mutation(
        "swap late", ARRAY, "row.i_swap.eq(swaps[r])", "row.i_swap.eq(swaps[min(r + 1, len(swaps) - 1)])"
    ),
    Mutation("swap at once", ARRAY, "row.i_swap.eq(swaps[r])", "row.i_swap.eq(swaps[0])"),
    Mutation(
        "weight too early",
        ARRAY,
        "self.w.ready.eq(en & (~self.loaded | (self.a.valid & self.a.payload.first)))",
        "self.w.ready.eq(en)",
    ),
    Mutation(
        "not waiting for the tile",
        ARRAY,
        "self.a.ready.eq(en & (self.loaded | ~self.a.payload.first))",
        "self.a.ready.eq(en)",
    ),
    Mutation("not standing still", ARRAY, "en.eq(self.o.ready | ~self.o.valid)", "en.eq(1)"),
    Mutation(
        "no skew",
        ARRAY,
        "(self.a.payload.data[s * self._rows + self._row_of(r)], 0, r)",
        "(self.a.payload.data[s * self._rows + self._row_of(r)], 0, 0)",
    ),
    Mutation(
        "tile used twice",
        ARRAY,
        "self.loaded.eq((item & last) | (self.loaded & ~swap))",
        "self.loaded.eq((item & last) | self.loaded)",
    ),
    Mutation(
        "late capture wins",
        PE,
        "m.d.sync += active.eq(shadow)",
        "m.d.sync += active.as_value().eq(Mux(keep, weight, shadow.as_value()))",
    ),
    Mutation("swap after its activation", ARRAY, "Cat(self.i_swap, swaps)", "Cat(swaps, self.i_swap)"),
    Mutation(
        "bus before its group",
        ARRAY,
        "(data[b][self._col_of(c)], 0, late[b] + c // GROUP)",
        "(data[b][self._col_of(c)], 0, late[b])",
    ),
    Mutation("every group keeps", ARRAY, "pe.i_capture.eq(capture)", "pe.i_capture.eq(self.i_capture)"),
    Mutation("every row keeps", ARRAY, "valids[late[b]] & own", "valids[late[b]]"),
    Mutation(
        "column kept again",
        ARRAY,
        "Cat(valids[age + r + gone] for age in set(late) for gone in (0, 1)).any()",
        "Cat(valids[age + r] for age in set(late)).any()",
    ),
    Mutation("activation stays", ARRAY, "with m.If(self.en & valid):", "with m.If(self.en & self.i_valid):"),
    Mutation(
        "sums stay",
        ARRAY,
        '_skewed(m, en, "sums", lanes, valids)',
        '_skewed(m, en, "sums", lanes, valids[1:])',
    ),
)
PROPERTIES = tuple(
    Property(
        f"{rows}x{cols}-load{load}-block{block}-group{group}{'-registered' * registered}",
        partial(Product, rows, cols, load, block, group, registered),
        "a sum has the product of an activation and a weight exactly if they are in the same row and tile; "
        "in order, once, after "
        f"min(rows, block) + cols / group{' + 2' * registered} cycles, under any stall",
        frames=30,
        timeout=400,
        mutations=MUTATIONS if (rows, cols, load, block, registered) == (2, 2, 1, 32, False) else (),
    )
    for rows, cols, load, block, group, registered in (
        (2, 2, 1, 32, 1, False),
        (2, 2, 2, 32, 1, False),
        (2, 2, 2, 32, 2, False),
        (2, 2, 1, 1, 1, False),
        (2, 3, 1, 32, 2, False),
        (2, 2, 1, 32, 1, True),
    )
)
