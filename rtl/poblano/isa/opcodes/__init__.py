"""The opcodes: a definition each, and this list of them. Everything else about commands derives from it."""

import enum

from ..definition import Definition
from .matmul import MATMUL
from .transfers import LOAD, STORE, STORE_BLOCK, STORE_SCALE, STREAM
from .vector import VECTOR

__all__ = ["DEFINITIONS", "Opcode"]

NOP = Definition(
    "NOP", 0x00, None, "Nothing: completes when its waits hold and all before it in its unit have completed."
)

DEFINITIONS = {d.number: d for d in (NOP, LOAD, STORE, STORE_BLOCK, STORE_SCALE, STREAM, MATMUL, VECTOR)}


class _Defined(enum.IntEnum):
    @property
    def definition(self):
        """The opcode's :class:`~poblano.isa.definition.Definition`."""
        return DEFINITIONS[self]

    @property
    def kind(self):
        """The :class:`~poblano.isa.topology.UnitKind` that executes it, or None for a NOP."""
        return DEFINITIONS[self].kind


Opcode = _Defined("Opcode", {d.name: d.number for d in DEFINITIONS.values()})
"""What a command does: an IntEnum of the definitions' names and numbers."""
