"""A DRAM and its controller behind a port of the chip."""

from collections import deque

from poblano.dram.address import AddressMap
from poblano.dram.config import PIPELINE
from poblano.dram.queue import BurstQueue
from poblano.dram.write_data import WriteData

from .port import NEVER, Port
from .refresh import Refresh

__all__ = ["DramPort"]

OPENED = BurstQueue.LATENCY
"""Cycles from an address to the first activation for it."""
SERVED = BurstQueue.LATENCY + 2
"""And to the first column command, if the row is open."""
ANSWERED = WriteData.ANSWER + 1
"""Cycles from a write's last column command to its answer."""
FOUR = 4
"""Activations that may come in a window."""
HELD = 2
"""Cycles from a write's beat to the column command that needs it."""


class _Row:
    """A row that is open in a bank: in which cycle it was opened in each group, how many reads that wait need
    it, and from when on it can be closed."""

    __slots__ = ("free", "opened", "row", "users")

    def __init__(self, row):
        self.row, self.opened, self.users, self.free = row, {}, 0, 0


class DramPort(Port):
    """Rows are opened ahead for bursts that wait, the oldest whose row is open goes first, writes go in
    batches, and banks are refreshed, as in ``DramController``.

    A *bank* here is a set of banks, its ways, which a granule of consecutive addresses covers. Bursts do not
    cross granules.
    """

    def __init__(self, clock, memory):
        dram = self.dram = memory.dram
        super().__init__(clock, dram.reads)
        timing = dram.timing
        self.cycles = dram.cycles
        self._to_data = PIPELINE - SERVED + self.cycles.read_latency + self.cycles.burst
        self.sets, self.ways = timing.sets, timing.ways
        self._groups, self._turn_of = timing.groups, AddressMap(timing).turn
        self._burst_bytes, self._granule = timing.burst_bytes, dram.granule
        self.rows = {}  # by bank
        self._activated = deque([-self.cycles.four_acts] * FOUR, FOUR)  # when the last rows were opened
        self._without = 0  # reads in the queue whose rows are not being opened
        self._oldest, self._oldest_since = None, 0
        self._writing, self._count, self._since = False, 0, None
        self._last_read = self._last_write = -self.cycles.interval
        self._last_group = 0
        self._left = None
        self._refresh = Refresh(self)

    @property
    def wanted(self):
        """The banks that bursts are still to use."""
        return {burst.place[0] for burst in (*self._queue, *self._writes)}

    @property
    def firsts(self):
        """The banks of reads that no other has to be served before."""
        seen = {}
        for burst in self._queue:
            seen.setdefault(burst.master, burst.place[0])
        return set(seen.values())

    @property
    def quiet(self):
        """No burst waits."""
        return not self._queue and not self._writes

    def _place(self, burst):
        """(set, row, first way, ways) of a burst."""
        row, number = divmod(burst.address // self._granule, self.sets)
        first = burst.address // self._burst_bytes
        return (number + self._turn_of(row)) % self.sets, row, first % self.ways, min(self.ways, burst.beats)

    def _enter(self, burst):
        burst.place, burst.ready = self._place(burst), NEVER
        self._without += 1
        self.settle()

    def settle(self):
        """Have rows opened for the reads that have none, the oldest first, where nobody needs the bank's
        present row; not for one behind another of its master that has none, or wants another row there."""
        waiting, wanted = set(), {}
        for burst in self._queue:
            bank, row, *_ = burst.place
            if burst.ready == NEVER and burst.master not in waiting:
                held = self.rows.get(bank)
                if wanted.get((burst.master, bank), row) == row and (
                    held is None or held.row == row or not self._kept(held)
                ):
                    self._open(burst, held)
                    self._without -= 1
                else:
                    waiting.add(burst.master)
            wanted.setdefault((burst.master, bank), row)

    def _kept(self, held):
        """Whether a row is kept open: for what is being served, reads or writes."""
        if self._writing:
            return any(burst.held is held for burst in self._writes)
        return held.users > 0

    def close(self, bank):
        """A bank is refreshed: the cycle from which on its row can be closed, None if none is open."""
        held = self.rows.pop(bank, None)
        if held is None:
            return None
        for burst in self._queue:
            if burst.held is held and burst.ready > self.clock.now:
                burst.ready, burst.held = NEVER, None
                self._without += 1
        return held.free

    def _open(self, burst, held):
        """Have the row of a burst opened in the groups that it needs."""
        bank, row, first, groups = burst.place
        t, now, fresh = self.cycles, self.clock.now, burst.held is None
        start = now + (OPENED if fresh else 1)
        if held is None or held.row != row:
            if held is not None:
                start = max(start, held.free) + t.precharge_to_act
            start = max(start, self._refresh.closed.get(bank, 0))
            held = self.rows[bank] = _Row(row)
        delay, ready = t.act_to_write if burst.write else t.act_to_read, now + (SERVED if fresh else 1)
        for n in range(groups):
            group = (first + n) % self.ways
            if group not in held.opened:
                before = self._activated
                at = max(start, before[-1] + t.act_to_act_other, before[0] + t.four_acts)
                held.opened[group] = at
                before.append(at)
            ready = max(ready, held.opened[group] + delay - n)
        burst.ready, burst.held, burst.lead = ready, held, max(0, ready - held.opened[first] - delay)
        held.users += not burst.write

    def _accept_write(self, burst):
        burst.place, burst.data = self._place(burst), max(burst.data + HELD, self.clock.now + SERVED)
        self._writes.append(burst)
        self._open_writes()

    def _open_writes(self):
        """Open rows for writes ahead, in order, where no read needs the bank's row before."""
        rows = {}
        for n, burst in enumerate(self._writes):
            bank, row, *_ = burst.place
            if n == self.dram.writes or rows.setdefault(bank, row) != row:
                return
            if burst.held is None:
                held = self.rows.get(bank)
                if held is not None and held.row != row and not self._writing and self._kept(held):
                    return
                self._open(burst, held)

    def _serve(self):
        if self._busy:
            return
        now, writes = self.clock.now, self._writes
        if self._refresh.all_due(now):
            self._busy = True
            self.clock.at(self._refresh.all_done(now), self._end)
            return
        ready = bool(writes) and writes[0].data <= now
        self._turn_around(now, ready)
        if self._writing and ready:
            self._write(writes.popleft())
        elif self._queue and not self._writing:
            burst = self._choose(now)
            if burst is not None:
                self._read(burst)
        elif writes:
            self.clock.at(writes[0].data, self._serve)

    def _turn_around(self, now, ready):
        """Decide between reads and writes, of which the first is ``ready``, as ``Turnaround``."""
        dram = self.dram
        if self._writing:
            if self._queue and (not ready or self._count >= dram.write_beats):
                self._writing, self._since = False, None
                self.settle()
        elif ready:
            self._since = now if self._since is None else self._since
            beats = sum(burst.beats for burst in self._writes if burst.data <= now)
            waited = now - self._since >= dram.write_wait
            if not self._queue or waited or beats >= dram.write_batch:
                self._writing, self._count = True, 0
                self._open_writes()

    def _choose(self, now):
        """The oldest read whose row is open, of each master in order; None if none is open yet."""
        queue, oldest = self._queue, self._queue[0]
        if oldest.ready <= now:
            return queue.pop(0)
        if oldest is not self._oldest:
            self._oldest, self._oldest_since = oldest, now
        aged = self._oldest_since + self.dram.oldest
        if oldest.ready == NEVER and now >= aged:
            self._open(oldest, self.rows.get(oldest.place[0]))
            self._without -= 1
            self.settle()
        seen, soonest = set(), NEVER
        for n, burst in enumerate(queue):
            if burst.master in seen:
                continue
            seen.add(burst.master)
            if burst.ready <= now:
                return queue.pop(n)
            soonest = min(soonest, burst.ready)
        self.clock.at(max(now + 1, aged) if soonest == NEVER else soonest, self._serve)
        return None

    def _read(self, burst):
        t = self.cycles
        first = max(self.clock.now, burst.ready, self._last_write + t.write_to_read_same)
        lead = burst.lead if first == burst.ready else 0
        last = self._last_read = self._move(burst, first, t.read_to_precharge)
        self.read_beats += burst.beats
        end = burst.address + burst.beats * self._burst_bytes
        self._left = None if end % self._granule else burst.place[0]
        begun = first - lead + self._to_data
        came = last + self._to_data
        self.clock.at(begun if burst.early else came, burst.done, begun, came)

    def _write(self, burst):
        t, held = self.cycles, self.rows.get(burst.place[0])
        if burst.held is None or held is not burst.held:
            self._open(burst, held)
        first = max(self.clock.now, burst.ready, self._last_read + t.read_to_write)
        last = self._last_write = self._move(burst, first, t.write_to_precharge)
        self._count += burst.beats
        self.written_beats += burst.beats
        self._open_writes()
        self.clock.at(last + ANSWERED, burst.done, last, last + ANSWERED)

    def _move(self, burst, first, to_precharge):
        """Give a burst's column commands, from ``first`` on; the cycle of the last."""
        t, (bank, _, way, _) = self.cycles, burst.place
        group_of = lambda way: (way % self.ways + bank * self.ways) % self._groups
        group = group_of(way)
        first += (t.column_same - t.column_other) * (first == self.clock.now and group == self._last_group)
        last = first + (burst.beats - 1) * t.burst
        self._last_group = group_of(way + burst.beats - 1)
        self._busy, held = True, burst.held
        held.users -= not burst.write
        held.free = max(held.free, last + to_precharge)
        if self._without:
            self.settle()
        self.clock.at(last + self.cycles.burst, self._end)
        return last

    def _end(self):
        self._busy = False
        self._admit()
        left, self._left = self._left, None
        self._refresh.choose(left)
        self._serve()

    @property
    def active(self):
        """Whether anything waits or is served."""
        return self._busy or not self.quiet
