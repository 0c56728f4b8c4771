"""The memory behind a port of the chip, burst by burst: an AXI4 memory of a latency and a bandwidth, or a DRAM
with its controller."""

from collections import deque
import math

from poblano.dram.address import AddressMap
from poblano.dram.config import PIPELINE
from poblano.dram.refresher import LATE
from poblano.stream.fifo import BufferedFIFO  # noqa: F401

__all__ = ["AxiPort", "Burst", "DramPort", "make_port"]

MEMORY_BURSTS = 64
"""Reads that the simulated AXI4 memory takes before it stalls."""
QUEUED = 3
"""Cycles from an address at a DRAM controller to the first command for it."""
OPENED = 2
"""And to the first activation for it."""
ANSWERED = 2
NEVER = 1 << 60
"""Cycles from a DRAM's last write command of a burst to its answer."""


class Burst:
    """A burst of ``beats`` beats at ``address``; ``done(first, last)`` is called with the cycles of its first
    and its last beat, a write's with that of its answer."""

    __slots__ = ("address", "beats", "data", "done", "fresh", "held", "master", "ready", "rows", "write")

    def __init__(self, master, address, beats, done, write=False):
        self.master, self.address, self.beats, self.done, self.write = master, address, beats, done, write
        self.ready, self.rows, self.fresh, self.data, self.held = 0, None, True, 0, None


class _Port:
    """What both kinds share: masters take turns at an arbiter, and bursts wait in a queue.

    Members
    -------
    read_beats, written_beats : that have passed
    """

    def __init__(self, clock, beat_bytes, depth):
        self.clock, self.beat_bytes, self._depth = clock, beat_bytes, depth
        self._waiting, self._turn, self._queue, self._writes = {}, deque(), [], deque()
        self._busy, self._reads_due = False, 0
        self.read_beats = self.written_beats = 0

    def ask(self, burst, cycle):
        """A burst's address is at the arbiter in ``cycle``."""
        self.clock.at(cycle, self._arrive, burst)

    def _arrive(self, burst):
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
        """Reads into the queue, a master's in turn."""
        while self._turn and len(self._queue) < self._depth:
            master = self._turn.popleft()
            mine = self._waiting[master]
            burst = mine.popleft()
            if mine:
                self._turn.append(master)
            self._queue.append(burst)
            self._enter(burst)


class AxiPort(_Port):
    """As ``host/poblano_host/sim/memory.h``: reads in the order of their addresses, ``latency`` cycles later,
    and a bucket of two beats for reads and writes together."""

    def __init__(self, clock, memory):
        super().__init__(clock, memory.data_bytes, MEMORY_BURSTS)
        self._latency = memory.latency
        self._pace = float(memory.data_bytes / memory.bandwidth)
        self._credit = self._delay = 0.0
        self._write_turn = False

    def _enter(self, burst):
        burst.ready = self.clock.now + self._latency

    def _accept_write(self, burst):
        """Beats of reads and of writes take turns: a write delays the burst that is read."""
        if not self._busy:
            self._writes.append(burst)
            return
        pace = self._pace
        last = self.clock.now + math.ceil(2 * burst.beats * pace)
        self._credit += burst.beats * pace
        self._delay += burst.beats * pace
        self.written_beats += burst.beats
        self.clock.at(last + self._latency, burst.done, last, last + self._latency)

    def _serve(self):
        if self._busy:
            return
        now = self.clock.now
        read = self._queue[0] if self._queue else None
        write = self._writes[0] if self._writes else None
        if read is None and write is None:
            return
        if write is not None and write.ready <= now and (read is None or read.ready > now or self._write_turn):
            self._write_turn = False
            self._start(self._writes.popleft())
        elif read is not None and read.ready <= now:
            self._write_turn = write is not None
            self._queue.pop(0)
            self._start(read)
        else:
            due = min(burst.ready for burst in (read, write) if burst is not None)
            self.clock.at(due, self._serve)

    def _start(self, burst):
        """Move all beats of a burst."""
        now, pace = self.clock.now, self._pace
        first, self._delay = max(now, math.ceil(self._credit - 1e-9)), 0.0
        self._credit = max(self._credit, first - pace) + burst.beats * pace
        last = max(first + burst.beats - 1, math.ceil(self._credit - pace - 1e-9))
        self._busy = True
        if burst.write:
            self.written_beats += burst.beats
            answer = last + self._latency
            self.clock.at(answer, burst.done, last, answer)
        else:
            self.read_beats += burst.beats
            self.clock.at(last, burst.done, first, last)
        self.clock.at(last + 1, self._end)

    def _end(self):
        self._busy = False
        self._admit()
        self._serve()


class _Row:
    """A row that is open in a bank: in which cycle each group's was, and how many bursts need it."""

    __slots__ = ("opened", "row", "used", "users")

    def __init__(self, row):
        self.row, self.opened, self.users, self.used = row, {}, 0, 0


class DramPort(_Port):
    """A DRAM's controller: rows are opened ahead for bursts that wait, the oldest with its row open goes
    first, and writes go in batches."""

    def __init__(self, clock, memory):
        dram = memory.dram
        super().__init__(clock, memory.data_bytes, dram.reads)
        self._dram, self._t, self._map = dram, dram.cycles, AddressMap(dram.timing)
        self._to_data = PIPELINE - QUEUED + self._t.read_latency + self._t.burst
        self._rows, self._activated = {}, 0
        self._left = None
        self._oldest, self._oldest_since, self._waiting_rows = None, 0, 0
        self._writing, self._count, self._since = False, 0, None
        self._column = 0  # from which cycle on the next column command may come
        self._last_read, self._last_write = -1000, -1000
        timing = dram.timing
        self._due, self._pending, self._interval = 0, set(), self._t.interval
        self._closed, self._picked, self._refreshed = {}, 0, 0  # until when banks, the choice, the pace
        self._rounds, self._looking = 0, False
        self._shift = (timing.burst_bytes * timing.groups * timing.columns).bit_length() - 1
        self._banks, self._groups = timing.banks, timing.groups
        self._group_shift = timing.burst_bytes.bit_length() - 1

    def _place(self, burst):
        """Bank, row, first group and the number of groups of a burst."""
        row, number = divmod(burst.address >> self._shift, self._banks)
        first = burst.address >> self._group_shift
        groups = min(self._groups, burst.beats)
        return (number + row) % self._banks, row, first % self._groups, groups

    def _settle(self):
        """Have rows opened for the reads that wait for theirs, the oldest first, where nobody needs the bank's
        present row; not for one behind another of its master that still waits, or wants another row there."""
        waiting, wanted, rows = set(), {}, self._rows
        for burst in self._queue:
            bank, row, *_ = burst.rows
            if burst.ready == NEVER and burst.master not in waiting:
                held = rows.get(bank)
                if wanted.get((burst.master, bank), row) == row and (
                    held is None or held.row == row or not held.users
                ):
                    self._open(burst, held)
                    self._waiting_rows -= 1
                else:
                    waiting.add(burst.master)
            wanted.setdefault((burst.master, bank), row)

    def _open(self, burst, held):
        bank, row, first, groups = burst.rows
        t, now = self._t, self.clock.now
        delay = t.act_to_write if burst.write else t.act_to_read
        start = now + (OPENED if burst.fresh else 1)
        if held is None or held.row != row:
            if held is not None:
                start = max(start, held.used + t.read_to_precharge) + t.precharge_to_act
            start = max(start, self._closed.get(bank, 0))
            held = self._rows[bank] = _Row(row)
        ready = 0
        for n in range(groups):
            group = (first + n) % self._groups
            opened = held.opened.get(group)
            if opened is None:
                opened = max(start, self._activated)
                self._activated = opened + t.act_to_act_other
                held.opened[group] = opened
            ready = max(ready, opened + delay - n)
        burst.ready = max(ready, now + (QUEUED if burst.fresh else 1))
        burst.fresh, burst.held = False, held
        held.users += not burst.write

    def _detach(self, burst):
        """A burst no longer needs its row: others may open theirs."""
        burst.held.users -= not burst.write
        burst.held.used = max(burst.held.used, self._column)
        if self._waiting_rows:
            self._settle()

    def _enter(self, burst):
        burst.rows, burst.ready = self._place(burst), NEVER
        self._waiting_rows += 1
        self._settle()

    def _accept_write(self, burst):
        burst.rows, burst.data = self._place(burst), max(burst.ready, self.clock.now + QUEUED)
        held = self._rows.get(burst.rows[0])
        if held is None or held.row == burst.rows[1] or not held.users:
            self._open(burst, held)
        self._writes.append(burst)

    def _serve(self):
        """The next burst, if nothing is served."""
        if self._busy:
            return
        now, writes = self.clock.now, self._writes
        ready = bool(writes) and writes[0].data <= now
        if self._writing:
            if self._queue and (not ready or self._count >= self._dram.write_beats):
                self._writing, self._since = False, None
        elif ready:
            self._since = now if self._since is None else self._since
            beats = sum(burst.beats for burst in writes if burst.data <= now)
            waited = now - self._since >= self._dram.write_wait
            if not self._queue or waited or beats >= self._dram.write_batch:
                self._writing, self._count = True, 0
        if self._writing and ready:
            self._write(writes.popleft())
        elif self._queue and not self._writing:
            burst = self._choose(now)
            if burst is not None:
                self._read(burst)
        elif writes:
            self.clock.at(writes[0].data, self._serve)

    # Refresh, bank by bank: as BankRefresher

    def _refresh(self, left=None):
        """Choose a bank to be refreshed, if one is due; ``left`` has just been left by a stream."""
        now = self.clock.now
        if now < self._picked or not self._dram.refreshes_banks:
            return
        passed = now // self._interval
        if not self._pending:
            if self._rounds >= passed:
                return
            self._pending = set(range(self._banks))
        pending = self._pending
        wanted = {burst.rows[0] for burst in (*self._queue, *self._writes) if burst.rows}
        bank = None
        if left in pending and left not in self._firsts():
            bank = left
        elif not self._queue and not self._writes:
            bank = min(pending)
        elif now >= self._refreshed:
            unwanted = pending - wanted
            if unwanted:
                bank = min(unwanted)
            elif passed - self._rounds >= LATE:
                bank = min(pending)
        if bank is None:
            self._look(self._refreshed)
            return
        self._close(bank)

    def _firsts(self):
        """The banks of bursts that no other has to be served before."""
        seen, banks = set(), set()
        for burst in self._queue:
            if burst.master not in seen:
                seen.add(burst.master)
                banks.add(burst.rows[0])
        return banks

    def _close(self, bank):
        """Refresh a bank's rows in all groups."""
        t, now = self._t, self.clock.now
        held, at = self._rows.pop(bank, None), now + 2
        if held is not None:
            at = max(at, held.used + t.read_to_precharge) + self._groups - 1 + t.precharge_to_act
            for burst in self._queue:
                if burst.held is held and burst.ready > now:
                    burst.ready, burst.held = NEVER, None
                    self._waiting_rows += 1
        self._picked = at + (self._groups - 1) * t.refresh_to_refresh + 2
        self._refreshed = self._picked + t.refresh_bank
        self._closed[bank] = self._refreshed
        self._pending.discard(bank)
        if not self._pending:
            self._rounds += 1
        self._look(self._picked)

    def _look(self, cycle):
        if not self._looking and cycle > self.clock.now and (self._queue or self._writes or self._busy):
            self._looking = True
            self.clock.at(cycle, self._looked)

    def _looked(self):
        self._looking = False
        self._refresh()

    def _choose(self, now):
        """The oldest whose row is open, of each master in order; None if none is open yet."""
        queue, oldest = self._queue, self._queue[0]
        if oldest.ready <= now:
            return queue.pop(0)
        if oldest is not self._oldest:
            self._oldest, self._oldest_since = oldest, now
        aged = self._oldest_since + self._dram.oldest
        if oldest.ready == NEVER and now >= aged:
            held = self._rows[oldest.rows[0]]
            self._open(oldest, held)
            self._waiting_rows -= 1
            self._settle()
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
        t = self._t
        first = max(self.clock.now, burst.ready, self._last_write + t.write_to_read_same)
        last = first + (burst.beats - 1) * t.burst
        self._last_read = last
        self.read_beats += burst.beats
        self._busy = True
        self._column = last
        self._detach(burst)
        end = burst.address + burst.beats * self.beat_bytes
        self._left = burst.rows[0] if not end & ((1 << self._shift) - 1) else None
        self.clock.at(last + self._to_data, burst.done, first + self._to_data, last + self._to_data)
        self.clock.at(last + t.burst, self._end)

    def _write(self, burst):
        t, now = self._t, self.clock.now
        held = self._rows.get(burst.rows[0])
        if held is None or held.row != burst.rows[1] or burst.fresh:
            self._open(burst, held)
        first = max(now, burst.ready, self._last_read + t.read_to_write)
        last = first + (burst.beats - 1) * t.burst
        self._last_write = self._column = last
        self._count += burst.beats
        self.written_beats += burst.beats
        self._busy = True
        self._detach(burst)
        burst.held.used = last + t.write_to_precharge
        self.clock.at(last + ANSWERED, burst.done, last, last + ANSWERED)
        self.clock.at(last + t.burst, self._end)

    def _end(self):
        self._busy = False
        self._admit()
        left, self._left = self._left, None
        self._refresh(left)
        self._serve()


def make_port(clock, memory):
    """The port of a home."""
    return AxiPort(clock, memory) if memory.dram is None else DramPort(clock, memory)
