"""The DMA engine."""

from collections import deque

from poblano.config import LINE_BYTES
from poblano.isa.commands import Opcode
from poblano.memory.dma import MOST_PENDING
from poblano.memory.load import QUEUED

from .ports import Burst
from .transfers import Reader, bursts_of

__all__ = ["DMAUnit"]

LANDED = 4
"""Cycles from a LOAD's last beat to its completion."""
STORED = 6
"""Cycles from a STORE to its first beat at the port."""


class DMAUnit:
    def __init__(self, clock, ports, config, *, finish, idle):
        self.clock, self._ports, self.config = clock, ports, config
        self._finish, self._idle = finish, idle
        memory = self._memory = config.memory
        self._reader = Reader(
            clock,
            ports,
            "dma",
            depth=max(2, memory.outstanding * memory.burst_beats),
            outstanding=memory.outstanding,
            longest=memory.burst_beats,
            landed=self._landed,
            idle=self._reader_idle,
        )
        self._pending, self._loading, self._free = 0, True, 0
        self._bus, self._loads = 0, 0
        self._next_write = 0
        self._order, self._flying, self._todo, self._asking = deque(), 0, deque(), False
        self.busy = 0

    def ready_for(self, o):
        is_load = o.opcode == Opcode.LOAD
        if self._pending and (is_load != self._loading or self._pending >= MOST_PENDING):
            return None
        if is_load and self._loads > QUEUED:
            return None
        return self._free

    def start(self, o, now):
        self._pending += 1
        self._loading = o.opcode == Opcode.LOAD
        if self._loading:
            self._free = None
            self._loads += 1
            self._reader.take(o, now, o.mem_addr, o.lines * LINE_BYTES, o.mem_stride, o.rows)
            return
        self._store(o, now)

    def _reader_idle(self):
        self._free = self.clock.now
        self._idle()

    def _landed(self, o, beats, first, last, ends):
        self._bus = max(self._bus + beats, last + LANDED)
        self.clock.at(self._bus, self._reader.give, beats)
        if ends:
            self.clock.at(self._bus, self._done)

    def _store(self, o, now):
        beat, memory = self._memory.data_bytes, self._memory
        row = {Opcode.STORE: lambda: o.lines * LINE_BYTES, Opcode.STORE_BLOCK: lambda: o.length}
        row_bytes = row.get(o.opcode, lambda: 4)()
        words = o.opcode in (Opcode.STORE_SCALE, Opcode.STORE_WORD)
        together = words and o.mem_stride == 4 and o.mem_addr % beat == 0 and o.rows * 4 % beat == 0
        rows, stride = o.rows, o.mem_stride
        reads = rows * max(1, row_bytes // beat)
        if together:
            row_bytes, rows = rows * 4, 1
        found = bursts_of(o.mem_addr, row_bytes, stride, rows, beat=beat, most=memory.burst_beats)
        last = len(found) - 1
        start = max(now + STORED, self._next_write)
        given = 0
        total = sum(beats for _, beats in found)
        for n, (address, beats) in enumerate(found):
            given += beats
            ready = start + (given * reads // total if together else given) - 1
            self._todo.append((address, beats, ready, n == last, now + 2 + n))
        self._next_write = start + reads
        self._free = now + reads + 3
        self._issue()

    def _issue(self):
        memory, now = self._memory, self.clock.now
        while self._todo and self._flying < memory.outstanding_writes:
            address, beats, ready, ends, asked = self._todo.popleft()
            self._flying += 1
            done = lambda last, answer, e=ends: self._answered(e, answer)
            burst = Burst("store", address, beats, done, write=True)
            burst.ready = ready
            self._ports.ask(burst, max(asked, ready - beats + 1, now + 1))

    def _answered(self, ends, answer):
        self._flying -= 1
        if ends:
            self.clock.at(answer + 1, self._done)
        self._issue()

    def _done(self):
        self._pending -= 1
        if self._loading:
            self._loads -= 1
        self._finish(self.clock.now)
        self._idle()
