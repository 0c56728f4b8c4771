"""A DRAM's bursts corrected by their sidebands."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..ecc.corrector import ECCCorrector
from ..ecc.encoder import parities
from ..verilog import place
from .config import DramConfig

__all__ = ["BurstCheck"]


class BurstCheck(wiring.Component):
    """Corrects a burst by its sideband, and says what its words cannot be used for.

    Latency: 1 cycle. One burst a cycle.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    data : In(bits of a burst), sideband : In(its sideband), as they are stored
    parity : In(1), of the place that was to be read
    o : Out(bits of a burst)
    corrected : Out(1), a word had one flipped bit, be it of its sideband
    broken : Out(1), a word had two
    failed : Out(words), the word's bytes are not known: it had two, it is poisoned, or it was written to
        another place
    """

    def __init__(self, config: DramConfig):
        self.config = config
        bits = config.axi.data_width
        super().__init__(
            {
                "data": In(bits),
                "sideband": In(config.timing.sideband_bits),
                "parity": In(1),
                "o": Out(bits),
                "corrected": Out(1),
                "broken": Out(1),
                "failed": Out(config.code.words),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = self.config.code
        code, width = words.code, 8 * words.bytes
        parity = Signal()
        m.d.sync += parity.eq(self.parity)
        corrected, broken = Signal(words.words), Signal(words.words)
        for n in range(words.words):
            sideband = words.sideband(self.sideband.word_select(n, words.sideband_bits))
            word = Cat(self.data.word_select(n, width), sideband.poison, sideband.parity)
            # Cycle 1: what is wrong with its parities.
            corrector = place(m, f"corrector{n}", ECCCorrector(code))
            read, syndrome = Signal(code.data, name=f"read{n}"), Signal(code.checks, name=f"syndrome{n}")
            m.d.sync += [read.eq(word), syndrome.eq(parities(code, word) ^ sideband.checks)]
            # After it: the bit that this is.
            poison, written = corrector.o[width], corrector.o[width + 1]
            m.d.comb += [
                corrector.data.eq(read),
                corrector.syndrome.eq(syndrome),
                self.o.word_select(n, width).eq(corrector.o),
                corrected[n].eq(corrector.corrected),
                broken[n].eq(corrector.failed),
                self.failed[n].eq(corrector.failed | poison | (written != parity)),
            ]
        m.d.comb += [self.corrected.eq(corrected.any()), self.broken.eq(broken.any())]
        return m
