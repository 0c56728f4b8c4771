"""When which banks of a DRAM are refreshed."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..stream.select import number_of
from ..verilog import place
from .config import DramConfig
from .countdown import Countdown

__all__ = ["BankRefresher", "Refresher"]

SOON, LATE, URGENT = 1, 6, 7
"""Rounds that are due from which on one bank at a time that no burst needs, one of any, and any are
refreshed; JEDEC lets 8 be due."""

REFUSED = 8
"""How often activations go before a refresher's command: they could follow each other for ever."""


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
    wanted : In(banks), bursts need this bank
    soon : In(sets), those of bursts that no other has to be served before
    left : In(sets), the last beat of a granule of theirs is taken in this cycle
    open, may_precharge, may_activate : In(banks), of each bank, by its own commands; ``open`` is 1 from when
        the activation is on the pins
    may_refresh : In(groups), commands to other banks allow it
    accept : In(1), the command is given in this cycle
    hold : Out(banks), no burst may use or open this bank
    precharge, refresh : Out(1), precharge or refresh the bank ``group``, ``bank``, or all banks if these are
        refreshed together; not both
    group, bank : Out
    urgent : Out(1), the command goes before activations, as it has been refused ``REFUSED`` times
    due : Out, refreshes of all banks that are due
    """

    def __init__(self, config: DramConfig):
        self.config = config
        timing = config.timing
        banks = timing.groups * timing.banks
        super().__init__(
            {
                "wanted": In(banks),
                "soon": In(timing.sets),
                "left": In(timing.sets),
                "open": In(banks),
                "may_precharge": In(banks),
                "may_activate": In(banks),
                "may_refresh": In(timing.groups),
                "accept": In(1),
                "hold": Out(banks),
                "precharge": Out(1),
                "refresh": Out(1),
                "group": Out(range(timing.groups)),
                "bank": Out(range(timing.banks)),
                "urgent": Out(1),
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
        cycle = Signal(range(interval))
        passed = Signal()
        m.d.comb += passed.eq(cycle == interval - 1)
        m.d.sync += [cycle.eq(Mux(passed, 0, cycle + 1)), self.due.eq(self.due + passed - done)]


class BankRefresher(Refresher):
    """Refreshes banks one by one, if possible those that nobody misses.

    Latency: 1 cycle from a refresh that is due to the first command.

    In a round each bank is refreshed once; a round is due in each interval. Best are the banks that a
    stream has just left at the end of a granule, all ways one right after the other, since it comes back
    to them last; or any when no burst is there. From ``SOON`` rounds that are due on, a bank without bursts
    is taken when no refresh is going on, from ``LATE`` any bank, and from ``URGENT`` without waiting for
    the refresh before: the bursts wait.
    """

    def elaborate(self, platform):
        m = Module()
        timing = self.config.timing
        ways, sets = timing.ways, timing.sets
        pending = Signal(ways * sets)  # in this round
        held = Signal(ways * sets)
        done = Signal(ways * sets)
        left = Signal(sets)
        busy = place(m, "busy", Countdown((self.config.cycles.refresh_bank,)))
        self._count(m, (pending != 0) & ((pending & ~done) == 0))
        m.d.sync += [left.eq(self.left), pending.eq(pending & ~done)]
        with m.If((pending == 0) & (self.due != 0)):
            m.d.sync += pending.eq(-1)

        refused = Signal(range(REFUSED + 1))
        with m.If(self.precharge | self.refresh):
            m.d.sync += refused.eq(Mux(self.accept, 0, Mux(self.urgent, refused, refused + 1)))

        of_set = lambda banks, n: banks[ways * n :][:ways]
        some, unwanted, choice = Signal(sets), Signal(sets), Signal(sets)
        m.d.comb += [
            some.eq(Cat(of_set(pending, n).any() for n in range(sets))),
            unwanted.eq(some & Cat(of_set(self.wanted, n) == 0 for n in range(sets))),
        ]
        of_sets = lambda numbers: Cat(bit.replicate(ways) for bit in numbers)
        paced = busy.over
        with m.If((some & left & ~self.soon).any()):
            m.d.comb += choice.eq(some & left & ~self.soon)
        with m.Elif(self.wanted == 0):
            m.d.comb += choice.eq(some & -some)
        with m.Elif((self.due >= SOON) & paced & unwanted.any()):
            m.d.comb += choice.eq(unwanted & -unwanted)
        with m.Elif((self.due >= LATE) & (paced | (self.due >= URGENT))):
            m.d.comb += choice.eq(some & -some)
        with m.If((held & ~done) == 0):
            m.d.sync += held.eq(pending & ~done & of_sets(choice))
        with m.Else():
            m.d.sync += held.eq(held & ~done)

        closes, refreshes, chosen = Signal.like(held), Signal.like(held), Signal.like(held)
        m.d.sync += done.eq(Mux(self.refresh & self.accept, chosen, 0))
        m.d.comb += [
            closes.eq(held & self.open & self.may_precharge),
            refreshes.eq(held & self.may_activate & self.may_refresh.replicate(timing.banks)),
            chosen.eq(Mux(closes.any(), closes & -closes, refreshes & -refreshes)),
            busy.start.eq(done.any()),
            self.urgent.eq(refused == REFUSED),
            self.hold.eq(held),
            self.precharge.eq(closes.any()),
            self.refresh.eq(refreshes.any() & ~closes.any()),
            Cat(self.group, self.bank).eq(number_of(chosen)),
        ]
        return m
