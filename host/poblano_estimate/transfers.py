"""Two-dimensional transfers between the chip and memory, as bursts."""

from collections import deque

from poblano.axi.bursts import BOUNDARY_BYTES

from .ports import Burst, make_port

__all__ = ["Ports", "Reader", "bursts_of"]

FETCH = "fetch"
"""The master that fetches commands, which no page tables are before."""
ARBITER = 1
"""Cycles of a read's address in an arbiter."""
TRANSLATED = 1
"""Cycles of an address in front of page tables."""
LOOKED_UP = 2
"""And where an entry is looked up."""
ADDRESS = 2
"""Cycles from a command to its first address."""


def bursts_of(address, row_bytes, stride, rows, *, beat, most):
    """(address, beats) of a transfer's bursts of at most ``most`` beats."""
    size, found = most * beat, []
    for row in range(rows):
        at, end = address + row * stride, address + row * stride + max(row_bytes, 1)
        while at < end:
            stop = min(end, at - at % size + size)
            found.append((at - at % beat, -(-(stop - at + at % beat) // beat) if row_bytes >= beat else 1))
            at = stop
    return found


class Ports:
    """The chip's memory: the port of each home, and page tables before them.

    ``translate`` gives the address of memory of one of the window.
    """

    def __init__(self, clock, memory, translate):
        self._homes = [make_port(clock, memory) for _ in range(memory.homes)]
        self._memory, self._translate, self._pages = memory, translate, {}
        self.beat_bytes = memory.data_bytes

    def ask(self, burst, cycle):
        """A burst's address is given in ``cycle``; a master's in their order."""
        memory, paging = self._memory, self._memory.paging
        cycle += ARBITER * (not burst.write)
        if paging is not None and burst.master != FETCH:
            cycle += TRANSLATED
            if paging.inside(burst.address):
                page = burst.address >> paging.offset_bits
                key = burst.master
                if self._pages.get(key) != page:
                    self._pages[key] = page
                    cycle += LOOKED_UP
                burst.address = self._translate(burst.address)
        home = burst.address // memory.home_bytes if memory.homes > 1 else 0
        self._homes[home].ask(burst, cycle)

    @property
    def read_beats(self):
        return sum(port.read_beats for port in self._homes)

    @property
    def written_beats(self):
        return sum(port.written_beats for port in self._homes)


class Reader:
    """An ``AXIReader``: transfers in order, bursts ahead as far as there is room.

    ``landed(transfer, beats, first, last, ends)`` is called
    when a burst has come, ``idle()`` when the next transfer can be taken.
    """

    def __init__(self, clock, ports, name, *, depth, outstanding, longest, landed, idle):
        self.clock, self._ports, self.name = clock, ports, name
        self._room, self._outstanding, self.longest = depth, outstanding, longest
        self._landed, self._idle = landed, idle
        self._todo, self._next, self._flying = deque(), 0, 0
        self._asked = False

    def take(self, transfer, cycle, address, row_bytes, stride, rows):
        """A transfer's command is taken in ``cycle``."""
        found = bursts_of(
            address, row_bytes, stride, rows, beat=self._ports.beat_bytes, most=self.longest
        )
        last = len(found) - 1
        self._todo.extend((transfer, at, beats, n == last) for n, (at, beats) in enumerate(found))
        self._next = max(self._next, cycle + ADDRESS - 1)
        self._wake(self._next)

    def give(self, beats):
        """Room for so many beats again."""
        self._room += beats
        self._issue()

    def _wake(self, cycle):
        if not self._asked:
            self._asked = True
            self.clock.at(cycle, self._woken)

    def _woken(self):
        self._asked = False
        self._issue()

    def _issue(self):
        todo, now = self._todo, self.clock.now
        while todo and self._flying < self._outstanding and self._room >= todo[0][2]:
            if self._next > now:
                return self._wake(self._next)
            transfer, address, beats, ends = todo.popleft()
            self._flying += 1
            self._room -= beats
            self._next = now + 1
            done = lambda first, last, t=transfer, b=beats, e=ends: self._come(t, b, e, first, last)
            self._ports.ask(Burst(self.name, address, beats, done), now + 1)
            if ends:
                self.clock.at(now + 1, self._idle)
        return None

    def _come(self, transfer, beats, ends, first, last):
        self._flying -= 1
        self._landed(transfer, beats, first, last, ends)
        self._issue()
