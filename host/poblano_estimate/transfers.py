"""Two-dimensional transfers between the chip and memory, as bursts."""

from collections import deque
from functools import partial

from poblano.axi.arbiter import AXIReadArbiter
from poblano.axi.reader import AXIReader
from poblano.axi.translator import AddressTranslator

from .burst import Burst
from .dram_port import DramPort
from .port import AxiPort, BufferPort

__all__ = ["FETCH", "Memories", "Reader", "bursts_of"]

FETCH = "fetch"
"""The master that fetches commands, which no page tables are before."""


def bursts_of(address, row_bytes, stride, rows, *, beat, most):
    """(address, beats) of a transfer's bursts of at most ``most`` beats."""
    size, found = most * beat, []
    for row in range(rows):
        at = address + row * stride
        if row_bytes < beat:
            found.append((at - at % beat, 1))
            continue
        end = at + row_bytes
        while at < end:
            stop = min(end, at - at % size + size)
            found.append((at, (stop - at) // beat))
            at = stop
    return found


class Memories:
    """The chip's memory: the port of each home, its KV buffer, and page tables before them.

    ``translate`` gives the address of memory of one of the window; a page lies together.
    """

    def __init__(self, clock, memory, translate):
        self._clock, kind = clock, AxiPort if memory.dram is None else DramPort
        self._homes = [kind(clock, memory) for _ in range(memory.homes)]
        self._buffers = [BufferPort(clock, memory) for _ in memory.kv_buffers]
        self._places = [*self._homes, *self._buffers]
        self._size, self._buffer = memory.bytes_of_home, memory.bytes_of_home - memory.kv_bytes
        self._paging, self._translate = memory.paging, translate
        self._pages, self._bases = {}, {}  # by master its last page; by a home's part of a page where it is
        self.beat_bytes = memory.data_bytes

    def ask(self, burst, cycle):
        """A burst's address is given in ``cycle``; a master's in their order."""
        if not burst.write:
            cycle += AXIReadArbiter.LATENCY
        if self._paging is not None and burst.master != FETCH:
            cycle += AddressTranslator.LATENCY
            if self._paging.inside(burst.address):
                page = burst.address >> self._paging.offset_bits
                if self._pages.get(burst.master) != page:
                    self._pages[burst.master] = page
                    cycle += AddressTranslator.LOOKUP
                part = burst.address >> self._paging.part_bits
                if part not in self._bases:
                    first = part << self._paging.part_bits
                    self._bases[part] = self._translate(first) - first
                burst.address += self._bases[part]
        place = self._places[self.place_of(burst.address)] if len(self._places) > 1 else self._places[0]
        burst.address %= self._size
        self._clock.at(cycle, place.arrive, burst)

    def place_of(self, address):
        """The number of the home, or behind these of the KV buffer, that an address of memory is in."""
        home, rest = divmod(address, self._size)
        return home + len(self._homes) if self._buffers and rest >= self._buffer else home

    @property
    def bytes_read(self):
        return self.beat_bytes * sum(port.read_beats for port in self._homes)

    @property
    def bytes_written(self):
        return self.beat_bytes * sum(port.written_beats for port in self._homes)


class Reader:
    """An ``AXIReader``: transfers in order, bursts ahead as far as there is room for ``depth`` beats.

    ``landed(transfer, beats, first, last, ends)`` is called when a burst has come, ``idle()`` when the next
    transfer can be taken. Bursts of at most ``longest`` beats go ``together`` so many at a time. ``ordered``:
    those in flight are all at one memory.
    """

    def __init__(
        self, clock, memories, name, *, depth, outstanding, longest, together=1, ordered=False, landed, idle
    ):
        self.clock, self._memories, self.name = clock, memories, name
        self._room, self._outstanding, self._longest, self._together = depth, outstanding, longest, together
        self._landed, self._idle = landed, idle
        self._todo, self._next, self._flying, self._asleep = deque(), 0, 0, True
        self._ordered, self._place = ordered, None

    def take(self, transfer, cycle, address, row_bytes, stride, rows):
        """A transfer's command is taken in ``cycle``."""
        most, beat = self._longest * self._together, self._memories.beat_bytes
        found = bursts_of(address, row_bytes, stride, rows, beat=beat, most=most)
        last = len(found) - 1
        self._todo.extend((transfer, at, beats, n == last) for n, (at, beats) in enumerate(found))
        self._next = max(self._next, cycle + AXIReader.ADDRESS - 1)
        self._wake(self._next)

    def give(self, beats):
        """There is room for so many beats again."""
        self._room += beats
        self._issue()

    def _wake(self, cycle):
        if self._asleep:
            self._asleep = False
            self.clock.at(cycle, self._woken)

    def _woken(self):
        self._asleep = True
        self._issue()

    def _issue(self):
        """Begin bursts that there is room for, one a cycle."""
        todo, now = self._todo, self.clock.now
        while todo and self._flying < self._outstanding and self._room >= todo[0][2]:
            if self._next > now:
                self._wake(self._next)
                return
            transfer, address, beats, ends = todo[0]
            place = self._memories.place_of(address) if self._ordered else None
            if self._flying and place != self._place:
                return  # bursts of one id wait until those at another memory are answered
            self._place = place
            todo.popleft()
            bursts = 1 if beats <= self._longest else -(-beats // self._longest)
            self._flying += bursts
            self._room -= beats
            self._next = now + bursts
            done = partial(self._come, transfer, beats, ends, bursts)
            self._memories.ask(Burst(self.name, address, beats, done), now + 1)
            if ends:
                self.clock.at(now + 1, self._idle)

    def _come(self, transfer, beats, ends, bursts, first, last):
        self._flying -= bursts
        self._landed(transfer, beats, first, last, ends)
        self._issue()
