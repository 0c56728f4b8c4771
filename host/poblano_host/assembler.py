"""Text of command programs: an assembler and a disassembler.

A command is a line: the unit, the opcode, operands, waits and, behind a semicolon, a label::

    tile0.matmul MATMUL a=0 a_stride=4 rows=2 k_blocks=4 groups=1 tiles=1 wait tile0.vector>=5 ; layer 0 q
    tile0.vector VECTOR a=16 rows=1 blocks=2 limit=65535 imm1=0.125 tiles=0b11 wait tile0.matmul>=1, dma>=3

Operands that are not named have their defaults, which are 0 if the documents say nothing else. Integers are
decimal, 0x or 0b; choices are names or numbers. FP32 operands are decimal numbers, inf, or ``bits:0x`` and
their bits. A wait ``-`` is an unused one. Empty lines, and lines that begin with a semicolon, mean nothing.
"""

import re

from poblano.isa.commands import (
    COMMAND_BYTES,
    COUNT_BITS,
    NO_UNIT,
    WAITS,
    Command,
    CommandError,
    ErrorCode,
    Opcode,
    raw_waits,
)
from poblano.isa.topology import LARGEST

__all__ = ["AssemblyError", "assemble", "assemble_line", "disassemble", "format_command"]

WAIT = re.compile(r"(\S+?)\s*>=\s*(\S+)")


class AssemblyError(ValueError):
    """A line that is no command; ``line`` is its number, from 1."""

    def __init__(self, line, message):
        super().__init__(f"line {line}: {message}")
        self.line = line


def _integer(text):
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _waits(text):
    waits = []
    for part in text.split(","):
        part = part.strip()
        if part == "-":
            waits.append((NO_UNIT, 0))
            continue
        match = WAIT.fullmatch(part)
        if not match:
            raise ValueError(f"{part!r} is not a wait: unit>=count")
        count = _integer(match[2])
        if not 0 <= count < 1 << COUNT_BITS:
            raise ValueError(f"count {count} does not fit in {COUNT_BITS} bits")
        waits.append((LARGEST.unit_called(match[1]), count))
    if len(waits) > WAITS:
        raise ValueError(f"{len(waits)} waits; a command holds {WAITS}")
    return tuple(waits)


def assemble_line(line):
    """The :class:`Command` of a line, None for a line without one; ValueError says what is wrong."""
    text, _, label = line.partition(";")
    text, *lists = re.split(r"\swait\s", text.strip() + " ")
    if not text.strip():
        return None
    if len(lists) > 1:
        raise ValueError("several lists of waits; separate waits with commas")
    unit, *rest = text.split()
    if not rest:
        raise ValueError("a command has a unit and an opcode")
    try:
        opcode = Opcode[rest[0]]
    except KeyError:
        raise ValueError(f"unknown opcode {rest[0]!r}; there are {', '.join(Opcode.__members__)}") from None
    fields, operands = opcode.definition.field, {}
    for operand in rest[1:]:
        name, equals, value = operand.partition("=")
        if not equals:
            raise ValueError(f"{operand!r} is not an operand: name=value")
        if name not in fields:
            raise ValueError(f"{opcode.name} has no operand {name!r}")
        if name in operands:
            raise ValueError(f"{name} is given twice")
        operands[name] = fields[name].kind.parse(value)
    waits = _waits(lists[0]) if lists else ()
    command = Command(opcode, LARGEST.unit_called(unit), operands, waits, label.strip())
    command.encode()
    return command


def assemble(text):
    """The :class:`Command` objects of a program; :class:`AssemblyError` names the line that is none."""
    commands = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            command = assemble_line(line)
        except ValueError as error:  # CommandError is one
            raise AssemblyError(number, str(error)) from None
        if command is not None:
            commands.append(command)
    return commands


def _name(unit):
    if unit >= len(LARGEST.units):
        raise CommandError(ErrorCode.UNIT, f"unit {unit} has no name")
    return LARGEST.name(unit)


def format_command(command):
    """The line of a :class:`Command`."""
    return _line(command.encode(), command.label)


def _line(data, label=""):
    command = Command.decode(data)
    bits = int.from_bytes(data, "little")
    parts = [_name(command.unit), command.opcode.name]
    for field in command.opcode.definition.fields:
        raw = (bits & field.mask) >> field.offset
        if raw != field.default:
            parts.append(f"{field.name}={field.kind.text(raw)}")
    waits = raw_waits(bits)
    while waits and waits[-1] == (NO_UNIT, 0):
        waits.pop()
    if waits:
        texts = ("-" if unit == NO_UNIT else f"{_name(unit)}>={count}" for unit, count in waits)
        parts += ["wait", ", ".join(texts)]
    if label:
        parts += [";", " ".join(label.split())]
    return " ".join(parts)


def disassemble(data, labels=None):
    """The text of the commands in ``data``, a multiple of 64 bytes; it assembles to the same bytes.

    ``labels``, if given, has a label for each. :class:`CommandError` for bytes that are no command.
    """
    if len(data) % COMMAND_BYTES:
        raise ValueError(f"{len(data)} bytes are no whole number of commands")
    lines = []
    for index in range(len(data) // COMMAND_BYTES):
        try:
            lines.append(
                _line(
                    data[index * COMMAND_BYTES : (index + 1) * COMMAND_BYTES], labels[index] if labels else ""
                )
            )
        except CommandError as error:
            raise CommandError(error.code, f"command {index}: {error}") from None
    return "".join(line + "\n" for line in lines)
