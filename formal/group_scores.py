"""The scores of groups of experts: what is added."""

from amaranth.hdl import *

from poblano.moe.group_scores import GroupScores

from .harness import Harness, Mutation, Property

MODULE = "poblano.moe.group_scores"
ORDER = "poblano.moe.order"


def _reaches(x, least):
    """Whether the FP32 number ``x`` is a number that is not below ``least``; -0 is below +0."""
    above = Mux(x[31], x[:31] <= least[:31], x[:31] >= least[:31])
    return (x[:31] <= 0x7F800000) & Mux(x[31] == least[31], above, least[31])


class TwoLargest(Harness):
    """Groups of any numbers of values, two at least. Of those of a group that reach an arbitrary number there
    are as many, up to two, as of the two that are added."""

    def prove(self, m):
        dut, inside = self.peek("dut", GroupScores())
        least = self.constant("least", 32)
        self.assume(least[:31] <= 0x7F800000)
        among, reach, ended = (
            Signal(),
            Signal(2),
            Signal(),
        )  # among a group's values; so many reach it, up to 2
        before = Mux(among, reach, 0)
        self.assume(~dut.valid | ~dut.last | among)
        m.d.sync += ended.eq(dut.valid & dut.last)
        with m.If(dut.valid):
            m.d.sync += [
                among.eq(~dut.last),
                reach.eq(Mux(before == 2, 2, before + _reaches(dut.value, least))),
            ]
        added = [inside[name] for name in ("a", "b")]
        self.check("two largest", sum((_reaches(x, least) for x in added), C(0)) == reach)
        self.check("scored", dut.scored == self._after(m, ended, GroupScores.LATENCY - 1))
        self._invariant(inside, among, added)
        self.cover("next follows at once", ended & dut.valid)
        self.cover("two reach", ended & (reach == 2))

    def _invariant(self, inside, among, added):
        best, second = inside["best"], inside["second"]
        self.check("order", second <= best)
        self.check("first", inside["first"] == ~among)
        for name, key, x in zip("ab", (best, second), added):
            self.check(f"NaN is 0 {name}", Mux(key == 0, x == 0xFFFFFFFF, key[32] & (x[:31] <= 0x7F800000)))

    def _after(self, m, event, cycles):
        """``event`` so many cycles before."""
        for n in range(cycles):
            event = self.past(event, f"past{n}")
        return event


PROPERTIES = (
    Property(
        "scores",
        TwoLargest,
        "what is added for a group's score are its two largest values, of which NaN is the least, and the "
        "score comes after the latency",
        method="induction",
        depth=8,
        mutations=(
            Mutation("second lost", MODULE, "second.eq(Mux(first, 0, best))", "second.eq(0)"),
            Mutation("of the group before", MODULE, "second.eq(Mux(first, 0, best))", "second.eq(best)"),
            Mutation("never second", MODULE, "with m.Elif(key > second):", "with m.Elif(key > best):"),
            Mutation("goes on", MODULE, "m.d.sync += first.eq(self.last)", "m.d.sync += first.eq(0)"),
            Mutation("of any sign", ORDER, "Mux(key[31], Cat(key[:31], 0), ~key[:32])", "key[:32]"),
            Mutation("NaN is large", ORDER, "x[:31] > 0x7F800000", "x[:31] > 0x7FFFFFFF"),
        ),
    ),
)
