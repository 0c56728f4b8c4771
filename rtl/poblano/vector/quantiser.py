"""FP32 in, blocks of a number format with a shared scale and their sum out."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
import numpy as np

from ..config import BLOCK
from ..formats.element import Activation, Arithmetic
from ..formats.encoder import ElementEncoder, select
from ..formats.float32 import NAN, FloatMultiply, FloatToInt8
from ..interfaces import MetaLayout
from ..isa.vector_ops import SfuOp
from ..stream.delay import delay
from ..verilog import place
from .lane import RingDelay
from .reference import INVERSE_127, SMALLEST
from .sfu import SpecialFunction

__all__ = ["QuantisedBlock", "Quantiser"]


def _bits(value):
    return int(np.float32(value).view(np.uint32))


def _tree(values):
    """The sum of a power of two of Values."""
    while len(values) > 1:
        values = [a + b for a, b in zip(values[0::2], values[1::2])]
    return values[0]


class QuantisedBlock(data.StructLayout):
    """32 elements (a byte each, element 0 in the low byte), and their scale and sum."""

    def __init__(self, arithmetic: Arithmetic):
        super().__init__({"data": 8 * BLOCK, "meta": MetaLayout(arithmetic.activation_sum_width)})


class Quantiser(wiring.Component):
    """Quantises blocks of 32 numbers, ``lanes`` numbers a beat, a beat a cycle; :func:`.reference.quantise`
    is exact about it.

    Latency: :attr:`latency` cycles from a block's last beat, if no block before it waits.

    Blocks come in order. ``i.ready`` does not depend on ``o.ready`` in the same cycle.

    Parameters
    ----------
    lanes : numbers in a beat, a power of two from 2 to 32
    arithmetic : there is hardware for its ``activations``; blocks are INT8 with an FP32 scale or of an MX
        format

    Members
    -------
    activation : In(3), the :class:`Activation` of the blocks, one of ``arithmetic``'s; constant while there
        is anything inside
    i : In(stream of ``lanes`` FP32)
    o : Out(stream of :class:`QuantisedBlock`)
    """

    ELEMENT = FloatMultiply.LATENCY + FloatToInt8.LATENCY
    """Cycles from an element and its scale to the code."""

    def __init__(self, lanes, arithmetic: Arithmetic):
        if not isinstance(lanes, int) or not 2 <= lanes <= BLOCK or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two from 2 to {BLOCK}, not {lanes!r}")
        self.lanes, self.arithmetic = lanes, arithmetic
        super().__init__(
            {
                "activation": In(3),
                "i": In(stream.Signature(data.ArrayLayout(32, lanes))),
                "o": Out(stream.Signature(QuantisedBlock(arithmetic))),
            }
        )

    @property
    def int8(self):
        """Whether there are multipliers, for INT8."""
        return Activation.INT8 in self.arithmetic.activations

    @property
    def mx(self):
        """The MX formats, which need none."""
        return tuple(a for a in self.arithmetic.activations if a.mx)

    @property
    def scale_latency(self):
        """Cycles from a block's largest magnitude to its scale and factor."""
        return SpecialFunction.LATENCY + FloatMultiply.LATENCY if self.int8 else 0

    @property
    def beats(self):
        """Beats in a block."""
        return BLOCK // self.lanes

    @property
    def wait(self):
        """Cycles from a block's last beat to the use of its scale; the FIFO of scales shows a word two
        cycles after it came."""
        return exact_log2(self.lanes) + 1 + self.scale_latency + 2

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
        """The FIFO of blocks' factors (low 32 bits) and scales. It has room for every block whose beats
        have room."""
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
        valid, first, last = delay(
            m, C(1), "tree_flags", Cat(accept, beat == 0, beat == self.beats - 1), number, reset_less=False
        )

        # One more cycle: the block's.
        running = Signal(31, reset_less=True)
        complete = Signal()
        with m.If(valid):
            m.d.sync += running.eq(Mux(~first & (running > level[0]), running, level[0]))
        m.d.sync += complete.eq(valid & last)

        finite = Signal()
        m.d.comb += finite.eq(running < _bits(np.inf))
        mx_scale = self._mx_scale(running, finite) if self.mx else None
        word = self._int8_scale(m, running, finite, mx_scale) if self.int8 else mx_scale
        scales = place(m, "scales", SyncFIFOBuffered(width=len(word), depth=self.depth // self.beats + 2))
        m.d.comb += [
            scales.w_en.eq(delay(m, C(1), "complete_delay", complete, self.scale_latency, reset_less=False)),
            scales.w_data.eq(word),
        ]
        return scales

    def _int8_scale(self, m, running, finite, mx_scale):
        """Scale and factor, :attr:`scale_latency` cycles later: the factor on one path, the scale (of any
        format) on another."""
        reciprocal = place(m, "reciprocal", SpecialFunction())
        factor, scale = place(m, "factor", FloatMultiply()), place(m, "scale", FloatMultiply())
        regular = Signal()
        m.d.comb += [
            reciprocal.op.eq(SfuOp.RECIPROCAL),
            reciprocal.x.eq(running),
            reciprocal.en.eq(1),
            factor.a.eq(reciprocal.o),
            factor.b.eq(_bits(127)),
            factor.en.eq(1),
            scale.a.eq(running),
            scale.b.eq(_bits(INVERSE_127)),
            scale.en.eq(1),
            regular.eq(finite & (running >= _bits(SMALLEST))),
        ]
        late_finite, late_regular = delay(m, C(1), "cases", Cat(finite, regular), FloatMultiply.LATENCY)
        late_scale = Mux(late_regular, scale.o, Mux(late_finite, 0, NAN))[:32]
        if self.mx:
            late_mx_scale = delay(m, C(1), "mx_scale_delay", mx_scale, FloatMultiply.LATENCY)
            late_scale = Mux(self.activation == Activation.INT8, late_scale, late_mx_scale)
        wait = place(m, "scale_delay", RingDelay(width=33, cycles=self.scale_latency - FloatMultiply.LATENCY))
        m.d.comb += [wait.i.eq(Cat(late_scale, late_regular)), wait.en.eq(1)]
        # Any number times 0 becomes the integer 0, NaN and infinity too.
        return Cat(wait.o[:32], Mux(wait.o[32], factor.o, 0)[:32])

    def _mx_scale(self, running, finite):
        """The largest power of two not above the largest magnitude becomes the format's; of the exponent
        alone, which is 0 for subnormals: their scale is the least in any case."""
        exponent = running[23:]
        largest = select(
            self.activation,
            {a: a.element.format.max_exponent if a.element.format.exponent_bits else 0 for a in self.mx},
        )
        regular = exponent > largest
        scale = Cat(C(0, 22), ~regular, Mux(regular, exponent - largest, 0)[:8], C(0, 1))
        return Mux(finite, scale, NAN)[:32]

    def _elements(self, m, scales):
        """Encodes and collects elements."""
        elements = place(m, "elements", SyncFIFOBuffered(width=32 * self.lanes, depth=self.depth))
        m.d.comb += [
            self.i.ready.eq(elements.w_rdy),
            elements.w_en.eq(self.i.valid),
            elements.w_data.eq(self.i.payload),
        ]

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

        x = [elements.r_data[32 * lane : 32 * lane + 32] for lane in range(self.lanes)]
        if self.mx:
            codes, beat_sum = self._mx_elements(m, en, x, scales.r_data[23:31])
        if self.int8:
            integers = self._int8_elements(m, en, x, scales.r_data[32:])
            is_int8 = self.activation == Activation.INT8
            codes = (
                [Mux(is_int8, integer, code) for integer, code in zip(integers, codes)]
                if self.mx
                else integers
            )
            beat_sum = Mux(is_int8, sum(integers), beat_sum) if self.mx else sum(integers)
        valid, first, last = delay(
            m, en, "flags", Cat(issue, beat == 0, last_beat), self.ELEMENT, reset_less=False
        )
        scale = delay(m, en, "scale_out", scales.r_data[:32], self.ELEMENT)

        # One more cycle: the block shifts in.
        block = Signal(8 * BLOCK, reset_less=True)
        block_scale = Signal(32, reset_less=True)
        total = Signal(signed(self.arithmetic.activation_sum_width), reset_less=True)
        with m.If(en):
            m.d.sync += self.o.valid.eq(valid & last)
            with m.If(valid):
                m.d.sync += [
                    block.eq(Cat(block, *[code[:8] for code in codes])[8 * self.lanes :]),
                    total.eq(Mux(first, 0, total) + beat_sum),
                    block_scale.eq(scale),
                ]
        m.d.comb += [
            self.o.payload.data.eq(block),
            self.o.payload.meta.scale.eq(block_scale),
            self.o.payload.meta.sum.eq(total),
        ]

    def _int8_elements(self, m, en, x, factor):
        """The elements, signed, :attr:`ELEMENT` cycles later."""
        integers = []
        for lane, number in enumerate(x):
            multiply, convert = (
                place(m, f"multiply{lane}", FloatMultiply()),
                place(m, f"convert{lane}", FloatToInt8()),
            )
            m.d.comb += [
                multiply.a.eq(number),
                multiply.b.eq(factor),
                multiply.en.eq(en),
                convert.i.eq(multiply.o),
                convert.en.eq(en),
            ]
            integers.append(convert.o)
        return integers

    def _mx_elements(self, m, en, x, exponent):
        """The codes and their sum in units, :attr:`ELEMENT` cycles later; the sum takes the last of them."""
        codes, values = [], []
        for lane, number in enumerate(x):
            encoder = place(m, f"encode{lane}", ElementEncoder(self.mx))
            m.d.comb += [
                encoder.activation.eq(self.activation),
                encoder.x.eq(number),
                encoder.exponent.eq(exponent),
                encoder.en.eq(en),
            ]
            codes.append(delay(m, en, f"code{lane}", encoder.code, self.ELEMENT - ElementEncoder.LATENCY))
            values.append(encoder.value)
        total = _tree(values)
        beat_sum = Signal(total.shape(), reset_less=True)
        with m.If(en):
            m.d.sync += beat_sum.eq(total)
        return codes, beat_sum
