"""The times between a DRAM's commands: the countdowns, and the controller's commands at the pins."""

from dataclasses import replace
from fractions import Fraction
from functools import partial

from amaranth.hdl import *

from poblano.dram.countdown import Countdown
from poblano.dram.signature import ColumnOp, RowOp
from poblano.dram.timing import Limit

from .dram_sizes import BANK, GROUP, GROUPED, OTHER, PHASES, SHARED, commands, rules, small
from .dram_slots import proposals
from .dram_whole import Cut
from .harness import Harness, Mutation, Property, popcount


class Times(Harness):
    """Commands of any kinds at any time; for each kind, the cycles from the last one to the next cycle."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def prove(self, m):
        dut = self.add("dut", Countdown(self.times))
        early = []
        for kind, time in enumerate(self.times):
            before, distance = (
                Signal(range(time + 2), init=time, name=f"{n}{kind}") for n in ("before", "distance")
            )
            m.d.comb += distance.eq(Mux(dut.start[kind], 1, Mux(before < time, before + 1, time)))
            m.d.sync += before.eq(distance)
            early.append(distance < time)
        self.check("over", dut.over == ~Cat(early).any())
        self.cover("over again", dut.over & self.past(~dut.over & ~dut.start.any(), "waited"))


class Pins(Cut):
    """The controller with queues that propose anything that may be: nothing else, as ``dram_queue`` proves.

    One arbitrary pair of banks is watched, also twice the same one. What is demanded of their commands comes
    from the timing set in memory clocks, with the clock in the cycle in which each command is.
    """

    cut = (*Cut.cut, "reads", "writes")

    def __init__(self, timing):
        # Refreshes come as often as traffic and traffic as often as refreshes.
        self.timing = timing = replace(timing, refi=Limit(ns=Fraction(12 * timing.ratio)))
        super().__init__(small(timing))

    def prove(self, m):
        super().prove(m)
        for name in ("reads", "writes"):
            for proposal in proposals(self.top.parts[name].block).values():
                self.assume(proposal)
        timing, dram = self.timing, self.top.block.dram
        group, bank = self.constant("group", range(timing.groups)), self.constant("bank", range(timing.banks))
        group2, bank2 = (
            self.constant("group2", range(timing.groups)),
            self.constant("bank2", range(timing.banks)),
        )
        first, second = (
            self._named("first", commands(dram, group, bank)),
            self._named("second", commands(dram, group2, bank2)),
        )
        self._distances(m, first, second, Mux(group != group2, OTHER, Mux(bank != bank2, GROUP, BANK)))
        self._states(m, dram, first)
        self._activations(m, dram)
        row, column = dram.row.op != RowOp.NOP, dram.column.op != ColumnOp.NOP
        if timing.shared_bus and timing.ratio == 1:
            self.check("one command", ~row | ~column)
        else:
            self.cover("two commands", row & column)

    def _named(self, prefix, values):
        named = {name: Signal(name=f"{prefix}_{name}") for name in values}
        self._m.d.comb += [named[name].eq(value) for name, value in values.items()]
        return named

    def _distances(self, m, first, second, relation):
        """No pair of commands is nearer than its rule says; some are exactly as near."""
        for rule in rules(self.timing):
            need = rule.cycles(self.timing)
            if not need:
                continue
            name = f"{rule.first} {rule.second} {rule.scope}"
            left = Signal(range(need + 1), name="left_" + name.replace(" ", "_"))
            begins = first[rule.first]
            m.d.sync += left.eq(Mux(begins, need, Mux(left != 0, left - 1, 0)))
            ends = second[rule.second] & ((relation & rule.scope) != 0)
            near = left > 1
            if rule.phases(self.timing) >= 0 and rule.first != rule.second:
                near |= begins
            self.check(name, ~ends | ~near)
            possible = rule.scope & BANK or self.timing.groups > 1
            if possible and (rule.first, rule.second) in (
                ("WR", "RD"),
                ("ACT", "RD"),
                ("PRE", "ACT"),
                ("REF", "ACT"),
            ):
                self.cover(name, ends & (left == 1))

    def _states(self, m, dram, first):
        """An open bank is neither activated nor refreshed, and only an open one is read and written."""
        is_open = Signal()
        with m.If(first["ACT"]):
            m.d.sync += is_open.eq(1)
        with m.Elif(first["PRE"]):
            m.d.sync += is_open.eq(0)
        self.check("activate closed", ~first["ACT"] | ~is_open)
        self.check("refresh closed", ~first["REF"] | ~is_open)
        self.check("column open", ~(first["RD"] | first["WR"]) | is_open)
        if not self.config.refreshes_banks:
            self.check("no refresh of a bank", dram.row.op != RowOp.REFRESH_BANK)

    def _activations(self, m, dram):
        """Four activations before, no more than those are in the window."""
        window = -(-self.timing.faw.clocks // self.timing.ratio)
        active = dram.row.op == RowOp.ACTIVATE
        before = Signal(window - 1)
        m.d.sync += before.eq(Cat(active, before))
        self.check("four activations", ~active | (popcount(before) < 4))


COUNTDOWN, BANK_MACHINE, WINDOWS, CONTROLLER = (
    f"poblano.dram.{name}" for name in ("countdown", "bank", "windows", "controller")
)
COUNTDOWN_MUTATIONS = (
    Mutation(
        "a shorter time wins",
        COUNTDOWN,
        "with m.If(self.start[kind] & (left < time - 1)):",
        "with m.If(self.start[kind]):",
    ),
    Mutation("a cycle short", COUNTDOWN, "after.eq(time - 2)", "after.eq(time - 3)"),
    Mutation("over too early", COUNTDOWN, "late.eq(after == 0)", "late.eq(after <= 1)"),
    Mutation(
        "not in this cycle",
        COUNTDOWN,
        "self.over.eq(late & ~Cat((self.start[kind] for kind in longer)).any())",
        "self.over.eq(late)",
    ),
)
GROUPED_MUTATIONS = (
    Mutation("rc forgotten", BANK_MACHINE, "(self.activate, t.act_to_act)", "(self.activate, 1)"),
    Mutation("refresh forgotten", BANK_MACHINE, "(self.refresh, t.refresh_bank)", "(self.refresh, 1)"),
    Mutation(
        "write as read",
        BANK_MACHINE,
        "(self.write, t.write_to_precharge)",
        "(self.write, t.read_to_precharge)",
    ),
    Mutation(
        "activated while open",
        BANK_MACHINE,
        "self.may_activate.eq(~self.open & over['until_activate'])",
        "self.may_activate.eq(over['until_activate'])",
    ),
    Mutation(
        "read while closing",
        BANK_MACHINE,
        "self.may_read.eq(stays & over['until_read'])",
        "self.may_read.eq(self.open & over['until_read'])",
    ),
    Mutation("groups confused", WINDOWS, "(read & column, t.column_same)", "(read & column, t.column_other)"),
    Mutation("refresh after refresh", WINDOWS, "(refresh, t.refresh_to_refresh)", "(refresh, 1)"),
    Mutation("data meet", WINDOWS, "(read, t.read_to_write)", "(read, t.column_other)"),
    Mutation(
        "fifth activation",
        WINDOWS,
        "self.may_activate[g].eq(other & same & few)",
        "self.may_activate[g].eq(other & same)",
    ),
    Mutation(
        "wrong bank follows",
        CONTROLLER,
        "bank.precharge.eq(is_op(RowOp.PRECHARGE) & here | is_op(RowOp.PRECHARGE_ALL))",
        "bank.precharge.eq(is_op(RowOp.PRECHARGE) | is_op(RowOp.PRECHARGE_ALL))",
    ),
)
SHARED_MUTATIONS = (
    Mutation(
        "two commands",
        CONTROLLER,
        "allowed.eq(~column if timing.shared_bus and timing.ratio == 1 else 1)",
        "allowed.eq(1)",
    ),
    Mutation(
        "closed while opening",
        CONTROLLER,
        "refresher.open.eq(of_banks('open') | of_banks('activate'))",
        "refresher.open.eq(of_banks('open'))",
    ),
    Mutation(
        "all refreshed too early",
        BANK_MACHINE,
        "(self.all_refreshed, t.refresh_all)",
        "(self.all_refreshed, t.refresh_all - 1)",
    ),
)
WHAT = (
    "no command at the pins comes sooner after another than the timing set says, for any pair of banks; an "
    "open bank is not activated "
    "or refreshed, only an open one read or written"
)
PROPERTIES = (
    *(
        Property(
            "countdown-" + "-".join(map(str, times)),
            partial(Times, times),
            "over in a cycle exactly if the times of all commands before it are over",
            mutations=COUNTDOWN_MUTATIONS if times == (2, 5, 3) else (),
        )
        for times in ((2, 5, 3), (9,), (1, 6, 6, 3), (16, 7))
    ),
    *(
        Property(f"pins-{timing.name}", partial(Pins, timing), WHAT, frames=40, mutations=mutations)
        for timing, mutations in ((GROUPED, GROUPED_MUTATIONS), (PHASES, ()), (SHARED, SHARED_MUTATIONS))
    ),
)
