"""Places for things in the chip's memories."""

from .errors import CompileError

__all__ = ["Allocator", "align"]


def align(value, unit):
    """``value`` rounded up to a multiple of ``unit``."""
    return -(-value // unit) * unit


class Allocator:
    """Hands out a linear memory of ``size`` units from the start; ``what`` names it in errors."""

    def __init__(self, size, what):
        self.size = size
        self.what = what
        self.used = 0

    def take(self, amount, unit=1):
        """The start of ``amount`` units at a multiple of ``unit``."""
        start = align(self.used, unit)
        self.used = start + amount
        if self.size is not None and self.used > self.size:
            raise CompileError(f"{self.what} needs at least {self.used}; there are {self.size}")
        return start
