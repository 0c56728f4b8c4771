"""A weight-stationary systolic array: block sums of activations and weights."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import BLOCK, ArrayConfig
from ..formats.element import Arithmetic
from ..stream.delay import delay, history
from ..verilog import place
from .pe import PE

__all__ = [
    "GROUP",
    "ActivationLayout",
    "ArrayRow",
    "ArraySegment",
    "SumsLayout",
    "SystolicArray",
    "WeightItemLayout",
]

GROUP = 4
"""Neighbours in a row of processing elements that have an activation in the same cycle, from one register."""


def _groups(cols):
    return -(-cols // GROUP)


def _skewed(m, en, name, lanes, moves):
    """The values (Values) of ``lanes``, tuples of a value, its age in cycles of ``en``, and the age that it
    must have. What is of age k is kept for the next cycle only if ``moves[k]``; else what was there stays."""
    values = [Value.cast(value) for value, _, _ in lanes]
    for age in range(min(lane[1] for lane in lanes), max(lane[2] for lane in lanes)):
        young = [n for n, (_, first, last) in enumerate(lanes) if first <= age < last]
        late = Signal(sum(len(values[n]) for n in young), name=f"{name}{age}", reset_less=True)
        with m.If(en & moves[age]):
            m.d.sync += late.eq(Cat(values[n] for n in young))
        start = 0
        for n in young:
            values[n] = late[start:][: len(values[n])]
            start += len(values[n])
    return values


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
    """A row of :class:`PE`, in groups of :data:`GROUP` neighbours.

    Latency: an activation and its flags pass a group in 1 cycle, a sum the row in 1, from the cycle after its
    activation's (two cycles later with ``multiplier_registers``).

    Activations and flags come from the left edge. An activation moves only with ``i_valid``, and ``i_swap``
    marks the first one for a new weight. ``i_w`` is the weight that is above each column; with ``i_capture``
    the first group keeps it, the next group one cycle later. ``i_left`` are the weights from the left of the
    row's ``bands``, each of ``cols / bands`` columns, and ``i_capture_left`` chooses the column that keeps
    it; while ``i_down``, these flags go on to the row below.
    """

    def __init__(self, *, cols, arithmetic: Arithmetic, transpose, bands, multiplier, multiplier_registers):
        self.cols, self.arithmetic, self.transpose, self.bands = cols, arithmetic, transpose, bands
        self.multiplier, self.multiplier_registers = multiplier, multiplier_registers
        sums = data.ArrayLayout(arithmetic.sum_layout, cols)
        members = {
            "en": In(1),
            "i_a": In(arithmetic.activation_lane),
            "i_valid": In(1),
            "i_swap": In(1),
            "i_capture": In(1),
            "i_w": In(data.ArrayLayout(arithmetic.weight_operand, cols)),
            "i_sum": In(sums),
            "o_sum": Out(sums),
        }
        if transpose:
            members |= {
                "i_left": In(data.ArrayLayout(arithmetic.weight_operand, bands)),
                "i_down": In(1),
                "i_capture_left": In(cols),
                "o_capture_left": Out(cols),
            }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        groups = _groups(self.cols)
        swaps, captures, valids = Signal(groups - 1), Signal(groups - 1), Signal(groups)
        swap, capture = Cat(self.i_swap, swaps), Cat(self.i_capture, captures)
        with m.If(self.en):
            m.d.sync += [swaps.eq(swap), captures.eq(capture), valids.eq(Cat(self.i_valid, valids))]
            if self.transpose:
                with m.If(self.i_down):
                    m.d.sync += self.o_capture_left.eq(self.i_capture_left)
        a, valid = self.i_a, self.i_valid
        for g in range(groups):
            before, a = a, Signal.like(self.i_a, name=f"a{g}", reset_less=True)
            with m.If(self.en & valid):
                m.d.sync += a.eq(before)
            valid = valids[g]
            summed = delay(m, self.en, f"summed{g}", valid, 2) if self.multiplier_registers else valid
            for c in range(g * GROUP, min((g + 1) * GROUP, self.cols)):
                self._element(m, c, a, summed, swap[g], capture[g])
        return m

    def _element(self, m, c, a, valid, swap, capture):
        """The processing element of column ``c``."""
        pe = PE(
            arithmetic=self.arithmetic,
            transpose=self.transpose,
            multiplier=self.multiplier,
            multiplier_registers=self.multiplier_registers,
        )
        place(m, f"pe{c}", pe)
        m.d.comb += [
            pe.en.eq(self.en),
            pe.i_a.eq(a),
            pe.i_valid.eq(valid),
            pe.i_swap.eq(swap),
            pe.i_w.eq(self.i_w[c]),
            pe.i_capture.eq(capture),
            pe.i_sum.eq(self.i_sum[c]),
            self.o_sum[c].eq(pe.o_sum),
        ]
        if self.transpose:
            m.d.comb += [
                pe.i_left.eq(self.i_left[c * self.bands // self.cols]),
                pe.i_capture_left.eq(self.i_capture_left[c]),
            ]


class ArraySegment(wiring.Component):
    """Rows of PEs below each other, a block of K: sums start at 0 at the top.

    Latency: that of :class:`ArrayRow` for each row.

    The ports of ``row`` are those of its :class:`ArrayRow` from the left edge. ``i_w`` has the weights that
    are above the columns in each of ``bands`` bands of rows; ``i_capture_left`` enters the first row.
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
        row = {
            "i_a": Out(arithmetic.activation_lane),
            "i_valid": Out(1),
            "i_swap": Out(1),
            "i_capture": Out(1),
        }
        members = {
            "en": In(1),
            "i_w": In(data.ArrayLayout(arithmetic.weight_operand, cols)).array(bands),
            "o_sum": Out(data.ArrayLayout(arithmetic.sum_layout, cols)),
        }
        if transpose:
            left = data.ArrayLayout(arithmetic.weight_operand, bands)
            row |= {"i_left": Out(left), "i_down": Out(1)}
            members["i_capture_left"] = In(cols)
        super().__init__(members | {"row": In(wiring.Signature(row)).array(rows)})

    def elaborate(self, platform):
        m = Module()
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
            m.d.comb += [
                row.en.eq(self.en),
                row.i_a.eq(edge.i_a),
                row.i_valid.eq(edge.i_valid),
                row.i_swap.eq(edge.i_swap),
                row.i_capture.eq(edge.i_capture),
                row.i_w.eq(self.i_w[r * self.bands // self.rows]),
            ]
            if r:
                m.d.comb += row.i_sum.eq(rows[r - 1].o_sum)
            if self.transpose:
                flags = rows[r - 1].o_capture_left if r else self.i_capture_left
                m.d.comb += [
                    row.i_left.eq(edge.i_left),
                    row.i_down.eq(edge.i_down),
                    row.i_capture_left.eq(flags),
                ]
        m.d.comb += self.o_sum.eq(rows[-1].o_sum)
        return m


class SystolicArray(wiring.Component):
    """Sums of 32 products (all rows, where there are fewer) for each column and segment of 32 rows.

    Latency: ``min(rows, 32) + cols / 4`` cycles from an activation to its sums, two more with
    ``multiplier_registers``.

    A weight tile is ``rows / load_rows`` row items, or ``cols / load_rows`` column items (``transpose``;
    modes may change with every tile), in ascending order. An activation with ``first`` waits until a whole
    new tile is in, and makes it the active one; from that same cycle on the next tile's items are accepted.
    So a tile with M activations takes max(M, items) cycles. Gaps are allowed everywhere. The whole array
    stands still while ``o`` is not accepted. The first activation after reset must be a ``first``.

    Activations move right, sums down: row r of a segment has an activation r cycles after row 0, a group of
    :data:`GROUP` columns has it one cycle after the group to its left. Weights do not move. A row item is on
    buses along the columns, for all rows at once, in the cycle in which the column's group would have an
    activation in row 0; a column item is on buses along the rows. A flag that moves with the group (the row)
    chooses the row (column) that keeps it. Registers that nothing valid passes stand still.

    Weights and activations are not codes of a format but *operands*, which
    :func:`~poblano.formats.element.decode_operand` makes of codes: ``significand * 2**exponent``
    quanta of the format, and ``special``, not 0 for a NaN or an infinity. E4M3's 0xC4 is -3.0, which is -1536
    quanta of 2**-9: significand -12, exponent 7. An integer is its own significand, and with INT8 alone the
    whole operand; an INT8 activation must not be -128. A sum's ``value`` is exact, and counts the product of
    both quanta.

    With ``load_rows`` L, each bus is in L parts: the rows (of each segment) are L bands of consecutive
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
        return self._rows + _groups(self.config.cols) + 2 * self.config.multiplier_registers

    @property
    def _rows(self):
        """Rows of a segment."""
        return min(self.config.rows, BLOCK)

    def _row_of(self, r):
        """The tile's row that row ``r`` of a segment's PEs holds, counted in the segment."""
        bands = self.config.load_rows
        band_rows = self._rows // bands
        return r % band_rows * bands + r // band_rows

    def _col_of(self, c):
        """The tile's column that column ``c`` of PEs holds."""
        bands = self.config.load_rows
        band_cols = self.config.cols // bands
        return c % band_cols * bands + c // band_cols

    def elaborate(self, platform):
        m = Module()
        config, transpose = self.config, self.transpose
        en, swap, taken, item, count = self._control(m)
        across = self.w.payload.transpose if transpose else C(0)
        segments = range(config.segments)
        parts = [
            place(
                m,
                f"segment{s}",
                ArraySegment(
                    rows=self._rows,
                    cols=config.cols,
                    arithmetic=config.arithmetic,
                    transpose=transpose,
                    bands=config.load_rows,
                    multiplier=config.multiplier,
                    multiplier_registers=config.multiplier_registers,
                ),
            )
            for s in segments
        ]
        m.d.comb += [part.en.eq(en) for part in parts]
        valids = history(m, en, "valid", taken, self.latency)
        m.d.comb += self.o.valid.eq(valids[-1])
        self._activations(m, en, parts, valids, history(m, en, "swap", swap, self._rows - 1))
        self._row_items(m, en, parts, item & ~across, count)
        if transpose:
            self._column_items(m, en, parts, item & across, count)
        first = self.latency - _groups(config.cols) + 1
        places = [(s, c) for s in segments for c in range(config.cols)]
        lanes = [(parts[s].o_sum[c], first + c // GROUP, self.latency) for s, c in places]
        for (s, c), total in zip(places, _skewed(m, en, "sums", lanes, valids)):
            m.d.comb += self.o.payload[s][self._col_of(c)].eq(total)
        return m

    def _control(self, m):
        """Takes items and activations; whether the array moves, an activation for a new tile comes, any
        activation comes, an item comes, and the item's number in the tile."""
        rows, cols, bands = self.config.rows, self.config.cols, self.config.load_rows
        en, swap, taken, item, last = Signal(), Signal(), Signal(), Signal(), Signal()
        count = Signal(range(max(rows, cols) // bands))
        across = self.w.payload.transpose if self.transpose else C(0)
        m.d.comb += [
            en.eq(self.o.ready | ~self.o.valid),
            swap.eq(en & self.a.valid & self.a.payload.first & self.loaded),
            self.a.ready.eq(en & (self.loaded | ~self.a.payload.first)),
            self.w.ready.eq(en & (~self.loaded | (self.a.valid & self.a.payload.first))),
            taken.eq(self.a.valid & self.a.ready),
            item.eq(self.w.valid & self.w.ready),
            last.eq(count == Mux(across, cols // bands - 1, rows // bands - 1)),
        ]
        with m.If(item):
            m.d.sync += count.eq(Mux(last, 0, count + 1))
        m.d.sync += self.loaded.eq((item & last) | (self.loaded & ~swap))
        return en, swap, taken, item, count

    def _activations(self, m, en, parts, valids, swaps):
        """Activations at the left edge, row r's r cycles late."""
        places = [(s, r) for s in range(len(parts)) for r in range(self._rows)]
        lanes = [(self.a.payload.data[s * self._rows + self._row_of(r)], 0, r) for s, r in places]
        for (s, r), a in zip(places, _skewed(m, en, "a", lanes, valids)):
            row = parts[s].row[r]
            m.d.comb += [row.i_a.eq(a), row.i_valid.eq(valids[r]), row.i_swap.eq(swaps[r])]

    def _row_items(self, m, en, parts, item, count):
        """Rows of weights on the columns' buses, and the rows that keep them. A band of rows has its items as
        late as its first row has a swap, which must not be behind them."""
        bands, cols = self.config.load_rows, self.config.cols
        late = [b * self._rows // bands for b in range(bands)]
        valids = history(m, en, "row_item", item, late[-1] + _groups(cols) - 1)
        places = [(b, c) for b in range(bands) for c in range(cols)]
        data = self.w.payload.data
        lanes = [(data[b][self._col_of(c)], 0, late[b] + c // GROUP) for b, c in places]
        for (b, c), weight in zip(places, _skewed(m, en, "above", lanes, valids)):
            m.d.comb += [part.i_w[b][c].eq(weight) for part in parts]
        for b in range(bands):
            number = delay(m, en, f"row_number{b}", count, late[b])
            for s, part in enumerate(parts):
                for r in range(b * self._rows // bands, (b + 1) * self._rows // bands):
                    own = number == (s * self._rows + self._row_of(r)) // bands
                    m.d.comb += part.row[r].i_capture.eq(valids[late[b]] & own)

    def _column_items(self, m, en, parts, item, count):
        """Columns of weights on the rows' buses, and the columns that keep them, of bands likewise."""
        bands, cols = self.config.load_rows, self.config.cols
        late = [b * cols // bands // GROUP for b in range(bands)]
        valids = history(m, en, "column_item", item, late[-1] + self._rows - 1)
        places = [(s, r, b) for s in range(len(parts)) for r in range(self._rows) for b in range(bands)]
        data = self.w.payload.data
        lanes = [(data[b][s * self._rows + self._row_of(r)], 0, late[b] + r) for s, r, b in places]
        for (s, r, b), weight in zip(places, _skewed(m, en, "left", lanes, valids)):
            m.d.comb += parts[s].row[r].i_left[b].eq(weight)
        for b in range(bands):
            number = delay(m, en, f"column_number{b}", count, late[b])
            for c in range(b * cols // bands, (b + 1) * cols // bands):
                keeps = valids[late[b]] & (number == self._col_of(c) // bands)
                m.d.comb += [part.i_capture_left[c].eq(keeps) for part in parts]
        for r in range(self._rows - 1):
            # Flags go down where there are some, and where there were some they have to go.
            moves = Cat(valids[age + r + gone] for age in set(late) for gone in (0, 1)).any()
            m.d.comb += [part.row[r].i_down.eq(moves) for part in parts]
