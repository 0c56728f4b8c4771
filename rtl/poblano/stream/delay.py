"""Delays and choices that several blocks of the matmul unit are made of."""

from pathlib import Path

from amaranth.hdl import *

from ..verilog import emitting, source

__all__ = ["delay", "word_mux"]

LINE = Path(__file__).with_name("delay_line.v")
LONG = 32
"""Bits of a shift register from which on it is a module."""


def delay(m, en, name, value, cycles, *, reset_less=True):
    """``value`` after ``cycles`` cycles in which ``en`` is 1; one packed shift register, in the Verilog a
    module of its own if it is long."""
    value = Value.cast(value)
    if not cycles or not len(value):
        return value
    if emitting() and reset_less and len(value) * cycles >= LONG:
        late = Signal(len(value), name=f"{name}_late")
        source(
            m,
            f"{name}_line",
            LINE,
            parameters={"WIDTH": len(value), "CYCLES": cycles},
            i_en=en,
            i_i=value,
            o_o=late,
        )
        return late
    line = Signal(len(value) * cycles, name=name, reset_less=reset_less)
    with m.If(en):
        m.d.sync += line.eq(Cat(value, line))
    return line[-len(value) :]


def word_mux(index, words):
    """``words[index]``; their number is a power of two, the full range of ``index``."""
    for bit in index:
        words = [Mux(bit, odd, even) for even, odd in zip(words[0::2], words[1::2])]
    assert len(words) == 1
    return words[0]
