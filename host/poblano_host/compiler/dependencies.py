"""Which commands must be complete before another may start."""

import numpy as np

__all__ = ["Dependencies"]


class Dependencies:
    """Follows commands in the order in which their effects are meant.

    :meth:`add` gives, for a command, the commands before it that it depends on: the last writers of what it
    reads, and the last writers of what it writes and all that have read it since. Of an expert's command,
    which may be passed over, those before count too.
    """

    def __init__(self, config):
        self._config = config
        self._writers = {}  # (memory, tile): number of the last writer of each unit of memory, -1: none
        self._readers = {}  # (memory, tile): by the reader's unit, the number of its last reader since
        self._replaced = {}  # by a reader's number: readers in the same unit of what it has read
        self._maybe = {}  # by the number of an expert's command: its block, and its predecessors
        self._memory = {}  # by name of a part of memory: its writers since the last reader, its readers since

    def add(self, number, op):
        """The numbers of the predecessors of command ``number``."""
        before = set()
        for region in op.reads:
            _collect(before, _view(self._written(region), region))
            view = _view(self._read(region, op.unit), region)
            _collect(self._replaced.setdefault(number, set()), view)
            view[...] = number
        for region in op.writes:
            view = _view(self._written(region), region)
            _collect(before, view)
            view[...] = number
            for readers in self._readers.get(region[:2], {}).values():
                view, found = _view(readers, region), set()
                _collect(found, view)
                view[...] = -1
                while found:
                    before |= found
                    found = {n for reader in found for n in self._replaced[reader]} - before
        for name in op.reads_memory:
            writers, readers = self._memory.setdefault(name, (set(), set()))
            before |= writers
            readers.add(number)
        for name in op.writes_memory:
            writers, readers = self._memory.setdefault(name, (set(), set()))
            before |= readers
            if readers:
                writers.clear()
                readers.clear()
            writers.add(number)
        before.discard(number)
        # Experts' commands may be passed over: what they would have waited for is left to those behind.
        left = list(before)
        while left:
            block, its = self._maybe.get(left.pop(), (None, ()))
            if block is not None and _passed_alone(block, op.block):
                left += its - before
                before |= its
        if op.block is not None:
            self._maybe[number] = op.block, frozenset(before)
        return before

    def _written(self, region):
        key = region[:2]
        if key not in self._writers:
            self._writers[key] = np.full(region.memory.size(self._config), -1, np.int32)
        return self._writers[key]

    def _read(self, region, unit):
        units = self._readers.setdefault(region[:2], {})
        if unit not in units:
            units[unit] = np.full(region.memory.size(self._config), -1, np.int32)
        return units[unit]


def _passed_alone(block, other):
    """Whether commands of a :class:`.builder.Block` may be passed over and those of an ``other`` not."""
    return other is None or other.mixture is not block.mixture or other.slot < block.slot


def _view(array, region):
    """The part of ``array`` that the region covers, writable."""
    if region.rows == 1 or region.stride == region.extent:
        return array[region.base : region.base + region.rows * region.extent]
    if region.stride == 0:
        return array[region.base : region.base + region.extent]
    return np.lib.stride_tricks.as_strided(
        array[region.base :], (region.rows, region.extent), (array.itemsize * region.stride, array.itemsize)
    )


def _collect(numbers, view):
    """Add the numbers in ``view``, but for -1, to ``numbers``."""
    most = int(view.max())
    if most < 0:
        return
    if int(view.min()) == most:
        numbers.add(most)
    else:
        numbers.update(n for n in np.unique(view).tolist() if n >= 0)
