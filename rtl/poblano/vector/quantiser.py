"""FP32 in, blocks of INT8 with a shared scale and their sum out."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
import numpy as np

from ..compute.delay import delay
from ..config import BLOCK
from ..formats.float32 import NAN, FloatMultiply, FloatToInt8
from ..interfaces import SUM_BITS, MetaLayout
from ..verilog import place
from .lane import DelayLine
from .ops import SfuOp
from .reference import INVERSE_127, SMALLEST
from .sfu import SpecialFunction

__all__ = ["QuantisedBlock", "Quantiser"]


def _bits(value):
    return int(np.float32(value).view(np.uint32))


class QuantisedBlock(data.StructLayout):
    """32 elements (element 0 in the low byte), and their scale and sum."""

    def __init__(self):
        super().__init__({"data": 8 * BLOCK, "meta": MetaLayout()})


class Quantiser(wiring.Component):
    """Quantises blocks of 32 numbers, ``lanes`` numbers a beat, a beat a cycle; :func:`.reference.quantise` is exact about it.

    ``o`` comes :attr:`latency` cycles after the block's last beat if no block before it waits, and in order. ``i.ready`` does
    not depend on ``o.ready`` in the same cycle.

    Parameters
    ----------
    lanes : numbers in a beat, a power of two from 2 to 32

    Members
    -------
    i : In(stream of ``lanes`` FP32)
    o : Out(stream of :class:`QuantisedBlock`)
    """

    SCALE = SpecialFunction.LATENCY + FloatMultiply.LATENCY
    """Cycles from a block's largest magnitude to its scale and factor."""
    ELEMENT = FloatMultiply.LATENCY + FloatToInt8.LATENCY
    """Cycles from an element and its factor to the integer."""

    def __init__(self, lanes):
        if not isinstance(lanes, int) or not 2 <= lanes <= BLOCK or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two from 2 to {BLOCK}, not {lanes!r}")
        self.lanes = lanes
        super().__init__({
            "i": In(stream.Signature(data.ArrayLayout(32, lanes))),
            "o": Out(stream.Signature(QuantisedBlock())),
        })

    @property
    def beats(self):
        """Beats in a block."""
        return BLOCK // self.lanes

    @property
    def wait(self):
        """Cycles from a block's last beat to the use of its scale; the FIFO of scales shows a word two cycles after it came."""
        return exact_log2(self.lanes) + 1 + self.SCALE + 2

    @property
    def latency(self):
        return self.wait + self.beats + self.ELEMENT

    @property
    def depth(self):
        """Beats that wait for their block's scale, and two for the FIFO's own delay."""
        return self.beats + self.wait + 2

    def elaborate(self, platform):
        m = Module()
        self._elements(m, self._scales(m))
        return m

    def _scales(self, m):
        """The FIFO of blocks' factors (low 32 bits) and scales. It has room for every block whose beats have room."""
        accept = Signal()
        beat = Signal(range(max(self.beats, 2)))
        m.d.comb += accept.eq(self.i.valid & self.i.ready)
        with m.If(accept):
            m.d.sync += beat.eq(Mux(beat == self.beats - 1, 0, beat + 1))

        # A level of the tree of maxima a cycle. As integers NaN > infinity > finite.
        level, number = [self.i.payload[lane][:31] for lane in range(self.lanes)], 0
        while len(level) > 1:
            number += 1
            following = []
            for k, (a, b) in enumerate(zip(level[0::2], level[1::2])):
                larger = Signal(31, name=f"r{number}_larger{k}", reset_less=True)
                m.d.sync += larger.eq(Mux(a > b, a, b))
                following.append(larger)
            level = following
        valid, first, last = delay(m, C(1), "tree_flags", Cat(accept, beat == 0, beat == self.beats - 1), number,
                                   reset_less=False)

        # One more cycle: the block's.
        running = Signal(31, reset_less=True)
        complete = Signal()
        with m.If(valid):
            m.d.sync += running.eq(Mux(~first & (running > level[0]), running, level[0]))
        m.d.sync += complete.eq(valid & last)

        # Then the factor on one path, the scale on another.
        reciprocal = place(m, "reciprocal", SpecialFunction())
        factor, scale = place(m, "factor", FloatMultiply()), place(m, "scale", FloatMultiply())
        finite, regular = Signal(), Signal()
        m.d.comb += [
            reciprocal.op.eq(SfuOp.RECIPROCAL), reciprocal.x.eq(running), reciprocal.en.eq(1),
            factor.a.eq(reciprocal.o), factor.b.eq(_bits(127)), factor.en.eq(1),
            scale.a.eq(running), scale.b.eq(_bits(INVERSE_127)), scale.en.eq(1),
            finite.eq(running < _bits(np.inf)),
            regular.eq(finite & (running >= _bits(SMALLEST))),
        ]
        late_finite, late_regular = delay(m, C(1), "cases", Cat(finite, regular), FloatMultiply.LATENCY)
        wait = place(m, "scale_delay", DelayLine(width=33, cycles=self.SCALE - FloatMultiply.LATENCY))
        m.d.comb += [
            wait.i.eq(Cat(Mux(late_regular, scale.o, Mux(late_finite, 0, NAN))[:32], late_regular)),
            wait.en.eq(1),
        ]
        m.submodules.scales = scales = SyncFIFOBuffered(width=64, depth=self.depth // self.beats + 2)
        m.d.comb += [
            scales.w_en.eq(delay(m, C(1), "complete_delay", complete, self.SCALE, reset_less=False)),
            # Any number times 0 becomes the integer 0, NaN and infinity too.
            scales.w_data.eq(Cat(Mux(wait.o[32], factor.o, 0), wait.o[:32])),
        ]
        return scales

    def _elements(self, m, scales):
        """Multiplies, rounds and collects elements."""
        m.submodules.elements = elements = SyncFIFOBuffered(width=32 * self.lanes, depth=self.depth)
        m.d.comb += [self.i.ready.eq(elements.w_rdy), elements.w_en.eq(self.i.valid), elements.w_data.eq(self.i.payload)]

        en, issue, last_beat = Signal(), Signal(), Signal()
        beat = Signal(range(max(self.beats, 2)))
        m.d.comb += [
            en.eq(~self.o.valid | self.o.ready),
            issue.eq(en & elements.r_rdy & scales.r_rdy),
            last_beat.eq(beat == self.beats - 1),
            elements.r_en.eq(issue),
            scales.r_en.eq(issue & last_beat),
        ]
        with m.If(issue):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))

        quantised = []
        for lane in range(self.lanes):
            multiply, convert = place(m, f"multiply{lane}", FloatMultiply()), place(m, f"convert{lane}", FloatToInt8())
            m.d.comb += [
                multiply.a.eq(elements.r_data[32 * lane:32 * lane + 32]), multiply.b.eq(scales.r_data[:32]), multiply.en.eq(en),
                convert.i.eq(multiply.o), convert.en.eq(en),
            ]
            quantised.append(convert.o)
        valid, first, last = delay(m, en, "flags", Cat(issue, beat == 0, last_beat), self.ELEMENT, reset_less=False)
        scale = delay(m, en, "scale_out", scales.r_data[32:], self.ELEMENT)

        # One more cycle: the block shifts in.
        block = Signal(8 * BLOCK, reset_less=True)
        block_scale = Signal(32, reset_less=True)
        total = Signal(signed(SUM_BITS), reset_less=True)
        with m.If(en):
            m.d.sync += self.o.valid.eq(valid & last)
            with m.If(valid):
                m.d.sync += [
                    block.eq(Cat(block, *quantised)[8 * self.lanes:]),
                    total.eq(Mux(first, 0, total) + sum(quantised)),
                    block_scale.eq(scale),
                ]
        m.d.comb += [self.o.payload.data.eq(block), self.o.payload.meta.scale.eq(block_scale),
                     self.o.payload.meta.sum.eq(total)]
