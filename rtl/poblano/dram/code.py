"""The code words of a DRAM's bursts."""

from amaranth.lib import data
import numpy as np

from ..ecc.hsiao import HsiaoCode

__all__ = ["WORD_BYTES", "BurstCode"]

WORD_BYTES = 32
"""Of a code word, at the most."""


class BurstCode:
    """How a DRAM's burst is made of code words, and what their sidebands are.

    A burst has a word for each 32 bytes, or one if it is narrower. A word's data are its bytes, *poison*,
    which says that its bytes are not known, and the parity of the burst's place, all of which its check bits
    protect. They fit the sideband: of 32 bytes and 16 bits, 10 are check bits and 2 are poison and parity.

    Parameters
    ----------
    timing : TimingSet

    Members
    -------
    words : of a burst
    bytes : of a word
    code : HsiaoCode of a word
    sideband : StructLayout of a word's part of the sideband: checks, poison, parity; the other bits are 0
    """

    def __init__(self, timing):
        self.words = max(1, timing.burst_bytes // WORD_BYTES)
        self.bytes = timing.burst_bytes // self.words
        self.code = HsiaoCode(8 * self.bytes + 2)
        self.sideband_bits = timing.sideband_bits // self.words
        used = self.code.checks + 2
        if self.sideband_bits < used:
            raise ValueError(
                f"ecc needs {used} sideband bits for each {self.bytes} bytes, {timing.name} has "
                f"{self.sideband_bits}"
            )
        self.sideband = data.StructLayout(
            {"checks": self.code.checks, "poison": 1, "parity": 1, "unused": self.sideband_bits - used}
        )

    def encode(self, burst, *, parity, poison=0):
        """Python: the sideband, an integer, of a burst's bytes at a place of this ``parity``; ``poison`` is
        0 or 1 for all of its words."""
        words = np.frombuffer(bytes(burst), np.uint8).reshape(self.words, self.bytes)
        sideband = 0
        for n, word in enumerate(words):
            bits = np.concatenate([np.unpackbits(word, bitorder="little"), [poison, parity]])
            checks = np.packbits(self.code.encode(bits), bitorder="little").tobytes()
            own = int.from_bytes(checks, "little") | (poison | parity << 1) << self.code.checks
            sideband |= own << n * self.sideband_bits
        return sideband
