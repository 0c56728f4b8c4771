"""A tile's stream unit, from memory to its weight FIFO."""

from typing import Any

from poblano.axi.reader import AXIReader

from .parts import asked
from .transfers import Reader

__all__ = ["StreamUnit"]

MOST_PENDING = 15
"""Commands that are taken and not done."""


class StreamUnit:
    """Takes STREAM commands, and gives words to a matmul unit's ``arrive``, which gives room back by
    :meth:`taken`.

    ``together``: bursts that are seen as one where there are many.
    """

    def __init__(self, clock, memories, config, tile, *, together, finish, idle):
        self.clock, self._finish, self._idle = clock, finish, idle
        memory, depth = config.memory, config.tile.fifo_bytes // config.stream_bytes
        reader = asked(
            AXIReader,
            memory.command_axi,
            word_width=8 * config.stream_bytes,
            depth=depth,
            burst_beats=memory.burst_beats,
            outstanding=memory.outstanding,
        )
        self._beats = reader.beats
        self._reader = Reader(
            clock,
            memories,
            f"stream{tile}",
            depth=depth * reader.beats,
            outstanding=memory.outstanding,
            longest=reader.longest,
            together=together,
            ordered=memory.paging is None and memory.several,
            landed=self._landed,
            idle=self._reader_idle,
        )
        self._free: int | None = 0
        self._pending = 0
        self.matmul: Any = None  # its maker sets it

    def ready(self, o):
        """From which cycle on a command is taken; None if something must happen before."""
        return self._free if self._pending < MOST_PENDING else None

    def start(self, o, now):
        """A command is taken."""
        self._free = None
        self._pending += 1
        self._reader.take(o, now, o.mem_addr, o.row_bytes, o.mem_stride, o.rows)

    def _reader_idle(self):
        self._free = self.clock.now
        self._idle()

    def _landed(self, o, beats, first, last, ends):
        wait = AXIReader.LATENCY
        self.matmul.arrive(beats / self._beats, beats, first + wait, last + wait)
        if ends:
            self.clock.at(last + AXIReader.DONE, self._done)

    def taken(self, beats, cycle):
        """So many beats have left the FIFO."""
        self.clock.at(cycle + 1, self._reader.give, beats)

    def _done(self):
        self._pending -= 1
        self._finish(self.clock.now)
        self._idle()
