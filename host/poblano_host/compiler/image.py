"""Places for things in the chip's memories."""

import numpy as np

from .errors import CompileError

__all__ = ["Allocator", "Image", "align"]

CACHE_UNIT = 64
"""Bytes to which each layer's part of a page is aligned."""


def align(value, unit):
    """``value`` rounded up to a multiple of ``unit``."""
    return -(-value // unit) * unit


class Allocator:
    """Hands out a linear memory from ``used`` to ``size``; errors read "``what``: N ``unit``; there are
    ..."."""

    def __init__(self, bounds, what, unit):
        self.used, self.size = bounds
        self.what = what
        self.unit = unit

    def take(self, amount, unit=1):
        """The start of ``amount`` units at a multiple of ``unit``."""
        start = align(self.used, unit)
        self.used = start + amount
        if self.used > self.size:
            raise CompileError(f"{self.what} of at least {self.used} {self.unit}; there are {self.size}")
        return start


class Image:
    """The bytes of memory, grown by pieces, in each of the homes of ``memory`` (a MemoryConfig) from its
    start, and where there are KV buffers, the last bytes of a home, caches from its end; ``what`` is in
    memory, for errors.

    Members
    -------
    pieces : list of (address, bytes); everything else is zero
    page_bytes : of a page of all that :meth:`reserve_in_page` was asked for
    """

    def __init__(self, what, config):
        self.what, self.memory = what, config.memory
        self.unit = max(4096, config.stream_bytes)
        self.pieces = []
        self._used, self._cached = [0] * config.memory.homes, 0
        self.page_bytes = 0

    def reserve(self, size, home=0):
        """Address of ``size`` zero bytes."""
        address = home * self.memory.home_bytes + self._used[home]
        self._used[home] += align(size, self.unit)
        return address

    def reserve_caches(self, size):
        """Address in each home of ``size`` bytes that the host does not write: below those before, if there
        are KV buffers."""
        homes = range(self.memory.homes)
        if not self.memory.kv_bytes:
            return [self.reserve(size, home) for home in homes]
        self._cached += align(size, self.memory.data_bytes)
        return [(home + 1) * self.memory.bytes_of_home - self._cached for home in homes]

    def reserve_in_page(self, size):
        """Address for each home, in the window of page tables, of ``size`` bytes of its part of the first
        slot's first page."""
        paging, at = self.memory.paging, self.page_bytes
        self.page_bytes += align(size, CACHE_UNIT)
        if self.page_bytes > paging.part:
            of_home = "" if paging.homes == 1 else " in each home"
            raise CompileError(
                f"{self.what} needs pages of at least {self.page_bytes} bytes{of_home}; the chip's have at "
                f"most {paging.part}"
            )
        return paging.parts(0, 0, at)

    def cached(self, address):
        """Whether an address is of the caches, where these are apart from all else."""
        if self.memory.paging is not None:
            return self.memory.paging.inside(address)
        size = self.memory.bytes_of_home
        return address % size >= size - self._cached

    def append(self, data, home=0):
        address = self.reserve(len(data), home)
        self.pieces.append((address, bytes(data)))
        return address

    def array(self, array):
        return self.append(np.ascontiguousarray(array).tobytes())

    def level(self):
        """All homes go on as many bytes from their starts, which it returns."""
        self._used = [max(self._used)] * len(self._used)
        return self._used[0]

    @property
    def extents(self):
        """(first, end) address of the bytes in each home, and of its caches that are not in a KV buffer."""
        starts = (home * self.memory.home_bytes for home in range(len(self._used)))
        caches = [(end - self._cached, end - self.memory.kv_bytes) for _, end in self.memory.kv_buffers]
        return [
            *((start, start + used) for start, used in zip(starts, self._used)),
            *((first, end) for first, end in caches if end > first),
        ]

    @property
    def size(self):
        """Bytes of memory up to the last that is used; :class:`CompileError` if the chip has fewer."""
        most = self.memory.bytes_of_home
        for home, used in enumerate(self._used):
            used += max(self._cached, self.memory.kv_bytes)
            if used <= most:
                continue
            if self.memory.homes > 1:
                raise CompileError(
                    f"{self.what} needs {used} bytes of memory in home {home}; a home has {most}"
                )
            raise CompileError(
                f"{self.what} needs {used} bytes of memory; {self.memory.addr_width} address bits reach "
                f"{most}"
            )
        if self.memory.kv_bytes:
            return self.memory.most_bytes
        return max(end for first, end in self.extents if end > first)
