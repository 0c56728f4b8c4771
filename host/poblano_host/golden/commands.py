"""The golden chip's own reading of the commands' bits, from ``docs/commands.md`` alone.

It shares no table with the hardware and the compiler, so that a mistake there does not hide here.
"""

from dataclasses import dataclass, field

import numpy as np

from poblano.isa.errors import CommandError, ErrorCode
from poblano.isa.topology import UnitKind

__all__ = ["ENCODED_BYTES", "FORMS", "NAMES", "NO_WAIT", "DecodedCommand", "decode"]

ENCODED_BYTES = 64
NO_WAIT = 255
"""The unit of a wait that is not used."""
_MEMORY = {"mem_addr": (3, 39, 0), "mem_stride": (4, 31, 0), "rows": (4, 47, 32)}
_SOURCE = {"tile": (2, 39, 32), **_MEMORY, "src": (5, 19, 0), "src_stride": (5, 39, 20)}
_LINES = {"lines": (5, 59, 40)}
_ROWS_OF_ELEMENTS = {
    "sfu": (2, 3, 0),
    "op1": (2, 6, 4),
    "op2": (2, 9, 7),
    "swap": (2, 10, 10),
    "sink": (2, 15, 14),
    "fill": (2, 16, 16),
    "sel1": (2, 19, 18),
    "sel2": (2, 21, 20),
    "activation": (2, 24, 22),
    "tiles": (2, 63, 32),
    "a": (3, 19, 0),
    "b": (3, 39, 20),
    "dst": (3, 59, 40),
    "a_stride": (4, 19, 0),
    "b_stride": (4, 39, 20),
    "dst_stride": (4, 59, 40),
    "c": (5, 19, 0),
    "rows": (6, 15, 0),
    "blocks": (6, 27, 16),
    "limit": (6, 43, 28),
    "imm1": (7, 31, 0),
    "imm2": (7, 63, 32),
}
_LISTED = {**_ROWS_OF_ELEMENTS, "numbers": (5, 55, 40)}


@dataclass(frozen=True)
class Form:
    """An opcode: its number, the kind of unit that executes it (None: any), its fields: word, highest and
    lowest bit, and whether only chips that route experts know it."""

    number: int
    kind: UnitKind | None
    fields: dict
    experts: bool = False


FORMS = {
    "NOP": Form(0x00, None, {}),
    "LOAD": Form(
        0x01,
        UnitKind.DMA,
        {"tiles": (2, 63, 32), **_MEMORY, "dst": (5, 19, 0), "dst_stride": (5, 39, 20), **_LINES},
    ),
    "STORE": Form(0x02, UnitKind.DMA, {**_SOURCE, **_LINES}),
    "STORE_BLOCK": Form(0x03, UnitKind.DMA, {**_SOURCE, "offset": (4, 55, 48), "length": (4, 63, 56)}),
    "STORE_SCALE": Form(0x04, UnitKind.DMA, _SOURCE),
    "STORE_WORD": Form(0x05, UnitKind.DMA, {**_MEMORY, "value": (5, 31, 0)}),
    "STREAM": Form(0x10, UnitKind.STREAM, {**_MEMORY, "row_bytes": (5, 31, 0)}),
    "MATMUL": Form(
        0x20,
        UnitKind.MATMUL,
        {
            "element": (2, 2, 0),
            "scale": (2, 4, 3),
            "minimum": (2, 5, 5),
            "transpose": (2, 6, 6),
            "activation": (2, 9, 7),
            "interleaved": (2, 10, 10),
            "tiles": (2, 63, 32),
            "a": (3, 19, 0),
            "dst": (3, 39, 20),
            "a_stride": (4, 19, 0),
            "dst_stride": (4, 39, 20),
            "rows": (5, 15, 0),
            "k_blocks": (5, 31, 16),
            "groups": (5, 47, 32),
            "spread": (5, 63, 48),
        },
    ),
    "VECTOR": Form(
        0x30,
        UnitKind.VECTOR,
        {
            **_ROWS_OF_ELEMENTS,
            "reduce": (2, 13, 11),
            "first": (2, 17, 17),
            "dst_step": (2, 31, 25),
            "r": (5, 39, 20),
            "index": (5, 63, 40),
            "limit_step": (6, 55, 44),
            "share": (6, 63, 56),
        },
    ),
    "CLEAR": Form(0x31, UnitKind.VECTOR, {}),
    "ROUTE": Form(
        0x32,
        UnitKind.VECTOR,
        {
            "experts": (2, 15, 0),
            "used": (2, 19, 16),
            "tiles": (2, 63, 32),
            "a": (3, 19, 0),
            "b": (3, 39, 20),
            "dst": (3, 59, 40),
            "a_stride": (4, 19, 0),
            "b_stride": (4, 39, 20),
            "dst_stride": (4, 59, 40),
            "list": (5, 19, 0),
            "quiet": (5, 20, 20),
            "c": (5, 59, 40),
            "rows": (6, 15, 0),
            "group_count": (6, 19, 16),
            "group_used": (6, 23, 20),
            "group_size": (6, 31, 24),
            "capacity": (6, 47, 32),
            "c_stride": (7, 19, 0),
        },
        experts=True,
    ),
    "GATHER": Form(0x33, UnitKind.VECTOR, _LISTED, experts=True),
    "SCATTER": Form(0x34, UnitKind.VECTOR, _LISTED, experts=True),
    "EXPERT": Form(
        0x40,
        None,
        {
            "slot": (2, 7, 0),
            "stride": (2, 63, 32),
            "commands": (3, 15, 0),
            "skip": (3, 31, 16),
            "passed_dma": (7, 15, 0),
            "passed_stream": (7, 31, 16),
            "passed_matmul": (7, 47, 32),
            "passed_vector": (7, 63, 48),
        },
        experts=True,
    ),
}
"""By the opcode's name."""
NAMES = {form.number: name for name, form in FORMS.items()}
_REALS = ("imm1", "imm2")


@dataclass(frozen=True)
class DecodedCommand:
    """A command: its opcode's name, its unit, its fields by name, and the (unit, count) of its waits."""

    opcode: str
    unit: int
    operands: dict
    waits: tuple = field(default=())

    def encode(self):
        """The 64 bytes; a field that is not given is 0."""
        form, words = FORMS[self.opcode], [0] * 8
        for name, value in self.operands.items():
            word, high, low = form.fields[name]
            raw = int(np.float32(value).view(np.uint32)) if name in _REALS else int(value)
            assert 0 <= raw < 1 << high - low + 1, f"{name} {value} does not fit"
            words[word] |= raw << low
        header = form.number | self.unit << 8
        for i in range(4):
            unit, count = self.waits[i] if i < len(self.waits) else (NO_WAIT, 0)
            header |= (unit | count % 2**20 << 8) << 16 + 28 * i
        words[0], words[1] = header & 0xFFFFFFFFFFFFFFFF, header >> 64
        return b"".join(word.to_bytes(8, "little") for word in words)


def decode(data):
    """The :class:`DecodedCommand` of 64 bytes, its unused waits left out.

    Raises :class:`CommandError`: OPCODE for one that is unknown, FIELD where bits that mean nothing are not
    0.
    """
    name = NAMES.get(data[0])
    if name is None:
        raise CommandError(ErrorCode.OPCODE, f"unknown opcode 0x{data[0]:02x}")
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, ENCODED_BYTES, 8)]
    operands, rest = {}, words[:]
    for field_name, (word, high, low) in FORMS[name].fields.items():
        raw = words[word] >> low & (1 << high - low + 1) - 1
        rest[word] &= ~(raw << low)
        operands[field_name] = np.uint32(raw).view(np.float32) if field_name in _REALS else raw
    if any(rest[2:]):
        raise CommandError(ErrorCode.FIELD, f"{name} has bits set that no field has")
    header = words[0] | words[1] << 64
    waits = [(header >> 16 + 28 * i & 0xFF, header >> 24 + 28 * i & 0xFFFFF) for i in range(4)]
    if any(unit == NO_WAIT and count for unit, count in waits):
        raise CommandError(ErrorCode.FIELD, "a wait has a count but no unit")
    used = tuple(wait for wait in waits if wait[0] != NO_WAIT)
    return DecodedCommand(name, data[1], operands, used)
