"""Waits of commands in a given order."""

import numpy as np

from poblano.isa.commands import WAITS

__all__ = ["Counts"]


class Counts:
    """Numbers the commands of each unit, and says for what others each has to wait.

    A wait ``(unit, count)`` holds when the unit has completed ``count`` commands. Of the predecessors of a
    command it leaves out what its unit knows already, and what follows from its other waits.

    ``slot`` : that of the expert whose commands come next, or None
    """

    def __init__(self, units):
        self.units = units
        self.slot = None
        self._history = [[np.zeros(units, np.int64)] for _ in range(units)]  # what each command knows is done
        self._slots = [[None] for _ in range(units)]
        self._numbers = {}

    def issued(self):
        """Commands of each unit so far."""
        return np.array([len(history) - 1 for history in self._history])

    def mark(self):
        """A place for :meth:`forget`."""
        return [len(history) - 1 for history in self._history]

    def forget(self, mark, above=-1):
        """What experts' commands since ``mark`` have waited for is not known, where their slots are ``above``
        one: they may have been passed over."""
        for unit, (history, slots, first) in enumerate(zip(self._history, self._slots, mark)):
            for n in range(first + 1, len(history)):
                if slots[n] is not None and slots[n] > above:
                    history[n] = history[n - 1].copy()
                    history[n][unit] = n

    def skip(self, unit):
        """A command of a unit that waits for nothing."""
        self._append(unit, self._history[unit][-1])

    def _append(self, unit, clock):
        """The next command of a unit: it knows ``clock``, and how many there are of its own."""
        clock = clock.copy()
        clock[unit] = len(self._history[unit])
        self._history[unit].append(clock)
        self._slots[unit].append(self.slot)

    def add(self, number, unit, predecessors, *, before=False):
        """A list of waits for each command to be issued: NOPs for those that the last, number's own, has no
        room for. It acts ``before`` its unit gets it: what the unit knows by then says nothing."""
        history = self._history
        known = np.zeros_like(history[unit][-1]) if before else history[unit][-1]
        needed = {}
        for p in predecessors:
            other, count = self._numbers[p]
            if other != unit and count > known[other] and count > needed.get(other, 0):
                needed[other] = count
        clocks = {v: history[v][count] for v, count in needed.items()}
        kept = [
            (v, count)
            for v, count in needed.items()
            if not any(w != v and clock[v] >= count for w, clock in clocks.items())
        ]
        clock = history[unit][-1].copy()
        for v, _ in kept:
            np.maximum(clock, clocks[v], out=clock)
        kept.sort()
        groups = [kept[n : n + WAITS] for n in range(0, len(kept), WAITS)] or [[]]
        for _ in groups:
            self._append(unit, clock)
        self._numbers[number] = unit, len(history[unit]) - 1
        return groups
