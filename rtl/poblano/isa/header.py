"""Sizes of commands, and what every command begins with: opcode, unit and waits, in this order."""

__all__ = [
    "COMMAND_BYTES",
    "COUNT_BITS",
    "HEADER_BITS",
    "LOCAL_BITS",
    "NO_UNIT",
    "OPCODE_BITS",
    "UNIT_BITS",
    "WAITS",
    "WAIT_BITS",
    "wait_offset",
]

COMMAND_BYTES = 64
OPCODE_BITS = 8
UNIT_BITS = 8
COUNT_BITS = 20
"""Bits of a completion count; counts compare modulo 2**COUNT_BITS."""
LOCAL_BITS = 20
"""Bits of an address and of a stride of a local memory, in lines or blocks."""
WAIT_BITS = UNIT_BITS + COUNT_BITS
"""A wait: the unit, then the count."""
WAITS = 4
"""Waits of a command."""
NO_UNIT = (1 << UNIT_BITS) - 1
"""The unit of a wait that waits for nothing; its count is 0."""


def wait_offset(number):
    """The first bit of a wait."""
    return OPCODE_BITS + UNIT_BITS + WAIT_BITS * number


HEADER_BITS = wait_offset(WAITS)
"""Bits of opcode, unit and waits: the first two words."""
