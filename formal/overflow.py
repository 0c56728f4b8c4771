"""Block sums fit: 32 products of any pair of formats, in the sum's derived width."""

from functools import partial

from amaranth.hdl import *
from amaranth.lib import data

from poblano.formats.element import BLOCK, FORMATS, Arithmetic, decode_operand

from .harness import Harness, Mutation, Property


class Fits(Harness):
    """Codes are free. With :mod:`.pe`, which proves that a processing element adds the exact product, this
    makes block sums exact.

    The operands of all finite codes of the format have the values of its table, in an array of this format
    alone and in one of all formats; and with every weight element, 32 products of such values fit, step by
    step, the sum of the two formats alone, the narrowest.
    """

    def __init__(self, name):
        super().__init__()
        self.name, self.activation = name, FORMATS[name][0]

    def prove(self, m):
        a_code, w_code = self.free("a_code", 8), self.free("w_code", 8)
        own = (self.name, "int4") if self.name == "int8" else (self.name,)
        for context, formats in (("own", own), ("all", tuple(FORMATS))):
            arithmetic = Arithmetic(formats)
            bits = arithmetic.special_bits
            element = self.activation.element
            a = decode_operand(C(element), a_code, arithmetic.activation_elements, bits, symmetric=True)
            self._operand(
                f"activation {context}",
                data.View(arithmetic.activation_operand, a),
                a_code,
                self.activation.integers(range(256)),
                bits,
                self.activation.largest,
            )
            for weight in (weight for name in own for weight in FORMATS[name][1]):
                w = data.View(
                    arithmetic.weight_operand, decode_operand(C(weight), w_code, arithmetic.weights, bits)
                )
                self._operand(
                    f"weight {weight.name} {context}",
                    w,
                    w_code,
                    weight.values(range(256)) * 2.0**-weight.format.quantum,
                    bits,
                    weight.format.largest,
                )
        for other, (_, weights) in FORMATS.items():
            width = Arithmetic(tuple(sorted({self.name, other}))).sum_width
            for weight in weights:
                largest = self.activation.largest * weight.format.largest
                name = f"{other}_{weight.name}"
                product, before = (
                    self.free(f"product_{name}", signed(width)),
                    self.free(f"before_{name}", signed(width)),
                )
                terms = self.free(f"terms_{name}", range(BLOCK))
                legal = (
                    (product <= largest)
                    & (product >= -largest)
                    & (before <= terms * largest)
                    & (before >= -(terms * largest))
                )
                total = product + before
                self.check(
                    f"fits {name}",
                    ~legal
                    | (
                        (total[:width].as_signed() == total)
                        & (total <= (terms + 1) * largest)
                        & (total >= -((terms + 1) * largest))
                    ),
                )
                self.check(f"width {name}", 2 ** (width - 1) > BLOCK * largest)
                self.cover(f"full {name}", legal & (total == BLOCK * largest))

    def _operand(self, name, operand, code, values, special_bits, largest):
        table = _value(values, code)
        finite, value = (
            Signal(name="finite_" + name.replace(" ", "_")),
            Signal(table.shape(), name="value_" + name.replace(" ", "_")),
        )
        self._m.d.comb += [finite.eq(_finite(values, code)), value.eq(table)]
        exact = operand.significand << operand.exponent if len(operand.exponent) else operand.significand
        self.check(f"value {name}", ~finite | (exact == value))
        self.check(f"largest {name}", ~finite | ((value <= largest) & (value >= -largest)))
        if special_bits:
            self.check(f"special {name}", finite == (operand.special == 0))


def _value(values, code):
    """The integer of a code, of NaN and infinities 0."""
    table = [int(v) if abs(v) < 2.0**100 else 0 for v in values]
    width = max(abs(v) for v in table).bit_length() + 1
    words = [C(v, signed(width)) for v in table]
    for bit in range(8):
        words = [Mux(code[bit], odd, even) for even, odd in zip(words[0::2], words[1::2])]
    return words[0]


def _finite(values, code):
    bad = [n for n, v in enumerate(values) if not abs(v) < 2.0**100]
    return ~Cat(code == n for n in bad).any() if bad else Const(1)


ELEMENT = "poblano.formats.element"
MUTATIONS = {
    "int8": (
        Mutation(
            "one bit short",
            ELEMENT,
            "(BLOCK * activation.largest * weight.format.largest).bit_length() + 1",
            "(BLOCK * activation.largest * weight.format.largest).bit_length()",
        ),
        Mutation("not symmetric", ELEMENT, "if symmetric and form.bits == 8:", "if 0:"),
    ),
    "mxfp8_e5m2": (
        Mutation(
            "infinities forgotten",
            ELEMENT,
            "special = Cat(nan | top & ~sign, nan | top & sign)",
            "special = Cat(nan, nan)",
        ),
    ),
    "mxfp8_e4m3": (
        Mutation(
            "hidden bit",
            ELEMENT,
            "magnitude: Value = Cat(fraction, normal)",
            "magnitude: Value = Cat(fraction, C(1, 1))",
        ),
        Mutation(
            "subnormal exponent", ELEMENT, "shift = (biased - normal)[:form.exponent_bits]", "shift = biased"
        ),
    ),
}


PROPERTIES = tuple(
    Property(
        name,
        partial(Fits, name),
        "with every weight element: operands have their codes' values, and 32 products fit the derived sum "
        "width",
        method="pdr",
        frames=2,
        mutations=MUTATIONS.get(name, ()),
    )
    for name in FORMATS
    if FORMATS[name][0] is not None
)
