"""The command processor: fetch, check and dispatch."""

from collections import deque

from poblano.control.checker import CommandChecker
from poblano.control.fetch import BURST_COMMANDS, CommandFetch
from poblano.isa.commands import COMMAND_BYTES, Opcode

from .burst import Burst
from .transfers import FETCH

__all__ = ["Processor"]


class Processor:
    """Brings commands from the ring at ``address`` to their units' ``queues``, in order."""

    def __init__(self, clock, memories, config, commands, queues, address):
        self.clock, self._memories, self._commands, self._queues = clock, memories, commands, queues
        memory, self._address = config.memory, address
        self._beats = COMMAND_BYTES // memory.data_bytes
        self._burst = max(1, min(BURST_COMMANDS, memory.burst_beats // self._beats))
        self._ranges = {opcode: _ranges(opcode, config) for opcode in Opcode}
        self._most = memory.fetch_bursts
        self._asked, self._flying, self._room = 0, 0, self._most * BURST_COMMANDS
        self._fetched = deque()  # when the commands can be given to the checker
        self._given = -self._beats  # when the last was
        self._next, self._free, self._checking = 0, 0, False  # command; when the checker is free
        self._blocked = None  # the unit whose queue is full
        clock.at(CommandFetch.ADDRESS, self._fetch)

    def _fetch(self):
        """Ask for the next commands, as long as there is room."""
        total = len(self._commands)
        while self._asked < total and self._flying < self._most and self._room >= self._burst:
            count = min(self._burst - self._asked % self._burst, total - self._asked)
            address = self._address + self._asked * COMMAND_BYTES
            self._asked += count
            self._room -= count
            self._flying += 1
            done = lambda first, last, count=count: self._come(count, first, last)
            burst = Burst(FETCH, address, count * self._beats, done, early=True)
            self._memories.ask(burst, self.clock.now)

    def _come(self, count, first, last, dropped=0):
        """A burst comes, of whose commands the first are ``dropped``."""
        if not self._next and not self._fetched:
            self.clock.at(last + self._beats + CommandFetch.LATENCY - 1, self._collected)
        pace = (last - first + 1) / count
        times = [last - (count - 1 - n) * pace + CommandFetch.LATENCY for n in range(count)]
        for time in times[:dropped]:
            self.clock.at(int(time), self._collected)
        self._fetched.extend(times[dropped:])
        self.clock.at(last + 1, self._landed)
        self._check()

    def _landed(self):
        """All of a burst has come."""
        self._flying -= 1
        self._fetch()

    def _collected(self):
        """A command's beats have left the FIFO of the fetch."""
        self._room += 1
        self._fetch()

    def _check(self):
        """Begin to check the next command."""
        if self._checking or not self._fetched:
            return
        self._checking = True
        at = max(self._fetched[0], self._given + self._beats, self._free)
        self.clock.at(int(at + 0.5), self._accept)

    def _accept(self):
        self._fetched.popleft()
        now = self._given = self.clock.now
        self.clock.at(now + self._beats, self._collected)
        opcode = self._commands[self._next].opcode
        self.clock.at(now + CommandChecker.LATENCY + self._ranges[opcode], self._dispatch)

    def _dispatch(self):
        """Give the checked command to its queue, when that has room."""
        o, now = self._commands[self._next], self.clock.now
        queue = self._queues[o.unit]
        self._blocked = o.unit if queue.full else None
        if queue.full:
            return
        queue.put(self._next, o, now)
        self._next += 1
        self._checking, self._free = False, now + 1
        self._check()

    def room(self, unit):
        """A command has left a unit's queue."""
        if self._blocked == unit:
            self._blocked = None
            self.clock.at(self.clock.now + 1, self._dispatch)


def _ranges(opcode, config):
    """The address ranges that are checked of a command, one a cycle."""
    definition, memory = opcode.definition, config.memory
    of_memory = 1 + (memory.paging is not None) if definition.memory else 0
    home = bool(definition.memory and definition.memory.at_home and memory.homes > 1)
    return len(definition.local) + of_memory + home
