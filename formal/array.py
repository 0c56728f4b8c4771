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
    a transfer is free. ``block`` rows make a segment.
    """

    def __init__(self, rows, cols, load_rows, block, registered=False):
        super().__init__()
        self.rows, self.cols, self.load_rows, self.block, self.registered = (
            rows,
            cols,
            load_rows,
            block,
            registered,
        )

    def prove(self, m):
        rows, cols, bands = self.rows, self.cols, self.load_rows
        array.BLOCK = self.block
        segments = max(1, rows // self.block)
        dut = self.add(
            "dut",
            SystolicArray(
                SimpleNamespace(
                    rows=rows,
                    cols=cols,
                    load_rows=bands,
                    segments=segments,
                    arithmetic=_narrow(),
                    multiplier="dsp",
                    multiplier_registers=self.registered,
                )
            ),
        )
        taken, given = dut.a.valid & dut.a.ready, dut.o.valid & dut.o.ready
        item = dut.w.valid & dut.w.ready
        first, transpose = dut.a.payload.first, dut.w.payload.transpose
        wide = max(rows, cols)

        # Tiles as they come in.
        count, mode, loaded = Signal(range(wide)), Signal(), Signal()
        self.assume(~item | (count == 0) | (transpose == mode))
        last = count == Mux(transpose, cols // bands - 1, rows // bands - 1)
        swap = taken & first
        with m.If(item):
            m.d.sync += [count.eq(Mux(last, 0, count + 1)), mode.eq(transpose)]
        m.d.sync += loaded.eq((loaded & ~swap) | (item & last))
        self.check("loaded", dut.loaded == loaded)
        self.check("waits", ~swap | loaded)
        self.check("whole", ~item | ~loaded | swap)
        begun = Signal()
        with m.If(taken):
            m.d.sync += begun.eq(1)
        self.assume(~taken | begun | first)

        # The marked weight.
        which, k = self.constant("which", range(max(2, bands))), self.constant("k", range(wide))
        self.assume((which < bands) & (k < wide))
        marked, mark = Signal(), Signal()
        m.d.comb += mark.eq(item & self.free("mark") & ~marked)
        with m.If(mark):
            m.d.sync += marked.eq(1)
        for b in range(bands):
            for n in range(wide):
                self.assume(~item | (dut.w.payload.data[b][n].as_value() == (mark & (which == b) & (k == n))))
        at, row, col = Signal(range(wide + 1)), Signal(range(wide)), Signal(range(wide))
        m.d.comb += at.eq(count * bands + which)
        with m.If(mark):
            m.d.sync += [row.eq(Mux(transpose, k, at)), col.eq(Mux(transpose, at, k))]
        coming, active = Signal(), Signal()  # the marked weight is in the tile that comes in, is active
        with m.If(swap):
            m.d.sync += [active.eq(coming), coming.eq(mark)]
        with m.Elif(mark):
            m.d.sync += coming.eq(1)

        # The marked activation.
        own_row = self.constant("own_row", range(wide))
        self.assume(own_row < rows)
        expected = Signal(2 * segments * cols)
        in_tile = Mux(first, coming, active) & (row == own_row)
        m.d.comb += expected.eq(
            Cat(
                Cat(in_tile & (col == c) & (own_row // self.block == s), C(0, 1))
                for s in range(segments)
                for c in range(cols)
            )
        )
        latency = dut.latency
        watch = Watch(
            self,
            m,
            "sums",
            put=taken,
            put_data=expected,
            get=given,
            get_data=dut.o.payload.as_value(),
            capacity=latency,
        )
        for r in range(rows):
            self.assume(
                ~taken | (dut.a.payload.data[r].as_value() == (watch.pick & ~watch.seen & (own_row == r)))
            )
        self.check("others", ~given | watch.ends | (dut.o.payload.as_value() == 0))
        age = Signal(range(latency + 2))
        moves = ~dut.o.valid | dut.o.ready
        with m.If(~watch.watching):
            m.d.sync += age.eq(1)
        with m.Elif(moves):
            m.d.sync += age.eq(age + 1)
        self.check("latency", ~watch.watching | (age <= latency))
        self.check("exact", ~watch.ends | (age == latency))
        waits = self.past(dut.o.valid & ~dut.o.ready, "waits")
        self.check(
            "stable",
            ~waits
            | (dut.o.valid & (dut.o.payload.as_value() == self.past(dut.o.payload.as_value(), "before"))),
        )
        self.cover("product", watch.ends & (watch.value != 0))
        self.cover("new tile", swap & active & loaded)
        self.cover("column", marked & mode & watch.ends & (watch.value != 0))


ARRAY, PE = "poblano.compute.array", "poblano.compute.pe"
MUTATIONS = (
    Mutation("swap late", ARRAY, "row.i_swap.eq(swaps[r])", "row.i_swap.eq(swaps[r + 1])"),
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
        'delay(m, en, f"a{r}", self.a.payload.data[self._row_of(r)], r)',
        'delay(m, en, f"a{r}", self.a.payload.data[self._row_of(r)], 0)',
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
    Mutation("swap after its activation", PE, "with m.If(self.i_swap):", "with m.If(swap):"),
)
PROPERTIES = tuple(
    Property(
        f"{rows}x{cols}-load{load}-block{block}{'-registered' * registered}",
        partial(Product, rows, cols, load, block, registered),
        "a sum has the product of an activation and a weight exactly if they are in the same row and tile; "
        "in order, once, after "
        f"rows + cols{' + 2' * registered} cycles, under any stall",
        frames=30,
        timeout=400,
        mutations=MUTATIONS if (rows, cols, load, registered) == (2, 2, 1, False) else (),
    )
    for rows, cols, load, block, registered in (
        (2, 2, 1, 32, False),
        (2, 2, 2, 32, False),
        (2, 2, 1, 1, False),
        (2, 3, 1, 32, False),
        (2, 2, 1, 32, True),
    )
)
