"""Sorts the assignments of rows to experts into a list for each expert."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..config import LINE_WORDS, ExpertsConfig
from ..ecc.events import ECCEvents, uses
from ..isa.header import LOCAL_BITS
from ..memory.sram import sram
from ..verilog import place
from .route_table import ROW_BITS, RouteWrite

__all__ = ["Assignment", "ListEntry", "Sorter"]

ENTRIES = LINE_WORDS // 2
"""Entries of a list in a line."""


class Assignment(data.StructLayout):
    """An expert of a row, and the row's weight of it."""

    def __init__(self, config: ExpertsConfig):
        super().__init__({"expert": ceil_log2(config.experts), "weight": 32})


class ListEntry(data.StructLayout):
    """An entry of a list: its first word's place in vector memory, in pairs of words, the row and its
    weight."""

    def __init__(self):
        super().__init__({"pair": LOCAL_BITS + exact_log2(ENTRIES), "row": ROW_BITS, "weight": 32})


class Sorter(wiring.Component):
    """A counting sort: rows and weights of the assignments of all rows, in a list for each expert, in the
    order in which they came.

    Latency: 2 cycles from ``sort`` to the first expert, one for each of ``experts``, 3 to the first entry,
    and one for each.

    ``i`` takes an assignment a cycle, ``used`` of row 0 first, each row's in ascending order of experts.
    After ``sort`` experts that have rows are told, in ascending order, and then the entries of all lists, in
    the order of the assignments. An expert's list begins at a line, behind that of the one before. The cycle
    of ``done`` is the one after the last entry was taken.

    Parameters
    ----------
    config : ExpertsConfig
    ecc : whether what it keeps has check bits

    Members
    -------
    start : In(1), nothing is assigned; used, experts : In, line : In(LOCAL_BITS), of the first list; constant
        from then on
    i : In(stream of Assignment), whose ``ready`` is always high before ``sort``
    sort : In(1), all is assigned, the last in a cycle before
    table : Out(RouteWrite)
    o : Out(stream of ListEntry)
    done : Out(1)
    events : Out(ECCEvents), with ``ecc``: of words that are used
    """

    @staticmethod
    def latency(experts, assignments):
        """Cycles from ``sort`` to ``done``, if entries are taken at once."""
        return 2 + experts + 3 + assignments

    def __init__(self, config: ExpertsConfig, *, ecc=False):
        self.config, self.ecc = config, ecc
        super().__init__(
            ({"events": Out(ECCEvents())} if ecc else {})
            | {
                "start": In(1),
                "used": In(range(config.used + 1)),
                "experts": In(range(config.experts + 1)),
                "line": In(LOCAL_BITS),
                "i": In(stream.Signature(Assignment(config))),
                "sort": In(1),
                "table": Out(RouteWrite()),
                "o": Out(stream.Signature(ListEntry())),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        kept = data.StructLayout({"to": Assignment(config), "rank": ceil_log2(config.rows)})
        assigned = place(m, "assigned", sram(width=kept.size, depth=max(2, config.assignments), ecc=self.ecc))
        # Of an expert first how many rows it has, then the line of its list.
        by_expert = place(m, "by_expert", sram(width=LOCAL_BITS, depth=config.experts, ecc=self.ecc))
        count = Signal(range(config.assignments + 1))
        seen = Signal(config.experts)
        self._assign(m, kept, assigned, by_expert, count, seen)
        with m.FSM():
            with m.State("ASSIGN"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.sort):
                    m.next = "LISTS"
            with m.State("LISTS"):
                placed = self._place_lists(m, by_expert, seen)
                with m.If(placed):
                    m.next = "ENTRIES"
            with m.State("ENTRIES"):
                ended = self._entries(m, kept, assigned, by_expert, count)
                with m.If(ended):
                    m.d.comb += self.done.eq(1)
                    m.next = "ASSIGN"
        return m

    def _assign(self, m, kept, assigned, by_expert, count, seen):
        """Counts an assignment's expert, and keeps the assignment with the count before."""
        arrived = Signal(name="assignment_arrived")
        rank = Signal(kept["rank"].shape)
        late = Signal(Assignment(self.config))
        again, before = Signal(), Signal.like(rank)  # the count was read while it was written
        with m.If(self.i.valid & self.i.ready):
            m.d.comb += [by_expert.read.en.eq(1), by_expert.read.addr.eq(self.i.payload.expert)]
            m.d.sync += [
                late.eq(self.i.payload),
                again.eq(arrived & (self.i.payload.expert == late.expert)),
                before.eq(rank),
            ]
        m.d.sync += arrived.eq(self.i.valid & self.i.ready)
        known = seen.bit_select(late.expert, 1)
        m.d.comb += rank.eq(Mux(known, Mux(again, before + 1, by_expert.read.data), 0))
        with m.If(arrived):
            m.d.comb += [
                by_expert.write.en.eq(1),
                by_expert.write.addr.eq(late.expert),
                by_expert.write.data.eq(rank + 1),
                assigned.write.en.eq(1),
                assigned.write.addr.eq(count),
                assigned.write.data.eq(Cat(late, rank)),
            ]
            m.d.sync += [count.eq(count + 1), seen.bit_select(late.expert, 1).eq(1)]
        with m.If(self.start):
            m.d.sync += [count.eq(0), seen.eq(0)]
        if self.ecc:
            m.d.sync += self.events.eq(uses((arrived & known & ~again, by_expert)))

    def _place_lists(self, m, by_expert, seen):
        """An expert a cycle, its count read in the cycle before: tells those that have rows, and puts the
        list's line in the place of the count. Whether the last was placed."""
        expert = Signal(range(self.config.experts + 1))
        reading = Signal(init=1)
        late, arrived = Signal(range(self.config.experts), name="listed"), Signal(name="count_arrived")
        slot = Signal(len(self.table.slot) + 1)
        line = Signal(LOCAL_BITS)
        begun = Signal()
        placed = Signal()
        rows, routed = by_expert.read.data, self.table.routed
        now = Mux(begun, line, self.line)
        m.d.comb += [by_expert.read.en.eq(reading), by_expert.read.addr.eq(expert)]
        m.d.sync += [arrived.eq(reading), late.eq(expert), expert.eq(expert + 1)]
        with m.If(expert == self.experts - 1):
            m.d.sync += reading.eq(0)
        with m.If(arrived & seen.bit_select(late, 1)):
            m.d.comb += [
                self.table.valid.eq(1),
                self.table.slot.eq(slot),
                routed.expert.eq(late),
                routed.rows.eq(rows),
                routed.line.eq(now),
                by_expert.write.en.eq(1),
                by_expert.write.addr.eq(late),
                by_expert.write.data.eq(now),
            ]
            m.d.sync += [
                slot.eq(slot + 1),
                begun.eq(1),
                line.eq(now + ((rows + ENTRIES - 1) >> exact_log2(ENTRIES))),
            ]
            if self.ecc:
                m.d.sync += self.events.eq(uses((C(1), by_expert)))
        m.d.comb += placed.eq(~reading & ~arrived)
        with m.If(placed):
            m.d.sync += [expert.eq(0), reading.eq(1), slot.eq(0), begun.eq(0)]
        return placed

    def _entries(self, m, kept, assigned, by_expert, count):
        """An assignment a cycle, in three: it is read, then its list's line, then it is given. Whether the
        last was taken."""
        moves = Signal()
        number = Signal.like(count)
        place_of = Signal(range(self.config.used + 1))
        row = Signal(ROW_BITS)
        read = Signal()
        looked_up = Signal()
        entry = Signal(kept)
        ended = Signal()
        found = data.View(kept, assigned.read.data)
        m.d.comb += [
            moves.eq(~looked_up | self.o.ready),
            assigned.read.en.eq(moves & (number != count)),
            assigned.read.addr.eq(number),
            by_expert.read.en.eq(moves & read),
            by_expert.read.addr.eq(found.to.expert),
            self.o.valid.eq(looked_up),
            self.o.payload.pair.eq((by_expert.read.data << exact_log2(ENTRIES)) + entry.rank),
            self.o.payload.row.eq(row),
            self.o.payload.weight.eq(entry.to.weight),
            ended.eq((number == count) & ~read & ~looked_up),
        ]
        with m.If(moves):
            m.d.sync += [read.eq(assigned.read.en), looked_up.eq(read), entry.eq(found)]
        with m.If(assigned.read.en):
            m.d.sync += number.eq(number + 1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += place_of.eq(place_of + 1)
            with m.If(place_of == self.used - 1):
                m.d.sync += [place_of.eq(0), row.eq(row + 1)]
        with m.If(ended):
            m.d.sync += [number.eq(0), row.eq(0)]
        if self.ecc:
            m.d.sync += self.events.eq(
                uses((moves & read, assigned), (self.o.valid & self.o.ready, by_expert))
            )
        return ended
