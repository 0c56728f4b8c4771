"""A weight-stationary systolic array: block sums of activations and weights."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import BLOCK, ArrayConfig
from ..formats.element import Arithmetic
from ..stream.delay import delay
from ..verilog import place
from .pe import PE

__all__ = ["ActivationLayout", "ArrayRow", "ArraySegment", "SumsLayout", "SystolicArray", "WeightItemLayout"]


class WeightItemLayout(data.StructLayout):
    """``load_rows`` rows of ``cols`` weights of a tile, or with ``transpose`` as many columns of ``rows``
    weights: ``data[which][k]``."""

    def __init__(self, config):
        super().__init__(
            {
                "data": data.ArrayLayout(
                    data.ArrayLayout(config.arithmetic.weight_operand, max(config.rows, config.cols)),
                    config.load_rows,
                ),
                "transpose": 1,
            }
        )


class ActivationLayout(data.StructLayout):
    """An activation for each row; ``first``: it is the first one for the next weight tile."""

    def __init__(self, config):
        super().__init__(
            {"data": data.ArrayLayout(config.arithmetic.activation_lane, config.rows), "first": 1}
        )


class SumsLayout(data.ArrayLayout):
    """The sum of each segment and column."""

    def __init__(self, config):
        super().__init__(data.ArrayLayout(config.arithmetic.sum_layout, config.cols), config.segments)


class ArrayRow(wiring.Component):
    """A row of :class:`PE`; ``i_*`` of vectors come from the row above, others from the left edge.

    Latency: an activation passes a column in 1 cycle, a sum the row in 1.

    Weights from the left enter at ``bands`` places, the first of each ``cols / bands`` columns.
    """

    def __init__(self, *, cols, arithmetic: Arithmetic, transpose, bands, multiplier, multiplier_registers):
        self.cols, self.arithmetic, self.transpose, self.bands = cols, arithmetic, transpose, bands
        self.multiplier, self.multiplier_registers = multiplier, multiplier_registers
        weights, sums = (
            data.ArrayLayout(arithmetic.weight_operand, cols),
            data.ArrayLayout(arithmetic.sum_layout, cols),
        )
        members = {
            "en": In(1),
            "i_a": In(arithmetic.activation_lane),
            "i_swap": In(1),
            "i_capture": In(1),
            "i_w": In(weights),
            "o_w": Out(weights),
            "i_sum": In(sums),
            "o_sum": Out(sums),
        }
        if transpose:
            members |= {
                "i_across": In(1),
                "i_left": In(data.ArrayLayout(arithmetic.weight_operand, bands)),
                "i_capture_down": In(cols),
                "o_capture_down": Out(cols),
            }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        band = self.cols // self.bands
        pes = [
            place(
                m,
                f"pe{c}",
                PE(
                    arithmetic=self.arithmetic,
                    transpose=self.transpose,
                    multiplier=self.multiplier,
                    multiplier_registers=self.multiplier_registers,
                ),
            )
            for c in range(self.cols)
        ]
        for c, pe in enumerate(pes):
            left = pes[c - 1] if c else None
            m.d.comb += [
                pe.en.eq(self.en),
                pe.i_a.eq(left.o_a if left else self.i_a),
                pe.i_swap.eq(left.o_swap if left else self.i_swap),
                pe.i_capture.eq(left.o_capture if left else self.i_capture),
                pe.i_w.eq(self.i_w[c]),
                self.o_w[c].eq(pe.o_w),
                pe.i_sum.eq(self.i_sum[c]),
                self.o_sum[c].eq(pe.o_sum),
            ]
            if self.transpose:
                m.d.comb += [
                    pe.i_across.eq(left.o_across if left else self.i_across),
                    pe.i_left.eq(pes[c - 1].o_w if c % band else self.i_left[c // band]),
                    pe.i_capture_down.eq(self.i_capture_down[c]),
                    self.o_capture_down[c].eq(pe.o_capture_down),
                ]
        return m


class ArraySegment(wiring.Component):
    """Rows of PEs below each other, a block of K: sums start at 0 at the top.

    Latency: an activation passes a column in 1 cycle, a sum a row in 1.

    The ports of ``row`` are those of its :class:`ArrayRow` from the left edge. ``i_w`` enters the first row
    of each of ``bands`` bands, ``o_w`` leaves the last one; ``i_capture_down`` enters the first row of all.
    """

    def __init__(
        self, *, rows, cols, arithmetic: Arithmetic, transpose, bands, multiplier, multiplier_registers
    ):
        self.rows, self.cols, self.arithmetic = rows, cols, arithmetic
        self.transpose, self.bands, self.multiplier, self.multiplier_registers = (
            transpose,
            bands,
            multiplier,
            multiplier_registers,
        )
        row = {"i_a": Out(arithmetic.activation_lane), "i_swap": Out(1), "i_capture": Out(1)}
        weights = data.ArrayLayout(arithmetic.weight_operand, cols)
        members = {
            "en": In(1),
            "i_w": In(weights).array(bands),
            "o_w": Out(weights).array(bands),
            "o_sum": Out(data.ArrayLayout(arithmetic.sum_layout, cols)),
        }
        if transpose:
            row |= {"i_across": Out(1), "i_left": Out(data.ArrayLayout(arithmetic.weight_operand, bands))}
            members |= {"i_capture_down": In(cols), "o_capture_down": Out(cols)}
        super().__init__(members | {"row": In(wiring.Signature(row)).array(rows)})

    def elaborate(self, platform):
        m = Module()
        band = self.rows // self.bands
        rows = [
            place(
                m,
                f"row{r}",
                ArrayRow(
                    cols=self.cols,
                    arithmetic=self.arithmetic,
                    transpose=self.transpose,
                    bands=self.bands,
                    multiplier=self.multiplier,
                    multiplier_registers=self.multiplier_registers,
                ),
            )
            for r in range(self.rows)
        ]
        for r, (row, edge) in enumerate(zip(rows, self.row)):
            above = rows[r - 1] if r else None
            m.d.comb += [
                row.en.eq(self.en),
                row.i_a.eq(edge.i_a),
                row.i_swap.eq(edge.i_swap),
                row.i_capture.eq(edge.i_capture),
                row.i_w.eq(rows[r - 1].o_w if r % band else self.i_w[r // band]),
            ]
            if r % band == band - 1:
                m.d.comb += self.o_w[r // band].eq(row.o_w)
            if above is not None:
                m.d.comb += row.i_sum.eq(above.o_sum)
            if self.transpose:
                m.d.comb += [
                    row.i_across.eq(edge.i_across),
                    row.i_left.eq(edge.i_left),
                    row.i_capture_down.eq(self.i_capture_down if above is None else above.o_capture_down),
                ]
        m.d.comb += self.o_sum.eq(rows[-1].o_sum)
        if self.transpose:
            m.d.comb += self.o_capture_down.eq(rows[-1].o_capture_down)
        return m


class SystolicArray(wiring.Component):
    """Sums of 32 products (all rows, where there are fewer) for each column and segment of 32 rows.

    Latency: ``rows + cols`` cycles from an activation to its sums, two more with
    ``multiplier_registers``.

    A weight tile is ``rows / load_rows`` row items, or ``cols / load_rows`` column items (``transpose``;
    modes may change with every tile), in ascending order. An activation with ``first`` waits until a whole
    new tile is in, and makes it the active one; from that same cycle on the next tile's items are accepted.
    So a tile with M activations takes max(M, items) cycles. Gaps are allowed everywhere. The whole array
    stands still while ``o`` is not accepted. The first activation after reset must be a ``first``.

    With ``load_rows`` L, weights enter at L places: the rows (of each segment) are L bands of consecutive
    PEs, row k of a tile is the ``k // L``-th of band ``k % L``; columns likewise. The ports are in the
    tile's order.

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
        super().__init__(
            {
                "w": In(stream.Signature(WeightItemLayout(config))),
                "a": In(stream.Signature(ActivationLayout(config))),
                "o": Out(stream.Signature(SumsLayout(config))),
                "loaded": Out(1),
            }
        )

    @property
    def latency(self):
        """Cycles from an activation's transfer to its sums, if nothing stalls."""
        return self.config.rows + self.config.cols + 2 * self.config.multiplier_registers

    @property
    def _segment(self):
        """Rows of a segment."""
        return min(self.config.rows, BLOCK)

    def _row_of(self, r):
        """The tile's row that row ``r`` of PEs holds."""
        segment, bands = self._segment, self.config.load_rows
        band_rows = segment // bands
        return r - r % segment + r % band_rows * bands + r % segment // band_rows

    def _col_of(self, c):
        """The tile's column that column ``c`` of PEs holds."""
        bands = self.config.load_rows
        band_cols = self.config.cols // bands
        return c % band_cols * bands + c // band_cols

    def elaborate(self, platform):
        m = Module()
        config = self.config
        segment = self._segment
        en, swap = Signal(), Signal()
        edge, swaps = self._control(m, en, swap)
        above = None
        for s in range(config.rows // segment):
            part = place(
                m,
                f"segment{s}",
                ArraySegment(
                    rows=segment,
                    cols=config.cols,
                    arithmetic=config.arithmetic,
                    transpose=self.transpose,
                    bands=config.load_rows,
                    multiplier=config.multiplier,
                    multiplier_registers=config.multiplier_registers,
                ),
            )
            m.d.comb += part.en.eq(en)
            self._left(m, en, part, s, edge, swaps)
            self._top(m, en, part, s, edge, above)
            for c in range(config.cols):
                late = (config.rows - (s + 1) * segment) + (config.cols - 1 - c)
                total = self.o.payload[s][self._col_of(c)]
                m.d.comb += total.eq(delay(m, en, f"sum{s}_{c}", part.o_sum[c], late))
            above = part
        return m

    def _control(self, m, en, swap):
        """Takes items and activations; the tags of items and the swaps of tiles, by the cycles since they
        came."""
        rows, cols, bands = self.config.rows, self.config.cols, self.config.load_rows
        item, last = Signal(), Signal()
        count = Signal(range(max(rows, cols) // bands))
        across = self.w.payload.transpose if self.transpose else C(0)
        m.d.comb += [
            en.eq(self.o.ready | ~self.o.valid),
            swap.eq(en & self.a.valid & self.a.payload.first & self.loaded),
            self.a.ready.eq(en & (self.loaded | ~self.a.payload.first)),
            self.w.ready.eq(en & (~self.loaded | (self.a.valid & self.a.payload.first))),
            item.eq(self.w.valid & self.w.ready),
            last.eq(count == Mux(across, cols // bands - 1, rows // bands - 1)),
        ]
        with m.If(item):
            m.d.sync += count.eq(Mux(last, 0, count + 1))
        m.d.sync += self.loaded.eq((item & last) | (self.loaded & ~swap))

        # An item reaches row r, column c after r + c cycles, in either mode, as an activation does. The
        # flag that makes the right row (column) keep it is set at the left (top) edge.
        tag = data.StructLayout({"number": len(count), "across": 1, "valid": 1})
        head, tags = Signal(tag), Signal(data.ArrayLayout(tag, max(rows, cols) - 1))
        swaps, valids = Signal(rows), Signal(self.latency)
        m.d.comb += [head.number.eq(count), head.across.eq(across), head.valid.eq(item)]
        with m.If(en):
            m.d.sync += [
                tags.eq(Cat(head, tags)),
                swaps.eq(Cat(swap, swaps)),
                valids.eq(Cat(self.a.valid & self.a.ready, valids)),
            ]
        m.d.comb += self.o.valid.eq(valids[-1])
        return [head, *tags], [swap, *swaps]

    def _left(self, m, en, part, s, edge, swaps):
        """The left edge of segment ``s``: activations, and columns of weights."""
        bands, band_cols = self.config.load_rows, self.config.cols // self.config.load_rows
        for r, row in enumerate(part.row, s * self._segment):
            kept = edge[r].number == self._row_of(r) // bands
            m.d.comb += [
                row.i_a.eq(delay(m, en, f"a{r}", self.a.payload.data[self._row_of(r)], r)),
                row.i_swap.eq(swaps[r]),
                row.i_capture.eq(edge[r].valid & ~edge[r].across & kept),
            ]
            if self.transpose:
                m.d.comb += row.i_across.eq(edge[r].across)
                for b in range(bands):
                    weight = self.w.payload.data[b][self._row_of(r)]
                    m.d.comb += row.i_left[b].eq(delay(m, en, f"left{r}_{b}", weight, r + b * band_cols))

    def _top(self, m, en, part, s, edge, above):
        """The top edges of the bands of segment ``s``, which is below the segment ``above``: rows of
        weights."""
        cols, bands = self.config.cols, self.config.load_rows
        band_rows = self._segment // bands
        for b in range(bands):
            # A band's items pass its rows in the segment above before these.
            r = s * self._segment + b * band_rows
            items = self.w.payload.data[b]
            weights = (
                [delay(m, en, f"weight{r}_{c}", items[self._col_of(c)], r + c) for c in range(cols)]
                if above is None
                else [delay(m, en, f"weight{r}", above.o_w[b], self._segment - band_rows)]
            )
            m.d.comb += part.i_w[b].eq(Cat(weights))
        if self.transpose:
            downs = Cat(
                edge[c].valid & edge[c].across & (edge[c].number == self._col_of(c) // bands)
                for c in range(cols)
            )
            m.d.comb += part.i_capture_down.eq(downs if above is None else above.o_capture_down)
