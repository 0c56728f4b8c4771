"""Events in the order of their cycles."""

import heapq

__all__ = ["Clock"]


class Clock:
    """Calls that are due, the earliest first, those of one cycle in the order in which they were asked for.

    Members
    -------
    now : the cycle of the call that runs
    """

    def __init__(self):
        self.now, self._count, self._due = 0, 0, []

    def at(self, cycle, call, *arguments):
        """Have ``call(*arguments)`` called in ``cycle``, or now if that is past."""
        self._count += 1
        heapq.heappush(self._due, (max(cycle, self.now), self._count, call, arguments))

    def run(self):
        """Make all calls, those that come on the way too."""
        due, pop = self._due, heapq.heappop
        while due:
            self.now, _, call, arguments = pop(due)
            call(*arguments)
