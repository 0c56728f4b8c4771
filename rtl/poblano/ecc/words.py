"""Words with their check bits, cut into codes of a few dozen bits."""

from functools import cached_property

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
import numpy as np

from ..verilog import place
from .decoder import ECCDecoder
from .encoder import ECCEncoder
from .hsiao import HsiaoCode

__all__ = ["CODE_BITS", "CodedWord", "WordDecoder", "WordEncoder"]

CODE_BITS = 64
"""Most data bits of a code. Wider ones have fewer check bits in all, and deeper trees of gates."""


class CodedWord:
    """How a word of ``width`` bits is kept: its bits, and then the check bits of each of its codes.

    The word is cut into as few codes of at most :data:`CODE_BITS` as there can be, of one size or one bit
    less. Each code corrects one flipped bit and detects two.

    Parameters
    ----------
    width : bits of the word
    """

    def __init__(self, width):
        self.width = width

    @cached_property
    def codes(self):
        """The :class:`HsiaoCode` of each part of the word, the low one first."""
        count = -(-self.width // CODE_BITS)
        return tuple(HsiaoCode((self.width + n) // count) for n in reversed(range(count)))

    @property
    def checks(self):
        return sum(code.checks for code in self.codes)

    @property
    def bits(self):
        """Bits of the word with its check bits."""
        return self.width + self.checks

    @property
    def places(self):
        """(code, first bit of its data, first bit of its check bits) of each code."""
        data, checks = 0, self.width
        for code in self.codes:
            yield code, data, checks
            data, checks = data + code.data, checks + code.checks

    def encode(self, words):
        """``words``, (..., width) of bool, as they are kept: (..., bits) of bool."""
        words = np.asarray(words, bool)
        parts = [code.encode(words[..., data : data + code.data]) for code, data, _ in self.places]
        return np.concatenate([words, *parts], axis=-1)

    def decode(self, kept):
        """Words as they are kept, corrected; whether a bit of them was; whether one of their codes failed.

        (..., bits) of bool give (..., width), (...) and (...) of bool.
        """
        kept = np.asarray(kept, bool)
        words, corrected, failed = [], False, False
        for code, data, checks in self.places:
            word, one, two = code.decode(
                kept[..., data : data + code.data], kept[..., checks : checks + code.checks]
            )
            words.append(word)
            corrected, failed = corrected | one, failed | two
        return np.concatenate(words, axis=-1), corrected, failed


class WordEncoder(wiring.Component):
    """A word with its check bits, as :class:`CodedWord` keeps it.

    Latency: combinational.

    Parameters
    ----------
    width : bits of the word

    Members
    -------
    i : In(width)
    o : Out(CodedWord(width).bits)
    """

    def __init__(self, width):
        self.width = width
        super().__init__({"i": In(width), "o": Out(CodedWord(width).bits)})

    def elaborate(self, platform):
        m = Module()
        checks = []
        for n, (code, data, _) in enumerate(CodedWord(self.width).places):
            encoder = place(m, f"code{n}", ECCEncoder(code))
            m.d.comb += encoder.data.eq(self.i[data : data + code.data])
            checks.append(encoder.checks)
        m.d.comb += self.o.eq(Cat(self.i, *checks))
        return m


class WordDecoder(wiring.Component):
    """A word as :class:`CodedWord` keeps it, corrected.

    Latency: combinational.

    Parameters
    ----------
    width : bits of the word

    Members
    -------
    i : In(CodedWord(width).bits)
    o : Out(width), the word
    repaired : Out(CodedWord(width).bits), the word with its check bits
    corrected : Out(1), a bit of a code was corrected, or of several codes one each
    failed : Out(1), more bits have flipped in a code than it can correct
    """

    def __init__(self, width):
        self.width = width
        bits = CodedWord(width).bits
        super().__init__(
            {"i": In(bits), "o": Out(width), "repaired": Out(bits), "corrected": Out(1), "failed": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        decoders = []
        for n, (code, data, checks) in enumerate(CodedWord(self.width).places):
            decoder = place(m, f"code{n}", ECCDecoder(code))
            m.d.comb += [
                decoder.data.eq(self.i[data : data + code.data]),
                decoder.checks.eq(self.i[checks : checks + code.checks]),
            ]
            decoders.append(decoder)
        m.d.comb += [
            self.o.eq(Cat(decoder.o for decoder in decoders)),
            self.repaired.eq(Cat(self.o, *(decoder.repaired for decoder in decoders))),
            self.corrected.eq(Cat(decoder.corrected for decoder in decoders).any()),
            self.failed.eq(Cat(decoder.failed for decoder in decoders).any()),
        ]
        return m
