"""The command processor of a chip with experts."""

from poblano.control.checker import CommandChecker
from poblano.control.expert_stage import ExpertStage
from poblano.isa.commands import Opcode

from .processor import Processor
from .queue import waited

__all__ = ["StagedProcessor"]


class StagedProcessor(Processor):
    """A :class:`.processor.Processor` with an ``ExpertStage`` between fetch and checker.

    The commands are those that :func:`.experts.resolve` has seen.
    """

    def __init__(self, *arguments):
        self._at = 0  # the command that comes next from the fetch
        self._held, self._offered = None, None  # the command in the stage, and from when on it is offered
        self._expert, self._begun = 0, 0  # the last EXPERT command that came, and when
        self._found: int | None = None  # from when on it may be dispatched
        self._awaits = False  # it was checked before it may be
        self._taking = False
        self._takes: int | None = 0  # from when on the stage takes a command, None: not now
        self._dropped = 0  # commands in flight that are passed over
        super().__init__(*arguments)

    def _check(self):
        """A command has come, or the checker is free."""
        self._take()
        self._give()

    def _take(self):
        """Have the stage take the next command."""
        if self._taking or self._held is not None or self._takes is None or not self._fetched:
            return
        self._taking = True
        at = max(self._fetched[0], self._given + self._beats, self._takes)
        self.clock.at(int(at + 0.5), self._taken)

    def _taken(self):
        now = self._given = self.clock.now
        self._fetched.popleft()
        self.clock.at(now + self._beats, self._collected)
        self._taking, self._held = False, self._at
        self._at += 1
        self._offered = now + ExpertStage.LATENCY
        if self._commands[self._held].opcode == Opcode.EXPERT:
            self._expert, self._begun, self._found, self._offered = self._held, now, None, now + 1
            self.look()
        self._give()

    def look(self):
        """See whether the waits of the last EXPERT command hold, one after the other."""
        at = waited(self._queues, self._commands[self._expert].waits, self._begun + 1, self)
        if at is not None:
            self._found = at + ExpertStage.FOUND
            if self._awaits:
                self._awaits = False
                self.clock.at(max(self._found, self.clock.now), self._dispatch)

    def _give(self):
        """Give the command that is held to the checker."""
        if self._checking or self._offered is None:
            return
        self._checking = True
        self.clock.at(max(self._offered, self._free), self._accept)

    def _accept(self):
        opcode, now = self._commands[self._held].opcode, self.clock.now
        self._held = self._offered = None
        self._takes = None if opcode == Opcode.EXPERT else now + 1
        self.clock.at(now + CommandChecker.LATENCY + self._ranges[opcode], self._dispatch)
        self._take()

    def _dispatch(self):
        """Give the checked command to its queue, or one that passes others over to all, if there is room."""
        o, now = self._commands[self._next], self.clock.now
        expert = o.opcode == Opcode.EXPERT
        if expert and self._found is None:
            self._awaits = True
            return
        if expert and self._found > now:
            self.clock.at(self._found, self._dispatch)
            return
        counts = expert and o.passes or {o.unit: 1}
        self._blocked: int | None = next((unit for unit in counts if self._queues[unit].full), None)
        if self._blocked is not None:
            return
        if expert:
            self._takes = now + 1
            if o.passes is not None:
                self._skip(o.skip, now)
        index, self._next = self._next, self._next + 1 + (o.skip if expert and o.passes else 0)
        for unit, count in counts.items():
            self._queues[unit].put(index, o, now, count)
        self._checking, self._free = False, now + 1
        self._check()

    def _skip(self, count, now):
        """Pass over the next ``count`` commands: those that have come, those in flight, and others."""
        gone, flying = min(count, len(self._fetched)), self._asked - self._at - len(self._fetched)
        self._dropped = min(count - gone, flying)
        self._asked += count - gone - self._dropped
        self._at += count
        for n in range(gone):
            self._fetched.popleft()
            self.clock.at(now + 1 + (n + 1) * self._beats, self._collected)
        self._takes = now + 1 + gone * self._beats
        self.clock.at(now + 1, self._fetch)

    def _come(self, count, first, last, dropped=0):
        dropped = min(count, self._dropped)
        self._dropped -= dropped
        super()._come(count, first, last, dropped)
