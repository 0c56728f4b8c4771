"""The DRAM controller's queue of bursts: every beat is asked for once, in order, of its own row."""

from functools import partial

from amaranth.hdl import *
from amaranth.utils import exact_log2

from poblano.dram.queue import BurstQueue

from .dram_sizes import GROUPED, PHASES, small
from .dram_slots import Slots, proposals
from .harness import Harness, Mutation, Property


class Beats(Harness):
    """Bursts of any kind, and banks that are opened and closed as one likes; a column command is accepted
    only if there is one, and the queue is told of the row commands.

    One arbitrary id is watched (of an ordered queue all ids), in it one arbitrary burst, and one arbitrary
    bank.
    """

    def __init__(self, timing, depth, ordered):
        super().__init__()
        self.config, self.depth, self.ordered = small(timing), depth, ordered

    def prove(self, m):
        dut, inside = self.peek("dut", BurstQueue(self.config, depth=self.depth, ordered=self.ordered))
        self.slots = [
            {
                name: inside[f"slot{n}_{name}"]
                for name in ("valid", "place", "len", "id", "last", "hits", "needs", "order", "older")
            }
            for n in range(self.depth)
        ]
        self.dut, self.inside = dut, inside
        self.who = self.constant("who", self.config.id_width)
        burst, put, entered = dut.i.payload, Signal(), Signal()
        m.d.comb += put.eq(dut.i.valid & dut.i.ready & self._mine(burst.id))
        m.d.comb += entered.eq(inside["enters"])
        get = Signal()
        m.d.comb += get.eq(dut.accept & self._mine(dut.column.id))
        self.assume(~dut.accept | dut.column.valid)
        beats = 2 * self.depth * (1 << len(burst.len))
        self.held, self.ahead = Signal(range(beats)), Signal(range(beats))
        m.d.sync += self.held.eq(self.held + Mux(put, burst.len + 1, 0) - get)
        self._watch(m, burst, put, get, entered)
        self._bank(m)
        self.check("exists", ~get | (self.held != 0))
        for name, proposal in proposals(dut).items():
            self.check(name, proposal)
        self._order()

    def _mine(self, id):
        return C(1) if self.ordered else id == self.who

    def _watch(self, m, burst, put, get, entered):
        """The beats of one burst: its first place, its length, and how many have been asked for."""
        pick = self.free("pick")
        self.seen, self.waits, self.slot = Signal(), Signal(), Signal(self.depth)
        self.burst, self.done = Signal.like(burst), Signal.like(burst.len)
        inside, column, watching = self.waits | self.slot.any(), self.dut.column, Signal()
        m.d.comb += watching.eq(inside)
        ends = watching & get & (self.ahead == 0)
        with m.If(put & pick & ~self.seen):
            m.d.sync += [
                self.seen.eq(1),
                self.waits.eq(1),
                self.burst.eq(burst),
                self.ahead.eq(self.held - get),
            ]
        with m.Else():
            with m.If(self.waits & entered):
                m.d.sync += [self.waits.eq(0), self.slot.eq(self.inside["next_slot"])]
            with m.If(watching & get & (self.ahead != 0)):
                m.d.sync += self.ahead.eq(self.ahead - 1)
            with m.If(ends):
                m.d.sync += self.done.eq(self.done + 1)
                with m.If(self.done == self.burst.len):
                    m.d.sync += self.slot.eq(0)
        place = self.burst.place
        at = (Cat(place.way, place.column) + self.done)[: len(place.way) + len(place.column)]
        self.at = Cat(at, place.set, place.row)
        way, of_column = at[: len(place.way)], at[len(place.way) :]
        ends_burst = self.burst.last & (self.done == self.burst.len)
        wanted = Cat(way, place.set, of_column, self.burst.id, ends_burst)
        given = Cat(column.bank, column.column, column.id, column.last)
        self.check("beat", ~ends | (given == wanted))
        self.ends = ends
        self.cover("last", ends & (self.done == self.burst.len) & (self.done != 0))
        # What the proof needs to know of the registers.
        new = self.dut.i.payload.shape()(self.inside["new"])
        self.check("in one", (self.slot & (self.slot - 1) == 0) & ~(self.waits & self.slot.any()))
        self.check(
            "waiting", ~self.waits | (self.inside["waiting"] & (new.as_value() == self.burst.as_value()))
        )
        self.check("not yet", self.seen | ~(watching | self.done.any() | self.ahead.any()))
        self.check("begun", ~self.waits | (self.done == 0))
        self.check("watched", ~watching | self._mine(self.burst.id))

    def _bank(self, m):
        """The state of one bank from its row commands; its row is the burst's when a beat is asked for."""
        timing, row, dut = self.config.timing, self.dut.row, self.dut
        number = self.constant("bank", range(timing.ways * timing.sets))
        bits = exact_log2(timing.ways)
        way, own_set = number[:bits], number[bits:]
        is_open, its_row = Signal(), Signal(len(row.row))
        here = row.valid & (row.all | (row.bank == number))
        with m.If(here):
            m.d.sync += is_open.eq(row.open)
            with m.If(row.open):
                m.d.sync += its_row.eq(row.row)
        self.assume(~row.valid | ~row.all | ~row.open)
        self.assume(dut.open.bit_select(number, 1) == is_open)
        self.assume(dut.rows[number] == its_row)
        self.assume(~dut.may_access.bit_select(number, 1) | (is_open & ~here))
        column = dut.column
        there = column.bank == number
        self.check("row", ~(self.ends & there) | (is_open & ~here & (its_row == self.burst.place.row)))
        for n, slot in enumerate(self.slots):
            hit = is_open & (its_row == self.burst.place.row)
            mine = self.slot[n] & (self.burst.place.set == own_set)
            self.check(f"hit {n}", ~mine | (slot["hits"].bit_select(way, 1) == hit))

    def _order(self):
        """Beats that are left are those in the slots; of two bursts of one id one is before the other."""
        new = self.dut.i.payload.shape()(self.inside["new"])
        size = lambda slot: slot["len"] + 1
        left = lambda chosen: sum((Mux(bit, size(slot), 0) for bit, slot in zip(chosen, self.slots)), C(0, 1))
        mine = [slot["valid"] & self._mine(slot["id"]) for slot in self.slots]
        waiting = Mux(self.inside["waiting"] & self._mine(new.id), new.len + 1, 0)
        self.check("held", self.held == left(mine) + waiting)
        self.check("ahead of one that waits", ~self.waits | (self.ahead == left(mine)))
        slots = Slots(self.dut, self.inside.__getitem__)
        self.check("it has begun", (self.inside["current"] & ~slots.valid) == 0)
        slots.check(self)
        slots.check_circles(self)
        for n, slot in enumerate(self.slots):
            here, order = self.slot[n], slot["order"]
            same = Cat(slot["place"], slot["len"], slot["last"], slot["id"])
            wanted = Cat(
                self.at, (self.burst.len - self.done)[: len(slot["len"])], self.burst.last, self.burst.id
            )
            self.check(
                f"slot {n}", ~here | (slot["valid"] & (same == wanted) & (self.done <= self.burst.len))
            )
            before = [bit & other["valid"] for bit, other in zip(order, self.slots)]
            self.check(f"ahead {n}", ~here | (self.ahead == left(before)))
            self.check(f"not itself {n}", ~slot["valid"] | ~order[n])
            for k in range(n):
                other = self.slots[k]
                both = slot["valid"] & other["valid"]
                alike = (slot["id"] == other["id"]) | self.ordered
                before_n, before_k = slots.older(n, k) & alike, slots.older(k, n) & alike
                ordered = (order[k] == before_n) & (other["order"][n] == before_k)
                self.check(f"order {n} {k}", ~both | ordered)


class Aged(Harness):
    """The queue with any bursts and banks. An arbitrary bank is watched."""

    def __init__(self, timing, depth):
        super().__init__()
        self.config, self.depth = small(timing), depth

    def prove(self, m):
        timing = self.config.timing
        dut, inside = self.peek("dut", BurstQueue(self.config, depth=self.depth, ordered=False))
        self.assume(~dut.accept | dut.column.valid)
        slots, oldest = Slots(dut, inside.__getitem__), Signal(self.depth)
        m.d.comb += oldest.eq(slots.oldest())
        # The cycles for which it is the oldest.
        same = oldest.any() & (oldest == self.past(oldest, "oldest_before"))
        cycles = Signal(range(self.config.oldest + 1))
        now = Signal.like(cycles)
        m.d.comb += now.eq(Mux(same, Mux(cycles == self.config.oldest, cycles, cycles + 1), 0))
        m.d.sync += cycles.eq(now)
        self.check("aged", dut.aged == (now == self.config.oldest))
        number = self.constant("bank", range(timing.ways * timing.sets))
        bits = exact_log2(timing.ways)
        way, own_set = number[:bits], number[bits:]
        lacking = [
            oldest[n]
            & (slots.at(n, "needs") & ~slots.at(n, "hits")).bit_select(way, 1)
            & (slots.place(n).set == own_set)
            for n in range(self.depth)
        ]
        lacks = Signal()
        m.d.comb += lacks.eq(dut.aged & Cat(lacking).any())
        before = self.past(lacks, "lacked")
        self.check("kept for no other", ~before | ~dut.needed.bit_select(number, 1))
        there = dut.column.bank == number
        self.check("used by no other", ~before | ~dut.column.valid | ~there)
        self.check("one oldest", oldest & (oldest - 1) == 0)
        self.cover("gives way", before & lacks)


MODULE = "poblano.dram.queue"
MUTATIONS = (
    Mutation(
        "overtakes",
        MODULE,
        "slot.first.eq(slot.valid & ~(slot.order & valid).any())",
        "slot.first.eq(slot.valid)",
    ),
    Mutation(
        "of another row",
        MODULE,
        "hits[w].eq(self.row.open & (self.row.row == where.row))",
        "hits[w].eq(self.row.open)",
    ),
    Mutation("beat lost", MODULE, "where.eq(where + 1)", "where.eq(where + 2)"),
    Mutation("one too many", MODULE, "slot.valid.eq(slot.len != 0)", "slot.valid.eq(1)"),
    Mutation("overwritten", MODULE, "self.i.ready.eq(~waiting | free.any())", "self.i.ready.eq(1)"),
    Mutation(
        "last of another",
        MODULE,
        "self.column.last.eq((chosen & Cat(((slot.len == 0) & slot.last for slot in slots))).any())",
        "self.column.last.eq((chosen & Cat((slot.last for slot in slots))).any())",
    ),
    Mutation("another goes on", MODULE, "current.eq(chosen & ~done)", "current.eq(chosen)"),
    Mutation("not kept open", MODULE, "self.may_precharge & ~self.kept_open", "self.may_precharge"),
    Mutation(
        "of any bank",
        MODULE,
        "_named(m, 'access', self.may_access & self.needed)",
        "_named(m, 'access', self.needed)",
    ),
    Mutation(
        "older than new ones", MODULE, "m.d.sync += bits.eq(bits & ~slot_of)", "m.d.sync += bits.eq(bits)"
    ),
)
AGED_MUTATIONS = (
    Mutation(
        "kept",
        MODULE,
        "self._banks_of(slots, lambda slot: slot.kept) & ~claimed",
        "self._banks_of(slots, lambda slot: slot.kept)",
    ),
    Mutation(
        "any bank",
        MODULE,
        "_named(m, 'access', self.may_access & self.needed)",
        "_named(m, 'access', self.may_access)",
    ),
    Mutation("never aged", MODULE, "waited.eq(waited + 1)", "waited.eq(waited)"),
)
PROPERTIES = (
    *(
        Property(
            f"{'ordered' if ordered else 'ids'}-{timing.name}-{depth}",
            partial(Beats, timing, depth, ordered),
            "the beats of a burst are asked for in order, each once, at its place, while its row is open, "
            "after those of the "
            "bursts of its id before it; the last of an AXI burst is the last; only commands that may be are "
            "proposed",
            method="induction",
            depth=2,
            frames=12,
            mutations=MUTATIONS if (timing, ordered) == (GROUPED, False) and depth == 2 else (),
        )
        for timing, depth, ordered in (
            (GROUPED, 2, False),
            (GROUPED, 2, True),
            (GROUPED, 4, False),
            (PHASES, 3, False),
        )
    ),
    Property(
        "aged",
        partial(Aged, GROUPED, 2),
        "a burst that has been the oldest for the configured time is aged; a bank in which it has to have "
        "another row is "
        "from the next cycle on kept and used for no other",
        frames=20,
        mutations=AGED_MUTATIONS,
    ),
)
