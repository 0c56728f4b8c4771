"""Squares of binary32 numbers."""

from amaranth.hdl import C, Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .float32 import named, pack, register

__all__ = ["FloatSquare"]


class FloatSquare(wiring.Component):
    """A binary32 number times itself, as :class:`FloatMultiply` rounds it.

    ``o`` follows ``i`` after ``LATENCY`` cycles in which ``en`` is 1; a new square can start in every such
    cycle.

    Members
    -------
    i : In(32)
    o : Out(32)
    en : In(1), the pipeline advances
    """

    i: In(32)
    o: Out(32)
    en: In(1)

    LATENCY = 3

    def elaborate(self, platform):
        m = Module()
        en = self.en

        # Cycle 1: multiply halves, as both mixed products are the same. Subnormal numbers have squares that
        # round to zero.
        fraction, exponent = self.i[:23], self.i[23:31]
        low, high = fraction[:12], Cat(fraction[12:], C(1, 1))
        squares = register(m, en, "r1_squares", Cat(low * low, high * high))
        mixed = register(m, en, "r1_mixed", low * high)
        # The result's biased exponent if the product's bit 47 is its highest.
        r1_exponent = register(m, en, "r1_exponent", (2 * exponent - 126).as_signed())
        special = exponent == 0xFF
        r1_flags = register(
            m, en, "r1_flags", Cat(special & (fraction != 0), special & (fraction == 0), exponent == 0)
        )

        # Cycle 2: add; how far to normalise, not beyond the least exponent.
        product = register(m, en, "r2_product", (squares + (mixed << len(low) + 1))[: len(squares)])
        r2_exponent = register(m, en, "r2_exponent", r1_exponent)
        r2_flags = register(m, en, "r2_flags", r1_flags)
        tiny = register(m, en, "r2_tiny", r1_exponent < 1)
        above = register(m, en, "r2_above", r1_exponent > 1)
        back = named(m, "back", (1 - r1_exponent)[:8])
        back5 = register(m, en, "r2_back5", Mux(back > 31, 31, back)[:5])

        # Cycle 3: normalise and round.
        right = named(m, "right", product >> back5)
        lost = (product[:31] & ~(Const(0x7FFFFFFF, 31) << back5)[:31]) != 0
        up = ~product[47] & above
        normal = named(m, "normal", Mux(tiny, right, Mux(up, product << 1, product))[:48])
        m.d.comb += self.o.eq(
            register(
                m,
                en,
                "r3_o",
                pack(
                    m,
                    C(0, 1),
                    Mux(tiny, 1, r2_exponent - up)[:9],
                    normal[24:],
                    normal[23],
                    (normal[:23] != 0) | (tiny & lost),
                    nan=r2_flags[0],
                    infinite=r2_flags[1],
                    zero=r2_flags[2],
                ),
            )
        )
        return m
