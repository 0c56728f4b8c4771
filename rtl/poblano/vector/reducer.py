"""Sums, sums of squares and maxima of rows, in an order that does not depend on the number of lanes."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import BLOCK
from ..formats.float32 import NAN, FloatAdd
from ..formats.square import FloatSquare
from ..isa.vector_ops import Reduce
from ..stream.delay import delay
from ..verilog import place
from .lane import RingDelay
from .walk import row_group

__all__ = ["Reducer", "SumOrMaximum"]

MINUS_INFINITY = 0xFF800000


class SumOrMaximum(wiring.Component):
    """Sum or maximum of two binary32 numbers, both as :class:`~poblano.vector.alu.LaneALU` computes them, one
    a cycle.

    Latency: 4 cycles with ``en`` of a sum, 1 of a maximum.

    Members
    -------
    maximum : In(1), 1: maximum, 0: sum; constant while there is anything inside
    a, b : In(32)
    o : Out(32)
    en : In(1), the pipeline advances
    """

    maximum: In(1)
    a: In(32)
    b: In(32)
    o: Out(32)
    en: In(1)

    LATENCY = FloatAdd.LATENCY

    def elaborate(self, platform):
        m = Module()
        add = place(m, "add", FloatAdd(registered=False))
        a_key, b_key = Signal(32), Signal(32)
        nan = Signal()
        result = Signal(32, reset_less=True)
        m.d.comb += [
            add.a.eq(self.a),
            add.b.eq(self.b),
            add.en.eq(self.en),
            # Order as unsigned integers.
            a_key.eq(Mux(self.a[31], ~self.a, Cat(self.a[:31], 1))),
            b_key.eq(Mux(self.b[31], ~self.b, Cat(self.b[:31], 1))),
            nan.eq((self.a[:31] > 0x7F800000) | (self.b[:31] > 0x7F800000)),
            self.o.eq(result),
        ]
        with m.If(self.en):
            larger = Mux(nan, NAN, Mux(a_key < b_key, self.b, self.a))
            m.d.sync += result.eq(Mux(self.maximum, larger, add.o))
        return m


class Reducer(wiring.Component):
    """The sum, sum of squares or maximum of each row; :func:`.reference.reduce_rows` gives the order of
    operations.

    Latency: 24 cycles from a row's last beat to its sum; :meth:`latency` of other reductions.

    Rows come in the order of :class:`.walk.RowWalk`, for sums in groups of :func:`.walk.row_group`. A row has
    ``32 / lanes`` partial sums in a lane, and those of a group go around in the lane's adder: each comes out
    when its next number comes in, so that nothing else stores them. The adder advances with the beats; where
    a last group has fewer rows it makes up for the missing ones by itself, and accepts no beat while it does.
    A maximum's order makes no difference to its bits: there is one for all of a lane's numbers, and its rows
    are not grouped. A tree of adders follows, over the lanes, and for sums over a lane's partial sums.

    Accepts a beat a cycle, but in such a last group, with no gap between rows. Results come in the order of
    rows, with the stated latency if the beats of the row's group after its own come without a gap; while one
    is not accepted everything stops.

    Squares cost a :class:`.FloatSquare` in each lane, 3,900 standard cells, of the 36,000 of a vector lane;
    sums go past them.

    Parameters
    ----------
    lanes : numbers in a beat, a power of two from 2 to 32

    Members
    -------
    reduce : In(Reduce), SUM, SUM_SQUARES or MAXIMUM; constant while there is anything in progress
    i : In(stream), ``data``: ``lanes`` FP32, ``last_row``: the row is its group's last (1 without groups),
        ``last_block``: the block is the row's last
    o : Out(stream(32))
    """

    def __init__(self, lanes):
        if not isinstance(lanes, int) or not 2 <= lanes <= BLOCK or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two from 2 to {BLOCK}, not {lanes!r}")
        self.lanes = lanes
        beat = {"data": data.ArrayLayout(32, lanes), "last_row": 1, "last_block": 1}
        super().__init__(
            {
                "reduce": In(Reduce),
                "i": In(stream.Signature(data.StructLayout(beat))),
                "o": Out(stream.Signature(32)),
            }
        )

    @property
    def beats(self):
        """Beats in a block: a row's partial sums in a lane."""
        return BLOCK // self.lanes

    @property
    def places(self):
        """Partial sums of a group in a lane."""
        return self.beats * row_group(self.lanes)

    def latency(self, reduce):
        """Cycles from a row's last beat to its result."""
        if reduce == Reduce.MAXIMUM:
            return 1 + exact_log2(self.lanes)
        squares = FloatSquare.LATENCY if reduce == Reduce.SUM_SQUARES else 0
        return squares + SumOrMaximum.LATENCY * (1 + exact_log2(BLOCK))

    def elaborate(self, platform):
        m = Module()
        en, maximum = Signal(), Signal()
        m.d.comb += [en.eq(~self.o.valid | self.o.ready), maximum.eq(self.reduce == Reduce.MAXIMUM)]
        beat, valid, ready = self._squares(m)
        values, valid = self._partials(m, en, maximum, beat, valid, ready)
        self._tree(m, en, maximum, values, valid)
        return m

    def _combine(self, m, name, maximum, a, b, en):
        unit = place(m, name, SumOrMaximum())
        m.d.comb += [unit.maximum.eq(maximum), unit.a.eq(a), unit.b.eq(b), unit.en.eq(en)]
        return unit.o

    def _squares(self, m):
        """The beats to be added, whether there is one, and a signal that it is taken, to be driven."""
        squares, ready, advance = Signal(), Signal(), Signal()
        i, beat = self.i.payload, Signal(self.i.payload.shape(), name="beat")
        squared = []
        for lane in range(self.lanes):
            unit = place(m, f"square{lane}", FloatSquare())
            m.d.comb += [unit.i.eq(i.data[lane]), unit.en.eq(advance)]
            squared.append(unit.o)
        late = delay(
            m,
            advance,
            "square_flags",
            Cat(self.i.valid & squares, i.last_row, i.last_block),
            FloatSquare.LATENCY,
            reset_less=False,
        )
        m.d.comb += [
            squares.eq(self.reduce == Reduce.SUM_SQUARES),
            advance.eq(~late[0] | ready),
            self.i.ready.eq(Mux(squares, advance, ready)),
            beat.eq(Mux(squares, Cat(*squared, late[1:]), i)),
        ]
        return beat, Mux(squares, late[0], self.i.valid), ready

    def _partials(self, m, en, maximum, beat, valid, ready):
        """The first adders' outputs, and whether they are new and a complete row's."""
        at = Signal(range(self.places))
        first = Signal(init=1)  # the group's first block, a maximum's first beat
        missing = Signal()  # the group has fewer rows: a place of one that is not there
        accept, step, idle, ends = Signal(), Signal(), Signal(), Signal()
        last_part = at[: exact_log2(self.beats)].all() if self.beats > 1 else 1
        m.d.comb += [
            ready.eq(en & ~missing),
            accept.eq(valid & ready),
            # Between groups nothing goes around, and what is complete moves on.
            idle.eq((at == 0) & first),
            step.eq(en & (accept | missing | idle)),
            ends.eq(accept & beat.last_row & last_part),
        ]
        with m.If(step & (accept | missing)):
            m.d.sync += at.eq(at + 1)
            with m.If(maximum | (at == self.places - 1)):
                m.d.sync += [first.eq(0), missing.eq(0)]
        with m.If(ends):
            with m.If(beat.last_block):
                m.d.sync += [at.eq(0), first.eq(1)]
            with m.Elif(maximum):
                m.d.sync += at.eq(0)
            with m.Else():
                m.d.sync += missing.eq(at != self.places - 1)

        values = []
        for lane in range(self.lanes):
            result = Signal(32, name=f"result{lane}")
            start = Mux(maximum, MINUS_INFINITY, 0)
            partial = Mux(first, start, self._around(m, maximum, lane, result, step))
            m.d.comb += result.eq(self._combine(m, f"lane{lane}", maximum, partial, beat.data[lane], step))
            values.append(result)
        # A maximum is complete with the row's last beat, sums are with all of its last block.
        complete = accept & beat.last_block & (~maximum | ends)
        stages = delay(m, step, "complete", complete, 1, reset_less=False)
        late = delay(m, step, "complete_sum", stages & ~maximum, SumOrMaximum.LATENCY - 1, reset_less=False)
        return values, step & Mux(maximum, stages, late)

    def _around(self, m, maximum, lane, result, step):
        """What an adder gave, when it is needed again."""
        left = self.places - SumOrMaximum.LATENCY
        if not left:
            return result
        ring = place(m, f"ring{lane}", RingDelay(width=32, cycles=left))
        m.d.comb += [ring.i.eq(result), ring.en.eq(step)]
        return Mux(maximum, result, ring.o)

    def _tree(self, m, en, maximum, values, valid):
        def following(name, valid):
            """``valid`` a level of the tree later."""
            wait = delay(m, en, f"{name}_wait", valid & ~maximum, SumOrMaximum.LATENCY - 1, reset_less=False)
            return delay(m, en, name, Mux(maximum, valid, wait), 1, reset_less=False)

        # Over lanes.
        level = 0
        while len(values) > 1:
            pairs = zip(values[0::2], values[1::2])
            values = [
                self._combine(m, f"tree{level}_{k}", maximum, a, b, en) for k, (a, b) in enumerate(pairs)
            ]
            valid = following(f"valid{level}", valid)
            level += 1
        # And over beats: an even one waits for its odd neighbour.
        value, largest, complete = values[0], values[0], valid
        while 1 << level < BLOCK:
            odd = Signal(name=f"odd{level}")
            even_value = Signal(32, name=f"even{level}", reset_less=True)
            with m.If(en & valid & ~maximum):
                m.d.sync += odd.eq(~odd)
                with m.If(~odd):
                    m.d.sync += even_value.eq(value)
            value = self._combine(m, f"tree{level}", maximum, even_value, value, en)
            valid = delay(m, en, f"valid{level}", valid & odd, SumOrMaximum.LATENCY, reset_less=False)
            level += 1
        m.d.comb += [
            self.o.payload.eq(Mux(maximum, largest, value)),
            self.o.valid.eq(Mux(maximum, complete, valid)),
        ]
