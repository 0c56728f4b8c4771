"""IEEE-754 binary32 arithmetic, and conversions between it, half precision and integers."""

from amaranth.hdl import C, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..verilog import place
from .product import RegisteredProduct

__all__ = [
    "FixedToFloat",
    "FloatAdd",
    "FloatMultiply",
    "FloatToInt8",
    "NAN",
    "named",
    "normalise",
    "pack",
    "register",
]

NAN = 0x7FC00000
"""The only NaN that these units produce."""

_INFINITY = 0xFF << 23


def register(m, en, name, value, shape=None):
    """A register named ``name`` that takes ``value`` while ``en``; its contents after reset are undefined."""
    result = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)
    with m.If(en):
        m.d.sync += result.eq(value)
    return result


def named(m, name, value, shape=None):
    """``value`` as a signal named ``name``."""
    signal = Signal(value.shape() if shape is None else shape, name=name)
    m.d.comb += signal.eq(value)
    return signal


def normalise(m, name, value, bound, steps):
    """``value`` shifted left by the leading zeros of ``bound``, and that count; ``steps`` are powers of
    two."""
    count = []
    for step in steps:
        zero = named(m, f"{name}_zero_{step}", bound[-step:] == 0)
        bound = named(m, f"{name}_bound_{step}", Mux(zero, bound.shift_left(step)[: len(bound)], bound))
        value = named(m, f"{name}_value_{step}", Mux(zero, value.shift_left(step)[: len(value)], value))
        count.append(zero)
    return value, Cat(*reversed(count))


def pack(m, sign, exponent, significand, guard, sticky, nan, infinite, zero):
    """Rounds to nearest even; ``significand`` (24 bits) has its hidden bit clear exactly for subnormal
    results."""
    up = guard & (sticky | significand[0])
    # A carry out of the fraction counts up the exponent; without the hidden bit that is 1, in the field 0.
    field = exponent & significand[23].replicate(len(exponent))
    bits = named(m, "rounded", (Cat(significand[:23], field) + up)[: 23 + len(exponent)])
    overflow = bits[23:] >= 0xFF
    magnitude = Mux(zero, 0, Mux(infinite | overflow, _INFINITY, bits[:31]))[:31]
    return Mux(nan, NAN, Cat(magnitude, sign))[:32]


class FloatAdd(wiring.Component):
    """The sum of two binary32 numbers, rounded to nearest even.

    ``o`` follows ``a`` and ``b`` after ``LATENCY`` cycles in which ``en`` is 1; a new sum can start in
    every such cycle. Subnormals, signed zeros and infinities are IEEE-754's; a NaN result is :data:`NAN`.
    There are no exception flags.

    Parameters
    ----------
    registered : without it the last cycle ends in a register of the owner's, with ``en`` too

    Members
    -------
    a, b : In(32)
    o : Out(32)
    en : In(1), the pipeline advances
    """

    a: In(32)
    b: In(32)
    o: Out(32)
    en: In(1)

    LATENCY = 4

    def __init__(self, *, registered=True):
        self.registered = registered
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        en = self.en

        # Cycle 1: order by magnitude.
        swap = named(m, "swap", self.a[:31] < self.b[:31])
        large = named(m, "large", Mux(swap, self.b, self.a))
        small = named(m, "small", Mux(swap, self.a, self.b))
        large_normal = large[23:31] != 0
        small_normal = small[23:31] != 0
        exponent = named(m, "exponent", large[23:31] | ~large_normal)
        # Both differences, so that none waits for the order.
        a_exponent, b_exponent = (x[23:31] | (x[23:31] == 0) for x in (self.a, self.b))
        above, below = named(m, "above", a_exponent - b_exponent), named(m, "below", b_exponent - a_exponent)
        distance = named(m, "distance", Mux(above < 0, below, above)[:8])
        special = named(m, "special", large[23:31] == 0xFF)
        both_special = small[23:31] == 0xFF
        differ = named(m, "differ", large[31] ^ small[31])
        nan = special & ((large[:23] != 0) | (both_special & ((small[:23] != 0) | differ)))
        r1_large = register(m, en, "r1_large", Cat(large[:23], large_normal))
        r1_small = register(m, en, "r1_small", Cat(small[:23], small_normal))
        r1_exponent = register(m, en, "r1_exponent", exponent)
        r1_shift = register(m, en, "r1_shift", Mux(distance > 27, 27, distance)[:5])
        r1_flags = register(m, en, "r1_flags", Cat(nan, special, large[31], differ))

        # Cycle 2: align and add. 27 places keep every bit of the smaller significand; below two of them one
        # sticky bit is enough.
        aligned = named(m, "aligned", Cat(Const(0, 27), r1_small) >> r1_shift)
        addend = named(m, "addend", Cat(aligned[:25] != 0, aligned[25:51]))
        augend = Cat(Const(0, 3), r1_large)
        # One adder: minus is the complement and, as a carry in, a bit below.
        differ = r1_flags[3]
        addend = Cat(differ, addend ^ differ.replicate(len(addend)), differ)
        total = named(m, "total", (Cat(Const(1, 1), augend) + addend)[1:29])
        r2_total = register(m, en, "r2_total", total)
        r2_exponent = register(m, en, "r2_exponent", r1_exponent)
        r2_flags = register(m, en, "r2_flags", r1_flags)

        # Cycle 3: normalise, not beyond the least exponent.
        limit = named(m, "limit", (Const(1 << 27, 28) >> r2_exponent)[:28])
        normal, count = normalise(m, "normalise", r2_total, r2_total | limit, (16, 8, 4, 2, 1))
        r3_normal = register(m, en, "r3_normal", normal)
        r3_exponent = register(m, en, "r3_exponent", (r2_exponent + 1 - count)[:9])
        r3_zero = register(m, en, "r3_zero", r2_total == 0)
        r3_flags = register(m, en, "r3_flags", r2_flags)

        # Cycle 4: round.
        sign = r3_flags[2] & ~(r3_zero & r3_flags[3])
        result = pack(
            m,
            sign,
            r3_exponent,
            r3_normal[4:],
            r3_normal[3],
            r3_normal[:3] != 0,
            nan=r3_flags[0],
            infinite=r3_flags[1],
            zero=r3_zero & ~r3_flags[1],
        )
        if self.registered:
            result = register(m, en, "r4_o", result)
        m.d.comb += self.o.eq(result)
        return m


class FloatMultiply(wiring.Component):
    """The product of two binary32 numbers, rounded to nearest even.

    ``o`` follows ``a`` and ``b`` after ``LATENCY`` cycles in which ``en`` is 1; a new product can start in
    every such cycle. Subnormals, signed zeros and infinities are IEEE-754's; a NaN result is :data:`NAN`.
    There are no exception flags.

    Parameters
    ----------
    registered : without it the last cycle ends in a register of the owner's, with ``en`` too

    Members
    -------
    a, b : In(32)
    o : Out(32)
    en : In(1), the pipeline advances
    """

    a: In(32)
    b: In(32)
    o: Out(32)
    en: In(1)

    LATENCY = 3

    def __init__(self, *, registered=True):
        self.registered = registered
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        en = self.en

        # Cycle 1: multiply.
        a_normal, b_normal = self.a[23:31] != 0, self.b[23:31] != 0
        a_special = named(m, "a_special", self.a[23:31] == 0xFF)
        b_special = named(m, "b_special", self.b[23:31] == 0xFF)
        a_fraction = named(m, "a_fraction", self.a[:23] != 0)
        b_fraction = named(m, "b_fraction", self.b[:23] != 0)
        a_zero = ~a_normal & ~a_fraction
        b_zero = ~b_normal & ~b_fraction
        nan = a_special & (a_fraction | b_zero) | b_special & (b_fraction | a_zero)
        product = place(m, "multiplier", RegisteredProduct(24, 24))
        m.d.comb += [
            product.a.eq(Cat(self.a[:23], a_normal)),
            product.b.eq(Cat(self.b[:23], b_normal)),
            product.en.eq(en),
        ]
        r1_product = product.o
        # The result's biased exponent if the product's bit 47 is its highest.
        r1_exponent = register(
            m,
            en,
            "r1_exponent",
            ((self.a[23:31] | ~a_normal) + (self.b[23:31] | ~b_normal) - 126).as_signed(),
        )
        r1_flags = register(
            m, en, "r1_flags", Cat(nan, a_special | b_special, self.a[31] ^ self.b[31], a_zero | b_zero)
        )

        # Cycle 2: normalise, not beyond the least exponent. With one operand subnormal the highest bit is
        # 23 or above; with both the result underflows.
        tiny = named(m, "tiny", r1_exponent < 1)
        limit = named(m, "limit", (Const(1 << 31, 32) >> (r1_exponent - 1)[:9])[:32])
        left, count = normalise(m, "normalise", r1_product, r1_product[16:] | limit, (16, 8, 4, 2, 1))
        back = named(m, "back", (1 - r1_exponent)[:8])
        back5 = named(m, "back5", Mux(back > 31, 31, back)[:5])
        right = named(m, "right", r1_product >> back5)
        lost = (r1_product[:31] & ~(Const(0x7FFFFFFF, 31) << back5)[:31]) != 0
        normal = named(m, "normal", Mux(tiny, right, left))
        r2_normal = register(m, en, "r2_normal", normal[23:])
        r2_sticky = register(m, en, "r2_sticky", (normal[:23] != 0) | (tiny & lost))
        r2_exponent = register(m, en, "r2_exponent", Mux(tiny, 1, r1_exponent - count)[:9])
        r2_flags = register(m, en, "r2_flags", r1_flags)

        # Cycle 3: round.
        result = pack(
            m,
            r2_flags[2],
            r2_exponent,
            r2_normal[1:],
            r2_normal[0],
            r2_sticky,
            nan=r2_flags[0],
            infinite=r2_flags[1],
            zero=r2_flags[3],
        )
        if self.registered:
            result = register(m, en, "r3_o", result)
        m.d.comb += self.o.eq(result)
        return m


class FixedToFloat(wiring.Component):
    """A signed integer times a power of two as a binary32 number, rounded to nearest even; zero is +0.

    ``o`` follows the inputs after ``LATENCY`` cycles in which ``en`` is 1. Results beyond the range are
    infinite; numbers below the least normal one become zero. ``special`` (NaN alone; or plus and minus
    infinity, both: NaN) replaces the number.

    Parameters
    ----------
    width : bits of the integer, 2 to 128
    scaled : whether there are ``exponent`` and ``nan``
    special_bits : 0 to 2

    Members
    -------
    i : In(signed(width))
    exponent : In(signed(EXPONENT_BITS)), with ``scaled``
    nan : In(1), with ``scaled``: the result is NaN
    special : In(special_bits), if there are any
    o : Out(32)
    en : In(1), the pipeline advances
    """

    LATENCY = 3
    EXPONENT_BITS = 10

    def __init__(self, width, *, scaled=False, special_bits=0):
        if not isinstance(width, int) or not 2 <= width <= 128:
            raise ValueError(f"width must be an integer from 2 to 128, not {width!r}")
        self.width, self.scaled, self.special_bits = width, scaled, special_bits
        members = {"i": In(signed(width)), "o": Out(32), "en": In(1)}
        if scaled:
            members |= {"exponent": In(signed(self.EXPONENT_BITS)), "nan": In(1)}
        if special_bits:
            members |= {"special": In(special_bits)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        en, width = self.en, self.width
        nan, infinite, sign = self.nan if self.scaled else C(0), C(0), self.i[-1]
        if self.special_bits:
            nan = nan | self.special.all()
        if self.special_bits == 2:
            infinite, sign = self.special.any(), Mux(self.special.any(), self.special[1], sign)

        # Cycle 1: magnitude.
        magnitude = register(
            m, en, "r1_magnitude", named(m, "magnitude", Mux(self.i[-1], -self.i, self.i)[:width])
        )
        r1_flags = register(m, en, "r1_flags", Cat(nan, infinite, sign))

        # Cycle 2: normalise; the exponent is the biased one of a number whose highest bit is normal[-1].
        steps = [step for step in (64, 32, 16, 8, 4, 2, 1) if step < width]
        normal, count = normalise(m, "normalise", magnitude, magnitude, steps)
        exponent = 126 + width - count
        if self.scaled:
            exponent = exponent + register(m, en, "r1_exponent", self.exponent)
        r2_exponent = register(m, en, "r2_exponent", exponent.as_signed() if self.scaled else exponent)
        r2_zero = register(m, en, "r2_zero", magnitude == 0)
        # The significand, and what is below it; two bits suffice.
        extended = normal if width >= 26 else Cat(Const(0, 26 - width), normal)
        r2_normal = register(m, en, "r2_normal", Cat(extended[:-25].any(), extended[-25:]))
        r2_flags = register(m, en, "r2_flags", r1_flags)

        # Cycle 3: round.
        infinite, zero = r2_flags[1], r2_zero
        if self.scaled:
            infinite = infinite | (r2_exponent > 254) & ~r2_zero
            zero = zero | (r2_exponent < 1)
        zero = zero & ~r2_flags[1]
        m.d.comb += self.o.eq(
            register(
                m,
                en,
                "r3_o",
                pack(
                    m,
                    r2_flags[2] & ~zero,
                    r2_exponent[:9],
                    r2_normal[2:],
                    r2_normal[1],
                    r2_normal[0],
                    nan=r2_flags[0],
                    infinite=infinite,
                    zero=zero,
                ),
            )
        )
        return m


class FloatToInt8(wiring.Component):
    """A binary32 number rounded to the nearest integer, ties to even, clamped to -127 .. 127; NaN gives 0.

    ``o`` follows ``i`` after ``LATENCY`` cycles in which ``en`` is 1.

    Members
    -------
    i : In(32)
    o : Out(signed(8))
    en : In(1), the pipeline advances
    """

    i: In(32)
    o: Out(signed(8))
    en: In(1)

    LATENCY = 1

    def elaborate(self, platform):
        m = Module()
        exponent = self.i[23:31]
        nan = (exponent == 0xFF) & (self.i[:23] != 0)
        below = exponent < 125  # less than a quarter
        above = exponent > 133  # 128 or more
        shift = (133 - exponent)[:4]
        fixed = named(m, "fixed", Cat(Const(0, 8), self.i[:23], Const(1, 1)) >> shift)
        up = fixed[24] & ((fixed[:24] != 0) | fixed[25])
        rounded = named(m, "rounded", (fixed[25:32] + up)[:8])
        magnitude = named(m, "clamped", Mux(nan | below, 0, Mux(above | rounded[7], 127, rounded[:7]))[:7])
        m.d.comb += self.o.eq(
            register(m, self.en, "r1_o", Mux(self.i[31], -magnitude, magnitude)[:8]).as_signed()
        )
        return m
