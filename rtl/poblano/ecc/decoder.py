"""A word corrected by its check bits."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..verilog import place
from .corrector import ECCCorrector
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
        corrector = place(m, "corrector", ECCCorrector(self.code))
        m.d.comb += [
            corrector.data.eq(self.data),
            corrector.syndrome.eq(parities(self.code, self.data) ^ self.checks),
            self.o.eq(corrector.o),
            self.repaired.eq(self.checks ^ corrector.check_flipped),
            self.corrected.eq(corrector.corrected),
            self.failed.eq(corrector.failed),
        ]
        return m
