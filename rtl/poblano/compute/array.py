"""A weight-stationary systolic array: block sums of activations and weights."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import BLOCK, ArrayConfig
from ..verilog import place
from .delay import delay
from .pe import PE

__all__ = ["ActivationLayout", "ArrayRow", "SumsLayout", "SystolicArray", "WeightItemLayout"]


class WeightItemLayout(data.StructLayout):
    """A row of weights (``cols`` bytes) of a tile, or with ``transpose`` a column (``rows`` bytes), element 0 in the low byte."""

    def __init__(self, config):
        super().__init__({"data": data.ArrayLayout(signed(8), max(config.rows, config.cols)), "transpose": 1})


class ActivationLayout(data.StructLayout):
    """An activation for each row; ``first``: it is the first one for the next weight tile."""

    def __init__(self, config):
        super().__init__({"data": data.ArrayLayout(signed(8), config.rows), "first": 1})


class SumsLayout(data.ArrayLayout):
    """The sum of each segment and column."""

    def __init__(self, config):
        super().__init__(data.ArrayLayout(signed(config.sum_width), config.cols), config.segments)


class ArrayRow(wiring.Component):
    """A row of :class:`PE`; ``i_*`` of vectors come from the row above, others from the left edge."""

    def __init__(self, *, cols, sum_width, transpose):
        self.cols, self.sum_width, self.transpose = cols, sum_width, transpose
        weights, sums = data.ArrayLayout(signed(8), cols), data.ArrayLayout(signed(sum_width), cols)
        members = {
            "en": In(1), "i_a": In(signed(8)), "i_swap": In(1), "i_capture": In(1),
            "i_w": In(weights), "o_w": Out(weights), "i_sum": In(sums), "o_sum": Out(sums),
        }
        if transpose:
            members |= {"i_across": In(1), "i_left": In(signed(8)), "i_capture_down": In(cols), "o_capture_down": Out(cols)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        left = None
        for c in range(self.cols):
            pe = place(m, f"pe{c}", PE(sum_width=self.sum_width, transpose=self.transpose))
            m.d.comb += [
                pe.en.eq(self.en),
                pe.i_a.eq(left.o_a if left else self.i_a),
                pe.i_swap.eq(left.o_swap if left else self.i_swap),
                pe.i_capture.eq(left.o_capture if left else self.i_capture),
                pe.i_w.eq(self.i_w[c]), self.o_w[c].eq(pe.o_w),
                pe.i_sum.eq(self.i_sum[c]), self.o_sum[c].eq(pe.o_sum),
            ]
            if self.transpose:
                m.d.comb += [
                    pe.i_across.eq(left.o_across if left else self.i_across),
                    pe.i_left.eq(left.o_w if left else self.i_left),
                    pe.i_capture_down.eq(self.i_capture_down[c]), self.o_capture_down[c].eq(pe.o_capture_down),
                ]
            left = pe
        return m


class SystolicArray(wiring.Component):
    """Sums of 32 products (all rows, where there are fewer) for each column and segment of 32 rows.

    A weight tile is ``rows`` row items, or ``cols`` column items (``transpose``; modes may change with every tile), in
    ascending order. An activation with ``first`` waits until a whole new tile is in, and makes it the active one; from that same cycle on
    the next tile's items are accepted. So a tile with M activations takes max(M, items) cycles. Gaps are allowed everywhere.
    The sums of an activation come after ``rows + cols`` cycles; the whole array stands still while ``o`` is not accepted.
    The first activation after reset must be a ``first``.

    Parameters
    ----------
    config : ArrayConfig
    transpose : without it, items with ``transpose`` must not come

    Members
    -------
    w : In(stream(WeightItemLayout))
    a : In(stream(ActivationLayout))
    o : Out(stream(SumsLayout))
    loaded : Out(1), a whole tile is in that has not become active
    """

    def __init__(self, config: ArrayConfig, *, transpose=True):
        self.config, self.transpose = config, transpose
        super().__init__({
            "w": In(stream.Signature(WeightItemLayout(config))),
            "a": In(stream.Signature(ActivationLayout(config))),
            "o": Out(stream.Signature(SumsLayout(config))),
            "loaded": Out(1),
        })

    @property
    def latency(self):
        """Cycles from an activation's transfer to its sums, if nothing stalls."""
        return self.config.rows + self.config.cols

    def elaborate(self, platform):
        m = Module()
        rows, cols = self.config.rows, self.config.cols
        segment = min(rows, BLOCK)

        en, swap, item, last = Signal(), Signal(), Signal(), Signal()
        count = Signal(range(max(rows, cols)))
        across = self.w.payload.transpose if self.transpose else C(0)
        m.d.comb += [
            en.eq(self.o.ready | ~self.o.valid),
            swap.eq(en & self.a.valid & self.a.payload.first & self.loaded),
            self.a.ready.eq(en & (self.loaded | ~self.a.payload.first)),
            self.w.ready.eq(en & (~self.loaded | (self.a.valid & self.a.payload.first))),
            item.eq(self.w.valid & self.w.ready),
            last.eq(count == Mux(across, cols - 1, rows - 1)),
        ]
        with m.If(item):
            m.d.sync += count.eq(Mux(last, 0, count + 1))
        m.d.sync += self.loaded.eq((item & last) | (self.loaded & ~swap))

        # An item reaches row r, column c after r + c cycles, in either mode, as an activation does. The flag that
        # makes the right row (column) keep it is set at the left (top) edge.
        tag_bits = len(count)
        tags = Signal((max(rows, cols) - 1) * (tag_bits + 2))
        head = Signal(tag_bits + 2)
        m.d.comb += head.eq(Cat(count, across, item))
        swaps = Signal(rows)
        valids = Signal(rows + cols)
        with m.If(en):
            m.d.sync += [tags.eq(Cat(head, tags)), swaps.eq(Cat(swap, swaps)),
                         valids.eq(Cat(self.a.valid & self.a.ready, valids))]
        m.d.comb += self.o.valid.eq(valids[-1])
        line = Cat(head, tags)

        def edge(n):
            """Tag, direction and valid of the item that came n cycles ago."""
            entry = line[n * len(head):(n + 1) * len(head)]
            return entry[:tag_bits], entry[tag_bits], entry[tag_bits + 1]

        weights = [delay(m, en, f"weight{k}", self.w.payload.data[k], k) for k in range(max(rows, cols))]
        above = None
        for r in range(rows):
            row = place(m, f"row{r}", ArrayRow(cols=cols, sum_width=self.config.sum_width, transpose=self.transpose))
            tag, direction, valid = edge(r)
            m.d.comb += [
                row.en.eq(en),
                row.i_a.eq(delay(m, en, f"a{r}", self.a.payload.data[r], r)),
                row.i_swap.eq(swaps[r - 1] if r else swap),
                row.i_capture.eq(valid & ~direction & (tag == r)),
            ]
            m.d.comb += row.i_w.eq(above.o_w if above else Cat(weights[:cols]))
            if self.transpose:
                m.d.comb += [row.i_across.eq(direction), row.i_left.eq(weights[r])]
                if above:
                    m.d.comb += row.i_capture_down.eq(above.o_capture_down)
                else:
                    for c in range(cols):
                        tag, direction, valid = edge(c)
                        m.d.comb += row.i_capture_down[c].eq(valid & direction & (tag == c))
            if r % segment:
                m.d.comb += row.i_sum.eq(above.o_sum)
            if r % segment == segment - 1:
                s = r // segment
                for c in range(cols):
                    m.d.comb += self.o.payload[s][c].eq(
                        delay(m, en, f"sum{s}_{c}", row.o_sum[c], (rows - 1 - r) + (cols - 1 - c)).as_signed())
            above = row
        return m
