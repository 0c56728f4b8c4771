"""A unit's queue: commands that wait for others, and what has been completed."""

from collections import deque
from typing import Any

from poblano.control.queue import IN_FLIGHT, UnitQueue
from poblano.isa.commands import Opcode

__all__ = ["Queue", "waited"]

NOPS = Opcode.NOP, Opcode.EXPERT
"""Commands that no unit gets."""


def waited(queues, waits, at, waiter):
    """The cycle from ``at`` on in which ``waits`` for ``queues`` have been seen to hold, one after the other;
    None if one does not hold yet: then ``waiter`` looks again when it does."""
    for unit, count in waits:
        queue = queues[unit]
        if len(queue.ends) < count:
            queue.tell(count, waiter)
            return None
        at = max(at, queue.ends[count - 1] + 1 if count else 0) + 1
    return at


class Queue:
    """Keeps up to ``depth`` commands, and starts each in its ``unit`` when its waits hold.

    ``started(index, cycle)`` is called when a command has left the queue, ``ended(index, cycle)`` when it is
    complete. ``queues`` are those of all units.

    Members
    -------
    ends : the cycles of the commands that have been completed
    """

    def __init__(self, clock, queues, depth, *, started, ended):
        self.clock, self._queues, self._depth = clock, queues, depth
        self._started, self._ended = started, ended
        self.unit: Any = None  # its maker sets it
        self.ends = []
        self._commands, self._running = deque(), deque()
        self._waiters, self._free = [], 0
        self._due = -1  # when it is looked again

    @property
    def full(self):
        return len(self._commands) >= self._depth

    def put(self, index, o, now, counts=1):
        """A command comes, which counts as so many when it is complete."""
        self._commands.append((index, o, now + (UnitQueue.LATENCY if self._depth > 1 else 1), counts))
        if len(self._commands) == 1:
            self.look()

    def tell(self, count, queue):
        """Have ``queue`` look again when so many commands are complete."""
        if (count, queue) not in self._waiters:
            self._waiters.append((count, queue))

    def look(self):
        """Start the first command if it can start now, or see when."""
        if not self._commands:
            return
        index, o, seen, counts = self._commands[0]
        at, now = waited(self._queues, o.waits, max(seen, self._free), self), self.clock.now
        nop = o.opcode in NOPS
        if at is None or len(self._running) >= IN_FLIGHT or nop and self._running:
            return
        if not nop:
            free = self.unit.ready(o)
            if free is None:
                return
            at = max(at, free)
        if at > now:
            if not now < self._due <= at:
                self._due = at
                self.clock.at(at, self.look)
            return
        self._commands.popleft()
        self._free = now + 1
        self._running.append((index, counts))
        self._started(index, now)
        if nop:
            self.finish(now)
        else:
            self.unit.start(o, now)
        if self._commands:
            self.clock.at(now + 1, self.look)

    def finish(self, now):
        """The unit has completed its oldest command."""
        index, counts = self._running.popleft()
        self._ended(index, now)
        self.ends.extend([now] * counts)
        due = [queue for count, queue in self._waiters if count <= len(self.ends)]
        if due:
            self._waiters = [wait for wait in self._waiters if wait[0] > len(self.ends)]
            for queue in due:
                queue.look()
        self.look()
