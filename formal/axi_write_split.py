"""A write master's way to several homes."""

from functools import partial

from amaranth.hdl import *

from poblano.axi.homes import HomesConfig
from poblano.axi.signature import AXIConfig
from poblano.axi.write_split import AXIWriteSplit
from poblano.stream.select import select

from .harness import Harness, Mutation, Property, popcount

SIZE = 2


class WriteSplit(Harness):
    """The master keeps addresses and beats until they are taken, the homes their answers; all else is free.

    Addresses and data are narrow: the block only carries them.
    """

    def __init__(self, homes, ahead):
        super().__init__()
        self.homes, self.ahead = homes, ahead

    def prove(self, m):
        config = AXIConfig(addr_width=4, data_width=8)
        homes = HomesConfig(count=self.homes, size=SIZE)
        dut = self.add("dut", AXIWriteSplit(config, homes=homes, ahead=self.ahead))
        who, other = (self.constant(name, range(self.homes)) for name in ("who", "other"))
        mine = Cat(who == n for n in range(self.homes))
        of_mine = lambda values: select(mine, values)
        aw, w, b = dut.i.aw, dut.i.w, dut.i.b
        keeps = [("aw", aw), ("w", w), *((f"b{n}", port.b) for n, port in enumerate(dut.o))]
        for name, channel in keeps:
            waits = self.past(channel.valid & ~channel.ready, f"waits_{name}")
            before = self.past(channel.payload.as_value(), f"before_{name}")
            self.assume(~waits | channel.valid & (channel.payload.as_value() == before))

        # Bursts of a home whose address has passed and whose data have not.
        def debt_of(home, name):
            chosen = Cat(home == n for n in range(self.homes))
            debt = Signal(range(self.ahead + 2), name=f"debt_{name}")
            came = select(chosen, [port.aw.valid & port.aw.ready for port in dut.o])
            went = select(chosen, [port.w.valid & port.w.ready & port.w.payload.last for port in dut.o])
            m.d.sync += debt.eq(debt + came - went)
            return debt

        debt, others = debt_of(who, "who"), debt_of(other, "other")
        here = aw.payload.addr // SIZE % self.homes == who
        self.check("address", ~of_mine([port.aw.valid for port in dut.o]) | (aw.valid & here))
        self.check("same address", of_mine([port.aw.payload for port in dut.o]) == aw.payload.as_value())
        came = Cat(port.aw.valid & port.aw.ready for port in dut.o)
        went = Cat(port.w.valid & port.w.ready for port in dut.o)
        self.check("taken once", popcount(came) == (aw.valid & aw.ready))
        self.check("beat once", popcount(went) == (w.valid & w.ready))
        self.check("data after address", ~of_mine([port.w.valid for port in dut.o]) | (debt != 0))
        self.check("same beat", of_mine([port.w.payload for port in dut.o]) == w.payload.as_value())
        self.check("one home's data", (who == other) | (debt == 0) | (others == 0))
        self.check("ahead", debt <= self.ahead)
        self.check("data pass", ~((debt != 0) & w.valid) | of_mine([port.w.valid for port in dut.o]))
        waits = self.past(of_mine([port.aw.valid & ~port.aw.ready for port in dut.o]), "offers")
        self.check("stable", ~waits | of_mine([port.aw.valid for port in dut.o]))
        self.cover("ahead of its data", debt == self.ahead)
        self.cover(
            "another home", of_mine([port.aw.valid for port in dut.o]) & self.past(others, "past_others")
        )

        # Answers.
        passes = Cat(port.b.valid & port.b.ready for port in dut.o)
        self.check("one answer", popcount(passes) == (b.valid & b.ready))
        own = of_mine([port.b.valid & port.b.ready for port in dut.o])
        self.check(
            "same answer", ~own | (b.payload.as_value() == of_mine([port.b.payload for port in dut.o]))
        )
        before, asks = Signal(range(self.homes + 2)), of_mine([port.b.valid for port in dut.o])
        with m.If(~asks | own):
            m.d.sync += before.eq(0)
        with m.Elif(passes.any()):
            m.d.sync += before.eq(before + 1)
        self.check("bound", before <= self.homes - 1)


MODULE = "poblano.axi.write_split"
MUTATIONS = (
    Mutation(
        "every home", MODULE, "port.aw.valid.eq(aw.valid & may & (home == n))", "port.aw.valid.eq(aw.valid)"
    ),
    Mutation(
        "two homes at once",
        MODULE,
        "may.eq((owed == 0) | (home == current) & (owed != self.ahead))",
        "may.eq(owed != self.ahead)",
    ),
    Mutation(
        "data before their address",
        MODULE,
        "port.w.valid.eq(w.valid & (owed != 0) & (current == n))",
        "port.w.valid.eq(w.valid & (current == n))",
    ),
    Mutation("every beat ends", MODULE, "w.valid & w.ready & w.payload.last", "w.valid & w.ready"),
    Mutation("to the next home", MODULE, "current.eq(home)", "current.eq(home + 1)"),
    Mutation("no turn", MODULE, "turn.accept.eq(b.ready)", "turn.accept.eq(0)"),
)
PROPERTIES = tuple(
    Property(
        f"homes-{homes}",
        partial(WriteSplit, homes, ahead),
        "each address goes to its home, only and unchanged; its data follow it; data are owed to one home at "
        "a time; answers come back once, in turn",
        mutations=MUTATIONS if homes == 2 else (),
    )
    for homes, ahead in ((2, 2), (4, 3))
)
