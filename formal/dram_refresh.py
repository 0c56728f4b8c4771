"""The refreshes of a DRAM: none is put off for too long, whatever AXI asks for."""

from dataclasses import replace
from fractions import Fraction
from functools import partial

from amaranth.hdl import *

from poblano.dram import refresher
from poblano.dram.config import DramConfig
from poblano.dram.controller import DramController
from poblano.dram.refresher import BankRefresher, Refresher
from poblano.dram.signature import RowOp
from poblano.dram.timing import TIMING_SETS, Limit

from .dram_sizes import GROUPED, PHASES, SHARED, small
from .harness import Harness, Mutation, Property, popcount

CROWDED = replace(GROUPED, name="crowded", rrd_s=Limit(clocks=6), rrd_l=Limit(clocks=6), faw=Limit(clocks=10))
"""Activations of two banks can follow each other for ever, as of sixteen of HBM2E."""
TIGHT = replace(GROUPED, name="tight", refi=Limit(ns=Fraction(72)))
TOGETHER = replace(TIGHT, name="together", bank_refresh=False)
"""Intervals about as short as can be kept with a patience of 2 cycles."""
PATIENCE = 64
"""Cycles within which the refresher gets a command of a real DRAM; the longest of their times are below
40."""


def _closed_by_refresh(harness, block):
    """Of a bank that was refreshed in the cycle before, nothing more is allowed; :class:`Debt` assumes it."""
    count, one_by_one = len(block.open), isinstance(block, BankRefresher)
    number = Cat(block.group, block.bank)[: (count - 1).bit_length()]
    chosen = (1 << number)[:count] if one_by_one else C((1 << count) - 1, count)
    return harness.past(Mux(block.refresh & block.accept, chosen, 0), "refreshed") & block.may_activate


class First(Harness):
    """The whole controller, any traffic at AXI; rounds are urgent from the first that is due, and one is
    due every 8 cycles; a command of the refresher is refused twice at the most."""

    def __init__(self, timing):
        super().__init__()
        self.config = small(replace(timing, refi=Limit(ns=Fraction(8 * timing.ratio))))

    def prove(self, m):
        refresher.LATE = refresher.URGENT = 1
        refresher.REFUSED = 2
        dut = DramController(self.config)
        inside = dut.elaborate(None)
        self.add("dut", dut, module=inside)
        block, row = inside.submodules.refresher, dut.dram.row
        asks, given = Signal(), Signal()
        m.d.comb += [asks.eq(block.precharge | block.refresh), given.eq(asks & block.accept)]
        refused = Signal(range(4))
        m.d.sync += refused.eq(Mux(asks, Mux(given, 0, refused + 1), refused))
        self.check("first", refused <= 2)
        op = Mux(block.precharge, RowOp.PRECHARGE, RowOp.REFRESH_BANK)
        before = lambda value, name: self.past(value, name + "_before")
        same = (row.group == before(block.group, "group")) & (row.bank == before(block.bank, "bank"))
        self.check("on the pins", ~before(given, "given") | (same & (row.op.as_value() == before(op, "op"))))
        self.check("refreshed", _closed_by_refresh(self, block) == 0)
        activates = inside.submodules.reads.activate.valid
        self.cover("before an activation", given & activates & (refused == 2))


class Progress(Harness):
    """The whole controller, any traffic at AXI; refreshes are urgent from the first that is due, and one is
    due every 8 cycles."""

    def __init__(self, timing, patience):
        super().__init__()
        self.config = small(replace(timing, refi=Limit(ns=Fraction(8 * timing.ratio))))
        self.patience = patience

    def prove(self, m):
        refresher.LATE = refresher.URGENT = 1
        dut = DramController(self.config)
        inside = dut.elaborate(None)
        self.add("dut", dut, module=inside)
        block = inside.submodules.refresher
        given, waits = Signal(), Signal()
        m.d.comb += [given.eq(block.accept & (block.precharge | block.refresh)), waits.eq(block.hold != 0)]
        waited = Signal(range(self.patience + 1))
        m.d.sync += waited.eq(Mux(waits & ~given, waited + 1, 0))
        self.check("soon", waited < self.patience)
        self.check("refreshed", _closed_by_refresh(self, block) == 0)
        self.cover("waits", waited == 1)


class Debt(Harness):
    """The refresher, with banks that do what they like while they are not held, and stay closed while they
    are; when a round is urgent it gets a command within ``patience`` cycles, which :class:`Progress` proves
    of small DRAMs.

    One arbitrary bank is watched. ``urgent``: rounds from which on it is, if not the real ones.
    """

    def __init__(self, timing, patience, urgent=None):
        super().__init__()
        self.patience, self.urgent = patience, urgent
        self.config = DramConfig(kind=timing, clock_mhz=1000 / timing.clock_ns / timing.ratio)

    def prove(self, m):
        config, timing = self.config, self.config.timing
        if self.urgent is not None:
            refresher.LATE = refresher.URGENT = self.urgent
        one_by_one = config.refreshes_banks
        dut, inside = self.peek("dut", (BankRefresher if one_by_one else Refresher)(config))
        count = timing.groups * timing.banks
        bank = self.constant("bank", range(count))
        given = Signal()
        m.d.comb += given.eq(dut.accept & (dut.precharge | dut.refresh))
        self._banks(m, dut, given)
        waited = Signal(range(self.patience + 1))
        waits = (dut.hold != 0) & ((dut.due >= refresher.URGENT) if one_by_one else 1)
        m.d.sync += waited.eq(Mux(waits & ~given, waited + 1, 0))
        self.assume(waited < self.patience)

        interval = timing.clocks(config.clock_ns)["refi"] // timing.ratio
        cycle, passed = Signal(range(interval)), Signal()
        m.d.comb += passed.eq(cycle == interval - 1)
        m.d.sync += cycle.eq(Mux(passed, 0, cycle + 1))
        number = Cat(dut.group, dut.bank) if timing.groups > 1 else dut.bank
        mine = Signal()
        m.d.comb += mine.eq(dut.refresh & dut.accept & ((number == bank) if one_by_one else 1))
        # Intervals that have passed less refreshes of the bank.
        debt = Signal(range(timing.postponed + 3))
        m.d.sync += debt.eq(debt + passed - mine)
        self.check("put off", debt <= timing.postponed)
        self.check("none for nothing", ~mine | (debt != 0))
        longest = (1 + timing.postponed) * interval
        age = Signal(range(longest + 2))
        m.d.sync += age.eq(Mux(mine, 0, age + 1))
        self.check("longest", age < longest)
        # What the proof needs to know.
        self.check("interval", (inside["cycle"] == cycle) & (cycle < interval))
        self.check("age", age <= debt * interval + cycle)
        if one_by_one:
            self._rounds(m, dut, inside, bank, debt, cycle, waited, given)
        else:
            self.check("due", dut.due == debt)
            self._together(dut, cycle, waited)
        self.cover("refresh", mine)

    def _banks(self, m, dut, given):
        """Held banks stay closed; the refresher's precharge closes."""
        count = len(dut.open)
        opened = self.past(dut.open, "opened")
        held = self.past(dut.hold, "held_before")
        self.assume((dut.open & held & ~opened) == 0)
        number = Cat(dut.group, dut.bank)[: (count - 1).bit_length()]
        closes = Mux(
            given & dut.precharge, (1 << number) if self.config.refreshes_banks else (1 << count) - 1, 0
        )
        self.assume((dut.open & self.past(closes[:count], "closed")) == 0)
        self.assume((dut.may_precharge & ~dut.open) == 0)
        self.assume((dut.may_activate & dut.open) == 0)
        self.assume(_closed_by_refresh(self, dut) == 0)

    def _rounds(self, m, dut, inside, bank, debt, cycle, waited, given):
        """The commands that are missing in a round bound the time until it is done."""
        held = inside["held"] & ~inside["done"]
        pending = inside["pending"] & ~inside["done"]
        going = inside["pending"] != 0
        over = going & (pending == 0)  # the last command of a round was given in the cycle before
        urgent = (dut.due - over) >= refresher.URGENT
        count, slot = len(pending), self.patience + 2
        self.check("held", (held & ~pending) == 0)
        self.check("done", (inside["done"] & ~inside["pending"]) == 0)
        self.check("round", ~going | (dut.due != 0))
        self.check("due", dut.due == debt + (going & ~pending.bit_select(bank, 1)))
        missing = Signal(range(2 * count + 1))
        m.d.comb += missing.eq(popcount(pending) + popcount(pending & (dut.open | ~held)))
        idle = Signal(range(self.patience + 2))  # cycles since the one after the last command, if urgent
        m.d.sync += idle.eq(Mux(urgent & (pending != 0) & ~given & ~inside["done"].any(), idle + 1, 0))
        self.check("idle", idle <= waited + 1)
        self.check("not held", (held != 0) | (idle == 0))
        left = Mux(pending == 0, 2 * count * slot + 1 + over, missing * slot - idle)
        self.check("in time", ~urgent | (cycle + left <= 2 * count * slot + 2))
        self.check("most due", (dut.due - over) <= refresher.URGENT)

    def _together(self, dut, cycle, waited):
        """All banks are closed, and then refreshed."""
        self.check("one due", dut.due <= 1)
        left = Mux(dut.open.any(), 2 * (self.patience + 1), self.patience + 1) - waited
        self.check("in time", (dut.due == 0) | (cycle + left <= 2 * (self.patience + 1)))


REFRESHER, CONTROLLER = "poblano.dram.refresher", "poblano.dram.controller"
BANKS_MUTATIONS = (
    Mutation(
        "never urgent",
        REFRESHER,
        "with m.Elif((self.due >= LATE) & (paced | (self.due >= URGENT))):",
        "with m.Elif((self.due >= LATE) & paced):",
    ),
    Mutation(
        "late is never",
        REFRESHER,
        "with m.Elif((self.due >= LATE) & (paced | (self.due >= URGENT))):",
        "with m.Elif(0):",
    ),
    Mutation("one bank left out", REFRESHER, "m.d.sync += pending.eq(-1)", "m.d.sync += pending.eq(-2)"),
    Mutation(
        "round ends early",
        REFRESHER,
        "self._count(m, (pending != 0) & (pending & ~done == 0))",
        "self._count(m, (pending != 0) & (done != 0))",
    ),
    Mutation("released early", REFRESHER, "m.d.sync += held.eq(held & ~done)", "m.d.sync += held.eq(0)"),
)
TOGETHER_MUTATIONS = (
    Mutation(
        "counted twice",
        REFRESHER,
        "self._count(m, self.refresh & self.accept)",
        "self._count(m, self.refresh)",
    ),
    Mutation(
        "intervals too long", REFRESHER, "passed.eq(cycle == interval - 1)", "passed.eq(cycle == interval)"
    ),
)
PROGRESS_MUTATIONS = (
    Mutation("not held", CONTROLLER, "free = ~refresher.hold", "free = ~(refresher.hold & 1)"),
)
FIRST_MUTATIONS = (
    Mutation(
        "activations first",
        CONTROLLER,
        "reduce(or_, [queue.activate.valid for queue in queues]) & ~refresher.urgent",
        "reduce(or_, [queue.activate.valid for queue in queues])",
    ),
    Mutation(
        "not asked",
        CONTROLLER,
        "with m.If(~activates & (refresher.precharge | refresher.refresh)):",
        "with m.If(~activates & refresher.precharge):",
    ),
)
WHAT = (
    "no bank's refresh is put off for more intervals than allowed, nor is any longer without one than those "
    "and one more"
)
PROPERTIES = (
    *(
        Property(
            f"debt-{timing.name}",
            partial(Debt, timing, patience, *urgent),
            WHAT + ", if the refresher's commands are given soon when a round is urgent",
            method="induction",
            depth=2,
            frames=70,
            mutations=mutations,
            covers=timing in (TIGHT, TOGETHER),
        )
        for timing, patience, urgent, mutations in (
            (TIGHT, 2, (1,), BANKS_MUTATIONS),
            (TOGETHER, 2, (1,), TOGETHER_MUTATIONS),
            *((timing, PATIENCE, (), ()) for timing in TIMING_SETS.values()),
        )
    ),
    *(
        Property(
            f"progress-{timing.name}",
            partial(Progress, timing, patience),
            f"a command of the refresher is given in less than {patience} cycles",
            frames=40,
            mutations=PROGRESS_MUTATIONS if timing is PHASES else (),
        )
        for timing, patience in ((PHASES, 10), (SHARED, 10))
    ),
    Property(
        "first",
        partial(First, CROWDED),
        "a command of the refresher that activations went before twice is on the pins in the next cycle, "
        "whatever "
        "bursts ask for",
        frames=40,
        mutations=FIRST_MUTATIONS,
    ),
)
