"""When which banks of a DRAM are refreshed."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import DramConfig

__all__ = ["BankRefresher", "Refresher"]

SOON, LATE = 2, 4
"""Refreshes of all banks that are due from which on banks without a burst, and any banks, are refreshed; JEDEC
lets 8 be due."""


class Refresher(wiring.Component):
    """Refreshes all banks at once as soon as it is due.

    Latency: 1 cycle from a refresh that is due to the first command.

    It holds all banks, closes them together when each of them may be closed, and refreshes them; then bursts
    go on.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    wanted : In(banks in a group), bursts use banks of this number
    left : In(banks in a group), the last beat of a granule of theirs is taken in this cycle
    open, may_precharge, may_activate : In(banks), of each bank, by its own commands
    may_refresh : In(groups), commands to other banks allow it
    accept : In(1), the command is given in this cycle
    hold : Out(banks in a group), no burst may use or open banks of this number
    precharge, refresh : Out(1), precharge or refresh the bank ``group``, ``bank``, or all banks if these are
        refreshed together; not both
    group, bank : Out
    due : Out, refreshes of all banks that are due
    """

    def __init__(self, config: DramConfig):
        self.config = config
        timing = config.timing
        banks = timing.groups * timing.banks
        super().__init__(
            {
                "wanted": In(timing.banks),
                "left": In(timing.banks),
                "open": In(banks),
                "may_precharge": In(banks),
                "may_activate": In(banks),
                "may_refresh": In(timing.groups),
                "accept": In(1),
                "hold": Out(timing.banks),
                "precharge": Out(1),
                "refresh": Out(1),
                "group": Out(range(timing.groups)),
                "bank": Out(range(timing.banks)),
                "due": Out(range(timing.postponed + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._count(m, self.refresh & self.accept)
        with m.If(self.due != 0):
            m.d.comb += [
                self.hold.eq(-1),
                self.precharge.eq(self.open.any() & ~(self.open & ~self.may_precharge).any()),
                self.refresh.eq(self.may_activate.all()),
            ]
        return m

    def _count(self, m, done):
        """Count the intervals that pass and the refreshes of all banks."""
        interval = self.config.cycles.interval
        cycle, passed = Signal(range(interval)), Signal()
        m.d.comb += passed.eq(cycle == interval - 1)
        m.d.sync += [cycle.eq(Mux(passed, 0, cycle + 1)), self.due.eq(self.due + passed - done)]


class BankRefresher(Refresher):
    """Refreshes banks one by one, if possible those that nobody misses.

    Latency: 1 cycle from a refresh that is due to the first command.

    In a round each bank is refreshed once; a round is due in each interval. The banks of one number, one in each
    group, are refreshed one right after the other: those which a stream has just left at the end of a
    granule, since it comes back to them last, or any when no burst is there; from ``SOON`` rounds that are due on
    also others without bursts, and from ``LATE`` on any: their bursts wait.
    """

    def elaborate(self, platform):
        m = Module()
        timing = self.config.timing
        groups, banks = timing.groups, timing.banks
        pending, held = Signal(banks), Signal(banks)  # by number: in this round, now
        left, todo, last = Signal(banks), Signal(groups), Signal()
        self._count(m, last & ~(pending & ~held).any())
        m.d.sync += left.eq(self.left)
        with m.If((pending == 0) & (self.due != 0)):
            m.d.sync += pending.eq(-1)

        free = pending & ~self.wanted
        choices = (
            free & left,
            Mux(self.wanted == 0, pending, 0),
            Mux(self.due >= SOON, free, 0),
            Mux(self.due >= LATE, pending, 0),
        )
        chosen = Signal(banks)
        for choice in reversed(choices):
            with m.If(choice.any()):
                m.d.comb += chosen.eq(choice & -choice)
        with m.If(~held.any()):
            m.d.sync += [held.eq(chosen), todo.eq(-1)]

        of_held = lambda bits: Cat(
            (Cat(bits[groups * b + g] for b in range(banks)) & held).any() for g in range(groups)
        )
        closes, refreshes = Signal(groups), Signal(groups)
        m.d.comb += [
            closes.eq(of_held(self.open & self.may_precharge)),
            refreshes.eq(of_held(self.may_activate) & todo & self.may_refresh),
            self.hold.eq(held),
            self.precharge.eq(closes.any()),
            self.refresh.eq(refreshes.any() & ~closes.any()),
        ]
        group = Signal(groups)
        m.d.comb += [
            group.eq(Mux(closes.any(), closes & -closes, refreshes & -refreshes)),
            self.group.eq(_number(group)),
            self.bank.eq(_number(held)),
            last.eq(self.refresh & self.accept & ((todo & ~group) == 0)),
        ]
        with m.If(self.refresh & self.accept):
            m.d.sync += todo.eq(todo & ~group)
        with m.If(last):
            m.d.sync += [held.eq(0), pending.eq(pending & ~held)]
        return m


def _number(one_hot):
    """The number of the bit that is set."""
    bits = (len(one_hot) - 1).bit_length()
    return Cat(Cat(one_hot[n] for n in range(len(one_hot)) if n >> bit & 1).any() for bit in range(bits))
