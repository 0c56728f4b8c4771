"""The number formats of blocks of 32: elements, their values, and the exact arithmetic on them.

Elements of 4, 6 and 8 bits: integers, and the floating-point elements of the OCP Microscaling Formats (MX)
specification v1.0. The array multiplies *operands*: a signed significand times a power of two; an element
that fits in 8 bits as a fixed-point number is one without exponent.
"""

from dataclasses import dataclass
import enum
from functools import cached_property

from amaranth.hdl import *
from amaranth.lib import data
import numpy as np

__all__ = [
    "Activation",
    "Arithmetic",
    "Element",
    "ElementFormat",
    "FORMATS",
    "decode_operand",
    "operand_layout",
    "scale_exponent",
]

BLOCK = 32
FIXED_BITS = 8
"""Widest significand of a fixed-point operand."""


@dataclass(frozen=True)
class ElementFormat:
    """An element: sign, ``exponent_bits`` and ``mantissa_bits``, or an integer where there is no exponent.

    ``nan`` and ``infinity``: which specials it has: all but E4M3 as IEEE-754 would, of E4M3 only S.1111.111
    is NaN. Its values are multiples of its quantum, ``2**quantum``.
    """

    name: str
    bits: int
    exponent_bits: int = 0
    mantissa_bits: int = 0
    signed: bool = True
    nan: bool = False
    infinity: bool = False

    @property
    def bias(self):
        return (1 << self.exponent_bits - 1) - 1

    @property
    def quantum(self):
        """log2 of the difference of neighbouring subnormals: 1 - bias - mantissa bits; 0 for integers."""
        return 1 - self.bias - self.mantissa_bits if self.exponent_bits else 0

    @property
    def container(self):
        """Bits of an element in memory: 4 or 8."""
        return 4 if self.bits == 4 else 8

    @cached_property
    def values(self):
        """float64 value of every code, NaN and infinity included."""
        codes = np.arange(1 << self.bits)
        if not self.exponent_bits:
            return np.where(self.signed & (codes >> self.bits - 1), codes - (1 << self.bits), codes).astype(
                np.float64
            )
        mantissa = codes & (1 << self.mantissa_bits) - 1
        exponent = codes >> self.mantissa_bits & (1 << self.exponent_bits) - 1
        magnitude = np.where(
            exponent == 0,
            np.ldexp(mantissa, self.quantum),
            np.ldexp(mantissa + (1 << self.mantissa_bits), exponent - 1 + self.quantum),
        )
        top = exponent == (1 << self.exponent_bits) - 1
        if self.infinity:
            magnitude = np.where(top, np.where(mantissa == 0, np.inf, np.nan), magnitude)
        elif self.nan:
            magnitude = np.where(top & (mantissa == (1 << self.mantissa_bits) - 1), np.nan, magnitude)
        return np.where(codes >> self.bits - 1, -magnitude, magnitude)

    @cached_property
    def largest(self):
        """The largest finite magnitude as an integer, in quanta."""
        finite = self.values[np.isfinite(self.values)]
        return int(np.ldexp(np.abs(finite).max(), -self.quantum))

    @property
    def max_exponent(self):
        """log2 of the largest power of two (the MX specification's emax)."""
        return (self.largest.bit_length() - 1) + self.quantum

    @property
    def fixed(self):
        """Whether an operand of this element has no exponent."""
        return (self.largest - (not self.exponent_bits and self.signed)).bit_length() < FIXED_BITS

    @property
    def significand_bits(self):
        """Bits of the signed significand of its operand."""
        if not self.fixed:
            return self.mantissa_bits + 2
        return (self.largest - (not self.exponent_bits and self.signed)).bit_length() + 1

    @property
    def largest_shift(self):
        """The largest exponent of its operand."""
        if self.fixed:
            return 0
        return (1 << self.exponent_bits) - 2 - self.infinity

    def encode(self, x):
        """Codes uint8 of float32 ``x``, rounded to nearest even and clamped to the largest magnitude; NaN
        is not allowed.

        Integers are clamped symmetrically. A floating-point zero keeps its sign.
        """
        x = np.asarray(x, np.float64)
        if not self.exponent_bits:
            limit = (1 << self.bits - 1) - 1
            return np.clip(np.rint(x), -limit, limit).astype(np.int8).view(np.uint8)
        magnitude = np.minimum(np.abs(x), np.ldexp(float(self.largest), self.quantum))
        exponent = np.where(
            magnitude > 0, np.maximum(np.frexp(magnitude)[1] - 1, 1 - self.bias), 1 - self.bias
        )
        steps = np.rint(np.ldexp(magnitude, self.mantissa_bits - exponent)).astype(np.int64)
        code = ((exponent - (1 - self.bias)) << self.mantissa_bits) + steps
        return (code | np.signbit(x).astype(np.int64) << self.bits - 1).astype(np.uint8)


class Element(enum.IntEnum):
    """An element of a weight stream: the ``element`` of a MATMUL command."""

    S8 = 0
    S4 = 1
    U4 = 2
    E4M3 = 3
    E5M2 = 4
    E2M3 = 5
    E3M2 = 6
    E2M1 = 7

    @property
    def format(self):
        return _ELEMENTS[self]

    @property
    def bits(self):
        """Bits in memory: 4 or 8; a 6-bit element is the low bits of a byte."""
        return self.format.container

    def values(self, codes):
        """float64 values of ``codes`` (any integers; their low bits count)."""
        return self.format.values[np.asarray(codes).astype(np.int64) & (1 << self.format.bits) - 1]


_ELEMENTS = {
    Element.S8: ElementFormat("INT8", 8),
    Element.S4: ElementFormat("INT4", 4),
    Element.U4: ElementFormat("UINT4", 4, signed=False),
    Element.E4M3: ElementFormat("E4M3", 8, 4, 3, nan=True),
    Element.E5M2: ElementFormat("E5M2", 8, 5, 2, nan=True, infinity=True),
    Element.E2M3: ElementFormat("E2M3", 6, 2, 3),
    Element.E3M2: ElementFormat("E3M2", 6, 3, 2),
    Element.E2M1: ElementFormat("E2M1", 4, 2, 1),
}


class Activation(enum.IntEnum):
    """A format of activation blocks: INT8 with an FP32 scale, or an MX format, whose scale is a power of
    two."""

    INT8 = 0
    MXINT8 = 1
    MXFP8_E4M3 = 2
    MXFP8_E5M2 = 3
    MXFP6_E2M3 = 4
    MXFP6_E3M2 = 5
    MXFP4_E2M1 = 6

    @property
    def element(self):
        return _ACTIVATION_ELEMENTS[self]

    @property
    def mx(self):
        """Whether the scale is E8M0."""
        return self is not Activation.INT8

    @property
    def quantum(self):
        """log2 of what an element's integer counts: MXINT8's elements have six fraction bits."""
        return -6 if self is Activation.MXINT8 else self.element.format.quantum

    @property
    def largest(self):
        """The largest magnitude in quanta: integers are symmetric (-128 reads as -127)."""
        return (
            min(self.element.format.largest, 127)
            if self.element is Element.S8
            else self.element.format.largest
        )

    @property
    def sum_width(self):
        """Bits of the signed sum of 32 elements, in quanta."""
        return (BLOCK * self.largest).bit_length() + 1

    def integers(self, codes):
        """float64 integers in quanta of ``2**quantum`` for codes of the element; NaN and infinities stay."""
        values = np.ldexp(self.element.values(codes), -self.element.format.quantum)
        return np.maximum(values, -127) if self.element is Element.S8 else values


_ACTIVATION_ELEMENTS = dict(
    zip(
        Activation,
        (Element.S8, Element.S8, Element.E4M3, Element.E5M2, Element.E2M3, Element.E3M2, Element.E2M1),
    )
)

FORMATS = {
    "int8": (Activation.INT8, (Element.S8,)),
    "int4": (None, (Element.S4, Element.U4)),
    "mxint8": (Activation.MXINT8, (Element.S8,)),
    "mxfp8_e4m3": (Activation.MXFP8_E4M3, (Element.E4M3,)),
    "mxfp8_e5m2": (Activation.MXFP8_E5M2, (Element.E5M2,)),
    "mxfp6_e2m3": (Activation.MXFP6_E2M3, (Element.E2M3,)),
    "mxfp6_e3m2": (Activation.MXFP6_E3M2, (Element.E3M2,)),
    "mxfp4_e2m1": (Activation.MXFP4_E2M1, (Element.E2M1,)),
}
"""What a format's name in a configuration stands for: an activation format, or None, and weight elements."""


def scale_exponent(scale):
    """The exponent of float32 scales that are powers of two from 2**-127 to 2**127, as the chip reads it
    from their bits."""
    return np.maximum((np.asarray(scale, np.float32).view(np.int32) >> 23 & 0xFF) - 127, -127)


@dataclass(frozen=True)
class Arithmetic:
    """What a processing element needs for a set of formats (names of :data:`FORMATS`), every activation
    with every weight.

    ``fp4_rate`` 2 makes it multiply two 4-bit weights with two activations a cycle.
    """

    formats: tuple
    fp4_rate: int = 1

    def __post_init__(self):
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown:
            raise ValueError(f"unknown format {unknown[0]!r}; the formats are {', '.join(FORMATS)}")
        if not self.activations:
            raise ValueError(f"formats {', '.join(self.formats) or '(none)'} have none for activations")
        if self.fp4_rate not in (1, 2):
            raise ValueError(f"fp4_rate must be 1 or 2, not {self.fp4_rate!r}")
        if self.fp4_rate == 2 and not any(e.bits == 4 for e in self.weights):
            raise ValueError("fp4_rate 2 needs a format of 4 bits")

    @property
    def activations(self):
        """The :class:`Activation` formats, in the order of their numbers."""
        return tuple(sorted(FORMATS[name][0] for name in self.formats if FORMATS[name][0] is not None))

    @property
    def weights(self):
        """The weight :class:`Element` s, in the order of their numbers."""
        return tuple(sorted({element for name in self.formats for element in FORMATS[name][1]}))

    @property
    def mx_weights(self):
        """The weight elements that can have E8M0 scales."""
        return tuple(a.element for a in self.activations if a.mx)

    @property
    def minima(self):
        """Whether weight blocks can have a minimum: the 4-bit integers."""
        return Element.U4 in self.weights

    @property
    def activation_elements(self):
        return tuple(sorted({a.element for a in self.activations}))

    @property
    def special_bits(self):
        """Bits of an operand's and a sum's special: 0; NaN alone; or plus and minus infinity, both of which
        mean NaN."""
        formats = [e.format for e in self.activation_elements + self.weights]
        return 2 if any(f.infinity for f in formats) else int(any(f.nan for f in formats))

    @property
    def sum_width(self):
        """Bits of the exact sum of 32 products, the widest of all pairs."""
        return max(self.pair_width(a, w) for a in self.activations for w in self.weights)

    @staticmethod
    def pair_width(activation, weight):
        """Bits of the exact signed sum of 32 products, in quanta of ``2**(activation.quantum +
        weight.quantum)``."""
        return (BLOCK * activation.largest * weight.format.largest).bit_length() + 1

    @property
    def activation_sum_width(self):
        """Bits of the signed sum of an activation block in quanta."""
        return max(a.sum_width for a in self.activations)

    @property
    def activation_operand(self):
        return operand_layout(self.activation_elements, self.special_bits)

    @property
    def weight_operand(self):
        """With ``fp4_rate`` 2: two weights ``low`` and ``high`` if ``dual``, one significand ``low +
        16*high`` if not."""
        layout = operand_layout(self.weights, self.special_bits)
        if self.fp4_rate == 1:
            return layout
        members = {name: field.shape for name, field in layout if name != "significand"}
        return data.StructLayout({"low": signed(5), "high": signed(5), "dual": 1} | members)

    @property
    def activation_lane(self):
        """What a row of the array gets: an operand, with ``fp4_rate`` 2 two of them."""
        operand = self.activation_operand
        return operand if self.fp4_rate == 1 else data.ArrayLayout(operand, 2)

    @property
    def sum_layout(self):
        """A sum of products: ``value`` in quanta, and ``special``."""
        return data.StructLayout({"value": signed(self.sum_width), "special": self.special_bits})

    @property
    def scaled_sums(self):
        """Whether sums have exponents: a format is MX, or its quantum is not 1."""
        return any(a.mx for a in self.activations) or any(w.format.quantum for w in self.weights)


def operand_layout(elements, special_bits):
    """``significand * 2**exponent``, and ``special``; an infinity's significand is 1 or -1."""
    return data.StructLayout(
        {
            "significand": signed(max(e.format.significand_bits for e in elements)),
            "exponent": max(e.format.largest_shift for e in elements).bit_length(),
            "special": special_bits,
        }
    )


def decode_operand(element, code, elements, special_bits, *, symmetric=False):
    """The operand (a Value) of the 8-bit ``code`` of the Element number ``element`` (a Value), one of
    ``elements``.

    A 4-bit code is the low nibble. ``symmetric``: an 8-bit integer -128 reads as -127. Combinational.
    """
    layout = operand_layout(elements, special_bits)
    result = None
    for choice in reversed(elements):
        operand = _operand(choice.format, code, layout, special_bits, symmetric)
        result = operand if result is None else Mux(element == choice, operand, result)
    return result


def _operand(form, code, layout, special_bits, symmetric):
    significand_bits = layout["significand"].shape.width
    exponent_bits = Shape.cast(layout["exponent"].shape).width
    code = code[: form.bits]
    sign = code[-1]
    exponent: Value = C(0, exponent_bits)
    special: Value = C(0, special_bits)
    if not form.exponent_bits:
        significand = code.as_signed() if form.signed else code
        if symmetric and form.bits == 8:
            significand = Cat(code[0] | (code[:7] == 0) & sign, code[1:]).as_signed()
    else:
        fraction, biased = code[: form.mantissa_bits], code[form.mantissa_bits : -1]
        normal = biased != 0
        shift = (biased - normal)[: form.exponent_bits]
        magnitude: Value = Cat(fraction, normal)
        if form.fixed:
            magnitude = (magnitude << shift)[: form.significand_bits - 1]
        elif exponent_bits:
            exponent = shift
        if form.infinity:
            top = biased == (1 << form.exponent_bits) - 1
            nan = top & (fraction != 0)
            special = Cat(nan | top & ~sign, nan | top & sign)
            magnitude = Mux(top, 1, magnitude)
        elif form.nan and special_bits:
            nan = code[:-1] == (1 << form.bits - 1) - 1
            special = nan.replicate(special_bits)
        significand = Mux(sign, -magnitude, magnitude)[: form.significand_bits].as_signed()
    return Cat(
        _extend(significand, significand_bits),
        _extend(exponent, exponent_bits),
        _extend(special, special_bits),
    )


def _extend(value, width):
    """``value`` in exactly ``width`` bits, sign-extended if it is signed."""
    value = Value.cast(value)
    if len(value) >= width:
        return value[:width]
    fill = value[-1] if value.shape().signed and len(value) else C(0, 1)
    return Cat(value, fill.replicate(width - len(value)))
