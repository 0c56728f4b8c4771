"""A word corrected by its check bits."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .encoder import parities
from .hsiao import HsiaoCode

__all__ = ["ECCDecoder"]


class ECCDecoder(wiring.Component):
    """A word corrected by its check bits.

    Latency: combinational.

    If one bit of a word or of its check bits has flipped, or none, ``o`` is what was written; ``corrected``
    says that one has, and ``repaired`` are the check bits of ``o``. If two have flipped, ``failed`` is 1, and
    ``o`` and ``repaired`` are ``data`` and ``checks`` as they are. More may be taken for one.

    Parameters
    ----------
    code : HsiaoCode

    Members
    -------
    data : In(code.data)
    checks : In(code.checks)
    o : Out(code.data)
    repaired : Out(code.checks)
    corrected : Out(1)
    failed : Out(1)
    """

    def __init__(self, code: HsiaoCode):
        self.code = code
        super().__init__(
            {
                "data": In(code.data),
                "checks": In(code.checks),
                "o": Out(code.data),
                "repaired": Out(code.checks),
                "corrected": Out(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        code = self.code
        syndrome = Signal(code.checks)
        flipped, check_flipped = Signal(code.data), Signal(code.checks)
        m.d.comb += [
            syndrome.eq(parities(code, self.data) ^ self.checks),
            flipped.eq(Cat(syndrome == column for column in code.columns)),
            check_flipped.eq(Cat(syndrome == 1 << check for check in range(code.checks))),
            self.o.eq(self.data ^ flipped),
            self.repaired.eq(self.checks ^ check_flipped),
            self.corrected.eq(flipped.any() | check_flipped.any()),
            self.failed.eq(syndrome.any() & ~self.corrected),
        ]
        return m
