"""The time that must pass after commands."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Countdown"]


class Countdown(wiring.Component):
    """Says whether the times that several commands started are all over for a command in the next cycle.

    Latency: none; a command chosen in a cycle is on the pins in the next.

    Parameters
    ----------
    times : the cycles, at least 1, from a command of each kind to what has to wait for it

    Members
    -------
    start : In(len(times)), commands of these kinds are on the pins in this cycle
    over : Out(1)
    """

    def __init__(self, times):
        if min(times) < 1:
            raise ValueError(f"times must be at least 1 cycle, not {min(times)}")
        self.times = tuple(times)
        super().__init__({"start": In(len(self.times)), "over": Out(1)})

    def elaborate(self, platform):
        m = Module()
        longer = [kind for kind, time in enumerate(self.times) if time > 1]
        left = Signal(range(max(2, max(self.times) - 1)))  # cycles from the next on that are too early
        late = Signal(init=1)  # left is 0
        after = Signal.like(left)
        m.d.comb += [
            self.over.eq(late & ~Cat(self.start[kind] for kind in longer).any()),
            after.eq(Mux(late, 0, left - 1)),
        ]
        for kind, time in sorted(enumerate(self.times), key=lambda each: each[1]):
            if time > 2:
                with m.If(self.start[kind] & (left < time - 1)):
                    m.d.comb += after.eq(time - 2)
        m.d.sync += [left.eq(after), late.eq(after == 0)]
        return m
