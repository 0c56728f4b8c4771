"""The round-robin arbiter."""

from functools import partial

from amaranth.hdl import *

from poblano.stream.round_robin import RoundRobin

from .harness import Harness, Mutation, Property, popcount


class Arbiter(Harness):
    """Requests are free, but one that is granted and not accepted stays, as the contract asks."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def prove(self, m):
        dut = self.add("dut", RoundRobin(count=self.count))
        open_grant = self.past(Mux(dut.accept, 0, dut.grant), "open_grant")
        self.assume((open_grant & ~dut.request) == 0)
        self.check("one", popcount(dut.grant) == dut.request.any())
        self.check("requested", dut.grant == dut.request & dut.open)
        self.check("stays", (open_grant == 0) | (dut.grant == open_grant))
        who = self.constant("who", range(max(2, self.count)))
        self.assume(who < self.count)
        asks, granted = dut.request.bit_select(who, 1), dut.grant.bit_select(who, 1)
        others = Signal(range(self.count + 2))
        with m.If(~asks | (granted & dut.accept)):
            m.d.sync += others.eq(0)
        with m.Elif(dut.accept):
            m.d.sync += others.eq(others + 1)
        self.check("bound", others <= self.count - 1)
        self.cover("waits longest", others == self.count - 1)
        self.cover("held", open_grant != 0)


MODULE = "poblano.stream.round_robin"
MUTATIONS = (
    Mutation(
        "not held", MODULE, "m.d.sync += held.eq(Mux(self.accept, 0, self.grant))", "m.d.sync += held.eq(0)"
    ),
    Mutation("lowest first", MODULE, "after[i] == after[j] if j < i else after[j] & ~after[i]", "C(j < i)"),
    Mutation(
        "turn stays", MODULE, "after.eq(~(self.grant | (self.grant - 1)))", "after.eq(~(self.grant - 1))"
    ),
    Mutation(
        "two grants",
        MODULE,
        "self.open[i].eq(Mux(held.any(), held[i], ~others.any()))",
        "self.open[i].eq(Mux(held.any(), held[i], 1))",
    ),
)
PROPERTIES = tuple(
    Property(
        f"count-{count}",
        partial(Arbiter, count),
        "one grant, to one that asks, kept until accepted; at most count - 1 accepted grants to others "
        "before one's own",
        mutations=MUTATIONS if count == 4 else (),
    )
    for count in (1, 2, 3, 4, 5, 7)
)
