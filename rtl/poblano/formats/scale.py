"""Scales of blocks, which have 19 bits: the binary32 number without the low 13 bits of its fraction; and
products with them."""

from amaranth.hdl import C, Cat, Const, Module, Mux, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .float32 import named, normalise, pack, register
from .scale_reference import LEAST

__all__ = [
    "FloatScale",
    "IntegerScale",
    "NAN",
    "ONE",
    "SCALE",
    "scale_of_float16",
    "scale_of_float32",
    "scale_of_power",
]

SCALE = data.StructLayout({"fraction": 10, "exponent": 8, "sign": 1})
"""A scale: its value is that of the 32 bits with 13 zeros below. An exponent of 0 means zero."""

ONE = 0x1FC00
"""The scale 1."""

NAN = 0x3FE00
"""The only scale that units produce that is not a number."""

_INFINITY = 0x3FC00


def scale_of_float32(value):
    """The scale that the binary32 number ``value`` (32 bits) is read as: without the low 13 bits of its
    fraction, magnitudes below :data:`~.scale_reference.LEAST` as zero. Combinational."""
    return Mux(value[23:31] < int(LEAST.view("u4")) >> 23, 0, value[13:])[:19]


def scale_of_float16(value):
    """The scale of the binary16 number ``value`` (16 bits), exact; every NaN becomes the same.
    Combinational."""
    fraction, exponent, sign = value[:10], value[10:15], value[15]
    normal, count = fraction, []
    for step in (8, 4, 2, 1):
        zero = normal[-step:] == 0
        normal = Mux(zero, normal.shift_left(step)[:10], normal)
        count.append(zero)
    subnormal = Cat(Const(0, 1), normal[:9], (112 - Cat(*reversed(count)))[:8])
    magnitude = Mux(
        exponent == 0,
        Mux(fraction == 0, 0, subnormal),
        Mux(exponent == 31, _INFINITY, Cat(fraction, (exponent + 112)[:8])),
    )
    return Mux((exponent == 31) & (fraction != 0), NAN, Cat(magnitude[:18], sign))[:19]


def scale_of_power(code):
    """The scale of an E8M0 ``code`` (8 bits), of whose bits the exponent counts, 0 as -127, and NaN.
    Combinational."""
    return Mux(code == 0xFF, NAN, Cat(C(0, 9), code == 0, code, C(0, 1)))[:19]


def _cases(scale):
    """Whether a scale is zero, infinite, NaN."""
    special, fraction = scale.exponent == 0xFF, scale.fraction != 0
    return scale.exponent == 0, special & ~fraction, special & fraction


class IntegerScale(wiring.Component):
    """A signed integer times a scale as a binary32 number, rounded to nearest even.

    ``o`` follows ``i`` and ``scale`` after ``LATENCY`` cycles in which ``en`` is 1. The integer is not the
    least of its ``width``, and the scale is as :func:`scale_of_float32` or :func:`scale_of_float16` gives
    it: no product is subnormal. A NaN result is :data:`~.float32.NAN`.

    Parameters
    ----------
    width : bits of the integer, 2 to 53

    Members
    -------
    i : In(signed(width))
    scale : In(SCALE)
    o : Out(32)
    en : In(1), the pipeline advances
    """

    LATENCY = 4

    def __init__(self, width):
        self.width = width
        super().__init__({"i": In(signed(width)), "scale": In(SCALE), "o": Out(32), "en": In(1)})

    def elaborate(self, platform):
        m = Module()
        en, bits = self.en, self.width - 1

        # Cycle 1: magnitude.
        magnitude = register(m, en, "r1_magnitude", Mux(self.i[-1], -self.i, self.i)[:bits])
        r1_sign = register(m, en, "r1_sign", self.i[-1])
        scale = SCALE(register(m, en, "r1_scale", self.scale.as_value()))

        # Cycle 2: multiply.
        zero, infinite, nan = _cases(scale)
        nothing = named(m, "nothing", magnitude == 0)
        product = register(m, en, "r2_product", magnitude * Cat(scale.fraction, C(1, 1)))
        r2_exponent = register(m, en, "r2_exponent", scale.exponent)
        r2_flags = register(
            m,
            en,
            "r2_flags",
            Cat(nan | infinite & nothing, infinite, zero | nothing & ~infinite, r1_sign ^ scale.sign),
        )

        # Cycle 3: normalise.
        steps = [step for step in (32, 16, 8, 4, 2, 1) if step < len(product)]
        normal, count = normalise(m, "normalise", product, product, steps)
        extended = normal if len(product) >= 26 else Cat(Const(0, 26 - len(product)), normal)
        r3_normal = register(m, en, "r3_normal", Cat(extended[:-25].any(), extended[-25:]))
        # The exponent of a product of all bits but the last.
        r3_exponent = register(m, en, "r3_exponent", (r2_exponent + (bits - count).as_unsigned())[:9])
        r3_flags = register(m, en, "r3_flags", r2_flags)

        # Cycle 4: round.
        rounded = pack(
            m,
            r3_flags[3],
            r3_exponent,
            r3_normal[2:],
            r3_normal[1],
            r3_normal[0],
            nan=r3_flags[0],
            infinite=r3_flags[1],
            zero=r3_flags[2],
        )
        m.d.comb += self.o.eq(register(m, en, "r4_o", rounded))
        return m


class FloatScale(wiring.Component):
    """A binary32 number times a scale, rounded to nearest even.

    ``o`` follows ``a`` and ``scale`` after ``LATENCY`` cycles in which ``en`` is 1. Subnormal operands
    count as zero, and products below the least normal number become zero. A NaN result is
    :data:`~.float32.NAN`.

    Parameters
    ----------
    bits : of the significand of ``a``, 1 to 24: the lower ones are zero, and not looked at

    Members
    -------
    a : In(32)
    scale : In(SCALE)
    o : Out(32)
    en : In(1), the pipeline advances
    """

    a: In(32)
    scale: In(SCALE)
    o: Out(32)
    en: In(1)

    LATENCY = 2

    def __init__(self, bits=24):
        self.bits = bits
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        en, a, scale = self.en, self.a, self.scale

        # Cycle 1: multiply.
        fraction, exponent = a[24 - self.bits : 23], a[23:31]
        b_zero, b_infinite, b_nan = _cases(scale)
        a_zero, a_special, a_fraction = exponent == 0, exponent == 0xFF, fraction != 0
        nan = b_nan | a_special & (a_fraction | b_zero) | b_infinite & a_zero
        product = register(m, en, "r1_product", Cat(fraction, C(1, 1)) * Cat(scale.fraction, C(1, 1)))
        # The exponent of a product without its highest bit.
        r1_exponent = register(m, en, "r1_exponent", (exponent + scale.exponent - 127).as_signed())
        r1_flags = register(
            m, en, "r1_flags", Cat(nan, a_special | b_infinite, a_zero | b_zero, a[31] ^ scale.sign)
        )

        # Cycle 2: normalise by a bit, and round.
        high = product[-1]
        normal = named(m, "normal", Mux(high, product, product << 1)[: len(product)])
        biased = named(m, "biased", (r1_exponent + high).as_signed())
        if len(product) <= 24:
            significand, guard, sticky = Cat(Const(0, 24 - len(product)), normal), C(0), C(0)
        else:
            below = normal[: len(normal) - 24]
            significand, guard, sticky = normal[-24:], below[-1], below[:-1] != 0
        infinite = r1_flags[1]
        rounded = pack(
            m,
            r1_flags[3],
            biased[:9],
            significand,
            guard,
            sticky,
            nan=r1_flags[0],
            infinite=infinite,
            zero=~infinite & (r1_flags[2] | (biased < 1)),
        )
        m.d.comb += self.o.eq(register(m, en, "r2_o", rounded))
        return m
