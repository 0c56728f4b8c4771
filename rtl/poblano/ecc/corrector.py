"""A word corrected by its syndrome."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .hsiao import HsiaoCode

__all__ = ["ECCCorrector"]


class ECCCorrector(wiring.Component):
    """A word corrected by its syndrome, which is the exclusive or of the check bits that it should have and
    those that it has; what :class:`~poblano.ecc.decoder.ECCDecoder` does after the parities.

    Latency: combinational.

    Parameters
    ----------
    code : HsiaoCode

    Members
    -------
    data : In(code.data)
    syndrome : In(code.checks)
    o : Out(code.data), ``corrected`` : Out(1), ``failed`` : Out(1) : those of the decoder
    check_flipped : Out(code.checks), the check bit that has flipped
    """

    def __init__(self, code: HsiaoCode):
        self.code = code
        super().__init__(
            {
                "data": In(code.data),
                "syndrome": In(code.checks),
                "o": Out(code.data),
                "check_flipped": Out(code.checks),
                "corrected": Out(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        code, syndrome = self.code, self.syndrome
        flipped = Signal(code.data)
        m.d.comb += [
            flipped.eq(Cat(syndrome == column for column in code.columns)),
            self.check_flipped.eq(Cat(syndrome == 1 << check for check in range(code.checks))),
            self.o.eq(self.data ^ flipped),
            self.corrected.eq(flipped.any() | self.check_flipped.any()),
            self.failed.eq(syndrome.any() & ~self.corrected),
        ]
        return m
