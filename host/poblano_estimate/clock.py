"""Events in the order of their cycles."""

import heapq

__all__ = ["NEVER", "Clock"]

NEVER = 1 << 60
"""A cycle that does not come."""


class Clock:
    """Calls that are due, the earliest first, those of one cycle in the order in which they were asked for.

    Members
    -------
    now : the cycle of the call that runs
    """

    def __init__(self):
        self.now, self._count, self._due = 0, 0, []
        self._beside = 0  # calls that are no reason to go on

    def at(self, cycle, call, *arguments):
        """Have ``call(*arguments)`` called in ``cycle``, or now if that is past."""
        self._count += 1
        heapq.heappush(self._due, (cycle if cycle > self.now else self.now, self._count, call, arguments))

    def passes(self, cycle):
        """Go on to ``cycle``, unless a call is due before or in it; whether it went."""
        if self._due and self._due[0][0] <= cycle:
            return False
        self.now = cycle
        return True

    def beside(self, cycle, call):
        """As :meth:`at`, of what repeats for ever: when only such calls are left, none is made any more."""
        self._beside += 1
        self.at(cycle, self._make_beside, call)

    def _make_beside(self, call):
        self._beside -= 1
        call()

    def run(self):
        """Make all calls, those that come on the way too."""
        due, pop = self._due, heapq.heappop
        while len(due) > self._beside:
            self.now, _, call, arguments = pop(due)
            call(*arguments)
