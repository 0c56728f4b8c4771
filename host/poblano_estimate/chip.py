"""A chip that walks through a program's commands in time."""

from collections import deque

from poblano.config import LINE_BYTES
from poblano.control.fetch import BURST_COMMANDS, BURSTS_AHEAD
from poblano.isa.commands import COMMAND_BYTES, NO_UNIT, Opcode
from poblano.isa.topology import UnitKind

from .clock import Clock
from .dma import DMAUnit
from .matmul import MatmulTimes, MatmulUnit
from .ports import Burst
from .transfers import FETCH, Ports, Reader
from .vector import VectorTimes

__all__ = ["ChipModel"]

CHECKED = 5
"""Cycles of a command in the checker, beside one for each range."""
QUEUE = 2
"""Cycles of a command in an empty queue."""
DOORBELL = 1
"""Cycles from the doorbell to the first address of the fetch."""
INTERRUPT = 2
"""Cycles from the last completion to the interrupt."""
WORD = 2
"""Cycles from a word's last beat to the word."""


class Bus:
    """The broadcast bus: a write a cycle."""

    def __init__(self):
        self._free = 0

    def carry(self, end, writes):
        """When so many writes, of which the last could be in ``end``, have passed."""
        self._free = max(self._free, end - writes) + writes
        return self._free


class VectorUnit:
    def __init__(self, clock, times, *, finish, idle):
        self.clock, self._times, self._finish, self._idle = clock, times, finish, idle
        self._free, self.busy = 0, 0

    def ready(self, now):
        return self._free

    def start(self, o, now):
        cycles = 1 if o.opcode == Opcode.CLEAR else self._times.of(o)
        self.busy += cycles
        self._free = now + cycles
        self.clock.at(now + cycles, self._done)

    def _done(self):
        self._finish(self.clock.now)
        self._idle()


class StreamUnit:
    def __init__(self, clock, ports, config, tile, *, finish, idle):
        self.clock, self._finish, self._idle = clock, finish, idle
        memory, tiles = config.memory, config.tile
        words = tiles.fifo_bytes // config.stream_bytes
        beats = config.stream_bytes // memory.data_bytes
        self._beats = beats
        half = words * beats // 2
        longest = min(memory.burst_beats, 4096 // memory.data_bytes, 1 << half.bit_length() - 1)
        self.reader = Reader(
            clock,
            ports,
            f"stream{tile}",
            depth=words * beats,
            outstanding=memory.outstanding,
            longest=longest,
            landed=self._landed,
            idle=self._reader_idle,
        )
        self._free, self._pending = 0, 0
        self.matmul = None

    def ready(self, now):
        return self._free if self._free is not None and self._pending < 15 else None

    def start(self, o, now):
        self._free = None
        self._pending += 1
        self.reader.take(o, now, o.mem_addr, o.row_bytes, o.mem_stride, o.rows)

    def _reader_idle(self):
        self._free = self.clock.now
        self._idle()

    def _landed(self, o, beats, first, last, ends):
        self.matmul.arrive(beats / self._beats, beats, first + WORD, last + WORD)
        if ends:
            self.clock.at(last + 1, self._done)

    def taken(self, beats, cycle):
        self.clock.at(cycle + 1, self.reader.give, beats)

    def _done(self):
        self._pending -= 1
        self._finish(self.clock.now)
        self._idle()


class UnitQueue:
    """Commands of a unit that wait."""

    def __init__(self, chip, number, depth):
        self.chip, self.number, self.depth = chip, number, depth
        self.queue, self.ends, self.waiters = deque(), [], []
        self.unit, self._head, self._started = None, 0, -1
        self._scheduled = None
        self.running = 0

    def put(self, index, o, now):
        self.queue.append((index, o, now + (QUEUE if self.depth > 1 else 1)))
        if len(self.queue) == 1:
            self.poke()

    def poke(self):
        """See whether the first command can start."""
        if not self.queue:
            return
        index, o, seen = self.queue[0]
        chip, at = self.chip, max(seen, self._started + 1)
        for unit, count in o.waits:
            ends = chip.queues[unit].ends
            if len(ends) < count:
                waiters = chip.queues[unit].waiters
                if (count, self) not in waiters:
                    waiters.append((count, self))
                return
            if count:
                at = max(at, ends[count - 1] + 1)
            at += 1
        now = chip.clock.now
        if o.opcode == Opcode.NOP:
            if self.running:
                return
            free = at
        else:
            free = self.unit.ready(now) if not hasattr(self.unit, "ready_for") else self.unit.ready_for(o)
            if free is None or self.running >= 16:
                return
        at = max(at, free)
        if at > now:
            if self._scheduled is None or self._scheduled > at or self._scheduled <= now:
                self._scheduled = at
                chip.clock.at(at, self.poke)
            return
        self.queue.popleft()
        self._started = now
        chip.starts[index] = now
        chip.room(self.number)
        if o.opcode == Opcode.NOP:
            self.order.append(index)
            self.finish(now)
        else:
            self.running += 1
            self.order.append(index)
            self.unit.start(o, now)
        if self.queue:
            chip.clock.at(now + 1, self.poke)

    order: deque

    def finish(self, now):
        """The unit has completed a command."""
        index = self.order.popleft()
        if self.chip.commands[index].opcode != Opcode.NOP:
            self.running -= 1
        self.chip.ends[index] = now
        self.ends.append(now)
        self.chip.last = now
        count = len(self.ends)
        if self.waiters:
            due = [queue for n, queue in self.waiters if n <= count]
            if due:
                self.waiters = [(n, queue) for n, queue in self.waiters if n > count]
                for queue in due:
                    queue.poke()
        if self.queue:
            self.poke()


class ChipModel:
    """Commands in, the cycles in which they start and end out."""

    def __init__(self, config, commands, *, ring=0, translate=lambda address: address):
        self.config, self.commands = config, commands
        self.clock, memory = Clock(), config.memory
        self.ports = Ports(self.clock, memory, translate)
        self.starts, self.ends, self.last = [None] * len(commands), [None] * len(commands), 0
        self.queues = [UnitQueue(self, n, config.queue_depth) for n in range(config.units)]
        for queue in self.queues:
            queue.order = deque()
        self._bus = Bus()
        times, vector = MatmulTimes(config), VectorTimes(config.tile)
        self.matmuls, self.vectors = [], []
        for n, (kind, tile) in enumerate(config.topology.units):
            queue = self.queues[n]
            if kind is UnitKind.DMA:
                queue.unit = DMAUnit(self.clock, self.ports, config, finish=queue.finish, idle=queue.poke)
            elif kind is UnitKind.STREAM:
                stream = queue.unit = StreamUnit(
                    self.clock, self.ports, config, tile, finish=queue.finish, idle=queue.poke
                )
            elif kind is UnitKind.MATMUL:
                queue.unit = MatmulUnit(
                    self.clock,
                    config,
                    times,
                    self._bus,
                    tile,
                    finish=queue.finish,
                    taken=stream.taken,
                    idle=queue.poke,
                )
                stream.matmul = queue.unit
            else:
                queue.unit = VectorUnit(self.clock, vector, finish=queue.finish, idle=queue.poke)
        self._ranges = {op: self._count_ranges(op) for op in Opcode}
        self._fetch_setup(ring)

    def _count_ranges(self, opcode):
        d, c = opcode.definition, self.config
        parts = (1 + (c.memory.paging is not None)) if d.memory else 0
        home = bool(d.memory and d.memory.at_home and c.memory.homes > 1)
        return len(d.local) + parts + home

    # Fetch, check, dispatch

    def _fetch_setup(self, ring):
        memory = self.config.memory
        self._beats = COMMAND_BYTES // memory.data_bytes
        per = min(BURST_COMMANDS * self._beats, memory.burst_beats) // self._beats
        self._per, self._ring = max(1, per), ring
        self._asked, self._flying, self._room = 0, 0, BURSTS_AHEAD * BURST_COMMANDS
        self._arrived, self._given, self._next = deque(), -100, 0
        self._checked, self._checking = 0, False
        self._blocked = None
        self.clock.at(DOORBELL, self._fetch)

    def _fetch(self):
        while self._asked < len(self.commands) and self._flying < BURSTS_AHEAD and self._room >= self._per:
            count = min(self._per, len(self.commands) - self._asked)
            first = self._asked
            self._asked += count
            self._room -= count
            self._flying += 1
            address = self._ring + first * COMMAND_BYTES
            burst = Burst(
                FETCH, address, count * self._beats, lambda f, l, n=count: self._fetched(n, f, l)
            )
            self.ports.ask(burst, self.clock.now)

    def _fetched(self, count, first, last):
        self._flying -= 1
        if not self._checked and not self._arrived:
            self.clock.at(self.clock.now + self._beats + 2, self._collected)
        pace = (last - first + 1) / count
        for n in range(count):
            self._arrived.append(last - (count - 1 - n) * pace + 3)
        self.clock.at(self.clock.now + 1, self._fetch)
        self._check()

    def _check(self):
        """Begin to check the next command."""
        if self._checking or not self._arrived:
            return
        at = max(self._arrived[0], self._given + self._beats, self._next)
        self._checking = True
        self.clock.at(int(at + 0.5), self._accept)

    def _accept(self):
        now = self.clock.now
        self._arrived.popleft()
        self._given = now
        self.clock.at(now + self._beats, self._collected)
        o = self.commands[self._checked]
        self.clock.at(now + CHECKED + self._ranges[o.opcode], self._dispatch)

    def _collected(self):
        """A command's beats have left the fetch's FIFO."""
        self._room += 1
        self._fetch()

    def _dispatch(self):
        o = self.commands[self._checked]
        queue = self.queues[o.unit]
        if len(queue.queue) >= queue.depth:
            self._blocked = o.unit
            return
        self._blocked = None
        now = self.clock.now
        queue.put(self._checked, o, now)
        self._checked += 1
        self._checking = False
        self._next = now + 1
        self._check()

    def room(self, unit):
        if self._blocked == unit:
            self._blocked = -1
            self.clock.at(self.clock.now + 1, self._dispatch)

    def run(self):
        """The cycles from the doorbell to the interrupt."""
        self.clock.run()
        missing = [n for n, end in enumerate(self.ends) if end is None]
        if missing:
            raise RuntimeError(f"command {missing[0]} of {len(self.commands)} never ended")
        return self.last + INTERRUPT
