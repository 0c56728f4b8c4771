"""The vector unit's commands: the fields, and what follows from them."""

from amaranth.hdl import *
from amaranth.lib import data

from ..isa.commands import Opcode
from ..isa.layout import CommandLayout
from ..isa.vector_ops import AluOp, Reduce, Sink

__all__ = ["VectorCommand", "adds_rows", "decode", "uses", "works"]


class VectorCommand(data.StructLayout):
    """The fields of a VECTOR command."""

    def __init__(self):
        super().__init__({f.name: f.kind.shape(f.width) for f in Opcode.VECTOR.definition.fields})


def decode(command):
    """The :class:`VectorCommand` of a command's bits."""
    fields = CommandLayout(Opcode.VECTOR)(command)
    return data.View(VectorCommand(), Cat(fields[name] for name in Opcode.VECTOR.definition.field))


def works(command):
    """Whether there is anything to do."""
    return (command.sink != Sink.NONE) | (command.reduce != Reduce.NONE)


def uses(command, select):
    """Whether an operation other than PASS has the second operand ``select``, a :class:`Select`."""
    return ((command.op1 != AluOp.PASS) & (command.sel1 == select)) | (
        (command.op2 != AluOp.PASS) & (command.sel2 == select)
    )


def adds_rows(command):
    """Whether the elements of rows are added, so that rows are walked in groups."""
    return (command.reduce == Reduce.SUM) | (command.reduce == Reduce.SUM_SQUARES)
