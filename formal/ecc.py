"""Check bits: any one flipped bit is corrected, any two are detected."""

from functools import partial

from amaranth.hdl import *

from poblano.ecc.decoder import ECCDecoder
from poblano.ecc.encoder import ECCEncoder
from poblano.ecc.hsiao import HsiaoCode

from .harness import Harness, Mutation, Property


class Flips(Harness):
    """An arbitrary word, written with its check bits and read with two arbitrary bits flipped, or one, or
    none."""

    def __init__(self, data):
        super().__init__()
        self.code = HsiaoCode(data)

    def prove(self, m):
        code = self.code
        written = self.free("written", code.data)
        encoder = self.add("encoder", ECCEncoder(code), driven=("data",))
        decoder = self.add("decoder", ECCDecoder(code), driven=("data", "checks"))
        places = [self.free(f"place{n}", range(code.bits + 1)) for n in range(2)]
        first, second = (place < code.bits for place in places)  # or no bit flips there
        flipped = Cat((places[0] == n) | (places[1] == n) for n in range(code.bits))
        two = first & second & (places[0] != places[1])
        one = (first | second) & ~two
        m.d.comb += [
            encoder.data.eq(written),
            Cat(decoder.data, decoder.checks).eq(Cat(written, encoder.checks) ^ flipped),
        ]
        self.check("data", two | (decoder.o == written))
        self.check("check bits", two | (decoder.repaired == encoder.checks))
        self.check("corrected", decoder.corrected == one)
        self.check("failed", decoder.failed == two)
        self.cover("one", one)
        self.cover("two", two)


class Columns(Harness):
    """Any word and check bits: what the gates do is what the columns say, of which ``tests/test_ecc.py``
    tries all pairs. Of flips in wide words, whose parities would have to cancel, solvers decide nothing."""

    def __init__(self, data):
        super().__init__()
        self.code = HsiaoCode(data)

    def prove(self, m):
        code = self.code
        encoder, decoder = self.add("encoder", ECCEncoder(code)), self.add("decoder", ECCDecoder(code))
        for check in range(code.checks):
            ones = [encoder.data[n] for n, column in enumerate(code.columns) if column >> check & 1]
            self.check(f"check bit {check}", encoder.checks[check] == Cat(ones).xor())
        syndrome = Signal(code.checks)
        for check in range(code.checks):
            ones = [decoder.data[n] for n, column in enumerate(code.columns) if column >> check & 1]
            m.d.comb += syndrome[check].eq(Cat(ones).xor() ^ decoder.checks[check])
        for n, column in enumerate(code.columns):
            self.check(f"bit {n}", decoder.o[n] == decoder.data[n] ^ (syndrome == column))
        for n in range(code.checks):
            flipped = syndrome == 1 << n
            self.check(f"repaired {n}", decoder.repaired[n] == decoder.checks[n] ^ flipped)
        columns = (*code.columns, *(1 << check for check in range(code.checks)))
        known = Cat(syndrome == column for column in columns).any()
        self.check("corrected", decoder.corrected == known)
        self.check("failed", decoder.failed == (syndrome.any() & ~known))
        self.cover("corrected", decoder.corrected)
        self.cover("failed", decoder.failed)


ENCODER, DECODER, CORRECTOR = (f"poblano.ecc.{name}" for name in ("encoder", "decoder", "corrector"))
MUTATIONS = (
    Mutation("a column misses a bit", ENCODER, "column >> check & 1", "(column & -2) >> check & 1"),
    Mutation("check bits unseen", CORRECTOR, "flipped.any() | self.check_flipped.any()", "flipped.any()"),
    Mutation("not corrected", CORRECTOR, "self.o.eq(self.data ^ flipped)", "self.o.eq(self.data)"),
    Mutation(
        "check bits not corrected",
        DECODER,
        "self.repaired.eq(self.checks ^ corrector.check_flipped)",
        "self.repaired.eq(self.checks)",
    ),
    Mutation("double unseen", CORRECTOR, "syndrome.any() & ~self.corrected", "0"),
)
PROPERTIES = (
    *(
        Property(
            f"flips-{data}",
            partial(Flips, data),
            f"of {data} bits and their check bits, one flipped bit is corrected and two are detected",
            method="bounded",
            depth=2,
            frames=2,
            mutations=MUTATIONS if data == 32 else (),
        )
        for data in (8, 32)
    ),
    *(
        Property(
            f"columns-{data}",
            partial(Columns, data),
            f"of {data} bits, the gates' check bits, corrections and errors are those of the code's columns",
            method="bounded",
            depth=2,
            frames=2,
            mutations=MUTATIONS if data == 64 else (),
        )
        for data in (64, 258)
    ),
)
