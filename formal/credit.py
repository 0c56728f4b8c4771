"""The credit that read-aheads and bursts go by."""

from functools import partial

from amaranth.hdl import *

from poblano.stream.credit import Credit

from .harness import Harness, Mutation, Property

MODULE = "poblano.stream.credit"


class Places(Harness):
    """Who takes takes at most what is left; who gives back gives at most what was taken before."""

    def __init__(self, total, most_taken, most_given):
        super().__init__()
        self.sizes = {"total": total, "most_taken": most_taken, "most_given": most_given}

    def prove(self, m):
        dut = self.add("dut", Credit(**self.sizes))
        total = self.sizes["total"]
        reserved = Signal(range(total + 1))
        m.d.sync += reserved.eq(reserved + dut.take - dut.give)
        self.assume((dut.take <= dut.left) & (dut.give <= reserved))
        self.assume((dut.take <= self.sizes["most_taken"]) & (dut.give <= self.sizes["most_given"]))
        self.check("none lost, none made", dut.left + reserved == total)
        self.cover("all taken", dut.left == 0)
        self.cover("all given back", (dut.left == total) & self.past(dut.left != total, "before"))
        if total > 1:
            self.cover("both", (dut.take != 0) & (dut.give != 0))


MUTATIONS = (
    Mutation("lost", MODULE, "self.left - self.take + self.give", "self.left - self.take"),
    Mutation("made", MODULE, "self.left - self.take + self.give", "self.left + self.give"),
    Mutation(
        "one at a time",
        MODULE,
        "self.left - self.take + self.give",
        "self.left - self.take.bool() + self.give",
    ),
    Mutation(
        "lost when both",
        MODULE,
        "self.left - self.take + self.give",
        "self.left - Mux(self.give.any() & self.take.any(), 1, self.take) + self.give",
    ),
)
PROPERTIES = tuple(
    Property(
        f"total-{total}-{most_taken}-{most_given}",
        partial(Places, total, most_taken, most_given),
        "what is left and what is reserved are always the total: no credit is lost or made",
        frames=2 * total + 6,
        mutations=MUTATIONS if total == 8 else (),
    )
    for total, most_taken, most_given in ((1, 1, 1), (5, 1, 1), (8, 4, 2))
)
