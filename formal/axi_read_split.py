"""A read master's way to several homes."""

from functools import partial

from amaranth.hdl import *

from poblano.axi.homes import HomesConfig
from poblano.axi.read_split import AXIReadSplit
from poblano.axi.signature import AXIConfig
from poblano.stream.select import select

from .harness import Harness, Mutation, Property, popcount

SIZE = 2


class ReadSplit(Harness):
    """The master keeps a request until it is taken, the homes their beats; the homes answer anything.

    Addresses and data are narrow: the block only carries them.
    """

    def __init__(self, homes):
        super().__init__()
        self.homes = homes

    def prove(self, m):
        homes = HomesConfig(count=self.homes, size=SIZE)
        config = AXIConfig(addr_width=4, data_width=8)
        dut = self.add("dut", AXIReadSplit(config, homes=homes))
        who = self.constant("who", range(self.homes))
        mine = Cat(who == n for n in range(self.homes))
        of_mine = lambda values: select(mine, values)
        ar, r = dut.i.ar, dut.i.r
        for n, port in enumerate(dut.o):
            waits = self.past(port.r.valid & ~port.r.ready, f"waits{n}")
            before = self.past(port.r.payload.as_value(), f"beat{n}")
            self.assume(~waits | port.r.valid & (port.r.payload.as_value() == before))

        here = ar.payload.addr // SIZE % self.homes == who
        self.check("address", of_mine([port.ar.valid for port in dut.o]) == (ar.valid & here))
        self.check("same address", of_mine([port.ar.payload for port in dut.o]) == ar.payload.as_value())
        self.check("taken", ~here | (ar.ready == of_mine([port.ar.ready for port in dut.o])))

        offers = Cat(port.r.valid for port in dut.o)
        passes = Cat(port.r.valid & port.r.ready for port in dut.o)
        self.check("one", popcount(passes) == (r.valid & r.ready))
        self.check("no gap", r.valid == offers.any())
        own = of_mine([port.r.valid & port.r.ready for port in dut.o])
        beat = of_mine([port.r.payload for port in dut.o])
        self.check("same beat", ~own | (r.payload.as_value() == beat))
        held = self.past(r.valid & ~r.ready, "held")
        self.check("stable", ~held | (r.payload.as_value() == self.past(r.payload.as_value(), "offered")))

        # Beats of others that pass before the one that a home offers.
        others, asks = Signal(range(self.homes + 2)), of_mine([port.r.valid for port in dut.o])
        with m.If(~asks | own):
            m.d.sync += others.eq(0)
        with m.Elif(passes.any()):
            m.d.sync += others.eq(others + 1)
        self.check("bound", others <= self.homes - 1)
        self.cover("waits longest", others == self.homes - 1)
        self.cover("passes", own)


MODULE = "poblano.axi.read_split"
MUTATIONS = (
    Mutation("every home", MODULE, "port.ar.valid.eq(ar.valid & (home == n))", "port.ar.valid.eq(ar.valid)"),
    Mutation("taken by another", MODULE, "with m.If(home == n):", "with m.If(home != n):"),
    Mutation("takes all", MODULE, "port.r.ready.eq(turn.open[n] & r.ready)", "port.r.ready.eq(r.ready)"),
    Mutation("no turn", MODULE, "turn.accept.eq(r.ready)", "turn.accept.eq(0)"),
    Mutation("always accepted", MODULE, "turn.accept.eq(r.ready)", "turn.accept.eq(1)"),
)
PROPERTIES = tuple(
    Property(
        f"homes-{homes}",
        partial(ReadSplit, homes),
        "each burst goes to the home of its address, only and unchanged; each beat comes back once; "
        "at most one of each other home comes before it",
        mutations=MUTATIONS if homes == 4 else (),
    )
    for homes in (2, 4)
)
