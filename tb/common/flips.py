"""Flipped bits in the memories of a design in Amaranth's simulator."""

from amaranth.hdl import Fragment
from amaranth.lib.memory import Memory

__all__ = ["arrays", "flip"]


def arrays(design: Fragment):
    """The memories of an elaborated design, by their paths in it."""
    found = {}

    def look(fragment, path):
        for inner, name, _ in fragment.subfragments:
            below = f"{path}.{name}" if path else str(name)
            if inner.origins and isinstance(inner.origins[0], Memory):
                found[below] = inner.origins[0]
            look(inner, below)

    look(design, "")
    return found


def flip(ctx, array, row, bits):
    """Flips ``bits``, numbers of bits, of a ``row`` of a memory."""
    value = ctx.get(array.data[row])
    for bit in bits:
        value ^= 1 << bit
    ctx.set(array.data[row], value)
