"""Text of command programs: an assembler and a disassembler.

A command is a line: the unit, the opcode, operands, waits and, behind a semicolon, a label::

    tile0.matmul MATMUL a=0 a_stride=4 rows=2 k_blocks=4 groups=1 tiles=1 wait tile0.vector>=5 ; layer 0 q
    tile0.vector VECTOR op1=MUL sel1=IMMEDIATE imm1=0.125 a=16 sink=VMEM dst=32 rows=1 blocks=2 tiles=0b11

:data:`poblano.isa.assembly.NOTES` says what a line can hold.
"""

from difflib import get_close_matches
import re

from poblano.isa.assembly import FORM, line_form
from poblano.isa.check import check
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

__all__ = ["AssemblyError", "assemble", "assemble_line", "assemble_lines", "disassemble", "format_command"]

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
            raise ValueError(f"{part!r} is not a wait: unit>=count, as in: wait dma>=1, tile0.vector>=2")
        count = _integer(match[2])
        if not 0 <= count < 1 << COUNT_BITS:
            raise ValueError(f"count {count} does not fit in {COUNT_BITS} bits")
        waits.append((LARGEST.unit_called(match[1]), count))
    if len(waits) > WAITS:
        raise ValueError(f"{len(waits)} waits; a command holds {WAITS}")
    return tuple(waits)


def _operands(opcode, words):
    """The values by name of the operands that ``words`` give."""
    fields, operands = opcode.definition.field, {}
    for operand in words:
        name, equals, value = operand.partition("=")
        if not equals:
            raise ValueError(f"{operand!r} is not an operand: name=value; its line is: {line_form(opcode)}")
        if name not in fields:
            near = "".join(f" (did you mean {n}?)" for n in get_close_matches(name, fields, 1))
            raise ValueError(f"{opcode.name} has no operand {name!r}{near}; its line is: {line_form(opcode)}")
        if name in operands:
            raise ValueError(f"{name} is given twice")
        try:
            operands[name] = fields[name].kind.parse(value)
        except ValueError as error:
            raise ValueError(f"{name}={value}: {error}") from None
    return operands


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
        raise ValueError(f"a command has a unit and an opcode; the form of a line is: {FORM}")
    try:
        opcode = Opcode[rest[0]]
    except KeyError:
        raise ValueError(
            f"unknown opcode {rest[0]!r}; there are {', '.join(Opcode.__members__)}; the form of a line is: "
            f"{FORM}"
        ) from None
    operands = _operands(opcode, rest[1:])
    waits = _waits(lists[0]) if lists else ()
    command = Command(opcode, LARGEST.unit_called(unit), operands, waits, label.strip())
    command.encode()
    return command


def assemble_lines(text, config=None, memory_bytes=None):
    """(number of the line, :class:`Command`) of each command of a program; :class:`AssemblyError` names the
    line that is none or, with ``config``, that its chip refuses, with ``memory_bytes`` of memory (by default
    all that it can address)."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            command = assemble_line(line)
            if command is not None and config is not None:
                check(command.encode(), config, memory_bytes or config.memory.most_bytes)
        except CommandError as error:
            refused = "" if config is None else f"{config.name} refuses it ({error.code.name}): "
            raise AssemblyError(number, f"{refused}{error}") from None
        except ValueError as error:
            raise AssemblyError(number, str(error)) from None
        if command is not None:
            found.append((number, command))
    return found


def assemble(text):
    """The :class:`Command` objects of a program; :class:`AssemblyError` names the line that is none."""
    return [command for _, command in assemble_lines(text)]


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
