"""The fields of commands: their places, and what their bits mean."""

from dataclasses import dataclass
import enum
import math
import operator
import re
import struct

from amaranth.hdl import unsigned
import numpy as np

from .errors import CommandError, ErrorCode
from .expressions import none_of

__all__ = ["Address", "Choice", "Field", "Float32", "Kind", "Number", "Real", "TileMask", "TileNumber"]

BITS = re.compile(r"bits:(0x[0-9a-fA-F]{1,8})")
"""A FP32 number by its bits."""


class Float32(float):
    """A float that keeps its 32 bits: encoding it gives them back, the payload of a NaN included."""

    bits: int

    def __new__(cls, bits):
        self = super().__new__(cls, struct.unpack("<f", struct.pack("<I", bits))[0])
        self.bits = bits
        return self

    def __getnewargs__(self):
        return (self.bits,)


class Kind:
    """What a field's bits mean: here an unsigned integer of any value, its bits as they are.

    ``bad`` is an expression of a value and the configuration (see :mod:`.expressions`): whether it is
    refused; ``problem`` says why, of a value that is.
    """

    noun = "unsigned number"

    @property
    def meaning(self):
        """What values there are, for documents; empty if any."""
        return ""

    def raw(self, value):
        """The bits of a value; TypeError, OverflowError or struct.error for one that has none."""
        return operator.index(value)

    def value(self, raw):
        """What the bits mean."""
        return raw

    def parse(self, text):
        """The value that an assembly text names; ValueError says what is wrong."""
        try:
            return int(text, 0)
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None

    def text(self, raw):
        """Assembly text that names the bits' value."""
        return str(raw)

    def shape(self, width):
        """The shape of the field in gates."""
        return unsigned(width)

    def bad(self, value, c):
        return False

    def problem(self, name, value, c):
        raise NotImplementedError


@dataclass(frozen=True)
class Number(Kind):
    """An unsigned integer from ``least`` to ``most``, as far as they are given."""

    least: int = 0
    most: int | None = None

    def bad(self, value, c):
        low = value < self.least if self.least else False
        return low if self.most is None else low | (value > self.most)

    def problem(self, name, value, c):
        return f"{name} is {value}; it must be {self.meaning}"

    @property
    def meaning(self):
        return f"{self.least} to {self.most}" if self.most is not None else f"at least {self.least}"


class Address(Kind):
    """An address of memory."""

    def text(self, raw):
        return f"0x{raw:x}"


class TileMask(Kind):
    """A mask of tiles."""

    @property
    def meaning(self):
        return "a mask of one tile or more, all of which exist"

    def text(self, raw):
        return f"0x{raw:x}"

    def bad(self, value, c):
        return (value == 0) | (value >= 1 << c.tiles)

    def problem(self, name, value, c):
        return f"{name} 0x{value:x} names no tile or one that does not exist"


class TileNumber(Kind):
    """The number of a tile."""

    @property
    def meaning(self):
        return "the number of a tile that exists"

    def bad(self, value, c):
        return value >= c.tiles

    def problem(self, name, value, c):
        return f"{name} {value} does not exist"


@dataclass(frozen=True)
class Choice(Kind):
    """A member of ``enumeration``, an IntEnum; assembly takes its name or number."""

    enumeration: type[enum.IntEnum]

    def value(self, raw):
        return self.enumeration(raw) if raw in self.enumeration._value2member_map_ else raw

    def parse(self, text):
        member = self.enumeration.__members__.get(text.upper())
        if member is not None:
            return member
        try:
            return int(text, 0)
        except ValueError:
            names = ", ".join(self.enumeration.__members__)
            raise ValueError(f"{text!r} is not a number, and none of {names}") from None

    def text(self, raw):
        value = self.value(raw)
        return value.name if isinstance(value, self.enumeration) else str(raw)

    def shape(self, width):
        return self.enumeration

    def bad(self, value, c):
        return none_of(value, self.enumeration)

    def problem(self, name, value, c):
        return f"{name} {value} is none of {self.meaning}"

    @property
    def meaning(self):
        return ", ".join(f"{member.value} {member.name}" for member in self.enumeration)


class Real(Kind):
    """An FP32 number, any bits of it. Assembly writes a number, or ``bits:0x`` and the bits."""

    noun = "float32 number"

    @property
    def meaning(self):
        return "FP32"

    def raw(self, value):
        return value.bits if isinstance(value, Float32) else struct.unpack("<I", struct.pack("<f", value))[0]

    def value(self, raw):
        return Float32(raw)

    def parse(self, text):
        match = BITS.fullmatch(text)
        if match:
            return Float32(int(match[1], 16))
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
        if math.isnan(value):
            raise ValueError("a NaN is written as bits:0x7fc00000")
        return value

    def text(self, raw):
        text = str(np.float32(Float32(raw)))
        return text if text != "nan" and self.raw(float(text)) == raw else f"bits:0x{raw:08x}"


@dataclass(frozen=True)
class Field:
    """Bits ``lsb`` to ``lsb + width - 1`` of the command's 64-bit word ``word``; ``default`` where an
    operand is not given."""

    name: str
    word: int
    lsb: int
    width: int
    doc: str
    kind: Kind = Kind()
    default: int = 0

    @property
    def offset(self):
        """First bit, counted from bit 0 of word 0."""
        return 64 * self.word + self.lsb

    @property
    def mask(self):
        """The field's bits in the command."""
        return (1 << self.width) - 1 << self.offset

    def raw(self, value):
        """The bits of ``value``; :class:`CommandError` if it has the wrong type or does not fit."""
        try:
            raw = self.kind.raw(value)
        except (TypeError, OverflowError, struct.error):
            raise CommandError(ErrorCode.FIELD, f"{self.name}={value!r} is not a {self.kind.noun}") from None
        if not 0 <= raw < 1 << self.width:
            raise CommandError(ErrorCode.FIELD, f"{self.name}={value} does not fit in {self.width} bits")
        return raw
