"""No burst waits for ever in the DRAM controller: holds, turns of the pins, and its place in the queue."""

from dataclasses import replace
from fractions import Fraction
from functools import partial, reduce
from operator import or_

from amaranth.hdl import *

from poblano.dram import refresher
from poblano.dram.queue import BurstQueue
from poblano.dram.refresher import BankRefresher
from poblano.dram.signature import RowOp
from poblano.dram.timing import Limit
from poblano.dram.turnaround import Turnaround
from poblano.dram.wait import Hold

from .dram_sizes import GROUPED, PHASES, SHARED, small
from .dram_slots import Slots
from .dram_whole import Whole, bigger
from .harness import Harness, Mutation, Property, popcount


def _often(timing):
    """A configuration in which a refresh is due every 8 cycles."""
    return small(replace(timing, refi=Limit(ns=Fraction(8 * timing.ratio))))


class Held(Whole):
    """The whole controller; a refresh is due every 8 cycles, and a command of the refresher is refused twice
    at the most.

    ``rank`` is at most how long banks are still held by the refresher.
    """

    def __init__(self, timing):
        super().__init__(_often(timing))
        self.hold = Hold(self.config)

    def prove(self, m):
        refresher.REFUSED = 2
        super().prove(m)
        part = self.top.parts["refresher"]
        block, timing = part.block, self.config.timing
        held = Signal(timing.groups * timing.banks)
        one_by_one = self.config.refreshes_banks
        m.d.comb += held.eq(block.hold & ~part["done"] if one_by_one else block.hold)
        mine = self.constant("set", range(timing.sets))
        waits = block.hold.word_select(mine, timing.ways) != 0
        given = Signal()
        m.d.comb += given.eq(0 if one_by_one else block.refresh & block.accept)
        time = Signal(range(self.hold.cycles + 2))
        m.d.sync += time.eq(Mux(waits & ~given, time + 1, 0))
        rank = self._by_bank(m, part, held) if one_by_one else self._together(m)
        self.check("in time", ~waits | (time + rank < self.hold.cycles))
        self.check("bound", time <= self.hold.cycles)
        row = self.top.block.dram.row
        self.check("refreshes", row.op != (RowOp.REFRESH_ALL if one_by_one else RowOp.REFRESH_BANK))
        self.cover("held", time == 10)

    def _bank(self, n):
        """Of a bank: whether a row is open or opens, cycles until it may be closed, and be refreshed."""
        bank = self.top.parts[f"bank{n}"].block
        wait = lambda name: self.timers[f"bank{n}", f"until_{name}"].wait
        is_open = (bank.open & ~bank.precharge) | bank.activate
        return is_open, wait("precharge"), Mux(bank.precharge, bigger(wait("activate"), 1), wait("activate"))

    def _by_bank(self, m, part, held):
        hold, timing = self.hold, self.config.timing
        block, count = part.block, len(held)
        other = self.timers["windows", "activate_other"].wait
        rank, commands, window = C(0, 1), C(0, 1), C(hold.window, 8)
        for n in range(count):
            is_open, precharge, activate = self._bank(n)
            cost = Mux(is_open, precharge + bigger(activate, hold.closed), activate)
            rank = bigger(rank, Mux(held[n], cost, 0))
            commands = commands + Mux(held[n], 1 + is_open, 0)
            same = self.timers["windows", f"activate_same{n % timing.groups}"].wait
            until = Mux(same != 0, same + hold.restart, other)
            ready = held[n] & ~is_open & (activate == 0)
            window = Mux(ready & (until < window), until, window)
        # A command that was refused as often as can be goes first.
        tries = refresher.REFUSED - part["refused"]
        number = Signal(range(2 * count + 1))
        m.d.comb += number.eq(commands)
        self.check("refused", part["refused"] <= refresher.REFUSED)
        of_set = lambda banks, n: banks.word_select(n, timing.ways)
        done, pending = part["done"], part["pending"]
        self.check("one set", popcount(Cat(of_set(block.hold, n).any() for n in range(timing.sets))) <= 1)
        self.check("done was held", (done & ~block.hold) == 0)
        self.check("held are pending", (block.hold & ~pending) == 0)
        for n in range(timing.sets):
            all_of_set = of_set(held, n) == of_set(pending & ~done, n)
            self.check(f"all of set {n}", (of_set(block.hold, n) == 0) | all_of_set)
        last = Mux(number == 0, 0, (number - 1) * hold.command + tries * hold.window + window + 1)
        return rank + last

    def _together(self, m):
        hold, timing = self.hold, self.config.timing
        until_closed, until_refreshed, any_open, count = C(0, 1), C(0, 1), C(0, 1), C(0, 1)
        for n in range(timing.groups * timing.banks):
            bank = self.top.parts[f"bank{n}"].block
            is_open, precharge, activate = self._bank(n)
            until_closed = bigger(until_closed, Mux(is_open, precharge, 0))
            until_refreshed = bigger(until_refreshed, activate)
            any_open = any_open | is_open
            count = count + (bank.open | bank.activate)  # one that closes is in the way for a cycle
        opened = until_closed + count + bigger(until_refreshed, hold.closed)
        return Mux(any_open, opened, until_refreshed)


class Late(Harness):
    """The refresher of single banks, with any banks and bursts; a refresh is due every 8 cycles, the second
    is late. One arbitrary set is watched."""

    def prove(self, m):
        refresher.LATE, refresher.URGENT = 2, 3
        config = _often(GROUPED)
        timing = config.timing
        dut = self.add("dut", BankRefresher(config))
        mine = self.constant("set", range(timing.sets))
        held = dut.hold.word_select(mine, timing.ways).any()
        used = dut.wanted.word_select(mine, timing.ways).any() & dut.soon.bit_select(mine, 1)
        early = self.past(used & ~held & (dut.due < refresher.LATE), "early")
        self.check("not before", ~early | ~held)
        self.cover("held", held & self.past(used & ~held, "used"))


class Waits(Harness):
    """The queue, with any banks; the oldest burst is aged for less than ``service`` cycles, as ``served`` has
    it. One arbitrary burst is watched."""

    def __init__(self, depth, service, ordered=False):
        super().__init__()
        self.config, self.depth, self.ordered = small(GROUPED, oldest=4), depth, ordered
        self.most = service

    def prove(self, m):
        dut, inside = self.peek("dut", BurstQueue(self.config, depth=self.depth, ordered=self.ordered))
        self.assume(~dut.accept | dut.column.valid)
        depth, each = self.depth, self.config.oldest + self.most
        bound = (depth + 1) * each + 1
        slots = Slots(dut, inside.__getitem__)
        valid = slots.valid
        aged = Signal(range(self.most + 1))
        ends = (inside["done"] & inside["oldest"]).any()
        m.d.sync += aged.eq(Mux(dut.aged & ~ends, aged + 1, 0))
        self.assume(aged < self.most)
        put, pick = dut.i.valid & dut.i.ready, self.free("pick")
        seen, waits, slot = Signal(), Signal(), Signal(depth)
        with m.If(put & pick & ~seen):
            m.d.sync += [seen.eq(1), waits.eq(1)]
        with m.Elif(waits & inside["enters"]):
            m.d.sync += [waits.eq(0), slot.eq(inside["next_slot"])]
        here = slot & valid
        with m.If(slot.any() & ~here.any()):
            m.d.sync += slot.eq(0)
        age = Signal(range(bound + 2))
        m.d.sync += age.eq(Mux(waits | here.any(), age + 1, 0))
        # How long the bursts before it take, and itself, less what the oldest has had.
        before = reduce(or_, [Mux(here[n], slots.at(n, "older") & valid, 0) for n in range(depth)])
        count = Mux(waits, popcount(valid), popcount(before))
        left = count * each + each - (inside["waited"] + aged) + waits
        watched = waits | here.any()
        self.check("in time", ~watched | (age + left <= bound))
        self.check("bound", age <= bound)
        # What the proof needs to know.
        self.check("in one", ((slot & (slot - 1)) == 0) & ~(waits & slot.any()))
        self.check("waiting", ~waits | inside["waiting"])
        self.check("not yet", seen | ~(waits | slot.any() | (age != 0)))
        self.check("begins", watched | (age == 0) | (slot.any() & ~here.any()))
        waited = inside["waited"]
        self.check("waited", (waited <= self.config.oldest) & (valid.any() | (waited == 0)))
        self.check("aged", (aged == 0) | (waited == self.config.oldest))
        slots.check(self)
        slots.check_circles(self)
        self.cover("long", watched & (age == bound - 3))


class Turns(Harness):
    """The turnaround. An aged burst ends within ``reads`` or ``writes`` cycles of its own direction."""

    def __init__(self, reads, writes):
        super().__init__()
        self.config, self.most = small(GROUPED), (reads, writes)

    def prove(self, m):
        dut = self.add("dut", Turnaround(self.config))
        total = sum(self.most) + 2
        aged = (dut.reads & dut.read_aged, dut.writes & (dut.beats != 0) & dut.write_aged)
        for name, waits, writing, most in zip(("read", "write"), aged, (0, 1), self.most):
            served, age = Signal(range(most + 1), name=f"{name}_served"), Signal(range(total + 1), name=name)
            own = waits & (dut.writing == writing)
            m.d.sync += [served.eq(Mux(own, served + 1, 0)), age.eq(Mux(waits, age + 1, 0))]
            self.assume(served < most)
            self.check(f"{name} in time", age < total)
            self.check(f"{name} stays", ~self.past(own & waits, f"{name}_own") | ~waits | own)
            self.cover(f"{name} waits", age == total - 3)
        ready = dut.writes & (dut.beats != 0)
        waited = Signal(range(self.config.write_wait + 3))
        m.d.sync += waited.eq(Mux(ready & ~dut.writing & ~(dut.reads & dut.read_aged), waited + 1, 0))
        self.check("writes begin", waited <= self.config.write_wait + 1)


QUEUE, REFRESHER, TURNAROUND = (f"poblano.dram.{name}" for name in ("queue", "refresher", "turnaround"))
HELD_MUTATIONS = (
    Mutation("never urgent", REFRESHER, "self.urgent.eq(refused == REFUSED)", "self.urgent.eq(0)"),
    Mutation(
        "all sets held", REFRESHER, "held.eq(pending & ~done & of_sets(choice))", "held.eq(pending & ~done)"
    ),
    Mutation(
        "used while held",
        "poblano.dram.controller",
        "free = ~refresher.hold",
        "free = refresher.hold | ~refresher.hold",
    ),
)
LATE_MUTATIONS = (
    Mutation("any set", REFRESHER, "choice.eq(unwanted & -unwanted)", "choice.eq(some & -some)"),
    Mutation(
        "not that of the next burst",
        REFRESHER,
        "choice.eq(some & left & ~self.soon)",
        "choice.eq(some & left)",
    ),
)
QUEUE_MUTATIONS = (
    Mutation("none is older", QUEUE, "slot.older.eq(~free)", "slot.older.eq(0)"),
    Mutation("never aged", QUEUE, "waited.eq(waited + 1)", "waited.eq(waited)"),
    Mutation(
        "young again",
        QUEUE,
        "with m.If(~valid.any() | (done & oldest).any()):",
        "with m.If(~valid.any() | done.any()):",
    ),
)
TURN_MUTATIONS = (
    Mutation(
        "aged reads wait",
        TURNAROUND,
        "with m.If(self.reads & (~ready | (enough | self.read_aged) & ~self.write_aged)):",
        "with m.If(self.reads & (~ready | enough & ~self.write_aged)):",
    ),
    Mutation(
        "aged reads are left",
        TURNAROUND,
        "with m.If(ready & reasons & (~self.read_aged | ~self.reads)):",
        "with m.If(ready & reasons):",
    ),
    Mutation("writes wait", TURNAROUND, "waited = count >= config.write_wait", "waited = C(0)"),
)
PROPERTIES = (
    *(
        Property(
            f"held-{timing.name}",
            partial(Held, timing),
            "a set is held for less than `Hold.cycles` (`rtl/poblano/dram/wait.py`), or all banks until they "
            "are refreshed, whatever bursts ask for",
            method="induction",
            depth=2,
            frames=50,
            mutations=HELD_MUTATIONS if timing is GROUPED else (),
            timeout=600,
        )
        for timing in (GROUPED, PHASES, SHARED)
    ),
    Property(
        "late",
        Late,
        "a set that a burst needs which no other has to be served before begins to be held only when `LATE` "
        "rounds are due",
        frames=40,
        mutations=LATE_MUTATIONS,
    ),
    Property(
        "turns",
        partial(Turns, 4, 6),
        "if an aged burst ends within some cycles of its own direction, it ends within those of both and two "
        "more; written data wait for `write_wait` cycles at the most while no read is aged",
        frames=40,
        mutations=TURN_MUTATIONS,
    ),
    *(
        Property(
            f"queue-{'ordered' if ordered else 'ids'}-{depth}",
            partial(Waits, depth, 3, ordered),
            "if no burst is aged for more than some cycles, a burst leaves the queue within these and "
            "`oldest` cycles for each burst that fits it and for itself",
            method="induction",
            depth=2,
            frames=50,
            mutations=QUEUE_MUTATIONS if (depth, ordered) == (2, False) else (),
            covers=depth == 2,
        )
        for depth, ordered in ((2, False), (2, True), (4, False), (8, True))
    ),
)
