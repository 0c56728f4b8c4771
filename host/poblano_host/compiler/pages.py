"""Where pages of caches lie in memory."""

from dataclasses import dataclass
from math import gcd

import numpy as np

from poblano.config import PAGE_ALIGNMENT

from .image import align

__all__ = ["PageRoom"]

STEPS = 64
"""Distances in memory from a page to the next one that are tried, in pages."""
MORE = 4
"""Sizes of pages that are tried."""
LOOKED_AT = 64
"""Pages whose distances are looked at."""
FEW = 4
"""As many of these may be near to the one before."""


@dataclass(frozen=True)
class PageRoom:
    """Where pages lie in memory: ``count`` of ``bytes`` bytes, ``used`` of which hold something, from
    ``first`` on. Of several homes each has a part of ``bytes`` of each page, as far from its start; ``homes``
    are the starts.

    The pages of a sequence that begins on an empty chip have consecutive numbers, and attention reads a row
    of each, one page behind the other. Where these rows are in one set of banks of a DRAM, or in one beside
    it, as the pages' size may have it, each waits for the row before. So page n is the place ``n * step`` in
    memory, modulo ``count``, with the least ``step`` for which that is rare. Pages of a size for which there
    is none are larger.
    """

    first: int
    bytes: int
    count: int
    used: int
    homes: tuple = (0,)
    step: int = 1

    @classmethod
    def place(cls, first, used, count, memory):
        """Pages that hold ``used`` bytes from ``first`` on, in each home of ``memory`` (a MemoryConfig);
        ``count(size)`` are how many of so many bytes there are to be."""
        size = _size(used, memory.dram)
        number = count(size)
        homes = tuple(home * memory.bytes_of_home for home in range(memory.homes))
        return cls(first, size, number, used, homes, _step(memory.dram, first, size, number))

    @property
    def extents(self):
        """(first, end) address in each home."""
        size = self.count * self.bytes
        return [(home + self.first, home + self.first + size) for home in self.homes]

    def address(self, page):
        """Of a page, in its home."""
        return self.first + page * self.step % self.count * self.bytes


def _size(used, dram):
    """Bytes of a page, multiples of 4 KiB: the least for which any step will do, if there is one soon."""
    least = align(used, PAGE_ALIGNMENT)
    if dram is None:
        return least
    pages, steps = np.arange(LOOKED_AT), range(1, STEPS)
    sizes = range(least, least + MORE * PAGE_ALIGNMENT, PAGE_ALIGNMENT)
    return next((n for n in sizes if any(_near(dram, 0, n, pages * step) <= FEW for step in steps)), least)


def _step(dram, first, size, count):
    if dram is None:
        return 1
    places = lambda step: np.arange(LOOKED_AT) * step % count
    steps = (n for n in range(1, STEPS) if gcd(n, count) == 1)
    return min(steps, key=lambda step: max(FEW, _near(dram, first, size, places(step))))


def _near(dram, first, size, places):
    """How many of the pages at ``places`` begin in the same set as the one before, or in one beside it."""
    sets = dram.timing.sets
    ahead = np.diff(dram.address_map.set_of(first + places * size)) % sets
    return int((np.minimum(ahead, sets - ahead) < 2).sum())
