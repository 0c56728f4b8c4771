"""Commands in gates: typed views of their bits."""

from amaranth.hdl import *
from amaranth.lib import data

from .header import COMMAND_BYTES, COUNT_BITS, OPCODE_BITS, UNIT_BITS, WAITS, wait_offset
from .opcodes import Opcode

__all__ = ["CommandLayout", "WaitLayout"]


class WaitLayout(data.StructLayout):
    """A unit, and how many commands it must have completed."""

    def __init__(self):
        super().__init__({"unit": UNIT_BITS, "count": COUNT_BITS})


class CommandLayout(data.FlexibleLayout):
    """The 512 bits of a command: ``opcode``, ``unit``, ``waits`` and the fields of an :class:`Opcode`.

    A NOP has no fields: its layout is that of what every command begins with. ``CommandLayout(opcode)(bits)``
    is a view of bits; fields that are choices have their enumerations for shapes.
    """

    def __init__(self, opcode=Opcode.NOP):
        header = {
            "opcode": data.Field(OPCODE_BITS, 0),
            "unit": data.Field(UNIT_BITS, OPCODE_BITS),
            "waits": data.Field(data.ArrayLayout(WaitLayout(), WAITS), wait_offset(0)),
        }
        fields = {f.name: data.Field(f.kind.shape(f.width), f.offset) for f in opcode.definition.fields}
        for f in opcode.definition.fields:
            width = Shape.cast(fields[f.name].shape).width
            assert width == f.width, f"{opcode.name}'s {f.name} has {f.width} bits, its shape {width}"
        super().__init__(8 * COMMAND_BYTES, header | fields)
