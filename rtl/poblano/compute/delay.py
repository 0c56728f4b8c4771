"""Delays and choices that several blocks of the matmul unit are made of."""

from amaranth.hdl import *

__all__ = ["delay", "word_mux"]


def delay(m, en, name, value, cycles, *, reset_less=True):
    """``value`` after ``cycles`` cycles in which ``en`` is 1; one packed shift register."""
    value = Value.cast(value)
    if not cycles or not len(value):
        return value
    line = Signal(len(value) * cycles, name=name, reset_less=reset_less)
    with m.If(en):
        m.d.sync += line.eq(Cat(value, line))
    return line[-len(value):]


def word_mux(index, words):
    """``words[index]``; their number is a power of two, the full range of ``index``."""
    for bit in index:
        words = [Mux(bit, odd, even) for even, odd in zip(words[0::2], words[1::2])]
    assert len(words) == 1
    return words[0]
