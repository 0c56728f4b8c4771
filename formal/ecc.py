"""Check bits: any one flipped bit is corrected, any two are detected."""

from functools import partial

from amaranth.hdl import *

from poblano.ecc.decoder import ECCDecoder
from poblano.ecc.encoder import ECCEncoder
from poblano.ecc.hsiao import HsiaoCode

from .harness import Harness, Mutation, Property


class Flips(Harness):
    """A word, written with its check bits and read with two arbitrary bits flipped, or one, or none.

    The word is arbitrary, or zero if ``zero``: the check bits are made of exclusive ors alone, so that the
    syndrome depends on the flips and not on the word (``tests/test_ecc.py`` looks at the gates).
    """

    def __init__(self, data, zero):
        super().__init__()
        self.code, self.zero = HsiaoCode(data), zero

    def prove(self, m):
        code = self.code
        written = C(0, code.data) if self.zero else self.free("written", code.data)
        encoder = self.add("encoder", ECCEncoder(code))
        decoder = self.add("decoder", ECCDecoder(code))
        places = [self.free(f"place{n}", range(code.bits + 1)) for n in range(2)]
        first, second = (place < code.bits for place in places)  # or no bit flips there
        same = places[0] == places[1]
        flipped = Cat((places[0] == n) | (places[1] == n) for n in range(code.bits))
        two = first & second & ~same
        one = (first | second) & ~two
        m.d.comb += [
            encoder.data.eq(written),
            Cat(decoder.data, decoder.checks).eq(Cat(written, encoder.checks) ^ flipped),
        ]
        two = flipped.any() & ~one
        self.check("data", two | (decoder.o == written))
        self.check("corrected", decoder.corrected == one)
        self.check("failed", decoder.failed == two)
        self.cover("one", one)
        self.cover("two", two)


ENCODER, DECODER = "poblano.ecc.encoder", "poblano.ecc.decoder"
MUTATIONS = (
    Mutation("a column misses a bit", ENCODER, "column >> check & 1", "(column & -2) >> check & 1"),
    Mutation("check bits unseen", DECODER, "flipped.any() | check_flipped.any()", "flipped.any()"),
    Mutation("not corrected", DECODER, "self.o.eq(self.data ^ flipped)", "self.o.eq(self.data)"),
    Mutation("double unseen", DECODER, "syndrome.any() & ~self.corrected", "0"),
)
WIDTHS = (8, 32, 64, 258)
ANY = 32  # widest of which solvers decide any word's parities
PROPERTIES = tuple(
    Property(
        f"flips-{data}",
        partial(Flips, data, data > ANY),
        f"of {data} bits and their check bits, one flipped bit is corrected and two are detected",
        frames=2,
        mutations=MUTATIONS if data == 32 else (),
    )
    for data in WIDTHS
)
