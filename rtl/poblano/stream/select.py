"""Choices of one value among several."""

from functools import reduce
from operator import or_

from amaranth.hdl import *

__all__ = ["select", "word_mux"]


def select(one_hot, values):
    """The value whose bit of ``one_hot`` is set; 0 if none is."""
    return reduce(or_, [Mux(one_hot[i], Value.cast(value), 0) for i, value in enumerate(values)])


def word_mux(index, words):
    """``words[index]``, as bits; their number is a power of two, the full range of ``index``."""
    words = [Value.cast(word) for word in words]
    for bit in index:
        words = [Mux(bit, odd, even) for even, odd in zip(words[0::2], words[1::2])]
    assert len(words) == 1
    return words[0]
