"""Commands whose rows a list names: each touches the rows that its list names, and no others."""

from amaranth.hdl import *

from poblano.config import LINE_WORDS, LocalConfig
from poblano.isa.layout import CommandLayout
from poblano.isa.opcodes import Opcode
from poblano.isa.opcodes.experts import ENTRY_WORDS
from poblano.isa.vector_ops import Select
from poblano.moe.listed_rows import ListedRows

from .harness import Harness, Mutation, Property

MODULE = "poblano.moe.listed_rows"
PLACES = ("a", "b", "dst")
CHANGED = (*PLACES, "c", "index", "rows", "share", "sel1", "sel2", "imm1", "imm2")
"""Fields of a row's command that are not simply those of its list's."""


class Rows(Harness):
    """Any commands, with lists of any length; the memory answers a request when it likes, with anything, and
    a row takes any time."""

    LOCAL = LocalConfig(lanes=4, segments=1, sum_width=14, vmem_addr_width=4, amem_addr_width=4)

    def prove(self, m):
        self.dut, self.inside = dut, _ = self.peek("dut", ListedRows(self.LOCAL))
        self.command = command = Signal(CommandLayout(Opcode.GATHER))
        self.busy, self.row, pending = Signal(), Signal(16), Signal()
        self.pending = pending
        opcode = CommandLayout()(dut.i.payload).opcode
        listed = (opcode == Opcode.GATHER) | (opcode == Opcode.SCATTER)
        self.assume(~listed | (CommandLayout(Opcode.GATHER)(dut.i.payload).rows != 0))
        given, ends = dut.o.valid & dut.o.ready, self.busy & dut.executed & (self.row == command.rows - 1)
        m.d.sync += pending.eq(given | pending & ~dut.executed)
        self.assume(~dut.executed | pending)
        self.assume(~dut.o.ready | ~pending | dut.executed)
        with m.If(dut.i.valid & dut.i.ready & listed):
            m.d.sync += [self.busy.eq(1), command.eq(dut.i.payload), self.row.eq(0)]
        with m.Elif(ends):
            m.d.sync += self.busy.eq(0)
        with m.Elif(self.busy & dut.executed):
            m.d.sync += self.row.eq(self.row + 1)
        self.gathers = command.opcode == Opcode.GATHER
        self._read(m, given)
        passes = (dut.o.valid == (dut.i.valid & ~listed)) & (dut.o.payload == dut.i.payload)
        self.check("passes", self.busy | passes & (dut.i.ready == dut.o.ready))
        self.check("one at a time", ~self.busy | ~dut.i.ready)
        self.check("active", dut.active == self.busy)
        self.check("done", dut.done == Mux(self.busy, ends, dut.executed))
        self._given()
        self._invariant()
        self.cover("second row", given & (self.row == 1) & self.gathers)
        self.cover("ends", ends & (self.row == 1))
        self.cover("bad", dut.bad)

    def _read(self, m, given):
        """The entry of each row is read once, and nothing else is."""
        dut, command = self.dut, self.command
        self.asked, self.answered, self.number, self.weight = Signal(), Signal(), Signal(32), Signal(32)
        self.entry = (command.c * (LINE_WORDS // ENTRY_WORDS) + self.row)[: len(self.inside["entry"])]
        in_word = self.LOCAL.lanes // ENTRY_WORDS
        ask = dut.port.req.valid & dut.port.req.ready
        self.assume(~dut.port.valid | self.asked)
        self.check("asks", ~dut.port.req.valid | (dut.port.req.payload == self.entry // in_word))
        self.check("asks once", ~dut.port.req.valid | self.busy & ~self.asked & ~self.answered)
        self.check("port is free", ~dut.reading | ~self.pending)
        with m.If(ask):
            m.d.sync += self.asked.eq(1)
        with m.If(dut.port.valid):
            words = Value.cast(dut.port.data).word_select(self.entry % in_word, 32 * ENTRY_WORDS)
            m.d.sync += [Cat(self.number, self.weight).eq(words), self.answered.eq(1), self.asked.eq(0)]
        with m.If(given):
            m.d.sync += self.answered.eq(0)

    def _place(self, name):
        """The place of an operand's row: that of the number in the list, or the next."""
        listed, width = self.gathers if name == "a" else ~self.gathers, self.LOCAL.place_width
        row = Mux(listed, self.number[:width], self.row[:width])
        return (self.command[name] + row * self.command[f"{name}_stride"])[:width]

    def _given(self):
        """What a row's command is, and that nothing follows a number that is none."""
        dut, command = self.dut, self.command
        one, same = map(CommandLayout(Opcode.VECTOR), (dut.o.payload, command.as_value()))
        gives = self.busy & dut.o.valid
        self.check("in the list", ~gives | self.answered & (self.number < command.numbers))
        self.check("a row", ~gives | (one.opcode == Opcode.VECTOR) & (one.rows == 1) & (one.share == 1))
        self.check("no list", ~gives | (one.c == 0) & (one.index == 0) & (one.unit == command.unit))
        for name in PLACES:
            self.check(f"place of {name}", ~gives | (one[name] == self._place(name)))
        for select, immediate in (("sel1", "imm1"), ("sel2", "imm2")):
            weighs = command[select] == Select.ROW
            its = Mux(weighs, self.weight, command[immediate])
            selects = one[select] == Mux(weighs, Select.IMMEDIATE, command[select])
            self.check(select, ~gives | selects & (one[immediate] == its))
        for field in Opcode.VECTOR.definition.fields:
            if field.name not in CHANGED:
                self.check(field.name, ~gives | (one[field.name] == same[field.name]))
        wrong = self.busy & self.answered & (self.number >= command.numbers)
        self.check("bad", ~dut.bad | wrong)
        self.check("then nothing", ~dut.bad | ~(dut.o.valid | dut.done | dut.i.ready | dut.reading))
        self.check("stays bad", ~self.past(dut.bad, "was_bad") | dut.bad)

    def _invariant(self):
        """What the proof needs to know of the registers."""
        inside, command = self.inside, self.command
        kept = {name: inside["fsm"].ongoing(name) for name in inside["fsm"].encoding}
        state = lambda *names: Cat(kept[name] for name in names).any()
        self.check("states", state(*kept) & (kept["PASS"] == ~self.busy))
        self.check("waits", ~self.busy | (self.pending == kept["WAIT"]))
        self.check("asked", self.asked == kept["ANSWER"])
        self.check("answered", self.answered == state("CHECK", "EXECUTE", "BAD"))
        self.check("may execute", ~kept["EXECUTE"] | (self.number < command.numbers))
        self.check("wrong", ~kept["BAD"] | (self.number >= command.numbers))
        self.check("command", ~self.busy | (inside["command"] == command.as_value()))
        self.check("entry", ~self.busy | (inside["entry"] == self.entry))
        self.check("left", ~self.busy | (inside["left"] == command.rows - self.row))
        self.check("below", ~self.busy | (self.row < command.rows))
        read = Cat(inside["number"], inside["weight"]) == Cat(self.number, self.weight)
        self.check("read", ~self.answered | read)
        for name in PLACES:
            found = Mux(self.gathers if name == "a" else ~self.gathers, kept["EXECUTE"], self.busy)
            self.check(f"kept {name}", ~found | (inside[f"{name}_place"] == self._place(name)))


PROPERTIES = (
    Property(
        "rows",
        Rows,
        "the commands of a list are one for each of its entries, with the row and weight that the entry "
        "names; a row is below the bound, or nothing is done any more; other commands pass",
        method="induction",
        depth=1,
        sat=True,
        frames=16,
        timeout=600,
        mutations=(
            Mutation("not checked", MODULE, "with m.If(number >= command.numbers):", "with m.If(0):"),
            Mutation(
                "one too many",
                MODULE,
                "with m.If(number >= command.numbers):",
                "with m.If(number > command.numbers):",
            ),
            Mutation("row less", MODULE, "with m.If(left == 1):", "with m.If(left == 2):"),
            Mutation(
                "stays", MODULE, "m.d.sync += at.eq(at + command[f'{name}_stride'])", "m.d.sync += at.eq(at)"
            ),
            Mutation(
                "entry again",
                MODULE,
                "m.d.sync += [left.eq(left - 1), entry.eq(entry + 1)]",
                "m.d.sync += left.eq(left - 1)",
            ),
            Mutation("bound lost", MODULE, "number[:16] * command[f'{name}_stride']", "number[:16]"),
            Mutation(
                "another's row",
                MODULE,
                "with m.If(gathers if name == 'a' else ~gathers):",
                "with m.If(gathers if name != 'b' else ~gathers):",
            ),
            Mutation("weight left out", MODULE, "row[immediate].eq(weight)", "row[immediate].eq(0)"),
            Mutation("more rows", MODULE, "row.rows.eq(1)", "row.rows.eq(command.rows)"),
        ),
    ),
)
