"""What the text of a program looks like: the words that help, messages and ``docs/commands.md`` share."""

from .fields import Choice, Real
from .header import COUNT_BITS, WAITS
from .topology import UnitKind
from .vector_ops import NO_LIMIT

__all__ = ["EXAMPLE", "FORM", "NOTES", "line_form"]

FORM = "unit OPCODE operand=value .. wait unit>=count, .. ; label"
"""A line."""

EXAMPLE = """\
dma LOAD mem_addr=0x1000 dst=0 rows=1 lines=4 tiles=1
tile0.vector VECTOR op1=MUL sel1=IMMEDIATE imm1=2 a=0 sink=VMEM dst=8 rows=1 blocks=1 tiles=1 wait dma>=1
dma STORE mem_addr=0x2000 src=8 rows=1 lines=4 tile=0 wait tile0.vector>=1 ; 32 numbers, doubled
"""
"""A program of three commands."""

NOTES = (
    "A line is a command. Empty lines, and lines that begin with a semicolon, mean nothing.",
    "The unit is dma, or tile0.stream, tile0.matmul or tile0.vector of tile 0, and so on.",
    "Operands come in any order. One that is left out is 0, but share is 1 and limit is none "
    f"({NO_LIMIT}); what each means is in docs/commands.md.",
    "Integers are decimal, hexadecimal (0x10) or binary (0b11). A choice is a name or its number: op1=ADD "
    "is op1=1.",
    "imm1 and imm2 are FP32: a decimal number, inf, or bits:0x and the number's bits.",
    "tiles is a mask of the tiles that get the result: tiles=0b11 is tiles 0 and 1.",
    "A wait unit>=count holds when that unit has completed so many commands of the program. A command starts "
    "when all its waits hold, and when the commands before it in its own unit have started. It has at most "
    f"{WAITS} waits, with counts below 2**{COUNT_BITS}; a wait - is an unused one.",
    "Commands of one unit take effect in their order. Between units nothing is in order but what waits say; "
    "only a MATMUL waits for its weights by itself.",
    "The label is for people and timelines.",
)
"""What is to be known to write lines."""


def _value(field):
    if isinstance(field.kind, Real):
        return "X"
    return "NAME" if isinstance(field.kind, Choice) else "N"


def line_form(opcode):
    """The form of an :class:`~poblano.isa.opcodes.Opcode`'s line, with all its operands."""
    kind = opcode.definition.kind
    unit = {None: "unit", UnitKind.DMA: "dma"}.get(kind) or f"tile0.{kind.value}"
    return " ".join([unit, opcode.name, *(f"{f.name}={_value(f)}" for f in opcode.definition.fields)])
