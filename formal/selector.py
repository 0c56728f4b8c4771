"""The selector: the numbers of a row's largest values, in ascending order."""

from functools import partial

from amaranth.hdl import *

from poblano.moe.order import key_of
from poblano.moe.selector import Selector

from .harness import Harness, Mutation, Property, popcount

MODULE = "poblano.moe.selector"
ORDER = "poblano.moe.order"


def _above(x, y):
    """Whether the FP32 number ``x`` is above ``y``: NaN is below all, and -0 below +0."""
    is_nan = lambda value: value[:31] > 0x7F800000
    larger = Mux(x[31], x[:31] < y[:31], x[:31] > y[:31])
    return ~is_nan(x) & (is_nan(y) | Mux(x[31] == y[31], larger, y[31]))


def _first(x, y):
    """Whether ``x``, (value, whether it is late), is to be kept rather than ``y``."""
    return Mux(x[1] == y[1], _above(x[0], y[0]), y[1])


class Largest(Harness):
    """Rows of any values of which any are skipped or late, one behind the other; one may begin when the last
    number of the one before is taken. Of each row an arbitrary number is watched."""

    def __init__(self, *, experts, used):
        super().__init__()
        self.experts, self.most = experts, used

    def prove(self, m):
        driven = ("used", "value", "valid", "take", "start", "again")
        block = Selector(experts=self.experts, used=self.most)
        self.dut, self.inside = dut, _ = self.peek("dut", block, driven=driven)
        starts, comes, takes, value = (
            self.free(name, width) for name, width in (("starts", 1), ("comes", 1), ("takes", 1), ("its", 32))
        )
        again = self.free("again")
        m.d.comb += [
            dut.again.eq(again),
            dut.start.eq(starts),
            dut.valid.eq(comes),
            dut.take.eq(takes),
            dut.value.eq(value),
        ]
        used, next_used = Signal.like(dut.used), self.free("next_used", len(dut.used))
        m.d.comb += dut.used.eq(used)
        self.assume((next_used != 0) & (next_used <= self.most))
        began, self.came, self.some = Signal(), Signal(range(self.experts + 1)), Signal.like(dut.used)
        self.given, self.last = Signal.like(dut.used), Signal.like(dut.number)
        self.total = Mux(used < self.some, used, self.some)
        self.assume(~comes | ~(starts | takes | again))
        self.assume(~comes | began & (self.came != self.experts) & (self.given == 0))
        self.assume(~takes | began & (self.given != self.total))
        with m.If(comes):
            m.d.sync += self.came.eq(self.came + 1)
            with m.If(~dut.skip & (self.some != self.most)):
                m.d.sync += self.some.eq(self.some + 1)
        with m.If(takes):
            m.d.sync += [self.given.eq(self.given + 1), self.last.eq(dut.number)]
        with m.If(again):
            m.d.sync += self.given.eq(0)
        with m.If(starts):
            m.d.sync += [began.eq(1), used.eq(next_used), self.came.eq(0), self.some.eq(0), self.given.eq(0)]
        self.began = began
        self._watch(m, value)
        left = began & (self.given != self.total)
        self.check("ascending", ~left | (self.given == 0) | (dut.number > self.last))
        self.check("last", ~left | (dut.last == (self.given == self.total - 1)))
        self._invariant()
        self.cover("all", takes & dut.last & (self.given == self.most - 1) & (self.came == self.experts))
        self.cover("skipped", takes & dut.last & (self.came == self.some + 2))

    def _watch(self, m, value):
        """The watched number ``here`` with an arbitrary value: of how many ``others`` the expert is kept
        first."""
        dut, watched, late = self.dut, self.constant("watched", 32), self.constant("late")
        self.key, self.number = Cat(key_of(watched), ~late), self.constant("number", range(self.experts))
        self.here, self.skipped, self.others = Signal(), Signal(), Signal(range(self.most + 1))
        self.got = Signal()
        its, comes = dut.valid & (self.came == self.number), dut.valid & ~dut.skip
        this, that = (watched, late), (value, dut.late)
        first = Mux(self.came < self.number, ~_first(this, that), _first(that, this))
        same = (value == watched) & (dut.late == late)
        with m.If(its):
            m.d.sync += [self.here.eq(~dut.skip & same), self.skipped.eq(dut.skip)]
        with m.Elif(comes & first & (self.others != self.most)):
            m.d.sync += self.others.eq(self.others + 1)
        takes = dut.take & (dut.number == self.number)
        with m.If(takes):
            m.d.sync += self.got.eq(1)
        with m.If(dut.again):
            m.d.sync += self.got.eq(0)
        with m.If(dut.start):
            m.d.sync += [self.here.eq(0), self.skipped.eq(0), self.others.eq(0), self.got.eq(0)]
        came = self.came > self.number
        self.check("once", ~takes | came & ~self.skipped & ~self.got)
        chosen = self.others < dut.used
        self.check("only the largest", ~takes | ~self.here | chosen)
        ended = self.began & (self.given == self.total) & (self.given != 0)
        self.check("all the largest", ~ended | ~self.here | (self.got == chosen))
        self.cover("not chosen", ended & self.here & ~chosen)

    def _invariant(self):
        """What the proof needs to know of the registers."""
        began, inside = self.began, self.inside
        kept, taken, used = inside["kept"], inside["taken"], self.dut.used
        keys, numbers = ([inside[f"{name}{n}"] for n in range(self.most)] for name in ("key", "number"))
        self.check("used", ~began | (used != 0) & (used <= self.most))
        self.check("came", ~began | (self.came <= self.experts) & (self.some <= self.came))
        self.check("some", ~began | (kept == (1 << self.some) - 1) & (self.some <= self.most))
        self.check("next", ~began | (inside["next_number"] == self.came[: len(inside["next_number"])]))
        self.check("given", ~began | (self.given == popcount(taken)) & (self.given <= self.total))
        self.check("known", ~began | ~(self.here & self.skipped))
        self.check("it came", ~began | (self.came > self.number) | ~(self.here | self.skipped | self.got))
        self.check("others", ~began | (self.others <= self.some))
        for n, (key, number) in enumerate(zip(keys, numbers)):
            its, first = began & kept[n], n < self.others
            self.check(f"number {n}", ~its | (number < self.came))
            self.check(f"was taken {n}", ~began | ~taken[n] | its & (n < used) & (number <= self.last))
            left = its & (n < used) & ~taken[n] & (self.given != 0)
            self.check(f"is left {n}", ~left | (number > self.last))
            self.check(f"not skipped {n}", ~its | (number != self.number) | ~self.skipped)
            self.check(f"got {n}", ~its | (number != self.number) | (self.got == taken[n]))
            before = ~its | (self.came > self.number) | ((key >= self.key) == first)
            self.check(f"before it {n}", before)
            here = its & self.here & (n == self.others)
            self.check(f"it {n}", ~here | (number == self.number) & (key == self.key))
            other = its & self.here & (n != self.others)
            self.check(f"another {n}", ~other | (number != self.number))
            for k in range(n):
                self.check(f"order {k} {n}", ~its | (keys[k] >= key) & (numbers[k] != number))
        there = Array(kept[n] for n in range(self.most))[self.others]
        self.check(
            "not got", ~began | ~self.got | (self.given != 0) & ~(self.here & (self.others == self.most))
        )
        self.check("it is kept", ~began | ~self.here | (self.others == self.most) | there)


MUTATIONS = (
    Mutation("later first", MODULE, "full & (key <= its)", "full & (key < its)"),
    Mutation("skipped too", MODULE, "with m.If(self.valid & ~self.skip):", "with m.If(self.valid):"),
    Mutation(
        "not counted", MODULE, "m.d.sync += next_number.eq(next_number + 1)", "m.d.sync += next_number.eq(0)"
    ),
    Mutation("one too many", MODULE, "kept[n] & (n < self.used)", "kept[n] & (n <= self.used)"),
    Mutation("any order", MODULE, "left[n] & (~there | (numbers[n] < found))", "left[n] & ~there"),
    Mutation(
        "of the row before",
        MODULE,
        "m.d.sync += [next_number.eq(0), kept.eq(0)]",
        "m.d.sync += next_number.eq(0)",
    ),
    Mutation("taken before", MODULE, "m.d.sync += taken.eq(0)", "m.d.sync += taken.eq(taken)"),
    Mutation("not again", MODULE, "with m.If(self.start | self.again):", "with m.If(self.start):"),
    Mutation("never late", MODULE, "Cat(key_of(self.value), ~self.late)", "Cat(key_of(self.value), 1)"),
    Mutation("NaN is large", ORDER, "x[:31] > 0x7F800000", "x[:31] > 0x7FFFFFFF"),
    Mutation("of any sign", ORDER, "Mux(x[31], ~x, Cat(x[:31], 1))", "Cat(x[:31], 1)"),
)
PROPERTIES = tuple(
    Property(
        f"largest-{used}-of-{experts}",
        partial(Largest, experts=experts, used=used),
        "the numbers of a row's largest values that are not skipped are given once each, in ascending order, "
        "and again where that is asked; of equal values the lower number's comes first, NaN last, and late "
        "values behind all others",
        method="induction",
        depth=1,
        sat=True,
        frames=16,
        timeout=600,
        mutations=MUTATIONS if used == 3 else (),
    )
    for used, experts in ((3, 5), (8, 16))
)
