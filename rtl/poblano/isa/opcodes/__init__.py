"""The opcodes, each with its definition, from which everything else about its commands derives."""

import enum

from ..definition import Definition
from . import experts, matmul, transfers, vector

__all__ = ["Opcode", "opcodes_of"]

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
    ROUTE = experts.ROUTE
    GATHER = experts.GATHER
    SCATTER = experts.SCATTER
    EXPERT = experts.EXPERT

    definition: Definition

    def __new__(cls, definition):
        self = int.__new__(cls, definition.number)
        self._value_ = definition.number
        self.definition = definition
        return self

    @property
    def kind(self):
        """The :class:`~poblano.isa.topology.UnitKind` that executes it, None if all units take it."""
        return self.definition.kind


def opcodes_of(config):
    """The opcodes that ``config``'s chip knows."""
    return [opcode for opcode in Opcode if opcode.definition.known(config)]
