"""The router: what it writes lies in the places that its command names, and what it asks of its parts is
what they are proven for."""

from amaranth.hdl import *

from poblano.config import LINE_WORDS, ExpertsConfig, LocalConfig
from poblano.isa.layout import CommandLayout
from poblano.isa.opcodes import Opcode
from poblano.moe import router
from poblano.moe.capacity import Capacity
from poblano.moe.group_scores import GroupScores
from poblano.moe.selector import Selector
from poblano.moe.sorter import Sorter

from .harness import Harness, Mutation, Property, popcount
from .router_limits import Limits

MODULE = "poblano.moe.router"
TILES = 2
LANES = 2


def _hollow(part):
    """The component ``part`` without its inside: the harness drives what it gives."""
    return type(part.__name__, (part,), {"elaborate": lambda self, platform: Module()})


class Writes(Limits, Harness):
    """Any commands that hold the rules, one behind the other; the memory answers when it likes."""

    LOCAL = LocalConfig(lanes=LANES, segments=1, sum_width=14, vmem_addr_width=5, amem_addr_width=4)
    CONFIG = ExpertsConfig(experts=4, used=2, rows=2)

    def prove(self, m):
        for part in (Capacity, GroupScores, Selector, Sorter):
            setattr(router, part.__name__, _hollow(part))
        block = router.Router(self.LOCAL, self.CONFIG, tiles=TILES)
        self.dut, self.inside = dut, inside = self.peek("dut", block)
        self.scores, self.selector, self.sorter = (inside[name] for name in ("scores", "selector", "sorter"))
        self.room = inside["room"]
        self.writes = inside["writes"].i
        self.begins = dut.cmd.valid & dut.cmd.ready
        self.command = command = Signal(CommandLayout(Opcode.ROUTE))
        with m.If(self.begins):
            m.d.sync += command.eq(dut.cmd.payload)
        self.grouped = command.group_count != 0
        self.assume(~dut.cmd.valid | self._holds(CommandLayout(Opcode.ROUTE)(dut.cmd.payload)))
        self.state = {name: inside["fsm"].ongoing(name) for name in inside["fsm"].encoding}
        self._sort(m)
        self._row(m)
        self._select(m)
        self._read(m)
        self._limit(m)
        self._write()
        self._invariant()

    def _holds(self, o):
        """The rules of a command."""
        config = self.CONFIG
        few = (o.group_count <= config.experts) & (o.group_size <= config.experts)
        groups = few & (o.group_count[:3] * o.group_size[:3] == o.experts) & (o.group_size >= 2)
        some = (o.group_used != 0) & (o.group_used <= o.group_count) & (o.group_used <= config.used)
        groups &= some & (o.used <= o.group_used[:2] * o.group_size[:3])
        return (
            (o.rows != 0)
            & (o.rows <= config.rows)
            & (o.used != 0)
            & (o.used <= config.used)
            & (o.used <= o.experts)
            & (o.experts <= config.experts)
            & (o.capacity <= config.rows)
            & ((o.group_count == 0) | groups)
        )

    def _sort(self, m):
        """The sorter takes assignments at once before it sorts, and gives some entries then."""
        sorter, self.sorting = self.sorter, Signal()
        m.d.comb += [
            sorter.i.ready.eq(~self.sorting),
            sorter.o.payload.eq(self.free("entry", len(sorter.o.payload.as_value()))),
            sorter.o.valid.eq(self.sorting & self.free("gives")),
            sorter.done.eq(self.sorting & ~sorter.o.valid & self.free("sorted")),
        ]
        waits = self.past(sorter.o.valid & ~sorter.o.ready, "entry_waits")
        same = self.past(sorter.o.payload.as_value(), "entry_before") == sorter.o.payload.as_value()
        self.assume(~waits | sorter.o.valid & same)
        m.d.sync += self.sorting.eq((self.sorting | sorter.sort) & ~sorter.done)
        self.assigns = sorter.i.valid & sorter.i.ready

    def _row(self, m):
        """The assignments of each row, in ascending order of experts, as many as the command says; sorted
        when all rows' have come."""
        sorter, command = self.sorter, self.command
        self.row, self.place, self.last = Signal(17), Signal(3), Signal(3)
        with m.If(self.assigns):
            m.d.sync += [self.place.eq(self.place + 1), self.last.eq(sorter.i.payload.expert)]
            with m.If(self.place == command.used - 1):
                m.d.sync += [self.place.eq(0), self.row.eq(self.row + 1)]
        with m.If(self.begins):
            m.d.sync += [self.place.eq(0), self.row.eq(0)]
        its = sorter.i.payload.expert
        self.check("one of the experts", ~self.assigns | (its < command.experts))
        self.check("ascending", ~self.assigns | (self.place == 0) | (its > self.last))
        self.check("rows", ~self.assigns | (self.row < command.rows))
        self.check("all rows", ~sorter.sort | (self.row == command.rows) & (self.place == 0) & ~self.assigns)
        self.check("begins", ~self.begins | sorter.start)
        self.check("begins once", ~sorter.start | ~(self.dut.active | self.sorting | self.assigns))
        constant = (sorter.used == command.used) & (sorter.experts == command.experts)
        self.check("constant", ~self.dut.active | constant & (sorter.line == command.list))
        self.cover("sorts", sorter.sort & (command.rows == 2) & (command.used == 2) & ~self.grouped)
        self.cover("of groups", self.assigns & (self.place == 1) & (command.group_used == 2))

    def _select(self, m):
        """What the selector and the groups' scores get: enough values, before the first is taken."""
        selector, scores, command = self.selector, self.scores, self.command
        self.taken, self.some, last = Signal(3), Signal(4), Signal(3)
        self.passed = Signal(4)  # groups
        number = self.free("number", len(selector.number))
        self.coming = Signal(4)  # scores that are to follow
        self.scoring = self.inside["scoring"]
        bound = Mux(self.scoring, command.group_count, command.experts)
        self.wanted = Mux(self.scoring, command.group_used, command.used)
        asks = self.state["OPEN"] & ~scores.busy | self.state["ASK_WEIGHT"]
        asks |= self.state["WEIGHT"] | self.state["KEEP"] | self.state["COMPARE"]
        self.assume(~asks | (number < bound) & ((self.taken == 0) | (number > last)))
        same = self.past(number, "number_before") == number
        self.assume(~self.past(asks & ~selector.take, "stays") | same)
        m.d.comb += [
            selector.number.eq(number),
            selector.last.eq(self.taken == self.wanted - 1),
            scores.scored.eq((self.coming != 0) & self.free("scored")),
            scores.score.eq(self.free("score", 32)),
            scores.busy.eq(self.coming != 0),
        ]
        m.d.sync += self.coming.eq(self.coming + (scores.valid & scores.last) - scores.scored)
        with m.If(selector.valid & ~selector.skip):
            m.d.sync += self.some.eq(self.some + 1)
        with m.If(selector.take):
            m.d.sync += [self.taken.eq(self.taken + 1), last.eq(number)]
        with m.If(selector.again):
            m.d.sync += self.taken.eq(0)
        with m.If(selector.start):
            m.d.sync += [self.taken.eq(0), self.some.eq(0)]
        self.number, self.last_number, self.asks = number, last, asks
        self.groups = Signal(8)  # those that are selected of a row
        with m.If(self.state["OPEN"] & selector.take):
            m.d.sync += self.groups.eq(self.groups | 1 << number)
        with m.If(self.begins | self.state["NEXT"] | self.state["COMPARE"]):
            m.d.sync += self.groups.eq(0)
        closed = self.grouped & ~self.scoring & ~self.groups.bit_select(self.passed, 1)
        self.check("skips", ~selector.valid | (selector.skip == closed))
        self.check("one thing", ~selector.valid | ~(selector.take | selector.start))
        self.check("values first", ~selector.valid | (self.taken == 0))
        self.check("enough", ~selector.take | (self.some >= self.wanted) & (self.taken < self.wanted))
        self.check("used", (selector.used == self.wanted) | ~selector.take)

    def _read(self, m):
        """Values in the order of experts, and the weight of the one that is taken."""
        dut, command, inside = self.dut, self.command, self.inside
        self.asked, self.address = Signal(), Signal(self.LOCAL.vmem_addr_width)
        self.words, self.expert = Signal(32 * LANES), Signal(4)
        self.within = Signal(4)
        request, answer = dut.port.req.valid & dut.port.req.ready, dut.port.valid
        self.assume(~answer | self.asked)
        self.check("one request", ~dut.port.req.valid | ~self.asked)
        with m.If(answer):
            m.d.sync += [self.asked.eq(0), self.words.eq(Value.cast(dut.port.data))]
        with m.If(request):
            m.d.sync += [self.asked.eq(1), self.address.eq(dut.port.req.payload)]
        self.selects = inside["selects"]
        value = Mux(self.scoring, self.scores.value, self.selector.value)
        with m.If(self.selects):
            m.d.sync += [self.expert.eq(self.expert + 1), self.within.eq(self.within + 1)]
            with m.If(self.grouped & (self.within == command.group_size - 1)):
                m.d.sync += [self.within.eq(0), self.passed.eq(self.passed + 1)]
        with m.If(self.selector.start):
            m.d.sync += [self.expert.eq(0), self.within.eq(0), self.passed.eq(0)]
        at = self._at("a") + self.expert // LANES
        its = self.words.word_select(self.expert % LANES, 32)
        self.check("its value", ~self.selects | (value == its) & self._here(at))
        self.check("below", ~self.selects | (self.expert < command.experts))
        weight = self.words.word_select(self.number % LANES, 32)
        given = (self.sorter.i.payload.weight == weight) & (self.sorter.i.payload.expert == self.number)
        at = self._at("b") + self.number // LANES
        self.check("its weight", ~self.assigns | given & self._here(at))

    def _at(self, name):
        """The row of vector memory at which an operand's current row begins."""
        width, shift = self.LOCAL.vmem_addr_width, LINE_WORDS // LANES
        line = self.command[name] + self.row[:width] * self.command[f"{name}_stride"][:width]
        return (line * shift)[:width]

    def _here(self, address):
        """Whether the last request was of this."""
        return self.address == address[: len(self.address)]

    def _write(self):
        """Weights to the words of their row, entries to their places, to the tiles that the command names."""
        dut, command, writes, word = self.dut, self.command, self.writes, self.inside["word"]
        o, entry = writes.payload, self.sorter.o.payload
        width = len(word)
        line = command.dst + self.row[:width] * command.dst_stride[:width]
        self.its_word = (line * LINE_WORDS)[:width]
        at = (self.its_word + self.place)[:width]
        put, taken = writes.valid & writes.ready, self.sorter.o.valid & self.sorter.o.ready
        self.check("writes what it keeps", put == Mux(self.sorting, taken, self.assigns))
        kept = (o.addr == at // LANES) & (o.mask == 1 << at % LANES) & (o.space == 0)
        word = Value.cast(o.data.row).word_select(at % LANES, 32)
        self.check("keeps", ~self.assigns | kept & (word == self.sorter.i.payload.weight))
        pair = (o.addr == entry.pair[: self.LOCAL.vmem_addr_width]) & (o.mask == 3) & (o.space == 0)
        words = Cat(entry.row, C(0, 16), entry.weight)
        self.check("entry", ~taken | pair & (Value.cast(o.data.row) == words))
        own = command.tiles == C(1, 32) << dut.tile
        self.check("own", ~dut.local.valid | dut.active & own)
        bus = dut.active & ~own & (dut.bus.payload.tiles == command.tiles[:TILES])
        self.check("bus", ~dut.bus.valid | bus)
        self.check("written", ~dut.done | ~(dut.local.valid | dut.bus.valid | writes.valid))

    def _invariant(self):
        """What the proof needs to know of the sequence."""
        inside, state = self.inside, self.state
        within = lambda *names: Cat(state[name] for name in names).any()
        self.reads = within("ASK", "ANSWER", "SELECT")
        self.keeps = within("ASK_WEIGHT", "WEIGHT", "KEEP")
        self.windows = within("ASK_WINDOW", "WINDOW")
        self.check("states", within(*state))
        self.check("active", self.dut.active == ~state["IDLE"])
        self.check("sorting", self.sorting == state["LISTS"])
        kept = self._holds(self.command) & (inside["command"] == self.command.as_value())
        self.check("command", state["IDLE"] | kept)
        self.check("asked", self.asked == within("ANSWER", "WEIGHT", "WINDOW"))
        self.check("writes wait", self.writes.ready | inside["writes"].o.valid)
        self.check("writes end", ~inside["writes"].o.valid | ~state["IDLE"])
        scores = self.reads | state["OPEN"]
        self.check("scoring", Mux(self.scoring, self.grouped | ~scores, ~state["OPEN"]))
        self.check("scores next", ~self.windows | (self.scoring == self.grouped))
        self.check("scores first", ~(self.keeps | state["COMPARE"]) | ~self.scoring)
        self._rows_invariant()
        self._words_invariant()
        self._groups_invariant(scores & self.scoring)
        self._limit_invariant()

    def _rows_invariant(self):
        """Which row it is, and where its operands lie."""
        inside, command, state = self.inside, self.command, self.state
        row = self.windows | self.reads | state["OPEN"] | state["COMPARE"] | self.keeps
        for name, register, unit in (
            ("a", "values", LINE_WORDS // LANES),
            ("b", "weights", LINE_WORDS // LANES),
            ("c", "windows", LINE_WORDS // LANES),
            ("dst", "word", LINE_WORDS),
        ):
            its = self.its_word if name == "dst" else self._at(name)
            following = inside[register] + command[f"{name}_stride"] * unit
            self.check(f"its {name}", ~row | (inside[register] == its))
            self.check(f"next {name}", ~state["NEXT"] | (following[: len(its)] == its))
        self.check("row", ~row | (self.row == inside["row"]) & (self.row < command.rows))
        after = (self.row == inside["row"] + 1) & (self.row <= command.rows)
        self.check("next row", ~state["NEXT"] | after)
        place = (inside["place_of"] == self.place) & (self.place < command.used)
        self.check("place", state["IDLE"] | Mux(self.keeps, place, self.place == 0))
        self.check("first place", ~state["COMPARE"] | (inside["place_of"] == 0))
        self.check("before", ~self.keeps | (self.place == 0) | (self.last == self.last_number))

    def _words_invariant(self):
        """Which word is read, and what is left of it."""
        inside, state = self.inside, self.state
        rest = inside["expert"] == 0
        self.check("expert", Mux(self.reads, inside["expert"] == self.expert, rest))
        self.check("some are left", ~self.reads | (self.expert < self.command.experts))
        in_word = self.expert % LANES
        self.check("first", ~(state["ASK"] | state["ANSWER"]) | (in_word == 0))
        at = self._here(self._at("a") + self.expert // LANES)
        left = inside["words"] == self.words >> 32 * in_word
        self.check("values asked", ~state["ANSWER"] | at)
        self.check("values", ~state["SELECT"] | at & left)
        self.check("window asked", ~state["WINDOW"] | self._here(self._at("c")))
        at = self._here(self._at("b") + self.number // LANES)
        weight = self.words.word_select(self.number % LANES, 32) == inside["words"][:32]
        self.check("weight asked", ~state["WEIGHT"] | at)
        self.check("weight", ~state["KEEP"] | at & weight)

    def _groups_invariant(self, scoring):
        """How many values and scores the selector has, and which groups are open."""
        inside, command, state = self.inside, self.command, self.state
        opened, size = inside["open"], command.group_size[:3]
        first = self.reads & ~self.scoring
        compares = state["COMPARE"]
        self.check("taken", ~(self.reads | self.windows) | (self.taken == 0))
        self.check(
            "begins with none", ~self.windows | (self.expert == 0) & (self.some == 0) & (self.passed == 0)
        )
        self.check("taken of a row", ~self.keeps | (self.taken == self.place))
        self.check("all values", ~(self.keeps | compares) | (self.expert == command.experts))
        self.check("enough of a row", ~(self.keeps | compares) | (self.some >= command.used))
        self.check("no scores", scoring | (self.coming == 0))
        self.check("scores", ~scoring | (self.some + self.coming == self.passed))
        self.check(
            "scored",
            ~state["OPEN"] | (self.taken < command.group_used) & (self.passed == command.group_count),
        )
        self.check("all scored", ~state["OPEN"] | (self.taken == 0) | (self.coming == 0))
        self.check("of all", ~first | self.grouped | (self.some == self.expert))
        grouped = self.reads & self.grouped
        place = self.passed[:3] * size + self.within == self.expert
        place &= (self.within < size) & (self.passed < command.group_count)
        self.check("in a group", ~grouped | place & (inside["within"] == self.within))
        self.check("within", self.reads | (inside["within"] == 0))
        some = size * (command.group_used - popcount(opened))[:3] + Mux(opened[0], self.within, 0)
        few = popcount(opened) <= command.group_used
        there = opened >> (command.group_count - self.passed)[:4] == 0
        self.check("of open groups", ~(first & self.grouped) | (self.some == some) & few & there)
        self.check("groups", ~self.reads | (opened == self.groups >> self.passed))
        self.check("no groups yet", ~(self.reads & self.scoring) | (self.groups == 0))
        self.check("scored groups", ~state["OPEN"] | (opened == self.groups))
        number = Mux(self.taken == 0, opened == 0, opened >> (self.last_number + 1) == 0)
        self.check("open", ~state["OPEN"] | (popcount(opened) == self.taken) & number)
        self.check("none open", state["OPEN"] | first & self.grouped | (opened == 0))
        self.check("no groups before", ~self.windows | (self.groups == 0) & (self.within == 0))


MUTATIONS = (
    Mutation(
        "another's rows",
        MODULE,
        "row.weights.eq(row.weights + local.rows_of(command.b_stride))",
        "row.weights.eq(row.weights + local.rows_of(command.a_stride))",
    ),
    Mutation(
        "rows overlap",
        MODULE,
        "row.word + (command.dst_stride << exact_log2(LINE_WORDS))",
        "row.word + command.dst_stride",
    ),
    Mutation("one word", MODULE, "row.place.eq(row.place + 1)", "row.place.eq(row.place)"),
    Mutation(
        "a row more", MODULE, "row.number == (command.rows - 1)[:16]", "row.number == command.rows[:16]"
    ),
    Mutation("entry elsewhere", MODULE, "entry.pair << 1", "entry.pair"),
    Mutation("value again", MODULE, "row.words.eq(row.words >> 32)", "row.words.eq(row.words)"),
    Mutation("another's weight", MODULE, "number[:lane_bits] << 5", "number[:lane_bits] << 4"),
    Mutation(
        "all groups",
        MODULE,
        "~row.scoring & (command.group_count != 0) & ~row.open[0]",
        "~row.scoring & (command.group_count == 0) & ~row.open[0]",
    ),
    Mutation(
        "never compared",
        MODULE,
        "with m.If(row.limited & ~row.repeats & room.some):",
        "with m.If(row.limited & row.repeats & room.some):",
    ),
    Mutation("all limited", MODULE, "row.limited.eq(word[:31].any())", "row.limited.eq(1)"),
    Mutation("another's window", MODULE, "row.windows + local.rows_of(command.c_stride)", "row.windows"),
    Mutation("before the scores", MODULE, "with m.If(~scores.busy):", "with m.If(1):"),
    Mutation("to itself", MODULE, "own.eq(command.tiles == C(1, 32) << self.tile)", "own.eq(1)"),
    Mutation(
        "done early",
        MODULE,
        "with m.If(~self.local.valid & ~self.bus.valid):",
        "with m.If(~self.local.valid):",
    ),
)
PROPERTIES = (
    Property(
        "writes",
        Writes,
        "a routing writes the weights of each row to their words, as many as the command says, and the "
        "sorter's entries to their places, and nothing else, in the tiles that are named; it reads each "
        "value, weight and word of a window where it lies; no expert gets a row for which it has no room but "
        "when full ones came last, as often as is counted; the sorter, the selector and what counts the rows "
        "of a window get what they are proven for",
        method="induction",
        depth=1,
        sat=True,
        frames=24,
        timeout=600,
        mutations=MUTATIONS,
    ),
)
