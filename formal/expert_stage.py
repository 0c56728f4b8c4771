"""What depends on an expert: the rows, the list and the memory that its commands get, and what is passed
over."""

from amaranth.hdl import *

from poblano.config import ChipConfig, ExpertsConfig
from poblano.control import expert_stage
from poblano.isa.commands import COMMAND_BYTES, COUNT_BITS, NO_UNIT, Opcode
from poblano.isa.layout import CommandLayout
from poblano.moe.route_table import RoutedExpert

from .harness import Harness, Mutation, Property
from .words import Words

MODULE = "poblano.control.expert_stage"
BY_ROWS = (Opcode.MATMUL, Opcode.VECTOR, Opcode.GATHER, Opcode.SCATTER)
BY_LIST = (Opcode.GATHER, Opcode.SCATTER)
BY_MEMORY = (Opcode.LOAD, Opcode.STREAM)


class Stage(Harness):
    """Any commands; a table that is written in ascending order of slots, but not when all has come that an
    EXPERT command waits for, which is that its routing has ended."""

    CONFIG = ChipConfig(tiles=1, experts=ExpertsConfig(experts=4, used=2, rows=2))

    def prove(self, m):
        expert_stage.sram = Words
        self.dut, self.inside = dut, inside = self.peek("dut", expert_stage.ExpertStage(self.CONFIG))
        self.command, self.here, self.given = Signal(8 * COMMAND_BYTES), Signal(), Signal()
        self.expert = CommandLayout(Opcode.EXPERT)(self.command)
        self.is_expert = self.here & (self.expert.opcode == Opcode.EXPERT)
        comes, gives = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        self.state = {name: inside["fsm"].ongoing(name) for name in inside["fsm"].encoding}
        self._waits(m, comes)
        self.ends = self.is_expert & self.given & ~dut.holds & dut.dispatched
        with m.If(comes):
            m.d.sync += [self.command.eq(dut.i.payload), self.here.eq(1), self.given.eq(0)]
        with m.If(gives):
            m.d.sync += [self.given.eq(1), self.here.eq(self.is_expert)]
        with m.If(self.ends):
            m.d.sync += self.here.eq(0)
        self._table(m)
        self._block(m, gives)
        self.check("one at a time", dut.i.ready == ~self.here)
        self.check("idle", dut.idle == ~self.here)
        self.expected = self._changed(m)
        self.check("once", ~dut.o.valid | self.here & ~self.given & (dut.o.payload == self.expected))
        missing = self.expert.slot >= self.told
        self.check("skips", dut.skips == (self.ends & missing))
        self.check("so many", ~dut.skips | (dut.skip == self.expert.skip))
        self.check("passes", ~(self.is_expert & self.given & ~dut.holds) | (dut.passes == missing))
        self.check("passes none", ~dut.passes | self.is_expert)
        self._invariant(m)
        self.cover("skips", dut.skips & (self.told == 1))
        self.cover("no room", gives & ~self.is_expert & (self.left != 0) & (self.its.rows > 2))

    def _waits(self, m, comes):
        """Each wait of an EXPERT command holds before it may be dispatched; no other is held."""
        dut, inside = self.dut, self.inside
        known = lambda waits: [(its.unit < self.CONFIG.units) | (its.unit == NO_UNIT) for its in waits]
        self.assume(~comes | Cat(known(CommandLayout(Opcode.EXPERT)(dut.i.payload).waits)).all())
        counts = Array(dut.counts[unit] for unit in range(self.CONFIG.units))
        self.held, now = [], []
        for n, its in enumerate(self.expert.waits):
            held = Signal(name=f"wait{n}_held")
            holds = (its.unit == NO_UNIT) | ~(counts[its.unit] - its.count)[COUNT_BITS - 1]
            with m.If(self.here & holds):
                m.d.sync += held.eq(1)
            with m.If(comes):
                m.d.sync += held.eq(0)
            self.held.append(held)
            now.append(held | holds)
            self.check(f"known {n}", ~self.here | known([its])[0])
            marked = inside["held"][n] & self.state["DECIDE"]
            self.check(f"held {n}", ~marked | ~self.here | held)
        self.all_held, self.all_hold = Cat(self.held).all(), Cat(now).all()
        self.check("waits", ~(self.is_expert & self.given & ~dut.holds) | self.all_held)
        self.check("holds", ~dut.holds | self.is_expert & self.given)
        found = self.state["FIND"] | self.state["AWAIT"]
        self.check("all held", ~found | self.all_held)

    def _table(self, m):
        """The experts that have rows: slot 0 begins a new routing."""
        table, slots = self.dut.table, self.CONFIG.experts.slots
        self.told = Signal(range(slots + 1))
        self.routes = Array(Signal(RoutedExpert(), name=f"route{n}") for n in range(slots))
        self.assume(~table.valid | (table.slot == 0) | (table.slot == self.told) & (table.slot < slots))
        self.assume(~table.valid | ~(self.is_expert & self.all_hold))
        with m.If(table.valid):
            m.d.sync += self.told.eq(table.slot + 1)
            for n, route in enumerate(self.routes):
                with m.If(table.slot == n):
                    m.d.sync += route.eq(table.routed)

    def _block(self, m, gives):
        """How many commands are left of an expert's, and whose they are."""
        self.left, self.its, self.offset = Signal(16), Signal(RoutedExpert()), Signal(40)
        missing = self.expert.slot >= self.told
        # A product is compared with one of the same operands, which an invariant is about.
        stride = CommandLayout(Opcode.EXPERT)(self.inside["command"]).stride
        with m.If(self.ends):
            m.d.sync += [
                self.left.eq(Mux(missing, 0, self.expert.commands)),
                self.its.eq(self._route_of(self.expert.slot)),
                self.offset.eq(RoutedExpert()(self.inside["its"]).expert * stride),
            ]
        with m.Elif(gives & ~self.is_expert & (self.left != 0)):
            m.d.sync += self.left.eq(self.left - 1)

    def _route_of(self, slot):
        """The expert of a slot."""
        return Array(route.as_value() for route in self.routes)[slot]

    def _changed(self, m):
        """What becomes of the command: one of an expert has its rows, list and memory."""
        its = Signal(8 * COMMAND_BYTES, name="expected")
        m.d.comb += its.eq(self.command)
        for opcode in (*BY_ROWS, *BY_MEMORY):
            view = CommandLayout(opcode)(its)
            before = CommandLayout(opcode)(self.command)
            with m.If((self.left != 0) & (before.opcode == opcode)):
                if opcode in BY_ROWS:
                    m.d.comb += view.rows.eq(Mux(self.its.rows > before.rows, 0, self.its.rows))
                if opcode in BY_LIST:
                    m.d.comb += view.c.eq(self.its.line)
                if opcode in BY_MEMORY:
                    moved, last = before.mem_addr + self.offset, (1 << 40) - 1
                    m.d.comb += view.mem_addr.eq(Mux(moved > last, last, moved))
        return its

    def _invariant(self, m):
        """What the proof needs to know of the registers."""
        inside, state, slot = self.inside, self.state, self.expert.slot
        finds, awaits, gives = state["FIND"], state["AWAIT"], state["GIVE"]
        self.check("states", Cat(state.values()).any())
        self.check("here", self.here == ~state["IDLE"])
        self.check("its command", ~(finds | awaits) | self.is_expert)
        self.check("no command of its own", ~gives | ~self.is_expert)
        self.check("is given", ~self.here | (inside["given"] == self.given))
        self.check("was given", ~self.here | ~self.given | self.is_expert)
        expected = Mux(gives, self.expected, self.command)
        self.check("command", ~self.here | (inside["command"] == expected))
        words, there = inside["routes"], slot < self.told
        self.check("told", (inside["active"] == self.told) & (self.told <= self.CONFIG.experts.slots))
        for n, route in enumerate(self.routes):
            self.check(f"route {n}", (self.told <= n) | (words.words[n] == route.as_value()))
        self.check("found", ~finds | ~there | (words.read.data == self._route_of(slot)))
        self.check("of the slot", ~awaits | ~there | (inside["its"] == self._route_of(slot)))
        self.check("missing", ~awaits | (inside["missing"] == ~there))
        left = Mux(gives, Mux(self.left == 0, 0, self.left - 1), self.left)
        self.check("left", awaits | (inside["left"] == left))
        kept = (inside["its"] == self.its.as_value()) & (inside["offset"] == self.offset)
        self.check("its", awaits | (self.left == 0) | kept)


PROPERTIES = (
    Property(
        "stage",
        Stage,
        "the commands of an expert get its rows, or none if it has more than they have room for, its list "
        "and its memory, as many commands as EXPERT says; EXPERT is not dispatched before its waits hold; "
        "all others are passed on as they are, each once; of a slot without an expert commands are passed "
        "over",
        method="induction",
        depth=1,
        sat=True,
        frames=16,
        timeout=600,
        mutations=(
            Mutation("more rows", MODULE, "Mux(its.rows <= view.rows, its.rows, 0)", "its.rows"),
            Mutation("address wraps", MODULE, "Mux(moved[40], ~C(0, 40), moved)", "moved"),
            Mutation("for ever", MODULE, "Mux(left == 0, 0, left - 1)", "left"),
            Mutation("a slot too many", MODULE, "expert.slot >= active", "expert.slot > active"),
            Mutation("does not wait", MODULE, "m.d.sync += held.eq(held | now)", "m.d.sync += held.eq(~0)"),
            Mutation("of none", MODULE, "Mux(missing, 0, expert.commands)", "expert.commands"),
            Mutation("another's list", MODULE, "view.c.eq(its.line)", "view.c.eq(its.rows)"),
            Mutation("skips always", MODULE, "self.skips.eq(self.passes)", "self.skips.eq(1)"),
        ),
    ),
)
