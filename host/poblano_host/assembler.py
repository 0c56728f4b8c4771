"""Text of command programs: an assembler and a disassembler.

A command is a line: the unit, the opcode, operands, waits and, behind a semicolon, a label::

    tile0.matmul MATMUL a=0 a_stride=4 rows=2 k_blocks=4 groups=1 tiles=1 wait tile0.vector>=5 ; layer 0 q
    tile0.vector VECTOR a=16 rows=1 blocks=2 limit=65535 imm1=0.125 tiles=0b11 wait tile0.matmul>=1, dma>=3

Operands that are not named are 0. Integers are decimal, 0x or 0b. FP32 operands are decimal numbers, inf,
or ``bits:0x`` and their bits. A wait ``-`` is an unused one. Empty lines, and lines that begin with a
semicolon, mean nothing.
"""

import math
import re

import numpy as np

from poblano.isa.commands import (
    COMMAND_BYTES,
    COUNT_BITS,
    NO_UNIT,
    WAITS,
    Command,
    CommandError,
    ErrorCode,
    Float32,
    Opcode,
    UnitKind,
    fields_of,
    unit_index,
    unit_name,
)

__all__ = ["AssemblyError", "assemble", "assemble_line", "disassemble", "format_command"]

UNIT = re.compile(r"tile(\d+)\.(stream|matmul|vector)")
WAIT = re.compile(r"(\S+?)\s*>=\s*(\S+)")
BITS = re.compile(r"bits:(0x[0-9a-fA-F]{1,8})")


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


def _unit(text):
    if text == "dma":
        return 0
    match = UNIT.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a unit: dma, or tile0.stream, .matmul or .vector")
    unit = unit_index(UnitKind[match[2].upper()], int(match[1]))
    if unit >= NO_UNIT:
        raise ValueError(f"there is no tile {match[1]}")
    return unit


def _value(field, text):
    if field.kind != "float32":
        return _integer(text)
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
        waits.append((_unit(match[1]), count))
    if len(waits) > WAITS:
        raise ValueError(f"{len(waits)} waits; a command holds {WAITS}")
    return tuple(waits)


def assemble_line(line):
    """The :class:`Command` of a line, None for a line without one; ValueError says what is wrong."""
    text, _, label = line.partition(";")
    text, *waits = re.split(r"\swait\s", text.strip() + " ")
    if not text.strip():
        return None
    if len(waits) > 1:
        raise ValueError("several lists of waits; separate waits with commas")
    unit, *rest = text.split()
    if not rest:
        raise ValueError("a command has a unit and an opcode")
    try:
        opcode = Opcode[rest[0]]
    except KeyError:
        raise ValueError(f"unknown opcode {rest[0]!r}; there are {', '.join(Opcode.__members__)}") from None
    fields, operands = fields_of(opcode), {}
    for operand in rest[1:]:
        name, equals, value = operand.partition("=")
        if not equals:
            raise ValueError(f"{operand!r} is not an operand: name=value")
        if name not in fields:
            raise ValueError(f"{opcode.name} has no operand {name!r}")
        if name in operands:
            raise ValueError(f"{name} is given twice")
        operands[name] = _value(fields[name], value)
    command = Command(opcode, _unit(unit), operands, _waits(waits[0]) if waits else (), label.strip())
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


def _text(field, raw):
    if field.kind != "float32":
        return f"0x{raw:x}" if field.name in ("mem_addr", "tiles") else str(raw)
    text = str(np.float32(Float32(raw)))
    return text if text != "nan" and field.raw(float(text)) == raw else f"bits:0x{raw:08x}"


def format_command(command):
    """The line of a :class:`Command`."""
    return _line(command.encode(), command.label)


def _line(data, label=""):
    command = Command.decode(data)
    if command.unit >= NO_UNIT:
        raise CommandError(ErrorCode.UNIT, f"unit {command.unit} has no name")
    bits = int.from_bytes(data, "little")
    parts = [unit_name(command.unit), command.opcode.name]
    for field in fields_of(command.opcode).values():
        raw = (bits & field.mask) >> field.offset
        if raw:
            parts.append(f"{field.name}={_text(field, raw)}")
    words = [bits >> 32 * (1 + i) & 0xFFFFFFFF for i in range(WAITS)]
    while words and words[-1] == NO_UNIT:
        words.pop()
    if words:
        waits = ("-" if word == NO_UNIT else f"{unit_name(word & 0xFF)}>={word >> 8}" for word in words)
        parts += ["wait", ", ".join(waits)]
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
