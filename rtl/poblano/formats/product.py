"""The product of two unsigned numbers, in a register."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisteredProduct"]


class RegisteredProduct(wiring.Component):
    """``a * b``. It is a module of its own because synthesis keeps the hierarchy, and makes a multiplier
    without anything around it faster: of 24 x 24 bits 4.65 ns, not 5.0, for a twentieth more cells.

    Latency: 1 cycle with ``en``.

    Parameters
    ----------
    widths : bits of ``a`` and ``b``

    Members
    -------
    a, b : In
    o : Out, of as many bits as both
    en : In(1)
    """

    def __init__(self, *widths):
        self.widths = a, b = widths
        super().__init__({"a": In(a), "b": In(b), "o": Out(a + b), "en": In(1)})

    def elaborate(self, platform):
        m = Module()
        product = Signal(len(self.o), reset_less=True)
        with m.If(self.en):
            m.d.sync += product.eq(self.a * self.b)
        m.d.comb += self.o.eq(product)
        return m
