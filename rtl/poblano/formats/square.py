"""Squares of binary32 numbers."""

from amaranth.hdl import C, Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .float32 import named, pack, register

__all__ = ["FloatSquare"]


def _square(value):
    """``value * value`` by three multipliers of half its width, as both mixed products are the same."""
    half = len(value) // 2
    low, high = value[:half], value[half:]
    return (Cat(low * low, high * high) + ((low * high) << half + 1))[: 2 * len(value)]


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

    LATENCY = 2

    def elaborate(self, platform):
        m = Module()
        en = self.en

        # Cycle 1: multiply. Subnormal numbers have squares that round to zero.
        fraction, exponent = self.i[:23], self.i[23:31]
        r1_product = register(m, en, "r1_product", named(m, "product", _square(Cat(fraction, C(1, 1)))))
        # The result's biased exponent if the product's bit 47 is its highest.
        r1_exponent = register(m, en, "r1_exponent", (2 * exponent - 126).as_signed())
        special = exponent == 0xFF
        r1_flags = register(
            m, en, "r1_flags", Cat(special & (fraction != 0), special & (fraction == 0), exponent == 0)
        )

        # Cycle 2: normalise, not beyond the least exponent, and round.
        tiny = named(m, "tiny", r1_exponent < 1)
        back = named(m, "back", (1 - r1_exponent)[:8])
        back5 = named(m, "back5", Mux(back > 31, 31, back)[:5])
        right = named(m, "right", r1_product >> back5)
        lost = (r1_product[:31] & ~(Const(0x7FFFFFFF, 31) << back5)[:31]) != 0
        up = ~r1_product[47] & (r1_exponent > 1)
        normal = named(m, "normal", Mux(tiny, right, Mux(up, r1_product << 1, r1_product))[:48])
        m.d.comb += self.o.eq(
            register(
                m,
                en,
                "r2_o",
                pack(
                    m,
                    C(0, 1),
                    Mux(tiny, 1, r1_exponent - up)[:9],
                    normal[24:],
                    normal[23],
                    (normal[:23] != 0) | (tiny & lost),
                    nan=r1_flags[0],
                    infinite=r1_flags[1],
                    zero=r1_flags[2],
                ),
            )
        )
        return m
