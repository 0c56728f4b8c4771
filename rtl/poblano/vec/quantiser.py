"""FP32 to INT8 in blocks of 32 that share a scale."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..config import BLOCK
from ..formats.float32 import FloatMultiply, FloatToInt8
from ..interfaces import SUM_BITS, MetaLayout
from ..verilog import place
from ..vector.ops import SfuOp
from ..vector.sfu import SpecialFunction

__all__ = ["QUANTISED", "Quantiser"]

QUANTISED = data.StructLayout({"elements": 8 * BLOCK, "meta": MetaLayout()})
"""A block: element 0 in the low byte, and its scale and sum."""

ONE_127TH = 0x3C010204
"""fl(1/127)."""
FLOAT_127 = 0x42FE0000
NAN = 0x7FC00000
SMALLEST_EXPONENT = 127 - 100
"""Biased exponent of 2**-100, below which a block is zero."""


class Quantiser(wiring.Component):
    """Blocks of 32 as ``docs/architecture.md``, Numbers/Quantise, defines them; sustains a beat a cycle.

    Parameters
    ----------
    lanes : elements in a beat; divides 32

    Members
    -------
    i : In(stream of 32*lanes), element 0 in the low bits; 32/lanes beats make a block.
    o : Out(stream of QUANTISED), in order.
    """

    def __init__(self, *, lanes):
        if not isinstance(lanes, int) or lanes < 1 or BLOCK % lanes:
            raise ValueError(f"lanes must divide {BLOCK}, not {lanes!r}")
        self.lanes = lanes
        super().__init__({"i": In(stream.Signature(32 * lanes)), "o": Out(stream.Signature(QUANTISED))})

    def elaborate(self, platform):
        m = Module()
        beats = BLOCK // self.lanes
        depth = 32 + 2 * beats
        m.submodules.elements = elements = SyncFIFOBuffered(width=32 * self.lanes, depth=depth)
        scalar_layout = data.StructLayout({"inverse": 32, "scale": 32, "zero": 1})
        m.submodules.scalars = scalars = SyncFIFOBuffered(width=scalar_layout.size, depth=depth // beats + 4)

        # The largest magnitude; NaN and infinity compare as larger than all numbers.
        magnitudes = [self.i.payload.word_select(n, 32)[:31] for n in range(self.lanes)]
        while len(magnitudes) > 1:
            magnitudes = [Mux(a > b, a, b) for a, b in zip(magnitudes[0::2], magnitudes[1::2])]
        beat_magnitude = Signal(31)
        m.d.comb += beat_magnitude.eq(magnitudes[0])
        taken, beat = Signal(), Signal(range(beats))
        running, largest = Signal(31), Signal(31)
        m.d.comb += [
            self.i.ready.eq(elements.w_rdy),
            taken.eq(self.i.valid & elements.w_rdy),
            elements.w_data.eq(self.i.payload),
            elements.w_en.eq(taken),
            largest.eq(Mux((beat == 0) | (beat_magnitude > running), beat_magnitude, running)),
        ]
        block_ends = Signal()
        m.d.comb += block_ends.eq(taken & (beat == beats - 1))
        with m.If(taken):
            m.d.sync += [running.eq(largest), beat.eq(Mux(block_ends, 0, beat + 1))]

        # One scalar pipe, always enabled: 127 / amax, amax / 127.
        m.submodules.reciprocal = reciprocal = SpecialFunction()
        m.submodules.inverse = inverse = FloatMultiply()
        m.submodules.scale = scale = FloatMultiply()
        amax, started = Signal(31), Signal()
        m.d.sync += [amax.eq(largest), started.eq(block_ends)]
        late_amax, late_started = amax, started
        for n in range(SpecialFunction.LATENCY + FloatMultiply.LATENCY):
            if n == SpecialFunction.LATENCY:
                m.d.comb += scale.a.eq(late_amax)
            amax_n, started_n = Signal(31, name=f"amax_{n}", reset_less=True), Signal(name=f"started_{n}")
            m.d.sync += [amax_n.eq(late_amax), started_n.eq(late_started)]
            late_amax, late_started = amax_n, started_n
        finite, tiny = late_amax[23:] != 255, late_amax[23:] < SMALLEST_EXPONENT
        scalar = Signal(scalar_layout)
        m.d.comb += [
            reciprocal.en.eq(1), reciprocal.op.eq(SfuOp.RECIPROCAL), reciprocal.x.eq(amax),
            inverse.en.eq(1), inverse.a.eq(reciprocal.o), inverse.b.eq(FLOAT_127),
            scale.en.eq(1), scale.b.eq(ONE_127TH),
            scalar.inverse.eq(inverse.o),
            scalar.scale.eq(Mux(~finite, NAN, Mux(tiny, 0, scale.o))),
            scalar.zero.eq(~finite | tiny),
            scalars.w_data.eq(scalar),
            scalars.w_en.eq(late_started),
        ]

        # Elements times the inverse, rounded; the whole pipe waits while a block is not accepted.
        en, issue = Signal(), Signal()
        current = Signal(scalar_layout)
        out_beat = Signal(range(beats))
        m.d.comb += [
            en.eq(~self.o.valid | self.o.ready),
            current.eq(scalars.r_data),
            issue.eq(scalars.r_rdy & elements.r_rdy),
            elements.r_en.eq(en & issue),
            scalars.r_en.eq(en & issue & (out_beat == beats - 1)),
        ]
        with m.If(en & issue):
            m.d.sync += out_beat.eq(Mux(out_beat == beats - 1, 0, out_beat + 1))
        stages = FloatMultiply.LATENCY + FloatToInt8.LATENCY
        flags = Signal(data.StructLayout({"valid": 1, "last": 1, "zero": 1, "scale": 32}))
        m.d.comb += [flags.valid.eq(issue), flags.last.eq(out_beat == beats - 1), flags.zero.eq(current.zero),
                     flags.scale.eq(current.scale)]
        for n in range(stages):
            later = Signal.like(flags, name=f"flags_{n}")
            with m.If(en):
                m.d.sync += later.eq(flags)
            flags = later
        bytes_ = []
        for n in range(self.lanes):
            multiply = place(m, f"multiply{n}", FloatMultiply())
            convert = place(m, f"convert{n}", FloatToInt8())
            m.d.comb += [
                multiply.en.eq(en), multiply.a.eq(elements.r_data.word_select(n, 32)), multiply.b.eq(current.inverse),
                convert.en.eq(en), convert.i.eq(multiply.o),
            ]
            bytes_.append(Mux(flags.zero, C(0, signed(8)), convert.o))
        row = Signal(8 * self.lanes)
        m.d.comb += row.eq(Cat(b[:8] for b in bytes_))
        total = sum(bytes_[1:], bytes_[0])
        block, partial = Signal(8 * BLOCK), Signal(signed(SUM_BITS))
        assembled, total_now = Signal(8 * BLOCK), Signal(signed(SUM_BITS))
        m.d.comb += [assembled.eq(Cat(block, row)[8 * self.lanes:]), total_now.eq(partial + total)]
        with m.If(en):
            m.d.sync += self.o.valid.eq(flags.valid & flags.last)
            with m.If(flags.valid):
                m.d.sync += [block.eq(assembled), partial.eq(Mux(flags.last, 0, total_now))]
                with m.If(flags.last):
                    m.d.sync += [self.o.payload.elements.eq(assembled), self.o.payload.meta.scale.eq(flags.scale),
                                 self.o.payload.meta.sum.eq(total_now)]
        return m
