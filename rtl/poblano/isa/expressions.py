"""Operations of the expressions that describe commands.

An expression is a function of a command's operands ``o`` and of the configuration ``c``. It works alike on
Python's integers, on numpy's arrays, on Amaranth's Values and on :class:`.text.Text`, with ``+``, ``-``,
``*``, ``//`` by constants, comparisons, ``&`` and ``|`` of conditions, and what is here.
"""

from functools import reduce
from operator import and_, or_

from amaranth.hdl import Mux, Value
import numpy as np

from .text import Text, call

__all__ = ["ceil_div", "choose", "every", "least", "none_of", "off", "ones", "some"]


def choose(condition, yes, no):
    """``yes`` where the condition holds, ``no`` elsewhere."""
    if isinstance(condition, Text):
        return call("{1} if {0} else {2}", condition, yes, no)
    if isinstance(condition, Value):
        return Mux(condition, yes, no)
    return np.where(condition, yes, no) if isinstance(condition, np.ndarray) else (yes if condition else no)


def some(conditions):
    """Whether one of the conditions holds."""
    return reduce(or_, conditions, False)


def every(conditions):
    """Whether all conditions hold."""
    return reduce(and_, conditions, True)


def none_of(value, members):
    """Whether ``value`` is none of ``members``, constants."""
    return every(value != member for member in members)


def off(value, unit):
    """Whether ``value`` is not a multiple of ``unit``, a power of two."""
    return (value & (unit - 1)) != 0


def ceil_div(value, divisor):
    """``value / divisor`` rounded up; ``divisor`` is a constant."""
    if isinstance(value, Text) or isinstance(divisor, Text):
        return call("ceil({0} / {1})", value, divisor)
    return (value + (divisor - 1)) // divisor


def least(a, b):
    """The smaller of two numbers."""
    if isinstance(a, Text):
        return call("min({0}, {1})", a, b)
    return choose(a < b, a, b)


def ones(mask, width):
    """How many of the lowest ``width`` bits of ``mask`` are 1."""
    if isinstance(mask, Text):
        return call("ones({0})", mask)
    return sum(mask[i] if isinstance(mask, Value) else mask >> i & 1 for i in range(width))
