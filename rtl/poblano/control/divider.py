"""Division, some bits a cycle."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Divider"]


class Divider(wiring.Component):
    """``o`` is ``dividend`` (at least 1) divided by ``divisor`` (at least 1), rounded up.

    Latency: 6 cycles after that of ``start``, in which the operands are taken; ``o`` stays until the next.

    Members
    -------
    start : In(1)
    dividend : In(16), divisor : In(8)
    o : Out(16)
    """

    start: In(1)
    dividend: In(16)
    divisor: In(8)
    o: Out(16)

    BITS = 3
    """Bits of the quotient in a cycle."""
    LATENCY = -(-16 // BITS)

    def elaborate(self, platform):
        m = Module()
        # The bits of the dividend that are left, from the top; behind them those of the quotient so far.
        bits, rest = Signal(self.BITS * self.LATENCY), Signal(8)
        divisor, left = Signal(8), Signal(range(self.LATENCY + 1))
        quotient: list[Value] = []
        remainder: Value = rest
        for n in range(self.BITS):
            shifted = Cat(bits[-1 - n], remainder)
            fits = shifted >= divisor
            remainder = Mux(fits, shifted - divisor, shifted)[:8]
            quotient.append(fits)
        with m.If(self.start):
            m.d.sync += [
                bits.eq(self.dividend - 1),
                rest.eq(0),
                divisor.eq(self.divisor),
                left.eq(self.LATENCY),
            ]
        with m.Elif(left != 0):
            m.d.sync += [bits.eq(Cat(*reversed(quotient), bits)), rest.eq(remainder), left.eq(left - 1)]
        m.d.comb += self.o.eq(bits + 1)
        return m
