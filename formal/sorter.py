"""The sorter of assignments: its lists are a permutation of the assignments, stable, with the right counts,
and nothing is put outside their place."""

from functools import partial

from amaranth.hdl import *
from amaranth.utils import exact_log2

from poblano.config import ExpertsConfig
from poblano.isa.header import LOCAL_BITS
from poblano.moe import sorter

from .harness import Harness, Mutation, Property, popcount
from .words import Words

MODULE = "poblano.moe.sorter"
ENTRIES = sorter.ENTRIES


def _lines(rows):
    """Lines of a list of so many rows."""
    return (rows + ENTRIES - 1) // ENTRIES


def _sum(values):
    return sum(values, C(0))


class _Watched:
    """An assignment of an arbitrary ``number``: whether it ``came`` and was ``given``, its ``expert``,
    ``weight``, ``row`` and ``place`` in the row, its ``rank``, which is how many with its expert came before,
    and the ``pair`` at which it was put. ``kept``: what the sorter keeps of it."""

    def __init__(self, h, name, dut):
        def register(part, shape=1):
            return Signal(shape, name=f"{name}_{part}")

        config, entry = dut.config, dut.o.payload
        self.number = h.constant(name, range(config.assignments))
        self.came, self.given = register("came"), register("given")
        self.expert, self.weight = register("expert", range(config.experts)), register("weight", 32)
        self.row, self.rank = register("row", range(config.rows)), register("rank", range(config.rows))
        self.place = register("place", range(config.used))
        self.pair = register("pair", len(entry.pair))
        self.kept = Cat(self.expert, self.weight, self.rank)


class Lists(Harness):
    """Routings of any numbers of experts, of experts of a row and of rows, one behind the other, with pauses
    of assignments and of entries. Two arbitrary assignments are watched."""

    def __init__(self, **config):
        super().__init__()
        self.config = ExpertsConfig(**config)

    def prove(self, m):
        sorter.sram = Words
        driven = ("start", "used", "experts", "line", "i", "sort")
        self.dut, self.inside = self.peek("dut", sorter.Sorter(self.config, ecc=False), driven=driven)
        self.one, self.other = self.watched = [_Watched(self, name, self.dut) for name in ("one", "other")]
        self.assume(self.one.number < self.other.number)
        self.opened, self.sorting = Signal(), Signal()
        self._route(m)
        self._table(m)
        self._entries(m)
        self.assigns, self.lists, self.gives = map(self.inside["fsm"].ongoing, ("ASSIGN", "LISTS", "ENTRIES"))
        self._came()
        self._assigning()
        self._placing()
        self._giving()

    def _route(self, m):
        """Rows of assignments in ascending order of experts, and what came of them."""
        dut, config = self.dut, self.config
        self.row, self.place = Signal(range(config.rows + 1)), Signal.like(dut.used)
        self.last, self.taken = Signal.like(dut.experts), Signal(range(config.assignments + 1))
        self.counts = Array(Signal(range(config.rows + 1), name=f"count{n}") for n in range(config.experts))
        begins, ends, put = self.free("begins"), self.free("ends"), self.free("put")
        expert, weight = self.free("expert", len(self.last)), self.free("weight", 32)
        self._choose(m, begins)
        self.assume(~begins | ~self.sorting & ~put & ~ends)
        self.assume(~(put | ends) | self.opened & ~self.sorting)
        self.assume(~ends | (self.place == 0) & ~put)
        self.assume(~put | (self.row != config.rows) & (expert < dut.experts))
        self.assume(~put | (self.place == 0) | (expert > self.last))
        m.d.comb += [
            dut.start.eq(begins),
            dut.i.valid.eq(put),
            dut.i.payload.expert.eq(expert),
            dut.i.payload.weight.eq(weight),
            dut.sort.eq(ends),
        ]
        self.check("takes", ~put | dut.i.ready)
        with m.If(put):
            m.d.sync += [self.taken.eq(self.taken + 1), self.place.eq(self.place + 1), self.last.eq(expert)]
            with m.If(self.place == dut.used - 1):
                m.d.sync += [self.place.eq(0), self.row.eq(self.row + 1)]
            m.d.sync += self.counts[expert].eq(self.counts[expert] + 1)
        for its in self.watched:
            with m.If(put & (self.taken == its.number)):
                m.d.sync += [its.came.eq(1), its.expert.eq(expert), its.weight.eq(weight)]
                m.d.sync += [its.row.eq(self.row), its.place.eq(self.place)]
                m.d.sync += its.rank.eq(self.counts[expert])
        with m.If(begins):
            m.d.sync += [self.opened.eq(1), self.taken.eq(0), self.row.eq(0), self.place.eq(0)]
            m.d.sync += [count.eq(0) for count in self.counts]
            m.d.sync += [its.came.eq(0) for its in self.watched]
        with m.If(ends):
            m.d.sync += self.sorting.eq(1)
        with m.If(dut.done):
            m.d.sync += [self.opened.eq(0), self.sorting.eq(0)]

    def _choose(self, m, begins):
        """What is constant of a routing."""
        dut = self.dut
        used, experts, line = (
            self.free(f"next_{name}", len(getattr(dut, name))) for name in ("used", "experts", "line")
        )
        self.assume((used != 0) & (used <= self.config.used))
        self.assume((experts >= used) & (experts <= self.config.experts))
        for value, following in ((dut.used, used), (dut.experts, experts), (dut.line, line)):
            kept = Signal.like(value, name=f"its_{following.name}")
            m.d.comb += value.eq(kept)
            with m.If(begins):
                m.d.sync += kept.eq(following)

    def _table(self, m):
        """The experts that have rows are told in ascending order, with their counts; a list begins behind the
        one before."""
        dut, experts = self.dut, self.config.experts
        self.told, self.following = Signal(experts), Signal(LOCAL_BITS)
        self.lines = Array(Signal(LOCAL_BITS, name=f"line{n}") for n in range(experts))
        routed, write = dut.table.routed, dut.table.valid
        its = routed.expert[: len(self.one.expert)]
        expected = Mux(self.told.any(), self.following, dut.line)
        with m.If(write):
            m.d.sync += [
                self.told.eq(self.told | 1 << its),
                self.following.eq(routed.line + _lines(routed.rows)),
                self.lines[its].eq(routed.line),
            ]
        with m.If(dut.start):
            m.d.sync += self.told.eq(0)
        self.check("slot", ~write | (dut.table.slot == popcount(self.told)))
        self.check("ascending", ~write | ((self.told >> its == 0) & (routed.expert < experts)))
        self.check("count", ~write | ((routed.rows == self.counts[its]) & (routed.rows != 0)))
        self.check("line", ~write | (routed.line == expected))
        every = Cat(count != 0 for count in self.counts)
        self.check("told", ~dut.done | (self.told == every))
        self.cover("two rows", write & (routed.rows == 2))

    def _entries(self, m):
        """Each assignment is given once, in order: at its rank in its expert's list, with row and weight."""
        dut, entry = self.dut, self.dut.o.payload
        self.given = Signal.like(self.taken)
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += self.given.eq(self.given + 1)
        with m.If(dut.start):
            m.d.sync += self.given.eq(0)
        first = dut.line << exact_log2(ENTRIES)
        for n, its in enumerate(self.watched):
            here = dut.o.valid & (self.given == its.number)
            with m.If(here & dut.o.ready):
                m.d.sync += [its.given.eq(1), its.pair.eq(entry.pair)]
            with m.If(dut.start):
                m.d.sync += its.given.eq(0)
            place = (self.lines[its.expert] * ENTRIES + its.rank)[: len(entry.pair)]
            self.check(f"place {n}", ~here | (entry.pair == place))
            self.check(f"row {n}", ~here | (entry.row == its.row))
            self.check(f"weight {n}", ~here | (entry.weight == its.weight))
            within = (entry.pair - first)[: len(entry.pair)] < self.taken * ENTRIES
            self.check(f"within {n}", ~here | within)
            self.check(f"in its list {n}", ~here | (its.rank < self.counts[its.expert]))
        self.check("apart", ~here | (self.one.given & (entry.pair != self.one.pair)))
        self.check("not more", ~dut.o.valid | (self.given < self.taken))
        self.check("all", ~dut.done | (self.given == self.taken) & self.sorting)
        self.cover("behind another", here & (self.one.expert == its.expert))
        self.cover("done", dut.done & (self.taken == self.config.assignments))

    def _came(self):
        """What the proof needs to know of what came."""
        opened, counts = self.opened, self.counts
        used, experts = self.dut.used, self.dut.experts
        self.check("opened", opened | ~self.sorting)
        self.check("used", ~opened | ((used != 0) & (used <= self.config.used)))
        self.check("experts", ~opened | ((experts >= used) & (experts <= self.config.experts)))
        self.check("rows", ~opened | (self.row <= self.config.rows) & (self.place < used))
        self.check("no half row", ~opened | (self.place == 0) | (self.row != self.config.rows))
        self.check("whole rows", ~self.sorting | (self.place == 0))
        self.check("taken", ~opened | (self.row * used + self.place == self.taken))
        self.check("last", ~opened | (self.place == 0) | (self.last < experts))
        self.check("sum", ~opened | (_sum(counts) == self.taken))
        for n, count in enumerate(counts):
            most = self.row + ((self.place != 0) & (self.last >= n))
            self.check(f"count of {n}", ~opened | ((count <= most) & ((count == 0) | (experts > n))))
        for n, its in enumerate(self.watched):
            came = opened & its.came
            self.check(f"came {n}", ~opened | (its.came == (its.number < self.taken)))
            self.check(f"rank {n}", ~came | (its.rank < counts[its.expert]))
            self.check(f"expert {n}", ~came | (its.expert < self.config.experts))
            self.check(f"row of {n}", ~came | (its.row * used + its.place == its.number) & (its.place < used))
        alike = opened & self.other.came & (self.one.expert == self.other.expert)
        self.check("in order", ~alike | (self.one.rank < self.other.rank))

    def _assigning(self):
        """What the proof needs to know of what is kept."""
        inside, opened, counts = self.inside, self.opened, self.counts
        arrived, count, seen = inside["assignment_arrived"], inside["count"], inside["seen"]
        late, words = sorter.Assignment(self.config)(inside["late"]), inside["by_expert"].words
        self.check("states", (self.assigns | self.lists | self.gives) & (self.assigns == ~self.sorting))
        self.check("arrived", ~arrived | (opened & ~self.sorting & (late.expert < self.config.experts)))
        self.check("kept", ~opened | (count + arrived == self.taken))
        before = Array(its - (arrived & (late.expert == n)) for n, its in enumerate(counts))
        for n, its in enumerate(before):
            self.check(f"seen {n}", ~opened | (seen[n] == (its != 0)))
            self.check(f"counted {n}", ~opened | self.sorting | ~seen[n] | (words[n] == its))
        self.check("its rank", ~arrived | (inside["rank"] == before[late.expert]))
        for n, its in enumerate(self.watched):
            came, kept = opened & its.came, inside["assigned"].words[its.number]
            here = came & arrived & (its.number == count)
            self.check(f"arrives {n}", ~here | (Cat(late.as_value(), inside["rank"]) == its.kept))
            self.check(f"is last {n}", ~here | (its.rank == (counts[its.expert] - 1)[: len(its.rank)]))
            self.check(f"kept {n}", ~came | (its.number >= count) | (kept == its.kept))

    def _placing(self):
        """What the proof needs to know while lists get their lines."""
        inside, told, counts, lines = self.inside, self.told, self.counts, self.lines
        expert, listed, reading = inside["expert"], inside["listed"], inside["reading"]
        arrived, slot, begun = inside["count_arrived"], inside["slot"], inside["begun"]
        memory = inside["by_expert"]
        count, rest = self.dut.experts, ~arrived & reading & (expert == 0)
        self.check("rests", self.lists | rest & (slot == 0) & ~begun)
        reads = (expert < count) & (arrived == (expert != 0))
        self.check("reads", ~self.lists | Mux(reading, reads, ~arrived | (expert == count)))
        self.check("listed", ~arrived | (listed + 1 == expert))
        self.check("slots", ~self.lists | (slot == popcount(told)) & (begun == told.any()))
        self.check("behind", ~self.lists | ~begun | (inside["line"] == self.following))
        self.check(
            "count read",
            ~arrived | ~inside["seen"].bit_select(listed, 1) | (memory.read.data == counts[listed]),
        )
        for n, its in enumerate(counts):
            passed = self.gives | self.lists & Mux(arrived, listed > n, ~reading)
            self.check(f"told {n}", ~self.opened | (told[n] == (passed & (its != 0))))
            word = Mux(told[n], lines[n], its)
            self.check(f"by expert {n}", ~self.sorting | (its == 0) | (memory.words[n] == word))
        start = lambda line: (line - self.dut.line)[:LOCAL_BITS]
        end = lambda n: start(lines[n]) + _lines(counts[n])
        so_far = _sum(Mux(bit, its, 0) for bit, its in zip(told, counts))
        self.check("room", ~self.sorting | ~told.any() | (start(self.following) <= so_far))
        for n in range(self.config.experts):
            its = self.sorting & told[n]
            self.check(f"before the next {n}", ~its | (end(n) <= start(self.following)))
            for k in range(n):
                self.check(f"lists {k} {n}", ~its | ~told[k] | (end(k) <= start(lines[n])))

    def _giving(self):
        """What the proof needs to know while entries are given."""
        inside, used = self.inside, self.dut.used
        number, row, place, read, looked_up = (
            inside[name] for name in ("number", "row", "place_of", "read", "looked_up")
        )
        rest = (number == 0) & (row == 0) & (place == 0) & ~read & ~looked_up
        self.check("gives none", self.gives | rest)
        self.check("none given", ~self.opened | self.gives | (self.given == 0))
        self.check(
            "under way", ~self.gives | (number == self.given + read + looked_up) & (number <= self.taken)
        )
        self.check("its row", ~self.gives | (row * used + place == self.given) & (place < used))
        kept, lines = inside["assigned"].read.data, inside["by_expert"].read.data
        for n, its in enumerate(self.watched):
            next_read = self.gives & read & (number == its.number + 1)
            self.check(f"read {n}", ~next_read | (kept == its.kept))
            here = self.gives & looked_up & (self.given == its.number)
            line = self.lines[its.expert]
            self.check(f"looked up {n}", ~here | (inside["entry"] == its.kept) & (lines == line))
            self.check(f"was given {n}", ~self.opened | (its.given == (its.number < self.given)))
            pair = (line * ENTRIES + its.rank)[: len(its.pair)]
            self.check(f"put {n}", ~self.opened | ~its.given | (its.pair == pair))


PLACED = "line.eq(now + ((rows + ENTRIES - 1) >> exact_log2(ENTRIES)))"
RANK = "Mux(known, Mux(again, before + 1, by_expert.read.data), 0)"
ENDED = "m.d.sync += [expert.eq(0), reading.eq(1), slot.eq(0), begun.eq(0)]"
MUTATIONS = (
    Mutation("lists overlap", MODULE, PLACED, "line.eq(now + (rows >> exact_log2(ENTRIES)))"),
    Mutation("count lost", MODULE, "by_expert.write.data.eq(rank + 1)", "by_expert.write.data.eq(rank)"),
    Mutation("old count", MODULE, RANK, "Mux(known, by_expert.read.data, 0)"),
    Mutation("count not cleared", MODULE, RANK, "Mux(again, before + 1, by_expert.read.data)"),
    Mutation("rank twice", MODULE, RANK, "Mux(known, Mux(again, before, by_expert.read.data), 0)"),
    Mutation(
        "of the routing before", MODULE, "m.d.sync += [count.eq(0), seen.eq(0)]", "m.d.sync += count.eq(0)"
    ),
    Mutation("lists apart", MODULE, PLACED, "line.eq(now + rows)"),
    Mutation("begins elsewhere", MODULE, "Mux(begun, line, self.line)", "Mux(begun, line, self.line + 1)"),
    Mutation("goes on behind", MODULE, ENDED, "m.d.sync += [expert.eq(0), reading.eq(1), slot.eq(0)]"),
    Mutation(
        "an expert less",
        MODULE,
        "with m.If(expert == self.experts - 1):",
        "with m.If(expert == self.experts - 2):",
    ),
    Mutation(
        "row too late", MODULE, "with m.If(place_of == self.used - 1):", "with m.If(place_of == self.used):"
    ),
    Mutation("row kept", MODULE, "m.d.sync += [number.eq(0), row.eq(0)]", "m.d.sync += number.eq(0)"),
    Mutation("does not wait", MODULE, "moves.eq(~looked_up | self.o.ready)", "moves.eq(1)"),
)
SIZES = {(2, 2, 2): MUTATIONS, (3, 2, 5): MUTATIONS[:1], (4, 2, 5): ()}
PROPERTIES = tuple(
    Property(
        "lists-" + "-".join(map(str, size)),
        partial(Lists, **dict(zip(("experts", "used", "rows"), size))),
        "every assignment is in its expert's list once, in order, with its row and weight, and no two are in "
        "one place; experts with rows are told with their counts; lists do not overlap, and are in a line "
        "for each assignment",
        method="induction",
        depth=1,
        sat=True,
        frames=8 + 4 * size[1] * size[2],
        timeout=600,
        mutations=mutations,
    )
    for size, mutations in SIZES.items()
)
