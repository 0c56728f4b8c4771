"""A DRAM and its controller behind a port of the chip."""

import itertools
from typing import Any

from poblano.dram.address import AddressMap
from poblano.dram.config import PIPELINE
from poblano.dram.queue import BurstQueue
from poblano.dram.write_data import WriteData

from .clock import NEVER
from .port import Port
from .refresh import Refresh
from .rows import Rows

__all__ = ["DramPort"]

OPENED = BurstQueue.LATENCY
"""Cycles from an address to the first row command for it."""
SERVED = OPENED + 1
"""And to the first column command, if the row is open."""
READ = PIPELINE - SERVED - 1
"""Cycles, but for those of the DRAM, from a column command to its data at AXI: the address has
been at the arbiter for one of those of the pipeline."""
ANSWERED = WriteData.ANSWER
"""Cycles from a write's last column command to its answer."""
HELD = 2
"""Cycles from a write's beat to the column command that needs it."""
TURNED = 1
"""Cycles from a reason to turn the pins around to the first command."""


def _banks_of(number, first, count, ways):
    """The banks of so many beats from a way of a set on, and a bit of each of them."""
    banks = [number * ways + (first + n) % ways for n in range(count)]
    return banks, sum(1 << bank for bank in banks)


class DramPort(Port):
    """The oldest burst whose rows are open goes first, those of a master in their order, and writes go in
    batches, as in ``DramController``: a burst that has begun is served to its end. Bursts do not cross
    granules.

    Members
    -------
    rows : the :class:`.rows.Rows`
    reads, writes : bursts in the controller's queues, the oldest first
    writing : the pins are for writes
    claims : from which cycle on the oldest read has waited for very long
    """

    def __init__(self, clock, memory):
        dram = self.dram = memory.dram
        super().__init__(clock, dram.reads)
        self.reads, self.writes = self._queue, []
        timing, self._cycles = dram.timing, dram.cycles
        self._to_data = READ + dram.cycles.read_latency + dram.cycles.burst
        self.sets, self.ways, self._turn_of = timing.sets, timing.ways, AddressMap(timing).turn
        self._burst_bytes, self._granule = timing.burst_bytes, dram.granule
        self._banks = {
            (number, first, count): _banks_of(number, first, count, timing.ways)
            for number in range(timing.sets)
            for first in range(timing.ways)
            for count in range(1, timing.ways + 1)
        }
        self._refresh = Refresh(self)
        self.rows = Rows(self, self._refresh)
        self.writing, self._count, self._since = False, 0, None
        self._oldest: Any = None
        self.claims = dram.oldest
        self._wait = OPENED
        self._current: Any = None  # the burst that is being served
        self._looks, self._turned = NEVER, 0
        self._last_read = self._last_write = -self._cycles.interval
        self._last_group, self._ended = 0, 0

    @property
    def full(self):
        """No more reads can wait."""
        return len(self._queue) >= self._depth

    @property
    def wanted(self):
        """The sets that bursts are still to use."""
        return {burst.place[0] for burst in (*self._queue, *self.writes)}

    @property
    def firsts(self):
        """The sets of bursts that no other has to be served before."""
        seen: dict = {}
        for burst in (*self.reads, *self.writes):
            if burst is not self._current:
                seen.setdefault(burst.master, burst.place[0])
        return set(seen.values())

    @property
    def quiet(self):
        """No burst waits."""
        return not self._queue and not self._writes

    def claimed(self):
        """The banks that the oldest read, which has waited since long before :attr:`claims`, needs for other
        rows."""
        oldest = self._queue[0] if self._queue else None
        if oldest is None or oldest is not self._oldest:
            return ()
        return [bank for bank in oldest.place[2] if self.rows.banks.row[bank] != oldest.place[1]]

    def opened(self, bank):
        """A row has been opened in a bank."""
        banks = self.rows.banks
        self._look((banks.write if self.writing else banks.read)[bank])

    def _place(self, burst):
        """(set, row, banks in the order of the beats, a bit of each of them)."""
        row, number = divmod(burst.address // self._granule, self.sets)
        number, first = number + self._turn_of(row), burst.address // self._burst_bytes
        number, first = number % self.sets, first % self.ways
        return number, row, *self._banks[number, first, min(self.ways, burst.beats)]

    def _enter(self, burst):
        now = self.clock.now
        burst.place, burst.slot = self._place(burst), now + self._wait
        burst.ready = burst.slot + SERVED - OPENED
        if self._queue[0] is burst:
            self._oldest, self.claims = burst, now + self.dram.oldest
        if self.rows.spare and self.full or not self.rows.has(burst):
            self.rows.wake(burst.slot)

    def _accept_write(self, burst):
        now = self.clock.now
        burst.place, burst.slot = self._place(burst), now + OPENED
        burst.data = max(burst.data + HELD, now + SERVED)
        self._writes.append(burst)
        self._fill()
        if not self.rows.has(burst):
            self.rows.wake(burst.slot)

    def _fill(self):
        """The oldest writes into the controller's queue."""
        self.writes = list(itertools.islice(self._writes, self.dram.writes))

    def _look(self, cycle):
        """Look in ``cycle`` whether a burst can be served."""
        if cycle < self._looks and self._current is None:
            self._looks = cycle
            self.clock.at(cycle, self._looked, cycle)

    def _looked(self, cycle):
        if self._looks == cycle:
            self._looks = NEVER
            self._serve()

    def _serve(self):
        if self._current is not None:
            return
        now, writes = self.clock.now, self._writes
        ready = bool(writes) and writes[0].data <= now
        if ready or self.writing:
            self._turn_around(now, ready)
        if self.writing:
            burst, soonest = writes[0] if ready else None, NEVER
            if burst is not None:
                soonest = self._from(burst)
                if soonest <= now:
                    self._write(burst)
                    return
            elif writes:
                soonest = writes[0].data
        else:
            burst, soonest = self._choose(now)
            if burst is not None:
                self._read(burst)
                return
            if writes:
                waited = NEVER if self._since is None else self._since + self.dram.write_wait
                soonest = min(soonest, waited if ready else writes[0].data)
        if soonest != NEVER:
            self._look(max(soonest, now + 1))

    def _turn_around(self, now, ready):
        """Decide between reads and writes, of which the first is ``ready``, as ``Turnaround``."""
        dram, turns = self.dram, False
        if self.writing:
            turns = bool(self._queue) and (not ready or self._count >= dram.write_beats)
        elif ready:
            self._since = now if self._since is None else self._since
            waited = now - self._since >= dram.write_wait
            turns = not self._queue or waited or self._batch(now)
        if turns:
            self.writing, self._count, self._since = not self.writing, 0, None
            self._turned = now + TURNED
            self.rows.wake(now)

    def _batch(self, now):
        """Whether so many beats of writes wait that they should begin."""
        first = self._writes[0]
        beats = sum(burst.beats for burst in self._writes if burst.data <= now)
        return beats >= self.dram.write_batch and self.rows.banks.row[first.place[2][0]] == first.place[1]

    def _from(self, burst):
        """From which cycle on a burst can be served, if its rows are open."""
        banks, (_, row, ways, _) = self.rows.banks, burst.place
        rows, held = banks.row, self._refresh.held
        for bank in ways:
            if rows[bank] != row or bank in held:
                return NEVER
        if burst.write:
            times, turned = banks.write, self._last_read + self._cycles.read_to_write
        else:
            times, turned = banks.read, self._last_write + self._cycles.write_to_read_same
        ready = max(burst.ready, self._turned, turned)
        for n, bank in enumerate(ways):
            at = times[bank] - n
            if at > ready:
                ready = at
        return ready

    def _choose(self, now):
        """The oldest read whose rows are open, of each master in order; None if none is, and when one is."""
        seen, soonest = set(), NEVER
        claimed = self.claimed() if now >= self.claims else ()
        for burst in self._queue:
            if burst.master in seen:
                continue
            seen.add(burst.master)
            if claimed and burst.place[2][0] in claimed:
                continue
            at = self._from(burst)
            if at <= now:
                return burst, now
            soonest = min(soonest, at)
        return None, soonest

    def _read(self, burst):
        first, last = self._move(burst)
        self._last_read = last
        self.read_beats += burst.beats
        begun, came = first + self._to_data, last + self._to_data
        self.clock.at(begun if burst.early else came, burst.done, begun, came)

    def _write(self, burst):
        _, last = self._move(burst)
        self._last_write = last
        self._count += burst.beats
        self.written_beats += burst.beats
        self.clock.at(last + ANSWERED, burst.done, last, last + ANSWERED)

    def _move(self, burst):
        """Give a burst's column commands, from now on; the cycles of the first and the last."""
        t, banks, ways = self._cycles, self.rows.banks, burst.place[2]
        first = self.clock.now
        if first == self._ended and banks.group(ways[0]) == self._last_group:
            first += t.column_same - t.column_other
        last = first + (burst.beats - 1) * t.burst
        self._last_group = banks.group(ways[(burst.beats - 1) % len(ways)])
        for n, bank in enumerate(ways):
            banks.column(bank, last - (burst.beats - 1 - n) % len(ways) * t.burst, burst.write)
        self._current = burst
        self._ended = last + t.burst
        self.clock.at(self._ended, self._end)
        return first, last

    def _end(self):
        now, burst, self._current = self.clock.now, self._current, None
        if burst.write:
            self._writes.remove(burst)
            self._fill()
        else:
            self._queue.remove(burst)
        if not self.rows.spare:
            self.rows.spare = burst.place[0] not in [other.place[0] for other in self._queue]
        if burst.write and len(self._writes) >= self.dram.writes:
            entered = self._writes[self.dram.writes - 1]
            entered.slot = max(entered.slot, now + OPENED - 1)
            self.rows.wake(now)
        if self._queue and self._queue[0] is not self._oldest:
            self._oldest, self.claims = self._queue[0], now + self.dram.oldest
        self._wait = OPENED - 1  # the next one waits in a register
        self._admit()
        self._wait = OPENED
        end = burst.address + burst.beats * self._burst_bytes
        self._refresh.choose(None if end % self._granule else burst.place[0])
        self.rows.served()
        self._serve()
