"""Mixtures of experts: the lists that the sorter makes, and the rows that a list's commands touch."""

from amaranth.hdl import *

from poblano.config import ExpertsConfig, LocalConfig
from poblano.isa.header import LOCAL_BITS
from poblano.isa.layout import CommandLayout
from poblano.isa.opcodes import Opcode
from poblano.moe.listed_rows import ListedRows
from poblano.moe.sorter import ENTRIES, Sorter

from .harness import Harness, Mutation, Property

SORTER = "poblano.moe.sorter"
LISTED = "poblano.moe.listed_rows"


class Lists(Harness):
    """One routing of up to two rows with one or two of three experts, each row's in ascending order. One
    arbitrary assignment and one arbitrary expert are watched."""

    CONFIG = ExpertsConfig(experts=3, used=2, rows=2)

    def prove(self, m):
        dut = self.add("dut", Sorter(self.CONFIG), driven=("start", "used", "experts", "i", "sort"))
        used, rows = self.constant("used", 2), self.constant("rows", 2)
        watched, expert = self.constant("watched", 2), self.constant("expert", 2)
        self.assume((used != 0) & (used != 3) & (rows != 0) & (rows != 3) & (expert != 3))
        line = self.constant("line", 8)
        self.assume(dut.line == line)
        total = Mux(used == 2, rows << 1, rows)
        m.d.comb += [dut.used.eq(used), dut.experts.eq(3)]
        taken, began, sorting, gap = Signal(4), Signal(), Signal(), Signal()
        choice, weight = self.free("choice", 2), self.free("weight", 32)
        before = Signal(2)
        second = (used == 2) & taken[0]
        put = began & ~sorting & (taken != total)
        self.assume((choice != 3) & (~second | (choice > before)) & ((used != 2) | second | (choice != 2)))
        m.d.comb += [
            dut.start.eq(~began),
            dut.i.valid.eq(put),
            dut.i.payload.expert.eq(choice),
            dut.i.payload.weight.eq(weight),
            dut.sort.eq(began & ~sorting & (taken == total) & gap),
        ]
        m.d.sync += [began.eq(1), gap.eq(taken == total)]
        count, rank, its, its_weight = Signal(4), Signal(4), Signal(2), Signal(32)
        with m.If(put):
            m.d.sync += [taken.eq(taken + 1), before.eq(choice), count.eq(count + (choice == expert))]
            with m.If(taken == watched):
                m.d.sync += [its.eq(choice), its_weight.eq(weight)]
        with m.If(dut.sort):
            m.d.sync += sorting.eq(1)
        self.check("takes", ~put | dut.i.ready)
        self._rank(m, put, taken, watched, choice, rank)
        found = self._table(m, dut, line, expert, count, its)
        self._entries(m, dut, total, used, watched, found, rank, its_weight, sorting)

    def _rank(self, m, put, taken, watched, choice, rank):
        """How many assignments before the watched one have its expert."""
        counts = [Signal(3, name=f"count{n}") for n in range(3)]
        with m.If(put):
            for n, its in enumerate(counts):
                with m.If(choice == n):
                    m.d.sync += its.eq(its + 1)
                    with m.If(taken == watched):
                        m.d.sync += rank.eq(its)

    def _table(self, m, dut, line, expert, count, its):
        """The experts with rows, told in ascending order, with their counts; lists behind each other. The
        line of the watched assignment's list."""
        slot, following, last, told = Signal(3), Signal(LOCAL_BITS), Signal(2), Signal()
        begun, found = Signal(), Signal(LOCAL_BITS)
        routed, write = dut.table.routed, dut.table.valid
        expected = Mux(begun, following, line)
        with m.If(write):
            m.d.sync += [
                slot.eq(slot + 1),
                begun.eq(1),
                last.eq(routed.expert),
                following.eq(routed.line + (routed.rows + ENTRIES - 1) // ENTRIES),
                told.eq(told | (routed.expert == expert)),
            ]
            with m.If(routed.expert == its):
                m.d.sync += found.eq(routed.line)
        self.check("slot", ~write | (dut.table.slot == slot))
        self.check("ascending", ~write | ~begun | (routed.expert > last))
        self.check("count", ~write | (routed.expert != expert) | ((routed.rows == count) & (count != 0)))
        self.check("line", ~write | (routed.line == expected))
        self.check("told", ~dut.done | (told == (count != 0)))
        return found

    def _entries(self, m, dut, total, used, watched, found, rank, weight, sorting):
        """Each assignment is given once, in order: at its rank in its expert's list, with row and weight."""
        given = Signal(4)
        take, entry = dut.o.valid & dut.o.ready, dut.o.payload
        its = take & (given == watched)
        with m.If(take):
            m.d.sync += given.eq(given + 1)
        self.check("not more", ~dut.o.valid | (given < total))
        self.check("all", ~dut.done | (given == total) & sorting)
        self.check("place", ~its | (entry.pair == found * ENTRIES + rank))
        self.check("row", ~its | (entry.row == Mux(used == 2, watched >> 1, watched)))
        self.check("weight", ~its | (entry.weight == weight))
        self.cover("all rows", dut.done & (total == 4))
        self.cover("behind another", its & (rank == 1))


class Rows(Harness):
    """A GATHER or SCATTER of up to two rows; the memory answers when it likes with anything."""

    LOCAL = LocalConfig(lanes=2, segments=1, sum_width=14, vmem_addr_width=4, amem_addr_width=4)

    def prove(self, m):
        dut = self.add("dut", ListedRows(self.LOCAL), driven=("i__payload",))
        gathers, bits = self.constant("gathers"), self.constant("bits", 512)
        command = Signal(CommandLayout(Opcode.GATHER))
        m.d.comb += [
            command.eq(bits),
            command.opcode.eq(Mux(gathers, Opcode.GATHER, Opcode.SCATTER)),
            dut.i.payload.eq(command.as_value()),
        ]
        self.assume((command.rows != 0) & (command.rows <= 2))
        given, row = dut.o.valid & dut.o.ready, Signal(2)
        number, answered, asked = Signal(32), Signal(), Signal()
        self.assume(~dut.port.valid | asked)
        self.assume(~dut.executed | ~dut.reading)
        with m.If(dut.port.req.valid & dut.port.req.ready):
            m.d.sync += asked.eq(1)
        with m.If(dut.port.valid):
            m.d.sync += [number.eq(Value.cast(dut.port.data)[:32]), answered.eq(1), asked.eq(0)]
        with m.If(given):
            m.d.sync += [row.eq(row + 1), answered.eq(0)]
        with m.If(dut.done):
            m.d.sync += row.eq(0)
        one, width = CommandLayout(Opcode.VECTOR)(dut.o.payload), self.LOCAL.place_width
        self.check("in the list", ~dut.o.valid | (answered & (number < command.numbers)))
        self.check("one row", ~dut.o.valid | (one.rows == 1) & (one.opcode == Opcode.VECTOR))
        for name in ("a", "b", "dst"):
            listed = gathers if name == "a" else ~gathers
            at = command[name] + Mux(listed, number[:width], row) * command[f"{name}_stride"]
            self.check(f"place of {name}", ~dut.o.valid | (one[name][:width] == at[:width]))
        self.check("not more", ~dut.o.valid | (row < command.rows))
        self.check("all", ~dut.done | ~dut.active | (row == command.rows))
        self.check("bad", ~dut.bad | ~given)
        self.cover("second row", given & (row == 1) & gathers)
        self.cover("bad", dut.bad)


PROPERTIES = (
    Property(
        "lists",
        Lists,
        "every assignment is in its expert's list once, in order, with its row and weight; experts with rows "
        "are told with their counts, and lists do not overlap",
        method="bounded",
        depth=20,
        frames=20,
        timeout=600,
        mutations=(
            Mutation(
                "count lost", SORTER, "by_expert.write.data.eq(rank + 1)", "by_expert.write.data.eq(rank)"
            ),
            Mutation(
                "old count",
                SORTER,
                "Mux(known, Mux(again, before + 1, by_expert.read.data), 0)",
                "Mux(known, by_expert.read.data, 0)",
            ),
            Mutation(
                "count not cleared",
                SORTER,
                "Mux(known, Mux(again, before + 1, by_expert.read.data), 0)",
                "Mux(again, before + 1, by_expert.read.data)",
            ),
            Mutation(
                "lists overlap",
                SORTER,
                "line.eq(now + ((rows + ENTRIES - 1) >> exact_log2(ENTRIES)))",
                "line.eq(now + (rows >> exact_log2(ENTRIES)))",
            ),
            Mutation(
                "row too late",
                SORTER,
                "with m.If(place_of == self.used - 1):",
                "with m.If(place_of == self.used):",
            ),
            Mutation("does not wait", SORTER, "moves.eq(~looked_up | self.o.ready)", "moves.eq(1)"),
        ),
    ),
    Property(
        "rows",
        Rows,
        "a list's commands touch the rows that it names, which are below the bound, and no others",
        method="bounded",
        depth=18,
        frames=18,
        timeout=600,
        mutations=(
            Mutation("not checked", LISTED, "with m.If(number >= command.numbers):", "with m.If(0):"),
            Mutation(
                "one too many",
                LISTED,
                "with m.If(number >= command.numbers):",
                "with m.If(number > command.numbers):",
            ),
            Mutation("row less", LISTED, "with m.If(left == 1):", "with m.If(left == 2):"),
            Mutation(
                "stays", LISTED, "m.d.sync += at.eq(at + command[f'{name}_stride'])", "m.d.sync += at.eq(at)"
            ),
        ),
    ),
)
