"""Places for things in the chip's memories."""

import numpy as np

from .errors import CompileError

__all__ = ["Allocator", "Image", "align"]


def align(value, unit):
    """``value`` rounded up to a multiple of ``unit``."""
    return -(-value // unit) * unit


class Allocator:
    """Hands out a linear memory of ``size`` units from the start; errors read "``what``: N ``unit``; there
    are ..."."""

    def __init__(self, size, what, unit):
        self.size = size
        self.what = what
        self.unit = unit
        self.used = 0

    def take(self, amount, unit=1):
        """The start of ``amount`` units at a multiple of ``unit``."""
        start = align(self.used, unit)
        self.used = start + amount
        if self.used > self.size:
            raise CompileError(f"{self.what} of at least {self.used} {self.unit}; there are {self.size}")
        return start


class Image:
    """The bytes of memory from address 0, grown by pieces."""

    def __init__(self, unit):
        self.unit = unit
        self.pieces = []
        self.size = 0

    def reserve(self, size):
        """Address of ``size`` zero bytes."""
        address = self.size
        self.size += -(-size // self.unit) * self.unit
        return address

    def append(self, data):
        address = self.reserve(len(data))
        self.pieces.append((address, bytes(data)))
        return address

    def array(self, array):
        return self.append(np.ascontiguousarray(array).tobytes())
