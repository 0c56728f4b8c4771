"""Sums and maxima of rows, in an order that does not depend on the number of lanes."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..config import BLOCK
from ..verilog import place
from ..vector.alu import LaneALU
from ..vector.ops import AluOp

__all__ = ["Reducer"]

MINUS_INFINITY = 0xFF800000


class _Pair(wiring.Component):
    """Combines items 2i and 2i+1 of a sequence; :attr:`LATENCY` cycles after the second."""

    LATENCY = LaneALU.LATENCY

    op: In(3)
    i: In(32)
    i_valid: In(1)
    o: Out(32)
    o_valid: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.alu = alu = LaneALU()
        held, have = Signal(32), Signal()
        m.d.comb += [alu.en.eq(1), alu.op.eq(self.op), alu.a.eq(held), alu.b.eq(self.i), self.o.eq(alu.o)]
        with m.If(self.i_valid):
            m.d.sync += [held.eq(self.i), have.eq(~have)]
        valid = self.i_valid & have
        for n in range(self.LATENCY):
            later = Signal(name=f"valid_{n}")
            m.d.sync += later.eq(valid)
            valid = later
        m.d.comb += self.o_valid.eq(valid)
        return m


class Reducer(wiring.Component):
    """One number for each row: 32 partial results, one for each place in a block, taken block after block, then combined
    in a tree of neighbours.

    Takes a beat a cycle, or one every ``LATENCY * lanes / 32`` cycles where that is more; rows follow without a gap.

    Parameters
    ----------
    lanes : elements in a beat, a power of two that divides 32

    Members
    -------
    maximum : In(1), maxima, else sums; constant while a row is in progress.
    i : In(stream), ``data`` a beat, ``first`` and ``last`` set in all beats of a row's first and last block.
    o : Out(stream of 32), results in the order of the rows.
    """

    ROWS = 16
    """Rows that can be in progress."""

    def __init__(self, *, lanes):
        if not isinstance(lanes, int) or lanes < 1 or BLOCK % lanes:
            raise ValueError(f"lanes must divide {BLOCK}, not {lanes!r}")
        self.lanes = lanes
        super().__init__({
            "maximum": In(1),
            "i": In(stream.Signature(data.StructLayout({"data": 32 * lanes, "first": 1, "last": 1}))),
            "o": Out(stream.Signature(32)),
        })

    def elaborate(self, platform):
        m = Module()
        slots = BLOCK // self.lanes
        latency = LaneALU.LATENCY
        period = max(1, -(-latency // slots))  # steps a beat
        op, start = Signal(3), Signal(32)
        m.d.comb += [op.eq(Mux(self.maximum, AluOp.MAX, AluOp.ADD)), start.eq(Mux(self.maximum, MINUS_INFINITY, 0))]

        # A step moves the accumulators' pipe on. In a row steps come with beats only, so that a slot's partial result comes
        # out when its next element goes in; between rows the pipe runs freely.
        phase = Signal(range(period))
        slot = Signal(range(slots))
        in_row = Signal()
        rows = Signal(range(self.ROWS + 1))
        accept, step = Signal(), Signal()
        may_start = in_row | (rows != self.ROWS)
        m.d.comb += [
            accept.eq(self.i.valid & (phase == 0) & may_start),
            self.i.ready.eq((phase == 0) & may_start),
            step.eq(accept | (phase != 0) | ~in_row),
        ]
        row_ends = Signal()
        m.d.comb += row_ends.eq(accept & self.i.payload.last & (slot == slots - 1))
        row_starts = accept & ~in_row
        with m.If(accept):
            m.d.sync += [slot.eq(Mux(slot == slots - 1, 0, slot + 1)), in_row.eq(~row_ends)]
        if period > 1:
            with m.If(accept):
                m.d.sync += phase.eq(1)
            with m.Elif(phase != 0):
                m.d.sync += phase.eq(Mux(phase == period - 1, 0, phase + 1))
        m.d.sync += rows.eq(rows + row_starts - (self.o.valid & self.o.ready))

        loop = slots * period - latency  # steps that a partial result waits
        leaves = accept & self.i.payload.last
        for n in range(latency):
            later = Signal(name=f"leaves_{n}")
            with m.If(step):
                m.d.sync += later.eq(leaves)
            leaves = later
        results = []
        for n in range(self.lanes):
            alu = place(m, f"accumulate{n}", LaneALU())
            partial = alu.o
            for k in range(loop):
                later = Signal(32, name=f"partial{n}_{k}", reset_less=True)
                with m.If(step):
                    m.d.sync += later.eq(partial)
                partial = later
            m.d.comb += [
                alu.en.eq(step), alu.op.eq(op), alu.a.eq(Mux(self.i.payload.first, start, partial)),
                alu.b.eq(self.i.payload.data.word_select(n, 32)),
            ]
            results.append(alu.o)

        # The tree, always enabled: neighbours in a beat, then neighbouring beats.
        valid = leaves & step
        level = 0
        while len(results) > 1:
            combined = []
            for n in range(0, len(results), 2):
                alu = place(m, f"tree{level}_{n // 2}", LaneALU())
                m.d.comb += [alu.en.eq(1), alu.op.eq(op), alu.a.eq(results[n]), alu.b.eq(results[n + 1])]
                combined.append(alu.o)
            for k in range(latency):
                later = Signal(name=f"tree{level}_valid_{k}")
                m.d.sync += later.eq(valid)
                valid = later
            results, level = combined, level + 1
        result = results[0]
        for n in range((slots - 1).bit_length()):
            pair = place(m, f"pair{n}", _Pair())
            m.d.comb += [pair.op.eq(op), pair.i.eq(result), pair.i_valid.eq(valid)]
            result, valid = pair.o, pair.o_valid
        m.submodules.results = fifo = SyncFIFOBuffered(width=32, depth=self.ROWS)
        m.d.comb += [
            fifo.w_data.eq(result), fifo.w_en.eq(valid),
            self.o.payload.eq(fifo.r_data), self.o.valid.eq(fifo.r_rdy), fifo.r_en.eq(self.o.ready),
        ]
        return m
