"""What depends on an expert: the rows, the list and the memory that its commands get, and what is passed
over."""

from amaranth.hdl import *

from poblano.config import ChipConfig, ExpertsConfig
from poblano.control import expert_stage
from poblano.isa.commands import COMMAND_BYTES, COUNT_BITS, WAITS, Opcode
from poblano.isa.layout import CommandLayout
from poblano.moe.route_table import RoutedExpert

from .harness import Harness, Mutation, Property
from .words import Words

MODULE = "poblano.control.expert_stage"
BY_ROWS = (Opcode.MATMUL, Opcode.VECTOR, Opcode.GATHER, Opcode.SCATTER)
BY_LIST = (Opcode.GATHER, Opcode.SCATTER)
BY_MEMORY = (Opcode.LOAD, Opcode.STREAM)


class Stage(Harness):
    """Any commands; a table that is written in ascending order of slots, but not while an EXPERT command is
    here, which waits for the routing."""

    CONFIG = ChipConfig(tiles=1, experts=ExpertsConfig(experts=4, used=2, rows=2))

    def prove(self, m):
        expert_stage.sram = Words
        self.dut, self.inside = dut, inside = self.peek("dut", expert_stage.ExpertStage(self.CONFIG))
        self.command, self.here, self.awaited = Signal(8 * COMMAND_BYTES), Signal(), Signal()
        self.expert = CommandLayout(Opcode.EXPERT)(self.command)
        self.is_expert = self.expert.opcode == Opcode.EXPERT
        come, given = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        with m.If(come):
            m.d.sync += [self.command.eq(dut.i.payload), self.here.eq(1)]
        with m.If(given):
            m.d.sync += [self.here.eq(0), self.awaited.eq(self.is_expert)]
        with m.If(self.awaited & dut.dispatched):
            m.d.sync += self.awaited.eq(0)
        self.state = {name: inside["fsm"].ongoing(name) for name in inside["fsm"].encoding}
        self._table(m)
        self._block(m, given)
        self._waits(m, come)
        self.check("one at a time", dut.i.ready == ~(self.here | self.awaited))
        self.check("idle", dut.idle == ~(self.here | self.awaited))
        self.expected = self._changed(m)
        self.check("given", ~dut.o.valid | self.here & (dut.o.payload == self.expected))
        skips = self.awaited & dut.dispatched & self.missing
        self.check("skips", dut.skips == skips)
        self.check("so many", ~skips | (dut.skip == self.expert.skip))
        self.check("passes", dut.passes == (self.awaited & self.missing))
        self._invariant(m)
        self.cover("skips", skips & (self.told == 1))
        self.cover("no room", given & (self.left != 0) & (self.its.rows > 2))

    def _table(self, m):
        """The experts that have rows: slot 0 begins a new routing."""
        table, slots = self.dut.table, self.CONFIG.experts.slots
        self.told = Signal(range(slots + 1))
        self.routes = Array(Signal(RoutedExpert(), name=f"route{n}") for n in range(slots))
        self.assume(~table.valid | (table.slot == 0) | (table.slot == self.told) & (table.slot < slots))
        self.assume(~table.valid | ~(self.here & self.is_expert))
        with m.If(table.valid):
            m.d.sync += self.told.eq(table.slot + 1)
            for n, route in enumerate(self.routes):
                with m.If(table.slot == n):
                    m.d.sync += route.eq(table.routed)

    def _block(self, m, given):
        """How many commands are left of an expert's, and whose they are."""
        self.left, self.its, self.missing = Signal(16), Signal(RoutedExpert()), Signal()
        self.offset = Signal(40)
        slot = self.expert.slot
        missing = slot >= self.told
        with m.If(given & self.is_expert):
            m.d.sync += [self.left.eq(Mux(missing, 0, self.expert.commands)), self.missing.eq(missing)]
            for n, route in enumerate(self.routes):
                with m.If(slot == n):
                    m.d.sync += self.its.eq(route)
        with m.Elif(given & (self.left != 0)):
            m.d.sync += self.left.eq(self.left - 1)

    def _waits(self, m, come):
        """Each wait of an EXPERT command has held."""
        held, dut = Signal(WAITS), self.dut
        for n in range(WAITS):
            its = self.expert.waits[n]
            counts = Array(dut.counts[unit] for unit in range(self.CONFIG.units))
            reached = ~(counts[its.unit] - its.count)[COUNT_BITS - 1]
            known = its.unit < self.CONFIG.units
            with m.If(self.here & (~known | reached)):
                m.d.sync += held[n].eq(1)
        with m.If(come):
            m.d.sync += held.eq(0)
        self.check("waits", ~dut.o.valid | ~self.is_expert | held.all())
        for n in range(WAITS):
            waits = self.here & self.is_expert & ~(self.state["DECIDE"] & (self.inside["wait"] <= n))
            self.check(f"held {n}", ~waits | held[n])

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
        inside, state, expert = self.inside, self.state, self.expert
        finds, decides, gives = state["FIND"] | state["MULTIPLY"], state["DECIDE"], state["GIVE"]
        self.check("states", Cat(state.values()).any())
        self.check("here", self.here == (decides | finds | gives))
        self.check("awaited", self.awaited == state["AWAIT"])
        self.check("finds", ~(finds | self.awaited) | self.is_expert)
        self.check("waits in turn", ~decides | ~self.is_expert | (inside["wait"] < WAITS))
        expected = Mux(gives, self.expected, self.command)
        self.check("command", ~(self.here | self.awaited) | (inside["command"] == expected))
        words = inside["routes"]
        self.check("told", (inside["active"] == self.told) & (self.told <= self.CONFIG.experts.slots))
        for n, route in enumerate(self.routes):
            self.check(f"route {n}", (self.told <= n) | (words.words[n] == route.as_value()))
        there = expert.slot < self.told
        its = self.routes_at(expert.slot)
        self.check("found", ~state["FIND"] | ~there | (words.read.data == its))
        found = state["MULTIPLY"] | gives & self.is_expert
        self.check("of the slot", ~found | ~there | (inside["its"] == its))
        self.check("missing", ~found | (inside["missing"] == ~there))
        self.check("passed", ~self.awaited | (inside["missing"] == self.missing))
        # A product is compared with one of the same operands.
        product, its = Signal(40), RoutedExpert()(inside["its"])
        stride = CommandLayout(Opcode.EXPERT)(inside["command"]).stride
        with m.If(state["MULTIPLY"]):
            m.d.sync += product.eq(its.expert * stride)
        with m.If(self.dut.o.ready & gives & self.is_expert):
            m.d.sync += self.offset.eq(product)
        self.check("product", ~gives | ~self.is_expert | (inside["offset"] == product))
        block = (self.left != 0) & ~(self.here & self.is_expert)
        kept = (inside["its"] == self.its.as_value()) & (inside["offset"] == self.offset)
        self.check("its", ~block | kept)
        after = Mux(self.left == 0, 0, self.left - 1)
        of_expert = Mux(there, expert.commands, 0)
        left = Mux(gives, Mux(self.is_expert, of_expert, after), self.left)
        self.check("left", finds | (inside["left"] == left))

    def routes_at(self, slot):
        """The expert of a slot."""
        return Array(route.as_value() for route in self.routes)[slot]


PROPERTIES = (
    Property(
        "stage",
        Stage,
        "the commands of an expert get its rows, or none if it has more than they have room for, its list "
        "and its memory, as many commands as EXPERT says and after its waits; all others are passed on as "
        "they are; of a slot without an expert commands are passed over",
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
            Mutation(
                "does not wait",
                MODULE,
                "with m.If((wait == WAITS - 1) & holds):",
                "with m.If(wait == WAITS - 1):",
            ),
            Mutation("of none", MODULE, "Mux(missing, 0, expert.commands)", "expert.commands"),
            Mutation("another's list", MODULE, "view.c.eq(its.line)", "view.c.eq(its.rows)"),
            Mutation("skips always", MODULE, "self.skips.eq(self.passes)", "self.skips.eq(1)"),
        ),
    ),
)
