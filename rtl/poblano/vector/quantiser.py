"""FP32 in, blocks of a number format with a shared scale and their sum out."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2
import numpy as np

from ..config import BLOCK
from ..ecc.events import ECCEvents, uses
from ..formats.element import Activation, Arithmetic
from ..formats.encoder import ElementEncoder, select
from ..formats.float32 import FloatMultiply, FloatToInt8
from ..formats.scale import NAN, SCALE
from ..interfaces import BlockLayout
from ..isa.vector_ops import SfuOp
from ..stream.bypass import BypassFIFO
from ..stream.delay import delay
from ..stream.fifo import BufferedFIFO
from ..verilog import place
from .lane import RingDelay
from .reference import SMALLEST
from .sfu import SpecialFunction

__all__ = ["Quantiser"]


def _bits(value):
    return int(np.float32(value).view(np.uint32))


def _tree(values, operation):
    """``operation`` over Values, neighbours first."""
    while len(values) > 1:
        values = [operation(*values[k : k + 2]) for k in range(0, len(values) - 1, 2)] + (
            values[-1:] if len(values) % 2 else []
        )
    return values[0]


class IntegerLane(wiring.Component):
    """A lane's elements in INT8: ``x`` times the block's factor, one a cycle.

    Members
    -------
    load : In(1), ``factor`` : In(32), the factor from the next cycle on, which each lane keeps for itself
    x : In(32)
    o : Out(signed(8))
    en : In(1), the pipeline advances
    """

    load: In(1)
    factor: In(32)
    x: In(32)
    o: Out(signed(8))
    en: In(1)

    LATENCY = FloatMultiply.LATENCY + FloatToInt8.LATENCY

    def elaborate(self, platform):
        m = Module()
        multiply = place(m, "multiply", FloatMultiply())
        convert = place(m, "convert", FloatToInt8())
        own = Signal(32, reset_less=True)
        with m.If(self.load):
            m.d.sync += own.eq(self.factor)
        m.d.comb += [
            multiply.a.eq(self.x),
            multiply.b.eq(own),
            multiply.en.eq(self.en),
            convert.i.eq(multiply.o),
            convert.en.eq(self.en),
            self.o.eq(convert.o),
        ]
        return m


class BlockScale(wiring.Component):
    """A block's scale in INT8: its largest magnitude by 127, as a product with the binary32 number nearest
    to 1/127, rounded to nearest even to the 11 bits of a scale's significand.

    Members
    -------
    i : In(31), the magnitude, a normal number not below 2**-119
    o : Out(SCALE), ``LATENCY`` cycles later
    """

    i: In(31)
    o: Out(SCALE)

    LATENCY = 3

    def elaborate(self, platform):
        m = Module()
        # fl(1/127) is 129 * 16385 * 2**-28: a number and itself seven places higher, and fourteen.
        significand = Cat(self.i[:23], C(1, 1))
        r1_product = Signal(32, reset_less=True)
        r2_product = Signal(46, reset_less=True)
        r1_exponent, r2_exponent = Signal(8, reset_less=True), Signal(8, reset_less=True)
        o = Signal(18, reset_less=True)
        m.d.sync += [
            r1_product.eq(significand + (significand << 7)),
            r1_exponent.eq(self.i[23:]),
            r2_product.eq(r1_product + (r1_product << 14)),
            r2_exponent.eq(r1_exponent),
        ]
        # The product's highest bit, 45 or 44, is that of the significand.
        high = r2_product[45]
        normal = Signal(45)
        m.d.comb += normal.eq(Mux(high, r2_product, r2_product << 1))
        up = normal[34] & ((normal[:34] != 0) | normal[35])
        m.d.sync += o.eq(Cat(normal[35:], (r2_exponent - 7 + high)[:8]) + up)
        m.d.comb += self.o.as_value().eq(o)
        return m


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
    ecc : whether beats that wait have check bits

    Members
    -------
    activation : In(3), the :class:`Activation` of the blocks, one of ``arithmetic``'s; constant while there
        is anything inside
    i : In(stream of ``lanes`` FP32)
    o : Out(stream of :class:`BlockLayout`)
    events : Out(ECCEvents), with ``ecc``, of beats that waited
    """

    ELEMENT = IntegerLane.LATENCY
    """Cycles from an element and its scale to the code."""

    def __init__(self, lanes, arithmetic: Arithmetic, *, ecc=False):
        if not isinstance(lanes, int) or not 2 <= lanes <= BLOCK or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two from 2 to {BLOCK}, not {lanes!r}")
        self.lanes, self.arithmetic, self.ecc = lanes, arithmetic, ecc
        super().__init__(
            ({"events": Out(ECCEvents())} if ecc else {})
            | {
                "activation": In(3),
                "i": In(stream.Signature(data.ArrayLayout(32, lanes))),
                "o": Out(stream.Signature(BlockLayout(arithmetic.activation_sum_width))),
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
    def maximum_latency(self):
        """Cycles from a block's last beat to its largest magnitude: two levels of a tree each, of which the
        last compares with the beats before."""
        return (exact_log2(self.lanes) + 2) // 2

    @property
    def scale_latency(self):
        """Cycles from a block's largest magnitude to its scale and factor."""
        return BlockScale.LATENCY + SpecialFunction.STAGES if self.int8 else 0

    @property
    def beats(self):
        """Beats in a block."""
        return BLOCK // self.lanes

    @property
    def wait(self):
        """Cycles from a block's last beat to the use of its scale, which has a register."""
        return self.maximum_latency + self.scale_latency + 1

    @property
    def latency(self):
        return self.wait + self.beats - 1 + self.ELEMENT

    @property
    def depth(self):
        """Beats that wait for their block's scale, and two for the FIFO's own delay."""
        return self.beats + self.wait + 2

    def elaborate(self, platform):
        m = Module()
        self._elements(m, self._scales(m))
        return m

    def _scales(self, m):
        """The stream of blocks' scales and, for INT8, factors. It has room for every block whose beats have
        room."""
        accept = Signal()
        beat = Signal(range(max(self.beats, 2)))
        m.d.comb += accept.eq(self.i.valid & self.i.ready)
        with m.If(accept):
            m.d.sync += beat.eq(Mux(beat == self.beats - 1, 0, beat + 1))

        # Two levels of the tree of maxima a cycle. As integers NaN > infinity > finite.
        larger = lambda a, b: Mux(a > b, a, b)
        level, cycles = [self.i.payload[lane][:31] for lane in range(self.lanes)], 0
        while len(level) > 2:
            cycles += 1
            following = []
            for k in range(0, len(level), 4):
                largest = Signal(31, name=f"r{cycles}_largest{k // 4}", reset_less=True)
                m.d.sync += largest.eq(_tree(level[k : k + 4], larger))
                following.append(largest)
            level = following
        assert cycles + 1 == self.maximum_latency
        valid, first, last = delay(
            m, C(1), "tree_flags", Cat(accept, beat == 0, beat == self.beats - 1), cycles, reset_less=False
        )
        running = Signal(31, reset_less=True)
        complete = Signal()
        with m.If(valid):
            m.d.sync += running.eq(_tree([*level, Mux(first, 0, running)], larger))
        m.d.sync += complete.eq(valid & last)

        finite = Signal()
        m.d.comb += finite.eq(running < _bits(np.inf))
        mx_scale = self._mx_scale(running, finite) if self.mx else None
        word = data.StructLayout({"scale": SCALE} | ({"factor": 32} if self.int8 else {}))
        scales = place(m, "scales", BypassFIFO(shape=word, depth=self.depth // self.beats + 2))
        if self.int8:
            scale, factor = self._int8_scale(m, running, finite, mx_scale)
            m.d.comb += [scales.i.payload.scale.eq(scale), scales.i.payload.factor.eq(factor)]
        else:
            m.d.comb += scales.i.payload.scale.eq(mx_scale)
        m.d.comb += scales.i.valid.eq(
            delay(m, C(1), "complete_delay", complete, self.scale_latency, reset_less=False)
        )
        return scales.o

    def _int8_scale(self, m, running, finite, mx_scale):
        """Scale and factor, the scale's reciprocal, :attr:`scale_latency` cycles later."""
        reciprocal = place(m, "reciprocal", SpecialFunction(product=False))
        scale = place(m, "scale", BlockScale())
        regular = Signal()
        m.d.comb += [
            scale.i.eq(running),
            reciprocal.op.eq(SfuOp.RECIPROCAL),
            reciprocal.x.eq(Cat(C(0, 13), scale.o)),
            reciprocal.en.eq(1),
            regular.eq(finite & (running >= _bits(SMALLEST))),
        ]
        late_finite, late_regular = delay(m, C(1), "cases", Cat(finite, regular), BlockScale.LATENCY)
        late_scale = Mux(late_regular, scale.o.as_value(), Mux(late_finite, 0, NAN))[: SCALE.size]
        if self.mx:
            late_mx_scale = delay(m, C(1), "mx_scale_delay", mx_scale, BlockScale.LATENCY)
            late_scale = Mux(self.activation == Activation.INT8, late_scale, late_mx_scale)
        wait = place(m, "scale_delay", RingDelay(width=SCALE.size + 1, cycles=SpecialFunction.STAGES))
        m.d.comb += [wait.i.eq(Cat(late_scale, late_regular)), wait.en.eq(1)]
        # Any number times 0 becomes the integer 0, NaN and infinity too.
        return wait.o[: SCALE.size], Mux(wait.o[-1], reciprocal.o, 0)

    def _mx_scale(self, running, finite):
        """The largest power of two not above the largest magnitude becomes the format's; of the exponent
        alone, which is 0 for subnormals: their scale is the least in any case."""
        exponent = running[23:]
        largest = select(
            self.activation,
            {a: a.element.format.max_exponent if a.element.format.exponent_bits else 0 for a in self.mx},
        )
        regular = exponent > largest
        scale = Cat(C(0, 9), ~regular, Mux(regular, exponent - largest, 0)[:8], C(0, 1))
        return Mux(finite, scale, NAN)[: SCALE.size]

    def _elements(self, m, scales):
        """Encodes and collects elements."""
        queue = BufferedFIFO(shape=self.i.payload.shape(), depth=self.depth, ecc=self.ecc)
        elements = place(m, "elements", queue)
        if self.ecc:
            m.d.comb += self.events.as_value().eq(uses((elements.o.valid & elements.o.ready, elements)))
        connect(m, flipped(self.i), elements.i)

        # The next beat, and its block's scale, in registers.
        x = Signal(self.i.payload.shape(), reset_less=True)
        scale = Signal(SCALE, reset_less=True)
        have_x, have_scale = Signal(), Signal()
        en, issue, last_beat, load = Signal(), Signal(), Signal(), Signal()
        beat = Signal(range(max(self.beats, 2)))
        m.d.comb += [
            en.eq(~self.o.valid | self.o.ready),
            issue.eq(en & have_x & have_scale),
            last_beat.eq(beat == self.beats - 1),
            elements.o.ready.eq(~have_x | issue),
            load.eq(~have_scale | (issue & last_beat)),
            scales.ready.eq(load),
        ]
        with m.If(issue):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
        with m.If(elements.o.ready):
            m.d.sync += [x.eq(elements.o.payload), have_x.eq(elements.o.valid)]
        with m.If(load):
            m.d.sync += [scale.eq(scales.payload.scale), have_scale.eq(scales.valid)]

        factor = scales.payload.factor if self.int8 else None
        codes, beat_sum = self._codes(m, en, list(x), scale, factor, load)
        valid, first, last = delay(
            m, en, "flags", Cat(issue, beat == 0, last_beat), self.ELEMENT, reset_less=False
        )
        # The block's beats before the last, and their sum.
        codes = Cat(code[:8] for code in codes)
        before = Signal(8 * (BLOCK - self.lanes), reset_less=True)
        total = Signal(signed(self.arithmetic.activation_sum_width), reset_less=True)
        new_total = Signal.like(total)
        m.d.comb += new_total.eq(Mux(first, 0, total) + beat_sum)
        with m.If(en & valid):
            m.d.sync += [before.eq(Cat(before, codes)[8 * self.lanes :]), total.eq(new_total)]
        m.d.comb += [
            self.o.valid.eq(valid & last),
            self.o.payload.data.eq(Cat(before, codes)),
            self.o.payload.meta.scale.eq(Cat(C(0, 13), delay(m, en, "scale_out", scale, self.ELEMENT))),
            self.o.payload.meta.sum.eq(new_total),
        ]

    def _codes(self, m, en, x, scale, factor, load):
        """The elements' codes and their sum, :attr:`ELEMENT` cycles after ``x`` and ``scale``; ``factor``
        comes with ``load``, a cycle before."""
        if self.mx:
            codes, beat_sum = self._mx_elements(m, en, x, scale.exponent)
        if not self.int8:
            return codes, beat_sum
        integers = []
        for k, number in enumerate(x):
            lane = place(m, f"lane{k}", IntegerLane())
            m.d.comb += [lane.x.eq(number), lane.factor.eq(factor), lane.load.eq(load), lane.en.eq(en)]
            integers.append(lane.o)
        add = lambda a, b: a + b
        if not self.mx:
            return integers, _tree(integers, add)
        is_int8 = self.activation == Activation.INT8
        codes = [Mux(is_int8, integer, code) for integer, code in zip(integers, codes)]
        return codes, Mux(is_int8, _tree(integers, add), beat_sum)

    def _mx_elements(self, m, en, x, exponent):
        """The codes and their sum in quanta, :attr:`ELEMENT` cycles later; the sum takes the last of them."""
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
        total = _tree(values, lambda a, b: a + b)
        beat_sum = Signal(total.shape(), reset_less=True)
        with m.If(en):
            m.d.sync += beat_sum.eq(total)
        return codes, beat_sum
