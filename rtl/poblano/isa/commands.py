"""The command set: one source for the encoder, the decoder, the assembler, the hardware and
``docs/commands.md``.

A command is 64 bytes: sixteen 32-bit words, little-endian. Word 0 holds the opcode, the unit and the flags;
words 1 to 4 are waits; the rest are operands. The tables here are pure Python, so that the compiler needs
no hardware classes.
"""

from dataclasses import dataclass
import enum
import operator
import struct

__all__ = [
    "COMMAND_BYTES",
    "COMMAND_WORDS",
    "COUNT_BITS",
    "Command",
    "CommandError",
    "ErrorCode",
    "FIELDS",
    "Field",
    "Float32",
    "NO_UNIT",
    "Opcode",
    "RESERVED",
    "UnitKind",
    "WAITS",
    "fields_of",
    "unit_index",
    "unit_kind",
    "unit_name",
]

COMMAND_WORDS = 16
COMMAND_BYTES = 4 * COMMAND_WORDS
WAITS = 4
"""Waits in a command (words 1 to 4)."""
NO_UNIT = 0xFF
"""The unit number of a wait that waits for nothing."""
COUNT_BITS = 24
"""Bits of a completion count; counts compare modulo 2**24."""


class UnitKind(enum.IntEnum):
    """Kinds of units, in the order of their numbers within a tile (the DMA engine is unit 0)."""

    DMA = 0
    STREAM = 1
    MATMUL = 2
    VECTOR = 3


class Opcode(enum.IntEnum):
    """What a command does; the high nibble says which kind of unit takes it (a NOP goes to any)."""

    NOP = 0x00
    LOAD = 0x01
    STORE = 0x02
    STORE_BLOCK = 0x03
    STORE_SCALE = 0x04
    STREAM = 0x10
    MATMUL = 0x20
    VECTOR = 0x30

    @property
    def kind(self):
        """The :class:`UnitKind` that executes it, or None for a NOP."""
        return None if self is Opcode.NOP else UnitKind(self >> 4)


class ErrorCode(enum.IntEnum):
    """Why a command was refused or failed; in the ERROR_CODE register."""

    NONE = 0
    OPCODE = 1
    UNIT = 2
    FIELD = 3
    LOCAL_RANGE = 4
    MEMORY_RANGE = 5
    ALIGNMENT = 6
    AXI_READ = 7
    AXI_WRITE = 8
    FETCH = 9

    @property
    def text(self):
        return {
            ErrorCode.NONE: "no error",
            ErrorCode.OPCODE: "unknown opcode",
            ErrorCode.UNIT: "unit does not exist or does not execute this opcode",
            ErrorCode.FIELD: "field out of range or reserved bits set",
            ErrorCode.LOCAL_RANGE: "local memory address out of range",
            ErrorCode.MEMORY_RANGE: "memory address out of range",
            ErrorCode.ALIGNMENT: "address or length not aligned",
            ErrorCode.AXI_READ: "memory answered a read with an error",
            ErrorCode.AXI_WRITE: "memory answered a write with an error",
            ErrorCode.FETCH: "memory answered a command fetch with an error",
        }[self]


class CommandError(ValueError):
    """A command that can't be encoded or executed; ``code`` is its :class:`ErrorCode`."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Float32(float):
    """A float that keeps its 32 bits: encoding it gives them back, the payload of a NaN included."""

    def __new__(cls, bits):
        self = super().__new__(cls, struct.unpack("<f", struct.pack("<I", bits))[0])
        self.bits = bits
        return self

    def __getnewargs__(self):
        return (self.bits,)


@dataclass(frozen=True)
class Field:
    """A field of a command: bits ``lsb`` to ``lsb + width - 1`` of word ``word`` (wider than 32: on into
    the next)."""

    name: str
    word: int
    lsb: int
    width: int
    doc: str
    kind: str = "unsigned"  # or "float32"

    @property
    def offset(self):
        """First bit, counted from bit 0 of word 0."""
        return 32 * self.word + self.lsb

    @property
    def mask(self):
        """The field's bits in the command."""
        return (1 << self.width) - 1 << self.offset

    def raw(self, value):
        """The bits of ``value``; :class:`CommandError` if it has the wrong type or does not fit."""
        try:
            if self.kind != "float32":
                raw = operator.index(value)
            else:
                raw = (
                    value.bits
                    if isinstance(value, Float32)
                    else struct.unpack("<I", struct.pack("<f", value))[0]
                )
        except (TypeError, OverflowError, struct.error):
            raise CommandError(
                ErrorCode.FIELD, f"{self.name}={value!r} is not a {self.kind} number"
            ) from None
        if not 0 <= raw < 1 << self.width:
            raise CommandError(ErrorCode.FIELD, f"{self.name}={value} does not fit in {self.width} bits")
        return raw

    def value(self, raw):
        """What the bits ``raw`` mean: an int or a :class:`Float32`."""
        return Float32(raw) if self.kind == "float32" else raw


_MEM = (
    Field("mem_addr", 5, 0, 40, "byte address in memory"),
    Field("mem_stride", 7, 0, 32, "bytes from a row to the next in memory"),
)
_ROWS = Field("rows", 9, 0, 16, "rows, at least 1")

FIELDS = {
    Opcode.NOP: (),
    Opcode.LOAD: _MEM
    + (
        Field("dst", 8, 0, 16, "line in vector memory"),
        Field("dst_stride", 8, 16, 16, "lines from a row to the next"),
        _ROWS,
        Field("lines", 9, 16, 16, "lines (32 bytes) in a row, at least 1"),
        Field("tiles", 10, 0, 32, "mask of the tiles that are written"),
    ),
    Opcode.STORE: _MEM
    + (
        Field("src", 8, 0, 16, "line in vector memory"),
        Field("src_stride", 8, 16, 16, "lines from a row to the next"),
        _ROWS,
        Field("lines", 9, 16, 16, "lines (32 bytes) in a row, at least 1"),
        Field("tile", 10, 0, 8, "tile that is read"),
    ),
    Opcode.STORE_BLOCK: _MEM
    + (
        Field("src", 8, 0, 16, "block in activation memory"),
        Field("src_stride", 8, 16, 16, "blocks from a row to the next"),
        _ROWS,
        Field("offset", 9, 16, 8, "first byte of the block that is stored: a multiple of length"),
        Field("length", 9, 24, 8, "bytes stored of a block: 2, 4, 8, 16 or 32"),
        Field("tile", 10, 0, 8, "tile that is read"),
    ),
    Opcode.STORE_SCALE: _MEM
    + (
        Field("src", 8, 0, 16, "block in activation memory, whose FP32 scale is stored"),
        Field("src_stride", 8, 16, 16, "blocks from a row to the next"),
        _ROWS,
        Field("tile", 10, 0, 8, "tile that is read"),
    ),
    Opcode.STREAM: _MEM + (Field("row_bytes", 8, 0, 32, "bytes in a row, at least one stream word"), _ROWS),
    Opcode.MATMUL: (
        Field(
            "element",
            0,
            16,
            3,
            "weight element: 0 INT8, 1 INT4, 2 UINT4, 3 E4M3, 4 E5M2, 5 E2M3, 6 E3M2, 7 E2M1",
        ),
        Field("scale", 0, 19, 2, "block scale: 0 none (1.0), 1 F16, 2 F32, 3 E8M0"),
        Field("minimum", 0, 21, 1, "1: an F16 block minimum follows the scales"),
        Field(
            "transpose",
            0,
            22,
            1,
            "1: the stream holds columns (positions of K), not rows; elements of a byte only",
        ),
        Field(
            "activation",
            0,
            23,
            3,
            "format of the activations: 0 INT8, 1 MXINT8, 2 MXFP8 E4M3, 3 MXFP8 E5M2, 4 MXFP6 E2M3, "
            "5 MXFP6 E3M2, 6 MXFP4 E2M1",
        ),
        Field("a", 5, 0, 16, "first block of the activations in activation memory"),
        Field("a_stride", 5, 16, 16, "blocks from an activation row to the next"),
        Field("rows", 6, 0, 16, "activation rows, 1 to the accumulator's depth"),
        Field("k_blocks", 6, 16, 16, "blocks of 32 along K, at least 1; a multiple of the array's segments"),
        Field("groups", 7, 0, 16, "groups of array columns along N, at least 1"),
        Field("dst_stride", 7, 16, 16, "lines from a result row to the next"),
        Field("dst", 8, 0, 16, "line of the first result in vector memory"),
        Field("tiles", 9, 0, 32, "mask of the tiles whose vector memory is written"),
    ),
    Opcode.VECTOR: (
        Field("sfu", 0, 16, 3, "special function between the two operations (SfuOp)"),
        Field("op1", 0, 19, 3, "first operation on (a, y1) (AluOp)"),
        Field("op2", 0, 22, 3, "second operation on (special function's result, y2) (AluOp)"),
        Field("swap", 0, 25, 1, "1: exchange elements 2i and 2i+1 of a"),
        Field("sink", 0, 28, 2, "0 none, 1 vector memory, 2 quantise to activation memory"),
        Field("fill", 0, 30, 1, "what replaces a from the row's limit on: 0 zero, 1 minus infinity"),
        Field("first", 0, 31, 1, "argmax: 1 starts afresh, 0 goes on from the command before"),
        Field("a", 5, 0, 16, "line of operand a"),
        Field("a_stride", 5, 16, 16, "lines from a row to the next"),
        Field("b", 6, 0, 16, "line of operand b"),
        Field("b_stride", 6, 16, 16, "lines from a row to the next"),
        Field("dst", 7, 0, 16, "line (sink 1) or block (sink 2) of the result"),
        Field("dst_stride", 7, 16, 16, "lines or blocks from a row to the next"),
        Field("rows", 8, 0, 16, "rows, at least 1"),
        Field("blocks", 8, 16, 16, "blocks of 32 elements in a row, 1 to 2047"),
        Field("c", 9, 0, 16, "line where the row scalars start: word r is row r's"),
        Field("r", 9, 16, 16, "line where reduction results start: word r is row r's (argmax: value, index)"),
        Field("limit", 10, 0, 16, "first filled element of row 0; 65535: none"),
        Field("limit_step", 10, 16, 16, "what the limit grows by from a row to the next"),
        Field("imm1", 11, 0, 32, "immediate of the first operation", "float32"),
        Field("imm2", 12, 0, 32, "immediate of the second operation", "float32"),
        Field("tiles", 13, 0, 32, "mask of the tiles that get the result (sinks and reductions)"),
        Field("sel1", 14, 0, 2, "y1: 0 operand b, 1 row scalar c, 2 imm1"),
        Field("sel2", 14, 2, 2, "y2: 0 operand b, 1 row scalar c, 2 imm2"),
        Field(
            "activation",
            14,
            4,
            3,
            "sink 2: the format of the blocks, as of a MATMUL's activations; 0 with other sinks",
        ),
        Field(
            "reduce",
            14,
            8,
            3,
            "0 none, 1 sum, 2 maximum of each row, 3 argmax over the command, 4 sum of squares of each row",
        ),
        Field("share", 14, 16, 8, "rows that share a row of b and a limit, at least 1"),
        Field("index", 15, 0, 32, "argmax: index of the first element"),
    ),
}
"""The fields of each opcode beside the opcode, the unit and the waits. Bits that no field names must be
zero."""

_HEADER_MASK = (1 << 16) - 1 | (1 << 32 * WAITS) - 1 << 32

RESERVED = {
    opcode: ~(_HEADER_MASK | sum(f.mask for f in FIELDS[opcode])) & (1 << 8 * COMMAND_BYTES) - 1
    for opcode in Opcode
}
"""The bits of each opcode's command that must be zero, as an integer."""


def fields_of(opcode):
    """The fields of ``opcode`` by name."""
    return {f.name: f for f in FIELDS[Opcode(opcode)]}


def unit_index(kind, tile=0):
    """The unit number of ``kind`` in ``tile``."""
    kind = UnitKind(kind)
    return 0 if kind is UnitKind.DMA else 3 * tile + int(kind)


def unit_kind(unit):
    """The :class:`UnitKind` of a unit number."""
    return UnitKind.DMA if unit == 0 else UnitKind((unit - 1) % 3 + 1)


def unit_name(unit):
    """``dma``, ``tile0.stream``, ``tile0.matmul``, ..."""
    return "dma" if unit == 0 else f"tile{(unit - 1) // 3}.{unit_kind(unit).name.lower()}"


@dataclass(frozen=True)
class Command:
    """A command: its opcode, unit, operands (a dict by field name; absent fields are 0) and waits.

    ``waits`` is a tuple of ``(unit, count)``: the command starts when each unit has completed ``count``
    commands (modulo 2**24) since the queue's last reset. ``label`` is for people and traces, and is not
    encoded.
    """

    opcode: Opcode
    unit: int
    operands: dict
    waits: tuple = ()
    label: str = ""

    def encode(self):
        """The 64 bytes; :class:`CommandError` for an unknown field or a value that does not fit."""
        fields = fields_of(self.opcode)
        if not 0 <= self.unit <= 0xFF:
            raise CommandError(ErrorCode.UNIT, f"unit {self.unit} does not fit in 8 bits")
        if len(self.waits) > WAITS:
            raise CommandError(ErrorCode.FIELD, f"{len(self.waits)} waits; a command holds {WAITS}")
        bits = int(self.opcode) | int(self.unit) << 8
        for i in range(WAITS):
            unit, count = self.waits[i] if i < len(self.waits) else (NO_UNIT, 0)
            if not 0 <= unit <= NO_UNIT:
                raise CommandError(ErrorCode.FIELD, f"wait {i} names unit {unit}")
            bits |= (int(unit) | int(count) % (1 << COUNT_BITS) << 8) << 32 * (1 + i)
        for name, value in self.operands.items():
            if name not in fields:
                raise CommandError(ErrorCode.FIELD, f"{self.opcode.name} has no field {name!r}")
            try:
                bits |= fields[name].raw(value) << fields[name].offset
            except CommandError as error:
                raise CommandError(error.code, f"{self.opcode.name} {error}") from None
        return bits.to_bytes(COMMAND_BYTES, "little")

    @classmethod
    def decode(cls, data):
        """The command in ``data`` (64 bytes); :class:`CommandError` for an unknown opcode or reserved bits
        set.

        Encoding the result gives ``data`` again, but for unused waits, which then come last.
        """
        if len(data) != COMMAND_BYTES:
            raise CommandError(ErrorCode.FIELD, f"a command has {COMMAND_BYTES} bytes, not {len(data)}")
        bits = int.from_bytes(data, "little")
        try:
            opcode = Opcode(bits & 0xFF)
        except ValueError:
            raise CommandError(ErrorCode.OPCODE, f"unknown opcode 0x{bits & 0xFF:02x}") from None
        if bits & RESERVED[opcode]:
            bit = (bits & RESERVED[opcode]).bit_length() - 1
            raise CommandError(
                ErrorCode.FIELD, f"{opcode.name} has reserved bit {bit % 32} of word {bit // 32} set"
            )
        operands = {f.name: f.value((bits & f.mask) >> f.offset) for f in FIELDS[opcode]}
        waits = []
        for i in range(WAITS):
            word = bits >> 32 * (1 + i) & 0xFFFFFFFF
            if word & 0xFF != NO_UNIT:
                waits.append((word & 0xFF, word >> 8))
            elif word != NO_UNIT:
                raise CommandError(ErrorCode.FIELD, f"wait {i} has a count but no unit")
        return cls(opcode, bits >> 8 & 0xFF, operands, tuple(waits))
