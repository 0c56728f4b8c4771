"""Check bits of a word."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .hsiao import HsiaoCode

__all__ = ["ECCEncoder", "parities"]


def parities(code: HsiaoCode, word):
    """The check bits (a Value) of a ``word`` (a Value) of ``code``: the exclusive or of its ones' columns."""
    return Cat(
        Cat(word[n] for n, column in enumerate(code.columns) if column >> check & 1).xor()
        for check in range(code.checks)
    )


class ECCEncoder(wiring.Component):
    """The check bits of a word.

    Latency: combinational.

    Parameters
    ----------
    code : HsiaoCode

    Members
    -------
    data : In(code.data)
    checks : Out(code.checks)
    """

    def __init__(self, code: HsiaoCode):
        self.code = code
        super().__init__({"data": In(code.data), "checks": Out(code.checks)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.checks.eq(parities(self.code, self.data))
        return m
