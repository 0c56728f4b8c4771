"""Delay lines, and what flags were before."""

from pathlib import Path

from amaranth.hdl import *

from ..verilog import emitting, source

__all__ = ["delay", "history"]

LINE = Path(__file__).with_name("delay_line.v")
LONG = 32
"""Bits of a shift register from which on it is a module."""


def delay(m, en, name, value, cycles, *, reset_less=True):
    """``value`` after ``cycles`` cycles in which ``en`` is 1, of the same shape; one packed shift register,
    in the Verilog a module of its own if it is long."""
    bits = Value.cast(value)
    if not cycles or not len(bits):
        return value
    if emitting() and reset_less and len(bits) * cycles >= LONG:
        late = Signal(len(bits), name=f"{name}_late")
        source(
            m,
            f"{name}_line",
            LINE,
            parameters={"WIDTH": len(bits), "CYCLES": cycles},
            i_en=en,
            i_i=bits,
            o_o=late,
        )
    else:
        line = Signal(len(bits) * cycles, name=name, reset_less=reset_less)
        with m.If(en):
            m.d.sync += line.eq(Cat(bits, line))
        late = line[-len(bits) :]
    if isinstance(value, ValueCastable):
        return value.shape()(late)
    return late.as_signed() if bits.shape().signed else late


def history(m, en, name, flag, cycles):
    """``flag`` and what it was 1 to ``cycles`` cycles of ``en`` before, as a list; reset clears what was."""
    before = Signal(cycles, name=f"{name}s")
    with m.If(en):
        m.d.sync += before.eq(Cat(flag, before))
    return [flag, *before]
