"""Room that is reserved for what has been asked for."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Credit"]


class Credit(wiring.Component):
    """Counts the places that nothing is reserved for.

    Latency: 1 cycle from ``take`` and ``give`` to ``left``.

    Who asks for something takes its places in that cycle, at most those that are ``left``; they are given
    back when it has left its places for good.

    Parameters
    ----------
    total : places, all of them left after a reset
    most_taken, most_given : in a cycle

    Members
    -------
    take : In(range(most_taken + 1)), at most ``left``
    give : In(range(most_given + 1)), at most what has been taken before this cycle
    left : Out(range(total + 1))
    """

    def __init__(self, *, total, most_taken=1, most_given=1):
        if max(most_taken, most_given) > total:
            raise ValueError(
                f"of a total of {total!r} can't be taken or given {max(most_taken, most_given)} in a cycle"
            )
        self.total, self.most_taken, self.most_given = total, most_taken, most_given
        super().__init__(
            {
                "take": In(range(most_taken + 1)),
                "give": In(range(most_given + 1)),
                "left": Out(range(total + 1), init=total),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.left.eq(self.left - self.take + self.give)
        return m
