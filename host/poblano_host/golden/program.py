"""The commands of a ring as the golden chip finds them: checked, those of an expert with what depends on it,
and without those that are passed over."""

from dataclasses import replace
from typing import Any, NamedTuple

from poblano.isa.errors import CommandError

from .commands import ENCODED_BYTES, DecodedCommand, decode
from .rules import check

__all__ = ["Program", "Queued"]

BY_ROWS = ("MATMUL", "VECTOR", "GATHER", "SCATTER")
MOST_ADDRESS = 2**40 - 1


class Queued(NamedTuple):
    """A command in a unit's queue: its number in the ring, and what its completion adds to the unit's
    count."""

    number: int
    command: DecodedCommand
    counts: int = 1


class Program:
    """A ring's commands for a :class:`~.chip.GoldenChip`.

    Members
    -------
    count : of commands in the ring
    index : of the next
    refused : the error of the one that was refused, if any; there is no next one then
    """

    def __init__(self, chip, data):
        self.chip, self.data = chip, data
        self.count = len(data) // ENCODED_BYTES
        self.index, self.refused = 0, None
        self._next: Any = None
        self._expert: Any = (
            None  # (number, rows, line of its list, bytes to its memory), of the commands left
        )
        self._left = 0
        self._read()

    @property
    def ended(self):
        """Whether there is no next command."""
        return self._next is None

    @property
    def ready(self):
        """Whether there is a next one that is dispatched now if its queue has room: an EXPERT first waits."""
        if self.ended:
            return False
        return self._next.opcode != "EXPERT" or self.chip.ready(self._next)

    @property
    def _slot(self):
        """What the next command, an EXPERT, is about; None if it passes over."""
        slot, routes = self._next.operands["slot"], self.chip.routes
        return routes[slot] if slot < len(routes) else None

    @property
    def units(self):
        """The units whose queues the next command needs room in."""
        if self._next.opcode == "EXPERT" and self._slot is None:
            return range(self.chip.config.units)
        return [self._next.unit]

    def take(self):
        """(unit, :class:`Queued`) of the next command, which is the one before then."""
        command, index = self._next, self.index
        found = [(command.unit, Queued(index, command))]
        self.index += 1
        if command.opcode == "EXPERT":
            o, route = command.operands, self._slot
            if route is None:
                self.index += o["skip"]
                self._left = 0
                found = [
                    (unit, Queued(index, command, self._passed(unit, o) + (unit == command.unit)))
                    for unit in self.units
                ]
            else:
                self._expert, self._left = (*route, route[0] * o["stride"]), o["commands"]
        elif self._left:
            self._left -= 1
        self._read()
        return found

    def _passed(self, unit, o):
        kind = self.chip.topology.kind_of(unit)
        return o[f"passed_{kind.value}"]

    def _read(self):
        """Finds the next command."""
        self._next = None
        if self.index >= self.count or self.refused is not None:
            return
        chip, data = self.chip, self.data[self.index * ENCODED_BYTES : (self.index + 1) * ENCODED_BYTES]
        try:
            self._next = check(self._of_expert(data), chip.config, chip.tables.memory_bytes, chip.tables)
        except CommandError as error:
            error.index = self.index
            self.refused = error

    def _of_expert(self, data):
        """A command with what depends on the expert, if it is an expert's."""
        if not self._left:
            return data
        try:
            command = decode(data)
        except CommandError:
            return data  # refused as it is
        _, count, line, offset = self._expert
        changed = {}
        if command.opcode in BY_ROWS:
            rows = command.operands["rows"]
            changed["rows"] = count if count <= rows else 0
        if command.opcode in ("GATHER", "SCATTER"):
            changed["c"] = line
        if command.opcode in ("LOAD", "STREAM"):
            changed["mem_addr"] = min(command.operands["mem_addr"] + offset, MOST_ADDRESS)
        return replace(command, operands=command.operands | changed).encode()
