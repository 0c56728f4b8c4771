"""Signed multiplication, for a DSP block or as rows of partial products in carry chains."""

from amaranth.hdl import *

__all__ = ["MULTIPLIERS", "multiply"]

MULTIPLIERS = "dsp", "lut"
"""``dsp``: an operator, for synthesis to map to a DSP block or, for an ASIC, to a compressor tree; ``lut``:
carry chains only."""


def multiply(m, a, b, *, multiplier="dsp", name="product"):
    """The exact product of ``a`` and ``b``, signed, in ``len(a) + len(b)`` bits. Combinational.

    With ``lut``, ``len(a) * len(b)`` ANDs and a balanced tree of ``min(len(a), len(b)) - 1`` two-operand
    adders, which yosys does not merge into a compressor tree of LUTs; adding to the product is one more
    carry chain. No `*` remains, so no DSP block is used.

    Parameters
    ----------
    m : Module, which gets the intermediate signals, named ``name`` and the range of bits of an operand
    a, b : Value, signed, of at least 2 bits
    multiplier : one of :data:`MULTIPLIERS`
    """
    a, b = Value.cast(a), Value.cast(b)
    for operand in a, b:
        if not operand.shape().signed or len(operand) < 2:
            raise ValueError(f"operands must be signed and have at least 2 bits, not {operand.shape()!r}")
    if multiplier not in MULTIPLIERS:
        raise ValueError(f"multiplier must be one of {', '.join(MULTIPLIERS)}, not {multiplier!r}")
    if multiplier == "dsp":
        return a * b
    if len(b) > len(a):
        a, b = b, a
    return _rows(m, a, b, 0, len(b), name)


def _rows(m, a, b, start, stop, name):
    """``a`` times the bits of ``b`` from ``start`` to ``stop``, of which only the last bit of ``b`` counts
    negative."""
    width = stop - start
    if width == 1:
        return (a.as_unsigned() & b[start].replicate(len(a))).as_signed()
    half = 1 << (width - 1).bit_length() - 1
    low = _rows(m, a, b, start, start + half, name)
    high = _rows(m, a, b, start + half, stop, name)
    # The top row alone is subtracted; where it is part of a range, it already was.
    negative = stop == len(b) and width - half == 1
    total = Signal(signed(len(a) + width - half), name=f"{name}_{start}_{stop}")
    upper = low[half:].as_signed()
    m.d.comb += total.eq(upper - high if negative else upper + high)
    return Cat(low[:half], total).as_signed()
