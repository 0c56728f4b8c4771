"""The opcodes, each with its definition, from which everything else about its commands derives."""

import enum

from ..definition import Definition
from . import matmul, transfers, vector

__all__ = ["Opcode"]

NOP = Definition(
    0x00, None, "Nothing: completes when its waits hold and all before it in its unit have completed."
)


class Opcode(enum.IntEnum):
    """What a command does, by the number in its first byte."""

    NOP = NOP
    LOAD = transfers.LOAD
    STORE = transfers.STORE
    STORE_BLOCK = transfers.STORE_BLOCK
    STORE_SCALE = transfers.STORE_SCALE
    STORE_WORD = transfers.STORE_WORD
    STREAM = transfers.STREAM
    MATMUL = matmul.MATMUL
    VECTOR = vector.VECTOR
    CLEAR = vector.CLEAR

    definition: Definition

    def __new__(cls, definition):
        self = int.__new__(cls, definition.number)
        self._value_ = definition.number
        self.definition = definition
        return self

    @property
    def kind(self):
        """The :class:`~poblano.isa.topology.UnitKind` that executes it, or None for a NOP."""
        return self.definition.kind
