"""The order of FP32 numbers by which experts are selected, as that of unsigned numbers."""

from amaranth.hdl import *

__all__ = ["KEY_BITS", "key_of", "value_of"]

KEY_BITS = 33


def key_of(x):
    """A number that is ordered as the FP32 number ``x`` is: NaN first, and -0 below +0."""
    return Mux(x[:31] > 0x7F800000, 0, Cat(Mux(x[31], ~x, Cat(x[:31], 1)), 1))


def value_of(key):
    """The FP32 number of ``key``, a Signal; some NaN of that of NaN."""
    return Mux(key[31], Cat(key[:31], 0), ~key[:32])
