"""Where pages of caches lie in memory."""

from dataclasses import dataclass
from math import gcd

import numpy as np

__all__ = ["PageRoom"]

STEPS = 32
"""Of the distances in memory from a page to the next one, so many pages are tried."""
LOOKED_AT = 64
"""Pages whose distances are looked at."""


@dataclass(frozen=True)
class PageRoom:
    """Where pages lie in memory: ``count`` of ``bytes`` bytes, ``used`` of which hold something, from
    ``first`` on. Of several homes each has a part of ``bytes`` of each page, as far from its start; ``homes``
    are the starts.

    The pages of a sequence that begins on an empty chip have consecutive numbers, and attention reads a row
    of each, one page behind the other. Where these rows are in one set of banks of a DRAM, or in one beside
    it, as the pages' size may have it, each waits for the row before. So page n is the place ``n * step`` in
    memory, modulo ``count``, with the ``step`` for which that is rarest.
    """

    first: int
    bytes: int
    count: int
    used: int
    homes: tuple = (0,)
    step: int = 1

    @classmethod
    def place(cls, first, size, count, used, memory):
        """Pages of ``size`` bytes from ``first`` on, in each home of ``memory`` (a MemoryConfig)."""
        homes = tuple(home * memory.bytes_of_home for home in range(memory.homes))
        steps = [1] if memory.dram is None else [n for n in range(1, STEPS) if gcd(n, count) == 1]
        near = lambda step: _near(memory.dram, first, size, np.arange(LOOKED_AT) * step % count)
        return cls(first, size, count, used, homes, min(steps, key=near) if len(steps) > 1 else 1)

    @property
    def extents(self):
        """(first, end) address in each home."""
        return [
            (start, start + self.count * self.bytes) for start in (home + self.first for home in self.homes)
        ]

    def address(self, page):
        """Of a page, in its home."""
        return self.first + page * self.step % self.count * self.bytes


def _near(dram, first, size, places):
    """How many of the pages at ``places`` begin in the same set as the one before, or in one beside it."""
    sets = dram.timing.sets
    ahead = np.diff(dram.set_of(first + places * size)) % sets
    return int((np.minimum(ahead, sets - ahead) < 2).sum())
