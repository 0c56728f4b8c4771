"""Sums and maxima of rows, in an order that does not depend on the number of lanes."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import BLOCK
from ..formats.float32 import NAN, FloatAdd
from ..stream.delay import delay
from ..verilog import place

__all__ = ["Reducer", "SumOrMaximum"]

MINUS_INFINITY = 0xFF800000


class SumOrMaximum(wiring.Component):
    """Sum or maximum of two binary32 numbers, both as :class:`~poblano.vector.alu.LaneALU` computes them.

    ``o`` follows ``a``, ``b`` and ``maximum`` after :attr:`LATENCY` cycles in which ``en`` is 1; one a cycle.

    Members
    -------
    maximum : In(1), 1: maximum, 0: sum
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
        add = place(m, "add", FloatAdd())
        a_key, b_key = Signal(32), Signal(32)
        nan = Signal()
        m.d.comb += [
            add.a.eq(self.a),
            add.b.eq(self.b),
            add.en.eq(self.en),
            # Order as unsigned integers.
            a_key.eq(Mux(self.a[31], ~self.a, Cat(self.a[:31], 1))),
            b_key.eq(Mux(self.b[31], ~self.b, Cat(self.b[:31], 1))),
            nan.eq((self.a[:31] > 0x7F800000) | (self.b[:31] > 0x7F800000)),
        ]
        larger = Mux(nan, NAN, Mux(a_key < b_key, self.b, self.a))
        late = delay(m, self.en, "late", Cat(larger, self.maximum), self.LATENCY)
        m.d.comb += self.o.eq(Mux(late[32], late[:32], add.o))
        return m


class Reducer(wiring.Component):
    """The sum or maximum of each row; :func:`.reference.reduce_sum` and ``reduce_max`` give the order of
    operations.

    32 partial results, of which ``32 / lanes`` take turns in each lane, are combined by a pipelined tree at
    a row's end, while the next row comes in. Accepts a beat every :attr:`interval` cycles (1 up to 8
    lanes), with no gap between rows. ``o`` comes :attr:`LATENCY` cycles after the row's last beat, in
    order; while it is not accepted everything stops.

    Parameters
    ----------
    lanes : numbers in a beat, a power of two from 2 to 32

    Members
    -------
    maximum : In(1), 1: maxima, 0: sums; constant while there is anything in progress
    i : In(stream), ``data``: ``lanes`` FP32, and ``last``: set in all beats of a row's last block of 32
    o : Out(stream(32))
    """

    LATENCY = SumOrMaximum.LATENCY * (1 + exact_log2(BLOCK))

    def __init__(self, lanes):
        if not isinstance(lanes, int) or not 2 <= lanes <= BLOCK or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two from 2 to {BLOCK}, not {lanes!r}")
        self.lanes = lanes
        super().__init__(
            {
                "maximum": In(1),
                "i": In(
                    stream.Signature(data.StructLayout({"data": data.ArrayLayout(32, lanes), "last": 1}))
                ),
                "o": Out(stream.Signature(32)),
            }
        )

    @property
    def beats(self):
        """Beats in a block: partial results in a lane."""
        return BLOCK // self.lanes

    @property
    def interval(self):
        """Cycles from a beat to the next, so that a partial result is there when it is needed."""
        return -(-SumOrMaximum.LATENCY // self.beats)

    def elaborate(self, platform):
        m = Module()
        en = Signal()
        m.d.comb += en.eq(~self.o.valid | self.o.ready)

        def combine(name, a, b):
            unit = place(m, name, SumOrMaximum())
            m.d.comb += [unit.maximum.eq(self.maximum), unit.a.eq(a), unit.b.eq(b), unit.en.eq(en)]
            return unit.o

        # Cycle 0: a beat and its partial results, which may come from the adders in this very cycle.
        accept = Signal()
        beat = Signal(range(max(self.beats, 2)))
        first = Signal(init=1)  # the row's first block
        wait = Signal(range(max(self.interval, 2)))
        m.d.comb += [self.i.ready.eq(en & (wait == 0)), accept.eq(self.i.valid & self.i.ready)]
        with m.If(en & (wait != 0)):
            m.d.sync += wait.eq(wait - 1)
        with m.If(accept):
            m.d.sync += wait.eq(self.interval - 1)
            with m.If(beat == self.beats - 1):
                m.d.sync += [beat.eq(0), first.eq(self.i.payload.last)]
            with m.Else():
                m.d.sync += beat.eq(beat + 1)

        m.submodules.partials = partials = Memory(shape=32 * self.lanes, depth=max(self.beats, 2), init=[])
        read_port, write_port = partials.read_port(domain="comb"), partials.write_port()
        cycles = SumOrMaximum.LATENCY
        summed, complete = delay(m, en, "flags", Cat(accept, self.i.payload.last), cycles, reset_less=False)
        at = delay(m, en, "at", beat, cycles)
        fresh = Signal()
        m.d.comb += [read_port.addr.eq(beat), fresh.eq(summed & (at == beat))]
        values = []
        for lane in range(self.lanes):
            partial, result = Signal(32, name=f"partial{lane}"), Signal(32, name=f"result{lane}")
            m.d.comb += [
                partial.eq(
                    Mux(
                        first,
                        Mux(self.maximum, MINUS_INFINITY, 0),
                        Mux(fresh, result, read_port.data[32 * lane : 32 * lane + 32]),
                    )
                ),
                result.eq(combine(f"lane{lane}", partial, self.i.payload.data[lane])),
            ]
            values.append(result)
        m.d.comb += [write_port.addr.eq(at), write_port.data.eq(Cat(values)), write_port.en.eq(en & summed)]

        # The tree over lanes.
        valid, level = summed & complete, 0
        while len(values) > 1:
            values = [
                combine(f"tree{level}_{k}", a, b) for k, (a, b) in enumerate(zip(values[0::2], values[1::2]))
            ]
            valid = delay(m, en, f"valid{level}", valid, cycles, reset_less=False)
            level += 1
        # And over beats: an even one waits for its odd neighbour.
        value = values[0]
        while 1 << level < BLOCK:
            odd = Signal(name=f"odd{level}")
            even_value = Signal(32, name=f"even{level}", reset_less=True)
            with m.If(en & valid):
                m.d.sync += odd.eq(~odd)
                with m.If(~odd):
                    m.d.sync += even_value.eq(value)
            value = combine(f"tree{level}", even_value, value)
            valid = delay(m, en, f"valid{level}", valid & odd, cycles, reset_less=False)
            level += 1
        m.d.comb += [self.o.payload.eq(value), self.o.valid.eq(valid)]
        return m
