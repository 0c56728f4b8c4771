"""The DMA engine: commands that load and commands that store."""

from collections import deque

from poblano.axi.writer import AXIWriter
from poblano.config import LINE_BYTES
from poblano.isa.commands import Opcode
from poblano.memory.load import LoadEngine
from poblano.memory.local import LocalMemories
from poblano.memory.store import WORD_BYTES, StoreEngine

from .burst import Burst
from .transfers import Reader, bursts_of

__all__ = ["DMAUnit"]

LANDED = LoadEngine.LATENCY + LoadEngine.DONE
"""Cycles from a LOAD's last beat to its completion."""
STORED = StoreEngine.READ + LocalMemories.LATENCY + StoreEngine.LATENCY
"""Cycles from a STORE to its first beat at the port."""
WORDS = Opcode.STORE_SCALE, Opcode.STORE_WORD


class DMAUnit:
    """Takes LOAD and the STOREs; those that go the same way overlap.

    ``products`` are the matmul units by tile, with which blocks are read in turn.
    """

    def __init__(self, clock, memories, config, products, *, finish, idle):
        self.clock, self._memories, self._memory = clock, memories, config.memory
        self._products, self._finish, self._idle = products, finish, idle
        memory = self._memory
        self._reader = Reader(
            clock,
            memories,
            "dma",
            depth=max(2, memory.outstanding * memory.burst_beats),
            outstanding=memory.outstanding,
            longest=memory.burst_beats,
            landed=self._landed,
            idle=self._reader_idle,
        )
        self._free: int | None = 0
        self._pending, self._loading = 0, True
        self._bus, self._next_beat = 0, 0
        self._todo, self._flying = deque(), 0

    def ready(self, o):
        """From which cycle on a command is taken; None if something must happen before."""
        loads = o.opcode == Opcode.LOAD
        if self._pending and (loads != self._loading or self._pending >= self._memory.pending_transfers):
            return None
        if loads and self._pending > self._memory.queued_loads:
            return None
        return self._free

    def start(self, o, now):
        """A command is taken."""
        self._pending += 1
        self._loading = o.opcode == Opcode.LOAD
        if self._loading:
            self._free = None
            self._reader.take(o, now, o.mem_addr, o.lines * LINE_BYTES, o.mem_stride, o.rows)
        else:
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
        """The bursts of a STORE, and when their data are there."""
        beat, rows, words = self._memory.data_bytes, o.rows, o.opcode in WORDS
        row_bytes = (
            WORD_BYTES if words else o.length if o.opcode == Opcode.STORE_BLOCK else o.lines * LINE_BYTES
        )
        reads = rows * max(1, row_bytes // beat)
        if words and o.mem_stride == WORD_BYTES and not o.mem_addr % beat and not rows * WORD_BYTES % beat:
            row_bytes, rows = rows * WORD_BYTES, 1
            if o.opcode == Opcode.STORE_WORD:
                reads = row_bytes // beat
        found = bursts_of(o.mem_addr, row_bytes, o.mem_stride, rows, beat=beat, most=self._memory.burst_beats)
        if o.opcode in (Opcode.STORE_BLOCK, Opcode.STORE_SCALE):
            reads = round(reads * (1 + self._products[o.tile].reads(now)))
        start, given, total = max(now + STORED, self._next_beat), 0, sum(beats for _, beats in found)
        for n, (address, beats) in enumerate(found):
            data = start + given * reads // total
            given += beats
            self._todo.append((address, beats, data, n == len(found) - 1, now + AXIWriter.ADDRESS + n))
        self._next_beat = start + reads
        self._free = now + StoreEngine.READ + reads + LocalMemories.LATENCY
        self._write()

    def _write(self):
        """Begin writes, as many as may be unanswered."""
        now = self.clock.now
        while self._todo and self._flying < self._memory.outstanding_writes:
            address, beats, data, ends, asked = self._todo.popleft()
            self._flying += 1
            done = lambda last, answer, ends=ends: self._answered(ends, answer)
            burst = Burst("store", address, beats, done, write=True, data=data)
            self._memories.ask(burst, max(asked, now + 1))

    def _answered(self, ends, answer):
        self._flying -= 1
        if ends:
            self.clock.at(answer + AXIWriter.DONE, self._done)
        self._write()

    def _done(self):
        self._pending -= 1
        self._finish(self.clock.now)
        self._idle()
