"""The time that must pass after commands."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Countdown"]


class Countdown(wiring.Component):
    """Says when the times that several commands started are all over.

    Latency: started in a cycle, a time of ``n`` cycles is over in the ``n``-th after it.

    Parameters
    ----------
    times : the cycles, at least 1, of each kind of command

    Members
    -------
    start : In(len(times)), commands of these kinds are given in this cycle
    over : Out(1), from a register
    """

    def __init__(self, times):
        if min(times) < 1:
            raise ValueError(f"times must be at least 1 cycle, not {min(times)}")
        self.times = tuple(times)
        super().__init__({"start": In(len(self.times)), "over": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        longest = max(self.times)
        if longest == 1:
            return m  # over in the next cycle: always
        left = Signal(range(longest))  # cycles after the next in which it is not over
        after = Signal.like(left)
        m.d.comb += after.eq(Mux(left == 0, 0, left - 1))
        for kind, time in sorted(enumerate(self.times), key=lambda each: each[1]):
            with m.If(self.start[kind] & (left < time)):
                m.d.comb += after.eq(time - 1)
        m.d.sync += [left.eq(after), self.over.eq(after == 0)]
        return m
