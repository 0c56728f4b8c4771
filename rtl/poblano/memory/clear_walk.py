"""The walk over a memory that is cleared."""

from amaranth.hdl import *

__all__ = ["clear_walk"]


def clear_walk(m, memory, depth):
    """Drives ``memory.clearing`` for ``depth`` cycles after ``memory.clear``; the address in each of them."""
    address = Signal(range(depth))
    with m.If(memory.clearing):
        m.d.sync += [address.eq(address + 1), memory.clearing.eq(address != depth - 1)]
    with m.If(memory.clear):
        m.d.sync += [address.eq(0), memory.clearing.eq(1)]
    return address
