"""Choices of one value among several."""

from functools import reduce
from operator import or_

from amaranth.hdl import *

__all__ = ["number_of", "select", "word_mux"]


def select(one_hot, values):
    """The value whose bit of ``one_hot`` is set; 0 if none is."""
    return reduce(or_, [Mux(one_hot[i], Value.cast(value), 0) for i, value in enumerate(values)])


def number_of(one_hot):
    """The number of the bit of ``one_hot`` that is set; 0 if none is."""
    bits = (len(one_hot) - 1).bit_length()
    return Cat(Cat(one_hot[n] for n in range(len(one_hot)) if n >> bit & 1).any() for bit in range(bits))


def word_mux(index, words):
    """``words[index]``, as bits; their number is a power of two, the full range of ``index``."""
    words = [Value.cast(word) for word in words]
    for bit in index:
        words = [Mux(bit, odd, even) for even, odd in zip(words[0::2], words[1::2])]
    assert len(words) == 1
    return words[0]
