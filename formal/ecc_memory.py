"""A memory with check bits: what is read is what was written, although bits flip."""

from types import SimpleNamespace

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from poblano.ecc import memory
from poblano.ecc.words import CodedWord

from .harness import Harness, Mutation, Property

GRANULES, DEPTH = 2, 2


class Array(wiring.Component):
    """A memory of registers in the place of Amaranth's, whose bits flip where ``flips`` says: those of the
    word at ``row``, before the cycle's write."""

    def __init__(self, *, shape, depth, init):
        self.words = [Signal(shape, name=f"word{n}", reset_less=True) for n in range(depth)]
        addr = range(depth)
        super().__init__({"flips": In(shape), "row": In(addr)})
        self.read = SimpleNamespace(en=Signal(), addr=Signal(addr), data=Signal(shape, reset_less=True))
        self.write = SimpleNamespace(en=Signal(GRANULES), addr=Signal(addr), data=Signal(shape))

    def read_port(self):
        return self.read

    def write_port(self, *, granularity):
        self.granularity = granularity
        return self.write

    def elaborate(self, platform):
        m = Module()
        for n, word in enumerate(self.words):
            with m.If(self.row == n):
                m.d.sync += word.eq(word ^ self.flips)
            with m.If(self.read.en & (self.read.addr == n)):
                m.d.sync += self.read.data.eq(word)
            for g in range(GRANULES):
                part = word.word_select(g, self.granularity)
                with m.If(self.write.en[g] & (self.write.addr == n)):
                    m.d.sync += part.eq(self.write.data.word_select(g, self.granularity))
        return m


class Reads(Harness):
    """One arbitrary granule of one arbitrary word is watched; a bit of it flips in any cycle, but not before
    it has been written, and not twice before it is written again. Granules have one bit, of which the array
    keeps four."""

    def prove(self, m):
        arrays = []

        def make(**arguments):
            arrays.append(Array(**arguments))
            return arrays[-1]

        memory.memory = SimpleNamespace(Memory=make)
        dut, inside = self.peek(
            "dut", memory.ECCMemory(width=GRANULES, granularity=1, depth=DEPTH, write_back=True)
        )
        (array,) = arrays
        kept = CodedWord(1).bits
        row, granule = self.constant("row", range(DEPTH)), self.constant("granule", range(GRANULES))
        place = self.free("place", range(kept + 1))  # or none
        flips = Signal(kept)
        m.d.comb += [
            flips.eq(C(1, kept) << place),
            array.row.eq(row),
            array.flips.eq(flips << kept * granule),
        ]
        # What was written last; whether a bit of it has flipped since.
        value, known, flipped = Signal(), Signal(), Signal()
        own = lambda values: values.bit_select(granule, 1)
        written = own(dut.write.en) & (dut.write.addr == row)
        stored = own(array.write.en) & (array.write.addr == row)
        self.assume(~flips.any() | (known & ~flipped))
        with m.If(written):
            m.d.sync += [value.eq(own(dut.write.data)), known.eq(1)]
        m.d.sync += flipped.eq(Mux(stored, 0, flipped | flips.any()))
        # The word as it was when it was read.
        shown, expected, had_flip = Signal(), Signal(), Signal()
        with m.If(dut.read.en):
            m.d.sync += [shown.eq((dut.read.addr == row) & known), expected.eq(value), had_flip.eq(flipped)]
        self.check("data", ~shown | (own(dut.read.data) == expected))
        self.check("failed", ~shown | ~own(dut.failed))
        self.check("corrected", ~shown | (own(dut.corrected) == had_flip))
        # The array is what was written, but for the flip: no write-back was of an older word.
        words = [word.word_select(granule, kept) for word in array.words]
        word = Mux(row, words[1], words[0])
        ones = sum(word[n] ^ (value if n == 0 else word_check(value, n)) for n in range(kept))
        self.check("array", ~known | (ones == flipped))
        # A word that shows a flip, and has not been written since, is written in the next cycle without a
        # write.
        since = Signal()
        with m.If(dut.read.en):
            m.d.sync += since.eq(~written & ~(dut.write.en.any() & (dut.write.addr == row)))
        with m.Elif(dut.write.en.any() & (dut.write.addr == row)):
            m.d.sync += since.eq(0)
        with m.Elif(~dut.write.en.any()):
            m.d.sync += since.eq(0)
        due = shown & had_flip & since & ~dut.write.en.any()
        self.check("written back", ~due | stored)
        self.cover("corrected", shown & own(dut.corrected))
        self.cover("written back", due & stored)
        self.cover("flips again", shown & had_flip & flips.any())


def word_check(value, n):
    """The check bit that is bit ``n`` of a granule of the one bit ``value``."""
    (code,) = CodedWord(1).codes
    return value & (code.columns[0] >> n - 1 & 1)


MODULE, WORDS, DECODER = "poblano.ecc.memory", "poblano.ecc.words", "poblano.ecc.decoder"
PROPERTIES = (
    Property(
        "reads",
        Reads,
        "reads give what was written last, with any one flipped bit since; a corrected word is written back "
        "when nothing else is written, and never over a newer one",
        frames=12,
        mutations=(
            Mutation(
                "over a write in the read's cycle",
                MODULE,
                "~(writes & (self.write.addr == self.read.addr))",
                "1",
            ),
            Mutation("over a later write", MODULE, "~writes | (self.write.addr == addr)", "~writes"),
            Mutation("to another word", MODULE, "write.addr.eq(addr)", "write.addr.eq(self.read.addr)"),
            Mutation("not written back", MODULE, "Mux(current, self.corrected & ~self.failed, 0)", "0"),
            Mutation("over a write", MODULE, "m.If(~writes)", "m.If(1)"),
            Mutation(
                "flip kept",
                DECODER,
                "self.repaired.eq(self.checks ^ corrector.check_flipped)",
                "self.repaired.eq(self.checks)",
            ),
            Mutation(
                "no correction",
                WORDS,
                "Cat(decoder.o for decoder in decoders)",
                "Cat(decoder.data for decoder in decoders)",
            ),
        ),
    ),
)
