"""Commands in software: a unit's opcode with its operands and waits, and the 64 bytes that it is encoded in.

A command is eight 64-bit words, little-endian. The header (opcode, unit, waits) is :mod:`.header`'s, the
rest is defined by the opcode (:mod:`.opcodes`).
"""

from dataclasses import dataclass

from .errors import CommandError, ErrorCode
from .fields import Float32
from .header import COMMAND_BYTES, COUNT_BITS, NO_UNIT, UNIT_BITS, WAIT_BITS, WAITS, wait_offset
from .opcodes import Opcode

__all__ = [
    "COMMAND_BYTES",
    "COUNT_BITS",
    "NO_UNIT",
    "WAITS",
    "Command",
    "CommandError",
    "ErrorCode",
    "Float32",
    "Opcode",
    "raw_waits",
]


def raw_waits(bits):
    """The four (unit, count) of a command's ``bits`` (an integer)."""
    waits = [bits >> wait_offset(i) & (1 << WAIT_BITS) - 1 for i in range(WAITS)]
    return [(wait & NO_UNIT, wait >> UNIT_BITS) for wait in waits]


@dataclass(frozen=True)
class Command:
    """A command: its opcode, unit, operands (a dict by field name; absent fields have their defaults) and
    waits.

    ``waits`` is a tuple of ``(unit, count)``: the command starts when each unit has completed ``count``
    commands (modulo 2**COUNT_BITS) since the queue's last reset. ``label`` is for people and traces, and is
    not encoded.
    """

    opcode: Opcode
    unit: int
    operands: dict
    waits: tuple = ()
    label: str = ""

    def encode(self):
        """The 64 bytes; :class:`CommandError` for an unknown field or a value that does not fit."""
        definition = self.opcode.definition
        if not 0 <= self.unit <= 0xFF:
            raise CommandError(ErrorCode.UNIT, f"unit {self.unit} does not fit in 8 bits")
        if len(self.waits) > WAITS:
            raise CommandError(ErrorCode.FIELD, f"{len(self.waits)} waits; a command holds {WAITS}")
        bits = int(self.opcode) | int(self.unit) << 8
        for i in range(WAITS):
            unit, count = self.waits[i] if i < len(self.waits) else (NO_UNIT, 0)
            if not 0 <= unit <= NO_UNIT:
                raise CommandError(ErrorCode.FIELD, f"wait {i} names unit {unit}")
            bits |= (int(unit) | int(count) % (1 << COUNT_BITS) << UNIT_BITS) << wait_offset(i)
        for name, value in (definition.defaults | self.operands).items():
            field = definition.field.get(name)
            if field is None:
                raise CommandError(ErrorCode.FIELD, f"{self.opcode.name} has no field {name!r}")
            try:
                bits |= field.raw(value) << field.offset
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
        definition = opcode.definition
        if bits & definition.reserved:
            word, bit = divmod((bits & definition.reserved).bit_length() - 1, 64)
            raise CommandError(ErrorCode.FIELD, f"{opcode.name} has reserved bit {bit} of word {word} set")
        operands = {f.name: f.kind.value((bits & f.mask) >> f.offset) for f in definition.fields}
        waits = []
        for i, (unit, count) in enumerate(raw_waits(bits)):
            if unit != NO_UNIT:
                waits.append((unit, count))
            elif count:
                raise CommandError(ErrorCode.FIELD, f"wait {i} has a count but no unit")
        return cls(opcode, bits >> 8 & 0xFF, operands, tuple(waits))

    @property
    def values(self):
        """The unit and all operands, also those that were not given, as the attributes that the
        definition's expressions want."""
        definition = self.opcode.definition
        values = {f.name: self.operands.get(f.name, f.default) for f in definition.fields}
        return definition.operands(
            {"unit": self.unit} | values, lambda a, b: -(-values[a] // max(values[b], 1))
        )
