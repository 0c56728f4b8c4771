"""What is common to the memories behind a port of the chip, and a memory of a latency and a bandwidth."""

from collections import deque
import math

from poblano.memory.axi_ram import AXIRam

from .clock import NEVER

__all__ = ["AxiPort", "BufferPort", "Port"]

SEEN = 1
"""Cycles until the simulated memory looks at an address."""
MEMORY_BURSTS = 64
"""Reads that the simulated AXI4 memory takes before it stalls."""


class Port:
    """Masters take turns at an arbiter, and their reads wait in a queue of ``depth`` for being served one
    after the other.

    Members
    -------
    read_beats, written_beats : that have passed
    """

    def __init__(self, clock, depth):
        self.clock, self._depth = clock, depth
        self._waiting, self._turn = {}, deque()
        self._queue, self._writes = [], deque()
        self._busy = self._reading = False  # a burst is being served, a read
        self.read_beats = self.written_beats = 0

    def arrive(self, burst):
        """A burst's address is at the arbiter."""
        if burst.write:
            self._accept_write(burst)
        else:
            mine = self._waiting.get(burst.master)
            if mine is None:
                mine = self._waiting[burst.master] = deque()
            if not mine:
                self._turn.append(burst.master)
            mine.append(burst)
            self._admit()
        self._serve()

    def _admit(self):
        """Reads into the queue, of a master in turn."""
        while self._turn and len(self._queue) < self._depth:
            mine = self._waiting[self._turn.popleft()]
            burst = mine.popleft()
            if mine:
                self._turn.append(burst.master)
            self._queue.append(burst)
            self._enter(burst)

    def _end(self):
        """A burst has been served."""
        self._busy = self._reading = False
        self._admit()
        self._serve()

    def _enter(self, burst):
        """A read is in the queue."""
        raise NotImplementedError

    def _accept_write(self, burst):
        """A write's address has come."""
        raise NotImplementedError

    def _serve(self):
        """Serve the next burst, if none is being served and one can be."""
        raise NotImplementedError


class AxiPort(Port):
    """As ``host/poblano_host/sim/memory.h``: reads in the order of their addresses, ``latency`` cycles later,
    and a bucket of two beats for reads and writes together."""

    def __init__(self, clock, memory):
        super().__init__(clock, MEMORY_BURSTS)
        self._read, self._response = memory.latency + SEEN, memory.latency
        self._pace = float(memory.data_bytes / memory.bandwidth)
        self._credit = 0.0  # the cycle from which on there is a beat in the bucket
        self._write_turn = False
        self._looks = set()  # the cycles in which it is looked again

    def _enter(self, burst):
        burst.ready = self.clock.now + self._read

    def _accept_write(self, burst):
        """Beats of reads and of writes take turns: a write delays the reads after the one that is served."""
        burst.ready = max(burst.data, self.clock.now)
        if not self._reading:
            self._writes.append(burst)
            return
        last = burst.ready + math.ceil(2 * burst.beats * self._pace)
        self._credit += burst.beats * self._pace
        self._answer(burst, last)

    def _answer(self, burst, last):
        self.written_beats += burst.beats
        self.clock.at(last + self._response, burst.done, last, last + self._response)

    def _serve(self):
        if self._busy or not self._queue and not self._writes:
            return
        now = self.clock.now
        read = self._queue[0].ready if self._queue else NEVER
        write = self._writes[0].ready if self._writes else NEVER
        if write <= now and (read > now or self._write_turn):
            self._write_turn = self._reading = False
            burst = self._writes.popleft()
            self._answer(burst, self._move(burst)[1])
        elif read <= now:
            self._write_turn, self._reading = bool(self._writes), True
            burst = self._queue.pop(0)
            self.read_beats += burst.beats
            first, last = self._move(burst)
            self.clock.at(first if burst.early else last, burst.done, first, last)
        else:
            self._look(min(read, write))

    def _look(self, cycle):
        """Look again in ``cycle``, once."""
        if cycle not in self._looks:
            self._looks.add(cycle)
            self.clock.at(cycle, self._looked, cycle)

    def _looked(self, cycle):
        self._looks.remove(cycle)
        self._serve()

    def _move(self, burst):
        """Move all beats of a burst: the cycles of the first and the last."""
        pace, exact = self._pace, 1e-9
        first = max(self.clock.now, math.ceil(self._credit - exact))
        self._credit = max(self._credit, first - pace) + burst.beats * pace
        last = max(first + burst.beats - 1, math.ceil(self._credit - pace - exact))
        self._busy = True
        self.clock.at(last + 1, self._end)
        return first, last


class BufferPort(AxiPort):
    """A KV buffer: a beat a cycle."""

    def __init__(self, clock, memory):
        super().__init__(clock, memory)
        self._read, self._response, self._pace = AXIRam.READ, AXIRam.ANSWER, 1.0
